"""Regions brushed in tiles, as cells of a grid or pixels of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput

if TYPE_CHECKING:
    from widgetkit.store import ActivationStore


def mask_of(store: ActivationStore, layer: str, region: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """A bool array over the layer's grid or the tiles' image.

    Parameters
    ----------
    store, layer
        The layer has maps.
    region : bool array of one of these shapes, or (x0, y0, x1, y1) in cells of a flat grid

    Raises
    ------
    InvalidInput
        None of these.
    """
    grid = tuple(store.layers[layer].grid)
    given = np.asarray(region)
    if given.dtype != np.bool_:
        return _box(given, grid)
    sizes = [grid]
    if store.image_shape is not None:
        shape = store.image_shape
        sizes.append(tuple(shape[:-1] if shape[-1] == 3 and len(shape) > 2 else shape))
    if given.shape not in sizes:
        raise InvalidInput(
            f"A region has the shape of the grid of {layer!r}, {grid}, or of the image"
            f"{f', {sizes[1]}' if len(sizes) > 1 else ', which this store has not'}; got {given.shape}."
        )
    return given


def _box(box: npt.NDArray[np.generic], grid: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    if box.shape != (4,) or box.dtype.kind not in "iu" or len(grid) != 2:
        raise InvalidInput(
            f"A region is a bool array over the grid {grid} or the image, or on a flat grid a box of four "
            f"whole numbers (x0, y0, x1, y1); got {box.dtype} of shape {box.shape}."
        )
    x0, y0, x1, y1 = (int(value) for value in box.tolist())
    if not (0 <= x0 < x1 <= grid[1] and 0 <= y0 < y1 <= grid[0]):
        raise InvalidInput(
            f"The box {(x0, y0, x1, y1)} is empty or lies outside the grid of {grid[1]} x {grid[0]} cells."
        )
    mask = np.zeros(grid, np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask
