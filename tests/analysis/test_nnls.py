"""Non-negative least squares: the batched solver beside one textbook call a row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import nnls as one_row

from widgetkit.analysis import nnls, nnls_batches
from widgetkit.analysis.nnls import GramSolver, _active_set, solve_gram
from widgetkit.errors import BadActivations, ChannelMismatch, InvalidInput, TooFew


def reference(X: np.ndarray, H: np.ndarray) -> np.ndarray:
    """Lawson & Hanson by scipy, row by row, in float64."""
    return np.array([one_row(H.T.astype(float), row.astype(float))[0] for row in X])


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    k = draw(st.integers(1, 12))
    C = draw(st.integers(k, 40))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shared = draw(st.sampled_from([0.0, 0.5, 2.0]))  # the larger, the more alike the factors
    H = generator.random((k, C)) + shared
    X = generator.normal(draw(st.sampled_from([-1.0, 0.3, 3.0])), 1.0, (17, C))
    return X * 10.0 ** draw(st.integers(-6, 6)), H


@settings(deadline=None, max_examples=60)
@given(problems())
def test_equals_scipy_row_by_row(problem: tuple[np.ndarray, np.ndarray]) -> None:
    X, H = problem
    expected = reference(X, H)
    assert_allclose(nnls(X, H), expected, rtol=1e-5, atol=1e-6 * max(np.abs(expected).max(), 1e-30))


@settings(deadline=None, max_examples=40)
@given(problems())
def test_optimality_conditions_hold(problem: tuple[np.ndarray, np.ndarray]) -> None:
    """No weight is negative, and no weight could be raised or lowered to any profit."""
    X, H = problem
    W = nnls(X, H)
    assert (W >= 0).all()
    gradient = (W @ H - X) @ H.T
    size = np.abs(X @ H.T).max(axis=1, keepdims=True) + 1e-300
    gradient /= size * (1 + np.linalg.cond(H) * 1e-9)
    assert (gradient > -1e-6).all()
    assert np.abs(gradient[W > 0]).max(initial=0) < 1e-6


def test_float32_rows_give_float32_weights_close_to_exact() -> None:
    generator = np.random.default_rng(0)
    X, H = generator.random((500, 64), np.float32), generator.random((8, 64), np.float32)
    W = nnls(X, H)
    assert W.dtype == np.float32
    assert_allclose(W, reference(X, H), atol=2e-5)


def test_float16_memory_map_is_read_in_blocks(tmp_path) -> None:
    generator = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", generator.random((40_000, 6)).astype(np.float16))
    stored = np.load(tmp_path / "a.npy", mmap_mode="r")
    H = generator.random((3, 6))
    rows = [0, 16_383, 16_384, 39_999]
    assert_allclose(nnls(stored, H)[rows], reference(stored[rows], H), atol=1e-5)


def test_batches_equal_one_call() -> None:
    generator = np.random.default_rng(1)
    X, H = generator.random((100, 9)), generator.random((4, 9))
    parts = list(nnls_batches((X[i : i + 30] for i in range(0, 100, 30)), H))
    assert [len(part) for part in parts] == [30, 30, 30, 10]
    assert_allclose(np.concatenate(parts), nnls(X, H), rtol=1e-12)


def test_collinear_and_zero_factors_still_reach_the_least_error() -> None:
    generator = np.random.default_rng(2)
    H = generator.random((6, 20))
    H[3], H[5] = 2 * H[1], 0
    X = generator.normal(0.3, 1, (50, 20))
    W = nnls(X, H)
    assert (W[:, 5] == 0).all()
    errors = np.linalg.norm(X - W @ H, axis=1)
    assert_allclose(errors, [one_row(H.T, row)[1] for row in X], rtol=1e-7)


@pytest.mark.parametrize("k", [25, 70])
def test_many_factors(k: int) -> None:
    """Above 62 factors the patterns no longer fit into an integer."""
    generator = np.random.default_rng(k)
    H, X = generator.random((k, 100)), generator.normal(0.3, 1, (60, 100))
    assert_allclose(nnls(X, H), reference(X, H), atol=1e-8)


def test_rows_in_the_cone_are_reproduced() -> None:
    generator = np.random.default_rng(3)
    H, W = generator.random((5, 30)), np.maximum(generator.normal(size=(40, 5)), 0)
    assert_allclose(nnls(W @ H, H), W, atol=1e-8)


def test_the_last_resort_agrees_with_the_pivoting() -> None:
    generator = np.random.default_rng(4)
    H, X = generator.random((7, 30)), generator.normal(0.3, 1, (40, 30))
    gram, products = H @ H.T, X @ H.T
    scale = np.sqrt(np.diag(gram))
    unit, goal = gram / np.outer(scale, scale), products / scale
    slow = np.array([_active_set(unit, row) for row in goal])
    assert_allclose(slow / scale, solve_gram(gram, products), atol=1e-8)


def test_pivoting_from_the_worst_guess() -> None:
    generator = np.random.default_rng(5)
    H, X = generator.random((6, 30)), generator.normal(0.3, 1, (40, 30))
    H /= np.linalg.norm(H, axis=1, keepdims=True)
    solver, goal = GramSolver(H @ H.T), X @ H.T
    right = solver.pivot(goal, np.zeros(goal.shape, bool))
    assert_allclose(solver.pivot(goal, right == 0), right, atol=1e-9)


@given(problems(), st.integers(0, 10**6))
@settings(deadline=None, max_examples=25)
def test_what_a_solver_keeps_changes_no_bit(
    problem: tuple[np.ndarray, np.ndarray], seed: int
) -> None:
    X, H = (part.astype(np.float64) for part in problem)
    gram, products = H @ H.T, X @ H.T
    once = solve_gram(gram, products)
    solver = GramSolver(gram)
    for row in np.random.default_rng(seed).permutation(len(X))[:3]:
        solver(products[row : row + 1])
    assert_array_equal(solver(products), once)
    assert_array_equal(solver(products), once)


def test_nothing_to_solve() -> None:
    assert nnls(np.zeros((0, 5)), np.ones((2, 5))).shape == (0, 2)
    assert_array_equal(nnls(np.zeros((3, 5)), np.ones((2, 5))), np.zeros((3, 2)))


def test_an_overflowing_product_is_taken_in_double() -> None:
    X, H = np.full((1, 4), 3e38, np.float32), np.full((1, 4), 2.0, np.float32)
    assert_allclose(nnls(X, H), [[1.5e38]], rtol=1e-5)


def test_bad_input_is_named() -> None:
    H = np.ones((2, 5))
    with pytest.raises(ChannelMismatch, match="4 channels and H has 5"):
        nnls(np.ones((3, 4)), H)
    with pytest.raises(BadActivations, match="row 1"):
        nnls(np.array([[1.0] * 5, [np.nan] * 5]), H)
    with pytest.raises(BadActivations, match="row 0"):
        nnls(np.array([[1.0, np.inf, 0, 0, 0]]), H)
    with pytest.raises(BadActivations, match="H contains NaN"):
        nnls(np.ones((3, 5)), H * np.nan)
    with pytest.raises(TooFew):
        nnls(np.ones((3, 5)), np.ones((0, 5)))
    with pytest.raises(InvalidInput, match="Reshape"):
        nnls(np.ones(5), H)
