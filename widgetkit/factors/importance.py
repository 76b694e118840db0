"""How much the network's answer hangs on each factor: take it out and run the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._hooks import Cancel, Progress
from widgetkit.errors import InvalidInput
from widgetkit.factors import sobol as sensitivity
from widgetkit.factors.decompose import Counter, chunks, tiles_that_fit
from widgetkit.factors.groups import values_of
from widgetkit.factors.means import Mean, choose_rows, mean_by_group
from widgetkit.factors.parts import Parts, Residual, check_residual
from widgetkit.factors.rest import Head, Network, Rest, checked, class_index, class_scores

if TYPE_CHECKING:
    import pandas as pd

    from widgetkit.factors.factors import Factors
    from widgetkit.store import ActivationStore

Array = npt.NDArray[np.float64]


# -- on arrays -----------------------------------------------------------------------------
def masked_scores(
    head: Head,
    parts: Parts,
    masks: npt.ArrayLike,
    index: int,
    *,
    rows: npt.NDArray[Any] | None = None,
    residual: Residual = "keep",
    tick: Callable[[int], object] = lambda done: None,
) -> Array:
    """Logit and probability of a class with the factors at the strengths of the masks.

    A factor that is zero in the whole tile makes no difference under any mask; such masks are run
    once.

    Parameters
    ----------
    head : callable
        ``head(activations (b, C, *grid), rows (b,)) -> logits (b, n_classes)``.
    parts : Parts
    masks : (q, k) or (m, q, k) float
        The same for all tiles, or each tile's own. 1 leaves a factor as it is, 0 removes it.
    index : int
        The class.
    rows : (m,) int, optional
        What ``head`` knows the tiles by. Default: their places.
    residual : "keep" or "drop"
        Whether what no factor explains stays. See :meth:`Parts.under`.
    tick : callable
        Told after each batch how many (tile, mask) pairs it stood for; may raise to stop.

    Returns
    -------
    (m, q, 2) float64

    Raises
    ------
    InvalidInput, BadActivations
        Masks or logits of another shape, or logits that are not finite.
    """
    m, k = len(parts), parts.k
    given = np.asarray(masks, np.float64)
    if given.ndim not in (2, 3) or given.shape[-1] != k or given.shape[:-2] not in ((), (m,)):
        raise InvalidInput(
            f"Masks of shape {given.shape} for {m} tiles and {k} factors: (q, k) or (m, q, k)."
        )
    numbers = np.arange(m) if rows is None else np.asarray(rows)
    q = given.shape[-2]
    each = np.broadcast_to(given, (m, q, k))
    present = holds(parts)
    scores = np.empty((m, q, 2))
    step = tiles_that_fit(parts.activations[:1].nbytes)
    tiles, kept, back = [], [], []
    for tile in range(m):
        different, where = each[tile], np.arange(q)
        if not present[tile].all():
            same = np.where(present[tile], each[tile], 1.0)
            different, where = np.unique(same, axis=0, return_inverse=True)
        back.append(where.reshape(-1))
        tiles.append(np.full(len(different), tile))
        kept.append(different)
    pairs, strengths = np.concatenate(tiles), np.concatenate(kept)
    found = np.empty((len(pairs), 2))
    for start in range(0, len(pairs), step):
        some = slice(start, start + step)
        changed = parts.under(pairs[some], strengths[some], residual)
        logits = checked(head(changed, numbers[pairs[some]]), numbers[pairs[some]])
        found[some] = class_scores(logits, class_index(index, logits.shape[1]))
        tick(round(m * q * min(start + step, len(pairs)) / len(pairs)))
    first = 0
    for tile, where in enumerate(back):
        scores[tile] = found[first + where]
        first += len(kept[tile])
    return scores


def removal(
    head: Head,
    parts: Parts,
    index: int,
    *,
    rows: npt.NDArray[Any] | None = None,
    residual: Residual = "keep",
    tick: Callable[[int], object] = lambda done: None,
) -> Array:
    """Fall of the class's logit and probability when each factor alone is taken away.

    Parameters
    ----------
    head, parts, index, rows, residual, tick
        As :func:`masked_scores`.

    Returns
    -------
    (m, k, 2) float64
        Positive where the factor speaks for the class; exactly 0 where its weights are.
    """
    masks = np.concatenate([np.ones((1, parts.k)), 1 - np.eye(parts.k)])
    scores = masked_scores(head, parts, masks, index, rows=rows, residual=residual, tick=tick)
    return scores[:, :1] - scores[:, 1:]


def sobol_indices(
    head: Head,
    parts: Parts,
    index: int,
    *,
    designs: int = 32,
    seed: int = 0,
    rows: npt.NDArray[Any] | None = None,
    residual: Residual = "keep",
    tick: Callable[[int], object] = lambda done: None,
) -> Array:
    """Total Sobol index of each factor in each tile's logit.

    The strengths of the factors are drawn between 0 and 1, all at once; an index is the share of
    the logit's variance in which the factor has a part, alone or together with others. Every tile
    has its own scrambled sequence, drawn from ``seed`` and its row.

    Parameters
    ----------
    head, parts, index, rows, residual, tick
        As :func:`masked_scores`; ``designs * (k + 2)`` masks a tile.
    designs : int
        A power of two.
    seed : int

    Returns
    -------
    (m, k) float64
        NaN for tiles whose logit does not change under any mask.

    References
    ----------
    Fel et al., CRAFT: Concept Recursive Activation FacTorization for Explainability, CVPR 2023,
    arXiv:2211.10154; Fel et al., Look at the Variance!, NeurIPS 2021, arXiv:2111.04138.
    """
    numbers = np.arange(len(parts)) if rows is None else np.asarray(rows)
    masks = [
        # SeedSequence mixes the two, so that neighbouring rows have unrelated sequences
        sensitivity.designs(
            parts.k, designs, int(np.random.SeedSequence([seed, int(row)]).generate_state(1)[0])
        )
        for row in numbers
    ]
    if not masks:
        return np.zeros((0, parts.k))
    scores = masked_scores(
        head, parts, np.stack(masks), index, rows=numbers, residual=residual, tick=tick
    )
    return sensitivity.total_indices(scores[..., 0], parts.k)


# -- of a store ----------------------------------------------------------------------------
def concept_importance(
    model: Network,
    store: ActivationStore,
    factors: Factors,
    *,
    target_class: int | str,
    rows: object = None,
    n: int | None = 256,
    seed: int = 0,
    sobol: bool = True,
    sobol_n: int = 64,
    designs: int = 32,
    residual: Residual = "keep",
    by: str | None = None,
    n_boot: int = 1000,
    level: float = 0.95,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> pd.DataFrame:
    """How much the network's score of a class hangs on each factor, over tiles.

    ``drop`` is the fall of the class's logit when the factor's part ``W_j H_j`` is subtracted from
    the stored activations and the rest of the network is run on the remainder; everything else,
    what no factor explains included, stays. ``sobol`` is the total Sobol index (CRAFT): all factors
    are varied at once, so it also counts what a factor does together with others, and has no sign.
    On a linear head behind global pooling ``drop`` is ``w_c . mean(W_j) H_j`` and the indices are
    its squares, normalised.

    Means are over tiles and intervals by drawing whole slides with replacement.

    Parameters
    ----------
    model : ModelContext
        ``ModelContext.for_store(network, store)``.
    store : ActivationStore
    factors : Factors
    target_class : int or str
        A number, or one of ``store.class_names``.
    rows : sequence of int, mask or None
        Tiles to look at; all by default. For the tiles of one class give their rows:
        ``store.outputs.argmax(1) == target_class``.
    n : int or None
        At most so many of them, drawn by ``seed``. Each costs at most ``k + 1`` runs of the rest.
    seed : int
    sobol : bool
        False leaves the Sobol indices out (NaN): they cost ``designs * (k + 2)`` runs a tile.
    sobol_n, designs : int
        Tiles (the first of a shuffle of the n) and points of the Sobol indices.
    residual : "keep" or "drop"
        "drop" removes factors from the reconstruction ``W H`` instead, as CRAFT does: importance for
        what the network makes of the factors alone. Read :func:`completeness` beside it.
    by : str, optional
        Column of the tiles to group by. Default: ``slide``, else ``source``.
    n_boot : int
        Draws for the intervals.
    level : float
    progress, cancel : callable, optional
        Between batches.

    Returns
    -------
    DataFrame
        One row a factor, in the factors' order: ``factor``, ``drop``, ``low``, ``high`` (units of the
        logit), ``drop_probability``, ``probability_low``, ``probability_high``, ``sobol``,
        ``sobol_low``, ``sobol_high``, ``present`` (share of the tiles that hold the factor at all).
        ``attrs`` holds ``target``, ``class_name``, ``tiles``, ``sobol_tiles`` (those that have an
        index), ``groups``, ``residual``, ``designs``, ``seed`` and ``note``.

    Raises
    ------
    InvalidInput, UnknownName
        No such class (the classes are listed), row or column, or the rest of the network cannot be
        run.
    StoreMismatch
        The network or the factors belong to another store.
    BadActivations
        Activations or logits are not finite; the tiles are named.
    Cancelled

    References
    ----------
    Fel et al., CRAFT, CVPR 2023, arXiv:2211.10154.
    """
    import pandas as pd

    check_residual(residual)
    if sobol_n < 1:
        raise InvalidInput(f"sobol_n is {sobol_n}: use 1 or more, or sobol=False.")
    chosen = choose_rows(len(store), rows, n, seed)
    order = np.random.default_rng([seed, 1]).permutation(len(chosen))
    varied = np.zeros(len(chosen), bool)
    varied[order[: sobol_n if sobol else 0]] = True
    runs = (factors.k + 1) * len(chosen)
    if sobol:
        sensitivity.designs(1, designs, seed)  # refuses a wrong number before anything is run
        runs += int(varied.sum()) * designs * (factors.k + 2)
    groups, what = values_of(store, chosen, by)
    rest = Rest(model, store, factors.layer)
    counter = Counter(runs, progress, cancel)
    drops = np.empty((len(chosen), factors.k, 2))
    indices = np.full((len(chosen), factors.k), np.nan)
    present = np.empty((len(chosen), factors.k), bool)
    index: int | None = None
    for at, parts in chunks(store, factors, chosen):
        here = chosen[at]
        if index is None:
            classes = rest(parts.activations[:1], here[:1]).shape[1]
            index = class_index(target_class, classes, store.class_names)
        present[at] = holds(parts)
        tick = counter.part(len(here) * (factors.k + 1))
        drops[at] = removal(rest, parts, index, rows=here, residual=residual, tick=tick)
        some = varied[at]
        if some.any():
            tick = counter.part(int(some.sum()) * designs * (factors.k + 2))
            indices[at.start + np.flatnonzero(some)] = sobol_indices(
                rest,
                parts.take(some),
                index,
                designs=designs,
                seed=seed,
                rows=here[some],
                residual=residual,
                tick=tick,
            )
    assert index is not None
    options: dict[str, Any] = {"what": what, "n_boot": n_boot, "level": level, "seed": seed}
    logit, probability = (mean_by_group(drops[..., i], groups, **options) for i in (0, 1))
    total = _nothing(factors.k)
    if sobol:
        total = mean_by_group(indices[varied], groups[varied], **options)
    table = pd.DataFrame(
        {
            "factor": np.arange(factors.k),
            "drop": logit.value,
            "low": logit.low,
            "high": logit.high,
            "drop_probability": probability.value,
            "probability_low": probability.low,
            "probability_high": probability.high,
            "sobol": total.value,
            "sobol_low": total.low,
            "sobol_high": total.high,
            "present": present.mean(axis=0),
        }
    )
    names = store.class_names
    notes = (logit.note, rest.note, _said(present, indices, varied))
    table.attrs.update(
        target=index,
        class_name=names[index] if names else str(index),
        tiles=len(chosen),
        sobol_tiles=int(total.tiles.max(initial=0)),
        groups=logit.groups,
        residual=residual,
        designs=designs if sobol else 0,
        seed=seed,
        note=" ".join(filter(None, notes)),
    )
    return table


def holds(parts: Parts) -> npt.NDArray[np.bool_]:
    """``(m, k)``: which factors a tile holds at any position."""
    return np.asarray((parts.weights != 0).any(axis=tuple(range(2, parts.weights.ndim))))


def _nothing(k: int) -> Mean:
    nan = np.full(k, np.nan)
    return Mean(nan, nan, nan, np.zeros(k, np.int64), 0, "")


def _said(present: npt.NDArray[np.bool_], indices: Array, varied: npt.NDArray[np.bool_]) -> str:
    """What a reader of the table must be told about factors and tiles that have no say."""
    said = []
    absent = np.flatnonzero(~present.any(axis=0))
    if len(absent):
        said.append(
            f"Factor{'s' * (len(absent) > 1)} {', '.join(map(str, absent))} "
            f"{'are' if len(absent) > 1 else 'is'} zero in all tiles looked at."
        )
    flat = int(np.isnan(indices[varied]).all(axis=1).sum())
    if flat:
        said.append(
            f"In {flat} of {int(varied.sum())} tiles no factor changes the logit; they have no Sobol "
            "index."
        )
    return " ".join(said)
