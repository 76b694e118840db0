"""Integrated gradients against captum's own calls, against axioms, and in closed form."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients as Captum
from captum.attr import LayerConductance, LayerIntegratedGradients
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tests.explain.nets import ConvNet, TorchModel, batch_of, tensor, textures
from widgetkit.errors import (
    BadActivations,
    InvalidInput,
    MissingDependency,
    NeedsModel,
    NoSpatialOutput,
)
from widgetkit.explain import Batch, ChannelTarget, ClassTarget
from widgetkit.explain.integrated_gradients import IntegratedGradients
from widgetkit.extraction import ModelContext, Preprocess
from widgetkit.testing.maps import SmallLayer, SmallNet, example_batch

SHAPES = {2: (16, 20), 3: (8, 12, 8)}
PREPROCESS = Preprocess(mean=(0.0,), std=(1.0,), scale=255.0)


def context_batch(net: ConvNet, images: np.ndarray, preprocess: Preprocess = PREPROCESS) -> Batch:
    return replace(batch_of(net, images), model=ModelContext(net, preprocess=preprocess))


def logits(batch: Batch, images: np.ndarray, index: int) -> np.ndarray:
    assert batch.model is not None
    return np.asarray(batch.model.logits(images.astype(np.float32)))[:, index]


# -- at the layer --------------------------------------------------------------------------
@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_layers_shares_equal_captums_conductance(dimensions: int) -> None:
    """captum sums by the left rule; from the other end it is the right one, and their mean ours."""
    net = ConvNet(dimensions)
    images = textures(3, SHAPES[dimensions])
    ours = IntegratedGradients(steps=6, baseline=0.0, batch_size=4).compute(
        batch_of(net, images), ClassTarget(1)
    )
    x, zero, conductance = tensor(images), tensor(images * 0), LayerConductance(net, net.features)
    there, back = (
        conductance.attribute(a, b, target=1, n_steps=6, method="riemann_trapezoid")
        for a, b in ((x, zero), (zero, x))
    )
    theirs = ((there - back) / 2).sum(1).detach().numpy()
    assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())
    assert np.abs(theirs).max() > 0.01


@pytest.mark.parametrize("dimensions", [2, 3])
def test_before_a_linear_rest_it_is_captums_layer_integrated_gradients(dimensions: int) -> None:
    net = ConvNet(dimensions, linear=True)
    images = textures(3, SHAPES[dimensions])
    ours = IntegratedGradients(steps=3, baseline=255.0).compute(
        batch_of(net, images), ClassTarget(2)
    )
    white = tensor(np.full_like(images, 255))
    theirs = LayerIntegratedGradients(net, net.features).attribute(
        tensor(images), white, target=2, n_steps=5
    )
    assert_allclose(ours, theirs.sum(1).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("baseline", ["mean", 0.0, 255.0])
def test_the_shares_add_up_to_the_change_of_the_logit(baseline: str | float) -> None:
    images = textures(4, (16, 20))
    batch = context_batch(ConvNet(), images)
    start = images.mean(axis=(1, 2), keepdims=True) if baseline == "mean" else np.array(baseline)
    change = logits(batch, images, 1) - logits(batch, np.broadcast_to(start, images.shape), 1)
    for method, limit in (  # the integrand has a kink where a ReLU of the stem opens
        (IntegratedGradients(baseline=baseline, steps=64), 2e-3),  # type: ignore[arg-type]
        (IntegratedGradients(at="input", baseline=baseline, steps=64), 5e-3),  # type: ignore[arg-type]
    ):
        assert_allclose(method.change(batch, ClassTarget(1)), change, atol=1e-6)
        total = method.compute(batch, ClassTarget(1)).sum(axis=(1, 2))
        assert_allclose(total, change, atol=limit * np.abs(change).max())
    assert np.abs(change).max() > 0.05


def test_the_trapezoids_error_falls_with_the_square_of_the_steps() -> None:
    images = textures(4, (16, 20))
    batch = batch_of(ConvNet(), images)
    change = logits(batch, images, 0) - logits(batch, images * 0, 0)
    errors = [
        np.abs(
            IntegratedGradients(steps=steps, baseline=0.0)
            .compute(batch, ClassTarget(0))
            .sum(axis=(1, 2))
            - change
        ).mean()
        for steps in (4, 8, 16)
    ]
    assert errors[0] > 3 * errors[1] > 9 * errors[2]


def test_of_a_linear_network_it_is_cam_less_the_baselines() -> None:
    batch = example_batch()
    net = batch.model
    assert isinstance(net, SmallNet) and batch.images is not None
    cam = np.einsum("c,mchw->mhw", net.weight[2], batch.activations) / 20
    black = IntegratedGradients(baseline=0.0, steps=5).compute(batch, ClassTarget(2))
    assert_allclose(black, cam, atol=1e-5)


@settings(deadline=None, max_examples=25)
@given(size=st.integers(1, 40), steps=st.integers(1, 9), count=st.integers(1, 4))
def test_batches_change_nothing(size: int, steps: int, count: int) -> None:
    """Neither where the path of a tile is cut, nor how many tiles share a batch."""
    batch = example_batch(tiles=count)
    maps = IntegratedGradients(steps=steps, batch_size=size).compute(batch, ClassTarget(0))
    whole = IntegratedGradients(steps=steps, batch_size=10_000).compute(batch, ClassTarget(0))
    assert_allclose(maps, whole, atol=1e-6)


def test_a_flat_tile_has_no_difference_from_its_mean() -> None:
    batch = example_batch()
    flat = replace(batch, images=np.full_like(batch.images, 90))
    assert_allclose(IntegratedGradients().compute(flat, ClassTarget(0)), 0, atol=1e-6)


# -- at the input --------------------------------------------------------------------------
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("batch_size", [3, 64])
def test_pixels_equal_captum(dimensions: int, batch_size: int) -> None:
    net = ConvNet(dimensions)
    images = textures(3, SHAPES[dimensions])
    method = IntegratedGradients(at="input", steps=12, baseline=0.0, batch_size=batch_size)
    batch = context_batch(net, images)
    x = tensor(images)
    theirs = Captum(net).attribute(x, x * 0, target=3, n_steps=12).sum(1).detach().numpy()
    assert_allclose(method.pixels(batch, ClassTarget(3)), theirs, atol=1e-5 * np.abs(theirs).max())
    maps = method.compute(batch, ClassTarget(3))
    assert maps.shape == (3, *batch.layer.grid)
    cell = tuple(s // g for s, g in zip(SHAPES[dimensions], batch.layer.grid, strict=True))
    blocks = theirs.reshape(
        3, *(n for pair in zip(batch.layer.grid, cell, strict=True) for n in pair)
    )
    summed = blocks.sum(axis=tuple(range(2, 2 + 2 * dimensions, 2)))
    assert_allclose(maps, summed, atol=1e-5 * np.abs(summed).max())


def test_preprocessing_is_part_of_the_path() -> None:
    """Normalised and resized inputs: captum on the input that the context makes."""
    net, images = ConvNet(), textures(2, (32, 40))
    preprocess = Preprocess(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), scale=255.0, size=(16, 20))
    batch = context_batch(net, images, preprocess)
    ours = IntegratedGradients(at="input", steps=8, baseline=255.0).pixels(batch, ClassTarget(0))
    x, white = preprocess(images), preprocess(np.full_like(images, 255))
    theirs = Captum(net).attribute(x, white, target=0, n_steps=8).sum(1).detach().numpy()
    assert ours.shape == (2, 16, 20)
    assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


def test_the_network_is_left_as_it_was() -> None:
    class InPlace(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.ReLU(inplace=True)
            self.norm = torch.nn.BatchNorm2d(3)
            self.features = torch.nn.Conv2d(3, 4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.features(self.norm(self.first(x))).mean((2, 3))

    net = InPlace()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    images = textures(2, (12, 12))
    batch = Batch(
        np.arange(2),
        images=images,
        layer=SmallLayer("features", 4, (10, 10)),
        model=ModelContext(net, preprocess=PREPROCESS),
    )
    net.train()
    maps = IntegratedGradients(at="input", steps=4).compute(batch, ClassTarget(1))
    assert np.isfinite(maps).all() and net.training and net.norm.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert all(p.grad is None for p in net.parameters())
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name


# -- what is refused -----------------------------------------------------------------------
def test_parameters_are_checked() -> None:
    with pytest.raises(InvalidInput, match="at is 'output'"):
        IntegratedGradients(at="output")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="steps is 0"):
        IntegratedGradients(steps=0)
    with pytest.raises(InvalidInput, match="batch_size is 0"):
        IntegratedGradients(batch_size=0)
    for at in ("layer", "input"):
        with pytest.raises(InvalidInput, match="ClassTarget"):
            IntegratedGradients(at=at).compute(example_batch(), ChannelTarget(0))  # type: ignore[arg-type]


def test_pixels_need_a_torch_network() -> None:
    with pytest.raises(NeedsModel, match="SmallNet does not show its torch network"):
        IntegratedGradients(at="input").compute(example_batch(), ClassTarget(0))
    batch = context_batch(ConvNet(), textures(1, (16, 16)))
    with pytest.raises(InvalidInput, match="Class 9 is not one of the network's 4"):
        IntegratedGradients(at="input").compute(batch, ClassTarget(9))
    features = replace(batch, layer=SmallLayer("features", 8, (), has_maps=False))
    with pytest.raises(NoSpatialOutput, match="pixels"):
        IntegratedGradients(at="input", steps=2).compute(features, ClassTarget(0))


def test_without_captum_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    batch = context_batch(ConvNet(), textures(1, (16, 16)))
    with pytest.raises(MissingDependency, match=r"widgetkit\[attribution\]"):
        IntegratedGradients(at="input").compute(batch, ClassTarget(0))
    assert IntegratedGradients(steps=2).compute(batch, ClassTarget(0)).shape == (1, 4, 4)


def test_a_network_that_overflows_is_named_with_the_tile() -> None:
    class Overflow(TorchModel):
        def activations_and_gradients(
            self, images: np.ndarray, layer: str, target_class: int
        ) -> tuple[np.ndarray, np.ndarray]:
            a, g = super().activations_and_gradients(images, layer, target_class)
            return a, np.where(images.mean(axis=(1, 2, 3))[:, None, None, None] > 100, np.nan, g)

    images = textures(3, (16, 16))
    images[0] = 3
    batch = replace(
        batch_of(ConvNet(), images), model=Overflow(ConvNet()), rows=np.array([7, 8, 9])
    )
    with pytest.raises(BadActivations, match=r"2 of 3 tiles.*tile 8"):
        IntegratedGradients(steps=2).compute(batch, ClassTarget(0))


def test_no_tiles_and_a_job_that_stops() -> None:
    batch = context_batch(ConvNet(), textures(2, (16, 16)))
    empty = replace(batch, rows=batch.rows[:0], images=batch.images[:0], activations=None)
    for at in ("layer", "input"):
        method = IntegratedGradients(at=at, steps=4, batch_size=4)  # type: ignore[arg-type]
        assert_array_equal(method.compute(empty, ClassTarget(0)), np.zeros((0, 4, 4)))
        seen: list[tuple[int, int]] = []

        def check(seen: list[tuple[int, int]] = seen) -> None:
            if len(seen) == 1:
                raise KeyboardInterrupt

        stopping = replace(batch, check=check, progress=lambda *a, s=seen: s.append(a))  # type: ignore[misc]
        with pytest.raises(KeyboardInterrupt):
            method.compute(stopping, ClassTarget(0))
        assert len(seen) == 1
