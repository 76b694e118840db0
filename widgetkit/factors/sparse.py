"""Non-negative sparse coding: NMF whose weights pay for not being zero."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from widgetkit.analysis import NMF
from widgetkit.analysis.nnls import solve_gram
from widgetkit.errors import Cancelled
from widgetkit.factors.weighing import Array

#: The penalty as a share of what a typical position holds of its strongest factor.
SPARSITY = 0.1

_ITERATIONS, _TOLERANCE = 100, 1e-4


def sparse_nmf(
    X: Array,
    k: int,
    *,
    seed: int,
    sparsity: float = SPARSITY,
    cancel: Callable[[], object] | None = None,
) -> tuple[Array, float, tuple[float, ...]]:
    """``min ||X - W H||² + 2 penalty sum(W)`` with ``W, H >= 0`` and rows of ``H`` within length 1.

    Starts from NMF. The weights are exact; each factor in turn is set to its optimum given the
    rest, which is its least squares solution put back on the ball, so the objective never rises.

    Parameters
    ----------
    sparsity : float
        ``penalty / mean over the rows of their largest product with a factor`` at the start.

    Returns
    -------
    H : (k, C) float32
    penalty : float
        In the unit of the activations.
    objective : tuple of float
        Square root of the objective over ``||X||``, after each iteration.

    References
    ----------
    Hoyer (2002), Non-negative sparse coding. Proc. IEEE Workshop on Neural Networks for Signal
    Processing.
    """
    start = NMF(k, random_state=seed, max_rows=None, backend="numpy").fit(X, cancel=cancel)
    H = start.components_.astype(np.float32)
    penalty = sparsity * float((X @ H.T).max(axis=1).mean())
    total = float(np.einsum("pc,pc->", X, X, dtype=np.float64))
    found: list[float] = []
    best = H
    for _ in range(_ITERATIONS):
        if cancel is not None and cancel():
            raise Cancelled("The computation was cancelled; nothing was changed.")
        exact = H.astype(np.float64)
        products = (X @ H.T).astype(np.float64)
        W = solve_gram(exact @ exact.T, products - penalty)
        gram = W.T @ W
        square = total - 2 * float(np.vdot(W, products)) + float(np.vdot(gram, exact @ exact.T))
        objective = float(np.sqrt(max(square + 2 * penalty * float(W.sum()), 0.0) / total))
        if found and objective >= found[-1]:
            break
        found.append(objective)
        best = H
        if len(found) > 1 and found[-2] - objective < _TOLERANCE * objective:
            break
        target = W.T.astype(np.float32) @ X
        for j in range(k):
            if gram[j, j] > 0:
                row = np.maximum(target[j] - gram[j] @ exact + gram[j, j] * exact[j], 0)
                row /= gram[j, j]
                exact[j] = row / max(float(np.linalg.norm(row)), 1.0)
        H = exact.astype(np.float32)
    return np.ascontiguousarray(best), penalty, tuple(found)
