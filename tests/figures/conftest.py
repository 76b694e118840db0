"""Sessions over small real stores of every kind that a figure must be able to draw."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from tests.stores import make_store, planted, textures
from widgetkit.session import Session
from widgetkit.store import ActivationStore, LayerPlan, Plan, StoreWriter

#: Never to be seen on paper.
PATIENT, FILE = "patient-0 DOE^JANE", "DOE_JANE_1961.svs"


def build(
    path: object,
    *,
    n: int,
    grid: tuple[int, ...] = (5, 5),
    pictures: np.ndarray | None,
    mpp: float = 0.5,
    values: np.ndarray | None = None,
) -> ActivationStore:
    channels = 8
    if values is None:
        values = planted(max(n, 1), channels, grid or (1,), 2)[0][:n]
    table = pd.DataFrame(
        {
            "id": [f"{i:016x}" for i in range(n)],
            "source": [FILE if i % 2 else f"other {FILE}" for i in range(n)],
            "x": np.arange(n, dtype=float),
            "y": 0.0,
            "z": 0.0,
            "level": 0,
            "size": 32,
            "mpp": mpp,
            "patient": [PATIENT if i % 3 else f"second {PATIENT}" for i in range(n)],
        }
    )
    plan = Plan(
        tiles=table,
        layers=[LayerPlan("conv", channels, grid)],
        model={"class": "Planted"},
        image_shape=None if pictures is None else pictures.shape[1:],
        segment_rows=max(n, 1),
    )
    with StoreWriter.open(path, plan=plan) as writer:  # type: ignore[arg-type]
        for index in range(plan.segments):
            rows = np.asarray(plan.rows(index))
            shown = {} if pictures is None else {"images": pictures[rows]}
            writer.write_segment(
                index,
                activations={
                    "conv": values[rows].reshape(len(rows), channels, *grid).astype(np.float16)
                },
                **shown,
            )
        return writer.commit()


def _rgb(n: int) -> np.ndarray:
    return textures(np.arange(n) % 2, 32)


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ActivationStore]:
    folder = tmp_path_factory.mktemp("figures")
    signed = planted(24, 8, (5, 5), 2)[0] - 1.0
    volumes = np.broadcast_to(
        np.arange(24, dtype=np.uint8)[:, None, None, None] * 8, (24, 6, 16, 16)
    )
    return {
        "normal": make_store(folder / "normal.wk", n=60, size=32),
        "private": build(folder / "private.wk", n=24, pictures=_rgb(24)),
        "empty": build(folder / "empty.wk", n=0, pictures=_rgb(0)),
        "one": build(folder / "one.wk", n=1, pictures=_rgb(1)),
        "two": build(folder / "two.wk", n=2, pictures=_rgb(2)),
        "features": build(folder / "features.wk", n=24, grid=(), pictures=None, mpp=float("nan")),
        "grey": build(folder / "grey.wk", n=24, pictures=_rgb(24)[..., 0]),
        "volume": build(
            folder / "volume.wk", n=24, grid=(2, 5, 5), pictures=volumes, mpp=float("nan")
        ),
        "signed": build(folder / "signed.wk", n=24, pictures=_rgb(24), values=signed),
    }


@pytest.fixture
def session_of(stores: dict[str, ActivationStore]) -> Callable[[str], Session]:
    def make(kind: str) -> Session:
        session = Session(stores[kind])
        session.wait()
        return session

    return make
