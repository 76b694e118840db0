"""How well scores tell classes apart, with intervals by group: for our models and the network's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import Floats, as_matrix, check_count, check_finite, check_seed
from widgetkit.analysis._columns import MISSING, Codes, codes, group_codes
from widgetkit.analysis._ranks import mean_ranks, rank_classes
from widgetkit.analysis.resampling import Counts, check_level, interval, resample, units_of
from widgetkit.errors import ChannelMismatch, InvalidInput, TooFew

if TYPE_CHECKING:
    import pandas as pd

# Classes of scores in the draws of the AUC; the estimate itself is exact.
_CLASSES, _CLASSES_MANY, _MANY_UNITS = 1024, 256, 500


@dataclass(frozen=True)
class Labels:
    """Classes of the rows that have one.

    Attributes
    ----------
    names : (K,) classes in order
    index : (n,) the class of each row; -1 without one
    note : how many rows have none, or ""
    """

    names: tuple[Any, ...]
    index: Codes
    note: str

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        return self.index >= 0

    @classmethod
    def of(cls, y: npt.ArrayLike, n: int, classes: Sequence[Any] | None) -> Labels:
        """Labels of ``n`` rows.

        Parameters
        ----------
        y : (n,) of any type
            Missing values have no class. With ``classes`` of text whole numbers are positions in it.
        n : int
        classes : sequence, optional
            All classes in order; those found, ascending, by default.

        Raises
        ------
        InvalidInput
            Another length, a label that is none of the classes, classes twice.
        """
        column = np.asarray(y)
        if column.shape != (n,):
            raise InvalidInput(
                f"y must hold one label a row, shape ({n},); got {column.dtype} of shape "
                f"{column.shape}."
            )
        found, index = codes(column)
        texts = [str(value) for value in found]
        where = {text: at for at, text in enumerate(texts) if text != MISSING}
        if classes is None:
            names = tuple(
                value.item() if isinstance(value, np.generic) else value
                for value in found
                if str(value) != MISSING
            )
            places = {text: at for at, text in enumerate(where)}
        else:
            names = tuple(classes)
            places = {str(name): at for at, name in enumerate(names)}
            if len(places) < len(names):
                raise InvalidInput(f"classes holds a name twice: {names!r}.")
            if column.dtype.kind in "iu" and all(isinstance(name, str) for name in names):
                places = {str(at): at for at in range(len(names))} | {
                    text: at for text, at in places.items() if text in where
                }
            unknown = [text for text in where if text not in places]
            if unknown:
                raise InvalidInput(
                    f"{len(unknown)} label(s) of y are none of the classes, e.g. {unknown[0]!r}. "
                    f"Classes: {', '.join(map(repr, names))}. Leave these rows out or name them."
                )
        lookup = np.array([places.get(text, -1) for text in texts] or [-1], np.intp)
        own = lookup[index] if n else np.zeros(0, np.intp)
        lost = int((own < 0).sum())
        note = f"{lost} of {n} rows have no label and were left out." if lost else ""
        return cls(names, own, note)


def prediction_report(
    scores: npt.ArrayLike,
    y: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    classes: Sequence[Any] | None = None,
    threshold: float = 0.5,
    n_boot: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """AUC, accuracy, sensitivity and specificity of scores, with intervals by group.

    For a network's own output, beside :func:`~widgetkit.analysis.grouped_prediction`.

    Parameters
    ----------
    scores : (n,) or (n, classes) float
        One column: the score of the second class, which is the positive one. Two columns: only the
        second counts. More: the largest decides.
    y : (n,) of any type
        Labels. Rows without one are left out. Whole numbers are positions in ``classes`` where
        those are text.
    groups : (n,)
        Slide or patient, drawn whole for the interval; with fewer than three, blocks of
        neighbouring rows are, and the note says so.
    classes : sequence, optional
        All classes in the order of the columns; those found in ``y``, ascending, by default.
    threshold : float
        With two classes: positive from this score on. Does not touch the AUC.
    n_boot, seed, level
        As :func:`~widgetkit.analysis.correlation`.

    Returns
    -------
    DataFrame
        ``measure`` ("AUC", "accuracy", "balanced accuracy", "sensitivity", "specificity"), ``of``
        (the class; "" for all), ``value``, ``low``, ``high``, ``n``, ``groups``, ``note``. With more
        than two classes the AUC of all is the mean of each class against the rest, and AUC,
        sensitivity and specificity of each class follow.

    Raises
    ------
    InvalidInput
        Lengths that differ, labels that are none of the classes.
    ChannelMismatch
        Another number of columns than classes.
    TooFew
        Fewer than two classes, or no row with a label.
    BadActivations
        NaN or infinity in the scores.

    References
    ----------
    Hanley & McNeil (1982), the AUC as the share of pairs in the right order. Hand & Till (2001).
    """
    given = np.asarray(scores)
    table = as_matrix(given[:, None] if given.ndim == 1 else given, "scores").astype(np.float64)
    check_finite(table, "scores")
    labels = Labels.of(y, len(table), classes)
    if len(labels.names) < 2:
        raise TooFew(
            f"There is {len(labels.names)} class in y. Telling classes apart needs two; name all "
            "with classes= when y happens to hold one only."
        )
    if table.shape[1] not in ({1, 2} if len(labels.names) == 2 else {len(labels.names)}):
        raise ChannelMismatch(
            f"scores have {table.shape[1]} column(s) for {len(labels.names)} classes."
        )
    names, owner = group_codes(groups, len(table))
    if len(labels.names) == 2:
        decided = (table[:, -1] >= float(threshold)).astype(np.intp)
        table = np.stack([-table[:, -1], table[:, -1]], axis=1)
    else:
        decided = table.argmax(axis=1)
    return measures(
        table, decided, labels, owner, len(names), n_boot=n_boot, seed=seed, level=level
    )


def measures(
    scores: Floats,
    decided: Codes,
    labels: Labels,
    owner: Codes,
    groups: int,
    *,
    n_boot: int,
    seed: int,
    level: float,
) -> pd.DataFrame:
    """The table of :func:`prediction_report` from checked values.

    Parameters
    ----------
    scores : (n, K) one column a class, larger = more likely
    decided : (n,) the class decided for
    labels, owner : the class and the group of each row
    """
    import pandas as pd

    n_boot, seed = check_count(n_boot, "n_boot", least=0), check_seed(seed)
    level = check_level(level)
    known = labels.known
    if not known.any():
        raise TooFew("No row has a label.")
    scores, decided, truth = scores[known], decided[known], labels.index[known]
    present, owner = np.unique(owner[known], return_inverse=True)
    units = units_of(owner, len(present))
    K, count = len(labels.names), max(units.count, 1)
    confusion = np.zeros((count, K, K))
    np.add.at(confusion, (units.codes, truth, decided), 1)
    curves = [_Auc(scores[:, c], truth == c, units.codes, count) for c in range(K)]

    def all_of(counts: Counts) -> Floats:
        of_draw = np.tensordot(counts, confusion, axes=1)
        return _row(np.stack([curve.drawn(counts) for curve in curves], axis=1), of_draw)

    value = _row(np.array([[curve.value for curve in curves]]), confusion.sum(axis=0)[None])[0]
    low = high = np.full(value.shape, np.nan)
    missed = np.zeros(value.shape)
    if n_boot and units.usable:
        drawn = resample(all_of, units.count, n_boot, seed)
        low, high = interval(drawn, units.count, level)
        missed = 1 - np.isfinite(drawn).mean(axis=0)
    shown = _shown(labels.names)
    rows = []
    for measure, of, at in shown:
        said = [labels.note, units.note if n_boot else ""]
        if not np.isfinite(value[at]):
            said.insert(0, "Not defined: a class has no row.")
        elif missed[at] > 0.05:
            said.insert(
                0, f"{missed[at]:.0%} of the draws held no row of a class and were left out."
            )
        rows.append(
            {
                "measure": measure,
                "of": of,
                "value": float(value[at]),
                "low": float(low[at]) if np.isfinite(value[at]) else np.nan,
                "high": float(high[at]) if np.isfinite(value[at]) else np.nan,
                "n": len(truth),
                "groups": len(present),
                "note": " ".join(filter(None, said)),
            }
        )
    return pd.DataFrame(rows)


class _Auc:
    """Area under the ROC curve of one class against the rest.

    Exact for all rows. In draws the scores are in classes of equal size (ties stay together), whose
    counts add up; what that costs for all rows is put back.
    """

    def __init__(self, score: Floats, positive: npt.NDArray[np.bool_], unit: Codes, units: int):
        ranks = mean_ranks(score[:, None], np.zeros(len(score), np.bool_))[:, 0]
        n1 = int(positive.sum())
        n0 = len(positive) - n1
        # the mean rank of the positives, taken from the middle (Mann & Whitney 1947)
        self.value = (
            float(0.5 + ranks[positive].sum() * len(score) / (n1 * n0)) if n1 and n0 else np.nan
        )
        classes = _CLASSES if units <= _MANY_UNITS else _CLASSES_MANY
        flat = unit * classes + rank_classes(ranks, classes)
        self._tables = [
            np.bincount(flat[side], minlength=units * classes)
            .reshape(units, classes)
            .astype(np.float64)
            for side in (positive, ~positive)
        ]
        self._shift = 0.0
        if n1 and n0:
            self._shift = self.value - float(self.drawn(np.ones((1, units)))[0])

    def drawn(self, counts: Counts) -> Floats:
        """(draws,) AUC with units counted ``counts`` (draws, units) times."""
        above, below = (counts @ table for table in self._tables)
        pairs = above.sum(axis=1) * below.sum(axis=1)
        right = (above * (np.cumsum(below, axis=1) - below / 2)).sum(axis=1)
        found = np.where(pairs > 0, right / np.where(pairs > 0, pairs, 1), np.nan)
        return np.clip(found + self._shift, 0, 1)


def _row(auc: Floats, confusion: Floats) -> Floats:
    """(draws, 3 + 3 K): AUC, accuracy, balanced accuracy; AUC, sensitivity, specificity by class.

    ``auc`` (draws, K), ``confusion`` (draws, K, K) by truth and decision.
    """
    total = confusion.sum(axis=(1, 2))
    hits = np.einsum("bkk->bk", confusion)
    actual, said = confusion.sum(axis=2), confusion.sum(axis=1)
    sensitivity = _ratio(hits, actual)
    rest = total[:, None] - actual
    specificity = _ratio(rest - (said - hits), rest)
    return np.concatenate(
        [
            auc.mean(axis=1, keepdims=True),
            _ratio(hits.sum(axis=1), total)[:, None],
            sensitivity.mean(axis=1, keepdims=True),
            auc,
            sensitivity,
            specificity,
        ],
        axis=1,
    )


def _shown(names: tuple[Any, ...]) -> list[tuple[str, Any, int]]:
    """Measure, class and column of :func:`_row` of each line of the table."""
    K = len(names)
    lines: list[tuple[str, Any, int]] = [
        ("AUC", names[1] if K == 2 else "", 4 if K == 2 else 0),
        ("accuracy", "", 1),
        ("balanced accuracy", "", 2),
    ]
    for c in range(1 if K == 2 else 0, K):
        if K > 2:
            lines.append(("AUC", names[c], 3 + c))
        lines += [
            ("sensitivity", names[c], 3 + K + c),
            ("specificity", names[c], 3 + 2 * K + c),
        ]
    return lines


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)
