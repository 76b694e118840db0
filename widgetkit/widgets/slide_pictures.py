"""Pictures of a slide for the browser: tiles of its pyramid and thumbnails, as JPEG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput, WidgetkitError
from widgetkit.widgets import sheets, wire

if TYPE_CHECKING:
    from widgetkit.slides import Picture

Pixels = npt.NDArray[np.uint8]

#: Tiles in one request (``BATCH`` in ``tiles.ts`` asks for fewer), and thumbnails.
TILES_MOST = 16
THUMBS_MOST = 32
#: Side of a thumbnail in the strip, px.
THUMB_PX = 128
#: A tile of stained tissue takes 15 to 30 kB at this quality.
_QUALITY = 85
#: Where a thumbnail ends beside a square: most slides are white glass.
_PAPER = 255


@dataclass(frozen=True)
class Asked:
    """A request for tiles, checked: ``at`` holds (column, row) of each."""

    version: int
    slide: int
    level: int
    at: tuple[tuple[int, int], ...]


def asked(content: Any, slides: int) -> Asked:
    """What the browser asks for.

    Raises
    ------
    InvalidInput
        It is not a list of at most :data:`TILES_MOST` columns and rows of a slide we have.
    """
    slide = wire.decode_row(content.get("slide"), max(slides, 1))
    level, version, at = content.get("level"), content.get("version"), content.get("at")
    if not _whole(level) or not _whole(version):
        raise InvalidInput(
            "A request for tiles names their level and its version by whole numbers."
        )
    pairs = at if isinstance(at, list) else []
    good = all(isinstance(p, list) and len(p) == 2 and all(map(_whole, p)) for p in pairs)
    if not 0 < len(pairs) <= TILES_MOST or not good:
        raise InvalidInput(f"A request is for 1 to {TILES_MOST} tiles, each a column and a row.")
    return Asked(version, slide, level, tuple((int(c), int(r)) for c, r in pairs))


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def read_tiles(
    picture: Picture, request: Asked
) -> tuple[dict[str, Any], list[bytes], WidgetkitError | None]:
    """The answer to a request: content, one JPEG for each tile that could be read, first error."""
    buffers: list[bytes] = []
    good: list[bool] = []
    problem: WidgetkitError | None = None
    for column, row in request.at:
        try:
            buffers.append(jpeg(picture.read(request.level, column, row)))
            good.append(True)
        except WidgetkitError as error:
            problem = problem or error
            good.append(False)
    content = {
        "kind": "tiles",
        "version": request.version,
        "slide": request.slide,
        "level": request.level,
        "at": [list(p) for p in request.at],
        "good": good,
    }
    return content, buffers, problem


def jpeg(pixels: Pixels) -> bytes:
    """``(h, w, 3)`` as JPEG, colours at half the resolution in both directions."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


def strip_sheet(thumbnails: Sequence[Pixels | None]) -> sheets.Sheet:
    """Thumbnails of any shape, each in the middle of a square; a blank one for None."""
    squares = np.full((len(thumbnails), THUMB_PX, THUMB_PX, 3), _PAPER, np.uint8)
    for square, pixels in zip(squares, thumbnails, strict=True):
        if pixels is None:
            continue
        height, width = min(THUMB_PX, pixels.shape[0]), min(THUMB_PX, pixels.shape[1])
        top, left = (THUMB_PX - height) // 2, (THUMB_PX - width) // 2
        square[top : top + height, left : left + width] = pixels[:height, :width]
    return sheets.encode_sheet(squares, most_bytes=400_000)
