"""Tiles that are image files in a folder."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from widgetkit.errors import BadImage, InvalidInput, NoTissue
from widgetkit.tiles.array import SAMPLE
from widgetkit.tiles.base import SMALLEST_SIDE, BaseSource, make_table
from widgetkit.tiles.metadata import Metadata, finish
from widgetkit.tiles.pixels import check_window, convert_dtype, estimate_window, flatten_alpha

#: Pixels of one file, at most: a small file may claim to hold any number ("decompression bomb").
MOST_PIXELS = 50_000_000
_ROTATED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_ORIENTATION = 0x0112
#: Cameras write these. PIL finds the EXIF of a PNG only after decoding all of it.
_WITH_EXIF = ("JPEG", "MPO", "TIFF", "WEBP")
_ONE_PICTURE = ("JPEG", "MPO")  # an MPO's further pictures are previews and stereo pairs
#: PIL's modes by what they become. Everything else is converted to RGB.
_GREY, _DEEP, _FLOAT = ("1", "L"), ("I;16", "I;16L", "I;16B", "I;16N"), ("I", "F")

Kind = Literal["grey", "rgb", "uint16", "float32"]
#: All that PIL may raise on a damaged file.
_DAMAGED = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, OverflowError),
    *(KeyError, struct.error, zlib.error, Image.DecompressionBombError),
)


@dataclass(frozen=True)
class Header:
    """What a file says of itself, before its pixels are decoded."""

    width: int  # px, upright
    height: int
    kind: Kind


def from_folder(
    path: str | os.PathLike[str],
    *,
    size: int | tuple[int, int] | None = None,
    label_from: Literal["folder"] | None = "folder",
    mpp: float | None = None,
    window: tuple[float, float] | None = None,
    names: Mapping[str, str] | Callable[[Path], str] | None = None,
    metadata: Metadata | None = None,
    on: str | None = None,
    anonymise_patients: bool | str = False,
) -> FolderTiles:
    """Every image below a folder, one tile a file, ordered by path.

    Parameters
    ----------
    path : path
        Searched with its sub-folders. Files that PIL does not know by suffix, and hidden ones, are
        passed over.
    size : int or (height, width), optional
        Files of another size are scaled to cover it and cut centrally. None: all files must have
        the same size.
    label_from : "folder" or None
        Column ``label`` = the first sub-folder of a file. With a second level of folders
        (``label/slide/tile.png``) the column ``slide`` is the whole path of the folder.
    mpp : float, optional
        Micrometres a pixel, for scale bars.
    window : (low, high), optional
        Values shown as black and white of 16-bit and float files. Default: from 64 files.
    names : mapping or callable, optional
        Path inside the folder (with ``/``) -> name, or path -> name. Default: that path. **It may
        hold a patient's name or number, and it is kept in every store and table.**
    metadata, on, anonymise_patients
        As in :func:`join_metadata` (``on="source"`` joins by name) and :func:`anonymise`.

    Returns
    -------
    FolderTiles
        8-bit grey stays (H, W), colour becomes (H, W, 3) (transparency on white, EXIF rotation
        applied), 16-bit grey uint16, 32-bit grey float32. Grey and colour together become colour.

    Raises
    ------
    NoTissue
        No image below the folder.
    BadImage
        A file is damaged or not an image, holds too many pixels or several pictures, or (naming the
        odd one) has another size or depth than the rest.
    """
    root = Path(path)
    if not root.is_dir():
        raise InvalidInput(f"There is no folder {root.name!r} at the path given.")
    files = _find(root)
    if not files:
        raise NoTissue(
            f"The folder {root.name!r} holds no image that PIL reads (png, jpg, tif, ...)."
        )
    headers = [read_header(root / file, file) for file in files]
    kind = _common_kind(files, headers)
    shape = _common_size(files, headers) if size is None else _asked_size(size)
    sources = [_name(root, file, names) for file in files]
    if len(set(sources)) < len(sources):
        raise InvalidInput("names= gives two files the same name; ids come from names.")
    table = make_table(
        sources, n=len(files), size=shape[0], mpp=np.nan if mpp is None else float(mpp)
    )
    parents = [file.split("/")[:-1] for file in files]
    if label_from == "folder":
        if any(parents):
            table["label"] = pd.Series([p[0] if p else None for p in parents], dtype="str")
        if any(len(p) > 1 for p in parents) and names is None:
            slides = [
                "/".join(p) if len(p) > 1 else s for p, s in zip(parents, sources, strict=True)
            ]
            table["slide"] = pd.Series(slides, dtype="str")
    elif label_from is not None:
        raise InvalidInput(f"label_from={label_from!r}; it is 'folder' or None.")
    table = finish(table, metadata, on, anonymise_patients)
    return FolderTiles(table, root.resolve(), files, kind, shape, window)


class FolderTiles(BaseSource):
    """Image files of a folder; made by :func:`from_folder`."""

    def __init__(
        self,
        table: pd.DataFrame,
        root: Path,
        files: Sequence[str],
        kind: Kind,
        size: tuple[int, int],
        window: tuple[float, float] | None = None,
    ) -> None:
        self._root = root
        self._files = list(files)
        self._kind: Kind = kind
        dtype = np.dtype({"uint16": np.uint16, "float32": np.float32}.get(kind, np.uint8))
        shape = (*size, 3) if kind == "rgb" else size
        self._size = size
        if window is None and dtype != np.uint8:
            picked = np.unique(np.linspace(0, len(self._files) - 1, SAMPLE).round().astype(int))
            window = estimate_window(np.stack([self._decode(int(row)) for row in picked]))
        super().__init__(table, shape, dtype, None if window is None else check_window(window))

    def _read_one(self, row: int) -> np.ndarray:
        return self._decode(row)

    def _decode(self, row: int) -> np.ndarray:
        return read_image(self._root / self._files[row], self._files[row], self._kind, self._size)

    def describe(self) -> dict[str, object]:
        """Provenance: number of files, kind and size. No path, no file name."""
        return {
            "kind": "folder",
            "files": len(self._files),
            "pixels": self._kind,
            "size": list(self._size),
            "window": list(self.window or ()),
        }


def read_header(path: Path, shown: str) -> Header:
    """Size and kind of a file without decoding it; :class:`BadImage` names the file."""
    with _opened(path, shown) as image:
        try:
            width, height = image.size
            frames = 1 if image.format in _ONE_PICTURE else getattr(image, "n_frames", 1)
            turned = image.format in _WITH_EXIF and image.getexif().get(_ORIENTATION) in _ROTATED
            mode = image.mode
        except _DAMAGED as error:
            raise BadImage(f"{shown!r} is damaged or truncated ({error}). Replace it.") from error
    if frames > 1:
        raise BadImage(
            f"{shown!r} holds {frames} pictures. Give stacks to wk.tiles.from_array and whole slides "
            "to wk.tiles.from_slide."
        )
    kind: Kind = "rgb"
    if mode in _GREY:
        kind = "grey"
    elif mode in _DEEP:
        kind = "uint16"
    elif mode in _FLOAT:
        kind = "float32"
    return Header(height, width, kind) if turned else Header(width, height, kind)


def read_image(path: Path, shown: str, kind: Kind, size: tuple[int, int]) -> np.ndarray:
    """Pixels of a file: (H, W) or (H, W, 3), of ``size`` = (H, W)."""
    with _opened(path, shown) as image:
        try:
            image.load()
            upright = ImageOps.exif_transpose(image) if image.format in _WITH_EXIF else image
        except _DAMAGED as error:
            raise BadImage(f"{shown!r} is damaged or truncated ({error}). Replace it.") from error
        if upright.size != (size[1], size[0]):
            # PIL scales palettes and 16-bit modes by nearest neighbour only
            if kind in ("uint16", "float32"):
                upright = Image.fromarray(np.asarray(upright).astype(np.float32), mode="F")
            elif kind == "rgb":
                upright = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
            else:
                upright = upright.convert("L")
            upright = ImageOps.fit(upright, (size[1], size[0]), Image.Resampling.LANCZOS)
        if kind == "rgb":
            if upright.has_transparency_data:
                return flatten_alpha(np.asarray(upright.convert("RGBA")))
            return np.asarray(upright.convert("RGB"))
        if kind == "grey":
            return np.asarray(upright.convert("L"))
        values = np.asarray(upright)
    if kind == "uint16":
        deep: np.ndarray = np.clip(np.rint(values), 0, 65535).astype(np.uint16)
        return deep
    return convert_dtype(values, repr(shown)).astype(np.float32, copy=False)


def _opened(path: Path, shown: str) -> Image.Image:
    """The image with its header read and its number of pixels within bounds."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path)
    except UnidentifiedImageError as error:
        raise BadImage(
            f"{shown!r} is not an image that PIL can read. Remove or replace it."
        ) from error
    except Image.DecompressionBombError as error:
        raise BadImage(f"{shown!r} says it holds more than {MOST_PIXELS:,} pixels.") from error
    except _DAMAGED as error:
        raise BadImage(f"{shown!r} cannot be opened ({error}).") from error
    if image.width * image.height > MOST_PIXELS:
        image.close()
        raise BadImage(
            f"{shown!r} says it holds {image.width:,} x {image.height:,} pixels; a tile has at most "
            f"{MOST_PIXELS:,}. Cut it first; whole slides go to wk.tiles.from_slide."
        )
    assert isinstance(image, ImageFile.ImageFile)
    return image


