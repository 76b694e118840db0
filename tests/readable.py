"""A small network of two layers, its store, and a session that has read everything of its factors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

import widgetkit as wk
from tests.stores import textures
from widgetkit.extraction import ModelContext, Preprocess
from widgetkit.store import ActivationStore

CLASSES = ("stripes", "bars")
#: Never to be seen on paper.
PATIENT, SLIDE = "DOE^JANE", "DOE_JANE_1961"
NOTE = "A model's labels, not a pathologist's."


class Net(nn.Module):
    """Two convolutions, mean over space, a linear head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.early = nn.Sequential(nn.Conv2d(3, 8, 5, 4, 2), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(8, 10, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(10, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.body(self.early(x)).mean((2, 3)))
        return found


def extract_store(
    path: Path, n: int = 48, *, classes: tuple[str, str] = CLASSES
) -> tuple[ActivationStore, Net]:
    """``n`` tiles of two textures on four slides of two patients; layers ``body`` and ``early``."""
    kind = np.arange(n) % 2
    table = pd.DataFrame(
        {
            "slide": [f"{SLIDE}_{4 * i // n}" for i in range(n)],
            "patient": [f"{PATIENT} {2 * i // n}" for i in range(n)],
            "label": [classes[k] for k in kind],
            "label_note": NOTE,
        }
    )
    net = Net().eval()
    store = wk.extract(
        net,
        wk.tiles.from_array(textures(kind, 32), metadata=table),
        ["body", "early"],
        out=path,
        preprocess=Preprocess(mean=(0.5,) * 3, std=(0.25,) * 3, scale=255.0),
        class_names=classes,
        progress=False,
    )
    return store, net


def session_of(store: ActivationStore, net: Net | None = None, k: int = 3) -> wk.Session:
    """A session with ``k`` factors, with the network where one is given."""
    session = wk.Session(
        store,
        None if net is None else ModelContext.for_store(net, store),
        layer="body" if "body" in store.layers else None,
    )
    session.cluster("nmf", k)
    session.wait()
    return session


def read_all(session: wk.Session) -> wk.Session:
    """Every question answered, from few tiles."""
    session.read_slides()
    session.read_shares()
    session.read_prediction()
    session.read_correlations(methods=("gradcam",), n=16)
    session.read_importance(n=8)
    session.read_completeness(n=16)
    session.read_choice((2, 3), seeds=2)
    session.read_layers()
    session.wait()
    return session
