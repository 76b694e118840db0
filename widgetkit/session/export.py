"""Selections for other programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from widgetkit.errors import InvalidInput

if TYPE_CHECKING:
    from widgetkit.session.selection import Selection
    from widgetkit.store import ActivationStore


def to_geojson(
    selection: Selection, store: ActivationStore, *, name: str = "widgetkit"
) -> dict[str, Any]:
    """Squares of the selected tiles in level-0 pixels, as QuPath reads them.

    QuPath: *Import objects from file*, one slide at a time. A feature's properties say which
    slide it is of; ``classification`` gives its colour and name in QuPath.

    Parameters
    ----------
    selection : Selection
    store : ActivationStore
        Its tiles must have come from slides or images with positions.
    name : str
        Classification of the annotations.

    Returns
    -------
    dict
        A GeoJSON FeatureCollection; ``json.dump`` writes it.

    Raises
    ------
    InvalidInput
        The store is another, or does not say how large a tile is in level-0 pixels.
    """
    frame = selection.to_frame(store)
    lacking = [c for c in ("source", "x", "y", "size", "mpp", "level") if c not in frame.columns]
    if lacking:
        raise InvalidInput(
            f"The store's tiles have no {', '.join(lacking)}: they were not cut from images, so "
            "there is no place to draw them at. Use to_csv instead."
        )
    sides = level0_sides(store)[selection.rows]
    features = []
    columns = zip(
        frame.index, frame["id"], frame["source"], frame["x"], frame["y"], sides, strict=True
    )
    for row, tile, source, x, y, (width, height) in columns:
        right, bottom = float(x) + float(width), float(y) + float(height)
        ring = [[float(x), float(y)], [right, float(y)], [right, bottom], [float(x), bottom]]
        features.append(
            {
                "type": "Feature",
                "id": str(tile),
                "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
                "properties": {
                    "objectType": "annotation",
                    "classification": {"name": name, "color": [0, 114, 178]},
                    "source": str(source),
                    "row": int(row),
                },
            }
        )
    return {"type": "FeatureCollection", "features": features}


def level0_sides(store: ActivationStore) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(n, 2) width and height of each tile in level-0 pixels.

    From what the source recorded about each slide; a tile read at level 0 without resampling
    is as large as its ``size`` says.
    """
    table = store.tiles
    size = table["size"].to_numpy(dtype=np.float64)
    sides = np.stack([size, size], axis=1)
    sources = table["source"].astype(str).to_numpy(dtype=object)
    known = _base_mpp(store.manifest.source, list(dict.fromkeys(sources)))
    unknown: set[str] = set()
    mpp = table["mpp"].to_numpy(dtype=np.float64)
    level = table["level"].to_numpy(dtype=np.int64)
    for source in dict.fromkeys(sources):
        at = sources == source
        base = known.get(source)
        if base is not None and np.isfinite(mpp[at]).all():
            sides[at] = size[at, None] * mpp[at, None] / np.asarray(base)
        elif (level[at] > 0).any():
            unknown.add(source)
    if unknown:
        raise InvalidInput(
            f"The size in level-0 pixels is not known for {len(unknown)} of the sources: their tiles "
            "were read at a lower level, and their resolution is not recorded. Give slide_mpp when "
            "reading the slides."
        )
    return sides


def _base_mpp(record: Mapping[str, Any], sources: list[str]) -> dict[str, tuple[float, float]]:
    """Micrometres a level-0 pixel (x, y) by source, from what ``from_slide`` recorded.

    The record lists slides in order, without their names (they may name patients). A slide
    without tissue has no tile, so order tells only when none is lacking; otherwise the
    resolution is used that all slides share, if they do.
    """
    slides = record.get("slides")
    if not isinstance(slides, list | tuple) or not slides:
        return {}
    bases: list[tuple[float, float] | None] = []
    for slide in slides:
        mpp = slide.get("mpp") if isinstance(slide, Mapping) else None
        usable = isinstance(mpp, list | tuple) and len(mpp) == 2 and all(float(v) > 0 for v in mpp)
        bases.append((float(mpp[0]), float(mpp[1])) if usable and mpp is not None else None)
    if len(bases) == len(sources):
        return {name: base for name, base in zip(sources, bases, strict=True) if base}
    if len(set(bases)) == 1 and bases[0] is not None:
        return dict.fromkeys(sources, bases[0])
    return {}
