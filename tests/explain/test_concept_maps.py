"""Concept maps: closed forms, references, and planted concepts that must be found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tests.explain.nets import ConvNet, textures
from widgetkit import explain
from widgetkit.errors import ChannelMismatch, InvalidInput, NeedsModel, TooFew
from widgetkit.explain import Batch, ConceptTarget, concept_direction, concept_profiles
from widgetkit.explain.concept import ConceptMap, shell_weights
from widgetkit.explain.concept_gradient import ConceptGradient
from widgetkit.explain.concept_plain import ConceptPlain
from widgetkit.explain.concept_profiles import shells
from widgetkit.explain.gradcam import GradCam
from widgetkit.explain.occlusion import Occlusion
from widgetkit.extraction import ModelContext, Preprocess
from widgetkit.store import ActivationStore, LayerPlan, Plan, StoreWriter
from widgetkit.testing.maps import SmallLayer, example_batch, example_target

GRIDS = [(6, 7), (3, 6, 6)]


def batch_of(activations: np.ndarray) -> Batch:
    m, channels, *grid = activations.shape
    return Batch(
        np.arange(m), activations=activations, layer=SmallLayer("layer", channels, tuple(grid))
    )


def target_of(profiles: np.ndarray, index: int = 0, **more: object) -> ConceptTarget:
    names = tuple(f"concept {f}" for f in range(len(profiles)))
    return ConceptTarget(index, names, profiles, **more)  # type: ignore[arg-type]


# -- the published formula ---------------------------------------------------------------
def map_reference(
    profiles: np.ndarray, index: int, activations: np.ndarray, lift: bool
) -> np.ndarray:
    """As the text has it, with loops over concepts, shells, channels and positions."""
    count, width, channels = profiles.shape
    weights = np.zeros((width, channels))
    for shell in range(width):
        row, live = np.zeros(channels), 0
        for channel in range(channels):
            values = [abs(profiles[f, shell, channel]) for f in range(count)]
            if sum(values) == 0:
                row[channel] = -np.inf
                continue
            live += 1
            own = profiles[:, shell, channel]
            apart = [(own.max() - own[f]) / (sum(values) / count) for f in range(count)]
            row[channel] = float(np.median(apart)) - apart[index]
        mean = sum(value for value in row if value > -np.inf) / max(live, 1)
        weights[shell] = [max(value + mean * lift, 0) for value in row]
    place = shells(activations.shape[2:])
    maps = np.zeros((len(activations), *activations.shape[2:]))
    for tile in range(len(activations)):
        for at in np.ndindex(*activations.shape[2:]):
            total = sum(
                weights[place[at], channel] * activations[(tile, channel, *at)]
                for channel in range(channels)
            )
            maps[(tile, *at)] = max(total / (weights.sum() or 1), 0)
    return maps


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from([(1, 1), (2, 2), (4, 5), (2, 3, 4)]),
    st.integers(2, 6),
    st.integers(1, 5),
    st.booleans(),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_maps_are_those_of_the_text(
    grid: tuple[int, ...], count: int, channels: int, lift: bool, signed: bool, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    profiles = generator.gamma(0.5, size=(count, 4, channels))
    profiles[:, :, 0] *= generator.random() < 0.5  # a dead channel
    profiles[:, 1] *= generator.random() < 0.5  # a shell that no position lies in
    activations = generator.gamma(0.5, size=(2, channels, *grid))
    if signed:
        profiles, activations = profiles - 0.3, activations - 0.3
    activations = activations.astype(np.float32)
    index = int(generator.integers(count))
    found = ConceptMap(lift=lift).compute(batch_of(activations), target_of(profiles, index))
    expected = map_reference(profiles, index, activations, lift)
    assert_allclose(found, expected, atol=1e-5 * max(1, expected.max()))


@pytest.mark.parametrize("grid", GRIDS)
def test_a_channel_counts_in_its_own_shell_alone(grid: tuple[int, ...]) -> None:
    """Examples of concept 0 have channel 0 in the outermost shell, those of 1 and 2 other channels."""
    profiles = np.zeros((3, 4, 3))
    profiles[0, 3, 0] = profiles[1, 0, 1] = profiles[2, 0, 2] = 1
    activations = np.ones((1, 3, *grid), np.float32)
    for f, shell in ((0, 3), (1, 0), (2, 0)):
        maps = ConceptMap().compute(batch_of(activations), target_of(profiles, f))
        assert_array_equal(maps[0] > 0, shells(grid) == shell)
        assert_allclose(
            maps[0][shells(grid) == shell], 1
        )  # all the weight is there: the activation


def test_weights_in_closed_form() -> None:
    """Two concepts, one channel of which the first has three times as much, in each shell."""
    profiles = np.stack([np.full((4, 2), 3.0), np.full((4, 2), 1.0)])
    profiles[:, :, 1] = 2  # the same for both: nothing to tell
    # apart: 0 and (3 - 1) / 2; median 1/2; weight 1/2 and -1/2; their mean over channels 1/4
    assert_allclose(shell_weights(target_of(profiles, 0), "m", lift=False), [[0.5, 0]] * 4)
    assert_allclose(shell_weights(target_of(profiles, 1), "m", lift=False), [[0, 0]] * 4)
    assert_allclose(shell_weights(target_of(profiles, 0), "m"), [[0.75, 0.25]] * 4)
    assert_allclose(shell_weights(target_of(profiles, 1), "m"), [[0, 0]] * 4)
    empty = ConceptMap().compute(batch_of(np.ones((1, 2, 3, 3))), target_of(profiles, 1))
    assert not empty.any()  # and no NaN


@pytest.mark.parametrize("grid", GRIDS)
def test_the_order_of_channels_and_their_copies_change_nothing(grid: tuple[int, ...]) -> None:
    generator = np.random.default_rng(1)
    profiles = generator.gamma(0.5, size=(4, 4, 5))
    activations = generator.gamma(0.5, size=(2, 5, *grid)).astype(np.float32)
    expected = ConceptMap().compute(batch_of(activations), target_of(profiles, 2))
    for order in (generator.permutation(5), np.tile(np.arange(5), 3)):
        found = ConceptMap().compute(
            batch_of(activations[:, order]), target_of(profiles[:, :, order], 2)
        )
        assert_allclose(found, expected, rtol=1e-5)
    assert expected.std() > 0.01


@settings(deadline=None, max_examples=30)
@given(st.floats(0.01, 100), st.integers(0, 1000))
def test_units_of_a_channel_have_no_say_in_its_weight(factor: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    profiles = generator.gamma(0.5, size=(3, 4, 4)) + 1e-3
    scaled = profiles * np.array([factor, 1, 1, 1])
    assert_allclose(
        shell_weights(target_of(scaled, 1), "m"),
        shell_weights(target_of(profiles, 1), "m"),
        atol=1e-9,
    )


def test_a_concept_alone_is_compared_with_the_rest() -> None:
    profile = np.zeros((1, 4, 2))
    profile[0, :, 0] = 1
    rest = np.full((4, 2), 0.5)
    activations = np.stack([np.ones((3, 3)), 5 * np.ones((3, 3))])[None]
    maps = ConceptMap(lift=False).compute(batch_of(activations), target_of(profile, rest=rest))
    assert (maps > 0).all()
    assert maps.sum() == pytest.approx(
        sum(np.bincount(shells((3, 3)).ravel(), minlength=4)) / 4
    )  # channel 0 alone, whose activation is 1; a quarter of the weight in each shell
    with pytest.raises(TooFew, match="only one"):
        ConceptMap().compute(batch_of(activations), target_of(profile))


# -- the direction -----------------------------------------------------------------------
@pytest.mark.parametrize("grid", GRIDS)
def test_the_mean_of_the_plain_map_is_the_place_along_the_direction(grid: tuple[int, ...]) -> None:
    generator = np.random.default_rng(2)
    activations = generator.normal(size=(4, 6, *grid)).astype(np.float32)
    v = generator.normal(size=6)
    maps = ConceptPlain().compute(batch_of(activations), ConceptTarget(0, ("c",), direction=v))
    pooled = activations.reshape(4, 6, -1).mean(axis=2)
    assert_allclose(maps.reshape(4, -1).mean(axis=1), pooled @ v, atol=1e-5)


# -- gradients ---------------------------------------------------------------------------
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("weights", ["position", "mean"])
def test_towards_the_weights_of_a_class_it_is_grad_cam(
    dimensions: int, relu: bool, weights: str
) -> None:
    """The linear head's input is the layer's mean: along a class's weights it is the logit."""
    net = ConvNet(dimensions, linear=True)
    images = textures(4, (16, 20) if dimensions == 2 else (8, 12, 8))
    batch = _with_context(net, images)
    weight = net.head.weight.detach().numpy()
    for index in range(4):
        target = ConceptTarget(0, ("c",), towards=weight[index], at="features")
        found = ConceptGradient(weights, relu, batch_size=3).compute(batch, target)
        expected = GradCam(relu=relu).compute(batch, explain.ClassTarget(index))
        assert_allclose(found, expected, atol=1e-6 * max(1, np.abs(expected).max()))


