"""Maps of a whole slide as PNG pictures, which say in their own metadata what the colours mean."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from widgetkit._version import __version__
from widgetkit.errors import InvalidInput, UnknownName, near
from widgetkit.palette import colour
from widgetkit.slides.export_frame import RasterFrame
from widgetkit.slides.export_output import new_file, plain

#: Written in one piece: a picture of this many pixels takes 0.3 GB (1.1 GB with opacity).
MOST_PIXELS = 2**28
#: Winner of a cell that has none.
NONE = 255

_ROWS = 512  # coloured at once
_STEPS = 254  # a value's colour is one of 255; index 0 is the transparent one


def write_png(
    path: str | os.PathLike[str],
    raster: npt.ArrayLike,
    *,
    palette: str | Sequence[str] | None = None,
    scale: tuple[float, float] | None = None,
    weight: npt.ArrayLike | None = None,
    names: Sequence[str] | None = None,
    title: str = "",
    unit: str = "weight",
    mpp: float | Sequence[float] | None = None,
    downsample: float | Sequence[float] = 1.0,
    origin: Sequence[float] = (0.0, 0.0),
    enlarge: int = 1,
    overwrite: bool = False,
) -> Path:
    """Write a map as a coloured PNG; cells without a tile are transparent.

    The file's text says what the colours mean: ``Description`` in words, ``widgetkit`` as JSON
    (ends of the scale, palette, size of a cell). No patient, slide or file is named in it: keep
    such names out of ``title`` and ``names``. The same map gives the same bytes.

    Parameters
    ----------
    path : path
        Ends with ``.png``.
    raster : (H, W) float or uint8
        Values, NaN where there is no tile; or, as uint8, the number of the factor that wins each
        cell, 255 where none does.
    palette : str or sequence of "#rrggbb", optional
        Values: name of a matplotlib colour map (default ``"viridis"``). Winners: a colour for
        each factor (default: the kit's).
    scale : (vmin, vmax), optional
        Values at and beyond its ends take the end colours. Default: from zero, or the least value
        where that is below, to the largest.
    weight : (H, W) float in 0..1, optional
        Winners only: opacity of each cell.
    names : sequence of str, optional
        Winners only: of the factors, for the metadata.
    title, unit : str
        What is drawn, and what its values are.
    mpp, downsample, origin
        See :class:`RasterFrame`.
    enlarge : int
        Pixels of the picture for one cell, along each side.
    overwrite : bool

    Returns
    -------
    Path

    Raises
    ------
    InvalidInput
        The raster is of another kind, empty or too large; the scale is empty.
    UnknownName
        There is no such colour map.
    OutputExists, OutputFailed
        See :func:`~widgetkit.slides.export_output.new_file`.
    """
    cells = np.asarray(raster)
    times = _enlargement(enlarge)
    if cells.ndim != 2 or not cells.size:
        raise InvalidInput(f"A map is (H, W) and not empty; got shape {cells.shape}.")
    if cells.size * times**2 > MOST_PIXELS:
        raise InvalidInput(
            f"A picture of {cells.shape[1] * times:,} x {cells.shape[0] * times:,} pixels is too "
            f"large for one PNG (at most {MOST_PIXELS:,} pixels). Use write_ome_tiff, which keeps "
            "a pyramid."
        )
    frame = RasterFrame.of(mpp, downsample, origin)
    if cells.dtype == np.uint8:
        if scale is not None:
            raise InvalidInput("A map of winners has no scale: it is coloured by factor.")
        picture, said, facts = _winners(cells, palette, weight, names, times)
    elif cells.dtype.kind == "f":
        if weight is not None or names is not None:
            raise InvalidInput("weight and names are for a map of winners, which is uint8.")
        if not (palette is None or isinstance(palette, str)):
            raise InvalidInput("Values are coloured by a colour map's name, such as 'viridis'.")
        picture, said, facts = _values(cells, palette or "viridis", scale, plain(unit), times)
    else:
        raise InvalidInput(
            f"A map is of floats, or uint8 where it holds the winner; got {cells.dtype}."
        )
    words = [plain(title).rstrip(".") + "." if title else "", said, frame.sentence()]
    facts |= {
        "title": plain(title),
        "mpp": frame.mpp,
        "downsample": frame.downsample,
        "origin": frame.origin,
        "enlarge": times,
    }
    return _save(path, picture, " ".join(w for w in words if w), facts, overwrite)


# -- colours -----------------------------------------------------------------------------
def _values(
    cells: npt.NDArray[Any],
    palette: str,
    scale: tuple[float, float] | None,
    unit: str,
    times: int,
) -> tuple[Any, str, dict[str, Any]]:
    vmin, vmax = _scale(cells, scale)
    colours = _colour_map(palette)
    indexed = np.empty(cells.shape, dtype=np.uint8)
    for start in range(0, len(cells), _ROWS):
        part = np.asarray(cells[start : start + _ROWS], dtype=np.float64)
        there = ~np.isnan(part)
        share = (np.clip(np.where(there, part, vmin), vmin, vmax) - vmin) / (vmax - vmin)
        indexed[start : start + _ROWS] = np.where(there, 1 + np.rint(share * _STEPS), 0)
    said = (
        f"Values of {vmin:.6g} to {vmax:.6g} ({unit}) as {palette}, linear; values beyond take "
        "the end colours; transparent: no tile."
    )
    facts = {"kind": "values", "palette": palette, "vmin": vmin, "vmax": vmax, "unit": unit}
    return _indexed_picture(_enlarged(indexed, times), colours), said, facts


def _winners(
    cells: npt.NDArray[np.uint8],
    palette: str | Sequence[str] | None,
    weight: npt.ArrayLike | None,
    names: Sequence[str] | None,
    times: int,
) -> tuple[Any, str, dict[str, Any]]:
    if isinstance(palette, str):
        raise InvalidInput("Winners are coloured by a list of colours, one a factor.")
    won = cells[cells != NONE]
    k = int(won.max()) + 1 if won.size else 0
    given = list(palette) if palette is not None else [colour(i) for i in range(k)]
    for what, count in (("colours", len(given)), ("names", k if names is None else len(names))):
        if count < k:
            raise InvalidInput(f"The map has factors up to {k - 1}; {count} {what} were given.")
    if len(given) > NONE:
        raise InvalidInput(f"At most {NONE} factors have a number in one byte; got {len(given)}.")
    rgb = np.array([rgb_of(c) for c in given], dtype=np.uint8).reshape(-1, 3)
    table = np.zeros((256, 3), dtype=np.uint8)
    table[: len(rgb)] = rgb
    facts: dict[str, Any] = {"kind": "winner", "colours": given}
    if names is not None:
        facts["names"] = [plain(n) for n in names]
    said = "Each cell has the colour of the factor with the largest weight; transparent: none."
    if weight is None:
        facts["opacity"] = "1"
        # index 0 is the transparent one, as in a map of values
        shifted = np.where(cells == NONE, 0, cells + np.uint8(1)).astype(np.uint8)
        return _indexed_picture(_enlarged(shifted, times), table[:255]), said, facts
    opacity = np.asarray(weight)
    if opacity.shape != cells.shape or opacity.dtype.kind != "f":
        raise InvalidInput(
            f"weight is float of the map's shape {cells.shape}; got {opacity.dtype} of "
            f"{opacity.shape}."
        )
    pixels = np.empty((*cells.shape, 4), dtype=np.uint8)
    for start in range(0, len(cells), _ROWS):
        rows = slice(start, start + _ROWS)
        pixels[rows, :, :3] = table[cells[rows]]
        alpha = np.nan_to_num(np.clip(opacity[rows], 0.0, 1.0), nan=0.0)
        pixels[rows, :, 3] = np.where(cells[rows] == NONE, 0, np.rint(alpha * 255))
    from PIL import Image

    facts["opacity"] = "weight"
    said += " Opacity is its weight, from 0 to 1."
    return Image.fromarray(_enlarged(pixels, times), mode=None), said, facts


def rgb_of(text: str) -> tuple[int, int, int]:
    """Red, green and blue (0..255) of ``"#rrggbb"``."""
    digits = text[1:] if isinstance(text, str) and text.startswith("#") else ""
    try:
        if len(digits) != 6:
            raise ValueError(digits)
        return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)
    except ValueError:
        raise InvalidInput(f"A colour is written '#rrggbb'; got {text!r}.") from None


def _scale(cells: npt.NDArray[Any], scale: tuple[float, float] | None) -> tuple[float, float]:
    if scale is not None:
        if len(scale) != 2:
            raise InvalidInput("scale is (vmin, vmax).")
        vmin, vmax = float(scale[0]), float(scale[1])
        if not (np.isfinite(vmin) and np.isfinite(vmax) and vmin < vmax):
            raise InvalidInput(f"scale is (vmin, vmax) with vmin below vmax; got {vmin}, {vmax}.")
        return vmin, vmax
    finite = cells[np.isfinite(cells)]
    low = min(float(finite.min()), 0.0) if finite.size else 0.0
    high = float(finite.max()) if finite.size else 1.0
    return (low, high) if high > low else (low, low + 1.0)


def _colour_map(name: str) -> npt.NDArray[np.uint8]:
    """(255, 3) colours."""
    import matplotlib as mpl

    if name not in mpl.colormaps:
        raise UnknownName(f"There is no colour map {name!r}. {near(name, mpl.colormaps)}".rstrip())
    table = mpl.colormaps[name](np.linspace(0.0, 1.0, _STEPS + 1))[:, :3]
    found: npt.NDArray[np.uint8] = np.rint(table * 255).astype(np.uint8)
    return found


def _indexed_picture(indexed: npt.NDArray[np.uint8], colours: npt.NDArray[np.uint8]) -> Any:
    """A picture of one byte a pixel; index 0 is transparent, the others take ``colours``."""
    from PIL import Image

    picture = Image.fromarray(indexed)
    picture.putpalette([255, 255, 255, *colours.reshape(-1).tolist()])
    picture.info["transparency"] = 0
    return picture


def _enlarged(pixels: npt.NDArray[np.uint8], times: int) -> npt.NDArray[np.uint8]:
    return pixels if times == 1 else pixels.repeat(times, axis=0).repeat(times, axis=1)


def _enlargement(enlarge: int) -> int:
    if isinstance(enlarge, bool) or not isinstance(enlarge, int) or not 1 <= enlarge <= 64:
        raise InvalidInput(f"enlarge is a whole number from 1 to 64; got {enlarge!r}.")
    return enlarge


# -- the file ----------------------------------------------------------------------------
def _save(
    path: str | os.PathLike[str], picture: Any, words: str, facts: dict[str, Any], overwrite: bool
) -> Path:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("Software", f"widgetkit {__version__}")
    info.add_itxt("Description", words)
    info.add_itxt("widgetkit", json.dumps(facts, sort_keys=True))
    with new_file(path, (".png",), overwrite=overwrite) as file:
        transparent = {"transparency": 0} if picture.mode == "P" else {}
        picture.save(file, format="PNG", pnginfo=info, **transparent)
    return Path(path)
