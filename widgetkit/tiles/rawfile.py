"""Reading a known number of values from a file that may lie about its size."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from widgetkit.errors import BadImage

#: Deflate cannot make more than this of one byte, so a larger claim is a lie.
MOST_RATIO = 1032
_CHUNK = 1 << 24
_DAMAGED = (OSError, EOFError, zlib.error)


def read_raw(
    path: Path,
    offset: int,
    dtype: np.dtype[np.generic],
    count: int,
    what: str,
    *,
    packed: bool = False,
    skip: int = 0,
) -> np.ndarray:
    """``count`` values of a file.

    Parameters
    ----------
    offset : int
        Byte of the file where they, or the gzip that holds them, begin.
    packed : bool
        From ``offset`` on the file is gzip.
    skip : int
        Bytes passed over first, after unpacking.

    Raises
    ------
    BadImage
        The file cannot hold that many (found before memory is taken), ends before, or its gzip is
        damaged. Never more than asked for is unpacked.
    """
    wanted = count * dtype.itemsize
    with path.open("rb") as plain:
        left = path.stat().st_size - offset
        if skip + wanted > left * (MOST_RATIO if packed else 1):
            raise _short(what, wanted)
        plain.seek(offset)
        try:
            if not packed:
                plain.seek(skip, 1)
                return _filled(plain, dtype, wanted, what)
            with gzip.GzipFile(fileobj=plain) as unpacked:
                while skip > 0:
                    passed = len(unpacked.read(min(skip, _CHUNK)))
                    if not passed:
                        raise _short(what, wanted)
                    skip -= passed
                return _filled(unpacked, dtype, wanted, what)
        except _DAMAGED as error:
            raise BadImage(
                f"{what} cannot be unpacked ({type(error).__name__}): it is damaged or truncated. "
                "Copy or export it again."
            ) from None


def _filled(
    file: BinaryIO | gzip.GzipFile, dtype: np.dtype[np.generic], wanted: int, what: str
) -> np.ndarray:
    buffer = np.empty(wanted, np.uint8)  # pages are touched only as bytes arrive
    at = 0
    while at < wanted:
        part = file.read(min(_CHUNK, wanted - at))
        if not part:
            raise _short(what, wanted)
        buffer[at : at + len(part)] = np.frombuffer(part, np.uint8)
        at += len(part)
    return buffer.view(dtype)


def _short(what: str, wanted: int) -> BadImage:
    return BadImage(
        f"{what} says it holds {wanted:,} bytes of voxels and has fewer: it is truncated, or its "
        "header is wrong. Copy or export it again."
    )