def test_towards_a_logit_it_is_grad_cam_of_a_deeper_head() -> None:
    net = ConvNet(2)
    batch = _with_context(net, textures(3, (16, 16)))
    target = ConceptTarget(0, ("c",), towards=np.eye(4)[2], at="head")
    found = ConceptGradient("mean").compute(batch, target)
    expected = GradCam().compute(batch, explain.ClassTarget(2))
    assert_allclose(found, expected, atol=1e-6)
    assert expected.max() > 0
    with pytest.raises(InvalidInput, match="'position' or 'mean'"):
        ConceptGradient("median")  # type: ignore[arg-type]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_occlusion_towards_the_weights_of_a_class_is_that_of_the_class(dimensions: int) -> None:
    net = ConvNet(dimensions, linear=True)
    images = textures(2, (16, 20) if dimensions == 2 else (8, 12, 8))
    batch, method = _with_context(net, images), Occlusion(window=4, stride=4)
    weight = net.head.weight.detach().numpy()
    for at, towards in (("features", weight[2]), ("head", np.eye(4)[2])):
        target = ConceptTarget(0, ("c",), towards=towards, at=at)
        found, expected = (method.compute(batch, t) for t in (target, explain.ClassTarget(2)))
        assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
        assert expected.std() > 0
    with pytest.raises(ChannelMismatch, match="direction of concept 'c' has 5 numbers"):
        method.compute(batch, ConceptTarget(0, ("c",), towards=np.ones(5), at="head"))


