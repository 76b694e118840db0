"""How many clusters: planted numbers come back, each measure is what it says, little data is said."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import adjusted_rand_score, silhouette_score

from widgetkit.analysis import ClusterChoice, KMeans, choose_clusters
from widgetkit.analysis.choice_of_clusters import bend
from widgetkit.analysis.cluster_recommendation import advise
from widgetkit.analysis.gap import Box, gap, log_within
from widgetkit.errors import BadActivations, Cancelled, InvalidInput, TooFew

QUICK: dict[str, Any] = {"n_init": 3, "gap_references": 5, "boots": 4}


def blobs(k: int, n: int = 240, d: int = 6, apart: float = 7.0, seed: int = 0) -> np.ndarray:
    """Round clouds of unit width whose centres lie ``apart`` from the middle."""
    generator = np.random.default_rng([seed, k])
    centres = generator.normal(size=(k, d))
    centres *= (apart if k > 1 else 0) / np.linalg.norm(centres, axis=1, keepdims=True)
    return centres[np.arange(n) % k] + generator.normal(size=(n, d))


# -- planted numbers ---------------------------------------------------------------------
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("k", [2, 3, 5])
def test_planted_blobs_come_back(k: int, seed: int) -> None:
    found = choose_clusters(blobs(k, seed=seed), **QUICK)
    assert found.recommended == found.gap == k, found.explain()
    line = found.table.set_index("k").loc[k]
    assert line["stability"] > 0.95 and line["stability_least"] > 0.9
    assert 240 // k - 3 <= line["smallest"] <= line["largest"] <= 240 // k + 3
    assert sum(map(int, line["sizes"].split(", "))) == 240
    assert found.explain().startswith(f"Recommended: {k} clusters.\n- Gap statistic: {k}, ")


@pytest.mark.parametrize("d", [2, 6, 30])
def test_one_blob_is_one_cluster(d: int) -> None:
    found = choose_clusters(blobs(1, d=d), **QUICK)
    assert found.recommended == found.gap == 1
    assert "One cluster: the rows are no tighter in groups than an even cloud" in found.explain()
    assert found.explain().startswith("Recommended: 1 cluster.\n")


def test_an_even_box_is_one_cluster() -> None:
    assert choose_clusters(np.random.default_rng(0).random((300, 3)), **QUICK).recommended == 1


def test_same_seed_same_numbers_and_another_scale_changes_nothing() -> None:
    Z = blobs(3)
    first, again = choose_clusters(Z, **QUICK), choose_clusters(Z, **QUICK)
    pd.testing.assert_frame_equal(
        first.table.drop(columns="seconds"), again.table.drop(columns="seconds")
    )
    moved = choose_clusters(Z * 100 + 3, **QUICK)
    for column in ("silhouette", "gap", "gap_s", "stability", "bend"):
        assert_allclose(moved.table[column], first.table[column], rtol=1e-4, atol=1e-6)
    assert moved.recommended == first.recommended


# -- each measure ------------------------------------------------------------------------
def pooled(rows: np.ndarray, labels: np.ndarray) -> float:
    """Tibshirani's W: of each cluster the sum of all its pairs' squared distances over 2 n."""
    total = 0.0
    for c in np.unique(labels):
        own = rows[labels == c]
        total += ((own[:, None] - own[None]) ** 2).sum() / (2 * len(own))
    return total


def test_the_gap_is_that_of_a_plain_implementation() -> None:
    Z, ks, B = blobs(3, n=60, d=3), [1, 2, 3, 4], 4
    found = choose_clusters(Z, ks, n_init=5, gap_references=B, boots=1, seed=7).table
    centred = Z - Z.mean(axis=0)
    V = np.linalg.svd(centred, full_matrices=False)[2].T
    low, high = (centred @ V).min(axis=0), (centred @ V).max(axis=0)
    logs = np.zeros((B, len(ks)))
    for b in range(B):
        generator = np.random.default_rng([7, 1, b])
        even = np.array([[generator.random() for _ in range(3)] for _ in range(60)])
        cloud = (low + even * (high - low)) @ V.T + Z.mean(axis=0)  # turned back
        for j, k in enumerate(ks):
            labels = KMeans(k, n_init=5, random_state=7).fit(cloud).labels_
            logs[b, j] = np.log(pooled(cloud, labels))
    for j, k in enumerate(ks):
        own = np.log(pooled(Z, KMeans(k, n_init=5, random_state=7).fit(Z).labels_))
        mean = sum(logs[:, j]) / B
        sd = np.sqrt(sum((logs[:, j] - mean) ** 2) / B)
        assert_allclose(found["gap"][j], mean - own, atol=2e-2)  # starts differ by rounding
        assert_allclose(found["gap_s"][j], sd * np.sqrt(1 + 1 / B), atol=2e-2)
    assert_allclose(found["gap"][0], logs[:, 0].mean() - np.log(pooled(Z, np.zeros(60))), rtol=1e-9)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.integers(1, 4))
def test_the_box_holds_the_rows_along_their_own_axes(seed: int, d: int) -> None:
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(12, d)) @ generator.normal(size=(d, d))
    cloud = Box(rows).draw(generator)
    assert cloud.shape == (12, d)
    turned = rows - rows.mean(axis=0)
    turned = turned @ np.linalg.svd(turned, full_matrices=False)[2].T
    assert (cloud >= turned.min(axis=0) - 1e-9).all() and (cloud <= turned.max(axis=0) + 1e-9).all()


def test_gap_by_hand() -> None:
    found, s = gap(np.array([1.0, 0.0]), np.array([[2.0, 1.0], [4.0, 1.0]]))
    assert_allclose(found, [2, 1])
    assert_allclose(s, [np.sqrt(1.5), 0])
    assert np.isfinite(log_within(0.0))


def test_silhouette_and_stability_are_those_of_scikit_learn() -> None:
    Z = blobs(3, n=90)
    found = choose_clusters(Z, [3, 4], n_init=2, gap_references=2, boots=3, seed=5).table.set_index(
        "k"
    )
    for k in (3, 4):
        model = KMeans(k, n_init=2, random_state=5).fit(Z)
        assert_allclose(found.loc[k, "inertia"], model.inertia_)
        assert_allclose(found.loc[k, "silhouette"], silhouette_score(Z, model.labels_))
        agreed = []
        for b in range(3):
            drawn = np.random.default_rng([5, 2, b]).integers(90, size=90)
            other = KMeans(k, n_init=2, random_state=5).fit(Z[np.sort(drawn)])
            rest = [i for i in range(90) if i not in set(drawn.tolist())]
            agreed.append(adjusted_rand_score(model.labels_[rest], other.predict(Z[rest])))
        assert_allclose(found.loc[k, "stability"], np.mean(agreed))
        assert_allclose(found.loc[k, "stability_least"], min(agreed))
    assert found.loc[1, ["silhouette", "stability"]].isna().all()


def test_the_elbow_is_farthest_below_the_chord() -> None:
    ks, inertia = np.array([1.0, 2, 3, 4, 5]), np.array([100.0, 50, 10, 8, 6])
    chord = 100 + (6 - 100) * (ks - 1) / 4
    assert_allclose(bend(ks, inertia), (chord - inertia) / 94)
    # and at a right angle, once both axes go from 0 to 1
    x, y = (ks - 1) / 4, (inertia - 6) / 94
    right = np.abs(x + y - 1) / np.sqrt(2)
    assert np.argmax(right) == np.argmax(bend(ks, inertia)) == 2
    assert np.isnan(bend(ks[:2], inertia[:2])).all() and np.isnan(bend(ks, np.ones(5))).all()


# -- the rule ----------------------------------------------------------------------------
def table(**columns: list[float]) -> pd.DataFrame:
    usual = {
        "k": [1, 2, 3, 4], "bend": [0, 0.2, 0.4, 0], "silhouette": [np.nan, 0.4, 0.6, 0.5],
        "gap": [0.1, 0.3, 0.6, 0.5], "gap_s": [0.01] * 4, "stability": [np.nan, 0.8, 0.95, 0.6],
        "stability_least": [np.nan, 0.7, 0.9, 0.4], "smallest": [100, 40, 20, 10],
    }  # fmt: skip
    return pd.DataFrame(usual | columns)


def test_all_agree() -> None:
    found = advise(table())
    assert (found.recommended, found.gap, found.silhouette, found.elbow) == (3, 3, 3, 3)
    assert "All three name 3." in found.reasons


def test_the_gap_comes_first_if_its_clusters_come_back() -> None:
    two = advise(table(gap=[0.1, 0.3, 0.2, 0.2]))
    assert (two.recommended, two.silhouette) == (2, 3)
    assert "They disagree: gap statistic 2, silhouette 3, elbow 3." in two.reasons
    shaky = advise(
        table(gap=[0.1, 0.3, 0.2, 0.2], bend=[0, 0.5, 0.4, 0], stability=[np.nan, 0.5, 0.95, 0])
    )
    assert shaky.recommended == 3
    assert any("do not come back: 2 (0.50)" in said for said in shaky.reasons)


def test_the_silhouette_then_the_elbow() -> None:
    votes = {"gap": [0.1, 0.3, 0.2, 0.2], "bend": [0, 0.1, 0.2, 0.3]}
    found = advise(table(**votes, stability=[np.nan, 0.1, 0.8, 0.9]))
    assert (found.gap, found.silhouette, found.elbow, found.recommended) == (2, 3, 4, 3)
    assert advise(table(**votes, stability=[np.nan, 0.1, 0.2, 0.9])).recommended == 4


def test_the_gap_counts_its_error_and_may_name_none() -> None:
    assert advise(table(gap=[0.1, 0.105, 0.6, 0.5])).gap == 1  # not by more than its error
    rising = advise(table(gap=[0.1, 0.3, 0.6, 0.9]))
    assert rising.gap is None and rising.recommended == 3
    assert any("still rises at 4" in said for said in rising.reasons)


def test_one_unless_they_stand_apart_and_come_back() -> None:
    assert advise(table(gap=[0.1, 0.05, 0.6, 0.5])).recommended == 3
    weak = table(gap=[0.1, 0.05, 0.6, 0.5], silhouette=[np.nan, 0.2, 0.3, 0.1])
    assert advise(weak).recommended == 1


def test_nothing_comes_back() -> None:
    found = advise(table(stability=[np.nan, 0.3, 0.2, 0.1]))
    assert found.recommended == 2
    assert any("Do not read much into single clusters" in said for said in found.reasons)


def test_what_else_is_said() -> None:
    low = advise(table(silhouette=[np.nan, 0.1, 0.2, 0.1]))
    assert any("continuum" in said for said in low.reasons)
    small = advise(table(smallest=[100, 40, 3, 1]))
    assert "Its smallest cluster has 3 rows." in small.reasons
    last = advise(table(gap=[0.1, 0.3, 0.6, 0.9], silhouette=[np.nan, 0.1, 0.2, 0.9],
                        bend=[0, 0.1, 0.2, 0.3], stability=[np.nan, 0.9, 0.9, 0.9]))  # fmt: skip
    assert last.recommended == 4 and any("try larger ones" in said for said in last.reasons)


# -- little data -------------------------------------------------------------------------
@pytest.mark.parametrize("n", [3, 4, 5, 8])
def test_very_few_rows(n: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = choose_clusters(np.random.default_rng(n).normal(size=(n, 3)), **QUICK)
    assert found.recommended in range(1, n)
    assert found.table["k"].tolist() == list(range(1, min(n, 9)))
    assert np.isfinite(found.table[["gap", "gap_s", "inertia"]]).all(axis=None)
    if n < 9:
        assert f"There are no more than {n} different rows" in found.explain()


def test_duplicates_are_counted_once() -> None:
    Z = np.repeat(blobs(3, n=6), 30, axis=0)
    found = choose_clusters(Z, range(2, 9), **QUICK)
    assert found.table["k"].tolist() == [1, 2, 3, 4, 5]
    assert "Left out: 6, 7, 8. There are no more than 6 different rows" in found.explain()


def test_constant_rows_and_numbers_that_are_too_large() -> None:
    with pytest.raises(TooFew, match="The 20 rows of Z are all the same"):
        choose_clusters(np.ones((20, 4)))
    with pytest.raises(TooFew, match="hold 2 different ones, and ks asks for 2, 3"):
        choose_clusters(np.eye(2).repeat(9, axis=0), [2, 3])
    with pytest.raises(TooFew, match="different"):
        choose_clusters(blobs(2, n=10), [10, 20])
    with pytest.raises(TooFew):
        choose_clusters(np.zeros((0, 4)))


def test_constant_columns_do_no_harm() -> None:
    Z = np.c_[blobs(3), np.full(240, 7.0)]
    assert choose_clusters(Z, **QUICK).recommended == 3


def test_one_is_looked_at_whatever_was_asked() -> None:
    found = choose_clusters(blobs(3), [3, 5], **QUICK)
    assert found.table["k"].tolist() == [1, 3, 5] and found.recommended == 3


def test_many_rows_are_sampled_and_that_is_said() -> None:
    found = choose_clusters(blobs(3, n=600), [2, 3, 4], sample=150, **QUICK)
    assert found.rows == 150 and "150 of 600 rows" in found.explain() and found.recommended == 3


def test_float16_as_stored() -> None:
    found = choose_clusters(blobs(3).astype(np.float16), [2, 3, 4], **QUICK)
    assert found.recommended == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [({"ks": []}, "ks is empty"), ({"ks": [1]}, "1 alone"), ({"ks": [0]}, "each of ks"), ({"gap_references": 1}, "gap_references"),
     ({"boots": 0}, "boots"), ({"n_init": 0}, "n_init"), ({"seed": -1}, "seed"), ({"sample": 1}, "sample")],
)  # fmt: skip
def test_numbers_that_make_no_sense(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        choose_clusters(blobs(2), **options)


def test_bad_rows_are_named_and_work_can_be_cancelled() -> None:
    Z = blobs(2)
    Z[3, 1] = np.nan
    with pytest.raises(BadActivations, match="row 3"):
        choose_clusters(Z)
    seen: list[tuple[int, int]] = []
    choose_clusters(blobs(2), [1, 2, 3], progress=lambda d, t: seen.append((d, t)), **QUICK)
    assert seen[0][0] == 0 and seen[-1][0] == seen[-1][1] and seen == sorted(seen)
    assert len({t for _, t in seen}) == 1
    assert_array_equal(np.diff([d for d, _ in seen]), 1)
    asked = iter(range(1000))
    with pytest.raises(Cancelled):
        choose_clusters(blobs(2), cancel=lambda: next(asked) > 20)


def test_the_value_is_frozen() -> None:
    found = choose_clusters(blobs(2), [2], **QUICK)
    assert isinstance(found, ClusterChoice) and "DataFrame" not in repr(found)
    with pytest.raises(AttributeError):
        found.recommended = 3  # type: ignore[misc]
