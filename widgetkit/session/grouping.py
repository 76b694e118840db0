"""Clusterings of a layer: computed once and kept in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput, NeedsActivations, StoreError, TooFew, UnknownName, near
from widgetkit.session.clustering import MAX_CLUSTERS, Clustering

if TYPE_CHECKING:
    from widgetkit.session.jobs import Job
    from widgetkit.store import ActivationStore
    from widgetkit.store.derived import Entry

Method = Literal["auto", "deep", "nmf", "kmeans", "hdbscan"]
METHODS: tuple[str, ...] = get_args(Method)

KIND = "clustering"
#: Clusters of an autoencoder's latent vectors (``widgetkit.deep_clustering``): made when the encoder was
#: trained, so a session finds them in the store or not at all.
DEEP = "deep"
DEFAULT_K = 8
#: Positions from which factors are learned: 20,000 x 512 take 0.4 s, and more change the
#: error in the third digit only.
SAMPLE = 20_000
#: Up to here every position is weighed (about two seconds with 512 channels); beyond, the
#: weights are those of each tile's mean activation.
EVERY_POSITION = 250_000
_BATCH_BYTES = 32 * 2**20


def resolve(store: ActivationStore, layer: str, method: str) -> str:
    """The method that makes clusters of a layer: ``"auto"`` is NMF where there are maps without
    negative values, else k-means.

    Kept deep clusters, which go before that, are found by :func:`deep` and never made here.
    """
    if method not in METHODS:
        raise UnknownName(
            f"There is no clustering method {method!r}. {near(method, METHODS)}".rstrip()
        )
    if method == DEEP:
        raise InvalidInput(
            "Deep clusters are made where the encoder is trained: DeepClustering.to_store writes a "
            "store with them, and this one keeps none that fit. Use method='kmeans'."
        )
    info = store.layers[layer]
    if method == "auto":
        return "nmf" if info.has_maps and not info.signed else "kmeans"
    if method == "nmf" and not info.has_maps:
        raise NeedsActivations(
            f"NMF factorises maps of activations, and layer {layer!r} has one vector a tile. "
            "Use method='kmeans'."
        )
    return method


def default_k(n: int) -> int:
    """Eight clusters, fewer for few tiles: on average at least four tiles each."""
    return max(1, min(DEFAULT_K, n // 4)) if n else 0


def check_k(k: int | None, n: int) -> int:
    """``k``, or the default; InvalidInput or TooFew when it cannot be."""
    if k is None:
        return default_k(n)
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= MAX_CLUSTERS:
        raise InvalidInput(f"k is a whole number 1..{MAX_CLUSTERS}; got {k!r}.")
    if k > n:
        raise TooFew(f"{n} tiles cannot be put into {k} clusters. Use k of at most {n}.")
    return int(k)


def compute(
    store: ActivationStore,
    layer: str,
    *,
    method: str,
    k: int,
    seed: int,
    job: Job,
    rows: npt.NDArray[np.int64] | None = None,
    warm: Clustering | None = None,
    xy: npt.NDArray[np.float32] | None = None,
) -> Clustering:
    """Cluster tiles of a layer.

    Parameters
    ----------
    store, layer
    method : "nmf", "kmeans" or "hdbscan"
        NMF learns k factors from a seeded sample of positions; a tile's weight in a factor is
        the mean over its positions, its label the factor with the largest weight. k-means
        works on embeddings, HDBSCAN on the projection (it finds k itself, and leaves
        outliers in no cluster).
    k, seed : int
    job : Job
    rows : (m,) int, optional
        Only these tiles; all others get label -1 and weight 0.
    warm : Clustering, optional
        Starts from its prototypes when they are as many, of this layer and method.
    xy : (n, 2) float32
        For HDBSCAN.
    """
    n = len(store)
    chosen = np.arange(n) if rows is None else rows
    if not len(chosen):
        return Clustering.make(np.full(n, -1), 0, method=method, layer=layer, seed=seed)
    start = None
    if warm is not None and (warm.layer, warm.method, warm.k) == (layer, method, k):
        start = warm.prototypes
    params: dict[str, Any] = {"layer": layer, "method": method, "k": k}
    params["on"] = "all" if rows is None else "selection"
    if method == "nmf":
        return _nmf(store, layer, chosen, k, seed, params, start, job)
    if method == "kmeans":
        return _kmeans(store, layer, chosen, k, seed, params, start, job)
    return _hdbscan(store, layer, chosen, seed, params, xy, job)


# -- the store ---------------------------------------------------------------------------
def stored(
    store: ActivationStore, layer: str, *, method: str, k: int, seed: int
) -> Clustering | None:
    """A kept clustering of all tiles of a layer, made with these parameters, or None."""
    wanted = (layer, method, k, seed)
    for entry in _newest_first(store):
        params = entry.params
        if (params.get("layer"), params.get("method"), params.get("k"), entry.seed) != wanted:
            continue
        found = _from_entry(entry, layer, len(store), store.layers[layer].channels)
        if found is not None:
            return found
    return None


def _newest_first(store: ActivationStore) -> list[Entry]:
    """All kept clusterings but damaged ones, which are as if not kept."""
    entries = []
    for name in store.derived.names(KIND):
        try:
            entries.append(store.derived.get(KIND, name))
        except (StoreError, UnknownName):  # damaged; deleted meanwhile
            continue
    return sorted(entries, key=lambda entry: str(entry.created), reverse=True)


def deep(store: ActivationStore, k: int | None = None) -> Clustering | None:
    """The deep clustering that the store keeps, of ``k`` clusters; the newest of several; or None.

    It is the default clustering of every layer: it groups the images, whichever layer is looked at.
    """
    for entry in _newest_first(store):
        layer = entry.params.get("layer")
        if entry.params.get("method") != DEEP:
            continue
        if not isinstance(layer, str) or layer not in store.layers:
            continue
        found = _from_entry(entry, layer, len(store), store.layers[layer].channels)
        if found is not None and found.prototypes is not None and k in (None, found.k):
            return found
    return None


def keep(store: ActivationStore, clustering: Clustering) -> None:
    """Put a clustering of all tiles into the store."""
    params = clustering.params
    name = f"{store.layers[clustering.layer].slug}-{clustering.method}-{params.get('k')}-{clustering.seed}"
    arrays = {"labels": clustering.labels}
    for key in ("prototypes", "weights"):
        value = getattr(clustering, key)
        if value is not None:
            arrays[key] = value
    store.derived.put(KIND, name, arrays, params=dict(params), seed=clustering.seed)


def _from_entry(entry: Any, layer: str, n: int, channels: int) -> Clustering | None:
    try:
        labels = np.asarray(entry.arrays["labels"])
        prototypes, weights = (
            np.asarray(entry.arrays[key]) if key in entry.arrays else None
            for key in ("prototypes", "weights")
        )
        k = len(prototypes) if prototypes is not None else int(labels.max(initial=-1)) + 1
        if labels.shape != (n,) or (prototypes is not None and prototypes.shape[1] != channels):
            return None
        found = Clustering.make(
            labels,
            k,
            method=str(entry.params.get("method", "")),
            layer=layer,
            params=dict(entry.params),
            seed=int(entry.seed or 0),
            prototypes=prototypes,
            weights=weights,
        )
        for i, name in enumerate(entry.params.get("names") or ()):
            found = found.rename(i, name)
        return found
    except (KeyError, TypeError, StoreError, ValueError):
        return None


def split(
    clustering: Clustering,
    i: int,
    k: int,
    embeddings: npt.NDArray[np.float32],
    *,
    seed: int,
) -> Clustering:
    """Cut cluster ``i`` into ``k`` by k-means on the embeddings (n, C) of its tiles."""
    from widgetkit import analysis

    rows = np.flatnonzero(clustering.mask(clustering.check(i)))
    whole = isinstance(k, int | np.integer) and not isinstance(k, bool)
    if not whole or not 2 <= k <= len(rows):
        raise TooFew(
            f"Cluster {i} has {len(rows)} tiles: it splits into 2 to {len(rows)} parts, not {k!r}."
        )
    model = analysis.KMeans(int(k), random_state=seed).fit(embeddings[rows])
    labels, parts = np.unique(np.asarray(model.labels_), return_inverse=True)
    if len(labels) < 2:
        raise TooFew(f"The tiles of cluster {i} all have the same activation: it cannot be split.")
    centres = np.asarray(model.cluster_centers_, dtype=np.float32)[labels]
    if clustering.method == "nmf":  # factors have unit length and no negative part
        background = clustering.params.get("background")
        shift = 0.0 if background is None else np.asarray(background, dtype=np.float32)
        centres = np.maximum(centres - shift, 0)
        length = np.linalg.norm(centres, axis=1, keepdims=True)
        centres = np.divide(centres, length, out=np.zeros_like(centres), where=length > 0)
    return clustering.split(i, parts, centres.astype(np.float32))


# -- methods -----------------------------------------------------------------------------
def _nmf(
    store: ActivationStore,
    layer: str,
    rows: npt.NDArray[np.int64],
    k: int,
    seed: int,
    params: dict[str, Any],
    start: npt.NDArray[np.float32] | None,
    job: Job,
) -> Clustering:
    from widgetkit import analysis

    info = store.layers[layer]
    positions = int(np.prod(info.grid))
    sample = _sample(store, layer, rows, seed)
    shift = np.zeros(info.channels, dtype=np.float32)
    if info.signed:  # the smallest value of each channel becomes zero
        shift = np.minimum(sample.min(axis=0), 0).astype(np.float32)
        params["background"] = [float(v) for v in shift]
    job.check()
    data = np.maximum(sample - shift, 0)
    model = analysis.NMF(min(k, len(data)), random_state=seed)
    model.fit(data, H=start, cancel=lambda: job.cancelled)
    factors = np.asarray(model.components_, dtype=np.float32)  # of unit length: comparable
    k = len(factors)
    job.check()
    every = len(rows) * positions <= EVERY_POSITION
    params["weights"] = "mean over positions" if every else "of the mean activation"
    found = np.zeros((len(rows), k), dtype=np.float32)
    if every:
        step = max(1, _BATCH_BYTES // (info.channels * positions * 4))
        for at in range(0, len(rows), step):
            job.progress(at, len(rows))
            part = store.activations(layer, rows[at : at + step]).astype(np.float32)
            flat = part.reshape(len(part), info.channels, positions).transpose(0, 2, 1)
            flat = np.maximum(flat.reshape(-1, info.channels) - shift, 0)
            each = analysis.nnls(flat, factors, cancel=lambda: job.cancelled)
            found[at : at + len(part)] = each.reshape(len(part), positions, k).mean(axis=1)
    else:
        pooled = np.maximum(store.embeddings(layer)[rows] - shift, 0)
        for at in range(0, len(rows), SAMPLE):
            job.progress(at, len(rows))
            found[at : at + SAMPLE] = analysis.nnls(pooled[at : at + SAMPLE], factors)
    labels, weights = _spread(len(store), rows, found.argmax(axis=1), found)
    labels[rows[found.max(axis=1) <= 0]] = -1  # an all-zero tile has no factor
    return Clustering.make(
        labels,
        k,
        method="nmf",
        layer=layer,
        prototypes=factors,
        weights=weights,
        params=params,
        seed=seed,
    )


def _sample(
    store: ActivationStore, layer: str, rows: npt.NDArray[np.int64], seed: int
) -> npt.NDArray[np.float32]:
    """Activation vectors (p, C) of seeded positions of the given tiles."""
    info = store.layers[layer]
    positions = int(np.prod(info.grid))
    if len(rows) == len(store):
        values = store.sample_positions(layer, min(SAMPLE, len(rows) * positions), seed)[2]
        return np.asarray(values, dtype=np.float32)
    random = np.random.default_rng(seed)
    most = max(1, SAMPLE // positions)
    chosen = rows if len(rows) <= most else np.sort(random.choice(rows, most, replace=False))
    maps = store.activations(layer, chosen).astype(np.float32)
    vectors: npt.NDArray[np.float32] = np.ascontiguousarray(
        maps.reshape(len(chosen), info.channels, positions).transpose(0, 2, 1)
    ).reshape(-1, info.channels)
    return vectors


def _kmeans(
    store: ActivationStore,
    layer: str,
    rows: npt.NDArray[np.int64],
    k: int,
    seed: int,
    params: dict[str, Any],
    start: npt.NDArray[np.float32] | None,
    job: Job,
) -> Clustering:
    from widgetkit import analysis

    embeddings = store.embeddings(layer)[rows]
    job.check()
    model = analysis.KMeans(k, random_state=seed, warm_start=start is not None)
    if start is not None:
        model.cluster_centers_ = start
    model.fit(embeddings)
    centres = np.asarray(model.cluster_centers_, dtype=np.float32)
    labels, _ = _spread(len(store), rows, np.asarray(model.labels_), None)
    return Clustering.make(
        labels,
        len(centres),
        method="kmeans",
        layer=layer,
        prototypes=centres,
        params=params,
        seed=seed,
    )


def _hdbscan(
    store: ActivationStore,
    layer: str,
    rows: npt.NDArray[np.int64],
    seed: int,
    params: dict[str, Any],
    xy: npt.NDArray[np.float32] | None,
    job: Job,
) -> Clustering:
    from widgetkit import analysis

    if xy is None:
        raise InvalidInput(
            "HDBSCAN works on the projection, which is not there yet. Call session.wait()."
        )
    found = np.asarray(analysis.hdbscan_labels(xy[rows]))
    job.check()
    # The largest come first; what is beyond the palette's byte joins the outliers.
    sizes = np.bincount(found[found >= 0])
    order = np.argsort(-sizes, kind="stable")[:MAX_CLUSTERS]
    rank = np.full(len(sizes) + 1, -1, dtype=np.int32)  # the last entry serves label -1
    rank[order] = np.arange(len(order))
    labels, _ = _spread(len(store), rows, rank[found], None)
    embeddings = store.embeddings(layer)
    centres = np.array(
        [embeddings[labels == i].mean(axis=0) for i in range(len(order))], np.float32
    )
    params["k"] = len(order)
    return Clustering.make(
        labels,
        len(order),
        method="hdbscan",
        layer=layer,
        prototypes=centres.reshape(len(order), embeddings.shape[1]),
        params=params,
        seed=seed,
    )


def _spread(
    n: int,
    rows: npt.NDArray[np.int64],
    labels: npt.NDArray[Any],
    weights: npt.NDArray[np.float32] | None,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32] | None]:
    """Labels and weights of some tiles as those of all: -1 and 0 elsewhere."""
    everywhere = np.full(n, -1, dtype=np.int32)
    everywhere[rows] = labels
    if weights is None:
        return everywhere, None
    full = np.zeros((n, weights.shape[1]), dtype=np.float32)
    full[rows] = weights
    return everywhere, full
