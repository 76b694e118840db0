"""Arrays as tiles."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from widgetkit import tiles
from widgetkit.errors import BadImage, BadMetadata, InvalidInput, NoTissue


@pytest.mark.parametrize(
    ("shape", "dtype", "volume", "expected", "read_dtype"),
    [
        ((3, 8, 9), np.uint8, False, (8, 9), np.uint8),
        ((3, 8, 9, 3), np.uint8, False, (8, 9, 3), np.uint8),
        ((3, 8, 9, 4), np.uint8, False, (8, 9, 3), np.uint8),
        ((3, 8, 9), np.uint16, False, (8, 9), np.uint16),
        ((3, 8, 9), np.int16, False, (8, 9), np.float32),
        ((3, 8, 9), np.float64, False, (8, 9), np.float32),
        ((3, 8, 9), bool, False, (8, 9), np.uint8),
        ((3, 4, 8, 9), np.uint8, True, (4, 8, 9), np.uint8),
        ((3, 1, 8, 9), np.float32, True, (1, 8, 9), np.float32),
        ((3, 4, 8, 9, 3), np.uint8, True, (4, 8, 9, 3), np.uint8),
    ],
)
def test_every_kind(rng, shape, dtype, volume, expected, read_dtype) -> None:
    array = rng.integers(0, 2, shape).astype(dtype)
    source = tiles.from_array(array, volume=volume)
    assert source.shape == expected and source.dtype == read_dtype and len(source) == 3
    assert source.table["size"].tolist() == [8] * 3
    read = source.read([2, 0])
    assert read.shape == (2, *expected) and read.dtype == read_dtype
    assert source.display(read).dtype == np.uint8
    if dtype is not bool and shape[-1] != 4:
        np.testing.assert_array_equal(read, array[[2, 0]])


@pytest.mark.parametrize(
    ("shape", "volume"),
    [
        ((8, 9), False),
        ((2, 3, 8, 9), False),
        ((2, 8, 9), True),
        ((2, 8, 9, 2), False),
        ((2, 2, 2), False),
    ],
)
def test_shapes_that_are_no_images(shape, volume) -> None:
    with pytest.raises(BadImage):
        tiles.from_array(np.zeros(shape, np.uint8), volume=volume)


def test_a_forgotten_volume_is_hinted_at() -> None:
    with pytest.raises(BadImage, match="volume=True"):
        tiles.from_array(np.zeros((2, 16, 8, 9), np.uint8))


def test_no_tile() -> None:
    with pytest.raises(NoTissue):
        tiles.from_array(np.zeros((0, 8, 8), np.uint8))


def test_a_nan_is_named_when_read() -> None:
    array = np.zeros((200, 8, 8), np.float32)
    array[101, 3, 3] = np.nan
    source = tiles.from_array(array, window=(0, 1))
    source.read([0])
    with pytest.raises(BadImage, match="Tile 101"):
        source.read([100, 101])


def test_own_ids_do_not_depend_on_the_order() -> None:
    array = np.arange(3 * 64, dtype=np.uint8).reshape(3, 8, 8)
    one = tiles.from_array(array, ids=["p", "q", "r"]).table.set_index("name")["id"]
    other = tiles.from_array(array[::-1], ids=["r", "q", "p"]).table.set_index("name")["id"]
    assert one.to_dict() == other.to_dict()
    for ids, error in (
        (["p", "q"], BadMetadata),
        (["p", "p", "q"], BadMetadata),
        (["", "p", "q"], InvalidInput),
    ):
        with pytest.raises(error):
            tiles.from_array(array, ids=ids)


def test_a_memory_map_is_read_piece_by_piece(tmp_path) -> None:
    np.save(tmp_path / "a.npy", np.arange(5 * 64, dtype=np.uint16).reshape(5, 8, 8))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    source = tiles.from_array(mapped)
    assert source.read([4])[0, 0, 0] == 256
    assert pickle.loads(pickle.dumps(source)).read([4])[0, 0, 0] == 256


def test_the_window_comes_from_the_whole_array_and_can_be_given() -> None:
    array = np.linspace(-1000, 1000, 4 * 64, dtype=np.float32).reshape(4, 8, 8)
    low, high = tiles.from_array(array).window
    assert low == pytest.approx(-1000, abs=10) and high == pytest.approx(1000, abs=10)
    assert tiles.from_array(array, window=(-100, 200)).window == (-100.0, 200.0)
    for window in ((1, 1), (2, 1), (0, np.nan)):
        with pytest.raises(InvalidInput):
            tiles.from_array(array, window=window)


def test_metadata_of_the_wrong_length() -> None:
    with pytest.raises(BadMetadata):
        tiles.from_array(np.zeros((4, 8, 8), np.uint8), metadata={"a": [1, 2, 3]})
