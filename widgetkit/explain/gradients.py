"""What the methods that need gradients share."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from widgetkit.errors import InvalidInput, NoSpatialOutput
from widgetkit.explain.base import Batch, ClassTarget, Float


def activations_and_gradients(
    batch: Batch, target: ClassTarget, method: str, batch_size: int
) -> Iterator[tuple[Float, Float]]:
    """``A`` and ``d logit / d A``, both ``(<= batch_size, C, *grid)``, a part of the batch at a time.

    Both come from one pass of the images through the network, not from the stored activations: a
    network with a connection that goes round the layer (a U-Net) has no gradient that the stored
    values alone determine, and the two must belong to the same point.
    """
    model, images = batch.need_model(method), batch.need_images(method)
    for start in range(0, len(batch), batch_size):
        batch.check()
        batch.progress(start, len(batch))
        activations, gradients = model.activations_and_gradients(
            images[start : start + batch_size], batch.layer.name, target.index
        )
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
