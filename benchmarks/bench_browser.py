"""The scatter in a real JupyterLab beside a plotly FigureWidget: time, bytes on the wire, memory.

    python benchmarks/bench_browser.py                 100,000 and 1,000,000 points
    python benchmarks/bench_browser.py --quick         20,000 points
    python benchmarks/bench_browser.py --views --points        bytes of opening each view, no data

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
import time
from dataclasses import dataclass
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
def heard(count, now=None):
    now = time.time() if now is None else now
    with open({heard!r}, "a") as out:
        out.write(f"{{now * 1000}} {{count}}\\n")
"""
OURS_SETUP = (
    DATA
    + """
import os, tempfile
import widgetkit as wk
from benchmarks.sessions import session_of
store = wk.import_features(xy, out=os.path.join(tempfile.mkdtemp(), "points.wk"))
session = session_of(store, xy, labels)
wk.Scatter, wk.Gallery, wk.MapViewer, wk.ClusterPanel, wk.SelectionSummary
session.observe("selection", lambda selection: heard(selection.count, time.time()))
"""
)
OURS_VIEW = "view = wk.{view}(session); view"
PLOTLY_SETUP = DATA + "import plotly.graph_objects as go\n_ = go.FigureWidget()"
PLOTLY_VIEW = """
fig = go.FigureWidget(
    data=[go.Scattergl(x=xy[:, 0], y=xy[:, 1], mode="markers", marker=dict(size=3, color=labels))],
    layout=dict(width=700, height=700, dragmode="lasso"),
)
fig.data[0].on_selection(lambda trace, points, _: heard(len(points.point_inds)))
fig
"""
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
    else if (c.width && c.height) c.getContext('2d').getImageData(0, 0, 1, 1);
  }
  return performance.timeOrigin + performance.now();
}"""


@dataclass(frozen=True)
class Case:
    """What is run in the kernel, and how the page shows that it is there."""

    setup: str
    view: str
    selector: str
    ready: str
    surface: str  # what the mouse drags on
    moves: int  # of a lasso; plotly selects anew at each, so it gets few


def _ours(view: str, name: str) -> Case:
    ready = "e => Number(e.dataset.drawn || 1) > 0"
    return Case(
        OURS_SETUP, OURS_VIEW.format(view=view), f".wk-{name}", ready, f".wk-{name} canvas", 24
    )


CASES = {
    "ours": _ours("Scatter", "scatter"),
    "plotly": Case(
        PLOTLY_SETUP,
        PLOTLY_VIEW,
        ".js-plotly-plot",
        "e => !!(e._fullData && e._fullData.length && e.querySelector('canvas'))",
        ".js-plotly-plot .nsewdrag",
        8,
    ),
}


class Wire:
    """Bytes over the page's web sockets since the last :meth:`take`."""

    def __init__(self, page: Any) -> None:
        self.up = self.down = 0
        page.on("websocket", self._follow)  # of kernels only: Lab has one of its own for events

    def _follow(self, socket: Any) -> None:
        if "/channels" not in socket.url:
            return

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


def browser_memory(page: Any) -> float:
    """Proportional set size of this process's Chromium, in MB: the least of ten readings,
    two seconds apart, each after Chromium was told to let go of what it can."""
    session = page.context.new_cdp_session(page)
    readings = []
    for _ in range(10):
        session.send("HeapProfiler.collectGarbage")
        session.send("Memory.simulatePressureNotification", {"level": "critical"})
        page.wait_for_timeout(2000)
        readings.append(_resident())
    session.detach()
    return min(readings)


def _resident() -> float:
    total = 0
    for process in psutil.Process().children(recursive=True):
        try:
            if "chrom" in process.name():
                total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total / 1e6


def settle(page: Any, wire: Wire, most_s: float = 60.0) -> None:
    """Wait until nothing has crossed for two seconds."""
    quiet = 0
    for _ in range(int(most_s * 4)):
        before = wire.up + wire.down
        page.wait_for_timeout(250)
        quiet = quiet + 1 if wire.up + wire.down == before else 0
        if quiet >= 8:
            return


def run_cell(notebook: Notebook) -> None:
    """Run the selected cell, without waiting for it."""
    notebook.page.evaluate(
        "() => { window.jupyterapp.commands.execute('notebook:run-cell-and-select-next') }"
    )


def lasso(notebook: Notebook, selector: str, moves: int, share: float) -> float:
    """Circle so large a share of uniform points; when the mouse-up reached the page, ms.

    A drag that begins on an old outline edits that one in plotly: let the share grow.
    """
    page = notebook.page
    page.evaluate(
        "() => { window.UP = 0; window.addEventListener('pointerup',"
        " () => { window.UP = performance.timeOrigin + performance.now() }, {capture: true, once: true}) }"
    )
    box = page.locator(selector).last.bounding_box()
    cx, cy = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    if "plotly" in selector:  # fills the axes, but for a margin of about 5 % a side
        wide, high = 0.9 * box["width"], 0.9 * box["height"]
    else:  # one scale for both axes, 16 pixels of margin
        wide = high = min(box["width"], box["height"]) - 32
    rx, ry = (math.sqrt(share / math.pi) * side for side in (wide, high))
    page.mouse.move(cx + rx, cy)
    page.mouse.down()
    for i in range(1, moves + 1):
        angle = 2 * math.pi * i / (moves + 1)
        page.mouse.move(cx + rx * math.cos(angle), cy + ry * math.sin(angle))
        page.wait_for_timeout(10)
    page.mouse.up()
    return float(page.evaluate("() => window.UP"))


