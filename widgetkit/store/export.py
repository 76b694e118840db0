"""A part of a store as a store of its own, for instance a small one to ship."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from widgetkit.errors import StoreExists
from widgetkit.store.plan import ImageEncoding, LayerPlan, Plan
from widgetkit.store.rows import Rows, row_numbers
from widgetkit.store.writer import StoreWriter

if TYPE_CHECKING:
    from widgetkit.store.store import ActivationStore


def export(
    store: ActivationStore,
    path: str | os.PathLike[str],
    rows: Rows = None,
    *,
    layers: Sequence[str] | None = None,
    image_encoding: ImageEncoding | None = None,
    images: bool = True,
    segment_rows: int | None = None,
    overwrite: bool = False,
) -> ActivationStore:
    """Write some tiles of a store to a new store.

    Derived results stay behind: they belong to all tiles. Activations keep their bits.

    Parameters
    ----------
    store : ActivationStore
    path : path
        A new folder.
    rows : sequence of int, mask, slice or None
        In the order of the new store, each at most once; None is all.
    layers : sequence of str, optional
        By default all.
    image_encoding : optional
        By default as in the store. ``"jpeg"`` and ``"webp"`` lose detail.
    images : bool
        False leaves the pictures out.
    segment_rows : int, optional
    overwrite : bool
        Replace a different store at ``path``.

    Returns
    -------
    ActivationStore
        The new one.
    """
    source = store.manifest
    numbers = row_numbers(rows, len(store))
    names = list(store.layers) if layers is None else [store.layer(name).name for name in layers]
    if os.path.realpath(path) == os.path.realpath(store.path):
        raise StoreExists(f"{path} is the store itself. Choose another path for the export.")
    infos = [store.layer(name) for name in names]
    with_images = images and source.images is not None
    encoding: ImageEncoding = image_encoding or (
        source.images.encoding if source.images is not None else "raw"  # type: ignore[assignment]
    )
    plan = Plan(
        tiles=store.tiles.iloc[numbers].reset_index(drop=True),
        layers=[LayerPlan(info.name, info.channels, info.grid) for info in infos],
        model=source.model,
        preprocess=source.preprocess,
        source={**source.source, "exported_from": store.id},
        image_shape=store.image_shape if with_images else None,
        image_encoding=encoding if with_images else "raw",
        outputs=source.outputs,
        class_names=source.class_names,
        seeds=source.seeds,
        segment_rows=segment_rows or source.segment_rows,
        default_layer=source.default_layer if source.default_layer in names else None,
    )
    outputs = store.outputs
    heads = {name: head for name in names if (head := store.head(name)) is not None}
    with StoreWriter.open(path, plan=plan, overwrite=overwrite) as writer:
        for index in writer.missing_segments():
            span = plan.rows(index)
            part = numbers[span.start : span.stop]
            writer.write_segment(
                index,
                {
                    info.name: store.activations(info.name, part)
                    if info.has_maps
                    else store.embeddings(info.name)[part]
                    for info in infos
                },
                images=store.images(part) if with_images else None,
                outputs=None if outputs is None else np.ascontiguousarray(outputs[part]),
            )
        return writer.commit(head=heads)
