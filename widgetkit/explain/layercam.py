"""Layer-CAM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from widgetkit.explain.base import Batch, ClassTarget, Float, Need, expect
from widgetkit.explain.gradients import activations_and_gradients
from widgetkit.explain.registry import register


@register
@dataclass(frozen=True)
class LayerCam:
    """Each position weighted by its own positive gradient.

    The map is ``relu(sum_c relu(d logit / d a_c) a_c)``, position by position. Finer than Grad-CAM
    in early layers, where the gradient of one channel differs from place to place.

    Attributes
    ----------
    batch_size : int
        Images passed through the network at once.
    """

    name: ClassVar[str] = "layercam"
    title: ClassVar[str] = "Layer-CAM"
    reference: ClassVar[str] = (
        "Jiang et al., LayerCAM: Exploring Hierarchical Class Activation Maps for Localization, "
        "IEEE TIP 30 (2021) 5875."
    )
    requires: ClassVar[frozenset[Need]] = frozenset({"gradients"})
    targets: ClassVar[frozenset[type]] = frozenset({ClassTarget})
    signed: ClassVar[bool] = False

    batch_size: int = 32

    def compute(self, batch: Batch, target: ClassTarget) -> Float:
        """Non-negative maps ``(m, *grid)``."""
        chosen = expect(target, ClassTarget, self.title)
        parts = [
            np.maximum(np.einsum("mc...,mc...->m...", np.maximum(gradients, 0), activations), 0)
            for activations, gradients in activations_and_gradients(
                batch, chosen, self.title, self.batch_size
            )
        ]
        return np.concatenate(parts) if parts else np.zeros((0, *batch.layer.grid), np.float32)
