"""Maps over slides and selections on them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.slides import building
from tests.tiles.conftest import write_tiled_tiff
from widgetkit import explain, factors
from widgetkit.errors import (
    InvalidInput,
    NeedsModel,
    StoreMismatch,
    UnknownName,
    WidgetkitError,
)
from widgetkit.session import MapSpec, Session, SlideMap, weighing
from widgetkit.session.clustering import Clustering
from widgetkit.session.recent import Recent
from widgetkit.session.touching import touching
from widgetkit.slides import stitch
from widgetkit.store import ActivationStore

Make = Callable[..., ActivationStore]


@pytest.fixture
def store(tmp_path: Path) -> ActivationStore:
    """60 tiles of 8 px in three rows on two slides, the second with gaps and overlaps."""
    first = [("a", 8 * (i % 10), 8 * (i // 10)) for i in range(30)]
    second = [("b", 5 * (i % 10), 20 * (i // 10)) for i in range(30)]
    return building.boxed(tmp_path / "s.wk", first + second, grid=(4, 4))


@pytest.fixture
def session(store: ActivationStore) -> Session:
    made = Session(store)
    made.cluster("nmf", k=3)
    return made


def by_hand(session: Session, slide: int, weights: np.ndarray, shown: SlideMap) -> np.ndarray:
    """The map of weights (n, h, w) of all tiles."""
    places = session.placement
    rows = places.rows(slide)
    values, _ = stitch(weights[rows], places.boxes[rows], shown.view, shown.values.shape)
    return values


def folded(session: Session) -> np.ndarray:
    """(n, k, h, w) weights of the clusters as they are, straight from the definition."""
    clustering, kept = session.clustering, session.factors
    assert clustering is not None and kept is not None
    return clustering.fold(kept.weights(None), np.arange(clustering.n))


# -- maps of clusters ------------------------------------------------------------------------
def test_the_map_of_a_cluster_is_its_weights_at_their_places(session: Session) -> None:
    shown = session.slide_map("b", cluster=1, shape=(40, 50))
    assert session.factors is not None
    weights = session.factors.weights(None)[:, 1]
    np.testing.assert_allclose(shown.values, by_hand(session, 1, weights, shown), rtol=1e-5)
    assert shown.status == "final" and shown.winner is None and shown.cluster == 1
    assert shown.view == (0, 0, 53, 48) and shown.slide == "b"
    assert np.isnan(shown.values[shown.coverage == 0]).all() and (shown.coverage == 0).any()
    assert 0 < shown.vmax <= weights.max()


def test_all_clusters_are_shown_by_the_winner(session: Session) -> None:
    shown = session.slide_map(0)
    maps = np.stack([session.slide_map(0, cluster=i).values for i in range(3)])
    there = shown.winner != 255
    assert there.mean() > 0.9
    np.testing.assert_array_equal(shown.winner[there], maps.argmax(axis=0)[there])
    np.testing.assert_allclose(shown.values[there], maps.max(axis=0)[there])
    assert session.factors is not None
    total = maps.sum(axis=0)
    np.testing.assert_array_equal(there, total > session.factors.background_level)


def test_a_part_of_a_slide_is_the_part_of_the_whole(session: Session) -> None:
    whole = session.slide_map(0, cluster=0, shape=(48, 160)).values
    part = session.slide_map(0, cluster=0, view=(8, 6, 40, 18), shape=(24, 64)).values
    np.testing.assert_allclose(part, whole[12:36, 16:80], rtol=1e-6)


def test_the_scale_is_the_same_for_slides_and_views(session: Session) -> None:
    ends = {
        session.slide_map(slide, cluster=2, view=view).vmax
        for slide in (0, 1)
        for view in (None, (0, 0, 9, 9))
    }
    assert len(ends) == 1


@given(st.data())
@settings(deadline=None, max_examples=15)
def test_edits_follow_the_weights_exactly(data: st.DataObject) -> None:
    """Merged: sum of the columns. Split: each tile's weight is of the part it is in. Any sequence."""
    n, k = 12, 4
    generator = np.random.default_rng(data.draw(st.integers(0, 99)))
    weights = generator.random((n, k, 2, 2)).astype(np.float32)
    clustering = Clustering.make(
        generator.integers(0, k, n), k, method="nmf", layer="block",
        prototypes=np.eye(k, dtype=np.float32),
    )  # fmt: skip
    expected = weights.copy()
    for _ in range(data.draw(st.integers(0, 4))):
        sizes = clustering.sizes
        large = np.flatnonzero(sizes >= 2)
        if data.draw(st.booleans()) and clustering.k >= 2:
            pair = data.draw(
                st.lists(st.integers(0, clustering.k - 1), min_size=2, max_size=3, unique=True)
            )
            clustering = clustering.merge(pair)
            expected[:, min(pair)] = expected[:, pair].sum(axis=1)
            expected = np.delete(expected, sorted(pair)[1:], axis=1)
        elif len(large):
            i = int(data.draw(st.sampled_from(large.tolist())))
            parts = np.arange(sizes[i]) % 2
            moved = np.flatnonzero(clustering.labels == i)[parts == 1]
            clustering = clustering.split(i, parts)
            extra = np.zeros_like(expected[:, :1])
            extra[moved, 0] = expected[moved, i]
            expected[moved, i] = 0
            expected = np.concatenate([expected, extra], axis=1)
    rows = generator.permutation(n)[:7]
    np.testing.assert_allclose(clustering.fold(weights[rows], rows), expected[rows], rtol=1e-5)
    np.testing.assert_array_equal(clustering.fitted, np.eye(k))


