"""What a source of tiles is: a table that names them and a ``read`` that returns their pixels.

A tile's id depends on its source's name and its position only, never on the order of arrival, so
one process or many, today or next year, give the same ids.
"""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd

from widgetkit.errors import BadImage, BadMetadata, InvalidInput, NoTissue
from widgetkit.tiles.pixels import default_window, display, is_colour

#: Columns that every table has, in this order; metadata may not use these names.
RESERVED = ("id", "source", "x", "y", "z", "level", "size", "mpp")
#: Column of tiles cut from slides: number of the tile's slide among those that the source's
#: ``describe()`` lists, all parts of a combined source counted through; -1 for tiles of no slide. It
#: binds what is recorded of a slide (size, resolution, hash) to its tiles without a name.
RECORD = "slide_record"
#: dtypes a source may read as; others are converted where they come in.
DTYPES = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32))
#: Below 5 px an axis of width could be mistaken for one of colour (3, or 4 with alpha).
SMALLEST_SIDE = 5

_ID = re.compile(r"[0-9a-f]{16}\Z")


@runtime_checkable
class TileSource(Protocol):
    """Anything with these members can be extracted from.

    ``table`` holds one row a tile (see :func:`make_table`); ``shape`` and ``dtype`` are those of
    one tile as ``read`` gives it. A source of 16-bit or float tiles may have an attribute
    ``window = (low, high)``: the values shown as black and white (:func:`display_of`).
    """

    @property
    def table(self) -> pd.DataFrame: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[np.generic]: ...
    def __len__(self) -> int: ...
    def read(self, rows: Sequence[int]) -> np.ndarray: ...
    def describe(self) -> dict[str, object]: ...


def tile_id(source: str, x: float, y: float, z: float, level: int, size: int) -> str:
    """Name of a tile from where it lies: 16 hexadecimal digits of BLAKE2b.

    Parameters
    ----------
    source : str
        Name of the slide, file or array.
    x, y : float
        Top left corner, in pixels of level 0.
    z : float
        Slice or index; 0 if there is none.
    level, size : int
        Level that is read, and side of the tile in pixels as read.
    """
    # `+ 0.0` turns -0.0 into 0.0; NUL cannot occur in a file name, so no two inputs run together.
    place = "\0".join(repr(float(value) + 0.0) for value in (x, y, z))
    text = f"{source}\0{place}\0{int(level)}\0{int(size)}"
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def make_table(
    source: str | Sequence[str],
    *,
    n: int,
    x: Sequence[float] | np.ndarray | float = 0.0,
    y: Sequence[float] | np.ndarray | float = 0.0,
    z: Sequence[float] | np.ndarray | float = 0.0,
    level: Sequence[int] | np.ndarray | int = 0,
    size: int,
    mpp: Sequence[float] | np.ndarray | float = np.nan,
) -> pd.DataFrame:
    """Table of ``n`` tiles with the columns of :data:`RESERVED` and ``slide`` (= source).

    Returns
    -------
    DataFrame
        Range index; ``id`` (str), ``source`` (str), ``x``, ``y`` (float64, level-0 px), ``z``
        (float64), ``level`` (int64), ``size`` (int64, px as read), ``mpp`` (float64, micrometres a
        pixel as read, NaN if unknown), ``slide`` (str).
    """
    sources = [source] * n if isinstance(source, str) else [str(name) for name in source]
    columns = {
        "x": np.broadcast_to(np.asarray(x, np.float64), (n,)),
        "y": np.broadcast_to(np.asarray(y, np.float64), (n,)),
        "z": np.broadcast_to(np.asarray(z, np.float64), (n,)),
        "level": np.broadcast_to(np.asarray(level, np.int64), (n,)),
        "size": np.full(n, size, np.int64),
        "mpp": np.broadcast_to(np.asarray(mpp, np.float64), (n,)),
    }
    ids = [
        tile_id(*place)
        for place in zip(
            sources,
            columns["x"],
            columns["y"],
            columns["z"],
            columns["level"],
            columns["size"],
            strict=True,
        )
    ]
    return pd.DataFrame(
        {
            "id": pd.Series(ids, dtype="str"),
            "source": pd.Series(sources, dtype="str"),
            **{name: values.copy() for name, values in columns.items()},
            "slide": pd.Series(sources, dtype="str"),
        }
    )


def check_table(table: pd.DataFrame) -> pd.DataFrame:
    """The table itself if it keeps the promise of :func:`make_table`, else :class:`BadMetadata`.

    For sources written elsewhere; ours are checked by their tests.
    """
    lacking = [name for name in RESERVED if name not in table.columns]
    if lacking:
        raise BadMetadata(
            f"The tile table lacks {', '.join(map(repr, lacking))}; it has "
            f"{', '.join(map(repr, map(str, table.columns)))}. Build it with widgetkit.tiles.make_table."
        )
    if not table.columns.is_unique:
        twice = sorted({str(name) for name in table.columns[table.columns.duplicated()]})
        raise BadMetadata(f"The tile table has columns of the same name: {', '.join(twice)}.")
    if not table.index.equals(pd.RangeIndex(len(table))):
        raise BadMetadata(
            "The tile table's index must be 0..n-1 in order; use table.reset_index(drop=True)."
        )
    ids = table["id"]
    bad = next((row for row, name in enumerate(ids) if not _ID.match(str(name))), None)
    if bad is not None:
        raise BadMetadata(f"The id of row {bad} is not 16 hexadecimal digits; use tile_id().")
    if not ids.is_unique:
        rows = np.flatnonzero(ids.duplicated(keep=False))[:2].tolist()
        raise BadMetadata(
            f"Rows {rows[0]} and {rows[1]} have the same id: two tiles of the same source name, "
            "position, level and size. Give the sources different names."
        )
    for name in ("x", "y", "z", "level", "size", "mpp"):
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise BadMetadata(f"Column {name!r} of the tile table must hold numbers.")
    for name in ("x", "y", "z"):
        if not np.isfinite(table[name].to_numpy(np.float64)).all():
            raise BadMetadata(
                f"Column {name!r} of the tile table holds values that are not finite."
            )
    return table


