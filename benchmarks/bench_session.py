"""Kernel side of a selection: point in polygon beside matplotlib and shapely; lasso to 64 maps.

    python -m benchmarks.bench_session --out benchmarks/results/session.json

Point in polygon counts wrong points against exact rational arithmetic on all points near the
outline. The second part writes a store (5 GB at the default size) to a temporary folder and times
what the kernel does between the end of a lasso and the maps of 64 new tiles; wire and browser are
in ``bench_browser.py`` and ``bench_loop.py``.
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

from widgetkit.analysis import Projection
from widgetkit.session import MapSpec, Session, inside, projecting
from widgetkit.session.geometry import _exact_everywhere
from widgetkit.store import ActivationStore, LayerPlan, Plan, StoreWriter

LAYER = "layer4"


def median_ms(work: Callable[[], Any], repeat: int) -> float:
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def lasso(vertices: int, seed: int = 0) -> np.ndarray:
    """A hand-drawn outline around the middle, about a third of the unit square."""
    rng = np.random.default_rng(seed)
    angle = np.linspace(0, 2 * np.pi, vertices, endpoint=False)
    radius = 0.3 + 0.05 * rng.random(vertices)
    return 0.5 + radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])


def polygon(points: int, repeat: int) -> dict[str, dict[str, float]]:
    """Milliseconds and wrong points of each way to find the points in a lasso of 200 vertices."""
    import shapely
    from matplotlib.path import Path as Outline

    xy = np.random.default_rng(0).random((points, 2)).astype(np.float32)
    outline = lasso(200)
    truth = _exact_everywhere(outline, xy)
    x, y = xy.astype(np.float64).T
    prepared = shapely.Polygon(outline)
    shapely.prepare(prepared)
    ways: dict[str, Callable[[], np.ndarray]] = {
        "widgetkit inside": lambda: inside(outline, xy),
        "shapely contains_xy, prepared": lambda: shapely.contains_xy(prepared, x, y),
        "matplotlib contains_points": lambda: Outline(outline).contains_points(xy),
    }
    return {
        name: {"ms": median_ms(way, repeat), "wrong": int((way() != truth).sum())}
        for name, way in ways.items()
    }


def write(folder: Path, n: int, channels: int) -> ActivationStore:
    rng = np.random.default_rng(0)
    parts = rng.gamma(0.4, 1.0, (8, channels)).astype(np.float32)
    weights = rng.gamma(0.3, 1.0, (512 * 49, 8)).astype(np.float32)
    block = (weights @ parts).reshape(512, 7, 7, channels).transpose(0, 3, 1, 2).astype(np.float16)
    tiles = pd.DataFrame(
        {"id": [f"{i:016x}" for i in range(n)], "slide": [f"s{i % 20}" for i in range(n)]}
    )
    plan = Plan(tiles=tiles, layers=[LayerPlan(LAYER, channels, (7, 7))], segment_rows=512)
    with StoreWriter.open(folder / "bench.wk", plan=plan) as writer:
        for index in range(plan.segments):
            count = len(plan.rows(index))
            writer.write_segment(index, {LAYER: np.roll(block, index, axis=0)[:count]})
        return writer.commit()


def forget(folder: Path) -> None:
    os.sync()
    for file in folder.rglob("*"):
        if file.is_file():
            handle = os.open(file, os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def selection(n: int, channels: int, repeat: int) -> dict[str, float]:
    """Milliseconds of each step from lasso to 64 maps, in the kernel."""
    with tempfile.TemporaryDirectory() as name:
        store = write(Path(name), n, channels)
        xy = np.random.default_rng(1).random((n, 2)).astype(np.float32)
        shown = Projection(xy, "pca", {}, 0, np.full(n, 0.9, np.float32))
        projecting.keep(store, LAYER, shown, asked=projecting.asked_for("auto", {}))
        session = Session(store)
        found: dict[str, float] = {}
        start = time.perf_counter()
        assert session.clustering is not None
        found["first: default clusters (NMF)"] = 1000 * (time.perf_counter() - start)
        outlines = [lasso(60, seed) for seed in range(repeat)]
        steps: dict[str, list[float]] = {}

        def step(title: str, work: Callable[[], Any]) -> Any:
            begin = time.perf_counter()
            result = work()
            steps.setdefault(title, []).append(1000 * (time.perf_counter() - begin))
            return result

        session.select_polygon(outlines[0])
        session.maps(range(64), MapSpec("selection"))  # reads the embeddings once
        session.ranked("representative", 64)
        for seed, outline in enumerate(outlines):
            step("lasso to Selection", lambda o=outline: session.select_polygon(o))
            step("summary", session.summary)
            step("composition", session.composition)
            step("64 representative tiles", lambda: session.ranked("representative", 64))
            rows, _ = step("64 random tiles", lambda s=seed: session.ranked("random", 64, s))
            forget(Path(name) / "bench.wk" / "activations")
            step("64 cluster maps, cold", lambda r=rows: session.maps(r, MapSpec("cluster", 0)))
            step("64 cluster maps, warm", lambda r=rows: session.maps(r, MapSpec("cluster", 0)))
            step("64 selection maps, warm", lambda r=rows: session.maps(r, MapSpec("selection")))
            step("clustering of the selection, warm start", lambda: session.cluster(on="selection"))
            session.undo()
        found |= {title: statistics.median(times) for title, times in steps.items()}
        found["lasso to 64 cluster maps, warm"] = sum(
            found[title]
            for title in ("lasso to Selection", "64 random tiles", "64 cluster maps, warm")
        )
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="50,000 points, 2,000 tiles of 64 channels"
    )
    parser.add_argument("--tiles", type=int, default=100_000)
    parser.add_argument("--channels", type=int, default=512)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    points, n, channels = (
        (50_000, 2_000, 64) if options.quick else (10**6, options.tiles, options.channels)
    )
    result: dict[str, Any] = {
        "machine": {"processor": platform.processor(), "cores": os.cpu_count()},
        "points": points,
        "polygon": polygon(points, 3 if options.quick else 7),
        "tiles": n,
        "channels": channels,
    }
    print(f"{points:,} points in a lasso of 200 vertices")
    ours = result["polygon"]["widgetkit inside"]["ms"]
    for name, row in result["polygon"].items():
        print(f"  {name:32} {row['ms']:9.1f} ms  {row['ms'] / ours:5.1f}x  {row['wrong']} wrong")
    result["selection"] = selection(n, channels, 3 if options.quick else 7)
    print(f"{n:,} tiles of {channels} x 7 x 7")
    for name, ms in result["selection"].items():
        print(f"  {name:42} {ms:9.1f} ms")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
