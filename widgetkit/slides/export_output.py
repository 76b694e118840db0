"""Files for other programs: whole or not at all, never over another by accident."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from widgetkit.errors import (
    Cancelled,
    InvalidInput,
    OutputExists,
    OutputFailed,
    WidgetkitError,
)
from widgetkit.store.atomic import sync_folder, temporary_name

Progress = Callable[[int, int], object]
Cancel = Callable[[], object]
"""Asked between parts of long work; a true answer stops it. It may also raise by itself."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def new_file(
    path: str | os.PathLike[str], suffixes: Sequence[str], *, overwrite: bool = False
) -> Iterator[BinaryIO]:
    """A file to write to, which takes its name only when it is complete.

    It is written under a temporary name in the same folder, synced, and renamed; on any error
    (or interruption) the temporary file is removed and ``path`` is as it was.

    Raises
    ------
    InvalidInput
        The suffix is none of ``suffixes``, or the folder does not exist.
    OutputExists
        There is a file already and ``overwrite`` is False, also when it appeared meanwhile.
    OutputFailed
        The system refuses, for instance because the disk is full.
    """
    target = checked_target(path, suffixes, overwrite=overwrite)
    temporary = temporary_name(target)
    with writing(target):
        try:
            with temporary.open("xb+") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            _rename(temporary, target, overwrite=overwrite)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(target.parent)


def checked_target(
    path: str | os.PathLike[str], suffixes: Sequence[str], *, overwrite: bool = False
) -> Path:
    """The path of a new file, or the error that says why none can be there."""
    target = Path(path)
    if not target.name.lower().endswith(tuple(suffixes)):
        raise InvalidInput(
            f"{target.name!r}: the file is written as {' or '.join(suffixes)}; give the path "
            "such an ending."
        )
    if not target.parent.is_dir():
        raise InvalidInput(f"The folder of {target.name!r} does not exist; make it first.")
    if target.is_dir():
        raise InvalidInput(f"{target.name!r} is a folder; give the path of a file in it.")
    if not overwrite and os.path.lexists(target):
        raise _exists(target)
    return target


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn what the system refuses into an :class:`OutputFailed` that says what to do."""
    try:
        yield
    except WidgetkitError:
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise OutputFailed(
                f"No space left while writing {target.name!r} ({error.strerror}). Nothing "
                "half-written is left: free some space, or choose another folder."
            ) from error
        reason = error.strerror or str(error)
        raise OutputFailed(f"{target.name!r} cannot be written: {reason}.") from error


def need_space(target: Path, size: int) -> None:
    """Raise OutputFailed unless ``size`` bytes fit beside ``target``."""
    free = shutil.disk_usage(target.parent).free
    if size > free:
        raise OutputFailed(
            f"{target.name!r} takes {_amount(size)}; {_amount(free)} are free in its folder. Free "
            "some space, or choose another folder."
        )


def check(cancel: Cancel | None, what: str) -> None:
    """Raise Cancelled when asked to stop."""
    if cancel is not None and cancel():
        raise Cancelled(f"{what} was cancelled; nothing was written.")


def plain(text: object, most: int = 200) -> str:
    """One line of text without control characters: what may stand in a file's metadata."""
    line = "".join(c if c.isprintable() else " " for c in str(text))
    return " ".join(line.split())[:most]


def _rename(temporary: Path, target: Path, *, overwrite: bool) -> None:
    if overwrite:
        temporary.replace(target)
        return
    try:  # unlike a rename, a link never replaces what another writer put there meanwhile
        os.link(temporary, target)
    except FileExistsError:
        raise _exists(target) from None
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise _exists(target) from None
        temporary.replace(target)
        return
    temporary.unlink()


def _exists(target: Path) -> OutputExists:
    return OutputExists(
        f"{target.name!r} is there already. Pass overwrite=True to replace it, or choose another "
        "name."
    )


def _amount(size: int) -> str:
    for unit, step in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= step:
            return f"{size / step:.1f} {unit}"
    return f"{size} bytes"
