"""Folders of images of any kind, damaged ones too."""

from __future__ import annotations

import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from widgetkit import tiles
from widgetkit.errors import BadImage, BadMetadata, InvalidInput, NoTissue
from widgetkit.tiles.folder import MOST_PIXELS


@pytest.fixture
def grey(rng) -> np.ndarray:
    return rng.integers(0, 256, (12, 16), dtype=np.uint8)


def save(path: Path, array: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def test_pixels_survive_lossless_formats(tmp_path, rng) -> None:
    colour = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    for suffix in ("png", "tif", "bmp", "webp"):
        save(tmp_path / f"a.{suffix}", colour, **({"lossless": True} if suffix == "webp" else {}))
    source = tiles.from_folder(tmp_path)
    assert len(source) == 4 and source.shape == (12, 16, 3)
    for tile in source.read(range(4)):
        np.testing.assert_array_equal(tile, colour)


@pytest.mark.parametrize(
    ("mode", "shape", "dtype"),
    [
        ("L", (12, 16), np.uint8), ("1", (12, 16), np.uint8), ("P", (12, 16, 3), np.uint8),
        ("RGB", (12, 16, 3), np.uint8), ("RGBA", (12, 16, 3), np.uint8), ("LA", (12, 16, 3), np.uint8),
        ("I;16", (12, 16), np.uint16),
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [None, 8, (6, 9)])
def test_every_mode_at_every_size(tmp_path, mode, shape, dtype, size) -> None:
    Image.new(mode, (16, 12)).save(tmp_path / "a.png")
    source = tiles.from_folder(tmp_path, size=size)
    plane = (12, 16) if size is None else (8, 8) if size == 8 else (6, 9)
    assert source.shape == (*plane, *shape[2:]) and source.dtype == dtype
    tile = source.read([0])[0]
    assert (tile == (255 if mode in ("RGBA", "LA") else 0)).all()  # transparent is white


def test_a_float_tiff_keeps_its_values(tmp_path) -> None:
    values = np.linspace(-1000, 3000, 12 * 16, dtype=np.float32).reshape(12, 16)
    save(tmp_path / "a.tif", values)
    source = tiles.from_folder(tmp_path)
    np.testing.assert_array_equal(source.read([0])[0], values)
    assert source.display(source.read([0])).max() == 255


def test_labels_slides_and_order_come_from_the_folders(tmp_path, grey) -> None:
    for name in (
        "liver/s1/b.png",
        "liver/s1/a.png",
        "lung/c.png",
        "d.png",
        ".hidden.png",
        ".git/x.png",
    ):
        save(tmp_path / name, grey)
    (tmp_path / "notes.txt").write_text("not an image")
    table = tiles.from_folder(tmp_path).table
    assert table["source"].tolist() == ["d.png", "liver/s1/a.png", "liver/s1/b.png", "lung/c.png"]
    assert table["label"].fillna("").tolist() == ["", "liver", "liver", "lung"]
    assert table["slide"].tolist() == ["d.png", "liver/s1", "liver/s1", "lung/c.png"]
    assert "label" not in tiles.from_folder(tmp_path, label_from=None).table


def test_ids_do_not_depend_on_what_else_is_there(tmp_path, grey) -> None:
    save(tmp_path / "b.png", grey)
    before = tiles.from_folder(tmp_path).table["id"][0]
    save(tmp_path / "a.png", grey)
    assert tiles.from_folder(tmp_path).table["id"][1] == before


def test_names_can_be_hidden(tmp_path, grey) -> None:
    save(tmp_path / "doe_jane.png", grey)
    for names in ({"doe_jane.png": "case 1"}, lambda path: "case 1"):
        source = tiles.from_folder(tmp_path, names=names)
        assert source.table["source"].tolist() == ["case 1"] == source.table["slide"].tolist()
        assert "doe" not in str(source.describe()) + repr(source)


def test_mixed_sizes_name_the_odd_file_or_are_scaled(tmp_path, grey) -> None:
    for name in "abc":
        save(tmp_path / f"{name}.png", grey)
    save(tmp_path / "odd.png", grey[:8])
    with pytest.raises(BadImage, match=r"'odd.png' is 16 x 8 .* 16 x 12"):
        tiles.from_folder(tmp_path)
    assert tiles.from_folder(tmp_path, size=8).read(range(4)).shape == (4, 8, 8)


def test_grey_among_colour_becomes_colour_but_depths_do_not_mix(tmp_path, grey) -> None:
    save(tmp_path / "a.png", grey)
    save(tmp_path / "b.png", np.stack([grey] * 3, -1))
    source = tiles.from_folder(tmp_path)
    assert source.shape == (12, 16, 3)
    np.testing.assert_array_equal(*source.read([0, 1]))
    save(tmp_path / "c.png", grey)
    save(tmp_path / "deep.png", grey.astype(np.uint16))
    with pytest.raises(BadImage, match=r"'deep.png' is uint16"):
        tiles.from_folder(tmp_path)


def test_a_photograph_stands_upright(tmp_path) -> None:
    image = Image.fromarray(np.zeros((12, 16, 3), np.uint8))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    source = tiles.from_folder(tmp_path)
    assert source.shape == (16, 12, 3) == source.read([0]).shape[1:]


def test_a_truncated_file_is_named(tmp_path, rng) -> None:
    noise = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for suffix in ("png", "jpg", "tif"):
        path = save(tmp_path / suffix / f"cut.{suffix}", noise)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        with pytest.raises(BadImage, match=f"cut.{suffix}"):
            tiles.from_folder(path.parent).read([0])


def test_what_is_no_image_is_named(tmp_path, grey) -> None:
    save(tmp_path / "a.png", grey)
    for content in (b"", b"hello", b"\x89PNG\r\n\x1a\n"):
        (tmp_path / "b.png").write_bytes(content)
        with pytest.raises(BadImage, match=r"b\.png"):
            tiles.from_folder(tmp_path)


def bomb(path: Path, side: int) -> None:
    """A PNG of a few bytes that says it is side x side pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [int(MOST_PIXELS**0.5) + 1, 60_000])
def test_a_bomb_is_refused_before_it_is_decoded(tmp_path, side: int) -> None:
    bomb(tmp_path / "bomb.png", side)
    with pytest.raises(BadImage, match=r"bomb\.png.*pixels"):
        tiles.from_folder(tmp_path)


def test_stacks_are_sent_elsewhere(tmp_path, grey) -> None:
    frames = [Image.fromarray(grey)] * 3
    frames[0].save(tmp_path / "stack.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(BadImage, match="3 pictures"):
        tiles.from_folder(tmp_path)


def test_empty_and_missing_folders(tmp_path) -> None:
    with pytest.raises(NoTissue):
        tiles.from_folder(tmp_path)
    with pytest.raises(InvalidInput):
        tiles.from_folder(tmp_path / "nowhere")
    Image.new("L", (4, 4)).save(tmp_path / "tiny.png")
    with pytest.raises(BadImage):
        tiles.from_folder(tmp_path)
    with pytest.raises(InvalidInput):
        tiles.from_folder(tmp_path, size=2)


def test_metadata_by_name(tmp_path, grey) -> None:
    for name in "ab":
        save(tmp_path / f"{name}.png", grey)
    source = tiles.from_folder(
        tmp_path,
        metadata={"source": ["b.png", "a.png"], "patient": ["P2", "P1"]},
        on="source",
        anonymise_patients="salt",
    )
    assert source.table["patient"].str.match(r"p-[0-9a-f]{12}").all()
    with pytest.raises(BadMetadata):
        tiles.from_folder(tmp_path, metadata={"source": ["b.png"], "p": [1]}, on="source")


def test_it_can_be_sent_to_another_process(tmp_path, grey) -> None:
    save(tmp_path / "a.png", grey)
    copy = pickle.loads(pickle.dumps(tiles.from_folder(tmp_path)))
    np.testing.assert_array_equal(copy.read([0])[0], grey)


def test_real_tiles_of_six_slides(shared_data, tmp_path) -> None:
    import zipfile

    with zipfile.ZipFile(shared_data / "tcga-tiles.zip") as archive:
        archive.extractall(tmp_path)
    source = tiles.from_folder(tmp_path, size=256)
    assert len(source) == 26 and source.shape == (256, 256, 3)
    assert source.read(range(26)).std() > 20
