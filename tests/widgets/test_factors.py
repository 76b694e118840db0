"""FactorPanel: every question, its chart, table and words, and what a click on it does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ipywidgets.widgets.widget import _instances

import widgetkit as wk
from tests.readable import NOTE, Net, extract_store, read_all, session_of
from tests.stores import HOSTILE, make_store
from tests.widgets.test_clusters import press
from widgetkit.errors import InvalidInput
from widgetkit.palette import colour
from widgetkit.session import Session
from widgetkit.session.reading import KINDS, TITLES
from widgetkit.store import ActivationStore
from widgetkit.testing import plotly as gestures
from widgetkit.widgets import ClusterPanel, FactorPanel, charts, factor_charts

CLICKED = ("slides", "shares", "prediction", "importance", "layers")


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> tuple[ActivationStore, Net]:
    path = tmp_path_factory.mktemp("factors") / "s.wk"
    return extract_store(path, classes=("stripes", HOSTILE))


@pytest.fixture(scope="module")
def answered(extracted: tuple[ActivationStore, Net]) -> Session:
    return read_all(session_of(*extracted))


@pytest.fixture
def session(answered: Session) -> Session:
    """Every question is answered; nothing selected, first names."""
    answered.clear()
    for i in range(3):
        answered.rename_cluster(i, f"cluster {i + 1}")
        answered.recolour_cluster(i, i)
    return answered


@pytest.fixture
def panel(session: Session) -> Iterator[FactorPanel]:
    made = FactorPanel(session)
    yield made
    made.close()


def figure_of(panel: FactorPanel) -> Any:
    (figure,) = panel._chart.children
    return figure


def words_of(panel: FactorPanel) -> str:
    """All that the browser is told: chart, sentences, table."""
    told = gestures.synced(figure_of(panel)) if panel._chart.children else {}
    return repr(told) + panel._said.value + panel._table.value


# -- every kind --------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_chart_table_and_words(kind: str, panel: FactorPanel) -> None:
    panel.kind = kind
    found = panel.session.readings[kind]
    figure = figure_of(panel)
    state = gestures.synced(figure)
    assert state["data"] and state["layout"]["height"] >= 150
    assert len({trace["uid"] for trace in state["data"]}) == len(state["data"])
    for array in gestures.arrays(state["data"]):
        assert array.dtype.itemsize <= 4 or array.dtype.kind in "OU"
    assert state["config"]["showSendToCloud"] is False
    rows = re.findall(r"<tr>", panel._table.value)
    assert len(rows) > 1
    for said in found.sentences:
        assert said.split(".")[0].replace("'", "&#x27;")[:40] in panel._said.value
    text = panel.describe()
    assert text.startswith(f"Factor panel: {TITLES[kind]}.") and found.sentences[0] in text
    assert repr(panel) == f"<FactorPanel: Factor panel: {TITLES[kind]}.>"
    assert "nan" not in panel._table.value.lower() and "nan" not in text.split("\n", 1)[1].lower()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_seen_is_what_was_read(kind: str, panel: FactorPanel) -> None:
    panel.kind = kind
    table, figure = panel.session.readings[kind].table, figure_of(panel)
    if kind == "slides":
        np.testing.assert_allclose(figure.data[0].x, 100 * table["adjusted"].clip(0), rtol=1e-5)
    elif kind == "shares":
        seen = np.concatenate([trace.x for trace in figure.data])
        np.testing.assert_allclose(np.sort(seen), np.sort(100 * table["share"]), rtol=1e-5)
    elif kind == "prediction":
        np.testing.assert_allclose(figure.data[0].x, table["factors"], rtol=1e-5)
        np.testing.assert_allclose(figure.data[1].x, table["network"], rtol=1e-5)
    elif kind == "correlations":
        pearson = table[table["method"] == "pearson"]["r"]
        np.testing.assert_allclose([row[0] for row in figure.data[0].z], pearson, rtol=1e-6)
    elif kind == "importance":
        np.testing.assert_allclose(figure.data[0].x, table["drop"], rtol=1e-5)
        np.testing.assert_allclose(figure.data[1].x, table["sobol"], rtol=1e-5)
    elif kind == "completeness":
        np.testing.assert_allclose(figure.data[1].x, table["accuracy"], rtol=1e-5)
    elif kind == "choice":
        lines = {trace.name: trace for trace in figure.data}
        np.testing.assert_allclose(lines["fitted"].y, table["error"], rtol=1e-5)
        assert figure.layout.shapes[0].x0 == table.attrs["recommended"]
    else:
        np.testing.assert_allclose(figure.data[0].x, table["correlation"], rtol=1e-5)
        diagonal = np.diag(np.array(figure.data[2].z, float))
        np.testing.assert_allclose(diagonal, table["correlation"], rtol=1e-5)


def test_intervals_reach_from_low_to_high(panel: FactorPanel) -> None:
    panel.kind = "importance"
    table, bars = panel.session.readings["importance"].table, figure_of(panel).data[0]
    np.testing.assert_allclose(bars.x + bars.error_x.array, table["high"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(bars.x - bars.error_x.arrayminus, table["low"], rtol=1e-4, atol=1e-6)


def test_the_recommended_row_stands_out(panel: FactorPanel) -> None:
    panel.kind = "choice"
    bold = re.findall(r"font-weight:600\">([^<]*)</td>", panel._table.value)
    best = panel.session.readings["choice"].table.attrs["recommended"]
    assert bold[0] == f"{best} (recommended)"


# -- asking ------------------------------------------------------------------------------
def test_pressing_read_answers_with_what_the_menus_say(
    extracted: tuple[ActivationStore, Net],
) -> None:
    session = session_of(*extracted, k=2)
    panel = FactorPanel(session)
    assert panel.kind == "slides" and "Press Read" in panel._said.value
    assert panel.describe() == f"Factor panel: {TITLES['slides']}, not read yet."
    assert panel._chart.children == () and panel._table.value == ""
    panel._by.value = "patient"
    press(panel, "Read")
    assert session.readings["slides"].table.attrs["by"] == "patient"
    assert figure_of(panel).layout.xaxis.title.text == "variance explained by the patient (%)"
    panel.kind = "shares"
    panel._column.value = "label"
    press(panel, "Read")
    assert [trace.name for trace in figure_of(panel).data] == [
        charts.text(factor_charts.short(HOSTILE)),
        "stripes",
    ]
    panel.kind = "importance"
    panel._target.value = 0
    panel.session.read_importance(0, n=6, sobol=False)
    assert "stripes" in figure_of(panel).layout.xaxis.title.text
    assert len(figure_of(panel).data) == 1  # nothing of what was not measured
    panel.kind = "layers"
    assert [value for _, value in panel._other.options] == ["early"]
    press(panel, "Read")
    assert session.readings["layers"].table.attrs["other"] == "early"
    session.set_layer("early")
    session.wait()
    assert [value for _, value in panel._other.options] == ["body"]


def test_menus_show_what_a_question_takes(panel: FactorPanel) -> None:
    shown = {}
    for kind in KINDS:
        panel.kind = kind
        menus = {
            "column": panel._column,
            "target": panel._target,
            "other": panel._other,
            "by": panel._by,
            "take": panel._take,
            "mode": panel._mode,
        }
        shown[kind] = {name for name, menu in menus.items() if menu.layout.display != "none"}
    assert shown["slides"] == {"by", "mode"}
    assert shown["shares"] == {"column", "mode"}
    assert shown["prediction"] == {"column", "by", "mode"}
    assert shown["correlations"] == {"target", "by"}
    assert shown["completeness"] == {"by"}
    assert shown["choice"] == {"take"}
    assert shown["layers"] == {"other", "mode"}
    with pytest.raises(InvalidInput, match="prediction"):
        panel.kind = "predictions"


def test_one_layer_is_not_compared(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.wk", n=24)
    panel = FactorPanel(session_of(store, k=2))
    with pytest.raises(InvalidInput, match="no question 'layers'"):
        panel.kind = "layers"
    assert [value for _, value in panel._by.options][:3] == ["", "source", "patient"]


def test_what_cannot_be_read_is_said_in_the_strip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIDGETKIT_RAISE", "0")
    session = wk.Session(make_store(tmp_path / "s.wk", n=24))
    session.cluster("kmeans", 2)
    session.wait()
    panel = FactorPanel(session)
    press(panel, "Read")
    assert "kmeans" in panel.error_strip.message
    panel.kind = "importance"
    session.cluster("nmf", 2)
    press(panel, "Read")
    assert "no predictions" in panel.error_strip.message
    panel.kind = "slides"
    press(panel, "Read")
    assert panel.error_strip.message == "" and panel._chart.children
    bare = FactorPanel(wk.import_features(np.eye(9, 4), out=tmp_path / "f.wk"))
    for kind in ("slides", "choice"):
        bare.kind = kind
        press(bare, "Read")
        assert bare.error_strip.message


def test_use_recommended_clusters_by_that_number(extracted: tuple[ActivationStore, Net]) -> None:
    session = session_of(*extracted, k=4)
    panel = FactorPanel(session)
    panel.kind = "choice"
    with pytest.raises(InvalidInput, match="Read"):
        press(panel, "Use recommended")
    session.read_choice((2, 3), seeds=2)
    press(panel, "Use recommended")
    assert session.clustering is not None and session.clustering.method == "nmf"
    assert session.clustering.k == session.readings["choice"].table.attrs["recommended"]
    assert panel._chart.children  # the measures are of the layer and stay


# -- clicks ------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", CLICKED)
def test_a_click_on_a_bar_selects_its_cluster(
    kind: str, panel: FactorPanel, session: Session
) -> None:
    panel.kind = kind
    figure = figure_of(panel)
    (bars, *_) = [i for i, trace in enumerate(figure.data) if trace.customdata is not None]
    point = 1
    factor = int(np.asarray(figure.data[bars].customdata)[point])
    gestures.click(figure, bars, point)
    labels = session.clustering.labels  # type: ignore[union-attr]
    assert np.array_equal(session.selection.mask, labels == factor)
    other = int(np.asarray(figure.data[bars].customdata)[0])
    panel._mode.value = "add"
    gestures.click(figure_of(panel), bars, 0)
    assert np.array_equal(session.selection.mask, np.isin(labels, [factor, other]))


def test_measures_are_no_bars_to_click(panel: FactorPanel, session: Session) -> None:
    panel.kind = "prediction"
    gestures.click(figure_of(panel), 0, 0)
    assert session.selection.count == 0


def test_other_views_of_the_session_follow(panel: FactorPanel, session: Session) -> None:
    clusters = ClusterPanel(session)
    panel.kind = "slides"
    sizes = session.clustering.sizes  # type: ignore[union-attr]
    gestures.click(figure_of(panel), 0, int(np.argmax(sizes)))
    assert clusters._figure.data[0].name == "selection"
    clusters._rows.rows[2].name.value = "ink"
    assert "ink" in figure_of(panel).layout.yaxis.ticktext
    clusters.close()


# -- edits -------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["slides", "importance", "prediction", "correlations", "layers"])
def test_names_and_colours_follow_without_reading_again(
    kind: str, panel: FactorPanel, session: Session
) -> None:
    panel.kind = kind
    before = session.readings[kind]
    session.rename_cluster(0, "ink & co")
    session.recolour_cluster(0, 7)
    assert session.readings[kind] is before
    assert "ink &amp; co" in panel._table.value and "ink &amp; co" in words_of(panel)
    assert "ink & co" in panel.describe()
    if kind != "correlations":
        bars = next(trace for trace in figure_of(panel).data if trace.type == "bar")
        at = list(bars.customdata).index(0)
        assert bars.marker.color[at] == colour(7) and bars.text[at] == "ink &amp; co"


def test_what_changes_nothing_seen_leaves_the_chart_alone(
    panel: FactorPanel, session: Session
) -> None:
    panel.kind = "slides"
    figure = figure_of(panel)
    session.read_shares()
    session.select_cluster(1)
    session.hide_cluster(1, True)
    assert figure_of(panel) is figure
    session.hide_cluster(1, False)


def test_factors_of_merged_clusters_are_shown_but_select_nothing(
    panel: FactorPanel, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel.kind = "slides"
    session.merge_clusters([0, 1])
    try:
        assert list(figure_of(panel).layout.yaxis.ticktext) == ["factor 1", "factor 2", "factor 3"]
        assert "factor 3" in panel._table.value
        monkeypatch.setenv("WIDGETKIT_RAISE", "0")
        gestures.click(figure_of(panel), 0, 0)
        assert "merged or split" in panel.error_strip.message and not session.selection.count
    finally:
        session.undo()
    assert figure_of(panel).layout.yaxis.ticktext[0] == "cluster 1"


# -- what is told ------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_names_of_clusters_and_classes_are_text(
    kind: str, panel: FactorPanel, session: Session
) -> None:
    session.rename_cluster(0, f"$x$ {HOSTILE}")
    panel.kind = kind
    told = words_of(panel)
    assert "<img" not in told and "$x$" not in gestures.synced(figure_of(panel)).__repr__()


def test_long_names_are_cut_on_axes_only(panel: FactorPanel, session: Session) -> None:
    long = "a name that is far too long to stand beside a bar of a chart"
    session.rename_cluster(0, long)
    panel.kind = "slides"
    ticks = figure_of(panel).layout.yaxis.ticktext
    assert len(ticks[0]) < 30 and long.startswith(ticks[0][:-1])
    assert long in figure_of(panel).data[0].text and long in panel._table.value


def test_warnings_are_notices(panel: FactorPanel) -> None:
    panel.kind = "shares"
    notice = re.search(r'<div role="alert"[^>]*>(.*?)</div>', panel._said.value)
    assert notice is not None and NOTE.replace("'", "&#x27;") in notice[1]
    assert f"Note: About column 'label': {NOTE}" in panel.describe()
    assert NOTE in panel.caption()
    panel.kind = "importance"
    assert 'role="alert"' not in panel._said.value


def test_every_control_has_a_name(panel: FactorPanel) -> None:
    for part in panel.children[0].children:
        assert part.description or part.tooltip


def test_of_a_thousand_classes_the_frequent_ones_are_listed(
    extracted: tuple[ActivationStore, Net],
) -> None:
    from widgetkit.widgets.factors import TARGETS_MOST, _targets

    class Many:
        class_names = tuple(f"class {i}" for i in range(1000))
        outputs = np.eye(1000)[[7] * 5 + [3]]

    assert _targets(Many()) == [("usual", -1), ("class 7", 7), ("class 3", 3)]
    assert len(_targets(extracted[0])) == 3 < TARGETS_MOST


def test_closing_leaves_no_widget_behind(session: Session) -> None:
    before = set(_instances)
    panel = FactorPanel(session)
    for kind in KINDS:
        panel.kind = kind
    session.rename_cluster(0, "other")
    assert len(_instances) > len(before) + 15
    panel.close()
    assert set(_instances) <= before
    session.rename_cluster(0, "nobody listens")


def test_twenty_factors_and_many_classes(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.wk", n=60, kinds=20, channels=40, grid=(3, 3))
    session = session_of(store, k=20)
    panel = FactorPanel(session)
    session.read_slides()
    assert 400 < figure_of(panel).layout.height < 600
    panel.kind = "shares"
    session.read_shares("age")  # a value a tile: 60 groups
    figure = figure_of(panel)
    assert len(figure.data) == 60 and figure.layout.height < 20 * 700
    assert panel._table.value.count("<tr>") == 21


def test_the_page_names_every_question(repo: Path) -> None:
    page = (repo / "docs" / "factor-panel.md").read_text(encoding="utf-8")
    assert [TITLES[kind] for kind in KINDS if TITLES[kind] not in page] == []
    assert [kind for kind in KINDS if f"session.read_{kind}(" not in page] == []
    for name in re.findall(r"\(images/([^)]+)\)", page):
        assert (repo / "docs" / "images" / name).is_file()
