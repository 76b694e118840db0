"""Directions in activation space that separate a concept."""

from __future__ import annotations

import numpy as np

from widgetkit.concepts._labels import Array, Mask


def mean_differences(X: Array, present: Mask) -> Array:
    """(F, d) unit vectors from the mean of all rows to the mean of the examples; 0 where equal.

    Parameters
    ----------
    X : (n, d)
    present : (n, F)
    """
    counts = present.sum(axis=0)
    means = present.T.astype(np.float64) @ X / np.maximum(counts, 1)[:, None]
    found = np.where(counts[:, None] > 0, means - X.mean(axis=0), 0.0)
    return unit(found)


def unit(vectors: Array) -> Array:
    """Rows of length 1; those of length 0 stay 0."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    found: Array = vectors / np.where(length > 0, length, 1.0)
    return found
