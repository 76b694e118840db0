"""Every function in the table: same values as without, nothing lost; everything else refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn
from torch.nn import functional as F

from tests.extraction.relevances import rules, share
from widgetkit.errors import InvalidInput
from widgetkit.extraction import relevance_functions
from widgetkit.extraction.relevance_functions import RULES

Step = Callable[[torch.Tensor], torch.Tensor]


def weights(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def buffered(x: torch.Tensor, value: float) -> torch.Tensor:
    out = x.new_full(x.shape, value)
    out[:, :1] = x[:, :1] * 2
    return out


def assigned(x: torch.Tensor) -> torch.Tensor:
    out = x * 2
    out[:, 0] = 3.0
    out[:, 1, 1:] = x[:, 2, 1:]
    return out


def unpacked(x: torch.Tensor) -> torch.Tensor:
    one, *_, last = x.transpose(0, 1)
    return one - last


def joined(x: torch.Tensor) -> torch.Tensor:
    tokens = weights(1, 2, 8).expand(len(x), -1, -1)
    wide = torch.cat([tokens, x.flatten(2)[..., :8], tokens], 1)
    return torch.stack([wide, torch.zeros_like(wide), wide * 2], 1).flatten(1)


def copied(x: torch.Tensor) -> torch.Tensor:
    out = torch.empty_like(x)
    return out.copy_(x[:, :, :1]) + x


def stepped(function: str, *args: Any) -> Step:
    """A method that works in place, on something the network computed."""
    return lambda x: getattr(x * 2, function)(*args)


# x is (2, 4, 8, 8)
CASES: dict[str, Step] = {
    "rearranging": lambda x: (
        x.reshape(2, 8, 32).view(2, 4, 64).unflatten(2, (8, 8)).permute(0, 2, 3, 1)
        .contiguous().transpose(1, 2).swapaxes(1, 3).swapdims(1, 3).movedim(1, 2).moveaxis(1, 2)
        .reshape(x.shape).unsqueeze(1).squeeze(1).clone().view_as(x).reshape_as(x).flatten(1).ravel().reshape(2, -1)
    ),
    "rows": lambda x: x.flatten(2).adjoint().mT.mH[:, :3].diff(dim=1).neg().positive(),
    "a matrix": lambda x: x[:, 0, 0].t().T.t(),
    "parts": lambda x: sum(
        [*x.chunk(2, 1), *x.split(2, 1), *x.tensor_split(2, 1), *x.split_with_sizes([2, 2], 1),
         *x.hsplit(2)], x.new_zeros(())
    ),
    "more parts": lambda x: sum(
        [*x.vsplit(1), *x[None].dsplit(1)[0].unbind(0), x[:, :, :4].repeat(1, 1, 2, 1)], x * 0
    ),
    "repeated": lambda x: (
        x.repeat_interleave(2, 1)[:, :4] + x.tile(1, 1, 2, 1)[:, :, :8]
        + x[:, :1].expand(-1, 4, -1, -1) + x[:, :1].expand_as(x) + x[:, :1].broadcast_to(x.shape)
    ),
    "chosen": lambda x: (
        x.narrow(1, 0, 2) + x.select(1, 0)[:, None] + x.index_select(1, torch.tensor([2, 3]))
        + x.gather(1, torch.ones(2, 2, 8, 8, dtype=torch.long))
        + x.take_along_dim(torch.ones(2, 2, 8, 8, dtype=torch.long), 1)
    ),
    "taken": lambda x: x.take(torch.arange(4).view(1, 4) * 64) + x.flatten(1)[:, :4],
    "masked": lambda x: x.masked_select(torch.ones(2, 4, 8, 8) > 0).view(x.shape),
    "diagonals": lambda x: x.tril() + x.triu() + x.diagonal(dim1=2, dim2=3)[..., None],
    "diagonals of one": lambda x: x[:, 0, 0].diag()[:, None] + x[:, 0, 0, :2].trace(),
    "turned": lambda x: x.roll(1, 2).flip(3).rot90(1, (2, 3)) + x.fliplr() * 2,
    "upside down": lambda x: x.flipud().flip(0),
    "sums": lambda x: x.sum((2, 3)) + x.mean((2, 3)) + x.cumsum(1).sum((2, 3)),
    "patches": lambda x: F.fold(F.unfold(x, 2, stride=2), (8, 8), 2, stride=2),
    "pixels": lambda x: F.pixel_unshuffle(F.pixel_shuffle(F.channel_shuffle(x, 2), 2), 2),
    "means 1": lambda x: F.adaptive_avg_pool1d(F.avg_pool1d(x.flatten(2), 2), 4),
    "means 2": lambda x: F.adaptive_avg_pool2d(F.avg_pool2d(x, 3, 1, 1), (3, 5)),
    "means 3": lambda x: F.adaptive_avg_pool3d(F.avg_pool3d(x[:, None], 2), 2),
    "maxima 1": lambda x: F.adaptive_max_pool1d(F.max_pool1d(x.flatten(2), 2), 4),
    "maxima 2": lambda x: F.adaptive_max_pool2d(F.max_pool2d(x, 3, 1, 1), (3, 5)),
    "maxima 3": lambda x: F.adaptive_max_pool3d(F.max_pool3d(x[:, None], 2), 2),
    "maxima with places": lambda x: (
        F.max_pool2d(x, 2, return_indices=True)[0]
        + torch.ops.aten.max_pool2d_with_indices(x, [2, 2])[0]
        + F.max_pool3d_with_indices(x[:, None], (1, 2, 2))[0][:, 0]
        + F.max_pool1d_with_indices(x.flatten(2), 4)[0].view(2, 4, 4, 4)
    ),
    "extremes": lambda x: (
        x.amax((2, 3)) + x.amin((2, 3)) + x.flatten(2).max(2).values + x.flatten(2).min(2)[0]
        + x.flatten(2).topk(3)[0].sum(2) + x.flatten(2).sort()[0][..., 0] + x.flatten(2).median(2)[0]
        + x.flatten(2).msort()[..., 1] + x.flatten(2).kthvalue(2)[0] + x.max() + x.min()
    ),
    "the larger": lambda x: (
        torch.maximum(x, x.flip(3)) + torch.minimum(x, torch.tensor(0.3).double())
        + torch.max(x, x.roll(1, 2)) + torch.fmax(x, x * 2) + torch.fmin(x, weights(8))
    ),
    "resized": lambda x: (
        F.interpolate(x, scale_factor=2, mode="bilinear")
        + F.interpolate(x, (16, 16)) + F.interpolate(x, (16, 16), mode="bicubic")
    ),
    "padded": lambda x: (
        F.pad(x, (1, 1)) + F.pad(x, (1, 1), value=2.5) + F.pad(x, (2, 0, 0, 0), mode="reflect")
        + F.pad(x, (0, 2, 0, 0), "replicate") + F.pad(x, (1, 1), "constant", -1.0)
    ),
    "sums of terms": lambda x: (
        1 - x + 2 - torch.add(x, weights(4, 1, 1), alpha=2) - weights(8) + torch.rsub(x, 3)
        + torch.sub(x, 0.5) + x.add(other=4.0) + (weights(2, 1, 8, 8) - x)
    ),
    "in place": lambda x: (
        stepped("add_", 1)(x) + stepped("sub_", weights(8))(x) + stepped("mul_", 3)(x)
        + stepped("div_", 2)(x) + stepped("relu_")(x) + stepped("clamp_", -1, 1)(x)
        + stepped("neg_")(x) + stepped("abs_")(x) + stepped("zero_")(x) + stepped("pow_", 2)(x)
        + stepped("unsqueeze_", 1)(x)[:, 0] + stepped("masked_fill_", weights(8) > 0, 2.0)(x)
        + stepped("transpose_", 2, 3)(x) + stepped("squeeze_", 0)(x) + stepped("sigmoid_")(x)
    ),
    "in place, by functions": lambda x: (
        F.relu_(x * 2) + F.leaky_relu(x * 2, 0.1, True) + F.elu(x * 2, inplace=True)
        + F.hardtanh(x * 3, inplace=True) + F.threshold(x * 2, 0.1, 0.2, inplace=True)
        + F.dropout(x * 2, training=False, inplace=True)
    ),
    "views in place": lambda x: _views_in_place(x),
    "assigned": assigned,
    "into zeros": lambda x: buffered(x, 0.0),
    "into a constant": lambda x: buffered(x, 1.5),
    "copied": copied,
    "unpacked": unpacked,
    "joined": joined,
    "side by side": lambda x: (
        torch.hstack([x, x]) + torch.concat([x, weights(2, 4, 8, 8)], 1)
        + torch.dstack([x, x]).reshape(2, 8, 8, 8)
    ),
    "stacked": lambda x: (
        torch.vstack([x[:, 0], x[:, 1]]).view(2, 2, 8, 8)
        + torch.column_stack([x[:, :1], x[:, 1:2]])
    ),
    "where": lambda x: torch.where(x > 0, x * 2, 0.5) + x.where(x < 1, weights(8)),
    "masked fill": lambda x: x.masked_fill(x > 1, 0) + x.masked_fill(weights(8) > 0, -3.0),
    "cast": lambda x: (
        x.to(torch.float32).float().double().half().bfloat16().cpu().type(torch.float32)
        .type_as(torch.zeros(1)).to(torch.zeros(1)) + (x > 0).type_as(x) + x.int() + x.long() * 2
        + x.bool()
    ),
    "activations": lambda x: (
        F.relu(x) + F.relu6(x) + F.elu(x) + F.selu(x) + F.celu(x) + F.gelu(x) + F.silu(x)
        + F.mish(x) + F.softplus(x) + F.hardtanh(x) + F.hardswish(x) + F.leaky_relu(x)
        + F.prelu(x, weights(4)) + F.rrelu(x) + x.tanh() + F.logsigmoid(x) + F.softsign(x)
        + F.tanhshrink(x) + F.hardshrink(x) + F.softshrink(x) + F.threshold(x, 0, 1) + x.clamp(-1, 1)
        + x.clamp_min(-1) + x.clamp_max(0.5) + x.abs() + x.square() + x.sigmoid() + x**3
        + F.hardsigmoid(x) + torch.special.expit(x) + torch.clip(x, 0.2) + torch.absolute(x)
        + torch.clamp(x, min=weights(8)) + torch.pow(x.abs(), torch.tensor(0.5))
    ),
    "factors": lambda x: (
        x * x.softmax(1) + x * F.softmin(x, 1) + x * F.log_softmax(x, 1) + x * x.exp()
        + x * x.exp2() + x * x.expm1() + x * (x * x + 1).log() + x * (x * x + 1).log2()
        + x * (x * x + 1).log10() + x * (x * x).log1p() + x * x.logsumexp(1, True)
        + x / (x.pow(2) + 1).sqrt() + x * (x**2 + 1).rsqrt() + x * (x**2 + 1).reciprocal()
        + x / x.var(1, keepdim=True) + x / x.std(1, keepdim=True) + x / x.norm(dim=1, keepdim=True)
        + x / torch.linalg.vector_norm(x, dim=1, keepdim=True) + x * x.sin() + x * x.cos()
        + x * (1 / (1 + x.exp())) + x * torch.erf(x) + x * 2**x
    ),
    "norms of matrices": lambda x: x / torch.linalg.norm(x, dim=(2, 3), keepdim=True),
    "one after another": lambda x: torch.stack([part * 2 for part in x]),
    "by hand": lambda x: (
        (x - x.mean(1, keepdim=True)) / torch.sqrt((x - x.mean(1, keepdim=True)).pow(2).mean(1, keepdim=True) + 1e-6)
        * weights(4, 1, 1) + weights(4, 1, 1)
    ),
    "spread and mean": lambda x: (
        (x - torch.var_mean(x, 1, keepdim=True)[1]) / torch.std_mean(x, 1, keepdim=True)[0]
    ),
    "normalised": lambda x: F.normalize(x) + F.local_response_norm(x, 3),
    "products": lambda x: x * 2 * weights(8) * x / 3 * torch.ones(3, 1, 1, 1, 1).double(),
    "a gated half": lambda x: F.glu(x, 1),
    "dropped": lambda x: (
        F.dropout(x, training=False) + F.dropout1d(x[0], training=False)
        + F.dropout2d(x, training=False) + F.dropout3d(x, training=False)
        + F.alpha_dropout(x, training=False) + F.feature_alpha_dropout(x, training=False)
    ),
    "matrices": lambda x: (
        x @ weights(8, 8) + weights(8, 8) @ x + torch.matmul(x, weights(2, 4, 8, 8)) + x.transpose(2, 3) @ x
        + torch.tensordot(x, weights(8, 8), dims=1)
    ),
    "matrices of one": lambda x: x[:, 0, 0].mm(weights(8, 3)) + torch.addmm(weights(3), x[:, 0, 0], weights(8, 3)),
    "a vector": lambda x: x[:, 0, 0].mv(weights(8))[:, None],
    "batches": lambda x: (
        x[:, 0].bmm(weights(2, 8, 8)) + torch.baddbmm(weights(1, 8, 8), x[:, 0], x[:, 1], beta=0.5)
        + torch.baddbmm(x[:, 2], x[:, 0], weights(2, 8, 8), alpha=2)
    ),
    "einsum": lambda x: (
        torch.einsum("bchw,wv->bchv", x, weights(8, 8)) + torch.einsum("bchw->bcwh", x)
        + torch.einsum("bchw,bcvw->bchv", [x, x])
    ),
    "attention": lambda x: F.scaled_dot_product_attention(x, x * 2, x + 1),
    "heads": lambda x: nn.MultiheadAttention(8, 2, batch_first=True).double()(
        x[:, 0], x[:, 0], x[:, 0]
    )[0][:, :1],
    "dense": lambda x: F.linear(F.linear(x, weights(5, 8)), weights(3, 5), weights(3)),
    "convolved 1": lambda x: F.conv1d(x.flatten(2), weights(3, 4, 3), weights(3)),
    "convolved 2": lambda x: F.conv2d(x, weights(6, 2, 3, 3), None, 2, 1, 1, 2),
    "convolved 3": lambda x: F.conv3d(x[:, None], weights(3, 1, 2, 3, 3)),
    "spread 1": lambda x: F.conv_transpose1d(x.flatten(2), weights(4, 2, 3)),
    "spread 2": lambda x: F.conv_transpose2d(x, weights(4, 2, 2, 2), weights(4), 2, groups=2),
    "spread 3": lambda x: F.conv_transpose3d(x[:, None], weights(1, 2, 2, 2, 2)),
    "norms": lambda x: (
        F.batch_norm(x, weights(4), weights(4).abs(), weights(4), weights(4))
        + F.layer_norm(x, (8, 8), weights(8, 8), weights(8, 8)) + F.layer_norm(x, (8,))
        + F.group_norm(x, 2, weights(4), weights(4)) + F.instance_norm(x, weight=weights(4))
        + F.instance_norm(x, weights(4), weights(4).abs(), use_input_stats=False)
        + F.rms_norm(x, (8,), weights(8)) + F.rms_norm(x, (8, 8), eps=1e-3)
    ),
    "what is asked of a tensor": lambda x: (
        x * x.shape[0] + x.size(1) + x.dim() + x.numel() + len(x) + (x > 0).float() * x.argmax()
        + x.detach() + x.data + torch.zeros_like(x) + x.new_ones(1) * int(x.is_floating_point())
        + (x.stride()[0] if x.is_contiguous() else 0) + (1 if (x.sum() > 0) else 2)
    ),
    "arguments by name": lambda x: (
        F.linear(input=x, weight=weights(8, 8), bias=weights(8)) + torch.flatten(input=x).view(x.shape)
        + torch.add(input=x, other=1.0) + torch.sigmoid(input=x) * x + torch.mul(x, other=2)
        + F.conv2d(input=x, weight=weights(4, 4, 3, 3), padding=1)
        + torch.cat(tensors=[x, x * 2], dim=1)[:, 2:6] + torch.matmul(input=x, other=weights(8, 8))
    ),
    "operators": lambda x: torch.ops.aten.relu(x) + torch.ops.aten.mul.Tensor(x, weights(8)),
}  # fmt: skip


def _views_in_place(x: torch.Tensor) -> torch.Tensor:
    out = x * 2
    out[:, :2] += x[:, 2:]
    out[:, 0].mul_(3)
    out.flatten(2)[..., 0] -= 1.0
    return out


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(
        (2, 4, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )


@pytest.mark.parametrize("name", CASES)
def test_values_are_the_functions_own_and_no_relevance_is_lost(name: str, x: torch.Tensor) -> None:
    step = CASES[name]
    seen: list[torch.Tensor] = []

    def watched(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(0)
        y = step(x)
        seen.append(y.detach().clone())
        return y

    many = name not in ("taken", "diagonals of one", "heads")  # their rows are no images
    x = x if many else x[:1].expand(1, -1, -1, -1)
    for rule in ("epsilon", "zplus", "gamma"):
        ours, absorbed, above = share(watched, x, None, rules(rule))
        torch.manual_seed(0)
        assert torch.equal(seen.pop(), _as_in_float64(step, x))
        per_image = [len(x), -1] if above.shape[0] % len(x) == 0 else [1, -1]
        if name in ("products",):
            per_image = [1, -1]  # a third axis in front
        gap = ours.reshape(per_image).sum(1).sum() + absorbed.sum() - above.sum()
        assert abs(gap) < 1e-9 * np.abs(above).sum() + 1e-12


def _as_in_float64(step: Step, x: torch.Tensor) -> torch.Tensor:
    """Without propagation, and with casts to smaller floats switched off as it does."""
    if step is not CASES["cast"]:
        return step(x.clone()).detach()
    return x + (x > 0) + x.int() + x.long() * 2 + x.bool()


def test_every_rule_is_in_a_case(x: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    used: set[str] = set()

    class Watched(dict[str, Any]):
        def get(self, name: str, default: Any = None) -> Any:
            used.add(name)
            return super().get(name, default)

    import tests.extraction.relevances as helpers

    monkeypatch.setattr(helpers, "RULES", Watched(RULES))
    for name, step in CASES.items():
        share(step, x[:1] if name in ("taken", "diagonals of one", "heads") else x)
    # these names are other ways to reach functions that are tried under another
    aliases = {
        "im2col", "col2im", "log_sigmoid", "linalg_vector_norm", "linalg_norm",
        "max_pool3d_with_indices", "max_pool1d_with_indices", "cuda", "vector_norm", "rmatmul",
    }  # fmt: skip
    assert set(RULES) - used <= aliases


class Squared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x * x

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient


@torch.jit.script
def compiled(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(x)


def frozen_inside(x: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return x * 2


REFUSED: dict[str, tuple[Step, str]] = {
    "a function without a rule": (lambda x: torch.fft.fft(x).abs(), "fft"),
    "a product over an axis": (lambda x: x.prod(1), "prod"),
    "cosines": (lambda x: F.cosine_similarity(x, x * 2), "cosine_similarity"),
    "values that leave torch": (lambda x: x * float(x.max()), "__float__|item"),
    "numpy": (lambda x: x + torch.from_numpy(x.detach().numpy() * 0) + x.sum().item(), "item"),
    "rounding": (lambda x: x.round(), "round"),
    "whole division": (lambda x: torch.div(x, 2, rounding_mode="floor"), "rounding_mode"),
    "an output given": (lambda x: torch.add(x, 1, out=torch.empty(0).double()), "out="),
    "in place without a rule": (lambda x: (x * 1).erfinv_(), "erfinv"),
    "a recurrent layer": (lambda x: nn.LSTM(8, 3).double()(x[:, 0])[0], "lstm"),
    "weights from the image": (lambda x: F.conv2d(x, x[:, :, :3, :3]), "conv2d"),
    "a norm's weights from the image": (lambda x: F.layer_norm(x, (8,), x[0, 0, 0]), "layer_norm"),
    "statistics of the batch": (lambda x: F.batch_norm(x, None, None, training=True), "batch"),
    "a batch norm's inside": (
        lambda x: torch.batch_norm(x, None, None, weights(4), weights(4).abs(), False, 0.1, 1e-5, False),
        "batch_norm",
    ),
    "a custom function": (lambda x: Squared.apply(x) + 1, "SquaredBackward"),
    "a custom function inside": (lambda x: F.relu(Squared.apply(x * 2)), "SquaredBackward"),
    "compiled code": (lambda x: compiled(x) + 1, "MulBackward0"),
    "inference mode": (frozen_inside, "inference_mode"),
    "a softmax that is no factor": (lambda x: x.softmax(1), "softmax"),
    "an exponential that is no factor": (lambda x: x.exp() + x, "exp"),
    "a constant over a signal": (lambda x: 2 / x, "rdiv|reciprocal|div"),
    "three at once": (lambda x: torch.einsum("bchw,cd,de->behw", x, weights(4, 4), weights(4, 4)), "two tensors"),
    "a clamp by the image": (lambda x: x.clamp(max=x.mean()), "clamp"),
    "a fill by the image": (lambda x: x.masked_fill(x > 0, x.mean()), "masked_fill"),
    "an exponent from the image": (lambda x: x.pow(x), "pow"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_rule_is_refused_by_its_name(name: str, x: torch.Tensor) -> None:
    step, message = REFUSED[name]
    with pytest.raises(InvalidInput, match=message) as caught:
        share(lambda x: step(x) * 1, x)
    assert "gradcam" in str(caught.value) or "inference" in message or message == "batch"


def test_a_parameter_of_the_network_is_not_written_to(x: torch.Tensor) -> None:
    from widgetkit.extraction.relevance_mode import Propagation

    class Keeping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("kept", torch.zeros(2, 4, 8, 8, dtype=torch.float64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.kept += x
            return self.kept * 1

    net = Keeping()
    unit = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    mode = Propagation(net, unit, rules(), RULES, torch.float64)
    start = mode.start(x.clone().requires_grad_(True))
    with mode, pytest.raises(InvalidInput, match="buffer of the network"):
        net(start)
    assert not net.kept.any() and not net.kept.requires_grad


def test_constants_computed_on_the_way_are_constants(x: torch.Tensor) -> None:
    """A weight made of parameters (weight norm), also outside the run, is no signal."""
    v, g = (torch.nn.Parameter(weights(3, 8)), torch.nn.Parameter(weights(3, 1)))
    before = g * v / v.norm(dim=1, keepdim=True)

    def step(x: torch.Tensor) -> torch.Tensor:
        inside = g * v / v.norm(dim=1, keepdim=True)
        return F.linear(x, inside) + F.linear(x, before)

    plain = (before * 1).detach()
    ours = share(step, x)
    expected = share(lambda x: F.linear(x, plain) + F.linear(x, plain), x)
    for one, other in zip(ours, expected, strict=True):
        assert_allclose(one, other)
    assert v.grad is None and g.grad is None and v.requires_grad


def test_the_table_holds_rules_alone() -> None:
    assert all(callable(rule) for rule in RULES.values())
    names = [n for n in relevance_functions._LINEAR if not hasattr(torch.Tensor, n)]
    assert all(
        hasattr(F, n) or hasattr(torch, n) or hasattr(torch.ops.aten, n) or n in ("getitem", "zero")
        for n in names
    )
