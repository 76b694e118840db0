"""Small networks and stores for what runs the rest of a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from tests.explain.nets import textures
from widgetkit.extraction import Preprocess, extract
from widgetkit.store import ActivationStore
from widgetkit.tiles import from_array

PREPROCESS = Preprocess(mean=(0.0,), std=(1.0,), scale=255.0)
CLASSES = ("benign", "low grade", "high grade", "artefact")


class Net(nn.Module):
    """A layer, non-negative or signed, then a linear or a bent rest."""

    def __init__(self, *, signed: bool = False, linear: bool = True, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.AvgPool2d(4))
        act: nn.Module = nn.Tanh() if signed else nn.ReLU()
        self.features = nn.Sequential(nn.Conv2d(6, 12, 3, padding=1), act)
        self.linear = linear
        self.bend = nn.Sequential(nn.Conv2d(12, 10, 1), nn.ReLU())
        self.fc = nn.Linear(12 if linear else 10, 4)
        with torch.no_grad():
            for weight in self.parameters():
                weight *= 3 if weight.ndim > 1 else 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.features(self.stem(x))
        return self.fc((x if self.linear else self.bend(x)).mean((2, 3)))


def pictures(n: int = 24, size: int = 24) -> np.ndarray:
    """Textures of different colours, so that the network has something to tell apart."""
    shade = np.random.default_rng(4).uniform(0.2, 1.2, (n, 1, 1, 3))
    return np.clip(textures(n, (size, size)) * shade, 0, 255).astype(np.uint8)


def store_of(
    net: nn.Module, out: Path, layer: str = "features", *, n: int = 24, slides: int = 4
) -> ActivationStore:
    """A store of ``pictures`` from ``slides`` slides; labels are what the network says, nearly."""
    rng = np.random.default_rng(1)
    table = pd.DataFrame(
        {
            "slide": [f"slide {i * slides // n}" for i in range(n)],
            "label": np.array(CLASSES, object)[rng.integers(0, 4, n)],
        }
    )
    return extract(
        net.eval(),
        from_array(pictures(n), metadata=table),
        [layer],
        out=out,
        preprocess=PREPROCESS,
        class_names=CLASSES,
        progress=False,
    )


def linear_head(
    weight: np.ndarray, bias: np.ndarray
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Global average pooling and one linear layer, on arrays."""

    def head(activations: np.ndarray, rows: np.ndarray) -> np.ndarray:
        pooled = activations.mean(axis=tuple(range(2, activations.ndim)), dtype=np.float64)
        return pooled @ weight.T + bias

    return head
