"""How many factors: error, stability, prediction for each number, and a recommendation."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import (
    Floats,
    Ints,
    as_matrix,
    check_count,
    check_seed,
    choice,
    sample_rows,
    working,
)
from widgetkit.analysis._columns import Codes, group_codes
from widgetkit.analysis._hooks import Cancel, Progress, checkpoint
from widgetkit.analysis._nonnegative import RULES, NonNegative, Rule
from widgetkit.analysis.consensus import cophenetic
from widgetkit.analysis.factor_distance import amari_distance, matched_cosine
from widgetkit.analysis.held_out import held_out_error
from widgetkit.analysis.nmf import NMF
from widgetkit.analysis.nnls import nnls
from widgetkit.analysis.prediction import grouped_prediction
from widgetkit.analysis.recommendation import recommend
from widgetkit.analysis.stability import label_agreement
from widgetkit.errors import InvalidInput, TooFew

if TYPE_CHECKING:
    import pandas as pd

#: Rows every fit is made on, at the most: there are about fifteen fits for each k.
CHOICE_ROWS = 5_000

# Random halves of the slides, and rows averaged into one factor of a random start.
_HALVES = 3
_ROWS_OF_A_START = 5

Run = Callable[[], None]


@dataclass(frozen=True)
class KChoice:
    """What :func:`choose_k` found.

    Attributes
    ----------
    table : DataFrame
        One row a ``k``; the columns are listed at :func:`choose_k`.
    recommended : int
    reasons : in plain words, one sentence each
    rows : rows the fits were made on
    seed : int
    preparation : what was done with negative values
    """

    table: pd.DataFrame = field(repr=False)
    recommended: int
    reasons: tuple[str, ...]
    rows: int
    seed: int
    preparation: str

    def explain(self) -> str:
        """The recommendation and its reasons, one line each."""
        return "\n".join(
            [f"Recommended: {self.recommended} factors.", *(f"- {said}" for said in self.reasons)]
        )


def choose_k(
    X: npt.ArrayLike,
    ks: Sequence[int],
    *,
    groups: npt.ArrayLike | None = None,
    seeds: int = 5,
    y: npt.ArrayLike | None = None,
    tile: npt.ArrayLike | None = None,
    classes: Sequence[Any] | None = None,
    seed: int = 0,
    sample: int = CHOICE_ROWS,
    nonnegative: Rule = "error",
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> KChoice:
    """Measures of NMF with each number of factors, and a recommendation with its reasons.

    The rule, in this order (:mod:`~widgetkit.analysis.recommendation`):

    1. *Enough*: the smallest ``k`` that explains, of values it has not seen, at least 99 % of what
       the best one does (``1 - held_out**2``). More factors describe these rows better, but say
       little more about others.
    2. *Stable*: up to there, the numbers whose factors come back from other starts (mean matched
       cosine at least 0.9) and from other halves of the slides (at least 0.8).
    3. The largest stable number; the most stable one if none is. With labels, numbers whose AUC
       misses the interval of the best stable one are left out before.

    It is a recommendation: what the factors show decides.

    Parameters
    ----------
    X : (p, C) float
        One row a position, from many tiles and slides.
    ks : sequence of int
        Numbers of factors to compare, at most the rank of ``X``.
    groups : (p,), optional
        Slide or patient of each row. Without it nothing is said about slides.
    seeds : int
        Random starts, at least two.
    y : (p,), optional
        Class of each row, one a tile; needs ``groups``.
    tile : (p,), optional
        Tile of each row: mean and maximum weight of each factor in a tile predict its class. By
        default each row is a tile of its own.
    classes : sequence, optional
        As in :func:`~widgetkit.analysis.grouped_prediction`.
    seed : int
    sample : int
        Rows that the fits are made on at the most, drawn at random. Weights for the prediction are
        of all rows.
    nonnegative : {"error", "shift", "clip", "split"}
        As in :class:`~widgetkit.analysis.NMF`.
    progress, cancel : callable, optional
        Between fits.

    Returns
    -------
    KChoice
        Its table has ``k``; ``error`` (relative, of the rows fitted to) and ``gain`` (by how much of
        it the step from the ``k`` before lowered it); ``held_out`` (relative error of values not
        seen); ``seeds`` (mean matched cosine of all pairs of starts), ``amari`` (their mean distance),
        ``agreement`` (adjusted Rand index of who wins a row), ``cophenetic`` (of the consensus of
        these); ``slides`` (mean matched cosine of fits to two halves of the slides); ``auc``,
        ``auc_low``, ``auc_high``; ``seconds``. NaN where something cannot be said.

    Raises
    ------
    InvalidInput
        A ``k`` above the rank (which is named), labels without groups, a tile with two classes or
        in two groups.
    TooFew
        Fewer rows than factors.
    BadActivations, Cancelled

    References
    ----------
    Owen & Perry (2009), bi-cross-validation, Annals of Applied Statistics 3. Brunet et al. (2004),
    consensus and cophenetic correlation, PNAS 101. Wu et al. (2016), stability over starts, PNAS 113.
    """
    import pandas as pd

    numbers = _numbers(ks)
    starts, seed = check_count(seeds, "seeds", least=2), check_seed(seed)
    values = as_matrix(X)
    if numbers[-1] > len(values):
        raise TooFew(f"ks holds {numbers[-1]}, but X has {len(values)} rows.")
    owner = None if groups is None else group_codes(groups, len(values))[1]
    chosen = sample_rows(len(values), max(check_count(sample, "sample"), numbers[-1]), seed)
    rule, rows = NonNegative.learn(
        working(values[chosen]),
        choice(nonnegative, RULES, "nonnegative"),  # type: ignore[arg-type]
    )
    _refuse_beyond_the_rank(rows, numbers)
    labelled = None
    if y is not None:
        labelled = _Labelled.of(values, rule, y, owner, tile, classes, seed)

    halves = _halves(None if owner is None else owner[chosen], seed)
    total = len(numbers) * (starts + 2 + len(halves) + (labelled is not None))
    done = 0

    def step() -> None:
        nonlocal done
        checkpoint(cancel, progress, done, total)
        done += 1

    found: list[dict[str, float]] = []
    for k in numbers:
        began = time.perf_counter()
        line: dict[str, float] = {"k": k}
        step()
        model = NMF(k, random_state=seed, max_rows=None).fit(rows, cancel=cancel)
        line["error"] = model.relative_err_
        line["gain"] = (
            1 - line["error"] / found[-1]["error"] if found and found[-1]["error"] else np.nan
        )
        step()
        line["held_out"] = held_out_error(rows, k, seed, cancel=cancel)
        line |= _over_starts(rows, k, starts, seed, step, cancel)
        line["slides"] = _over_halves(rows, halves, k, seed, step, cancel)
        line |= {"auc": np.nan, "auc_low": np.nan, "auc_high": np.nan}
        if labelled is not None:
            step()
            line |= labelled.score(model.components_, cancel)
        line["seconds"] = time.perf_counter() - began
        found.append(line)
    checkpoint(cancel, progress, total, total)
    table = pd.DataFrame(found).astype({"k": int})
    best, reasons = recommend(table)
    said = list(reasons)
    if len(rows) < len(values):
        said.append(
            f"Fits were made on {len(rows)} of {len(values)} rows, drawn at random (seed {seed})."
        )
    if not halves:
        said.append(
            "Without at least two slides nothing can be said about other slides."
            if owner is not None
            else "No groups were given: nothing can be said about other slides."
        )
    if rule.share:
        said.append(rule.sentence)
    return KChoice(table, best, tuple(said), len(rows), seed, rule.sentence)


def _numbers(ks: Sequence[int]) -> list[int]:
    numbers = sorted({check_count(k, "each of ks") for k in ks})
    if not numbers:
        raise InvalidInput(
            "ks is empty: give the numbers of factors to compare, e.g. range(2, 11)."
        )
    return numbers


def _refuse_beyond_the_rank(rows: Floats, numbers: list[int]) -> None:
    sizes = np.linalg.svd(rows.astype(np.float64), compute_uv=False)
    # what the precision of the activations can tell from 0
    rank = int((sizes > sizes[0] * max(rows.shape) * np.finfo(rows.dtype).eps).sum())
    beyond = [k for k in numbers if k > rank]
    if beyond:
        raise InvalidInput(
            f"ks holds {', '.join(map(str, beyond))}, but the {len(rows)} rows of {rows.shape[1]} "
            f"channels have rank {rank}: more factors than that cannot be told apart. Compare "
            f"numbers up to {rank}, or use more rows."
        )


def _start(rows: Floats, k: int, seed: int) -> Floats:
    """Means of a few random rows each: NMF's own start is by SVD, much the same for every seed."""
    generator = np.random.default_rng(seed)
    drawn = generator.integers(len(rows), size=(k, _ROWS_OF_A_START))
    # a value of exactly 0 in a start stays 0 for long
    found: Floats = rows[drawn].mean(axis=1) + rows.mean() * rows.dtype.type(0.01)
    return found


