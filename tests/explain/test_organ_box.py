"""Boxes around organs, and what is resampled from them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from widgetkit.errors import InvalidInput
from widgetkit.explain import align, area_mean, organ_boxes, upsample


def boxes_reference(masks: np.ndarray) -> np.ndarray:
    """Pixel by pixel."""
    found = np.zeros((len(masks), masks.ndim - 1, 2))
    for i, mask in enumerate(masks):
        at = np.argwhere(mask)
        found[i, :, 0], found[i, :, 1] = at.min(axis=0), at.max(axis=0) + 1
    return found


def sampled_reference(values: np.ndarray, box: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Linear interpolation at the centre of each cell of the frame, one number at a time."""
    found = np.zeros(shape)
    for cell in np.ndindex(*shape):
        total = 0.0
        corners = []
        for (low, high), j, m, side in zip(box, cell, shape, values.shape, strict=True):
            at = min(max(low + (j + 0.5) * (high - low) / m - 0.5, 0.0), side - 1.0)
            below = int(np.floor(at))
            corners.append(((below, 1 - (at - below)), (min(below + 1, side - 1), at - below)))
        for pick in np.ndindex(*(2,) * len(shape)):
            weight = np.prod([corners[a][p][1] for a, p in enumerate(pick)])
            total += weight * values[tuple(corners[a][p][0] for a, p in enumerate(pick))]
        found[cell] = total
    return found


SIZES = st.lists(st.integers(2, 9), min_size=2, max_size=3).map(tuple)


@settings(deadline=None, max_examples=40)
@given(SIZES, st.integers(0, 2**31))
def test_boxes_hold_the_organ_and_nothing_beside_it(size: tuple[int, ...], seed: int) -> None:
    generator = np.random.default_rng(seed)
    masks = generator.random((4, *size)) < 0.2
    masks[(np.arange(4), *generator.integers(0, size, (4, len(size))).T)] = True
    assert_array_equal(organ_boxes(masks), boxes_reference(masks))


def test_a_margin_ends_at_the_border() -> None:
    masks = np.zeros((1, 8, 10), bool)
    masks[0, 1:4, 5:9] = True
    assert organ_boxes(masks, margin=2)[0].tolist() == [[0, 6], [3, 10]]
    assert organ_boxes(masks, margin=0.5)[0].tolist() == [[0.5, 4.5], [4.5, 9.5]]


def test_an_empty_mask_is_said_and_is_the_whole_image() -> None:
    masks = np.zeros((3, 6, 7), bool)
    masks[0, 2, 3] = True
    with pytest.warns(UserWarning, match=r"2 of 3 masks are empty \(the first is number 1\)"):
        boxes = organ_boxes(masks)
    assert boxes[0].tolist() == [[2, 3], [3, 4]] and boxes[2].tolist() == [[0, 6], [0, 7]]
    assert organ_boxes(masks[:0]).shape == (0, 2, 2)


@pytest.mark.parametrize(
    ("masks", "options"),
    [(np.zeros((2, 4, 4)), {}), (np.zeros((2, 0, 4), bool), {}), (np.zeros(4, bool), {}),
     (np.zeros((1, 4, 4), bool), {"margin": -1}), (np.zeros((1, 4, 4), bool), {"margin": np.nan})],
)  # fmt: skip
def test_what_are_no_masks(masks: np.ndarray, options: dict[str, Any]) -> None:
    with warnings.catch_warnings(), pytest.raises(InvalidInput):
        warnings.simplefilter("ignore")
        organ_boxes(masks, **options)


