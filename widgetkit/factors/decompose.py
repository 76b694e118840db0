"""Parts of a store's tiles, a few tiles at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._hooks import Cancel, Progress, checkpoint
from widgetkit.errors import StoreMismatch
from widgetkit.factors.parts import Parts

if TYPE_CHECKING:
    from widgetkit.factors.factors import Factors
    from widgetkit.store import ActivationStore

# Activations (float32) that are changed and run at once. Three such arrays are alive.
_BYTES = 32 * 2**20


def tiles_that_fit(bytes_each: int) -> int:
    """How many tiles' activations are held at once."""
    return max(1, _BYTES // max(1, bytes_each))


def chunks(
    store: ActivationStore, factors: Factors, rows: npt.NDArray[np.int64]
) -> Iterator[tuple[slice, Parts]]:
    """:class:`Parts` of the rows, in order, and their places among them.

    Raises
    ------
    StoreMismatch
        The factors belong to another store.
    """
    if factors.store_id != store.id:
        raise StoreMismatch(
            f"Factors {factors.name!r} were made of store {factors.store_id[:12]}, and this is "
            f"{store.id[:12]} ({store.path.name}). Factorise this store, or open that one."
        )
    info = store.layer(factors.layer)
    step = tiles_that_fit(info.channels * info.cells * 4)
    for start in range(0, len(rows), step):
        here = slice(start, min(start + step, len(rows)))
        yield here, parts_of(store, factors, rows[here])


class Counter:
    """Progress over several kinds of work, told in one unit; stops where it is asked to."""

    def __init__(self, total: int, progress: Progress | None, cancel: Cancel | None) -> None:
        self._total, self._progress, self._cancel = total, progress, cancel
        self._before = 0
        checkpoint(cancel, progress, 0, total)

    def part(self, size: int) -> Callable[[int], None]:
        """What is called with how much of the next ``size`` units is done."""
        start = self._before
        self._before += size

        def tick(done: int) -> None:
            checkpoint(self._cancel, self._progress, start + done, self._total)

        return tick


def parts_of(store: ActivationStore, factors: Factors, rows: npt.NDArray[np.int64]) -> Parts:
    """Stored activations of some tiles beside what the factors make of them.

    What was done before the factorisation is undone: a slide's scaling divides, what was
    subtracted is added again, and split channels are one again.
    """
    activations = store.activations(factors.layer, rows).astype(np.float32)
    channels = activations.shape[1]
    scale = offset = None
    if factors.scales is not None:
        ones = np.ones((len(rows), channels, 1), np.float32)
        scale = factors.preparation.unscale(ones, rows)[:, :, 0]
    if factors.offset is not None:
        offset = np.broadcast_to(factors.offset, (len(rows), channels))
        offset = offset if scale is None else offset * scale
    return Parts(activations, factors.weights(rows), factors.prototypes, scale, offset)
