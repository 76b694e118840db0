"""Covariates have the effects that were planted, and no others."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from widgetkit.errors import InvalidInput, TooFew, UnknownName
from widgetkit.simulate import covariates


def test_effects_are_those_planted() -> None:
    groups = np.arange(30_000) % 3
    made = covariates(groups, missing=0)
    for name, row in made.effects.iterrows():
        if row["kind"] == "category":
            continue
        values = made.table[name].to_numpy()
        first, last = values[groups == 0], values[groups == 2]
        assert (last.mean() - first.mean()) / first.std() == pytest.approx(row["effect"], abs=0.05)
        between = np.var([values[groups == g].mean() for g in range(3)])
        assert between / values.var() == pytest.approx(row["eta_squared"], abs=0.01)


def test_categories_have_their_shares_and_move_with_the_group() -> None:
    groups = np.arange(20_000) % 2
    made = covariates(groups, effects={"fibrosis_score": 0, "sex": 2}, missing=0)
    shares = made.table["fibrosis_score"].value_counts(normalize=True)
    for word, share in {"none": 0.4, "mild": 0.3, "moderate": 0.2, "severe": 0.1}.items():
        assert shares[word] == pytest.approx(share, abs=0.015)
    men = (made.table["sex"] == "male").to_numpy()
    assert men[groups == 1].mean() - men[groups == 0].mean() == pytest.approx(
        stats.norm.cdf(1) - stats.norm.cdf(-1), abs=0.02
    )


def test_without_effect_a_test_is_wrong_as_often_as_it_says() -> None:
    groups = np.arange(120) % 3
    found = []
    for seed in range(400):
        values = covariates(groups, seed=seed, missing=0).table["age"].to_numpy()
        found.append(stats.f_oneway(*(values[groups == g] for g in range(3))).pvalue < 0.05)
    assert 0.02 < np.mean(found) < 0.085


def test_missing_values_are_as_many_as_asked_whatever_the_group() -> None:
    groups = np.arange(1000) % 2
    made = covariates(groups, missing=0.1)
    assert (made.table.isna().sum() == 100).all() and (made.effects["missing"] == 0.1).all()
    assert not covariates(groups, missing=0).table.isna().any().any()


def test_same_seed_same_values(everything) -> None:
    one, two, other = (covariates(everything, seed=seed).table for seed in (1, 1, 2))
    assert one.equals(two) and not one.equals(other) and len(one) == len(everything)


@pytest.mark.parametrize(
    ("groups", "options", "error"),
    [
        (np.zeros(8, int), {}, TooFew),
        (np.array([0.5, 1]), {}, InvalidInput),
        (np.array([-1, 1]), {}, InvalidInput),
        (np.arange(8), {"missing": 1}, InvalidInput),
        (np.arange(8), {"missing": -0.1}, InvalidInput),
        (np.arange(8), {"effects": {"fvc": 1}}, UnknownName),
        (np.arange(8), {"effects": {"age": float("nan")}}, InvalidInput),
    ],
)
def test_bad_input(groups, options, error) -> None:
    with pytest.raises(error):
        covariates(groups, **options)
