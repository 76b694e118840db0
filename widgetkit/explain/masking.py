"""Changing parts of images and asking the network again: what the forward methods share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from widgetkit.errors import BadActivations, InvalidInput
from widgetkit.explain.base import Float, Model

Baseline: TypeAlias = Literal["mean"] | float | npt.NDArray[Any]


def spatial_shape(images: npt.NDArray[Any], dimensions: int) -> tuple[int, ...]:
    """The ``dimensions`` spatial axes of ``images (m, *spatial[, colours])``.

    Raises
    ------
    InvalidInput
        More than one axis is left over, or none is there.
    """
    if images.ndim not in (1 + dimensions, 2 + dimensions) or (
        images.ndim == 2 + dimensions and images.shape[-1] not in (1, 3)
    ):
        raise InvalidInput(
            f"Images of shape {images.shape} do not go with maps of {dimensions} dimensions: expected "
            f"(m, {', '.join('DHW'[-dimensions:])}), with or without 3 colours behind."
        )
    return images.shape[1 : 1 + dimensions]


def image_dimensions(images: npt.NDArray[Any]) -> int:
    """Number of spatial axes of ``images (m, *spatial[, colours])``: a last axis of 1 or 3 is colour."""
    return images.ndim - 1 - (images.ndim > 3 and images.shape[-1] in (1, 3))


def as_mask(mask: npt.NDArray[Any], images: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """``mask (..., *spatial)`` with an axis for the colours where ``images`` have one."""
    return mask if mask.ndim == images.ndim else mask[..., None]


def unit_range(maps: Float) -> Float:
    """Each map ``(p, *grid)`` scaled to [0, 1]; a constant one to 0."""
    axes = tuple(range(1, maps.ndim))
    low = maps.min(axis=axes, keepdims=True).astype(np.float64)
    width = maps.max(axis=axes, keepdims=True) - low
    unit: Float = ((maps - low) / np.where(width > 0, width, 1)).astype(np.float32)
    return unit


def baseline_images(images: npt.NDArray[Any], dimensions: int, baseline: Baseline) -> Float:
    """What stands where something is taken away, broadcastable to ``images``.

    ``"mean"`` is each image's own mean colour; a number is that value in the images' range; an array
    is taken as it is (one colour, or whole images such as blurred ones).
    """
    if isinstance(baseline, str):
        if baseline != "mean":
            raise InvalidInput(f"baseline is {baseline!r}: use 'mean', a number or an array.")
        axes = tuple(range(1, 1 + dimensions))
        return cast(
            Float, images.mean(axis=axes, keepdims=True, dtype=np.float64).astype(np.float32)
        )
    values = np.asarray(baseline, dtype=np.float32)
    try:
        np.broadcast_to(values, images.shape)
    except ValueError:
        raise InvalidInput(
            f"A baseline of shape {values.shape} does not fit images of shape {images.shape}."
        ) from None
    # as many axes as the images, so that it can be cut along the first one
    return values.reshape((1,) * (images.ndim - values.ndim) + values.shape)


def class_logits(model: Model, images: npt.NDArray[Any], index: int) -> npt.NDArray[np.float64]:
    """Logit of one class, ``(m,)``.

    Raises
    ------
    InvalidInput
        The network has no such class.
    BadActivations
        A logit is not finite.
    """
    logits = np.asarray(model.logits(images))
    if logits.ndim != 2 or len(logits) != len(images):
        raise InvalidInput(
            f"The network gave an output of shape {logits.shape} for {len(images)} images, and a map of a "
            "class needs (m, n_classes)."
        )
    if not 0 <= index < logits.shape[1]:
        raise InvalidInput(f"Class {index} is not one of the network's {logits.shape[1]} classes.")
    if not np.isfinite(logits).all():
        raise BadActivations("The network returned NaN or infinity as a logit for a changed image.")
    return logits[:, index].astype(np.float64)


def scores_of(
    score: Callable[[npt.NDArray[Any]], npt.NDArray[np.float64]],
    count: int,
    make: Callable[[int, int], npt.NDArray[Any]],
    *,
    batch_size: int,
    check: Callable[[], None],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> npt.NDArray[np.float64]:
    """Score of ``count`` images that ``make(start, stop)`` builds a batch at a time.

    Memory is bounded by one batch; ``check`` may raise between batches.
    """
    scores = np.zeros(count, np.float64)
    for start in range(0, count, batch_size):
        check()
        progress(start, count)
        stop = min(start + batch_size, count)
        scores[start:stop] = score(make(start, stop))
    progress(count, count)
    return scores


def positive(value: int, name: str) -> int:
    """``value`` if it is at least 1."""
    if value < 1:
        raise InvalidInput(f"{name} is {value}: use 1 or more.")
    return value
