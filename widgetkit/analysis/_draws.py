"""Intervals of effects, means, medians and shares of clusters: units are drawn with replacement.

Every statistic is a function of sums over units, so a draw is one row of counts times a small matrix.
Many units are put together at random into :data:`BLOCKS` first: blocks of independent units are drawn
as well as the units themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import Floats
from widgetkit.analysis._columns import Codes
from widgetkit.analysis._tests import cramer_squared, log_odds
from widgetkit.analysis.resampling import FEW_GROUPS, LEAST_GROUPS, Counts, interval, resample

#: Units that are drawn at the most.
BLOCKS = 200
#: Classes that values are ranked in anew in each draw.
CLASSES = 32

Drawn = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Draws:
    """How often each block of units was drawn, for all variables alike.

    Attributes
    ----------
    counts : (draws, blocks) float32, or None for no intervals
    block : (units,) the block of each unit
    units, level
    """

    counts: Drawn | None
    block: Codes
    units: int
    level: float

    @classmethod
    def make(cls, units: int, n_boot: int, seed: int, level: float) -> Draws:
        generator = np.random.default_rng((seed, 2))
        blocks = min(units, BLOCKS)
        block = np.arange(units) % max(blocks, 1)
        if units > BLOCKS:
            block = generator.permutation(block)
        usable = n_boot > 0 and units >= LEAST_GROUPS
        counts = None
        if usable:
            counts = resample(_same, blocks, n_boot, seed).astype(np.float32)
        return cls(counts, block.astype(np.intp), units, level)

    def note(self, word: str) -> str:
        if self.units < LEAST_GROUPS:
            return f"No interval: {self.units} {word}{'' if self.units == 1 else 's'}."
        if self.units < FEW_GROUPS:
            return f"Only {self.units} {word}s: intervals hold the truth less often than they say."
        return ""

    def sums(self, unit: Codes, cell: Codes, cells: int, weights: Floats) -> Floats | None:
        """(draws, cells) sums of ``weights`` (r,) by cell, of each draw."""
        if self.counts is None:
            return None
        blocks = self.counts.shape[1]
        at = self.block[unit] * cells + cell
        each = summed(at, weights, blocks * cells).reshape(blocks, cells)
        # single precision: an interval is drawn, and its ends differ in the third digit from seed to seed
        found: Floats = (self.counts @ each.astype(np.float32)).astype(np.float64)
        return found

    def ends(self, drawn: Floats) -> tuple[Floats, Floats]:
        """Interval of a statistic without noteworthy bias, from its draws (draws, ...)."""
        return interval(drawn, min(self.units, BLOCKS), self.level)

    def centred_ends(self, drawn: Floats, estimate: float) -> tuple[float, float]:
        """The same of one that draws overestimate, such as a share of variance: moved to its estimate."""
        known = drawn[np.isfinite(drawn)]
        if not len(known) or not np.isfinite(estimate):
            return np.nan, np.nan
        low, high = self.ends(drawn)
        bias = float(known.mean()) - estimate
        return float(low) - bias, float(high) - bias


@dataclass(frozen=True)
class Effect:
    """An effect size with its name and interval, and its strength from 0 to 1, comparable over kinds.

    ``strength`` is the square root of the share of variance between clusters less what chance gives (of
    values, of ranks), and Cramer's V less what chance gives for categories.
    """

    name: str
    value: float
    low: float
    high: float
    strength: float
    strength_low: float
    strength_high: float


def _same(counts: Counts) -> Floats:
    return counts


def summed(cell: Codes, weights: Floats, cells: int) -> Floats:
    """(cells,) sums of weights."""
    found: Floats = np.bincount(cell, weights=weights, minlength=cells).astype(np.float64)
    return found


#: Values and weights of each cluster, values ascending.
Parts = list[tuple[Floats, Floats]]


@dataclass(frozen=True, eq=False)
class Rows:
    """A variable on the rows that an effect is of; see :class:`~widgetkit.analysis._units.Data`."""

    x: Floats
    cluster: Codes
    unit: Codes
    weight: Floats
    k: int
    n: float
    chance: float | None
    """Share of variance between clusters by chance, from permutations; None: from degrees of freedom."""


def effect_of_means(rows: Rows, draws: Draws) -> Effect:
    """Omega squared, or Cohen's d of two clusters (the first less the second)."""
    middle = float(rows.x.mean())
    x = rows.x - middle
    size = float(np.abs(x).max()) or 1.0
    x = x / size
    powers = [rows.weight * p for p in (np.ones(len(x)), x, x * x)]
    n, s, q = (summed(rows.cluster, w, rows.k)[None] for w in powers)
    parts = [part for w in powers if (part := draws_of(draws, rows, w)) is not None]

    def shares(n: Floats, s: Floats, q: Floats) -> tuple[Floats, Floats]:
        """Excess share of variance, and Cohen's d."""
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = s / n
            whole = s.sum(1) / n.sum(1)
            there = n > 0
            between = np.where(there, n * (mean - whole[:, None]) ** 2, 0).sum(1)
            total = np.maximum(q.sum(1) - n.sum(1) * whole**2, between)
            within = total - between
            k = there.sum(1)
            if rows.chance is None:
                noise = within / (n.sum(1) - k)
                excess = (between - (k - 1) * noise) / (total + noise)
                pooled = np.sqrt(within / (n.sum(1) - 2))
            else:
                excess = (between / total - rows.chance) / (1 - rows.chance)
                pooled = np.sqrt(within / n.sum(1))
            d = (mean[:, 0] - mean[:, 1]) / pooled if rows.k == 2 else excess
        return excess, d

    name = (
        "Cohen's d" if rows.k == 2 else ("omega²" if rows.chance is None else "eta², less chance")
    )
    return _effect(name, shares(n, s, q), shares(*parts) if parts else None, draws)


