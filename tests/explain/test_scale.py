"""One scale for all maps: shared, robust, and never NaN."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal

from widgetkit.errors import InvalidInput
from widgetkit.explain import Scale, shared_scale

anything = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=1, max_dims=4, max_side=5), elements=st.floats(width=32)
)


@settings(deadline=None, max_examples=100)
@given(anything, st.booleans(), st.sampled_from([None, 0.9, 0.99, 1.0]))
def test_any_maps_give_colours_between_0_and_1(
    maps: np.ndarray, signed: bool, quantile: float | None
) -> None:
    scale = shared_scale(maps, signed=signed, quantile=quantile)
    unit = scale.apply(maps)
    assert np.isfinite([scale.vmin, scale.vmax]).all() and scale.vmin <= scale.vmax
    assert unit.shape == maps.shape and unit.dtype == np.float32
    assert np.isfinite(unit).all() and (unit >= 0).all() and (unit <= 1).all()
    assert not signed or scale.vmin == -scale.vmax


def test_the_same_value_has_the_same_colour_in_every_tile() -> None:
    maps = np.stack([np.array([[0.0, 1.0]]), np.array([[1.0, 4.0]])])
    scale = shared_scale(maps)
    assert scale == Scale(0.0, 4.0)
    assert_array_equal(scale.apply(maps), [[[0, 0.25]], [[0.25, 1]]])


def test_unsigned_scales_start_at_zero_or_below() -> None:
    assert shared_scale([2.0, 3.0]) == Scale(0.0, 3.0)
    assert shared_scale([-1.0, 3.0]) == Scale(-1.0, 3.0)
    assert shared_scale([-3.0, -1.0]) == Scale(-3.0, 0.0)


def test_signed_scales_put_zero_in_the_middle() -> None:
    scale = shared_scale([-1.0, 3.0], signed=True)
    assert scale == Scale(-3.0, 3.0, True)
    assert_allclose(scale.apply([-3, 0, 3]), [0, 0.5, 1])


def test_one_hot_position_does_not_darken_the_rest() -> None:
    values = np.append(np.linspace(0, 1, 999), 1000)
    assert shared_scale(values).vmax == 1000
    assert 0.9 < shared_scale(values, quantile=0.99).vmax < 1.0


def test_a_sparse_map_keeps_its_single_spot() -> None:
    """Where nearly everything is zero the quantile is zero too, and would hide the spot."""
    values = np.zeros(1000)
    values[3] = 5
    assert shared_scale(values, quantile=0.99).vmax == 5
    assert shared_scale(-values, signed=True, quantile=0.99).vmax == 5


@pytest.mark.parametrize("value", [0.0, 2.5, -2.5])
@pytest.mark.parametrize("signed", [True, False])
def test_constant_maps_have_a_colour(value: float, signed: bool) -> None:
    unit = shared_scale(np.full((3, 4), value), signed=signed).apply(np.full((3, 4), value))
    assert np.isfinite(unit).all()
    if value == 0:
        assert_array_equal(unit, 0.5 if signed else 0.0)


def test_nothing_at_all_has_a_scale() -> None:
    assert shared_scale([]) == Scale(0.0, 1.0)
    assert shared_scale([np.nan, np.inf], signed=True) == Scale(-1.0, 1.0, True)


@pytest.mark.parametrize("quantile", [0.5, 0.0, 1.01, float("nan")])
def test_a_quantile_is_above_a_half(quantile: float) -> None:
    with pytest.raises(InvalidInput, match="quantile"):
        shared_scale([1.0], quantile=quantile)
