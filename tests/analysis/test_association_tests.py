"""Tests and effect sizes beside scipy's and beside their textbook formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from widgetkit.analysis import _draws, _shuffles, _tests
from widgetkit.analysis._shuffles import Shuffles, shuffled
from widgetkit.analysis._tests import Moments, Ranks

SCIPY = tuple(int(part) for part in scipy.__version__.split(".")[:2])


@st.composite
def grouped(draw: Any, k: int | None = None, ties: bool | None = None) -> tuple[Any, Any, int]:
    """Values, groups and how many: some tied, some skewed, sizes from 2 to 40."""
    generator = np.random.default_rng(draw(st.integers(0, 2**31)))
    k = draw(st.integers(2, 6)) if k is None else k
    sizes = [draw(st.integers(2, 40)) for _ in range(k)]
    group = np.repeat(np.arange(k), sizes)
    shift, scale = generator.normal(0, 1, k), generator.uniform(0.3, 3, k)
    x = shift[group] + generator.normal(0, 1, len(group)) * scale[group]
    if draw(st.booleans()) if ties is None else ties:
        x = np.round(x)
    order = generator.permutation(len(group))
    return x[order], group[order], k


def parts(x: Any, group: Any, k: int) -> list[Any]:
    return [x[group == c] for c in range(k)]


def spreads(x: Any, group: Any, k: int) -> bool:
    return all(np.ptp(part) > 0 for part in parts(x, group, k))


@settings(deadline=None, max_examples=150)
@given(grouped())
def test_means_as_in_scipy(case: tuple[Any, Any, int]) -> None:
    x, group, k = case
    if not spreads(x, group, k):
        return
    m, each = Moments.of(x, group, k), parts(x, group, k)
    found, wanted = _tests.anova(m), stats.f_oneway(*each)
    assert (found.statistic, found.p) == pytest.approx((wanted.statistic, wanted.pvalue), rel=1e-9)
    if SCIPY >= (1, 16):
        found, wanted = _tests.welch_anova(m), stats.f_oneway(*each, equal_var=False)
        assert (found.statistic, found.p) == pytest.approx(
            (wanted.statistic, wanted.pvalue), rel=1e-8
        )
    if k == 2:
        for equal in (False, True):
            t, wanted = _tests.t_test(m, equal=equal), stats.ttest_ind(*each, equal_var=equal)
            assert (t.statistic, t.p, t.df) == pytest.approx(
                (wanted.statistic, wanted.pvalue, wanted.df), rel=1e-9
            )


def test_welch_of_two_groups_is_the_square_of_welchs_t() -> None:
    generator = np.random.default_rng(0)
    x, group = generator.normal(0, 1, 30), np.arange(30) % 2
    m = Moments.of(x, group, 2)
    f, t = _tests.welch_anova(m), _tests.t_test(m)
    assert (f.statistic, f.p, f.df2) == pytest.approx((t.statistic**2, t.p, t.df))


def test_welchs_anova_by_its_formula() -> None:
    """Restated slowly from Welch (1951), for scipy versions without it."""
    generator = np.random.default_rng(1)
    group = np.repeat([0, 1, 2], [5, 9, 14])
    x = generator.normal(0, 1, 28) * np.array([1, 2, 3])[group]
    each = parts(x, group, 3)
    weights = [len(p) / p.var(ddof=1) for p in each]
    mean = sum(w * p.mean() for w, p in zip(weights, each, strict=True)) / sum(weights)
    tail = sum(
        (1 - w / sum(weights)) ** 2 / (len(p) - 1) for w, p in zip(weights, each, strict=True)
    )
    above = sum(w * (p.mean() - mean) ** 2 for w, p in zip(weights, each, strict=True)) / 2
    f = above / (1 + 2 * (3 - 2) / (3**2 - 1) * tail)
    found = _tests.welch_anova(Moments.of(x, group, 3))
    assert (found.statistic, found.df2) == pytest.approx((f, (3**2 - 1) / (3 * tail)))
    assert found.p == pytest.approx(stats.f.sf(f, 2, found.df2))


@settings(deadline=None, max_examples=150)
@given(grouped())
def test_ranks_as_in_scipy(case: tuple[Any, Any, int]) -> None:
    x, group, k = case
    if np.ptp(x) == 0:
        return
    each = parts(x, group, k)
    found, wanted = _tests.kruskal(Ranks.of(x, group, k)), stats.kruskal(*each)
    assert (found.statistic, found.p) == pytest.approx((wanted.statistic, wanted.pvalue), rel=1e-7)
    if k == 2:
        found, wanted = _tests.mann_whitney(x, group), stats.mannwhitneyu(*each)
        assert (found.statistic, found.p) == pytest.approx((wanted.statistic, wanted.pvalue))


def test_dunn_by_its_formula() -> None:
    """Restated from Dunn (1964) with its correction for ties."""
    generator = np.random.default_rng(2)
    x, group = np.round(generator.normal(0, 2, 60)), np.arange(60) % 3
    ranks, n = stats.rankdata(x), 60
    _, ties = np.unique(x, return_counts=True)
    spread = n * (n + 1) / 12 - (ties**3 - ties).sum() / (12 * (n - 1))
    z = (ranks[group == 0].mean() - ranks[group == 2].mean()) / np.sqrt(spread * (1 / 20 + 1 / 20))
    found = _tests.dunn(Ranks.of(x, group, 3), 0, 2)
    assert (found.statistic, found.p) == pytest.approx((z, 2 * stats.norm.sf(abs(z))))


tables = st.integers(0, 2**31).map(
    lambda seed: np.random.default_rng(seed).poisson(
        np.random.default_rng(seed + 1).uniform(0.5, 20),
        (
            np.random.default_rng(seed + 2).integers(2, 6),
            np.random.default_rng(seed + 3).integers(2, 5),
        ),
    )
)


@settings(deadline=None, max_examples=150)
@given(tables)
def test_tables_as_in_scipy(counts: Any) -> None:
    table = _tests.filled(counts.astype(float))
    if min(table.shape) < 2:
        return
    found, wanted = _tests.chi_square(table), stats.chi2_contingency(table, correction=False)
    assert (found.statistic, found.p, found.df) == pytest.approx(
        (wanted.statistic, wanted.pvalue, wanted.dof), rel=1e-9
    )
    np.testing.assert_allclose(_tests.expected(table), wanted.expected_freq)
    if table.shape == (2, 2):
        exact, (ratio, p) = _tests.fisher(table), stats.fisher_exact(table)
        assert exact.p == pytest.approx(p, rel=1e-6)
        np.testing.assert_allclose(exact.statistic, ratio, rtol=1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_fishers_test_of_four_cells(seed: int) -> None:
    generator = np.random.default_rng(seed)
    table = generator.poisson(generator.uniform(0.5, 9, (2, 2))).astype(float)
    if 0 in table.sum(0) or 0 in table.sum(1):
        table += 1
    assert _tests.fisher(table).p == pytest.approx(stats.fisher_exact(table)[1], rel=1e-6)
    drawn = _tests.freeman_halton(table, 20_000, seed).p  # the same test, drawn
    exact = stats.fisher_exact(table)[1]
    assert drawn == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20_000) + 1e-4)


@pytest.mark.skipif(SCIPY < (1, 15), reason="scipy has Fisher's test of larger tables since 1.15")
def test_larger_tables_as_in_scipy() -> None:
    for table in ([[3, 0, 2], [1, 5, 1], [0, 2, 6]], [[8, 1, 1, 0], [2, 2, 3, 3]]):
        wanted = stats.fisher_exact(
            table, method=stats.MonteCarloMethod(n_resamples=20_000, rng=np.random.default_rng(0))
        ).pvalue
        found = _tests.freeman_halton(np.array(table, float), 20_000, 0)
        assert found.p == pytest.approx(wanted, abs=0.01)
        assert found.statistic == pytest.approx(stats.chi2_contingency(table).statistic)


def test_drawn_tables_have_the_margins_and_the_spread_of_random_ones() -> None:
    table = np.array([[5, 2, 9], [3, 3, 3], [0, 8, 1]])
    drawn = _tests.tables_like(table, 4000, 0)
    assert (drawn.sum(1) == table.sum(0)).all() and (drawn.sum(2) == table.sum(1)).all()
    assert drawn.min() >= 0
    wanted = np.outer(table.sum(1), table.sum(0)) / table.sum()
    np.testing.assert_allclose(drawn.mean(0), wanted, atol=0.15)
    n, row, column = table.sum(), table.sum(1)[0], table.sum(0)[2]
    hypergeometric = stats.hypergeom(n, row, column)
    assert drawn[:, 0, 2].std() == pytest.approx(hypergeometric.std(), rel=0.05)
    np.testing.assert_array_equal(drawn, _tests.tables_like(table, 4000, 0))


@settings(deadline=None, max_examples=200)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_corrections(p: list[float]) -> None:
    values = np.array(p)
    q = _tests.benjamini_hochberg(values)
    np.testing.assert_allclose(q, stats.false_discovery_control(values), atol=1e-12)
    order = np.argsort(values, kind="stable")
    steps = [min(1.0, (len(p) - i) * values[at]) for i, at in enumerate(order)]
    wanted = np.empty(len(p))
    wanted[order] = np.maximum.accumulate(steps)
    np.testing.assert_allclose(_tests.holm(values), wanted)
    with_gaps = np.concatenate([[np.nan], values, [np.nan]])
    np.testing.assert_allclose(_tests.benjamini_hochberg(with_gaps)[1:-1], q)
    assert np.isnan(_tests.holm(with_gaps)[[0, -1]]).all()


# -- effect sizes ------------------------------------------------------------------------
def rows(x: Any, group: Any, k: int) -> _draws.Rows:
    return _draws.Rows(x, group, np.arange(len(x)), np.ones(len(x)), k, float(len(x)), None)


NO_DRAWS = _draws.Draws.make(1000, 0, 0, 0.95)


@settings(deadline=None, max_examples=100)
@given(grouped())
def test_effects_of_amounts_by_their_formulas(case: tuple[Any, Any, int]) -> None:
    x, group, k = case
    if not spreads(x, group, k):
        return
    each, n = parts(x, group, k), len(x)
    total = ((x - x.mean()) ** 2).sum()
    within = sum(((part - part.mean()) ** 2).sum() for part in each)
    between = total - within
    noise = within / (n - k)
    omega = (between - (k - 1) * noise) / (total + noise)
    found = _draws.effect_of_means(rows(x, group, k), NO_DRAWS)
    m = Moments.of(x, group, k)
    assert (m.eta, m.omega) == pytest.approx((between / total, omega), abs=1e-9)
    assert found.strength == pytest.approx(np.sqrt(max(0, omega)), abs=1e-6)
    if k == 2:
        d = (each[0].mean() - each[1].mean()) / np.sqrt(within / (n - 2))
        assert found.name == "Cohen's d"
        assert (found.value, m.d) == pytest.approx((d, d), rel=1e-7)
    else:
        assert found.name == "omega²" and found.value == pytest.approx(omega, abs=1e-9)


@settings(deadline=None, max_examples=100)
@given(grouped())
def test_effects_of_ranks_by_their_formulas(case: tuple[Any, Any, int]) -> None:
    x, group, k = case
    if np.ptp(x) == 0:
        return
    each, n = parts(x, group, k), len(x)
    found = _draws.effect_of_ranks(rows(x, group, k), NO_DRAWS)
    r = Ranks.of(x, group, k)
    h = stats.kruskal(*each).statistic
    assert r.epsilon == pytest.approx(h * (n + 1) / (n**2 - 1))
    assert found.strength == pytest.approx(np.sqrt(max(0, (h - k + 1) / (n - k))), abs=1e-6)
    if k == 2:
        wins = np.sign(each[0][:, None] - each[1][None]).mean()  # every pair, one by one
        assert found.name == "rank-biserial r"
        assert (found.value, r.biserial) == pytest.approx((wins, wins), abs=1e-9)
    else:
        assert found.value == pytest.approx(r.epsilon, abs=1e-9)


def test_effects_of_tables_by_their_formulas() -> None:
    table = np.array([[20, 5, 9], [8, 14, 3], [2, 8, 31]])
    group = np.repeat(np.arange(3), table.sum(1))
    level = np.concatenate([np.repeat(np.arange(3), row) for row in table])
    n, k, m = table.sum(), 3, 3
    phi2 = stats.chi2_contingency(table).statistic / n
    phi2 = max(0, phi2 - (k - 1) * (m - 1) / (n - 1))  # Bergsma (2013)
    shrunk = k - (k - 1) ** 2 / (n - 1)
    v = np.sqrt(phi2 / (shrunk - 1))
    found = _draws.effect_of_shares(rows(level.astype(float), group, 3), level, 3, NO_DRAWS)
    assert found.name == "Cramér's V" and found.value == found.strength == pytest.approx(v)


def test_the_odds_ratio_is_of_the_last_category_in_the_first_cluster() -> None:
    #                 no  yes
    table = np.array([[10, 30], [40, 20]])
    group = np.repeat([0, 1], table.sum(1))
    level = np.concatenate([np.repeat([0, 1], row) for row in table])
    found = _draws.effect_of_shares(rows(level.astype(float), group, 2), level, 2, NO_DRAWS)
    assert found.name == "odds ratio" and found.value == pytest.approx((30 / 10) / (20 / 40))
    empty = np.array([[0, 5], [5, 5]])
    assert np.exp(_tests.log_odds(empty)) == pytest.approx(0.5 * 5.5 / (5.5 * 5.5))


# -- patients ------------------------------------------------------------------------------
def of_patients(seed: int, constant: bool, equal: bool = False) -> dict[str, Any]:
    """Values, clusters and patients of unequal size (``equal``: alike in size and composition)."""
    g = np.random.default_rng(seed)
    units, k = 9, 3
    unit = np.repeat(np.arange(units), 6 if equal else g.integers(2, 8, units))
    cluster = np.tile([0, 1, 2], 2 * units) if equal else g.integers(0, k, len(unit))
    cluster[:3] = [0, 1, 2]
    x = g.normal(0, 1, units)[unit] + (0 if constant else g.normal(0, 1, len(unit)))
    weight = 1 / np.bincount(unit)[unit]
    return {"x": x, "cluster": cluster, "unit": unit, "units": units, "k": k, "weight": weight}


def test_of(case: dict[str, Any], constant: bool, draws: int = 60) -> Any:
    x, w = case["x"], case["weight"]
    variance = np.average((x - np.average(x, weights=w)) ** 2, weights=w)
    return shuffled(
        x[:, None], np.array([variance]), case["cluster"], case["k"], case["unit"], case["units"],
        w, constant=constant, shuffles=Shuffles(draws, 5), word="patient",
    )  # fmt: skip


test_of.__test__ = False  # type: ignore[attr-defined]


def slowly(case: dict[str, Any], constant: bool, draws: int = 60) -> tuple[float, float, float]:
    """The definition, row by row: the statistic, its mean over the draws, and p."""
    x, w, c, u = (case[name] for name in ("x", "weight", "cluster", "unit"))
    k, units = case["k"], case["units"]
    mean = np.average(x, weights=w)
    size = [w[c == j].sum() for j in range(k)]

    def share(values: Any) -> float:
        between = 0.0
        for j in range(k):
            inside = c == j
            between += size[j] * (np.average(values[inside], weights=w[inside]) - mean) ** 2
        return between / (w @ (values - mean) ** 2)

    real, drawn = share(x), []
    if constant:
        of = np.array([x[u == i][0] for i in range(units)])
        for order in Shuffles(draws, 5).orders(units):
            drawn.append(share(of[order][u]))
    else:
        total = w @ (x - mean) ** 2
        for signs in Shuffles(draws, 5).signs(units):
            between = 0.0
            for j in range(k):
                s = 0.0
                for i in range(len(x)):
                    s += signs[u[i]] * w[i] * (x[i] - mean) * ((c[i] == j) - size[j] / w.sum())
                between += s**2 / size[j]
            drawn.append(between / total)
    hits = sum(value >= real - 1e-12 for value in drawn)
    return real, float(np.mean(drawn)), (1 + hits) / (1 + draws)


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_patients_are_permuted_and_flipped_as_defined(seed: int, constant: bool) -> None:
    case = of_patients(seed, constant)
    found = test_of(case, constant)
    assert (found.eta, found.chance, found.p) == pytest.approx(slowly(case, constant), abs=1e-9)


def test_what_is_the_patients_alone_says_nothing_where_patients_are_alike() -> None:
    """All patients of one composition: a value that is the patient's cannot differ between clusters."""
    case = of_patients(0, False, equal=True)
    first = test_of(case, False, 999)
    offset = np.random.default_rng(1).normal(0, 50, case["units"])[case["unit"]]
    moved = test_of(case | {"x": case["x"] + offset}, False, 999)
    assert moved.p == first.p and moved.eta < first.eta / 100


