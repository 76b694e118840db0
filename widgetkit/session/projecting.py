"""The projection of a layer: kept in the store, computed once."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from widgetkit.errors import StoreError, UnknownName

if TYPE_CHECKING:
    from widgetkit.analysis import Projection
    from widgetkit.session.jobs import Job
    from widgetkit.store import ActivationStore

Method = Literal["auto", "umap", "pca"]

KIND = "projection"
#: With fewer tiles neighbours mean nothing, so the axes of largest spread are shown.
FEW = 32

# numba's default threading layer aborts the process when two threads enter it at once.
_UMAP = threading.Lock()


@dataclass(frozen=True, eq=False)
class Projected:
    """A projection, and whether it is the final one or a preview while that is computed."""

    projection: Projection
    final: bool = True


def asked_for(method: str, options: Mapping[str, Any]) -> str:
    """The request as a text by which its result is found again."""
    plain = {key: options[key] for key in sorted(options) if options[key] is not None}
    return json.dumps({"method": method, **plain}, sort_keys=True, default=str)


def stored(store: ActivationStore, layer: str, *, asked: str, seed: int) -> Projection | None:
    """The kept projection of the layer that answers a request, or None."""
    for entry in _entries(store, layer):
        if entry.params.get("asked") == asked and entry.seed == seed:
            found = _from_entry(entry, len(store))
            if found is not None:
                return found
    return None


def default(store: ActivationStore, layer: str, *, seed: int) -> Projection | None:
    """What a new session shows: its own default, else the oldest that is kept, else None.

    The oldest, so that a later projection never changes what an older line of history,
    such as a lasso, means.
    """
    found = stored(store, layer, asked=asked_for("auto", {}), seed=seed)
    if found is not None:
        return found
    for entry in _entries(store, layer):
        found = _from_entry(entry, len(store))
        if found is not None:
            return found
    return None


def _entries(store: ActivationStore, layer: str) -> list[Any]:
    """Kept projections of a layer, oldest first; damaged ones are left out."""
    entries = []
    for name in store.derived.names(KIND):
        try:
            entry = store.derived.get(KIND, name)
        except (StoreError, UnknownName):  # damaged: computed again; deleted meanwhile
            continue
        if entry.params.get("layer") == layer:
            entries.append(entry)
    return sorted(entries, key=lambda e: (str(e.created), e.name))


def _from_entry(entry: Any, n: int) -> Projection | None:
    from widgetkit.analysis import Projection

    try:
        xy = np.asarray(entry.arrays["xy"], dtype=np.float32)
        trust = np.asarray(entry.arrays["trust"], dtype=np.float32)
    except (KeyError, StoreError, ValueError):
        return None
    if xy.shape != (n, 2) or trust.shape != (n,) or not np.isfinite(xy).all():
        return None
    method: Literal["umap", "pca"] = "umap" if entry.params.get("method") == "umap" else "pca"
    return Projection(xy, method, dict(entry.params), int(entry.seed or 0), trust)


def keep(store: ActivationStore, layer: str, projection: Projection, *, asked: str) -> None:
    """Put a projection into the store, with its parameters and seed."""
    mark = hashlib.blake2b(asked.encode(), digest_size=4).hexdigest()
    store.derived.put(
        KIND,
        f"{store.layers[layer].slug}-{projection.method}-{projection.seed}-{mark}",
        {"xy": projection.xy, "trust": projection.trust},
        params={
            **_plain(projection.params),
            "layer": layer,
            "method": projection.method,
            "asked": asked,
        },
        seed=projection.seed,
    )


def compute(
    store: ActivationStore,
    layer: str,
    *,
    method: Method,
    seed: int,
    options: dict[str, Any],
    job: Job,
    preview: bool,
) -> Projected:
    """Project the embeddings of a layer.

    With ``preview`` the job emits the principal components first, so that something shows
    while UMAP runs.
    """
    from widgetkit import analysis

    embeddings = store.embeddings(layer)
    if len(embeddings) < FEW and method == "auto":
        method = "pca"
    if preview and method != "pca":
        job.emit(Projected(_preview(embeddings, seed), final=False))
    job.check()
    with _UMAP:
        job.check()
        found = analysis.project(
            embeddings, method=method, seed=seed, progress=job.progress, **options
        )
    return Projected(found)


def _preview(embeddings: npt.NDArray[np.float32], seed: int) -> Projection:
    """The two axes of largest spread; the trust of a preview is not worth its seconds."""
    from widgetkit.analysis.projection import Projection, principal_components

    scores, _ = principal_components(embeddings, 2, seed=seed)
    xy = np.zeros((len(embeddings), 2), dtype=np.float32)
    xy[:, : scores.shape[1]] = scores
    trust = np.full(len(xy), np.nan, dtype=np.float32)
    return Projection(xy, "pca", {"reason": "preview"}, seed, trust)


def _plain(params: Any) -> dict[str, Any]:
    return {
        str(k): v
        for k, v in dict(params).items()
        if v is None or isinstance(v, bool | int | float | str)
    }
