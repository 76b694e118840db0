"""Writing a store: segment by segment, resumable at any moment, one commit at the end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from widgetkit.errors import (
    InvalidInput,
    StoreError,
    StoreExists,
    StoreMismatch,
    StoreNotFound,
)
from widgetkit.store import checked, paths, sprites
from widgetkit.store import images as pictures
from widgetkit.store.atomic import (
    FileRecord,
    remove_temporary,
    reporting,
    write_array,
    write_bytes,
)
from widgetkit.store.commit import commit, write_tiles
from widgetkit.store.lock import Lock
from widgetkit.store.manifest import segment_path
from widgetkit.store.manifest_reader import read_manifest
from widgetkit.store.plan import LayerPlan, Plan, differences
from widgetkit.store.sidecar import Sidecar, plan_digest, read_plan, write_plan
from widgetkit.store.statistics import SegmentStatistics

if TYPE_CHECKING:
    from widgetkit.store.store import ActivationStore

_OURS = {paths.MANIFEST, paths.TILES, paths.DERIVED, paths.LOCK, paths.WRITING, *paths.CONTENT_DIRS}


class StoreWriter:
    """Writes the segments of one store.

    Get one from :meth:`open` (holds the lock, may commit) or, in further processes, from
    :meth:`join`. Segments may be written in any order, by any process and any thread; the bytes of
    the committed store depend on the plan and the values alone.

    Examples
    --------
    >>> with StoreWriter.open("demo.wk", plan=plan) as writer:          # doctest: +SKIP
    ...     for index in writer.missing_segments():
    ...         rows = plan.rows(index)
    ...         writer.write_segment(index, {"blocks.15": maps[rows.start:rows.stop]})
    ...     store = writer.commit()
    """

    def __init__(self, root: Path, plan: Plan, record: dict[str, Any], lock: Lock | None) -> None:
        self._root = root
        self._plan = plan
        self._record = record
        self._digest = plan_digest(record)
        self._lock = lock
        self._written: set[int] = set()
        self._committed = False

    # -- getting one ---------------------------------------------------------------------
    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, plan: Plan, overwrite: bool = False
    ) -> StoreWriter:
        """Begin a store at ``path``, or go on with the one that was begun there.

        Parameters
        ----------
        path : path
            A new or empty folder, one that an interrupted run left, or a committed store of the
            same plan (then everything is done already).
        plan : Plan
        overwrite : bool
            Remove a different store that is there. Files that are not a store's stay.

        Raises
        ------
        StoreLocked
            Another process is writing there.
        StoreMismatch
            An interrupted run with another plan is there; the message says what differs.
        StoreExists
            A committed store of another plan, or something that is no store, is there.
        InvalidInput, BadMetadata
            The plan cannot be stored.
        """
        root = Path(path)
        record = plan.record()
        if plan.image_shape is not None:
            pictures.check_encodable(plan.image_shape, plan.image_encoding)
        if root.exists() and not root.is_dir():
            raise StoreExists(f"{root} is a file; a store is a folder. Choose another path.")
        with reporting(root):
            root.mkdir(parents=True, exist_ok=True)
            names = {entry.name for entry in root.iterdir() if not entry.name.endswith(".tmp")}
            if names - _OURS and not names & {paths.MANIFEST, paths.WRITING}:
                raise StoreExists(
                    f"{root} holds other files and is no store. Choose a new folder, "
                    "for instance one that ends with .wk."
                )
            lock = Lock(root)
            lock.take()
        writer = cls(root, plan, record, lock)
        try:
            with reporting(root):
                writer._prepare(overwrite)
        except BaseException:
            lock.release()
            raise
        return writer

    @classmethod
    def join(cls, path: str | os.PathLike[str], *, plan: Plan) -> StoreWriter:
        """Help to write a store that :meth:`open` has begun, from another process or machine.

        Takes no lock and cannot commit. Give each process its own segments.

        Raises
        ------
        StoreNotFound
            Nothing was begun at ``path``.
        StoreMismatch
            It was begun with another plan.
        """
        root = Path(path)
        record = plan.record()
        begun = read_plan(root)
        if begun is None:
            raise StoreNotFound(f"No extraction into {root} has begun. Use StoreWriter.open first.")
        _same_plan(root, begun, record)
        return cls(root, plan, record, None)

    def _prepare(self, overwrite: bool) -> None:
        root = self._root
        if overwrite:
            self._wipe()
        if (root / paths.MANIFEST).is_file():
            different = differences(read_manifest(root).plan_record(), self._record)
            if different:
                raise StoreExists(
                    f"Another store is at {root}; it differs in {'; '.join(different)}. Nothing was "
                    "overwritten: choose another path, or pass overwrite=True."
                )
            self._committed = True
            self._remove_parts()
            return
        begun = read_plan(root)
        if begun is not None:
            _same_plan(root, begun, self._record)
        self._remove_leftovers()
        write_tiles(
            root, self._plan.tiles
        )  # now, so that a table that cannot be kept shows at once
        if begun is None:
            write_plan(root, self._record)

    def _wipe(self) -> None:
        # The manifest first: from then on there is no store, so no half of one is ever opened.
        (self._root / paths.MANIFEST).unlink(missing_ok=True)
        (self._root / paths.TILES).unlink(missing_ok=True)
        for name in (paths.WRITING, paths.DERIVED, *paths.CONTENT_DIRS):
            folder = self._root / name
            if folder.is_symlink():
                folder.unlink()
            elif folder.exists():
                shutil.rmtree(folder)

    def _remove_parts(self) -> None:
        shutil.rmtree(self._root / paths.WRITING, ignore_errors=True)

    def _remove_leftovers(self) -> None:
        remove_temporary(self._root)
        for name in (paths.WRITING, *paths.CONTENT_DIRS):
            for folder, _, _ in os.walk(self._root / name):
                remove_temporary(Path(folder))

    # -- state ---------------------------------------------------------------------------
    @property
    def path(self) -> Path:
        return self._root

    @property
    def plan(self) -> Plan:
        return self._plan

    @property
    def committed(self) -> bool:
        """Whether the store is complete: nothing is left to write."""
        return self._committed

    def done_segments(self) -> set[int]:
        """Indices of the segments that are completely on disk, whoever wrote them."""
        if self._committed:
            return set(range(self._plan.segments))
        done = set()
        for index in range(self._plan.segments):
            sidecar = Sidecar.read(self._root, index)
            if sidecar is not None and sidecar.is_whole(self._root, self._digest):
                done.add(index)
        return done

    def missing_segments(self) -> list[int]:
        """Indices of the segments still to write, ascending."""
        return sorted(set(range(self._plan.segments)) - self.done_segments())

    # -- writing -------------------------------------------------------------------------
    def write_segment(
        self,
        index: int,
        activations: Mapping[str, ArrayLike],
        images: ArrayLike | None = None,
        outputs: ArrayLike | None = None,
    ) -> None:
        """Write one segment: all of it is there afterwards, or none of it.

        Parameters
        ----------
        index : int
            Its rows are ``plan.rows(index)``, ``m`` of them.
        activations : mapping of layer name to (m, C, *grid) float16 or float32
            Every layer of the plan. For a layer without a grid, ``(m, C)``, kept as float32.
        images : (m, *image_shape) uint8
            When the plan has an image shape.
        outputs : (m, outputs) float32
            When the plan has outputs.

        Raises
        ------
        BadActivations
            NaN, infinity, a value beyond float16, or a shape that is not the plan's. Names the layer
            and the tile's row. Segments already written stay.
        BadImage
            Images of another shape or dtype.
        StoreError
            The disk is full; resumable.
        """
        if self._committed:
            raise StoreError(f"The store at {self._root} is committed and cannot change.")
        rows = self._plan.rows(index)
        if set(activations) != {layer.name for layer in self._plan.layers}:
            raise InvalidInput(
                f"Segment {index} has layers {sorted(activations)}, the plan has "
                f"{sorted(layer.name for layer in self._plan.layers)}."
            )
        values = {
            layer: checked.values(layer, activations[layer.name], rows)
            for layer in self._plan.layers
        }
        pixels = checked.images(self._plan, images, rows)
        logits = checked.outputs(self._plan, outputs, rows)

        with reporting(self._root):
            self._write(index, values, pixels, logits)

    def _write(
        self,
        index: int,
        values: Mapping[LayerPlan, tuple[NDArray[np.generic], SegmentStatistics]],
        pixels: pictures.Pixels | None,
        logits: NDArray[np.float32] | None,
    ) -> None:
        # From here to the end the segment does not count. None of this is forced to the disk now,
        # which would hold up the model: commit compares checksums, and syncs before the manifest.
        Sidecar.remove(self._root, index)
        files: list[FileRecord] = []
        parts: list[FileRecord] = []

        def keep(records: list[FileRecord], path: str, array: NDArray[Any]) -> None:
            records.append(write_array(self._root, path, array, sync=False))

        part = f"{paths.WRITING}/{index:05d}"
        for layer, (stored, summary) in values.items():
            if layer.has_maps:
                keep(files, segment_path(f"activations/{layer.slug}", index), stored)
            keep(parts, f"{part}/{layer.slug}.embeddings.npy", summary.embeddings)
            keep(parts, f"{part}/{layer.slug}.ranges.npy", summary.ranges)
        if pixels is not None and self._plan.image_encoding == "raw":
            keep(files, segment_path("images", index), pixels)
        elif pixels is not None:
            data, offsets = pictures.pack(pixels, self._plan.image_encoding)
            path = segment_path("images", index, "bin")
            files.append(write_bytes(self._root, path, data, sync=False))
            keep(files, segment_path("images", index, "offsets.npy"), offsets)
        if pixels is not None:
            thumbs = pictures.thumbnails(pixels, sprites.TILE)
            keep(parts, f"{part}/thumbnails.npy", thumbs)
        if logits is not None:
            keep(files, segment_path("outputs", index), logits)
        Sidecar(index, self._digest, tuple(files), tuple(parts)).write(self._root)
        self._written.add(index)

    # -- the end -------------------------------------------------------------------------
    def commit(
        self,
        head: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
        info: Mapping[str, Any] | None = None,
    ) -> ActivationStore:
        """Make the store: embeddings, thumbnails, table, and last the manifest.

        Segments that were written by other processes or earlier runs are compared with their
        checksums. Can be repeated after any interruption. Releases the lock.

        Parameters
        ----------
        head : mapping of layer name to (weight (n_classes, C), bias (n_classes,))
            Of a linear classifier on the mean of that layer.
        info : mapping
            Remarks (times, device); they do not count for ``store.id``.

        Raises
        ------
        StoreError
            Segments are missing; the message says which.
        StoreCorrupt
            A segment changed since it was written. It is forgotten: write it again.
        """
        from widgetkit.store.store import ActivationStore

        if self._lock is None:
            raise StoreError(
                "Only the writer from StoreWriter.open may commit, not one that joined."
            )
        if not self._committed:
            missing = self.missing_segments()
            if missing:
                shown = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
                raise StoreError(
                    f"{len(missing)} of {self._plan.segments} segments of {self._root} are not "
                    f"written yet: {shown}."
                )
            with reporting(self._root):
                commit(self._root, self._plan, self._record, self._written, head or {}, info or {})
            self._committed = True
            self._remove_parts()
        self.close()
        return ActivationStore.open(self._root)

    def close(self) -> None:
        """Release the lock. What is written stays, and can be resumed."""
        if self._lock is not None:
            with suppress(OSError):
                self._lock.release()

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"<StoreWriter {self._root}: {len(self._plan)} tiles in {self._plan.segments} segments>"
        )


def _same_plan(root: Path, begun: dict[str, Any], record: dict[str, Any]) -> None:
    different = differences(begun, record)
    if different:
        raise StoreMismatch(
            f"The extraction begun at {root} is another one; it differs in {'; '.join(different)}. "
            "Nothing was changed: choose another path, or pass overwrite=True to begin anew."
        )
