"""Scores predicted from a few, against the plain solves that the shortcuts stand for."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from widgetkit.explain import fewer_masks
from widgetkit.explain.fewer_masks import (
    DRAWS,
    JITTER,
    LINEAR,
    REACHES,
    RIDGES,
    Fit,
    Found,
    Points,
    agreement,
    fit,
    influence,
    most_telling,
    search,
)


def masks_of(count: int, grid: tuple[int, ...] = (5, 4), seed: int = 0) -> np.ndarray:
    """Smooth masks in [0, 1]: sums of a few bumps, as channels of a network are."""
    generator = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(0, 1, side) for side in grid), indexing="ij")
    basis = np.stack(
        [
            np.exp(-sum((axis - at) ** 2 for axis, at in zip(axes, centre, strict=True)) / 0.1)
            for centre in generator.random((12, len(grid)))
        ]
    )
    made = np.tensordot(generator.gamma(0.5, size=(count, 12)), basis, 1)
    flat = made.reshape(count, -1)
    low, high = flat.min(axis=1), flat.max(axis=1)
    shape = (count, *[1] * len(grid))
    return (made - low.reshape(shape)) / (high - low).reshape(shape)


def smooth_scores(masks: np.ndarray, seed: int = 1) -> np.ndarray:
    """A smooth function of masks, some positive, some negative."""
    rows = masks.reshape(len(masks), -1)
    direction, bend = np.random.default_rng(seed).normal(size=(2, rows.shape[1])) / rows.shape[1]
    rows = rows - rows.mean(axis=0)
    return np.tanh(3 * rows @ direction) + (rows @ bend) ** 2


def kernel_reference(masks: np.ndarray, reach: float) -> np.ndarray:
    """Pair by pair."""
    rows = masks.reshape(len(masks), -1)
    rows = rows - rows.mean(axis=0)
    size = np.mean([row @ row for row in rows])
    return np.array(
        [
            [
                np.exp(-((x - y) ** 2).sum() / (2 * reach * size)) + LINEAR * (1 + x @ y / size)
                for y in rows
            ]
            for x in rows
        ]
    )


@pytest.mark.parametrize("grid", [(5, 4), (3, 2, 4)])
def test_the_kernel_is_its_definition(grid: tuple[int, ...]) -> None:
    masks = masks_of(9, grid)
    points = Points(masks)
    for reach in REACHES:
        assert_allclose(points.kernel(reach), kernel_reference(masks, reach), rtol=1e-10)


def leave_one_out(kernel: np.ndarray, ridge: float, unit: np.ndarray) -> tuple[np.ndarray, ...]:
    """Errors and variances of each value predicted from the others, each by a solve of its own."""
    errors, variances = [], []
    for out in range(len(unit)):
        rest = np.delete(np.arange(len(unit)), out)
        system = kernel[np.ix_(rest, rest)] + ridge * np.eye(len(rest))
        errors.append(unit[out] - kernel[out, rest] @ np.linalg.solve(system, unit[rest]))
        explained = kernel[out, rest] @ np.linalg.solve(system, kernel[rest, out])
        variances.append(kernel[out, out] + ridge - explained)
    return np.array(errors), np.array(variances)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_fit_is_the_plain_solve_with_the_likeliest_kernel(noise: float) -> None:
    masks = masks_of(40)
    scores = smooth_scores(masks) + noise * np.random.default_rng(5).normal(size=40)
    measured = np.random.default_rng(2).permutation(40)[:14]
    values = scores[measured]
    found = fit(Points(masks), measured, values)

    unit = (values - values.mean()) / values.std()
    worst = {}
    for reach, ridge in product(REACHES, RIDGES):
        kernel = kernel_reference(masks, reach)[np.ix_(measured, measured)]
        errors, variances = leave_one_out(kernel, ridge, unit)
        square = np.mean(errors**2 / variances)
        # minus the log of the normal density, but for constants, with the best scale
        worst[reach, ridge] = np.log(square) + np.mean(np.log(variances)), square
    best = min(worst, key=lambda pair: worst[pair][0])
    assert worst[found.reach, found.ridge][0] <= worst[best][0] + 1e-6

    kernel = kernel_reference(masks, found.reach)
    system = kernel[np.ix_(measured, measured)] + found.ridge * np.eye(14)
    mean = values.mean() + kernel[:, measured] @ np.linalg.solve(system, values - values.mean())
    left = kernel - kernel[:, measured] @ np.linalg.solve(system, kernel[measured])
    others = np.setdiff1d(np.arange(40), measured)
    assert_allclose(found.mean[others], mean[others], rtol=1e-5, atol=1e-6)
    assert_array_equal(found.mean[measured], values)
    assert_allclose(found.variance[others], np.diagonal(left)[others], rtol=1e-4, atol=1e-6)
    assert not found.variance[measured].any()
    assert found.scale == pytest.approx(
        values.std() * np.sqrt(worst[found.reach, found.ridge][1]), rel=1e-4
    )


def test_deviations_are_about_as_large_as_the_errors() -> None:
    off = []
    for seed in range(20):
        masks = masks_of(120, seed=seed)
        scores = smooth_scores(masks, seed + 50)
        measured = np.random.default_rng(seed).permutation(120)[:30]
        found = fit(Points(masks), measured, scores[measured])
        others = np.setdiff1d(np.arange(120), measured)
        off += list((scores - found.mean)[others] / found.deviation[others])
    assert 0.5 < np.sqrt(np.mean(np.square(off))) < 2


def some_fit(count: int = 30, measured: int = 8) -> tuple[Fit, np.ndarray]:
    masks = masks_of(count)
    chosen = np.random.default_rng(3).permutation(count)[:measured]
    noise = 0.05 * np.random.default_rng(4).normal(size=measured)
    return fit(Points(masks), chosen, smooth_scores(masks)[chosen] + noise), masks


def left_over(known: Fit) -> np.ndarray:
    """Covariance of what the measured points do not say, by a plain solve, (n, n)."""
    kernel, m = known.points.kernel(known.reach), known.measured
    system = kernel[np.ix_(m, m)] + known.ridge * np.eye(len(m))
    left = kernel - kernel[:, m] @ np.linalg.solve(system, kernel[m])
    left[m] = left[:, m] = 0
    return left


def test_draws_have_the_covariance_of_the_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fewer_masks, "DRAWS", 40_000)
    known, _ = some_fit()
    expected = left_over(known)
    drawn = known.draws() / known.scale
    assert_allclose(drawn.T @ drawn / 40_000, expected, atol=0.05 * expected.max())
    assert_allclose(known.variance, np.diagonal(expected), atol=1e-6)


def test_draws_are_the_same_each_time_and_leave_measured_scores() -> None:
    known, _ = some_fit()
    drawn = known.draws()
    assert drawn.shape == (DRAWS, 30)
    assert_array_equal(drawn, known.draws())
    assert_array_equal(drawn, some_fit()[0].draws())
    assert not drawn[:, known.measured].any() and drawn.std(axis=0).max() > 0


@pytest.mark.parametrize("before", [True, False])
def test_what_is_measured_next_leaves_least_uncertain_of_the_map(before: bool) -> None:
    """Against trying every one, each with the covariance that it would leave."""
    known, masks = some_fit()
    effect = masks.reshape(30, -1) * np.random.default_rng(7).gamma(1, size=(30, 1))
    effect -= effect.mean(axis=1, keepdims=True)
    if before:
        left, done = left_over(known), list(known.measured)
        chosen = most_telling(known.points, effect, 6, known)
    else:
        left, done = known.points.kernel(REACHES[1]).copy(), []
        chosen = most_telling(known.points, effect, 6)
    assert len(chosen) == 6
    for found in chosen:
        remaining = {}
        for one in set(range(30)) - set(done):
            after = left - np.outer(left[:, one], left[one]) / max(left[one, one], JITTER)
            remaining[one] = np.trace(effect.T @ after @ effect)
        assert remaining[int(found)] <= min(remaining.values()) * (1 + 1e-6) + 1e-9
        done.append(int(found))
        left = left - np.outer(left[:, found], left[found]) / max(left[found, found], JITTER)
    rest = most_telling(known.points, effect, 100, known)
    assert sorted([*rest, *known.measured]) == list(range(30))


def searched(
    masks: np.ndarray, channels: np.ndarray, scores: np.ndarray, **more: Any
) -> tuple[Found, list[np.ndarray]]:
    asked: list[np.ndarray] = []

    def measure(which: np.ndarray) -> np.ndarray:
        asked.append(which)
        return scores[which]

    more.setdefault("positive", True)
    return search(masks, channels, measure, relu, **more), asked


def relu(scores: np.ndarray) -> np.ndarray:
    return np.maximum(scores, 0)


@pytest.mark.parametrize("grid", [(6, 6), (3, 4, 5)])
@pytest.mark.parametrize("seed", range(6))
def test_the_map_of_smooth_scores_is_found_with_few_masks(grid: tuple[int, ...], seed: int) -> None:
    masks = masks_of(300, grid, seed)
    channels = masks * np.random.default_rng(seed).gamma(1, size=(300, *[1] * len(grid)))
    scores = smooth_scores(masks, seed)
    found, asked = searched(masks, channels, scores)
    assert found.measured.sum() == sum(map(len, asked)) < 200
    assert sorted(np.concatenate(asked)) == list(np.flatnonzero(found.measured))
    assert_array_equal(found.scores[found.measured], scores[found.measured])
    flat = channels.reshape(300, -1)
    assert np.corrcoef(relu(found.scores) @ flat, relu(scores) @ flat)[0, 1] > 0.99
    again, _ = searched(masks, channels, scores)
    assert_array_equal(again.scores, found.scores)


def test_scores_that_follow_no_rule_are_all_measured() -> None:
    masks = masks_of(220)
    scores = np.random.default_rng(0).normal(size=220)
    found, _ = searched(masks, masks, scores)
    assert found.measured.all()
    assert_array_equal(found.scores, scores)


def test_masks_that_are_nearly_equal_are_not_all_measured() -> None:
    generator = np.random.default_rng(0)
    masks = np.repeat(masks_of(10), 30, axis=0)
    masks = masks + 1e-4 * generator.random(masks.shape)
    scores = smooth_scores(masks)
    found, _ = searched(masks, masks, scores)
    assert found.measured.sum() < 90
    assert_allclose(found.scores, scores, atol=0.01 * np.ptp(scores))


@pytest.mark.parametrize("most", [1, 5, 24, 60, 80, 200])
def test_so_many_are_measured_as_were_asked_for(most: int) -> None:
    masks = masks_of(80)
    found, _ = searched(masks, masks, smooth_scores(masks), most=most)
    assert found.measured.sum() == min(most, 80)
    assert np.isfinite(found.scores).all()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 70),
    st.sampled_from(["smooth", "constant", "zero", "huge", "tiny", "one", "negative"]),
    st.booleans(),
    st.integers(0, 5),
)
def test_any_scores_give_finite_ones_and_measured_ones_as_they_are(
    count: int, kind: str, positive: bool, seed: int
) -> None:
    masks = masks_of(count, (3, 3), seed)
    smooth = smooth_scores(masks, seed)
    scores = {
        "smooth": smooth,
        "constant": np.full(count, 0.7),
        "zero": np.zeros(count),
        "huge": 1e30 * smooth,
        "tiny": 1e-30 * smooth,
        "one": np.eye(1, count, count // 2)[0],
        "negative": -np.abs(smooth),
    }[kind]
    found, _ = searched(masks, masks, scores, positive=positive)
    assert np.isfinite(found.scores).all()
    assert_array_equal(found.scores[found.measured], scores[found.measured])
    if kind in ("constant", "zero"):
        assert_allclose(found.scores, scores, atol=1e-12)


def test_agreement_is_the_lowest_correlation() -> None:
    generator = np.random.default_rng(0)
    one, others = generator.normal(size=(1, 30)), generator.normal(size=(5, 30)) + 1e6
    expected = min(np.corrcoef(one[0], other)[0, 1] for other in others)
    assert agreement(one, others) == pytest.approx(expected)
    flat = np.full((1, 30), 0.1)
    assert agreement(flat, np.zeros((2, 30))) == 1
    assert agreement(flat, one) == 0 == agreement(one, flat)


def test_influence_is_what_a_score_does_to_its_weight() -> None:
    scores = np.random.default_rng(0).normal(size=(200, 3)) + np.array([10, 0, -10])
    always, half, never = influence(scores, relu(scores))
    assert always == 1 and 0.3 < half < 0.8 and never == fewer_masks.LEAST_INFLUENCE
    assert_array_equal(influence(scores, np.zeros_like(scores)), 1)
    # a measured score does not move, though its weight may: with a softmax, when others do
    scores[:, 2] = 1.0
    assert_array_equal(influence(scores, scores + scores[:, :1])[2], fewer_masks.LEAST_INFLUENCE)
