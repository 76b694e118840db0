"""What lies beneath the maps: pyramids of a slide's pixels, read tile by tile as they are looked at.

A slide's file is read through OpenSlide where it is there and is the one the tiles were cut from;
elsewhere the tiles' own stored pictures are put at their places.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from widgetkit.errors import BadImage, InvalidInput, UnknownName, near
from widgetkit.slides.mosaic import Mosaic
from widgetkit.slides.placement import Placement, SlideRecord, placement, records_of
from widgetkit.slides.slidefile import SlideFile

if TYPE_CHECKING:
    from widgetkit.store import ActivationStore

Pixels = npt.NDArray[np.uint8]
PathLike: TypeAlias = "str | os.PathLike[str]"
Paths: TypeAlias = "PathLike | Mapping[str, PathLike]"

#: Side of a picture's tile, px.
TILE = 256
#: Pixels of a thumbnail along its longer side, at most.
MOST_THUMBNAIL = 2048
#: Files looked at in a folder, at most.
_MOST_FILES = 100_000


class Pixelated(Protocol):
    """Where a picture's pixels come from: :class:`SlideFile` or :class:`Mosaic`."""

    def region(self, x: int, y: int, width: int, height: int, down: int) -> Pixels:
        """(height, width, 3): the picture at ``1 / down``, from level-0 pixel (x, y) on."""
        ...


@dataclass(frozen=True)
class Level:
    """One level of a pyramid; the first is the slide itself."""

    width: int  # px of this level
    height: int
    downsample: int  # level-0 px for one of its pixels


@dataclass(frozen=True, eq=False)
class Picture:
    """A slide as a pyramid of tiles.

    Attributes
    ----------
    name : str
        The slide's. Free text: views escape it.
    width, height : int
        Level-0 px.
    mpp : (float, float)
        Micrometres a level-0 pixel, x and y; NaN where not known.
    tile : int
        Side of a tile; those at the right and lower edge are smaller.
    levels : list of Level
        Each half as large as the one before, until one tile holds all of it.
    origin : "file" or "tiles"
    note : str
        What a reader of the picture must know; empty if nothing.
    """

    name: str
    width: int
    height: int
    mpp: tuple[float, float]
    tile: int
    levels: list[Level] = field(repr=False)
    origin: Literal["file", "tiles"]
    note: str
    source: Pixelated = field(repr=False)

    def read(self, level: int, col: int, row: int) -> Pixels:
        """(h, w, 3) uint8: one tile; safe in many threads.

        Raises
        ------
        InvalidInput
            There is no such tile.
        BadImage
            The file cannot be read there.
        """
        if not 0 <= level < len(self.levels):
            raise InvalidInput(f"Level {level} of a picture of {len(self.levels)} levels.")
        at = self.levels[level]
        x, y = col * self.tile, row * self.tile
        if not (0 <= x < at.width and 0 <= y < at.height):
            raise InvalidInput(
                f"Tile column {col}, row {row} of level {level}, which is {at.width} x {at.height} px "
                f"in tiles of {self.tile}."
            )
        down = at.downsample
        wide, high = min(self.tile, at.width - x), min(self.tile, at.height - y)
        return self.source.region(x * down, y * down, wide, high, down)

    def thumbnail(self, px: int = 256) -> Pixels:
        """(h, w, 3) uint8, the longer side ``px`` (or the slide's own size, if it is smaller)."""
        if not 1 <= px <= MOST_THUMBNAIL:
            raise InvalidInput(f"A thumbnail of {px} px; use 1 to {MOST_THUMBNAIL}.")
        from PIL import Image

        longer = max(self.width, self.height)
        down = 1 << max(0, math.floor(math.log2(max(1.0, longer / px))))
        wide, high = max(1, math.ceil(self.width / down)), max(1, math.ceil(self.height / down))
        image = Image.fromarray(self.source.region(0, 0, wide, high, down))
        scale = min(1.0, px / longer)
        size = (max(1, round(self.width * scale)), max(1, round(self.height * scale)))
        if image.size != size:
            image = image.resize(size, Image.Resampling.LANCZOS)
        return np.asarray(image)


