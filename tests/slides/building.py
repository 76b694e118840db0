"""Stores of given boxes, and of given tile sources; written by the real writer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from widgetkit.store import ActivationStore, LayerPlan, Plan, StoreWriter
from widgetkit.tiles import TileSource

GRID, CHANNELS, KINDS = (2, 3), 5, 3


def values_of(n: int, grid: tuple[int, ...] = GRID, seed: int = 0) -> np.ndarray:
    """Non-negative activations (n, C, *grid): each position mostly of one of three prototypes."""
    rng = np.random.default_rng(seed)
    prototypes = rng.gamma(0.7, 1.0, (KINDS, CHANNELS)) + np.eye(KINDS, CHANNELS) * 3
    kind = rng.integers(0, KINDS, (n, int(np.prod(grid))))
    strength = rng.uniform(0.5, 1.5, (*kind.shape, 1))
    values = prototypes[kind] * strength
    return np.moveaxis(values, 1, 2).reshape(n, CHANNELS, *grid).astype(np.float16)


def write(
    path: Path,
    table: pd.DataFrame,
    *,
    source: Mapping[str, Any] | None = None,
    images: np.ndarray | None = None,
    grid: tuple[int, ...] = GRID,
) -> ActivationStore:
    """A store with this table; one layer of planted activations."""
    values = values_of(len(table), grid) if grid else values_of(len(table), (1,))[..., 0]
    plan = Plan(
        tiles=table,
        layers=[LayerPlan("block", CHANNELS, grid)],
        source=dict(source or {}),
        image_shape=None if images is None else images.shape[1:],
        segment_rows=16,
    )
    with StoreWriter.open(path, plan=plan) as writer:
        for index in range(plan.segments):
            rows = np.asarray(plan.rows(index))
            part = values[rows] if grid else values[rows].astype(np.float32)
            writer.write_segment(
                index, {"block": part}, images=None if images is None else images[rows]
            )
        return writer.commit()


def of_source(path: Path, tiles: TileSource, grid: tuple[int, ...] = GRID) -> ActivationStore:
    """A store of a tile source, with its pictures and provenance."""
    images = tiles.read(range(len(tiles)))
    return write(path, tiles.table, source=tiles.describe(), images=images, grid=grid)


def boxed(
    path: Path, corners: list[tuple[str, float, float]], *, size: int = 8, **options: Any
) -> ActivationStore:
    """A store of tiles ``(source, x, y)`` read at level 0."""
    n = len(corners)
    table = pd.DataFrame(
        {
            "id": [f"{i:016x}" for i in range(n)],
            "source": [c[0] for c in corners],
            "x": [float(c[1]) for c in corners],
            "y": [float(c[2]) for c in corners],
            "z": 0.0,
            "level": 0,
            "size": size,
            "mpp": np.nan,
        }
    )
    return write(path, table, **options)
