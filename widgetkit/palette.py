"""The one list of colours: colour-blind safe, shared by views, charts and figures."""

from __future__ import annotations

# Okabe & Ito (2008) without black and with the pale yellow last, then Tol's "muted" scheme.
CATEGORICAL: tuple[str, ...] = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442",
    "#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499",
)  # fmt: skip

#: Drawn for a tile in no cluster, or with no value (label -1, NaN).
NONE_COLOUR = "#9A9A9A"

#: Palette index that means "none" on the wire.
NONE_INDEX = 255


def colour(index: int) -> str:
    """Hex colour of a palette index; indices beyond the list repeat, negative is "none"."""
    if index < 0 or index == NONE_INDEX:
        return NONE_COLOUR
    return CATEGORICAL[index % len(CATEGORICAL)]
