"""Maps that the store keeps, for sessions without the network that made them.

Somebody with the network computed them once (``session.keep_maps``, ``session.read_correlations``, or
``widgetkit.factors.kept_maps``); a class without torch, or a Binder, sees them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from widgetkit import explain
from widgetkit.errors import NeedsModel
from widgetkit.factors import kept_maps

if TYPE_CHECKING:
    from widgetkit.explain import MapMethod, Model
    from widgetkit.factors.kept_maps import Of
    from widgetkit.session.clustering import Clustering
    from widgetkit.session.conceptmaps import ConceptsNow
    from widgetkit.store import ActivationStore

Rows = npt.NDArray[np.int64]


def instead(
    store: ActivationStore,
    model: Model | None,
    method: MapMethod | type[MapMethod],
    layer: str,
    clustering: Clustering | None = None,
    concepts_now: ConceptsNow | None = None,
) -> bool:
    """Whether kept maps stand in: the method runs a network, there is none, and some are kept.

    Those of a method that takes clusters of latent vectors must be of ``clustering``, those of one that
    takes concepts of the examples that ``concepts_now`` has.
    """
    if model is not None or explain.is_live(method):
        return False
    return bool(
        classes(store, method, layer)
        or clusters(store, method, layer, clustering)
        or concepts(store, method, layer, concepts_now)
    )


def classes(
    store: ActivationStore, method: MapMethod | type[MapMethod], layer: str
) -> tuple[int, ...]:
    """Classes that maps of the method are kept of; empty for methods that take no class."""
    if explain.ClassTarget not in method.targets or layer not in store.layers:
        return ()
    return kept_maps.kept_classes(store, method.name, layer=layer)


def clusters(
    store: ActivationStore,
    method: MapMethod | type[MapMethod],
    layer: str,
    clustering: Clustering | None,
) -> tuple[tuple[int, int | None], ...]:
    """Clusters of a clustering that maps are kept of, and what each is set against.

    Empty for methods that take no cluster of latent vectors.
    """
    if explain.LatentTarget not in method.targets or layer not in store.layers:
        return ()
    if clustering is None or clustering.centres is None:
        return ()
    return kept_maps.kept_clusters(
        store, method.name, clustering.centres, latent=clustering.layer, layer=layer
    )


def concepts(
    store: ActivationStore,
    method: MapMethod | type[MapMethod],
    layer: str,
    now: ConceptsNow | None,
) -> tuple[int, ...]:
    """Concepts that maps are kept of, by the examples they have now; none for other methods."""
    if explain.ConceptTarget not in method.targets or layer not in store.layers or now is None:
        return ()
    kept = kept_maps.kept_concepts(store, method.name, layer=layer)
    return tuple(f for f, digest in now.digests(layer).items() if digest[: kept_maps.KEY] in kept)


def all_classes(store: ActivationStore, layer: str) -> tuple[int, ...]:
    """Classes that maps of any method are kept of, ascending."""
    methods = explain.for_target(explain.ClassTarget)
    return tuple(sorted({i for m in methods for i in classes(store, explain.get(m), layer)}))


def read(
    store: ActivationStore,
    method: MapMethod,
    layer: str,
    rows: Rows,
    parts: Sequence[tuple[Of, npt.NDArray[Any]]],
    clustering: Clustering | None = None,
    concepts_now: ConceptsNow | None = None,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Maps (m, *grid) of ``rows`` and which of them are kept (m,); 0 where one is not.

    Parameters
    ----------
    parts : sequence of (target, (p,) positions in ``rows``)
        Towards which class, cluster or concept the map of each tile is. Tiles in none of them (of no
        cluster, with no concept) have an empty map, which nobody need keep.
    clustering, concepts_now : optional
        Name the clusters and the concepts.

    Raises
    ------
    NeedsModel
        None is kept of these tiles and targets; the message says what there is.
    """
    values = np.zeros((len(rows), *store.layers[layer].grid), dtype=np.float32)
    ready = np.ones(len(rows), dtype=bool)
    tiles = found_any = 0
    for target, part in parts:
        ready[part] = False
        found = kept_maps.kept(store, method.name, target, layer=layer)
        if found is None:
            continue
        tiles += len(found.rows)
        at = np.searchsorted(found.rows, rows[part])
        there = found.rows[np.minimum(at, len(found.rows) - 1)] == rows[part]
        values[part[there]] = found.values[at[there]]
        ready[part[there]] = True
        found_any += int(there.sum())
    if sum(len(part) for _, part in parts) and not found_any:
        raise NeedsModel(
            f"{method.title} runs the network, and this session has none. "
            f"{_what_there_is(store, method, layer, clustering, concepts_now, tiles, parts[0][0])} "
            "Pass the network: wk.explore(store, model=...)."
        )
    return values, ready


def title(of: str, ready: npt.NDArray[np.bool_]) -> str:
    """The title of kept maps: it says that they are, and of how many tiles."""
    count, m = int(ready.sum()), len(ready)
    if count == m:
        return f"{of} (kept in the store)"
    return f"{of} (kept for {count:,} of {m:,} tiles)"


def _what_there_is(
    store: ActivationStore,
    method: MapMethod,
    layer: str,
    clustering: Clustering | None,
    concepts_now: ConceptsNow | None,
    tiles: int,
    asked: Of,
) -> str:
    if tiles:
        return f"The store keeps such maps of {tiles:,} other tiles."
    if isinstance(asked, explain.ConceptTarget) and concepts_now is not None:
        numbers = concepts(store, method, layer, concepts_now)
        names = ", ".join(concepts_now.concepts.names[f] for f in numbers) or "none of a concept"
        return f"The store keeps such maps of others only: {names}."
    pairs = clusters(store, method, layer, clustering)
    if pairs and clustering is not None:
        kept = ", ".join(
            clustering.names[i] + ("" if j is None else f" against {clustering.names[j]}")
            for i, j in pairs
            if max(i, j or 0) < clustering.k
        )
        return f"The store keeps such maps of other clusters only: {kept}."
    known = store.class_names
    kept = ", ".join(
        known[i] if known and i < len(known) else f"class {i}"
        for i in classes(store, method, layer)
    )
    return f"The store keeps such maps of other classes only: {kept}."
