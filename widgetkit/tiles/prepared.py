"""One series on its way to tiles: read, checked against its mask, cut and resampled."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from widgetkit.errors import BadImage, InvalidInput
from widgetkit.tiles.base import SMALLEST_SIDE
from widgetkit.tiles.dicom import read_dicom
from widgetkit.tiles.orient import geometry_difference
from widgetkit.tiles.resample import resample
from widgetkit.tiles.volume import Place, Volume, read_volume
from widgetkit.tiles.voxels import MOST_VOXELS, check_size

#: Bytes of series kept ready between reads. A chest CT as it is takes 150 to 300 MB.
KEPT_BYTES = 1 << 30


@dataclass(frozen=True)
class DicomSeries:
    """One of the series at a path."""

    path: Place | Sequence[Place]
    number: int | None


#: What one series may be given as, and its mask.
Item: TypeAlias = Volume | DicomSeries | Place | Sequence[Place]
Mask: TypeAlias = np.ndarray | Volume | Place


@dataclass(frozen=True)
class Grid:
    """What every series is brought to, as asked; axes are D, H, W and None is: as it is."""

    as_: Literal["slices", "volumes"]
    shape: tuple[int | None, int | None, int | None]
    spacing: tuple[float | None, float | None, float | None]
    crop: bool
    margin: float  # mm

    @classmethod
    def asked(
        cls,
        as_: Literal["slices", "volumes"],
        shape: int | Sequence[int] | None,
        spacing: float | Sequence[float] | None,
        *,
        crop: bool,
        margin: float,
    ) -> Grid:
        """From the arguments of :func:`from_volumes`, checked."""
        axes = 2 if as_ == "slices" else 3
        sides = _spread(shape, (axes,), "shape")
        steps = _spread(spacing, (axes, 3), "spacing")
        whole = [None if side is None else int(side) for side in sides]
        if any(
            side is not None and side != float(given or 0)
            for side, given in zip(whole, sides, strict=True)
        ):
            raise InvalidInput(f"shape={shape!r}; it must be whole numbers.")
        if any(side is not None and side < SMALLEST_SIDE for side in whole[1:]) or (
            whole[0] is not None and whole[0] < 1
        ):
            raise InvalidInput(f"shape={shape!r}; H and W are at least {SMALLEST_SIDE}.")
        if any(step is not None and not 0 < step < np.inf for step in steps):
            raise InvalidInput(f"spacing={spacing!r}; it must be above 0 mm.")
        return cls(
            as_, (whole[0], whole[1], whole[2]), (steps[0], steps[1], steps[2]), crop, margin
        )


@dataclass(frozen=True)
class Ready:
    """A series as its tiles are read from it."""

    values: np.ndarray  # (D, H, W) int16 or float32
    mask: np.ndarray | None  # (D, H, W) bool

    @property
    def nbytes(self) -> int:
        return int(self.values.nbytes + (0 if self.mask is None else self.mask.nbytes))


@dataclass(frozen=True)
class Facts:
    """What stays of a series when its voxels are not in memory."""

    shape: tuple[int, int, int]  # as ready
    spacing: tuple[float, float, float]  # mm, as ready
    corner: tuple[int, int, int]  # of the cut, in voxels as read
    z_mm: np.ndarray  # (D,) of the slices as ready
    mask_shares: np.ndarray  # (D,), 1 without a mask
    modality: str
    units: str
    problems: tuple[str, ...]
    digest: str  # of voxels and mask as read
    read_shape: tuple[int, int, int]
    read_spacing: tuple[float, float, float]
    directions: tuple[str, str, str]  # where D, H and W run to, such as ("S", "P", "L")


class SeriesCache:
    """Series that are ready, the latest used ones, up to :data:`KEPT_BYTES`; for many threads."""

    def __init__(self, most: int = KEPT_BYTES) -> None:
        self._most = most
        self._kept: OrderedDict[int, Ready] = OrderedDict()
        self._lock = threading.Lock()
        self._reading: dict[int, threading.Lock] = {}

    def get(self, key: int) -> Ready | None:
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def put(self, key: int, ready: Ready) -> None:
        with self._lock:
            self._kept[key] = ready
            self._kept.move_to_end(key)
            while len(self._kept) > 1 and sum(r.nbytes for r in self._kept.values()) > self._most:
                self._kept.popitem(last=False)

    def reading(self, key: int) -> threading.Lock:
        """Held while a series is read, so that threads do not read it at the same time."""
        with self._lock:
            return self._reading.setdefault(key, threading.Lock())

    def __getstate__(self) -> dict[str, object]:
        return {"_most": self._most}

    def __setstate__(self, state: dict[str, int]) -> None:
        self.__init__(state["_most"])  # type: ignore[misc]


@dataclass
class Series:
    """One series of a source: where it comes from, and what it is brought to."""

    index: int
    name: str
    item: Item
    mask: Mask | None
    grid: Grid
    modality: str | None = None
    _facts: Facts | None = field(default=None, repr=False)

    @property
    def facts(self) -> Facts:
        if self._facts is None:
            self.prepare(SeriesCache())
        assert self._facts is not None
        return self._facts

    def load(self) -> Volume:
        """The volume as read."""
        if isinstance(self.item, Volume):
            return self.item
        if isinstance(self.item, DicomSeries):
            return read_dicom(self.item.path, series=self.item.number, name=self.name, warn=False)
        return read_volume(self.item, name=self.name, modality=self.modality, warn=False)

    def prepare(self, cache: SeriesCache) -> Ready:
        """The series as its tiles are read from it; from ``cache`` if it is there."""
        found = cache.get(self.index)
        if found is not None:
            return found
        with cache.reading(self.index):
            found = cache.get(self.index)
            if found is None:
                found = self._prepared()
                cache.put(self.index, found)
        return found

    def describe(self) -> dict[str, object]:
        """Provenance without a name."""
        facts = self.facts
        return {
            "shape": list(facts.read_shape),
            "spacing": [round(step, 6) for step in facts.read_spacing],
            "modality": facts.modality,
            "units": facts.units,
            "voxels": facts.digest,
            "cut": list(facts.corner),
            "to_spacing": [round(step, 6) for step in facts.spacing],
            "directions": list(facts.directions),
        }

    def _prepared(self) -> Ready:
        volume = self.load()
        mask = self._mask(volume)
        digest = _digest(volume, mask)
        if self._facts is not None and self._facts.digest != digest:
            raise BadImage(
                f"The voxels of {self.name} are no longer those that the source was made of: its files "
                "have changed. Make the source anew."
            )
        box = _box(volume, mask, self.grid)
        cut = volume.values[box]
        shape, steps, spacing = _target(volume, cut.shape, self.grid)
        check_size(shape, f"{self.name} as resampled")
        same = shape == cut.shape and all(step in (None, 1.0) for step in steps)
        values = cut if same else resample(cut, shape, steps, outside=float(cut.min()))
        inside: np.ndarray | None = None
        shares = np.ones(shape[0])
        if mask is not None:
            part = mask[box]
            share = part if same else resample(part, shape, steps)
            shares = share.reshape(shape[0], -1).mean(1, dtype=np.float64)
            inside = part if same else share >= 0.5
        if self._facts is None:
            self._facts = Facts(
                shape=shape,
                spacing=spacing,
                corner=(box[0].start, box[1].start, box[2].start),
                z_mm=_z_mm(volume, box[0], shape[0], spacing[0]),
                mask_shares=shares,
                modality=volume.modality,
                units=volume.units,
                problems=volume.problems,
                digest=digest,
                read_shape=volume.shape,
                read_spacing=volume.spacing,
                directions=volume.directions,
            )
        return Ready(values, inside)

    def _mask(self, volume: Volume) -> np.ndarray | None:
        if self.mask is None:
            return None
        if isinstance(self.mask, np.ndarray):
            if self.mask.shape != volume.shape:
                raise InvalidInput(
                    f"The mask of {self.name} has shape {self.mask.shape} and its image "
                    f"{volume.shape} (D, H, W). Give a mask drawn on this series."
                )
            if self.mask.dtype.kind == "f" and not np.isfinite(self.mask).all():
                raise InvalidInput(f"The mask of {self.name} holds NaN or infinity.")
            inside: np.ndarray = self.mask != 0
            return inside
        drawn = (
            self.mask
            if isinstance(self.mask, Volume)
            else read_volume(self.mask, name="the mask", warn=False)
        )
        difference = geometry_difference(volume, drawn)
        if difference:
            raise InvalidInput(
                f"The mask of {self.name} does not lie on its image: {difference}. Give a mask drawn on "
                "this series, or resample it to the image's grid first."
            )
        inside = drawn.values != 0
        return inside


def _box(volume: Volume, mask: np.ndarray | None, grid: Grid) -> tuple[slice, slice, slice]:
    """What is cut out: the box of the mask with the margin; slices keep all of D."""
    depth, height, width = volume.shape
    whole = slice(0, depth), slice(0, height), slice(0, width)
    if not grid.crop or mask is None:
        return whole
    if not mask.any():
        raise BadImage("The mask is empty: there is nothing to crop to.")
    out = []
    for axis, side in enumerate(volume.shape):
        there = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        more = int(np.ceil(grid.margin / volume.spacing[axis] - 1e-9))
        out.append(slice(max(0, int(there[0]) - more), min(side, int(there[-1]) + 1 + more)))
    return whole[0] if grid.as_ == "slices" else out[0], out[1], out[2]


def _target(
    volume: Volume, cut: tuple[int, ...], grid: Grid
) -> tuple[tuple[int, int, int], list[float | None], tuple[float, float, float]]:
    """Shape, steps and spacing that the cut is resampled to."""
    shape: list[int] = []
    steps: list[float | None] = []
    spacing: list[float] = []
    for n_in, n_out, step, wanted in zip(
        cut, grid.shape, volume.spacing, grid.spacing, strict=True
    ):
        if wanted is None:
            shape.append(n_in if n_out is None else n_out)
            steps.append(None)
            spacing.append(step * n_in / shape[-1])
        else:
            shape.append(
                min(MOST_VOXELS, max(1, round(n_in * step / wanted))) if n_out is None else n_out
            )
            steps.append(wanted / step)
            spacing.append(wanted)
    if min(shape[1:]) < SMALLEST_SIDE:
        raise BadImage(
            f"Slices would be {shape[1]} x {shape[2]} pixels; they are at least {SMALLEST_SIDE}. Give a "
            "finer spacing=, a larger shape= or more margin=."
        )
    return (shape[0], shape[1], shape[2]), steps, (spacing[0], spacing[1], spacing[2])


def _z_mm(volume: Volume, cut: slice, n: int, step: float) -> np.ndarray:
    places = volume.z_mm[cut]
    middle = (places[0] + places[-1]) / 2
    if n == len(places) and np.isclose(step, volume.spacing[0]):
        return places
    return np.asarray(middle + (np.arange(n) - (n - 1) / 2) * step)


def _digest(volume: Volume, mask: np.ndarray | None) -> str:
    """Of the voxels and the mask, so that another patient's scan is never taken for this one."""
    found = hashlib.blake2b(digest_size=8)
    found.update(repr((volume.shape, str(volume.values.dtype))).encode())
    for plane in volume.values:
        found.update(np.ascontiguousarray(plane).data)
    if mask is not None:
        found.update(np.packbits(mask).data)
    return found.hexdigest()


def _spread(
    given: float | Sequence[float] | None, lengths: tuple[int, ...], what: str
) -> list[float | None]:
    """One value for H and W (and D for volumes), or one each, as three."""
    if given is None:
        return [None, None, None]
    numbers = [given] * lengths[0] if isinstance(given, int | float | np.number) else list(given)
    try:
        values = [float(number) for number in numbers]
    except (TypeError, ValueError):
        values = []
    if len(values) not in lengths or not np.isfinite(values).all():
        raise InvalidInput(
            f"{what}={given!r}; it must be a number or {' or '.join(str(n) for n in sorted(set(lengths)))} "
            "numbers"
            + (
                " (H, W)."
                if lengths == (2,)
                else " (z, y, x)."
                if what == "spacing"
                else " (D, H, W)."
            )
        )
    return [None] * (3 - len(values)) + values
