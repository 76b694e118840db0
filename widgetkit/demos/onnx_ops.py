"""ONNX operators of one value, of matrices, of shapes, and normalisation; all of them in ``OPS``.

See :mod:`.onnx_registry` for what an operator is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import widgetkit.demos.onnx_windows  # noqa: F401  (its operators are in OPS once it is loaded)
from widgetkit.demos.onnx_file import Node
from widgetkit.demos.onnx_registry import (
    OPS,
    Builder,
    Constants,
    attributes,
    constant,
    fill,
    operator,
    refuse,
)
from widgetkit.errors import InvalidInput

__all__ = ["OPS"]


# -- normalisation ---------------------------------------------------------------------------
def _scale_and_bias(node: Node, constants: Constants) -> tuple[np.ndarray, np.ndarray]:
    weight, bias = (constant(node, constants, at, "scale and bias") for at in (1, 2))
    if weight.ndim != 1 or weight.shape != bias.shape:
        raise refuse(node, f"scale {weight.shape} and bias {bias.shape} differ")
    return weight, bias


class InstanceNorm(nn.Module):
    """Each channel of each image brought to mean 0 and variance 1, then scaled."""

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return functional.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)


@operator("InstanceNormalization")
def _instance_norm(node: Node, constants: Constants) -> nn.Module:
    values = attributes(node, epsilon=1e-5)
    weight, bias = _scale_and_bias(node, constants)
    norm = InstanceNorm(len(weight), values["epsilon"])
    fill(norm, weight=weight, bias=bias)
    return norm


class GroupNorm(nn.GroupNorm):
    """Group normalisation that knows how many axes its input must have, where that matters."""

    axes = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.axes and x.ndim != self.axes:
            raise InvalidInput(
                f"A group normalisation of {self.axes} axes was given an input of {tuple(x.shape)}. Load "
                "the network with fuse=False."
            )
        return super().forward(x)


@operator("GroupNormalization")
def _group_norm(node: Node, constants: Constants) -> nn.Module:
    values = attributes(node, epsilon=1e-5, num_groups=1, stash_type=[1], axes=0)
    weight, bias = _scale_and_bias(node, constants)
    if values["num_groups"] < 1 or len(weight) % values["num_groups"]:
        raise refuse(node, f"{len(weight)} channels in {values['num_groups']} groups")
    norm = GroupNorm(values["num_groups"], len(weight), eps=values["epsilon"])
    norm.axes = values["axes"]
    fill(norm, weight=weight, bias=bias)
    return norm


@operator("BatchNormalization")
def _batch_norm(node: Node, constants: Constants) -> nn.Module:
    values = attributes(node, epsilon=1e-5, momentum=0.9, training_mode=[0])
    weight, bias = _scale_and_bias(node, constants)
    mean, variance = (constant(node, constants, at, "mean and variance") for at in (3, 4))
    if mean.shape != weight.shape or variance.shape != weight.shape:
        raise refuse(node, f"mean {mean.shape} and variance {variance.shape}")
    norm = BatchNorm(len(weight), eps=values["epsilon"])
    fill(norm, weight=weight, bias=bias, running_mean=mean, running_var=variance)
    return norm


class BatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation for inputs of any number of axes."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise InvalidInput(f"BatchNormalization was given an input of {input.ndim} axes.")


# -- one value at a time ---------------------------------------------------------------------
class Clip(nn.Module):
    """Between two bounds."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(self.low, self.high)


@operator("Clip")
def _clip(node: Node, constants: Constants) -> nn.Module:
    attributes(node)
    bounds = [float("-inf"), float("inf")]
    for at in (1, 2):
        if len(node.inputs) > at and node.inputs[at]:
            bounds[at - 1] = float(constant(node, constants, at, "bounds"))
    return nn.ReLU6() if bounds == [0.0, 6.0] else Clip(*bounds)


@operator("Mish")
def _mish(node: Node, constants: Constants) -> nn.Module:
    attributes(node)
    return nn.Mish()


@operator("Relu")
def _relu(node: Node, constants: Constants) -> nn.Module:
    attributes(node)
    return nn.ReLU()


@operator("LeakyRelu")
def _leaky_relu(node: Node, constants: Constants) -> nn.Module:
    return nn.LeakyReLU(attributes(node, alpha=0.01)["alpha"])


@operator("Sigmoid")
def _sigmoid(node: Node, constants: Constants) -> nn.Module:
    attributes(node)
    return nn.Sigmoid()


@operator("Softmax")
def _softmax(node: Node, constants: Constants) -> nn.Module:
    return nn.Softmax(dim=attributes(node, axis=-1)["axis"])


@operator("Identity")
def _identity(node: Node, constants: Constants) -> nn.Module:
    attributes(node)
    return nn.Identity()


