"""Tests of two and more groups, their effect sizes, and corrections for many of them; on arrays.

Closed forms over counts, means and ranks, with the distributions of ``scipy.special``: importing
``scipy.stats`` takes a second, which a view that follows a selection does not have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import Floats
from widgetkit.analysis._columns import Codes

Counts = npt.NDArray[np.float64]

# Mann-Whitney is exact up to here where no values are equal, as in scipy.
_EXACT = 8
# Probabilities of two tables that differ by less than this, relatively, are taken for equal.
_SAME = 1e-7
# A variance below this fraction of the squared values is rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Tested:
    """A test's name, statistic, degrees of freedom (NaN where it has none) and p."""

    test: str
    statistic: float
    p: float
    df: float = np.nan
    df2: float = np.nan


@dataclass(frozen=True, eq=False)
class Moments:
    """Numbers of rows, means and sample variances of k groups, each (k,)."""

    n: Floats
    mean: Floats
    var: Floats

    @classmethod
    def of(cls, x: Floats, group: Codes, k: int) -> Moments:
        n = np.bincount(group, minlength=k).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.bincount(group, weights=x, minlength=k) / n
            squares = np.bincount(group, weights=(x - mean[group]) ** 2, minlength=k)
            var = squares / (n - 1)
        # what rounding leaves of equal values is no spread
        size = max(float(np.abs(x).max(initial=0.0)), 1e-300)
        return cls(n, mean, np.where(var <= _ROUNDING * size * size, 0.0, var))

    @property
    def between(self) -> float:
        whole = float(self.n @ self.mean / self.n.sum())
        return float(self.n @ (self.mean - whole) ** 2)

    @property
    def within(self) -> float:
        return float((self.n - 1) @ self.var)

    @property
    def eta(self) -> float:
        """Eta squared: share of the variance between groups."""
        return self.between / (self.between + self.within)

    @property
    def omega(self) -> float:
        """Omega squared: the same less what chance gives; may fall a little below 0."""
        k, n = len(self.n), float(self.n.sum())
        noise = self.within / (n - k)
        return (self.between - (k - 1) * noise) / (self.between + self.within + noise)

    @property
    def d(self) -> float:
        """Cohen's d of the first of two groups less the second, over the pooled deviation."""
        pooled = self.within / (self.n.sum() - 2)
        return float((self.mean[0] - self.mean[1]) / np.sqrt(pooled))


# -- means -------------------------------------------------------------------------------
def anova(m: Moments) -> Tested:
    """One-way analysis of variance."""
    from scipy.special import fdtrc

    k, n = len(m.n), float(m.n.sum())
    f = (m.between / (k - 1)) / (m.within / (n - k))
    return Tested("ANOVA", f, float(fdtrc(k - 1, n - k, f)), k - 1, n - k)


def welch_anova(m: Moments) -> Tested:
    """Analysis of variance without equal variances (Welch 1951)."""
    from scipy.special import fdtrc

    k = len(m.n)
    w = m.n / m.var
    mean = float(w @ m.mean / w.sum())
    tail = float(((1 - w / w.sum()) ** 2 / (m.n - 1)).sum())
    f = float(w @ (m.mean - mean) ** 2) / (k - 1) / (1 + 2 * (k - 2) / (k**2 - 1) * tail)
    df2 = (k**2 - 1) / (3 * tail)
    return Tested("Welch's ANOVA", f, float(fdtrc(k - 1, df2, f)), k - 1, df2)


def t_test(m: Moments, *, equal: bool = False) -> Tested:
    """Difference of two means, by Welch's t or, with ``equal`` variances, Student's."""
    n1, n2 = m.n
    if equal:
        df = n1 + n2 - 2
        error = np.sqrt(m.within / df * (1 / n1 + 1 / n2))
    else:
        a, b = m.var / m.n
        error = np.sqrt(a + b)
        df = (a + b) ** 2 / (a * a / (n1 - 1) + b * b / (n2 - 1))
    t = float((m.mean[0] - m.mean[1]) / error)
    return Tested("Student's t" if equal else "Welch's t", t, two_sided_t(t, float(df)), float(df))


def two_sided_t(t: float, df: float) -> float:
    from scipy.special import stdtr

    return float(2 * stdtr(df, -abs(t)))


