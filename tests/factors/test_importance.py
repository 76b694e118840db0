"""Removal in closed form and by the obvious loop; Sobol indices against analysis on paper."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tests.extraction.models import RoundLayer, SmallViT, seeded
from tests.factors.networks import CLASSES, Net, linear_head, store_of
from widgetkit.errors import (
    BadActivations,
    Cancelled,
    ChannelMismatch,
    InvalidInput,
    NeedsModel,
    StoreMismatch,
    UnknownName,
)
from widgetkit.extraction import ModelContext
from widgetkit.factors import Factors, decompose, factorise
from widgetkit.factors import sobol as sensitivity
from widgetkit.factors.curves import concept_curves, path_masks, ranked
from widgetkit.factors.decompose import parts_of
from widgetkit.factors.importance import (
    concept_importance,
    masked_scores,
    removal,
    sobol_indices,
)
from widgetkit.factors.means import mean_by_group
from widgetkit.factors.parts import Parts
from widgetkit.factors.rest import Rest, class_index, class_scores
from widgetkit.store import ActivationStore

rng = np.random.default_rng(0)


def parts(m: int = 3, k: int = 4, channels: int = 7, grid: tuple[int, ...] = (3, 2)) -> Parts:
    draw = np.random.default_rng(m + 10 * k)
    weights = draw.gamma(0.7, 1.0, (m, k, *grid))
    prototypes = draw.random((k, channels))
    noise = draw.normal(0, 0.1, (m, channels, *grid))
    return Parts(np.einsum("mk...,kc->mc...", weights, prototypes) + noise, weights, prototypes)


def head_of(channels: int = 7, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(5)
    return draw.normal(size=(classes, channels)), draw.normal(size=classes)


# -- parts ---------------------------------------------------------------------------------
@pytest.mark.parametrize("grid", [(5,), (3, 2), (2, 3, 2)])
def test_masks_do_what_the_loop_does(grid: tuple[int, ...]) -> None:
    given_parts = replace(
        parts(grid=grid),
        scale=rng.uniform(0.5, 2, (3, 7)).astype(np.float32),
        offset=rng.normal(size=7).astype(np.float32),
    )
    a, w, h = given_parts.activations, given_parts.weights, given_parts.prototypes
    tiles, masks = np.array([2, 0, 2]), rng.random((3, 4))
    for residual in ("keep", "drop"):
        expected = np.empty((3, *a.shape[1:]))
        for i, tile in enumerate(tiles):
            for position in np.ndindex(*grid):
                here = (tile, slice(None), *position)
                made = np.zeros(7)
                for j in range(4):
                    strength = masks[i, j] if residual == "drop" else -(1 - masks[i, j])
                    made += strength * w[(tile, j, *position)] * h[j] * given_parts.scale[tile]
                start = given_parts.offset[tile] if residual == "drop" else a[here]
                expected[(i, slice(None), *position)] = start + made
        assert_allclose(given_parts.under(tiles, masks, residual), expected, atol=1e-5)  # type: ignore[arg-type]
    assert_array_equal(given_parts.under(tiles, np.ones((3, 4))), a[tiles])


def test_what_does_not_belong_together_is_refused() -> None:
    good = parts()
    with pytest.raises(ChannelMismatch, match="do not belong together"):
        Parts(good.activations, good.weights, good.prototypes[:, :3])
    with pytest.raises(ChannelMismatch, match="do not belong together"):
        Parts(good.activations, good.weights[:, :, :2], good.prototypes)
    with pytest.raises(ChannelMismatch, match="scale has shape"):
        replace(good, scale=np.ones(3))
    for name in ("activations", "weights", "prototypes"):
        broken = getattr(good, name).copy()
        broken.flat[0] = np.nan
        with pytest.raises(BadActivations, match=f"NaN or infinity in the {name}"):
            replace(good, **{name: broken})


# -- removal -------------------------------------------------------------------------------
@pytest.mark.parametrize("grid", [(3, 2), (2, 3, 2)])
@pytest.mark.parametrize("residual", ["keep", "drop"])
def test_removal_on_a_linear_head_is_the_closed_form(grid: tuple[int, ...], residual: str) -> None:
    """drop_j = w_c . mean over positions (W_j) H_j, whatever the residual."""
    given_parts, (weight, bias) = parts(grid=grid), head_of()
    pooled = given_parts.weights.mean(axis=tuple(range(2, 2 + len(grid))), dtype=np.float64)
    for index in range(3):
        drops = removal(linear_head(weight, bias), given_parts, index, residual=residual)  # type: ignore[arg-type]
        expected = pooled * (given_parts.prototypes @ weight[index])
        assert_allclose(drops[..., 0], expected, atol=1e-6)


def test_removal_is_the_difference_of_two_runs() -> None:
    """A bent head, one run at a time; the probability by softmax."""
    given_parts, (weight, bias) = parts(), head_of()

    def head(activations: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return np.square(activations).mean(axis=(2, 3), dtype=np.float64) @ weight.T + bias

    drops = removal(head, given_parts, 1)
    for tile in range(3):
        whole = head(given_parts.activations[[tile]], np.array([tile]))[0]
        for j in range(4):
            part = np.einsum("hw,c->chw", given_parts.weights[tile, j], given_parts.prototypes[j])
            left = head(given_parts.activations[[tile]] - part[None], np.array([tile]))[0]
            assert_allclose(drops[tile, j, 0], whole[1] - left[1], atol=1e-5)
            both = [np.exp(v[1]) / np.exp(v).sum() for v in (whole, left)]
            assert_allclose(drops[tile, j, 1], both[0] - both[1], atol=1e-6)


def test_a_factor_that_is_zero_costs_nothing_and_drops_nothing() -> None:
    given_parts = parts()
    weights = given_parts.weights.copy()
    weights[:, 2] = 0
    weights[1] = 0
    seen: list[int] = []
    head = linear_head(*head_of())

    def counting(activations: np.ndarray, rows: np.ndarray) -> np.ndarray:
        seen.extend(rows.tolist())
        return head(activations, rows)

    drops = removal(counting, replace(given_parts, weights=weights), 0)
    assert (drops[:, 2] == 0).all() and (drops[1] == 0).all()
    assert [seen.count(tile) for tile in range(3)] == [4, 1, 4]  # of 5: the empty one is as it is
    indices = sobol_indices(counting, replace(given_parts, weights=weights), 0, designs=64)
    assert np.isnan(indices[1]).all() and (indices[[0, 2], 2] == 0).all()


@settings(deadline=None, max_examples=25)
@given(m=st.integers(1, 5), k=st.integers(1, 6), limit=st.integers(1, 2000))
def test_how_much_fits_at_once_changes_nothing(m: int, k: int, limit: int) -> None:
    given_parts, head = parts(m, k), linear_head(*head_of())
    expected = removal(head, given_parts, 1)
    before = decompose._BYTES
    try:
        decompose._BYTES = limit
        assert_allclose(removal(head, given_parts, 1), expected, atol=1e-6)
    finally:
        decompose._BYTES = before


def test_each_tile_may_have_its_own_masks() -> None:
    given_parts, head = parts(), linear_head(*head_of())
    masks = rng.random((3, 5, 4))
    together = masked_scores(head, given_parts, masks, 0)
    for tile in range(3):
        alone = masked_scores(head, given_parts.take(np.array([tile])), masks[tile], 0)
        assert_allclose(together[tile], alone[0], atol=1e-6)
    with pytest.raises(InvalidInput, match="3 tiles and 4 factors"):
        masked_scores(head, given_parts, np.ones((2, 5)), 0)
    with pytest.raises(InvalidInput, match="3 tiles and 4 factors"):
        masked_scores(head, given_parts, np.ones((2, 5, 4)), 0)


def test_logits_that_are_no_numbers_name_their_tiles() -> None:
    def overflowing(activations: np.ndarray, rows: np.ndarray) -> np.ndarray:
        logits = np.zeros((len(rows), 3))
        logits[rows == 41] = np.inf
        return logits

    with pytest.raises(BadActivations, match="for tiles 41"):
        removal(overflowing, parts(), 0, rows=np.array([40, 41, 42]))
    with pytest.raises(InvalidInput, match=r"needs \(m, n_classes\)"):
        removal(lambda a, r: np.zeros(len(r)), parts(), 0)


def test_scores_of_large_logits_and_of_a_single_output() -> None:
    scores = class_scores(np.array([[1000.0, -1000.0], [0.0, 0.0]]), 0)
    assert_allclose(scores, [[1000, 1], [0, 0.5]])
    single = class_scores(np.array([[-800.0], [0.0], [800.0]]), 0)
    assert_allclose(single[:, 1], [0, 0.5, 1], atol=1e-12)


# -- Sobol indices -------------------------------------------------------------------------
def test_total_indices_of_a_linear_function_are_its_squares() -> None:
    slopes = np.array([3.0, -2.0, 1.0, 0.0])
    masks = sensitivity.designs(4, 2048, seed=0)
    found = sensitivity.total_indices(masks @ slopes + 7, 4)
    assert_allclose(found, slopes**2 / np.square(slopes).sum(), atol=2e-3)


def test_total_indices_of_ishigami_s_function() -> None:
    """Interactions are counted with every factor that takes part (Ishigami & Homma 1990)."""
    a, b = 7.0, 0.1
    x = (2 * sensitivity.designs(3, 8192, seed=1) - 1) * np.pi
    f = np.sin(x[:, 0]) + a * np.sin(x[:, 1]) ** 2 + b * x[:, 2] ** 4 * np.sin(x[:, 0])
    variance = a**2 / 8 + b * np.pi**4 / 5 + b**2 * np.pi**8 / 18 + 0.5
    third = b**2 * np.pi**8 * (1 / 18 - 1 / 50)
    second = a**2 / 8
    expected = np.array([variance - second, second, third]) / variance
    assert_allclose(sensitivity.total_indices(f, 3), expected, atol=5e-3)


def test_masks_are_uniform_independent_and_swapped_one_at_a_time() -> None:
    count, k = 256, 3
    masks = sensitivity.designs(k, count, seed=3)
    assert masks.shape == (count * (k + 2), k) and masks.min() >= 0 and masks.max() < 1
    a, b, mixed = masks[:count], masks[count : 2 * count], masks[2 * count :].reshape(k, count, k)
    both = np.concatenate([a, b], axis=1)
    for column in both.T:  # a balanced sequence has exactly one point in each of 256 strips
        assert_array_equal(np.sort((column * count).astype(int)), np.arange(count))
    assert np.abs(np.corrcoef(both.T) - np.eye(2 * k)).max() < 0.1
    for j in range(k):
        assert_array_equal(mixed[j, :, j], b[:, j])
        assert_array_equal(np.delete(mixed[j], j, 1), np.delete(a, j, 1))
    with pytest.raises(InvalidInput, match="power of two"):
        sensitivity.designs(3, 48, seed=0)


@pytest.mark.parametrize("residual", ["keep", "drop"])
def test_indices_on_a_linear_head_are_the_squares_of_the_drops(residual: str) -> None:
    given_parts, head = parts(), linear_head(*head_of())
    drops = removal(head, given_parts, 2, residual=residual)[..., 0]  # type: ignore[arg-type]
    found = sobol_indices(head, given_parts, 2, designs=1024, residual=residual)  # type: ignore[arg-type]
    expected = drops**2 / np.square(drops).sum(axis=1, keepdims=True)
    assert_allclose(found, expected, atol=1e-2)


def test_a_flat_function_has_no_indices() -> None:
    masks = sensitivity.designs(3, 16, seed=0)
    assert np.isnan(sensitivity.total_indices(np.full(len(masks), 4.2), 3)).all()
    assert np.isnan(sensitivity.total_indices(np.zeros(len(masks)), 3)).all()


# -- of a store ----------------------------------------------------------------------------
CASES = {
    "nmf": (False, {}),
    "scaled by slide": (False, {"normalise": "slide"}),
    "shifted": (True, {"nonnegative": "shift"}),
    "split": (True, {"nonnegative": "split"}),
    "clipped": (True, {"nonnegative": "clip"}),
    "shifted and scaled": (True, {"nonnegative": "shift", "normalise": "slide"}),
    "k-means": (False, {"method": "kmeans"}),
    "spherical": (True, {"method": "spherical_kmeans"}),
    "pca": (True, {"method": "pca", "normalise": "slide"}),
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Net, ActivationStore]]:
    folder, made = tmp_path_factory.mktemp("importance"), {}
    for name, net in {
        "linear": Net(),
        "signed": Net(signed=True),
        "bent": Net(linear=False),
    }.items():
        made[name] = (net, store_of(net, folder / f"{name}.wk"))
    return made


@pytest.fixture(scope="module")
def bent(
    stores: dict[str, tuple[Net, ActivationStore]],
) -> tuple[ModelContext, ActivationStore, Factors]:
    net, store = stores["bent"]
    return ModelContext.for_store(net, store), store, factorise(store, k=4)


@pytest.mark.parametrize("case", CASES)
def test_parts_are_those_of_the_factors(
    stores: dict[str, tuple[Net, ActivationStore]], case: str
) -> None:
    """Whatever was done before the factorisation: undone as the factors themselves undo it."""
    signed, options = CASES[case]
    _, store = stores["signed" if signed else "linear"]
    factors = factorise(store, k=3, **options)
    rows = np.array([0, 7, 20])
    found = parts_of(store, factors, rows)
    size = np.abs(found.activations).max()
    assert_allclose(found.reconstruction(), factors.reconstruct(rows), atol=1e-5 * size)
    for j in range(3):
        alone = found.made(np.arange(3), np.broadcast_to(np.eye(3)[j], (3, 3)))
        assert_allclose(alone, factors.contribution(rows, j), atol=1e-5 * size)
        left = found.under(np.arange(3), np.broadcast_to(1 - np.eye(3)[j], (3, 3)), "drop")
        assert_allclose(left, factors.reconstruct(rows, without=j), atol=1e-5 * size)


@pytest.mark.parametrize("case", CASES)
def test_a_real_linear_head_gives_the_closed_form(
    stores: dict[str, tuple[Net, ActivationStore]], case: str
) -> None:
    signed, options = CASES[case]
    net, store = stores["signed" if signed else "linear"]
    factors = factorise(store, k=3, **options)
    table = concept_importance(
        ModelContext.for_store(net, store), store, factors, target_class="high grade", sobol=False
    )
    weight = net.fc.weight.detach().numpy()[2]
    expected = [
        float((factors.contribution(None, j).mean(axis=(2, 3)) @ weight).mean()) for j in range(3)
    ]
    assert_allclose(table["drop"], expected, atol=1e-5 * max(1, np.abs(expected).max()))
    assert table.attrs["target"] == 2 and table.attrs["class_name"] == "high grade"
    assert table["sobol"].isna().all()


def test_the_table_of_a_bent_rest_against_the_loop(
    bent: tuple[ModelContext, ActivationStore, Factors],
) -> None:
    context, store, factors = bent
    table = concept_importance(context, store, factors, target_class=1, designs=16)
    a = store.activations("features").astype(np.float32)
    whole = context.head_from_layer(a, "features")
    for j in range(factors.k):
        left = context.head_from_layer(a - factors.contribution(None, j), "features")
        assert_allclose(table["drop"][j], (whole - left)[:, 1].mean(), atol=1e-5)
        p = [torch.softmax(torch.from_numpy(x), 1)[:, 1].numpy() for x in (whole, left)]
        assert_allclose(table["drop_probability"][j], (p[0] - p[1]).mean(), atol=1e-6)
    inside = table.dropna()
    assert (inside["low"] <= inside["drop"]).all() and (inside["drop"] <= inside["high"]).all()
    assert (inside["sobol_low"] <= inside["sobol"]).all()
    assert table.attrs["tiles"] == 24 and table.attrs["groups"] == 4
    assert "Only 4 slides" in table.attrs["note"]


def test_the_same_seed_gives_the_same_table_and_another_another(
    bent: tuple[ModelContext, ActivationStore, Factors],
) -> None:
    context, store, factors = bent
    one, same, other = (
        concept_importance(context, store, factors, target_class=0, n=10, designs=8, seed=s)
        for s in (3, 3, 4)
    )
    pd.testing.assert_frame_equal(one, same, check_exact=True)
    assert not np.allclose(one["drop"], other["drop"])


def test_rows_may_be_chosen_in_any_form(
    bent: tuple[ModelContext, ActivationStore, Factors],
) -> None:
    context, store, factors = bent
    options = {"target_class": 0, "sobol": False}
    mask = np.zeros(24, bool)
    mask[[3, 9, 4]] = True
    by_mask = concept_importance(context, store, factors, rows=mask, **options)
    by_number = concept_importance(context, store, factors, rows=[9, 3, 4, 4], **options)
    assert_array_equal(by_mask["drop"], by_number["drop"])
    assert by_mask.attrs["tiles"] == 3 and by_mask["low"].isna().all()
    assert "no interval" in by_mask.attrs["note"]


def test_a_factor_of_nothing_is_named(
    bent: tuple[ModelContext, ActivationStore, Factors], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Edited prototypes may hold one that no position wants."""
    from widgetkit.factors import assign

    context, store, factors = bent
    prototypes = np.concatenate([factors.prototypes, np.zeros((1, 12), np.float32)])
    more = assign(store, prototypes, layer="features", name="with-nothing")
    table = concept_importance(context, store, more, target_class=0, designs=8)
    last = table.iloc[-1]
    assert (last["drop"], last["sobol"], last["present"]) == (0, 0, 0)
    assert "Factor 4 is zero in all tiles" in table.attrs["note"]


