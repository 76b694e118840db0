"""k-means by Lloyd's iterations, with warm start: the first answer to a selection in milliseconds."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import (
    Floats,
    as_matrix,
    check_count,
    check_finite,
    check_seed,
    working,
)
from widgetkit.analysis._estimator import Estimator
from widgetkit.analysis._hooks import Cancel, checkpoint
from widgetkit.errors import ChannelMismatch, InvalidInput, TooFew

#: Rows whose distances are held at once: 65,536 x 64 clusters x 4 bytes = 16 MB.
_BATCH = 65_536


class KMeans(Estimator):
    """k-means (Lloyd 1982) from a k-means++ start (Arthur & Vassilvitskii 2007).

    Parameters
    ----------
    n_clusters : int
        k, at most the number of rows.
    n_init : int
        Starts from scratch; the one with the least inertia is kept. 1 when warm.
    max_iter : int
    tol : float
        Stop when the centres move less than this fraction of the mean variance of a feature.
    random_state : int
        Same seed, same bytes.
    warm_start : bool
        Start from ``cluster_centers_`` where there are some.

    Attributes
    ----------
    cluster_centers_ : (k, C) float
    labels_ : (n,) int32
    inertia_ : float
        Sum of squared distances to the nearest centre.
    n_iter_ : int
    """

    _kind: ClassVar[Literal["transformer", "clusterer"]] = "clusterer"

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        n_init: int = 3,
        max_iter: int = 100,
        tol: float = 1e-4,
        random_state: int = 0,
        warm_start: bool = False,
    ) -> None:
        self.n_clusters = n_clusters
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.warm_start = warm_start

    def fit(self, X: npt.ArrayLike, y: object = None, *, cancel: Cancel | None = None) -> Self:
        """Find the centres of ``X (n, C)``.

        Raises
        ------
        TooFew
            Fewer rows than clusters.
        ChannelMismatch
            Warm centres of another number of features.
        Cancelled
        """
        k = check_count(self.n_clusters, "n_clusters")
        rows = working(as_matrix(X))
        check_finite(rows)
        if len(rows) < k:
            raise TooFew(
                f"KMeans(n_clusters={k}) needs at least {k} rows; there are n_samples = {len(rows)}."
            )
        # distances lose digits far from the origin: work around the mean
        middle = rows.mean(axis=0, dtype=np.float64).astype(rows.dtype)
        data = rows - middle
        best: tuple[float, Floats, npt.NDArray[np.int32], int] | None = None
        rng = np.random.default_rng(check_seed(self.random_state))
        warm = getattr(self, "cluster_centers_", None) if self.warm_start else None
        if warm is not None:
            starts = [self._warm(warm, rows) - middle]
        else:
            starts = [None] * check_count(self.n_init, "n_init")
        for start in starts:
            centres = _plus_plus(data, k, rng) if start is None else start
            found = self._lloyd(data, centres, cancel)
            if best is None or found[0] < best[0]:
                best = found
        assert best is not None
        self._remember_features(X, rows)
        self.inertia_, centred, self.labels_, self.n_iter_ = best
        self.cluster_centers_ = centred + middle
        return self

    def _warm(self, centres: npt.ArrayLike, rows: Floats) -> Floats:
        given = np.asarray(centres, dtype=rows.dtype)
        if given.ndim != 2 or len(given) != self.n_clusters:
            raise InvalidInput(
                f"Warm centres have shape {given.shape}; n_clusters is {self.n_clusters}."
            )
        if given.shape[1] != rows.shape[1]:
            raise ChannelMismatch(
                f"Warm centres have {given.shape[1]} features, the rows {rows.shape[1]}."
            )
        return given

    def _lloyd(
        self, data: Floats, centres: Floats, cancel: Cancel | None
    ) -> tuple[float, Floats, npt.NDArray[np.int32], int]:
        limit = float(self.tol) * float(data.var(axis=0).mean())
        steps = 0
        labels, distance = _assign(data, centres)
        for steps in range(1, check_count(self.max_iter, "max_iter") + 1):  # noqa: B007 - returned
            checkpoint(cancel)
            moved = _means(data, labels, distance, len(centres))
            shift = float(((moved - centres) ** 2).sum())
            centres = moved
            before = labels
            labels, distance = _assign(data, centres)
            if shift <= limit or np.array_equal(before, labels):
                break
        return float(distance.sum(dtype=np.float64)), centres, labels, steps

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[np.int32]:
        """Number of the nearest centre of every row. ``(n,)``"""
        self._check_fitted()
        rows = working(as_matrix(X))
        check_finite(rows)
        self._check_features(X, rows)
        middle = self.cluster_centers_.mean(axis=0)
        return _assign(rows - middle, self.cluster_centers_ - middle)[0]

    def fit_predict(self, X: npt.ArrayLike, y: object = None) -> npt.NDArray[np.int32]:
        """``fit(X).labels_``"""
        return self.fit(X).labels_


def _assign(data: Floats, centres: Floats) -> tuple[npt.NDArray[np.int32], Floats]:
    """Nearest centre of every row, and the squared distance to it. Ties go to the first."""
    labels = np.empty(len(data), np.int32)
    distance = np.empty(len(data), data.dtype)
    lengths = (centres**2).sum(axis=1)
    for at in range(0, len(data), _BATCH):
        part = data[at : at + _BATCH]
        score = part @ (-2 * centres.T)
        score += lengths
        nearest = score.argmin(axis=1)
        labels[at : at + _BATCH] = nearest
        least = np.take_along_axis(score, nearest[:, None], axis=1)[:, 0]
        distance[at : at + _BATCH] = np.maximum(least + (part**2).sum(axis=1), 0)
    return labels, distance


def _means(data: Floats, labels: npt.NDArray[np.int32], distance: Floats, k: int) -> Floats:
    """Mean of every cluster; a cluster that lost all rows moves to the row worst served."""
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels, minlength=k)
    full = np.flatnonzero(counts)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    sums = np.zeros((k, data.shape[1]), data.dtype)
    sums[full] = np.add.reduceat(data[order], starts[full], axis=0)
    means: Floats = sums / np.maximum(counts, 1)[:, None].astype(data.dtype)
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        means[empty] = data[np.argsort(-distance, kind="stable")[: len(empty)]]
    return means


def _plus_plus(data: Floats, k: int, rng: np.random.Generator) -> Floats:
    """k-means++: each next centre is drawn in proportion to its squared distance to the nearest."""
    chosen = [int(rng.integers(len(data)))]
    lengths = (data**2).sum(axis=1, dtype=np.float64)
    nearest = np.full(len(data), np.inf)
    for _ in range(1, k):
        last = data[chosen[-1]]
        distance = np.maximum(lengths - 2 * (data @ last) + lengths[chosen[-1]], 0)
        nearest = np.minimum(nearest, distance)
        nearest[chosen] = 0
        total = nearest.sum()
        if total > 0:
            chosen.append(int(rng.choice(len(data), p=nearest / total)))
        else:  # fewer different rows than clusters: take rows not yet taken
            chosen.append(next(i for i in range(len(data)) if i not in set(chosen)))
    return data[chosen].copy()
