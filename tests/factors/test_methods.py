from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tests.factors.planted import prototypes, weights
from widgetkit import analysis, factors
from widgetkit.errors import Cancelled, InvalidInput, TooFew, UnknownName
from widgetkit.factors.methods import check_rows, method_named, rank

ALL = list(factors.METHODS)


def rows(k: int = 4, channels: int = 24, n: int = 30, noise: float = 0.05) -> np.ndarray:
    H, W = prototypes(k, channels), weights(n, k, (4, 4))
    X = np.einsum("nk...,kc->nc...", W, H).reshape(n, channels, 16)
    X = X.transpose(0, 2, 1).reshape(-1, channels)
    return np.maximum(X + noise * np.random.default_rng(0).standard_normal(X.shape), 0).astype(
        np.float32
    )


class TestEvery:
    @pytest.mark.parametrize("name", ALL)
    def test_it_says_what_it_is(self, name: str) -> None:
        method = method_named(name)
        assert method.name == name and method.title and method.reference

    @pytest.mark.parametrize("name", ALL)
    def test_same_seed_same_bytes_and_x_untouched(self, name: str) -> None:
        X = rows()
        before = X.copy()
        one, two = (method_named(name).fit(X, 4, 7) for _ in range(2))
        assert_array_equal(X, before)
        assert_array_equal(one.weigher.basis, two.weigher.basis)
        assert one.errors == two.errors
        assert one.weigher.basis.shape == (4, 24) and one.weigher.basis.dtype == np.float32

    @pytest.mark.parametrize("name", ["nmf", "sparse_nmf", "convex_nmf", "spherical_kmeans", "pca"])
    def test_prototypes_have_length_1(self, name: str) -> None:
        basis = method_named(name).fit(rows(), 4, 0).weigher.basis
        assert_allclose(np.linalg.norm(basis, axis=1), 1, rtol=1e-5)

    @pytest.mark.parametrize("name", ALL)
    def test_the_last_error_is_that_of_its_weights(self, name: str) -> None:
        X = rows()
        fit = method_named(name).fit(X, 4, 0)
        errors = fit.weigher(X)[1]
        found = float(np.sqrt(errors.sum() / np.square(X, dtype=float).sum()))
        if name == "sparse_nmf":  # its objective counts the penalty as well
            assert found < fit.errors[-1]
        else:
            assert found == pytest.approx(fit.errors[-1], rel=1e-2)

    @pytest.mark.parametrize(
        "name", ["nmf", "sparse_nmf", "convex_nmf", "kmeans", "spherical_kmeans"]
    )
    def test_it_can_be_cancelled(self, name: str) -> None:
        with pytest.raises(Cancelled):
            method_named(name).fit(rows(), 4, 0, lambda: True)

    @settings(deadline=None, max_examples=20)
    @given(st.integers(1, 8), st.integers(2, 8), st.sampled_from(ALL), st.integers(0, 99))
    def test_small_odd_data(self, n: int, channels: int, name: str, seed: int) -> None:
        """Few rows, many equal: factors, or an error that says why not."""
        X = np.random.default_rng(seed).integers(0, 2, (n, channels)).astype(np.float32)
        for k in (1, 2, n):
            try:
                check_rows(X, k, method_named(name), "X")
                fit = method_named(name).fit(X, k, seed)
            except (TooFew, InvalidInput):
                continue
            assert np.isfinite(fit.weigher.basis).all()
            assert np.isfinite(fit.weigher(X)[0]).all()
            assert (np.diff(fit.errors) <= 1e-6).all()


def test_order_of_merit() -> None:
    """More freedom, less error: PCA below NMF below its restricted kinds below k-means."""
    X = rows(noise=0.2)
    error = {}
    for name in ALL:
        errors = method_named(name).fit(X, 4, 0).weigher(X)[1]
        error[name] = float(errors.sum())
    assert error["pca"] < error["nmf"] <= error["convex_nmf"] < error["spherical_kmeans"]
    assert error["nmf"] < error["sparse_nmf"] < error["kmeans"]
    assert error["spherical_kmeans"] < error["kmeans"]


def test_sparse_weights_are_sparser() -> None:
    X = rows(noise=0.2)
    share = {
        n: (method_named(n).fit(X, 4, 0).weigher(X)[0] > 0).mean() for n in ("nmf", "sparse_nmf")
    }
    assert share["sparse_nmf"] < 0.9 * share["nmf"]


def test_convex_factors_are_mixtures_of_rows() -> None:
    from scipy.optimize import nnls

    X = rows(n=6)
    for factor in method_named("convex_nmf").fit(X, 3, 0).weigher.basis:
        assert nnls(X.T.astype(float), factor.astype(float), maxiter=10_000)[1] < 1e-3


def test_directions_do_not_care_for_size() -> None:
    X = rows(noise=0.01)
    labels = method_named("spherical_kmeans").fit(X, 4, 0).weigher(X)[0].argmax(axis=1)
    scale = np.random.default_rng(0).uniform(0.2, 5, (len(X), 1)).astype(np.float32)
    other = method_named("spherical_kmeans").fit(X * scale, 4, 0).weigher(X)[0].argmax(axis=1)
    assert analysis.label_agreement(labels, other) > 0.9


def test_pca_is_that_of_the_textbook() -> None:
    X = rows(noise=0.2)
    weigher = method_named("pca").fit(X, 3, 0).weigher
    centred = X.astype(float) - X.mean(axis=0, dtype=float)
    right = np.linalg.svd(centred, full_matrices=False)[2][:3]
    assert_allclose(np.abs((weigher.basis * right).sum(axis=1)), 1, atol=1e-5)
    assert_allclose(weigher(X)[0], centred @ weigher.basis.T, atol=1e-4)


class TestRank:
    @settings(deadline=None, max_examples=25)
    @given(st.integers(1, 6), st.integers(6, 30), st.integers(6, 30), st.integers(0, 999))
    def test_of_products(self, r: int, n: int, channels: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        X = (rng.random((n, r)) @ rng.random((r, channels))).astype(np.float32)
        wanted = np.linalg.matrix_rank(X.astype(float), tol=1e-5 * np.linalg.norm(X, 2))
        assert rank(X) == wanted <= r

    def test_of_nothing(self) -> None:
        assert rank(np.zeros((5, 3), np.float32)) == 0


def test_near_names_are_listed() -> None:
    with pytest.raises(UnknownName, match="spherical_kmeans"):
        method_named("sperical_kmeans")
    with pytest.raises(UnknownName):
        method_named(3)
