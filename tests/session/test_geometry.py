"""The raster shortcut may never disagree with the textbook crossing count."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from widgetkit.errors import InvalidInput
from widgetkit.session import geometry
from widgetkit.session.geometry import in_box, inside

lattice = st.integers(-8, 8)
corners = st.tuples(lattice, lattice)
reals = st.floats(-5, 5, allow_nan=False, width=32)


def inside_reference(polygon: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Even-odd rule in exact rational numbers, one point and one edge at a time."""
    result = []
    for px, py in points:
        odd = False
        if np.isfinite(px) and np.isfinite(py):
            x, y = Fraction(float(px)), Fraction(float(py))
            for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
                a, b, c, d = (Fraction(float(v)) for v in (x0, y0, x1, y1))
                if (b > y) != (d > y) and x < a + (y - b) * (c - a) / (d - b):
                    odd = not odd
        result.append(odd)
    return np.array(result, dtype=bool)


@settings(deadline=None, max_examples=150)
@given(st.lists(corners, min_size=3, max_size=12), st.lists(corners, min_size=1, max_size=40))
def test_mask_equals_exact_count_on_a_lattice(polygon: list, points: list) -> None:
    """Vertices, edges, repeated and collinear corners are all hit on a lattice."""
    poly, pts = np.array(polygon, float), np.array(points, float)
    assert_array_equal(inside(poly, pts), inside_reference(poly, pts))


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(reals, reals), min_size=3, max_size=15),
    st.lists(st.tuples(reals, reals), min_size=1, max_size=30),
    st.integers(0, 2**31),
)
def test_mask_equals_exact_count_on_reals(polygon: list, points: list, seed: int) -> None:
    poly = np.array(polygon, float)
    rng = np.random.default_rng(seed)
    # Beside free points: vertices, points on edges, and their nearest floats.
    ends = np.roll(poly, -1, axis=0)
    t = rng.random((len(poly), 1))
    on_edges = poly + t * (ends - poly)
    pts = np.vstack(
        [np.array(points, float), poly, on_edges, np.nextafter(on_edges, 9), np.nextafter(poly, -9)]
    )
    assert_array_equal(inside(poly, pts), inside_reference(poly, pts))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.sampled_from([16, 64, 512]), st.sampled_from([1.0, 1e-3, 1e6]))
def test_every_raster_agrees_with_testing_all_points(seed: int, side: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    poly = rng.normal(size=(int(rng.integers(3, 60)), 2)) * scale + rng.normal(size=2) * scale
    pts = rng.normal(size=(500, 2)) * 2 * scale
    low, extent = poly.min(axis=0), np.ptp(poly, axis=0)
    assert_array_equal(
        geometry._Raster(poly, low, extent, side).classify(pts),
        geometry._exact_everywhere(poly, pts),
    )


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**31),
    st.sampled_from([1e-300, 1e-160, 1e-9, 1.0, 1e9, 1e160, 1e307]),
    st.sampled_from([0.0, 1.0, 1e8, 1e16]),
)
def test_extreme_magnitudes(seed: int, scale: float, offset: float) -> None:
    """Too small or too large for a raster, or far from the origin: exact all the same."""
    rng = np.random.default_rng(seed)
    shift = offset if scale < 1e300 else 0.0
    poly = rng.uniform(-1, 1, size=(7, 2)) * scale + shift
    pts = np.vstack([rng.uniform(-1, 1, size=(20, 2)) * scale + shift, poly])
    assert_array_equal(inside(poly, pts), inside_reference(poly, pts))


@pytest.mark.parametrize(
    "polygon",
    [
        [],
        [(0, 0)],
        [(0, 0), (1, 1)],
        [(0, 0), (1, 1), (2, 2)],
        [(0, 0), (1, 0), (2, 0), (1, 0)],
        [(3, 3)] * 5,
    ],
    ids=["none", "one", "two", "diagonal line", "flat line", "repeated"],
)
def test_nothing_is_inside_what_has_no_area(polygon: list) -> None:
    points = np.random.default_rng(0).integers(0, 4, (200, 2)).astype(float)
    assert not inside(polygon, points).any()


