"""Occlusion."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput
from widgetkit.explain.base import Batch, ClassTarget, Float, Model, Need, expect
from widgetkit.explain.concept_target import ConceptTarget
from widgetkit.explain.latent import along
from widgetkit.explain.masking import (
    Baseline,
    baseline_images,
    class_logits,
    image_dimensions,
    positive,
    scores_of,
    spatial_shape,
)
from widgetkit.explain.registry import register
from widgetkit.explain.resample import area_mean


@register
@dataclass(frozen=True, eq=False)
class Occlusion:
    """How far the class's logit falls when a window is covered; or a concept's ``h . v``.

    A window slides over the image; a pixel's value is the mean fall of the logit over all windows
    that cover it. Of a concept it is the fall of the later layer's activations along the concept's direction
    there, as in :class:`~widgetkit.explain.concept_gradient.ConceptGradient`. ``compute`` gives the mean of these values over each cell of the layer's grid (so
    that maps lie over those of other methods);
    ``pixels`` gives them at the image's own resolution.

    Attributes
    ----------
    window : int, or one an axis, optional
        Sides of the window in pixels. Default: an eighth of each axis, a quarter in volumes.
    stride : int, or one an axis, optional
        Step of the window in pixels, at most ``window`` so that no pixel is left out. Default: half
        the window. With both defaults a tile costs 225 forward passes and a volume 343.
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
    targets: ClassVar[frozenset[type]] = frozenset({ClassTarget, ConceptTarget})
    signed: ClassVar[bool] = True

    window: int | tuple[int, ...] | None = None
    stride: int | tuple[int, ...] | None = None
    baseline: Baseline = "mean"
    batch_size: int = 32

    def __post_init__(self) -> None:
        positive(self.batch_size, "batch_size")
        for name, value in (("window", self.window), ("stride", self.stride)):
            for side in _tuple(value):
                positive(side, name)
        if self.window is not None and self.stride is not None:
            _check_stride(_tuple(self.window), _tuple(self.stride))

    def compute(self, batch: Batch, target: ClassTarget | ConceptTarget) -> Float:
        """Signed maps ``(m, *grid)`` on the layer's grid, in units of the logit or of ``h . v``.

        Where the layer's grid has other axes than the image (none, or one of tokens), the grid is
        that of the windows' positions.
        """
        values = self.pixels(batch, target)
        grid, spatial = tuple(batch.layer.grid), values.shape[1:]
        if len(grid) != len(spatial):
            grid = tuple(map(len, _starts(spatial, *self._steps(spatial))))
        return area_mean(values, grid)

    def pixels(self, batch: Batch, target: ClassTarget | ConceptTarget) -> Float:
        """The fall at every pixel, ``(m, *spatial)``, of ``batch.images``."""
        model, images = batch.need_model(self.title), batch.need_images(self.title)
        grid = batch.layer.grid
        dimensions = len(grid) if len(grid) > 1 else image_dimensions(images)
        spatial = spatial_shape(images, dimensions)
        if len(batch) == 0:
            return np.zeros((0, *spatial), np.float32)
        fill = np.broadcast_to(baseline_images(images, dimensions, self.baseline), images.shape)
        windows = _windows(spatial, *self._steps(spatial))
        whole = np.concatenate(
            [
                self._score(model, images[start : start + self.batch_size], target)
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
            lambda changed: self._score(model, changed, target),
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

    def _score(
        self, model: Model, images: npt.NDArray[Any], target: ClassTarget | ConceptTarget
    ) -> npt.NDArray[np.float64]:
        if isinstance(target, ConceptTarget):
            return along(model, images, target, self.title)
        return class_logits(model, images, expect(target, ClassTarget, self.title).index)

    def _steps(self, spatial: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Window and stride of each axis, in pixels."""
        part = 8 if len(spatial) < 3 else 4
        window = _per_axis(self.window, [-(-side // part) for side in spatial], "window")
        stride = _per_axis(self.stride, [-(-side // 2) for side in window], "stride")
        _check_stride(window, stride)
        return window, stride


def _tuple(value: int | tuple[int, ...] | None) -> tuple[int, ...]:
    return () if value is None else value if isinstance(value, tuple) else (value,)


def _per_axis(
    value: int | tuple[int, ...] | None, default: Sequence[int], name: str
) -> tuple[int, ...]:
    sides = _tuple(value) or tuple(default)
    if len(sides) == 1:
        return sides * len(default)
    if len(sides) != len(default):
        raise InvalidInput(f"{name} is {value}, and the images have {len(default)} axes.")
    return sides


def _check_stride(window: tuple[int, ...], stride: tuple[int, ...]) -> None:
    count = max(len(window), len(stride))
    pairs = zip(
        window * (count if len(window) == 1 else 1),
        stride * (count if len(stride) == 1 else 1),
        strict=False,
    )
    for side, step in pairs:
        if step > side:
            raise InvalidInput(
                f"stride {step} is more than window {side}: pixels between the windows would "
                "have no value. Use a stride of at most the window."
            )


def _starts(
    spatial: tuple[int, ...], window: tuple[int, ...], stride: tuple[int, ...]
) -> list[range]:
    """First pixels of the windows along each axis; the last one may be cut off by the edge."""
    return [
        range(0, -(-max(side - size, 0) // step) * step + 1, step)
        for side, size, step in zip(spatial, window, stride, strict=True)
    ]


def _windows(
    spatial: tuple[int, ...], window: tuple[int, ...], stride: tuple[int, ...]
) -> list[tuple[slice, ...]]:
    """All windows, cut off at the image's edges, in raster order."""
    axes = [
        [slice(start, min(start + size, side)) for start in starts]
        for starts, size, side in zip(
            _starts(spatial, window, stride), window, spatial, strict=True
        )
    ]
    return list(itertools.product(*axes))
