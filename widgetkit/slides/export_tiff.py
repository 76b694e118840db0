"""Maps of a whole slide as OME-TIFF pyramids, which QuPath and Bio-Formats open."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from widgetkit._version import __version__
from widgetkit.errors import InvalidInput, missing
from widgetkit.palette import colour
from widgetkit.slides.export_frame import RasterFrame
from widgetkit.slides.export_images import rgb_of
from widgetkit.slides.export_ome import ome_xml
from widgetkit.slides.export_output import (
    Cancel,
    Progress,
    check,
    checked_target,
    need_space,
    new_file,
    writing,
)
from widgetkit.slides.export_pyramid import Kind, PyramidLevel, TileSpill, level_count

SUFFIXES = (".ome.tif", ".ome.tiff")
#: Strips of an array that is given whole.
_ROWS = 256
#: Six maps of the demo store: level 4 takes 36 ms and 245 kB, level 6 66 ms and 242 kB.
_LEVEL = 4
_CLASSIC = 2**32 - 2**25  # a classic TIFF ends here; as tifffile decides


def write_ome_tiff(
    path: str | os.PathLike[str],
    rasters: npt.ArrayLike | Iterable[npt.ArrayLike],
    *,
    channel_names: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    mpp: float | Sequence[float] | None = None,
    downsample: float | Sequence[float] = 1.0,
    origin: Sequence[float] = (0.0, 0.0),
    shape: tuple[int, int, int] | None = None,
    dtype: npt.DTypeLike | None = None,
    kind: Kind | None = None,
    name: str = "map",
    facts: Mapping[str, str] | None = None,
    tile: int = 256,
    levels: int | None = None,
    compression: str | None = "zlib",
    overwrite: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Path:
    """Write maps as an OME-TIFF pyramid, in one pass over strips of rows.

    Memory is that of ``4 * tile`` rows of all channels, whatever the height. The tiles wait in
    a nameless file in the folder of ``path``, which so needs twice the file's size for a moment.

    Parameters
    ----------
    path : path
        Ends with ``.ome.tif`` or ``.ome.tiff``.
    rasters : (c, H, W) or (H, W) float32 or uint8, or an iterable of strips (c, r, W)
        A raster a channel. Strips come from top to bottom with any number of rows each, and
        need ``shape`` and ``dtype``. Other floats become float32. NaN stays NaN.
    channel_names, colours : sequences of str, optional
        One a channel; colours as ``"#rrggbb"`` (default: the kit's). QuPath shows them.
    mpp, downsample, origin
        See :class:`RasterFrame`. The file's pixel size is ``mpp * downsample``; the origin stands
        in its annotation ``widgetkit/raster``.
    shape : (c, H, W), optional
        Of all strips together.
    dtype : "float32" or "uint8", optional
        Of strips.
    kind : "values", "labels" or "rgb", optional
        How coarser levels follow from finer: the mean of the cells that are not NaN (default for
        float32), the most frequent (default for uint8), or a picture of three channels.
    name : str
        Of the image. No patient or file, if the file is to leave the house.
    facts : mapping of str, optional
        Further entries of the annotation.
    tile : int
        Side of the tiles, a multiple of 16.
    levels : int, optional
        Of the pyramid, each half as large as the one before. Default: until one tile holds all.
    compression : "zlib" or None
    overwrite : bool
    progress : callable (rows done, rows of all), optional
    cancel : callable, optional
        Asked between strips; a true answer stops the writing.

    Returns
    -------
    Path

    Raises
    ------
    InvalidInput
        A shape, type or name does not fit, or the strips are fewer or more than ``shape`` says.
    MissingDependency
        tifffile is not installed.
    OutputExists, OutputFailed, Cancelled
        Nothing was written.
    """
    tifffile = _tifffile()
    target = checked_target(path, SUFFIXES, overwrite=overwrite)
    strips, size, pixel, mode = _source(rasters, shape, dtype, kind)
    channels, height, width = size
    frame = RasterFrame.of(mpp, downsample, origin)
    _check_layout(tile, compression)
    count = level_count(height, width, tile) if levels is None else _levels(levels, height, width)
    names, rgb = _channels(channel_names, colours, channels, mode)
    xml = ome_xml(
        size, pixel.name, frame,
        channel_names=names, colours=rgb, name=name, rgb=mode == "rgb", facts=facts,
    )  # fmt: skip
    if compression is None:
        need_space(target, 2 * size[0] * size[1] * size[2] * pixel.itemsize * 4 // 3)
    with writing(target), TileSpill(target.parent) as spill:
        finest = PyramidLevel(
            spill, 0, size, pixel, count,
            tile=tile, kind=mode, compression=0 if compression is None else _LEVEL,
        )  # fmt: skip
        for strip in strips:
            check(cancel, "Writing the OME-TIFF")
            finest.add(_strip(strip, finest.rows, size, pixel))
            if progress is not None:
                progress(finest.rows, height)
        if finest.rows != height:
            raise InvalidInput(
                f"The strips hold {finest.rows} rows; shape says {height}. Nothing was written."
            )
        total = spill.size + 32 * spill.count + len(xml) + 2**16
        need_space(target, total)
        with (
            new_file(target, SUFFIXES, overwrite=overwrite) as file,
            tifffile.TiffWriter(file, bigtiff=total > _CLASSIC, ome=False) as tiff,
        ):
            _write_levels(tiff, finest, spill, frame, xml, tile, compression, cancel)
    return target


def _write_levels(
    tiff: Any,
    finest: PyramidLevel,
    spill: TileSpill,
    frame: RasterFrame,
    xml: str,
    tile: int,
    compression: str | None,
    cancel: Cancel | None,
) -> None:
    rgb = finest.kind == "rgb"
    planes = 1 if rgb else finest.shape[0]
    count = 1 + sum(1 for _ in _below(finest))
    for number, level in enumerate((finest, *_below(finest))):
        _, height, width = level.shape
        first = number == 0

        def tiles(number: int = number) -> Iterator[bytes]:
            for data in spill.tiles(number, planes):
                check(cancel, "Writing the OME-TIFF")
                yield data

        tiff.write(
            tiles(),
            shape=(height, width, 3) if rgb else (planes, height, width),
            dtype=finest.dtype,
            photometric="rgb" if rgb else "minisblack",
            planarconfig="contig" if rgb else None,
            tile=(tile, tile),
            compression="adobe_deflate" if compression else None,
            subifds=count - 1 if first else None,
            subfiletype=0 if first else 1,
            description=xml.encode() if first else None,
            software=f"widgetkit {__version__}" if first else False,
            metadata=None,
            **_resolution(frame, number),
        )


def _below(level: PyramidLevel) -> Iterator[PyramidLevel]:
    while level.next is not None:
        level = level.next
        yield level


def _resolution(frame: RasterFrame, level: int) -> dict[str, Any]:
    cell = frame.cell_um
    if cell is None:
        return {}
    return {
        "resolution": tuple(1e4 / (side * 2**level) for side in cell),
        "resolutionunit": "CENTIMETER",
    }


# -- what is given -----------------------------------------------------------------------
def _tifffile() -> Any:
    try:
        import tifffile
    except ImportError as error:
        raise missing("tifffile", "slides", "Writing OME-TIFF") from error
    return tifffile


def _source(
    rasters: npt.ArrayLike | Iterable[npt.ArrayLike],
    shape: tuple[int, int, int] | None,
    dtype: npt.DTypeLike | None,
    kind: Kind | None,
) -> tuple[Iterator[Any], tuple[int, int, int], np.dtype[Any], Kind]:
    """Strips, (c, H, W), dtype of the file, and how levels are made."""
    strips: Iterator[Any]
    if hasattr(rasters, "__array__") or isinstance(rasters, list | tuple):
        array = np.asarray(rasters)
        array = array[None] if array.ndim == 2 else array
        if array.ndim != 3 or not array.size:
            raise InvalidInput(
                f"Rasters are (c, H, W) or (H, W) and not empty; got shape {array.shape}."
            )
        if shape is not None or dtype is not None:
            raise InvalidInput("shape and dtype are for strips; an array has its own.")
        found = array.dtype
        size = (array.shape[0], array.shape[1], array.shape[2])
        strips = (array[:, at : at + _ROWS] for at in range(0, size[1], _ROWS))
    else:
        if shape is None or dtype is None:
            raise InvalidInput(
                "Strips need shape=(c, H, W) and dtype='float32' or 'uint8': the pyramid is laid "
                "out before they come."
            )
        if len(shape) != 3 or not all(
            isinstance(v, int | np.integer) and 0 < v < 2**31 for v in shape
        ):
            raise InvalidInput(f"shape is (c, H, W), each at least 1; got {tuple(shape)}.")
        size = (int(shape[0]), int(shape[1]), int(shape[2]))
        found = np.dtype(dtype)
        if not isinstance(rasters, Iterable):
            raise InvalidInput(f"Rasters are an array or strips; got {type(rasters).__name__}.")
        strips = iter(rasters)
    if found.kind == "f":
        found = np.dtype(np.float32)
    elif found != np.uint8:
        raise InvalidInput(f"Rasters are float32 or uint8; got {found}.")
    mode: Kind = kind or ("values" if found.kind == "f" else "labels")
    if mode not in ("values", "labels", "rgb"):
        raise InvalidInput(f"kind is 'values', 'labels' or 'rgb'; got {kind!r}.")
    if (mode == "values") != (found.kind == "f") or (mode == "rgb" and size[0] != 3):
        raise InvalidInput(
            f"kind={mode!r} does not go with {size[0]} channels of {found}: values are float32, "
            "labels uint8, and rgb three channels of uint8."
        )
    return strips, size, found, mode


def _strip(
    strip: npt.ArrayLike, done: int, size: tuple[int, int, int], dtype: np.dtype[Any]
) -> npt.NDArray[Any]:
    rows = np.asarray(strip)
    rows = rows[None] if rows.ndim == 2 else rows
    if rows.ndim != 3 or rows.shape[0] != size[0] or rows.shape[2] != size[2]:
        raise InvalidInput(
            f"A strip has shape (c, rows, W) = ({size[0]}, any, {size[2]}); got {rows.shape}."
        )
    if done + rows.shape[1] > size[1]:
        raise InvalidInput(
            f"The strips hold more than the {size[1]} rows of shape. Nothing was written."
        )
    if rows.dtype.kind != dtype.kind or (dtype == np.uint8 and rows.dtype != dtype):
        raise InvalidInput(f"The strips are said to be {dtype}; one is {rows.dtype}.")
    return rows


def _check_layout(tile: int, compression: str | None) -> None:
    if not isinstance(tile, int) or isinstance(tile, bool) or tile % 16 or not 16 <= tile <= 4096:
        raise InvalidInput(f"tile is a multiple of 16 from 16 to 4096; got {tile!r}.")
    if compression not in ("zlib", None):
        raise InvalidInput(f"compression is 'zlib' or None; got {compression!r}.")


def _levels(levels: int, height: int, width: int) -> int:
    most = level_count(height, width, 1)
    if isinstance(levels, bool) or not isinstance(levels, int) or not 1 <= levels <= most:
        raise InvalidInput(
            f"{width} x {height} cells have 1 to {most} levels; got levels={levels!r}."
        )
    return levels


def _channels(
    names: Sequence[str] | None, colours: Sequence[str] | None, channels: int, kind: Kind
) -> tuple[list[str], list[tuple[int, int, int]]]:
    if kind == "rgb":
        return [names[0] if names else "picture"], []
    said = list(names) if names is not None else [f"channel {i + 1}" for i in range(channels)]
    shades = list(colours) if colours is not None else [colour(i) for i in range(channels)]
    for what, given in (("channel_names", said), ("colours", shades)):
        if isinstance(names, str) or len(given) != channels:
            raise InvalidInput(f"{what} has {len(given)} entries for {channels} channels.")
    return said, [rgb_of(c) for c in shades]