def test_progress_reaches_the_end_and_a_cancelled_run_stops(
    bent: tuple[ModelContext, ActivationStore, Factors], monkeypatch: pytest.MonkeyPatch
) -> None:
    context, store, factors = bent
    monkeypatch.setattr(decompose, "_BYTES", 12 * 36 * 4 * 5)  # five tiles at once
    told: list[tuple[int, int]] = []
    options = {"target_class": 0, "n": 11, "sobol_n": 4, "designs": 4}
    concept_importance(context, store, factors, progress=lambda *a: told.append(a), **options)
    total = 11 * 5 + 4 * 4 * 6
    assert told[0] == (0, total) and told[-1] == (total, total)
    assert told == sorted(told) and len(told) > 10
    calls = iter(range(100))
    with pytest.raises(Cancelled):
        concept_importance(context, store, factors, cancel=lambda: next(calls) == 3, **options)


# -- networks whose rest reads more --------------------------------------------------------
@pytest.mark.parametrize(
    "net, layer", [(RoundLayer(), "bottleneck"), (SmallViT((24, 24)), "blocks.0")]
)
def test_images_are_run_where_the_rest_reads_something_else(
    net: torch.nn.Module, layer: str, tmp_path: Path
) -> None:
    seeded(net, seed=2)
    with torch.no_grad():
        for name, value in net.named_parameters():
            if name in ("tokens", "position"):
                value.normal_(generator=torch.Generator().manual_seed(0))
    store = extract_any(net, tmp_path / "round.wk", layer)
    factors = factorise(store, k=2, method="kmeans")
    context = ModelContext.for_store(net, store)
    table = concept_importance(context, store, factors, target_class=0, sobol=False)
    a = store.activations(layer).astype(np.float32)
    whole = context.head_from_layer(a, layer, images=store.images())
    for j in range(2):
        left = a - factors.contribution(None, j)
        fall = whole - context.head_from_layer(left, layer, images=store.images())
        assert_allclose(table["drop"][j], fall[:, 0].mean(), atol=1e-5)
    assert "also reads something" in table.attrs["note"]
    bare = store.export(tmp_path / "bare.wk", None, images=False)
    with pytest.raises(InvalidInput, match=r"has no images to run it with.*later layer"):
        concept_importance(
            context, bare, factorise(bare, k=2, method="kmeans"), target_class=0, sobol=False
        )


