"""CLAM against the slow and obvious loop, and against encoders whose answer is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from tests.explain.nets import ConvNet, batch_of, textures
from widgetkit.errors import BadActivations, ChannelMismatch, InvalidInput
from widgetkit.explain import Batch, LatentTarget, area_mean, coarse_of, compute
from widgetkit.explain.clam import Clam, plan_of
from widgetkit.explain.fewer_masks import agreement
from widgetkit.testing.maps import SmallLayer, example_batch

EVERY = Clam(prune=0.0, masks="all")


class Boxes:
    """An encoder that knows where to look: channel k is the brightness of its own box of pixels.

    ``encode`` gives one number a box, ``maps`` one channel a box; any number of dimensions.
    """

    def __init__(self, *boxes: tuple[slice, ...]) -> None:
        self.boxes = boxes
        self.seen = 0

    def forward_to_layer(self, images: np.ndarray, layer: str) -> np.ndarray:
        self.seen += len(images)
        return (
            np.stack(
                [images[(slice(None), *b)].reshape(len(images), -1).mean(1) for b in self.boxes], 1
            )
            / 50
        )

    def channels(self, images: np.ndarray) -> np.ndarray:
        """Each box's brightness, spread over its own pixels and nowhere else."""
        maps = np.zeros((len(images), len(self.boxes), *images.shape[1:]), np.float32)
        for k, level in enumerate(self.forward_to_layer(images, "latent").T):
            for row, value in enumerate(level):
                maps[(row, k, *self.boxes[k])] = value
        return maps


def lesion(*where: slice, shape: tuple[int, ...], value: int = 200) -> np.ndarray:
    image = np.zeros(shape, np.uint8)
    image[where] = value
    return image[None]


def boxes_batch(net: Boxes, images: np.ndarray) -> Batch:
    maps = net.channels(images)
    layer = SmallLayer("last", maps.shape[1], maps.shape[2:])
    return Batch(np.arange(len(images)), activations=maps, images=images, layer=layer, model=net)  # type: ignore[arg-type]


def latent_target(batch: Batch, k: int = 3, *, index: int = 1, **more: Any) -> LatentTarget:
    """Centres around the latent vectors (the layer's pooled maps) of a batch; 1 is near them."""
    assert batch.activations is not None
    pooled = batch.activations.mean(axis=tuple(range(2, batch.activations.ndim)))
    step = np.random.default_rng(3).normal(size=(k, pooled.shape[1])) * 0.05
    # from nothing to beyond the image, a little off the line
    centres = pooled[0] * (np.arange(k)[:, None] + step)
    return LatentTarget(centres, index, latent=batch.layer.name, **more)


def clam_reference(
    batch: Batch,
    target: LatentTarget,
    *,
    mean: bool,
    softmax: bool,
    hidden: np.ndarray | None = None,
) -> np.ndarray:
    """One tile, one channel, one forward pass at a time, as the publication has it."""
    model, images, stored = batch.model, batch.images, batch.activations
    assert model is not None and images is not None and stored is not None

    def share(image: np.ndarray) -> float:
        maps = model.forward_to_layer(image[None].astype(np.float32), target.latent)[0]
        z = maps.reshape(len(maps), -1).mean(axis=1)
        close = [1 / (1 + ((z - mu) ** 2).sum()) for mu in target.centres]
        other = 0 if target.against is None else close[target.against]
        return float((close[target.index] - other) / sum(close))

    found = []
    for image, activations in zip(images, stored, strict=True):
        spatial = image.shape[:-1]
        empty = np.zeros(image.shape) if hidden is None else hidden.astype(float)
        if mean:
            empty += image.mean(axis=tuple(range(len(spatial))))
        mode = {2: "bilinear", 3: "trilinear"}[len(spatial)]
        scores, used = [], []
        for a in activations:
            if a.max() == a.min():
                continue
            mask = torch.nn.functional.interpolate(
                torch.from_numpy(a)[None, None], size=spatial, mode=mode, align_corners=False
            )[0, 0].numpy()
            mask = ((mask - mask.min()) / (mask.max() - mask.min()))[..., None]
            scores.append(share(image * mask + empty * (1 - mask)) - share(empty))
            used.append(a)
        s = np.array(scores)
        weights = np.exp(s) / np.exp(s).sum() if softmax else np.maximum(s, 0)
        found.append(np.maximum(sum(w * a for w, a in zip(weights, used, strict=True)), 0))
    return np.stack(found)


