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

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

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
# predicted one at GOAL, in two steps one after the other: the second is a test of the first. Over 160
# maps of three trained networks the lowest true correlation then was 0.995; with one step 0.986.
GOAL, DRAWS, STEPS_KNOWN = 0.995, 32, 2
# A mask whose score makes no difference to the map is still worth this share of one that does: the
# process may err about what it has not seen.
LEAST_INFLUENCE = 0.3
# Once this share is measured, the rest costs less than finding out that it is needed.
ALL_FROM = 2 / 3
# Errors are drawn together (cubic time) where this share of the map's uncertainty lies, for at most
# so many masks, and each alone elsewhere.
JOINT_SHARE, JOINT_MOST = 0.99, 1024
# Keeps a factor of a covariance real where rounding has made it singular.
JITTER = 1e-9

ALL = slice(None)


@dataclass(frozen=True, eq=False)
class Points:
    """Masks as points, without their mean, and the kernel between them.

    ``k(x, y) = exp(-|x - y|^2 / (2 reach)) + LINEAR (1 + x.y)``, in units of their mean squared
    length.
    """

    products: Numbers  # (n, n) inner products

    @classmethod
    def of(cls, masks: npt.NDArray[Any]) -> Points:
        """From masks ``(n, *grid)``."""
        rows = masks.reshape(len(masks), -1).astype(np.float64)
        rows -= rows.mean(axis=0)
        products = rows @ rows.T
        size = float(np.trace(products)) / max(1, len(rows))
        return cls(products / size if size > 0 else products)

    def __len__(self) -> int:
        return len(self.products)

    def kernel(self, some: Index | slice, others: Index | slice, reach: float) -> Numbers:
        """Of ``some`` points with ``others``, (a, b)."""
        products, own = self.products[some][:, others], np.diagonal(self.products)
        found = np.maximum(own[some][:, None] + own[others] - 2 * products, 0)
        found /= -2 * reach
        np.exp(found, out=found)
        found += LINEAR * (1 + products)
        return found

    def own(self) -> Numbers:
        """The kernel of each point with itself, (n,)."""
        found: Numbers = 1 + LINEAR * (1 + np.diagonal(self.products))
        return found


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
    columns: Numbers  # (n, m); their products with each other are what measuring explains

    @property
    def deviation(self) -> Numbers:
        """How far a value would be measured from ``mean``, (n,): one standard deviation."""
        found: Numbers = self.scale * np.sqrt(self.variance + self.ridge)
        return found

    def covariance(self) -> Numbers:
        """Of the predictions' errors, in units of ``scale ** 2``, (n, n)."""
        found = self.points.kernel(ALL, ALL, self.reach)
        found -= self.columns @ self.columns.T
        found[self.measured] = 0
        found[:, self.measured] = 0
        return found

    def draws(self, importance: Numbers, covariance: Numbers | None = None) -> Numbers:
        """Errors of the predictions that are as likely as any, ``(DRAWS, n)``; always the same ones.

        Parameters
        ----------
        importance : (n,)
            By how much each moves the map.
        covariance : (n, n), optional
            Default: each error for itself, which is quick, and too good where many go together.
        """
        errors = np.random.default_rng(0).standard_normal((DRAWS, len(self.points)))
        if covariance is None:
            return self.scale * np.sqrt(self.variance) * errors
        weight = self.variance * importance**2
        order = np.argsort(-weight, kind="stable")
        before = np.cumsum(weight[order]) - weight[order]
        most = min(JOINT_MOST, int(np.searchsorted(before, JOINT_SHARE * weight.sum())))
        joint = np.sort(order[:most])
        together = covariance[np.ix_(joint, joint)]
        together[np.diag_indices(most)] += JITTER * max(1.0, float(self.points.own().max()))
        mixed = errors[:, joint] @ np.linalg.cholesky(together).T
        errors *= np.sqrt(self.variance)
        errors[:, joint] = mixed
        return self.scale * errors


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
    for reach in REACHES:
        levels, axes = np.linalg.eigh(points.kernel(measured, measured, reach))
        along, levels = axes.T @ unit, np.maximum(levels, 0)
        for ridge in RIDGES:
            inverse = 1 / (levels + ridge)
            weights, precision = axes @ (along * inverse), axes**2 @ inverse
            # left out, a value is off by weights / precision, whose expected square is 1 / precision
            square = float(np.mean(weights**2 / precision))
            unlikely = float(np.log(max(square, 1e-300)) - np.mean(np.log(precision)))
            if best is None or unlikely < best[0]:
                best = unlikely, reach, ridge, square, weights, axes * np.sqrt(inverse)
    assert best is not None
    _, reach, ridge, square, weights, root = best
    kernel = points.kernel(ALL, measured, reach)
    columns = kernel @ root
    mean = centre + spread * (kernel @ weights)
    mean[measured] = values
    variance = np.maximum(points.own() - np.einsum("nm,nm->n", columns, columns), 0)
    variance[measured] = 0
    scale = spread * float(np.sqrt(square))
    return Fit(points, measured, mean, variance, scale, reach, ridge, columns)