def extract_any(net: torch.nn.Module, out: Path, layer: str) -> ActivationStore:
    from tests.factors.networks import PREPROCESS, pictures
    from widgetkit.extraction import extract
    from widgetkit.tiles import from_array

    return extract(
        net.eval(),
        from_array(pictures(8)),
        [layer],
        out=out,
        preprocess=PREPROCESS,
        progress=False,
    )


def test_without_images_the_rest_runs_alone_where_it_can(
    bent: tuple[ModelContext, ActivationStore, Factors], tmp_path: Path
) -> None:
    context, store, factors = bent
    bare = store.export(tmp_path / "bare.wk", None, images=False)
    own = factorise(bare, k=4)
    options = {"target_class": 1, "sobol": False}
    found = concept_importance(context, bare, own, **options)
    assert_allclose(
        found["drop"], concept_importance(context, store, factors, **options)["drop"], atol=1e-5
    )
    fresh = ModelContext.for_store(context.model, bare)
    with pytest.raises(InvalidInput, match="has seen none"):
        concept_importance(fresh, bare, own, **options)


# -- what is refused -----------------------------------------------------------------------
def test_bad_input_is_named(bent: tuple[ModelContext, ActivationStore, Factors]) -> None:
    context, store, factors = bent

    def importance(**options: object) -> pd.DataFrame:
        return concept_importance(context, store, factors, **{"target_class": 0, **options})  # type: ignore[arg-type]

    with pytest.raises(InvalidInput, match=r"Class 4 is not one of the network's 4.*'low grade'"):
        importance(target_class=4)
    with pytest.raises(InvalidInput, match="Class -1 is not"):
        importance(target_class=-1)
    with pytest.raises(UnknownName, match="Near: 'high grade'"):
        importance(target_class="high grad")
    with pytest.raises(InvalidInput, match=r"target_class is 1\.5"):
        importance(target_class=1.5)
    with pytest.raises(InvalidInput, match="residual is 'half'"):
        importance(residual="half")
    with pytest.raises(InvalidInput, match="sobol_n is 0"):
        importance(sobol_n=0)
    with pytest.raises(InvalidInput, match="designs is 12"):
        importance(designs=12)
    with pytest.raises(InvalidInput, match="n is 0"):
        importance(n=0)
    with pytest.raises(InvalidInput, match="rows is empty"):
        importance(rows=[])
    with pytest.raises(InvalidInput, match="Row 24 is not in the store"):
        importance(rows=[24])
    with pytest.raises(UnknownName, match=r"no column 'slid'.*'slide'"):
        importance(by="slid")
    assert class_index("low grade", 4, CLASSES) == 1
    with pytest.raises(UnknownName, match="no class names"):
        class_index("a", 4)


