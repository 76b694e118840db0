"""A manifest from ``manifest.json``: written by us, or by somebody who means harm."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from widgetkit.errors import InvalidInput, StoreCorrupt, StoreNotFound, StoreTooNew
from widgetkit.store import jsonio
from widgetkit.store.atomic import FileRecord
from widgetkit.store.images import check_encodable
from widgetkit.store.manifest import (
    FORMAT,
    SPRITE_MIMES,
    VERSION,
    ImageInfo,
    LayerInfo,
    Manifest,
    SpriteInfo,
    segment_path,
    sprite_path,
)
from widgetkit.store.npy import LARGEST_HEADER
from widgetkit.store.paths import MANIFEST, TILES, WRITING, is_relative, slug
from widgetkit.store.plan import (
    ENCODINGS,
    LARGEST_GRID,
    LARGEST_SIDE,
    MOST_CHANNELS,
    MOST_ROWS,
)

_MOST_FILES = 4 * 10**6


def read_manifest(root: Path) -> Manifest:
    """The manifest of the store at ``root``, fully checked; no other file is touched.

    Raises
    ------
    StoreNotFound
        No folder, no manifest, or an extraction that was never committed.
    StoreTooNew
        Written by a later version.
    StoreCorrupt
        Damaged, or made to mislead.
    """
    if not (root / MANIFEST).is_file():
        if (root / WRITING).is_dir():
            raise StoreNotFound(
                f"The extraction into {root} was never finished. Run the same call again: it resumes."
            )
        what = "is no store (it has no manifest.json)" if root.is_dir() else "does not exist"
        raise StoreNotFound(f"{root} {what}.")
    value, _ = jsonio.read(root / MANIFEST)
    return from_json(value, str(root / MANIFEST))


def from_json(value: Any, where: str) -> Manifest:
    """A manifest from parsed JSON.

    Every count is compared with the others and with the sizes of the files it lists, so that
    nothing read later can be larger than the files that are there.
    """
    fields = jsonio.Fields(value, where)
    if fields.take("format") != FORMAT:
        raise StoreCorrupt(f"{where} is not the manifest of a widgetkit store.")
    version = fields.integer("version", 1, 10**6)
    if version > VERSION:
        raise StoreTooNew(
            f"{where} has format {version}; this widgetkit reads up to {VERSION}. "
            "Update with: pip install -U widgetkit"
        )
    jsonio.check_signed(value, fields, where)
    n = fields.integer("n", 0, MOST_ROWS)
    manifest = Manifest(
        id=fields.text("id", longest=64),
        created=fields.text("created", longest=64),
        software=fields.mapping("software"),
        n=n,
        segment_rows=fields.integer("segment_rows", 1, 2**31),
        tiles=fields.text("tiles", longest=64),
        layers=tuple(
            _layer(item, f"{where}, layer {i}")
            for i, item in enumerate(fields.items("layers", longest=1000))
        ),
        default_layer=fields.text("default_layer"),
        model=fields.mapping("model"),
        preprocess=fields.mapping("preprocess"),
        source=fields.mapping("source"),
        images=_images(fields.take("images"), f"{where}, images"),
        outputs=_optional_count(fields, "outputs"),
        class_names=_names(fields, "class_names"),
        seeds=fields.mapping("seeds"),
        heads=_names(fields, "heads") or (),
        sprites=_sprites(fields.take("sprites"), n, f"{where}, sprites"),
        info=fields.mapping("info"),
        files=_files(fields.mapping("files"), where),
    )
    fields.done()
    _check_consistent(manifest, where)
    return manifest


def _layer(value: Any, where: str) -> LayerInfo:
    fields = jsonio.Fields(value, where)
    layer = LayerInfo(
        name=fields.text("name", longest=500),
        slug=fields.text("slug", longest=100),
        channels=(channels := fields.integer("channels", 1, MOST_CHANNELS)),
        grid=fields.shape("grid", dims=(0, 1, 2, 3), largest=LARGEST_GRID),
        signed=fields.boolean("signed"),
        minimum=fields.number("minimum"),
        maximum=fields.number("maximum"),
        mean=fields.number("mean"),
        constant_channels=tuple(
            channel
            for channel in fields.items("constant_channels", longest=channels)
            if type(channel) is int and 0 <= channel < channels
        ),
    )
    fields.done()
    if layer.slug != slug(layer.name):
        raise StoreCorrupt(f"{where}: slug {layer.slug!r} does not belong to its name.")
    return layer


def _images(value: Any, where: str) -> ImageInfo | None:
    if value is None:
        return None
    fields = jsonio.Fields(value, where)
    info = ImageInfo(
        shape=fields.shape("shape", dims=(2, 3, 4), largest=LARGEST_SIDE),
        encoding=fields.choice("encoding", ENCODINGS),
    )
    fields.done()
    if len(info.shape) == 4 and info.shape[-1] != 3:
        raise StoreCorrupt(f"{where}: shape {info.shape} is not that of a picture.")
    try:
        check_encodable(info.shape, info.encoding)
    except InvalidInput as error:
        raise StoreCorrupt(f"{where}: {error}") from None
    return info


def _sprites(value: Any, n: int, where: str) -> SpriteInfo | None:
    if value is None:
        return None
    fields = jsonio.Fields(value, where)
    info = SpriteInfo(
        tile=fields.integer("tile", 1, 1024),
        columns=fields.integer("columns", 1, 4096),
        per_page=fields.integer("per_page", 1, 2**20),
        pages=fields.integer("pages", 0, MOST_ROWS),
        mime=fields.choice("mime", SPRITE_MIMES),
    )
    fields.done()
    if info.pages != -(-n // info.per_page):
        raise StoreCorrupt(f"{where}: {info.pages} pages of {info.per_page} for {n} tiles.")
    return info


def _optional_count(fields: jsonio.Fields, key: str) -> int | None:
    value = fields.take(key)
    if value is None:
        return None
    return jsonio.Fields({key: value}, key).integer(key, 1, MOST_CHANNELS)


def _names(fields: jsonio.Fields, key: str) -> tuple[str, ...] | None:
    value = fields.take(key)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise StoreCorrupt(f"The manifest's {key!r} is not a list of names.")
    return tuple(value)


def _files(value: dict[str, Any], where: str) -> tuple[FileRecord, ...]:
    if len(value) > _MOST_FILES:
        raise StoreCorrupt(f"{where} lists {len(value)} files.")
    files = []
    for path, entry in value.items():
        if not is_relative(path):
            raise StoreCorrupt(f"{where}: {path[:200]!r} is not a path inside the store.")
        if (
            not isinstance(entry, list)
            or len(entry) != 2
            or type(entry[0]) is not int
            or not 0 <= entry[0] < 2**60
            or not isinstance(entry[1], str)
            or len(entry[1]) != 64
        ):
            raise StoreCorrupt(f"{where}: the size and checksum of {path} make no sense.")
        files.append(FileRecord(path, entry[0], entry[1]))
    return tuple(files)


def _check_consistent(manifest: Manifest, where: str) -> None:
    """Every file that the counts call for is listed, with the size that its shape needs."""
    names = [layer.name for layer in manifest.layers]
    if not names or len(set(names)) != len(names) or manifest.default_layer not in names:
        raise StoreCorrupt(f"{where}: its layers are missing, repeated, or lack the default one.")
    if manifest.class_names is not None and manifest.outputs not in (
        None,
        len(manifest.class_names),
    ):
        raise StoreCorrupt(f"{where}: {len(manifest.class_names)} class names do not fit.")
    if (manifest.images is None) != (manifest.sprites is None):
        raise StoreCorrupt(f"{where}: pictures and thumbnails come together or not at all.")
    if set(manifest.heads) - set(names):
        raise StoreCorrupt(f"{where}: a head belongs to a layer that is not there.")
    has_segments = (
        any(layer.has_maps for layer in manifest.layers)
        or manifest.outputs is not None
        or manifest.images is not None
    )  # features alone have no file a segment
    if has_segments and manifest.segments > len(manifest.files):
        raise StoreCorrupt(
            f"{where}: {manifest.n} tiles in segments of {manifest.segment_rows} need more files "
            f"than the {len(manifest.files)} listed."
        )

    def need(path: str, payload: int) -> None:
        extra = manifest.file(path).size - payload
        if not 0 < extra <= LARGEST_HEADER:
            raise StoreCorrupt(
                f"{where}: {path} has {payload + extra} bytes, its shape needs {payload} and a header."
            )

    manifest.file(TILES)
    for layer in manifest.layers:
        need(f"embeddings/{layer.slug}.npy", manifest.n * layer.channels * 4)
        if layer.name in manifest.heads:
            manifest.file(f"head/{layer.slug}/weight.npy")
            manifest.file(f"head/{layer.slug}/bias.npy")
    for index in range(manifest.segments):
        rows = len(manifest.rows(index))
        for layer in manifest.layers:
            if layer.has_maps:
                path = segment_path(f"activations/{layer.slug}", index)
                need(path, rows * layer.channels * layer.cells * 2)
        if manifest.outputs is not None:
            need(segment_path("outputs", index), rows * manifest.outputs * 4)
        if manifest.images is not None and manifest.images.encoding == "raw":
            need(segment_path("images", index), rows * math.prod(manifest.images.shape))
        elif manifest.images is not None:
            manifest.file(segment_path("images", index, "bin"))
            need(segment_path("images", index, "offsets.npy"), (rows + 1) * 8)
    if manifest.sprites is not None:
        for page in range(manifest.sprites.pages):
            manifest.file(sprite_path(page, manifest.sprites.mime))
