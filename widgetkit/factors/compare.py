"""Methods beside one another on one sample, and the factors of two layers, models or stores."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from widgetkit import analysis
from widgetkit.errors import ChannelMismatch, InvalidInput, TooFew, UnknownName, near
from widgetkit.factors import background as backgrounds
from widgetkit.factors import preparing
from widgetkit.factors.factorise import _checker, _layer, _seed
from widgetkit.factors.groups import groups_of
from widgetkit.factors.methods import METHODS, check_rows, method_named
from widgetkit.factors.sampling import draw
from widgetkit.factors.streaming import winners_of

if TYPE_CHECKING:
    from widgetkit.factors.factors import Factors
    from widgetkit.factors.preparing import NonNegative
    from widgetkit.store import ActivationStore

_Pair: TypeAlias = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]

# Silhouettes need all pairs of distances.
_SILHOUETTE_ROWS = 2000
_BATCH = 128


def compare_methods(
    store: ActivationStore,
    layer: str | None = None,
    k: int = 10,
    methods: Sequence[str] = tuple(METHODS),
    *,
    seed: int = 0,
    seeds: int = 3,
    sample: int = 8_000,
    group: str | None = "slide",
    normalise: str | None = None,
    nonnegative: NonNegative = "error",
    progress: Callable[[int, int], object] | None = None,
    cancel: Callable[[], object] | None = None,
) -> pd.DataFrame:
    """One row a method, all on the same sampled positions.

    Parameters
    ----------
    store, layer, k, group, normalise, nonnegative
        As :func:`~widgetkit.factors.factorise`.
    methods : sequence of str
        The first is the one the others' agreement is with.
    seed, seeds : int
        ``seeds`` fits of each, from ``seed`` on, tell the stability.
    sample : int
        Positions.
    progress, cancel : callable, optional
        ``progress(fits done, fits)``.

    Returns
    -------
    DataFrame
        ``method``; ``relative_error`` ``||X - W H|| / ||X||``, where what was done with negative
        values is undone, so that it is comparable; ``stability``, mean matched cosine of
        the prototypes over pairs of seeds; ``silhouette`` of the winners, on at most 2,000 positions
        (NaN when there is one winner); ``agreement_ari`` of the winners with those of the first
        method; ``background``, share of positions without winner; ``seconds`` of the first fit;
        ``note``, what to know when reading it. Errors of methods whose weights may be negative or
        must be exclusive are not a fair contest: they have more, or less, freedom.

    Raises
    ------
    TooFew, InvalidInput, UnknownName, NeedsActivations, Cancelled
    """
    info = _layer(store, layer)
    chosen = [method_named(name) for name in methods]
    if not chosen or seeds < 1:
        raise TooFew("Give at least one method and one seed.")
    seed, check = _seed(seed), _checker(cancel)
    preparing.check_rule(nonnegative)
    groups = None if group is None else groups_of(store, group)
    if normalise is not None and groups is None:
        raise InvalidInput("normalise='slide' needs group=, the column that names the slides.")
    scales = codes = None
    if normalise is not None and groups is not None:
        scales, codes = preparing.slide_scales(store, info.name, groups), groups.codes
    drawn = draw(store, info.name, sample, seed, groups, check)
    some = _some(len(drawn.rows), _SILHOUETTE_ROWS, seed)
    # what all are judged on: scaled by slide, but as negative as it was
    common = preparing.Preparation(scales=scales, codes=codes).rows(drawn.values, drawn.rows)
    total = float(np.linalg.norm(common)) or 1.0
    rows: list[dict[str, object]] = []
    reference: npt.NDArray[np.int16] | None = None
    for i, method in enumerate(chosen):
        prepared, X = preparing.learn(
            drawn.values,
            drawn.rows,
            rule=nonnegative,
            takes_negative=method.takes_negative,
            layer=info.name,
            scales=scales,
            codes=codes,
            signed=info.signed,
        )
        check_rows(X, k, method, f"layer {info.name!r}")
        fits = []
        seconds = 0.0
        for j in range(seeds):
            check()
            if progress is not None:
                progress(i * seeds + j, len(chosen) * seeds)
            began = time.perf_counter()
            fits.append(method.fit(X, k, seed + j, cancel))
            seconds = seconds or time.perf_counter() - began
        weigher = fits[0].weigher
        weights = weigher(X)[0]
        sizes = np.abs(weights)
        level = backgrounds.level(None, sizes.sum(axis=1)).value
        won = winners_of(weights[:, :, None], level, signed=weigher.signed)[:, 0]
        reference = won if reference is None else reference
        made = prepared.join(weights, weigher)
        pairs = [
            analysis.match(fits[a].weigher.basis, fits[b].weigher.basis)[1].mean()
            for a in range(seeds)
            for b in range(a)
        ]
        note = "weights may be negative" if weigher.signed else ""
        if weigher.rule in ("nearest", "direction"):
            note = "one factor a position"
        rows.append(
            {
                "method": method.name,
                "relative_error": float(np.linalg.norm(common - made)) / total,
                "stability": float(np.mean(pairs)) if pairs else np.nan,
                "silhouette": analysis.quality(common[some], won[some], seed=seed)["silhouette"],
                "agreement_ari": analysis.label_agreement(reference, won),
                "background": float((won < 0).mean()),
                "seconds": seconds,
                "note": note,
            }
        )
    if progress is not None:
        progress(len(chosen) * seeds, len(chosen) * seeds)
    return pd.DataFrame(rows)


def match_factors(
    a: Factors,
    b: Factors,
    *,
    by: Literal["tiles", "positions", "prototypes"] = "tiles",
) -> pd.DataFrame:
    """Which factor of ``b`` is which of ``a``: two layers, two models, two stores.

    Parameters
    ----------
    a, b : Factors
    by : {"tiles", "positions", "prototypes"}
        "tiles": correlation of the mean weights of the tiles both have (by their ``id``). Works
        across layers, models and grids. "positions": correlation over all positions of these
        tiles; the grids must agree. "prototypes": cosine of the prototypes; the channels must
        agree, and mean the same.

    Returns
    -------
    DataFrame
        One row a pair, best first: ``a``, ``b`` (0-based), ``correlation``, and ``second``, the
        largest correlation of ``a`` with any other factor of ``b`` (a pair is clear when it is much
        lower). With unequal k the factors left over are not listed. ``attrs``: ``tiles`` compared,
        ``table`` all (k_a, k_b) correlations.

    Raises
    ------
    TooFew
        Fewer than three tiles in common.
    InvalidInput
        Grids differ and ``by="positions"``.
    ChannelMismatch
        Channels differ and ``by="prototypes"``.

    References
    ----------
    Kuhn (1955), the assignment that maximises the sum, by scipy.
    """
    from scipy.optimize import linear_sum_assignment

    if by == "prototypes":
        tiles, table = 0, _cosines(a, b)
    elif by == "tiles":
        rows_a, rows_b = _common(a, b)
        tiles = len(rows_a)
        table = _correlations([(a.pooled.mean[rows_a], b.pooled.mean[rows_b])], a.k, b.k)
    elif by == "positions":
        if a.grid != b.grid:
            raise InvalidInput(
                f"The maps have grids {a.grid} ({a.layer}) and {b.grid} ({b.layer}): their positions "
                "do not correspond. Use by='tiles'."
            )
        rows_a, rows_b = _common(a, b)
        tiles = len(rows_a)
        table = _correlations(
            (
                (_flat(a, rows_a[at : at + _BATCH]), _flat(b, rows_b[at : at + _BATCH]))
                for at in range(0, tiles, _BATCH)
            ),
            a.k,
            b.k,
        )
    else:
        known = ("tiles", "positions", "prototypes")
        raise UnknownName(f"by={by!r} is not known. {near(str(by), known)}".rstrip())
    rows, found = linear_sum_assignment(-table)
    best = table[rows, found]
    rest = table[rows].copy()
    rest[np.arange(len(rows)), found] = -np.inf
    second = rest.max(axis=1) if table.shape[1] > 1 else np.full(len(rows), np.nan)
    frame = pd.DataFrame({"a": rows, "b": found, "correlation": best, "second": second})
    frame = frame.sort_values("correlation", ascending=False, kind="stable", ignore_index=True)
    frame.attrs.update(tiles=tiles, by=by, table=table.tolist())
    return frame


def _cosines(a: Factors, b: Factors) -> npt.NDArray[np.float64]:
    if a.prototypes.shape[1] != b.prototypes.shape[1]:
        raise ChannelMismatch(
            f"{a.layer} has {a.prototypes.shape[1]} channels and {b.layer} "
            f"{b.prototypes.shape[1]}: their prototypes cannot be compared. Use by='tiles'."
        )

    def unit(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        exact = rows.astype(np.float64)
        length = np.linalg.norm(exact, axis=1, keepdims=True)
        found: npt.NDArray[np.float64] = exact / np.where(length > 0, length, 1)
        return found

    cosines: npt.NDArray[np.float64] = unit(a.prototypes) @ unit(b.prototypes).T
    return cosines


def _common(a: Factors, b: Factors) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows of the tiles both have, in the order of ``a``."""
    if a.store.id == b.store.id:
        rows = np.arange(a.n, dtype=np.int64)
        return rows, rows
    first = pd.Index(a.store.tiles["id"])
    at = pd.Index(b.store.tiles["id"]).get_indexer(first)
    rows_a = np.flatnonzero(at >= 0).astype(np.int64)
    if len(rows_a) < 3:
        raise TooFew(
            f"{a.store.path.name} and {b.store.path.name} have {len(rows_a)} tiles in common; "
            "factors are matched on the same tiles. Extract both from the same tile source."
        )
    return rows_a, at[rows_a].astype(np.int64)


