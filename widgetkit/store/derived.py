"""Derived results: computed once, kept with what made them, never silently refitted.

``derived/<kind>/<name>/entry.json`` names the array files beside it, whose names hold part of their
checksum. Replacing a result writes new files and then exchanges ``entry.json`` in one rename: a
reader sees the old result or the new one, whole, and needs no lock.
"""

from __future__ import annotations

import errno
import shutil
import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from widgetkit.errors import InvalidInput, StoreCorrupt, StoreNotFound, UnknownName, near
from widgetkit.store import jsonio, npy
from widgetkit.store.atomic import write_bytes
from widgetkit.store.columns import Column, Segmented, check_columns, damaged
from widgetkit.store.entries import (
    ENTRY,
    NEWEST,
    VERSION,
    Entry,
    check_names,
    folder_of,
    now,
    read_entry,
    tidy,
)
from widgetkit.store.paths import DERIVED, inside, is_relative, slug
from widgetkit.store.resumable import ResumableWriter, keep_array

_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


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
        check_names(kind, name)
        for key in arrays:
            if not isinstance(key, str) or not key or len(key) > 200:
                raise InvalidInput(
                    "An array of a derived result needs a name of 1 to 200 characters."
                )
        stored = {key: npy.storable(np.array(value)) for key, value in arrays.items()}
        value = self._value(kind, name, params, seed, parent) | {"created": now()}
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
            "version": VERSION,
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
        check_names(kind, name)
        check_columns(columns, rows, segment_rows)
        plan = self._value(kind, name, params, seed, parent) | {
            "version": NEWEST,
            "rows": int(rows),
            "segment_rows": int(segment_rows),
            "columns": {
                key: [list(map(int, column.item)), np.dtype(column.dtype).newbyteorder("<").str]
                for key, column in columns.items()
            },
        }
        writer = ResumableWriter(self._root, folder_of(kind, name), plan, self._finish)
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
        value = {key: plan[key] for key in keys} | {"created": now()}
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
        folder = folder_of(value["kind"], value["name"])
        path = inside(self._root, folder)
        listed: dict[str, Any] = dict(made or {})
        for key, array in arrays.items():
            record = keep_array(self._root, folder, key, array)
            listed[key] = (record.path.rpartition("/")[2], record.size, record.sha256)
        entry = jsonio.signed(jsonio.plain(value | {"arrays": listed}, "entry"))
        write_bytes(self._root, f"{folder}/{ENTRY}", jsonio.canonical(entry))
        needed = {ENTRY, *(file for file, _, _ in listed.values())}
        for column in value.get("segmented", {}).values():
            needed.update(file for file, _, _ in column["files"])
        tidy(path, needed)

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
        check_names(kind, name)
        with self._lock:
            was_in_memory = self._memory.pop((kind, name), None) is not None
        folder = inside(self._root, folder_of(kind, name))
        try:
            (folder / ENTRY).unlink()  # from here on it is not there
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
        check_names(kind, name)
        with self._lock:
            if (kind, name) in self._memory:
                return self._memory[kind, name]
        try:
            return read_entry(self._root, folder_of(kind, name), self._store_id)
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
                entry = read_entry(self._root, folder, self._store_id)
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
        pattern = f"{kind_folder}/*/{ENTRY}"
        paths = (self._root / DERIVED).glob(pattern)
        folders = (path.parent.relative_to(self._root).as_posix() for path in paths)
        return sorted(folder for folder in folders if is_relative(folder))

    def _all(self, kind_folder: str = "*") -> set[tuple[str, str]]:
        with self._lock:
            found = set(self._memory)
        for folder in self._folders(kind_folder):
            try:
                value, _ = jsonio.read(inside(self._root, f"{folder}/{ENTRY}"))
                names = (value["kind"], value["name"])
                if (
                    isinstance(names[0], str)
                    and isinstance(names[1], str)
                    and folder == folder_of(*names)
                ):
                    found.add(names)
            except (StoreNotFound, StoreCorrupt, KeyError, TypeError):
                # Its name cannot be known from it. A plain folder name is the name itself.
                _, kind, name = folder.split("/")
                if "~" not in kind + name:
                    found.add((kind, name))
        return found

    def _unknown(self, kind: str, name: str) -> UnknownName:
        return UnknownName(
            f"There is no {kind} {name!r} in {self._root}. {near(name, self.names(kind))}"
        )


__all__ = ["Derived", "Entry"]
