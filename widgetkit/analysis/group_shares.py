"""How factors are spread over groups: slides, patients, classes, scanners."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import comb, factorial, inf, prod
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import (
    Floats,
    as_matrix,
    check_count,
    check_seed,
    sample_rows,
)
from widgetkit.analysis._columns import Codes, codes, group_codes
from widgetkit.analysis.resampling import (
    Counts,
    Units,
    check_level,
    interval,
    resample,
    units_of,
)
from widgetkit.errors import BadActivations, ChannelMismatch, InvalidInput, TooFew

if TYPE_CHECKING:
    import pandas as pd

#: Rows that are permuted at the most, when rows and not whole units change places.
PERMUTED_ROWS = 20_000

# A sum of squares below this fraction of the squared values is rounding.
_ROUNDING = 1e-12


def group_share(
    values: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    units: npt.ArrayLike | None = None,
    names: Sequence[str] | None = None,
    n_permutations: int = 999,
    seed: int = 0,
) -> pd.DataFrame:
    """Share of the variance of each factor that lies between groups.

    ``share`` is eta squared, between-group over total sum of squares: 1 when the group decides the
    value. It grows with the number of groups even where nothing differs; ``adjusted`` (epsilon
    squared) and ``omega`` (omega squared) take that out, and may fall a little below 0.

    ``p`` is the share of permutations, the real one counted, whose ``share`` is at least as large.
    Give ``units`` where groups are made of whole units, e.g. ``groups`` = class or scanner and
    ``units`` = slide: then whole slides change places. Without it single rows do, which takes tiles
    of one slide for independent; with many tiles every slide effect is then beyond chance and only
    ``share`` is worth reading.

    Parameters
    ----------
    values : (n, k) or (n,) float
        E.g. pooled weights of each tile. NaN means not measured; left out and counted in the note.
    groups : (n,)
        Of any type, without missing values.
    units : (n,), optional
        Each inside one group.
    names : sequence of str, optional
        Of the factors; their numbers by default.
    n_permutations : int
        0 for no ``p``.
    seed : int

    Returns
    -------
    DataFrame
        One row a factor: ``factor``, ``share``, ``adjusted``, ``omega``, ``p``, ``groups``,
        ``units`` (what changed places), ``n``, ``note``. NaN with a reason in the note where a
        factor is constant or there is one group.

    Raises
    ------
    InvalidInput
        Lengths that differ, missing groups, a unit in two groups.
    TooFew
        Fewer than two rows.

    References
    ----------
    Kelley (1935), epsilon squared. Hays (1963), omega squared. Anderson & ter Braak (2003), on
    permuting nested units.
    """
    import pandas as pd

    table, labels = _columns(values, names)
    n = len(table)
    index = group_codes(groups, n)[1]
    count = check_count(n_permutations, "n_permutations", least=0)
    seed = check_seed(seed)
    if n < 2:
        raise TooFew(f"There are {n} rows; a share of variance needs at least two.")
    owner: Codes | None = None
    if units is not None:
        unit_names, unit = group_codes(units, n, "units")
        owner = _nested(unit, index, len(unit_names))
    rows = []
    for j, label in enumerate(labels):
        kept = np.isfinite(table[:, j])
        column = table[kept, j]
        said = (
            [] if kept.all() else [f"{int((~kept).sum())} of {n} rows are NaN and were left out."]
        )
        effect = _effect(column, index[kept])
        if effect is None:
            said.append(_no_effect(column, index[kept]))
            p, used = np.nan, 0
        else:
            unit_of = np.arange(len(column)) if owner is None else unit[kept]
            p, used, why = _permuted(column, index[kept], unit_of, owner is None, count, seed)
            said += [why] if why else []
        share, adjusted, omega = effect or (np.nan, np.nan, np.nan)
        rows.append(
            {
                "factor": label,
                "share": share,
                "adjusted": adjusted,
                "omega": omega,
                "p": p,
                "groups": len(np.unique(index[kept])),
                "units": used,
                "n": len(column),
                "note": " ".join(said),
            }
        )
    return pd.DataFrame(rows)


def shares(
    pooled: npt.ArrayLike,
    by: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    names: Sequence[str] | None = None,
    n_boot: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Mean of each factor in each class, slide or patient, with an interval.

    Parameters
    ----------
    pooled : (n, k) or (n,) float
        One row a tile, e.g. the share of its positions that each factor wins.
    by : (n,)
        What to average over: a column of any type. Missing values are averaged as ``"(missing)"``.
    groups : (n,), optional
        Slide or patient of each tile, drawn whole for the interval. Where a value of ``by`` has
        fewer than three of them (always, when ``by`` is the slide itself), blocks of neighbouring
        tiles are drawn, and the note says so. Without it every row counts as a group of its own.
    names : sequence of str, optional
    n_boot, seed, level
        As :func:`~widgetkit.analysis.correlation`.

    Returns
    -------
    DataFrame
        One row a value of ``by`` and factor: ``group``, ``factor``, ``share`` (the mean), ``low``,
        ``high``, ``n`` (tiles), ``groups``, ``note``.

    Raises
    ------
    InvalidInput
        Lengths that differ, missing values in ``groups``.
    BadActivations
        NaN or infinity.
    """
    import pandas as pd

    table, labels = _columns(pooled, names)
    if not np.isfinite(table).all():
        row = int(np.flatnonzero(~np.isfinite(table).all(axis=1))[0])
        raise BadActivations(f"pooled contains NaN or infinity, the first in row {row}.")
    n = len(table)
    if np.shape(by) != (n,):
        raise InvalidInput(f"by must hold one value a row, shape ({n},); got {np.shape(by)}.")
    values, index = codes(by)
    member = np.arange(n) if groups is None else group_codes(groups, n)[1]
    count, seed, level = (
        check_count(n_boot, "n_boot", least=0),
        check_seed(seed),
        check_level(level),
    )
    rows = []
    for at, value in enumerate(values):
        mine = np.flatnonzero(index == at)
        known, own = np.unique(member[mine], return_inverse=True)
        drawn: Units = units_of(own, len(known))
        low, high = _mean_ends(table[mine], drawn, count, seed, level)
        mean = table[mine].mean(axis=0) if len(mine) else np.full(table.shape[1], np.nan)
        for j, label in enumerate(labels):
            rows.append(
                {
                    "group": value.item() if isinstance(value, np.generic) else value,
                    "factor": label,
                    "share": float(mean[j]),
                    "low": float(low[j]),
                    "high": float(high[j]),
                    "n": len(mine),
                    "groups": len(known),
                    "note": drawn.note if count else "",
                }
            )
    return pd.DataFrame(
        rows, columns=["group", "factor", "share", "low", "high", "n", "groups", "note"]
    )