def test_where_a_lasso_crosses_itself_twice_covered_is_outside() -> None:
    star = [(np.cos(2.4 * np.pi * i * 2 / 3), np.sin(2.4 * np.pi * i * 2 / 3)) for i in range(5)]
    star = [(np.cos(4 * np.pi * i / 5), np.sin(4 * np.pi * i / 5)) for i in range(5)]
    found = inside(star, [[0.0, 0.0], [0.8, 0.0], [5.0, 0.0]])
    assert found.tolist() == [False, True, False]


def test_points_that_are_nowhere_are_outside() -> None:
    square = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    nan, inf = float("nan"), float("inf")
    points = [[nan, 0], [0, nan], [inf, 0], [0, -inf], [nan, inf], [0, 0]]
    assert inside(square, points).tolist() == [False] * 5 + [True]
    assert in_box((-1, -1, 1, 1), points).tolist() == [False] * 5 + [True]


def test_neighbouring_polygons_share_no_point() -> None:
    rng = np.random.default_rng(1)
    points = np.vstack([rng.integers(0, 9, (300, 2)), [[4, 4], [4, 0], [4, 8]]]).astype(float)
    left = inside([(0, 0), (4, 0), (4, 8), (0, 8)], points)
    right = inside([(4, 0), (8, 0), (8, 8), (4, 8)], points)
    whole = inside([(0, 0), (8, 0), (8, 8), (0, 8)], points)
    assert not (left & right).any()
    assert_array_equal(left | right, whole)


def test_many_points_of_float32_and_of_strange_layout() -> None:
    rng = np.random.default_rng(2)
    points = rng.random((100_000, 2)).astype(np.float32)
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    lasso = 0.5 + (0.3 + 0.1 * rng.random((60, 1))) * np.c_[np.cos(angle), np.sin(angle)]
    expected = geometry._exact_everywhere(lasso, points)
    assert_array_equal(inside(lasso, points), expected)
    assert_array_equal(inside(lasso, np.asfortranarray(points)), expected)
    assert_array_equal(inside(lasso[::-1], points[::-1]), expected[::-1])


def test_a_hostile_zigzag_is_bounded_and_right() -> None:
    n = geometry.MAX_VERTICES
    zigzag = np.c_[np.linspace(0, 1, n), np.arange(n) % 2]
    points = np.random.default_rng(3).random((50, 2))
    assert_array_equal(inside(zigzag, points), geometry._exact_everywhere(zigzag, points))


@pytest.mark.parametrize(
    "polygon",
    [
        [(0, 0), (1, float("nan")), (1, 1)],
        [(0, 0), (1, float("inf")), (1, 1)],
        [[0, 0, 0]] * 3,
        "abc",
        np.zeros((20_001, 2)),
    ],
    ids=["nan", "inf", "three columns", "text", "too many"],
)
def test_a_polygon_that_is_none_is_refused(polygon: object) -> None:
    with pytest.raises(InvalidInput):
        inside(polygon, np.zeros((3, 2)))  # type: ignore[arg-type]


def test_points_of_another_shape_are_refused() -> None:
    with pytest.raises(InvalidInput, match="shape"):
        inside([(0, 0), (1, 0), (0, 1)], np.zeros((3, 3)))
    assert inside([(0, 0), (1, 0), (0, 1)], np.zeros((0, 2))).shape == (0,)


def test_box_takes_corners_in_any_order() -> None:
    points = [[0.0, 0.0], [1.0, 2.0], [1.1, 1.0]]
    assert in_box((1, 2, 0, 0), points).tolist() == [True, True, False]
    with pytest.raises(InvalidInput):
        in_box((0, 0, 1), points)
