"""What an autoencoder is trained on: arrays or tile sources, checked, and their numbers."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from widgetkit.errors import BadImage, InvalidInput, TooFew
from widgetkit.tiles.pixels import is_colour

#: Values looked at at once: 32 MB of float64.
BLOCK_VALUES = 4 * 2**20
#: Tiles of a source are decoded once, not once an epoch, when all of them take no more than this.
CACHE_BYTES = 2**30
#: What a value of an integer dtype is divided by, as :class:`widgetkit.Preprocess` has it.
SCALES = {"uint8": 255.0, "uint16": 65535.0}


class Readable(Protocol):
    """Rows of images."""

    def __len__(self) -> int: ...
    def read(self, rows: Sequence[int] | np.ndarray) -> np.ndarray: ...


class _Array:
    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def read(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        return self._values[np.asarray(rows, np.int64)]


@dataclass(frozen=True)
class Images:
    """Images of one shape, read by row.

    ``shape`` is that of one image, (H, W), (D, H, W) or either with 3 colours behind.
    """

    source: Readable
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        return len(self.source)

    def read(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """(m, *shape), as it is.

        Raises
        ------
        BadImage
            Another shape than the first, NaN or infinity.
        """
        values = np.asarray(self.source.read(rows))
        if values.shape != (len(rows), *self.shape):
            raise BadImage(
                f"The source gave {values.shape} for {len(rows)} images of {self.shape}. Bring all "
                "to one shape first."
            )
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            flat = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
            row = int(np.asarray(rows)[np.flatnonzero(~flat)[0]])
            raise BadImage(
                f"Image {row} holds NaN or infinity ({int((~flat).sum())} of {len(values)} looked "
                "at do). Replace these values, or leave the images out."
            )
        return values

    def in_memory(self) -> Images:
        """The same with the rows of a tile source read once, where they fit."""
        size = len(self) * math.prod(self.shape) * self.dtype.itemsize
        if isinstance(self.source, _Array) or size > CACHE_BYTES:
            return self
        whole = np.concatenate([values for _, values in self.blocks()])
        return Images(_Array(whole), self.shape, self.dtype)

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rows and their images, a bounded number at a time."""
        step = max(1, BLOCK_VALUES // max(1, math.prod(self.shape)))
        for start in range(0, len(self), step):
            rows = np.arange(start, min(start + step, len(self)))
            yield rows, self.read(rows)


def open_images(images: Any, shape: tuple[int, ...], *, least: int = 1) -> Images:
    """Images of the given shape from an array or a tile source.

    Raises
    ------
    BadImage
        Another shape, different shapes in a list, or no numbers.
    TooFew
        Fewer than ``least``.
    """
    if hasattr(images, "read") and hasattr(images, "shape") and hasattr(images, "table"):
        found = Images(images, tuple(images.shape), np.dtype(images.dtype))
    else:
        values = _as_array(images)
        found = Images(_Array(values), values.shape[1:], values.dtype)
    if len(found) < least:
        raise TooFew(f"{len(found)} images; at least {least} are needed.")
    if found.shape != shape:
        raise BadImage(
            f"Images of shape {found.shape}, but the autoencoder is for {shape}. Bring them to "
            "that shape, or make a ConvAutoencoder for theirs."
        )
    return found


def _as_array(images: Any) -> np.ndarray:
    if isinstance(images, (list, tuple)):
        shapes = [np.shape(image) for image in images]
        odd = next((row for row, one in enumerate(shapes) if one != shapes[0]), None)
        if odd is not None:
            raise BadImage(
                f"Image {odd} has shape {shapes[odd]}, image 0 {shapes[0]}. Bring all to one shape "
                "(and one spacing) first."
            )
    values: np.ndarray = np.asanyarray(images)
    if values.dtype.kind not in "uif":
        raise BadImage(f"Images of dtype {values.dtype}; they must be numbers.")
    if values.ndim < 3:
        raise BadImage(
            f"Images of shape {values.shape}; expected (n, H, W) or (n, D, H, W), colours last."
        )
    return values


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of the values that count, and a hash of all that was read."""

    mean: float
    std: float
    digest: str


def measure(images: Images, masks: Masks) -> Statistics:
    """One pass over all images: finite values, scale, what they are.

    Warns of images without contrast; they are kept, and teach the network their grey.
    """
    digest = hashlib.sha256()
    digest.update(repr((len(images), images.shape, str(images.dtype))).encode())
    total = squares = count = 0.0
    flat: list[int] = []
    shift: float | None = None
    for rows, values in images.blocks():
        digest.update(np.ascontiguousarray(values).view(np.uint8).reshape(-1).data)
        numbers = values.astype(np.float64)
        weight = masks.read(rows)
        inside = np.ones(1) if weight is None else weight.astype(np.float64)
        if weight is not None:
            digest.update(np.packbits(weight).data)
            inside = inside.reshape(inside.shape + (1,) * (numbers.ndim - inside.ndim))
        each = numbers.reshape(len(numbers), -1)
        flat += rows[each.max(axis=1) == each.min(axis=1)].tolist()
        shift = float(numbers.flat[0]) if shift is None else shift
        numbers -= shift  # large offsets (Hounsfield units, 16 bits) cost no digits
        total += float((numbers * inside).sum())
        squares += float((numbers**2 * inside).sum())
        count += float(np.broadcast_to(inside, numbers.shape).sum())
    if not count:
        raise InvalidInput("The mask leaves nothing: it is False everywhere.")
    if flat:
        warnings.warn(
            f"{len(flat)} of {len(images)} images are constant (the first: {flat[0]}): they hold "
            "nothing to learn from and will form a group of their own.",
            UserWarning,
            stacklevel=4,
        )
    mean = total / count
    std = math.sqrt(max(0.0, squares / count - mean**2))
    if std <= 1e-7 * max(1.0, abs(mean)):  # rounding of a constant
        std = 0.0
    return Statistics(mean + (shift or 0.0), std, digest.hexdigest())


class Masks:
    """Where the loss counts: nowhere excluded, one mask for all images, or one each."""

    def __init__(self, mask: npt.ArrayLike | None, n: int, shape: tuple[int, ...]) -> None:
        """``mask`` : None, (*space) or (n, *space) bool, ``space`` without colours.

        Raises
        ------
        InvalidInput
            Another shape, or not boolean.
        """
        self._mask: npt.NDArray[np.bool_] | None = None
        if mask is None:
            return
        space = shape[:-1] if is_colour(shape) else shape
        values = np.asarray(mask)
        if values.shape not in (space, (n, *space)):
            raise InvalidInput(
                f"mask has shape {values.shape}; expected {space}, one for all images, or "
                f"{(n, *space)}, one each."
            )
        if values.dtype != np.bool_:
            raise InvalidInput(
                f"mask is {values.dtype}; give a boolean array, for instance mask > 0."
            )
        self._mask = values if values.ndim > len(space) else values[None]

    def read(self, rows: np.ndarray) -> npt.NDArray[np.bool_] | None:
        """(m, *space) bool, or None where everything counts."""
        if self._mask is None:
            return None
        found: npt.NDArray[np.bool_] = (
            np.repeat(self._mask, len(rows), axis=0)
            if len(self._mask) == 1 and len(rows) != 1
            else self._mask[rows if len(self._mask) > 1 else [0]]
        )
        return found
