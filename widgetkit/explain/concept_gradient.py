"""Concept maps by gradients towards a direction of a later layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from widgetkit.errors import InvalidInput
from widgetkit.explain.base import Batch, Float, Need, expect, weighted_sum
from widgetkit.explain.concept_target import ConceptTarget
from widgetkit.explain.gradients import in_parts
from widgetkit.explain.registry import register


@register
@dataclass(frozen=True)
class ConceptGradient:
    """Activations times the gradient towards the concept at a later layer.

    With ``h`` the activations of that layer, ``v`` the concept's direction there and
    ``g_c = d (h . v) / d a_c``, the map is ``relu(sum_c g_c a_c)``, position by position. Where nothing
    but convolutions, rectifiers, pooling and dense layers lie between, its sum before the relu is
    ``h . v`` but for the biases. ``weights="mean"`` takes the mean of ``g_c`` over the positions first, as
    Grad-CAM does: with the weights of a class in front of the logits it is Grad-CAM of this class.
    Behind global average pooling and linear layers both are the same; a dense layer that
    tells positions apart makes them differ, and the mean then loses places.

    Attributes
    ----------
    weights : "position" or "mean"
    relu : bool
        False keeps the negative part (what speaks against the concept).
    batch_size : int
        Images passed through the network at once.
    """

    name: ClassVar[str] = "concept-gradient"
    title: ClassVar[str] = "Concept, by gradients"
    reference: ClassVar[str] = (
        "HiResCAM (Draelos & Carin 2020, arXiv:2011.08891) or Grad-CAM (Selvaraju et al., ICCV 2017) "
        "towards a concept activation vector (Kim et al., TCAV, ICML 2018) in place of a logit."
    )
    requires: ClassVar[frozenset[Need]] = frozenset({"gradients"})
    targets: ClassVar[frozenset[type]] = frozenset({ConceptTarget})
    signed: ClassVar[bool] = False

    weights: Literal["position", "mean"] = "position"
    relu: bool = True
    batch_size: int = 32

    def __post_init__(self) -> None:
        if self.weights not in ("position", "mean"):
            raise InvalidInput(f"weights is {self.weights!r}: use 'position' or 'mean'.")

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
            if self.weights == "mean":
                alpha = gradients.mean(axis=tuple(range(2, gradients.ndim)))
                parts.append(weighted_sum(activations, alpha))
            else:
                parts.append(np.einsum("mc...,mc...->m...", gradients, activations))
        maps = np.concatenate(parts) if parts else np.zeros((0, *batch.layer.grid), np.float32)
        return np.maximum(maps, 0) if self.relu else maps
