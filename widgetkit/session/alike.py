"""Tiles with a position that is like some brushed ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput, NeedsActivations

if TYPE_CHECKING:
    from widgetkit.session.jobs import Job
    from widgetkit.store import ActivationStore

#: Without a threshold the best twentieth of the tiles is selected (at least one).
DEFAULT_SHARE = 0.05
#: Bytes of stored activations up to which the answer is computed at once: 64 MB are read
#: and multiplied in about 0.1 s.
AT_ONCE = 64 * 2**20
_BATCH_BYTES = 32 * 2**20


def cell_numbers(cells: npt.ArrayLike, grid: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Flat numbers of cells given as (p, dims) indices, (p,) flat numbers, or a mask of the grid.

    Raises
    ------
    InvalidInput
        None is given, or one lies outside the grid.
    """
    array = np.asarray(cells)
    size = int(np.prod(grid))
    if array.dtype == np.bool_ and array.shape == grid:
        flat = np.flatnonzero(array)
    elif (
        array.size and array.dtype.kind in "iu" and array.ndim == 2 and array.shape[1] == len(grid)
    ):
        if (array < 0).any() or (array >= np.asarray(grid)).any():
            raise InvalidInput(f"A brushed cell lies outside the grid {grid}.")
        flat = np.ravel_multi_index(tuple(array.T), grid)
    elif array.size and array.dtype.kind in "iu" and array.ndim == 1:
        flat = array.astype(np.int64)
        if int(flat.min()) < 0 or int(flat.max()) >= size:
            raise InvalidInput(f"A brushed cell lies outside 0..{size - 1} of the grid {grid}.")
    else:
        raise InvalidInput(
            f"Cells are (p, {len(grid)}) indices, (p,) flat numbers or a bool mask of shape {grid}, at "
            f"least one; got {array.dtype} of shape {array.shape}."
        )
    if not len(flat):
        raise InvalidInput("No cell is brushed.")
    return np.unique(flat).astype(np.int64)


def similarities(
    store: ActivationStore, layer: str, row: int, cells: npt.ArrayLike, *, job: Job | None = None
) -> npt.NDArray[np.float32]:
    """How like the brushed cells the most similar position of each tile is.

    Parameters
    ----------
    store : ActivationStore
    layer : str
        One with maps.
    row : int
        The brushed tile.
    cells : see :func:`cell_numbers`
    job : Job, optional
        Told of progress, asked between batches whether to go on.

    Returns
    -------
    (n,) float32 in [-1, 1]
        Largest cosine similarity over the positions of each tile with the mean of the
        brushed activation vectors; -1 where no position has a direction (all zero).
    """
    info = store.layers[layer]
    if not info.has_maps:
        raise NeedsActivations(
            f"Layer {layer!r} holds one vector a tile and no maps, so there is no local activation to "
            "compare. Extract with the model: wk.extract(...)."
        )
    brushed = cell_numbers(cells, info.grid)
    own = store.activations(layer, [row]).astype(np.float32).reshape(info.channels, -1)
    wanted = own[:, brushed].mean(axis=1)
    length = float(np.linalg.norm(wanted))
    if not np.isfinite(length) or length == 0:
        raise InvalidInput("The brushed cells have no activation, so nothing can be like them.")
    wanted /= length
    n = len(store)
    result = np.full(n, -1.0, dtype=np.float32)
    per_tile = info.channels * int(np.prod(info.grid)) * 4
    step = max(1, _BATCH_BYTES // per_tile)
    for rows, batch in store.iter_activations(layer, step):
        if job is not None:
            job.progress(int(rows[0]), n)
        flat = batch.astype(np.float32).reshape(len(rows), info.channels, -1)
        dots = np.matmul(wanted, flat)
        norms = np.sqrt(np.einsum("mcp,mcp->mp", flat, flat))
        with np.errstate(invalid="ignore", divide="ignore"):
            cosine = np.where(norms > 0, dots / norms, -1.0)
        result[rows] = np.fmax(np.fmax.reduce(cosine, axis=1), -1.0)
    return np.clip(result, -1.0, 1.0)


def choose(
    similarity: npt.NDArray[np.float32], threshold: float | None
) -> tuple[npt.NDArray[np.bool_], float]:
    """Mask (n,) of tiles at or above the threshold, and the threshold.

    Without one, that of the most similar twentieth of the tiles (``DEFAULT_SHARE``).
    """
    if threshold is None:
        count = max(1, round(len(similarity) * DEFAULT_SHARE))
        limit = float(np.partition(similarity, len(similarity) - count)[len(similarity) - count])
    elif not -1 <= threshold <= 1:
        raise InvalidInput(f"The threshold is a cosine similarity in -1..1; got {threshold!r}.")
    else:
        limit = float(threshold)
    return similarity >= np.float32(limit), limit
