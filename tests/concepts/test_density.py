"""Densities: the batched rodeo beside the published loop, and known densities recovered."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import multivariate_normal, norm
from sklearn.base import clone
from sklearn.covariance import LedoitWolf
from sklearn.utils.estimator_checks import estimator_checks_generator

from tests.concepts.slow import rodeo
from widgetkit.concepts import LocalRodeo, ShrunkNormal, _rodeo
from widgetkit.errors import BadActivations, ChannelMismatch, InvalidInput, TooFew, UnknownName

ESTIMATORS = [LocalRodeo(), ShrunkNormal()]
CHECKS = [
    pytest.param(estimator, check, id=f"{estimator!r}-{getattr(check, 'func', check).__name__}")
    for template in ESTIMATORS
    for estimator, check in estimator_checks_generator(template)
    if getattr(check, "func", check).__name__ != "check_array_api_input"
]


@pytest.mark.parametrize(("estimator", "check"), CHECKS)
def test_scikit_learn_check(estimator: Any, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


@st.composite
def clouds(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Samples and points: skewed, with ties, far outliers, close groups, or units that are mostly 0."""
    n, d, m = draw(st.integers(2, 60)), draw(st.integers(1, 12)), draw(st.integers(1, 6))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    both = generator.normal(size=(n + m, d)) * 10.0 ** generator.integers(-1, 2, d)
    kind = draw(st.sampled_from(["normal", "relu", "ties", "outlier", "groups", "skewed"]))
    if kind == "relu":
        both = np.maximum(both, 0)
    elif kind == "ties":
        both = np.round(both)
    elif kind == "outlier":
        both[draw(st.integers(0, n - 1))] += 300
    elif kind == "groups":
        both = 0.01 * both + 100 * generator.integers(0, 2, (n + m, 1))
    elif kind == "skewed":
        both = np.exp(both.clip(-5, 5))
    X, Q = both[:n], both[n:]
    if draw(st.booleans()):
        Q[0] = X[0]
    return X, Q


@settings(deadline=None, max_examples=150)
@given(clouds())
def test_equals_the_published_loop(cloud: tuple[np.ndarray, np.ndarray]) -> None:
    """Every comparison comes out as in the loop, so bandwidths are equal to the last steps' rounding."""
    X, Q = cloud
    model = LocalRodeo(scale="none", least=0.01)
    varies = X.min(axis=0) < X.max(axis=0)
    if not varies.any():
        with pytest.raises(InvalidInput, match="constant"):
            model.fit(X)
        return
    found, bandwidths = model.fit(X).log_density(Q), model.bandwidths(Q)
    for i, x in enumerate(Q):
        density, h = rodeo(x[varies], X[:, varies])
        assert_allclose(bandwidths[i, varies], h, rtol=1e-9)
        assert_allclose(found[i], density, rtol=1e-6, atol=1e-6)
    assert np.isinf(bandwidths[:, ~varies]).all()


@pytest.mark.parametrize("kind", ["normal", "relu", "low rank"])
def test_equals_the_published_loop_in_100_dimensions(kind: str) -> None:
    """Where densities are 1e-70 and kernels underflow: logarithms are finite and equal."""
    generator = np.random.default_rng(1)
    both = generator.normal(size=(404, 100))
    if kind == "low rank":
        both = generator.normal(size=(404, 5)) @ generator.normal(size=(5, 100)) + 0.1 * both
    if kind == "relu":
        both = np.maximum(both, 0)
    X, Q = both[:400], np.concatenate([both[400:], both[:1], both[:1] + 40])
    scale = X.std(axis=0)
    found = LocalRodeo(least=0.05).fit(X).log_density(Q)
    expected = [rodeo(x, X / scale, least=0.05)[0] - np.log(scale).sum() for x in Q / scale]
    assert np.isfinite(found).all() and (found < -100).any()
    assert_allclose(found, expected, rtol=1e-9)