def wait_lines(page: Any, path: Path, count: int, limit: float) -> list[list[float]] | None:
    """What the kernel has written of its callbacks, once there are so many; None in vain.

    By a file, so that asking costs nothing on the wire.
    """
    end = time.monotonic() + limit
    while time.monotonic() < end:
        page.wait_for_timeout(100)
        lines = path.read_text().splitlines() if path.exists() else []
        if len(lines) >= count:
            return [[float(word) for word in line.split()] for line in lines]
    return None


def measure(
    case: Case, n: int, folder: Path, lassos: int, limit: float, share: float
) -> dict[str, float]:
    found: dict[str, float] = {}
    repository = str(Path(__file__).resolve().parent.parent)
    log = folder / "heard.txt"
    with Lab(folder, env={"PYTHONPATH": repository}) as lab, chromium() as browser:
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(limit * 1000)
        wire = Wire(page)
        notebook = Notebook(page, lab, lab.notebook("bench.ipynb", [case.view])).open()
        notebook.python(case.setup.format(n=n, heard=str(log)))
        settle(page, wire)
        empty = browser_memory(page)
        wire.take()
        start = page.evaluate("() => performance.timeOrigin + performance.now()")
        run_cell(notebook)
        found["first_pixels_ms"] = page.evaluate(FIRST_PIXELS, [case.selector, case.ready]) - start
        settle(page, wire)
        found["open_up"], found["open_down"] = wire.take()
        found["memory_mb"] = browser_memory(page) - empty
        if not lassos:
            return found
        page.locator(case.surface).last.scroll_into_view_if_needed()
        times, ups, downs = [], [], []
        for i in range(lassos):
            wire.take()
            up = lasso(notebook, case.surface, case.moves, share + 0.02 * i)
            lines = wait_lines(page, log, i + 1, limit)
            if lines is None:
                found["never_s"] = limit
                found["lasso_up"], found["lasso_down"] = wire.take()
                return found
            settle(page, wire)
            sent, got = wire.take()
            when, found["selected"] = lines[-1]
            times.append(when - up)
            ups.append(sent)
            downs.append(got)
        found["lasso_ms"] = statistics.median(times)
        found["lasso_least_ms"], found["lasso_most_ms"] = min(times), max(times)
        found["lasso_up"], found["lasso_down"] = statistics.median(ups), statistics.median(downs)
        found["memory_after_mb"] = browser_memory(page) - empty
    return found


RATIOS = ("first_pixels_ms", "lasso_ms", "lasso_up", "lasso_down", "open_down", "memory_mb")
#: Views and their names on the page, for the bytes of opening one on two tiles.
VIEWS = {
    "Scatter": "scatter",
    "Gallery": "gallery",
    "MapViewer": "maps",
    "ClusterPanel": "clusters",
    "SelectionSummary": "summary",
}


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--points", type=int, nargs="*", default=[100_000, 1_000_000])
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--lassos", type=int, default=5)
    arguments.add_argument(
        "--limit", type=float, default=150.0, help="seconds to wait for a callback"
    )
    arguments.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    arguments.add_argument("--views", action="store_true", help="bytes of opening each view")
    arguments.add_argument("--out", type=Path)
    options = arguments.parse_args()
    results: dict[str, dict[str, dict[str, float]]] = {}

    # More than 222,000 selected points are more than the 10 MB after which Jupyter closes plotly's
    # connection, so a million gets a smaller circle, in both cases.
    def run(group: str, name: str, case: Case, n: int, lassos: int) -> None:
        share = 0.12 if n > 500_000 else 0.16
        with tempfile.TemporaryDirectory() as folder:
            found = measure(case, n, Path(folder), lassos, options.limit, share)
        results.setdefault(group, {})[name] = found
        print(group, name, {k: round(v, 1) for k, v in found.items()}, flush=True)

    if options.views:
        for view, name in VIEWS.items():
            run("no data", view, _ours(view, name), 2, 0)
    for n in [20_000] if options.quick else options.points:
        for name in options.cases:
            # one of plotly's at a million takes half a minute
            few = name == "plotly" and n > 500_000
            run(str(n), name, CASES[name], n, 1 if few else options.lassos)
        pair = results[str(n)]
        if {"ours", "plotly"} <= pair.keys():
            for key in RATIOS:
                if pair["ours"].get(key) and pair["plotly"].get(key):
                    ratio = pair["plotly"][key] / pair["ours"][key]
                    print(f"  {key}: plotly / ours = {ratio:.1f}")
    if options.out:
        options.out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
