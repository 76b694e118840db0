"""An Explorer open in a notebook, with a name for each part of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from tests.browser.conftest import Open
from tests.browser.lab import Notebook
from tests.browser.views import ScatterView, View

#: Four clusters by k-means, of which the store has kept the result.
EXPLORER = """
import widgetkit as wk
session = wk.Session(wk.open({store!r}))
session.cluster("kmeans", k=4)
session.wait()
ex = wk.explore(session)
ex
""".strip()
_CHART = "([s, n]) => document.querySelectorAll(s)[n].data.map(t => Array.from(t.x))"


class ExplorerPage:
    """Reads the page; what it should say is asked from the kernel (``ex`` there)."""

    def __init__(self, notebook: Notebook, number: int = 0, name: str = "ex") -> None:
        self.notebook = notebook
        self.page = notebook.page
        self.number = number
        self.name = name
        self.scatter = ScatterView(notebook, number, python=f"{name}.scatter")
        self.gallery = View(notebook, "gallery", number)
        self.maps = View(notebook, "maps", number)
        self.chart = self.page.locator(".js-plotly-plot").nth(number)
        self.n = int(notebook.value(f"len({name}.session.store)"))
        for view in (self.scatter, self.gallery, self.maps):
            view.drawn()
        self.chart.wait_for()

    @classmethod
    def open(cls, open_notebook: Open, store: Path, **options: Any) -> Self:
        cells = [EXPLORER.format(store=str(store))]
        return cls(open_notebook(cells, **{"height": 1700, **options}))

    def fresh(self) -> None:
        """Nothing selected, nothing to undo, all points shown, the lasso in hand."""
        self.notebook.python(
            f"{self.name}.session.clear()\n{self.name}.scatter.tool = 'lasso'\n"
            f"{self.name}.scatter._camera = []\n{self.name}.maps.brush = {{}}"
        )
        self.settled()

    @property
    def revision(self) -> int:
        return int(self.notebook.value(f"{self.name}.session.selection.revision"))

    def settled(self) -> None:
        """Until every view shows the selection that the session has now."""
        self.notebook.wait_idle()
        revision = self.revision
        for view in (self.scatter, self.gallery, self.maps):
            view.at_revision(revision)

    def changed(self, before: int) -> None:
        """Until the session's selection is not that of revision ``before`` any more, everywhere."""
        self.scatter.until("(e, r) => Number(e.dataset.revision) !== r", before)
        self.settled()

    def selected(self) -> list[int]:
        rows: list[int] = self.notebook.value(f"{self.name}.session.selection.rows.tolist()")
        return rows

    def gallery_rows(self) -> list[int]:
        """Tile numbers of the thumbnails in the page."""
        thumbs = self.gallery.root.locator(".wk-thumb")
        rows: list[int] = thumbs.evaluate_all("all => all.map(e => Number(e.dataset.row))")
        return rows

    def bars(self) -> list[list[float]]:
        """Lengths of the bars that plotly draws: of the selection, of the rest."""
        found: list[list[float]] = self.page.evaluate(_CHART, [".js-plotly-plot", self.number])
        return found

    def summary_text(self) -> str:
        panel = self.page.locator(".wk-panel .wk-panel").first
        return " ".join(panel.inner_text().split())