def check_source(source: TileSource) -> None:
    """Raise unless ``source`` keeps the promises of :class:`TileSource` that cost no reading.

    Raises
    ------
    BadMetadata
        Its table is wrong or not as long as the source.
    BadImage
        Its shape or dtype is not one that tiles can have.
    NoTissue
        It has no tile.
    """
    check_table(source.table)
    if len(source) != len(source.table):
        raise BadMetadata(
            f"The source says it has {len(source):,} tiles and its table {len(source.table):,} rows."
        )
    if len(source) == 0:
        raise NoTissue("The source has no tile.")
    if np.dtype(source.dtype) not in DTYPES:
        raise BadImage(f"Tiles of dtype {source.dtype}; they must be uint8, uint16 or float32.")
    check_shape(tuple(source.shape))


def check_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """``shape`` if one tile can have it: (H, W), (H, W, 3), (D, H, W) or (D, H, W, 3)."""
    plane = shape[:-1] if is_colour(shape) else shape
    if len(plane) not in (2, 3) or min(plane, default=0) < 1 or min(plane[-2:]) < SMALLEST_SIDE:
        raise BadImage(
            f"A tile of shape {shape}; it must be (H, W), (H, W, 3), (D, H, W) or (D, H, W, 3) "
            f"with H and W at least {SMALLEST_SIDE}."
        )
    return shape


def check_rows(rows: Sequence[int] | np.ndarray, n: int) -> np.ndarray:
    """``rows`` as int64, each in ``0..n-1``; a boolean mask of length n is taken as such."""
    array = np.asarray(rows)
    if array.size == 0:
        return np.empty(0, np.int64)
    if array.ndim != 1:
        raise InvalidInput(f"Rows must be one-dimensional; got shape {array.shape}.")
    if array.dtype == np.bool_:
        if len(array) != n:
            raise InvalidInput(f"A mask of {len(array):,} values for {n:,} tiles.")
        return np.flatnonzero(array)
    if not np.issubdtype(array.dtype, np.integer):
        raise InvalidInput(f"Rows must be whole numbers; got dtype {array.dtype}.")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= n:
        raise InvalidInput(
            f"Row {low if low < 0 else high} of a source of {n:,} tiles (0..{n - 1})."
        )
    return array.astype(np.int64)


def display_of(source: TileSource, images: np.ndarray) -> np.ndarray:
    """What is shown and stored of tiles of this source: uint8 (m, H, W) or (m, H, W, 3).

    A source's ``window`` is used where it has one; volumes give their middle slice.
    """
    window = getattr(source, "window", None)
    return display(images, window=window)


class BaseSource(ABC):
    """What the sources of the kit share: checks, display, and a short ``repr``."""

    def __init__(
        self,
        table: pd.DataFrame,
        shape: tuple[int, ...],
        dtype: np.dtype[np.generic],
        window: tuple[float, float] | None = None,
    ) -> None:
        self._table = check_table(table)
        self._shape = check_shape(shape)
        self._dtype = np.dtype(dtype)
        self.window = window if window is not None else default_window(self._dtype)
        if not len(table):
            raise NoTissue("There is no tile: the source is empty.")

    @property
    def table(self) -> pd.DataFrame:
        """One row a tile; see :func:`make_table`. Not to be changed in place."""
        return self._table

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one tile: (H, W), (H, W, 3), (D, H, W) or (D, H, W, 3)."""
        return self._shape

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """uint8, uint16 or float32."""
        return self._dtype

    def __len__(self) -> int:
        return len(self._table)

    def read(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Pixels of these tiles, (m, *shape), in the order asked for; safe in many threads.

        Raises
        ------
        BadImage
            A tile cannot be read, or has another shape than the rest. Names it.
        InvalidInput
            A row is not in 0..n-1.
        """
        wanted = check_rows(rows, len(self))
        out = np.empty((len(wanted), *self._shape), self._dtype)
        for at, row in enumerate(wanted.tolist()):
            tile = self._read_one(row)
            if tile.shape != self._shape or tile.dtype != self._dtype:
                raise BadImage(
                    f"Tile {row} has shape {tile.shape} and dtype {tile.dtype}; the others have "
                    f"{self._shape} and {self._dtype}. Bring all to one size and kind first."
                )
            out[at] = tile
        return out

    @abstractmethod
    def _read_one(self, row: int) -> np.ndarray: ...

    @abstractmethod
    def describe(self) -> dict[str, object]: ...

    def display(self, images: np.ndarray) -> np.ndarray:
        """What is shown and stored of tiles as read: uint8 (m, H, W) or (m, H, W, 3)."""
        return display(images, window=self.window)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self._shape))
        return f"<{type(self).__name__}: {len(self):,} tiles of {shape}, {self._dtype}>"
