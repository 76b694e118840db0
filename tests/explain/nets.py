"""Small torch networks, and the thinnest adaptor that gives them to map methods."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from widgetkit.explain import Batch
from widgetkit.testing.maps import SmallLayer


class ConvNet(nn.Module):
    """Two convolutions (the second is the layer), then a head: linear, or with a hidden layer."""

    def __init__(self, dimensions: int = 2, *, linear: bool = False, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        conv = nn.Conv2d if dimensions == 2 else nn.Conv3d
        pool = nn.AvgPool2d if dimensions == 2 else nn.AvgPool3d
        self.stem = nn.Sequential(conv(3, 6, 3, padding=1), nn.ReLU(), pool(2))
        self.features = nn.Sequential(conv(6, 8, 3, padding=1), nn.Softplus(), pool(2))
        self.dimensions = dimensions
        self.head: nn.Module = (
            nn.Linear(8, 4)
            if linear
            else nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4))
        )
        with torch.no_grad():
            for weight in self.parameters():
                # stronger than a fresh network, in which every position looks the same
                weight *= 4 if weight.ndim > 1 else 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.features(self.stem(x))
        axes = tuple(range(2, 2 + self.dimensions))
        return self.head(
            (maps * maps).mean(axes) if not isinstance(self.head, nn.Linear) else maps.mean(axes)
        )


def tensor(images: np.ndarray) -> torch.Tensor:
    """Images as the networks take them, (m, 3, *spatial) float32, one in 0..1."""
    return torch.from_numpy(np.moveaxis(np.asarray(images, np.float32), -1, 1).copy() / 255)


class TorchModel:
    """``widgetkit.explain.Model`` around a torch module, nothing more."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net.eval()

    def forward_to_layer(self, images: np.ndarray, layer: str) -> np.ndarray:
        with torch.no_grad():
            return self._through(images, layer)[0].numpy()

    def logits(self, images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self.net(tensor(images)).numpy()

    def activations_and_gradients(
        self, images: np.ndarray, layer: str, target_class: int
    ) -> tuple[np.ndarray, np.ndarray]:
        maps, logits = self._through(images, layer)
        gradient = torch.autograd.grad(logits[:, target_class].sum(), maps)[0]
        return maps.detach().numpy(), gradient.numpy()

    def _through(self, images: np.ndarray, layer: str) -> tuple[torch.Tensor, torch.Tensor]:
        seen: list[torch.Tensor] = []
        handle = self.net.get_submodule(layer).register_forward_hook(lambda *a: seen.append(a[2]))
        try:
            logits = self.net(tensor(images))
        finally:
            handle.remove()
        return seen[0], logits


def textures(count: int, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Smooth coloured noise with a bright spot, (count, *shape, 3) uint8."""
    generator = np.random.default_rng(seed)
    images = generator.random((count, *shape, 3))
    for axis in range(1, 1 + len(shape)):
        images = (images + np.roll(images, 1, axis) + np.roll(images, -1, axis)) / 3
    images[(slice(None), *(slice(s // 3, s // 2) for s in shape))] = 1
    return np.round(images * 255).astype(np.uint8)


def batch_of(net: ConvNet, images: np.ndarray, layer: str = "features", **more: Any) -> Batch:
    """A batch as a session would make it from a store that holds these images."""
    model = TorchModel(net)
    activations = model.forward_to_layer(images, layer)
    return Batch(
        np.arange(len(images)),
        activations=activations,
        images=images,
        layer=SmallLayer(layer, activations.shape[1], activations.shape[2:]),
        model=model,
        **more,
    )
