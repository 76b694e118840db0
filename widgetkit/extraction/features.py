"""Ready-made features, without a model: scatter, gallery and clusters work, maps say why not."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from widgetkit.errors import (
    BadActivations,
    BadImage,
    BadMetadata,
    InvalidInput,
    TooFew,
    missing,
    near,
)
from widgetkit.extraction.pictures import picture_window, pictures_of
from widgetkit.store import ActivationStore, LayerPlan, Plan, StoreWriter
from widgetkit.tiles import join_metadata, make_table

if TYPE_CHECKING:
    from widgetkit.tiles.base import TileSource
    from widgetkit.tiles.metadata import Metadata

FEATURE_KEYS = ("features", "feats", "embeddings", "embedding")
COORDINATE_KEYS = ("coords", "coordinates", "coord", "xy")
# gzip's best case is about 1030 : 1; a file that claims more holds nothing where it claims rows.
BEST_COMPRESSION = 1100
SEGMENT_ROWS = 4096


@dataclass(frozen=True, eq=False)
class _Part:
    """Features of one source, read a slice at a time."""

    source: str
    shape: tuple[int, int]
    read: Callable[[int, int], np.ndarray]
    coords: np.ndarray | None = None  # (n, 2 or 3) float64: x, y[, z] in level-0 px
    size: int = 0
    level: int = 0


def import_features(
    features: np.ndarray | str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    out: str | os.PathLike[str],
    tiles: TileSource | None = None,
    metadata: Metadata | None = None,
    on: str | None = None,
    coords: np.ndarray | None = None,
    layer: str = "features",
    overwrite: bool = False,
) -> ActivationStore:
    """A store of embeddings that another program computed.

    Parameters
    ----------
    features : (n, C) array, or path(s) of .h5, .hdf5 or .npy files
        An h5 file holds ``features`` (also ``feats``, ``embeddings``) and, as CLAM and TRIDENT
        write them, ``coords`` with the attributes ``patch_size`` and ``patch_level``. Several
        files, one a slide, are joined in the order given; the file's name is the tiles' source.
    out : path
        Folder of the store.
    tiles : TileSource, optional
        The tiles that the features belong to, in the same order: gives table and pictures. Without
        it the store has none, and the gallery shows ids.
    metadata : DataFrame or mapping of columns, optional
        Joined to the table by row, or by the column ``on`` (for instance ``"slide"``); see
        :func:`widgetkit.tiles.join_metadata`.
    on : str, optional
    coords : (n, 2 or 3) array, optional
        x, y and perhaps z of each tile, in pixels of level 0; instead of those in a file.
    layer : str
        What the features are called in the store.
    overwrite : bool
        Remove another store at ``out``.

    Returns
    -------
    ActivationStore
        Whose only layer has no maps.

    Raises
    ------
    InvalidInput
        No features found, or not numbers (``(n, C)``); lists what the file holds.
    BadMetadata
        ``tiles``, ``coords`` or ``metadata`` of another length.
    BadActivations
        NaN or infinity among the features. Names the row.
    TooFew
        No rows.
    StoreExists, StoreMismatch, StoreLocked
        As for :func:`widgetkit.extract`.
    MissingDependency
        h5py is not installed.
    """
    with ExitStack() as files:
        parts = _parts(features, files)
        widths = sorted({part.shape[1] for part in parts})
        if len(widths) > 1:
            raise InvalidInput(f"The files have different numbers of features: {widths}.")
        count = sum(part.shape[0] for part in parts)
        if count == 0:
            raise TooFew("There are no features: the number of rows is 0.")
        table = _table(parts, tiles, coords, count)
        if metadata is not None:
            table = join_metadata(table, metadata, on=on)
        return _write(parts, table, widths[0], Path(out), tiles, layer, overwrite)


def _write(
    parts: Sequence[_Part],
    table: pd.DataFrame,
    width: int,
    out: Path,
    tiles: TileSource | None,
    layer: str,
    overwrite: bool,
) -> ActivationStore:
    window = picture_window(tiles) if tiles is not None else (0.0, 1.0)
    image_shape = None
    if tiles is not None:
        image_shape = pictures_of(tiles.read([0]), window).shape[1:]
    row_bytes = 4 * width + math.prod(image_shape or ())
    plan = Plan(
        tiles=table,
        layers=[LayerPlan(layer, width, ())],
        model={"class": "ready-made features", "features_hash": _hash(parts)},
        source=dict(tiles.describe()) if tiles is not None else {"kind": "features"},
        image_shape=image_shape,
        segment_rows=max(1, min(SEGMENT_ROWS, 2**26 // row_bytes)),
    )
    with StoreWriter.open(out, plan=plan, overwrite=overwrite) as writer:
        if writer.committed:
            return writer.commit()
        for index in writer.missing_segments():
            rows = plan.rows(index)
            pictures = None
            if tiles is not None:
                pictures = pictures_of(tiles.read(rows), window)
                if pictures.shape[1:] != image_shape:
                    raise BadImage(f"Tiles of {pictures.shape[1:]} among tiles of {image_shape}.")
            values = _rows(parts, rows.start, rows.stop)
            _check_finite(values, rows.start)
            writer.write_segment(index, {layer: values}, images=pictures)
        return writer.commit()


def _check_finite(values: np.ndarray, first: int) -> None:
    good = np.isfinite(values).all(axis=1)
    if not good.all():
        row = int(np.flatnonzero(~good)[0])
        raise BadActivations(
            f"Row {first + row} of the features holds NaN or infinity. Remove such rows, and their "
            "tiles, first."
        )


def _rows(parts: Sequence[_Part], start: int, stop: int) -> np.ndarray:
    """Rows ``start`` to ``stop`` of all parts, one after the other."""
    found = []
    first = 0
    for part in parts:
        low, high = max(start - first, 0), min(stop - first, part.shape[0])
        if low < high:
            found.append(np.asarray(part.read(low, high), np.float32).reshape(-1, part.shape[1]))
        first += part.shape[0]
    return np.concatenate(found)


def _hash(parts: Sequence[_Part]) -> str:
    digest = hashlib.sha256()
    count = sum(part.shape[0] for part in parts)
    for start in range(0, count, SEGMENT_ROWS):
        values = _rows(parts, start, min(start + SEGMENT_ROWS, count))
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


# -- where they come from ----------------------------------------------------------------
def _parts(
    features: np.ndarray | str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    files: ExitStack,
) -> list[_Part]:
    if isinstance(features, np.ndarray):
        return [_array_part(features, "features")]
    if isinstance(features, str | os.PathLike):
        return [_file_part(Path(features), files)]
    if isinstance(features, Sequence) and all(isinstance(f, str | os.PathLike) for f in features):
        if not features:
            raise TooFew("The list of feature files is empty.")
        parts = [_file_part(Path(path), files) for path in features]
        names = [part.source for part in parts]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InvalidInput(
                f"Two feature files are called {twice!r}; their tiles could not be told apart."
            )
        return parts
    raise InvalidInput(
        f"features is a {type(features).__name__}; give an (n, C) array or paths of .h5 or .npy files."
    )


def _array_part(array: np.ndarray, source: str, coords: np.ndarray | None = None) -> _Part:
    shape = _checked_shape(array.shape, array.dtype, source)
    flat = array.reshape(shape)
    return _Part(source, shape, lambda low, high: flat[low:high], coords)


def _checked_shape(shape: Sequence[int], dtype: np.dtype[Any], where: str) -> tuple[int, int]:
    sides = tuple(shape[1:]) if len(shape) == 3 and shape[0] == 1 else tuple(shape)
    if dtype.kind not in "fiu" or len(sides) != 2 or sides[1] < 1:
        raise InvalidInput(
            f"The features in {where} are {tuple(shape)} of {dtype}; expected (n, C) numbers."
        )
    return int(sides[0]), int(sides[1])


def _file_part(path: Path, files: ExitStack) -> _Part:
    if not path.is_file():
        raise InvalidInput(f"There is no feature file {path}.")
    if path.suffix == ".npy":
        try:
            return _array_part(np.load(path, mmap_mode="r", allow_pickle=False), path.stem)
        except (ValueError, OSError, EOFError) as error:
            if isinstance(error, InvalidInput):
                raise
            raise InvalidInput(f"{path} cannot be read as .npy: {error}.") from None
    if path.suffix not in (".h5", ".hdf5"):
        raise InvalidInput(f"{path}: features are read from .h5, .hdf5 or .npy files.")
    try:
        import h5py
    except ImportError as error:
        raise missing("h5py", "h5", "Reading features from an h5 file") from error
    try:
        file = files.enter_context(h5py.File(path, "r"))
    except OSError as error:
        raise InvalidInput(f"{path} cannot be opened as h5: {error}.") from None
    return _h5_part(file, path)


def _h5_part(file: Any, path: Path) -> _Part:
    values = _dataset(file, FEATURE_KEYS, path)
    if values is None:
        raise InvalidInput(
            f"{path} has no features: looked for {', '.join(FEATURE_KEYS)}. "
            f"{near(FEATURE_KEYS[0], [str(key) for key in file])}"
        )
    shape = _checked_shape(values.shape, values.dtype, str(path))
    squeeze = len(values.shape) == 3

    def read(low: int, high: int) -> np.ndarray:
        try:
            part: np.ndarray = values[0, low:high] if squeeze else values[low:high]
        except (OSError, RuntimeError) as error:
            raise InvalidInput(
                f"Rows {low} to {high - 1} of {path} cannot be read: {error}."
            ) from None
        return part

    places = _dataset(file, COORDINATE_KEYS, path)
    if places is None:
        return _Part(path.stem, shape, read)
    attributes: Mapping[str, Any] = {**file.attrs, **places.attrs}
    coords = _checked_coords(places, shape[0], str(path))
    return _Part(
        path.stem,
        shape,
        read,
        coords,
        size=_count(attributes, "patch_size", "size"),
        level=_count(attributes, "patch_level", "level"),
    )


def _dataset(file: Any, keys: Sequence[str], path: Path) -> Any:
    """The first of ``keys`` that is a plain data set within this very file."""
    import h5py

    for key in keys:
        link = file.get(key, getlink=True)
        if link is None:
            continue
        if isinstance(link, h5py.ExternalLink):
            raise InvalidInput(f"{path}: {key!r} points to another file, which is not followed.")
        found = file.get(key)
        if not isinstance(found, h5py.Dataset):
            continue
        if found.is_virtual or found.external:
            raise InvalidInput(f"{path}: {key!r} lies in another file, which is not followed.")
        if found.shape is None or found.dtype.kind not in "fiu":
            raise InvalidInput(f"{path}: {key!r} holds {found.dtype}, not numbers.")
        claimed = math.prod(found.shape) * found.dtype.itemsize
        held = found.id.get_storage_size()
        if claimed > BEST_COMPRESSION * (held + 1024):
            raise InvalidInput(
                f"{path}: {key!r} claims {found.shape}, {claimed:,} bytes, and holds {held:,}. The "
                "file is truncated or was never filled."
            )
        return found
    return None


def _count(attributes: Mapping[str, Any], *names: str) -> int:
    for name in names:
        value = attributes.get(name)
        if isinstance(value, int | np.integer) and 0 <= int(value) < 2**31:
            return int(value)
    return 0


def _checked_coords(coords: Any, rows: int, where: str) -> np.ndarray:
    shape = tuple(coords.shape)
    if len(shape) == 3 and shape[0] == 1:
        shape = shape[1:]
    if len(shape) != 2 or shape[1] not in (2, 3) or shape[0] != rows:
        raise BadMetadata(
            f"The coordinates in {where} are {tuple(coords.shape)} for {rows:,} rows of features; "
            "expected one (x, y) or (x, y, z) a row."
        )
    values = np.asarray(coords[...])
    if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise BadMetadata(f"The coordinates in {where} are not finite numbers.")
    return values.reshape(shape).astype(np.float64)


# -- the table ---------------------------------------------------------------------------
def _table(
    parts: Sequence[_Part], tiles: TileSource | None, coords: np.ndarray | None, count: int
) -> pd.DataFrame:
    if tiles is not None:
        if coords is not None:
            raise InvalidInput("Give tiles= or coords=, not both: tiles know where they lie.")
        if len(tiles) != count:
            raise BadMetadata(f"{len(tiles):,} tiles for {count:,} rows of features.")
        return tiles.table
    if coords is not None:
        given = _checked_coords(np.asarray(coords), count, "coords=")
        starts = np.cumsum([0, *(part.shape[0] for part in parts)])
        places: list[np.ndarray | None] = [
            given[low:high] for low, high in itertools.pairwise(starts)
        ]
    else:
        places = [part.coords for part in parts]
    tables = list(_tables(parts, places))
    table = pd.concat(tables, ignore_index=True)
    if table["id"].duplicated().any():
        row = int(np.flatnonzero(table["id"].duplicated())[0])
        raise BadMetadata(f"Row {row} has the coordinates of an earlier row of the same source.")
    return table


def _tables(parts: Sequence[_Part], places: Sequence[np.ndarray | None]) -> Iterator[pd.DataFrame]:
    for part, where in zip(parts, places, strict=True):
        n = part.shape[0]
        if where is None:  # the row's number is all there is to name it by
            yield make_table(part.source, n=n, z=np.arange(n, dtype=np.float64), size=part.size)
        else:
            z = where[:, 2] if where.shape[1] == 3 else 0.0
            yield make_table(
                part.source,
                n=n,
                x=where[:, 0],
                y=where[:, 1],
                z=z,
                level=part.level,
                size=part.size,
            )
