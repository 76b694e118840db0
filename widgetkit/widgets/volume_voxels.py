"""Voxels on their way to the browser: made coarser where they are too many, cut into messages."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from widgetkit.errors import InvalidInput
from widgetkit.session.scan import voxels_of
from widgetkit.widgets import wire

if TYPE_CHECKING:
    from widgetkit.session.scan import Scan, Voxels
    from widgetkit.store import ActivationStore

Step = tuple[int, int, int]

#: Bytes of a volume that cross: 256 x 256 x 256 grey voxels, about 60 slices of 512 x 512.
BYTES_MOST = 2**24
#: Bytes of one message. Small, so that the first planes are seen soon and gestures get through.
CHUNK = 2**20
assert CHUNK < wire.MESSAGE_MOST


def step_of(shape: Sequence[int], channels: int = 1, most: int = BYTES_MOST) -> Step:
    """How many voxels along each axis become one, so that at most ``most`` bytes are left.

    The axis with most voxels gives first: a few fine slices keep all of them.
    """
    step = [1, 1, 1]
    while True:
        left = reduced_shape(shape, (step[0], step[1], step[2]))
        if channels * left[0] * left[1] * left[2] <= most:
            return step[0], step[1], step[2]
        step[max(range(3), key=lambda a: left[a])] += 1


def reduced_shape(shape: Sequence[int], step: Step) -> tuple[int, int, int]:
    """Shape once every ``step`` voxels are one; the last of an axis may be of fewer."""
    depth, height, width = (-(-n // s) for n, s in zip(shape, step, strict=True))
    return depth, height, width


def reduce(voxels: Voxels, step: Step) -> Voxels:
    """``(D, H, W[, 3])`` with means of ``step`` voxels, rounded; those at the ends of fewer."""
    if step == (1, 1, 1):
        return np.ascontiguousarray(voxels)
    shape = reduced_shape(voxels.shape[:3], step)
    out = np.empty((*shape, *voxels.shape[3:]), np.uint8)
    starts = [np.arange(n) * s for n, s in zip(shape, step, strict=True)]
    counts = [
        np.diff(np.append(start, n)) for start, n in zip(starts, voxels.shape[:3], strict=True)
    ]
    for d in range(shape[0]):  # a slab at a time: sums take four bytes a voxel
        slab = voxels[starts[0][d] : starts[0][d] + step[0]]
        total = slab.sum(axis=0, dtype=np.uint32)
        total = np.add.reduceat(total, starts[1], axis=0)
        total = np.add.reduceat(total, starts[2], axis=1)
        many = len(slab) * np.multiply.outer(counts[1], counts[2])
        many = many.reshape(many.shape + (1,) * (total.ndim - 2))
        out[d] = np.rint(total / many)
    return out


class Sent:
    """The voxels of one volume as they are sent; read when first asked for, by any thread."""

    def __init__(self, store: ActivationStore, scan: Scan) -> None:
        self._store, self._scan = store, scan
        self.step = step_of(scan.shape, 3 if scan.colour else 1)
        self.shape = reduced_shape(scan.shape, self.step)
        self.bytes = int(np.prod(self.shape)) * (3 if scan.colour else 1)
        self.chunks = -(-self.bytes // CHUNK)
        self._lock = threading.Lock()
        self._data: Voxels | None = None  # flat

    def chunk(self, index: int) -> bytes:
        """Bytes ``[index * CHUNK, ...)`` of the voxels in C order.

        Raises
        ------
        StoreCorrupt
            The picture is damaged.
        """
        with self._lock:
            if self._data is None:
                voxels = reduce(voxels_of(self._store, self._scan), self.step)
                self._data = voxels.reshape(-1)
        return self._data[index * CHUNK : (index + 1) * CHUNK].tobytes()


def cells_in(
    low: Sequence[int], high: Sequence[int], shape: Sequence[int], grid: Sequence[int]
) -> np.ndarray:
    """Flat numbers of the cells in which the voxels from ``low`` to ``high`` (inclusive) lie."""
    from widgetkit.session.scan import cell_of

    along = [
        np.unique(cell_of(np.arange(a, b + 1), n, cells))
        for a, b, n, cells in zip(low, high, shape, grid, strict=True)
    ]
    found: np.ndarray = np.ravel_multi_index(np.ix_(*along), tuple(grid)).reshape(-1)
    return found


def decode_voxel(value: Any, shape: Sequence[int]) -> tuple[int, int, int]:
    """A voxel from the browser; ``InvalidInput`` unless it lies in the volume."""
    if (
        not isinstance(value, list)
        or len(value) != 3
        or not all(isinstance(v, int) and not isinstance(v, bool) for v in value)
        or not all(0 <= v < n for v, n in zip(value, shape, strict=True))
    ):
        raise InvalidInput(f"Voxel {value!r:.60} is not in a volume of {tuple(shape)}.")
    return value[0], value[1], value[2]
