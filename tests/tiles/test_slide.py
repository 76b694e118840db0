"""Whole slides: a real one, and a small one without a resolution."""

from __future__ import annotations

import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from widgetkit.errors import BadImage, BadMetadata, InvalidInput, NoTissue, WidgetkitError
from widgetkit.tiles import slide as module
from widgetkit.tiles.slide import SlideInfo, from_slide, plan
from widgetkit.tiles.tissue import covered, otsu, saturation, tissue_mask

MPP = 0.499  # of the real slide


@pytest.fixture(scope="session")
def whole(slide_path) -> np.ndarray:
    """All of the slide, (2967, 2220, 3)."""
    import openslide

    with openslide.OpenSlide(slide_path) as slide:
        return np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))


def test_at_its_own_resolution_pixels_are_the_slide(slide_path, whole) -> None:
    source = from_slide(slide_path, size=128, mpp=0.5)
    assert source.shape == (128, 128, 3)
    assert source.table["mpp"].unique() == pytest.approx([MPP])
    for row in (0, len(source) // 2, len(source) - 1):
        x, y = source.table.loc[row, ["x", "y"]].astype(int)
        np.testing.assert_array_equal(source.read([row])[0], whole[y : y + 128, x : x + 128])


def test_resampled_to_the_exact_resolution(slide_path, whole) -> None:
    """Against resampling the whole slide at once and cutting afterwards."""
    source = from_slide(slide_path, size=64, mpp=2.0)
    assert (source.table["mpp"] == 2.0).all() and (source.table["level"] == 0).all()
    step = 2.0 / MPP
    row = int(source.table["tissue"].argmax())
    x, y = source.table.loc[row, ["x", "y"]]
    expected = Image.fromarray(whole).resize(
        (64, 64), Image.Resampling.LANCZOS, box=(x, y, x + 64 * step, y + 64 * step)
    )
    difference = source.read([row])[0].astype(float) - np.asarray(expected, float)
    assert np.abs(difference).mean() < 3  # only the edge of a tile sees other neighbours


def test_tiles_lie_on_a_grid_inside_the_slide(slide_path) -> None:
    source = from_slide(slide_path, size=128, mpp=1.0, stride=64, tissue=None)
    step = 1.0 / MPP
    x = np.unique(source.table["x"])
    np.testing.assert_allclose(x, np.round(np.arange(len(x)) * 64 * step))
    assert (source.table["x"] + 128 * step <= 2220.5).all()
    assert (source.table["y"] + 128 * step <= 2967.5).all()
    assert x[-1] + 64 * step + 128 * step > 2220
    assert source.table["id"].is_unique


def test_tissue_keeps_tissue(slide_path, whole) -> None:
    source = from_slide(slide_path, size=128, mpp=0.5, tissue=0.5)
    everything = from_slide(slide_path, size=128, mpp=0.5, tissue=None)
    assert 0.1 < len(source) / len(everything) < 0.5
    assert (source.table["tissue"] >= 0.5).all()
    kept = saturation(source.read(range(len(source)))).mean()
    left = ~everything.table["id"].isin(source.table["id"])
    assert kept > 4 * saturation(everything.read(np.flatnonzero(left))).mean()


def test_ids_do_not_depend_on_tissue_stride_or_other_slides(slide_path, pyramid) -> None:
    def places(source):
        mine = source.table[source.table["source"] == slide_path.stem]
        return dict(zip(mine["id"], zip(mine["x"], mine["y"], strict=True), strict=True))

    one = places(from_slide(slide_path, size=128, mpp=0.5))
    dense = places(from_slide(slide_path, size=128, mpp=0.5, stride=64, tissue=0.1))
    both = places(from_slide([pyramid, slide_path], size=128, mpp=None, slide_mpp=None))
    for other in (dense, both):
        assert one.items() <= other.items() or set(one) <= set(other)


def test_many_slides_threads_and_processes_read_the_same(slide_path, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "OPEN_SLIDES", 2)
    paths = []
    for i in range(4):
        paths.append(shutil.copy(slide_path, tmp_path / f"slide{i}.svs"))
    source = from_slide(paths, size=96, mpp=0.5, stride=384, metadata=pd.DataFrame(
        {"slide": ["slide3", "slide2", "slide1", "slide0"], "patient": ["B", "B", "A", "A"]}
    ))  # fmt: skip
    rows = np.random.default_rng(0).permutation(len(source))
    expected = source.read(rows)
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda row: source.read([row])[0], rows.tolist()))
    np.testing.assert_array_equal(np.stack(got), expected)
    assert len(source._slides._open) == 2
    copy = pickle.loads(pickle.dumps(source))
    assert not copy._slides._open
    np.testing.assert_array_equal(copy.read(rows[:3]), expected[:3])
    assert source.table.groupby("slide")["patient"].first().tolist() == ["A", "A", "B", "B"]


