"""What the methods that need gradients share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput, NoSpatialOutput
from widgetkit.explain.base import Batch, ClassTarget, Float

Images: TypeAlias = npt.NDArray[Any]


def activations_and_gradients(
    batch: Batch, target: ClassTarget, method: str, batch_size: int
) -> Iterator[tuple[Float, Float]]:
    """``A`` and ``d logit / d A``, both ``(<= batch_size, C, *grid)``, a part of the batch at a time."""
    model = batch.need_model(method)
    return in_parts(
        batch,
        lambda images: model.activations_and_gradients(images, batch.layer.name, target.index),
        method,
        batch_size,
    )


def in_parts(
    batch: Batch,
    run: Callable[[Images], tuple[npt.NDArray[Any], npt.NDArray[Any]]],
    method: str,
    batch_size: int,
) -> Iterator[tuple[Float, Float]]:
    """``A`` and the gradient of something by ``A``, as ``run`` gives both of some images.

    Both come from one pass of the images through the network, not from the stored activations: a
    network with a connection that goes round the layer (a U-Net) has no gradient that the stored
    values alone determine, and the two must belong to the same point.
    """
    images = batch.need_images(method)
    for start in range(0, len(batch), batch_size):
        batch.check()
        batch.progress(start, len(batch))
        activations, gradients = run(images[start : start + batch_size])
        if activations.ndim < 3:
            raise NoSpatialOutput(
                f"{method} needs a layer with maps, and {batch.layer.name!r} gives one vector an image. "
                "wk.layers(model) lists layers that have them."
            )
        if activations.shape != gradients.shape:
            raise InvalidInput(
                f"The model returned activations {activations.shape} and gradients {gradients.shape} "
                f"for layer {batch.layer.name!r}; they must agree."
            )
        yield np.asarray(activations, np.float32), np.asarray(gradients, np.float32)
    batch.progress(len(batch), len(batch))
