"""Reading the factors of a clustering through the session."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import widgetkit as wk
from tests.stores import make_store, textures
from widgetkit import factors
from widgetkit.errors import InvalidInput, NeedsModel
from widgetkit.extraction import ModelContext, Preprocess
from widgetkit.session.reading import KINDS, TITLES
from widgetkit.store import ActivationStore

CLASSES = ("stripes", "bars")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 5, 4, 2), nn.ReLU(), nn.Conv2d(8, 10, 3, 2, 1), nn.ReLU()
        )
        self.head = nn.Linear(10, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)))


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> tuple[ActivationStore, Net]:
    kind = np.arange(48) % 2
    table = pd.DataFrame(
        {"slide": [f"s{i // 12}" for i in range(48)], "label": [CLASSES[k] for k in kind]}
    )
    net = Net().eval()
    store = wk.extract(
        net,
        wk.tiles.from_array(textures(kind, 32), metadata=table),
        ["body"],
        out=tmp_path_factory.mktemp("reading") / "s.wk",
        preprocess=Preprocess(mean=(0.5,) * 3, std=(0.25,) * 3, scale=255.0),
        class_names=CLASSES,
        progress=False,
    )
    return store, net


@pytest.fixture
def session(extracted: tuple[ActivationStore, Net]) -> wk.Session:
    store, net = extracted
    session = wk.Session(store, ModelContext.for_store(net, store))
    session.cluster("nmf", 3)
    return session


def test_every_kind_is_answered_and_told(session: wk.Session) -> None:
    told = []
    session.observe("reading", lambda found: told.append(found.kind))
    session.read_slides()
    session.read_shares()
    session.read_prediction()
    session.read_correlations(methods=("gradcam",), n=16)
    session.read_importance(n=8, sobol=False)
    session.read_completeness(n=16)
    session.read_choice((2, 3), seeds=2)
    session.wait()
    assert told == list(KINDS) == list(TITLES)
    assert set(session.readings) == set(KINDS)
    for kind, found in session.readings.items():
        assert found.kind == kind and len(found.table) and found.title == TITLES[kind]
        assert all(isinstance(said, str) and said for said in found.sentences)
    assert session.readings["choice"].detail.recommended in (2, 3)
    assert session.readings["correlations"].sentences[0].endswith("of class bars.")


def test_names_do_not_change_answers_but_other_factors_do(session: wk.Session) -> None:
    session.read_slides()
    session.wait()
    assert session.factor_names() == ("cluster 1", "cluster 2", "cluster 3")
    session.rename_cluster(0, "lines")
    assert session.factor_names()[0] == "lines" and "slides" in session.readings
    session.merge_clusters([0, 1])  # still the factors that were fitted
    assert session.factor_names() == ("factor 1", "factor 2", "factor 3")
    assert "slides" in session.readings
    session.cluster("nmf", 2)
    session.wait()
    assert not session.readings
    session.undo()
    assert not session.readings  # asked again, kept parts are found


def test_what_ran_a_network_is_found_without_one(
    extracted: tuple[ActivationStore, Net], session: wk.Session
) -> None:
    session.read_importance(n=8, sobol=False)
    session.read_completeness(n=16)
    session.read_correlations(methods=("gradcam",), n=16)
    session.wait()
    alone = wk.Session(extracted[0])
    alone.cluster("nmf", 3)
    alone.read_importance()
    alone.read_completeness()
    alone.read_correlations()
    alone.wait()
    for kind in ("importance", "completeness"):
        pd.testing.assert_frame_equal(alone.readings[kind].table, session.readings[kind].table)
    r = {
        s: s.readings["correlations"].table.query("map == 'Grad-CAM' and method == 'pearson'")["r"]
        for s in (alone, session)
    }
    np.testing.assert_allclose(r[alone], r[session])
    alone.cluster("nmf", 2)
    with pytest.raises(NeedsModel, match="Importance"):
        alone.read_importance()
        alone.wait()


def test_tables_are_those_of_the_functions(session: wk.Session) -> None:
    session.read_slides()
    session.read_prediction()
    session.wait()
    made = session.factors
    pd.testing.assert_frame_equal(session.readings["slides"].table, factors.slide_share(made))
    pd.testing.assert_frame_equal(
        session.readings["prediction"].table,
        factors.predict_classes(session.store, made, seed=session.seed).table,
    )


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.wk", n=32)
    session = wk.Session(store)
    session.cluster("kmeans", 3)
    session.wait()
    with pytest.raises(InvalidInput, match="kmeans"):
        session.read_slides()
    session.cluster("nmf", 3)
    session.wait()
    with pytest.raises(InvalidInput, match="no predictions"):
        session.read_correlations()
    bare = wk.Session(wk.import_features(np.eye(9, 4), out=tmp_path / "f.wk"))
    with pytest.raises(InvalidInput, match="label="):
        bare.read_prediction()


def test_volumes_are_read_too(tmp_path: Path) -> None:
    session = wk.Session(make_store(tmp_path / "v.wk", n=24, grid=(2, 3, 3)))
    session.cluster("nmf", 2)
    session.read_slides()
    session.wait()
    assert len(session.readings["slides"].table) == 2
