"""Maps of concepts in a session: targets by name, each tile's own, undo, kept maps, menus and views."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.readable import extract_store
from tests.session.readings import hand_made
from widgetkit import demos, explain, figures
from widgetkit.concepts import ConceptSet
from widgetkit.errors import InvalidInput, NeedsModel, TooFew
from widgetkit.explain import Batch, concept_direction, concept_profiles
from widgetkit.extraction import ModelContext
from widgetkit.factors import kept_maps
from widgetkit.session import MapSpec, Session, conceptmaps
from widgetkit.session.conceptmaps import ConceptsNow, ConceptTargets, towards_layer
from widgetkit.store import ActivationStore
from widgetkit.widgets import Gallery, MapViewer, VolumeView, map_menu

METHODS = ("concept", "concept-plain", "concept-gradient")
RIM, SCAR = "enhancing rim", "central scar"
LAYER = "features.last"


@pytest.fixture(scope="module")
def lesions(tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    """A copy of the demo, whose maps may be kept in it."""
    path = tmp_path_factory.mktemp("lesions") / "s.wk"
    shutil.copytree(demos.lesion_store().path, path)
    return ActivationStore.open(path)


@pytest.fixture(scope="module")
def context(lesions: ActivationStore) -> ModelContext:
    return demos.lesion_model(lesions)


@pytest.fixture(scope="module")
def concepts(lesions: ActivationStore) -> ConceptSet:
    return ConceptSet.from_table(lesions.tiles, [RIM, SCAR, "washout"])


@pytest.fixture
def session(lesions: ActivationStore, context: ModelContext, concepts: ConceptSet) -> Session:
    made = Session(lesions, context, layer="dense")
    made.set_concepts(concepts)
    return made


def by_hand(
    store: ActivationStore, concepts: ConceptSet, name: str, f: int, rows: Any, model: Any = None
) -> np.ndarray:
    """As it is called in Python."""
    labels = concepts.labels[:, f]
    profiles = concept_profiles(store, LAYER, concepts.labels, concepts.names)
    target = profiles.target(
        f,
        direction=concept_direction(store.embeddings(LAYER), labels == 1, labels == 0),
        towards=concept_direction(store.embeddings("dense"), labels == 1, labels == 0),
        at="dense",
    )
    return explain.compute(name, Batch.from_store(store, rows, layer=LAYER, model=model), target)


# -- maps --------------------------------------------------------------------------------
@pytest.mark.parametrize("name", METHODS)
def test_maps_are_those_of_the_method(
    name: str, session: Session, context: ModelContext, concepts: ConceptSet
) -> None:
    rows = [200, 3, 17]
    spec = session.set_map(name, 1)
    found = session.maps(rows)
    expected = by_hand(session.store, concepts, name, 1, rows, context)
    np.testing.assert_allclose(found.values, expected, rtol=1e-4, atol=1e-5)
    assert found.title == f"{explain.methods()[name].title}: {SCAR}"
    assert found.status == "final" and found.ready.all() and found.spec == spec
    assert session.map_layer() == LAYER  # the session looks at vectors


def test_in_two_dimensions_and_without_a_layer_of_vectors(tmp_path: Path) -> None:
    store, net = extract_store(tmp_path / "s.wk")
    session = Session(store, ModelContext.for_store(net, store), layer="early")
    session.save_as_concept("bars", np.arange(48) % 2 == 1)
    assert towards_layer(store, "early") == "early"
    for name in METHODS:
        found = session.maps([0, 1, 2], MapSpec(name, 0))
        assert found.values.shape == (3, *store.layers["early"].grid)
        assert found.values[1].max() > 0
    plain = session.maps([0, 1], MapSpec("concept-plain", 0)).values
    gradient = session.maps([0, 1], MapSpec("concept-gradient", 0)).values
    # towards a direction of the layer itself: the plain map, by the mean over its positions
    np.testing.assert_allclose(gradient, np.maximum(plain, 0) / plain[0].size, atol=1e-5)


def test_each_tile_has_that_of_the_first_concept_it_shows(session: Session) -> None:
    labels = session.concepts.labels  # type: ignore[union-attr]
    rows = np.arange(40)
    found = session.maps(rows, MapSpec("concept-plain"))
    assert found.title == "Concept, plain: the first concept that each tile is an example of"
    own = [int(np.argmax(row == 1)) if (row == 1).any() else -1 for row in labels[rows]]
    assert len(set(own)) == 4
    for i, f in enumerate(own):
        expected = session.maps([rows[i]], MapSpec("concept-plain", f)).values[0] if f >= 0 else 0
        np.testing.assert_allclose(
            found.values[i], np.broadcast_to(expected, found.values[i].shape), atol=1e-5
        )
    assert found.ready.all()


def test_with_a_reading_each_tile_has_that_of_its_strongest_concept(session: Session) -> None:
    # concepts of its own: the store keeps the reading, which other sessions of these would find
    session.set_concepts(ConceptSet.from_table(session.store.tiles, [SCAR, "washout", "necrosis"]))
    session.read_concepts(n_boot=0)
    reading = session.concept_reading
    assert reading is not None
    rows = np.arange(60)
    found = session.maps(rows, MapSpec("concept"))
    assert found.title == "Concept, by shells: each tile's strongest concept"
    strength = np.where(reading.identified.present, reading.identified.strength, -np.inf)[rows]
    own = np.where(reading.identified.present[rows].any(axis=1), strength.argmax(axis=1), -1)
    assert len(np.unique(own)) == 4
    for f in range(3):
        expected = session.maps(rows[own == f], MapSpec("concept", f)).values
        np.testing.assert_allclose(found.values[own == f], expected, atol=1e-5)
    assert not found.values[own == -1].any()


def test_own_concepts_are_those_with_examples() -> None:
    """What is identified and was never shown an example of has nothing to be drawn by."""
    reading = hand_made()
    labels = reading.concepts.labels.copy()
    labels[:, 0] = np.minimum(labels[:, 0], 0)
    given = replace(reading.concepts, labels=labels)
    targets = ConceptTargets(None, None)  # type: ignore[arg-type]
    now = ConceptsNow(given, reading, targets)
    own = now.own(np.arange(60))
    assert (own != 0).all() and (own[reading.identified.present[:, 1]] > 0).all()
    assert (own[~reading.identified.present[:, 1:].any(axis=1)] == -1).all()


def test_profiles_are_read_once(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    real = explain.concept_profiles

    def counted(*args: Any, **options: Any) -> Any:
        calls.append(args[1])
        return real(*args, **options)

    monkeypatch.setattr(conceptmaps.explain, "concept_profiles", counted)
    before = session.concepts
    for f in (0, 1, 0):
        session.maps([1, 2], MapSpec("concept", f))
    assert calls == [LAYER]
    session.save_as_concept("new", [3, 4])
    session.maps([1, 2], MapSpec("concept", 3))
    assert calls == [LAYER] * 2
    session.undo()
    assert session.concepts == before
    session.maps([1, 2], MapSpec("concept", 2))
    assert calls == [LAYER] * 2


# -- choosing ----------------------------------------------------------------------------
def test_a_map_follows_its_concept(session: Session) -> None:
    session.set_map("concept", 1)
    session.save_as_concept("new", [1, 2])
    assert session.map_spec.target == 1
    session.rename_concept(SCAR, "scar")
    assert session.map_spec.target == 1 and "'scar'" in map_menu.title_of(session, session.map_spec)
    session.remove_concept(RIM)
    assert session.map_spec == MapSpec("concept", 0)
    session.undo()
    assert session.map_spec == MapSpec("concept", 1)
    session.redo()
    session.remove_concept("scar")
    assert session.map_spec == MapSpec("concept")
    session.undo()
    session.set_concepts(None)
    assert session.map_spec == MapSpec("concept")
    session.set_map("cluster", 0)
    session.undo()
    session.undo()
    assert session.map_spec == MapSpec("concept", 0)


def test_the_map_is_part_of_the_state(session: Session) -> None:
    session.set_map("concept-plain", 2)
    text = session.state()
    session.set_map("cluster")
    session.restore(text)
    assert session.map_spec == MapSpec("concept-plain", 2)
    session.set_map("concept", 1, of="concept")
    other = Session(session.store, layer="dense")
    other.restore(session.state())
    assert other.map_spec == MapSpec("concept", 1, of="concept")


def test_what_cannot_be_drawn_says_why(session: Session, lesions: ActivationStore) -> None:
    bare = Session(lesions, layer="dense")
    for name in METHODS:
        assert map_menu.why_not(bare, explain.methods()[name]) == (
            "needs concepts: save a selection as one"
        )
        with pytest.raises(InvalidInput, match="save_as_concept"):
            bare.maps([1], MapSpec(name))
    with pytest.raises(InvalidInput, match="save_as_concept"):
        bare.set_map("concept", 0)
    with pytest.raises(InvalidInput, match="no concept 3"):
        session.set_map("concept", 3)
    with pytest.raises(InvalidInput, match="not of 'concept'"):
        session.set_map("cluster", of="concept")
    empty = session.concepts.with_examples("seen by nobody", [])  # type: ignore[union-attr]
    session.set_concepts(empty)
    with pytest.raises(TooFew, match="'seen by nobody' has no example"):
        session.set_map("concept", 3)
    session.set_concepts(ConceptSet.from_examples(len(lesions), {"nobody": []}))
    assert map_menu.why_not(session, explain.methods()["concept"]) == "needs examples of a concept"
    # the only concept, and every tile shows it
    session.set_concepts(ConceptSet.from_examples(len(lesions), {"all": np.arange(len(lesions))}))
    with pytest.raises(TooFew, match="only one"):
        session.maps([1], MapSpec("concept", 0))
    with pytest.raises(InvalidInput, match="direction"):
        session.maps([1], MapSpec("concept-plain", 0))


def test_one_selection_saved_as_a_concept_is_enough(session: Session) -> None:
    session.set_concepts(None)
    session.select(np.arange(10, 30))
    session.save_as_concept("these")
    for name in METHODS:
        found = session.maps([10, 100], MapSpec(name, 0))
        assert np.isfinite(found.values).all() and np.abs(found.values).max() > 0


# -- kept maps ---------------------------------------------------------------------------
def test_kept_maps_are_shown_without_the_network(
    lesions: ActivationStore, context: ModelContext, concepts: ConceptSet
) -> None:
    rows = np.arange(0, 30, 3)
    session = Session(lesions, context, layer="dense")
    session.set_concepts(concepts)
    expected = session.maps(rows, MapSpec("concept-gradient", 0)).values
    session.keep_maps("concept-gradient", 0, rows=rows)
    alone = Session(lesions, layer="dense")
    entry = explain.methods()["concept-gradient"]
    assert map_menu.why_not(alone, entry).startswith("needs concepts")
    alone.set_concepts(concepts)
    assert map_menu.why_not(alone, entry) == ""
    assert alone.maps_at_once(MapSpec("concept-gradient", 0))
    found = alone.maps(rows[::-1], MapSpec("concept-gradient", 0))
    np.testing.assert_allclose(found.values, expected[::-1], atol=1e-6)
    assert found.title == f"Concept, by gradients: {RIM} (kept in the store)"
    # they are known by the examples, not by number or name
    alone.rename_concept(RIM, "rim")
    alone.set_concepts(alone.concepts.without("washout").with_examples("more", [5]))  # type: ignore[union-attr]
    assert alone.maps(rows[:2], MapSpec("concept-gradient", 0)).ready.all()
    alone.set_concepts(ConceptSet.from_table(lesions.tiles, ["washout", RIM]))
    assert alone.maps(rows[:2], MapSpec("concept-gradient", 1)).ready.all()
    with pytest.raises(NeedsModel, match=f"others only: {RIM}"):
        alone.maps(rows[:2], MapSpec("concept-gradient", 0))
    with pytest.raises(NeedsModel, match="10 other tiles"):
        alone.maps([1], MapSpec("concept-gradient", 1))
    partly = alone.maps([0, 1], MapSpec("concept-gradient", 1))
    assert partly.ready.tolist() == [True, False] and "kept for 1 of 2" in partly.title
    # another example makes it another concept
    alone.save_as_concept(RIM, np.flatnonzero(concepts.labels[:, 0] == 0)[:1])
    assert map_menu.why_not(alone, entry) == "needs the model"
    with pytest.raises(NeedsModel, match="runs the network"):
        alone.maps(rows[:2], MapSpec("concept-gradient", 1))


def test_occlusion_takes_concepts_beside_classes(
    lesions: ActivationStore, context: ModelContext, concepts: ConceptSet
) -> None:
    session = Session(lesions, context, layer="dense")
    assert {e["group"] for e in map_menu.targets(session, MapSpec("occlusion"))} == {"class"}
    session.set_concepts(concepts)
    groups = [e["group"] for e in map_menu.targets(session, MapSpec("occlusion"))]
    assert groups == ["class"] * 7 + ["concept"] * 4
    spec = session.set_map("occlusion", 1, of="concept")
    assert session.history.steps[-1].code == "session.set_map('occlusion', 1, of='concept')"
    found = session.maps([200])
    assert found.title == f"Occlusion: {SCAR}"
    assert not np.allclose(found.values, session.maps([200], MapSpec("occlusion", 1)).values)
    session.keep_maps(spec, rows=[200])
    alone = Session(lesions, layer="dense")
    alone.set_concepts(concepts)
    np.testing.assert_allclose(alone.maps([200], spec).values, found.values, atol=1e-6)
    with pytest.raises(NeedsModel, match=f"others only: {SCAR}"):
        alone.maps([200], MapSpec("occlusion", 0, of="concept"))
    with pytest.raises(NeedsModel, match="other classes only"):
        alone.maps([200], MapSpec("occlusion", 0))
    alone.set_concepts(concepts.without(SCAR))
    with pytest.raises(NeedsModel, match="runs the network"):
        alone.maps([200], MapSpec("occlusion", 0, of="concept"))


def test_each_tiles_own_can_be_kept(
    lesions: ActivationStore, context: ModelContext, concepts: ConceptSet
) -> None:
    rows, spec = np.arange(100, 112), MapSpec("concept-gradient")
    session = Session(lesions, context, layer="dense")
    session.set_concepts(concepts)
    expected = session.maps(rows, spec)
    assert session.keep_maps(spec, rows=rows).status == "done"
    alone = Session(lesions, layer="dense")
    alone.set_concepts(concepts)
    found = alone.maps(rows, spec)
    np.testing.assert_allclose(found.values, expected.values, atol=1e-6)
    assert found.ready.all()
    assert len(kept_maps.kept_concepts(lesions, "concept-gradient", layer=LAYER)) >= 3
    with pytest.raises(InvalidInput, match="nothing to keep"):
        session.keep_maps("concept", 0)


def test_a_session_without_torch_shows_them(
    lesions: ActivationStore, context: ModelContext
) -> None:
    session = Session(lesions, context, layer="dense")
    session.save_as_concept("some", np.arange(20))
    session.keep_maps("concept-gradient", 0, rows=[1, 2])
    code = f"""
