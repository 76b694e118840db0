"""What counts for independent: tiles, or patients with all their tiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import Floats, Ints
from widgetkit.analysis._columns import Codes, group_codes, renumbered
from widgetkit.analysis._variables import Variable
from widgetkit.errors import InvalidInput, TooFew, UnknownName, near

if TYPE_CHECKING:
    import pandas as pd

Rule = Literal["auto", "majority", "share"]
RULES: tuple[str, ...] = get_args(Rule)

#: Column that tiles are grouped by where it is there.
PATIENT = "patient"
# numbers among which some may be missing
_WHOLE = ("integer", "integer-na", "floating", "mixed-integer-float")

#: "auto" puts a patient into one cluster where on average at least this share of its tiles lies there.
PURE = 0.8


@dataclass(frozen=True, eq=False)
class Labels:
    """Clusters of the rows: ``codes`` (n,) below ``len(numbers)``, -1 in none; ascending ``numbers``."""

    codes: Codes
    numbers: tuple[Any, ...]
    names: tuple[str, ...]
    selection: bool


@dataclass(frozen=True, eq=False)
class Base:
    """The rows that are compared, and what is independent among them.

    Attributes
    ----------
    rows : (r,) rows of the table in a cluster and of a known unit
    cluster : (r,) below k;  unit : (r,) below ``units``
    k, units : int
    word : the field's word for a unit
    rule : "tiles" (each row is a unit), "majority" or "share"
    own : (units,) cluster of each unit, for "majority"
    """

    rows: Ints
    cluster: Codes
    unit: Codes
    k: int
    units: int
    word: str
    rule: str
    own: Codes | None = None

    @property
    def alone(self) -> bool:
        """Whether each unit is one row of what is tested."""
        return self.rule != "share"


@dataclass(frozen=True, eq=False)
class Data:
    """A variable on the rows that are tested, none missing.

    Attributes
    ----------
    x, cluster, unit, weight : (r,)
        Weights of the rows of a unit add up to 1. Clusters and units are numbered anew, without
        gaps; ``used`` (k,) are their numbers in :class:`Base`, ``units`` counts units.
    missing : rows of the table without a value
    rows : rows of the table with one
    absent : (base rows or units,) bool, whether the value is missing
    note : what was done to get one value a unit
    constant : whether every unit has one value
    """

    x: Floats
    cluster: Codes
    unit: Codes
    weight: Floats
    used: Ints
    units: int
    missing: int
    rows: int
    absent: npt.NDArray[np.bool_]
    note: str
    constant: bool


def labels_of(
    clusters: npt.ArrayLike,
    frame: pd.DataFrame,
    names: Sequence[str] | Mapping[Any, str] | None,
) -> Labels:
    """Clusters as given: whole numbers (-1 in none), names, or a selection as a mask.

    Raises
    ------
    InvalidInput
        Another length, fractions, negative numbers other than -1, a Series whose index is not the
        table's.
    TooFew
        There is one cluster, or none.
    """
    import pandas as pd

    if isinstance(clusters, pd.Series) and not clusters.index.equals(frame.index):
        raise InvalidInput(
            "clusters and the table have another index, so it is not clear which row is which. "
            "Bring them into one order, then pass clusters.to_numpy()."
        )
    column = np.asarray(clusters)
    n = len(frame)
    if column.shape != (n,):
        raise InvalidInput(
            f"clusters must hold one value a row of the table, shape ({n},); got {column.dtype} of "
            f"shape {column.shape}."
        )
    if column.dtype == np.bool_:
        if column.all() or not column.any():
            what = "Everything" if column.any() else "Nothing"
            raise TooFew(f"{what} is selected, so there is nothing to compare the selection with.")
        return Labels(
            np.where(column, 0, 1).astype(np.intp), (0, 1), _named(names, (0, 1), True), True
        )
    if column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) in _WHOLE:
        column = pd.to_numeric(pd.Series(column)).to_numpy(dtype=np.float64, na_value=np.nan)
    if column.dtype.kind == "f":
        whole = np.where(np.isnan(column), -1, column)
        if not np.array_equal(whole, np.round(whole)):
            raise InvalidInput(
                "clusters are numbers with fractions; pass labels, e.g. from KMeans."
            )
        column = whole.astype(np.int64)
    if column.dtype.kind in "iu":
        if len(column) and int(column.min()) < -1:
            raise InvalidInput(
                f"clusters are numbered from 0, and -1 is for tiles in none; got {int(column.min())}."
            )
        numbers = np.unique(column[column >= 0])
        codes = np.searchsorted(numbers, column)
        codes[column < 0] = -1
        known: tuple[Any, ...] = tuple(int(v) for v in numbers)
    else:
        missing = pd.isna(column)
        texts = np.array([str(v) for v in column], object)
        found = sorted(set(texts[~missing]))
        place = {text: i for i, text in enumerate(found)}
        codes = np.array([-1 if out else place[t] for t, out in zip(texts, missing, strict=True)])
        known = tuple(found)
    if len(known) < 2:
        rows = int((codes >= 0).sum())
        raise TooFew(
            f"There is one cluster (of {rows:,} tiles), and nothing to compare it with. Ask for more."
            if known
            else "No tile is in a cluster, so there is nothing to compare."
        )
    return Labels(codes.astype(np.intp), known, _named(names, known, False), False)


def _named(
    names: Sequence[str] | Mapping[Any, str] | None, numbers: tuple[Any, ...], selection: bool
) -> tuple[str, ...]:
    if names is None:
        if selection:
            return ("selection", "rest")
        return tuple(v if isinstance(v, str) else f"cluster {v + 1}" for v in numbers)
    try:
        return tuple(str(names[v]) for v in numbers)
    except (KeyError, IndexError, TypeError):
        raise InvalidInput(
            f"names must hold a name for each of the {len(numbers)} clusters, by its number."
        ) from None


def base_of(
    labels: Labels,
    frame: pd.DataFrame,
    groups: npt.ArrayLike | str | None,
    rule: str,
    what: str | None,
) -> tuple[Base, list[str]]:
    """The rows that count and what is independent among them, and sentences that say so."""
    said = []
    unit, word, lacking = _units(groups, frame, what)
    out = int((labels.codes < 0).sum())
    if out:
        said.append(f"{out:,} tiles in no cluster were left out.")
    kept = labels.codes >= 0
    if unit is not None:
        lost = int((kept & (unit < 0)).sum())
        if lost:
            said.append(f"{lost:,} tiles without a {lacking} were left out.")
        kept &= unit >= 0
    rows = np.flatnonzero(kept)
    if unit is None:
        own = np.arange(len(rows))
        return _present(
            rows, labels.codes[rows], own, len(rows), word, "tiles", len(labels.names)
        ), said
    _, first, own = np.unique(unit[rows], return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")  # by appearance, whatever they are called
    place = np.empty(len(order), np.intp)
    place[order] = np.arange(len(order))
    own, units = place[own], len(order)
    k = len(labels.names)
    if units == len(rows):  # one tile each: nothing to put together
        return _present(rows, labels.codes[rows], own, units, word, "tiles", k), said
    base = _present(rows, labels.codes[rows], own, units, word, "share", k)
    counts = np.bincount(own * k + base.cluster, minlength=units * k).reshape(units, k)
    majority = _majority(counts)
    pure = float((counts.max(1) / counts.sum(1)).mean())
    standing = np.bincount(majority, minlength=k)
    if rule == "auto":
        each = bool((standing[counts.sum(0) > 0] >= 2).all())
        rule = "majority" if pure >= PURE and each else "share"
    elif rule == "majority" and (standing > 0).sum() < 2:
        raise TooFew(
            f"Most tiles of every {word} lie in one and the same cluster, so {word}s cannot be told "
            "apart by it. Use rule='share'."
        )
    if rule == "majority":
        side = "on the side (selected or not)" if labels.selection else "in the cluster"
        said.append(
            f"Each {word} counts once, {side} that most of its tiles lie in (on average "
            f"{pure:.0%} of them). Where a value differs within a {word}: mean of amounts, median of "
            "ordered categories, most frequent category."
        )
    else:
        said.append(
            f"Each {word} counts once, shared out over clusters as its tiles are; p by permuting whole "
            f"{word}s (values that differ within a {word}: by flipping the sign of what it contributes)."
        )
    return Base(rows, base.cluster, own, k, units, word, rule, majority), said


def _present(
    rows: Ints, cluster: Codes, unit: Codes, units: int, word: str, rule: str, k: int
) -> Base:
    return Base(rows, cluster.astype(np.intp), unit.astype(np.intp), k, units, word, rule)


def _majority(counts: npt.NDArray[np.int64]) -> Codes:
    """(units,) the cluster with most tiles; of equal ones the larger cluster, then the first."""
    whole = counts.sum(0)
    best = counts == counts.max(1, keepdims=True)
    found: Codes = np.where(best, whole[None] + 1, 0).argmax(1).astype(np.intp)
    return found


def _units(
    groups: npt.ArrayLike | str | None, frame: pd.DataFrame, what: str | None
) -> tuple[Codes | None, str, str]:
    """(n,) unit of each row (-1: not known) or None, the word for one, and what a missing one lacks."""
    import pandas as pd

    names = [str(name) for name in frame.columns]
    if groups is None:
        if PATIENT not in names or not frame[PATIENT].notna().any():
            return None, "tile", ""
        groups = PATIENT
    if isinstance(groups, str):
        if groups not in names:
            raise UnknownName(
                f"The table has no column {groups!r} to group by. {near(groups, names)}".rstrip()
            )
        codes, _ = pd.factorize(frame[groups])
        return codes.astype(np.intp), what or groups, groups
    return group_codes(groups, len(frame))[1], what or "group", what or "group"


# -- one value a unit --------------------------------------------------------------------
def data_of(base: Base, variable: Variable) -> Data:
    """A variable on the rows that are tested."""
    x = variable.values[base.rows]
    if base.rule == "tiles":
        absent = np.isnan(x)
        at = np.flatnonzero(~absent)
        return _data(
            x[at],
            base.cluster[at],
            base.unit[at],
            np.ones(len(at)),
            absent,
            int(absent.sum()),
            "",
            True,
        )
    known = ~np.isnan(x)
    lows, highs, there = _ends(x[known], base.unit[known], base.units)
    differs = int((there & (lows < highs)).sum())
    if base.rule == "majority":
        assert base.own is not None
        values, how = _one_each(x[known], base.unit[known], base.units, variable, lows)
        absent = ~there
        at = np.flatnonzero(there)
        note = f"Differs within {differs:,} {base.word}s: {how}." if differs else ""
        found = _data(
            values[at], base.own[at], at, np.ones(len(at)), absent, int((~known).sum()), note, True
        )
        return found
    if not differs:  # of the unit, so also of its tiles where it is missing
        x = np.where(there, lows, np.nan)[base.unit]
        known = ~np.isnan(x)
    at = np.flatnonzero(known)
    sizes = np.bincount(base.unit[at], minlength=base.units)
    weight = 1 / sizes[base.unit[at]]
    return _data(
        x[at], base.cluster[at], base.unit[at], weight, ~known, int((~known).sum()), "", not differs
    )


def _data(
    x: Floats,
    cluster: Codes,
    unit: Codes,
    weight: Floats,
    absent: npt.NDArray[np.bool_],
    missing: int,
    note: str,
    constant: bool,
) -> Data:
    used, cluster = renumbered(cluster, int(cluster.max(initial=-1)) + 1)
    present, unit = renumbered(unit, int(unit.max(initial=-1)) + 1)
    return Data(
        x, cluster, unit, weight, used, len(present), missing, len(x), absent, note, constant
    )


def _ends(x: Floats, unit: Codes, units: int) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """Least and largest value of each unit, and whether it has one."""
    lows, highs = np.full(units, np.inf), np.full(units, -np.inf)
    np.minimum.at(lows, unit, x)
    np.maximum.at(highs, unit, x)
    return lows, highs, np.isfinite(lows)


def _one_each(
    x: Floats, unit: Codes, units: int, variable: Variable, lows: Floats
) -> tuple[Floats, str]:
    """(units,) one value each, and what was taken."""
    if variable.kind == "numeric":
        sizes = np.bincount(unit, minlength=units)
        # the mean of equal values is that value to the last digit
        offset = np.where(sizes > 0, lows, 0.0)
        sums = np.bincount(unit, weights=x - offset[unit], minlength=units)
        return offset + sums / np.maximum(sizes, 1), "the mean was taken"
    order = np.lexsort((x, unit))
    if variable.kind == "ordinal":
        starts = np.searchsorted(unit[order], np.arange(units))
        sizes = np.bincount(unit, minlength=units)
        middle = starts + np.maximum(sizes - 1, 0) // 2
        values = x[order][np.minimum(middle, max(len(x) - 1, 0))] if len(x) else np.zeros(units)
        return values, "the median was taken"
    levels = max(1, len(variable.levels))
    counts = np.bincount(unit * levels + x.astype(np.intp), minlength=units * levels)
    found = counts.reshape(units, levels).argmax(1).astype(np.float64)
    return found, "the most frequent category was taken"
