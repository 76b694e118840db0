"""The demo's four slides: the pixels of the one, in files that anything opens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

openslide = pytest.importorskip("openslide")

from widgetkit.demos import fetch  # noqa: E402
from widgetkit.demos.regions import BANDS, HEIGHT, MPP, SIDE, WIDTH, write_regions  # noqa: E402
from widgetkit.errors import BadImage, FetchFailed  # noqa: E402


@pytest.fixture(scope="module")
def whole() -> np.ndarray:
    try:
        slide = openslide.OpenSlide(fetch("slide"))
    except FetchFailed as error:
        pytest.skip(f"the demo's slide is not there: {error}")
    return np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))


@pytest.fixture(scope="module")
def regions(whole: np.ndarray, tmp_path_factory) -> dict[str, Path]:
    return write_regions(fetch("slide"), tmp_path_factory.mktemp("slides"))


def test_bands_are_whole_tiles_and_do_not_overlap() -> None:
    ends = [0, *(bottom for _, bottom in BANDS.values())]
    assert [top for top, _ in BANDS.values()] == ends[:-1] and ends[-1] == HEIGHT
    assert all(top % SIDE == 0 for top, _ in BANDS.values())


def test_every_pixel_is_that_of_the_slide(regions, whole) -> None:
    for name, (top, bottom) in BANDS.items():
        slide = openslide.OpenSlide(regions[name])
        assert slide.dimensions == (WIDTH, bottom - top)
        pixels = np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))
        np.testing.assert_array_equal(pixels, whole[top:bottom])
        for axis in "xy":
            assert float(slide.properties[f"openslide.mpp-{axis}"]) == pytest.approx(MPP)


def test_other_readers_see_the_same(regions, whole) -> None:
    """Pillow goes by the JPEG streams, OpenSlide by the TIFF around them."""
    for name, (top, bottom) in BANDS.items():
        with Image.open(regions[name]) as picture:
            assert picture.n_frames == 2
            difference = np.abs(np.asarray(picture.convert("RGB")).astype(int) - whole[top:bottom])
        assert difference.max() <= 2  # their decoders round differently


def test_the_overview_is_the_slide_in_small(regions, whole) -> None:
    for name, (top, bottom) in BANDS.items():
        slide = openslide.OpenSlide(regions[name])
        assert slide.level_count == 2 and slide.level_downsamples[1] == pytest.approx(4, rel=0.01)
        small = np.asarray(
            slide.read_region((0, 0), 1, slide.level_dimensions[1]).convert("RGB")
        ).astype(float)
        expected = np.asarray(Image.fromarray(whole[top:bottom]).reduce(4)).astype(float)
        assert small.shape == expected.shape
        assert np.abs(small - expected).mean() < 6  # JPEG, colour at half the resolution


def test_nothing_of_the_header_is_copied(regions) -> None:
    """The original names a user, a scanner and a day, and carries a picture of the label."""
    original = fetch("slide").read_bytes()
    assert b"ScanScope" in original
    for path in regions.values():
        data = path.read_bytes()
        for word in (b"ScanScope", b"User", b"Date", b"Aperio"):
            assert word not in data
        assert len(openslide.OpenSlide(path).associated_images) == 0


def test_equal_bytes_each_time(regions, tmp_path) -> None:
    again = write_regions(fetch("slide"), tmp_path)
    assert [p.read_bytes() for p in again.values()] == [p.read_bytes() for p in regions.values()]


def test_another_slide_is_refused(tmp_path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "other.tif")
    with pytest.raises(BadImage, match="not the slide"):
        write_regions(tmp_path / "other.tif", tmp_path / "out")
