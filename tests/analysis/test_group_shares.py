"""Variance between groups, beside closed forms and scipy; means of classes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats

from widgetkit.analysis import group_share, shares
from widgetkit.errors import BadActivations, ChannelMismatch, InvalidInput, TooFew


def data(seed: int = 0, groups: int = 6, each: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Column 0 knows nothing of the slide, column 1 a little, column 2 is the slide."""
    generator = np.random.default_rng(seed)
    own = np.repeat(np.arange(groups), each)
    values = generator.normal(0, 1, (len(own), 3))
    values[:, 1] += generator.normal(0, 1, groups)[own]
    values[:, 2] = own**2
    return values, own


def test_agrees_with_analysis_of_variance() -> None:
    """F = (eta² / (G - 1)) / ((1 - eta²) / (n - G)); epsilon and omega squared from F."""
    values, own = data()
    table = group_share(values, own, names=["none", "some", "all"])
    assert list(table["factor"]) == ["none", "some", "all"]
    for j in range(2):
        F = stats.f_oneway(*(values[own == g, j] for g in range(6))).statistic
        share, row = 5 * F / (5 * F + 114), table.iloc[j]
        assert_allclose(row["share"], share)
        assert_allclose(row["adjusted"], 5 * (F - 1) / (5 * F + 114))
        assert_allclose(row["omega"], 5 * (F - 1) / (5 * F + 115))
    assert_allclose(table.loc[2, ["share", "adjusted", "omega"]].astype(float), 1)
    assert (table["n"] == 120).all() and (table["groups"] == 6).all()


def test_p_is_near_that_of_the_f_test_for_normal_values() -> None:
    values, own = data()
    table = group_share(values, own, n_permutations=1999)
    for j in range(2):
        expected = stats.f_oneway(*(values[own == g, j] for g in range(6))).pvalue
        assert_allclose(table["p"].iloc[j], expected, atol=0.04)


def test_type_one_error_of_permuted_tiles() -> None:
    generator = np.random.default_rng(0)
    own = np.arange(60) % 4
    values = generator.gamma(0.5, 1, (60, 300))  # 300 columns that know nothing of the group
    p = group_share(values, own, n_permutations=199)["p"]
    assert 0.02 <= (p <= 0.05).mean() <= 0.085 and 0.1 < p.min() * 200 < 20


def test_type_one_error_of_whole_slides() -> None:
    """Scanner does nothing but slides differ: whole slides keep the level, single tiles do not."""
    generator = np.random.default_rng(0)
    slide = np.repeat(np.arange(12), 10)
    values = generator.normal(0, 1, (120, 300)) + generator.normal(0, 1, (12, 300))[slide]
    scanner = slide % 2
    nested = group_share(values, scanner, units=slide, n_permutations=199)
    tiles = group_share(values, scanner, n_permutations=199)
    assert_allclose(nested["share"], tiles["share"])
    assert (nested["units"] == 12).all() and (tiles["units"] == 120).all()
    assert (nested["p"] <= 0.05).mean() <= 0.09
    assert (tiles["p"] <= 0.05).mean() > 0.25


def test_epsilon_and_omega_are_about_zero_by_chance() -> None:
    values = np.random.default_rng(0).normal(size=(100, 400))
    table = group_share(values, np.arange(100) % 20, n_permutations=0)
    assert table["share"].mean() > 0.15
    assert abs(table["adjusted"].mean()) < 0.01 and abs(table["omega"].mean()) < 0.01
    assert table["p"].isna().all()


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.tuples(st.floats(-1e3, 1e3), st.integers(0, 4)), min_size=2, max_size=40),
    st.floats(-1e3, 1e3),
)
def test_a_share_is_a_share(rows: list[tuple[float, int]], offset: float) -> None:
    values, own = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row = group_share(values, own, n_permutations=9).iloc[0]
        moved = group_share(-2 * values + offset, own, n_permutations=9).iloc[0]
    if np.isnan(row["share"]):
        assert row["note"].startswith("No share")
        return
    assert 0 <= row["share"] <= 1
    if np.ptp(values) > 1e-3:
        assert_allclose(moved["share"], row["share"], atol=1e-6)
    if np.isfinite(row["adjusted"]):
        assert row["adjusted"] <= row["omega"] + 1 and row["adjusted"] <= row["share"] + 1e-12


