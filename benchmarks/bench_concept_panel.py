"""Concepts in a session: following a selection, one case, and reading 14 concepts in 20,000 tiles.

    OMP_NUM_THREADS=1 python -m benchmarks.bench_concept_panel
    OMP_NUM_THREADS=1 python -m benchmarks.bench_concept_panel --quick        2,000 tiles of 64 units

Milliseconds of wall time beside those of the processor, and the load of the machine: on a busy one the
latter is what the code takes. ``compare`` is beside a plain loop over tiles and concepts.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import widgetkit as wk
from widgetkit.concepts import ConceptSet
from widgetkit.session.concept_reading import ConceptReading
from widgetkit.store import ActivationStore, LayerPlan, Plan, StoreWriter

CONCEPTS, CLASSES, PER_PATIENT, TRIES = 14, 6, 10, 9


def timed(run: Callable[[], Any], tries: int = TRIES) -> tuple[float, float]:
    """Median wall and processor milliseconds of one call."""
    walls, works = [], []
    for _ in range(tries):
        work, wall = time.process_time(), time.perf_counter()
        run()
        walls.append(time.perf_counter() - wall)
        works.append(time.process_time() - work)
    return 1000 * statistics.median(walls), 1000 * statistics.median(works)


def planted(path: Path, n: int, d: int) -> tuple[ActivationStore, ConceptSet]:
    """A store of one layer of vectors behind a linear head, and 14 planted concepts."""
    rng = np.random.default_rng(0)
    truth = rng.integers(CLASSES, size=n)
    usual = rng.random((CLASSES, CONCEPTS)) < 0.25
    shows = rng.random((n, CONCEPTS)) < np.where(usual[truth], 0.8, 0.05)
    X = (shows @ rng.normal(size=(CONCEPTS, d)) + rng.normal(size=(n, d))).astype(np.float32)
    weight = rng.normal(size=(CLASSES, d)).astype(np.float32)
    bias = np.zeros(CLASSES, np.float32)
    names = [f"class {k}" for k in range(CLASSES)]
    table = pd.DataFrame(
        {
            "id": [f"{i:016x}" for i in range(n)], "source": "made", "x": 0.0, "y": 0.0, "z": 0.0,
            "level": 0, "size": 8, "mpp": 1.0, "patient": np.arange(n) // PER_PATIENT,
            "label": np.array(names)[truth],
        }
    )  # fmt: skip
    plan = Plan(
        tiles=table,
        layers=[LayerPlan("dense", d, ())],
        outputs=CLASSES,
        class_names=tuple(names),
        segment_rows=4096,
    )
    with StoreWriter.open(path, plan=plan) as writer:
        for index in range(plan.segments):
            rows = np.asarray(plan.rows(index))
            writer.write_segment(
                index, activations={"dense": X[rows]}, outputs=X[rows] @ weight.T + bias
            )
        store = writer.commit(head={"dense": (weight, bias)})
    made = ConceptSet(
        tuple(f"concept {f}" for f in range(CONCEPTS)),
        shows.astype(np.int8),
        np.arange(n, dtype=np.int32) // PER_PATIENT,
        tuple(names),
        usual,
    )
    return store, made


def by_loop(reading: ConceptReading, mask: np.ndarray) -> list[tuple[float, ...]]:
    """Shares and means of :meth:`ConceptReading.compare`, said tile by tile."""
    assert reading.relevance is not None
    found = []
    for f in range(len(reading.names)):
        seen, total, tiles = [0, 0], [0.0, 0.0], [0, 0]
        for i in range(reading.n):
            side = 0 if mask[i] else 1
            tiles[side] += 1
            if reading.identified.present[i, f]:
                seen[side] += 1
                total[side] += reading.relevance.relevance[i, f]
        found.append((*(s / t for s, t in zip(seen, tiles, strict=True)), *total))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    n, d = (2_000, 64) if quick else (20_000, 512)
    print(
        f"{n:,} tiles, {CONCEPTS} concepts, {d} units; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    with tempfile.TemporaryDirectory() as folder:
        store, made = planted(Path(folder) / "s.wk", n, d)
        session = wk.Session(store)
        session.set_concepts(made)
        learn = np.arange(n) < n // 2 // PER_PATIENT * PER_PATIENT
        rows: list[tuple[str, float, float]] = []

        def row(what: str, run: Callable[[], Any], tries: int = TRIES) -> None:
            rows.append((what, *timed(run, tries)))
            print(f"{what:52} {rows[-1][1]:10.1f} ms {rows[-1][2]:10.1f} ms of processor")

        row(
            "read_concepts, probe, half learned from",
            lambda: session.read_concepts(learn_from=learn),
            1,
        )
        row("read_concepts, probe, all held out", lambda: session.read_concepts(seed=1), 1)
        row("read_concepts, cav", lambda: session.read_concepts("cav", learn_from=learn), 1)
        other = wk.Session(ActivationStore.open(store.path))
        row("set_concepts, its reading found in the store", lambda: other.set_concepts(made), 1)
        assert other.concept_reading is not None
        reading = session.concept_reading
        assert reading is not None
        rng = np.random.default_rng(1)
        masks = iter([rng.random(n) < 0.2 for _ in range(4 * TRIES)])
        row("compare(intervals=False)", lambda: reading.compare(next(masks), intervals=False))
        row(
            f"compare, 1,000 draws of {n // PER_PATIENT:,} patients",
            lambda: reading.compare(next(masks)),
        )
        row("warnings", lambda: reading.warnings(next(masks)))
        row("case, with its nearest examples", lambda: reading.case(int(rng.integers(n))))
        mask = next(masks)
        loop = timed(lambda: by_loop(reading, mask), 1)[1]
        ours = timed(lambda: reading.compare(mask, intervals=False))[1]
        print(f"compare beside a loop over tiles and concepts: {loop / ours:.0f} times")
        row("save_as_concept of a fifth", lambda: session.save_as_concept("mine", mask), 3)


if __name__ == "__main__":
    main()
