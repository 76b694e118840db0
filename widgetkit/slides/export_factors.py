"""Weights of factors as tables: a row for each tile, or for each slide and factor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput
from widgetkit.slides.export_output import plain

if TYPE_CHECKING:
    import pandas as pd

#: Of the columns of both tables.
UNITS = {
    "mean": "weight",
    "max": "weight",
    "total": "weight",
    "share": "share of positions",
    "share of weight": "share of the total weight",
    "tiles": "count",
    "positions": "count",
}


class PooledWeights(Protocol):
    """Weights of each tile over its positions; ``widgetkit.factors`` gives them as ``Pooled``."""

    @property
    def mean(self) -> npt.NDArray[np.float32]: ...
    @property
    def max(self) -> npt.NDArray[np.float32]: ...
    @property
    def share(self) -> npt.NDArray[np.float32]: ...
    @property
    def total(self) -> npt.NDArray[np.float32]: ...


def tile_table(
    tiles: pd.DataFrame, pooled: PooledWeights, names: Sequence[str]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The tile table with the weights of each factor beside it.

    Parameters
    ----------
    tiles : (n rows) DataFrame
    pooled : Pooled
        ``mean``, ``max``, ``share`` (n, k) and ``total`` (n,).
    names : sequence of str
        Of the k factors; equal ones get a number.

    Returns
    -------
    table : DataFrame
        Index ``row``; after the columns of ``tiles`` come ``total`` and for each factor
        ``<name>: mean``, ``<name>: max`` and ``<name>: share`` (of the tile's positions that it wins).
    units : dict
        Of the added columns, for :func:`write_table`.
    """
    import pandas as pd

    n, _ = _checked(pooled, names)
    if len(tiles) != n:
        raise InvalidInput(f"The table has {len(tiles)} tiles, the weights are of {n}.")
    columns: dict[str, npt.NDArray[np.float32]] = {"total": np.asarray(pooled.total)}
    units = {"total": UNITS["total"]}
    for i, name in enumerate(distinct(names)):
        for what in ("mean", "max", "share"):
            columns[f"{name}: {what}"] = np.asarray(getattr(pooled, what))[:, i]
            units[f"{name}: {what}"] = UNITS[what]
    added = pd.DataFrame(columns, index=np.arange(n))
    base = tiles.reset_index(drop=True)
    twice = [c for c in added.columns if c in base.columns]
    if twice:
        raise InvalidInput(f"The tile table has a column {twice[0]!r} already. Rename it.")
    table = pd.concat([base, added], axis=1)
    table.index.name = "row"
    return table, units


def slide_table(
    slide: npt.ArrayLike,
    slides: Sequence[str],
    pooled: PooledWeights,
    names: Sequence[str],
    *,
    positions: int = 1,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """How much of each slide each factor holds.

    Every tile counts alike; where tiles overlap, what they share counts twice.

    Parameters
    ----------
    slide : (n,) int
        Number of each tile's slide, -1 for none (left out).
    slides : sequence of str
        Their names.
    pooled : Pooled
    names : sequence of str
        Of the factors.
    positions : int
        Of one tile.

    Returns
    -------
    table : DataFrame
        A row for each slide and factor, and for the background (positions no factor wins):
        ``slide``, ``factor``, ``tiles``, ``positions`` (that it wins), ``share`` (of the slide's
        positions; 1 in all), ``share of weight`` (1 in all without the background), ``mean``.
    units : dict
    """
    import pandas as pd

    n, k = _checked(pooled, names)
    number = np.asarray(slide)
    if number.shape != (n,) or number.dtype.kind not in "iu" or (number >= len(slides)).any():
        raise InvalidInput(f"slide is one number a tile, below {len(slides)}; got {number.shape}.")
    placed = number >= 0
    tiles = np.bincount(number[placed], minlength=len(slides))

    def sums(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """(slides, k)"""
        parts = [
            np.bincount(number[placed], values[placed, i].astype(np.float64), len(slides))
            for i in range(k)
        ]
        return np.stack(parts, axis=1)

    won, weight = sums(np.asarray(pooled.share)), sums(np.asarray(pooled.mean))
    rows = []
    for s in np.flatnonzero(tiles).tolist():
        count, total = int(tiles[s]), float(weight[s].sum())
        for i, name in enumerate(distinct(names)):
            rows.append(
                {
                    "slide": slides[s],
                    "factor": name,
                    "tiles": count,
                    "positions": round(won[s, i] * positions),
                    "share": won[s, i] / count,
                    "share of weight": weight[s, i] / total if total > 0 else np.nan,
                    "mean": weight[s, i] / count,
                }
            )
        left = max(0.0, count - float(won[s].sum()))
        rows.append(
            {
                "slide": slides[s],
                "factor": "(background)",
                "tiles": count,
                "positions": round(left * positions),
                "share": left / count,
                "share of weight": np.nan,
                "mean": np.nan,
            }
        )
    columns = ["slide", "factor", "tiles", "positions", "share", "share of weight", "mean"]
    return pd.DataFrame(rows, columns=columns), {c: UNITS[c] for c in columns[2:]}


def distinct(names: Sequence[str]) -> list[str]:
    """Names as one line of text each, all different."""
    out: list[str] = []
    for i, name in enumerate(names):
        line = plain(name) or f"factor {i + 1}"
        base, count = line, 1
        while line in out:
            count += 1
            line = f"{base} ({count})"
        out.append(line)
    return out


def _checked(pooled: PooledWeights, names: Sequence[str]) -> tuple[int, int]:
    n, k = np.asarray(pooled.mean).shape
    if len(names) != k:
        raise InvalidInput(f"{len(names)} names were given for {k} factors.")
    return n, k
