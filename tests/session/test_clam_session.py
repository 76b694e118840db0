"""Clusters of vectors in a session: their maps, the layer these are drawn on, coarse ones first, kept ones."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import widgetkit as wk
from tests.deep import NAMES, Deep, make_deep
from tests.readable import extract_store
from widgetkit import explain, figures
from widgetkit.errors import Cancelled, InvalidInput, NeedsActivations, NeedsModel, UnknownName
from widgetkit.explain import Batch, LatentTarget
from widgetkit.extraction import ModelContext
from widgetkit.factors import kept_maps
from widgetkit.session import MapResult, MapSpec, Session, grouping
from widgetkit.session.clustering import Clustering
from widgetkit.session.mapspec import layer_with_maps

Make = Callable[..., Any]


@pytest.fixture(scope="module", params=[(16, 16), (8, 8, 8)], ids=["2-D", "3-D"])
def deep(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Deep:
    return make_deep(tmp_path_factory.mktemp("clam") / "s.wk", shape=request.param)


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Deep:
    return make_deep(tmp_path_factory.mktemp("clam") / "flat.wk")


@pytest.fixture
def session(flat: Deep) -> Session:
    return Session(flat.store, flat.context())


def by_hand(deep: Deep, rows: Any, index: int, against: int | None = None) -> np.ndarray:
    """CLAM as it is called in Python."""
    batch = Batch.from_store(deep.store, rows, layer="encoder.last", model=deep.context())
    centres = deep.clustering.cluster_centers_
    return explain.compute("clam", batch, LatentTarget(centres, index, against, latent="latent"))


# -- maps of clusters of vectors ---------------------------------------------------------
@pytest.mark.parametrize("layer", ["encoder.last", "latent"])
def test_maps_are_those_of_the_method(deep: Deep, layer: str) -> None:
    session, rows = Session(deep.store, deep.context(), layer=layer), [5, 0, 9]
    found = session.maps(rows, MapSpec("clam", 2))
    np.testing.assert_allclose(found.values, by_hand(deep, rows, 2), rtol=1e-5)
    assert (found.title, found.status) == (f"CLAM: {NAMES[2]}", "final")
    rather = session.maps(rows, MapSpec("clam", 2, against=0))
    np.testing.assert_allclose(rather.values, by_hand(deep, rows, 2, 0), rtol=1e-5)
    assert rather.title == f"CLAM: {NAMES[2]} against {NAMES[0]}"


def test_without_a_target_each_tile_has_that_of_its_own_cluster(deep: Deep) -> None:
    session, rows = Session(deep.store, deep.context()), np.arange(9)
    labels = deep.clustering.labels_[rows]
    found = session.maps(rows, MapSpec("clam"))
    for i in np.unique(labels):
        np.testing.assert_allclose(
            found.values[labels == i], by_hand(deep, rows[labels == i], int(i)), rtol=1e-5
        )
    rather = session.maps(rows, MapSpec("clam", against=1))
    assert rather.title == f"CLAM: each tile's own against {NAMES[1]}"
    assert rather.ready.all()
    assert not rather.values[labels == 1].any()  # nothing speaks for a cluster against itself
    np.testing.assert_allclose(
        rather.values[labels == 0], by_hand(deep, rows[labels == 0], 0, 1), rtol=1e-5
    )


def test_a_store_with_deep_clusters_opens_with_them_and_their_map(flat: Deep) -> None:
    session = Session(flat.store, flat.context())
    assert session.map_spec == MapSpec("clam")
    assert session.maps([0, 1]).title.startswith("CLAM")
    assert Session(flat.store).map_spec == MapSpec("clam")  # the store decides, not the network


def test_edits_move_the_maps_through_the_prototypes(flat: Deep, session: Session) -> None:
    rows = [3, 4]
    session.set_map("clam", 2, against=0)
    before = session.maps(rows).values
    session.rename_cluster(2, "nothing")
    session.hide_cluster(1)
    np.testing.assert_array_equal(session.maps(rows).values, before)
    assert session.maps(rows).title.startswith("CLAM: nothing against")
    session.split_cluster(0, 2)
    assert session.clustering is not None
    centres = session.clustering.prototypes
    assert centres is not None and len(centres) == 4
    batch = Batch.from_store(flat.store, rows, layer="encoder.last", model=session.model)
    np.testing.assert_allclose(
        session.maps(rows, MapSpec("clam", 3)).values,
        explain.compute("clam", batch, LatentTarget(centres, 3)),
        rtol=1e-5,
    )
    session.merge_clusters([1, 2])
    assert session.map_spec == MapSpec("clam", against=0)  # number 2 is another cluster now
    merged = session.clustering.prototypes
    assert merged is not None
    np.testing.assert_allclose(
        session.maps(rows, MapSpec("clam", 1)).values,
        explain.compute("clam", batch, LatentTarget(merged, 1)),
        rtol=1e-5,
    )


def test_centres_of_k_means_will_do_on_a_layer_with_maps_and_on_one_without(
    tmp_path: Path, flat: Deep
) -> None:
    store, net = extract_store(tmp_path / "s.wk", 12)
    session = Session(store, ModelContext.for_store(net, store), layer="body")
    session.cluster("kmeans", 3)
    assert session.clustering is not None
    centres = session.clustering.prototypes
    assert centres is not None
    found = session.maps([0, 1], MapSpec("clam", 1, against=2))
    batch = Batch.from_store(store, [0, 1], layer="body", model=session.model)
    target = LatentTarget(centres, 1, 2, latent="body")
    np.testing.assert_allclose(found.values, explain.compute("clam", batch, target), rtol=1e-4)
    other = Session(flat.store, flat.context(), layer="latent")
    other.cluster("kmeans", 2)
    assert other.maps([0, 1], MapSpec("clam", 1)).values.shape == (2, *flat.autoencoder.grid)


def test_clusters_without_centres_are_refused_with_the_way_out(session: Session) -> None:
    session.cluster("nmf", 3)
    with pytest.raises(InvalidInput, match=r"needs clusters with centres.*nmf.*'kmeans'"):
        session.maps([0], MapSpec("clam", 1))
    session.project("pca")
    session.cluster("hdbscan")
    with pytest.raises(InvalidInput, match="by hdbscan"):
        session.maps([0], MapSpec("clam"))
    alone = Session(session.store)
    alone.cluster("nmf", 3)
    with pytest.raises(InvalidInput, match="centres"):  # not the network, which would not help
        alone.maps([0], MapSpec("clam"))


def test_the_cluster_map_says_which_method_to_take_instead(session: Session) -> None:
    for layer, error in (("encoder.last", InvalidInput), ("latent", NeedsActivations)):
        session.set_layer(layer)
        with pytest.raises(error, match=r"set_map\('clam'\)"):
            session.maps([0], MapSpec("cluster"))


def test_bad_questions_are_refused_and_change_nothing(session: Session) -> None:
    before = session.map_spec
    for ask, message in (
        (lambda: session.set_map("clam", 1, against=1), "against itself"),
        (lambda: session.set_map("clam", 1, against=3), "no cluster 3"),
        (lambda: session.set_map("clam", 3), "no cluster 3"),
        (lambda: session.set_map("clam", against=-1), "from 0"),
        (lambda: session.set_map("clam", against=True), "number"),
        (lambda: session.set_map("gradcam", 1, against=0), "takes no against=.*CLAM"),
        (lambda: session.set_map("cluster", 1, against=0), "takes no against="),
        (lambda: session.set_map("clam", 1, of="class"), "not of 'class'"),
    ):
        with pytest.raises(InvalidInput, match=message):
            ask()
    assert session.map_spec == before


# -- the layer of a map ------------------------------------------------------------------
def test_beside_a_layer_of_vectors_every_method_finds_its_maps(flat: Deep) -> None:
    there = Session(flat.store, flat.context())
    here = Session(flat.store, flat.context(), layer="latent")
    for at in (there, here):
        at.select(range(10))
    for spec in (
        MapSpec("gradcam", 1),
        MapSpec("selection"),
        MapSpec("channel", 2),
        MapSpec("clam"),
    ):
        assert here.map_layer(spec) == "encoder.last"
        np.testing.assert_array_equal(
            here.maps([0, 1], spec).values, there.maps([0, 1], spec).values
        )
    assert here.map_layer(MapSpec("cluster")) == "latent"  # a centre has no map elsewhere
    assert here.map_layer(MapSpec("clam", layer="latent")) == "latent"
    with pytest.raises(NeedsActivations, match="one vector"):
        here.maps([0], MapSpec("clam", layer="latent"))
    cells = [0, 1]
    assert here.select_alike(0, cells) == there.select_alike(0, cells)


def test_the_layer_before_comes_first_and_any_other_after_that(make: Make) -> None:
    store = make()  # "features.4" with maps, then "pooled"
    assert layer_with_maps(store, "pooled") == "features.4"
    assert layer_with_maps(store, "features.4") == "features.4"
    assert layer_with_maps(store, "pooled", before="features.4") == "features.4"
    vectors = make(maps=False)
    assert layer_with_maps(vectors, "features.4") == "features.4"


def test_tiles_are_scored_on_the_layer_that_was_clustered(flat: Deep) -> None:
    z = flat.store.embeddings("latent")
    for layer in ("encoder.last", "latent"):
        session = Session(flat.store, layer=layer)
        session.set_map("clam", 1)
        rows, sentence = session.ranked("score", 5)
        gaps = np.linalg.norm(z - flat.clustering.cluster_centers_[1], axis=1)
        np.testing.assert_array_equal(rows, np.argsort(gaps, kind="stable")[:5])
        assert sentence.endswith(f"closeness to the centre of {NAMES[1]}.")
        session.set_map("channel", 3)
        means = flat.store.embeddings("encoder.last")[:, 3]
        assert set(session.ranked("score", 3)[0]) == set(np.argsort(-means, kind="stable")[:3])


# -- the kept clustering is the default --------------------------------------------------
def test_other_clusters_can_be_asked_for_and_the_deep_ones_brought_back(session: Session) -> None:
    made = session.clustering
    assert made is not None
    session.cluster("nmf", 2)
    assert session.clustering.method == "nmf"
    session.cluster("deep")
    assert session.clustering.same_as(made)
    assert session.history.steps[-1].code == "session.cluster('deep', k=3)"
    session.cluster(k=2)  # another number than the store keeps: clusters of the layer
    assert session.clustering.method == "nmf"
    session.cluster(k=3)
    assert session.clustering.same_as(made)
    session.select(range(20))
    session.cluster(on="selection", k=2)
    assert session.clustering.method == "nmf"
    with pytest.raises(InvalidInput, match="to_store"):
        session.cluster("deep", on="selection")
    with pytest.raises(InvalidInput, match="to_store"):
        session.cluster("deep", 5)
    session.undo()
    assert session.clustering.same_as(made)


def test_a_store_without_them_has_none(make: Make) -> None:
    session = Session(make())
    assert session.map_spec == MapSpec()
    with pytest.raises(InvalidInput, match="keeps none"):
        session.cluster("deep")
    with pytest.raises(UnknownName, match="'deep'"):
        session.cluster("deeep")


def test_edited_deep_clusters_stay_when_the_layer_changes(session: Session) -> None:
    session.rename_cluster(0, "upper left")
    session.set_map("clam", 2, against=0)
    session.set_layer("latent")
    assert session.clustering is not None
    assert session.clustering.names[0] == "upper left"
    assert session.map_spec == MapSpec("clam")
    session.cluster("kmeans", 2)
    session.set_layer("encoder.last")  # those were of the layer
    assert session.clustering.names == NAMES


def test_names_that_do_not_fit_are_not_believed(flat: Deep, tmp_path: Path) -> None:
    store = make_deep(tmp_path / "s.wk", epochs=1).store
    (name,) = store.derived.names("clustering")
    entry = store.derived.get("clustering", name)
    for names in (["a", "b", "c", "d"], [1, 2, 3], "abcd", 5, ["x" * 500, "b", "c"]):
        store.derived.put(
            "clustering", name, dict(entry.arrays), params={**entry.params, "names": names}, seed=0
        )
        assert grouping.deep(store) is None
        assert Session(store).clustering is not None


# -- history and state -------------------------------------------------------------------
def test_against_is_undone_and_written_down(session: Session) -> None:
    session.set_map("clam", 2)
    session.set_map("clam", 2, against=0)
    assert session.map_spec == MapSpec("clam", 2, against=0)
    step = session.history.steps[-1]
    assert step.code == "session.set_map('clam', 2, against=0)"
    assert step.title == "Map: clam cluster 2 against 0"
    session.undo()
    assert session.map_spec == MapSpec("clam", 2)
    session.redo()
    again = Session(session.store, session.model)
    exec(session.history.script(), {"session": again, "wk": wk, "np": np})
    assert again.map_spec == session.map_spec


def test_a_cluster_that_is_gone_is_no_longer_set_against(session: Session) -> None:
    session.split_cluster(0, 3)
    session.set_map("clam", 1, against=4)
    session.undo()
    session.undo()  # three clusters again
    assert session.map_spec == MapSpec("clam")
    session.set_map("clam", 0, against=2)
    session.cluster("kmeans", 2)
    assert session.map_spec == MapSpec("clam", 0)
    session.merge_clusters([0, 1])
    assert session.map_spec == MapSpec("clam", 0)


def test_states_keep_it_and_those_of_before_are_read(session: Session) -> None:
    session.set_map("clam", 2, against=0)
    text = session.state()
    again = Session(session.store)
    again.restore(text)
    assert again.map_spec == session.map_spec
    old = json.loads(text)
    old["version"] = 1
    del old["map"]["against"], old["concepts"]
    again.restore(json.dumps(old))
    assert again.map_spec == MapSpec("clam", 2)
    for change in ({"against": 2}, {"against": "0"}, {"against": -1}, {"method": "gradcam"}):
        bad = json.loads(text)
        bad["map"] |= change
        with pytest.raises(InvalidInput):
            again.restore(json.dumps(bad))
    for version in (0, 4, True, "2", None):
        with pytest.raises(InvalidInput, match="version"):
            again.restore(json.dumps(json.loads(text) | {"version": version}))
    assert again.map_spec == MapSpec("clam", 2)


# -- coarse first ------------------------------------------------------------------------
@dataclass(frozen=True)
class Slow:
    """Draws twos; its cheaper version ones. ``log`` says who was asked for which tiles."""

    name: ClassVar[str] = "slow"
    title: ClassVar[str] = "Slow"
    reference: ClassVar[str] = "None."
    requires: ClassVar[frozenset[Any]] = frozenset({"forward", "activations"})
    targets: ClassVar[frozenset[type]] = frozenset({LatentTarget})
    signed: ClassVar[bool] = False
    log: ClassVar[list[tuple[float, tuple[int, ...]]]] = []

    level: float = 2.0

    def coarse(self) -> Slow | None:
        return Slow(1.0) if self.level == 2 else None

    def compute(self, batch: Batch, target: LatentTarget) -> np.ndarray:
        self.log.append((self.level, tuple(batch.rows.tolist())))
        batch.check()
        return np.full((len(batch), *batch.layer.grid), self.level, np.float32)


@pytest.fixture
def slow() -> Iterator[type[Slow]]:
    Slow.log.clear()
    explain.register(Slow)
    yield Slow
    explain.unregister("slow")


def test_all_tiles_are_coarse_before_the_first_is_refined(
    session: Session, slow: type[Slow]
) -> None:
    told: list[MapResult] = []
    job = session.request_maps(range(20), MapSpec("slow", 1), told.append)
    assert job is not None
    assert (job.done, job.total) == (40, 40)
    levels = [level for level, _ in slow.log]
    assert levels == [1, 1, 1, 2, 2, 2]
    assert [one.status for one in told] == ["coarse"] * 5 + ["final"]
    shown = [one.values.reshape(20, -1)[:, 0].tolist() for one in told]
    assert shown == [
        [1] * 8 + [0] * 12,
        [1] * 16 + [0] * 4,
        [1] * 20,
        [2] * 8 + [1] * 12,
        [2] * 16 + [1] * 4,
        [2] * 20,
    ]
    assert [int(one.ready.sum()) for one in told] == [8, 16, 20, 20, 20, 20]
    assert all(one.title == "Slow: there" for one in told)


def test_who_waits_for_the_final_maps_pays_for_no_others(
    session: Session, slow: type[Slow]
) -> None:
    found = session.maps(range(10), MapSpec("slow", 1))
    assert {level for level, _ in slow.log} == {2.0}
    assert (found.values == 2).all()
    slow.log.clear()
    session.slide_map(0, method=MapSpec("slow", 1))
    assert {level for level, _ in slow.log} == {2.0}


def test_cancelling_between_batches_stops_either_round(session: Session, slow: type[Slow]) -> None:
    for after in (2, 4):
        slow.log.clear()
        told: list[MapResult] = []

        def take(result: MapResult, told: list[MapResult] = told, after: int = after) -> None:
            told.append(result)
            if len(told) == after:
                session.jobs.cancel("maps")

        job = session.request_maps(range(24), MapSpec("slow", 1), take)
        assert job is not None
        assert job.status == "cancelled"
        assert len(told) == after and len(slow.log) == after


def test_a_newer_request_takes_the_place_of_an_older(flat: Deep, slow: type[Slow]) -> None:
    async def cell() -> None:
        session = Session(flat.store, flat.context())
        session.wait()
        first: list[MapResult] = []
        second: list[MapResult] = []
        session.request_maps(range(24), MapSpec("slow", 0), first.append)
        session.request_maps(range(8), MapSpec("slow", 1), second.append)
        session.wait()
        assert all(one.status == "coarse" for one in first)  # none, or those of before
        assert [one.status for one in second] == ["coarse", "final"]
        session.close()

    asyncio.run(cell())


def test_clam_itself_ends_with_its_own_maps(session: Session) -> None:
    told: list[MapResult] = []
    session.request_maps(range(12), MapSpec("clam", 1), told.append)
    assert told[-1].status == "final"
    np.testing.assert_array_equal(
        told[-1].values, session.maps(range(12), MapSpec("clam", 1)).values
    )


# -- kept in the store -------------------------------------------------------------------
@pytest.fixture
def kept(tmp_path: Path) -> Deep:
    deep = make_deep(tmp_path / "s.wk", epochs=8)
    session = Session(deep.store, deep.context())
    session.keep_maps("clam", rows=range(0, 48, 2))
    session.keep_maps("clam", 2, against=0, rows=range(10))
    session.keep_maps("gradcam", 1, rows=range(10))
    return deep


def test_kept_maps_are_shown_without_the_network(kept: Deep) -> None:
    alone, with_model = Session(kept.store), Session(kept.store, kept.context())
    rows = np.array([4, 0, 6])
    for spec in (MapSpec("clam"), MapSpec("clam", 2, against=0), MapSpec("gradcam", 1)):
        assert alone.maps_at_once(spec)
        assert not with_model.maps_at_once(spec)
        found = alone.maps(rows, spec)
        np.testing.assert_allclose(found.values, with_model.maps(rows, spec).values, rtol=1e-5)
        assert found.title == f"{with_model.maps(rows, spec).title} (kept in the store)"
        assert found.status == "final" and found.ready.all()
    assert list(alone.maps([0, 1, 2], MapSpec("clam")).ready) == [True, False, True]
    # on the other layer, and by another name, they are the same maps
    latent = Session(kept.store, layer="latent")
    latent.rename_cluster(0, "other name")
    assert latent.maps(rows).ready.all()


def test_kept_maps_need_no_torch(kept: Deep) -> None:
    script = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ModuleNotFoundError("no torch here", name="torch")

sys.meta_path.insert(0, Blocked())
import widgetkit as wk
explorer = wk.explore({str(kept.store.path)!r})
explorer.session.select([0, 2, 4])
print(explorer.maps._maps_info["title"])
explorer.session.set_map("gradcam", 1)
print(explorer.maps._maps_info["title"])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:2] == [
        "CLAM: each tile's own (kept in the store)",
        f"Grad-CAM: {NAMES[1]} (kept in the store)",
    ]


def test_what_is_not_kept_says_what_is(kept: Deep) -> None:
    alone = Session(kept.store)
    with pytest.raises(NeedsModel, match="other tiles"):
        alone.maps([1, 3], MapSpec("clam"))
    with pytest.raises(NeedsModel, match=f"{NAMES[2]} against {NAMES[0]}"):
        alone.maps([1, 3], MapSpec("clam", 1, against=0))
    with pytest.raises(NeedsModel):
        alone.maps([1], MapSpec("scorecam", 1))
    alone.merge_clusters([0, 1])  # other centres, other clusters
    with pytest.raises(NeedsModel):
        alone.maps([0], MapSpec("clam"))


def test_tiles_whose_map_is_empty_are_not_missing(kept: Deep) -> None:
    session = Session(kept.store, kept.context())
    session.keep_maps("clam", against=1, rows=range(12))
    alone = Session(kept.store)
    found = alone.maps(range(12), MapSpec("clam", against=1))
    assert found.ready.all()
    np.testing.assert_allclose(
        found.values, session.maps(range(12), MapSpec("clam", against=1)).values, rtol=1e-5
    )


def test_keeping_is_a_job_that_goes_on_where_it_stopped(tmp_path: Path) -> None:
    deep = make_deep(tmp_path / "s.wk", epochs=1)
    context = deep.context()
    session = Session(deep.store, context)
    forward, images = context.forward_to_layer, 0

    def stop(batch: Any, layer: Any = None) -> Any:
        nonlocal images
        images += len(batch)
        if images > 150:  # some of the 48 tiles are done, at up to 8 masks each
            session.jobs.cancel("keep maps")
        return forward(batch, layer)

    context.forward_to_layer = stop  # type: ignore[method-assign]
    job = session.keep_maps("clam", 0)
    assert job.status == "cancelled"
    context.forward_to_layer = forward  # type: ignore[method-assign]
    target = LatentTarget(deep.clustering.cluster_centers_, 0)
    before = kept_maps.kept(deep.store, "clam", target, layer="encoder.last")
    assert before is not None and 0 < len(before.rows) < 48
    job = session.keep_maps("clam", 0)
    assert (job.status, job.done, job.total) == ("done", 48, 48)
    assert job.title == "Keeping CLAM: here (48 tiles)"
    after = kept_maps.kept(deep.store, "clam", target, layer="encoder.last")
    assert after is not None and len(after.rows) == 48
    found = kept_maps.kept_clusters(
        deep.store, "clam", target.centres, latent="latent", layer="encoder.last"
    )
    assert found == ((0, None),)


def test_the_tiles_kept_are_the_selected_or_those_that_the_viewer_shows(tmp_path: Path) -> None:
    deep = make_deep(tmp_path / "s.wk", epochs=1)
    session = Session(deep.store, deep.context())
    session.set_map("clam", 1)
    session.keep_maps(count=5)
    target = LatentTarget(deep.clustering.cluster_centers_, 1)
    found = kept_maps.kept(deep.store, "clam", target, layer="encoder.last")
    assert found is not None
    assert set(found.rows) == set(session.ranked("representative", 5)[0])
    session.select([1, 2])
    session.keep_maps("gradcam", 1)
    assert set(kept_maps.kept(deep.store, "gradcam", 1, layer="encoder.last").rows) == {1, 2}  # type: ignore[union-attr]


def test_what_cannot_be_kept_is_refused(session: Session) -> None:
    with pytest.raises(InvalidInput, match="nothing to keep"):
        session.keep_maps("channel", 1)
    with pytest.raises(NeedsModel, match="with"):
        Session(session.store).keep_maps("clam", 1)
    with pytest.raises(InvalidInput, match="no cluster 9"):
        session.keep_maps("clam", 9)
    with pytest.raises(UnknownName):
        session.keep_maps("clamm")
    with pytest.raises(Cancelled):
        kept_maps.maps_of(
            session.store, "gradcam", 0, [0], layer="encoder.last", model=session.model,
            cancel=lambda: True,
        )  # fmt: skip


def test_kept_maps_of_two_clusterings_do_not_mix(tmp_path: Path) -> None:
    deep = make_deep(tmp_path / "s.wk", epochs=1)
    session = Session(deep.store, deep.context(), layer="latent")
    session.keep_maps("clam", 0, rows=[0, 1])
    session.cluster("kmeans", 3)
    assert isinstance(session.clustering, Clustering)
    session.rename_cluster(0, NAMES[0])
    alone = Session(deep.store, layer="latent")
    assert alone.maps([0, 1], MapSpec("clam", 0)).ready.all()
    alone.cluster("kmeans", 2)
    with pytest.raises(NeedsModel):
        alone.maps([0, 1], MapSpec("clam", 0))


# -- slides and paper --------------------------------------------------------------------
def test_a_slide_map_follows_the_centres_and_the_names(flat: Deep) -> None:
    session = Session(flat.store, flat.context())
    spec = MapSpec("clam", 1, against=0)
    before = session.slide_map(0, method=spec)
    assert before.title == f"CLAM: {NAMES[1]} against {NAMES[0]}"
    session.rename_cluster(0, "upper")
    assert session.slide_map(0, method=spec).title.endswith("against upper")
    session.split_cluster(1, 2)
    after = session.slide_map(0, method=spec)
    assert not np.array_equal(before.values, after.values, equal_nan=True)
    rows = session.placement.rows(0)
    assert np.nanmax(after.values) <= session.maps(rows, spec).values.max() * (1 + 1e-6)
    # clusters of vectors over a slide: one colour a tile
    assert session.slide_map(0).winner is not None


def test_paper_says_against_which_cluster(flat: Deep) -> None:
    session = Session(flat.store, flat.context(), layer="latent")
    session.set_map("clam", 1, against=0)
    caption = figures.caption(session, "maps")
    assert (
        f"Maps: CLAM of cluster '{NAMES[1]}' against '{NAMES[0]}', on layer encoder.last."
        in caption
    )
    page = figures.maps(session, rows=[0, 1])
    words = " ".join(axes.get_ylabel() for axes in page.axes).replace("\n", " ")
    assert f"CLAM: {NAMES[1]} against {NAMES[0]}" in words
    assert figures.explorer(session, rows=[0, 1]).subfigs
