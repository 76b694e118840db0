"""Small stores for the tests of the store, and the slow obvious answers beside them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from widgetkit.store import ActivationStore, LayerPlan, Plan, StoreWriter

MAPS, VECTORS = "features.Conv", "pool"


def table(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(n)
    return pd.DataFrame(
        {
            "id": [f"{i:016x}" for i in range(n)],
            "source": [f"slide {i % 3}" for i in range(n)],
            "x": rng.uniform(0, 1e5, n),
            "mpp": np.full(n, np.nan),
            "label": [None if i % 4 == 0 else f"<b>{i % 2}</b>" for i in range(n)],
        }
    )


class Content:
    """What goes into a store of ``n`` tiles; the same every time for the same arguments."""

    def __init__(
        self,
        n: int = 11,
        *,
        segment_rows: int = 4,
        shape: tuple[int, ...] | None = (12, 10, 3),
        encoding: str = "raw",
        grid: tuple[int, ...] = (3, 2),
        seed: int = 0,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.maps = rng.standard_normal((n, 5, *grid)).astype(np.float16)
        self.maps[:, 2] = 0.5
        self.vectors = rng.standard_normal((n, 3)).astype(np.float32)
        self.outputs = rng.standard_normal((n, 2)).astype(np.float32)
        self.images: np.ndarray | None = None
        if shape is not None:
            ramps = np.linspace(0, 200, int(np.prod(shape)), dtype=np.uint8).reshape(shape)
            self.images = ramps + rng.integers(0, 40, (n, *(1 for _ in shape)), dtype=np.uint8)
        self.head = (
            rng.standard_normal((2, 5)).astype(np.float32),
            np.array([0.5, -1], np.float32),
        )
        self.plan = Plan(
            tiles=table(n),
            layers=[LayerPlan(MAPS, 5, grid), LayerPlan(VECTORS, 3)],
            model={"class": "Net", "weights_hash": "ab" * 8},
            preprocess={"mean": (0.5, 0.5, 0.5)},
            source={"kind": "array"},
            image_shape=shape,
            image_encoding=encoding,  # type: ignore[arg-type]
            outputs=2,
            class_names=("benign", "malignant"),
            seeds={"tiles": 3},
            segment_rows=segment_rows,
        )

    def write_segment(self, writer: StoreWriter, index: int) -> None:
        rows = slice(self.plan.rows(index).start, self.plan.rows(index).stop)
        writer.write_segment(
            index,
            {MAPS: self.maps[rows], VECTORS: self.vectors[rows]},
            images=None if self.images is None else self.images[rows],
            outputs=self.outputs[rows],
        )

    def write(self, path: Path, *, order: list[int] | None = None) -> ActivationStore:
        with StoreWriter.open(path, plan=self.plan) as writer:
            for index in order if order is not None else writer.missing_segments():
                self.write_segment(writer, index)
            return writer.commit(head={MAPS: self.head}, info={"device": "cpu"})

    def changed(self, **fields: Any) -> Plan:
        return replace(self.plan, **fields)


def folder_bytes(path: Path) -> dict[str, str]:
    """SHA-256 of every file of a committed store, the manifest without its time of creation."""
    found = {}
    for file in sorted(path.rglob("*")):
        if file.is_file():
            data = file.read_bytes()
            if file.name == "manifest.json":
                value = json.loads(data)
                del value["created"], value["checksum"]
                data = json.dumps(value).encode()
            found[file.relative_to(path).as_posix()] = hashlib.sha256(data).hexdigest()
    return found
