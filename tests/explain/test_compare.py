"""Agreement of maps against scipy and in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose
from scipy.stats import spearmanr

from widgetkit.errors import InvalidInput
from widgetkit.explain import agreement, pairwise

few_values = st.integers(0, 4).map(float)


@settings(deadline=None, max_examples=50)
@given(hnp.arrays(np.float32, (2, 12), elements=few_values))
@pytest.mark.filterwarnings("ignore:An input array is constant")
def test_spearman_equals_scipy_with_ties(pair: np.ndarray) -> None:
    a, b = pair
    ours = agreement(a.reshape(1, 3, 4), b.reshape(1, 3, 4)).spearman[0]
    assert_allclose(ours, spearmanr(a, b).statistic, atol=1e-12)


def iou_reference(a: np.ndarray, b: np.ndarray, top: float) -> float:
    count = max(1, round(top * a.size))
    strong_a = {i for i, v in enumerate(a.ravel()) if v >= sorted(a.ravel())[-count]}
    strong_b = {i for i, v in enumerate(b.ravel()) if v >= sorted(b.ravel())[-count]}
    return len(strong_a & strong_b) / len(strong_a | strong_b)


@settings(deadline=None, max_examples=50)
@given(hnp.arrays(np.float32, (2, 1, 2, 2, 3), elements=few_values), st.floats(0.01, 1))
def test_iou_equals_sets(pair: np.ndarray, top: float) -> None:
    a, b = pair
    assert_allclose(agreement(a, b, top=top).iou[0], iou_reference(a, b, top))


def test_a_map_agrees_with_itself_and_not_with_its_opposite() -> None:
    maps = np.random.default_rng(0).random((4, 5, 6))
    same, opposite = agreement(maps, 3 * maps + 1), agreement(maps, -maps)
    assert_allclose(same.spearman, 1) and assert_allclose(same.iou, 1)
    assert_allclose(opposite.spearman, -1)
    assert (opposite.iou == 0).all()


def test_a_constant_map_has_no_ranks() -> None:
    found = agreement(np.zeros((1, 2, 2)), np.arange(4.0).reshape(1, 2, 2))
    assert np.isnan(found.spearman[0]) and found.iou[0] == 0.25


def test_pairwise_has_a_row_for_every_pair() -> None:
    generator = np.random.default_rng(0)
    maps = {name: generator.random((3, 4, 4)) for name in ("a", "b", "c")}
    maps["b"][0] = 1
    table = pairwise(maps, top=0.25)
    assert list(zip(table.a, table.b, strict=True)) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert list(table.tiles) == [2, 3, 2]
    assert_allclose(table.iou[1], agreement(maps["a"], maps["c"], top=0.25).iou.mean())
    assert_allclose(table.spearman[1], agreement(maps["a"], maps["c"]).spearman.mean())
    assert len(pairwise({"a": maps["a"]})) == 0


def test_no_tiles_agree_about_nothing() -> None:
    none = np.zeros((0, 3, 3))
    assert agreement(none, none).iou.shape == (0,)
    assert np.isnan(pairwise({"a": none, "b": none}).iou[0])


def test_maps_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(InvalidInput, match="one grid"):
        agreement(np.zeros((2, 3, 3)), np.zeros((2, 4, 4)))
    with pytest.raises(InvalidInput, match="top is 0"):
        agreement(np.zeros((2, 3, 3)), np.zeros((2, 3, 3)), top=0)
    with pytest.raises(InvalidInput, match="NaN"):
        agreement(np.full((2, 3, 3), np.nan), np.zeros((2, 3, 3)))
