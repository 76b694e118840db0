"""Maps of tiles put together to one raster over a part of a slide.

A cell of a map is a rectangle of one value. A pixel of the raster holds the mean of the cells that
lie over it, each counted by the area it shares with the pixel: exact where cells and pixels are
aligned, an average where tiles overlap or many cells fall into one pixel.

Tiles of a slide stand in columns and rows, so the sum over all cells falls apart into one product
along y and one along x: two sparse matrices that depend on the view alone. Tiles that stand anywhere
are summed cell by cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput

Float = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

#: Winner where no factor exceeds the background, or no tile lies.
NONE = 255
#: Most pixels of one raster (a map of 4096 x 4096 is 64 MB as float32).
MOST_PIXELS = 4096 * 4096
#: A pixel of which a smaller share is covered counts as empty: that is rounding at a tile's edge.
_LEAST_COVERAGE = 1e-6
#: Places of the lattice for one tile, at most: sparser tiles are summed cell by cell.
_SPARSEST = 8
#: Cell-pixel pairs at once where cells are summed one by one (80 MB).
_PAIRS = 2_000_000
#: Pairs that are kept, 8 bytes each: 100,000 tiles of 7 x 7 on a megapixel are 15 million.
_KEPT_PAIRS = 24_000_000


class Stitcher:
    """Puts maps together over one view; made once a view, then used for any number of maps.

    Parameters
    ----------
    boxes : (m, 4) float
        x0, y0, x1, y1 of each tile, level-0 px (any unit, the view's). Rows with NaN lie nowhere.
    grid : (h, w)
        Of each tile's map.
    view : (4,) float
        x0, y0, x1, y1 of the raster.
    shape : (H, W)
        Pixels of the raster.

    Attributes
    ----------
    rows : (r,) int64
        The boxes that meet the view, ascending: :meth:`add` takes maps of these only.
    coverage : (H, W) float32
        Mean number of tiles over each pixel: 1 where one tile covers it whole, 0.5 where it covers
        half of it, 2 where two overlap. 0 where there is none.

    Raises
    ------
    InvalidInput
        A shape is wrong, the view is empty or not finite, or the raster too large.
    """

    def __init__(
        self,
        boxes: npt.ArrayLike,
        grid: tuple[int, int],
        view: npt.ArrayLike,
        shape: tuple[int, int],
    ) -> None:
        places = _boxes(boxes)
        self.view, self.shape, self.grid = _view(view), _shape(shape), _grid(grid)
        x0, y0, x1, y1 = self.view
        with np.errstate(invalid="ignore"):
            meets = (places[:, 0] < x1) & (places[:, 2] > x0)
            meets &= (places[:, 1] < y1) & (places[:, 3] > y0)
            meets &= (places[:, 2] > places[:, 0]) & (places[:, 3] > places[:, 1])
        self.rows: Int64 = np.flatnonzero(meets)
        scale = np.array([self.shape[1] / (x1 - x0), self.shape[0] / (y1 - y0)] * 2)
        pixels = (places[self.rows] - np.array([x0, y0, x0, y0])) * scale
        self._parts = list(_plan(pixels, self.grid, self.shape))
        total = np.zeros(self.shape)
        for part in self._parts:
            total += part.coverage()
        self._total = total
        self._empty = total < _LEAST_COVERAGE
        self._inverse = (1.0 / np.where(self._empty, 1.0, total)).astype(np.float32)
        self.coverage: Float = np.where(self._empty, 0.0, total).astype(np.float32)

    def __call__(self, maps: npt.ArrayLike, *, fill: float = np.nan) -> Float:
        """(H, W) float32: the mean map; ``fill`` where there is no tile.

        Parameters
        ----------
        maps : (r, h, w) float
            Of the tiles ``rows``. NaN cells count as not there.
        fill : float
        """
        values = self._checked(maps)
        empty, inverse = self._empty, self._inverse
        gaps = np.isnan(values)
        if gaps.any():
            values = np.where(gaps, np.float32(0), values)
            there = self._total - self._sum(gaps.astype(np.float32))
            empty = there < _LEAST_COVERAGE
            inverse = (1.0 / np.where(empty, 1.0, there)).astype(np.float32)
        mean = self._sum(values)
        mean *= inverse
        mean[empty] = fill
        return mean

    def total(self, maps: npt.ArrayLike) -> Float:
        """(H, W) float32: the sum of the cells' shares; :meth:`mean` of the sum of totals over parts of
        the tiles is the map of all. Maps as for a call, without NaN."""
        return self._sum(self._checked(maps))

    def mean(self, total: Float, *, fill: float = np.nan) -> Float:
        """The mean map (H, W) from the total of all tiles."""
        mean: Float = total * self._inverse
        mean[self._empty] = fill
        return mean

    def _checked(self, maps: npt.ArrayLike) -> Float:
        values = np.asarray(maps, dtype=np.float32)
        if values.shape != (len(self.rows), *self.grid):
            raise InvalidInput(
                f"{len(self.rows)} tiles meet the view, with maps of {self.grid[0]} x {self.grid[1]}; "
                f"got maps of shape {values.shape}. Give those of Stitcher.rows."
            )
        return values

    def _sum(self, values: Float) -> Float:
        if len(self._parts) == 1:
            return np.asarray(self._parts[0].sum(values), dtype=np.float32)
        total = np.zeros(self.shape, dtype=np.float32)
        for part in self._parts:
            total += part.sum(values)
        return total


def stitch(
    maps: npt.ArrayLike,
    boxes: npt.ArrayLike,
    view: npt.ArrayLike,
    shape: tuple[int, int],
    *,
    fill: float = np.nan,
) -> tuple[Float, Float]:
    """One raster of many maps; for several maps of one view keep a :class:`Stitcher`.

    Parameters
    ----------
    maps : (m, h, w) float
        NaN cells count as not there.
    boxes : (m, 4) float
        x0, y0, x1, y1 of each, level-0 px.
    view : (4,) float
        Part of the slide that the raster shows.
    shape : (H, W)
    fill : float
        Where there is no tile.

    Returns
    -------
    values : (H, W) float32
        Mean by area of all cells over each pixel.
    coverage : (H, W) float32
        Mean number of tiles over each pixel, see :class:`Stitcher`.
    """
    values = np.asarray(maps, dtype=np.float32)
    if values.ndim != 3 or len(values) != len(_boxes(boxes)):
        raise InvalidInput(
            f"Maps have shape (m, h, w), one for each of the {len(_boxes(boxes))} boxes; got "
            f"{values.shape}."
        )
    made = Stitcher(boxes, values.shape[1:], view, shape)
    return made(values[made.rows], fill=fill), made.coverage


def stitch_winner(
    weights: npt.ArrayLike,
    boxes: npt.ArrayLike,
    view: npt.ArrayLike,
    shape: tuple[int, int],
    background: float = 0.0,
) -> tuple[npt.NDArray[np.uint8], Float]:
    """Which factor wins each pixel, and its weight there.

    Parameters
    ----------
    weights : (m, k, h, w) float, k of at most 254
    boxes, view, shape
        As for :func:`stitch`.
    background : float
        A pixel has a winner where the total weight exceeds it.

    Returns
    -------
    winner : (H, W) uint8
        255 where there is none.
    weight : (H, W) float32
        Mean weight of the winner; 0 where there is none.
    """
    values = np.asarray(weights, dtype=np.float32)
    if values.ndim != 4 or len(values) != len(_boxes(boxes)):
        raise InvalidInput(
            f"Weights have shape (m, k, h, w), one for each of the {len(_boxes(boxes))} boxes; got "
            f"{values.shape}."
        )
    made = Stitcher(boxes, values.shape[2:], view, shape)
    k = values.shape[1]
    return winner_of(
        (made(values[made.rows, i], fill=0.0) for i in range(k)), made.shape, background
    )


def winner_of(
    columns: Iterator[Float], shape: tuple[int, int], background: float = 0.0
) -> tuple[npt.NDArray[np.uint8], Float]:
    """The same from stitched maps ``(H, W)`` of each factor, 0 where there is no tile."""
    winner = np.full(shape, NONE, dtype=np.uint8)
    best = np.zeros(shape, dtype=np.float32)
    total = np.zeros(shape, dtype=np.float32)
    for i, column in enumerate(columns):
        if i >= NONE:
            raise InvalidInput(f"More than {NONE - 1} factors cannot be told apart in one byte.")
        total += column
        ahead = column > best
        winner[ahead] = i
        np.maximum(best, column, out=best)
    lost = ~(total > background)
    winner[lost] = NONE
    best[lost] = 0.0
    return winner, best


# -- borders -----------------------------------------------------------------------------
def _boxes(boxes: npt.ArrayLike) -> Float64:
    places = np.asarray(boxes, dtype=np.float64)
    if places.size == 0:
        return np.empty((0, 4))
    if places.ndim != 2 or places.shape[1] != 4:
        raise InvalidInput(f"Boxes have shape (m, 4): x0, y0, x1, y1; got {places.shape}.")
    return places


def _view(view: npt.ArrayLike) -> tuple[float, float, float, float]:
    corners = np.asarray(view, dtype=np.float64)
    if corners.shape != (4,) or not np.isfinite(corners).all():
        raise InvalidInput("A view is four finite numbers x0, y0, x1, y1 in level-0 px.")
    x0, y0, x1, y1 = (float(v) for v in corners)
    if not (x1 > x0 and y1 > y0):
        raise InvalidInput(
            f"The view {x0:g}, {y0:g}, {x1:g}, {y1:g} is empty: x0 < x1 and y0 < y1."
        )
    return x0, y0, x1, y1


def _shape(shape: tuple[int, int]) -> tuple[int, int]:
    whole = len(shape) == 2 and all(isinstance(v, int | np.integer) and v > 0 for v in shape)
    if not whole or int(shape[0]) * int(shape[1]) > MOST_PIXELS:
        raise InvalidInput(
            f"A raster has shape (H, W) of at least 1 and at most {MOST_PIXELS:,} pixels; got "
            f"{tuple(shape)}."
        )
    return int(shape[0]), int(shape[1])


def _grid(grid: tuple[int, ...]) -> tuple[int, int]:
    if len(grid) != 2 or min(grid) < 1:
        raise InvalidInput(f"Maps on a slide are (h, w); got a grid of {tuple(grid)}.")
    return int(grid[0]), int(grid[1])


# -- plans -------------------------------------------------------------------------------
def _plan(
    pixels: Float64, grid: tuple[int, int], shape: tuple[int, int]
) -> Iterator[_Lattice | _Scattered]:
    """Lattices of tiles of one size, and what stands too far from any."""
    if not len(pixels):
        return
    # Edges are whole level-0 px or products of a few floats: equal ones are equal to the last bits.
    snapped = np.round(pixels, 9)
    count, kind = _same(np.round(snapped[:, 2:] - snapped[:, :2], 6))
    for i in range(count):
        rows = np.flatnonzero(kind == i)
        while len(rows):
            part = snapped[rows]
            # Of one size: where they begin tells where they end.
            _, at_x, column = np.unique(part[:, 0], return_index=True, return_inverse=True)
            _, at_y, line = np.unique(part[:, 1], return_index=True, return_inverse=True)
            xs, ys = part[at_x][:, [0, 2]], part[at_y][:, [1, 3]]
            if len(xs) * len(ys) > _SPARSEST * len(rows) + 64:
                yield _Scattered(rows, part, grid, shape)
                break
            # Tiles at one and the same place go into a further lattice.
            _, first = np.unique(line * len(xs) + column, return_index=True)
            yield _Lattice(rows[first], line[first], column[first], ys, xs, grid, shape)
            rows = np.delete(rows, first)


def _same(pairs: Float64) -> tuple[int, Int64]:
    """How many different rows (m, 2) has, and the number of each row's kind."""
    _, a = np.unique(pairs[:, 0], return_inverse=True)
    _, b = np.unique(pairs[:, 1], return_inverse=True)
    values, kind = np.unique(a * (int(b.max(initial=0)) + 1) + b, return_inverse=True)
    return len(values), kind


class _Scattered:
    """Tiles that stand anywhere: every pair of a cell and a pixel it touches.

    The pairs are kept as a sparse matrix (pixels, cells) from the first map on, as long as they are
    not too many; then each map is one product.
    """

    def __init__(
        self, rows: Int64, boxes: Float64, grid: tuple[int, int], shape: tuple[int, int]
    ) -> None:
        self.rows, self._boxes, self._grid, self._shape = rows, boxes, grid, shape
        self._matrix: Any = None

    def coverage(self) -> Float64:
        total = np.zeros(self._shape[0] * self._shape[1])
        for _, pixel, weight in self._pairs(self._boxes, (1, 1)):
            total += np.bincount(pixel, weight, minlength=len(total))
        return total.reshape(self._shape)

    def sum(self, values: Float) -> Float64:
        flat = values[self.rows].reshape(-1)
        if self._matrix is None and self._count() <= _KEPT_PAIRS:
            self._matrix = self._as_matrix(len(flat))
        if self._matrix is not None:
            found: Float64 = self._matrix @ flat
            return found.reshape(self._shape)
        total = np.zeros(self._shape[0] * self._shape[1])
        for cell, pixel, weight in self._pairs(self._boxes, self._grid):
            total += np.bincount(pixel, weight * flat[cell], minlength=len(total))
        return total.reshape(self._shape)

    def _as_matrix(self, cells: int) -> Any:
        from scipy import sparse

        parts = [
            (cell.astype(np.int32), pixel.astype(np.int32), weight.astype(np.float32))
            for cell, pixel, weight in self._pairs(self._boxes, self._grid)
        ]
        cell, pixel, weight = (
            np.concatenate([part[i] for part in parts]) if parts else np.empty(0) for i in range(3)
        )
        shape = (self._shape[0] * self._shape[1], cells)
        return sparse.csr_matrix((weight, (pixel, cell)), shape=shape)

    def _per_tile(self, grid: tuple[int, int]) -> Float64:
        """Pairs of each tile, at most."""
        high, wide = self._shape
        span = np.ceil(self._boxes[:, 2:]) - np.floor(self._boxes[:, :2])
        span = np.minimum(span, np.array([wide, high])) + np.array([grid[1], grid[0]])
        pairs: Float64 = span[:, 0] * span[:, 1]
        return pairs

    def _count(self) -> float:
        return float(self._per_tile(self._grid).sum())

    def _pairs(
        self, boxes: Float64, grid: tuple[int, int]
    ) -> Iterator[tuple[Int64, Int64, Float64]]:
        """Cells (numbered through), pixels and the shares of the pixels, some tiles at a time."""
        (high, wide), (h, w) = self._shape, grid
        pairs = np.cumsum(self._per_tile(grid))
        start = 0
        while start < len(pairs):
            done = pairs[start - 1] if start else 0.0
            stop = max(int(np.searchsorted(pairs, done + _PAIRS, side="right")), start + 1)
            part = boxes[start:stop]
            tx, px, sx = _overlaps(part[:, 0], part[:, 2], w, wide)
            ty, py, sy = _overlaps(part[:, 1], part[:, 3], h, high)
            # Join the two lists, both in order of the tiles, on the tile.
            first = np.searchsorted(ty // h, np.arange(len(part) + 1))
            counts = np.diff(first)[tx // w]
            across = np.repeat(np.arange(len(tx)), counts)
            down = np.arange(len(across)) - np.repeat(np.cumsum(counts) - counts, counts)
            down += first[tx // w][across]
            cell = ((start + tx // w) * (h * w) + tx % w)[across] + ((ty % h) * w)[down]
            yield cell, (py * wide)[down] + px[across], sx[across] * sy[down]
            start = stop


class _Lattice:
    """Tiles in columns and rows, at most one a place."""

    def __init__(
        self,
        rows: Int64,
        line: Int64,
        column: Int64,
        ys: Float64,
        xs: Float64,
        grid: tuple[int, int],
        shape: tuple[int, int],
    ) -> None:
        self.rows, self._line, self._column = rows, line, column
        self._places = (len(ys), len(xs))
        self._grid = grid
        self._down = _axis_matrix(ys, grid[0], shape[0])  # (H, lines * h)
        self._across = _axis_matrix(xs, grid[1], shape[1])  # (W, columns * w)
        self._tiles = (_axis_matrix(ys, 1, shape[0]), _axis_matrix(xs, 1, shape[1]))
        # The product along the axis that shrinks more goes first.
        costs = (shape[0] * self._across.shape[1], shape[1] * self._down.shape[1])
        self._down_first = costs[0] <= costs[1]
        whole = np.all(np.diff(rows) == 1) if len(rows) else False
        self._slice = slice(int(rows[0]), int(rows[-1]) + 1) if whole else None

    def coverage(self) -> Float64:
        there = np.zeros(self._places, dtype=np.float64)
        there[self._line, self._column] = 1.0
        down, across = self._tiles
        found: Float64 = across @ (down @ there).T
        return found.T

    def sum(self, values: Float) -> Float:
        (lines, columns), (h, w) = self._places, self._grid
        canvas = np.zeros((lines, h, columns, w), dtype=np.float32)
        chosen = values[self.rows] if self._slice is None else values[self._slice]
        canvas[self._line, :, self._column, :] = chosen
        flat = canvas.reshape(lines * h, columns * w)
        if self._down_first:
            total = (self._across @ (self._down @ flat).T).T
        else:
            total = self._down @ np.ascontiguousarray((self._across @ flat.T).T)
        found: Float = total
        return found


def _axis_matrix(edges: Float64, cells: int, pixels: int) -> Any:
    """(pixels, len(edges) * cells) sparse: share of each pixel that each cell covers."""
    from scipy import sparse

    cell, pixel, share = _overlaps(edges[:, 0], edges[:, 1], cells, pixels)
    return sparse.csr_matrix(
        (share.astype(np.float32), (pixel, cell)), shape=(pixels, len(edges) * cells)
    )


def _overlaps(low: Float64, high: Float64, cells: int, pixels: int) -> tuple[Int64, Int64, Float64]:
    """Cells (numbered through), pixels, and the share of the pixel: all pairs that touch."""
    steps = np.arange(cells + 1) / cells
    edges = low[:, None] * (1 - steps) + high[:, None] * steps
    start = np.clip(edges[:, :-1].reshape(-1), 0, pixels)
    stop = np.clip(edges[:, 1:].reshape(-1), 0, pixels)
    first = np.floor(start).astype(np.int64)
    counts = np.where(stop > start, np.ceil(stop).astype(np.int64) - first, 0)
    cell = np.repeat(np.arange(len(start)), counts)
    pixel = np.arange(len(cell)) - np.repeat(np.cumsum(counts) - counts, counts) + first[cell]
    share = np.minimum(stop[cell], pixel + 1) - np.maximum(start[cell], pixel)
    return cell, pixel, share
