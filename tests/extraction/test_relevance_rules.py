"""Each rule against its definition, written out in loops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from torch import nn
from torch.nn import functional as F

from tests.extraction.models import seeded
from tests.extraction.relevances import by_definition, matrix, rules, share
from widgetkit.errors import InvalidInput
from widgetkit.extraction.relevance_rules import Rules

RULES = ["epsilon", "zplus", "gamma"]
LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(5, 4), (5,)),
    "linear on tokens": (lambda: nn.Linear(4, 3), (3, 4)),
    "conv1d": (lambda: nn.Conv1d(2, 3, 3, stride=2, padding=1), (2, 6)),
    "conv2d": (lambda: nn.Conv2d(2, 3, 3, padding="same", dilation=2), (2, 5, 4)),
    "depthwise": (lambda: nn.Conv2d(3, 6, 2, groups=3), (3, 4, 4)),
    "without bias": (lambda: nn.Conv2d(2, 2, 3, stride=(2, 1), bias=False), (2, 5, 4)),
    "circular": (lambda: nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), (2, 4, 4)),
    "conv3d": (lambda: nn.Conv3d(1, 2, 2, stride=2), (1, 4, 2, 4)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 2, 2, stride=2, groups=2), (4, 2, 2)),
}


def drawn(shape: tuple[int, ...], seed: int = 0, *, signed: bool = True) -> torch.Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values if signed else values.clamp(min=0)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_follows_the_definition_of_its_rule(name: str, rule: str, signed: bool) -> None:
    make, shape = LAYERS[name]
    layer = seeded(make()).double()
    x = drawn((2, *shape), signed=signed)
    with torch.no_grad():
        zero = layer(torch.zeros(1, *shape, dtype=torch.float64))
        y = layer(x)
    weights = matrix(lambda one: layer(one) - zero, shape)
    relevance = drawn(tuple(y.shape), 1).numpy()
    ours, absorbed, _ = share(layer, x, relevance, rules(rule, epsilon=1e-3, gamma=0.5))
    for image in range(2):
        expected = by_definition(
            rule, x[image].numpy().ravel(), weights, zero.numpy().ravel(),
            relevance[image].ravel(), 1e-3, 0.5,
        )  # fmt: skip
        assert_allclose(ours[image].ravel(), expected, atol=1e-9 * np.abs(expected).max())
        assert_allclose(absorbed[image], relevance[image].sum() - expected.sum(), atol=1e-9)


@pytest.mark.parametrize("rule", RULES)
def test_reflected_borders_are_inputs_of_their_own_that_hand_on_to_the_pixels(rule: str) -> None:
    layer = seeded(nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect")).double()
    x = drawn((1, 2, 4, 4))
    wide = F.pad(x, (1, 1, 1, 1), mode="reflect")
    inner = nn.Conv2d(2, 3, 3).double()
    inner.load_state_dict(layer.state_dict())
    relevance = drawn((1, 3, 4, 4), 1).numpy()
    ours, _, _ = share(layer, x, relevance, rules(rule))
    at_wide, _, _ = share(inner, wide, relevance, rules(rule))
    expected = np.zeros((2, 4, 4))
    place = np.pad(np.arange(4), 1, mode="reflect")
    for i in range(6):
        for j in range(6):
            expected[:, place[i], place[j]] += at_wide[0, :, i, j]
    assert_allclose(ours[0], expected, atol=1e-9)


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(RULES),
    st.integers(1, 6),
    st.integers(1, 5),
    st.integers(0, 10_000),
    st.floats(1e-9, 10),
    st.floats(0, 10),
)
def test_any_dense_layer_follows_its_definition(
    rule: str, inputs: int, outputs: int, seed: int, epsilon: float, gamma: float
) -> None:
    x, weight = drawn((1, inputs), seed), drawn((outputs, inputs), seed + 1)
    bias, relevance = drawn((outputs,), seed + 2), drawn((1, outputs), seed + 3).numpy()
    ours, _, _ = share(
        lambda x: F.linear(x, weight, bias), x, relevance, rules(rule, epsilon, gamma)
    )
    expected = by_definition(
        rule, x[0].numpy(), weight.numpy(), bias.numpy(), relevance[0], epsilon, gamma
    )
    assert_allclose(ours[0], expected, rtol=1e-6, atol=1e-7 * (1 + np.abs(expected).max()))


def test_composite_is_z_plus_for_convolutions_and_epsilon_for_dense_layers() -> None:
    conv, dense = seeded(nn.Conv2d(2, 3, 3)).double(), seeded(nn.Linear(5, 4)).double()
    for layer, shape, rule in ((conv, (1, 2, 5, 5), "zplus"), (dense, (1, 5), "epsilon")):
        x = drawn(shape)
        both = [share(layer, x, None, rules(name))[0] for name in ("composite", rule)]
        assert_allclose(*both)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", [n for n in LAYERS if n not in ("linear on tokens",)])
def test_a_batch_norm_is_folded_into_the_layer_before_it(name: str, rule: str) -> None:
    """As one layer whose weights were multiplied out by hand."""
    make, shape = LAYERS[name]
    layer = seeded(make()).double()
    x = drawn((2, *shape))
    channels = layer(x).shape[1]
    kinds = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
    norm = seeded(kinds[x.ndim](channels), 4).double().eval()
    with torch.no_grad():
        norm.weight[0] = -0.7  # a scale below zero swaps positive and negative contributions
        factor = norm.weight / (norm.running_var + norm.eps) ** 0.5
        weight, bias = torch.empty_like(layer.weight), norm.bias - norm.running_mean * factor
        for c in range(channels):
            if isinstance(layer, nn.ConvTranspose2d):  # (in, out / groups, ...)
                per = channels // layer.groups
                rows = slice(c // per * len(weight) // layer.groups, None)
                rows = slice(rows.start, rows.start + len(weight) // layer.groups)
                weight[rows, c % per] = layer.weight[rows, c % per] * factor[c]
            else:
                weight[c] = layer.weight[c] * factor[c]
        if layer.bias is not None:
            bias = bias + layer.bias * factor
    folded = make().double()
    folded.weight = nn.Parameter(weight)
    folded.bias = nn.Parameter(bias)
    assert_allclose(folded(x).detach(), norm(layer(x)).detach(), atol=1e-9)
    given_rules = rules(rule, epsilon=1e-3)
    ours = share(nn.Sequential(layer, nn.Dropout(), norm).eval(), x, None, given_rules)
    explicit = share(folded, x, None, given_rules)
    for one, other in zip(ours, explicit, strict=True):
        assert_allclose(one, other, atol=1e-9 * np.abs(other).max())


def test_a_batch_norm_alone_is_a_scale_and_a_constant() -> None:
    norm = seeded(nn.BatchNorm2d(3)).double().eval()
    x = drawn((2, 3, 4, 4))
    y = norm(x).detach().numpy()
    relevance = drawn((2, 3, 4, 4), 1).numpy()
    ours, absorbed, _ = share(norm, x, relevance)
    factor = (norm.weight / (norm.running_var + norm.eps) ** 0.5).detach().numpy()
    expected = relevance * x.numpy() * factor[:, None, None] / y
    assert_allclose(ours, expected, rtol=1e-7)
    assert_allclose(absorbed, (relevance - expected).sum((1, 2, 3)), rtol=1e-7)


def test_a_layer_changed_in_place_is_not_folded_from_what_it_was() -> None:
    conv = seeded(nn.Conv2d(2, 3, 3)).double()
    norm = seeded(nn.BatchNorm2d(3)).double().eval()
    x = drawn((1, 2, 5, 5))

    def out_of_place(x: torch.Tensor) -> torch.Tensor:
        return norm(conv(x).relu())

    def in_place(x: torch.Tensor) -> torch.Tensor:
        return norm(conv(x).relu_())

    for one, other in zip(share(in_place, x), share(out_of_place, x), strict=True):
        assert_allclose(one, other)


def test_layer_norm_shares_by_contribution_with_its_spread_held() -> None:
    """``z_ij = x_i (delta_ij - 1/n) w_j / sigma``: the rule of Ali et al. 2022, mean kept."""
    norm = seeded(nn.LayerNorm(6)).double()
    x = drawn((2, 6))
    y = norm(x).detach().numpy()
    relevance = drawn((2, 6), 1).numpy()
    ours, _, _ = share(norm, x, relevance)
    for image in range(2):
        sigma = float((x[image].var(unbiased=False) + norm.eps) ** 0.5)
        expected = np.zeros(6)
        for j in range(6):
            for i in range(6):
                z = float(x[image, i]) * ((i == j) - 1 / 6) * float(norm.weight[j].detach()) / sigma
                expected[i] += z / y[image, j] * relevance[image, j]
        assert_allclose(ours[image], expected, atol=1e-9)


UNCHANGED = [
    nn.ReLU(), nn.ReLU6(), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Hardswish(), nn.ELU(),
    nn.LeakyReLU(0.1), nn.Tanh(), nn.Mish(), nn.Hardtanh(), nn.Softsign(), nn.PReLU(3), nn.SELU(),
    nn.ReLU(inplace=True), nn.SiLU(inplace=True), nn.Identity(), nn.Dropout2d(),
]  # fmt: skip


@pytest.mark.parametrize("activation", UNCHANGED, ids=str)
def test_relevance_passes_an_activation_unchanged(activation: nn.Module) -> None:
    x = drawn((2, 3, 4)) * 4
    ours, absorbed, above = share(
        lambda x: activation.double().eval()(x * 1), x
    )  # * 1: in place is meant for what the network computed itself
    assert_allclose(ours, above, atol=1e-12)
    assert_allclose(absorbed, 0, atol=1e-12)
    assert np.abs(above).max() > 0.1


@pytest.mark.parametrize("activation", [nn.Softplus(), nn.Sigmoid(), nn.Hardsigmoid()], ids=str)
def test_what_an_activation_gives_at_zero_is_a_constant(activation: nn.Module) -> None:
    x = drawn((2, 3, 4)) * 4
    x[0, 0, 0], x[0, 0, 1] = 0, 1e-6
    x = x.clamp(-2.9, 2.9)  # a hard sigmoid of 0 has no relevance to share
    y, at_zero = activation(x).numpy(), float(activation(torch.zeros(1, dtype=torch.float64)))
    ours, absorbed, above = share(activation, x)
    assert_allclose(ours, above * (1 - at_zero / y), atol=1e-8)
    assert_allclose(absorbed, (above * at_zero / y).sum((1, 2)), atol=1e-8)


def test_an_addition_shares_in_proportion_and_in_place_alike() -> None:
    x = drawn((2, 4))
    relevance = drawn((2, 4), 1).numpy()

    def added(x: torch.Tensor) -> torch.Tensor:
        out = x * 3
        out += x.pow(2)
        return out

    ours, absorbed, _ = share(added, x, relevance)
    assert_allclose(ours, relevance, atol=1e-12)  # both terms are of the same x
    assert_allclose(absorbed, 0, atol=1e-12)

    def constant(x: torch.Tensor) -> torch.Tensor:
        out = x.clone()
        out += torch.tensor([1.0, 2.0, 3.0, -0.5])
        return out

    ours, absorbed, _ = share(constant, x, relevance)
    expected = relevance * x.numpy() / (x.numpy() + np.array([1, 2, 3, -0.5]))
    assert_allclose(ours, expected)
    assert_allclose(absorbed, (relevance - expected).sum(1))


def test_max_pooling_is_winner_takes_all_and_the_mean_shares() -> None:
    x = drawn((1, 1, 4, 4))
    relevance = drawn((1, 1, 2, 2), 1).numpy()
    for pool in (nn.MaxPool2d(2), nn.AdaptiveMaxPool2d(2), lambda x: x.unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5))):  # fmt: skip
        ours, _, _ = share(pool, x, relevance)
        expected = np.zeros((4, 4))
        for i in range(2):
            for j in range(2):
                block = x[0, 0, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].numpy()
                at = np.unravel_index(block.argmax(), (2, 2))
                expected[2 * i + at[0], 2 * j + at[1]] = relevance[0, 0, i, j]
        assert_allclose(ours[0, 0], expected, atol=1e-12)
    for mean in (nn.AvgPool2d(4), nn.AdaptiveAvgPool2d(1), lambda x: x.mean((2, 3))):
        ours, _, above = share(mean, x)
        assert_allclose(ours[0, 0], x[0, 0].numpy() / x.sum().numpy() * above.sum())


def test_a_gate_takes_nothing() -> None:
    """Squeeze and excitation: all relevance stays with the maps that are scaled."""
    squeeze = seeded(nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 3))).double()

    def gate(x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(squeeze(x.mean((2, 3))))[:, :, None, None]

    x = drawn((2, 3, 4, 4))
    for step in (
        lambda x: x * gate(x),
        lambda x: gate(x) * x,
        lambda x: x * gate(x).expand_as(x),
        lambda x: x * F.hardsigmoid(squeeze(x.mean((2, 3))))[:, :, None, None],
        lambda x: x * x.mean((2, 3), keepdim=True),  # by its size
        lambda x: x.clone().mul_(gate(x)),
        lambda x: x * torch.sigmoid(1.702 * x),  # an activation written out
        lambda x: x / x.norm(dim=1, keepdim=True),
        lambda x: F.normalize(x),
        lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5)),
    ):
        ours, absorbed, above = share(step, x)
        assert_allclose(ours, above, atol=1e-10)
        assert_allclose(absorbed, 0, atol=1e-10)


def test_a_product_of_two_signals_is_halved() -> None:
    x = drawn((2, 6))
    ours, _, above = share(lambda x: x[:, :3] * x[:, 3:], x)
    assert_allclose(ours[:, :3], above / 2)
    assert_allclose(ours[:, 3:], above / 2)


@pytest.mark.parametrize("fused", [True, False])
def test_attention_weights_are_constants(fused: bool) -> None:
    """``R_j = sum_i a_ij v_j / y_i R_i``; queries and keys get nothing."""
    x = drawn((1, 3, 6))

    def attend(x: torch.Tensor) -> torch.Tensor:
        q, k, v = x.chunk(3, dim=-1)
        if fused:
            return F.scaled_dot_product_attention(q, k, v)
        return F.dropout((q @ k.transpose(1, 2) / 2**0.5).softmax(-1), 0.1, training=False) @ v

    relevance = drawn((1, 3, 2), 1).numpy()
    ours, absorbed, _ = share(attend, x, relevance)
    q, k, v = (part[0].numpy() for part in x.chunk(3, dim=-1))
    scores = np.exp(q @ k.T / 2**0.5)
    a = scores / scores.sum(1, keepdims=True)
    y = a @ v
    expected = np.zeros((3, 2))
    for i in range(3):
        for j in range(3):
            for channel in range(2):
                z = a[i, j] * v[j, channel]
                expected[j, channel] += z / y[i, channel] * relevance[0, i, channel]
    assert_allclose(ours[0, :, 4:], expected, atol=1e-10)
    assert_allclose(ours[0, :, :4], 0, atol=1e-12)
    assert_allclose(absorbed, 0, atol=1e-10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "zpls"}, "zplus"),
        ({"epsilon": 0.0}, "epsilon=0.0"),
        ({"epsilon": float("nan")}, "epsilon"),
        ({"gamma": -1.0}, "gamma=-1.0"),
    ],
)
def test_wrong_rules_are_refused(options: dict[str, object], message: str) -> None:
    given_options = {"rule": "composite", "epsilon": 1e-6, "gamma": 0.25, **options}
    rule = given_options.pop("rule")
    with pytest.raises(InvalidInput, match=message):
        Rules.named(rule, **given_options)  # type: ignore[arg-type]
