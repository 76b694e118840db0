"""How far two maps of the same tiles agree."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput

if TYPE_CHECKING:
    import pandas as pd

Real = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Agreement:
    """Agreement of two maps, one number a tile.

    Attributes
    ----------
    spearman : (m,) float
        Rank correlation over the positions; NaN where one of the two maps is constant, which has
        no ranks.
    iou : (m,) float in [0, 1]
        Overlap of the strongest positions: intersection over union.
    top : float
        The share of positions that counts as strongest.
    """

    spearman: Real
    iou: Real
    top: float


def agreement(maps_a: npt.ArrayLike, maps_b: npt.ArrayLike, *, top: float = 0.2) -> Agreement:
    """Compare two maps of the same tiles, tile by tile.

    Parameters
    ----------
    maps_a, maps_b : (m, *grid) float
    top : float in (0, 1]
        Share of positions whose overlap is measured. Positions tied with the last of them are
        counted too.

    Raises
    ------
    InvalidInput
        The shapes differ, or ``top`` is not a share.
    """
    a, b = np.asarray(maps_a, dtype=np.float64), np.asarray(maps_b, dtype=np.float64)
    if a.shape != b.shape or a.ndim < 2 or 0 in a.shape[1:]:
        raise InvalidInput(
            f"Maps of shapes {a.shape} and {b.shape} cannot be compared: both must be (m, *grid) of the same "
            "tiles. Bring them to one grid with widgetkit.explain.upsample or area_mean."
        )
    if not 0 < top <= 1:
        raise InvalidInput(f"top is {top}: use a share above 0 and at most 1.")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InvalidInput("Maps that hold NaN or infinity cannot be compared.")
    # not -1: numpy cannot tell the width of an array without rows
    a, b = (maps.reshape(len(maps), int(np.prod(maps.shape[1:]))) for maps in (a, b))
    return Agreement(rank_correlation(a, b), _overlap_of_top(a, b, top), top)


def pairwise(maps: Mapping[str, npt.ArrayLike], *, top: float = 0.2) -> pd.DataFrame:
    """Agreement of every pair of methods, as a table.

    Parameters
    ----------
    maps : name -> (m, *grid) float
    top : float
        See :func:`agreement`.

    Returns
    -------
    DataFrame
        One row a pair: ``a``, ``b``, ``spearman`` and ``iou`` (means over the tiles where they are
        defined), ``tiles`` (how many those are for spearman).
    """
    import pandas as pd

    rows = []
    for (name_a, a), (name_b, b) in itertools.combinations(maps.items(), 2):
        found = agreement(a, b, top=top)
        defined = found.spearman[np.isfinite(found.spearman)]
        rows.append(
            {
                "a": name_a,
                "b": name_b,
                "spearman": float(defined.mean()) if len(defined) else np.nan,
                "iou": float(found.iou.mean()) if len(found.iou) else np.nan,
                "tiles": len(defined),
            }
        )
    return pd.DataFrame(rows, columns=["a", "b", "spearman", "iou", "tiles"])


def rank_correlation(a: Real, b: Real) -> Real:
    """Spearman correlation of each row of ``a`` with that of ``b``, both (m, p); ties share ranks."""
    x, y = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (_ranks(a), _ranks(b)))
    size = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    both = (x * y).sum(axis=1)
    found: Real = np.divide(both, size, out=np.full(len(both), np.nan), where=size > 0)
    return found.clip(-1, 1)


def _ranks(values: Real) -> Real:
    """Average ranks of each row."""
    ranks = np.empty(values.shape, np.float64)
    for row, line in enumerate(values):
        _, inverse, counts = np.unique(line, return_inverse=True, return_counts=True)
        last = np.cumsum(counts)
        ranks[row] = (last - (counts - 1) / 2)[inverse]
    return ranks


def _overlap_of_top(a: Real, b: Real, top: float) -> Real:
    count = max(1, round(top * a.shape[1]))
    strong_a, strong_b = (_at_least(values, count) for values in (a, b))
    either = (strong_a | strong_b).sum(axis=1)
    share: Real = (strong_a & strong_b).sum(axis=1) / np.maximum(either, 1)
    return share


def _at_least(values: Real, count: int) -> npt.NDArray[Any]:
    last = np.partition(values, -count, axis=1)[:, -count, None]
    return values >= last
