"""From what is asked (a method, a target, some tiles) to maps on one scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from widgetkit import explain
from widgetkit.errors import InvalidInput, NeedsActivations, NeedsModel, UnknownLayer, near
from widgetkit.session import keptmaps
from widgetkit.session.clustering import Clustering
from widgetkit.session.layerstats import StatsOfLayers
from widgetkit.session.selection import Selection

if TYPE_CHECKING:
    from widgetkit.explain import Batch, MapMethod, Model, Target
    from widgetkit.session.jobs import Job
    from widgetkit.store import ActivationStore

Kind = Literal["cluster", "class", "selection", "channel"]
Status = Literal["final", "coarse", "waiting"]

#: Tiles read at once by a live method: 256 tiles of 512 x 7 x 7 are 26 MB as float32.
LIVE_BATCH = 256
#: Tiles at once by a method that runs the network; also how often a result is shown.
MODEL_BATCH = 8

_CLASSES: dict[type, Kind] = {
    explain.ClassTarget: "class",
    explain.ClusterTarget: "cluster",
    explain.SelectionTarget: "selection",
    explain.ChannelTarget: "channel",
}


@dataclass(frozen=True)
class MapSpec:
    """Which maps are asked for.

    Attributes
    ----------
    method : str
        Name of a map method, see ``widgetkit.explain.methods()``.
    target : int or None
        Cluster, class or channel, from 0. None means what suits each tile: its own cluster,
        its predicted class; the most active channel.
    layer : str or None
        None means the session's.
    of : "cluster", "class", "selection", "channel" or None
        What the target is, where the method takes several; None means its first in the
        order class, cluster, selection, channel.
    """

    method: str = "cluster"
    target: int | None = None
    layer: str | None = None
    of: Kind | None = None

    def __post_init__(self) -> None:
        if self.target is not None:
            if isinstance(self.target, bool) or not isinstance(self.target, int | np.integer):
                raise InvalidInput(
                    f"A map's target is a number from 0, or None; got {self.target!r}."
                )
            object.__setattr__(self, "target", int(self.target))
            if self.target < 0:
                raise InvalidInput(f"A map's target is a number from 0; got {self.target}.")
        if self.of is not None and self.of not in get_args(Kind):
            raise InvalidInput(f"of is one of {', '.join(get_args(Kind))}; got {self.of!r}.")

    @property
    def live(self) -> bool:
        """Whether stored activations are enough, so that it can follow every gesture."""
        return explain.is_live(explain.get(self.method))


@dataclass(frozen=True, eq=False)
class MapResult:
    """Maps of some tiles, all on one scale.

    Attributes
    ----------
    rows : (m,) int
    values : (m, *grid) float32, finite
        0 where ``ready`` is False, and for tiles in no cluster.
    vmin, vmax : float
        Ends of the shared scale; ``vmin == -vmax`` where ``signed``.
    signed : bool
        Whether zero is the middle colour.
    title : str
        What the maps are of. Holds cluster and class names as they are: views escape.
    status : "final", "coarse" or "waiting"
        Coarse: only the tiles of ``ready`` are computed yet. Waiting: the clustering is not
        there yet, and another result follows it.
    ready : (m,) bool
        In a final result False for tiles whose map the store does not keep, in a session without
        the network; the title counts them.
    spec : MapSpec
    revision : int
        Of the selection they belong to.
    """

    rows: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32] = field(repr=False)
    vmin: float
    vmax: float
    signed: bool
    title: str
    status: Status
    ready: npt.NDArray[np.bool_] = field(repr=False)
    spec: MapSpec
    revision: int


@dataclass(frozen=True, eq=False)
class Question:
    """All that decides a :class:`MapResult`; values only, so that a job may hold it."""

    store: ActivationStore
    model: Model | None
    spec: MapSpec
    layer: str
    clustering: Clustering | None
    selection: Selection
    stats: StatsOfLayers
    rows: npt.NDArray[np.int64]


def check_rows(rows: npt.ArrayLike, n: int) -> npt.NDArray[np.int64]:
    """Rows as int64, in the order given; InvalidInput when one is outside ``0..n-1``."""
    array = np.asarray(rows)
    if array.size == 0:
        return np.empty(0, dtype=np.int64)
    if array.dtype == np.bool_ or array.dtype.kind not in "iu":
        raise InvalidInput(f"Rows are whole numbers; got {array.dtype}.")
    array = array.reshape(-1).astype(np.int64)
    if int(array.min()) < 0 or int(array.max()) >= n:
        raise InvalidInput(
            f"Rows {int(array.min())}..{int(array.max())} were asked for; the store has {n} tiles."
        )
    return array


def compute(
    question: Question,
    *,
    job: Job | None = None,
    show: Callable[[MapResult], object] | None = None,
) -> MapResult:
    """Compute the maps; live methods at once, others some tiles at a time.

    Parameters
    ----------
    question : Question
    job : Job, optional
        Told of progress, and asked between batches whether to go on.
    show : callable, optional
        Given a coarse result after each batch of a method that runs the network.

    Raises
    ------
    UnknownName, NeedsModel, NeedsActivations, InvalidInput
        What is asked cannot be drawn; the message says why and what to do.
    """
    method = explain.get(question.spec.method)
    live = explain.is_live(method)
    groups, title = _groups(question, method)
    if not live and question.model is None:
        return _kept(question, method, groups, title)
    info = question.store.layers[question.layer]
    m = len(question.rows)
    values = np.zeros((m, *info.grid), dtype=np.float32)
    ready = np.zeros(m, dtype=bool)
    step = LIVE_BATCH if live else MODEL_BATCH
    todo = sum(len(part) for _, part in groups)
    done = 0
    for targets, part in groups:
        for start in range(0, len(part), step):
            at = part[start : start + step]
            if job is not None:
                job.check()
            batch = _batch(question, method, question.rows[at], job)
            maps = _summed(method, batch, targets)
            values, where = _fit(values, maps, ready), at
            values[where] = maps
            ready[where] = True
            done += len(at)
            if job is not None:
                job.progress(done, todo)
            if show is not None and not live and done < todo:
                show(_result(question, method, values.copy(), ready.copy(), title, "coarse"))
    ready[:] = True
    return _result(question, method, values, ready, title, "final")


def at_once(question: Question) -> bool:
    """Whether :func:`compute` runs no network: stored activations or kept maps are enough."""
    method = explain.get(question.spec.method)
    return explain.is_live(method) or question.model is None


def waiting(question: Question) -> MapResult:
    """What is shown while the clusters are still being computed."""
    grid = question.store.layers[question.layer].grid
    m = len(question.rows)
    return MapResult(
        question.rows,
        np.zeros((m, *grid), dtype=np.float32),
        0.0,
        1.0,
        False,
        "Waiting for the clusters",
        "waiting",
        np.zeros(m, dtype=bool),
        question.spec,
        question.selection.revision,
    )


def kind_of(spec: MapSpec, method: MapMethod | None = None) -> Kind:
    """What the target of a spec is."""
    method = method or explain.get(spec.method)
    able = [kind for cls, kind in _CLASSES.items() if cls in method.targets]
    if spec.of is not None and spec.of not in able:
        raise InvalidInput(f"{method.title} makes maps of {', '.join(able)}; not of {spec.of!r}.")
    if not able:
        raise InvalidInput(f"{method.title} takes none of the targets a session knows.")
    return spec.of or able[0]


# -- targets -----------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Part:
    """One of the targets whose maps are added; ``held (n,)`` says of which tiles it counts."""

    target: Target
    held: npt.NDArray[np.bool_] | None = None


Groups = list[tuple[list[Part], npt.NDArray[np.int64]]]


def _summed(method: MapMethod, batch: Batch, parts: list[Part]) -> npt.NDArray[np.float32]:
    """Maps (m, *grid) of a batch: the sum over the parts."""
    total: npt.NDArray[np.float32] | None = None
    for part in parts:
        maps = explain.compute(method, batch, part.target)
        if part.held is not None:
            maps = maps * part.held[batch.rows].reshape(-1, *(1,) * (maps.ndim - 1))
        total = maps if total is None else total + maps
    assert total is not None
    return total


def _groups(question: Question, method: MapMethod) -> tuple[Groups, str]:
    """Targets with the positions in ``rows`` they are for, and the title."""
    store, spec = question.store, question.spec
    if question.layer not in store.layers:
        raise UnknownLayer(
            f"The store has no layer {question.layer!r}. {near(question.layer, store.layers)}".rstrip()
        )
    info = store.layers[question.layer]
    if not info.has_maps:
        raise NeedsActivations(
            f"Layer {info.name!r} holds one vector a tile and no maps of activations (ready-made "
            "features), so nothing can be drawn on the tiles. Extract with the model: wk.extract(...)."
        )
    if (
        not explain.is_live(method)
        and question.model is None
        and not (
            kind_of(spec) == "class"
            and keptmaps.instead(store, question.model, method, question.layer)
        )
    ):
        raise NeedsModel(
            f"{method.title} runs the network, and this session has none. "
            "Pass it: wk.explore(store, model=...)."
        )
    every = np.arange(len(question.rows))
    kind = kind_of(spec, method)
    if kind == "cluster":
        return _cluster_groups(question, every, method)
    if kind == "class":
        return _class_groups(question, every, method)
    if kind == "selection":
        mean_in, mean_rest = question.stats[info.name].contrast(question.selection)
        target = explain.SelectionTarget(mean_in, mean_rest, question.stats[info.name].std)
        return [
            ([Part(target)], every)
        ], f"{method.title}: {question.selection.count} tiles against the rest"
    return _channel_groups(question, every, method)


def _cluster_groups(
    question: Question, every: npt.NDArray[np.int64], method: MapMethod
) -> tuple[Groups, str]:
    clustering, spec = question.clustering, question.spec
    if clustering is None:
        raise InvalidInput(
            "There are no clusters to draw yet. Call session.wait() if they are being computed, "
            "or session.cluster()."
        )
    if clustering.layer != question.layer:
        raise InvalidInput(
            f"The clusters are of layer {clustering.layer!r}, the map is asked of layer "
            f"{question.layer!r}. Use session.set_layer(...) and session.cluster()."
        )
    if clustering.prototypes is None and (
        clustering.base is None or clustering.method != "nmf" or method.name != "cluster"
    ):
        raise InvalidInput(
            f"The clustering {clustering.name!r} has no prototypes, so it cannot be drawn on tiles. "
            "Cluster with method='nmf' or 'kmeans'."
        )
    # Merged and split factors are sums over the fitted ones; maps of centres are not additive.
    folded = clustering.method == "nmf" and method.name == "cluster"
    prototypes = clustering.fitted if folded else clustering.prototypes
    assert prototypes is not None
    kind: Literal["nmf", "kmeans"] = "nmf" if clustering.method == "nmf" else "kmeans"
    background = clustering.params.get("background")

    def target(i: int) -> Target:
        return explain.ClusterTarget.of(
            prototypes,
            i,
            kind=kind,
            background=None if background is None else np.asarray(background, dtype=np.float32),
        )

    def parts(i: int) -> list[Part]:
        if not folded or clustering.owners is None:
            return [Part(target(i))]
        held = clustering.holds(i, np.arange(clustering.n))
        found = [
            Part(target(int(j)), None if held[j].all() else held[j])
            for j in np.flatnonzero(held.any(axis=1))
        ]
        return found or [Part(target(0), np.zeros(clustering.n, dtype=bool))]  # a map of zeros

    if spec.target is not None:
        i = clustering.check(spec.target)
        return [(parts(i), every)], f"{method.title}: {clustering.names[i]}"
    labels = clustering.labels[question.rows]
    found = [int(i) for i in np.unique(labels) if i >= 0]
    return [
        (parts(i), np.flatnonzero(labels == i)) for i in found
    ], f"{method.title}: each tile's own"


def _class_groups(
    question: Question, every: npt.NDArray[np.int64], method: MapMethod
) -> tuple[Groups, str]:
    outputs, names, spec = question.store.outputs, question.store.class_names, question.spec
    count = len(names) if names else (outputs.shape[1] if outputs is not None else None)
    if spec.target is not None:
        if count is not None and spec.target >= count:
            raise InvalidInput(f"There is no class {spec.target}; the model has {count}, from 0.")
        label = names[spec.target] if names else f"class {spec.target}"
        return [([Part(explain.ClassTarget(spec.target))], every)], f"{method.title}: {label}"
    if outputs is None:
        raise InvalidInput(
            f"{method.title} needs a class: the store holds no predictions to choose it by. "
            f"Use session.set_map({spec.method!r}, 0)."
        )
    predicted = np.asarray(outputs)[question.rows].argmax(axis=1)
    groups: Groups = [
        ([Part(explain.ClassTarget(int(c)))], np.flatnonzero(predicted == c))
        for c in np.unique(predicted)
    ]
    return groups, f"{method.title}: each tile's predicted class"


def _channel_groups(
    question: Question, every: npt.NDArray[np.int64], method: MapMethod
) -> tuple[Groups, str]:
    info, target = question.store.layers[question.layer], question.spec.target
    note = ""
    if target is None:
        target = int(np.argmax(question.stats[info.name].total))
        note = " (the most active)"
    if target >= info.channels:
        raise InvalidInput(
            f"There is no channel {target}; layer {info.name!r} has {info.channels}."
        )
    return [
        ([Part(explain.ChannelTarget(target))], every)
    ], f"{method.title}: channel {target}{note}"


def _kept(question: Question, method: MapMethod, groups: Groups, title: str) -> MapResult:
    """Maps that the store keeps; tiles without one are not ready."""
    parts: list[tuple[int, npt.NDArray[np.int64]]] = []
    for (part,), at in groups:
        assert isinstance(part.target, explain.ClassTarget)
        parts.append((part.target.index, at))
    values, ready = keptmaps.read(question.store, method, question.layer, question.rows, parts)
    return _result(question, method, values, ready, keptmaps.title(title, ready), "final")


# -- batches -----------------------------------------------------------------------------
def _batch(
    question: Question, method: MapMethod, rows: npt.NDArray[np.int64], job: Job | None
) -> Batch:
    batch = explain.Batch.from_store(
        question.store, rows, layer=question.layer, model=question.model, method=method
    )
    return batch if job is None else replace(batch, check=job.check)


def _fit(
    values: npt.NDArray[np.float32], maps: npt.NDArray[np.float32], ready: npt.NDArray[Any]
) -> npt.NDArray[np.float32]:
    """``values`` with the grid of ``maps``: a method may draw finer than the layer (occlusion)."""
    if maps.shape[1:] == values.shape[1:]:
        return values
    if ready.any():
        raise InvalidInput(
            f"The map method gave grids of {values.shape[1:]} and of {maps.shape[1:]} in one call."
        )
    return np.zeros((len(values), *maps.shape[1:]), dtype=np.float32)


def _result(
    question: Question,
    method: MapMethod,
    values: npt.NDArray[np.float32],
    ready: npt.NDArray[np.bool_],
    title: str,
    status: Status,
) -> MapResult:
    scale = explain.shared_scale(values[ready], signed=method.signed)
    return MapResult(
        question.rows,
        values,
        scale.vmin,
        scale.vmax,
        method.signed,
        title,
        status,
        ready,
        question.spec,
        question.selection.revision,
    )
