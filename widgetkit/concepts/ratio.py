"""Concepts by density ratio: how much likelier the activations are among the examples than overall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import choice
from widgetkit.analysis._hooks import Cancel, Progress, checkpoint
from widgetkit.concepts._base import ConceptEstimator, Training
from widgetkit.concepts._labels import Array, Images, Mask, Rows, concept_number
from widgetkit.concepts.density import Density, LocalRodeo, Parts, ShrunkNormal
from widgetkit.concepts.directions import mean_differences
from widgetkit.errors import InvalidInput

_DENSITIES = {"rodeo": LocalRodeo, "normal": ShrunkNormal}


class DensityRatioConcepts(ConceptEstimator):
    """Concepts by Bayes' rule with densities of activations: ``p(f | x) = p(f) p(H | f) / p(H)``.

    ``p(H | f)`` is the density of the activations of the examples of concept ``f``, ``p(H)`` that of all
    activations given. The score of an image is the logarithm of ``p(f | x)``, averaged over its augmentations. The
    two densities are estimated apart, so it can be above 0: it ranks images, and is no probability.

    Parameters
    ----------
    density : "rodeo", "normal" or a density
        :class:`LocalRodeo` or :class:`ShrunkNormal` as they come, or one with parameters of your own.
    prior : (F,) float or mapping of names, optional
        ``p(f)``; the same for all concepts by default.
    average : "ratio" or "log"
        Of augmentations: the mean of the ratios as published, which the augmentation that shows the concept best
        decides (in 100 dimensions ratios differ by many orders), or the mean of their logarithms, to which all
        contribute.
    thresholds : "held out" or "published"
        A concept is there when its score exceeds the smallest one among its own examples. As published these are
        scored by densities that hold them, which in many dimensions no new image reaches; held out, by densities
        without their patient.
    most : int, optional
        Concepts said of an image at the most; 4 as published, None for all.

    Attributes
    ----------
    names_ : (F,)
    thresholds_ : (F,) score that an image must exceed
    scale_ : (F,) largest score over the training images, subtracted before concepts are ranked
    direction_ : (F, d) unit vectors from the mean of all activations to the mean of the examples
    usable_ : (F,) bool, False for concepts that could not be learned
    notes_ : (F,) what the reader has to know of each concept, or ""
    note_ : str
        The same of all of them.
    n_features_in_ : int

    References
    ----------
    Wang et al. (2019), European Radiology 29, 3348-3357; SPIE Medical Imaging 10950, 220-228.

    Examples
    --------
    >>> import numpy as np
    >>> from widgetkit.concepts import DensityRatioConcepts
    >>> generator = np.random.default_rng(0)
    >>> rim = generator.random(200) < 0.3
    >>> X = generator.normal(size=(200, 5)) + 3 * rim[:, None]
    >>> model = DensityRatioConcepts("normal").fit(X, {"rim": np.flatnonzero(rim)[:20]})
    >>> found = model.identify(X)
    >>> bool(found.present[rim, 0].mean() > 0.9), bool(found.present[~rim, 0].mean() < 0.1)
    (True, True)
    """

    note_: str

    def __init__(
        self,
        density: Literal["rodeo", "normal"] | Density = "rodeo",
        *,
        prior: npt.ArrayLike | Mapping[str, float] | None = None,
        average: Literal["ratio", "log"] = "ratio",
        thresholds: Literal["held out", "published"] = "held out",
        most: int | None = 4,
    ) -> None:
        self.density = density
        self.prior = prior
        self.average = average
        self.thresholds = thresholds
        self.most = most

    def _learn(self, data: Training, progress: Progress | None, cancel: Cancel | None) -> None:
        choice(self.average, ("ratio", "log"), "average")
        held_out = choice(self.thresholds, ("held out", "published"), "thresholds") == "held out"
        names = data.labels.names
        log_prior = _log_prior(self.prior, names)
        model = self._new_density().fit(data.X)
        rows, notes = _usable_examples(data)
        usable = np.array([part is not None for part in rows])
        kept = [part for part in rows if part is not None]
        parts = model.parts([None, *kept])

        self.usable_, self._log_prior, self._parts = usable, log_prior, parts
        self.note_ = " ".join(filter(None, [model.note_, parts.note]))
        scores = self._score(data.X, data.images)
        if held_out:
            scores = self._without_own_patient(scores, data, model, rows, notes, progress, cancel)
        shown = data.images.same(data.labels.present, "labels")
        self.thresholds_ = np.full(len(names), np.nan)
        self.scale_ = np.full(len(names), np.nan)
        for f in range(len(names)):
            if not usable[f]:
                continue
            self.thresholds_[f] = scores[shown[:, f], f].min()
            self.scale_[f] = scores[:, f].max()
        self.direction_ = mean_differences(data.X, data.labels.present)
        self.notes_ = tuple(" ".join(said) for said in notes)

    def _score(self, X: Array, images: Images) -> Array:
        return _scores(self._parts, self.usable_, self._log_prior, X, images, self.average)

    def _without_own_patient(
        self,
        scores: Array,
        data: Training,
        model: Density,
        rows: list[Rows | None],
        notes: list[list[str]],
        progress: Progress | None,
        cancel: Cancel | None,
    ) -> Array:
        """Scores of examples from densities without their patient; the others as they are."""
        scores = scores.copy()
        of_image = data.groups[data.images.first]
        shown = data.images.same(data.labels.present, "labels")
        patients = np.unique(of_image[shown.any(axis=1)])
        stays: set[int] = set()
        for done, patient in enumerate(patients):
            checkpoint(cancel, progress, done, len(patients))
            away = data.groups == patient
            left = [None if part is None else part[~away[part]] for part in rows]
            mine = shown[of_image == patient]
            able = np.zeros(len(rows), np.bool_)
            for f, part in enumerate(left):
                if part is not None and mine[:, f].any():
                    able[f] = _differ(data.X[part])
                    if not able[f]:
                        stays.add(f)
            if not able.any() or not _differ(data.X[~away]):
                continue
            parts = model.parts([np.flatnonzero(~away), *[left[f] for f in np.flatnonzero(able)]])
            own = np.flatnonzero(away)
            images = Images.of(data.images.codes[own], len(own))
            found = _scores(parts, able, self._log_prior, data.X[own], images, self.average)
            at = np.flatnonzero(of_image == patient)
            change = mine & able
            scores[at] = np.where(change, found, scores[at])
        for f in sorted(stays):
            notes[f].append("All examples are of one patient: the threshold is not held out.")
        return scores

    def _new_density(self) -> Density:
        if isinstance(self.density, str):
            found: Density = _DENSITIES[choice(self.density, tuple(_DENSITIES), "density")]()
            return found
        if not callable(getattr(self.density, "parts", None)):
            raise InvalidInput(
                f"density must be 'rodeo', 'normal', a LocalRodeo or a ShrunkNormal; got {self.density!r}."
            )
        params = self.density.get_params()  # type: ignore[attr-defined]
        return type(self.density)(**params)


def _scores(
    parts: Parts, usable: Mask, log_prior: Array, X: Array, images: Images, average: str
) -> Array:
    found = np.full((len(images), len(usable)), np.nan)
    if len(X):
        densities = parts.log_density(X)
        ratios = densities[:, 1:] - densities[:, :1]
        mean = images.log_mean_exp(ratios) if average == "ratio" else images.mean(ratios)
        found[:, usable] = mean + log_prior[usable]
    return found


def _usable_examples(data: Training) -> tuple[list[Rows | None], list[list[str]]]:
    """Rows of the examples of each concept, None where they make no density; and notes."""
    rows: list[Rows | None] = []
    notes: list[list[str]] = []
    for f in range(len(data.labels.names)):
        part, said = data.labels.examples(f), []
        images = len(np.unique(data.images.codes[part]))
        if not len(part):
            said.append("No example.")
        elif len(part) == len(data.X):
            said.append("Every image is an example: there is nothing to compare with.")
        elif not _differ(data.X[part]):
            said.append(
                "One example without augmentations has no density."
                if len(part) == 1
                else "All examples have the same activations."
            )
        elif images == 1:
            said.append("One example: only its augmentations are known.")
        usable = len(part) < len(data.X) and _differ(data.X[part])
        rows.append(part if usable else None)
        notes.append(said)
    return rows, notes


def _differ(X: Array) -> bool:
    """There are at least two different rows: a density can be estimated."""
    return len(X) > 1 and bool((X[0] != X).any())


def _log_prior(prior: npt.ArrayLike | Mapping[str, float] | None, names: Sequence[str]) -> Array:
    F = len(names)
    if prior is None:
        return np.full(F, -np.log(F))
    if isinstance(prior, Mapping):
        values = np.full(F, np.nan)
        for name, value in prior.items():
            values[concept_number(names, name)] = value
        missing = [name for name, value in zip(names, values, strict=True) if np.isnan(value)]
        if missing:
            raise InvalidInput(f"prior has no value for concept {missing[0]!r}.")
    else:
        values = np.asarray(prior, np.float64)
    if values.shape != (F,) or not ((values > 0) & (values <= 1)).all():
        raise InvalidInput(
            f"prior must hold one number above 0 and at most 1 for each of {F} concepts; got {prior!r}."
        )
    found: Array = np.log(values)
    return found
