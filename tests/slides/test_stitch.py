"""One raster of many maps, beside a slow and obvious reference."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widgetkit.errors import InvalidInput
from widgetkit.slides import Stitcher, stitch, stitch_winner

EXACT = {"rtol": 2e-5, "atol": 2e-5}


def reference(maps, boxes, view, shape):
    """Every cell with every pixel: mean by shared area, and area covered."""
    (x0, y0, x1, y1), (high, wide) = view, shape
    total, area = np.zeros(shape), np.zeros(shape)
    dx, dy = (x1 - x0) / wide, (y1 - y0) / high
    for values, (bx0, by0, bx1, by1) in zip(maps, boxes, strict=True):
        h, w = values.shape
        for i in range(h):
            for j in range(w):
                cell = (
                    bx0 + (bx1 - bx0) * j / w, by0 + (by1 - by0) * i / h,
                    bx0 + (bx1 - bx0) * (j + 1) / w, by0 + (by1 - by0) * (i + 1) / h,
                )  # fmt: skip
                for r in range(high):
                    for c in range(wide):
                        across = min(cell[2], x0 + (c + 1) * dx) - max(cell[0], x0 + c * dx)
                        down = min(cell[3], y0 + (r + 1) * dy) - max(cell[1], y0 + r * dy)
                        if across > 0 and down > 0:
                            total[r, c] += values[i, j] * across * down
                            area[r, c] += across * down
    coverage = area / (dx * dy)
    empty = coverage < 1e-6
    return np.where(empty, np.nan, total / np.where(empty, 1, area)), np.where(empty, 0, coverage)


corner = st.floats(-20, 20).map(lambda v: round(v, 2))
side = st.floats(0.5, 15).map(lambda v: round(v, 2))


@st.composite
def scenes(draw, lattice: bool):
    m = draw(st.integers(0, 6))
    grid = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    if lattice:  # tiles of one size on a few columns and rows, some at one place
        xs, ys = (
            draw(st.lists(corner, min_size=1, max_size=3)),
            draw(st.lists(corner, min_size=1, max_size=3)),
        )
        w, h = draw(side), draw(side)
        places = [(draw(st.sampled_from(xs)), draw(st.sampled_from(ys))) for _ in range(m)]
        boxes = [(x, y, x + w, y + h) for x, y in places]
    else:
        boxes = []
        for _ in range(m):
            x, y = draw(corner), draw(corner)
            boxes.append((x, y, x + draw(side), y + draw(side)))
    x, y = draw(corner), draw(corner)
    view = (x, y, x + draw(side) * 2, y + draw(side) * 2)
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    seed = draw(st.integers(0, 99))
    maps = np.random.default_rng(seed).uniform(0, 3, (m, *grid)).astype(np.float32)
    return maps, np.array(boxes, float).reshape(m, 4), view, shape


@given(scenes(lattice=False))
@settings(deadline=None, max_examples=40)
def test_anywhere_equals_the_reference(scene) -> None:
    check(*scene)


@given(scenes(lattice=True))
@settings(deadline=None, max_examples=40)
def test_in_columns_and_rows_equals_the_reference(scene) -> None:
    check(*scene)


def check(maps, boxes, view, shape) -> None:
    values, coverage = stitch(maps, boxes, view, shape)
    expected, area = reference(maps, boxes, view, shape)
    # at a pixel hardly touched, rounding decides whether it is
    sure = (area > 1e-5) | (area == 0)
    np.testing.assert_allclose(coverage, area, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(values[sure], expected[sure], **EXACT)


@given(scenes(lattice=False))
@settings(deadline=None, max_examples=15)
def test_cell_by_cell_in_small_portions_is_the_same(scene) -> None:
    maps, boxes, view, shape = scene
    module = importlib.import_module("widgetkit.slides.stitch")  # the function has its name
    usual = module._PAIRS, module._SPARSEST, module._KEPT_PAIRS
    try:
        for kept in (-1, 10**6):
            # nothing is a lattice
            module._PAIRS, module._SPARSEST, module._KEPT_PAIRS = 1, -1000, kept
            check(maps, boxes, view, shape)
    finally:
        module._PAIRS, module._SPARSEST, module._KEPT_PAIRS = usual


def test_far_apart_tiles_are_summed_cell_by_cell() -> None:
    """400 random places would make a lattice of 160,000."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 1000, (400, 2))
    boxes = np.hstack([corners, corners + 30])
    maps = rng.random((400, 2, 2), dtype=np.float32)
    made = Stitcher(boxes, (2, 2), (0, 0, 1030, 1030), (40, 40))
    assert [type(part).__name__ for part in made._parts] == ["_Scattered"]
    total = made.coverage.sum() * (1030 / 40) ** 2
    assert total == pytest.approx(400 * 900, rel=1e-4)
    expected, _ = reference(maps[:20], boxes[:20], (0, 0, 1030, 1030), (40, 40))
    values, _ = stitch(maps[:20], boxes[:20], (0, 0, 1030, 1030), (40, 40))
    np.testing.assert_allclose(values, expected, **EXACT)


def test_aligned_cells_come_out_bit_for_bit() -> None:
    rng = np.random.default_rng(1)
    n, h, w = 5, 7, 7
    y, x = np.divmod(np.arange(n * n), n)
    boxes = np.stack([x * 224, y * 224, x * 224 + 224, y * 224 + 224], axis=1)
    maps = rng.normal(size=(n * n, h, w)).astype(np.float32)
    values, coverage = stitch(maps, boxes, (0, 0, n * 224, n * 224), (n * h, n * w))
    whole = maps.reshape(n, n, h, w).swapaxes(1, 2).reshape(n * h, n * w)
    np.testing.assert_array_equal(values, whole)
    assert (coverage == 1).all()


