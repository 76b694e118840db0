"""The factor panel in JupyterLab: a question asked by hand, answered, clicked, cancelled, reloaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.browser.conftest import notebooks
from tests.browser.lab import Lab, Notebook
from tests.browser.views import CHARTS_FIT, PATIENCE_MS
from tests.readable import NOTE, extract_store
from tests.stores import HOSTILE

OPEN = """
import widgetkit as wk
session = wk.Session(wk.open({store!r}), layer="body")
session.cluster("nmf", 3)
session.wait()
session.rename_cluster(0, {name!r})
panel = wk.FactorPanel(session)
""".strip()


class FactorPage:
    """The panel on the page."""

    def __init__(self, notebook: Notebook) -> None:
        self.notebook, self.page = notebook, notebook.page
        self.panel = self.page.locator(".wk-panel").first
        self.plot = self.panel.locator(".js-plotly-plot")

    def ask(self, question: str) -> None:
        self.panel.get_by_label("Question").select_option(question)

    def read(self) -> None:
        self.panel.get_by_role("button", name="Read", exact=True).click()

    def charted(self) -> None:
        """The one chart is there, as wide as the panel."""
        self.plot.first.wait_for(timeout=PATIENCE_MS)
        self.page.wait_for_function(CHARTS_FIT, timeout=PATIENCE_MS)
        self.page.wait_for_function(
            "() => document.querySelectorAll('.js-plotly-plot').length === 1", timeout=PATIENCE_MS
        )

    def click_bar(self, number: int) -> None:
        bar = self.plot.locator(".barlayer .point path").nth(number)
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
) -> Iterator[tuple[FactorPage, list[str]]]:
    path = tmp_path_factory.mktemp("factors") / "s.wk"
    extract_store(path, 96)
    asked: list[str] = []
    with notebooks(browser, lab, "factors") as start:
        notebook = start(
            [OPEN.format(store=str(path), name=HOSTILE), "panel"],
            height=1300,
            before=lambda page: page.on("request", lambda request: asked.append(request.url)),
        )
        yield FactorPage(notebook), asked


@pytest.fixture
def factors(opened: tuple[FactorPage, list[str]]) -> Iterator[FactorPage]:
    page, asked = opened
    page.notebook.python("session.clear()")
    yield page
    assert page.notebook.page_errors() == []
    elsewhere = [
        url
        for url in asked
        if urlsplit(url).scheme not in ("data", "blob") and urlsplit(url).hostname != "127.0.0.1"
    ]
    assert elsewhere == []


def test_read_draws_a_chart_and_a_click_selects(factors: FactorPage, shots: Path) -> None:
    notebook = factors.notebook
    assert "Press Read" in factors.panel.inner_text()
    factors.read()
    factors.charted()
    assert HOSTILE[:20] in factors.plot.inner_text()
    assert factors.page.locator("img[src=x], [onerror]").count() == 0
    factors.ask("Factors in each class")
    factors.read()
    factors.page.wait_for_function(
        "note => document.querySelector('.wk-panel [role=alert]')?.textContent.includes(note)",
        arg=NOTE,
        timeout=PATIENCE_MS,
    )
    factors.charted()
    notebook.wait_value("panel.kind", "shares")
    wanted = notebook.value("int(session.clustering.sizes.argmax())")
    factors.click_bar(wanted)  # the first trace: a bar a factor
    notebook.wait_value(
        "session.selection.count", notebook.value(f"int(session.clustering.sizes[{wanted}])")
    )
    factors.panel.get_by_label("What a click or a lasso does").or_(
        factors.panel.get_by_label("Click")
    ).first.select_option("takes away")
    notebook.wait_value("panel._mode.value", "subtract")
    factors.click_bar(wanted)
    notebook.wait_value("session.selection.count", 0)
    assert factors.errors() == []
    notebook.screenshot(shots / "factors.png")


def test_names_follow_on_the_page(factors: FactorPage) -> None:
    factors.ask("Share of each factor that the slide explains")
    factors.charted()
    factors.notebook.python("session.rename_cluster(1, 'ink & co')")
    factors.page.wait_for_function(
        "() => document.querySelector('.js-plotly-plot')?.textContent.includes('ink & co')",
        timeout=PATIENCE_MS,
    )
    factors.charted()
    assert "ink & co" in factors.panel.locator("table.wk-table").inner_text()


def test_a_long_question_can_be_cancelled(factors: FactorPage) -> None:
    notebook = factors.notebook
    factors.ask("Number of factors")
    factors.read()
    cancel = factors.panel.get_by_role("button", name="Cancel", exact=True)
    cancel.wait_for(timeout=PATIENCE_MS)
    cancel.click()
    cancel.wait_for(state="hidden", timeout=PATIENCE_MS)
    notebook.wait_value("len(session.jobs.active)", 0)
    assert notebook.value("'choice' in session.readings") is False
    assert factors.errors() == [] and "Press Read" in factors.panel.inner_text()


def test_what_cannot_be_read_is_said_on_the_page(factors: FactorPage) -> None:
    factors.ask("Importance of factors")
    factors.read()
    factors.page.wait_for_function(
        "() => [...document.querySelectorAll('.wk-panel .wk-error [role=alert]')]"
        ".some(e => e.textContent.includes('this session has none'))",
        timeout=PATIENCE_MS,
    )
    factors.panel.get_by_role("button", name="×").click()
    factors.page.wait_for_function(
        "() => !document.querySelector('.wk-panel .wk-error [role=alert]')", timeout=PATIENCE_MS
    )


def test_a_reload_keeps_what_was_shown(factors: FactorPage, shots: Path) -> None:
    notebook = factors.notebook
    factors.ask("Factors in each class")
    factors.charted()
    notebook.wait_value("panel.kind", "shares")

    def seen() -> dict[str, Any]:
        return {
            "question": factors.panel.get_by_label("Question").input_value(),
            "chart": factors.plot.locator(".yaxislayer-above").text_content(),
            "legend": factors.plot.locator(".legendtext").all_text_contents(),
            "bars": factors.page.evaluate(
                "() => document.querySelector('.js-plotly-plot').data.map(t => Array.from(t.x))"
            ),
            "table": factors.panel.locator("table.wk-table").inner_text(),
        }

    before = seen()
    assert before["legend"] and "ink & co" in before["chart"]
    notebook.save()
    notebook.reload()
    factors.charted()
    assert seen() == before
    wanted = notebook.value("int(session.clustering.sizes.argmax())")
    factors.panel.get_by_label("Click").first.select_option("selects")
    factors.click_bar(wanted)
    notebook.wait_value(
        "session.selection.count", notebook.value(f"int(session.clustering.sizes[{wanted}])")
    )
    notebook.screenshot(shots / "factors-reloaded.png")


def test_a_narrow_dark_page(factors: FactorPage, shots: Path) -> None:
    factors.page.set_viewport_size({"width": 760, "height": 1300})
    factors.page.evaluate(
        "() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})"
    )
    factors.page.evaluate(
        "() => window.jupyterapp.commands.execute('application:toggle-left-area')"
    )
    factors.charted()
    factors.panel.scroll_into_view_if_needed()
    factors.notebook.screenshot(shots / "factors-narrow-dark.png")
    assert factors.page.evaluate(
        "() => { const p = document.querySelector('.wk-panel');"
        " return p.scrollWidth <= p.clientWidth + 1 }"
    )
