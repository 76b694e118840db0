"""ONNX operators that move a window: convolution, pooling, resizing. See :mod:`.onnx_registry`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from widgetkit.demos.onnx_file import Node
from widgetkit.demos.onnx_registry import (
    Constants,
    attributes,
    constant,
    fill,
    operator,
    refuse,
)
from widgetkit.errors import InvalidInput

CONVS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
MAX_POOLS: dict[int, Any] = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
LINEAR = {3: "linear", 4: "bilinear", 5: "trilinear"}


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
    values = attributes(
        node, kernel_shape=None, strides=None, pads=None, dilations=None, group=1, auto_pad=AUTO_PAD
    )
    weight = constant(node, constants, 1, "weight")
    bias = constant(node, constants, 2, "bias") if len(node.inputs) > 2 and node.inputs[2] else None
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
        fill(conv, weight=weight, bias=bias)
        return conv

    return _windowed(node, values, kernel, make, 0.0)


@operator("MaxPool")
def _max_pool(node: Node, constants: Constants) -> nn.Module:
    values = attributes(
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
    values = attributes(
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
    attributes(node)
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
    values = attributes(
        node, mode=["nearest", "linear"], nearest_mode="round_prefer_floor",
        coordinate_transformation_mode="half_pixel", antialias=[0], cubic_coeff_a=-0.75,
        exclude_outside=[0], extrapolation_value=0.0, keep_aspect_ratio_policy=["stretch"],
    )  # fmt: skip
    if len(node.inputs) > 3 and node.inputs[3]:
        raise refuse(node, "it is told a size; only factors are read")
    scales = [float(value) for value in constant(node, constants, 2, "factor of each axis")]
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
