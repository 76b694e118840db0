"""What each question about factors computes. Values in, a :class:`Read` out: fit for a job."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

# Here and not in the functions: a job's thread and the kernel's that import parts of one package at
# the same time may each meet half-made modules.
from widgetkit import analysis
from widgetkit import factors as factors_of
from widgetkit.analysis import KChoice
from widgetkit.errors import InvalidInput, NeedsModel, UnknownLayer, near
from widgetkit.factors.groups import column_of, values_of
from widgetkit.factors.kept_tables import keep_table, kept_table
from widgetkit.session.notes import note_of
from widgetkit.session.read import Read

if TYPE_CHECKING:
    import pandas as pd

    from widgetkit.explain import Model
    from widgetkit.factors import Factors
    from widgetkit.session.jobs import Job
    from widgetkit.store import ActivationStore

#: Numbers of factors that :func:`choice` compares, as far as the layer's rank allows.
USUAL_KS = (2, 3, 4, 5, 6, 8, 10, 12)
#: Positions that it learns from.
CHOICE_POSITIONS = 6_000
#: A column with more values than this is no class.
CLASSES_MOST = 20


@dataclass(frozen=True, eq=False)
class Asked:
    """What every question may need."""

    store: ActivationStore
    model: Model | None
    seed: int
    job: Job

    def cancelled(self) -> bool:
        return self.job.cancelled


Compute = Callable[["Asked"], "pd.DataFrame"]


# -- from the weights alone --------------------------------------------------------------
def slides(asked: Asked, factors: Factors, by: str) -> Read:
    table = factors_of.slide_share(factors, by)
    column = column_of(asked.store, by)
    table.attrs["by"] = column
    said = (
        f"Share of the variance of a factor's mean weight in a tile that lies between values of "
        f"{column!r}, less what chance gives. One of them may hold a tissue that others lack: a large "
        "share does not say that it is stain or scanner, but that these data cannot tell."
    )
    notes = tuple(dict.fromkeys(filter(None, map(str, table.get("note", ())))))
    return Read(
        "slides", table, (said, *notes), warnings=_kept_text(str(table.attrs.get("warning", "")))
    )


def shares(asked: Asked, factors: Factors, column: str) -> Read:
    rows = np.arange(len(asked.store))
    values, _ = values_of(asked.store, rows, column)
    slides_of, what = values_of(asked.store, rows, None)
    there = asked.store.tiles[column].notna().to_numpy()
    if not there.any():
        raise InvalidInput(f"Column {column!r} of the tiles is empty.")
    table = analysis.shares(
        factors.pooled.share[there],
        values[there],
        groups=None if what == column else slides_of[there],
    )
    table.attrs["by"] = column  # figures number what may name a person
    said = [f"Mean share of a tile's positions that a factor wins, by {column}."]
    if not there.all():
        said.append(f"{int((~there).sum()):,} tiles without a value were left out.")
    said += dict.fromkeys(filter(None, map(str, table["note"])))
    return Read("shares", table, tuple(said), warnings=about(asked.store, column))


def prediction(asked: Asked, factors: Factors, column: str, by: str | None) -> Read:
    found = factors_of.predict_classes(
        asked.store,
        factors,
        label=column,
        by=by,
        seed=asked.seed,
        progress=asked.job.progress,
        cancel=asked.cancelled,
    )
    said = (
        f"Column {column!r} told from the mean and largest weight of each factor in a tile, by "
        f"logistic regression tested on unseen values of {found.by!r}.",
        found.note,
    )
    return Read(
        "prediction", found.table, tuple(filter(None, said)), found, about(asked.store, column)
    )


def layers(asked: Asked, factors: Factors, other: Factors | str) -> Read:
    """Factors of ``other``: a layer of the same store, factorised alike, or factors of any store."""
    store = asked.store
    if isinstance(other, str):
        info = store.layers[other]
        columns = {"slide", "source"} & set(store.tiles.columns)
        other = factors_of.factorise(
            store,
            other,
            min(factors.k, info.channels),
            nonnegative="shift" if info.signed else "error",
            group="slide" if columns else None,
            seed=asked.seed,
            progress=asked.job.progress,
            cancel=asked.cancelled,
        )
    table = factors_of.match_factors(factors, other, by="tiles").rename(
        columns={"a": "factor", "b": "other"}
    )
    named = f"layer {other.layer}"
    if other.store_id != store.id:
        named += " of another store"
    table.attrs.update(layer=factors.layer, other=other.layer, k_other=other.k, named=named)
    said = (
        f"Correlation of the mean weights in {table.attrs['tiles']:,} tiles: {factors.k} factors of "
        f"layer {factors.layer} with {other.k} of {named}, each with one partner.",
        "A pair is clear where the correlation with the next best is much lower.",
    )
    return Read("layers", table, said)


# -- with a network, or kept since --------------------------------------------------------
def correlations(
    asked: Asked,
    factors: Factors,
    target: int,
    methods: Sequence[str] | None,
    n: int | None,
    by: str | None,
) -> Read:
    table = factors_of.map_correlations(
        asked.store,
        factors,
        target_class=target,
        methods=methods,
        model=asked.model,
        n=n,
        by=by,
        seed=asked.seed,
        progress=asked.job.progress,
        cancel=asked.cancelled,
    )
    notes = dict.fromkeys(filter(None, map(str, table["note"])))
    said = (
        f"Over all positions of {table.attrs['tiles']:,} tiles, with maps of class "
        f"{table.attrs['class_name']}; intervals by {table.attrs['by']}."
    )
    return Read("correlations", table, (said, *notes))


def importance(
    asked: Asked, factors: Factors, target: int, n: int | None, sobol: bool, by: str | None
) -> Read:
    def compute(asked: Asked) -> pd.DataFrame:
        return factors_of.concept_importance(
            _network(asked, "Importance"),
            asked.store,
            factors,
            target_class=target,
            n=n,
            sobol=sobol,
            by=by,
            seed=asked.seed,
            progress=asked.job.progress,
            cancel=asked.cancelled,
        )

    params = {"target": target, "n": n, "sobol": sobol, "by": by, "seed": asked.seed}
    table, other = _kept_or(asked, factors, f"importance for {target}", params, compute)
    said = (
        f"Mean over {table.attrs['tiles']:,} tiles of the fall of the logit of class "
        f"{table.attrs['class_name']} when the factor is taken out of the activations.",
        str(table.attrs.get("note", "")),
        other,
    )
    return Read("importance", table, tuple(filter(None, said)))


def completeness(
    asked: Asked, factors: Factors, label: str | None, n: int | None, by: str | None
) -> Read:
    def compute(asked: Asked) -> pd.DataFrame:
        found = factors_of.completeness(
            _network(asked, "Completeness"),
            asked.store,
            factors,
            n=n,
            y=label,
            by=by,
            seed=asked.seed,
            progress=asked.job.progress,
            cancel=asked.cancelled,
        )
        table: pd.DataFrame = found.table.copy()
        score = float(found.score) if np.isfinite(found.score) else None
        table.attrs.update(said=str(found), note=found.note, score=score)
        return table

    params = {"n": n, "label": label, "by": by, "seed": asked.seed}
    table, other = _kept_or(asked, factors, "completeness", params, compute)
    said = (str(table.attrs["said"]), str(table.attrs.get("note", "")), other)
    labelled = label is not None and "accuracy" in table.columns
    return Read(
        "completeness",
        table,
        tuple(filter(None, said)),
        warnings=about(asked.store, str(label)) if labelled else (),
    )


# -- of the layer, whatever its factors ----------------------------------------------------
def choice(asked: Asked, layer: str, ks: Sequence[int] | None, seeds: int) -> Read:
    params = {
        "ks": None if ks is None else [int(k) for k in ks],
        "seeds": int(seeds),
        "seed": asked.seed,
        "positions": CHOICE_POSITIONS,
    }
    label = label_for_choice(asked.store)
    table = kept_table(asked.store, layer, "choice", params=params)
    if table is None:
        found = _choose(asked, layer, ks, seeds, label)
        table = found.table.copy()
        table.attrs.update(
            recommended=int(found.recommended),
            reasons=list(found.reasons),
            rows=int(found.rows),
            preparation=found.preparation,
        )
        keep_table(asked.store, layer, "choice", table, params=params, seed=asked.seed)
    at = table.attrs
    chosen = KChoice(
        table,
        int(at["recommended"]),
        tuple(map(str, at["reasons"])),
        int(at["rows"]),
        asked.seed,
        str(at["preparation"]),
    )
    said = (f"Recommended: {chosen.recommended} factors.", *chosen.reasons)
    predicted = label is not None and bool(np.isfinite(table["auc"].to_numpy(float)).any())
    warnings = about(asked.store, str(label)) if predicted else ()
    return Read("choice", table, said, chosen, warnings)


def label_for_choice(store: ActivationStore) -> str | None:
    """The column whose classes tell numbers of factors apart, if all tiles have one."""
    if "label" not in store.tiles.columns:
        return None
    labels = store.tiles["label"]
    fits = labels.notna().all() and 2 <= labels.nunique() <= CLASSES_MOST
    return "label" if fits else None


def _choose(
    asked: Asked, layer: str, ks: Sequence[int] | None, seeds: int, label: str | None
) -> KChoice:
    store = asked.store
    rows, _cells, values = store.sample_positions(layer, CHOICE_POSITIONS, asked.seed)
    slides_of, _ = values_of(store, rows, None)
    y = None
    if label is not None and len(np.unique(slides_of.astype(str))) > 2:
        y = store.tiles[label].to_numpy()[rows]
    return analysis.choose_k(
        values,
        _within_rank(values) if ks is None else ks,
        groups=slides_of,
        seeds=seeds,
        y=y,
        tile=rows,
        seed=asked.seed,
        nonnegative="shift" if store.layers[layer].signed else "error",
        progress=asked.job.progress,
        cancel=asked.cancelled,
    )


def _within_rank(values: npt.NDArray[np.float32]) -> Sequence[int]:
    """Those of :data:`USUAL_KS` that the activations can tell apart."""
    exact = values.astype(np.float64)
    sizes = np.linalg.eigvalsh(exact.T @ exact)  # squared singular values, without the rows
    floor = float(sizes.max(initial=0.0)) * max(values.shape) * float(np.finfo(np.float32).eps)
    rank = int((sizes > floor).sum())
    return [k for k in USUAL_KS if k <= rank] or [1]


# -- parts -------------------------------------------------------------------------------
def about(store: ActivationStore, column: str) -> tuple[str, ...]:
    """The store's own remark on a column, as a warning."""
    said = note_of(store, column)
    return (f"About column {column!r}: {said}",) if said else ()


