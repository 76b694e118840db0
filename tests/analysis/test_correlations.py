"""Correlation of factors with maps, beside scipy and a loop."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose
from scipy import stats

from widgetkit.analysis import correlation, correlation_table
from widgetkit.errors import BadActivations, Cancelled, ChannelMismatch, InvalidInput, TooFew

SCIPY = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}


def data(
    n: int = 60, k: int = 3, grid: tuple[int, ...] = (4, 5), groups: int = 12, seed: int = 0
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Sparse weights, one map that follows factor 0, one of its own; levels differ by group."""
    generator = np.random.default_rng(seed)
    weights = np.maximum(generator.normal(0, 1, (n, k, *grid)), 0).astype(np.float32)
    level = generator.normal(0, 1, groups)
    own = np.arange(n) % groups
    follows = weights[:, 0] + generator.normal(0, 1, (n, *grid)) + level[own].reshape(-1, 1, 1)
    return weights, {"cam": follows, "own": generator.normal(1e4, 1, (n, *grid))}, own


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_agrees_with_scipy(method: Any) -> None:
    weights, maps, groups = data()
    for i in range(3):
        for values in maps.values():
            a, b = weights[:, i].astype(np.float64), values
            found = correlation(a, b, groups, method=method, n_boot=200)
            assert_allclose(found.r, SCIPY[method](a.ravel(), b.ravel())[0], atol=1e-9)
            assert found.low <= found.r <= found.high
            assert (found.n, found.groups, found.note) == (1200, 12, "")
            for group, r in found.per_group.items():
                mine = groups == group
                assert_allclose(r, SCIPY[method](a[mine].ravel(), b[mine].ravel())[0], atol=1e-9)


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_table_is_the_single_correlations(method: Any) -> None:
    weights, maps, groups = data()
    table = correlation_table(weights, maps, groups, ["x", "y", "z"], methods=method, n_boot=100)
    assert list(table[["factor", "map"]].itertuples(index=False, name=None)) == [
        (f, m) for f in "xyz" for m in maps
    ]
    for row in table.itertuples():
        single = correlation(
            weights[:, "xyz".index(row.factor)], maps[row.map], groups, method=method, n_boot=100
        )
        assert_allclose(
            [row.r, row.low, row.high, row.within],
            [single.r, single.low, single.high, single.within],
            atol=1e-12,
        )


def batches(weights: np.ndarray, order: np.ndarray, step: int) -> Iterator[Any]:
    for at in range(0, len(order), step):
        yield order[at : at + step], weights[order[at : at + step]]


@pytest.mark.parametrize("sample", [200_000, 300])
def test_batches_in_any_order_give_the_same_table(sample: int) -> None:
    weights, maps, groups = data()
    whole = correlation_table(weights, maps, groups, n_boot=50, sample=sample)
    order = np.random.default_rng(1).permutation(60)
    by_batch = correlation_table(
        batches(weights, order, 7),
        {name: (lambda rows, m=m: m[rows]) for name, m in maps.items()},  # type: ignore[misc]
        groups,
        n_boot=50,
        sample=sample,
    )
    numbers = ["r", "low", "high", "within", "n"]
    assert_allclose(whole[numbers], by_batch[numbers], atol=1e-9)
    plain = correlation_table(
        iter([weights[:40], weights[40:]]), maps, groups, n_boot=50, sample=sample
    )
    assert_allclose(whole[numbers], plain[numbers], atol=1e-9)


def test_a_sample_is_said_and_near() -> None:
    weights, maps, groups = data(n=400, grid=(7, 7))
    exact = correlation(weights[:, 0], maps["cam"], groups, method="spearman", n_boot=50)
    found = correlation(
        weights[:, 0], maps["cam"], groups, method="spearman", n_boot=50, sample=4000
    )
    assert found.n == 4000
    assert found.note.startswith("Ranked on 4000 of 19600 positions, drawn at random (seed 0)")
    assert abs(found.r - exact.r) < 0.04


@settings(deadline=None, max_examples=25)
@given(
    hnp.arrays(np.float64, (8, 2, 3), elements=st.integers(-3, 3).map(float)),
    hnp.arrays(np.float64, (8, 2, 3), elements=st.integers(-3, 3).map(float)),
    st.floats(-1e6, 1e6),
    st.sampled_from(["pearson", "spearman"]),
)
def test_scale_and_offset_change_nothing(a: Any, b: Any, offset: float, method: Any) -> None:
    groups = np.arange(8) // 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = correlation(a, b, groups, method=method, n_boot=20)
        other = correlation(b * 3 + round(offset), a, groups, method=method, n_boot=20)
    assert_allclose(one.r, other.r, atol=1e-6)
    assert_allclose(one.within, other.within, atol=1e-6)
    flipped = correlation(-a, b, groups, method=method, n_boot=0)
    assert_allclose(flipped.r, -one.r, atol=1e-9)


