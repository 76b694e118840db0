"""Whether factors and clusters come back when the seed or the sample changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import as_matrix
from widgetkit.errors import ChannelMismatch, TooFew


def match(
    a: npt.ArrayLike, b: npt.ArrayLike
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """For every row of ``a (k, C)`` the row of ``b (k, C)`` it is paired with, and their cosine.

    The pairing maximises the sum of cosines (Kuhn 1955, by scipy).
    """
    from scipy.optimize import linear_sum_assignment

    first, second = (_unit(np.asarray(x, np.float64)) for x in (a, b))
    if first.shape != second.shape:
        raise ChannelMismatch(f"Cannot match factors of shapes {first.shape} and {second.shape}.")
    cosine = first @ second.T
    rows, columns = linear_sum_assignment(-cosine)
    return columns, cosine[rows, columns]


def _unit(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: npt.NDArray[np.float64] = np.divide(
        rows, length, out=np.zeros_like(rows), where=length > 0
    )
    return unit


def stability(
    fit: Callable[[npt.NDArray[np.floating], int], npt.ArrayLike],
    X: npt.ArrayLike,
    seeds: Sequence[int],
) -> dict[str, float]:
    """Mean and least matched cosine of prototypes over all pairs of seeds.

    Parameters
    ----------
    fit : callable
        ``fit(X, seed) -> (k, C)`` prototypes, such as
        ``lambda X, seed: NMF(8, random_state=seed).fit(X).components_``.
    X : (n, C)
    seeds : at least two

    Returns
    -------
    dict
        ``mean``, ``least`` (of all matched pairs), ``pairs``.
    """
    if len(seeds) < 2:
        raise TooFew("Stability compares fits: give at least two seeds.")
    rows = as_matrix(X)
    found = [np.asarray(fit(rows, int(seed))) for seed in seeds]
    cosines = [match(found[i], found[j])[1] for i in range(len(found)) for j in range(i)]
    return {
        "mean": float(np.mean(cosines)),
        "least": float(np.min(cosines)),
        "pairs": float(len(cosines)),
    }


def label_agreement(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Adjusted Rand index of two labelings of the same rows (Hubert & Arabie 1985)."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(np.asarray(a), np.asarray(b)))
