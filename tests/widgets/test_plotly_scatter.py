"""PlotlyScatter: gestures, colours, samples, and what crosses the wire."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stores import HOSTILE
from widgetkit.errors import InvalidInput, UnknownName
from widgetkit.session import Session
from widgetkit.testing import plotly as gestures
from widgetkit.widgets import PlotlyScatter
from widgetkit.widgets.plotly_scatter import sample


@pytest.fixture
def scatter(session: Session) -> PlotlyScatter:
    return PlotlyScatter(session, color_by="cluster")


def chosen(scatter: PlotlyScatter) -> set[int]:
    """Rows that are drawn as selected."""
    found: set[int] = set()
    for trace, rows in zip(scatter.figure_widget.data, scatter._groups, strict=True):
        points = trace.selectedpoints
        found |= set() if points is None else set(rows[np.asarray(points, dtype=int)].tolist())
    return found


def corners(session: Session, row: int, margin: float = 0.05) -> tuple[list[float], list[float]]:
    x, y = map(float, session.projection.xy[row])  # type: ignore[union-attr]
    return [x - margin, x + margin, x + margin, x - margin], [
        y - margin, y - margin, y + margin, y + margin,
    ]  # fmt: skip


# -- gestures ----------------------------------------------------------------------------
def test_a_lasso_selects_what_is_inside_its_outline(
    scatter: PlotlyScatter, session: Session
) -> None:
    xs, ys = corners(session, 17)
    gestures.lasso(scatter.figure_widget, xs, ys)
    xy = session.projection.xy  # type: ignore[union-attr]
    inside = (np.abs(xy - xy[17]) < 0.05).all(axis=1)
    assert np.array_equal(session.selection.mask, inside) and inside[17]
    assert chosen(scatter) == set(np.flatnonzero(inside))
    assert session.history.steps[-1].code.startswith("session.select_polygon(")


def test_a_box_selects_and_the_menu_makes_it_add(scatter: PlotlyScatter, session: Session) -> None:
    for row, mode in ((3, "replace"), (90, "add")):
        scatter._mode.value = mode
        xs, ys = corners(session, row, 0.01)
        gestures.box(scatter.figure_widget, xs[1], ys[2], xs[0], ys[0])  # from any corner
    assert {3, 90} <= set(session.selection.rows.tolist())
    assert chosen(scatter) == set(session.selection.rows.tolist())
    assert session.history.steps[-1].code.startswith("session.select_box(")


def test_a_click_selects_one_and_a_double_click_none(
    scatter: PlotlyScatter, session: Session
) -> None:
    gestures.click(scatter.figure_widget, 1, 2)
    assert session.selection.rows.tolist() == [int(scatter._groups[1][2])]
    gestures.double_click(scatter.figure_widget)
    assert session.selection.count == 0 and chosen(scatter) == set()
    assert all(trace.selectedpoints is None for trace in scatter.figure_widget.data)


def test_one_gesture_is_one_step_of_history(scatter: PlotlyScatter, session: Session) -> None:
    assert len(scatter.figure_widget.data) > 1
    before = len(session.history.steps)
    gestures.lasso(scatter.figure_widget, *corners(session, 5))
    gestures.double_click(scatter.figure_widget)
    gestures.click(scatter.figure_widget, 0, 0)
    assert len(session.history.steps) == before + 3


def test_a_selection_from_elsewhere_is_shown_and_survives_a_reload(
    scatter: PlotlyScatter, session: Session
) -> None:
    session.select([0, 50, 159])
    assert chosen(scatter) == {0, 50, 159}
    drawn = gestures.synced(scatter.figure_widget)["data"]
    points = [np.asarray(trace["selectedpoints"]) for trace in drawn]
    found = {int(r) for rows, p in zip(scatter._groups, points, strict=True) for r in rows[p]}
    assert found == {0, 50, 159}
    session.undo()
    assert chosen(scatter) == set()


def test_a_damaged_lasso_is_an_error_in_the_strip(
    scatter: PlotlyScatter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIDGETKIT_RAISE", "0")
    gestures.lasso(scatter.figure_widget, [0.0, float("nan"), 1.0], [0.0, 1.0, 1.0])
    assert scatter.error_strip.message


# -- colours -----------------------------------------------------------------------------
def test_numbers_get_a_colour_bar(session: Session) -> None:
    scatter = PlotlyScatter(session, color_by="age")
    (trace,) = scatter.figure_widget.data
    assert trace.marker.showscale and trace.marker.colorbar.title.text == "age"
    ages = session.store.tiles["age"].to_numpy()
    assert np.abs(np.asarray(trace.marker.color) - ages).max() <= (ages.max() - ages.min()) / 500
    assert (trace.marker.cmin, trace.marker.cmax) == (ages.min(), ages.max())
    gestures.click(scatter.figure_widget, 0, 7)
    assert session.selection.rows.tolist() == [7]


def test_columns_are_chosen_in_the_menu_or_by_attribute(scatter: PlotlyScatter) -> None:
    scatter._column.value = "label"
    assert scatter.color_by == "label" and len(scatter.figure_widget.data) == 4
    scatter.color_by = "source"
    assert scatter._column.value == "source" and len(scatter.figure_widget.data) == 3
    with pytest.raises(UnknownName, match="label"):
        scatter.color_by = "labell"
    with pytest.raises(UnknownName, match="label"):
        PlotlyScatter(scatter.session, color_by="labell")


def test_new_clusters_are_drawn_and_keep_zoom_and_tool(
    scatter: PlotlyScatter, session: Session
) -> None:
    scatter.figure_widget.layout.dragmode = "pan"
    scatter.figure_widget.layout.xaxis.range = (0, 1)
    session.cluster(method="kmeans", k=3)
    session.wait()
    assert len(scatter.figure_widget.data) == 3
    assert scatter.figure_widget.layout.dragmode == "pan"
    assert tuple(scatter.figure_widget.layout.xaxis.range) == (0, 1)


# -- the wire ----------------------------------------------------------------------------
def test_nothing_is_sent_as_64_bit(session: Session) -> None:
    session.select(np.arange(0, 160, 3))
    for by in ("cluster", "age", "label", "patient"):
        scatter = PlotlyScatter(session, color_by=by)
        found = gestures.arrays(gestures.synced(scatter.figure_widget)["data"])
        assert found
        for array in found:
            assert array.dtype in (np.float32, np.int32)


def test_the_button_that_sends_data_away_is_off(scatter: PlotlyScatter) -> None:
    assert scatter.figure_widget.get_state()["_config"]["showSendToCloud"] is False


def test_names_are_text_and_patients_are_numbered(session: Session) -> None:
    session.rename_cluster(0, '<a href="x">$y$</a>')
    words = ""
    for by in ("cluster", "label", "patient"):
        state = gestures.synced(PlotlyScatter(session, color_by=by).figure_widget)
        words += repr([t["name"] for t in state["data"]]) + repr(state["layout"])
    assert "<a" not in words and HOSTILE not in words and "$y$" not in words
    assert "&lt;a href" in words and "&lt;img" in words
    assert "patient-0" not in words and "patient 1" in words


def test_a_large_store_is_sampled_and_says_so(session: Session) -> None:
    scatter = PlotlyScatter(session, most=50)
    drawn = len(scatter._drawn)
    assert 40 <= drawn <= 60
    assert scatter.figure_widget.layout.title.text == f"showing {drawn} of 160 tiles"
    assert f"{drawn} of 160 tiles" in scatter.describe()
    xy = session.projection.xy  # type: ignore[union-attr]
    (x0, y0), (x1, y1) = xy.min(axis=0) - 1, xy.max(axis=0) + 1
    gestures.box(scatter.figure_widget, x0, y0, x1, y1)
    assert session.selection.count == 160  # the outline selects, not the drawn points
    with pytest.raises(InvalidInput, match="at least one"):
        PlotlyScatter(session, most=0)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(-1, 6), max_size=300), st.integers(1, 300), st.integers(0, 5))
def test_a_sample_keeps_every_group_and_is_seeded(codes: list[int], most: int, seed: int) -> None:
    labels = np.array(codes, dtype=int)
    rows = sample(labels, most, seed=seed)
    assert np.array_equal(rows, np.unique(rows)) and np.array_equal(
        rows, sample(labels, most, seed=seed)
    )
    assert set(labels[rows]) == set(codes)
    assert len(rows) <= max(most, 0) + len(set(codes))
    if len(codes) <= most:
        assert len(rows) == len(codes)


# -- end ---------------------------------------------------------------------------------
def test_figure_and_caption_have_its_colours(session: Session) -> None:
    scatter = PlotlyScatter(session, color_by="label")
    assert "coloured by label" in scatter.caption() and "coloured by label" in scatter.describe()
    legend = scatter.figure(width_mm=120).axes[0].get_legend()
    assert legend is not None and any("weave" in t.get_text() for t in legend.get_texts())


def test_closing_leaves_no_widget_behind(session: Session) -> None:
    from ipywidgets.widgets.widget import _instances

    before = set(_instances)
    scatter = PlotlyScatter(session)
    scatter.color_by = "label"
    session.select([3])
    scatter.close()
    assert set(_instances) <= before
    session.select([4])
