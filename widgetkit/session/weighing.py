"""Weights of every position in the prototypes of a clustering: what maps of a slide are made of.

They belong to the prototypes as fitted; clusters that were merged or split since are put together
from the same weights (:meth:`Clustering.fold`), so an edit assigns nothing again.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput, StoreError, StoreMismatch, UnknownName
from widgetkit.session.clustering import Clustering

if TYPE_CHECKING:
    from widgetkit.factors import Factors
    from widgetkit.session.jobs import Job
    from widgetkit.store import ActivationStore

Float = npt.NDArray[np.float32]

#: Kind of derived result: for each position the nearest of some centres.
NEAREST = "nearest"
_BATCH_BYTES = 32 * 2**20
#: Held while the factors of a store are made, by its path.
_MAKING: dict[Path, threading.Lock] = {}
_LOCK = threading.Lock()


class PositionWeights(Protocol):
    """Weights of the positions of all tiles in k0 prototypes."""

    @property
    def k(self) -> int: ...
    @property
    def grid(self) -> tuple[int, int]: ...
    @property
    def background(self) -> float:
        """Total weight that a position must exceed to belong to a prototype."""
        ...

    @property
    def units(self) -> str: ...
    @property
    def highest(self) -> Float:
        """(n, k0) the largest weight of each tile."""
        ...

    def read(self, rows: npt.NDArray[np.int64]) -> Float:
        """(m, k0, h, w) float32."""
        ...


class FactorWeights:
    """Of an NMF: kept in the store by :mod:`widgetkit.factors`."""

    def __init__(self, factors: Factors) -> None:
        self.factors = factors
        self.k = factors.k
        self.grid = plane(factors.grid)
        self.background = factors.background_level
        self.units = "weight (unit of the activations)"

    @property
    def highest(self) -> Float:
        highest: Float = self.factors.pooled.max
        return highest

    def read(self, rows: npt.NDArray[np.int64]) -> Float:
        found: Float = self.factors.weights(rows).reshape(len(rows), self.k, *self.grid)
        return found


class NearestWeights:
    """Of centres: 1 for the nearest, 0 for all others."""

    background = 0.0
    units = "share of positions nearest to it"

    def __init__(self, nearest: npt.NDArray[np.uint8], k: int) -> None:
        self.k = k
        self.grid = plane(nearest.shape[1:])
        self._nearest = nearest.reshape(len(nearest), *self.grid)

    @cached_property
    def highest(self) -> Float:
        flat = self._nearest.reshape(len(self._nearest), -1)
        found = np.zeros((len(flat), self.k), dtype=np.float32)
        for i in range(self.k):
            found[:, i] = (flat == i).any(axis=1)
        return found

    def read(self, rows: npt.NDArray[np.int64]) -> Float:
        each = np.arange(self.k, dtype=np.uint8)[:, None, None]
        own = self._nearest[rows][:, None] == each
        return np.asarray(own, dtype=np.float32)


class TileWeights:
    """Of tiles with one vector and no map: the weight of the tile, or 1 for its own cluster.

    Made for the clusters as they are, so that edits need no folding.
    """

    grid = (1, 1)
    background = 0.0

    def __init__(self, clustering: Clustering) -> None:
        self.k = clustering.k
        self._labels = clustering.labels
        self._weights = clustering.weights
        self.units = "cluster of the tile" if self._weights is None else "weight of the tile"

    @cached_property
    def highest(self) -> Float:
        return self.read(np.arange(len(self._labels)))[:, :, 0, 0]

    def read(self, rows: npt.NDArray[np.int64]) -> Float:
        if self._weights is not None:
            return self._weights[rows][:, :, None, None]
        own = self._labels[rows][:, None] == np.arange(self.k)
        return np.asarray(own, dtype=np.float32)[:, :, None, None]


def plane(grid: tuple[int, ...]) -> tuple[int, int]:
    """A grid as (h, w), one line of cells for (length,); InvalidInput for volumes."""
    if len(grid) not in (1, 2):
        raise InvalidInput(f"Maps on a slide are (h, w); this layer has a grid of {tuple(grid)}.")
    return (1, int(grid[0])) if len(grid) == 1 else (int(grid[0]), int(grid[1]))


def key_of(clustering: Clustering, store: ActivationStore) -> str:
    """What weights belong to: the layer and the prototypes as fitted; without maps the clustering."""
    fitted = clustering.fitted
    digest = hashlib.sha256(clustering.layer.encode("utf-8", "surrogatepass"))
    if not store.layers[clustering.layer].has_maps:
        digest.update(clustering.labels.tobytes())
        digest.update(b"" if clustering.weights is None else clustering.weights.tobytes())
        digest.update(str(clustering.k).encode())
    elif fitted is None:
        raise InvalidInput(
            f"The clustering {clustering.name!r} has no prototypes, so there is no map of it. "
            "Cluster with method='nmf' or 'kmeans'."
        )
    else:
        digest.update(f"{clustering.method}{fitted.shape}".encode())
        digest.update(fitted.tobytes())
        digest.update(_offset_bytes(clustering))
    return digest.hexdigest()[:32]


def find(store: ActivationStore, clustering: Clustering) -> PositionWeights | None:
    """Weights that are there already, or None."""
    if not store.layers[clustering.layer].has_maps:
        return TileWeights(clustering)
    if clustering.method == "nmf":
        found = find_factors(store, clustering)
        return None if found is None else FactorWeights(found)
    return _kept_nearest(store, clustering)


def find_factors(store: ActivationStore, clustering: Clustering) -> Factors | None:
    """Kept factors of this store and layer with exactly these prototypes, or None."""
    from widgetkit import factors

    fitted = clustering.fitted
    if fitted is None or clustering.method != "nmf":
        return None
    wanted = clustering.params.get("factors")
    listed = factors.names(store)
    for name in sorted(listed, key=lambda other: other != wanted):
        try:
            kept = factors.load(store, name)
        except (StoreError, UnknownName):  # damaged, or deleted meanwhile
            continue
        if kept.layer != clustering.layer or not np.array_equal(kept.prototypes, fitted):
            continue
        # The same prototypes on otherwise prepared activations are other factors.
        plain = kept.scales is None and kept.params.get("nonnegative", "error") == "error"
        if name == wanted or (plain and _same_offset(kept.offset, clustering)):
            return kept
    return None


def make(store: ActivationStore, clustering: Clustering, job: Job | None = None) -> PositionWeights:
    """Weights of all positions: kept ones, else one pass over the store, whose result is kept."""
    found = find(store, clustering)
    if found is not None:
        return found
    fitted = clustering.fitted
    if fitted is None:
        raise InvalidInput(f"The clustering {clustering.name!r} has no prototypes.")
    if clustering.method == "nmf":
        return FactorWeights(make_factors(store, clustering, job))
    nearest = _nearest(store, clustering.layer, fitted, job)
    store.derived.put(
        NEAREST,
        key_of(clustering, store),
        {"nearest": nearest},
        params={"layer": clustering.layer, "method": clustering.method, "k": len(fitted)},
    )
    return NearestWeights(nearest, len(fitted))


def make_factors(store: ActivationStore, clustering: Clustering, job: Job | None = None) -> Factors:
    """The factors of an NMF with the weights of all positions: kept ones, else one pass."""
    from widgetkit import factors

    kept = find_factors(store, clustering)
    if kept is not None:
        return kept
    fitted = clustering.fitted
    if fitted is None or clustering.method != "nmf":
        raise InvalidInput(
            f"The clusters were made by {clustering.method}, which has no factors. Cluster by "
            "factorisation: session.cluster('nmf'), or session.use_factors(...)."
        )
    with _alone(store, job):
        kept = find_factors(store, clustering)  # another job may have made them meanwhile
        if kept is not None:
            return kept
        return factors.assign(
            store,
            fitted,
            layer=clustering.layer,
            group="slide" if {"slide", "source"} & set(store.tiles.columns) else None,
            offset=_offset(clustering),
            seed=clustering.seed,
            progress=None if job is None else job.progress,
            cancel=None if job is None else lambda: job.cancelled,
        )


@contextmanager
def _alone(store: ActivationStore, job: Job | None) -> Iterator[None]:
    """One pass over a store at a time: several questions may need the same factors at once.

    A job that waits can be cancelled.
    """
    with _LOCK:
        lock = _MAKING.setdefault(store.path, threading.Lock())
    while not lock.acquire(timeout=0.2):
        if job is not None:
            job.check()
    try:
        yield
    finally:
        lock.release()


def clustering_of(given: Factors | str, store: ActivationStore) -> Clustering:
    """Factors as a clustering of the tiles; see ``Session.use_factors``."""
    from widgetkit.factors import load

    factors = load(store, given) if isinstance(given, str) else given
    if factors.store_id != store.id:
        raise StoreMismatch(
            f"The factors {factors.name!r} are of store {factors.store_id!r}; this one is {store.id!r}."
        )
    if factors.signed or factors.method in ("kmeans", "spherical_kmeans"):
        raise InvalidInput(
            f"Factors by {factors.method} are not weights of parts. Use 'nmf', 'sparse_nmf' or "
            "'convex_nmf', or session.cluster('kmeans')."
        )
    weights = factors.pooled.mean
    labels = weights.argmax(axis=1).astype(np.int32)
    labels[weights.max(axis=1, initial=0.0) <= 0] = -1
    offset = factors.offset
    params = {
        "layer": factors.layer,
        "method": factors.method,
        "k": factors.k,
        "factors": factors.name,
    }
    if offset is not None:
        params["background"] = [float(v) for v in offset]
    return Clustering.make(
        labels,
        factors.k,
        method="nmf",
        layer=factors.layer,
        name=factors.name,
        prototypes=factors.prototypes,
        weights=weights,
        params=params,
        seed=factors.seed,
    )


# -- centres -----------------------------------------------------------------------------
def _nearest(
    store: ActivationStore, layer: str, centres: Float, job: Job | None
) -> npt.NDArray[np.uint8]:
    """(n, *grid) number of the nearest centre of each position."""
    info = store.layers[layer]
    h, w = plane(info.grid)
    found = np.empty((len(store), h * w), dtype=np.uint8)
    half = np.einsum("kc,kc->k", centres, centres) / 2
    step = max(1, _BATCH_BYTES // max(1, info.channels * h * w * 4))
    for rows, maps in store.iter_activations(layer, step):
        if job is not None:
            job.progress(int(rows[0]), len(store))
        flat = maps.reshape(len(rows), info.channels, h * w).astype(np.float32)
        found[rows] = (np.matmul(centres, flat) - half[:, None]).argmax(axis=1)
    return found.reshape(len(store), *info.grid)


def _kept_nearest(store: ActivationStore, clustering: Clustering) -> NearestWeights | None:
    fitted = clustering.fitted
    if fitted is None:
        return None
    try:
        array = store.derived.get(NEAREST, key_of(clustering, store)).arrays["nearest"]
    except (StoreError, UnknownName, KeyError):
        return None
    shape = (len(store), *store.layers[clustering.layer].grid)
    if array.shape != shape or array.dtype != np.uint8:
        return None
    return NearestWeights(array, len(fitted))


# -- offsets -----------------------------------------------------------------------------
def _offset(clustering: Clustering) -> Float | None:
    value = clustering.params.get("background")
    if value is None or clustering.method != "nmf":
        return None
    found = np.asarray(value, dtype=np.float32)
    return found if found.any() else None


def _offset_bytes(clustering: Clustering) -> bytes:
    offset = _offset(clustering)
    return b"" if offset is None else offset.tobytes()


def _same_offset(kept: npt.NDArray[Any] | None, clustering: Clustering) -> bool:
    offset = _offset(clustering)
    if kept is None or offset is None:
        return (kept is None or not kept.any()) and offset is None
    return np.array_equal(kept, offset)
