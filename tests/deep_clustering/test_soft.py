"""Student's t assignments: the formula, both libraries, and what may not happen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from widgetkit.deep_clustering import soft_assign, target_distribution
from widgetkit.errors import ChannelMismatch, InvalidInput

values = st.floats(-50, 50, width=32)


def slowly(Z: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The formula, term by term."""
    q = np.zeros((len(Z), len(centres)))
    for i, z in enumerate(Z):
        for c, mu in enumerate(centres):
            q[i, c] = 1 / (1 + sum((float(a) - float(b)) ** 2 for a, b in zip(z, mu, strict=True)))
        q[i] /= q[i].sum()
    return q


@settings(deadline=None, max_examples=25)
@given(arrays(np.float32, (5, 3), elements=values), arrays(np.float32, (4, 3), elements=values))
def test_numpy_and_torch_are_the_formula(Z: np.ndarray, centres: np.ndarray) -> None:
    expected = slowly(Z, centres)
    np.testing.assert_allclose(soft_assign(Z, centres), expected, atol=1e-12)
    found = soft_assign(torch.from_numpy(Z), torch.from_numpy(centres))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(arrays(np.float64, (6, 2), elements=st.floats(-1e150, 1e150)))
def test_rows_sum_to_one_however_far(Z: np.ndarray) -> None:
    q = soft_assign(Z, np.array([[0.0, 0.0], [1.0, 5.0]]))
    assert np.isfinite(q).all()
    np.testing.assert_allclose(q.sum(axis=1), 1)


def test_the_largest_is_the_nearest_and_one_cluster_takes_all() -> None:
    rng = np.random.default_rng(0)
    Z, centres = rng.normal(size=(50, 4)), rng.normal(size=(6, 4))
    distances = ((Z[:, None] - centres) ** 2).sum(axis=2)
    assert np.array_equal(soft_assign(Z, centres).argmax(axis=1), distances.argmin(axis=1))
    assert (soft_assign(Z, centres[:1]) == 1).all()


def test_the_gradient_is_the_finite_difference() -> None:
    rng = np.random.default_rng(1)
    Z = torch.tensor(rng.normal(size=(3, 2)), requires_grad=True)
    centres = torch.tensor(rng.normal(size=(4, 2)), requires_grad=True)
    assert torch.autograd.gradcheck(soft_assign, (Z, centres))


def test_target_sharpens_and_has_no_gradient() -> None:
    rng = np.random.default_rng(2)
    q = soft_assign(rng.normal(size=(40, 2)) * 3, rng.normal(size=(3, 2)) * 3)
    p = target_distribution(q)
    weight = q**2 / q.sum(axis=0)
    np.testing.assert_allclose(p, weight / weight.sum(axis=1, keepdims=True))
    assert p.max(axis=1).mean() > q.max(axis=1).mean()
    tensor = torch.tensor(q, requires_grad=True)
    found = target_distribution(tensor)
    assert not found.requires_grad
    np.testing.assert_allclose(found.numpy(), p, rtol=1e-9)


def test_a_cluster_nobody_belongs_to_gives_no_nan() -> None:
    q = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert np.array_equal(target_distribution(q), q)
    assert np.array_equal(target_distribution(torch.from_numpy(q)).numpy(), q)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ChannelMismatch, match="vectors of 3 values, the centres 2"):
        soft_assign(np.zeros((4, 3)), np.zeros((2, 2)))
    with pytest.raises(InvalidInput, match="at least 1"):
        soft_assign(np.zeros((4, 3)), np.zeros((0, 3)))
    with pytest.raises(InvalidInput, match="NaN"):
        soft_assign(np.array([[np.nan]]), np.zeros((1, 1)))
    with pytest.raises(InvalidInput, match="expected"):
        soft_assign(torch.zeros(3), torch.zeros(2, 3))
