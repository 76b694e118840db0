"""Predicting classes from factors, tested on groups the model has never seen."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import (
    Floats,
    as_matrix,
    check_count,
    check_finite,
    check_seed,
)
from widgetkit.analysis._columns import Codes, group_codes
from widgetkit.analysis._hooks import Cancel, Progress, checkpoint
from widgetkit.analysis.classification import Labels, measures
from widgetkit.errors import ChannelMismatch, InvalidInput, TooFew

if TYPE_CHECKING:
    import pandas as pd

# Divisions of the groups tried until every training part holds every class.
_TRIES = 20


@dataclass(frozen=True)
class Roc:
    """Receiver operating characteristic of one class against the rest, each (points,)."""

    false_positive: Floats
    true_positive: Floats
    threshold: Floats


@dataclass(frozen=True)
class Prediction:
    """What :func:`grouped_prediction` found.

    Attributes
    ----------
    table : DataFrame of :func:`~widgetkit.analysis.prediction_report`
        Over all rows, each predicted by the model that has not seen its group.
    probabilities : (n, classes) float64
        Out of fold; NaN for rows without a label. Classes count alike in training, so they are
        not probabilities at the classes' frequencies.
    classes : names in order; with two the second is the positive one
    coefficients : (classes, p)
        Change of the log odds (two classes) or of the class's score a standard deviation of the
        feature, of the model of all rows. Positive = speaks for the class.
    fold_coefficients : (folds, classes, p)
        The same of the models of the folds.
    folds : (n,) the fold each row was tested in; -1 without a label
    note : what the reader has to know, or ""
    roc : dict of class to Roc
    names : of the features
    """

    table: pd.DataFrame
    probabilities: Floats
    classes: tuple[Any, ...]
    coefficients: Floats
    fold_coefficients: Floats
    folds: Codes
    note: str
    roc: dict[Any, Roc] = field(repr=False)
    names: tuple[Any, ...]

    def ranking(self, class_name: Any = None) -> pd.DataFrame:
        """Features from what speaks most against a class to what speaks most for it.

        Parameters
        ----------
        class_name
            The last class by default, with two classes the positive one.

        Returns
        -------
        DataFrame
            ``feature``, ``coefficient``, ``least``, ``most`` (over the folds), ``steady`` (the
            sign is the same in all folds).
        """
        import pandas as pd

        wanted = self.classes[-1] if class_name is None else class_name
        if wanted not in self.classes:
            raise InvalidInput(
                f"{wanted!r} is none of the classes {', '.join(map(repr, self.classes))}."
            )
        at = self.classes.index(wanted)
        each, whole = self.fold_coefficients[:, at], self.coefficients[at]
        found = pd.DataFrame(
            {
                "feature": list(self.names),
                "coefficient": whole,
                "least": each.min(axis=0),
                "most": each.max(axis=0),
                "steady": (np.sign(each) == np.sign(whole)).all(axis=0) & (whole != 0),
            }
        )
        return found.sort_values("coefficient", kind="stable").reset_index(drop=True)


def grouped_prediction(
    features: npt.ArrayLike,
    y: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    classes: Sequence[Any] | None = None,
    folds: int | npt.ArrayLike = 5,
    seed: int = 0,
    C: float = 1.0,
    names: Sequence[Any] | None = None,
    n_boot: int = 1000,
    level: float = 0.95,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Prediction:
    """Logistic regression tested by cross-validation that never splits a group.

    Features are standardised by the training rows of each fold; classes count alike
    (``class_weight="balanced"``), because otherwise the frequency of a class in the training
    groups, which is high where it is low in the tested one, pulls the AUC of useless features below
    one half.

    Parameters
    ----------
    features : (n, p) float
        E.g. mean and maximum weight of each factor in each tile, side by side.
    y : (n,) of any type
        Labels; rows without one are left out.
    groups : (n,)
        Patient or slide of each row. No group is trained on and tested at once.
    classes : sequence, optional
        All classes in order, the positive one of two last; those found, ascending, by default.
        Whole numbers in ``y`` are positions in it where it is text.
    folds : int, or (n,) int
        Their number (fewer when a class lies in fewer groups; the note says so), or the fold of
        each row.
    seed : int
        Of the division into folds and of the draws.
    C : float
        Inverse strength of the penalty on squared coefficients.
    names : sequence, optional
        Of the features; their numbers by default.
    n_boot, level
        Of the intervals, which draw groups and hold the models fixed: they do not tell how much
        other training slides would have changed them. With useless features of strong slide
        effects, 20 slides, they held one half in 80 % of the simulations and not in 95 %.
    progress, cancel : callable, optional
        Between folds.

    Raises
    ------
    TooFew
        Fewer than two classes, or a class that lies in one group only: nothing learned from other
        groups could be tested on it.
    InvalidInput
        Folds that split a group or leave a class out of training; lengths that differ.
    BadActivations, ChannelMismatch, Cancelled

    References
    ----------
    Kapoor & Narayanan (2023), leakage, Patterns 4. Parker et al. (2007), stratification bias,
    BMC Bioinformatics 8.
    """
    table = as_matrix(features, "features").astype(np.float64)
    check_finite(table, "features")
    n, p = table.shape
    labels = Labels.of(y, n, classes)
    group_names, owner = group_codes(groups, n)
    seed = check_seed(seed)
    if not (isinstance(C, (int, float, np.number)) and 0 < float(C) < np.inf):
        raise InvalidInput(f"C must be a positive number, got {C!r}.")
    if names is not None and len(names) != p:
        raise ChannelMismatch(f"{len(names)} names for {p} features.")
    labelled = np.flatnonzero(labels.known)
    truth, own = labels.index[labelled], owner[labelled]
    _refuse_single_groups(truth, own, labels.names)
    fold, said = _folds(truth, own, len(labels.names), folds, labelled, n, seed)
    count = int(fold.max()) + 1

    rows = table[labelled]
    probabilities = np.full((n, len(labels.names)), np.nan)
    each = np.empty((count, len(labels.names), p))
    slow = 0
    for at in range(count):
        checkpoint(cancel, progress, at, count + 1)
        test = fold == at
        model = _fit(rows[~test], truth[~test], float(C))
        probabilities[labelled[test]] = model.predict(rows[test])
        each[at], slow = model.coefficients, slow + model.stopped
    checkpoint(cancel, progress, count, count + 1)
    whole = _fit(rows, truth, float(C))
    checkpoint(cancel, progress, count + 1, count + 1)

    still = int((rows.min(axis=0) == rows.max(axis=0)).sum())
    if still:
        said.append(f"{still} of {p} features are constant and say nothing.")
    if slow + whole.stopped:
        said.append(f"{slow + whole.stopped} of {count + 1} models stopped before they converged.")
    present = len(np.unique(own))
    if len(np.unique(own * len(labels.names) + truth)) == present:
        said.append(
            f"Every group has one class: the sample is {present} groups, not {len(own)} rows."
        )
    known = probabilities[labelled]
    decided = np.full(n, -1, np.intp)
    decided[labelled] = (
        (known[:, 1] >= 0.5).astype(np.intp) if len(labels.names) == 2 else known.argmax(axis=1)
    )
    own_folds = np.full(n, -1, np.intp)
    own_folds[labelled] = fold
    return Prediction(
        table=measures(
            probabilities,
            decided,
            labels,
            owner,
            len(group_names),
            n_boot=n_boot,
            seed=seed,
            level=level,
        ),
        probabilities=probabilities,
        classes=labels.names,
        coefficients=whole.coefficients,
        fold_coefficients=each,
        folds=own_folds,
        note=" ".join(filter(None, [labels.note, *said])),
        roc=_curves(known, truth, labels.names),
        names=tuple(range(p)) if names is None else tuple(names),
    )


@dataclass(frozen=True)
class _Model:
    mean: Floats
    spread: Floats
    fitted: Any
    coefficients: Floats
    stopped: int

    def predict(self, rows: Floats) -> Floats:
        found: Floats = self.fitted.predict_proba((rows - self.mean) / self.spread)
        return found


def _fit(rows: Floats, truth: Codes, C: float) -> _Model:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    constant = rows.min(axis=0) == rows.max(axis=0)
    # rows of other groups may differ where training rows do not: nothing was learned from that
    spread = np.where(constant | (spread == 0), np.inf, spread)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = LogisticRegression(C=C, class_weight="balanced", max_iter=1000)
        model.fit((rows - mean) / spread, truth)
    stopped = int(any(issubclass(w.category, ConvergenceWarning) for w in caught))
    found = np.asarray(model.coef_, np.float64)
    if len(found) == 1:
        found = np.concatenate([-found, found])
    return _Model(mean, spread, model, found, stopped)


def _refuse_single_groups(truth: Codes, own: Codes, names: tuple[Any, ...]) -> None:
    if len(np.unique(truth)) < 2 or len(names) < 2:
        raise TooFew(
            f"y holds {len(np.unique(truth))} class(es) in {len(truth)} labelled rows; a prediction "
            "needs at least two."
        )
    for at, name in enumerate(names):
        found = len(np.unique(own[truth == at]))
        if found < 2:
            raise TooFew(
                f"Class {name!r} lies in {found} group(s) only. What is learned from some groups is "
                "tested on others, so every class must lie in at least two. Add slides of this "
                "class, leave the class out, or group by something finer that is still independent."
            )


def _folds(
    truth: Codes,
    own: Codes,
    classes: int,
    folds: int | npt.ArrayLike,
    labelled: npt.NDArray[np.intp],
    n: int,
    seed: int,
) -> tuple[Codes, list[str]]:
    """The fold of each labelled row, numbered from 0, and what has to be said about them."""
    if not isinstance(folds, (int, np.integer)) or isinstance(folds, bool):
        return _given_folds(np.asarray(folds), truth, own, classes, labelled, n), []
    wanted = check_count(folds, "folds", least=2)
    least = min(len(np.unique(own[truth == at])) for at in range(classes))
    used = min(wanted, least)
    said = []
    if used < wanted:
        said.append(f"{used} folds instead of {wanted}: one class lies in {least} groups only.")
    found = _divide(truth, own, classes, used, seed)
    if found is None:
        # leaving out one group at a time always leaves a class that lies in two of them
        found = np.unique(own, return_inverse=True)[1]
        said.append("One group was left out at a time: no other division keeps every class.")
    return found, said


def _divide(truth: Codes, own: Codes, classes: int, count: int, seed: int) -> Codes | None:
    """Stratified folds of whole groups, each with every class in its training part."""
    from sklearn.model_selection import StratifiedGroupKFold

    for attempt in range(_TRIES):
        splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed + attempt)
        fold = np.full(len(truth), -1, np.intp)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of classes with few rows; groups are what counts here
            for at, (_, test) in enumerate(splitter.split(truth, truth, own)):
                fold[test] = at
        if _every_class_is_trained(fold, truth, classes):
            return np.unique(fold, return_inverse=True)[1]
    return None


def _every_class_is_trained(fold: Codes, truth: Codes, classes: int) -> bool:
    used = np.unique(fold)
    return len(used) > 1 and all(len(np.unique(truth[fold != at])) == classes for at in used)


def _given_folds(
    column: npt.NDArray[Any],
    truth: Codes,
    own: Codes,
    classes: int,
    labelled: npt.NDArray[np.intp],
    n: int,
) -> Codes:
    fold = np.unique(group_codes(column, n, "folds")[1][labelled], return_inverse=True)[1]
    pairs = np.unique(np.stack([own, fold]), axis=1)
    torn = len(pairs[0]) - len(np.unique(pairs[0]))
    if torn:
        raise InvalidInput(
            f"The folds given put {torn} group(s) on both sides: rows of one slide or patient would "
            "be trained on and tested at once. Give every group one fold, or folds as a number."
        )
    if not _every_class_is_trained(fold, truth, classes):
        raise InvalidInput(
            "The folds given leave a class out of a training part. Spread its groups over folds."
        )
    return fold


def _curves(probabilities: Floats, truth: Codes, names: tuple[Any, ...]) -> dict[Any, Roc]:
    from sklearn.metrics import roc_curve

    return {
        name: Roc(*roc_curve(truth == at, probabilities[:, at])) for at, name in enumerate(names)
    }
