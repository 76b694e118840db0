"""Reading the factors of a clustering through the session."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import widgetkit as wk
from tests.readable import NOTE, Net, extract_store, read_all, session_of
from tests.stores import make_store
from widgetkit import factors
from widgetkit.errors import InvalidInput, NeedsActivations, NeedsModel, UnknownLayer, UnknownName
from widgetkit.factors import kept_maps
from widgetkit.session import weighing
from widgetkit.session.notes import LETTERS_MOST, keep_note, note_of
from widgetkit.session.reading import KINDS, TITLES
from widgetkit.store import ActivationStore


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> tuple[ActivationStore, Net]:
    return extract_store(tmp_path_factory.mktemp("reading") / "s.wk")


@pytest.fixture
def session(extracted: tuple[ActivationStore, Net]) -> wk.Session:
    return session_of(*extracted)


def test_every_kind_is_answered_and_told(session: wk.Session) -> None:
    told = []
    session.observe("reading", lambda found: told.append(found.kind))
    read_all(session)
    assert told == list(KINDS) == list(TITLES)
    assert set(session.readings) == set(KINDS)
    for kind, found in session.readings.items():
        assert found.kind == kind and len(found.table) and found.title == TITLES[kind]
        assert all(isinstance(said, str) and said for said in (*found.sentences, *found.warnings))
    assert session.readings["choice"].detail.recommended in (2, 3)
    assert "of class bars" in session.readings["correlations"].sentences[0]
    assert "accuracy" in session.readings["completeness"].table  # labels are the network's classes


def test_names_do_not_change_answers_but_other_factors_do(session: wk.Session) -> None:
    session.read_slides()
    session.read_choice((2, 3), seeds=2)
    session.wait()
    first = session.readings["slides"]
    assert session.factor_names() == ("cluster 1", "cluster 2", "cluster 3")
    session.rename_cluster(0, "lines")
    assert session.factor_names()[0] == "lines" and session.readings["slides"] is first
    session.merge_clusters([0, 1])  # still the factors that were fitted
    assert session.factor_names() == ("factor 1", "factor 2", "factor 3")
    assert session.readings["slides"] is first
    session.cluster("nmf", 2)
    session.wait()
    assert set(session.readings) == {"choice"}  # is about the layer
    session.undo()
    assert session.readings["slides"] is first
    session.set_layer("early")
    session.wait()
    assert not session.readings


def test_what_ran_a_network_is_found_without_one(
    extracted: tuple[ActivationStore, Net], session: wk.Session
) -> None:
    session.read_importance(n=8, sobol=False)
    session.read_completeness(n=16)
    session.read_correlations(methods=("gradcam",), n=16)
    session.wait()
    alone = session_of(extracted[0])
    alone.read_importance()
    alone.read_completeness()
    alone.read_correlations()
    alone.wait()
    for kind in ("importance", "completeness"):
        pd.testing.assert_frame_equal(alone.readings[kind].table, session.readings[kind].table)
        assert "other settings" in alone.readings[kind].sentences[-1]
        assert "other settings" not in session.readings[kind].sentences[-1]
    r = {
        s: s.readings["correlations"].table.query("map == 'Grad-CAM' and method == 'pearson'")["r"]
        for s in (alone, session)
    }
    np.testing.assert_allclose(r[alone], r[session])
    kept_maps.maps_of(extracted[0], "gradcam", 0, [1, 2], layer="body", model=session.model)
    assert alone._target(None) == 1  # the usual one, of which maps are kept
    alone.cluster("nmf", 2)
    with pytest.raises(NeedsModel, match="Importance"):
        alone.read_importance()
        alone.wait()


def test_without_a_network_the_usual_class_is_one_that_maps_are_kept_of(tmp_path: Path) -> None:
    store, net = extract_store(tmp_path / "s.wk", 16)
    session = session_of(store, net, k=2)
    assert session_of(store, k=2)._target(None) == session._target(None) == 1
    kept_maps.maps_of(store, "gradcam", 0, [1, 2], layer="body", model=session.model)
    assert session_of(store, k=2)._target(None) == 0 and session._target(None) == 1


def test_tables_are_those_of_the_functions(session: wk.Session) -> None:
    session.read_slides()
    session.read_prediction()
    session.read_layers("early")
    session.wait()
    made = session.factors
    pd.testing.assert_frame_equal(session.readings["slides"].table, factors.slide_share(made))
    pd.testing.assert_frame_equal(
        session.readings["prediction"].table,
        factors.predict_classes(session.store, made, seed=session.seed).table,
    )
    other = factors.factorise(session.store, "early", 3, seed=session.seed)
    pd.testing.assert_frame_equal(
        session.readings["layers"].table.rename(columns={"factor": "a", "other": "b"}),
        factors.match_factors(made, other),
    )


def test_factors_of_another_store_are_matched_on_the_same_tiles(
    session: wk.Session, tmp_path: Path
) -> None:
    again, _ = extract_store(tmp_path / "again.wk")
    session.use_factors(factors.factorise(session.store, "body", 3))
    session.read_layers(factors.factorise(again, "body", 3))
    session.wait()
    assert (session.readings["layers"].table["correlation"] > 0.98).all()


def test_the_choice_of_k_is_kept_for_the_layer(
    extracted: tuple[ActivationStore, Net], session: wk.Session
) -> None:
    session.read_choice((2, 3), seeds=2)
    session.wait()
    other = wk.Session(extracted[0], layer="body")
    other.cluster("kmeans", 2)  # has no factors, the layer may have some yet
    other.read_choice((2, 3), seeds=2)
    other.wait()
    pd.testing.assert_frame_equal(other.readings["choice"].table, session.readings["choice"].table)
    other.read_choice((2,), seeds=2)  # another question is not answered by what is kept
    other.wait()
    assert list(other.readings["choice"].table["k"]) == [2]


def test_usual_numbers_stay_within_the_rank() -> None:
    from widgetkit.session.readers import _within_rank

    generator = np.random.default_rng(0)
    flat = generator.random((500, 4)) @ generator.random((4, 40))
    assert list(_within_rank(flat.astype(np.float32))) == [2, 3, 4]
    assert list(_within_rank(np.zeros((20, 3), np.float32))) == [1]


def test_slides_or_patients_and_what_follows_them(session: wk.Session) -> None:
    session.read_slides("patient")
    session.wait()
    found = session.readings["slides"]
    assert found.table.attrs["by"] == "patient" and int(found.table["groups"].iloc[0]) == 2
    with pytest.raises(UnknownName, match="patient"):
        session.read_slides("patent")
        session.wait()


def test_factors_that_follow_the_slide_are_named_by_their_present_names(tmp_path: Path) -> None:
    store = _store_of_slides(tmp_path / "s.wk")
    session = session_of(store, k=2)
    session.read_slides()
    session.wait()
    found = session.readings["slides"]
    assert found.warnings and "factors follow the source" in found.warnings[0]
    session.rename_cluster(0, "scanner of Tuesdays")
    assert "scanner of Tuesdays 1" in found.warned(session.factor_names())[-1]  # 1xx %


def _store_of_slides(path: Path) -> ActivationStore:
    """Tiles that differ by their slide alone."""
    generator = np.random.default_rng(0)
    of = np.arange(40) // 20
    basis = np.eye(2, 6, dtype=np.float32)[of]
    values = basis[:, :, None, None] + generator.uniform(0, 0.2, (40, 6, 3, 3))
    from widgetkit.store import LayerPlan, Plan, StoreWriter

    table = pd.DataFrame(
        {"id": [f"{i:016x}" for i in range(40)], "source": [f"s{i}" for i in of], "x": 0.0,
         "y": np.arange(40.0), "z": 0.0, "level": 0, "size": 16, "mpp": 0.5}
    )  # fmt: skip
    plan = Plan(
        tiles=table, layers=[LayerPlan("l", 6, (3, 3))], image_shape=None, segment_rows=40, model={}
    )
    with StoreWriter.open(path, plan=plan) as writer:
        writer.write_segment(0, activations={"l": values.astype(np.float16)})
        return writer.commit(info={"notes": {"source": "Two halves of one slide.", "x": 3}})


def test_a_store_says_whose_its_labels_are(session: wk.Session, tmp_path: Path) -> None:
    read_all(session)
    for kind in ("shares", "prediction", "completeness"):
        assert session.readings[kind].warnings == (f"About column 'label': {NOTE}",)
    assert not session.readings["importance"].warnings
    other = _store_of_slides(tmp_path / "s.wk")
    assert note_of(other, "source") == "Two halves of one slide."
    assert note_of(other, "x") == note_of(other, "nothing") == ""
    assert note_of(session.store, "slide") == ""
    long = wk.import_features(
        np.eye(9, 4),
        metadata=pd.DataFrame({"label": "a", "label_note": ["", None] + ["x \n" * 500] * 7}),
        out=tmp_path / "long.wk",
    )
    assert len(note_of(long, "label")) <= LETTERS_MOST and note_of(long, "label").endswith("x...")


def test_a_note_can_be_kept_later(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.wk", n=24)
    assert note_of(store, "label") == ""
    keep_note(store, "label", "A model's\nlabels.")
    assert note_of(wk.open(store.path), "label") == "A model's labels."
    keep_note(store, "label", " ")
    keep_note(store, "label", "")
    assert note_of(store, "label") == "" == note_of(store, "../..") == note_of(store, "x" * 999)
    with pytest.raises(UnknownName, match="lable"):
        keep_note(store, "lable", "x")


def test_tiles_without_a_class_are_left_out_and_counted(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.wk", n=40)
    session = session_of(store, k=2)
    values = store.tiles["label"].astype(object).copy()
    values[:3] = None
    store.tiles  # noqa: B018 - the table is read once, so that it can be taken
    from widgetkit.session import readers

    class With:
        tiles = store.tiles.assign(label=values)

        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

        def __len__(self) -> int:
            return len(store)

    job = session.read_shares()
    found = readers.shares(readers.Asked(With(), None, 0, job), session.factors, "label")  # type: ignore[arg-type]
    assert "3 tiles without a value were left out." in found.sentences
    assert set(found.table["group"]) == set(values[3:])


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.wk", n=32)
    session = wk.Session(store)
    session.cluster("kmeans", 3)
    session.wait()
    with pytest.raises(InvalidInput, match="kmeans"):
        session.read_slides()
    session.cluster("nmf", 3)
    session.wait()
    with pytest.raises(InvalidInput, match="no predictions"):
        session.read_correlations()
    with pytest.raises(InvalidInput, match="nothing to compare"):
        session.read_layers()
    with pytest.raises(UnknownLayer, match=r"features\.4"):
        session.read_layers("features.5")
    with pytest.raises(InvalidInput, match="looked at"):
        session.read_layers("features.4")
    bare = wk.Session(wk.import_features(np.eye(9, 4), out=tmp_path / "f.wk"))
    with pytest.raises(InvalidInput, match="label="):
        bare.read_prediction()
    with pytest.raises(NeedsActivations, match="one vector"):
        bare.read_choice()


def test_clusters_of_no_prototypes_have_no_readings(tmp_path: Path) -> None:
    session = wk.Session(make_store(tmp_path / "s.wk", n=40))
    session.cluster("hdbscan")
    session.wait()
    assert dict(session.readings) == {} or session.readings.keys() == set()


def test_several_questions_at_once_make_the_factors_once(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.wk", n=64)
    session = session_of(store, k=3)
    clustering = session.clustering
    assert clustering is not None
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda _: weighing.make_factors(store, clustering), range(6)))
    assert len({found.name for found in made}) == 1 and len(factors.names(store)) == 1
    np.testing.assert_array_equal(made[0].weights(), made[-1].weights())


def test_volumes_are_read_too(tmp_path: Path) -> None:
    session = wk.Session(make_store(tmp_path / "v.wk", n=24, grid=(2, 3, 3)))
    session.cluster("nmf", 2)
    session.read_slides()
    session.wait()
    assert len(session.readings["slides"].table) == 2
