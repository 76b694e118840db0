"""CLAM beside the usual Score-CAM loop: 512 channels, trained weights, real chest CT slices.

    python -m benchmarks.bench_clam --zip ../shared/data/mednist-chestct.zip --cache WEIGHTS
    python -m benchmarks.bench_clam --quick      made-up slices, little training, three of them

The usual loop is written out as in the grad-cam package (whose own version ends in a class's logit,
and which does not import here): every channel upsampled, scaled, multiplied with the image and
passed on, in batches of 16, in plain torch, through the encoder alone and with weights of its own.
Ours goes through ``ModelContext``, from the images as stored. The two take turns on every slice; a
ratio is of one slice, and processor seconds count: the clock of a busy machine says little.

1. An encoder with 512 channels on 8 x 8 in front of its pooled latents, trained as the first half of
   an autoencoder; and a ``ConvAutoencoder`` whose last layer has 512, where latents are a linear map
   of all positions. Centres by k-means. ``masks="auto"`` (the default), ``"all"`` and ``coarse()``.
   Agreement is with ``masks="all", prune=0``, of each slice for its own cluster and for every other.
2. The same encoder with 64 to 512 of its channels left, the others constant.
3. A volume of 32 x 64 x 64 with 64 channels (all are measured: fewer than 150).
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import os
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from widgetkit.deep_clustering import ConvAutoencoder
from widgetkit.explain import Batch, LatentTarget, coarse_of
from widgetkit.explain.clam import Clam
from widgetkit.explain.fewer_masks import agreement
from widgetkit.explain.soft import soft_assign
from widgetkit.extraction import ModelContext, Preprocess
from widgetkit.testing.maps import SmallLayer

CHANNELS, SIDE, CLUSTERS, BATCH = 512, 64, 4, 16
METHODS = {
    "auto": Clam(),
    "all": Clam(masks="all"),
    "coarse": coarse_of(Clam()),
}


def slices(path: Path | None, count: int) -> np.ndarray:
    """(count, 64, 64) uint8, evenly spaced through the archive; blobs where there is none."""
    if path is None:
        generator = np.random.default_rng(0)
        y, x = np.mgrid[:SIDE, :SIDE]
        centres = generator.uniform(16, 48, (count, 2, 1, 1))
        widths = generator.uniform(4, 20, (count, 1, 1))
        blobs = np.exp(-((y - centres[:, 0]) ** 2 + (x - centres[:, 1]) ** 2) / (2 * widths**2))
        return np.clip(200 * blobs + generator.normal(20, 8, blobs.shape), 0, 255).astype(np.uint8)
    with zipfile.ZipFile(path) as archive:
        names = sorted(n for n in archive.namelist() if n.lower().endswith((".jpeg", ".jpg")))
        chosen = [names[i] for i in np.linspace(0, len(names) - 1, count).astype(int)]
        pictures = [
            Image.open(io.BytesIO(archive.read(n))).convert("L").resize((SIDE, SIDE))
            for n in chosen
        ]
    return np.stack([np.asarray(p) for p in pictures])


# -- the networks --------------------------------------------------------------------------
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


@dataclass
class Case:
    """One network with its clusters, for ours and, with a copy of the weights, for the usual loop."""

    context: ModelContext
    last: str
    usual: tuple[Callable[[torch.Tensor], torch.Tensor], Callable[[torch.Tensor], torch.Tensor]]
    into: Callable[[np.ndarray], torch.Tensor]
    images: np.ndarray
    centres: np.ndarray
    labels: np.ndarray

    def batch(self, row: int, live: int | None = None) -> Batch:
        """One image; of its channels only ``live``, those left constant."""
        image = self.images[row : row + 1]
        activations = self.context.forward_to_layer(image, self.last)
        if live is not None:
            order = np.random.default_rng(0).permutation(activations.shape[1])
            activations[:, order[live:]] = 0
        layer = SmallLayer(self.last, activations.shape[1], activations.shape[2:])
        return Batch(
            np.array([row]), activations=activations, images=image, layer=layer, model=self.context
        )


def clustered(context: ModelContext, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.cluster import KMeans

    latents = context.forward_to_layer(images, "latent")
    means = KMeans(CLUSTERS, n_init=10, random_state=0).fit(latents)
    return means.cluster_centers_, means.labels_


def pooled_case(images: np.ndarray, epochs: int, cache: Path | None) -> Case:
    kept = cache / f"encoder-{len(images)}-{epochs}.pt" if cache else None
    if kept is not None and kept.exists():
        encoder = Encoder().eval()
        encoder.load_state_dict(torch.load(kept))
    else:
        encoder = trained(images, epochs)
        if kept is not None:
            torch.save(encoder.state_dict(), kept)
    context = ModelContext(
        copy.deepcopy(encoder), preprocess=Preprocess(mean=(0.0,), std=(1.0,), scale=255.0)
    )
    centres, labels = clustered(context, images)
    return Case(
        context,
        "last",
        (encoder.last, encoder),
        lambda image: torch.from_numpy(image[None, None].astype(np.float32) / 255),
        images,
        centres,
        labels,
    )


def autoencoder_case(
    images: np.ndarray, channels: tuple[int, ...], epochs: int, cache: Path | None, **options: Any
) -> Case:
    name = f"ae-{'x'.join(map(str, images.shape))}-{epochs}.npz"
    if cache is not None and (cache / name).exists():
        made = ConvAutoencoder.load(cache / name)
    else:
        made = ConvAutoencoder(images.shape[1:], channels=channels)
        made.fit(images, epochs=epochs, patience=None, progress=False, **options)
        print(f"autoencoder: loss {made.history_[-1]['loss']:.3f} of the variance", flush=True)
        if cache is not None:
            made.save(cache / name)
    net = copy.deepcopy(made.module).eval()
    context = ModelContext(made.module, preprocess=made.preprocess)
    centres, labels = clustered(context, images)
    preprocess = made.preprocess
    return Case(
        context,
        "encoder.last",
        (net.encoder, net.encode),
        lambda image: preprocess(image[None]).contiguous(),
        images,
        centres,
        labels,
    )


@torch.no_grad()
def usual_loop(case: Case, row: int, index: int) -> np.ndarray:
    """Every channel upsampled, scaled, multiplied with the input and passed on, 16 at a time."""
    image = case.images[row]
    last, latent = case.usual
    black = case.into(np.zeros_like(image))
    x = case.into(image)
    activations = last(x)
    mode = "bilinear" if image.ndim == 2 else "trilinear"
    masks = functional.interpolate(activations, size=image.shape, mode=mode, align_corners=True)[0]
    flat = masks.flatten(1)
    shape = (-1, *[1] * image.ndim)
    low, high = flat.min(dim=1)[0].view(shape), flat.max(dim=1)[0].view(shape)
    masks = (masks - low) / (high - low + 1e-8)
    scores: list[float] = []
    for start in range(0, len(masks), BATCH):
        part = black + (x - black) * masks[start : start + BATCH, None]
        scores += soft_assign(latent(part).numpy(), case.centres)[:, index].tolist()
    base = soft_assign(latent(black).numpy(), case.centres)[0, index]
    alpha = np.maximum(np.array(scores) - base, 0)
    found: np.ndarray = np.maximum(np.tensordot(alpha, activations[0].numpy(), 1), 0)
    return found


# -- measuring -----------------------------------------------------------------------------
def like(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation; 1 where both are constant, 0 where one is."""
    rows = [a.reshape(1, -1).astype(np.float64) for a in (one, other)]
    return agreement(*rows)


