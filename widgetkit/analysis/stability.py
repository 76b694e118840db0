"""Whether factors and clusters come back when the seed or the tiles change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import Floats, as_matrix, check_count, check_seed
from widgetkit.analysis._hooks import Cancel, Progress, checkpoint
from widgetkit.errors import ChannelMismatch, InvalidInput, TooFew

Fit = Callable[[Floats, int], npt.ArrayLike]
"""``fit(X, seed)`` gives prototypes (k, C), or labels (n,) of the rows."""


def match(
    a: npt.ArrayLike, b: npt.ArrayLike
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """For every row of ``a (k, C)`` the row of ``b (k, C)`` it is paired with, and their cosine.

    The pairing maximises the sum of cosines (Kuhn 1955, by scipy). A row of zeros has cosine 0
    with everything.

    Raises
    ------
    ChannelMismatch
        The two differ in shape.
    """
    from scipy.optimize import linear_sum_assignment

    first, second = (_unit(np.asarray(x, np.float64)) for x in (a, b))
    if first.shape != second.shape or first.ndim != 2:
        raise ChannelMismatch(f"Cannot match factors of shapes {first.shape} and {second.shape}.")
    cosine = first @ second.T
    rows, columns = linear_sum_assignment(-cosine)
    return columns, cosine[rows, columns]


def label_agreement(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Adjusted Rand index of two labelings of the same rows (Hubert & Arabie 1985).

    1 = the same groups whatever their numbers; about 0 = as by chance.

    Raises
    ------
    InvalidInput
        The two differ in length.
    """
    first, second = np.asarray(a), np.asarray(b)
    if first.shape != second.shape or first.ndim != 1:
        raise InvalidInput(
            f"Two labelings of the same rows are needed; got {first.shape} and {second.shape}."
        )
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(first, second))


def stability(
    fit: Fit | Any,
    X: npt.ArrayLike,
    seeds: Sequence[int],
    *,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> dict[str, float]:
    """Agreement of fits with different seeds, over all pairs of them.

    Prototypes are compared by matched cosine (:func:`match`), labels by :func:`label_agreement`.

    Parameters
    ----------
    fit : callable or estimator
        ``fit(X, seed)`` -> prototypes (k, C) or labels (n,), or an estimator with a
        ``random_state`` such as ``NMF(8)`` or ``KMeans(8)``: its ``components_`` or ``labels_``.
    X : (n, C) float
    seeds : at least two
    progress, cancel : callable, optional
        Between fits.

    Returns
    -------
    dict
        ``mean``, ``least`` (of all matched factors, or of all pairs of labelings), ``pairs``.

    Raises
    ------
    TooFew
        Fewer than two seeds.
    """
    if len(seeds) < 2:
        raise TooFew("Stability compares fits: give at least two seeds.")
    rows, run = as_matrix(X), _runner(fit)
    found = []
    for i, seed in enumerate(seeds):
        checkpoint(cancel, progress, i, len(seeds))
        found.append(np.asarray(run(rows, check_seed(seed))))
    checkpoint(cancel, progress, len(seeds), len(seeds))
    return _summary([_agreement(found[i], found[j]) for i in range(len(found)) for j in range(i)])


def bootstrap_stability(
    fit: Fit | Any,
    X: npt.ArrayLike,
    *,
    repeats: int = 10,
    seed: int = 0,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> dict[str, float]:
    """Agreement of the fit to all rows with fits to rows drawn with replacement (Hennig 2007).

    Labels are compared on the rows that were drawn, each counted once.

    Parameters
    ----------
    fit, X, progress, cancel
        As :func:`stability`. Every fit gets the same ``seed``: only the rows differ.
    repeats : int
    seed : int

    Returns
    -------
    dict
        ``mean``, ``least``, ``pairs``, as :func:`stability`.
    """
    rows, run, seed = as_matrix(X), _runner(fit), check_seed(seed)
    repeats = check_count(repeats, "repeats")
    generator = np.random.default_rng(seed)
    whole = np.asarray(run(rows, seed))
    agreements = []
    for i in range(repeats):
        checkpoint(cancel, progress, i, repeats)
        drawn = np.sort(generator.integers(len(rows), size=len(rows)))
        other = np.asarray(run(rows[drawn], seed))
        if whole.ndim == 1:
            once, at = np.unique(drawn, return_index=True)
            agreements.append(_agreement(whole[once], other[at]))
        else:
            agreements.append(_agreement(whole, other))
    checkpoint(cancel, progress, repeats, repeats)
    return _summary(agreements)


def _runner(fit: Fit | Any) -> Fit:
    """``fit`` itself, or what fits copies of an estimator."""
    if not hasattr(fit, "get_params"):
        run: Fit = fit
        return run
    estimator: Any = fit

    def run_estimator(X: Floats, seed: int) -> npt.ArrayLike:
        params = {**estimator.get_params(deep=False), "random_state": seed}
        fitted = type(estimator)(**params).fit(X)
        found = fitted.components_ if hasattr(fitted, "components_") else fitted.labels_
        return np.asarray(found)

    return run_estimator


def _agreement(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    if a.ndim == 1:
        return np.array([label_agreement(a, b)])
    return match(a, b)[1]


def _summary(agreements: list[npt.NDArray[np.float64]]) -> dict[str, float]:
    return {
        "mean": float(np.mean([found.mean() for found in agreements])),
        "least": float(min(found.min() for found in agreements)),
        "pairs": float(len(agreements)),
    }


def _unit(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    unit: npt.NDArray[np.float64] = np.divide(
        rows, length, out=np.zeros_like(rows), where=length > 0
    )
    return unit
