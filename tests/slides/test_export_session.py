"""A session's exports: what stands in the files is what the session holds, for every slide, without names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from tests.slides import building, geojson_rules, ome_rules
from widgetkit.demos import demo_store
from widgetkit.errors import Cancelled, InvalidInput, OutputExists, UnknownName
from widgetkit.session import Session, exporting, pooling, weighing
from widgetkit.session.exporting import (
    export_contours,
    export_factor_table,
    export_selection,
    export_slide_ome_tiff,
    export_slide_png,
)

#: Names of slides are names of patients more often than one would like.
SLIDES = ("Doe^Jane 1950", "=Roe&<b>")
GRID = (3, 3)
SIZE = 12  # level-0 px: a position is 4 of them


@pytest.fixture
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """Two slides of touching tiles, the second not at a multiple of a position."""
    corners = [(SLIDES[0], 12 * x, 12 * y) for y in range(5) for x in range(6) if (x, y) != (2, 2)]
    corners += [(SLIDES[1], 12 * x + 7, 12 * y + 2) for y in range(3) for x in range(4)]
    folder = tmp_path_factory.mktemp("stores")
    store = building.boxed(folder / "s.wk", corners, size=SIZE, grid=GRID)
    made = Session(store)
    made.cluster("nmf", 3)
    made.wait()
    made.request_factors()
    made.wait()
    made.rename_cluster(0, "gland <&>")
    return made


def planted(session: Session, slide: int) -> np.ndarray:
    """(k, H, W) by hand: each tile's weights put down at its place; NaN elsewhere."""
    places, kept = session.placement, session.factors
    assert kept is not None
    dx, dy = ((0, 0), (1, 2))[slide]  # px between the raster's begin and the slide's
    wide, high = ((18, 15), (14, 10))[slide]
    out = np.full((3, high, wide), np.nan, np.float32)
    for row in places.rows(slide):
        x, y = int(places.boxes[row, 0] + dx) // 4, int(places.boxes[row, 1] + dy) // 4
        out[:, y : y + 3, x : x + 3] = kept.weights([row])[0]
    return out


def each(folder: Path, suffix: str) -> list[Path]:
    return [folder / f"slide-1{suffix}", folder / f"slide-2{suffix}"]


@pytest.mark.parametrize("strip", [1, 32 * 2**20])
def test_tiff_channels_are_the_kept_weights_at_their_place(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strip: int
) -> None:
    monkeypatch.setattr(exporting, "_STRIP", strip)  # 1: sixteen rows at a time
    session.hide_cluster(1)
    said: list[tuple[int, int]] = []
    paths = export_slide_ome_tiff(session, tmp_path, progress=lambda d, n: said.append((d, n)))
    assert paths == each(tmp_path, ".ome.tif")
    assert said[-1][0] == said[-1][1]
    for slide, path in enumerate(paths):
        with tifffile.TiffFile(path) as tiff:
            found = tiff.series[0].asarray()
            root = ome_rules.check(tiff.ome_metadata or "")
        wanted = planted(session, slide)
        np.testing.assert_allclose(
            found[:, : wanted.shape[1], : wanted.shape[2]], wanted[[0, 2]], atol=2e-3
        )
        names = [c.attrib["Name"] for c in root.iter(f"{ome_rules.OME}Channel")]
        assert names == ["gland <&>", "cluster 3"]
        notes = {m.attrib["K"]: m.text for m in root.iter(f"{ome_rules.OME}M")}
        assert notes["downsample_x"] == "4.0"
        assert (notes["origin_x_px"], notes["origin_y_px"]) == (("0.0", "0.0"), ("-1.0", "-2.0"))[
            slide
        ]


def test_the_winner_is_that_of_the_weights_in_tiff_png_and_geojson(
    session: Session, tmp_path: Path
) -> None:
    export_slide_ome_tiff(session, tmp_path, content="winner")
    pictures = export_slide_png(session, tmp_path, enlarge=2)
    outlines = export_contours(session, tmp_path)
    for slide in range(2):
        wanted = planted(session, slide)
        winner = np.where(np.isnan(wanted[0]), 255, np.nan_to_num(wanted).argmax(axis=0))
        found = tifffile.imread(tmp_path / f"slide-{slide + 1}.ome.tif")
        assert np.array_equal(found[: winner.shape[0], : winner.shape[1]], winner)
        image = Image.open(pictures[slide])
        assert image.size == (found.shape[1] * 2, found.shape[0] * 2)
        assert "One cell is 4 px" in image.text["Description"]
        alpha = np.asarray(image)[..., 3]
        assert (alpha[::2, ::2][found == 255] == 0).all()
        text = outlines[slide].read_text()
        shapes = geojson_rules.check(text)
        names = [f["properties"]["name"] for f in json.loads(text)["features"]]
        for name, area in zip(names, shapes, strict=True):
            number = ["gland <&>", "cluster 2", "cluster 3"].index(name)
            assert area.area == (winner == number).sum() * 16
            boxes = session.placement.boxes[session.placement.rows(slide)]
            assert boxes[:, 0].min() <= area.bounds[0] and area.bounds[2] <= boxes[:, 2].max()


