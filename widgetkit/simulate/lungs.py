"""The lungs of a chest CT: where the air inside the body is, and which lung it belongs to."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput
from widgetkit.tiles.volume import Volume

Labels = npt.NDArray[np.uint8]

#: Names of the values of :func:`lung_labels` from 1: the patient's right lung is on the image's left.
SIDES = ("right", "left")
#: Air is darker; between lung (some -850 HU) and soft tissue (some 40 HU).
AIR_HU = -400.0
#: Of one piece of air in a slice, mm^2: the windpipe has some 300, a lung above its tip more.
LEAST_PIECE_MM2 = 800.0
#: Share of the largest piece of the volume: gas of the bowel has less.
LEAST_SHARE = 0.2
#: Vessels thinner than twice this are counted to the lung.
CLOSE_MM = 5.0


def lung_labels(volume: Volume) -> Labels:
    """Both lungs of a chest CT in axial slices: 0 outside, 1 the right lung, 2 the left.

    Air that the body encloses, slice by slice, without windpipe and bowel; vessels inside are part
    of it. Where both lungs touch, they are parted in the middle. Made for whole, normally shaped
    lungs; consolidated parts are missed.

    Parameters
    ----------
    volume : Volume
        In HU.

    Returns
    -------
    (D, H, W) uint8

    Raises
    ------
    InvalidInput
        Not in HU, not axial, or there are no two lungs in it.
    """
    from scipy import ndimage

    if volume.units != "HU" or volume.plane != "axial":
        raise InvalidInput(
            f"{volume!r} is not an axial CT in HU. Read it with modality='CT', and its slices from "
            "feet to head."
        )
    pixel = volume.spacing[1] * volume.spacing[2]
    air = volume.values < AIR_HU
    inside = np.zeros(volume.shape, bool)
    for found, plane in zip(inside, air, strict=True):
        pieces, count = ndimage.label(plane)
        rim = np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]])
        area = np.bincount(pieces.ravel(), minlength=count + 1) * pixel
        area[rim] = 0
        area[0] = 0
        found[:] = (area >= LEAST_PIECE_MM2)[pieces]
    pieces, count = ndimage.label(inside)
    size = np.bincount(pieces.ravel(), minlength=count + 1)
    size[0] = 0
    inside = (size >= LEAST_SHARE * max(1, size.max()))[pieces]
    labels = np.zeros(volume.shape, np.uint8)
    middle = _middle(volume.values)
    for found, plane, column in zip(labels, inside, middle, strict=True):
        if plane.any():
            found[:] = _sides(plane, column, volume.spacing[1:])
    missing = [name for value, name in enumerate(SIDES, 1) if not (labels == value).any()]
    if missing:
        raise InvalidInput(
            f"No {' and no '.join(missing)} lung was found in {volume!r}. It must be a CT of the chest "
            "with both lungs, the whole body in the picture."
        )
    return labels


def _middle(values: np.ndarray) -> npt.NDArray[np.float64]:
    """(D,) column in the middle of the body of each slice."""
    dense = (values > AIR_HU).sum(axis=1, dtype=np.float64)
    columns = np.arange(values.shape[2])
    middle: npt.NDArray[np.float64] = (dense * columns).sum(1) / np.maximum(dense.sum(1), 1)
    return middle


def _sides(plane: npt.NDArray[np.bool_], middle: float, spacing: tuple[float, ...]) -> Labels:
    """One slice: pieces by the side that most of them lies on, cut where one spans both."""
    from scipy import ndimage

    columns = np.arange(plane.shape[1])
    right = np.zeros(plane.shape, bool)
    left = np.zeros(plane.shape, bool)
    pieces, count = ndimage.label(plane)
    for number in range(1, count + 1):
        piece = pieces == number
        share = piece[:, columns < middle].sum() / piece.sum()
        if 0.1 < share < 0.9:  # both lungs, which touch in front of or behind the heart
            right |= piece & (columns < middle)
            left |= piece & (columns >= middle)
        elif share >= 0.9:
            right |= piece
        else:
            left |= piece
    out = np.zeros(plane.shape, np.uint8)
    ball = _disc(CLOSE_MM, spacing)
    reach = max(ball.shape)
    for value, side in ((1, right), (2, left)):
        if side.any():
            closed = ndimage.binary_closing(np.pad(side, reach), ball)[reach:-reach, reach:-reach]
            out[ndimage.binary_fill_holes(closed) & (out == 0)] = value
    return out


def _disc(radius: float, spacing: tuple[float, ...]) -> npt.NDArray[np.bool_]:
    reach = [max(1, int(radius / step)) for step in spacing]
    axes = [np.arange(-r, r + 1) * step for r, step in zip(reach, spacing, strict=True)]
    disc: npt.NDArray[np.bool_] = axes[0][:, None] ** 2 + axes[1][None] ** 2 <= radius**2
    return disc