def _find(root: Path) -> list[str]:
    """Paths inside the folder, with ``/``, in the order of their text."""
    known = {suffix for suffix, form in Image.registered_extensions().items() if form in Image.OPEN}
    found = []
    for folder, below, files in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in known:
                found.append((Path(folder) / name).relative_to(root).as_posix())
    return sorted(found)


def _common_kind(files: Sequence[str], headers: Sequence[Header]) -> Kind:
    depths = ["8-bit" if header.kind in ("grey", "rgb") else header.kind for header in headers]
    usual = Counter(depths).most_common(1)[0][0]
    for file, depth in zip(files, depths, strict=True):
        if depth != usual:
            raise BadImage(
                f"{file!r} is {depth} and most files are {usual}. Bring all to one depth."
            )
    return "rgb" if any(header.kind == "rgb" for header in headers) else headers[0].kind


def _common_size(files: Sequence[str], headers: Sequence[Header]) -> tuple[int, int]:
    sizes = Counter((header.height, header.width) for header in headers)
    (height, width), _ = sizes.most_common(1)[0]
    if len(sizes) > 1:
        odd = next(i for i, h in enumerate(headers) if (h.height, h.width) != (height, width))
        raise BadImage(
            f"{files[odd]!r} is {headers[odd].width} x {headers[odd].height} px and most files are "
            f"{width} x {height}. Give size= to bring all to one size."
        )
    return height, width


def _asked_size(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < SMALLEST_SIDE or height * width > MOST_PIXELS:
        raise InvalidInput(f"size={size}; sides are at least {SMALLEST_SIDE} px.")
    return int(height), int(width)


def _name(root: Path, file: str, names: Mapping[str, str] | Callable[[Path], str] | None) -> str:
    if callable(names):
        return str(names(root / file))
    if names is None:
        return file
    if file not in names:
        raise InvalidInput(f"names= has no entry for {file!r}.")
    return str(names[file])
