"""Concepts in some tiles against the rest: counts, means, and an interval by patients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from widgetkit.analysis.resampling import Counts, check_level, interval, resample, units_of

if TYPE_CHECKING:
    import pandas as pd

Mask = npt.NDArray[np.bool_]
Array = npt.NDArray[np.float64]


def contrast(
    names: tuple[str, ...],
    mask: Mask,
    present: Mask,
    relevance: Array | None,
    contradicts: Mask,
    patients: npt.NDArray[np.int32] | None,
    *,
    n_boot: int,
    level: float,
    seed: int,
) -> pd.DataFrame:
    """The table of :meth:`ConceptReading.compare`.

    Parameters
    ----------
    names : (F,)
    mask : (n,) bool
        The tiles compared with the rest.
    present, contradicts : (n, F) bool
    relevance : (n, F) or None
    patients : (n,) int or None
        Drawn whole for the interval. None: none is made.
    n_boot, level, seed
        No interval with 0 draws.
    """
    import pandas as pd

    level = check_level(level)
    sides = np.stack([mask, ~mask]).astype(np.float32)  # (2, n): sums are matrix products
    tiles = np.array([int(mask.sum()), int(len(mask) - mask.sum())])
    whole = np.where(tiles > 0, tiles, np.nan)[:, None]
    counts = np.rint(sides.astype(np.float64) @ present)
    shares = counts / whole
    means = np.full(shares.shape, np.nan)
    if relevance is not None:
        means = sides.astype(np.float64) @ relevance / whole
    values = shares if relevance is None else means
    low = high = np.full(len(names), np.nan)
    note = ""
    if n_boot and patients is None:
        note = "No interval: the patients are not known."
    elif n_boot and patients is not None:
        each = present.astype(np.float64) if relevance is None else relevance
        low, high, note = _interval(mask, each, patients, n_boot, level, seed)
    table = pd.DataFrame(
        {
            "concept": list(names),
            "n_in": counts[0].astype(np.int64),
            "n_rest": counts[1].astype(np.int64),
            "share_in": shares[0],
            "share_rest": shares[1],
            "relevance_in": means[0],
            "relevance_rest": means[1],
            "difference": values[0] - values[1],
            "low": low,
            "high": high,
            "contradicts_in": sides[0].astype(np.float64) @ contradicts / whole[0],
        }
    )
    order = np.argsort(-np.where(np.isnan(values[0]), -np.inf, values[0]), kind="stable")
    table = table.iloc[order].reset_index(drop=True)
    table.attrs.update(
        difference="share" if relevance is None else "relevance",
        tiles_in=int(tiles[0]),
        tiles_rest=int(tiles[1]),
        note=note,
    )
    return table


def _interval(
    mask: Mask,
    each: Array,
    patients: npt.NDArray[np.int32],
    n_boot: int,
    level: float,
    seed: int,
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating], str]:
    """(F,) ends of the interval of the difference of means, and what the reader has to know of it."""
    F = each.shape[1]
    _, owner = np.unique(patients, return_inverse=True)
    units = units_of(owner, int(owner.max(initial=-1)) + 1, what="patient")
    if not units.usable:
        return np.full(F, np.nan), np.full(F, np.nan), units.note
    # sums of each unit on both sides, and how many tiles: they add up over the units drawn
    place = units.codes * 2 + ~mask
    sums = np.zeros((units.count * 2, F + 1))
    order = np.argsort(place, kind="stable")
    there, first = np.unique(place[order], return_index=True)
    if len(there):
        columns = np.column_stack([each, np.ones(len(each))])[order]
        sums[there] = np.add.reduceat(columns, first, axis=0)
    parts = sums.reshape(units.count, 2, F + 1).transpose(1, 0, 2)

    def statistic(counts: Counts) -> Array:
        inside, rest = (counts @ part for part in parts)
        with np.errstate(invalid="ignore", divide="ignore"):
            found: Array = inside[:, :F] / inside[:, F:] - rest[:, :F] / rest[:, F:]
        return found

    low, high = interval(resample(statistic, units.count, n_boot, seed), units.count, level)
    return low, high, units.note
