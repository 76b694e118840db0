"""ModelContext against captum, autograd by hand, and the network itself."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from captum.attr import LayerActivation, LayerGradCam
from torch import nn

from tests.extraction import models
from tests.extraction.conftest import hooks_of, textures
from widgetkit.errors import BadImage, ChannelMismatch, InvalidInput, UnknownLayer
from widgetkit.extraction import ModelContext, Preprocess, linear_head, model_identity


@pytest.fixture
def images() -> np.ndarray:
    return textures(7)


def logits_by_hand(model: nn.Module, images: np.ndarray, p: Preprocess) -> np.ndarray:
    with torch.no_grad():
        return model.eval()(p(images)).numpy()


@pytest.mark.parametrize("batch_size", [1, 3, 64, "auto"])
def test_logits_and_activations_are_the_networks_own(cnn, images, batch_size):
    p = Preprocess.suggest((32, 32, 3), np.uint8, cnn)
    context = ModelContext(cnn, preprocess=p, layer="layer2", batch_size=batch_size)
    np.testing.assert_allclose(context.logits(images), logits_by_hand(cnn, images, p), atol=1e-5)
    expected = LayerActivation(cnn, cnn.layer2).attribute(p(images)).detach().numpy()
    np.testing.assert_allclose(context.forward_to_layer(images), expected, atol=1e-5)
    assert context.logits(images[:0]).shape[0] == 0
    assert context.forward_to_layer(images[:0]).shape == (0, 8, 8, 8)


@pytest.mark.parametrize("target", [2, [0, 1, 2, 3, 4, 0, 1]])
def test_gradients_give_captums_grad_cam(cnn, images, target):
    context = ModelContext(cnn, batch_size=3)
    a, da = context.activations_and_gradients(images, "layer2", target)
    ours = (da.mean(axis=(2, 3), keepdims=True) * a).sum(axis=1, keepdims=True)
    x = context.preprocess(images)
    theirs = LayerGradCam(cnn.eval(), cnn.layer2).attribute(x, target=target).detach().numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_gradients_before_something_that_works_in_place(cnn, images):
    """``bn`` is followed by ``out += x`` and ``ReLU(inplace)``: by hand, without hooks."""
    context = ModelContext(cnn)
    a, da = context.activations_and_gradients(images, "layer2.1.bn", 1)
    cnn.eval()
    with torch.no_grad():
        before = cnn.layer2[0](cnn.layer1(cnn.stem(context.preprocess(images))))
        values = cnn.layer2[1].bn(cnn.layer2[1].conv(before))
    leaf = values.clone().requires_grad_(True)
    score = cnn.fc(torch.relu(leaf + before).mean((2, 3)))[:, 1].sum()
    (gradient,) = torch.autograd.grad(score, leaf)
    np.testing.assert_allclose(a, values.numpy(), atol=1e-5)
    np.testing.assert_allclose(da, gradient.numpy(), atol=1e-6)


def test_an_objective_of_ones_own(cnn, images):
    context = ModelContext(cnn)
    _, by_class = context.activations_and_gradients(images, "layer2", 3)
    _, by_function = context.activations_and_gradients(images, "layer2", lambda z: 2 * z[:, 3])
    np.testing.assert_allclose(by_function, 2 * by_class, atol=1e-6)
    with pytest.raises(InvalidInput, match="one score each"):
        context.activations_and_gradients(images, "layer2", lambda z: z)
    with pytest.raises(InvalidInput, match="5 classes"):
        context.activations_and_gradients(images, "layer2", 5)


def test_gradients_of_tokens_have_the_grid(vit, images):
    context = ModelContext(vit)
    a, da = context.activations_and_gradients(images, "blocks.0", 1)
    assert a.shape == da.shape == (7, 12, 4, 4)
    assert np.abs(da).max() > 0
    _, last = context.activations_and_gradients(images, "blocks.1", 1)
    assert not last.any()  # only the class token is read after the last block


@pytest.mark.parametrize("make", [models.SmallCNN, models.Volume, models.ChannelsLast])
def test_the_rest_of_the_network_gives_the_logits(make):
    model = models.seeded(make())
    images = textures(5, (8, 16, 16) if make is models.Volume else (32, 32, 3))
    context = ModelContext(model)
    logits = context.logits(images)
    for layer in context.names:
        a = context.forward_to_layer(images, layer)
        if layer in ("layer2.1.bn", "layer2.1.conv", "layer1.0.bn", "layer1.0.conv"):
            continue  # a connection goes round these
        if ".norm" in layer or ".linear" in layer or layer in ("layer2.0.conv", "layer2.0.bn"):
            continue
        np.testing.assert_allclose(context.head_from_layer(a, layer), logits, atol=1e-4)
        np.testing.assert_allclose(
            context.head_from_layer(a, layer, images=images), logits, atol=1e-4
        )


def test_the_rest_of_the_network_runs_the_first_part_on_one_empty_image(cnn, images):
    context = ModelContext(cnn)
    a = context.forward_to_layer(images, "layer2")
    context.head_from_layer(a, "layer2")
    seen: list[int] = []
    handle = cnn.stem.register_forward_hook(lambda m, i, o: seen.append(len(o)))
    context.head_from_layer(a, "layer2")
    handle.remove()
    assert seen == [1]


def test_where_the_rest_needs_the_images_it_says_so(vit):
    images = textures(5)
    round_layer = ModelContext(models.seeded(models.RoundLayer()))
    for context, layer in ((round_layer, "bottleneck"), (ModelContext(vit), "blocks.0")):
        with pytest.raises(InvalidInput, match="size of an image"):
            context.head_from_layer(np.zeros((5, 6, 16, 16), np.float32), layer)
        a = context.forward_to_layer(images, layer)
        with pytest.raises(InvalidInput, match="Pass images="):
            context.head_from_layer(a, layer)
        found = context.head_from_layer(a, layer, images=images)
        np.testing.assert_allclose(found, context.logits(images), atol=1e-4)
        changed = context.head_from_layer(a[::-1], layer, images=images)
        assert not np.allclose(changed, found)


def test_masked_logits_are_those_of_masked_images(cnn, images):
    context = ModelContext(cnn, batch_size=4)
    masks = np.random.default_rng(0).random((3, 32, 32)).astype(np.float32)
    found = context.logits_masked(images, masks)
    for k, mask in enumerate(masks):
        mean = images.mean(axis=(1, 2), keepdims=True).astype(np.float32)
        masked = images * mask[..., None] + mean * (1 - mask[..., None])
        np.testing.assert_allclose(found[:, k], context.logits(masked), atol=1e-4)
    kept = context.logits_masked(images, np.ones((1, 32, 32)), baseline=0)[:, 0]
    np.testing.assert_allclose(kept, context.logits(images), atol=1e-4)
    with pytest.raises(InvalidInput, match="Masks"):
        context.logits_masked(images, np.ones((1, 8, 8)))

    def stop() -> None:
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        context.logits_masked(images, masks, check=stop)


def test_a_linear_head_is_found_where_there_is_one(cnn, images):
    context = ModelContext(cnn)
    weight, bias = context.linear_head(images, "layer2")
    pooled = context.forward_to_layer(images, "layer2").mean(axis=(2, 3))
    np.testing.assert_allclose(pooled @ weight.T + bias, context.logits(images), atol=1e-4)
    assert context.linear_head(images, "layer1") is None  # as many channels, more in between
    assert context.linear_head(images, "layer2.1.bn") is None  # before the ReLU


def test_a_convolution_of_one_pixel_is_a_linear_head(images):
    model = models.seeded(
        nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 4, 1), nn.Flatten()
        )
    )
    head = linear_head(model, "1", Preprocess()(images))
    assert head is not None and head[0].shape == (4, 6)
    softmax = nn.Sequential(*model, nn.Softmax(1))
    assert linear_head(softmax, "1", Preprocess()(images)) is None


def test_everything_is_as_it_was_afterwards(cnn, images):
    cnn.train()
    cnn.layer1.eval()
    flags = [m.training for m in cnn.modules()]
    weights = {name: value.clone() for name, value in cnn.state_dict().items()}
    context = ModelContext(cnn)
    context.logits(images)
    context.forward_to_layer(images, "layer2")
    context.activations_and_gradients(images, "layer2", 0)
    context.linear_head(images, "layer2")
    with pytest.raises(InvalidInput):
        context.activations_and_gradients(images, "layer2", 99)
    with pytest.raises(RuntimeError):
        context.logits(textures(2, (1, 1, 3)))
    assert [m.training for m in cnn.modules()] == flags
    assert hooks_of(cnn) == 0
    assert all(p.grad is None and p.requires_grad for p in cnn.parameters())
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    assert all(torch.equal(value, weights[name]) for name, value in cnn.state_dict().items())


def test_threads_do_not_disturb_each_other(cnn, images):
    context = ModelContext(cnn)
    expected = context.activations_and_gradients(images, "layer2", 1)[1]
    results: list[np.ndarray] = []

    def work() -> None:
        context.logits(images)
        results.append(context.activations_and_gradients(images, "layer2", 1)[1])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all(np.array_equal(one, expected) for one in results)


def test_gradients_also_under_the_callers_no_grad(cnn, images):
    context = ModelContext(cnn)
    expected = context.activations_and_gradients(images, "layer2", 0)[1]
    with torch.no_grad():
        assert np.array_equal(context.activations_and_gradients(images, "layer2", 0)[1], expected)
    with torch.inference_mode():
        assert np.array_equal(context.activations_and_gradients(images, "layer2", 0)[1], expected)


def test_a_model_without_class_scores_says_so():
    context = ModelContext(models.seeded(models.UNet()))
    with pytest.raises(InvalidInput, match="class scores"):
        context.logits(textures(2))


def test_dictionary_outputs_are_read():
    model = models.seeded(models.DictOutput())
    images = textures(3)
    context = ModelContext(model)
    assert context.logits(images).shape == (3, 5)
    a, da = context.activations_and_gradients(images, "layer2", 0)
    assert a.shape == da.shape and np.abs(da).max() > 0
    np.testing.assert_allclose(
        context.head_from_layer(a, "layer2"), context.logits(images), atol=1e-4
    )


def test_wrong_arguments_are_named(cnn, images):
    context = ModelContext(cnn)
    with pytest.raises(UnknownLayer, match="layer2"):
        context.forward_to_layer(images, "layer3")
    with pytest.raises(InvalidInput, match="layer="):
        context.forward_to_layer(images)
    with pytest.raises(BadImage):
        context.forward_to_layer(images[:0], "layer2")
    context.logits(images)
    with pytest.raises(ChannelMismatch, match="8, 8, 8"):
        context.head_from_layer(np.zeros((2, 8, 7, 7)), "layer2")
    with pytest.raises(InvalidInput, match="device"):
        ModelContext(cnn, device="gpu")
    with pytest.raises(InvalidInput, match="batch_size"):
        ModelContext(cnn, batch_size=0)


def test_identity_tells_networks_apart(cnn):
    same, other = models.seeded(models.SmallCNN()), models.seeded(models.SmallCNN(), 1)
    identity = model_identity(cnn)
    assert identity == model_identity(same)
    assert identity["weights_hash"] != model_identity(other)["weights_hash"]
    assert identity["class"].endswith("SmallCNN")
    same.to(memory_format=torch.channels_last)
    assert model_identity(same) == identity
    assert model_identity(cnn.bfloat16())["dtype"] == "bfloat16"
    with pytest.raises(InvalidInput, match="no values"):
        model_identity(nn.LazyLinear(3))
    with pytest.raises(InvalidInput, match="no values"):
        model_identity(nn.Linear(3, 3, device="meta"))


def test_half_precision_models_take_and_give_float32(cnn, images):
    expected = ModelContext(cnn).logits(images)
    found = ModelContext(cnn.bfloat16()).logits(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=0.1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu(images):
    for make in (models.SmallCNN, models.SmallViT, models.ChannelsLast):
        cpu = ModelContext(models.seeded(make()), device="cpu")
        gpu = ModelContext(models.seeded(make()), device="cuda")
        layer = cpu.names[len(cpu.names) // 2]
        np.testing.assert_allclose(gpu.logits(images), cpu.logits(images), rtol=1e-3, atol=1e-4)
        for one, other in zip(
            gpu.activations_and_gradients(images, layer, 1),
            cpu.activations_and_gradients(images, layer, 1),
            strict=True,
        ):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


# -- towards a direction -------------------------------------------------------------------
class DenseNet(nn.Module):
    """Convolutions, a dense layer that works in place behind them, a head: as the published network."""

    def __init__(self, dimensions: int = 2) -> None:
        super().__init__()
        conv = nn.Conv2d if dimensions == 2 else nn.Conv3d
        pool = nn.AdaptiveAvgPool2d if dimensions == 2 else nn.AdaptiveAvgPool3d
        self.first = nn.Sequential(conv(1, 4, 3, stride=2, padding=1), nn.Softplus())
        self.last = nn.Sequential(conv(4, 6, 3, padding=1), nn.Softplus())
        self.pool = pool(2)
        self.dense = nn.Sequential(nn.Linear(6 * 2**dimensions, 5), nn.Tanh())
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.dense(self.pool(self.last(self.first(x))).flatten(1))
        return self.head(self.act(h))


def dense_net(dimensions: int) -> tuple[ModelContext, np.ndarray]:
    net = models.seeded(DenseNet(dimensions), 1)
    shape = (16, 12) if dimensions == 2 else (6, 8, 10)
    images = np.random.default_rng(0).integers(0, 256, (5, *shape), dtype=np.uint8)
    preprocess = Preprocess(mean=(0.5,), std=(0.3,), channels=1, scale=255.0)
    return ModelContext(net, preprocess=preprocess, batch_size=8), images


@pytest.mark.parametrize("dimensions", [2, 3])
def test_gradients_towards_a_direction_are_differences(dimensions):
    """Step by step in a few activations, through the layers themselves in float64."""
    context, images = dense_net(dimensions)
    v = np.random.default_rng(1).normal(size=5)
    a, da = context.gradients_towards(images, "last", "dense", v)
    np.testing.assert_allclose(a, context.forward_to_layer(images, "last"), atol=1e-6)
    net = context.model.double()

    def score(values: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            h = net.dense(net.pool(torch.from_numpy(values)).flatten(1))
        return h.numpy() @ v

    values, step = a.astype(np.float64), 1e-5
    for place in np.random.default_rng(2).integers(0, a[0].size, 25):
        at = (slice(None), *np.unravel_index(place, a.shape[1:]))
        more, less = values.copy(), values.copy()
        more[at] += step
        less[at] -= step
        expected = (score(more) - score(less)) / (2 * step)
        np.testing.assert_allclose(da[at], expected, rtol=1e-3, atol=1e-7)
    net.float()


def test_gradients_towards_in_closed_form():
    """At the layer itself: of its mean, its flattened values; and through a linear head."""
    context, images = dense_net(2)
    generator = np.random.default_rng(3)
    a = context.forward_to_layer(images, "last")
    positions = a[0, 0].size
    v = generator.normal(size=6)
    own, da = context.gradients_towards(images, "last", "last", v)
    np.testing.assert_allclose(own, a, atol=1e-6)
    np.testing.assert_allclose(
        da, np.broadcast_to(v[None, :, None, None] / positions, a.shape), rtol=1e-5
    )
    flat = generator.normal(size=a[0].size)
    _, da = context.gradients_towards(images, "last", "last", flat)
    np.testing.assert_allclose(da, np.broadcast_to(flat.reshape(a.shape[1:]), a.shape), rtol=1e-5)


def test_gradients_towards_a_logit_are_those_of_the_class(cnn, images):
    context = ModelContext(cnn, batch_size=3)
    expected = context.activations_and_gradients(images, "layer1", 2)
    found = context.gradients_towards(images, "layer1", "fc", np.eye(5)[2])
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    # half way: maps of a later layer, by their mean
    weight = cnn.fc.weight.detach().numpy()
    _, pooled = context.gradients_towards(images, "layer1", "layer2", weight[2])
    np.testing.assert_allclose(pooled, expected[1], atol=1e-6)


def test_gradients_towards_leave_no_trace(cnn, images):
    context = ModelContext(cnn)
    before = hooks_of(cnn)
    for layer, at, v, error, words in [
        ("layer2", "layer1", np.ones(8), InvalidInput, "does not depend"),
        ("layer1", "fc", np.ones(7), ChannelMismatch, "direction has 7"),
        ("layer1", "fc", np.ones((2, 5)), InvalidInput, "one vector"),
        ("layer1", "fc", np.full(5, np.nan), InvalidInput, "one vector"),
        ("layer1", "nowhere", np.ones(5), UnknownLayer, "nowhere"),
    ]:
        with pytest.raises(error, match=words):
            context.gradients_towards(images, layer, at, v)
    a, da = context.gradients_towards(images[:0], "layer1", "fc", np.ones(5))
    assert a.shape == da.shape == (0, 8, 8, 8)
    assert hooks_of(cnn) == before
    assert all(p.grad is None for p in cnn.parameters()) and torch.is_grad_enabled()
