"""Tiles of whole slides, read through OpenSlide as they are asked for."""

from __future__ import annotations

import math
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from PIL import Image

from widgetkit.errors import BadImage, InvalidInput, MissingDependency, NoTissue, missing
from widgetkit.tiles.base import RECORD, SMALLEST_SIDE, BaseSource, make_table
from widgetkit.tiles.metadata import Metadata, finish
from widgetkit.tiles.tissue import covered, tissue_mask

PathLike: TypeAlias = "str | os.PathLike[str]"
Names: TypeAlias = "Mapping[str, str] | Callable[[Path], str]"

#: Slides kept open at once; each holds a file handle and OpenSlide's cache of 32 MB.
OPEN_SLIDES = 16
#: A level this close to the wanted resolution is read as it is: resampling by less would blur every
#: pixel to correct a scale error below that of the scanner's own calibration.
SAME_RESOLUTION = 0.01
#: Pixels of the tissue mask along one side of a tile, at least.
MASK_CELLS = 16
#: The most pixels read at once for the mask (64 MB as RGBA), whatever the slide's size.
STRIP_PIXELS = 16_000_000


@dataclass(frozen=True)
class SlideInfo:
    """What is needed of one slide to cut it; nothing that names a patient."""

    name: str
    width: int  # level-0 px
    height: int
    mpp: tuple[float, float] | None  # micrometres a level-0 pixel, x and y
    downsamples: tuple[float, ...]
    vendor: str
    quickhash: str


@dataclass(frozen=True)
class Cut:
    """How the tiles of one slide are read."""

    level: int
    step: tuple[float, float]  # level-0 px for one pixel as read, x and y
    factor: tuple[float, float]  # pixels of the level for one pixel as read
    mpp: float  # as read; NaN if unknown


