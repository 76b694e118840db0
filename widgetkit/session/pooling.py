"""Weights of each tile in the clusters as they were edited."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from widgetkit.errors import Cancelled
from widgetkit.session import weighing

if TYPE_CHECKING:
    from widgetkit.session.clustering import Clustering
    from widgetkit.session.weighing import PositionWeights

Float = npt.NDArray[np.float32]

_BYTES = 32 * 2**20  # of weights at once


@dataclass(frozen=True, eq=False)
class PooledClusters:
    """As ``widgetkit.factors.Pooled``: mean, max and share won (n, k), total (n,)."""

    mean: Float
    max: Float
    share: Float
    total: Float


def pooled(
    clustering: Clustering,
    weights: PositionWeights,
    *,
    progress: Callable[[int, int], object] | None = None,
    cancel: Callable[[], object] | None = None,
) -> PooledClusters:
    """Weights of each tile over its positions, from the weights of all positions.

    A position is won by the cluster with the largest weight where the total exceeds the background.
    Merged clusters count with the sum of their weights, so shares are not those of their parts.
    """
    if isinstance(weights, weighing.TileWeights):  # made for the clusters as they are
        clustering = replace(clustering, base=None, owners=None)
    n, k = clustering.n, clustering.k
    mean, high, share = (np.zeros((n, k), dtype=np.float32) for _ in range(3))
    cells = int(np.prod(weights.grid))
    step = max(1, _BYTES // (cells * (weights.k + k) * 4))
    for start in range(0, n, step):
        if cancel is not None and cancel():
            raise Cancelled("Pooling the weights was cancelled; nothing was written.")
        rows = np.arange(start, min(start + step, n))
        found = clustering.fold(weights.read(rows), rows).reshape(len(rows), k, cells)
        mean[rows], high[rows] = found.mean(axis=2), found.max(axis=2)
        winner = found.argmax(axis=1)
        winner[found.sum(axis=1) <= weights.background] = -1
        for i in range(k):
            share[rows, i] = (winner == i).mean(axis=1)
        if progress is not None:
            progress(int(rows[-1]) + 1, n)
    return PooledClusters(mean, high, share, mean.sum(axis=1))
