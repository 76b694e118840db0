"""Reading factors: how fast the tables are, and whether their intervals and choices are right.

    python -m benchmarks.bench_reading --out benchmarks/results/reading.json
    python -m benchmarks.bench_reading --quick        fewer tiles and repeats

Fast: the correlation table with intervals beside scipy without any, and beside the same intervals
by putting slides together anew in each draw (a few draws, scaled up). Right: how often 95 %
intervals hold the truth on simulated slides, how often a permutation is below 5 % when nothing is
there, how often a planted number of factors is recommended.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from widgetkit.analysis import (
    choose_k,
    correlation_table,
    group_share,
    grouped_prediction,
    shares,
)

K, GRID, SLIDES = 10, (7, 7), 24


def table_speed(n: int) -> list[dict[str, Any]]:
    generator = np.random.default_rng(0)
    weights = np.maximum(generator.standard_normal((n, K, *GRID), np.float32), 0)
    maps = {
        name: weights[:, i] + generator.standard_normal((n, *GRID), np.float32)
        for i, name in enumerate(("gradcam", "occlusion", "relevance"))
    }
    slides = np.arange(n) % SLIDES
    began = time.perf_counter()
    correlation_table(weights, maps, slides)
    ours = time.perf_counter() - began
    began = time.perf_counter()
    correlation_table(weights, maps, slides, methods="pearson")
    pearson = time.perf_counter() - began
    began = time.perf_counter()
    flat = {name: values.ravel() for name, values in maps.items()}
    for i in range(K):
        for values in flat.values():
            stats.pearsonr(weights[:, i].ravel(), values)
    plain = time.perf_counter() - began
    began, draws = time.perf_counter(), 3
    for _ in range(draws):
        rows = np.concatenate(
            [np.flatnonzero(slides == s) for s in generator.integers(SLIDES, size=SLIDES)]
        )
        for i in range(K):
            for values in maps.values():
                stats.pearsonr(weights[rows, i].ravel(), values[rows].ravel())
    naive = (time.perf_counter() - began) * 1000 / draws
    positions = n * int(np.prod(GRID))
    return [
        {"what": f"table, both methods, {positions:,} positions", "seconds": ours},
        {
            "what": "Pearson with 1,000 draws of slides",
            "seconds": pearson,
            "baseline": "scipy without interval",
            "baseline_seconds": plain,
            "ratio": plain / pearson,
        },
        {
            "what": "the same",
            "seconds": pearson,
            "baseline": f"slides put together anew ({draws} of 1,000 draws)",
            "baseline_seconds": naive,
            "ratio": naive / pearson,
        },
    ]


def prediction_speed(n: int) -> list[dict[str, Any]]:
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, n)
    X = generator.normal(0, 1, (n, 2 * K))
    X[:, 0] += y
    began = time.perf_counter()
    grouped_prediction(X, y, np.arange(n) % SLIDES)
    return [
        {
            "what": f"grouped prediction, {n:,} tiles x {2 * K}",
            "seconds": time.perf_counter() - began,
        }
    ]


def coverage(repeats: int) -> list[dict[str, Any]]:
    """A mean over tiles of slides that differ (correlation 0.3 inside a slide)."""
    found = []
    for slides in (3, 4, 5, 6, 10, 20, 50):
        generator = np.random.default_rng(slides)
        own = np.repeat(np.arange(slides), 30)
        level = generator.normal(0, np.sqrt(0.3), (slides, repeats))[own]
        values = level + generator.normal(0, np.sqrt(0.7), (len(own), repeats))
        table = shares(values, np.zeros(len(own), int), groups=own)
        held = ((table["low"] <= 0) & (table["high"] >= 0)).mean()
        found.append({"what": f"95 % interval of a mean, {slides} slides, holds it", "share": held})
    return found


def nothing_there(repeats: int) -> list[dict[str, Any]]:
    generator = np.random.default_rng(0)
    own = np.repeat(np.arange(20), 20)
    held, auc = [], []
    for seed in range(repeats):
        X = generator.normal(0, 1, (400, 5)) + generator.normal(0, 1, (20, 5))[own]
        y = generator.integers(0, 2, 400)
        row = grouped_prediction(X, y, own, n_boot=500, seed=seed).table.iloc[0]
        held.append(row["low"] <= 0.5 <= row["high"])
        auc.append(row["value"])
    values = (
        generator.normal(0, 1, (240, 400)) + generator.normal(0, 1, (12, 400))[np.arange(240) % 12]
    )
    slide = np.arange(240) % 12
    nested = group_share(values, slide % 2, units=slide, n_permutations=199)["p"]
    tiles = group_share(values, slide % 2, n_permutations=199)["p"]
    return [
        {"what": "AUC of useless features, 20 slides, mean", "share": float(np.mean(auc))},
        {"what": "its 95 % interval holds one half", "share": float(np.mean(held))},
        {"what": "permuting slides: p below 5 %", "share": float((nested <= 0.05).mean())},
        {"what": "permuting tiles: p below 5 %", "share": float((tiles <= 0.05).mean())},
    ]


def planted(k: int, noise: float, seed: int, kind: str) -> np.ndarray:
    """(1500, 64) with k factors, the last one a background; noise of a size, or one that grows with
    the value, which least squares takes for structure."""
    generator = np.random.default_rng(seed)
    H = generator.gamma(0.5, 1, (k, 64)) * (generator.random((k, 64)) < 0.4) + 0.02
    H[-1] = 1
    H /= np.linalg.norm(H, axis=1, keepdims=True)
    X = generator.gamma(0.3, 1, (1500, k)) @ H
    if kind == "multiplied":
        X = X * generator.gamma(1 / noise**2, noise**2, X.shape)
    else:
        X = np.maximum(X + noise * X.std() * generator.normal(size=X.shape), 0)
    return X.astype(np.float32)


def choices(repeats: int) -> list[dict[str, Any]]:
    found = []
    for kind, noise in (("added", 0.3), ("added", 1.0), ("added", 2.0), ("multiplied", 0.5)):
        exact, near, seconds = 0, 0, 0.0
        for seed in range(repeats):
            k = 3 + seed % 4
            X = planted(k, noise, seed, kind)
            began = time.perf_counter()
            chosen = choose_k(
                X, range(2, 10), groups=np.repeat(np.arange(6), 250), seeds=3
            ).recommended
            seconds += time.perf_counter() - began
            exact, near = exact + (chosen == k), near + (abs(chosen - k) <= 1)
        what = f"noise {kind}, {noise} of the signal"
        found += [
            {"what": f"planted k of 3 to 6, {what}: recommended", "share": exact / repeats},
            {"what": "the same: within one", "share": near / repeats},
            {"what": "choose_k, 1,500 x 64, eight numbers", "seconds": seconds / repeats},
        ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    few = options.quick
    results = [
        *table_speed(2_000 if few else 10_000),
        *prediction_speed(5_000 if few else 100_000),
        *coverage(100 if few else 1000),
        *nothing_there(10 if few else 100),
        *choices(2 if few else 8),
    ]
    for row in results:
        figure = f"{row['seconds']:.2f} s" if "seconds" in row else f"{row['share']:.1%}"
        beside = (
            f"   {row['baseline']} {row['baseline_seconds']:.1f} s, ratio {row['ratio']:.1f}"
            if "baseline" in row
            else ""
        )
        print(f"{row['what']:60} {figure:>9}{beside}", flush=True)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        machine = {
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "load": os.getloadavg()[0],
        }
        options.out.write_text(
            json.dumps({"machine": machine, "results": results}, indent=1, default=float) + "\n",
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
