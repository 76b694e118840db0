"""Maps of whole slides as files: time, peak memory and size.

    python -m benchmarks.bench_export --out benchmarks/results/export.json

A map of 14,000 x 14,000 positions is that of a slide of 100,000 x 100,000 px with a position every 7 px.
Each case runs in a process of its own, whose peak memory is above that of an empty one. The maps are
made strip by strip from a repeated block of smooth noise; making them is part of the time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

CASES = (
    "empty",
    "values",
    "values, no compression",
    "ten channels",
    "winner",
    "outlines",
    "contours",
)
_BLOCK, _ROWS = 1000, 500


def smooth(seed: int, side: int) -> np.ndarray:
    """(side, side) float32, about 0..1, with structures some ten cells wide."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(seed).random((side, side)), 6, mode="wrap")
    noise -= noise.min()
    # as precise as kept weights are
    found: np.ndarray = (noise / noise.max()).astype(np.float16).astype(np.float32)
    return found


def strips(channels: int, side: int, *, labels: bool = False) -> Iterator[np.ndarray]:
    block = np.stack([smooth(c, _BLOCK) for c in range(channels)])
    if labels:
        block = (block * 10).astype(np.uint8)
    times = -(-side // _BLOCK)
    for start in range(0, side, _ROWS):
        at = start % _BLOCK
        rows = block[:, at : at + min(_ROWS, side - start)]
        yield np.tile(rows, (1, 1, times))[:, :, :side]


def run(case: str, side: int, folder: Path) -> dict[str, Any]:
    """One case in this process."""
    from widgetkit.slides.export_contours import contours, outline
    from widgetkit.slides.export_tiff import write_ome_tiff

    start = time.perf_counter()
    found: dict[str, Any] = {}
    if case in ("outlines", "contours"):
        side = min(side, 3000)
        field = np.tile(smooth(0, _BLOCK), (3, 3))[:side, :side]
        start = time.perf_counter()
        if case == "outlines":
            areas = outline((field * 10).astype(np.uint8), 5, downsample=32, tolerance=16)
        else:
            areas = contours(field, 0.5, downsample=32, tolerance=8)
        found = {
            "areas": len(areas),
            "corners": sum(len(a.outer) + sum(map(len, a.holes)) for a in areas),
        }
    elif case != "empty":
        channels = 10 if case == "ten channels" else 1
        side = side // 3 if case == "ten channels" else side
        labels = case == "winner"
        path = write_ome_tiff(
            folder / "a.ome.tif",
            strips(channels, side, labels=labels),
            shape=(channels, side, side),
            dtype="uint8" if labels else "float32",
            compression=None if "no compression" in case else "zlib",
        )
        found = {"file (MB)": round(path.stat().st_size / 1e6, 1)}
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "side": side,
        "seconds": round(seconds, 1),
        "processor seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak (MB)": round(used.ru_maxrss / 1024),
    } | found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=14_000)
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.case is not None:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(run(options.case, options.side, Path(folder))))
        return
    result: dict[str, Any] = {
        "machine": {
            "cores": os.cpu_count(),
            "load": os.getloadavg()[0],
            "python": platform.python_version(),
        }
    }
    for case in CASES:
        command = [sys.executable, "-m", "benchmarks.bench_export", "--side", str(options.side)]
        done = subprocess.run(
            [*command, "--case", case], check=True, capture_output=True, text=True
        )
        result[case] = json.loads(done.stdout)
    text = json.dumps(result, indent=2)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
