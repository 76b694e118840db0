"""The demo store made anew, on a few tiles."""

from __future__ import annotations

import numpy as np
import pytest

from widgetkit import tiles
from widgetkit.demos import build_demo_store, demo_model, demo_store, demo_tiles, fetch, green_share
from widgetkit.errors import FetchFailed


@pytest.fixture(scope="module")
def source():
    """The demo's tiles, or a skip where slide and weights can be neither found nor fetched."""
    for package in ("openslide", "torch", "umap"):
        pytest.importorskip(package)
    try:
        fetch("efficientnet-lite0")
        return demo_tiles()
    except FetchFailed as error:
        pytest.skip(f"the demo's slide or weights are not there: {error}")


def test_green_is_ink_and_neither_stain_nor_glass() -> None:
    ink, stain, glass, dark = (40, 160, 140), (200, 90, 150), (244, 246, 245), (10, 60, 50)
    picture = np.array([[ink, stain], [glass, dark]], np.uint8)[None]
    assert green_share(picture).tolist() == [0.25]


def test_the_shipped_store_holds_these_tiles(source, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("WIDGETKIT_CACHE", str(tmp_path))
    shipped = demo_store().tiles
    assert shipped["id"].tolist() == source.table["id"].tolist()
    np.testing.assert_allclose(shipped["green"], source.table["green"], atol=1e-3)
    assert set(shipped["slide"]) == {"CMU-1 upper", "CMU-1 lower"}


def test_the_builder_and_the_shipped_store_agree(source, tmp_path, monkeypatch) -> None:
    rows = np.arange(0, len(source), 6)
    built = build_demo_store(tmp_path / "few.wk", tiles=tiles.subset(source, rows), progress=False)
    assert built.verify(full=True).ok
    assert set(built.derived.kinds()) == {"projection", "clustering"}
    monkeypatch.setenv("WIDGETKIT_CACHE", str(tmp_path / "cache"))
    shipped = demo_store()
    (layer,) = built.layers
    # the same network and tiles; other processors round differently in float32
    np.testing.assert_allclose(
        built.activations(layer), shipped.activations(layer, rows), rtol=2e-2, atol=5e-2
    )
    assert built.manifest.model == shipped.manifest.model
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".demo")] == []


def test_the_model_for_maps_is_the_one_that_made_the_store(source, tmp_path, monkeypatch) -> None:
    from widgetkit.extraction import ModelContext

    monkeypatch.setenv("WIDGETKIT_CACHE", str(tmp_path))
    shipped = demo_store()
    monkeypatch.delenv("WIDGETKIT_CACHE")
    context = ModelContext.for_store(demo_model(), shipped)
    (layer,) = shipped.layers
    activations, gradients = context.activations_and_gradients(shipped.images([0]), layer, 0)
    assert activations.shape == gradients.shape == (1, 80, 8, 8)
