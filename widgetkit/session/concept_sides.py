"""Which tiles concepts are learned from, and which they are judged on: never of one patient."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from widgetkit.concepts import ConceptSet
from widgetkit.errors import InvalidInput, TooFew
from widgetkit.session.conceptual import patients_of

if TYPE_CHECKING:
    from widgetkit.store import ActivationStore

Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]

#: Tiles that are learned from at the most; labelled ones go before the others.
LEARN_MOST = 50_000


def with_patients(concepts: ConceptSet, store: ActivationStore, notes: list[str]) -> ConceptSet:
    """With the patients of the store where the set does not say whose the tiles are; ``notes`` gets that."""
    patients = patients_of(store) if concepts.patients is None else None
    if patients is None:
        return concepts
    notes.append("The concepts do not say whose the tiles are: patients are those of the store.")
    return replace(concepts, patients=patients)


def sides(
    concepts: ConceptSet,
    labels: npt.NDArray[np.int8],
    wanted: Mask | None,
    seed: int,
    notes: list[str],
) -> tuple[Rows, Mask, Mask]:
    """Rows to fit on, which of all tiles are learned from, and which may be judged.

    Parameters
    ----------
    concepts : ConceptSet
    labels : (n, F)
        What is learned and judged by.
    wanted : (n,) bool or None
        Tiles to learn from; None: all.
    seed : int
        Of which tiles are taken where there are too many.
    notes : list
        Gets what has to be known.

    Raises
    ------
    TooFew
        Nothing to learn from.
    InvalidInput
        All other labelled tiles are of patients that are learned from.
    """
    learn = np.ones(concepts.n, np.bool_) if wanted is None else wanted
    known = (labels >= 0).any(axis=1)
    if not (learn & (concepts.labels >= 0).any(axis=1)).any():
        raise TooFew(
            "None of the tiles to learn from is an example of a concept, or is said not to be one."
        )
    rows = some(np.flatnonzero(learn), concepts.labels, seed)
    if len(rows) < learn.sum():
        notes.append(f"Learned from {len(rows):,} of {int(learn.sum()):,} tiles.")
    learned = np.zeros(concepts.n, np.bool_)
    learned[rows] = True
    learned &= known
    rest = known & ~learn
    if concepts.patients is None:
        notes.append(
            "The patients are not known: tiles of one may be learned from and judged at once."
        )
    if wanted is None or not rest.any():
        if wanted is not None:
            whose = "patient" if concepts.patients is not None else "fold"
            notes.append(
                f"All labelled tiles are learned from: each is judged without its {whose}."
            )
        return rows, learned, learned
    if concepts.patients is None:
        return rows, learned, rest
    both = rest & np.isin(concepts.patients, np.unique(concepts.patients[rows]))
    if both.any():
        if (both == rest).all():
            raise InvalidInput(
                f"All {int(rest.sum())} labelled tiles outside learn_from are of patients that are learned "
                "from: nothing is left to judge with. Split by patient, or leave learn_from out."
            )
        notes.append(
            f"{int(both.sum())} labelled tiles are not judged: they are of patients that are learned from."
        )
    return rows, learned, rest & ~both


def some(rows: Rows, labels: npt.NDArray[np.int8], seed: int) -> Rows:
    """At most ``LEARN_MOST`` of some rows, labelled ones first, in order."""
    if len(rows) <= LEARN_MOST:
        return rows
    said = (labels[rows] >= 0).any(axis=1)
    key = np.random.default_rng([seed, 2]).random(len(rows)) - said
    return np.sort(rows[np.argsort(key, kind="stable")[:LEARN_MOST]])
