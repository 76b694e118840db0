"""How well a map lies over what is known to be there: pure functions of maps and masks.

Maps ``(m, *space)`` are at the masks' resolution: bring them there with
:func:`widgetkit.explain.upsample`. Only positive values count; a map without any says nothing, and
scores 0 in all measures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from widgetkit.errors import BadActivations, InvalidInput

Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Localisation:
    """One number an image, (m,) each, all between 0 and 1; more is better.

    Attributes
    ----------
    iou, energy, pointing
        See :func:`iou`, :func:`energy_inside`, :func:`pointing_game`.
    area : (m,)
        Share of the image (or of ``within``) that the mask has: what ``energy`` and ``pointing`` are
        for a map that knows nothing. Its ``iou`` is ``area / (2 - area)``.
    empty : (m,) bool
        Maps without a positive value.
    """

    iou: Floats
    energy: Floats
    pointing: Floats
    area: Floats
    empty: Bools


def localise(
    maps: npt.ArrayLike, masks: npt.ArrayLike, *, within: npt.ArrayLike | None = None
) -> Localisation:
    """All measures at once.

    Parameters
    ----------
    maps : (m, *space) float
    masks : (m, *space) bool
        What is to be found; none may be empty.
    within : (m, *space) bool, optional
        An organ: the map counts only here. Default: everywhere.

    Raises
    ------
    InvalidInput
        Shapes differ, an empty mask, or one that reaches beyond ``within``.
    BadActivations
        A map is not finite.
    """
    values, truth, allowed = _checked(maps, masks, within)
    return Localisation(
        _iou(values, truth, allowed),
        _energy(values, truth),
        _pointing(values, truth, allowed),
        truth.sum(1) / allowed.sum(1),
        values.max(axis=1, initial=0) <= 0,
    )


def iou(
    maps: npt.ArrayLike, masks: npt.ArrayLike, *, within: npt.ArrayLike | None = None
) -> Floats:
    """Overlap of the mask with the map's strongest pixels, as many as the mask has, over their union.

    The threshold is that of the mask's own area, so no method gains from how it scales its maps,
    and a map that orders all pixels rightly scores 1. Where pixels of equal value straddle it, each
    counts by the share of them that is needed: a flat map scores what chance would.
    """
    return _iou(*_checked(maps, masks, within))


def energy_inside(
    maps: npt.ArrayLike, masks: npt.ArrayLike, *, within: npt.ArrayLike | None = None
) -> Floats:
    """Share of the map's positive values that lies in the mask.

    References
    ----------
    Wang et al., Score-CAM, CVPR Workshops 2020 ("energy-based pointing game").
    """
    values, truth, _ = _checked(maps, masks, within)
    return _energy(values, truth)


def pointing_game(
    maps: npt.ArrayLike, masks: npt.ArrayLike, *, within: npt.ArrayLike | None = None
) -> Floats:
    """Whether the map's largest value lies in the mask: 1 or 0; a share where several are largest.

    References
    ----------
    Zhang et al., Top-down neural attention by excitation backprop, ECCV 2016; without their
    tolerance of 15 pixels.
    """
    return _pointing(*_checked(maps, masks, within))


def _checked(
    maps: npt.ArrayLike, masks: npt.ArrayLike, within: npt.ArrayLike | None
) -> tuple[Floats, Bools, Bools]:
    """Positive part (m, p), masks (m, p), and where the map counts (m, p)."""
    values, truth = np.asarray(maps, np.float64), np.asarray(masks)
    allowed: npt.NDArray[Any] = np.ones_like(truth, bool) if within is None else np.asarray(within)
    if values.ndim < 2 or values.shape != truth.shape or allowed.shape != truth.shape:
        raise InvalidInput(
            f"Maps of shape {values.shape}, masks {truth.shape}, within {allowed.shape}: all must be "
            "(m, *space). Bring maps to the images' size with explain.upsample."
        )
    if truth.dtype != bool or allowed.dtype != bool:
        raise InvalidInput(f"Masks must be bool, not {truth.dtype} and {allowed.dtype}.")
    if not np.isfinite(values).all():
        raise BadActivations("The maps hold NaN or infinity.")
    m = len(values)
    values = values.reshape(m, -1)
    truth, allowed = truth.reshape(m, -1), allowed.reshape(m, -1)
    if not truth.any(axis=1).all():
        raise InvalidInput(
            f"The mask of image {int(np.argmin(truth.any(axis=1)))} is empty: there is nothing to find."
        )
    if (truth & ~allowed).any():
        raise InvalidInput("A mask reaches beyond within.")
    return np.where(allowed, np.maximum(values, 0), 0.0), truth, allowed


def _iou(values: Floats, truth: Bools, allowed: Bools) -> Floats:
    found = np.zeros(len(values))
    for i, (value, mask, inside) in enumerate(zip(values, truth, allowed, strict=True)):
        own, wanted = value[inside], mask[inside]
        size = int(wanted.sum())
        if own.max() <= 0:
            continue
        cut = np.partition(own, len(own) - size)[len(own) - size]
        above, tied = own > cut, own == cut
        share = (size - above.sum()) / tied.sum()
        common = wanted[above].sum() + share * wanted[tied].sum()
        found[i] = common / (2 * size - common)
    return found


def _energy(values: Floats, truth: Bools) -> Floats:
    total = values.sum(axis=1)
    inside = (values * truth).sum(axis=1)
    share: Floats = np.divide(inside, total, out=np.zeros_like(total), where=total > 0)
    return share


def _pointing(values: Floats, truth: Bools, allowed: Bools) -> Floats:
    top = values.max(axis=1, keepdims=True, initial=0)
    peak = (values == top) & allowed & (top > 0)
    count = peak.sum(axis=1)
    hits: Floats = np.divide(
        (peak & truth).sum(axis=1), count, out=np.zeros(len(values)), where=count > 0
    )
    return hits
