"""The concept panel over the semi-synthetic lesions: it follows a lasso, shows the card, finds the shortcut."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.browser.conftest import notebooks
from tests.browser.lab import Lab, Notebook
from tests.browser.views import CHARTS_FIT, PATIENCE_MS, ScatterView
from tests.lesions import LINE, METASTASIS, lesion_session, lesion_store
from tests.stores import HOSTILE

OPEN = """
import ipywidgets
import widgetkit as wk
from tests.lesions import lesion_session
session = lesion_session(wk.open({store!r}))
BEGUN = session.concepts
scatter = wk.Scatter(session, height=380)
panel = wk.ConceptPanel(session, phases=("arterial", "portal venous", "delayed"))
session.wait()
""".strip()
SHOW = "ipywidgets.VBox([scatter, panel])"
_PLOT = "document.querySelectorAll('.wk-panel .js-plotly-plot')[0]"
BARS = f"() => Array.from({_PLOT}.data[0].x)"
METASTASES = f"(panel.reading.predicted == panel.reading.classes.index({METASTASIS!r}))"


class ConceptPage:
    """The panel on the page."""

    def __init__(self, notebook: Notebook) -> None:
        self.notebook, self.page = notebook, notebook.page
        self.scatter = ScatterView(notebook, python="scatter").drawn()
        self.panel = self.page.locator(".wk-panel").first
        self.plots = self.panel.locator(".js-plotly-plot")

    def ask(self, question: str, charts: int) -> None:
        self.panel.get_by_role("button", name=question, exact=True).click()
        self.charted(charts)

    def charted(self, count: int = 1) -> None:
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

    def until_bars(self, wanted: list[float]) -> None:
        """Until the bars of the selection have these lengths."""
        self.page.wait_for_function(
            f"w => {{ const x = Array.from({_PLOT}?.data?.[0].x || []);"
            " return x.length === w.length && x.every((v, i) => Math.abs(v - w[i]) < 1e-4) }",
            arg=wanted,
            timeout=PATIENCE_MS,
        )

    def click_bar(self, number: int) -> None:
        bar = self.plots.first.locator(".barlayer .trace").first.locator(".point path").nth(number)
        bar.scroll_into_view_if_needed()
        box = bar.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.page.mouse.move(x - 2, y)
        self.page.mouse.move(x, y)
        self.page.mouse.click(x, y)

    def relevance(self) -> list[float]:
        """What the kernel says the bars should be."""
        found: list[float] = self.notebook.value(
            "[float(v) for v in panel.parts['concepts'].frame['relevance_in']]"
        )
        return found

    def errors(self) -> list[str]:
        strips = self.page.locator(".wk-error:visible")
        return [text for text in strips.all_inner_texts() if text.strip()]


@pytest.fixture(scope="module")
def opened(
    browser: Any, lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ConceptPage, list[str]]]:
    store = lesion_store(tmp_path_factory.mktemp("concepts"))
    lesion_session(store).close()
    asked: list[str] = []
    with notebooks(browser, lab, "concepts") as start:
        notebook = start(
            [OPEN.format(store=str(store.path)), SHOW],
            width=1200,
            height=1900,
            before=lambda page: page.on("request", lambda request: asked.append(request.url)),
        )
        yield ConceptPage(notebook), asked


@pytest.fixture
def shown(opened: tuple[ConceptPage, list[str]]) -> Iterator[ConceptPage]:
    page, asked = opened
    page.notebook.python(
        "session.clear(); session.set_focus(None); session.set_concepts(BEGUN)\n"
        "panel.question = 'concepts'\npanel.bar.name.value = ''\nsession.wait()"
    )
    page.charted()
    yield page
    assert page.errors() == []
    assert page.notebook.page_errors() == []
    assert page.page.locator("img[src=x], [onerror]").count() == 0
    elsewhere = [
        url
        for url in asked
        if urlsplit(url).scheme not in ("data", "blob") and urlsplit(url).hostname != "127.0.0.1"
    ]
    assert elsewhere == []


def test_it_opens_with_the_concepts_of_all_tiles(shown: ConceptPage, shots: Path) -> None:
    text = shown.panel.inner_text()
    assert "Semi-synthetic" in text and "All 270 tiles" in text
    shown.until_bars(shown.relevance())
    assert "colorectal metastasis" not in shown.plots.first.inner_text()
    told = shown.page.evaluate(
        "() => [...document.querySelectorAll('.js-plotly-plot')].map(e => e._context)"
        ".map(c => [c.showSendToCloud, c.plotlyServerURL])"
    )
    assert told == [[False, ""]]
    shown.notebook.screenshot(shots / "concepts.png")


def test_a_lasso_changes_the_bars_and_a_click_selects(shown: ConceptPage, shots: Path) -> None:
    before = shown.page.evaluate(BARS)
    shown.scatter.see()
    shown.scatter.lasso(shown.scatter.oval(0.3, 0.5, 0.28, 0.48))
    shown.until_says("selected tiles against the other")
    shown.notebook.wait_idle()
    count = shown.notebook.value("session.selection.count")
    assert 0 < count < 270
    shown.until_says(f"{count} selected tiles against the other {270 - count}.")
    shown.until_bars(shown.relevance())
    assert shown.page.evaluate(BARS) != before
    # the intervals come a moment later, in the same chart
    shown.page.wait_for_function(
        f"() => Array.from({_PLOT}?.data?.[0].error_x?.array || []).some(v => v > 0)",
        timeout=PATIENCE_MS,
    )
    shown.notebook.screenshot(shots / "concepts-selection.png")
    name = shown.notebook.value("panel.parts['concepts'].frame['concept'].iloc[0]")
    shown.click_bar(0)
    shown.notebook.wait_value("panel.concept", name)
    shown.notebook.wait_value(
        "bool((session.selection.mask == panel.reading.identified.present"
        f"[:, panel.reading.names.index({name!r})]).all())",
        True,
    )
    shown.until_bars(shown.relevance())


def test_the_card_of_a_case(shown: ConceptPage, shots: Path) -> None:
    shown.notebook.python("session.set_focus(12)")
    shown.ask("Case", 2)
    shown.until_says("Tile 12: predicted colorectal metastasis")
    assert "Semi-synthetic" in shown.panel.inner_text()
    pictures = shown.panel.locator("figure img")
    alts = pictures.evaluate_all("all => all.map(e => e.alt)")
    assert alts[:3] == [f"{name} of tile 12" for name in ("arterial", "portal venous", "delayed")]
    names = shown.notebook.value("[str(n) for n in panel.parts['case'].frame['concept'][:4]]")
    assert [alt for alt in alts if alt.startswith("map: ")] == [
        f"map: {name}, tile 12" for name in names
    ]
    assert pictures.evaluate_all("all => all.every(e => e.complete && e.naturalWidth > 0)")
    shown.panel.scroll_into_view_if_needed()
    shown.panel.screenshot(path=str(shots / "concepts-case.png"))
    shown.panel.get_by_role("button", name="Next", exact=True).click()
    shown.until_says("Tile 13: predicted")
    # by keyboard: a question is a button, Tab leads to it
    shown.panel.get_by_role("button", name="Trust", exact=True).focus()
    shown.page.keyboard.press("Enter")
    shown.notebook.wait_value("panel.question", "trust")
    shown.charted(2)


def test_units_trust_and_report(shown: ConceptPage, shots: Path) -> None:
    shown.notebook.python("session.set_focus(12)")
    shown.ask("Units", 1)
    shown.panel.get_by_label("Concept").select_option("enhancing rim")
    shown.page.wait_for_function(
        f"() => ({_PLOT}?.layout.annotations || []).filter(a => a.text.includes('unit')).length === 3",
        timeout=PATIENCE_MS,
    )
    shown.notebook.screenshot(shots / "concepts-units.png")
    shown.ask("Trust", 2)
    wrong = shown.notebook.value("int((panel.reading.judged & ~panel.reading.correct).sum())")
    shown.until_says(f"Of 120 labelled tiles, {wrong} misclassified, none of them learned from.")
    shown.notebook.screenshot(shots / "concepts-trust.png")
    shown.ask("Report", 1)
    shown.panel.get_by_label("Measure").wait_for()
    shown.panel.get_by_label("Measure").select_option("sensitivity")
    shown.page.wait_for_function(
        f"() => {_PLOT}?.layout.xaxis?.title?.text?.includes('sensitivity')", timeout=PATIENCE_MS
    )
    shown.notebook.screenshot(shots / "concepts-report.png")


def test_the_panel_exposes_the_shortcut(shown: ConceptPage, shots: Path) -> None:
    """A hand saves the marked tiles as a concept, reads, and looks at the metastases it is said of."""
    shown.notebook.python("session.select('marked == True')")
    marked = shown.notebook.value("session.selection.count")
    shown.until_says(f"{marked} selected tiles")
    shown.panel.get_by_placeholder("name of a concept").fill(LINE)
    shown.panel.get_by_label("all others lack it").check()
    shown.panel.get_by_role("button", name="Save selection as concept").click()
    shown.until_says("15 concepts have examples and were not read yet")
    shown.panel.get_by_label("Learn from").select_option("split: training")
    shown.panel.get_by_role("button", name="Read", exact=True).click()
    shown.until_says("15 concepts, relevance by projection")
    shown.charted()
    shown.notebook.python(
        f"session.select({METASTASES} & session.store.tiles['marked'].to_numpy(bool))"
    )
    warning = f"'{LINE}' counts towards '{METASTASIS}' though no class shows it"
    shown.until_says(warning)
    shown.notebook.wait_idle()
    shown.until_bars(shown.relevance())
    alerts = shown.panel.locator("[role=alert]").all_inner_texts()
    assert any(warning in text for text in alerts)
    ticks = shown.plots.first.locator(".yaxislayer-above text").all_text_contents()
    assert ticks[0] == f"{LINE} (contradicts)"
    assert shown.notebook.value("panel.parts['concepts'].frame['concept'].iloc[0]") == LINE
    # the network relies on it: of all concepts it counts most for these tiles
    lengths = shown.page.evaluate(BARS)
    assert lengths[0] == max(lengths) and lengths[0] > 0.1
    shown.notebook.screenshot(shots / "concepts-shortcut.png")


def test_a_hostile_name_is_text(shown: ConceptPage, shots: Path) -> None:
    shown.notebook.python("session.select([3, 17, 40, 41])")
    shown.panel.get_by_placeholder("name of a concept").fill(HOSTILE)
    shown.panel.get_by_role("button", name="Save selection as concept").click()
    shown.notebook.wait_value("panel.concept", HOSTILE)
    assert HOSTILE in shown.panel.locator("table.wk-table").first.inner_text()
    shown.panel.get_by_label("Concept").select_option("washout")
    shown.panel.get_by_placeholder("name of a concept").fill(f"$a$ {HOSTILE}")
    shown.panel.get_by_role("button", name="Rename").click()
    shown.notebook.wait_value("panel.concept", f"$a$ {HOSTILE}")
    shown.panel.get_by_role("button", name="Read", exact=True).click()
    shown.until_says("15 concepts, relevance by projection")
    shown.charted()
    assert f"$a$ {HOSTILE}"[:20] in shown.plots.first.inner_text()
    shown.ask("Units", 1)
    shown.until_says("corrected p")
    shown.ask("Report", 1)
    shown.panel.get_by_label("Measure").wait_for()
    assert HOSTILE in shown.panel.locator("table.wk-table").last.inner_text()
    shown.notebook.screenshot(shots / "concepts-hostile.png")


def test_a_reload_keeps_what_was_shown(shown: ConceptPage, shots: Path) -> None:
    notebook = shown.notebook
    notebook.python(f"session.select({METASTASES})\nsession.wait()")
    shown.until_bars(shown.relevance())

    def seen() -> dict[str, Any]:
        return {
            "bars": shown.page.evaluate(BARS),
            "ticks": shown.plots.first.locator(".yaxislayer-above").all_text_contents(),
            "table": shown.panel.locator("table.wk-table").last.inner_text(),
            "concept": shown.panel.get_by_label("Concept").input_value(),
        }

    before = seen()
    notebook.save()
    notebook.reload()
    shown.scatter.drawn()
    shown.charted()
    assert seen() == before
    shown.click_bar(1)
    name = notebook.value("panel.parts['concepts'].frame['concept'].iloc[1]")
    notebook.wait_value("session.selection.how.get('kind')", "concept")
    assert isinstance(name, str)
    notebook.screenshot(shots / "concepts-reloaded.png")


def test_a_narrow_dark_page(shown: ConceptPage, shots: Path) -> None:
    shown.notebook.python(f"session.select({METASTASES})\nsession.set_focus(12)")
    shown.page.set_viewport_size({"width": 760, "height": 1900})
    shown.page.evaluate(
        "() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})"
    )
    shown.page.evaluate("() => window.jupyterapp.commands.execute('application:toggle-left-area')")
    for question, count in (
        ("Concepts", 1),
        ("Units", 1),
        ("Case", 2),
        ("Trust", 2),
        ("Report", 1),
    ):
        shown.ask(question, count)
        shown.panel.scroll_into_view_if_needed()
        assert shown.page.evaluate(
            "() => { const p = document.querySelector('.wk-panel');"
            " return p.scrollWidth <= p.clientWidth + 1 }"
        ), question
        shown.panel.screenshot(path=str(shots / f"concepts-dark-{question.lower()}.png"))