def test_by_positions_it_adds_up_to_the_place_along_the_direction() -> None:
    """Through pooling, a dense layer that tells positions apart and rectifiers, all without bias."""
    torch.manual_seed(0)
    net = torch.nn.Sequential()
    net.features = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3, padding=1), torch.nn.ReLU())
    net.dense = torch.nn.Sequential(
        torch.nn.MaxPool2d(4),
        torch.nn.Flatten(),
        torch.nn.Linear(80, 7, bias=False),
        torch.nn.ReLU(),
    )
    net.head = torch.nn.Linear(7, 2)
    batch = _with_context(net, textures(4, (16, 16)))
    assert batch.model is not None
    v = np.random.default_rng(0).normal(size=7)
    target = ConceptTarget(0, ("c",), towards=v, at="dense")
    maps = ConceptGradient(relu=False).compute(batch, target)
    h = batch.model.forward_to_layer(batch.images, "dense")
    assert_allclose(maps.sum(axis=(1, 2)), h @ v, rtol=1e-4)
    mean = ConceptGradient("mean", relu=False).compute(batch, target)
    assert not np.allclose(mean, maps)


def _with_context(net: torch.nn.Module, images: np.ndarray) -> Batch:
    context = ModelContext(net, preprocess=Preprocess(mean=(0.0,), std=(1.0,), scale=255.0))
    activations = context.forward_to_layer(images, "features")
    return replace(
        batch_of(activations),
        images=images,
        model=context,
        layer=SmallLayer("features", *_shape(activations)),
    )


def _shape(activations: np.ndarray) -> tuple[int, tuple[int, ...]]:
    return activations.shape[1], activations.shape[2:]


# -- planted concepts --------------------------------------------------------------------
PLACES = {2: (12, 12), 3: (6, 12, 12)}


