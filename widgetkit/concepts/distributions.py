"""Units that separate images with a concept from those without, and how their activations are distributed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import as_matrix, check_count, check_finite
from widgetkit.analysis._columns import Codes, group_codes
from widgetkit.concepts._labels import Array, Examples, Mask, concept_number
from widgetkit.concepts._tests import Correction, corrected
from widgetkit.errors import InvalidInput, UnknownName

if TYPE_CHECKING:
    import pandas as pd

# Shares at which a distribution is described: its ends, whiskers, quartiles and middle.
_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)

_FEW_PATIENTS = 6


@dataclass(frozen=True)
class Distribution:
    """Activations of one unit.

    Attributes
    ----------
    edges : (bins + 1,) the same for both sides
    inside, outside : (bins,) share of the images with, and without, the concept in each bin
    quantiles_inside, quantiles_outside : dict of share to activation
    """

    edges: Array
    inside: Array
    outside: Array
    quantiles_inside: dict[float, float]
    quantiles_outside: dict[float, float]


@dataclass(frozen=True)
class UnitDistributions:
    """What :func:`unit_distributions` found.

    Attributes
    ----------
    table : DataFrame
        The most separating units of each concept, the strongest first: ``concept``, ``unit`` (number), ``r``
        (point-biserial), ``p``, ``p_corrected``, ``mean_with``, ``mean_without``, ``n_with``, ``n_without``,
        ``patients``, ``note``.
    r, p, p_corrected : (F, d) of all units; NaN for constant units and concepts that cannot be compared
    names : (F,)
    """

    table: pd.DataFrame
    r: Array = field(repr=False)
    p: Array = field(repr=False)
    p_corrected: Array = field(repr=False)
    names: tuple[str, ...]
    _X: Array = field(repr=False)
    _labels: Examples = field(repr=False)

    def of(self, concept: str, unit: int, *, bins: int = 20) -> Distribution:
        """How the activations of a unit are distributed in images with and without a concept.

        Parameters
        ----------
        concept : str
        unit : int
        bins : int
            Of equal width over all labelled images.

        Raises
        ------
        UnknownName
            No such concept or unit.
        InvalidInput
            The concept has no image on one side.
        """
        f, bins = concept_number(self.names, concept), check_count(bins, "bins")
        if not 0 <= unit < self._X.shape[1]:
            raise UnknownName(
                f"There is no unit {unit!r}; the layer has units 0 to {self._X.shape[1] - 1}."
            )
        known = self._labels.known[:, f]
        values, there = self._X[known, unit], self._labels.present[known, f]
        if there.all() or not there.any():
            raise InvalidInput(
                f"{concept!r} has no labelled image on one side: nothing to compare."
            )
        edges = np.histogram_bin_edges(values, bins=bins)
        shares = [np.histogram(values[side], edges)[0] / side.sum() for side in (there, ~there)]
        marks = [np.quantile(values[side], _QUANTILES) for side in (there, ~there)]
        first, second = (dict(zip(_QUANTILES, map(float, mark), strict=True)) for mark in marks)
        return Distribution(edges, shares[0], shares[1], first, second)


def unit_distributions(
    X: npt.ArrayLike,
    Y: object,
    *,
    units: int = 3,
    names: Sequence[str] | None = None,
    patients: npt.ArrayLike | None = None,
    correction: Correction = "bh",
) -> UnitDistributions:
    """Point-biserial correlation of every unit with every concept, and the most separating units.

    Parameters
    ----------
    X : (n, d) float
        Activations, one row an image.
    Y : (n, F) array or table, (n,), or mapping of names to examples
        1: the concept is there, 0: it is not, NaN: not labelled.
    units : int
        Units a concept in the table, by the size of the correlation.
    names : sequence of str, optional
    patients : (n,), optional
        Images of one patient are alike: ``p`` is then by the patients' scatter (the sandwich estimate
        of a clustered variance, Student's t with one degree of freedom less than patients). Without
        them it is the usual one, of images taken as independent.
    correction : "bh", "holm", "bonferroni" or "none"
        For the number of units times concepts.

    Raises
    ------
    InvalidInput, BadActivations, ChannelMismatch

    References
    ----------
    Tate (1954), Annals of Mathematical Statistics 25 (point-biserial). Liang & Zeger (1986),
    Biometrika 73 (sandwich).
    """
    import pandas as pd

    units = check_count(units, "units")
    given = as_matrix(X)
    check_finite(given)
    rows = given.astype(np.float64)
    n, d = rows.shape
    labels = Examples.of(Y, n, names)
    owner = np.arange(n) if patients is None else group_codes(patients, n, "patients")[1]
    F = len(labels.names)
    r, p = np.full((F, d), np.nan), np.full((F, d), np.nan)
    notes = [""] * F
    last: tuple[Mask, tuple[Array, Mask]] | None = None
    for f in range(F):
        known, there = labels.known[:, f], labels.present[:, f]
        shown, rest = int(there.sum()), int((known & ~there).sum())
        if not shown or not rest:
            notes[f] = "No image is labelled as " + ("with it." if not shown else "without it.")
            continue
        if last is None or not np.array_equal(last[0], known):  # most concepts have the same images
            last = known, _standardised(rows[known])
        r[f], p[f], notes[f] = _of_concept(
            *last[1], there[known], None if patients is None else owner[known]
        )
    p_corrected = corrected(p, correction)
    lines = []
    for f, name in enumerate(labels.names):
        size = np.where(np.isfinite(r[f]), np.abs(r[f]), -1.0)
        there, without = labels.present[:, f], labels.known[:, f] & ~labels.present[:, f]
        best = [u for u in np.argsort(-size, kind="stable")[:units] if size[u] >= 0]
        for u in best:
            lines.append(
                {
                    "concept": name,
                    "unit": int(u),
                    "r": r[f, u],
                    "p": p[f, u],
                    "p_corrected": p_corrected[f, u],
                    "mean_with": rows[there, u].mean(),
                    "mean_without": rows[without, u].mean(),
                    "n_with": int(there.sum()),
                    "n_without": int(without.sum()),
                    "patients": len(np.unique(owner[labels.known[:, f]])),
                    "note": notes[f],
                }
            )
    columns = ["concept", "unit", "r", "p", "p_corrected", "mean_with", "mean_without"]
    columns += ["n_with", "n_without", "patients", "note"]
    table = pd.DataFrame(lines, columns=columns)
    return UnitDistributions(table, r, p, p_corrected, labels.names, rows, labels)


def _standardised(X: Array) -> tuple[Array, Mask]:
    """Units of mean 0 and standard deviation 1, constant ones 0; and which are not constant."""
    varies: Mask = X.min(axis=0) < X.max(axis=0)
    Z = X - X.mean(axis=0)
    Z /= np.where(varies, X.std(axis=0), 1.0)
    Z[:, ~varies] = 0.0
    return Z, varies


def _of_concept(
    Z: Array, varies: Mask, there: Mask, owner: Codes | None
) -> tuple[Array, Array, str]:
    """(d,) correlations and p-values of each standardised unit with one concept, and a note."""
    from scipy.sparse import csr_array
    from scipy.special import stdtr

    n = len(Z)
    y = there - there.mean()
    y = y / y.std()
    r = np.clip(Z.T @ y / n, -1.0, 1.0)
    note = ""
    if owner is None:
        free, error = n - 2, np.sqrt(np.maximum(1 - r * r, 0.0) / max(n - 2, 1))
    else:
        _, own = np.unique(owner, return_inverse=True)
        groups = int(own.max()) + 1
        free = groups - 1
        # scatter of the patients' sums of y times what the unit leaves unexplained
        products = csr_array((y, (own, np.arange(n))), shape=(groups, n)) @ Z
        squares = np.bincount(own, y * y, minlength=groups)
        scatter = products - squares[:, None] * r
        share = groups / max(groups - 1, 1)  # as few patients scatter less than many (CR1)
        error = np.sqrt(share * (scatter * scatter).sum(axis=0)) / n
        if groups < _FEW_PATIENTS:
            note = f"Only {groups} patients: p is smaller than it should be."
    if free < 1:
        return np.where(varies, r, np.nan), np.full(len(r), np.nan), "Too few images for a p."
    t = np.where(error > 0, np.abs(r) / np.where(error > 0, error, 1.0), np.inf)
    p = np.where(np.abs(r) > 0, 2 * stdtr(free, -t), 1.0)
    still = int((~varies).sum())
    if still:
        note = " ".join(filter(None, [f"{still} of {len(r)} units are constant.", note]))
    return np.where(varies, r, np.nan), np.where(varies, p, np.nan), note
