"""Scores as detectors of wrong predictions: ROC and risk-coverage, beside the network's confidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import check_count, check_seed
from widgetkit.analysis.resampling import Counts, check_level, interval, resample
from widgetkit.concepts._labels import Array, checked_correct
from widgetkit.concepts._measures import Ranking, curves
from widgetkit.errors import ChannelMismatch, InvalidInput, TooFew, UnknownName, near

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RiskCoverage:
    """Share of wrong predictions among those most trusted, as more and more are kept.

    Attributes
    ----------
    coverage : (n,) share of images kept, from 1/n to 1
    risk : (n,) share of wrong ones among them; equal scores in random order, on average
    area : mean risk over all coverages (area under the curve)
    best : that of a score that puts all wrong ones last
    chance : that of a useless score: the share of wrong ones
    """

    coverage: Array = field(repr=False)
    risk: Array = field(repr=False)
    area: float
    best: float
    chance: float

    def at(self, coverage: float) -> float:
        """Risk where at least this share is kept."""
        if not 0 < coverage <= 1:
            raise InvalidInput(f"coverage must be above 0 and at most 1; got {coverage!r}.")
        return float(self.risk[int(np.searchsorted(self.coverage, coverage - 1e-12))])


def risk_coverage(score: npt.ArrayLike, correct: npt.ArrayLike) -> RiskCoverage:
    """The risk-coverage curve of a score that says how much a prediction is to be trusted.

    Parameters
    ----------
    score : (m,) float
        Larger = trusted more.
    correct : (m,) bool

    Raises
    ------
    TooFew
        No image.
    InvalidInput

    References
    ----------
    El-Yaniv & Wiener (2010), JMLR 11. Geifman, Uziel & El-Yaniv (2019), ICLR.
    """
    values = _trust(score, "score")
    right, _, _ = checked_correct(correct, None, len(values))
    n, wrong = len(values), int((~right).sum())
    _, ranks = np.unique(-values, return_inverse=True)  # the most trusted first
    sizes = np.bincount(ranks)
    errors = np.bincount(ranks, weights=~right)
    before, missed = np.cumsum(sizes) - sizes, np.cumsum(errors) - errors
    kept = np.arange(1, n + 1)
    group = np.repeat(np.arange(len(sizes)), sizes)
    inside = kept - before[group]
    risk = (missed[group] + errors[group] * inside / sizes[group]) / kept
    last = np.maximum(kept - (n - wrong), 0) / kept
    return RiskCoverage(kept / n, risk, float(risk.mean()), float(last.mean()), wrong / n)


@dataclass(frozen=True)
class ErrorDetection:
    """What :func:`error_detection` found.

    Attributes
    ----------
    table : DataFrame
        ``detector``, ``measure`` ("AUC" of telling right from wrong predictions, "risk-coverage area", of
        which less is better), ``value``, ``low``, ``high``, ``difference`` (to the detector compared with),
        ``difference_low``, ``difference_high``, ``n``, ``wrong``, ``patients``, ``note``.
    curves : dict of detector to RiskCoverage
    against : the detector compared with
    """

    table: pd.DataFrame
    curves: dict[str, RiskCoverage] = field(repr=False)
    against: str


def error_detection(
    scores: Mapping[str, npt.ArrayLike],
    correct: npt.ArrayLike,
    patients: npt.ArrayLike | None = None,
    *,
    against: str | None = None,
    n_boot: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> ErrorDetection:
    """How well scores tell wrong predictions from right ones, beside the network's own confidence.

    Parameters
    ----------
    scores : mapping of names to (m,) float
        Larger = trusted more; e.g. the consistency score and the largest probability of the network.
    correct : (m,) bool
        The prediction is right.
    patients : (m,), optional
        Drawn whole for the intervals; each image its own by default. Detectors are compared in the
        same draws.
    against : str, optional
        The detector the others are compared with; "confidence" where there is one, else the first.
    n_boot, level, seed
        Of the intervals.

    Raises
    ------
    UnknownName
        ``against`` is none of the scores.
    InvalidInput, TooFew
    """
    import pandas as pd

    n_boot, seed = check_count(n_boot, "n_boot", least=0), check_seed(seed)
    level = check_level(level)
    if not scores:
        raise InvalidInput("There is no score to detect errors with.")
    names = [str(name) for name in scores]
    values = [_trust(score, name) for name, score in zip(names, scores.values(), strict=True)]
    beside = ("confidence" if "confidence" in names else names[0]) if against is None else against
    if beside not in names:
        raise UnknownName(f"There is no score {beside!r} to compare with. {near(beside, names)}")
    m = len(values[0])
    if any(len(one) != m for one in values):
        raise ChannelMismatch("The scores have different numbers of images.")
    right, owner, units = checked_correct(correct, patients, m)
    count = max(units.count, 1)
    rankings = [Ranking(one, right, units.codes, count) for one in values]
    reference = names.index(beside)

    def statistic(counts: Counts) -> Array:
        own = np.stack([one.drawn(_detection, counts) for one in rankings], axis=1)
        return np.stack([own, own - own[:, [reference]]], axis=3)  # (draws, detectors, measures, 2)

    own = np.stack([one.value(_detection) for one in rankings])
    value = np.stack([own, own - own[reference]], axis=2)
    low = high = np.full(value.shape, np.nan)
    if n_boot and units.usable:
        low, high = interval(resample(statistic, units.count, n_boot, seed), units.count, level)
    wrong = int((~right).sum())
    said = [units.note if n_boot else ""]
    if wrong in (0, m):
        said.insert(
            0,
            f"All predictions are {'right' if not wrong else 'wrong'}: there is nothing to tell apart.",
        )
    rows = []
    for d, name in enumerate(names):
        for at, measure in enumerate(("AUC", "risk-coverage area")):
            known = np.isfinite(value[d, at])
            other = known & (d != reference)
            rows.append(
                {
                    "detector": name,
                    "measure": measure,
                    "value": value[d, at, 0],
                    "low": np.where(known, low[d, at], np.nan)[0],
                    "high": np.where(known, high[d, at], np.nan)[0],
                    "difference": np.where(other, value[d, at], np.nan)[1],
                    "difference_low": np.where(other, low[d, at], np.nan)[1],
                    "difference_high": np.where(other, high[d, at], np.nan)[1],
                    "n": m,
                    "wrong": wrong,
                    "patients": len(np.unique(owner)),
                    "note": " ".join(filter(None, said)),
                }
            )
    shown = {name: risk_coverage(one, right) for name, one in zip(names, values, strict=True)}
    return ErrorDetection(pd.DataFrame(rows), shown, beside)


def _detection(right: Array, wrong: Array) -> Array:
    """(draws, 2) AUC and area under the risk-coverage curve, from counts by ascending score."""
    return np.stack([curves(right, wrong)[:, 0], _area(right, wrong)], axis=1)


def _area(right: Array, wrong: Array) -> Array:
    """Mean risk over all coverages; equal scores in random order.

    Of ``t`` equal scores with ``e`` wrong ones, after ``n`` kept with ``E`` wrong ones, the risks add up to
    ``sum_i (E + e i / t) / (n + i) = e + (E - e n / t) (digamma(n + t + 1) - digamma(n + 1))``.
    """
    from scipy.special import digamma

    size, errors = (right + wrong)[:, ::-1], wrong[:, ::-1]
    total = size.sum(axis=1)
    kept = np.cumsum(size, axis=1)
    before, missed = kept - size, np.cumsum(errors, axis=1) - errors
    share = errors / np.where(size > 0, size, 1)
    each = errors + (missed - share * before) * (digamma(kept + 1) - digamma(before + 1))
    area = np.where(size > 0, each, 0.0).sum(axis=1)
    return np.where(total > 0, area / np.where(total > 0, total, 1), np.nan)


def _trust(score: npt.ArrayLike, name: str) -> Array:
    values = np.asarray(score, np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise InvalidInput(
            f"{name} must hold one finite number an image; got shape {values.shape}"
            f"{'' if values.ndim != 1 else ' with NaN or infinity'}."
        )
    if not len(values):
        raise TooFew(f"{name} holds no image.")
    return values
