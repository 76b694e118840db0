"""Which positions a sample takes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from widgetkit.errors import InvalidInput

_NOISE = 2**20  # random numbers in memory at once


def choose_positions(
    n: int, cells: int, count: int, seed: int, *, per_row: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """``count`` distinct positions of ``n * cells``: tiles at random, then cells of each at random.

    Returns
    -------
    rows, cells : (p,) int64, (p,) int64
        Ascending by row, then by cell; ``p = min(count, n * cells)``.
    """
    if count < 0 or per_row < 1:
        raise InvalidInput(f"count {count} and per_row {per_row}: use at least 0 and 1.")
    count = min(count, n * cells)
    if count == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    rng = np.random.default_rng(seed)
    most = min(cells, max(per_row, -(-count // n)))
    tiles = np.sort(rng.choice(n, size=-(-count // most), replace=False))
    # As even as can be: random ones of the tiles give one position more than the others.
    each, more = divmod(count, len(tiles))
    takes = np.full(len(tiles), each)
    takes[rng.choice(len(tiles), size=more, replace=False)] += 1
    each += more > 0
    # A random order of the cells of every tile, of which the first are taken.
    order = np.empty((len(tiles), each), np.int64)
    step = max(1, _NOISE // cells)  # does not change what is drawn
    for start in range(0, len(tiles), step):
        noise = rng.random((min(step, len(tiles) - start), cells))
        order[start : start + step] = np.argpartition(noise, each - 1, axis=1)[:, :each]
    kept = np.arange(each) < takes[:, None]
    rows = np.repeat(tiles, takes)
    chosen = order[kept]
    ranked = np.lexsort((chosen, rows))
    return rows[ranked], chosen[ranked]
