"""Maps of clusters: mean, variance, members, words; few members, none, and bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from widgetkit.errors import BadImage, InvalidInput
from widgetkit.explain import ClusterMaps, align, cluster_maps, organ_boxes
from widgetkit.explain.cluster_maps import FRAME_MOST

MAPS = np.random.default_rng(0).gamma(1, 1, (9, 4, 5)).astype(np.float32)
LABELS = np.array([0, 1, 0, 1, 1, 0, 0, 1, -1])


# -- mean and variance -------------------------------------------------------------------
def test_mean_and_variance_are_those_of_the_members() -> None:
    found = cluster_maps(MAPS, LABELS, scaling="shared")
    for c in range(2):
        own = MAPS[c == LABELS].astype(float)
        assert_allclose(found.mean[c], own.sum(axis=0) / 4, rtol=1e-6)
        variance = ((own - own.mean(axis=0)) ** 2).sum(axis=0) / 3
        assert_allclose(found.variance[c], variance, rtol=1e-5)
    assert found.count.tolist() == [4, 4] and found.shape == (4, 5) and found.k == 2
    assert found.images is found.member_images is found.organ is None


def test_variance_in_closed_form() -> None:
    """a, a + t, a + 2t at every place: mean a + t, variance t squared."""
    base = np.random.default_rng(1).random((6, 6))
    maps = np.stack([base, base + 0.5, base + 1.0])
    found = cluster_maps(maps, [0, 0, 0], scaling="shared")
    assert_allclose(found.mean[0], base + 0.5, rtol=1e-6)
    assert_allclose(found.variance[0], 0.25, rtol=1e-5)


def test_large_offsets_do_not_eat_the_variance() -> None:
    maps = (1e6 + np.arange(3.0))[:, None, None] * np.ones((3, 2, 2))
    assert_allclose(cluster_maps(maps, [0, 0, 0], scaling="shared").variance, 1.0, rtol=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.permutations(range(9)))
def test_the_order_of_the_members_makes_no_difference(order: list[int]) -> None:
    found, other = cluster_maps(MAPS, LABELS), cluster_maps(MAPS[order], LABELS[order])
    assert_allclose(found.mean, other.mean, rtol=1e-6)
    assert_allclose(found.variance, other.variance, rtol=1e-5, atol=1e-9)
    assert_array_equal(found.count, other.count)
    assert_array_equal(np.array(order)[other.rows], found.rows)
    assert found.sentences == other.sentences


def test_maps_of_other_strength_count_alike() -> None:
    strong = MAPS * np.geomspace(1e-3, 1e3, 9).reshape(-1, 1, 1).astype(np.float32)
    found, other = cluster_maps(MAPS, LABELS), cluster_maps(strong, LABELS)
    assert_allclose(found.mean, other.mean, rtol=1e-5)
    assert_allclose(found.mean.mean(axis=(1, 2)), 1, rtol=1e-6)  # 1 is an even map
    assert "divided by its own mean" in found.describe()
    shared = cluster_maps(strong, LABELS, scaling="shared")
    assert shared.mean.max() > 100 and "the scale they were given in" in shared.describe()


def test_negative_values_are_scaled_by_their_size() -> None:
    maps = np.array([[[1.0, -3.0]], [[-2.0, 2.0]]])
    found = cluster_maps(maps, [0, 1])
    assert_allclose(found.mean, [[[0.5, -1.5]], [[-1, 1]]])
    assert found.signed and not cluster_maps(MAPS, LABELS).signed


def test_maps_that_are_zero_stay_zero_and_are_said() -> None:
    maps = MAPS.copy()
    maps[[0, 8]] = 0  # the last is in no cluster
    found = cluster_maps(maps, LABELS)
    assert np.isfinite(found.mean).all() and np.isfinite(found.variance).all()
    assert "1 map is 0 everywhere and counts as such." in found.describe()


# -- alignment ---------------------------------------------------------------------------
def planted(d: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Organs of (10, 8[, 6]) at many places; the maps light the near or the far corner of the organ."""
    generator = np.random.default_rng(2)
    organ, size = (10, 8, 6)[:d], (24, 22, 20)[:d]
    n = 12
    labels = np.arange(n) % 2
    images = generator.integers(0, 40, (n, *size), dtype=np.uint8)
    maps, masks = np.zeros((n, *size), np.float32), np.zeros((n, *size), bool)
    for i in range(n):
        low = generator.integers(0, np.array(size) - organ + 1)
        inside = tuple(slice(a, a + side) for a, side in zip(low, organ, strict=True))
        masks[(i, *inside)] = True
        images[(i, *inside)] = 200
        near = tuple(
            slice(a, a + 2) if labels[i] == 0 else slice(a + side - 2, a + side)
            for a, side in zip(low, organ, strict=True)
        )
        maps[(i, *near)] = 1 + i
    return maps, labels, images, masks


