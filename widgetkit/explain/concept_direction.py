"""Which way a concept lies among a layer's activations."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from widgetkit.errors import BadActivations, InvalidInput, TooFew

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def concept_direction(
    X: npt.ArrayLike,
    shown: npt.ArrayLike,
    lacking: npt.ArrayLike | None = None,
    *,
    shrink: float = 0.5,
) -> Floats:
    """Unit vector from tiles without a concept to tiles with it, where it says most for its size.

    The difference of both means, divided by the covariance within both, which is shrunk towards equal
    and independent units (regularised discriminant analysis). Without shrinking, units that merely cancel
    noise get weights too, and maps show the noise; shrunk to 1 it is the plain difference of means, in
    which concepts that go together are one.

    Parameters
    ----------
    X : (n, d)
        Activations of a layer, one row a tile: ``store.embeddings(layer)``.
    shown : (n,) bool
        Tiles that show the concept.
    lacking : (n,) bool, optional
        Tiles that do not. Default, and where it holds none: all others.
    shrink : float in (0, 1]

    Returns
    -------
    (d,) float64
        Of length 1; 0 where the two means are equal.

    Raises
    ------
    TooFew
        No tile shows the concept, or every one.
    InvalidInput, BadActivations
        Shapes that do not fit, a tile on both sides, or X with NaN or infinity.

    References
    ----------
    Friedman, Regularized discriminant analysis, J Am Stat Assoc 84 (1989) 165-175.
    """
    values = np.asarray(X, np.float64)
    inside = _mask(shown, values, "shown")
    outside = ~inside if lacking is None else _mask(lacking, values, "lacking")
    if not outside.any():
        outside = ~inside
    if not 0 < shrink <= 1:
        raise InvalidInput(f"shrink is {shrink}: use a share above 0, up to 1.")
    if (inside & outside).any():
        raise InvalidInput(
            f"Tile {int(np.argmax(inside & outside))} is said to show the concept and to lack it."
        )
    if not inside.any() or not outside.any():
        raise TooFew(
            f"{int(inside.sum())} of {len(values)} tiles show the concept: a direction needs tiles with it "
            "and tiles without."
        )
    one, other = values[inside], values[outside]
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise BadActivations("The activations hold NaN or infinity: there is no direction in them.")
    apart = one.mean(axis=0) - other.mean(axis=0)
    spread = _scatter(one) + _scatter(other)
    size = float(np.trace(spread)) / len(apart)
    if size > 0:
        spread = (1 - shrink) * spread
        spread[np.diag_indices_from(spread)] += shrink * size
        apart = np.linalg.solve(spread / size, apart)
    length = float(np.linalg.norm(apart))
    found: Floats = apart / length if length > 0 else apart
    return found


def _mask(given: npt.ArrayLike, X: npt.NDArray[Any], what: str) -> Mask:
    mask = np.asarray(given)
    if X.ndim != 2 or mask.shape != (len(X),) or mask.dtype != np.bool_:
        raise InvalidInput(
            f"{what} is {mask.dtype} of shape {mask.shape} for activations of shape {X.shape}: one bool a "
            "row of (n, d)."
        )
    return mask


def _scatter(X: Floats) -> Floats:
    off = X - X.mean(axis=0)
    found: Floats = off.T @ off
    return found
