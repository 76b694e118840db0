"""The same maps as captum's on networks as people have them, through store and context.

``test_gradient_methods`` and ``test_occlusion`` hold the arithmetic on small networks; here the
whole way is held: stored images, preprocessing, hooks, residual additions, in-place ReLUs, batch
normalisation, channels-last memory, and the way maps are brought to the size of the image.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import LayerAttribution, LayerGradCam
from captum.attr import Occlusion as CaptumOcclusion
from numpy.testing import assert_allclose
from torch import nn

from tests.explain.nets import textures
from tests.extraction.models import SmallCNN, Volume, seeded
from widgetkit import explain
from widgetkit.explain import Batch, ClassTarget
from widgetkit.explain.gradcam import GradCam
from widgetkit.explain.occlusion import Occlusion
from widgetkit.extraction import ModelContext, Preprocess, extract
from widgetkit.store import ActivationStore
from widgetkit.tiles import from_array

PREPROCESS = Preprocess(mean=(0.5, 0.4, 0.6), std=(0.2, 0.3, 0.25), scale=255.0)
GREY = Preprocess(mean=(0.3,), std=(0.4,), scale=255.0)


def extracted(
    net: nn.Module, images: np.ndarray, layer: str, out: Path, preprocess: Preprocess
) -> tuple[ActivationStore, Batch]:
    volume = images.ndim == 4 and images.shape[-1] != 3
    store = extract(
        net,
        from_array(images, volume=volume),
        [layer],
        out=out,
        preprocess=preprocess,
        progress=False,
    )
    rows = list(range(len(images)))
    return store, Batch.from_store(store, rows, model=ModelContext.for_store(net, store))


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, np.ndarray, Batch]:
    net = seeded(SmallCNN(), seed=3).eval()
    images = textures(4, (48, 40), seed=5)
    out = tmp_path_factory.mktemp("captum") / "residual.wk"
    return net, images, extracted(net, images, "layer2", out, PREPROCESS)[1]


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("index", [0, 4])
def test_gradcam_of_a_residual_network(
    residual: tuple[nn.Module, np.ndarray, Batch], relu: bool, index: int
) -> None:
    net, images, batch = residual
    ours = GradCam(relu=relu, batch_size=3).compute(batch, ClassTarget(index))
    theirs = LayerGradCam(net, net.layer2).attribute(
        PREPROCESS(images), target=index, relu_attributions=relu
    )
    assert_allclose(ours, theirs[:, 0].detach().numpy(), atol=1e-5 * np.abs(ours).max())
    assert ours.std() > 0 and (ours.min() >= 0) == relu


def test_maps_brought_to_the_image_as_captum_does_bilinearly(
    residual: tuple[nn.Module, np.ndarray, Batch],
) -> None:
    """captum's ``interpolate`` repeats values unless told; bilinear is ours, pixel centres alike."""
    net, images, batch = residual
    ours = explain.upsample(GradCam().compute(batch, ClassTarget(1)), (48, 40))
    maps = LayerGradCam(net, net.layer2).attribute(
        PREPROCESS(images), target=1, relu_attributions=True
    )
    theirs = LayerAttribution.interpolate(maps, (48, 40), interpolate_mode="bilinear")
    assert_allclose(ours, theirs[:, 0].detach().numpy(), atol=1e-5 * np.abs(ours).max())


@pytest.mark.parametrize("baseline", [0.0, 200.0])
def test_occlusion_of_a_residual_network(
    residual: tuple[nn.Module, np.ndarray, Batch], baseline: float
) -> None:
    """The fill is a colour of the image, so captum is given that colour preprocessed."""
    net, images, batch = residual
    ours = Occlusion(window=(12, 9), stride=(7, 5), baseline=baseline).pixels(batch, ClassTarget(2))
    fill = PREPROCESS(np.full_like(images, baseline))
    theirs = CaptumOcclusion(net).attribute(
        PREPROCESS(images), (3, 12, 9), strides=(3, 7, 5), target=2, baselines=fill
    )
    assert_allclose(ours, theirs[:, 0].detach().numpy(), atol=1e-5 * max(1, np.abs(ours).max()))
    assert np.abs(ours).max() > 1e-2


def test_a_network_of_volumes(tmp_path: Path) -> None:
    net = seeded(Volume(), seed=1).eval()
    images = textures(3, (8, 16, 12), seed=2)[..., 0]
    _, batch = extracted(net, images, "features", tmp_path / "volume.wk", GREY)
    x = GREY(images)
    ours = GradCam(relu=False).compute(batch, ClassTarget(1))
    theirs = LayerGradCam(net, net.features).attribute(x, target=1)
    assert_allclose(ours, theirs[:, 0].detach().numpy(), atol=1e-5 * np.abs(ours).max())
    pixels = Occlusion(window=4, stride=4, baseline=0.0).pixels(batch, ClassTarget(1))
    black = GREY(np.zeros_like(images))
    falls = CaptumOcclusion(net).attribute(
        x, (1, 4, 4, 4), strides=(1, 4, 4, 4), target=1, baselines=black
    )
    assert_allclose(pixels, falls[:, 0].detach().numpy(), atol=1e-5)


def test_efficientnet(tmp_path: Path) -> None:
    """A trained network of 49 convolutions, by layer and by image."""
    from widgetkit.demos.efficientnet import MEAN, SCALE, STD, load_weights
    from widgetkit.errors import FetchFailed
    from widgetkit.tiles.fetch import fetch

    try:
        net = load_weights(fetch("efficientnet-lite0")).eval()
    except FetchFailed as error:
        pytest.skip(f"the weights are neither in the cache nor can they be fetched: {error}")
    preprocess = Preprocess(mean=MEAN, std=STD, scale=SCALE)
    images = textures(2, (96, 96), seed=8)
    layer = [name for name, m in net.named_modules() if isinstance(m, nn.Conv2d)][-1]
    _, batch = extracted(net, images, layer, tmp_path / "lite0.wk", preprocess)
    x = preprocess(images)
    with torch.no_grad():
        index = int(net(x)[0].argmax())
    ours = GradCam().compute(batch, ClassTarget(index))
    theirs = LayerGradCam(net, net.get_submodule(layer)).attribute(
        x, target=index, relu_attributions=True
    )
    assert_allclose(ours, theirs[:, 0].detach().numpy(), atol=1e-5 * np.abs(ours).max())
    pixels = Occlusion(window=48, stride=24, baseline=127.0).pixels(batch, ClassTarget(index))
    falls = CaptumOcclusion(net).attribute(
        x, (3, 48, 48), strides=(3, 24, 24), target=index, baselines=0.0
    )
    assert_allclose(pixels, falls[:, 0].detach().numpy(), atol=1e-4 * np.abs(pixels).max())