def test_another_network_or_another_store_is_refused(
    bent: tuple[ModelContext, ActivationStore, Factors],
    stores: dict[str, tuple[Net, ActivationStore]],
) -> None:
    context, store, factors = bent
    other_net, other_store = stores["linear"]
    with pytest.raises(StoreMismatch, match="Load the weights of the extraction"):
        concept_importance(ModelContext(other_net), store, factors, target_class=0)
    with pytest.raises(StoreMismatch, match="were made of store"):
        concept_importance(
            ModelContext.for_store(other_net, other_store), other_store, factors, target_class=0
        )
    with pytest.raises(NeedsModel, match=r"ModelContext\.for_store"):
        concept_importance(context.model, store, factors, target_class=0)
    with pytest.raises(NeedsModel, match="NoneType was given"):
        concept_importance(None, store, factors, target_class=0)  # type: ignore[arg-type]


class Logarithm(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.features(self.stem(x)).mean((2, 3)).sum(1, True).log().expand(-1, 12))


def test_a_network_that_overflows_is_named(tmp_path: Path) -> None:
    """Fine on every real tile, and the logarithm of nothing once the only factor is gone."""
    net = Logarithm()
    store = store_of(net, tmp_path / "log.wk", n=8)
    factors, context = factorise(store, k=1), ModelContext.for_store(net, store)
    with pytest.raises(BadActivations, match="behind layer 'features' gave NaN or infinity as a"):
        concept_importance(context, store, factors, target_class=0, residual="drop")


