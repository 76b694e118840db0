"""The randomisation check: maps that explain the network change, maps of the image do not."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.explain.nets import ConvNet, TorchModel, batch_of, textures
from widgetkit.errors import InvalidInput, NeedsModel
from widgetkit.explain import Batch, ClassTarget, area_mean
from widgetkit.explain.base import Float, Need
from widgetkit.explain.gradcam import GradCam
from widgetkit.explain.sanity import cascade, randomised


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
    found = randomised(GradCam(relu=False), batch, ClassTarget(1), cascade(net, TorchModel))
    assert found.stages == ("head.2", "head.0", "features.0", "stem.0")
    assert found.correlation.shape == (4, 6)
    assert np.nanmean(np.abs(found.correlation[-1])) < 0.8
    kept = randomised(Edges(), batch, ClassTarget(1), cascade(net, TorchModel))
    assert_allclose(kept.correlation, 1)
    table = found.to_frame()
    assert list(table.stage) == list(found.stages)
    assert_allclose(table.correlation, np.nanmean(found.correlation, axis=1))


def test_the_cascade_shuffles_from_the_top_and_leaves_the_network_alone() -> None:
    net = ConvNet()
    before = {name: weight.detach().clone() for name, weight in net.named_parameters()}
    touched: list[set[str]] = []
    for _, model in cascade(net, TorchModel, seed=3):
        after = dict(model.net.named_parameters())
        for name, weight in after.items():  # the same values, in another order
            assert_allclose(sorted(weight.ravel().tolist()), sorted(before[name].ravel().tolist()))
        touched.append({n for n in after if not after[n].equal(before[n]) and "weight" in n})
    assert touched[0] == {"head.2.weight"}
    assert all(early < late for early, late in itertools.pairwise(touched))
    assert touched[-1] == {n for n in before if "weight" in n}
    assert all(weight.equal(before[name]) for name, weight in net.named_parameters())
    first, again = (
        [m.logits(textures(1, (8, 8))) for _, m in cascade(net, TorchModel, seed=3)] for _ in "ab"
    )
    assert_allclose(first, again, rtol=0, atol=0)


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
        randomised(
            "gradcam", replace(batch, model=None), ClassTarget(0), cascade(ConvNet(), TorchModel)
        )