def _flat(factors: Factors, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    weights = factors.weights(rows).reshape(len(rows), factors.k, -1)
    return weights.transpose(0, 2, 1).reshape(-1, factors.k)


def _correlations(pairs: Iterable[_Pair], k: int, other: int) -> npt.NDArray[np.float64]:
    """(k, other) Pearson correlations of columns that come in blocks; 0 where one is constant."""
    count = 0
    sums, cross = np.zeros(k + other), np.zeros((k + other, k + other))
    shift: npt.NDArray[np.float64] | None = None
    for left, right in pairs:
        both = np.concatenate([left, right], axis=1).astype(np.float64)
        shift = both.mean(axis=0) if shift is None else shift  # keeps the differences accurate
        both -= shift
        count += len(both)
        sums += both.sum(axis=0)
        cross += both.T @ both
    covariance = cross - np.outer(sums, sums) / max(count, 1)
    size = np.sqrt(np.maximum(np.diag(covariance), 0))
    scale = np.outer(size, size)
    table = np.divide(covariance, scale, out=np.zeros_like(covariance), where=scale > 0)
    found: npt.NDArray[np.float64] = np.clip(table[:k, k:], -1, 1)
    return found


def _some(n: int, count: int, seed: int) -> npt.NDArray[np.int64]:
    if n <= count:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, count, replace=False))
