"""Weights and training state in one ``.npz`` file: written whole or not at all, read with suspicion.

An ordinary zip of ``.npy`` arrays and one of JSON, so ``numpy.load(path, allow_pickle=False)``
opens it too. Nothing is compressed: what a member takes in memory is what it takes on disk.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from widgetkit.errors import StoreCorrupt, StoreError, StoreNotFound, StoreTooNew
from widgetkit.store import npy
from widgetkit.store.atomic import atomic_write, reporting

FORMAT = "widgetkit-autoencoder"
VERSION = 1
HEADER = "header"
LARGEST_HEADER = 8 * 2**20
MOST_MEMBERS = 2048

Floats = npt.NDArray[np.float32]
Shapes = Mapping[str, tuple[int, ...]]


def write(
    path: str | os.PathLike[str], header: Mapping[str, Any], arrays: Mapping[str, Floats]
) -> None:
    """Write ``header`` (plain values) and float32 ``arrays``; the same content, the same bytes.

    Raises
    ------
    StoreError
        The file cannot be written. What was there is still there.
    """
    target = Path(path)
    record = {"format": FORMAT, "version": VERSION, **header}
    text = json.dumps(record, allow_nan=False, sort_keys=True).encode()
    members: dict[str, np.ndarray] = {HEADER: np.frombuffer(text, np.uint8), **arrays}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, array in members.items():
            plain = npy.storable(np.asarray(array))
            # a ZipInfo of its own: its date is 1980, not now
            archive.writestr(
                zipfile.ZipInfo(f"{name}.npy"),
                npy.header(plain.dtype, plain.shape) + plain.tobytes(),
            )
    with reporting(target.parent), atomic_write(target) as file:
        file.write(packed.getbuffer())


def read(
    path: str | os.PathLike[str], expected: Callable[[dict[str, Any]], Shapes]
) -> tuple[dict[str, Any], dict[str, Floats]]:
    """Header and arrays of a file made by :func:`write`.

    Parameters
    ----------
    path : path
    expected : callable
        From the header to the name and shape of each array that must be there, and no other. It
        raises ``KeyError``, ``TypeError`` or ``ValueError`` when the header makes no sense.

    Raises
    ------
    StoreNotFound
        No file.
    StoreTooNew
        Of a later version.
    StoreCorrupt
        Truncated, altered, or not such a file.
    """
    source = Path(path)
    if not source.is_file():
        raise StoreNotFound(f"There is no file {source}.")
    try:
        with zipfile.ZipFile(source) as archive:
            members = _members(archive, source)
            record = _header(archive, members, source)
            shapes = expected(record)
            arrays = _arrays(archive, members, shapes, source)
    except StoreError:  # among them what `expected` found to differ
        raise
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise StoreCorrupt(f"{source} cannot be read: {error}.") from None
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise StoreCorrupt(f"{source} has a header that makes no sense: {error}.") from None
    return record, arrays


def _members(archive: zipfile.ZipFile, source: Path) -> dict[str, zipfile.ZipInfo]:
    entries = archive.infolist()
    if len(entries) > MOST_MEMBERS:
        raise StoreCorrupt(f"{source} holds {len(entries)} arrays, more than any we write.")
    members = {entry.filename.removesuffix(".npy"): entry for entry in entries}
    if len(members) != len(entries):
        raise StoreCorrupt(f"{source} holds two arrays of one name.")
    packed = [entry for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    if packed or HEADER not in members:
        raise StoreCorrupt(f"{source} is not a saved autoencoder (compressed, or no header).")
    return members


def _header(
    archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], source: Path
) -> dict[str, Any]:
    entry = members[HEADER]
    if entry.file_size > LARGEST_HEADER:
        raise StoreCorrupt(f"{source} has a header of {entry.file_size} bytes.")
    values = npy.decode(archive.read(entry), str(source))
    if values.dtype != np.uint8:
        raise StoreCorrupt(f"{source} has a header of {values.dtype}.")
    record = json.loads(values.tobytes())
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise StoreCorrupt(f"{source} is not a saved autoencoder.")
    version = record.get("version")
    if not isinstance(version, int) or version < 1:
        raise StoreCorrupt(f"{source} has no version.")
    if version > VERSION:
        raise StoreTooNew(
            f"{source} was written by a newer widgetkit (format {version}; this one reads up to "
            f"{VERSION}). Install a newer widgetkit."
        )
    return record


def _arrays(
    archive: zipfile.ZipFile,
    members: Mapping[str, zipfile.ZipInfo],
    shapes: Shapes,
    source: Path,
) -> dict[str, Floats]:
    differ = set(members) ^ {HEADER, *shapes}
    if differ:
        raise StoreCorrupt(
            f"{source}: arrays missing or too many: {', '.join(sorted(differ)[:6])[:200]}."
        )
    wanted = np.dtype("<f4")
    found: dict[str, Floats] = {}
    for name, shape in shapes.items():
        entry = members[name]
        size = len(npy.header(wanted, shape)) + int(np.prod(shape, dtype=np.int64)) * 4
        if entry.file_size != size:
            raise StoreCorrupt(
                f"{source}: array {name!r} takes {entry.file_size} bytes where {size} are needed."
            )
        array = npy.decode(archive.read(entry), f"{source}: {name}")
        if array.dtype != wanted or array.shape != shape:
            raise StoreCorrupt(
                f"{source}: array {name!r} is {array.dtype} of {array.shape}; expected float32 of "
                f"{shape}."
            )
        if not np.isfinite(array).all():
            raise StoreCorrupt(f"{source}: array {name!r} holds NaN or infinity.")
        found[name] = array.astype(np.float32)
    return found
