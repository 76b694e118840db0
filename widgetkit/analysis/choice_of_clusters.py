"""How many clusters: elbow, silhouette, gap statistic and stability for each number, and advice."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import (
    Floats,
    as_matrix,
    check_count,
    check_finite,
    check_seed,
    sample_rows,
    working,
)
from widgetkit.analysis._hooks import Cancel, Progress, checkpoint
from widgetkit.analysis.cluster_recommendation import advise
from widgetkit.analysis.gap import Box, gap, log_within
from widgetkit.analysis.kmeans import KMeans
from widgetkit.analysis.stability import label_agreement
from widgetkit.errors import InvalidInput, TooFew

if TYPE_CHECKING:
    import pandas as pd

_Fit = Callable[[int, Floats], KMeans]

#: Rows that everything is measured on, at the most.
CLUSTER_CHOICE_ROWS = 4_000
USUAL = range(2, 9)


@dataclass(frozen=True)
class ClusterChoice:
    """What :func:`choose_clusters` found.

    Attributes
    ----------
    table : DataFrame
        One row a ``k``; the columns are listed at :func:`choose_clusters`.
    recommended : int
    reasons : in plain words, one sentence each
    elbow, silhouette, gap : int or None
        The number that each measure names; None where it names none.
    rows : rows it was measured on
    seed : int
    """

    table: pd.DataFrame = field(repr=False)
    recommended: int
    reasons: tuple[str, ...]
    elbow: int | None
    silhouette: int | None
    gap: int | None
    rows: int
    seed: int

    def explain(self) -> str:
        """The recommendation and its reasons, one line each."""
        clusters = f"{self.recommended} cluster{'' if self.recommended == 1 else 's'}"
        return "\n".join([f"Recommended: {clusters}.", *(f"- {said}" for said in self.reasons)])


def choose_clusters(
    Z: npt.ArrayLike,
    ks: Sequence[int] = USUAL,
    *,
    seed: int = 0,
    n_init: int = 10,
    gap_references: int = 10,
    boots: int = 10,
    sample: int = CLUSTER_CHOICE_ROWS,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> ClusterChoice:
    """Measures of k-means with each number of clusters, and a recommendation with its reasons.

    The rule (:mod:`~widgetkit.analysis.cluster_recommendation`): elbow, silhouette and gap statistic
    each name a number. The gap's is recommended if its clusters come back from other rows, else the
    silhouette's, else the elbow's, on the same condition. Where the gap finds no more than one
    cluster that is the answer, unless silhouette and stability are both high. It is a recommendation:
    what the clusters show decides.

    Parameters
    ----------
    Z : (n, d) float
        Latent vectors, or any embeddings.
    ks : sequence of int
        Numbers of clusters to compare. 1 is always looked at beside them. Numbers that are not below
        that of different rows are left out, and said.
    seed : int
    n_init : int
        Starts of each k-means.
    gap_references : int
        Even clouds that the rows are compared with; at least two.
    boots : int
        Draws with replacement for the stability; at least one.
    sample : int
        Rows that are used at the most, drawn at random.
    progress, cancel : callable, optional
        Between fits.

    Returns
    -------
    ClusterChoice
        Its table has ``k``; ``inertia`` (sum of squared distances to the centres) and ``gain`` (by how
        much of it the step from the ``k`` before lowered it); ``bend`` (distance of the curve of
        inertia below its chord, both axes from 0 to 1: the elbow is where it is largest);
        ``silhouette`` (mean over rows); ``gap`` and ``gap_s`` (Tibshirani et al. 2001); ``stability``
        and ``stability_least`` (adjusted Rand index of the clusters of all rows with those learned
        from a bootstrap draw, on the rows that were not drawn: mean, and the lowest of the draws);
        ``smallest``, ``largest`` and ``sizes`` of the clusters; ``seconds``. NaN where something
        cannot be said.

    Raises
    ------
    TooFew
        None of ``ks`` is below the number of different rows.
    InvalidInput, BadActivations, Cancelled

    References
    ----------
    Tibshirani, Walther & Hastie (2001), the gap statistic, J. R. Statist. Soc. B 63. Rousseeuw (1987),
    silhouettes. Hennig (2007), stability under the bootstrap. Satopaa et al. (2011), the elbow as the
    largest distance to the chord.
    """
    import pandas as pd

    asked, seed = _numbers(ks), check_seed(seed)
    starts = check_count(n_init, "n_init")
    clouds = check_count(gap_references, "gap_references", least=2)
    draws = check_count(boots, "boots")
    values = as_matrix(Z, "Z")
    chosen = sample_rows(len(values), check_count(sample, "sample", least=2), seed)
    rows = working(values[chosen])
    check_finite(rows, "Z")
    numbers, left = _usable(asked, rows)

    total = len(numbers) * (1 + draws) - draws * (numbers[0] == 1) + clouds * len(numbers)
    done = 0

    def step() -> None:
        nonlocal done
        checkpoint(cancel, progress, done, total)
        done += 1

    def fit(k: int, on: Floats) -> KMeans:
        step()
        return KMeans(k, n_init=starts, random_state=seed).fit(on, cancel=cancel)

    found: list[dict[str, float | str]] = []
    for k in numbers:
        began = time.perf_counter()
        model = fit(k, rows)
        sizes = np.sort(np.bincount(model.labels_, minlength=k))[::-1]
        stable = _stability(model, rows, draws, seed, fit) if k > 1 else np.full(1, np.nan)
        found.append(
            {
                "k": k,
                "inertia": model.inertia_,
                "silhouette": _silhouette(rows, model.labels_),
                "stability": float(stable.mean()),
                "stability_least": float(stable.min()),
                "smallest": int(sizes[-1]),
                "largest": int(sizes[0]),
                "sizes": ", ".join(map(str, sizes)),
                "seconds": time.perf_counter() - began,
            }
        )
    table = pd.DataFrame(found)
    box, logs = Box(rows), np.empty((clouds, len(numbers)))
    for b in range(clouds):
        cloud = box.draw(np.random.default_rng([seed, 1, b]))
        logs[b] = [log_within(fit(k, cloud).inertia_) for k in numbers]
    checkpoint(cancel, progress, total, total)
    own = np.array([log_within(float(w)) for w in table["inertia"]])
    table["gap"], table["gap_s"] = gap(own, logs)
    inertia = table["inertia"].to_numpy(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        table["gain"] = np.concatenate([[np.nan], 1 - inertia[1:] / inertia[:-1]])
    table["bend"] = bend(table["k"].to_numpy(float), inertia)
    table = table[list(_COLUMNS)]
    advice = advise(table)
    said = list(advice.reasons)
    if left:
        said.append(
            f"Left out: {', '.join(map(str, left))}. There are no more than {_different(rows)} "
            "different rows, and a cluster of each row is none."
        )
    if len(rows) < len(values):
        said.append(
            f"Measured on {len(rows):,} of {len(values):,} rows, drawn at random (seed {seed})."
        )
    return ClusterChoice(
        table, advice.recommended, tuple(said), advice.elbow, advice.silhouette, advice.gap,
        len(rows), seed,
    )  # fmt: skip


_COLUMNS = (
    "k", "inertia", "gain", "bend", "silhouette", "gap", "gap_s", "stability", "stability_least",
    "smallest", "largest", "sizes", "seconds",
)  # fmt: skip


def bend(ks: Floats, inertia: Floats) -> Floats:
    """How far the curve lies below its chord, with both axes scaled to 0..1.

    The vertical distance; the distance at a right angle is that over the square root of 2. NaN at
    all where there are fewer than three numbers, or where the curve does not fall.
    """
    fall = inertia[0] - inertia[-1]
    if len(ks) < 3 or not fall > 0:
        return np.full(len(ks), np.nan)
    x = (ks - ks[0]) / (ks[-1] - ks[0])
    y = (inertia - inertia[-1]) / fall
    found: Floats = (1 - x) - y
    return found


def _numbers(ks: Sequence[int]) -> list[int]:
    numbers = sorted({check_count(k, "each of ks") for k in ks})
    if not numbers or numbers == [1]:
        raise InvalidInput(
            "ks is empty, or holds 1 alone: give the numbers of clusters to compare, e.g. range(2, 9)."
        )
    return numbers


def _different(rows: Floats) -> int:
    return len(np.unique(rows, axis=0))


def _usable(asked: list[int], rows: Floats) -> tuple[list[int], list[int]]:
    """Numbers to compare, with 1, and those that make no sense with so few different rows."""
    different = _different(rows)
    fine = [k for k in asked if k < different]
    if not any(k > 1 for k in fine):
        what = "are all the same" if different == 1 else f"hold {different} different ones"
        raise TooFew(
            f"The {len(rows)} rows of Z {what}, and ks asks for {', '.join(map(str, asked))} clusters: "
            "a number of clusters must be below that of different rows."
        )
    return sorted({1, *fine}), [k for k in asked if k not in fine]


def _silhouette(rows: Floats, labels: npt.NDArray[np.int32]) -> float:
    if not 2 <= len(np.unique(labels)) < len(rows):
        return float("nan")
    from sklearn.metrics import silhouette_score

    return float(silhouette_score(rows, labels))


def _stability(model: KMeans, rows: Floats, draws: int, seed: int, fit: _Fit) -> Floats:
    """Agreement with each bootstrap draw, on the rows that were not drawn."""
    n, k = len(rows), model.n_clusters
    found = np.empty(draws)
    for b in range(draws):
        drawn = np.sort(np.random.default_rng([seed, 2, b]).integers(n, size=n))
        other = fit(k, rows[drawn])
        rest = np.setdiff1d(np.arange(n), drawn)
        if len(rest) < 2:  # of very few rows all may have been drawn
            rest = np.arange(n)
        found[b] = label_agreement(model.labels_[rest], other.predict(rows[rest]))
    return found
