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
        x, y = points[:, 0], points[:, 1]
        good = np.isfinite(x) & np.isfinite(y)
        rows = np.arange(self._n, dtype=np.int32)
        if not good.all():
            points, rows = points[good], rows[good]
        # The reductions of NumPy are quick along long axes only: a column at a time.
        ends = [(float(c.min()), float(c.max())) if len(c) else (0.0, 0.0) for c in points.T]
        self._low = [low for low, _ in ends]
        extents = [high - low for low, high in ends]
        self._scale = [_SIDE / e if 0 < e < np.inf else 0.0 for e in extents]
        cell = self._cell(points[:, 1], 1).astype(np.uint16)
        cell *= np.uint16(_SIDE)
        cell += self._cell(points[:, 0], 0).astype(np.uint16)
        order = np.argsort(cell, kind="stable")
        self._rows = rows[order]
        self._points = points[order]
        counts = np.bincount(cell, minlength=_SIDE * _SIDE)
        self._start = np.concatenate([[0], np.cumsum(counts)])

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
            cell = np.subtract(values, self._low[axis], dtype=np.float64)
            cell *= self._scale[axis]
        np.fmax(cell, 0, out=cell)  # also where infinity met a scale of zero
        np.fmin(cell, _SIDE - 1, out=cell)
        whole: npt.NDArray[np.int64] = cell.astype(np.int64)
        return whole
