"""Prebuilt pages of thumbnails, so that a gallery or an atlas needs no picture at full size.

JPEG at 4:4:4: any browser and any Pillow reads it, and since a thumbnail is a whole number of
8-px blocks no colour of one bleeds into the next. Page ``p`` depends on rows
``[p * per_page, ...)`` alone.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator

import numpy as np

from widgetkit.store.images import Pixels
from widgetkit.store.manifest import SpriteInfo

TILE = 64
COLUMNS = 32
PER_PAGE = COLUMNS * COLUMNS  # a page is at most 2048 px a side: under any WebGL's texture limit
MIME = "image/jpeg"


def layout(n: int) -> SpriteInfo:
    """The pages for ``n`` tiles."""
    return SpriteInfo(TILE, COLUMNS, PER_PAGE, -(-n // PER_PAGE), MIME)


def page(thumbs: Pixels) -> bytes:
    """One page from ``(m, 64, 64[, 3])`` thumbnails, ``m <= PER_PAGE``, row by row."""
    from PIL import Image

    lines = -(-len(thumbs) // COLUMNS)
    sheet = np.zeros((lines * COLUMNS, *thumbs.shape[1:]), np.uint8)
    sheet[: len(thumbs)] = thumbs
    sheet = sheet.reshape(lines, COLUMNS, *thumbs.shape[1:]).swapaxes(1, 2)
    sheet = sheet.reshape(lines * TILE, COLUMNS * TILE, *thumbs.shape[3:])
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(sheet)).save(out, "JPEG", quality=88, subsampling=0)
    return out.getvalue()


def pages(parts: Iterable[Pixels]) -> Iterator[bytes]:
    """All pages from thumbnails that arrive in pieces of any length, in row order."""
    waiting: list[Pixels] = []
    count = 0
    for part in parts:
        while len(part):
            room = PER_PAGE - count
            waiting.append(part[:room])
            count += len(waiting[-1])
            part = part[room:]
            if count == PER_PAGE:
                yield page(np.concatenate(waiting))
                waiting, count = [], 0
    if count:
        yield page(np.concatenate(waiting))
