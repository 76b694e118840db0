"""From what is asked (a method, a target, some tiles) to maps on one scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from widgetkit import explain
from widgetkit.errors import InvalidInput
from widgetkit.factors import kept_maps
from widgetkit.session import keptmaps
from widgetkit.session.clustering import Clustering
from widgetkit.session.conceptmaps import ConceptsNow
from widgetkit.session.layerstats import StatsOfLayers
from widgetkit.session.mapspec import MapSpec
from widgetkit.session.maptargets import Groups, Part, groups_of
from widgetkit.session.selection import Selection

if TYPE_CHECKING:
    from widgetkit.explain import Batch, MapMethod, Model
    from widgetkit.session.jobs import Job
    from widgetkit.store import ActivationStore

Status = Literal["final", "coarse", "waiting"]

#: Tiles read at once by a live method: 256 tiles of 512 x 7 x 7 are 26 MB as float32.
LIVE_BATCH = 256
#: Tiles at once by a method that runs the network; also how often a result is shown.
MODEL_BATCH = 8


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
        Coarse: more is to come; only the tiles of ``ready`` are computed yet, or some by a cheaper
        version of the method. Waiting: the clustering is not there yet, and another result
        follows it.
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
    concepts: ConceptsNow | None = None


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
        Given a coarse result after each batch of a method that runs the network. Where the method
        has a cheaper version of itself, that one draws all tiles first, and the maps proper replace
        its maps batch by batch.

    Raises
    ------
    UnknownName, NeedsModel, NeedsActivations, InvalidInput
        What is asked cannot be drawn; the message says why and what to do.
    """
    method = explain.get(question.spec.method)
    live = explain.is_live(method)
    groups, title = groups_of(question, method)
    if not live and question.model is None:
        return _kept(question, method, groups, title)
    told = None if live else show
    rounds = [method]
    if told is not None and (first := explain.coarse_of(method)) is not None:
        rounds = [first, method]  # nobody would see it where only the final maps are told
    info = question.store.layers[question.layer]
    m = len(question.rows)
    values = np.zeros((m, *info.grid), dtype=np.float32)
    ready = np.zeros(m, dtype=bool)
    step = LIVE_BATCH if live else MODEL_BATCH
    todo = len(rounds) * sum(len(part) for _, part in groups)
    done = 0
    for using in rounds:
        for targets, part in groups:
            for start in range(0, len(part), step):
                at = part[start : start + step]
                if job is not None:
                    job.check()
                batch = _batch(question, using, question.rows[at], job)
                maps = _summed(using, batch, targets)
                values, where = _fit(values, maps, ready), at
                values[where] = maps
                ready[where] = True
                done += len(at)
                if job is not None:
                    job.progress(done, todo)
                if told is not None and done < todo:
                    told(_result(question, method, values.copy(), ready.copy(), title, "coarse"))
    ready[:] = True
    return _result(question, method, values, ready, title, "final")


def check(question: Question) -> None:
    """Raise what :func:`compute` would raise of the question itself, before a job is started."""
    groups_of(question, explain.get(question.spec.method))


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


# -- parts -------------------------------------------------------------------------------
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


def _kept(question: Question, method: MapMethod, groups: Groups, title: str) -> MapResult:
    """Maps that the store keeps; tiles without one are not ready."""
    parts: list[tuple[kept_maps.Of, npt.NDArray[np.int64]]] = []
    for (part,), at in groups:
        assert isinstance(part.target, kept_maps.Of)
        parts.append((part.target, at))
    values, ready = keptmaps.read(
        question.store,
        method,
        question.layer,
        question.rows,
        parts,
        question.clustering,
        question.concepts,
    )
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
