"""What factors have to do with a prediction: their maps beside class maps, their weights as features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from widgetkit import explain
from widgetkit.analysis._hooks import Cancel, Progress
from widgetkit.errors import InvalidInput, NeedsModel, UnknownName, near
from widgetkit.factors import kept_maps
from widgetkit.factors.groups import values_of
from widgetkit.factors.means import choose_rows
from widgetkit.factors.rest import class_index

if TYPE_CHECKING:
    import pandas as pd

    from widgetkit.analysis import Prediction
    from widgetkit.explain import Model
    from widgetkit.factors.factors import Factors
    from widgetkit.store import ActivationStore

#: What the paper compares with.
MAP_METHODS = ("gradcam", "occlusion", "relevance")


def map_correlations(
    store: ActivationStore,
    factors: Factors,
    *,
    target_class: int | str,
    methods: Sequence[str] | None = None,
    model: Model | None = None,
    rows: object = None,
    n: int | None = 256,
    seed: int = 0,
    by: str | None = None,
    names: Sequence[str] | None = None,
    statistics: Sequence[str] = ("pearson", "spearman"),
    n_boot: int = 1000,
    level: float = 0.95,
    keep: bool = True,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> pd.DataFrame:
    """Correlation of every factor's map with class maps of the network, over positions.

    Parameters
    ----------
    store : ActivationStore
    factors : Factors
    target_class : int or str
        The class that the maps speak for: a number, or one of ``store.class_names``.
    methods : sequence of str, optional
        Map methods that take a class. Default: Grad-CAM, occlusion and relevance; without a model
        those of all methods that the store keeps maps of.
    model : ModelContext, optional
        Computes maps that the store does not keep.
    rows : sequence of int, mask or None
        Tiles to look at. Default: all; without a model those that maps are kept of.
    n : int or None
        At most so many, drawn by ``seed``.
    by : str, optional
        Column to draw whole groups of for the intervals. Default: ``slide``, else ``source``.
    names : sequence of str, optional
        Of the factors; ``factor 1`` ... by default.
    statistics : "pearson", "spearman"
    n_boot, level
        As :func:`widgetkit.analysis.correlation`.
    keep : bool
        Keep computed maps in the store.
    progress, cancel : callable, optional

    Returns
    -------
    DataFrame
        Of :func:`widgetkit.analysis.correlation_table`: ``factor``, ``map`` (the method's title),
        ``method``, ``r``, ``low``, ``high``, ``within``, ``n``, ``groups``, ``note``. ``attrs``
        holds ``class_name``, ``target``, ``tiles``, ``methods``, ``by``.

    Raises
    ------
    NeedsModel
        No model is given and the store keeps no maps of these tiles.
    InvalidInput, UnknownName, Cancelled

    References
    ----------
    Bajger et al., Explaining Digital Pathology Models via Clustering Activations,
    arXiv:2511.14558.
    """
    from widgetkit import analysis

    index = target_index(store, target_class)
    layer = factors.layer
    if model is None:
        methods, chosen = _without_model(store, index, layer, methods, rows, n, seed)
    else:
        methods = MAP_METHODS if methods is None else tuple(methods)
        chosen = choose_rows(len(store), rows, n, seed)
    maps: dict[str, npt.NDArray[np.float32]] = {}
    for at, name in enumerate(methods):
        found = kept_maps.maps_of(
            store,
            name,
            index,
            chosen,
            layer=layer,
            model=model,
            keep=keep,
            progress=_share(progress, at, len(methods)),
            cancel=cancel,
        )
        maps[explain.get(name).title] = found.values
    groups, what = values_of(store, chosen, by)
    labels = [f"factor {i + 1}" for i in range(factors.k)] if names is None else list(names)
    table = analysis.correlation_table(
        (
            (
                np.arange(start, min(start + 64, len(chosen))),
                factors.weights(chosen[start : start + 64]),
            )
            for start in range(0, len(chosen), 64)
        ),
        dict(maps),
        groups,
        labels,
        methods=tuple(statistics),  # type: ignore[arg-type]
        n_boot=n_boot,
        seed=seed,
        level=level,
        cancel=cancel,
    )
    table.attrs.update(
        target=index,
        class_name=class_name(store, index),
        tiles=len(chosen),
        methods=list(methods),
        by=what,
    )
    return table


@dataclass(frozen=True, eq=False)
class ClassPrediction:
    """Classes told from factors alone, beside what the network says.

    Attributes
    ----------
    factors : Prediction
        Of :func:`widgetkit.analysis.grouped_prediction`; features are the mean and the largest
        weight of each factor in a tile.
    network : DataFrame or None
        The same measures of the network's own output; None where the store holds none of these
        classes.
    table : DataFrame
        ``measure``, ``of``, then ``factors``, ``factors_low``, ``factors_high`` and, where known,
        ``network``, ``network_low``, ``network_high``.
    order : DataFrame
        Factors by what they say of the last class (with two classes the positive one), most
        against it first: ``factor``, ``coefficient`` (sum of those of mean and largest weight),
        ``least``, ``most`` over the folds.
    label, by : str
        Columns of the table of tiles.
    note : str
    """

    factors: Prediction = field(repr=False)
    network: pd.DataFrame | None = field(repr=False)
    table: pd.DataFrame = field(repr=False)
    order: pd.DataFrame = field(repr=False)
    label: str
    by: str
    note: str


def predict_classes(
    store: ActivationStore,
    factors: Factors,
    *,
    label: str = "label",
    classes: Sequence[Any] | None = None,
    by: str | None = None,
    names: Sequence[str] | None = None,
    folds: int = 5,
    seed: int = 0,
    C: float = 1.0,
    n_boot: int = 1000,
    level: float = 0.95,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> ClassPrediction:
    """Tell the class of a tile from its weights in the factors, tested on unseen patients.

    Parameters
    ----------
    store, factors
    label : str
        Column of the table of tiles.
    classes : sequence, optional
        In order, the positive one of two last. Default: ``store.class_names`` where they are the
        labels found, else those found, ascending.
    by : str, optional
        Column whose groups are never split. Default: ``patient``, else ``slide``, else ``source``.
    names : sequence of str, optional
        Of the factors.
    folds, seed, C, n_boot, level, progress, cancel
        As :func:`widgetkit.analysis.grouped_prediction`.

    Raises
    ------
    UnknownName
        No such column.
    TooFew, InvalidInput, Cancelled
        As :func:`widgetkit.analysis.grouped_prediction`.
    """
    import pandas as pd

    from widgetkit import analysis

    table = store.tiles
    if label not in table.columns:
        raise UnknownName(
            f"The tiles have no column {label!r} to predict. {near(label, map(str, table.columns))}"
        )
    y = table[label].to_numpy()
    if by is None and "patient" in table.columns and table["patient"].notna().all():
        by = "patient"
    groups, what = values_of(store, np.arange(len(store)), by)
    known = store.class_names
    found = {str(value) for value in table[label].dropna().unique()}
    if classes is None and known is not None and found <= set(known):
        classes = tuple(known) if len(found) > 2 else tuple(c for c in known if c in found)
    labels = [f"factor {i + 1}" for i in range(factors.k)] if names is None else list(names)
    if len(labels) != factors.k:
        raise InvalidInput(f"{len(labels)} names for {factors.k} factors.")
    pooled = factors.pooled
    ours = analysis.grouped_prediction(
        np.hstack([pooled.mean, pooled.max]),
        y,
        groups,
        classes=classes,
        folds=folds,
        seed=seed,
        C=C,
        names=[*(f"{name}, mean" for name in labels), *(f"{name}, largest" for name in labels)],
        n_boot=n_boot,
        level=level,
        progress=progress,
        cancel=cancel,
    )
    scores = _own_scores(store, ours.classes)
    theirs = None
    if scores is not None:
        theirs = analysis.prediction_report(
            scores, y, groups, classes=ours.classes, n_boot=n_boot, seed=seed, level=level
        )
    columns = ["measure", "of"]
    side = ours.table[[*columns, "value", "low", "high"]].rename(
        columns={"value": "factors", "low": "factors_low", "high": "factors_high"}
    )
    if theirs is not None:
        other = theirs[[*columns, "value", "low", "high"]].rename(
            columns={"value": "network", "low": "network_low", "high": "network_high"}
        )
        side = side.merge(other, on=columns, how="left")
    k = factors.k
    each = ours.fold_coefficients[:, -1, :k] + ours.fold_coefficients[:, -1, k:]
    order = pd.DataFrame(
        {
            "factor": np.arange(k),
            "name": labels,
            "coefficient": ours.coefficients[-1, :k] + ours.coefficients[-1, k:],
            "least": each.min(axis=0),
            "most": each.max(axis=0),
        }
    ).sort_values("coefficient", kind="stable", ignore_index=True)
    return ClassPrediction(ours, theirs, side, order, label, what, ours.note)


def target_index(store: ActivationStore, target: int | str) -> int:
    """Number of a class given as a number or a name.

    Raises
    ------
    InvalidInput, UnknownName
    """
    names, outputs = store.class_names, store.outputs
    count = len(names) if names else (outputs.shape[1] if outputs is not None else 0)
    if not count:
        if isinstance(target, str):
            raise UnknownName(f"The store names no classes, so there is no {target!r}.")
        count = int(target) + 1
    return class_index(target, count, names)


def class_name(store: ActivationStore, index: int) -> str:
    """What class ``index`` is called."""
    return store.class_names[index] if store.class_names else f"class {index}"


def _without_model(
    store: ActivationStore,
    index: int,
    layer: str,
    methods: Sequence[str] | None,
    rows: object,
    n: int | None,
    seed: int,
) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    found = kept_maps.kept_methods(store, index, layer=layer)
    wanted = tuple(found) if methods is None else tuple(methods)
    live = [name for name in wanted if explain.is_live(explain.get(name))]
    lacking = [name for name in wanted if name not in found and name not in live]
    if lacking or not wanted:
        raise NeedsModel(
            f"The store keeps no maps of class {class_name(store, index)!r}"
            + (f" by {', '.join(lacking)}" if lacking else "")
            + ". Pass the network: model=ModelContext.for_store(network, store)."
        )
    common = choose_rows(len(store), rows, None, seed)
    for name in wanted:
        if name in found:
            common = np.intersect1d(common, found[name].rows)
    if not len(common):
        raise NeedsModel(
            "The store keeps maps of other tiles only. Leave rows= out, or pass the network."
        )
    return wanted, choose_rows(len(store), common, n, seed)


def _own_scores(store: ActivationStore, classes: Sequence[Any]) -> npt.NDArray[np.float64] | None:
    """(n, classes) probabilities of these classes among all of the network's, or None."""
    names, outputs = store.class_names, store.outputs
    if names is None or outputs is None or any(str(c) not in names for c in classes):
        return None
    logits = np.asarray(outputs, np.float64)[:, [names.index(str(c)) for c in classes]]
    if not np.isfinite(logits).all():
        return None
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores: npt.NDArray[np.float64] = raised / raised.sum(axis=1, keepdims=True)
    return scores


def _share(progress: Progress | None, at: int, count: int) -> Progress | None:
    """Progress of one of several equal parts, in thousandths of the whole."""
    if progress is None:
        return None

    def told(done: int, total: int) -> None:
        progress(round(1000 * (at + done / max(total, 1))), 1000 * count)

    return told
