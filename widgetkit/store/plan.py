"""What will be written, known before the first segment: the plan of a store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from widgetkit.errors import BadMetadata, InvalidInput, near
from widgetkit.store import jsonio
from widgetkit.store.paths import slug

ImageEncoding = Literal["raw", "png", "jpeg", "webp"]
ENCODINGS: tuple[str, ...] = get_args(ImageEncoding)
LARGEST_SIDE = 2**16
LARGEST_GRID = 4096
MOST_ROWS = 2**40
MOST_CHANNELS = 2**20


@dataclass(frozen=True)
class LayerPlan:
    """One layer of the model as it will be stored.

    Parameters
    ----------
    name : str
        As the model calls it.
    channels : int
        C.
    grid : tuple of int
        ``(h, w)`` or ``(d, h, w)``; also ``(l,)`` for sequences. ``()`` for one vector a tile:
        then no maps are stored, and the vectors themselves are the embeddings.
    """

    name: str
    channels: int
    grid: tuple[int, ...] = ()

    @property
    def slug(self) -> str:
        return slug(self.name)

    @property
    def has_maps(self) -> bool:
        return bool(self.grid)


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything about a store that is known before the first tile went through the model.

    Two runs with the same plan write the same bytes; a resumed run must have the plan of the first.

    Parameters
    ----------
    tiles : DataFrame
        One row a tile, in store order, with a unique text column ``id``. Kept as it is.
    layers : sequence of LayerPlan
    model, preprocess, source : mapping
        Identity of the network (class, weights_hash, ...), what was done to its input, and what
        ``TileSource.describe()`` says. Plain values only; no patient names.
    image_shape : tuple of int or None
        Of one stored picture, uint8: ``(H, W)``, ``(H, W, 3)``, ``(D, H, W)`` or ``(D, H, W, 3)``.
        ``None``: no pictures are stored.
    image_encoding : "raw", "png", "jpeg" or "webp"
        ``raw`` reads fastest; the others make small stores to ship (``jpeg``, ``webp`` lose detail).
    outputs : int or None
        Number of values of the model's output (logits) for a tile.
    class_names : sequence of str or None
    seeds : mapping of str to int
    segment_rows : int
        Tiles a segment; what a killed extraction can lose. Segment ``i`` holds rows
        ``[i * segment_rows, ...)``, whoever writes it.
    default_layer : str or None
        The layer to open with; by default the last one that has maps.
    """

    tiles: pd.DataFrame
    layers: Sequence[LayerPlan]
    model: Mapping[str, Any] = field(default_factory=dict)
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    image_shape: tuple[int, ...] | None = None
    image_encoding: ImageEncoding = "raw"
    outputs: int | None = None
    class_names: Sequence[str] | None = None
    seeds: Mapping[str, int] = field(default_factory=dict)
    segment_rows: int = 512
    default_layer: str | None = None

    def __len__(self) -> int:
        return len(self.tiles)

    @property
    def segments(self) -> int:
        """Number of segments."""
        return -(-len(self.tiles) // self.segment_rows)

    def rows(self, segment: int) -> range:
        """The rows of one segment."""
        if not 0 <= segment < self.segments:
            raise InvalidInput(f"Segment {segment} of a plan with {self.segments} segments.")
        start = segment * self.segment_rows
        return range(start, min(start + self.segment_rows, len(self.tiles)))

    def layer(self, name: str) -> LayerPlan:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise InvalidInput(
            f"Layer {name!r} is not in the plan. {near(name, [layer.name for layer in self.layers])}"
        )

    def check(self) -> None:
        """Raise :class:`InvalidInput` or :class:`BadMetadata` where the plan cannot be stored."""
        check_tiles(self.tiles)
        _whole("segment_rows", self.segment_rows, 1, 2**31)
        if not self.layers:
            raise InvalidInput("A store needs at least one layer.")
        names = [layer.name for layer in self.layers]
        if len(set(names)) != len(names):
            raise InvalidInput(f"A layer is listed twice: {names}.")
        for layer in self.layers:
            if not layer.name or len(layer.name) > 500:
                raise InvalidInput("A layer needs a name of 1 to 500 characters.")
            _whole(f"channels of layer {layer.name!r}", layer.channels, 1, MOST_CHANNELS)
            if len(layer.grid) > 3:
                raise InvalidInput(f"Layer {layer.name!r}: a grid has at most 3 axes.")
            for size in layer.grid:
                _whole(f"grid of layer {layer.name!r}", size, 1, LARGEST_GRID)
        if self.default_layer is not None and self.default_layer not in names:
            raise InvalidInput(
                f"default_layer {self.default_layer!r} is not stored. "
                f"{near(self.default_layer, names)}"
            )
        if self.image_encoding not in ENCODINGS:
            raise InvalidInput(
                f"image_encoding {self.image_encoding!r}: use one of {', '.join(ENCODINGS)}."
            )
        if self.image_shape is not None:
            if len(self.image_shape) not in (2, 3, 4) or (
                len(self.image_shape) == 4 and self.image_shape[-1] != 3
            ):
                raise InvalidInput(
                    f"image_shape {self.image_shape}: use (H, W), (H, W, 3), (D, H, W) or (D, H, W, 3)."
                )
            for size in self.image_shape:
                _whole("image_shape", size, 1, LARGEST_SIDE)
        if self.outputs is not None:
            _whole("outputs", self.outputs, 1, MOST_CHANNELS)
        if (
            self.class_names is not None
            and self.outputs is not None
            and len(self.class_names) != self.outputs
        ):
            raise InvalidInput(
                f"{len(self.class_names)} class names for {self.outputs} outputs of the model."
            )

    def record(self) -> dict[str, Any]:
        """The plan as JSON-able values, the tiles by their digest. Checks the plan."""
        self.check()
        default = self.default_layer
        if default is None:
            default = (
                [layer.name for layer in self.layers if layer.has_maps] or [self.layers[-1].name]
            )[-1]
        return {
            "n": len(self.tiles),
            "tiles": tiles_digest(self.tiles),
            "layers": [
                {"name": la.name, "channels": int(la.channels), "grid": [int(g) for g in la.grid]}
                for la in self.layers
            ],
            "default_layer": default,
            "model": jsonio.plain(self.model, "model"),
            "preprocess": jsonio.plain(self.preprocess, "preprocess"),
            "source": jsonio.plain(self.source, "source"),
            "images": None
            if self.image_shape is None
            else {
                "shape": [int(size) for size in self.image_shape],
                "encoding": self.image_encoding,
            },
            "outputs": None if self.outputs is None else int(self.outputs),
            "class_names": None
            if self.class_names is None
            else [str(name) for name in self.class_names],
            "seeds": jsonio.plain(self.seeds, "seeds"),
            "segment_rows": int(self.segment_rows),
        }


def _whole(what: str, value: object, low: int, high: int) -> None:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | np.integer)
        or not low <= int(value) <= high
    ):
        raise InvalidInput(f"{what} is {value!r}; it must be a whole number from {low} to {high}.")


