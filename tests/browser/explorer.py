"""An Explorer open in a notebook, with a name for each part of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from tests.browser.lab import Notebook, Open
from tests.browser.views import PATIENCE_MS, ScatterView, Sockets, View

#: Four clusters by k-means, of which the store has kept the result.
EXPLORER = """
import widgetkit as wk
session = wk.Session(wk.open({store!r}))
session.cluster("kmeans", k=4)
session.wait()
ex = wk.explore(session)
BEGUN = session.state()
ex
""".strip()
#: Without a frame on the web sockets for so long, nothing is on its way.
QUIET_MS = 600
FRESH = """
ex.session.restore(BEGUN)
ex.scatter.set_trait("tool", "lasso")
ex.scatter.set_trait("mode", "replace")
ex.scatter.color_by = "cluster"
ex.scatter._camera = []
ex.gallery._picked = b""
for name in ("brush", "size", "count", "mode", "opacity", "threshold", "palette", "own_scale"):
    ex.maps.set_trait(name, ex.maps.traits()[name].default())
""".strip()
_CHART = "([s, n]) => document.querySelectorAll(s)[n].data.map(t => Array.from(t.x))"


class ExplorerPage:
    """Reads the page; what it should say is asked from the kernel (``ex`` there)."""

    sockets: Sockets

    def __init__(self, notebook: Notebook, number: int = 0, name: str = "ex") -> None:
        self.notebook = notebook
        self.page = notebook.page
        self.number = number
        self.name = name
        self.scatter = ScatterView(notebook, number, python=f"{name}.scatter")
        self.gallery = View(notebook, "gallery", number)
        self.maps = View(notebook, "maps", number)
        self.panel = self.page.locator(".wk-panel:not(.wk-panel .wk-panel)").nth(number)
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
        """As it was opened: nothing selected, first names, all points shown, the lasso in hand."""
        self.page.mouse.move(2, 2)
        self.notebook.python(FRESH)
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

    @contextmanager
    def gesture(self) -> Iterator[None]:
        """What the hand does inside changes the selection: wait until every view shows it."""
        before = self.revision
        yield
        self.scatter.until("(e, r) => Number(e.dataset.revision) !== r", before)
        self.settled()

    def rest(self) -> None:
        """Until nothing is on its way: plotly echoes what it drew when it has drawn it."""
        self.notebook.wait_idle()
        said = -1
        while said != (said := self.sockets.total):
            self.page.wait_for_timeout(QUIET_MS)

    def selected(self) -> list[int]:
        rows: list[int] = self.notebook.value(f"{self.name}.session.selection.rows.tolist()")
        return rows

    def gallery_rows(self) -> list[int]:
        """Tile numbers of the thumbnails in the page."""
        thumbs = self.gallery.root.locator(".wk-thumb")
        rows: list[int] = thumbs.evaluate_all("all => all.map(e => Number(e.dataset.row))")
        return rows

    def thumb(self, place: int) -> Any:
        """The thumbnail at a place of the order."""
        return self.gallery.root.locator(f".wk-thumb[data-index='{place}']")

    def legend(self) -> list[str]:
        """Names in the scatter's legend."""
        names: list[str] = self.scatter.root.locator(".wk-item-name").all_inner_texts()
        return names

    def errors(self) -> list[str]:
        """Words in the error strips that are seen."""
        strips = self.page.locator(".wk-error:visible")
        return [text for text in strips.all_inner_texts() if text.strip()]

    def bars(self) -> list[list[float]]:
        """Lengths of the bars that plotly draws: of the selection, of the rest."""
        found: list[list[float]] = self.page.evaluate(_CHART, [".js-plotly-plot", self.number])
        return found

    def summary_text(self) -> str:
        panel = self.panel.locator(".wk-panel").first
        return " ".join(panel.inner_text().split())

    def until_bars_are_not(self, old: list[list[float]]) -> None:
        """plotly draws on its own time."""
        self.page.wait_for_function(
            "([s, n, old]) => JSON.stringify(document.querySelectorAll(s)[n].data"
            ".map(t => Array.from(t.x))) !== JSON.stringify(old)",
            arg=[".js-plotly-plot", self.number, old],
            timeout=PATIENCE_MS,
        )
