"""Relevance of whole networks through ModelContext: conserved, exact, and leaving no trace."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from captum.attr import LRP
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from tests.extraction import models
from tests.extraction.conftest import hooks_of, textures
from widgetkit.demos import efficientnet
from widgetkit.errors import BadImage, InvalidInput, UnknownLayer
from widgetkit.extraction import ModelContext, Preprocess
from widgetkit.extraction.relevance import Relevance

PREPROCESS = Preprocess(mean=(0.5,), std=(0.5,), scale=255.0)
RULES = ("composite", "epsilon", "zplus", "gamma")
CONSERVED = 1e-5
POOLING = (
    nn.MaxPool2d | nn.AdaptiveAvgPool2d | nn.Flatten
)  # captum has no rule of its own for these


class Plain(nn.Sequential):
    """A sequence of convolutions, ReLU and pooling, as captum takes them."""

    def __init__(self, *, bias: bool = True) -> None:
        super().__init__(
            nn.Conv2d(3, 4, 3, padding=1, bias=bias),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3, stride=2, bias=bias),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(24, 8, bias=bias),
            nn.ReLU(),
            nn.Linear(8, 3, bias=bias),
        )


class MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 2, 1)
        self.rest = nn.Sequential(
            nn.Flatten(), nn.Linear(128, 16), nn.ReLU(), nn.BatchNorm1d(16), nn.Linear(16, 3)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rest(self.stem(x))


class PreActivation(nn.Module):
    """ReLU in place in front of a convolution changes the shortcut too."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.norm, self.conv = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)
        self.relu, self.fc = nn.ReLU(inplace=True), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for _ in range(2):
            y = self.conv(self.relu(x))
            y = self.norm(y)
            y += x
            x = y
        return self.fc(x.mean((2, 3)))


class Squeezed(nn.Module):
    """An inverted residual with squeeze-and-excitation and SiLU, as in EfficientNet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.SiLU(inplace=True))
        self.down, self.up = nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)
        self.project = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
        self.fc = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        gate = torch.sigmoid(self.up(nn.functional.silu(self.down(x.mean((2, 3), True)))))
        x = x + self.project(x * gate)
        return self.fc(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


class Dense(nn.Module):
    """Features joined, each layer reading all before it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, bias=False)
        self.norm, self.conv = nn.BatchNorm2d(4), nn.Conv2d(4, 3, 3, padding=1, bias=False)
        self.fc = nn.Linear(7, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = torch.cat([x, self.conv(torch.relu(self.norm(x)))], 1)
        return self.fc(torch.nn.functional.max_pool2d(x, 2).mean((2, 3)))


class Heads(nn.Module):
    """torch's own transformer layers, whose inside puts images on the second axis."""

    def __init__(self, *, batch_first: bool = True) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 4, stride=4)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.first = batch_first
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=batch_first), 2
        )
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        x = self.encoder(x) if self.first else self.encoder(x.transpose(0, 1)).transpose(0, 1)
        return self.head(x[:, 0])