# -- alignment ---------------------------------------------------------------------------
@pytest.mark.parametrize("organ", [(6, 5), (3, 4, 5)])
def test_an_organ_that_was_shifted_comes_back_exactly(organ: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    inside = generator.normal(size=organ).astype(np.float32)
    size = tuple(2 * side + 3 for side in organ)
    images = generator.normal(size=(9, *size)).astype(np.float32)
    masks = np.zeros((9, *size), bool)
    for i in range(9):
        low = generator.integers(0, np.array(size) - organ + 1)
        at = tuple(slice(a, a + side) for a, side in zip(low, organ, strict=True))
        images[(i, *at)], masks[(i, *at)] = inside, True
    found = align(images, organ_boxes(masks), organ)
    assert_array_equal(found, np.broadcast_to(inside, (9, *organ)))


def test_organs_of_other_sizes_come_to_one() -> None:
    """The same ramp, in boxes of 4, 8, 16 and 40 pixels: finer, equal and coarser than the frame."""
    images, boxes = np.zeros((4, 48, 48), np.float32), np.zeros((4, 2, 2))
    for i, side in enumerate((4, 8, 16, 40)):
        at = (np.arange(48) - 4 + 0.5) / side  # 0 to 1 inside the box
        images[i] = at[:, None] + 2 * at[None, :]
        boxes[i] = (4, 4 + side)
    found = align(images, boxes, (8, 8))
    middle = (np.arange(8) + 0.5) / 8
    assert_allclose(found, np.broadcast_to(middle[:, None] + 2 * middle, (4, 8, 8)), atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(SIZES, st.integers(0, 2**31))
def test_finer_frames_are_interpolated_as_by_hand(size: tuple[int, ...], seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(2, *size))
    low = generator.uniform(-1, 1, (2, len(size)))
    high = generator.uniform(1.5, np.array(size) + 1, (2, len(size)))
    boxes = np.stack([low, high], axis=-1)
    frame = tuple(int(np.ceil(s)) for s in (high - low).max(axis=0))  # a step of at most one cell
    found = align(values, boxes, frame)
    for i in range(2):
        assert_allclose(found[i], sampled_reference(values[i], boxes[i], frame), atol=1e-5)


@pytest.mark.parametrize(("grid", "frame"), [((4, 5), (12, 10)), ((2, 3, 4), (5, 9, 8))])
def test_the_whole_image_is_upsampled_by_the_same_convention(
    grid: tuple[int, ...], frame: tuple[int, ...]
) -> None:
    values = np.random.default_rng(1).normal(size=(3, *grid)).astype(np.float32)
    whole = np.broadcast_to(np.stack([np.zeros(len(grid)), grid], axis=-1), (3, len(grid), 2))
    for found in (align(values, None, frame), align(values, whole, frame)):
        assert_allclose(found, upsample(values, frame), atol=1e-6)
        mode = "bilinear" if len(grid) == 2 else "trilinear"
        torchs = torch.nn.functional.interpolate(
            torch.from_numpy(values)[:, None], frame, mode=mode, align_corners=False
        )
        assert_allclose(found, torchs[:, 0].numpy(), atol=1e-5)
    assert_array_equal(align(values, None, grid), values)


def test_coarser_frames_are_means_over_areas() -> None:
    values = np.random.default_rng(2).normal(size=(3, 12, 10)).astype(np.float32)
    assert_allclose(align(values, None, (5, 3)), area_mean(values, (5, 3)), atol=1e-6)
    part = np.broadcast_to(np.array([[2.0, 8.0], [1.0, 10.0]]), (3, 2, 2))
    expected = area_mean(values[:, 2:8, 1:10], (4, 3))
    assert_allclose(align(values, part, (4, 3)), expected, atol=1e-6)


def test_boxes_are_in_pixels_of_the_image_whatever_the_map() -> None:
    """A map of 8 x 8 over 64 x 64 pixels: a box of two by four cells."""
    maps = np.arange(64, dtype=np.float32).reshape(1, 8, 8)
    box = [[[16, 32], [8, 40]]]
    assert_array_equal(align(maps, box, (2, 4), size=(64, 64)), maps[:, 2:4, 1:5])


def test_colours_are_aligned_like_grey() -> None:
    images = np.random.default_rng(3).integers(0, 256, (2, 9, 8, 3), dtype=np.uint8)
    boxes = [[[1, 7], [2, 7]], [[0, 9], [0, 8]]]
    found = align(images, boxes, (5, 6))
    for c in range(3):
        assert_array_equal(found[..., c], align(images[..., c], boxes, (5, 6)))
    volumes = align(np.zeros((2, 3, 4, 5, 3)), None, (2, 2, 2))
    assert volumes.shape == (2, 2, 2, 2, 3)


def test_a_box_beyond_the_border_repeats_the_edge() -> None:
    values = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    found = align(values, [[[-2, 4], [0, 4]]], (6, 4))[0]
    assert_array_equal(found[:2], np.broadcast_to(values[0, 0], (2, 4)))
    assert_array_equal(found[2:], values[0])
    coarse = align(values, [[[-8, 4], [0, 4]]], (3, 4))[0]
    assert_array_equal(coarse[0], values[0, 0])  # not one pixel of the image lies there


@pytest.mark.parametrize(
    ("box", "words"),
    [([[2, 2], [0, 4]], "Box 1"), ([[3, 2], [0, 4]], "empty"), ([[np.nan, 2], [0, 4]], "finite"),
     ([[4, 6], [0, 4]], "outside"), ([[-3, 0], [0, 4]], "outside"), ([[0, np.inf], [0, 4]], "1 of 2")],
)  # fmt: skip
def test_a_box_that_is_none_is_named(box: list[list[float]], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        align(np.zeros((2, 4, 4)), [[[0, 4], [0, 4]], box], (4, 4))


@pytest.mark.parametrize(
    ("values", "boxes", "shape", "options"),
    [((2, 4, 4), (2, 2), (4, 4), {}), ((2, 4, 4), (1, 2, 2), (4, 4), {}), ((2, 4), None, (4, 4), {}),
     ((2, 4, 4), None, (0, 4), {}), ((2, 4, 4), None, (4, 4), {"size": (4,)}),
     ((2, 0, 4), None, (4, 4), {})],
)  # fmt: skip
def test_shapes_that_do_not_fit(
    values: Any, boxes: Any, shape: Any, options: dict[str, Any]
) -> None:
    given_boxes = None if boxes is None else np.zeros(boxes)
    with pytest.raises(InvalidInput):
        align(np.zeros(values), given_boxes, shape, **options)
    with pytest.raises(InvalidInput, match="no numbers"):
        align(np.zeros((1, 2, 2)), [[["a", "b"], [0, 1]]], (2, 2))
