"""Score-CAM against the slow and obvious loop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from tests.explain.nets import ConvNet, batch_of, textures
from widgetkit.errors import BadActivations, InvalidInput
from widgetkit.explain import Batch, ClassTarget, compute
from widgetkit.explain.scorecam import ScoreCam, strongest_channels
from widgetkit.testing.maps import example_batch


def score_cam_reference(batch: Batch, index: int) -> np.ndarray:
    """One tile, one channel, one forward pass at a time, as the publication has it."""
    assert batch.model is not None and batch.images is not None and batch.activations is not None
    maps = []
    for image, activations in zip(batch.images, batch.activations, strict=True):
        spatial = image.shape[:-1]
        mode = {2: "bilinear", 3: "trilinear"}[len(spatial)]
        black = batch.model.logits(np.zeros_like(image)[None])[0, index]
        scores, channels = [], []
        for a in activations:
            if a.max() == a.min():
                continue
            mask = torch.nn.functional.interpolate(
                torch.from_numpy(a)[None, None], size=spatial, mode=mode, align_corners=False
            )[0, 0].numpy()
            mask = (mask - mask.min()) / (mask.max() - mask.min())
            masked = (image * mask[..., None]).astype(np.float32)
            scores.append(batch.model.logits(masked[None])[0, index] - black)
            channels.append(a)
        if not channels:
            maps.append(np.zeros(activations.shape[1:]))
            continue
        raised = np.exp(np.array(scores) - max(scores))
        weights = raised / raised.sum()
        total = sum(w * a for w, a in zip(weights, channels, strict=True))
        maps.append(np.maximum(total, 0))
    return np.stack(maps)


@pytest.mark.parametrize("dimensions, shape", [(2, (16, 20)), (3, (8, 12, 8))])
def test_equals_the_slow_loop(dimensions: int, shape: tuple[int, ...]) -> None:
    batch = batch_of(ConvNet(dimensions), textures(3, shape))
    ours = ScoreCam(energy=1.0, batch_size=5).compute(batch, ClassTarget(1))
    assert_allclose(ours, score_cam_reference(batch, 1), atol=1e-5)
    assert ours.std() > 1e-3


def test_constant_channels_have_weight_zero_and_cost_nothing() -> None:
    batch = batch_of(ConvNet(), textures(2, (16, 16)))
    assert batch.activations is not None
    changed = batch.activations.copy()
    changed[0, 2] = 7.3
    changed[1] = 0.1  # every channel of the second tile
    given = replace(batch, activations=changed)
    seen: list[tuple[int, int]] = []
    maps = ScoreCam(energy=1.0).compute(
        replace(given, progress=lambda *a: seen.append(a)), ClassTarget(0)
    )
    assert_allclose(maps, score_cam_reference(given, 0), atol=1e-5)
    assert_array_equal(maps[1], 0)
    assert seen[-1] == (7, 7)


def test_pruning_keeps_the_strongest_and_stays_close() -> None:
    batch = batch_of(ConvNet(), textures(4, (16, 16)))
    assert batch.activations is not None
    weak = batch.activations.copy()
    weak[:, 3:] *= 1e-4
    given = replace(batch, activations=weak)
    tiles, channels = strongest_channels(weak, 0.95)
    assert set(channels) <= {0, 1, 2} and set(tiles) == {0, 1, 2, 3}
    pruned, full = (ScoreCam(energy=e).compute(given, ClassTarget(0)) for e in (0.95, 1.0))
    for a, b in zip(pruned, full, strict=True):
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.99


def test_more_energy_never_means_fewer_channels() -> None:
    activations = np.random.default_rng(0).gamma(0.3, size=(3, 12, 4, 4)).astype(np.float32)
    counts = [len(strongest_channels(activations, e)[0]) for e in (1e-9, 0.3, 0.6, 0.9, 0.99, 1.0)]
    assert counts == sorted(counts) and counts[0] == 3 and counts[-1] == 36


def test_permuting_channels_does_not_change_the_map() -> None:
    batch = batch_of(ConvNet(), textures(2, (16, 16)))
    assert batch.activations is not None
    mixed = replace(batch, activations=batch.activations[:, ::-1])
    for energy in (0.9, 1.0):
        one, other = (ScoreCam(energy=energy).compute(b, ClassTarget(0)) for b in (batch, mixed))
        assert_allclose(one, other, atol=1e-6)


def test_activations_come_from_the_network_where_the_store_has_none() -> None:
    batch = batch_of(ConvNet(), textures(3, (16, 16)))
    without = ScoreCam(batch_size=2).compute(replace(batch, activations=None), ClassTarget(0))
    assert_allclose(without, ScoreCam().compute(batch, ClassTarget(0)), atol=1e-6)


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
        ScoreCam(batch_size=1).compute(batch, ClassTarget(0))
    assert calls == 3


def test_a_network_that_overflows_is_named() -> None:
    class Broken(type(example_batch().model)):  # type: ignore[misc]
        def logits(self, images: np.ndarray) -> np.ndarray:
            return np.full((len(images), 3), np.nan)

    batch = replace(example_batch(), model=Broken((4, 5)))
    with pytest.raises(BadActivations, match="NaN"):
        compute("scorecam", batch, ClassTarget(0))


@pytest.mark.parametrize("energy", [0, -1, 1.1, np.nan])
def test_energy_is_a_share(energy: float) -> None:
    with pytest.raises(InvalidInput, match="energy"):
        ScoreCam(energy=energy)
