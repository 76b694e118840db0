"""A small real store of patients with clinical columns, some of which go with what the tiles show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tests.stores import HOSTILE, planted, textures
from widgetkit.session import Session
from widgetkit.store import ActivationStore, LayerPlan, Plan, StoreWriter

#: Never to be seen outside the store.
PATIENT, SLIDE = "DOE^JANE", "DOE_1961.svs"
#: Columns that are variables.
VARIABLES = ("fvc", "gold", "sex", "smoker", HOSTILE, "grey", "empty")


def clinical_store(path: Path, patients: int = 24, each: int = 8, seed: int = 0) -> ActivationStore:
    """``patients`` of ``each`` tiles. Tiles of a patient show mostly its kind, one of three."""
    g = np.random.default_rng(seed)
    n = patients * each
    _, kinds = planted(n, 12, (4, 4), 3, seed)
    own = np.repeat(np.arange(patients), each)
    kind = np.where(g.random(n) < 0.92, (own % 3), kinds)
    prototypes = g.gamma(0.5, 1.0, (3, 12)).astype(np.float32)
    values = prototypes[kind][:, :, None, None] * g.uniform(0.8, 1.2, (n, 12, 4, 4))
    of = np.arange(patients) % 3
    tiles = pd.DataFrame(
        {
            "id": [f"{i:016x}" for i in range(n)],
            "source": [f"{SLIDE} {i}" for i in own],
            "x": np.arange(n, dtype=float) % each * 32,
            "y": (np.arange(n) // each).astype(float) * 32,
            "z": 0.0,
            "level": 0,
            "size": 32,
            "mpp": 0.5,
            "patient": [f"{PATIENT} {i}" for i in own],
            "fvc": (g.normal(80, 8, patients) - 14.0 * (of == 2))[own],
            "gold": g.integers(0, 4, patients)[own],
            "sex": g.choice(["f", "m"], patients)[own],
            "smoker": (g.random(patients) < np.where(of == 1, 0.9, 0.15))[own],
            HOSTILE: g.normal(0, 1, patients)[own],
            "grey": g.normal(0, 1, n) + kind,
            "empty": np.full(n, np.nan),
        }
    )
    plan = Plan(
        tiles=tiles,
        layers=[LayerPlan("features.4", 12, (4, 4))],
        model={"class": "Planted"},
        image_shape=(32, 32, 3),
        segment_rows=n,
    )
    with StoreWriter.open(path, plan=plan) as writer:
        writer.write_segment(
            0,
            activations={"features.4": values.astype(np.float16)},
            images=textures(kind, 32, seed),
        )
        return writer.commit()


def clinical_session(store: ActivationStore, k: int = 3) -> Session:
    """Its clusters are the planted kinds."""
    session = Session(store)
    session.project("pca")
    session.cluster("kmeans", k)
    session.wait()
    return session
