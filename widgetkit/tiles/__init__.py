"""Where images come from: slides, folders, arrays, datasets; and the table that names the tiles.

``wk.tiles.from_slide``, ``from_folder``, ``from_array`` and ``from_dataset`` give a
:class:`TileSource`; ``subset``, ``concat`` and ``annotate`` make one of others; ``join_metadata`` joins tables.
"""

from __future__ import annotations

from widgetkit.tiles.array import ArrayTiles, from_array
from widgetkit.tiles.base import (
    BaseSource,
    TileSource,
    check_source,
    check_table,
    display_of,
    make_table,
    tile_id,
)
from widgetkit.tiles.combine import annotate, concat, subset
from widgetkit.tiles.dataset import DatasetTiles, from_dataset
from widgetkit.tiles.folder import FolderTiles, from_folder
from widgetkit.tiles.metadata import anonymise, join_metadata
from widgetkit.tiles.pixels import display
from widgetkit.tiles.slide import SlideTiles, from_slide
from widgetkit.tiles.tissue import tissue_mask

__all__ = [
    "ArrayTiles",
    "BaseSource",
    "DatasetTiles",
    "FolderTiles",
    "SlideTiles",
    "TileSource",
    "annotate",
    "anonymise",
    "check_source",
    "check_table",
    "concat",
    "display",
    "display_of",
    "from_array",
    "from_dataset",
    "from_folder",
    "from_slide",
    "join_metadata",
    "make_table",
    "subset",
    "tile_id",
    "tissue_mask",
]