def test_areas_of_one_cluster_lie_around_its_centres(session: Session, tmp_path: Path) -> None:
    (path,) = export_contours(session, tmp_path / "a.geojson", 0, cluster=0, threshold=0.8)
    (area,) = geojson_rules.check(path.read_text())
    said = json.loads(path.read_text())["features"][0]["properties"]
    assert said["measurements"] == {"Threshold": 0.8} and "0.8" in said["metadata"]["areas"]
    from shapely import contains_xy

    (path,) = export_contours(
        session, tmp_path / "b.geojson", 0, cluster=0, threshold=0.8, tolerance=0
    )
    (area,) = geojson_rules.check(path.read_text())
    weight = planted(session, 0)[0]
    y, x = np.indices(weight.shape)
    with np.errstate(invalid="ignore"):
        # kept weights are float16: leave out what is at the threshold within that
        clear = ~(np.abs(weight - 0.8) < 0.01)
        inside = weight > 0.8
    found = contains_xy(area, 4 * x + 2.0, 4 * y + 2.0)
    assert np.array_equal(found[clear], inside[clear])


def test_no_file_holds_a_name_of_a_slide(session: Session, tmp_path: Path) -> None:
    session.select_all()
    for export in (export_slide_png, export_slide_ome_tiff, export_contours):
        export(session, tmp_path)
    (tmp_path / "selection").mkdir()
    export_selection(session, tmp_path / "selection")
    for name in ("tile.csv", "tile.parquet", "slide.csv", "slide.parquet"):
        export_factor_table(session, tmp_path / name, per=name.split(".")[0])  # type: ignore[arg-type]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 12
    for path in files:
        data = path.read_bytes()
        assert b"Doe" not in data and b"Roe" not in data, path.name


def test_tables_number_slides_as_files_are(session: Session, tmp_path: Path) -> None:
    table = pd.read_csv(export_factor_table(session, tmp_path / "s.csv", per="slide"))
    for slide in range(2):
        wanted = planted(session, slide)
        winner = np.where(np.isnan(wanted[0]), -9, np.nan_to_num(wanted).argmax(axis=0))
        mine = table[table["slide"] == f"slide {slide + 1}"].set_index("factor")
        count = [(winner == i).sum() for i in range(3)]
        assert list(mine["positions [count]"]) == [*count, 0]
    tiles = pd.read_parquet(export_factor_table(session, tmp_path / "t.parquet"))
    assert list(tiles["source"]) == [f"source {i + 1}" for i in session.placement.slide]
    kept = session.factors
    assert kept is not None
    np.testing.assert_allclose(tiles["gland <&>: mean"], kept.pooled.mean[:, 0], rtol=1e-2)
    np.testing.assert_allclose(tiles["cluster 2: share"], kept.pooled.share[:, 1], atol=1e-6)
    plain = pd.read_csv(export_factor_table(session, tmp_path / "k.csv", identifiers="keep"))
    assert plain["source"].iloc[-1] == "'=Roe&<b>", "a name may not run as a formula"


def test_edited_clusters_are_pooled_position_by_position(session: Session) -> None:
    session.merge_clusters([0, 2])
    clustering = session.clustering
    assert clustering is not None
    found = weighing.find(session.store, clustering)
    assert found is not None
    made = pooling.pooled(clustering, found)
    every = np.arange(clustering.n)
    raw = found.read(every)
    both = np.stack([raw[:, 0] + raw[:, 2], raw[:, 1]], axis=1).reshape(len(raw), 2, -1)
    np.testing.assert_allclose(made.mean, both.mean(axis=2), rtol=1e-5)
    np.testing.assert_allclose(made.max, both.max(axis=2), rtol=1e-6)
    np.testing.assert_allclose(made.share[:, 0], (both.argmax(axis=1) == 0).mean(axis=1))


def test_selected_tiles_are_squares_of_their_slide(session: Session, tmp_path: Path) -> None:
    session.select([0, 1, len(session.store) - 1])
    paths = export_selection(session, tmp_path, name="mine")
    assert paths == each(tmp_path, ".geojson")
    first, second = (geojson_rules.check(p.read_text()) for p in paths)
    assert [s.bounds for s in first] == [(0, 0, 12, 12), (12, 0, 24, 12)]
    assert [s.bounds for s in second] == [(43, 26, 55, 38)]
    session.clear()
    with pytest.raises(InvalidInput, match="selected"):
        export_selection(session, tmp_path, overwrite=True)


