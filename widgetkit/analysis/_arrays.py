"""Checks at the border of this package: what counts as a usable matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from widgetkit.errors import BadActivations, InvalidInput, TooFew, UnknownName, near

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.integer[Any]]
Mask = npt.NDArray[np.bool_]


class UnknownChoice(UnknownName, InvalidInput):
    """A word that is none of the choices; also a ValueError, as scikit-learn's tools expect."""


class NotNumeric(InvalidInput, TypeError):
    """Values that are no numbers; also a TypeError, as scikit-learn's tools expect."""


def as_matrix(array: npt.ArrayLike, name: str = "X", *, least: int = 1) -> Floats:
    """A two-dimensional real array, values not yet looked at.

    float16, float32 and float64 are passed through without a copy; integers and booleans
    become float32 (float64 where float32 cannot hold them).

    Parameters
    ----------
    array : (n, C) array-like
        One row a tile or a position.
    name : str
        What the error messages call it.
    least : int
        Fewest rows allowed.

    Raises
    ------
    InvalidInput
        Not two-dimensional, sparse, complex, not numeric, or no columns.
    TooFew
        Fewer than ``least`` rows.
    """
    if hasattr(array, "tocsr"):
        raise InvalidInput(
            f"{name} is a sparse matrix; widgetkit works on dense arrays only. Pass {name}.toarray()."
        )
    values = np.asarray(array)
    if np.iscomplexobj(values):
        raise InvalidInput(f"Complex data not supported: {name} is {values.dtype}.")
    if values.dtype.kind not in "fiub":
        try:
            values = values.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise NotNumeric(
                f"{name} has dtype {values.dtype}, which is not numeric ({error}). "
                "Pass an array of floats."
            ) from error
    if values.ndim != 2:
        raise InvalidInput(
            f"{name} has shape {values.shape}; expected (n, C), one row a tile. Reshape your data, "
            "e.g. with X.reshape(-1, 1) for one channel or X.reshape(1, -1) for one row."
        )
    if values.shape[1] == 0:
        raise InvalidInput(
            f"{name} has 0 feature(s) (shape={values.shape}) while a minimum of 1 is required."
        )
    if values.shape[0] < least:
        raise TooFew(
            f"{name} has {values.shape[0]} sample(s) (shape={values.shape}) while a minimum of "
            f"{least} is required."
        )
    if values.dtype.kind != "f":
        small = values.dtype.kind == "b" or values.dtype.itemsize <= 2
        values = values.astype(np.float32 if small else np.float64)
    elif values.dtype.itemsize > 8:
        values = values.astype(np.float64)
    return values


def working(values: Floats) -> Floats:
    """The same values in the precision we compute in: float64 stays, the rest is float32."""
    if values.dtype == np.float64:
        return values
    return values.astype(np.float32, copy=False)


def check_finite(values: Floats, name: str = "X") -> tuple[float, float]:
    """Smallest and largest value; raises on NaN and infinity.

    One pass without a temporary: the extremes of an array with a NaN are NaN.

    Raises
    ------
    BadActivations
        Names the first bad row and how many values are bad.
    """
    if values.size == 0:
        return 0.0, 0.0
    # NaN comes through min and max; no warning about it is wanted, the error says it
    with np.errstate(invalid="ignore"):
        low, high = float(values.min()), float(values.max())
    if np.isfinite(low) and np.isfinite(high):
        return low, high
    bad = ~np.isfinite(values)
    row = int(np.flatnonzero(bad.any(axis=1))[0])
    raise BadActivations(
        f"{name} contains NaN or infinity: {int(bad.sum())} of {values.size} values, the first in "
        f"row {row}. Leave these rows out, or find the tile or layer that makes them."
    )


def as_mask(mask: npt.ArrayLike, n: int, name: str = "mask") -> Mask:
    """A boolean mask of length ``n``.

    Raises
    ------
    InvalidInput
        Another length, another number of dimensions, or not boolean (row numbers are not taken
        for a mask).
    """
    values = np.asarray(mask)
    if values.shape != (n,) or (values.dtype != np.bool_ and n > 0):
        raise InvalidInput(
            f"{name} must be a boolean array of shape ({n},), one entry a row; got "
            f"{values.dtype} of shape {values.shape}."
        )
    return values.astype(np.bool_, copy=False)


def sample_rows(n: int, count: int, seed: int) -> Ints:
    """``count`` different row numbers below ``n``, sorted; all of them when ``count >= n``."""
    if count >= n:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, size=count, replace=False))


def check_count(value: object, name: str, *, least: int = 1) -> int:
    """A whole number of at least ``least``; anything else raises :class:`InvalidInput`."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= least:
        return int(value)
    raise InvalidInput(f"{name} must be a whole number of at least {least}, got {value!r}.")


def check_seed(value: object) -> int:
    """A seed: a whole number that is not negative, because results must be repeatable."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= 0:
        return int(value)
    raise InvalidInput(
        f"The seed must be a whole number of at least 0, got {value!r}; "
        "widgetkit keeps results repeatable."
    )


def choice(value: object, known: Sequence[str], name: str) -> str:
    """One of the known words; another raises :class:`UnknownName` with the near ones."""
    if isinstance(value, str) and value in known:
        return value
    raise UnknownChoice(f"{name}={value!r} is not known. {near(str(value), known)}")
