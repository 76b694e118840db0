"""Where each tile lies on its slide, in pixels of level 0."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput, UnknownName, near

if TYPE_CHECKING:
    import pandas as pd

    from widgetkit.store import ActivationStore

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

#: Column of the tile table: which of the slides listed by the source's provenance a tile is of. Written
#: by ``widgetkit.tiles`` (rooms do not import each other sideways, so the name stands in both).
RECORD = "slide_record"
#: No slide is larger; a larger number is damage.
_LARGEST = 2**31
#: Sources put together of sources put together ...; deeper is damage.
_DEEPEST = 8
_NEEDED = ("source", "x", "y", "size", "level")


@dataclass(frozen=True)
class SlideRecord:
    """What the extraction recorded of one slide; nothing that names a patient.

    Attributes
    ----------
    width, height : int or None
        Level-0 px.
    mpp : (float, float) or None
        Micrometres a level-0 pixel, x and y.
    step : (float, float) or None
        Level-0 px for one pixel of a tile as read, x and y.
    quickhash : str
        OpenSlide's; empty if it has none.
    """

    width: int | None = None
    height: int | None = None
    mpp: tuple[float, float] | None = None
    step: tuple[float, float] | None = None
    quickhash: str = ""


@dataclass(frozen=True, eq=False)
class Placement:
    """Where the tiles of a store lie. A tile has one slide or none.

    Attributes
    ----------
    names : tuple of str
        Of the slides: the tiles' ``source``; with the slice's number after it where one source
        holds pictures at several ``z``. Free text that may name a patient: views escape it.
    slide : (n,) int32
        Number of each tile's slide; -1 where the tile has no place.
    boxes : (n, 4) float64
        x0, y0, x1, y1 in level-0 px; NaN where there is no place.
    extents : (s, 2) int64
        Width and height of each slide in level-0 px: as recorded, else as far as its tiles reach.
    mpp : (s, 2) float64
        Micrometres a level-0 pixel, x and y; NaN where not known.
    records : tuple of SlideRecord or None
        What the extraction recorded of each slide.
    missing : int
        Tiles without a place.
    note : str
        Why they have none; empty when all have one.
    """

    names: tuple[str, ...]
    slide: npt.NDArray[np.int32] = field(repr=False)
    boxes: Float64 = field(repr=False)
    extents: Int64 = field(repr=False)
    mpp: Float64 = field(repr=False)
    records: tuple[SlideRecord | None, ...] = field(repr=False)
    missing: int = 0
    note: str = ""

    def __len__(self) -> int:
        """Number of slides."""
        return len(self.names)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}

    @cached_property
    def _sorted(self) -> tuple[Int64, Int64]:
        order = np.argsort(self.slide, kind="stable")
        return order, np.searchsorted(self.slide[order], np.arange(len(self.names) + 1))

    @cached_property
    def centres(self) -> Float64:
        """(n, 2) level-0 px; NaN where there is no place."""
        return (self.boxes[:, :2] + self.boxes[:, 2:]) / 2

    @cached_property
    def counts(self) -> Int64:
        """(s,) tiles of each slide."""
        return np.bincount(self.slide[self.slide >= 0], minlength=len(self)).astype(np.int64)

    def index(self, slide: str | int) -> int:
        """Number of a slide, given by name or number.

        Raises
        ------
        UnknownName
            There is none; near names are listed.
        """
        if isinstance(slide, str):
            if slide in self._numbers:
                return self._numbers[slide]
            raise UnknownName(f"There is no slide {slide!r}. {near(slide, self.names)}".rstrip())
        if isinstance(slide, bool) or not isinstance(slide, int | np.integer):
            raise UnknownName(f"A slide is given by its name or number; got {slide!r}.")
        if not 0 <= slide < len(self):
            raise UnknownName(f"There is no slide {slide}; the store has {len(self)}, from 0.")
        return int(slide)

    def rows(self, slide: str | int) -> Int64:
        """(m,) tiles of a slide, ascending."""
        order, starts = self._sorted
        i = self.index(slide)
        return order[starts[i] : starts[i + 1]]

    def extent(self, slide: str | int) -> tuple[int, int]:
        """Width and height of a slide, level-0 px."""
        width, height = self.extents[self.index(slide)]
        return int(width), int(height)


def placement(store: ActivationStore) -> Placement:
    """Where the tiles of a store lie on their slides.

    A picture read as a whole (one file of a folder, one item of an array) is a slide of one tile.

    Parameters
    ----------
    store : ActivationStore

    Returns
    -------
    Placement
        Tiles whose place or size in level-0 px is not known are in no slide and are counted.

    Raises
    ------
    InvalidInput
        The tiles are volumes: they have no place on a slide.
    """
    refuse_volumes(store)
    table = store.tiles
    n = len(table)
    if any(column not in table.columns for column in _NEEDED):
        return _nowhere(
            n, "The tiles were not cut from images: the table does not say where they lie."
        )
    sides, record_of, records = _sides(store)
    corner = table[["x", "y"]].to_numpy(dtype=np.float64)
    boxes = np.hstack([corner, corner + sides])
    placed = np.isfinite(boxes).all(axis=1) & (sides > 0).all(axis=1)
    if not placed.any():
        return _nowhere(n, _why_missing(corner, sides))
    boxes[~placed] = np.nan
    names, slide = _names(table, placed)
    s = len(names)
    rows = np.flatnonzero(placed)
    extents = np.zeros((s, 2))
    np.maximum.at(extents, slide[rows], boxes[rows, 2:])
    first = np.full(s, -1)
    first[slide[rows[::-1]]] = rows[::-1]
    own = [records[r] if (r := int(record_of[row])) >= 0 else None for row in first]
    # Without a record the tiles tell: resolution as read, times px as read for one of level 0.
    with np.errstate(invalid="ignore"):
        mpp = (_numbers(table, "mpp") * _numbers(table, "size"))[first, None] / sides[first]
    for i, record in enumerate(own):
        if record is None:
            continue
        if record.width and record.height:
            extents[i] = np.maximum(extents[i], (record.width, record.height))
        if record.mpp is not None:
            mpp[i] = record.mpp
    mpp[~(mpp > 0)] = np.nan
    missing = n - len(rows)
    return Placement(
        names,
        slide,
        boxes,
        np.ceil(extents).astype(np.int64),
        mpp,
        tuple(own),
        missing,
        _why_missing(corner[~placed], sides[~placed]) if missing else "",
    )


def level0_sides(store: ActivationStore) -> Float64:
    """(n, 2) width and height of each tile in level-0 pixels.

    From what the source recorded about each slide; a tile read at level 0 without resampling
    is as large as its ``size`` says.

    Raises
    ------
    InvalidInput
        It is not known for some source.
    """
    sides, _, _ = _sides(store)
    unknown = np.flatnonzero(np.isnan(sides).any(axis=1))
    if len(unknown):
        count = store.tiles["source"].iloc[unknown].nunique()
        raise InvalidInput(
            f"The size in level-0 pixels is not known for {count} of the sources: their tiles "
            "were read at a lower level, and their resolution is not recorded. Give slide_mpp when "
            "reading the slides."
        )
    return sides


def refuse_volumes(store: ActivationStore) -> None:
    """Raise InvalidInput for a store of volumes, which lie on no slide."""
    shape = store.image_shape
    volume = shape is not None and (len(shape) == 4 or (len(shape) == 3 and shape[-1] != 3))
    if volume or any(len(info.grid) == 3 for info in store.layers.values()):
        raise InvalidInput(
            "The tiles of this store are volumes, and a volume has no place on a slide. Look at "
            "them slice by slice with MapViewer."
        )


# -- sizes -------------------------------------------------------------------------------
def _sides(store: ActivationStore) -> tuple[Float64, Int64, list[SlideRecord]]:
    """(n, 2) sides, NaN where unknown; number of each tile's record, -1 for none; the records."""
    table = store.tiles
    size = _numbers(table, "size")
    mpp, level = _numbers(table, "mpp"), _numbers(table, "level")
    record_of, records, shared = _bind(store)
    step = np.full((len(records) + 1, 2), np.nan)  # the last entry serves "no record"
    base = np.full((len(records) + 1, 2), np.nan)
    for i, record in enumerate(records):
        step[i] = record.step or np.nan
        base[i] = record.mpp or np.nan
    base[-1] = shared or np.nan
    with np.errstate(invalid="ignore", over="ignore"):
        sides = size[:, None] * step[record_of]
        scaled = size[:, None] * mpp[:, None] / base[record_of]
        sides = np.where(np.isnan(sides), scaled, sides)
        # Slides are read at a chosen resolution; a tile of no slide is as large as it was read.
        bound = RECORD in table.columns
        resampled = np.isfinite(mpp) & ((record_of >= 0) if bound else bool(records))
        plain = np.isnan(sides).any(axis=1) & (level == 0) & ~resampled
    sides[plain] = size[plain, None]
    return sides, record_of, records


