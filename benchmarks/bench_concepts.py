"""Concepts: the density ratio beside plain loops, the concept report beside one scikit-learn fit at a time.

    python -m benchmarks.bench_concepts --out benchmarks/results/concepts.json
    python -m benchmarks.bench_concepts --quick        fewer points, images and baseline repeats

Ratios are of processor time of one process (its threads added up), which other work on the machine hardly
changes; wall time is beside it. Baselines run on a few points, or a few fits, and are scaled up: it
says on how many. On a busy machine set OMP_NUM_THREADS=1: threads of BLAS that wait for each other count as work.

Two loops are called plain: over points and dimensions, as the published pseudo-code reads, and over
points only, with all dimensions of a step at once.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from tests.concepts.slow import rodeo, rodeo_rows
from widgetkit.concepts import ConceptActivationVectors, LocalRodeo, ProbeConcepts, concept_report
from widgetkit.concepts._logistic import Design, fit_logistic

CONCEPTS, UNITS, SAMPLES, FOLDS, LEAST = 14, 100, 1000, 5, 0.3


def timed(run: Callable[[], Any]) -> tuple[Any, float, float]:
    """What ``run`` gives, processor and wall seconds."""
    work, wall = time.process_time(), time.perf_counter()
    found = run()
    return found, time.process_time() - work, time.perf_counter() - wall


def activations(kind: str, n: int, generator: np.random.Generator) -> np.ndarray:
    """Independent normal units, the same rectified, or rectified sums of six directions."""
    if kind == "low rank":
        mixed = generator.normal(size=(n, 6)) @ np.random.default_rng(1).normal(size=(6, UNITS))
        return np.maximum(mixed + 0.3 * generator.normal(size=(n, UNITS)), 0)
    found = generator.normal(size=(n, UNITS))
    return np.maximum(found, 0) if kind == "rectified" else found


def density_ratio(points: int, baseline: int) -> list[dict[str, Any]]:
    rows = []
    for kind, size in (
        ("normal", 250),
        ("rectified", 250),
        ("low rank", 250),
        ("rectified", SAMPLES),
    ):
        generator = np.random.default_rng(0)
        X, Q = activations(kind, SAMPLES, generator), activations(kind, points, generator)
        if size < SAMPLES:
            # 10 examples, 25 augmentations of each
            own = [np.sort(generator.choice(SAMPLES, size, replace=False)) for _ in range(CONCEPTS)]
        else:
            # as many examples as there are samples: all sets are as large as the population
            own = [np.arange(SAMPLES)] * CONCEPTS
        model = LocalRodeo(least=LEAST).fit(X)
        densities, work, wall = timed(
            lambda m=model, o=own, q=Q: m.parts([None, *o]).log_density(q)
        )
        scale = X.std(axis=0)
        parts = [X / scale, *(X[part] / scale for part in own)]
        few = Q[:baseline] / scale
        slow, work_slow, wall_slow = timed(
            lambda f=few, p=parts: [[rodeo(x, part, least=LEAST)[0] for part in p] for x in f]
        )
        _, work_rows, _ = timed(
            lambda f=few, p=parts: [[rodeo_rows(x, part, least=LEAST) for part in p] for x in f]
        )
        ours = densities[:baseline, 1:] - densities[:baseline, :1]
        theirs = np.array(slow)
        gap = np.abs(np.expm1(ours - (theirs[:, 1:] - theirs[:, :1])))
        times = points / baseline
        sets = f"{CONCEPTS} concepts of {size:,}"
        rows.append(
            {
                "what": f"density ratio, {points:,} points, {sets}, {UNITS} units, {kind}",
                "seconds": work,
                "wall": wall,
                "baseline": f"loop over points and dimensions ({baseline} points)",
                "baseline_seconds": work_slow * times,
                "ratio": work_slow * times / work,
                "wall_ratio": wall_slow * times / wall,
                "loop_over_points_ratio": work_rows * times / work,
                "largest_relative_difference": float(gap.max()),
            }
        )
    return rows


def images(n: int, d: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rectified correlated units, concepts from common to rare, five images a patient."""
    generator = np.random.default_rng(0)
    mixed = generator.normal(size=(n, 30)) @ (0.3 * generator.normal(size=(30, d)))
    X = np.maximum(generator.normal(size=(n, d)) + mixed, 0)
    weights = generator.normal(size=(d, CONCEPTS)) * (generator.random((d, CONCEPTS)) < 0.1)
    Z = X @ weights
    Z += 0.7 * Z.std(axis=0) * generator.normal(size=Z.shape)
    return X, np.quantile(Z, generator.uniform(0.6, 0.97, CONCEPTS)) < Z, np.arange(n) // 5