@pytest.mark.parametrize("baseline", ["zero", "mean", "image"])
@pytest.mark.parametrize("weights", ["relu", "softmax"])
@pytest.mark.parametrize("against", [None, 2])
@pytest.mark.parametrize("dimensions, shape", [(2, (16, 20)), (3, (8, 12, 8))])
def test_equals_the_slow_loop(
    dimensions: int, shape: tuple[int, ...], against: int | None, weights: Any, baseline: Any
) -> None:
    batch = batch_of(ConvNet(dimensions), textures(2, shape))
    target = latent_target(batch, against=against)
    mean, hidden = baseline == "mean", None
    if baseline == "image":
        baseline = hidden = textures(1, shape, seed=9)[0]
    slow = clam_reference(batch, target, mean=mean, softmax=weights == "softmax", hidden=hidden)
    assert slow.any()
    for size in (1, 5, "auto"):
        method = Clam(weights=weights, baseline=baseline, prune=0.0, batch_size=size)  # type: ignore[arg-type]
        assert_allclose(method.compute(batch, target), slow, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("shape", [(12, 12), (6, 6, 12)])
def test_all_weight_goes_to_the_box_that_holds_the_abnormality(shape: tuple[int, ...]) -> None:
    half = [slice(0, 6), slice(6, 12)]
    whole = (slice(None),) * (len(shape) - 1)
    net = Boxes((*whole, half[0]), (*whole, half[1]))
    image = lesion(*whole, slice(7, 9), shape=shape)
    image[(0, *whole, slice(1, 2))] = 2  # the other box is not dark, but says nothing
    batch = boxes_batch(net, image)
    centres = np.array([[0.0, 0.0], [0.0, 200 / 3 / 50]])  # nothing, and a lesion in the second
    target = LatentTarget(centres, 1)
    s = EVERY.confidence(batch, target).values[0]
    assert s[1] > 0.3 and abs(s[0]) < 0.01
    found = EVERY.compute(batch, target)[0]
    assert found[(*whole, half[1])].min() > 0
    assert found[(*whole, half[0])].sum() < 0.001 * found.sum()
    # the softmax of differences of shares hardly tells them apart: why it is not the default
    alpha = np.exp(s) / np.exp(s).sum()
    assert alpha[0] > 0.3


def test_a_duplicated_channel_does_not_change_the_map_and_costs_nothing() -> None:
    batch = batch_of(ConvNet(), textures(2, (16, 16)))
    target = latent_target(batch)
    assert batch.activations is not None
    twice = with_channels(batch, batch.activations[:, [0, 1, 2, 3, 4, 5, 6, 7, 2, 2, 0]])
    for weights in ("relu", "softmax", "signed"):
        for prune in (0.0, 0.1):
            method = Clam(weights=weights, prune=prune)  # type: ignore[arg-type]
            assert_allclose(method.compute(twice, target), method.compute(batch, target), atol=1e-6)
    s = EVERY.confidence(twice, target).values
    assert_array_equal(s[:, 8], s[:, 2])
    assert passes(EVERY, twice, target) == passes(EVERY, batch, target) == 16


def test_scaled_copies_are_seen_once_and_both_count() -> None:
    batch = batch_of(ConvNet(), textures(1, (16, 16)))
    target = latent_target(batch)
    assert batch.activations is not None
    a = batch.activations
    scaled = with_channels(batch, np.concatenate([a, 2 * a[:, :1]], axis=1))
    assert passes(EVERY, scaled, target) == 8
    s = EVERY.confidence(scaled, target).values[0]
    assert s[8] == s[0]
    plain = np.einsum("c,chw->hw", np.maximum(s[:8], 0), a[0]) + max(s[0], 0) * 2 * a[0, 0]
    assert_allclose(EVERY.compute(scaled, target)[0], np.maximum(plain, 0), rtol=1e-4)


def test_permuting_channels_does_not_change_the_map() -> None:
    batch = batch_of(ConvNet(), textures(2, (16, 16)))
    assert batch.activations is not None
    target = latent_target(batch)
    order = np.random.default_rng(0).permutation(8)
    mixed = replace(batch, activations=batch.activations[:, order])
    for prune in (0.0, 0.2, 0.6):
        one, other = (Clam(prune=prune).compute(b, target) for b in (batch, mixed))
        assert_allclose(one, other, atol=1e-6)


def test_pruning_leaves_out_the_weakest_and_keeps_its_bound() -> None:
    batch = batch_of(ConvNet(), textures(3, (16, 16)))
    assert batch.activations is not None
    weak = batch.activations.copy()
    weak[:, 4:] *= 1e-3
    given = replace(batch, activations=weak)
    target = latent_target(batch)
    full, pruned = EVERY.compute(given, target), Clam().compute(given, target)
    assert passes(Clam(), given, target) < passes(EVERY, given, target)
    strengths = weak.reshape(3, 8, -1).std(axis=2, dtype=np.float64)
    s = EVERY.confidence(given, target).values
    for tile in range(3):
        assert np.corrcoef(full[tile].ravel(), pruned[tile].ravel())[0, 1] > 0.999
        gone = full[tile].astype(np.float64) - pruned[tile]
        assert gone.std() <= np.abs(s[tile]).max() * 0.002 * strengths[tile].sum() + 1e-6


def test_cost_follows_the_channels_that_carry_energy() -> None:
    batch = batch_of(ConvNet(), textures(1, (16, 16)))
    target = latent_target(batch)
    assert batch.activations is not None
    a = batch.activations
    noise = np.random.default_rng(0).random((1, 500, *a.shape[2:])).astype(np.float32) * 1e-6
    many = with_channels(batch, np.concatenate([a, noise, np.full_like(noise, 3.0)], axis=1))
    assert passes(Clam(), many, target) <= 8
    assert_allclose(Clam().compute(many, target), Clam().compute(batch, target), atol=1e-4)


def test_more_pruning_never_means_more_channels() -> None:
    tile = np.random.default_rng(0).gamma(0.3, size=(30, 4, 4)).astype(np.float32)
    counts = [len(plan_of(tile, p).shown) for p in (0.0, 0.01, 0.1, 0.5, 0.99)]
    assert counts == sorted(counts, reverse=True) and counts[0] == 30 and counts[-1] >= 1


def test_constant_channels_and_tiles_have_weight_zero() -> None:
    batch = batch_of(ConvNet(), textures(2, (16, 16)))
    assert batch.activations is not None
    changed = batch.activations.copy()
    changed[0, 2] = 7.3
    changed[1] = 0.1
    given = replace(batch, activations=changed)
    target = latent_target(batch)
    for weights in ("relu", "softmax", "signed"):
        maps = Clam(weights=weights).compute(given, target)  # type: ignore[arg-type]
        assert np.isfinite(maps).all() and not maps[1].any()
    s = EVERY.confidence(given, target).values
    assert s[0, 2] == 0 and not s[1].any()
    assert passes(EVERY, given, target) == 7


def test_one_cluster_takes_everything_and_so_nothing_speaks_for_it() -> None:
    batch = batch_of(ConvNet(), textures(2, (16, 16)))
    target = latent_target(batch, k=1, index=0)
    assert_array_equal(EVERY.compute(batch, target), 0)
    assert np.isfinite(Clam(weights="softmax").compute(batch, target)).all()


def test_the_contrast_of_two_clusters_is_antisymmetric_before_the_relu() -> None:
    batch = batch_of(ConvNet(), textures(2, (16, 16)))
    one, other = (latent_target(batch, index=i, against=j) for i, j in ((0, 2), (2, 0)))
    assert_allclose(
        EVERY.confidence(batch, one).values, -EVERY.confidence(batch, other).values, atol=1e-12
    )
    method = Clam(weights="signed", relu=False)
    maps, turned = method.compute(batch, one), method.compute(batch, other)
    assert_allclose(maps, -turned, atol=1e-7)
    assert min(maps.min(), turned.min()) < -0.01


def test_latents_are_pooled_or_flattened_as_the_centres_ask() -> None:
    batch = batch_of(ConvNet(), textures(2, (16, 16)))
    assert batch.activations is not None and batch.model is not None
    flat = batch.activations.reshape(2, -1)
    centres = np.stack([flat[0], flat[1]])
    s = EVERY.confidence(batch, LatentTarget(centres, 0, latent="features")).values
    assert s[0].any()
    with pytest.raises(ChannelMismatch, match="centres have 5 numbers"):
        compute("clam", batch, LatentTarget(np.ones((2, 5)), 0, latent="features"))


@pytest.mark.parametrize(
    "centres, index, against, message",
    [
        (np.ones((3, 2)), 3, None, "Cluster 3"),
        (np.ones((3, 2)), -1, None, "Cluster -1"),
        (np.ones((3, 2)), 0, 5, "Cluster 5"),
        (np.ones((3, 2)), 1, 1, "against itself"),
        (np.ones(3), 0, None, "must be"),
        (np.full((2, 2), np.nan), 0, None, "NaN"),
    ],
)
def test_targets_that_make_no_sense(
    centres: np.ndarray, index: int, against: int | None, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        LatentTarget(centres, index, against)


@pytest.mark.parametrize(
    "options",
    [
        {"weights": "sigmoid"},
        {"baseline": "blur"},
        {"baseline": np.nan},
        {"baseline": np.full((4, 4), np.inf)},
        {"prune": 1.0},
        {"prune": -0.1},
        {"prune": np.nan},
        {"batch_size": 0},
        {"masks": 0},
        {"masks": "few"},
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(options))):
        Clam(**options)


def test_a_baseline_is_an_image_as_the_tiles_are() -> None:
    batch = batch_of(ConvNet(2), textures(2, (16, 20)))
    target = latent_target(batch)
    grey = Clam(baseline=80.0, prune=0.0).compute(batch, target)
    flat = Clam(baseline=np.full((16, 20, 3), 80), prune=0.0).compute(batch, target)
    assert_array_equal(flat, grey)
    for shape in ((16, 20), (20, 16, 3), (2, 16, 20, 3), (3,)):
        with pytest.raises(InvalidInput, match="must be alike"):
            Clam(baseline=np.zeros(shape)).compute(batch, target)


def test_it_stops_between_batches() -> None:
    class Stop(Exception):
        pass

    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Stop

    batch = replace(batch_of(ConvNet(), textures(2, (16, 16))), check=check)
    with pytest.raises(Stop):
        Clam(batch_size=1).compute(batch, latent_target(batch))


def test_an_encoder_that_overflows_is_named() -> None:
    class Broken(type(example_batch().model)):  # type: ignore[misc]
        def forward_to_layer(self, images: np.ndarray, layer: str) -> np.ndarray:
            return np.full((len(images), 6), np.inf)

    batch = replace(example_batch(), model=Broken((4, 5)))
    with pytest.raises(BadActivations, match="NaN"):
        compute("clam", batch, LatentTarget(np.zeros((2, 6)), 0))


class Wide:
    """An encoder with many channels: smooth maps of the image, mixed; the latents are not linear."""

    def __init__(self, channels: int = 220, dimensions: int = 2, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        self.grid = (6, 6) if dimensions == 2 else (3, 4, 4)
        cells = int(np.prod(self.grid))
        near = np.stack(np.meshgrid(*map(np.arange, self.grid), indexing="ij"), -1).reshape(
            cells, -1
        )
        self.blur = np.exp(-((near[:, None] - near) ** 2).sum(axis=2) / 2)
        self.mix = generator.gamma(0.2, size=(channels, cells))
        self.into = generator.normal(size=(8, cells)) / cells
        self.seen = 0

    def cells(self, images: np.ndarray) -> np.ndarray:
        """(m, cells) in 0..1."""
        return area_mean(images.astype(np.float32), self.grid).reshape(len(images), -1) / 255

    def forward_to_layer(self, images: np.ndarray, layer: str) -> np.ndarray:
        self.seen += len(images)
        seen = self.cells(images)
        if layer == "latent":
            return np.tanh(4 * seen @ self.into.T)
        maps = np.maximum(np.einsum("kp,mp,pq->mkq", self.mix, seen - 0.3, self.blur), 0)
        return maps.reshape(len(images), -1, *self.grid).astype(np.float32)


def wide_batch(tiles: int = 2, **more: Any) -> tuple[Wide, Batch, LatentTarget]:
    net = Wide(**more)
    size = tuple(4 * side for side in net.grid)
    images = textures(tiles, size)[..., 0]
    maps = net.forward_to_layer(images, "last")
    layer = SmallLayer("last", maps.shape[1], maps.shape[2:])
    batch = Batch(np.arange(tiles), activations=maps, images=images, layer=layer, model=net)  # type: ignore[arg-type]
    latents = net.forward_to_layer(images, "latent")
    centres = np.stack([latents[0], 0 * latents[0], latents[0] + 0.3])
    return net, batch, LatentTarget(centres, 0)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weights": "softmax"},
        {"weights": "signed", "relu": False},
        {"baseline": "mean"},
        {"prune": 0.0},
    ],
)
def test_of_many_channels_some_are_measured_and_the_map_is_the_same(
    dimensions: int, options: dict[str, Any]
) -> None:
    _, batch, target = wide_batch(3, dimensions=dimensions)
    full, found = (Clam(masks=m, **options).compute(batch, target) for m in ("all", "auto"))  # type: ignore[arg-type]
    assert full.any()
    for one, other in zip(full, found, strict=True):
        assert agreement(one.reshape(1, -1), other.reshape(1, -1)) > 0.99
    assert passes(Clam(**options), batch, target) < 0.6 * passes(
        Clam(masks="all", **options), batch, target
    )


def test_confidence_says_what_was_measured() -> None:
    net, batch, target = wide_batch(1)
    every = EVERY.confidence(batch, target)
    before = net.seen
    found = Clam(prune=0.0).confidence(batch, target)
    assert found.measured.sum() == net.seen - before - 1  # one for the empty image
    assert 0 < found.measured.sum() < every.measured.sum() == 220
    seen = found.measured
    assert_allclose(found.values[seen], every.values[seen], atol=1e-6)
    apart = np.abs(found.values - every.values)[~seen]
    assert apart.max() > 0 and apart.mean() < 0.1 * every.values.std()


def test_few_channels_are_all_measured() -> None:
    _, batch, target = wide_batch(2, channels=150)
    assert_array_equal(Clam(prune=0.0).compute(batch, target), EVERY.compute(batch, target))
    assert Clam(prune=0.0).confidence(batch, target).measured.all()


@pytest.mark.parametrize("masks", [1, 24, 70, 500])
def test_so_many_masks_as_asked_for(masks: int) -> None:
    net, batch, target = wide_batch(2)
    before = net.seen
    found = Clam(prune=0.0, masks=masks).confidence(batch, target)
    assert (found.measured.sum(axis=1) == min(masks, 220)).all()
    assert net.seen - before == 2 * min(masks, 220) + 1
    if masks == 500:
        assert_array_equal(found.values, EVERY.confidence(batch, target).values)


def test_the_coarse_version_takes_few_masks_and_gives_a_map_like_it() -> None:
    net, batch, target = wide_batch(1)
    method = Clam(weights="signed", baseline="mean")
    rough = coarse_of(method)
    assert rough == replace(method, masks=24) and coarse_of(rough) is None
    assert coarse_of(Clam(masks=10)) is None and coarse_of(EVERY) is not None
    before = net.seen
    found = rough.compute(batch, target)
    assert net.seen - before == 25
    like = np.corrcoef(found.ravel(), method.compute(batch, target).ravel())[0, 1]
    assert like > 0.9


def test_many_channels_in_another_order_or_twice_give_the_same_map() -> None:
    _, batch, target = wide_batch(1)
    assert batch.activations is not None
    a = batch.activations
    expected = Clam().compute(batch, target)
    order = np.random.default_rng(0).permutation(220)
    assert_allclose(
        Clam().compute(replace(batch, activations=a[:, order]), target), expected, rtol=1e-5
    )
    twice = with_channels(batch, np.concatenate([a, a[:, 7:90], a[:, :1]], axis=1))
    assert_allclose(Clam().compute(twice, target), expected, rtol=1e-5)
    assert passes(Clam(), twice, target) == passes(Clam(), batch, target)


def test_constant_channels_among_many_have_weight_zero() -> None:
    _, batch, target = wide_batch(2)
    assert batch.activations is not None
    changed = batch.activations.copy()
    changed[0, :20] = 3.0
    changed[1] = 0.2
    given = replace(batch, activations=changed)
    found = Clam().confidence(given, target)
    assert not found.values[0, :20].any() and not found.measured[0, :20].any()
    assert not found.values[1].any() and not Clam().compute(given, target)[1].any()


def test_a_tile_of_many_channels_has_the_same_bits_alone() -> None:
    _, batch, target = wide_batch(3)
    together = Clam().compute(batch, target)
    for tile in range(3):
        alone = replace(
            batch,
            rows=batch.rows[[tile]],
            activations=batch.activations[[tile]],  # type: ignore[index]
            images=batch.images[[tile]],  # type: ignore[index]
        )
        assert_array_equal(Clam().compute(alone, target)[0], together[tile])


def test_progress_of_many_channels_ends_at_what_was_done() -> None:
    net, batch, target = wide_batch(2)
    seen: list[tuple[int, int]] = []
    checks = [0]

    def check() -> None:
        checks[0] += 1

    before = net.seen
    Clam().compute(replace(batch, progress=lambda *now: seen.append(now), check=check), target)
    done = [now for now, _ in seen]
    assert done == sorted(done) and all(now <= total for now, total in seen)
    assert seen[-1] == (net.seen - before - 1,) * 2
    assert checks[0] >= len(seen) - 1


def with_channels(batch: Batch, activations: np.ndarray) -> Batch:
    layer = SmallLayer("features", activations.shape[1], activations.shape[2:])
    return replace(batch, activations=activations, layer=layer)


def passes(method: Clam, batch: Batch, target: LatentTarget) -> int:
    """Changed images that went through the network."""
    seen = [(0, 0)]
    method.compute(replace(batch, progress=lambda *a: seen.append(a)), target)
    return seen[-1][1]
