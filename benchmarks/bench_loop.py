"""Lasso to 64 new tiles with their maps painted, beside the naive stack, in a real JupyterLab.

    python benchmarks/bench_loop.py                  100,000 tiles of (256, 7, 7), 2.5 GB on disk
    python benchmarks/bench_loop.py --quick          10,000 tiles of (64, 7, 7)

Ours: Scatter, Gallery and MapViewer over one store; the clock stops when the map viewer has drawn
the selection's tiles. Naive: plotly FigureWidget, memmap fancy indexing, scikit-learn NMF of the
selection, 64 ipywidgets.Image; the clock stops when all images are decoded. Same outline, warm
(the second and later lassos count). Also: bytes of a change of method, palette, threshold.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))
from benchmarks.bench_browser import Wire, lasso, run_cell
from tests.browser.lab import Lab, Notebook, chromium

SETUP = """
import numpy as np, time
from pathlib import Path
import widgetkit as wk
from benchmarks.sessions import activation_store, session_of
path = Path({path!r})
store = wk.open(path) if path.exists() else activation_store(path, {n}, {channels})
rng = np.random.default_rng(0)
xy = rng.uniform(-1, 1, ({n}, 2)).astype(np.float32)
labels = rng.integers(0, 8, {n}).astype(np.int32)
HEARD = []
"""
OURS = """
import ipywidgets
session = session_of(store, xy, labels)
scatter, gallery, maps = wk.Scatter(session), wk.Gallery(session), wk.MapViewer(session)
session.observe("selection", lambda *_: HEARD.append(session.selection.count))
ipywidgets.VBox([scatter, maps, gallery])
"""
NAIVE = """
import glob, io, ipywidgets, matplotlib as mpl, plotly.graph_objects as go
from PIL import Image
from sklearn.decomposition import NMF
acts = [np.load(f, mmap_mode="r") for f in sorted(glob.glob({path!r} + "/activations/*/*.npy"))]
pictures = [np.load(f, mmap_mode="r") for f in sorted(glob.glob({path!r} + "/images/*.npy"))]
rows_of = 1024
pooled = store.embeddings("features")
box = [ipywidgets.Image(format="png") for _ in range(64)]
fig = go.FigureWidget(
    data=[go.Scattergl(x=xy[:, 0], y=xy[:, 1], mode="markers", marker=dict(size=3, color=labels))],
    layout=dict(width=700, height=420, dragmode="lasso"),
)
fig._config = {{"showSendToCloud": False}}
viridis = mpl.colormaps["viridis"]
def react(trace, points, selector):
    try:
        change(points)
    except Exception as problem:
        HEARD.append(repr(problem))
