"""The second demo store, made from the slide, SHELL and the tile classifier it is about."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from widgetkit.demos.labelled import CLASSES, labelled_tiles
from widgetkit.demos.ship import DATA, activation_slides

if TYPE_CHECKING:
    from widgetkit.demos.tissue_net import TissueNet
    from widgetkit.store import ActivationStore
    from widgetkit.tiles import TileSource

NEIGHBOURS, DISTANCE = 15, 0.1


def activation_model() -> TissueNet:
    """The tile classifier of :func:`activation_store`, with the weights that ship; needs torch.

    ``ModelContext.for_store(activation_model(), activation_store())`` runs it as it was run.
    """
    from widgetkit.demos.tissue_net import load_weights

    return load_weights(DATA / "tissue-net.npz")


def activation_tiles(slides: str | os.PathLike[str] | None = None) -> TileSource:
    """The tiles of :func:`activation_store`, cut anew from its slides and labelled by SHELL anew.

    Parameters
    ----------
    slides : path, optional
        Folder of the four slides. Default: those that ship.

    Raises
    ------
    FetchFailed
        The whole slide or SHELL's weights cannot be fetched.
    MissingDependency
        openslide, onnx or torch is not installed.
    """
    folder = next(iter(activation_slides().values())).parent if slides is None else Path(slides)
    return labelled_tiles(folder)


def build_activation_store(
    out: str | os.PathLike[str],
    *,
    tiles: TileSource | None = None,
    readings: bool = True,
    progress: bool = True,
    overwrite: bool = False,
) -> ActivationStore:
    """Tiles, labels, network, store, projection, clusters, readings: all that the second demo shows.

    Parameters
    ----------
    out : path
        Folder of the new store.
    tiles : TileSource, optional
        Default :func:`activation_tiles`.
    readings : bool
        Also keep what :func:`.activation_reading.keep_readings` computes: factors, class maps, importance
        (many minutes, most of them for occlusion, which runs the network 225 times a tile).
    progress : bool
        Show a bar.
    overwrite : bool
        Replace another store at ``out``.

    Raises
    ------
    FetchFailed, MissingDependency
        As :func:`activation_tiles`.
    """
    from widgetkit.demos.activation_reading import keep_readings
    from widgetkit.demos.efficientnet import MEAN, SCALE, STD
    from widgetkit.demos.tissue_net import LAYER
    from widgetkit.extraction import ModelContext, Preprocess, extract
    from widgetkit.session import Session

    target, net = Path(out), activation_model()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".demo-") as scratch:
        whole = extract(
            net,
            activation_tiles() if tiles is None else tiles,
            LAYER,
            out=Path(scratch) / "whole.wk",
            preprocess=Preprocess(MEAN, STD, SCALE, note="EfficientNet-Lite0's own scale"),
            class_names=CLASSES,
            device="cpu",
            progress=progress,
        )
        store = whole.export(target, image_encoding="jpeg", overwrite=overwrite)
    session = Session(store, seed=0)
    try:
        session.project("umap", n_neighbors=NEIGHBOURS, min_dist=DISTANCE)
        session.wait()
        session.cluster()
        session.wait()
    finally:
        session.close()
    if readings:
        keep_readings(store, ModelContext.for_store(net, store, device="cpu"))
    return store
