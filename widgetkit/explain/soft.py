"""Student-t soft assignment of latent vectors to cluster centres: the one place of the formula."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from widgetkit.errors import ChannelMismatch, InvalidInput


def soft_assign(latents: npt.ArrayLike, centres: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Share ``q`` of every cluster in every latent vector, with one degree of freedom.

    ``q_c(z) = (1 + |z - mu_c|^2)^-1 / sum_j (1 + |z - mu_j|^2)^-1``. Computed in float64 from the
    differences themselves, so that it stays exact for centres that lie close together far from zero.

    Parameters
    ----------
    latents : (n, d) float
    centres : (k, d) float
        In the same units: the 1 in the formula is a squared distance.

    Returns
    -------
    (n, k) float64
        Rows add up to 1.

    Raises
    ------
    ChannelMismatch
        Latents and centres have different numbers of dimensions.
    InvalidInput
        Not two tables, no centre, or NaN or infinity in either.

    References
    ----------
    van der Maaten & Hinton 2008 (the kernel); Xie, Girshick & Farhadi, Unsupervised Deep Embedding
    for Clustering Analysis, ICML 2016, arXiv:1511.06335 (equation 1, alpha = 1).
    """
    z, mu = np.asarray(latents, np.float64), np.asarray(centres, np.float64)
    if z.ndim != 2 or mu.ndim != 2 or len(mu) == 0:
        raise InvalidInput(
            f"Soft assignment was given latents of shape {z.shape} and centres of shape {mu.shape}: "
            "they must be (n, d) and (k, d), with at least one centre."
        )
    if z.shape[1] != mu.shape[1]:
        raise ChannelMismatch(
            f"Latents have {z.shape[1]} dimensions and centres {mu.shape[1]}: the clustering was made "
            "on another layer."
        )
    for what, values in (("latents", z), ("centres", mu)):
        if not np.isfinite(values).all():
            raise InvalidInput(f"Soft assignment was given NaN or infinity in the {what}.")
    distances = np.empty((len(z), len(mu)))
    for index, centre in enumerate(mu):  # a centre at a time: (n, d) of memory, not (n, k, d)
        difference = z - centre
        distances[:, index] = np.einsum("nd,nd->n", difference, difference)
    # over the nearest centre's: no row underflows to 0 / 0, however far it is from all centres
    closeness = (1 + distances.min(axis=1, keepdims=True)) / (1 + distances)
    shares: npt.NDArray[np.float64] = closeness / closeness.sum(axis=1, keepdims=True)
    return shares
