"""Whether explanations fit the predictions, and are better where these are right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import check_count, check_seed, choice
from widgetkit.analysis._columns import Codes
from widgetkit.analysis.resampling import (
    Counts,
    check_level,
    interval,
    resample,
)
from widgetkit.concepts._labels import (
    Array,
    ClassConcepts,
    Examples,
    Mask,
    checked_correct,
    names_of,
)
from widgetkit.concepts.identify import Identified
from widgetkit.errors import ChannelMismatch, InvalidInput

if TYPE_CHECKING:
    import pandas as pd

# Permutations made at once, times images: 32 MB as float64.
_CHUNK = 4_000_000

# Below this many different arrangements p cannot be below 5 %.
_FEW_ARRANGEMENTS = 20


def consistency_score(
    identified: Identified | npt.ArrayLike,
    class_concepts: object,
    predicted: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    names: Sequence[str] | None = None,
    classes: Sequence[Any] | None = None,
    empty: float = 0.0,
    strangers: Literal["ignore", "against"] = "ignore",
) -> Array:
    """Share of the identified concepts that the predicted class shows.

    Parameters
    ----------
    identified : Identified, or (m, F) bool
        Identify with ``exclude="none"``: what was left out because it contradicts cannot tell of it.
    class_concepts : (classes, F) of 0 and 1, or a table with concepts as columns
    predicted : (m,)
        Class of each image, by number or name.
    weights : (m, F) float, optional
        At least 0, e.g. the sizes of relevance shares; every identified concept counts 1 by default.
    names, classes : sequence, optional
        Of concepts and classes.
    empty : float
        For images in which no concept was identified: nothing supports the prediction.
    strangers : "ignore" or "against"
        Concepts that no class shows do not count, on either side: nobody said whose they are. Or they count
        against every class: it is known that they are none's, as a scanner's line is.

    Returns
    -------
    (m,) float64 in [0, 1]

    Raises
    ------
    InvalidInput, UnknownName, ChannelMismatch
    """
    if isinstance(identified, Identified):
        present, names = identified.present, identified.names
    else:
        present = np.asarray(identified)
        if present.ndim != 2 or present.dtype != np.bool_:
            raise InvalidInput(
                f"identified must be boolean, (images, concepts); got {present.dtype} of shape "
                f"{present.shape}."
            )
        if names is None:
            columns = getattr(class_concepts, "columns", None)
            names = list(columns) if columns is not None else names_of(None, present.shape[1])
    known = ClassConcepts.of(class_concepts, names, classes)
    if present.shape[1] != len(names):
        raise ChannelMismatch(f"{present.shape[1]} concepts identified, {len(names)} names.")
    of_class = known.shown[known.numbers(predicted, len(present))]
    counts = known.shown.any(axis=0) | (
        choice(strangers, ("ignore", "against"), "strangers") == "against"
    )
    mass = np.where(present & counts, 1.0, 0.0)
    if weights is not None:
        given = np.asarray(weights, np.float64)
        if given.shape != mass.shape or not (given[present] >= 0).all():
            raise InvalidInput(
                f"weights must be at least 0, of shape {mass.shape}; got shape {given.shape}"
                f"{'' if given.shape != mass.shape else ' with others'}."
            )
        mass = np.where(mass > 0, given, 0.0)
    total = mass.sum(axis=1)
    own = np.where(of_class, mass, 0.0).sum(axis=1)
    found: Array = np.where(total > 0, own / np.where(total > 0, total, 1.0), float(empty))
    return found


def explanation_quality(
    present: Identified | npt.ArrayLike,
    truth: object,
    correct: npt.ArrayLike,
    patients: npt.ArrayLike | None = None,
    *,
    n_boot: int = 1000,
    n_permutations: int = 1999,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """PPV and sensitivity of the identified concepts in correctly and in wrongly classified images.

    Parameters
    ----------
    present : Identified, or (m, F) bool
        Concepts said to be there.
    truth : (m, F) array or table of 1, 0 and NaN (not labelled), or mapping of names to rows
    correct : (m,) bool
        The network's class is right.
    patients : (m,), optional
        Drawn whole for the intervals; each image its own by default.
    n_boot, level, seed
        Draws of patients, the level of intervals, the seed.
    n_permutations : int
        For ``p`` of the difference: patients with as many images exchange which of theirs are right.

    Returns
    -------
    DataFrame
        ``measure`` ("PPV", "sensitivity"), ``images`` ("correct", "misclassified", "difference"),
        ``value``, ``low``, ``high``, ``p`` (of the difference, two-sided), ``n`` (images), ``patients``,
        ``note``. The difference is that of correct less that of misclassified ones.

    Raises
    ------
    InvalidInput, ChannelMismatch
    """
    import pandas as pd

    n_boot = check_count(n_boot, "n_boot", least=0)
    n_permutations = check_count(n_permutations, "n_permutations", least=0)
    level, seed = check_level(level), check_seed(seed)
    said = present.present if isinstance(present, Identified) else np.asarray(present)
    if said.ndim != 2 or said.dtype != np.bool_:
        raise InvalidInput(
            f"present must be boolean, (images, concepts); got {said.dtype} of shape {said.shape}."
        )
    labels = Examples.of(truth, len(said), None)
    if labels.present.shape != said.shape:
        raise ChannelMismatch(
            f"{said.shape[1]} concepts were identified and {labels.present.shape[1]} are labelled."
        )
    right, owner, units = checked_correct(correct, patients, len(said))
    use = labels.known
    hits = (said & labels.present & use).sum(axis=1)
    # hits, said, there: counts of each image that add up
    each = np.stack([hits, (said & use).sum(axis=1), (labels.present & use).sum(axis=1)], axis=1)
    each = each.astype(np.float64)
    count = max(units.count, 1)
    parts = np.zeros((2, count, 3))
    np.add.at(parts, ((~right).astype(np.intp), units.codes), each)

    def statistic(counts: Counts) -> Array:
        return _quality(*(counts @ part for part in parts))

    value = statistic(np.ones((1, count)))[0]
    low = high = np.full(value.shape, np.nan)
    if n_boot and units.usable:
        low, high = interval(resample(statistic, units.count, n_boot, seed), units.count, level)
    p, note = _permuted(each, right, owner, value[2], n_permutations, seed)
    rows = []
    sides = ("correct", "misclassified", "difference")
    for m, measure in enumerate(("PPV", "sensitivity")):
        for s, name in enumerate(sides):
            mine = right if s == 0 else ~right if s == 1 else np.ones(len(right), np.bool_)
            known = bool(np.isfinite(value[s, m]))
            notes = [units.note if n_boot else "", note if s == 2 else ""]
            if not known:
                notes.insert(0, _undefined(int(mine.sum()), measure, s))
            rows.append(
                {
                    "measure": measure,
                    "images": name,
                    "value": value[s, m],
                    "low": low[s, m] if known else np.nan,
                    "high": high[s, m] if known else np.nan,
                    "p": p[m] if s == 2 else np.nan,
                    "n": int(mine.sum()),
                    "patients": len(np.unique(owner[mine])),
                    "note": " ".join(filter(None, notes)),
                }
            )
    return pd.DataFrame(rows)


def _quality(right: Array, wrong: Array) -> Array:
    """(draws, 3, 2): PPV and sensitivity of right, of wrong predictions, and their difference."""
    sides = []
    for part in (right, wrong):
        whole = part[:, 1:]
        sides.append(np.where(whole > 0, part[:, :1] / np.where(whole > 0, whole, 1), np.nan))
    return np.stack([*sides, sides[0] - sides[1]], axis=1)


def _undefined(images: int, measure: str, side: int) -> str:
    if side == 2:
        return "Not defined: one side is not."
    if not images:
        return "Not defined: there is no such image."
    return (
        f"Not defined: no concept {'was identified' if measure == 'PPV' else 'is there'} in them."
    )


def _permuted(
    each: Array, right: Mask, owner: Codes, difference: Array, count: int, seed: int
) -> tuple[Array, str]:
    """Two-sided p of the differences; patients with as many images exchange their pattern."""
    p = np.full(2, np.nan)
    if not count or not np.isfinite(difference).any():
        return p, ""
    generator = np.random.default_rng([seed, 1])
    sizes = np.bincount(owner)
    order = np.argsort(owner, kind="stable")
    starts = np.cumsum(sizes) - sizes
    strata = [
        order[starts[sizes == size][:, None] + np.arange(size)]  # (patients, size) rows
        for size in np.unique(sizes)
        if size
    ]
    extreme, valid, done = np.zeros(2), np.zeros(2), 0
    step = max(1, _CHUNK // max(len(right), 1))
    while done < count:
        draws = min(step, count - done)
        dealt = np.empty((draws, len(right)), np.bool_)
        for rows in strata:
            places = generator.permuted(np.tile(np.arange(len(rows)), (draws, 1)), axis=1)
            dealt[:, rows] = right[rows][places]
        first = dealt.astype(np.float64) @ each
        found = _quality(first, each.sum(axis=0) - first)[:, 2]
        known = np.isfinite(found)
        extreme += (known & (np.abs(found) >= np.abs(difference) - 1e-12)).sum(axis=0)
        valid += known.sum(axis=0)
        done += draws
    p = np.where(np.isfinite(difference), (1 + extreme) / (1 + valid), np.nan)
    arrangements = 1.0
    for rows in strata:
        _, kinds = np.unique(right[rows], axis=0, return_counts=True)
        arrangements *= _arrangements(kinds)
        if arrangements > 1e6:
            break
    note = (
        f"Patients can exchange what is right in {arrangements:.0f} ways only: p cannot be small."
        if arrangements < _FEW_ARRANGEMENTS
        else ""
    )
    return p, note


def _arrangements(kinds: npt.NDArray[np.intp]) -> float:
    """Ways to deal out so many of each kind."""
    from scipy.special import gammaln

    return float(np.exp(min(gammaln(kinds.sum() + 1) - gammaln(kinds + 1).sum(), 50.0)))