class Pictures(Mapping[str, Picture]):
    """The pictures of all slides of a store, by name; each is opened when asked for."""

    def __init__(
        self,
        store: ActivationStore,
        places: Placement,
        files: Mapping[str, SlideFile],
        note: str = "",
    ) -> None:
        self._store = store
        self._places = places
        self._files = dict(files)
        self._made: dict[str, Picture] = {}
        self.note = note

    def __getitem__(self, name: str) -> Picture:
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places.names)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._places._numbers

    def __repr__(self) -> str:
        return f"<Pictures: {len(self)} slides, {len(self._files)} from files>"

    def _make(self, name: str) -> Picture:
        i = self._places.index(name)
        file = self._files.get(name)
        origin: Literal["file", "tiles"] = "tiles" if file is None else "file"
        source: SlideFile | Mosaic
        if file is not None:
            (width, height), source = file.size, file
        else:
            width, height = self._places.extent(i)
            source = Mosaic(self._store, self._places.rows(i), self._places.boxes)
        x, y = (float(v) for v in self._places.mpp[i])
        levels = levels_of(width, height)
        return Picture(name, width, height, (x, y), TILE, levels, origin, source.note, source)


def levels_of(width: int, height: int, tile: int = TILE) -> list[Level]:
    """Levels of a picture, each half the one before, the last within one tile."""
    levels = [Level(width, height, 1)]
    while max(levels[-1].width, levels[-1].height) > tile:
        down = levels[-1].downsample * 2
        levels.append(Level(math.ceil(width / down), math.ceil(height / down), down))
    return levels


def open_pictures(
    store: ActivationStore, paths: Paths | None = None, *, places: Placement | None = None
) -> Pictures:
    """The pictures of a store's slides.

    Parameters
    ----------
    store : ActivationStore
    paths : path or mapping, optional
        A folder with the slides (found by their names, else by the hash that was recorded, so a
        renamed slide is found too), one file for a store of one slide, or a file for each slide's
        name. Slides without a file are shown by the pictures of their tiles.
    places : Placement, optional
        Of the store, where it is known already.

    Returns
    -------
    Pictures

    Raises
    ------
    StoreMismatch
        A file of that name is another slide, or was changed since the tiles were cut from it.
    BadImage
        A file is not a slide.
    UnknownName
        ``paths`` names a slide that the store does not have.
    InvalidInput
        The folder is not there, or the tiles are volumes.
    MissingDependency
        openslide is not installed and ``paths`` is given.
    """
    known = placement(store) if places is None else places
    if paths is None:
        return Pictures(store, known, {})
    listed, _ = records_of(store.manifest.source)
    if isinstance(paths, Mapping):
        given = {str(name): Path(path) for name, path in paths.items()}
        for name in given:
            if name not in known.names:
                raise UnknownName(
                    f"The store has no slide {name!r}. {near(name, known.names)}".rstrip()
                )
    else:
        given = _look(Path(paths), known)
    files, absent = {}, []
    for name, path in given.items():
        if not path.is_file():
            absent.append(name)
            continue
        file = SlideFile(path, name)
        i = known.index(name)
        file.check(known.records[i], _reach(known, i), listed)
        files[name] = file
    note = ""
    if absent or (not isinstance(paths, Mapping) and len(files) < len(known)):
        count = len(known) - len(files)
        note = (
            f"{count} of {len(known)} slides have no file at the path given; they are shown by the "
            "pictures of their tiles."
        )
        if absent or not files:
            warnings.warn(note, UserWarning, stacklevel=2)
    return Pictures(store, known, files, note)


def _reach(places: Placement, i: int) -> tuple[float, float]:
    """How far to the right and down the tiles of a slide reach, level-0 px."""
    right, down = places.boxes[places.rows(i), 2:].max(axis=0)
    return float(right), float(down)


def _look(path: Path, places: Placement) -> dict[str, Path]:
    """Files of the slides: the one file given, or those in a folder."""
    if not path.is_dir():
        if len(places) != 1:
            raise InvalidInput(
                f"The store has {len(places)} slides, and {path.name!r} is not a folder with them. "
                "Give a folder, or a mapping of slide name to file."
            )
        return {places.names[0]: path}
    files = [file for file in sorted(path.iterdir())[:_MOST_FILES] if file.is_file()]
    stems: dict[str, list[Path]] = {}
    for file in files:
        for key in {file.stem, file.name}:
            stems.setdefault(key, []).append(file)
    found: dict[str, Path] = {}
    for name in places.names:
        named = [file for file in stems.get(name, []) if SlideFile.opens(file)]
        if len(named) > 1:
            raise InvalidInput(
                f"{len(named)} files in the folder could be slide {name!r}. Give a mapping of slide "
                "name to file."
            )
        if named:
            found[name] = named[0]
    wanted = {
        record.quickhash: name
        for name, record in zip(places.names, places.records, strict=True)
        if name not in found and isinstance(record, SlideRecord) and record.quickhash
    }
    if wanted:
        taken = set(found.values())
        for file in files:
            if file in taken or not wanted or not SlideFile.opens(file):
                continue
            try:
                name = wanted.pop(SlideFile(file, file.name).quickhash, "")
            except BadImage:
                continue  # some other file that only looks like a slide
            if name:
                found[name] = file
    return found