import sys
sys.modules["torch"] = None
import numpy as np, widgetkit as wk
session = wk.Session(wk.store.ActivationStore.open({str(lesions.path)!r}), layer="dense")
session.save_as_concept("the same", np.arange(20))
for name in ("concept", "concept-plain", "concept-gradient"):
    session.set_map(name, 0)
    print(name, session.maps([1, 2]).ready.all())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == [word for m in METHODS for word in (m, "True")], done.stderr


# -- menus and views ---------------------------------------------------------------------
def test_the_menu_lists_concepts_by_name(session: Session) -> None:
    session.set_map("concept")
    session.rename_concept(RIM, "<b>rim</b>")
    viewer = MapViewer(session, count=6)
    assert viewer._targets == [
        {"value": "concept:", "label": "each tile's own", "group": "concept"},
        {"value": "concept:0", "label": "<b>rim</b>", "group": "concept"},
        {"value": "concept:1", "label": SCAR, "group": "concept"},
        {"value": "concept:2", "label": "washout", "group": "concept"},
    ]
    assert viewer._target == "concept:"
    say = viewer._handle_custom_msg
    for entry in viewer._targets:
        say({"kind": "map", "method": "concept", "target": entry["value"]}, [])
        assert viewer._target == entry["value"] and viewer._maps_info["count"] == 6
    assert viewer.describe().startswith("Map viewer: concept 'washout' on ")
    session.set_concepts(session.concepts.with_examples("unseen", []))  # type: ignore[union-attr]
    assert len(viewer._targets) == 4


