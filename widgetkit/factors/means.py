"""Means over tiles with intervals by slide."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._columns import group_codes
from widgetkit.analysis.resampling import check_level, interval, resample, units_of
from widgetkit.errors import InvalidInput

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Mean:
    """A mean over tiles and its interval, one a column.

    Attributes
    ----------
    value, low, high : (k,) float64
        NaN where no tile has a value; ``low`` and ``high`` also where nothing can be drawn.
    tiles : (k,) int
        How many tiles have a value.
    groups : int
    note : str
        What the reader of the interval has to know, or "".
    """

    value: Array
    low: Array
    high: Array
    tiles: npt.NDArray[np.int64]
    groups: int
    note: str


def mean_by_group(
    values: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    what: str = "slide",
    n_boot: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Mean:
    """Mean over tiles of each column, with an interval by drawing whole groups with replacement.

    Tiles weigh the same, so a group weighs as much as it has tiles. NaN means no value and is left
    out. See :mod:`widgetkit.analysis.resampling` for what stands in for fewer than three groups.

    Parameters
    ----------
    values : (n, k) float
    groups : (n,)
        Slide of each tile.
    """
    table = np.asarray(values, np.float64)
    names, codes = group_codes(groups, len(table))
    units = units_of(codes, len(names), what=what)
    there = np.isfinite(table)
    count = there.sum(axis=0)
    nothing = np.full(table.shape[1], np.nan)

    def mean(total: Array, number: Array) -> Array:
        nan = np.full(total.shape, np.nan)
        return np.asarray(np.divide(total, number, out=nan, where=number > 0))

    filled = np.where(there, table, 0.0)
    value = mean(filled.sum(axis=0), count.astype(np.float64))
    low, high = nothing, nothing.copy()
    if units.usable and n_boot > 0:
        sums, numbers = (np.zeros((units.count, table.shape[1])) for _ in range(2))
        np.add.at(sums, units.codes, filled)
        np.add.at(numbers, units.codes, there.astype(np.float64))
        draws = resample(lambda c: mean(c @ sums, c @ numbers), units.count, n_boot, seed)
        low, high = interval(draws, units.count, check_level(level))
    return Mean(value, low, high, count, len(names), units.note)


def choose_rows(n_all: int, rows: object, n: int | None, seed: int) -> npt.NDArray[np.int64]:
    """At most ``n`` of ``rows`` (all tiles by default), drawn by ``seed``, ascending.

    Raises
    ------
    InvalidInput
        A row is not in the store, or none is left.
    """
    from widgetkit.store.rows import row_numbers

    known = np.unique(row_numbers(rows, n_all))  # type: ignore[arg-type]
    if n is not None and n < 1:
        raise InvalidInput(f"n is {n}: use 1 or more tiles, or None for all.")
    if len(known) == 0:
        raise InvalidInput("No tile was given: rows is empty.")
    if n is None or n >= len(known):
        return known
    drawn = np.random.default_rng(seed).choice(len(known), n, replace=False)
    return known[np.sort(drawn)]
