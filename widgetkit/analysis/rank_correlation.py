"""Spearman's correlation of many pairs: exact ranks once, classes of ranks in the draws."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import Floats, Ints, sample_rows
from widgetkit.analysis._columns import Codes
from widgetkit.analysis._ranks import mean_ranks, rank_classes
from widgetkit.analysis.moments import Moments
from widgetkit.analysis.resampling import Counts, resample

# Classes of ranks in the draws; fewer with many units, whose tables of classes are kept at once.
_CLASSES, _CLASSES_MANY, _MANY_UNITS = 64, 32, 200

# Draws whose tables of classes are held at once: 128 * 64 * 64 * 8 bytes are 4 MB.
_DRAWS = 128


class RankSample:
    """Positions kept for ranking: all of them up to a bound, a seeded sample above.

    Parameters
    ----------
    tiles, positions : int
        Tiles, and positions of each.
    most : int
        Positions kept at the most.
    seed : int
    """

    def __init__(self, tiles: int, positions: int, most: int, seed: int) -> None:
        total = tiles * positions
        self._positions = positions
        self._chosen = sample_rows(total, most, seed) if total > most else None
        self._parts: list[tuple[Floats, Floats, Codes]] = []
        self._ranked: list[tuple[Floats, Floats]] = []
        self.note = (
            f"Ranked on {most} of {total} positions, drawn at random (seed {seed})."
            if total > most
            else ""
        )

    def add(self, rows: Ints, a: Floats, b: Floats, units: Codes) -> None:
        """Take from a batch (m, k, P), (m, M, P) of tiles ``rows`` what is in the sample."""
        if self._chosen is None:
            tile = np.repeat(np.arange(len(rows)), self._positions)
            place = np.tile(np.arange(self._positions), len(rows))
        else:
            start = np.searchsorted(self._chosen, rows * self._positions)
            stop = np.searchsorted(self._chosen, (rows + 1) * self._positions)
            tile = np.repeat(np.arange(len(rows)), stop - start)
            ahead = np.cumsum(stop - start) - (stop - start)
            at = np.arange(len(tile)) - ahead[tile] + start[tile]
            place = self._chosen[at] - rows[tile] * self._positions
        self._parts.append((a[tile, :, place], b[tile, :, place], units[tile]))

    def _all(self) -> tuple[Floats, Floats, Codes]:
        if len(self._parts) > 1:
            a, b, units = zip(*self._parts, strict=True)
            self._parts = [(np.concatenate(a), np.concatenate(b), np.concatenate(units))]
        return self._parts[0]

    def moments(self, units: int) -> Moments:
        """Moments of the ranks, each map with the positions where it was measured."""
        a, b, codes = self._all()
        found = Moments(units, a.shape[1], b.shape[1])
        lost = np.isnan(a).any(axis=1)
        whole: Floats | None = None
        self._ranked = []
        for j in range(b.shape[1]):
            out = lost | np.isnan(b[:, j])
            if out.any() or whole is None:
                ranks = mean_ranks(a, out)
                whole = None if out.any() else ranks
            else:
                ranks = whole
            self._ranked.append((ranks, mean_ranks(b[:, [j]], out)[:, 0]))
            found.add_column(j, codes, *self._ranked[j])
        return found

    def per_group(self, owner: Codes, groups: int) -> list[float]:
        """Spearman of the first factor and map, ranked in each group alone."""
        a, b, units = self._all()
        found = []
        for group in range(groups):
            mine = owner[units] == group
            x, y = a[mine, :1], b[mine, :1]
            out = np.isnan(x[:, 0]) | np.isnan(y[:, 0])
            alone = Moments(1, 1, 1)
            if len(x):
                first = np.zeros(len(x), np.intp)
                alone.add_column(0, first, mean_ranks(x, out), mean_ranks(y, out)[:, 0])
            found.append(float(alone.correlation()[0, 0]))
        return found

    def resample(self, r: Floats, units: int, n_boot: int, seed: int) -> npt.NDArray[np.float64]:
        """(n_boot, k, M) correlations of draws, ranks taken anew in each.

        Ranking every draw exactly would sort all positions a thousand times. Positions are put
        into classes of equal size instead (ties stay together), a draw adds up the classes of the
        units drawn, and ranks follow from the sums. What the classes cost at the estimate itself
        is put back, so that the draws lie about ``r``.
        """
        codes = self._all()[2]
        classes = _CLASSES if units <= _MANY_UNITS else _CLASSES_MANY
        found = np.full((n_boot, *r.shape), np.nan)
        for i, j in np.argwhere(np.isfinite(r)):
            ranks_a, ranks_b = self._ranked[j]
            kept = ~np.isnan(ranks_b)
            table = _table(ranks_a[kept, i], ranks_b[kept], codes[kept], units, classes)

            def of(counts: Counts, table: Floats = table) -> npt.NDArray[np.float64]:
                return _of_classes(counts, table, classes)

            about = of(np.ones((1, units)))[0]
            drawn = resample(of, units, n_boot, seed)
            found[:, i, j] = np.clip(drawn + (r[i, j] - about), -1, 1)
        return found


def _table(a: Floats, b: Floats, units_of: Codes, units: int, classes: int) -> Floats:
    """(units, classes * classes) positions of each unit in each pair of classes."""
    x, y = (rank_classes(side, classes) for side in (a, b))
    flat = (units_of * classes + x) * classes + y
    return np.bincount(flat, minlength=units * classes**2).reshape(units, -1).astype(np.float64)


def _of_classes(counts: Counts, table: Floats, classes: int) -> npt.NDArray[np.float64]:
    found = np.empty(len(counts))
    for start in range(0, len(counts), _DRAWS):
        joint = (counts[start : start + _DRAWS] @ table).reshape(-1, classes, classes)
        sides = joint.sum(axis=2), joint.sum(axis=1)
        total = sides[0].sum(axis=1, keepdims=True)
        # mean rank of a class, taken from the mean of all ranks
        x, y = (np.cumsum(side, axis=1) - side / 2 - total / 2 for side in sides)
        both = np.einsum("bq,bqr,br->b", x, joint, y, optimize=True)
        xx, yy = (sides[0] * x * x).sum(axis=1), (sides[1] * y * y).sum(axis=1)
        defined = (xx > 0) & (yy > 0)
        length = np.sqrt(np.where(defined, xx, 1.0)) * np.sqrt(np.where(defined, yy, 1.0))
        found[start : start + _DRAWS] = np.where(defined, both / length, np.nan)
    return found
