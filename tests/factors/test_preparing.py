from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tests.factors.planted import LAYER, planted, prototypes, weights, write
from widgetkit import analysis, factors
from widgetkit.errors import InvalidInput, UnknownName
from widgetkit.factors import background
from widgetkit.factors.groups import groups_of
from widgetkit.factors.preparing import Preparation, slide_scales
from widgetkit.factors.sampling import draw, shares
from widgetkit.store import ActivationStore

SLIDES = ["a"] * 40 + ["b"] * 15 + ["c"] * 5


@pytest.fixture
def store(tmp_path: Path) -> ActivationStore:
    return planted(tmp_path / "a.wk", noise=0.05, slides=SLIDES)[0]


def stained(path: Path, strength: float = 0.7) -> tuple[ActivationStore, np.ndarray]:
    """Three slides of the same tissues, each with channels of its own size."""
    H, W = prototypes(4, 32), weights(60, 4, (5, 5))
    rng = np.random.default_rng(4)
    stain = np.exp(strength * rng.standard_normal((3, 32)))
    slide = np.arange(60) % 3
    maps = np.einsum("nk...,kc->nc...", W, H) * stain[slide][:, :, None, None]
    maps += 0.01 * rng.random(maps.shape)
    return write(path, maps, slides=[f"s{i}" for i in slide]), H


class TestSample:
    @settings(deadline=None, max_examples=50)
    @given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.integers(0, 200))
    def test_shares_are_as_equal_as_they_can_be(self, capacities: list[int], count: int) -> None:
        found = shares(capacities, count)
        assert sum(found) == min(count, sum(capacities))
        assert all(0 <= f <= c for f, c in zip(found, capacities, strict=True))
        free = [f for f, c in zip(found, capacities, strict=True) if f < c]
        if free:  # nobody who could take more has less than another, but by rounding
            assert max(found) - min(free) <= 1

    def test_every_slide_counts_alike(self, store: ActivationStore) -> None:
        groups = groups_of(store, "slide")
        assert groups.column == "source" and groups.names == ("a", "b", "c")
        sample = draw(store, LAYER, 300, 0, groups)
        counts = np.bincount(groups.codes[sample.rows])
        assert_array_equal(counts, [100, 100, 100])
        plain = np.bincount(groups.codes[draw(store, LAYER, 300, 0).rows])
        assert plain[0] > 150 and plain[2] < 60
        assert_array_equal(
            np.bincount(groups.codes[draw(store, LAYER, 600, 0, groups).rows]), [238, 237, 125]
        )

    def test_positions_are_distinct_and_their_values_right(self, store: ActivationStore) -> None:
        groups = groups_of(store, "slide")
        sample = draw(store, LAYER, 300, 0, groups)
        pairs = np.stack([sample.rows, sample.cells], axis=1)
        assert len(np.unique(pairs, axis=0)) == 300
        maps = store.activations(LAYER).reshape(60, 32, 25)
        assert_array_equal(sample.values, maps[sample.rows, :, sample.cells])
        again = draw(store, LAYER, 300, 0, groups)
        assert_array_equal(sample.cells, again.cells)
        assert (sample.cells != draw(store, LAYER, 300, 1, groups).cells).any()
        assert len(draw(store, LAYER, 10**6, 0, groups).rows) == 1500

    def test_tiles_of_no_slide_are_a_group(self, tmp_path: Path) -> None:
        store = planted(tmp_path / "a.wk", n=4)[0]
        table = pd.DataFrame({"id": list("abcd"), "source": "x", "slide": ["s", None, "t", None]})
        store.__dict__["_table"] = table
        groups = groups_of(store, "slide")
        assert groups.names == ("s", "t", "") and groups.codes.tolist() == [0, 2, 1, 2]
        with pytest.raises(UnknownName, match="slide"):
            groups_of(store, "slides")


