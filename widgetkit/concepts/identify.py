"""From scores to concepts that are said to be there: thresholds, the most likely few, contradictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import check_count, choice
from widgetkit.concepts._labels import Array, ClassConcepts, Mask, concept_number
from widgetkit.errors import InvalidInput

if TYPE_CHECKING:
    import pandas as pd

Exclude = Literal["top", "class", "none"]


@dataclass(frozen=True)
class Identified:
    """Concepts seen in images.

    Attributes
    ----------
    names : (F,)
    scores : (m, F) of the estimator; NaN where it knows nothing about the concept
    strength : (m, F) the same, comparable between concepts: what ranks them
    present : (m, F) said to be there
    excluded : (m, F) above its threshold, and left out because no class shows it with the top concept
        (or the predicted class does not show it, or a stronger one excludes it)
    contradicts : (m, F) said to be there or excluded, and not shown by the predicted class; all False where no
        class was given
    """

    names: tuple[str, ...]
    scores: Array
    strength: Array
    present: Mask
    excluded: Mask
    contradicts: Mask

    def __len__(self) -> int:
        return len(self.present)

    def of(self, image: int) -> list[str]:
        """Names of the concepts of one image, the strongest first."""
        return [self.names[f] for f in self._ranked(image)]

    def share(self, name: str) -> float:
        """Share of the images that show a concept."""
        column = self.present[:, concept_number(self.names, name)]
        return float(column.mean()) if len(column) else float("nan")

    def table(self) -> pd.DataFrame:
        """One row an image and concept said to be there, the strongest first.

        ``image`` (number), ``concept``, ``rank`` (from 1), ``score``, ``strength``, ``contradicts``.
        """
        import pandas as pd

        rows = [
            {
                "image": i,
                "concept": self.names[f],
                "rank": rank + 1,
                "score": self.scores[i, f],
                "strength": self.strength[i, f],
                "contradicts": bool(self.contradicts[i, f]),
            }
            for i in range(len(self))
            for rank, f in enumerate(self._ranked(i))
        ]
        columns = ["image", "concept", "rank", "score", "strength", "contradicts"]
        return pd.DataFrame(rows, columns=columns)

    def _ranked(self, image: int) -> list[int]:
        there = np.flatnonzero(self.present[image])
        return list(there[np.argsort(-self.strength[image, there], kind="stable")])


def identify(
    scores: Array,
    thresholds: Array,
    names: Sequence[str],
    *,
    scale: Array | None = None,
    most: int | None = 4,
    class_concepts: object = None,
    predicted: npt.ArrayLike | None = None,
    classes: Sequence[Any] | None = None,
    exclude: Exclude = "top",
) -> Identified:
    """Concepts whose score exceeds their threshold, at most so many, without those that no class allows.

    Parameters
    ----------
    scores : (m, F) float
    thresholds : (F,) float
        A score must exceed it.
    names : (F,)
    scale : (F,) float, optional
        Subtracted from scores to rank them between concepts; the thresholds by default.
    most : int, optional
        Concepts an image at the most, by strength; 4 as published, None for all.
    class_concepts : (classes, F) of 0 and 1, or a table with concepts as columns, optional
        Which classes show which concepts.
    predicted : (m,), optional
        Class of each image by the network: a number, or its name.
    classes : sequence, optional
        Names of the classes; those of the table by default.
    exclude : "top", "class" or "none"
        With ``class_concepts``: concepts that no class shows together with the strongest one are left
        out, or those that the predicted class does not show, or none (they are still marked).

    Raises
    ------
    InvalidInput
        Shapes that do not fit, or ``exclude="class"`` without ``predicted``.
    UnknownName
        A class or concept that is none of those there are.
    """
    F = len(names)
    if scores.ndim != 2 or scores.shape[1] != F or thresholds.shape != (F,):
        raise InvalidInput(
            f"scores {scores.shape} and thresholds {thresholds.shape} do not fit {F} concepts."
        )
    with np.errstate(invalid="ignore"):
        above: Mask = scores > thresholds
    return choose(
        scores,
        scores - (thresholds if scale is None else scale),
        above,
        names,
        most=most,
        class_concepts=class_concepts,
        predicted=predicted,
        classes=classes,
        exclude=exclude,
    )


def choose(
    scores: Array,
    strength: Array,
    above: Mask,
    names: Sequence[str],
    *,
    most: int | None = 4,
    class_concepts: object = None,
    predicted: npt.ArrayLike | None = None,
    classes: Sequence[Any] | None = None,
    exclude: Exclude = "top",
    apart: Sequence[tuple[str, str]] = (),
) -> Identified:
    """The part of :func:`identify` that follows the thresholds, for scores that have several.

    Parameters
    ----------
    scores, strength : (m, F) float
    above : (m, F) bool
        Above its threshold.
    apart : pairs of names
        Of two that exclude one another the weaker is left out.
    names, most, class_concepts, predicted, classes, exclude
        As of :func:`identify`.
    """
    exclude_by = choice(exclude, ("top", "class", "none"), "exclude")
    if most is not None:
        most = check_count(most, "most")
    F = len(names)
    allowed = np.ones(above.shape, np.bool_)
    of_class = allowed
    if class_concepts is not None:
        known = ClassConcepts.of(class_concepts, names, classes)
        if predicted is not None:
            of_class = known.of_class(known.numbers(predicted, len(scores)))
        elif exclude_by == "class":
            raise InvalidInput("exclude='class' needs the predicted classes: predicted=.")
        if exclude_by == "class":
            allowed = of_class
        elif exclude_by == "top":
            top = np.where(above, strength, -np.inf).argmax(axis=1)
            allowed = known.compatible[top]
    elif predicted is not None or exclude_by == "class":
        raise InvalidInput("predicted= and exclude='class' need class_concepts=.")
    present = _kept_apart(above & allowed, strength, names, apart)
    excluded = above & ~present
    if most is not None and most < F:
        order = np.argsort(-np.where(present, strength, -np.inf), axis=1, kind="stable")
        few = np.zeros(present.shape, np.bool_)
        np.put_along_axis(few, order[:, :most], True, axis=1)
        present &= few
    return Identified(
        tuple(names), scores, strength, present, excluded, (present | excluded) & ~of_class
    )


def _kept_apart(
    present: Mask, strength: Array, names: Sequence[str], apart: Sequence[tuple[str, str]]
) -> Mask:
    """Without concepts of which a stronger one that excludes them is there, the strongest first."""
    if not apart:
        return present
    rivals = np.zeros((len(names), len(names)), np.bool_)
    for first, second in apart:
        a, b = concept_number(names, first), concept_number(names, second)
        rivals[a, b] = rivals[b, a] = True
    left = present.copy()
    rows = np.arange(len(present))
    order = np.argsort(-np.where(present, strength, -np.inf), axis=1, kind="stable")
    for f in order.T:
        left &= ~(rivals[f] & left[rows, f][:, None] & _after(order, f))
    return left


def _after(order: npt.NDArray[np.intp], f: npt.NDArray[np.intp]) -> Mask:
    """(m, F) concepts that come after ``f`` (m,) in ``order`` (m, F)."""
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(order.shape[1]), order.shape), axis=1)
    found: Mask = rank > np.take_along_axis(rank, f[:, None], axis=1)
    return found