# -- means ---------------------------------------------------------------------------------
def test_means_weigh_tiles_and_draw_slides() -> None:
    groups = np.repeat(["a", "b", "c", "d"], [1, 5, 3, 3])
    values = rng.normal(size=(12, 2))
    values[4, 1] = np.nan
    found = mean_by_group(values, groups)
    assert_allclose(found.value, np.nanmean(values, axis=0))
    assert found.groups == 4 and found.tiles.tolist() == [12, 11]
    same = mean_by_group(np.ones((12, 1)), groups)
    assert (same.low, same.value, same.high) == (1, 1, 1)
    many = np.repeat(np.arange(10), 8)
    between = mean_by_group((many % 2).astype(float)[:, None], many)
    within = mean_by_group(np.tile([0.0, 1.0], 40)[:, None], many)
    assert between.high - between.low > 0.4 and within.low == within.high == 0.5
    none = mean_by_group(np.full((12, 1), np.nan), groups)
    assert np.isnan([none.value, none.low, none.high]).all() and none.tiles == 0


# -- curves --------------------------------------------------------------------------------
def test_masks_along_an_order() -> None:
    gone, come = path_masks(np.array([2, 0, 1]))
    assert_array_equal(come, [[0, 0, 0], [0, 0, 1], [1, 0, 1], [1, 1, 1]])
    assert_array_equal(gone, 1 - come)


