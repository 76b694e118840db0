"""A small trained autoencoder with its clusters, and the store that it writes of planted images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tests.deep_clustering.planted import planted
from widgetkit.deep_clustering import ClusterNetwork, ConvAutoencoder, DeepClustering
from widgetkit.extraction import ModelContext
from widgetkit.store import ActivationStore
from widgetkit.tiles import from_array

NAMES = ("here", "there", "nowhere")


@dataclass(frozen=True)
class Deep:
    """What was trained and written."""

    store: ActivationStore
    network: ClusterNetwork
    clustering: DeepClustering
    autoencoder: ConvAutoencoder
    images: np.ndarray
    truth: np.ndarray

    def context(self) -> ModelContext:
        return ModelContext.for_store(self.network, self.store)


def make_deep(
    path: Path, *, shape: tuple[int, ...] = (16, 16), k: int = 3, epochs: int = 8
) -> Deep:
    """48 images of three planted groups, clustered by their latent vectors."""
    images, truth = planted(shape)
    ae = ConvAutoencoder(shape, channels=(4, 8), latent=4, device="cpu")
    ae.fit(images, epochs=epochs, batch_size=8, patience=None)
    deep = DeepClustering(k).fit(ae.encode(images))
    slide = [f"scan {i % 2}" for i in range(len(images))]
    names = NAMES if k == len(NAMES) else None
    table = pd.DataFrame({"slide": slide})
    source = from_array(images, metadata=table, volume=len(shape) == 3)
    store = deep.to_store(ae, source, path, names=names, progress=False)
    return Deep(store, deep.network(ae), deep, ae, images, truth)
