"""Small real stores, written by the real writer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from widgetkit.store import ActivationStore, LayerPlan, Plan, StoreWriter

#: A label that would be markup if it were ever put into a page unescaped.
HOSTILE = "<img src=x onerror=alert(1)>"
GRID = (4, 4)
CHANNELS = 12


def write_store(
    path: Path,
    n: int = 60,
    *,
    maps: bool = True,
    images: bool = True,
    labels: bool = True,
    outputs: bool = True,
    signed: bool = False,
    grid: tuple[int, ...] = GRID,
    channels: int = CHANNELS,
    kinds: int = 3,
    slides: Sequence[str] = ("alpha", "beta", "gamma"),
) -> ActivationStore:
    """``n`` tiles of ``kinds`` planted prototypes, three slides and two patients.

    Each tile is of one kind, but its cell 0 is of the next one.
    """
    rng = np.random.default_rng(7)
    prototypes = rng.gamma(0.5, 1.0, (kinds, channels)).astype(np.float32)
    kind = np.arange(n) % kinds
    cells = int(np.prod(grid)) if maps else 1
    each = np.repeat(kind[:, None], cells, axis=1)
    if maps:
        each[:, 0] = (kind + 1) % kinds
    values = prototypes[each] * rng.uniform(0.8, 1.2, (n, cells, 1)) + rng.uniform(
        0, 0.02, (n, cells, channels)
    )
    if signed:
        values = values - 0.5
    values = np.moveaxis(values, 1, 2).astype(np.float32)
    table = pd.DataFrame(
        {
            "id": [f"{i:016x}" for i in range(n)],
            "source": [slides[i * len(slides) // max(n, 1)] for i in range(n)],
            "x": np.arange(n, dtype=float) % 10 * 16,
            "y": np.arange(n, dtype=float) // 10 * 16,
            "z": 0.0,
            "level": 0,
            "size": 16,
            "mpp": 0.5,
            "slide": [slides[i * len(slides) // max(n, 1)] for i in range(n)],
        }
    )
    if labels:
        table["patient"] = [f"p{i * 2 // max(n, 1)}" for i in range(n)]
        table["label"] = [("stroma", "tumour", HOSTILE)[k % 3] for k in kind]
        table["score"] = np.linspace(0, 1, n)
    layers = [LayerPlan("features.4", channels, grid if maps else ())]
    if maps:
        layers.append(LayerPlan("pooled", channels, ()))
    plan = Plan(
        tiles=table,
        layers=layers,
        image_shape=(16, 16) if images else None,
        outputs=2 if outputs else None,
        class_names=("no", "yes") if outputs else None,
        segment_rows=32,
        default_layer="features.4",
    )
    pictures = rng.integers(0, 255, (n, 16, 16), dtype=np.uint8)
    logits = rng.normal(size=(n, 2)).astype(np.float32)
    with StoreWriter.open(path, plan=plan) as writer:
        for index in range(plan.segments):
            rows = np.asarray(plan.rows(index))
            vectors = values[rows].mean(axis=2)
            stored = (
                {"features.4": values[rows].reshape(len(rows), channels, *grid).astype(np.float16)}
                if maps
                else {"features.4": vectors}
            )
            if maps:
                stored["pooled"] = vectors
            writer.write_segment(
                index,
                activations=stored,
                images=pictures[rows] if images else None,
                outputs=logits[rows] if outputs else None,
            )
        return writer.commit()


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., ActivationStore]:
    """Writes a store into a folder of its own."""
    count = iter(range(1000))

    def build(n: int = 60, **options: object) -> ActivationStore:
        return write_store(tmp_path / f"s{next(count)}.wk", n, **options)  # type: ignore[arg-type]

    return build


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    """One store for tests that only ask; derived results stay between them."""
    return write_store(tmp_path_factory.mktemp("shared") / "s.wk")
