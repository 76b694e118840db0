"""Where tiles lie, and how the record of a slide finds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.slides import building
from widgetkit import tiles
from widgetkit.errors import BadMetadata, InvalidInput, UnknownName
from widgetkit.slides import level0_sides, placement
from widgetkit.slides.placement import SlideRecord, records_of

MPP = 0.499  # of the real slide


def test_tiles_of_a_real_slide_lie_where_they_were_cut(cut, slide_path: Path) -> None:
    places = placement(cut)
    assert places.names == (slide_path.stem,) and places.missing == 0 and not places.note
    assert places.extent(0) == (2220, 2967)
    assert places.mpp[0].tolist() == [MPP, MPP]
    np.testing.assert_allclose(places.boxes[:, 2] - places.boxes[:, 0], 128 * 1.0 / MPP)
    assert places.boxes[:, :2].tolist() == cut.tiles[["x", "y"]].to_numpy().tolist()
    assert places.rows(slide_path.stem).tolist() == list(range(len(cut)))
    assert places.counts.tolist() == [len(cut)]


def test_parts_of_sources_put_together_keep_their_resolution(
    slide_path: Path, pyramid: Path, tmp_path: Path
) -> None:
    """Two slides, three resolutions, one slide without tiles in between, in an order of its own."""
    fine = tiles.from_slide(slide_path, size=64, mpp=MPP, stride=400)
    coarse = tiles.from_slide(slide_path, size=64, mpp=2.0, names=lambda p: "again")
    plain = tiles.from_slide(pyramid, size=64, mpp=1.0, slide_mpp=0.25, tissue=None)
    flat = tiles.from_array(np.zeros((2, 64, 64, 3), np.uint8), source="flat", mpp=3.0)
    both = tiles.concat([fine, tiles.subset(plain, [1]), flat, coarse])
    mixed = tiles.subset(both, np.random.default_rng(0).permutation(len(both)))
    store = building.of_source(tmp_path / "a.wk", mixed)
    table, sides = store.tiles, level0_sides(store)
    for name, side in (
        (slide_path.stem, 64),
        ("again", 64 * 2.0 / MPP),
        ("plain", 256),
        ("flat", 64),
    ):
        np.testing.assert_allclose(sides[table["source"] == name], side, rtol=1e-12)
    places = placement(store)
    extents = dict(zip(places.names, places.extents.tolist(), strict=True))
    assert extents["plain"] == [512, 384] and extents["again"] == [2220, 2967]
    assert extents["flat 0"] == [64, 64], "each picture of an array is a slide of its own"
    resolution = dict(zip(places.names, places.mpp[:, 0], strict=True))
    assert resolution["plain"] == 0.25 and resolution["flat 1"] == 3.0
    export = store.export(tmp_path / "b.wk", np.flatnonzero(table["source"] == "plain"))
    assert level0_sides(export).tolist() == [[256, 256]]
    assert placement(export).records[0].width == 512


def test_the_record_of_a_source_names_nobody(slide_path: Path) -> None:
    source = tiles.from_slide(slide_path, size=256, names=lambda p: "Jane Doe")
    both = tiles.concat([source, tiles.from_slide(slide_path, size=256, names=lambda p: "other")])
    assert "Doe" not in str(both.describe())
    assert set(both.table.groupby("source")["slide_record"].first()) == {0, 1}


def test_different_slides_of_one_name_do_not_go_together(slide_path: Path, pyramid: Path) -> None:
    one = tiles.from_slide(slide_path, size=64, stride=500, names=lambda p: "same")
    two = tiles.from_slide(pyramid, size=64, mpp=None, names=lambda p: "same")
    with pytest.raises(BadMetadata, match="different slides"):
        tiles.concat([one, two])
    again = tiles.from_slide(slide_path, size=64, mpp=2.0, names=lambda p: "same")
    assert len(tiles.concat([one, again])) == len(one) + len(again), "one slide, two resolutions"


def test_metadata_may_not_call_itself_a_record(slide_path: Path) -> None:
    with pytest.raises(BadMetadata, match="slide_record"):
        tiles.from_slide(slide_path, size=256, metadata={"slide_record": 3})


def test_a_file_of_a_folder_is_a_slide_of_one_tile(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / f"{name}.png")
    store = building.of_source(tmp_path / "s.wk", tiles.from_folder(tmp_path))
    places = placement(store)
    assert places.names == ("a.png", "b.png")
    assert places.boxes.tolist() == [[0, 0, 16, 16]] * 2 and np.isnan(places.mpp).all()
    assert [places.rows(i).tolist() for i in range(2)] == [[0], [1]]


def test_one_tile_and_gaps(tmp_path: Path) -> None:
    places = placement(building.boxed(tmp_path / "a.wk", [("s", 3, 5)]))
    assert places.extents.tolist() == [[11, 13]] and len(places) == 1
    far = placement(building.boxed(tmp_path / "b.wk", [("s", 0, 0), ("s", 10**6, 0)]))
    assert far.extents.tolist() == [[10**6 + 8, 8]]


def test_many_slides_in_any_order(tmp_path: Path) -> None:
    corners = [(f"s{i % 7}", i * 10, 0) for i in range(50)]
    places = placement(building.boxed(tmp_path / "a.wk", corners))
    assert places.names == tuple(f"s{i}" for i in range(7))
    for i in range(7):
        assert places.rows(i).tolist() == list(range(i, 50, 7))
        assert places.rows(f"s{i}") is not None and places.counts[i] == len(places.rows(i))


def test_planes_of_one_source_are_slides_of_their_own(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"id": [f"{i:016x}" for i in range(4)], "source": ["s", "s", "s", "s 1"], "x": [0.0, 8, 0, 0],
         "y": 0.0, "z": [0.0, 0, 1, 0], "level": 0, "size": 8, "mpp": 0.5}
    )  # fmt: skip
    places = placement(building.write(tmp_path / "a.wk", table))
    assert places.names[:2] == ("s 0", "s 1 (2)") or len(set(places.names)) == 3
    assert places.slide.tolist() == [0, 0, 1, 2]


def test_tiles_without_a_place_are_counted_not_guessed(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"id": [f"{i:016x}" for i in range(3)], "source": "s", "x": [0.0, np.nan, 5], "y": 0.0,
         "z": 0.0, "level": [0, 0, 1], "size": 8, "mpp": np.nan}
    )  # fmt: skip
    places = placement(building.write(tmp_path / "a.wk", table))
    assert places.missing == 2 and places.slide.tolist() == [0, -1, -1]
    assert "2 tiles cannot be placed" in places.note
    assert np.isnan(places.boxes[1:]).all()


def test_features_without_a_place_have_no_slide(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": ["0" * 16]})
    places = placement(building.write(tmp_path / "a.wk", table, grid=()))
    assert len(places) == 0 and places.missing == 1 and places.note


def test_volumes_are_refused_with_a_way_out(tmp_path: Path) -> None:
    store = building.boxed(tmp_path / "a.wk", [("s", 0, 0)], grid=(2, 2, 2))
    with pytest.raises(InvalidInput, match=r"volumes.*MapViewer"):
        placement(store)


def test_unknown_slides(tmp_path: Path) -> None:
    places = placement(building.boxed(tmp_path / "a.wk", [("alpha", 0, 0)]))
    with pytest.raises(UnknownName, match="alpha"):
        places.rows("alpa")
    for wrong in (1, -1, True, None):
        with pytest.raises(UnknownName):
            places.index(wrong)  # type: ignore[arg-type]


# -- stores written before the column, and damaged ones --------------------------------------
def old(path: Path, record: dict[str, Any], names: list[str], mpp: float, level: int = 0):
    table = pd.DataFrame(
        {"id": [f"{i:016x}" for i in range(len(names))], "source": names, "x": 100.0, "y": 200.0,
         "z": 0.0, "level": level, "size": 128, "mpp": mpp}
    )  # fmt: skip
    return building.write(path, table, source=record)


def slide(mpp: float, **more: Any) -> dict[str, Any]:
    return {"mpp": [mpp, mpp], "width": 5000, "height": 4000, "quickhash": "ab", **more}


def test_old_stores_are_bound_by_order_where_that_is_sure(tmp_path: Path) -> None:
    record = {"kind": "slide", "slides": [slide(0.5), slide(0.25, width=9000)]}
    places = placement(old(tmp_path / "a.wk", record, ["one", "two"], 1.0))
    assert places.extents.tolist() == [[5000, 4000], [9000, 4000]]
    exported = placement(
        old(tmp_path / "b.wk", record | {"exported_from": "x"}, ["two", "one"], 1.0)
    )
    assert exported.missing == 2, "another order: not guessed"
    single = {"kind": "subset", "of": {"kind": "slide", "slides": [slide(0.5)]}}
    assert placement(old(tmp_path / "c.wk", single, ["one"], 1.0)).extent(0) == (5000, 4000)


@pytest.mark.parametrize(
    "record",
    [
        {"slides": "hostile"},
        {"slides": [{"mpp": [1e999, -1], "width": -3, "height": 2.5, "quickhash": 7, "step": "x"}]},
        {"slides": [{"width": 2**40, "height": True, "quickhash": "a" * 10_000}]},
        {"parts": {"parts": 3}},
        {"of": [1, 2]},
    ],
)
def test_a_damaged_record_counts_as_none(record: dict[str, Any]) -> None:
    found, _ = records_of(record)
    assert all(one == SlideRecord() for one in found)


def test_a_deeply_nested_record_ends() -> None:
    record: dict[str, Any] = {"slides": [slide(0.5)]}
    for _ in range(50):
        record = {"of": record}
    assert records_of(record) == ([], False)


def test_records_of_other_stores_do_not_fit(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"id": ["0" * 16, "1" * 16], "source": ["a", "b"], "x": 0.0, "y": 0.0, "z": 0.0, "level": 0,
         "size": 8, "mpp": np.nan, "slide_record": [7, -5]}
    )  # fmt: skip
    places = placement(building.write(tmp_path / "a.wk", table, source={"slides": [slide(0.5)]}))
    assert places.records == (None, None)
