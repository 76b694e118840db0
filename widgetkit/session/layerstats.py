"""Embeddings of the layers with their totals, read once and kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput
from widgetkit.session.selection import Selection

if TYPE_CHECKING:
    from widgetkit.store import ActivationStore

_BLOCK = 4096  # rows: 8 MB of 512 channels, summed in float32 inside, in float64 across

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LayerStats:
    """Mean and spread of a layer's embeddings, of all tiles and of any selection.

    Attributes
    ----------
    embeddings : (n, C) float32
    """

    embeddings: Floats = field(repr=False)
    _contrasts: dict[Selection, tuple[Floats, Floats]] = field(default_factory=dict, repr=False)

    @cached_property
    def total(self) -> npt.NDArray[np.float64]:
        """(C,) sum over all tiles."""
        found: npt.NDArray[np.float64] = self.embeddings.sum(axis=0, dtype=np.float64)
        return found

    @cached_property
    def std(self) -> Floats:
        """(C,) standard deviation over all tiles."""
        if not len(self.embeddings):
            return np.zeros(self.embeddings.shape[1], dtype=np.float32)
        spread: Floats = self.embeddings.std(axis=0, dtype=np.float64).astype(np.float32)
        return spread

    def contrast(self, selection: Selection) -> tuple[Floats, Floats]:
        """Means (C,) of the selected tiles and of the rest.

        Raises
        ------
        InvalidInput
            Nothing or everything is selected: there is nothing to compare.
        """
        inside, n = selection.count, len(self.embeddings)
        if inside in (0, n):
            raise InvalidInput(
                f"{inside} of {n} tiles are selected: a selection is compared with the rest, so "
                "select some tiles, but not all."
            )
        if selection not in self._contrasts:
            own = self._sum(selection.mask)
            self._contrasts.clear()  # pages of a gallery ask for the same selection again
            self._contrasts[selection] = (
                (own / inside).astype(np.float32),
                ((self.total - own) / (n - inside)).astype(np.float32),
            )
        return self._contrasts[selection]

    def _sum(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """(C,) sum of the selected rows: products of blocks, without copying the rows."""
        weight = mask.astype(np.float32)
        total = np.zeros(self.embeddings.shape[1])
        for at in range(0, len(mask), _BLOCK):
            part = weight[at : at + _BLOCK]
            if part.any():
                total += part @ self.embeddings[at : at + _BLOCK]
        return total


class StatsOfLayers:
    """:class:`LayerStats` by layer, read when first asked for."""

    def __init__(self, store: ActivationStore) -> None:
        self._store = store
        self._known: dict[str, LayerStats] = {}

    def __getitem__(self, layer: str) -> LayerStats:
        if layer not in self._known:
            self._known[layer] = LayerStats(self._store.embeddings(layer))
        return self._known[layer]
