"""Deep clusters of 6,000 real chest CT slices, what they are, and whether CLAM points at it.

    python -m benchmarks.run_ct_clam --zip ../shared/data/mednist-chestct.zip --out FOLDER [--k 6]

The slices (MedNIST, 64 x 64, a soft-tissue window in which lungs are flat) have no labels. What
a reader sees in them is measured from the pixels: how tall and wide the body is, how much of it is
filled (shoulders and abdomen are, the chest is not), how bright the brightest organ is (contrast
medium in heart and aorta) and how noisy the soft tissue is. The clusters are compared with these
by ``analysis.associate``; the maps by deletion (which pixels take the cluster away) beside other
methods, and by the share of the map that lies on what was measured.
"""

from __future__ import annotations

import argparse
import io
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from scipy.ndimage import gaussian_filter

from widgetkit import analysis, explain
from widgetkit.deep_clustering import ConvAutoencoder, DeepClustering
from widgetkit.explain.faithfulness import deletion
from widgetkit.extraction import ModelContext
from widgetkit.store import ActivationStore

SIDE = 64
#: Grey of air and lung in this window.
FLAT = 127
METHODS = ("clam", "gradcam", "scorecam", "occlusion")


def slices(path: Path, most: int | None) -> np.ndarray:
    """(n, 64, 64) uint8."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(n for n in archive.namelist() if n.endswith(".jpeg"))
        if most is not None:
            names = [names[i] for i in np.linspace(0, len(names) - 1, most).round().astype(int)]
        return np.stack(
            [np.asarray(Image.open(io.BytesIO(archive.read(n))).convert("L")) for n in names]
        )


def regions(images: np.ndarray) -> dict[str, np.ndarray]:
    """Masks (n, 64, 64): ``body`` (its tissue), ``bright`` (the brightest organ in the middle)."""
    values = images.astype(np.float32)
    tissue = (np.abs(values - FLAT) > 1.5).astype(np.float32)
    body = gaussian_filter(tissue, (0, 1.5, 1.5)) > 0.35
    smooth = gaussian_filter(values, (0, 2, 2)) - FLAT
    middle = np.zeros((SIDE, SIDE), bool)
    middle[12:44, 16:48] = True
    top = np.where(middle, smooth, -np.inf).max(axis=(1, 2), keepdims=True)
    return {"body": body, "bright": middle & (smooth > 0.6 * top) & body}


def measured(images: np.ndarray, masks: dict[str, np.ndarray]) -> pd.DataFrame:
    """What a reader sees, one row a slice."""
    values = images.astype(np.float32)
    body = masks["body"]
    rows, columns = body.any(axis=2), body.any(axis=1)
    high = rows.shape[1] - rows[:, ::-1].argmax(axis=1) - rows.argmax(axis=1)
    wide = columns.shape[1] - columns[:, ::-1].argmax(axis=1) - columns.argmax(axis=1)
    fine = values - gaussian_filter(values, (0, 1, 1))
    inside = np.maximum(body.sum(axis=(1, 2)), 1)
    return pd.DataFrame(
        {
            "body height (px)": high,
            "body width (px)": wide,
            "filled (share)": body.sum(axis=(1, 2)) / np.maximum(high * wide, 1),
            "brightest organ (grey)": gaussian_filter(values, (0, 2, 2))[:, 12:44, 16:48].max(
                axis=(1, 2)
            )
            - FLAT,
            "noise (grey sd)": np.sqrt((fine**2 * body).sum(axis=(1, 2)) / inside),
        }
    )


def typical(q: np.ndarray, labels: np.ndarray, each: int) -> np.ndarray:
    """Rows of the ``each`` members of every cluster that are surest of it."""
    chosen = []
    for c in range(q.shape[1]):
        members = np.flatnonzero(labels == c)
        chosen.append(members[np.argsort(-q[members, c], kind="stable")[:each]])
    return np.sort(np.concatenate(chosen))


def maps_of(
    store: ActivationStore, context: ModelContext, deep: DeepClustering, own: np.ndarray, name: str
) -> np.ndarray:
    """(m, h, w) maps towards each slice's own cluster."""
    found: np.ndarray | None = None
    for c in np.unique(own):
        at = np.flatnonzero(own == c)
        batch = explain.Batch.from_store(store, at, layer="encoder.last", model=context)
        target = (
            explain.LatentTarget(deep.cluster_centers_, int(c), latent="latent")
            if name == "clam"
            else explain.ClassTarget(int(c))
        )
        part = explain.compute(name, batch, target)
        if found is None:
            found = np.zeros((len(own), *part.shape[1:]), np.float32)
        found[at] = part
    assert found is not None
    return found