def from_slide(
    path: PathLike | Sequence[PathLike],
    *,
    size: int = 256,
    mpp: float | None = 0.5,
    stride: int | None = None,
    tissue: float | None = 0.3,
    mask: Callable[[np.ndarray], np.ndarray] = tissue_mask,
    slide_mpp: float | None = None,
    upsample: bool = False,
    names: Names | None = None,
    metadata: Metadata | None = None,
    on: str | None = None,
    anonymise_patients: bool | str = False,
) -> SlideTiles:
    """Tiles of one or many whole slides, in a grid over the tissue.

    Slides are opened when they are read and never held in memory; a source can be used by many
    threads and sent to other processes.

    Parameters
    ----------
    path : path or sequence of paths
        Anything that OpenSlide opens (svs, tiff, ndpi, mrxs, scn, ...).
    size : int
        Side of a tile in pixels as read.
    mpp : float or None
        Micrometres a pixel as read. The coarsest level that is fine enough is resampled to it; a
        level within 1 % of it is read as it is (the column ``mpp`` tells the truth). None reads
        level 0, whatever its resolution.
    stride : int, optional
        Step from tile to tile in pixels as read. Default ``size``: tiles that touch.
    tissue : float or None
        Least share of a tile that is tissue, 0..1; the share is kept in the column ``tissue``. None
        keeps all tiles and looks for none.
    mask : callable
        (h, w, 3) uint8 picture of the slide -> (h, w) bool. Default :func:`tissue_mask`
        (saturation, Otsu).
    slide_mpp : float, optional
        Resolution of level 0, for slides that do not say it (or say it wrongly).
    upsample : bool
        Allow an ``mpp`` finer than the slide was scanned at.
    names : mapping or callable, optional
        File stem -> name, or path -> name. Default: the file stem. **The stem may hold a patient's
        name or number, and it is kept in every store and table as** ``source`` **and** ``slide``.
    metadata : DataFrame or mapping, optional
        Columns to add, see :func:`join_metadata`. A table with a column ``slide`` is joined by it,
        one row a slide; else by position, or by ``on``.
    anonymise_patients : bool or str
        Replace the column ``patient``: True numbers patients, a str is the salt of a keyed hash.

    Returns
    -------
    SlideTiles
        Ordered by slide as given, then row by row. ``x``, ``y`` are the top left corner in level-0
        pixels; ``slide_record`` is the number of the tile's slide in ``describe()["slides"]``.

    Raises
    ------
    MissingDependency
        openslide is not installed.
    BadImage
        A file is not a slide, or is damaged.
    InvalidInput
        A slide does not say its resolution, or it is coarser than ``mpp``; two slides of one name.
    NoTissue
        No tile has enough tissue.
    """
    paths = [path] if isinstance(path, (str, os.PathLike)) else list(path)
    if not paths:
        raise NoTissue("No slide was given: the list of paths is empty.")
    if size < SMALLEST_SIDE:
        raise InvalidInput(f"size={size}; tiles are at least {SMALLEST_SIDE} px wide.")
    stride = size if stride is None else stride
    if stride < 1:
        raise InvalidInput(f"stride={stride}; it must be at least 1 px.")
    for label, value in (("mpp", mpp), ("slide_mpp", slide_mpp)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise InvalidInput(f"{label}={value}; it must be a positive number of micrometres.")
    if tissue is not None and not 0 <= tissue <= 1:
        raise InvalidInput(f"tissue={tissue}; it is a share of the tile, 0..1, or None for all.")
    slides = Slides({_name(Path(p), names): Path(p).resolve() for p in paths})
    if len(slides.paths) < len(paths):
        raise InvalidInput(
            f"{len(paths)} slides have only {len(slides.paths)} different names; ids come from names. "
            "Give each its own with names=."
        )
    tables, cuts = [], {}
    infos: list[SlideInfo] = []
    for name in slides.paths:
        info = slides.info(name, slide_mpp)
        cut = plan(info, mpp=mpp, upsample=upsample)
        places = _grid(info, cut, size, stride)
        if tissue is not None and len(places):
            small, scale = slides.picture(name, info, min(cut.step) * size / MASK_CELLS)
            ends = places + np.asarray(cut.step) * size
            share = covered(_checked(mask(small), small), np.hstack([places, ends]) / scale)
            places, share = places[share >= tissue], share[share >= tissue]
        table = make_table(
            name,
            n=len(places),
            x=places[:, 0],
            y=places[:, 1],
            level=cut.level,
            size=size,
            mpp=cut.mpp,
        )
        table[RECORD] = len(infos)
        if tissue is not None:
            table["tissue"] = share if len(places) else np.empty(0)
        tables.append(table)
        cuts[name] = cut
        infos.append(info)
    table = pd.concat(tables, ignore_index=True)
    if table.empty:
        raise NoTissue(_why_empty(infos, cuts, size, tissue))
    if on is None and isinstance(metadata, pd.DataFrame):
        on = "slide" if "slide" in (*metadata.columns, metadata.index.name) else None
    table = finish(table, metadata, on, anonymise_patients)
    settings: dict[str, object] = {"size": size, "mpp": mpp, "stride": stride, "tissue": tissue}
    return SlideTiles(table, slides, cuts, infos, size, settings)


class SlideTiles(BaseSource):
    """Tiles of whole slides; made by :func:`from_slide`."""

    def __init__(
        self,
        table: pd.DataFrame,
        slides: Slides,
        cuts: dict[str, Cut],
        infos: Sequence[SlideInfo],
        size: int,
        settings: dict[str, object],
    ) -> None:
        super().__init__(table, (size, size, 3), np.dtype(np.uint8))
        self._slides = slides
        self._cuts = cuts
        self._infos = tuple(infos)
        self._settings = settings
        self._places = list(
            zip(table["source"], table["x"].astype(int), table["y"].astype(int), strict=True)
        )

    def _read_one(self, row: int) -> np.ndarray:
        name, x, y = self._places[row]
        return self._slides.read(name, x, y, self._cuts[name], self._shape[0])

    def describe(self) -> dict[str, object]:
        """Provenance: settings and, for each slide in order, its size, resolution, OpenSlide's hash.

        No names: the column ``slide_record`` says which of the slides listed a tile is of.
        """
        return {
            "kind": "slide",
            **self._settings,
            "slides": [
                {
                    "width": info.width,
                    "height": info.height,
                    "mpp": None if info.mpp is None else list(info.mpp),
                    "vendor": info.vendor,
                    "quickhash": info.quickhash,
                    "level": self._cuts[info.name].level,
                    "step": list(self._cuts[info.name].step),
                }
                for info in self._infos
            ],
        }


class Slides:
    """Opened slides, by name: opened when needed, the least used closed, shared by threads.

    Pickles as its paths; each process opens its own handles.
    """

    def __init__(self, paths: dict[str, Path]) -> None:
        self.paths = paths
        self._open: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Path]:
        return self.paths

    def __setstate__(self, paths: dict[str, Path]) -> None:
        self.__init__(paths)  # type: ignore[misc]

    def handle(self, name: str) -> Any:
        """The open slide. A handle dropped here is closed when the last thread has done with it."""
        with self._lock:
            slide = self._open.pop(name, None)
            if slide is None:
                slide = _open_slide(self.paths[name])
                while len(self._open) >= OPEN_SLIDES:
                    self._open.popitem(last=False)
            self._open[name] = slide
            return slide

    def info(self, name: str, slide_mpp: float | None) -> SlideInfo:
        slide = self.handle(name)
        width, height = slide.dimensions
        properties = slide.properties
        mpp = None if slide_mpp is None else (slide_mpp, slide_mpp)
        if mpp is None:
            values = [_positive(properties.get(f"openslide.mpp-{axis}")) for axis in "xy"]
            known = [value for value in values if value is not None]
            if known:
                mpp = (values[0] or known[0], values[1] or known[0])
        return SlideInfo(
            name,
            width,
            height,
            mpp,
            tuple(float(value) for value in slide.level_downsamples),
            str(properties.get("openslide.vendor", "")),
            str(properties.get("openslide.quickhash-1", "")),
        )

    def read(self, name: str, x: int, y: int, cut: Cut, size: int) -> np.ndarray:
        """One tile, (size, size, 3) uint8, its top left corner at level-0 pixel (x, y)."""
        wide, high = (size * factor for factor in cut.factor)
        region = self._region(name, (x, y), cut.level, (math.ceil(wide), math.ceil(high)))
        if region.size != (size, size) or (wide, high) != (size, size):
            region = region.resize(
                (size, size), Image.Resampling.LANCZOS, box=(0, 0, wide, high), reducing_gap=3.0
            )
        return np.asarray(region)

    def picture(self, name: str, info: SlideInfo, cell: float) -> tuple[np.ndarray, float]:
        """A small picture of the slide and the level-0 pixels for one of its pixels.

        Parameters
        ----------
        cell : float
            Level-0 pixels that one pixel of the picture may stand for, at most.
        """
        level = max(i for i, down in enumerate(info.downsamples) if i == 0 or down <= cell)
        down = info.downsamples[level]
        width, height = self.handle(name).level_dimensions[level]
        reduce = max(1, int(cell / down))
        rows = max(reduce, STRIP_PIXELS // max(width, 1) // reduce * reduce)
        strips = []
        for top in range(0, height, rows):
            tall = min(rows, height - top)
            strip = self._region(name, (0, round(top * down)), level, (width, tall))
            strips.append(np.asarray(strip.reduce(reduce) if reduce > 1 else strip))
        return np.vstack(strips), reduce * down

    def _region(
        self, name: str, corner: tuple[int, int], level: int, extent: tuple[int, int]
    ) -> Image.Image:
        """RGB on white: what was not scanned is transparent."""
        import openslide

        try:
            region = self.handle(name).read_region(corner, level, extent)
        except openslide.OpenSlideError as error:
            with self._lock:  # a handle that failed stays in its error state for ever
                self._open.pop(name, None)
            raise BadImage(
                f"Slide {name!r} cannot be read at x={corner[0]}, y={corner[1]}, level {level}: "
                f"{error}. The file may be truncated."
            ) from error
        alpha = region.getchannel("A")
        if alpha.getextrema() == (255, 255):
            return Image.Image.convert(region, "RGB")
        white = Image.new("RGB", region.size, (255, 255, 255))
        white.paste(region, mask=alpha)
        return white


def plan(info: SlideInfo, *, mpp: float | None, upsample: bool = False) -> Cut:
    """Level and scale at which a slide is read to get ``mpp`` micrometres a pixel."""
    if mpp is None:
        own = math.nan if info.mpp is None else info.mpp[0]
        return Cut(0, (1.0, 1.0), (1.0, 1.0), own)
    if info.mpp is None:
        raise InvalidInput(
            f"Slide {info.name!r} does not say its resolution (no openslide.mpp-x). Give it with "
            "slide_mpp=, or read level 0 as it is with mpp=None."
        )
    wanted = tuple(mpp / own for own in info.mpp)
    if min(wanted) < 1 - SAME_RESOLUTION and not upsample:
        raise InvalidInput(
            f"Slide {info.name!r} was scanned at {max(info.mpp):.4g} um a pixel; mpp={mpp:g} is finer "
            f"and would invent detail. Use mpp={max(info.mpp):.4g} or more, or upsample=True."
        )
    level = max(
        i
        for i, down in enumerate(info.downsamples)
        if i == 0 or down <= min(wanted) * (1 + SAME_RESOLUTION)
    )
    down = info.downsamples[level]
    if all(abs(want / down - 1) <= SAME_RESOLUTION for want in wanted):
        return Cut(level, (down, down), (1.0, 1.0), float(np.mean(info.mpp)) * down)
    return Cut(level, (wanted[0], wanted[1]), (wanted[0] / down, wanted[1] / down), float(mpp))


def _grid(info: SlideInfo, cut: Cut, size: int, stride: int) -> np.ndarray:
    """Top left corners (n, 2) in whole level-0 pixels, row by row, of tiles inside the slide."""
    axes: list[Iterator[int]] = []
    for length, step in zip((info.width, info.height), cut.step, strict=True):
        last = length - size * step
        count = math.floor(last / (stride * step) + 1e-9) + 1 if last >= 0 else 0
        axes.append(round(i * stride * step) for i in range(count))
    xs, ys = (np.fromiter(axis, np.float64) for axis in axes)
    return np.stack([np.tile(xs, len(ys)), np.repeat(ys, len(xs))], axis=1)


def _why_empty(
    infos: Sequence[SlideInfo], cuts: dict[str, Cut], size: int, tissue: float | None
) -> str:
    info = infos[0]
    step = cuts[info.name].step
    if all(
        min(i.width / cuts[i.name].step[0], i.height / cuts[i.name].step[1]) < size for i in infos
    ):
        return (
            f"The slide is smaller than one tile: {info.width / step[0]:.0f} x "
            f"{info.height / step[1]:.0f} px at this resolution, and size={size}."
        )
    return (
        f"No tile has {tissue:.0%} of tissue on {len(infos)} slide(s). Lower tissue=, pass your own "
        "mask=, or tissue=None to keep every tile."
    )


def _checked(mask: np.ndarray, picture: np.ndarray) -> np.ndarray:
    array = np.asarray(mask)
    if array.shape != picture.shape[:2] or array.dtype != np.bool_:
        raise InvalidInput(
            f"mask= returned shape {array.shape}, dtype {array.dtype}; expected "
            f"{picture.shape[:2]} of bool."
        )
    return array


def _name(path: Path, names: Names | None) -> str:
    if callable(names):
        return str(names(path))
    if names is None:
        return path.stem
    if path.stem not in names:
        raise InvalidInput(f"names= has no entry for the file {path.stem!r}.")
    return str(names[path.stem])


def _positive(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None


def _open_slide(path: Path) -> Any:
    try:
        import openslide
    except (ImportError, OSError) as error:  # OSError: the Python part without the library
        raise _no_openslide() from error
    if not path.is_file():
        raise BadImage(f"There is no slide {path.name!r} in that folder.")
    try:
        return openslide.OpenSlide(path)
    except openslide.OpenSlideError as error:
        raise BadImage(
            f"{path.name!r} cannot be opened as a slide ({error}). For ordinary pictures use "
            "wk.tiles.from_folder."
        ) from error


def _no_openslide() -> MissingDependency:
    return missing("openslide", "slides", "Reading whole slides")