@pytest.mark.parametrize("d", [2, 3])
def test_organs_at_other_places_are_laid_over_one_another(d: int) -> None:
    maps, labels, images, masks = planted(d)
    found = cluster_maps(maps, labels, images=images, masks=masks)
    assert found.shape == (10, 8, 6)[:d]
    lit = np.zeros((2, *found.shape), bool)
    lit[(0, *(slice(0, 2),) * d)] = lit[(1, *(slice(-2, None),) * d)] = True
    assert_array_equal(found.mean > 0, lit)
    assert_allclose(found.variance, 0, atol=1e-9)
    assert found.images is not None and found.organ is not None
    assert_array_equal(found.images, np.full((2, *found.shape), 200, np.float32))
    assert_array_equal(found.organ, np.ones((2, *found.shape), np.float32))
    same = cluster_maps(maps, labels, images=images, boxes=organ_boxes(masks))
    assert_array_equal(same.mean, found.mean)
    assert same.organ is None and "the box of its organ" in same.describe()
    assert "the box around its organ's mask" in found.describe()


def test_without_boxes_nothing_is_aligned_and_that_is_said() -> None:
    maps, labels, images, _ = planted()
    found = cluster_maps(maps, labels, images=images)
    assert found.shape == (24, 22) and (found.variance > 0).any()
    assert "Nothing was aligned" in found.describe()


def test_coarse_maps_and_fine_images_share_a_frame() -> None:
    maps, labels, images, masks = planted()
    coarse = maps.reshape(12, 12, 2, 11, 2).mean(axis=(2, 4))
    found = cluster_maps(coarse, labels, images=images, masks=masks, shape=(20, 16))
    assert found.mean.shape == found.images.shape == (2, 20, 16)
    boxes = organ_boxes(masks)
    aligned = align(coarse, boxes, (20, 16), size=(24, 22))
    aligned /= aligned.mean(axis=(1, 2), keepdims=True)
    assert_allclose(found.mean[1], aligned[labels == 1].mean(axis=0), rtol=1e-4)
    assert_array_equal(
        cluster_maps(coarse, labels, boxes=boxes, size=(24, 22), shape=(20, 16)).mean, found.mean
    )


