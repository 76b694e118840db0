"""The randomisation check: maps that explain the network change, maps of the image do not."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from tests.explain.nets import ConvNet, TorchModel, batch_of, textures
from widgetkit.errors import InvalidInput, NeedsModel
from widgetkit.explain import Batch, ClassTarget, area_mean
from widgetkit.explain.base import Float, Need
from widgetkit.explain.gradcam import GradCam
from widgetkit.explain.sanity import randomised


def cascade(net: ConvNet) -> Iterator[tuple[str, TorchModel]]:
    """Random weights from the head down; one copy, changed in place."""
    torch.manual_seed(7)
    changed = copy.deepcopy(net)
    for name, module in reversed(list(changed.named_modules())):
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
            for weight in module.parameters():
                weight.data *= 4
            yield name, TorchModel(changed)


@dataclass(frozen=True)
class Edges:
    """Brightness of the image: explains nothing, and looks good."""

    name: ClassVar[str] = "edges"
    title: ClassVar[str] = "Edges"
    reference: ClassVar[str] = "Only for this test."
    requires: ClassVar[frozenset[Need]] = frozenset({"forward"})
    targets: ClassVar[frozenset[type]] = frozenset({ClassTarget})
    signed: ClassVar[bool] = False

    def compute(self, batch: Batch, target: ClassTarget) -> Float:
        return area_mean(batch.need_images("Edges").mean(axis=-1), batch.layer.grid)


def test_gradcam_forgets_and_a_picture_of_the_image_does_not() -> None:
    net = ConvNet()
    batch = batch_of(net, textures(6, (16, 16)))
    found = randomised(GradCam(relu=False), batch, ClassTarget(1), cascade(net))
    assert found.stages == ("head.2", "head.0", "features.0", "stem.0")
    assert found.correlation.shape == (4, 6)
    assert np.nanmean(np.abs(found.correlation[-1])) < 0.8
    kept = randomised(Edges(), batch, ClassTarget(1), cascade(net))
    assert_allclose(kept.correlation, 1)
    table = found.to_frame()
    assert list(table.stage) == list(found.stages)
    assert_allclose(table.correlation, np.nanmean(found.correlation, axis=1))


def test_an_unchanged_network_keeps_its_maps() -> None:
    net = ConvNet()
    batch = batch_of(net, textures(3, (16, 16)))
    same = [("nothing", TorchModel(net))]
    for method in ("layercam", "scorecam", "occlusion"):
        assert_allclose(randomised(method, batch, ClassTarget(1), same).correlation, 1, atol=1e-6)


def test_stored_activations_do_not_leak_into_the_random_network() -> None:
    """Score-CAM weighs stored maps, which would keep the trained network's answer alive."""
    net, other = ConvNet(seed=0), ConvNet(seed=5)
    batch = batch_of(net, textures(3, (16, 16)))
    lies = replace(batch, activations=np.zeros_like(batch.activations))
    stages = [("all", TorchModel(other))]
    honest = randomised("scorecam", batch, ClassTarget(0), stages).correlation
    assert_allclose(randomised("scorecam", lies, ClassTarget(0), stages).correlation, honest)


def test_what_is_missing_is_said() -> None:
    batch = batch_of(ConvNet(), textures(2, (16, 16)))
    with pytest.raises(InvalidInput, match="at least one"):
        randomised("gradcam", batch, ClassTarget(0), [])
    with pytest.raises(NeedsModel):
        randomised("gradcam", replace(batch, model=None), ClassTarget(0), cascade(ConvNet()))
