"""A real slide, and images made once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from widgetkit.errors import FetchFailed
from widgetkit.tiles.fetch import fetch


@pytest.fixture(scope="session")
def slide_path() -> Path:
    """CMU-1-Small-Region (CC0, 2220 x 2967 px, 0.499 um a pixel), from the cache or fetched."""
    pytest.importorskip("openslide")
    try:
        return fetch("slide")
    except FetchFailed as error:
        pytest.skip(f"the CC0 slide is neither in the cache nor can it be fetched: {error}")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def texture(rng: np.random.Generator, height: int, width: int, *shape: int) -> np.ndarray:
    """Smooth random uint8 texture (height, width, *shape): resampling keeps it recognisable."""
    coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, *shape), dtype=np.uint8)
    big = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(big)


@pytest.fixture
def pyramid(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A tiled TIFF that OpenSlide reads but that does not say its resolution: 512 x 384 px."""
    pixels = np.full((384, 512, 3), 245, np.uint8)
    pixels[64:320, 128:448] = texture(rng, 256, 320, 3)
    path = tmp_path / "plain.tif"
    write_tiled_tiff(path, pixels, tile=128)
    return path


def write_tiled_tiff(path: Path, pixels: np.ndarray, tile: int) -> None:
    """The smallest generic tiled TIFF (uncompressed RGB), which PIL cannot write."""
    height, width = pixels.shape[:2]
    across, down = -(-width // tile), -(-height // tile)
    blocks = []
    for row in range(down):
        for column in range(across):
            block = np.zeros((tile, tile, 3), np.uint8)
            part = pixels[row * tile : (row + 1) * tile, column * tile : (column + 1) * tile]
            block[: part.shape[0], : part.shape[1]] = part
            blocks.append(block.tobytes())
    count, length = len(blocks), tile * tile * 3
    first = 8 + 2 + 11 * 12 + 4 + 6 + count * 8  # header, directory, bits, offsets and counts
    bits_at = 8 + 2 + 11 * 12 + 4
    offsets_at, counts_at = bits_at + 6, bits_at + 6 + count * 4
    short, long = 3, 4
    entries = [
        (256, long, 1, width), (257, long, 1, height), (258, short, 3, bits_at),
        (259, short, 1, 1), (262, short, 1, 2), (277, short, 1, 3), (284, short, 1, 1),
        (322, long, 1, tile), (323, long, 1, tile),
        (324, long, count, offsets_at), (325, long, count, counts_at),
    ]  # fmt: skip
    words = np.array
    with path.open("wb") as file:
        file.write(b"II*\0" + words([8], "<u4").tobytes())
        file.write(words([len(entries)], "<u2").tobytes())
        for tag, kind, number, value in entries:
            file.write(
                words([tag, kind], "<u2").tobytes() + words([number, value], "<u4").tobytes()
            )
        file.write(words([0], "<u4").tobytes() + words([8, 8, 8], "<u2").tobytes())
        file.write(words([first + i * length for i in range(count)], "<u4").tobytes())
        file.write(words([length] * count, "<u4").tobytes())
        for block in blocks:
            file.write(block)
