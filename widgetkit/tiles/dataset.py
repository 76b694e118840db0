"""Tiles of a torch ``Dataset``, read as they are asked for. torch itself is not imported."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd

from widgetkit.errors import BadImage, InvalidInput, NoTissue
from widgetkit.tiles.array import SAMPLE
from widgetkit.tiles.base import BaseSource, make_table
from widgetkit.tiles.metadata import Metadata, finish
from widgetkit.tiles.pixels import check_window, convert_dtype, estimate_window, flatten_alpha

Layout = Literal["auto", "CHW", "HWC", "DHW"]
Labels = Literal["auto", "read"]


class Dataset(Protocol):
    """What is needed of a dataset: a length, and items by number."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


def from_dataset(
    dataset: Dataset,
    *,
    layout: Layout = "auto",
    labels: Labels | Sequence[object] | None = "auto",
    source: str = "dataset",
    mpp: float | None = None,
    window: tuple[float, float] | None = None,
    metadata: Metadata | None = None,
    on: str | None = None,
    anonymise_patients: bool | str = False,
) -> DatasetTiles:
    """Tiles of any torch ``Dataset`` (or anything with a length and items).

    Parameters
    ----------
    dataset : Dataset
        Item = image, or a tuple or list that begins with it (then the label), or a dict with
        ``image`` (and ``label``). An image is a tensor, an array or a PIL image. It must give the
        same image each time: switch random augmentation off.
    layout : {"auto", "CHW", "HWC", "DHW"}
        Axes of three-dimensional items; "DHW" is a volume. "auto": the axis of 1, 3 or 4; where
        both ends are, channels first for tensors and last for arrays. Items of four axes are
        volumes with colour, (C, D, H, W) or (D, H, W, C).
    labels : "auto", "read", sequence or None
        Column ``label``. "auto" takes the dataset's ``targets`` or ``labels`` (through ``Subset``)
        and names them by its ``classes``; "read" decodes every item once for its label.
    source : str
        Name of the data set; ids come from it and the position.
    mpp, window, metadata, on, anonymise_patients
        As in :func:`from_array`.

    Returns
    -------
    DatasetTiles
        ``z`` is the position. Float items are kept as they are (also when normalised), and shown
        over a window estimated from 64 of them.

    Raises
    ------
    BadImage
        An item is no image, or has another shape than the first; names its position.
    InvalidInput
        The dataset gives a different image each time.
    """
    n = len(dataset)
    if n == 0:
        raise NoTissue(f"The dataset {source!r} is empty.")
    if layout not in ("auto", "CHW", "HWC", "DHW"):
        raise InvalidInput(f"layout={layout!r}; it is 'auto', 'CHW', 'HWC' or 'DHW'.")
    items = _Items(dataset, layout)
    first = items.image(0)
    if not np.array_equal(first, items.image(0)):
        raise InvalidInput(
            "The dataset gave two different images for item 0 (random augmentation?). Use a "
            "transform that does not vary, or maps would belong to other images than those shown."
        )
    plane = first.shape[:-1] if first.ndim >= 3 and first.shape[-1] == 3 else first.shape
    table = make_table(
        source, n=n, z=np.arange(n), size=plane[-2], mpp=np.nan if mpp is None else float(mpp)
    )
    found = _labels(dataset, items, labels, n)
    if found is not None:
        table["label"] = found
    table = finish(table, metadata, on, anonymise_patients)
    return DatasetTiles(table, items, first, window)


class DatasetTiles(BaseSource):
    """Tiles of a dataset; made by :func:`from_dataset`."""

    def __init__(
        self,
        table: pd.DataFrame,
        items: _Items,
        first: np.ndarray,
        window: tuple[float, float] | None = None,
    ) -> None:
        self._items = items
        if window is None and first.dtype != np.uint8:
            picked = np.unique(np.linspace(0, len(table) - 1, SAMPLE).round().astype(int))
            window = estimate_window(np.concatenate([items.image(int(r)).ravel() for r in picked]))
        checked = None if window is None else check_window(window)
        super().__init__(table, first.shape, first.dtype, checked)

    def _read_one(self, row: int) -> np.ndarray:
        return self._items.image(row)

    def describe(self) -> dict[str, object]:
        """Provenance: class of the dataset, number of items, window shown."""
        return {
            "kind": "dataset",
            "class": type(self._items.dataset).__name__,
            "items": len(self),
            "window": list(self.window or ()),
        }


