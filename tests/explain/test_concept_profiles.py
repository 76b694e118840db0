"""Shells of a grid, and what the examples of each concept look like in them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tests.session.conftest import write_store
from tests.stores import make_store
from widgetkit.errors import (
    Cancelled,
    InvalidInput,
    NeedsActivations,
    TooFew,
    UnknownLayer,
    UnknownName,
)
from widgetkit.explain import ConceptTarget, concept_profiles
from widgetkit.explain.concept_profiles import centre_weights, shells
from widgetkit.store import ActivationStore

GRIDS = st.lists(st.integers(1, 9), min_size=2, max_size=3).map(tuple)


def shells_reference(grid: tuple[int, ...]) -> np.ndarray:
    """Position by position: distance in units of the sides, against quartiles of the sorted list."""
    squared = {
        at: sum(((i + 0.5) / side - 0.5) ** 2 for i, side in zip(at, grid, strict=True))
        for at in np.ndindex(*grid)
    }
    ends = np.quantile(list(squared.values()), [0.25, 0.5, 0.75])
    found = np.zeros(grid, int)
    for at, value in squared.items():
        found[at] = sum(value > end - 1e-9 for end in ends)
    return found


@settings(deadline=None, max_examples=60)
@given(GRIDS)
def test_shells_are_quartiles_of_the_distance(grid: tuple[int, ...]) -> None:
    found = shells(grid)
    assert_array_equal(found, shells_reference(grid))
    assert found.shape == grid and found.max() == 3
    for axis in range(len(grid)):
        assert_array_equal(found, np.flip(found, axis))  # no side is preferred


@pytest.mark.parametrize("grid", [(8, 8, 4), (12, 12, 6), (3, 8, 8), (14, 14)])
def test_shells_of_usual_grids_have_about_a_quarter_each(grid: tuple[int, ...]) -> None:
    counts = np.bincount(shells(grid).ravel(), minlength=4)
    assert counts.min() > 0
    assert abs(counts / counts.sum() - 0.25).max() < 0.13


def test_shells_of_the_published_grid_are_the_published_ones() -> None:
    """Distances as the authors have them: slices, half as many, count twice as far apart."""
    x, y, z = np.mgrid[:8, :8, :4] + 0.5
    near = -((x - 4) ** 2 + (y - 4) ** 2 + 4 * (z - 2) ** 2)
    q25, q50, q75 = np.percentile(near, [25, 50, 75])
    theirs = np.select([near > q75, near > q50, near > q25], [0, 1, 2], 3)
    assert_array_equal(shells((8, 8, 4)), theirs)


@pytest.mark.parametrize("grid", [(1, 1), (2, 2), (1, 1, 1), (2, 2, 2)])
def test_a_grid_whose_positions_are_equally_far_out_is_one_shell(grid: tuple[int, ...]) -> None:
    assert (shells(grid) == 3).all()


def test_the_centre_is_weighted_within_the_plane() -> None:
    weight = centre_weights((3, 8, 8), 1.0)
    assert weight.mean() == pytest.approx(1)
    assert_allclose(weight[0], weight[2])
    corner, middle = weight[0, 0, 0], weight[0, 3, 3]
    expected = np.exp(-2 * (3.5 / 8) ** 2 / 2) / np.exp(-2 * (0.5 / 8) ** 2 / 2)
    assert corner / middle == pytest.approx(expected)
    assert (centre_weights((4, 5), None) == 1).all()


# -- profiles of a store -----------------------------------------------------------------
@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    return make_store(tmp_path_factory.mktemp("profiles") / "s.wk", n=30, channels=6)


def labels_of(n: int, count: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1, 2, (n, count)).astype(np.int8)


def profiles_reference(activations: np.ndarray, rows: np.ndarray, sd: float | None) -> np.ndarray:
    """(S, C), one number at a time."""
    grid = activations.shape[2:]
    place, weight = shells_reference(grid), centre_weights(grid, sd)
    found = np.zeros((4, activations.shape[1]))
    for shell in range(4):
        inside = [at for at in np.ndindex(*grid) if place[at] == shell]
        for channel in range(activations.shape[1]):
            values = [
                activations[(row, channel, *at)] * weight[at] for row in rows for at in inside
            ]
            found[shell, channel] = np.mean(np.array(values, np.float64)) if values else 0
    return found


@pytest.mark.parametrize("sd", [1.0, 0.3, None])
def test_profiles_are_means_over_examples_and_shells(
    store: ActivationStore, sd: float | None
) -> None:
    labels, layer = labels_of(30), store.default_layer
    found = concept_profiles(store, layer, labels, ["a", "b", "c"], centre_sd=sd)
    activations = np.asarray(store.activations(layer), np.float64)
    for f in range(3):
        rows = np.flatnonzero(labels[:, f] == 1)
        assert_allclose(found.means[f], profiles_reference(activations, rows, sd), rtol=1e-4)
        assert found.counts[f] == len(rows)
    assert found.rest is None and found.names == ("a", "b", "c") and found.layer == layer


def test_only_what_is_shown_counts(store: ActivationStore) -> None:
    """Bool, float with NaN, and int with -1 say the same of the tiles that show a concept."""
    labels, layer = labels_of(30), store.default_layer
    one = concept_profiles(store, layer, labels).means
    assert_array_equal(concept_profiles(store, layer, labels == 1).means, one)
    floats = np.where(labels < 0, np.nan, labels)
    assert_array_equal(concept_profiles(store, layer, floats).means, one)


def test_small_parts_and_few_examples(
    store: ActivationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels, layer = labels_of(30), store.default_layer
    whole = concept_profiles(store, layer, labels)
    monkeypatch.setattr(sys.modules[concept_profiles.__module__], "_CHUNK", 1)
    seen: list[tuple[int, int]] = []
    parts = concept_profiles(store, layer, labels, progress=lambda i, n: seen.append((i, n)))
    assert_allclose(parts.means, whole.means, rtol=1e-6)
    todo = int((labels == 1).any(axis=1).sum())
    assert seen == [(i, todo) for i in range(todo + 1)]  # one tile at a time
    few = concept_profiles(store, layer, labels, most=4)
    assert few.counts.tolist() == [4, 4, 4]
    rows = np.flatnonzero(labels[:, 0] == 1)
    some = np.zeros_like(labels)
    some[rows[np.linspace(0, len(rows) - 1, 4).round().astype(int)], 0] = 1
    assert_allclose(few.means[0], concept_profiles(store, layer, some).means[0], rtol=1e-6)
    with pytest.raises(Cancelled):
        concept_profiles(store, layer, labels, cancel=lambda: len(seen) > 0)


def test_one_concept_has_the_rest_beside_it(store: ActivationStore) -> None:
    labels, layer = labels_of(30, 1), store.default_layer
    activations = np.asarray(store.activations(layer), np.float64)
    found = concept_profiles(store, layer, labels)
    assert found.rest is not None
    without = np.flatnonzero(labels[:, 0] == 0)
    assert_allclose(found.rest, profiles_reference(activations, without, 1.0), rtol=1e-4)
    # nobody said of any tile that it lacks the concept: then all that were not said to show it
    nobody = np.where(labels == 1, 1, -1)
    rest = concept_profiles(store, layer, nobody).rest
    others = np.flatnonzero(labels[:, 0] != 1)
    assert_allclose(rest, profiles_reference(activations, others, 1.0), rtol=1e-4)
    assert concept_profiles(store, layer, np.ones((30, 1))).rest is None


def test_targets_are_among_the_concepts_that_have_examples(store: ActivationStore) -> None:
    labels = labels_of(30)
    labels[:, 1] = np.minimum(labels[:, 1], 0)
    found = concept_profiles(store, store.default_layer, labels, ["a", "b", "c"])
    target = found.target("c")
    assert (target.name, target.names, target.index) == ("c", ("a", "c"), 1)
    assert target.profiles is not None
    assert_array_equal(target.profiles, found.means[[0, 2]])
    assert_array_equal(found.target(2).profiles, target.profiles)
    with pytest.raises(TooFew, match="'b' has no example"):
        found.target("b")
    with pytest.raises(UnknownName, match="no concept 'cc'"):
        found.target("cc")
    with pytest.raises(InvalidInput, match="one of the 3 concepts"):
        found.target(3)


def test_no_concept_and_no_tile(store: ActivationStore, tmp_path: Path) -> None:
    layer = store.default_layer
    assert concept_profiles(store, layer, np.zeros((30, 0))).means.shape == (0, 4, 6)
    nothing = concept_profiles(store, layer, np.zeros((30, 2)))
    assert not nothing.means.any() and nothing.counts.tolist() == [0, 0]


def test_bad_input(store: ActivationStore) -> None:
    layer = store.default_layer
    labels = labels_of(30)
    with pytest.raises(InvalidInput, match="one row a tile"):
        concept_profiles(store, layer, labels[:10])
    with pytest.raises(InvalidInput, match="one row a tile"):
        concept_profiles(store, layer, labels[:, 0])
    with pytest.raises(InvalidInput, match="label of tile 7 for concept 2 is 2"):
        wrong = labels.copy()
        wrong[7, 2] = 2
        concept_profiles(store, layer, wrong)
    with pytest.raises(InvalidInput, match="2 names for 3 concepts"):
        concept_profiles(store, layer, labels, ["a", "b"])
    with pytest.raises(InvalidInput, match="centre_sd"):
        concept_profiles(store, layer, labels, centre_sd=0)
    with pytest.raises(InvalidInput, match="most"):
        concept_profiles(store, layer, labels, most=0)
    with pytest.raises(UnknownLayer):
        concept_profiles(store, "nowhere", labels)


def test_a_layer_of_vectors_is_refused(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s.wk", 6, maps=False)
    with pytest.raises(NeedsActivations):
        concept_profiles(store, "features.4", np.ones((len(store), 2)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"index": 3}, "one of the 2 concepts"),
        ({"profiles": np.ones((3, 4, 5))}, "3 profiles for 2 concepts"),
        ({"profiles": np.ones((2, 5))}, "3 axes"),
        ({"profiles": np.full((2, 4, 5), np.nan)}, "NaN"),
        ({"profiles": np.ones((2, 4, 5)), "rest": np.ones((4, 6))}, "must agree"),
        ({"direction": np.ones((2, 2))}, "1 axes"),
        ({"towards": np.ones(3)}, "go together"),
        ({"at": "dense"}, "go together"),
        ({"towards": np.array([1, np.inf]), "at": "dense"}, "infinity"),
    ],
)
def test_bad_targets(options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        ConceptTarget(**{"index": 0, "names": ("a", "b"), **options})  # type: ignore[arg-type]


def test_the_digest_is_of_the_direction_or_of_what_it_was_made_of() -> None:
    def digest(towards: np.ndarray, at: str = "dense", key: str = "", index: int = 0) -> str:
        return ConceptTarget(index, ("a", "b"), towards=towards, at=at, key=key).digest

    v = np.arange(3.0)
    assert digest(v) == digest(v, index=1) == digest(v.astype(np.float32))
    assert len({digest(v), digest(v + 1), digest(v, "conv"), digest(v, key="k")}) == 4
    assert digest(v, key="k") == digest(v + 1e-7, key="k")
