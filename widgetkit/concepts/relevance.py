"""What an identified concept counts for the predicted class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import as_matrix, check_count, check_finite, choice
from widgetkit.analysis._columns import Codes
from widgetkit.analysis._hooks import Cancel, Progress, checkpoint
from widgetkit.concepts._base import Training
from widgetkit.concepts._labels import Array, Images, Mask, class_numbers, names_of
from widgetkit.concepts.directions import joint_effects, mean_differences, unit
from widgetkit.concepts.probe import ProbeConcepts
from widgetkit.errors import BadActivations, ChannelMismatch, InvalidInput

if TYPE_CHECKING:
    import pandas as pd

How = Literal["projection", "removal"]

Head = tuple[npt.ArrayLike, npt.ArrayLike] | Callable[[Array], npt.ArrayLike]
"""A linear head, ``(weight (K, d), bias (K,))``, or the rest of a network: activations (b, d) to logits (b, K)."""

# Directions whose part beside the others is shorter than this share of them say nothing of their own.
_DEPENDENT = 1e-9


@dataclass(frozen=True)
class Relevance:
    """What :func:`concept_relevance` found.

    Attributes
    ----------
    relevance : (m, F) by how much the logit of the predicted class falls without the concept; 0 for those not
        identified
    share : (m, F) the same divided by the sum of the sizes of all identified; below 0 where the concept speaks
        against the class
    together : (m,) by how much the logit falls without all identified concepts at once
    logit : (m,) of the predicted class
    predicted : (m,) number of the class
    identified : (m, F) bool
    names : (F,)
    how : "projection" or "removal"
    exact : whether ``together`` is the sum of ``relevance``: "projection" with a linear head
    """

    relevance: Array = field(repr=False)
    share: Array = field(repr=False)
    together: Array = field(repr=False)
    logit: Array = field(repr=False)
    predicted: Codes = field(repr=False)
    identified: Mask = field(repr=False)
    names: tuple[str, ...]
    how: str
    exact: bool

    @property
    def rest(self) -> Array:
        """(m,) the part of the logit that no identified concept accounts for."""
        found: Array = self.logit - self.together
        return found

    @property
    def gap(self) -> Array:
        """(m,) what concepts count together beyond the sum of each: 0 where the shares are exact."""
        found: Array = self.together - self.relevance.sum(axis=1)
        return found

    def table(self) -> pd.DataFrame:
        """One row an image and identified concept, the most relevant first.

        ``image`` (number), ``concept``, ``relevance``, ``share``.
        """
        import pandas as pd

        image, f = np.nonzero(self.identified)
        order = np.lexsort((-self.relevance[image, f], image))
        image, f = image[order], f[order]
        return pd.DataFrame(
            {
                "image": image,
                "concept": [self.names[at] for at in f],
                "relevance": self.relevance[image, f],
                "share": self.share[image, f],
            }
        )

    def mean_share(self) -> dict[str, float]:
        """Mean share of each concept over the images that show it; NaN for those in none."""
        counts = self.identified.sum(axis=0)
        total = self.share.sum(axis=0)
        means = np.where(counts > 0, total / np.maximum(counts, 1), np.nan)
        return dict(zip(self.names, map(float, means), strict=True))


def concept_relevance(
    H: npt.ArrayLike,
    directions: npt.ArrayLike,
    head: Head,
    predicted: npt.ArrayLike | None = None,
    *,
    how: How = "projection",
    identified: npt.ArrayLike | None = None,
    reference: npt.ArrayLike | None = None,
    images: npt.ArrayLike | None = None,
    names: Sequence[str] | None = None,
    classes: Sequence[Any] | None = None,
    batch: int = 1024,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Relevance:
    """By how much the logit of the predicted class falls when a concept is taken out of the activations.

    The published score is not given in full; these are two ways of ours to make it.

    - ``"projection"``: activations less ``reference`` are a sum of the identified concepts, each along its
      direction, and of what is at right angles to all of them (least squares). A concept's relevance is the fall
      of the logit without its term. With a linear head these add up exactly: ``logit = sum of relevance +
      rest``.
    - ``"removal"``: the component along the concept's direction is taken out, each concept by itself:
      ``h - (h . u) u``. With a linear head that is ``(h . u)(w . u)``. What two directions share counts for both, so
      concepts that go together may add up to more than the logit.

    Both are the same where directions are at right angles. Behind the layer anything may follow: with a
    network instead of a linear head each term is taken out and the network run on, and nothing adds up exactly
    (``gap``).

    Parameters
    ----------
    H : (n, d) float
        Activations, one row an image or an augmentation.
    directions : (F, d) float
        Of the concepts, of any length; an estimator's ``direction_``, or :func:`concept_directions`.
    head : (weight (K, d), bias (K,)), or callable
        A linear head; or the rest of the network, from activations (b, d) to logits (b, K), such as
        ``lambda h: context.head_from_layer(h, "dense")``.
    predicted : (m,), optional
        Class of each image, by number or name; that of the largest logit by default.
    how : "projection" or "removal"
    identified : (m, F) bool, optional
        Concepts that were seen in each image (``Identified.present``); all by default.
    reference : (d,) float, optional
        What "without the concept" falls back to; 0 by default, e.g. the mean activations.
    images : (n,), optional
        Which rows are augmentations of one image; relevance is the mean over them.
    names, classes : sequence, optional
        Of concepts and classes.
    batch : int
        Rows given to a network at once.
    progress, cancel : callable, optional

    Raises
    ------
    ChannelMismatch
        Activations, directions, head or reference disagree in d, or arrays in the number of images or concepts.
    InvalidInput, UnknownName, BadActivations, Cancelled
    """
    rule = choice(how, ("projection", "removal"), "how")
    batch = check_count(batch, "batch")
    given = as_matrix(H, "H", least=0)
    check_finite(given, "H")
    rows = given.astype(np.float64)
    n, d = rows.shape
    vectors = as_matrix(directions, "directions").astype(np.float64)
    check_finite(vectors, "directions")
    if vectors.shape[1] != d:
        raise ChannelMismatch(
            f"directions have {vectors.shape[1]} columns, H has {d}: are both of the same layer?"
        )
    U, F = unit(vectors), len(vectors)
    found_names = names_of(names, F)
    own = Images.of(images, n)
    m = len(own)
    back = np.zeros(d) if reference is None else np.asarray(reference, np.float64)
    if back.shape != (d,) or not np.isfinite(back).all():
        raise ChannelMismatch(f"reference must be finite, of shape ({d},); got shape {back.shape}.")
    seen = _identified(identified, m, U)
    run = _Run(head, d, batch, progress, cancel)
    logits = run.logits(rows)
    k = _classes(predicted, classes, own.mean(logits), m)
    of_row = k[own.codes]

    each = seen[own.codes]
    weights = _weights(rows - back, U, each)
    terms = weights if rule == "projection" else np.where(each, (rows - back) @ U.T, 0.0)
    at, f = np.nonzero(each)
    run.total = len(at) + n
    falls = np.zeros((n, F))
    falls[at, f] = run.falls(rows, terms, U, at, f, of_row, logits)
    together = run.all_at_once(rows, weights @ U, of_row, logits)
    relevance = own.mean(falls)
    size = np.abs(relevance).sum(axis=1, keepdims=True)
    return Relevance(
        relevance=relevance,
        share=relevance / np.where(size > 0, size, 1.0),
        together=own.mean(together[:, None])[:, 0],
        logit=own.mean(logits[np.arange(n), of_row][:, None])[:, 0],
        predicted=k,
        identified=seen,
        names=found_names,
        how=rule,
        exact=rule == "projection" and run.linear is not None,
    )


def concept_directions(
    X: npt.ArrayLike,
    Y: object,
    *,
    how: Literal["joint", "logistic", "mean"] = "joint",
    groups: npt.ArrayLike | None = None,
    images: npt.ArrayLike | None = None,
    names: Sequence[str] | None = None,
    C: float = 1.0,
) -> Array:
    """(F, d) unit vectors along which each concept lies; 0 where none does.

    Parameters
    ----------
    X, Y, groups, images, names
        As of the estimators' ``fit``.
    how : "joint", "logistic" or "mean"
        What each concept adds to the activations when all are allowed for at once (a linear model of the
        activations by the concepts); weights of :class:`ProbeConcepts`, which need images without the concept;
        or from the mean of all activations to that of the examples. For relevance take "joint": where concepts
        go together, a mean difference holds the others' part too and says too much, and weights, which leave out
        what other units say already, say too little.
    C : float
        Of the probe.
    """
    rule = choice(how, ("joint", "logistic", "mean"), "how")
    if rule != "logistic":
        data = Training.of(X, Y, groups, images, names)
        if rule == "mean":
            return mean_differences(data.X, data.labels.present)
        # augmentations of one image weigh as the one image that they are
        of_image = None if data.images.single else data.images.codes
        return joint_effects(data.X, data.labels.present, data.labels.known, of_image)[0]
    return ProbeConcepts(C).fit(X, Y, groups=groups, images=images, names=names).direction_


def _identified(identified: npt.ArrayLike | None, m: int, U: Array) -> Mask:
    usable = (U != 0).any(axis=1)
    if identified is None:
        return np.broadcast_to(usable, (m, len(U))).copy()
    seen = np.asarray(identified)
    if seen.dtype != np.bool_ or seen.shape != (m, len(U)):
        raise ChannelMismatch(
            f"identified must be boolean, one row an image and one column a concept, ({m}, {len(U)}); "
            f"got {seen.dtype} of shape {seen.shape}."
        )
    if (seen & ~usable).any():
        f = int(np.flatnonzero((seen & ~usable).any(axis=0))[0])
        raise InvalidInput(f"Concept {f} is identified and has no direction (it is 0).")
    return seen.astype(np.bool_)


def _classes(
    predicted: npt.ArrayLike | None, classes: Sequence[Any] | None, logits: Array, m: int
) -> Codes:
    K = logits.shape[1]
    if classes is not None and len(classes) != K:
        raise ChannelMismatch(f"There are {len(classes)} classes and {K} logits.")
    if predicted is None:
        return logits.argmax(axis=1) if m else np.zeros(0, np.intp)
    return class_numbers(predicted, range(K) if classes is None else classes, m)


def _weights(A: Array, U: Array, seen: Mask) -> Array:
    """(n, F) least-squares weights of the directions identified in each row.

    Rows with the same concepts are solved together. Of directions that depend on each other the shortest
    weights are taken.
    """
    found = np.zeros(seen.shape)
    patterns, which = np.unique(seen, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        mine, f = np.flatnonzero(which.reshape(-1) == number), np.flatnonzero(pattern)
        if len(f):
            inverse = np.linalg.pinv(U[f], rcond=_DEPENDENT)
            found[np.ix_(mine, f)] = A[mine] @ inverse
    return found


class _Run:
    """The head, linear or not, and the falls of its logits."""

    def __init__(
        self, head: Head, d: int, batch: int, progress: Progress | None, cancel: Cancel | None
    ) -> None:
        self._batch, self._progress, self._cancel = batch, progress, cancel
        self.total, self._done = 0, 0
        self.linear: Array | None = None
        if callable(head):
            self._rest = head
            return
        try:
            weight, bias = (np.asarray(part, np.float64) for part in head)
        except (TypeError, ValueError) as error:
            raise InvalidInput(
                "head must be (weight, bias) of a linear head, or a function from activations to logits."
            ) from error
        if weight.ndim != 2 or weight.shape[1] != d or bias.shape != (len(weight),):
            raise ChannelMismatch(
                f"The head has weight {weight.shape} and bias {bias.shape}; activations have {d} "
                f"units: expected ({len(weight)}, {d}) and ({len(weight)},)."
            )
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise BadActivations("The head holds NaN or infinity.")
        self.linear, self._bias = weight, bias

    def logits(self, rows: Array) -> Array:
        if self.linear is not None:
            found: Array = rows @ self.linear.T + self._bias
            return found
        parts = []
        for start in range(0, max(len(rows), 1), self._batch):
            checkpoint(self._cancel)
            given = rows[start : start + self._batch]
            answer = np.asarray(self._rest(given), np.float64)
            if answer.ndim != 2 or len(answer) != len(given):
                raise ChannelMismatch(
                    f"The network gave logits of shape {answer.shape} for {len(given)} rows; expected "
                    f"({len(given)}, K)."
                )
            if not np.isfinite(answer).all():
                raise BadActivations("The network gave NaN or infinity for changed activations.")
            parts.append(answer)
        return np.concatenate(parts)

    def falls(
        self, rows: Array, terms: Array, U: Array, at: Codes, f: Codes, k: Codes, logits: Array
    ) -> Array:
        """(pairs,) fall of the logit of the class of row ``at`` without the term of concept ``f``."""
        if self.linear is not None:
            slope = np.einsum("pd,pd->p", self.linear[k[at]], U[f])
            found: Array = terms[at, f] * slope
            return found
        found = np.empty(len(at))
        for start in range(0, len(at), self._batch):
            self._step(0)
            i, j = at[start : start + self._batch], f[start : start + self._batch]
            without = self.logits(rows[i] - terms[i, j, None] * U[j])
            found[start : start + len(i)] = (logits[i] - without)[np.arange(len(i)), k[i]]
            self._step(len(i))
        return found

    def all_at_once(self, rows: Array, away: Array, k: Codes, logits: Array) -> Array:
        """(n,) fall of the logit without ``away`` (n, d)."""
        if self.linear is not None:
            found: Array = np.einsum("nd,nd->n", away, self.linear[k])
            return found
        found = (logits - self.logits(rows - away))[np.arange(len(rows)), k]
        self._step(len(rows))
        return found

    def _step(self, rows: int) -> None:
        self._done += rows
        checkpoint(self._cancel, self._progress, self._done, self.total)
