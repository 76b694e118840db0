"""Fewer corners for rings, by a stated tolerance, without any ring ever crossing itself or another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Int = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

#: Coordinates stay below this, so that products of their differences are exact in 64 bits.
MOST = 2**29
_PAIRS = 4_000_000  # edges compared with points at once


def simplified(rings: Sequence[Int], tolerance: float) -> list[Int]:
    """Rings with corners left out, none of which was further than ``tolerance`` from what stays.

    Douglas-Peucker on all rings at once. Where the result would cross or touch itself or another
    ring, turn over, or leave a hole outside its area, the parts concerned keep more corners, down
    to all of them: valid areas stay valid. Corners where rings touch stay.

    Parameters
    ----------
    rings : sequence of (v, 2) int64
        Of areas that do not overlap, holes among them; below ``MOST`` in size. No ring crosses
        itself or another; at a corner that rings have in common, two pass. Outer rings have a positive signed area, holes a negative one.
    tolerance : float
        In the same unit; 0 gives the rings as they are.

    Returns
    -------
    list of (v, 2) int64
        As many, in the same order.

    References
    ----------
    Douglas & Peucker (1973).
    """
    if tolerance <= 0 or not rings:
        return list(rings)
    pool = _Pool(rings)
    while True:
        pool.refine(tolerance)
        again = pool.conflicts()
        if not again.any():
            return pool.rings()
        if not pool.split(again):
            return list(rings)  # the rings given were not valid themselves


class _Pool:
    """All corners of all rings, and which of them are kept. A *chain* is what lies between two kept."""

    def __init__(self, rings: Sequence[Int]) -> None:
        # Each ring begins at its lowest corner, which lies on its hull and is kept.
        turned = [np.roll(ring, -_lowest(ring), axis=0) for ring in rings]
        self.xy = np.concatenate(turned).astype(np.int64)
        sizes = np.array([len(ring) for ring in turned])
        self.start = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        self.ring = np.repeat(np.arange(len(turned)), sizes)
        self.sign = np.sign(self._areas(self.xy, self.start))
        self.kept = np.zeros(len(self.xy), dtype=bool)
        self.kept[self.start] = True
        self._keep_shared()
        self._chains()

    def rings(self) -> list[Int]:
        first = np.searchsorted(self._at, self.start)
        return np.split(self.xy[self._at], first[1:])

    def refine(self, tolerance: float) -> None:
        """Keep the furthest corner of each chain until none is further than the tolerance."""
        while True:
            few = np.bincount(self.ring[self._at], minlength=len(self.start)) < 3
            wanted = (self._far > tolerance) | few[self.ring[self._at]]
            if not self.split(wanted):
                return

    def split(self, wanted: Bool) -> bool:
        """Keep the furthest corner of the wanted chains; False when none of them has any left."""
        more = self._furthest[wanted & self._open]
        if not len(more):
            return False
        self.kept[more] = True
        self._chains()
        return True

    def conflicts(self) -> Bool:
        """Chains that must keep more corners."""
        a, b = self.xy[self._at], self.xy[self._end]
        bad = crossing(a, b)
        if bad.any():
            return bad
        bad = self._swapped()
        if bad.any():
            return bad
        first = np.searchsorted(self._at, self.start)
        ring = self.ring[self._at]
        over: Bool = np.sign(self._areas(a, first)) != self.sign
        if over.any():
            bad[over[ring]] = True
            return bad
        # Each ring must be as deep inside the others as it was: outer rings in none, holes in one.
        middle = a[first] + b[first]
        around = windings(middle, np.arange(len(first)), 2 * a, 2 * b, ring)
        lost = np.flatnonzero(around != (self.sign < 0))
        return self._chains_around(self.xy[self.start[lost]], ring, lost)

    def _swapped(self) -> Bool:
        """Chains beside a corner where two rings meet that now cross there."""
        bad = np.zeros(len(self._at), dtype=bool)
        shared = np.flatnonzero(self.shared[self._at])
        if not len(shared):
            return bad
        # At a corner of the lattice exactly two pass.
        pairs = shared[np.argsort(self.key[self._at[shared]], kind="stable")].reshape(-1, 2)
        before = np.empty(len(self._at), dtype=np.int64)
        before[np.searchsorted(self._at, self._end)] = np.arange(len(self._at))
        one, two = pairs.T
        at, come, go = (
            self.xy[self._at[one]], self.xy[self._at[before[one]]], self.xy[self._end[one]],
        )  # fmt: skip
        left = [
            _left_of_turn(come, at, go, arm)
            for arm in (self.xy[self._at[before[two]]], self.xy[self._end[two]])
        ]
        wrong = pairs[left[0] != left[1]].reshape(-1)
        bad[wrong] = True
        bad[before[wrong]] = True
        return bad

    # -- chains --------------------------------------------------------------------------
    def _chains(self) -> None:
        """Ends of all chains; the corner of each that is furthest from the line between them."""
        at = np.flatnonzero(self.kept)
        end = np.append(at[1:], 0)
        last = np.append(self.ring[at[1:]] != self.ring[at[:-1]], True)
        end[last] = self.start[self.ring[at[last]]]
        self._at, self._end = at, end
        chain = np.cumsum(self.kept) - 1
        away = _distances(self.xy, self.xy[at][chain], self.xy[end][chain])
        away[at] = -1.0
        self._far = np.maximum.reduceat(away, at)
        found = np.flatnonzero(away == self._far[chain])
        self._furthest = found[np.unique(chain[found], return_index=True)[1]]
        self._open = np.diff(np.append(at, len(self.xy))) > 1
        self._chain = chain

    def _chains_around(self, points: Int, ring: Int, lost: Int) -> Bool:
        """Chains whose own corners reach around one of the points, and those of the lost rings."""
        low = np.minimum.reduceat(self.xy, self._at, axis=0)
        high = np.maximum.reduceat(self.xy, self._at, axis=0)
        low = np.minimum(low, self.xy[self._end])
        high = np.maximum(high, self.xy[self._end])
        found = np.isin(ring, lost)
        for point in points:
            found |= ((low <= point) & (point <= high)).all(axis=1)
        return found

    def _keep_shared(self) -> None:
        self.key = self.xy[:, 1] * (2 * MOST) + self.xy[:, 0]
        _, where, count = np.unique(self.key, return_inverse=True, return_counts=True)
        self.shared = count[where] > 1
        self.kept |= self.shared

    @staticmethod
    def _areas(xy: Int, start: Int) -> Float64:
        size = np.diff(np.append(start, len(xy)))
        near = (xy - np.repeat(xy[start], size, axis=0)).astype(np.float64)
        after = np.roll(near, -1, axis=0)
        after[np.append(start[1:], len(xy)) - 1] = 0.0  # back at the first, which is the origin
        products = near[:, 0] * after[:, 1] - after[:, 0] * near[:, 1]
        found: Float64 = np.add.reduceat(products, start) / 2
        return found


def _lowest(ring: Int) -> int:
    return int(np.lexsort((ring[:, 0], ring[:, 1]))[0])


def _distances(points: Int, a: Int, b: Int) -> Float64:
    """From each point to the segment from a to b."""
    along = (b - a).astype(np.float64)
    off = (points - a).astype(np.float64)
    length = (along**2).sum(axis=1)
    share = (off * along).sum(axis=1) / np.where(length > 0, length, 1.0)
    near = off - np.clip(share, 0.0, 1.0)[:, None] * along
    found: Float64 = np.hypot(near[:, 0], near[:, 1])
    return found


# -- crossings ---------------------------------------------------------------------------
def crossing(a: Int, b: Int) -> Bool:
    """Which of the segments from a to b meet another one other than at a common end.

    Two with a common end meet otherwise where one lies on the other. Exact.

    Parameters
    ----------
    a, b : (s, 2) int64
    """
    bad = np.zeros(len(a), dtype=bool)
    if len(a) < 2:
        return bad
    i, j = _near_pairs(a, b)
    meet = _meet(a[i], b[i], a[j], b[j])
    bad[i[meet]] = True
    bad[j[meet]] = True
    return bad


def _meet(p: Int, q: Int, r: Int, s: Int) -> Bool:
    """Whether segments pq and rs meet otherwise than at one common end."""
    apart = (np.maximum(p, q) < np.minimum(r, s)) | (np.maximum(r, s) < np.minimum(p, q))
    one, two = _side(p, q, r), _side(p, q, s)
    three, four = _side(r, s, p), _side(r, s, q)
    meet = ~apart.any(axis=1) & (one * two <= 0) & (three * four <= 0)
    for end, other in ((p, q), (q, p)):
        for mate, further in ((r, s), (s, r)):
            common = (end == mate).all(axis=1)
            if not common.any():
                continue
            on_line = _side(end, other, further) == 0
            same_way = ((other - end) * (further - mate)).sum(axis=1) > 0
            meet[common] = (on_line & same_way)[common]
    return meet


def _side(a: Int, b: Int, c: Int) -> Int:
    """1 where c is left of ab, -1 right, 0 on its line."""
    u, v = b - a, c - a
    found: Int = np.sign(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])
    return found


def _left_of_turn(come: Int, at: Int, go: Int, point: Int) -> Bool:
    """Whether points lie left of the paths come - at - go, seen from ``at``."""
    first, second = _side(come, at, point) > 0, _side(at, go, point) > 0
    found: Bool = np.where(_side(come, at, go) > 0, first & second, first | second)
    return found


def _near_pairs(a: Int, b: Int) -> tuple[Int, Int]:
    """Pairs of segments that come into one cell of a grid as wide as a segment is long."""
    longest = np.abs(b - a).max(axis=1)
    side = max(float(longest.mean()), 1.0)
    # Long ones in pieces of at most a cell's side, which so touch few cells.
    count = np.maximum(np.ceil(longest / side).astype(np.int64), 1)
    segment = np.repeat(np.arange(len(a)), count)
    number = np.arange(len(segment)) - np.repeat(np.cumsum(count) - count, count)
    step = ((b - a) / count[:, None])[segment]
    begin = a[segment] + step * number[:, None]
    end = begin + step
    # One unit wider: whatever is rounded above is less than that.
    low = np.floor((np.minimum(begin, end) - 1) / side).astype(np.int64)
    high = np.floor((np.maximum(begin, end) + 1) / side).astype(np.int64)
    wide, tall = (high - low + 1).T
    area = wide * tall
    piece = np.repeat(np.arange(len(segment)), area)
    within = np.arange(len(piece)) - np.repeat(np.cumsum(area) - area, area)
    x = low[piece, 0] + within % wide[piece]
    y = low[piece, 1] + within // wide[piece]
    y -= y.min()
    x -= x.min()
    entries = np.unique(np.stack([y * (int(x.max()) + 1) + x, segment[piece]], axis=1), axis=0)
    return _pairs_within(entries[:, 0], entries[:, 1])


def _pairs_within(cell: Int, segment: Int) -> tuple[Int, Int]:
    """All pairs in each cell, each once. Entries are sorted by cell."""
    found: list[Any] = []
    n = len(segment)
    alive = np.arange(n - 1)
    step = 1
    while len(alive):
        alive = alive[alive + step < n]
        alive = alive[cell[alive] == cell[alive + step]]
        found.append(segment[alive] * n + segment[alive + step])
        step += 1
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    pairs = np.unique(np.concatenate(found))
    return pairs // n, pairs % n


def windings(points: Int, ring: Int, a: Int, b: Int, edge_ring: Int) -> Int:
    """How often all rings but its own go around each point.

    Parameters
    ----------
    points : (m, 2) int64
    ring : (m,) int64
        Of each point.
    a, b : (e, 2) int64
        Edges of all rings.
    edge_ring : (e,) int64

    Returns
    -------
    (m,) int64
    """
    total = np.zeros(len(points), dtype=np.int64)
    level = a[:, 1] == b[:, 1]
    a, b, edge_ring = a[~level], b[~level], edge_ring[~level]
    if not len(a) or not len(points):
        return total
    # Edges by the horizontal bands they pass through: a point looks at those of its own.
    low, high = np.minimum(a[:, 1], b[:, 1]), np.maximum(a[:, 1], b[:, 1])
    base = int(min(low.min(), points[:, 1].min()))
    band = max(1, int(np.mean(high - low)))
    first, last = (low - base) // band, (high - base) // band
    count = last - first + 1
    edge = np.repeat(np.arange(len(a)), count)
    row = np.repeat(first, count) + np.arange(len(edge))
    row -= np.repeat(np.cumsum(count) - count, count)
    order = np.argsort(row, kind="stable")
    edge, row = edge[order], row[order]
    mine = (points[:, 1] - base) // band
    begin, end = np.searchsorted(row, mine), np.searchsorted(row, mine, side="right")
    sizes = np.cumsum(end - begin)
    start = 0
    while start < len(points):
        done = int(sizes[start - 1]) if start else 0
        stop = max(int(np.searchsorted(sizes, done + _PAIRS, side="right")), start + 1)
        n = (end - begin)[start:stop]
        who = np.repeat(np.arange(start, stop), n)
        at = edge[
            np.arange(len(who)) - np.repeat(np.cumsum(n) - n, n) + np.repeat(begin[start:stop], n)
        ]
        p, u, v = points[who], a[at], b[at]
        up = (u[:, 1] <= p[:, 1]) & (p[:, 1] < v[:, 1])
        down = (v[:, 1] <= p[:, 1]) & (p[:, 1] < u[:, 1])
        side = _side(u, v, p)
        turn = np.where(up & (side > 0), 1, 0) - np.where(down & (side < 0), 1, 0)
        turn[edge_ring[at] == ring[who]] = 0
        np.add.at(total, who, turn)
        start = stop
    return total
