"""Files that are there whole or not at all, and their checksums."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from widgetkit.errors import StoreCorrupt, StoreError, WidgetkitError
from widgetkit.store import npy
from widgetkit.store.pool import in_threads

# SHA-256 and not BLAKE2: 1.8 GB/s against 0.8 GB/s measured where the processor has SHA
# instructions (nearly all since 2019), and `sha256sum` on any machine can check a store.
_CHUNK = 8 * 2**20


@dataclass(frozen=True)
class FileRecord:
    """One file of a store: ``path`` relative to the store, ``size`` in bytes, SHA-256 in hex."""

    path: str
    size: int
    sha256: str


class HashingFile:
    """A file being written, whose size and SHA-256 are known when it is complete."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), _CHUNK):
            part = view[start : start + _CHUNK]
            self._file.write(part)
            self._hash.update(part)
        self.size += len(view)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


def sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` survive a power cut, where the system can."""
    if os.name == "nt":  # a folder cannot be opened for that there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # some network file systems refuse fsync of a folder
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def temporary_name(path: Path) -> Path:
    """A name beside ``path`` that no other writer has; :func:`remove_temporary` knows it."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def remove_temporary(folder: Path) -> None:
    """Remove what killed writers left half-written directly in ``folder``."""
    for leftover in folder.glob(".*.tmp"):
        with suppress(OSError):
            leftover.unlink()


@contextmanager
def storing(what: str) -> Iterator[None]:
    """Turn a full disk into a :class:`StoreError` that says so; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StoreError(
                f"No space left while writing {what} ({error.strerror}). Nothing that was complete "
                "is lost: free some space and run the same call again, it resumes."
            ) from error
        raise


@contextmanager
def reporting(folder: Path) -> Iterator[None]:
    """:func:`storing`, and any other refusal of the system as a :class:`StoreError` too."""
    try:
        with storing(str(folder)):
            yield
    except WidgetkitError:
        raise
    except OSError as error:
        raise StoreError(f"{folder} cannot be written to: {error.strerror or error}.") from error


@contextmanager
def atomic_write(path: Path, *, sync: bool = True) -> Iterator[HashingFile]:
    """Write ``path`` so that others see the old file or the whole new one.

    Temporary name in the same folder, fsync, rename, fsync of the folder. On any error the
    temporary file is removed and ``path`` is untouched.

    Without ``sync`` this holds when a process is killed, but not at a power cut: for files whose
    checksum is compared before they count. :func:`sync_files` catches up.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    with storing(str(path)):
        try:
            with temporary.open("xb") as file:
                yield HashingFile(file)
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        if sync:
            sync_folder(path.parent)


def sync_files(root: Path, records: Iterable[FileRecord]) -> None:
    """Make files that were written without ``sync``, and their folders, survive a power cut."""
    paths = [root / record.path for record in records]
    in_threads(_sync_file, paths)
    for folder in sorted({path.parent for path in paths}):
        sync_folder(folder)
        sync_folder(folder.parent)


def _sync_file(path: Path) -> None:
    with path.open("rb+" if os.name == "nt" else "rb") as file:
        os.fsync(file.fileno())


def write_bytes(root: Path, relative: str, data: bytes, *, sync: bool = True) -> FileRecord:
    """Write ``data`` atomically below ``root``; ``sync`` as in :func:`atomic_write`."""
    with atomic_write(root / relative, sync=sync) as file:
        file.write(data)
    return FileRecord(relative, file.size, file.sha256)


def write_array(
    root: Path, relative: str, array: NDArray[np.generic], *, sync: bool = True
) -> FileRecord:
    """Write a ``.npy`` file atomically below ``root``: little-endian, C order."""
    array = npy.storable(array)
    with atomic_write(root / relative, sync=sync) as file:
        file.write(npy.header(array.dtype, array.shape))
        if array.size:
            file.write(array.reshape(-1).view(np.uint8).data)
    return FileRecord(relative, file.size, file.sha256)


def sha256_of(path: Path) -> tuple[int, str]:
    """Size and SHA-256 of a file, read once from start to end."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def read_checked(root: Path, record: FileRecord) -> bytearray:
    """The whole of a listed file, compared with its recorded size and checksum.

    Raises
    ------
    StoreCorrupt
        Missing, of another size, or with other bytes than were written.
    """
    path = root / record.path
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size != record.size:
                raise StoreCorrupt(f"{path} has {size} bytes where {record.size} were written.")
            data = bytearray(size)
            view = memoryview(data)
            filled = 0
            while filled < size:
                got = file.readinto(view[filled:])
                if not got:
                    raise StoreCorrupt(f"{path} ends early, at {filled} of {size} bytes.")
                filled += got
    except OSError as error:
        raise StoreCorrupt(f"{path} cannot be read: {error.strerror}.") from error
    if hashlib.sha256(data).hexdigest() != record.sha256:
        raise StoreCorrupt(f"{path} was altered: its SHA-256 is not the one recorded.")
    return data
