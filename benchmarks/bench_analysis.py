"""Factors, clusters and maps beside scikit-learn, in one run on the same data.

    python -m benchmarks.bench_analysis --out benchmarks/results/analysis.json
    python -m benchmarks.bench_analysis --quick        5,000 and 40,000 rows instead of 20,000 and 1M

Data: ReLU of 30 overlapping parts with gamma weights and noise, so that ten factors leave about
40 % of the norm unexplained, like activations of a CNN. Every error is recomputed from ``W`` and
``H`` by the same function. Times are the best of a few runs, taken in turn with the baseline,
because other processes only ever add to them; a first run that pays for imports is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.cluster
import sklearn.decomposition
from sklearn.exceptions import ConvergenceWarning

from widgetkit.analysis import NMF, KMeans, nnls, project

CHANNELS, FACTORS, CLUSTERS = 512, 10, 8


def activations(n: int, seed: int = 0) -> np.ndarray:
    """(n, 512) float32, made in blocks so that a million rows need 2 GB and not ten."""
    generator = np.random.default_rng(seed)
    parts = (np.maximum(generator.normal(0, 1, (30, CHANNELS)), 0) ** 1.5).astype(np.float32)
    X = np.empty((n, CHANNELS), np.float32)
    for at in range(0, n, 20_000):
        block = X[at : at + 20_000]
        np.matmul(generator.gamma(0.3, 1, (len(block), 30)).astype(np.float32), parts, out=block)
        block += 1.2 * generator.standard_normal(block.shape, np.float32)
        np.maximum(block, 0, out=block)
    return X


def relative_error(X: np.ndarray, W: np.ndarray, H: np.ndarray) -> float:
    rest = total = 0.0
    for at in range(0, len(X), 20_000):
        block = X[at : at + 20_000]
        gap = block - W[at : at + 20_000] @ H
        rest, total = rest + float(np.vdot(gap, gap)), total + float(np.vdot(block, block))
    return float(np.sqrt(rest / total))


def in_turn(runs: int, *jobs: Callable[[], Any]) -> list[tuple[float, Any]]:
    """Least seconds and last result of each job; the jobs take turns."""
    best = [float("inf")] * len(jobs)
    results: list[Any] = [None] * len(jobs)
    for _ in range(runs):
        for i, job in enumerate(jobs):
            began = time.perf_counter()
            results[i] = job()
            best[i] = min(best[i], time.perf_counter() - began)
    return list(zip(best, results, strict=True))


def factors(n: int, runs: int) -> list[dict[str, Any]]:
    """Cold and warm NMF beside coordinate descent."""
    X = activations(n)
    NMF(2).fit(X[:500])  # imports

    def theirs() -> tuple[np.ndarray, np.ndarray]:
        model = sklearn.decomposition.NMF(
            FACTORS, solver="cd", init="nndsvda", random_state=0, max_iter=200
        )
        return model.fit_transform(X), model.components_

    def ours(backend: str) -> tuple[np.ndarray, np.ndarray]:
        model = NMF(FACTORS, backend=backend)  # type: ignore[arg-type]
        return model.fit_transform(X), model.components_

    H = NMF(FACTORS).fit(X).components_

    def warm() -> tuple[np.ndarray, np.ndarray]:
        model = NMF(FACTORS)
        return model.fit_transform(X, H=H), model.components_

    measured = in_turn(
        runs, theirs, lambda: ours("auto"), lambda: ours("numpy"), warm, lambda: (nnls(X, H), H)
    )
    base, base_error = measured[0][0], relative_error(X, *measured[0][1])
    titles = ("NMF cold", "NMF cold, numpy", "NMF warm", "weights only (nnls)")
    goals: tuple[float | None, ...] = (4, None, 20, None)
    return [
        {
            "what": title,
            "rows": n,
            "seconds": seconds,
            "error": relative_error(X, *found),
            "baseline": "sklearn NMF cd",
            "baseline_seconds": base,
            "baseline_error": base_error,
            "ratio": base / seconds,
            "goal": goal,
        }
        for title, goal, (seconds, found) in zip(titles, goals, measured[1:], strict=True)
    ]


def many_rows(n: int, runs: int) -> list[dict[str, Any]]:
    """A sample and one pass beside MiniBatchNMF (two epochs)."""
    X = activations(n)

    def theirs() -> tuple[np.ndarray, np.ndarray]:
        model = sklearn.decomposition.MiniBatchNMF(
            FACTORS, batch_size=4096, max_iter=2, random_state=0
        )
        return model.fit_transform(X), model.components_

    def ours() -> tuple[np.ndarray, np.ndarray]:
        model = NMF(FACTORS)
        return model.fit_transform(X), model.components_

    (base, reference), (seconds, found) = in_turn(runs, theirs, ours)
    return [
        {
            "what": "NMF, sample and one pass",
            "rows": n,
            "seconds": seconds,
            "error": relative_error(X, *found),
            "baseline": "sklearn MiniBatchNMF",
            "baseline_seconds": base,
            "baseline_error": relative_error(X, *reference),
            "ratio": base / seconds,
            "goal": 8,
        }
    ]


def clusters(n: int, runs: int) -> list[dict[str, Any]]:
    """Cold and warm k-means beside scikit-learn's; error is the inertia a row."""
    X = activations(n)
    centres = KMeans(CLUSTERS).fit(X).cluster_centers_

    def theirs(**options: Any) -> float:
        return float(sklearn.cluster.KMeans(CLUSTERS, random_state=0, **options).fit(X).inertia_)

    measured = in_turn(
        runs,
        lambda: theirs(n_init=4),
        lambda: KMeans(CLUSTERS, n_init=4).fit(X).inertia_,
        lambda: theirs(n_init=1, init=centres),
        lambda: KMeans(CLUSTERS).fit(X, init=centres).inertia_,
    )
    rows = []
    for title, base, ours, goal in (
        ("k-means cold, 4 starts", 0, 1, None),
        ("k-means warm", 2, 3, 0.035),
    ):
        rows.append(
            {
                "what": title,
                "rows": n,
                "seconds": measured[ours][0],
                "error": measured[ours][1] / n,
                "baseline": "sklearn KMeans" + (", init=centres" if base else ""),
                "baseline_seconds": measured[base][0],
                "baseline_error": measured[base][1] / n,
                "ratio": measured[base][0] / measured[ours][0],
                "goal": None,
                "goal_seconds": goal,
            }
        )
    return rows


