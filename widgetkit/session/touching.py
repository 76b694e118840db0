"""Which boxes share area with a drawn outline."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from widgetkit.session import geometry

Float64 = npt.NDArray[np.float64]


def corners_of(box: Float64) -> Float64:
    """The box x0, y0, x1, y1 (corners in any order) as a polygon (4, 2)."""
    x0, x1 = sorted((float(box[0]), float(box[2])))
    y0, y1 = sorted((float(box[1]), float(box[3])))
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def touching(polygon: npt.ArrayLike, boxes: Float64) -> npt.NDArray[np.bool_]:
    """Boxes of which some area lies inside a polygon (even-odd).

    Parameters
    ----------
    polygon : (v, 2) float
    boxes : (m, 4) float
        x0, y0, x1, y1 with x0 < x1 and y0 < y1; NaN touches nothing.

    Returns
    -------
    (m,) bool
    """
    corners = geometry.polygon_of(polygon)
    found = np.zeros(len(boxes), dtype=bool)
    if len(corners) < 3 or not len(boxes):
        return found
    # A box without an edge of the outline in it is all inside or all outside.
    found |= geometry.inside(corners, (boxes[:, :2] + boxes[:, 2:]) / 2)
    order = np.argsort(boxes[:, 0], kind="stable")  # NaN last
    left = boxes[order, 0]
    widest = float(np.nanmax(boxes[:, 2] - boxes[:, 0], initial=0.0))
    ends = np.roll(corners, -1, axis=0)
    for (ax, ay), (bx, by) in zip(corners.tolist(), ends.tolist(), strict=True):
        first = np.searchsorted(left, min(ax, bx) - widest, side="left")
        last = np.searchsorted(left, max(ax, bx), side="right")
        near = order[first:last]
        near = near[~found[near]]
        if len(near):
            found[near] = _crossed(boxes[near], ax, ay, bx, by)
    return found


def _crossed(boxes: Float64, ax: float, ay: float, bx: float, by: float) -> npt.NDArray[np.bool_]:
    """Whether the segment a-b has a part in the open inside of each box (Liang & Barsky 1984)."""
    low, high = np.zeros(len(boxes)), np.ones(len(boxes))
    outside = np.zeros(len(boxes), dtype=bool)
    for start, step, near, far in (
        (ax, bx - ax, boxes[:, 0], boxes[:, 2]),
        (ay, by - ay, boxes[:, 1], boxes[:, 3]),
    ):
        if step == 0:
            outside |= (start <= near) | (start >= far)
            continue
        enter, leave = (near - start) / step, (far - start) / step
        low = np.maximum(low, np.minimum(enter, leave))
        high = np.minimum(high, np.maximum(enter, leave))
    crossed: npt.NDArray[np.bool_] = (low < high) & ~outside
    return crossed
