"""Principal components, exact and the same for the same input."""

from __future__ import annotations

import numpy as np

from widgetkit.analysis._arrays import Floats, sample_rows

# Channels up to which the (C, C) scatter matrix is made and solved: 2048 take a second or two.
_EXACT_CHANNELS = 2048

# The axes of more rows than this are those of a seeded sample: 50 axes of at most 2048 channels
# do not change visibly, and the scatter matrix of a million rows takes half a minute.
_AXIS_ROWS = 50_000

_BLOCK = 8192


def principal_components(rows: Floats, count: int, *, seed: int = 0) -> tuple[Floats, float]:
    """Scores on the first principal components, and the share of variance they hold.

    Signs are fixed (the largest loading of each axis is positive), so that equal input gives
    equal output. Up to 2048 channels by the eigenvectors of the scatter matrix in float64, above
    by a seeded randomised SVD. Above 50,000 rows the axes are those of a seeded sample of 50,000.

    Parameters
    ----------
    rows : (n, C) float, finite
    count : int
        Components wanted.
    seed : int

    Returns
    -------
    scores : (n, min(count, n, C)) float32
    explained : float
        In [0, 1]; 1 for rows that are all equal.
    """
    n, channels = rows.shape
    keep = min(count, n, channels)
    chosen = sample_rows(n, _AXIS_ROWS, seed)
    part = rows if len(chosen) == n else rows[chosen]
    mean = part.mean(axis=0, dtype=np.float64)
    if channels <= _EXACT_CHANNELS:
        scatter = np.zeros((channels, channels))
        for at in range(0, len(part), _BLOCK):
            block = part[at : at + _BLOCK] - mean
            scatter += block.T @ block
        values, vectors = np.linalg.eigh(scatter)
        values = np.maximum(values[::-1], 0)
        axes = vectors[:, ::-1][:, :keep]
        total, held = float(values.sum()), float(values[:keep].sum())
    else:
        from sklearn.utils.extmath import randomized_svd

        centred = part - mean.astype(rows.dtype)
        _, singular, right = randomized_svd(centred, keep, random_state=seed)
        axes = right.T
        total = float(np.einsum("nc,nc->", centred, centred, dtype=np.float64))
        held = float((singular.astype(np.float64) ** 2).sum())
    largest = np.abs(axes).argmax(axis=0)
    axes = axes * np.where(axes[largest, np.arange(axes.shape[1])] < 0, -1.0, 1.0)
    scores = np.empty((n, axes.shape[1]), np.float32)
    for at in range(0, n, _BLOCK):
        scores[at : at + _BLOCK] = (rows[at : at + _BLOCK] - mean) @ axes
    return scores, min(held / total, 1.0) if total > 0 else 1.0
