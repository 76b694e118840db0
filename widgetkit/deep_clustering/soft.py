"""How much a latent vector belongs to each cluster: Student's t kernel, with gradients.

numpy arrays give numpy arrays (:mod:`widgetkit.explain.soft`), torch tensors give tensors that
gradients pass through; the two agree to float32 rounding.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from widgetkit.errors import ChannelMismatch, InvalidInput
from widgetkit.explain.soft import soft_assign as assign_arrays

if TYPE_CHECKING:
    from torch import Tensor


@overload
def soft_assign(Z: Tensor, centres: Tensor) -> Tensor: ...
@overload
def soft_assign(Z: npt.ArrayLike, centres: npt.ArrayLike) -> npt.NDArray[np.float64]: ...
def soft_assign(Z: Any, centres: Any) -> Any:
    """Soft assignment ``q_ic = (1 + |z_i - mu_c|^2)^-1 / sum_c' (1 + |z_i - mu_c'|^2)^-1``.

    Parameters
    ----------
    Z : (n, d) array or tensor
        Latent vectors.
    centres : (k, d) array or tensor
        Of the same library as ``Z``.

    Returns
    -------
    (n, k) float64 array, or tensor of the dtype and device of ``Z``
        Rows sum to 1. The largest entry is that of the nearest centre.

    Raises
    ------
    InvalidInput
        Not two-dimensional, no centre, NaN or infinity (arrays only; tensors are not looked at).
    ChannelMismatch
        Vectors and centres differ in length.

    References
    ----------
    van der Maaten & Hinton (2008), JMLR 9; Xie, Girshick & Farhadi (2016), ICML, eq. 1 with one
    degree of freedom.

    Examples
    --------
    >>> import numpy as np
    >>> from widgetkit.deep_clustering import soft_assign
    >>> soft_assign(np.array([[0.0], [1.0]]), np.array([[0.0], [2.0]])).round(3).tolist()
    [[0.833, 0.167], [0.5, 0.5]]
    """
    if _is_tensor(Z) or _is_tensor(centres):
        return _assign_tensors(Z, centres)
    _check_shapes(np.shape(Z), np.shape(centres))
    return assign_arrays(Z, centres)


def target_distribution(q: Any) -> Any:
    """Sharpened target ``p_ic = (q_ic^2 / f_c) / sum_c' (q_ic'^2 / f_c')``, ``f_c = sum_i q_ic``.

    Confident assignments weigh more, and large clusters do not swallow small ones.

    Parameters
    ----------
    q : (n, k) array or tensor
        From :func:`soft_assign`, of all rows.

    Returns
    -------
    (n, k) of the same kind
        A tensor is detached: the target is what ``q`` is pulled to, and gets no gradient.

    References
    ----------
    Xie, Girshick & Farhadi (2016), ICML, eq. 3.
    """
    if _is_tensor(q):
        q = q.detach()
        weight = q**2 / q.sum(dim=0).clamp_min(1e-30)
        return weight / weight.sum(dim=1, keepdim=True)
    values = np.asarray(q, np.float64)
    weight = values**2 / np.maximum(values.sum(axis=0), 1e-300)
    return weight / weight.sum(axis=1, keepdims=True)


def squared_distances(Z: Tensor, centres: Tensor) -> Tensor:
    """``|z_i - mu_c|^2`` (n, k), of tensors, from the differences: a centre at a time."""
    import torch

    return torch.stack([((Z - centre) ** 2).sum(dim=1) for centre in centres], dim=1)


def _assign_tensors(Z: Tensor, centres: Tensor) -> Tensor:
    _check_shapes(tuple(Z.shape), tuple(centres.shape))
    kernel = 1 / (1 + squared_distances(Z, centres))
    return kernel / kernel.sum(dim=1, keepdim=True).clamp_min(1e-30)


def _check_shapes(z: tuple[int, ...], mu: tuple[int, ...]) -> None:
    if len(z) != 2 or len(mu) != 2 or not mu[0]:
        raise InvalidInput(f"Z {z} and centres {mu}: expected (n, d) and (k, d), k at least 1.")
    if z[1] != mu[1]:
        raise ChannelMismatch(
            f"Z has vectors of {z[1]} values, the centres {mu[1]}. Are they of the same layer?"
        )


def _is_tensor(value: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)