class TestSlides:
    def test_channels_get_the_same_size_and_nothing_becomes_negative(self, tmp_path: Path) -> None:
        store, _ = stained(tmp_path / "a.wk")
        groups = groups_of(store, "slide")
        scales = slide_scales(store, LAYER, groups)
        assert scales.shape == (3, 32) and (scales > 0).all() and scales.max() <= 11
        A = store.activations(LAYER).reshape(60, 32, 25)
        prepared = Preparation(scales=scales, codes=groups.codes)
        B = prepared.maps(A, np.arange(60))
        assert B.min() >= 0 and ((B == 0) == (A == 0)).all()
        before, after = (
            np.stack([x[groups.codes == g].mean(axis=(0, 2), dtype=float) for g in range(3)])
            for x in (A, B)
        )
        spread = [np.median(x.max(axis=0) / x.min(axis=0)) for x in (before, after)]
        assert spread[0] > 2 and spread[1] < 1.3
        assert_allclose(prepared.undo(B, np.arange(60)), A.astype(np.float32), rtol=1e-5)

    def test_factors_of_the_stain_are_told_and_scaling_helps(self, tmp_path: Path) -> None:
        store, _ = stained(tmp_path / "a.wk")
        raw = factors.factorise(store, k=4)
        told = factors.slide_share(raw)
        assert list(told["factor"]) == [0, 1, 2, 3]
        assert told["share"].max() > 0.5 and (told["warning"] != "").any()
        worst = told.loc[told["share"].idxmax(), "warning"]
        assert "source" in worst and "normalise='slide'" in worst
        assert "follow" in told.attrs["warning"]
        scaled = factors.factorise(store, k=4, normalise="slide")
        after = factors.slide_share(scaled)
        assert after["share"].max() < 0.2 and (after["warning"] == "").all()
        assert after.attrs["warning"] == ""
        assert "scaled by slide" in scaled.describe() and scaled.scales is not None
        # each position again belongs to its tissue
        truth = weights(60, 4, (5, 5)).argmax(axis=1).ravel()
        agreement = [analysis.label_agreement(truth, f.winners().ravel()) for f in (raw, scaled)]
        assert agreement[1] > 0.9 > agreement[0]
        A = store.activations(LAYER).astype(float)
        error = np.linalg.norm(A - scaled.reconstruct(None)) / np.linalg.norm(A)
        assert error < 0.35
        again = factors.assign(store, scaled.prototypes, normalisation="slide")
        assert_array_equal(again.winners(), scaled.winners())
        loaded = factors.load(store, scaled.name)
        assert_array_equal(loaded.scales, scaled.scales)

    def test_one_slide_cannot_tell(self, tmp_path: Path) -> None:
        store = planted(tmp_path / "a.wk", slides=["a"] * 60)[0]
        told = factors.slide_share(factors.factorise(store, k=3))
        assert (told["warning"] == "").all() and "cannot be told" in told.attrs["warning"]

    def test_a_channel_that_a_slide_does_not_have(self, tmp_path: Path) -> None:
        maps = np.random.default_rng(0).random((10, 6, 2, 2))
        maps[:5, 0] = 0
        maps[:, 1] = 0
        store = write(tmp_path / "a.wk", maps, slides=["a"] * 5 + ["b"] * 5)
        scales = slide_scales(store, LAYER, groups_of(store, "slide"))
        assert np.isfinite(scales).all() and (scales[:, 1] == 1).all()


class TestBackground:
    def test_rules(self) -> None:
        values = np.concatenate([np.linspace(0, 0.1, 50), np.linspace(5, 6, 50)])
        assert background.level(None, values).value == pytest.approx(
            0.1 * np.quantile(values, 0.95)
        )
        assert 0.1 < background.level("otsu", values).value < 5
        assert background.level("quantile:0.25", values).value == pytest.approx(
            np.quantile(values, 0.25)
        )
        assert background.level(1.5, values).value == 1.5
        for rule in (None, "otsu", "quantile:0.25", 1.5):
            found = background.level(rule, values)
            assert f"{found.value:.4g}" in found.rule
        assert background.level(None, np.zeros(4)).value == 0
        assert background.level("otsu", np.empty(0)).value == 0

    @settings(deadline=None, max_examples=25)
    @given(st.lists(st.floats(0, 1e3), min_size=2, max_size=60))
    def test_otsu_cuts_where_the_classes_differ_most(self, values: list[float]) -> None:
        given = np.array(values)
        if given.max() <= 0:
            return
        cut = background.level("otsu", given).value

        def within(at: float) -> float:
            parts = (given[given <= at], given[given > at])
            return sum(len(p) * float(p.var()) for p in parts if len(p))

        best = min(within(float(v)) for v in given)
        # the histogram rounds to 256 bins
        slack = len(given) * (float(given.max() - given.min()) / 256) * float(np.ptp(given)) * 2
        assert within(cut) <= best + slack + 1e-9

    @pytest.mark.parametrize(
        "bad", ["", "otsu ", "quantile", "quantile:x", "quantile:-1", math.nan, math.inf, True, [1]]
    )
    def test_what_is_no_rule(self, bad: object) -> None:
        with pytest.raises(InvalidInput, match="otsu"):
            background.check(bad)  # type: ignore[arg-type]

    def test_winners_follow_it(self, tmp_path: Path) -> None:
        store, _, _ = planted(tmp_path / "a.wk")
        maps = store.activations(LAYER).astype(np.float32)
        maps[:, :, 0] *= 0.02  # a row of nearly empty positions
        other = write(tmp_path / "b.wk", maps)
        found = factors.factorise(other, k=4)
        assert (found.winners()[:, 0] == -1).mean() > 0.95
        assert (found.winners()[:, 1:] >= 0).mean() > 0.99
        assert f"{found.background_level:.4g}" in found.background_rule
        assert (factors.factorise(other, k=4, background=0.0).winners() >= 0).mean() > 0.99
        assert (factors.factorise(other, k=4, background="otsu").winners()[:, 0] == -1).mean() > 0.9
        assert (factors.factorise(other, k=4, method="kmeans").winners() >= 0).all()
