"""Points sorted into a grid, so that a lasso looks only at what lies under its bounding box."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from widgetkit.session import geometry

#: Below it, testing every point is as quick.
WORTH = 50_000

_SIDE = 128  # cells a side: a cell number fits 16 bits, which NumPy sorts by radix


class Bins:
    """An index of fixed points for repeated lassos.

    Holds a copy of the points in grid order (one row of cells after the other) and their row
    numbers: 12 bytes a point in float32.

    Parameters
    ----------
    points : (m, 2) float
        NaN or infinite points are never inside.
    """

    def __init__(self, points: npt.NDArray[np.floating[Any]]) -> None:
        self._n = len(points)
        rows = np.flatnonzero(np.isfinite(points).all(axis=1)).astype(np.int32)
        finite = points[rows]
        if len(rows):
            low, high = finite.min(axis=0), finite.max(axis=0)
        else:
            low = high = np.zeros(2, dtype=points.dtype)
        self._low = low.astype(np.float64)
        with np.errstate(over="ignore", divide="ignore"):
            extent = high.astype(np.float64) - self._low
            self._scale = np.where((extent > 0) & np.isfinite(extent), _SIDE / extent, 0.0)
        column, row = self._cell(finite[:, 0], 0), self._cell(finite[:, 1], 1)
        cell = row.astype(np.uint16) * np.uint16(_SIDE) + column.astype(np.uint16)
        order = np.argsort(cell, kind="stable")
        self._rows = rows[order]
        self._points = finite[order]
        self._start = np.searchsorted(cell[order], np.arange(_SIDE * _SIDE + 1))

    def inside(self, polygon: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """The same as :func:`geometry.inside` on the points, bit for bit."""
        result = np.zeros(self._n, dtype=bool)
        vertices = geometry.polygon_of(polygon)
        if len(vertices) < 3:
            return result
        low, high = vertices.min(axis=0), vertices.max(axis=0)
        left, right = (int(self._cell(end[:1], 0)[0]) for end in (low, high))
        bottom, top = (int(self._cell(end[1:], 1)[0]) for end in (low, high))
        if left == 0 and right == _SIDE - 1:  # whole rows of cells lie side by side
            parts = [slice(self._start[bottom * _SIDE], self._start[(top + 1) * _SIDE])]
        else:
            parts = [
                slice(self._start[row * _SIDE + left], self._start[row * _SIDE + right + 1])
                for row in range(bottom, top + 1)
            ]
        points = np.concatenate([self._points[part] for part in parts])
        rows = np.concatenate([self._rows[part] for part in parts])
        result[rows[geometry.inside(vertices, points)]] = True
        return result

    def _cell(self, values: npt.NDArray[Any], axis: int) -> npt.NDArray[np.int64]:
        # Monotone, also in floats: a point between two others is in a cell between theirs.
        with np.errstate(over="ignore", invalid="ignore"):
            cell = (values.astype(np.float64) - self._low[axis]) * self._scale[axis]
        clipped: npt.NDArray[Any] = np.clip(np.nan_to_num(cell), 0, _SIDE - 1)
        return clipped.astype(np.int64)
