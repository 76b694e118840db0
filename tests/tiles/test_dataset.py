"""Any torch Dataset, lazily."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from PIL import Image

from widgetkit import tiles
from widgetkit.errors import BadImage, InvalidInput, NoTissue
from widgetkit.tiles.dataset import as_tile


class Items:
    """A data set of anything, which counts how often it was read."""

    def __init__(self, items: list) -> None:
        self.items = items
        self.reads = 0

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int):
        self.reads += 1
        return self.items[index]


def test_a_torch_dataset_with_labels_and_classes() -> None:
    torch = pytest.importorskip("torch")
    images = torch.arange(3 * 3 * 6 * 7, dtype=torch.uint8).reshape(3, 3, 6, 7)
    dataset = torch.utils.data.TensorDataset(images, torch.tensor([0, 1, 1]))
    source = tiles.from_dataset(dataset, labels="read")
    assert source.shape == (6, 7, 3) and source.dtype == np.uint8
    np.testing.assert_array_equal(source.read([1])[0], images[1].permute(1, 2, 0).numpy())
    assert source.table["label"].tolist() == [0, 1, 1]
    assert "label" not in tiles.from_dataset(dataset).table


def test_targets_are_found_through_a_subset_and_named_by_classes() -> None:
    torch = pytest.importorskip("torch")
    inner = Items([(np.zeros((6, 6), np.uint8), i % 2) for i in range(4)])
    inner.targets, inner.classes = torch.tensor([0, 1, 0, 1]), ["cat", "dog"]
    source = tiles.from_dataset(torch.utils.data.Subset(inner, [3, 0]))
    assert source.table["label"].tolist() == ["dog", "cat"]


def test_it_is_lazy() -> None:
    dataset = Items([np.full((6, 6), i % 256, np.uint8) for i in range(1000)])
    source = tiles.from_dataset(dataset)
    assert dataset.reads <= 3
    assert source.read([999])[0, 0, 0] == 999 % 256


@pytest.mark.parametrize(
    ("shape", "tensor", "layout", "expected"),
    [
        ((6, 7), False, "auto", (6, 7)),
        ((1, 6, 7), True, "auto", (6, 7)),
        ((6, 7, 1), False, "auto", (6, 7)),
        ((3, 6, 7), False, "auto", (6, 7, 3)),
        ((6, 7, 3), True, "auto", (6, 7, 3)),
        ((4, 6, 7), True, "auto", (6, 7, 3)),
        ((3, 6, 3), True, "auto", (6, 3, 3)),
        ((3, 6, 3), False, "auto", (3, 6, 3)),
        ((3, 6, 3), False, "CHW", (6, 3, 3)),
        ((16, 6, 7), False, "DHW", (16, 6, 7)),
        ((3, 16, 6, 7), True, "auto", (16, 6, 7, 3)),
        ((1, 16, 6, 7), True, "auto", (16, 6, 7)),
    ],
)
def test_axes(shape, tensor, layout, expected) -> None:
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    if tensor:
        array = pytest.importorskip("torch").from_numpy(array)
    assert as_tile(array, layout, "it").shape == expected


def test_pil_images_of_every_mode() -> None:
    for mode, shape, dtype in (
        ("L", (6, 7), np.uint8), ("1", (6, 7), np.uint8), ("RGB", (6, 7, 3), np.uint8),
        ("RGBA", (6, 7, 3), np.uint8), ("P", (6, 7, 3), np.uint8), ("CMYK", (6, 7, 3), np.uint8),
        ("I;16", (6, 7), np.uint16), ("F", (6, 7), np.float32),
    ):  # fmt: skip
        source = tiles.from_dataset(Items([Image.new(mode, (7, 6))]))
        assert (source.shape, source.dtype) == (shape, dtype), mode


def test_dicts_lists_and_normalised_tensors() -> None:
    item = np.linspace(-2, 2, 36, dtype=np.float32).reshape(6, 6)
    for wrapped in ({"image": item, "label": "a"}, [item, "a"], (item, "a", "path")):
        source = tiles.from_dataset(Items([wrapped]), labels="read")
        assert source.table["label"].tolist() == ["a"]
        assert source.display(source.read([0])).max() == 255
        assert source.read([0]).min() == -2


def test_an_augmenting_dataset_is_refused(rng) -> None:
    class Random(Items):
        def __getitem__(self, index: int):
            return rng.integers(0, 256, (6, 6), dtype=np.uint8)

    with pytest.raises(InvalidInput, match="augmentation"):
        tiles.from_dataset(Random([0, 1]))


def test_bad_items_are_named() -> None:
    good = np.zeros((6, 6), np.uint8)
    source = tiles.from_dataset(Items([good, np.zeros((7, 6), np.uint8)]))
    with pytest.raises(BadImage, match="Tile 1"):
        source.read([1])
    for item in (np.zeros(6), np.zeros((2, 6, 6)), np.zeros((9, 8, 7, 6)), {"pixels": good}, ()):
        with pytest.raises(BadImage, match="Item 0"):
            tiles.from_dataset(Items([item]))
    with pytest.raises(NoTissue):
        tiles.from_dataset(Items([]))
    with pytest.raises(InvalidInput, match="3 labels for 1 items"):
        tiles.from_dataset(Items([good]), labels=[1, 2, 3])


def test_labels_that_are_no_labels_are_left_out() -> None:
    source = tiles.from_dataset(
        Items([(np.zeros((6, 6), np.uint8), {"boxes": [1]})]), labels="read"
    )
    assert "label" not in source.table


def test_it_can_be_sent_to_another_process() -> None:
    source = tiles.from_dataset(Items([np.full((6, 6), 5, np.uint8)]))
    assert pickle.loads(pickle.dumps(source)).read([0]).max() == 5
