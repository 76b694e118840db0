"""The manifest: what a store holds, as frozen values. ``manifest_reader`` reads one from JSON."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from widgetkit.errors import StoreCorrupt
from widgetkit.store import jsonio
from widgetkit.store.atomic import FileRecord
from widgetkit.store.paths import TILES

FORMAT = "widgetkit-store"
VERSION = 1
SPRITE_MIMES = ("image/jpeg", "image/png", "image/webp")
# What does not change the content: left out of the id, so that two runs agree.
_NOT_CONTENT = ("id", "checksum", "created", "software", "info")


@dataclass(frozen=True)
class LayerInfo:
    """One stored layer.

    Attributes
    ----------
    name, slug : str
        As the model calls it; as the files are called.
    channels : int
        C.
    grid : tuple of int
        ``(h, w)``, ``(d, h, w)`` or ``(l,)``; ``()`` when there are vectors only.
    signed : bool
        Some stored value is below zero.
    minimum, maximum, mean : float
        Over all stored values.
    constant_channels : tuple of int
        Channels that have one value everywhere (dead units).
    """

    name: str
    slug: str
    channels: int
    grid: tuple[int, ...]
    signed: bool
    minimum: float
    maximum: float
    mean: float
    constant_channels: tuple[int, ...] = ()

    @property
    def has_maps(self) -> bool:
        """Whether activations at positions are stored, not only one vector a tile."""
        return bool(self.grid)

    @property
    def dtype(self) -> str:
        """Of the stored values: ``float16`` for maps, ``float32`` for vectors."""
        return "float16" if self.grid else "float32"

    @property
    def cells(self) -> int:
        """Positions of one map."""
        return math.prod(self.grid)


@dataclass(frozen=True)
class ImageInfo:
    """Stored pictures: ``shape`` of one, uint8, and how they are encoded."""

    shape: tuple[int, ...]
    encoding: str


@dataclass(frozen=True)
class SpriteInfo:
    """Prebuilt pages of thumbnails: row ``r`` is cell ``r % per_page`` of page ``r // per_page``.

    Attributes
    ----------
    tile : int
        Side of a thumbnail in px.
    columns, per_page, pages : int
    mime : str
    """

    tile: int
    columns: int
    per_page: int
    pages: int
    mime: str


@dataclass(frozen=True)
class Manifest:
    """All that ``manifest.json`` says. See docs/store.md for each field."""

    id: str
    created: str
    software: Mapping[str, str]
    n: int
    segment_rows: int
    tiles: str
    layers: tuple[LayerInfo, ...]
    default_layer: str
    model: Mapping[str, Any]
    preprocess: Mapping[str, Any]
    source: Mapping[str, Any]
    images: ImageInfo | None
    outputs: int | None
    class_names: tuple[str, ...] | None
    seeds: Mapping[str, Any]
    heads: tuple[str, ...]
    sprites: SpriteInfo | None
    info: Mapping[str, Any]
    files: tuple[FileRecord, ...]

    @property
    def segments(self) -> int:
        return -(-self.n // self.segment_rows)

    def rows(self, segment: int) -> range:
        start = segment * self.segment_rows
        return range(start, min(start + self.segment_rows, self.n))

    @cached_property
    def by_path(self) -> dict[str, FileRecord]:
        return {file.path: file for file in self.files}

    def file(self, path: str) -> FileRecord:
        """The record of a listed file; :class:`StoreCorrupt` when the manifest lacks it."""
        try:
            return self.by_path[path]
        except KeyError:
            raise StoreCorrupt(f"The manifest of the store does not list {path}.") from None

    def plan_record(self) -> dict[str, Any]:
        """What :meth:`Plan.record` said when this store was written."""
        data = self.to_json()
        keys = ("n", "tiles", "default_layer", "model", "preprocess", "source", "images", "outputs")
        record = {key: data[key] for key in (*keys, "class_names", "seeds", "segment_rows")}
        record["layers"] = [
            {"name": la.name, "channels": la.channels, "grid": list(la.grid)} for la in self.layers
        ]
        return record

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values, with format, version and checksum."""
        data: dict[str, Any] = jsonio.plain(asdict(self), "manifest")
        data["files"] = {file.path: [file.size, file.sha256] for file in self.files}
        data |= {"format": FORMAT, "version": VERSION}
        return jsonio.signed(data)

    def to_bytes(self) -> bytes:
        return jsonio.canonical(self.to_json())


def content_id(manifest: Manifest) -> str:
    """32 hex digits over everything but the time, the software and remarks."""
    data = {key: value for key, value in manifest.to_json().items() if key not in _NOT_CONTENT}
    # Two versions of an encoder or of pyarrow may write the same thumbnails or the same table in
    # other bytes; the pictures and the digest of the table are in the id anyway.
    data["files"] = {
        path: value
        for path, value in data["files"].items()
        if path != TILES and not path.startswith("sprites/")
    }
    return hashlib.sha256(jsonio.canonical(data)).hexdigest()[:32]


def segment_path(kind: str, index: int, suffix: str = "npy") -> str:
    """``<kind>/00000.npy``: the file of one segment."""
    return f"{kind}/{index:05d}.{suffix}"


def sprite_path(page: int, mime: str) -> str:
    """File of one page of thumbnails."""
    suffix = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}[mime]
    return segment_path("sprites", page, suffix)
