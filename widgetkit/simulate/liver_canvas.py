"""Liver in three phases to paint a lesion on, and the scanner that makes voxels of it.

All grey values are relative to normal liver in the portal venous phase, which is 1. Structures are
painted one over the other on a grid finer than the voxels; what a later one hides of an earlier
one no longer belongs to the earlier one's place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from widgetkit.simulate.liver_background import FINE, FINE_SHAPE, SHAPE, STEP, Parenchyma
from widgetkit.simulate.liver_patterns import CONCEPTS, INFILTRATIVE

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Levels = tuple[float, float, float]

#: Arterial, portal venous, delayed.
PHASES = ("arterial", "portal venous", "delayed")
LIVER: Levels = (0.70, 1.00, 0.92)
#: Vessels that carry contrast in all phases, as a lesion that holds blood does.
BLOOD: Levels = (1.12, 1.42, 1.22)
#: Largest grey value that 8 bits show.
WHITE = 1.75


@dataclass(frozen=True, eq=False)
class Scan:
    """How a lesion was scanned; all of it scaled by the nuisance of the simulation.

    Attributes
    ----------
    nuisance : float
        1 as scanners and patients are; 0 none of it.
    gain : float
        Of the receiver.
    marked : bool
        With the interference line of one of the scanners.
    """

    nuisance: float
    gain: float
    marked: bool


@dataclass(frozen=True, eq=False)
class Drawn:
    """Voxels: grey values (*SHAPE, 3) of 8 bits, places (14, *SHAPE), the lesion (*SHAPE)."""

    image: npt.NDArray[np.uint8]
    masks: Bools
    lesion: Bools


def mark_place() -> Bools:
    """Where the interference line of the marked scanner is, (*SHAPE): two columns near one edge."""
    place = np.zeros(SHAPE, bool)
    place[:, :, SHAPE[2] - 4 : SHAPE[2] - 2] = True
    return place


class Canvas:
    """Three phases on the fine grid, and the share of each structure in every point."""

    def __init__(self, ground: Parenchyma, scan: Scan, rng: np.random.Generator) -> None:
        self.rng, self.scan = rng, scan
        texture = ground.volume(rng)
        # arterial: the veins in the texture are not filled yet
        early = np.float32(0.8) * np.minimum(texture, np.float32(0.06))
        self.values = np.stack(
            [
                np.float32(level) * (1 + part)
                for level, part in zip(LIVER, (early, texture, texture), strict=True)
            ]
        )
        self.own = ground.volume(rng)  # the texture that lesions have
        self.shares: dict[str, Floats] = {}
        self.lesion: Floats = np.zeros(FINE_SHAPE, np.float32)
        middle = [(side - 1) / 2 for side in FINE_SHAPE]
        self.axes = [
            (np.arange(side, dtype=np.float32) - np.float32(centre)) * np.float32(step)
            for side, centre, step in zip(FINE_SHAPE, middle, STEP, strict=True)
        ]

    def offsets(self, centre: npt.ArrayLike) -> Floats:
        """mm from ``centre`` (mm from the middle of the crop), (*FINE_SHAPE, 3)."""
        z, y, x = (axis - c for axis, c in zip(self.axes, np.asarray(centre, float), strict=True))
        return np.stack(np.broadcast_arrays(z[:, None, None], y[:, None], x), -1).astype(np.float32)

    def paint(
        self,
        share: Floats,
        levels: Sequence[float | None],
        concepts: Sequence[str] = (),
        *,
        covers: bool = True,
        texture: float = 0.5,
    ) -> None:
        """Blend in a structure; it belongs to ``concepts``, and what it covers to no other any more."""
        for phase, level in enumerate(levels):
            if level is not None:
                inside = np.float32(level) * (1 + np.float32(texture) * self.own)
                self.values[phase] += share * (inside - self.values[phase])
        if covers:
            for name in self.shares:
                if name not in concepts and name != INFILTRATIVE:
                    self.shares[name] = self.shares[name] * (1 - share)
        for name in concepts:
            before = self.shares.get(name)
            self.shares[name] = share if before is None else np.maximum(before, share)

    def vessels(self) -> None:
        """One to three straight ones, as bright as blood is in each phase."""
        for _ in range(int(self.rng.integers(1, 4))):
            along = self.rng.normal(size=3)
            along /= np.linalg.norm(along)
            away = np.cross(along, self.rng.normal(size=3))
            away *= self.rng.uniform(8, 21) / np.linalg.norm(away)
            offsets = self.offsets(away)
            line = along.astype(np.float32)
            beside = lengths(offsets - (offsets @ line)[..., None] * line)
            radius = self.rng.uniform(0.9, 2.0)
            share = np.clip((radius - beside) / 1.0 + 0.5, 0, 1).astype(np.float32)
            level = np.array(BLOOD) * self.rng.uniform(0.85, 1.02)
            if self.rng.random() < 0.6:  # veins of the liver, not filled in the arterial phase
                level[0] = LIVER[0] * self.rng.uniform(0.75, 1.05)
            self.paint(share, level.tolist(), texture=0.2)

    def scanned(self) -> Drawn:
        """Voxels as the scanner gives them, and places that are filled by more than half."""
        rng, scan = self.rng, self.scan
        strength = scan.nuisance
        # every number is drawn whatever the nuisance is, so that it changes nothing else
        moves = rng.normal(0, 0.5, (3, 2)).clip(-1.2, 1.2)
        smear = rng.random(3) < 0.3
        lengths = rng.integers(2, 6, 3)
        tilt = rng.normal(0, 0.05, 3)
        noise = rng.uniform(0.03, 0.075)
        white = rng.standard_normal((2, 3, *SHAPE), np.float32)
        line = rng.uniform(0.2, 0.36) * np.where(rng.random(SHAPE[:2]) < 0.5, -1, 1)
        image = np.empty((*SHAPE, 3), np.float32)
        for phase, values in enumerate(self.values):
            moved = _moved(values, moves[phase] * strength)
            if smear[phase] and strength > 0:
                moved = _smeared(moved, int(lengths[phase]))
            image[..., phase] = _means(moved)
        slope = 1 + strength * sum(
            t * np.linspace(-1, 1, side).reshape([-1 if a == axis else 1 for a in range(3)])
            for axis, (t, side) in enumerate(zip(tilt, SHAPE, strict=True))
        )
        image *= (slope * (1 + strength * (scan.gain - 1))).astype(np.float32)[..., None]
        grain = np.moveaxis(white, 1, -1) * np.float32(noise * strength)
        image = np.hypot(image + grain[0], grain[1])  # magnitudes of complex signals: Rician
        if scan.marked:
            place = mark_place()
            columns = np.flatnonzero(place[0, 0])
            image[:, :, columns] += line.astype(np.float32)[:, :, None, None]
        grey = np.clip(image / WHITE, 0, 1) * 255
        masks = np.zeros((len(CONCEPTS), *SHAPE), bool)
        for number, name in enumerate(CONCEPTS):
            if name in self.shares:
                masks[number] = _filled(_means(self.shares[name]))
        return Drawn(grey.round().astype(np.uint8), masks, _filled(_means(self.lesion)))


def lengths(vectors: Floats) -> Floats:
    """Of vectors (..., 3)."""
    found: Floats = np.sqrt(np.einsum("...i,...i->...", vectors, vectors))
    return found


def _moved(values: Floats, by: npt.NDArray[np.float64]) -> Floats:
    """Shifted in the plane by voxels (y, x), to the next point of the fine grid."""
    for axis, shift in enumerate(by, 1):
        steps = round(float(shift) * FINE[axis])
        if steps:
            place = np.clip(np.arange(values.shape[axis]) - steps, 0, values.shape[axis] - 1)
            values = values.take(place, axis=axis)
    return values


def _smeared(values: Floats, length: int) -> Floats:
    """Motion along the phase-encoding direction: the mean of ``length`` neighbours."""
    side = values.shape[1]
    parts = [
        values.take(np.clip(np.arange(side) + step - length // 2, 0, side - 1), axis=1)
        for step in range(length)
    ]
    smeared: Floats = np.mean(parts, axis=0, dtype=np.float32)
    return smeared


def _filled(share: Floats) -> Bools:
    """By more than half; a thin structure that fills no voxel so far has its fullest ones."""
    place: Bools = share > min(0.5, max(0.75 * float(share.max()), 1e-3))
    return place


def _means(fine: Floats) -> Floats:
    """Over the points of each voxel."""
    split = [part for side, parts in zip(SHAPE, FINE, strict=True) for part in (side, parts)]
    means: Floats = fine.reshape(split).mean(axis=(1, 3, 5))
    return means
