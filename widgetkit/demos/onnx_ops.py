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
from torch import Tensor, nn
from torch.nn import functional

from widgetkit.demos.onnx_file import Node
from widgetkit.errors import InvalidInput

Constants: TypeAlias = Mapping[int, np.ndarray]
Builder: TypeAlias = Callable[[Node, Constants], nn.Module]

OPS: dict[str, Builder] = {}

CONVS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
MAX_POOLS: dict[int, Any] = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
LINEAR = {3: "linear", 4: "bilinear", 5: "trilinear"}


def operator(name: str) -> Callable[[Builder], Builder]:
    """Register the builder of an operator."""

    def add(build: Builder) -> Builder:
        OPS[name] = build
        return build

    return add


def refuse(node: Node, why: str) -> InvalidInput:
    return InvalidInput(f"Node {node.name!r} ({node.op}) cannot be run: {why}.")


def _attributes(node: Node, **known: object) -> dict[str, Any]:
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


def _constant(node: Node, constants: Constants, position: int, what: str) -> np.ndarray:
    if position not in constants:
        raise refuse(node, f"its {what} must be constant")
    return constants[position]


def _fill(module: nn.Module, **values: np.ndarray | None) -> None:
    """Put values into parameters and buffers; copied, as what was read from a file is read only."""
    with torch.no_grad():
        for name, value in values.items():
            if value is not None:
                getattr(module, name).copy_(torch.from_numpy(np.array(value, np.float32)))


# -- windows: convolution and pooling --------------------------------------------------------
class Padded(nn.Module):
    """A window over an input padded differently before and after, or as TensorFlow's "SAME"."""

    def __init__(
        self, window: nn.Module, pads: tuple[int, ...] | str, span: list[int], stride: list[int],
        value: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.window = window
        self.pads, self.span, self.stride, self.value = pads, span, stride, value

    def forward(self, x: Tensor) -> Tensor:
        axes = len(self.span)
        pads: list[int] = []
        for axis in reversed(range(axes)):  # torch wants the last axis first
            if isinstance(self.pads, str):
                length = x.shape[2 + axis]
                steps = -(-length // self.stride[axis])
                total = max((steps - 1) * self.stride[axis] + self.span[axis] - length, 0)
                less, more = total // 2, total - total // 2
                pads += [less, more] if self.pads == "SAME_UPPER" else [more, less]
            else:
                pads += [self.pads[axis], self.pads[axes + axis]]
        out: Tensor = self.window(functional.pad(x, pads, value=self.value))
        return out


def _windowed(
    node: Node,
    values: dict[str, Any],
    kernel: tuple[int, ...],
    make: Callable[[tuple[int, ...], tuple[int, ...], tuple[int, ...]], nn.Module],
    value: float,
    most: tuple[int, ...] | None = None,
) -> nn.Module:
    """``make(stride, padding, dilation)``, wrapped where torch's own padding cannot say it.

    ``most`` is the widest padding that torch's window takes.
    """
    axes = len(kernel)
    stride = values["strides"] or (1,) * axes
    dilation = values.get("dilations") or (1,) * axes
    pads = values["pads"] or (0,) * (2 * axes)
    if axes not in CONVS or (len(stride), len(dilation), len(pads)) != (axes, axes, 2 * axes):
        raise refuse(node, f"windows of {kernel} with strides {stride} and pads {pads}")
    if min((*kernel, *stride, *dilation)) < 1 or min(pads) < 0:
        raise refuse(node, f"strides={stride}, dilations={dilation}, pads={pads}")
    same = str(values["auto_pad"]).startswith("SAME")
    if values["auto_pad"] == "VALID":
        pads = (0,) * (2 * axes)
    before, after = pads[:axes], pads[axes:]
    fits = most is None or all(pad <= limit for pad, limit in zip(before, most, strict=True))
    if before == after and fits and not same:
        return make(stride, before, dilation)
    span = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    window = make(stride, (0,) * axes, dilation)
    return Padded(window, values["auto_pad"] if same else pads, span, list(stride), value)


AUTO_PAD = ["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]


@operator("Conv")
def _conv(node: Node, constants: Constants) -> nn.Module:
    values = _attributes(
        node, kernel_shape=None, strides=None, pads=None, dilations=None, group=1, auto_pad=AUTO_PAD
    )
    weight = _constant(node, constants, 1, "weight")
    bias = (
        _constant(node, constants, 2, "bias") if len(node.inputs) > 2 and node.inputs[2] else None
    )
    kernel, group = tuple(weight.shape[2:]), values["group"]
    said = values["kernel_shape"]
    if (said is not None and tuple(said) != kernel) or group < 1 or len(weight) % group:
        raise refuse(node, f"a weight of {weight.shape} in {group} groups, kernel_shape={said}")
    if bias is not None and bias.shape != (len(weight),):
        raise refuse(node, f"a bias of {bias.shape} for {len(weight)} channels")

    def make(
        stride: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...]
    ) -> nn.Module:
        conv: nn.Module = CONVS[len(kernel)](
            weight.shape[1] * group, len(weight), kernel, stride, padding, dilation, group,
            bias=bias is not None,
        )  # fmt: skip
        _fill(conv, weight=weight, bias=bias)
        return conv

    return _windowed(node, values, kernel, make, 0.0)


@operator("MaxPool")
def _max_pool(node: Node, constants: Constants) -> nn.Module:
    values = _attributes(
        node, kernel_shape=(), strides=None, pads=None, dilations=None, auto_pad=AUTO_PAD,
        ceil_mode=[0], storage_order=[0],
    )  # fmt: skip
    kernel = tuple(values["kernel_shape"])

    def make(
        stride: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...]
    ) -> nn.Module:
        pool: nn.Module = MAX_POOLS[len(kernel)](kernel, stride, padding, dilation)
        return pool

    return _windowed(
        node, values, kernel, make, float("-inf"), most=tuple(side // 2 for side in kernel)
    )


class AveragePool(nn.Module):
    """Mean over a window; padding counts as zeros, or not at all."""

    def __init__(self, pool: nn.Module, count_padding: bool) -> None:
        super().__init__()
        self.pool, self.count_padding = pool, count_padding

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.pool(x)
        return total if self.count_padding else total / self.pool(torch.ones_like(x))


@operator("AveragePool")
def _average_pool(node: Node, constants: Constants) -> nn.Module:
    values = _attributes(
        node, kernel_shape=(), strides=None, pads=None, dilations=None, auto_pad=AUTO_PAD,
        ceil_mode=[0], count_include_pad=[0, 1],
    )  # fmt: skip
    kernel = tuple(values["kernel_shape"])
    if any(step != 1 for step in values["dilations"] or ()):
        raise refuse(node, "dilated averages")
    pools: dict[int, Any] = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}

    def make(
        stride: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...]
    ) -> nn.Module:
        pool: nn.Module = pools[len(kernel)](kernel, stride)
        return pool

    plain = not any(values["pads"] or ()) and not values["auto_pad"].startswith("SAME")
    pool = _windowed(node, values, kernel, make, 0.0, most=(0,) * len(kernel))
    return pool if plain else AveragePool(pool, bool(values["count_include_pad"]))


