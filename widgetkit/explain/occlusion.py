"""Occlusion."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput
from widgetkit.explain.base import Batch, ClassTarget, Float, Need, expect, register
from widgetkit.explain.masking import (
    Baseline,
    baseline_images,
    class_logits,
    image_dimensions,
    positive,
    scores_of,
    spatial_shape,
)
from widgetkit.explain.resample import area_mean


@register
@dataclass(frozen=True, eq=False)
class Occlusion:
    """How far the class's logit falls when a window is covered.

    A window slides over the image; a pixel's value is the mean fall of the logit over all windows
    that cover it. ``compute`` gives the mean of these values over each cell of the layer's grid (so
    maps lie over those of other methods; of windows in pixels when the layer has no maps);
    ``pixels`` gives them at the image's own resolution.

    Attributes
    ----------
    window : int
        Side of the window in pixels.
    stride : int
        Step of the window in pixels, at most ``window`` so that no pixel is left out.
    baseline : "mean", float or array
        What the window is filled with: the tile's mean colour, a value in the image's range, or an
        array that broadcasts to the images.
    batch_size : int
        Covered images passed through the network at once.
    """

    name: ClassVar[str] = "occlusion"
    title: ClassVar[str] = "Occlusion"
    reference: ClassVar[str] = (
        "Zeiler & Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014, arXiv:1311.2901."
    )
    requires: ClassVar[frozenset[Need]] = frozenset({"forward"})
    targets: ClassVar[frozenset[type]] = frozenset({ClassTarget})
    signed: ClassVar[bool] = True

    window: int = 32
    stride: int = 16
    baseline: Baseline = "mean"
    batch_size: int = 32

    def __post_init__(self) -> None:
        positive(self.window, "window")
        positive(self.stride, "stride")
        positive(self.batch_size, "batch_size")
        if self.stride > self.window:
            raise InvalidInput(
                f"stride {self.stride} is more than window {self.window}: pixels between the windows would "
                "have no value. Use a stride of at most the window."
            )

    def compute(self, batch: Batch, target: ClassTarget) -> Float:
        """Signed maps ``(m, *grid)`` on the layer's grid, in units of the logit.

        A layer without maps has no grid: then the grid is that of the windows' positions.
        """
        grid = tuple(batch.layer.grid)
        if len(batch) == 0:
            return np.zeros((0, *grid), np.float32) if grid else np.zeros((0, 1, 1), np.float32)
        values = self.pixels(batch, target)
        if not grid:
            grid = tuple(len(_starts(side, self.window, self.stride)) for side in values.shape[1:])
        return area_mean(values, grid)

    def pixels(self, batch: Batch, target: ClassTarget) -> Float:
        """The fall of the logit at every pixel, ``(m, *spatial)``, of ``batch.images``."""
        index = expect(target, ClassTarget, self.title).index
        model, images = batch.need_model(self.title), batch.need_images(self.title)
        dimensions = len(batch.layer.grid) or image_dimensions(images)
        spatial = spatial_shape(images, dimensions)
        if len(batch) == 0:
            return np.zeros((0, *spatial), np.float32)
        fill = np.broadcast_to(baseline_images(images, dimensions, self.baseline), images.shape)
        windows = _windows(spatial, self.window, self.stride)
        whole = np.concatenate(
            [
                class_logits(model, images[start : start + self.batch_size], index)
                for start in range(0, len(images), self.batch_size)
            ]
        )

        def covered(start: int, stop: int) -> npt.NDArray[np.float32]:
            tiles, places = np.divmod(np.arange(start, stop), len(windows))
            copies = images[tiles].astype(np.float32)
            for copy, tile, place in zip(copies, tiles, places, strict=True):
                copy[windows[place]] = fill[tile][windows[place]]
            return copies

        scores = scores_of(
            model,
            index,
            len(images) * len(windows),
            covered,
            batch_size=self.batch_size,
            check=batch.check,
            progress=batch.progress,
        )
        fall = whole[:, None] - scores.reshape(len(images), len(windows))
        total = np.zeros((len(images), *spatial), np.float64)
        covers = np.zeros(spatial, np.float64)
        for place, window in enumerate(windows):
            total[(slice(None), *window)] += fall[:, place].reshape(-1, *(1,) * dimensions)
            covers[window] += 1
        return cast(Float, (total / covers).astype(np.float32))


def _starts(side: int, window: int, stride: int) -> range:
    """First pixels of the windows along an axis; the last window may end at the image's edge."""
    steps = -(-max(side - window, 0) // stride)
    return range(0, steps * stride + 1, stride)


def _windows(spatial: tuple[int, ...], window: int, stride: int) -> list[tuple[slice, ...]]:
    """All windows, cut off at the image's edges, in raster order."""
    axes = [
        [slice(start, min(start + window, side)) for start in _starts(side, window, stride)]
        for side in spatial
    ]
    return list(itertools.product(*axes))
