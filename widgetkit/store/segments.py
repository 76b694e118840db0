"""Rows of an array that lies in several ``.npy`` files, read by position.

Not through a memory map: page faults are served one after another, so 64 cold patches of 50 kB
take a memory map 360-750 ms and these reads 5-10 ms (benchmarks/bench_store.py).
"""

from __future__ import annotations

import errno
import math
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from widgetkit.errors import StoreCorrupt, StoreError
from widgetkit.store import npy
from widgetkit.store.atomic import FileRecord
from widgetkit.store.pool import in_threads

# One request: long enough to be efficient, short enough that a long read is shared by threads.
_LARGEST_READ = 4 * 2**20
# Reading over a gap of this many bytes costs less than another request.
_GAP = 16 * 2**10
_FETCHERS = 8
# At once, of the 1024 that a process commonly may have.
_OPEN_FILES = 128
# preadv takes 1024 buffers at most; a read has up to two.
_MOST_READS = 250
_HAS_PREADV = hasattr(os, "preadv")
_HAS_PREAD = hasattr(os, "pread")
_HAS_ADVICE = hasattr(os, "posix_fadvise")
# Linux: read only what is in memory already. Warm rows then cost no hand-over to a thread.
_NOWAIT = getattr(os, "RWF_NOWAIT", None)
# So much is asked of the system at once; the pages must still be there when they are copied.
_WINDOW = 64 * 2**20


@dataclass(frozen=True)
class _Read:
    """``count`` rows that lie together: from ``row`` of ``file`` to ``target`` of the result.

    ``skip`` rows before them are read into the void, since that is quicker than a new request.
    """

    row: int
    target: int
    count: int
    skip: int


