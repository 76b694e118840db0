"""Arrays of many rows in several files, as derived results list them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from widgetkit.errors import InvalidInput, StoreCorrupt
from widgetkit.store import jsonio, npy
from widgetkit.store.atomic import FileRecord, sha256_of
from widgetkit.store.paths import is_relative
from widgetkit.store.segments import SegmentedArray

LONGEST_NAME = 200
_MOST_SEGMENTS = 10**7


@dataclass(frozen=True)
class Column:
    """What one row of a segmented array holds: shape of the item (``()`` a number) and dtype."""

    item: tuple[int, ...]
    dtype: str

    def segment_bytes(self, rows: int) -> int:
        """Size of a file with ``rows`` rows, header included."""
        dtype = np.dtype(self.dtype)
        return len(npy.header(dtype, (rows, *self.item))) + rows * math.prod(self.item) * (
            dtype.itemsize
        )


class Segmented(Protocol):
    """An array ``(n, *item)`` read by position; nothing is in memory until rows are asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def files(self) -> Sequence[FileRecord]: ...
    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """``(m, *item)``: rows in the order given, repeats allowed."""


class InMemory:
    """The same for a store that cannot be written to."""

    files: Sequence[FileRecord] = ()

    def __init__(self, parts: Sequence[NDArray[Any]], column: Column) -> None:
        self._parts = list(parts)
        self._step = len(parts[0]) if parts else 1
        self._column = column

    @property
    def shape(self) -> tuple[int, ...]:
        return (sum(map(len, self._parts)), *self._column.item)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self._column.dtype)

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        result = np.empty((len(rows), *self._column.item), self.dtype)
        of = rows // self._step
        for index in np.unique(of):
            chosen = of == index
            result[chosen] = self._parts[index][rows[chosen] - index * self._step]
        return result


def check_columns(columns: Mapping[str, Column], rows: int, segment_rows: int) -> None:
    """Raise :class:`InvalidInput` for columns that cannot be stored."""
    if not columns or rows < 0 or segment_rows < 1 or rows > segment_rows * _MOST_SEGMENTS:
        raise InvalidInput(
            f"{len(columns)} columns of {rows} rows in segments of {segment_rows}: use at least one "
            "column, no negative number, and segments of at least one row."
        )
    for key, column in columns.items():
        if not isinstance(key, str) or not key or len(key) > LONGEST_NAME:
            raise InvalidInput(f"A column needs a name of 1 to {LONGEST_NAME} characters.")
        if any(size < 0 for size in column.item) or len(column.item) > 15:
            raise InvalidInput(f"Column {key!r} has items of shape {column.item}.")
        npy.storable(np.empty(0, column.dtype))


def parse_listed(listed: Any, folder: str, where: str) -> FileRecord:
    """A file listed in a record, its path below the store; :class:`StoreCorrupt` when absurd."""
    fields = jsonio.Fields(
        dict(zip(("file", "size", "sha256"), listed, strict=False))
        if isinstance(listed, list)
        else listed,
        f"{where}, a file",
    )
    file = fields.text("file", longest=300)
    if file.count("/") > 1 or not is_relative(f"{folder}/{file}") or ".." in file.split("/"):
        raise StoreCorrupt(f"{where}: {file[:200]!r} is not a file beside it.")
    return FileRecord(
        f"{folder}/{file}", fields.integer("size", 0, 2**60), fields.text("sha256", longest=64)
    )


def parse_column(value: Any, root: Path, folder: str, where: str) -> SegmentedArray:
    """A segmented array from its listing.

    Its shape is compared with the sizes it lists, so that nothing is allocated by a number that no
    file answers for.

    Raises
    ------
    StoreCorrupt
    """
    fields = jsonio.Fields(value, where)
    rows = fields.integer("rows", 0, 2**40)
    step = fields.integer("segment_rows", 1, 2**40)
    item = tuple(fields.items("item", longest=15))
    if not all(type(size) is int and 0 <= size < 2**40 for size in item):
        raise StoreCorrupt(f"{where}: its item shape makes no sense.")
    try:
        dtype = np.dtype(fields.text("dtype", longest=12))
        npy.storable(np.empty(0, dtype))
    except (TypeError, ValueError, InvalidInput):
        raise StoreCorrupt(f"{where}: its dtype is not one that is stored.") from None
    column = Column(item, dtype.str)
    files = [
        parse_listed(listed, folder, where)
        for listed in fields.items("files", longest=_MOST_SEGMENTS)
    ]
    fields.done()
    if len(files) != -(-rows // step):
        raise StoreCorrupt(f"{where} lists {len(files)} files for {rows} rows of {step} each.")
    for index, file in enumerate(files):
        wanted = column.segment_bytes(min(step, rows - index * step))
        if file.size != wanted:
            raise StoreCorrupt(
                f"{where}: {file.path} has {file.size} bytes where its shape needs {wanted}."
            )
    return SegmentedArray(root, files, rows, step, item, column.dtype)


def damaged(root: Path, files: Sequence[FileRecord]) -> list[str]:
    """Those of the files whose bytes are not the recorded ones, a sentence each."""
    return [
        f"{file.path} was altered: its SHA-256 is not the one recorded"
        for file in files
        if not is_whole(root, file)
    ]


def is_whole(root: Path, file: FileRecord) -> bool:
    """Whether every byte of a file is the one recorded."""
    try:
        return sha256_of(root / file.path) == (file.size, file.sha256)
    except OSError:
        return False
