"""How many factors: planted numbers come back, and the measures are what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.cluster.hierarchy import cophenet, linkage
from scipy.spatial.distance import squareform

from widgetkit.analysis import (
    NMF,
    amari_distance,
    choose_k,
    cophenetic,
    grouped_prediction,
    match,
    matched_cosine,
)
from widgetkit.analysis.held_out import held_out_error
from widgetkit.analysis.recommendation import recommend
from widgetkit.errors import BadActivations, Cancelled, ChannelMismatch, InvalidInput, TooFew


def planted(
    k: int, noise: float, n: int = 900, C: int = 48, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The last factor is a background, equal in all channels: noise cut off at zero adds one anyway."""
    generator = np.random.default_rng(seed)
    H = generator.gamma(0.5, 1, (k, C)) * (generator.random((k, C)) < 0.4) + 0.02
    H[-1] = 1
    H /= np.linalg.norm(H, axis=1, keepdims=True)
    X = generator.gamma(0.3, 1, (n, k)) @ H
    X = np.maximum(X + noise * X.std() * generator.normal(size=X.shape), 0)
    return X.astype(np.float32 if noise else np.float64), H


# -- distances ---------------------------------------------------------------------------
FACTORS = st.integers(0, 2**31).map(lambda s: np.random.default_rng(s).gamma(0.5, 1, (4, 9)) + 0.01)


@settings(deadline=None, max_examples=25)
@given(FACTORS, FACTORS, st.permutations(range(4)))
def test_order_and_scale_make_no_distance(A: np.ndarray, B: np.ndarray, order: list[int]) -> None:
    same = A[order] * np.array([[0.1], [1], [7], [100]])
    assert_allclose(matched_cosine(A, same), 1)
    assert_allclose(amari_distance(A, same), 0, atol=1e-12)
    assert_allclose(amari_distance(A, B), amari_distance(B, A), atol=1e-12)
    assert_allclose(amari_distance(A[order], B), amari_distance(A, B), atol=1e-12)
    assert 0 <= amari_distance(A, B) <= 1 and -1 <= matched_cosine(A, B) <= 1
    assert_allclose(matched_cosine(A, B), match(A, B)[1].mean())


def test_distance_by_hand() -> None:
    """R = |corrcoef| = [[1, 1/2], [1/2, 1]] for the rows of one set with themselves is 0; with one
    row replaced by the other, 1 - (1 + 1 + 1 + R01) / 4."""
    A = np.array([[1.0, 0, 0], [0, 1, 0]])
    B = np.array([[1.0, 0, 0], [1, 0, 0]])
    R = np.abs(np.corrcoef(np.concatenate([A, B]))[:2, 2:])
    assert_allclose(R[1, 0], 0.5)
    assert_allclose(amari_distance(A, B), 1 - (1 + 0.5 + 1 + 1) / 4)
    assert amari_distance(np.ones((2, 3)), A) == 1.0
    assert_allclose(matched_cosine(A, B), 0.5)


def test_distances_of_bad_input() -> None:
    for distance in (amari_distance, matched_cosine):
        with pytest.raises(ChannelMismatch, match=r"\(2, 3\) and \(3, 3\)"):
            distance(np.ones((2, 3)), np.ones((3, 3)))
        with pytest.raises(BadActivations):
            distance(np.full((2, 3), np.nan), np.ones((2, 3)))


# -- consensus ---------------------------------------------------------------------------
@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.integers(2, 5))
def test_cophenetic_is_that_of_the_consensus_matrix(seed: int, runs: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 3, (runs, 12))
    parted = np.sum([one[:, None] != one[None] for one in labels], axis=0)
    apart = squareform(parted, checks=False) / runs  # ties are exact: rounding would order them
    if np.ptp(apart) == 0:
        return
    expected = cophenet(linkage(apart, "average"), apart)[0]
    assert_allclose(cophenetic(list(labels)), expected, atol=1e-9)
    assert_allclose(cophenetic([5 - one for one in labels]), expected, atol=1e-9)


def test_cophenetic_falls_when_rows_change_company() -> None:
    generator = np.random.default_rng(0)
    same = generator.integers(0, 4, 200)
    assert_allclose(cophenetic([same, 3 - same, same]), 1)
    mixed = [
        np.where(generator.random(200) < 0.5, generator.integers(0, 4, 200), same) for _ in range(3)
    ]
    assert cophenetic(mixed) < 0.9
    assert np.isnan(cophenetic([np.zeros(5), np.zeros(5)]))
    assert_allclose(cophenetic([np.arange(3000) % 3] * 2, rows=50), 1)


def test_cophenetic_of_bad_input() -> None:
    with pytest.raises(TooFew, match="two labelings"):
        cophenetic([[1, 2, 3]])
    with pytest.raises(TooFew, match="2 rows"):
        cophenetic([[1, 2], [1, 2]])
    with pytest.raises(InvalidInput, match="same rows"):
        cophenetic([[1, 2, 3], [1, 2]])