def timed(run: Callable[[], Any]) -> tuple[Any, float, float]:
    """Result, processor seconds, seconds on the clock."""
    processor, clock = time.process_time(), time.perf_counter()
    found = run()
    return found, time.process_time() - processor, time.perf_counter() - clock


def ours(method: Clam, batch: Batch, target: LatentTarget) -> tuple[np.ndarray, int]:
    """The map, and the masks that the encoder saw."""
    seen = [(0, 0)]
    maps = method.compute(replace(batch, progress=lambda *now: seen.append(now)), target)
    return maps[0], seen[-1][0]


def spread(values: list[float]) -> dict[str, float]:
    return {
        "median": float(np.median(values)),
        "low": float(np.min(values)),
        "high": float(np.max(values)),
    }


def beside(case: Case, rows: np.ndarray, methods: dict[str, Clam]) -> dict[str, Any]:
    """Each method and the usual loop on each row, in turns."""
    found: dict[str, dict[str, list[float]]] = {name: {} for name in ("usual loop", *methods)}

    def note(name: str, **values: float) -> None:
        for key, value in values.items():
            found[name].setdefault(key, []).append(value)

    for turn, row in enumerate([rows[0], *rows]):  # the first one warms up
        batch, target = case.batch(row), LatentTarget(case.centres, int(case.labels[row]))
        exact, _ = ours(Clam(masks="all", prune=0.0), batch, target)
        loop, processor, clock = timed(lambda: usual_loop(case, row, target.index))  # noqa: B023
        if turn:
            note(
                "usual loop", processor_s=processor, clock_s=clock, masks=len(batch.activations[0])
            )
            note("usual loop", r=like(loop, exact))
        for name, method in methods.items():
            (maps, masks), own, own_clock = timed(lambda: ours(method, batch, target))  # noqa: B023
            if turn:
                note(name, processor_s=own, clock_s=own_clock, masks=masks, r=like(maps, exact))
                note(name, times=processor / own, times_clock=clock / own_clock)
    return {
        name: {key: spread(values) for key, values in table.items()}
        for name, table in found.items()
    }