def check_tiles(tiles: pd.DataFrame) -> None:
    """Raise :class:`BadMetadata` unless ``tiles`` has text column names and unique text ids."""
    if "id" not in tiles.columns:
        raise BadMetadata("The table of tiles has no column 'id'.")
    if not all(isinstance(name, str) for name in tiles.columns):
        raise BadMetadata("A column of the table of tiles has a name that is not text.")
    if tiles.columns.has_duplicates:
        twice = tiles.columns[tiles.columns.duplicated()].tolist()
        raise BadMetadata(f"The table of tiles has a column twice: {twice[:5]}.")
    ids = tiles["id"].tolist()
    if not all(isinstance(value, str) and value for value in ids):
        raise BadMetadata("Column 'id' of the table of tiles must hold text, one for every tile.")
    if len(set(ids)) != len(ids):
        raise BadMetadata(
            f"Column 'id' of the table of tiles has {len(ids) - len(set(ids))} repeated values."
        )


def tiles_digest(tiles: pd.DataFrame) -> str:
    """SHA-256 over names, kinds and values of all columns; the same for the same table anywhere."""
    digest = hashlib.sha256(str(len(tiles)).encode())
    for name in tiles.columns:
        column = tiles[name]
        digest.update(json.dumps([name, column.dtype.kind]).encode())
        if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf":
            values = column.to_numpy()
            digest.update(values.dtype.str.encode())
            digest.update(values.astype(values.dtype.newbyteorder("<")).tobytes())
        else:
            texts = [
                None if missing else str(value)
                for value, missing in zip(column.tolist(), column.isna().tolist(), strict=True)
            ]
            digest.update(json.dumps(texts).encode())
    return digest.hexdigest()


def differences(first: Mapping[str, Any], second: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The fields in which two records of plans differ, dotted, with both values when short."""
    found: list[str] = []
    for key in sorted({*first, *second}):
        a, b = first.get(key), second.get(key)
        if a == b:
            continue
        name = f"{prefix}{key}"
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += differences(a, b, f"{name}.")
        elif name == "tiles":
            found.append("the table of tiles (their ids, order or metadata)")
        else:
            shown = f" ({_short(a)} there, {_short(b)} now)"
            found.append(name + shown)
    return found


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
