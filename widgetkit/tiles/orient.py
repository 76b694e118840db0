"""Turning volumes to the one convention, and telling whether two lie on the same voxels."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from widgetkit.tiles.volume import Volume, slice_axis, three
from widgetkit.tiles.voxels import times

#: How H and W run in the picture of a plane, as (world axis, sign).
_SHOWN = {0: ((2, -1), (1, 1)), 1: ((2, -1), (0, 1)), 2: ((1, 1), (0, 1))}
#: Two voxel grids are one if their corners lie within this share of a voxel.
_SAME = 0.25
#: Axes are taken to be square to each other when no cosine is above this (0.6 degrees).
_SQUARE = 0.01


def build(
    values: np.ndarray,
    spacing: Sequence[float] | np.ndarray,
    axes: np.ndarray,
    origin: Sequence[float] | np.ndarray,
    *,
    units: str = "",
    modality: str = "",
    name: str = "series 1",
    problems: Iterable[str] = (),
    facts: Iterable[str] = (),
    warn: bool = True,
) -> Volume:
    """What every reader ends with: a volume turned as the convention wants it, its oddities told.

    Parameters
    ----------
    values : (D, H, W)
        As in the file, slices first.
    spacing : (3,), axes : (3, 3), origin : (3,)
        Of the file's axes, in LPS; see :class:`Volume`.
    problems, facts : iterable of str
        Both are kept in ``problems``; the first are warned of too.
    """
    found = list(problems)
    cosines = np.abs(axes @ axes.T - np.eye(3)).max()
    if cosines > _SQUARE:
        angle = np.degrees(np.arcsin(min(1.0, float(cosines))))
        found.append(
            f"The axes are up to {angle:.1f} degrees from square (a tilted gantry or a sheared "
            "transform): slices are right, sections across them are not. Resample it to a square grid."
        )
    low, high = values.min(), values.max()
    if low == high:
        found.append(f"Every voxel is {low:g}: the image is constant.")
    volume = anatomical(
        Volume(
            values,
            three(spacing, "spacing"),
            axes,
            three(origin, "origin"),
            units,
            modality,
            name,
            (*found, *facts),
        )
    )
    if warn:
        for problem in found:
            warnings.warn(f"{volume.name}: {problem}", stacklevel=4)
    return volume


def anatomical(volume: Volume) -> Volume:
    """The same voxels at the same places, axes turned as the convention of this module wants them.

    Slices stay slices. H and W change places or direction so that the slice is seen as usual; D is
    turned so that W x H points along it, as in DICOM.
    """
    values = volume.values
    axes = np.array(volume.orientation)
    spacing = list(volume.spacing)
    origin = np.array(volume.origin)
    (down, _), (right, _) = shown = _SHOWN[slice_axis(axes)]
    as_is = abs(axes[1, down]) + abs(axes[2, right])
    swapped = abs(axes[2, down]) + abs(axes[1, right])
    if swapped > as_is + 1e-6:
        values = values.transpose(0, 2, 1)
        axes = axes[[0, 2, 1]]
        spacing = [spacing[0], spacing[2], spacing[1]]
    turned = [axes[i + 1, world] * sign < 0 for i, (world, sign) in enumerate(shown)]
    flips = [False, *turned]
    after = axes * np.where(flips, -1.0, 1.0)[:, None]
    flips[0] = float(np.dot(np.cross(after[2], after[1]), after[0])) < 0
    for i, flip in enumerate(flips):
        if flip:
            origin = origin + (values.shape[i] - 1) * spacing[i] * axes[i]
            axes[i] = -axes[i]
            values = np.flip(values, i)
    return replace(
        volume,
        values=np.ascontiguousarray(values),
        spacing=three(spacing, "spacing"),
        orientation=axes + 0.0,  # no -0.0
        origin=three(origin + 0.0, "origin"),
    )


def geometry_difference(one: Volume, other: Volume) -> str:
    """In words how the voxels of two volumes lie differently; empty if they are the same places."""
    if one.shape != other.shape:
        return f"shape {times(one.shape)} and {times(other.shape)}"
    if not np.allclose(one.spacing, other.spacing, rtol=1e-2):
        return f"spacing {times(one.spacing)} mm and {times(other.spacing)} mm"
    apart = np.abs(_corners(one) - _corners(other)).max()
    if apart > _SAME * min(one.spacing):
        return f"places up to {apart:.3g} mm apart (orientation or origin differ)"
    return ""


def _corners(volume: Volume) -> np.ndarray:
    far = np.array(volume.shape) - 1
    corners = np.array([(a, b, c, 1) for a in (0, 1) for b in (0, 1) for c in (0, 1)], np.float64)
    corners[:, :3] *= far
    placed: np.ndarray = corners @ volume.affine.T
    return placed[:, :3]
