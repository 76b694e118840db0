"""A pyramid made in one pass from strips of rows, with memory that does not grow with the height."""

from __future__ import annotations

import tempfile
import zlib
from array import array
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from widgetkit.store.pool import in_threads

Kind = Literal["values", "labels", "rgb"]
Pixels = npt.NDArray[Any]


class TileSpill:
    """Encoded tiles of all levels in a nameless file, in the order they come.

    A TIFF wants them level by level and channel by channel; strips bring all at once.
    """

    def __init__(self, folder: Path) -> None:
        # It has no name where the system can do that: a killed process leaves nothing behind.
        self._file = tempfile.TemporaryFile(dir=folder, prefix=".widgetkit-")  # noqa: SIM115
        # bytes of each tile in the order they came, and where it begins: 16 bytes a tile
        self._places: dict[tuple[int, int], tuple[array[int], array[int]]] = {}
        self.size = 0

    def add(self, level: int, plane: int, tiles: list[bytes]) -> None:
        """Tiles of one level and plane, in row order."""
        starts, sizes = self._places.setdefault((level, plane), (array("Q"), array("Q")))
        for data in tiles:
            self._file.write(data)
            starts.append(self.size)
            sizes.append(len(data))
            self.size += len(data)

    def tiles(self, level: int, planes: int) -> Iterator[bytes]:
        """All tiles of a level, plane by plane."""
        for plane in range(planes):
            for start, size in zip(*self._places[level, plane], strict=True):
                self._file.seek(start)
                yield self._file.read(size)

    @property
    def count(self) -> int:
        return sum(len(starts) for starts, _ in self._places.values())

    def __enter__(self) -> TileSpill:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


class PyramidLevel:
    """Collects rows of one level, cuts them into tiles, and passes half of them on.

    Parameters
    ----------
    spill : TileSpill
    number : int
        0 is the finest.
    shape : (c, H, W)
        Of this level.
    dtype : dtype
    levels : int
        Of the pyramid.
    tile : int
        Even; the buffer holds this many rows.
    kind : "values", "labels" or "rgb"
        How a cell of the next level follows from four: mean of those that are not NaN; the most
        frequent; mean, with the three channels interleaved in the file.
    compression : int
        zlib's level, 0 for none.
    """

    def __init__(
        self,
        spill: TileSpill,
        number: int,
        shape: tuple[int, int, int],
        dtype: np.dtype[Any],
        levels: int,
        *,
        tile: int,
        kind: Kind,
        compression: int,
    ) -> None:
        self._spill, self._number = spill, number
        self.shape, self.dtype, self.kind = shape, dtype, kind
        self._tile, self._compression = tile, compression
        channels, height, width = shape
        self._buffer = np.empty((channels, min(tile, height), width), dtype=dtype)
        self._filled = 0
        self.rows = 0
        self.next: PyramidLevel | None = None
        if number + 1 < levels:
            half = (channels, (height + 1) // 2, (width + 1) // 2)
            self.next = PyramidLevel(
                spill, number + 1, half, dtype, levels,
                tile=tile, kind=kind, compression=compression,
            )  # fmt: skip

    def add(self, rows: Pixels) -> None:
        """(c, r, W), any number of rows."""
        done = 0
        while done < rows.shape[1]:
            room = self._buffer.shape[1] - self._filled
            part = rows[:, done : done + room]
            self._buffer[:, self._filled : self._filled + part.shape[1]] = part
            self._filled += part.shape[1]
            self.rows += part.shape[1]
            done += part.shape[1]
            if self._filled == self._buffer.shape[1] or self.rows == self.shape[1]:
                self._flush()

    def _flush(self) -> None:
        rows = self._buffer[:, : self._filled]
        self._filled = 0
        planes = [rows] if self.kind == "rgb" else [rows[c : c + 1] for c in range(len(rows))]
        across = -(-self.shape[2] // self._tile)

        def encode(at: tuple[int, int]) -> bytes:
            plane, column = at
            start = column * self._tile
            data = self._padded(planes[plane][:, :, start : start + self._tile]).tobytes()
            return zlib.compress(data, self._compression) if self._compression else data

        encoded = in_threads(encode, [(p, i) for p in range(len(planes)) for i in range(across)])
        for plane in range(len(planes)):
            self._spill.add(self._number, plane, encoded[plane * across : (plane + 1) * across])
        if self.next is not None:
            # Buffers hold an even number of rows but for the last: pairs never straddle two.
            self.next.add(halved(rows, self.kind))

    def _padded(self, part: Pixels) -> Pixels:
        full = np.zeros((len(part), self._tile, self._tile), dtype=part.dtype)
        full[:, : part.shape[1], : part.shape[2]] = part
        return full.transpose(1, 2, 0) if self.kind == "rgb" else full


def level_count(height: int, width: int, tile: int) -> int:
    """Levels until one tile holds all."""
    count = 1
    while max(height, width) > tile:
        height, width, count = (height + 1) // 2, (width + 1) // 2, count + 1
    return count


def halved(rows: Pixels, kind: Kind) -> Pixels:
    """(c, ceil(r / 2), ceil(W / 2)): one cell for four; at an odd edge for the two that are there."""
    r, w = rows.shape[1:]
    even = rows
    if r % 2 or w % 2:
        even = np.pad(rows, ((0, 0), (0, r % 2), (0, w % 2)), mode="edge")
    a, b = even[:, ::2, ::2], even[:, ::2, 1::2]
    c, d = even[:, 1::2, ::2], even[:, 1::2, 1::2]
    if kind == "labels":
        return _most_frequent(a, b, c, d)
    if kind == "rgb":
        summed = a.astype(np.uint16) + b + c + d
        return ((summed + 2) // 4).astype(np.uint8)
    total: Pixels = a + b
    total += c
    total += d
    total *= 0.25
    gaps = np.isnan(total)
    if gaps.any():
        four = np.stack([part[gaps] for part in (a, b, c, d)])
        there = ~np.isnan(four)
        count = there.sum(axis=0)
        known = np.where(there, four, 0).sum(axis=0, dtype=np.float32)
        total[gaps] = np.where(count > 0, known / np.maximum(count, 1), np.nan)
    return total


def _most_frequent(a: Pixels, b: Pixels, c: Pixels, d: Pixels) -> Pixels:
    """Of four; of equally frequent ones the first in reading order."""
    ab, ac, ad, bc, bd, cd = a == b, a == c, a == d, b == c, b == d, c == d
    best = 1 + ab.astype(np.int8) + ac + ad
    out = a.copy()
    for value, count in (
        (b, 1 + ab.astype(np.int8) + bc + bd),
        (c, 1 + ac.astype(np.int8) + bc + cd),
    ):
        ahead = count > best
        out[ahead] = value[ahead]
        np.maximum(best, count, out=best)
    return out  # d alone is never ahead of all: with an equal it is counted with that one
