"""Which raster of a stitched map a browser is sent, and as which bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from widgetkit.widgets import wire

if TYPE_CHECKING:
    from widgetkit.session import SlideMap

Box = tuple[float, float, float, float]

#: Side of a raster, px: values and winner are at most 2 x 1 MB.
RASTER_MOST = 1024
#: Rasters begin and end at multiples of this, px: a small move of the view needs no other one.
_STEP = 64
#: A place on the grid of cells may be missed by this share of a cell.
_ALIGNED = 0.01


@dataclass(frozen=True)
class Cells:
    """The finest that a map has on a slide.

    Attributes
    ----------
    bounds : (x0, y0, x1, y1)
        Around all tiles of the slide, level-0 px.
    px : (float, float)
        Width and height of a pixel of the finest raster, level-0 px: a cell of the map where the
        tiles lie on one grid, half a cell elsewhere.
    """

    bounds: Box
    px: tuple[float, float]

    @classmethod
    def of(cls, boxes: npt.NDArray[np.float64], grid: tuple[int, int]) -> Cells:
        """Of tiles ``boxes`` (m, 4), m at least 1, with maps of ``grid`` (h, w)."""
        x0, y0 = boxes[:, :2].min(axis=0)
        x1, y1 = boxes[:, 2:].max(axis=0)
        sides = boxes[:, 2:] - boxes[:, :2]
        side = np.median(sides, axis=0)
        cell = side / (grid[1], grid[0])
        places = (boxes[:, :2] - (x0, y0)) / cell
        aligned = bool(
            (np.abs(places - np.rint(places)) < _ALIGNED).all()
            and (np.abs(sides - side) < _ALIGNED * cell).all()
        )
        width, height = cell if aligned else cell / 2
        return cls((float(x0), float(y0), float(x1), float(y1)), (float(width), float(height)))


@dataclass(frozen=True)
class Region:
    """A raster to ask for.

    Attributes
    ----------
    view : (x0, y0, x1, y1)
        Level-0 px.
    shape : (int, int)
        Height and width, px.
    zoom : int
        A pixel is ``2 ** zoom`` of the finest wide.
    whole : bool
        All of the slide, at the finest: no other raster of it says more.
    """

    view: Box
    shape: tuple[int, int]
    zoom: int
    whole: bool

    def serves(self, other: Region) -> bool:
        """Whether what ``other`` would show is in this one, as finely."""
        x0, y0, x1, y1 = self.view
        a0, b0, a1, b1 = other.view
        return self.zoom == other.zoom and x0 <= a0 and y0 <= b0 and x1 >= a1 and y1 >= b1


def plan(cells: Cells, seen: Box | None = None, screen: tuple[int, int] = (1024, 1024)) -> Region:
    """The raster for a view.

    Parameters
    ----------
    cells : Cells
    seen : (x0, y0, x1, y1), optional
        Part of the slide that the browser shows, level-0 px; all of it by default.
    screen : (int, int)
        Device px of the view, width and height.

    Returns
    -------
    Region
        All of the slide as finely as the map is, where that fits; else what is seen, as finely as
        the screen or, failing that, as :data:`RASTER_MOST` px allow. Never empty: where nothing of
        the tiles is seen, the whole slide, coarsely.
    """
    x0, y0, x1, y1 = cells.bounds
    extent = (x1 - x0, y1 - y0)
    part = (0.0, 0.0, *extent)
    if seen is not None:
        left, top = max(seen[0] - x0, 0.0), max(seen[1] - y0, 0.0)
        right, bottom = min(seen[2] - x0, extent[0]), min(seen[3] - y0, extent[1])
        if right > left and bottom > top:
            part = (left, top, right, bottom)
    zoom = 0
    if max(_pixels(extent[i], cells.px[i]) for i in (0, 1)) > RASTER_MOST:
        shown = (part[2] - part[0], part[3] - part[1])
        coarse = min(shown[i] / max(1, screen[i]) / cells.px[i] for i in (0, 1))
        zoom = max(0, math.floor(math.log2(max(coarse, 1.0))))
        while any(
            _pixels(shown[i], cells.px[i] * 2**zoom) > RASTER_MOST - 2 * _STEP
            and _pixels(extent[i], cells.px[i] * 2**zoom) > RASTER_MOST
            for i in (0, 1)
        ):
            zoom += 1
    px = [side * 2**zoom for side in cells.px]
    spans = [_span(part[i], part[i + 2], px[i], extent[i]) for i in (0, 1)]
    (c0, c1), (r0, r1) = spans
    view = (x0 + c0 * px[0], y0 + r0 * px[1], x0 + c1 * px[0], y0 + r1 * px[1])
    full = all(spans[i][0] == 0 and spans[i][1] == _pixels(extent[i], px[i]) for i in (0, 1))
    return Region(view, (r1 - r0, c1 - c0), zoom, full and zoom == 0)


def _pixels(length: float, px: float) -> int:
    # a length of 7 cells less rounding has 7 pixels, not 8
    return max(1, math.ceil(length / px - 1e-6))


def _span(low: float, high: float, px: float, extent: float) -> tuple[int, int]:
    """First and last pixel along one axis: all of it, or what is seen with as much around it."""
    total = _pixels(extent, px)
    if total <= RASTER_MOST:
        return 0, total
    first, last = math.floor(low / px), math.ceil(high / px)
    around = max(0, (RASTER_MOST - 2 * _STEP - (last - first)) // 4)
    first = max(0, (first - around) // _STEP * _STEP)
    last = min(total, -(-(last + around) // _STEP) * _STEP)
    return first, max(first + 1, min(last, first + RASTER_MOST))


def encode(result: SlideMap) -> tuple[bytes, bytes, dict[str, Any]]:
    """Values and winner as one byte a pixel, and what they mean.

    Returns
    -------
    values : bytes
        See :func:`wire.encode_grid`.
    winner : bytes
        Number of the cluster, 255 = none; empty for a map of one thing.
    info : dict
        JSON-able; ``view``, ``shape``, ``low``, ``high``, ``signed``, ``all``, ``title``, ...
    """
    low, high = float(result.vmin), float(result.vmax)
    winner = result.winner
    values = wire.encode_grid(result.values, low, high)
    info = {
        "view": [float(v) for v in result.view],
        "shape": [int(v) for v in result.values.shape],
        "low": low,
        "high": high,
        "signed": bool(result.signed),
        "all": winner is not None,
        "title": result.title,
        "units": result.units,
        "status": result.status,
    }
    return values, b"" if winner is None else np.ascontiguousarray(winner).tobytes(), info
