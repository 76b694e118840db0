"""Mean and variance of the maps of each cluster's members: methods of the session."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from widgetkit import explain
from widgetkit.errors import InvalidInput
from widgetkit.explain.soft import soft_assign
from widgetkit.session import maps

if TYPE_CHECKING:
    from widgetkit.explain import ClusterMaps
    from widgetkit.explain.cluster_maps import Scaling
    from widgetkit.session.clustering import Clustering
    from widgetkit.session.jobs import Job
    from widgetkit.session.maps import Question
    from widgetkit.session.mapspec import MapSpec
    from widgetkit.session.session import Session

#: Members of each cluster whose maps are computed, where nobody says how many.
MOST = 200


def cluster_maps(
    self: Session,
    spec: MapSpec | None = None,
    *,
    most: int | None = MOST,
    boxes: npt.ArrayLike | None = None,
    masks: npt.ArrayLike | None = None,
    shape: Sequence[int] | None = None,
    scaling: Scaling = "own",
    members: int = 3,
) -> ClusterMaps:
    """Mean and variance of the maps of each cluster's members, computed now.

    Parameters
    ----------
    spec : MapSpec, optional
        The map; default: the session's. With ``target=None`` each tile's map of its own cluster.
    most : int, optional
        Members of each cluster at the most, drawn at random with the session's seed; None: all.
    boxes : (n, d, 2), optional
        Organ of every tile of the store, see ``explain.organ_boxes``.
    masks : (n, *space) bool, optional
        Organ masks of every tile, such as ``VolumeTiles.masks()``.
    shape, scaling, members
        As in :func:`widgetkit.explain.cluster_maps`. Members that stand for a cluster are those with
        the largest weight (factors) or soft assignment (centres); ``rows`` are tiles of the store.
    """
    asked = _asked(self, spec, most)
    return _compute(*asked, boxes, masks, shape, scaling, members, None)


def request_cluster_maps(
    self: Session,
    on_result: Callable[[ClusterMaps], object],
    spec: MapSpec | None = None,
    *,
    most: int | None = MOST,
    boxes: npt.ArrayLike | None = None,
    masks: npt.ArrayLike | None = None,
    shape: Sequence[int] | None = None,
    scaling: Scaling = "own",
    members: int = 3,
) -> Job:
    """:meth:`cluster_maps` as a job, for methods that run the network on many tiles."""
    asked = _asked(self, spec, most)
    return self.jobs.submit(
        "cluster maps",
        lambda job: _compute(*asked, boxes, masks, shape, scaling, members, job),
        on_result,
        title="Maps of clusters",
    )


def _asked(session: Session, spec: MapSpec | None, most: int | None) -> tuple[Question, Clustering]:
    clustering = session._need_clustering()
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
        raise InvalidInput(f"most={most!r}: a number of members from 1, or None for all.")
    generator = np.random.default_rng(session.seed)
    chosen = []
    for c in range(clustering.k):
        own = np.flatnonzero(clustering.labels == c)
        if most is not None and len(own) > most:
            own = np.sort(generator.choice(own, most, replace=False))
        chosen.append(own)
    rows = np.sort(np.concatenate(chosen)) if chosen else np.empty(0, np.int64)
    if not len(rows):
        raise InvalidInput("No tile is in a cluster, so there are no maps of clusters.")
    return session._question(rows, spec), clustering


def _compute(
    question: Question,
    clustering: Clustering,
    boxes: npt.ArrayLike | None,
    masks: npt.ArrayLike | None,
    shape: Sequence[int] | None,
    scaling: Scaling,
    members: int,
    job: Job | None,
) -> ClusterMaps:
    store = question.store
    edges, organs = _each(boxes, "boxes", len(store)), _each(masks, "masks", len(store))
    result = maps.compute(question, job=job)
    rows = result.rows[result.ready]
    if not len(rows):
        raise InvalidInput(f"{result.title}: no tile of a cluster has a map.")
    found = explain.cluster_maps(
        result.values[result.ready],
        clustering.labels[rows],
        k=clustering.k,
        images=store.images(rows) if store.has_images else None,
        weights=_weights(question, clustering, rows),
        shape=shape,
        scaling=scaling,
        members=members,
        names=clustering.names,
        boxes=None if edges is None else edges[rows],
        masks=None if organs is None else organs[rows],
    )
    said = [f"{result.title}.", *found.sentences]
    sizes = clustering.sizes
    if int(sizes.sum()) > len(rows):
        said.append(f"Drawn at random: {len(rows):,} of {int(sizes.sum()):,} tiles in a cluster.")
    at = np.where(found.rows >= 0, rows[found.rows], -1)
    return replace(found, rows=at, sentences=tuple(said))


def _each(values: npt.ArrayLike | None, name: str, n: int) -> npt.NDArray[Any] | None:
    found = None if values is None else np.asarray(values)
    if found is not None and len(found) != n:
        raise InvalidInput(f"{name} are of {len(found)} images; the store has {n} tiles: one each.")
    return found


def _weights(
    question: Question, clustering: Clustering, rows: npt.NDArray[np.int64]
) -> npt.NDArray[Any] | None:
    """How surely each tile is in each cluster; None where nothing says."""
    if clustering.weights is not None:
        return clustering.weights[rows]
    prototypes = clustering.prototypes
    embeddings = question.stats[clustering.layer].embeddings
    if prototypes is None or prototypes.shape[1] != embeddings.shape[1]:
        return None
    return soft_assign(embeddings[rows], prototypes)
