"""From finished segments to a store: pooled vectors, thumbnails, table, and last the manifest.

Every step writes whole files atomically and can be repeated, so an interruption costs nothing.
"""

from __future__ import annotations

import io
import platform
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from widgetkit._version import __version__
from widgetkit.errors import BadMetadata, ChannelMismatch, InvalidInput, StoreCorrupt
from widgetkit.store import jsonio, npy, paths, sprites
from widgetkit.store.atomic import (
    FileRecord,
    atomic_write,
    read_checked,
    sha256_of,
    sync_files,
    write_array,
    write_bytes,
)
from widgetkit.store.manifest import (
    ImageInfo,
    LayerInfo,
    Manifest,
    SpriteInfo,
    content_id,
    sprite_path,
)
from widgetkit.store.plan import LayerPlan, Plan
from widgetkit.store.pool import in_threads
from widgetkit.store.sidecar import Sidecar


def commit(
    root: Path,
    plan: Plan,
    record: dict[str, Any],
    trusted: set[int],
    head: Mapping[str, tuple[ArrayLike, ArrayLike]],
    info: Mapping[str, Any],
) -> Manifest:
    """Complete the store at ``root``; all segments are there. See ``StoreWriter.commit``.

    ``trusted`` are the segments this process wrote itself, whose bytes need no second look.
    """
    heads = {name: _checked_head(plan, name, *value) for name, value in head.items()}
    remarks = jsonio.plain(info, "info")
    sidecars = [_sidecar(root, index) for index in range(plan.segments)]
    _compare(root, [s for s in sidecars if s.index not in trusted])

    files = [file for sidecar in sidecars for file in sidecar.files]
    sync_files(root, files)
    files.append(write_tiles(root, plan.tiles))
    layers = []
    for layer in plan.layers:
        files.append(_merge_embeddings(root, layer, len(plan), sidecars))
        layers.append(_layer_info(root, layer, len(plan), sidecars))
    for name, (weight, bias) in heads.items():
        folder = f"head/{plan.layer(name).slug}"
        files.append(write_array(root, f"{folder}/weight.npy", weight))
        files.append(write_array(root, f"{folder}/bias.npy", bias))
    sheet = None
    if plan.image_shape is not None:
        sheet = sprites.layout(len(plan))
        files += _write_sprites(root, sheet, sidecars)
    manifest = Manifest(
        id="",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        software=_software(),
        n=record["n"],
        segment_rows=record["segment_rows"],
        tiles=record["tiles"],
        layers=tuple(layers),
        default_layer=record["default_layer"],
        model=record["model"],
        preprocess=record["preprocess"],
        source=record["source"],
        images=None
        if plan.image_shape is None
        else ImageInfo(tuple(record["images"]["shape"]), plan.image_encoding),
        outputs=record["outputs"],
        class_names=None if record["class_names"] is None else tuple(record["class_names"]),
        seeds=record["seeds"],
        heads=tuple(layer.name for layer in plan.layers if layer.name in heads),
        sprites=sheet,
        info=remarks,
        files=tuple(sorted(files, key=lambda file: file.path)),
    )
    manifest = replace(manifest, id=content_id(manifest))
    write_bytes(root, paths.MANIFEST, manifest.to_bytes())
    return manifest


