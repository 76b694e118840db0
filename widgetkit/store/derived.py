"""Derived results: computed once, kept with what made them, never silently refitted.

``derived/<kind>/<name>/entry.json`` names the array files beside it, whose names hold part of their
checksum. Replacing a result writes new files and then exchanges ``entry.json`` in one rename: a
reader sees the old result or the new one, whole, and needs no lock.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from widgetkit.errors import InvalidInput, StoreCorrupt, StoreNotFound, UnknownName, near
from widgetkit.store import jsonio, npy
from widgetkit.store.atomic import (
    FileRecord,
    read_checked,
    write_array,
    write_bytes,
)
from widgetkit.store.paths import DERIVED, inside, is_relative, problems_with, slug

_ENTRY = "entry.json"
_VERSION = 1
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
    """

    kind: str
    name: str
    params: Mapping[str, Any]
    seed: int | None
    parent: str | None
    created: str
    arrays: Mapping[str, NDArray[Any]]


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
        value = {
            "version": _VERSION,
            "store": self._store_id,
            "kind": kind,
            "name": name,
            "params": jsonio.plain(dict(params), "params"),
            "seed": None if seed is None else int(seed),
            "parent": parent,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        try:
            self._write(kind, name, stored, value)
        except OSError as error:
            if error.errno not in _READ_ONLY:
                raise
            return self._keep_in_memory(value, stored)
        with self._lock:
            self._memory.pop((kind, name), None)
        return self.get(kind, name)

    def _write(
        self, kind: str, name: str, arrays: Mapping[str, NDArray[Any]], value: dict[str, Any]
    ) -> None:
        folder = _folder(kind, name)
        path = inside(self._root, folder)
        listed: dict[str, tuple[str, int, str]] = {}
        for key, array in arrays.items():
            # Bytes first under a name of this writer, then under one that tells the content.
            draft = write_array(
                self._root, f"{folder}/{slug(key)}.{os.getpid()}-{threading.get_ident()}.npy", array
            )
            final = f"{folder}/{slug(key)}.{draft.sha256[:16]}.npy"
            (self._root / draft.path).replace(self._root / final)
            listed[key] = (final.rpartition("/")[2], draft.size, draft.sha256)
        entry = jsonio.signed(jsonio.plain(value | {"arrays": listed}, "entry"))
        write_bytes(self._root, f"{folder}/{_ENTRY}", jsonio.canonical(entry))
        _tidy(path, {_ENTRY, *(file for file, _, _ in listed.values())})

    def _keep_in_memory(self, value: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Entry:
        for array in arrays.values():
            array.flags.writeable = False
        entry = Entry(
            value["kind"], value["name"], value["params"], value["seed"], value["parent"],
            value["created"], arrays,
        )  # fmt: skip
        with self._lock:
            self._memory[entry.kind, entry.name] = entry
            warn, self._warned = not self._warned, True
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
        fields.integer("version", _VERSION, _VERSION)
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
        records = {}
        for key, listed in fields.mapping("arrays").items():
            item = jsonio.Fields(
                dict(zip(("file", "size", "sha256"), listed, strict=False))
                if isinstance(listed, list)
                else listed,
                f"{path}, array {key[:80]!r}",
            )
            file = item.text("file", longest=200)
            if "/" in file or not is_relative(file):
                raise StoreCorrupt(f"{path}: {file!r} is not a file beside it.")
            records[key] = FileRecord(
                f"{folder}/{file}", item.integer("size", 0, 2**60), item.text("sha256", longest=64)
            )
        fields.done()
        wrong = problems_with(self._root, records.values())
        if wrong:
            raise StoreCorrupt(f"Derived result {kind}/{name} of {self._root}: {wrong[0]}.")
        return Entry(kind, name, params, seed, parent, created, _LazyArrays(self._root, records))

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


def _tidy(folder: Path, needed: set[str]) -> None:
    """Remove files of earlier results that nobody can be reading any more."""
    limit = time.time() - _KEEP_SECONDS
    with suppress(OSError):
        for file in folder.iterdir():
            with suppress(OSError):
                if file.name not in needed and file.stat().st_mtime < limit:
                    file.unlink()


__all__ = ["Derived", "Entry"]
