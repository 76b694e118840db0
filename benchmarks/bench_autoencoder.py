"""Training the 2-D autoencoder on real chest CT slices: time, reconstruction, what the clusters are.

    python -m benchmarks.bench_autoencoder --zip ../shared/data/mednist-chestct.zip
    python -m benchmarks.bench_autoencoder --quick      synthetic slices, a tenth of everything

1. ``ConvAutoencoder((64, 64)).fit`` with its defaults on 2,000 slices of 64 x 64. Processor seconds
   count: the wall clock of a busy machine says little. Twice, to see that the bytes are the same.
2. The reconstruction of 1,000 other slices, beside principal components of the same number fitted
   on the same training slices: what a linear code of that length leaves of the variance.
3. Clusters: agreement of two seeds (ARI), confidence before and after refining.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import tempfile
import time
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from widgetkit.deep_clustering import ConvAutoencoder, DeepClustering

BUDGET_S = 120
SIDE = 64


def slices(path: Path | None, n: int) -> np.ndarray:
    """``n`` slices (n, 64, 64) uint8: spread over the archive, or blobs where there is none."""
    if path is None:
        rng = np.random.default_rng(0)
        y, x = np.mgrid[:SIDE, :SIDE]
        centres = rng.uniform(16, 48, (n, 2, 1, 1))
        widths = rng.uniform(4, 20, (n, 1, 1))
        blob = np.exp(-((y - centres[:, 0]) ** 2 + (x - centres[:, 1]) ** 2) / (2 * widths**2))
        return np.clip(200 * blob + rng.normal(20, 8, blob.shape), 0, 255).astype(np.uint8)
    from PIL import Image

    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpeg"))
        picked = np.linspace(0, len(names) - 1, n).round().astype(int)
        return np.stack(
            [np.asarray(Image.open(io.BytesIO(archive.read(names[row])))) for row in picked]
        )


def left_over(images: np.ndarray, drawn: np.ndarray, mean: float) -> float:
    """Share of the variance about the training mean that a reconstruction misses."""
    given = images.astype(np.float64)
    return float(((given - drawn) ** 2).sum() / ((given - mean) ** 2).sum())


def principal(train: np.ndarray, test: np.ndarray, components: int) -> float:
    rows = train.reshape(len(train), -1).astype(np.float64)
    mean = rows.mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov(rows.T))
    basis = vectors[:, -components:]
    given = test.reshape(len(test), -1) - mean
    return left_over(test, (mean + given @ basis @ basis.T).reshape(test.shape), rows.mean())


def measure(images: np.ndarray, n: int, epochs: int) -> dict[str, Any]:
    order = np.random.default_rng(0).permutation(len(images))
    train, test = images[order[:n]], images[order[n:]]
    with tempfile.TemporaryDirectory() as folder:
        clock, busy = time.perf_counter(), time.process_time()
        ae = ConvAutoencoder((SIDE, SIDE)).fit(
            train, epochs=epochs, checkpoint=Path(folder, "run.npz")
        )
        busy, clock = time.process_time() - busy, time.perf_counter() - clock
    began = time.process_time()
    Z = ae.encode(train)
    encoding = time.process_time() - began
    again = ConvAutoencoder((SIDE, SIDE)).fit(train, epochs=3).encode(train)
    same = np.array_equal(again, ConvAutoencoder((SIDE, SIDE)).fit(train, epochs=3).encode(train))
    one, two = (DeepClustering(4, random_state=seed).fit(Z) for seed in (0, 1))
    began = time.process_time()
    refined = DeepClustering(4, refine="dec", refine_epochs=10).fit(Z, autoencoder=ae, images=train)
    refining = time.process_time() - began
    return {
        "slices": n,
        "epochs": len(ae.history_),
        "best_epoch": ae.best_epoch_,
        "training_cpu_s": round(busy, 1),
        "training_clock_s": round(clock, 1),
        "budget_s": BUDGET_S,
        "encoding_ms_per_slice": round(1000 * encoding / n, 3),
        "training_loss": round(ae.history_[ae.best_epoch_ - 1]["loss"], 4),
        "validation_loss": round(ae.history_[ae.best_epoch_ - 1]["validation"], 4),
        "left_over_test": round(left_over(test, ae.reconstruct(test), train.mean()), 4),
        "left_over_principal": round(principal(train, test, ae.latent), 4),
        "same_bytes_twice": bool(same),
        "cluster_sizes": np.bincount(one.labels_).tolist(),
        "seeds_agree_ari": round(ari(one.labels_, two.labels_), 4),
        "confidence": round(float(one.soft_assign(Z).max(axis=1).mean()), 3),
        "refined_confidence": round(
            float(refined.soft_assign(refined.latents_).max(axis=1).mean()), 3
        ),
        "refined_ari_to_before": round(ari(one.labels_, refined.labels_), 4),
        "refining_cpu_s": round(refining, 1),
    }


def ari(a: np.ndarray, b: np.ndarray) -> float:
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(a, b))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--zip", type=Path, help="mednist-chestct.zip; blobs without it")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    n, epochs = (200, 4) if options.quick else (2000, 40)
    images = slices(options.zip, n + n // 2)
    found = {
        "data": options.zip.name if options.zip else "synthetic blobs",
        **measure(images, n, epochs),
        "machine": platform.processor() or platform.machine(),
        "torch": version("torch"),
    }
    for name, value in found.items():
        print(f"{name:>24}  {value}")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
