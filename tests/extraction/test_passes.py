"""A pass that ends at its layer, against the same pass run to the end."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.extraction import models
from tests.extraction.conftest import hooks_of, textures
from widgetkit.extraction import ModelContext, passes

SHAPES = {
    models.SmallCNN: (32, 32, 3),
    models.SmallViT: (32, 32, 3),
    models.DictOutput: (32, 32, 3),
    models.UNet: (32, 32, 3),
    models.ChannelsLast: (32, 32, 3),
    models.Volume: (8, 16, 16),
}


def whole_and_short(model: nn.Module, images: np.ndarray, layer: str) -> list[np.ndarray]:
    """The layer's activations as a run to the end gives them, and as the context does."""
    context = ModelContext(model)
    short = context.forward_to_layer(images, layer)
    arrangement = context._arrangement(layer, images)
    model.eval()
    whole = passes.activations_at(model, layer, arrangement, context._input(images))[0]
    return [whole.numpy(), short]


@pytest.mark.parametrize("kind", SHAPES, ids=lambda kind: kind.__name__)
def test_every_layer_has_the_same_bits_as_in_a_run_to_the_end(kind: type[nn.Module]) -> None:
    model, images = models.seeded(kind()), textures(3, SHAPES[kind])
    context = ModelContext(model)
    tried = 0
    for name in context.names:
        try:
            context.forward_to_layer(images, name)
        except Exception:  # no tensor of one row an image: nothing to compare
            continue
        whole, short = whole_and_short(model, images, name)
        assert whole.dtype == short.dtype and np.array_equal(whole, short), name
        tried += 1
    assert tried >= 4 and hooks_of(model) == 0


class Counting(models.SmallCNN):
    """Notes which parts ran."""

    def __init__(self) -> None:
        super().__init__()
        self.ran: list[str] = []
        for name in ("stem", "layer1", "layer2", "fc"):
            self.get_submodule(name).register_forward_pre_hook(
                lambda *_, name=name: self.ran.append(name)
            )


def test_what_comes_after_the_layer_is_not_run() -> None:
    model, images = models.seeded(Counting()), textures(3)
    context = ModelContext(model)
    context.forward_to_layer(images, "layer1")  # the first look at all layers is behind it
    model.ran.clear()
    context.forward_to_layer(images, "layer1")
    assert model.ran == ["stem", "layer1"]
    context.logits(images)
    assert model.ran == ["stem", "layer1", "stem", "layer1", "layer2", "fc"]


def test_values_before_something_that_works_in_place() -> None:
    """``bn`` is followed by ``out += x`` and ``ReLU(inplace)``."""
    model, images = models.seeded(models.SmallCNN()), textures(3)
    context = ModelContext(model)
    found = context.forward_to_layer(images, "layer2.1.bn")
    model.eval()
    with torch.no_grad():
        before = model.layer2[0](model.layer1(model.stem(context.preprocess(images))))
        expected = model.layer2[1].bn(model.layer2[1].conv(before))
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
    assert found.min() < 0


class Twice(models.SmallCNN):
    """One layer, called on its own output."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.layer1(self.stem(x))
        return self.fc(self.pool(self.layer2(self.layer2(first))).flatten(1))


def test_of_a_layer_called_twice_the_last_call_is_given() -> None:
    model, images = models.seeded(Twice()), textures(3)
    context = ModelContext(model)
    found = context.forward_to_layer(images, "layer2")
    model.eval()
    with torch.no_grad():
        x = model.layer1(model.stem(context.preprocess(images)))
        np.testing.assert_allclose(found, model.layer2(model.layer2(x)).numpy(), atol=1e-5)


class Swallows(models.SmallCNN):
    """Catches everything that its parts raise, and works on in place."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        try:
            y = self.layer1(x)
        except BaseException:
            y = x[:, :, ::4, ::4]
        x.mul_(0)
        return self.fc(self.pool(self.layer2(y)).flatten(1))


@pytest.mark.parametrize("layer", ["stem", "layer1", "layer1.0.conv"])
def test_a_network_that_catches_everything_is_run_to_the_end(layer: str) -> None:
    model, images = models.seeded(Swallows()), textures(3)
    whole, short = whole_and_short(model, images, layer)
    assert np.array_equal(whole, short) and hooks_of(model) == 0


class Asks(models.SmallCNN):
    """Asks another network for a layer while it runs."""

    def __init__(self, other: ModelContext) -> None:
        super().__init__()
        self.__dict__["other"] = other

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.other.forward_to_layer(textures(len(x)), "layer1")
        return super().forward(x) + float(inner.mean())


def test_a_pass_within_a_pass_ends_only_itself() -> None:
    model = models.seeded(Asks(ModelContext(models.seeded(models.SmallCNN(), 1))))
    whole, short = whole_and_short(model, textures(3), "layer2")
    assert np.array_equal(whole, short)


def test_errors_of_the_network_pass_through_and_leave_no_hook() -> None:
    class Fails(models.SmallCNN):
        fail = False

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.fail:
                raise KeyError("no such thing")
            return super().forward(x)

    model, images = models.seeded(Fails()), textures(3)
    context = ModelContext(model)
    context.forward_to_layer(images, "layer2")
    model.fail = True
    with pytest.raises(KeyError, match="no such thing"):
        context.forward_to_layer(images, "layer2")
    assert hooks_of(model) == 0
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_threads_that_ask_for_different_layers() -> None:
    model, images = models.seeded(models.SmallCNN()), textures(7)
    context = ModelContext(model, batch_size=2)
    layers = ["stem", "layer1", "layer2", "pool"]
    expected = {layer: context.forward_to_layer(images, layer) for layer in layers}
    wrong: list[str] = []

    def work(layer: str) -> None:
        for _ in range(5):
            if not np.array_equal(context.forward_to_layer(images, layer), expected[layer]):
                wrong.append(layer)

    threads = [threading.Thread(target=work, args=(layer,)) for layer in layers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and hooks_of(model) == 0


def test_nothing_of_the_pass_is_kept_alive() -> None:
    kept: list[Any] = []

    class Watched(models.SmallCNN):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            early = self.stem(x)
            kept.append(weakref.ref(early))
            return self.layer2(self.layer1(early))

    model, images = models.seeded(Watched()), textures(3)
    context = ModelContext(model)
    context.forward_to_layer(images, "layer1")
    gc.disable()
    try:
        context.forward_to_layer(images, "layer1")
        assert kept and all(ref() is None for ref in kept)
    finally:
        gc.enable()


def test_images_of_another_shape_are_looked_at_again() -> None:
    model = models.seeded(models.SmallCNN())
    context = ModelContext(model)
    for shape in ((32, 32, 3), (48, 32, 3), (32, 32, 3), (16, 16, 3)):
        images = textures(2, shape)
        grid = context.forward_to_layer(images, "layer2").shape[2:]
        assert grid == (shape[0] // 4, shape[1] // 4)
        assert context.logits(images).shape == (2, 5)
