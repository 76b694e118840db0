"""ONNX operators as torch modules: one builder an operator, found by its name in :data:`OPS`.

A builder gets the node and its constant inputs by position; the module it returns is called with
the inputs that are left, in order. What an operator can say and we cannot do is refused by name
when the network is built, so that a network that was built means what its file says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

from widgetkit.demos.onnx_file import Node
from widgetkit.errors import InvalidInput

Constants: TypeAlias = Mapping[int, np.ndarray]
Builder: TypeAlias = Callable[[Node, Constants], nn.Module]

OPS: dict[str, Builder] = {}


def operator(name: str) -> Callable[[Builder], Builder]:
    """Register the builder of an operator."""

    def add(build: Builder) -> Builder:
        OPS[name] = build
        return build

    return add


def refuse(node: Node, why: str) -> InvalidInput:
    return InvalidInput(f"Node {node.name!r} ({node.op}) cannot be run: {why}.")


def attributes(node: Node, **known: object) -> dict[str, Any]:
    """Attributes with their defaults. A list holds the only values allowed, the default first."""
    unknown = sorted(set(node.attributes) - set(known))
    if unknown:
        raise refuse(node, f"attribute {unknown[0]!r} is not known")
    values: dict[str, Any] = {}
    for name, default in known.items():
        allowed = default if isinstance(default, list) else None
        values[name] = node.attributes.get(name, allowed[0] if allowed else default)
        if allowed and values[name] not in allowed:
            raise refuse(node, f"{name}={values[name]!r}")
    return values


def constant(node: Node, constants: Constants, position: int, what: str) -> np.ndarray:
    if position not in constants:
        raise refuse(node, f"its {what} must be constant")
    return constants[position]


def fill(module: nn.Module, **values: np.ndarray | None) -> None:
    """Put values into parameters and buffers; copied, as what was read from a file is read only."""
    with torch.no_grad():
        for name, value in values.items():
            if value is not None:
                getattr(module, name).copy_(torch.from_numpy(np.array(value, np.float32)))
