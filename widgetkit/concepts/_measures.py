"""How well scores and decisions tell images with a concept from those without, also in draws of patients."""

from __future__ import annotations

import numpy as np

from widgetkit.analysis._columns import Codes
from widgetkit.analysis.resampling import Counts
from widgetkit.concepts._labels import Array, Mask

#: What is measured, in the order of the columns of :meth:`Measures.value`.
MEASURES = ("AUC", "average precision", "PPV", "sensitivity", "specificity")

# Different scores up to which draws are exact; above, scores are in classes of equal size whose counts add up.
_CLASSES, _CLASSES_MANY, _MANY_UNITS = 1024, 256, 500


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
        _, ranks = np.unique(score, return_inverse=True)
        most = _CLASSES if units <= _MANY_UNITS else _CLASSES_MANY
        exact = int(ranks.max(initial=-1)) + 1
        classes, grouped = exact, ranks
        if exact > most:
            # classes of equal size by rank, ties together
            places = np.cumsum(np.bincount(ranks))
            grouped, classes = (places * most // (len(ranks) + 1))[ranks], most
        self._tables = [
            _table(unit[side], grouped[side], units, classes) for side in (truth, ~truth)
        ]
        cells = (2 * truth + decided).astype(np.intp)
        self._cells = _table(unit, cells, units, 4)
        if self.n:
            own = [np.bincount(ranks[side], minlength=exact)[None] for side in (truth, ~truth)]
            everything = np.ones((1, units))
            self._values[:2] = _curves(*(side.astype(np.float64) for side in own))[0]
            self._values[2:] = decisions(everything @ self._cells)[0]
            # what classes cost at the estimate itself is put back into the draws
            here = _curves(*(everything @ table for table in self._tables))[0]
            self._shift = self._values[:2] - here

    @property
    def value(self) -> Array:
        """(measures,); NaN where there is no image with, or without, the concept."""
        return self._values

    def drawn(self, counts: Counts) -> Array:
        """(draws, measures) with units counted ``counts`` (draws, units) times."""
        if not self.n:
            return np.full((len(counts), len(MEASURES)), np.nan)
        curves = np.clip(_curves(*(counts @ table for table in self._tables)) + self._shift, 0, 1)
        return np.concatenate([curves, decisions(counts @ self._cells)], axis=1)

    def cells(self, counts: Counts) -> Array:
        """(draws, 4) images without it and not said, without and said, with and not said, with and said."""
        found: Array = counts @ self._cells
        return found


def _table(unit: Codes, column: Codes, units: int, columns: int) -> Array:
    flat = np.bincount(unit * columns + column, minlength=units * columns)
    return flat.reshape(units, columns).astype(np.float64)


def _curves(above: Array, below: Array) -> Array:
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