def test_maps_follow_edits_without_assigning_again(session: Session) -> None:
    before = [session.slide_map(1, cluster=i).values for i in range(3)]
    kept = session.factors
    assert kept is not None
    names = factors.names(session.store)
    session.rename_cluster(0, "stroma")
    session.recolour_cluster(0, 4)
    session.merge_clusters([0, 2])
    merged = session.slide_map(1, cluster=0)
    np.testing.assert_allclose(merged.values, before[0] + before[2], rtol=1e-6)
    assert merged.title == "Cluster: stroma"
    session.split_cluster(0, 2)
    parts = session.slide_map(1, cluster=0).values + session.slide_map(1, cluster=2).values
    np.testing.assert_allclose(parts, merged.values, rtol=1e-5)
    second = session.slide_map(1, cluster=2, shape=(30, 30))
    np.testing.assert_allclose(
        second.values, by_hand(session, 1, folded(session)[:, 2], second), rtol=1e-5
    )
    assert session.factors is kept and factors.names(session.store) == names
    for _ in range(4):
        session.undo()
    np.testing.assert_array_equal(session.slide_map(1, cluster=2).values, before[2])


def test_a_hidden_cluster_is_background_until_shown_again(session: Session) -> None:
    shown = session.slide_map(0)
    assert session.clustering is not None
    labels = session.clustering.labels
    session.hide_cluster(1)
    assert session.clustering is not None and session.clustering.hidden == {1}
    hidden = session.slide_map(0)
    np.testing.assert_array_equal(hidden.winner, np.where(shown.winner == 1, 255, shown.winner))
    assert (hidden.values[shown.winner == 1] == 0).all()
    assert session.clustering.labels is labels, "its tiles stay in it"
    script = session.history.script()
    assert "session.hide_cluster(1, True)" in script
    session.undo()
    np.testing.assert_array_equal(session.slide_map(0).winner, shown.winner)
    session.redo()
    session.hide_cluster(1, False)
    np.testing.assert_array_equal(session.slide_map(0).winner, shown.winner)
    with pytest.raises(InvalidInput, match="no cluster 9"):
        session.hide_cluster(9)


def test_hiding_follows_merging_and_splitting() -> None:
    made = Clustering.make([0, 0, 1, 1, 2], 3, method="kmeans", layer="x").hide(1)
    assert made.merge([1, 2]).hidden == {1} and made.merge([0, 1]).hidden == frozenset()
    assert made.split(1, [0, 1]).hidden == {1, 3} and made.split(0, [0, 1]).hidden == {1}
    assert made.merge([0, 2]).hidden == {1}
    assert made.hide(1, False).same_as(made.hide(1, False)) and not made.same_as(made.hide(0))


def test_a_restored_session_shows_the_same(session: Session) -> None:
    session.merge_clusters([0, 1])
    session.split_cluster(0, 2)
    session.hide_cluster(1)
    again = Session(session.store)
    again.restore(session.state())
    assert again.clustering is not None and again.clustering.same_as(session.clustering)
    for slide in (0, 1):
        np.testing.assert_array_equal(
            again.slide_map(slide).winner, session.slide_map(slide).winner
        )


