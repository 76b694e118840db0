"""The map method 'relevance': the suite, and that it is the sum over channels."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.explain.nets import ConvNet, TorchModel, textures
from widgetkit import explain
from widgetkit.errors import InvalidInput, NeedsModel, NoSpatialOutput
from widgetkit.explain import Batch, ClassTarget
from widgetkit.explain.cam import Cam
from widgetkit.explain.relevance import RelevanceMap, Rule
from widgetkit.extraction import ModelContext, Preprocess, extract
from widgetkit.testing.maps import Check, SmallLayer, checks, example_batch
from widgetkit.tiles import from_array

PREPROCESS = Preprocess(mean=(0.0,), std=(1.0,), scale=255.0)
SHAPES = {2: (16, 20), 3: (8, 12, 8)}


@pytest.mark.parametrize("check", checks(RelevanceMap), ids=lambda check: check.name)
def test_the_suite(check: Check) -> None:
    check()


def real_batch(dimensions: int = 2, tiles: int = 5, *, linear: bool = False) -> Batch:
    model = ModelContext(ConvNet(dimensions, linear=linear), preprocess=PREPROCESS)
    images = textures(tiles, SHAPES[dimensions])
    shape = model.forward_to_layer(images[:1], "features").shape
    layer = SmallLayer("features", shape[1], shape[2:])
    return Batch(np.arange(tiles), images=images, layer=layer, model=model)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("rule", ["composite", "epsilon", "zplus", "gamma"])
def test_a_map_is_the_sum_over_channels(dimensions: int, rule: str) -> None:
    batch = real_batch(dimensions)
    assert isinstance(batch.model, ModelContext)
    found = batch.model.relevance(batch.images, "features", 2, rule=rule)  # type: ignore[arg-type]
    method = RelevanceMap(rule=rule, batch_size=2)  # type: ignore[arg-type]
    maps = explain.compute(method, batch, ClassTarget(2))
    assert maps.shape == (5, *batch.layer.grid) and maps.dtype == np.float32
    # a logit near zero, times which everything goes, has few digits in float32
    assert_allclose(maps, found.layer.sum(1), atol=1e-3 * np.abs(maps).max())
    total = maps.sum(tuple(range(1, maps.ndim))) + found.absorbed
    assert_allclose(total, batch.model.logits(batch.images)[:, 2], rtol=1e-3, atol=1e-3)
    assert np.abs(maps).max() > 0


def test_in_front_of_a_linear_head_it_is_cam_over_the_number_of_positions() -> None:
    batch = real_batch(linear=True)
    assert isinstance(batch.model, ModelContext)
    head = batch.model.linear_head(batch.images, "features")
    cam = replace(
        batch, head=head, activations=batch.model.forward_to_layer(batch.images, "features")
    )
    expected = Cam().compute(cam, ClassTarget(1)) / np.prod(batch.layer.grid)
    maps = RelevanceMap().compute(batch, ClassTarget(1))
    assert_allclose(maps, expected, atol=1e-4 * np.abs(expected).max())


def test_it_stops_between_batches() -> None:
    class Stop(Exception):
        pass

    seen: list[tuple[int, int]] = []

    def check() -> None:
        if len(seen) == 2:
            raise Stop

    batch = replace(real_batch(), check=check, progress=lambda *a: seen.append(a))
    with pytest.raises(Stop):
        RelevanceMap(batch_size=2).compute(batch, ClassTarget(0))
    assert seen == [(0, 5), (2, 5)]


def test_what_it_cannot_do_is_said() -> None:
    batch = real_batch(tiles=1)
    with pytest.raises(InvalidInput, match="zplus"):
        RelevanceMap(rule="zplu")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="batch_size is 0"):
        RelevanceMap(batch_size=0)
    with pytest.raises(NeedsModel, match="ModelContext"):
        RelevanceMap().compute(replace(batch, model=TorchModel(ConvNet())), ClassTarget(0))
    with pytest.raises(NoSpatialOutput, match="one vector an image"):
        RelevanceMap().compute(
            replace(batch, layer=SmallLayer("head", 4, (), has_maps=False)), ClassTarget(0)
        )
    with pytest.raises(InvalidInput, match="Class 9"):
        RelevanceMap().compute(batch, ClassTarget(9))


def test_the_page_runs(repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (repo / "docs" / "relevance.md").read_text(encoding="utf-8")
    images = textures(4, (32, 32))
    net = ConvNet(linear=True).eval()
    store = extract(
        net, from_array(images), ["features"], out=tmp_path / "small.wk", preprocess=PREPROCESS,
        progress=False,
    )  # fmt: skip
    names = {"store": store, "context": ModelContext.for_store(net, store), "images": images[:3]}
    for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(compile(block, "relevance.md", "exec"), names)
    assert float(capsys.readouterr().out) < 1e-3
    assert names["maps"].shape == (3, *store.layers["features"].grid)  # type: ignore[attr-defined]
    for name in get_args(Rule):
        assert f'`"{name}"`' in page


def test_the_small_network_of_the_suite_adds_up() -> None:
    for dimensions in (2, 3):
        batch = example_batch(dimensions)
        assert batch.model is not None and batch.images is not None
        found = batch.model.relevance(batch.images, "layer", 1)
        total = found.layer.reshape(3, -1).sum(1) + found.absorbed
        assert_allclose(total, found.output, rtol=1e-6)
        assert_array_equal(found.output, batch.model.logits(batch.images)[:, 1])
