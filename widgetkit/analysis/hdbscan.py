"""HDBSCAN on demand, by scikit-learn: density clusters of a projection, with outliers."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import as_matrix, check_count, check_finite, working
from widgetkit.errors import TooFew

#: Time grows with the square of the rows here: 10,000 take about a second, 30,000 about ten.
SLOW_ROWS = 30_000


def hdbscan_labels(
    xy: npt.ArrayLike, *, min_cluster_size: int | None = None, min_samples: int | None = None
) -> npt.NDArray[np.int32]:
    """Density clusters of points, usually of a projection.

    Parameters
    ----------
    xy : (n, d) float
    min_cluster_size : int, optional
        Smallest cluster; 1 % of the points, at least 5, by default.
    min_samples : int, optional
        Neighbours that make a point dense; as ``min_cluster_size`` by default.

    Returns
    -------
    (n,) int32
        -1 = in no cluster.

    Raises
    ------
    TooFew
        Fewer than two points.

    References
    ----------
    Campello, Moulavi & Sander (2013).
    """
    points = working(as_matrix(xy, "xy"))
    check_finite(points, "xy")
    if len(points) < 2:
        raise TooFew(f"HDBSCAN needs at least 2 points; there are {len(points)}.")
    size = (
        max(5, len(points) // 100)
        if min_cluster_size is None
        else check_count(min_cluster_size, "min_cluster_size", least=2)
    )
    size = min(size, len(points))
    if len(points) > SLOW_ROWS:
        warnings.warn(
            f"HDBSCAN of {len(points):,} points is slow: its time grows with the square of them.",
            stacklevel=2,
        )
    from sklearn.cluster import HDBSCAN

    model = HDBSCAN(min_cluster_size=size, min_samples=min_samples, copy=True)
    found: npt.NDArray[np.int32] = model.fit(points).labels_.astype(np.int32)
    return found
