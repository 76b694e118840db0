"""Derived results: computed once, kept with what made them, never silently refitted.

``derived/<kind>/<name>/entry.json`` names the array files beside it, whose names hold part of their
checksum. Replacing a result writes new files and then exchanges ``entry.json`` in one rename: a
reader sees the old result or the new one, whole, and needs no lock.
"""

from __future__ import annotations

import errno
import shutil
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from widgetkit.errors import InvalidInput, StoreCorrupt, StoreNotFound, UnknownName, near
from widgetkit.store import jsonio, npy
from widgetkit.store.atomic import FileRecord, read_checked, write_bytes
from widgetkit.store.paths import DERIVED, inside, is_relative, problems_with, slug
from widgetkit.store.resumable import (
    Column,
    ResumableWriter,
    Segmented,
    check_columns,
    damaged,
    keep_array,
    parse_column,
    parse_listed,
)

_ENTRY = "entry.json"
# 2 has segmented arrays; a result without them is written as version 1, which older software reads.
_VERSION, _NEWEST = 1, 2
# Files of replaced results stay this long, for readers that still hold the old entry and for
# writers that have written their arrays but not yet their entry.
_KEEP_SECONDS = 3600.0
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


@dataclass(frozen=True)
class Entry:
    """One derived result.

    Attributes
    ----------
    kind, name : str
    params : mapping
        What it was made with.
    seed : int or None
    parent : str or None
        ``kind/name`` of the result it was made from.
    created : str
        ISO 8601, UTC.
    arrays : mapping of str to ndarray
        Read from disk, and compared with their checksums, when first asked for.
    segmented : mapping of str to Segmented
        Arrays read by position, ``take(rows)``, made by :meth:`Derived.begin`; like activations
        they are compared with their checksums by ``store.verify()`` only.
    """

    kind: str
    name: str
    params: Mapping[str, Any]
    seed: int | None
    parent: str | None
    created: str
    arrays: Mapping[str, NDArray[Any]]
    segmented: Mapping[str, Segmented] = field(default_factory=dict)


class _LazyArrays(Mapping[str, NDArray[Any]]):
    def __init__(self, root: Path, records: dict[str, FileRecord]) -> None:
        self._root = root
        self._records = records
        self._loaded: dict[str, NDArray[Any]] = {}

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._loaded:
            record = self._records[name]
            inside(self._root, record.path)
            array = npy.decode(read_checked(self._root, record), str(self._root / record.path))
            array.flags.writeable = False
            self._loaded[name] = array
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, name: object) -> bool:
        return name in self._records  # the default would load the array to find out


