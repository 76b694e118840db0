"""What the selected tiles have more of than the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from widgetkit.explain.base import (
    Batch,
    Float,
    Need,
    SelectionTarget,
    channel_vector,
    expect,
    weighted_sum,
)
from widgetkit.explain.registry import register


@register
@dataclass(frozen=True)
class SelectionMap:
    """Selection against the rest: the standardised channel-mean difference, at each position.

    With ``d = (mean_in - mean_rest) / std`` for every channel, the map is ``sum_c d_c a_c``.
    Positive where the channels are active that the selected tiles have more of, negative where
    those of the rest are. Channels that never vary (``std`` 0) have no say; where there is no
    selection or no rest (means of NaN) the map is zero. The map is linear in the activations, so
    its mean over a tile is ``d`` times the tile's embedding.
    """

    name: ClassVar[str] = "selection"
    title: ClassVar[str] = "Selection against the rest"
    reference: ClassVar[str] = (
        "Standardised mean difference (Cohen, 1988), one a channel, used as weights."
    )
    requires: ClassVar[frozenset[Need]] = frozenset({"activations"})
    targets: ClassVar[frozenset[type]] = frozenset({SelectionTarget})
    signed: ClassVar[bool] = True

    def compute(self, batch: Batch, target: SelectionTarget) -> Float:
        """Signed maps ``(m, *grid)``, in units of activation times standard deviations."""
        chosen = expect(target, SelectionTarget, self.title)
        activations = batch.need_activations(self.title)

        from widgetkit.analysis import selection_contrast

        channels, layer = activations.shape[1], batch.layer.name
        contrast = selection_contrast(
            channel_vector(chosen.mean_in, channels, "mean_in of the selection", layer),
            channel_vector(chosen.mean_rest, channels, "mean_rest of the selection", layer),
            channel_vector(chosen.std, channels, "std of the selection", layer),
        )
        return weighted_sum(activations, contrast)
