"""Map methods: live maps of 64 tiles, occlusion beside captum, Score-CAM pruned beside all channels.

    python -m benchmarks.bench_explain --out benchmarks/results/explain.json
    python -m benchmarks.bench_explain --quick            live maps only, no network

The network is EfficientNet-Lite0 with its ImageNet weights (fetched once), the tiles are of the
demo slide: with random weights the scores hardly differ, and agreement would say nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.optimize

from widgetkit import explain
from widgetkit.explain import Batch, ClassTarget, ClusterTarget, SelectionTarget
from widgetkit.testing.maps import SmallLayer

TILES, CHANNELS, GRID, FACTORS = 64, 512, (7, 7), 10


def milliseconds(run: Callable[[], Any], runs: int) -> float:
    """Fastest of ``runs``: other work on the machine only ever adds."""
    took = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        took.append(1000 * (time.perf_counter() - start))
    return min(took)


def live(runs: int) -> dict[str, float]:
    """Methods that need the store alone, for a gallery of 64 tiles."""
    generator = np.random.default_rng(0)
    stored = np.maximum(generator.normal(size=(TILES, CHANNELS, *GRID)), 0).astype(np.float16)
    factors = generator.gamma(0.4, size=(FACTORS, CHANNELS)).astype(np.float32)
    batch = Batch(np.arange(TILES), activations=stored, layer=SmallLayer("l", CHANNELS, GRID))
    a, b, std = generator.random((3, CHANNELS)) + 0.1
    targets: dict[str, tuple[str, Any]] = {
        "cluster_nmf": ("cluster", ClusterTarget.of(factors, 3)),
        "cluster_kmeans": ("cluster", ClusterTarget.of(factors, 3, kind="kmeans")),
        "selection": ("selection", SelectionTarget(a, b, std)),
        "channel": ("channel", explain.ChannelTarget(7)),
    }
    found = {
        f"{name}_ms": milliseconds(
            lambda method=method, target=target: explain.compute(method, batch, target), runs
        )
        for name, (method, target) in targets.items()
    }
    # baseline: the textbook solver, a position at a time, on an eighth of them
    rows = np.moveaxis(stored.astype(np.float64), 1, -1).reshape(-1, CHANNELS)[::8]
    columns = factors.T.astype(np.float64)
    start = time.perf_counter()
    expected = np.stack([scipy.optimize.nnls(columns, row)[0] for row in rows])
    found["cluster_nmf_scipy_ms"] = 8000 * (time.perf_counter() - start)
    ours = explain.compute(*targets["cluster_nmf"][:1], batch, targets["cluster_nmf"][1])
    found["cluster_nmf_max_difference"] = float(
        np.abs(ours.reshape(-1)[::8] - expected[:, 3]).max()
    )
    maps = explain.compute("selection", batch, targets["selection"][1])
    found["upsample_64_to_96px_ms"] = milliseconds(lambda: explain.upsample(maps, (96, 96)), runs)
    return found


def network(tiles: int, layer: str) -> dict[str, float]:
    """Methods that run the network, on trained weights and real tissue."""
    import torch
    from captum.attr import Occlusion as CaptumOcclusion

    from widgetkit.demos.efficientnet import INPUT_SIZE, MEAN, STD, load_weights
    from widgetkit.explain.occlusion import Occlusion
    from widgetkit.explain.scorecam import ScoreCam, strongest_channels
    from widgetkit.extraction import ModelContext, Preprocess
    from widgetkit.tiles import from_slide
    from widgetkit.tiles.fetch import fetch

    net = load_weights(fetch("efficientnet-lite0"))
    source = from_slide(fetch("slide"), size=INPUT_SIZE, mpp=0.5)
    chosen = np.linspace(0, len(source) - 1, tiles).astype(int)
    images = source.read(list(chosen))
    context = ModelContext(net, preprocess=Preprocess(mean=(MEAN,), std=(STD,), scale=1.0))
    activations = context.forward_to_layer(images, layer)
    batch = Batch(
        np.arange(tiles),
        activations=activations,
        images=images,
        layer=SmallLayer(layer, activations.shape[1], activations.shape[2:]),
        model=context,
    )
    target = ClassTarget(int(context.logits(images).mean(axis=0).argmax()))
    found: dict[str, float] = {"tiles": tiles}

    def timed(name: str, method: Any) -> np.ndarray:
        start = time.perf_counter()
        maps = explain.compute(method, batch, target)
        found[f"{name}_s_per_tile"] = (time.perf_counter() - start) / tiles
        return maps

    timed("gradcam", "gradcam")
    timed("layercam", "layercam")
    full = timed("scorecam_all", ScoreCam(energy=1.0))
    found["scorecam_all_channels"] = len(strongest_channels(activations, 1.0)[0]) / tiles
    for energy in (0.99, 0.95, 0.8):
        maps = timed(f"scorecam_{energy}", ScoreCam(energy=energy))
        pairs = zip(maps.reshape(tiles, -1), full.reshape(tiles, -1), strict=True)
        alike = [float(np.corrcoef(a, b)[0, 1]) for a, b in pairs]
        found[f"scorecam_{energy}_channels"] = (
            len(strongest_channels(activations, energy)[0]) / tiles
        )
        found[f"scorecam_{energy}_lowest_correlation"] = min(alike)

    window, stride = 56, 28
    ours = Occlusion(window=window, stride=stride, baseline=127.0)
    start = time.perf_counter()
    pixels = ours.pixels(batch, target)
    found["occlusion_s_per_tile"] = (time.perf_counter() - start) / tiles
    x = (torch.from_numpy(np.moveaxis(images, -1, 1).astype(np.float32)) - MEAN) / STD
    start = time.perf_counter()
    with torch.no_grad():
        theirs = CaptumOcclusion(net).attribute(
            x,
            (3, window, window),
            strides=(3, stride, stride),
            target=target.index,
            baselines=0,
            perturbations_per_eval=8,
        )
    found["occlusion_captum_s_per_tile"] = (time.perf_counter() - start) / tiles
    found["occlusion_max_difference"] = float(np.abs(pixels - theirs[:, 0].numpy()).max())
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="live maps only")
    arguments.add_argument("--runs", type=int, default=30)
    arguments.add_argument("--tiles", type=int, default=3)
    arguments.add_argument("--layer", default="blocks.15")
    arguments.add_argument("--out", type=Path)
    options = arguments.parse_args()
    found: dict[str, Any] = {"live": live(options.runs)}
    if not options.quick:
        found[options.layer] = network(options.tiles, options.layer)
    for part, figures in found.items():
        print(part)
        for name, value in figures.items():
            print(f"  {name:36s} {value:10.4g}")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
