"""Grad-CAM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from widgetkit.explain.base import Batch, ClassTarget, Float, Need, expect, weighted_sum
from widgetkit.explain.gradients import activations_and_gradients
from widgetkit.explain.registry import register


@register
@dataclass(frozen=True)
class GradCam:
    """Channels weighted by the mean gradient of the class's logit.

    ``alpha_c = mean over positions of d logit / d a_c`` and the map is ``relu(sum_c alpha_c a_c)``,
    in units of the logit.

    Attributes
    ----------
    relu : bool
        False keeps the negative part (evidence against the class).
    batch_size : int
        Images passed through the network at once.
    """

    name: ClassVar[str] = "gradcam"
    title: ClassVar[str] = "Grad-CAM"
    reference: ClassVar[str] = (
        "Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based "
        "Localization, ICCV 2017, arXiv:1610.02391."
    )
    requires: ClassVar[frozenset[Need]] = frozenset({"gradients"})
    targets: ClassVar[frozenset[type]] = frozenset({ClassTarget})
    signed: ClassVar[bool] = False

    relu: bool = True
    batch_size: int = 32

    def compute(self, batch: Batch, target: ClassTarget) -> Float:
        """Maps ``(m, *grid)``, non-negative with ``relu``."""
        chosen = expect(target, ClassTarget, self.title)
        parts = []
        for activations, gradients in activations_and_gradients(
            batch, chosen, self.title, self.batch_size
        ):
            alpha = gradients.mean(axis=tuple(range(2, gradients.ndim)))
            parts.append(weighted_sum(activations, alpha))
        maps = np.concatenate(parts) if parts else np.zeros((0, *batch.layer.grid), np.float32)
        return np.maximum(maps, 0) if self.relu else maps
