"""Occlusion against captum, against the obvious loop, and in closed form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from captum.attr import Occlusion as CaptumOcclusion
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from tests.explain.nets import ConvNet, batch_of, tensor, textures
from widgetkit.errors import InvalidInput
from widgetkit.explain import ClassTarget, area_mean
from widgetkit.explain.occlusion import Occlusion
from widgetkit.testing.maps import SmallLayer, SmallNet, example_batch


@pytest.mark.parametrize("window, stride", [(8, 4), (8, 8), (5, 3), (7, 2), (16, 16), (40, 8)])
@pytest.mark.parametrize("baseline", [0.0, 127.5])
def test_pixels_equal_captum(window: int, stride: int, baseline: float) -> None:
    net = ConvNet()
    images = textures(2, (16, 22))
    ours = Occlusion(window=window, stride=stride, baseline=baseline, batch_size=5).pixels(
        batch_of(net, images), ClassTarget(1)
    )
    # captum wants a window that fits; a larger one covers everything, in both
    shape = (3, min(window, 16), min(window, 22))
    steps = (3, min(stride, shape[1]), min(stride, shape[2]))
    theirs = CaptumOcclusion(net).attribute(
        tensor(images), shape, strides=steps, target=1, baselines=baseline / 255
    )
    assert_allclose(ours, theirs[:, 0].detach().numpy(), atol=1e-5)
    assert np.abs(ours).max() > 1e-3


def test_pixels_equal_captum_in_three_dimensions() -> None:
    net = ConvNet(3)
    images = textures(2, (8, 12, 8))
    ours = Occlusion(window=4, stride=3, baseline=0).pixels(batch_of(net, images), ClassTarget(0))
    theirs = CaptumOcclusion(net).attribute(
        tensor(images), (3, 4, 4, 4), strides=(3, 3, 3, 3), target=0, baselines=0
    )
    assert_allclose(ours, theirs[:, 0].detach().numpy(), atol=1e-5)


def test_windows_may_differ_by_axis() -> None:
    net = ConvNet()
    images = textures(2, (16, 22))
    ours = Occlusion(window=(4, 8), stride=(2, 5), baseline=0).pixels(
        batch_of(net, images), ClassTarget(0)
    )
    theirs = CaptumOcclusion(net).attribute(
        tensor(images), (3, 4, 8), strides=(3, 2, 5), target=0, baselines=0
    )
    assert_allclose(ours, theirs[:, 0].detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("dimensions, forwards", [(2, 225), (3, 343)])
def test_the_default_costs_what_the_docstring_says(dimensions: int, forwards: int) -> None:
    seen: list[tuple[int, int]] = []
    batch = example_batch(dimensions, tiles=1)
    images = textures(1, (64, 80) if dimensions == 2 else (8, 16, 24))
    Occlusion().compute(
        replace(batch, images=images, progress=lambda *a: seen.append(a)), ClassTarget(0)
    )
    assert seen[-1] == (forwards, forwards)


def test_compute_is_the_mean_of_the_pixels_over_each_cell() -> None:
    batch = batch_of(ConvNet(), textures(2, (16, 20)))
    method = Occlusion(window=6, stride=3)
    pixels, maps = method.pixels(batch, ClassTarget(0)), method.compute(batch, ClassTarget(0))
    assert maps.shape == (2, *batch.layer.grid) == (2, 4, 5)
    assert_allclose(maps, pixels.reshape(2, 4, 4, 5, 4).mean(axis=(2, 4)), atol=1e-6)


def test_a_cell_sized_window_gives_the_share_of_each_cell_in_the_logit() -> None:
    """Black cells hold nothing, so the falls of a linear network add up to logit less bias."""
    batch = example_batch()
    net = batch.model
    assert isinstance(net, SmallNet) and batch.images is not None
    maps = Occlusion(window=4, stride=4, baseline=0.0).compute(batch, ClassTarget(2))
    assert_allclose(maps.sum(axis=(1, 2)), net.logits(batch.images)[:, 2] - net.bias[2], atol=1e-4)
    cam = np.einsum("c,mchw->mhw", net.weight[2], batch.activations) / 20
    assert_allclose(maps, cam, atol=1e-5)


def test_the_mean_colour_is_the_default_and_hides_nothing_of_a_flat_tile() -> None:
    batch = example_batch()
    flat = replace(batch, images=np.full_like(batch.images, 90))
    assert_allclose(Occlusion(window=4, stride=2).compute(flat, ClassTarget(0)), 0, atol=1e-6)


def test_features_without_maps_get_the_grid_of_the_windows() -> None:
    batch = replace(
        example_batch(), activations=None, layer=SmallLayer("layer", 6, (), has_maps=False)
    )
    assert Occlusion(window=8, stride=4).compute(batch, ClassTarget(0)).shape == (3, 3, 4)


def test_grey_images_have_no_axis_of_colours() -> None:
    class Mean:
        def forward_to_layer(self, images: np.ndarray, layer: str) -> np.ndarray:
            return area_mean(np.asarray(images, np.float32), (2, 2))[:, None]

        def logits(self, images: np.ndarray) -> np.ndarray:
            return np.asarray(images, np.float32).mean(axis=(1, 2), keepdims=True)[:, :, 0]

        def activations_and_gradients(
            self, images: np.ndarray, layer: str, target_class: int
        ) -> tuple[np.ndarray, np.ndarray]:
            a = self.forward_to_layer(images, layer)
            return a, np.full_like(a, 0.25)

    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8), dtype=np.uint8)
    batch = replace(
        example_batch(),
        rows=np.arange(2),
        images=images,
        model=Mean(),
        layer=SmallLayer("x", 1, (2, 2)),
    )
    maps = Occlusion(window=4, stride=4, baseline=0.0).compute(batch, ClassTarget(0))
    assert_allclose(maps, images.reshape(2, 2, 4, 2, 4).mean(axis=(2, 4)) / 4, rtol=1e-5)


@settings(deadline=None, max_examples=25)
@given(
    size=st.tuples(st.integers(3, 12), st.integers(3, 12)),
    window=st.integers(1, 14),
    data=st.data(),
)
def test_every_pixel_has_a_finite_value(
    size: tuple[int, int], window: int, data: st.DataObject
) -> None:
    stride = data.draw(st.integers(1, window))
    net = SmallNet((2, 2))
    batch = replace(
        example_batch(tiles=2),
        rows=np.arange(2),
        images=textures(2, size),
        model=net,
        layer=net.layer,
    )
    pixels = Occlusion(window=window, stride=stride).pixels(batch, ClassTarget(0))
    assert pixels.shape == (2, *size) and np.isfinite(pixels).all()


def test_windows_that_leave_gaps_are_refused() -> None:
    with pytest.raises(InvalidInput, match="stride 9 is more than window 8"):
        Occlusion(window=8, stride=9)
    with pytest.raises(InvalidInput, match="stride 3 is more than window 2"):
        Occlusion(stride=3).compute(example_batch(), ClassTarget(0))  # 16 / 8
    with pytest.raises(InvalidInput, match="window is 0"):
        Occlusion(window=0)
    with pytest.raises(InvalidInput, match="2 axes"):
        Occlusion(window=(4, 4, 4)).compute(example_batch(), ClassTarget(0))
    with pytest.raises(InvalidInput, match="baseline is 'black'"):
        Occlusion(baseline="black").compute(example_batch(), ClassTarget(0))  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="does not fit images"):
        Occlusion(baseline=np.zeros(5)).compute(example_batch(), ClassTarget(0))


def test_an_unknown_class_is_named() -> None:
    with pytest.raises(InvalidInput, match="Class 7 is not one of the network's 3"):
        Occlusion().compute(example_batch(), ClassTarget(7))
