"""Which tiles stand for a cluster, by a written rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import (
    Floats,
    Ints,
    as_matrix,
    check_count,
    check_finite,
    check_seed,
    choice,
    working,
)
from widgetkit.errors import BadActivations, InvalidInput

Rule = Literal["highest", "quantile", "one_per_source", "random", "medoid"]
RULES: tuple[str, ...] = get_args(Rule)

# Rows up to which the medoid is exact: all pairs of 2048 rows. Above, it is the row nearest the
# mean, which is where the sum of squared distances is least.
_MEDOID_ROWS = 2048


class Representatives(NamedTuple):
    """Row numbers, best first, and the sentence that says how they were chosen."""

    rows: Ints
    sentence: str


def representatives(
    weights: npt.ArrayLike,
    *,
    rule: Rule = "highest",
    count: int = 9,
    rows: npt.ArrayLike | None = None,
    embeddings: npt.ArrayLike | None = None,
    sources: npt.ArrayLike | None = None,
    seed: int = 0,
) -> Representatives:
    """Choose tiles that stand for a cluster or a selection.

    Parameters
    ----------
    weights : (n,) float
        Weight of every tile in the cluster (a column of NMF weights, minus the distance to a
        centre, a score). Not used by "random" and "medoid", but its length is ``n``.
    rule : {"highest", "quantile", "one_per_source", "random", "medoid"}
        "highest": largest weights first. "quantile": evenly spread over the ranks of the weights,
        from the largest to the smallest. "one_per_source": the largest weight of each source.
        "random": a seeded draw. "medoid": the tiles with the least mean distance to all others.
    count : int
        At most so many; fewer where there are fewer.
    rows : (m,) int or (n,) bool, optional
        The tiles to choose from; all by default.
    embeddings : (n, C) float
        For "medoid".
    sources : (n,) values
        For "one_per_source".
    seed : int
        For "random".

    Returns
    -------
    Representatives
        ``(rows, sentence)``; no rows when there is nothing to choose from. Ties go to the smaller
        row number.

    Raises
    ------
    InvalidInput
        Something the rule needs is not given or has another length.
    UnknownName
        No such rule.
    """
    choice(rule, RULES, "rule")
    count = check_count(count, "count")
    scores = np.asarray(weights, dtype=np.float64)
    if scores.ndim != 1:
        raise InvalidInput(f"weights have shape {scores.shape}; expected (n,), one a tile.")
    if np.isnan(scores).any():
        raise BadActivations(
            f"weights hold NaN, the first in row {int(np.flatnonzero(np.isnan(scores))[0])}."
        )
    task = _Task(scores, count, _pool(rows, len(scores)), embeddings, sources, check_seed(seed))
    if len(task.pool) == 0:
        return Representatives(task.pool, "There are no tiles to choose from.")
    chosen, sentence = _RULES[rule](task)
    return Representatives(chosen.astype(np.int64), f"{sentence} Chosen from {_tiles(task.pool)}.")


@dataclass(frozen=True)
class _Task:
    scores: npt.NDArray[np.float64]
    count: int
    pool: Ints
    embeddings: npt.ArrayLike | None
    sources: npt.ArrayLike | None
    seed: int

    @property
    def ranked(self) -> Ints:
        """The pool, largest weight first."""
        return self.pool[np.argsort(-self.scores[self.pool], kind="stable")]


def _tiles(rows: Ints) -> str:
    return "1 tile" if len(rows) == 1 else f"{len(rows)} tiles"


def _pool(rows: npt.ArrayLike | None, n: int) -> Ints:
    if rows is None:
        return np.arange(n)
    given = np.asarray(rows)
    if given.dtype == np.bool_ and given.shape == (n,):
        return np.flatnonzero(given)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise InvalidInput(
            f"rows must be row numbers or a mask of {n} tiles; got {given.dtype} of shape {given.shape}."
        )
    pool = np.unique(given.astype(np.int64))
    if len(pool) and (pool[0] < 0 or pool[-1] >= n):
        raise InvalidInput(f"rows reach from {pool[0]} to {pool[-1]}; there are {n} tiles.")
    return pool


def _highest(task: _Task) -> tuple[Ints, str]:
    chosen = task.ranked[: task.count]
    return chosen, f"The {_tiles(chosen)} with the largest weight, largest first."


def _quantile(task: _Task) -> tuple[Ints, str]:
    ranked = task.ranked
    m = min(task.count, len(ranked))
    at = np.round(np.linspace(0, len(ranked) - 1, m)).astype(int)
    return ranked[at], (
        f"{_tiles(at)} evenly spread over the ranks of the weight, from the largest to the smallest."
        if m > 1
        else "1 tile, the one with the largest weight."
    )


def _one_per_source(task: _Task) -> tuple[Ints, str]:
    if task.sources is None:
        raise InvalidInput("rule='one_per_source' needs sources=, one value a tile.")
    names = np.asarray(task.sources)
    if names.shape != task.scores.shape:
        raise InvalidInput(
            f"sources have shape {names.shape}; there are {len(task.scores)} weights."
        )
    ranked = task.ranked
    _, codes = np.unique(names[ranked].astype(str), return_inverse=True)
    first = np.sort(np.unique(codes, return_index=True)[1])
    chosen = ranked[first[: task.count]]
    shown = f"{len(chosen)} of {len(first)} sources" if len(first) > len(chosen) else "each source"
    return chosen, f"The tile with the largest weight of {shown}, largest first."


def _random(task: _Task) -> tuple[Ints, str]:
    m = min(task.count, len(task.pool))
    chosen = np.random.default_rng(task.seed).choice(task.pool, size=m, replace=False)
    return chosen, f"{_tiles(chosen)} drawn at random without replacement, seed {task.seed}."


def _medoid(task: _Task) -> tuple[Ints, str]:
    if task.embeddings is None:
        raise InvalidInput("rule='medoid' needs embeddings=, (n, C).")
    values = as_matrix(task.embeddings, "embeddings")
    if len(values) != len(task.scores):
        raise InvalidInput(
            f"embeddings have {len(values)} rows; there are {len(task.scores)} weights."
        )
    rows: Floats = working(values[task.pool])
    check_finite(rows, "embeddings")
    rows = rows - rows.mean(axis=0)
    lengths = np.einsum("nc,nc->n", rows, rows)
    if len(rows) <= _MEDOID_ROWS:
        squared = lengths[:, None] - 2 * (rows @ rows.T) + lengths
        np.fill_diagonal(squared, 0)
        cost = np.sqrt(np.maximum(squared, 0)).mean(axis=1)
        said = "the least mean distance to all others"
    else:
        cost, said = lengths, "the least distance to the mean of all"
    chosen = task.pool[np.argsort(cost, kind="stable")[: task.count]]
    return chosen, f"The {_tiles(chosen)} with {said} in the embeddings, least first."


_RULES: dict[str, Callable[[_Task], tuple[Ints, str]]] = {
    "highest": _highest,
    "quantile": _quantile,
    "one_per_source": _one_per_source,
    "random": _random,
    "medoid": _medoid,
}
