"""float16 to float32 several times faster than the cast of numpy, which goes value by value."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

# The bits of a half, moved into the places they have in a float, are that float times 2**-112:
# the exponents are counted from other ends (127 - 15). That holds for subnormal halves too.
_SHIFT, _SCALE = 13, np.float32(2.0**112)
# Sign and the 15 other bits after the shift, without the copies that sign extension made.
_MASK = np.int32(-0x70002000)
_LEAST_INFINITE, _LEAST_MINUS_INFINITE = 0x7C00, 0xFC00


def to_float32(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """``values.astype(np.float32)``, a new array, for any float dtype."""
    if values.dtype != np.float16 or not values.size:
        return values.astype(np.float32)
    values = np.ascontiguousarray(values)
    signed, unsigned = values.view(np.int16), values.view(np.uint16)
    high = unsigned.max()  # as a number without sign: negative halves come after infinity
    if high >= _LEAST_MINUS_INFINITE or (
        high >= _LEAST_INFINITE and signed.max() >= _LEAST_INFINITE
    ):
        return values.astype(np.float32)  # infinity or NaN
    bits = signed.astype(np.int32)
    bits <<= _SHIFT
    if high >= _LEAST_INFINITE:
        bits &= _MASK
    found = bits.view(np.float32)
    found *= _SCALE
    return found