def test_no_resolution_is_a_clear_error_with_two_ways_out(pyramid) -> None:
    with pytest.raises(InvalidInput, match=r"slide_mpp=.*mpp=None"):
        from_slide(pyramid, size=64)
    plain = from_slide(pyramid, size=64, mpp=None)
    assert plain.table["mpp"].isna().all()
    told = from_slide(pyramid, size=64, mpp=1.0, slide_mpp=0.5)
    assert told.table["mpp"].tolist() == [1.0] * len(told)
    assert len(told) < len(plain)


def test_finer_than_scanned_invents_nothing_unless_asked(slide_path) -> None:
    with pytest.raises(InvalidInput, match=r"0\.499"):
        from_slide(slide_path, size=128, mpp=0.25)
    source = from_slide(slide_path, size=128, mpp=0.25, upsample=True)
    assert source.read([0]).shape == (1, 128, 128, 3)


def test_an_empty_slide_has_no_tile(tmp_path) -> None:
    from tests.tiles.conftest import write_tiled_tiff

    write_tiled_tiff(tmp_path / "glass.tif", np.full((256, 256, 3), 243, np.uint8), 128)
    with pytest.raises(NoTissue, match="tissue=None"):
        from_slide(tmp_path / "glass.tif", size=64, mpp=None)
    assert len(from_slide(tmp_path / "glass.tif", size=64, mpp=None, tissue=None)) == 16
    with pytest.raises(NoTissue, match="smaller than one tile"):
        from_slide(tmp_path / "glass.tif", size=512, mpp=None)


def test_damaged_and_foreign_files_are_named(slide_path, tmp_path) -> None:
    (tmp_path / "text.svs").write_text("no slide")
    with pytest.raises(BadImage, match=r"text\.svs"):
        from_slide(tmp_path / "text.svs")
    with pytest.raises(BadImage, match=r"absent\.svs"):
        from_slide(tmp_path / "absent.svs")
    data = bytearray(slide_path.read_bytes())
    data[100_000:1_500_000] = bytes(1_400_000)
    (tmp_path / "holes.svs").write_bytes(data)
    with pytest.raises(WidgetkitError, match="holes"):
        source = from_slide(tmp_path / "holes.svs", size=128, mpp=0.5, tissue=None)
        source.read(range(len(source)))


def test_a_damaged_slide_does_not_poison_its_handle(slide_path, tmp_path) -> None:
    """OpenSlide keeps an error for the life of a handle; good tiles must still be readable."""
    good = from_slide(slide_path, size=128, mpp=0.5, tissue=None)
    path = tmp_path / slide_path.name
    shutil.copy(slide_path, path)
    source = from_slide(path, size=128, mpp=0.5, tissue=None)
    data = bytearray(slide_path.read_bytes())
    data[200_000:300_000] = bytes(100_000)
    path.write_bytes(data)
    source = pickle.loads(pickle.dumps(source))
    failed = []
    for row in range(len(source)):
        try:
            np.testing.assert_array_equal(source.read([row]), good.read([row]))
        except BadImage:
            failed.append(row)
    assert 0 < len(failed) < len(source)


