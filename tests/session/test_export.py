"""Squares for QuPath: level-0 pixels, whatever the resolution the tiles were read at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from widgetkit.errors import InvalidInput
from widgetkit.session import Selection
from widgetkit.session.export import level0_sides
from widgetkit.store import ActivationStore, LayerPlan, Plan, StoreWriter


def cut(
    path: Path, record: dict[str, Any], sources: list[str], mpp: float, level: int
) -> ActivationStore:
    """A store of one tile of 128 px a source."""
    n = len(sources)
    table = pd.DataFrame(
        {
            "id": [f"{i:016x}" for i in range(n)],
            "source": sources,
            "x": 100.0,
            "y": 200.0,
            "level": level,
            "size": 128,
            "mpp": mpp,
        }
    )
    plan = Plan(tiles=table, layers=[LayerPlan("a", 2, ())], source=record)
    with StoreWriter.open(path, plan=plan) as writer:
        writer.write_segment(0, {"a": np.ones((n, 2), np.float32)})
        return writer.commit()


def slides(*mpp: Any) -> dict[str, Any]:
    return {"kind": "slide", "slides": [{"mpp": None if m is None else [m, m]} for m in mpp]}


def test_a_tile_read_coarser_is_larger_at_level_0(tmp_path: Path) -> None:
    store = cut(tmp_path / "a.wk", slides(0.5, 0.25), ["one", "two"], 1.0, 1)
    assert level0_sides(store).tolist() == [[256, 256], [512, 512]]
    (feature,) = Selection.from_rows(2, [1]).to_geojson(store)["features"]
    assert feature["geometry"]["coordinates"][0][2] == [612.0, 712.0]
    assert feature["properties"]["slide"] == 2


def test_two_sources_put_together(tmp_path: Path) -> None:
    record = {"kind": "concat", "parts": [slides(0.5), slides(0.25)]}
    store = cut(tmp_path / "a.wk", record, ["one", "two"], 1.0, 0)
    assert level0_sides(store)[:, 0].tolist() == [256, 512]


@pytest.mark.parametrize(
    "record",
    [
        slides(0.5, 0.25, 0.5),
        {"kind": "subset", "of": slides(0.5, 0.25)},
        slides(None, None),
        {"kind": "array"},
        {"kind": "slide", "slides": "hostile"},
        {"kind": "slide", "slides": [{"mpp": ["x", -1]}, 3]},
    ],
    ids=["one without tiles", "subset", "unknown", "array", "text", "odd"],
)
def test_where_it_cannot_be_known_it_is_said(tmp_path: Path, record: dict[str, Any]) -> None:
    store = cut(tmp_path / "a.wk", record, ["one", "two"], 1.0, 1)
    with pytest.raises(InvalidInput, match="not known for 2"):
        level0_sides(store)


def test_a_slide_of_one_level_read_coarser_is_not_guessed_either(tmp_path: Path) -> None:
    """Resampled from level 0: the level alone does not tell the size."""
    record = {"kind": "subset", "of": slides(0.5, 0.25)}
    with pytest.raises(InvalidInput, match="not known for 2"):
        level0_sides(cut(tmp_path / "a.wk", record, ["one", "two"], 1.0, 0))


def test_slides_of_one_resolution_need_no_order(tmp_path: Path) -> None:
    record = {"kind": "subset", "of": slides(0.5, 0.5, 0.5)}
    store = cut(tmp_path / "a.wk", record, ["two", "one"], 1.0, 1)
    assert level0_sides(store)[:, 0].tolist() == [256, 256]


def test_level_0_without_a_resolution_is_as_large_as_it_was_read(tmp_path: Path) -> None:
    store = cut(tmp_path / "a.wk", {"kind": "array"}, ["one"], float("nan"), 0)
    assert level0_sides(store).tolist() == [[128, 128]]
