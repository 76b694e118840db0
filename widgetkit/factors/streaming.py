"""One pass over a store: weights of every position, a segment at a time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput
from widgetkit.factors.preparing import Preparation
from widgetkit.factors.weighing import Array, Weigher

if TYPE_CHECKING:
    from widgetkit.store import ActivationStore, Column, ResumableWriter

# Activations of a block: the memory of the pass, whatever the length of the store, is one of these
# and its weights for each processor, and one that is being read.
BLOCK_BYTES = 32 * 2**20
_CACHE = 2**20

_LARGEST = float(np.finfo(np.float16).max)


def columns(k: int, grid: tuple[int, ...]) -> dict[str, Column]:
    """What is kept of a tile."""
    from widgetkit.store import Column

    return {
        "weights": Column((k, *grid), "<f2"),
        "pooled": Column((3 * k + 1,), "<f4"),  # mean, max and share of each factor, then total
        "squares": Column((2,), "<f8"),  # ||x - w H||² and ||x||², summed over the positions
    }


def winners_of(weights: Array, level: float, *, signed: bool) -> npt.NDArray[np.int16]:
    """(m, k, ...) to (m, ...): the factor with the largest weight, -1 where the total is low."""
    sizes = np.abs(weights) if signed else weights
    found: npt.NDArray[np.int16] = sizes.argmax(axis=1).astype(np.int16)
    found[~(sizes.sum(axis=1) > level)] = -1
    return found


def weigh_maps(
    raw: npt.NDArray[Any],
    weigher: Weigher,
    preparation: Preparation | None = None,
    tiles: npt.NDArray[np.int64] | None = None,
) -> tuple[Array, npt.NDArray[np.float64]]:
    """Maps (m, C, cells) of tiles (m,) to weights (m, k, cells), and squares (m, 2): of the error
    and of the (prepared) activations, summed over the cells."""
    prepared = Preparation() if preparation is None else preparation
    m, channels, cells = raw.shape
    k, offset = weigher.k, weigher.offset
    tiles = np.arange(m) if tiles is None else tiles
    products = np.empty((m, k, cells), np.float32)
    sizes, around = np.empty(m), np.empty(m)
    # a few tiles at a time: what is made of them stays in the processor's cache until it is used
    step = max(1, _CACHE // max(1, channels * cells * 4))
    for at in range(0, m, step):
        part = slice(at, at + step)
        A = prepared.maps(raw[part], tiles[part])
        np.matmul(weigher.basis, A, out=products[part])
        flat = A.reshape(len(A), -1)
        sizes[part] = around[part] = np.vecdot(flat, flat)
        if offset is not None:
            moved = np.einsum("mcs,c->m", A, offset).astype(np.float64)
            around[part] += cells * float(offset.astype(np.float64) @ offset) - 2 * moved
    if offset is not None:
        products -= (weigher.basis @ offset)[:, None]
    rows = products.transpose(0, 2, 1).reshape(m * cells, k)
    found = weigher.from_products(rows)
    weights = np.ascontiguousarray(found.reshape(m, cells, k).transpose(0, 2, 1))
    errors = np.maximum(around - weigher.explained(weights, products), 0)
    # a difference of large numbers keeps about 6 digits of float32: too few below 1 %
    for i in np.flatnonzero(errors < 1e-2 * sizes):
        rest = prepared.maps(raw[i : i + 1], tiles[i : i + 1])[0] - weigher.basis.T @ weights[i]
        if offset is not None:
            rest -= offset[:, None]
        errors[i] = float(np.vdot(rest, rest))
    return weights, np.stack([errors, sizes], axis=1)


def weigh_stream(
    blocks: Iterable[tuple[npt.NDArray[np.int64], npt.NDArray[Any]]],
    weigher: Weigher,
    preparation: Preparation | None = None,
) -> Iterator[tuple[npt.NDArray[np.int64], Array, npt.NDArray[np.float64]]]:
    """:func:`weigh_maps` of blocks ``(tiles (m,), raw (m, C, cells))``, in their order.

    On all processors: while blocks are weighed, the next are taken from ``blocks`` (read, that is).
    What is computed for a block does not depend on how many work.
    """
    workers = _processors()

    def work(
        tiles: npt.NDArray[np.int64], raw: npt.NDArray[Any]
    ) -> tuple[npt.NDArray[np.int64], Array, npt.NDArray[np.float64]]:
        return (tiles, *weigh_maps(raw, weigher, preparation, tiles))

    with ThreadPoolExecutor(workers, thread_name_prefix="widgetkit-factors") as executor:
        waiting: deque[Future[tuple[npt.NDArray[np.int64], Array, npt.NDArray[np.float64]]]]
        waiting = deque()
        for tiles, raw in blocks:
            waiting.append(executor.submit(work, tiles, raw))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _processors() -> int:
    """Those this process may use, at most 4: the blocks in flight are memory."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(allowed or 1, 4))