# -- ranks -------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Ranks:
    """Mean ranks of k groups: ``n`` (k,) rows, ``total`` (k,) sums of ranks, ``ties`` sum of t^3 - t."""

    n: Floats
    total: Floats
    ties: float

    @classmethod
    def of(cls, x: Floats, group: Codes, k: int) -> Ranks:
        _, place, counts = np.unique(x, return_inverse=True, return_counts=True)
        ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
        total: Floats = np.bincount(group, weights=ranks, minlength=k).astype(np.float64)
        sizes = counts.astype(np.float64)
        return cls(
            np.bincount(group, minlength=k).astype(np.float64),
            total,
            float((sizes**3 - sizes).sum()),
        )

    @property
    def rows(self) -> float:
        return float(self.n.sum())

    @property
    def h(self) -> float:
        """Kruskal and Wallis's H, corrected for ties."""
        n = self.rows
        raw = 12 / (n * (n + 1)) * float((self.total**2 / self.n).sum()) - 3 * (n + 1)
        return raw / (1 - self.ties / (n**3 - n))

    @property
    def epsilon(self) -> float:
        """Epsilon squared, ``H / (n - 1)`` (Kelley; Tomczak & Tomczak 2014)."""
        return self.h / (self.rows - 1)

    @property
    def excess(self) -> float:
        """``(H - k + 1) / (n - k)``: the same less what chance gives."""
        k = len(self.n)
        return (self.h - k + 1) / (self.rows - k) if self.rows > k else np.nan

    @property
    def biserial(self) -> float:
        """``P(a > b) - P(a < b)`` for a row of the first of two groups and one of the second."""
        n1, n2 = self.n
        u = self.total[0] - n1 * (n1 + 1) / 2
        return float(2 * u / (n1 * n2) - 1)


def kruskal(r: Ranks) -> Tested:
    """Kruskal-Wallis test of k groups."""
    from scipy.special import chdtrc

    k = len(r.n)
    return Tested("Kruskal-Wallis", r.h, float(chdtrc(k - 1, r.h)), k - 1)


def mann_whitney(x: Floats, group: Codes) -> Tested:
    """Mann-Whitney U of two groups: exact where one has at most 8 rows and no values are equal."""
    from scipy.special import ndtr

    r = Ranks.of(x, group, 2)
    n1, n2 = r.n
    u = float(r.total[0] - n1 * (n1 + 1) / 2)
    if min(n1, n2) <= _EXACT and r.ties == 0:
        from scipy import stats  # seldom, and then of few rows

        exact = stats.mannwhitneyu(x[group == 0], x[group == 1], method="exact")
        return Tested("Mann-Whitney U, exact", u, float(exact.pvalue))
    n = n1 + n2
    spread = np.sqrt(n1 * n2 / 12 * ((n + 1) - r.ties / (n * (n - 1))))
    z = (max(u, n1 * n2 - u) - n1 * n2 / 2 - 0.5) / spread
    return Tested("Mann-Whitney U", u, min(1.0, float(2 * ndtr(-z))))


def dunn(r: Ranks, a: int, b: int) -> Tested:
    """Dunn's test of two of the k groups that were ranked together."""
    from scipy.special import ndtr

    n = r.rows
    spread = (n * (n + 1) - r.ties / (n - 1)) / 12 * (1 / r.n[a] + 1 / r.n[b])
    z = float((r.total[a] / r.n[a] - r.total[b] / r.n[b]) / np.sqrt(spread))
    return Tested("Dunn", z, min(1.0, float(2 * ndtr(-abs(z)))))


# -- tables of counts --------------------------------------------------------------------
def counts_of(level: Codes, group: Codes, levels: int, k: int) -> Counts:
    """(k, levels) rows of each group with each level."""
    flat = np.bincount(group * levels + level, minlength=k * levels)
    found: Counts = flat.reshape(k, levels).astype(np.float64)
    return found


def filled(table: Counts) -> Counts:
    """The table without empty rows and columns."""
    found: Counts = table[table.sum(1) > 0][:, table.sum(0) > 0]
    return found


def expected(table: Counts) -> Counts:
    found: Counts = np.outer(table.sum(1), table.sum(0)) / table.sum()
    return found


def is_sparse(table: Counts) -> bool:
    """Whether chi-square is not to be trusted (Cochran 1954).

    An expected count below 1, or more than a fifth of them below 5; of four cells any below 5.
    """
    cells = expected(table)
    if table.shape == (2, 2):
        return bool(cells.min() < 5)
    return bool(cells.min() < 1 or (cells < 5).mean() > 0.2)


def chi_square_of(table: Counts) -> float:
    cells = expected(table)
    return float(((table - cells) ** 2 / cells).sum())


def chi_square(table: Counts) -> Tested:
    """Pearson's chi-square, without a correction for continuity."""
    from scipy.special import chdtrc

    df = (table.shape[0] - 1) * (table.shape[1] - 1)
    x2 = chi_square_of(table)
    return Tested("chi-square", x2, float(chdtrc(df, x2)), df)


