"""The direction of a concept against scikit-learn, and in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from widgetkit.errors import BadActivations, InvalidInput, TooFew
from widgetkit.explain import concept_direction


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([0.1, 0.5, 0.9]), st.integers(3, 60))
def test_it_is_the_shrunk_discriminant_of_scikit_learn(seed: int, shrink: float, n: int) -> None:
    """Also with fewer rows than units."""
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(n, 20)) @ generator.normal(size=(20, 20))
    shown = np.arange(n) % 3 == 0
    expected = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrink).fit(X, shown).coef_[0]
    found = concept_direction(X, shown, shrink=shrink)
    assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-7)


def test_shrunk_whole_it_is_the_difference_of_means() -> None:
    generator = np.random.default_rng(0)
    X, shown = generator.gamma(1, size=(50, 8)), generator.random(50) < 0.3
    expected = X[shown].mean(axis=0) - X[~shown].mean(axis=0)
    assert_allclose(
        concept_direction(X, shown, shrink=1), expected / np.linalg.norm(expected), atol=1e-9
    )


def test_a_concept_that_goes_together_with_another_is_told_apart() -> None:
    """Unit 0 answers to the concept, unit 1 to another that is there in most of the same tiles."""
    generator = np.random.default_rng(1)
    shown = generator.random(400) < 0.5
    other = np.where(generator.random(400) < 0.8, shown, ~shown)
    X = np.stack([shown, other], axis=1) + 0.2 * generator.normal(size=(400, 2))
    plain, told = concept_direction(X, shown, shrink=1), concept_direction(X, shown, shrink=0.05)
    assert plain[1] / plain[0] > 0.4 and abs(told[1] / told[0]) < 0.15


def test_units_that_never_vary_and_tiles_that_nobody_looked_at() -> None:
    generator = np.random.default_rng(2)
    X = generator.normal(size=(30, 4))
    X[:, 2] = 7
    shown, lacking = np.arange(30) < 10, (np.arange(30) >= 10) & (np.arange(30) < 20)
    found = concept_direction(X, shown, lacking)
    assert found[2] == 0 and np.isfinite(found).all()
    X[20:] = np.nan  # neither
    assert_allclose(concept_direction(X, shown, lacking), found)
    assert not concept_direction(np.ones((6, 3)), np.arange(6) < 2).any()
    X[20:] = 0  # nobody said no: the others stand for it
    assert_allclose(concept_direction(X, shown, np.zeros(30, bool)), concept_direction(X, shown))


def test_one_tile_on_each_side_is_their_difference() -> None:
    X = np.array([[1.0, 2.0], [4.0, 6.0]])
    assert_allclose(concept_direction(X, np.array([False, True])), [0.6, 0.8])


def test_bad_input() -> None:
    X, shown = np.ones((4, 2)), np.array([True, False, False, False])
    for mask in (np.zeros(4, bool), np.ones(4, bool)):
        with pytest.raises(TooFew, match="tiles with it"):
            concept_direction(X, mask)
    with pytest.raises(InvalidInput, match="one bool a row"):
        concept_direction(X, np.ones(4))
    with pytest.raises(InvalidInput, match="one bool a row"):
        concept_direction(X, shown, np.zeros(3, bool))
    with pytest.raises(InvalidInput, match="Tile 0 is said"):
        concept_direction(X, shown, np.ones(4, bool))
    with pytest.raises(InvalidInput, match="shrink"):
        concept_direction(X, shown, shrink=0)
    with pytest.raises(BadActivations):
        concept_direction(X * np.nan, shown)
