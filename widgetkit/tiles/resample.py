"""Linear resampling along one axis after the other, of any number of axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def axis_weights(
    n_in: int, n_out: int, step: float | None = None, middle: float | None = None
) -> np.ndarray:
    """Share of each voxel in in each voxel out, along one axis.

    A triangle as wide as the coarser of both grids: linear interpolation where voxels become
    smaller, and no aliasing where they become larger (as PIL's BILINEAR).

    Parameters
    ----------
    n_in, n_out : int
    step : float, optional
        Voxels in from one voxel out to the next. Default: ``n_in / n_out``, so the grids cover the
        same.
    middle : float, optional
        Voxel in that the middle of the voxels out lies at; the centre of the first is 0. Default:
        the middles of both grids coincide.

    Returns
    -------
    (n_out, n_in) float32
        Rows sum to 1; those of voxels whose centre lies outside the old grid are 0.
    """
    step = n_in / n_out if step is None else float(step)
    middle = (n_in - 1) / 2 if middle is None else middle
    centres = middle + (np.arange(n_out) - (n_out - 1) / 2) * step
    reach = max(1.0, step)
    inside = (centres >= -0.5 - 1e-6) & (centres <= n_in - 0.5 + 1e-6)
    near = np.clip(centres, 0, n_in - 1)  # at the rim the last voxel goes on
    weights = np.maximum(0.0, 1.0 - np.abs(np.arange(n_in)[None] - near[:, None]) / reach)
    weights /= weights.sum(1, keepdims=True)
    weights[~inside] = 0.0
    single: np.ndarray = weights.astype(np.float32)
    return single


def resample(
    values: np.ndarray,
    shape: Sequence[int],
    steps: Sequence[float | None] | None = None,
    *,
    outside: float = 0.0,
) -> np.ndarray:
    """``values`` brought to ``shape`` by :func:`axis_weights` along each axis.

    Parameters
    ----------
    values : (D, H, W)
    shape : (3,) int
    steps : (3,) float or None, optional
        See :func:`axis_weights`.
    outside : float
        Value beyond the old grid.

    Returns
    -------
    shape float32
    """
    given: Sequence[float | None] = (None, None, None) if steps is None else steps
    across = [
        None if n_in == n_out and step in (None, 1.0) else axis_weights(n_in, n_out, step)
        for n_in, n_out, step in zip(values.shape, shape, given, strict=True)
    ]
    planes = np.empty((values.shape[0], *shape[1:]), np.float32)
    for i, plane in enumerate(values):
        image = plane.astype(np.float32) - np.float32(outside)
        if across[1] is not None:
            image = across[1] @ image
        planes[i] = image if across[2] is None else image @ across[2].T
    if across[0] is not None:
        planes = np.tensordot(across[0], planes, axes=1)
    out: np.ndarray = planes + np.float32(outside)
    return out
