"""Concepts by logistic regression on the activations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from widgetkit.analysis._arrays import check_count, check_seed, choice
from widgetkit.analysis._columns import Codes
from widgetkit.analysis._hooks import Cancel, Progress, checkpoint
from widgetkit.concepts._base import ConceptEstimator, HeldOut, Training
from widgetkit.concepts._labels import Array, Images, Mask
from widgetkit.concepts._logistic import Design, Fits, fit_logistic
from widgetkit.concepts.directions import unit
from widgetkit.concepts.folds import divide
from widgetkit.concepts.identify import identify
from widgetkit.errors import InvalidInput


class ProbeConcepts(ConceptEstimator):
    """A logistic regression a concept, all of them at once.

    Units are standardised; images with and without a concept count alike (``class_weight="balanced"``). The score
    is the log odds of an image that is as likely to show the concept as not, averaged over augmentations.

    Parameters
    ----------
    C : float or sequence of float
        Inverse strength of the penalty on squared weights. Of several the one with the least
        logarithmic loss on held-out patients is taken, for each concept.
    folds : int
        For choosing ``C``.
    threshold : "balanced" or "prior"
        A concept is there when its log odds are above 0 with images with and without it counting
        alike (sensitivity and specificity count alike), or as often as they come (fewer false alarms of
        rare concepts).
    most : int, optional
        Concepts said of an image at the most; None for all.
    random_state : int
        Of the folds for choosing ``C``.

    Attributes
    ----------
    coef_ : (F, d) weights for activations as given
    intercept_ : (F,)
    C_ : (F,) as chosen
    direction_ : (F, d) unit vectors of the weights
    names_, thresholds_, scale_, usable_, notes_, n_features_in_
        As of :class:`DensityRatioConcepts`.

    Examples
    --------
    >>> import numpy as np
    >>> from widgetkit.concepts import ProbeConcepts
    >>> generator = np.random.default_rng(0)
    >>> rim = generator.random(200) < 0.3
    >>> X = generator.normal(size=(200, 5)) + 3 * rim[:, None] * [1, 0, 0, 0, 0]
    >>> model = ProbeConcepts().fit(X, rim, names=["rim"])
    >>> round(float(model.direction_[0, 0]), 1)
    1.0
    """

    coef_: Array
    intercept_: Array
    C_: Array

    def __init__(
        self,
        C: float | Sequence[float] = 1.0,
        *,
        folds: int = 5,
        threshold: Literal["balanced", "prior"] = "balanced",
        most: int | None = None,
        random_state: int = 0,
    ) -> None:
        self.C = C
        self.folds = folds
        self.threshold = threshold
        self.most = most
        self.random_state = random_state

    def _strengths(self) -> Array:
        given = np.atleast_1d(np.asarray(self.C, np.float64))
        if given.ndim != 1 or not len(given) or not ((given > 0) & (given < np.inf)).all():
            raise InvalidInput(f"C must be a positive number, or several; got {self.C!r}.")
        return np.sort(given)

    def _learn(self, data: Training, progress: Progress | None, cancel: Cancel | None) -> None:
        strengths = self._strengths()
        choice(self.threshold, ("balanced", "prior"), "threshold")
        folds, seed = check_count(self.folds, "folds", least=2), check_seed(self.random_state)
        present, known = data.labels.present, data.labels.known
        steps = len(strengths) + 1 if len(strengths) > 1 else 1
        C = np.full(present.shape[1], strengths[0])
        notes = notes_of(data)
        if len(strengths) > 1:
            fold = divide(present, known, data.groups, folds, seed)
            design = _design(data, fold)
            losses, fits = [], None
            for done, strength in enumerate(strengths):
                checkpoint(cancel, progress, done, steps)
                fits = fit_logistic(
                    design, present, known, float(strength), start=fits, cancel=cancel
                )
                losses.append(_loss(fits, present, known, fold))
            table = np.stack(losses)
            tried = np.isfinite(table).all(axis=0)
            C = np.where(
                tried, strengths[np.where(np.isnan(table), np.inf, table).argmin(axis=0)], C
            )
            for f in np.flatnonzero(~tried):
                if not notes[f]:
                    notes[f] = (
                        f"C = {strengths[0]:g} was not chosen: too few patients to try others on."
                    )
        whole = Design(data.X, np.ones((1, len(data.X)), np.bool_))
        found = fit_logistic(whole, present, known, C, cancel=cancel)
        checkpoint(cancel, progress, steps, steps)
        self.coef_, self.intercept_, self.C_ = found.coef[0], found.intercept[0], C
        self.usable_ = np.isfinite(self.intercept_)
        self.direction_ = unit(np.nan_to_num(self.coef_))
        self.thresholds_ = _thresholds(self.threshold, present, known)
        self.scale_ = self.thresholds_.copy()
        for f in np.flatnonzero(self.usable_ & ~found.converged[0]):
            notes[f] = " ".join(filter(None, [notes[f], "The fit stopped before it converged."]))
        self.notes_ = tuple(notes)

    def _score(self, X: Array, images: Images) -> Array:
        return images.mean(X @ self.coef_.T + self.intercept_)

    def _held_out(
        self, data: Training, fold: Codes, progress: Progress | None, cancel: Cancel | None
    ) -> HeldOut:
        """All folds and concepts at once; one fold after the other where ``C`` is chosen in each."""
        strengths = self._strengths()
        if len(strengths) > 1:
            return super()._held_out(data, fold, progress, cancel)
        present, known = data.labels.present, data.labels.known
        checkpoint(cancel, progress, 0, 1)
        fits = fit_logistic(_design(data, fold), present, known, float(strengths[0]), cancel=cancel)
        checkpoint(cancel, progress, 1, 1)
        rows = np.arange(len(data.X))
        scores = data.images.mean(fits.logits[fold, :, rows])
        of_image = fold[data.images.first]
        there = np.zeros(scores.shape, np.bool_)
        notes: list[list[str]] = [[] for _ in data.labels.names]
        for at in range(int(fold.max()) + 1):
            train = fold != at
            limit = _thresholds(self.threshold, present[train], known[train])
            mine = of_image == at
            there[mine] = identify(scores[mine], limit, data.labels.names, most=self.most).present
            missing = ~np.isfinite(fits.intercept[at])
            slow = ~missing & ~fits.converged[at]
            reasons = notes_of(data.take(np.flatnonzero(train))) if missing.any() else []
            for f in np.flatnonzero(missing):
                notes[f].append(f"fold {at + 1}: {reasons[f]}")
            for f in np.flatnonzero(slow):
                notes[f].append(f"fold {at + 1}: the fit stopped before it converged.")
        return HeldOut(scores, there, tuple(" ".join(said) for said in notes))


def _design(data: Training, fold: Codes) -> Design:
    return Design(data.X, np.stack([fold != at for at in range(int(fold.max()) + 1)]))


def _thresholds(how: str, present: Mask, known: Mask) -> Array:
    shown = (present & known).sum(axis=0)
    rest = known.sum(axis=0) - shown
    able = (shown > 0) & (rest > 0)
    prior = np.log(np.maximum(rest, 1) / np.maximum(shown, 1)) if how == "prior" else 0.0
    return np.where(able, prior, np.nan)


def _loss(fits: Fits, present: Mask, known: Mask, fold: Codes) -> Array:
    """(F,) logarithmic loss of held-out rows, both kinds counting alike; NaN where none was scored."""
    rows = np.arange(len(present))
    sign = np.where(present, 1.0, -1.0)
    each = np.logaddexp(0.0, -sign * fits.logits[fold, :, rows])
    sides = []
    for side in (present, ~present):
        use = known & side & np.isfinite(each)
        count = use.sum(axis=0)
        total = np.where(use, each, 0.0).sum(axis=0)
        sides.append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
    found: Array = sides[0] + sides[1]
    return found


def notes_of(data: Training) -> list[str]:
    """What stands in the way of learning each concept from labelled rows, or weakens it."""
    found = []
    first = data.images.first
    present, known = data.labels.present[first], data.labels.known[first]
    for f in range(present.shape[1]):
        shown, rest = int(present[:, f].sum()), int((known[:, f] & ~present[:, f]).sum())
        if not shown:
            said = "No example."
        elif not rest:
            said = (
                "Every image is an example: there is nothing to compare with."
                if shown == len(first)
                else "No image is labelled as without it: a probe needs both. Label some with 0."
            )
        else:
            said = "One example." if shown == 1 else ""
        found.append(said)
    return found
