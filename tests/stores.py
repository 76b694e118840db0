"""Small real stores with planted truth, written by the real writer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from widgetkit.store import ActivationStore, LayerPlan, Plan, StoreWriter

#: A label that would be markup if it were ever put into a page unescaped.
HOSTILE = "<img src=x onerror=alert(1)>"


def planted(
    n: int, channels: int, grid: tuple[int, ...], kinds: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Non-negative activations ``(n, C, *grid)``: each tile mostly of one of ``kinds`` prototypes.

    The other cells hold the next kind, so that maps have something to show.
    """
    rng = np.random.default_rng(seed)
    prototypes = rng.gamma(0.6, 1.0, (kinds, channels)).astype(np.float32)
    truth = np.arange(n) % kinds
    cells = int(np.prod(grid))
    strength = rng.uniform(0.05, 0.2, (n, cells, kinds)).astype(np.float32)
    main = rng.uniform(0.8, 1.4, (n, cells)).astype(np.float32)
    other = rng.random((n, cells)) < 0.2
    kind = np.where(other, (truth[:, None] + 1) % kinds, truth[:, None])
    np.put_along_axis(strength, kind[..., None], main[..., None], axis=2)
    values = strength @ prototypes + rng.uniform(0, 0.02, (n, cells, channels)).astype(np.float32)
    return np.moveaxis(values, 1, 2).reshape(n, channels, *grid), truth


def textures(truth: np.ndarray, size: int, seed: int = 0) -> np.ndarray:
    """RGB tiles ``(n, size, size, 3)``: stripes, dots, waves and noise, one look a kind."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    looks = (
        np.sin(40 * x),
        np.sin(40 * y),
        np.sin(30 * (x + y)),
        np.cos(25 * np.hypot(x - 0.5, y - 0.5)),
    )
    hues = np.array([[200, 80, 140], [90, 140, 200], [120, 180, 110], [220, 180, 90]])
    out = np.empty((len(truth), size, size, 3), np.uint8)
    for i, kind in enumerate(truth):
        look = 0.5 + 0.35 * looks[kind % 4] + rng.normal(0, 0.08, (size, size))
        out[i] = np.clip(look[..., None] * hues[kind % 4] + 20, 0, 255)
    return out


def make_store(
    path: Path,
    *,
    n: int = 160,
    channels: int = 24,
    grid: tuple[int, ...] = (7, 7),
    kinds: int = 4,
    size: int = 48,
    seed: int = 0,
) -> ActivationStore:
    """``n`` textured tiles of three slides and two patients, of ``kinds`` planted kinds."""
    values, truth = planted(n, channels, grid, kinds, seed)
    names = ["stripes", "bars", "weave", HOSTILE]
    tiles = pd.DataFrame(
        {
            "id": [f"{i:016x}" for i in range(n)],
            "source": [f"slide-{i * 3 // max(1, n)}" for i in range(n)],
            "x": np.arange(n, dtype=float) % 16 * size,
            "y": np.arange(n, dtype=float) // 16 * size,
            "z": 0.0,
            "level": 0,
            "size": size,
            "mpp": 0.5,
            "patient": [f"patient-{i * 2 // max(1, n)}" for i in range(n)],
            "label": [names[k % 4] for k in truth],
            "age": np.arange(n, dtype=float) % 70 + 20,
        }
    )
    plan = Plan(
        tiles=tiles,
        layers=[LayerPlan("features.4", channels, grid)],
        model={"class": "Planted"},
        image_shape=(size, size, 3),
        segment_rows=64,
    )
    images = textures(truth, size, seed)
    with StoreWriter.open(path, plan=plan) as writer:
        for index in range(plan.segments):
            rows = np.asarray(plan.rows(index))
            writer.write_segment(
                index,
                activations={"features.4": values[rows].astype(np.float16)},
                images=images[rows],
            )
        return writer.commit()
