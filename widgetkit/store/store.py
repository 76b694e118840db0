"""Reading a store."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from widgetkit.errors import (
    InvalidInput,
    NeedsActivations,
    StoreCorrupt,
    UnknownLayer,
    near,
)
from widgetkit.store import images as pictures
from widgetkit.store import npy
from widgetkit.store.atomic import read_checked
from widgetkit.store.blobs import SegmentedBlobs
from widgetkit.store.derived import Derived
from widgetkit.store.manifest import (
    LayerInfo,
    Manifest,
    SpriteInfo,
    segment_path,
    sprite_path,
)
from widgetkit.store.manifest_reader import read_manifest
from widgetkit.store.paths import TILES, problems_with
from widgetkit.store.pool import in_threads, submit
from widgetkit.store.rows import Rows, row_numbers
from widgetkit.store.sampling import choose_positions
from widgetkit.store.segments import SegmentedArray
from widgetkit.store.verify import VerifyReport, verify

if TYPE_CHECKING:
    import pandas as pd

_BATCH_BYTES = 64 * 2**20


class ActivationStore:
    """Activations, pooled vectors, pictures and table of one data set seen by one model.

    Reading takes no lock and never writes, except derived results. Safe for several threads.
    Get one from :meth:`open`.
    """

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self._root = root
        self._manifest = manifest
        self._layers = {layer.name: layer for layer in manifest.layers}
        self._arrays: dict[str, SegmentedArray] = {}
        self._whole: dict[str, NDArray[np.float32]] = {}
        self._lock = threading.Lock()
        self.derived = Derived(root, manifest.id)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> ActivationStore:
        """Open the store in a folder, for reading.

        The manifest is checked completely and the size of every file compared with it; the bytes
        are compared by :meth:`verify`.

        Raises
        ------
        StoreNotFound
            There is none, or its extraction was never finished.
        StoreTooNew
            Written by a later version of widgetkit.
        StoreCorrupt
            A file is missing, has another size, or lies outside the folder. Names it.
        """
        root = Path(path).expanduser()
        manifest = read_manifest(root)
        problems = problems_with(root, manifest.files)
        if problems:
            more = f" ({len(problems) - 1} more files have problems)" if len(problems) > 1 else ""
            raise StoreCorrupt(
                f"Store {root}: {problems[0]}{more}. Copy it again from where it came, or extract "
                "it again with overwrite=True."
            )
        return cls(root, manifest)

    # -- what it is ----------------------------------------------------------------------
    @property
    def path(self) -> Path:
        """The folder."""
        return self._root

    @property
    def id(self) -> str:
        """32 hex digits of the content: the same for the same tiles, model and settings."""
        return self._manifest.id

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    def __len__(self) -> int:
        """Number of tiles."""
        return self._manifest.n

    def __repr__(self) -> str:
        layers = ", ".join(self._layers)
        return f"<ActivationStore {self._root.name}: {len(self)} tiles, layers {layers}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return ActivationStore.open, (self._root,)  # travels to other processes as its path

    @property
    def layers(self) -> dict[str, LayerInfo]:
        """The stored layers by name, in the order of the model."""
        return dict(self._layers)

    @property
    def default_layer(self) -> str:
        return self._manifest.default_layer

    @cached_property
    def _table(self) -> pd.DataFrame:
        import pyarrow as pa
        import pyarrow.parquet as pq

        where = self._root / TILES
        data = read_checked(self._root, self._manifest.file(TILES))
        try:
            file = pq.ParquetFile(pa.BufferReader(bytes(data)))
            if file.metadata.num_rows != len(self):
                raise StoreCorrupt(
                    f"{where} has {file.metadata.num_rows} rows for {len(self)} tiles."
                )
            table: pd.DataFrame = file.read().to_pandas()
        except (pa.ArrowException, ValueError, TypeError) as error:
            if isinstance(error, StoreCorrupt):
                raise
            raise StoreCorrupt(
                f"{where} is not a readable table: {type(error).__name__}."
            ) from None
        if "id" not in table.columns:
            raise StoreCorrupt(f"{where} has no column 'id'.")
        return table.reset_index(drop=True)

    @property
    def tiles(self) -> pd.DataFrame:
        """One row a tile. Columns added to what is returned do not reach the store."""
        return self._table.copy(deep=False)

    # -- activations ---------------------------------------------------------------------
    def layer(self, name: str) -> LayerInfo:
        """One layer; :class:`UnknownLayer` with the near names when it is not there."""
        try:
            return self._layers[name]
        except (KeyError, TypeError):
            raise UnknownLayer(
                f"Layer {name!r} is not in the store {self._root.name}. "
                f"{near(str(name), self._layers)}"
            ) from None

    def activations(self, layer: str, rows: Rows = None) -> NDArray[np.float16]:
        """Activation maps of some tiles.

        Parameters
        ----------
        layer : str
        rows : sequence of int, mask, slice or None
            Any order, repeats allowed; None reads all of them into memory.

        Returns
        -------
        (m, C, *grid) float16

        Raises
        ------
        NeedsActivations
            The layer has one vector a tile and no maps.
        """
        return self._maps(layer).take(row_numbers(rows, len(self)))

    def iter_activations(
        self, layer: str, batch: int = 256
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
        """All maps in store order, ``batch`` tiles at a time; the next is read meanwhile.

        Yields
        ------
        rows : (m,) int64
        activations : (m, C, *grid) float16
        """
        if batch < 1:
            raise InvalidInput(f"batch is {batch}; it must be at least 1.")
        array = self._maps(layer)
        chunks = [
            np.arange(start, min(start + batch, len(self)), dtype=np.int64)
            for start in range(0, len(self), batch)
        ]
        for i, rows in enumerate(chunks):
            if i + 1 < len(chunks):
                following = chunks[i + 1]
                submit(lambda f=following: array.will_need(int(f[0]), int(f[-1]) + 1))  # type: ignore[misc]
            yield rows, array.take(rows)

    def sample_positions(
        self, layer: str, count: int, seed: int, *, per_row: int = 8
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Random positions, without repeats: what factorisations and clusterings are fitted on.

        A cell's vector is scattered over its whole map, so the map is read anyway: some tiles are
        drawn evenly from all, and of each up to ``per_row`` cells. With fewer tiles than that
        needs, more cells of each are taken.

        Parameters
        ----------
        layer : str
        count : int
            Positions wanted; all of them when there are no more.
        seed : int
            The same seed gives the same positions.
        per_row : int
            Cells of one tile. 1 draws the most independent sample and reads the most.

        Returns
        -------
        rows : (p,) int64, ascending
        cells : (p,) int64
            Flat index into the grid, C order.
        values : (p, C) float32
        """
        info = self.layer(layer)
        array = self._maps(layer)
        rows, cells = choose_positions(len(self), info.cells, count, seed, per_row=per_row)
        values = np.empty((len(rows), info.channels), np.float32)
        tiles, starts = np.unique(rows, return_index=True)
        ends = np.append(starts[1:], len(rows))
        step = max(1, _BATCH_BYTES // max(1, array.row_bytes))
        for begin in range(0, len(tiles), step):
            part = slice(begin, begin + step)
            maps = array.take(tiles[part]).reshape(-1, info.channels, info.cells)
            span = slice(int(starts[part][0]), int(ends[part][-1]))
            local = np.repeat(np.arange(len(maps)), ends[part] - starts[part])
            values[span] = maps[local, :, cells[span]]
        return rows, cells, values

    def _maps(self, layer: str) -> SegmentedArray:
        info = self.layer(layer)
        if not info.has_maps:
            raise NeedsActivations(
                f"Layer {layer!r} of {self._root.name} has one vector a tile and no maps. "
                "Extract with the model from a layer with spatial output to see maps."
            )
        folder = f"activations/{info.slug}"
        return self._segmented(folder, (info.channels, *info.grid), "<f2")

    def _segmented(self, folder: str, item: tuple[int, ...], dtype: str) -> SegmentedArray:
        if folder not in self._arrays:
            m = self._manifest
            files = [m.file(segment_path(folder, index)) for index in range(m.segments)]
            self._arrays[folder] = SegmentedArray(
                self._root, files, m.n, m.segment_rows, item, dtype
            )
        return self._arrays[folder]

    # -- vectors -------------------------------------------------------------------------
    def embeddings(self, layer: str) -> NDArray[np.float32]:
        """``(n, C)`` float32, read-only: mean over the grid of the stored values; kept in memory."""
        info = self.layer(layer)
        return self._read_whole(f"embeddings/{info.slug}.npy", (len(self), info.channels))

    @property
    def outputs(self) -> NDArray[np.float32] | None:
        """``(n, n_classes)`` float32, read-only: the model's output (logits); None if not stored."""
        width = self._manifest.outputs
        if width is None:
            return None
        with self._lock:
            if "outputs" not in self._whole:
                array = self._segmented("outputs", (width,), "<f4")
                values = array.take(np.arange(len(self), dtype=np.int64))
                values.flags.writeable = False
                self._whole["outputs"] = values
            return self._whole["outputs"]

    @property
    def class_names(self) -> tuple[str, ...] | None:
        return self._manifest.class_names

    def head(self, layer: str) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """``(weight (n_classes, C), bias (n_classes,))`` of the linear classifier on the mean of a
        layer; None when the model has none there."""
        info = self.layer(layer)
        if info.name not in self._manifest.heads:
            return None
        weight = self._read_whole(f"head/{info.slug}/weight.npy", None)
        bias = self._read_whole(f"head/{info.slug}/bias.npy", None)
        if weight.ndim != 2 or weight.shape[1] != info.channels or bias.shape != weight.shape[:1]:
            raise StoreCorrupt(f"Store {self._root}: the head of layer {layer!r} does not fit it.")
        return weight, bias

    def _read_whole(self, path: str, shape: tuple[int, ...] | None) -> NDArray[np.float32]:
        with self._lock:
            if path not in self._whole:
                where = str(self._root / path)
                array = npy.decode(read_checked(self._root, self._manifest.file(path)), where)
                if array.dtype != np.float32 or (shape is not None and array.shape != shape):
                    raise StoreCorrupt(
                        f"{where} holds {array.shape} {array.dtype} where {shape} float32 is meant."
                    )
                array.flags.writeable = False
                self._whole[path] = array.astype(np.float32, copy=False)
            return self._whole[path]

    # -- pictures ------------------------------------------------------------------------
    @property
    def has_images(self) -> bool:
        return self._manifest.images is not None

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """``(H, W)``, ``(H, W, 3)``, ``(D, H, W)`` or ``(D, H, W, 3)``; None without pictures."""
        return None if self._manifest.images is None else self._manifest.images.shape

    def images(self, rows: Rows = None) -> NDArray[np.uint8]:
        """``(m, *image_shape)`` uint8: pictures of some tiles, as they are shown.

        Raises
        ------
        InvalidInput
            The store has no pictures.
        StoreCorrupt
            A picture is damaged or not of the stated size.
        """
        info = self._manifest.images
        if info is None:
            raise InvalidInput(f"Store {self._root.name} has no images.")
        numbers = row_numbers(rows, len(self))
        if info.encoding == "raw":
            return self._segmented("images", info.shape, "|u1").take(numbers)
        unique, back = np.unique(numbers, return_inverse=True)
        blobs = self._blobs.take(unique)
        result = np.empty((len(unique), *info.shape), np.uint8)

        def decode(i: int) -> None:
            where = f"Store {self._root}: the picture of row {unique[i]}"
            result[i] = pictures.decode(blobs[i], info.shape, info.encoding, where)

        in_threads(decode, range(len(unique)))
        return result[back.reshape(-1)]

    @cached_property
    def _blobs(self) -> SegmentedBlobs:
        m = self._manifest
        return SegmentedBlobs(
            self._root,
            [m.file(segment_path("images", i, "bin")) for i in range(m.segments)],
            [m.file(segment_path("images", i, "offsets.npy")) for i in range(m.segments)],
            m.segment_rows,
            m.n,
        )

    def thumbnails(self, rows: Rows = None, size: int = 64) -> NDArray[np.uint8]:
        """``(m, size, size, 3)`` uint8: small pictures, in proportion, on black; volumes by their
        middle slice."""
        if not 1 <= size <= 4096:
            raise InvalidInput(f"A thumbnail of {size} px; use 1 to 4096.")
        numbers = row_numbers(rows, len(self))
        parts = []
        step = max(1, _BATCH_BYTES // max(1, int(np.prod(self.image_shape or (1,)))))
        for start in range(0, max(1, len(numbers)), step):
            small = pictures.thumbnails(self.images(numbers[start : start + step]), size)
            if small.ndim == 3:
                small = np.repeat(small[..., None], 3, axis=3)
            parts.append(small)
        return np.concatenate(parts)

    @property
    def sprites(self) -> SpriteInfo | None:
        """How the prebuilt pages of thumbnails are laid out; None without pictures."""
        return self._manifest.sprites

    def sprite_page(self, index: int) -> bytes:
        """One page of thumbnails as a picture file of type ``sprites.mime``."""
        info = self._manifest.sprites
        if info is None:
            raise InvalidInput(f"Store {self._root.name} has no images, so no thumbnails.")
        if not 0 <= index < info.pages:
            raise InvalidInput(f"Page {index} of {info.pages} pages of thumbnails.")
        record = self._manifest.file(sprite_path(index, info.mime))
        return bytes(read_checked(self._root, record))

    # -- as a whole ----------------------------------------------------------------------
    def verify(self, full: bool = True) -> VerifyReport:
        """Compare the store with its manifest: sizes, and when ``full`` every byte.

        Returns
        -------
        VerifyReport
            With ``ok``, and one sentence a problem. Nothing is raised for a damaged store.
        """
        return verify(self._root, self._manifest, self.derived, full=full)

    def export(
        self, path: str | os.PathLike[str], rows: Rows = None, **options: Any
    ) -> ActivationStore:
        """A new store with some of the tiles; see :func:`widgetkit.store.export.export`."""
        from widgetkit.store.export import export

        return export(self, path, rows, **options)
