"""How well separated clusters are, and how faithful a map is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import (
    Floats,
    as_matrix,
    check_count,
    check_finite,
    check_seed,
    sample_rows,
    working,
)
from widgetkit.errors import InvalidInput, TooFew

#: Rows of the silhouette at the most: it needs all pairs of distances.
SILHOUETTE_ROWS = 10_000

#: Rows of the trustworthiness at the most: it needs all pairs, ranked.
TRUSTWORTHINESS_ROWS = 3_000


def quality(X: npt.ArrayLike, labels: npt.ArrayLike, *, seed: int = 0) -> dict[str, float]:
    """Silhouette, Calinski-Harabasz and Davies-Bouldin of a clustering, by scikit-learn.

    Parameters
    ----------
    X : (n, C) float
    labels : (n,) int
        Rows labelled -1 are left out.
    seed : int
        Of the sample of 10,000 rows that the silhouette is taken on when there are more.

    Returns
    -------
    dict
        ``clusters``, ``rows``, ``silhouette`` (-1 to 1, higher is better), ``calinski_harabasz``
        (higher is better), ``davies_bouldin`` (lower is better), ``silhouette_rows`` (fewer than
        ``rows`` = sampled). The three are NaN with fewer than two clusters or as many clusters as
        rows, and the last two where every cluster is a single place.

    Raises
    ------
    InvalidInput
        Another number of labels than rows.

    References
    ----------
    Rousseeuw (1987); Calinski & Harabasz (1974); Davies & Bouldin (1979).
    """
    rows, codes = _labelled(X, labels)
    k = len(np.unique(codes))
    at = sample_rows(len(rows), SILHOUETTE_ROWS, check_seed(seed))
    found = {
        "clusters": float(k),
        "rows": float(len(rows)),
        "silhouette": np.nan,
        "calinski_harabasz": np.nan,
        "davies_bouldin": np.nan,
        "silhouette_rows": float(len(at)),
    }
    if 2 <= k < len(rows):
        from sklearn import metrics

        if 2 <= len(np.unique(codes[at])) < len(at):
            found["silhouette"] = float(metrics.silhouette_score(rows[at], codes[at]))
        within = rows - _centres(rows, codes)
        if float(np.vdot(within, within)) > 0:
            found["calinski_harabasz"] = float(metrics.calinski_harabasz_score(rows, codes))
            found["davies_bouldin"] = float(metrics.davies_bouldin_score(rows, codes))
    return found


def silhouette_by_cluster(
    X: npt.ArrayLike, labels: npt.ArrayLike, *, seed: int = 0
) -> dict[int, float]:
    """Mean silhouette of each cluster, on the same sample as :func:`quality`.

    NaN for a cluster without a row in the sample. Empty with fewer than two clusters.
    """
    rows, codes = _labelled(X, labels)
    names = np.unique(codes)
    at = sample_rows(len(rows), SILHOUETTE_ROWS, check_seed(seed))
    if not 2 <= len(names) < len(rows) or not 2 <= len(np.unique(codes[at])) < len(at):
        return {}
    from sklearn.metrics import silhouette_samples

    each = silhouette_samples(rows[at], codes[at])
    return {
        int(name): float(each[codes[at] == name].mean()) if (codes[at] == name).any() else np.nan
        for name in names
    }


def trustworthiness(
    X: npt.ArrayLike, xy: npt.ArrayLike, *, n_neighbors: int = 15, seed: int = 0
) -> dict[str, float]:
    """Trustworthiness of a map (Venna & Kaski 2001), by scikit-learn.

    1 minus a penalty for every point that is near on the map and far in ``X``, by how far in rank.

    Parameters
    ----------
    X : (n, C) float
    xy : (n, 2) float
    n_neighbors : int
        Fewer than half of the rows are used.
    seed : int
        Of the sample of 3,000 rows when there are more.

    Returns
    -------
    dict
        ``trustworthiness`` (0 to 1), ``rows`` it was taken on, ``n_neighbors``.

    Raises
    ------
    TooFew
        Fewer than three rows.
    """
    rows, places = working(as_matrix(X)), working(as_matrix(xy, "xy"))
    check_finite(rows)
    check_finite(places, "xy")
    if len(rows) != len(places):
        raise InvalidInput(f"X has {len(rows)} rows and xy has {len(places)}.")
    if len(rows) < 3:
        raise TooFew(f"Trustworthiness needs at least 3 rows; there are {len(rows)}.")
    at = sample_rows(len(rows), TRUSTWORTHINESS_ROWS, check_seed(seed))
    k = min(check_count(n_neighbors, "n_neighbors"), (len(at) - 1) // 2)
    from sklearn.manifold import trustworthiness as measure

    value = float(measure(rows[at], places[at], n_neighbors=k))
    return {"trustworthiness": value, "rows": float(len(at)), "n_neighbors": float(k)}


def _labelled(X: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Floats, npt.NDArray[np.int64]]:
    """The rows that are in a cluster, and which."""
    rows = working(as_matrix(X, least=0))
    check_finite(rows)
    codes = np.asarray(labels)
    if codes.shape != (len(rows),) or (codes.size and codes.dtype.kind not in "iu"):
        raise InvalidInput(
            f"labels must be {len(rows)} whole numbers, one a row of X; got {codes.dtype} of "
            f"shape {codes.shape}."
        )
    kept = codes.astype(np.int64) >= 0
    return rows[kept], codes[kept].astype(np.int64)


def _centres(rows: Floats, codes: npt.NDArray[np.int64]) -> Floats:
    """(n, C): the mean of the cluster of each row."""
    _, index = np.unique(codes, return_inverse=True)
    order = np.argsort(index, kind="stable")
    counts = np.bincount(index)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    means: Floats = np.add.reduceat(rows[order], starts, axis=0) / counts[:, None].astype(
        rows.dtype
    )
    return means[index]
