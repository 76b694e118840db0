"""Small real stores whose factors are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from widgetkit.store import ActivationStore, LayerPlan, Plan, StoreWriter

LAYER = "features.4"


def prototypes(k: int, channels: int, seed: int = 0) -> np.ndarray:
    """(k, C) non-negative, rows of length 1, each with channels of its own and shared ones."""
    rng = np.random.default_rng(seed)
    H = rng.gamma(0.5, 1.0, (k, channels)) * (rng.random((k, channels)) < 0.6)
    H[np.arange(k), np.arange(k) % channels] += 2
    return (H / np.linalg.norm(H, axis=1, keepdims=True)).astype(np.float32)


def weights(n: int, k: int, grid: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """(n, k, *grid): one strong factor a position, some of another, most of the rest 0."""
    rng = np.random.default_rng(seed)
    cells = int(np.prod(grid))
    W = rng.gamma(2.0, 0.2, (n, k, cells)) * (rng.random((n, k, cells)) < 0.3)
    strong = rng.integers(0, k, (n, 1, cells))
    np.put_along_axis(W, strong, rng.uniform(1, 3, (n, 1, cells)), axis=1)
    return W.reshape(n, k, *grid).astype(np.float32)


def write(
    path: Path,
    maps: np.ndarray,
    *,
    slides: Sequence[str] | None = None,
    ids: Sequence[str] | None = None,
    layer: str = LAYER,
    segment_rows: int = 16,
) -> ActivationStore:
    """A store of the given activations (n, C, *grid), or (n, C) for a layer without maps."""
    n, channels, *grid = maps.shape
    tiles = pd.DataFrame(
        {
            "id": [f"{i:016x}" for i in range(n)] if ids is None else list(ids),
            "source": [f"slide-{i * 3 // max(1, n)}" for i in range(n)]
            if slides is None
            else list(slides),
        }
    )
    plan = Plan(
        tiles=tiles,
        layers=[LayerPlan(layer, channels, tuple(grid))],
        model={"class": "Planted"},
        segment_rows=segment_rows,
    )
    kept = maps.astype(np.float16 if grid else np.float32)
    with StoreWriter.open(path, plan=plan) as writer:
        for index in range(plan.segments):
            writer.write_segment(index, {layer: kept[np.asarray(plan.rows(index))]})
        return writer.commit()


def planted(
    path: Path,
    *,
    n: int = 60,
    k: int = 4,
    channels: int = 32,
    grid: tuple[int, ...] = (5, 5),
    noise: float = 0.0,
    seed: int = 0,
    **options: object,
) -> tuple[ActivationStore, np.ndarray, np.ndarray]:
    """A store of the ReLU of ``W H`` plus normal noise, and ``H`` and ``W``.

    ``noise`` is the norm of the noise over that of ``W H``.
    """
    H, W = prototypes(k, channels, seed), weights(n, k, grid, seed)
    maps = np.einsum("nk...,kc->nc...", W, H)
    random = np.random.default_rng(seed + 1).standard_normal(maps.shape)
    maps = maps + noise * np.linalg.norm(maps) / np.linalg.norm(random) * random
    return write(path, np.maximum(maps, 0), **options), H, W  # type: ignore[arg-type]


def block_spectrum(images: np.ndarray, size: int = 8) -> np.ndarray:
    """(n, H, W) grey to (n, C, H / size, W / size): a bank of oriented filters and its modulus.

    What a first layer of a network does, with known filters: the windowed Fourier transform of
    each block, one channel a frequency.
    """
    n, height, width = images.shape
    blocks = images.reshape(n, height // size, size, width // size, size).swapaxes(2, 3)
    window = np.hanning(size + 2)[1:-1]
    spectrum = np.abs(np.fft.rfft2(blocks * np.outer(window, window)))
    flat = spectrum.reshape(*spectrum.shape[:3], -1)[..., 1:]
    return np.moveaxis(flat, 3, 1)


def textured_tiles(n: int, kinds: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(n, 64, 64) tiles of two textures each on the sides of a line, and which is where."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64] / 8.0
    waves = [2 * np.pi * np.array(f) for f in ((0, 2), (2, 0), (1, 1), (3, -3))][:kinds]
    truth = np.empty((n, 64, 64), np.int64)
    images = np.empty((n, 64, 64))
    for i in range(n):
        one, two = rng.choice(kinds, 2, replace=False)
        angle = rng.uniform(0, 2 * np.pi)
        side = (x - 4) * np.cos(angle) + (y - 4) * np.sin(angle) > rng.uniform(-1.5, 1.5)
        truth[i] = np.where(side, one, two)
        looks = [np.sin(w[0] * y + w[1] * x + rng.uniform(0, 6)) for w in waves]
        images[i] = np.choose(truth[i], looks) * rng.uniform(0.7, 1.3)
        images[i] += rng.normal(0, 0.1, (64, 64))
    return images, truth
