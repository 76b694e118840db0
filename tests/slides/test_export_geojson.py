"""GeoJSON for QuPath: the rules of RFC 7946, and names that are text and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.slides import geojson_rules
from widgetkit.errors import InvalidInput, OutputExists
from widgetkit.slides.export_contours import contours, outline
from widgetkit.slides.export_geojson import Region, contours_geojson, write_geojson


def winner() -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.choice(np.array([0, 1, 255], np.uint8), (25, 30), p=[0.5, 0.3, 0.2])


def regions() -> list[Region]:
    cells = winner()
    return [
        Region("gland", "#0072b2", outline(cells, 0, downsample=16), {"Share": 0.5}),
        Region("stroma", "#e69f00", outline(cells, 1, downsample=16, tolerance=20)),
        Region("nothing", "#000000", []),
    ]


@pytest.mark.parametrize("per", ["region", "polygon"])
def test_what_is_written_follows_the_rules_and_keeps_the_area(tmp_path: Path, per: str) -> None:
    path = write_geojson(tmp_path / "a.geojson", contours_geojson(regions(), per=per))
    text = path.read_text(encoding="ascii")
    shapes = geojson_rules.check(text)
    features = json.loads(text)["features"]
    gland = [s for s, f in zip(shapes, features, strict=True) if f["properties"]["name"] == "gland"]
    assert sum(s.area for s in gland) == (winner() == 0).sum() * 256
    assert len(features) == 2 if per == "region" else len(features) > 50
    assert len({f["id"] for f in features}) == len(features)


def test_smooth_areas_follow_the_rules_too() -> None:
    rng = np.random.default_rng(1)
    areas = contours(rng.random((20, 20)), 0.6, downsample=7.3, origin=(0.1, 1e5), tolerance=3)
    collection = contours_geojson([Region("a", "#ffffff", areas)])
    geojson_rules.check(json.dumps(collection))


def test_class_colour_lock_measurements_and_notes_are_qupaths() -> None:
    collection = contours_geojson(
        regions()[:1], object_type="detection", locked=True, notes={"threshold": "0.5"}
    )
    said = collection["features"][0]["properties"]
    assert said["objectType"] == "detection" and said["isLocked"] is True
    assert said["classification"] == {"name": "gland", "color": [0, 114, 178]}
    assert said["measurements"] == {"Share": 0.5}
    assert said["metadata"]["threshold"] == "0.5"


def test_the_same_areas_have_the_same_ids() -> None:
    assert contours_geojson(regions()) == contours_geojson(regions())


def test_names_are_one_line_of_text_whatever_they_hold(tmp_path: Path) -> None:
    name = '</script><b>"\n\u2028é\x00'
    areas = outline(np.zeros((1, 1), np.uint8), 0)
    made = contours_geojson([Region(name, "#000000", areas, {"a\nb": 1.0, "none": float("nan")})])
    path = write_geojson(tmp_path / "a.geojson", made)
    geojson_rules.check(path.read_text(encoding="ascii"))
    said = json.loads(path.read_bytes())["features"][0]["properties"]
    assert said["name"] == '</script><b>" é' and said["measurements"] == {"a b": 1.0}


def test_what_is_no_collection_is_refused_and_nothing_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    for wrong in ({}, {"type": "FeatureCollection", "features": [float("nan")]},
                  {"type": "FeatureCollection", "features": [object()]}):  # fmt: skip
        with pytest.raises(InvalidInput):
            write_geojson(path, wrong)
    assert not path.exists()
    write_geojson(path, contours_geojson([]))
    geojson_rules.check(path.read_text())
    with pytest.raises(OutputExists):
        write_geojson(path, contours_geojson([]))
    with pytest.raises(InvalidInput, match="object_type"):
        contours_geojson([], object_type="root")  # type: ignore[arg-type]
