"""NMF: closed forms, planted factors, a plain reference, and what it promises in words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from widgetkit.analysis import NMF, match, nnls
from widgetkit.analysis.hals import hals, initial_factors
from widgetkit.errors import (
    BadActivations,
    Cancelled,
    ChannelMismatch,
    InvalidInput,
    TooFew,
    UnknownName,
)

BACKENDS = ["numpy", "torch"]


def planted(
    n: int, C: int, k: int, *, noise: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X = W H + noise, with factors that overlap and weights that are often zero."""
    generator = np.random.default_rng(seed)
    H = np.maximum(generator.normal(0, 1, (k, C)), 0)
    W = generator.gamma(0.4, 1, (n, k))
    clean = W @ H
    X = np.maximum(clean + noise * clean.std() * generator.normal(size=clean.shape), 0)
    return X.astype(np.float32), W, H


def slow_hals(X: np.ndarray, W: np.ndarray, H: np.ndarray, rounds: int) -> list[float]:
    """The textbook: every factor set to its optimum, residual written out, float64."""
    W, H, errors = W.astype(float).copy(), H.astype(float).copy(), []
    for _ in range(rounds):
        for j in range(len(H)):
            rest = X - W @ H + np.outer(W[:, j], H[j])
            W[:, j] = np.maximum(rest @ H[j] / (H[j] @ H[j]), 0)
        for j in range(len(H)):
            rest = X - W @ H + np.outer(W[:, j], H[j])
            H[j] = np.maximum(W[:, j] @ rest / (W[:, j] @ W[:, j]), 0)
        errors.append(np.linalg.norm(X - W @ H) / np.linalg.norm(X))
    return errors


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_factor_is_the_first_singular_vector(backend: str) -> None:
    """Of a non-negative matrix the best rank-one approximation is non-negative (Perron)."""
    X = np.random.default_rng(0).random((200, 30))
    model = NMF(1, tol=1e-10, backend=backend)
    W = model.fit_transform(X)
    u, s, v = np.linalg.svd(X, full_matrices=False)
    assert_allclose(model.components_[0], np.abs(v[0]), atol=1e-6)
    assert_allclose(W[:, 0], np.abs(u[:, 0]) * s[0], rtol=1e-5)
    assert_allclose(model.reconstruction_err_, np.sqrt((s[1:] ** 2).sum()), rtol=1e-6)


def test_one_factor_of_rows_along_one_direction_is_their_mean_direction() -> None:
    direction = np.array([3.0, 0.0, 4.0])
    X = np.outer([1.0, 2.0, 0.5, 7.0], direction)
    model = NMF(1).fit(X)
    mean = X.mean(axis=0)
    assert_allclose(model.components_[0], mean / np.linalg.norm(mean), atol=1e-6)
    assert model.relative_err_ < 1e-6


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("noise", [0.0, 0.05, 0.3])
def test_planted_factors_are_found(noise: float, backend: str) -> None:
    X, _, H = planted(3000, 64, 6, noise=noise)
    model = NMF(6, tol=1e-7, max_iter=2000, backend=backend).fit(X)
    assert match(H, model.components_)[1].min() > 0.99


