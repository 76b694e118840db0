"""How far the neighbourhoods of a map can be trusted, point by point."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import Floats, Ints, as_matrix, check_count, sample_rows
from widgetkit.analysis._hooks import Cancel, checkpoint
from widgetkit.errors import InvalidInput

#: Neighbours whose survival is the trust of a point.
TRUST_K = 15

#: Points up to which the neighbour search is exact; above, neighbours are those among a sample.
EXACT_ROWS = 10_000

#: Size of that sample: a neighbourhood of 15 is then 0.3 % of the points.
SAMPLE_ROWS = 5_000

# Points searched for at once, between which cancelling is possible.
_BLOCK = 8192

# Distances this close (relative to the larger) count as equal: what float32 can tell apart.
_TIE = 1e-5


def neighbourhood_trust(
    data: npt.ArrayLike,
    xy: npt.ArrayLike,
    *,
    k: int = TRUST_K,
    seed: int = 0,
    rows: int | None = None,
    cancel: Cancel | None = None,
) -> tuple[npt.NDArray[np.float32], int]:
    """Share of a point's ``k`` nearest on the map that are also among its ``k`` nearest in ``data``.

    1 = the neighbourhood is real; a random layout has about ``k / n``. Neighbours at the same
    distance in ``data`` are all allowed, so duplicates are neither punished nor rewarded.

    Parameters
    ----------
    data : (n, C) float
    xy : (n, d) float
    k : int
        At most half of the points are asked for, so that few points do not all look trusted.
    seed : int
        Of the sample.
    rows : int, optional
        Look for neighbours among a seeded sample of this many points, the same one for all. By
        default among all up to 10,000 points, among 5,000 above.

    Returns
    -------
    trust : (n,) float32 in [0, 1]
        NaN with fewer than three points.
    rows : int
        Points among which neighbours were looked for; ``n`` means exact.
    """
    high, low = as_matrix(data, "data", least=0), as_matrix(xy, "xy", least=0)
    n = len(high)
    if len(low) != n:
        raise InvalidInput(f"data has {n} rows and xy has {len(low)}: one place a row is needed.")
    if n < 3:
        return np.full(n, np.nan, np.float32), n
    from sklearn.neighbors import NearestNeighbors

    if rows is None:
        rows = n if n <= EXACT_ROWS else SAMPLE_ROWS
    among = sample_rows(n, check_count(rows, "rows", least=3), seed)
    k = min(check_count(k, "k"), max(1, (len(among) - 1) // 2))
    own = np.full(n, -1)
    own[among] = np.arange(len(among))
    # around the mean: distances of points far from the origin would lose their digits
    high = np.asarray(high - high.mean(axis=0, dtype=np.float64), np.float32)
    low = np.asarray(low, np.float32)
    pool = high[among]
    near = NearestNeighbors(n_neighbors=k + 1).fit(pool)
    near_low = NearestNeighbors(n_neighbors=k + 1).fit(low[among])
    trust = np.empty(n, np.float32)
    for at in range(0, n, _BLOCK):
        checkpoint(cancel)
        part = slice(at, at + _BLOCK)
        reach = _distances(high[part], pool, _others(near, high[part], own[part], k))
        found = _distances(high[part], pool, _others(near_low, low[part], own[part], k))
        limit = reach.max(axis=1, keepdims=True) * (1 + _TIE)
        trust[part] = (found <= limit).mean(axis=1)
    return trust, len(among)


def _distances(rows: Floats, pool: Floats, neighbours: Ints) -> Floats:
    """(m, k) distances to given rows of the pool, by differences: exactly 0 for duplicates."""
    found = np.empty(neighbours.shape, np.float32)
    for j in range(neighbours.shape[1]):
        rest = rows - pool[neighbours[:, j]]
        found[:, j] = np.sqrt(np.einsum("mc,mc->m", rest, rest))
    return found


def _others(search: Any, rows: Floats, own: Ints, k: int) -> Ints:
    """The ``k`` nearest in the pool, (m, k), the point itself left out."""
    found = search.kneighbors(rows, return_distance=False)
    itself = found == own[:, None]
    # not in the pool, or pushed out of its own list by duplicates: the farthest goes instead
    itself[~itself.any(axis=1), -1] = True
    kept: Ints = found[~itself].reshape(len(found), k)
    return kept
