"""Concept maps without shells: the concept's direction, position by position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from widgetkit.explain.base import Batch, Float, Need, channel_vector, expect, weighted_sum
from widgetkit.explain.concept_target import ConceptTarget
from widgetkit.explain.registry import register


@register
@dataclass(frozen=True)
class ConceptPlain:
    """How far each position lies along the concept's direction among the layer's activations.

    With the direction ``v`` the map is ``sum_c v_c a_c``. It is linear, so its mean over the grid is the
    place of the tile's mean activation along the direction: what makes a tile a case of the concept is
    shared out over its positions exactly.

    :func:`~widgetkit.explain.concept_direction` gives directions. Weights of a probe are directions, too;
    they name tiles better and find places worse, since they also hold what cancels noise (Haufe et al.,
    NeuroImage 87 (2014) 96-110).
    """

    name: ClassVar[str] = "concept-plain"
    title: ClassVar[str] = "Concept, plain"
    reference: ClassVar[str] = (
        "Class activation mapping (Zhou et al., CVPR 2016, arXiv:1512.04150) with the direction of a "
        "concept (Kim et al., TCAV, ICML 2018, arXiv:1711.11279) in place of a class's weights."
    )
    requires: ClassVar[frozenset[Need]] = frozenset({"activations"})
    targets: ClassVar[frozenset[type]] = frozenset({ConceptTarget})
    signed: ClassVar[bool] = True

    def compute(self, batch: Batch, target: ConceptTarget) -> Float:
        """Signed maps ``(m, *grid)``, in units of activation along ``direction``."""
        chosen = expect(target, ConceptTarget, self.title)
        activations = batch.need_activations(self.title)
        channels, layer = activations.shape[1], batch.layer.name
        direction = channel_vector(
            chosen.need("direction", self.title),
            channels,
            f"The direction of {chosen.name!r}",
            layer,
        )
        return weighted_sum(activations, direction)
