"""How many clusters, in JupyterLab: Compare, the chart and the table, Use, and a page reload."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import notebooks
from tests.browser.lab import Lab, Notebook
from tests.browser.views import CHARTS_FIT, PATIENCE_MS
from tests.clinical import clinical_store

OPEN = """
import widgetkit as wk
session = wk.Session(wk.open({store!r}))
session.cluster("kmeans", 5)
session.wait()
view = wk.ClusterChoiceView(session)
""".strip()


class ChoicePage:
    """The view on the page."""

    def __init__(self, notebook: Notebook) -> None:
        self.notebook, self.page = notebook, notebook.page
        self.panel = self.page.locator(".wk-panel").first
        self.plots = self.panel.locator(".js-plotly-plot")

    def press(self, text: str) -> None:
        self.panel.get_by_role("button", name=text, exact=True).click()

    def charted(self) -> None:
        self.page.wait_for_function(
            "() => document.querySelectorAll('.wk-panel .js-plotly-plot').length === 1",
            timeout=PATIENCE_MS,
        )
        self.page.wait_for_function(CHARTS_FIT, timeout=PATIENCE_MS)

    def drawn(self) -> list[list[float]]:
        """What each line of the chart shows along x."""
        found: list[list[float]] = self.page.evaluate(
            "() => document.querySelector('.wk-panel .js-plotly-plot').data"
            ".filter(line => line.x && line.x.length > 1).map(line => [...line.x])"
        )
        return found


@pytest.fixture(scope="module")
def shown(browser: Any, lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChoicePage]:
    path = tmp_path_factory.mktemp("choice") / "s.wk"
    clinical_store(path)
    with notebooks(browser, lab, "choice") as start:
        notebook = start([OPEN.format(store=str(path)), "view"], height=1100)
        yield ChoicePage(notebook)
        assert notebook.page_errors() == []


def test_compare_then_use(shown: ChoicePage, shots: Path) -> None:
    notebook = shown.notebook
    shown.panel.get_by_text("Press Compare").wait_for(timeout=PATIENCE_MS)
    assert shown.plots.count() == 0
    shown.panel.get_by_label("Up to").fill("6")
    shown.panel.get_by_label("Up to").press("Tab")
    shown.press("Compare")
    shown.charted()
    compared = notebook.value("view.choice.table['k'].tolist()")
    assert compared == [1, 2, 3, 4, 5, 6]  # one cluster, too: the gap statistic is against it
    lines = shown.drawn()
    assert lines.count(compared) == 5 and lines[0] == [1, 6]  # and the straight line of the elbow
    recommended = notebook.value("view.choice.recommended")
    text = shown.panel.inner_text()
    assert f"{recommended} (recommended)" in text
    assert notebook.value("view.choice.explain().split(chr(10))[0]") in text
    assert shown.panel.locator("tbody tr").count() == len(compared)
    notebook.screenshot(shots / "cluster-choice.png")

    assert notebook.value("session.clustering.k") == 5
    shown.panel.get_by_label("Clusters").select_option(
        "3" if recommended != 3 else "3 (recommended)"
    )
    shown.press("Use")
    notebook.wait_value("session.clustering.k", 3)
    notebook.python("session.undo()")
    assert notebook.value("session.clustering.k") == 5


def test_a_reload_keeps_it(shown: ChoicePage, shots: Path) -> None:
    shown.charted()
    before = shown.drawn()
    shown.notebook.save()
    shown.notebook.reload()
    shown.charted()
    assert shown.drawn() == before
    assert shown.panel.locator("tbody tr").count() == 6
    shown.press("Use")  # the reloaded view still acts
    shown.notebook.wait_value("session.clustering.k", 3)
    shown.notebook.screenshot(shots / "cluster-choice-reloaded.png")