@pytest.mark.parametrize("backend", BACKENDS)
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 8), noise=st.floats(0, 2))
def test_error_never_rises_and_all_stays_non_negative(
    backend: str, seed: int, k: int, noise: float
) -> None:
    X, _, _ = planted(60, 20, 4, noise=noise, seed=seed)
    model = NMF(k, tol=0.0, max_iter=60, random_state=seed, backend=backend)
    W = model.fit_transform(X)
    assert (np.diff(model.errors_) <= 0).all()
    assert (W >= 0).all() and (model.components_ >= 0).all()
    # the exact weights at the end can only help (squares: the digits that float32 has)
    assert model.relative_err_**2 <= model.errors_[-1] ** 2 + 2e-6
    assert_allclose(
        model.reconstruction_err_, np.linalg.norm(X - W @ model.components_), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_as_good_as_the_textbook(backend: str) -> None:
    X, _, _ = planted(300, 40, 5, noise=0.5)
    X = X.astype(np.float64)
    W, H = initial_factors(X, 5, 0)
    slow = slow_hals(X, W, H, 300)
    fast = hals(X, W, H, tol=1e-9, max_iter=300, backend=backend)
    assert fast.errors[-1] <= slow[-1] * 1.001
    assert len(fast.errors) < 300


def test_backends_agree_to_rounding() -> None:
    X, _, _ = planted(500, 40, 5, noise=0.3)
    a, b = NMF(5, backend="numpy").fit(X), NMF(5, backend="torch").fit(X)
    assert_allclose(a.components_, b.components_, atol=1e-3)
    assert (a.backend_, b.backend_) == ("numpy", "torch")


def test_not_worse_than_scikit_learn() -> None:
    from sklearn.decomposition import NMF as Reference

    X, _, _ = planted(1500, 60, 12, noise=0.8)
    theirs = Reference(8, init="nndsvda", random_state=0, max_iter=1000, tol=1e-5).fit(X)
    assert NMF(8).fit(X).reconstruction_err_ <= theirs.reconstruction_err_ * 1.002


@pytest.mark.parametrize("backend", BACKENDS)
def test_same_seed_same_bytes(backend: str) -> None:
    X, _, _ = planted(15_000, 24, 6, noise=0.5)  # enough rows for the coarse fit
    fits = [NMF(6, random_state=7, backend=backend) for _ in range(2)]
    first, second = (fit.fit_transform(X).tobytes() for fit in fits)
    assert first == second
    assert fits[0].components_.tobytes() == fits[1].components_.tobytes()


def test_training_rows_get_their_weights_back() -> None:
    X, _, _ = planted(400, 32, 5, noise=0.4)
    model = NMF(5)
    W = model.fit_transform(X)
    assert_array_equal(model.transform(X), W)
    assert_allclose(nnls(X, model.components_), W, atol=1e-6)
    assert_allclose(np.concatenate(list(model.transform_batches([X[:150], X[150:]]))), W, atol=1e-5)


def test_factors_have_length_one_and_come_in_order_of_what_they_explain() -> None:
    X, _, _ = planted(400, 32, 5, noise=0.4)
    model = NMF(5)
    W = model.fit_transform(X)
    assert_allclose(np.linalg.norm(model.components_, axis=1), 1, rtol=1e-5)
    energy = (W.astype(float) ** 2).sum(axis=0)
    assert (np.diff(energy) <= 0).all()


def test_warm_start_keeps_the_order_and_is_quickly_done() -> None:
    X, _, _ = planted(2000, 40, 5, noise=0.4)
    cold = NMF(5, tol=1e-6, max_iter=1000).fit(X)
    order = [3, 1, 4, 0, 2]
    warm = NMF(5).fit(X, H=cold.components_[order])
    assert warm.n_iter_ <= 2 < cold.n_iter_
    assert_array_equal(match(cold.components_[order], warm.components_)[0], np.arange(5))
    again = cold.set_params(warm_start=True, tol=1e-4).fit(X[:1000])
    assert again.n_iter_ <= 5


def test_start_weights_alone_and_both() -> None:
    X, W, H = planted(300, 40, 4, noise=0.0)
    assert NMF(4).fit(X, W=W).relative_err_ < 0.01
    both = NMF(4).fit(X, W=W, H=H)
    assert both.relative_err_ < 0.01
    assert_array_equal(match(H, both.components_)[0], np.arange(4))


def test_warm_start_on_another_layer_starts_cold() -> None:
    model = NMF(3, warm_start=True).fit(np.random.default_rng(0).random((50, 8)))
    assert model.fit(np.random.default_rng(0).random((50, 6))).components_.shape == (3, 6)


def test_many_rows_learn_from_a_sample_and_weigh_all() -> None:
    X, _, H = planted(20_000, 16, 3, noise=0.1)
    model = NMF(3, max_rows=2000, tol=1e-6, max_iter=1000)
    W = model.fit_transform(X)
    assert (model.n_rows_learned_, model.n_rows_, len(W)) == (2000, 20_000, 20_000)
    assert match(H, model.components_)[1].min() > 0.99
    assert_allclose(model.reconstruction_err_, np.linalg.norm(X - W @ model.components_), rtol=1e-3)
    assert NMF(3, max_rows=None).fit(X).n_rows_learned_ == 20_000


# -- negative values ---------------------------------------------------------------------
def test_negative_values_are_refused_by_default() -> None:
    X = np.random.default_rng(0).random((20, 6))
    X[4, 2] = -0.5
    with pytest.raises(InvalidInput, match=r"Negative values.*1 of 120.*row 4.*'shift'"):
        NMF(2).fit(X)
    model = NMF(2).fit(np.abs(X))
    with pytest.raises(InvalidInput, match="Negative values"):
        model.transform(X)


@pytest.mark.parametrize("rule", ["shift", "clip", "split"])
def test_what_was_done_with_negative_values_is_recorded(rule: str) -> None:
    X = np.random.default_rng(0).normal(size=(200, 6))
    model = NMF(6 if rule != "split" else 12, nonnegative=rule, tol=1e-8, max_iter=3000)
    W = model.fit_transform(X)
    assert_allclose(model.negative_share_, (X < 0).mean())
    assert "negative" in model.preparation_
    assert (W >= 0).all() and (model.components_ >= 0).all()
    assert model.components_.shape[1] == (12 if rule == "split" else 6)
    back, given = model.inverse_transform(W), np.maximum(X, 0) if rule == "clip" else X
    assert np.linalg.norm(back - given) / np.linalg.norm(given) < 0.35
    if rule == "shift":
        assert_allclose(model.offset_, X.min(axis=0))
        low = X[:5] - 1.0  # below what was seen: still a least squares problem, nothing is cut
        assert_allclose(model.transform(low), nnls(low - model.offset_, model.components_))
    else:
        assert model.offset_ is None


def test_input_is_never_changed() -> None:
    X = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    before = X.copy()
    for rule in ("shift", "clip", "split"):
        NMF(2, nonnegative=rule).fit_transform(X)
    assert_array_equal(X, before)


# -- the edges ---------------------------------------------------------------------------
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [0.0, 3.0])
def test_constant_activations(value: float, backend: str) -> None:
    model = NMF(3, backend=backend)
    W = model.fit_transform(np.full((20, 5), value))
    assert np.isfinite(W).all() and np.isfinite(model.components_).all()
    assert model.relative_err_ < 1e-5


