"""The scatter without WebGL and canvas, drawn by plotly; and that nothing leaves the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from tests.browser.lab import Open
from tests.browser.views import CHARTS_FIT, PATIENCE_MS, drag

CELL = """
import widgetkit as wk
session = wk.Session(wk.open({store!r}))
session.cluster("kmeans", k=4)
session.wait()
view = wk.PlotlyScatter(session)
view
""".strip()


def test_lasso_and_nothing_leaves_the_page(
    open_notebook: Open, planted_store: Path, shots: Path
) -> None:
    asked: list[str] = []

    def listen(page: Any) -> None:
        page.on("request", lambda request: asked.append(request.url))

    notebook = open_notebook([CELL.format(store=str(planted_store))], before=listen)
    page = notebook.page
    plot = page.locator(".js-plotly-plot")
    plot.locator(".nsewdrag").wait_for(state="attached", timeout=PATIENCE_MS)
    page.wait_for_function(CHARTS_FIT, timeout=PATIENCE_MS)
    plot.scroll_into_view_if_needed()
    area = plot.locator(".nsewdrag").bounding_box()

    # where plotly draws each tile, in pixels of the window
    xy = np.array(notebook.value("session.projection.xy.tolist()"))
    axes = page.evaluate(
        "() => { const l = document.querySelector('.js-plotly-plot')._fullLayout;"
        " return [[l.xaxis.range, l.xaxis._length], [l.yaxis.range, l.yaxis._length]] }"
    )
    (x0, x1), width = axes[0]
    (y0, y1), height = axes[1]
    places = np.column_stack(
        [
            area["x"] + (xy[:, 0] - x0) / (x1 - x0) * width,
            area["y"] + (y1 - xy[:, 1]) / (y1 - y0) * height,
        ]
    )
    middle = places[notebook.value("session.clustering.mask(1).nonzero()[0].tolist()")].mean(axis=0)
    turn = np.linspace(0, 2 * np.pi, 30)
    path = middle + 60 * np.column_stack([np.cos(turn), np.sin(turn)])
    near = np.linalg.norm(places - middle, axis=1)
    drag(page, path)
    notebook.wait_value("session.selection.count > 0", True)
    chosen = np.zeros(len(xy), dtype=bool)
    chosen[notebook.value("session.selection.rows.tolist()")] = True
    assert chosen[near < 55].all() and not chosen[near > 65].any() and chosen.any()
    notebook.screenshot(shots / "plotly.png")

    buttons = plot.locator(".modebar-btn").evaluate_all(
        "all => all.map(b => b.getAttribute('data-title') || b.getAttribute('data-attr') || '')"
    )
    assert buttons
    assert not [b for b in buttons if any(w in b.lower() for w in ("share", "cloud", "studio"))]
    assert not plot.locator("a[href*='plotly.com'], a[href*='chart-studio']").count()

    elsewhere = [
        url
        for url in asked
        if urlsplit(url).scheme not in ("data", "blob") and urlsplit(url).hostname != "127.0.0.1"
    ]
    assert elsewhere == []
