"""Draws one lesion: what each concept does to three phases after contrast, and where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from widgetkit.simulate.bodies import Body, body
from widgetkit.simulate.liver_background import FINE_SHAPE, Parenchyma
from widgetkit.simulate.liver_canvas import (
    BLOOD,
    LIVER,
    Bools,
    Canvas,
    Drawn,
    Floats,
    Levels,
    Scan,
    lengths,
)
from widgetkit.simulate.liver_patterns import (
    CAPSULE,
    CONCEPTS,
    CORE,
    FIBROSIS,
    FILLING,
    FLUID,
    HYPER,
    INFILTRATIVE,
    LATE_ISO,
    NECROSIS,
    NODULES,
    POOL,
    RIM,
    SCAR,
    WASHOUT,
)

#: What most of a lesion looks like that does nothing of the below, and one that holds water.
HYPO: Levels = (0.50, 0.72, 0.70)
WATER: Levels = (0.22, 0.24, 0.25)
#: What a lesion does that lights up in the arterial phase, by what it does later.
BRIGHT: dict[str, Levels] = {
    "": (1.06, 1.16, 1.06),
    WASHOUT: (1.06, 0.78, 0.65),
    LATE_ISO: (1.08, 1.02, 0.93),
}
DARKENS: Levels = (0.68, 0.78, 0.64)
#: Structures in it; None leaves a phase as it is.
RING: Levels = (1.02, 1.06, 0.90)
SHELL = (None, 1.10, 1.34)
SCARRED: Levels = (0.42, 0.64, 0.70)
FIBROUS: Levels = (0.50, 0.86, 1.20)
DARK_CORE: Levels = (0.32, 0.44, 0.48)
#: Edges of smooth and of infiltrating lesions, mm.
EDGE_MM, FUZZY_MM = 1.2, 5.5
#: Relative deviation, from lesion to lesion, of how far a structure's grey is from its surroundings.
CONSPICUITY = 0.2


def lesion(
    shown: Bools,
    size_mm: float,
    ground: Parenchyma,
    scan: Scan,
    rng: np.random.Generator,
) -> Drawn:
    """One lesion that shows these concepts, in its surroundings, as scanned."""
    names = {name for name, there in zip(CONCEPTS, shown, strict=True) if there}
    canvas = Canvas(ground, scan, rng)
    canvas.vessels()
    _Lesion(canvas, names, size_mm, rng).paint()
    return canvas.scanned()


class _Lesion:
    """Its shape, and the structures in it in the order in which they hide one another."""

    def __init__(
        self, canvas: Canvas, names: set[str], size_mm: float, rng: np.random.Generator
    ) -> None:
        self.canvas, self.names, self.rng = canvas, names, rng
        self.radius = size_mm / 2
        self.centre = rng.normal(0, 1.2, 3).clip(-2.5, 2.5)
        smooth = body("round", size_mm, 3, rng)
        self.shape = _fringed(smooth, rng) if INFILTRATIVE in names else smooth
        self.offsets = canvas.offsets(self.centre)
        self.distance = lengths(self.offsets)
        directions = self.offsets / np.maximum(self.distance, np.float32(1e-6))[..., None]
        outline = self.shape.radius(directions.astype(np.float32, copy=False))
        #: mm to the edge, positive inside; and the way from the centre to the edge, 0 to 1
        self.depth = outline - self.distance
        self.way = self.distance / np.maximum(outline, np.float32(1e-6))
        edge = FUZZY_MM if INFILTRATIVE in names else EDGE_MM
        self.share: Floats = np.clip(self.depth / np.float32(edge) + 0.5, 0, 1).astype(np.float32)
        self.wobble = _waves(self.offsets, self.radius, rng)

    def paint(self) -> None:
        names = self.names
        self.canvas.lesion = self.share
        base = self._body()
        if INFILTRATIVE in names:
            # the margin is where lesion and liver mix
            mixed = (self.share > 0.06) & (self.share < 0.94)
            self.canvas.shares[INFILTRATIVE] = mixed.astype(np.float32)
        if RIM in names:
            thick = self.radius * self.rng.uniform(0.22, 0.34)
            ring = self._ramp(thick - self.depth, 1.0) * self.share
            self.canvas.paint(ring, self._varied(RING, base), (RIM,))
        if CORE in names:
            reach = self.rng.uniform(0.45, 0.62)
            inner = self._ramp((reach - self.way + 0.08 * self.wobble) * self.radius, 2.0)
            self.canvas.paint(inner * self.share, self._varied(DARK_CORE, base), (CORE,))
        if FIBROSIS in names and SCAR not in names:
            reach = self.rng.uniform(0.5, 0.68)
            inner = self._ramp((reach - self.way + 0.1 * self.wobble) * self.radius, 2.5)
            self.canvas.paint(inner * self.share, self._varied(FIBROUS, base), (FIBROSIS,))
        if SCAR in names:
            levels = (*SCARRED[:2], FIBROUS[2]) if FIBROSIS in names else SCARRED
            own = (SCAR, FIBROSIS) if FIBROSIS in names else (SCAR,)
            self.canvas.paint(self._star(), self._varied(levels, base), own, texture=0.2)
        if NECROSIS in names:
            self.canvas.paint(
                self._holes(), self._varied(WATER, base, 0.5), (NECROSIS,), texture=0.2
            )
        if CAPSULE in names:
            half = self.rng.uniform(1.1, 1.6)
            shell = self._ramp(half - np.abs(self.depth), 0.8)
            self.canvas.paint(shell, self._varied(SHELL, LIVER), (CAPSULE,), texture=0.2)

    def _body(self) -> Levels:
        """Paint what most of it does; its levels."""
        names, rng = self.names, self.rng
        if FLUID in names:
            self.canvas.paint(self.share, self._varied(WATER, LIVER, 0.5), (FLUID,), texture=0.1)
            wall = self._ramp(np.float32(0.6) - np.abs(self.depth - 0.3), 0.6)
            self.canvas.paint(np.float32(0.8) * wall, (0.78, 1.08, 1.0), covers=False, texture=0.0)
            return WATER
        if NODULES in names:
            return self._vascular()
        if POOL in names:
            own = self._varied(BLOOD, LIVER, 0.5)
            self.canvas.paint(self.share, own, (HYPER, POOL))
            return BLOOD
        if HYPER in names:
            late = WASHOUT if WASHOUT in names else LATE_ISO if LATE_ISO in names else ""
            own = self._varied(BRIGHT[late], LIVER)
        elif WASHOUT in names:
            late, own = WASHOUT, self._varied(DARKENS, LIVER)
        else:
            late, own = "", self._varied(HYPO, LIVER)
        concepts = [name for name in (HYPER, WASHOUT, LATE_ISO) if name in names]
        self.canvas.paint(self.share, own, concepts, texture=rng.uniform(0.6, 1.2))
        return (float(own[0] or 0), float(own[1] or 0), float(own[2] or 0))

    def _vascular(self) -> Levels:
        """Haemangioma: nodules at the edge as bright as vessels; the rest fills from there, or not."""
        names, rng = self.names, self.rng
        dark: Levels = (0.46, 0.62, 0.64)
        self.canvas.paint(self.share, self._varied(dark, LIVER, 0.5))
        full = rng.uniform(0.92, 1.02) if POOL in names else rng.uniform(0.80, 0.87)
        bright = [float(level * full) for level in BLOOD]
        if FILLING in names:
            begun, ended = rng.uniform(0.5, 0.68), rng.uniform(0.08, 0.36)
            fronts = [
                self._ramp((self.way - front + 0.1 * self.wobble) * self.radius, 1.5) * self.share
                for front in (begun, ended)
            ]
            own = (FILLING, POOL) if POOL in names else (FILLING,)
            self.canvas.paint(fronts[0], (None, bright[1], None), ())
            self.canvas.paint(fronts[1], (None, None, bright[2]), own)
        knots = np.zeros(FINE_SHAPE, np.float32)
        for direction in _directions(int(rng.integers(4, 8)), rng):
            size = self.radius * rng.uniform(0.24, 0.38)
            at = direction * (self.radius - 0.75 * size)
            near = lengths(self.offsets - at.astype(np.float32))
            knots = np.maximum(knots, self._ramp(size - near, 1.0))
        own = (NODULES, POOL) if POOL in names else (NODULES,)
        self.canvas.paint(knots * self.share, bright, own)
        return dark

    def _varied(
        self, levels: Sequence[float | None], around: Sequence[float], spread: float = 1.0
    ) -> list[float | None]:
        """Levels whose distance from ``around`` is more or less than usual."""
        factor = 1 + spread * CONSPICUITY * float(self.rng.normal(0, 1, 1).clip(-2, 2)[0])
        shift = self.rng.normal(0, 0.03, 3)
        return [
            None if level is None else max(0.08, base + factor * (level - base) + float(s) * spread)
            for level, base, s in zip(levels, around, shift, strict=True)
        ]

    def _ramp(self, inside: Any, edge: float) -> Floats:
        """1 where ``inside`` (mm) is well above 0, 0 where well below."""
        share: Floats = np.clip(inside / np.float32(edge) + np.float32(0.5), 0, 1).astype(
            np.float32
        )
        return share

    def _star(self) -> Floats:
        """Arms from the centre."""
        rng = self.rng
        half = rng.uniform(1.6, 2.3) * max(0.75, min(1.3, self.radius / 12))
        star = self._ramp(1.5 * half - self.distance, 1.0)
        for direction in _directions(int(rng.integers(4, 7)), rng):
            tip = direction * self.radius * rng.uniform(0.45, 0.75)
            length = float(np.linalg.norm(tip))
            along = np.clip(self.offsets @ (tip / length).astype(np.float32), 0, length)
            points = along[..., None] * (tip / length).astype(np.float32)
            beside = lengths(self.offsets - points)
            star = np.maximum(star, self._ramp(half * (1 - 0.4 * along / length) - beside, 1.0))
        return star * self.share

    def _holes(self) -> Floats:
        """Ragged holes away from the edge."""
        rng = self.rng
        holes = np.zeros(FINE_SHAPE, np.float32)
        for direction in _directions(int(rng.integers(2, 4)), rng):
            at = direction * self.radius * rng.uniform(0.1, 0.45)
            size = self.radius * rng.uniform(0.24, 0.36)
            near = lengths(self.offsets - at.astype(np.float32))
            ragged = size * (1 + np.float32(0.35) * self.wobble) - near
            holes = np.maximum(holes, self._ramp(ragged, 1.0))
        return holes * self.share


def _fringed(smooth: Body, rng: np.random.Generator) -> Body:
    """The same volume with tongues that reach into the liver."""
    lobes = np.concatenate([smooth.lobes, _directions(14, rng).astype(np.float32)])
    heights = np.concatenate([smooth.heights, rng.uniform(0.12, 0.5, 14).astype(np.float32)])
    raw = Body(3, 1.0, lobes, heights, 14.0, None)
    everywhere = raw.radius(_directions(2000, rng).astype(np.float32)).astype(np.float64)
    plain = Body(3, 1.0, smooth.lobes, smooth.heights, smooth.sharp, None)
    before = plain.radius(_directions(2000, rng).astype(np.float32)).astype(np.float64)
    size = smooth.size * ((before**3).mean() / (everywhere**3).mean()) ** (1 / 3)
    return Body(3, float(size), lobes, heights, 14.0, None)


def _directions(count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Unit vectors, spread out by a golden spiral that is turned and shaken."""
    i = np.arange(count) + 0.5
    z, turn = 1 - 2 * i / count, np.pi * (1 + 5**0.5) * i
    ring = np.sqrt(1 - z**2)
    even = np.stack([z, ring * np.sin(turn), ring * np.cos(turn)], -1)
    turned, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    shaken = even @ turned + rng.normal(0, 0.25, (count, 3))
    unit: npt.NDArray[np.float64] = shaken / np.linalg.norm(shaken, axis=1, keepdims=True)
    return unit


def _waves(offsets: Floats, radius: float, rng: np.random.Generator) -> Floats:
    """Smooth irregularity of deviation 1 at about a third of the lesion's size."""
    total = np.zeros(offsets.shape[:-1], np.float32)
    for direction in _directions(6, rng):
        frequency = np.float32(2 * np.pi / (radius * rng.uniform(0.6, 1.3)))
        phase = np.float32(rng.uniform(0, 2 * np.pi))
        total += np.sin(frequency * (offsets @ direction.astype(np.float32)) + phase)
    return total / np.float32(np.sqrt(3))