def effect_of_ranks(rows: Rows, draws: Draws) -> Effect:
    """Epsilon squared, or the rank-biserial correlation of two clusters (positive: the first is higher)."""
    whole = _shares_of_ranks(rows, *_classes(rows.x, None))
    place, classes = _classes(rows.x, CLASSES)
    cell = rows.cluster * classes + place
    drawn = draws.sums(rows.unit, cell, rows.k * classes, rows.weight)
    shares = None if drawn is None else _ranked(drawn.reshape(-1, rows.k, classes), rows)
    name = "rank-biserial r" if rows.k == 2 else "epsilon²"
    if rows.k > 2 and rows.chance is not None:
        name = "epsilon², less chance"
    return _effect(name, whole, shares, draws, within=(-1.0 if rows.k == 2 else 0.0, 1.0))


def _shares_of_ranks(rows: Rows, place: Codes, classes: int) -> tuple[Floats, Floats]:
    """Of the rows themselves, by every different value."""
    if rows.k * classes <= 100_000:
        table = summed(rows.cluster * classes + place, rows.weight, rows.k * classes)
        return _ranked(table.reshape(1, rows.k, classes), rows)
    own = summed(place, rows.weight, classes)
    ridit = ((np.cumsum(own) - own / 2) / own.sum())[place] - 0.5
    n = summed(rows.cluster, rows.weight, rows.k)[None]
    sums = summed(rows.cluster, rows.weight * ridit, rows.k)[None]
    spread = np.array([float(rows.weight @ ridit**2)])
    return _from_ridits(n, sums / n, spread, rows)


