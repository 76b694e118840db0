"""Weights of positions beside scikit-learn, memory by length, and one pass killed and resumed.

    python -m benchmarks.bench_factors --out benchmarks/results/factors.json
    python -m benchmarks.bench_factors --quick      a tenth of everything

1. Weights of a million positions (tiles of 7 x 7, 512 channels) in ten given factors, from float16
   maps as a store keeps them, beside ``sklearn.decomposition.NMF.transform`` of the same positions
   as float32 rows, which is given them ready-made: turning the maps into rows is not counted
   against it. Both errors are recomputed from ``W`` and ``H`` by the same function.
2. Peak memory of ``factorise`` in a fresh process for two lengths of a store.
3. ``factorise`` of 100,000 tiles of 49 positions: whole, and killed by ``os._exit`` halfway and
   resumed by another process; the bytes of the two are compared.

The data are those of ``bench_analysis``: ten factors leave about 40 % of the norm unexplained.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.bench_analysis import CHANNELS, FACTORS, activations, relative_error
from widgetkit.factors.streaming import BLOCK_BYTES, weigh_stream
from widgetkit.factors.weighing import Weigher
from widgetkit.store import ActivationStore, LayerPlan, Plan, StoreWriter

CELLS = 49


def weights_of_positions(tiles: int, runs: int) -> dict[str, Any]:
    """Part 1."""
    from sklearn.decomposition import NMF as Theirs

    from widgetkit.analysis import NMF, nnls

    rows = activations(tiles * CELLS)
    rows = rows.astype(np.float16).astype(np.float32)
    H = NMF(FACTORS, backend="numpy").fit(rows[:20_000]).components_.astype(np.float32)
    maps = np.ascontiguousarray(
        rows.astype(np.float16).reshape(tiles, CELLS, CHANNELS).transpose(0, 2, 1)
    )

    def ours() -> np.ndarray:
        found = np.empty((tiles, FACTORS, CELLS), np.float16)
        step = BLOCK_BYTES // (CHANNELS * CELLS * 2)
        blocks = (
            (np.arange(at, min(at + step, tiles)), maps[at : at + step])
            for at in range(0, tiles, step)
        )
        for part, weights, _ in weigh_stream(blocks, Weigher(H)):
            found[part] = weights
        return found

    model = Theirs(FACTORS, init="nndsvda", random_state=0, max_iter=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(rows[:1000])
    model.components_ = H
    model.set_params(max_iter=200)

    seconds = base = busy = base_busy = float("inf")
    for _ in range(runs):  # in turn, least of each: other processes only ever add
        began, clock = time.process_time(), time.perf_counter()
        W = ours()
        busy = min(busy, time.process_time() - began)
        seconds = min(seconds, time.perf_counter() - clock)
        began, clock = time.process_time(), time.perf_counter()
        theirs = model.transform(rows)
        base_busy = min(base_busy, time.process_time() - began)
        base = min(base, time.perf_counter() - clock)
    W = W.astype(np.float32).transpose(0, 2, 1).reshape(-1, FACTORS)
    same = float("inf")
    for _ in range(runs):  # from the rows that theirs gets: float32, one a position
        clock = time.perf_counter()
        nnls(rows, H)
        same = min(same, time.perf_counter() - clock)
    return {
        "what": "weights of positions in given factors",
        "positions": tiles * CELLS,
        "channels": CHANNELS,
        "k": FACTORS,
        "seconds": seconds,
        "error": relative_error(rows, W, H),
        "baseline": "sklearn NMF.transform",
        "baseline_seconds": base,
        "baseline_error": relative_error(rows, theirs, H),
        "processor_seconds": busy,
        "baseline_processor_seconds": base_busy,
        "ratio": base / seconds,
        "seconds_of_the_same_rows": same,
        "ratio_of_the_same_rows": base / same,
        "ratio_of_processor_time": base_busy / busy,
        "goal": 10,
    }


def write_store(path: Path, tiles: int, channels: int) -> None:
    """A store of ``tiles`` tiles, the same 1,000 over and over with other sizes."""
    base = activations(1000 * CELLS)[:, :channels].reshape(1000, CELLS, channels)
    base = np.ascontiguousarray(base.transpose(0, 2, 1)).reshape(1000, channels, 7, 7)
    table = pd.DataFrame(
        {
            "id": [f"{i:016x}" for i in range(tiles)],
            "source": [f"slide {i * 8 // tiles}" for i in range(tiles)],
        }
    )
    plan = Plan(
        tiles=table,
        layers=[LayerPlan("layer4", channels, (7, 7))],
        model={"class": "Synthetic"},
        segment_rows=512,
    )
    with StoreWriter.open(path, plan=plan) as writer:
        for index in range(plan.segments):
            rows = np.asarray(plan.rows(index))
            size = 0.5 + (rows * 7919 % 1000) / 1000
            values = base[rows % 1000] * size[:, None, None, None].astype(np.float32)
            writer.write_segment(index, {"layer4": values.astype(np.float16)})
        writer.commit()


def child(path: Path, stop_at: float) -> None:
    """``factorise`` in this process; prints seconds and memory, or dies at a share of the tiles."""
    from widgetkit.factors import factorise

    store = ActivationStore.open(path)
    before = peak_mb()

    def progress(done: int, total: int) -> None:
        if done >= stop_at * total:
            os._exit(9)

    began = time.perf_counter()
    found = factorise(store, k=FACTORS, progress=progress)
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - began,
                "peak_mb": peak_mb(),
                "before_mb": before,
                "error": found.relative_error,
            }
        )
    )


def peak_mb() -> float:
    """Most memory this process has had. Not by getrusage, which counts that of its parent too."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return float("nan")


