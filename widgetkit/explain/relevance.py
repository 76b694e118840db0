"""Relevance propagation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np

from widgetkit.errors import InvalidInput, NeedsModel, NoSpatialOutput, near
from widgetkit.explain.base import Batch, ClassTarget, Float, Need, expect
from widgetkit.explain.registry import register

Rule = Literal["composite", "epsilon", "zplus", "gamma"]


@register
@dataclass(frozen=True)
class RelevanceMap:
    """The class's logit, shared out over the positions of the layer from the output downwards.

    Each layer above passes what it got on to its inputs in proportion to what they contributed
    (layer-wise relevance propagation), and a map is the sum over channels. Its sum is the logit less
    what biases kept and what reached the output round the layer (``ModelContext.relevance`` tells how
    much, in ``absorbed`` and ``beside``). Networks with many batch norms keep a large part in their
    biases: compare the shape of maps, and their sizes only within one layer. See
    ``docs/relevance.md``.

    Attributes
    ----------
    rule : "composite", "epsilon", "zplus" or "gamma"
        For all layers with weights; ``"composite"`` is z+ for convolutions and epsilon for dense
        layers.
    epsilon : float
        Added to denominators, away from zero, in units of each layer's output.
    gamma : float
        Extra weight of positive contributions, for ``"gamma"``.
    batch_size : int
        Images given to the network at once; the network's context may take fewer.
    """

    name: ClassVar[str] = "relevance"
    title: ClassVar[str] = "Relevance"
    reference: ClassVar[str] = (
        "Bach et al., On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise "
        "Relevance Propagation, PLoS ONE 10(7), 2015; composite of rules: Kohlbrenner et al., "
        "Towards Best Practice in Explaining Neural Network Decisions with LRP, IJCNN 2020, "
        "arXiv:1910.09840."
    )
    requires: ClassVar[frozenset[Need]] = frozenset({"gradients", "forward"})
    targets: ClassVar[frozenset[type]] = frozenset({ClassTarget})
    signed: ClassVar[bool] = True

    rule: Rule = "composite"
    epsilon: float = 1e-6
    gamma: float = 0.25
    batch_size: int = 32

    def __post_init__(self) -> None:
        if self.rule not in get_args(Rule):
            raise InvalidInput(
                f"There is no relevance rule {self.rule!r}. {near(str(self.rule), get_args(Rule))}"
            )
        if self.batch_size < 1:
            raise InvalidInput(f"batch_size is {self.batch_size}: use a number from 1.")

    def compute(self, batch: Batch, target: ClassTarget) -> Float:
        """Signed maps ``(m, *grid)`` in units of the logit."""
        chosen = expect(target, ClassTarget, self.title)
        model, images = batch.need_model(self.title), batch.need_images(self.title)
        if not callable(getattr(model, "relevance", None)):
            raise NeedsModel(
                f"{self.title} runs through the network itself, which a {type(model).__name__} does "
                "not offer. Wrap the network: widgetkit.extraction.ModelContext(model)."
            )
        maps = []
        for start in range(0, len(batch), self.batch_size):
            batch.check()
            batch.progress(start, len(batch))
            found = model.relevance(
                images[start : start + self.batch_size],
                batch.layer.name,
                chosen.index,
                rule=self.rule,
                epsilon=self.epsilon,
                gamma=self.gamma,
                at_input=False,
            )
            if found.layer.ndim < 3:
                raise NoSpatialOutput(
                    f"{self.title} needs a layer with maps, and {batch.layer.name!r} gives one "
                    "vector an image. wk.layers(model) lists layers that have them."
                )
            maps.append(found.layer.sum(axis=1))
        batch.progress(len(batch), len(batch))
        if not maps:
            return np.zeros((0, *batch.layer.grid), np.float32)
        return np.concatenate(maps).astype(np.float32, copy=False)