def every_cluster(case: Case, rows: np.ndarray) -> dict[str, Any]:
    """Agreement of the default with all masks for clusters that a slice does not belong to, too."""
    alike, masks = [], []
    for row in rows:
        batch = case.batch(row)
        for index in range(len(case.centres)):
            target = LatentTarget(case.centres, index)
            exact, _ = ours(Clam(masks="all", prune=0.0), batch, target)
            maps, seen = ours(Clam(), batch, target)
            alike.append(like(maps, exact))
            masks.append(float(seen))
    return {
        "maps": len(alike),
        "below_0.99": int(np.sum(np.array(alike) < 0.99)),
        "r": spread(alike),
        "masks": spread(masks),
    }


def by_live_channels(case: Case, rows: np.ndarray) -> dict[str, Any]:
    found = {}
    for live in (64, 128, 256, 512):
        seen, took = [], []
        for row in rows:
            batch, target = case.batch(row, live), LatentTarget(case.centres, case.labels[row])
            (_, masks), processor, _ = timed(lambda: ours(Clam(), batch, target))  # noqa: B023
            seen.append(float(masks))
            took.append(processor)
        found[str(live)] = {"masks": spread(seen), "processor_s": spread(took)}
    return found


def show(title: str, table: dict[str, Any]) -> None:
    print(f"\n{title}")
    for name, row in table.items():
        cells = [f"{name:>11}"]
        for key, value in row.items():
            digits = 3 if key.endswith("_s") else 4 if key == "r" else 1
            cells.append(
                f"{key} {value['median']:.{digits}f} ({value['low']:.{digits}f} to "
                f"{value['high']:.{digits}f})"
            )
        print("  ".join(cells), flush=True)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    count, tiles, cache, quick = options.count, options.tiles, options.cache, options.quick
    images = slices(options.zip, count)
    # between the slices that any setting was tried on
    rows = np.linspace(7, count - 8, tiles).astype(int)
    found: dict[str, Any] = {"load": os.getloadavg(), "threads": torch.get_num_threads()}
    case = pooled_case(images, 2 if quick else 8, cache)
    found["pooled"] = beside(case, rows, METHODS)
    show(f"encoder, {CHANNELS} channels, {tiles} slices", found["pooled"])
    found["pooled_every_cluster"] = every_cluster(case, rows)
    print("every cluster:", json.dumps(found["pooled_every_cluster"]))
    found["live_channels"] = by_live_channels(case, rows)
    show(f"of {CHANNELS} channels live", found["live_channels"])

    wide = autoencoder_case(
        images, (16, 64, CHANNELS), options.wide_epochs, cache, batch_size=16, lr=1e-3
    )
    found["autoencoder"] = beside(wide, rows, METHODS)
    show(f"ConvAutoencoder, {CHANNELS} channels, {tiles} slices", found["autoencoder"])
    found["autoencoder_every_cluster"] = every_cluster(wide, rows)
    print("every cluster:", json.dumps(found["autoencoder_every_cluster"]))

    volumes = np.stack([images[start : start + 32] for start in range(0, count - 32, count // 16)])
    deep = autoencoder_case(volumes, (16, 32, 64), 1 if quick else 3, cache, batch_size=4)
    few = {name: METHODS[name] for name in ("auto", "coarse")}
    found["volume"] = beside(deep, np.arange(2 if quick else 4), few)
    show("ConvAutoencoder, volume of 32 x 64 x 64, 64 channels", found["volume"])
    found["load_after"] = os.getloadavg()
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--zip", type=Path, help="JPEG slices, one a file")
    arguments.add_argument("--count", type=int, default=600)
    arguments.add_argument("--tiles", type=int, default=12)
    arguments.add_argument("--wide-epochs", type=int, default=30, help="of the ConvAutoencoder")
    arguments.add_argument("--threads", type=int)
    arguments.add_argument("--cache", type=Path, help="folder of trained weights, to run again")
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--out", type=Path)
    options = arguments.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.cache:
        options.cache.mkdir(parents=True, exist_ok=True)
    if options.quick:
        options.count, options.tiles, options.wide_epochs = 64, 3, 2
    found = measure(options)
    print(f"\nload {found['load'][0]:.1f} before, {found['load_after'][0]:.1f} after")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
