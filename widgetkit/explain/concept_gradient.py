"""Concept maps by gradients: Grad-CAM towards a direction of a later layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from widgetkit.explain.base import Batch, Float, Need, expect, weighted_sum
from widgetkit.explain.concept_target import ConceptTarget
from widgetkit.explain.gradients import in_parts
from widgetkit.explain.registry import register


@register
@dataclass(frozen=True)
class ConceptGradient:
    """Channels weighted by the mean gradient towards the concept at a later layer.

    With ``h`` the activations of that layer and ``v`` the concept's direction there,
    ``alpha_c = mean over positions of d (h . v) / d a_c``, and the map is ``relu(sum_c alpha_c a_c)``.
    With the weights of a class in front of the logits it is Grad-CAM of this class.

    Attributes
    ----------
    relu : bool
        False keeps the negative part (what speaks against the concept).
    batch_size : int
        Images passed through the network at once.
    """

    name: ClassVar[str] = "concept-gradient"
    title: ClassVar[str] = "Concept, by gradients"
    reference: ClassVar[str] = (
        "Grad-CAM (Selvaraju et al., ICCV 2017, arXiv:1610.02391) towards a concept activation vector "
        "(Kim et al., TCAV, ICML 2018, arXiv:1711.11279) in place of a logit."
    )
    requires: ClassVar[frozenset[Need]] = frozenset({"gradients"})
    targets: ClassVar[frozenset[type]] = frozenset({ConceptTarget})
    signed: ClassVar[bool] = False

    relu: bool = True
    batch_size: int = 32

    def compute(self, batch: Batch, target: ConceptTarget) -> Float:
        """Maps ``(m, *grid)``, non-negative with ``relu``, in units of ``h`` along ``v``."""
        chosen = expect(target, ConceptTarget, self.title)
        towards = chosen.need("towards", self.title)
        model, parts = batch.need_model(self.title), []
        for activations, gradients in in_parts(
            batch,
            lambda images: model.gradients_towards(images, batch.layer.name, chosen.at, towards),
            self.title,
            self.batch_size,
        ):
            alpha = gradients.mean(axis=tuple(range(2, gradients.ndim)))
            parts.append(weighted_sum(activations, alpha))
        maps = np.concatenate(parts) if parts else np.zeros((0, *batch.layer.grid), np.float32)
        return np.maximum(maps, 0) if self.relu else maps