def test_what_cannot_be_said_has_a_reason() -> None:
    values, own = data()
    values[:, 0] = 0.1
    values[:4, 1] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = group_share(values, own, n_permutations=9)
        one = group_share(values, np.zeros(120), n_permutations=9)
        each = group_share(values[:, 2], np.arange(120), n_permutations=9).iloc[0]
    assert np.isnan(table.loc[0, "share"]) and "the factor is constant" in table.loc[0, "note"]
    assert table.loc[1, "n"] == 116 and "4 of 120 rows are NaN" in table.loc[1, "note"]
    assert one["share"].isna().all() and "there is one group" in one["note"].iloc[2]
    assert_allclose(each["share"], 1)
    assert np.isnan(each["p"]) and "every group is a single unit" in each["note"]


def test_few_units_cannot_have_a_small_p() -> None:
    values, own = data(groups=4)
    row = group_share(values[:, 2], own // 2, units=own).iloc[0]
    assert "Only 3 different ways" in row["note"] and row["p"] > 0.2


def test_many_rows_are_sampled_for_p_and_it_is_said() -> None:
    generator = np.random.default_rng(0)
    row = group_share(generator.normal(size=50_000), np.arange(50_000) % 9, n_permutations=50).iloc[
        0
    ]
    assert row["units"] == 20_000 and "20000 of 50000 rows" in row["note"] and row["n"] == 50_000


def test_bad_input_is_named() -> None:
    values, own = data()
    with pytest.raises(InvalidInput, match="1 of 3 units lie in more than one group"):
        group_share(values, own % 2, units=np.minimum(own, 2))
    with pytest.raises(InvalidInput, match="one value a row"):
        group_share(values, own[1:])
    with pytest.raises(ChannelMismatch, match="1 names for 3"):
        group_share(values, own, names=["a"])
    with pytest.raises(TooFew):
        group_share(values[:1], own[:1])


# -- shares ------------------------------------------------------------------------------
def test_means_of_each_class() -> None:
    values, own = data(groups=20)
    label = np.where(own % 3 == 0, "tumour", "benign").astype(object)
    label[:5] = None
    table = shares(values, label, groups=own, names=list("abc"))
    assert list(table["group"].unique()) == ["benign", "tumour", "(missing)"]
    for row in table.itertuples():
        mine = np.array([v is None if row.group == "(missing)" else v == row.group for v in label])
        assert_allclose(row.share, values[mine, "abc".index(row.factor)].mean())
        assert row.n == mine.sum() and row.groups == len(np.unique(own[mine]))
        if row.groups > 2:
            assert row.low <= row.share <= row.high
    missing = table[table["group"] == "(missing)"]
    assert (
        missing["low"].isna().all() and missing["note"].str.contains("no interval by group").all()
    )


def test_by_slide_blocks_are_drawn_and_it_is_said() -> None:
    values, own = data()
    table = shares(values, own, groups=own)
    assert table["note"].str.contains("blocks of neighbouring rows").all()
    assert np.isfinite(table["low"]).all() and list(table["group"].unique()) == list(range(6))
    assert (shares(values, own, groups=own, n_boot=0)["note"] == "").all()


def test_the_interval_of_a_share_holds_it() -> None:
    generator = np.random.default_rng(0)
    slide = np.repeat(np.arange(16), 12)
    level = generator.normal(0, 0.7, (16, 300))
    values = level[slide] + generator.normal(0, 1, (192, 300))
    table = shares(values, slide % 2, groups=slide, n_boot=400)
    assert 0.9 <= ((table["low"] <= 0) & (table["high"] >= 0)).mean() <= 0.985


def test_shares_of_bad_input() -> None:
    values, own = data()
    with pytest.raises(BadActivations, match="row 3"):
        values[3, 0] = np.nan
        shares(values, own)
    with pytest.raises(InvalidInput, match="one value a row"):
        shares(np.ones((4, 2)), [1, 2])
    assert len(shares(np.ones((0, 2)), [])) == 0