class SequenceFirst(nn.Module):
    """Tokens before images on the way, without saying so."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 8, stride=4)
        self.mix, self.head = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x).flatten(2).permute(2, 0, 1)
        return self.head((x + self.mix(x).relu()).mean(0))


class Windows(nn.Module):
    """Windows folded into the batch, shifted and unfolded again, as in Swin."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = nn.Conv2d(3, 4, 2, stride=2), nn.LayerNorm(4)
        self.qkv, self.bias = nn.Linear(4, 12), nn.Parameter(torch.zeros(4, 4))
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x).permute(0, 2, 3, 1)
        m, h, w, c = x.shape
        y = torch.roll(self.norm(x), (-1, -1), (1, 2)).view(m, h // 2, 2, w // 2, 2, c)
        y = y.permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, c)
        q, k, v = self.qkv(y).chunk(3, -1)
        y = (q @ k.transpose(-2, -1) + self.bias).softmax(-1) @ v
        y = y.view(m, h // 2, w // 2, 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(m, h, w, c)
        return self.head((x + y.roll((1, 1), (1, 2))).mean((1, 2)))


NETS: dict[str, tuple[Callable[[], nn.Module], str, tuple[int, ...]]] = {
    "plain": (Plain, "3", (16, 16, 3)),
    "mlp": (MLP, "stem", (8, 8, 3)),
    "cnn with batch norm, in place": (models.SmallCNN, "layer1", (32, 32, 3)),
    "pre-activation": (PreActivation, "stem", (12, 12, 3)),
    "squeeze and excitation": (Squeezed, "stem", (12, 12, 3)),
    "densely joined": (Dense, "conv", (12, 12, 3)),
    "volume": (models.Volume, "features.1", (8, 12, 12)),
    "vit": (models.SmallViT, "blocks.0", (32, 32, 3)),
    "vit, registers": (lambda: models.SmallViT(prefix=5), "patch_embed", (32, 32, 3)),
    "vit, pooled": (lambda: models.SmallViT(prefix=0, convolution=False), "blocks.1", (32, 32, 3)),
    "torch's heads": (Heads, "encoder.layers.0", (16, 16, 3)),
    "torch's heads, tokens first": (lambda: Heads(batch_first=False), "embed", (16, 16, 3)),
    "tokens first": (SequenceFirst, "embed", (16, 16, 3)),
    "windows": (Windows, "embed", (16, 16, 3)),
    "channels last": (models.ChannelsLast, "blocks.0", (32, 32, 3)),
    "round the layer": (models.RoundLayer, "bottleneck", (16, 16, 3)),
    "dictionaries": (models.DictOutput, "layer2", (32, 32, 3)),
}


def context_of(name: str) -> tuple[ModelContext, str, np.ndarray]:
    make, layer, shape = NETS[name]
    return ModelContext(models.seeded(make()), preprocess=PREPROCESS), layer, textures(3, shape)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", NETS)
def test_relevance_is_conserved(name: str, rule: str) -> None:
    """At the layer and at the input, image by image, every part measured on its own."""
    context, layer, images = context_of(name)
    found = context.relevance(images, layer, [0, 1, 1], rule=rule, double=True)  # type: ignore[arg-type]
    assert found.gap.max() < CONSERVED
    for values, rest in ((found.layer, found.beside), (found.input, found.below)):
        total = values.sum(tuple(range(1, values.ndim))) + rest + found.absorbed
        assert_allclose(total, found.output, rtol=CONSERVED)
        assert np.abs(values).max() > 0
    single = context.relevance(images, layer, [0, 1, 1], rule=rule)  # type: ignore[arg-type]
    assert single.layer.dtype == np.float32 and found.layer.dtype == np.float64
    scale = np.abs(found.layer).max()
    assert_allclose(single.layer, found.layer, atol=1e-3 * scale)
    assert single.gap.max() < 1e-3


@pytest.mark.parametrize("name", NETS)
def test_the_output_is_the_logit_and_the_layer_its_activations(name: str) -> None:
    context, layer, images = context_of(name)
    logits = context.logits(images)
    found = context.relevance(images, layer, 1)
    assert_allclose(found.output, logits[:, 1], rtol=1e-5, atol=1e-6)
    activations = context.forward_to_layer(images, layer)
    assert found.layer.shape == activations.shape
    assert not found.layer[activations == 0].any()  # nothing contributes nothing
    assert found.input.shape[:2] == (3, 3 if images.shape[-1] == 3 else 1)


@pytest.mark.parametrize("name", NETS)
def test_an_image_alone_has_the_same_relevance(name: str) -> None:
    context, layer, images = context_of(name)
    together = context.relevance(images, layer, 1, double=True)
    for i in (2, 0):
        alone = context.relevance(images[i : i + 1], layer, 1, double=True)
        for field in ("layer", "input", "absorbed", "output", "beside", "below"):
            one, other = getattr(alone, field)[0], getattr(together, field)[i]
            assert_allclose(one, other, atol=1e-9 * max(1e-3, np.abs(other).max()))


@pytest.mark.parametrize("name", NETS)
def test_the_layer_alone_is_the_same_without_going_on_to_the_input(name: str) -> None:
    context, layer, images = context_of(name)
    full = context.relevance(images, layer, 1, double=True)
    alone = context.relevance(images, layer, 1, double=True, at_input=False)
    assert alone.input is None and alone.below is None
    assert alone.gap.max() < CONSERVED
    # below the layer it runs in the network's own precision, here float32
    assert_allclose(alone.layer, full.layer, atol=2e-5 * max(1e-3, np.abs(full.layer).max()))
    assert_allclose(alone.absorbed + alone.beside, full.absorbed + full.beside, atol=1e-4)


class Optical(nn.Module):
    """Turns light into optical density first: a step without a rule."""

    def __init__(self) -> None:
        super().__init__()
        self.net = models.seeded(Plain())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(-torch.log10(x.clamp(min=1) / 255))


def test_steps_without_a_rule_may_lie_below_the_layer() -> None:
    light = Preprocess(mean=(0.0,), std=(1.0,), scale=1.0)
    context, images = ModelContext(Optical(), preprocess=light), textures(2, (16, 16, 3))
    with pytest.raises(InvalidInput, match="log10"):
        context.relevance(images, "net.3", 1)
    found = context.relevance(images, "net.3", 1, at_input=False)
    assert found.gap.max() < 1e-4 and found.layer.any()
    with pytest.raises(InvalidInput, match="do not depend"):
        ModelContext(TwoHeads(), preprocess=PREPROCESS).relevance(
            images, "aside", 1, at_input=False
        )


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.aside, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.body(x)
        return {"extra": self.aside(x), "logits": self.head(x.mean((2, 3)))}


def network_images(seed: int = 0) -> np.ndarray:
    return textures(2, (16, 16, 3), seed)


def as_input(images: np.ndarray) -> torch.Tensor:
    return PREPROCESS(PREPROCESS.from_pictures(images)).double()


def test_epsilon_towards_zero_is_gradient_times_input_without_biases() -> None:
    net = models.seeded(Plain(bias=False))
    images = network_images()
    found = ModelContext(net, preprocess=PREPROCESS).relevance(
        images, "3", 2, rule="epsilon", epsilon=1e-12, double=True
    )
    x = as_input(images).requires_grad_(True)
    (gradient,) = torch.autograd.grad(net.double()(x)[:, 2].sum(), x)
    expected = (x * gradient).detach().numpy()
    assert_allclose(found.input, expected, atol=1e-6 * np.abs(expected).max())
    assert_allclose(found.absorbed, 0, atol=1e-9)
    assert_allclose(found.input.sum((1, 2, 3)), found.output, rtol=1e-6)


@pytest.mark.parametrize("bias", [True, False])
def test_the_epsilon_rule_agrees_with_captum(bias: bool) -> None:
    net = models.seeded(Plain(bias=bias))
    images = network_images()
    ours = ModelContext(net, preprocess=PREPROCESS).relevance(
        images, "3", 1, rule="epsilon", epsilon=1e-9, double=True
    )
    net = net.double()
    for module in net:
        if isinstance(module, nn.Conv2d | nn.Linear | POOLING):
            module.rule = EpsilonRule(epsilon=1e-9)
    theirs = LRP(net).attribute(as_input(images).requires_grad_(True), target=1)
    assert_allclose(ours.input, theirs.detach().numpy(), atol=1e-6 * np.abs(ours.input).max())


def test_z_plus_agrees_with_captum() -> None:
    """On non-negative inputs, where the two are the same rule; pooling and the top by epsilon."""
    net = models.seeded(Plain(bias=False))
    images = network_images()
    plain = Preprocess(mean=(0.0,), std=(1.0,), scale=255.0)
    ours = ModelContext(net, preprocess=plain).relevance(
        images, "3", 1, rule="composite", epsilon=1e-9, double=True
    )
    net = net.double()
    for module in net:
        if isinstance(module, nn.Conv2d):
            module.rule = Alpha1_Beta0_Rule()
        elif isinstance(module, nn.Linear | POOLING):
            module.rule = EpsilonRule(epsilon=1e-9)
    x = plain(plain.from_pictures(images)).double().requires_grad_(True)
    theirs = LRP(net).attribute(x, target=1)
    assert_allclose(ours.input, theirs.detach().numpy(), atol=1e-6 * np.abs(ours.input).max())


@pytest.fixture(scope="module")
def lite() -> ModelContext:
    torch.manual_seed(0)
    net = efficientnet.EfficientNetLite0(classes=10)
    pre = Preprocess(mean=efficientnet.MEAN, std=efficientnet.STD, scale=efficientnet.SCALE)
    return ModelContext(models.seeded(net), preprocess=pre)


@pytest.mark.parametrize("layer", ["stem", "blocks.10", "head"])
@pytest.mark.parametrize("rule", RULES)
def test_a_real_efficientnet_conserves_relevance(lite: ModelContext, layer: str, rule: str) -> None:
    images = textures(2, (64, 64, 3))
    found = lite.relevance(images, layer, 3, rule=rule, double=True)  # type: ignore[arg-type]
    assert found.gap.max() < CONSERVED
    assert not found.beside.any()
    assert_allclose(found.output, lite.logits(images)[:, 3], rtol=1e-4)


def test_relevance_at_the_input_does_not_depend_on_the_layer_asked_for(lite: ModelContext) -> None:
    images = textures(1, (64, 64, 3))
    found = [lite.relevance(images, layer, 3, double=True) for layer in ("blocks.4", "head")]
    assert_allclose(found[0].input, found[1].input, atol=1e-9 * np.abs(found[0].input).max())
    assert_allclose(
        found[0].absorbed + found[0].below, found[1].absorbed + found[1].below, rtol=1e-9
    )


# -- what is shared out --------------------------------------------------------------------
def test_the_difference_of_two_logits() -> None:
    context, layer, images = context_of("plain")
    one, two = (context.relevance(images, layer, c, rule="epsilon", double=True) for c in (1, 2))
    both = context.relevance(images, layer, 1, against=2, rule="epsilon", double=True)
    assert_allclose(both.output, one.output - two.output)
    assert both.gap.max() < CONSERVED
    own = context.relevance(
        images, layer, lambda logits: logits[:, 1] - logits[:, 2], rule="epsilon", double=True
    )
    assert_array_equal(own.layer, both.layer)
    # each image its own pair
    mixed = context.relevance(images, layer, [1, 0, 1], against=[2, 1, 2], double=True)
    assert_allclose(mixed.output[1], context.logits(images)[1] @ [1, -1, 0], rtol=1e-4)


def test_what_is_no_weighted_sum_of_logits_is_refused() -> None:
    context, layer, images = context_of("plain")
    with pytest.raises(InvalidInput, match="weighted sum of logits"):
        context.relevance(images, layer, lambda logits: logits.softmax(1)[:, 1])
    with pytest.raises(InvalidInput, match="one score each"):
        context.relevance(images, layer, lambda logits: logits)
    with pytest.raises(InvalidInput, match="against="):
        context.relevance(images, layer, lambda logits: logits[:, 0], against=1)
    with pytest.raises(InvalidInput, match="Class 7"):
        context.relevance(images, layer, 7)
    with pytest.raises(InvalidInput, match="Class 9"):
        context.relevance(images, layer, 0, against=9)
    with pytest.raises(InvalidInput, match="no relevance rule"):
        context.relevance(images, layer, 0, rule="alpha")  # type: ignore[arg-type]
    with pytest.raises(UnknownLayer):
        context.relevance(images, "layer9")


def test_no_images_and_parts_of_many() -> None:
    context, layer, images = context_of("plain")
    with pytest.raises(BadImage):
        context.relevance(images[:0], layer)
    full = context.relevance(images, layer, [0, 1, 2])
    none = context.relevance(images[:0], layer, [])
    assert none.layer.shape == (0, *full.layer.shape[1:]) and none.output.shape == (0,)
    assert none.gap.shape == (0,)
    parts = ModelContext(context.model, preprocess=PREPROCESS, batch_size=8)
    assert_allclose(parts.relevance(images, layer, [0, 1, 2]).layer, full.layer, atol=1e-6)


# -- where relevance goes ------------------------------------------------------------------
def test_what_goes_round_the_layer_is_said() -> None:
    context, layer, images = context_of("round the layer")
    found = context.relevance(images, layer, 1, rule="epsilon", double=True)
    assert (np.abs(found.beside) > 0.01 * np.abs(found.output)).all()
    context, layer, images = context_of("plain")
    assert not context.relevance(images, layer, 1).beside.any()


def test_the_class_token_is_no_place() -> None:
    """At the last block all relevance sits in the class token, which the map does not show."""
    context, _, images = context_of("vit")
    found = context.relevance(images, "blocks.1", 1, double=True)
    assert not found.layer.any()
    assert_allclose(found.beside + found.absorbed, found.output)
    assert np.abs(context.relevance(images, "blocks.0", 1).layer).max() > 0


class Twice(nn.Module):
    """One layer, run twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = self.conv(x).relu()
        two = self.conv(one).relu()
        return self.fc((one + two).mean((2, 3)))


def test_a_layer_that_runs_twice_is_its_last_run() -> None:
    context = ModelContext(models.seeded(Twice()), preprocess=PREPROCESS)
    images = textures(2, (8, 8, 3))
    found = context.relevance(images, "conv", 1, rule="epsilon", double=True)
    assert found.gap.max() < CONSERVED
    assert np.abs(found.beside).min() > 0  # the first run reaches the output beside the last
    assert_allclose(
        found.layer.astype(np.float32) != 0, context.forward_to_layer(images, "conv") > 0
    )


class Frozen(nn.Module):
    """A frozen first part, run without gradients, as fine-tuned networks often have."""

    def __init__(self, *, frozen: bool) -> None:
        super().__init__()
        self.body, self.head, self.frozen = nn.Conv2d(3, 4, 3), nn.Linear(4, 2), frozen

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.set_grad_enabled(not self.frozen):
            x = self.body(x).relu()
        return self.head(x.mean((2, 3)))


def test_a_frozen_part_passes_relevance_on() -> None:
    images = textures(2, (8, 8, 3))
    found = [
        ModelContext(models.seeded(Frozen(frozen=f)), preprocess=PREPROCESS).relevance(
            images, "body"
        )
        for f in (True, False)
    ]
    assert_array_equal(found[0].input, found[1].input)
    assert found[0].input.any()


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)).detach())


class Shrinking(nn.Module):
    """Multiplies by hand, out of torch's sight."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.body(x)
        with torch._C.DisableTorchFunction():
            x = x + 5.0
        return self.head(x.mean((2, 3)))


def test_relevance_that_cannot_be_followed_is_an_error() -> None:
    images = textures(2, (8, 8, 3))
    with pytest.raises(InvalidInput, match="detaches"):
        ModelContext(Detached(), preprocess=PREPROCESS).relevance(images, "body")
    with pytest.raises(InvalidInput, match="AddBackward0"):
        ModelContext(Shrinking(), preprocess=PREPROCESS).relevance(images, "body")
    with pytest.raises(InvalidInput, match="softmax"):
        ModelContext(nn.Sequential(Plain(), nn.Softmax(1)), preprocess=PREPROCESS).relevance(
            textures(2, (16, 16, 3)), "0.3"
        )


def test_a_step_that_loses_relevance_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that is wrong (here: sigmoid as if it were linear) never gives a map."""
    from widgetkit.extraction import relevance_functions

    monkeypatch.setitem(relevance_functions.RULES, "softplus", relevance_functions.linear)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus(), nn.Flatten(), nn.Linear(144, 2))
    context = ModelContext(models.seeded(net), preprocess=PREPROCESS)
    with pytest.raises(InvalidInput, match="not conserved"):
        context.relevance(textures(2, (8, 8, 3)), "0", 1)


# -- no trace --------------------------------------------------------------------------------
def test_the_network_is_left_as_it_was() -> None:
    net = models.seeded(models.SmallCNN()).train()
    net.layer2[0].eval()
    net.stem.weight.requires_grad_(False)
    net.fc.weight.grad = torch.ones_like(net.fc.weight)
    flags = [m.training for m in net.modules()]
    frozen = [p.requires_grad for p in net.parameters()]
    context = ModelContext(net, preprocess=PREPROCESS)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    context.relevance(textures(2), "layer1", 1, double=True)
    with pytest.raises(InvalidInput):
        context.relevance(textures(2), "layer1", 99)
    assert [m.training for m in net.modules()] == flags
    assert [p.requires_grad for p in net.parameters()] == frozen
    assert hooks_of(net) == 0
    assert all(p.grad is None for n, p in net.named_parameters() if n != "fc.weight")
    assert torch.equal(net.fc.weight.grad, torch.ones_like(net.fc.weight))
    for name, value in net.state_dict().items():
        assert torch.equal(value, state[name]) and value.dtype == state[name].dtype
    assert torch.is_grad_enabled()


def test_frozen_parameters_make_no_difference() -> None:
    images = textures(2)
    found = []
    for frozen in (True, False):
        net = models.seeded(models.SmallCNN()).requires_grad_(not frozen)
        found.append(ModelContext(net, preprocess=PREPROCESS).relevance(images, "layer1", 1))
    assert_array_equal(found[0].input, found[1].input)


def test_surrounding_modes_make_no_difference() -> None:
    context, layer, images = context_of("squeeze and excitation")
    expected = context.relevance(images, layer, 1)
    for mode in (torch.no_grad(), torch.inference_mode(), torch.autocast("cpu", torch.bfloat16)):
        with mode:
            assert_array_equal(context.relevance(images, layer, 1).input, expected.input)


def test_a_network_in_half_precision_is_computed_in_single() -> None:
    net = models.seeded(models.SmallCNN()).half()
    context = ModelContext(net, preprocess=PREPROCESS)
    found = context.relevance(textures(2), "layer1", 1)
    assert found.gap.max() < 1e-4
    assert next(net.parameters()).dtype == torch.float16


class Cast(nn.Module):
    """Runs its first part in reduced precision."""

    def __init__(self, enabled: bool) -> None:
        super().__init__()
        self.body, self.head, self.enabled = nn.Conv2d(3, 4, 3), nn.Linear(4, 2), enabled

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.enabled):
            x = self.body(x).relu()
        return self.head(x.float().mean((2, 3)))


def test_reduced_precision_inside_the_network_is_not_taken_over() -> None:
    images = textures(2, (8, 8, 3))
    found = [
        ModelContext(models.seeded(Cast(on)), preprocess=PREPROCESS).relevance(images, "body")
        for on in (True, False)
    ]
    assert_array_equal(found[0].input, found[1].input)


def test_threads_wait_for_each_other() -> None:
    context, layer, images = context_of("cnn with batch norm, in place")
    expected = [context.relevance(images, layer, c).layer for c in range(3)]
    found: dict[int, Relevance] = {}

    def run(c: int) -> None:
        found[c] = context.relevance(images, layer, c)
        context.logits(images)

    threads = [threading.Thread(target=run, args=(c,)) for c in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for c in range(3):
        assert_array_equal(found[c].layer, expected[c])


def test_the_same_again() -> None:
    context, layer, images = context_of("vit")
    one, two = context.relevance(images, layer, 1), context.relevance(images, layer, 1)
    assert_array_equal(one.input, two.input)
    assert_array_equal(one.layer, two.layer)


@pytest.fixture
def pictures() -> Iterator[np.ndarray]:
    images = textures(2, (16, 16, 3))
    images.flags.writeable = False
    before = images.copy()
    yield images
    assert_array_equal(images, before)


def test_images_are_not_written_to(pictures: np.ndarray) -> None:
    context, layer, _ = context_of("plain")
    context.relevance(pictures, layer, 1)
    black = context.relevance(np.zeros_like(pictures), layer, 1)
    assert np.isfinite(black.layer).all() and black.gap.max() < 1e-4
