from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from widgetkit.errors import InvalidInput
from widgetkit.session import Clustering


def example(k: int = 4, n: int = 30, weights: bool = True) -> Clustering:
    rng = np.random.default_rng(0)
    found = rng.random((n, k)).astype(np.float32)
    return Clustering.make(
        found.argmax(axis=1),
        k,
        method="nmf",
        layer="features.4",
        prototypes=rng.random((k, 5)),
        weights=found if weights else None,
    )


def test_edits_return_new_ones_and_leave_the_old() -> None:
    old = example()
    new = old.rename(1, "ink  \n<b>").recolour(1, 7)
    assert (new.names[1], new.colors[1]) == ("ink <b>", 7)
    assert (old.names[1], old.colors[1]) == ("cluster 2", 1)
    assert new.labels is old.labels
    with pytest.raises(ValueError, match="read-only"):
        new.labels[0] = 1


@settings(deadline=None, max_examples=50)
@given(st.sets(st.integers(0, 5), min_size=2), st.booleans())
def test_merging_keeps_every_tile_and_the_order_of_the_rest(group: set[int], weights: bool) -> None:
    old = example(6, weights=weights)
    new = old.merge(sorted(group))
    keep = min(group)
    assert new.k == 6 - len(group) + 1
    assert new.sizes.sum() == old.sizes.sum()
    assert_array_equal(new.mask(keep), np.isin(old.labels, sorted(group)))
    rest = [i for i in range(6) if i not in group or i == keep]
    assert new.names == tuple(old.names[i] for i in rest)
    for at, i in enumerate(rest):
        if i != keep:
            assert_array_equal(new.mask(at), old.mask(i))
            assert_array_equal(new.prototypes[at], old.prototypes[i])  # type: ignore[index]
    if weights:
        assert_allclose(new.weights.sum(axis=1), old.weights.sum(axis=1), rtol=1e-5)  # type: ignore[union-attr]


def test_splitting_then_merging_gives_the_clusters_back() -> None:
    old = example()
    rows = np.flatnonzero(old.labels == 2)
    parts = np.arange(len(rows)) % 3
    new = old.split(2, parts, old.prototypes[[2, 2, 2]])  # type: ignore[index]
    assert new.k == 6
    assert new.names[4:] == ("cluster 3 (2)", "cluster 3 (3)")
    assert len(set(new.colors)) == 6
    assert_array_equal(np.flatnonzero(new.mask(5)), rows[parts == 2])
    back = new.merge([2, 4, 5])
    assert_array_equal(back.labels, old.labels)
    assert_array_equal(back.weights, old.weights)
    assert_allclose(back.prototypes, old.prototypes, rtol=1e-5)  # type: ignore[arg-type]


def test_tiles_in_no_cluster_stay_there() -> None:
    old = Clustering.make([0, -1, 1, 2], 3, method="kmeans", layer="a")
    assert old.merge([0, 1]).labels.tolist() == [0, -1, 0, 1]
    assert old.sizes.tolist() == [1, 1, 1]
    assert old.mask(-1).tolist() == [False, True, False, False]


@pytest.mark.parametrize("bad", [-1, 4, True, "0", 1.0], ids=str)
def test_a_cluster_that_is_not_there_is_refused(bad: object) -> None:
    for edit in (
        lambda c: c.rename(bad, "x"),
        lambda c: c.recolour(bad, 0),
        lambda c: c.merge([0, bad]),
        lambda c: c.split(bad, [0, 1]),
    ):
        with pytest.raises(InvalidInput, match="There is no cluster"):
            edit(example())


@pytest.mark.parametrize(
    "name", ["", "  \n", "x" * 201, None], ids=["empty", "blank", "long", "none"]
)
def test_names_that_are_none_are_refused(name: object) -> None:
    with pytest.raises(InvalidInput):
        example().rename(0, name)  # type: ignore[arg-type]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidInput, match="palette"):
        example().recolour(0, 99)
    with pytest.raises(InvalidInput, match="two clusters"):
        example().merge([1, 1])
    with pytest.raises(InvalidInput, match="part number"):
        example().split(0, [0])
    with pytest.raises(InvalidInput, match="Labels go from"):
        Clustering.make([0, 3], 2, method="x", layer="a")
    with pytest.raises(InvalidInput, match="shape"):
        Clustering.make([0, 1], 2, method="x", layer="a", weights=np.ones((3, 2)))


def test_no_tiles_and_no_clusters_are_a_clustering() -> None:
    empty = Clustering.make([], 0, method="nmf", layer="a")
    assert (empty.n, empty.k, empty.sizes.tolist()) == (0, 0, [])
