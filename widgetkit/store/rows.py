"""Row numbers as callers give them."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from widgetkit.errors import InvalidInput

Rows = Sequence[int] | NDArray[np.integer] | NDArray[np.bool_] | slice | int | None


def row_numbers(rows: Rows, n: int) -> NDArray[np.int64]:
    """``(m,)`` row numbers in the order given.

    Parameters
    ----------
    rows : sequence of int, (n,) bool, slice, int or None
        Any order, repeats allowed; a mask selects in store order; None is all.
    n : int
        Rows there are.

    Raises
    ------
    InvalidInput
        Not whole numbers, negative, or not below ``n``.
    """
    if rows is None:
        return np.arange(n, dtype=np.int64)
    if isinstance(rows, slice):
        return np.arange(*rows.indices(n), dtype=np.int64)
    array = np.atleast_1d(np.asarray(rows))
    if array.dtype == np.bool_:
        if array.shape != (n,):
            raise InvalidInput(f"A mask of shape {array.shape} for {n} tiles; it must be ({n},).")
        return np.flatnonzero(array).astype(np.int64)
    if array.ndim != 1:
        raise InvalidInput(f"Rows have shape {array.shape}; give one list of row numbers.")
    if array.size == 0:
        return np.empty(0, np.int64)
    if array.dtype.kind not in "iu":
        try:
            array = np.asarray([operator.index(row) for row in array.tolist()])
        except TypeError:
            raise InvalidInput(f"Rows are {array.dtype}, not whole numbers.") from None
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= n:
        wrong = low if low < 0 else high
        raise InvalidInput(
            f"Row {wrong} is not in the store: it has {n} tiles"
            + (f", rows 0 to {n - 1}." if n else ".")
        )
    return array.astype(np.int64)
