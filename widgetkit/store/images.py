"""Pictures of tiles: their kinds, encoded forms, and thumbnails."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from widgetkit.errors import InvalidInput, StoreCorrupt
from widgetkit.store.pool import in_threads

Pixels = NDArray[np.uint8]

_FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "png": ("PNG", {"compress_level": 6}),
    "jpeg": ("JPEG", {"quality": 90, "subsampling": 0}),
    "webp": ("WEBP", {"quality": 90, "method": 4}),
}
# Pictures a thread takes at once: a thumbnail alone is too little work.
_TOGETHER = 16
# Of an encoded picture, 8192 x 8192: a few kB can unpack to any size, so there must be a limit.
MOST_ENCODED_PIXELS = 2**26
# What each format can hold in one direction; a volume is kept as a tall picture of its slices.
_LARGEST_SIDE = {"png": 2**31 - 1, "jpeg": 65500, "webp": 16383}


def is_colour(shape: tuple[int, ...]) -> bool:
    """Whether pictures of this shape are RGB: ``(H, W, 3)`` or ``(D, H, W, 3)``."""
    return len(shape) in (3, 4) and shape[-1] == 3


def is_volume(shape: tuple[int, ...]) -> bool:
    """Whether pictures of this shape are volumes: ``(D, H, W)`` or ``(D, H, W, 3)``."""
    return len(shape) == 4 or (len(shape) == 3 and shape[-1] != 3)


def flat_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Width and height of the 2-D picture an item is encoded as: slices below one another."""
    height, width = shape[-3:-1] if is_colour(shape) else shape[-2:]
    return width, height * (shape[0] if is_volume(shape) else 1)


def check_encodable(shape: tuple[int, ...], encoding: str) -> None:
    """Raise :class:`InvalidInput` when the format cannot hold a picture of that size."""
    if encoding == "raw":
        return
    width, height = flat_size(shape)
    if max(width, height) > _LARGEST_SIDE[encoding] or width * height > MOST_ENCODED_PIXELS:
        raise InvalidInput(
            f"{encoding} cannot hold images of shape {shape} (as one picture {width} x {height} "
            "px). Use image_encoding='raw'."
        )


def encode(image: Pixels, encoding: str) -> bytes:
    """One picture or volume in an encoded form."""
    from PIL import Image

    name, options = _FORMATS[encoding]
    width, height = flat_size(image.shape)
    flat = (
        image.reshape(height, width, 3) if is_colour(image.shape) else image.reshape(height, width)
    )
    out = io.BytesIO()
    Image.fromarray(flat).save(out, name, **options)
    return out.getvalue()


def decode(blob: bytes, shape: tuple[int, ...], encoding: str, where: str) -> Pixels:
    """The picture in ``blob``; its size is compared with ``shape`` before any pixel is decoded.

    Raises
    ------
    StoreCorrupt
        Not that format, not that size (a decompression bomb), or damaged.
    """
    from PIL import Image

    mode = "RGB" if is_colour(shape) else "L"
    try:
        with Image.open(io.BytesIO(blob), formats=[_FORMATS[encoding][0]]) as image:
            if image.size != flat_size(shape):
                raise StoreCorrupt(
                    f"{where} holds a picture of {image.size} px where {flat_size(shape)} is meant."
                )
            if image.mode not in ("L", "RGB"):
                raise StoreCorrupt(f"{where} holds a picture of mode {image.mode}.")
            pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    except StoreCorrupt:
        raise
    except Exception as error:  # Pillow raises many kinds (OSError, SyntaxError, struct.error, ...)
        raise StoreCorrupt(f"{where} holds a damaged picture: {type(error).__name__}.") from error
    return pixels.reshape(shape)


def middle_slices(images: Pixels) -> Pixels:
    """``(m, H, W[, 3])``: the pictures themselves, or the middle slice of each volume."""
    return images[:, images.shape[1] // 2] if is_volume(images.shape[1:]) else images


def thumbnails(images: Pixels, size: int) -> Pixels:
    """``(m, size, size[, 3])`` uint8: each picture whole, its sides kept in proportion, on black.

    Pillow resamples 8-bit pictures in whole numbers, so the same pixels come out on any machine.
    """
    from PIL import Image

    slices = middle_slices(images)
    height, width = slices.shape[1:3]
    scale = size / max(height, width)
    box = (max(1, round(width * scale)), max(1, round(height * scale)))
    if box == (width, height) == (size, size):
        return np.ascontiguousarray(slices)
    # HAMMING: as sharp as a thumbnail needs at 0.23 ms for a picture of 224 px, where LANCZOS takes
    # 0.54 ms; thumbnails are made while the network runs, and count as its overhead
    filter_ = Image.Resampling.HAMMING if scale < 1 else Image.Resampling.BICUBIC
    top, left = (size - box[1]) // 2, (size - box[0]) // 2
    result = np.zeros((len(slices), size, size, *slices.shape[3:]), np.uint8)

    def shrink(start: int) -> None:
        for row in range(start, min(start + _TOGETHER, len(slices))):
            picture = Image.fromarray(np.ascontiguousarray(slices[row]))
            small = np.asarray(picture.resize(box, filter_))
            result[row, top : top + box[1], left : left + box[0]] = small

    in_threads(shrink, range(0, len(slices), _TOGETHER))
    return result


def pack(images: Pixels, encoding: str) -> tuple[bytes, NDArray[np.int64]]:
    """The encoded pictures one after another, and the ``(m + 1,)`` offsets between them."""
    blobs = in_threads(lambda row: encode(images[row], encoding), range(len(images)))
    offsets = np.zeros(len(blobs) + 1, np.int64)
    np.cumsum([len(blob) for blob in blobs], out=offsets[1:])
    return b"".join(blobs), offsets
