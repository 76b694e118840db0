"""Error of a factorisation on values it has not seen: the rows and the channels both left out."""

from __future__ import annotations

import numpy as np

from widgetkit.analysis._arrays import Floats
from widgetkit.analysis._hooks import Cancel, checkpoint
from widgetkit.analysis.nmf import NMF
from widgetkit.analysis.nnls import nnls

_CHANNEL_PARTS = 4


def held_out_error(X: Floats, k: int, seed: int, *, cancel: Cancel | None = None) -> float:
    """Relative error by bi-cross-validation (Owen & Perry 2009).

    Rows are halved and channels quartered at random; four times one half of the rows is left out in
    one quarter of the channels. NMF of the other rows in the other channels gives factors;
    non-negative least squares carries them to the rows left out and to the channels left out; their
    product predicts the block. In the rows it was fitted to an NMF gets better with every factor;
    here factors that follow noise make it worse.

    Channels are quartered and not halved: what a factor is known by must be left in the others.

    Parameters
    ----------
    X : (n, C) float, non-negative
    k : int
    seed : int
        Of the parts.

    Returns
    -------
    float
        ``||X - prediction||_F / ||X||_F`` over the blocks; NaN where half of the rows or three
        quarters of the channels are fewer than ``k``.
    """
    n, C = X.shape
    parts = min(_CHANNEL_PARTS, C)
    if n // 2 < k or C - -(-C // parts) < k:
        return float("nan")
    generator = np.random.default_rng(seed)
    half = generator.permutation(n) % 2
    part = generator.permutation(C) % parts
    squares = total = 0.0
    for at in range(parts):
        checkpoint(cancel)
        out, away = half == at % 2, part == at
        hidden, beside = X[out][:, away], X[out][:, ~away]
        above, seen = X[~out][:, away], np.ascontiguousarray(X[~out][:, ~away])
        model = NMF(k, random_state=seed, max_rows=None)
        weights = model.fit_transform(seen, cancel=cancel)
        own = nnls(beside, model.components_, cancel=cancel)
        factors = nnls(np.ascontiguousarray(above.T), weights.T, cancel=cancel)
        rest = hidden - own @ factors.T
        squares += float(np.vdot(rest, rest))
        total += float(np.vdot(hidden, hidden))
    return float(np.sqrt(squares / total)) if total > 0 else 0.0
