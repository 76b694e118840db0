"""What a user should hear of the data before factors are sought in them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from widgetkit.store import LayerInfo


def warn_of_dead_channels(info: LayerInfo) -> None:
    """Warn when channels have one value everywhere: they tell nothing, and do no harm."""
    dead = len(info.constant_channels)
    if dead:
        warnings.warn(
            f"{dead} of {info.channels} channels of layer {info.name!r} have the same value at "
            "every position (dead units); they do not take part in the factors.",
            UserWarning,
            stacklevel=2,
        )
