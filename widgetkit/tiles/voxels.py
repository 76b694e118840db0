"""Arithmetic on voxels: what they are kept as, their scaling, and how many there may be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from widgetkit.errors import BadImage
from widgetkit.tiles.pixels import convert_dtype

#: Voxels of one volume, at most: a small file may claim any number. 1,900 slices of 512 x 512.
MOST_VOXELS = 500_000_000


def as_values(array: np.ndarray, what: str) -> np.ndarray:
    """``array`` as int16 where its dtype and values allow, else as float32; checked to be finite."""
    if array.dtype == np.int16:
        return array
    if array.dtype.kind == "b":
        return array.astype(np.int16)
    if array.dtype.kind in "iu" and array.min() >= -32768 and array.max() <= 32767:
        return array.astype(np.int16)
    if array.dtype.kind == "f":
        bad = ~np.isfinite(array)
        if bad.any():
            place = tuple(int(i) for i in np.argwhere(bad)[0])
            raise BadImage(
                f"{what} holds {int(bad.sum()):,} voxels that are NaN or infinite, the first at "
                f"{place}. Replace them (np.nan_to_num) or mask them out first."
            )
    return convert_dtype(array, what).astype(np.float32, copy=False)


def scaled(array: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """``array * slope + intercept``; whole numbers stay whole where they can."""
    if slope == 1.0 and intercept == 0.0:
        return array
    if array.dtype.kind in "iu" and float(slope).is_integer() and float(intercept).is_integer():
        most = max(abs(int(array.min())), abs(int(array.max()))) if array.size else 0
        if most * abs(slope) + abs(intercept) < 2**31:
            whole: np.ndarray = array.astype(np.int32) * np.int32(slope) + np.int32(intercept)
            return whole
    with np.errstate(over="ignore"):
        out: np.ndarray = (array.astype(np.float64) * slope + intercept).astype(np.float32)
    return out


def stack(slices: Iterable[np.ndarray], shape: tuple[int, int, int], what: str) -> np.ndarray:
    """Slices as one array: int16 while all fit, float32 from the first that does not."""
    out = np.empty(shape, np.int16)
    for i, image in enumerate(slices):
        plane = as_values(image, f"Slice {i + 1} of {what}")
        if plane.dtype == np.float32 and out.dtype == np.int16:
            out = out.astype(np.float32)
        out[i] = plane
    return out


def check_size(sides: Sequence[int], what: str) -> None:
    """Raise :class:`BadImage` unless a volume may have these sides; before anything is allocated."""
    voxels = 1
    for side in sides:
        voxels *= int(side)
    if min(sides) < 1 or voxels > MOST_VOXELS:
        raise BadImage(
            f"{what} says it holds {times(sides)} voxels; a volume has 1 to {MOST_VOXELS:,}. "
            "It is damaged, or too large to be read at once: cut or resample it first."
        )


def times(sides: Sequence[float]) -> str:
    """``(6, 12)`` as ``6 x 12``."""
    return " x ".join(f"{side:,}" if isinstance(side, int) else f"{side:.4g}" for side in sides)
