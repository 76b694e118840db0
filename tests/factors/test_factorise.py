from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import linear_sum_assignment

import widgetkit.store
from tests.factors.planted import LAYER, block_spectrum, planted, textured_tiles, write
from widgetkit import analysis, factors
from widgetkit.errors import (
    Cancelled,
    ChannelMismatch,
    InvalidInput,
    NeedsActivations,
    StoreCorrupt,
    TooFew,
    UnknownLayer,
    UnknownName,
)
from widgetkit.factors.sampling import draw
from widgetkit.store import ActivationStore

REPO = Path(__file__).resolve().parent.parent.parent
ALL = list(factors.METHODS)


@pytest.fixture
def store(tmp_path: Path) -> ActivationStore:
    return planted(tmp_path / "a.wk", noise=0.05)[0]


def kept_bytes(store: ActivationStore) -> dict[str, str]:
    """SHA-256 of the arrays of all factors; names of files tell their place and content."""
    folder = store.path / "derived/factors"
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*.npy"))
    }


class TestTruth:
    @pytest.mark.parametrize("noise", [0.0, 0.05, 0.15, 0.3])
    @pytest.mark.parametrize("k", [3, 6])
    def test_planted_factors_are_recovered(self, tmp_path: Path, noise: float, k: int) -> None:
        store, H, W = planted(tmp_path / "a.wk", noise=noise, k=k, n=100, channels=40, seed=1)
        found = factors.factorise(store, k=k)
        columns, cosines = analysis.match(H, found.prototypes)
        assert cosines.min() > 0.99
        each = [
            np.corrcoef(W[:, i].ravel(), found.weights()[:, j].ravel())[0, 1]
            for i, j in enumerate(columns)
        ]
        assert min(each) > 0.97
        # the ReLU takes some of the noise, the factors some more
        assert 0.65 * noise - 1e-3 < found.relative_error < noise + 2e-3

    @pytest.mark.parametrize("method", ["sparse_nmf", "convex_nmf"])
    def test_the_other_factorisations_find_them_too(self, tmp_path: Path, method: str) -> None:
        store, H, _ = planted(tmp_path / "a.wk", noise=0.05, n=100, channels=48)
        found = factors.factorise(store, k=4, method=method)
        assert analysis.match(H, found.prototypes)[1].min() > 0.97

    def test_maps_of_known_textures(self, tmp_path: Path) -> None:
        images, truth = textured_tiles(60)
        store = write(tmp_path / "a.wk", block_spectrum(images))
        won = factors.factorise(store, k=4).winners()
        pure = truth.reshape(60, 8, 8, 8, 8).swapaxes(2, 3).reshape(60, 8, 8, 64)
        wanted = pure[..., 0]
        inside = (pure == wanted[..., None]).all(axis=3)  # blocks on a border are of two kinds
        table = np.array(
            [
                [
                    ((won == j) & (wanted == i) & inside).sum()
                    / (((won == j) | (wanted == i)) & inside).sum()
                    for j in range(4)
                ]
                for i in range(4)
            ]
        )
        rows, columns = linear_sum_assignment(-table)
        assert table[rows, columns].min() > 0.9

    def test_one_factor_is_the_leading_direction(self, tmp_path: Path) -> None:
        """For non-negative data the best approximation of rank 1 is the first singular vector
        (Perron and Frobenius); where all rows point alike it is their mean direction."""
        rng = np.random.default_rng(0)
        direction = rng.gamma(1, 1, 24)
        maps = (
            rng.uniform(1, 2, (40, 1, 16))
            * direction[:, None]
            * rng.uniform(0.9, 1.1, (40, 24, 16))
        )
        store = write(tmp_path / "a.wk", maps.reshape(40, 24, 4, 4))
        found = factors.factorise(store, k=1)
        rows = store.activations(LAYER).astype(np.float64).reshape(40, 24, 16)
        rows = rows.transpose(0, 2, 1).reshape(-1, 24)
        leading = np.linalg.svd(rows, full_matrices=False)[2][0]
        mean = rows.mean(axis=0) / np.linalg.norm(rows.mean(axis=0))
        assert abs(found.prototypes[0] @ leading) > 1 - 1e-6
        assert found.prototypes[0] @ mean > 0.999

    def test_the_rows_learned_from_get_the_weights_of_the_fit(self, store: ActivationStore) -> None:
        from widgetkit.factors.groups import groups_of

        sample = draw(store, LAYER, 400, 3, groups_of(store, "slide"))
        model = analysis.NMF(4, random_state=3, max_rows=None, backend="numpy")
        W = model.fit_transform(sample.values)
        found = factors.factorise(store, k=4, sample=400, seed=3)
        assert_array_equal(found.prototypes, model.components_)
        kept = found.weights().reshape(60, 4, -1)[sample.rows, :, sample.cells]
        assert_allclose(kept, W, rtol=1e-3, atol=1e-3)


