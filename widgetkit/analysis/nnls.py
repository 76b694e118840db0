"""Exact non-negative least squares for many rows at once, with few factors.

With ``k`` factors everything a row needs is its ``k`` correlations with them and the ``k x k``
gram matrix, so a million rows are one matrix product and then work on ``(n, k)``. A few sweeps of
coordinate descent guess which weights are zero; block principal pivoting (Kim & Park 2011) makes
the guess exact. All rows with the same pattern of zeros share one small inverse.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import reduce

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import Floats, Mask, as_matrix, check_finite, working
from widgetkit.analysis._hooks import Cancel, checkpoint
from widgetkit.errors import ChannelMismatch

# Rows solved at once: a block of float32 (16384, 512) is 32 MB, and its (k, 16384) weights stay
# in the cache. Fewer when k is large, because the pivoting holds (rows, k, k) float64.
_BLOCK = 16384
_BLOCK_BYTES = 64 * 2**20

# Sweeps before pivoting come in rounds, until a round changes the zeros of few rows. They start
# from the least squares solution without its negative part: for factors of ReLU activations 6 % of
# the rows are wrong there, and 4 % after two sweeps (from zero it takes 12). A row left for
# another pivot costs as much as about ten sweeps of it.
_ROUND, _MOST_ROUNDS, _FEW = 2, 16, 0.1

# Added to the gram matrix for that start: nearly collinear factors would be thrown far off.
_START_RIDGE = 1e-3

# Rows of a sweep: their weights and products stay in the processor's cache.
_SWEEP_ROWS = 16384

# Inverses kept for the patterns of zeros met so far; ten factors have 1024 in all, 0.8 MB.
_KEPT_BYTES = 32 * 2**20

# The gram matrix is scaled to a unit diagonal, so these are relative. The ridge makes collinear
# factors solvable (float64 keeps about 6 digits then) and changes other solutions by about 1e-10.
_RIDGE = 1e-10
_TOLERANCE = 1e-9

# Full exchanges allowed without progress before Kim & Park's backup rule takes over.
_PATIENCE = 3


def nnls(X: npt.ArrayLike, H: npt.ArrayLike, *, cancel: Cancel | None = None) -> Floats:
    """Weights of every row in every factor, by non-negative least squares.

    Solves ``min_w ||x - w H||_2`` with ``w >= 0`` for every row ``x`` of ``X``, exactly (the
    Karush-Kuhn-Tucker conditions hold to about 1e-9 of the row's largest correlation). ``X`` and
    ``H`` may hold negative values. A factor that is zero everywhere gets weight 0.

    Parameters
    ----------
    X : (n, C) float
        One row a tile or position. float64 is computed in float64; float16 and float32 take the
        products in float32, block by block, so ``X`` may be a memory map.
    H : (k, C) float
        One row a factor, e.g. ``NMF.components_``.
    cancel : callable, optional
        Asked between blocks.

    Returns
    -------
    (n, k) float32, or float64 when ``X`` is float64

    Raises
    ------
    ChannelMismatch
        ``X`` and ``H`` disagree in C.
    BadActivations
        NaN or infinity in either.

    References
    ----------
    Kim & Park (2011), Fast nonnegative matrix factorization: an active-set-like method and
    comparisons. SIAM J. Sci. Comput. 33(6).
    """
    values = as_matrix(X, least=0)
    solver = Solver(H)
    weights = np.empty((len(values), solver.k), working(values[:0]).dtype)
    for start in range(0, len(values), solver.block):
        checkpoint(cancel)
        weights[start : start + solver.block] = solver(values[start : start + solver.block])[0]
    return weights


def nnls_batches(
    batches: Iterable[npt.ArrayLike], H: npt.ArrayLike, *, cancel: Cancel | None = None
) -> Iterator[Floats]:
    """:func:`nnls` of each batch in turn, for data that does not fit into memory.

    Parameters
    ----------
    batches : iterable of (m, C) float
    H : (k, C) float

    Yields
    ------
    (m, k) float32 or float64, as :func:`nnls`
    """
    solver = Solver(H)
    for batch in batches:
        values = as_matrix(batch, least=0)
        weights = np.empty((len(values), solver.k), working(values[:0]).dtype)
        for start in range(0, len(values), solver.block):
            checkpoint(cancel)
            weights[start : start + solver.block] = solver(values[start : start + solver.block])[0]
        yield weights


class Solver:
    """The part of :func:`nnls` that depends on ``H`` only, made once for many batches."""

    def __init__(self, H: npt.ArrayLike) -> None:
        self.H = working(as_matrix(H, "H", least=1))
        check_finite(self.H, "H")
        self.k = len(self.H)
        exact = self.H.astype(np.float64)
        self.gram = exact @ exact.T
        self._solve = GramSolver(self.gram)
        self.block = int(np.clip(_BLOCK_BYTES // (8 * self.k * self.k), 64, _BLOCK))

    def __call__(self, rows: Floats) -> tuple[Floats, Floats]:
        """Weights (m, k) and the products ``rows Hᵀ`` (m, k) they came from."""
        if rows.shape[1] != self.H.shape[1]:
            raise ChannelMismatch(
                f"X has {rows.shape[1]} channels and H has {self.H.shape[1]}. "
                "The factors were learned on another layer."
            )
        rows = working(rows)
        with np.errstate(invalid="ignore", over="ignore"):
            products = rows @ self.H.T.astype(rows.dtype, copy=False)
        # A NaN or an infinity in a row reaches its products, which are far fewer to look at.
        if not np.isfinite(products).all():
            check_finite(rows)
            products = rows.astype(np.float64) @ self.H.T.astype(np.float64)  # it overflowed
        return self._solve(products).astype(rows.dtype, copy=False), products


def solve_gram(gram: Floats, products: Floats) -> npt.NDArray[np.float64]:
    """Non-negative least squares from ``gram = H Hᵀ`` (k, k) and ``products = X Hᵀ`` (m, k).

    Returns
    -------
    (m, k) float64
    """
    return GramSolver(gram)(products)


class GramSolver:
    """:func:`solve_gram` for many blocks: keeps the inverses of the patterns of zeros it has met.

    Safe for several threads.
    """

    def __init__(self, gram: Floats) -> None:
        gram = np.asarray(gram, np.float64)
        length = np.sqrt(np.diag(gram))
        alive = length > np.finfo(np.float64).tiny ** 0.5
        self._unit = np.where(alive, 1.0 / np.where(alive, length, 1.0), 0.0)
        self._gram = gram * self._unit[:, None] * self._unit
        np.fill_diagonal(self._gram, 1.0 + _RIDGE)
        self._small = self._gram.astype(np.float32)
        ridge = _START_RIDGE * np.eye(len(gram))
        self._start = np.linalg.inv(self._gram + ridge).astype(np.float32)
        self._kept: dict[int, Floats] = {}
        self._most = _KEPT_BYTES // (8 * len(gram) ** 2)

    def __call__(self, products: Floats) -> npt.NDArray[np.float64]:
        target = products.astype(np.float64) * self._unit
        # rows differ by orders of magnitude; a common scale makes one tolerance right for all
        # by columns: numpy takes the largest of ten neighbours one row at a time
        size = reduce(np.maximum, np.abs(target).T, np.zeros(len(target)))
        target /= np.where(size > 0, size, 1.0)[:, None]
        weights = self.pivot(target, self._guess(target))
        found: npt.NDArray[np.float64] = weights * size[:, None] * self._unit
        return found

    def _guess(self, target: Floats) -> Mask:
        """Which weights are not zero after some rounds of coordinate descent, (m, k)."""
        passive = np.empty(target.shape, np.bool_)
        for start in range(0, len(target), _SWEEP_ROWS):
            # held as (k, m) so that each step is one long row
            goal = np.ascontiguousarray(target[start : start + _SWEEP_ROWS].T, np.float32)
            weights = self._start @ goal
            np.maximum(weights, 0, out=weights)
            step = np.empty_like(goal[0])
            zeros = weights > 0
            for _ in range(_MOST_ROUNDS):
                for _ in range(_ROUND):
                    for j, row in enumerate(self._small):
                        np.matmul(row, weights, out=step)
                        np.subtract(goal[j], step, out=step)
                        step += weights[j]
                        np.maximum(step, 0, out=weights[j])
                before, zeros = zeros, weights > 0
                if (before != zeros).any(axis=0).mean() < _FEW:
                    break
            passive[start : start + _SWEEP_ROWS] = zeros.T
        return passive

    def pivot(self, target: Floats, passive: Mask) -> npt.NDArray[np.float64]:
        """Block principal pivoting from a first guess of which weights are not zero.

        ``target`` (m, k) are products with factors of length 1, of each row's largest the share.
        """
        m, k = target.shape
        weights = np.empty((m, k))
        rows = np.arange(m)  # of the result, for what is still open
        fewest = np.full(m, k + 1)
        patience = np.full(m, _PATIENCE)
        # The backup rule ends after at most 2**k exchanges in theory and a few times k in practice.
        for _ in range(20 * k + 100):
            solution, dual = self._solve_patterns(target, passive)
            wrong = np.where(passive, solution, dual) < -_TOLERANCE
            weights[rows] = np.maximum(solution, 0.0)
            open_ = wrong.any(axis=1)
            if not open_.any():
                return weights
            rows, target, passive, wrong = rows[open_], target[open_], passive[open_], wrong[open_]
            fewest, patience = fewest[open_], patience[open_]
            count = wrong.sum(axis=1)
            patience = np.where(count < fewest, _PATIENCE, patience - 1)
            fewest = np.minimum(fewest, count)
            single = patience < 0
            if single.any():  # exchange only the last wrong one: cannot cycle
                last = k - 1 - np.argmax(wrong[single][:, ::-1], axis=1)
                wrong[single] = np.arange(k) == last[:, None]
            passive = passive ^ wrong
        for row, goal in zip(rows, target, strict=True):
            weights[row] = _active_set(self._gram, goal)
        return weights

    def _solve_patterns(self, target: Floats, passive: Mask) -> tuple[Floats, Floats]:
        """Least squares with the other weights held at 0, and the gradient."""
        m, k = target.shape
        if k <= 62:  # sorting integers is several times faster than sorting bytes
            keys = passive @ (1 << np.arange(k, dtype=np.int64))
            if k <= 16:  # and numpy sorts short ones by counting
                keys = keys.astype(np.uint16)
        else:
            packed = np.packbits(passive, axis=1)
            keys = packed.view(np.dtype((np.void, packed.shape[1]))).ravel()
            keys = np.unique(keys, return_inverse=True)[1]
        order = np.argsort(keys, kind="stable")
        ascending = keys[order]
        starts = np.flatnonzero(np.append(True, ascending[1:] != ascending[:-1]))
        patterns = passive[order[starts]]
        inverses = self._inverses(patterns)
        solution = np.empty((m, k))
        if len(starts) * 8 < m:
            ordered = target[order]
            solved = np.empty_like(ordered)
            bounds = [*starts.tolist(), m]
            for i, inverse in enumerate(inverses):
                part = slice(bounds[i], bounds[i + 1])
                np.matmul(ordered[part], inverse, out=solved[part])
            solution[order] = solved
        else:
            which = np.repeat(np.arange(len(starts)), np.diff([*starts.tolist(), m]))
            solution[order] = np.einsum("mij,mj->mi", np.asarray(inverses)[which], target[order])
        return solution, solution @ self._gram - target

    def _inverses(self, patterns: Mask) -> list[Floats]:
        """Of the part of the gram matrix that each pattern (p, k) leaves, zero elsewhere."""
        k = patterns.shape[1]
        keys = [int.from_bytes(row.tobytes(), "little") for row in np.packbits(patterns, axis=1)]
        found: list[Floats | None] = [self._kept.get(key) for key in keys]
        new = [i for i, inverse in enumerate(found) if inverse is None]
        if new:
            both = patterns[new][:, :, None] & patterns[new][:, None, :]
            made = np.linalg.inv(np.where(both, self._gram, np.eye(k))) * both
            for i, inverse in zip(new, made, strict=True):
                found[i] = inverse
                if len(self._kept) < self._most:
                    self._kept[keys[i]] = inverse
        return [inverse for inverse in found if inverse is not None]


def _active_set(gram: Floats, target: Floats) -> Floats:
    """Lawson & Hanson (1974) for one row: slow, and always ends. For rows pivoting gave up on."""
    k = len(target)
    passive = np.zeros(k, bool)
    weights = np.zeros(k)
    for _ in range(30 * k):
        dual = np.where(passive, -np.inf, target - gram @ weights)
        enter = int(np.argmax(dual))
        if dual[enter] <= _TOLERANCE:
            break
        passive[enter] = True
        while True:
            trial = np.zeros(k)
            trial[passive] = np.linalg.solve(gram[np.ix_(passive, passive)], target[passive])
            if (trial[passive] > 0).all():
                break
            blocked = passive & (trial <= 0)
            fraction = np.min(weights[blocked] / (weights[blocked] - trial[blocked]))
            weights += fraction * (trial - weights)
            passive &= weights > 1e-14
            weights[~passive] = 0.0
        weights = trial
    return weights
