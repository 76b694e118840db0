"""Cluster, selection and channel maps: textbook answers, slow references, 2-D and 3-D."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import nnls as scipy_nnls

from widgetkit.errors import BadActivations, ChannelMismatch, InvalidInput, NeedsActivations
from widgetkit.explain import Batch, ChannelTarget, ClusterTarget, SelectionTarget, compute
from widgetkit.explain.channel import ChannelMap
from widgetkit.explain.cluster import ClusterMap
from widgetkit.explain.selection import SelectionMap
from widgetkit.testing.maps import SmallLayer, example_batch

GRIDS = [(3, 4), (2, 3, 2), (1, 1)]


def batch_of(activations: np.ndarray) -> Batch:
    layer = SmallLayer("layer", activations.shape[1], activations.shape[2:])
    return Batch(np.arange(len(activations)), activations=activations, layer=layer)


def positions(activations: np.ndarray) -> list[tuple[tuple[int, ...], np.ndarray]]:
    """Every (tile, *place) and the vector of channels there."""
    m, _, *grid = activations.shape
    return [
        ((tile, *place), activations[(tile, slice(None), *place)].astype(np.float64))
        for tile in range(m)
        for place in np.ndindex(*grid)
    ]


# -- factors -----------------------------------------------------------------------------
@pytest.mark.parametrize("grid", GRIDS)
def test_factor_weights_equal_scipys_at_every_position(grid: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    factors = generator.gamma(0.5, size=(4, 7)).astype(np.float32)
    activations = generator.gamma(0.5, size=(3, 7, *grid)).astype(np.float32)
    maps = [
        ClusterMap().compute(batch_of(activations), ClusterTarget.of(factors, i)) for i in range(4)
    ]
    for place, a in positions(activations):
        weights, _ = scipy_nnls(factors.T.astype(np.float64), a)
        assert_allclose([m[place] for m in maps], weights, atol=1e-4)


def test_a_mixture_of_known_factors_is_taken_apart() -> None:
    generator = np.random.default_rng(1)
    factors = generator.random((3, 10)).astype(np.float32)
    truth = generator.gamma(0.6, size=(2, 3, 4, 5)).astype(np.float32)
    truth[:, 0, :2] = 0
    batch = batch_of(np.einsum("mkhw,kc->mchw", truth, factors))
    for index in range(3):
        found = ClusterMap().compute(batch, ClusterTarget.of(factors, index))
        assert_allclose(found, truth[:, index], atol=1e-3)


def test_one_factor_is_a_projection() -> None:
    generator = np.random.default_rng(2)
    factor = generator.random(5).astype(np.float32)
    activations = generator.normal(size=(2, 5, 3, 3)).astype(np.float32)
    expected = np.maximum(np.einsum("mchw,c->mhw", activations, factor) / (factor @ factor), 0)
    target = ClusterTarget.of(factor[None], 0)
    assert_allclose(ClusterMap().compute(batch_of(activations), target), expected, atol=1e-5)
    # with the origin as the only competitor the k-means map is the same thing
    target = ClusterTarget.of(factor[None], 0, kind="kmeans")
    assert_allclose(ClusterMap().compute(batch_of(activations), target), expected, atol=1e-5)


def test_the_background_of_factors_is_the_shift() -> None:
    generator = np.random.default_rng(3)
    factors, shift = generator.random((2, 6)), generator.normal(size=6)
    raised = np.einsum("mkhw,kc->mchw", generator.random((2, 2, 3, 3)), factors)
    shifted = raised + shift[None, :, None, None]
    plain = ClusterMap().compute(batch_of(raised), ClusterTarget.of(factors, 1))
    target = ClusterTarget.of(factors, 1, background=shift)
    assert_allclose(ClusterMap().compute(batch_of(shifted), target), plain, atol=1e-3)


# -- centres -----------------------------------------------------------------------------
def contrast_reference(a: np.ndarray, centres: np.ndarray, index: int) -> float:
    own = centres[index].astype(np.float64)
    ways = []
    for j, other in enumerate(centres.astype(np.float64)):
        if j != index and not np.array_equal(other, own):
            step = own - other
            ways.append(np.dot(a - other, step) / np.dot(step, step))
    return max(min(ways), 0.0)


@pytest.mark.parametrize("grid", GRIDS)
def test_centre_maps_equal_the_formula_at_every_position(grid: tuple[int, ...]) -> None:
    generator = np.random.default_rng(4)
    centres = generator.normal(size=(5, 6)).astype(np.float32)
    activations = generator.normal(size=(2, 6, *grid)).astype(np.float32)
    for index in (0, 3):
        target = ClusterTarget.of(centres, index, kind="kmeans")
        maps = ClusterMap().compute(batch_of(activations), target)
        for place, a in positions(activations):
            assert_allclose(maps[place], contrast_reference(a, centres, index), atol=1e-5)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(2, 6))
def test_above_a_half_exactly_where_the_centre_is_nearest(seed: int, k: int) -> None:
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(k, 4)).astype(np.float32)
    activations = generator.normal(size=(2, 4, 3, 3)).astype(np.float32)
    above = np.stack(
        [
            ClusterMap().compute(batch_of(activations), ClusterTarget.of(centres, i, kind="kmeans"))
            > 0.5
            for i in range(k)
        ]
    )
    distance = ((activations[:, None] - centres[None, :, :, None, None]) ** 2).sum(axis=2)
    assert_array_equal(above.argmax(axis=0), distance.argmin(axis=1))
    assert (above.sum(axis=0) == 1).all()


def test_one_at_its_own_centre_and_zero_at_the_others() -> None:
    centres = np.random.default_rng(5).normal(size=(4, 6)).astype(np.float32)
    batch = batch_of(
        centres.T[None, :, :, None]
    )  # the four centres as the four positions of a tile
    for index in range(4):
        maps = ClusterMap().compute(batch, ClusterTarget.of(centres, index, kind="kmeans"))
        assert_allclose(maps[0, :, 0], np.eye(4)[index], atol=1e-5)


def test_a_copy_of_a_centre_does_not_compete() -> None:
    centres = np.random.default_rng(6).normal(size=(3, 4)).astype(np.float32)
    twice = np.concatenate([centres, centres[:1]])
    batch = batch_of(np.random.default_rng(7).normal(size=(2, 4, 3, 3)).astype(np.float32))
    for index in (0, 1):
        one, other = (
            ClusterMap().compute(batch, ClusterTarget.of(c, index, kind="kmeans"))
            for c in (centres, twice)
        )
        assert_allclose(one, other, atol=1e-6)


def test_a_centre_that_is_its_own_background_shows_nothing() -> None:
    centre = np.ones((1, 4), np.float32)
    target = ClusterTarget.of(centre, 0, kind="kmeans", background=centre[0])
    batch = batch_of(np.random.default_rng(0).random((1, 4, 2, 2)))
    assert_array_equal(ClusterMap().compute(batch, target), 0)


# -- selection ---------------------------------------------------------------------------
@pytest.mark.parametrize("grid", GRIDS)
def test_selection_map_equals_the_textbook(grid: tuple[int, ...]) -> None:
    """(mean inside - mean of the rest) / standard deviation, dotted with each position."""
    generator = np.random.default_rng(0)
    activations = generator.random((12, 5, *grid)).astype(np.float32)
    embeddings = activations.reshape(12, 5, -1).mean(axis=2)
    chosen = np.arange(12) < 4
    inside, rest = embeddings[chosen].mean(axis=0), embeddings[~chosen].mean(axis=0)
    spread = embeddings.std(axis=0)
    maps = SelectionMap().compute(batch_of(activations), SelectionTarget(inside, rest, spread))
    for place, a in positions(activations):
        expected = sum((inside[c] - rest[c]) / spread[c] * a[c] for c in range(5))
        assert_allclose(maps[place], expected, rtol=1e-3, atol=1e-4)
    # linear: the mean of a map is the contrast times the tile's embedding
    contrast = (inside - rest) / spread
    assert_allclose(maps.reshape(12, -1).mean(axis=1), embeddings @ contrast, rtol=1e-3, atol=1e-4)


def test_exchanging_selection_and_rest_changes_the_sign() -> None:
    batch = example_batch()
    a, b, std = np.random.default_rng(0).random((3, 6))
    forth = SelectionMap().compute(batch, SelectionTarget(a, b, std))
    back = SelectionMap().compute(batch, SelectionTarget(b, a, std))
    assert_allclose(forth, -back, atol=1e-6)


def test_a_channel_that_never_varies_has_no_say() -> None:
    batch = example_batch()
    a, b = np.random.default_rng(0).random((2, 6))
    std = np.array([1, 0, 1, 1, 1, 1.0])
    b[1] = a[1]
    changed = batch.activations.copy()
    changed[:, 1] = 1e4
    target = SelectionTarget(a, b, std)
    maps = SelectionMap().compute(batch, target)
    assert np.isfinite(maps).all()
    assert_allclose(
        SelectionMap().compute(replace(batch, activations=changed), target), maps, atol=1e-5
    )


def test_a_selection_of_nothing_or_of_everything_differs_in_nothing() -> None:
    batch, some, none = example_batch(), np.ones(6), np.full(6, np.nan)
    for inside, rest in ((none, some), (some, none)):
        maps = compute("selection", batch, SelectionTarget(inside, rest, some))
        assert_array_equal(maps, 0)


# -- channel -----------------------------------------------------------------------------
@settings(deadline=None, max_examples=25)
@given(
    hnp.arrays(
        np.float16,
        st.one_of(hnp.array_shapes(min_dims=4, max_dims=5, max_side=4)),
        elements=st.floats(-1e3, 1e3, width=16),
    ),
    st.data(),
)
def test_a_channel_is_the_stored_channel(activations: np.ndarray, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, activations.shape[1] - 1))
    maps = ChannelMap().compute(batch_of(activations), ChannelTarget(index))
    assert_array_equal(maps, activations[:, index].astype(np.float32))
    assert maps.dtype == np.float32 and maps.flags.owndata


# -- what goes wrong ---------------------------------------------------------------------
def test_a_clustering_of_another_layer_is_refused() -> None:
    with pytest.raises(ChannelMismatch, match="made on another layer"):
        ClusterMap().compute(example_batch(), ClusterTarget.of(np.ones((3, 9)), 0))
    with pytest.raises(ChannelMismatch, match="mean_in"):
        SelectionMap().compute(example_batch(), SelectionTarget(np.ones(9), np.ones(9), np.ones(9)))


def test_wrong_indices_and_kinds_are_named() -> None:
    batch = example_batch()
    with pytest.raises(InvalidInput, match="Channel 6"):
        ChannelMap().compute(batch, ChannelTarget(6))
    with pytest.raises(InvalidInput, match="Channel -1"):
        ChannelMap().compute(batch, ChannelTarget(-1))
    with pytest.raises(InvalidInput, match="Cluster 3"):
        ClusterTarget.of(np.ones((3, 6)), 3)
    with pytest.raises(InvalidInput, match="Cluster 3"):
        ClusterMap().compute(batch, ClusterTarget(np.ones(6), np.ones((3, 6)), 3))
    with pytest.raises(InvalidInput, match="'gmm'"):
        ClusterMap().compute(batch, ClusterTarget.of(np.eye(6), 0, kind="gmm"))  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="NaN"):
        ClusterMap().compute(batch, ClusterTarget.of(np.full((2, 6), np.nan), 0))


def test_nan_activations_are_named_by_tile() -> None:
    batch = example_batch()
    bad = batch.activations.copy()
    bad[1, 0, 0, 0] = np.nan
    with pytest.raises(BadActivations, match="in tiles 17:"):
        compute(
            "channel", replace(batch, activations=bad, rows=np.array([4, 17, 5])), ChannelTarget(1)
        )


def test_features_without_maps_are_refused_with_the_cure() -> None:
    features = Batch(
        np.arange(3),
        activations=np.ones((3, 6)),
        layer=SmallLayer("features", 6, (), has_maps=False),
    )
    for method, target in (
        ("cluster", ClusterTarget.of(np.eye(6), 0)),
        ("selection", SelectionTarget(*np.ones((3, 6)))),
        ("channel", ChannelTarget(0)),
    ):
        with pytest.raises(NeedsActivations, match=r"wk\.layers\(model\)"):
            compute(method, features, target)


def test_activations_of_another_shape_are_refused() -> None:
    batch = example_batch()
    with pytest.raises(InvalidInput, match=r"should be \(3, 6, 4, 5\)"):
        compute("channel", replace(batch, activations=batch.activations[:2]), ChannelTarget(0))
