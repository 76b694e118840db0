"""How well concepts can be read from activations, on patients not seen, beside what explains nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import as_matrix, check_count, check_seed
from widgetkit.analysis._columns import Codes
from widgetkit.analysis._hooks import Cancel, Progress, checkpoint
from widgetkit.analysis.resampling import Counts, Units, check_level, interval, resample, units_of
from widgetkit.concepts._base import ConceptEstimator, HeldOut, Training, checked_folds
from widgetkit.concepts._labels import ALL, Array, Examples, Mask, concept_number
from widgetkit.concepts._measures import MEASURES, Measures, decisions
from widgetkit.concepts.folds import divide
from widgetkit.errors import ChannelMismatch, InvalidInput, UnknownName, near

if TYPE_CHECKING:
    import pandas as pd

#: Controls in the order of the columns.
CONTROLS = ("permuted", "random_weights", "pixels")


@dataclass(frozen=True)
class ConceptReport:
    """What :func:`concept_report` found.

    Attributes
    ----------
    table : DataFrame
        One row an estimator, concept and measure: ``estimator``, ``concept`` ("(all)" for all of them),
        ``measure`` ("AUC", "average precision", "PPV", "sensitivity", "specificity"), ``value``, ``low``,
        ``high``, a column for each control, ``n`` (labelled images), ``positive`` (of these with the concept),
        ``patients``, ``note``. Of all concepts, AUC, average precision are means over concepts; the others
        count all decisions together.
    scores : dict of estimator to (images, F)
        Held out; NaN where a concept could not be learned.
    present : dict of estimator to (images, F) bool
    folds : (images,) the fold each image was scored in
    names : (F,) concepts
    note : what the reader has to know of all of it, or ""
    """

    table: pd.DataFrame
    scores: dict[str, Array] = field(repr=False)
    present: dict[str, Mask] = field(repr=False)
    folds: Codes = field(repr=False)
    names: tuple[str, ...]
    note: str

    def of(self, measure: str = "AUC", estimator: str | None = None) -> pd.DataFrame:
        """Rows of one measure and estimator (the first by default), worst concept first."""
        if measure not in MEASURES:
            raise UnknownName(f"There is no measure {measure!r}. {near(measure, MEASURES)}")
        wanted = self._estimator(estimator)
        rows = self.table[
            (self.table["measure"] == measure)
            & (self.table["estimator"] == wanted)
            & (self.table["concept"] != ALL)
        ]
        return rows.sort_values("value", kind="stable").reset_index(drop=True)

    def concept(self, name: str) -> pd.DataFrame:
        """Rows of one concept."""
        concept_number(self.names, name)
        return self.table[self.table["concept"] == name].reset_index(drop=True)

    def struggles(self, estimator: str | None = None) -> list[str]:
        """Concepts whose AUC is not above one half, or not above that of a control, by its interval.

        Worst first; concepts that could not be measured come last.
        """
        rows = self.of("AUC", estimator)
        controls = [name for name in CONTROLS if name in rows and name != "permuted"]
        limit = np.fmax(0.5, rows[controls].max(axis=1)) if controls else 0.5
        below = ~(rows["low"].fillna(rows["value"]) > limit)
        return rows["concept"][below].tolist()

    def sentences(self, estimator: str | None = None) -> list[str]:
        """What is in it, in words."""
        wanted = self._estimator(estimator)
        rows = self.of("AUC", wanted)
        measured = rows[rows["value"].notna()]
        said = []
        if len(measured):
            best, worst = measured.iloc[-1], measured.iloc[0]
            said.append(
                f"{wanted}: {best['concept']} is read best (AUC {_with_interval(best)}), "
                f"{worst['concept']} worst ({_with_interval(worst)})."
            )
        hard = [name for name in self.struggles(wanted) if name in set(measured["concept"])]
        if hard:
            said.append(f"Not above chance or a control: {', '.join(hard)}.")
        lost = rows["concept"][rows["value"].isna()].tolist()
        if lost:
            said.append(f"Could not be measured: {', '.join(lost)}.")
        return [*said, self.note] if self.note else said

    def _estimator(self, name: str | None) -> str:
        if name is None:
            return next(iter(self.scores))
        if name not in self.scores:
            raise UnknownName(f"There is no estimator {name!r}. {near(name, self.scores)}")
        return name


def concept_report(
    estimators: ConceptEstimator | Mapping[str, ConceptEstimator],
    X: npt.ArrayLike,
    Y: object,
    patients: npt.ArrayLike | None = None,
    *,
    images: npt.ArrayLike | None = None,
    names: Sequence[str] | None = None,
    controls: Sequence[str] = CONTROLS,
    random_weights: npt.ArrayLike | None = None,
    pixels: npt.ArrayLike | None = None,
    folds: int | npt.ArrayLike = 5,
    n_boot: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> ConceptReport:
    """AUC, average precision, PPV and sensitivity of each concept, on patients not learned from.

    Every image is scored by an estimator that has seen no image of its patient. Controls are the same estimator
    where it should find nothing, or no more than the images give away: with labels dealt out anew,
    on activations of the network with random weights, on the pixels.

    Parameters
    ----------
    estimators : estimator, or mapping of names to estimators
    X : (n, d) float
        Activations, one row an image or an augmentation.
    Y : (n, F) array or table, (n,), or mapping of names to examples
        As of the estimators' ``fit``.
    patients : (n,), optional
        Never learned from and tested at once, and drawn whole for the intervals; each image its own
        by default.
    images : (n,), optional
        Which rows are augmentations of one image.
    names : sequence of str, optional
        Of the concepts.
    controls : sequence
        Of "permuted", "random_weights" and "pixels"; the last two where their arrays are given.
    random_weights, pixels : (n, ...) float, optional
        Of the same rows. Pixels cost as many weights as there are: give small ones.
    folds : int, or (n,) int
        Their number (fewer with fewer patients), or the fold of each row.
    n_boot, level, seed
        Draws of patients, the level of intervals, the seed of folds, labels and draws. Draws hold
        the fitted models as they are.
    progress, cancel : callable, optional

    Raises
    ------
    InvalidInput
        Folds with a patient on both sides; lengths that differ; labels that are none.
    TooFew
        One patient.
    UnknownName, BadActivations, ChannelMismatch, Cancelled

    References
    ----------
    Alain & Bengio (2016), linear probes. Hewitt & Liang (2019), control tasks, EMNLP.
    """
    import pandas as pd

    n_boot, seed = check_count(n_boot, "n_boot", least=0), check_seed(seed)
    level = check_level(level)
    named = (
        {type(estimators).__name__: estimators}
        if isinstance(estimators, ConceptEstimator)
        else dict(estimators)
    )
    if not named:
        raise InvalidInput("There is no estimator to report on.")
    data = Training.of(X, Y, patients, images, names)
    fold, note = _folds(data, folds, seed)
    beside = _controls(data, controls, random_weights, pixels, seed)

    shown = data.labels.take(data.images.first)
    owner = data.groups[data.images.first]
    groups, own = np.unique(owner, return_inverse=True)
    units = units_of(own, len(groups), what="patient" if patients is not None else "image")
    total, done = len(named) * (1 + len(beside)), 0
    tables, scores, present = [], {}, {}
    for name, estimator in named.items():
        checkpoint(cancel, progress, done, total)
        found = estimator._held_out(data, fold, None, cancel)
        done += 1
        values = {}
        for control, rows in beside.items():
            checkpoint(cancel, progress, done, total)
            values[control] = _control(estimator, rows, fold, cancel)
            done += 1
        tables.append(_table(name, found, shown, units, values, n_boot, seed, level))
        scores[name], present[name] = found.scores, found.present
    checkpoint(cancel, progress, total, total)
    said = [note, units.note if n_boot else ""]
    return ConceptReport(
        pd.concat(tables, ignore_index=True),
        scores,
        present,
        fold[data.images.first],
        data.labels.names,
        " ".join(filter(None, said)),
    )


def report_of(
    estimator: str,
    scores: Array,
    present: Mask,
    labels: Examples,
    patients: Codes | None,
    *,
    notes: Sequence[str],
    controls: Mapping[str, tuple[Array, Mask, Examples]],
    n_boot: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[pd.DataFrame, str]:
    """The table of :class:`ConceptReport` for scores that were made elsewhere, and a note.

    Parameters
    ----------
    estimator : str
    scores, present : (m, F)
        Of images that were not learned from.
    labels : Examples
        Of these images.
    patients : (m,) or None
    notes : (F,) str
        What has to be known of each concept.
    controls : mapping of names to scores, decisions and labels of (any) images
    """
    owner = np.arange(len(scores)) if patients is None else patients
    groups, own = np.unique(owner, return_inverse=True)
    units = units_of(own, len(groups), what="patient" if patients is not None else "image")
    values = {}
    for name, (found, decided, shown) in controls.items():
        alone = np.zeros(len(found), np.intp)
        values[name] = _values(_each(HeldOut(found, decided, ()), shown, alone, 1), 1)
    held = HeldOut(scores, present, tuple(notes))
    table = _table(estimator, held, labels, units, values, n_boot, seed, level)
    return table, units.note if n_boot else ""


def _folds(data: Training, folds: int | npt.ArrayLike, seed: int) -> tuple[Codes, str]:
    if not isinstance(folds, (int, np.integer)) or isinstance(folds, bool):
        return checked_folds(folds, data), ""
    wanted = check_count(folds, "folds", least=2)
    fold = divide(data.labels.present, data.labels.known, data.groups, wanted, seed)
    used = int(fold.max()) + 1
    return fold, f"{used} folds instead of {wanted}: one a patient." if used < wanted else ""


def _controls(
    data: Training,
    controls: Sequence[str],
    random_weights: npt.ArrayLike | None,
    pixels: npt.ArrayLike | None,
    seed: int,
) -> dict[str, Training]:
    """Input of each control."""
    wanted = [controls] if isinstance(controls, str) else list(controls)
    for name in wanted:
        if name not in CONTROLS:
            raise UnknownName(f"There is no control {name!r}. {near(str(name), CONTROLS)}")
    found = {}
    for name in CONTROLS:
        if name not in wanted:
            continue
        if name == "permuted":
            order = np.random.default_rng([seed, 1]).permutation(len(data.images))
            # whole images change places, so that concepts that come together still do
            rows = data.images.first[order][data.images.codes]
            found[name] = Training(data.X, data.labels.take(rows), data.images, data.groups)
            continue
        given = random_weights if name == "random_weights" else pixels
        if given is None:
            continue
        array = np.asarray(given)
        if len(array) != len(data.X):
            raise ChannelMismatch(f"{name} has {len(array)} rows, X has {len(data.X)}.")
        flat = as_matrix(array.reshape(len(array), -1), name)
        found[name] = Training.of(
            flat, data.labels.values(), data.groups, data.images.codes, data.labels.names
        )
    return found


def _control(
    estimator: ConceptEstimator, data: Training, fold: Codes, cancel: Cancel | None
) -> Array:
    """(F + 1, measures) values of a control, the last row of all concepts."""
    shown = data.labels.take(data.images.first)
    found = estimator._held_out(data, fold, None, cancel)
    alone = np.zeros(len(data.images), np.intp)
    each = _each(found, shown, alone, 1)
    return _values(each, 1)


def _values(each: list[Measures], units: int) -> Array:
    found: Array = _all(each, np.ones((1, units)), np.stack([m.value for m in each])[None])[0]
    return found


def _each(found: HeldOut, shown: Examples, unit: Codes, units: int) -> list[Measures]:
    return [
        Measures(
            found.scores[:, f],
            found.present[:, f],
            shown.present[:, f],
            shown.known[:, f],
            unit,
            units,
        )
        for f in range(len(shown.names))
    ]


def _all(each: list[Measures], counts: Counts, values: Array) -> Array:
    """(draws, F + 1, measures): ``values`` (draws, F, measures), and of all concepts together."""
    with_value = np.isfinite(values[:, :, :2])
    known = with_value.sum(axis=1)
    means = np.where(with_value, values[:, :, :2], 0.0).sum(axis=1) / np.maximum(known, 1)
    together = sum((m.cells(counts) for m in each if m.n), np.zeros((len(counts), 4)))
    last = np.concatenate([np.where(known > 0, means, np.nan), decisions(together)], axis=1)
    return np.concatenate([values, last[:, None]], axis=1)


def _table(
    estimator: str,
    found: HeldOut,
    shown: Examples,
    units: Units,
    controls: dict[str, Array],
    n_boot: int,
    seed: int,
    level: float,
) -> pd.DataFrame:
    import pandas as pd

    count = max(units.count, 1)
    each = _each(found, shown, units.codes, count)
    value = _values(each, count)
    low = high = np.full(value.shape, np.nan)
    missed = np.zeros(value.shape)
    if n_boot and units.usable:
        drawn = resample(
            lambda counts: _all(each, counts, np.stack([m.drawn(counts) for m in each], axis=1)),
            units.count,
            n_boot,
            seed,
        )
        low, high = interval(drawn, units.count, level)
        missed = 1 - np.isfinite(drawn).mean(axis=0)
    rows = []
    for f, name in enumerate([*shown.names, ALL]):
        for at, measure in enumerate(MEASURES):
            one = each[f] if f < len(each) else None
            known = bool(np.isfinite(value[f, at]))
            rows.append(
                {
                    "estimator": estimator,
                    "concept": name,
                    "measure": measure,
                    "value": value[f, at],
                    "low": low[f, at] if known else np.nan,
                    "high": high[f, at] if known else np.nan,
                    **{control: values[f, at] for control, values in controls.items()},
                    "n": sum(m.n for m in each) if one is None else one.n,
                    "positive": sum(m.positive for m in each) if one is None else one.positive,
                    "patients": max((m.patients for m in each), default=0)
                    if one is None
                    else one.patients,
                    "note": ""
                    if one is None
                    else _note(one, found.notes[f], known, measure, missed[f, at]),
                }
            )
    return pd.DataFrame(rows)


def _note(one: Measures, said: str, known: bool, measure: str, missed: float) -> str:
    parts = [said]
    if one.unscored:
        parts.insert(0, f"{one.unscored} labelled images could not be scored.")
    if not known:
        if not one.positive:
            parts.append("Not defined: no scored image shows it.")
        elif one.positive == one.n:
            parts.append("Not defined: every scored image shows it.")
        elif measure == "PPV":
            parts.append("Not defined: it was never said to be there.")
    elif missed > 0.05:
        parts.append(f"{missed:.0%} of the draws had no value and were left out.")
    return " ".join(filter(None, parts))


def _with_interval(row: pd.Series) -> str:
    if np.isnan(row["low"]):
        return f"{row['value']:.2f}"
    return f"{row['value']:.2f}, {row['low']:.2f} to {row['high']:.2f}"