def fisher(table: Counts) -> Tested:
    """Fisher's exact test of four cells, two-sided; the statistic is the odds ratio."""
    from scipy.special import gammaln

    (a, b), (c, d) = table
    first, column, n = a + b, a + c, table.sum()
    possible = np.arange(max(0.0, first + column - n), min(first, column) + 1)
    log = -(
        gammaln(possible + 1)
        + gammaln(first - possible + 1)
        + gammaln(column - possible + 1)
        + gammaln(n - first - column + possible + 1)
    )
    odds = np.exp(log - log.max())
    odds /= odds.sum()
    here = odds[int(a - possible[0])]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(np.divide(a * d, b * c))
    p = float(odds[odds <= here * (1 + _SAME)].sum())
    return Tested("Fisher's exact", ratio, min(1.0, p))


def freeman_halton(table: Counts, draws: int, seed: int) -> Tested:
    """Fisher's test of any table, its p from tables drawn with the same margins.

    The share of tables, the real one counted, that are at most as probable (Freeman & Halton 1951).
    """
    from scipy.special import gammaln

    whole = np.round(table).astype(np.int64)
    if draws == 0:
        return Tested("Fisher-Freeman-Halton", chi_square_of(table), np.nan)
    drawn = tables_like(whole, draws, seed)
    log = -gammaln(drawn + 1.0).sum(axis=(1, 2))
    here = -float(gammaln(whole + 1.0).sum())
    hits = int((log <= here + _SAME).sum())
    return Tested("Fisher-Freeman-Halton", chi_square_of(table), (1 + hits) / (1 + draws))


def tables_like(table: npt.NDArray[np.int64], draws: int, seed: int) -> npt.NDArray[np.int64]:
    """(draws, r, c) tables of the same margins, as if rows and columns had nothing to do with each other.

    Cell by cell, each hypergeometric given those before it (Patefield 1981).
    """
    generator = np.random.default_rng(seed)
    rows, columns = table.shape
    left = np.broadcast_to(table.sum(0), (draws, columns)).copy()
    found = np.zeros((draws, rows, columns), np.int64)
    for i, total in enumerate(table.sum(1)[:-1]):
        need = np.full(draws, total)
        for j in range(columns - 1):
            others = left[:, j + 1 :].sum(1)
            taken = generator.hypergeometric(left[:, j], others, need)
            found[:, i, j] = taken
            need -= taken
        found[:, i, -1] = need
        left -= found[:, i]
    found[:, -1] = left
    return found


def cramer_squared(phi2: Floats, n: Floats | float, shape: tuple[int, int]) -> Floats:
    """Square of Cramer's V less what chance gives (Bergsma 2013); below 0 where chance gives more."""
    r, c = (s - (s - 1) ** 2 / (n - 1) for s in shape)
    excess = phi2 - (shape[0] - 1) * (shape[1] - 1) / (n - 1)
    least: Floats = np.minimum(r, c) - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = np.where(least > 0, excess / least, np.nan)
    return found


def log_odds(table: Floats) -> Floats:
    """Logarithm of the odds ratio of tables (..., 2, 2); a half is added to all cells where one is empty."""
    empty = np.asarray((table <= 0).any(axis=(-2, -1)))[..., None, None]
    cells = np.where(empty, table + 0.5, table)
    log = np.log(cells)
    found: Floats = log[..., 0, 0] + log[..., 1, 1] - log[..., 0, 1] - log[..., 1, 0]
    return found


# -- many tests --------------------------------------------------------------------------
def benjamini_hochberg(p: Floats) -> Floats:
    """Smallest false discovery rate at which each would be called; NaN stays and does not count."""

    def step(ordered: Floats, m: int) -> Floats:
        found: Floats = np.minimum.accumulate((ordered * m / np.arange(1, m + 1))[::-1])[::-1]
        return found

    return _stepped(p, step)


def holm(p: Floats) -> Floats:
    """p corrected for the chance of any false call (Holm 1979); NaN stays and does not count."""
    return _stepped(p, lambda ordered, m: np.maximum.accumulate(ordered * np.arange(m, 0, -1)))


def _stepped(p: Floats, step: Callable[[Floats, int], Floats]) -> Floats:
    values = np.asarray(p, np.float64)
    found = np.full(values.shape, np.nan)
    known = np.flatnonzero(np.isfinite(values))
    if len(known):
        order = known[np.argsort(values[known], kind="stable")]
        found[order] = np.minimum(step(values[order], len(order)), 1.0)
    return found
