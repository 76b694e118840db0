"""Error of a factorisation on values it has not seen: the rows and the channels both left out."""

from __future__ import annotations

import numpy as np

from widgetkit.analysis._arrays import Floats
from widgetkit.analysis._hooks import Cancel, checkpoint
from widgetkit.analysis.nmf import NMF
from widgetkit.analysis.nnls import nnls


def held_out_error(X: Floats, k: int, seed: int, *, cancel: Cancel | None = None) -> float:
    """Relative error by bi-cross-validation (Owen & Perry 2009), two by two blocks.

    Rows and channels are halved at random. NMF of the block that shares neither rows nor channels
    with the block left out gives factors; non-negative least squares carries them to the other rows
    and to the other channels; their product predicts the block. In the rows it was fitted to an NMF
    gets better with every factor; here factors that follow noise make it worse.

    Parameters
    ----------
    X : (n, C) float, non-negative
    k : int
    seed : int
        Of the halves.

    Returns
    -------
    float
        ``||X - prediction||_F / ||X||_F`` over all four blocks; NaN where half of the rows or of the
        channels are fewer than ``k``.
    """
    n, C = X.shape
    if min(n, C) // 2 < k:
        return float("nan")
    generator = np.random.default_rng(seed)
    rows, channels = generator.permutation(n), generator.permutation(C)
    top, left = np.zeros(n, np.bool_), np.zeros(C, np.bool_)
    top[rows[: n // 2]], left[channels[: C // 2]] = True, True
    squares = 0.0
    for out in (top, ~top):
        for away in (left, ~left):
            checkpoint(cancel)
            hidden, beside = X[out][:, away], X[out][:, ~away]
            above, seen = X[~out][:, away], X[~out][:, ~away]
            model = NMF(k, random_state=seed, backend="auto")
            weights = model.fit_transform(np.ascontiguousarray(seen), cancel=cancel)
            own = nnls(beside, model.components_, cancel=cancel)
            factors = nnls(np.ascontiguousarray(above.T), weights.T, cancel=cancel)
            rest = hidden - own @ factors.T
            squares += float(np.vdot(rest, rest))
    total = float(np.vdot(X, X))
    return float(np.sqrt(squares / total)) if total > 0 else 0.0
