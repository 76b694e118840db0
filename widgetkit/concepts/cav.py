"""Concept activation vectors, and whether a class depends on them more than on vectors of random images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import as_matrix, check_count, check_finite, check_seed
from widgetkit.analysis._hooks import Cancel, Progress, checkpoint
from widgetkit.concepts._base import ConceptEstimator, Training
from widgetkit.concepts._labels import Array, Images, Mask, Rows
from widgetkit.concepts._tests import Correction, corrected
from widgetkit.concepts.directions import unit
from widgetkit.errors import ChannelMismatch, InvalidInput, TooFew

if TYPE_CHECKING:
    import pandas as pd

# Indicators of random sets held at once: 32 MB of float32.
_CHUNK = 8_000_000


class ConceptActivationVectors(ConceptEstimator):
    """The direction in which examples of a concept differ from the population, and what classes make of it.

    The linear classifier is Fisher's with a shrunk covariance: ``v ~ S^-1 (m_f - m)``, where ``m_f`` is the mean of
    the examples, ``m`` and ``S`` mean and covariance of all activations given. It has a closed form, so that
    hundreds of vectors of random images, which the test needs, cost little. The score is the position along it: 1
    at the mean of the examples, -1 at the mean of the others, above 0 nearer to the examples.

    Parameters
    ----------
    shrinkage : float, optional
        Of the covariance, from 0 to 1; Ledoit & Wolf's by default.
    random : int
        Vectors of random images that a concept is compared with in :meth:`tcav`; they bound p from below by
        ``2 / (random + 1)``.
    most : int, optional
        Concepts said of an image at the most; None for all.
    random_state : int
        Of the random images.

    Attributes
    ----------
    coef_ : (F, d) weights for activations as given
    intercept_ : (F,)
    direction_ : (F, d) unit vectors of the weights: the concept activation vectors
    names_, thresholds_, scale_, usable_, notes_, n_features_in_
        As of :class:`DensityRatioConcepts`.

    References
    ----------
    Kim et al. (2018), Interpretability beyond feature attribution: quantitative testing with concept activation
    vectors (TCAV), ICML.

    Examples
    --------
    >>> import numpy as np
    >>> from widgetkit.concepts import ConceptActivationVectors
    >>> generator = np.random.default_rng(0)
    >>> rim = generator.random(200) < 0.3
    >>> X = generator.normal(size=(200, 5)) + 3 * rim[:, None] * [1, 0, 0, 0, 0]
    >>> model = ConceptActivationVectors().fit(X, {"rim": np.flatnonzero(rim)[:30]})
    >>> gradients = np.tile([2.0, 0.3, 0.0, 0.0, 0.0], (50, 1))    # of a class's logit, (m, d)
    >>> model.tcav(gradients)[["concept", "score"]].values.tolist()
    [['rim', 1.0]]
    """

    coef_: Array
    intercept_: Array

    def __init__(
        self,
        shrinkage: float | None = None,
        *,
        random: int = 1000,
        most: int | None = None,
        random_state: int = 0,
    ) -> None:
        self.shrinkage = shrinkage
        self.random = random
        self.most = most
        self.random_state = random_state

    def _learn(self, data: Training, progress: Progress | None, cancel: Cancel | None) -> None:
        check_count(self.random, "random")
        check_seed(self.random_state)
        present = data.labels.present
        notes = _notes(data)
        usable = np.array([not note or note.startswith("One") for note in notes])
        self._data, self._inverse = data, _inverse_covariance(data.X, self.shrinkage)
        counts = present.sum(axis=0)
        shown = present.T.astype(np.float64) @ data.X
        means = shown / np.maximum(counts, 1)[:, None]
        others = (data.X.sum(axis=0) - shown) / np.maximum(len(data.X) - counts, 1)[:, None]
        weights = (means - others) @ self._inverse
        # 1 at the mean of the examples, -1 at that of the others
        half = ((means - others) * weights).sum(axis=1) / 2
        usable &= half > 0
        for f in np.flatnonzero(~usable):
            notes[f] = notes[f] or "Examples and the others have the same mean."
        half = np.where(usable, half, np.nan)
        self.coef_ = weights / half[:, None]
        self.intercept_ = -(self.coef_ * (means + others) / 2).sum(axis=1)
        self.direction_ = np.where(usable[:, None], unit(weights), 0.0)
        self.usable_ = usable
        self.thresholds_ = np.where(usable, 0.0, np.nan)
        self.scale_ = self.thresholds_.copy()
        self.notes_ = tuple(notes)
        checkpoint(cancel, progress, 1, 1)

    def _score(self, X: Array, images: Images) -> Array:
        return images.mean(X @ self.coef_.T + self.intercept_)

    def tcav(
        self,
        gradients: npt.ArrayLike,
        *,
        correction: Correction = "bh",
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> pd.DataFrame:
        """Whether a class's logit rises along each concept, and more consistently so than along random vectors.

        The score is the share of images in which the derivative of the logit along the concept is above 0. A
        concept is compared with vectors of as many images drawn at random (of as many patients), which is what its
        own would be if the examples had nothing in common; ``p`` is twice the share of these that lie at least
        as far out on the same side, equal scores being ordered by the mean derivative. The t-test over repeated
        fits of the original counts repeats as observations: it found random images significant in 40 % of
        simulated cases where nothing was to be found, this one in 3 to 4 %.

        Parameters
        ----------
        gradients : (m, d) float
            Of the class's logit by the activations, one row an image of the class.
        correction : "bh", "holm", "bonferroni" or "none"
            For the number of concepts.
        progress, cancel : callable, optional

        Returns
        -------
        DataFrame
            ``concept``, ``score``, ``random`` (median of the random vectors), ``low``, ``high`` (where
            95 % of these lie), ``p``, ``p_corrected``, ``examples`` (images), ``n`` (gradients), ``note``.

        Raises
        ------
        ChannelMismatch, BadActivations, TooFew, Cancelled
        """
        import pandas as pd

        self._check_fitted()
        given = as_matrix(gradients, "gradients", least=0)
        check_finite(given, "gradients")
        if given.shape[1] != self.n_features_in_:
            raise ChannelMismatch(
                f"gradients have {given.shape[1]} columns, activations {self.n_features_in_}. "
                "They must be of the layer the concepts were learned on."
            )
        if not len(given):
            raise TooFew("There are no gradients: no image of the class was given.")
        slopes = given.astype(np.float64)
        F = len(self.names_)
        score, mean = _positive(slopes, self.direction_)
        rows, p = [], np.full(F, np.nan)
        for f, name in enumerate(self.names_):
            checkpoint(cancel, progress, f, F)
            middle = low = high = np.nan
            if self.usable_[f]:
                beside, means = self._of_random_sets(slopes, f)
                low, middle, high = np.quantile(beside, [0.025, 0.5, 0.975])
                p[f] = _two_sided(score[f], mean[f], beside, means)
            rows.append(
                {
                    "concept": name,
                    "score": score[f] if self.usable_[f] else np.nan,
                    "random": middle,
                    "low": low,
                    "high": high,
                    "p": p[f],
                    "examples": len(
                        np.unique(self._data.images.codes[self._data.labels.examples(f)])
                    ),
                    "n": len(slopes),
                    "note": self.notes_[f],
                }
            )
        checkpoint(cancel, progress, F, F)
        found = pd.DataFrame(rows)
        found.insert(6, "p_corrected", corrected(p, correction))
        return found

    def _of_random_sets(self, slopes: Array, f: int) -> tuple[Array, Array]:
        """(random,) scores and mean derivatives of vectors of images drawn as those of concept ``f`` are."""
        data = self._data
        generator = np.random.default_rng([self.random_state, f])
        draw = _Draw(data, data.labels.examples(f))
        count, found = int(self.random), []
        # whole images are drawn, so their sums are taken once; about the mean, so that float32 serves
        rows = data.images.counts.astype(np.float32)
        sums = (data.images.mean(data.X - data.X.mean(axis=0)) * rows[:, None]).astype(np.float32)
        step = max(1, _CHUNK // len(rows))
        for at in range(0, count, step):
            inside = np.stack([draw.images(generator) for _ in range(min(step, count - at))])
            weights = inside.astype(np.float32)
            gaps = (weights @ sums / (weights @ rows)[:, None]).astype(np.float64)
            found.append(np.stack(_positive(slopes, gaps @ self._inverse)))
        score, mean = np.concatenate(found, axis=1)
        return score, mean


class _Draw:
    """Sets of images as large as one given, of as many patients, as many of each as far as they have them."""

    def __init__(self, data: Training, examples: Rows) -> None:
        chosen = np.unique(data.images.codes[examples])
        _, self._owner = np.unique(data.groups[data.images.first], return_inverse=True)
        self._sizes = np.bincount(self._owner)
        own = np.bincount(self._owner[chosen])
        self._wanted = np.unique(own[own > 0], return_counts=True)

    def images(self, generator: np.random.Generator) -> Mask:
        """(images,) whether an image is drawn."""
        take = np.zeros(len(self._sizes), np.intp)
        for count, patients in zip(self._wanted[0][::-1], self._wanted[1][::-1], strict=True):
            # those that have as many, in random order, then those that have most
            key = generator.random(len(take)) - np.minimum(self._sizes, count)
            key[take > 0] = np.inf
            take[np.argsort(key)[:patients]] = count
        # of the images of a patient, in random order, the first so many
        open_ = np.flatnonzero(take[self._owner] > 0)
        own = self._owner[open_]
        order = np.argsort(own + generator.random(len(own)))
        sizes = np.where(take > 0, self._sizes, 0)
        place = np.arange(len(own)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        images = np.zeros(len(self._owner), np.bool_)
        images[open_[order[place < take[own[order]]]]] = True
        return images


def _positive(slopes: Array, directions: Array) -> tuple[Array, Array]:
    """(directions,) share of the rows of ``slopes`` that rise, one that is flat counting half; and the mean
    rise along a vector of length 1."""
    along = slopes @ unit(directions).T
    share: Array = (along > 0).mean(axis=0) + 0.5 * (along == 0).mean(axis=0)
    return share, along.mean(axis=0)


def _two_sided(score: float, mean: float, scores: Array, means: Array) -> float:
    """Twice the smaller tail, equal scores in the order of their means (Phipson & Smyth 2010: never 0)."""
    # shares are counts by the number of images: equal ones differ in the last bit at the most
    equal = np.abs(scores - score) < 1e-9
    above = ((scores > score) & ~equal) | (equal & (means >= mean))
    below = ((scores < score) & ~equal) | (equal & (means <= mean))
    smaller = min(int(above.sum()), int(below.sum()))
    return min(1.0, 2 * (1 + smaller) / (1 + len(scores)))


def _inverse_covariance(X: Array, shrinkage: float | None) -> Array:
    """(d, d) inverse of the shrunk covariance; rows and columns of constant units are 0."""
    if shrinkage is not None and not (
        isinstance(shrinkage, (int, float, np.number)) and 0 <= float(shrinkage) <= 1
    ):
        raise InvalidInput(f"shrinkage must be a number from 0 to 1, or None; got {shrinkage!r}.")
    varies = X.min(axis=0) < X.max(axis=0)
    found = np.zeros((X.shape[1], X.shape[1]))
    if not varies.any():
        return found
    spread = X[:, varies].std(axis=0)
    Z = (X[:, varies] - X[:, varies].mean(axis=0)) / spread
    if shrinkage is None:
        from sklearn.covariance import ledoit_wolf_shrinkage

        shrinkage = float(ledoit_wolf_shrinkage(Z, assume_centered=True))
    values, vectors = np.linalg.eigh(Z.T @ Z / len(Z))
    # a standardised unit has variance 1; directions never seen get a millionth of it at least
    values = np.maximum((1 - shrinkage) * np.maximum(values, 0.0) + shrinkage, 1e-6)
    inside = (vectors / values) @ vectors.T
    found[np.ix_(varies, varies)] = inside / spread[:, None] / spread[None, :]
    return found


def _notes(data: Training) -> list[str]:
    found = []
    for f in range(len(data.labels.names)):
        rows = data.labels.examples(f)
        images = len(np.unique(data.images.codes[rows]))
        if not len(rows):
            found.append("No example.")
        elif len(rows) == len(data.X):
            found.append("Every image is an example: there is nothing to compare with.")
        else:
            found.append("One example." if images == 1 else "")
    return found