def other_layer(store: ActivationStore, layer: str, other: str | None) -> str:
    """The layer to compare with: ``other`` if it has maps, by default the first that has.

    Raises
    ------
    UnknownLayer
        There is no such layer.
    InvalidInput
        It is the same layer, it holds no maps, or there is none to compare with.
    """
    able = [name for name, info in store.layers.items() if info.has_maps and name != layer]
    if other is None:
        if not able:
            raise InvalidInput(
                f"The store keeps maps of layer {layer!r} only, so there is nothing to compare it with. "
                "Extract several layers: wk.extract(model, tiles, [layer, other], ...)."
            )
        return able[0]
    if other not in store.layers:
        raise UnknownLayer(
            f"The store has no layer {other!r}. {near(other, store.layers)}".rstrip()
        )
    if other not in able:
        why = "is the layer looked at" if other == layer else "holds no maps"
        raise InvalidInput(
            f"Layer {other!r} {why}. Compare with one of: {', '.join(able) or '(none)'}."
        )
    return other


def _network(asked: Asked, what: str) -> Any:
    if asked.model is None:
        raise NeedsModel(
            f"{what} runs the network, and this session has none (nor does the store keep the "
            "result). Pass it: wk.Session(store, model=ModelContext.for_store(network, store))."
        )
    return asked.model


def _kept_or(
    asked: Asked, factors: Factors, what: str, params: Mapping[str, Any], compute: Compute
) -> tuple[pd.DataFrame, str]:
    """The table, kept or computed, and a sentence where it was kept under other settings."""
    found = kept_table(asked.store, factors, what, params=params)
    if found is not None:
        return found, ""
    if asked.model is None:
        found = kept_table(asked.store, factors, what)
        if found is not None:
            return found, "Kept in the store, computed with other settings than asked for here."
    found = compute(asked)
    keep_table(asked.store, factors, what, found, params=params, seed=asked.seed)
    return found, ""


def _kept_text(text: str) -> tuple[str, ...]:
    return (text,) if text else ()
