"""Columns of a table as numbers: which different values there are, and which one each row has."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput

#: What a missing value of a column is called.
MISSING = "(missing)"

Codes = npt.NDArray[np.intp]


def codes(values: npt.ArrayLike) -> tuple[npt.NDArray[Any], npt.NDArray[np.intp]]:
    """Different values, ascending (missing last), and which one each row has."""
    column = np.asarray(values)
    if column.ndim != 1:
        raise InvalidInput(
            f"One label a tile is needed; got {column.dtype} of shape {column.shape}."
        )
    if column.dtype.kind in "iu" or column.size == 0:
        numbers, which = np.unique(column.astype(np.int64), return_inverse=True)
        return numbers, which
    if column.dtype.kind == "f" and not np.array_equal(
        column, np.round(column), equal_nan=True
    ):  # NaN is a missing number
        raise InvalidInput(
            f"labels are {column.dtype} with fractions. Cut numbers into groups first, "
            "e.g. with pandas.cut."
        )
    import pandas as pd

    missing = pd.isna(column)
    known = column[~missing]
    if column.dtype.kind == "f":  # whole numbers with gaps: ordered as numbers, shown without ".0"
        order, which = np.unique(known, return_inverse=True)
        texts = [f"{value:.0f}" for value in order]
    else:
        order, which = np.unique(np.array([str(v) for v in known], object), return_inverse=True)
        texts = list(order)
    index = np.full(len(column), len(texts), dtype=np.intp)
    index[~missing] = which
    names = np.empty(len(texts) + int(missing.any()), dtype=object)
    names[: len(texts)] = texts
    names[len(texts) :] = MISSING
    return names, index


def renumbered(which: npt.NDArray[np.intp], size: int) -> tuple[Codes, Codes]:
    """The numbers below ``size`` that are there, ascending, and ``which`` numbered anew without gaps."""
    there = np.zeros(size, bool)
    there[which] = True
    place = np.cumsum(there) - 1
    return np.flatnonzero(there), place[which].astype(np.intp)


def group_codes(groups: npt.ArrayLike, n: int, name: str = "groups") -> tuple[list[Any], Codes]:
    """Names of the groups in the order they come first, and the group of each of ``n`` rows.

    By appearance and not by name: draws and folds then do not change with what groups are called.

    Unlike in :func:`codes` a missing value is no group of its own: two rows of unknown origin need
    not have the same one.

    Raises
    ------
    InvalidInput
        Another length, missing values, or fractions.
    """
    column = np.asarray(groups)
    if column.shape != (n,):
        raise InvalidInput(
            f"{name} must hold one value a row, shape ({n},); got {column.dtype} of shape "
            f"{column.shape}."
        )
    names, index = codes(column)
    if len(names) and isinstance(names[-1], str) and names[-1] == MISSING:
        missing = int((index == len(names) - 1).sum())
        raise InvalidInput(
            f"{name} has {missing} missing value(s) in {n} rows. Leave these rows out or say "
            "where they come from: rows of one origin must not be taken for independent ones."
        )
    _, first, index = np.unique(index, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(order), np.intp)
    place[order] = np.arange(len(order))
    known = [value.item() if isinstance(value, np.generic) else value for value in names[order]]
    return known, place[index]
