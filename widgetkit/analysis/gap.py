"""The gap statistic: whether clusters are tighter than those of an even cloud of the same extent."""

from __future__ import annotations

import numpy as np

from widgetkit.analysis._arrays import Floats

# Below every within-cluster sum that is not zero: its logarithm stays finite.
_LEAST = np.finfo(np.float64).tiny


def log_within(inertia: float) -> float:
    """Logarithm of the pooled within-cluster sum of squares."""
    return float(np.log(max(inertia, _LEAST)))


class Box:
    """The box along the principal axes of rows, filled evenly (Tibshirani et al. 2001, choice b).

    Draws are in the coordinates of these axes: distances, and so k-means, do not see the rotation.
    """

    def __init__(self, rows: Floats) -> None:
        values = rows.astype(np.float64)
        values = values - values.mean(axis=0)
        turned = values @ np.linalg.svd(values, full_matrices=False)[2].T
        self._low, self._high = turned.min(axis=0), turned.max(axis=0)
        self._n, self._dtype = len(rows), rows.dtype

    def draw(self, generator: np.random.Generator) -> Floats:
        """(n, min(n, C)) as many rows as were given, evenly over the box."""
        even = generator.random((self._n, len(self._low)))
        found: Floats = (self._low + even * (self._high - self._low)).astype(self._dtype)
        return found


def gap(logs: Floats, references: Floats) -> tuple[Floats, Floats]:
    """Gap and its ``s`` for each number of clusters.

    Parameters
    ----------
    logs : (m,) float
        ``log W_k`` of the rows.
    references : (B, m) float
        The same of each draw.

    Returns
    -------
    gap, s : (m,) float
        ``mean_b log W*_kb - log W_k``, and the standard deviation over the draws (of B, not B - 1)
        times ``sqrt(1 + 1 / B)``.
    """
    mean = references.mean(axis=0)
    s = references.std(axis=0) * np.sqrt(1 + 1 / len(references))
    return mean - logs, s
