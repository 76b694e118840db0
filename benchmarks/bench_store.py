"""Cold and warm reads of an activation store, each beside memory-mapped fancy indexing.

    python -m benchmarks.bench_store --gb 4 --out benchmarks/results/store.json

Makes a store of the given size in a temporary folder and the same numbers as one flat ``.npy``
file. Before every cold read the files are dropped from the page cache (``posix_fadvise``), and new
rows are drawn for every repetition. Cold figures depend on the disk; the ratios are the point.
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

from widgetkit.store import ActivationStore, LayerPlan, Plan, StoreWriter

CHANNELS, GRID = 512, (7, 7)
LAYER = "layer4"
ROW_BYTES = CHANNELS * GRID[0] * GRID[1] * 2


def make(folder: Path, n: int) -> tuple[ActivationStore, Path, float]:
    """A store of ``n`` maps, the same numbers in one flat file, and the seconds writing took."""
    rng = np.random.default_rng(0)
    block = np.maximum(rng.standard_normal((512, CHANNELS, *GRID)), 0).astype(np.float16)
    tiles = pd.DataFrame({"id": [f"{i:016x}" for i in range(n)]})
    plan = Plan(tiles=tiles, layers=[LayerPlan(LAYER, CHANNELS, GRID)], segment_rows=512)
    flat = np.lib.format.open_memmap(
        folder / "flat.npy", mode="w+", dtype=np.float16, shape=(n, CHANNELS, *GRID)
    )
    seconds = 0.0
    with StoreWriter.open(folder / "bench.wk", plan=plan) as writer:
        for index in range(plan.segments):
            rows = plan.rows(index)
            values = np.roll(block, index, axis=0)[: len(rows)]
            start = time.perf_counter()
            writer.write_segment(index, {LAYER: values})
            seconds += time.perf_counter() - start
            flat[rows.start : rows.stop] = values
        flat.flush()
        start = time.perf_counter()
        store = writer.commit()
        seconds += time.perf_counter() - start
    return store, folder / "flat.npy", seconds


def forget(folder: Path) -> None:
    """Drop every file below ``folder`` from the page cache."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def median_ms(
    run: Callable[[np.ndarray], Any], draws: list[np.ndarray], before: Callable[[], None]
) -> tuple[float, list[float]]:
    """Median milliseconds of ``run(rows)`` over the draws, ``before`` each, and all of them."""
    times = []
    for rows in draws:
        before()
        start = time.perf_counter()
        run(rows)
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times), times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gb", type=float, default=4.0, help="size of the store (default 4)")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None, help="where to make it (a real disk)")
    parser.add_argument("--out", type=Path, default=None, help="JSON file for the figures")
    parser.add_argument("--quick", action="store_true", help="0.2 GB, three repetitions")
    options = parser.parse_args()
    if options.quick:
        options.gb, options.repeat = 0.2, 3
    n = max(2000, int(options.gb * 1e9 / ROW_BYTES))

    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        store, flat, seconds = make(folder, n)
        print(
            f"{n} maps, {n * ROW_BYTES / 1e9:.2f} GB, written at {n * ROW_BYTES / 1e9 / seconds:.2f} GB/s"
        )

        # A store that has just been opened, so that no header of a segment is known to it.
        opened = [store]

        def start_cold() -> None:
            opened.append(ActivationStore.open(store.path))
            forget(folder)

        def mapped(rows: np.ndarray) -> np.ndarray:
            return np.asarray(
                np.load(flat, mmap_mode="r")[rows]
            )  # opened anew: nothing stays mapped

        def ours(rows: np.ndarray) -> np.ndarray:
            return opened[-1].activations(LAYER, rows)

        def mapped_positions(rows: np.ndarray) -> np.ndarray:
            cells = np.random.default_rng(1).integers(0, GRID[0] * GRID[1], len(rows))
            maps = np.load(flat, mmap_mode="r").reshape(n, CHANNELS, -1)
            return np.asarray(maps[rows, :, cells]).astype(np.float32)

        def our_positions(rows: np.ndarray) -> np.ndarray:
            return opened[-1].sample_positions(LAYER, len(rows), int(rows[0]))[2]

        def our_positions_spread(rows: np.ndarray) -> np.ndarray:
            return opened[-1].sample_positions(LAYER, len(rows), int(rows[0]), per_row=1)[2]

        rng = np.random.default_rng(2)
        check = rng.integers(0, n, 64)
        assert (ours(check) == mapped(check)).all()

        def draws(count: int) -> list[np.ndarray]:
            return [rng.choice(n, count, replace=False) for _ in range(options.repeat)]

        results: list[dict[str, Any]] = []

        def compare(title: str, count: int, naive: Any, quick: Any) -> None:
            row: dict[str, Any] = {"what": title, "count": count}
            rows = draws(count)  # the same rows for both
            for state, before in (("cold", start_cold), ("warm", lambda: None)):
                if state == "warm":
                    for part in rows:
                        naive(part)
                        quick(part)
                slow, slow_all = median_ms(naive, rows, before)
                fast, fast_all = median_ms(quick, rows, before)
                row[state] = {
                    "memmap_ms": slow, "store_ms": fast, "ratio": slow / fast,
                    "memmap_all_ms": slow_all, "store_all_ms": fast_all,
                }  # fmt: skip
                print(
                    f"{title:38} {state}  memmap {slow:9.1f} ms   store {fast:8.1f} ms   {slow / fast:6.1f} x"
                )
            results.append(row)

        compare("64 random patches", 64, mapped, ours)
        compare("1000 random patches", 1000, mapped, ours)
        compare("2000 positions", 2000, mapped_positions, our_positions)
        compare("2000 positions, one a tile", 2000, mapped_positions, our_positions_spread)
        start = time.perf_counter()
        ActivationStore.open(store.path)
        opening = 1e3 * (time.perf_counter() - start)
        forget(folder)
        start = time.perf_counter()
        report = store.verify()
        checking = time.perf_counter() - start
        print(
            f"open {opening:.1f} ms; verify(full) {report.bytes / 1e9 / checking:.2f} GB/s, ok={report.ok}"
        )

    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        data = {
            "benchmark": "store", "machine": platform.platform(), "cpus": os.cpu_count(),
            "numpy": np.__version__, "maps": n, "bytes": n * ROW_BYTES,
            "write_gb_s": n * ROW_BYTES / 1e9 / seconds, "open_ms": opening,
            "verify_gb_s": report.bytes / 1e9 / checking, "reads": results,
        }  # fmt: skip
        options.out.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
