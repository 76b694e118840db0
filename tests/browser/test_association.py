"""The association panel beside the scatter: a lasso changes it, a click chooses, a reload keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.browser.conftest import notebooks
from tests.browser.lab import Lab, Notebook
from tests.browser.views import CHARTS_FIT, PATIENCE_MS, ScatterView
from tests.clinical import PATIENT, SLIDE, clinical_session, clinical_store
from tests.stores import HOSTILE

OPEN = """
import ipywidgets
import widgetkit as wk
session = wk.Session(wk.open({store!r}))
session.cluster("kmeans", 3)
session.wait()
scatter, panel = wk.Scatter(session, height=420), wk.AssociationPanel(session)
session.wait()
""".strip()
SHOW = "ipywidgets.VBox([scatter, panel])"
BARS = "() => document.querySelectorAll('.wk-panel .js-plotly-plot')[0].data[0].x.length"
TEXTS = "() => document.querySelectorAll('.wk-panel .js-plotly-plot')[0].data[0].text.join('|')"


class AssociationPage:
    """The panel on the page."""

    def __init__(self, notebook: Notebook) -> None:
        self.notebook, self.page = notebook, notebook.page
        self.scatter = ScatterView(notebook, python="scatter").drawn()
        self.panel = self.page.locator(".wk-panel").first
        self.plots = self.panel.locator(".js-plotly-plot")

    def compare(self, what: str) -> None:
        self.panel.get_by_label("Compare").select_option(what)

    def charted(self, count: int = 2) -> None:
        self.page.wait_for_function(
            "n => document.querySelectorAll('.wk-panel .js-plotly-plot').length === n",
            arg=count,
            timeout=PATIENCE_MS,
        )
        if count:
            self.page.wait_for_function(CHARTS_FIT, timeout=PATIENCE_MS)

    def until_says(self, text: str) -> None:
        self.page.wait_for_function(
            "text => document.querySelector('.wk-panel').textContent.includes(text)",
            arg=text,
            timeout=PATIENCE_MS,
        )

    def click_bar(self, number: int) -> None:
        bar = self.plots.first.locator(".barlayer .point path").nth(number)
        bar.scroll_into_view_if_needed()
        box = bar.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.page.mouse.move(x - 3, y)
        self.page.mouse.move(x, y)
        self.page.mouse.click(x, y)

    def errors(self) -> list[str]:
        strips = self.page.locator(".wk-error:visible")
        return [text for text in strips.all_inner_texts() if text.strip()]


@pytest.fixture(scope="module")
def opened(
    browser: Any, lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[AssociationPage, list[str]]]:
    path = tmp_path_factory.mktemp("association") / "s.wk"
    clinical_session(clinical_store(path)).close()
    asked: list[str] = []
    with notebooks(browser, lab, "association") as start:
        notebook = start(
            [OPEN.format(store=str(path)), SHOW],
            height=1700,
            before=lambda page: page.on("request", lambda request: asked.append(request.url)),
        )
        yield AssociationPage(notebook), asked


@pytest.fixture
def shown(opened: tuple[AssociationPage, list[str]]) -> Iterator[AssociationPage]:
    page, asked = opened
    page.notebook.python("session.clear()\npanel.of = 'clusters'\nsession.wait()")
    page.charted()
    yield page
    assert page.notebook.page_errors() == []
    assert page.page.locator("img[src=x], [onerror]").count() == 0
    elsewhere = [
        url
        for url in asked
        if urlsplit(url).scheme not in ("data", "blob") and urlsplit(url).hostname != "127.0.0.1"
    ]
    assert elsewhere == []


def test_it_opens_ranked_with_a_variable_in_each_cluster(
    shown: AssociationPage, shots: Path
) -> None:
    text = shown.panel.inner_text()
    assert "7 variables, 3 clusters, 24 patients (192 tiles)." in text
    assert HOSTILE[:20] in shown.plots.first.inner_text()  # as text
    assert shown.page.evaluate(BARS) == 7
    table = shown.panel.locator("table.wk-table").last.inner_text()
    assert "Welch's ANOVA" in table and "No test: all values are missing." in table
    assert PATIENT not in text and SLIDE not in text
    told = shown.page.evaluate(
        "() => [...document.querySelectorAll('.js-plotly-plot')].map(e => e._context)"
        ".map(c => [c.showSendToCloud, c.plotlyServerURL])"
    )
    assert told == [[False, ""]] * 2
    assert (
        "'gold' holds 4 different whole numbers" in shown.panel.locator("[role=alert]").inner_text()
    )
    shown.notebook.screenshot(shots / "association.png")


def test_a_click_on_a_bar_shows_the_variable(shown: AssociationPage, shots: Path) -> None:
    names = shown.notebook.value("panel.association.ranked()['variable'].tolist()")
    shown.click_bar(names.index("smoker"))
    shown.notebook.wait_value("panel.variable", "smoker")
    shown.page.wait_for_function(
        "() => document.querySelectorAll('.wk-panel .js-plotly-plot')[1]?.data.length === 3",
        timeout=PATIENCE_MS,
    )
    shown.charted()
    assert "share of smoker (%)" in shown.plots.nth(1).inner_text()
    assert (
        shown.panel.get_by_label("Variable").evaluate("e => e.options[e.selectedIndex].text")
        == "smoker"
    )
    shown.notebook.screenshot(shots / "association-shares.png")
    # by keyboard: the menu is focused and a letter chooses
    shown.panel.get_by_label("Variable").focus()
    shown.page.keyboard.type("fvc")
    shown.notebook.wait_value("panel.variable", "fvc")
    shown.page.wait_for_function(
        "() => document.querySelectorAll('.wk-panel .js-plotly-plot')[1]?.data[0].type === 'box'",
        timeout=PATIENCE_MS,
    )
    assert shown.errors() == []


def test_a_lasso_in_the_scatter_changes_the_panel(shown: AssociationPage, shots: Path) -> None:
    shown.compare("selection against the rest")
    shown.until_says("Nothing is selected")
    shown.charted(0)
    shown.scatter.see()
    shown.scatter.lasso(shown.scatter.oval(0.3, 0.5, 0.28, 0.48))
    shown.page.wait_for_function(
        "() => document.querySelector('.wk-panel').textContent.includes('selected tiles against')",
        timeout=PATIENCE_MS,
    )
    shown.charted()
    count = shown.notebook.value("session.selection.count")
    assert 0 < count < 192
    shown.until_says(f"{count} selected tiles against the other {192 - count}")
    before = shown.page.evaluate(TEXTS)
    assert shown.notebook.value("panel.association.sizes.tolist()") == [count, 192 - count]
    shown.scatter.see()
    shown.scatter.lasso(shown.scatter.oval(0.75, 0.5, 0.24, 0.48))
    shown.page.wait_for_function(
        f"before => ({TEXTS})() !== before", arg=before, timeout=PATIENCE_MS
    )
    now = shown.notebook.value("session.selection.count")
    shown.until_says(f"{now} selected tiles against")
    seen = shown.page.evaluate(
        "() => Array.from(document.querySelectorAll('.wk-panel .js-plotly-plot')[0].data[0].x)"
    )
    wanted = shown.notebook.value(
        "[float(v) if v == v else 0.0 for v in panel.association.ranked()['strength']]"
    )
    assert seen == pytest.approx(wanted, abs=1e-6)
    shown.notebook.screenshot(shots / "association-selection.png")
    assert shown.errors() == []


def test_it_follows_edits_of_the_clusters(shown: AssociationPage) -> None:
    shown.notebook.python("panel.variable = 'fvc'\nsession.rename_cluster(0, 'ink & co')")
    shown.page.wait_for_function(
        "() => document.querySelectorAll('.wk-panel .js-plotly-plot')[1]?.textContent.includes('ink & co')",
        timeout=PATIENCE_MS,
    )
    shown.panel.get_by_role("button", name="Pairs").click()
    shown.until_says("ink & co \N{EN DASH} cluster 2")
    shown.notebook.python("session.merge_clusters([0, 1])")
    shown.until_says("2 clusters, 24 patients")
    shown.notebook.python("session.undo()")
    shown.until_says("3 clusters, 24 patients")
    assert shown.errors() == []


def test_a_reload_keeps_what_was_shown(shown: AssociationPage, shots: Path) -> None:
    notebook = shown.notebook
    notebook.python("panel.variable = 'smoker'")
    shown.page.wait_for_function(
        "() => document.querySelectorAll('.wk-panel .js-plotly-plot')[1]?.textContent.includes('share of smoker')",
        timeout=PATIENCE_MS,
    )

    def seen() -> dict[str, Any]:
        return {
            "compare": shown.panel.get_by_label("Compare").input_value(),
            "variable": shown.panel.get_by_label("Variable").input_value(),
            "bars": shown.page.evaluate(
                "() => [...document.querySelectorAll('.wk-panel .js-plotly-plot')]"
                ".map(e => e.data.map(t => Array.from(t.x || [])))"
            ),
            "axes": shown.plots.locator(".yaxislayer-above").all_text_contents(),
            "legend": shown.plots.locator(".legendtext").all_text_contents(),
            "table": shown.panel.locator("table.wk-table").last.inner_text(),
        }

    before = seen()
    assert "ink & co" in before["legend"]
    notebook.save()
    notebook.reload()
    shown.scatter.drawn()
    shown.charted()
    assert seen() == before
    names = notebook.value("panel.association.ranked()['variable'].tolist()")
    shown.click_bar(names.index("fvc"))
    notebook.wait_value("panel.variable", "fvc")
    assert shown.errors() == []
    notebook.screenshot(shots / "association-reloaded.png")


def test_a_narrow_dark_page(shown: AssociationPage, shots: Path) -> None:
    shown.page.set_viewport_size({"width": 760, "height": 1700})
    shown.page.evaluate(
        "() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})"
    )
    shown.page.evaluate("() => window.jupyterapp.commands.execute('application:toggle-left-area')")
    shown.charted()
    for width in (1100, 700, 760):  # charts asked while they are still being drawn follow, too
        shown.page.set_viewport_size({"width": width, "height": 1700})
    shown.charted()
    shown.panel.scroll_into_view_if_needed()
    shown.notebook.screenshot(shots / "association-narrow-dark.png")
    assert shown.page.evaluate(
        "() => { const p = document.querySelector('.wk-panel');"
        " return p.scrollWidth <= p.clientWidth + 1 }"
    )