def test_draws_are_those_of_a_loop() -> None:
    """Slides drawn one by one and put together, scipy's Pearson of what lies there."""
    weights, maps, groups = data(groups=6)
    a, b = weights[:, 0].reshape(60, -1), maps["cam"].reshape(60, -1)
    generator = np.random.default_rng(5)
    for method in ("pearson", "spearman"):
        drawn = []
        for _ in range(400):
            rows = np.concatenate(
                [np.flatnonzero(groups == g) for g in generator.integers(6, size=6)]
            )
            drawn.append(SCIPY[method](a[rows].ravel(), b[rows].ravel())[0])
        # the level at which the expanded interval of six groups is the plain one of 80 %
        level = 2 * stats.t.cdf(stats.norm.ppf(0.9) / np.sqrt(6 / 5), 5) - 1
        plain = np.quantile(drawn, [0.1, 0.9])
        found = correlation(a, b, groups, method=method, level=level, n_boot=2000)  # type: ignore[arg-type]
        assert_allclose([found.low, found.high], plain, atol=0.012)


def test_levels_of_slides_are_taken_out_by_within() -> None:
    """Nothing inside slides, everything between them."""
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(10), 20)
    level = generator.normal(0, 5, 10)[groups][:, None]
    a, b = level + generator.normal(size=(200, 9)), level + generator.normal(size=(200, 9))
    found = correlation(a, b, groups)
    assert found.r > 0.9 and abs(found.within) < 0.06
    centred = [
        x - np.array([x[groups == g].mean() for g in range(10)])[groups][:, None] for x in (a, b)
    ]
    assert_allclose(
        found.within, stats.pearsonr(centred[0].ravel(), centred[1].ravel())[0], atol=1e-9
    )


