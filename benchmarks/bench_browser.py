"""The scatter in a real JupyterLab beside a plotly FigureWidget: time, bytes on the wire, memory.

    python benchmarks/bench_browser.py                 100,000 and 1,000,000 points
    python benchmarks/bench_browser.py --quick         20,000 points

Each case has a browser of its own. The lasso is a real mouse on the same outline. Up = browser to
kernel. "first pixels" is from running the cell (everything imported before) to two frames after
the first draw. Memory is the browser's processes (PSS) over the same page with an empty notebook.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.browser.lab import Lab, Notebook, chromium

DATA = """
import time, numpy as np
rng = np.random.default_rng(0)
N = {n}
xy = rng.uniform(-1, 1, (N, 2)).astype(np.float32)
labels = rng.integers(0, 8, N).astype(np.int32)
HEARD = []
"""
OURS_SETUP = (
    DATA
    + """
import pandas as pd, tempfile, os
import widgetkit as wk
folder = os.path.join(tempfile.mkdtemp(), "points.wk")
store = wk.import_features(xy, out=folder, progress=False)
from benchmarks.sessions import session_of
session = session_of(store, xy, labels)
import widgetkit.widgets.scatter
session.observe("selection", lambda *_: HEARD.append((time.time() * 1000, session.selection.count)))
"""
)
OURS_VIEW = "view = wk.Scatter(session); view"
PLOTLY_SETUP = DATA + "import plotly.graph_objects as go\n_ = go.FigureWidget()"
PLOTLY_VIEW = """
fig = go.FigureWidget(
    data=[go.Scattergl(x=xy[:, 0], y=xy[:, 1], mode="markers", marker=dict(size=3, color=labels))],
    layout=dict(width=700, height=700, dragmode="lasso"),
)
fig._config = {"showSendToCloud": False}
fig.data[0].on_selection(lambda t, p, s: HEARD.append((time.time() * 1000, len(p.point_inds))))
fig
"""
CASES = {
    "ours": (OURS_SETUP, OURS_VIEW, ".wk-scatter", "e => Number(e.dataset.drawn || 0) > 0"),
    "plotly": (
        PLOTLY_SETUP,
        PLOTLY_VIEW,
        ".js-plotly-plot",
        "e => !!(e._fullData && e._fullData.length && e.querySelector('canvas'))",
    ),
}
FIRST_PIXELS = """async ([selector, ready]) => {
  const test = eval(ready);
  const frame = () => new Promise(r => requestAnimationFrame(r));
  for (;;) {
    const e = document.querySelector(selector);
    if (e && test(e)) break;
    await frame();
  }
  await frame(); await frame();
  // software WebGL draws when pixels are asked for
  for (const c of document.querySelectorAll(selector + ' canvas')) {
    const gl = c.getContext('webgl2') || c.getContext('webgl');
    if (gl) gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
  }
  return performance.timeOrigin + performance.now();
}"""


class Wire:
    """Bytes over the page's web sockets since the last :meth:`take`."""

    def __init__(self, page: Any) -> None:
        self.up = self.down = 0
        page.on("websocket", self._follow)

    def _follow(self, socket: Any) -> None:
        def count(name: str) -> Any:
            def add(payload: str | bytes) -> None:
                setattr(self, name, getattr(self, name) + len(payload))

            return add

        socket.on("framesent", count("up"))
        socket.on("framereceived", count("down"))

    def take(self) -> tuple[int, int]:
        found = (self.up, self.down)
        self.up = self.down = 0
        return found


def browser_memory() -> float:
    """Proportional set size of this process's Chromium, in MB."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        try:
            if "chrom" in process.name():
                total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total / 1e6


def run_cell(notebook: Notebook) -> None:
    notebook.page.evaluate(
        "() => { window.jupyterapp.commands.execute('notebook:run-cell-and-select-next') }"
    )


def lasso(notebook: Notebook, selector: str, moves: int, pause: int) -> float:
    """A circle of about a fifth of the area; the time of the mouse-up in the browser's clock, ms."""
    page = notebook.page
    page.evaluate(
        "() => { window.UP = 0; window.addEventListener('pointerup',"
        " () => { window.UP = performance.timeOrigin + performance.now() }, {capture: true, once: true}) }"
    )
    box = page.locator(selector).last.bounding_box()
    cx, cy = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    r = 0.25 * min(box["width"], box["height"])
    page.mouse.move(cx + r, cy)
    page.mouse.down()
    for i in range(1, moves + 1):
        angle = 2 * math.pi * i / (moves + 1)
        page.mouse.move(cx + r * math.cos(angle), cy + r * math.sin(angle))
        page.wait_for_timeout(pause)
    page.mouse.up()
    return float(page.evaluate("() => window.UP"))


