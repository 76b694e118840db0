"""AssociationPanel: what it says and draws, how it follows, and that it names nobody."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ipywidgets.widgets.widget import _instances

import widgetkit as wk
from tests.clinical import PATIENT, SLIDE, VARIABLES, clinical_session, clinical_store
from tests.stores import HOSTILE
from tests.widgets.test_clusters import press
from widgetkit.errors import InvalidInput, OutputExists
from widgetkit.palette import colour
from widgetkit.session import Session
from widgetkit.store import ActivationStore
from widgetkit.testing import plotly as gestures
from widgetkit.widgets import AssociationPanel, association_charts, charts


@pytest.fixture(scope="module")
def clinical(tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    return clinical_store(tmp_path_factory.mktemp("association") / "s.wk")


@pytest.fixture
def session(clinical: ActivationStore) -> Session:
    return clinical_session(clinical)


@pytest.fixture
def panel(session: Session) -> Iterator[AssociationPanel]:
    made = AssociationPanel(session)
    yield made
    made.close()


def ranking(panel: AssociationPanel) -> Any:
    (figure,) = panel._ranking.children
    return figure


def one(panel: AssociationPanel) -> Any:
    (figure,) = panel._one.children
    return figure


def told(panel: AssociationPanel) -> str:
    """All that the browser is told."""
    figures = [*panel._ranking.children, *panel._one.children]
    parts = (panel._said, panel._table, panel._pairs, panel._message)
    return (
        "".join(repr(gestures.synced(figure)) for figure in figures)
        + "".join(part.value for part in parts)
        + repr(panel._variable.options)
        + panel.describe()
    )


# -- what is seen --------------------------------------------------------------------------
def test_it_opens_with_the_clusters_ranked(panel: AssociationPanel, session: Session) -> None:
    found = panel.association
    assert found is not None and set(found.table["variable"]) == set(VARIABLES)
    assert (found.unit, found.units, found.rule) == ("patient", 24, "majority")
    ranked = found.ranked()
    assert set(ranked["variable"][:3]) == {"fvc", "smoker", "grey"}
    bars = ranking(panel).data[0]
    np.testing.assert_allclose(bars.x, np.nan_to_num(ranked["strength"]), rtol=1e-5)
    known = ranked["strength_low"].notna().to_numpy()
    reach = np.asarray(bars.x) + np.asarray(bars.error_x.array)
    np.testing.assert_allclose(reach[known], ranked["strength_high"][known], rtol=1e-4, atol=1e-6)
    called = (ranked["q"] < 0.05).tolist()
    assert [c == association_charts.CALLED_COLOUR for c in bars.marker.color] == called
    assert panel.variable == ranked["variable"][0]
    assert [v for _, v in panel._variable.options] == ranked["variable"].tolist()
    assert panel._table.value.count("<tr>") == len(VARIABLES) + 1
    assert "not tested" in [note.text for note in ranking(panel).layout.annotations]


def test_a_click_and_the_menu_show_a_variable(panel: AssociationPanel) -> None:
    names = panel.association.ranked()["variable"].tolist()  # type: ignore[union-attr]
    gestures.click(ranking(panel), 0, names.index("smoker"))
    assert panel.variable == "smoker"
    assert [trace.type for trace in one(panel).data] == ["bar"] * 3
    panel._variable.value = "fvc"  # by keyboard
    assert panel.variable == "fvc" and one(panel).data[0].type == "box"
    widths = list(ranking(panel).data[0].marker.line.width)
    assert widths.index(max(widths)) == names.index("fvc")
    with pytest.raises(InvalidInput, match="fvc"):
        panel.variable = "nothing"


def test_amounts_are_boxes_points_and_means_in_the_clusters_colours(
    panel: AssociationPanel, session: Session
) -> None:
    panel.variable = "fvc"
    found, data = panel.association, one(panel).data
    assert found is not None and session.clustering is not None
    boxes = [trace for trace in data if trace.type == "box"]
    held = found.distribution("fvc")
    for c, box in enumerate(boxes):
        values = held.values[held.cluster == c]
        quartiles = np.quantile(values, (0.25, 0.5, 0.75))
        np.testing.assert_allclose([box.q1[0], box.median[0], box.q3[0]], quartiles)
        assert box.line.color == colour(session.clustering.colors[c])
        points = next(trace for trace in data if trace.meta == f"points {c}")
        assert set(np.float32(points.x)) <= set(np.float32(values))
    marks = next(trace for trace in data if trace.meta == "means")
    means = found.means.query("variable == 'fvc' and statistic == 'mean'")
    np.testing.assert_allclose(marks.x, means["value"], rtol=1e-5)
    np.testing.assert_allclose(marks.x + marks.error_x.array, means["high"], rtol=1e-5)
    assert marks.name == "mean, 95% interval"


def test_categories_are_shares_side_by_side_with_intervals(panel: AssociationPanel) -> None:
    panel.variable = "sex"
    found, data = panel.association, one(panel).data
    assert found is not None
    shares = found.means.query("variable == 'sex' and statistic == 'share'")
    for c, trace in enumerate(data):
        part = shares[shares["number"] == c]
        np.testing.assert_allclose(trace.x, 100 * part["value"], rtol=1e-5)
        np.testing.assert_allclose(trace.x + trace.error_x.array, 100 * part["high"], rtol=1e-4)
    assert list(one(panel).layout.yaxis.ticktext) == ["f", "m"]


def test_a_variable_without_values_has_no_chart(panel: AssociationPanel) -> None:
    panel.variable = "empty"
    assert panel._one.children == () and "all values are missing" in panel._table.value
    panel.variable = "fvc"
    assert one(panel).data


def test_charts_are_private_and_small(panel: AssociationPanel) -> None:
    for figure in (ranking(panel), one(panel)):
        state = gestures.synced(figure)
        assert state["config"]["showSendToCloud"] is False
        for array in gestures.arrays(state["data"]):
            assert array.dtype.itemsize <= 4 or array.dtype.kind in "OU"
        assert len({trace["uid"] for trace in state["data"]}) == len(state["data"])


def test_warnings_are_notices_and_sentences_are_lines(panel: AssociationPanel) -> None:
    assert re.search(
        r'role="alert"[^>]*>Note: &#x27;gold&#x27; holds 4 different', panel._said.value
    )
    assert "24 patients (192 tiles)" in panel._said.value
    text = panel.describe()
    assert text.startswith("Association panel: 7 variables, 3 clusters, 24 patients (192 tiles).")
    assert "Note: 'gold' holds 4 different whole numbers" in text
    assert re.search(r"grey: Welch's ANOVA, n 24, p < 0.001, q < 0.001, omega² 0\.\d+ \(", text)
    assert "empty: No test: all values are missing." in text and f"Shown: {panel.variable}." in text
    assert repr(panel).startswith("<AssociationPanel: Association panel: 7 variables")
    assert "nan" not in (panel._table.value + text).lower()


# -- how it follows ------------------------------------------------------------------------
def test_it_follows_the_clusters(panel: AssociationPanel, session: Session) -> None:
    panel.variable = "fvc"
    first, chart = panel.association, one(panel)
    session.rename_cluster(0, "ink & co")
    session.recolour_cluster(0, 7)
    assert panel.association.table is first.table  # type: ignore[union-attr]
    assert one(panel) is chart  # in place: no flicker
    assert "ink &amp; co" in one(panel).layout.yaxis.ticktext and panel.variable == "fvc"
    assert one(panel).data[0].line.color == colour(7)
    session.merge_clusters([0, 1])
    assert panel.association.names == ("ink & co", "cluster 3")  # type: ignore[union-attr]
    assert len([t for t in one(panel).data if t.type == "box"]) == 2
    session.undo()
    assert panel.association.table is first.table  # type: ignore[union-attr]


def test_it_follows_the_selection(panel: AssociationPanel, session: Session) -> None:
    panel.of = "selection"
    assert panel.association is None and "Nothing is selected" in panel._said.value
    session.select_cluster(2)
    found = panel.association
    assert (
        found is not None
        and found.selection
        and panel.describe().startswith(
            f"Association panel: 7 variables, {session.selection.count} selected tiles"
        )
    )
    figure = ranking(panel)
    panel.variable = "fvc"
    assert one(panel).data[0].line.color == association_charts.CALLED_COLOUR
    session.select(np.arange(70))
    assert panel.association is not found and ranking(panel) is figure
    session.rename_cluster(0, "ink")  # nothing to do with the selection
    session.clear()
    assert panel.association is None and panel._ranking.children == ()
    panel.of = "clusters"
    assert panel.association is not None and not panel.association.selection
    with pytest.raises(InvalidInput, match="clusters, selection"):
        panel.of = "tiles"


def test_a_selection_does_not_ask_about_the_clusters_again(
    panel: AssociationPanel, session: Session
) -> None:
    asked: list[str] = []
    session.observe("job", lambda job: asked.append(job.key))
    session.select_cluster(0)
    assert asked == []


def test_two_panels_do_not_cancel_each_other(clinical: ActivationStore) -> None:
    async def work() -> tuple[bool, bool]:
        session = Session(clinical)
        session.cluster("kmeans", 3)
        while session.jobs.active:
            await asyncio.sleep(0.01)
        first, second = AssociationPanel(session), AssociationPanel(session)
        second.of = "selection"
        session.select_cluster(0)
        while session.jobs.active:
            await asyncio.sleep(0.01)
        shown = first.association, second.association
        first.close()
        second.close()
        session.close()
        return (
            shown[0] is not None and not shown[0].selection,
            shown[1] is not None and shown[1].selection,
        )

    assert asyncio.run(work()) == (True, True)


def test_a_panel_that_nobody_looks_at_rests(panel: AssociationPanel, session: Session) -> None:
    first = panel.association
    panel.live = False
    session.merge_clusters([0, 1])
    assert panel.association is first
    panel.live = True
    assert panel.association is not first


def test_the_count_of_units_can_be_chosen(panel: AssociationPanel) -> None:
    assert [v for _, v in panel._by.options] == ["", "patient", "source", "tile"]
    panel._by.value = "tile"
    assert panel.association.units == 192  # type: ignore[union-attr]
    assert "tiles of one source are alike" in panel._said.value
    panel._by.value = "patient"
    assert panel.association.units == 24  # type: ignore[union-attr]


# -- stores that lack something ------------------------------------------------------------
def test_what_cannot_be_compared_is_said_in_its_place(
    session: Session, features_store: ActivationStore
) -> None:
    session.cluster("kmeans", 1)
    session.wait()
    panel = AssociationPanel(session)
    assert panel.association is None and "one cluster" in panel._said.value
    assert panel.error_strip.message == ""
    assert all(part.layout.display == "none" for part in panel._shown)
    session.cluster("kmeans", 3)
    session.wait()
    assert panel.association is not None and panel._ranking.layout.display == ""
    panel.close()
    bare = AssociationPanel(features_store)
    assert "no column to test" in bare.describe()
    assert "session.associate(table=frame" in bare._said.value
    for act in ("Save table", "Pairs"):
        with pytest.raises(InvalidInput, match="nothing to save or compare"):
            press(bare, act)
    with pytest.raises(InvalidInput, match="nothing to save or compare"):
        bare.figure()
    bare.close()


def test_it_works_alone_on_a_store_and_a_path(clinical: ActivationStore) -> None:
    for source in (clinical, str(clinical.path)):
        panel = wk.AssociationPanel(source)
        assert panel.association is not None
        panel.close()


def test_in_a_notebook_it_waits_for_the_clusters(tmp_path: Path) -> None:
    store = clinical_store(tmp_path / "s.wk", patients=9)

    async def work() -> tuple[str, bool]:
        panel = AssociationPanel(store)
        begun = panel.describe()
        while panel.session.jobs.active:
            await asyncio.sleep(0.01)
        shown = panel.association is not None
        panel.close()
        panel.session.close()
        return begun, shown

    begun, shown = asyncio.run(work())
    assert "still being computed" in begun and shown


def test_a_variable_can_be_chosen_before_there_is_an_answer(clinical: ActivationStore) -> None:
    async def work() -> tuple[str, str, str]:
        session = Session(clinical)
        session.cluster("kmeans", 3)
        while session.jobs.active:
            await asyncio.sleep(0.01)
        panel = AssociationPanel(session)
        begun = panel.describe()
        with pytest.raises(InvalidInput, match="there are fvc, gold"):
            panel.variable = "fvx"
        panel.variable = "sex"
        while session.jobs.active:
            await asyncio.sleep(0.01)
        first = panel.variable
        panel.of = "selection"  # nothing is selected: nothing is shown
        session.select_cluster(0)
        while session.jobs.active:
            await asyncio.sleep(0.01)
        second = panel.variable
        panel.close()
        session.close()
        return begun, first, second

    assert asyncio.run(work()) == ("Association panel: Being computed.", "sex", "sex")


def test_an_empty_store_and_one_of_a_tile(tmp_path: Path) -> None:
    for n in (1, 2):
        store = wk.import_features(
            np.eye(n, 4), out=tmp_path / f"{n}.wk", metadata={"age": np.arange(n) + 0.5}
        )
        panel = AssociationPanel(store)
        assert panel.association is None and panel.describe()
        panel.close()


# -- tables from elsewhere -----------------------------------------------------------------
def test_a_table_of_patients(session: Session) -> None:
    names = session.store.tiles["patient"].unique()
    table = pd.DataFrame({"patient": names, "dlco": np.arange(24.0), "drug": ["a", "b"] * 12})
    panel = AssociationPanel(session, table=table, kinds={"dlco": "ordinal"})
    found = panel.association
    assert found is not None and list(found.table["variable"]) == ["dlco", "drug"]
    assert found.units == 24 and found.table["kind"].tolist() == ["ordinal", "nominal"]
    some = AssociationPanel(session, columns=["fvc", "sex"], tests={"fvc": "anova"})
    assert some.association.table["test"].iloc[0] == "ANOVA"  # type: ignore[union-attr]
    with pytest.raises(InvalidInput, match="none of the columns"):
        AssociationPanel(session, table={"v": [1]})
    panel.close()
    some.close()


# -- what is done --------------------------------------------------------------------------
def test_pairs_are_compared_when_asked_for(panel: AssociationPanel, session: Session) -> None:
    panel.variable = "fvc"
    press(panel, "Pairs")
    assert (
        panel._pairs.value.count("<tr>") == 4
        and "cluster 1 \N{EN DASH} cluster 2" in panel._pairs.value
    )
    panel.variable = "sex"
    assert panel._pairs.value == ""
    panel.of = "selection"
    session.select_cluster(0)
    assert panel._pairs_button.disabled


def test_tables_are_saved_as_csv(
    panel: AssociationPanel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for content, rows in (("tests", len(VARIABLES)), ("means", None), ("pairs", None)):
        panel._content.value, panel._file.value = content, f"{content}.csv"
        press(panel, "Save table")
        written = pd.read_csv(tmp_path / f"{content}.csv")
        assert rows is None or len(written) == rows
        assert panel._message.value == f"Saved {content}.csv."
        text = (tmp_path / f"{content}.csv").read_text()
        assert PATIENT not in text and SLIDE not in text
    with pytest.raises(OutputExists):
        press(panel, "Save table")
    assert "pairs.csv" in panel.error_strip.message


def test_a_wrong_file_name_is_said(
    panel: AssociationPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIDGETKIT_RAISE", "0")
    panel._file.value = "association.xls"
    press(panel, "Save table")
    assert ".csv" in panel.error_strip.message


# -- text is text, and nobody is named -------------------------------------------------------
def test_names_are_text_and_nobody_is_named(panel: AssociationPanel, session: Session) -> None:
    session.rename_cluster(0, f"$x$ {HOSTILE}")
    for by in ("", "source", "tile"):
        panel._by.value = by
        for variable in [v for _, v in panel._variable.options]:
            panel.variable = variable
            press(panel, "Pairs")
            shown = told(panel)
            for figure in (*panel._ranking.children, *panel._one.children):
                state = repr(gestures.synced(figure))
                assert "<img" not in state and "$x$" not in state
            for part in (panel._said, panel._table, panel._pairs):
                assert "<img" not in part.value
            assert PATIENT not in shown and SLIDE not in shown
    assert PATIENT not in panel.caption() and SLIDE not in panel.caption()


def test_every_control_has_a_name(panel: AssociationPanel) -> None:
    for part in (panel._of, panel._by, panel._variable, panel._content, panel._file):
        assert part.description or part.tooltip
    for name in ("Pairs", "Save table"):
        assert any(
            getattr(part, "description", "") == name and part.tooltip
            for box in panel._shown
            for part in getattr(box, "children", ())
        )


def test_closing_leaves_no_widget_behind(session: Session) -> None:
    before = set(_instances)
    panel = AssociationPanel(session)
    for variable in ("fvc", "sex", "empty"):
        panel.variable = variable
    panel.of = "selection"
    session.select_cluster(0)
    panel.close()
    assert set(_instances) <= before
    session.merge_clusters([0, 1])  # nobody listens


def test_a_hundred_variables_and_many_clusters(session: Session) -> None:
    g = np.random.default_rng(0)
    table = pd.DataFrame(g.normal(0, 1, (192, 100)), columns=[f"v{i:03}" for i in range(100)])
    panel = AssociationPanel(session, table=table)
    assert len(ranking(panel).data[0].x) == association_charts.VARIABLES_MOST
    assert ranking(panel).layout.height < 1200 and len(panel._variable.options) == 100
    session.cluster("kmeans", 40)
    session.wait()
    boxes = [t for t in one(panel).data if t.type == "box"]
    assert len(boxes) <= association_charts.CLUSTERS_MOST
    panel.close()


# -- figures -------------------------------------------------------------------------------
def test_the_figure_is_what_is_shown(panel: AssociationPanel, tmp_path: Path) -> None:
    panel.variable = "smoker"
    path = panel.save(tmp_path / "a.svg", width_mm=120)
    words = " | ".join(re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text()))
    assert "share of smoker (%), 95% interval" in words and "q &lt; 0.001" in words
    assert panel.association.sentences[0].rstrip(".") in panel.caption()  # type: ignore[union-attr]


def test_refreshing_needs_the_same_traces() -> None:
    import plotly.graph_objects as go

    chart = ([go.Bar(x=charts.array([1]), meta="a")], charts.layout(height=100))
    figure = charts.figure_widget(*chart)
    other = ([go.Bar(x=charts.array([2]), meta="a")], charts.layout(height=100))
    assert association_charts.refreshed(figure, other)
    assert list(gestures.synced(figure)["data"][0]["x"]) == [2]
    assert not association_charts.refreshed(figure, ([go.Bar(meta="b")], {}))
    assert not association_charts.refreshed(figure, ([], {}))
    # plotly fixes the width with a new height
    assert not association_charts.refreshed(figure, (other[0], charts.layout(height=200)))
    assert not association_charts.refreshed(None, chart)
