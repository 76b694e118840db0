"""The demo slide cut into four slides of their own, without touching a pixel.

Grouping by slide, intervals by slide and the strip of thumbnails need more than one slide, and there
is one that may be shipped. Its JPEG tiles are copied as they are into four pyramidal TIFF files, one
a band of rows, so that each is a slide that any program opens, with its own pixels and coordinates.
They remain parts of one section of one person: what differs between them is the place, not the stain
or the scanner, and intervals over them are narrower than over real slides.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from widgetkit.errors import BadImage

#: Name -> rows of the slide, in level-0 pixels; multiples of its JPEG tiles' height of 240. No tile
#: of one band shares a pixel with another band.
BANDS = {
    "CMU-1 A": (0, 720), "CMU-1 B": (720, 1440), "CMU-1 C": (1440, 2160), "CMU-1 D": (2160, 2967),
}  # fmt: skip
#: Of the whole slide: px, px of its JPEG tiles, micrometres a px.
WIDTH, HEIGHT, SIDE, MPP = 2220, 2967, 240, 0.499
#: The overview level is this much smaller; its quality as Pillow counts it.
REDUCED, QUALITY = 4, 80


def region_file(name: str) -> str:
    """``"CMU-1 A"`` -> ``"cmu-1-a.tif"``."""
    return name.lower().replace(" ", "-") + ".tif"


def write_regions(slide: str | os.PathLike[str], folder: str | os.PathLike[str]) -> dict[str, Path]:
    """Write the bands of the demo slide into ``folder``; name -> path.

    Level 0 holds the slide's own JPEG tiles with the tables that they share put back into each, so
    that a pixel is what it was; level 1 is four times smaller. The slide's label and macro pictures
    and what its header says of scanner and day are left behind.

    Raises
    ------
    BadImage
        The slide is not the one that the bands are of.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    data = Path(slide).read_bytes()
    with Image.open(io.BytesIO(data)) as first:
        tags = dict(first.tag_v2)  # type: ignore[attr-defined]
    if [tags.get(key) for key in (256, 257, 259, 322, 323)] != [WIDTH, HEIGHT, 7, SIDE, SIDE]:
        raise BadImage(f"{Path(slide).name!r} is not the slide that the demo's bands are parts of.")
    spans = list(zip(tags[324], tags[325], strict=True))
    tiles = [_whole(data[at : at + length], tags[347]) for at, length in spans]
    across = -(-WIDTH // SIDE)
    written = {}
    for name, (top, bottom) in BANDS.items():
        own = tiles[top // SIDE * across : -(-bottom // SIDE) * across]
        rows = [own[start : start + across] for start in range(0, len(own), across)]
        band = np.vstack([np.hstack([_decoded(tile) for tile in row]) for row in rows])
        small = np.asarray(Image.fromarray(band[: bottom - top, :WIDTH]).reduce(REDUCED))
        path = target / region_file(name)
        levels = [
            _Level(WIDTH, bottom - top, own, ycbcr=False),
            _Level(small.shape[1], small.shape[0], list(_encoded(small)), ycbcr=True),
        ]
        note = (
            f"{name}: rows {top} to {bottom} of CMU-1-Small-Region (OpenSlide test data, CC0-1.0)"
        )
        path.write_bytes(_tiff(levels, note))
        written[name] = path
    return written


@dataclass(frozen=True)
class _Level:
    width: int
    height: int
    tiles: list[bytes]  # JPEG streams of SIDE x SIDE, row by row
    ycbcr: bool


def _tiff(levels: list[_Level], note: str) -> bytes:
    """A classic little-endian TIFF of JPEG tiles, the levels after the first marked as reduced.

    Written by hand because the common writers compress again what they are given.
    """
    out = bytearray(struct.pack("<2sHI", b"II", 42, 0))
    link = 4  # where the position of the next directory has to be put
    for number, level in enumerate(levels):
        offsets = []
        for tile in level.tiles:
            offsets.append(len(out))
            out += tile + b"\0" * (len(tile) % 2)
        # pixels a centimetre, as a fraction
        resolution = [10_000_000, round(1000 * MPP) * REDUCED**number]
        # tag: (type, values); types: 2 text, 3 uint16, 4 uint32, 5 two uint32 as a fraction
        tags: dict[int, tuple[int, list[int] | bytes]] = {
            254: (4, [int(number > 0)]), 256: (4, [level.width]), 257: (4, [level.height]),
            258: (3, [8, 8, 8]), 259: (3, [7]), 262: (3, [6 if level.ycbcr else 2]),
            270: (2, note.encode("ascii") + b"\0"), 277: (3, [3]), 282: (5, resolution),
            283: (5, resolution), 284: (3, [1]), 296: (3, [3]), 322: (3, [SIDE]),
            323: (3, [SIDE]), 324: (4, offsets), 325: (4, [len(tile) for tile in level.tiles]),
        }  # fmt: skip
        if level.ycbcr:
            tags[530] = (3, [2, 2])  # colour at half the resolution
        entries = bytearray()
        for tag, (kind, values) in sorted(tags.items()):
            code = {3: "H", 4: "I", 5: "I"}.get(kind, "")
            packed = (
                values
                if isinstance(values, bytes)
                else struct.pack(f"<{len(values)}{code}", *values)
            )
            count = len(values) // (2 if kind == 5 else 1)
            if len(packed) > 4:  # too long for the entry: it holds the position instead
                position = struct.pack("<I", len(out))
                out += packed + b"\0" * (len(packed) % 2)
            else:
                position = packed.ljust(4, b"\0")
            entries += struct.pack("<HHI", tag, kind, count) + position
        out[link : link + 4] = struct.pack("<I", len(out))
        out += struct.pack("<H", len(tags)) + entries
        link = len(out)
        out += b"\0\0\0\0"
    return bytes(out)


def _whole(tile: bytes, tables: bytes) -> bytes:
    """A JPEG stream that stands alone: the tables that all tiles share, put back into it.

    An APP14 marker of Adobe says that it is RGB, so that readers that go by the stream agree with
    those that go by the TIFF.
    """
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
    return b"\xff\xd8" + adobe + tables[2:-2] + tile[2:]


def _decoded(stream: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(stream)) as picture:
        return np.asarray(picture.convert("RGB"))


def _encoded(picture: np.ndarray) -> Iterator[bytes]:
    """JPEG tiles of a picture, the last ones filled up with their own border."""
    height, width = (-(-length // SIDE) * SIDE for length in picture.shape[:2])
    pads = ((0, height - picture.shape[0]), (0, width - picture.shape[1]), (0, 0))
    filled = np.pad(picture, pads, mode="edge")
    for y in range(0, height, SIDE):
        for x in range(0, width, SIDE):
            stream = io.BytesIO()
            tile = Image.fromarray(filled[y : y + SIDE, x : x + SIDE])
            tile.save(stream, "JPEG", quality=QUALITY, subsampling="4:2:0", optimize=True)
            yield stream.getvalue()
