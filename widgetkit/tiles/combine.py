"""Parts of a source, sources put one after the other, and columns added afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from widgetkit.errors import BadImage, BadMetadata, InvalidInput, NoTissue
from widgetkit.tiles.base import RECORD, BaseSource, TileSource, check_rows
from widgetkit.tiles.metadata import Metadata, join_metadata


def subset(source: TileSource, rows: Sequence[int] | np.ndarray) -> TileSource:
    """The tiles of these rows, in this order; ids stay what they are.

    Parameters
    ----------
    source : TileSource
    rows : sequence of int, or (n,) bool
        Each row at most once.

    Raises
    ------
    InvalidInput
        A row is not in the source, or occurs twice.
    NoTissue
        No row is left.
    """
    return SubsetTiles(source, rows)


def concat(sources: Sequence[TileSource]) -> TileSource:
    """All tiles of several sources, one after the other.

    User columns that a source lacks are empty for its tiles.

    Raises
    ------
    BadImage
        Shapes or dtypes differ.
    BadMetadata
        Two sources hold a tile of the same id (same name, position, level and size), or call
        different slides by one name.
    """
    return ConcatTiles(sources)


def annotate(source: TileSource, metadata: Metadata, *, on: str | None = None) -> TileSource:
    """The same tiles with columns added to their table; see :func:`join_metadata`.

    For what is known only when the source is there, such as something measured on its tiles.
    """
    return AnnotatedTiles(source, join_metadata(source.table, metadata, on=on))


class SubsetTiles(BaseSource):
    """Some tiles of another source; made by :func:`subset`."""

    def __init__(self, source: TileSource, rows: Sequence[int] | np.ndarray) -> None:
        picked = check_rows(rows, len(source))
        if not len(picked):
            raise NoTissue("No row was picked: the subset would be empty.")
        if len(np.unique(picked)) < len(picked):
            raise InvalidInput("A row was picked more than once; tiles have one id each.")
        self._source = source
        self._picked = picked
        super().__init__(
            source.table.iloc[picked].reset_index(drop=True),
            tuple(source.shape),
            np.dtype(source.dtype),
            getattr(source, "window", None),
        )

    def read(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        return self._source.read(self._picked[check_rows(rows, len(self))].tolist())

    def _read_one(self, row: int) -> np.ndarray:
        tile: np.ndarray = self.read([row])[0]
        return tile

    def describe(self) -> dict[str, object]:
        """Provenance of the whole source, and how many tiles were picked."""
        return {"kind": "subset", "tiles": len(self), "of": self._source.describe()}


class ConcatTiles(BaseSource):
    """Several sources as one; made by :func:`concat`."""

    def __init__(self, sources: Sequence[TileSource]) -> None:
        parts = list(sources)
        if not parts:
            raise NoTissue("No source was given to concat.")
        first = parts[0]
        for i, part in enumerate(parts):
            if tuple(part.shape) != tuple(first.shape) or np.dtype(part.dtype) != first.dtype:
                raise BadImage(
                    f"Source {i} has tiles of {tuple(part.shape)}, {part.dtype}; the first has "
                    f"{tuple(first.shape)}, {first.dtype}. Read all with the same size."
                )
        table = _with_records(parts)
        if not table["id"].is_unique:
            raise BadMetadata(
                f"{int(table['id'].duplicated().sum()):,} tiles are in two of the sources. Give the "
                "sources different names, or take a tile once."
            )
        windows = [getattr(part, "window", None) for part in parts]
        known = [window for window in windows if window is not None]
        # one window for all, or the same value would look different from part to part
        window = (min(w[0] for w in known), max(w[1] for w in known)) if known else None
        self._parts = parts
        self._starts = np.cumsum([0, *(len(part) for part in parts)])
        super().__init__(table, tuple(first.shape), np.dtype(first.dtype), window)

    def read(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        wanted = check_rows(rows, len(self))
        out = np.empty((len(wanted), *self.shape), self.dtype)
        part_of = np.searchsorted(self._starts, wanted, side="right") - 1
        for i in np.unique(part_of):
            here = np.flatnonzero(part_of == i)
            out[here] = self._parts[i].read((wanted[here] - self._starts[i]).tolist())
        return out

    def _read_one(self, row: int) -> np.ndarray:
        tile: np.ndarray = self.read([row])[0]
        return tile

    def describe(self) -> dict[str, object]:
        """Provenance of each part."""
        return {"kind": "concat", "parts": [part.describe() for part in self._parts]}


def _with_records(parts: Sequence[TileSource]) -> pd.DataFrame:
    """The tables one below the other; slide records counted through all parts.

    Raises
    ------
    BadMetadata
        Two parts call different slides by one name.
    """
    tables, identities, before = [], [], 0
    for part in parts:
        table = part.table
        listed = slides_listed(part.describe())
        if RECORD in table.columns:
            table = table.copy()
            own = table[RECORD].to_numpy(np.int64)
            table[RECORD] = np.where(own >= 0, own + before, -1)
        tables.append(table)
        identities += [tuple(str(slide.get(key)) for key in _IDENTITY) for slide in listed]
        before += len(listed)
    joined = pd.concat(tables, ignore_index=True)
    if RECORD not in joined.columns:
        return joined
    joined[RECORD] = joined[RECORD].fillna(-1).astype(np.int64)
    pairs = joined.loc[joined[RECORD] >= 0, ["source", RECORD]].drop_duplicates()
    seen: dict[str, tuple[str, ...]] = {}
    for name, record in zip(pairs["source"], pairs[RECORD], strict=True):
        if (
            record < len(identities)
            and seen.setdefault(name, identities[record]) != identities[record]
        ):
            raise BadMetadata(
                f"Two sources call different slides {name!r}. Give the slides different names with "
                "names=."
            )
    return joined


#: What tells one slide from another of the same name.
_IDENTITY = ("width", "height", "quickhash")


def slides_listed(described: object) -> list[Mapping[str, object]]:
    """The slides that a source's ``describe()`` lists, all parts counted through."""
    if not isinstance(described, Mapping):
        return []
    parts = described.get("parts")
    if isinstance(parts, list | tuple):
        return [slide for part in parts for slide in slides_listed(part)]
    if "of" in described:
        return slides_listed(described["of"])
    slides = described.get("slides")
    if not isinstance(slides, list | tuple):
        return []
    return [slide if isinstance(slide, Mapping) else {} for slide in slides]


class AnnotatedTiles(BaseSource):
    """Another source with more columns; made by :func:`annotate`."""

    def __init__(self, source: TileSource, table: pd.DataFrame) -> None:
        self._source = source
        super().__init__(
            table, tuple(source.shape), np.dtype(source.dtype), getattr(source, "window", None)
        )

    def read(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        return self._source.read(check_rows(rows, len(self)).tolist())

    def _read_one(self, row: int) -> np.ndarray:
        tile: np.ndarray = self.read([row])[0]
        return tile

    def describe(self) -> dict[str, object]:
        """Provenance of the source: the added columns change no pixel."""
        return self._source.describe()