def pool(weights: Array, level: float, *, signed: bool) -> Array:
    """(m, k, cells) to (m, 3 k + 1): mean, max and share of positions won, and mean total."""
    k = weights.shape[1]
    won = winners_of(weights, level, signed=signed)
    sizes = np.abs(weights) if signed else weights
    return np.concatenate(
        [
            weights.mean(axis=2, dtype=np.float64),
            weights.max(axis=2),
            (won[:, None] == np.arange(k)[:, None]).mean(axis=2),
            sizes.sum(axis=1, dtype=np.float64).mean(axis=1)[:, None],
        ],
        axis=1,
    ).astype(np.float32)


def assign_all(
    store: ActivationStore,
    layer: str,
    writer: ResumableWriter,
    weigher: Weigher,
    preparation: Preparation,
    level: float,
    *,
    progress: Callable[[int, int], object] | None,
    check: Callable[[], object],
) -> float:
    """Fill the missing segments; returns ``||X - W H|| / ||X||`` over all positions."""
    info = store.layer(layer)
    step = max(1, BLOCK_BYTES // max(1, info.channels * info.cells * 2))
    missing = writer.missing_segments()
    done = writer.rows - sum(len(writer.range(index)) for index in missing)

    def blocks() -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[Any]]]:
        for index in missing:
            span = writer.range(index)
            for start in range(span.start, span.stop, step):
                check()
                tiles = np.arange(start, min(start + step, span.stop), dtype=np.int64)
                raw = store.activations(layer, tiles)
                yield tiles, raw.reshape(len(tiles), info.channels, info.cells)

    ends = {writer.range(index).stop: index for index in missing}
    parts: dict[str, list[npt.NDArray[Any]]] = {"weights": [], "pooled": [], "squares": []}
    if progress is not None:
        progress(done, writer.rows)
    for tiles, weights, squares in weigh_stream(blocks(), weigher, preparation):
        kept = half(weights)
        parts["weights"].append(kept.reshape(len(tiles), weigher.k, *info.grid))
        parts["pooled"].append(pool(kept.astype(np.float32), level, signed=weigher.signed))
        parts["squares"].append(squares)
        done += len(tiles)
        complete = ends.get(int(tiles[-1]) + 1)
        if complete is not None:
            joined = {key: np.concatenate(found) for key, found in parts.items()}
            writer.write_segment(complete, joined)
            for found in parts.values():
                found.clear()
        if progress is not None:
            progress(done, writer.rows)
        if done < writer.rows:
            check()
    total = np.zeros(2)
    for index in range(writer.segments):
        total += writer.read_segment("squares", index).sum(axis=0)
    return float(np.sqrt(total[0] / total[1])) if total[1] > 0 else 0.0


def half(weights: Array) -> npt.NDArray[np.float16]:
    """Weights as they are kept.

    Raises
    ------
    InvalidInput
        One is beyond float16.
    """
    high = float(np.abs(weights).max(initial=0.0))
    if high > _LARGEST:
        raise InvalidInput(
            f"A weight of {high:.3g} is more than float16 holds ({_LARGEST:g}). Give the prototypes "
            "the length of the activations (they are very short), or leave out one of two that are "
            "nearly opposite."
        )
    return weights.astype(np.float16)