def test_curves_on_a_linear_head_are_running_sums(
    stores: dict[str, tuple[Net, ActivationStore]],
) -> None:
    """And the order of the drops has the least area of deletion of all orders."""
    net, store = stores["linear"]
    factors = factorise(store, k=4)
    context = ModelContext.for_store(net, store)
    table = concept_importance(context, store, factors, target_class=3, sobol=False)

    def curves(order: object) -> object:
        return concept_curves(
            context, store, factors, order, target_class=3, score="logit", random_orders=2
        )

    found = curves(table)
    order = np.argsort(-table["drop"].to_numpy())
    assert_array_equal(found.order, order)
    each = np.stack(
        [
            factors.contribution(None, j).mean(axis=(2, 3)) @ net.fc.weight.detach().numpy()[3]
            for j in order
        ],
        axis=1,
    )
    whole = context.logits(store.images())[:, 3]
    steps = np.concatenate([np.zeros((24, 1)), np.cumsum(each, axis=1)], axis=1)
    size = np.abs(whole).max()
    # stored activations are rounded to float16
    assert_allclose(found.deletion.scores, whole[:, None] - steps, atol=2e-3 * size)
    base = whole - each.sum(axis=1)
    assert_allclose(found.insertion.scores, base[:, None] + steps, atol=2e-3 * size)
    areas = {o: curves(list(o)).deletion.auc.mean() for o in permutations(range(4))}
    assert_allclose(areas[tuple(order)], min(areas.values()))
    gain = found.areas.set_index("curve")["gain"]
    assert (gain >= 0).all()


