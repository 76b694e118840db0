"""Seen like these: the training examples of a concept that lie nearest in activation space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import as_matrix, check_count, check_finite, choice
from widgetkit.analysis._columns import Codes, codes
from widgetkit.concepts._labels import Array, Examples, Rows, concept_number
from widgetkit.concepts.directions import unit
from widgetkit.errors import ChannelMismatch, InvalidInput

if TYPE_CHECKING:
    import pandas as pd

# Distances held at once, 32 MB.
_CHUNK = 4_000_000


@dataclass(frozen=True)
class Nearest:
    """What :func:`nearest_examples` found.

    Attributes
    ----------
    rows : (m, F, count) rows of the training images, nearest first; -1 where there are no more
    distances : (m, F, count) NaN there
    names : (F,)
    """

    rows: Rows
    distances: Array
    names: tuple[str, ...]

    def of(self, image: int, concept: str) -> list[int]:
        """Training rows of one image and concept, nearest first."""
        found = self.rows[image, concept_number(self.names, concept)]
        return [int(row) for row in found if row >= 0]

    def table(self) -> pd.DataFrame:
        """``image``, ``concept``, ``rank`` (from 1), ``row`` and ``distance``."""
        import pandas as pd

        image, f, rank = np.nonzero(self.rows >= 0)
        return pd.DataFrame(
            {
                "image": image,
                "concept": [self.names[at] for at in f],
                "rank": rank + 1,
                "row": self.rows[image, f, rank],
                "distance": self.distances[image, f, rank],
            }
        )


def nearest_examples(
    H: npt.ArrayLike,
    X: npt.ArrayLike,
    Y: object,
    *,
    count: int = 5,
    metric: Literal["scaled", "euclidean", "cosine"] = "scaled",
    names: Sequence[str] | None = None,
    patients: npt.ArrayLike | None = None,
    own: npt.ArrayLike | None = None,
) -> Nearest:
    """The examples of each concept that are nearest to each image.

    Parameters
    ----------
    H : (m, d) float
        Activations of the images asked about.
    X : (n, d) float
        Activations of the training images.
    Y : (n, F) array or table, (n,), or mapping of names to examples
        Examples are rows with 1.
    count : int
        Examples a concept.
    metric : "scaled", "euclidean" or "cosine"
        Distance with units divided by their standard deviation over ``X``, as they are, or 1 - cosine.
    names : sequence of str, optional
    patients : (n,), optional
        Patient of each training image.
    own : (m,), optional
        Patient of each image asked about: an image's own patient is not shown to it.

    Raises
    ------
    InvalidInput, ChannelMismatch, BadActivations
    """
    rule = choice(metric, ("scaled", "euclidean", "cosine"), "metric")
    count = check_count(count, "count")
    queries, training = as_matrix(H, "H", least=0), as_matrix(X)
    check_finite(queries, "H")
    check_finite(training)
    if queries.shape[1] != training.shape[1]:
        raise ChannelMismatch(
            f"H has {queries.shape[1]} columns, X has {training.shape[1]}: are both of the same layer?"
        )
    labels = Examples.of(Y, len(training), names)
    asked, patient = _patients(patients, own, len(training), len(queries))
    A, B = queries.astype(np.float64), training.astype(np.float64)
    if rule == "cosine":
        A, B = unit(A), unit(B)
    else:
        spread = B.std(axis=0) if rule == "scaled" else np.ones(B.shape[1])
        middle = B.mean(axis=0)
        # a constant unit says nothing about distances among training images
        factor = np.where(spread > 0, 1 / np.where(spread > 0, spread, 1.0), 0.0)
        A, B = (A - middle) * factor, (B - middle) * factor
    m, F = len(A), len(labels.names)
    rows = np.full((m, F, count), -1, np.intp)
    distances = np.full((m, F, count), np.nan)
    step = max(1, _CHUNK // max(len(B), 1))
    for start in range(0, m, step):
        part = slice(start, start + step)
        squared = _distances(A[part], B)
        if patient is not None and asked is not None:
            squared[asked[part, None] == patient[None, :]] = np.inf
        for f in range(F):
            mine = labels.examples(f)
            if not len(mine):
                continue
            few = min(count, len(mine))
            order = np.argsort(squared[:, mine], axis=1, kind="stable")[:, :few]
            there = np.isfinite(np.take_along_axis(squared[:, mine], order, axis=1))
            rows[part, f, :few] = np.where(there, mine[order], -1)
            distances[part, f, :few] = np.where(
                there, _exact(A[part], B[mine[order]], rule), np.nan
            )
    return Nearest(rows, distances, labels.names)


def _distances(A: Array, B: Array) -> Array:
    """(a, b) squared distances by a product, which orders them; of vectors of length 1 for the cosine."""
    squares = (A * A).sum(axis=1)[:, None] + (B * B).sum(axis=1)
    found: Array = squares - 2 * (A @ B.T)
    return found


def _exact(A: Array, near: Array, rule: str) -> Array:
    """(a, few) distances of ``A`` (a, d) to ``near`` (a, few, d), by differences: 0 where equal."""
    gaps = near - A[:, None, :]
    squared: Array = np.einsum("afd,afd->af", gaps, gaps)
    # vectors of length 1: |a - b|^2 = 2 (1 - cosine)
    return squared / 2 if rule == "cosine" else np.sqrt(squared)


def _patients(
    patients: npt.ArrayLike | None, own: npt.ArrayLike | None, n: int, m: int
) -> tuple[Codes | None, Codes | None]:
    if own is None:
        return None, None
    if patients is None:
        raise InvalidInput(
            "own= says whose images are asked about; patients= of X is needed as well."
        )
    given, other = np.asarray(own), np.asarray(patients)
    if given.shape != (m,) or other.shape != (n,):
        raise InvalidInput(
            f"own must have shape ({m},) and patients ({n},); got {given.shape} and {other.shape}."
        )
    _, both = codes(np.concatenate([given.astype(object), other.astype(object)]))
    return both[:m], both[m:]