def test_a_constant_map_stays_constant_however_tiles_overlap() -> None:
    y, x = np.divmod(np.arange(64), 8)
    boxes = np.stack([x * 37.3, y * 41.7, x * 37.3 + 100, y * 41.7 + 100], axis=1)
    values, coverage = stitch(np.full((64, 7, 7), 0.3), boxes, (-50, -50, 500, 500), (91, 77))
    np.testing.assert_allclose(values[coverage > 0], 0.3, rtol=1e-6)
    assert np.isnan(values[coverage == 0]).all() and coverage.max() > 4


def test_cells_without_a_value_do_not_count() -> None:
    maps = np.array([[[1.0, np.nan]], [[3.0, np.nan]]])
    values, coverage = stitch(maps, [[0, 0, 2, 1], [0, 0, 2, 1]], (0, 0, 2, 1), (1, 2))
    assert values[0, 0] == 2 and np.isnan(values[0, 1]) and coverage[0, 1] == 2


def test_tiles_without_a_place_and_outside_lie_nowhere() -> None:
    boxes = [[0, 0, 2, 2], [np.nan] * 4, [50, 50, 52, 52], [1, 1, 1, 3]]
    made = Stitcher(boxes, (1, 1), (0, 0, 4, 4), (4, 4))
    assert made.rows.tolist() == [0]
    assert np.nansum(made([[[5.0]]])) == 20


def test_totals_of_parts_add_up() -> None:
    rng = np.random.default_rng(2)
    y, x = np.divmod(np.arange(36), 6)
    boxes = np.stack([x * 6, y * 6, x * 6 + 8, y * 6 + 8], axis=1)
    maps = rng.random((36, 4, 4), dtype=np.float32)
    view, shape = (0, 0, 38, 38), (20, 20)
    whole = Stitcher(boxes, (4, 4), view, shape)
    total = sum(
        Stitcher(boxes[part], (4, 4), view, shape).total(maps[part])
        for part in (slice(0, 10), slice(10, 36))
    )
    np.testing.assert_allclose(whole.mean(total), whole(maps), rtol=1e-5)


def test_the_winner_has_the_largest_mean_weight() -> None:
    weights = np.array([[[[3.0]], [[1.0]]], [[[0.0]], [[5.0]]]])  # (2 tiles, 2 factors, 1, 1)
    boxes = [[0, 0, 2, 1], [1, 0, 3, 1]]
    winner, weight = stitch_winner(weights, boxes, (0, 0, 4, 1), (1, 4), background=3.9)
    # third pixel: only the second tile; in the second the mean is (1.5, 3.0)
    assert winner.tolist() == [[0, 1, 1, 255]]
    assert weight.tolist() == [[3.0, 3.0, 5.0, 0.0]]
    winner, _ = stitch_winner(weights, boxes, (0, 0, 4, 1), (1, 4), background=4.0)
    assert winner.tolist() == [[255, 1, 1, 255]], "the total must exceed the background"


@given(scenes(lattice=True), st.integers(1, 4))
@settings(deadline=None, max_examples=20)
def test_winners_equal_the_reference(scene, k) -> None:
    _, boxes, view, shape = scene
    weights = np.random.default_rng(k).uniform(0, 1, (len(boxes), k, 2, 2)).astype(np.float32)
    winner, weight = stitch_winner(weights, boxes, view, shape, 0.0)
    means = np.stack([reference(weights[:, i], boxes, view, shape)[0] for i in range(k)])
    there = winner != 255
    assert (np.isnan(means[0]) <= ~there).all()
    picked = np.take_along_axis(means, np.where(there, winner, 0)[None].astype(int), 0)[0]
    np.testing.assert_allclose(weight[there], picked[there], **EXACT)
    np.testing.assert_allclose(weight[there], means.max(axis=0)[there], **EXACT)


@pytest.mark.parametrize(
    ("boxes", "view", "shape", "says"),
    [
        ([[0, 0, 1]], (0, 0, 1, 1), (2, 2), "x0, y0, x1, y1"),
        ([[0, 0, 1, 1]], (0, 0, 0, 1), (2, 2), "empty"),
        ([[0, 0, 1, 1]], (0, 0, np.inf, 1), (2, 2), "finite"),
        ([[0, 0, 1, 1]], (0, 0, 1, 1), (0, 2), "at least 1"),
        ([[0, 0, 1, 1]], (0, 0, 1, 1), (10**6, 10**6), "at most"),
        ([[0, 0, 1, 1]] * 2, (0, 0, 1, 1), (2, 2), "one for each of the 2"),
    ],
)
def test_what_cannot_be_drawn_is_said(boxes, view, shape, says) -> None:
    with pytest.raises(InvalidInput, match=says):
        stitch(np.zeros((1, 1, 1)), boxes, view, shape)


def test_maps_of_other_tiles_are_refused() -> None:
    made = Stitcher([[0, 0, 1, 1]], (1, 1), (0, 0, 1, 1), (1, 1))
    with pytest.raises(InvalidInput, match="1 tiles meet the view"):
        made(np.zeros((2, 1, 1)))
    with pytest.raises(InvalidInput, match=r"\(h, w\)"):
        Stitcher([[0, 0, 1, 1]], (1, 1, 1), (0, 0, 1, 1), (1, 1))  # type: ignore[arg-type]
