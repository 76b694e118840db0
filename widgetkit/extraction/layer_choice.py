"""Which layer to take when the user names none, and why."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from widgetkit.errors import NoSpatialOutput
from widgetkit.extraction.arrange import Arrangement
from widgetkit.extraction.capture import Probe, Seen

# A map of fewer positions shows nothing: 2 x 2 is what is left of a 64 px tile after 5 halvings.
FEWEST_POSITIONS = 4
# Pooling to a fixed grid resamples the map before it; the map itself is the better one.
_NOT_A_MAP = ("Adaptive", "Upsample", "Flatten", "Identity")


@dataclass(frozen=True)
class Choice:
    """A layer and the sentence that says why it was taken."""

    layer: str
    reason: str


def choose(probe: Probe, arrangements: Mapping[str, Arrangement]) -> Choice:
    """The layer to take: the last map before global pooling, or a transformer's last block.

    Rules, in order. (1) A model that gives a map itself (segmentation, autoencoder) is read at the
    smallest map, its bottleneck. (2) A transformer is read after its last block. (3) Any other
    model is read at its last map; if that holds negative values and a map of the same shape before
    it does not, at that one, because factors and class maps read most naturally from values that
    only say "how much". Of modules that return the same tensor, the outermost is named.

    Parameters
    ----------
    probe : Probe
    arrangements : mapping of name to Arrangement
        Of the layers that have one; see :func:`widgetkit.extraction.layer_table.arrangements`.

    Raises
    ------
    NoSpatialOutput
        No layer has a map.
    """
    candidates = [
        seen
        for name, seen in probe.seen.items()
        if name in arrangements
        and math.prod(arrangements[name].grid) >= FEWEST_POSITIONS
        and arrangements[name].spatial
        and seen.calls == 1
        and not seen.type.startswith(_NOT_A_MAP)
    ]
    if not candidates:
        raise NoSpatialOutput(
            f"No layer of the model gives a map of at least {FEWEST_POSITIONS} positions for tiles "
            f"of {probe.input_shape[2:]} px. Use larger tiles, name a vector layer with layers=[...] "
            "to look at embeddings only, or say with layout= how to read a layer."
        )
    candidates.sort(key=lambda seen: seen.order)
    if probe.output is not None and probe.output.ndim > 3:
        smallest = min(math.prod(arrangements[seen.name].grid) for seen in candidates)
        candidates = [
            seen for seen in candidates if math.prod(arrangements[seen.name].grid) == smallest
        ]
        return _named(
            candidates[-1], candidates, arrangements, "the smallest map of a model that gives maps"
        )
    last = candidates[-1]
    if arrangements[last.name].kind in ("tokens", "channels_last"):
        blocks = [
            seen
            for seen in candidates
            if seen.name.rpartition(".")[2].isdigit()
            and seen.children
            and arrangements[seen.name].shape == arrangements[last.name].shape
        ]
        if blocks:
            return _named(
                blocks[-1], candidates, arrangements, "the patch tokens of the last block"
            )
        return _named(last, candidates, arrangements, "the last patch tokens")
    if last.minimum < 0:
        alike = [
            seen
            for seen in candidates
            if seen.minimum >= 0
            and seen.maximum > 0
            and arrangements[seen.name].shape == arrangements[last.name].shape
        ]
        if alike:
            why = f"the last non-negative map of the shape of the last one, {last.name!r}"
            return _named(alike[-1], candidates, arrangements, why)
    return _named(last, candidates, arrangements, "the last map before global pooling")


def _named(
    chosen: Seen,
    candidates: list[Seen],
    arrangements: Mapping[str, Arrangement],
    why: str,
) -> Choice:
    """The choice under the outermost name of its tensor, with shape and sign in the reason."""
    group = chosen.same_as if chosen.same_as >= 0 else chosen.order
    same = [seen for seen in candidates if group in (seen.order, seen.same_as)]
    # What works in place shares memory with its input: the same range tells the same values.
    same = [
        seen for seen in same if (seen.minimum, seen.maximum) == (chosen.minimum, chosen.maximum)
    ]
    outermost = min(same, key=lambda seen: (seen.name.count("."), seen.order))
    arrangement = arrangements[outermost.name]
    grid = " x ".join(map(str, arrangement.grid))
    sign = "non-negative" if outermost.minimum >= 0 else "signed"
    return Choice(
        outermost.name,
        f"{why}: {arrangement.channels} channels on {grid} positions, {sign} values",
    )
