"""CLAM in JupyterLab: chosen, a first look and then the maps, against another cluster, cancelled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.browser.conftest import notebooks
from tests.browser.explorer import ExplorerPage
from tests.browser.lab import Lab
from tests.deep import NAMES, make_deep
from widgetkit.session import Session

#: The network waits while ``HOLD`` is set and the viewer shows a first look: tests see one for sure.
OPEN = """
import time
import widgetkit as wk
from widgetkit.deep_clustering import ClusterNetwork, ConvAutoencoder
from widgetkit.extraction import ModelContext

HOLD = False

class Slow(ModelContext):
    def forward_to_layer(self, images, layer=None):
        time.sleep(0.01)  # the page is told between batches
        while HOLD and ex.maps._maps_info.get("status") == "coarse":
            time.sleep(0.01)
        return super().forward_to_layer(images, layer)

store = wk.open({store!r})
centres = wk.Session(store).clustering.prototypes
network = ClusterNetwork(ConvAutoencoder.load({ae!r}, device="cpu").module, centres)
session = wk.Session(store, Slow.for_store(network, store, device="cpu"), layer="latent")
ex = wk.explore(session)
ex
""".strip()
TITLE = "e => e.querySelector('.wk-bar-title').textContent"


@pytest.fixture(scope="module")
def page(
    browser: Any, lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ExplorerPage]:
    folder = tmp_path_factory.mktemp("clam")
    deep = make_deep(folder / "s.wk", shape=(48, 48), epochs=12)
    deep.autoencoder.save(folder / "ae.npz")
    kept = Session(deep.store, layer="latent")
    kept.project("pca")
    cell = OPEN.format(store=str(deep.store.path), ae=str(folder / "ae.npz"))
    with notebooks(browser, lab, "clam") as start:
        opened = ExplorerPage(start([cell], height=1700))
        opened.notebook.console.clear()  # anywidget says so where a busy machine opens a page slowly
        yield opened


def shows(page: ExplorerPage, title: str) -> None:
    """Wait until the colour bar says exactly this."""
    page.maps.until(f"(e, t) => ({TITLE})(e) === t", title)


def first_look(page: ExplorerPage, title: str) -> None:
    """... and that better maps are to come."""
    page.maps.until(f"(e, t) => ({TITLE})(e) === t + ' \u00b7 a first look'", title)


def cancel(page: ExplorerPage) -> Any:
    return page.page.get_by_role("button", name="Cancel").locator("visible=true")


def test_it_opens_with_the_clusters_of_the_autoencoder(page: ExplorerPage) -> None:
    shows(page, "CLAM: each tile's own")
    assert page.legend()[: len(NAMES)] == list(NAMES)
    assert page.notebook.value("ex.session.layer") == "latent"
    assert page.notebook.value("ex.session.map_layer()") == "encoder.last"
    assert page.notebook.value("session.clustering.method") == "deep"


def test_a_method_chosen_shows_a_first_look_and_then_its_maps(page: ExplorerPage) -> None:
    page.maps.root.get_by_label("method").select_option("channel")
    page.maps.until(f"e => ({TITLE})(e).startsWith('Channel')")
    assert page.maps.root.get_by_label("against", exact=True).is_hidden()
    page.notebook.python("HOLD = True")
    page.maps.root.get_by_label("method").select_option("clam")
    first_look(page, "CLAM: each tile's own")
    assert cancel(page).count() == 1
    page.notebook.python("HOLD = False")
    shows(page, "CLAM: each tile's own")
    values = np.array(
        page.notebook.value("ex.session.maps(ex.maps.rows[:3]).values.round(4).tolist()")
    )
    assert values.max() > 0


def test_one_cluster_against_another(page: ExplorerPage, shots: Path) -> None:
    page.maps.root.get_by_label("of", exact=True).select_option(label=NAMES[0])
    shows(page, "CLAM: here")
    against = page.maps.root.get_by_label("against", exact=True)
    names = against.locator("option").all_inner_texts()
    assert names == ["none", NAMES[1], NAMES[2]]  # not itself
    against.select_option(label=NAMES[1])
    shows(page, "CLAM: here against there")
    assert page.notebook.value("[session.map_spec.target, session.map_spec.against]") == [0, 1]
    assert page.notebook.value("session.history.steps[-1].code").startswith(
        "session.set_map('clam', 0, against=1"
    )
    page.notebook.screenshot(shots / "clam-explorer.png")
    page.maps.see()
    page.maps.root.screenshot(path=str(shots / "clam-maps.png"))


def test_the_list_of_other_clusters_answers_to_the_keyboard(page: ExplorerPage) -> None:
    against = page.maps.root.get_by_label("against", exact=True)
    against.focus()
    page.page.keyboard.press("ArrowDown")
    shows(page, "CLAM: here against nowhere")
    page.page.keyboard.press("Home")
    shows(page, "CLAM: here")
    assert page.notebook.value("session.map_spec.against is None")


def test_a_lasso_changes_the_tiles_and_their_maps(page: ExplorerPage) -> None:
    before = page.notebook.value("ex.maps.rows.tolist()")
    page.scatter.see()
    with page.gesture():
        page.scatter.lasso(page.scatter.oval(0.35, 0.5, 0.3, 0.45))
    chosen = page.selected()
    assert 0 < len(chosen) < page.n
    shows(page, "CLAM: here")
    rows = page.notebook.value("ex.maps.rows.tolist()")
    assert rows != before and set(rows) == set(chosen)
    assert page.notebook.value("ex.maps._maps_info['count']") == len(chosen)
    page.notebook.python("ex.session.clear()")
    page.settled()
    shows(page, "CLAM: here")


def test_cancel_stops_it_and_what_was_shown_stays(page: ExplorerPage) -> None:
    page.notebook.python("HOLD = True")
    page.maps.root.get_by_label("of", exact=True).select_option(label=NAMES[2])
    first_look(page, "CLAM: nowhere")
    cancel(page).click()
    page.notebook.wait_value("len(session.jobs.active)", 0)
    page.notebook.python("HOLD = False")
    page.notebook.wait_value("len(session.jobs._running)", 0)
    assert page.notebook.value("ex.maps._maps_info['status']") == "coarse"
    assert cancel(page).count() == 0
    page.maps.root.get_by_label("of", exact=True).select_option(label=NAMES[1])
    shows(page, "CLAM: there")
    assert page.errors() == []
    assert page.notebook.page_errors() == []
