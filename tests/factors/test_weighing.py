from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import nnls as reference_nnls

from widgetkit.errors import BadActivations, ChannelMismatch
from widgetkit.factors.streaming import pool, weigh_maps, winners_of
from widgetkit.factors.weighing import Weigher

RULES = ["nnls", "nearest", "direction", "project"]


def obvious(x: np.ndarray, H: np.ndarray, rule: str, penalty: float) -> np.ndarray:
    """Weights of one row by their definition, one factor after the other."""
    if rule == "nnls":
        # the penalty is a least squares problem too: (H Hᵀ) w = H x - penalty where w > 0
        lower = np.linalg.cholesky(H @ H.T)
        return reference_nnls(lower.T, np.linalg.solve(lower, H @ x - penalty))[0]
    w = np.zeros(len(H))
    if rule == "nearest":
        w[min(range(len(H)), key=lambda j: np.sum((x - H[j]) ** 2))] = 1
    elif rule == "direction":
        j = max(range(len(H)), key=lambda j: x @ H[j] / np.linalg.norm(H[j]))
        w[j] = max(x @ H[j] / (H[j] @ H[j]), 0)
    else:
        w = H @ x
    return w


def case(seed: int, k: int, channels: int, rule: str) -> tuple[np.ndarray, Weigher]:
    rng = np.random.default_rng(seed)
    H = rng.gamma(0.6, 1, (k, channels)) + 0.01 * rng.random((k, channels))
    offset = None
    if rule == "project":
        H = np.linalg.qr(rng.standard_normal((channels, k)))[0].T
        offset = rng.random(channels).astype(np.float32)
    penalty = float(rng.choice([0.0, 0.3])) if rule == "nnls" else 0.0
    maps = rng.gamma(0.6, 1, (3, channels, 4)).astype(np.float32)
    maps[0, :, 0] = 0
    return maps, Weigher(H.astype(np.float32), rule, offset, penalty)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(6, 20), st.sampled_from(RULES))
def test_weights_are_the_obvious_ones(seed: int, k: int, channels: int, rule: str) -> None:
    maps, weigher = case(seed, k, channels, rule)
    rows = maps.transpose(0, 2, 1).reshape(-1, channels)
    weights, errors = weigher(rows)
    offset = 0 if weigher.offset is None else weigher.offset.astype(float)
    for x, w, error in zip(rows.astype(float) - offset, weights, errors, strict=True):
        wanted = obvious(x, weigher.exact, rule, weigher.penalty)
        assert_allclose(w, wanted, atol=2e-4 * max(1, np.abs(wanted).max()), rtol=1e-3)
        assert error == pytest.approx(
            float(np.sum((x - w @ weigher.exact) ** 2)), rel=1e-3, abs=1e-4
        )


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(6, 20), st.sampled_from(RULES))
def test_maps_get_what_their_positions_get(seed: int, k: int, channels: int, rule: str) -> None:
    maps, weigher = case(seed, k, channels, rule)
    weights, squares = weigh_maps(maps, weigher)
    rows = maps.transpose(0, 2, 1).reshape(-1, channels)
    each, errors = weigher(rows)
    assert_allclose(weights, each.reshape(3, 4, k).transpose(0, 2, 1), rtol=1e-4, atol=1e-4)
    assert_allclose(squares[:, 0], errors.reshape(3, 4).sum(axis=1), rtol=1e-3, atol=1e-3)
    assert_allclose(squares[:, 1], np.square(maps).sum(axis=(1, 2)), rtol=1e-5)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 9), st.booleans())
def test_pooling_is_what_a_loop_finds(seed: int, k: int, cells: int, signed: bool) -> None:
    rng = np.random.default_rng(seed)
    weights = np.maximum(rng.standard_normal((4, k, cells)), -9 if signed else 0)
    weights = weights.astype(np.float16).astype(np.float32)
    level = float(rng.choice([0, 0.5]))
    pooled = pool(weights, level, signed=signed)
    won = winners_of(weights, level, signed=signed)
    for i in range(4):
        count = np.zeros(k)
        for cell in range(cells):
            sizes = [abs(w) if signed else w for w in weights[i, :, cell]]
            winner = int(np.argmax(sizes)) if sum(sizes) > level else -1
            assert won[i, cell] == winner
            if winner >= 0:
                count[winner] += 1
        wanted = [*weights[i].mean(axis=1), *weights[i].max(axis=1), *(count / cells)]
        total = np.abs(weights[i]).sum(axis=0).mean()
        assert_allclose(pooled[i], [*wanted, total], rtol=1e-5, atol=1e-6)


def test_an_exact_fit_has_no_error() -> None:
    """The error by the gram matrix would keep only six digits here."""
    weigher = Weigher(case(1, 4, 20, "nnls")[1].basis)
    rng = np.random.default_rng(0)
    W = rng.random((3, 4, 5), np.float32)
    squares = weigh_maps(np.matmul(weigher.basis.T, W), weigher)[1]
    assert (np.sqrt(squares[:, 0] / squares[:, 1]) < 1e-5).all()


def test_channels_and_numbers_are_checked() -> None:
    weigher = Weigher(np.ones((2, 3), np.float32))
    with pytest.raises(ChannelMismatch, match="another layer"):
        weigher(np.ones((4, 5), np.float32))
    with pytest.raises(BadActivations):
        weigher(np.full((4, 3), np.nan, np.float32))
    assert_array_equal(weigher(np.ones((0, 3), np.float32))[0], np.empty((0, 2)))