def report(n: int, d: int, baseline: int) -> list[dict[str, Any]]:
    X, Y, patients = images(n, d)
    concept_report(ProbeConcepts(), X[:500], Y[:500], patients[:500])  # imports are no part of it
    rows = []
    for controls in ((), ("permuted",)):
        found, work, wall = timed(
            lambda c=controls: concept_report(ProbeConcepts(), X, Y, patients, controls=c)
        )
        beside = ", and permuted labels" if controls else ""
        rows.append(
            {
                "what": f"concept report, {n:,} x {d}, {CONCEPTS} concepts x {FOLDS} folds{beside}",
                "seconds": work,
                "wall": wall,
                "AUC": float(found.of("AUC")["value"].mean()),
            }
        )
    fold = found.folds
    train = np.stack([fold != at for at in range(FOLDS)])
    fits, work, wall = timed(lambda: fit_logistic(Design(X, train), Y, np.ones_like(Y), 1.0))
    slow, gaps = 0.0, []
    for f in np.linspace(0, CONCEPTS - 1, baseline).astype(int):
        mine = train[0]
        mean, spread = X[mine].mean(axis=0), X[mine].std(axis=0)

        def one(
            tol: float, f: int = f, mine: Any = mine, mean: Any = mean, spread: Any = spread
        ) -> Any:
            model = LogisticRegression(class_weight="balanced", tol=tol, max_iter=20_000)
            return model.fit((X[mine] - mean) / spread, Y[mine, f]).coef_[0]

        slow += timed(lambda f=f: one(1e-4, f))[1]
        gaps.append(np.abs(one(1e-8, f) - fits.scaled[0, f]).max())
    times = CONCEPTS * FOLDS / baseline
    rows.append(
        {
            "what": f"its {CONCEPTS * FOLDS} logistic regressions",
            "seconds": work,
            "wall": wall,
            "baseline": f"scikit-learn, one by one, its default tolerance ({baseline} fits)",
            "baseline_seconds": slow * times,
            "ratio": slow * times / work,
            "largest_difference_of_a_weight": float(max(gaps)),
        }
    )
    model = ConceptActivationVectors().fit(X, Y, groups=patients)
    gradients = np.random.default_rng(1).normal(size=(300, d))
    _, work, wall = timed(lambda: model.tcav(gradients))
    rows.append(
        {
            "what": f"TCAV, {CONCEPTS} concepts against 1,000 random vectors each, {n:,} x {d}",
            "seconds": work,
            "wall": wall,
        }
    )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    few = options.quick
    results = [
        *density_ratio(100 if few else 1000, 1 if few else 4),
        *(report(2000, 128, 2) if few else report(10_000, 512, 5)),
    ]
    for row in results:
        beside = (
            f"   {row['baseline']} {row['baseline_seconds']:.0f} s, ratio {row['ratio']:.0f}"
            if "baseline" in row
            else ""
        )
        print(
            f"{row['what']:90} {row['seconds']:6.2f} s, wall {row['wall']:6.2f} s{beside}",
            flush=True,
        )
        for name in (
            "loop_over_points_ratio",
            "wall_ratio",
            "largest_relative_difference",
            "largest_difference_of_a_weight",
        ):
            if name in row:
                print(f"    {name.replace('_', ' ')}: {row[name]:.3g}", flush=True)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        machine = {
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "load": os.getloadavg()[0],
            "threads": os.environ.get("OMP_NUM_THREADS", ""),
        }
        options.out.write_text(
            json.dumps({"machine": machine, "results": results}, indent=1, default=float) + "\n",
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