def planted(dimensions: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Activations (n, C, *grid), labels (n, 3) and masks (n, 3, *grid) of three concepts.

    Concept 0 lies in the middle, 1 around it, 2 at a place that differs from tile to tile. Each has
    four channels of its own; others know no concept.
    """
    generator = np.random.default_rng(seed)
    grid = PLACES[dimensions]
    n, place = 300, shells(grid)
    labels = generator.random((n, 3)) < 0.5
    masks = np.zeros((n, 3, *grid), bool)
    masks[:, 0], masks[:, 1] = place == 0, place == 2
    for tile in range(n):
        corner = [int(generator.integers(0, side - 3)) for side in grid]
        masks[(tile, 2, *(slice(c, c + 4) for c in corner))] = True
    masks &= labels.reshape(n, 3, *(1,) * len(grid))
    activations = 0.02 * generator.random((n, 20, *grid)) + 0.0
    for f in range(3):
        strength = generator.gamma(4, 0.25, size=(n, 4)).reshape(n, 4, *(1,) * len(grid))
        activations[:, 4 * f : 4 * f + 4] += strength * masks[:, f : f + 1]
    activations[:, 12:] += 0.2 * generator.random((n, 8, *grid))
    return activations.astype(np.float16), labels, masks


def store_of(path: Path, activations: np.ndarray) -> ActivationStore:
    import pandas as pd

    n, channels, *grid = activations.shape
    plan = Plan(
        tiles=pd.DataFrame({"id": [f"{i:016x}" for i in range(n)]}),
        layers=[LayerPlan("conv", channels, tuple(grid))],
        image_shape=None,
        segment_rows=n,
        model={},
    )
    with StoreWriter.open(path, plan=plan) as writer:
        writer.write_segment(0, activations={"conv": activations})
        return writer.commit()


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", ["concept", "concept-plain"])
def test_a_planted_concept_is_found(dimensions: int, name: str, tmp_path: Path) -> None:
    """Profiles and directions of the first 200 tiles, maps of the others."""
    activations, labels, masks = planted(dimensions)
    store = store_of(tmp_path / "s.wk", activations)
    looked = labels.astype(np.float64)
    looked[200:] = np.nan
    profiles = concept_profiles(store, "conv", looked, ["middle", "around", "anywhere"])
    pooled, first = store.embeddings("conv"), labels[:200]
    for f in range(3):
        direction = concept_direction(pooled[:200], first[:, f])
        target = profiles.target(f, direction=direction)
        rows = 200 + np.flatnonzero(labels[200:, f])
        maps = explain.compute(name, Batch.from_store(store, rows, layer="conv"), target)
        found = explain.localisation.localise(maps, masks[rows, f])
        # the lift gives channels that know no concept a say, which a small mark far out feels most:
        # its strongest positions are right, and the rest of the map is not empty
        if name == "concept" and f == 2:
            without = explain.localisation.localise(
                ConceptMap(lift=False).compute(Batch.from_store(store, rows), target),
                masks[rows, f],
            )
            assert without.energy.mean() > max(0.7, 1.2 * found.energy.mean())
        else:
            assert found.energy.mean() > 0.8, (f, found.energy.mean())
        assert found.pointing.mean() > 0.95 and found.iou.mean() > 0.95
        assert found.area.mean() < 0.3  # what a map that knows nothing has


# -- whatever comes ----------------------------------------------------------------------
@st.composite
def stored(draw: st.DrawFn) -> np.ndarray:
    grid = draw(st.lists(st.integers(1, 4), min_size=2, max_size=3))
    generator = np.random.default_rng(draw(st.integers(0, 1000)))
    values = generator.normal(size=(draw(st.integers(0, 3)), draw(st.integers(1, 4)), *grid))
    if draw(st.booleans()):
        values = np.maximum(values, 0)
    if draw(st.booleans()):
        values[:, 0] = 0
    return values.astype(np.float16)


@settings(deadline=None, max_examples=60)
@given(stored(), st.integers(1, 4), st.integers(0, 1000))
def test_any_grid_any_profiles_no_nan(activations: np.ndarray, count: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    channels = activations.shape[1]
    profiles = generator.gamma(0.5, size=(count, 4, channels)) * generator.integers(
        0, 2, (count, 4, channels)
    )
    target = target_of(
        profiles,
        count - 1,
        rest=np.zeros((4, channels)),
        direction=generator.integers(0, 2, channels) * 1.0,
    )
    for name in ("concept", "concept-plain"):
        maps = explain.compute(name, batch_of(activations), target)
        assert maps.shape == (len(activations), *activations.shape[2:])
        assert maps.dtype == np.float32 and np.isfinite(maps).all()


def test_what_is_missing_is_said() -> None:
    batch = example_batch()
    bare = ConceptTarget(0, ("rim",))
    for name, word in (
        ("concept", "profiles of the examples"),
        ("concept-plain", "direction at this layer"),
        ("concept-gradient", "later layer"),
    ):
        with pytest.raises(InvalidInput, match=f"{word}.*'rim'|'rim'.*{word}|{word}"):
            explain.compute(name, batch, bare)
    target = example_target(ConceptTarget, batch)
    with pytest.raises(NeedsModel):
        explain.compute("concept-gradient", replace(batch, model=None), target)  # type: ignore[arg-type]


def test_profiles_and_directions_of_another_layer_are_refused() -> None:
    batch = example_batch()
    with pytest.raises(ChannelMismatch, match="4 shells and 9 channels"):
        explain.compute("concept", batch, target_of(np.ones((2, 4, 9))))
    with pytest.raises(ChannelMismatch, match="3 shells"):
        explain.compute("concept", batch, target_of(np.ones((2, 3, 6))))
    with pytest.raises(ChannelMismatch, match="of 'c' has shape"):
        explain.compute("concept-plain", batch, ConceptTarget(0, ("c",), direction=np.ones(9)))
