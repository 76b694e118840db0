"""What ``wk.extract`` costs over the bare forward pass of the same network on the same images.

Interleaved A/B, so that a machine that gets slower or faster meets both: in every round the bare
loop and the whole of ``extract``'s (reading, preprocessing, capturing, writing, checksums,
thumbnails) run on the same tiles, in an order that alternates. Budget: at most 3 %.

    OMP_WAIT_POLICY=passive python -m benchmarks.bench_extract [--quick] [--out results.json]

Two overheads are given: of the clock, and of the processor time of all threads. Reading and
writing overlap with computing, so the second bounds the first from above on an idle machine; and
it is the one to look at where other programs run. (``passive``: a thread of OpenMP that waits
actively would count as work.)

The bare loop has everything ready: float32 batches in memory, channels last, evaluation and
inference mode, nothing kept of the result. What is compared is therefore all that the kit adds.
Images are real CT slices and H&E tiles where ``../shared/data`` exists, else textures.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

import widgetkit as wk
from widgetkit.extraction import Preprocess
from widgetkit.extraction.device import channels_last, reproducible

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
SIDE = 224
BUDGET_PERCENT = 3.0


class Block(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.relu = nn.ReLU(inplace=True)
        self.short = (
            nn.Sequential(
                nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside)
            )
            if stride != 1 or inside != outside
            else nn.Identity()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + self.short(x))


class ResNet18(nn.Module):
    """He et al. (2016): 18 layers, 1.8 GFLOP at 224 px; random weights, the time is the same."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )
        widths = (64, 128, 256, 512)
        stages = []
        for i, width in enumerate(widths):
            before = widths[max(0, i - 1)]
            stages.append(
                nn.Sequential(Block(before, width, 1 if i == 0 else 2), Block(width, width, 1))
            )
        self.layers = nn.Sequential(*stages)
        self.fc = nn.Linear(512, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.layers(self.stem(x)).mean((2, 3)))


def images(count: int) -> tuple[np.ndarray, str]:
    """(count, 224, 224, 3) uint8, and what they are."""
    found: list[Image.Image] = []
    for name in ("tcga-tiles.zip", "mednist-chestct.zip"):
        if (DATA / name).is_file():
            with zipfile.ZipFile(DATA / name) as archive:
                for entry in sorted(archive.namelist()):
                    if entry.lower().endswith((".png", ".jpg", ".jpeg")) and len(found) < count:
                        found.append(Image.open(archive.open(entry)).convert("RGB"))
                        found[-1].load()
    if found:
        tiles = [np.asarray(image.resize((SIDE, SIDE))) for image in found]
        repeats = -(-count // len(tiles))
        return np.stack((tiles * repeats)[:count]), "real H&E tiles and CT slices"
    noise = np.random.default_rng(0).integers(0, 256, (count, 28, 28, 3), np.uint8)
    return noise.repeat(8, axis=1).repeat(8, axis=2), "textures"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiles", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--quick", action="store_true", help="64 tiles, 3 rounds")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.quick:
        given.tiles, given.rounds = 64, 3
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)

    pixels, what = images(given.tiles)
    tiles = wk.tiles.from_array(pixels)
    model = ResNet18().eval()
    channels_last(model)
    preprocess = Preprocess.suggest(pixels.shape[1:], pixels.dtype, model)
    batches = [
        preprocess(part) for part in np.split(pixels, range(given.batch, len(pixels), given.batch))
    ]
    folder = Path(tempfile.mkdtemp(prefix="bench-extract-"))

    def bare() -> tuple[float, float]:
        with torch.inference_mode(), reproducible():
            start, cpu = time.perf_counter(), time.process_time()
            for batch in batches:
                model(batch)
            return time.perf_counter() - start, time.process_time() - cpu

    def whole(name: str) -> tuple[float, float, float]:
        """Seconds and processor seconds of the loop, and seconds of the rest of the call."""
        start = time.perf_counter()
        store = wk.extract(
            model,
            tiles,
            "layers",
            out=folder / name,
            preprocess=preprocess,
            batch_size=given.batch,
            device="cpu",
            progress=False,
        )
        seconds = time.perf_counter() - start
        shutil.rmtree(store.path)
        info = store.manifest.info
        return info["loop_seconds"], info["loop_cpu_seconds"], seconds - info["loop_seconds"]

    bare()
    whole("warm.wk")
    rows = []
    for index in range(given.rounds):
        if index % 2:
            ours, base = whole(f"{index}.wk"), bare()
        else:
            base, ours = bare(), whole(f"{index}.wk")
        rows.append((*base, *ours))
        print(
            f"round {index}: bare {base[0]:.2f} s ({base[1]:.2f} s of processor), "
            f"extract {ours[0]:.2f} s ({ours[1]:.2f} s)",
            flush=True,
        )
    shutil.rmtree(folder)
    wall, cpu, our_wall, our_cpu, rest = (
        statistics.median(column) for column in zip(*rows, strict=True)
    )
    over = 100 * (statistics.median(row[3] / row[1] for row in rows) - 1)
    result = {
        "tiles": given.tiles,
        "images": what,
        "threads": given.threads,
        "bare_images_per_s": round(given.tiles / wall, 1),
        "extract_images_per_s": round(given.tiles / our_wall, 1),
        "overhead_clock_percent": round(
            100 * (statistics.median(row[2] / row[0] for row in rows) - 1), 2
        ),
        "overhead_processor_percent": round(over, 2),
        "processor_ms_per_tile": {
            "bare": round(1e3 * cpu / given.tiles, 2),
            "extract": round(1e3 * our_cpu / given.tiles, 2),
        },
        "fixed_seconds_per_call": round(rest, 2),
        "budget_percent": BUDGET_PERCENT,
        "within_budget": over <= BUDGET_PERCENT,
    }
    print(json.dumps(result, indent=2))
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
