"""Encoded pictures of any length, one after another in a file a segment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from widgetkit.errors import StoreCorrupt
from widgetkit.store import npy
from widgetkit.store.atomic import FileRecord, read_checked
from widgetkit.store.pool import in_threads
from widgetkit.store.segments import PositionedFile


class SegmentedBlobs:
    """``n`` byte strings in segments: ``00000.bin`` and the ``(m + 1,)`` offsets beside it."""

    def __init__(
        self,
        root: Path,
        data: Sequence[FileRecord],
        offsets: Sequence[FileRecord],
        segment_rows: int,
        n: int,
    ) -> None:
        self._root = root
        self._data = data
        self._offset_files = offsets
        self._segment_rows = segment_rows
        self._n = n
        self._offsets: dict[int, NDArray[np.int64]] = {}

    def take(self, rows: NDArray[np.int64]) -> list[bytes]:
        """The byte strings of ascending rows.

        Raises
        ------
        StoreCorrupt
            A file is damaged; the offsets never lead outside of it. Names it.
        """
        segments = rows // self._segment_rows
        result: list[bytes] = [b""] * len(rows)

        def read(index: int) -> None:
            offsets = self._ends(index)
            with PositionedFile(self._root / self._data[index].path) as file:
                for i in np.flatnonzero(segments == index).tolist():
                    local = int(rows[i]) - index * self._segment_rows
                    start, stop = int(offsets[local]), int(offsets[local + 1])
                    blob = bytearray(stop - start)
                    if blob:
                        file.read_into([memoryview(blob)], start)
                    result[i] = bytes(blob)

        in_threads(read, np.unique(segments).tolist())
        return result

    def _ends(self, index: int) -> NDArray[np.int64]:
        if index not in self._offsets:
            record = self._offset_files[index]
            where = str(self._root / record.path)
            array: NDArray[Any] = npy.decode(read_checked(self._root, record), where)
            rows = min(self._segment_rows, self._n - index * self._segment_rows)
            if (
                array.dtype != np.int64
                or array.shape != (rows + 1,)
                or array[0] != 0
                or array[-1] != self._data[index].size
                or (array[1:] < array[:-1]).any()
            ):
                raise StoreCorrupt(f"{where} does not hold the offsets of {rows} pictures.")
            self._offsets[index] = array.astype(np.int64)
        return self._offsets[index]
