"""How well separated clusters are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import as_matrix, check_finite, sample_rows, working
from widgetkit.errors import InvalidInput

#: Rows of the silhouette at the most: it needs all pairs of distances.
SILHOUETTE_ROWS = 10_000


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
        (higher is better), ``davies_bouldin`` (lower is better), ``silhouette_rows``. The three are
        NaN with fewer than two clusters or as many clusters as rows.
    """
    rows = working(as_matrix(X))
    check_finite(rows)
    codes = np.asarray(labels)
    if codes.shape != (len(rows),):
        raise InvalidInput(f"labels have shape {codes.shape}; X has {len(rows)} rows.")
    kept = codes >= 0
    rows, codes = rows[kept], codes[kept]
    k = len(np.unique(codes))
    at = (
        sample_rows(len(rows), SILHOUETTE_ROWS, seed)
        if len(rows) > SILHOUETTE_ROWS
        else slice(None)
    )
    found = {
        "clusters": float(k),
        "rows": float(len(rows)),
        "silhouette": np.nan,
        "calinski_harabasz": np.nan,
        "davies_bouldin": np.nan,
        "silhouette_rows": float(min(len(rows), SILHOUETTE_ROWS)),
    }
    if 2 <= k < len(rows):
        from sklearn import metrics

        sampled = len(np.unique(codes[at]))
        if 2 <= sampled < len(codes[at]):
            found["silhouette"] = float(metrics.silhouette_score(rows[at], codes[at]))
        found["calinski_harabasz"] = float(metrics.calinski_harabasz_score(rows, codes))
        found["davies_bouldin"] = float(metrics.davies_bouldin_score(rows, codes))
    return found
