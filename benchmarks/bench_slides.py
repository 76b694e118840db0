"""Maps over a slide: what the kernel does after a change of cluster, of view, of the clusters.

    python -m benchmarks.bench_slides --out benchmarks/results/slides.json

The budget: 150 ms for the visible map of a slide of 100,000 tiles with 7 x 7 cells after a change of
cluster. The first part times stitching alone, for tiles that touch, overlap, and stand anywhere; the
second a session on a store with kept weights, as a view asks it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from widgetkit import factors
from widgetkit.session import Session
from widgetkit.slides import Stitcher
from widgetkit.store import ActivationStore, LayerPlan, Plan, StoreWriter

GRID, K, CHANNELS, SIDE = (7, 7), 10, 16, 224


Times = dict[str, float]


def measure(*works: Callable[[], Any]) -> Times:
    """Medians in ms: of the clock, and of the processor, which is that of an idle machine."""
    wall, cpu = [], []
    for work in works:
        start, own = time.perf_counter(), time.process_time()
        work()
        wall.append(1000 * (time.perf_counter() - start))
        cpu.append(1000 * (time.process_time() - own))
    return {
        "ms": round(statistics.median(wall), 1),
        "cpu_ms": round(statistics.median(cpu), 1),
        "slowest_cpu_ms": round(max(cpu), 1),
    }


def places(n: int, step: int) -> np.ndarray:
    """Tiles in columns and rows, a fifth of them missing (no tissue)."""
    across = int(np.ceil(np.sqrt(n / 0.8)))
    keep = np.sort(np.random.default_rng(0).permutation(across * across)[:n])
    y, x = np.divmod(keep, across)
    corner = np.stack([x, y], axis=1).astype(float) * step
    return np.hstack([corner, corner + SIDE])


def stitching(n: int, repeat: int) -> dict[str, dict[str, Any]]:
    """One map (H, W) from weights kept as float16."""
    rng = np.random.default_rng(0)
    column = rng.random((n, *GRID), dtype=np.float32).astype(np.float16)
    touching, overlapping = places(n, SIDE), places(n, SIDE // 2)
    anywhere = touching + rng.uniform(-50, 50, (n, 1))
    found = {}
    for name, boxes in (
        ("touching", touching),
        ("half overlapping", overlapping),
        ("anywhere", anywhere),
    ):
        width, height = boxes[:, 2:].max(axis=0)
        for part, size in (("whole slide", 1.0), ("a tenth", 0.1)):
            view = (0.0, 0.0, width * size, height * size)
            shape = (1024, 1024)
            made = Stitcher(boxes, GRID, view, shape)
            maps = column[made.rows]
            found[f"{name}, {part}"] = {
                "tiles in view": len(made.rows),
                "plan of the view": measure(
                    *[lambda b=boxes, v=view: Stitcher(b, GRID, v, (1024, 1024))] * 3
                ),
                "first map": measure(lambda m=made, values=maps: m(values)),
                "each map after": measure(*[lambda m=made, values=maps: m(values)] * repeat),
            }
    return found


def make_store(path: Path, n: int) -> ActivationStore:
    boxes = places(n, SIDE)
    tiles = pd.DataFrame(
        {
            "id": [f"{i:016x}" for i in range(n)],
            "source": "slide",
            "x": boxes[:, 0],
            "y": boxes[:, 1],
            "z": 0.0,
            "level": 0,
            "size": SIDE,
            "mpp": 0.5,
        }
    )
    plan = Plan(tiles=tiles, layers=[LayerPlan("layer4", CHANNELS, GRID)], segment_rows=4096)
    rng = np.random.default_rng(0)
    prototypes = rng.gamma(0.5, 1.0, (K, CHANNELS)).astype(np.float32)
    with StoreWriter.open(path, plan=plan) as writer:
        for index in range(plan.segments):
            m = len(plan.rows(index))
            kind = rng.integers(0, K, (m, *GRID))
            values = prototypes[kind] * rng.uniform(0.5, 1.5, (*kind.shape, 1))
            maps = np.moveaxis(values, -1, 1).astype(np.float16)
            writer.write_segment(index, {"layer4": maps})
        return writer.commit()


def session(n: int, repeat: int, folder: Path) -> dict[str, Any]:
    """What a view asks, weights kept in the store."""
    store = make_store(folder / "s.wk", n)
    start = time.perf_counter()
    made = factors.factorise(store, k=K, group=None)
    found: dict[str, Any] = {"fit and assign once (s)": round(time.perf_counter() - start, 1)}
    s = Session(store)
    s.use_factors(made)
    width, height = s.placement.extent(0)
    at = {"view": (0.0, 0.0, float(width), float(height)), "shape": (1024, 1024)}

    def cluster(i: int | None = None, **where: Any) -> Callable[[], Any]:
        return lambda: s.slide_map(0, cluster=i, **(where or at))

    found["first map of a slide (reads its weights)"] = measure(cluster(0))
    found["change of cluster, whole slide"] = measure(*[cluster(i) for i in range(1, K)])
    found["the same cluster again"] = measure(*[cluster(3)] * repeat)
    other = {"shape": (1000, 1000)}
    found["all clusters, another raster"] = measure(cluster(**other))
    found["all clusters, again (hide, colour)"] = measure(*[cluster(**other)] * repeat)
    s.merge_clusters([0, 1])
    found["a merged cluster"] = measure(cluster(0, **other))
    s.split_cluster(0, 2)
    found["a part of a split cluster"] = measure(cluster(0, **other))
    for name, i in (("one cluster", 2), ("all clusters", None)):
        views = [(x, x, x + width / 8, x + width / 8) for x in np.linspace(0, 0.8 * width, repeat)]
        found[f"another view, an eighth of the slide, {name}"] = measure(
            *[cluster(i, view=view, shape=(800, 1200)) for view in views]
        )
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    outline = width * (0.5 + 0.3 * np.column_stack([np.cos(angle), np.sin(angle)]))
    for rule in ("centre", "touch"):
        found[f"freehand outline of 200 vertices, {rule}"] = measure(
            *[lambda r=rule: s.select_on_slide(0, outline, rule=r)] * repeat
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiles", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = {
            "tiles": options.tiles,
            "grid": GRID,
            "factors": K,
            "machine": {
                "cores": os.cpu_count(),
                "load": os.getloadavg()[0],
                "python": platform.python_version(),
            },
            "stitching": stitching(options.tiles, options.repeat),
            "session": session(options.tiles, options.repeat, Path(folder)),
        }
    text = json.dumps(result, indent=2)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
