"""The map: what it promises for any number of rows, and its measure of trust."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from widgetkit.analysis import Projection, neighbourhood_trust, project, warm_up
from widgetkit.analysis.projection import distinct_rows, principal_components
from widgetkit.errors import BadActivations, Cancelled, InvalidInput, TooFew, UnknownName


def islands(n: int = 240, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = generator.integers(4, size=n)
    X = 8 * np.eye(4, 12)[truth] + generator.normal(size=(n, 12))
    return X.astype(np.float32), truth


@pytest.fixture(scope="module")
def umap_map() -> Projection:
    """One small UMAP for all tests that look at one: its first run compiles for a minute."""
    X, _ = islands()
    X[100:110] = X[0]  # ten duplicates
    return project(X, n_epochs=60, seed=3)


# -- umap --------------------------------------------------------------------------------
def test_umap_separates_islands_and_says_what_it_did(umap_map: Projection) -> None:
    _, truth = islands()
    truth[100:110] = truth[0]
    assert umap_map.method == "umap" and umap_map.seed == 3
    assert umap_map.xy.shape == (240, 2) and umap_map.xy.dtype == np.float32
    assert umap_map.params["reason"] == "umap-learn is installed"
    assert umap_map.params["different_rows"] == umap_map.params["landmarks"] == 230
    assert umap_map.params["trust_rows"] == 240
    assert umap_map.params["umap_version"][0].isdigit()
    squared = ((umap_map.xy[:, None] - umap_map.xy) ** 2).sum(axis=2)
    np.fill_diagonal(squared, np.inf)
    assert (truth[squared.argmin(axis=1)] == truth).mean() > 0.98


def test_equal_rows_lie_at_the_same_place(umap_map: Projection) -> None:
    assert_array_equal(umap_map.xy[100:110], np.repeat(umap_map.xy[:1], 10, axis=0))


def test_same_seed_same_bytes_and_progress_between_epochs(umap_map: Projection) -> None:
    X, _ = islands()
    X[100:110] = X[0]
    seen: list[tuple[int, int]] = []
    again = project(X, n_epochs=60, seed=3, progress=lambda done, total: seen.append((done, total)))
    assert again.xy.tobytes() == umap_map.xy.tobytes()
    assert again.trust.tobytes() == umap_map.trust.tobytes()
    assert len(seen) > 60 and seen == sorted(seen) and seen[-1] == (100, 100)


def test_landmarks_place_the_others_beside_their_own() -> None:
    X, truth = islands()
    found = project(X, n_epochs=60, landmarks=120)
    assert found.params["landmarks"] == 120
    assert np.isfinite(found.xy).all()
    squared = ((found.xy[:, None] - found.xy) ** 2).sum(axis=2)
    np.fill_diagonal(squared, np.inf)
    assert (truth[squared.argmin(axis=1)] == truth).mean() > 0.95


def test_umap_can_be_cancelled_between_epochs() -> None:
    X, _ = islands()
    asked: list[int] = []

    def cancel() -> bool:
        asked.append(1)
        return len(asked) > 20

    with pytest.raises(Cancelled):
        project(X, cancel=cancel)
    assert len(asked) == 21
    layouts = importlib.import_module("umap.layouts")
    assert layouts.tqdm.__module__.startswith("tqdm")  # its own again


def test_a_line_of_points_is_laid_out_although_its_second_axis_is_flat() -> None:
    X = np.linspace(0, 1, 60)[:, None] * np.ones(5)
    found = project(X, method="umap", n_epochs=20)
    assert np.isfinite(found.xy).all()


def test_warm_up_compiles_the_placing_of_new_rows_too() -> None:
    assert warm_up(transform=True) > 0


def test_warm_up_beside_a_projection_does_not_crash() -> None:
    """numba's default threads end the process when two threads use them at once."""
    X, _ = islands()
    thread = threading.Thread(target=warm_up)
    thread.start()
    found = project(X, n_epochs=20)
    thread.join()
    assert np.isfinite(found.xy).all()