def measure(case: str, n: int, folder: Path, lassos: int, limit: float) -> dict[str, float]:
    setup, view, selector, ready = CASES[case]
    surface = {"ours": ".wk-scatter canvas", "plotly": ".js-plotly-plot .nsewdrag"}[case]
    found: dict[str, float] = {}
    repository = str(Path(__file__).resolve().parent.parent)
    with (
        Lab(folder / f"{case}-{n}", env={"PYTHONPATH": repository}) as lab,
        chromium() as browser,
    ):
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(limit * 1000)
        wire = Wire(page)
        notebook = Notebook(
            page, lab, lab.notebook("bench.ipynb", [setup.format(n=n), view])
        ).open()
        run_cell(notebook)
        page.wait_for_timeout(1500)
        notebook.wait_idle()
        found["empty_mb"] = browser_memory()
        wire.take()
        start = page.evaluate("() => performance.timeOrigin + performance.now()")
        run_cell(notebook)
        end = page.evaluate(FIRST_PIXELS, [selector, ready])
        found["first_pixels_ms"] = end - start
        notebook.wait_idle()
        page.wait_for_timeout(1000)
        found["open_up"], found["open_down"] = wire.take()
        found["memory_mb"] = browser_memory() - found["empty_mb"]
        page.locator(surface).last.scroll_into_view_if_needed()
        times, ups, downs, chosen = [], [], [], []
        for i in range(lassos):
            wire.take()
            up = lasso(notebook, surface, moves=24 if case == "ours" else 8, pause=10)
            heard: list[Any] = []
            for _ in range(int(limit * 4)):
                page.wait_for_timeout(250)
                heard = notebook.value("HEARD")
                if heard:
                    break
            page.wait_for_timeout(1500)
            sent, got = wire.take()
            if not heard:
                print(f"  {case} {n}: lasso {i + 1} never reached Python in {limit:.0f} s")
                break
            # asking for HEARD costs bytes as well: measured apart and taken off
            notebook.value("HEARD")
            page.wait_for_timeout(300)
            asked_up, asked_down = wire.take()
            times.append(heard[-1][0] - up)
            chosen.append(heard[-1][1])
            ups.append(sent - asked_up)
            downs.append(got - asked_down)
            notebook.python("HEARD.clear()")
            page.wait_for_timeout(500)
        if times:
            found["lasso_ms"] = statistics.median(times)
            found["lasso_up"] = max(0, statistics.median(ups))
            found["lasso_down"] = max(0, statistics.median(downs))
            found["selected"] = statistics.median(chosen)
        found["memory_after_mb"] = browser_memory() - found["empty_mb"]
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--points", type=int, nargs="+", default=[100_000, 1_000_000])
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--lassos", type=int, default=3)
    arguments.add_argument(
        "--limit", type=float, default=120.0, help="seconds to wait for a callback"
    )
    arguments.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    arguments.add_argument("--out", type=Path)
    options = arguments.parse_args()
    results: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for n in [0, *([20_000] if options.quick else options.points)]:
            results[str(n)] = {}
            for case in options.cases if n else ["ours"]:
                lassos = options.lassos if n else 0
                results[str(n)][case] = measure(case, n, Path(folder), lassos, options.limit)
                print(
                    n, case, {k: round(v, 1) for k, v in results[str(n)][case].items()}, flush=True
                )
            pair = results[str(n)]
            if {"ours", "plotly"} <= pair.keys():
                for key in (
                    "first_pixels_ms",
                    "lasso_ms",
                    "lasso_up",
                    "lasso_down",
                    "open_down",
                    "memory_mb",
                ):
                    if pair["ours"].get(key) and pair["plotly"].get(key):
                        print(
                            f"  {key}: plotly / ours = {pair['plotly'][key] / pair['ours'][key]:.1f}"
                        )
    if options.out:
        options.out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
