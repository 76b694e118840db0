"""Borders of areas on a raster: exact outlines of cells, and smooth lines of equal value."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

Int = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

# A ring is (v, 2): x, y of its corners, not closed. Rings run with their inside on the left where y
# points up: the signed area of an outer ring is positive, of a hole negative (RFC 7946).
Area = tuple[npt.NDArray[Any], list[npt.NDArray[Any]]]

_EAST, _SOUTH, _WEST, _NORTH = range(4)
#: A line of equal value keeps this share of a cell away from the cells' centres, so that its
#: corners stay apart when they are rounded.
CLEARANCE = 1 / 256
#: Least distance of a value from the threshold, as a share of the largest.
_FLOOR = 1e-6


def outlines(mask: npt.NDArray[np.bool_]) -> list[Area]:
    """Outer ring and holes of each 4-connected area of cells, along the cells' edges.

    Areas that touch at a corner only are two; a hole may touch its outer ring or another hole at
    a corner. The inside of each area is connected, so each is a valid polygon, and its area is its
    number of cells.

    Parameters
    ----------
    mask : (H, W) bool

    Returns
    -------
    list of (outer, holes)
        Whole numbers: cell ``(row, column)`` is the square from ``(column, row)``.
    """
    corners = _Corners(mask)
    if not len(corners.x):
        return []
    order, starts = _cycles(corners.following())
    component = corners.components(mask)
    rings: list[tuple[Int, int]] = []
    points = np.stack([corners.x, corners.y], axis=1)[order]
    key = points[:, 1] * (mask.shape[1] + 1) + points[:, 0]
    ring = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    pinched = _with_repeats(ring, key)
    for i in range(len(starts) - 1):
        part = slice(starts[i], starts[i + 1])
        which = int(component[order[starts[i]]])
        if i in pinched:
            rings += [(loop, which) for loop in _simple_loops(points[part], key[part])]
        else:
            rings.append((points[part], which))
    return _areas(rings)


def level_lines(values: npt.ArrayLike, threshold: float) -> list[Area]:
    """Outer ring and holes of each area where the values exceed a threshold, smooth between cells.

    Between the centres of neighbouring cells the value runs linearly (marching squares); an area
    ends at the raster's edge, and half way to the centre of a cell without a value.

    Parameters
    ----------
    values : (H, W) float
        NaN where there is none.
    threshold : float

    Returns
    -------
    list of (outer, holes)
        Cell ``(row, column)`` is the square from ``(column, row)``, its centre half a cell on.
        A corner lies at least ``CLEARANCE`` of a cell from every centre.
    """
    from contourpy import FillType, contour_generator

    above = _signed_distances(np.asarray(values, dtype=np.float64) - threshold)
    if above is None:
        return []
    height, width = above.shape
    # A rim of half a cell, where the value no longer changes: areas close at the raster's edge.
    rimmed = np.pad(above, 1, mode="edge")
    maker = contour_generator(z=rimmed, fill_type=FillType.OuterOffset)
    most = float(rimmed.max()) * 2
    filled: Any = maker.filled(0.0, most)
    points, offsets = filled
    found: list[Area] = []
    for one, at in zip(points, offsets, strict=True):
        rings = []
        for start, stop in pairwise(at):
            ring = _without_repeats(_kept_clear(np.asarray(one[start : stop - 1])))
            rings.append(np.stack([_cells(ring[:, 0], width), _cells(ring[:, 1], height)], axis=1))
        # the outer ring is the first
        found.append((_turned(rings[0], 1), [_turned(hole, -1) for hole in rings[1:]]))
    return found


def signed_area(ring: npt.NDArray[Any]) -> float:
    """Area inside a ring: positive where its inside is on the left with y pointing up."""
    moved = (ring - ring[0]).astype(np.float64)
    x, y = moved[:, 0], moved[:, 1]
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


# -- outlines of cells -------------------------------------------------------------------
class _Corners:
    """Where an outline turns: the direction it comes in and goes out by, inside on its left."""

    def __init__(self, mask: npt.NDArray[np.bool_]) -> None:
        height, width = mask.shape
        padded = np.zeros((height + 2, width + 2), dtype=np.uint8)
        padded[1:-1, 1:-1] = mask
        code = padded[:-1, :-1] + 2 * padded[:-1, 1:] + 4 * padded[1:, :-1] + 8 * padded[1:, 1:]
        y, x = np.nonzero(_TURNS[:, 0][code] >= 0)
        here = code[y, x]
        self.shape = (height, width)
        self.come, self.go = _TURNS[here, 0], _TURNS[here, 1]
        # Where two cells touch at a corner, two outlines turn, each around its own cell.
        twice = np.flatnonzero(_SECOND[here, 0] >= 0)
        self.x = np.concatenate([x, x[twice]]).astype(np.int64)
        self.y = np.concatenate([y, y[twice]]).astype(np.int64)
        self.come = np.concatenate([self.come, _SECOND[here[twice], 0]])
        self.go = np.concatenate([self.go, _SECOND[here[twice], 1]])

    def following(self) -> Int:
        """(m,) the corner that comes after each."""
        after = np.empty(len(self.x), dtype=np.int64)
        across = self.y * (self.shape[1] + 1) + self.x
        down = self.x * (self.shape[0] + 1) + self.y
        for direction in (_EAST, _SOUTH, _WEST, _NORTH):
            key = across if direction in (_EAST, _WEST) else down
            leave = np.flatnonzero(self.go == direction)
            arrive = np.flatnonzero(self.come == direction)
            # Along a line of the lattice, edges of one direction never overlap: the k-th that
            # leaves arrives at the k-th.
            after[leave[np.argsort(key[leave])]] = arrive[np.argsort(key[arrive])]
        return after

    def components(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
        """(m,) number of the 4-connected area that the outline at each corner goes around."""
        from scipy.ndimage import label

        number = np.empty(mask.shape, dtype=np.int32)
        label(mask, output=number)
        left = np.isin(self.go, (_SOUTH, _WEST))  # the cell inside, from the corner it goes on from
        above = np.isin(self.go, (_WEST, _NORTH))
        found: npt.NDArray[np.int32] = number[self.y - above, self.x - left]
        return found


def _turn_tables() -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int8]]:
    """(16, 2) come and go for the four cells around a lattice point: nw 1, ne 2, sw 4, se 8."""
    turns = np.full((16, 2), -1, dtype=np.int8)
    second = turns.copy()
    for code in range(16):
        nw, ne, sw, se = (bool(code & bit) for bit in (1, 2, 4, 8))
        if (nw, ne) == (se, sw):
            continue  # all alike, or two that touch at the corner only: below
        come: list[int] = []
        go: list[int] = []
        if nw != ne:
            (go if ne else come).append(_NORTH if ne else _SOUTH)
        if sw != se:
            (go if sw else come).append(_SOUTH if sw else _NORTH)
        if nw != sw:
            (come if sw else go).append(_EAST if sw else _WEST)
        if ne != se:
            (go if se else come).append(_EAST if se else _WEST)
        if come and (come[0] != go[0]):
            turns[code] = come[0], go[0]
    turns[6], second[6] = (_WEST, _NORTH), (_EAST, _SOUTH)  # around ne; around sw
    turns[9], second[9] = (_SOUTH, _WEST), (_NORTH, _EAST)  # around nw; around se
    return turns, second


_TURNS, _SECOND = _turn_tables()


def _cycles(after: Int) -> tuple[Int, Int]:
    """Elements of a permutation cycle by cycle, in order, and where each cycle starts."""
    count = len(after)
    leader = np.arange(count)
    jump = after.copy()
    for _ in range(max(1, int(count - 1).bit_length())):  # doubling: log2 steps see the whole cycle
        lower = np.minimum(leader, leader[jump])
        if np.array_equal(lower, leader):
            break
        leader, jump = lower, jump[jump]
    # steps to the leader, by doubling as well
    is_leader = leader == np.arange(count)
    steps = np.where(is_leader, 0, 1)
    jump = np.where(is_leader, np.arange(count), after)
    while True:
        further = steps[jump]
        if not further.any():
            break
        steps, jump = steps + further, jump[jump]
    order = np.lexsort((np.where(is_leader, -count, -steps), leader))
    sizes = np.unique(leader, return_counts=True)[1]
    return order, np.concatenate([[0], np.cumsum(sizes)])


def _with_repeats(ring: Int, key: Int) -> set[int]:
    """Rings that come to a point twice."""
    order = np.lexsort((key, ring))
    same = (np.diff(ring[order]) == 0) & (np.diff(key[order]) == 0)
    return set(ring[order[1:][same]].tolist())


def _simple_loops(points: Int, keys: Int) -> list[Int]:
    """A ring that comes to points twice, cut there into rings that do not."""
    loops: list[Int] = []
    trail: list[int] = []
    at: dict[int, int] = {}
    for i, key in enumerate(keys.tolist()):
        if key in at:
            start = at[key]
            loops.append(points[trail[start:]])
            for j in trail[start + 1 :]:
                del at[int(keys[j])]
            del trail[start + 1 :]
        else:
            at[key] = len(trail)
            trail.append(i)
    loops.append(points[trail])
    return loops


def _areas(rings: list[tuple[Int, int]]) -> list[Area]:
    outer: dict[int, Int] = {}
    holes: dict[int, list[npt.NDArray[Any]]] = {}
    for ring, which in rings:
        if signed_area(ring) > 0:
            outer[which] = ring
        else:
            holes.setdefault(which, []).append(ring)
    return [(outer[which], holes.get(which, [])) for which in sorted(outer)]


# -- lines of equal value ----------------------------------------------------------------
def _signed_distances(above: Float64) -> Float64 | None:
    """Values relative to the threshold, none of them zero or missing; None when none exceeds it."""
    there = np.isfinite(above)
    inside = there & (above > 0)
    if not inside.any():
        return None
    largest = float(np.abs(above[there]).max())
    # Away from zero: a line through a centre could touch another there.
    floor = largest * _FLOOR
    out = np.where(inside, np.maximum(above, floor), np.minimum(above, -floor))
    # A cell without a value mirrors its neighbours that exceed: the line runs half way to it.
    total = np.zeros(above.shape)
    count = np.zeros(above.shape)
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        here, there_ = _shifted(above.shape, dy, dx)
        total[here] += np.where(inside[there_], out[there_], 0.0)
        count[here] += inside[there_]
    mirrored = -np.where(count > 0, total / np.maximum(count, 1), largest)
    found: Float64 = np.where(there, out, mirrored)
    return found


def _shifted(
    shape: tuple[int, ...], dy: int, dx: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    def pair(step: int, size: int) -> tuple[slice, slice]:
        return slice(max(0, -step), size - max(0, step)), slice(max(0, step), size - max(0, -step))

    (y, other_y), (x, other_x) = pair(dy, shape[0]), pair(dx, shape[1])
    return (y, x), (other_y, other_x)


def _kept_clear(ring: Float64) -> Float64:
    """Corners moved along their lattice line to at least CLEARANCE from the lattice points.

    contourpy puts each on a line of the lattice: one coordinate is whole, the other is not (but
    for the corners of the raster).
    """
    nearest = np.rint(ring)
    base = np.floor(ring)
    moved = base + np.clip(ring - base, CLEARANCE, 1 - CLEARANCE)
    # What is whole comes back with the last bits rounded; a crossing is _FLOOR / 2 away at least.
    return np.where(np.abs(ring - nearest) < _FLOOR / 4, nearest, moved)


def _without_repeats(ring: Float64) -> Float64:
    keep = (ring != np.roll(ring, 1, axis=0)).any(axis=1)
    found: Float64 = ring[keep]
    return found


def _cells(index: Float64, cells: int) -> Float64:
    """From numbers in the rimmed raster to cells from the raster's edge."""
    found: Float64 = np.interp(index, (0, 1, cells, cells + 1), (0, 0.5, cells - 0.5, cells))
    return found


def _turned(ring: npt.NDArray[Any], sign: int) -> npt.NDArray[Any]:
    return ring if signed_area(ring) * sign > 0 else ring[::-1]
