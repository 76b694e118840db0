"""The local rodeo for many points at once: what the published loop gives, by matrix products.

A step compares, for each point ``q`` and dimension ``j``, the mean over samples ``i`` of
``Z_i = ((x_qj - X_ij)^2 - h_qj^2) K_qi`` with its standard error. Both are sums over samples of
weights times a polynomial in ``X_ij``, so that one product of the weights (points, samples) with
powers of ``X`` (samples, dimensions) gives all of a step. Most steps need less:

- while all bandwidths are equal and large, bounds on the kernels prove that every dimension
  shrinks, before a kernel is looked at (:func:`_certain_steps`);
- where the mean alone is far above any standard error that is possible, the second moment, two
  thirds of the work, is not taken;
- where few dimensions of a point still move, they are taken one by one.

Every shortcut is a proof that the comparison would have come out so, not an approximation.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, pi, sqrt

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
Moves = npt.NDArray[np.bool_]

# Kernels held at once, points x samples: 512 x 1000 float64 are 4 MB.
_BLOCK = 2**19

# Below this many moving dimensions a point they are cheaper one by one (measured at 1,000 x 100).
_FEW = 4

# Rounding of a product over samples, in units of the largest term: 500 times the last bit. What is
# closer to equality than that is decided by differences.
_ROUNDING = 1e-13

# Bounds are kept this far from equality, so that rounding cannot turn a proof around.
_MARGIN = 1e-9


@dataclass(frozen=True)
class Rule:
    """``start``, ``shrink`` and ``least`` of :class:`~widgetkit.concepts.LocalRodeo`."""

    start: float
    shrink: float
    least: float

    @property
    def most_steps(self) -> int:
        """Steps until a bandwidth would fall below the least one."""
        steps, h = 0, self.start
        while h * self.shrink >= self.least:
            h *= self.shrink
            steps += 1
        return steps

    def bound(self, n: int, d: int) -> float:
        """How many standard errors a mean must be away from 0 for a bandwidth to shrink."""
        # c_n = log d as published; one dimension has none and takes 1
        return sqrt(2 * max(log(n * (log(d) if d > 1 else 1.0)), 0.0))

    def bandwidth(self, step: int) -> float:
        # multiplied up, as the loop does, and not a power: the last bit decides ties
        found = self.start
        for _ in range(step):
            found *= self.shrink
        return found


@dataclass(frozen=True)
class Estimate:
    """``log_density`` (m,) and ``bandwidths`` (m, d) at the points asked for."""

    log_density: Array
    bandwidths: Array


class Samples:
    """A population, and parts of it: powers are taken once for all.

    Parameters
    ----------
    X : (n, d) float64, scaled so that ``Rule.start`` means the same in every dimension
    """

    def __init__(self, X: Array) -> None:
        self.centre = X.mean(axis=0)
        self.X = X - self.centre
        squares = self.X * self.X
        # one matrix for the mean (the first half) and the second moment (all of it)
        self.powers = np.concatenate([self.X, squares, squares * self.X, squares * squares], axis=1)

    def estimate(self, Q: Array, parts: list[Rows | None], rule: Rule) -> list[Estimate]:
        """Density of each part (None: the whole) at the points ``Q`` (m, d)."""
        d = self.X.shape[1]
        Q = Q - self.centre
        powers = [self.powers if part is None else self.powers[part] for part in parts]
        found = [Estimate(np.empty(len(Q)), np.empty((len(Q), d))) for _ in parts]
        step = max(1, _BLOCK // len(self.X))
        for at in range(0, len(Q), step):
            block = Q[at : at + step]
            squared = _squared_distances(block, self.X)  # shared by all parts
            for part, own, out in zip(parts, powers, found, strict=True):
                run = _Run(block, own, squared if part is None else squared[:, part], rule)
                run.go()
                out.log_density[at : at + step] = run.log_density()
                out.bandwidths[at : at + step] = run.h
        return found


def _squared_distances(Q: Array, X: Array) -> Array:
    """(q, n), by differences: no cancellation where a point is a sample."""
    found = np.zeros((len(Q), len(X)))
    for j in range(Q.shape[1]):
        gap = Q[:, j, None] - X[None, :, j]
        gap *= gap
        found += gap
    return found


class _Run:
    """One block of points and one part of the samples.

    Attributes
    ----------
    h : (q, d) bandwidths so far
    exponent : (q, n) logarithm of the product of the kernels, each 1 at its middle
    """

    def __init__(self, Q: Array, powers: Array, squared: Array, rule: Rule) -> None:
        self.Q, self.powers, self.squared, self.rule = Q, powers, squared, rule
        self.n, self.d = len(powers), Q.shape[1]
        self.X = powers[:, : self.d]
        bound = rule.bound(self.n, self.d)
        # |mean| > bound * sd / sqrt(n)  <=>  (sum z)^2 > share * n * sum z^2
        self.share = bound**2 / (self.n - 1 + bound**2)
        low, high = self.X.min(axis=0), self.X.max(axis=0)
        self.reach = np.maximum(np.abs(low), np.abs(high))
        self.furthest = np.maximum(np.abs(Q - low), np.abs(Q - high)) ** 2

    def go(self) -> None:
        q, d = self.Q.shape
        done = self._certain_steps()
        self.h = np.full((q, d), self.rule.bandwidth(done))
        self.exponent = self.squared * (-0.5 / self.h[:, :1] ** 2)
        active = np.ones((q, d), bool)
        equal = np.ones(q, bool)  # all bandwidths of the point are the same
        for _ in range(done, self.rule.most_steps):
            alive = np.flatnonzero(active.any(axis=1))
            if not len(alive):
                break
            if active[alive].sum() <= _FEW * len(alive):
                self._step_by_pairs(active)
                continue
            goes = self._shrinks(alive, active[alive])
            active[alive] = goes
            together = equal[alive] & goes.all(axis=1)
            equal[alive] = together
            self._shrink(alive, goes, together)

    def _certain_steps(self) -> int:
        """Steps after which certainly all bandwidths of all points are still equal.

        With one bandwidth ``h`` the terms ``(h^2 - D) K`` of a dimension lie in ``[a (h^2 - M), h^2]``
        up to a common factor, where ``D <= M < h^2`` and kernels differ by a factor of at most
        ``1/a``. For terms in ``[b, 1]``, ``n sum v^2 <= (1 + b)^2 / (4 b) (sum v)^2`` (Kantorovich).
        """
        spread = self.squared.max(axis=1) - self.squared.min(axis=1)
        furthest = self.furthest.max(axis=1)
        h = self.rule.start
        for step in range(self.rule.most_steps):
            b = np.exp(-spread / (2 * h * h)) * (1 - furthest / (h * h))
            if not (4 * b > self.share * (1 + b) ** 2 * (1 + _MARGIN)).all() or (b <= 0).any():
                return step
            h *= self.rule.shrink
        return self.rule.most_steps

    def _shrinks(self, alive: Rows, active: Moves) -> Moves:
        """(alive, d): whether the bandwidth shrinks; False where it does not move any more."""
        d, x, h = self.d, self.Q[alive], self.h[alive]
        W = self._kernels(alive)
        total = W.sum(axis=1, keepdims=True)
        sums = W @ self.powers[:, : 2 * d]
        # sum of (x - X)^2 - h^2, and of its square, as polynomials in X
        constant = x * x - h * h
        mean = constant * total - 2 * x * sums[:, :d] + sums[:, d:]
        term = (np.abs(x) + self.reach) ** 2 + h * h
        unsure = _ROUNDING * term * total
        squared = W * W
        total = squared.sum(axis=1, keepdims=True)
        largest = np.maximum(h * h, self.furthest[alive] - h * h)
        enough = self.share * self.n
        least = np.maximum(np.abs(mean) - unsure, 0.0)
        goes: Moves = active & (least * least > enough * (1 + _MARGIN) * largest**2 * total)
        rest = np.flatnonzero((active & ~goes).any(axis=1))
        if len(rest):
            s, x, c, mean = squared[rest] @ self.powers, x[rest], constant[rest], mean[rest]
            second = (
                c * c * total[rest]
                - 4 * c * x * s[:, :d]
                + (4 * x * x + 2 * c) * s[:, d : 2 * d]
                - 4 * x * s[:, 2 * d : 3 * d]
                + s[:, 3 * d :]
            )
            above = mean**2 - enough * second
            unsure = 2 * np.abs(mean) * unsure[rest] + enough * _ROUNDING * (
                term[rest] ** 2 * total[rest]
            )
            goes[rest] |= active[rest] & (above > 0)
            at, j = np.nonzero(active[rest] & (np.abs(above) <= unsure))
            if len(at):
                at = rest[at]
                goes[at, j] = self._shrinks_by_differences(alive[at], j, W[at])[0]
        return goes

    def _kernels(self, alive: Rows) -> Array:
        """(alive, n), the largest of each point 1: a common factor changes no comparison."""
        W = self.exponent[alive]
        W -= W.max(axis=1, keepdims=True)
        found: Array = np.exp(W, out=W)
        return found

    def _shrinks_by_differences(self, point: Rows, j: Rows, W: Array) -> tuple[Moves, Array]:
        """Whether the bandwidth of each pair shrinks, and the squared differences (pairs, n)."""
        gap = self.Q[point, j, None] - self.X.T[j]
        gap *= gap
        Z = (gap - self.h[point, j, None] ** 2) * W
        total = Z.sum(axis=1)
        return total * total > self.share * self.n * np.einsum("pn,pn->p", Z, Z), gap

    def _shrink(self, alive: Rows, goes: Moves, together: Moves) -> None:
        before = self.h[alive]
        after = np.where(goes, before * self.rule.shrink, before)
        self.h[alive] = after
        whole, part = alive[together], np.flatnonzero(~together & goes.any(axis=1))
        if len(whole):
            self.exponent[whole] = self.squared[whole] * (-0.5 / self.h[whole, :1] ** 2)
        if len(part):
            x = self.Q[alive[part]]
            change = np.where(goes[part], 0.5 / after[part] ** 2 - 0.5 / before[part] ** 2, 0.0)
            both = np.concatenate([-2 * change * x, change], axis=1)
            more = both @ self.powers[:, : 2 * self.d].T
            more += (change * x * x).sum(axis=1, keepdims=True)
            self.exponent[alive[part]] -= more

    def _step_by_pairs(self, active: Moves) -> None:
        """A step of the (point, dimension) pairs that still move, each by its own differences."""
        point, j = np.nonzero(active)
        alive, which = np.unique(point, return_inverse=True)
        goes, gap = self._shrinks_by_differences(point, j, self._kernels(alive)[which])
        active[point, j] = goes
        point, j, gap = point[goes], j[goes], gap[goes]
        before = self.h[point, j]
        after = before * self.rule.shrink
        self.h[point, j] = after
        gap *= (0.5 / after**2 - 0.5 / before**2)[:, None]
        np.subtract.at(self.exponent, point, gap)

    def log_density(self) -> Array:
        top = self.exponent.max(axis=1, keepdims=True)
        kernels = np.log(np.exp(self.exponent - top).mean(axis=1)) + top[:, 0]
        found: Array = kernels - np.log(self.h).sum(axis=1) - self.d / 2 * log(2 * pi)
        return found
