"""The demo store, made from the slide and the network it is about."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from widgetkit.tiles import TileSource, annotate, from_slide, subset
from widgetkit.tiles.fetch import fetch

if TYPE_CHECKING:
    from widgetkit.demos.efficientnet import EfficientNetLite0
    from widgetkit.store import ActivationStore

#: Tiles of 32 um at the slide's own resolution, every 20 um.
SIZE, MPP, STRIDE, TISSUE = 64, 0.5, 40, 0.3
#: Level-0 px. The right part of the region holds every tissue of the slide and the inked margin;
#: leaving out the rest keeps the shipped store small. Overlapping tiles of all of it would be 1,500.
LEFT, MIDDLE = 1400, 1484
#: A layer half way, 80 channels on an 8 x 8 grid, where colour and texture still count: the ink is an
#: island of its own in the projection, and a k-means cluster whose maps find inked pixels with an area
#: under the curve of 0.90. Before it (`blocks.3`) factors are edges and borders, behind it (from
#: `blocks.10` on) shape counts for more and inked collagen lies among collagen.
LAYER = "blocks.7"
#: Six neighbours instead of UMAP's usual fifteen: some thirty tiles are thick with ink, and with larger
#: neighbourhoods the thinly inked ones beside them tie their island to the mainland.
NEIGHBOURS, DISTANCE = 6, 0.05
#: px that a tile is enlarged to for the network: at 64 px the grid would be 4 x 4.
INPUT = 128
NAME = "CMU-1-Small-Region"


def demo_tiles() -> TileSource:
    """Tiles of the demo slide: H&E of skin with a margin of green ink (fetched on first use).

    Columns beside the usual: ``tissue`` (share of stained pixels), ``green`` (share of inked ones,
    see :func:`green_share`), ``slide`` ("CMU-1 upper" or "lower": the two halves of one slide).
    """
    slide = from_slide(
        fetch("slide"), size=SIZE, mpp=MPP, stride=STRIDE, tissue=TISSUE, names=lambda path: NAME
    )
    tiles = subset(slide, (slide.table["x"] >= LEFT).to_numpy())
    half = np.where(tiles.table["y"] + SIZE / 2 < MIDDLE, "CMU-1 upper", "CMU-1 lower")
    green = green_share(tiles.read(range(len(tiles))))
    return annotate(tiles, {"slide": half, "green": green.round(4)})


def green_share(images: np.ndarray) -> np.ndarray:
    """(m, H, W, 3) uint8 -> (m,) share of pixels that are green: neither stain nor glass is.

    A pixel counts when green exceeds red by 12 of 255 and is not dark.
    """
    red, green = images[..., 0].astype(np.int16), images[..., 1].astype(np.int16)
    share: np.ndarray = ((green > red + 12) & (green > 100)).mean(axis=(1, 2))
    return share


def demo_model(*, scores: bool = True) -> EfficientNetLite0:
    """EfficientNet-Lite0 with ImageNet weights (fetched on first use); needs torch.

    Its weights are those that made the demo store, so
    ``wk.explore(demo_store(), demo_model())`` has Grad-CAM and the like.
    """
    from widgetkit.demos.efficientnet import load_weights

    return load_weights(fetch("efficientnet-lite0"), scores=scores)


def build_demo_store(
    out: str | os.PathLike[str],
    *,
    tiles: TileSource | None = None,
    layers: str | list[str] | None = None,
    progress: bool = True,
    overwrite: bool = False,
) -> ActivationStore:
    """Slide, tiles, network, store, projection, clusters: all that the demo shows.

    Parameters
    ----------
    out : path
        Folder of the new store.
    tiles : TileSource, optional
        Default :func:`demo_tiles`.
    layers : str or list of str, optional
        Default ``"blocks.7"``.
    progress : bool
        Show a bar.
    overwrite : bool
        Replace another store at ``out``.

    Returns
    -------
    ActivationStore
        With pictures as WebP and, for every layer, a kept projection and clustering, so that a
        machine with neither torch nor umap opens it with everything there.

    Raises
    ------
    FetchFailed
        The slide or the weights cannot be fetched.
    MissingDependency
        torch, umap-learn or openslide is not installed.
    """
    from widgetkit.demos.efficientnet import MEAN, SCALE, STD
    from widgetkit.extraction import Preprocess, extract
    from widgetkit.session import Session

    target = Path(out)
    chosen = [LAYER] if layers is None else [layers] if isinstance(layers, str) else layers
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".demo-") as scratch:
        whole = extract(
            demo_model(scores=False),
            demo_tiles() if tiles is None else tiles,
            chosen,
            out=Path(scratch) / "whole.wk",
            preprocess=Preprocess(
                MEAN, STD, SCALE, size=INPUT, note="EfficientNet-Lite0's own scale"
            ),
            device="cpu",
            progress=progress,
        )
        store = whole.export(target, image_encoding="webp", overwrite=overwrite)
    session = Session(store, seed=0)
    try:
        for layer in chosen:
            session.set_layer(layer)
            session.project("umap", n_neighbors=NEIGHBOURS, min_dist=DISTANCE)
            session.wait()
            session.cluster()
            session.wait()
    finally:
        session.close()
    return store
