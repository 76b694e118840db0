"""What abnormalities are put into: slices or volumes of lungs in one frame of millimetres."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from widgetkit.errors import BadImage, FetchFailed, InvalidInput
from widgetkit.simulate.lungs import lung_labels
from widgetkit.simulate.phantom import thorax
from widgetkit.tiles.resample import axis_weights
from widgetkit.tiles.volume import Volume, read_volume

Floats = npt.NDArray[np.float32]
BackgroundLike: TypeAlias = Literal["auto", "ct", "phantom"] | Volume | Sequence[Volume]

#: Points along each axis of a pixel: abnormalities are blended there, and pixels are their means.
FINE = 3
#: Lung may come as near to the edge of the image as this, mm.
MARGIN_MM = 12.0
#: Slices are used in which either lung has at least this share of its largest area.
ENOUGH = 0.6
#: Of the two CT volumes there are, the assets of :mod:`widgetkit.tiles.fetch`.
CT_ASSETS = ("lung-1", "lung-2")

SOURCES = {
    "ct": "semi-synthetic: real CT of two patients (pyradiomics 3.0.1, BSD-3-Clause), abnormalities inserted",
    "phantom": "phantom: a thorax that was drawn, abnormalities inserted; no patient",
    "given": "semi-synthetic: CT volumes given, abnormalities inserted",
}


@dataclass(frozen=True, eq=False)
class Background:
    """One slice or volume, with ``pad`` pixels beyond the image on all sides.

    Attributes
    ----------
    hu : (*space * FINE) float32
    lungs : (2, *space * FINE) float32
        Share of the right and of the left lung.
    patient : str
    slice : int
        Number in its series; -1 for volumes.
    """

    hu: Floats
    lungs: Floats
    patient: str
    slice: int


@dataclass(frozen=True, eq=False)
class Backgrounds:
    """Some of one frame: ``shape`` pixels, ``spacing`` mm along each axis, ``pad`` pixels around."""

    items: tuple[Background, ...]
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    pad: int
    source: str


def backgrounds(
    background: BackgroundLike,
    *,
    shape: tuple[int, ...],
    count: int,
    patients: int,
    heights: tuple[float, float],
    pad_mm: float,
) -> Backgrounds:
    """``count`` backgrounds in a frame that holds both lungs of each patient.

    Parameters
    ----------
    background
        As in :func:`widgetkit.simulate.lung_abnormalities`.
    shape : (H, W) or (D, H, W)
    count : int
        Slices in all, shared out among the patients; of volumes, one a patient is used.
    patients : int
        The first of those there are.
    heights : (low, high)
        Between which shares of the way from the lungs' base to their tips slices are taken.
    pad_mm : float
        How far images may be shifted.
    """
    if isinstance(background, str):
        if background not in ("auto", "ct", "phantom"):
            raise InvalidInput(
                f"background={background!r}: 'auto', 'ct', 'phantom', or Volumes in HU."
            )
        if background == "auto":
            try:
                return _named("ct", shape, count, patients, heights, pad_mm)
            except FetchFailed as error:
                warnings.warn(
                    f"The phantom is used instead of real CT: {error}", UserWarning, stacklevel=4
                )
                background = "phantom"
        return _named(background, shape, count, patients, heights, pad_mm)
    volumes = [background] if isinstance(background, Volume) else list(background)
    if not volumes or not all(isinstance(volume, Volume) for volume in volumes):
        raise InvalidInput(
            "background: 'auto', 'ct', 'phantom', or Volumes in HU as wk.tiles.read_volume gives them."
        )
    chests = [_chest(volume, str(number)) for number, volume in enumerate(volumes[:patients], 1)]
    return _framed(chests, shape, count, heights, pad_mm, SOURCES["given"])


@lru_cache(maxsize=8)
def _named(
    name: str,
    shape: tuple[int, ...],
    count: int,
    patients: int,
    heights: tuple[float, float],
    pad_mm: float,
) -> Backgrounds:
    return _framed(_chests(name)[:patients], shape, count, heights, pad_mm, SOURCES[name])


@dataclass(frozen=True, eq=False)
class _Chest:
    """A patient at some 2 mm in the plane: values, labels of the lungs, mm along D, H, W."""

    values: Floats
    lungs: npt.NDArray[np.uint8]
    spacing: tuple[float, float, float]
    patient: str

    @property
    def usable(self) -> npt.NDArray[np.intp]:
        """Slices, from the feet upwards, in which both lungs are large."""
        area = np.stack([(self.lungs == value).sum(axis=(1, 2)) for value in (1, 2)])
        return np.flatnonzero((area >= ENOUGH * area.max(axis=1, keepdims=True)).all(axis=0))


@lru_cache(maxsize=2)
def _chests(name: str) -> tuple[_Chest, ...]:
    """Of the two CT volumes, or of two phantoms. Some 30 MB, kept."""
    if name == "phantom":
        found = []
        for seed in (0, 1):
            made = thorax(seed=seed)
            values = made.volume.values.astype(np.float32)
            found.append(_Chest(values, made.lungs, made.volume.spacing, f"phantom {seed + 1}"))
        return tuple(found)
    from widgetkit.tiles.fetch import fetch

    return tuple(
        _chest(read_volume(fetch(asset), modality="CT", warn=False), str(number))
        for number, asset in enumerate(CT_ASSETS, 1)
    )


def _chest(volume: Volume, patient: str) -> _Chest:
    """In the plane, means over squares of some 1.8 mm: enough for images of 200 pixels."""
    factor = max(1, int(1.9 / max(volume.spacing[1:])))
    depth, height, width = volume.shape
    height, width = height // factor * factor, width // factor * factor
    blocks = volume.values[:, :height, :width].reshape(
        depth, height // factor, factor, width // factor, factor
    )
    values = blocks.mean(axis=(2, 4), dtype=np.float32)
    spacing = (volume.spacing[0], volume.spacing[1] * factor, volume.spacing[2] * factor)
    small = Volume(
        values,
        spacing=spacing,
        orientation=volume.orientation,
        units=volume.units,
        modality=volume.modality,
    )
    return _Chest(values, lung_labels(small), spacing, patient)


def _framed(
    chests: Sequence[_Chest],
    shape: tuple[int, ...],
    count: int,
    heights: tuple[float, float],
    pad_mm: float,
    source: str,
) -> Backgrounds:
    dims = len(shape)
    picked = _pick(chests, count, heights) if dims == 2 else [(chest, -1) for chest in chests]
    boxes = [_box(chest, row) for chest, row in picked]
    extent = np.max([high - low for low, high in boxes], axis=0) + 2 * MARGIN_MM
    spacing = extent / np.array(shape)
    spacing[-2:] = spacing[-2:].max()  # square pixels
    pad = int(np.ceil(pad_mm / spacing.min())) if pad_mm else 0
    side = tuple(int(n + 2 * pad) * FINE for n in shape)
    items = []
    for (chest, row), (low, high) in zip(picked, boxes, strict=True):
        middle = (low + high) / 2
        part = slice(row, row + 1) if dims == 2 else slice(None)
        values, lungs = chest.values[part], chest.lungs[part]
        arrays = [values, (lungs == 1).astype(np.float32), (lungs == 2).astype(np.float32)]
        outside = float(values.min()), 0.0, 0.0
        hu, right, left = (
            _sample(array, chest.spacing, middle, spacing / FINE, side, level)
            for array, level in zip(arrays, outside, strict=True)
        )
        items.append(Background(hu, np.stack([right, left]), chest.patient, row))
    return Backgrounds(tuple(items), shape, tuple(map(float, spacing)), pad, source)


def _pick(
    chests: Sequence[_Chest], count: int, heights: tuple[float, float]
) -> list[tuple[_Chest, int]]:
    """Slices by turns from each patient, at even steps between the heights."""
    low, high = heights
    chests = chests[:count]
    found = []
    for place, chest in enumerate(chests):
        own = len(range(place, count, len(chests)))
        rows = np.flatnonzero((chest.lungs > 0).any(axis=(1, 2)))
        wanted = rows[0] + (rows[-1] - rows[0]) * (
            np.linspace(low, high, own) if own > 1 else np.array([(low + high) / 2])
        )
        usable = chest.usable
        if not len(usable):
            raise BadImage(
                f"Patient {chest.patient} has no slice with both lungs at {ENOUGH:.0%} of their largest area."
            )
        found += [(chest, int(usable[np.abs(usable - height).argmin()])) for height in wanted]
    different = list({(chest.patient, row): (chest, row) for chest, row in found}.values())
    if len(different) < len(found):
        warnings.warn(
            f"{len(different)} different slices instead of {count}: there are no more between these "
            "heights.",
            UserWarning,
            stacklevel=6,
        )
    return different


def _box(chest: _Chest, row: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """First and last mm of both lungs along each axis: of one slice (2), or of all (3)."""
    inside = chest.lungs[row] > 0 if row >= 0 else chest.lungs > 0
    spacing = np.array(chest.spacing[-inside.ndim :])
    places = np.nonzero(inside)
    low = np.array([axis.min() for axis in places]) * spacing
    high = np.array([axis.max() + 1 for axis in places]) * spacing
    return low, high


def _sample(
    values: np.ndarray,
    spacing: tuple[float, float, float],
    middle: npt.NDArray[np.float64],
    step: npt.NDArray[np.float64],
    side: tuple[int, ...],
    outside: float,
) -> Floats:
    """``side`` points ``step`` mm apart round ``middle``, linearly along one axis after the other."""
    out = values[0] if len(side) == 2 else values
    for axis, (old, centre, new, n) in enumerate(
        zip(spacing[-len(side) :], middle, step, side, strict=True)
    ):
        weights = axis_weights(out.shape[axis], n, new / old, centre / old - 0.5)
        rest = np.float32(outside) * (1 - weights.sum(1))
        out = np.moveaxis(np.tensordot(weights, out, axes=(1, axis)), 0, axis)
        out = out + rest.reshape(-1, *(1,) * (out.ndim - axis - 1))
    found: Floats = np.ascontiguousarray(out, np.float32)
    return found