class GlobalAveragePool(nn.Module):
    """Mean over all positions; their axes stay, with length 1."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)


@operator("GlobalAveragePool")
def _global_average_pool(node: Node, constants: Constants) -> nn.Module:
    _attributes(node)
    return GlobalAveragePool()


class Resize(nn.Module):
    """Enlarge or shrink by factors, as ``interpolate`` does."""

    def __init__(self, scales: list[float], linear: bool, mode: str, corners: bool) -> None:
        super().__init__()
        self.scales, self.linear, self.mode, self.corners = scales, linear, mode, corners

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != len(self.scales) + 2:
            raise InvalidInput(
                f"Resize by {self.scales} was given an input of shape {tuple(x.shape)}."
            )
        mode = LINEAR[x.ndim] if self.linear else self.mode
        return functional.interpolate(
            x,
            scale_factor=self.scales,
            mode=mode,
            align_corners=self.corners if self.linear else None,
            recompute_scale_factor=False,
        )


@operator("Resize")
def _resize(node: Node, constants: Constants) -> nn.Module:
    values = _attributes(
        node, mode=["nearest", "linear"], nearest_mode="round_prefer_floor",
        coordinate_transformation_mode="half_pixel", antialias=[0], cubic_coeff_a=-0.75,
        exclude_outside=[0], extrapolation_value=0.0, keep_aspect_ratio_policy=["stretch"],
    )  # fmt: skip
    if len(node.inputs) > 3 and node.inputs[3]:
        raise refuse(node, "it is told a size; only factors are read")
    scales = [float(value) for value in _constant(node, constants, 2, "factor of each axis")]
    if not 3 <= len(scales) <= 5 or scales[:2] != [1.0, 1.0] or min(scales) <= 0:
        raise refuse(node, f"factors {scales}; batch and channels must keep theirs")
    where, rounding = values["coordinate_transformation_mode"], values["nearest_mode"]
    if values["mode"] == "linear" and where in ("half_pixel", "align_corners"):
        return Resize(scales[2:], True, "", where == "align_corners")
    modes = {
        ("asymmetric", "floor"): "nearest",
        ("half_pixel", "round_prefer_ceil"): "nearest-exact",
    }
    if values["mode"] == "nearest" and (where, rounding) in modes:
        return Resize(scales[2:], False, modes[where, rounding], False)
    raise refuse(node, f"mode={values['mode']} with {where} and {rounding}")


# -- normalisation ---------------------------------------------------------------------------
def _scale_and_bias(node: Node, constants: Constants) -> tuple[np.ndarray, np.ndarray]:
    weight, bias = (_constant(node, constants, at, "scale and bias") for at in (1, 2))
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
    values = _attributes(node, epsilon=1e-5)
    weight, bias = _scale_and_bias(node, constants)
    norm = InstanceNorm(len(weight), values["epsilon"])
    _fill(norm, weight=weight, bias=bias)
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
    values = _attributes(node, epsilon=1e-5, num_groups=1, stash_type=[1], axes=0)
    weight, bias = _scale_and_bias(node, constants)
    if values["num_groups"] < 1 or len(weight) % values["num_groups"]:
        raise refuse(node, f"{len(weight)} channels in {values['num_groups']} groups")
    norm = GroupNorm(values["num_groups"], len(weight), eps=values["epsilon"])
    norm.axes = values["axes"]
    _fill(norm, weight=weight, bias=bias)
    return norm


@operator("BatchNormalization")
def _batch_norm(node: Node, constants: Constants) -> nn.Module:
    values = _attributes(node, epsilon=1e-5, momentum=0.9, training_mode=[0])
    weight, bias = _scale_and_bias(node, constants)
    mean, variance = (_constant(node, constants, at, "mean and variance") for at in (3, 4))
    if mean.shape != weight.shape or variance.shape != weight.shape:
        raise refuse(node, f"mean {mean.shape} and variance {variance.shape}")
    norm = BatchNorm(len(weight), eps=values["epsilon"])
    _fill(norm, weight=weight, bias=bias, running_mean=mean, running_var=variance)
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
    _attributes(node)
    bounds = [float("-inf"), float("inf")]
    for at in (1, 2):
        if len(node.inputs) > at and node.inputs[at]:
            bounds[at - 1] = float(_constant(node, constants, at, "bounds"))
    return nn.ReLU6() if bounds == [0.0, 6.0] else Clip(*bounds)


@operator("Mish")
def _mish(node: Node, constants: Constants) -> nn.Module:
    _attributes(node)
    return nn.Mish()


@operator("Relu")
def _relu(node: Node, constants: Constants) -> nn.Module:
    _attributes(node)
    return nn.ReLU()


@operator("LeakyRelu")
def _leaky_relu(node: Node, constants: Constants) -> nn.Module:
    return nn.LeakyReLU(_attributes(node, alpha=0.01)["alpha"])


@operator("Sigmoid")
def _sigmoid(node: Node, constants: Constants) -> nn.Module:
    _attributes(node)
    return nn.Sigmoid()


@operator("Softmax")
def _softmax(node: Node, constants: Constants) -> nn.Module:
    return nn.Softmax(dim=_attributes(node, axis=-1)["axis"])


@operator("Identity")
def _identity(node: Node, constants: Constants) -> nn.Module:
    _attributes(node)
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
        _attributes(node)
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
    _fill(layer, weight=weight, bias=None if bias is None else np.broadcast_to(bias, len(weight)))
    return layer


@operator("Gemm")
def _gemm(node: Node, constants: Constants) -> nn.Module:
    values = _attributes(node, alpha=1.0, beta=1.0, transA=[0], transB=[0, 1])
    weight = _constant(node, constants, 1, "second matrix")
    if weight.ndim != 2:
        raise refuse(node, f"a matrix of shape {weight.shape}")
    weight = (weight if values["transB"] else weight.T) * values["alpha"]
    bias = None
    if len(node.inputs) > 2 and node.inputs[2]:
        bias = _constant(node, constants, 2, "bias").reshape(-1) * values["beta"]
        if len(bias) not in (1, len(weight)):
            raise refuse(node, f"a bias of {len(bias)} values for {len(weight)} outputs")
    return _linear(weight, bias)


class Product(nn.Module):
    """The matrix product of two tensors."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.matmul(x, y)


@operator("MatMul")
def _matmul(node: Node, constants: Constants) -> nn.Module:
    _attributes(node)
    if not constants:
        return Product()
    weight = _constant(node, constants, 1, "second matrix, if one is,")
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
    values = _attributes(node, start=0, end=None)
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
    _attributes(node, allowzero=[0])
    given = constants.get(1)
    if given is not None and (given.ndim != 1 or given.dtype.kind != "i"):
        raise refuse(node, f"a shape of shape {given.shape}, {given.dtype}")
    return Reshape(None if given is None else [int(side) for side in given])


@operator("Flatten")
def _flatten(node: Node, constants: Constants) -> nn.Module:
    axis = _attributes(node, axis=1)["axis"]
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
    return Transpose(_attributes(node, perm=None)["perm"])


class Concat(nn.Module):
    """Tensors one after the other along an axis."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, *parts: Tensor) -> Tensor:
        return torch.cat(parts, dim=self.axis)


@operator("Concat")
def _concat(node: Node, constants: Constants) -> nn.Module:
    axis = _attributes(node, axis=1)["axis"]
    if constants:
        raise refuse(node, "constant parts")
    return Concat(axis)