def change(points):
    rows = np.asarray(points.point_inds)
    model = NMF(10, init="nndsvda", max_iter=200, random_state=0).fit(pooled[rows])
    shown = rng.choice(rows, 64, replace=False)
    for widget, row in zip(box, shown):
        a = acts[row // rows_of][[row % rows_of]][0].astype(np.float32)
        weights = np.maximum(np.einsum("kc,chw->khw", model.components_, a), 0)[0]
        weights /= weights.max() + 1e-9
        tile = np.repeat(pictures[row // rows_of][row % rows_of][..., None], 3, 2)
        heat = np.asarray(Image.fromarray((viridis(weights)[..., :3] * 255).astype(np.uint8)).resize(tile.shape[:2], 2))
        out = io.BytesIO()
        Image.fromarray(((tile * 0.4 + heat * 0.6)).astype(np.uint8)).save(out, "png")
        widget.value = out.getvalue()
    HEARD.append(len(rows))
fig.data[0].on_selection(react)
ipywidgets.VBox([fig, ipywidgets.GridBox(box, layout=dict(grid_template_columns="repeat(8, 60px)"))])
"""
PAINTED_OURS = """async (before) => {
  const e = document.querySelector('.wk-maps');
  const frame = () => new Promise(r => requestAnimationFrame(r));
  while (Number(e.dataset.revision) <= before) await frame();
  await frame();
  return performance.timeOrigin + performance.now();
}"""
PAINTED_NAIVE = """async (before) => {
  const all = () => [...document.querySelectorAll('.jp-OutputArea-output img.jupyter-widgets, .jp-OutputArea-output .widget-image')];
  const frame = () => new Promise(r => requestAnimationFrame(r));
  for (;;) {
    const now = all();
    if (now.length >= 64 && now.every((e, i) => e.src && e.src !== before[i] && e.complete && e.naturalWidth)) break;
    await frame();
  }
  await frame();
  return performance.timeOrigin + performance.now();
}"""
SOURCES = "() => [...document.querySelectorAll('.jp-OutputArea-output img.jupyter-widgets, .jp-OutputArea-output .widget-image')].map(e => e.src)"


def measure(
    case: str, setup: str, view: str, folder: Path, lassos: int, limit: float
) -> dict[str, Any]:
    ours = case == "ours"
    surface = ".wk-scatter canvas" if ours else ".js-plotly-plot .nsewdrag"
    found: dict[str, Any] = {}
    with Lab(folder, env={"PYTHONPATH": str(REPO)}) as lab, chromium() as browser:
        page = browser.new_page(viewport={"width": 1400, "height": 1700})
        page.set_default_timeout(limit * 1000)
        wire = Wire(page)
        notebook = Notebook(page, lab, lab.notebook("bench.ipynb", [view])).open()
        notebook.python(setup)
        run_cell(notebook)
        page.wait_for_selector(surface, state="attached")
        notebook.python("session.wait()" if ours else "pass")
        page.wait_for_timeout(3000)
        times, counts, traffic = [], [], []
        for i in range(lassos + 1):
            before = (
                page.evaluate("() => Number(document.querySelector('.wk-maps').dataset.revision)")
                if ours
                else page.evaluate(SOURCES)
            )
            wire.take()
            up = lasso(notebook, surface, 24 if ours else 8, 0.14 + 0.03 * i)
            try:
                end = page.evaluate(PAINTED_OURS if ours else PAINTED_NAIVE, before)
            except Exception:
                notebook.screenshot(folder.parent / f"{case}.png")
                print(case, "lasso", i + 1, "never painted; heard:", notebook.value("HEARD"))
                raise
            page.wait_for_timeout(1500)
            traffic.append(wire.take())
            if i:  # the first is cold
                times.append(end - up)
            else:
                found["cold_ms"] = end - up
            counts.append(notebook.value("HEARD[-1]"))
        found["lasso_to_maps_ms"] = statistics.median(times)
        found["all_ms"] = times
        found["selected"] = counts[-1]
        found["up_bytes"], found["down_bytes"] = map(
            statistics.median, zip(*traffic[1:], strict=True)
        )
        if ours:
            for name, code in {
                "method": "session.set_map('selection')",
                "back": "session.set_map('cluster')",
                "palette": "maps.palette = 'magma'",
                "threshold": "maps.threshold = 0.3",
                "opacity": "maps.opacity = 0.4",
            }.items():
                notebook.python("pass")
                page.wait_for_timeout(300)
                wire.take()
                notebook.python("pass")
                page.wait_for_timeout(300)
                idle = sum(wire.take())
                notebook.python(code)
                page.wait_for_timeout(800)
                found[f"{name}_bytes"] = sum(wire.take()) - idle
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--tiles", type=int, default=100_000)
    arguments.add_argument("--channels", type=int, default=256)
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--lassos", type=int, default=3)
    arguments.add_argument("--limit", type=float, default=180.0)
    arguments.add_argument("--out", type=Path)
    options = arguments.parse_args()
    n, channels = (10_000, 64) if options.quick else (options.tiles, options.channels)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "bench.wk")
        setup = SETUP.format(path=path, n=n, channels=channels)
        results = {}
        for case, view in (("ours", OURS), ("naive", NAIVE.format(path=path))):
            results[case] = measure(
                case, setup, view, Path(folder) / case, options.lassos, options.limit
            )
            print(case, results[case], flush=True)
    ratio = results["naive"]["lasso_to_maps_ms"] / results["ours"]["lasso_to_maps_ms"]
    print(f"lasso to maps: naive / ours = {ratio:.1f}")
    if options.out:
        options.out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
