"""The session over real stores, inline as in a script."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import widgetkit as wk
from tests.session.conftest import HOSTILE, write_store
from widgetkit.errors import (
    InvalidInput,
    NeedsActivations,
    StoreMismatch,
    TooFew,
    UnknownLayer,
    UnknownName,
)
from widgetkit.session import MapSpec, Selection, Session
from widgetkit.store import ActivationStore

Make = Callable[..., ActivationStore]
N = 30


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    return write_store(tmp_path_factory.mktemp("session") / "s.wk", N)


@pytest.fixture
def session(store: ActivationStore) -> Session:
    return Session(store)


# -- selecting ---------------------------------------------------------------------------
def test_every_way_to_say_which_tiles(session: Session) -> None:
    table = session.store.tiles
    tumour = (table["label"] == "tumour").to_numpy()
    assert session.select([3, 1, 1]).rows.tolist() == [1, 3]
    assert session.select(np.arange(5)).count == 5
    assert session.select(tumour) == Selection.from_mask(tumour)
    assert session.select(table["label"] == "tumour") == Selection.from_mask(tumour)
    assert session.select('label == "tumour"').how == {
        "kind": "query",
        "query": 'label == "tumour"',
    }
    assert_array_equal(session.selection.mask, tumour)
    assert session.select_where("label", HOSTILE).rows.tolist() == list(range(2, N, 3))
    assert session.select_where("score", 0.0).rows.tolist() == [0]
    assert session.select_all().count == N
    assert session.invert().count == 0
    assert session.clear().how == {"kind": "none"}
    with pytest.raises(UnknownName, match="'label'"):
        session.select_where("labels", 1)
    with pytest.raises(InvalidInput, match="has 30 tiles"):
        session.select([N])
    with pytest.raises(InvalidInput, match="the store has 30"):
        session.select(np.ones(N + 1, dtype=bool))
    with pytest.raises(UnknownName, match="'subtract'"):
        session.select([1], mode="substract")  # type: ignore[arg-type]


def test_modes_are_set_algebra(session: Session) -> None:
    session.select([1, 2, 3])
    assert session.select([3, 4], mode="add").rows.tolist() == [1, 2, 3, 4]
    assert session.select([1, 9], mode="subtract").rows.tolist() == [2, 3, 4]
    assert session.select([4, 5], mode="intersect").rows.tolist() == [4]


def test_lasso_and_box_on_the_projection(session: Session) -> None:
    assert session.projection is not None
    xy = session.projection.xy
    low, high = xy.min(axis=0) - 1, xy.max(axis=0) + 1
    assert session.select_box((*low, *high)).count == N
    x = float(np.median(xy[:, 0]))
    left = [(low[0], low[1]), (x, low[1]), (x, high[1]), (low[0], high[1])]
    assert_array_equal(session.select_polygon(left).mask, xy[:, 0] < x)
    own = np.zeros((N, 2))
    own[5] = 1
    assert session.select_box((0.5, 0.5, 2, 2), xy=own).rows.tolist() == [5]
    with pytest.raises(InvalidInput, match="one point a tile"):
        session.select_box((0, 0, 1, 1), xy=own[:3])


def test_clusters_can_be_selected_and_asked_for(session: Session) -> None:
    clustering = session.clustering
    assert clustering is not None
    assert_array_equal(session.select_cluster(1).mask, clustering.labels == 1)
    session.rename_cluster(1, "ink & <b>")
    assert session.select('cluster == "ink & <b>"') == Selection.from_mask(clustering.labels == 1)
    assert session.select_cluster(-1).count == 0


def test_tiles_alike_to_a_brushed_part(session: Session) -> None:
    """Cell 0 of a tile holds the kind that fills the others of the next kind."""
    kind = np.arange(N) % 3
    found = session.select_alike(0, [[0, 0]], threshold=0.98)
    assert found is not None
    # Tiles of kind 1 are made of it, tiles of kind 0 have it in cell 0.
    assert_array_equal(found.mask, kind != 2)
    assert (
        session.select_alike(0, [5], threshold=0.98).rows.tolist()
        == np.flatnonzero(kind != 1).tolist()
    )  # type: ignore[union-attr]
    cells = np.zeros((4, 4), dtype=bool)
    cells[0, 0] = True
    assert session.select_alike(0, cells).count >= 1  # type: ignore[union-attr]
    for wrong in ([], [[4, 0]], [16], [[-1, 0]], [0.5], np.zeros((4, 4), dtype=bool)):
        with pytest.raises(InvalidInput, match=r"[Cc]ell"):
            session.select_alike(0, wrong)
    with pytest.raises(InvalidInput, match="similarity"):
        session.select_alike(0, [0], threshold=2)


def test_alike_equals_the_slow_definition(session: Session) -> None:
    from widgetkit.session.alike import similarities

    maps = session.store.activations(session.layer).astype(float).reshape(N, 12, 16)
    wanted = maps[4][:, [1, 6]].mean(axis=1)
    expected = [
        max(
            float(np.dot(wanted, maps[i, :, p]))
            / float(np.linalg.norm(wanted) * np.linalg.norm(maps[i, :, p]))
            for p in range(16)
        )
        for i in range(N)
    ]
    assert_allclose(similarities(session.store, session.layer, 4, [1, 6]), expected, atol=1e-5)


def test_kept_selections(session: Session) -> None:
    told: list[Any] = []
    session.observe("named", told.append)
    session.select([1, 2])
    session.save_selection("ink")
    session.clear()
    assert session.restore_selection("ink").rows.tolist() == [1, 2]
    assert list(session.named) == ["ink"]
    session.undo()
    session.undo()
    session.undo()
    assert list(session.named) == ["ink"]  # undo does not lose what was kept
    session.forget_selection("ink")
    assert [list(t) for t in told] == [["ink"], []]
    with pytest.raises(UnknownName):
        session.restore_selection("ink")
    with pytest.raises(InvalidInput):
        session.save_selection(" ")


# -- events ------------------------------------------------------------------------------
def test_each_change_is_told_once_with_its_value(session: Session) -> None:
    told: list[tuple[str, Any]] = []
    assert session.clustering is not None
    for name in ("selection", "clustering", "layer", "map", "focus", "history"):
        session.observe(name, lambda value, name=name: told.append((name, value)))  # type: ignore[misc]
    session.select([1])
    assert told == [("selection", session.selection), ("history", session.history)]
    told.clear()
    session.rename_cluster(0, "x")
    assert [t[0] for t in told] == ["clustering", "history"]
    told.clear()
    session.set_map("selection")
    assert told[0] == ("map", MapSpec("selection"))
    told.clear()
    session.set_focus(3)
    assert told == [("focus", 3)]
    told.clear()
    session.undo()
    assert [t[0] for t in told] == ["map", "history"]
    assert session.selection.count == 1


def test_a_new_selection_has_a_new_revision(session: Session) -> None:
    seen = [session.selection.revision]
    for change in (lambda: session.select([1]), session.clear, session.undo, session.redo):
        change()
        seen.append(session.selection.revision)
    assert seen == sorted(set(seen))


def test_an_observer_that_fails_leaves_the_session_whole(session: Session) -> None:
    seen: list[Any] = []

    def broken(value: Any) -> None:
        raise ValueError("broken view")

    session.observe("selection", broken)
    session.observe("selection", seen.append)
    with pytest.raises(ValueError, match="broken view"):
        session.select([1])
    assert session.selection.rows.tolist() == [1]
    assert len(seen) == 1
    assert session.history.can_undo


# -- history -----------------------------------------------------------------------------
def _do(session: Session, action: tuple[Any, ...]) -> None:
    name, *arguments = action
    if name == "cluster_selection":
        with suppress(TooFew, NeedsActivations):
            session.cluster(arguments[0], 2, on="selection")
        return
    # no such cluster left, factors of a layer of vectors, and the like: changes nothing
    with suppress(InvalidInput, TooFew, NeedsActivations, UnknownName):
        getattr(session, name)(*arguments)


rows = st.lists(st.integers(0, N - 1), max_size=N)
steps = st.one_of(
    st.tuples(st.just("select"), rows),
    st.tuples(st.just("select"), st.sampled_from(['label == "tumour"', "score > 0.4"])),
    st.tuples(st.just("select_cluster"), st.integers(0, 3)),
    st.tuples(st.just("select_box"), st.just((-1.0, -1.0, 1.0, 1.0))),
    st.tuples(st.just("select_polygon"), st.just([(-2.0, -2.0), (2.0, -2.0), (0.3, 2.0)])),
    st.tuples(st.just("select_where"), st.just("label"), st.sampled_from([HOSTILE, None])),
    st.tuples(st.just("select_alike"), st.integers(0, N - 1), st.just([0, 1])),
    st.tuples(st.just("invert")),
    st.tuples(st.just("clear")),
    st.tuples(st.just("rename_cluster"), st.integers(0, 3), st.sampled_from(["ink", "a'\"\\b"])),
    st.tuples(st.just("recolour_cluster"), st.integers(0, 3), st.integers(0, 7)),
    st.tuples(st.just("merge_clusters"), st.just([0, 1])),
    st.tuples(st.just("split_cluster"), st.integers(0, 2)),
    st.tuples(st.just("cluster"), st.sampled_from(["kmeans", "nmf"]), st.integers(2, 4)),
    st.tuples(st.just("cluster_selection"), st.sampled_from(["kmeans", "nmf"])),
    st.tuples(st.just("set_map"), st.sampled_from(["cluster", "selection"]), st.none()),
    st.tuples(st.just("set_layer"), st.sampled_from(["features.4", "pooled"])),
    st.tuples(st.just("save_as_concept")),
    st.tuples(st.just("save_as_concept"), st.sampled_from(["rim", "a'\"\\b"]), rows),
    st.tuples(st.just("rename_concept"), st.just("rim"), st.sampled_from(["scar", "<b>"])),
    st.tuples(st.just("remove_concept"), st.sampled_from(["rim", "concept 1"])),
    st.tuples(st.just("keep_apart"), st.just("rim"), st.just("concept 1"), st.booleans()),
    st.tuples(st.just("mark_region"), st.just("rim"), st.integers(0, N - 1), st.just((0, 1, 2, 3))),
)
slow = settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))


def _same(a: Session, b: Session) -> None:
    assert a.selection == b.selection
    assert a.layer == b.layer
    assert a.map_spec == b.map_spec
    assert a.concepts == b.concepts
    assert a.clustering is not None
    assert a.clustering.same_as(b.clustering)


@slow
@given(todo=st.lists(steps, max_size=6), back=st.integers(0, 6))
def test_undo_then_redo_is_identity(store: ActivationStore, todo: list, back: int) -> None:
    session = Session(store)
    states = [session._now]
    for action in todo:
        before = len(session.history)
        _do(session, action)
        if len(session.history) > before:
            states.append(session._now)
    undone = sum(session.undo() for _ in range(back))
    assert session._now == states[len(states) - 1 - undone]
    again = sum(session.redo() for _ in range(back))
    assert again == undone
    assert session._now == states[-1]
    while session.undo():
        pass
    assert session._now == states[0]


@slow
@given(todo=st.lists(steps, max_size=6))
def test_the_lines_of_history_do_it_again_on_a_fresh_session(
    store: ActivationStore, todo: list
) -> None:
    first = Session(store)
    for action in todo:
        _do(first, action)
    fresh = Session(store)
    exec(first.history.script(), {"session": fresh, "wk": wk})
    _same(first, fresh)
    assert [s.title for s in first.history.steps] == [s.title for s in fresh.history.steps]


@slow
@given(todo=st.lists(steps, max_size=5))
def test_state_then_restore_is_identity(store: ActivationStore, todo: list) -> None:
    first = Session(store)
    for action in todo:
        _do(first, action)
    first.save_selection("kept <b>")
    first.set_focus(4)
    fresh = Session(store)
    fresh.restore(first.state())
    _same(first, fresh)
    assert fresh.named == first.named
    assert fresh.focus == 4
    assert fresh.state() == first.state()


def test_titles_and_lines_of_history(session: Session) -> None:
    session.select([1, 2])
    session.select('label == "tumour"', mode="add")
    session.select_cluster(0)
    session.set_map("cluster", 1)
    assert [(s.title, s.code) for s in session.history.steps] == [
        ("Tiles: 2 tiles", "session.select([1, 2])"),
        ("Added: Query: 11 tiles", "session.select('label == \"tumour\"', mode='add')"),
        (
            f"cluster 1: {session.selection.count} tiles",
            "session.select_cluster(0)",
        ),
        ("Map: cluster cluster 1", "session.set_map('cluster', 1)"),
    ]


def test_what_changes_nothing_is_no_step(session: Session) -> None:
    session.clear()
    session.set_layer(session.layer)
    session.set_map("cluster")
    assert len(session.history) == 0
    assert session.undo() is False
    assert session.redo() is False


# -- clustering --------------------------------------------------------------------------
def test_the_default_clusters_find_the_planted_kinds(make: Make) -> None:
    session = Session(make(60))
    session.cluster("nmf", 3)
    assert session.clustering is not None
    assert session.clustering.method == "nmf"
    kinds = np.arange(60) % 3
    for i in range(3):
        assert len(set(kinds[session.clustering.mask(i)])) == 1
    assert session.clustering.weights is not None
    assert_array_equal(session.clustering.weights.argmax(axis=1), session.clustering.labels)


def test_default_is_kept_in_the_store_and_not_fitted_again(make: Make) -> None:
    store = make(N)
    first = Session(store)
    assert first.clustering is not None
    assert store.derived.names("clustering")
    jobs: list[Any] = []
    second = Session(store)
    second.observe("job", jobs.append)
    assert first.clustering.same_as(second.clustering)
    assert first.projection is not None
    assert second.projection is not None
    assert_array_equal(first.projection.xy, second.projection.xy)
    assert [j.key for j in jobs if j.key != "project"] == []


def test_clustering_the_selection_leaves_the_rest_out(session: Session) -> None:
    session.select(range(0, N, 2))
    session.cluster("kmeans", 3, on="selection")
    clustering = session.clustering
    assert clustering is not None
    assert set(clustering.labels[1::2]) == {-1}
    assert set(clustering.labels[::2]) == {0, 1, 2}
    session.clear()
    with pytest.raises(TooFew, match="Nothing is selected"):
        session.cluster(on="selection")
    session.select([1, 2])
    with pytest.raises(TooFew, match="2 tiles cannot be put into 3"):
        session.cluster(k=3, on="selection")


def test_mean_weights_over_positions_equal_the_slow_definition(session: Session) -> None:
    from widgetkit.analysis import nnls

    session.cluster("nmf", 3)
    clustering = session.clustering
    assert clustering is not None
    maps = session.store.activations(session.layer).astype(np.float32).reshape(N, 12, 16)
    expected = [nnls(maps[i].T, clustering.prototypes).mean(axis=0) for i in range(N)]
    assert_allclose(clustering.weights, expected, rtol=1e-4, atol=1e-5)  # type: ignore[arg-type]


def test_weights_of_a_large_store_are_those_of_mean_activations(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from widgetkit.session import grouping

    exact = Session(make(60))
    exact.cluster("nmf", 3)
    monkeypatch.setattr(grouping, "EVERY_POSITION", 0)
    pooled = Session(make(60))
    pooled.cluster("nmf", 3)
    one, two = exact.clustering, pooled.clustering
    assert one is not None
    assert two is not None
    assert one.params["weights"] == "mean over positions"
    assert two.params["weights"] == "of the mean activation"
    assert_array_equal(one.labels, two.labels)
    assert_allclose(one.weights, two.weights, atol=0.15)  # type: ignore[arg-type]


def test_representatives_equal_the_slow_definition(session: Session) -> None:
    session.cluster("kmeans", 3)
    labels = session.clustering.labels  # type: ignore[union-attr]
    embeddings = session.store.embeddings(session.layer).astype(float)
    queues = {}
    for i in range(3):
        members = np.flatnonzero(labels == i)
        far = np.linalg.norm(embeddings[members] - embeddings[members].mean(axis=0), axis=1)
        queues[i] = members[np.argsort(far)].tolist()
    expected = []
    for turn in range(N):
        for i in sorted(queues, key=lambda i: (-len(queues[i]), queues[i][0])):
            expected += queues[i][turn : turn + 1]
    assert session.ranked("representative")[0].tolist() == expected


def test_signed_activations_go_to_kmeans_or_are_shifted(make: Make) -> None:
    session = Session(make(N, signed=True))
    assert session.clustering is not None
    assert session.clustering.method == "kmeans"
    session.cluster("nmf", 3)
    assert min(session.clustering.params["background"]) < 0
    result = session.maps(range(5))
    assert result.values.min() >= 0
    assert result.values.max() > 0


def test_hdbscan_works_on_the_projection(make: Make) -> None:
    session = Session(make(60), seed=3)
    session.project("pca")
    session.cluster("hdbscan")
    assert session.clustering is not None
    assert session.clustering.method == "hdbscan"
    assert session.clustering.k >= 2
    assert np.isfinite(session.maps([0, 1]).values).all()


def test_wrong_requests_change_nothing(session: Session) -> None:
    before = session._now
    for wrong, error in [
        (lambda: session.cluster("kmean"), UnknownName),
        (lambda: session.cluster(k=0), InvalidInput),
        (lambda: session.cluster(k=N + 1), TooFew),
        (lambda: session.cluster(on="some"), InvalidInput),  # type: ignore[arg-type]
        (lambda: session.set_layer("features.5"), UnknownLayer),
        (lambda: session.set_map("clusters"), UnknownName),
        (lambda: session.set_map("cluster", 99), InvalidInput),
        (lambda: session.set_map("cluster", of="class"), InvalidInput),
        (lambda: session.split_cluster(0, 99), TooFew),
        (lambda: session.set_focus(N), InvalidInput),
        (lambda: Session(session.store, layer="x"), UnknownLayer),
        (lambda: Session(session.store, model=object()), InvalidInput),  # type: ignore[arg-type]
    ]:
        with pytest.raises(error):
            wrong()  # type: ignore[no-untyped-call]
    assert session._now == before


def test_merging_clusters_takes_the_map_along(session: Session) -> None:
    clustering = session.clustering
    assert clustering is not None
    session.set_map("cluster", clustering.k - 1)
    session.merge_clusters([0, 1])
    assert session.map_spec.target is None


def test_composition_counts_the_selection_against_the_rest(session: Session) -> None:
    session.select_cluster(0)
    session.rename_cluster(0, HOSTILE)
    table = session.composition()
    assert table["cluster"].tolist()[0] == HOSTILE
    assert table["number"].tolist() == sorted(set(session.clustering.labels.tolist()))  # type: ignore[union-attr]
    assert table["inside"].tolist()[0] == session.selection.count
    assert table["inside"].sum() + table["outside"].sum() == N
    assert session.quality()["clusters"] == len(table)


# -- projection --------------------------------------------------------------------------
def test_another_projection_is_kept_beside_the_default(make: Make) -> None:
    store = make(N)
    session = Session(store)
    usual = session.projection
    assert usual is not None
    session.project("pca", seed=5)
    assert session.projection is not None
    assert session.projection.seed == 5
    session.select_box((-9, -9, 9, 9))
    assert "decode" in session.history.steps[-1].code  # a fresh session shows the default one
    fresh = Session(store)
    assert fresh.projection is not None
    assert_array_equal(fresh.projection.xy, usual.xy)
    assert fresh.project("pca", seed=5) is None  # found, not computed
    assert fresh.projection.seed == 5


def test_a_damaged_projection_is_computed_again(make: Make) -> None:
    store = make(N)
    expected = Session(store).projection
    assert expected is not None
    for file in (store.path / "derived" / "projection").rglob("*.npy"):
        file.write_bytes(file.read_bytes()[:-8])
    found = Session(wk.open(store.path)).projection
    assert found is not None
    assert_array_equal(found.xy, expected.xy)


# -- maps --------------------------------------------------------------------------------
def test_maps_show_the_planted_cell(make: Make) -> None:
    session = Session(make(60))
    session.cluster("nmf", 3)
    result = session.maps([0, 3, 6], MapSpec("cluster", int(session.clustering.labels[1])))  # type: ignore[union-attr]
    assert result.values.shape == (3, 4, 4)
    assert result.status == "final"
    assert_array_equal(result.values.reshape(3, -1).argmax(axis=1), [0, 0, 0])
    own = session.maps([0, 1, 2])
    assert own.ready.all()
    assert_array_equal(own.values.reshape(3, -1).argmin(axis=1), [0, 0, 0])
    assert (own.vmin, own.vmax) == (0.0, own.values.max())
    assert own.title.endswith("each tile's own")


def test_rows_come_in_the_order_and_number_in_which_they_are_asked(session: Session) -> None:
    one = session.maps([7, 2, 7])
    assert_array_equal(one.rows, [7, 2, 7])
    assert_array_equal(one.values[0], one.values[2])
    assert_allclose(one.values[1], session.maps([2]).values[0], rtol=1e-5)
    assert session.maps([]).values.shape == (0, 4, 4)


def test_a_selection_map_compares_with_the_rest(session: Session) -> None:
    session.set_map("selection")
    with pytest.raises(InvalidInput, match="select some tiles, but not all"):
        session.maps([0])
    session.select_where("label", "tumour")
    result = session.maps([0, 1])
    assert result.signed
    assert result.vmin == -result.vmax
    embeddings = session.store.embeddings(session.layer).astype(float)
    mask = session.selection.mask
    mean_in, mean_rest = session.stats[session.layer].contrast(session.selection)
    assert_allclose(mean_in, embeddings[mask].mean(axis=0), rtol=1e-4)
    assert_allclose(mean_rest, embeddings[~mask].mean(axis=0), rtol=1e-4)


def test_request_of_a_live_map_is_answered_at_once(session: Session) -> None:
    told: list[Any] = []
    session.observe("maps", told.append)
    got: list[Any] = []
    assert session.request_maps([0, 1], None, got.append) is None
    assert told == got
    assert got[0].status == "final"
    assert got[0].revision == session.selection.revision


def test_features_without_maps_say_why(make: Make) -> None:
    session = Session(make(N, maps=False))
    assert session.clustering is not None
    assert session.clustering.method == "kmeans"
    with pytest.raises(NeedsActivations, match="one vector a tile"):
        session.maps([0])
    with pytest.raises(NeedsActivations):
        session.select_alike(0, [0])
    with pytest.raises(NeedsActivations):
        session.cluster("nmf")


# -- gallery and summary -----------------------------------------------------------------
def test_rules_of_the_gallery(session: Session) -> None:
    session.cluster("nmf", 3)
    session.select(range(10, 20))
    first, sentence = session.ranked("first", 3)
    assert first.tolist() == [10, 11, 12]
    assert sentence == "The first 3 of 10 selected tiles, in store order."
    drawn, sentence = session.ranked("random", 4, 1)
    assert drawn.tolist() == session.ranked("random", 4, 1)[0].tolist()
    assert set(drawn) <= set(range(10, 20))
    assert sentence == "4 of 10 selected tiles, drawn at random (seed 1)."
    session.set_map("cluster", 1)
    scored, sentence = session.ranked("score")
    weights = session.clustering.weights[:, 1]  # type: ignore[union-attr, index]
    assert_array_equal(weights[scored], np.sort(weights[10:20])[::-1])
    assert sentence == "10 of 10 selected tiles with the highest weight in cluster 2."
    found, sentence = session.ranked("representative", 3)
    assert len(set(session.clustering.labels[found])) == 3  # type: ignore[union-attr]
    assert "3 clusters in turn" in sentence
    with pytest.raises(UnknownName):
        session.ranked("best")


def test_every_rule_gives_every_tile_once(session: Session) -> None:
    for rule in ("representative", "score", "quantile", "medoid", "random", "first"):
        assert sorted(session.ranked(rule)[0]) == list(range(N))
        rows, sentence = session.ranked(rule, 4)
        assert len(rows) == 4
        assert "4" in sentence
        assert len(session.ranked(rule, 0)[0]) == 0
    rows, sentence = session.ranked("one_per_slide")
    assert sorted(session.store.tiles["slide"].iloc[rows]) == ["alpha", "beta", "gamma"]
    assert sentence.startswith("The tile with the largest weight of each source")


def test_summary_of_a_selection(session: Session) -> None:
    session.select(range(10))
    found = session.summary()
    assert (found.n, found.total, found.slides, found.patients) == (10, N, 1, 1)
    assert found.severity == "red"
    assert found.trust is not None


# -- state -------------------------------------------------------------------------------
def test_state_of_another_store_is_refused(session: Session, make: Make) -> None:
    other = Session(make(N, signed=True))
    with pytest.raises(StoreMismatch, match="Open the store it was saved on"):
        session.restore(other.state())


def test_restore_is_a_step(session: Session, store: ActivationStore) -> None:
    other = Session(store)
    other.select([1])
    session.select([2, 3])
    session.restore(other.state())
    assert session.selection.rows.tolist() == [1]
    session.undo()
    assert session.selection.rows.tolist() == [2, 3]


def test_state_is_short(session: Session) -> None:
    session.select(range(0, N, 3))
    assert len(session.state()) < 600


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=6,
)


@slow
@given(
    part=st.sampled_from(
        [
            "format",
            "version",
            "layer",
            "selection",
            "named",
            "map",
            "focus",
            "clustering",
            "concepts",
        ]
    ),
    value=values,
    inside=st.booleans(),
    data=st.data(),
)
def test_a_hostile_state_is_refused_or_harmless(
    store: ActivationStore, part: str, value: Any, inside: bool, data: st.DataObject
) -> None:
    session = Session(store)
    session.cluster("nmf", 3)
    session.select([1, 2])
    session.save_selection("kept")
    session.mark_region("rim", 3, (0, 0, 2, 2))
    before, named = session._now, session.named
    state = json.loads(session.state())
    target = state[part]
    if part == "concepts" and inside:
        target = json.loads(target)
        target[data.draw(st.sampled_from(sorted(target)))] = value
        state[part] = json.dumps(target)
    elif inside and isinstance(target, dict) and target:
        target[data.draw(st.sampled_from(sorted(target)))] = value
    else:
        state[part] = value
    try:
        session.restore(json.dumps(state))
    except (InvalidInput, UnknownName):
        assert session._now == before
        assert session.named == named
    else:
        session.state()
        session.summary()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", "[" * 100_000, '{"format": NaN}', b"{}", None], ids=range(8)
)
def test_what_is_no_state_is_refused(session: Session, text: Any) -> None:
    with pytest.raises(InvalidInput):
        session.restore(text)


# -- small stores ------------------------------------------------------------------------
@pytest.mark.parametrize("n", [1, 2, 3])
def test_very_small_stores(make: Make, n: int) -> None:
    session = Session(make(n))
    assert session.projection is not None
    assert session.projection.xy.shape == (n, 2)
    assert session.clustering is not None
    assert session.clustering.n == n
    session.select_all()
    assert session.summary().n == n
    assert len(session.composition()) >= 1
    assert session.maps(range(n)).values.shape == (n, 4, 4)
    assert sorted(session.ranked()[0]) == list(range(n))
    session.quality()
    session.invert()
    fresh = Session(session.store)
    fresh.restore(session.state())
    assert fresh.wait()


def test_a_store_without_images_labels_and_outputs(make: Make) -> None:
    session = Session(make(N, images=False, labels=False, outputs=False))
    session.select(range(5))
    assert session.summary().classes == ()
    assert session.maps([0]).values.shape == (1, 4, 4)
    session.ranked("score")


def test_volumes(make: Make) -> None:
    session = Session(make(10, grid=(2, 3, 4)))
    assert session.maps([0, 1]).values.shape == (2, 2, 3, 4)
    assert session.select_alike(0, [[0, 0, 0]]) is not None


def test_read_only_store(make: Make) -> None:
    store = make(N)
    session = Session(wk.open(store.path))
    assert session.wait()
    assert session.projection is not None
