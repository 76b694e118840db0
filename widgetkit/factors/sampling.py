"""Which positions the prototypes are learned from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from widgetkit.factors.groups import Groups
from widgetkit.factors.weighing import Array
from widgetkit.store.sampling import choose_positions

if TYPE_CHECKING:
    from widgetkit.store import ActivationStore

# Cells of one tile: neighbours are alike, and the whole map of a tile is read anyway.
_PER_TILE = 8
_BYTES = 32 * 2**20


@dataclass(frozen=True, eq=False)
class Sample:
    """``rows`` (p,) tiles ascending, ``cells`` (p,) flat position in the grid, ``values`` (p, C)."""

    rows: npt.NDArray[np.int64]
    cells: npt.NDArray[np.int64]
    values: Array


def draw(
    store: ActivationStore,
    layer: str,
    count: int,
    seed: int,
    groups: Groups | None = None,
    check: Callable[[], object] = lambda: None,
) -> Sample:
    """Seeded positions of a layer, the same number of every group as far as it has them.

    Parameters
    ----------
    count : int
        Positions wanted; all when there are no more.
    groups : Groups, optional
        None draws from all tiles alike, so that large slides count more.
    check : callable
        Called between reads; may raise to stop.
    """
    info = store.layer(layer)
    if groups is None:
        rows, cells = choose_positions(len(store), info.cells, count, seed, per_row=_PER_TILE)
    else:
        rows, cells = _balanced(groups, info.cells, count, seed)
    values = np.empty((len(rows), info.channels), np.float32)
    tiles, starts = np.unique(rows, return_index=True)
    ends = np.append(starts[1:], len(rows))
    step = max(1, _BYTES // max(1, info.channels * info.cells * 4))
    for begin in range(0, len(tiles), step):
        check()
        part = slice(begin, begin + step)
        maps = store.activations(layer, tiles[part]).reshape(-1, info.channels, info.cells)
        span = slice(int(starts[part][0]), int(ends[part][-1]))
        local = np.repeat(np.arange(len(maps)), ends[part] - starts[part])
        values[span] = maps[local, :, cells[span]]
    return Sample(rows, cells, values)


def _balanced(
    groups: Groups, cells: int, count: int, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    members = [np.flatnonzero(groups.codes == g) for g in range(len(groups.names))]
    quotas = shares([len(tiles) * cells for tiles in members], count)
    rows, places = [], []
    for g, (tiles, quota) in enumerate(zip(members, quotas, strict=True)):
        own = int(np.random.SeedSequence([seed, g]).generate_state(1)[0])
        at, cell = choose_positions(len(tiles), cells, quota, own, per_row=_PER_TILE)
        rows.append(tiles[at])
        places.append(cell)
    all_rows, all_cells = np.concatenate(rows), np.concatenate(places)
    order = np.lexsort((all_cells, all_rows))
    return all_rows[order], all_cells[order]


def shares(capacities: list[int], count: int) -> list[int]:
    """``count`` cut into parts as equal as the capacities allow; the first get what is over."""
    left, found = min(count, sum(capacities)), [0] * len(capacities)
    order = sorted(range(len(capacities)), key=lambda i: (capacities[i], -i))
    for done, i in enumerate(order):  # the smallest first: what it lacks goes to the others
        found[i] = min(capacities[i], left // (len(order) - done))
        left -= found[i]
    return found
