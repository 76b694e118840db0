"""How the points of a scatter are coloured: one code a point, and what the codes mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from widgetkit.errors import UnknownName, near
from widgetkit.palette import NONE_INDEX

if TYPE_CHECKING:
    from widgetkit.session import Session

#: A numeric column with more values than this gets a colour bar, not a legend (as in figures).
NUMBERS_ABOVE = 12
#: Categories beyond this many are drawn as one, "other": nobody tells more colours apart.
CATEGORIES_MOST = 40
#: Code of a point without a value.
NONE = NONE_INDEX
_LAST = 254


@dataclass(frozen=True)
class Item:
    """One entry of the legend.

    Attributes
    ----------
    name : str
        Free text: set as text, never as HTML.
    colour : int
        Palette index, 255 = the colour of "none".
    count : int
        Tiles it stands for.
    """

    name: str
    colour: int
    count: int


@dataclass(frozen=True, eq=False)
class Colouring:
    """Codes of all tiles and their meaning.

    Attributes
    ----------
    by : str
        ``"cluster"`` or a column of the tile table.
    codes : (n,) uint8
        Index into ``items`` (255 = none of them); for numbers 0..254 from ``low`` to ``high``.
    items : tuple of Item
        The legend, by code. Empty for numbers.
    low, high : float
        Ends of the colour bar; NaN for categories.
    values : tuple
        What each item is in its column; ``None`` where it stands for several ("other").
    """

    by: str
    codes: npt.NDArray[np.uint8] = field(repr=False)
    items: tuple[Item, ...] = ()
    low: float = float("nan")
    high: float = float("nan")
    values: tuple[Any, ...] = ()

    @property
    def numeric(self) -> bool:
        return bool(np.isfinite(self.low))

    def state(self) -> dict[str, Any]:
        """JSON-able form without the codes."""
        missing = int(np.count_nonzero(self.codes == NONE))
        state: dict[str, Any] = {"by": self.by, "missing": missing}
        if self.numeric:
            return state | {"kind": "numbers", "low": self.low, "high": self.high}
        items = [{"name": i.name, "colour": i.colour, "count": i.count} for i in self.items]
        return state | {"kind": "categories", "items": items}


def choices(session: Session) -> list[str]:
    """What the points can be coloured by: the clusters, then columns that tell tiles apart."""
    table = session.store.tiles
    names = ["cluster"]
    for column in map(str, table.columns):
        if column == "id":
            continue
        distinct = table[column].nunique(dropna=False)
        text = table[column].dtype.kind not in "biuf"
        # One value says nothing; as many names as tiles are no categories.
        if distinct > 1 and not (text and distinct == len(table)):
            names.append(column)
    return names


def colouring(session: Session, by: str) -> Colouring:
    """The colouring of all tiles.

    Raises
    ------
    UnknownName
        ``by`` is neither ``"cluster"`` nor a column of the tile table.
    """
    if by == "cluster":
        return _by_cluster(session)
    table = session.store.tiles
    if by not in table:
        raise UnknownName(
            f"No column {by!r} to colour by. {near(by, ['cluster', *map(str, table)])}"
        )
    column = table[by]
    if column.dtype.kind in "fiu" and column.nunique() > NUMBERS_ABOVE:
        return _by_number(by, column.to_numpy(dtype=np.float64))
    return _by_category(by, column)


def _by_cluster(session: Session) -> Colouring:
    clustering = session.clustering
    if clustering is None:
        n = len(session.store)
        return Colouring("cluster", np.full(n, NONE, dtype=np.uint8))
    codes = np.where(clustering.labels < 0, NONE, clustering.labels).astype(np.uint8)
    counts = np.bincount(codes, minlength=256)
    items = tuple(
        Item(name, int(colour), int(counts[i]))
        for i, (name, colour) in enumerate(zip(clustering.names, clustering.colors, strict=True))
    )
    return Colouring("cluster", codes, items, values=tuple(range(len(items))))


def _by_number(by: str, values: npt.NDArray[np.float64]) -> Colouring:
    finite = np.isfinite(values)
    low, high = float(values[finite].min()), float(values[finite].max())
    codes = np.full(len(values), NONE, dtype=np.uint8)
    codes[finite] = np.rint((values[finite] - low) / ((high - low) or 1.0) * _LAST)
    return Colouring(by, codes, low=low, high=high)


def _by_category(by: str, column: pd.Series[Any]) -> Colouring:
    found, uniques = pd.factorize(column, sort=True)
    values: list[Any] = list(uniques)
    counts = np.bincount(found[found >= 0], minlength=len(values))
    names = _names(by, values)
    if len(values) <= CATEGORIES_MOST:
        codes = np.where(found < 0, NONE, found).astype(np.uint8)
        items = [Item(names[i], i, int(counts[i])) for i in range(len(values))]
        return Colouring(by, codes, tuple(items), values=tuple(values))
    # The largest keep their own entry, in the column's order; the rest become one.
    kept = np.sort(np.argsort(-counts, kind="stable")[: CATEGORIES_MOST - 1])
    code_of = np.full(len(values), len(kept), dtype=np.int64)
    code_of[kept] = np.arange(len(kept))
    codes = np.where(found < 0, NONE, code_of[found]).astype(np.uint8)
    items = [Item(names[v], i, int(counts[v])) for i, v in enumerate(kept)]
    rest = len(values) - len(kept)
    items.append(Item(f"{rest} others", NONE_INDEX, int(counts.sum() - counts[kept].sum())))
    return Colouring(by, codes, tuple(items), values=(*(values[v] for v in kept), None))


def _names(by: str, values: Sequence[Any]) -> list[str]:
    """Legend names; patients are numbered, so that no identifier shows on a screen."""
    if by == "patient":
        return [f"patient {i + 1}" for i in range(len(values))]
    return [str(value) for value in values]
