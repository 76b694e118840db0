"""k-means on directions: what matters of a position is which channels respond, not how much."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from widgetkit.analysis import KMeans
from widgetkit.errors import Cancelled, TooFew
from widgetkit.factors.weighing import Array

_ITERATIONS = 100


def spherical_kmeans(
    X: Array, k: int, *, seed: int, cancel: Callable[[], object] | None = None
) -> tuple[Array, tuple[float, ...]]:
    """Unit vectors (k, C) that maximise the sum of the projections ``max_j x . h_j``.

    Rows count by their length, so that empty positions, whose direction is noise, hardly do. Starts
    from k-means of the unit rows; the objective never falls.

    Returns
    -------
    H : (k, C) float32, rows of length 1, the one with the most rows first
    errors : tuple of float
        ``||X - W H|| / ||X||`` after each iteration; never rises. In float32 values below about
        0.001 are rounding.

    Raises
    ------
    TooFew
        Fewer rows other than zero than clusters.

    References
    ----------
    Dhillon & Modha (2001), Concept decompositions for large sparse text data using clustering.
    Machine Learning 42.
    """
    length = np.sqrt(np.einsum("pc,pc->p", X, X, dtype=np.float64))
    alive = length > 0
    if int(alive.sum()) < k:
        raise TooFew(
            f"Only {int(alive.sum())} of {len(X)} sampled positions are not all zero; "
            f"they do not make {k} clusters."
        )
    rows = X[alive]
    unit = (rows / length[alive][:, None]).astype(np.float32)
    start = KMeans(k, random_state=seed).fit(unit, cancel=cancel).cluster_centers_
    H = _unit(start)
    total = float(np.square(length).sum())
    errors: list[float] = []
    best, labels = H, np.full(len(rows), -1)
    for _ in range(_ITERATIONS):
        if cancel is not None and cancel():
            raise Cancelled("The computation was cancelled; nothing was changed.")
        products = rows @ H.T
        found = products.argmax(axis=1)
        weights = np.maximum(products[np.arange(len(rows)), found], 0).astype(np.float64)
        error = float(np.sqrt(max(total - float(weights @ weights), 0.0) / total))
        if errors and error >= errors[-1]:  # settled, or down to rounding
            break
        errors.append(error)
        same = np.array_equal(found, labels)
        best, labels = H.copy(), found
        if same:
            break
        for j in range(k):
            mine = found == j
            if mine.any():
                # the direction that holds most of the squared length of these rows: their first
                # singular vector, so that the error of W H falls, not only the sum of cosines
                H[j] = _leading(rows[mine], H[j])
    order = np.argsort(-np.bincount(labels, minlength=k), kind="stable")
    return np.ascontiguousarray(best[order]), tuple(errors)


def _leading(rows: Array, start: Array) -> Array:
    """A few power iterations towards the leading right singular vector; each only improves."""
    direction = start.astype(np.float64)
    for _ in range(3):
        step = (rows.T @ np.maximum(rows @ direction.astype(np.float32), 0)).astype(np.float64)
        size = float(np.linalg.norm(step))
        if size == 0:
            break
        direction = step / size
    return direction.astype(np.float32)


def _unit(rows: npt.NDArray[Any]) -> Array:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Array = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0).astype(
        np.float32
    )
    return unit
