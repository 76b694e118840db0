"""associate: how fast the panel follows a selection, beside a plain loop over scipy, and its error rates.

    python -m benchmarks.bench_association --out benchmarks/results/association.json
    python -m benchmarks.bench_association --quick        fewer repeats

Fast: 20,000 tiles x 10 variables, from a new clustering or selection to the event "association", in the
kernel; processor time beside the clock, because other work may share the machine. The plain loop gives
p alone: no intervals, no means, no effect sizes, no patients. Right: how often a 5 % test calls what is
not there, with few values in a cluster, with patients, and for the naive test that takes tiles for
independent.
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
from scipy import stats

from widgetkit.analysis import _tests, associate
from widgetkit.session import Clustering, Session
from widgetkit.store import ActivationStore, LayerPlan, Plan, StoreWriter

K = 8


def columns(own: np.ndarray, seed: int = 0) -> pd.DataFrame:
    """Ten variables of every kind, five of them the patient's."""
    g = np.random.default_rng(seed)
    n, patients = len(own), int(own.max()) + 1
    return pd.DataFrame(
        {
            "age": g.normal(60, 10, patients)[own],
            "fvc": g.normal(80, 10, patients)[own],
            "dlco": g.exponential(20, patients)[own],
            "sex": g.choice(["f", "m"], patients)[own],
            "gold": g.integers(0, 5, patients)[own],
            "grey": g.normal(0, 1, n),
            "cells": g.exponential(100, n),
            "tissue": g.choice(list("abcde"), n),
            "blur": np.where(g.random(n) < 0.1, np.nan, g.normal(0, 1, n)),
            "ink": g.random(n) < 0.05,
        }
    )


def store_of(folder: Path, n: int, patients: int | None) -> ActivationStore:
    own = (
        np.sort(np.random.default_rng(1).integers(0, patients or n, n))
        if patients
        else np.arange(n)
    )
    own = np.unique(own, return_inverse=True)[1]
    tiles = columns(own)
    tiles.insert(0, "id", [f"{i:016x}" for i in range(n)])
    tiles["source"] = "scan"
    if patients:
        tiles["patient"] = [f"p{i}" for i in own]
    plan = Plan(tiles=tiles, layers=[LayerPlan("features", 4)], segment_rows=n)
    values = np.random.default_rng(0).random((n, 4)).astype(np.float32)
    with StoreWriter.open(folder / f"{n}-{patients}.wk", plan=plan) as writer:
        writer.write_segment(0, {"features": values})
        return writer.commit()


def timed(work: Callable[[int], Any], repeat: int) -> dict[str, float]:
    """Median milliseconds by the clock and of the processor; ``work`` is given another number each time."""
    work(0)
    clock, processor = [], []
    for i in range(1, repeat + 1):
        a, b = time.perf_counter(), time.process_time()
        work(i)
        clock.append(time.perf_counter() - a)
        processor.append(time.process_time() - b)
    return {
        "clock_ms": 1000 * statistics.median(clock),
        "processor_ms": 1000 * statistics.median(processor),
    }


def plain(labels: np.ndarray, table: pd.DataFrame) -> dict[str, float]:
    """What one would write: a loop over columns, p alone."""
    found = {}
    groups = np.unique(labels)
    for name in table:
        column = table[name]
        if column.dtype.kind == "f":
            each = [column[(labels == c) & column.notna()] for c in groups]
            skewed = abs(stats.skew(column.dropna())) > 1
            found[name] = float((stats.kruskal if skewed else stats.f_oneway)(*each).pvalue)
        else:
            counts = pd.crosstab(labels, column)
            found[name] = float(stats.chi2_contingency(counts, correction=False).pvalue)
    return found


