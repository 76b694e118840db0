"""A place brushed in a tile, one bit a cell."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput

#: Cells of one region: a volume of 256 x 256 x 64.
MAX_CELLS = 2**22


@dataclass(frozen=True)
class Region:
    """Cells of a tile's grid, or of its image, that show something.

    Attributes
    ----------
    shape : tuple of int
        (h, w) or (d, h, w) of the grid or the image.
    bits : bytes
        One bit a cell in C order, the lowest first.
    """

    shape: tuple[int, ...]
    bits: bytes = field(repr=False)

    def __post_init__(self) -> None:
        shape = tuple(int(size) for size in self.shape)
        cells = int(np.prod(shape, dtype=np.int64)) if len(shape) in (1, 2, 3) else 0
        if not 1 <= cells <= MAX_CELLS or min(shape) < 1:
            raise InvalidInput(
                f"A region lies on a grid of one to three sizes with at most {MAX_CELLS} cells; got {shape}."
            )
        if len(self.bits) != (cells + 7) // 8 or (cells % 8 and self.bits[-1] >> cells % 8):
            raise InvalidInput(
                f"A region on {shape} takes {(cells + 7) // 8} bytes, none beyond it."
            )
        if not any(self.bits):
            raise InvalidInput("The region is empty: mark at least one cell.")
        object.__setattr__(self, "shape", shape)

    @classmethod
    def of(cls, mask: npt.ArrayLike) -> Region:
        """From a bool array over the grid or the image."""
        given = np.asarray(mask)
        if given.dtype != np.bool_:
            raise InvalidInput(
                f"A region is a bool array over the tile's grid or image; got {given.dtype} of shape "
                f"{given.shape}."
            )
        return cls(given.shape, np.packbits(given.reshape(-1), bitorder="little").tobytes())

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """bool array of :attr:`shape`."""
        cells = int(np.prod(self.shape))
        packed = np.frombuffer(self.bits, np.uint8)
        found = np.unpackbits(packed, count=cells, bitorder="little").view(np.bool_)
        return found.reshape(self.shape)
