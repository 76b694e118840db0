"""Is a ranking of factors faithful? Take them away, or put them in, one after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._hooks import Cancel, Progress
from widgetkit.errors import InvalidInput, UnknownName, near
from widgetkit.explain.faithfulness import Curve, Score
from widgetkit.factors.decompose import Counter, chunks
from widgetkit.factors.groups import values_of
from widgetkit.factors.importance import masked_scores
from widgetkit.factors.means import choose_rows, mean_by_group
from widgetkit.factors.parts import Residual, check_residual
from widgetkit.factors.rest import Network, Rest, class_index

if TYPE_CHECKING:
    import pandas as pd

    from widgetkit.factors.factors import Factors
    from widgetkit.store import ActivationStore

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ConceptCurves:
    """The score of a class while factors are taken away, or put in, in an order.

    Attributes
    ----------
    order : (k,) int
        The first is taken away, and put in, first.
    deletion, insertion : Curve
        Of ``order``; ``fractions`` is the share of factors changed, ``scores (m, k + 1)`` one curve
        a tile. A faithful order has a low area of deletion and a high one of insertion.
    random_deletion, random_insertion : Curve
        Means over random orders, to compare with.
    areas : DataFrame
        Columns ``curve`` ("deletion", "insertion"), ``area``, ``low``, ``high``, ``random`` (area
        of the random orders), ``gain`` (how much better than random: random less area for
        deletion, area less random for insertion), ``gain_low``, ``gain_high``. Intervals by slide.
    note : str
    """

    order: npt.NDArray[np.intp]
    deletion: Curve
    insertion: Curve
    random_deletion: Curve
    random_insertion: Curve
    areas: pd.DataFrame
    note: str


def concept_curves(
    model: Network,
    store: ActivationStore,
    factors: Factors,
    order: pd.DataFrame | Sequence[int] | npt.NDArray[Any],
    *,
    target_class: int | str,
    rank_by: str = "drop",
    rows: object = None,
    n: int | None = 128,
    random_orders: int = 8,
    score: Score = "probability",
    residual: Residual = "keep",
    seed: int = 1,
    by: str | None = None,
    n_boot: int = 1000,
    level: float = 0.95,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> ConceptCurves:
    """Deletion and insertion of factors in the order of their importance.

    Deletion starts from the activations as they are and takes factors away; insertion starts
    without any factor and puts them in. An order that was found on the same tiles is judged too
    kindly: the default ``seed`` differs from that of :func:`concept_importance`, and ``rows`` keeps
    the two apart where there are few tiles.

    Parameters
    ----------
    model : ModelContext
        ``ModelContext.for_store(network, store)``.
    store : ActivationStore
    factors : Factors
    order : DataFrame or (k,) int
        From :func:`concept_importance` (sorted by ``rank_by``, highest first), or every factor once.
    target_class : int or str
    rank_by : str
        Column of the table, e.g. "drop" or "sobol".
    rows : sequence of int, mask or None
        Tiles to look at; all by default.
    n : int or None
        At most so many of them, drawn by ``seed``.
    random_orders : int
        Orders to compare with, the same for all tiles.
    score : "probability" or "logit"
    residual : "keep" or "drop"
        Whether what no factor explains is there all the time, or never.
    seed, by, n_boot, level, progress, cancel
        As :func:`concept_importance`.

    Returns
    -------
    ConceptCurves

    Raises
    ------
    InvalidInput
        The order does not hold every factor once, or as :func:`concept_importance`.
    StoreMismatch, BadActivations, UnknownName, Cancelled
        As :func:`concept_importance`.

    References
    ----------
    Petsiuk et al., RISE, BMVC 2018, for pixels; Ghorbani et al., Towards Automatic Concept-based
    Explanations, NeurIPS 2019, arXiv:1902.03129, for concepts ("smallest destroying" and "smallest
    sufficient concepts").
    """
    check_residual(residual)
    if score not in ("probability", "logit"):
        raise InvalidInput(f"score is {score!r}: use 'probability' or 'logit'.")
    if random_orders < 1:
        raise InvalidInput(f"random_orders is {random_orders}: use 1 or more.")
    ranking = ranked(order, factors.k, rank_by)
    chosen = choose_rows(len(store), rows, n, seed)
    groups, what = values_of(store, chosen, by)
    generator = np.random.default_rng([seed, 3])
    orders = [ranking, *(generator.permutation(factors.k) for _ in range(random_orders))]
    masks, where = np.unique(
        np.concatenate([m for o in orders for m in path_masks(o)]), axis=0, return_inverse=True
    )
    rest = Rest(model, store, factors.layer)
    counter = Counter(len(masks) * len(chosen), progress, cancel)
    scores = np.empty((len(chosen), len(masks)))
    index: int | None = None
    for at, parts in chunks(store, factors, chosen):
        here = chosen[at]
        if index is None:
            classes = rest(parts.activations[:1], here[:1]).shape[1]
            index = class_index(target_class, classes, store.class_names)
        tick = counter.part(len(masks) * len(here))
        both = masked_scores(rest, parts, masks, index, rows=here, residual=residual, tick=tick)
        scores[at] = both[..., 1 if score == "probability" else 0]
    steps = factors.k + 1
    paths = scores[:, where.reshape(-1)].reshape(len(chosen), len(orders), 2, steps)
    fractions = np.linspace(0, 1, steps)
    gone, come = (Curve(fractions, paths[:, 0, i]) for i in (0, 1))
    any_gone, any_come = (Curve(fractions, paths[:, 1:, i].mean(axis=1)) for i in (0, 1))
    options: dict[str, Any] = {"what": what, "n_boot": n_boot, "level": level, "seed": seed}
    areas, note = _areas((gone, come), (any_gone, any_come), groups, **options)
    note = " ".join(filter(None, (note, rest.note)))
    return ConceptCurves(ranking, gone, come, any_gone, any_come, areas, note)


def path_masks(order: npt.NDArray[np.intp]) -> tuple[Array, Array]:
    """Masks ``(k + 1, k)`` of deletion and of insertion along an order."""
    k = len(order)
    place = np.empty(k, np.intp)
    place[order] = np.arange(k)
    put_in = (place[None] < np.arange(k + 1)[:, None]).astype(np.float64)
    return 1 - put_in, put_in


def ranked(order: Any, k: int, rank_by: str = "drop") -> npt.NDArray[np.intp]:
    """The order of all k factors: as given, or a table's, highest first, unknown (NaN) last."""
    columns = getattr(order, "columns", None)
    if columns is not None:
        if rank_by not in columns or "factor" not in columns:
            raise UnknownName(
                f"The table has no column {rank_by!r} to rank by, beside 'factor'. "
                f"{near(rank_by, map(str, columns))}"
            )
        size = order[rank_by].to_numpy(np.float64)
        first = np.argsort(-np.nan_to_num(size, nan=-np.inf), kind="stable")
        order = order["factor"].to_numpy()[first]
    found = np.asarray(order)
    if found.dtype.kind not in "iu" or not np.array_equal(np.sort(found), np.arange(k)):
        raise InvalidInput(
            f"An order of {k} factors holds each of 0 to {k - 1} once; got {found.tolist()!r:.120}."
        )
    return found.astype(np.intp)


def _areas(
    own: tuple[Curve, Curve], random: tuple[Curve, Curve], groups: npt.ArrayLike, **options: Any
) -> tuple[pd.DataFrame, str]:
    import pandas as pd

    rows = []
    for name, curve, other, sign in zip(
        ("deletion", "insertion"), own, random, (-1, 1), strict=True
    ):
        columns = np.stack([curve.auc, other.auc, sign * (curve.auc - other.auc)], axis=1)
        found = mean_by_group(columns, groups, **options)
        rows.append(
            {
                "curve": name,
                "area": found.value[0],
                "low": found.low[0],
                "high": found.high[0],
                "random": found.value[1],
                "gain": found.value[2],
                "gain_low": found.low[2],
                "gain_high": found.high[2],
            }
        )
    return pd.DataFrame(rows), found.note
