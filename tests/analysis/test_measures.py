"""Composition, dominance, contrast, representatives, quality, stability."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from widgetkit.analysis import (
    NMF,
    KMeans,
    bootstrap_stability,
    composition,
    dominance,
    label_agreement,
    match,
    quality,
    representatives,
    selection_contrast,
    silhouette_by_cluster,
    stability,
    trustworthiness,
)
from widgetkit.errors import BadActivations, ChannelMismatch, InvalidInput, TooFew, UnknownName

LABELS = st.lists(st.integers(-1, 5), max_size=60)


# -- composition -------------------------------------------------------------------------
@settings(deadline=None, max_examples=50)
@given(LABELS, st.integers(0, 2**60))
def test_composition_counts_every_tile_once(labels: list[int], bits: int) -> None:
    mask = np.array([bits >> i & 1 for i in range(len(labels))], bool)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = composition(labels, mask)
    assert list(table["cluster"]) == sorted(set(labels))
    for row in table.itertuples():
        hits = np.array(labels) == row.cluster
        assert (row.inside, row.outside) == ((hits & mask).sum(), (hits & ~mask).sum())
    if mask.any():
        assert_allclose(table["share_in"].sum(), 1)
    if mask.any() and not mask.all():
        assert (table["low"] <= table["enrichment"]).all()
        assert (table["enrichment"] <= table["high"]).all()
    else:
        assert table["enrichment"].isna().all()


@given(LABELS, st.integers(0, 2**60))
@settings(deadline=None, max_examples=25)
def test_inverting_the_selection_negates_the_enrichment(labels: list[int], bits: int) -> None:
    mask = np.array([bits >> i & 1 for i in range(len(labels))], bool)
    one, other = composition(labels, mask), composition(labels, ~mask)
    assert_allclose(one["enrichment"], -other["enrichment"])
    assert_allclose(one["low"], -other["high"])


def test_enrichment_by_hand() -> None:
    """8 of 10 inside, 2 of 20 outside."""
    labels = [1] * 8 + [0] * 2 + [1] * 2 + [0] * 18
    row = composition(labels, np.arange(30) < 10).set_index("cluster").loc[1]
    assert_allclose(row.enrichment, np.log2((8.5 / 11) / (2.5 / 21)))
    error = np.sqrt(1 / 8.5 - 1 / 11 + 1 / 2.5 - 1 / 21) / np.log(2)
    assert_allclose(row.high - row.enrichment, 1.959964 * error)


def test_the_interval_covers() -> None:
    """At no true difference, 95 % of the intervals hold 0 (within what 400 draws can tell)."""
    generator = np.random.default_rng(0)
    mask = np.arange(300) < 100
    hits = 0
    for _ in range(400):
        row = composition((generator.random(300) < 0.3).astype(int), mask).iloc[-1]
        hits += row.low <= 0 <= row.high
    assert 0.92 <= hits / 400 <= 0.985


def test_composition_of_a_column() -> None:
    mask = np.array([True, True, False, False])
    table = composition(["b", None, "a", "b"], mask)
    assert list(table["cluster"]) == ["a", "b", "(missing)"]
    assert list(table["inside"]) == [0, 1, 1]
    column = pd.Series(["x", "y", "x", "x"], dtype="category")
    assert list(composition(column, mask)["cluster"]) == ["x", "y"]
    assert list(composition([10.0, 2.0, np.nan, 2.0], mask)["cluster"]) == ["2", "10", "(missing)"]
    with pytest.raises(InvalidInput, match="fractions"):
        composition([0.5, 1, 2, 3], mask)
    with pytest.raises(InvalidInput, match="boolean"):
        composition([1, 2, 3, 4], [0, 1, 1, 0])
    with pytest.raises(InvalidInput, match=r"shape \(4,\)"):
        composition([1, 2, 3, 4], mask[:3])


# -- dominance ---------------------------------------------------------------------------
def test_dominance_warns_without_naming_the_patient() -> None:
    patients = ["Jane Doe"] * 9 + ["X"] + ["Y"] * 10
    found = dominance(patients, np.arange(20) < 10, what="patient")
    assert (found.value, found.count, found.total) == ("Jane Doe", 9, 10)
    assert found.warning.startswith("One patient makes up 90% of the selection (9 of 10 tiles)")
    assert "0% of the rest" in found.warning and "Jane" not in found.warning


def test_no_warning_without_reason() -> None:
    everything = np.ones(6, bool)
    assert dominance(["a"] * 6, everything).warning == ""  # there is only one
    assert dominance(list("aaabbb"), everything).warning == ""
    assert dominance(list("abcdef"), np.arange(6) == 2).warning == ""  # one tile has one source
    nothing = dominance(["a", "b"], np.zeros(2, bool))
    assert (nothing.value, nothing.total, nothing.warning) == (None, 0, "")
    assert np.isnan(nothing.share)
    assert dominance([], np.zeros(0, bool)).value is None


# -- contrast ----------------------------------------------------------------------------
def test_contrast_is_the_standardised_difference() -> None:
    assert_allclose(selection_contrast([3.0, 1.0], [1.0, 1.5], [2.0, 0.5]), [1.0, -1.0])


def test_constant_channels_and_empty_sides_count_nothing() -> None:
    assert_array_equal(selection_contrast([1, 2], [0, 0], [0, np.nan]), 0)
    assert_array_equal(selection_contrast([np.nan, np.nan], [1, 2], [1, 1]), 0)
    with pytest.raises(ChannelMismatch):
        selection_contrast([1, 2], [1, 2], [1])


# -- representatives ---------------------------------------------------------------------
WEIGHTS = np.array([0.1, 0.9, 0.5, 0.9, 0.0, 0.7])


def test_each_rule_gives_its_rows_and_its_sentence() -> None:
    rows, said = representatives(WEIGHTS, count=3)
    assert rows.tolist() == [1, 3, 5]
    assert said == "The 3 tiles with the largest weight, largest first. Chosen from 6 tiles."
    rows, said = representatives(WEIGHTS, rule="quantile", count=3)
    assert rows.tolist() == [1, 5, 4] and "evenly spread" in said
    rows, said = representatives(WEIGHTS, rule="one_per_source", sources=list("aabbcc"), count=2)
    assert rows.tolist() == [1, 3] and "2 of 3 sources" in said
    rows, said = representatives(WEIGHTS, rule="random", count=3, seed=5)
    again, _ = representatives(WEIGHTS, rule="random", count=3, seed=5)
    assert rows.tolist() == again.tolist() and len(set(rows)) == 3 and "seed 5" in said
    places = np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [50.0]])
    rows, said = representatives(WEIGHTS, rule="medoid", embeddings=places, count=1)
    assert rows.tolist() == [2] and "least mean distance" in said


def test_medoid_of_many_rows_is_nearest_the_mean() -> None:
    places = np.random.default_rng(0).normal(size=(3000, 4))
    rows, said = representatives(np.zeros(3000), rule="medoid", embeddings=places, count=1)
    assert rows[0] == ((places - places.mean(axis=0)) ** 2).sum(axis=1).argmin()
    assert "distance to the mean" in said


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(["highest", "quantile", "one_per_source", "random", "medoid"]),
    st.integers(1, 30),
    st.integers(1, 12),
    st.integers(0, 10**6),
)
def test_rows_are_different_ones_of_the_pool(rule: str, n: int, count: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    pool = generator.random(n) < 0.6
    rows, said = representatives(
        generator.random(n),
        rule=rule,
        count=count,
        rows=pool,
        embeddings=generator.random((n, 3)),
        sources=generator.integers(4, size=n),
        seed=seed,
    )
    assert len(set(rows.tolist())) == len(rows) <= min(count, pool.sum())
    assert pool[rows].all() and said.endswith(".")
    if rule != "one_per_source":
        assert len(rows) == min(count, pool.sum())


def test_representatives_bad_input() -> None:
    with pytest.raises(UnknownName, match="'medoid'"):
        representatives(WEIGHTS, rule="mediod")  # type: ignore[arg-type]
    for options in (
        {"rule": "medoid"},
        {"rule": "one_per_source"},
        {"rule": "medoid", "embeddings": np.ones((2, 2))},
        {"rule": "one_per_source", "sources": ["a"]},
        {"rows": [7]},
        {"rows": [0.5]},
        {"count": 0},
    ):
        with pytest.raises(InvalidInput):
            representatives(WEIGHTS, **options)
    with pytest.raises(BadActivations, match="row 1"):
        representatives([0.0, np.nan])


# -- quality -----------------------------------------------------------------------------
def separated(n: int = 90) -> tuple[np.ndarray, np.ndarray]:
    truth = np.arange(n) % 3
    return 10 * np.eye(3)[truth] + np.random.default_rng(0).normal(size=(n, 3)), truth


def slow_silhouette(X: np.ndarray, labels: np.ndarray) -> np.ndarray:
    found = []
    for i, row in enumerate(X):
        far = np.linalg.norm(X - row, axis=1)
        own = labels == labels[i]
        a = far[own].sum() / (own.sum() - 1)
        b = min(far[labels == j].mean() for j in set(labels) - {labels[i]})
        found.append((b - a) / max(a, b))
    return np.array(found)


def test_silhouette_by_its_definition() -> None:
    X, labels = separated()
    expected = slow_silhouette(X, labels)
    found = quality(X, labels)
    assert_allclose(found["silhouette"], expected.mean())
    each = silhouette_by_cluster(X, labels)
    assert_allclose([each[j] for j in range(3)], [expected[labels == j].mean() for j in range(3)])
    assert (found["clusters"], found["rows"], found["silhouette_rows"]) == (3, 90, 90)


def test_better_clusters_have_better_figures_and_outliers_do_not_count() -> None:
    X, labels = separated()
    good, bad = quality(X, labels), quality(X, np.roll(labels, 1) // 2)
    assert good["silhouette"] > bad["silhouette"]
    assert good["calinski_harabasz"] > bad["calinski_harabasz"]
    assert good["davies_bouldin"] < bad["davies_bouldin"]
    more = np.concatenate([X, [[1e6, 0, 0]]]), np.append(labels, -1)
    assert quality(*more) == pytest.approx(good)


def test_large_data_is_sampled_and_says_so() -> None:
    X, labels = separated(10_500)
    found = quality(X, labels, seed=1)
    assert found["silhouette_rows"] == 10_000 < found["rows"]
    assert found["silhouette"] == quality(X, labels, seed=1)["silhouette"]


@pytest.mark.parametrize(
    "labels", [[0] * 6, [-1] * 6, list(range(6)), [-1, -1, -1, -1, -1, 0]], ids=str
)
def test_nothing_to_measure(labels: list[int]) -> None:
    found = quality(np.random.default_rng(0).random((6, 2)), labels)
    assert np.isnan(found["silhouette"]) and np.isnan(found["davies_bouldin"])
    assert silhouette_by_cluster(np.eye(6), labels) == {}


def test_clusters_that_are_single_places() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = quality(np.repeat(np.eye(2), 5, axis=0), [0] * 5 + [1] * 5)
    assert found["silhouette"] == 1.0 and np.isnan(found["calinski_harabasz"])
    assert quality(np.zeros((0, 3)), [])["rows"] == 0
    with pytest.raises(InvalidInput):
        quality(np.eye(3), [0, 1])


def test_trustworthiness() -> None:
    X = np.random.default_rng(0).normal(size=(3200, 2))
    found = trustworthiness(X, X)
    assert found == {"trustworthiness": 1.0, "rows": 3000.0, "n_neighbors": 15.0}
    assert trustworthiness(X, X[::-1])["trustworthiness"] < 0.6
    with pytest.raises(TooFew):
        trustworthiness(X[:2], X[:2])
    with pytest.raises(InvalidInput):
        trustworthiness(X, X[:5])


# -- stability ---------------------------------------------------------------------------
def test_matching_undoes_a_permutation_and_ignores_length() -> None:
    A = np.random.default_rng(0).random((5, 12))
    order = [3, 0, 4, 1, 2]
    columns, cosine = match(A[order], 7 * A)
    assert columns.tolist() == order
    assert_allclose(cosine, 1)
    with pytest.raises(ChannelMismatch):
        match(A, A[:4])


def test_matching_is_the_best_of_all_permutations() -> None:
    from itertools import permutations

    generator = np.random.default_rng(1)
    A, B = generator.normal(size=(4, 6)), generator.normal(size=(4, 6))
    unit = [M / np.linalg.norm(M, axis=1, keepdims=True) for M in (A, B)]
    cosine = unit[0] @ unit[1].T
    best = max(sum(cosine[i, p[i]] for i in range(4)) for p in permutations(range(4)))
    assert_allclose(match(A, B)[1].sum(), best)


def test_agreement_of_labels() -> None:
    assert label_agreement([0, 0, 1, 1], [5, 5, 2, 2]) == 1.0
    with pytest.raises(InvalidInput):
        label_agreement([0, 1], [0, 1, 2])


def test_planted_structure_is_stable_and_noise_is_not() -> None:
    X, _ = separated()
    noise = np.random.default_rng(0).random((90, 20))
    assert stability(KMeans(3), X, [0, 1, 2]) == {"mean": 1.0, "least": 1.0, "pairs": 3.0}
    assert stability(KMeans(3, n_init=1), noise, [0, 1, 2])["mean"] < 0.9
    assert bootstrap_stability(KMeans(3), X, repeats=4)["least"] == 1.0
    assert bootstrap_stability(KMeans(3), noise, repeats=4)["mean"] < 0.9
    factors = np.kron(np.eye(3), np.ones(4))
    planted = np.random.default_rng(0).gamma(0.4, 1, (200, 3)) @ factors
    assert stability(NMF(3), planted, [0, 1])["least"] > 0.99
    assert bootstrap_stability(NMF(3), planted, repeats=3)["least"] > 0.99


def test_stability_takes_any_function() -> None:
    X, _ = separated()
    found = stability(lambda X, seed: np.roll(np.arange(len(X)) % 3, seed), X, [0, 3, 6])
    assert found["mean"] == 1.0
    first = bootstrap_stability(NMF(2), np.abs(X), repeats=3, seed=4)
    assert first == bootstrap_stability(NMF(2), np.abs(X), repeats=3, seed=4)
    with pytest.raises(TooFew):
        stability(KMeans(2), X, [0])
