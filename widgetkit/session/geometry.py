"""Which points lie inside a lasso or a box.

A point is inside a polygon when a ray from it crosses the outline an odd number of times
(even-odd rule), so a self-intersecting lasso behaves as it is drawn. A raster over the
polygon settles all points in cells that no edge comes near; only points in the cells
along the outline are tested, each against the few edges of its own row, with exact
arithmetic where floats cannot decide.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: A hand-drawn lasso has some hundred vertices; the bound keeps a hostile message harmless.
MAX_VERTICES = 20_000

_CHUNK = 65_536  # points at once: of 8 k to 1 M the quickest (13 ms a million)
_MAX_PAIRS = 2_000_000  # edge-row or point-edge pairs held at once
_OUTSIDE, _INSIDE, _NEAR = 0, 1, 2
#: Shewchuk (1997), bound A of orient2d: (3 + 16 u) u with u = 2**-53.
_ORIENT_BOUND = (3.0 + 16.0 * 2.0**-53) * 2.0**-53
_TINY = 1e-290  # products below it may have underflowed: decide exactly


def inside(polygon: npt.ArrayLike, points: npt.ArrayLike) -> BoolArray:
    """Which points lie inside a polygon, by the even-odd rule.

    Parameters
    ----------
    polygon : (v, 2) float
        Vertices in drawing order; the last joins the first. Fewer than three vertices,
        or all on one line, enclose nothing.
    points : (m, 2) float
        NaN or infinite points are outside.

    Returns
    -------
    (m,) bool
        A point on the outline belongs to the side that the half-open rule gives it (an
        edge owns its lower end; left and bottom edges are in), so that two polygons with
        a common edge never share a point.

    Raises
    ------
    InvalidInput
        Not two columns, a vertex that is not finite, or more than ``MAX_VERTICES``.

    References
    ----------
    Shimrat (1962), Algorithm 112, for the crossing count; Shewchuk (1997), "Adaptive
    precision floating-point arithmetic", for the error bound of the orientation test.
    """
    poly = polygon_of(polygon)
    pts = _points(points)
    result = np.zeros(len(pts), dtype=bool)
    if len(poly) < 3 or not len(pts):
        return result
    low, high = poly.min(axis=0), poly.max(axis=0)
    with np.errstate(over="ignore"):
        extent = high - low
    if not np.all(extent > 0):
        return result
    if not _raster_is_safe(low, high, extent):
        return _exact_everywhere(poly, pts)
    raster = _Raster(poly, low, extent, _resolution(len(pts)))
    for start in range(0, len(pts), _CHUNK):
        part = pts[start : start + _CHUNK]
        result[start : start + _CHUNK] = raster.classify(part)
    return result


def in_box(box: npt.ArrayLike, points: npt.ArrayLike) -> BoolArray:
    """Which points lie in an axis-aligned box, edges included.

    Parameters
    ----------
    box : (4,) float
        ``x0, y0, x1, y1``; the two corners may come in any order.
    points : (m, 2) float
        NaN points are outside.

    Returns
    -------
    (m,) bool
    """
    corners = np.asarray(box, dtype=np.float64)
    if corners.shape != (4,) or not np.isfinite(corners).all():
        raise InvalidInput(
            f"A box is four finite numbers x0, y0, x1, y1; got shape {corners.shape}."
        )
    pts = _points(points)
    x0, x1 = sorted((float(corners[0]), float(corners[2])))
    y0, y1 = sorted((float(corners[1]), float(corners[3])))
    x, y = pts[:, 0], pts[:, 1]
    found: BoolArray = (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
    return found


# -- borders -----------------------------------------------------------------------------
def polygon_of(polygon: npt.ArrayLike) -> FloatArray:
    """Checked vertices (v, 2); ``InvalidInput`` as :func:`inside` says."""
    try:
        poly = np.asarray(polygon, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInput("A polygon is a list of (x, y) pairs of numbers.") from error
    if poly.size == 0:
        return np.empty((0, 2))
    if poly.ndim != 2 or poly.shape[1] != 2:
        raise InvalidInput(f"A polygon has shape (v, 2); got {poly.shape}.")
    if len(poly) > MAX_VERTICES:
        raise InvalidInput(
            f"The polygon has {len(poly)} vertices, more than {MAX_VERTICES}. Simplify it first."
        )
    if not np.isfinite(poly).all():
        raise InvalidInput("The polygon has a vertex that is NaN or infinite.")
    return poly


def _points(points: npt.ArrayLike) -> npt.NDArray[Any]:
    pts = np.asarray(points)
    if pts.dtype.kind != "f":
        pts = pts.astype(np.float64)
    if pts.size == 0:
        return np.empty((0, 2))
    if pts.ndim != 2 or pts.shape[1] != 2:
        raise InvalidInput(f"Points have shape (m, 2); got {pts.shape}.")
    return pts


def _resolution(m: int) -> int:
    """Cells a side: building costs side**2, testing the outline costs m / side."""
    return int(np.clip(2 ** round(np.log2(max(m, 1)) / 2 - 1), 16, 512))


def _raster_is_safe(low: FloatArray, high: FloatArray, extent: FloatArray) -> bool:
    """Whether rounding is far below a cell, which the margins of the raster rely on."""
    magnitude = np.maximum(np.abs(low), np.abs(high))
    return bool(
        np.isfinite(extent).all()
        and np.all(extent > magnitude * 1e-4)
        and np.all(extent > 1e-150)
        and np.all(magnitude < 1e150)
    )


# -- the raster --------------------------------------------------------------------------
class _Raster:
    """Cells of the polygon's bounding box, each outside, inside, or near an edge.

    Cell coordinates run from 1 to ``side``; 0 and ``side + 1`` are guards, so that a point
    beyond the box lands in a guard cell instead of needing a test of its own.
    """

    def __init__(self, polygon: FloatArray, low: FloatArray, extent: FloatArray, side: int) -> None:
        start = polygon
        end = np.roll(polygon, -1, axis=0)
        keep = start[:, 1] != end[:, 1]  # a horizontal edge is never crossed
        flat_start, flat_end = start[~keep], end[~keep]
        self.start, self.end = start[keep], end[keep]
        while True:
            self._sx, self._sy = side / float(extent[0]), side / float(extent[1])
            self._cx, self._cy = 1.0 - float(low[0]) * self._sx, 1.0 - float(low[1]) * self._sy
            first = np.floor(self._v(np.minimum(self.start[:, 1], self.end[:, 1])))
            last = np.floor(self._v(np.maximum(self.start[:, 1], self.end[:, 1])))
            counts = (last - first + 1).astype(np.int64)
            if side <= 16 or counts.sum() <= _MAX_PAIRS:
                break
            side //= 2
        self.side = side
        self._width = side + 2
        edge = np.repeat(np.arange(len(counts)), counts)
        row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
        row += first.astype(np.int64)[edge]
        self._bucket(edge, row)
        near = self._near(edge, row) + self._near_flat(flat_start, flat_end)
        odd = self._parity(edge, row)
        code = odd.astype(np.uint8)
        code[near > 0] = _NEAR
        self._code = code.ravel()

    def _u(self, x: npt.NDArray[Any], out: FloatArray | None = None) -> FloatArray:
        value: FloatArray = np.multiply(x, self._sx, out=out)
        value += self._cx
        return value

    def _v(self, y: npt.NDArray[Any], out: FloatArray | None = None) -> FloatArray:
        # Monotone in y, also in floats: a point between the ends of an edge falls in one
        # of the rows listed for that edge. The exact test relies on this.
        value: FloatArray = np.multiply(y, self._sy, out=out)
        value += self._cy
        return value

    def _bucket(self, edge: IntArray, row: IntArray) -> None:
        order = np.argsort(row, kind="stable")
        self._row_edges = edge[order]
        self._row_start = np.searchsorted(row[order], np.arange(self._width + 1))

    def _near(self, edge: IntArray, row: IntArray) -> npt.NDArray[np.int32]:
        """Counts of edges that come near each cell: its own columns and one on each side."""
        u0, v0 = self._u(self.start[:, 0])[edge], self._v(self.start[:, 1])[edge]
        u1, v1 = self._u(self.end[:, 0])[edge], self._v(self.end[:, 1])[edge]
        # 1e-6 of a cell is far above rounding and far below a cell.
        marks = np.zeros((self._width, self._width + 1), dtype=np.int32)
        # An edge of no height in this raster (its ends differ by a few floats) is near all along.
        height = v1 - v0
        level = np.abs(height) < 1e-9
        slope = 1.0 / np.where(level, 1.0, height)
        low_t = np.where(level, 0.0, np.clip((row - 1e-6 - v0) * slope, 0.0, 1.0))
        high_t = np.where(level, 1.0, np.clip((row + 1 + 1e-6 - v0) * slope, 0.0, 1.0))
        ua, ub = u0 + low_t * (u1 - u0), u0 + high_t * (u1 - u0)
        self._mark(marks, row, np.minimum(ua, ub), np.maximum(ua, ub))
        # An end within the margin of a row border also nears the row beyond it.
        for u, v in ((u0, v0), (u1, v1)):
            for nudge in (-1e-6, 1e-6):
                other = np.floor(v + nudge).astype(np.int64)
                beyond = (other != np.floor(v)) & (other >= 0) & (other < self._width)
                if beyond.any():
                    self._mark(marks, other[beyond], u[beyond], u[beyond])
        return np.cumsum(marks, axis=1, dtype=np.int32)[:, : self._width]

    def _near_flat(self, start: FloatArray, end: FloatArray) -> npt.NDArray[np.int32]:
        marks = np.zeros((self._width, self._width + 1), dtype=np.int32)
        if len(start):
            ua, ub = self._u(start[:, 0]), self._u(end[:, 0])
            v = self._v(start[:, 1])
            for nudge in (-1e-6, 0.0, 1e-6):
                row = np.clip(np.floor(v + nudge), 0, self._width - 1).astype(np.int64)
                self._mark(marks, row, np.minimum(ua, ub), np.maximum(ua, ub))
        return np.cumsum(marks, axis=1, dtype=np.int32)[:, : self._width]

    def _mark(
        self, marks: npt.NDArray[np.int32], row: IntArray, left: FloatArray, right: FloatArray
    ) -> None:
        first = np.clip(np.floor(left) - 1, 0, self._width - 1).astype(np.int64)
        last = np.clip(np.floor(right) + 1, 0, self._width - 1).astype(np.int64)
        np.add.at(marks, (row, first), 1)
        np.add.at(marks, (row, last + 1), -1)

    def _parity(self, edge: IntArray, row: IntArray) -> BoolArray:
        """Even-odd of the cell centres. A crossing lies in a near cell, so rounding is free."""
        v0, v1 = self._v(self.start[:, 1])[edge], self._v(self.end[:, 1])[edge]
        centre = row + 0.5
        crossing = (v0 <= centre) != (v1 <= centre)
        edge, row, centre, v0, v1 = (a[crossing] for a in (edge, row, centre, v0, v1))
        u0, u1 = self._u(self.start[:, 0])[edge], self._u(self.end[:, 0])[edge]
        u = u0 + (centre - v0) / (v1 - v0) * (u1 - u0)
        column = np.clip(np.ceil(u - 0.5), 0, self._width).astype(np.int64)
        toggles = np.zeros((self._width, self._width + 1), dtype=np.int32)
        np.add.at(toggles, (row, column), 1)
        odd: BoolArray = (np.cumsum(toggles, axis=1, dtype=np.int32)[:, : self._width] & 1) == 1
        return odd

    def classify(self, points: npt.NDArray[Any]) -> BoolArray:
        pts = np.ascontiguousarray(points.T, dtype=np.float64)
        x, y = pts
        cell = np.empty_like(pts)
        with np.errstate(over="ignore", invalid="ignore"):
            self._u(x, out=cell[0])
            self._v(y, out=cell[1])
        # fmax drops NaN: such a point lands in guard row 0, which is outside.
        np.fmax(cell, 0, out=cell)
        np.fmin(cell, self.side + 1, out=cell)
        columns, rows = cell.astype(np.int32)
        columns += rows * np.int32(self._width)
        codes = self._code.take(columns)
        result: BoolArray = codes == _INSIDE
        doubtful = np.flatnonzero(codes == _NEAR)
        if len(doubtful):
            finite = np.isfinite(x[doubtful]) & np.isfinite(y[doubtful])
            doubtful = doubtful[finite]
            result[doubtful] = self._exact(x[doubtful], y[doubtful], rows[doubtful])
        return result

    def _exact(self, x: FloatArray, y: FloatArray, row: npt.NDArray[np.int32]) -> BoolArray:
        first = self._row_start[row]
        counts = self._row_start[row + 1] - first
        result = np.zeros(len(x), dtype=bool)
        for part in _parts(counts):
            c = counts[part]
            point = np.repeat(np.arange(part.start, part.stop), c)
            offset = np.arange(len(point)) - np.repeat(np.cumsum(c) - c, c)
            edge = self._row_edges[first[point] + offset]
            crossed = _crossed(self.start[edge], self.end[edge], x[point], y[point])
            hits = np.bincount(point[crossed] - part.start, minlength=len(c))
            result[part] = (hits & 1) == 1
        return result


def _parts(counts: IntArray) -> list[slice]:
    """Slices of consecutive points with at most ``_MAX_PAIRS`` pairs (or one point) each."""
    total = np.cumsum(counts)
    parts, start = [], 0
    while start < len(counts):
        done = total[start - 1] if start else 0
        stop = int(np.searchsorted(total, done + _MAX_PAIRS, side="right"))
        stop = max(stop, start + 1)
        parts.append(slice(start, stop))
        start = stop
    return parts


# -- the exact test ----------------------------------------------------------------------
def _crossed(start: FloatArray, end: FloatArray, x: FloatArray, y: FloatArray) -> BoolArray:
    """Whether the ray from each point to the right crosses its edge; all arrays (p, ...)."""
    spans = (start[:, 1] > y) != (end[:, 1] > y)
    result = np.zeros(len(x), dtype=bool)
    at = np.flatnonzero(spans)
    if not len(at):
        return result
    up = end[at, 1] > start[at, 1]
    # The point is left of the crossing when the turn start -> end -> point is to the left
    # of an upward edge, or to the right of a downward one.
    sign = _orientation(start[at], end[at], x[at], y[at])
    result[at] = np.where(up, sign > 0, sign < 0)
    return result


def _orientation(
    start: FloatArray, end: FloatArray, x: FloatArray, y: FloatArray
) -> npt.NDArray[np.int8]:
    """Sign of the turn ``start -> end -> (x, y)``: 1 to the left, -1 to the right, 0 on it."""
    with np.errstate(over="ignore", invalid="ignore"):
        dx, dy = end[:, 0] - start[:, 0], end[:, 1] - start[:, 1]
        px, py = x - start[:, 0], y - start[:, 1]
        left, right = dx * py, px * dy
        turn = left - right
        size = np.abs(left) + np.abs(right)
        sure = (np.abs(turn) > _ORIENT_BOUND * size) & (size > _TINY) & np.isfinite(size)
    # A zero factor makes its product exactly zero, whatever the other is.
    zero = ((dx == 0) | (py == 0)) & ((px == 0) | (dy == 0))
    sign = np.sign(np.where(sure & ~zero, turn, 0.0)).astype(np.int8)
    for i in np.flatnonzero(~(sure | zero)):
        ax, ay, bx, by = (Fraction(float(c)) for c in (*start[i], *end[i]))
        exact = (bx - ax) * (Fraction(float(y[i])) - ay) - (Fraction(float(x[i])) - ax) * (by - ay)
        sign[i] = (exact > 0) - (exact < 0)
    return sign


def _exact_everywhere(polygon: FloatArray, points: npt.NDArray[Any]) -> BoolArray:
    """Every point against every edge; for outlines too small or too large for a raster."""
    start, end = polygon, np.roll(polygon, -1, axis=0)
    pts = points.astype(np.float64)
    low, high = polygon.min(axis=0), polygon.max(axis=0)
    result = np.zeros(len(pts), dtype=bool)
    with np.errstate(invalid="ignore"):
        candidates = np.flatnonzero(((pts >= low) & (pts <= high)).all(axis=1))
    step = max(1, _MAX_PAIRS // len(polygon))
    for i in range(0, len(candidates), step):
        at = candidates[i : i + step]
        v = len(polygon)
        x, y = np.repeat(pts[at, 0], v), np.repeat(pts[at, 1], v)
        crossed = _crossed(np.tile(start, (len(at), 1)), np.tile(end, (len(at), 1)), x, y)
        result[at] = (crossed.reshape(len(at), v).sum(axis=1) & 1) == 1
    return result
