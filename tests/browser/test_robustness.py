"""Hostile names, lost contexts, failing jobs, and stores with little in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import widgetkit as wk
from tests.browser.explorer import ExplorerPage
from tests.browser.lab import CHROMIUM_FLAGS, Open, find_chromium
from tests.browser.views import CHARTS_FIT, PATIENCE_MS, ScatterView, View
from tests.stores import HOSTILE, make_store

_LOSE = """() => {
  const { gl } = window[Symbol.for('widgetkit.gl.1')];
  window.LOSER = gl.getExtension('WEBGL_lose_context');
  window.LOSER.loseContext();
}"""


# -- on the shared Explorer ----------------------------------------------------------------
def test_names_are_never_markup(ex: ExplorerPage) -> None:
    dialogs: list[str] = []
    ex.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    ex.notebook.python(
        f"ex.session.rename_cluster(0, {HOSTILE!r})\nex.session.select_cluster(0)\n"
        f"ex.session.save_selection({HOSTILE!r})\nex.session.set_focus(0)"
    )
    ex.settled()
    assert ex.legend()[0] == HOSTILE
    ex.page.wait_for_function(
        "name => document.querySelector('.js-plotly-plot').textContent.includes(name)", arg=HOSTILE
    )
    # coloured by the label that is markup, with the card of a tile that has it
    ex.scatter.root.get_by_label("Colour by").select_option("label")
    ex.scatter.until(
        "(e, name) => [...e.querySelectorAll('.wk-item-name')].some(n => n.textContent === name)",
        HOSTILE,
    )
    ex.scatter.see()
    ex.page.mouse.move(*ex.scatter.places()[3])
    ex.scatter.until(
        "(e, name) => (e.querySelector('.wk-hover')?.textContent || '').includes(name)", HOSTILE
    )
    # captions of the gallery and of the maps; the history
    ex.thumb(0).hover()
    ex.gallery.until("e => e.querySelector('.wk-status').textContent !== ''")
    ex.panel.get_by_text("History, as Python").click()
    ex.panel.locator("pre", has_text="rename_cluster").wait_for()
    ex.panel.get_by_text("History, as Python").click()
    made = ex.page.evaluate(
        "() => document.querySelectorAll('img[src=x], [onerror], [onload], [onclick]').length"
    )
    assert made == 0
    assert dialogs == []


def test_a_lost_context_keeps_the_picture_and_comes_back(ex: ExplorerPage) -> None:
    picture = "e => e.querySelector('.wk-stage canvas').toDataURL()"
    before = ex.scatter.root.evaluate(picture)
    assert ex.scatter.root.get_attribute("data-context") == "webgl2"
    ex.page.evaluate(_LOSE)
    ex.scatter.until("e => e.dataset.context === 'lost'")
    assert ex.scatter.root.evaluate(picture) == before
    ex.page.evaluate("() => window.LOSER.restoreContext()")
    ex.scatter.until("e => e.dataset.context === 'webgl2'")
    ex.scatter.until(f"(e, before) => ({picture})(e) === before", before)


def test_a_context_that_stays_lost_is_replaced_by_a_canvas(ex: ExplorerPage) -> None:
    ex.page.evaluate(_LOSE)
    ex.scatter.until("e => e.dataset.context === '2d'")
    assert "without WebGL" in ex.scatter.root.locator(".wk-note").inner_text()
    with ex.gesture():
        ex.scatter.lasso(ex.scatter.oval(0.3, 0.5, 0.22, 0.35))
    assert ex.selected()
    ex.page.evaluate("() => window.LOSER.restoreContext()")
    ex.scatter.until("e => e.dataset.context === 'webgl2'")
    assert ex.scatter.root.locator(".wk-note").inner_text() == ""


def test_a_job_that_fails_is_seen(ex: ExplorerPage) -> None:
    ex.notebook.python(
        "def fail(job):\n    raise RuntimeError('out of tissue')\n"
        "ex.session.jobs.submit('fail', fail, print, title='Looking')"
    )
    strip = ex.page.locator(".wk-error:visible", has_text="RuntimeError: out of tissue")
    strip.first.wait_for(timeout=PATIENCE_MS)
    assert strip.count() == 1  # said once, not by every view
    strip.locator("button[title='Dismiss the error']").click()
    strip.wait_for(state="detached")


def test_a_running_job_is_cancelled_from_the_page(ex: ExplorerPage) -> None:
    ex.notebook.python(
        "import time\n"
        "def long(job):\n"
        "    for i in range(1_000_000):\n"
        "        job.progress(i, 1_000_000)\n"
        "        time.sleep(0.02)\n"
        "JOB = ex.session.jobs.submit('long', long, print, title='A long job')"
    )
    ex.page.get_by_text("A long job").locator("visible=true").first.wait_for(timeout=PATIENCE_MS)
    cancel = ex.page.locator("button:visible", has_text="Cancel").first
    cancel.click()
    ex.notebook.wait_value("JOB.status", "cancelled")
    ex.page.wait_for_function(
        "() => ![...document.querySelectorAll('button')].some("
        "b => b.innerText === 'Cancel' && b.checkVisibility({visibilityProperty: true}))"
    )


# -- stores with little in them ------------------------------------------------------------
TWO = """
import widgetkit as wk
a = wk.explore({first!r})
b = wk.explore({second!r})
a.session.project("pca"); b.session.project("pca")
a.session.wait(); b.session.wait()
""".strip()


@pytest.fixture(scope="module")
def small_stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("small")
    make_store(folder / "one.wk", n=1)
    make_store(folder / "empty.wk", n=0)
    rng = np.random.default_rng(0)
    wk.import_features(
        rng.normal(size=(60, 16)).astype(np.float32), out=folder / "features.wk", layer="vit"
    )
    return {path.stem: path for path in folder.iterdir()}


def test_little_stores(open_notebook: Open, small_stores: dict[str, Path], shots: Path) -> None:
    """No tile, one tile, features without maps: each says what there is, and none fails."""
    cell = """
