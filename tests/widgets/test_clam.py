"""CLAM in the views: what can be chosen, against which cluster, and the words for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import widgetkit as wk
from tests.deep import NAMES, Deep, make_deep
from widgetkit.errors import InvalidInput
from widgetkit.session import MapSpec, Session
from widgetkit.store import ActivationStore
from widgetkit.widgets import ClusterPanel, MapViewer, SlideView, map_menu


def say(view: MapViewer, **content: object) -> None:
    """A choice in the lists, as the browser sends it."""
    view._handle_custom_msg({"kind": "map", **content}, [])


def offered(session: Session) -> dict[str, dict[str, str]]:
    return {entry["name"]: entry for entry in map_menu.methods(session)}


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Deep:
    return make_deep(tmp_path_factory.mktemp("views") / "s.wk")


@pytest.fixture
def session(deep: Deep) -> Session:
    return Session(deep.store, deep.context())


def test_the_menu_says_why_it_cannot_run(deep: Deep, session: Session) -> None:
    assert offered(session)["clam"] == {"name": "clam", "title": "CLAM"}
    assert offered(Session(deep.store))["clam"]["reason"] == "needs the model"
    session.cluster("nmf", 2)
    why = "needs clusters with centres: k-means or deep clustering"
    assert offered(session)["clam"]["reason"] == why
    alone = Session(deep.store)
    alone.cluster("nmf", 2)
    assert offered(alone)["clam"]["reason"] == why  # the network would not help
    session.cluster("kmeans", 2)
    assert "reason" not in offered(session)["clam"]


def test_beside_a_layer_of_vectors_every_method_but_the_factors_is_offered(deep: Deep) -> None:
    entries = offered(Session(deep.store, deep.context(), layer="latent"))
    assert entries["cluster"]["reason"] == "needs stored maps of activations"
    for name in ("clam", "gradcam", "scorecam", "occlusion", "channel", "selection"):
        assert "reason" not in entries[name], entries[name]


def test_lists_of_targets_and_of_clusters_to_set_them_against(session: Session) -> None:
    viewer = MapViewer(session)
    assert (viewer._method, viewer._target, viewer._against) == ("clam", "cluster:", "")
    assert [entry["label"] for entry in viewer._targets] == ["each tile's own", *NAMES]
    assert [entry["label"] for entry in viewer._againsts] == ["none", *NAMES]
    say(viewer, method="clam", target="cluster:2", against="")
    assert session.map_spec == MapSpec("clam", 2, of="cluster")
    assert [entry["value"] for entry in viewer._againsts] == ["", "0", "1"]  # not itself
    say(viewer, method="clam", target="cluster:2", against="0")
    assert session.map_spec == MapSpec("clam", 2, of="cluster", against=0)
    assert (viewer._target, viewer._against) == ("cluster:2", "0")
    # the list of targets moves to the one that it was set against
    say(viewer, method="clam", target="cluster:0", against="0")
    assert session.map_spec == MapSpec("clam", 0, of="cluster")
    assert viewer._against == ""
    say(viewer, method="gradcam", target=None)
    assert viewer._againsts == [] and viewer._against == ""
    session.set_map("clam")
    session.merge_clusters([0, 1])
    session.merge_clusters([0, 1])
    assert viewer._againsts == []  # there is no other


def test_it_says_what_the_maps_are_of(session: Session) -> None:
    viewer = MapViewer(session, count=9)
    say(viewer, method="clam", target="cluster:2", against="0")
    head = viewer.describe().partition("\n")[0]
    assert f"cluster '{NAMES[2]}' against '{NAMES[0]}' on 9 of all 48 tiles" in head
    assert "layer encoder.last" in head
    assert viewer._maps_info["title"] == f"CLAM: {NAMES[2]} against {NAMES[0]}"
    assert viewer._maps_info["status"] == "final"
    session.set_layer("latent")
    assert "each tile's own cluster on" in viewer.describe()
    assert "layer encoder.last" in viewer.describe()  # where the maps are
    assert viewer._maps_info["shape"] == [4, 4]


@pytest.mark.parametrize(
    "content",
    [
        {"method": "clam", "target": "cluster:1", "against": "9"},
        {"method": "clam", "target": "cluster:1", "against": "-1"},
        {"method": "clam", "target": "cluster:1", "against": "x"},
        {"method": "clam", "target": "cluster:1", "against": 0},
        {"method": "clam", "target": "cluster:1", "against": "9" * 5000},
        {"method": "clam", "target": "class:1"},
        {"method": "gradcam", "target": "class:1", "against": "0"},
    ],
)
def test_what_no_list_of_ours_offers_is_refused(
    session: Session, content: dict[str, object]
) -> None:
    viewer, before = MapViewer(session, count=2), session.map_spec
    with pytest.raises(InvalidInput):
        say(viewer, **content)
    assert viewer.error and session.map_spec == before


def test_a_brush_beside_vectors_selects_on_the_layer_of_the_maps(deep: Deep) -> None:
    session = Session(deep.store, deep.context(), layer="latent")
    viewer = MapViewer(session, count=4)
    row = int(viewer.rows[1])
    viewer._handle_custom_msg({"kind": "alike", "row": row, "cells": [5, 6]}, [])
    other = Session(deep.store, layer="encoder.last")
    assert session.selection == other.select_alike(row, [5, 6])


def test_clusters_without_centres_leave_the_tiles_and_the_reason(session: Session) -> None:
    viewer = MapViewer(session, count=4)
    session.cluster("nmf", 2)
    assert viewer._maps == b"" and "centres" in viewer._maps_info["reason"]
    assert len(viewer.rows) == 4 and not viewer.error
    session.cluster("deep")
    assert viewer._maps


def test_maps_kept_in_the_store_are_offered_without_the_model(tmp_path: Path) -> None:
    deep = make_deep(tmp_path / "s.wk", epochs=1)
    made = Session(deep.store, deep.context())
    made.keep_maps("clam", count=6)
    made.keep_maps("gradcam", 0, count=6)
    assert offered(made)["clam"]["title"] == "CLAM"
    alone = Session(deep.store)
    entries = offered(alone)
    assert entries["clam"] == {"name": "clam", "title": "CLAM (kept in the store)"}
    assert entries["gradcam"]["title"] == "Grad-CAM (kept in the store)"
    assert entries["occlusion"]["reason"] == "needs the model"
    viewer = MapViewer(alone, count=6)
    assert viewer._maps_info["title"] == "CLAM: each tile's own (kept in the store)"
    viewer.count = 8
    assert viewer._maps_info["title"].endswith("(kept for 6 of 8 tiles)")
    assert np.isnan(np.frombuffer(viewer._maps, "<f2").reshape(8, -1)[6:]).all()


def test_the_explorer_opens_with_the_clusters_and_their_maps(deep: Deep) -> None:
    explorer = wk.explore(deep.store, deep.network)
    assert "CLAM: each tile's own" in explorer.maps.describe()
    assert "3 clusters by deep, layer latent" in explorer.clusters.describe()
    assert [entry["label"] for entry in explorer.maps._targets[1:]] == list(NAMES)
    explorer.gallery.rule = "score"
    explorer.session.set_map("clam", 1)
    np.testing.assert_array_equal(explorer.gallery.rows[:5], explorer.maps.rows[:5])
    assert "closeness to the centre of there" in explorer.gallery._rule_text
    explorer.session.set_layer("latent")
    assert "no maps" not in explorer.maps.describe()
    assert explorer.error_strip.message == ""


def test_the_panel_brings_the_deep_clusters_back(deep: Deep, session: Session) -> None:
    panel = ClusterPanel(session)
    assert "deep" in [name for _, name in panel._method.options]
    panel._method.value = "nmf"
    panel._cluster("all")
    assert session.clustering is not None and session.clustering.method == "nmf"
    panel._method.value = "deep"
    assert panel._k.disabled  # they were made elsewhere
    panel._cluster("all")
    assert session.clustering.method == "deep"
    assert "3 clusters by deep" in panel.describe()


def test_a_store_without_deep_clusters_does_not_offer_them(store: ActivationStore) -> None:
    panel = ClusterPanel(Session(store))
    assert "deep" not in [name for _, name in panel._method.options]


def test_the_slide_view_says_it_too(session: Session) -> None:
    view = SlideView(session)
    assert "CLAM runs the network on the 1 tiles of this slide." in view.describe()
    entries = {entry["name"]: entry for entry in view._methods}
    assert "reason" not in entries["cluster"]  # clusters of vectors: one colour a tile
    session.set_map("clam", 1, against=2)
    view._handle_custom_msg({"kind": "compute"}, [])
    assert f"map of cluster '{NAMES[1]}' against '{NAMES[2]}'" in view.describe()
    assert f"CLAM: {NAMES[1]} against {NAMES[2]}" in view._map_info["title"]
    session.set_map("cluster")
    assert not view._map_info.get("reason"), view._map_info


def test_a_first_look_is_announced(session: Session) -> None:
    viewer = MapViewer(session, count=12)
    assert "first look" not in viewer.describe()
    result = session.maps(viewer.rows)
    viewer._show_maps(replace(result, status="coarse"))
    assert viewer._maps_info["status"] == "coarse"
    assert "(a first look)" in viewer.describe()
