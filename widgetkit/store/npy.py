"""The ``.npy`` format, version 1.0, written with fixed bytes and read with suspicion.

Our own because ``numpy.load`` trusts the header (an absurd shape is allocated) and because the
bytes of a header may differ between numpy versions while a store's checksums may not.
"""

from __future__ import annotations

import ast
import math

import numpy as np
from numpy.typing import NDArray

from widgetkit.errors import InvalidInput, StoreCorrupt

MAGIC = b"\x93NUMPY"
LARGEST_HEADER = 4096
_KINDS = "biufUS"  # no objects (pickle), no records


def storable(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """``array`` in C order and little-endian; numbers, truth values and fixed-length text only."""
    if array.dtype.kind not in _KINDS or array.dtype.itemsize == 0:
        raise InvalidInput(
            f"An array of dtype {array.dtype} cannot be stored. "
            "Use numbers, truth values or fixed-length text."
        )
    wanted = array.dtype.newbyteorder("<")
    return np.require(array, dtype=wanted, requirements="C").reshape(array.shape)


def header(dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> bytes:
    """The bytes before the data: magic, version 1.0, length, description; a multiple of 64 long."""
    sizes = ", ".join(str(int(size)) for size in shape) + ("," if len(shape) == 1 else "")
    text = f"{{'descr': {dtype.str!r}, 'fortran_order': False, 'shape': ({sizes}), }}"
    length = 10 + len(text) + 1
    padded = text + " " * (max(128, -(-length // 64) * 64) - length) + "\n"
    return MAGIC + b"\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode("latin1")


def parse(start: bytes, where: str) -> tuple[np.dtype[np.generic], tuple[int, ...], int]:
    """dtype, shape and offset of the data from the first bytes of a file.

    Parameters
    ----------
    start : bytes
        At least the first ``LARGEST_HEADER`` bytes of the file, or all of it.

    Raises
    ------
    StoreCorrupt
        Not a ``.npy`` file that holds plain numbers in C order. ``where`` names the file.
    """

    def bad(reason: str) -> StoreCorrupt:
        return StoreCorrupt(f"{where} is not an array this kit reads: {reason}.")

    if start[:6] != MAGIC or len(start) < 12:
        raise bad("it does not start like a .npy file")
    wide = {(1, 0): 2, (2, 0): 4, (3, 0): 4}.get((start[6], start[7]))
    if wide is None:
        raise bad(f".npy version {start[6]}.{start[7]}")
    offset = 8 + wide + int.from_bytes(start[8 : 8 + wide], "little")
    if offset > LARGEST_HEADER or offset > len(start):
        raise bad("its header is longer than any we write or the file itself")
    try:
        fields = ast.literal_eval(start[8 + wide : offset].decode("latin1").strip())
        if not isinstance(fields, dict) or set(fields) != {"descr", "fortran_order", "shape"}:
            raise bad("its header has other fields")
        descr, fortran, shape = fields["descr"], fields["fortran_order"], fields["shape"]
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise bad("its header does not parse") from None
    if not isinstance(descr, str) or len(descr) > 12 or descr[:1] not in "<|":
        raise bad("its values are not plain little-endian numbers")
    try:
        dtype = np.dtype(descr)
    except (TypeError, ValueError):
        raise bad("its dtype is unknown") from None
    if dtype.kind not in _KINDS or dtype.itemsize == 0:
        raise bad(f"dtype {descr} is not allowed")
    if fortran is not False:
        raise bad("it is in Fortran order")
    if (
        not isinstance(shape, tuple)
        or len(shape) > 16
        or not all(type(size) is int and 0 <= size < 2**48 for size in shape)
    ):
        raise bad("its shape is absurd")
    return dtype, shape, offset


def decode(data: bytes | bytearray, where: str) -> NDArray[np.generic]:
    """The array in the bytes of a whole ``.npy`` file, sharing their memory.

    Raises
    ------
    StoreCorrupt
        The header does not parse, or the data are not exactly as long as it says.
    """
    dtype, shape, offset = parse(bytes(data[:LARGEST_HEADER]), where)
    expected = math.prod(shape) * dtype.itemsize
    if len(data) - offset != expected:
        raise StoreCorrupt(
            f"{where} holds {len(data) - offset} bytes of data where its shape {shape} of "
            f"{dtype} needs {expected}."
        )
    return np.frombuffer(data, dtype=dtype, offset=offset, count=math.prod(shape)).reshape(shape)