def test_curves_start_and_end_where_they_must(
    bent: tuple[ModelContext, ActivationStore, Factors],
) -> None:
    context, store, factors = bent
    curves = concept_curves(
        context, store, factors, [3, 1, 0, 2], target_class="benign", residual="drop", n=6
    )
    assert_array_equal(curves.order, [3, 1, 0, 2])
    assert curves.deletion.scores.shape == (6, 5)
    assert_allclose(curves.deletion.scores[:, 0], curves.insertion.scores[:, -1])
    assert_allclose(curves.deletion.scores[:, -1], curves.insertion.scores[:, 0])
    assert_allclose(curves.deletion.scores[:, 0], curves.random_deletion.scores[:, 0])
    assert_allclose(curves.random_insertion.scores[:, -1], curves.insertion.scores[:, -1])
    assert list(curves.areas["curve"]) == ["deletion", "insertion"]


def test_what_is_no_order_is_refused(bent: tuple[ModelContext, ActivationStore, Factors]) -> None:
    context, store, factors = bent
    for wrong in ([0, 1, 2], [0, 1, 2, 2], [1, 2, 3, 4], [0.0, 1.0, 2.0, 3.0], []):
        with pytest.raises(InvalidInput, match="each of 0 to 3 once"):
            concept_curves(context, store, factors, wrong, target_class=0)
    table = pd.DataFrame({"factor": range(4), "drop": [0.1, np.nan, 0.3, 0.2]})
    assert ranked(table, 4).tolist() == [2, 3, 0, 1]
    with pytest.raises(UnknownName, match="no column 'fall'"):
        ranked(table, 4, "fall")
    for option in ({"score": "odds"}, {"random_orders": 0}, {"residual": "x"}):
        with pytest.raises(InvalidInput):
            concept_curves(context, store, factors, range(4), target_class=0, **option)


def test_rest_checks_its_answers(bent: tuple[ModelContext, ActivationStore, Factors]) -> None:
    context, store, _ = bent
    rest = Rest(context, store, "features")
    rows = np.array([3, 3, 0])
    found = rest(store.activations("features", rows), rows)
    assert found.shape == (3, 4) and found.dtype == np.float64
    assert_allclose(found[0], found[1], atol=1e-6)
    assert store.outputs is not None
    assert_allclose(found, store.outputs[rows], atol=3e-3 * np.abs(store.outputs).max())
