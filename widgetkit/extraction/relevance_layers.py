"""Rules of layers with weights and of norms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch.nn import functional

from widgetkit.errors import InvalidInput
from widgetkit.extraction._torch import torch
from widgetkit.extraction.relevance_mode import Propagation, unknown
from widgetkit.extraction.relevance_rules import Affine, Tensor, adjusted


def dense(
    mode: Propagation, x: Tensor, weight: Tensor, op: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    return mode.weighted(x, Affine(op, weight, None, "dense"), lambda: op(x.detach(), weight))


def linear_layer(
    mode: Propagation, func: Any, /, x: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    _constant_weights(mode, func, x, weight, bias)
    layer = Affine(
        lambda x, w: func(x, w),
        weight,
        bias,
        "dense",
        # a batch norm behind it works on axis 1, which is the features' only here
        (lambda w, factor: w * factor[:, None]) if x.ndim == 2 else None,
    )
    return mode.weighted(x, layer, lambda: func(x.detach(), weight, bias))


def convolution(
    mode: Propagation,
    func: Any,
    /,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *args: Any,
    **kwargs: Any,
) -> Tensor:
    """Convolutions and transposed ones, in any number of dimensions."""
    _constant_weights(mode, func, input, weight, bias)
    transposed = "transpose" in func.__name__
    groups = int(kwargs.get("groups", args[3] if len(args) > 3 else 1))

    def scale(w: Tensor, factor: Tensor) -> Tensor:
        if not transposed:
            return w * factor.view(-1, *(1,) * (w.ndim - 1))
        grouped = w.view(groups, -1, *w.shape[1:])  # (g, in / g, out / g, *kernel)
        factors = factor.view(groups, 1, -1, *(1,) * (w.ndim - 2))
        return (grouped * factors).view_as(w)

    layer = Affine(
        lambda x, w: func(x, w, None, *args, **kwargs),
        weight,
        None if bias is None else bias.view(-1, *(1,) * (weight.ndim - 2)),
        "conv",
        scale if input.ndim == weight.ndim else None,
    )
    return mode.weighted(input, layer, lambda: func(input.detach(), weight, bias, *args, **kwargs))


def batch_norm(mode: Propagation, func: Any, /, *args: Any, **kwargs: Any) -> Tensor:
    """One layer with the convolution or dense layer in front of it; else a scale and a constant."""
    if func is not functional.batch_norm:  # torch.batch_norm has its arguments in another order
        raise unknown(func, "called directly; torch.nn.functional.batch_norm is covered")
    return _batch_norm(mode, func, *args, **kwargs)


def _batch_norm(
    mode: Propagation,
    func: Any,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    _constant_weights(mode, func, input, running_mean, running_var, weight, bias)
    if training or running_mean is None or running_var is None:
        raise InvalidInput(
            "A batch norm of this network uses the statistics of the batch even in evaluation mode "
            "(track_running_stats=False): an image's relevance would depend on the other images."
        )
    factor = (running_var + eps).rsqrt()
    factor = factor if weight is None else factor * weight
    shift = -running_mean * factor
    shift = shift if bias is None else shift + bias

    def value() -> Tensor:
        return functional.batch_norm(  # its own values, to the bit
            input.detach(), running_mean, running_var, weight, bias, False, momentum, eps
        )

    behind = mode.layer_behind(input)
    if behind is not None:
        layer = behind[0].folded(factor, shift, input.ndim)
        if layer is not None:
            return mode.weighted(behind[1], layer, value)
    shape = (1, -1, *(1,) * (input.ndim - 2))
    return adjusted(input * factor.view(shape), mode.unit, value())


# -- norms of each image: the spread is a constant, the mean is not ------------------------------
def layer_norm(
    mode: Propagation,
    func: Any,
    /,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    _constant_weights(mode, func, input, weight, bias)
    axes = tuple(range(-len(tuple(normalized_shape)), 0))
    y = func(input.detach(), normalized_shape, weight, bias, eps)
    return adjusted(_centred(input, axes, eps, weight), mode.unit, y)


def group_norm(
    mode: Propagation,
    func: Any,
    /,
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    _constant_weights(mode, func, input, weight, bias)
    y = func(input.detach(), num_groups, weight, bias, eps)
    groups = input.reshape(input.shape[0], num_groups, -1)
    p = _centred(groups, (-1,), eps, None).reshape(input.shape)
    shape = (1, -1, *(1,) * (input.ndim - 2))
    return adjusted(p if weight is None else p * weight.view(shape), mode.unit, y)


def instance_norm(
    mode: Propagation,
    func: Any,
    /,
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not use_input_stats:
        stats = (running_mean, running_var, weight, bias, False, momentum, eps)
        return batch_norm(mode, functional.batch_norm, input, *stats)
    _constant_weights(mode, func, input, weight, bias)
    y = func(input.detach(), None, None, weight, bias, True, momentum, eps)
    p = _centred(input, tuple(range(2, input.ndim)), eps, None)
    shape = (1, -1, *(1,) * (input.ndim - 2))
    return adjusted(p if weight is None else p * weight.view(shape), mode.unit, y)


def rms_norm(
    mode: Propagation,
    func: Any,
    /,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    _constant_weights(mode, func, input, weight)
    y = func(input.detach(), normalized_shape, weight, eps)
    axes = tuple(range(-len(tuple(normalized_shape)), 0))
    floor = torch.finfo(input.dtype).eps if eps is None else eps
    scale = (input.detach().square().mean(axes, keepdim=True) + floor).rsqrt()
    return adjusted(input * scale if weight is None else input * scale * weight, mode.unit, y)


def _centred(x: Tensor, axes: tuple[int, ...], eps: float, weight: Tensor | None) -> Tensor:
    scale = (x.detach().var(axes, unbiased=False, keepdim=True) + eps).rsqrt()
    centred = (x - x.mean(axes, keepdim=True)) * scale
    return centred if weight is None else centred * weight


def _constant_weights(mode: Propagation, func: Any, /, x: Any, *weights: Any) -> None:
    if not mode.is_signal(x) or any(mode.is_signal(w) for w in weights):
        raise unknown(func, "with weights computed from the images")