@settings(deadline=None, max_examples=20)
@given(clouds(), st.integers(1, 200))
def test_blocks_change_nothing(cloud: tuple[np.ndarray, np.ndarray], block: int) -> None:
    X, Q = cloud
    if not (X.min(axis=0) < X.max(axis=0)).any():
        return
    expected = LocalRodeo().fit(X).log_density(Q)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_rodeo, "_BLOCK", block)
        assert_allclose(LocalRodeo().fit(X).log_density(Q), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("model", ESTIMATORS, ids=repr)
def test_parts_are_fits_of_the_parts(model: Any) -> None:
    generator = np.random.default_rng(0)
    X, Q = generator.normal(size=(60, 7)), generator.normal(size=(5, 7))
    scale = X.std(axis=0)
    rows = [None, np.arange(10), np.arange(30, 60)]
    found = clone(model).fit(X).parts(rows).log_density(Q)
    for s, part in enumerate(rows):
        alone = clone(model).set_params(scale="none").fit((X if part is None else X[part]) / scale)
        assert_allclose(found[:, s], alone.log_density(Q / scale) - np.log(scale).sum(), rtol=1e-9)


def test_one_dimension_has_the_bias_that_theory_gives() -> None:
    """A kernel estimate of bandwidth h of N(0, 1) is N(0, 1 + h^2) on average."""
    x = np.linspace(-2.5, 2.5, 11)[:, None]
    gaps, raw = [], []
    for seed in range(20):
        model = LocalRodeo(scale="none", least=0.01).fit(
            np.random.default_rng(seed).normal(size=(3000, 1))
        )
        h = model.bandwidths(x)[:, 0]
        assert ((h > 0.05) & (h < 3)).all()
        gaps.append(model.log_density(x) - norm.logpdf(x[:, 0], 0, np.sqrt(1 + h**2)))
        raw.append(model.log_density(x) - norm.logpdf(x[:, 0]))
    assert np.abs(np.mean(gaps, axis=0)).max() < 0.03
    assert np.abs(np.mean(raw, axis=0)).max() > 0.05  # the bias is there, and is what was predicted


def test_a_product_of_normals_has_the_bias_of_each() -> None:
    gaps = []
    for seed in range(20):
        generator = np.random.default_rng(seed)
        X, Q = generator.normal(size=(3000, 3)), np.random.default_rng(99).normal(size=(6, 3))
        model = LocalRodeo(scale="none", least=0.01).fit(X)
        width = np.sqrt(1 + model.bandwidths(Q) ** 2)
        gaps.append(model.log_density(Q) - norm.logpdf(Q, 0, width).sum(axis=1))
    assert np.abs(np.mean(gaps, axis=0)).max() < 0.1


def test_irrelevant_dimensions_keep_large_bandwidths() -> None:
    """Two dimensions with a narrow peak at the point, eight in which the density is flat."""
    generator = np.random.default_rng(0)
    X = generator.uniform(-1, 1, (2000, 10))
    X[:1500, :2] = generator.normal(0, 0.05, (1500, 2))
    h = LocalRodeo(least=0.01).fit(X).bandwidths(np.zeros((1, 10)))[0]
    assert h[:2].max() < 0.2 and h[2:].min() > 3 * h[:2].max()


def test_units_do_not_matter() -> None:
    generator = np.random.default_rng(0)
    X, Q = generator.normal(size=(200, 4)), generator.normal(size=(5, 4))
    factor, shift = np.array([1e-6, 1.0, 10.0, 1e6]), np.array([0.0, 5.0, -3.0, 1e6])
    for model in ESTIMATORS:
        one, other = clone(model).fit(X), clone(model).fit(X * factor + shift)
        moved = other.log_density(Q * factor + shift) + np.log(factor).sum()
        assert_allclose(moved, one.log_density(Q), rtol=1e-6)
    one, other = LocalRodeo().fit(X), LocalRodeo().fit(X * factor + shift)
    assert_allclose(other.bandwidths(Q * factor + shift), one.bandwidths(Q) * factor, rtol=1e-6)


def test_the_ratio_of_two_known_densities() -> None:
    """N(1, 1) against N(0, 1): the log ratio is x - 1/2; each estimate has its own known bias."""
    generator = np.random.default_rng(0)
    x = np.linspace(-1, 2, 7)[:, None]
    A, B = generator.normal(1, 1, (20_000, 1)), generator.normal(0, 1, (20_000, 1))
    normal = ShrunkNormal().fit(A).log_density(x) - ShrunkNormal().fit(B).log_density(x)
    assert_allclose(normal, x[:, 0] - 0.5, atol=0.05)
    ours, other = (
        LocalRodeo(scale="none", least=0.01).fit(A),
        LocalRodeo(scale="none", least=0.01).fit(B),
    )
    wide = [np.sqrt(1 + model.bandwidths(x)[:, 0] ** 2) for model in (ours, other)]
    expected = norm.logpdf(x[:, 0], 1, wide[0]) - norm.logpdf(x[:, 0], 0, wide[1])
    assert_allclose(ours.log_density(x) - other.log_density(x), expected, atol=0.06)


@pytest.mark.parametrize(("n", "d"), [(500, 4), (30, 12), (10, 40)])
def test_normal_is_ledoit_and_wolf(n: int, d: int) -> None:
    generator = np.random.default_rng(0)
    X = generator.normal(size=(n, d)) @ generator.normal(size=(d, d))
    Q = generator.normal(size=(6, d)) * 3
    model = ShrunkNormal(scale="none").fit(X)
    theirs = LedoitWolf().fit(X)
    assert_allclose(model.shrinkage_, theirs.shrinkage_, rtol=1e-9)
    expected = multivariate_normal(theirs.location_, theirs.covariance_).logpdf(Q)
    assert_allclose(model.log_density(Q), expected, rtol=1e-8)


def test_singular_covariance_is_said() -> None:
    generator = np.random.default_rng(0)
    X = generator.normal(size=(50, 2))[:, [0, 1, 0]]
    model = ShrunkNormal(shrinkage=0.0).fit(X)
    assert "singular" in model.note_ and np.isfinite(model.log_density(X)).all()
    assert ShrunkNormal().fit(X).note_ == ""
    pair = ShrunkNormal().fit(generator.normal(size=(9, 5))).parts([np.array([0, 1]), None])
    assert pair.note.startswith("1 covariance(s) are singular")  # two samples shrink to nothing
    off = X[:1] + np.array([0.0, 0.0, 5.0])
    assert model.log_density(off)[0] < model.log_density(X[:1])[0] - 1000


@pytest.mark.parametrize("model", ESTIMATORS, ids=repr)
def test_constant_units_are_left_out_and_said(model: Any) -> None:
    generator = np.random.default_rng(0)
    X = generator.normal(size=(40, 3))
    wide = np.insert(X, 1, 7.0, axis=1)
    fitted = clone(model).fit(wide)
    assert fitted.note_.startswith("1 of 4 units are constant")
    assert_allclose(fitted.log_density(wide), clone(model).fit(X).log_density(X))
    with pytest.raises(InvalidInput, match="All 2 units are constant"):
        clone(model).fit(np.ones((5, 2)))


@pytest.mark.parametrize("model", ESTIMATORS, ids=repr)
def test_bad_input(model: Any) -> None:
    X = np.random.default_rng(0).normal(size=(10, 3))
    with pytest.raises(TooFew):
        clone(model).fit(X[:1])
    with pytest.raises(BadActivations, match="row 2"):
        clone(model).fit(np.where(np.arange(30).reshape(10, 3) == 6, np.nan, X))
    fitted = clone(model).fit(X)
    with pytest.raises(ChannelMismatch):
        fitted.log_density(X[:, :2])
    with pytest.raises(BadActivations):
        fitted.log_density(X * np.inf)
    with pytest.raises(TooFew, match="a part has 1"):
        fitted.parts([np.array([3])])
    with pytest.raises(UnknownName, match="'sd'"):
        clone(model).set_params(scale="std").fit(X)
    assert fitted.log_density(np.empty((0, 3))).shape == (0,)


def test_bad_parameters() -> None:
    X = np.random.default_rng(0).normal(size=(10, 3))
    for bad in ({"start": 0}, {"shrink": 1.0}, {"least": 0}, {"least": 51}, {"start": "50"}):
        with pytest.raises(InvalidInput):
            LocalRodeo(**bad).fit(X)
    with pytest.raises(InvalidInput, match="shrinkage"):
        ShrunkNormal(2.0).fit(X)
    with pytest.raises(InvalidInput, match="equal"):
        ShrunkNormal().fit(X).parts([np.array([1, 1])])


def test_a_unit_that_is_always_0_among_the_samples_does_not_decide_alone() -> None:
    """Without a least bandwidth one unit that is dead in the examples would outweigh all others."""
    generator = np.random.default_rng(0)
    X = np.maximum(generator.normal(size=(300, 5)), 0)
    dead = np.flatnonzero(X[:, 0] == 0)
    x = np.array([[1.0, 0.5, 0.5, 0.5, 0.5], [0.0, 0.5, 0.5, 0.5, 0.5]])
    gaps = []
    for least in (0.3, 0.01):
        found = LocalRodeo(least=least).fit(X).parts([dead]).log_density(x)[:, 0]
        gaps.append(found[1] - found[0])
    assert gaps[0] < 30 and gaps[1] > 1000
    assert (LocalRodeo().fit(X).bandwidths(X) >= 0.3 * X.std(axis=0)).all()


def test_same_bytes() -> None:
    X = np.random.default_rng(0).normal(size=(100, 20))
    assert_array_equal(LocalRodeo().fit(X).log_density(X), LocalRodeo().fit(X).log_density(X))
