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
    names = list(dict.fromkeys(sources))
    known, from_slides = _base_mpp(store.manifest.source, names)
    unknown: set[str] = set()
    mpp = table["mpp"].to_numpy(dtype=np.float64)
    level = table["level"].to_numpy(dtype=np.int64)
    for source in names:
        at = sources == source
        base = known.get(source)
        resampled = np.isfinite(mpp[at]).any()  # slides are read at a chosen resolution
        if base is not None and np.isfinite(mpp[at]).all():
            sides[at] = size[at, None] * mpp[at, None] / np.asarray(base)
        elif (level[at] > 0).any() or (from_slides and resampled):
            unknown.add(source)
    if unknown:
        raise InvalidInput(
            f"The size in level-0 pixels is not known for {len(unknown)} of the sources: their tiles "
            "were read at a lower level, and their resolution is not recorded. Give slide_mpp when "
            "reading the slides."
        )
    return sides


def _base_mpp(
    record: Mapping[str, Any], sources: list[str]
) -> tuple[dict[str, tuple[float, float]], bool]:
    """Micrometres a level-0 pixel (x, y) by source, and whether there are slides, from what ``from_slide`` recorded.

    The record lists slides in order, without their names (they may name patients). A slide
    without tissue has no tile and a subset has another order, so order tells only for whole
    sources with as many names; otherwise the resolution is used that all slides share, if
    they do.
    """
    bases: list[tuple[float, float] | None] = []
    whole = _collect(record, bases)
    known: dict[str, tuple[float, float]] = {}
    if whole and len(bases) == len(sources):
        known = {name: base for name, base in zip(sources, bases, strict=True) if base}
    elif len(set(bases)) == 1 and bases[0] is not None:
        known = dict.fromkeys(sources, bases[0])
    return known, bool(bases)


def _collect(record: object, bases: list[tuple[float, float] | None], depth: int = 0) -> bool:
    """Add the resolution of each slide of a source; False when their order is not the tiles'."""
    if not isinstance(record, Mapping) or depth > 8:
        return False
    if "parts" in record and isinstance(record["parts"], list | tuple):
        whole = [_collect(part, bases, depth + 1) for part in record["parts"]]
        return all(whole)
    if "of" in record:
        _collect(record["of"], bases, depth + 1)
        return False
    slides = record.get("slides")
    if not isinstance(slides, list | tuple):
        return False
    for slide in slides:
        mpp = slide.get("mpp") if isinstance(slide, Mapping) else None
        pair = mpp if isinstance(mpp, list | tuple) and len(mpp) == 2 else (0, 0)
        numbers = [float(v) if isinstance(v, int | float) else 0.0 for v in pair]
        bases.append((numbers[0], numbers[1]) if min(numbers) > 0 else None)
    return True
