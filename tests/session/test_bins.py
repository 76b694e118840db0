"""The index of points answers exactly as testing every point does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import widgetkit as wk
from tests.stores import make_store
from widgetkit.errors import InvalidInput
from widgetkit.session import bins, geometry
from widgetkit.session.bins import Bins


@settings(deadline=None, max_examples=80)
@given(
    st.integers(0, 2**31),
    st.sampled_from(["uniform", "clusters", "lattice", "line", "one place"]),
    st.floats(0.01, 3.0),
    st.sampled_from([np.float32, np.float64]),
)
def test_same_points_as_without_the_index(seed: int, kind: str, size: float, dtype: type) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(0, 3000))
    points = {
        "uniform": lambda: rng.uniform(-1, 1, (n, 2)),
        "clusters": lambda: rng.normal(rng.integers(0, 4, (n, 1)), 0.05, (n, 2)),
        "lattice": lambda: rng.integers(0, 9, (n, 2)) / 4.0,
        "line": lambda: np.column_stack([rng.uniform(-1, 1, n), np.full(n, 0.5)]),
        "one place": lambda: np.full((n, 2), 0.25),
    }[kind]()
    points = points.astype(dtype)
    if n:
        points[rng.integers(0, n, n // 20)] = np.nan
        points[rng.integers(0, n, n // 50), 0] = np.inf
    polygon = rng.uniform(-size, size, (int(rng.integers(3, 20)), 2)) + rng.uniform(-1, 1, 2)
    if kind == "lattice":
        polygon = np.round(polygon * 4) / 4  # outlines through the points themselves
    found = Bins(points).inside(polygon)
    np.testing.assert_array_equal(found, geometry.inside(polygon, points))


def test_outlines_far_away_and_around_everything() -> None:
    points = np.random.default_rng(0).uniform(0, 1, (500, 2))
    index = Bins(points)
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    assert index.inside(square * 10 - 2).all()
    assert not index.inside(square + 50).any()
    assert not index.inside(square[:2]).any()
    with pytest.raises(InvalidInput, match="NaN"):
        index.inside([[0, 0], [1, np.nan], [1, 1]])


def test_session_uses_it_for_its_projection(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(bins, "WORTH", 1)
    real = bins.Bins
    monkeypatch.setattr(bins, "Bins", lambda points: made.append(points) or real(points))
    session = wk.Session(make_store(tmp_path))
    session.wait()
    xy = session.projection.xy
    low, high = xy.min(axis=0), xy.mean(axis=0)
    polygon = [low, (high[0], low[1]), high, (low[0], high[1])]
    for _ in range(2):
        chosen = session.select_polygon(polygon)
        np.testing.assert_array_equal(chosen.mask, geometry.inside(polygon, xy))
    assert len(made) == 1 and made[0] is xy  # sorted once
    session.select_polygon(polygon, xy=xy + 1)
    assert len(made) == 1
    session.close()