def test_frames_are_no_larger_than_anybody_looks_at() -> None:
    images = np.zeros((4, 300, 150), np.uint8)
    found = cluster_maps(MAPS[:4], [0, 0, 1, 1], images=images)
    assert found.shape == (FRAME_MOST, FRAME_MOST // 2)


def test_colours_and_unequal_boxes() -> None:
    images = np.random.default_rng(4).integers(0, 256, (9, 20, 30, 3), dtype=np.uint8)
    boxes = np.array([[[0, 8 + i], [i, 20 + i]] for i in range(9)], float)
    found = cluster_maps(MAPS, LABELS, images=images, boxes=boxes)
    assert found.shape == (12, 20)  # the median box
    assert found.images is not None and found.images.shape == (2, 12, 20, 3)
    own = align(images, boxes, (12, 20))[LABELS == 0]
    assert_allclose(found.images[0], own.mean(axis=0), rtol=1e-5)


# -- members -----------------------------------------------------------------------------
def test_the_surest_members_stand_for_the_cluster() -> None:
    weights = np.linspace(0, 1, 18).reshape(9, 2)
    found = cluster_maps(MAPS, LABELS, weights=weights, members=2)
    assert found.rows.tolist() == [[6, 5], [7, 4]]
    assert "largest weight" in found.describe()
    assert_array_equal(
        cluster_maps(MAPS, LABELS, weights=np.arange(9.0), members=2).rows, found.rows
    )
    assert_array_equal(found.mean, cluster_maps(MAPS, LABELS).mean)  # each counts once


def test_without_weights_the_middle_ones_do() -> None:
    base = np.random.default_rng(5).gamma(1, 1, (5, 6))
    noise = np.random.default_rng(6).normal(size=(7, 5, 6))
    maps = base + np.array([3, 2, 0.01, 2, 3, 2.5, 1])[:, None, None] * noise * 0.1
    found = cluster_maps(maps, np.zeros(7, int), scaling="shared", members=7)
    cost = np.linalg.norm(maps.reshape(7, 1, -1) - maps.reshape(1, 7, -1), axis=-1).mean(axis=1)
    assert_array_equal(found.rows[0], np.argsort(cost))
    assert_allclose(found.member_maps[0], maps[found.rows[0]], rtol=1e-6)
    assert "medoid" in found.describe()


def test_members_come_with_their_images_in_order() -> None:
    maps, labels, images, masks = planted()
    images = images + np.arange(12, dtype=np.uint8).reshape(-1, 1, 1)
    found = cluster_maps(maps, labels, images=images, masks=masks, weights=-np.arange(12.0))
    assert found.rows.tolist() == [[0, 2, 4], [1, 3, 5]]
    assert found.member_images is not None
    assert_array_equal(found.member_images[1, :, 0, 0], [201, 203, 205])
    assert cluster_maps(maps, labels, members=0).rows.shape == (2, 0)


# -- few, and none -----------------------------------------------------------------------
def test_clusters_of_one_and_of_none() -> None:
    labels = [0, 0, 0, 0, 0, 2, 3, 3, -1]
    with np.errstate(all="raise"):
        found = cluster_maps(MAPS, labels, k=5, images=MAPS, names=list("abcde"))
    assert found.count.tolist() == [5, 0, 1, 2, 0]
    assert np.isfinite(found.mean).all() and np.isfinite(found.variance).all()
    assert (found.variance[[1, 2, 4]] == 0).all() and (found.variance[3] > 0).all()
    assert_allclose(found.mean[2], MAPS[5] / MAPS[5].mean(), rtol=1e-6)
    assert found.rows[2].tolist() == [5, -1, -1] and found.rows[1].tolist() == [-1, -1, -1]
    assert (found.mean[1] == 0).all() and (found.member_maps[1] == 0).all()
    words = found.describe()
    assert "a 5, b 0, c 1, d 2, e 0. 1 image is in no cluster." in words
    assert "Without a member, and drawn empty: b, e." in words
    assert "With one member, whose map is the mean and whose variance is set to 0: c." in words
    assert "Of fewer than 5 members, so that little is known: d." in words


def test_nobody_is_in_a_cluster() -> None:
    found = cluster_maps(MAPS, np.full(9, -1), k=2)
    assert found.count.tolist() == [0, 0] and not found.mean.any()
    nothing = cluster_maps(MAPS[:0], np.zeros(0, int), k=1)
    assert nothing.mean.shape == (1, 4, 5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"labels": LABELS[:5]}, "9 whole numbers"),
        ({"labels": LABELS + 0.5}, "whole numbers"),
        ({"labels": LABELS - 1}, "from -2"),
        ({"labels": np.full(9, -1)}, "0 clusters"),
        ({"k": 1}, "from -1 to 1; there are 1 clusters"),
        ({"names": ["a"]}, "2 texts"),
        ({"names": "ab"}, "2 texts"),
        ({"maps": MAPS[0]}, "one an image"),
        ({"weights": np.ones((9, 3))}, r"\(9,\) or \(9, 2\)"),
        ({"images": np.zeros((8, 4, 5))}, "9 of 2 dimensions"),
        ({"images": np.zeros((9, 4))}, "9 of 2 dimensions"),
        ({"images": np.zeros((9, 4, 5)), "masks": np.ones((9, 4, 6), bool)}, "one size"),
        ({"images": np.zeros((9, 4, 5)), "size": (4, 6)}, "does not fit"),
        ({"shape": (4,)}, "2 dimensions"),
        ({"shape": (0, 4)}, "each of shape"),
        ({"scaling": "sum"}, "scaling"),
        ({"members": -1}, "members"),
        ({"least": 0}, "least"),
        ({"boxes": np.zeros((9, 2, 2))}, "Box 0"),
    ],
)
def test_what_does_not_fit_is_said(options: dict[str, Any], words: str) -> None:
    given_ = {"maps": MAPS, "labels": LABELS} | options
    with pytest.raises((InvalidInput, LookupError), match=words):
        cluster_maps(given_.pop("maps"), given_.pop("labels"), **given_)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("what", ["maps", "images", "weights"])
def test_values_that_are_not_finite_are_named(what: str, bad: float) -> None:
    broken = {"maps": MAPS.copy(), "images": MAPS.copy(), "weights": np.ones((9, 2))}
    broken[what][3, 1] = bad
    with pytest.raises(BadImage, match=f"{what}: number 3 holds NaN or infinity"):
        cluster_maps(broken.pop("maps"), LABELS, **broken)


def test_the_value_is_frozen_and_small_to_print() -> None:
    found = cluster_maps(MAPS, LABELS)
    assert isinstance(found, ClusterMaps) and len(repr(found)) < 300
    with pytest.raises(AttributeError):
        found.count = found.count  # type: ignore[misc]
