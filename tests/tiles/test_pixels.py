"""What is shown of pixels of every kind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from widgetkit.errors import BadImage, InvalidInput
from widgetkit.tiles.pixels import convert_dtype, display, estimate_window, flatten_alpha


def test_eight_bit_images_are_shown_as_they_are() -> None:
    images = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)
    assert display(images) is images


def test_transparency_is_white() -> None:
    rgba = np.zeros((1, 6, 6, 4), np.uint8)
    assert (display(rgba) == 255).all()
    rgba[..., 3] = 255
    assert (display(rgba) == 0).all()
    rgba[..., 3] = 51  # a fifth of black on white
    assert (display(rgba) == 204).all()


def test_float_rgba_outside_its_range_has_no_white() -> None:
    with pytest.raises(BadImage, match="alpha"):
        flatten_alpha(np.full((5, 5, 4), 3.0, np.float32))


def test_sixteen_bits_use_the_window() -> None:
    deep = np.array([[[0, 1000, 2000, 3000, 65535]] * 5], np.uint16)
    assert display(deep)[0, 0].tolist() == [0, 4, 8, 12, 255]
    assert display(deep, window=(1000, 3000))[0, 0].tolist() == [0, 0, 128, 255, 255]


def test_floats_without_a_range_ask_for_one() -> None:
    with pytest.raises(InvalidInput, match="window"):
        display(np.full((1, 5, 5), 300.0, np.float32))
    assert (display(np.full((1, 5, 5), 0.2, np.float32)) == 51).all()


def test_of_a_volume_the_middle_slice_is_shown() -> None:
    volume = np.zeros((1, 5, 6, 7), np.uint8)
    volume[0, 2] = 9
    assert (display(volume) == 9).all()
    colour = np.zeros((1, 5, 6, 7, 3), np.uint8)
    colour[0, 2] = 9
    assert display(colour).shape == (1, 6, 7, 3) and (display(colour) == 9).all()


@given(
    arrays.arrays(
        np.float32, (2, 5, 5), elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
    )
)
@settings(deadline=None, max_examples=25)
def test_showing_keeps_the_order_of_values(images: np.ndarray) -> None:
    shown = display(images, window=estimate_window(images)).ravel().astype(int)
    order = np.argsort(images.ravel(), kind="stable")
    assert (np.diff(shown[order]) >= 0).all()


def test_numbers_keep_their_values() -> None:
    hounsfield = np.array([[-1024, 0, 3071]], np.int16)
    assert convert_dtype(hounsfield, "it").tolist() == [[-1024.0, 0.0, 3071.0]]
    assert convert_dtype(np.array([True, False]), "it").tolist() == [255, 0]
    assert convert_dtype(np.array([0.5], np.float64), "it").dtype == np.float32


@pytest.mark.parametrize(
    "values",
    [
        np.array([np.nan]), np.array([np.inf], np.float32), np.array([1e300]),
        np.array([1 << 30]), np.array(["a"]), np.array([1j]), np.array([{}], object),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_refused_by_name(values: np.ndarray) -> None:
    with pytest.raises(BadImage, match="Tile 7"):
        convert_dtype(values, "Tile 7")


def test_one_hot_pixel_does_not_turn_all_black() -> None:
    sample = np.full((64, 32, 32), 100, np.uint16)
    sample[:, ::2] = 200
    sample[0, 0, 0] = 65535
    assert estimate_window(sample) == (100.0, 200.0)
    assert estimate_window(np.full((1, 5, 5), 7, np.uint16)) == (7.0, 8.0)
