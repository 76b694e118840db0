"""Areas of a map as polygons in the slide's own pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput
from widgetkit.slides.export_frame import RasterFrame
from widgetkit.slides.export_outline import Area, level_lines, outlines, signed_area
from widgetkit.slides.export_simplify import MOST, simplified

Float64 = npt.NDArray[np.float64]

#: Points per cell that coordinates are rounded to, at least.
_FINENESS = 1024
_MOST_DECIMALS = 6


@dataclass(frozen=True, eq=False)
class Polygon:
    """An area with holes, in level-0 px.

    Attributes
    ----------
    outer : (v, 2) float64
        x, y of the corners, not closed; signed area positive.
    holes : tuple of (v, 2) float64
        Signed area negative. A hole may touch the outer ring or another hole at one corner.
    """

    outer: Float64
    holes: tuple[Float64, ...] = ()

    @property
    def area(self) -> float:
        """In level-0 px^2, without the holes."""
        return signed_area(self.outer) + sum(signed_area(hole) for hole in self.holes)


def contours(
    values: npt.ArrayLike,
    threshold: float,
    *,
    downsample: float | Sequence[float] = 1.0,
    origin: Sequence[float] = (0.0, 0.0),
    tolerance: float = 0.0,
    least_area: float = 0.0,
) -> list[Polygon]:
    """Areas where a map exceeds a threshold, with smooth borders.

    Between the centres of cells the map runs linearly. An area ends at the raster's edge and half
    way to the centre of a cell without a tile.

    Parameters
    ----------
    values : (H, W) float
        NaN where there is no tile.
    threshold : float
    downsample, origin
        See :class:`RasterFrame`.
    tolerance : float
        Level-0 px. No border is moved further when corners are left out. Where leaving one out
        would make an area invalid (crossing, touching, a hole outside), it stays.
    least_area : float
        Level-0 px^2: smaller islands are left out, smaller holes are filled.

    Returns
    -------
    list of Polygon
        They do not overlap, and each is valid (OGC Simple Features).

    Raises
    ------
    InvalidInput
        The map, the threshold or a size is not one.
    """
    array = np.asarray(values)
    if array.ndim != 2 or not array.size or array.dtype.kind not in "fiu":
        raise InvalidInput(
            f"A map is (H, W) numbers and not empty; got {array.dtype} of {array.shape}."
        )
    if not math.isfinite(threshold):
        raise InvalidInput(f"The threshold is a finite number; got {threshold}.")
    if np.isinf(array).any():
        raise InvalidInput("The map holds infinity: there is no line between it and a number.")
    frame = RasterFrame.of(None, downsample, origin)
    areas = level_lines(array, float(threshold))
    return _polygons(areas, array.shape, frame, tolerance, least_area)


def outline(
    winner: npt.ArrayLike,
    factor: int,
    *,
    downsample: float | Sequence[float] = 1.0,
    origin: Sequence[float] = (0.0, 0.0),
    tolerance: float = 0.0,
    least_area: float = 0.0,
) -> list[Polygon]:
    """Areas that one factor wins, along the edges of their cells.

    With ``tolerance=0`` their area is exactly that of the cells. Cells that touch only at a corner
    belong to different polygons.

    Parameters
    ----------
    winner : (H, W) uint8
        Number of the factor that wins each cell, 255 where none does.
    factor : int
    downsample, origin, tolerance, least_area
        As for :func:`contours`. With a tolerance, areas of neighbouring factors may overlap or
        leave gaps of up to twice that width.

    Returns
    -------
    list of Polygon
    """
    cells = np.asarray(winner)
    if cells.ndim != 2 or not cells.size or cells.dtype != np.uint8:
        raise InvalidInput(
            f"A map of winners is (H, W) uint8 and not empty; got {cells.dtype} of {cells.shape}."
        )
    if isinstance(factor, bool) or not isinstance(factor, int | np.integer):
        raise InvalidInput(f"A factor is given by its number; got {factor!r}.")
    if not 0 <= factor < 255:
        raise InvalidInput(f"Factors are numbered 0 to 254; got {factor}.")
    frame = RasterFrame.of(None, downsample, origin)
    return _polygons(outlines(cells == factor), cells.shape, frame, tolerance, least_area)


def _polygons(
    areas: list[Area],
    shape: tuple[int, ...],
    frame: RasterFrame,
    tolerance: float,
    least_area: float,
) -> list[Polygon]:
    for name, number in (("tolerance", tolerance), ("least_area", least_area)):
        if not (math.isfinite(number) and number >= 0):
            raise InvalidInput(f"{name} is 0 or a positive number of level-0 px; got {number}.")
    decimals = _decimals(shape, frame)
    unit = 10**decimals
    step, corner = np.array(frame.downsample), np.array(frame.origin)
    # Relative to the origin: numbers stay small, and the rounding is the same wherever the map lies.
    rings: list[npt.NDArray[np.int64]] = []
    owner: list[int] = []
    smallest = least_area / float(step.prod())
    for outer, holes in areas:
        if signed_area(outer) < smallest:
            continue
        owner.append(len(rings))
        for ring in (outer, *(h for h in holes if -signed_area(h) >= smallest)):
            rings.append(np.rint(ring * step * unit).astype(np.int64))
    shift = np.rint(corner * unit)
    slim = [(ring + shift) / unit for ring in simplified(rings, tolerance * unit)]
    ends = [*owner[1:], len(rings)] if owner else []
    return [Polygon(slim[i], tuple(slim[i + 1 : end])) for i, end in zip(owner, ends, strict=True)]


def _decimals(shape: tuple[int, ...], frame: RasterFrame) -> int:
    """Decimals of a level-0 px that tell corners apart, and whose numbers are exact to reckon with."""
    (dx, dy), (height, width) = frame.downsample, shape
    fine = max(0, math.ceil(math.log10(_FINENESS / min(dx, dy))))
    room = math.floor(math.log10(MOST / max(dx * width, dy * height)))
    if fine > min(room, _MOST_DECIMALS):
        raise InvalidInput(
            f"A map of {width} x {height} cells of {dx:g} x {dy:g} px is too fine or too large for "
            "exact borders. Export it in parts."
        )
    return fine
