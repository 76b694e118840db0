"""Resampling maps between grids of any number of dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput

Float = npt.NDArray[np.float32]


def upsample(maps: npt.ArrayLike, size: Sequence[int]) -> Float:
    """Linear interpolation of the last ``len(size)`` axes, by pixel centres.

    Cell ``i`` of ``n`` stands at ``(i + 0.5) / n`` of the axis (half-pixel convention,
    ``align_corners=False`` in torch), and values beyond the outermost centres repeat the edge.
    Equals ``torch.nn.functional.interpolate(mode="linear" | "bilinear" | "trilinear")``. A constant
    map stays exactly constant, and no value leaves the range of the map.

    Parameters
    ----------
    maps : (..., *grid) float
    size : one int an axis of the grid
        Pixels wanted; smaller than the grid is allowed (no smoothing: use :func:`area_mean`).

    Returns
    -------
    (..., *size) float32

    Raises
    ------
    InvalidInput
        ``size`` has more axes than ``maps``, or an axis of either is empty.
    """
    values = _checked(maps, size)
    for axis, wanted in zip(range(-len(size), 0), size, strict=True):
        values = _lerp(values, axis, int(wanted))
    return values


def area_mean(maps: npt.ArrayLike, grid: Sequence[int]) -> Float:
    """Mean over the cells of a coarser (or any) grid, each pixel counted by its overlap.

    The mean over the whole map is kept exactly, which sampling does not do.

    Parameters
    ----------
    maps : (..., *size) float
    grid : one int an axis

    Returns
    -------
    (..., *grid) float32
    """
    values = _checked(maps, grid)
    for axis, cells in zip(range(-len(grid), 0), grid, strict=True):
        share = _overlap(values.shape[axis], int(cells))
        moved = np.moveaxis(values, axis, -1) @ share.T
        values = np.moveaxis(moved, -1, axis)
    return np.ascontiguousarray(values, dtype=np.float32)


def _checked(maps: npt.ArrayLike, size: Sequence[int]) -> Float:
    values = np.asarray(maps, dtype=np.float32)
    if not 0 < len(size) <= values.ndim:
        raise InvalidInput(f"Maps of shape {values.shape} cannot be resampled to {tuple(size)}.")
    if min(size) < 1 or min(values.shape[-len(size) :]) < 1:
        raise InvalidInput(
            f"Maps of shape {values.shape} cannot be resampled to {tuple(size)}: an axis is empty."
        )
    return values


def _lerp(values: Float, axis: int, wanted: int) -> Float:
    cells = values.shape[axis]
    if cells == wanted:
        return values
    centre = np.clip((np.arange(wanted) + 0.5) * (cells / wanted) - 0.5, 0, cells - 1)
    low = np.floor(centre).astype(np.intp)
    high = np.minimum(low + 1, cells - 1)
    shape = [1] * values.ndim
    shape[axis] = wanted
    weight = (centre - low).astype(np.float32).reshape(shape)
    below, above = np.take(values, low, axis=axis), np.take(values, high, axis=axis)
    # a (1 - w) + b w, not a + w (b - a): the difference of two large values may overflow float32
    return cast(Float, np.where(below == above, below, below * (1 - weight) + above * weight))


def _overlap(pixels: int, cells: int) -> npt.NDArray[Any]:
    """(cells, pixels): share of each pixel in each cell, rows summing to 1."""
    edges = np.arange(cells + 1) * (pixels / cells)
    start = np.arange(pixels)
    inside: npt.NDArray[np.float64] = np.minimum(edges[1:, None], start + 1) - np.maximum(
        edges[:-1, None], start
    )
    share: npt.NDArray[np.float64] = np.clip(inside, 0, None)
    share /= share.sum(axis=1, keepdims=True)
    return share.astype(np.float32)
