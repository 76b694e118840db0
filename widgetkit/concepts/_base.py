"""What the concept estimators share: input, what they learn, identification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import as_matrix, check_finite
from widgetkit.analysis._columns import Codes, group_codes
from widgetkit.analysis._estimator import Estimator
from widgetkit.analysis._hooks import Cancel, Progress, checkpoint
from widgetkit.concepts._labels import Array, Examples, Images, Mask, Rows
from widgetkit.concepts.identify import Exclude, Identified, identify
from widgetkit.errors import InvalidInput, TooFew


@dataclass(frozen=True)
class Training:
    """Checked input of a fit.

    Attributes
    ----------
    X : (n, d) float64, rows are augmentations or images
    labels : of the rows
    images : which rows are of one image
    groups : (n,) patient of each row; each image its own where none was given
    """

    X: Array
    labels: Examples
    images: Images
    groups: Codes

    @classmethod
    def of(
        cls,
        X: npt.ArrayLike,
        Y: object,
        groups: npt.ArrayLike | None,
        images: npt.ArrayLike | None,
        names: Sequence[str] | None,
    ) -> Training:
        given = as_matrix(X)
        check_finite(given)
        n = len(given)
        labels, own = Examples.of(Y, n, names), Images.of(images, n)
        own.same(labels.present, "labels")
        own.same(labels.known, "labels")
        patients = own.codes if groups is None else group_codes(groups, n, "groups")[1]
        own.same(patients, "patient")
        return cls(given.astype(np.float64), labels, own, patients)

    def take(self, rows: Rows) -> Training:
        """The same of some rows, which must be whole images."""
        return Training(
            self.X[rows],
            self.labels.take(rows),
            Images.of(self.images.codes[rows], len(rows)),
            self.groups[rows],
        )


@dataclass(frozen=True)
class HeldOut:
    """Scores of images by models that have not seen their patient.

    Attributes
    ----------
    scores : (images, F); NaN where a model could not be fitted
    present : (images, F) said to be there by the estimator's own rule
    notes : (F,) what the reader has to know of each concept, or ""
    """

    scores: Array
    present: Mask
    notes: tuple[str, ...]


class ConceptEstimator(Estimator):
    """Base of the estimators of concepts.

    A concept that cannot be learned (no example, only examples, ...) is left out: its scores are NaN, it is never
    said to be there, and ``notes_`` says why.
    """

    _kind: ClassVar[Literal["transformer", "clusterer"]] = "transformer"

    most: int | None
    names_: tuple[str, ...]
    thresholds_: Array
    scale_: Array
    direction_: Array
    usable_: Mask
    notes_: tuple[str, ...]

    # -- what an estimator fills in ----------------------------------------------------
    def _learn(self, data: Training, progress: Progress | None, cancel: Cancel | None) -> None:
        """Learn from checked input; sets every attribute but ``names_``."""
        raise TypeError(f"{type(self).__name__} has no way to learn.")

    def _score(self, X: Array, images: Images) -> Array:
        """(images, F) scores of usable and other concepts, the latter NaN."""
        raise TypeError(f"{type(self).__name__} has no way to score.")

    # -- what all of them offer --------------------------------------------------------
    def fit(
        self,
        X: npt.ArrayLike,
        Y: object,
        *,
        groups: npt.ArrayLike | None = None,
        images: npt.ArrayLike | None = None,
        names: Sequence[str] | None = None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Self:
        """Learn the concepts from examples.

        Parameters
        ----------
        X : (n, d) float
            Activations, one row an image or an augmentation of one. All of them are the population.
        Y : (n, F) array or table, (n,) for one concept, or a mapping of names to examples
            1: the concept is there, 0: it is not, NaN: not labelled. A mapping gives rows that are
            examples and leaves the others without a label.
        groups : (n,), optional
            Patient of each row; each image its own by default.
        images : (n,), optional
            Which rows are augmentations of one image; each row its own image by default.
        names : sequence of str, optional
            Of the concepts.
        progress, cancel : callable, optional

        Raises
        ------
        TooFew
            No concept can be learned; the message says why of each.
        InvalidInput
            Lengths that differ, labels that are none of these, one image with two patients or labels.
        BadActivations, ChannelMismatch, UnknownName, Cancelled
        """
        data = Training.of(X, Y, groups, images, names)
        learned = self._fresh()
        learned._learn(data, progress, cancel)
        if not learned.usable_.any():
            said = zip(data.labels.names, learned.notes_, strict=True)
            raise TooFew(
                "No concept can be learned: " + " ".join(f"{name!r}: {note}" for name, note in said)
            )
        # only now, so that a fit that fails or is cancelled changes nothing
        params = self.get_params()
        vars(self).update({key: value for key, value in vars(learned).items() if key not in params})
        self.names_ = data.labels.names
        self._remember_features(X, data.X)
        return self

    def _fresh(self) -> Self:
        return type(self)(**self.get_params())

    def score(self, X: npt.ArrayLike, *, images: npt.ArrayLike | None = None) -> Array:
        """How surely each concept is there.

        Parameters
        ----------
        X : (m, d) float
        images : (m,), optional
            Which rows are augmentations of one image.

        Returns
        -------
        (images, F) float64
            By image in the order they come first; NaN for concepts that could not be learned.
        """
        self._check_fitted()
        given = as_matrix(X, least=0)
        check_finite(given)
        self._check_features(X, given)
        return self._score(given.astype(np.float64), Images.of(images, len(given)))

    def identify(
        self,
        X: npt.ArrayLike,
        *,
        images: npt.ArrayLike | None = None,
        class_concepts: object = None,
        predicted: npt.ArrayLike | None = None,
        classes: Sequence[Any] | None = None,
        exclude: Exclude = "top",
    ) -> Identified:
        """Concepts that are there, at most ``most`` an image; as :func:`~widgetkit.concepts.identify`."""
        return identify(
            self.score(X, images=images),
            self.thresholds_,
            self.names_,
            scale=self.scale_,
            most=self.most,
            class_concepts=class_concepts,
            predicted=predicted,
            classes=classes,
            exclude=exclude,
        )

    def held_out(
        self,
        X: npt.ArrayLike,
        Y: object,
        folds: npt.ArrayLike,
        *,
        groups: npt.ArrayLike | None = None,
        images: npt.ArrayLike | None = None,
        names: Sequence[str] | None = None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> HeldOut:
        """Scores of every image by an estimator fitted to the other folds.

        Parameters
        ----------
        folds : (n,) int
            Fold of each row, from 0.
        X, Y, groups, images, names, progress, cancel
            As of :meth:`fit`.

        Raises
        ------
        InvalidInput
            Folds that put a patient, or an image, on both sides.
        """
        data = Training.of(X, Y, groups, images, names)
        fold = checked_folds(folds, data)
        return self._held_out(data, fold, progress, cancel)

    def _held_out(
        self, data: Training, fold: Codes, progress: Progress | None, cancel: Cancel | None
    ) -> HeldOut:
        """One estimator a fold; those that can do better do it all at once."""
        m, F = len(data.images), len(data.labels.names)
        scores, present = np.full((m, F), np.nan), np.zeros((m, F), np.bool_)
        notes: list[list[str]] = [[] for _ in range(F)]
        of_image, count = fold[data.images.first], int(fold.max()) + 1
        for at in range(count):
            checkpoint(cancel, progress, at, count)
            model = self._fresh()
            model._learn(data.take(np.flatnonzero(fold != at)), None, cancel)
            rows = np.flatnonzero(fold == at)
            found = model._score(data.X[rows], Images.of(data.images.codes[rows], len(rows)))
            own = identify(
                found, model.thresholds_, data.labels.names, scale=model.scale_, most=model.most
            )
            scores[of_image == at], present[of_image == at] = found, own.present
            for f in np.flatnonzero(~model.usable_):
                notes[f].append(f"fold {at + 1}: {model.notes_[f]}")
        checkpoint(cancel, progress, count, count)
        return HeldOut(scores, present, tuple(" ".join(said) for said in notes))


def checked_folds(folds: npt.ArrayLike, data: Training) -> Codes:
    """Folds numbered from 0, none of which tears a patient or an image.

    Raises
    ------
    InvalidInput
        As said, or fewer than two folds.
    """
    fold = group_codes(folds, len(data.X), "folds")[1]
    for of, what in ((data.images.codes, "image"), (data.groups, "patient")):
        pairs = np.unique(np.stack([of, fold]), axis=1)
        torn = len(pairs[0]) - len(np.unique(pairs[0]))
        if torn:
            raise InvalidInput(
                f"The folds given put {torn} {what}(s) on both sides: rows of one {what} would be "
                f"learned from and tested at once. Give every {what} one fold."
            )
    if len(np.unique(fold)) < 2:
        raise InvalidInput("All rows are in one fold: nothing is left to learn from.")
    return fold