class PositionedFile:
    """A file read at given positions, by several threads at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise StoreError(f"Too many open files to read {path}; see ulimit -n.") from error
            raise StoreCorrupt(f"{path} cannot be read: {error.strerror}.") from error
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def advise(self, *, scattered: bool) -> None:
        """Say how it will be read: scattered reads gain nothing from what lies behind them."""
        if _HAS_ADVICE:
            advice = os.POSIX_FADV_RANDOM if scattered else os.POSIX_FADV_SEQUENTIAL
            with suppress(OSError):
                os.posix_fadvise(self._fd, 0, 0, advice)

    def will_need(self, offset: int, size: int) -> None:
        """Ask the system to begin reading; returns at once."""
        if _HAS_ADVICE:
            with suppress(OSError):
                os.posix_fadvise(self._fd, offset, size, os.POSIX_FADV_WILLNEED)

    def read_cached(self, buffers: list[memoryview], offset: int) -> bool:
        """Fill the buffers if all of it is in the page cache; False when it is not, or unknown."""
        if _NOWAIT is None or len(buffers) > 512:
            return False
        try:
            return os.preadv(self._fd, buffers, offset, _NOWAIT) == sum(map(len, buffers))
        except OSError:  # EAGAIN: not in memory; ENOTSUP: the file system cannot say
            return False

    def read_into(self, buffers: list[memoryview], offset: int) -> None:
        """Fill the buffers from ``offset`` on; :class:`StoreCorrupt` when the file ends early."""
        while buffers:
            try:
                got = self._read_some(buffers, offset)
            except OSError as error:
                raise StoreCorrupt(f"{self._path} cannot be read: {error.strerror}.") from error
            if got <= 0:
                raise StoreCorrupt(f"{self._path} ends early: nothing at byte {offset}.")
            offset += got
            while buffers and got >= len(buffers[0]):
                got -= len(buffers[0])
                buffers = buffers[1:]
            if got:
                buffers = [buffers[0][got:], *buffers[1:]]

    def _read_some(self, buffers: list[memoryview], offset: int) -> int:
        if _HAS_PREADV:
            return os.preadv(self._fd, buffers[:512], offset)
        if _HAS_PREAD:
            data = os.pread(self._fd, len(buffers[0]), offset)
        else:
            with self._lock:
                os.lseek(self._fd, offset, os.SEEK_SET)
                data = os.read(self._fd, len(buffers[0]))
        buffers[0][: len(data)] = data
        return len(data)

    def close(self) -> None:
        os.close(self._fd)

    def __enter__(self) -> PositionedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class _Job:
    """One request: where it begins in a file, the buffers it fills, and a look at them after."""

    file: PositionedFile
    buffers: list[memoryview]
    offset: int
    check: Callable[[], None] | None = None

    @property
    def size(self) -> int:
        return sum(map(len, self.buffers))


class SegmentedArray:
    """``(n, *item)`` in files of ``segment_rows`` rows each.

    Parameters
    ----------
    root : Path
    files : sequence of FileRecord
        In order; the sizes were compared with the disk when the store was opened.
    n, segment_rows : int
    item : tuple of int
        Shape of one row.
    dtype : dtype
        What every file must hold.
    """

    def __init__(
        self,
        root: Path,
        files: Sequence[FileRecord],
        n: int,
        segment_rows: int,
        item: tuple[int, ...],
        dtype: str,
    ) -> None:
        self._root = root
        self._files = files
        self._n = n
        self._segment_rows = segment_rows
        self._item = item
        self._dtype = np.dtype(dtype)
        self._row_bytes = math.prod(item) * self._dtype.itemsize
        self._checked: set[int] = set()

    @property
    def row_bytes(self) -> int:
        return self._row_bytes

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, *item)``."""
        return (self._n, *self._item)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._dtype

    @property
    def files(self) -> Sequence[FileRecord]:
        return self._files

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """``(m, *item)``: the rows in the order given; each is read once, however often it is asked.

        Raises
        ------
        StoreCorrupt
            A file is missing, shorter or other than the manifest says. Names it.
        """
        result = np.empty((len(rows), *self._item), self._dtype)
        if not result.size:
            return result
        order = np.argsort(rows, kind="stable")
        ascending = rows[order]
        first = np.ones(len(rows), np.bool_)
        np.not_equal(ascending[1:], ascending[:-1], out=first[1:])
        # Every row goes straight to its place: copying once more would cost as much as a warm read.
        self._read(ascending[first], order[first], result.reshape(-1).view(np.uint8).data)
        if not first.all():
            group = np.cumsum(first) - 1
            result[order[~first]] = result[order[first][group[~first]]]
        return result

    def will_need(self, start: int, stop: int) -> None:
        """Have the system read rows ``[start, stop)`` while something else is being done."""
        for index, low, high in self._by_segment(start, stop):
            with PositionedFile(self._root / self._files[index].path) as file:
                offset = self._offset(index) + low * self._row_bytes
                file.will_need(offset, (high - low) * self._row_bytes)

    def _by_segment(self, start: int, stop: int) -> list[tuple[int, int, int]]:
        size = self._segment_rows
        return [
            (index, max(start - index * size, 0), min(stop - index * size, size))
            for index in range(start // size, -(-stop // size))
        ]

    def _read(self, rows: NDArray[np.int64], targets: NDArray[np.int64], flat: memoryview) -> None:
        """Read ascending distinct rows, row ``rows[i]`` to place ``targets[i]`` of ``flat``."""
        segments = rows // self._segment_rows
        borders = np.flatnonzero(np.diff(segments)) + 1
        starts = [0, *borders.tolist(), len(rows)]
        parts = [(int(segments[begin]), begin, end) for begin, end in pairwise(starts)]
        for at in range(0, len(parts), _OPEN_FILES):
            self._read_parts(parts[at : at + _OPEN_FILES], rows, targets, flat)

    def _read_parts(
        self,
        parts: list[tuple[int, int, int]],
        rows: NDArray[np.int64],
        targets: NDArray[np.int64],
        flat: memoryview,
    ) -> None:
        """:meth:`_read` for rows ``begin`` to ``end`` of each ``(segment, begin, end)``."""
        files: list[PositionedFile] = []
        jobs: list[_Job] = []
        try:
            for index, begin, end in parts:
                file = PositionedFile(self._root / self._files[index].path)
                files.append(file)
                if index not in self._checked:
                    # Read beside the rows, not before them: where the rows begin follows from the
                    # size of the file, and the header must say the same.
                    jobs.append(self._header_job(index, file))
                local = rows[begin:end] - index * self._segment_rows
                dense = (int(local[-1]) - int(local[0])) < 4 * len(local)
                file.advise(scattered=not dense)
                jobs += [
                    self._job(file, self._offset(index), reads, flat)
                    for reads in self._requests(local, targets[begin:end])
                ]
            _run(jobs)
        finally:
            for file in files:
                file.close()

    def _requests(self, local: NDArray[np.int64], targets: NDArray[np.int64]) -> list[list[_Read]]:
        """Ascending rows of one file as requests, each of neighbours and small gaps between them."""
        breaks = np.flatnonzero((np.diff(local) != 1) | (np.diff(targets) != 1)) + 1
        starts = np.concatenate([[0], breaks])
        stops = np.concatenate([breaks, [len(local)]])
        most = max(1, _LARGEST_READ // max(1, self._row_bytes))
        requests: list[list[_Read]] = []
        size = 0
        end = -1
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            for piece in range(start, stop, most):
                row, count = int(local[piece]), min(most, stop - piece)
                gap = row - end
                joins = bool(requests) and len(requests[-1]) < _MOST_READS
                joins = joins and 0 <= gap * self._row_bytes <= _GAP
                if joins and size + gap + count <= most:
                    requests[-1].append(_Read(row, int(targets[piece]), count, gap))
                    size += gap + count
                else:
                    requests.append([_Read(row, int(targets[piece]), count, 0)])
                    size = count
                end = row + count
        return requests

    def _job(self, file: PositionedFile, offset: int, reads: list[_Read], flat: memoryview) -> _Job:
        width = self._row_bytes
        buffers = []
        for read in reads:
            if read.skip:
                buffers.append(memoryview(bytearray(read.skip * width)))
            buffers.append(flat[read.target * width : (read.target + read.count) * width])
        return _Job(file, buffers, offset + reads[0].row * width)

    def _rows_of(self, index: int) -> int:
        return min(self._segment_rows, self._n - index * self._segment_rows)

    def _offset(self, index: int) -> int:
        """Where the data of a segment begin."""
        return self._files[index].size - self._rows_of(index) * self._row_bytes

    def _header_job(self, index: int, file: PositionedFile) -> _Job:
        record = self._files[index]
        where = str(self._root / record.path)
        if file.size != record.size:
            raise StoreCorrupt(f"{where} has {file.size} bytes where {record.size} were written.")
        start = bytearray(self._offset(index))

        def check() -> None:
            dtype, shape, offset = npy.parse(bytes(start), where)
            expected = (self._rows_of(index), *self._item)
            if dtype != self._dtype or shape != expected:
                raise StoreCorrupt(
                    f"{where} holds {shape} {dtype} where the manifest says "
                    f"{expected} {self._dtype}."
                )
            if offset != len(start):
                raise StoreCorrupt(f"{where} is not as long as its header says.")
            self._checked.add(index)

        return _Job(file, [memoryview(start)], 0, check)


def _run(jobs: list[_Job]) -> None:
    """Do all requests: what is in memory at once; the rest is asked for, then fetched by threads.

    The advice puts all requests before the disk at once (64 cold patches: 7 ms against 13-25 ms by
    threads alone, on a busy machine); the threads do it where the file system takes no advice.
    """
    start = 0
    while start < len(jobs):
        stop, size = start, 0
        waiting = []
        while stop < len(jobs) and size < _WINDOW:
            job = jobs[stop]
            size += job.size
            stop += 1
            if not job.file.read_cached(job.buffers, job.offset):
                job.file.will_need(job.offset, job.size)
                waiting.append(job)
        in_threads(_fetch, [waiting[i::_FETCHERS] for i in range(min(_FETCHERS, len(waiting)))])
        for job in jobs[start:stop]:
            if job.check is not None:
                job.check()
        start = stop


def _fetch(jobs: list[_Job]) -> None:
    for job in jobs:
        job.file.read_into(job.buffers, job.offset)