def most_telling(covariance: Numbers, effect: Numbers, count: int, measured: Index) -> Index:
    """Which to measure next: one by one, the point that leaves least uncertain of the map.

    Parameters
    ----------
    covariance : (n, n)
        Of the scores, as far as they are not known.
    effect : (n, p)
        What one unit of each score does to the map.
    count : int
        So many, or as many as are left.
    measured : (m,)
        Not these.
    """
    on_map, left = effect.T @ covariance, np.diagonal(covariance).copy()
    done = np.zeros(len(left), bool)
    done[measured] = True
    chosen: list[int] = []
    columns = np.empty((len(left), min(count, int((~done).sum()))))
    for at in range(columns.shape[1]):
        # by measuring i, the variance of the map falls by |on_map_i|^2 / left_i
        gain = np.einsum("pn,pn->n", on_map, on_map) / np.maximum(left, JITTER)
        pivot = int(np.argmax(np.where(done, -1.0, gain)))
        root = np.sqrt(max(float(left[pivot]), JITTER))
        column = covariance[:, pivot] - columns[:, :at] @ columns[pivot, :at]
        column /= root
        on_map -= np.outer(on_map[:, pivot] / root, column)
        left = np.maximum(left - column**2, 0)
        columns[:, at] = column
        done[pivot] = True
        chosen.append(pivot)
    return np.array(chosen, np.intp)


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

    Takes 32 bytes of memory for each pair of masks.

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
    points = Points.of(masks)
    count = len(points)
    flat = channels.reshape(count, -1).astype(np.float64)
    # without each channel's mean: the level of a map does not matter to what it shows
    effect = flat - flat.mean(axis=1, keepdims=True)
    spread = np.sqrt(np.einsum("np,np->n", effect, effect))

    def maps(scores: Numbers) -> Numbers:
        made = weigh(scores) @ flat
        return np.maximum(made, 0, out=made) if positive else made

    limit = count if most is None else min(most, count)
    prior = points.kernel(ALL, ALL, REACHES[1])
    asked = most_telling(prior, effect, min(FIRST, limit), np.zeros(0, np.intp))
    measured, values = asked, measure(asked)
    known, wider, good = fit(points, measured, values), 1.0, 0
    while len(measured) < limit:
        covariance = known.covariance()
        tested = most is None and len(measured) > FIRST
        scores = known.mean + wider * known.draws(spread, covariance if tested else None)
        if tested:
            good = good + 1 if agreement(maps(known.mean[None]), maps(scores)) >= GOAL else 0
            if good == STEPS_KNOWN:
                break
        step = max(STEP, int(GROWTH * len(measured)))
        if most is None and len(measured) >= ALL_FROM * count:
            step = count
        moved = effect * influence(scores, weigh(scores))[:, None]
        asked = most_telling(covariance, moved, min(step, limit - len(measured)), measured)
        answer = measure(asked)
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
