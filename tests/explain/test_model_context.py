"""The kit's own ModelContext under the methods, and a real store under Batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.explain.nets import ConvNet, TorchModel, textures
from widgetkit import explain
from widgetkit.errors import UnknownLayer
from widgetkit.explain import Batch, ClassTarget, SelectionTarget
from widgetkit.extraction import ModelContext, Preprocess, extract
from widgetkit.tiles import from_array

if TYPE_CHECKING:
    from widgetkit.store import ActivationStore

PREPROCESS = Preprocess(mean=(0.0,), std=(1.0,), scale=255.0)


@pytest.fixture(scope="module", params=[2, 3])
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ConvNet, ActivationStore]:
    dimensions = request.param
    net = ConvNet(dimensions, linear=True).eval()
    images = textures(5, (32, 24) if dimensions == 2 else (8, 16, 16))
    tiles = from_array(images, volume=dimensions == 3)
    out = tmp_path_factory.mktemp("store") / "small.wk"
    return net, extract(net, tiles, ["features"], out=out, preprocess=PREPROCESS, progress=False)


def test_maps_with_the_context_equal_those_with_the_thinnest_adaptor(
    made: tuple[ConvNet, ActivationStore],
) -> None:
    net, store = made
    context: explain.Model = ModelContext.for_store(net, store)
    batch = Batch.from_store(store, [3, 0, 3], model=context)
    plain = replace(batch, model=TorchModel(net))
    for name in ("gradcam", "layercam", "scorecam", "occlusion"):
        ours, theirs = (explain.compute(name, b, ClassTarget(1)) for b in (batch, plain))
        assert ours.shape == (3, *store.layers["features"].grid)
        assert_allclose(ours, theirs, atol=1e-5 * max(1, np.abs(theirs).max()))
        assert_allclose(ours[0], ours[2], atol=1e-6)


def test_gradcam_from_images_is_cam_from_the_store_within_float16(
    made: tuple[ConvNet, ActivationStore],
) -> None:
    net, store = made
    batch = Batch.from_store(store, range(5), model=ModelContext.for_store(net, store))
    assert batch.head is not None, "the linear head behind the layer is in the store"
    for index in range(4):
        cam = explain.compute("cam", batch, ClassTarget(index))
        gradcam = explain.compute("gradcam", batch, ClassTarget(index))
        positions = np.prod(batch.layer.grid)
        size = np.abs(cam).max()
        assert_allclose(gradcam * positions, np.maximum(cam, 0), atol=3e-3 * size)
    assert store.outputs is not None
    logit = cam.reshape(5, -1).mean(axis=1) + batch.head[1][3]
    assert_allclose(logit, store.outputs[:, 3], atol=3e-3 * np.abs(store.outputs).max())


def test_a_batch_reads_only_what_the_method_needs(made: tuple[ConvNet, ActivationStore]) -> None:
    _, store = made
    live = Batch.from_store(store, [1, 4], method=explain.get("selection"))
    assert live.images is None and live.activations is not None
    everything = Batch.from_store(store, [1, 4])
    assert_array_equal(everything.images, store.images([1, 4]))
    embeddings = store.embeddings("features")
    target = SelectionTarget(embeddings[:2].mean(0), embeddings[2:].mean(0), embeddings.std(0))
    maps = explain.compute("selection", live, target)
    contrast = (target.mean_in - target.mean_rest) / target.std
    expected = embeddings[[1, 4]] @ contrast
    scale = np.abs(contrast) @ np.abs(embeddings).max(axis=0)
    assert_allclose(maps.reshape(2, -1).mean(axis=1), expected, atol=1e-4 * scale)
    none = Batch.from_store(store, [], method=explain.get("selection"))
    assert explain.compute("selection", none, target).shape == (0, *store.layers["features"].grid)


def test_an_unknown_layer_is_named(made: tuple[ConvNet, ActivationStore]) -> None:
    with pytest.raises(UnknownLayer, match="feature"):
        Batch.from_store(made[1], [0], layer="featuers")


def test_real_tissue(shared_data: Path, tmp_path: Path) -> None:
    """H&E tiles through the whole way: maps that are finite, and not all the same."""
    import io
    import zipfile

    from PIL import Image

    with zipfile.ZipFile(shared_data / "tcga-tiles.zip") as archive:
        names = [n for n in archive.namelist() if n.lower().endswith((".png", ".jpg", ".tif"))][:3]
        crops = [
            np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB").resize((64, 64)))
            for name in names
        ]
    net = ConvNet(linear=True).eval()
    store = extract(
        net,
        from_array(np.stack(crops)),
        ["features"],
        out=tmp_path / "he.wk",
        preprocess=PREPROCESS,
        progress=False,
    )
    batch = Batch.from_store(store, range(len(crops)), model=ModelContext.for_store(net, store))
    found = {n: explain.compute(n, batch, ClassTarget(0)) for n in explain.for_target(ClassTarget)}
    assert all(np.isfinite(maps).all() for maps in found.values())
    assert found["occlusion"].std() > 0
    table = explain.pairwise(found)
    assert len(table) == len(found) * (len(found) - 1) // 2
