"""Units that separate a concept: against scipy, and where images of a patient are alike."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from tests.concepts.planted import NAMES, planted
from widgetkit.concepts import unit_distributions
from widgetkit.errors import BadActivations, InvalidInput, UnknownName


@settings(deadline=None, max_examples=60)
@given(st.integers(4, 60), st.integers(1, 8), st.integers(0, 2**32 - 1), st.booleans())
def test_is_scipys_point_biserial(n: int, d: int, seed: int, gaps: bool) -> None:
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(n, d)) * 10.0 ** generator.integers(-3, 4, d) + 5
    y = generator.integers(0, 2, n).astype(float)
    y[:2] = [0, 1]
    if gaps:
        y[2 : n // 2] = np.nan
    known = ~np.isnan(y)
    found = unit_distributions(X, y)
    if known.sum() < 3:
        assert np.isnan(found.p).all()
        return
    expected = [stats.pointbiserialr(y[known], X[known, u]) for u in range(d)]
    assert_allclose(found.r[0], [e.statistic for e in expected], atol=1e-10)
    assert_allclose(found.p[0], [e.pvalue for e in expected], rtol=1e-6, atol=1e-12)
    assert_allclose(found.p_corrected[0], stats.false_discovery_control(found.p[0]), rtol=1e-9)


def test_the_most_separating_units_and_their_distributions() -> None:
    data = planted(0, 200)
    found = unit_distributions(data.X, pd.DataFrame(data.Y, columns=NAMES), units=2)
    assert found.names == NAMES and len(found.table) == 10
    for f, name in enumerate(NAMES):
        rows = found.table[found.table["concept"] == name]
        order = np.argsort(-np.abs(found.r[f]))
        assert_array_equal(rows["unit"], order[:2])
        there = data.Y[:, f] == 1
        u = int(rows["unit"].iloc[0])
        assert_allclose(rows["mean_with"].iloc[0], data.X[there, u].mean())
        assert_allclose(rows["mean_without"].iloc[0], data.X[~there, u].mean())
        assert rows["n_with"].iloc[0] == there.sum() and rows["p_corrected"].iloc[0] < 1e-6
        shape = found.of(name, u, bins=10)
        assert len(shape.edges) == 11 and shape.inside.sum() == pytest.approx(1)
        assert_allclose(
            shape.outside, np.histogram(data.X[~there, u], shape.edges)[0] / (~there).sum()
        )
        assert shape.quantiles_inside[0.5] == pytest.approx(np.median(data.X[there, u]))
        assert shape.quantiles_outside[1.0] == data.X[~there, u].max()


def test_p_by_patient_holds_where_images_of_a_patient_are_alike() -> None:
    """Concepts and activations that are each of the patient, and nothing between them."""
    by_image, by_patient = [], []
    for seed in range(60):
        generator = np.random.default_rng(seed)
        patients = np.repeat(np.arange(40), 6)
        X = generator.normal(size=(240, 5)) + 2 * generator.normal(size=(40, 5))[patients]
        y = (generator.normal(size=40) > 0)[patients]
        by_image += list(unit_distributions(X, y).p[0])
        by_patient += list(unit_distributions(X, y, patients=patients).p[0])
    assert np.mean(np.array(by_image) < 0.05) > 0.25
    assert 0.02 < np.mean(np.array(by_patient) < 0.05) < 0.1


def test_p_by_patient_is_the_usual_one_for_independent_images() -> None:
    generator = np.random.default_rng(0)
    X, y = generator.normal(size=(4000, 6)), generator.random(4000) < 0.5
    X += 0.04 * y[:, None]
    one = unit_distributions(X, y)
    other = unit_distributions(X, y, patients=np.arange(4000))
    assert_allclose(other.r, one.r)
    assert_allclose(stats.norm.isf(other.p / 2), stats.norm.isf(one.p / 2), rtol=0.03)


def test_constant_units_and_concepts_on_one_side() -> None:
    data = planted(0, 40, d=4)
    X = np.insert(data.X, 1, 2.0, axis=1)
    Y = np.stack([np.zeros(40), np.ones(40), data.Y[:, 0]], axis=1)
    found = unit_distributions(X, Y, names=["none", "all", "some"], units=9)
    assert set(found.table["concept"]) == {"some"} and len(found.table) == 4
    assert np.isnan(found.r[:2]).all() and np.isnan(found.r[2, 1]) and np.isnan(found.p[2, 1])
    assert found.table["note"].str.contains("1 of 5 units are constant").all()
    for name in ("none", "all"):
        with pytest.raises(InvalidInput, match="one side"):
            found.of(name, 0)
    with pytest.raises(UnknownName, match="'some'"):
        found.of("som", 0)
    with pytest.raises(UnknownName, match="units 0 to 4"):
        found.of("some", 5)
    few = unit_distributions(X, Y[:, 2], patients=np.arange(40) % 3)
    assert few.table["note"].str.contains("Only 3 patients").all()
    lone = unit_distributions(X, Y[:, 2], patients=np.zeros(40))
    assert np.isnan(lone.p).all()
    with pytest.raises(BadActivations):
        unit_distributions(X * np.nan, Y)
    with pytest.raises(UnknownName):
        unit_distributions(X, Y, correction="fdr")  # type: ignore[arg-type]


def test_a_unit_that_is_the_concept() -> None:
    y = np.arange(20) % 2
    found = unit_distributions(y[:, None] * 3.0, y)
    assert_allclose(found.r, 1.0) and found.p[0, 0] < 1e-100
