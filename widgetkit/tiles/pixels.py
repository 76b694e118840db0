"""Arithmetic on pixels: dtypes, transparency, and what is shown of 16-bit and float images."""

from __future__ import annotations

import numpy as np

from widgetkit.errors import BadImage, InvalidInput

#: Values of float and 16-bit images outside these percentiles are clipped in what is shown
#: (never in what the model sees): one hot pixel should not turn all tiles black.
SHOWN_PERCENTILES = (0.1, 99.9)


def is_colour(shape: tuple[int, ...]) -> bool:
    """Whether the last axis of one tile's shape holds RGB."""
    return len(shape) >= 3 and shape[-1] == 3


def convert_dtype(image: np.ndarray, what: str) -> np.ndarray:
    """``image`` as uint8, uint16 or float32 without losing values.

    bool becomes 0 and 255. Other integers become float32 where that is exact (below 2**24 in
    magnitude; so CT numbers keep their sign), and float16 and float64 become float32.

    Raises
    ------
    BadImage
        Not numbers, not finite, or beyond what float32 holds exactly. ``what`` names it.
    """
    kind = image.dtype.kind
    if image.dtype in (np.uint8, np.uint16):
        return image
    if kind == "b":
        return image.astype(np.uint8) * np.uint8(255)
    if kind in "iu":
        if image.size and max(-int(image.min()), int(image.max())) > 1 << 24:
            raise BadImage(
                f"{what} holds whole numbers beyond 16,777,216 ({image.dtype}), which float32 "
                "cannot keep. Rescale it first."
            )
        return image.astype(np.float32)
    if kind == "f":
        if not np.isfinite(image).all():
            raise BadImage(f"{what} holds NaN or infinity. Replace them first.")
        with np.errstate(over="ignore"):
            out = image.astype(np.float32, copy=False)
        if not np.isfinite(out).all():
            raise BadImage(f"{what} holds values beyond float32 ({image.dtype}). Rescale it first.")
        return out
    raise BadImage(f"{what} has dtype {image.dtype}; tiles are numbers.")


def flatten_alpha(image: np.ndarray, what: str = "The image") -> np.ndarray:
    """(..., 4) RGBA composited on white, (..., 3), in the same dtype.

    Alpha and white are 255, 65535 or 1.0 by dtype; a float image with colours beyond 0..1 raises,
    because it has no white.
    """
    if image.dtype == np.uint8:
        white = 255.0
    elif image.dtype == np.uint16:
        white = 65535.0
    else:
        white = 1.0
        if image.size and (image.min() < 0 or image.max() > 1):
            raise BadImage(
                f"{what} is RGBA in float with values outside 0..1. Remove its alpha channel first."
            )
    alpha = image[..., 3:].astype(np.float64) / white
    blended = image[..., :3] * alpha + white * (1.0 - alpha)
    return (np.rint(blended) if white > 1 else blended).astype(image.dtype)


def default_window(dtype: np.dtype[np.generic]) -> tuple[float, float] | None:
    """The whole range of an integer dtype; None for float, which has no range of its own."""
    ranges = {"uint8": (0.0, 255.0), "uint16": (0.0, 65535.0)}
    return ranges.get(np.dtype(dtype).name)


def estimate_window(sample: np.ndarray) -> tuple[float, float]:
    """Values to show as black and white, from a sample of tiles of the whole source.

    uint8 is shown as it is; floats that all lie in 0..1 are shown over 0..1; anything else over
    the percentiles of :data:`SHOWN_PERCENTILES`.
    """
    if sample.dtype == np.uint8:
        return 0.0, 255.0
    low, high = float(sample.min()), float(sample.max())
    if sample.dtype.kind == "f" and low >= 0.0 and high <= 1.0:
        return 0.0, 1.0
    inner_low, inner_high = np.percentile(sample, SHOWN_PERCENTILES)
    if inner_high > inner_low:
        low, high = float(inner_low), float(inner_high)
    return (low, high) if high > low else (low, low + 1.0)


def check_window(window: tuple[float, float]) -> tuple[float, float]:
    """``window`` as two finite floats, the lower first."""
    low, high = (float(value) for value in window)
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise InvalidInput(f"window={window!r}; it must be (low, high), both finite, low < high.")
    return low, high


def display(images: np.ndarray, *, window: tuple[float, float] | None = None) -> np.ndarray:
    """What is shown and stored of tiles: uint8.

    Parameters
    ----------
    images : (m, H, W), (m, H, W, 3 or 4), (m, D, H, W) or (m, D, H, W, 3)
        Tiles as read. RGBA is composited on white; of a volume the middle slice is shown.
    window : (low, high), optional
        Values shown as 0 and 255. Default: the whole range of an integer dtype; 0..1 for floats,
        which must then lie in it, because a range guessed from one batch would differ from the
        next one's.

    Returns
    -------
    (m, H, W) or (m, H, W, 3) uint8
    """
    array = np.asarray(images)
    if array.ndim < 3:
        raise BadImage(f"Tiles of shape {array.shape}; expected (m, H, W) or more axes.")
    if array.ndim >= 4 and array.shape[-1] == 4:
        array = flatten_alpha(convert_dtype(array, "The image"))
    plane_axes = array.ndim - 1 - is_colour(array.shape[1:])
    if plane_axes not in (2, 3):
        raise BadImage(f"Tiles of shape {array.shape} are neither images nor volumes.")
    if plane_axes == 3:
        array = array[:, array.shape[1] // 2]
    whole = default_window(array.dtype)
    if array.dtype == np.uint8 and window in (None, whole):
        return array
    array = convert_dtype(array, "The image")
    chosen = window or whole or default_window(array.dtype)
    if chosen is None:
        if array.size and (array.min() < 0 or array.max() > 1):
            raise InvalidInput(
                f"Float tiles between {array.min():g} and {array.max():g} have no natural black and "
                "white. Give the source a window=(low, high)."
            )
        chosen = (0.0, 1.0)
    low, high = check_window(chosen)
    scaled: np.ndarray = (array.astype(np.float32) - np.float32(low)) * np.float32(
        255 / (high - low)
    )
    shown: np.ndarray = np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
    return shown
