"""Areas of maps: valid, as large as their cells, true to every cell's centre, simple where allowed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_fill_holes, gaussian_filter, label
from shapely.geometry import MultiPolygon
from shapely.geometry import Polygon as Shape

from widgetkit.errors import InvalidInput
from widgetkit.slides.export_contours import Polygon, contours, outline
from widgetkit.slides.export_outline import signed_area
from widgetkit.slides.export_simplify import crossing, simplified


def shapes(polygons: list[Polygon]) -> MultiPolygon:
    """Each valid, and all together: they do not overlap."""
    parts = [Shape(p.outer, p.holes) for p in polygons]
    for part in parts:
        assert part.is_valid, shapely.is_valid_reason(part)
    found = MultiPolygon(parts)
    assert found.is_valid, shapely.is_valid_reason(found)
    for polygon in polygons:
        assert signed_area(polygon.outer) > 0
        assert all(signed_area(hole) < 0 for hole in polygon.holes)
        assert polygon.area == pytest.approx(Shape(polygon.outer, polygon.holes).area)
    return found


def centres_inside(area: MultiPolygon, shape: tuple[int, int], side: float = 1.0) -> np.ndarray:
    y, x = np.indices(shape)
    return shapely.contains_xy(area, (x + 0.5) * side, (y + 0.5) * side)


masks = st.tuples(
    st.integers(1, 14), st.integers(1, 14), st.floats(0.1, 0.95), st.integers(0, 10_000)
).map(lambda a: (np.random.default_rng(a[3]).random((a[0], a[1])) < a[2]).astype(np.uint8))


@given(masks)
@settings(deadline=None, max_examples=80)
def test_outlines_hold_exactly_the_cells(mask: np.ndarray) -> None:
    polygons = outline(mask, 1, downsample=16)
    area = shapes(polygons)
    assert area.area == mask.sum() * 256
    assert np.array_equal(centres_inside(area, mask.shape, 16), mask == 1)
    assert len(polygons) == label(mask)[1], "a polygon for each area connected along edges"
    holes = 0
    for number in range(1, label(mask)[1] + 1):
        one = label(mask)[0] == number
        # holes of one area: what it encloses, connected also across corners
        holes += label(binary_fill_holes(one) & ~one, np.ones((3, 3)))[1]
    # A hole that pinches itself at a corner is cut there into several.
    assert sum(len(p.holes) for p in polygons) >= holes


def test_rings_holes_and_islands_are_told_apart() -> None:
    mask = np.zeros((7, 7), np.uint8)
    mask[1:6, 1:6] = 1
    mask[2:5, 2:5] = 0
    mask[3, 3] = 1
    big, island = sorted(outline(mask, 1), key=lambda p: -p.area)
    assert (big.area, len(big.holes), len(big.outer)) == (16, 1, 4)
    assert (island.area, island.holes) == (1, ())
    assert big.outer.min() == 1 and big.outer.max() == 6


def test_cells_that_touch_at_a_corner_are_two_and_a_pinched_hole_stays_valid() -> None:
    assert len(outline(np.eye(5, dtype=np.uint8), 1)) == 5
    ring = np.ones((4, 4), np.uint8)
    ring[1, 1] = ring[2, 2] = 0  # two holes that touch
    ring[0, 0] = 0  # and the outside touches one of them
    area = shapes(outline(ring, 1))
    assert area.area == 13


@given(masks, st.floats(0, 40))
@settings(deadline=None, max_examples=80)
def test_simplified_outlines_are_valid_and_within_the_tolerance(
    mask: np.ndarray, tolerance: float
) -> None:
    exact, slim = (
        outline(mask, 1, downsample=16),
        outline(mask, 1, downsample=16, tolerance=tolerance),
    )
    assert len(exact) == len(slim)
    shapes(slim)
    for one, other in zip(exact, slim, strict=True):
        assert len(one.holes) == len(other.holes)
        for ring, fewer in zip((one.outer, *one.holes), (other.outer, *other.holes), strict=True):
            assert {tuple(p) for p in fewer} <= {tuple(p) for p in ring}
            line = Shape(fewer).exterior
            away = shapely.distance(shapely.points(ring), line)
            assert away.max() <= tolerance + 1e-6


fields = st.tuples(
    st.integers(1, 14), st.integers(1, 14), st.sampled_from([0.01, 0.8, 2.0]),
    st.integers(0, 10_000), st.floats(0, 0.2),
)  # fmt: skip


def field(given_: tuple[int, int, float, int, float]) -> np.ndarray:
    h, w, sigma, seed, gaps = given_
    rng = np.random.default_rng(seed)
    values = gaussian_filter(rng.random((h, w)), sigma).astype(np.float32)
    values[rng.random((h, w)) < gaps] = np.nan
    return values


@given(fields, st.floats(0, 1), st.floats(0, 20), st.sampled_from([1.0, 13.7, 64.0]))
@settings(deadline=None, max_examples=120)
def test_smooth_borders_agree_with_every_cells_centre(
    made: tuple[int, int, float, int, float], share: float, tolerance: float, side: float
) -> None:
    values = field(made)
    known = values[np.isfinite(values)]
    # often exactly a value that occurs: the hard case
    threshold = float(np.quantile(known, share, method="nearest")) if len(known) else 0.5
    exact = contours(values, threshold, downsample=side)
    with np.errstate(invalid="ignore"):
        wanted = values > threshold
    assert np.array_equal(centres_inside(shapes(exact), values.shape, side), wanted)
    shapes(contours(values, threshold, downsample=side, tolerance=tolerance * side / 8))


@pytest.mark.parametrize("seed", range(12))
def test_large_noisy_maps_stay_valid(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.random((70, 75)).astype(np.float32).round(seed % 3 + 1)
    threshold = float(values[3, 4])
    found = contours(values, threshold, downsample=64)
    for polygon in found:
        for ring in (polygon.outer, *polygon.holes):
            whole = np.mod(ring - 32, 64) == 0  # on a line through the centres of cells
            edge = (ring == 0) | (ring == [75 * 64, 70 * 64])
            assert (whole | edge).any(axis=1).all()
    assert np.array_equal(centres_inside(shapes(found), values.shape, 64), values > threshold)
    shapes(contours(values, threshold, downsample=64, tolerance=40))
    shapes(outline((values > threshold).astype(np.uint8), 1, downsample=64, tolerance=70))


def test_a_smooth_border_lies_where_the_value_is_the_threshold() -> None:
    """A cone: the border at level r is a circle of radius r, up to the straight pieces."""
    y, x = np.indices((41, 61)) + 0.5
    cone = -np.hypot(x - 30, y - 20)
    (circle,) = contours(cone, -12.0, downsample=(4, 4), origin=(100, 50))
    away = np.hypot(circle.outer[:, 0] - (100 + 120), circle.outer[:, 1] - (50 + 80))
    assert np.abs(away / 4 - 12).max() < 0.02
    assert circle.area == pytest.approx(np.pi * 48**2, rel=0.005)


def test_an_area_ends_at_the_rasters_edge_and_half_way_to_a_missing_cell() -> None:
    (whole,) = contours(np.ones((3, 5)), 0.5, downsample=10)
    assert whole.area == 150 * 10
    gap = np.ones((1, 5))
    gap[0, 3] = np.nan
    left, right = sorted(contours(gap, 0.5), key=lambda p: -p.area)
    assert left.outer[:, 0].max() == pytest.approx(3.0) and right.area == pytest.approx(1.0)


def test_place_and_unequal_sides_are_kept() -> None:
    mask = np.zeros((3, 3), np.uint8)
    mask[1, 2] = 1
    (one,) = outline(mask, 1, downsample=(10, 20), origin=(-7.25, 1000))
    assert sorted(map(tuple, one.outer)) == [
        (12.75, 1020), (12.75, 1040), (22.75, 1020), (22.75, 1040),
    ]  # fmt: skip


def test_small_islands_go_and_small_holes_are_filled() -> None:
    mask = np.zeros((12, 12), np.uint8)
    mask[1:9, 1:9] = 1
    mask[3:6, 3:6] = 0
    mask[4, 4] = 1  # an island in the hole
    mask[7, 7] = 0
    mask[11, 11] = 1
    (one,) = outline(mask, 1, downsample=2, least_area=8)
    assert one.area == (64 - 9) * 4 and len(one.holes) == 1
    (full,) = outline(mask, 1, downsample=2, least_area=40)
    assert full.area == 64 * 4 and not full.holes


def crossing_slowly(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Every pair, by shapely."""
    bad = np.zeros(len(a), bool)
    lines = [shapely.LineString([p, q]) for p, q in zip(a, b, strict=True)]
    for i in range(len(a)):
        for j in range(i):
            common = {tuple(a[i]), tuple(b[i])} & {tuple(a[j]), tuple(b[j])}
            met = lines[i].intersection(lines[j])
            if not met.is_empty and not (met.geom_type == "Point" and met.coords[0] in common):
                bad[i] = bad[j] = True
    return bad


