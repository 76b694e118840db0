"""Localisation: closed forms, and a slow reference of the overlap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from widgetkit.errors import BadActivations, InvalidInput
from widgetkit.explain.localisation import energy_inside, iou, localise, pointing_game


@pytest.fixture
def masks() -> np.ndarray:
    """Two images of 8 x 8: a square of 16 pixels, and one pixel."""
    found = np.zeros((2, 8, 8), bool)
    found[0, 2:6, 2:6] = True
    found[1, 7, 0] = True
    return found


def test_the_truth_itself_scores_1(masks) -> None:
    found = localise(masks.astype(float), masks)
    for values in (found.iou, found.energy, found.pointing):
        np.testing.assert_array_equal(values, 1)
    np.testing.assert_allclose(found.area, [0.25, 1 / 64])


def test_a_flat_map_scores_what_chance_would(masks) -> None:
    found = localise(np.full(masks.shape, 0.3), masks)
    np.testing.assert_allclose(found.energy, found.area)
    np.testing.assert_allclose(found.pointing, found.area)
    np.testing.assert_allclose(found.iou, found.area / (2 - found.area))


def test_the_opposite_of_the_truth_scores_0(masks) -> None:
    found = localise((~masks).astype(float), masks)
    assert found.energy.tolist() == found.pointing.tolist() == [0, 0]
    # the strongest pixels of the first all lie outside; those needed are fewer than there are
    assert found.iou.tolist() == [0, 0]


def test_an_empty_map_and_a_negative_one_say_nothing(masks) -> None:
    for maps in (np.zeros(masks.shape), np.full(masks.shape, -2.0)):
        found = localise(maps, masks)
        assert found.empty.all()
        for values in (found.iou, found.energy, found.pointing):
            assert values.tolist() == [0, 0]


def test_half_over_the_mask(masks) -> None:
    """A square moved by half its side: a third of the union is common to both."""
    maps = np.roll(masks[:1], 2, axis=2).astype(float)
    found = localise(maps, masks[:1])
    assert found.iou[0] == pytest.approx(1 / 3) and found.energy[0] == 0.5


def test_the_threshold_is_the_area_of_the_mask(masks) -> None:
    """Any rising change of the values leaves the overlap as it is, and changes the energy."""
    rng = np.random.default_rng(0)
    maps = rng.random(masks.shape)
    np.testing.assert_allclose(iou(maps, masks), iou(np.exp(9 * maps), masks))
    assert (energy_inside(maps, masks) != energy_inside(np.exp(9 * maps), masks)).all()


def test_where_two_pixels_are_largest_pointing_is_shared(masks) -> None:
    maps = np.zeros((1, 8, 8))
    maps[0, 3, 3] = maps[0, 0, 0] = 5
    assert pointing_game(maps, masks[:1])[0] == 0.5


def test_within_an_organ_nothing_else_counts(masks) -> None:
    inside = np.zeros(masks.shape, bool)
    inside[:, :, :6] = True
    maps = masks + 100.0 * ~inside
    found = localise(maps, masks, within=inside)
    for values in (found.iou, found.energy, found.pointing):
        np.testing.assert_array_equal(values, 1)
    np.testing.assert_allclose(found.area, [16 / 48, 1 / 48])
    flat = localise(np.ones(masks.shape), masks, within=inside)
    np.testing.assert_allclose(flat.energy, found.area)
    np.testing.assert_allclose(flat.pointing, found.area)


@given(
    hnp.arrays(np.float64, (3, 12), elements=st.integers(-2, 4).map(float)),
    hnp.arrays(bool, (3, 12)),
    st.integers(0, 2**31),
)
def test_iou_is_the_mean_over_all_ways_to_break_ties(maps, masks, seed) -> None:
    """Expected overlap when equal pixels are drawn at random; the ratio of expectations, as stated."""
    masks[:, 0] = True
    rng = np.random.default_rng(seed)
    for value, mask, found in zip(np.maximum(maps, 0), masks, iou(maps, masks), strict=True):
        if value.max() <= 0:
            assert found == 0
            continue
        size = int(mask.sum())
        common = []
        for _ in range(400):
            shuffled = rng.permutation(12)
            top = shuffled[np.argsort(-value[shuffled], kind="stable")][:size]
            common.append(mask[top].sum())
        mean = float(np.mean(common))
        near = 5 * float(np.std(common)) / 20 + 1e-9
        assert abs(found * 2 * size / (1 + found) - mean) <= near


@pytest.mark.parametrize(
    ("maps", "masks", "error"),
    [
        (np.ones((2, 4)), np.ones((2, 5), bool), InvalidInput),
        (np.ones(4), np.ones(4, bool), InvalidInput),
        (np.ones((2, 4)), np.ones((2, 4)), InvalidInput),
        (np.ones((2, 4)), np.zeros((2, 4), bool), InvalidInput),
        (np.full((2, 4), np.nan), np.ones((2, 4), bool), BadActivations),
    ],
)
def test_bad_input(maps, masks, error) -> None:
    with pytest.raises(error):
        localise(maps, masks)


def test_a_mask_beyond_the_organ(masks) -> None:
    with pytest.raises(InvalidInput, match="beyond"):
        localise(masks.astype(float), masks, within=np.zeros(masks.shape, bool))
