"""Total Sobol indices by quasi-Monte Carlo."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput

#: Variance below this share of the mean square is rounding: float32 logits hold 7 digits.
_FLAT = 1e-12


def designs(k: int, count: int, seed: int) -> npt.NDArray[np.float64]:
    """Masks at which a function of k factors must be known: A, B, and A with column j of B.

    A and B are the two halves of a scrambled Sobol' sequence in ``2 k`` dimensions, so their
    columns are independent and uniform on [0, 1].

    Parameters
    ----------
    k : int
    count : int
        Points of A; a power of two, at which the sequence is balanced.
    seed : int

    Returns
    -------
    (count * (k + 2), k) float64

    Raises
    ------
    InvalidInput
        ``count`` is no power of two from 2.
    """
    if count < 2 or count & (count - 1):
        raise InvalidInput(f"designs is {count}: use a power of two from 2, such as 32.")
    from scipy.stats import qmc

    both = qmc.Sobol(2 * k, scramble=True, seed=seed).random(count)
    a, b = both[:, :k], both[:, k:]
    mixed = np.repeat(a[None], k, axis=0)
    for j in range(k):
        mixed[j, :, j] = b[:, j]
    return np.concatenate([a, b, mixed.reshape(k * count, k)])


def total_indices(values: npt.ArrayLike, k: int) -> npt.NDArray[np.float64]:
    """Total index of each factor from a function's values at :func:`designs`.

    Jansen's estimator ``S_j = mean (f(A) - f(A with b_j))^2 / (2 Var f)``: the share of the
    variance in which factor j has a part, alone or together with others.

    Parameters
    ----------
    values : (..., count * (k + 2)) float

    Returns
    -------
    (..., k) float64
        NaN where the function does not vary.

    References
    ----------
    Jansen, Analysis of variance designs for model output, Computer Physics Communications 117,
    1999; Saltelli et al., Variance based sensitivity analysis of model output, ibid. 181, 2010.
    """
    f = np.asarray(values, np.float64)
    count = f.shape[-1] // (k + 2)
    a, both = f[..., None, :count], f[..., : 2 * count]
    mixed = f[..., 2 * count :].reshape(*f.shape[:-1], k, count)
    spread = both.var(axis=-1)
    flat = spread <= _FLAT * np.maximum((both**2).mean(axis=-1), np.finfo(np.float64).tiny)
    moved: npt.NDArray[np.float64] = ((a - mixed) ** 2).mean(axis=-1) / 2
    indices: npt.NDArray[np.float64] = np.divide(
        moved,
        spread[..., None],
        out=np.full(moved.shape, np.nan),
        where=~np.broadcast_to(flat[..., None], moved.shape),
    )
    return indices
