"""A test of clusters against a variable where whole patients, and not their tiles, are independent.

Every patient weighs 1 and is spread over the clusters as its tiles are. The statistic is the share of
the weighted variance between clusters (eta squared; of ranks; of categories phi squared). Under the null
hypothesis it is drawn anew

- by permuting patients, where the variable is one value a patient: the values change places, the spread
  over the clusters stays (exact);
- by flipping signs, where it differs within patients: a patient contributes to each cluster the sum of
  its centred values times its centred membership, which has mean zero when value and membership have
  nothing to do with each other, so its sign is as likely plus as minus (the score form of the wild
  cluster bootstrap: Cameron, Gelbach & Miller 2008; Kline & Santos 2012).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from widgetkit.analysis._arrays import Floats, Ints
from widgetkit.analysis._columns import Codes

# A statistic that differs by less than this fraction is the same one, summed in another order.
_ROUNDING = 1e-10
# Numbers permuted at once.
_CHUNK = 2_000_000


@dataclass(frozen=True)
class Shuffled:
    """What the permutations say.

    Attributes
    ----------
    eta : float
        Share of the variance between clusters.
    chance : float
        Its mean over the permutations: what it is by chance.
    p : float
        Share of permutations, the real one counted, that reach ``eta``; NaN with fewer than two units.
    how : str
    """

    eta: float
    chance: float
    p: float
    how: str


@dataclass(eq=False)
class Shuffles:
    """Permutations and signs, drawn once for all variables of as many units."""

    draws: int
    seed: int
    _orders: dict[int, Ints] = field(default_factory=dict)
    _signs: dict[int, Floats] = field(default_factory=dict)

    def orders(self, units: int) -> Ints:
        """(draws, units) permutations."""
        if units not in self._orders:
            generator = np.random.default_rng((self.seed, units))
            each = np.broadcast_to(np.arange(units, dtype=np.int32), (self.draws, units))
            self._orders[units] = generator.permuted(each, axis=1)
        return self._orders[units]

    def signs(self, units: int) -> Floats:
        """(draws, units) of +1 and -1."""
        if units not in self._signs:
            generator = np.random.default_rng((self.seed, units, 1))
            drawn = generator.integers(0, 2, (self.draws, units), dtype=np.int8)
            self._signs[units] = 2.0 * drawn - 1.0
        return self._signs[units]


def shuffled(
    scores: Floats,
    scale: Floats,
    cluster: Codes,
    k: int,
    unit: Codes,
    units: int,
    weight: Floats,
    *,
    constant: bool,
    shuffles: Shuffles,
    word: str,
) -> Shuffled:
    """Test whether scores differ between clusters.

    Parameters
    ----------
    scores : (r, m)
        One column for amounts or ranks, one a category for categories.
    scale : (m,)
        What squares of each column are divided by: the weighted variance; of a category its share.
    cluster, unit, weight : (r,)
    constant : bool
        Whether scores are the same in all rows of a unit.
    """
    total = float(weight.sum())
    centred = scores - (weight @ scores) / total
    sizes = np.bincount(cluster, weights=weight, minlength=k)
    m = scores.shape[1]
    norm = 1 / (sizes[:, None] * scale[None] * total)  # (k, m)

    def eta(sums: Floats) -> Floats:
        found: Floats = (sums**2 * norm).sum(axis=(-2, -1))
        return found

    weighted = weight[:, None] * centred
    at = unit * k + cluster
    by = np.stack(
        [np.bincount(at, weights=column, minlength=units * k) for column in weighted.T], axis=1
    ).reshape(units, k, m)
    real = float(eta(by.sum(0)))
    if units < 2 or shuffles.draws == 0:
        return Shuffled(real, np.nan, np.nan, "")
    if constant:
        spread = np.bincount(at, weights=weight, minlength=units * k).reshape(units, k)
        first = np.full(units, len(unit))
        np.minimum.at(first, unit, np.arange(len(unit)))
        own = centred[first]  # (units, m)
        orders = shuffles.orders(units)
        drawn: Floats = np.empty(len(orders))
        step = max(1, _CHUNK // max(units, 1))
        for start in range(0, len(orders), step):
            part = orders[start : start + step]
            sums = np.stack([own[:, j][part] @ spread for j in range(m)], axis=-1)
            drawn[start : start + step] = eta(sums)
        how = f"{word}s permuted"
    else:
        # by cluster less the unit's sum times the share of the cluster: both factors centred
        parts = by - by.sum(axis=1, keepdims=True) * (sizes / total)[None, :, None]
        signs = shuffles.signs(units)
        drawn = eta((signs @ parts.reshape(units, k * m)).reshape(-1, k, m))
        how = f"signs of {word}s flipped"
    hits = int((drawn >= real * (1 - _ROUNDING)).sum())
    return Shuffled(real, float(drawn.mean()), (1 + hits) / (1 + len(drawn)), how)


def ridits(x: Floats, weight: Floats) -> Floats:
    """Weighted ranks between 0 and 1, equal values at the middle of theirs (Bross 1958)."""
    _, place = np.unique(x, return_inverse=True)
    own = np.bincount(place, weights=weight)
    middle = np.cumsum(own) - own / 2
    found: Floats = (middle / own.sum())[place]
    return found
