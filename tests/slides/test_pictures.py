"""Pixels of slides, from their files and from the pictures of tiles."""

from __future__ import annotations

import itertools
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.slides import building
from tests.tiles.conftest import texture, write_tiled_tiff
from widgetkit import tiles
from widgetkit.errors import BadImage, InvalidInput, StoreMismatch, UnknownName
from widgetkit.slides import mosaic, open_pictures, slidefile
from widgetkit.slides.pictures import levels_of


def assembled(picture, level: int) -> np.ndarray:
    """A whole level from its tiles."""
    at = picture.levels[level]
    out = np.zeros((at.height, at.width, 3), np.uint8)
    for row in range(0, at.height, picture.tile):
        for col in range(0, at.width, picture.tile):
            part = picture.read(level, col // picture.tile, row // picture.tile)
            out[row : row + part.shape[0], col : col + part.shape[1]] = part
    return out


def reduced(whole: np.ndarray, level) -> np.ndarray:
    """The whole slide at once, its edge repeated up to a whole pixel of the level."""
    high, wide = level.height * level.downsample, level.width * level.downsample
    padded = np.pad(
        whole, ((0, high - whole.shape[0]), (0, wide - whole.shape[1]), (0, 0)), mode="edge"
    )
    size = (level.width, level.height)
    return np.asarray(Image.fromarray(padded).resize(size, Image.Resampling.LANCZOS))


def close(a: np.ndarray, b: np.ndarray, mean: float) -> None:
    assert a.shape == b.shape
    assert np.abs(a.astype(float) - b.astype(float)).mean() < mean


@pytest.fixture(scope="module")
def whole(slide_path: Path) -> np.ndarray:
    import openslide

    with openslide.OpenSlide(slide_path) as slide:
        return np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))


def test_levels_halve_until_one_tile_is_left() -> None:
    levels = levels_of(100_000, 60_001)
    assert (levels[0].width, levels[0].height, levels[0].downsample) == (100_000, 60_001, 1)
    assert (
        max(levels[-1].width, levels[-1].height) <= 256 < max(levels[-2].width, levels[-2].height)
    )
    assert all(a.downsample * 2 == b.downsample for a, b in itertools.pairwise(levels))
    assert len(levels_of(1, 1)) == 1


def test_a_file_tile_by_tile_is_the_slide(cut, slide_path: Path, whole: np.ndarray) -> None:
    picture = open_pictures(cut, slide_path)[slide_path.stem]
    assert (picture.width, picture.height, picture.origin, picture.note) == (2220, 2967, "file", "")
    assert picture.mpp == (0.499, 0.499)
    np.testing.assert_array_equal(assembled(picture, 0), whole)
    for level in (1, 2, 3):
        close(assembled(picture, level), reduced(whole, picture.levels[level]), 2)


