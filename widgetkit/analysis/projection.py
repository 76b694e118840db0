"""From embeddings to a map: PCA, then UMAP where it is installed, with a measure of trust."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from widgetkit.analysis import umap_layout
from widgetkit.analysis._arrays import (
    Floats,
    Ints,
    as_matrix,
    check_count,
    check_finite,
    check_seed,
    choice,
    working,
)
from widgetkit.analysis._hooks import Cancel, Progress, checkpoint
from widgetkit.analysis.pca import principal_components
from widgetkit.analysis.trust import TRUST_K, neighbourhood_trust
from widgetkit.errors import InvalidInput, TooFew, missing

__all__ = ["Projection", "principal_components", "project"]

Method = Literal["umap", "pca"]
METHODS = ("auto", "umap", "pca")

#: Components before UMAP: 10,000 x 512 take 7 s instead of 45 s at equal trustworthiness.
PCA_COMPONENTS = 50

#: Up to so many different rows UMAP sees all. Above it is fitted on landmarks.
MANY = 50_000

#: How many landmarks then.
LANDMARKS = 25_000

#: Different rows below which UMAP has no neighbourhoods to keep.
FEW = 5

# progress() counts in hundredths: the components, the layout, the trust
_PCA_DONE, _LAYOUT_DONE, _ALL = 5, 90, 100


@dataclass(frozen=True)
class Projection:
    """A map of embeddings.

    Attributes
    ----------
    xy : (n, 2) float32
        Equal rows lie at the same place.
    method : "umap" or "pca"
    params : mapping
        What was asked for and what was done: ``method`` and ``reason`` (why this one),
        ``n_neighbors``, ``min_dist``, ``n_epochs``, ``different_rows``, ``landmarks`` (rows UMAP
        was fitted on, None without UMAP), ``pca_components``, ``explained`` (share of variance in
        them), ``trust_k`` and ``trust_rows`` (points among which neighbours were looked for;
        all of them = exact), ``umap_version``.
    seed : int
    trust : (n,) float32 in [0, 1]
        Share of the nearest neighbours on the map that are nearest neighbours in the embeddings
        (in their ``pca_components`` first components), see
        :func:`~widgetkit.analysis.trust.neighbourhood_trust`. NaN with fewer than three rows.
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

    UMAP (McInnes, Healy & Melville 2018) runs on the first 50 principal components of the
    different rows, from the first two components, seeded. The same input gives the same map on
    one machine, not across machines: keep the coordinates.

    Parameters
    ----------
    embeddings : (n, C) float
    method : {"auto", "umap", "pca"}
        "auto" is UMAP where umap-learn is installed and there are more different rows than
        ``n_neighbors``, else the first two principal components; ``params["reason"]`` says why.
    n_neighbors : int
        Of UMAP, at least 2; fewer where there are fewer rows.
    min_dist : float
        Of UMAP, 0 to 1.
    seed : int
    n_epochs : int, optional
        Of UMAP; 100 make a preview in a third of the time.
    landmarks : int, optional
        Fit UMAP on a seeded sample of so many different rows and place the others by its
        ``transform``. By default 25,000 when there are more than 50,000.
    progress, cancel : callable, optional
        ``progress(done, 100)`` and ``cancel() -> bool``, between stages and between epochs of
        UMAP. Its neighbour search in between cannot be interrupted.

    Returns
    -------
    Projection
        No rows give no points, one row lies at the origin, and so do rows that are all equal:
        there is nothing to lay out. Never NaN in ``xy``.

    Raises
    ------
    BadActivations
        NaN or infinity.
    TooFew
        ``method="umap"`` with fewer than 5 different rows.
    MissingDependency
        ``method="umap"`` without umap-learn.
    InvalidInput, Cancelled

    References
    ----------
    McInnes, Healy & Melville (2018), UMAP. arXiv:1802.03426. Kobak & Linderman (2021),
    Initialization is critical for preserving global data structure. Nature Biotechnology 39.
    """
    choice(method, METHODS, "method")
    seed = check_seed(seed)
    check_count(n_neighbors, "n_neighbors", least=2)
    if n_epochs is not None:
        check_count(n_epochs, "n_epochs")
    if landmarks is not None:
        check_count(landmarks, "landmarks", least=FEW)
    if not 0 <= min_dist <= 1:
        raise InvalidInput(f"min_dist must be a number from 0 to 1, got {min_dist!r}.")
    rows = working(as_matrix(embeddings, "embeddings", least=0))
    check_finite(rows, "embeddings")
    checkpoint(cancel, progress, 0, _ALL)
    different, inverse = distinct_rows(rows)
    chosen, reason = _method(method, len(different), n_neighbors)
    if len(different) > 1:
        scores, explained = principal_components(rows[different], PCA_COMPONENTS, seed=seed)
    else:
        scores, explained = np.zeros((len(different), 1), np.float32), 1.0
    params: dict[str, Any] = {
        "method": method,
        "reason": reason,
        "n_neighbors": n_neighbors,
        "min_dist": min_dist,
        "n_epochs": n_epochs,
        "different_rows": len(different),
        "landmarks": None,
        "pca_components": scores.shape[1],
        "explained": round(float(explained), 6),
    }
    checkpoint(cancel, progress, _PCA_DONE, _ALL)
    if chosen == "pca":
        places = np.zeros((len(different), 2), np.float32)
        places[:, : scores.shape[1]] = scores[:, :2]
    else:
        most = landmarks or (LANDMARKS if len(different) > MANY else len(different))
        params["landmarks"] = min(most, len(different))
        params["umap_version"] = _umap_version()

        def report(share: float) -> None:
            done = _PCA_DONE + int(share * (_LAYOUT_DONE - _PCA_DONE))
            checkpoint(cancel, progress, done, _ALL)

        places = umap_layout.layout(
            scores,
            n_neighbors=n_neighbors,
            min_dist=min_dist,
            n_epochs=n_epochs,
            seed=seed,
            landmarks=most,
            report=report,
        )
    checkpoint(cancel, progress, _LAYOUT_DONE, _ALL)
    xy = np.ascontiguousarray(places[inverse])
    trust, trust_rows = neighbourhood_trust(scores[inverse], xy, seed=seed, cancel=cancel)
    params["trust_k"], params["trust_rows"] = TRUST_K, trust_rows
    checkpoint(cancel, progress, _ALL, _ALL)
    return Projection(xy, chosen, params, seed, trust)


def _method(method: str, different: int, n_neighbors: int) -> tuple[Method, str]:
    """What is used, and why."""
    if method == "pca":
        return "pca", "asked for"
    if method == "umap":
        if not umap_layout.installed():
            raise missing("umap-learn", "umap", "The UMAP projection")
        if different < FEW:
            raise TooFew(
                f"UMAP needs at least {FEW} different rows; there are {different}. "
                "method='pca' places any number."
            )
        return "umap", "asked for"
    if not umap_layout.installed():
        return "pca", "umap-learn is not installed (pip install 'widgetkit[umap]')"
    least = max(n_neighbors + 1, FEW)
    if different < least:
        return "pca", f"{different} different rows; UMAP is used from {least} (n_neighbors + 1)"
    return "umap", "umap-learn is installed"


def _umap_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("umap-learn")
    except PackageNotFoundError:
        return "unknown"


def distinct_rows(rows: Floats) -> tuple[Ints, Ints]:
    """Row numbers of the first of each different row, ascending, and which of them each row is.

    Rows are told apart by a hash of their bits, and then compared.
    """
    n = len(rows)
    if n == 0:
        return np.arange(0), np.arange(0)
    words = rows.dtype.itemsize // 4 * rows.shape[1]
    weights = np.random.default_rng(0).integers(1, 2**63, size=words, dtype=np.uint64) | 1
    keys = np.empty(n, np.uint64)
    for at in range(0, n, 4096):
        block = np.ascontiguousarray(rows[at : at + 4096] + 0.0)  # -0.0 becomes 0.0
        keys[at : at + 4096] = (block.view(np.uint32).astype(np.uint64) * weights).sum(axis=1)
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    same = all(
        np.array_equal(rows[at : at + 4096], rows[first[inverse[at : at + 4096]]])
        for at in range(0, n, 4096)
    )
    if not same:  # two rows share a hash: slow and certain
        _, first, inverse = np.unique(rows + 0.0, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(first), np.intp)
    rank[order] = np.arange(len(first))
    return first[order], rank[inverse.reshape(-1)]
