"""Class activation map: the linear head, applied at each position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from widgetkit.errors import ChannelMismatch, InvalidInput
from widgetkit.explain.base import Batch, ClassTarget, Float, Need, expect, weighted_sum
from widgetkit.explain.registry import register


@register
@dataclass(frozen=True)
class Cam:
    """Exact CAM, for a network that ends in global average pooling and a linear head.

    The map is ``sum_c weight[class, c] a_c``. Its mean over the tile plus the bias **is** the
    logit, so the map splits the logit over positions with nothing left over. Needs no network:
    the head's weights are in the store. Without its negative part it equals Grad-CAM on the same
    layer, up to the number of positions.
    """

    name: ClassVar[str] = "cam"
    title: ClassVar[str] = "CAM"
    reference: ClassVar[str] = (
        "Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016, arXiv:1512.04150."
    )
    requires: ClassVar[frozenset[Need]] = frozenset({"activations"})
    targets: ClassVar[frozenset[type]] = frozenset({ClassTarget})
    signed: ClassVar[bool] = True

    def compute(self, batch: Batch, target: ClassTarget) -> Float:
        """Signed maps ``(m, *grid)`` in units of the logit."""
        index = expect(target, ClassTarget, self.title).index
        activations = batch.need_activations(self.title)
        if batch.head is None:
            raise InvalidInput(
                f"{self.title} needs a linear head directly behind layer {batch.layer.name!r}, and the "
                "store has none for it. Use the last layer before the head, or another method "
                "(Grad-CAM needs no linear head)."
            )
        weight = np.asarray(batch.head[0], dtype=np.float32)
        channels = activations.shape[1]
        if weight.ndim != 2 or weight.shape[1] != channels:
            raise ChannelMismatch(
                f"The head has weights of shape {weight.shape}, and layer {batch.layer.name!r} has "
                f"{channels} channels: the head is not directly behind this layer."
            )
        if not 0 <= index < len(weight):
            raise InvalidInput(f"Class {index} is not one of the head's {len(weight)} classes.")
        return weighted_sum(activations, weight[index])
