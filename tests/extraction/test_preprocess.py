"""From tiles to tensors, against a slow loop."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.extraction.conftest import textures
from widgetkit.errors import BadImage, InvalidInput
from widgetkit.extraction import Preprocess


def reference(images, p, channels):
    """The definition, pixel by pixel."""
    colour = images.ndim >= 4 and images.shape[-1] == 3
    x = images.astype(np.float64)
    x = np.moveaxis(x, -1, 1) if colour else x[:, None]
    if x.shape[1] == 1 and channels == 3:
        x = np.repeat(x, 3, axis=1)
    out = np.empty(x.shape)
    for c in range(x.shape[1]):
        mean = p.mean[c if len(p.mean) > 1 else 0]
        std = p.std[c if len(p.std) > 1 else 0]
        out[:, c] = (x[:, c] / p.scale - mean) / std
    return out


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 3), (4, 9, 7), (4, 9, 7, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_agrees_with_the_definition(shape, dtype):
    images = textures(2, shape).astype(dtype)
    p = Preprocess(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), channels=3)
    x = p(images)
    assert x.dtype == torch.float32
    np.testing.assert_allclose(x.numpy(), reference(images, p, 3), atol=2e-6)


def test_the_callers_array_is_never_changed():
    images = textures(2).astype(np.float32)
    before = images.copy()
    Preprocess(scale=255)(images)
    Preprocess(scale=255)(images[:, ::2])
    assert np.array_equal(images, before)
    images.flags.writeable = False
    Preprocess()(images)


def test_colour_to_grey_and_resize():
    x = Preprocess(channels=1, size=16)(textures(2))
    assert x.shape == (2, 1, 16, 16)
    assert Preprocess(size=(4, 8, 6))(textures(1, (8, 8, 8))).shape == (1, 1, 4, 8, 6)
    flat = np.full((1, 32, 32, 3), 100, np.uint8)
    assert torch.allclose(Preprocess(channels=1, size=5)(flat), torch.tensor(100 / 255))


@settings(deadline=None, max_examples=25)
@given(
    mean=st.lists(st.floats(-1, 1), min_size=1, max_size=3),
    std=st.floats(0.01, 10),
    scale=st.sampled_from([1.0, 255.0, 65535.0]),
    size=st.one_of(st.none(), st.integers(1, 500), st.tuples(st.integers(1, 9), st.integers(1, 9))),
    window=st.one_of(st.none(), st.just((-1000.0, 400.0))),
)
def test_json_round_trip(mean, std, scale, size, window):
    p = Preprocess(tuple(mean), (std,), scale, size, window=window, note="x")
    assert Preprocess.from_dict(json.loads(json.dumps(p.to_dict()))) == p


def test_suggestions_and_where_they_come_from():
    colour, grey = nn.Conv2d(3, 4, 3), nn.Conv2d(1, 4, 3)
    p = Preprocess.suggest((32, 32, 3), np.uint8, colour)
    assert p.mean == (0.485, 0.456, 0.406) and "ImageNet" in p.note
    assert Preprocess.suggest((32, 32), np.uint8, colour).channels == 3
    p = Preprocess.suggest((32, 32), np.uint16, grey)
    assert (p.scale, p.channels, p.mean) == (65535.0, 1, (0.0,))
    colour.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    p = Preprocess.suggest((32, 32, 3), np.uint8, colour)
    assert p.mean == (0.5, 0.5, 0.5) and "pretrained_cfg" in p.note


def test_pictures_go_back_to_the_tiles_units():
    p = Preprocess(scale=1, window=(-1000.0, 400.0))
    pictures = np.array([[[0, 255]]], np.uint8)
    assert p.from_pictures(pictures).tolist() == [[[-1000.0, 400.0]]]
    assert Preprocess().from_pictures(pictures) is pictures


@pytest.mark.parametrize(
    "wrong",
    [
        {"mean": (float("nan"),)},
        {"std": (0.0,)},
        {"scale": 0},
        {"size": 0},
        {"channels": 2},
        {"channels": 3, "mean": (1.0, 2.0)},
        {"window": (3.0, 1.0)},
    ],
)
def test_impossible_values_are_named(wrong):
    with pytest.raises(InvalidInput, match=next(iter(wrong)) if len(wrong) == 1 else "mean"):
        Preprocess(**wrong)


def test_wrong_batches_and_records():
    with pytest.raises(BadImage, match="shape"):
        Preprocess()(np.zeros((4, 4), np.uint8))
    with pytest.raises(BadImage, match="channels=3"):
        Preprocess(mean=(1.0, 2.0, 3.0))(np.zeros((1, 4, 4), np.uint8))
    with pytest.raises(InvalidInput, match="recorded"):
        Preprocess.from_dict({"mean": "red"})
