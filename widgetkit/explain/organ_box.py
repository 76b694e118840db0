"""Organ boxes, and images and maps resampled from them to one common frame."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from widgetkit.errors import BadImage, InvalidInput

Boxes = npt.NDArray[np.float64]
Float = npt.NDArray[np.float32]


def organ_boxes(masks: npt.ArrayLike, *, margin: float = 0.0) -> Boxes:
    """The box around the organ in each mask.

    Parameters
    ----------
    masks : (n, *space) bool
        In two or three dimensions.
    margin : float, px
        Added on every side, up to the border of the image.

    Returns
    -------
    (n, d, 2) float64
        First and last edge along each axis, in pixels: pixel ``i`` reaches from ``i`` to ``i + 1``.

    Raises
    ------
    InvalidInput
        Not boolean, or not images.

    Warns
    -----
    UserWarning
        Some masks are empty: the whole image stands for their organ.
    """
    inside = np.asarray(masks)
    if inside.dtype != np.bool_ or inside.ndim < 2 or 0 in inside.shape[1:]:
        raise InvalidInput(
            f"masks must be boolean, (n, *space); got {inside.dtype} of shape {inside.shape}."
        )
    if not (isinstance(margin, (int, float)) and 0 <= margin < np.inf):
        raise InvalidInput(f"margin={margin!r}: a number of pixels from 0.")
    space = inside.shape[1:]
    boxes = np.empty((len(inside), len(space), 2))
    for axis, side in enumerate(space):
        others = tuple(1 + other for other in range(len(space)) if other != axis)
        line = np.asarray(inside.any(axis=others))  # (n, side)
        boxes[:, axis, 0] = np.maximum(line.argmax(axis=1) - margin, 0)
        boxes[:, axis, 1] = np.minimum(side - line[:, ::-1].argmax(axis=1) + margin, side)
    empty = ~inside.any(axis=tuple(range(1, inside.ndim)))
    if empty.any():
        boxes[empty, :, 0], boxes[empty, :, 1] = 0, space
        warnings.warn(
            f"{int(empty.sum())} of {len(inside)} masks are empty (the first is number "
            f"{int(empty.argmax())}): the whole image stands for their organ.",
            UserWarning,
            stacklevel=2,
        )
    return boxes


def align(
    values: npt.ArrayLike,
    boxes: npt.ArrayLike | None,
    shape: Sequence[int],
    *,
    size: Sequence[int] | None = None,
) -> Float:
    """Maps or images, each resampled from its own box to one common frame.

    By the convention of :func:`~widgetkit.explain.upsample`: cell ``j`` of ``m`` stands at ``(j +
    0.5) / m`` of the box, values between cell centres are linear, and beyond the outermost centres
    of the image the edge repeats. Where a cell of the frame is wider than one of the map it is the
    mean over its area (:func:`~widgetkit.explain.area_mean`).

    Parameters
    ----------
    values : (n, *grid) float, or (n, *grid, 3) for colours
    boxes : (n, d, 2) float, optional
        Edges in pixels of the image, see :func:`organ_boxes`; None: the whole image.
    shape : d ints
        The frame.
    size : d ints, optional
        Pixels of the image that the boxes are in; the grid by default. A map of 8 x 8 cells over
        an image of 64 x 64 has ``size=(64, 64)``.

    Returns
    -------
    (n, *shape[, 3]) float32

    Raises
    ------
    InvalidInput
        Shapes that do not fit; a box that is empty, not finite or outside its image is named.
    """
    given, frame = np.asarray(values), tuple(int(side) for side in shape)
    d = len(frame)
    colours = given.ndim == d + 2 and given.shape[-1] == 3
    if given.ndim != d + 1 + colours or not d or min(frame) < 1 or 0 in given.shape[1:]:
        raise InvalidInput(
            f"Values of shape {given.shape} cannot be aligned to a frame of {frame}."
        )
    grid = given.shape[1 : d + 1]
    sides = grid if size is None else tuple(int(side) for side in size)
    if len(sides) != d or min(sides) < 1:
        raise InvalidInput(f"size={sides} of the images, for a frame of {frame}.")
    if boxes is None:
        steps = [_weights(0.0, cells, cells, m) for cells, m in zip(grid, frame, strict=True)]
        return _apply(given, steps, batch=1)
    edges = check_boxes(boxes, len(given), sides) * (np.array(grid) / np.array(sides))[:, None]
    found = np.empty((len(given), *frame, *given.shape[d + 1 :]), np.float32)
    for i, box in enumerate(edges):
        steps = [
            _weights(low, high, cells, m)
            for (low, high), cells, m in zip(box, grid, frame, strict=True)
        ]
        found[i] = _apply(given[i], steps, batch=0)
    return found


def check_boxes(boxes: npt.ArrayLike, n: int, size: Sequence[int]) -> Boxes:
    """Boxes as float64 if each has room inside its image; InvalidInput names the first that has not."""
    try:
        found = np.asarray(boxes, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"boxes are no numbers: {error}.") from None
    if found.shape != (n, len(size), 2):
        raise InvalidInput(
            f"boxes have shape {found.shape}; expected ({n}, {len(size)}, 2): first and last edge "
            "along each axis of each image."
        )
    low, high = found[..., 0], found[..., 1]
    with np.errstate(invalid="ignore"):
        fits = np.isfinite(found).all(axis=-1) & (low < high) & (low < np.array(size)) & (high > 0)
    bad = np.flatnonzero(~fits.all(axis=1))
    if len(bad):
        i = int(bad[0])
        raise InvalidInput(
            f"Box {i} is {found[i].tolist()} in an image of {tuple(size)}: it is empty, not finite "
            f"or outside ({len(bad)} of {n} are)."
        )
    return found


def checked(values: npt.ArrayLike, what: str) -> npt.NDArray[np.floating]:
    """Values as floats; BadImage names the first row that holds NaN or infinity."""
    found = np.asarray(values)
    if found.dtype.kind not in "fiub":
        raise BadImage(f"{what} are {found.dtype}: expected numbers.")
    if found.dtype.kind == "f":
        bad = np.flatnonzero(~np.isfinite(found).all(axis=tuple(range(1, found.ndim))))
        if len(bad):
            raise BadImage(
                f"{what}: number {int(bad[0])} holds NaN or infinity ({len(bad)} of {len(found)} do). "
                "Leave these rows out."
            )
    return found


def _weights(low: float, high: float, cells: int, wanted: int) -> npt.NDArray[np.float64]:
    """(wanted, cells): what each cell of a map counts in each cell of a frame over [low, high)."""
    step = (high - low) / wanted
    found = np.zeros((wanted, cells))
    at = np.arange(wanted)
    if step > 1:
        edges = low + np.arange(wanted + 1) * step
        start = np.arange(cells)
        overlap = np.minimum(edges[1:, None], start + 1) - np.maximum(edges[:-1, None], start)
        found = np.clip(overlap, 0, None)
        total = found.sum(axis=1, keepdims=True)
        outside = total[:, 0] <= 0
        nearest = np.clip(np.floor((edges[:-1] + edges[1:]) / 2), 0, cells - 1).astype(int)
        found[outside] = np.eye(cells)[nearest[outside]]
        total[outside] = 1
        return np.asarray(found / total)
    centre = np.clip(low + (at + 0.5) * step - 0.5, 0, cells - 1)
    below = np.floor(centre).astype(int)
    above = np.minimum(below + 1, cells - 1)
    share = centre - below
    np.add.at(found, (at, below), 1 - share)
    np.add.at(found, (at, above), share)
    return found


def _apply(values: np.ndarray, steps: Sequence[np.ndarray], *, batch: int) -> Float:
    """One matrix an axis; the first ``batch`` axes are left alone."""
    found = values.astype(np.float64)
    for axis, step in enumerate(steps, batch):
        found = np.moveaxis(np.tensordot(step, found, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(found, dtype=np.float32)
