"""Soft assignment against the formula written out."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from widgetkit.errors import ChannelMismatch, InvalidInput
from widgetkit.explain.soft import soft_assign


def test_equals_the_formula_one_number_at_a_time() -> None:
    generator = np.random.default_rng(0)
    latents, centres = generator.normal(size=(5, 3)), generator.normal(size=(4, 3))
    for z, shares in zip(latents, soft_assign(latents, centres), strict=True):
        close = [1 / (1 + sum((a - b) ** 2 for a, b in zip(z, mu, strict=True))) for mu in centres]
        assert_allclose(shares, np.array(close) / sum(close), rtol=1e-12)


def test_close_centres_far_from_zero_are_told_apart() -> None:
    shares = soft_assign([[1e6 + 1.0]], [[1e6 + 1.0], [1e6 + 2.0]])
    assert_allclose(shares, [[2 / 3, 1 / 3]], rtol=1e-12)


def test_one_centre_takes_all_and_no_latents_give_no_rows() -> None:
    assert_allclose(soft_assign(np.ones((2, 3)), np.zeros((1, 3))), 1)
    assert soft_assign(np.zeros((0, 3)), np.zeros((2, 3))).shape == (0, 2)


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ChannelMismatch, match="3 dimensions and centres 2"):
        soft_assign(np.ones((2, 3)), np.ones((2, 2)))
    for latents, centres in [([1.0], [[1.0]]), (np.ones((2, 3)), np.ones((0, 3)))]:
        with pytest.raises(InvalidInput, match="at least one centre"):
            soft_assign(latents, centres)
    with pytest.raises(InvalidInput, match="NaN or infinity in the centres"):
        soft_assign([[0.0]], [[np.nan]])