def _ranked(table: Floats, rows: Rows) -> tuple[Floats, Floats]:
    """From weights (b, k, classes)."""
    own = table.sum(1)
    n = own.sum(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        ridit = (np.cumsum(own, 1) - own / 2) / n - 0.5
        sizes = table.sum(2)
        mean = np.einsum("bkc,bc->bk", table, ridit) / sizes
        spread = (own * ridit**2).sum(1)
    return _from_ridits(sizes, mean, spread, rows)


def _from_ridits(n: Floats, mean: Floats, spread: Floats, rows: Rows) -> tuple[Floats, Floats]:
    with np.errstate(invalid="ignore", divide="ignore"):
        there = n > 0
        eta = np.where(there, n * mean**2, 0).sum(1) / spread
        k, total = there.sum(1), n.sum(1)
        if rows.chance is None:
            h = (total - 1) * eta
            excess = np.where(total > k, (h - k + 1) / np.maximum(total - k, 1), np.nan)
            shown = h / (total - 1)
        else:
            excess = (eta - rows.chance) / (1 - rows.chance)
            shown = excess
        if rows.k == 2:
            shown = 2 * (mean[:, 0] - mean[:, 1])
    return excess, shown


def effect_of_shares(rows: Rows, level: Codes, levels: int, draws: Draws) -> Effect:
    """Cramer's V less what chance gives, or the odds ratio of four cells.

    Of the last category against the first, in the first cluster over the second.
    """
    cell = rows.cluster * levels + level
    flat = summed(cell, rows.weight, rows.k * levels)
    four = (rows.k, levels) == (2, 2)
    drawn = draws.sums(rows.unit, cell, rows.k * levels, rows.weight)
    real = _of_table(flat.reshape(1, rows.k, levels), rows)
    found = None if drawn is None else _of_table(drawn.reshape(-1, rows.k, levels), rows)
    if not four:
        return _effect("Cramér's V", real, found, draws, root=True)
    made = _effect("odds ratio", real, found, draws)
    if found is not None and (flat <= 0).any():
        # an empty cell stays empty in every draw, as if it were sure (Haldane; Anscombe; Gart 1966)
        from scipy.special import ndtri

        half = float(ndtri((1 + draws.level) / 2) * np.sqrt((1 / (flat + 0.5)).sum()))
        made = replace(made, low=made.value - half, high=made.value + half)
    value, low, high = (float(np.exp(v)) for v in (made.value, made.low, made.high))
    return replace(made, value=value, low=low, high=high)


def _of_table(table: Floats, rows: Rows) -> tuple[Floats, Floats]:
    """Excess V squared, and the log odds where there are four cells; from weights (b, k, levels)."""
    k, levels = table.shape[1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        n = table.sum((1, 2))
        cells = table.sum(2)[:, :, None] * table.sum(1)[:, None] / n[:, None, None]
        phi2 = np.where(cells > 0, (table - cells) ** 2 / cells, 0).sum((1, 2)) / n
        if rows.chance is None:
            excess = cramer_squared(phi2, n, (k, levels))
        else:
            excess = (phi2 - rows.chance) / (min(k, levels) - 1 - rows.chance)
        odds = log_odds(table[:, :, ::-1]) if (k, levels) == (2, 2) else excess
    return excess, odds


def _effect(
    name: str,
    real: tuple[Floats, Floats],
    drawn: tuple[Floats, Floats] | None,
    draws: Draws,
    *,
    root: bool = False,
    within: tuple[float, float] = (-np.inf, np.inf),
) -> Effect:
    excess, shown = float(real[0][0]), float(real[1][0])
    low = high = least = most = np.nan
    if drawn is not None:
        least, most = draws.centred_ends(drawn[0], excess)
        low, high = (float(np.clip(end, *within)) for end in draws.centred_ends(drawn[1], shown))
    roots = [_root(v) for v in (excess, least, most)]
    if root:
        return Effect(name, *roots, *roots)
    return Effect(name, shown, low, high, *roots)


def _root(excess: float) -> float:
    return float(np.sqrt(min(max(excess, 0.0), 1.0))) if np.isfinite(excess) else np.nan


def draws_of(draws: Draws, rows: Rows, weights: Floats) -> Floats | None:
    """(draws, k) sums of weights by cluster."""
    return draws.sums(rows.unit, rows.cluster, rows.k, weights)


def _classes(x: Floats, most: int | None) -> tuple[Codes, int]:
    """Values as classes in order: each its own, or at most ``most`` of about equal size."""
    different, place, counts = np.unique(x, return_inverse=True, return_counts=True)
    if most is None or len(different) <= most:
        return place.astype(np.intp), len(different)
    # by the middle of each value's ranks, so that equal values stay together
    middle = np.cumsum(counts) - counts / 2
    classes = np.minimum((middle * most / len(x)).astype(np.intp), most - 1)
    return classes[place], most


# -- one cluster -------------------------------------------------------------------------
def mean_ends(rows: Rows, draws: Draws) -> tuple[Floats, Floats]:
    """(k,) intervals of the weighted means."""
    nothing = np.full(rows.k, np.nan)
    middle = float(rows.x.mean())
    n = draws_of(draws, rows, rows.weight)
    s = draws_of(draws, rows, rows.weight * (rows.x - middle))
    if n is None or s is None:
        return nothing, nothing.copy()
    with np.errstate(invalid="ignore", divide="ignore"):
        low, high = draws.ends(s / n)
    return _told(low, rows) + middle, _told(high, rows) + middle


def median_ends(rows: Rows, parts: Parts, medians: Floats, draws: Draws) -> tuple[Floats, Floats]:
    """(k,) intervals of the weighted medians: that of the share below, read off as values (Woodruff 1952)."""
    low, high = np.full(rows.k, np.nan), np.full(rows.k, np.nan)
    n = draws_of(draws, rows, rows.weight)
    below = (rows.x < medians[rows.cluster]) + 0.5 * (rows.x == medians[rows.cluster])
    s = draws_of(draws, rows, rows.weight * below)
    if n is None or s is None:
        return low, high
    with np.errstate(invalid="ignore", divide="ignore"):
        least, most = (_told(end, rows) for end in draws.ends(s / n))
        whole = summed(rows.cluster, rows.weight, rows.k)
        share = summed(rows.cluster, rows.weight * below, rows.k) / whole
    for c, (x, weight) in enumerate(parts):
        if np.isfinite(least[c]) and np.isfinite(most[c]):
            wanted = np.clip([0.5 - (most[c] - share[c]), 0.5 + (share[c] - least[c])], 0, 1)
            low[c], high[c] = quantiles(x, weight, wanted)
    return low, high


def share_ends(rows: Rows, levels: int, draws: Draws) -> tuple[Floats, Floats]:
    """(k, levels) intervals of the shares of categories: Wilson's (1927).

    Draws cannot tell how sure a share of 0 or 1 is, because they never show another. Where units are
    spread over several rows, Wilson's is taken of as many independent units as would vary as much as the
    draws do (Korn & Graubard 1998), at most those that the weights are worth (Kish).
    """
    from scipy.special import ndtri, stdtrit

    nothing = np.full((rows.k, levels), np.nan)
    cell = rows.cluster * levels + rows.x.astype(np.intp)
    drawn = draws.sums(rows.unit, cell, rows.k * levels, rows.weight)
    if drawn is None:
        return nothing, nothing.copy()
    flat = summed(cell, rows.weight, rows.k * levels).reshape(rows.k, levels)
    share = flat / flat.sum(1, keepdims=True)
    units = int(rows.unit.max()) + 1
    each = summed(rows.cluster * units + rows.unit, rows.weight, rows.k * units)
    each = each.reshape(rows.k, units)
    worth = each.sum(1) ** 2 / (each**2).sum(1)
    n = np.broadcast_to(worth[:, None], share.shape)
    reach = np.full((rows.k, 1), float(ndtri((1 + draws.level) / 2)))
    if rows.chance is not None:  # units of several rows
        table = drawn.reshape(-1, rows.k, levels)
        with np.errstate(invalid="ignore", divide="ignore"):
            varies = np.nanvar(table / table.sum(2, keepdims=True), axis=0)
            n = np.minimum(n, np.where(varies > 0, share * (1 - share) / varies, np.inf))
        there = np.maximum((each > 0).sum(1), 2)[:, None]
        reach = np.sqrt(there / (there - 1)) * stdtrit(there - 1, (1 + draws.level) / 2)
    square = reach**2 / np.maximum(n, 1e-9)
    middle = (share + square / 2) / (1 + square)
    half = np.sqrt(share * (1 - share) * square + square**2 / 4) / (1 + square)
    low, high = np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)
    few = _alone(rows)
    low[few], high[few] = np.nan, np.nan
    return np.minimum(low, share), np.maximum(high, share)


def _alone(rows: Rows) -> np.ndarray:
    """(k,) whether all rows of a cluster are of one unit: drawn again and again it never differs."""
    first = np.full(rows.k, -1)
    first[rows.cluster] = rows.unit
    several = np.zeros(rows.k, bool)
    several[rows.cluster[rows.unit != first[rows.cluster]]] = True
    return ~several


def _told(ends: Floats, rows: Rows) -> Floats:
    return np.where(_alone(rows), np.nan, ends)


def by_cluster(rows: Rows) -> Parts:
    """Values and weights of each cluster, values ascending."""
    order = np.lexsort((rows.x, rows.cluster))
    ends = np.cumsum(np.bincount(rows.cluster, minlength=rows.k))[:-1]
    return list(zip(np.split(rows.x[order], ends), np.split(rows.weight[order], ends), strict=True))


def quantiles(x: Floats, weight: Floats, at: Floats) -> Floats:
    """Quantiles of ascending values: numpy's where weights are equal, else of the weighted distribution."""
    if len(x) == 0:
        return np.full(len(at), np.nan)
    if weight.min() == weight.max():
        found: Floats = np.interp(at * (len(x) - 1), np.arange(len(x)), x)
        return found
    total = np.cumsum(weight)
    # the middle of each weight is where its value stands
    found = np.interp(at, (total - weight / 2) / total[-1], x)
    return found