def shares(maps: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(m,) share of each map's positive part inside a mask; NaN for an empty map."""
    full = np.maximum(explain.upsample(maps, (SIDE, SIDE)), 0)
    total = full.sum(axis=(1, 2))
    inside = (full * mask).sum(axis=(1, 2))
    return np.divide(inside, total, out=np.full(len(maps), np.nan), where=total > 0)


def picture(images: np.ndarray, maps: np.ndarray, own: np.ndarray, out: Path, each: int) -> None:
    """One row a cluster: slices, and their maps over them."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    k = int(own.max()) + 1
    figure, axes = plt.subplots(k, 2 * each, figsize=(2 * each * 0.9, k * 0.95))
    full = explain.upsample(maps, (SIDE, SIDE))
    for c in range(k):
        for i, at in enumerate(np.flatnonzero(own == c)[:each]):
            for j, axis in enumerate(axes[c, 2 * i : 2 * i + 2]):
                axis.imshow(images[at], cmap="gray", vmin=90, vmax=200)
                if j:
                    axis.imshow(full[at], cmap="magma", alpha=0.6, vmin=0, vmax=full[at].max())
                axis.set_axis_off()
        axes[c, 0].set_title(f"cluster {c + 1}", fontsize=7, loc="left")
    figure.subplots_adjust(0, 0, 1, 0.96, 0.03, 0.12)
    figure.savefig(out, dpi=110)
    plt.close(figure)


def run(
    path: Path, out: Path, *, most: int | None, k: int, each: int, epochs: int
) -> dict[str, Any]:
    from widgetkit import tiles

    images = slices(path, most)
    clock = time.perf_counter()
    ae = ConvAutoencoder((SIDE, SIDE)).fit(images, epochs=epochs, checkpoint=out / "training.npz")
    found: dict[str, Any] = {"slices": len(images), "training_s": time.perf_counter() - clock}
    Z = ae.encode(images)
    deep = DeepClustering(k).fit(Z)
    q = deep.soft_assign(Z)
    masks = regions(images)
    what = measured(images, masks)
    found["sizes"] = np.bincount(deep.labels_, minlength=k).tolist()
    found["mean_assignment"] = float(q.max(axis=1).mean())
    said = analysis.associate(deep.labels_, what)
    print(said.table.to_string(index=False))
    said.table.to_csv(out / "associations.csv", index=False)
    means = what.groupby(deep.labels_).mean().round(2)
    print(means.to_string())
    means.to_csv(out / "means.csv")

    rows = typical(q, deep.labels_, each)
    own = deep.labels_[rows]
    chosen = {name: mask[rows] for name, mask in masks.items()}
    store = deep.to_store(ae, tiles.from_array(images[rows]), out / "typical.wk", overwrite=True)
    network = deep.network(ae)
    context = ModelContext(network, preprocess=ae.preprocess)
    pictures = store.images(np.arange(len(rows)))
    rng = np.random.default_rng(0)
    table = []
    for name in (*METHODS, "random"):
        clock = time.perf_counter()
        if name == "random":
            maps = rng.random((len(rows), *ae.grid)).astype(np.float32)
        else:
            maps = maps_of(store, context, deep, own, name)
        took = (time.perf_counter() - clock) / len(rows)
        areas = np.zeros(len(rows))
        for c in np.unique(own):
            at = np.flatnonzero(own == c)
            areas[at] = deletion(context, pictures[at], maps[at], explain.ClassTarget(int(c))).auc
        row = {"method": name, "s a slice": took, "deletion (low is good)": areas.mean()}
        for region, mask in chosen.items():
            row[f"share in {region}"] = np.nanmean(shares(maps, mask))
        row["empty maps"] = int((maps.max(axis=(1, 2)) <= 0).sum())
        table.append(row)
        if name == "clam":
            picture(pictures, maps, own, out / "clam.png", min(each, 5))
    areas_of = {f"area of {name}": float(mask.mean()) for name, mask in chosen.items()}
    frame = pd.DataFrame(table).round(3)
    print(frame.to_string(index=False), areas_of)
    frame.to_csv(out / "maps.csv", index=False)
    return {**found, **areas_of}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--zip", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--most", type=int, help="slices; all by default")
    parser.add_argument("--k", type=int, default=6)
    parser.add_argument("--each", type=int, default=20, help="typical slices of a cluster")
    parser.add_argument("--epochs", type=int, default=25)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    found = run(
        options.zip,
        options.out,
        most=options.most,
        k=options.k,
        each=options.each,
        epochs=options.epochs,
    )
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
