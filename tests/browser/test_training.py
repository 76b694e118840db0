"""Training in JupyterLab: the chart grows while the notebook is free, stops, and stays after a reload."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import notebooks
from tests.browser.lab import Lab, Notebook
from tests.browser.views import CHARTS_FIT, PATIENCE_MS

OPEN = """
import time, numpy as np, widgetkit as wk
from tests.deep_clustering.planted import planted
from widgetkit.deep_clustering import ConvAutoencoder, DeepClustering
images, truth = planted()
many = np.concatenate([images] * 8)  # some epochs a second
def network(seed=0):
    return ConvAutoencoder((16, 16), channels=(4, 8), latent=4, seed=seed, device="cpu")
view = wk.train(network(), many, epochs=100_000, batch_size=4, patience=None)
""".strip()


class TrainingPage:
    """A training view on the page."""

    def __init__(self, notebook: Notebook) -> None:
        self.notebook, self.page = notebook, notebook.page
        self.panel = self.page.locator(".wk-panel").first
        self.plot = self.panel.locator(".js-plotly-plot")

    def press(self, text: str) -> None:
        self.panel.get_by_role("button", name=text, exact=True).click()

    def epochs(self) -> int:
        """Epochs that the page's chart shows."""
        return int(
            self.page.evaluate(
                "() => document.querySelector('.wk-panel .js-plotly-plot')?.data[0].x.length ?? 0"
            )
        )

    def until_epochs(self, least: int) -> int:
        self.page.wait_for_function(
            "least => (document.querySelector('.wk-panel .js-plotly-plot')?.data[0].x.length ?? 0)"
            " >= least",
            arg=least,
            timeout=PATIENCE_MS,
        )
        return self.epochs()

    def until_said(self, words: str) -> None:
        self.page.wait_for_function(
            "words => document.querySelector('.wk-panel [role=status]')?.textContent.includes(words)",
            arg=words,
            timeout=PATIENCE_MS,
        )

    def charted(self) -> None:
        self.plot.first.wait_for(timeout=PATIENCE_MS)
        self.page.wait_for_function(CHARTS_FIT, timeout=PATIENCE_MS)

    def errors(self) -> list[str]:
        strips = self.page.locator(".wk-error:visible")
        return [text for text in strips.all_inner_texts() if text.strip()]


@pytest.fixture(scope="module")
def opened(browser: Any, lab: Lab) -> Iterator[TrainingPage]:
    with notebooks(browser, lab, "training") as start:
        yield TrainingPage(start([OPEN, "view"]))


@pytest.fixture
def training(opened: TrainingPage) -> Iterator[TrainingPage]:
    yield opened
    assert opened.notebook.page_errors() == []
    assert opened.errors() == []


def test_the_chart_grows_beside_the_notebook_and_stops(training: TrainingPage, shots: Path) -> None:
    """In one piece: each step needs the training of the one before."""
    notebook = training.notebook
    first = training.until_epochs(2)
    training.charted()
    assert training.until_epochs(first + 1) > first
    assert notebook.value("view.status") == "running"  # the kernel answers meanwhile
    training.panel.get_by_label("Loss").select_option("logarithmic")
    training.page.wait_for_function(
        "() => document.querySelector('.wk-panel .js-plotly-plot').layout.yaxis.type === 'log'",
        timeout=PATIENCE_MS,
    )
    notebook.screenshot(shots / "training-running.png")

    # a page that comes while it runs
    notebook.save()
    notebook.reload()
    seen = training.until_epochs(2)
    training.until_epochs(seen + 1)

    training.press("Stop and keep the best")
    training.until_said("stopped after")
    training.panel.get_by_role("button", name="Cancel").wait_for(state="hidden")
    notebook.wait_value("view.status", "stopped")
    epochs = notebook.value("len(view.history)")
    training.until_epochs(epochs)
    assert notebook.value("view.result.best_epoch_") == notebook.value(
        "1 + int(np.argmin([e['validation'] for e in view.history]))"
    )
    assert notebook.value("view.result.encode(images).shape") == [48, 4]

    def shown() -> dict[str, Any]:
        return {
            "words": training.panel.locator("[role=status]").inner_text(),
            "lines": training.page.evaluate(
                "() => document.querySelector('.wk-panel .js-plotly-plot').data"
                ".map(t => [t.name, Array.from(t.x), Array.from(t.y)])"
            ),
            "legend": training.plot.locator(".legendtext").all_text_contents(),
            "scale": training.panel.get_by_label("Loss").input_value(),
            "axis": training.page.evaluate(
                "() => document.querySelector('.wk-panel .js-plotly-plot').layout.yaxis.type"
            ),
        }

    before = shown()
    assert (
        before["legend"][:2] == ["training", "validation"] and "best: epoch" in before["legend"][2]
    )
    assert before["axis"] == "log"
    notebook.screenshot(shots / "training-stopped.png")
    notebook.save()
    notebook.reload()
    training.charted()
    assert shown() == before
    notebook.screenshot(shots / "training-reloaded.png")
