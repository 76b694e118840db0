"""A small real store a test session, and sessions over it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.stores import make_store, planted
from widgetkit.session import Session
from widgetkit.store import ActivationStore, LayerPlan, Plan, StoreWriter


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    """160 RGB tiles of 48 px, one layer of 24 x 7 x 7, four planted kinds."""
    return make_store(tmp_path_factory.mktemp("widgets") / "planted.wk")


@pytest.fixture
def session(store: ActivationStore) -> Session:
    made = Session(store)
    made.wait()
    return made


def _table(n: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": [f"{i:016x}" for i in range(n)],
            "source": "scan",
            "x": 0.0,
            "y": 0.0,
            "z": np.arange(n, dtype=float),
            "level": 0,
            "size": 16,
            "mpp": np.nan,
        }
    )


@pytest.fixture(scope="session")
def volume_store(tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    """20 volumes (6, 16, 16) that get brighter with depth, and a layer of 8 x 3 x 4 x 4."""
    n = 20
    values, _ = planted(n, 8, (3, 4, 4), 2)
    images = np.empty((n, 6, 16, 16), np.uint8)
    images[:] = np.arange(6)[:, None, None] * 40 + np.arange(16)
    plan = Plan(
        tiles=_table(n),
        layers=[LayerPlan("conv", 8, (3, 4, 4))],
        model={"class": "Planted"},
        image_shape=(6, 16, 16),
        segment_rows=n,
    )
    path = tmp_path_factory.mktemp("widgets") / "volumes.wk"
    with StoreWriter.open(path, plan=plan) as writer:
        writer.write_segment(0, activations={"conv": values.astype(np.float16)}, images=images)
        return writer.commit()


@pytest.fixture
def volume_session(volume_store: ActivationStore) -> Session:
    made = Session(volume_store)
    made.wait()
    return made


@pytest.fixture(scope="session")
def features_store(tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    """30 ready-made vectors of 12 channels: no maps, no images."""
    n = 30
    features = np.random.default_rng(0).random((n, 12)).astype(np.float16)
    plan = Plan(
        tiles=_table(n),
        layers=[LayerPlan("features", 12)],
        model={"class": "elsewhere"},
        image_shape=None,
        segment_rows=n,
    )
    path = tmp_path_factory.mktemp("widgets") / "features.wk"
    with StoreWriter.open(path, plan=plan) as writer:
        writer.write_segment(0, activations={"features": features})
        return writer.commit()


@pytest.fixture
def features_session(features_store: ActivationStore) -> Session:
    made = Session(features_store)
    made.wait()
    return made