def _bind(
    store: ActivationStore,
) -> tuple[Int64, list[SlideRecord], tuple[float, float] | None]:
    """Number of each tile's record (-1: none), the records, and the mpp that all slides share.

    The table's column says it. Stores written before there was one: the records are in the order
    of the slides, but a slide without tissue has no tile and a subset has another order, so order
    tells only for whole sources with as many names.
    """
    table, source = store.tiles, store.manifest.source
    records, whole = records_of(source)
    n, count = len(table), len(records)
    if RECORD in table.columns:
        given = _numbers(table, RECORD)
        known = (given >= 0) & (given < count)
        return np.where(known, given, -1).astype(np.int64), records, None
    nobody = np.full(n, -1, dtype=np.int64)
    codes, names = _codes(table["source"])
    if count == len(names) and ((whole and "exported_from" not in source) or count == 1):
        return codes, records, None
    bases = {record.mpp for record in records}
    return nobody, records, bases.pop() if len(bases) == 1 else None


def records_of(source: Mapping[str, Any]) -> tuple[list[SlideRecord], bool]:
    """Records of all slides of a source's provenance, and whether they are in the order of its
    tiles. Nothing in it is trusted: what makes no sense counts as not recorded."""
    records: list[SlideRecord] = []
    whole = _collect(source, records, 0)
    return records, whole and bool(records)


