"""What is computed of each segment once, while it is in memory: pooled vectors and ranges."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from widgetkit.store.pool import in_threads

_CHUNK_BYTES = 2**21  # of float64; stays in the cache


@dataclass(frozen=True)
class SegmentStatistics:
    """``embeddings (m, C)`` float32 and ``ranges (3, C)`` float64: minimum, maximum, sum."""

    embeddings: NDArray[np.float32]
    ranges: NDArray[np.float64]


def first_not_finite(values: NDArray[np.float16] | NDArray[np.float32]) -> tuple[int, float] | None:
    """Row and value of the first NaN or infinity, or None."""
    for row, item in enumerate(values):
        wrong = ~np.isfinite(item)
        if wrong.any():
            return row, float(item[wrong].ravel()[0])
    return None


def of_maps(values: NDArray[np.float16]) -> SegmentStatistics | None:
    """Statistics of ``(m, C, *grid)`` float16; None when a value is NaN or infinite.

    The mean over the grid is the exact sum of the stored values, divided and rounded once: every
    float16 is a multiple of 2**-24 below 2**16, so a float64 sum of up to 8192 of them has no
    rounding and does not depend on order, processor or library.
    """
    m, channels = values.shape[:2]
    cells = math.prod(values.shape[2:])
    if m == 0:
        return SegmentStatistics(np.empty((0, channels), np.float32), np.zeros((3, channels)))
    bits = values.reshape(m, channels * cells).view(np.int16)
    # An integer with the order of the float: min and max of these run at memory speed, of float16
    # they do not. NaN and infinities come out beyond +-0x7BFF.
    keys = bits ^ ((bits >> 15) & np.int16(0x7FFF))
    low = keys.min(axis=0).reshape(channels, cells).min(axis=1)
    high = keys.max(axis=0).reshape(channels, cells).max(axis=1)
    if (high > 0x7BFF).any() or (low < -0x7C00).any():
        return None
    sums = np.empty((m, channels))
    step = max(1, _CHUNK_BYTES // (8 * channels * cells))

    def add_up(start: int) -> None:
        part = values[start : start + step].reshape(-1, channels, cells).astype(np.float64)
        part.sum(axis=2, out=sums[start : start + step])

    in_threads(add_up, range(0, m, step))
    total = np.zeros(channels)
    for row in sums:  # one after the other: the result may not depend on how they were cut
        total += row
    embeddings = (sums / cells).astype(np.float32)
    return SegmentStatistics(embeddings, np.stack([_floats(low), _floats(high), total]))


def of_vectors(values: NDArray[np.float32]) -> SegmentStatistics | None:
    """Statistics of ``(m, C)`` float32, which are themselves the embeddings."""
    if not np.isfinite(values).all():
        return None
    if len(values) == 0:
        return SegmentStatistics(values, np.zeros((3, values.shape[1])))
    wide = values.astype(np.float64)
    ranges = np.stack([wide.min(axis=0), wide.max(axis=0), np.add.reduce(wide, axis=0)])
    return SegmentStatistics(values, ranges)


def _floats(keys: NDArray[np.int16]) -> NDArray[np.float64]:
    bits = keys ^ ((keys >> 15) & np.int16(0x7FFF))
    return bits.view(np.float16).astype(np.float64)
