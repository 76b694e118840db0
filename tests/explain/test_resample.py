"""Upsampling against torch, and what must hold for any map."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal

from widgetkit.errors import InvalidInput
from widgetkit.explain import area_mean, upsample

MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}
finite = st.floats(-1e6, 1e6, width=32)


@st.composite
def maps_and_size(draw: st.DrawFn) -> tuple[np.ndarray, tuple[int, ...]]:
    dimensions = draw(st.integers(1, 3))
    grid = draw(st.tuples(*[st.integers(1, 5)] * dimensions))
    size = draw(st.tuples(*[st.integers(1, 13)] * dimensions))
    return draw(hnp.arrays(np.float32, (2, *grid), elements=finite)), size


@settings(deadline=None, max_examples=60)
@given(maps_and_size())
def test_upsample_equals_torch(case: tuple[np.ndarray, tuple[int, ...]]) -> None:
    maps, size = case
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(maps)[:, None], size=size, mode=MODES[len(size)], align_corners=False
    )[:, 0].numpy()
    assert_allclose(
        upsample(maps, size), expected, rtol=1e-5, atol=1e-5 * max(1, np.abs(maps).max())
    )


@settings(deadline=None, max_examples=25)
@given(maps_and_size())
def test_upsample_never_leaves_the_range_of_the_map(
    case: tuple[np.ndarray, tuple[int, ...]],
) -> None:
    maps, size = case
    fine = upsample(maps, size)
    slack = 1e-6 * max(1.0, float(np.abs(maps).max()))
    assert fine.min() >= maps.min() - slack and fine.max() <= maps.max() + slack


@settings(deadline=None, max_examples=25)
@given(
    st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(1, 9), st.integers(1, 9)
)
def test_a_constant_map_stays_exactly_constant(value: float, cells: int, pixels: int) -> None:
    assert_array_equal(upsample(np.full((cells, cells), value), (pixels, 7)), np.float32(value))


def test_the_largest_values_do_not_overflow() -> None:
    big = np.float32(3e38)
    assert np.isfinite(upsample(np.array([[-big, big]]), (1, 7))).all()


def test_the_edge_is_repeated_and_the_middle_is_linear() -> None:
    assert_allclose(upsample(np.array([0.0, 1.0]), (4,)), [0, 0.25, 0.75, 1])


def test_leading_axes_are_kept() -> None:
    maps = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    assert upsample(maps, (8, 10)).shape == (2, 3, 8, 10)
    assert upsample(maps[:0], (8, 10)).shape == (0, 3, 8, 10)
    assert upsample(maps[0, 0].astype(np.float16), (8, 10)).dtype == np.float32


def area_reference(line: np.ndarray, cells: int) -> np.ndarray:
    """Cut every pixel into as many pieces as there are cells, and average equal counts."""
    pieces = np.repeat(line, cells)
    return pieces.reshape(cells, len(line)).mean(axis=1)


@settings(deadline=None, max_examples=40)
@given(
    hnp.arrays(np.float32, st.integers(1, 12), elements=st.floats(-100, 100, width=32)),
    st.integers(1, 12),
)
def test_area_mean_equals_cutting_pixels_into_pieces(line: np.ndarray, cells: int) -> None:
    assert_allclose(area_mean(line, (cells,)), area_reference(line, cells), atol=1e-4)


@settings(deadline=None, max_examples=25)
@given(maps_and_size())
def test_area_mean_keeps_the_mean(case: tuple[np.ndarray, tuple[int, ...]]) -> None:
    maps, grid = case
    slack = 1e-5 * max(1.0, float(np.abs(maps).max()))
    assert_allclose(area_mean(maps, grid).mean(), maps.mean(dtype=np.float64), atol=slack)


def test_what_cannot_be_resampled_is_said() -> None:
    with pytest.raises(InvalidInput, match="cannot be resampled"):
        upsample(np.zeros((3, 3)), (2, 2, 2))
    with pytest.raises(InvalidInput, match="an axis is empty"):
        upsample(np.zeros((3, 0)), (2, 2))
    with pytest.raises(InvalidInput, match="an axis is empty"):
        area_mean(np.zeros((3, 3)), (0, 2))
