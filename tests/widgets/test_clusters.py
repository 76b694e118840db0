"""ClusterPanel: edits, clicks, folding, and rows that stay while the user types."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.stores import HOSTILE
from tests.widgets.transport import Wire
from widgetkit.errors import InvalidInput, TooFew
from widgetkit.session import Session
from widgetkit.testing import plotly as gestures
from widgetkit.widgets import ClusterPanel


@pytest.fixture
def session(session: Session) -> Session:
    session.cluster(method="kmeans", k=4)
    session.wait()
    return session


@pytest.fixture
def panel(session: Session) -> ClusterPanel:
    return ClusterPanel(session)


def press(panel: Any, text: str) -> None:
    """Press the button of this text, as a user would."""
    for widget in _parts(panel):
        if getattr(widget, "description", None) == text and hasattr(widget, "click"):
            return widget.click()
    raise AssertionError(f"no button {text!r}")


def _parts(widget: Any) -> list[Any]:
    children = list(getattr(widget, "children", ()))
    return children + [part for child in children for part in _parts(child)]


# -- the rows ----------------------------------------------------------------------------
def test_rows_say_what_the_clusters_are(panel: ClusterPanel, session: Session) -> None:
    rows = panel._rows.rows
    clustering = session.clustering
    assert clustering is not None
    assert [row.name.value for row in rows] == list(clustering.names)
    sizes = np.bincount(clustering.labels, minlength=4)
    assert [row.size.value for row in rows] == [str(s) for s in sizes]


def test_a_rename_keeps_every_row_and_every_tick(panel: ClusterPanel, session: Session) -> None:
    before = panel._rows.rows
    widgets = [row.name for row in before]
    before[2].tick.value = True
    before[1].name.value = "stroma"
    assert session.clustering is not None and session.clustering.names[1] == "stroma"
    assert [row.name for row in panel._rows.rows] == widgets
    assert panel._rows.ticked == [2]
    assert session.history.steps[-1].code == "session.rename_cluster(1, 'stroma')"


def test_what_happens_elsewhere_sends_nothing_to_the_text_field(
    panel: ClusterPanel, session: Session
) -> None:
    wires = [Wire(row.name) for row in panel._rows.rows] + [Wire(panel._rows._list)]
    session.select_cluster(0)
    session.recolour_cluster(3, 9)
    session.rename_cluster(0, session.clustering.names[0])  # type: ignore[union-attr]
    assert [wire.size for wire in wires] == [0] * 5


def test_fewer_or_more_clusters_keep_the_rows_that_stay(
    panel: ClusterPanel, session: Session
) -> None:
    first = list(panel._rows.rows)
    session.merge_clusters([2, 3])
    assert panel._rows.rows == first[:3]
    session.split_cluster(0, 2)
    assert panel._rows.rows[:3] == first[:3] and len(panel._rows.rows) == 4


def test_clusters_without_tiles_are_folded(panel: ClusterPanel, session: Session) -> None:
    rows = panel._rows
    assert rows._fold.layout.display == "none"
    session.select(np.flatnonzero(session.clustering.labels == 0))  # type: ignore[union-attr]
    from widgetkit.session.clustering import Clustering

    found = Clustering.make(np.zeros(160, int), 3, method="kmeans", layer=session.layer)
    assert rows.show(found)
    assert [row.layout.display for row in rows.rows] == ["", "none", "none"]
    assert rows._fold.description == "Show 2 clusters without tiles"
    rows.rows[1].tick.value = True
    assert rows.ticked == []  # what is not seen is not meant
    rows._fold.value = True
    assert [row.layout.display for row in rows.rows] == ["", "", ""]
    assert rows._fold.description == "Hide 2 clusters without tiles"
    assert rows.ticked == [1]


def test_every_control_has_a_name(panel: ClusterPanel) -> None:
    for part in _parts(panel):
        if type(part).__name__ in ("Text", "Checkbox", "Dropdown", "Button", "BoundedIntText"):
            assert part.description or part.tooltip, part


# -- edits -------------------------------------------------------------------------------
def test_merging_splitting_and_undo(panel: ClusterPanel, session: Session) -> None:
    labels = session.clustering.labels.copy()  # type: ignore[union-attr]
    with pytest.raises(InvalidInput, match="at least 2"):
        press(panel, "Merge")
    assert "at least 2" in panel.error_strip.message
    for i in (0, 1):
        panel._rows.rows[i].tick.value = True
    press(panel, "Merge")
    assert session.clustering.k == 3  # type: ignore[union-attr]
    assert panel.error_strip.message == "" and panel._rows.ticked == []
    panel._rows.rows[0].tick.value = panel._rows.rows[2].tick.value = True
    press(panel, "Split")
    assert session.clustering.k == 5  # type: ignore[union-attr]
    for _ in range(3):
        session.undo()
    assert np.array_equal(session.clustering.labels, labels)  # type: ignore[union-attr]
    assert [row.name.value for row in panel._rows.rows] == list(session.clustering.names)  # type: ignore[union-attr]


def test_recolouring_reaches_swatch_and_bars(panel: ClusterPanel, session: Session) -> None:
    panel._rows.rows[0].shade.value = 4
    assert session.clustering.colors[0] == 4  # type: ignore[union-attr]
    assert "#D55E00" in panel._rows.rows[0]._swatch.value
    assert panel._figure.data[0].marker.color[0] == "#D55E00"


def test_clustering_anew(panel: ClusterPanel, session: Session) -> None:
    panel._method.value, panel._k.value = "kmeans", 3
    press(panel, "Cluster all")
    assert len(panel._rows.rows) == 3
    session.select(np.arange(80))
    panel._k.value = 2
    press(panel, "Cluster selection")
    assert session.clustering.k == 2  # type: ignore[union-attr]
    assert (session.clustering.labels[80:] == -1).all()  # type: ignore[union-attr]
    assert panel._bars[0] == -1  # those in none


def test_clustering_an_empty_selection_says_what_to_do(
    panel: ClusterPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIDGETKIT_RAISE", "0")
    press(panel, "Cluster selection")
    assert "Select tiles first" in panel.error_strip.message
    assert panel.error_strip.layout.display != "none"
    monkeypatch.setenv("WIDGETKIT_RAISE", "1")
    with pytest.raises(TooFew):
        press(panel, "Cluster selection")


def test_hdbscan_needs_no_k(panel: ClusterPanel, session: Session) -> None:
    assert not panel._k.disabled
    panel._method.value = "hdbscan"
    assert panel._k.disabled
    press(panel, "Cluster all")
    assert session.clustering.method == "hdbscan"  # type: ignore[union-attr]
    assert len(panel._rows.rows) == session.clustering.k  # type: ignore[union-attr]


def test_factors_are_not_offered_where_there_are_no_maps(
    panel: ClusterPanel, features_session: Session
) -> None:
    assert "nmf" in dict(panel._method.options).values()
    assert "nmf" not in dict(ClusterPanel(features_session)._method.options).values()


def test_quality_is_measured_on_request_and_forgotten_with_the_clusters(
    panel: ClusterPanel, session: Session
) -> None:
    press(panel, "Quality")
    assert "silhouette" in panel._quality.value
    session.rename_cluster(0, "still the same clusters")
    assert "silhouette" in panel._quality.value
    session.merge_clusters([0, 1])
    assert panel._quality.value == ""


def test_progress_is_shown_and_can_be_cancelled(panel: ClusterPanel, session: Session) -> None:
    strip, seen = panel.jobs_strip, []
    assert strip.layout.display == "none"

    def work(job: Any) -> None:
        job.progress(3, 12)
        seen.append((strip.layout.display, strip._bar.value, strip._label.value))

    session.jobs.submit("j", work, title="Counting <b>")
    assert seen == [("", 0.25, "Counting &lt;b&gt;")] or seen == [
        ("", 0.25, "Counting &lt;b&gt; 3/12")
    ]
    assert strip.layout.display == "none"
    strip._cancel.click()  # none runs: nothing happens


# -- the chart ---------------------------------------------------------------------------
def test_bars_are_shares_of_the_selection_and_of_the_rest(
    panel: ClusterPanel, session: Session
) -> None:
    selection, rest = panel._figure.data
    assert selection.name == "all tiles" and rest.visible is False
    assert sum(selection.x) == pytest.approx(100)
    session.select_cluster(2)
    assert selection.name == "selection" and rest.visible is True
    assert list(selection.x) == pytest.approx([0, 0, 100, 0])
    assert sum(rest.x) == pytest.approx(100) and rest.x[2] == 0
    assert "times the rest" in selection.customdata[2]


def test_a_click_on_a_bar_selects_and_the_menu_makes_it_add(
    panel: ClusterPanel, session: Session
) -> None:
    labels = session.clustering.labels  # type: ignore[union-attr]
    gestures.click(panel._figure, 0, 1)
    assert np.array_equal(session.selection.mask, labels == 1)
    panel._mode.value = "add"
    gestures.click(panel._figure, 1, 3)  # the grey bar does the same
    assert np.array_equal(session.selection.mask, (labels == 1) | (labels == 3))
    panel._rows.rows[0].select.click()
    assert session.selection.count == (labels != 2).sum()
    panel._mode.value = "subtract"
    panel._rows.rows[1].select.click()
    assert np.array_equal(session.selection.mask, (labels == 0) | (labels == 3))


def test_a_click_that_misses_a_trace_clears_no_error(
    panel: ClusterPanel, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIDGETKIT_RAISE", "0")
    panel._bars[0] = 99
    gestures.click(panel._figure, 0, 0)
    assert panel.error_strip.message


def test_names_are_text_in_the_chart_and_two_may_be_alike(
    panel: ClusterPanel, session: Session
) -> None:
    session.rename_cluster(0, HOSTILE)
    session.rename_cluster(1, "same $x$")
    session.rename_cluster(2, "same $x$")
    state = gestures.synced(panel._figure)
    words = repr((state["data"], state["layout"]))
    assert "<img" not in words and "&lt;img" in words and "$x$" not in words
    assert len(set(panel._figure.data[0].y)) == 4
    for array in gestures.arrays(state["data"]):
        assert array.dtype.itemsize <= 4 or array.dtype.kind in "OU"


def test_a_reload_shows_the_present_state(panel: ClusterPanel, session: Session) -> None:
    session.select_cluster(1)
    state = gestures.synced(panel._figure)
    assert list(state["data"][0]["x"]) == pytest.approx([0, 100, 0, 0])
    assert state["layout"]["height"] == panel._figure.layout.height


# -- words, end --------------------------------------------------------------------------
def test_describe(panel: ClusterPanel, session: Session) -> None:
    assert panel.describe().startswith("Cluster panel: 4 clusters by kmeans, layer features.4: ")
    session.select_cluster(1)
    assert panel.describe().splitlines()[1] == (
        f"Selection of {session.selection.count}: cluster 2 100 %."
    )


def test_closing_leaves_no_widget_behind(session: Session) -> None:
    from ipywidgets.widgets.widget import _instances

    before = set(_instances)
    panel = ClusterPanel(session)
    session.merge_clusters([0, 1])
    assert len(_instances) > len(before) + 40
    panel.close()
    assert set(_instances) <= before
    session.select_cluster(0)
