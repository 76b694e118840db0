"""Putting an abnormality into a background: where it fits, how it is blended, what is noted of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import check_count
from widgetkit.errors import InvalidInput
from widgetkit.simulate.background import FINE, Background, Backgrounds
from widgetkit.simulate.bodies import Body, body
from widgetkit.simulate.factors import COLUMNS
from widgetkit.simulate.lungs import SIDES

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

#: HU that lung parenchyma has, and at which an abnormality hides all structure behind it.
PARENCHYMA_HU, SOLID_HU = -850.0, 40.0
#: Abnormalities fade out over this, or over one pixel where those are larger.
EDGE_MM = 2.0
#: Of its radius, so much must fit between an abnormality's centre and the edge of the lung.
ROOM = 0.6


@dataclass(frozen=True)
class Nuisance:
    """How far images differ in what has nothing to do with their group.

    Attributes
    ----------
    backgrounds : int
        Different slices, by turns of the patients, every group with each of them as often. Volumes:
        one a patient, always.
    patients : int
        At most; there are two real ones. One differs from another by more than a 5 cm mass makes
        out, and so does whether a clustering finds the abnormalities or the patients.
    heights : (low, high)
        Where these slices are taken, as shares of the way from the lungs' base to their tips.
    shift_mm : float
        The whole image is moved by up to this along each axis.
    position_mm : float
        Standard deviation of the abnormality's centre along each axis.
    size : float
        Relative standard deviation of its diameter.
    intensity_hu, density_hu : float
        Standard deviations of its HU, and of those of the lungs (depth of breath).
    """

    backgrounds: int = 4
    patients: int = 1
    heights: tuple[float, float] = (0.45, 0.55)
    shift_mm: float = 1.5
    position_mm: float = 1.5
    size: float = 0.03
    intensity_hu: float = 15.0
    density_hu: float = 10.0

    def __post_init__(self) -> None:
        check_count(self.backgrounds, "backgrounds")
        check_count(self.patients, "patients")
        low, high = self.heights
        if not 0 <= low <= high <= 1:
            raise InvalidInput(f"heights={self.heights}: two shares from 0 to 1, the lower first.")
        for field in fields(self)[3:]:
            value = getattr(self, field.name)
            if not 0 <= value < 200:
                raise InvalidInput(f"{field.name}={value}: a number from 0 up to 200.")

    def scaled(self, factor: float) -> Nuisance:
        """All deviations times ``factor``; backgrounds and heights as they are."""
        spread = {f.name: getattr(self, f.name) * factor for f in fields(self)[3:]}
        return replace(self, **spread)


class Rooms:
    """Where in each half of each lung there is most room for an abnormality.

    One place for all backgrounds, where it fits into each: a place of its own in every slice would be
    a difference between images that is larger than most of those between groups.
    """

    def __init__(self, found: Backgrounds) -> None:
        self._items = found.items
        self._depth: dict[int, Floats] = {}
        self._centre: dict[tuple[str, float], npt.NDArray[np.float64]] = {}
        self.step = np.array(found.spacing) / FINE

    def centre(self, location: str, radius: float) -> npt.NDArray[np.float64]:
        """In fine points from the first."""
        key = location, radius
        if key not in self._centre:
            self._centre[key] = self._find(location, radius)
        return self._centre[key]

    def _find(self, location: str, radius: float) -> npt.NDArray[np.float64]:
        from scipy import ndimage

        side, half = location.split("-")
        row = SIDES.index(side)
        if row not in self._depth:
            common = np.min([item.lungs[row] for item in self._items], axis=0) > 0.5
            self._depth[row] = ndimage.distance_transform_edt(common, sampling=self.step)
        depth = self._depth[row]
        axis = np.arange(depth.shape[0])
        content = (depth > 0).reshape(len(axis), -1).sum(1).cumsum()
        cut = int(np.searchsorted(content, content[-1] / 2))
        # upper is to the front in a slice (first rows), to the head in a volume (last slices)
        first = (axis < cut) == (half == "upper")
        inside = first if depth.ndim == 2 else ~first
        points = np.argwhere((depth > 0) & inside.reshape(-1, *(1,) * (depth.ndim - 1)))
        room = depth[tuple(points.T)]
        if not len(points) or room.max() < ROOM * radius:
            most = 2 * room.max() if len(points) else 0.0
            raise InvalidInput(
                f"The {half} half of the {side} lung has room for some {most:.0f} mm in every background, "
                f"and the abnormality is {2 * radius:.0f} mm across. Give a smaller size, or backgrounds "
                "that are more alike."
            )
        away = np.linalg.norm((points - points.mean(axis=0)) * self.step, axis=1)
        best: npt.NDArray[np.float64] = points[
            np.argmax(np.minimum(room, radius) - 0.25 * away)
        ].astype(np.float64)
        return best


@dataclass(frozen=True, eq=False)
class Drawn:
    image: npt.NDArray[np.int16]
    mask: Bools
    lung: Bools
    record: dict[str, Any]


def insert(
    found: Backgrounds,
    rooms: Rooms,
    which: int,
    levels: Mapping[str, Any],
    nuisance: Nuisance,
    rng: np.random.Generator,
) -> Drawn:
    """One image. What is drawn from ``rng`` does not depend on the levels, but for the lobes."""
    dims = len(found.shape)
    ground = found.items[which]
    side, half = str(levels["location"]).split("-")
    shift = rng.uniform(-1, 1, dims) * nuisance.shift_mm
    # a normal distribution without its tails, in which abnormalities would leave the lung
    spread = rng.normal(0, 1, dims + 3).clip(-2, 2)
    move = spread[:dims] * nuisance.position_mm
    diameter = levels["size"] * (1 + float(spread[dims]) * nuisance.size)
    hu = levels["intensity"] + float(spread[dims + 1]) * nuisance.intensity_hu
    density = float(spread[dims + 2]) * nuisance.density_hu
    grain = _grain(rng, found.shape)
    shown = body(levels["shape"], diameter, dims, rng)
    centre = rooms.centre(levels["location"], levels["size"] / 2) + move / rooms.step
    fine, share = _blend(ground, SIDES.index(side), centre, shown, hu, density, found, rooms.step)
    start = [
        found.pad * FINE + round(float(d))
        for d in np.clip(shift / rooms.step, -found.pad * FINE, found.pad * FINE)
    ]
    cut = tuple(
        slice(first, first + side_ * FINE) for first, side_ in zip(start, found.shape, strict=True)
    )
    image = _means(fine[cut]) + np.float32(levels["noise"]) * grain
    lung = _means(ground.lungs.sum(0)[cut]) >= 0.5
    filled = np.where(lung, _means(share[cut]), 0)
    # a thin one may fill no pixel by half; its fullest pixel then stands for it
    mask = filled >= min(0.5, float(filled.max()))
    record = {
        "side": side,
        "half": half,
        COLUMNS["shape"]: levels["shape"],
        COLUMNS["size"]: diameter,
        COLUMNS["intensity"]: hu,
        COLUMNS["noise"]: float(levels["noise"]),
        "patient": ground.patient,
        "slice": ground.slice,
    }
    return Drawn(np.clip(image, -1024, 3071).round().astype(np.int16), mask & lung, lung, record)


def _blend(
    ground: Background,
    row: int,
    centre: npt.NDArray[np.float64],
    shown: Body,
    hu: float,
    density: float,
    found: Backgrounds,
    step: npt.NDArray[np.float64],
) -> tuple[Floats, Floats]:
    """HU with the abnormality, and its share of every fine point."""
    size = ground.hu.shape
    lungs = ground.lungs.sum(0)
    values = ground.hu + np.float32(density) * lungs
    reach = np.ceil((shown.reach + EDGE_MM + max(found.spacing)) / step)
    low = np.clip(np.floor(centre - reach), 0, np.array(size) - 1).astype(int)
    high = np.clip(np.ceil(centre + reach) + 1, low + 1, size).astype(int)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    axes = [(np.arange(a, b) - c) * s for a, b, c, s in zip(low, high, centre, step, strict=True)]
    offsets = np.stack(np.meshgrid(*axes, indexing="ij"), -1).astype(np.float32)
    share = np.zeros(size, np.float32)
    share[box] = shown.share(offsets, EDGE_MM) * ground.lungs[row][box]
    # the denser it is, the less of what is behind shows through
    clear = float(np.clip((SOLID_HU - hu) / (SOLID_HU - PARENCHYMA_HU), 0, 1))
    behind = values[box] - np.float32(PARENCHYMA_HU)
    inside = np.float32(hu) + np.float32(clear) * behind
    values[box] += share[box] * (inside - values[box])
    return values, share


def _grain(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Noise of deviation 1, neighbours correlated by (1, 2, 1) / 4 along the last two axes."""
    wide = (*shape[:-2], shape[-2] + 2, shape[-1] + 2)
    white = rng.standard_normal(wide, np.float32)
    rows = white[..., :-2, :] + 2 * white[..., 1:-1, :] + white[..., 2:, :]
    soft = rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]
    grain: Floats = soft / np.float32(6.0)  # sqrt(1 + 4 + 1) along each axis
    return grain


def _means(fine: Floats) -> Floats:
    """Of FINE points along each axis."""
    split = [part for side in fine.shape for part in (side // FINE, FINE)]
    means: Floats = fine.reshape(split).mean(axis=tuple(range(1, 2 * fine.ndim, 2)))
    return means