def _collect(source: object, records: list[SlideRecord], depth: int) -> bool:
    if not isinstance(source, Mapping) or depth > _DEEPEST:
        return False
    parts = source.get("parts")
    if isinstance(parts, list | tuple):
        orders = [
            _collect(part, records, depth + 1) for part in parts
        ]  # every part, also after a False
        return all(orders)
    if "of" in source:
        _collect(source["of"], records, depth + 1)
        return False
    slides = source.get("slides")
    if not isinstance(slides, list | tuple):
        return False
    records.extend(_record(slide) for slide in slides)
    return True


def _record(value: object) -> SlideRecord:
    if not isinstance(value, Mapping):
        return SlideRecord()
    width, height = (_whole(value.get(key)) for key in ("width", "height"))
    quickhash = value.get("quickhash")
    return SlideRecord(
        width,
        height,
        _pair(value.get("mpp")),
        _pair(value.get("step")),
        quickhash if isinstance(quickhash, str) and len(quickhash) <= 200 else "",
    )


def _whole(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < _LARGEST:
        return None
    return value


def _pair(value: object) -> tuple[float, float] | None:
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    numbers = [
        float(v) if isinstance(v, int | float) and not isinstance(v, bool) else 0.0 for v in value
    ]
    if not all(math.isfinite(v) and v > 0 for v in numbers):
        return None
    return numbers[0], numbers[1]


# -- the table ---------------------------------------------------------------------------
def _names(
    table: pd.DataFrame, placed: npt.NDArray[np.bool_]
) -> tuple[tuple[str, ...], npt.NDArray[np.int32]]:
    """Names of the slides in order of appearance, and each tile's number (-1: no place)."""
    import pandas as pd

    codes, names = _codes(table["source"])
    rows = np.flatnonzero(placed)
    z = _numbers(table, "z")[rows] if "z" in table.columns else np.zeros(len(rows))
    z = np.where(np.isfinite(z), z, 0.0)
    low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    np.minimum.at(low, codes[rows], z)
    np.maximum.at(high, codes[rows], z)
    stacked = high > low
    layer = np.where(stacked[codes[rows]], z, 0.0)
    places, _ = pd.factorize(layer)
    number, found = pd.factorize(codes[rows] * (int(places.max(initial=0)) + 1) + places)
    slide = np.full(len(table), -1, dtype=np.int32)
    slide[rows] = number
    first = np.full(len(found), -1)
    first[number[::-1]] = np.arange(len(rows))[::-1]
    labels = [
        f"{names[code]} {place:g}" if stacked[code] else names[code]
        for code, place in zip(codes[rows][first], layer[first], strict=True)
    ]
    return tuple(_unique(labels)), slide


def _unique(labels: Sequence[str]) -> Iterator[str]:
    """A source called "a 1" beside slice 1 of a source "a": the later gets a number more."""
    seen: set[str] = set(labels) if len(set(labels)) < len(labels) else set()
    used: set[str] = set()
    for label in labels:
        name, count = label, 2
        while name in used or (name != label and name in seen):
            name, count = f"{label} ({count})", count + 1
        used.add(name)
        yield name


def _codes(column: pd.Series[Any]) -> tuple[Int64, list[str]]:
    """Number of each value in order of appearance, and the values."""
    codes, values = column.astype(str).factorize()
    return codes.astype(np.int64), [str(value) for value in values]


def _numbers(table: pd.DataFrame, column: str) -> Float64:
    """A column as float64; NaN where the table has none or it holds no number."""
    if column not in table.columns:
        return np.full(len(table), np.nan)
    import pandas as pd

    found: Float64 = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64)
    return found


def _nowhere(n: int, why: str) -> Placement:
    return Placement(
        (),
        np.full(n, -1, dtype=np.int32),
        np.full((n, 4), np.nan),
        np.empty((0, 2), dtype=np.int64),
        np.empty((0, 2)),
        (),
        n,
        why,
    )


def _why_missing(corner: Float64, sides: Float64) -> str:
    count = len(corner)
    if np.isnan(sides).any():
        why = (
            "they were read at a lower level and the resolution of their slide is not recorded. "
            "Give slide_mpp when reading the slides"
        )
    elif not np.isfinite(corner).all():
        why = "their position is not a number"
    else:
        why = "their size in pixels is not recorded"
    return f"{count:,} tile{'' if count == 1 else 's'} cannot be placed: {why}."