def test_constant_maps_have_a_reason_and_no_warning() -> None:
    weights, maps, groups = data()
    weights[:, 1] = 0.1
    maps["flat"] = np.full_like(maps["cam"], 0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = correlation_table(weights, maps, groups, n_boot=30).set_index(
            ["factor", "map", "method"]
        )
    for method in ("pearson", "spearman"):
        flat, dead = table.loc[(0, "flat", method)], table.loc[(1, "cam", method)]
        assert flat[["r", "low", "high", "within"]].isna().all()
        assert "the map is constant" in flat["note"] and "the factor is constant" in dead["note"]
        assert np.isfinite(table.loc[(0, "cam", method), "r"])


def test_a_group_that_is_constant_is_nan_alone() -> None:
    weights, maps, groups = data()
    a = np.array(weights[:, 0])
    a[groups == 3] = 0.7
    for method in ("pearson", "spearman"):
        found = correlation(a, maps["cam"], groups, method=method, n_boot=20)  # type: ignore[arg-type]
        assert np.isnan(found.per_group[3]) and np.isfinite(found.per_group[2])
        assert np.isfinite([found.r, found.low, found.high]).all()


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_nan_is_left_out_and_counted(method: Any) -> None:
    weights, maps, groups = data()
    generator = np.random.default_rng(0)
    holes = generator.random(maps["cam"].shape) < 0.2
    maps["cam"][holes] = np.nan
    table = correlation_table(weights, maps, groups, methods=method, n_boot=40)
    row = table[(table["factor"] == 0) & (table["map"] == "cam")].iloc[0]
    kept = ~holes
    expected = SCIPY[method](weights[:, 0][kept].astype(float), maps["cam"][kept])[0]
    assert_allclose(row["r"], expected, atol=1e-9)
    assert row["n"] == kept.sum()
    assert f"{holes.sum()} of {holes.size} positions are NaN" in row["note"]
    other = table[(table["factor"] == 0) & (table["map"] == "own")].iloc[0]
    assert other["n"] == holes.size and other["note"] == ""
    maps["cam"][:] = np.nan
    lost = correlation_table(weights, maps, groups, methods=method, n_boot=10).iloc[0]
    assert np.isnan(lost["r"]) and "Fewer than two positions" in lost["note"]


def test_few_groups_fall_back_to_blocks_and_say_so() -> None:
    weights, maps, _ = data()
    for groups in (np.zeros(60, int), np.arange(60) // 30):
        found = correlation(weights[:, 0], maps["cam"], groups, n_boot=100)
        assert found.low < found.r < found.high
        assert "no interval by group" in found.note and "blocks of neighbouring rows" in found.note
    found = correlation([1.0, 2, 4], [1.0, 3, 3], ["a", "a", "b"])
    assert np.isfinite(found.r) and np.isnan([found.low, found.high]).all()
    assert "no interval by group can be made" in found.note
    assert correlation([1.0, 2, 4], [1.0, 3, 3], ["a", "a", "b"], n_boot=0).note == ""


def test_coverage_of_a_correlation_over_slides() -> None:
    """Both sides with a slide effect, true correlation 0.5: the interval holds it."""
    generator = np.random.default_rng(0)
    half = np.linalg.cholesky(np.array([[1, 0.5], [0.5, 1]]))
    groups = np.repeat(np.arange(12), 25)
    hits = 0
    for i in range(150):
        effect = generator.normal(0, np.sqrt(0.3), (2, 12))[:, groups]
        a, b = half @ (effect + generator.normal(0, np.sqrt(0.7), (2, 300)))
        found = correlation(a, b, groups, n_boot=300, seed=i)
        hits += found.low <= 0.5 <= found.high
    assert 0.88 <= hits / 150 <= 0.995


def test_half_precision_and_large_offsets_lose_nothing() -> None:
    weights, maps, groups = data()
    half = weights.astype(np.float16)
    assert_allclose(
        correlation(half[:, 0], maps["cam"], groups, n_boot=0).r,
        stats.pearsonr(half[:, 0].astype(float).ravel(), maps["cam"].ravel())[0],
        atol=1e-12,
    )
    a = weights[:, 0].astype(float)
    far = correlation(a + 1e7, maps["cam"] - 1e7, groups, n_boot=0).r
    assert_allclose(far, correlation(a, maps["cam"], groups, n_boot=0).r, atol=1e-7)


def test_bad_input_is_named() -> None:
    weights, maps, groups = data()
    with pytest.raises(ChannelMismatch, match=r"'cam' has the grid \(2, 5\)"):
        correlation_table(weights, {"cam": maps["cam"][:, :2]}, groups)
    with pytest.raises(InvalidInput, match="expected"):
        correlation_table(weights, {"cam": maps["cam"][:7]}, groups)
    with pytest.raises(InvalidInput, match="60 tiles"):
        correlation_table(weights[:5], maps, groups)
    with pytest.raises(InvalidInput, match="same positions"):
        correlation(weights[:, 0], maps["cam"][:, :2], groups)
    with pytest.raises(InvalidInput, match="one value a row"):
        correlation(weights[:, 0], maps["cam"], groups[:4])
    with pytest.raises(BadActivations, match=r"Map 'cam' hold.* infinity in 1"):
        bad = maps["cam"].copy()
        bad[3, 1, 1] = np.inf
        correlation_table(weights, {"cam": bad}, groups)
    with pytest.raises(ChannelMismatch, match="2 names for 3"):
        correlation_table(weights, maps, groups, ["a", "b"])
    with pytest.raises(InvalidInput, match="twice"):
        correlation_table(iter([(np.array([0, 0]), weights[:2])]), maps, groups)
    with pytest.raises(InvalidInput, match="50 tiles and groups 60"):
        correlation_table(iter([weights[:50]]), maps, groups)
    with pytest.raises(ChannelMismatch, match="first one had"):
        correlation_table(iter([weights[:50], weights[50:, :2]]), maps, groups)
    with pytest.raises(InvalidInput, match="kendall"):
        correlation_table(weights, maps, groups, methods="kendall")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="at least one"):
        correlation_table(weights, {}, groups)
    with pytest.raises(TooFew):
        correlation([], [], [])


def test_progress_and_cancel() -> None:
    weights, maps, groups = data()
    seen: list[tuple[int, int]] = []
    correlation_table(
        iter([weights[:30], weights[30:]]),
        maps,
        groups,
        n_boot=5,
        progress=lambda *a: seen.append(a),
    )
    assert seen == [(0, 60), (30, 60), (60, 60)]
    with pytest.raises(Cancelled):
        correlation_table(weights, maps, groups, cancel=lambda: True)