def test_the_script_makes_it_again(session: Session) -> None:
    session.merge_clusters([0, 1])
    session.split_cluster(0, 2)
    session.hide_cluster(1)
    session.select_on_slide("b", [[0, 0], [30, 0], [0, 40]], rule="touch", mode="add")
    again = Session(session.store)
    exec(session.history.script(), {"session": again})
    assert again.clustering is not None and again.clustering.same_as(session.clustering)
    assert again.selection == session.selection


@pytest.mark.parametrize(
    "damage",
    [
        {"hidden": [99]}, {"hidden": "all"}, {"hidden": [[1]]}, {"base": "eA=="},
        {"owners": {"prototypes": 10**9, "each": True, "bytes": ""}},
        {"owners": {"prototypes": 3, "each": False, "bytes": "!!"}}, {"owners": [1]},
        {"owners": None, "hidden": [True]},
    ],
)  # fmt: skip
def test_a_damaged_state_changes_nothing(session: Session, damage: dict[str, Any]) -> None:
    session.merge_clusters([0, 1])
    value = json.loads(session.state())
    value["clustering"].update(damage)
    before = session.clustering
    with pytest.raises(WidgetkitError):
        session.restore(json.dumps(value))
    assert session.clustering is before


def test_a_state_of_an_earlier_version_is_read(session: Session) -> None:
    value = json.loads(session.state())
    for key in ("hidden", "base", "owners"):
        del value["clustering"][key]
    session.restore(json.dumps(value))
    assert session.clustering is not None and not session.clustering.hidden


# -- where the weights come from ---------------------------------------------------------------
def test_weights_are_assigned_once_and_found_by_the_next_session(session: Session) -> None:
    assert session.factors is None, "asking does not start the work"
    told: list[Any] = []
    session.observe("factors", told.append)
    job = session.request_factors()
    assert job is not None and job.status == "done" and told == [session.factors]
    assert session.request_factors() is None
    again = Session(session.store)
    again.cluster("nmf", k=3)
    assert again.factors is not None and again.factors.name == session.factors.name
    again.cluster("nmf", k=2)
    assert again.factors is None, "other prototypes, other weights"


def test_factors_of_otherwise_prepared_activations_are_not_taken(store: ActivationStore) -> None:
    made = factors.factorise(store, k=3, normalise="slide", group="source")
    clustering = Clustering.make(
        np.zeros(60, int), 3, method="nmf", layer="block", prototypes=made.prototypes
    )
    assert weighing.find_factors(store, clustering) is None
    plain = factors.assign(store, made.prototypes, group="source")
    found = weighing.find_factors(store, clustering)
    assert found is not None and found.name == plain.name


def test_factors_become_the_clustering(store: ActivationStore, tmp_path: Path) -> None:
    made = factors.factorise(store, k=3, normalise="slide", group="source", name="by hand")
    session = Session(store)
    clustering = session.use_factors(made)
    assert session.factors is not None and session.factors.name == "by hand"
    np.testing.assert_array_equal(clustering.labels, made.pooled.mean.argmax(axis=1))
    shown = session.slide_map(0, cluster=2)
    expected = by_hand(session, 0, made.weights(None)[:, 2], shown)
    np.testing.assert_allclose(shown.values, expected, rtol=1e-5)
    assert session.history.steps[-1].code == "session.use_factors('by hand')"
    session.undo()
    assert session.clustering is not clustering
    other = building.boxed(
        tmp_path / "other.wk", [("a", 0, 0)] * 1 + [("a", 9, 0)] * 1, grid=(4, 4)
    )
    with pytest.raises(StoreMismatch):
        Session(other).use_factors(made)
    with pytest.raises(InvalidInput, match="pca"):
        session.use_factors(factors.factorise(store, k=2, method="pca", group="source"))
    with pytest.raises(UnknownName):
        session.use_factors("never made")


def test_a_signed_layer_is_weighed_as_it_was_clustered(make: Make) -> None:
    session = Session(make(signed=True))
    session.cluster("nmf", k=3)
    shown = session.slide_map(0, cluster=0)
    kept = session.factors
    assert kept is not None and kept.offset is not None and shown.vmax > 0
    labels = session.clustering.labels
    mean = kept.pooled.mean.argmax(axis=1)
    assert (mean == labels).mean() > 0.95


