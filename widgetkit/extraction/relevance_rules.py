"""The rules of relevance propagation, in the form that ordinary back-propagation can carry.

Relevance is kept as ``R = x * c``: beside each value ``x`` travels a coefficient ``c``, and ``c``
moves through the network as a gradient does. Where values are added, routed or rearranged the
gradient already shares relevance in proportion to contribution, exactly; only layers with weights,
activations and constants differ from it, and they are the classes here.

What a layer keeps for its bias, its constants and its epsilon is sent to ``unit``, one number an
image, by the same back-propagation: ``unit.grad`` is what was absorbed, measured on its own and
not as what is missing in the end.

References
----------
Bach et al. (2015), On pixel-wise explanations for non-linear classifier decisions by layer-wise
relevance propagation, PLoS ONE 10(7). Montavon et al. (2019), Layer-wise relevance propagation: an
overview. Kohlbrenner et al. (2020), Towards best practice in explaining neural network decisions
with LRP.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from widgetkit.errors import InvalidInput, near
from widgetkit.extraction._torch import torch

Tensor = torch.Tensor
RuleName = Literal["composite", "epsilon", "zplus", "gamma"]
LayerRule = Literal["epsilon", "zplus", "gamma"]


class ImagesMixed(Exception):
    """The first axis of a tensor does not hold the images one after another."""


@dataclass(frozen=True)
class Rules:
    """Which rule convolutions and dense layers follow.

    Parameters
    ----------
    conv, dense : "epsilon", "zplus" or "gamma"
    epsilon : float, above 0
        Added to denominators, away from zero, in units of the layer's output.
    gamma : float, 0 or more
        How much more positive contributions weigh than negative ones.
    """

    conv: LayerRule
    dense: LayerRule
    epsilon: float = 1e-6
    gamma: float = 0.25

    @classmethod
    def named(cls, rule: str, *, epsilon: float, gamma: float) -> Rules:
        """``"composite"`` is z+ for convolutions and epsilon for dense layers.

        Raises
        ------
        InvalidInput
            No such rule, or an epsilon or gamma that none of them can take.
        """
        if rule not in get_args(RuleName):
            raise InvalidInput(
                f"There is no relevance rule {rule!r}. {near(str(rule), get_args(RuleName))}"
            )
        if not (math.isfinite(epsilon) and epsilon > 0):
            raise InvalidInput(f"epsilon={epsilon!r}: a number above 0, such as 1e-6.")
        if not (math.isfinite(gamma) and gamma >= 0):
            raise InvalidInput(f"gamma={gamma!r}: a number from 0, such as 0.25.")
        conv, dense = ("zplus", "epsilon") if rule == "composite" else (rule, rule)
        return cls(conv, dense, float(epsilon), float(gamma))  # type: ignore[arg-type]

    def shares(self, x: Tensor, layer: Affine) -> tuple[Tensor, Tensor, Tensor]:
        """Output ``y``, what the inputs contribute ``p(x)``, and ``y / total`` of a layer.

        ``p`` is homogeneous in ``x``, so that ``sum_i x_i dp/dx_i = p``; ``total`` is ``p`` with the
        bias's part and epsilon. Input ``i`` gets ``x_i * sum_j dp_j/dx_i * y_j c_j / total_j``.
        """
        rule = self.conv if layer.kind == "conv" else self.dense
        op, weight, bias = layer.op, layer.weight, layer.bias
        plain = op(x, weight)
        y = (plain if bias is None else plain + bias).detach()
        if rule == "epsilon":
            return y, plain, y / self._away_from_zero(y)
        up, down = weight.clamp(min=0), weight.clamp(max=0)
        positive, negative = x * (x >= 0), x * (x < 0)
        signed = bool((x < 0).any())  # behind a ReLU nothing is, which spares half of the work
        raising = op(positive, up) + op(negative, down) if signed else op(positive, up)
        if rule == "zplus":
            # without the bias: folded batch norms have large ones, and would keep nearly everything
            total = raising.detach()
            ratio = y / self._away_from_zero(total)
            return y, raising, torch.where(total == 0, 0, ratio)  # nothing contributes: absorbed
        lowering = op(positive, down) + op(negative, up) if signed else op(positive, down)
        high = y >= 0
        contributed = plain + self.gamma * torch.where(high, raising, lowering)
        total = contributed.detach()
        if bias is not None:
            total = total + bias
            total = total + self.gamma * torch.where(high, bias.clamp(min=0), bias.clamp(max=0))
        return y, contributed, y / self._away_from_zero(total, high)

    def _away_from_zero(self, total: Tensor, high: Tensor | None = None) -> Tensor:
        upwards = total >= 0 if high is None else high
        return total + torch.where(upwards, self.epsilon, -self.epsilon).to(total.dtype)


@dataclass(frozen=True)
class Affine:
    """A layer ``y = op(x, weight) + bias``; ``op`` is linear in both and adds nothing."""

    op: Callable[[Tensor, Tensor], Tensor]
    weight: Tensor
    bias: Tensor | None  # broadcasts to y
    kind: Literal["conv", "dense"]
    #: Weight and one factor (C,) an output channel -> scaled weight. None: axis 1 of y is not C.
    scale: Callable[[Tensor, Tensor], Tensor] | None = None

    def folded(self, factor: Tensor, shift: Tensor, dimensions: int) -> Affine | None:
        """The layer followed by ``factor * y + shift`` on axis 1 of its output, as one layer."""
        if self.scale is None:
            return None
        shape = (1, -1, *(1,) * (dimensions - 2))
        bias = shift.view(shape)
        if self.bias is not None:
            bias = bias + self.bias.reshape(shape) * factor.view(shape)
        return replace(self, weight=self.scale(self.weight, factor), bias=bias)


def per_image(values: Tensor, images: int) -> Tensor:
    """Sum of each image's values ``(images,)``; rows of one image follow each other on axis 0.

    Raises
    ------
    ImagesMixed
        Axis 0 cannot be cut into images. The caller then runs one image at a time.
    """
    if images == 1:
        return values.sum().reshape(1)
    if values.ndim == 0 or values.shape[0] % images:
        raise ImagesMixed
    return values.reshape(images, -1).sum(1)


def _run(function: Any, *args: Any) -> Tensor:
    """``function.apply``, which torch has no types for."""
    result: Tensor = function.apply(*args)
    return result


class _Weighted(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, unit: Tensor, value: Callable[[], Tensor], layer: Affine, rules: Rules
    ) -> Tensor:
        ctx.save_for_backward(x)
        ctx.images, ctx.layer, ctx.rules = len(unit), layer, rules
        return value()

    @staticmethod
    def backward(ctx: Any, c: Tensor) -> tuple[Tensor | None, ...]:
        # y is computed again: the network may have changed the one it got in place
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            leaf = x.detach().requires_grad_(True)
            y, contributed, ratio = ctx.rules.shares(leaf, ctx.layer)
            given = c * ratio
            (through,) = torch.autograd.grad(contributed, leaf, given)
        lost = per_image(y * c - contributed.detach() * given, ctx.images)
        return through, lost, None, None, None


def weighted(
    x: Tensor, unit: Tensor, value: Callable[[], Tensor], layer: Affine, rules: Rules
) -> Tensor:
    """A layer with weights: gives ``value()``, sends relevance back by its rule."""
    return _run(_Weighted, x, unit, value, layer, rules)


class _Adjusted(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, p: Tensor, unit: Tensor, y: Tensor, factor: Tensor | None, exact: bool
    ) -> Tensor:
        # what y has beyond factor * p belongs to no input
        rest = None if exact else y - (p if factor is None else p * factor)
        ctx.save_for_backward(factor, rest)
        ctx.images = len(unit)
        return y.clone()

    @staticmethod
    def backward(ctx: Any, c: Tensor) -> tuple[Tensor | None, ...]:
        factor, rest = ctx.saved_tensors
        lost = None if rest is None else per_image(rest * c, ctx.images)
        return c if factor is None else c * factor, lost, None, None, None


def adjusted(
    p: Tensor, unit: Tensor, y: Tensor, factor: Tensor | None = None, *, exact: bool = False
) -> Tensor:
    """Gives ``y``, explained by ``p * factor``; the difference is absorbed (``exact``: there is none)."""
    return _run(_Adjusted, p, unit, y, factor, exact)


class _Constant(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, unit: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(value)
        ctx.images = len(unit)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, c: Tensor) -> tuple[Tensor | None, ...]:
        (value,) = ctx.saved_tensors
        # a zero contributes nothing, and the infinities of attention masks meet c == 0 alone
        share = torch.where((c == 0) | (value == 0), torch.zeros_like(c), value * c)
        return per_image(share, ctx.images), None


def constant(unit: Tensor, value: Tensor) -> Tensor:
    """A constant whose share of relevance is absorbed."""
    return _run(_Constant, unit, value)


class _Refused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, name: str) -> Tensor:
        ctx.name = name
        return y.clone()

    @staticmethod
    def backward(ctx: Any, c: Tensor) -> tuple[Tensor | None, ...]:
        raise InvalidInput(
            f"Relevance reached {ctx.name}(), which has no rule except as a factor (attention "
            "weights, gates, norms). If the network ends in a softmax, give the one without it: "
            "relevance starts from logits. Otherwise use gradcam, occlusion or "
            "integrated_gradients for this network."
        )


def refused(x: Tensor, y: Tensor, name: str) -> Tensor:
    """``y`` computed from ``x``, fit to be a constant factor and for nothing else."""
    return _run(_Refused, x, y, name)