import widgetkit as wk
session = wk.Session(wk.open({store!r}))
session.wait()
{name} = wk.explore(session)
{name}
""".strip()
    names = ("empty", "one", "features")
    cells = [cell.format(store=str(small_stores[name]), name=name) for name in names]
    notebook = open_notebook(cells, height=4200)
    for i in range(3):
        for name in ("scatter", "gallery", "maps"):
            View(notebook, name, i).drawn()
    empty, one, features = (ScatterView(notebook, i) for i in range(3))
    assert empty.root.locator(".wk-empty").inner_text() == "There are no tiles."
    assert "The store has no tiles." in View(notebook, "gallery", 0).root.inner_text()
    assert "The store has no tiles." in View(notebook, "maps", 0).root.inner_text()

    left, top, width, height = one.box()
    notebook.page.mouse.click(left + width / 2, top + height / 2)
    one.until("e => e.querySelector('.wk-count').textContent === '1 of 1 selected'")
    assert notebook.value("one.session.selection.count") == 1

    reason = View(notebook, "maps", 2).root.locator(".wk-maps-reason")
    assert reason.is_visible()
    assert "maps" in reason.inner_text() and "vit" in reason.inner_text()
    assert "no images" in View(notebook, "gallery", 2).root.inner_text()
    features.see()
    features.lasso(features.oval(0.5, 0.5, 0.3, 0.45))
    features.until("e => Number(e.querySelector('.wk-count').textContent.split(' ')[0]) > 0")
    assert 0 < notebook.value("features.session.selection.count") <= 60
    # three Explorers, three sessions, one context of WebGL
    assert notebook.value("empty.session.selection.count") == 0
    assert notebook.value("one.session.selection.count") == 1
    assert notebook.page.locator(".wk-error:visible").all_inner_texts() == []
    assert notebook.page_errors() == []
    notebook.screenshot(shots / "little.png")


# -- another browser -----------------------------------------------------------------------
@pytest.fixture
def without_webgl(browser: Any) -> Iterator[Any]:
    started = browser.browser_type.launch(
        executable_path=find_chromium(), args=[*CHROMIUM_FLAGS, "--disable-3d-apis"]
    )
    yield started
    started.close()


def test_without_webgl(
    open_notebook: Open, without_webgl: Any, tmp_path: Path, shots: Path
) -> None:
    """A sample is drawn and said to be one; the lasso still decides over all tiles."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (30_000, 2)).astype(np.float32)
    store = wk.import_features(points, out=tmp_path / "many.wk")
    session = wk.Session(store)
    session.project("pca")
    session.wait()
    cell = (
        f"import widgetkit as wk\nview = wk.Scatter(wk.Session(wk.open({str(store.path)!r})))\nview"
    )
    notebook = open_notebook([cell], chromium=without_webgl)
    scatter = ScatterView(notebook, python="view")
    scatter.drawn()
    scatter.until("e => e.dataset.context === '2d'")
    assert "showing 20,000 of 30,000" in scatter.root.locator(".wk-note").inner_text()
    scatter.lasso(scatter.oval(0.5, 0.5, 0.2, 0.3))
    scatter.until("e => Number(e.dataset.revision) > 0")
    chosen = notebook.value("view.session.selection.count")
    assert 0 < chosen < 30_000
    assert scatter.count_text() == f"{chosen:,} of 30,000 selected"
    notebook.screenshot(shots / "without-webgl.png")


# -- how it looks --------------------------------------------------------------------------
@pytest.mark.parametrize("width", [1500, 700])
def test_light_and_dark(ex: ExplorerPage, shots: Path, width: int) -> None:
    theme = "name => window.jupyterapp.commands.execute('apputils:change-theme', {theme: name})"
    with ex.gesture():
        ex.scatter.root.locator(".wk-item").nth(1).click()
    first = ex.gallery_rows()
    ex.page.set_viewport_size({"width": width, "height": 2400 if width < 1000 else 1700})
    try:
        for name, word in (("JupyterLab Light", "light"), ("JupyterLab Dark", "dark")):
            ex.page.evaluate(theme, name)
            for view in (ex.scatter, ex.gallery, ex.maps):
                view.until("(e, word) => e.dataset.theme === word", word)
            ex.rest()
            ex.page.wait_for_function(CHARTS_FIT)
            assert len(ex.gallery_rows()) >= min(len(first), 9)
            ex.maps.until(
                "e => e.querySelector('.wk-maps-stage').offsetWidth"
                " <= e.querySelector('.wk-maps-scroll').clientWidth"
            )
            ex.notebook.screenshot(shots / f"explorer-{word}-{width}.png")
            # nothing is wider than the page it is in
            assert ex.panel.evaluate("e => e.scrollWidth - e.clientWidth") <= 1
    finally:
        ex.page.evaluate(theme, "JupyterLab Light")
        ex.page.set_viewport_size({"width": 1500, "height": 1700})
        ex.scatter.until("e => e.dataset.theme === 'light'")