class _Items:
    """Items of the dataset as arrays. One at a time: a dataset need not be thread safe."""

    def __init__(self, dataset: Dataset, layout: Layout) -> None:
        self.dataset = dataset
        self.layout: Layout = layout
        self._lock = threading.Lock()

    def __getstate__(self) -> tuple[Dataset, Layout]:
        return self.dataset, self.layout

    def __setstate__(self, state: tuple[Dataset, Layout]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def parts(self, index: int) -> tuple[Any, Any]:
        """(image, label or None) as the dataset gives them."""
        with self._lock:
            item = self.dataset[index]
        if isinstance(item, Mapping):
            if "image" not in item:
                raise BadImage(f"Item {index} is a dict without 'image'.")
            return item["image"], item.get("label")
        if isinstance(item, (tuple, list)):
            if not item:
                raise BadImage(f"Item {index} of the dataset is empty.")
            return item[0], item[1] if len(item) > 1 else None
        return item, None

    def image(self, index: int) -> np.ndarray:
        image, _ = self.parts(index)
        return as_tile(image, self.layout, f"Item {index} of the dataset")


def as_tile(image: Any, layout: Layout, what: str) -> np.ndarray:
    """A tensor, array or PIL image as (H, W), (H, W, 3), (D, H, W) or (D, H, W, 3)."""
    if hasattr(image, "getbands") and hasattr(image, "convert"):  # PIL
        if image.mode in ("1", "L", "F", "I") or image.mode.startswith("I;16"):
            array, tensor = np.asarray(image), False
        else:
            array, tensor = np.asarray(image.convert("RGBA")), False
        layout = "HWC"
    else:
        tensor = hasattr(image, "detach")
        array = np.asarray(image.detach().cpu().numpy() if tensor else image)
    array = convert_dtype(array, what)
    if array.ndim == 2:
        return array
    if array.ndim not in (3, 4):
        raise BadImage(f"{what} has shape {array.shape}; expected two to four axes.")
    if layout == "DHW" and array.ndim == 3:
        return array
    front, back = array.shape[0] in (1, 3, 4), array.shape[-1] in (1, 3, 4)
    if layout == "auto" or array.ndim == 4:
        if not (front or back):
            raise BadImage(
                f"{what} has shape {array.shape} and no axis of 1, 3 or 4 channels. "
                "Say layout='DHW' for volumes."
            )
        channels_first = front and (tensor or not back)
    else:
        channels_first = layout == "CHW"
    if channels_first:
        array = np.moveaxis(array, 0, -1)
    if array.shape[-1] == 1:
        return np.ascontiguousarray(array[..., 0])
    if array.shape[-1] == 4:
        return flatten_alpha(array, what)
    if array.shape[-1] != 3:
        raise BadImage(f"{what} has {array.shape[-1]} channels; expected 1, 3 or 4.")
    return np.ascontiguousarray(array)


def _labels(
    dataset: Dataset, items: _Items, labels: Labels | Sequence[object] | None, n: int
) -> pd.Series | None:
    if labels is None:
        return None
    if isinstance(labels, str):
        if labels not in ("auto", "read"):
            raise InvalidInput(f"labels={labels!r}; it is 'auto', 'read', a sequence or None.")
        values = _given(dataset) if labels == "auto" else [items.parts(i)[1] for i in range(n)]
    else:
        values = list(labels)
    if values is None:
        return None
    if len(values) != n:
        raise InvalidInput(f"{len(values):,} labels for {n:,} items of the dataset.")
    plain = [
        value.item() if hasattr(value, "item") and np.ndim(value) == 0 else value
        for value in values
    ]
    if all(value is None for value in plain):
        return None
    classes = _attribute(dataset, "classes")
    if classes is not None and all(isinstance(v, int) and 0 <= v < len(classes) for v in plain):
        plain = [str(classes[value]) for value in plain]
    if any(not isinstance(value, (str, int, float, bool, type(None))) for value in plain):
        return None  # boxes, masks or vectors: not a column
    text = any(isinstance(value, str) for value in plain)
    return (
        pd.Series([None if v is None else str(v) for v in plain], dtype="str")
        if text
        else pd.Series(plain)
    )


def _given(dataset: Dataset) -> list[Any] | None:
    """``targets`` or ``labels`` of the dataset, also through ``torch.utils.data.Subset``."""
    for name in ("targets", "labels"):
        values = getattr(dataset, name, None)
        if values is not None and not callable(values) and np.ndim(values) == 1:
            return list(values)
    inner, indices = getattr(dataset, "dataset", None), getattr(dataset, "indices", None)
    if inner is None or indices is None:
        return None
    values = _given(inner)
    return None if values is None else [values[int(i)] for i in indices]


def _attribute(dataset: Any, name: str) -> Any:
    """An attribute of the dataset or of the one it wraps."""
    for _ in range(8):  # wrappers in wrappers; a ring would never end
        value = getattr(dataset, name, None)
        if value is not None:
            return value
        dataset = getattr(dataset, "dataset", None)
    return None
