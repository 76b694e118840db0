"""Whether several clusterings of the same rows agree on who belongs together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import check_count, check_seed, sample_rows
from widgetkit.errors import InvalidInput, TooFew

#: Rows whose pairs are compared: (500, 500) of them.
CONSENSUS_ROWS = 500


def cophenetic(
    labels: Sequence[npt.ArrayLike], *, rows: int = CONSENSUS_ROWS, seed: int = 0
) -> float:
    """Cophenetic correlation of the consensus of several labelings (Brunet et al. 2004).

    The consensus of two rows is the share of labelings that put them together. Its average-linkage
    tree is compared with it: 1 when every pair is always or never together; it falls when rows
    change company from one labeling to the next.

    Parameters
    ----------
    labels : at least two times (n,) int
        Whatever the numbers mean in each. -1 counts as a cluster like any other.
    rows : int
        With more rows than this, a seeded sample of this many.
    seed : int

    Returns
    -------
    float
        NaN when all rows are always together: then there is nothing to correlate.

    Raises
    ------
    TooFew
        Fewer than two labelings, or than three rows.
    InvalidInput
        Lengths that differ.
    """
    found = [np.asarray(one) for one in labels]
    if len(found) < 2:
        raise TooFew(f"A consensus needs at least two labelings; got {len(found)}.")
    shapes = {one.shape for one in found}
    if len(shapes) > 1 or found[0].ndim != 1:
        raise InvalidInput(f"Labelings must be of the same rows; got shapes {sorted(shapes)}.")
    n = len(found[0])
    if n < 3:
        raise TooFew(f"A consensus of {n} rows says nothing; at least 3 are needed.")
    from scipy.cluster.hierarchy import cophenet, linkage

    at = sample_rows(n, check_count(rows, "rows", least=3), check_seed(seed))
    apart = np.zeros(len(at) * (len(at) - 1) // 2)
    upper = np.triu_indices(len(at), 1)
    for one in found:
        part = one[at]
        apart += part[upper[0]] != part[upper[1]]
    apart /= len(found)
    if apart.min() == apart.max():
        return float("nan")
    return float(cophenet(linkage(apart, method="average"), apart)[0])