def test_views_follow_the_concepts(session: Session) -> None:
    session.set_map("concept", 0)
    viewer = MapViewer(session, count=4)
    before = viewer._maps
    session.save_as_concept("fourth", np.arange(40))
    assert viewer._targets[-1]["label"] == "fourth"
    assert viewer._maps != before  # profiles are compared with one more
    session.set_concepts(None)
    assert viewer._maps == b"" and "no concepts" in viewer._maps_info["reason"]
    reasons = {e["name"]: e.get("reason", "") for e in viewer._methods}
    assert reasons["concept"] == "needs concepts: save a selection as one"
    session.undo()
    assert viewer._maps != b""
    session.set_map("cluster")
    sent = viewer._maps
    session.save_as_concept("fifth", [1])
    assert viewer._maps is sent  # maps of clusters know nothing of it
    assert "reason" not in next(e for e in viewer._methods if e["name"] == "concept")


def test_a_reading_changes_each_tiles_own(session: Session) -> None:
    session.set_concepts(ConceptSet.from_table(session.store.tiles, ["washout", RIM]))
    session.set_map("concept")
    viewer = MapViewer(session, count=8)
    before = viewer._maps
    session.read_concepts(n_boot=0, seed=1)
    assert viewer._maps != before


def test_volume_view_gallery_and_figures_take_them(session: Session) -> None:
    view = VolumeView(session)
    gallery = Gallery(session)
    view._handle_custom_msg({"kind": "map", "method": "concept", "target": "concept:1"}, [])
    assert session.map_spec == MapSpec("concept", 1, of="concept")
    assert view._target == "concept:1" and "shape" in view._map_info
    assert f"map of concept '{SCAR}'" in view.describe()
    session.set_concepts(None)
    assert "no concepts" in view._map_info["reason"]
    session.undo()
    assert "shape" in view._map_info
    gallery.rule = "score"
    assert len(gallery.rows)
    assert f"Concept, by shells of concept '{SCAR}'" in figures.captions.maps_sentence(session)


def test_ranked_by_score_goes_by_the_concept(session: Session) -> None:
    session.set_map("concept", 1)
    rows, sentence = session.ranked("score", 20)
    labels = session.concepts.labels[:, 1]  # type: ignore[union-attr]
    assert sentence == f"20 of 270 tiles with the highest place along the direction of {SCAR}."
    assert (labels[rows] == 1).mean() > 2 * (labels == 1).mean()


def test_the_page_runs(repo: Path) -> None:
    page = (repo / "docs" / "concept-maps.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 3
    for number, block in enumerate(blocks):
        exec(compile(block, f"concept-maps.md, block {number}", "exec"), names)
    assert names["maps"].shape == (2, 6, 8, 8) and names["maps"].max() > 0
    own = "Concept, by gradients: the first concept that each tile is an example of"
    assert names["session"].maps([200, 203]).title == own
    for name in METHODS:
        assert f"| `{name}` |" in page
