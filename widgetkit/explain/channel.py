"""One channel of the layer, as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from widgetkit.errors import InvalidInput
from widgetkit.explain.base import Batch, ChannelTarget, Float, Need, expect
from widgetkit.explain.registry import register


@register
@dataclass(frozen=True)
class ChannelMap:
    """The activation of one channel.

    The map is ``A[:, index]``, negative values included where the layer has any.
    """

    name: ClassVar[str] = "channel"
    title: ClassVar[str] = "Channel"
    reference: ClassVar[str] = "The stored activation itself."
    requires: ClassVar[frozenset[Need]] = frozenset({"activations"})
    targets: ClassVar[frozenset[type]] = frozenset({ChannelTarget})
    signed: ClassVar[bool] = False

    def compute(self, batch: Batch, target: ChannelTarget) -> Float:
        """Maps ``(m, *grid)`` of channel ``target.index``."""
        index = expect(target, ChannelTarget, self.title).index
        activations = batch.need_activations(self.title)
        if not 0 <= index < activations.shape[1]:
            raise InvalidInput(
                f"Channel {index} is not in layer {batch.layer.name!r}, which has channels 0 to "
                f"{activations.shape[1] - 1}."
            )
        return activations[:, index].copy()