class TestKept:
    @pytest.mark.parametrize("method", ALL)
    def test_what_is_kept_agrees_with_itself(self, store: ActivationStore, method: str) -> None:
        found = factors.factorise(store, k=4, method=method, sample=500)
        W = found.weights()
        assert W.shape == (60, 4, 5, 5) and W.dtype == np.float32
        if not found.signed:
            assert W.min() >= 0
        rows = [7, 59, 7, 0]
        assert_array_equal(found.weights(rows), W[rows])
        assert_array_equal(np.concatenate([w for _, w in found.iter_weights(7)]), W)
        flat = W.reshape(60, 4, 25)
        assert_allclose(found.pooled.mean, flat.mean(axis=2, dtype=float), rtol=1e-6)
        assert_array_equal(found.pooled.max, flat.max(axis=2))
        sizes = np.abs(flat)
        assert_allclose(found.pooled.total, sizes.sum(axis=1).mean(axis=1), rtol=1e-5)
        won = found.winners()
        assert won.dtype == np.int16 and won.shape == (60, 5, 5)
        for i in range(4):
            assert_allclose(found.pooled.share[:, i], (won == i).reshape(60, -1).mean(axis=1))
        total = sizes.sum(axis=1).reshape(60, 5, 5)
        assert_array_equal(won == -1, ~(total > found.background_level))

    @pytest.mark.parametrize("method", ALL)
    def test_the_error_is_that_of_the_reconstruction(
        self, store: ActivationStore, method: str
    ) -> None:
        found = factors.factorise(store, k=4, method=method)
        A = store.activations(LAYER).astype(np.float64)
        R = found.reconstruct(None)
        error = np.linalg.norm(A - R) / np.linalg.norm(A)
        assert found.relative_error == pytest.approx(error, rel=0.01, abs=1e-3)
        assert_allclose(
            found.tile_errors([4, 2]),
            [np.linalg.norm(A[i] - R[i]) / np.linalg.norm(A[i]) for i in (4, 2)],
            rtol=0.01, atol=1e-3,
        )  # fmt: skip
        parts = sum(found.contribution([3], i) for i in range(4))
        rest = found.reconstruct([3], without=(0, 1, 2, 3))
        assert_allclose(rest + parts, R[[3]], rtol=1e-4, atol=1e-4)
        assert_allclose(
            found.reconstruct([3], without=1) + found.contribution([3], 1), R[[3]], atol=1e-4
        )
        again = found.weigh(store.activations(LAYER, [5, 1]), [5, 1])
        assert_allclose(again, found.weights([5, 1]), rtol=1e-3, atol=1e-3)

    @pytest.mark.parametrize("method", ALL)
    def test_the_objective_never_rises(self, store: ActivationStore, method: str) -> None:
        found = factors.factorise(store, k=4, method=method)
        assert len(found.fit_errors) and (np.diff(found.fit_errors) <= 1e-6).all()

    @pytest.mark.parametrize("method", ALL)
    def test_same_seed_same_bytes(self, store: ActivationStore, method: str) -> None:
        first = factors.factorise(store, k=3, method=method, sample=300, seed=5)
        before = kept_bytes(store)
        store.derived.delete("factors", first.name)
        assert factors.names(store) == []
        factors.factorise(store, k=3, method=method, sample=300, seed=5)
        assert kept_bytes(store) == before

    def test_the_same_call_returns_what_is_kept(self, store: ActivationStore) -> None:
        first = factors.factorise(store, k=4)
        before = kept_bytes(store)
        second = factors.factorise(store, k=4, progress=lambda *_: pytest.fail("computed again"))
        assert second.name == first.name and kept_bytes(store) == before
        assert factors.names(store) == [first.name]
        other = factors.load(widgetkit.store.open(store.path), first.name)
        assert_array_equal(other.prototypes, first.prototypes)
        assert (other.k, other.n, other.grid, other.layer) == (4, 60, (5, 5), LAYER)
        assert other.relative_error == first.relative_error
        assert repr(first.k) in repr(first) and "relative error" in first.describe()
        assert factors.factorise(store, k=3).name != first.name
        assert len(factors.names(store)) == 2

    def test_a_name_is_a_name(self, store: ActivationStore) -> None:
        made = factors.factorise(store, k=4, name="Näme <b>")
        assert factors.names(store) == ["Näme <b>"]
        assert_array_equal(factors.load(store, "Näme <b>").prototypes, made.prototypes)
        factors.factorise(store, k=3, name="Näme <b>")  # replaces
        assert factors.load(store, "Näme <b>").k == 3
        with pytest.raises(UnknownName, match="Näme"):
            factors.load(store, "Name <b>")

    def test_damage_is_found_and_made_good(self, store: ActivationStore) -> None:
        first = factors.factorise(store, k=4)
        before = kept_bytes(store)
        file = next((store.path / "derived").rglob("basis*.npy"))
        data = bytearray(file.read_bytes())
        data[-1] ^= 4
        file.write_bytes(data)
        fresh = widgetkit.store.open(store.path)
        with pytest.raises(StoreCorrupt):
            factors.load(fresh, first.name)
        assert not fresh.verify().ok
        factors.factorise(fresh, k=4)
        assert kept_bytes(fresh) == before and fresh.verify().ok

    def test_volumes(self, tmp_path: Path) -> None:
        store, H, _ = planted(tmp_path / "a.wk", grid=(2, 3, 4), noise=0.02)
        found = factors.factorise(store, k=4)
        assert found.weights([1]).shape == (1, 4, 2, 3, 4)
        assert found.winners([1]).shape == (1, 2, 3, 4)
        assert analysis.match(H, found.prototypes)[1].min() > 0.99

    def test_large_activations_keep_their_weights(self, tmp_path: Path) -> None:
        """float16 ends at 65504, and a weight in a factor of length 1 may be larger than that."""
        store, H, _ = planted(tmp_path / "a.wk", noise=0.02)
        maps = store.activations(LAYER).astype(np.float32)
        maps *= 30_000 / maps.max()
        huge = write(tmp_path / "b.wk", maps)
        found = factors.factorise(huge, k=4)
        assert analysis.match(H, found.prototypes)[1].min() > 0.99
        error = np.linalg.norm(found.reconstruct(None) - maps) / np.linalg.norm(maps)
        assert error == pytest.approx(found.relative_error, rel=0.02)


