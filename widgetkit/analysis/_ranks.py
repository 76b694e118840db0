"""Ranks with ties, and classes of ranks."""

from __future__ import annotations

import numpy as np

from widgetkit.analysis._arrays import Floats, Mask
from widgetkit.analysis._columns import Codes


def mean_ranks(values: Floats, out: Mask) -> Floats:
    """Ranks of each column of ``values`` (n, k) as shares in (-1/2, 1/2), about 0.

    Ties share their mean rank. Rows ``out`` (n,) are not ranked and NaN.
    """
    from scipy.stats import rankdata

    kept = ~out
    n = max(int(kept.sum()), 1)
    found = np.full(values.shape, np.nan)
    for j in range(values.shape[1]):
        found[kept, j] = (rankdata(values[kept, j]) - (n + 1) / 2) / n
    return found


def rank_classes(ranks: Floats, classes: int) -> Codes:
    """The class of each rank of :func:`mean_ranks`, 0 up to ``classes``; ties stay together."""
    found: Codes = np.clip((ranks + 0.5) * classes, 0, classes - 1).astype(np.intp)
    return found