# -- error of unseen values --------------------------------------------------------------
def test_error_of_unseen_values_stops_falling_at_the_planted_number() -> None:
    X, _ = planted(4, 0.5)
    explained = [1 - held_out_error(X, k, 0) ** 2 for k in range(1, 9)]
    assert explained[3] >= 0.98 * max(explained) and explained[2] < 0.9 * max(explained)
    fitted = [NMF(k).fit(X).relative_err_ for k in range(1, 9)]
    assert (np.diff(fitted) < 1e-6).all()  # which is why the fitted error cannot choose


def test_error_of_unseen_values_without_noise_is_none() -> None:
    X, _ = planted(3, 0.0)
    assert held_out_error(X, 3, 0) < 0.05
    assert np.isnan(held_out_error(X[:, :3], 3, 0))
    assert held_out_error(np.zeros((20, 8), np.float32), 2, 0) == 0.0


# -- the choice --------------------------------------------------------------------------
@pytest.mark.parametrize("noise", [0.2, 1.0, 2.0])
@pytest.mark.parametrize("k", [3, 5])
def test_the_planted_number_is_recommended(k: int, noise: float) -> None:
    X, H = planted(k, noise)
    found = choose_k(X, range(2, 8), groups=np.repeat(np.arange(6), 150), seeds=3)
    assert found.recommended == k, found.explain()
    table = found.table.set_index("k")
    assert table.loc[k, "seeds"] > 0.98 and table.loc[k, "slides"] > 0.85
    assert (table["error"].diff().dropna() < 1e-6).all()
    assert matched_cosine(NMF(k).fit(X).components_, H) > 0.9


def test_noise_alone_is_not_said_to_be_stable() -> None:
    X = np.random.default_rng(0).random((400, 30))
    found = choose_k(X, [2, 4, 6], groups=np.arange(400) % 5, seeds=3)
    text = found.explain()
    assert found.recommended == 2
    assert text.startswith("Recommended: 2 factors.")


def test_prediction_is_that_of_pooled_weights() -> None:
    """Four positions a tile; the class is factor 0's share."""
    generator = np.random.default_rng(0)
    H = generator.gamma(0.3, 1, (3, 24)) + 0.01
    tiles, slide = 120, np.repeat(np.arange(10), 12)
    y = generator.integers(0, 2, tiles)
    W = generator.gamma(0.5, 1, (tiles, 4, 3))
    W[:, :, 0] *= (1 + 3 * y)[:, None]
    X = (W.reshape(-1, 3) @ H).astype(np.float32)
    tile = np.repeat([f"tile {i}" for i in range(tiles)], 4)
    found = choose_k(X, [2, 3], groups=np.repeat(slide, 4), y=np.repeat(y, 4), tile=tile, seeds=2)
    row = found.table.set_index("k").loc[3]
    weights = NMF(3, max_rows=None).fit(X).transform(X).reshape(tiles, 4, 3)
    pooled = np.concatenate([weights.mean(axis=1), weights.max(axis=1)], axis=1)
    assert_allclose(
        row["auc"], grouped_prediction(pooled, y, slide).table["value"].iloc[0], atol=1e-3
    )
    assert row["auc_low"] < row["auc"] < row["auc_high"] and row["auc"] > 0.7
    assert "predict the class with AUC" in found.explain()
    single = choose_k(X, [3], groups=np.repeat(slide, 4), y=np.repeat(y, 4), seeds=2)
    assert np.isfinite(single.table["auc"]).all()
    assert "only number that was tried" in single.explain()


def test_what_was_not_asked_is_said_or_nan() -> None:
    X, _ = planted(3, 0.3, n=300)
    found = choose_k(X, [2, 3], seeds=2, sample=200)
    assert found.rows == 200 and found.table[["slides", "auc"]].isna().all(axis=None)
    text = found.explain()
    assert "200 of 300 rows" in text and "No groups were given" in text
    one = choose_k(X, [2, 3], seeds=2, groups=np.zeros(300))
    assert "at least two slides" in one.explain()


def test_negative_values_are_refused_or_said() -> None:
    X, _ = planted(3, 0.3, n=300)
    X = X - 0.05
    with pytest.raises(InvalidInput, match="Negative values"):
        choose_k(X, [2, 3])
    found = choose_k(X, [2, 3], seeds=2, nonnegative="clip")
    assert "set to 0" in found.preparation and "set to 0" in found.explain()


def test_too_many_factors_are_refused_with_the_rank() -> None:
    X, _ = planted(4, 0.0, n=200)
    with pytest.raises(
        InvalidInput, match=r"ks holds 5, 6, but the 200 rows of 48 channels have rank 4"
    ):
        choose_k(X, range(2, 7))
    with pytest.raises(TooFew, match="ks holds 12, but X has 8 rows"):
        choose_k(X[:8], [2, 12])
    with pytest.raises(InvalidInput, match="rank 0"):
        choose_k(np.zeros((10, 4)), [1])