class TestResuming:
    def test_cancelled_and_resumed_is_the_same(self, tmp_path: Path) -> None:
        store = planted(tmp_path / "a.wk", noise=0.05)[0]
        whole = planted(tmp_path / "b.wk", noise=0.05)[0]
        factors.factorise(whole, k=4)
        seen: list[tuple[int, int]] = []

        def progress(done: int, total: int) -> None:
            seen.append((done, total))

        with pytest.raises(Cancelled):
            factors.factorise(
                store, k=4, progress=progress, cancel=lambda: bool(seen) and seen[-1][0] >= 32
            )
        assert factors.names(store) == []
        seen.clear()
        factors.factorise(store, k=4, progress=progress)
        assert seen[0] == (32, 60) and seen[-1] == (60, 60)  # segments are of 16 tiles
        assert kept_bytes(store) == kept_bytes(whole)

    def test_a_killed_process_is_resumed(self, tmp_path: Path) -> None:
        store = planted(tmp_path / "a.wk", noise=0.05)[0]
        whole = planted(tmp_path / "b.wk", noise=0.05)[0]
        code = (
            "import os, sys, widgetkit.store\n"
            "from widgetkit import factors\n"
            "store = widgetkit.store.open(sys.argv[1])\n"
            "stop = lambda done, total: done >= 48 and os._exit(9)\n"
            "factors.factorise(store, k=4, progress=stop)\n"
        )
        environment = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2")}
        killed = subprocess.run(
            [sys.executable, "-c", code, str(store.path)], cwd=REPO, env=environment
        )
        assert killed.returncode == 9
        seen: list[int] = []
        factors.factorise(store, k=4, progress=lambda done, _: seen.append(done))
        factors.factorise(whole, k=4)
        assert seen[0] == 48
        assert kept_bytes(store) == kept_bytes(whole) and store.verify().ok


