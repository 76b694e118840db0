"""What gallery and map viewer share: many tiles as one encoded picture, and the words on them."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from widgetkit.session import Clustering, Session

Rows = npt.NDArray[np.integer[Any]]
Pixels = npt.NDArray[np.uint8]

#: Label of a tile that is in no cluster, on the wire (uint16).
NO_LABEL = 65535
#: JPEG qualities tried in turn until a sheet fits; below the last one it is sent as it is.
_QUALITIES = (90, 82, 72, 60, 45)
#: Columns of the tile table that a caption may name. Never the patient.
_CAPTION_COLUMNS = ("slide", "label")
#: A caption names a tile, it does not retell a metadata cell.
_CAPTION_MOST = 80


@dataclass(frozen=True)
class Sheet:
    """Square tiles row by row in one picture.

    Attributes
    ----------
    data : bytes
        The encoded picture; RGB bytes where ``mime`` is ``"raw/rgb"``.
    mime : str
    tile : int, px
        Side of a tile.
    columns, count : int
    """

    data: bytes
    mime: str
    tile: int
    columns: int
    count: int

    @property
    def info(self) -> dict[str, Any]:
        """All but the bytes, for the front-end."""
        return {
            "mime": self.mime,
            "tile": self.tile,
            "columns": self.columns,
            "count": self.count,
        }


def encode_sheet(thumbs: Pixels, *, most_bytes: int = 160_000, raw: bool = False) -> Sheet:
    """One sheet from tiles of one size.

    Parameters
    ----------
    thumbs : (m, s, s) or (m, s, s, 3) uint8
    most_bytes : int
        The quality of JPEG is lowered, as far as 45, until the sheet fits. Tiles so small that
        they fit without loss are sent as PNG.
    raw : bool
        Send RGB bytes, for a browser that decodes neither.

    Returns
    -------
    Sheet
        As near to a square as the number of tiles allows.
    """
    count, side = len(thumbs), int(thumbs.shape[1])
    if count == 0:
        return Sheet(b"", "raw/rgb", max(side, 1), 1, 0)
    columns = math.ceil(math.sqrt(count))
    lines = -(-count // columns)
    sheet = np.zeros((lines * columns, *thumbs.shape[1:]), np.uint8)
    sheet[:count] = thumbs
    sheet = sheet.reshape(lines, columns, *thumbs.shape[1:]).swapaxes(1, 2)
    sheet = sheet.reshape(lines * side, columns * side, *thumbs.shape[3:])
    if raw:
        rgb = sheet if sheet.ndim == 3 else np.repeat(sheet[..., None], 3, axis=2)
        return Sheet(np.ascontiguousarray(rgb).tobytes(), "raw/rgb", side, columns, count)
    data, mime = _compress(np.ascontiguousarray(sheet), side, most_bytes)
    return Sheet(data, mime, side, columns, count)


def _compress(sheet: Pixels, side: int, most_bytes: int) -> tuple[bytes, str]:
    from PIL import Image

    picture = Image.fromarray(sheet)
    # A tile of whole 8 px blocks at full colour resolution keeps its colours to itself (with
    # halved colour a decoder smooths across the border); for other sides PNG.
    if side % 8 or sheet.nbytes <= most_bytes:
        lossless = _saved(picture, "PNG", compress_level=1)
        if side % 8 or len(lossless) <= most_bytes:
            return lossless, "image/png"
    data = b""
    for quality in _QUALITIES:
        data = _saved(picture, "JPEG", quality=quality, subsampling=0)
        if len(data) <= most_bytes:
            break
    return data, "image/jpeg"


def _saved(picture: Any, name: str, **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, name, **options)
    return out.getvalue()


def data_url(pixels: Pixels) -> str:
    """A picture (H, W) or (H, W, 3) inside HTML: PNG in base64."""
    from PIL import Image

    data = _saved(Image.fromarray(np.ascontiguousarray(pixels)), "PNG", compress_level=6)
    return f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"


def captions(session: Session, rows: Rows) -> list[str]:
    """Slide and label of each tile, never the patient; plain text, shortened."""
    table = session.store.tiles
    names = [name for name in _CAPTION_COLUMNS if name in table]
    # rows first: turning a whole text column into objects takes 14 ms at 100k tiles
    columns = [table[name].take(rows).to_numpy() for name in names]
    return [
        " · ".join(
            [f"tile {int(row)}", *(_short(column[i]) for column in columns if _known(column[i]))]
        )
        for i, row in enumerate(rows)
    ]


def _known(value: Any) -> bool:
    # NaN is the only value that differs from itself; None and "" say nothing either.
    return value is not None and value == value and str(value) != ""


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _CAPTION_MOST else text[: _CAPTION_MOST - 1] + "…"


def legend(clustering: Clustering | None) -> list[dict[str, Any]]:
    """Name and palette index of each cluster."""
    if clustering is None:
        return []
    return [
        {"name": name, "colour": int(colour)}
        for name, colour in zip(clustering.names, clustering.colors, strict=True)
    ]


def encode_labels(clustering: Clustering | None, rows: Rows) -> bytes:
    """Cluster of each row as uint16, :data:`NO_LABEL` where it is in none."""
    if clustering is None:
        return np.full(len(rows), NO_LABEL, "<u2").tobytes()
    labels = clustering.labels[rows]
    return np.where(labels < 0, NO_LABEL, labels).astype("<u2").tobytes()


def of_whole(shown: int, chosen: int, total: int, *, noun: str = "tiles") -> str:
    """``"64 of 212 selected tiles"``, or of all tiles where none is selected."""
    if chosen == 0:
        return f"{shown:,} of all {total:,} {noun} (nothing is selected)"
    return f"{shown:,} of {chosen:,} selected {noun}"


def box_of(shape: Sequence[int]) -> list[float]:
    """Part ``[left, top, width, height]`` of a square thumbnail that a picture ``(H, W)`` fills."""
    height, width = (float(v) for v in shape)
    side = max(height, width)
    return [(1 - width / side) / 2, (1 - height / side) / 2, width / side, height / side]
