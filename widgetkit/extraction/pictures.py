"""What a store keeps to look at of tiles as read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from widgetkit.tiles.pixels import default_window, display, is_colour

if TYPE_CHECKING:
    from widgetkit.tiles.base import TileSource


def pictures_of(images: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """uint8 pictures of ``(m, H, W[, 3])`` tiles, or of whole volumes ``(m, D, H, W[, 3])``."""
    shape = images.shape[1:]
    if len(shape) - is_colour(shape) == 3:
        slices = images.reshape(-1, *shape[1:])
        return display(slices, window=window).reshape(images.shape)
    return display(images, window=window)


def picture_window(tiles: TileSource) -> tuple[float, float]:
    """The values of a source's tiles that pictures show as 0 and 255."""
    own: tuple[float, float] | None = getattr(tiles, "window", None)
    return own or default_window(np.dtype(tiles.dtype)) or (0.0, 1.0)