def test_a_slide_of_one_level_is_reduced_in_strips(
    cut, slide_path: Path, whole: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Coarse levels come from an overview whose parts are small, and show the same."""
    largest = 0
    read = slidefile.SlideFile._read

    def watched(self, corner, level, extent):
        nonlocal largest
        largest = max(largest, extent[0] * extent[1])
        return read(self, corner, level, extent)

    monkeypatch.setattr(slidefile.SlideFile, "_read", watched)
    monkeypatch.setattr(slidefile, "OVERVIEW", 600)
    monkeypatch.setattr(slidefile, "STRIP_PIXELS", 600_000)
    monkeypatch.setattr(slidefile, "MOST_REDUCTION", 2)
    picture = open_pictures(cut, slide_path)[slide_path.stem]
    for level in (1, 2, 3, 4):
        close(assembled(picture, level), reduced(whole, picture.levels[level]), 4)
    close(
        picture.thumbnail(200),
        np.asarray(Image.fromarray(whole).resize((150, 200), Image.Resampling.LANCZOS)),
        5,
    )
    assert largest <= 600_000


def test_a_changed_file_is_refused_by_name(cut, slide_path: Path, tmp_path: Path) -> None:
    """Another slide of the same name; and one of the same size with other pixels."""
    other = tmp_path / f"{slide_path.stem}.tif"
    write_tiled_tiff(other, np.full((512, 512, 3), 200, np.uint8), tile=256)
    with pytest.raises(
        StoreMismatch,
        match=r"small_region' changed since extraction.*2220 x 2967.*512 x 512",
    ):
        open_pictures(cut, tmp_path)
    write_tiled_tiff(other, np.full((2967, 2220, 3), 200, np.uint8), tile=256)
    with pytest.raises(StoreMismatch, match="hash differs"):
        open_pictures(cut, {slide_path.stem: other})


def test_a_renamed_slide_is_found_by_its_hash(cut, slide_path: Path, tmp_path: Path) -> None:
    shutil.copy(slide_path, tmp_path / "moved and renamed.svs")
    (tmp_path / "notes.txt").write_text("not a slide")
    found = open_pictures(cut, tmp_path)
    assert found[slide_path.stem].origin == "file" and not found.note


def test_a_slide_that_is_gone_is_shown_by_its_tiles(cut, tmp_path: Path, slide_path: Path) -> None:
    with pytest.warns(UserWarning, match="1 of 1 slides have no file"):
        found = open_pictures(cut, tmp_path)
    assert found[slide_path.stem].origin == "tiles" and "1 of 1" in found.note
    with pytest.warns(UserWarning, match="no file"):
        open_pictures(cut, {slide_path.stem: tmp_path / "gone.svs"})


def test_paths_that_make_no_sense(cut, tmp_path: Path, pyramid: Path) -> None:
    with pytest.raises(UnknownName, match="no slide 'x'"):
        open_pictures(cut, {"x": pyramid})
    text = tmp_path / "text.svs"
    text.write_text("nothing")
    with pytest.raises(BadImage, match="cannot be opened"):
        open_pictures(cut, text)
    two = building.boxed(tmp_path / "two.wk", [("a", 0, 0), ("b", 0, 0)])
    with pytest.raises(InvalidInput, match="2 slides"):
        open_pictures(two, pyramid)
    for name in ("a.tif", "a.tiff"):
        shutil.copy(pyramid, tmp_path / name)
    with pytest.raises(InvalidInput, match="2 files"):
        open_pictures(two, tmp_path)


def test_without_a_record_the_tiles_must_fit_the_file(tmp_path: Path, pyramid: Path) -> None:
    inside = building.boxed(tmp_path / "a.wk", [("a", 500, 0)])
    picture = open_pictures(inside, pyramid)["a"]
    assert picture.origin == "file" and "not checked" in picture.note
    outside = building.boxed(tmp_path / "b.wk", [("a", 509, 0)])
    with pytest.raises(StoreMismatch, match="another slide"):
        open_pictures(outside, pyramid)


def test_a_slide_that_disappears_later_says_so(cut, slide_path: Path, tmp_path: Path) -> None:
    moved = tmp_path / "s.svs"
    shutil.copy(slide_path, moved)
    picture = open_pictures(cut, moved)[slide_path.stem]
    slidefile._open.clear()
    moved.unlink()
    with pytest.raises(BadImage, match="no longer there"):
        picture.read(0, 0, 0)


def test_threads_read_the_same(cut, slide_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slidefile, "OPEN_SLIDES", 1)
    picture = open_pictures(cut, slide_path)[slide_path.stem]
    places = [(0, c, r) for c in range(9) for r in range(12)]
    expected = [picture.read(*place) for place in places]
    with ThreadPoolExecutor(6) as pool:
        for got, wanted in zip(pool.map(lambda p: picture.read(*p), places), expected, strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_the_mosaic_is_the_slide_where_tiles_lie(
    slide_path: Path, whole: np.ndarray, tmp_path: Path
) -> None:
    source = tiles.from_slide(slide_path, size=128, mpp=None, stride=100)  # overlapping
    store = building.of_source(tmp_path / "a.wk", source)
    picture = open_pictures(store)[slide_path.stem]
    assert picture.origin == "tiles" and (picture.width, picture.height) == (2220, 2967)
    pixels = assembled(picture, 0)
    covered = np.zeros(whole.shape[:2], bool)
    for x, y in source.table[["x", "y"]].astype(int).to_numpy():
        covered[y : y + 128, x : x + 128] = True
    np.testing.assert_array_equal(pixels[covered], whole[covered])
    assert (pixels[~covered] == 255).all()
    white = np.where(covered[..., None], whole, 255).astype(np.uint8)
    for level in (1, 2, 4):
        close(assembled(picture, level), reduced(white, picture.levels[level]), 6)


def test_a_mosaic_of_resampled_tiles_leaves_no_seams(cut, slide_path: Path) -> None:
    picture = open_pictures(cut)[slide_path.stem]
    pixels = assembled(picture, 0)
    row = cut.tiles.groupby("y").size().idxmax()
    x = np.sort(cut.tiles.loc[cut.tiles["y"] == row, "x"].to_numpy())
    steps = np.flatnonzero(np.diff(x) < 300)
    assert len(steps)
    line = pixels[int(row) + 20]
    for i in steps:
        edge = line[int(x[i + 1]) - 2 : int(x[i + 1]) + 3]
        assert (edge < 255).any(axis=1).all() or (edge > 235).all()


def test_a_large_mosaic_is_made_from_one_overview(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    monkeypatch.setattr(mosaic, "OVERVIEW", 64)
    images = texture(rng, 16 * 20, 16, 3).reshape(20, 16, 16, 3)
    corners = [("s", 64 * (i % 5), 64 * (i // 5)) for i in range(20)]
    store = building.boxed(tmp_path / "a.wk", corners, size=16, images=images)
    picture = open_pictures(store)["s"]
    drawn = 0
    draw = mosaic.Mosaic._draw

    def counted(self, *args):
        nonlocal drawn
        drawn += 1
        return draw(self, *args)

    monkeypatch.setattr(mosaic.Mosaic, "_draw", counted)
    small = [picture.source.region(0, 0, 20, 20, down) for down in (8, 16, 32)]
    assert drawn <= 2
    assert all((s < 250).any() for s in small)


def test_grey_pictures_and_none(tmp_path: Path, rng: np.random.Generator) -> None:
    grey = building.boxed(
        tmp_path / "a.wk", [("s", 0, 0)], images=rng.integers(0, 200, (1, 8, 8), dtype=np.uint8)
    )
    pixels = open_pictures(grey)["s"].read(0, 0, 0)
    assert pixels.shape == (8, 8, 3) and (pixels[..., 0] == pixels[..., 2]).all()
    none = open_pictures(building.boxed(tmp_path / "b.wk", [("s", 4, 4)]))["s"]
    assert "grey where tiles lie" in none.note
    pixels = none.read(0, 0, 0)
    assert (pixels[:4, :4] == 255).all() and (pixels[4:, 4:] == mosaic.PLAIN).all()


def test_tiles_that_are_not_there(cut, slide_path: Path) -> None:
    picture = open_pictures(cut)[slide_path.stem]
    for place in ((9, 0, 0), (0, 9, 0), (0, -1, 0), (-1, 0, 0)):
        with pytest.raises(InvalidInput):
            picture.read(*place)
    with pytest.raises(InvalidInput):
        picture.thumbnail(0)
    assert picture.thumbnail(100).shape == (100, 75, 3)


def test_pictures_are_a_mapping(cut, slide_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = open_pictures(cut)
    assert list(found) == [slide_path.stem] and len(found) == 1 and slide_path.stem in found
    assert found[slide_path.stem] is found[slide_path.stem]
    with pytest.raises(UnknownName):
        found["x"]
    assert slide_path.stem not in repr(found)
