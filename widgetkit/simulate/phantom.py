"""A chest that was never scanned: body, ribs, spine, heart, vessels and lungs, in HU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput
from widgetkit.simulate.lungs import Labels
from widgetkit.tiles.volume import Volume

Floats = npt.NDArray[np.float32]

#: HU as they are usually given; lung at full inspiration.
AIR, LUNG, FAT, MUSCLE, BLOOD, BONE = -1000.0, -860.0, -95.0, 45.0, 40.0, 450.0


@dataclass(frozen=True, eq=False)
class Phantom:
    """A :class:`~widgetkit.tiles.Volume` in HU, and its lungs: 0 outside, 1 right, 2 left."""

    volume: Volume
    lungs: Labels


def thorax(
    *, shape: tuple[int, int, int] = (44, 160, 192), seed: int = 0, texture_hu: float = 25.0
) -> Phantom:
    """A thorax of 220 x 290 x 350 mm, its anatomy drawn from ``seed``.

    Body wall with fat and muscle, ribs, sternum, shoulder blades and spine, heart, aorta, windpipe,
    both lungs with branching vessels, denser to the back, as in a patient who lies.

    Parameters
    ----------
    shape : (D, H, W)
        Slices from feet to head.
    seed : int
        Another seed, another patient: proportions, vessels, texture.
    texture_hu : float
        Standard deviation of the fine structure of the lungs.

    Raises
    ------
    InvalidInput
        Fewer than 8 slices or 48 pixels a side.
    """
    if len(shape) != 3 or shape[0] < 8 or min(shape[1:]) < 48:
        raise InvalidInput(f"shape={shape}: a thorax needs at least (8, 48, 48) voxels.")
    rng = np.random.default_rng([seed, 7])
    spacing = (220 / shape[0], 290 / shape[1], 350 / shape[2])
    # mm: z from the diaphragm to the head, y to the back, x to the patient's left
    z = (np.arange(shape[0]) + 0.5)[:, None, None] * spacing[0]
    y = ((np.arange(shape[1]) + 0.5) * spacing[1] - 145)[None, :, None]
    x = ((np.arange(shape[2]) + 0.5) * spacing[2] - 175)[None, None, :]
    grow = 1 + rng.uniform(-0.05, 0.05)
    chest = _Chest(z, y / grow, x / grow, rng)
    values = chest.draw(rng, spacing, texture_hu)
    lungs = chest.lungs()
    volume = Volume(
        np.clip(values, -1024, 3071).round().astype(np.int16),
        spacing=spacing,
        units="HU",
        modality="CT",
        name=f"phantom {seed}",
    )
    return Phantom(volume, lungs)


def _ellipse(
    y: np.ndarray, x: np.ndarray, cy: object, cx: object, ry: object, rx: object
) -> Floats:
    """Below 1 inside."""
    inside: Floats = np.sqrt(((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2)
    return inside


class _Chest:
    """Shapes over a grid of millimetres; each a field that is below 1 inside."""

    def __init__(
        self, z: np.ndarray, y: np.ndarray, x: np.ndarray, rng: np.random.Generator
    ) -> None:
        self.z, self.y, self.x = z, y, x
        t = np.clip(z / 220, 0, 1)  # 0 at the diaphragm, 1 at the tips of the lungs
        narrow = 1 - 0.32 * np.clip((t - 0.55) / 0.45, 0, 1) ** 2
        self.body = _ellipse(y, x, 0, 0, 112, 158 - 12 * t)
        self.wall = _ellipse(y, x, 2, 0, 96, 140 * (0.97 + 0.03 * narrow))
        self.cage = _ellipse(y, x, 2, 0, 84, 126 * narrow)
        # each lung: the cage, less what lies between them and the dome of the diaphragm
        between = 22 + 10 * rng.uniform(0, 1) + 6 * np.cos((y + 10) / 34)
        dome = 38 + rng.uniform(-4, 4)
        height = {}
        for side, centre in (("right", -66.0), ("left", 66.0)):
            arch = np.clip(1 - ((x - centre) / 75) ** 2 - (y / 95) ** 2, 0, None) ** 0.5
            height[side] = z - (dome - (6 if side == "left" else 0)) * arch + 6
        self.heart_z = np.clip(1 - ((z - 62) / 62) ** 2, 0, None) ** 0.5
        tilt = 0.35 * (y + 30)
        self.heart = np.where(
            self.heart_z > 0.05,
            _ellipse(
                y, x, -32, 20 + tilt * 0.4, 44 * self.heart_z + 1e-3, 54 * self.heart_z + 1e-3
            ),
            9.0,
        )
        self.aorta = np.minimum(
            _ellipse(y, x, 38, 20, 12.5, 12.5),
            np.where(z > 95, _ellipse(y, x, -14, -12, 16, 15), 9.0),
        )
        self.arch = np.where(np.abs(z - 158) < 11, _ellipse(y, x, 10, 8, 34, 13), 9.0)
        spine = _ellipse(y, x, 62, 0, 17, 19)
        self.bones = {"vertebra": spine}
        inner = self.cage < 1
        room = (np.abs(x) > between) & (self.heart > 1.06) & (spine > 1.35)
        room &= (self.aorta > 1.15) & (self.arch > 1.15)
        self.right = inner & room & (x < 0) & (height["right"] > 0) & (z < 208)
        self.left = inner & room & (x > 0) & (height["left"] > 0) & (z < 208)

    def lungs(self) -> Labels:
        labels = np.zeros(self.right.shape, np.uint8)
        labels[self.right], labels[self.left] = 1, 2
        return labels

    def draw(
        self, rng: np.random.Generator, spacing: tuple[float, float, float], texture: float
    ) -> Floats:
        shape = self.right.shape
        z, y, x = self.z, self.y, self.x
        values = np.full(shape, AIR, np.float32)
        values[self.body < 1] = FAT
        values[(self.wall < 1) & (self.body < 1)] = MUSCLE
        # fat between the muscles of the wall, and round what lies between the lungs
        values[(self.wall < 1) & (self.wall > 0.985)] = FAT
        middle = (self.cage < 1) & ~self.right & ~self.left
        values[middle] = MUSCLE
        values[middle & (np.abs(x) < 40) & (y < 20) & (self.heart > 1) & (z > 40)] = FAT + 60
        values[np.broadcast_to(self.heart < 1, shape) & middle] = BLOOD
        for vessel in (self.aorta, self.arch):
            values[np.broadcast_to(vessel < 1, shape) & middle] = BLOOD + 5
        self._bones(values, spacing)
        windpipe = _ellipse(y, x, 12, -2, 8.5, 8)
        values[np.broadcast_to((windpipe < 1) & (z > 120), shape) & middle] = AIR + 20
        for side in (-1, 1):
            tube = _ellipse(y, x, 14, side * (14 + (120 - z) * 0.55), 6, 6.5)
            values[np.broadcast_to((tube < 1) & (z <= 120) & (z > 92), shape) & middle] = AIR + 20
        lung = self.right | self.left
        slope = 30 * (y / 90)
        values[lung] = np.broadcast_to(LUNG + slope, shape)[lung]
        values[lung] += texture * _texture(rng, shape)[lung]
        for side, inside in ((-1, self.right), (1, self.left)):
            self._vessels(values, inside, side, rng, spacing)
        soft = ~lung & (self.body < 1)
        values[soft] += 8 * rng.standard_normal(shape, np.float32)[soft]
        return _soften(values)

    def _bones(self, values: Floats, spacing: tuple[float, float, float]) -> None:
        z, y, x = self.z, self.y, self.x
        shape = values.shape
        angle = np.arctan2(y, x)
        # ribs run downwards to the front: seen in a slice, spots along the wall
        phase = (z + 60 * np.sin(angle * 0.5 + 0.8) ** 2 - 40 * (y < 0) * (-y / 100)) / 24
        rib = np.abs(phase - np.round(phase)) < 0.26
        band = (self.cage > 1.02) & (self.cage < 1.11) & (np.abs(x) > 24) & rib
        values[np.broadcast_to(band, shape)] = BONE
        vertebra = self.bones["vertebra"]
        values[np.broadcast_to(vertebra < 1, shape)] = BONE * 0.5
        values[np.broadcast_to((vertebra < 1) & (vertebra > 0.86), shape)] = BONE * 1.3
        canal = _ellipse(y, x, 85, 0, 8, 9)
        values[np.broadcast_to(canal < 1.45, shape)] = BONE
        values[np.broadcast_to(canal < 1, shape)] = 20
        process = (np.abs(x) < 4) & (y > 92) & (y < 108)
        values[np.broadcast_to(process, shape)] = BONE
        values[np.broadcast_to(_ellipse(y, x, -88, 0, 6, 17) < 1, shape) & (z > 60)] = BONE * 0.7
        for side in (-1, 1):
            blade = _ellipse(y - side * 0.35 * (x - side * 105), x, 88 - 12, side * 105, 4, 34)
            values[np.broadcast_to((blade < 1) & (z > 110), shape) & (self.body < 0.98)] = BONE

    def _vessels(
        self,
        values: Floats,
        inside: npt.NDArray[np.bool_],
        side: int,
        rng: np.random.Generator,
        spacing: tuple[float, float, float],
    ) -> None:
        """A tree from the root of the lung: each branch ends in two, thinner and shorter."""
        origin = np.array([100.0, 5.0, side * 34.0])
        branches = []
        for direction in ((1.0, -0.5, 0.8), (0.7, 0.5, 0.9), (0.1, -0.9, 0.9), (0.0, 0.4, 1.0),
                          (-0.7, 0.7, 0.7), (-0.8, -0.2, 0.8), (-1.0, 0.5, 0.3)):  # fmt: skip
            heading = np.array(direction) * (1, 1, side) + rng.normal(0, 0.12, 3)
            branches.append((origin, heading / np.linalg.norm(heading), 3.2, 34.0))
        step = np.array(spacing)
        start = np.array([0.5 * spacing[0], 0.5 * spacing[1] - 145, 0.5 * spacing[2] - 175])
        while branches:
            at, heading, radius, length = branches.pop()
            end = at + heading * length
            _tube(values, inside, (at - start) / step, (end - start) / step, radius, step)
            if radius > 0.7 and length > 6:
                for turn in (-1, 1):
                    across = np.cross(heading, rng.normal(0, 1, 3))
                    across /= max(float(np.linalg.norm(across)), 1e-9)
                    new = heading + turn * across * rng.uniform(0.35, 0.7)
                    new /= np.linalg.norm(new)
                    branches.append(
                        (
                            end,
                            new,
                            radius * rng.uniform(0.62, 0.78),
                            length * rng.uniform(0.66, 0.85),
                        )
                    )


def _tube(
    values: Floats,
    inside: npt.NDArray[np.bool_],
    a: np.ndarray,
    b: np.ndarray,
    radius: float,
    step: np.ndarray,
) -> None:
    """Blood from voxel ``a`` to ``b``; a thin one in part, as it fills a part of its voxels."""
    reach = radius / step + 1.5
    low = np.maximum(np.floor(np.minimum(a, b) - reach), 0).astype(int)
    high = np.minimum(np.ceil(np.maximum(a, b) + reach) + 1, values.shape).astype(int)
    if (high <= low).any():
        return
    box = tuple(slice(i, j) for i, j in zip(low, high, strict=True))
    grid = np.stack(
        np.meshgrid(*(np.arange(i, j) for i, j in zip(low, high, strict=True)), indexing="ij"), -1
    )
    points, direction = (grid - a) * step, (b - a) * step
    along = np.clip(points @ direction / max(float(direction @ direction), 1e-9), 0, 1)
    distance = np.linalg.norm(points - along[..., None] * direction, axis=-1)
    pixel = float(step[1:].mean())
    share = np.clip((radius - distance) / pixel + 0.5, 0, 1) * min(1.0, 2 * radius / pixel)
    share *= inside[box]
    values[box] = np.maximum(values[box], values[box] * (1 - share) + BLOOD * share)


def _texture(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Noise of two grains, deviation 1."""
    fine = _soften(rng.standard_normal(shape, np.float32))
    coarse = rng.standard_normal(tuple(-(-side // 4) for side in shape), np.float32)
    for axis, side in enumerate(shape):
        coarse = np.take(coarse, np.arange(side) // 4, axis=axis)
    mixed = fine / fine.std() + 0.7 * _soften(_soften(coarse))
    unit: Floats = (mixed / mixed.std()).astype(np.float32)
    return unit


def _soften(values: Floats) -> Floats:
    """In the plane, by (1, 2, 1) / 4 along both axes: the scanner's own blur."""
    padded = np.pad(values, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    soft: Floats = (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / np.float32(16)
    return soft
