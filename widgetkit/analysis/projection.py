"""From embeddings to a map: PCA, then UMAP where it is installed, with a measure of trust."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import (
    Floats,
    as_matrix,
    check_count,
    check_finite,
    check_seed,
    choice,
    sample_rows,
    working,
)
from widgetkit.analysis._hooks import Cancel, Progress, checkpoint
from widgetkit.errors import missing

Method = Literal["umap", "pca"]
METHODS = ("auto", "umap", "pca")

#: Components before UMAP: 10,000 x 512 take 7 s instead of 45 s at equal trustworthiness.
PCA_COMPONENTS = 50
#: Above it UMAP is fitted on a seeded sample of so many rows, and the others are placed on it.
LANDMARKS = 50_000
#: Neighbours whose survival is the trust of a point.
TRUST_K = 15
#: Rows of the exact neighbour search; above it trust is measured among a seeded sample.
TRUST_ROWS = 10_000
#: Below it UMAP has no neighbourhoods to keep.
FEW = 5


@dataclass(frozen=True)
class Projection:
    """A map of embeddings.

    Attributes
    ----------
    xy : (n, 2) float32
    method : "umap" or "pca"
    params : mapping
        What was asked for and what was done (``reason``, ``landmarks``, ``pca_components``,
        ``explained``, ``trust_rows``).
    seed : int
    trust : (n,) float32 in [0, 1]
        Share of the 15 nearest neighbours in the embeddings that are among the 15 nearest on the
        map. NaN with fewer than three points.
    """

    xy: npt.NDArray[np.float32]
    method: Method
    params: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    trust: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    def __len__(self) -> int:
        return len(self.xy)


def project(
    embeddings: npt.ArrayLike,
    *,
    method: Literal["auto", "umap", "pca"] = "auto",
    n_neighbors: int = 15,
    min_dist: float = 0.1,
    seed: int = 0,
    n_epochs: int | None = None,
    landmarks: int | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Projection:
    """Place every row in the plane.

    UMAP (McInnes, Healy & Melville 2018) runs on the first 50 principal components, seeded, so
    that the same input gives the same map on one machine (not across machines: keep the
    coordinates). Above ``landmarks`` rows it is fitted on a seeded sample and the others are placed
    by its ``transform``.

    Parameters
    ----------
    embeddings : (n, C) float
    method : "auto", "umap" or "pca"
        "auto" is UMAP where umap-learn is installed and there are at least 5 different rows,
        else the first two principal components; ``params["reason"]`` says why.
    n_neighbors, min_dist, n_epochs
        Of UMAP.
    landmarks : int, optional
        50,000 by default.
    progress, cancel
        Called between the stages.

    Returns
    -------
    Projection
        No rows give no points; one row lies at the origin; equal rows lie together.

    Raises
    ------
    BadActivations
        NaN or infinity.
    MissingDependency
        ``method="umap"`` without umap-learn.
    Cancelled
    """
    choice(method, METHODS, "method")
    seed = check_seed(seed)
    check_count(n_neighbors, "n_neighbors", least=2)
    most = LANDMARKS if landmarks is None else check_count(landmarks, "landmarks", least=FEW)
    given = np.asarray(embeddings)
    if given.ndim == 2 and len(given) == 0:
        return Projection(
            np.zeros((0, 2), np.float32),
            "pca",
            {"reason": "no rows"},
            seed,
            np.zeros(0, np.float32),
        )
    rows = working(as_matrix(embeddings, "embeddings"))
    check_finite(rows, "embeddings")
    chosen, reason = _method(method, rows)
    checkpoint(cancel, progress, 0, 4)
    scores, explained = principal_components(rows, PCA_COMPONENTS, seed=seed)
    params: dict[str, Any] = {
        "method": method, "reason": reason, "n_neighbors": n_neighbors, "min_dist": min_dist,
        "n_epochs": n_epochs, "landmarks": most, "pca_components": scores.shape[1],
        "explained": round(float(explained), 6),
    }  # fmt: skip
    checkpoint(cancel, progress, 1, 4)
    if chosen == "pca":
        xy = np.zeros((len(rows), 2), np.float32)
        xy[:, : min(2, scores.shape[1])] = scores[:, :2]
    else:
        xy = _umap(scores, n_neighbors, min_dist, n_epochs, seed, most)
    checkpoint(cancel, progress, 3, 4)
    trust, trust_rows = neighbourhood_trust(scores, xy, seed=seed)
    params["trust_rows"] = trust_rows
    checkpoint(cancel, progress, 4, 4)
    return Projection(xy, chosen, params, seed, trust)


def _method(method: str, rows: Floats) -> tuple[Method, str]:
    if method == "pca":
        return "pca", "asked for"
    installed = importlib.util.find_spec("umap") is not None
    if method == "umap" and not installed:
        raise missing("umap-learn", "umap", "The UMAP projection")
    few = len(rows) < FEW or len(np.unique(rows[:1000], axis=0)) < FEW
    if few:
        return "pca", f"fewer than {FEW} different rows"
    if method == "umap":
        return "umap", "asked for"
    return (
        ("umap", "umap-learn is installed") if installed else ("pca", "umap-learn is not installed")
    )


def principal_components(rows: Floats, count: int, *, seed: int = 0) -> tuple[Floats, float]:
    """Scores on the first principal components, and the share of variance they hold.

    Signs are fixed (the largest loading of each is positive), so that equal input gives equal
    output. ``(n, min(count, n, C))`` float32.
    """
    mean = rows.mean(axis=0, dtype=np.float64)
    n, channels = rows.shape
    total = 0.0
    if channels <= 2048:
        gram = np.zeros((channels, channels))
        for at in range(0, n, 8192):
            part = rows[at : at + 8192] - mean
            gram += part.T @ part
        values, vectors = np.linalg.eigh(gram)
        keep = min(count, n, channels)
        loadings = vectors[:, ::-1][:, :keep]
        values = np.maximum(values[::-1], 0)
        total, held = float(values.sum()), float(values[:keep].sum())
    else:
        from sklearn.utils.extmath import randomized_svd

        centred = rows - mean.astype(rows.dtype)
        keep = min(count, n, channels)
        _, singular, right = randomized_svd(centred, keep, random_state=seed)
        loadings = right.T
        total, held = float((centred.astype(np.float64) ** 2).sum()), float((singular**2).sum())
    largest = np.abs(loadings).argmax(axis=0)
    loadings = loadings * np.where(loadings[largest, np.arange(loadings.shape[1])] < 0, -1.0, 1.0)
    scores = np.empty((n, loadings.shape[1]), np.float32)
    for at in range(0, n, 8192):
        scores[at : at + 8192] = (rows[at : at + 8192] - mean) @ loadings
    return scores, held / total if total > 0 else 1.0


def _umap(
    scores: Floats, n_neighbors: int, min_dist: float, n_epochs: int | None, seed: int, most: int
) -> npt.NDArray[np.float32]:
    with warnings.catch_warnings():
        # said by umap whenever a seed is given, which here is always
        warnings.filterwarnings("ignore", message=".*n_jobs value.*overridden.*")
        warnings.filterwarnings("ignore", message=".*Tensorflow not installed.*")
        warnings.filterwarnings("ignore", message=".*Spectral initiali[sz]ation failed.*")
        import umap

        fitted = sample_rows(len(scores), most, seed)
        model = umap.UMAP(
            n_neighbors=min(n_neighbors, len(fitted) - 1), min_dist=min_dist, n_epochs=n_epochs,
            random_state=seed, n_jobs=1, init="spectral" if len(fitted) > 60 else "random",
        )  # fmt: skip
        xy = np.empty((len(scores), 2), np.float32)
        xy[fitted] = model.fit_transform(scores[fitted])
        if len(fitted) < len(scores):
            others = np.setdiff1d(np.arange(len(scores)), fitted, assume_unique=True)
            xy[others] = model.transform(scores[others])
    return xy


def neighbourhood_trust(
    data: npt.ArrayLike,
    xy: npt.ArrayLike,
    *,
    k: int = TRUST_K,
    seed: int = 0,
    rows: int = TRUST_ROWS,
) -> tuple[npt.NDArray[np.float32], int]:
    """Share of the ``k`` nearest neighbours in ``data`` that are among the ``k`` nearest in ``xy``.

    Exact up to ``rows`` points. Above, neighbours are looked for among a seeded sample of ``rows``
    points (the same for both), for every point.

    Returns
    -------
    trust : (n,) float32
        NaN with fewer than three points.
    rows : int
        Points among which neighbours were looked for.
    """
    high, low = np.asarray(data, np.float32), np.asarray(xy, np.float32)
    n = len(high)
    if n < 3:
        return np.full(n, np.nan, np.float32), n
    from sklearn.neighbors import NearestNeighbors

    among = sample_rows(n, rows, seed)
    k = min(k, len(among) - 1)
    own = np.full(n, -1)
    own[among] = np.arange(len(among))
    near = []
    for space in (high, low):
        search = NearestNeighbors(n_neighbors=k + 1).fit(space[among])
        near.append(
            np.concatenate([_others(search, space, own, at, k) for at in range(0, n, 4096)])
        )
    both = np.sort(np.concatenate(near, axis=1), axis=1)
    trust: npt.NDArray[np.float32] = ((both[:, 1:] == both[:, :-1]).sum(axis=1) / k).astype(
        np.float32
    )
    return trust, len(among)


def _others(
    search: Any, space: Floats, own: npt.NDArray[np.int64], at: int, k: int
) -> npt.NDArray[np.int64]:
    """Nearest ``k`` of the searched points, the point itself left out."""
    found = search.kneighbors(space[at : at + 4096], return_distance=False)
    itself = found == own[at : at + 4096][:, None]
    # where a duplicate pushed the point itself out of its own list, the farthest goes instead
    itself[~itself.any(axis=1), -1] = True
    kept: npt.NDArray[np.int64] = found[~itself].reshape(len(found), k)
    return kept


def warm_up() -> None:
    """Compile UMAP's numba code on a few points, so that the first real map need not wait for it."""
    if importlib.util.find_spec("umap") is not None:
        project(np.random.default_rng(0).normal(size=(80, 8)), method="umap", n_epochs=2)