def test_of_centres_a_position_counts_for_the_nearest(session: Session) -> None:
    session.cluster("kmeans", k=4)
    shown = session.slide_map(1, cluster=2, shape=(40, 40))
    assert session.clustering is not None and session.clustering.prototypes is not None
    centres = session.clustering.prototypes
    a = session.store.activations("block").astype(np.float32)
    distance = ((a[:, None] - centres[None, :, :, None, None]) ** 2).sum(axis=2)
    nearest = (distance.argmin(axis=1) == 2).astype(np.float32)
    np.testing.assert_allclose(shown.values, by_hand(session, 1, nearest, shown), atol=1e-6)
    assert session.factors is None and shown.vmax == 1
    assert session.request_factors() is None, "kept"
    again = Session(session.store)
    again.cluster("kmeans", k=4)
    assert again.request_factors() is None


def test_a_layer_without_maps_shows_a_value_a_tile(make: Make) -> None:
    session = Session(make(maps=False))
    shown = session.slide_map(0, shape=(2, 10))
    labels = session.clustering.labels[session.placement.rows(0)]
    np.testing.assert_array_equal(shown.winner.reshape(-1)[:20], labels)
    session.merge_clusters([0, 1])
    merged = session.slide_map(0, cluster=0, shape=(2, 10)).values
    np.testing.assert_array_equal(merged.reshape(-1)[:20], session.clustering.labels[:20] == 0)


def test_one_line_of_cells(make: Make) -> None:
    session = Session(make(grid=(6,)))
    session.cluster("nmf", k=3)
    assert session.slide_map(0, cluster=1).values.shape[1] > 1
    session.cluster("kmeans", k=3)
    assert session.slide_map(0).winner is not None
    assert session.slide_map(0, method="channel").values.size


