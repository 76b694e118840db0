"""Seen like these: against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial import distance

from tests.concepts.planted import NAMES, planted
from widgetkit.concepts import nearest_examples
from widgetkit.errors import ChannelMismatch, InvalidInput, UnknownName


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(["scaled", "euclidean", "cosine"]), st.integers(1, 6), st.integers(0, 2**32 - 1)
)
def test_equals_a_plain_loop(metric: str, count: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    X, H = generator.normal(size=(30, 4)) + 1, generator.normal(size=(7, 4)) + 1
    Y = generator.random((30, 3)) < 0.3
    patients, own = generator.integers(8, size=30), generator.integers(8, size=7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("widgetkit.concepts.nearest._CHUNK", 70)
        found = nearest_examples(H, X, Y, count=count, metric=metric, patients=patients, own=own)  # type: ignore[arg-type]
    scale = X.std(axis=0) if metric == "scaled" else 1.0
    how = distance.cosine if metric == "cosine" else distance.euclidean
    for i in range(7):
        for f in range(3):
            mine = [r for r in np.flatnonzero(Y[:, f]) if patients[r] != own[i]]
            far = np.array([how(H[i] / scale, X[r] / scale) for r in mine])
            order = np.argsort(far)[:count]
            assert found.of(i, f"concept {f}") == [mine[at] for at in order]
            assert_allclose(found.distances[i, f, : len(order)], far[order], rtol=1e-6, atol=1e-9)
            assert (found.rows[i, f, len(order) :] == -1).all()
            assert np.isnan(found.distances[i, f, len(order) :]).all()


def test_nearest_examples_show_the_concept_and_more_often_the_class() -> None:
    data, new = planted(0, 200), planted(1, 40)
    found = nearest_examples(new.X, data.X, data.Y, names=NAMES)
    assert found.rows.shape == (40, 5, 5)
    for f in range(5):
        assert (data.Y[found.rows[:, f], f] == 1).all()
    table = found.table()
    assert len(table) == 40 * 25
    assert table.groupby(["image", "concept"])["distance"].is_monotonic_increasing.all()
    same = data.classes[found.rows[:, 4]] == new.classes[:, None]
    shown = new.Y[:, 4] == 1  # a rim is of two classes: any example is of the same one so often
    chance = data.classes[data.Y[:, 4] == 1][None, :] == new.classes[shown, None]
    assert same[shown].mean() > 1.3 * chance.mean()


def test_an_image_itself_is_at_distance_0() -> None:
    data = planted(0, 30)
    found = nearest_examples(data.X, data.X, np.ones(30), count=1)
    assert_array_equal(found.rows[:, 0, 0], np.arange(30))
    assert_array_equal(found.distances[:, 0, 0], np.zeros(30))


def test_no_example_and_bad_input() -> None:
    data = planted(0, 20, d=4)
    found = nearest_examples(data.X, data.X, {"none": [], "some": [1, 2]}, count=3)
    assert found.of(0, "none") == [] and len(found.of(0, "some")) == 2
    assert nearest_examples(np.empty((0, 4)), data.X, data.Y).rows.shape == (0, 5, 5)
    with pytest.raises(ChannelMismatch, match="same layer"):
        nearest_examples(data.X[:, :2], data.X, data.Y)
    with pytest.raises(InvalidInput, match="patients= of X"):
        nearest_examples(data.X, data.X, data.Y, own=np.zeros(20))
    with pytest.raises(InvalidInput, match="must have shape"):
        nearest_examples(data.X, data.X, data.Y, own=np.zeros(3), patients=np.zeros(20))
    with pytest.raises(UnknownName, match="metric"):
        nearest_examples(data.X, data.X, data.Y, metric="l1")  # type: ignore[arg-type]
    with pytest.raises(UnknownName):
        found.of(0, "non")
