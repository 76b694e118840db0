"""The linear classifier behind a layer, where there is one."""

from __future__ import annotations

from typing import Any

import numpy as np

from widgetkit.extraction._torch import nn, torch
from widgetkit.extraction.arrange import Arrangement, Layouts
from widgetkit.extraction.capture import (
    evaluation,
    hooked,
    layer_tensor,
    probe,
    tensor_of,
    unwrap,
)
from widgetkit.extraction.layer_table import arrangement_of, resolve

Head = tuple[np.ndarray, np.ndarray]
# float32 sums of a few thousand terms differ by about 1e-6 of their size with their order.
TOLERANCE = 1e-4


def linear_head(
    model: nn.Module, layer: str, images: torch.Tensor, *, layout: Layouts = None
) -> Head | None:
    """Weights and bias of the classifier, if it is one linear layer on the mean of ``layer``.

    With it, the class activation map of the original paper is exact: the logit of class ``k`` is
    the mean over positions of ``weight[k] @ activation + bias[k]``.

    Parameters
    ----------
    model : nn.Module
    layer : str
    images : tensor, (m, channels, *grid)
        What the claim is checked on, preprocessed. More, and more varied, images check more.
    layout : optional
        See :class:`~widgetkit.extraction.Layout`.

    Returns
    -------
    (weight (n_classes, C), bias (n_classes,)) float32, or None
        None where anything else happens on the way: the logits of ``images`` are computed from the
        pooled layer and compared with the model's own.

    References
    ----------
    Zhou et al. (2016), Learning deep features for discriminative localization.
    """
    model = unwrap(model)
    (layer,) = resolve(model, layer)
    ran = probe(model, images[:2])
    return head_behind(model, layer, arrangement_of(model, layer, ran, layout), images)


def head_behind(
    model: nn.Module, layer: str, arrangement: Arrangement, images: torch.Tensor
) -> Head | None:
    """:func:`linear_head` with the arrangement known."""
    candidates = {
        name: module
        for name, module in model.named_modules()
        if _is_linear(module, arrangement.channels)
    }
    pooled: list[torch.Tensor] = []
    ran: set[str] = set()

    def watch(name: str, output: Any) -> None:
        if name == layer:
            values = arrangement.apply(layer_tensor(name, output), len(images), layer=name)
            pooled[:] = [values.double().flatten(2).mean(2) if values.ndim > 2 else values.double()]
        if name in candidates:
            ran.add(name)

    names = list({layer: None, **candidates})
    with evaluation(model), torch.inference_mode(), hooked(model, names, watch):
        logits = tensor_of(model(images))
    if logits is None or not pooled or logits.shape[0] != len(images):
        return None
    expected = logits.double().flatten(1)
    for name in ran:
        weight, bias = _weights(candidates[name])
        if weight.shape[0] != expected.shape[1]:
            continue
        computed = pooled[0] @ weight.T + bias
        limit = TOLERANCE * max(1e-3, float(expected.abs().max()))
        if bool(((computed - expected).abs() <= limit).all()):
            return weight.float().cpu().numpy(), bias.float().cpu().numpy()
    return None


def _is_linear(module: nn.Module, channels: int) -> bool:
    if isinstance(module, nn.Linear):
        return module.in_features == channels
    return (
        isinstance(module, nn.Conv2d | nn.Conv3d)  # on a map of one position it is a linear layer
        and module.in_channels == channels
        and module.groups == 1
        and set(module.kernel_size) == {1}
    )


def _weights(module: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    weight, bias = module.weight, module.bias
    assert isinstance(weight, torch.Tensor)
    flat = weight.detach().double().flatten(1)
    if not isinstance(bias, torch.Tensor):
        return flat, flat.new_zeros(flat.shape[0])
    return flat, bias.detach().double()
