"""How fast tiles are read, each beside the plainest loop that gives the same pixels.

- slide: cutting a grid at the slide's own resolution and at 1 um a pixel, against OpenSlide's own
  ``read_region`` + ``resize`` loop over the same places;
- folder: JPEG files through ``from_folder``, against a loop of ``PIL.Image.open``.

    python -m benchmarks.bench_tiles [--quick]

The overhead over the loop is what the kit adds (checks, composition on white, order); it should be
a few percent.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from widgetkit import tiles
from widgetkit.demos import fetch


def interleaved(ours: Callable[[], object], plain: Callable[[], object], rounds: int) -> str:
    """Median seconds of both, measured in turn, and their ratio."""
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(rounds):
        for name, call in (("ours", ours), ("plain", plain)):
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    a, b = (statistics.median(times[name]) for name in ("ours", "plain"))
    return f"{a:7.3f} s   plain loop {b:7.3f} s   ratio {a / b:5.2f}"


def slide(mpp: float, rounds: int) -> None:
    import openslide

    path = fetch("slide")
    source = tiles.from_slide(path, size=128, mpp=mpp, stride=64)
    handle = openslide.OpenSlide(path)
    places = source.table[["x", "y"]].to_numpy(int)
    side = 128 if source.table["mpp"][0] < 0.6 else round(128 * mpp / 0.499)

    def plain() -> list[np.ndarray]:
        out = []
        for x, y in places.tolist():
            region = handle.read_region((x, y), 0, (side, side)).convert("RGB")
            out.append(np.asarray(region.resize((128, 128), Image.Resampling.LANCZOS)))
        return out

    rows = range(len(source))
    print(
        f"slide, {len(source)} tiles at {mpp} um: {interleaved(lambda: source.read(rows), plain, rounds)}"
    )


def folder(count: int, rounds: int) -> None:
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as root:
        for i in range(count):
            coarse = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((224, 224)).save(Path(root) / f"{i:05d}.jpg", quality=90)
        start = time.perf_counter()
        source = tiles.from_folder(root)
        opened = time.perf_counter() - start
        files = sorted(Path(root).iterdir())
        text = interleaved(
            lambda: source.read(range(count)),
            lambda: [np.asarray(Image.open(file).convert("RGB")) for file in files],
            rounds,
        )
        print(f"folder, {count} JPEG of 224 px: {text}   (headers of all: {opened:.2f} s)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    rounds = 3 if parser.parse_args().quick else 7
    slide(0.5, rounds)
    slide(1.0, rounds)
    folder(300 if rounds == 3 else 2000, rounds)


if __name__ == "__main__":
    main()
