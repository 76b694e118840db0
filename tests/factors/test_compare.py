from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.factors.planted import LAYER, planted, prototypes, weights, write
from widgetkit import factors
from widgetkit.errors import (
    Cancelled,
    ChannelMismatch,
    InvalidInput,
    NeedsActivations,
    TooFew,
    UnknownName,
)
from widgetkit.factors.factors import Factors
from widgetkit.store import ActivationStore


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    return planted(tmp_path_factory.mktemp("compare") / "a.wk", noise=0.05)[0]


class TestMethods:
    def test_one_row_each(self, store: ActivationStore) -> None:
        seen: list[tuple[int, int]] = []
        table = factors.compare_methods(
            store, k=4, sample=600, progress=lambda *at: seen.append(at)
        )
        assert list(table["method"]) == list(factors.METHODS)
        assert seen[0] == (0, 18) and seen[-1] == (18, 18)
        rows = table.set_index("method")
        assert rows.loc["nmf", "agreement_ari"] == 1
        assert rows.loc["nmf", "stability"] > 0.99
        assert rows.loc["pca", "relative_error"] < rows.loc["nmf", "relative_error"]
        assert rows.loc["nmf", "relative_error"] < rows.loc["kmeans", "relative_error"]
        assert rows.loc["spherical_kmeans", "agreement_ari"] > 0.8
        assert rows["silhouette"].between(-1, 1).all() and (rows["seconds"] > 0).all()
        assert rows.loc["pca", "note"] and not rows.loc["nmf", "note"]

    def test_the_error_is_that_of_factorise(self, store: ActivationStore) -> None:
        table = factors.compare_methods(store, k=4, methods=["nmf"], seeds=1, sample=1500)
        found = factors.factorise(store, k=4, sample=1500)
        assert table["relative_error"][0] == pytest.approx(found.relative_error, rel=1e-3)
        assert np.isnan(table["stability"][0])

    def test_bad_input(self, store: ActivationStore, tmp_path: Path) -> None:
        with pytest.raises(UnknownName, match="kmeans"):
            factors.compare_methods(store, k=4, methods=["nmf", "kmean"])
        with pytest.raises(TooFew):
            factors.compare_methods(store, k=4, methods=[])
        with pytest.raises(InvalidInput, match="rank"):
            factors.compare_methods(store, k=40, methods=["nmf"])
        with pytest.raises(Cancelled):
            factors.compare_methods(store, k=4, cancel=lambda: True)
        with pytest.raises(NeedsActivations):
            factors.compare_methods(write(tmp_path / "v.wk", np.ones((4, 8))), k=1)


class TestMatching:
    @pytest.fixture(scope="class")
    @classmethod
    def pair(cls, tmp_path_factory: pytest.TempPathFactory) -> tuple[Factors, Factors]:
        """The same tissue in two models: other channels, another grid, some tiles, another order."""
        folder = tmp_path_factory.mktemp("pair")
        W = weights(60, 4, (4, 4), 2)
        ids = [f"{i:016x}" for i in range(60)]
        one = write(folder / "a.wk", np.einsum("nk...,kc->nc...", W, prototypes(4, 32)), ids=ids)
        rows = np.random.default_rng(0).permutation(60)[:40]
        small = W.reshape(60, 4, 2, 2, 2, 2).mean(axis=(3, 5))[rows]
        maps = np.einsum("nk...,kc->nc...", small, prototypes(4, 20, 5))
        two = write(folder / "b.wk", maps, ids=[ids[i] for i in rows], layer="other")
        return factors.factorise(one, k=4), factors.factorise(two, k=4)

    def test_tiles_in_common_pair_the_factors(self, pair: tuple[Factors, Factors]) -> None:
        a, b = pair
        table = factors.match_factors(a, b)
        assert len(table) == 4 and table.attrs["tiles"] == 40
        assert (table["correlation"] > 0.95).all() and (table["second"] < 0.6).all()
        assert sorted(table["a"]) == sorted(table["b"]) == [0, 1, 2, 3]
        ids = list(a.store.tiles["id"])
        rows = [ids.index(i) for i in b.store.tiles["id"]]
        for line in table.itertuples():
            wanted = np.corrcoef(a.pooled.mean[rows, line.a], b.pooled.mean[:, line.b])[0, 1]
            assert line.correlation == pytest.approx(wanted, abs=1e-6)

    def test_grids_and_channels_that_differ(self, pair: tuple[Factors, Factors]) -> None:
        a, b = pair
        with pytest.raises(InvalidInput, match=r"\(4, 4\).*\(2, 2\).*by='tiles'"):
            factors.match_factors(a, b, by="positions")
        with pytest.raises(ChannelMismatch, match=r"32 channels.*20"):
            factors.match_factors(a, b, by="prototypes")
        with pytest.raises(UnknownName, match="positions"):
            factors.match_factors(a, b, by="position")  # type: ignore[arg-type]

    def test_no_tiles_in_common(self, pair: tuple[Factors, Factors], tmp_path: Path) -> None:
        maps = pair[0].store.activations(LAYER)
        other = write(tmp_path / "c.wk", maps, ids=[f"x{i}" for i in range(60)])
        with pytest.raises(TooFew, match="0 tiles in common"):
            factors.match_factors(pair[0], factors.factorise(other, k=4))

    def test_positions_and_prototypes(self, store: ActivationStore) -> None:
        a = factors.factorise(store, k=4)
        b = factors.assign(store, a.prototypes[[2, 0, 3, 1]])
        for by in ("positions", "prototypes", "tiles"):
            table = factors.match_factors(a, b, by=by)  # type: ignore[arg-type]
            assert_allclose(table["correlation"], 1, atol=1e-5)
            order = table.sort_values("a")["b"].to_numpy()
            assert_array_equal(order, [1, 3, 0, 2])
        c = factors.factorise(store, k=3)
        table = factors.match_factors(a, c, by="positions")
        assert len(table) == 3
        A, C = (f.weights().transpose(0, 2, 3, 1).reshape(-1, f.k) for f in (a, c))
        wanted = np.corrcoef(A.T, C.T)[:4, 4:]
        assert_allclose(np.array(table.attrs["table"]), wanted, atol=1e-6)

    def test_one_factor_has_no_second(self, store: ActivationStore) -> None:
        a = factors.factorise(store, k=1)
        assert np.isnan(factors.match_factors(a, a)["second"]).all()


def test_errors_are_of_the_activations_whatever_was_done_with_negative_ones(tmp_path: Path) -> None:
    positive = planted(tmp_path / "a.wk", noise=0.05)[0]
    maps = positive.activations(LAYER).astype(np.float32) - 0.3
    store = write(tmp_path / "b.wk", maps)
    with pytest.raises(InvalidInput, match="negative"):
        factors.compare_methods(store, k=4)
    error = {}
    for rule in ("shift", "clip", "split"):
        table = factors.compare_methods(
            store, k=4, methods=["nmf", "pca"], sample=600, seeds=1, nonnegative=rule
        ).set_index("method")
        error[rule] = table.loc["nmf", "relative_error"]
        assert table.loc["pca", "relative_error"] < error[rule] < 1
    below = np.linalg.norm(np.minimum(maps, 0)) / np.linalg.norm(maps)
    assert error["clip"] > 0.95 * below > error["shift"]
