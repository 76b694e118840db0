"""OME-TIFF: read back by tifffile and OpenSlide, pyramid beside a slow one, XML by the schema's rules."""

from __future__ import annotations

import sys
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.slides import ome_rules
from widgetkit.errors import Cancelled, InvalidInput, MissingDependency, OutputExists
from widgetkit.slides.export_pyramid import halved
from widgetkit.slides.export_tiff import write_ome_tiff

RNG = np.random.default_rng(0)


def halved_slowly(rows: np.ndarray, kind: str) -> np.ndarray:
    """One cell at a time, from the definition."""
    c, height, width = rows.shape
    out = np.empty((c, (height + 1) // 2, (width + 1) // 2), rows.dtype)
    for k, y, x in np.ndindex(*out.shape):
        cells = rows[k, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].reshape(-1)
        if kind == "labels":
            full = np.pad(rows, ((0, 0), (0, 1), (0, 1)), mode="edge")
            four = full[k, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].reshape(-1).tolist()
            out[k, y, x] = max(four, key=four.count)  # the first of the most frequent
        elif kind == "rgb":
            full = np.pad(rows, ((0, 0), (0, 1), (0, 1)), mode="edge")
            four = full[k, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].astype(int)
            out[k, y, x] = (four.sum() + 2) // 4
        else:
            known = cells[~np.isnan(cells)]
            out[k, y, x] = known.mean() if len(known) else np.nan
    return out


@given(
    st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99),
    st.sampled_from(["values", "labels", "rgb"]),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_a_coarser_level_equals_the_slow_one(c: int, h: int, w: int, seed: int, kind: Any) -> None:
    rng = np.random.default_rng(seed)
    if kind == "values":
        rows = rng.random((c, h, w)).astype(np.float32)
        rows[rng.random(rows.shape) < 0.2] = np.nan
        if h % 2 or w % 2:  # an odd edge counts what is there; padded cells count twice
            found, wanted = halved(rows, kind), halved_slowly(rows, kind)
            assert np.array_equal(np.isnan(found), np.isnan(wanted))
            np.testing.assert_allclose(found, wanted, rtol=1e-5)
            return
    else:
        rows = rng.integers(0, 4 if kind == "labels" else 256, (c, h, w)).astype(np.uint8)
    np.testing.assert_allclose(halved(rows, kind), halved_slowly(rows, kind), rtol=1e-5)


@pytest.mark.parametrize("compression", ["zlib", None])
@pytest.mark.parametrize(("channels", "height", "width"), [(1, 1, 1), (3, 200, 131), (2, 64, 300)])
def test_values_and_levels_come_back(
    tmp_path: Path, channels: int, height: int, width: int, compression: str | None
) -> None:
    values = RNG.random((channels, height, width)).astype(np.float32)
    values[:, : height // 3, : width // 2] = np.nan
    path = write_ome_tiff(
        tmp_path / "a.ome.tif", values, tile=32, mpp=(0.25, 0.5), downsample=16,
        compression=compression,
    )  # fmt: skip
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_ome and not tiff.is_bigtiff
        (series,) = tiff.series
        wanted = values
        for level in series.levels:
            found = level.asarray().reshape(wanted.shape)
            np.testing.assert_allclose(found, wanted, rtol=1e-5)
            wanted = halved_slowly(wanted, "values")
        assert max(series.levels[-1].shape) <= 32
        assert tiff.pages[0].is_tiled
        root = ome_rules.check(tiff.ome_metadata or "")
        pixels = root.find(f".//{ome_rules.OME}Pixels")
        assert pixels is not None
        assert (pixels.attrib["PhysicalSizeX"], pixels.attrib["PhysicalSizeY"]) == ("4.0", "8.0")
        x = tiff.pages[0].tags["XResolution"].value
        assert x[0] / x[1] == pytest.approx(2500)  # px in a centimetre


def test_a_level_keeps_its_hierarchy_in_subifds(tmp_path: Path) -> None:
    path = write_ome_tiff(tmp_path / "a.ome.tif", np.zeros((3, 100, 100)), tile=16, levels=3)
    with tifffile.TiffFile(path) as tiff:
        assert len(tiff.pages) == 3, "a page a channel, levels below them"
        for page in tiff.pages:
            assert len(page.subifds) == 2
        assert [level.shape for level in tiff.series[0].levels] == [
            (3, 100, 100), (3, 50, 50), (3, 25, 25),
        ]  # fmt: skip


def test_names_colours_and_place_are_in_the_xml_whatever_they_hold(tmp_path: Path) -> None:
    names = ['<a href="x">&\'', "gland\n\x00ä µ", ""]
    path = write_ome_tiff(
        tmp_path / "a.ome.tif", RNG.random((3, 20, 20)), channel_names=names,
        colours=["#ff0000", "#00ff7f", "#0000ff"], origin=(-3.5, 12), name="slide 1",
        facts={"unit": "weight"},
    )  # fmt: skip
    root = ome_rules.check(tifffile.TiffFile(path).ome_metadata or "")
    channels = list(root.iter(f"{ome_rules.OME}Channel"))
    assert [c.attrib["Name"] for c in channels] == [names[0], "gland ä µ", "channel 3"]
    colours = [int(c.attrib["Color"]) % 2**32 for c in channels]
    assert colours == [0xFF0000FF, 0x00FF7FFF, 0x0000FFFF]
    notes = {m.attrib["K"]: m.text for m in root.iter(f"{ome_rules.OME}M")}
    assert notes["origin_x_px"] == "-3.5" and notes["unit"] == "weight"
    assert "PhysicalSizeX" not in (tifffile.TiffFile(path).ome_metadata or "")


def test_labels_stay_labels_at_every_level(tmp_path: Path) -> None:
    labels = RNG.choice(np.array([0, 3, 255], dtype=np.uint8), (120, 90))
    path = write_ome_tiff(tmp_path / "a.ome.tif", labels, tile=16)
    with tifffile.TiffFile(path) as tiff:
        for level in tiff.series[0].levels:
            assert set(np.unique(level.asarray())) <= {0, 3, 255}
        assert np.array_equal(tiff.series[0].asarray(), labels)


def test_a_picture_is_opened_by_openslide_too(tmp_path: Path) -> None:
    picture = RNG.integers(0, 256, (3, 150, 170)).astype(np.uint8)
    path = write_ome_tiff(tmp_path / "a.ome.tif", picture, kind="rgb", tile=64)
    with openslide.OpenSlide(path) as slide:
        assert slide.dimensions == (170, 150)
        found = np.asarray(slide.read_region((0, 0), 0, (170, 150)))[..., :3]
    assert np.array_equal(found, picture.transpose(1, 2, 0))
    with tifffile.TiffFile(path) as tiff:
        assert tiff.series[0].axes == "YXS" and len(tiff.series[0].levels) == 3
        ome_rules.check(tiff.ome_metadata or "")


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(0, 99))
@settings(deadline=None, max_examples=15)
def test_strips_of_any_height_give_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, heights: list[int], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("strips")
    height = sum(heights)
    values = np.random.default_rng(seed).random((2, height, 50)).astype(np.float32)
    ends = np.cumsum(heights)
    strips = (values[:, b - h : b] for h, b in zip(heights, ends, strict=True))
    one = write_ome_tiff(folder / "a.ome.tif", values, tile=16)
    two = write_ome_tiff(
        folder / "b.ome.tif", strips, shape=(2, height, 50), dtype="float32", tile=16
    )
    assert one.read_bytes() == two.read_bytes()


def test_a_file_over_four_gigabytes_is_a_big_tiff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the limit lowered: the decision is the same, the file is small."""
    from widgetkit.slides import export_tiff

    monkeypatch.setattr(export_tiff, "_CLASSIC", 10_000)
    values = RNG.random((2, 100, 100)).astype(np.float32)
    path = write_ome_tiff(tmp_path / "a.ome.tif", values, tile=32)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_bigtiff and tiff.is_ome
        assert np.array_equal(tiff.series[0].asarray(), values)
        assert len(tiff.series[0].levels) == 3


def peak(path: Path, height: int) -> int:
    def strips() -> Iterator[np.ndarray]:
        for _ in range(height // 64):
            yield np.zeros((1, 64, 2048), np.float32)

    tracemalloc.start()
    write_ome_tiff(path, strips(), shape=(1, height, 2048), dtype="float32")
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


def test_memory_does_not_grow_with_the_height(tmp_path: Path) -> None:
    peak(tmp_path / "warm.ome.tif", 64)
    low, high = peak(tmp_path / "a.ome.tif", 1024), peak(tmp_path / "b.ome.tif", 8192)
    assert high < 2 * low < 32 * 2**20, "eight times the rows"


def test_progress_is_told_and_cancelling_leaves_nothing(tmp_path: Path) -> None:
    said: list[tuple[int, int]] = []
    write_ome_tiff(
        tmp_path / "a.ome.tif", np.zeros((1, 700, 20)), progress=lambda d, t: said.append((d, t))
    )
    assert said == [(256, 700), (512, 700), (700, 700)]
    stop = threading.Event()

    def strips() -> Iterator[np.ndarray]:
        yield np.zeros((1, 10, 20), np.float32)
        stop.set()
        yield np.zeros((1, 10, 20), np.float32)

    with pytest.raises(Cancelled):
        write_ome_tiff(
            tmp_path / "b.ome.tif", strips(), shape=(1, 20, 20), dtype="float32",
            cancel=stop.is_set,
        )  # fmt: skip
    assert [p.name for p in tmp_path.iterdir()] == ["a.ome.tif"]


@pytest.mark.parametrize(
    ("rasters", "options", "said"),
    [
        (np.ones(3), {}, "shape"),
        (np.ones((1, 2, 2), np.int32), {}, "float32 or uint8"),
        (np.ones((1, 2, 2)), {"channel_names": ["a", "b"]}, "channel_names"),
        (np.ones((1, 2, 2)), {"colours": ["red"]}, "rrggbb"),
        (np.ones((1, 2, 2)), {"tile": 100}, "multiple of 16"),
        (np.ones((1, 2, 2)), {"compression": "lzw"}, "compression"),
        (np.ones((1, 2, 2)), {"levels": 9}, "levels"),
        (np.ones((1, 2, 2)), {"kind": "rgb"}, "kind"),
        (np.ones((2, 2, 2), np.uint8), {"kind": "rgb"}, "kind"),
        (np.ones((1, 2, 2)), {"mpp": "x"}, "mpp"),
        (iter([np.ones((1, 2, 2))]), {}, "shape="),
        (iter([np.ones((1, 2, 2))]), {"shape": (1, 3, 2), "dtype": "float32"}, "hold 2 rows"),
        (iter([np.ones((1, 2, 2))]), {"shape": (1, 1, 2), "dtype": "float32"}, "more than"),
        (iter([np.ones((1, 2, 3))]), {"shape": (1, 2, 2), "dtype": "float32"}, "strip"),
        (iter([np.ones((1, 2, 2), int)]), {"shape": (1, 2, 2), "dtype": "float32"}, "one is"),
        (np.ones((1, 2, 2)), {"shape": (1, 2, 2)}, "has its own"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_left(
    tmp_path: Path, rasters: Any, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        write_ome_tiff(tmp_path / "a.ome.tif", rasters, **options)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_and_a_wrong_ending_are_refused(tmp_path: Path) -> None:
    write_ome_tiff(tmp_path / "a.ome.tif", np.ones((1, 2, 2)))
    with pytest.raises(OutputExists):
        write_ome_tiff(tmp_path / "a.ome.tif", np.ones((1, 2, 2)))
    with pytest.raises(InvalidInput, match=r"\.ome\.tif"):
        write_ome_tiff(tmp_path / "a.tif", np.ones((1, 2, 2)))


def test_without_tifffile_the_cure_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(MissingDependency, match=r"pip install 'widgetkit\[slides\]'"):
        write_ome_tiff(tmp_path / "a.ome.tif", np.ones((1, 2, 2)))
