"""Many logistic regressions on the same rows at once: all concepts of all folds.

Each of ``P`` problems (a fold's training rows, a concept's labels) minimises ``C sum_i s_i log(1 +
exp(-y_i f_i)) + |w|^2 / 2`` on rows standardised by its fold, intercept free, as scikit-learn does.
The problems share the rows: a step of all of them is two products of the rows with a matrix of ``P``
columns. Limited-memory BFGS starts from the inverse of what the Hessian is at 0 (the Gram matrix of the fold),
which leaves it little to learn: 20 steps are usual, 100 where a concept is rare.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._hooks import Cancel, checkpoint
from widgetkit.concepts._labels import Array, Mask

Codes = npt.NDArray[np.intp]

# A step would lower the objective by half of this; no coefficient is then off by more than about
# 3e-5 (the penalty alone curves by 1).
_ENOUGH = 1e-9

_MOST_STEPS, _MOST_TRIALS, _HISTORY = 1000, 10, 30

# Gram matrices of more units are not made (eigh of 2,048 takes seconds); the diagonal then serves.
_MOST_GRAM = 2048


@dataclass(frozen=True)
class Fits:
    """Models of ``K`` training sets and ``F`` concepts.

    Attributes
    ----------
    coef : (K, F, d) for rows as given; 0 for units that are constant in training
    scaled : (K, F, d) for standardised rows
    intercept : (K, F) for rows as given
    logits : (K, F, n) of all rows, trained on or not
    converged : (K, F)
    """

    coef: Array
    scaled: Array
    intercept: Array
    logits: Array
    converged: Mask


class Design:
    """Rows, standardised in as many ways as there are training sets, without copying them.

    Parameters
    ----------
    X : (n, d) float64
    train : (K, n) bool
        Training rows of each set.
    """

    def __init__(self, X: Array, train: Mask) -> None:
        self.train = train
        self.shift = X.mean(axis=0)
        spread = X.std(axis=0)
        self.factor = np.where(spread > 0, spread, 1.0)
        # one common scale first, so that sums of squares lose no digits to an offset
        self.X = (X - self.shift) / self.factor
        K, d = len(train), X.shape[1]
        self.counts = train.sum(axis=1)
        self.mean, self.spread = np.empty((K, d)), np.empty((K, d))
        for k, rows in enumerate(train):
            mine = self.X[rows]
            self.mean[k] = mine.mean(axis=0)
            own = mine.std(axis=0)
            # rows of other folds may differ where training rows do not: nothing is learned from that
            still = (mine.min(axis=0) == mine.max(axis=0)) | (own == 0)
            self.spread[k] = np.where(still, np.inf, own)
        self._basis: list[tuple[Array, Array]] | None = None

    @property
    def basis(self) -> list[tuple[Array, Array]] | None:
        """Eigenvalues and vectors of the Gram matrix of each standardised training set."""
        d = self.X.shape[1]
        if d > _MOST_GRAM:
            return None
        if self._basis is None:
            # sets overlap: each Gram matrix is that of all rows less that of those left out
            whole, found = self.X.T @ self.X, []
            for k, rows in enumerate(self.train):
                count = int(self.counts[k])
                if 2 * count > len(rows):
                    rest = self.X[~rows]
                    gram = whole - rest.T @ rest
                else:
                    mine = self.X[rows]
                    gram = mine.T @ mine
                gram = gram - count * np.outer(self.mean[k], self.mean[k])
                gram = gram / self.spread[k][:, None] / self.spread[k][None, :]
                values, vectors = np.linalg.eigh(gram)
                found.append((np.maximum(values, 0.0), vectors))
            self._basis = found
        return self._basis


def fit_logistic(
    design: Design,
    y: Mask,
    known: Mask,
    C: float | Array,
    *,
    start: Fits | None = None,
    cancel: Cancel | None = None,
) -> Fits:
    """All models of all training sets; classes count alike, as ``class_weight="balanced"``.

    Parameters
    ----------
    design : Design
    y : (n, F) bool
    known : (n, F) bool
        Rows without a label do not count.
    C : float, or (F,) float
    start : Fits, optional
        Of the same shape, to begin from.
    cancel : callable, optional

    Returns
    -------
    Fits
        NaN where a training set holds one class only.
    """
    K, n = design.train.shape
    F, d = y.shape[1], design.X.shape[1]
    weights = np.zeros((K, F, n))
    for k in range(K):
        use = known & design.train[k][:, None]
        total = use.sum(axis=0)
        for side in (y, ~y):
            mine = use & side
            weights[k] += (mine * (total / (2 * np.maximum(mine.sum(axis=0), 1)))).T
    both = [
        ((known & y)[rows].any(axis=0) & (known & ~y)[rows].any(axis=0)) for rows in design.train
    ]
    able = np.stack(both)
    set_, concept = np.nonzero(able)
    strength = np.broadcast_to(np.asarray(C, np.float64), F)[concept]
    solver = _Solver(design, set_, weights[set_, concept].T * strength, y[:, concept])
    if start is not None:
        own = start.scaled[set_, concept].T, _centred(start, design)[set_, concept]
        solver.begin(np.nan_to_num(np.concatenate([own[0], own[1][None]])))
    solver.go(cancel)
    scaled = np.full((K, F, d), np.nan)
    coef, intercept = scaled.copy(), np.full((K, F), np.nan)
    logits, converged = np.full((K, F, n), np.nan), np.zeros((K, F), np.bool_)
    inner = solver.weights[:-1].T / design.spread[set_]
    scaled[able] = solver.weights[:-1].T
    coef[able] = inner / design.factor
    intercept[able] = (
        solver.weights[-1] - (design.mean[set_] * inner).sum(axis=1) - coef[able] @ design.shift
    )
    logits[able] = solver.logits.T
    converged[able] = solver.converged
    return Fits(coef, scaled, intercept, logits, converged)


def _centred(fits: Fits, design: Design) -> Array:
    """(K, F) intercepts for standardised rows."""
    middle = design.shift + design.factor * design.mean
    found: Array = fits.intercept + np.einsum("kfd,kd->kf", fits.coef, middle)
    return found


class _Solver:
    """P problems by limited-memory BFGS in step, each with a length and a history of its own.

    Problems that are done leave: arrays hold the ``p`` that are ``left``.

    Attributes
    ----------
    W : (d + 1, p) weights for standardised rows, the intercept last
    m : (n, p) logits with the sign of the label: above 0 where a row is on its side
    """

    def __init__(self, design: Design, k: Codes, s: Array, y: Mask) -> None:
        self.design, self.k, self.s = design, k, s
        self.sign = np.where(y, 1.0, -1.0)
        P, d = len(k), design.X.shape[1]
        self.left = np.arange(P)
        self.W = np.zeros((d + 1, P))
        self.m = np.zeros((len(design.X), P))
        # curvature of an undecided row, of all rows together: what the Gram matrix is scaled by
        self.level = s.sum(axis=0) / 4
        self.weights, self.logits = self.W.copy(), self.m.copy()
        self.converged = np.zeros(P, np.bool_)

    def begin(self, W: Array) -> None:
        self.W = W
        self.m = self._logits(W) * self.sign

    def go(self, cancel: Cancel | None) -> None:
        G = self._gradient(_sigmoid(-self.m))
        past: list[_Pair] = []
        for _ in range(_MOST_STEPS):
            checkpoint(cancel)
            D = self._direction(G, past)
            slope = _dot(G, D)
            uphill = slope >= 0
            if uphill.any():  # rounding at the end; the preconditioned gradient always goes down
                D = np.where(uphill, -self._precondition(G), D)
                slope = _dot(G, D)
            # the intercept has no penalty, and the data alone may curve by less than that
            going = -slope > _ENOUGH * np.minimum(1.0, self.level)
            if not going.all():
                self._leave(~going, True)
                if not len(self.left):
                    return
                D, G, slope = D[:, going], G[:, going], slope[going]
                past = [pair.of(going) for pair in past]
            moved, wrong = self._move(D, slope)
            before, G = G, self._gradient(wrong)
            past = [*past[1 - _HISTORY :], _Pair.of_step(moved, G - before)]
        self._leave(np.ones(len(self.left), np.bool_), False)

    def _leave(self, who: Mask, converged: bool) -> None:
        self.weights[:, self.left[who]] = self.W[:, who]
        self.logits[:, self.left[who]] = self.m[:, who] * self.sign[:, who]
        self.converged[self.left[who]] = converged
        for name in ("W", "m", "s", "sign"):
            setattr(self, name, np.ascontiguousarray(getattr(self, name)[:, ~who]))
        for name in ("left", "k", "level"):
            setattr(self, name, getattr(self, name)[~who])

    def _direction(self, G: Array, past: list[_Pair]) -> Array:
        """Minus an estimate of the inverse Hessian times ``G`` (Nocedal & Wright 2006, algorithm 7.4)."""
        q, shares = G.copy(), []
        for pair in reversed(past):
            share = pair.r * _dot(pair.step, q)
            q -= share * pair.change
            shares.append(share)
        found = self._precondition(q)
        if past:
            inside = past[-1].r * _dot(past[-1].change, self._precondition(past[-1].change))
            found *= np.where(inside > 0, 1 / np.where(inside > 0, inside, 1.0), 1.0)
        for pair, share in zip(past, reversed(shares), strict=True):
            found += pair.step * (share - pair.r * _dot(pair.change, found))
        found *= -1
        return found

    def _move(self, D: Array, slope: Array) -> tuple[Array, Array]:
        """Go along ``D`` until the slope is small (strong Wolfe), by Newton steps; what was gone, and how
        far each row is from its label then, (n, p) in (0, 1).

        The objective along a line costs no product of the rows: its logits are ``m + t along``.
        """
        along = self._logits(D)
        along *= self.sign
        square, flat = _dot(D[:-1], D[:-1]), _dot(self.W[:-1], D[:-1])
        t, low = np.ones(len(slope)), np.zeros(len(slope))
        high = np.full(len(slope), np.inf)
        for trial in range(_MOST_TRIALS):
            m = self.m + t * along
            wrong = _sigmoid(-m)
            pull = self.s * wrong
            pull *= along
            here = flat + t * square - pull.sum(axis=0)
            again = np.abs(here) > 0.7 * np.abs(slope)
            if not again.any() or trial == _MOST_TRIALS - 1:
                break
            pull *= along
            curve = square + _dot(pull, 1 - wrong)
            low, high = np.where(here < 0, t, low), np.where(here > 0, t, high)
            step = t - here / np.maximum(curve, 1e-300)
            middle = np.where(np.isfinite(high), (low + high) / 2, 2 * t)
            inside = (step > low) & (step < np.minimum(high, 5 * t))
            t = np.where(again, np.where(inside, step, middle), t)
        D = D * t
        self.W += D
        self.m = m
        return D, wrong

    # -- products ----------------------------------------------------------------------
    def _logits(self, W: Array) -> Array:
        inner = W[:-1] / self.design.spread[self.k].T
        found: Array = self.design.X @ inner
        found += W[-1] - _dot(self.design.mean[self.k].T, inner)
        return found

    def _gradient(self, wrong: Array) -> Array:
        """(d + 1, p)"""
        residual = self.s * wrong
        residual *= self.sign
        total = residual.sum(axis=0)
        inner = self.design.X.T @ residual
        inner -= self.design.mean[self.k].T * total
        inner /= self.design.spread[self.k].T
        found = np.empty_like(self.W)
        np.subtract(self.W[:-1], inner, out=found[:-1])
        found[-1] = -total
        return found

    def _precondition(self, G: Array) -> Array:
        """The inverse of the Hessian at 0 with all rows of a training set weighing the same, times ``G``."""
        basis, found = self.design.basis, np.empty_like(G)
        found[-1] = G[-1] / self.level
        if basis is None:
            found[:-1] = G[:-1] / (1 + self.level)
            return found
        for k in np.unique(self.k):
            mine = self.k == k
            values, vectors = basis[k]
            inside = vectors.T @ G[:-1, mine]
            inside /= 1 + self.level[mine] / self.design.counts[k] * values[:, None]
            found[:-1, mine] = vectors @ inside
        return found


@dataclass(frozen=True)
class _Pair:
    """A step (d + 1, p), the change of the gradient along it, and ``r`` = 1 / their product."""

    step: Array
    change: Array
    r: Array

    @classmethod
    def of_step(cls, step: Array, change: Array) -> _Pair:
        product = _dot(step, change)
        # convex, so never negative but by rounding; r = 0 leaves the pair out
        r = np.where(product > 0, 1 / np.where(product > 0, product, 1.0), 0.0)
        return cls(step, change, r)

    def of(self, who: Mask) -> _Pair:
        return _Pair(self.step[:, who], self.change[:, who], self.r[who])


def _dot(a: Array, b: Array) -> Array:
    found: Array = np.einsum("dp,dp->p", a, b)
    return found


def _sigmoid(x: Array) -> Array:
    found: Array = 0.5 * (1 + np.tanh(0.5 * x))
    return found