class Derived:
    """The derived results of one store. Safe for several threads and processes."""

    def __init__(self, root: Path, store_id: str) -> None:
        self._root = root
        self._store_id = store_id
        self._memory: dict[tuple[str, str], Entry] = {}
        self._warned = False
        self._lock = threading.Lock()

    # -- writing -------------------------------------------------------------------------
    def put(
        self,
        kind: str,
        name: str,
        arrays: Mapping[str, ArrayLike],
        *,
        params: Mapping[str, Any],
        seed: int | None = None,
        parent: str | None = None,
    ) -> Entry:
        """Keep a result, replacing the one of that kind and name.

        When the store cannot be written to, it is kept in memory, with one warning a store.

        Parameters
        ----------
        kind, name : str
            For instance ``"projection"``, ``"umap-blocks.15"``. Any text.
        arrays : mapping of str to array
            Numbers, truth values or fixed-length text.
        params : mapping
            Plain values, all that decides the result except the seed.
        seed : int, optional
        parent : str, optional

        Raises
        ------
        InvalidInput
            Something cannot be stored as it is.
        StoreError
            The disk is full; an older result of that name is still there.
        """
        _check_names(kind, name)
        for key in arrays:
            if not isinstance(key, str) or not key or len(key) > 200:
                raise InvalidInput(
                    "An array of a derived result needs a name of 1 to 200 characters."
                )
        stored = {key: npy.storable(np.array(value)) for key, value in arrays.items()}
        value = self._value(kind, name, params, seed, parent) | {"created": _now()}
        try:
            self._write(value, stored)
        except OSError as error:
            if error.errno not in _READ_ONLY:
                raise
            return self._keep_in_memory(value, stored)
        with self._lock:
            self._memory.pop((kind, name), None)
        return self.get(kind, name)

    def _value(
        self,
        kind: str,
        name: str,
        params: Mapping[str, Any],
        seed: int | None,
        parent: str | None,
    ) -> dict[str, Any]:
        return {
            "version": _VERSION,
            "store": self._store_id,
            "kind": kind,
            "name": name,
            "params": jsonio.plain(dict(params), "params"),
            "seed": None if seed is None else int(seed),
            "parent": parent,
        }

    def begin(
        self,
        kind: str,
        name: str,
        columns: Mapping[str, Column],
        *,
        rows: int,
        segment_rows: int,
        params: Mapping[str, Any],
        seed: int | None = None,
        parent: str | None = None,
        make: Callable[[], Mapping[str, ArrayLike]] | None = None,
    ) -> ResumableWriter:
        """Begin a result of many rows, or go on with the run of the same call that was cut short.

        Nothing is visible before ``writer.commit()``; a result of that name is there until then.
        In a folder that cannot be written to, the whole result is kept in memory, with a warning
        that says how much that is.

        Parameters
        ----------
        kind, name, params, seed, parent
            As in :meth:`put`.
        columns : mapping of str to Column
        rows, segment_rows : int
        make : callable, optional
            Returns small arrays that all rows depend on (factors, say). Called when the run is
            new; one that is resumed reads what was made then, so that all segments agree.

        Examples
        --------
        >>> writer = store.derived.begin(                               # doctest: +SKIP
        ...     "factors", "nmf", {"weights": Column((10, 7, 7), "<f2")}, rows=len(store),
        ...     segment_rows=512, params={"k": 10}, seed=0, make=lambda: {"H": fit()})
        >>> for index in writer.missing_segments():                     # doctest: +SKIP
        ...     writer.write_segment(index, {"weights": assign(writer.range(index))})
        >>> writer.commit().segmented["weights"].take(rows)             # doctest: +SKIP
        """
        _check_names(kind, name)
        check_columns(columns, rows, segment_rows)
        plan = self._value(kind, name, params, seed, parent) | {
            "version": _NEWEST,
            "rows": int(rows),
            "segment_rows": int(segment_rows),
            "columns": {
                key: [list(map(int, column.item)), np.dtype(column.dtype).newbyteorder("<").str]
                for key, column in columns.items()
            },
        }
        writer = ResumableWriter(self._root, _folder(kind, name), plan, self._finish)
        try:
            writer.prepare(make)
        except OSError as error:
            if error.errno not in _READ_ONLY:
                raise
            size = sum(c.segment_bytes(rows) for c in writer.columns.values()) / 2**20
            warnings.warn(
                f"{self._root} cannot be written to: {kind} {name!r} is kept in memory "
                f"({size:.0f} MB) and is lost when this session ends. Copy the store to a folder of "
                "your own to keep it and to spare the memory.",
                UserWarning,
                stacklevel=2,
            )
            writer.prepare_in_memory(make)
        return writer

    def _finish(
        self,
        plan: Mapping[str, Any],
        arrays: dict[str, NDArray[Any]],
        made: Mapping[str, Any] | None,
        columns: dict[str, Any],
    ) -> Entry:
        """The end of a run of :meth:`begin`; ``made`` is None for one in memory."""
        keys = ("version", "store", "kind", "name", "params", "seed", "parent")
        value = {key: plan[key] for key in keys} | {"created": _now()}
        if made is None:
            return self._keep_in_memory(value, arrays, columns, warn=False)
        self._write(value | {"segmented": columns}, arrays, made)
        with self._lock:
            self._memory.pop((value["kind"], value["name"]), None)
        return self.get(value["kind"], value["name"])

    def _write(
        self,
        value: dict[str, Any],
        arrays: Mapping[str, NDArray[Any]],
        made: Mapping[str, Any] | None = None,
    ) -> None:
        folder = _folder(value["kind"], value["name"])
        path = inside(self._root, folder)
        listed: dict[str, Any] = dict(made or {})
        for key, array in arrays.items():
            record = keep_array(self._root, folder, key, array)
            listed[key] = (record.path.rpartition("/")[2], record.size, record.sha256)
        entry = jsonio.signed(jsonio.plain(value | {"arrays": listed}, "entry"))
        write_bytes(self._root, f"{folder}/{_ENTRY}", jsonio.canonical(entry))
        needed = {_ENTRY, *(file for file, _, _ in listed.values())}
        for column in value.get("segmented", {}).values():
            needed.update(file for file, _, _ in column["files"])
        _tidy(path, needed)

    def _keep_in_memory(
        self,
        value: dict[str, Any],
        arrays: dict[str, NDArray[Any]],
        segmented: Mapping[str, Segmented] | None = None,
        *,
        warn: bool = True,
    ) -> Entry:
        for array in arrays.values():
            array.flags.writeable = False
        entry = Entry(
            value["kind"], value["name"], value["params"], value["seed"], value["parent"],
            value["created"], arrays, segmented or {},
        )  # fmt: skip
        with self._lock:
            self._memory[entry.kind, entry.name] = entry
            warn = warn and not self._warned
            self._warned = self._warned or warn
        if warn:
            warnings.warn(
                f"{self._root} cannot be written to: derived results (projections, clusterings) "
                "are kept in memory and are lost when this session ends.",
                UserWarning,
                stacklevel=4,
            )
        return entry

    def delete(self, kind: str, name: str) -> None:
        """Remove a result.

        Raises
        ------
        UnknownName
            There is none of that kind and name.
        """
        _check_names(kind, name)
        with self._lock:
            was_in_memory = self._memory.pop((kind, name), None) is not None
        folder = inside(self._root, _folder(kind, name))
        try:
            (folder / _ENTRY).unlink()  # from here on it is not there
        except (FileNotFoundError, NotADirectoryError):
            if was_in_memory:
                return
            raise self._unknown(kind, name) from None
        shutil.rmtree(folder, ignore_errors=True)

    # -- reading -------------------------------------------------------------------------
    def get(self, kind: str, name: str) -> Entry:
        """The result of that kind and name; its arrays are read when asked for.

        Raises
        ------
        UnknownName
            There is none; near names are listed.
        StoreCorrupt
            It is damaged, or belongs to another store.
        """
        _check_names(kind, name)
        with self._lock:
            if (kind, name) in self._memory:
                return self._memory[kind, name]
        try:
            return self._read(_folder(kind, name))
        except StoreNotFound:
            raise self._unknown(kind, name) from None

    def find(self, kind: str, params: Mapping[str, Any], seed: int | None = None) -> Entry | None:
        """The result that was made with exactly these parameters and seed, or None.

        A damaged entry is passed over with a warning, so that it can be made again.
        """
        wanted = jsonio.plain(dict(params), "params")
        for name in self.names(kind):
            try:
                entry = self.get(kind, name)
            except UnknownName:  # deleted meanwhile
                continue
            except StoreCorrupt as error:
                warnings.warn(str(error), UserWarning, stacklevel=2)
                continue
            if entry.params == wanted and entry.seed == seed:
                return entry
        return None

    def kinds(self) -> list[str]:
        """Kinds of which there are results, sorted."""
        return sorted({kind for kind, _ in self._all()})

    def names(self, kind: str) -> list[str]:
        """Names of the results of a kind, sorted."""
        return sorted(name for other, name in self._all(slug(kind)) if other == kind)

    def problems(self) -> list[str]:
        """What is wrong with the results on disk, after reading every byte of them."""
        found = []
        for folder in self._folders():
            try:
                entry = self._read(folder)
                for name in entry.arrays:
                    entry.arrays[name]
                for column in entry.segmented.values():
                    found += damaged(self._root, column.files)
            except StoreNotFound:
                continue
            except StoreCorrupt as error:
                found.append(str(error))
        return found

    def _folders(self, kind_folder: str = "*") -> list[str]:
        pattern = f"{kind_folder}/*/{_ENTRY}"
        paths = (self._root / DERIVED).glob(pattern)
        folders = (path.parent.relative_to(self._root).as_posix() for path in paths)
        return sorted(folder for folder in folders if is_relative(folder))

    def _all(self, kind_folder: str = "*") -> set[tuple[str, str]]:
        with self._lock:
            found = set(self._memory)
        for folder in self._folders(kind_folder):
            try:
                value, _ = jsonio.read(inside(self._root, f"{folder}/{_ENTRY}"))
                names = (value["kind"], value["name"])
                if (
                    isinstance(names[0], str)
                    and isinstance(names[1], str)
                    and folder == _folder(*names)
                ):
                    found.add(names)
            except (StoreNotFound, StoreCorrupt, KeyError, TypeError):
                # Its name cannot be known from it. A plain folder name is the name itself.
                _, kind, name = folder.split("/")
                if "~" not in kind + name:
                    found.add((kind, name))
        return found

    def _read(self, folder: str) -> Entry:
        path = inside(self._root, f"{folder}/{_ENTRY}")
        value, _ = jsonio.read(path)
        fields = jsonio.Fields(value, str(path))
        version = fields.integer("version", _VERSION, _NEWEST)
        jsonio.check_signed(value, fields, str(path))
        if fields.text("store") != self._store_id:
            raise StoreCorrupt(f"{path} was made from another store. Delete its folder.")
        kind, name = fields.text("kind"), fields.text("name")
        if _folder(kind, name) != folder:
            raise StoreCorrupt(f"{path} belongs into another folder.")
        params = fields.mapping("params")
        seed, parent = fields.take("seed"), fields.take("parent")
        created = fields.text("created", longest=64)
        if not (seed is None or type(seed) is int) or not (
            parent is None or isinstance(parent, str)
        ):
            raise StoreCorrupt(f"{path}: its seed or parent make no sense.")
        records = {
            key: parse_listed(listed, folder, f"{path}, array {key[:80]!r}")
            for key, listed in fields.mapping("arrays").items()
        }
        columns = {} if version == _VERSION else fields.mapping("segmented")
        fields.done()
        segmented = {
            key: parse_column(column, self._root, folder, f"{path}, array {key[:80]!r}")
            for key, column in columns.items()
        }
        files = [*records.values(), *(file for s in segmented.values() for file in s.files)]
        wrong = problems_with(self._root, files)
        if wrong:
            raise StoreCorrupt(f"Derived result {kind}/{name} of {self._root}: {wrong[0]}.")
        arrays = _LazyArrays(self._root, records)
        return Entry(kind, name, params, seed, parent, created, arrays, segmented)

    def _unknown(self, kind: str, name: str) -> UnknownName:
        return UnknownName(
            f"There is no {kind} {name!r} in {self._root}. {near(name, self.names(kind))}"
        )


def _check_names(kind: str, name: str) -> None:
    for what, value in (("kind", kind), ("name", name)):
        if not isinstance(value, str) or not value or len(value) > 500:
            raise InvalidInput(
                f"The {what} of a derived result must be text of 1 to 500 characters."
            )


def _folder(kind: str, name: str) -> str:
    return f"{DERIVED}/{slug(kind)}/{slug(name)}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _tidy(folder: Path, needed: set[str]) -> None:
    """Remove files of earlier results, and of runs given up, that nobody can be reading any more."""
    limit = time.time() - _KEEP_SECONDS
    with suppress(OSError):
        for file in [*folder.iterdir(), *folder.glob("*/*")]:
            with suppress(OSError):
                if file.is_dir() and not file.is_symlink():
                    continue
                if file.relative_to(folder).as_posix() not in needed and (
                    file.lstat().st_mtime < limit
                ):
                    file.unlink()
        for below in folder.iterdir():
            if below.is_dir() and not below.is_symlink():
                with suppress(OSError):
                    below.rmdir()  # only when empty


__all__ = ["Derived", "Entry"]
