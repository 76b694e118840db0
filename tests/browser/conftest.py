"""One JupyterLab and one Chromium for all browser tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.browser.explorer import ExplorerPage
from tests.browser.lab import Lab, Notebook, Open, chromium, find_chromium
from tests.browser.views import Sockets
from tests.stores import make_store

REPO = Path(__file__).resolve().parent.parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the browser tests, and puts them last.

    While playwright runs there is an event loop in the main thread, in which sessions of other
    tests would find a notebook and start background jobs.
    """
    here = Path(__file__).parent
    ours = [item for item in items if here in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.browser)
    last = set(ours)
    items[:] = [item for item in items if item not in last] + ours


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
    env = {
        "PYTHONPATH": str(REPO),
        "OMP_NUM_THREADS": "1",
        "WIDGETKIT_RAISE": "0",  # as at a user's: errors of callbacks end in the strip
    }
    with Lab(tmp_path_factory.mktemp("lab"), env=env) as server:
        yield server


@contextmanager
def notebooks(browser: Any, lab: Lab, name: str) -> Iterator[Open]:
    """A function that opens notebooks, each in a browser context of its own; all closed at the end."""
    contexts: list[Any] = []
    safe = "".join(c if c.isalnum() else "-" for c in name)

    def start(
        cells: Sequence[str],
        *,
        run: bool = True,
        width: int = 1500,
        height: int = 1100,
        before: Callable[[Any], object] | None = None,
        chromium: Any = None,
        **options: Any,
    ) -> Notebook:
        used = browser if chromium is None else chromium
        context = used.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        if before is not None:
            before(page)
        notebook = Notebook(page, lab, lab.notebook(f"{safe}-{len(contexts)}.ipynb", cells)).open()
        if run:
            notebook.run_all()
        return notebook

    yield start
    for context in contexts:
        context.close()


@pytest.fixture
def open_notebook(browser: Any, lab: Lab, request: pytest.FixtureRequest) -> Iterator[Open]:
    """``open_notebook([cell, ...])`` -> the notebook, open, its cells run.

    ``before`` is called with the page before it goes anywhere; ``chromium`` is another browser.
    """
    with notebooks(browser, lab, request.node.name) as start:
        yield start


@pytest.fixture(scope="session")
def planted_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small store of four planted kinds, with projection and clusters in it.

    The projection is PCA: kernels need not compile UMAP before the first picture.
    """
    from widgetkit.session import Session

    path = tmp_path_factory.mktemp("stores") / "planted.wk"
    session = Session(make_store(path))
    session.project("pca")
    session.cluster("kmeans", k=4)
    session.wait()
    session.close()
    return path


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Where screenshots go: WIDGETKIT_SHOTS, to look at them, or the test's own folder."""
    return Path(os.environ.get("WIDGETKIT_SHOTS", tmp_path))


@pytest.fixture(scope="session")
def shared_explorer(browser: Any, lab: Lab, planted_store: Path) -> Iterator[ExplorerPage]:
    """One Explorer over the planted store for all tests that leave it usable."""
    with notebooks(browser, lab, "explorer") as start:
        sockets: list[Sockets] = []
        opened = ExplorerPage.open(
            start, planted_store, before=lambda page: sockets.append(Sockets(page))
        )
        opened.sockets = sockets[0]
        yield opened


@pytest.fixture
def ex(shared_explorer: ExplorerPage) -> Iterator[ExplorerPage]:
    """The shared Explorer as it was opened; at the end no error may be seen or written."""
    shared_explorer.fresh()
    shared_explorer.notebook.console.clear()
    yield shared_explorer
    assert shared_explorer.errors() == []
    assert shared_explorer.notebook.page_errors() == []