def test_bad_input_is_named() -> None:
    X, _ = planted(3, 0.3, n=60)
    groups, y = np.arange(60) % 4, np.arange(60) % 2
    with pytest.raises(InvalidInput, match="y needs groups"):
        choose_k(X, [2], y=y)
    with pytest.raises(InvalidInput, match=r"tile\(s\) have more than one class"):
        choose_k(X, [2], y=y, groups=np.zeros(60), tile=np.zeros(60))
    with pytest.raises(InvalidInput, match=r"tile\(s\) have more than one group"):
        choose_k(X, [2], y=np.zeros(60), groups=groups, tile=np.zeros(60))
    with pytest.raises(TooFew, match="lies in 1 group"):
        choose_k(X, [2], y=groups == 3, groups=groups)
    with pytest.raises(InvalidInput, match="ks is empty"):
        choose_k(X, [])
    with pytest.raises(InvalidInput, match="each of ks"):
        choose_k(X, [0, 2])
    with pytest.raises(InvalidInput, match="seeds"):
        choose_k(X, [2], seeds=1)
    with pytest.raises(InvalidInput, match="one value a row"):
        choose_k(X, [2], groups=groups[:3])
    with pytest.raises(BadActivations):
        choose_k(np.where(X > 1, np.nan, X), [2])


def test_progress_cancel_and_repeat() -> None:
    X, _ = planted(3, 0.3, n=200)
    seen: list[tuple[int, int]] = []
    groups = np.arange(200) % 4
    one = choose_k(X, [2, 3], groups=groups, seeds=2, progress=lambda *a: seen.append(a))
    total = seen[-1][1]
    assert seen == [(i, total) for i in range(total + 1)]
    other = choose_k(X, [3, 2, 2], groups=groups, seeds=2)
    drop = ["seconds"]
    pd.testing.assert_frame_equal(one.table.drop(columns=drop), other.table.drop(columns=drop))
    assert one.reasons == other.reasons
    with pytest.raises(Cancelled):
        choose_k(X, [2], cancel=lambda: len(seen) > 3)


# -- the rule ----------------------------------------------------------------------------
def lines(**columns: Any) -> pd.DataFrame:
    n = len(columns["k"])
    blank: dict[str, Any] = {
        name: [np.nan] * n for name in ("slides", "auc", "auc_low", "auc_high")
    }
    return pd.DataFrame(blank | {"error": np.linspace(0.5, 0.3, n)} | columns)


def test_rule_enough_then_stable() -> None:
    base = {"k": [2, 4, 6, 8], "held_out": [0.6, 0.5, 0.4, 0.4]}
    best, said = recommend(lines(**base, seeds=[1.0, 0.95, 0.95, 1.0]))
    assert best == 6 and said[0].startswith("6 factors are enough: they explain 84.0%")
    best, said = recommend(lines(**base, seeds=[1.0, 0.95, 0.7, 1.0]))
    assert best == 4 and "Those of 6 do not come back from other starts (0.70)" in said[1]
    best, said = recommend(lines(**base, seeds=[1.0] * 4, slides=[0.9, 0.9, 0.5, 0.9]))
    assert best == 4 and "Those of 6 do not come back from other slides (0.50)" in said[1]
    best, said = recommend(lines(**base, seeds=[0.5, 0.8, 0.7, 0.99]))
    assert best == 4 and "No number up to 6 is stable; 4 comes nearest" in said[1]


def test_rule_says_when_larger_numbers_should_be_tried() -> None:
    best, said = recommend(lines(k=[2, 4], held_out=[0.6, 0.4], seeds=[1.0, 1.0]))
    assert best == 4 and "still rises at 4" in said[0] and "try larger ones" in said[-1]
    best, said = recommend(lines(k=[2, 4], held_out=[0.6, 0.4], seeds=[1.0, 0.5]))
    assert best == 2 and "still rises at 4" in said[0] and "try larger ones" not in str(said)
    best, said = recommend(lines(k=[2, 4], held_out=[np.nan] * 2, seeds=[1.0, 1.0]))
    assert best == 4 and "could not be taken" in said[0]
    best, _ = recommend(lines(k=[2, 4], held_out=[1.3, 1.5], seeds=[1.0, 1.0]))
    assert best == 2


def test_rule_leaves_out_what_predicts_worse() -> None:
    table = lines(
        k=[2, 4, 6],
        held_out=[0.6, 0.5, 0.4],
        seeds=[1.0] * 3,
        auc=[0.7, 0.9, 0.8],
        auc_low=[0.6, 0.85, 0.7],
        auc_high=[0.8, 0.95, 0.9],
    )
    best, said = recommend(table)
    assert best == 4 and "2, 6 predict the class worse than 4" in said[1]
    assert "AUC 0.90 (0.85 to 0.95)" in said[-1]