def test_a_map_of_a_method_is_a_channel_and_a_picture(session: Session, tmp_path: Path) -> None:
    (path,) = export_slide_ome_tiff(session, tmp_path / "a.ome.tif", 0, method="channel")
    shown = session.slide_map(0, method="channel", view=(0, 0, 72, 60), shape=(15, 18))
    np.testing.assert_allclose(tifffile.imread(path), shown.values, rtol=1e-5)
    (picture,) = export_slide_png(session, tmp_path / "a.png", 0, method="channel")
    facts = json.loads(Image.open(picture).text["widgetkit"])
    assert (facts["vmin"], facts["vmax"]) == (shown.vmin, shown.vmax)


EXPORTS: list[tuple[Callable[..., Any], str]] = [
    (export_slide_png, ".png"),
    (export_slide_ome_tiff, ".ome.tif"),
    (export_contours, ".geojson"),
]


@pytest.mark.parametrize(("export", "suffix"), EXPORTS)
def test_files_in_the_way_wrong_slides_and_folders_are_refused(
    session: Session, tmp_path: Path, export: Callable[..., Any], suffix: str
) -> None:
    with pytest.raises(InvalidInput, match="2 slides are 2 files"):
        export(session, tmp_path / f"a{suffix}")
    with pytest.raises(InvalidInput, match="make it first"):
        export(session, tmp_path / "none")
    with pytest.raises(UnknownName):
        export(session, tmp_path / f"a{suffix}", "nobody")
    (tmp_path / f"slide-2{suffix}").write_bytes(b"theirs")
    with pytest.raises(OutputExists):
        export(session, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [f"slide-2{suffix}"], "the first neither"
    export(session, tmp_path, overwrite=True)
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(Cancelled):
        export(session, tmp_path / f"b{suffix}", 0, cancel=lambda: True)
    assert len(list(tmp_path.iterdir())) == 2


def test_contradictions_are_refused(session: Session, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="threshold"):
        export_contours(session, tmp_path / "a.geojson", 0, threshold=1.0)
    with pytest.raises(InvalidInput, match="content"):
        export_slide_ome_tiff(
            session, tmp_path / "a.ome.tif", 0, content="winner", method="channel"
        )
    with pytest.raises(InvalidInput, match="per"):
        export_factor_table(session, tmp_path / "a.csv", per="cell")  # type: ignore[arg-type]
    for i in range(3):
        session.hide_cluster(i)
    with pytest.raises(InvalidInput, match="hidden"):
        export_slide_ome_tiff(session, tmp_path / "a.ome.tif", 0)
    assert list(tmp_path.iterdir()) == []


def test_the_demo_slide_goes_out_whole(tmp_path: Path) -> None:
    """A real slide: every file opens, the pixel size is the slide's times the positions' distance."""
    made = Session(demo_store())
    made.cluster("nmf", 4)
    made.wait()
    (path,) = export_slide_ome_tiff(made, tmp_path / "a.ome.tif")
    with tifffile.TiffFile(path) as tiff:
        root = ome_rules.check(tiff.ome_metadata or "")
        pixels = next(root.iter(f"{ome_rules.OME}Pixels"))
        note = {m.attrib["K"]: m.text for m in root.iter(f"{ome_rules.OME}M")}
        wanted = made.placement.mpp[0, 0] * float(note["downsample_x"] or 0)
        assert float(pixels.attrib["PhysicalSizeX"]) == pytest.approx(wanted)
        assert tiff.series[0].shape[0] == 4
        weights = tiff.series[0].asarray()
    (outline,) = export_contours(made, tmp_path / "a.geojson")
    (smooth,) = export_contours(made, tmp_path / "b.geojson", cluster=0, per="polygon")
    for path in (outline, smooth):
        shapes = geojson_rules.check(path.read_text())
        wide, high = made.placement.extent(0)
        for shape in shapes:
            x0, y0, x1, y1 = shape.bounds
            assert x0 >= -8 and x1 <= wide + 8 and y0 >= -8 and y1 <= high + 8
    export_slide_png(made, tmp_path / "a.png", cluster=0)
    assert Image.open(tmp_path / "a.png").size == weights.shape[:0:-1]
    table = pd.read_csv(export_factor_table(made, tmp_path / "a.csv", per="slide"))
    assert table["share [share of positions]"].sum() == pytest.approx(1)


def test_the_page_shows_what_works(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (repo / "docs" / "export.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    exec(page.split("```python")[1].split("```")[0], {})
    assert len(list(tmp_path.iterdir())) == 9
    for name in ("export_slide_png", "export_slide_ome_tiff", "export_contours"):
        assert hasattr(Session, name)
