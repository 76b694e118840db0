"""k-means: closed forms, the textbook beside it, edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from widgetkit.analysis import KMeans, hdbscan_labels, label_agreement
from widgetkit.errors import BadActivations, Cancelled, ChannelMismatch, InvalidInput, TooFew


def blobs(n: int = 600, k: int = 4, C: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = generator.integers(k, size=n)
    centres = 6 * np.eye(k, C)
    return (centres[truth] + 0.3 * generator.normal(size=(n, C))).astype(np.float32), truth


def slow_lloyd(X: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The textbook, until nothing moves."""
    X = X.astype(float)
    while True:
        labels = np.array([((row - centres) ** 2).sum(axis=1).argmin() for row in X])
        moved = np.array([X[labels == j].mean(axis=0) for j in range(len(centres))])
        if np.allclose(moved, centres, atol=1e-12):
            return centres, labels
        centres = moved


def test_one_cluster_is_the_mean() -> None:
    X, _ = blobs()
    model = KMeans(1).fit(X)
    assert_allclose(model.cluster_centers_[0], X.mean(axis=0, dtype=float), rtol=1e-5, atol=1e-6)
    assert_allclose(model.inertia_, len(X) * X.var(axis=0, dtype=float).sum(), rtol=1e-5)


def test_planted_clusters_are_found() -> None:
    X, truth = blobs()
    assert label_agreement(KMeans(4).fit(X).labels_, truth) == 1.0


def test_equals_the_textbook_from_the_same_start() -> None:
    X, _ = blobs(200, k=3)
    start = X[:3].astype(float)
    start += np.array([[0.0], [0.1], [0.2]])
    centres, labels = slow_lloyd(X, start)
    model = KMeans(3, tol=0.0).fit(X, init=start)
    assert_array_equal(model.labels_, labels)
    assert_allclose(model.cluster_centers_, centres, atol=1e-5)


def test_not_worse_than_scikit_learn() -> None:
    from sklearn.cluster import KMeans as Reference

    X = np.maximum(np.random.default_rng(0).normal(size=(5000, 20)), 0).astype(np.float32)
    theirs = Reference(10, n_init=4, random_state=0).fit(X)
    assert KMeans(10).fit(X).inertia_ <= theirs.inertia_ * 1.01


@settings(deadline=None, max_examples=25)
@given(
    n=st.integers(1, 40),
    k=st.integers(1, 12),
    distinct=st.integers(1, 40),
    seed=st.integers(0, 10**6),
)
@example(n=13, k=8, distinct=21, seed=1327)  # an empty cluster on the place of another
def test_labels_centres_and_inertia_belong_together(
    n: int, k: int, distinct: int, seed: int
) -> None:
    """Also with duplicates, and with fewer different rows than clusters."""
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(distinct, 3))[generator.integers(distinct, size=n)]
    if k > n:
        with pytest.raises(TooFew):
            KMeans(k).fit(X)
        return
    model = KMeans(k, random_state=seed).fit(X)
    assert model.labels_.shape == (n,) and model.labels_.dtype == np.int32
    distance = ((X[:, None] - model.cluster_centers_) ** 2).sum(axis=2)
    assert_allclose(model.inertia_, distance.min(axis=1).sum(), atol=1e-8)
    assert_array_equal(model.predict(X), model.labels_)
    assert_allclose(model.transform(X) ** 2, distance, atol=1e-10)
    different = len(np.unique(X, axis=0))
    if k >= different:
        assert model.inertia_ < 1e-12
        assert len(np.unique(model.labels_)) == different
    else:
        assert len(np.unique(model.labels_)) == k  # no cluster stays empty
    sizes = np.bincount(model.labels_, minlength=k)
    assert (np.diff(sizes) <= 0).all()


def test_an_empty_cluster_takes_the_worst_served_row() -> None:
    X = np.array([[0.0], [0.1], [0.2], [9.0]])
    model = KMeans(2).fit(X, init=[[0.1], [-500.0]])
    assert_array_equal(model.labels_, [0, 0, 0, 1])


def test_same_seed_same_bytes() -> None:
    X = np.random.default_rng(0).random((9000, 12), np.float32)
    first, second = KMeans(5, random_state=3).fit(X), KMeans(5, random_state=3).fit(X)
    assert first.cluster_centers_.tobytes() == second.cluster_centers_.tobytes()
    assert first.labels_.tobytes() == second.labels_.tobytes()


def test_warm_start_keeps_the_numbers_of_the_clusters() -> None:
    X, _ = blobs()
    model = KMeans(4, warm_start=True).fit(X)
    swapped = model.cluster_centers_[[2, 0, 3, 1]]
    model.cluster_centers_ = swapped
    model.fit(X[:300])
    assert_allclose(model.cluster_centers_, swapped, atol=0.3)
    assert model.n_iter_ <= 3


def test_centres_may_be_set_before_the_first_fit() -> None:
    X, _ = blobs()
    model = KMeans(4, warm_start=True)
    model.cluster_centers_ = X[:4]
    assert len(model.fit(X).labels_) == len(X)


def test_a_large_common_offset_does_not_blur_the_clusters() -> None:
    X, truth = blobs()
    assert label_agreement(KMeans(4).fit(X + 3000).labels_, truth) == 1.0


def test_constant_rows() -> None:
    model = KMeans(3).fit(np.ones((10, 4)))
    assert_array_equal(model.labels_, 0)
    assert model.inertia_ == 0


def test_bad_input_is_named() -> None:
    X, _ = blobs(20)
    with pytest.raises(BadActivations):
        KMeans(2).fit(np.full((5, 2), np.inf))
    with pytest.raises(ChannelMismatch, match="init has shape"):
        KMeans(2).fit(X, init=X[:3])
    with pytest.raises(InvalidInput, match="n_clusters"):
        KMeans(0).fit(X)
    with pytest.raises(ChannelMismatch):
        KMeans(2).fit(X).predict(X[:, :3])
    with pytest.raises(Cancelled):
        KMeans(2).fit(X, cancel=lambda: True)


# -- hdbscan -----------------------------------------------------------------------------
def test_hdbscan_finds_islands_and_outliers() -> None:
    X, truth = blobs(400, k=3, C=3)
    points = np.concatenate([X, [[99.0, 99.0, 99.0]]])
    labels = hdbscan_labels(points)
    assert labels.dtype == np.int32 and labels[-1] == -1
    inside = labels[:-1] >= 0
    assert inside.mean() > 0.9
    assert label_agreement(labels[:-1][inside], truth[inside]) == 1.0


def test_hdbscan_of_too_little() -> None:
    with pytest.raises(TooFew):
        hdbscan_labels(np.zeros((1, 2)))
    assert hdbscan_labels(np.zeros((2, 2))).shape == (2,)
    assert hdbscan_labels(np.random.default_rng(0).random((3, 2))).shape == (3,)
