"""Where a raster lies on its slide, and how large its pixels are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from widgetkit.errors import InvalidInput

Pair = tuple[float, float]


@dataclass(frozen=True)
class RasterFrame:
    """Place of a raster: cell ``(row, column)`` begins at ``origin + downsample * (column, row)``.

    Attributes
    ----------
    mpp : (float, float) or None
        Micrometres a level-0 pixel, x and y; None where not known.
    downsample : (float, float)
        Level-0 px for one cell of the raster, x and y.
    origin : (float, float)
        Level-0 px of the raster's upper left corner, x and y.
    """

    mpp: Pair | None = None
    downsample: Pair = (1.0, 1.0)
    origin: Pair = (0.0, 0.0)

    @classmethod
    def of(
        cls,
        mpp: float | Sequence[float] | None,
        downsample: float | Sequence[float],
        origin: Sequence[float],
    ) -> RasterFrame:
        """From what a caller gives: one number, or x and y. An mpp of NaN is not known.

        Raises
        ------
        InvalidInput
            Not one or two finite numbers; an mpp or downsample that is not above zero.
        """
        known = None
        if mpp is not None:
            known = _pair(mpp, "mpp")
            if any(math.isnan(v) for v in known):
                known = None
        step, corner = _pair(downsample, "downsample"), _pair(origin, "origin")
        for name, pair, least in (
            ("mpp", known or (1.0, 1.0), 0.0),
            ("downsample", step, 0.0),
            ("origin", corner, -math.inf),
        ):
            if not all(math.isfinite(v) and v > least for v in pair):
                above = "finite numbers" if least < 0 else "finite numbers above 0"
                raise InvalidInput(f"{name} is {pair[0]:g}, {pair[1]:g}: give {above}.")
        return cls(known, step, corner)

    @property
    def cell_um(self) -> Pair | None:
        """Width and height of a cell in micrometres."""
        if self.mpp is None:
            return None
        return self.mpp[0] * self.downsample[0], self.mpp[1] * self.downsample[1]

    def sentence(self) -> str:
        """How large a cell is and where the raster begins, in words."""
        (dx, dy), (x, y) = self.downsample, self.origin
        side = f"{dx:g}" if dx == dy else f"{dx:g} x {dy:g}"
        cell = self.cell_um
        um = ""
        if cell is not None:
            um = f" ({cell[0]:g} um)" if cell[0] == cell[1] else f" ({cell[0]:g} x {cell[1]:g} um)"
        return (
            f"One cell is {side} px of level 0{um}; the raster begins at level-0 px {x:g}, {y:g}."
        )


def _pair(value: float | Sequence[float], name: str) -> Pair:
    try:
        if isinstance(value, int | float):
            return float(value), float(value)
        found = tuple(float(v) for v in value)
    except (TypeError, ValueError):
        found = ()
    if len(found) != 2:
        raise InvalidInput(f"{name} is one number, or x and y; got {value!r}.")
    return found
