"""Class maps that the store keeps are shown where there is no network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import widgetkit as wk
from tests.readable import extract_store
from tests.stores import make_store
from widgetkit import explain, figures
from widgetkit.errors import NeedsModel
from widgetkit.explain import Batch, ClassTarget
from widgetkit.extraction import ModelContext
from widgetkit.factors import kept_maps
from widgetkit.session import MapSpec, Session, SlideMap, keptmaps
from widgetkit.store import ActivationStore
from widgetkit.widgets import MapViewer, SlideView, map_menu

KEPT = np.arange(0, 48, 2)  # every other tile, of class 1 alone


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[ActivationStore, ModelContext]:
    store, net = extract_store(tmp_path_factory.mktemp("kept") / "s.wk")
    model = ModelContext.for_store(net, store)
    kept_maps.maps_of(store, "gradcam", 1, KEPT, layer="body", model=model)
    return store, model


@pytest.fixture
def alone(made: tuple[ActivationStore, ModelContext]) -> Session:
    return wk.Session(made[0], layer="body")


def test_kept_maps_are_those_of_the_network(
    made: tuple[ActivationStore, ModelContext], alone: Session
) -> None:
    store, model = made
    spec, rows = MapSpec("gradcam", 1), [6, 2, 40]
    assert alone.maps_at_once(spec)
    found = alone.maps(rows, spec)
    batch = Batch.from_store(store, rows, layer="body", model=model)
    np.testing.assert_allclose(
        found.values, explain.compute("gradcam", batch, ClassTarget(1)), atol=1e-5
    )
    assert found.ready.all() and found.status == "final"
    assert found.title == "Grad-CAM: bars (kept in the store)"
    with_model = wk.Session(store, model, layer="body")
    assert not with_model.maps_at_once(spec)
    assert with_model.maps([1, 3], spec).ready.all()  # computed, kept or not


def test_tiles_without_a_kept_map_are_counted_and_not_ready(alone: Session) -> None:
    seen = []
    job = alone.request_maps([0, 1, 2, 3, 4], MapSpec("gradcam", 1), seen.append)
    assert job is None and len(seen) == 1  # at once: nothing is computed
    found = seen[0]
    assert list(found.ready) == [True, False, True, False, True]
    assert found.title.endswith("(kept for 3 of 5 tiles)")
    assert not found.values[~found.ready].any()
    full = alone.maps([0, 2, 4], MapSpec("gradcam", 1))
    assert (found.vmin, found.vmax) == (full.vmin, full.vmax)  # nothing missing is in the scale


def test_each_tile_has_the_map_of_its_own_class(alone: Session) -> None:
    predicted = np.asarray(alone.store.outputs).argmax(axis=1)
    rows = np.arange(len(predicted))
    wanted = (predicted == 1) & np.isin(rows, KEPT)
    if wanted.any():
        assert np.array_equal(alone.maps(rows, MapSpec("gradcam")).ready, wanted)
    if not wanted[1::2].any():
        with pytest.raises(NeedsModel):
            alone.maps(rows[1::2], MapSpec("gradcam"))


def test_what_is_not_kept_says_what_is(alone: Session) -> None:
    with pytest.raises(NeedsModel, match="24 other tiles"):
        alone.maps([1, 3], MapSpec("gradcam", 1))
    with pytest.raises(NeedsModel, match="other classes only: bars"):
        alone.maps([0, 2], MapSpec("gradcam", 0))
    with pytest.raises(NeedsModel, match="Occlusion runs the network"):
        alone.maps([0, 2], MapSpec("occlusion", 1))
    with pytest.raises(NeedsModel):
        alone.maps([0], MapSpec("gradcam", 1, layer="early"))
    assert len(alone.maps([], MapSpec("gradcam", 1)).values) == 0


def test_classes_are_known_by_name_and_prefixes_do_not_mix(
    made: tuple[ActivationStore, ModelContext],
) -> None:
    store, _ = made
    assert kept_maps.kept_classes(store, "gradcam", layer="body") == (1,)
    assert kept_maps.kept_classes(store, "grad", layer="body") == ()
    assert kept_maps.kept_classes(store, "gradcam", layer="early") == ()
    assert keptmaps.classes(store, explain.get("cluster"), "body") == ()


def test_damaged_maps_are_as_if_not_kept(tmp_path: Path) -> None:
    store, net = extract_store(tmp_path / "s.wk", 12)
    model = ModelContext.for_store(net, store)
    kept_maps.maps_of(store, "gradcam", 1, [0, 1], layer="body", model=model)
    for file in (store.path / "derived").rglob("*gradcam-class-1*/*.npy"):
        content = bytearray(file.read_bytes())
        content[-1] ^= 0x40
        file.write_bytes(bytes(content))
    with pytest.raises(NeedsModel):
        wk.Session(store, layer="body").maps([0], MapSpec("gradcam", 1))


# -- views -------------------------------------------------------------------------------
def test_the_map_viewer_shows_them_and_offers_the_method(alone: Session) -> None:
    offered = {entry["name"]: entry for entry in map_menu.methods(alone)}
    assert (
        "reason" not in offered["gradcam"] and offered["occlusion"]["reason"] == "needs the model"
    )
    alone.select([0, 1, 2])
    alone.set_map("gradcam", 1)
    viewer = MapViewer(alone, rule="first")
    assert viewer._maps_info["title"] == "Grad-CAM: bars (kept for 2 of 3 tiles)"
    assert "kept for 2 of 3 tiles" in viewer.describe()
    cells = np.frombuffer(viewer._maps, "<f2").reshape(3, -1)
    assert np.isnan(cells[1]).all() and np.isfinite(cells[[0, 2]]).all()
    alone.set_map("gradcam", 0)
    assert "other classes only" in viewer._maps_info["reason"] and not viewer.error


def test_paper_says_where_there_is_no_map(alone: Session) -> None:
    alone.select([0, 1, 2])
    alone.set_map("gradcam", 1)
    page = figures.maps(alone, rows=[0, 1, 2])
    words = [text.get_text() for axes in page.axes for text in axes.texts]
    assert words.count("no map") == 1


def test_the_slide_view_shows_them_at_once(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.wk", n=36)
    rows, method = np.arange(0, 36, 2), explain.get("gradcam")
    store.derived.put(
        kept_maps.KIND,
        kept_maps._name(store, "gradcam", ClassTarget(1), "features.4"),
        {"rows": rows, "values": np.ones((18, 7, 7), np.float32)},
        params=kept_maps._params(method, ClassTarget(1), "features.4"),
    )
    alone = wk.Session(store)
    alone.set_map("gradcam", 1)
    found = alone.slide_map(0, method="gradcam")
    assert found.status == "final" and found.title.endswith("(kept for 6 of 12 tiles)")
    missing = np.isnan(found.values) & (found.coverage > 0)
    assert missing.any() and (found.values[np.isfinite(found.values)] == 1).all()
    seen: list[SlideMap] = []
    assert alone.request_slide_map(0, method="gradcam", on_result=seen.append) is None
    assert [result.status for result in seen] == ["final"]
    view = SlideView(alone)
    assert not view._map_info.get("reason"), view._map_info
    assert "kept for 6 of 12 tiles" in view._map_info["title"]
    view.slide = 1  # nothing runs, so it needs no asking there either
    assert "kept for" in view._map_info["title"]
