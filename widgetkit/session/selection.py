"""Which tiles are selected: an immutable set of row numbers."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput

if TYPE_CHECKING:
    import pandas as pd

    from widgetkit.store import ActivationStore

#: How a selection was made: ``{"kind": "polygon", "polygon": [[x, y], ...]}`` and the like;
#: JSON-able. Set algebra gives ``{"kind": "add", "of": [left, right]}``.
How = Mapping[str, Any]

#: Beyond this depth the parts of a combined selection are no longer spelled out.
_DEPTH = 4


@dataclass(frozen=True)
class Selection:
    """A set of tiles, packed to one bit a tile.

    Two selections are equal when they hold the same tiles of as many; how they were made
    and their revision do not count.

    Attributes
    ----------
    n : int
        Tiles in the store.
    bits : bytes of length ceil(n / 8)
        Bit ``row % 8`` (lowest first) of byte ``row // 8``: what crosses the wire. Bits
        beyond ``n`` are zero.
    how : dict
        How it was made, JSON-able. See :data:`How`.
    revision : int
        Counts the selections of a session; a result carries the one it belongs to.
    """

    n: int
    bits: bytes = field(repr=False)
    how: How = field(default_factory=lambda: {"kind": "rows"}, compare=False)
    revision: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        if self.n < 0 or len(self.bits) != (self.n + 7) // 8:
            raise InvalidInput(
                f"A selection of {self.n} tiles takes {(max(self.n, 0) + 7) // 8} bytes; "
                f"got {len(self.bits)}."
            )
        spare = self.n % 8
        if spare and self.bits[-1] >> spare:
            raise InvalidInput(f"The selection has bits set beyond its {self.n} tiles.")

    # -- making one ----------------------------------------------------------------------
    @classmethod
    def from_mask(
        cls, mask: npt.ArrayLike, *, how: How | None = None, revision: int = 0
    ) -> Selection:
        """From one bool a tile, (n,)."""
        array = np.asarray(mask)
        if array.ndim != 1 or array.dtype != np.bool_:
            raise InvalidInput(
                f"A mask is one bool a tile; got {array.dtype} of shape {array.shape}."
            )
        bits = np.packbits(array, bitorder="little").tobytes()
        return cls(len(array), bits, how or {"kind": "mask"}, revision)

    @classmethod
    def from_rows(
        cls, n: int, rows: Iterable[int] | npt.ArrayLike, *, how: How | None = None
    ) -> Selection:
        """From row numbers in ``0..n-1``, in any order; repeats count once.

        Raises
        ------
        InvalidInput
            A row is not a whole number, or outside the store (negative ones too).
        """
        array = np.asarray(rows if hasattr(rows, "__len__") else list(rows))  # type: ignore[arg-type]
        if array.size == 0:
            return cls.none(n, how=how or {"kind": "rows"})
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise InvalidInput(f"Rows are whole numbers; got {array.dtype} of shape {array.shape}.")
        if int(array.min()) < 0 or int(array.max()) >= n:
            raise InvalidInput(
                f"Rows {int(array.min())}..{int(array.max())} were given; "
                f"the store has {n} tiles, 0..{n - 1}."
            )
        mask = np.zeros(n, dtype=bool)
        mask[array] = True
        return cls.from_mask(mask, how=how or {"kind": "rows"})

    @classmethod
    def none(cls, n: int, *, how: How | None = None) -> Selection:
        """No tile of ``n``."""
        return cls(n, bytes((n + 7) // 8), how or {"kind": "none"})

    @classmethod
    def all(cls, n: int, *, how: How | None = None) -> Selection:
        """Every tile of ``n``."""
        return cls.from_mask(np.ones(n, dtype=bool), how=how or {"kind": "all"})

    # -- reading it ----------------------------------------------------------------------
    @cached_property
    def mask(self) -> npt.NDArray[np.bool_]:
        """(n,) bool, read-only."""
        packed = np.frombuffer(self.bits, dtype=np.uint8)
        mask = np.unpackbits(packed, count=self.n, bitorder="little").view(np.bool_)
        mask.flags.writeable = False
        return mask

    @cached_property
    def rows(self) -> npt.NDArray[np.int64]:
        """(count,) row numbers, ascending, read-only."""
        rows = np.flatnonzero(self.mask)
        rows.flags.writeable = False
        return rows

    @cached_property
    def count(self) -> int:
        return int(np.count_nonzero(self.mask))

    def __len__(self) -> int:
        return self.count

    def __bool__(self) -> bool:
        """Whether any tile is selected."""
        return self.count > 0

    def __contains__(self, row: object) -> bool:
        if not isinstance(row, int | np.integer):
            return False
        at = int(row)
        return 0 <= at < self.n and bool(self.mask[at])

    def __repr__(self) -> str:
        return f"<Selection: {self.count} of {self.n} tiles, {self.how.get('kind', '?')}>"

    # -- set algebra ---------------------------------------------------------------------
    def __or__(self, other: Selection) -> Selection:
        return self._combine(other, "add")

    def __and__(self, other: Selection) -> Selection:
        return self._combine(other, "intersect")

    def __sub__(self, other: Selection) -> Selection:
        return self._combine(other, "subtract")

    def __xor__(self, other: Selection) -> Selection:
        return self._combine(other, "differ")

    def __invert__(self) -> Selection:
        how = {"kind": "invert", "of": [_trimmed(self.how, _DEPTH)]}
        return Selection.from_mask(~self.mask, how=how)

    def _combine(self, other: Selection, kind: str) -> Selection:
        if not isinstance(other, Selection):
            return NotImplemented
        if self.n != other.n:
            raise InvalidInput(
                f"The selections are of {self.n} and of {other.n} tiles: of different stores."
            )
        a = np.frombuffer(self.bits, dtype=np.uint8)
        b = np.frombuffer(other.bits, dtype=np.uint8)
        bits = {"add": a | b, "intersect": a & b, "subtract": a & ~b, "differ": a ^ b}[kind]
        how = {"kind": kind, "of": [_trimmed(self.how, _DEPTH), _trimmed(other.how, _DEPTH)]}
        return Selection(self.n, bits.tobytes(), how)

    # -- text form -----------------------------------------------------------------------
    def encode(self) -> str:
        """A text that :meth:`decode` reads: what state and history lines hold."""
        packed = base64.b64encode(zlib.compress(self.bits, 9)).decode("ascii")
        return f"{self.n}:{packed}"

    @classmethod
    def decode(cls, text: str, *, how: How | None = None) -> Selection:
        """Read what :meth:`encode` wrote. Never unpacks more than the stated size.

        Raises
        ------
        InvalidInput
            The text is damaged, or not of that form.
        """
        message = "The text of a selection is damaged: it must be as Selection.encode wrote it."
        try:
            count, packed = text.split(":", 1)
            if not count.isascii() or not count.isdigit() or len(count) > 12:
                raise ValueError(count)
            n = int(count)
            size = (n + 7) // 8
            unpack = zlib.decompressobj()
            bits = unpack.decompress(base64.b64decode(packed, validate=True), size + 1)
        except (AttributeError, ValueError, binascii.Error, zlib.error) as error:
            raise InvalidInput(message) from error
        if len(bits) != size or not unpack.eof:
            raise InvalidInput(message)
        return cls(n, bits, how or {"kind": "decoded"})

    # -- export --------------------------------------------------------------------------
    def to_frame(self, store: ActivationStore) -> pd.DataFrame:
        """The selected rows of the store's tile table, with ``row`` as index."""
        self._check(store)
        frame = store.tiles.iloc[self.rows].copy()
        frame.index = self.rows.copy()
        frame.index.name = "row"
        return frame

    def to_csv(
        self,
        store: ActivationStore,
        path: str | Path,
        *,
        identifiers: Literal["number", "drop", "keep"] = "number",
        overwrite: bool = False,
    ) -> Path:
        """Write :meth:`to_frame` as CSV or parquet, safe to open in a spreadsheet and to share.

        Parameters
        ----------
        store : ActivationStore
        path : path
            Ends with ``.csv`` or ``.parquet``.
        identifiers : "number", "drop" or "keep"
            What becomes of columns that may name patients or their files; see
            :func:`widgetkit.slides.export_tables.write_table`. The column ``row`` finds a tile again.
        overwrite : bool

        Returns
        -------
        Path
            The file written, whole.

        Raises
        ------
        OutputExists, OutputFailed, InvalidInput
        """
        from widgetkit.slides.export_tables import numbering, write_table

        return write_table(
            path,
            self.to_frame(store),
            identifiers=identifiers,
            numbers=numbering(store.tiles),  # the same whatever is selected
            overwrite=overwrite,
        )

    def to_geojson(self, store: ActivationStore, *, name: str = "widgetkit") -> dict[str, Any]:
        """Squares of the selected tiles, for QuPath. See :func:`.export.to_geojson`."""
        from widgetkit.session.export import to_geojson

        return to_geojson(self, store, name=name)

    def _check(self, store: ActivationStore) -> None:
        if len(store) != self.n:
            raise InvalidInput(
                f"The selection is of {self.n} tiles; the store has {len(store)}: another store."
            )


def _trimmed(how: Mapping[str, Any], depth: int) -> dict[str, Any]:
    """``how`` with nested parts left out below a depth, so that it cannot grow for ever."""
    if "of" not in how:
        return dict(how)
    if depth <= 1:
        return {"kind": how["kind"]}
    return {**how, "of": [_trimmed(part, depth - 1) for part in how["of"]]}
