"""Units that are drawn, and whether their intervals hold the truth as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from widgetkit.analysis._columns import group_codes
from widgetkit.analysis.resampling import BLOCKS, check_level, interval, resample, units_of
from widgetkit.errors import InvalidInput


def coverage(groups: int, repeats: int, size: int = 30, share: float = 0.3) -> float:
    """How often the 95 % interval of a mean holds it, tiles of a group correlated by ``share``."""
    generator = np.random.default_rng(groups)
    own = generator.normal(0, np.sqrt(share), (repeats, groups, 1))
    sums = (own + generator.normal(0, np.sqrt(1 - share), (repeats, groups, size))).sum(axis=2)
    drawn = resample(lambda c: (c @ sums.T) / (groups * size), groups, 1000, 0)
    low, high = interval(drawn, groups, 0.95)
    return float(np.mean((low <= 0) & (high >= 0)))


@pytest.mark.parametrize("groups", [6, 10, 40])
def test_the_interval_holds_the_truth(groups: int) -> None:
    assert 0.91 <= coverage(groups, 600) <= 0.985


def test_drawing_tiles_instead_of_slides_would_be_far_too_narrow() -> None:
    """What the note about blocks warns of: the same data, each tile its own group."""
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(100):
        own = generator.normal(0, 0.7, (10, 1))
        tiles = (own + generator.normal(0, 0.7, (10, 30))).ravel()
        drawn = resample(lambda c, t=tiles: (c @ t[:, None]) / 300, 300, 200, 0)  # type: ignore[misc]
        low, high = interval(drawn[:, 0], 300, 0.95)
        hits += bool(low <= 0 <= high)
    assert hits < 70


def test_draws_take_as_many_units_as_there_are_and_repeat() -> None:
    seen = []

    def keep(counts: np.ndarray) -> np.ndarray:
        seen.append(counts)
        return counts.sum(axis=1)

    assert_array_equal(resample(keep, 7, 50, 3), 7.0)
    first = seen[0]
    assert first.shape == (50, 7) and first.min() >= 0 and (first > 1).any()
    resample(keep, 7, 50, 3)
    assert_array_equal(first, seen[1])


def test_many_units_are_drawn_in_parts() -> None:
    drawn = resample(lambda c: c.mean(axis=1), 1_500_000, 5, 0)
    assert_allclose(drawn, 1.0)


def test_interval_of_many_units_is_the_plain_percentile() -> None:
    samples = np.random.default_rng(0).normal(size=200_000)
    low, high = interval(samples, 100_000, 0.9)
    assert_allclose([low, high], np.quantile(samples, [0.05, 0.95]), atol=2e-3)


def test_interval_of_few_units_is_wider_and_stays_in_range() -> None:
    samples = np.random.default_rng(0).random(2000)
    widths = [np.diff(interval(samples, units, 0.95))[0] for units in (1000, 10, 5, 3)]
    assert widths == sorted(widths) and widths[-1] <= np.ptp(samples)


def test_draws_that_are_not_defined_are_left_out() -> None:
    samples = np.stack([np.linspace(0, 1, 101), np.full(101, np.nan)], axis=1)
    samples[:20, 0] = np.nan
    low, high = interval(samples, 50, 0.95)
    assert low[0] > 0.19 and np.isnan(low[1]) and np.isnan(high[1])
    assert np.isnan(interval(samples, 2, 0.95)[0]).all()


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 1), min_size=10, max_size=300))
def test_blocks_are_runs_inside_a_group(groups: list[int]) -> None:
    names, codes = group_codes(groups, len(groups))
    found = units_of(codes, len(names))
    assert found.usable and "no interval by group" in found.note
    assert found.count <= min(BLOCKS, len(groups) // 2) + 2
    assert_array_equal(np.unique(found.codes), np.arange(found.count))
    for group in range(len(names)):
        assert (np.diff(found.codes[codes == group]) >= 0).all()
    for block in range(found.count):
        assert len(np.unique(codes[found.codes == block])) == 1


def test_three_groups_are_groups_and_few_rows_are_nothing() -> None:
    found = units_of(np.array([0, 1, 2, 2]), 3)
    assert found.usable and found.count == 3 and found.note.startswith("Only 3 groups")
    assert units_of(np.arange(10), 10).note == ""
    few = units_of(np.array([0, 1, 1]), 2, what="slide")
    assert not few.usable and few.note == "Only 2 slides: no interval by slide can be made."


def test_bad_levels() -> None:
    for level in (0, 1, 95, "0.95"):
        with pytest.raises(InvalidInput, match="level"):
            check_level(level)


@pytest.mark.parametrize(
    "groups",
    [
        ["b", "a", "b"],
        np.array(["b", "a", "b"]),
        np.array(["b", "a", "b"], object),
        np.array([7, 3, 7], np.uint8),
        np.array([7.0, 3.0, 7.0]),
        np.array([True, False, True]),
        np.array(["2024-02-01", "2023-01-01", "2024-02-01"], "datetime64[D]"),
    ],
    ids=lambda g: str(getattr(g, "dtype", "list")),
)
def test_groups_of_any_type(groups: object) -> None:
    names, codes = group_codes(groups, 3)
    assert len(names) == 2
    assert_array_equal(codes, [0, 1, 0])


def test_groups_from_a_table() -> None:
    import pandas as pd

    for column in (
        pd.Series(["b", "a", "b"], dtype="category"),
        pd.Series([2, 1, 2], dtype="Int64"),
    ):
        assert_array_equal(group_codes(column, 3)[1], [0, 1, 0])


def test_missing_groups_are_refused() -> None:
    for groups in (["a", None, "b"], [1.0, np.nan, 2.0]):
        with pytest.raises(InvalidInput, match="1 missing"):
            group_codes(groups, 3)
    with pytest.raises(InvalidInput, match=r"shape \(3,\)"):
        group_codes(["a", "b"], 3)
    with pytest.raises(InvalidInput, match="fractions"):
        group_codes([0.5, 1, 2], 3)


def test_columns_with_and_without_gaps_have_the_same_quantiles() -> None:
    """Whole columns are taken at once; the others one by one, as if they stood alone."""
    drawn = np.random.default_rng(0).normal(0, 1, (300, 6))
    drawn[::7, 1] = np.nan
    drawn[:200, 2] = np.nan  # more than half: no interval
    drawn[3, 4] = np.inf
    low, high = interval(drawn, 12, 0.9)
    for j in range(6):
        one = interval(drawn[:, j], 12, 0.9)
        np.testing.assert_array_equal([low[j], high[j]], np.array(one))
    assert np.isnan(low[2]) and np.isfinite(low[[0, 1, 3, 5]]).all()