def run(path: Path, stop_at: float = 2.0) -> dict[str, Any] | None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench_factors", "--child", str(path), str(stop_at)],
        capture_output=True,
        text=True,
    )
    if done.returncode == 9:
        return None
    if done.returncode:
        raise SystemExit(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def digest(path: Path) -> str:
    """Of all arrays of the factors kept there."""
    total = hashlib.sha256()
    for file in sorted((path / "derived").rglob("*.npy")):
        total.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def memory(folder: Path, tiles: int, channels: int) -> list[dict[str, Any]]:
    """Part 2."""
    found = []
    for n in (tiles, 8 * tiles):
        path = folder / f"memory-{n}.wk"
        write_store(path, n, channels)
        measured = run(path)
        assert measured is not None
        found.append({"what": "memory of factorise", "tiles": n, "channels": channels} | measured)
        shutil.rmtree(path)
    return found


def one_pass(folder: Path, tiles: int, channels: int) -> dict[str, Any]:
    """Part 3."""
    path = folder / "pass.wk"
    write_store(path, tiles, channels)
    whole = run(path)
    assert whole is not None
    wanted = digest(path)
    shutil.rmtree(path / "derived")
    killed = run(path, 0.5)
    resumed = run(path)
    assert killed is None and resumed is not None
    kept = sum(f.stat().st_size for f in (path / "derived").rglob("*.npy"))
    activations_bytes = sum(f.stat().st_size for f in (path / "activations").rglob("*.npy"))
    return {
        "what": "fit and assign in one pass",
        "tiles": tiles,
        "positions": tiles * CELLS,
        "channels": channels,
        "seconds": whole["seconds"],
        "resumed_seconds": resumed["seconds"],
        "peak_mb": whole["peak_mb"],
        "same_bytes": digest(path) == wanted,
        "kept_mb": kept / 2**20,
        "store_mb": activations_bytes / 2**20,
        "error": whole["error"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--channels", type=int, default=128, help="of the stores of parts 2 and 3")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(Path(options.child[0]), float(options.child[1]))
        return
    scale = 10 if options.quick else 1
    results = [weights_of_positions(20_480 // scale, options.runs)]
    with tempfile.TemporaryDirectory() as folder:
        results += memory(Path(folder), 6_000 // scale, options.channels)
        results.append(one_pass(Path(folder), 100_000 // scale, options.channels))
    for result in results:
        print("  ".join(f"{key} {_short(value)}" for key, value in result.items()))
    report = {
        "results": results,
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "load": os.getloadavg()[0],
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("numpy", "scikit-learn")},
    }
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
