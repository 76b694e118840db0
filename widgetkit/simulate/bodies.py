"""Shapes of abnormalities: how far the edge is from the centre, in every direction."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

#: Names as radiologists have them; "elongated" is three times as long as wide.
SHAPES = ("round", "elongated", "spiculated")
ELONGATION = 3.0
#: Lobes: number in the plane and in space, least and largest height, sharpness.
_LOBES = {"round": (5, 9, -0.06, 0.06, 4.0), "spiculated": (9, 26, 0.5, 1.3, 40.0)}


@dataclass(frozen=True, eq=False)
class Body:
    """A body that is star-shaped round its centre, of the volume of a ball of ``diameter`` mm.

    ``radius(u) = size * (1 + sum_j height_j exp(sharp (u . lobe_j - 1)))``, for elongated ones
    that of an ellipsoid. Bodies of all shapes have the same volume (in the plane: area), so shape
    is not a matter of size.
    """

    dims: int
    size: float
    lobes: Floats
    heights: Floats
    sharp: float
    axis: Floats | None

    def radius(self, directions: Floats) -> Floats:
        """mm to the edge along unit vectors ``(..., dims)``."""
        return (
            self.size * _relative(directions, self.lobes, self.heights, self.sharp, self.axis)
        ).astype(np.float32)

    @property
    def reach(self) -> float:
        """No point is further from the centre, mm."""
        return float(self.radius(_directions(self.dims)).max())

    def share(self, offsets: Floats, edge: float) -> Floats:
        """How much of the body there is at ``offsets (..., dims)`` mm from its centre, 0 to 1.

        Falls from 1 to 0 over ``edge`` mm round the radius; one half at it.
        """
        distance = np.linalg.norm(offsets, axis=-1)
        directions = offsets / np.maximum(distance, 1e-6)[..., None]
        within = (self.radius(directions) - distance) / max(edge, 1e-6) + 0.5
        share: Floats = np.clip(within, 0, 1).astype(np.float32)
        return share


def body(shape: str, diameter: float, dims: int, rng: np.random.Generator) -> Body:
    """A body of one of :data:`SHAPES`; its lobes, spicules and tilt come from ``rng``."""
    lobes, heights = np.zeros((0, dims), np.float32), np.zeros(0, np.float32)
    sharp, axis = 1.0, None
    if shape == "elongated":
        # lengthwise in the patient: front to back in a slice, feet to head in a volume
        tilt = rng.normal(0, 0.15, dims)
        tilt[0] = 1.0
        axis = (tilt / np.linalg.norm(tilt)).astype(np.float32)
    else:
        flat, solid, low, high, sharp = _LOBES[shape]
        count = flat if dims == 2 else solid
        lobes = _spread(count, dims, rng)
        heights = rng.uniform(low, high, count).astype(np.float32)
    everywhere = _relative(_directions(dims), lobes, heights, sharp, axis)
    content = float((everywhere.astype(np.float64) ** dims).mean())
    size = diameter / 2 / content ** (1 / dims)
    return Body(dims, size, lobes, heights, sharp, axis)


def _relative(
    directions: Floats, lobes: Floats, heights: Floats, sharp: float, axis: Floats | None
) -> Floats:
    if axis is not None:
        along = (directions @ axis) ** 2
        relative: Floats = 1 / np.sqrt(along / ELONGATION**2 + np.clip(1 - along, 0, None))
        return relative
    out: Floats = np.ones(directions.shape[:-1], np.float32)
    for lobe, height in zip(lobes, heights, strict=True):
        out += height * np.exp(sharp * (directions @ lobe - 1))
    return out


def _directions(dims: int, count: int | None = None) -> Floats:
    """Unit vectors that cover the circle or the sphere evenly."""
    n = count or (720 if dims == 2 else 4000)
    i = np.arange(n) + 0.5
    if dims == 2:
        angle = 2 * np.pi * i / n
        return np.stack([np.sin(angle), np.cos(angle)], -1).astype(np.float32)
    z, turn = 1 - 2 * i / n, math.pi * (1 + math.sqrt(5)) * i
    ring = np.sqrt(1 - z**2)
    return np.stack([z, ring * np.sin(turn), ring * np.cos(turn)], -1).astype(np.float32)


def _spread(count: int, dims: int, rng: np.random.Generator) -> Floats:
    """Directions that keep some distance: even ones, turned at random and shaken a little."""
    turned, _ = np.linalg.qr(rng.normal(size=(dims, dims)))
    shaken = _directions(dims, count) @ turned + rng.normal(0, 0.12, (count, dims))
    unit: Floats = (shaken / np.linalg.norm(shaken, axis=1, keepdims=True)).astype(np.float32)
    return unit
