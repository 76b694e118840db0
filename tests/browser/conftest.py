"""One JupyterLab and one Chromium for all browser tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.browser.lab import Lab, Notebook, chromium, find_chromium


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    if find_chromium() is None:
        reason = "no Chromium on the PATH (Debian: apt-get install chromium)"
        if os.environ.get("WIDGETKIT_REQUIRE_BROWSER"):
            pytest.fail(f"{reason}, and WIDGETKIT_REQUIRE_BROWSER is set")
        pytest.skip(reason)
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def lab(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    # raised errors in callbacks are kept by the views; see View.errors
    with Lab(tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture
def open_notebook(
    browser: Any, lab: Lab, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Notebook]]:
    """``open_notebook([cell, ...])`` -> the notebook, open, its cells run."""
    contexts = []

    def start(
        cells: Sequence[str],
        *,
        run: bool = True,
        width: int = 1500,
        height: int = 1100,
        **options: Any,
    ) -> Notebook:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        safe = "".join(c if c.isalnum() else "-" for c in request.node.name)
        notebook = Notebook(
            context.new_page(), lab, lab.notebook(f"{safe}-{len(contexts)}.ipynb", cells)
        ).open()
        if run:
            notebook.run_all()
        return notebook

    yield start
    for context in contexts:
        context.close()


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Where screenshots go: WIDGETKIT_SHOTS, to look at them, or the test's own folder."""
    return Path(os.environ.get("WIDGETKIT_SHOTS", tmp_path))
