"""Deletion and insertion, against the obvious loop and where the answer is known."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.explain.nets import ConvNet, TorchModel, textures
from widgetkit.errors import BadActivations, InvalidInput
from widgetkit.explain import ClassTarget, upsample
from widgetkit.explain.cam import Cam
from widgetkit.explain.faithfulness import deletion, insertion, pixel_order
from widgetkit.testing.maps import SmallNet, example_batch


def deletion_reference(
    model: TorchModel, image: np.ndarray, values: np.ndarray, index: int, steps: int
) -> list[float]:
    """One step at a time; the map's values are all different, so the order is theirs alone."""
    order = sorted(np.ndindex(*values.shape), key=lambda p: -values[p])
    fill = image.reshape(-1, 3).mean(axis=0)
    scores = []
    for step in range(steps + 1):
        changed = image.astype(np.float32)
        for position in order[: round(step / steps * len(order))]:
            changed[position] = fill
        logits = model.logits(changed[None])[0].astype(float)
        scores.append(np.exp(logits[index]) / np.exp(logits).sum())
    return scores


@pytest.mark.parametrize("shape", [(8, 12), (4, 8, 4)])
def test_deletion_equals_the_slow_loop(shape: tuple[int, ...]) -> None:
    model = TorchModel(ConvNet(len(shape)))
    images = textures(2, shape)
    maps = np.random.default_rng(0).random((2, *shape)).astype(np.float32)
    curve = deletion(model, images, maps, ClassTarget(1), steps=7, batch_size=3)
    for tile in range(2):
        expected = deletion_reference(model, images[tile], maps[tile], 1, 7)
        assert_allclose(curve.scores[tile], expected, atol=1e-5)


def test_insertion_of_the_opposite_map_is_deletion_backwards() -> None:
    model, images = TorchModel(ConvNet()), textures(3, (12, 12))
    maps = np.random.default_rng(1).random((3, 12, 12))
    for score in ("probability", "logit"):
        kind: Literal["probability", "logit"] = score  # type: ignore[assignment]
        gone = deletion(model, images, maps, ClassTarget(0), steps=12, score=kind)
        come = insertion(model, images, -maps, ClassTarget(0), steps=12, score=kind)
        assert_allclose(gone.scores, come.scores[:, ::-1], atol=1e-6)
        assert_allclose(gone.auc, come.auc, atol=1e-6)


def test_the_curve_begins_with_the_image_and_ends_with_the_baseline() -> None:
    model, images = TorchModel(ConvNet()), textures(2, (8, 8))
    maps = np.random.default_rng(1).random((2, 4, 4))
    curve = deletion(model, images, maps, ClassTarget(2), steps=5, baseline=0.0, score="logit")
    assert_allclose(curve.scores[:, 0], model.logits(images)[:, 2], rtol=1e-5)
    assert_allclose(curve.scores[:, -1], model.logits(np.zeros_like(images))[:, 2], atol=1e-5)
    assert_allclose(curve.fractions, np.linspace(0, 1, 6))


def test_area_is_the_trapezoids() -> None:
    model, images = TorchModel(ConvNet()), textures(2, (8, 8))
    curve = insertion(
        model, images, np.random.default_rng(0).random((2, 8, 8)), ClassTarget(0), steps=4
    )
    assert_allclose(curve.auc, np.trapezoid(curve.scores, curve.fractions, axis=1))


def test_the_exact_map_is_more_faithful_than_its_opposite() -> None:
    """CAM splits the logit of this network exactly, so following it must be the steepest way down."""
    batch = example_batch(tiles=6)
    net = batch.model
    assert isinstance(net, SmallNet) and batch.images is not None
    maps = Cam().compute(batch, ClassTarget(0))
    blocks = np.kron(maps, np.ones((1, 4, 4)))
    best, worst = (
        deletion(net, batch.images, m, ClassTarget(0), baseline=0.0, score="logit")
        for m in (blocks, -blocks)
    )
    assert (best.auc < worst.auc).all()
    best, worst = (
        insertion(net, batch.images, m, ClassTarget(0), baseline=0.0, score="logit")
        for m in (blocks, -blocks)
    )
    assert (best.auc > worst.auc).all()


def test_a_whole_image_as_baseline() -> None:
    model, images = TorchModel(ConvNet()), textures(2, (8, 8))
    blurred = np.stack([upsample(np.moveaxis(i, -1, 0)[:, ::4, ::4], (8, 8)) for i in images])
    blurred = np.moveaxis(blurred, 1, -1)
    curve = insertion(
        model,
        images,
        np.random.default_rng(0).random((2, 8, 8)),
        ClassTarget(0),
        baseline=blurred,
        score="logit",
    )
    assert_allclose(curve.scores[:, 0], model.logits(blurred)[:, 0], rtol=1e-4, atol=1e-5)


def test_pixels_of_equal_value_come_in_a_seeded_order() -> None:
    flat = np.zeros((2, 6, 6), np.float32)
    first = pixel_order(flat, 0)
    assert_array_equal(first, pixel_order(flat, 0))
    assert_array_equal(first[0], first[1])
    assert (first != pixel_order(flat, 1)).any()
    assert sorted(first[0].ravel()) == list(range(36))
    assert (np.diff(first[0].ravel()) != 1).any()  # not from the top left


def test_no_tiles_and_cancelling() -> None:
    net = SmallNet((2, 2))
    none = deletion(
        net, np.zeros((0, 8, 8, 3), np.uint8), np.zeros((0, 2, 2)), ClassTarget(0), steps=3
    )
    assert none.scores.shape == (0, 4) and none.auc.shape == (0,)

    class Stop(Exception):
        pass

    def stop() -> None:
        raise Stop

    with pytest.raises(Stop):
        deletion(net, textures(2, (8, 8)), np.zeros((2, 2, 2)), ClassTarget(0), check=stop)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"steps": 0}, "steps is 0"),
        ({"score": "loss"}, "'probability' or 'logit'"),
        ({"target": ClassTarget(9)}, "Class 9"),
        ({"baseline": "blur"}, "baseline is 'blur'"),
        ({"maps": np.zeros((3, 2, 2))}, "one map"),
    ],
)
def test_wrong_arguments_are_named(changes: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"maps": np.zeros((2, 2, 2)), "target": ClassTarget(0), **changes}
    maps, target = given.pop("maps"), given.pop("target")
    with pytest.raises(InvalidInput, match=message):
        deletion(SmallNet((2, 2)), textures(2, (8, 8)), maps, target, **given)


def test_nan_in_a_map_is_refused() -> None:
    with pytest.raises(BadActivations, match="no order"):
        deletion(SmallNet((2, 2)), textures(1, (8, 8)), np.full((1, 2, 2), np.nan), ClassTarget(0))
