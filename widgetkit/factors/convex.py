"""Convex NMF: every factor is a mixture of real activations, so it can be shown by them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from widgetkit.analysis import KMeans
from widgetkit.analysis.nnls import solve_gram
from widgetkit.errors import Cancelled
from widgetkit.factors.weighing import Array

#: Means of rows that factors are mixed from. The mixture of all rows would need a matrix of rows
#: by rows; means of small groups span nearly the same cone.
ANCHORS = 96

_ITERATIONS, _TOLERANCE = 60, 1e-4


def convex_nmf(
    X: Array, k: int, *, seed: int, cancel: Callable[[], object] | None = None
) -> tuple[Array, tuple[float, ...]]:
    """``min ||X - W G A||`` with ``W, G >= 0``; ``A`` are means of groups of rows of ``X``.

    Rows may be negative. ``W`` and the rows of ``G`` are in turn set to their exact optimum, so
    the error never rises.

    Returns
    -------
    H : (k, C) float32
        ``G A``, rows of length 1, the one that explains most first.
    errors : tuple of float
        Relative error after each iteration.

    References
    ----------
    Ding, Li & Jordan (2010), Convex and semi-nonnegative matrix factorizations. IEEE TPAMI 32.
    Thurau, Kersting, Wahabzada & Bauckhage (2011), Convex non-negative matrix factorization for
    massive datasets. Knowledge and Information Systems 29.
    """
    from scipy.optimize import nnls

    anchors = _anchors(X, k, seed, cancel)
    gram_a = anchors @ anchors.T
    # a mixture is found in the space that the anchors span, which is smaller than C
    basis, small = np.linalg.qr(anchors.T)  # anchors.T = basis @ small
    # k anchors far apart in direction begin: each next is the least explained by those before
    G = np.zeros((k, len(anchors)))
    G[np.arange(k), _spread(anchors, k)] = 1
    products_a = X.astype(np.float32) @ anchors.T.astype(np.float32)  # (p, anchors), once
    products_a = products_a.astype(np.float64)
    total = float(np.einsum("pc,pc->", X, X, dtype=np.float64))
    errors: list[float] = []
    best = G
    for _ in range(_ITERATIONS):
        if cancel is not None and cancel():
            raise Cancelled("The computation was cancelled; nothing was changed.")
        gram_h, products = G @ gram_a @ G.T, products_a @ G.T
        W = solve_gram(gram_h, products)
        own = W.T @ W
        square = total - 2 * float(np.vdot(W, products)) + float(np.vdot(own, gram_h))
        error = float(np.sqrt(max(square, 0.0) / total)) if total > 0 else 0.0
        if errors and error >= errors[-1]:
            break
        errors.append(error)
        best = G
        if len(errors) > 1 and errors[-2] - error < _TOLERANCE * error:
            break
        target = (W.T.astype(np.float32) @ X).astype(np.float64) @ basis
        G = G.copy()
        for j in range(k):
            if own[j, j] > 0:
                others = own[j] @ G - own[j, j] * G[j]
                row = nnls(small, (target[j] - small @ others) / own[j, j])[0]
                if row.any():
                    G[j] = row
    H = best @ anchors
    length = np.linalg.norm(H, axis=1, keepdims=True)
    H = np.divide(H, length, out=np.zeros_like(H), where=length > 0)
    W = solve_gram(H @ H.T, X @ H.T.astype(np.float32))
    order = np.argsort(-np.square(W).sum(axis=0), kind="stable")
    return np.ascontiguousarray(H[order], np.float32), tuple(errors)


def _anchors(
    X: Array, k: int, seed: int, cancel: Callable[[], object] | None
) -> npt.NDArray[np.float64]:
    """Means (a, C) of groups of rows, k-means of their directions; zero groups left out."""
    count = min(len(X), max(ANCHORS, 4 * k))
    length = np.linalg.norm(X, axis=1, keepdims=True)
    unit = np.divide(X, length, out=np.zeros_like(X), where=length > 0)
    model = KMeans(count, n_init=1, max_iter=20, random_state=seed).fit(unit, cancel=cancel)
    member = np.zeros((count, len(X)), np.float32)
    member[model.labels_, np.arange(len(X))] = 1
    sizes = member.sum(axis=1)
    means: npt.NDArray[np.float64] = (member @ X)[sizes > 0] / sizes[sizes > 0][:, None]
    means = means.astype(np.float64)
    alive = np.linalg.norm(means, axis=1) > 0
    return means[alive] if alive.any() else means[:1]


def _spread(anchors: npt.NDArray[Any], k: int) -> npt.NDArray[np.intp]:
    """``k`` anchors, each the least explained by those before (successive projection)."""
    rest = anchors / np.maximum(np.linalg.norm(anchors, axis=1, keepdims=True), 1e-300)
    chosen: list[int] = []
    for _ in range(k):
        sizes = np.linalg.norm(rest, axis=1)
        sizes[chosen] = -1
        at = int(np.argmax(sizes))
        chosen.append(at)
        if sizes[at] > 1e-12:
            direction = rest[at] / sizes[at]
            rest = rest - np.outer(rest @ direction, direction)
    return np.asarray(chosen)