def test_large_slides_are_streamed_and_give_the_same(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    from widgetkit.session import slidemaps

    session.merge_clusters([0, 1])
    session.split_cluster(0, 2)
    expected = [session.slide_map(1, cluster=i).values for i in range(3)]
    winner = session.slide_map(1).winner
    monkeypatch.setattr(slidemaps, "WEIGHTS_LIMIT", 1)
    monkeypatch.setattr(slidemaps, "_CHUNK", 7)
    again = Session(session.store)
    again.restore(session.state())
    for i in range(3):
        np.testing.assert_allclose(again.slide_map(1, cluster=i).values, expected[i], rtol=1e-4)
    np.testing.assert_array_equal(again.slide_map(1).winner, winner)


def test_a_clustering_without_prototypes_says_what_to_do(session: Session) -> None:
    bare = Clustering.make(np.zeros(60, int), 2, method="nmf", layer="block")
    session._change("Bare", "", clustering=bare)
    with pytest.raises(InvalidInput, match=r"no prototypes.*nmf"):
        session.slide_map(0)


# -- maps of methods -------------------------------------------------------------------------
def test_any_method_is_stitched(session: Session) -> None:
    session.select(np.arange(10))
    for method in ("channel", "selection"):
        shown = session.slide_map("b", method=method, shape=(30, 30))
        maps = session.maps(session.placement.rows(1), MapSpec(method)).values
        full = np.zeros((60, 4, 4), np.float32)
        full[session.placement.rows(1)] = maps
        np.testing.assert_allclose(shown.values, by_hand(session, 1, full, shown), rtol=1e-5)
        assert shown.signed == explain.get(method).signed and shown.spec == MapSpec(method)
    before = session.slide_map("b", method="selection").values
    session.select(np.arange(30, 40))
    assert not np.array_equal(
        session.slide_map("b", method="selection").values, before, equal_nan=True
    )


def test_a_method_takes_the_sessions_target(session: Session) -> None:
    session.set_map("channel", 3)
    shown = session.slide_map(0, method="channel")
    np.testing.assert_array_equal(
        shown.values, session.slide_map(0, method=MapSpec("channel", 3)).values
    )
    session.set_map("cluster", 1)
    by_spec = session.slide_map(0, method=session.map_spec)
    assert by_spec.cluster == 1 and session.slide_map(0, method="cluster").cluster == 1


def test_what_cannot_be_asked(session: Session) -> None:
    with pytest.raises(NeedsModel):
        session.slide_map(0, method="gradcam")
    with pytest.raises(UnknownName):
        session.slide_map("nowhere")
    with pytest.raises(UnknownName):
        session.slide_map(0, method="magic")
    for wrong in ({"cluster": 7}, {"view": (0, 0, 0, 1)}, {"view": 3}, {"shape": (0, 1)},
                  {"cluster": 0, "method": "channel"}):  # fmt: skip
        with pytest.raises(InvalidInput):
            session.slide_map(0, **wrong)


# -- without waiting ---------------------------------------------------------------------------
def test_in_a_script_a_request_is_answered_at_once(session: Session) -> None:
    found: list[SlideMap] = []
    session.request_slide_map(0, cluster=1, on_result=found.append)
    assert [m.status for m in found] == ["final"]


def beside(store: ActivationStore) -> Session:
    """A session beside an event loop, without the projection, which these tests do not look at."""
    session = Session(store)
    session.jobs.cancel("project")
    return session


def test_beside_an_event_loop_maps_wait_for_the_weights(store: ActivationStore) -> None:
    async def use() -> None:
        session = beside(store)
        found: list[SlideMap] = []
        session.request_slide_map(0, on_result=found.append, key="x")
        assert [m.status for m in found] == ["waiting"], "the clusters are not there yet"
        session.wait()
        job = session.request_slide_map(0, on_result=found.append, key="x")
        assert job is not None and job.key == "factors" and found[-1].status == "waiting"
        assert np.isnan(found[-1].values).all() and (found[-1].winner == 255).all()
        newer: list[SlideMap] = []
        assert session.request_slide_map(1, on_result=newer.append, key="x") is job
        other: list[SlideMap] = []
        session.request_slide_map(0, cluster=2, on_result=other.append, key="y")
        session.wait()
        assert [m.slide for m in newer if m.status == "final"] == ["b"]
        assert [m.status for m in other] == ["waiting", "final"]
        assert [m.status for m in found] == ["waiting", "waiting"], (
            "replaced by the newer of its key"
        )
        assert session.request_slide_map(0, on_result=found.append) is None
        assert found[-1].status == "final"
        session.close()

    asyncio.run(use())


def test_a_cancelled_assignment_goes_on_when_asked_again(store: ActivationStore) -> None:
    async def use() -> None:
        session = beside(store)
        session.wait()
        found: list[SlideMap] = []
        job = session.request_slide_map(0, on_result=found.append)
        assert job is not None
        job.cancel()
        session.wait()
        assert found[-1].status == "waiting"
        session.request_slide_map(0, on_result=found.append)
        session.wait()
        assert found[-1].status == "final"
        session.close()

    asyncio.run(use())


def test_an_edit_meanwhile_does_not_start_again(store: ActivationStore) -> None:
    async def use() -> None:
        session = beside(store)
        session.wait()
        found: list[SlideMap] = []
        job = session.request_slide_map(0, on_result=found.append)
        session.rename_cluster(0, "new name")
        assert session.request_slide_map(0, cluster=0, on_result=found.append) is job
        session.wait()
        assert found[-1].title == "Cluster: new name" and found[-1].status == "final"
        session.close()

    asyncio.run(use())


def test_large_activations_are_a_job(
    store: ActivationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from widgetkit.session import slidemaps

    monkeypatch.setattr(slidemaps, "AT_ONCE", 0)

    async def use() -> None:
        session = beside(store)
        session.wait()
        for options in ({"method": "channel"}, {"cluster": 0}):
            found: list[SlideMap] = []
            session.request_slide_map(0, on_result=found.append, **options)
            session.wait()
            said = [m.status for m in found]
            assert said[-1] == "final" and set(said[:-1]) == {"waiting"}
            session.request_slide_map(0, on_result=found.append, **options)
            assert [m.status for m in found] == [*said, "final"], "kept"
        session.close()

    asyncio.run(use())


# -- selecting ---------------------------------------------------------------------------------
def test_a_box_selects_centres_or_all_it_touches(session: Session) -> None:
    assert session.select_on_slide("a", [0, 0, 17, 9]).rows.tolist() == [0, 1]
    assert session.select_on_slide("a", [17, 9, 0, 0], rule="touch").rows.tolist() == [
        0, 1, 2, 10, 11, 12,
    ]  # fmt: skip
    assert session.select_on_slide(0, [0, 0, 16, 8], rule="touch").rows.tolist() == [0, 1], (
        "an edge shared is not area shared"
    )
    assert session.selection.how["kind"] == "slide box" and session.selection.how["slide"] == "a"


def test_a_selection_on_one_slide_takes_no_tile_of_another(session: Session) -> None:
    everywhere = [-1e6, -1e6, 1e6, 1e6]
    assert session.select_on_slide("b", everywhere).rows.tolist() == list(range(30, 60))
    session.select_on_slide("a", everywhere, mode="add")
    assert session.selection.count == 60
    session.select_on_slide("a", [0, 0, 80, 8], mode="subtract")
    assert session.selection.count == 50


def test_outlines_that_make_no_sense(session: Session) -> None:
    assert session.select_on_slide("a", np.empty((0, 2))).count == 0
    assert session.select_on_slide("a", [[0, 0], [9, 9]], rule="touch").count == 0
    for wrong in ([1, 2, 3], [[np.nan, 0], [1, 1], [2, 0]], "abc"):
        with pytest.raises((InvalidInput, ValueError)):
            session.select_on_slide("a", wrong)
    with pytest.raises(UnknownName, match="touch"):
        session.select_on_slide("a", [0, 0, 1, 1], rule="tuch")  # type: ignore[arg-type]


point = st.tuples(st.integers(-3, 12), st.integers(-3, 12))


@given(st.lists(point, min_size=3, max_size=8), st.lists(point, min_size=1, max_size=8))
@settings(deadline=None, max_examples=60)
def test_touching_equals_the_area_shared(outline, corners) -> None:
    """Against the even-odd area of each box, counted on a fine raster of cell centres."""
    from widgetkit.session import inside

    boxes = np.array([[x, y, x + 3, y + 2] for x, y in corners], dtype=float)
    got = touching(outline, boxes)
    fine = (np.arange(64) + 0.5) / 64
    for box, found in zip(boxes, got, strict=True):
        x, y = np.meshgrid(box[0] + 3 * fine, box[1] + 2 * fine)
        area = inside(outline, np.column_stack([x.ravel(), y.ravel()])).mean()
        if area > 0:
            assert found
        elif found:  # a sliver between the sampled points
            import shapely

            ring = shapely.LineString([*outline, outline[0]])
            assert shapely.box(*box).buffer(-1e-9).intersects(ring)


# -- files -----------------------------------------------------------------------------------
def test_opening_slides_tells_the_views(store: ActivationStore, tmp_path: Path) -> None:
    slide = tmp_path / "plain.tif"
    write_tiled_tiff(slide, np.full((256, 256, 3), 200, np.uint8), tile=128)
    session = Session(store)
    told: list[Any] = []
    session.observe("pictures", told.append)
    assert session.pictures["a"].origin == "tiles"
    found = session.open_slides({"a": slide})
    assert told == [found] and session.pictures["a"].origin == "file"
    assert session.pictures["b"].origin == "tiles"
    with pytest.raises(UnknownName):
        session.open_slides({"c": slide})
    assert session.pictures is found
    assert session.open_slides(None)["a"].origin == "tiles"


def test_recent_forgets_the_least_used() -> None:
    recent = Recent(100)
    for i in range(5):
        recent.put(i, np.zeros(40, np.uint8))
        recent.get(0)
    assert 0 in recent and 4 in recent and 1 not in recent and 3 not in recent
    recent.put("large", np.zeros(500, np.uint8))
    assert "large" in recent and 4 not in recent
    assert recent.get("never") is None
    recent.put("large", np.zeros(10, np.uint8))
    assert recent._size == 10


def test_maps_of_tiles_follow_edits_as_maps_of_slides_do(session: Session) -> None:
    """Gallery and slide show one and the same after merging and splitting."""
    session.merge_clusters([0, 1])
    session.split_cluster(0, 2)
    rows = np.arange(60)
    assert session.clustering is not None
    for i in range(session.clustering.k):
        live = session.maps(rows, MapSpec("cluster", i)).values
        session.slide_map(0)
        np.testing.assert_allclose(live, folded(session)[:, i], atol=2e-3 * max(1, live.max()))
