"""Where images come from: slides, folders, arrays, datasets, CT and MRI; and the table that names the tiles.

``wk.tiles.from_slide``, ``from_folder``, ``from_array``, ``from_dataset`` and ``from_volumes`` give a
:class:`TileSource`; ``read_volume`` reads DICOM, NIfTI and NRRD; ``subset``, ``concat`` and ``annotate`` make one of others; ``join_metadata`` joins tables.
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
from widgetkit.tiles.dicom import dicom_files, list_series
from widgetkit.tiles.folder import FolderTiles, from_folder
from widgetkit.tiles.medical import from_dicom, from_nifti, from_nrrd
from widgetkit.tiles.metadata import anonymise, join_metadata
from widgetkit.tiles.pixels import display
from widgetkit.tiles.slide import SlideTiles, from_slide
from widgetkit.tiles.tissue import tissue_mask
from widgetkit.tiles.volume import Volume, read_volume
from widgetkit.tiles.volumes import VolumeTiles, from_volumes
from widgetkit.tiles.windows import WINDOWS, Window

__all__ = [
    "WINDOWS",
    "ArrayTiles",
    "BaseSource",
    "DatasetTiles",
    "FolderTiles",
    "SlideTiles",
    "TileSource",
    "Volume",
    "VolumeTiles",
    "Window",
    "annotate",
    "anonymise",
    "check_source",
    "check_table",
    "concat",
    "dicom_files",
    "display",
    "display_of",
    "from_array",
    "from_dataset",
    "from_dicom",
    "from_folder",
    "from_nifti",
    "from_nrrd",
    "from_slide",
    "from_volumes",
    "join_metadata",
    "list_series",
    "make_table",
    "read_volume",
    "subset",
    "tile_id",
    "tissue_mask",
]
