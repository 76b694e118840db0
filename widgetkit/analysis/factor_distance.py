"""How far two sets of factors are apart, whatever the order of the factors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import Floats, as_matrix, check_finite
from widgetkit.analysis.stability import match
from widgetkit.errors import ChannelMismatch


def matched_cosine(A: npt.ArrayLike, B: npt.ArrayLike) -> float:
    """Mean cosine of the best pairing of two sets of factors; 1 = the same directions.

    :func:`~widgetkit.analysis.match` gives the pairing itself. Factors without negative values are
    never at right angles by chance, so read it beside :func:`amari_distance`.

    Parameters
    ----------
    A, B : (k, C) float

    Raises
    ------
    ChannelMismatch
        The two differ in shape.
    """
    first, second = _pair(A, B)
    return float(np.clip(match(first, second)[1].mean(), -1, 1))


def amari_distance(A: npt.ArrayLike, B: npt.ArrayLike) -> float:
    """Amari-type distance of two sets of factors: 0 = the same up to order and scale, at most 1.

    With ``R`` (k, k) the absolute correlations over channels between the factors of both sets,

        d = 1 - (sum of the largest of each row + sum of the largest of each column) / (2 k)

    Correlations do not see what all factors share, which the cosine of non-negative factors does.
    A factor that is the same in all channels correlates with nothing.

    Parameters
    ----------
    A, B : (k, C) float
        At least two channels.

    Raises
    ------
    ChannelMismatch
        The two differ in shape.

    References
    ----------
    Wu et al. (2016), Stability-driven nonnegative matrix factorization, PNAS 113, after Amari,
    Cichocki & Yang (1996).
    """
    first, second = (_standardised(part) for part in _pair(A, B))
    R = np.abs(first @ second.T)
    distance = 1 - (R.max(axis=1).sum() + R.max(axis=0).sum()) / (2 * len(R))
    return float(min(max(distance, 0.0), 1.0))


def _pair(A: npt.ArrayLike, B: npt.ArrayLike) -> tuple[Floats, Floats]:
    first, second = as_matrix(A, "A").astype(np.float64), as_matrix(B, "B").astype(np.float64)
    check_finite(first, "A")
    check_finite(second, "B")
    if first.shape != second.shape:
        raise ChannelMismatch(f"Cannot compare factors of shapes {first.shape} and {second.shape}.")
    return first, second


def _standardised(rows: Floats) -> Floats:
    """Rows about their mean, of length 1; zeros where a row does not vary."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    varies = length > 1e-12 * np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(varies, centred / np.where(varies, length, 1.0), 0.0)
