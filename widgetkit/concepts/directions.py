"""Directions in activation space that separate a concept."""

from __future__ import annotations

import numpy as np

from widgetkit.analysis._columns import Codes
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


def joint_effects(
    X: Array, present: Mask, known: Mask, groups: Codes | None = None
) -> tuple[Array, Array]:
    """What each concept adds to the activations, all concepts allowed for at once.

    Rows of ``B`` in ``X = a + Y B``, by least squares with one made-up row of no effect a concept (ridge 1), so
    that concepts which always go together share what they add. A mean difference holds what goes with the concept as
    well; weights of a classifier hold what other units do not say already, which is not what the concept adds
    (Haufe et al., NeuroImage 87 (2014) 96-110).

    A label that nobody gave counts as the concept's share among those given, and 0 where only examples are known.

    Parameters
    ----------
    X : (n, d)
    present, known : (n, F)
    groups : (n,) int, optional
        Images of one group together weigh as one.

    Returns
    -------
    (F, d) unit vectors, 0 for a concept whose label does not vary, and ``a`` (d,): activations without any
    concept.
    """
    lacks = known & ~present
    shown, looked = present.sum(axis=0), known.sum(axis=0)
    share = np.where(lacks.any(axis=0), shown / np.maximum(looked, 1), 0.0)
    Y = np.where(known, present.astype(np.float64), share)
    weight = np.ones(len(X))
    if groups is not None:
        weight = 1.0 / np.bincount(groups)[groups]
    total = max(float(weight.sum()), 1e-300)
    mean_y, mean_x = weight @ Y / total, weight @ X / total
    centred = Y - mean_y
    weighted = centred * weight[:, None]
    left = weighted.T @ centred + np.eye(Y.shape[1])
    found: Array = np.linalg.solve(left, weighted.T @ (X - mean_x)).astype(np.float64)
    varies = np.ptp(Y, axis=0) > 0 if len(Y) else np.zeros(Y.shape[1], np.bool_)
    found[~varies] = 0.0
    return unit(found), mean_x - mean_y @ found


def unit(vectors: Array) -> Array:
    """Rows of length 1; those of length 0 stay 0."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    found: Array = vectors / np.where(length > 0, length, 1.0)
    return found
