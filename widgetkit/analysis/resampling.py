"""Intervals by drawing whole groups (slides, patients) with replacement: the cluster bootstrap.

Tiles of one slide are alike. An interval that treats them as independent is several times too
narrow; drawing slides instead of tiles keeps what is alike together (Davison & Hinkley 1997,
section 3.8).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import Floats, Ints
from widgetkit.analysis._columns import Codes
from widgetkit.errors import InvalidInput

Counts = npt.NDArray[np.float64]
"""(draws, units): how often each unit was drawn."""

#: Fewer groups than this have no interval by group: two groups have three different draws.
LEAST_GROUPS = 3

#: Below this many groups a 95 % interval is said to be too narrow. In simulations of clustered data
#: (benchmarks/bench_reading.py) it held the truth in 75 % of the cases with three groups, 88 % with
#: four, 91 % with five, 92 % with six, and 94 to 95 % from ten on.
FEW_GROUPS = 6

#: Blocks of neighbouring rows that stand in for groups where there are fewer than three.
BLOCKS = 50

# Fewer rows than this make no blocks worth drawing.
_LEAST_ROWS = 10

# Numbers drawn at once, 32 MB of float64.
_CHUNK = 4_000_000


@dataclass(frozen=True)
class Units:
    """What is drawn: groups, or blocks of neighbouring rows.

    Attributes
    ----------
    codes : (n,) the unit of each row
    count : how many units; fewer than three mean that there is no interval
    note : what the reader of an interval has to know, or ""
    """

    codes: Codes
    count: int
    note: str

    @property
    def usable(self) -> bool:
        return self.count >= LEAST_GROUPS


def units_of(codes: Codes, groups: int, *, what: str = "group") -> Units:
    """The groups themselves; blocks of neighbouring rows where there are fewer than three groups.

    Blocks are runs of rows in the order given, inside a group. In a store neighbouring rows are
    neighbours on the slide, so blocks keep at least some of what is alike together.

    Parameters
    ----------
    codes : (n,) int
        Group of each row, below ``groups``.
    groups : int
    what : str
        The field's word for a group.
    """
    if groups >= LEAST_GROUPS:
        note = (
            f"Only {groups} {what}s: the interval holds the truth less often than it says."
            if groups < FEW_GROUPS
            else ""
        )
        return Units(codes, groups, note)
    said = f"Only {groups} {what}{'s' if groups != 1 else ''}: no interval by {what} can be made"
    n = len(codes)
    if n < _LEAST_ROWS:
        return Units(np.zeros(n, np.intp), 0, f"{said}.")
    blocks, first = np.zeros(n, np.intp), 0
    wanted = min(BLOCKS, n // 2)
    for group in range(groups):
        rows = np.flatnonzero(codes == group)
        share = max(1, round(wanted * len(rows) / n))
        blocks[rows] = first + np.arange(len(rows)) * share // max(len(rows), 1)
        first += share
    return Units(
        blocks,
        first,
        f"{said}; this one draws {first} blocks of neighbouring rows. It tells nothing about other "
        f"{what}s and is too narrow for them.",
    )


def resample(statistic: Callable[[Counts], Floats], units: int, n_boot: int, seed: int) -> Floats:
    """``statistic`` of ``n_boot`` draws of units with replacement.

    Parameters
    ----------
    statistic : callable
        Given counts (b, units), gives (b, ...).
    units, n_boot, seed : int

    Returns
    -------
    (n_boot, ...) float64
    """
    generator = np.random.default_rng(seed)
    step = max(1, _CHUNK // max(units, 1))
    found = []
    for start in range(0, n_boot, step):
        size = min(step, n_boot - start)
        drawn: Ints = generator.integers(units, size=(size, units))
        drawn += np.arange(size)[:, None] * units
        counts = np.bincount(drawn.ravel(), minlength=size * units).reshape(size, units)
        found.append(statistic(counts.astype(np.float64)))
    return np.concatenate(found)


def interval(samples: Floats, units: int, level: float) -> tuple[Floats, Floats]:
    """Lower and upper end by the expanded percentile interval (Hesterberg 2015, section 5.3.3).

    The plain percentile interval of few units is too narrow, by the two factors of any such
    interval: ``sqrt(G / (G - 1))`` and Student's t in place of the normal. Both go into the
    percentiles, so that an end never leaves the range of what was drawn.

    Parameters
    ----------
    samples : (draws, ...)
        Draws that are NaN (a class was not drawn) are left out; NaN when more than half are.
    units : int
    level : float
        E.g. 0.95.
    """
    shape = samples.shape[1:]
    nothing = np.full(shape, np.nan)
    if len(samples) == 0 or units < LEAST_GROUPS:
        return nothing, nothing.copy()
    from scipy.special import ndtr, stdtrit

    reach = np.sqrt(units / (units - 1)) * stdtrit(units - 1, (1 + level) / 2)
    outside = float(ndtr(-reach))
    flat = samples.reshape(len(samples), -1)
    ends = np.full((2, flat.shape[1]), np.nan)
    usable = np.isfinite(flat).sum(axis=0) * 2 >= len(flat)
    at = [outside, 1 - outside]
    whole = usable & np.isfinite(flat).all(axis=0)
    if whole.any():  # at once: nanquantile goes column by column
        ends[:, whole] = np.quantile(flat[:, whole], at, axis=0)
    if (usable & ~whole).any():
        ends[:, usable & ~whole] = np.nanquantile(flat[:, usable & ~whole], at, axis=0)
    return ends[0].reshape(shape), ends[1].reshape(shape)


def check_level(level: object) -> float:
    """A share strictly between 0 and 1."""
    if isinstance(level, (int, float, np.number)) and 0 < float(level) < 1:
        return float(level)
    raise InvalidInput(f"level must be a number between 0 and 1, such as 0.95; got {level!r}.")