@pytest.mark.parametrize(
    "options",
    [
        {"size": 2},
        {"stride": 0},
        {"mpp": 0},
        {"mpp": float("nan")},
        {"slide_mpp": -1},
        {"tissue": 2},
    ],
)
def test_senseless_arguments(slide_path, options) -> None:
    with pytest.raises(InvalidInput):
        from_slide(slide_path, **options)


def test_lists_names_and_masks(slide_path, tmp_path) -> None:
    with pytest.raises(NoTissue):
        from_slide([])
    with pytest.raises(InvalidInput, match="names="):
        from_slide([slide_path, slide_path])
    named = from_slide(slide_path, size=256, names={slide_path.stem: "case 1"})
    assert named.table["source"].unique().tolist() == ["case 1"]
    assert slide_path.stem not in str(named.describe())
    with pytest.raises(InvalidInput):
        from_slide(slide_path, names={"other": "x"})
    everywhere = from_slide(slide_path, size=256, mask=lambda rgb: np.ones(rgb.shape[:2], bool))
    assert (everywhere.table["tissue"] == 1).all()
    with pytest.raises(InvalidInput, match="mask="):
        from_slide(slide_path, mask=lambda rgb: rgb)
    with pytest.raises(BadMetadata):
        from_slide(slide_path, metadata=pd.DataFrame({"slide": ["another"], "a": [1]}))


@given(
    st.floats(0.1, 1.0),
    st.floats(1.0, 40.0),
    st.lists(st.sampled_from([2.0, 4.0, 8.0, 16.0, 32.0]), unique=True),
)
@settings(deadline=None, max_examples=60)
def test_the_level_is_the_coarsest_that_is_not_too_coarse(own, factor, downs) -> None:
    info = SlideInfo("s", 10_000, 10_000, (own, own), (1.0, *sorted(downs)), "", "")
    cut = plan(info, mpp=own * factor)
    down = info.downsamples[cut.level]
    assert down <= factor * 1.0101
    assert all(other > factor * 1.0099 for other in info.downsamples if other > down)
    assert cut.step[0] == pytest.approx(down * cut.factor[0])
    assert cut.mpp == pytest.approx(own * cut.step[0])
    assert abs(cut.mpp / (own * factor) - 1) <= 0.0101


def test_pixels_that_are_not_square_are_read_square() -> None:
    info = SlideInfo("s", 100, 100, (0.5, 0.25), (1.0,), "", "")
    cut = plan(info, mpp=1.0)
    assert cut.step == (2.0, 4.0)


# -- tissue ------------------------------------------------------------------------------
@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 40))
@settings(deadline=None, max_examples=25)
def test_coverage_is_the_mean_of_the_box(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((height, width)) < 0.5
    left, top = rng.integers(0, width, 8), rng.integers(0, height, 8)
    right, bottom = left + rng.integers(1, 9, 8), top + rng.integers(1, 9, 8)
    got = covered(mask, np.stack([left, top, right, bottom], 1).astype(float))
    boxes = zip(left, top, right, bottom, strict=True)
    slow = [mask[y0:y1, x0:x1].mean() for x0, y0, x1, y1 in boxes]
    np.testing.assert_allclose(got, slow)


def test_otsu_is_the_best_of_all_thresholds() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0.2, 0.05, 800), rng.normal(0.7, 0.1, 300)]).clip(0, 1)

    def within(threshold: float) -> float:
        parts = values[values < threshold], values[values >= threshold]
        return sum(part.var() * len(part) for part in parts if len(part))

    edges = np.linspace(0, 1, 257)
    assert within(otsu(values)) <= min(map(within, edges)) * 1.001
    assert 0.3 < otsu(values) < 0.6
    assert otsu(np.empty(0)) == 0.0


def test_glass_ink_black_and_tissue() -> None:
    picture = np.full((40, 40, 3), 242, np.uint8)
    picture[:10] = (244, 240, 243)  # glass is never quite grey
    assert not tissue_mask(picture).any()
    picture[10:20] = (200, 120, 170)
    picture[20:30] = 3
    mask = tissue_mask(picture)
    assert mask[10:20].all() and not mask[:10].any() and not mask[20:].any()
    assert tissue_mask(np.full((9, 9, 3), (190, 90, 160), np.uint8)).all()
