"""Relevance the slow way: contributions ``z[j, i]`` one by one, and each rule by its definition."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from widgetkit.extraction.relevance_functions import RULES
from widgetkit.extraction.relevance_mode import Propagation
from widgetkit.extraction.relevance_rules import Rules

Array = np.ndarray
Step = Callable[[torch.Tensor], torch.Tensor]


def rules(rule: str = "epsilon", epsilon: float = 1e-9, gamma: float = 0.25) -> Rules:
    return Rules.named(rule, epsilon=epsilon, gamma=gamma)


def share(
    step: Step, x: torch.Tensor, relevance: Array | None = None, given: Rules | None = None
) -> tuple[Array, Array, Array]:
    """Relevance at ``x``, absorbed for each image, and relevance at the output of ``step``.

    ``relevance`` at the output: as given, or that of a coefficient drawn from a seed.
    """
    leaf = x.detach().double().clone().requires_grad_(True)
    unit = torch.zeros(len(x), dtype=torch.float64, requires_grad=True)
    mode = Propagation(nn.Module(), unit, given or rules(), RULES, torch.float64)
    start = mode.start(leaf)
    with mode:
        y = step(start)
    if relevance is None:
        c = torch.randn(y.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    else:
        c = torch.as_tensor(relevance) / y.detach()
    back, lost = torch.autograd.grad(y, [leaf, unit], c, allow_unused=True)
    back = torch.zeros_like(leaf) if back is None else back
    lost = torch.zeros_like(unit) if lost is None else lost
    return (leaf.detach() * back).numpy(), lost.numpy(), (y.detach() * c).numpy()


def matrix(linear: Step, shape: tuple[int, ...]) -> Array:
    """The matrix ``(outputs, inputs)`` of a map without bias, one input after another."""
    columns = []
    for i in range(int(np.prod(shape))):
        one = torch.zeros(shape, dtype=torch.float64)
        one.view(-1)[i] = 1
        with torch.no_grad():
            columns.append(linear(one[None]).numpy().ravel())
    return np.stack(columns, 1)


def by_definition(
    rule: str, x: Array, weights: Array, bias: Array, relevance: Array, epsilon: float, gamma: float
) -> Array:
    """``R_i = sum_j z_ij / (sum_k z_kj + epsilon) R_j``, with ``z`` as the rule says."""
    outputs, inputs = weights.shape
    result = np.zeros(inputs)
    for j in range(outputs):
        z = [x[i] * weights[j, i] for i in range(inputs)]
        b = bias[j]
        y = sum(z) + b
        if rule == "zplus":
            z = [max(v, 0.0) for v in z]
            b = 0.0
        elif rule == "gamma" and y >= 0:
            z = [v + gamma * max(v, 0.0) for v in z]
            b = b + gamma * max(b, 0.0)
        elif rule == "gamma":
            z = [v + gamma * min(v, 0.0) for v in z]
            b = b + gamma * min(b, 0.0)
        total = sum(z) + b
        if rule == "zplus" and sum(z) == 0:
            continue  # nobody contributed
        total += epsilon if total >= 0 else -epsilon
        for i in range(inputs):
            result[i] += z[i] / total * relevance[j]
    return result