class Arithmetic(nn.Module):
    """A sum, difference, product or quotient of two tensors, one of which may be a constant."""

    def __init__(
        self, function: Callable[[Tensor, Tensor], Tensor], constant: Tensor | None, at: int
    ) -> None:
        super().__init__()
        self.function, self.at = function, at
        self.constant: Tensor | None
        self.register_buffer("constant", constant)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        if y is None:
            assert self.constant is not None
            x, y = (x, self.constant) if self.at else (self.constant, x)
        return self.function(x, y)


def _arithmetic(function: Callable[[Tensor, Tensor], Tensor]) -> Builder:
    def build(node: Node, constants: Constants) -> nn.Module:
        attributes(node)
        if len(constants) > 1:
            raise refuse(node, "both its inputs are constant; fold them first")
        at, values = next(iter(constants.items()), (0, None))
        constant = None
        if values is not None:
            # copied: what was read from a file may not be written to
            constant = torch.from_numpy(np.array(values))
            constant = constant.float() if constant.is_floating_point() else constant
        return Arithmetic(function, constant, at)

    return build


OPS["Add"] = _arithmetic(torch.add)
OPS["Sub"] = _arithmetic(torch.sub)
OPS["Mul"] = _arithmetic(torch.mul)
OPS["Div"] = _arithmetic(torch.div)


# -- matrices --------------------------------------------------------------------------------
def _linear(weight: np.ndarray, bias: np.ndarray | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    fill(layer, weight=weight, bias=None if bias is None else np.broadcast_to(bias, len(weight)))
    return layer


@operator("Gemm")
def _gemm(node: Node, constants: Constants) -> nn.Module:
    values = attributes(node, alpha=1.0, beta=1.0, transA=[0], transB=[0, 1])
    weight = constant(node, constants, 1, "second matrix")
    if weight.ndim != 2:
        raise refuse(node, f"a matrix of shape {weight.shape}")
    weight = (weight if values["transB"] else weight.T) * values["alpha"]
    bias = None
    if len(node.inputs) > 2 and node.inputs[2]:
        bias = constant(node, constants, 2, "bias").reshape(-1) * values["beta"]
        if len(bias) not in (1, len(weight)):
            raise refuse(node, f"a bias of {len(bias)} values for {len(weight)} outputs")
    return _linear(weight, bias)


class Product(nn.Module):
    """The matrix product of two tensors."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.matmul(x, y)


@operator("MatMul")
def _matmul(node: Node, constants: Constants) -> nn.Module:
    attributes(node)
    if not constants:
        return Product()
    weight = constant(node, constants, 1, "second matrix, if one is,")
    if weight.ndim != 2 or len(constants) > 1:
        raise refuse(node, f"a constant matrix of shape {weight.shape}")
    return _linear(weight.T, None)


# -- shapes ----------------------------------------------------------------------------------
class Shape(nn.Module):
    """The lengths of the axes."""

    def __init__(self, start: int, end: int | None) -> None:
        super().__init__()
        self.start, self.end = start, end

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor(tuple(x.shape)[self.start : self.end], dtype=torch.int64)


@operator("Shape")
def _shape(node: Node, constants: Constants) -> nn.Module:
    values = attributes(node, start=0, end=None)
    return Shape(values["start"], values["end"])


class Reshape(nn.Module):
    """Other axes: 0 keeps the length of the axis in this place, -1 takes what is left."""

    def __init__(self, shape: list[int] | None) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor, shape: Tensor | None = None) -> Tensor:
        wanted = self.shape if shape is None else [int(side) for side in shape]
        assert wanted is not None
        return x.reshape([x.shape[i] if side == 0 else side for i, side in enumerate(wanted)])


@operator("Reshape")
def _reshape(node: Node, constants: Constants) -> nn.Module:
    attributes(node, allowzero=[0])
    given = constants.get(1)
    if given is not None and (given.ndim != 1 or given.dtype.kind != "i"):
        raise refuse(node, f"a shape of shape {given.shape}, {given.dtype}")
    return Reshape(None if given is None else [int(side) for side in given])


@operator("Flatten")
def _flatten(node: Node, constants: Constants) -> nn.Module:
    axis = attributes(node, axis=1)["axis"]
    if axis != 1:
        raise refuse(node, f"axis={axis}")
    return nn.Flatten()


class Transpose(nn.Module):
    """The axes in another order."""

    def __init__(self, order: tuple[int, ...] | None) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.order or tuple(reversed(range(x.ndim))))


@operator("Transpose")
def _transpose(node: Node, constants: Constants) -> nn.Module:
    return Transpose(attributes(node, perm=None)["perm"])


class Concat(nn.Module):
    """Tensors one after the other along an axis."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, *parts: Tensor) -> Tensor:
        return torch.cat(parts, dim=self.axis)


@operator("Concat")
def _concat(node: Node, constants: Constants) -> nn.Module:
    axis = attributes(node, axis=1)["axis"]
    if constants:
        raise refuse(node, "constant parts")
    return Concat(axis)
