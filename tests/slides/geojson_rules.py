"""RFC 7946 and what QuPath reads, checked without our own code."""

from __future__ import annotations

import json
import math
import uuid
from itertools import pairwise
from typing import Any

from shapely.geometry import Polygon, shape


def check(text: str) -> list[Any]:
    """Shapely geometries of the features; AssertionError where a rule is broken."""
    found = json.loads(text, parse_constant=_no_constant)
    assert set(found) == {"type", "features"} and found["type"] == "FeatureCollection"
    return [_feature(feature) for feature in found["features"]]


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def _feature(feature: dict[str, Any]) -> Any:
    assert set(feature) == {"type", "id", "geometry", "properties"}
    assert feature["type"] == "Feature"
    assert str(uuid.UUID(feature["id"])) == feature["id"]
    said = feature["properties"]
    assert said["objectType"] in {"annotation", "detection"}
    assert isinstance(said["name"], str) and isinstance(said["isLocked"], bool)
    assert isinstance(said["classification"]["name"], str)
    colour = said["classification"]["color"]
    assert len(colour) == 3 and all(isinstance(c, int) and 0 <= c <= 255 for c in colour)
    for key, value in said.get("measurements", {}).items():
        assert isinstance(key, str) and math.isfinite(value)
    for value in said.get("metadata", {}).values():
        assert isinstance(value, str)
    geometry = feature["geometry"]
    assert set(geometry) == {"type", "coordinates"}
    assert geometry["type"] in {"Polygon", "MultiPolygon"}
    polygons = geometry["coordinates"]
    for polygon in [polygons] if geometry["type"] == "Polygon" else polygons:
        assert polygon, "a polygon has an outer ring"
        for number, ring in enumerate(polygon):
            assert len(ring) >= 4 and ring[0] == ring[-1], "rings are closed"
            for point in ring:
                assert len(point) == 2 and all(isinstance(v, (int, float)) for v in point)
                assert all(math.isfinite(v) for v in point)
            assert all(a != b for a, b in pairwise(ring)), "no step is empty"
            turns = Polygon(ring).exterior.is_ccw
            assert turns == (number == 0), "outer rings counterclockwise, holes clockwise (3.1.6)"
    found = shape(geometry)
    assert found.is_valid and not found.is_empty
    return found