def _mean_ends(
    rows: Floats, units: Units, n_boot: int, seed: int, level: float
) -> tuple[Floats, Floats]:
    if n_boot == 0 or not units.usable:
        nothing = np.full(rows.shape[1], np.nan)
        return nothing, nothing.copy()
    sums = np.zeros((units.count, rows.shape[1]))
    np.add.at(sums, units.codes, rows)
    sizes = np.bincount(units.codes, minlength=units.count).astype(np.float64)

    def mean(counts: Counts) -> Floats:
        found: Floats = (counts @ sums) / (counts @ sizes)[:, None]
        return found

    return interval(resample(mean, units.count, n_boot, seed), units.count, level)


def _columns(values: npt.ArrayLike, names: Sequence[str] | None) -> tuple[Floats, list[Any]]:
    given = np.asarray(values)
    table = as_matrix(given[:, None] if given.ndim == 1 else given, "values", least=0)
    if names is not None and len(names) != table.shape[1]:
        raise ChannelMismatch(f"{len(names)} names for {table.shape[1]} columns.")
    labels = list(range(table.shape[1])) if names is None else list(names)
    return table.astype(np.float64), labels


def _nested(unit: Codes, group: Codes, units: int) -> Codes:
    """(units,) the group of each unit; refuses a unit that lies in two."""
    owner = np.full(units, -1)
    owner[unit] = group
    torn = len(np.unique(unit[owner[unit] != group]))
    if torn:
        raise InvalidInput(
            f"{torn} of {units} units lie in more than one group, so whole units cannot change "
            "places. Give the finer column as units=, or leave units out."
        )
    return owner


