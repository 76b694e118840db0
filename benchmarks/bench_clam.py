"""CLAM beside the usual Score-CAM loop: one image, 512 channels, trained weights, real CT slices.

    python -m benchmarks.bench_clam --slices CHESTCT.zip --out benchmarks/results/clam.json

``--slices`` is a zip of JPEG slices, one image a file. An encoder with 512 channels in its last
layer is trained here as the first half of an autoencoder, the latent vectors are its pooled
channels, and k-means gives the centres. The usual loop, written out as in the grad-cam package
(whose own version ends in a class's logit), takes every channel in batches of 16.
"""

from __future__ import annotations

import argparse
import io
import json
import time
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from widgetkit.explain import Batch, LatentTarget
from widgetkit.explain.clam import Clam
from widgetkit.explain.soft import soft_assign
from widgetkit.extraction import ModelContext, Preprocess
from widgetkit.testing.maps import SmallLayer

CHANNELS, SIZE, CLUSTERS = 512, 64, 4
PRUNES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)


def slices(path: Path, count: int) -> np.ndarray:
    """(count, 64, 64) uint8, evenly spaced through the archive."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(n for n in archive.namelist() if n.lower().endswith((".jpeg", ".jpg")))
        chosen = [names[i] for i in np.linspace(0, len(names) - 1, count).astype(int)]
        pictures = [
            Image.open(io.BytesIO(archive.read(n))).convert("L").resize((SIZE, SIZE))
            for n in chosen
        ]
    return np.stack([np.asarray(p) for p in pictures])


class Encoder(nn.Module):
    """Three halvings, the last with 512 channels behind a ReLU; ``latent`` is their mean."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 32, 64, 128, CHANNELS)
        blocks: list[nn.Module] = []
        for a, b in pairwise(widths):
            blocks += [
                nn.Conv2d(a, b, 3, 2 if b != CHANNELS else 1, 1),
                nn.BatchNorm2d(b),
                nn.ReLU(),
            ]
        self.last = nn.Sequential(*blocks)
        self.latent = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.latent(self.last(x))
        return pooled


def trained(images: np.ndarray, epochs: int) -> Encoder:
    """The encoder of an autoencoder that has learned to give these slices back."""
    torch.manual_seed(0)
    encoder = Encoder()
    layers: list[nn.Module] = []
    for a, b in ((CHANNELS, 64), (64, 32), (32, 16)):
        layers += [nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.Upsample(scale_factor=2)]
    decoder = nn.Sequential(*layers, nn.Conv2d(16, 1, 3, padding=1))
    x = torch.from_numpy(images[:, None].astype(np.float32) / 255)
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=2e-3)
    for epoch in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(x)).split(32):  # type: ignore[no-untyped-call]
            loss = nn.functional.mse_loss(decoder(encoder.last(x[rows])), x[rows])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += float(loss.detach()) * len(rows)
        print(f"epoch {epoch}: mean squared error {total / len(x):.5f}", flush=True)
    return encoder.eval()


@torch.no_grad()
def usual_loop(
    encoder: Encoder, image: np.ndarray, centres: np.ndarray, index: int, batch: int = 16
) -> np.ndarray:
    """Every channel upsampled, scaled, multiplied with the input and passed on, 16 at a time."""
    x = torch.from_numpy(image[None, None].astype(np.float32) / 255)
    activations = encoder.last(x)
    masks = nn.UpsamplingBilinear2d(size=(SIZE, SIZE))(activations)
    flat = masks.view(1, CHANNELS, -1)
    low, high = flat.min(dim=-1)[0][..., None, None], flat.max(dim=-1)[0][..., None, None]
    masks = (masks - low) / (high - low + 1e-8)
    inputs = x[:, None] * masks[:, :, None]
    scores: list[float] = []
    for start in range(0, CHANNELS, batch):
        z = encoder(inputs[0, start : start + batch]).numpy()
        scores += soft_assign(z, centres)[:, index].tolist()
    base = soft_assign(encoder(torch.zeros_like(x)).numpy(), centres)[0, index]
    alpha = np.maximum(np.array(scores) - base, 0)
    found: np.ndarray = np.maximum(np.einsum("c,chw->hw", alpha, activations[0].numpy()), 0)
    return found


def like(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation; 1 where both are constant."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return float(np.ptp(one) == np.ptp(other))
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def measure(path: Path, count: int, epochs: int, tiles: int) -> dict[str, Any]:
    """Seconds an image, and how far the maps agree with all channels'."""
    from sklearn.cluster import KMeans

    images = slices(path, count)
    encoder = trained(images, epochs)
    context = ModelContext(encoder, preprocess=Preprocess(mean=(0.0,), std=(1.0,), scale=255.0))
    latents = context.forward_to_layer(images, "latent")
    means = KMeans(CLUSTERS, n_init=10, random_state=0).fit(latents)
    centres = means.cluster_centers_
    found: dict[str, Any] = {"slices": count, "epochs": epochs, "tiles": tiles, "prune": {}}
    rows = np.linspace(0, count - 1, tiles).astype(int)
    jobs = []
    for row in rows:
        tile = images[row : row + 1]
        activations = context.forward_to_layer(tile, "last")
        batch = Batch(
            np.array([row]),
            activations=activations,
            images=tile,
            layer=SmallLayer("last", CHANNELS, activations.shape[2:]),
            model=context,
        )
        jobs.append((batch, LatentTarget(centres, int(means.labels_[row]), latent="latent")))

    def run(method: Clam) -> tuple[float, list[np.ndarray], float]:
        seen: list[tuple[int, int]] = []
        maps, took = [], []
        for batch, target in jobs:
            seen.clear()
            object.__setattr__(batch, "progress", lambda *a: seen.append(a))
            start = time.perf_counter()
            maps.append(method.compute(batch, target)[0])
            took.append(time.perf_counter() - start)
        return float(np.median(took)), maps, float(seen[-1][1])

    took, loops = [], []
    for batch, target in jobs:
        assert batch.images is not None
        start = time.perf_counter()
        loops.append(usual_loop(encoder, batch.images[0], centres, target.index))
        took.append(time.perf_counter() - start)
    found["usual_loop_s"] = float(np.median(took))
    _, full, _ = run(Clam(prune=0.0))
    found["full_like_usual_loop_lowest_r"] = min(map(like, full, loops))
    for prune in PRUNES:
        seconds, maps, passes = run(Clam(prune=prune))
        found["prune"][str(prune)] = {
            "s": seconds,
            "times_faster": found["usual_loop_s"] / seconds,
            "channels_of_the_last_tile": passes,
            "lowest_r": min(map(like, maps, full)),
        }
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--slices", type=Path, required=True)
    arguments.add_argument("--count", type=int, default=600)
    arguments.add_argument("--epochs", type=int, default=8)
    arguments.add_argument("--tiles", type=int, default=12)
    arguments.add_argument("--out", type=Path)
    options = arguments.parse_args()
    found = measure(options.slices, options.count, options.epochs, options.tiles)
    print(json.dumps(found, indent=1))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