def maps(n: int) -> list[dict[str, Any]]:
    """UMAP through 50 components beside UMAP of all channels, the same seed; compiled before."""
    import umap

    X = activations(n)
    project(X[:200], n_epochs=5)
    umap.UMAP(random_state=0, n_jobs=1, n_epochs=5).fit(X[:4500])

    def theirs() -> np.ndarray:
        found: np.ndarray = umap.UMAP(random_state=0, n_jobs=1).fit_transform(X)
        return found

    (base, _), (seconds, _), (preview, _) = in_turn(
        1, theirs, lambda: project(X), lambda: project(X, n_epochs=100)
    )
    shared = {
        "rows": n,
        "error": None,
        "baseline": "umap of 512 channels",
        "baseline_seconds": base,
        "baseline_error": None,
        "goal": None,
    }
    return [
        {"what": title, "seconds": took, "ratio": base / took, **shared}
        for title, took in (("map with trust", seconds), ("preview, 100 epochs", preview))
    ]


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| what | rows | seconds | error | baseline | seconds | error | times faster | goal |",
        "|---|--:|--:|--:|---|--:|--:|--:|---|",
    ]
    for row in rows:
        errors = ["" if e is None else f"{e:.5g}" for e in (row["error"], row["baseline_error"])]
        goal = f"{row['goal']}x" if row["goal"] else ""
        if row.get("goal_seconds"):
            goal = f"{row['goal_seconds'] * 1000:.0f} ms"
        lines.append(
            f"| {row['what']} | {row['rows']:,} | {row['seconds']:.3f} | {errors[0]} "
            f"| {row['baseline']} | {row['baseline_seconds']:.3f} | {errors[1]} "
            f"| {row['ratio']:.1f} | {goal} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, a minute")
    parser.add_argument("--maps", action="store_true", help="UMAP, too (minutes)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    some, many = (5_000, 40_000) if options.quick else (20_000, 1_000_000)
    warnings.simplefilter("ignore", ConvergenceWarning)
    load = os.getloadavg()[0]
    rows = factors(some, options.runs) + clusters(some, options.runs)
    rows += many_rows(many, 1)
    if options.maps:
        rows += maps(2_000 if options.quick else 10_000)
    print(table(rows))
    print(
        f"\n{os.cpu_count()} cores, load {load:.1f} at the start, {os.getloadavg()[0]:.1f} at the end"
    )
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        machine = {
            "cores": os.cpu_count(),
            "threads": os.environ.get("OMP_NUM_THREADS", "default"),
            "load": [load, os.getloadavg()[0]],
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "scikit-learn")},
        }
        options.out.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
