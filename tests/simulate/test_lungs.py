"""The phantom's lungs are found in it, and they look like lungs."""

from __future__ import annotations

import numpy as np
import pytest

from widgetkit import simulate
from widgetkit.errors import InvalidInput


@pytest.fixture(scope="module")
def phantom() -> simulate.Phantom:
    return simulate.thorax(seed=2)


def test_segmentation_finds_the_lungs_that_were_drawn(phantom) -> None:
    found = simulate.lung_labels(phantom.volume)
    for side in (1, 2):
        a, b = found == side, phantom.lungs == side
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.98


def test_right_is_on_the_left_of_the_picture(phantom) -> None:
    right, left = (np.argwhere(phantom.lungs == side)[:, 2].mean() for side in (1, 2))
    assert right < phantom.volume.shape[2] / 2 < left


def test_tissues_have_their_hu(phantom) -> None:
    values, lungs = phantom.volume.values, phantom.lungs > 0
    assert -900 < np.median(values[lungs]) < -820
    assert (values[lungs] > -500).mean() > 0.01  # vessels
    assert (values > 300).mean() > 0.01 and np.median(values[:, 0, 0]) == -1000
    litres = lungs.sum() * np.prod(phantom.volume.spacing) / 1e6
    assert 2.5 < litres < 5


def test_another_seed_is_another_patient(phantom) -> None:
    same, other = simulate.thorax(seed=2), simulate.thorax(seed=5)
    np.testing.assert_array_equal(same.volume.values, phantom.volume.values)
    assert (other.lungs != phantom.lungs).mean() > 0.005


def test_bad_input(phantom) -> None:
    with pytest.raises(InvalidInput, match="at least"):
        simulate.thorax(shape=(4, 160, 192))
    air = simulate.thorax(shape=(8, 48, 48)).volume
    with pytest.raises(InvalidInput, match="lung"):
        simulate.lung_labels(type(air)(np.full(air.shape, 40, np.int16), air.spacing, units="HU"))
    with pytest.raises(InvalidInput, match="HU"):
        simulate.lung_labels(type(air)(air.values, air.spacing))