def test_without_umap_it_is_pca_and_says_so() -> None:
    code = (
        "from importlib import util\n"
        "found = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'umap' else found(name, *rest)\n"
        "import numpy as np\n"
        "from widgetkit.analysis import project, warm_up\n"
        "from widgetkit.errors import MissingDependency\n"
        "X = np.random.default_rng(0).random((50, 6))\n"
        "p = project(X)\n"
        "print(p.method, 'not installed' in p.params['reason'], warm_up() < 1)\n"
        "try:\n"
        "    project(X, method='umap')\n"
        "except MissingDependency as error:\n"
        "    print('widgetkit[umap]' in str(error))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["pca", "True", "True", "True"]


# -- few, equal, bad ---------------------------------------------------------------------
@pytest.mark.parametrize("n", range(6))
def test_any_small_number_of_rows(n: int) -> None:
    X, _ = islands(6)
    found = project(X[:n])
    assert found.method == "pca" and found.xy.shape == (n, 2) and found.trust.shape == (n,)
    assert np.isfinite(found.xy).all()
    assert np.isnan(found.trust).all() if n < 3 else (found.trust <= 1).all()
    assert f"{n} different rows" in found.params["reason"]
    if n == 1:
        assert_array_equal(found.xy, 0)


def test_constant_rows_lie_at_the_origin() -> None:
    found = project(np.full((50, 4), 3.7))
    assert found.method == "pca"
    assert_array_equal(found.xy, 0)
    assert_array_equal(found.trust, 1)


def test_umap_of_too_few_different_rows_says_how_many() -> None:
    with pytest.raises(TooFew, match="there are 3"):
        project(np.repeat(np.eye(3), 20, axis=0), method="umap")


def test_bad_input_is_named() -> None:
    X, _ = islands(20)
    X[7, 2] = np.nan
    with pytest.raises(BadActivations, match="row 7"):
        project(X)
    X[7, 2] = 0
    with pytest.raises(UnknownName, match="'umap'"):
        project(X, method="umpa")  # type: ignore[arg-type]
    for options in (
        {"n_neighbors": 1},
        {"min_dist": 2.0},
        {"n_epochs": 0},
        {"landmarks": 2},
        {"seed": -1},
    ):
        with pytest.raises(InvalidInput):
            project(X, **options)
    with pytest.raises(InvalidInput):
        project(X[0])
    with pytest.raises(Cancelled):
        project(X, method="pca", cancel=lambda: True)


# -- pca ---------------------------------------------------------------------------------
@settings(deadline=None, max_examples=25)
@given(st.integers(2, 40), st.integers(1, 30), st.integers(0, 10**6))
def test_principal_components_are_those_of_the_svd(n: int, C: int, seed: int) -> None:
    X = np.random.default_rng(seed).normal(size=(n, C)) * np.linspace(1, 3, C) + 5
    count = min(n, C, 4)
    scores, explained = principal_components(X, count)
    u, s, _ = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    # their gram matrices, because a component may come with either sign
    expected = u[:, :count] * s[:count]
    assert_allclose(scores @ scores.T, expected @ expected.T, atol=1e-3 * s[0] ** 2)
    assert_allclose(explained, (s[:count] ** 2).sum() / max((s**2).sum(), 1e-300), atol=1e-6)


def test_many_channels_by_randomised_svd() -> None:
    generator = np.random.default_rng(0)
    X = generator.normal(size=(60, 3)) @ generator.normal(size=(3, 2500))
    scores, explained = principal_components(X, 3)
    assert explained > 0.9999
    assert_allclose(scores, principal_components(X, 3)[0])


def test_the_first_axis_points_the_same_way_each_time() -> None:
    X, _ = islands(100)
    assert project(X, method="pca").xy.tobytes() == project(X, method="pca").xy.tobytes()


# -- trust -------------------------------------------------------------------------------
def slow_trust(high: np.ndarray, low: np.ndarray, k: int) -> np.ndarray:
    """By its definition, one point at a time."""
    found = []
    for i in range(len(high)):
        far = np.linalg.norm(high - high[i], axis=1)
        near = np.linalg.norm(low - low[i], axis=1)
        far[i] = near[i] = np.inf
        limit = np.sort(far)[k - 1] * (1 + 1e-5)
        found.append((far[np.argsort(near, kind="stable")[:k]] <= limit).mean())
    return np.array(found)


@settings(deadline=None, max_examples=20)
@given(st.integers(5, 80), st.integers(1, 15), st.integers(0, 10**6))
def test_trust_is_what_it_says(n: int, k: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    high, low = generator.normal(size=(n, 6)), generator.normal(size=(n, 2))
    trust, rows = neighbourhood_trust(high, low, k=k)
    assert rows == n
    assert_allclose(trust, slow_trust(high, low, min(k, (n - 1) // 2)), atol=1e-6)


def test_a_faithful_map_is_trusted_and_a_shuffled_one_is_not() -> None:
    X = np.random.default_rng(0).normal(size=(1000, 2))
    assert_array_equal(neighbourhood_trust(X, X)[0], 1)
    assert neighbourhood_trust(X, X[::-1])[0].mean() < 0.05


def test_duplicates_are_not_distrusted() -> None:
    X = np.repeat(np.random.default_rng(0).normal(size=(5, 8)), 40, axis=0)
    assert_array_equal(neighbourhood_trust(X, X[:, :2])[0], 1)


def test_a_sample_of_neighbours_gives_nearly_the_exact_mean() -> None:
    generator = np.random.default_rng(0)
    high = generator.normal(size=(2000, 3))
    low = high[:, :2] + 0.05 * generator.normal(size=(2000, 2))
    sampled, rows = neighbourhood_trust(high, low, rows=1000)
    assert rows == 1000
    again, _ = neighbourhood_trust(high, low, rows=1000)
    assert_array_equal(sampled, again)
    exact, _ = neighbourhood_trust(high, low, k=30)  # as large a neighbourhood of twice as many
    assert abs(sampled.mean() - exact.mean()) < 0.03


# -- duplicates --------------------------------------------------------------------------
@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 60),
    st.integers(1, 20),
    st.integers(0, 10**6),
    st.sampled_from([np.float32, np.float64]),
)
def test_distinct_rows_rebuild_the_rows(n: int, kinds: int, seed: int, dtype: type) -> None:
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(kinds, 3)).astype(dtype)[generator.integers(kinds, size=n)]
    first, inverse = distinct_rows(X)
    assert_array_equal(X[first][inverse], X)
    assert len(first) == len(np.unique(X, axis=0))
    assert_array_equal(first, np.sort(first))


def test_minus_zero_is_zero() -> None:
    first, inverse = distinct_rows(np.array([[0.0, 1.0], [-0.0, 1.0]], np.float32))
    assert len(first) == 1 and inverse.tolist() == [0, 0]
