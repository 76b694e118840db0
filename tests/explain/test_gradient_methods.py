"""Grad-CAM and Layer-CAM against captum and against their definitions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from numpy.testing import assert_allclose, assert_array_equal

from tests.explain.nets import ConvNet, batch_of, tensor, textures
from widgetkit.errors import InvalidInput, NeedsModel, NoSpatialOutput
from widgetkit.explain import Batch, ChannelTarget, ClassTarget
from widgetkit.explain.cam import Cam
from widgetkit.explain.gradcam import GradCam
from widgetkit.explain.layercam import LayerCam
from widgetkit.testing.maps import SmallLayer, SmallNet, example_batch

SHAPES = {2: (16, 20), 3: (8, 12, 8)}


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("relu", [True, False])
def test_gradcam_equals_captum(dimensions: int, relu: bool) -> None:
    net = ConvNet(dimensions)
    images = textures(5, SHAPES[dimensions])
    batch, seen = batch_of(net, images), []
    for index in range(4):
        ours = GradCam(relu=relu, batch_size=2).compute(batch, ClassTarget(index))
        theirs = LayerGradCam(net, net.features).attribute(
            tensor(images), target=index, relu_attributions=relu
        )
        assert_allclose(ours, theirs[:, 0].detach().numpy(), atol=1e-5 * np.abs(ours).max())
        seen.append(ours)
    assert np.std(seen) > 0.01  # the comparison is of something


@pytest.mark.parametrize("dimensions", [2, 3])
def test_layercam_equals_its_definition(dimensions: int) -> None:
    """relu(sum_c relu(g_c) a_c), written as loops over tiles, channels and positions."""
    net = ConvNet(dimensions)
    batch = batch_of(net, textures(3, SHAPES[dimensions]))
    assert batch.model is not None and batch.images is not None
    a, g = batch.model.activations_and_gradients(batch.images, "features", 1)
    expected = np.zeros((3, *a.shape[2:]))
    for tile in range(3):
        for position in np.ndindex(*a.shape[2:]):
            total = 0.0
            for channel in range(a.shape[1]):
                total += max(g[(tile, channel, *position)], 0) * a[(tile, channel, *position)]
            expected[(tile, *position)] = max(total, 0)
    assert_allclose(LayerCam().compute(batch, ClassTarget(1)), expected, atol=1e-6)
    assert expected.max() > 0


@pytest.mark.parametrize("dimensions", [2, 3])
def test_gradcam_of_a_linear_head_is_cam(dimensions: int) -> None:
    """Equal but for the number of positions, which the pooling divides by."""
    net = ConvNet(dimensions, linear=True)
    head = (net.head.weight.detach().numpy(), net.head.bias.detach().numpy())
    batch = batch_of(net, textures(4, SHAPES[dimensions]), head=head)
    cam = Cam().compute(batch, ClassTarget(3))
    positions = int(np.prod(batch.layer.grid))
    assert_allclose(GradCam(relu=False).compute(batch, ClassTarget(3)) * positions, cam, atol=1e-5)
    assert_allclose(
        GradCam().compute(batch, ClassTarget(3)) * positions, np.maximum(cam, 0), atol=1e-5
    )


def test_mean_of_cam_plus_bias_is_the_logit() -> None:
    net = ConvNet(linear=True)
    head = (net.head.weight.detach().numpy(), net.head.bias.detach().numpy())
    batch = batch_of(net, textures(4, (16, 16)), head=head)
    assert batch.model is not None and batch.images is not None
    logits = batch.model.logits(batch.images)
    for index in range(4):
        maps = Cam().compute(batch, ClassTarget(index))
        assert_allclose(maps.mean(axis=(1, 2)) + head[1][index], logits[:, index], atol=1e-5)


def test_gradcam_of_box_channels_is_their_weighted_sum() -> None:
    """Known boxes as channels, known weights: the map is known in closed form."""
    batch = example_batch()
    net = batch.model
    assert isinstance(net, SmallNet) and batch.activations is not None
    boxes = np.zeros((1, 6, 4, 5), np.float32)
    for channel in range(6):
        boxes[0, channel, channel % 4, : channel % 5 + 1] = channel + 1
    expected = np.maximum(np.einsum("c,mchw->mhw", net.weight[0], boxes), 0)

    class Boxes(SmallNet):
        def forward_to_layer(self, images: np.ndarray, layer: str) -> np.ndarray:
            return boxes

    given = replace(
        batch, rows=np.arange(1), images=np.zeros((1, 16, 20, 3), np.uint8), model=Boxes((4, 5))
    )
    assert_allclose(GradCam().compute(given, ClassTarget(0)) * 20, expected, atol=1e-5)
    assert_allclose(
        Cam().compute(replace(given, activations=boxes), ClassTarget(0)).clip(0),
        expected,
        atol=1e-5,
    )


def test_batch_size_does_not_change_the_maps() -> None:
    batch = batch_of(ConvNet(), textures(5, (16, 16)))
    for method in (GradCam, LayerCam):
        one_by_one = method(batch_size=1).compute(batch, ClassTarget(0))
        assert_allclose(one_by_one, method(batch_size=99).compute(batch, ClassTarget(0)), atol=1e-6)


def test_a_job_can_stop_between_batches() -> None:
    class Stop(Exception):
        pass

    seen: list[tuple[int, int]] = []

    def check() -> None:
        if len(seen) == 2:
            raise Stop

    batch = replace(
        batch_of(ConvNet(), textures(6, (16, 16))), check=check, progress=lambda *a: seen.append(a)
    )
    with pytest.raises(Stop):
        GradCam(batch_size=2).compute(batch, ClassTarget(0))
    assert seen == [(0, 6), (2, 6)]


def test_the_missing_model_is_asked_for_by_name() -> None:
    batch = replace(example_batch(), model=None)
    for method in (GradCam(), LayerCam()):
        with pytest.raises(NeedsModel, match=r"wk\.explore\(store, model=\.\.\.\)"):
            method.compute(batch, ClassTarget(0))


def test_a_layer_without_maps_is_refused() -> None:
    class Vector(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 768))
            self.head = torch.nn.Linear(768, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.flat(x))

    from tests.explain.nets import TorchModel

    batch = Batch(
        np.arange(1),
        images=textures(1, (16, 16)),
        layer=SmallLayer("flat", 768, (), has_maps=False),
        model=TorchModel(Vector()),
    )
    with pytest.raises(NoSpatialOutput, match="one vector an image"):
        GradCam().compute(batch, ClassTarget(0))


def test_cam_says_when_there_is_no_head_or_no_such_class() -> None:
    batch = example_batch()
    with pytest.raises(InvalidInput, match="linear head"):
        Cam().compute(replace(batch, head=None), ClassTarget(0))
    with pytest.raises(InvalidInput, match="Class 3 is not one of the head's 3"):
        Cam().compute(batch, ClassTarget(3))
    with pytest.raises(InvalidInput, match="not directly behind"):
        Cam().compute(replace(batch, head=(np.ones((3, 9)), np.ones(3))), ClassTarget(0))
    with pytest.raises(InvalidInput, match="ClassTarget"):
        Cam().compute(batch, ChannelTarget(0))  # type: ignore[arg-type]


def test_no_images_is_said() -> None:
    with pytest.raises(InvalidInput, match="store has none"):
        GradCam().compute(replace(example_batch(), images=None), ClassTarget(0))


def test_no_tiles_gives_no_maps() -> None:
    batch = example_batch(tiles=3)
    empty = replace(
        batch, rows=batch.rows[:0], images=batch.images[:0], activations=batch.activations[:0]
    )
    assert_array_equal(GradCam().compute(empty, ClassTarget(0)), np.zeros((0, 4, 5)))