def test_more_factors_than_channels() -> None:
    X = np.random.default_rng(0).random((30, 2))
    assert NMF(5).fit(X).relative_err_ < 1e-3


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e30])
def test_the_unit_does_not_matter(scale: float) -> None:
    X, _, _ = planted(200, 20, 3, noise=0.2)
    plain, scaled = (NMF(3, tol=1e-7, max_iter=2000) for _ in range(2))
    plain.fit(X)
    W = scaled.fit_transform((X.astype(np.float64) * scale).astype(np.float32))
    assert_allclose(scaled.components_, plain.components_, atol=0.01)
    assert_allclose(scaled.relative_err_, plain.relative_err_, rtol=1e-3)
    assert_allclose(W / np.float32(scale), plain.transform(X), rtol=0.02, atol=0.02)


def test_float16_and_integers() -> None:
    X = np.random.default_rng(0).integers(0, 200, (100, 10))
    for kind in (np.uint8, np.float16):
        assert NMF(2).fit(X.astype(kind)).components_.dtype == np.float32


def test_bad_input_is_named() -> None:
    X = np.random.default_rng(0).random((20, 6))
    with pytest.raises(BadActivations, match="row 3"):
        bad = X.copy()
        bad[3, 1] = np.nan
        NMF(2).fit(bad)
    with pytest.raises(TooFew, match="n_components=30"):
        NMF(30).fit(X)
    with pytest.raises(ChannelMismatch, match=r"H has shape \(2, 5\)"):
        NMF(2).fit(X, H=np.ones((2, 5)))
    with pytest.raises(InvalidInput, match="H has negative"):
        NMF(2).fit(X, H=-np.ones((2, 6)))
    with pytest.raises(ChannelMismatch, match="expecting 6"):
        NMF(2).fit(X).transform(X[:, :5])
    with pytest.raises(UnknownName, match=r"'clipp'.*'clip'"):
        NMF(2, nonnegative="clipp").fit(X)  # type: ignore[arg-type]
    for params in ({"n_components": 0}, {"tol": -1}, {"max_iter": 0}, {"random_state": None}):
        with pytest.raises(InvalidInput):
            NMF(**params).fit(X)


def test_cancelled_fit_changes_nothing() -> None:
    X, _, _ = planted(200, 20, 3, noise=0.3)
    model = NMF(3).fit(X)
    before = model.components_.copy()
    asked: list[int] = []

    def cancel() -> bool:
        asked.append(1)
        return len(asked) > 3

    with pytest.raises(Cancelled):
        model.set_params(random_state=5).fit(X[::-1], cancel=cancel)
    assert_array_equal(model.components_, before)


def test_progress_reaches_the_end() -> None:
    seen: list[tuple[int, int]] = []
    NMF(2, max_iter=50).fit(
        np.random.default_rng(0).random((30, 5)),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[0] == (0, 50) and seen[-1] == (50, 50)
    assert seen == sorted(seen)