def _over_starts(
    rows: Floats,
    k: int,
    starts: int,
    seed: int,
    step: Run,
    cancel: Cancel | None,
) -> dict[str, float]:
    factors, labels = [], []
    for at in range(starts):
        step()
        model = NMF(k, random_state=seed, max_rows=None)
        weights = model.fit_transform(rows, H=_start(rows, k, seed + at), cancel=cancel)
        factors.append(model.components_)
        labels.append(np.where(weights.max(axis=1) > 0, weights.argmax(axis=1), -1))
    pairs = list(combinations(range(starts), 2))
    return {
        "seeds": float(np.mean([matched_cosine(factors[a], factors[b]) for a, b in pairs])),
        "amari": float(np.mean([amari_distance(factors[a], factors[b]) for a, b in pairs])),
        "agreement": float(np.mean([label_agreement(labels[a], labels[b]) for a, b in pairs])),
        "cophenetic": cophenetic(labels, seed=seed) if len(rows) >= 3 else np.nan,
    }


def _halves(owner: Codes | None, seed: int) -> list[tuple[Ints, Ints]]:
    """Rows of two halves of the slides, several times; empty with fewer than two slides."""
    if owner is None:
        return []
    present = np.unique(owner)
    if len(present) < 2:
        return []
    generator = np.random.default_rng(seed)
    found: list[tuple[Ints, Ints]] = []
    seen: set[frozenset[int]] = set()
    for _ in range(_HALVES):
        one = generator.permutation(present)[: len(present) // 2]
        inside = np.isin(owner, one)
        key = frozenset(one.tolist())
        if key in seen or frozenset(set(present.tolist()) - key) in seen:
            continue
        seen.add(key)
        found.append((np.flatnonzero(inside), np.flatnonzero(~inside)))
    return found


def _over_halves(
    rows: Floats,
    halves: list[tuple[Ints, Ints]],
    k: int,
    seed: int,
    step: Run,
    cancel: Cancel | None,
) -> float:
    cosines = []
    for one, other in halves:
        step()
        if min(len(one), len(other)) < k:
            continue
        first, second = (
            NMF(k, random_state=seed, max_rows=None).fit(rows[half], cancel=cancel).components_
            for half in (one, other)
        )
        cosines.append(matched_cosine(first, second))
    return float(np.mean(cosines)) if cosines else float("nan")


@dataclass(frozen=True)
class _Labelled:
    """Tiles with a class, and how to get their weights."""

    values: Floats
    rule: NonNegative
    tile: Codes
    first: Ints
    y: npt.NDArray[Any]
    groups: Codes
    classes: Sequence[Any] | None
    seed: int
    single: bool

    @classmethod
    def of(
        cls,
        values: Floats,
        rule: NonNegative,
        y: npt.ArrayLike,
        owner: Codes | None,
        tile: npt.ArrayLike | None,
        classes: Sequence[Any] | None,
        seed: int,
    ) -> _Labelled:
        n = len(values)
        if owner is None:
            raise InvalidInput(
                "y needs groups: a prediction is only worth something on slides not learned from."
            )
        labels = np.asarray(y)
        if labels.shape != (n,):
            raise InvalidInput(f"y must hold one label a row, shape ({n},); got {labels.shape}.")
        which = np.arange(n) if tile is None else group_codes(tile, n, "tile")[1]
        _, first, which = np.unique(which, return_index=True, return_inverse=True)
        for name, column in (("class", labels.astype(str)), ("group", owner)):
            torn = len(np.unique(which[column != column[first][which]]))
            if torn:
                raise InvalidInput(f"{torn} tile(s) have more than one {name}.")
        found = cls(
            values, rule, which, first, labels[first], owner[first], classes, seed, tile is None
        )
        # what cannot be predicted is refused before hours of fits, not after
        grouped_prediction(
            np.zeros((len(first), 1)), found.y, found.groups, classes=classes, n_boot=0, seed=seed
        )
        return found

    def score(self, factors: Floats, cancel: Cancel | None) -> dict[str, float]:
        weights = np.concatenate(
            [
                nnls(
                    self.rule.apply(working(self.values[at : at + 65536]), first_row=at),
                    factors,
                    cancel=cancel,
                )
                for at in range(0, len(self.values), 65536)
            ]
        ).astype(np.float64)
        features = (
            weights[self.first] if self.single else _pooled(weights, self.tile, len(self.first))
        )
        found = grouped_prediction(
            features, self.y, self.groups, classes=self.classes, seed=self.seed, cancel=cancel
        ).table.iloc[0]
        return {
            "auc": float(found["value"]),
            "auc_low": float(found["low"]),
            "auc_high": float(found["high"]),
        }


def _pooled(weights: Floats, tile: Codes, tiles: int) -> Floats:
    """(tiles, 2 k): mean and maximum of the rows of each tile."""
    order = np.argsort(tile, kind="stable")
    sizes = np.bincount(tile, minlength=tiles)
    starts = np.cumsum(sizes) - sizes
    total = np.add.reduceat(weights[order], starts, axis=0)
    return np.concatenate(
        [total / sizes[:, None], np.maximum.reduceat(weights[order], starts, axis=0)], axis=1
    )
