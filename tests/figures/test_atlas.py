"""The atlas of clusters on paper."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import widgetkit as wk
from tests.stores import make_store
from widgetkit import figures
from widgetkit.errors import InvalidInput, NeedsActivations
from widgetkit.figures import FigureSpec


@pytest.fixture
def session(tmp_path: Path) -> wk.Session:
    session = wk.Session(make_store(tmp_path / "s.wk", n=60))
    session.cluster("nmf", 4)
    session.wait()
    return session


def texts(figure) -> str:
    found = [t.get_text() for t in figure.texts]
    return "\n".join(found + [t.get_text() for axes in figure.axes for t in axes.texts])


@pytest.mark.parametrize("rule", ["highest", "one_per_source", "quantile", "medoid", "random"])
def test_a_row_a_cluster_with_tiles_of_that_cluster(session: wk.Session, rule: str) -> None:
    figure = figures.atlas(session, FigureSpec(width_mm=150), per_cluster=3, rule=rule)
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == 4 * 3 * 2  # the tile, and its map over the tile in grey
    for i, name in enumerate(session.clustering.names):
        assert name in texts(figure)
        assert f"{int(session.clustering.sizes[i])} tiles" in texts(figure)
    assert figure.get_size_inches()[0] * 25.4 == pytest.approx(150)
    assert figures.atlas_sentence(session, rule=rule).startswith("Tiles of each cluster:")


def test_tiles_stand_for_their_cluster(session: wk.Session) -> None:
    figure = figures.atlas(session, FigureSpec(width_mm=150), per_cluster=2, rule="highest")
    store, clustering = session.store, session.clustering
    first = int(np.argmax(np.where(clustering.mask(0), clustering.weights[:, 0], -1)))
    shown = next(axes.images[0].get_array() for axes in figure.axes if axes.images)
    np.testing.assert_array_equal(np.asarray(shown), store.images([first])[0])


def test_hidden_clusters_are_left_out_and_names_are_shown_as_they_are(session: wk.Session) -> None:
    session.rename_cluster(1, "$x^2$ <b>")
    session.hide_cluster(0)
    said = texts(figures.atlas(session, FigureSpec(width_mm=150), per_cluster=2))
    assert "$x^2$ <b>" in said and "cluster 1" not in said
    for i in range(4):
        session.hide_cluster(i)
    assert "hidden" in texts(figures.atlas(session, FigureSpec(width_mm=150)))


def test_nothing_on_paper_names_a_patient_or_a_slide(session: wk.Session, tmp_path: Path) -> None:
    spec = FigureSpec(width_mm=120)
    path = figures.save(figures.atlas(session, spec, per_cluster=2), tmp_path / "a.svg", spec=spec)
    content = path.read_text()
    assert "patient" not in content and "slide-0" not in content
    assert "<text" in content  # live


def test_k_means_and_a_height_that_is_asked_for(session: wk.Session) -> None:
    session.cluster("kmeans", 3)
    session.wait()
    figure = figures.atlas(session, FigureSpec(width_mm=150, height_mm=60), per_cluster=3)
    assert figure.get_size_inches()[1] * 25.4 == pytest.approx(60)
    for axes in figure.axes:
        assert axes.get_position().y0 > -1e-6


def test_what_cannot_be_drawn_says_why(session: wk.Session, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="40"):
        figures.atlas(session, per_cluster=0)
    with pytest.raises(InvalidInput, match="mm"):
        figures.atlas(session, FigureSpec(width_mm=60), per_cluster=20)
    bare = wk.Session(wk.import_features(np.eye(12, 4), out=tmp_path / "f.wk"))
    bare.wait()
    with pytest.raises(NeedsActivations, match="no maps"):
        figures.atlas(bare, FigureSpec(width_mm=150))