@given(st.integers(2, 14), st.integers(2, 9), st.integers(0, 10_000))
@settings(deadline=None, max_examples=80)
def test_crossings_are_those_of_every_pair(count: int, wide: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, wide, (2, count, 2))
    keep = (a != b).any(axis=1)
    a, b = a[keep], b[keep]
    assert np.array_equal(crossing(a, b), crossing_slowly(a, b))


def test_a_border_that_would_turn_over_or_lose_its_hole_keeps_its_corners() -> None:
    """A bulge that simplification would cut off, with a hole in it."""
    outer = np.array([[0, 0], [400, 0], [400, 100], [230, 100], [230, 140], [170, 140], [170, 100],
                      [0, 100]])  # fmt: skip
    hole = np.array([[190, 110], [190, 130], [210, 130], [210, 110]])
    slim, kept = simplified([outer, hole], 45)
    assert Shape(slim, [kept]).is_valid
    free = simplified([outer], 45)[0]
    assert len(free) < len(slim), "without the hole the bulge may go"
    thin = np.array([[0, 0], [100, 1], [200, 0], [200, 2], [100, 3], [0, 2]])
    assert signed_area(simplified([thin], 50)[0]) > 0


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        (np.ones(3), {"threshold": 0.5}, "H, W"),
        (np.ones((2, 2)), {"threshold": float("nan")}, "threshold"),
        (np.full((2, 2), np.inf), {"threshold": 0.5}, "infinity"),
        (np.ones((2, 2)), {"threshold": 0.5, "tolerance": -1}, "tolerance"),
        (np.ones((2, 2)), {"threshold": 0.5, "least_area": np.inf}, "least_area"),
        (np.ones((2, 2)), {"threshold": 0.5, "downsample": 1e-9}, "too fine"),
        (np.ones((2, 2)), {"threshold": 0.5, "downsample": 1e9}, "too large"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    values: np.ndarray, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        contours(values, **options)


def test_nothing_above_the_threshold_gives_nothing() -> None:
    assert contours(np.zeros((3, 3)), 0.0) == []
    assert contours(np.full((3, 3), np.nan), 0.0) == []
    assert outline(np.full((3, 3), 255, np.uint8), 0) == []
    with pytest.raises(InvalidInput, match="uint8"):
        outline(np.zeros((3, 3)), 0)
    with pytest.raises(InvalidInput, match="factor"):
        outline(np.zeros((3, 3), np.uint8), True)
