"""Sheets of tiles, captions and labels."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from widgetkit.session import Session
from widgetkit.widgets import sheets


def decoded(sheet: sheets.Sheet) -> np.ndarray:
    """Tiles of a sheet, cut out again as the browser does it. (m, s, s, 3)"""
    lines = -(-sheet.count // sheet.columns)
    if sheet.mime == "raw/rgb":
        side = (lines * sheet.tile, sheet.columns * sheet.tile, 3)
        picture = np.frombuffer(sheet.data, np.uint8).reshape(side)
    else:
        picture = np.asarray(Image.open(io.BytesIO(sheet.data)).convert("RGB"))
    tiles = [
        picture[r * sheet.tile :, c * sheet.tile :][: sheet.tile, : sheet.tile]
        for r, c in (divmod(i, sheet.columns) for i in range(sheet.count))
    ]
    return np.stack(tiles)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 20), st.sampled_from([8, 10, 16, 33]), st.booleans(), st.integers(0, 99))
def test_a_raw_sheet_gives_every_tile_back(count: int, side: int, grey: bool, seed: int) -> None:
    shape = (count, side, side) if grey else (count, side, side, 3)
    tiles = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    wanted = np.repeat(tiles[..., None], 3, axis=3) if grey else tiles
    np.testing.assert_array_equal(decoded(sheets.encode_sheet(tiles, raw=True)), wanted)
    if side % 8:  # PNG: nothing is lost either
        np.testing.assert_array_equal(decoded(sheets.encode_sheet(tiles)), wanted)


@pytest.mark.parametrize("side", [48, 96, 24])
def test_no_colour_of_one_tile_reaches_the_next(side: int) -> None:
    tiles = np.zeros((30, side, side, 3), np.uint8)
    tiles[::2] = (250, 30, 60)
    sheet = sheets.encode_sheet(tiles, most_bytes=20_000)
    black = decoded(sheet)[1::2].astype(int)
    assert black.max() < 12, "a black tile between red ones stays black up to its edge"


def test_64_noisy_tiles_fit_into_the_budget() -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (64, 12, 12, 3), dtype=np.uint8)
    tiles = np.stack([np.asarray(Image.fromarray(t).resize((96, 96), 3)) for t in base])
    sheet = sheets.encode_sheet(tiles, most_bytes=160_000)
    assert len(sheet.data) <= 160_000
    assert sheet.mime == "image/jpeg"


def test_an_empty_sheet_has_no_tiles() -> None:
    sheet = sheets.encode_sheet(np.zeros((0, 96, 96, 3), np.uint8))
    assert (sheet.count, sheet.data) == (0, b"")


def test_captions_name_slide_and_label_but_never_the_patient(session: Session) -> None:
    texts = sheets.captions(session, np.array([0, 3, 159]))
    assert texts[0].startswith("tile 0 · ")
    assert "stripes" in texts[0]
    assert "patient" not in "".join(texts)
    assert "<img" in texts[1], "text is not altered: the browser sets it as text"


def test_long_cells_are_shortened() -> None:
    assert len(sheets._short("x" * 500)) == 80


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 2000), st.integers(1, 2000))
def test_the_box_of_a_picture_has_its_proportions(height: int, width: int) -> None:
    left, top, w, h = sheets.box_of((height, width))
    assert max(w, h) == 1
    assert w / h == pytest.approx(width / height)
    assert (left * 2 + w, top * 2 + h) == (pytest.approx(1), pytest.approx(1))
