"""The number of clusters asked of a session: by layer, kept in the store, told by an event."""

from __future__ import annotations

from pathlib import Path

import pytest
from pandas.testing import assert_frame_equal

import widgetkit as wk
from tests.deep import make_deep
from tests.stores import make_store
from widgetkit import analysis
from widgetkit.errors import TooFew

QUICK = {"gap_references": 3, "boots": 2}


@pytest.fixture
def session(tmp_path: Path) -> wk.Session:
    return wk.Session(make_store(tmp_path / "s.wk", n=80))


def test_it_is_the_choice_of_the_embeddings(session: wk.Session) -> None:
    told: list[object] = []
    session.observe("cluster choice", told.append)
    assert session.cluster_choice is None
    job = session.choose_clusters(range(2, 6), **QUICK)
    found = session.cluster_choice
    assert job.status == "done" and told == [found] and found is not None
    own = analysis.choose_clusters(session.stats[session.layer].embeddings, range(2, 6), **QUICK)
    assert_frame_equal(found.table.drop(columns="seconds"), own.table.drop(columns="seconds"))
    assert (found.recommended, found.reasons) == (own.recommended, own.reasons)
    assert found.recommended == 4  # kinds that were planted


def test_the_store_keeps_it(session: wk.Session) -> None:
    session.choose_clusters([2, 3], **QUICK)
    first = session.cluster_choice
    again = wk.Session(session.store)
    kept = again.cluster_choice
    assert kept is not None and first is not None
    assert_frame_equal(kept.table, first.table, check_dtype=False)
    for name in ("recommended", "reasons", "elbow", "silhouette", "gap", "rows", "seed"):
        assert getattr(kept, name) == getattr(first, name)
    again.choose_clusters([2, 3], **QUICK)  # found, not measured: the seconds are the same
    assert_frame_equal(again.cluster_choice.table, first.table, check_dtype=False)
    again.choose_clusters([2, 3, 4], **QUICK)
    assert again.cluster_choice.table["k"].tolist() == [1, 2, 3, 4]


def test_each_layer_has_its_own(tmp_path: Path) -> None:
    session = wk.Session(make_deep(tmp_path / "s.wk", epochs=2).store, layer="latent")
    session.choose_clusters([2, 3, 4], **QUICK)
    assert session.cluster_choice is not None
    session.set_layer("encoder.last")
    assert session.cluster_choice is None
    session.set_layer("latent")
    assert session.cluster_choice is not None


def test_what_cannot_be_compared_is_raised(session: wk.Session) -> None:
    with pytest.raises(TooFew):
        session.choose_clusters([80], **QUICK)
    assert session.cluster_choice is None
