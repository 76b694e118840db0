"""Folds of whole patients in which every concept has examples on both sides."""

from __future__ import annotations

import numpy as np

from widgetkit.analysis._columns import Codes
from widgetkit.concepts._labels import Mask
from widgetkit.errors import TooFew

# Divisions tried until every concept that lies in two patients can be learned in every fold.
_TRIES = 20


def divide(present: Mask, known: Mask, groups: Codes, count: int, seed: int) -> Codes:
    """Fold of each row, from 0; no patient is in two.

    Patients go one by one to the fold that lacks most of the rarest concept they show (Sechidis et al. 2011), so
    that rare concepts are spread first.

    Parameters
    ----------
    present, known : (n, F) bool
    groups : (n,) int
        Patient of each row.
    count : int
        Folds; as many as patients where there are fewer.
    seed : int

    Raises
    ------
    TooFew
        One patient.

    References
    ----------
    Sechidis, Tsoumakas & Vlahavas (2011), On the stratification of multi-label data, ECML PKDD.
    """
    names, owner = np.unique(groups, return_inverse=True)
    patients, F = len(names), present.shape[1]
    if patients < 2:
        raise TooFew(
            "All images are of one patient: what is learned from some patients is tested on others. "
            "Give patients, or leave them out if images are independent."
        )
    count = min(count, patients)
    shows = np.zeros((patients, F))
    lacks = np.zeros((patients, F))
    np.add.at(shows, owner, (present & known).astype(np.float64))
    np.add.at(lacks, owner, (~present & known).astype(np.float64))
    size = np.bincount(owner).astype(np.float64)
    best, most = np.zeros(patients, np.intp), -1
    for attempt in range(_TRIES):
        fold = _one_by_one(shows, size, count, np.random.default_rng([seed, attempt]))
        learned = _learnable(shows, lacks, fold, count)
        if learned > most:
            best, most = fold, learned
        if learned == ((shows > 0).sum(axis=0) >= 2).sum() * count:
            break
    # numbered by their first row, so that the order in which they were filled does not show
    found: Codes = best[owner]
    _, first, inverse = np.unique(found, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.intp)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def _one_by_one(
    shows: np.ndarray, size: np.ndarray, count: int, generator: np.random.Generator
) -> Codes:
    patients, F = shows.shape
    fold = np.full(patients, -1, np.intp)
    filled, rows = np.zeros((count, F)), np.zeros(count)
    order = generator.permutation(patients)

    def put(patient: int, at: int) -> None:
        fold[patient] = at
        filled[at] += shows[patient]
        rows[at] += size[patient]

    left = [f for f in np.argsort((shows > 0).sum(axis=0), kind="stable") if shows[:, f].any()]
    for f in left:
        mine = [p for p in order if fold[p] < 0 and shows[p, f] > 0]
        for patient in sorted(mine, key=lambda p: -shows[p, f]):
            put(patient, int(np.lexsort((rows, filled[:, f]))[0]))
    for patient in order:
        if fold[patient] < 0:
            put(patient, int(rows.argmin()))
    # a fold may be left empty where single patients hold much; it then takes one from the largest
    for at in np.flatnonzero(np.bincount(fold, minlength=count) == 0):
        largest = int(np.bincount(fold, minlength=count).argmax())
        put(int(np.flatnonzero(fold == largest)[0]), int(at))
    return fold


def _learnable(shows: np.ndarray, lacks: np.ndarray, fold: Codes, count: int) -> int:
    """Pairs of folds and concepts whose training part holds both."""
    return sum(
        int(((shows[fold != at].sum(axis=0) > 0) & (lacks[fold != at].sum(axis=0) > 0)).sum())
        for at in range(count)
    )
