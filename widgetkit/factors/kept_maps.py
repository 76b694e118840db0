"""Maps of a class that were computed once and are kept in the store.

Grad-CAM, occlusion and relevance maps run the network. Kept, they can be compared with factors
where there is no network: in a class without torch, or a year later.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from widgetkit import explain
from widgetkit.analysis._hooks import Cancel, Progress, checkpoint
from widgetkit.errors import InvalidInput, StoreError, UnknownName

if TYPE_CHECKING:
    from widgetkit.explain import Model
    from widgetkit.store import ActivationStore

KIND = "maps"
Rows = npt.NDArray[np.int64]
Maps = npt.NDArray[np.float32]

# Tiles run at once, and how often a stop is looked for.
_BATCH = 8


@dataclass(frozen=True, eq=False)
class KeptMaps:
    """Maps of some tiles towards one class, on the layer's grid.

    Attributes
    ----------
    method : str
    target : int
    layer : str
    rows : (m,) int64, ascending
    values : (m, *grid) float32
    """

    method: str
    target: int
    layer: str
    rows: Rows
    values: Maps

    def take(self, rows: Rows) -> Maps:
        """(len(rows), *grid) float32; every row must be among :attr:`rows`."""
        at = np.searchsorted(self.rows, rows)
        if (at >= len(self.rows)).any() or not np.array_equal(self.rows[at], rows):
            raise InvalidInput(f"Not all of {len(rows)} rows have a kept {self.method} map.")
        return self.values[at]


def kept(store: ActivationStore, method: str, target: int, *, layer: str) -> KeptMaps | None:
    """The maps kept of a method with its default settings, or None; damaged ones count as none."""
    chosen = explain.get(method)
    try:
        entry = store.derived.get(KIND, _name(store, method, target, layer))
        rows = np.asarray(entry.arrays["rows"], np.int64)
        values = np.asarray(entry.arrays["values"], np.float32)
    except (UnknownName, StoreError, KeyError):
        return None
    fits = (
        entry.params == _params(chosen, target, layer)
        and rows.ndim == 1
        and len(rows) > 0
        and values.shape == (len(rows), *store.layer(layer).grid)
        and int(rows[0]) >= 0
        and int(rows[-1]) < len(store)
        and bool((np.diff(rows) > 0).all())
        and bool(np.isfinite(values).all())
    )
    return KeptMaps(method, target, layer, rows, values) if fits else None


def kept_classes(store: ActivationStore, method: str, *, layer: str) -> tuple[int, ...]:
    """Classes that maps of a method are kept of, ascending; from the names, so none is read."""
    start = _name(store, method, 0, layer)[:-1]
    ends = (name[len(start) :] for name in store.derived.names(KIND) if name.startswith(start))
    return tuple(sorted(int(end) for end in ends if end.isascii() and end.isdecimal()))


def kept_methods(store: ActivationStore, target: int, *, layer: str) -> dict[str, KeptMaps]:
    """All maps kept for a class, by method."""
    found = {}
    for method in explain.for_target(explain.ClassTarget):
        maps = kept(store, method, target, layer=layer)
        if maps is not None:
            found[method] = maps
    return found


def maps_of(
    store: ActivationStore,
    method: str,
    target: int,
    rows: npt.ArrayLike,
    *,
    layer: str,
    model: Model | None = None,
    keep: bool = True,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> KeptMaps:
    """Maps of a class, read where they are kept and computed (and kept) where they are not.

    Parameters
    ----------
    store : ActivationStore
    method : str
        A map method that takes a class, see ``widgetkit.explain``. Maps finer than the layer's
        grid (occlusion) are averaged to it.
    target : int
        The class, from 0.
    rows : (m,) int
    layer : str
    model : ModelContext, optional
        Needed for what is not kept, unless the method needs stored activations only.
    keep : bool
        Add what was computed to what the store keeps.
    progress, cancel : callable, optional
        Between batches; what was computed before a stop is kept.

    Raises
    ------
    NeedsModel, NeedsActivations, InvalidInput, Cancelled
    """
    chosen = explain.get(method)
    wanted = np.unique(np.asarray(rows, np.int64).reshape(-1))
    known = kept(store, method, target, layer=layer)
    have = np.empty(0, np.int64) if known is None else known.rows
    todo = np.setdiff1d(wanted, have, assume_unique=True)
    grid = store.layer(layer).grid
    made: list[Maps] = []
    try:
        for start in range(0, len(todo), _BATCH):
            checkpoint(cancel, progress, start, len(todo))
            batch = explain.Batch.from_store(
                store, todo[start : start + _BATCH], layer=layer, model=model, method=chosen
            )
            if cancel is not None:
                batch = replace(batch, check=lambda: checkpoint(cancel, None, 0, 1))
            maps = explain.compute(chosen, batch, explain.ClassTarget(target))
            made.append(maps if maps.shape[1:] == grid else explain.area_mean(maps, grid))
        if len(todo):
            checkpoint(cancel, progress, len(todo), len(todo))
    finally:
        done = todo[: sum(map(len, made))]
        found = _joined(known, done, made, method, target, layer, grid)
        if keep and len(done):
            store.derived.put(
                KIND,
                _name(store, method, target, layer),
                {"rows": found.rows, "values": found.values},
                params=_params(chosen, target, layer),
            )
    return replace(found, rows=wanted, values=found.take(wanted))


def _joined(
    known: KeptMaps | None,
    rows: Rows,
    made: list[Maps],
    method: str,
    target: int,
    layer: str,
    grid: tuple[int, ...],
) -> KeptMaps:
    values = np.concatenate(made) if made else np.empty((0, *grid), np.float32)
    if known is not None:
        rows, values = np.concatenate([known.rows, rows]), np.concatenate([known.values, values])
    order = np.argsort(rows, kind="stable")
    return KeptMaps(method, target, layer, rows[order], values[order])


def _name(store: ActivationStore, method: str, target: int, layer: str) -> str:
    return f"{store.layer(layer).slug}-{method}-class-{int(target)}"


def _params(method: Any, target: int, layer: str) -> dict[str, Any]:
    """What decides a map: also the method's settings, so that another default is not mistaken."""
    settings = {
        key: value
        for key, value in sorted(vars(method).items())
        if isinstance(value, bool | int | float | str | None)
    }
    made: dict[str, Any] = json.loads(
        json.dumps(
            {"method": method.name, "target": int(target), "layer": layer, "settings": settings}
        )
    )
    return made