def write_tiles(root: Path, tiles: pd.DataFrame) -> FileRecord:
    """Write ``tiles.parquet``.

    Raises
    ------
    BadMetadata
        A column mixes kinds of values that a table on disk cannot keep. Names the column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pa.Table.from_pandas(tiles.reset_index(drop=True), preserve_index=False)
        out = io.BytesIO()
        pq.write_table(table, out, compression="zstd")
    except (pa.ArrowException, TypeError, ValueError) as error:
        for name in tiles.columns:
            try:
                pa.array(tiles[name], from_pandas=True)
            except (pa.ArrowException, TypeError, ValueError):
                raise BadMetadata(
                    f"Column {name!r} of the table of tiles cannot be kept: it mixes kinds of "
                    "values. Make it all text or all numbers."
                ) from None
        raise BadMetadata(
            f"The table of tiles cannot be kept on disk: {type(error).__name__}."
        ) from None
    return write_bytes(root, paths.TILES, out.getvalue())


def _sidecar(root: Path, index: int) -> Sidecar:
    sidecar = Sidecar.read(root, index)
    if sidecar is None:
        raise StoreCorrupt(f"The record of segment {index} of {root} is damaged: write it again.")
    return sidecar


def _compare(root: Path, sidecars: list[Sidecar]) -> None:
    """Forget the segments whose files are not those that were written, and say so."""

    def changed(sidecar: Sidecar) -> Path | None:
        for file in sidecar.files:
            if sha256_of(root / file.path) != (file.size, file.sha256):
                return root / file.path
        return None

    found = [
        (s.index, path)
        for s, path in zip(sidecars, in_threads(changed, sidecars), strict=True)
        if path
    ]
    for index, _ in found:
        Sidecar.remove(root, index)
    if found:
        raise StoreCorrupt(
            f"{found[0][1]} changed since it was written. Forgotten: "
            f"{', '.join(f'segment {index}' for index, _ in found[:10])}"
            f"{', ...' if len(found) > 10 else ''}. Run the same call again, it writes them anew."
        )


def _part(root: Path, sidecar: Sidecar, name: str) -> NDArray[Any]:
    path = f"{paths.WRITING}/{sidecar.index:05d}/{name}.npy"
    record = next((part for part in sidecar.parts if part.path == path), None)
    try:
        if record is None:
            raise StoreCorrupt(f"{root / path} is not listed.")
        return npy.decode(read_checked(root, record), str(root / path))
    except StoreCorrupt:
        Sidecar.remove(root, sidecar.index)
        raise


def _merge_embeddings(root: Path, layer: LayerPlan, n: int, sidecars: list[Sidecar]) -> FileRecord:
    path = f"embeddings/{layer.slug}.npy"
    with atomic_write(root / path) as file:
        file.write(npy.header(np.dtype("<f4"), (n, layer.channels)))
        for sidecar in sidecars:
            file.write(_part(root, sidecar, f"{layer.slug}.embeddings").tobytes())
    return FileRecord(path, file.size, file.sha256)


def _layer_info(root: Path, layer: LayerPlan, n: int, sidecars: list[Sidecar]) -> LayerInfo:
    low = np.zeros(layer.channels)
    high = np.zeros(layer.channels)
    total = np.zeros(layer.channels)
    for i, sidecar in enumerate(sidecars):
        ranges = _part(root, sidecar, f"{layer.slug}.ranges")
        low = np.minimum(low, ranges[0]) if i else ranges[0]
        high = np.maximum(high, ranges[1]) if i else ranges[1]
        total = total + ranges[2]
    count = n * int(np.prod(layer.grid, dtype=np.int64))
    mean = float(total.sum() / (count * layer.channels)) if n else 0.0
    return LayerInfo(
        name=layer.name,
        slug=layer.slug,
        channels=int(layer.channels),
        grid=tuple(int(size) for size in layer.grid),
        signed=bool(low.min() < 0),
        minimum=float(low.min()),
        maximum=float(high.max()),
        mean=mean,
        constant_channels=tuple(np.flatnonzero(low == high).tolist()) if n else (),
    )


def _write_sprites(root: Path, sheet: SpriteInfo, sidecars: list[Sidecar]) -> Iterator[FileRecord]:
    thumbnails = (_part(root, sidecar, "thumbnails") for sidecar in sidecars)
    for index, data in enumerate(sprites.pages(thumbnails)):
        yield write_bytes(root, sprite_path(index, sheet.mime), data)


def _checked_head(
    plan: Plan, name: str, weight: ArrayLike, bias: ArrayLike
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    layer = plan.layer(name)
    w = np.ascontiguousarray(weight, dtype="<f4")
    b = np.ascontiguousarray(bias, dtype="<f4")
    if w.ndim != 2 or w.shape[1] != layer.channels:
        raise ChannelMismatch(
            f"The head of layer {name!r} has weights {w.shape}; the layer has {layer.channels} "
            "channels, so (n_classes, channels) is needed."
        )
    if b.shape != w.shape[:1] or (plan.outputs is not None and len(b) != plan.outputs):
        raise InvalidInput(
            f"The head of layer {name!r} has weights {w.shape}, bias {b.shape} and the plan "
            f"{plan.outputs} outputs; they must agree."
        )
    if not (np.isfinite(w).all() and np.isfinite(b).all()):
        raise InvalidInput(f"The head of layer {name!r} holds NaN or infinity.")
    return w, b


def _software() -> dict[str, str]:
    import PIL
    import pyarrow

    return {
        "widgetkit": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "pyarrow": pyarrow.__version__,
    }
