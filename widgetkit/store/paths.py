"""Names on disk: slugs, canonical relative paths, and what may be reached from a manifest."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from widgetkit.errors import StoreCorrupt

MANIFEST = "manifest.json"
TILES = "tiles.parquet"
DERIVED = "derived"
LOCK = "lock"
WRITING = "writing"  # parts of an extraction under way; removed by commit
CONTENT_DIRS = ("activations", "embeddings", "images", "outputs", "head", "sprites")

_SAFE = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9_-])?")
_RELATIVE = re.compile(r"[A-Za-z0-9._~-]{1,120}(?:/[A-Za-z0-9._~-]{1,120}){0,4}")
_WINDOWS_DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?")


def slug(name: str) -> str:
    """A file name for any text: the text itself where it is safe everywhere, else a digest is added.

    Capitals count as unsafe, since two names may differ only by them on a disk that does not care.
    ``~`` never occurs in a safe name, so a name with a digest cannot meet one without.
    """
    if _SAFE.fullmatch(name) and not _WINDOWS_DEVICES.fullmatch(name):
        return name
    readable = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-")[:40] or "x"
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{readable}~{digest}"


def is_relative(path: str) -> bool:
    """Whether ``path`` is a plain ``a/b/c`` below a folder: no root, drive, ``..`` or empty part."""
    return bool(_RELATIVE.fullmatch(path)) and not {".", ".."} & set(path.split("/"))


def inside(root: Path, relative: str) -> Path:
    """``root / relative`` when it stays inside ``root``, symbolic links followed.

    Raises
    ------
    StoreCorrupt
        The path leaves the folder, as text or through a symbolic link.
    """
    if not is_relative(relative):
        raise StoreCorrupt(f"Store {root}: {relative[:200]!r} is not a path inside the store.")
    path = root / relative
    base = os.path.realpath(root)
    if os.path.commonpath([base, os.path.realpath(path)]) != base:
        raise StoreCorrupt(f"Store {root}: {relative!r} leads outside the folder of the store.")
    return path


class Sized(Protocol):
    @property
    def path(self) -> str: ...
    @property
    def size(self) -> int: ...


def problems_with(root: Path, files: Iterable[Sized]) -> list[str]:
    """What is wrong with the listed files, without reading them: one ``lstat`` a file.

    Missing, of another size, not a regular file (a pipe would hang the reader), or reached through
    a symbolic link that leaves the folder.
    """
    base = Path(os.path.realpath(root))
    below = f"{base}{os.sep}"
    leaves: dict[str, bool] = {}  # of a folder: whether it is outside the store
    found: list[str] = []
    for file in files:
        if not is_relative(file.path):
            found.append(f"{file.path[:200]!r} is not a path inside the store")
            continue
        folder = file.path.rpartition("/")[0]
        if folder not in leaves:
            leaves[folder] = not f"{os.path.realpath(base / folder)}{os.sep}".startswith(below)
        path = f"{below}{file.path}"  # text, not Path: a large store has thousands of files
        try:
            status = os.lstat(path)
            outside = leaves[folder]
            if stat.S_ISLNK(status.st_mode):
                outside = outside or not os.path.realpath(path).startswith(below)
                status = Path(path).stat()
        except OSError as error:
            found.append(f"{file.path} cannot be reached ({error.strerror})")
            continue
        if outside:
            found.append(f"{file.path} leads outside the folder of the store")
        elif not stat.S_ISREG(status.st_mode):
            found.append(f"{file.path} is not a regular file")
        elif status.st_size != file.size:
            found.append(f"{file.path} has {status.st_size} bytes where {file.size} were written")
    return found
