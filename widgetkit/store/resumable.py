"""Derived results too long for memory: written segment by segment, resumable, read by position.

``derived/<kind>/<name>/<token>/`` holds a run, ``token`` being a digest of what it computes::

    plan.json                    what is computed, and the arrays that were made before the first row
    00000.json                   record of a finished segment; without it the segment does not count
    weights.00000.<sha>.npy      rows ``[i * segment_rows, (i + 1) * segment_rows)`` of a column

The files tell their content by name, so two processes that write the same run do not disturb each
other. ``entry.json``, written last by :class:`~widgetkit.store.derived.Derived`, lists them.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from widgetkit.errors import InvalidInput, StoreCorrupt, StoreError, StoreNotFound
from widgetkit.store import jsonio, npy
from widgetkit.store.atomic import (
    FileRecord,
    read_checked,
    remove_temporary,
    reporting,
    sync_files,
    temporary_name,
    write_array,
    write_bytes,
)
from widgetkit.store.columns import LONGEST_NAME, Column, InMemory, is_whole, parse_listed
from widgetkit.store.paths import inside, problems_with, slug

PLAN = "plan.json"

Listing = tuple[str, int, str]
"""A file as ``entry.json`` lists it: path below the folder of the result, size, SHA-256."""


class ResumableWriter:
    """One run that fills the columns of a derived result. Get one from ``store.derived.begin``.

    Attributes
    ----------
    rows, segment_rows, segments : int
    arrays : mapping of str to ndarray, read-only
        What ``make`` returned when the run began, whichever process that was.
    in_memory : bool
        The store cannot be written to: nothing is kept beyond this process.
    """

    def __init__(
        self,
        root: Path,
        folder: str,
        record: Mapping[str, Any],
        finish: Callable[..., Any],
    ) -> None:
        self._root = root
        self._record = dict(record)
        token = hashlib.sha256(jsonio.canonical(record)).hexdigest()[:16]
        self._folder, self._token = f"{folder}/{token}", token
        self._finish = finish
        self._memory: dict[int, dict[str, NDArray[Any]]] | None = None
        self._done: dict[int, dict[str, FileRecord]] = {}
        self._made: dict[str, FileRecord] = {}
        self._digest = ""
        self.rows = int(record["rows"])
        self.segment_rows = int(record["segment_rows"])
        self.segments = -(-self.rows // self.segment_rows)
        self.columns = {
            key: Column(tuple(item), dtype) for key, (item, dtype) in record["columns"].items()
        }
        self.arrays: Mapping[str, NDArray[Any]] = {}

    # -- beginning -----------------------------------------------------------------------
    def prepare(self, make: Callable[[], Mapping[str, ArrayLike]] | None) -> None:
        """Take up the run that is on disk, or begin one; OSError when that cannot be written."""
        folder = inside(self._root, f"{self._folder}/{PLAN}").parent
        folder.mkdir(parents=True, exist_ok=True)
        probe = temporary_name(folder / PLAN)  # refused here, not after minutes of fitting
        probe.touch(exist_ok=False)
        probe.unlink()
        if self._resume():
            return
        for record in folder.glob("*.json"):  # damaged, or of a run that was never begun
            record.unlink(missing_ok=True)  # arrays stay: a finished result may list them
        remove_temporary(folder)
        try:
            made = _storable({} if make is None else make())
        except BaseException:
            for empty in (folder, *folder.parents[:2]):
                with suppress(OSError):  # not there, or not empty: another result of that name
                    empty.rmdir()
            raise
        records = {key: self._keep(key, array) for key, array in made.items()}
        plan = self._record | {"arrays": {key: _listed(r) for key, r in records.items()}}
        data = jsonio.canonical(jsonio.signed(jsonio.plain(plan, "plan")))
        write_bytes(self._root, f"{self._folder}/{PLAN}", data)
        self._take(data, records, made)

    def prepare_in_memory(self, make: Callable[[], Mapping[str, ArrayLike]] | None) -> None:
        self._memory = {}
        self.arrays = _frozen(_storable({} if make is None else make()))

    def _take(
        self, plan: bytes, records: dict[str, FileRecord], arrays: dict[str, NDArray[Any]]
    ) -> None:
        self._digest = hashlib.sha256(plan).hexdigest()
        self._made, self.arrays = records, _frozen(arrays)

    def _resume(self) -> bool:
        """Whether a run of the same plan is there; its whole segments are known then."""
        where = self._root / self._folder / PLAN
        try:
            value, data = jsonio.read(where)
            fields = jsonio.Fields(value, str(where))
            jsonio.check_signed(value, fields, str(where))
            records = {
                key: parse_listed(listed, self._folder, str(where))
                for key, listed in fields.mapping("arrays").items()
            }
            same = {k: v for k, v in value.items() if k not in ("arrays", "checksum")}
            if same != self._record or problems_with(self._root, records.values()):
                return False
            arrays = {
                key: npy.decode(read_checked(self._root, record), record.path)
                for key, record in records.items()
            }
        except (StoreNotFound, StoreCorrupt):
            return False
        self._take(data, records, arrays)
        remove_temporary(self._root / self._folder)
        for index in range(self.segments):
            found = self._segment_record(index)
            # Every byte, since a power cut may have left a record of what never reached the disk.
            if found is not None and all(is_whole(self._root, f) for f in found.values()):
                self._done[index] = found
        return True

    def _segment_record(self, index: int) -> dict[str, FileRecord] | None:
        """The files of a finished segment of this very plan, sizes compared with the disk."""
        where = self._root / self._folder / f"{index:05d}.json"
        try:
            value, _ = jsonio.read(where)
            fields = jsonio.Fields(value, str(where))
            jsonio.check_signed(value, fields, str(where))
            fields.integer("index", index, index)
            if fields.text("plan") != self._digest:
                return None
            found = {
                key: parse_listed(listed, self._folder, str(where))
                for key, listed in fields.mapping("columns").items()
            }
        except (StoreNotFound, StoreCorrupt):
            return None
        count = len(self.range(index))
        fits = found.keys() == self.columns.keys() and all(
            found[key].size == column.segment_bytes(count) for key, column in self.columns.items()
        )
        return found if fits and not problems_with(self._root, found.values()) else None

    # -- state ---------------------------------------------------------------------------
    @property
    def in_memory(self) -> bool:
        return self._memory is not None

    def range(self, index: int) -> range:
        """Rows of segment ``index``."""
        if not 0 <= index < self.segments:
            raise InvalidInput(f"Segment {index}; there are {self.segments}.")
        return range(index * self.segment_rows, min(self.rows, (index + 1) * self.segment_rows))

    def missing_segments(self) -> list[int]:
        """Indices of the segments still to write, ascending."""
        done = self._done if self._memory is None else self._memory
        return [index for index in range(self.segments) if index not in done]

    # -- writing -------------------------------------------------------------------------
    def write_segment(self, index: int, values: Mapping[str, ArrayLike]) -> None:
        """Write all columns of one segment: all of it counts afterwards, or none.

        Parameters
        ----------
        index : int
        values : mapping of column name to (m, *item)
            ``m = len(range(index))``; of exactly the dtype of the column.

        Raises
        ------
        InvalidInput
            Other columns, another shape or dtype than was planned.
        StoreError
            The disk is full; what is whole stays, and the same call resumes.
        """
        count = len(self.range(index))
        if values.keys() != self.columns.keys():
            raise InvalidInput(
                f"Segment {index} has columns {sorted(values)}, not {sorted(self.columns)}."
            )
        arrays = {key: np.asarray(value) for key, value in values.items()}
        for key, column in self.columns.items():
            array, wanted = arrays[key], (count, *column.item)
            if array.shape != wanted or array.dtype != np.dtype(column.dtype):
                raise InvalidInput(
                    f"Column {key!r} of segment {index} is {array.dtype} {array.shape}; "
                    f"{column.dtype} {wanted} was planned."
                )
        if self._memory is not None:
            self._memory[index] = _frozen({key: np.array(a) for key, a in arrays.items()})
            return
        with reporting(self._root):
            # Not forced to the disk one by one, which would hold up the computation: a run that
            # is resumed compares checksums, and commit syncs before the entry.
            records = {
                key: self._keep(f"{slug(key)}.{index:05d}", array, sync=False)
                for key, array in arrays.items()
            }
            value = {
                "index": index,
                "plan": self._digest,
                "columns": {key: _listed(record) for key, record in records.items()},
            }
            data = jsonio.canonical(jsonio.signed(jsonio.plain(value, "segment")))
            write_bytes(self._root, f"{self._folder}/{index:05d}.json", data, sync=False)
        self._done[index] = records

    def read_segment(self, column: str, index: int) -> NDArray[Any]:
        """One column of a finished segment, compared with its checksum."""
        if self._memory is not None:
            return self._memory[index][column]
        record = self._done[index][column]
        return npy.decode(read_checked(self._root, record), str(self._root / record.path))

    def _keep(self, stem: str, array: NDArray[Any], *, sync: bool = True) -> FileRecord:
        return keep_array(self._root, self._folder, stem, array, sync=sync)

    # -- the end -------------------------------------------------------------------------
    def commit(self, arrays: Mapping[str, ArrayLike] | None = None) -> Any:
        """Make the result visible, with further small ``arrays``; returns its ``Entry``.

        Raises
        ------
        StoreError
            Segments are missing.
        InvalidInput
            A name is used twice.
        """
        missing = self.missing_segments()
        if missing:
            raise StoreError(
                f"{len(missing)} of {self.segments} segments are not written yet, the first is "
                f"{missing[0]}."
            )
        more = _storable(arrays or {})
        double = (self.arrays.keys() | self.columns.keys()) & more.keys()
        if double:
            raise InvalidInput(f"The names {sorted(double)} are used already.")
        if self._memory is not None:
            parts = [self._memory[index] for index in range(self.segments)]
            columns = {k: InMemory([p[k] for p in parts], c) for k, c in self.columns.items()}
            return self._finish(self._record, {**self.arrays, **more}, None, columns)
        with reporting(self._root):
            sync_files(self._root, [f for files in self._done.values() for f in files.values()])
            made = {key: self._below(record) for key, record in self._made.items()}
            columns_listed = {
                key: {
                    "rows": self.rows,
                    "segment_rows": self.segment_rows,
                    "item": list(column.item),
                    "dtype": column.dtype,
                    "files": [self._below(self._done[i][key]) for i in range(self.segments)],
                }
                for key, column in self.columns.items()
            }
            entry = self._finish(self._record, more, made, columns_listed)
            for index in range(self.segments):
                (self._root / self._folder / f"{index:05d}.json").unlink(missing_ok=True)
            (self._root / self._folder / PLAN).unlink(missing_ok=True)
        return entry

    def _below(self, record: FileRecord) -> Listing:
        return (f"{self._token}/{record.path.rpartition('/')[2]}", record.size, record.sha256)


# -- shared with derived.py --------------------------------------------------------------
def keep_array(
    root: Path, folder: str, stem: str, array: NDArray[Any], *, sync: bool = True
) -> FileRecord:
    """Write ``array`` into ``folder`` under a name that tells its content."""
    stem = slug(stem)
    # Bytes first under a name of this writer, then under one that tells the content.
    draft = write_array(
        root, f"{folder}/{stem}.{os.getpid()}-{threading.get_ident()}.npy", array, sync=sync
    )
    final = f"{folder}/{stem}.{draft.sha256[:16]}.npy"
    (root / draft.path).replace(root / final)
    return FileRecord(final, draft.size, draft.sha256)


def _listed(record: FileRecord) -> Listing:
    return (record.path.rpartition("/")[2], record.size, record.sha256)


def _storable(arrays: Mapping[str, ArrayLike]) -> dict[str, NDArray[Any]]:
    for key in arrays:
        if not isinstance(key, str) or not key or len(key) > LONGEST_NAME:
            raise InvalidInput(
                f"An array of a derived result needs a name of 1 to {LONGEST_NAME} characters."
            )
    return {key: npy.storable(np.array(value)) for key, value in arrays.items()}


def _frozen(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    for array in arrays.values():
        array.flags.writeable = False
    return arrays


__all__ = ["ResumableWriter"]
