"""Exact non-negative least squares for many rows at once, with few factors.

With ``k`` factors everything a row needs is its ``k`` correlations with them and the ``k x k``
gram matrix, so a million rows are one matrix product and then work on ``(n, k)``. A few sweeps of
coordinate descent guess which weights are zero; block principal pivoting (Kim & Park 2011) makes
the guess exact. All rows with the same pattern of zeros share one small inverse.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import Floats, Mask, as_matrix, check_finite, working
from widgetkit.analysis._hooks import Cancel, checkpoint
from widgetkit.errors import ChannelMismatch

# Rows solved at once: a block of float32 (16384, 512) is 32 MB, and its (k, 16384) weights stay
# in the cache. Fewer when k is large, because the pivoting holds (rows, k, k) float64.
_BLOCK = 16384
_BLOCK_BYTES = 64 * 2**20

# Sweeps before pivoting. With ten strongly correlated factors 8 sweeps leave 87 % of the rows for
# another pivot, 32 leave 6 %; one sweep costs a thirtieth of the matrix product for C = 512.
_SWEEPS = 32

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
        return solve_gram(self.gram, products).astype(rows.dtype, copy=False), products


def solve_gram(gram: Floats, products: Floats) -> npt.NDArray[np.float64]:
    """Non-negative least squares from ``gram = H Hᵀ`` (k, k) and ``products = X Hᵀ`` (m, k).

    Returns
    -------
    (m, k) float64
    """
    gram = np.asarray(gram, np.float64)
    length = np.sqrt(np.diag(gram))
    alive = length > np.finfo(np.float64).tiny ** 0.5
    unit = np.where(alive, 1.0 / np.where(alive, length, 1.0), 0.0)
    scaled = gram * unit[:, None] * unit
    np.fill_diagonal(scaled, 1.0 + _RIDGE)
    target = products.astype(np.float64) * unit
    # rows differ by orders of magnitude; a common scale makes one tolerance right for all
    size = np.abs(target).max(axis=1, initial=0.0)
    target /= np.where(size > 0, size, 1.0)[:, None]
    guess = _sweeps(scaled, target)
    weights = _pivot(scaled, target, guess > 0)
    found: npt.NDArray[np.float64] = weights * size[:, None] * unit
    return found


def _sweeps(gram: Floats, target: Floats) -> Floats:
    """A few rounds of coordinate descent. Held as (k, m) so that each step is one long row."""
    goal = np.ascontiguousarray(target.T, np.float32)
    small = gram.astype(np.float32)
    weights = np.maximum(goal, 0)
    for _ in range(_SWEEPS):
        for j in range(len(small)):
            step = goal[j] - small[j] @ weights
            step += weights[j]
            np.maximum(step, 0, out=weights[j])
    return weights.T


def _pivot(gram: Floats, target: Floats, passive: Mask) -> npt.NDArray[np.float64]:
    """Block principal pivoting from a first guess of which weights are not zero."""
    m, k = target.shape
    weights = np.zeros((m, k))
    passive = np.array(passive, order="C")
    rows = np.arange(m)
    fewest = np.full(m, k + 1)
    patience = np.full(m, _PATIENCE)
    # The backup rule ends after at most 2**k exchanges in theory and a few times k in practice.
    for _ in range(20 * k + 100):
        if not len(rows):
            return weights
        solution, dual = _solve_patterns(gram, target[rows], passive[rows])
        wrong = np.where(passive[rows], solution < -_TOLERANCE, dual < -_TOLERANCE)
        count = wrong.sum(axis=1)
        weights[rows] = np.maximum(solution, 0.0)
        open_ = count > 0
        rows, wrong, count = rows[open_], wrong[open_], count[open_]
        better = count < fewest[rows]
        patience[rows] = np.where(better, _PATIENCE, patience[rows] - 1)
        fewest[rows] = np.minimum(fewest[rows], count)
        single = patience[rows] < 0
        if single.any():  # exchange only the last wrong one: cannot cycle
            last = k - 1 - np.argmax(wrong[single][:, ::-1], axis=1)
            wrong[single] = np.arange(k) == last[:, None]
        passive[rows] ^= wrong
    for row in rows:
        weights[row] = _active_set(gram, target[row])
    return weights


def _solve_patterns(gram: Floats, target: Floats, passive: Mask) -> tuple[Floats, Floats]:
    """Least squares with the other weights held at 0, and the gradient; one inverse a pattern."""
    m, k = target.shape
    if k <= 62:  # sorting integers is several times faster than sorting bytes
        keys = passive @ (1 << np.arange(k, dtype=np.int64))
    else:
        packed = np.packbits(passive, axis=1)
        keys = packed.view(np.dtype((np.void, packed.shape[1]))).ravel()
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    patterns = passive[first]
    both = patterns[:, :, None] & patterns[:, None, :]
    inverses = np.linalg.inv(np.where(both, gram, np.eye(k)))
    inverses *= both
    solution = np.empty((m, k))
    if len(patterns) * 8 < m:
        order = np.argsort(which, kind="stable")
        ends = np.cumsum(np.bincount(which, minlength=len(patterns)))
        ordered, start = target[order], 0
        solved = np.empty_like(ordered)
        for inverse, end in zip(inverses, ends, strict=True):
            np.matmul(ordered[start:end], inverse, out=solved[start:end])
            start = end
        solution[order] = solved
    else:
        np.einsum("mij,mj->mi", inverses[which], target, out=solution)
    return solution, solution @ gram - target


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
