"""Selections for other programs."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from widgetkit.errors import InvalidInput
from widgetkit.slides.placement import level0_sides

if TYPE_CHECKING:
    from widgetkit.session.selection import Selection
    from widgetkit.store import ActivationStore


def to_geojson(
    selection: Selection, store: ActivationStore, *, name: str = "widgetkit"
) -> dict[str, Any]:
    """Squares of the selected tiles in level-0 pixels, as QuPath reads them.

    QuPath: *Import objects from file*, one slide at a time; ``session.export_selection`` writes a
    file for each. A feature's property ``slide`` is the number of its slide among those of the store:
    names of files may be names of people. ``classification`` gives its colour and name in QuPath.

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
    numbers = {name: i + 1 for i, name in enumerate(dict.fromkeys(store.tiles["source"]))}
    space = uuid.uuid5(uuid.NAMESPACE_URL, f"widgetkit:{store.id}")
    columns = zip(frame.index, frame["source"], frame["x"], frame["y"], sides, strict=True)
    for row, source, x, y, (width, height) in columns:
        right, bottom = float(x) + float(width), float(y) + float(height)
        ring = [[float(x), float(y)], [right, float(y)], [right, bottom], [float(x), bottom]]
        features.append(
            {
                "type": "Feature",
                "id": str(uuid.uuid5(space, str(row))),  # QuPath's own are UUIDs
                "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
                "properties": {
                    "objectType": "annotation",
                    "classification": {"name": name, "color": [0, 114, 178]},
                    "slide": numbers[source],
                    "row": int(row),
                },
            }
        )
    return {"type": "FeatureCollection", "features": features}