def test_permutations_and_signs_are_seeded_and_fair() -> None:
    drawn = Shuffles(4000, 0)
    assert (np.sort(drawn.orders(7), axis=1) == np.arange(7)).all()
    np.testing.assert_allclose(drawn.orders(7).mean(0), 3, atol=0.15)
    np.testing.assert_allclose(drawn.signs(7).mean(0), 0, atol=0.08)
    assert set(np.unique(drawn.signs(7))) == {-1.0, 1.0}
    np.testing.assert_array_equal(drawn.orders(7), Shuffles(4000, 0).orders(7))


def test_ridits_are_ranks_between_0_and_1() -> None:
    x = np.array([3.0, 1.0, 2.0, 2.0, 5.0])
    found = _shuffles.ridits(x, np.ones(5))
    np.testing.assert_allclose(found, (stats.rankdata(x) - 0.5) / 5)
    heavy = _shuffles.ridits(np.array([1.0, 2.0]), np.array([3.0, 1.0]))
    np.testing.assert_allclose(heavy, [1.5 / 4, 3.5 / 4])


# -- intervals -----------------------------------------------------------------------------
def test_an_interval_by_patient_is_as_wide_as_students_over_patients() -> None:
    """Tiles of a patient alike: drawn by tile it would be several times too narrow."""
    g = np.random.default_rng(0)
    units = 40
    unit = np.repeat(np.arange(units), 20)
    x = g.normal(0, 1, units)[unit] + 0.1 * g.normal(0, 1, len(unit))
    cluster = np.tile([0, 1], len(unit) // 2)
    of = _draws.Rows(x, cluster, unit, np.full(len(x), 1 / 20), 2, units, 0.0)
    low, high = _draws.mean_ends(of, _draws.Draws.make(units, 4000, 0, 0.95))
    for c in range(2):
        each = np.array([x[(unit == i) & (cluster == c)].mean() for i in range(units)])
        half = stats.t.ppf(0.975, units - 1) * stats.sem(each)
        assert high[c] - low[c] == pytest.approx(2 * half, rel=0.12)
    medians = np.array([np.median(x[cluster == c]) for c in range(2)])
    ends = _draws.median_ends(
        of, _draws.by_cluster(of), medians, _draws.Draws.make(units, 4000, 0, 0.95)
    )
    assert (ends[1] - ends[0] > 0.5 * (high - low)).all()


def test_many_rows_drawn_in_blocks_have_intervals_like_students() -> None:
    g = np.random.default_rng(1)
    x, cluster = g.normal(0, 1, 5000), g.integers(0, 3, 5000)
    assert len(x) > _draws.BLOCKS
    low, high = _draws.mean_ends(rows(x, cluster, 3), _draws.Draws.make(len(x), 4000, 0, 0.95))
    for c in range(3):
        mine = x[cluster == c]
        half = stats.t.ppf(0.975, len(mine) - 1) * stats.sem(mine)
        assert high[c] - low[c] == pytest.approx(2 * half, rel=0.15)


def test_intervals_of_nothing_hold_nothing() -> None:
    """Draws of a share of variance are too high; without taking that out they would miss 0."""
    held, around = [], []
    for seed in range(60):
        g = np.random.default_rng(seed)
        group = np.arange(120) % 10
        draws = _draws.Draws.make(120, 400, seed, 0.95)
        for effect in (
            _draws.effect_of_means(rows(g.normal(0, 1, 120), group, 10), draws),
            _draws.effect_of_ranks(rows(g.normal(0, 1, 120), group, 10), draws),
        ):
            held.append(effect.strength_low == 0)
            around.append(effect.low <= effect.value <= effect.high)
    assert np.mean(held) > 0.95 and all(around)


def test_shares_have_wilsons_interval() -> None:
    """8 of 8 is no certainty, though every draw of them shows 8 of 8."""
    table = np.array([[0, 8], [5, 9], [30, 2]])
    group = np.repeat(np.arange(3), table.sum(1))
    level = np.concatenate([np.repeat([0, 1], row) for row in table]).astype(float)
    low, high = _draws.share_ends(rows(level, group, 3), 2, _draws.Draws.make(54, 200, 0, 0.95))
    for c in range(3):
        for j in range(2):
            wanted = stats.binomtest(int(table[c, j]), int(table[c].sum())).proportion_ci(
                0.95, method="wilson"
            )
            assert (low[c, j], high[c, j]) == pytest.approx((wanted.low, wanted.high), abs=1e-9)


def test_shares_of_patients_are_as_sure_as_their_patients() -> None:
    g = np.random.default_rng(0)
    units, each = 40, 25
    unit = np.repeat(np.arange(units), each)
    cluster = np.tile([0, 1], units * each // 2 + 1)[: len(unit)]
    level = (g.random(units) < 0.4)[unit].astype(float)  # the patient's: tiles add nothing
    of = _draws.Rows(level, cluster, unit, np.full(len(unit), 1 / each), 2, units, 0.0)
    low, high = _draws.share_ends(of, 2, _draws.Draws.make(units, 2000, 0, 0.95))
    share = level[::each].mean()
    half = stats.t.ppf(0.975, units - 1) * np.sqrt(share * (1 - share) / units)
    assert high[0, 1] - low[0, 1] == pytest.approx(2 * half, rel=0.15)
    sure = _draws.share_ends(
        _draws.Rows(np.ones(len(unit)), cluster, unit, of.weight, 2, units, 0.0),
        2,
        _draws.Draws.make(units, 200, 0, 0.95),
    )
    assert 0.85 < sure[0][0, 1] < 0.95 and sure[1][0, 1] == 1  # about 40 of 40, not 500 of 500


def test_an_empty_cell_leaves_the_odds_ratio_unsure() -> None:
    table = np.array([[0, 8], [12, 4]])
    group = np.repeat([0, 1], table.sum(1))
    level = np.concatenate([np.repeat([0, 1], row) for row in table])
    draws = _draws.Draws.make(24, 500, 0, 0.95)
    found = _draws.effect_of_shares(rows(level.astype(float), group, 2), level, 2, draws)
    cells = table + 0.5
    log = np.log(cells[0, 1] * cells[1, 0] / (cells[0, 0] * cells[1, 1]))
    half = stats.norm.ppf(0.975) * np.sqrt((1 / cells).sum())
    assert found.value == pytest.approx(np.exp(log))
    assert (found.low, found.high) == pytest.approx((np.exp(log - half), np.exp(log + half)))
