"""Scores of many masks from those of a few.

How much of a cluster an encoder sees through a mask is a smooth function of the mask, and the
masks of a layer's channels lie close together: hundreds of channels share a grid of a few dozen
positions. So some are measured and the others predicted by kernel ridge regression. Read as a
Gaussian process, it also says how far off it may be, and with that which mask would tell most of the
map, and whether the map is known well enough: :func:`search`.

References
----------
Rasmussen & Williams, Gaussian Processes for Machine Learning, MIT Press 2006, equations 2.25, 2.26
and 5.10 to 5.12: prediction, and leaving one out in closed form.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from widgetkit.explain.blas import one_thread

Numbers = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

# Reach of the kernel, in mean squared distances of the points from their mean, and noise in units of
# the kernel: chosen among by leaving one out. The second reach stands for all before the first score.
REACHES = (0.5, 2.0, 8.0)
RIDGES = tuple(10.0**power for power in range(-9, 0))
# Share of the linear part: without it, what lies outside the measured masks falls back to the mean.
LINEAR = 1.0
# Measured at first, and then; the steps grow, so that fitting stays cheap beside the passes.
FIRST, STEP, GROWTH = 32, 16, 0.25
# The map is known when DRAWS maps that the scores could as well have made all correlate with the
# predicted one at GOAL, in two steps one after the other: the second is a test of the first. Higher
# than what is to hold (0.99), for the process may be surer than it should. Over 720 maps of four
# trained networks the lowest true correlation was 0.9947; with 0.9925 here one of them was 0.9896.
GOAL, DRAWS, STEPS_KNOWN = 0.995, 32, 2
# A mask whose score makes no difference to the map is still worth this share of one that does: the
# process may err about what it has not seen.
LEAST_INFLUENCE = 0.3
# Once this share is measured, the rest costs less than finding out that it is needed.
ALL_FROM = 2 / 3
# Keeps a factor of a covariance real where rounding has made it singular.
JITTER = 1e-9


class Points:
    """Masks as points, without their mean, and the kernel between them.

    ``k(x, y) = exp(-|x - y|^2 / (2 reach)) + LINEAR (1 + x.y)``, in units of their mean squared
    length.

    Parameters
    ----------
    masks : (n, *grid)
    """

    def __init__(self, masks: npt.NDArray[Any]) -> None:
        rows = masks.reshape(len(masks), -1).astype(np.float64)
        rows -= rows.mean(axis=0)
        products = rows @ rows.T
        size = float(np.trace(products)) / max(1, len(rows))
        self._products = products / size if size > 0 else products
        self._kernels: dict[float, Numbers] = {}
        self._draws: dict[float, Numbers] = {}

    def __len__(self) -> int:
        return len(self._products)

    def kernel(self, reach: float) -> Numbers:
        """Between all points, (n, n)."""
        if reach not in self._kernels:
            own = np.diagonal(self._products)
            found = np.maximum(own[:, None] + own - 2 * self._products, 0)
            found /= -2 * reach
            np.exp(found, out=found)
            found += LINEAR * (1 + self._products)
            self._kernels[reach] = found
        return self._kernels[reach]

    def draws(self, reach: float) -> Numbers:
        """Functions that have the kernel as their covariance, (DRAWS, n); always the same ones."""
        if reach not in self._draws:
            kernel = self.kernel(reach).copy()
            kernel[np.diag_indices(len(kernel))] *= 1 + JITTER
            normal = np.random.default_rng(0).standard_normal((DRAWS, len(kernel)))
            self._draws[reach] = normal @ np.linalg.cholesky(kernel).T
        return self._draws[reach]


@dataclass(frozen=True, eq=False)
class Fit:
    """What the measured points say of all.

    Attributes
    ----------
    measured : (m,)
    mean : (n,)
        The scores: as measured, or predicted.
    variance : (n,)
        Of the predicted ones, in units of ``scale ** 2``; 0 where measured.
    scale : float
        In units of the scores.
    reach, ridge : float
        Of the kernel, as chosen.
    """

    points: Points
    measured: Index
    mean: Numbers
    variance: Numbers
    scale: float
    reach: float
    ridge: float
    root: (
        Numbers  # (m, m), times its transpose the inverse of the measured points' kernel and ridge
    )
    columns: Numbers  # (n, m), the kernel with the measured times root

    @property
    def deviation(self) -> Numbers:
        """How far a value would be measured from ``mean``, (n,): one standard deviation."""
        found: Numbers = self.scale * np.sqrt(self.variance + self.ridge)
        return found

    def draws(self) -> Numbers:
        """Errors that ``mean`` may have, each as likely as any other, ``(DRAWS, n)``.

        A draw before anything was measured, less what would be predicted from its own values at the
        measured points (Matheron's rule).
        """
        drawn = self.points.draws(self.reach)
        noise = np.random.default_rng(1).standard_normal((DRAWS, len(self.measured)))
        at = drawn[:, self.measured] + np.sqrt(self.ridge) * noise
        errors = drawn - at @ self.root @ self.columns.T
        errors[:, self.measured] = 0
        found: Numbers = self.scale * errors
        return found


def fit(points: Points, measured: Index, values: Numbers) -> Fit:
    """Kernel ridge regression on the measured points.

    Reach and ridge are those under which each measured value is likeliest given all the others.

    Parameters
    ----------
    points : Points
    measured : (m,)
        Which were measured.
    values : (m,)
        Their scores.
    """
    centre, spread = float(values.mean()), float(values.std())
    unit = (values - centre) / (spread if spread > 0 else 1)
    best: tuple[float, float, float, float, Numbers, Numbers] | None = None
    ridges = np.array(RIDGES)
    for reach in REACHES:
        levels, axes = np.linalg.eigh(points.kernel(reach)[np.ix_(measured, measured)])
        inverse = 1 / (np.maximum(levels, 0)[:, None] + ridges)  # (m, ridges), as are the next two
        weights, precision = axes @ ((axes.T @ unit)[:, None] * inverse), axes**2 @ inverse
        # left out, a value is off by weights / precision, whose expected square is 1 / precision
        square = np.mean(weights**2 / precision, axis=0)
        unlikely = np.log(np.maximum(square, 1e-300)) - np.mean(np.log(precision), axis=0)
        at = int(np.argmin(unlikely))
        if best is None or unlikely[at] < best[0]:
            root = axes * np.sqrt(inverse[:, at])
            best = unlikely[at], reach, RIDGES[at], square[at], weights[:, at], root
    assert best is not None
    _, reach, ridge, scale, weights, root = best
    kernel = points.kernel(reach)
    columns = kernel[:, measured] @ root
    mean = centre + spread * (kernel[:, measured] @ weights)
    mean[measured] = values
    variance = np.maximum(np.diagonal(kernel) - np.einsum("nm,nm->n", columns, columns), 0)
    variance[measured] = 0
    scale = spread * float(np.sqrt(scale))
    return Fit(points, measured, mean, variance, scale, reach, ridge, root, columns)


def most_telling(points: Points, effect: Numbers, count: int, known: Fit | None = None) -> Index:
    """Which to measure next: one by one, the point that leaves least uncertain of the map.

    Parameters
    ----------
    points : Points
    effect : (n, p)
        What one unit of each score does to the map.
    count : int
        So many, or as many as are left.
    known : Fit, optional
        What was measured before.
    """
    done = np.zeros(len(points), bool)
    kernel = points.kernel(REACHES[1] if known is None else known.reach)
    before = np.zeros((len(points), 0)) if known is None else known.columns
    left = np.diagonal(kernel).copy() if known is None else known.variance.copy()
    if known is not None:
        done[known.measured] = True
    m = before.shape[1]
    columns = np.empty((len(points), m + min(count, int((~done).sum()))))
    columns[:, :m] = before
    # covariance of each score with the map; measuring i, the map's variance falls by its square / left
    on_map = effect.T @ kernel - (effect.T @ before) @ before.T
    squares = np.einsum("pn,pn->n", on_map, on_map)
    moved = np.empty((len(on_map), columns.shape[1] - m))
    chosen = np.empty(moved.shape[1], np.intp)
    for at in range(m, columns.shape[1]):
        pivot = int(np.argmax(np.where(done, -1.0, squares / np.maximum(left, JITTER))))
        root = np.sqrt(max(float(left[pivot]), JITTER))
        column = (kernel[:, pivot] - columns[:, :at] @ columns[pivot, :at]) / root
        added, own = moved[:, : at - m], columns[:, m:at]
        move = (on_map[:, pivot] - added @ own[pivot]) / root
        # on_map now has lost the product of the two: its squares, without making it
        along = move @ on_map - own @ (added.T @ move)
        squares = np.maximum(squares + column * (column * (move @ move) - 2 * along), 0)
        left = np.maximum(left - column**2, 0)
        columns[:, at], moved[:, at - m], done[pivot] = column, move, True
        chosen[at - m] = pivot
    return chosen


@dataclass(frozen=True, eq=False)
class Found:
    """Scores ``(n,)``, and which of them were measured ``(n,)``."""

    scores: Numbers
    measured: npt.NDArray[np.bool_]


def search(
    masks: npt.NDArray[Any],
    channels: npt.NDArray[Any],
    measure: Callable[[Index], Numbers],
    weigh: Callable[[Numbers], Numbers],
    *,
    positive: bool,
    most: int | None = None,
) -> Found:
    """Scores of all masks: measured, some at a time, until the map that they make is known.

    Takes 50 bytes of memory for each pair of masks.

    Parameters
    ----------
    masks : (n, *grid)
        All different.
    channels : (n, *grid)
        What the weights are multiplied with in the map.
    measure : callable
        Scores ``(m,)`` of masks ``(m,)``. The same answers lead to the same questions.
    weigh : callable
        Weights ``(s, n)`` of scores ``(s, n)``, up to a factor.
    positive : bool
        Whether the map's negative part is cut off.
    most : int, optional
        Measure so many, whatever the map is like then.
    """
    steps = _steps(masks, channels, weigh, positive=positive, most=most)
    with one_thread():
        asked = next(steps)
    while True:
        answer = measure(asked)
        try:
            with one_thread():
                asked = steps.send(answer)
        except StopIteration as stop:
            found: Found = stop.value
            return found


def _steps(
    masks: npt.NDArray[Any],
    channels: npt.NDArray[Any],
    weigh: Callable[[Numbers], Numbers],
    *,
    positive: bool,
    most: int | None,
) -> Generator[Index, Numbers, Found]:
    """Yields which masks to measure, and takes their scores."""
    points = Points(masks)
    count = len(points)
    flat = channels.reshape(count, -1).astype(np.float64)
    # without each channel's mean: the level of a map does not matter to what it shows
    effect = flat - flat.mean(axis=1, keepdims=True)

    def maps(scores: Numbers) -> Numbers:
        made = weigh(scores) @ flat
        return np.maximum(made, 0, out=made) if positive else made

    limit = count if most is None else min(most, count)
    measured = most_telling(points, effect, min(FIRST, limit))
    values = np.asarray((yield measured), np.float64)
    known, wider, good = fit(points, measured, values), 1.0, 0
    while len(measured) < limit:
        scores = known.mean + wider * known.draws()
        if most is None and len(measured) > FIRST:
            good = good + 1 if agreement(maps(known.mean[None]), maps(scores)) >= GOAL else 0
            if good == STEPS_KNOWN:
                break
        step = max(STEP, int(GROWTH * len(measured)))
        if most is None and len(measured) >= ALL_FROM * count:
            step = count
        moved = effect * influence(scores, weigh(scores))[:, None]
        asked = most_telling(points, moved, min(step, limit - len(measured)), known)
        answer = np.asarray((yield asked), np.float64)
        # what was predicted of them is a test of the fit
        errors = (answer - known.mean[asked]) / np.maximum(known.deviation[asked], 1e-300)
        wider = max(1.0, float(np.sqrt(np.mean(np.minimum(np.abs(errors), 1e3) ** 2))))
        measured, values = np.concatenate([measured, asked]), np.concatenate([values, answer])
        known = fit(points, measured, values)
    seen = np.zeros(count, bool)
    seen[measured] = True
    return Found(known.mean, seen)


def agreement(one: Numbers, others: Numbers) -> float:
    """Lowest correlation of a map ``(1, p)`` with others ``(s, p)``.

    1 with one that is as flat as itself, 0 where only one of the two is flat.
    """
    rows = np.concatenate([one, others])
    largest = np.abs(rows).max(axis=1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    lengths = np.sqrt(np.einsum("sp,sp->s", rows, rows))
    flat = lengths <= 1e-12 * largest
    either = flat[1:] | flat[0]
    products = rows[1:] @ rows[0] / np.where(either, 1, lengths[1:] * lengths[0])
    return float(np.where(either, flat[1:] == flat[0], products).min())


def influence(scores: Numbers, weights: Numbers) -> Numbers:
    """How much a weight moves with its score, over draws ``(s, n)`` of both: at most 1."""
    width = scores.std(axis=0)
    moved = np.where(width > 0, weights.std(axis=0) / np.where(width > 0, width, 1), 0)
    top = float(moved.max())
    return np.maximum(moved / top, LEAST_INFLUENCE) if top > 0 else np.ones(len(moved))
