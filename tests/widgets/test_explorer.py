"""The Explorer: linked parts, one strip, the bar, the state, and stores that lack something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import widgetkit as wk
from tests.stores import make_store
from widgetkit.errors import InvalidInput, StoreMismatch
from widgetkit.session import MapSpec, Session
from widgetkit.store import ActivationStore
from widgetkit.widgets import Explorer, PlotlyScatter
from widgetkit.widgets.explorer import FORMATS


@pytest.fixture
def explorer(session: Session) -> Explorer:
    return Explorer(session)


def others(explorer: Explorer) -> list[Any]:
    return [part for name, part in explorer.parts.items() if name != "explorer"]


# -- opening -----------------------------------------------------------------------------
def test_it_opens_a_session_a_store_and_a_path(session: Session, store: ActivationStore) -> None:
    assert wk.explore(session).session is session
    assert wk.explore(store).session.store is store
    assert len(wk.explore(str(store.path)).session.store) == 160
    with pytest.raises(InvalidInput, match="int"):
        wk.explore(3)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="webgl"):
        wk.explore(session, scatter="canvas")
    with pytest.raises(InvalidInput, match=r"Session\(store, model="):
        wk.explore(session, object())


def test_all_parts_share_the_session(explorer: Explorer) -> None:
    assert all(part.session is explorer.session for part in others(explorer))
    explorer.session.select_cluster(0)
    count = explorer.session.selection.count
    assert explorer.summary.describe().startswith(f"{count} of 160 tiles selected.")
    assert f"{count:,} of {count:,}" in explorer.gallery.describe() or str(count) in (
        explorer.gallery.describe()
    )
    for part in others(explorer):
        assert part.describe() in explorer.describe()


def test_the_plotly_scatter_takes_the_place_of_the_other(session: Session) -> None:
    explorer = wk.explore(session, scatter="plotly")
    assert isinstance(explorer.scatter, PlotlyScatter)
    explorer.scatter.color_by = "label"
    assert "coloured by label" in explorer.describe()


# -- one strip ---------------------------------------------------------------------------
def fail(_job: object) -> None:
    raise RuntimeError("the job failed")


def test_an_error_of_the_session_is_shown_once(explorer: Explorer) -> None:
    with pytest.raises(RuntimeError):
        explorer.session.jobs.submit("j", fail, title="Failing")
    assert explorer.error_strip.message == "RuntimeError: the job failed"
    for part in others(explorer):
        assert not getattr(part, "error", "")
        assert not hasattr(part, "error_strip") or part.error_strip.message == ""
    explorer.session.jobs.submit("j", lambda job: None)
    assert explorer.error_strip.message == ""


def test_a_part_shows_the_errors_of_its_own_callbacks(
    explorer: Explorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIDGETKIT_RAISE", "0")
    explorer.clusters._rows.rows[0].name.value = ""
    assert explorer.clusters.error_strip.message
    assert explorer.error_strip.message == ""
    explorer.gallery._handle_custom_msg({"kind": "nonsense"}, [])
    assert "nonsense" in explorer.gallery.error and explorer.error_strip.message == ""


def test_progress_is_shown_once(explorer: Explorer) -> None:
    seen: list[Any] = []

    def work(job: Any) -> None:
        job.progress(1, 2)
        seen.append(explorer.jobs_strip.layout.display)
        for part in others(explorer):
            strip = getattr(part, "jobs_strip", None)
            seen.append("none" if strip is None else strip.layout.display)
            seen.append(getattr(part, "job", {}))

    explorer.session.jobs.submit("j", work, title="Working")
    assert seen[0] == ""
    assert all(shown in ("none", {}) for shown in seen[1:]) and len(seen) == 11


# -- the bar -----------------------------------------------------------------------------
def test_selections_are_kept_restored_undone(explorer: Explorer, session: Session) -> None:
    assert explorer._undo.disabled and explorer._redo.disabled
    session.select([1, 2, 3])
    explorer._name.value = "three <b>"
    press(explorer, "Keep")
    assert explorer._name.value == "" and list(session.named) == ["three <b>"]
    press(explorer, "Invert")
    assert session.selection.count == 157
    press(explorer, "Clear")
    assert session.selection.count == 0
    explorer._named.value = "three <b>"
    assert session.selection.rows.tolist() == [1, 2, 3]
    assert explorer._named.value == ""
    press(explorer, "Undo")
    assert session.selection.count == 0 and not explorer._redo.disabled
    press(explorer, "Redo")
    assert session.selection.count == 3
    with pytest.raises(InvalidInput, match="name first"):
        press(explorer, "Keep")


def press(explorer: Explorer, text: str) -> None:
    from tests.widgets.test_clusters import press as press_any

    press_any(explorer, text)


def test_history_is_escaped_python(explorer: Explorer, session: Session) -> None:
    explorer._folds.selected_index = 0
    assert "nothing has been done yet" in explorer._history.value
    session.rename_cluster(0, "<script>")
    assert "<script>" not in explorer._history.value
    assert "&lt;script&gt;" in explorer._history.value


def test_a_folded_history_sends_nothing(explorer: Explorer, session: Session) -> None:
    session.select_all()
    assert explorer._history.value == ""
    explorer._folds.selected_index = 0
    assert "session.select_all()" in explorer._history.value
    explorer._folds.selected_index = None
    before = explorer._history.value
    session.clear()
    assert explorer._history.value == before


def test_the_state_can_be_taken_along(explorer: Explorer, store: ActivationStore) -> None:
    explorer.session.select([4, 5])
    explorer.session.rename_cluster(1, "stroma")
    press(explorer, "Show state")
    other = wk.explore(store)
    other._state.value = explorer._state.value
    press(other, "Restore state")
    assert other.session.selection.rows.tolist() == [4, 5]
    assert other.clusters._rows.rows[1].name.value == "stroma"
    press(other, "Undo")
    assert other.session.selection.count == 0


def test_a_foreign_or_damaged_state_is_refused(
    explorer: Explorer, features_store: ActivationStore
) -> None:
    with pytest.raises(InvalidInput, match="Paste"):
        press(explorer, "Restore state")
    explorer._state.value = "{"
    with pytest.raises(InvalidInput):
        press(explorer, "Restore state")
    explorer._state.value = Session(features_store).state()
    with pytest.raises(StoreMismatch):
        press(explorer, "Restore state")
    assert explorer.error_strip.message


def test_every_part_is_saved_in_every_format(
    explorer: Explorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    explorer._width.value = 90
    for kind in explorer.parts:
        for suffix in FORMATS if kind == "explorer" else ("png",):
            explorer._kind.value, explorer._format.value = kind, suffix
            press(explorer, "Save")
            assert (tmp_path / f"widgetkit-{kind}.{suffix}").stat().st_size > 500
            assert f"widgetkit-{kind}.{suffix}" in explorer._message.value
    assert len(list(tmp_path.iterdir())) == len(explorer.parts) + len(FORMATS) - 1


# -- with a network ----------------------------------------------------------------------
def test_a_network_gives_grad_cam(tmp_path: Path) -> None:
    from tests.extraction import models
    from tests.extraction.conftest import textures

    network = models.seeded(models.SmallCNN())
    tiles = wk.tiles.from_array(textures(12))
    layer = [row["name"] for _, row in wk.layers(network, np.zeros((32, 32, 3), np.uint8)).iterrows() if row["spatial"]][-1]  # fmt: skip
    store = wk.extract(network, tiles, layers=[layer], out=tmp_path / "net.wk", progress=False)
    explorer = wk.explore(store, network)
    explorer.session.set_map(MapSpec("gradcam", 0))
    assert "gradcam" in str(explorer.session.map_spec).lower()
    assert "Grad-CAM" in explorer.maps.describe() and "no maps" not in explorer.maps.describe()
    values = explorer.session.maps([0, 1]).values
    assert values.shape[0] == 2 and np.isfinite(values).all()
    assert explorer.error_strip.message == ""
    # without the network the map viewer says what is missing, and nothing else fails
    alone = wk.explore(store)
    alone.session.set_map(MapSpec("gradcam", 0))
    assert "no maps" in alone.maps.describe() and "model" in alone.maps.describe()
    assert alone.error_strip.message == ""


# -- stores that lack something ----------------------------------------------------------
def test_features_without_maps_or_images(tmp_path: Path) -> None:
    features = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    store = wk.import_features(features, out=tmp_path / "features.wk")
    explorer = wk.explore(store)
    words = explorer.maps.describe()
    assert "no maps" in words and "one vector a tile" in words
    assert "40" in explorer.scatter.describe() and "40" in explorer.gallery.describe()
    assert "kmeans" in explorer.clusters.describe()
    explorer.session.select_cluster(0)
    assert explorer.session.selection.count > 0
    assert explorer.caption()
    explorer.save(tmp_path / "a.png", dpi=50)
    assert explorer.error_strip.message == ""


@pytest.mark.parametrize("n", [0, 1, 2])
@pytest.mark.parametrize("scatter", ["webgl", "plotly"])
def test_stores_of_almost_nothing(n: int, scatter: Any, tmp_path: Path) -> None:
    explorer = wk.explore(make_store(tmp_path / "small.wk", n=n), scatter=scatter)
    assert str(n) in explorer.describe() or "no tiles" in explorer.describe()
    explorer.session.select_all()
    explorer.session.invert()
    explorer.session.clear()
    explorer.session.undo()
    explorer.save(tmp_path / "a.png", dpi=50)
    explorer.close()


# -- end ---------------------------------------------------------------------------------
@pytest.mark.parametrize("scatter", ["webgl", "plotly"])
def test_closing_closes_everything(session: Session, scatter: Any) -> None:
    from ipywidgets.widgets.widget import _instances

    before = set(_instances)
    explorer = wk.explore(session, scatter=scatter)
    session.select([1, 2])
    explorer.close()
    left = {type(_instances[key]).__name__ for key in set(_instances) - before}
    assert left == set()
    session.select([3])
    assert not any(session.events.observed(name) for name in ("selection", "error", "job"))  # type: ignore[arg-type]
    explorer.close()


def test_gallery_and_maps_keep_one_order(explorer: Explorer) -> None:
    explorer.gallery.rule = "random"
    assert explorer.maps.rule == "random"
    most = len(explorer.maps.rows)
    assert list(explorer.maps.rows) == list(explorer.gallery.rows[:most])


# -- columns beside the clusters -----------------------------------------------------------
def test_columns_beside_the_clusters_are_made_when_opened(
    explorer: Explorer, session: Session
) -> None:
    asked: list[str] = []
    session.observe("job", lambda job: asked.append(job.key))
    session.select_cluster(0)
    assert explorer.association is None and asked == []
    assert explorer._folds.titles[2] == "Columns beside the clusters"
    explorer._folds.selected_index = 2
    panel = explorer.association
    assert panel is not None and panel.session is session and panel.association is not None
    assert panel.describe() in explorer.describe()
    assert "association" in explorer._kind.options and panel.error_strip.layout.display == "none"
    explorer._folds.selected_index = 0
    assert not panel.live and panel.describe() not in explorer.describe()
    shown = panel.association
    session.merge_clusters([0, 1])
    assert panel.association is shown  # nobody looks
    explorer._folds.selected_index = 2
    assert explorer.association is panel and panel.association is not shown
    explorer.close()


def test_without_columns_of_ones_own_there_is_no_such_fold(
    features_store: ActivationStore,
) -> None:
    explorer = Explorer(features_store)
    assert "Columns beside the clusters" not in explorer._folds.titles
    explorer.close()


def test_the_concept_panel_is_made_when_its_fold_is_opened(
    explorer: Explorer, session: Session
) -> None:
    assert explorer.concepts is None
    place = explorer._folds.titles.index("Concepts the network sees")
    explorer._folds.selected_index = place
    panel = explorer.concepts
    assert panel is not None and panel.session is session and panel.live
    assert panel.describe() in explorer.describe() and "concepts" in explorer._kind.options
    explorer._folds.selected_index = 0
    assert not panel.live and panel.describe() not in explorer.describe()
    session.select_cluster(0)
    session.save_as_concept("ink")
    assert panel.bar.names == []  # nobody looks
    explorer._folds.selected_index = place
    assert explorer.concepts is panel and panel.bar.names == ["ink"]
    explorer.close()
