"""What crosses between kernel and browser, as bytes (``docs/wire.md``).

The other side is ``js/src/shared/codec.ts``; both are tested with the same fixtures. All numbers
are little-endian. Whatever comes from the browser is checked here before anything is allocated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput

#: Bytes of one message: Jupyter closes the socket above 10 MB, and the envelope needs room.
MESSAGE_MOST = 8_000_000
#: Position code of a point that has no place in the plane (NaN, infinite).
MISSING_POSITION = 65535
#: Code of a cell of a grid that has no value (NaN).
MISSING_CELL = 255
#: Vertices that a front-end sends at most; anything far above it is not from ours.
VERTICES_MOST = 4096

_LAST_POSITION = 65534
_LAST_POLYGON = 65535
_LAST_CELL = 254

Floats = npt.NDArray[np.floating]
Bounds = tuple[float, float, float, float]


# -- positions -----------------------------------------------------------------------------
def bounds(xy: Floats) -> Bounds:
    """``(x0, y0, x1, y1)`` of the finite rows of ``xy (n, 2)``; ``(0, 0, 1, 1)`` without any."""
    points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
    points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        return (0.0, 0.0, 1.0, 1.0)
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    return (float(x0), float(y0), float(x1), float(y1))


def encode_positions(xy: Floats, box: Bounds | None = None) -> tuple[bytes, Bounds]:
    """Points as 16-bit codes inside their bounding box.

    Parameters
    ----------
    xy : (n, 2) float
        Data coordinates. A row with NaN or infinity becomes a missing point.
    box : (x0, y0, x1, y1), optional
        Bounding box to use; that of the points by default.

    Returns
    -------
    data : bytes
        4 bytes a point: x, y as uint16, 0..65534 from low to high, 65535 = missing.
    box : (x0, y0, x1, y1) float
        Needed to turn codes into coordinates: ``low + (high - low) * code / 65534``.
    """
    points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
    box = bounds(points) if box is None else box
    low = np.array(box[:2])
    span = np.array(box[2:]) - low
    span[span <= 0] = 1.0
    finite = np.isfinite(points).all(axis=1)
    codes = np.full(points.shape, MISSING_POSITION, dtype="<u2")
    scaled = np.rint((points[finite] - low) / span * _LAST_POSITION)
    codes[finite] = np.clip(scaled, 0, _LAST_POSITION).astype("<u2")
    return codes.tobytes(), box


def decode_positions(data: bytes, box: Bounds) -> npt.NDArray[np.float64]:
    """Inverse of :func:`encode_positions`, to half a step; missing points are NaN. ``(n, 2)``."""
    codes = np.frombuffer(data, dtype="<u2").reshape(-1, 2)
    low = np.array(box[:2])
    span = np.array(box[2:]) - low
    out: npt.NDArray[np.float64] = low + span * codes.astype(np.float64) / _LAST_POSITION
    out[(codes == MISSING_POSITION).any(axis=1)] = np.nan
    return out


# -- selections ----------------------------------------------------------------------------
def encode_mask(mask: npt.NDArray[np.bool_]) -> bytes:
    """``(n,) bool`` as n/8 bytes, lowest bit first."""
    return np.packbits(np.asarray(mask, dtype=bool), bitorder="little").tobytes()


def decode_mask(data: bytes, n: int) -> npt.NDArray[np.bool_]:
    """Inverse of :func:`encode_mask`. Raises ``InvalidInput`` when the length does not fit n."""
    if len(data) != (n + 7) // 8:
        raise InvalidInput(f"A mask of {n:,} rows has {(n + 7) // 8:,} bytes, got {len(data):,}.")
    packed = np.frombuffer(data, dtype=np.uint8)
    return np.unpackbits(packed, count=n, bitorder="little").astype(bool)


def encode_polygon(polygon: Floats) -> tuple[list[float], bytes]:
    """A polygon ``(v, 2)`` as its bounding box and 16-bit codes inside it (4 bytes a vertex)."""
    points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
    low, high = points.min(axis=0), points.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    # floor(x + 0.5) is JavaScript's Math.round: both sides give the same bytes.
    codes = np.floor((points - low) / span * _LAST_POLYGON + 0.5).astype("<u2")
    return [*low.tolist(), *high.tolist()], codes.tobytes()


def decode_polygon(box: Sequence[float], data: bytes) -> npt.NDArray[np.float64]:
    """The polygon that a front-end sent.

    Parameters
    ----------
    box : (x0, y0, x1, y1)
        Its bounding box in data coordinates.
    data : bytes
        x, y of each vertex as uint16, 0..65535 from low to high.

    Returns
    -------
    (v, 2) float64

    Raises
    ------
    InvalidInput
        Fewer than 3 vertices, more than :data:`VERTICES_MOST`, half a vertex, or a box that is
        not four finite numbers in order.
    """
    corners = decode_box(box)
    if len(data) % 4 or not 12 <= len(data) <= 4 * VERTICES_MOST:
        raise InvalidInput(
            f"A polygon has 3 to {VERTICES_MOST:,} vertices of 4 bytes, got {len(data):,} bytes."
        )
    codes = np.frombuffer(data, dtype="<u2").reshape(-1, 2).astype(np.float64)
    low, high = np.array(corners[:2]), np.array(corners[2:])
    polygon: npt.NDArray[np.float64] = low + (high - low) * codes / _LAST_POLYGON
    return polygon


def decode_box(box: object) -> Bounds:
    """Four finite numbers ``x0 <= x1, y0 <= y1``, or ``InvalidInput``."""
    try:
        x0, y0, x1, y1 = (float(v) for v in box)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise InvalidInput(f"A box is four numbers x0, y0, x1, y1; got {box!r:.80}.") from None
    if not np.isfinite([x0, y0, x1, y1]).all() or x1 < x0 or y1 < y0:
        raise InvalidInput(f"A box needs finite x0 <= x1 and y0 <= y1; got {(x0, y0, x1, y1)}.")
    return (x0, y0, x1, y1)


# -- rows and small numbers ----------------------------------------------------------------
def encode_rows(rows: npt.ArrayLike) -> bytes:
    """Tile numbers as uint32."""
    return np.asarray(rows, dtype="<u4").tobytes()


def decode_rows(data: bytes, n: int) -> npt.NDArray[np.int64]:
    """Tile numbers from the browser; ``InvalidInput`` when one is not below ``n``."""
    if len(data) % 4:
        raise InvalidInput(f"Rows are 4 bytes each, got {len(data):,} bytes.")
    rows = np.frombuffer(data, dtype="<u4").astype(np.int64)
    if rows.size and int(rows.max()) >= n:
        raise InvalidInput(f"Row {int(rows.max()):,} is not in a store of {n:,} tiles.")
    return rows


def decode_row(value: object, n: int) -> int:
    """One tile number from JSON; ``InvalidInput`` unless an integer in ``0..n-1``."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < n:
        raise InvalidInput(f"Row {value!r:.40} is not in a store of {n:,} tiles.")
    return value


def encode_grid(values: Floats, low: float, high: float) -> bytes:
    """A map or many as one byte a cell.

    ``0..254`` from ``low`` to ``high`` (values outside are clipped), ``255`` where NaN. With
    ``high <= low`` every value is 0. The order of the axes is kept (C order).
    """
    grid = np.asarray(values, dtype=np.float64)
    missing = np.isnan(grid)
    span = high - low
    scaled = (grid - low) / span * _LAST_CELL if span > 0 else np.zeros_like(grid)
    codes = np.clip(np.rint(np.where(missing, 0.0, scaled)), 0, _LAST_CELL).astype(np.uint8)
    codes[missing] = MISSING_CELL
    return codes.tobytes()


def as_bytes(buffers: Iterable[object]) -> list[bytes]:
    """Buffers of a custom message as bytes, whatever the kernel's transport made of them."""
    return [bytes(memoryview(buffer)) for buffer in buffers]  # type: ignore[arg-type]
