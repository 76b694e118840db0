"""First and second moments of factors and maps, by unit, added up batch by batch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import Floats, Mask
from widgetkit.analysis._columns import Codes

# A variance below this fraction of the mean square about the shift is rounding.
_ROUNDING = 1e-12


class Moments:
    """Sums by unit of ``k`` factors and ``M`` maps, and what follows from them.

    Positions where a map or a factor is NaN are left out for that map. Sums are of distances from
    the mean of the first batch, so that large offsets cost no digits.

    Attributes
    ----------
    n : (units, M) positions
    """

    def __init__(self, units: int, k: int, maps: int) -> None:
        self.n = np.zeros((units, maps))
        self._a = np.zeros((units, k, maps))
        self._aa = np.zeros((units, k, maps))
        self._b = np.zeros((units, maps))
        self._bb = np.zeros((units, maps))
        self._ab = np.zeros((units, k, maps))
        self._low = np.full((2, max(k, maps)), np.inf)
        self._high = np.full((2, max(k, maps)), -np.inf)
        self._shift: tuple[Floats, Floats] | None = None
        self._missing = np.zeros(maps, np.int64)

    def add(self, units: Codes, a: Floats, b: Floats) -> None:
        """Add positions.

        Parameters
        ----------
        units : (m,) unit of each tile
        a : (m, k, P) float64
        b : (m, M, P) float64
        """
        self._range(0, a)
        self._range(1, b)
        if self._shift is None:
            self._shift = _middle(a), _middle(b)
        a = a - self._shift[0][:, None]
        b = b - self._shift[1][:, None]
        lost = np.isnan(a).any(axis=1)
        for j in range(b.shape[1]):
            self._sum(j, units, a, b[:, j], lost | np.isnan(b[:, j]))

    def add_column(self, j: int, units: Codes, a: Floats, b: Floats) -> None:
        """Add positions of map ``j`` alone: ``units`` (m,), ``a`` (m, k), ``b`` (m,), both centred."""
        self._range(0, a[:, :, None])
        self._low[1, j], self._high[1, j] = np.fmin.reduce(b), np.fmax.reduce(b)
        lost = np.isnan(a).any(axis=1) | np.isnan(b)
        self._sum(j, units, a[:, :, None], b[:, None], lost[:, None])

    def _sum(self, j: int, units: Codes, a: Floats, b: Floats, out: Mask) -> None:
        """Add map ``j``, ``b`` (m, P), with all factors, but for the positions ``out`` (m, P)."""
        count: npt.NDArray[np.intp] = (~out).sum(axis=1)
        if (lost := int(out.sum())) > 0:
            a, b = np.where(out[:, None], 0.0, a), np.where(out, 0.0, b)
            self._missing[j] += lost
        np.add.at(self.n[:, j], units, count)
        np.add.at(self._a[:, :, j], units, a.sum(axis=2))
        np.add.at(self._aa[:, :, j], units, np.einsum("mkp,mkp->mk", a, a))
        np.add.at(self._b[:, j], units, b.sum(axis=1))
        np.add.at(self._bb[:, j], units, np.einsum("mp,mp->m", b, b))
        np.add.at(self._ab[:, :, j], units, np.einsum("mkp,mp->mk", a, b))

    def correlation(self, counts: npt.NDArray[np.float64] | None = None) -> Floats:
        """(k, M) over all units; (draws, k, M) with units counted ``counts`` (draws, units) times."""
        every = np.ones((1, len(self.n))) if counts is None else counts
        n, a, aa, b, bb, ab = (
            np.tensordot(every, values, axes=1)
            for values in (self.n, self._a, self._aa, self._b, self._bb, self._ab)
        )
        n, b, bb = n[:, None], b[:, None], bb[:, None]
        found = _quotient(n, a, aa, b, bb, ab, *self._least())
        return found[0] if counts is None else found

    def by_group(self, owner: Codes, groups: int) -> Floats:
        """(groups, k, M): each group alone. ``owner`` (units,) is the group of each unit."""
        member = np.zeros((groups, len(owner)))
        member[owner, np.arange(len(owner))] = 1
        return self.correlation(member)

    def within(self, owner: Codes, groups: int) -> Floats:
        """(k, M): both sides about the mean of their group."""
        member = np.zeros((groups, len(owner)))
        member[owner, np.arange(len(owner))] = 1
        n, a, aa, b, bb, ab = (
            np.tensordot(member, values, axes=1)
            for values in (self.n, self._a, self._aa, self._b, self._bb, self._ab)
        )
        n, b, bb = n[:, None], b[:, None], bb[:, None]
        size = np.maximum(n, 1)
        variance_a = (aa - a * a / size).sum(axis=0)
        variance_b = (bb - b * b / size).sum(axis=0)
        both = (ab - a * b / size).sum(axis=0)
        total = np.maximum(n.sum(axis=0), 1)
        least_a, least_b = self._least()
        return _divide(both / total, variance_a / total, variance_b / total, least_a, least_b)

    def reason(self, factor: int, map_: int) -> str:
        """Why a correlation is NaN, and what was left out; "" when there is nothing to say."""
        said = []
        if self._missing[map_]:
            whole = int(self.n[:, map_].sum()) + int(self._missing[map_])
            said.append(f"{self._missing[map_]} of {whole} positions are NaN and were left out.")
        if not np.isfinite(self.correlation()[factor, map_]):
            total = self.n[:, map_].sum()
            if total < 2:
                said.append("Fewer than two positions are left.")
            elif self._constant(1, map_):
                said.append("No correlation: the map is constant.")
            elif self._constant(0, factor):
                said.append("No correlation: the factor is constant.")
            else:
                said.append("No correlation: one side is constant where the other was measured.")
        return " ".join(said)

    def _constant(self, side: int, column: int) -> bool:
        return bool(self._low[side, column] == self._high[side, column])

    def _range(self, side: int, values: Floats) -> None:
        width = values.shape[1]
        low, high = self._low[side, :width], self._high[side, :width]
        np.fmin(low, np.fmin.reduce(values, axis=(0, 2)), out=low)
        np.fmax(high, np.fmax.reduce(values, axis=(0, 2)), out=high)

    def _least(self) -> tuple[Floats, Floats]:
        """Variances (k, M) and (1, M) that are only rounding."""
        total = np.maximum(self.n.sum(axis=0), 1)
        return (
            _ROUNDING * self._aa.sum(axis=0) / total,
            _ROUNDING * (self._bb.sum(axis=0) / total)[None],
        )


def _middle(values: Floats) -> Floats:
    """(columns,) a value to take distances from; exactly the value of a constant column."""
    low, high = np.fmin.reduce(values, axis=(0, 2)), np.fmax.reduce(values, axis=(0, 2))
    count = np.isfinite(values).sum(axis=(0, 2))
    mean = np.nansum(values, axis=(0, 2)) / np.maximum(count, 1)
    middle = np.where(low == high, low, mean)
    return np.where(count > 0, middle, 0.0)


def _quotient(
    n: Floats,
    a: Floats,
    aa: Floats,
    b: Floats,
    bb: Floats,
    ab: Floats,
    least_a: Floats,
    least_b: Floats,
) -> Floats:
    size = np.maximum(n, 1)
    mean_a, mean_b = a / size, b / size
    found = _divide(
        ab / size - mean_a * mean_b,
        aa / size - mean_a * mean_a,
        bb / size - mean_b * mean_b,
        least_a,
        least_b,
    )
    return np.where(n < 2, np.nan, found)


def _divide(both: Floats, aa: Floats, bb: Floats, least_a: Floats, least_b: Floats) -> Floats:
    defined = (aa > least_a) & (bb > least_b)
    length = np.sqrt(np.where(defined, aa, 1.0)) * np.sqrt(np.where(defined, bb, 1.0))
    return np.where(defined, np.clip(both / length, -1, 1), np.nan)