class TestAssign:
    def test_given_prototypes(self, store: ActivationStore) -> None:
        made = factors.factorise(store, k=4)
        found = factors.assign(store, made.prototypes, name="again")
        assert_array_equal(found.weights(), made.weights())
        assert_array_equal(found.winners(), made.winners())
        assert found.relative_error == pytest.approx(made.relative_error)
        assert found.method == "assigned" and found.k == 4
        same = factors.assign(
            store, made.prototypes, name="again", progress=lambda *_: pytest.fail("again")
        )
        assert same.name == "again"

    def test_a_factor_left_out_and_one_that_is_zero(self, store: ActivationStore) -> None:
        H = factors.factorise(store, k=4).prototypes.copy()
        H[2] = 0
        found = factors.assign(store, H)
        assert not found.weights()[:, 2].any() and not (found.winners() == 2).any()

    def test_an_offset_is_taken_off_first(self, store: ActivationStore) -> None:
        made = factors.factorise(store, k=4)
        offset = np.full(32, -0.5, np.float32)
        found = factors.assign(store, made.prototypes, offset=offset)
        A = store.activations(LAYER, [1]).astype(np.float64)[0] + 0.5
        wanted = analysis.nnls(A.reshape(32, -1).T, made.prototypes).T.reshape(4, 5, 5)
        assert_allclose(found.weights([1])[0], wanted, rtol=2e-3, atol=2e-3)

    @pytest.mark.parametrize(
        ("bad", "error"),
        [
            (np.ones((3, 5)), ChannelMismatch),
            (np.ones(32), ChannelMismatch),
            (np.ones((0, 32)), ChannelMismatch),
            (np.full((2, 32), np.nan), InvalidInput),
            (np.full((2, 32), 1e-12), InvalidInput),
        ],
    )
    def test_prototypes_that_do_not_fit(
        self, store: ActivationStore, bad: np.ndarray, error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            factors.assign(store, bad)
        assert factors.names(store) == []


class TestBadInput:
    def test_fewer_positions_than_factors(self, tmp_path: Path) -> None:
        store = planted(tmp_path / "a.wk", n=1, grid=(1, 2))[0]
        with pytest.raises(TooFew, match=r"3 factors need at least 3 positions.* has 2"):
            factors.factorise(store, k=3)

    @pytest.mark.parametrize("method", ["nmf", "sparse_nmf", "convex_nmf", "pca"])
    def test_more_factors_than_the_rank(self, tmp_path: Path, method: str) -> None:
        store = planted(tmp_path / "a.wk", k=3)[0]
        maps = store.activations(LAYER).astype(np.float32)
        maps[:, 3:] = 0  # rank 3 whatever the rounding
        with pytest.warns(UserWarning, match="29 of 32 channels"):
            factors.factorise(write(tmp_path / "c.wk", maps), k=3, method=method)
        with pytest.raises(InvalidInput, match="rank 3"):
            factors.factorise(write(tmp_path / "b.wk", maps), k=4, method=method)

    def test_nothing_but_zero(self, tmp_path: Path) -> None:
        store = write(tmp_path / "a.wk", np.zeros((4, 8, 2, 2)))
        with pytest.raises(InvalidInput, match="rank 0"):
            factors.factorise(store, k=1)
        with (
            pytest.warns(UserWarning, match="8 of 8 channels"),
            pytest.raises(TooFew, match="different values"),
        ):
            factors.factorise(store, k=2, method="kmeans")
        with (
            pytest.warns(UserWarning, match="8 of 8 channels"),
            pytest.raises(TooFew, match="not all zero"),
        ):
            factors.factorise(store, k=2, method="spherical_kmeans")

    def test_dead_channels_are_said_and_do_no_harm(self, tmp_path: Path) -> None:
        store, H, _ = planted(tmp_path / "a.wk", noise=0.05)
        maps = np.concatenate([store.activations(LAYER), np.zeros((60, 5, 5, 5))], axis=1)
        with pytest.warns(UserWarning, match="5 of 37 channels"):
            found = factors.factorise(write(tmp_path / "b.wk", maps), k=4)
        assert not found.prototypes[:, 32:].any()
        assert analysis.match(H, found.prototypes[:, :32])[1].min() > 0.99

    def test_a_layer_without_maps(self, tmp_path: Path) -> None:
        store = write(tmp_path / "a.wk", np.ones((4, 8)))
        with pytest.raises(NeedsActivations, match="one vector a tile"):
            factors.factorise(store)
        with pytest.raises(NeedsActivations):
            factors.assign(store, np.ones((2, 8)))

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"k": 0}, InvalidInput),
            ({"k": 255}, InvalidInput),
            ({"k": True}, InvalidInput),
            ({"k": 2.5}, InvalidInput),
            ({"sample": 0}, InvalidInput),
            ({"seed": -1}, InvalidInput),
            ({"method": "nfm"}, UnknownName),
            ({"normalise": "stain"}, UnknownName),
            ({"normalise": "slide", "group": None}, InvalidInput),
            ({"group": "scanner"}, UnknownName),
            ({"layer": "features.5"}, UnknownLayer),
            ({"nonnegative": "abs"}, UnknownName),
            ({"background": "auto"}, InvalidInput),
            ({"background": -1.0}, InvalidInput),
            ({"background": "quantile:1.5"}, InvalidInput),
        ],
    )
    def test_arguments(
        self, store: ActivationStore, options: dict[str, object], error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            factors.factorise(store, **options)  # type: ignore[arg-type]
        assert factors.names(store) == []


class TestNegative:
    @pytest.fixture
    def signed(self, tmp_path: Path) -> ActivationStore:
        store = planted(tmp_path / "a.wk", noise=0.05)[0]
        return write(tmp_path / "b.wk", store.activations(LAYER).astype(np.float32) - 0.3)

    def test_refused_by_default_with_the_share_and_the_choices(
        self, signed: ActivationStore
    ) -> None:
        with pytest.raises(InvalidInput, match=r"\d+\.\d+%.*shift.*clip.*split.*kmeans"):
            factors.factorise(signed, k=4)
        assert factors.names(signed) == []

    @pytest.mark.parametrize(
        ("rule", "said"), [("shift", "subtracted"), ("clip", "set to 0"), ("split", "was split")]
    )
    def test_what_was_done_is_said(self, signed: ActivationStore, rule: str, said: str) -> None:
        found = factors.factorise(signed, k=4, nonnegative=rule)  # type: ignore[arg-type]
        assert said in found.negative and "%" in found.negative
        assert said in factors.load(signed, found.name).describe()
        assert found.prototypes.shape == (4, 32) and found.weights().min() >= 0
        A = signed.activations(LAYER).astype(np.float32)
        wanted = np.maximum(A, 0) if rule == "clip" else A
        error = np.linalg.norm(found.reconstruct(None) - wanted) / np.linalg.norm(wanted)
        assert error < 0.35

    @pytest.mark.parametrize("method", ["convex_nmf", "kmeans", "spherical_kmeans", "pca"])
    def test_methods_that_take_them(self, signed: ActivationStore, method: str) -> None:
        found = factors.factorise(signed, k=4, method=method)
        assert "takes them as they are" in found.negative

    def test_an_offset_that_was_given_is_not_passed_over(self, signed: ActivationStore) -> None:
        learned = factors.factorise(signed, k=4, nonnegative="shift")
        moved = factors.assign(signed, learned.prototypes, offset=learned.offset)
        assert "was subtracted" in moved.negative
        plain = factors.assign(signed, learned.prototypes)
        assert "taken as they are" in plain.negative and "subtracted" not in plain.negative

    def test_without_negative_values_nothing_is_done(self, store: ActivationStore) -> None:
        one = factors.factorise(store, k=4)
        two = factors.factorise(store, k=4, nonnegative="shift")
        assert one.name == two.name and "nothing was changed" in one.negative
