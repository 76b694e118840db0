"""How well scores and decisions tell images with a concept from those without, also in draws of patients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from widgetkit.analysis._columns import Codes
from widgetkit.analysis.resampling import Counts
from widgetkit.concepts._labels import Array, Mask

#: What is measured, in the order of the columns of :meth:`Measures.value`.
MEASURES = ("AUC", "average precision", "PPV", "sensitivity", "specificity")

# Different scores up to which draws are exact; above, scores are in classes of equal size whose counts add up.
_CLASSES, _CLASSES_MANY, _MANY_UNITS = 1024, 256, 500


class Ranking:
    """Rows of two kinds by a score, counted by unit, so that draws of units are sums.

    Parameters
    ----------
    score : (m,) float, finite
    truth : (m,) bool
    unit : (m,) int
        What is drawn, below ``units``.

    Attributes
    ----------
    exact : two (1, different scores) counts of the rows with and without ``truth``, by ascending score
    """

    def __init__(self, score: Array, truth: Mask, unit: Codes, units: int) -> None:
        most = _CLASSES if units <= _MANY_UNITS else _CLASSES_MANY
        _, ranks = np.unique(score, return_inverse=True)
        different = int(ranks.max(initial=-1)) + 1
        classes, grouped = different, ranks
        if different > most:
            # classes of equal size by rank, ties together
            places = np.cumsum(np.bincount(ranks))
            grouped, classes = (places * most // (len(ranks) + 1))[ranks], most
        sides = truth, ~truth
        self._tables = [table(unit[side], grouped[side], units, classes) for side in sides]
        zero = np.zeros(len(score), np.intp)
        self.exact = [table(zero[side], ranks[side], 1, different) for side in sides]
        self._everything = [part.sum(axis=0)[None] for part in self._tables]

    def value(self, statistic: Callable[[Array, Array], Array]) -> Array:
        """``statistic`` of all rows, (measures,)."""
        found: Array = statistic(*self.exact)[0]
        return found

    def drawn(self, statistic: Callable[[Array, Array], Array], counts: Counts) -> Array:
        """(draws, measures) with units counted ``counts`` (draws, units) times.

        What classes of scores cost at the estimate itself is put back.
        """
        shift = statistic(*self.exact) - statistic(*self._everything)
        found: Array = statistic(*(counts @ part for part in self._tables)) + shift
        return np.clip(found, 0, 1)


class Measures:
    """Of one concept.

    Parameters
    ----------
    score : (m,) float
        Larger = more surely there; NaN where nothing is known.
    decided : (m,) bool
        Said to be there.
    truth, known : (m,) bool
        It is there; it is labelled.
    unit : (m,) int
        What is drawn (the patient), below ``units``.
    """

    def __init__(
        self, score: Array, decided: Mask, truth: Mask, known: Mask, unit: Codes, units: int
    ) -> None:
        use = known & np.isfinite(score)
        score, decided, truth, unit = score[use], decided[use], truth[use], unit[use]
        self.n, self.positive = int(use.sum()), int(truth.sum())
        self.unscored = int((known & ~use).sum())
        self.patients = len(np.unique(unit))
        self._values = np.full(len(MEASURES), np.nan)
        self._ranking = Ranking(score, truth, unit, units)
        self._cells = table(unit, (2 * truth + decided).astype(np.intp), units, 4)
        if self.n:
            self._values[:2] = self._ranking.value(curves)
            self._values[2:] = decisions(self._cells.sum(axis=0)[None])[0]

    @property
    def value(self) -> Array:
        """(measures,); NaN where there is no image with, or without, the concept."""
        return self._values

    def drawn(self, counts: Counts) -> Array:
        """(draws, measures) with units counted ``counts`` (draws, units) times."""
        if not self.n:
            return np.full((len(counts), len(MEASURES)), np.nan)
        ranked = self._ranking.drawn(curves, counts)
        return np.concatenate([ranked, decisions(counts @ self._cells)], axis=1)

    def cells(self, counts: Counts) -> Array:
        """(draws, 4) images without it and not said, without and said, with and not said, with and said."""
        found: Array = counts @ self._cells
        return found


def table(unit: Codes, column: Codes, units: int, columns: int) -> Array:
    """(units, columns) how many rows of each unit are of each column."""
    flat = np.bincount(unit * columns + column, minlength=units * columns)
    return flat.reshape(units, columns).astype(np.float64)


def curves(above: Array, below: Array) -> Array:
    """(draws, 2) AUC and average precision from counts (draws, classes) by ascending score.

    ``above`` counts images with the concept, ``below`` those without; images of one class are ties.
    """
    pairs = above.sum(axis=1) * below.sum(axis=1)
    right = (above * (np.cumsum(below, axis=1) - below / 2)).sum(axis=1)
    auc = np.where(pairs > 0, right / np.where(pairs > 0, pairs, 1), np.nan)
    # precision among the images from a score on, taken where recall rises
    hits = np.cumsum(above[:, ::-1], axis=1)[:, ::-1]
    said = hits + np.cumsum(below[:, ::-1], axis=1)[:, ::-1]
    precision = hits / np.where(said > 0, said, 1)
    total = above.sum(axis=1)
    average = (above * precision).sum(axis=1) / np.where(total > 0, total, 1)
    return np.stack([auc, np.where(pairs > 0, average, np.nan)], axis=1)


def decisions(cells: Array) -> Array:
    """(draws, 3) PPV, sensitivity, specificity from counts as of :meth:`Measures.cells`.

    NaN where nothing was said, or there is none.
    """
    rest, false, missed, right = cells.T
    parts = np.stack([right, right, rest], axis=1)
    whole = np.stack([right + false, right + missed, rest + false], axis=1)
    return np.where(whole > 0, parts / np.where(whole > 0, whole, 1), np.nan)
