"""One derived result on disk: its ``entry.json``, read with suspicion, and the files it lists."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from widgetkit.errors import InvalidInput, StoreCorrupt
from widgetkit.store import jsonio, npy
from widgetkit.store.atomic import FileRecord, read_checked
from widgetkit.store.columns import Segmented, parse_column, parse_listed
from widgetkit.store.paths import DERIVED, inside, problems_with, slug

ENTRY = "entry.json"
# 2 has segmented arrays; a result without them is written as version 1, which older software reads.
VERSION, NEWEST = 1, 2
# Files of replaced results stay this long, for readers that still hold the old entry and for
# writers that have written their arrays but not yet their entry.
_KEEP_SECONDS = 3600.0


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


def read_entry(root: Path, folder: str, store_id: str) -> Entry:
    """The result in a folder of a store; its files compared in size with the disk.

    Raises
    ------
    StoreNotFound
        There is none.
    StoreCorrupt
        It is damaged, or belongs to another store.
    """
    path = inside(root, f"{folder}/{ENTRY}")
    value, _ = jsonio.read(path)
    fields = jsonio.Fields(value, str(path))
    version = fields.integer("version", VERSION, NEWEST)
    jsonio.check_signed(value, fields, str(path))
    if fields.text("store") != store_id:
        raise StoreCorrupt(f"{path} was made from another store. Delete its folder.")
    kind, name = fields.text("kind"), fields.text("name")
    if folder_of(kind, name) != folder:
        raise StoreCorrupt(f"{path} belongs into another folder.")
    params = fields.mapping("params")
    seed, parent = fields.take("seed"), fields.take("parent")
    created = fields.text("created", longest=64)
    if not (seed is None or type(seed) is int) or not (parent is None or isinstance(parent, str)):
        raise StoreCorrupt(f"{path}: its seed or parent make no sense.")
    records = {
        key: parse_listed(listed, folder, f"{path}, array {key[:80]!r}")
        for key, listed in fields.mapping("arrays").items()
    }
    columns = {} if version == VERSION else fields.mapping("segmented")
    fields.done()
    segmented = {
        key: parse_column(column, root, folder, f"{path}, array {key[:80]!r}")
        for key, column in columns.items()
    }
    files = [*records.values(), *(file for s in segmented.values() for file in s.files)]
    wrong = problems_with(root, files)
    if wrong:
        raise StoreCorrupt(f"Derived result {kind}/{name} of {root}: {wrong[0]}.")
    arrays = _LazyArrays(root, records)
    return Entry(kind, name, params, seed, parent, created, arrays, segmented)


def check_names(kind: str, name: str) -> None:
    """Raise :class:`InvalidInput` unless both are text that can name a result."""
    for what, value in (("kind", kind), ("name", name)):
        if not isinstance(value, str) or not value or len(value) > 500:
            raise InvalidInput(
                f"The {what} of a derived result must be text of 1 to 500 characters."
            )


def folder_of(kind: str, name: str) -> str:
    """Where a result lies, relative to the store."""
    return f"{DERIVED}/{slug(kind)}/{slug(name)}"


def now() -> str:
    """The time, ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def tidy(folder: Path, needed: set[str]) -> None:
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
