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
