from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from widgetkit.factors.halves import to_float32


def test_every_half_is_its_float() -> None:
    """All 65,536 of them, infinities and NaN included; -0 stays -0."""
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = np.isfinite(halves)
    for part in (halves, halves[finite], halves[finite & (halves >= 0)], halves[halves < 0]):
        found, wanted = to_float32(part), part.astype(np.float32)
        assert found.dtype == np.float32
        assert_array_equal(found, wanted)
        number = ~np.isnan(wanted)
        assert_array_equal(found.view(np.uint32)[number], wanted.view(np.uint32)[number])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_new_array_of_the_same_shape(dtype: type) -> None:
    given = np.arange(24, dtype=dtype).reshape(2, 3, 4)
    for view in (given, given.transpose(2, 0, 1), given[:, ::2], given[:0]):
        found = to_float32(view)
        assert_array_equal(found, view.astype(np.float32))
        assert found.shape == view.shape
        found += 1
    assert_array_equal(given.ravel(), np.arange(24))
