"""k-means by Lloyd's algorithm: seeded, warm-started, cheap enough for a live selection."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import (
    Floats,
    Ints,
    as_matrix,
    check_count,
    check_finite,
    check_seed,
    sample_rows,
    working,
)
from widgetkit.analysis._estimator import Estimator
from widgetkit.analysis._hooks import Cancel, Progress, checkpoint
from widgetkit.errors import ChannelMismatch, InvalidInput, TooFew

Labels = npt.NDArray[np.int32]

# Starts are compared on a sample: the choice of a start needs no more rows than this a cluster.
_START_ROWS = 256
_LEAST_START_ROWS = 4096

# Rows a block of distances is made of: (16384, k) and (16384, C) float32 stay modest.
_BLOCK = 16384


class KMeans(Estimator):
    """k-means clustering.

    Starts (k-means++, the best of ``n_init``) are made and compared on a seeded sample; the best
    one is refined on all rows. A cluster that runs empty takes the row farthest from its centre.

    Parameters
    ----------
    n_clusters : int
        At most the number of rows. With fewer different rows than clusters some stay empty.
    n_init : int
        Starts to choose from. One is made when ``init`` or a warm start gives the centres.
    tol : float
        Stop when the inertia falls by less than this fraction in one iteration.
    max_iter : int
    random_state : int
        Same seed, same bytes.
    warm_start : bool
        Start from the centres of the last fit, when they fit. Cluster numbers are then kept.

    Attributes
    ----------
    cluster_centers_ : (k, C) float32 or float64
        Ordered by size on a cold start: cluster 0 is the largest.
    labels_ : (n,) int32
    inertia_ : float
        Sum of squared distances to the own centre.
    n_iter_ : int
    n_features_in_ : int

    References
    ----------
    Lloyd (1982), IEEE Trans. Information Theory 28. Arthur & Vassilvitskii (2007), k-means++, SODA.

    Examples
    --------
    >>> import numpy as np
    >>> from widgetkit.analysis import KMeans
    >>> X = np.array([[0.0], [0.1], [5.0], [5.1], [5.2]])
    >>> KMeans(2).fit(X).labels_.tolist()
    [1, 1, 0, 0, 0]
    """

    _kind: ClassVar[Literal["transformer", "clusterer"]] = "clusterer"

    cluster_centers_: Floats
    labels_: Labels
    inertia_: float
    n_iter_: int

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        n_init: int = 4,
        tol: float = 1e-4,
        max_iter: int = 300,
        random_state: int = 0,
        warm_start: bool = False,
    ) -> None:
        self.n_clusters = n_clusters
        self.n_init = n_init
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state
        self.warm_start = warm_start

    def fit(
        self,
        X: npt.ArrayLike,
        y: object = None,
        *,
        init: npt.ArrayLike | None = None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Self:
        """Find the centres and the labels of the rows.

        Parameters
        ----------
        X : (n, C) float
        y : ignored
        init : (k, C) float, optional
            Start centres; their order is kept.
        progress, cancel : callable, optional
            ``progress(done, total)`` and ``cancel() -> bool``, between iterations. Cancelling
            leaves the estimator as it was.

        Raises
        ------
        TooFew
            Fewer rows than clusters.
        ChannelMismatch
            ``init`` does not fit.
        BadActivations
            NaN or infinity.
        InvalidInput, Cancelled
        """
        k, seed = check_count(self.n_clusters, "n_clusters"), check_seed(self.random_state)
        n_init = check_count(self.n_init, "n_init")
        max_iter = check_count(self.max_iter, "max_iter")
        if not (isinstance(self.tol, (int, float, np.number)) and 0 <= float(self.tol) < 1):
            raise InvalidInput(f"tol must be a number from 0 up to 1, got {self.tol!r}.")
        values = working(as_matrix(X))
        check_finite(values)
        n = len(values)
        if k > n:
            raise TooFew(
                f"KMeans with n_clusters={k} needs at least {k} rows; X has n_samples={n}. "
                "Ask for fewer clusters or select more tiles."
            )
        start = self._given_centres(init, values)
        warm = start is not None
        if start is None:
            start = _best_start(values, k, n_init, seed, float(self.tol), cancel)
        result = _lloyd(values, start, float(self.tol), max_iter, progress, cancel)
        centres, labels, inertia, iterations = result
        if not warm:
            order = np.argsort(-np.bincount(labels, minlength=k), kind="stable")
            centres, labels = centres[order], np.argsort(order).astype(np.int32)[labels]
        self._remember_features(X, values)
        self.cluster_centers_, self.labels_ = centres, labels
        self.inertia_, self.n_iter_ = inertia, iterations
        return self

    def fit_predict(
        self,
        X: npt.ArrayLike,
        y: object = None,
        *,
        init: npt.ArrayLike | None = None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Labels:
        """:meth:`fit`, then ``labels_``."""
        return self.fit(X, y, init=init, progress=progress, cancel=cancel).labels_

    def fit_transform(self, X: npt.ArrayLike, y: object = None) -> Floats:
        """:meth:`fit`, then :meth:`transform` of the same rows."""
        return self.fit(X, y).transform(X)

    def predict(self, X: npt.ArrayLike) -> Labels:
        """The nearest centre of each row, (n,) int32."""
        values = self._ready(X)
        return _assign(values, self.cluster_centers_.astype(values.dtype, copy=False))[0]

    def transform(self, X: npt.ArrayLike) -> Floats:
        """Euclidean distances to the centres, (n, k)."""
        values = self._ready(X)
        distances = np.empty((len(values), len(self.cluster_centers_)), values.dtype)
        centres = self.cluster_centers_.astype(values.dtype, copy=False)
        for j, centre in enumerate(centres):  # differences, not the expanded square: exact at 0
            for start in range(0, len(values), _BLOCK):
                rest = values[start : start + _BLOCK] - centre
                distances[start : start + _BLOCK, j] = np.sqrt(np.einsum("nc,nc->n", rest, rest))
        return distances

    def _ready(self, X: npt.ArrayLike) -> Floats:
        self._check_fitted()
        values = as_matrix(X)
        self._check_features(X, values)
        values = working(values)
        check_finite(values)
        return values

    def _given_centres(self, init: npt.ArrayLike | None, X: Floats) -> Floats | None:
        shape = (self.n_clusters, X.shape[1])
        if init is not None:
            centres = as_matrix(init, "init")
            if centres.shape != shape:
                raise ChannelMismatch(
                    f"init has shape {centres.shape}, expected {shape}: one row a cluster."
                )
            check_finite(centres, "init")
            return centres.astype(X.dtype)
        previous = getattr(self, "cluster_centers_", None) if self.warm_start else None
        if previous is None or previous.shape != shape:
            return None
        kept: Floats = previous.astype(X.dtype)
        return kept


def _best_start(
    X: Floats, k: int, n_init: int, seed: int, tol: float, cancel: Cancel | None
) -> Floats:
    """The best of several k-means++ starts, refined and compared on a sample."""
    generator = np.random.default_rng(seed)
    rows = sample_rows(len(X), max(_LEAST_START_ROWS, _START_ROWS * k), seed)
    sample = X if len(rows) == len(X) else X[rows]
    best, lowest = None, np.inf
    for _ in range(n_init):
        centres, _, inertia, _ = _lloyd(
            sample, _plus_plus(sample, k, generator), max(tol, 1e-3), 30, None, cancel
        )
        if best is None or inertia < lowest:
            best, lowest = centres, inertia
    assert best is not None
    return best


def _plus_plus(X: Floats, k: int, generator: np.random.Generator) -> Floats:
    """Greedy k-means++: each next centre is the best of a few drawn by squared distance."""
    norms = np.einsum("nc,nc->n", X, X)
    tries = 2 + int(np.log(k))
    centres = np.empty((k, X.shape[1]), X.dtype)
    centres[0] = X[generator.integers(len(X))]
    nearest = _squared(X, norms, centres[:1])[:, 0]
    for j in range(1, k):
        total = float(nearest.sum(dtype=np.float64))
        if total <= 0:  # fewer different rows than clusters
            centres[j:] = X[generator.integers(len(X), size=k - j)]
            break
        edges = np.cumsum(nearest, dtype=np.float64)
        drawn = np.searchsorted(edges, generator.random(tries) * total)
        drawn = np.minimum(drawn, len(X) - 1)
        options = np.minimum(_squared(X, norms, X[drawn]), nearest[:, None])
        winner = int(np.argmin(options.sum(axis=0, dtype=np.float64)))
        centres[j], nearest = X[drawn[winner]], options[:, winner]
    return centres


def _squared(X: Floats, norms: Floats, centres: Floats) -> Floats:
    """(n, m) squared distances. Rounding is relative to the norms; good enough to draw by."""
    own = np.einsum("mc,mc->m", centres, centres)
    found: Floats = np.maximum(norms[:, None] - 2 * (X @ centres.T) + own, 0)
    return found


def _assign(X: Floats, centres: Floats) -> tuple[Labels, Floats, Ints]:
    """Labels, sums of the rows by cluster (k, C) and counts (k,).

    Distances are compared around the mean of the centres, which keeps their differences accurate
    when all activations share a large offset.
    """
    k = len(centres)
    # summed in sorted order: centres that differ by rounding (duplicate rows, one cluster left
    # empty) must win the same rows whatever their order
    middle = np.sort(centres, axis=0).mean(axis=0)
    around = centres - middle
    bias = np.einsum("kc,kc->k", around, around) + 2 * (around @ middle)
    labels = np.empty(len(X), np.int32)
    sums = np.zeros((k, X.shape[1]), np.float64)
    for start in range(0, len(X), _BLOCK):
        rows = X[start : start + _BLOCK]
        score = bias - 2 * (rows @ around.T)
        part = np.argmin(score, axis=1)
        labels[start : start + _BLOCK] = part
        member = np.zeros((k, len(rows)), X.dtype)
        member[part, np.arange(len(rows))] = 1
        sums += member @ rows
    return labels, sums, np.bincount(labels, minlength=k)


def _inertia(X: Floats, centres: Floats, labels: Labels) -> tuple[float, Floats]:
    """Sum of squared distances, and each row's."""
    each = np.empty(len(X), X.dtype)
    for start in range(0, len(X), _BLOCK):
        rest = X[start : start + _BLOCK] - centres[labels[start : start + _BLOCK]]
        each[start : start + _BLOCK] = np.einsum("nc,nc->n", rest, rest)
    return float(each.sum(dtype=np.float64)), each


