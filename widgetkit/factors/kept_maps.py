"""Maps of a class, a cluster of latent vectors or a concept that were computed once and are kept in the store.

Grad-CAM, occlusion, relevance and CLAM maps run the network. Kept, they can be looked at, and
compared with factors, where there is no network: in a class without torch, or a year later.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from widgetkit import explain
from widgetkit.analysis._hooks import Cancel, Progress, checkpoint
from widgetkit.errors import InvalidInput, StoreError, UnknownName
from widgetkit.explain import ClassTarget, ConceptTarget, LatentTarget

if TYPE_CHECKING:
    from widgetkit.explain import Model
    from widgetkit.store import ActivationStore

KIND = "maps"
Rows = npt.NDArray[np.int64]
Maps = npt.NDArray[np.float32]
#: What kept maps are of. A class may be given by its number alone.
Of: TypeAlias = ClassTarget | LatentTarget | ConceptTarget
#: Characters of a concept's digest that are part of the name of its maps.
KEY = 16

# Tiles run at once, and how often a stop is looked for.
_BATCH = 8


@dataclass(frozen=True, eq=False)
class KeptMaps:
    """Maps of some tiles towards one class, cluster or concept, on the layer's grid.

    Attributes
    ----------
    method : str
    target : int
        The class or the cluster; of a concept its number among those that it was told apart from.
    layer : str
    rows : (m,) int64, ascending
    values : (m, *grid) float32
    """

    method: str
    target: int
    layer: str
    rows: Rows
    values: Maps

    def take(self, rows: Rows) -> Maps:
        """(len(rows), *grid) float32; every row must be among :attr:`rows`."""
        at = np.searchsorted(self.rows, rows)
        if (at >= len(self.rows)).any() or not np.array_equal(self.rows[at], rows):
            raise InvalidInput(f"Not all of {len(rows)} rows have a kept {self.method} map.")
        return self.values[at]


def kept(store: ActivationStore, method: str, target: int | Of, *, layer: str) -> KeptMaps | None:
    """The maps kept of a method with its default settings, or None; damaged ones count as none."""
    chosen, of = explain.get(method), _of(target)
    try:
        entry = store.derived.get(KIND, _name(store, method, of, layer))
        rows = np.asarray(entry.arrays["rows"], np.int64)
        values = np.asarray(entry.arrays["values"], np.float32)
    except (UnknownName, StoreError, KeyError):
        return None
    fits = (
        entry.params == _params(chosen, of, layer)
        and rows.ndim == 1
        and len(rows) > 0
        and values.shape == (len(rows), *store.layer(layer).grid)
        and int(rows[0]) >= 0
        and int(rows[-1]) < len(store)
        and bool((np.diff(rows) > 0).all())
        and bool(np.isfinite(values).all())
    )
    return KeptMaps(method, of.index, layer, rows, values) if fits else None


def kept_classes(store: ActivationStore, method: str, *, layer: str) -> tuple[int, ...]:
    """Classes that maps of a method are kept of, ascending; from the names, so none is read."""
    found = _ends(store, _name(store, method, ClassTarget(0), layer)[:-1], r"[0-9]+")
    return tuple(sorted(map(int, found)))


def kept_clusters(
    store: ActivationStore, method: str, centres: npt.NDArray[Any], *, latent: str, layer: str
) -> tuple[tuple[int, int | None], ...]:
    """Clusters of a clustering that maps of a method are kept of, and what each is set against.

    From the names, so none is read. ``centres`` and ``latent`` as in ``LatentTarget``: maps of other
    centres are maps of other clusters, whatever these are called.
    """
    if not len(centres):
        return ()
    of = LatentTarget(centres, 0, latent=latent)
    found = _ends(store, _name(store, method, of, layer)[:-1], r"[0-9]+(-against-[0-9]+)?")
    pairs = (end.split("-against-") for end in found)
    listed = [(int(pair[0]), int(pair[1]) if len(pair) > 1 else None) for pair in pairs]
    return tuple(sorted(listed, key=lambda pair: (pair[0], -1 if pair[1] is None else pair[1])))


def kept_concepts(store: ActivationStore, method: str, *, layer: str) -> frozenset[str]:
    """Starts, ``KEY`` long, of the digests of concepts that maps of a method are kept of.

    From the names, so none is read. Concepts are known by what their direction was made of
    (``ConceptTarget.digest``) and not by what they are called.
    """
    start = _name(store, method, ConceptTarget(0, ("",)), layer)[:-KEY]
    return frozenset(_ends(store, start, rf"[0-9a-f]{{{KEY}}}"))


def _ends(store: ActivationStore, start: str, pattern: str) -> list[str]:
    names = (name for name in store.derived.names(KIND) if name.startswith(start))
    return [name[len(start) :] for name in names if re.fullmatch(pattern, name[len(start) :])]


def kept_methods(store: ActivationStore, target: int, *, layer: str) -> dict[str, KeptMaps]:
    """All maps kept for a class, by method."""
    found = {}
    for method in explain.for_target(explain.ClassTarget):
        maps = kept(store, method, target, layer=layer)
        if maps is not None:
            found[method] = maps
    return found


def maps_of(
    store: ActivationStore,
    method: str,
    target: int | Of,
    rows: npt.ArrayLike,
    *,
    layer: str,
    model: Model | None = None,
    keep: bool = True,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> KeptMaps:
    """Maps of a class or cluster, read where they are kept and computed (and kept) where they are not.

    Parameters
    ----------
    store : ActivationStore
    method : str
        A map method that takes the target, see ``widgetkit.explain``. Maps finer than the layer's
        grid (occlusion) are averaged to it.
    target : int, ClassTarget, LatentTarget or ConceptTarget
        The class, from 0; a cluster of latent vectors; or a concept.
    rows : (m,) int
    layer : str
    model : ModelContext, optional
        Needed for what is not kept, unless the method needs stored activations only.
    keep : bool
        Add what was computed to what the store keeps.
    progress, cancel : callable, optional
        Between batches; what was computed before a stop is kept.

    Raises
    ------
    NeedsModel, NeedsActivations, InvalidInput, Cancelled
    """
    chosen, of = explain.get(method), _of(target)
    wanted = np.unique(np.asarray(rows, np.int64).reshape(-1))
    known = kept(store, method, of, layer=layer)
    have = np.empty(0, np.int64) if known is None else known.rows
    todo = np.setdiff1d(wanted, have, assume_unique=True)
    grid = store.layer(layer).grid
    made: list[Maps] = []
    try:
        for start in range(0, len(todo), _BATCH):
            checkpoint(cancel, progress, start, len(todo))
            batch = explain.Batch.from_store(
                store, todo[start : start + _BATCH], layer=layer, model=model, method=chosen
            )
            if cancel is not None:
                batch = replace(batch, check=lambda: checkpoint(cancel, None, 0, 1))
            maps = explain.compute(chosen, batch, of)
            made.append(maps if maps.shape[1:] == grid else explain.area_mean(maps, grid))
        if len(todo):
            checkpoint(cancel, progress, len(todo), len(todo))
    finally:
        done = todo[: sum(map(len, made))]
        found = _joined(known, done, made, method, of.index, layer, grid)
        if keep and len(done):
            store.derived.put(
                KIND,
                _name(store, method, of, layer),
                {"rows": found.rows, "values": found.values},
                params=_params(chosen, of, layer),
            )
    return replace(found, rows=wanted, values=found.take(wanted))


def _joined(
    known: KeptMaps | None,
    rows: Rows,
    made: list[Maps],
    method: str,
    target: int,
    layer: str,
    grid: tuple[int, ...],
) -> KeptMaps:
    values = np.concatenate(made) if made else np.empty((0, *grid), np.float32)
    if known is not None:
        rows, values = np.concatenate([known.rows, rows]), np.concatenate([known.values, values])
    order = np.argsort(rows, kind="stable")
    return KeptMaps(method, target, layer, rows[order], values[order])


def _of(target: int | Of) -> Of:
    return target if isinstance(target, Of) else ClassTarget(int(target))


def _name(store: ActivationStore, method: str, of: Of, layer: str) -> str:
    start = f"{store.layer(layer).slug}-{method}"
    if isinstance(of, ClassTarget):
        return f"{start}-class-{of.index}"
    if isinstance(of, ConceptTarget):
        return f"{start}-concept-{of.digest[:KEY]}"
    rather = "" if of.against is None else f"-against-{of.against}"
    return f"{start}-clusters-{_digest(of)[:16]}-{of.index}{rather}"


def _digest(of: LatentTarget) -> str:
    """Which clustering it is: the layer, and the centres in their order."""
    centres = np.ascontiguousarray(of.centres, "<f4")
    digest = hashlib.sha256(f"{of.latent}\n{centres.shape}\n".encode("utf-8", "surrogatepass"))
    digest.update(centres.tobytes())
    return digest.hexdigest()


def _params(method: Any, of: Of, layer: str) -> dict[str, Any]:
    """What decides a map: also the method's settings, so that another default is not mistaken."""
    settings = {
        key: value
        for key, value in sorted(vars(method).items())
        if isinstance(value, bool | int | float | str | None)
    }
    what: dict[str, Any] = {"method": method.name, "layer": layer}
    what |= {"concept": of.digest} if isinstance(of, ConceptTarget) else {"target": int(of.index)}
    if isinstance(of, LatentTarget):
        what |= {"against": of.against, "latent": of.latent, "clusters": _digest(of)}
    made: dict[str, Any] = json.loads(json.dumps({**what, "settings": settings}))
    return made
