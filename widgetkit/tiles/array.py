"""Tiles that are in memory, or in a memory-mapped array."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from widgetkit.errors import BadImage, BadMetadata, InvalidInput, NoTissue
from widgetkit.tiles.base import BaseSource, make_table
from widgetkit.tiles.metadata import Metadata, finish
from widgetkit.tiles.pixels import check_window, convert_dtype, estimate_window, flatten_alpha

#: Tiles looked at to choose what is shown as black and white.
SAMPLE = 64


def from_array(
    array: np.ndarray,
    *,
    volume: bool = False,
    ids: Sequence[str] | None = None,
    source: str = "array",
    mpp: float | None = None,
    window: tuple[float, float] | None = None,
    metadata: Metadata | None = None,
    on: str | None = None,
    anonymise_patients: bool | str = False,
) -> ArrayTiles:
    """Tiles from a numpy array, not copied; a memory map is read as it is needed.

    Parameters
    ----------
    array : (n, H, W), (n, H, W, 3), (n, H, W, 4); with ``volume`` (n, D, H, W) or (n, D, H, W, 3)
        uint8, uint16 and float32 keep their values; bool becomes 0/255, other numbers float32 where
        that is exact (CT numbers in int16 keep their sign). RGBA is composited on white.
    volume : bool
        The first axis after n is depth.
    ids : sequence of str, optional
        Your own name of each tile, kept in the column ``name``; the id then comes from it, so it
        does not depend on the order. Default: from the position in the array.
    source : str
        Name of the array; ids come from it too, so give different arrays different names.
    mpp : float, optional
        Micrometres a pixel, for scale bars.
    window : (low, high), optional
        Values shown as black and white. Default: from 64 tiles, see :func:`estimate_window`.
    metadata, on, anonymise_patients
        As in :func:`join_metadata` and :func:`anonymise`.

    Returns
    -------
    ArrayTiles
        ``z`` is the position in the array.

    Raises
    ------
    BadImage
        Wrong number of axes, not numbers, NaN or infinity (found when read).
    """
    data = np.asanyarray(array)
    planes = 3 if volume else 2
    fits = data.ndim == 1 + planes or (data.ndim == 2 + planes and data.shape[-1] in (3, 4))
    if not fits:
        hint = " For volumes (n, D, H, W) say volume=True." if data.ndim == 4 and not volume else ""
        raise BadImage(
            f"An array of shape {data.shape}; expected "
            + ("(n, D, H, W) or (n, D, H, W, 3)." if volume else "(n, H, W) or (n, H, W, 3 or 4).")
            + hint
        )
    if not len(data):
        raise NoTissue(f"The array {source!r} holds no tile: its shape is {data.shape}.")
    table = make_table(
        source,
        n=len(data),
        z=np.arange(len(data)),
        size=data.shape[planes - 1],
        mpp=np.nan if mpp is None else mpp,
    )
    if ids is not None:
        table = _named(table, ids, source)
    table = finish(table, metadata, on, anonymise_patients)
    return ArrayTiles(table, data, volume=volume, window=window)


class ArrayTiles(BaseSource):
    """Tiles of a numpy array; made by :func:`from_array`."""

    def __init__(
        self,
        table: pd.DataFrame,
        array: np.ndarray,
        *,
        volume: bool,
        window: tuple[float, float] | None = None,
    ) -> None:
        self._array = array
        self._colour = array.ndim == (5 if volume else 4)
        first = self._tile(0)
        if window is None:
            picked = np.unique(np.linspace(0, len(array) - 1, SAMPLE).round().astype(np.int64))
            needed = first.dtype != np.uint8
            sample = np.stack([self._tile(row) for row in picked]) if needed else first
            window = estimate_window(sample)
        super().__init__(table, first.shape, first.dtype, check_window(window))

    def _tile(self, row: int) -> np.ndarray:
        what = f"Tile {row} of the array"
        tile = convert_dtype(np.ascontiguousarray(self._array[row]), what)
        return flatten_alpha(tile, what) if self._colour and tile.shape[-1] == 4 else tile

    def _read_one(self, row: int) -> np.ndarray:
        return self._tile(row)

    def describe(self) -> dict[str, object]:
        """Provenance: shape and dtype of the array, and the window shown."""
        return {
            "kind": "array",
            "shape": list(self._array.shape),
            "dtype": str(self._array.dtype),
            "window": list(self.window or ()),
        }


def _named(table: pd.DataFrame, ids: Sequence[str], source: str) -> pd.DataFrame:
    """The table with ids made from the user's names instead of positions."""
    names = [str(name) for name in ids]
    if len(names) != len(table):
        raise BadMetadata(f"{len(names):,} ids for {len(table):,} tiles.")
    if any(not name for name in names):
        raise InvalidInput("An id is empty; give every tile a name.")
    if len(set(names)) < len(names):
        seen: set[str] = set()
        twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise BadMetadata(f"The id {twice!r} occurs more than once; ids must differ.")
    hashes = [
        hashlib.blake2b(f"{source}\0{name}".encode(), digest_size=8).hexdigest() for name in names
    ]
    return table.assign(id=pd.Series(hashes, dtype="str"), name=pd.Series(names, dtype="str"))
