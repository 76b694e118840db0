"""Maps of clusters asked of a session: members drawn, aligned, as a job, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import widgetkit as wk
from tests.deep import NAMES, make_deep
from tests.stores import make_store
from widgetkit import explain
from widgetkit.errors import InvalidInput, NeedsActivations, NeedsModel
from widgetkit.session.mapspec import MapSpec


@pytest.fixture
def session(tmp_path: Path) -> wk.Session:
    made = wk.Session(make_store(tmp_path / "s.wk", n=48))
    made.cluster("kmeans", 3)
    made.wait()
    return made


def test_it_is_the_map_of_each_tile_for_its_own_cluster(session: wk.Session) -> None:
    found = session.cluster_maps()
    rows = np.arange(48)
    plain = explain.cluster_maps(
        session.maps(rows).values,
        session.clustering.labels,
        k=3,
        images=session.store.images(rows),
    )
    np.testing.assert_array_equal(found.mean, plain.mean)
    np.testing.assert_array_equal(found.images, plain.images)
    assert found.names == session.clustering.names
    assert found.sentences[0] == f"{session.maps(rows).title}."
    assert found.count.tolist() == session.clustering.sizes.tolist()


@pytest.mark.parametrize("method", ["kmeans", "nmf"])
def test_members_are_tiles_of_their_cluster_surest_first(session: wk.Session, method: str) -> None:
    session.cluster(method, 3)
    session.wait()
    clustering = session.clustering
    found = session.cluster_maps(members=4)
    embeddings = session.stats[session.layer].embeddings
    for c in range(3):
        at = found.rows[c][found.rows[c] >= 0]
        assert (clustering.labels[at] == c).all()
        own = np.flatnonzero(clustering.labels == c)
        if method == "nmf":
            best = own[np.argsort(-clustering.weights[own, c], kind="stable")]
        else:
            sure = explain.soft.soft_assign(embeddings[own], clustering.prototypes)[:, c]
            best = own[np.argsort(-sure, kind="stable")]
        np.testing.assert_array_equal(at, best[:4])


def test_few_members_are_drawn_and_that_is_said(session: wk.Session) -> None:
    found = session.cluster_maps(most=5)
    assert found.count.tolist() == [5, 5, 5]
    assert "Drawn at random: 15 of 48 tiles in a cluster." in found.sentences
    again = session.cluster_maps(most=5)
    np.testing.assert_array_equal(found.mean, again.mean)
    assert not any("Drawn" in said for said in session.cluster_maps(most=None).sentences)
    assert (session.clustering.labels[found.rows[1][0]] == 1).all()
    with pytest.raises(InvalidInput, match="most"):
        session.cluster_maps(most=0)


def test_organs_are_aligned(session: wk.Session) -> None:
    masks = np.zeros((48, 48, 48), bool)
    for i in range(48):
        masks[i, i % 5 : 40, 4 : 40 + i % 3] = True
    found = session.cluster_maps(masks=masks, most=10)
    assert found.organ is not None and "organ's mask" in found.describe()
    boxes = explain.organ_boxes(masks)
    np.testing.assert_array_equal(session.cluster_maps(boxes=boxes, most=10).mean, found.mean)
    with pytest.raises(InvalidInput, match="masks are of 47 images; the store has 48"):
        session.cluster_maps(masks=masks[1:])


def test_as_a_job(session: wk.Session) -> None:
    told: list[explain.ClusterMaps] = []
    job = session.request_cluster_maps(told.append, MapSpec("cluster", 1), scaling="shared")
    assert job.status == "done" and len(told) == 1
    assert told[0].scaling == "shared" and session.clustering.names[1] in told[0].sentences[0]


def test_what_cannot_be_drawn(session: wk.Session, tmp_path: Path) -> None:
    with pytest.raises(NeedsModel):
        session.cluster_maps(MapSpec("gradcam", 0))
    bare = wk.Session(wk.import_features(np.eye(12, 4), out=tmp_path / "f.wk"))
    bare.wait()
    with pytest.raises(NeedsActivations):
        bare.cluster_maps()


@pytest.mark.parametrize("shape", [(16, 16), (8, 8, 8)], ids=["2-D", "3-D"])
def test_clam_of_deep_clusters(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """The groups are a bright block near the corner or far from it; each map of its cluster."""
    deep = make_deep(tmp_path / "s.wk", shape=shape)
    session = wk.Session(deep.store, deep.context())
    found = session.cluster_maps(MapSpec("clam"), shape=shape, members=2)
    assert found.names == NAMES and found.shape == shape
    assert found.sentences[0].startswith("CLAM")
    soft = deep.clustering.soft_assign(deep.autoencoder.encode(deep.images))
    for c in range(3):
        own = np.flatnonzero(session.clustering.labels == c)
        assert set(found.rows[c]) <= set(own)
        assert soft[found.rows[c][0], c] == pytest.approx(soft[own, c].max(), rel=1e-2)
