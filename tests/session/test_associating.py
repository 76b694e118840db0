"""Associations through the session: asked as a job, remembered, named, by patient, from other tables."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import widgetkit as wk
from widgetkit import analysis
from widgetkit.errors import InvalidInput, OutputExists, TooFew, UnknownName
from widgetkit.session.joined import join
from widgetkit.session.notes import keep_note
from widgetkit.store import ActivationStore

Make = Callable[..., ActivationStore]


def session_of(store: ActivationStore, k: int = 3) -> wk.Session:
    session = wk.Session(store)
    session.cluster("kmeans", k)
    session.wait()
    return session


@pytest.fixture
def session(make: Make) -> wk.Session:
    return session_of(make(90, slides=tuple(f"s{i:02}" for i in range(15))))


def test_the_answer_is_that_of_the_function(session: wk.Session) -> None:
    told: list[Any] = []
    session.observe("association", told.append)
    job = session.associate(by="tile")
    assert job is not None and job.status == "done" and job.key == "associate"
    (found,) = told
    assert found is not None and not found.selection
    tiles = session.store.tiles
    wanted = analysis.associate(
        session.clustering.labels,  # type: ignore[union-attr]
        tiles[["label", "score"]],
        groups=range(len(tiles)),
        n_permutations=999,
    )
    pd.testing.assert_frame_equal(found.table, wanted.table)
    pd.testing.assert_frame_equal(session.associations["clusters"].means, wanted.means)


def test_columns_that_say_who_or_where_are_no_variables(session: wk.Session) -> None:
    assert session.variables() == ("label", "score")
    session.associate()
    assert list(session.associations["clusters"].table["variable"]) == ["label", "score"]
    session.associate(columns="score")
    assert list(session.associations["clusters"].table["variable"]) == ["score"]
    with pytest.raises(UnknownName, match="'score'"):
        session.associate(columns=["scor"])


def test_patients_then_slides_are_compared_whole(make: Make, session: wk.Session) -> None:
    session.associate()
    assert session.associations["clusters"].unit == "patient"
    assert session.associations["clusters"].units == 2
    session.associate(by="slide")
    assert (session.associations["clusters"].unit, session.associations["clusters"].units) == (
        "slide",
        15,
    )
    session.associate(by="tile")
    found = session.associations["clusters"]
    assert (found.unit, found.units, found.rule) == ("tile", 90, "tiles")
    assert any("tiles of one slide are alike" in said for said in found.warnings)
    bare = session_of(make(60, labels=False))
    with pytest.raises(InvalidInput, match="no column to test"):
        bare.associate()
    assert bare.variables() == ()
    with pytest.raises(UnknownName, match="group by"):
        session.associate(by="patients")


def test_what_was_answered_is_remembered_and_named_as_now(session: wk.Session) -> None:
    told: list[Any] = []
    session.observe("association", told.append)
    session.associate()
    first = session.associations["clusters"]
    session.rename_cluster(0, "ink")
    session.recolour_cluster(0, 5)
    renamed = session.associations["clusters"]
    assert renamed.table is first.table and "ink" in set(renamed.means["cluster"])
    assert session.associate() is None and len(told) == 2 and told[1].names[0] == "ink"
    session.cluster("kmeans", 2)
    session.wait()
    assert "clusters" not in session.associations
    session.associate()
    assert session.associations["clusters"].names == ("cluster 1", "cluster 2")
    session.undo()
    assert session.associations["clusters"].table is first.table
    session.associate(columns=["score"])  # another question has another answer
    assert len(session.associations["clusters"].table) == 1


def test_a_selection_against_the_rest(session: wk.Session) -> None:
    for act, said in ((session.clear, "Nothing"), (session.select_all, "Everything")):
        act()
        with pytest.raises(TooFew, match=f"{said} is selected"):
            session.associate("selection")
    session.select(np.arange(0, 90, 3))
    session.associate("selection", by="tile")
    found = session.associations["selection"]
    assert (
        found.selection
        and found.names == ("selection", "rest")
        and found.sizes.tolist() == [30, 60]
    )
    wanted = analysis.associate(
        session.selection.mask, session.store.tiles[["label", "score"]], groups=range(90),
        n_permutations=999,
    )  # fmt: skip
    pd.testing.assert_frame_equal(found.table, wanted.table)
    session.rename_cluster(0, "ink")
    assert session.associations["selection"].names == ("selection", "rest")
    session.select([1, 2, 3, 4])
    assert "selection" not in session.associations
    with pytest.raises(UnknownName, match="'selection'"):
        session.associate("selected")  # type: ignore[arg-type]


def test_one_cluster_is_said(session: wk.Session) -> None:
    session.cluster("kmeans", 1)
    session.wait()
    with pytest.raises(TooFew, match="one cluster"):
        session.associate()


def test_a_stores_remark_on_a_column_is_a_warning(session: wk.Session) -> None:
    keep_note(session.store, "label", "A model's labels.")
    session.associate()
    assert session.associations["clusters"].warnings[0] == "About column 'label': A model's labels."


def test_no_name_of_anybody_is_in_an_answer(session: wk.Session) -> None:
    for by in (None, "slide", "tile"):
        session.associate(by=by)
        found = session.associations["clusters"]
        said = repr([found.table.to_dict(), found.means.to_dict(), found.sentences, found.warnings])
        for name in ("'p0'", "'p1'", "s00", "s14", "0000000000000001"):
            assert name not in said


# -- tables from elsewhere -----------------------------------------------------------------
def patients(session: wk.Session) -> pd.DataFrame:
    names = session.store.tiles["slide"].unique()
    g = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "slide": names,
            "fvc": g.normal(80, 10, len(names)),
            "sex": g.choice(["f", "m"], len(names)),
        }
    )


def test_a_table_by_slide_counts_each_slide_once(session: wk.Session) -> None:
    table = patients(session)
    session.associate(table=table.sample(frac=1, random_state=1))
    found = session.associations["clusters"]
    assert list(found.table["variable"]) == ["fvc", "sex"]
    assert (found.unit, found.units) == ("slide", 15)
    assert set(found.table["n"]) == {15}
    joined = session.join(table)
    wide = joined.frame["fvc"].to_numpy()
    by = table.set_index("slide")["fvc"]
    np.testing.assert_array_equal(wide, by.loc[session.store.tiles["slide"]].to_numpy())
    assert session.variables(joined) == ("fvc", "sex") and joined.key == "slide"
    assert session.associate(table=joined) is not None
    assert session.associate(table=joined) is None  # the same table: remembered


def test_tiles_without_a_row_are_missing_and_counted(session: wk.Session) -> None:
    table = patients(session).iloc[:12]
    joined = session.join(table)
    assert joined.note == "18 of 90 tiles have no row in the table: their values are missing."
    assert joined.frame["fvc"].isna().sum() == 18 and joined.frame["fvc"].dtype == np.float64
    session.associate(table=joined)
    found = session.associations["clusters"]
    assert joined.note in found.sentences and set(found.table["n"]) == {12}
    assert set(found.table["missing"]) == {18}


def test_tables_by_tile_by_index_and_by_position(session: wk.Session) -> None:
    tiles = session.store.tiles
    values = np.arange(90.0)
    by_id = pd.DataFrame({"id": tiles["id"], "v": values}).iloc[::-1]
    by_index = pd.DataFrame({"v": values}, index=pd.Index(tiles["id"], name="id"))
    for table in (by_id, by_index, pd.DataFrame({"v": values}), {"v": values}):
        np.testing.assert_array_equal(session.join(table).frame["v"], values)
    assert session.join({"v": values}).key == ""
    ordered = pd.Categorical(["lo", "hi"] * 45, ["lo", "hi"], ordered=True)
    short = pd.DataFrame({"id": tiles["id"], "grade": ordered}).iloc[:80]
    assert session.join(short).frame["grade"].dtype == ordered.dtype
    numbers = pd.DataFrame({"slide": np.arange(15.0), "v": np.arange(15)})
    store = session.store
    tiles_ = store.tiles.assign(slide=[str(i // 6) for i in range(90)])

    class Other:
        tiles = tiles_

    np.testing.assert_array_equal(join(Other(), numbers).frame["v"], np.arange(90) // 6)  # type: ignore[arg-type]


def test_tables_that_do_not_fit_say_so_and_show_no_value(session: wk.Session) -> None:
    table = patients(session)
    twice = pd.concat([table, table.iloc[:2]])
    cases: list[tuple[type[Exception], str, Any, dict[str, Any]]] = [
        (InvalidInput, "2 rows of the table have a value of 'slide' that another", twice, {}),
        (InvalidInput, "none of the columns", pd.DataFrame({"v": [1, 2]}), {}),
        (UnknownName, "table have no column 'patient'", table, {"on": "patient"}),
        (UnknownName, "tiles have no column 'fvc'", table, {"on": "fvc"}),
        (InvalidInput, "hashed or numbered", table.assign(slide="SECRET-" + table["slide"]), {}),
        (InvalidInput, "mapping of columns", [1], {}),
        (InvalidInput, "do not make a table", {"a": [1], "b": [1, 2]}, {}),
    ]
    for error, said, given, options in cases:
        with pytest.raises(error, match=said) as caught:
            session.join(given, **options)
        assert "s00" not in str(caught.value) and "SECRET" not in str(caught.value)


# -- as a job ------------------------------------------------------------------------------
def test_in_a_notebook_the_latest_question_wins(make: Make) -> None:
    store = make(90, slides=tuple(f"s{i:02}" for i in range(15)))
    session_of(store).close()

    async def work() -> list[int]:
        session = wk.Session(store)
        session.cluster("kmeans", 3)
        while session.jobs.active:
            await asyncio.sleep(0.01)
        told: list[int] = []
        session.observe("association", lambda found: told.append(int(found.sizes[0])))
        for count in (10, 20, 30):
            session.select(np.arange(count))
            job = session.associate("selection", by="tile")
        assert job is not None and job.key == "associate"
        while session.jobs.active:
            await asyncio.sleep(0.01)
        session.close()
        return told

    assert asyncio.run(work()) == [30]


def test_an_answer_about_clusters_that_are_gone_is_not_told(make: Make) -> None:
    store = make(90)
    session_of(store).close()

    async def work() -> tuple[int, bool]:
        session = wk.Session(store)
        session.cluster("kmeans", 3)
        while session.jobs.active:
            await asyncio.sleep(0.01)
        told: list[Any] = []
        session.observe("association", told.append)
        session.associate(by="tile")
        session.merge_clusters([0, 1])
        while session.jobs.active:
            await asyncio.sleep(0.01)
        silent = not told and "clusters" not in session.associations
        session.undo()
        remembered = "clusters" in session.associations
        session.close()
        return silent, remembered  # type: ignore[return-value]

    assert asyncio.run(work()) == (True, True)


def test_an_error_of_the_job_is_told(session: wk.Session) -> None:
    with pytest.raises(InvalidInput, match="no numbers"):
        session.associate(kinds={"label": "numeric"})
    assert "clusters" not in session.associations
    with pytest.raises(InvalidInput, match="does not fit"):
        session.associate(tests={"label": "welch"})


# -- files ---------------------------------------------------------------------------------
def test_tables_are_written(session: wk.Session, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"session\.associate\('clusters'\)"):
        session.export_association(tmp_path / "a.csv")
    session.associate(by="tile")
    path = session.export_association(tmp_path / "a.csv")
    written = pd.read_csv(path)
    assert list(written["variable"]) == list(session.associations["clusters"].ranked()["variable"])
    with pytest.raises(OutputExists):
        session.export_association(path)
    for content in ("means", "pairs"):
        got = session.export_association(tmp_path / f"{content}.parquet", content=content)
        wanted = getattr(session.associations["clusters"], content)
        assert len(pd.read_parquet(got)) == len(wanted)
    with pytest.raises(InvalidInput, match="content"):
        session.export_association(tmp_path / "b.csv", content="all")  # type: ignore[arg-type]
