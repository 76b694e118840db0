"""ClusterChoiceView: compared, shown, used; follows the layer; of a choice that was made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ipywidgets.widgets.widget import _instances

import widgetkit as wk
from tests.deep import make_deep
from tests.stores import make_store
from tests.widgets.test_clusters import press
from widgetkit import analysis
from widgetkit.errors import InvalidInput
from widgetkit.session import Session
from widgetkit.testing import plotly as gestures
from widgetkit.widgets import ClusterChoiceView


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return wk.Session(make_store(tmp_path / "s.wk", n=80))


def made() -> analysis.ClusterChoice:
    Z = np.random.default_rng(0).normal(size=(90, 3)) + 8 * np.eye(3)[np.arange(90) % 3]
    return analysis.choose_clusters(Z, [2, 3, 4], n_init=2, gap_references=3, boots=2)


def figure_of(view: ClusterChoiceView) -> Any:
    (figure,) = view._chart.children
    return figure


def test_compared_shown_and_used(session: Session) -> None:
    view = ClusterChoiceView(session)
    assert "not compared yet" in view.describe() and "Press Compare" in view._said.value
    assert view._take.layout.display == "none" and view._chart.children == ()
    with pytest.raises(InvalidInput, match="Compare"):
        view.use()
    view._up_to.value = 6
    press(view, "Compare")
    found = session.cluster_choice
    assert found is not None and found.table["k"].tolist() == [1, 2, 3, 4, 5, 6]
    assert found.recommended == 4 and view._k.value == 4
    assert ("4 (recommended)", 4) in view._k.options
    press(view, "Use")
    session.wait()
    assert session.clustering.k == 4 and session.clustering.method == "kmeans"
    assert session.clustering.layer == session.layer
    view._k.value = 3
    press(view, "Use")
    assert session.clustering.k == 3
    session.undo()
    assert session.clustering.k == 4


def test_the_chart_shows_the_table_and_survives_a_reload(session: Session) -> None:
    view = ClusterChoiceView(session)
    session.choose_clusters([2, 3, 4, 5], gap_references=3, boots=2)
    found, figure = session.cluster_choice, figure_of(view)
    lines = {trace.name: trace for trace in figure.data}
    for column in ("silhouette", "gap", "stability"):
        np.testing.assert_allclose(lines[column].y, found.table[column], rtol=1e-5)
    np.testing.assert_allclose(lines["gap"].error_y.array, found.table["gap_s"], rtol=1e-5)
    inertia = found.table["inertia"] / found.table["inertia"][0]
    np.testing.assert_allclose(lines["inertia"].y, inertia, rtol=1e-5)
    assert [shape.x0 for shape in figure.layout.shapes] == [found.recommended] * 4
    sizes = dict(zip(found.table["k"], lines["silhouette"].marker.size, strict=True))
    assert [k for k, size in sizes.items() if size > 6] == [found.silhouette]
    state = gestures.synced(figure)
    assert len(state["data"]) == 6 and state["config"]["showSendToCloud"] is False
    for array in gestures.arrays(state["data"]):
        assert array.dtype.itemsize <= 4
    assert f"{found.recommended} (recommended)" in view._table.value
    assert "nan" not in (view._table.value + view.describe()).lower()
    for said in found.reasons:
        assert said in view.describe()
    session.clear()
    assert figure_of(view) is figure


def test_it_follows_the_layer(tmp_path: Path) -> None:
    session = wk.Session(make_deep(tmp_path / "s.wk", epochs=2).store, layer="latent")
    view = ClusterChoiceView(session)
    session.choose_clusters([2, 3], gap_references=2, boots=2)
    assert view._chart.children
    session.set_layer("encoder.last")
    assert not view._chart.children and "layer encoder.last: not compared" in view.describe()
    session.set_layer("latent")
    assert view._chart.children and view.describe().startswith("Number of clusters. Recommended")


def test_a_choice_that_was_made_has_no_buttons(tmp_path: Path) -> None:
    found = made()
    view = ClusterChoiceView(found)
    assert view.choice is found and len(figure_of(view).data) == 6
    with pytest.raises(AssertionError, match="no button"):
        press(view, "Compare")
    for action in (view.compare, view.use):
        with pytest.raises(InvalidInput):
            action()
    assert repr(view) == "<ClusterChoiceView: Number of clusters. Recommended: 3 clusters.>"
    assert view.save(tmp_path / "a.svg").stat().st_size > 2000
    assert "Recommended: 3 clusters." in view.caption()


def test_what_cannot_be_compared_is_in_the_strip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIDGETKIT_RAISE", "0")
    session = wk.Session(wk.import_features(np.ones((9, 4)), out=tmp_path / "f.wk"))
    view = ClusterChoiceView(session)
    press(view, "Compare")
    assert "all the same" in view.error_strip.message


def test_closing_leaves_no_widget(session: Session) -> None:
    session.choose_clusters([2, 3], gap_references=2, boots=2)
    for source in (session, made()):
        before = set(_instances)
        view = ClusterChoiceView(source)
        view.close()
        assert set(_instances) - before == set()
    session.set_layer(session.layer)


def test_the_public_name() -> None:
    assert wk.ClusterChoiceView is ClusterChoiceView