def _squares(sums: Floats, sizes: Floats) -> Floats:
    """Sum of squares between groups of values with mean 0; the last axis are groups."""
    found: Floats = (sums * sums / np.maximum(sizes, 1)).sum(axis=-1)
    return found


def _centred(column: Floats) -> Floats:
    """About the mean and at most 1, so that squares neither overflow nor vanish."""
    values: Floats = column - column.mean()
    values /= np.abs(values).max()
    return values


def _effect(column: Floats, group: Codes) -> tuple[float, float, float] | None:
    """Eta, epsilon and omega squared; None where they are not defined."""
    n = len(column)
    present, group = np.unique(group, return_inverse=True)
    if n < 2 or len(present) < 2 or column.min() == column.max():
        return None
    values = _centred(column)
    total = float(values @ values)
    sums = np.bincount(group, weights=values).astype(np.float64)
    sizes = np.bincount(group).astype(np.float64)
    between = min(float(_squares(sums, sizes)), total)
    if n == len(present):
        return between / total, np.nan, np.nan
    noise = (total - between) / (n - len(present))
    excess = between - (len(present) - 1) * noise
    return between / total, excess / total, excess / (total + noise)


def _no_effect(column: Floats, group: Codes) -> str:
    if len(column) < 2:
        return "No share: fewer than two rows are left."
    if len(np.unique(group)) < 2:
        return "No share: there is one group."
    return "No share: the factor is constant."


def _permuted(
    column: Floats, group: Codes, unit: Codes, single: bool, count: int, seed: int
) -> tuple[float, int, str]:
    """``p``, how many units changed places, and what has to be said about it."""
    generator = np.random.default_rng(seed)
    said = []
    if single and len(column) > PERMUTED_ROWS:
        rows = sample_rows(len(column), PERMUTED_ROWS, seed)
        said.append(
            f"p is of {PERMUTED_ROWS} of {len(column)} rows, drawn at random (seed {seed})."
        )
        column, group, unit = column[rows], group[rows], np.arange(len(rows))
    _, first, unit = np.unique(unit, return_index=True, return_inverse=True)
    _, owner = np.unique(group[first], return_inverse=True)
    units = len(first)
    if count == 0:
        return np.nan, units, ""
    if units == owner.max() + 1:
        return np.nan, units, "No p: every group is a single unit, so nothing can change places."
    values = _centred(column)
    sums = np.bincount(unit, weights=values).astype(np.float64)
    sizes = np.bincount(unit).astype(np.float64)
    order = np.argsort(owner, kind="stable")
    starts = np.flatnonzero(np.diff(owner[order], prepend=-1))

    def between(at: npt.NDArray[np.intp]) -> float:
        return float(
            _squares(np.add.reduceat(sums[at], starts), np.add.reduceat(sizes[at], starts))
        )

    real = between(order)
    # sums in another order differ in their last digits; equal ones count as reached
    reached = real - _ROUNDING * float(values @ values)
    hits = sum(between(generator.permutation(units)) >= reached for _ in range(count))
    ways = _ways(np.bincount(owner).tolist())
    if ways < 1 / 0.05:
        said.append(
            f"Only {ways:.0f} different ways to give {units} units to the groups: p cannot fall "
            f"below {1 / ways:.2g}."
        )
    return (1 + hits) / (1 + count), units, " ".join(said)


def _ways(sizes: Sequence[int]) -> float:
    """In how many ways units can be given to groups of these sizes; infinity above a thousand.

    Groups of equal size can swap names without a change of the share, so those ways count once.
    """
    ways, left = 1, sum(sizes)
    same = prod(factorial(times) for times in Counter(sizes).values() if times < 1000)
    for size in sizes:
        ways *= comb(left, size)
        left -= size
        if ways > 1000 * same:
            return inf
    return ways / same