def follow(n: int, repeat: int) -> list[dict[str, Any]]:
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for patients in (None, 200, 1000):
            store = store_of(Path(folder), n, patients)
            session = Session(store)
            g = np.random.default_rng(2)
            labels = [g.integers(0, K, n) for _ in range(repeat + 1)]
            made = [Clustering.make(one, K, method="kmeans", layer="features") for one in labels]
            said = f"{n:,} tiles x 10" + (f" of {patients} patients" if patients else "")

            def cluster(i: int, session: Session = session, made: list[Clustering] = made) -> None:
                session._change("bench", "", clustering=made[i])
                assert session.associate() is not None

            found.append({"what": f"clusters, {said}", **timed(cluster, repeat)})
            assert session.associations["clusters"].units == (patients or n)
            masks = [g.random(n) < 0.2 for _ in range(repeat + 1)]

            def select(i: int, session: Session = session, masks: list[np.ndarray] = masks) -> None:
                session.select(masks[i])
                assert session.associate("selection") is not None

            found.append({"what": f"selection, {said}", **timed(select, repeat)})
            found.append(
                {
                    "what": f"the same clusters again, {said}",
                    **timed(lambda _, session=session: session.associate(), repeat),
                }
            )
            if patients is None:
                table = store.tiles[list(session.variables())]
                found.append(
                    {
                        "what": f"plain scipy loop, p alone, {said}",
                        **timed(lambda i, t=table, many=labels: plain(many[i], t), repeat),
                    }
                )
    return found


# -- error rates -------------------------------------------------------------------------
def few_values(repeats: int) -> list[dict[str, Any]]:
    """Why ranks are compared only below 4 values in a cluster."""
    found = []
    for sizes in ((20, 10, 4, 4), (15, 9, 3, 3), (15, 9, 2, 3), (15, 9, 5, 5)):
        for spread in (1, 3):
            g = np.random.default_rng(sum(sizes) + spread)
            cluster = np.repeat(np.arange(4), sizes)
            welch = ranks = 0
            for _ in range(repeats):
                x = g.normal(size=len(cluster)) * np.where(cluster == 0, 1, spread)
                welch += _tests.welch_anova(_tests.Moments.of(x, cluster, 4)).p <= 0.05
                ranks += _tests.kruskal(_tests.Ranks.of(x, cluster, 4)).p <= 0.05
            found.append(
                {
                    "what": f"clusters of {', '.join(map(str, sizes))}; all but the first spread x {spread}",
                    "welch": welch / repeats,
                    "ranks": ranks / repeats,
                }
            )
    return found


def patients_rates(repeats: int) -> list[dict[str, Any]]:
    """Values and clusters follow the patient and have nothing to do with each other."""
    found = []
    for count in (8, 14, 30, 60):
        ours: dict[str, int] = {}
        naive: dict[str, int] = {}
        for seed in range(repeats):
            g = np.random.default_rng(seed + 1000 * count)
            own = np.repeat(np.arange(count), g.integers(5, 40, count))
            edges = np.cumsum(g.dirichlet(np.full(3, 0.7), count), axis=1)
            cluster = np.minimum((g.random(len(own))[:, None] > edges[own]).sum(1), 2)
            level = g.normal(0, 1, count)[own]
            table = {
                "age": g.normal(60, 10, count)[own],
                "grey": level + g.normal(0, 1, len(own)),
                "sex": (g.random(count) < 0.4)[own],
            }
            options: dict[str, Any] = {"n_boot": 0, "n_permutations": 199, "seed": seed}
            for store, groups in ((ours, own), (naive, np.arange(len(own)))):
                p = associate(cluster, table, groups=groups, **options).table.set_index("variable")[
                    "p"
                ]
                for name in table:
                    store[name] = store.get(name, 0) + int(p[name] <= 0.05)
        found += [
            {
                "what": f"{count} patients, {name}",
                "ours": ours[name] / repeats,
                "naive": naive[name] / repeats,
            }
            for name in ours
        ]
    return found


def show(rows: list[dict[str, Any]], title: str) -> None:
    print(f"\n{title}")
    for row in rows:
        numbers = ", ".join(
            f"{key} {value:.0f}" if key.endswith("_ms") else f"{key} {value:.1%}"
            for key, value in row.items()
            if key != "what"
        )
        print(f"  {row['what']}: {numbers}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    quick = arguments.quick
    load = os.getloadavg()[0]
    print(f"load {load:.1f} on {os.cpu_count()} processors")
    result: dict[str, Any] = {"load": load, "machine": platform.platform(), "numpy": np.__version__}
    result["follow"] = follow(20_000, 3 if quick else 9)
    show(result["follow"], "from new clusters or a new selection to the answer (budget 300 ms)")
    result["few"] = few_values(500 if quick else 5000)
    show(result["few"], "called by a 5 % test where nothing is, few values in a cluster")
    result["patients"] = patients_rates(40 if quick else 400)
    show(result["patients"], "called by a 5 % test where nothing is, tiles of a patient alike")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
