"""Slow references, which follow the published definitions line by line. For tests and benchmarks."""

from __future__ import annotations

from math import log, pi, sqrt

import numpy as np


def rodeo(
    x: np.ndarray,
    X: np.ndarray,
    *,
    start: float = 50.0,
    shrink: float = 0.9,
    least: float = 0.01,
) -> tuple[float, np.ndarray]:
    """Local rodeo at one point ``x`` (d,) from samples ``X`` (n, d), dimension by dimension.

    Log density and bandwidths (d,). As published, but for a kernel divided by its largest value, which changes no
    comparison: in 100 dimensions it is 0 in floating point otherwise.
    """
    n, d = X.shape
    bound = sqrt(2 * log(n * (log(d) if d > 1 else 1.0)))
    h = np.full(d, float(start))
    active = set(range(d))
    while active:
        exponent = -(((x - X) / h) ** 2).sum(axis=1) / 2
        K = np.exp(exponent - exponent.max())
        for j in sorted(active):
            Z = ((x[j] - X[:, j]) ** 2 - h[j] ** 2) * K
            moves = h[j] * shrink >= least
            if moves and abs(Z.mean()) > Z.std(ddof=1) / sqrt(n) * bound:
                h[j] *= shrink
            else:
                active.remove(j)
    exponent = -(((x - X) / h) ** 2).sum(axis=1) / 2
    top = exponent.max()
    density = log(np.exp(exponent - top).mean()) + top - np.log(h).sum() - d / 2 * log(2 * pi)
    return density, h


def rodeo_rows(
    x: np.ndarray, X: np.ndarray, *, start: float = 50.0, shrink: float = 0.9, least: float = 0.01
) -> float:
    """The same with all dimensions of a step at once: a loop over points only."""
    n, d = X.shape
    bound = sqrt(2 * log(n * (log(d) if d > 1 else 1.0)))
    h = np.full(d, float(start))
    active = np.ones(d, bool)
    D = (x - X) ** 2
    while active.any():
        exponent = D @ (-0.5 / h**2)
        K = np.exp(exponent - exponent.max())
        Z = (D[:, active] - h[active] ** 2) * K[:, None]
        goes = np.abs(Z.mean(axis=0)) > Z.std(axis=0, ddof=1) / sqrt(n) * bound
        goes &= h[active] * shrink >= least
        at = np.flatnonzero(active)
        h[at[goes]] *= shrink
        active[at[~goes]] = False
    exponent = D @ (-0.5 / h**2)
    top = exponent.max()
    return float(log(np.exp(exponent - top).mean()) + top - np.log(h).sum() - d / 2 * log(2 * pi))
