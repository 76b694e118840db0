"""One extraction in a process of its own, slow enough to be killed: ``runner.py OUT [PART PARTS]``."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

import widgetkit as wk
from tests.extraction import models
from tests.extraction.conftest import textures
from widgetkit.extraction import prepare as preparing
from widgetkit.extraction.capture import evaluation
from widgetkit.extraction.device import placed, reproducible
from widgetkit.extraction.loop import Loop
from widgetkit.extraction.progress import Silent
from widgetkit.store import StoreWriter

ROWS, SEGMENT, BATCH = 90, 6, 3
LAYERS = ["layer1", "layer2", "pool"]


class Slow:
    """A source whose tiles take a moment."""

    def __init__(self, seconds: float) -> None:
        self._source = wk.tiles.from_array(textures(ROWS))
        self._seconds = seconds

    def __getattr__(self, name: str) -> object:
        return getattr(self._source, name)

    def __len__(self) -> int:
        return ROWS

    def read(self, rows: range) -> object:
        time.sleep(self._seconds)
        return self._source.read(rows)


def model() -> torch.nn.Module:
    return models.seeded(models.SmallCNN())


def whole(out: Path, seconds: float = 0.0, report: bool = False) -> wk.ActivationStore:
    def told(done: int, total: int) -> None:
        if report:
            print(done, flush=True)

    preparing.SEGMENT_ROWS = SEGMENT
    return wk.extract(
        model(), Slow(seconds), LAYERS, out=out, batch_size=BATCH, device="cpu", progress=told
    )


def part(out: Path, index: int, parts: int) -> None:
    """Every ``parts``-th segment, beside other processes that write theirs."""
    preparing.SEGMENT_ROWS = SEGMENT
    network, tiles, device = model(), Slow(0.0), torch.device("cpu")
    with placed(network, device), evaluation(network), reproducible():
        prepared = preparing.prepare(
            network,
            tiles,
            LAYERS,
            out=out,
            preprocess=None,
            batch_size=BATCH,
            device=device,
            labels=None,
            class_names=None,
            overwrite=False,
            layout=None,
        )
        writer = StoreWriter.join(out, plan=prepared.plan)
        segments = range(index, prepared.plan.segments, parts)
        Loop(network, prepared, device).run(tiles, writer, segments, progress=Silent(), cancel=None)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) == 4:
        part(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    else:
        whole(Path(sys.argv[1]), seconds=0.02, report=True)
