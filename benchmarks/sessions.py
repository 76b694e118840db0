"""Stores and sessions of a stated size for the benchmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from widgetkit.session import Clustering, Session
from widgetkit.store import ActivationStore, LayerPlan, Plan, StoreWriter


def session_of(store: ActivationStore, xy: np.ndarray, labels: np.ndarray) -> Session:
    """A session whose projection is ``xy`` and whose clusters are ``labels``, both kept in the store."""
    layer = store.layers[store.default_layer]
    store.derived.put(
        "projection",
        "benchmark",
        {"xy": xy.astype(np.float32), "trust": np.ones(len(xy), np.float32)},
        params={"layer": layer.name, "method": "umap", "asked": '{"method": "auto"}'},
        seed=0,
    )
    session = Session(store)
    k = int(labels.max()) + 1
    prototypes = np.random.default_rng(0).random((k, layer.channels), dtype=np.float32)
    made = Clustering.make(
        labels.astype(np.int32), k, method="kmeans", layer=layer.name, prototypes=prototypes, seed=0
    )
    session._set_default(layer.name, made)
    return session


def activation_store(
    path: Path, n: int, channels: int, *, tile: int = 48, seed: int = 0
) -> ActivationStore:
    """``n`` grey tiles with non-negative activations ``(n, channels, 7, 7)``, written as extraction does."""
    plan = Plan(
        tiles=pd.DataFrame(
            {
                "id": [f"{i:016x}" for i in range(n)],
                "source": [f"slide-{i * 8 // n}" for i in range(n)],
                "x": np.arange(n, dtype=float) % 512 * tile,
                "y": np.arange(n, dtype=float) // 512 * tile,
                "z": 0.0,
                "level": 0,
                "size": tile,
                "mpp": 0.5,
            }
        ),
        layers=[LayerPlan("features", channels, (7, 7))],
        image_shape=(tile, tile),
        segment_rows=1024,
    )
    rng = np.random.default_rng(seed)
    prototypes = rng.gamma(0.5, 1.0, (10, channels)).astype(np.float32)
    noise = rng.integers(0, 255, (1024, tile, tile), dtype=np.uint8)
    with StoreWriter.open(path, plan=plan) as writer:
        for index in sorted(set(range(plan.segments)) - writer.done_segments()):
            rows = plan.rows(index)
            weights = rng.gamma(0.4, 1.0, (len(rows) * 49, 10)).astype(np.float32)
            values = (weights @ prototypes).reshape(len(rows), 49, channels)
            stored = np.ascontiguousarray(values.transpose(0, 2, 1), np.float16)
            writer.write_segment(
                index,
                activations={"features": stored.reshape(len(rows), channels, 7, 7)},
                images=noise[: len(rows)],
            )
        return writer.commit()