def _total_inertia(
    X: Floats, squares: float, centres: Floats, labels: Labels, sums: Floats, counts: Ints
) -> float:
    """Sum of squared distances, from what the last step knows where that is accurate."""
    exact = centres.astype(np.float64)
    lengths = np.einsum("kc,kc->k", exact, exact)
    total = squares - 2 * float(np.vdot(sums, exact)) + float(counts @ lengths)
    # a difference of large numbers keeps about six digits of float32
    return total if total > 1e-2 * squares else _inertia(X, centres, labels)[0]


def _lloyd(
    X: Floats,
    centres: Floats,
    tol: float,
    max_iter: int,
    progress: Progress | None,
    cancel: Cancel | None,
) -> tuple[Floats, Labels, float, int]:
    """Centres, labels of these centres, inertia, iterations."""
    squares = float(np.vdot(X, X))
    before: Labels | None = None
    lowest = np.inf
    iteration = 0
    while True:
        checkpoint(cancel, progress, iteration, max_iter)
        labels, sums, counts = _assign(X, centres)
        iteration += 1
        means = sums / np.maximum(counts, 1)[:, None]
        # within + between = total: the inertia about the new means, without another pass
        inertia = squares - float(np.einsum("k,kc,kc->", counts.astype(float), means, means))
        same = before is not None and np.array_equal(labels, before)
        small = lowest - inertia < tol * max(inertia, 0.0)
        if same or (small and counts.all()) or iteration > max_iter:
            break
        before, lowest = labels, inertia
        updated = np.where(counts[:, None] > 0, means, centres).astype(X.dtype)
        empty = np.flatnonzero(counts == 0)
        if len(empty):
            updated, refilled = _refill(X, updated, labels, empty)
            if not refilled:  # fewer different rows than clusters: nothing left to move
                centres = updated
                labels, sums, counts = _assign(X, centres)
                break
        centres = updated
    checkpoint(cancel, progress, max_iter, max_iter)
    return centres, labels, _total_inertia(X, squares, centres, labels, sums, counts), iteration


def _refill(
    X: Floats, centres: Floats, labels: Labels, empty: npt.NDArray[np.intp]
) -> tuple[Floats, bool]:
    """Give empty clusters the rows farthest from their centres; False when all lie on them."""
    _, each = _inertia(X, centres, labels)
    farthest = np.argsort(-each, kind="stable")[: len(empty)]
    farthest = farthest[each[farthest] > 0]
    centres = np.array(centres)
    centres[empty[: len(farthest)]] = X[farthest]
    return centres, bool(len(farthest))
