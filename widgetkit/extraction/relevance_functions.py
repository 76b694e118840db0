"""What relevance does in each torch function: the table that :class:`Propagation` looks things up in.

Functions that rearrange, add, average or choose are left to ordinary back-propagation, which shares
``R = x * c`` exactly. The others have a rule here; what is not in the table is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

from widgetkit.extraction._torch import torch
from widgetkit.extraction.relevance_layers import (
    batch_norm,
    convolution,
    dense,
    group_norm,
    instance_norm,
    layer_norm,
    linear_layer,
    rms_norm,
)
from widgetkit.extraction.relevance_mode import Propagation, Rule, unknown
from widgetkit.extraction.relevance_rules import (
    ImagesMixed,
    Tensor,
    adjusted,
    refused,
)

# Linear in their one signal, and nothing else adds to what they give.
_LINEAR = (
    "reshape", "view", "view_as", "reshape_as", "flatten", "unflatten", "ravel", "permute",
    "transpose", "t", "swapaxes", "swapdims", "movedim", "moveaxis", "adjoint", "contiguous",
    "clone", "squeeze", "unsqueeze", "expand", "expand_as", "broadcast_to", "repeat", "tile",
    "repeat_interleave", "chunk", "tensor_split", "split", "split_with_sizes", "hsplit",
    "vsplit", "dsplit", "unbind", "narrow", "select", "getitem", "index_select", "gather",
    "take", "take_along_dim", "masked_select", "diagonal", "diag", "tril", "triu", "roll",
    "flip", "fliplr", "flipud", "rot90", "sum", "mean", "neg", "positive", "cumsum", "diff",
    "trace", "unfold", "fold", "im2col", "col2im", "pixel_shuffle", "pixel_unshuffle",
    "channel_shuffle", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "max_pool1d",
    "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "adaptive_max_pool3d", "max_pool1d_with_indices", "max_pool2d_with_indices",
    "max_pool3d_with_indices", "amax", "amin", "topk", "sort", "msort", "kthvalue", "median",
    "interpolate", "zero",
)  # fmt: skip

# y = f(x), each value on its own: relevance passes to x unchanged, but for what f(0) gives.
_ELEMENTWISE = (
    "relu", "relu6", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "hardtanh",
    "hardswish", "leaky_relu", "prelu", "rrelu", "tanh", "log_sigmoid", "softsign", "tanhshrink",
    "hardshrink", "softshrink", "threshold", "clamp", "clamp_min", "clamp_max", "abs", "square",
)  # fmt: skip

# Fit to be a factor only: a gradient that reaches them is refused with their name.
_FACTORS = (
    "softmax", "softmin", "log_softmax", "exp", "exp2", "expm1", "log",
    "log2", "log10", "log1p", "logsumexp", "sqrt", "rsqrt", "reciprocal", "var", "std", "norm",
    "vector_norm", "linalg_vector_norm", "linalg_norm", "sin", "cos", "rdiv",
    "rpow", "erf",
)  # fmt: skip


def linear(mode: Propagation, func: Any, /, *args: Any, **kwargs: Any) -> Any:
    """As autograd does it."""
    return func(*args, **kwargs)


def additive(mode: Propagation, func: Any, /, *args: Any, **kwargs: Any) -> Any:
    """Linear in several terms; those that are constants absorb their share."""
    shape = _common_shape(*(a.shape for a in args if isinstance(a, torch.Tensor)))
    return func(*(_as_signal(mode, a, shape) for a in args), **kwargs)


def joined(
    mode: Propagation, func: Any, /, tensors: Sequence[Tensor], *args: Any, **kw: Any
) -> Any:
    """Concatenation; constant pieces (class tokens) absorb their share."""
    return func([_as_signal(mode, t, t.shape) for t in tensors], *args, **kw)


def assigned(mode: Propagation, func: Any, /, target: Tensor, index: Any, value: Any) -> Any:
    """``target[index] = value`` on a copy of the target."""
    whole = _as_signal(mode, target, target.shape)
    func(whole, index, _as_signal(mode, value, whole[index].shape))
    return whole


def copied(mode: Propagation, func: Any, /, target: Tensor, source: Tensor, *_: Any) -> Any:
    """``target.copy_(source)``."""
    return _as_signal(mode, source, source.shape).expand_as(target).clone()


def where(mode: Propagation, func: Any, /, condition: Tensor, *args: Any, **kw: Any) -> Any:
    """A choice between two; the condition, a mask, is a constant."""
    if condition.dtype != torch.bool and args:  # the method: x.where(condition, other)
        condition, args, func = args[0], (condition, *args[1:]), torch.where
    if len(args) != 2 or kw:
        raise unknown(func, "in this form")
    shape = _common_shape(condition.shape, *(a.shape for a in args if isinstance(a, torch.Tensor)))
    return func(condition, *(_as_signal(mode, a, shape) for a in args))


def extremes(mode: Propagation, func: Any, /, x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """``max`` and ``min``: over an axis, the winner takes all; or of two tensors."""
    if args and isinstance(args[0], torch.Tensor):
        return additive(mode, func, x, *args, **kwargs)
    return func(x, *args, **kwargs)


def dropout(
    mode: Propagation, func: Any, /, input: Tensor, p: float = 0.5, training: bool = True, **_: Any
) -> Any:
    """Nothing in evaluation; where the network insists on it, what was dropped is a constant."""
    return func(input, p, training) if training else input


def masked_fill(mode: Propagation, func: Any, /, x: Tensor, mask: Tensor, value: Any) -> Any:
    if not mode.is_signal(x) or mode.is_signal(value):
        raise unknown(func, "with a value computed from the images")
    y = func(x.detach().clone(), mask, value)
    return adjusted(x.masked_fill(mask, 0), mode.unit, y)


def pad(mode: Propagation, func: Any, /, x: Tensor, by: Any, *args: Any, **kwargs: Any) -> Any:
    how = args[0] if args else kwargs.get("mode", "constant")
    value = args[1] if len(args) > 1 else kwargs.get("value")
    if how != "constant" or not value:
        return func(x, by, *args, **kwargs)
    return adjusted(func(x, by), mode.unit, func(x.detach(), by, *args, **kwargs))


def cast(mode: Propagation, func: Any, /, x: Any, *args: Any, **kwargs: Any) -> Any:
    """``to`` and its like: a signal keeps the dtype of the propagation."""
    if not mode.is_signal(x):  # such as mask.type_as(x)
        return func(x, *args, **kwargs)
    plain = x.detach()
    found = func(plain, *args, **kwargs)
    if not isinstance(found, torch.Tensor) or not found.is_floating_point():
        return found  # an integer or mask tells about x, and does not pass it on
    if found is plain or (found.dtype != x.dtype and found.device == x.device):
        return x
    return x.to(found.device)


# -- activations ---------------------------------------------------------------------------
def elementwise(mode: Propagation, func: Any, /, x: Any, *args: Any, **kwargs: Any) -> Tensor:
    """Relevance passes through; what the function gives at zero is a constant.

    ``y = f(0) + x g(x)``, with ``g`` taken as a factor; at ``x = 0`` it is the derivative there.
    """
    others = (*args, *kwargs.values())
    if not mode.is_signal(x) or any(mode.is_signal(a) for a in others):
        raise unknown(func, "with parameters computed from the images")
    value = x.detach()
    y = func(value.clone(), *args, **kwargs)
    whole = any(isinstance(a, torch.Tensor) for a in others)
    zero = torch.zeros_like(value if whole else value.new_zeros(1)).requires_grad_(True)
    at_zero = func(zero.clone(), *args, **kwargs)
    (slope,) = torch.autograd.grad(at_zero.sum(), zero, allow_unused=True)
    slope = torch.zeros_like(zero) if slope is None else slope.nan_to_num(0, 0, 0)
    if not bool(at_zero.any()):
        at_x = y / torch.where(value == 0, 1.0, value)
        return adjusted(x, mode.unit, y, torch.where(value == 0, slope, at_x), exact=True)
    # the difference from f(0) has few digits near zero: in double, and below 1e-7 the derivative
    wide = value.double()
    beyond = func(wide.clone(), *args, **kwargs) - func(torch.zeros_like(wide), *args, **kwargs)
    near = wide.abs() < 1e-7
    at_x = (beyond / torch.where(near, 1.0, wide)).to(value.dtype)
    return adjusted(x, mode.unit, y, torch.where(near, slope, at_x))


def power(mode: Propagation, func: Any, /, x: Any, exponent: Any, **kwargs: Any) -> Any:
    positive = exponent > 0
    if not bool(positive.all() if isinstance(positive, torch.Tensor) else positive):
        return factor(mode, func, x, exponent, **kwargs)
    return elementwise(mode, func, x, exponent, **kwargs)


def sigmoid(mode: Propagation, func: Any, /, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """An activation, and the mark of a gate."""
    return _gate(mode, elementwise(mode, func, x, *args, **kwargs))


def factor(mode: Propagation, func: Any, /, *args: Any, **kwargs: Any) -> Any:
    """Fit to multiply something; refused once relevance reaches it otherwise."""
    y = func(*_bare(args), **{key: _bare(value) for key, value in kwargs.items()})
    if not isinstance(y, torch.Tensor):
        raise unknown(func)
    name = getattr(func, "__name__", "a function").strip("_")
    return _gate(mode, refused(_first_signal(mode, (args, kwargs)), y, name))


def spread_and_mean(mode: Propagation, func: Any, /, x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """``var_mean`` and ``std_mean``: a factor and a mean."""
    spread, mean = func(x, *args, **kwargs)
    name = str(func.__name__)
    return _gate(mode, refused(x, spread.detach(), name)), mean


# -- products --------------------------------------------------------------------------------
def multiplied(mode: Propagation, func: Any, /, a: Any, b: Any, **kwargs: Any) -> Any:
    """By a constant; by a gate, which the signal passes with all its relevance; else half each."""
    if not (mode.is_signal(a) and mode.is_signal(b)):
        return func(a, b, **kwargs)
    shape = _common_shape(a.shape, b.shape)
    return _product(mode, lambda a, b: func(a, b, **kwargs), a, b, _gate_of(mode, a, b, shape))


def divided(mode: Propagation, func: Any, /, a: Any, b: Any, **kwargs: Any) -> Any:
    """By a constant, or by something taken for one (a norm)."""
    if kwargs.get("rounding_mode") is not None:
        raise unknown(func, f"with rounding_mode={kwargs['rounding_mode']!r}")
    if not mode.is_signal(a):
        return factor(mode, func, a, b)
    return func(a, _bare(b), **kwargs)


def matmul(mode: Propagation, func: Any, /, a: Tensor, b: Tensor, **kwargs: Any) -> Any:
    """With a constant, a dense layer; of two signals, weights of attention are constants."""
    one, other = mode.is_signal(a), mode.is_signal(b)
    if one and other:
        gate = None if mode.is_gate(a) == mode.is_gate(b) else (a if mode.is_gate(a) else b)
        return _product(mode, lambda a, b: func(a, b, **kwargs), a, b, gate)
    if one:
        return dense(mode, a, b, lambda x, w: func(x, w, **kwargs))
    return dense(mode, b, a, lambda x, w: func(w, x, **kwargs))


def reversed_matmul(mode: Propagation, func: Any, /, a: Tensor, b: Tensor) -> Any:
    return matmul(mode, torch.matmul, b, a)


def matmul_plus(
    mode: Propagation,
    func: Any,
    /,
    add: Any,
    a: Tensor,
    b: Tensor,
    *,
    beta: Any = 1,
    alpha: Any = 1,
) -> Any:
    """``addmm``, ``baddbmm``."""
    product = matmul(mode, torch.matmul, a, b) * alpha
    scaled = mode.adopt(add * beta, add) if mode.is_signal(add) else add * beta
    y = func(_bare(add), a.detach(), b.detach(), beta=beta, alpha=alpha)
    return adjusted(product + _as_signal(mode, scaled, y.shape), mode.unit, y, exact=True)


def einsum(mode: Propagation, func: Any, /, equation: Any, *operands: Any) -> Any:
    pieces = (
        operands[0] if len(operands) == 1 and isinstance(operands[0], list | tuple) else operands
    )
    if not isinstance(equation, str) or len(pieces) > 2:
        raise unknown(func, "of more than two tensors, or without an equation")
    if len(pieces) == 1:
        return func(equation, pieces[0])
    return matmul(mode, lambda a, b: func(equation, a, b), *pieces)


def attention(
    mode: Propagation,
    func: Any,
    /,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *args: Any,
    **kw: Any,
) -> Any:
    """Weights are constants: relevance goes to the values they weigh."""
    args, kw = _bare(args), {k: _bare(v) for k, v in kw.items()}
    if not mode.is_signal(value):
        return factor(mode, func, query, key, value, *args, **kw)
    return func(query.detach(), key.detach(), value, *args, **kw)


def glu(mode: Propagation, func: Any, /, x: Tensor, dim: int = -1) -> Tensor:
    a, b = x.chunk(2, dim)
    return adjusted(a, mode.unit, func(x.detach(), dim), b.detach().sigmoid(), exact=True)


# -- functions made of others, which are looked into ---------------------------------------------
def inside(mode: Propagation, func: Any, /, *args: Any, **kwargs: Any) -> Any:
    """Run the Python code of a torch function with what it calls seen in turn."""
    never = dict.fromkeys(
        ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic"),
        lambda *_: False,
    )
    names = {**func.__globals__, **never}
    copy = FunctionType(func.__code__, names, func.__name__, func.__defaults__, func.__closure__)
    copy.__kwdefaults__ = func.__kwdefaults__
    with mode:
        return copy(*args, **kwargs)


def multi_head(mode: Propagation, func: Any, /, *args: Any, **kwargs: Any) -> Any:
    """``nn.MultiheadAttention``, whose inside puts the images on the second axis."""
    if mode.images > 1:
        raise ImagesMixed
    return inside(mode, func, *args, **kwargs)


# -- small parts -----------------------------------------------------------------------------------
def _common_shape(*shapes: torch.Size) -> tuple[int, ...]:
    return tuple(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]


def _is_term(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return True
    return isinstance(value, int | float) and not isinstance(value, bool)


def _as_signal(mode: Propagation, value: Any, shape: Sequence[int]) -> Any:
    """A term as it is, or as a constant that absorbs its share."""
    return mode.constant(value, shape) if _is_term(value) and not mode.is_signal(value) else value


def _gate(mode: Propagation, y: Tensor) -> Tensor:
    return mode.adopt(y, gate=True)


def _gate_of(mode: Propagation, a: Tensor, b: Tensor, shape: tuple[int, ...]) -> Tensor | None:
    """Which of two factors is the gate: by what it was computed by, else the one that is spread."""
    if mode.is_gate(a) != mode.is_gate(b):
        return a if mode.is_gate(a) else b
    if (tuple(a.shape) == shape) != (tuple(b.shape) == shape):
        return b if tuple(a.shape) == shape else a
    return None


def _product(
    mode: Propagation,
    op: Callable[[Tensor, Tensor], Tensor],
    a: Tensor,
    b: Tensor,
    gate: Tensor | None,
) -> Any:
    if gate is not None:
        return op(a.detach() if gate is a else a, b.detach() if gate is b else b)
    return adjusted(
        op(a.detach(), b) * 0.5 + op(a, b.detach()) * 0.5,
        mode.unit,
        op(a.detach().clone(), b.detach()),
        exact=True,
    )


def _bare(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, list | tuple):
        return type(value)(_bare(part) for part in value)
    return value


def _first_signal(mode: Propagation, value: Any) -> Tensor:
    found: list[Tensor] = []

    def look(part: Any) -> None:
        if isinstance(part, torch.Tensor):
            found.extend([part] if mode.is_signal(part) else [])
        elif isinstance(part, list | tuple | dict):
            for inner in part.values() if isinstance(part, dict) else part:
                look(inner)

    look(value)
    return found[0]


_CONVOLUTIONS = (
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
)  # fmt: skip

#: Name of a torch function (in place or not, function or method) -> its rule.
RULES: dict[str, Rule] = {
    **dict.fromkeys(_LINEAR, linear),
    **dict.fromkeys(_ELEMENTWISE, elementwise),
    **dict.fromkeys(_FACTORS, factor),
    **dict.fromkeys(("add", "sub", "rsub", "maximum", "minimum", "fmax", "fmin"), additive),
    **dict.fromkeys(("cat", "stack", "hstack", "vstack", "dstack", "column_stack"), joined),
    **dict.fromkeys(("sigmoid", "hardsigmoid", "special_expit"), sigmoid),
    **dict.fromkeys(("max", "min"), extremes),
    **dict.fromkeys(("to", "type", "type_as", "float", "double", "half", "bfloat16"), cast),
    **dict.fromkeys(("int", "long", "bool", "cpu", "cuda"), cast),
    **dict.fromkeys(("dropout", "dropout1d", "dropout2d", "dropout3d"), dropout),
    **dict.fromkeys(("alpha_dropout", "feature_alpha_dropout"), dropout),
    **dict.fromkeys(("var_mean", "std_mean"), spread_and_mean),
    **dict.fromkeys(("matmul", "bmm", "mm", "mv", "tensordot"), matmul),
    **dict.fromkeys(("addmm", "baddbmm"), matmul_plus),
    **dict.fromkeys(_CONVOLUTIONS, convolution),
    **dict.fromkeys(("normalize", "local_response_norm"), inside),
    "mul": multiplied,
    "div": divided,
    "pow": power,
    "where": where,
    "masked_fill": masked_fill,
    "pad": pad,
    "setitem": assigned,
    "copy": copied,
    "rmatmul": reversed_matmul,
    "einsum": einsum,
    "glu": glu,
    "scaled_dot_product_attention": attention,
    "multi_head_attention_forward": multi_head,
    "linear": linear_layer,
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "group_norm": group_norm,
    "instance_norm": instance_norm,
    "rms_norm": rms_norm,
}
