"""Areas on a slide as GeoJSON that QuPath opens."""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from widgetkit._version import __version__
from widgetkit.errors import InvalidInput
from widgetkit.slides.export_contours import Polygon
from widgetkit.slides.export_images import rgb_of
from widgetkit.slides.export_output import new_file, plain

SUFFIXES = (".geojson", ".json")
ObjectType = Literal["annotation", "detection"]
Per = Literal["region", "polygon"]


@dataclass(frozen=True, eq=False)
class Region:
    """What is drawn in one colour under one name: all areas of a cluster on a slide.

    Attributes
    ----------
    name : str
        Its class in QuPath. Free text; one line of it is kept. QuPath reads ``a: b`` as class b
        derived from class a.
    colour : str
        ``"#rrggbb"``.
    polygons : sequence of Polygon
        They do not overlap.
    measurements : mapping of float
        Shown by QuPath in the object's measurements. NaN and infinity are left out.
    """

    name: str
    colour: str
    polygons: Sequence[Polygon] = field(repr=False)
    measurements: Mapping[str, float] = field(default_factory=dict)


def contours_geojson(
    regions: Sequence[Region],
    *,
    object_type: ObjectType = "annotation",
    per: Per = "region",
    locked: bool = False,
    notes: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A GeoJSON FeatureCollection of regions, as QuPath imports it.

    Coordinates are level-0 px, x to the right and y down, where RFC 7946 has degrees; all else is as it
    says: rings are closed, outer rings run counterclockwise and holes clockwise as the numbers read.

    Parameters
    ----------
    regions : sequence of Region
        Those without polygons give no feature.
    object_type : "annotation" or "detection"
        Detections are faster in QuPath where there are many.
    per : "region" or "polygon"
        A feature for each region, or for each of its polygons.
    locked : bool
        Whether QuPath keeps the objects from being moved.
    notes : mapping of str, optional
        Metadata of each object, such as the threshold. No patient or file, if it is to be shared.

    Returns
    -------
    dict
        The same regions give the same ids. :func:`write_geojson` writes it.

    References
    ----------
    RFC 7946, section 3; QuPath, ``QuPathTypeAdapters``: objectType, classification, name, isLocked,
    measurements, metadata, and an id that is a UUID.
    """
    for name, value, known in (("object_type", object_type, ObjectType), ("per", per, Per)):
        if value not in get_args(known):
            raise InvalidInput(f"{name} is one of {', '.join(get_args(known))}; got {value!r}.")
    features = []
    for region in regions:
        coordinates = [_coordinates(polygon) for polygon in region.polygons]
        parts = [[c] for c in coordinates] if per == "polygon" else [coordinates]
        features += [
            _feature(region, part, len(parts), object_type, locked, notes or {})
            for part in parts
            if part
        ]
    return {"type": "FeatureCollection", "features": features}


def write_geojson(
    path: str | os.PathLike[str], collection: Mapping[str, Any], *, overwrite: bool = False
) -> Path:
    """Write a FeatureCollection as ASCII text, whole or not at all.

    Raises
    ------
    InvalidInput
        It is none, or holds what JSON has no word for (NaN, arrays).
    OutputExists, OutputFailed
        See :func:`~widgetkit.slides.export_output.new_file`.
    """
    if not isinstance(collection, Mapping) or collection.get("type") != "FeatureCollection":
        raise InvalidInput("What is written is a FeatureCollection, as contours_geojson gives it.")
    try:
        text = json.dumps(collection, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"The FeatureCollection cannot be written as JSON: {error}.") from error
    with new_file(path, SUFFIXES, overwrite=overwrite) as file:
        file.write(text.encode("ascii"))
    return Path(path)


def _feature(
    region: Region,
    polygons: list[list[list[list[float]]]],
    count: int,
    object_type: ObjectType,
    locked: bool,
    notes: Mapping[str, str],
) -> dict[str, Any]:
    geometry: dict[str, Any] = {"type": "MultiPolygon", "coordinates": polygons}
    if len(polygons) == 1:
        geometry = {"type": "Polygon", "coordinates": polygons[0]}
    name = plain(region.name) or "no name"
    properties: dict[str, Any] = {
        "objectType": object_type,
        "name": name,
        "classification": {"name": name, "color": list(rgb_of(region.colour))},
        "isLocked": bool(locked),
        "metadata": {"made with": f"widgetkit {__version__}"}
        | {plain(k): plain(v) for k, v in notes.items()},
    }
    numbers = {plain(k): float(v) for k, v in region.measurements.items() if math.isfinite(v)}
    if numbers and count == 1:  # of the whole region: not of one of its polygons
        properties["measurements"] = numbers
    said = json.dumps([geometry, properties], sort_keys=True)
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, said)),
        "geometry": geometry,
        "properties": properties,
    }


def _coordinates(polygon: Polygon) -> list[list[list[float]]]:
    return [_closed(ring) for ring in (polygon.outer, *polygon.holes)]


def _closed(ring: npt.NDArray[np.float64]) -> list[list[float]]:
    if not np.isfinite(ring).all():
        raise InvalidInput("A polygon has corners that are not finite numbers.")
    points: list[list[float]] = [
        [int(v) if v.is_integer() else v for v in point] for point in ring.tolist()
    ]
    return [*points, points[0]]
