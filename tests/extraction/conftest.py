"""Tiles made of textures that differ, and the small networks."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

import widgetkit as wk
from tests.extraction import models
from widgetkit.tiles import TileSource


def textures(n: int, shape: tuple[int, ...] = (32, 32, 3), seed: int = 0) -> np.ndarray:
    """(n, *shape) uint8: waves of different direction, frequency and colour, with noise."""
    generator = np.random.default_rng(seed)
    colour = len(shape) >= 3 and shape[-1] == 3
    spatial = shape[:-1] if colour else shape
    axes = np.meshgrid(*(np.linspace(0, 1, side) for side in spatial), indexing="ij")
    out = np.empty((n, *shape), np.uint8)
    for tile in out:
        phase = sum(
            axis * k for axis, k in zip(axes, generator.normal(0, 20, len(axes)), strict=True)
        )
        wave = 0.5 + 0.4 * np.sin(phase)
        if colour:
            wave = wave[..., None] * generator.uniform(0.3, 1.0, 3)
        tile[...] = np.clip(wave * 255 + generator.normal(0, 8, shape), 0, 255)
    return out


@pytest.fixture
def cnn() -> nn.Module:
    return models.seeded(models.SmallCNN())


@pytest.fixture
def vit() -> nn.Module:
    return models.seeded(models.SmallViT())


@pytest.fixture
def tiles() -> TileSource:
    return wk.tiles.from_array(textures(23))


def hooks_of(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
