"""The loop over batches: tiles in, one segment after the other out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np

from widgetkit.errors import BadActivations, Cancelled
from widgetkit.extraction._torch import nn, torch
from widgetkit.extraction.capture import hooked, layer_tensor, tensor_of
from widgetkit.extraction.device import is_out_of_memory
from widgetkit.extraction.pipeline import WriteBehind, read_ahead
from widgetkit.extraction.prepare import Prepared
from widgetkit.extraction.progress import Progress

if TYPE_CHECKING:
    from widgetkit.store.writer import StoreWriter
    from widgetkit.tiles.base import TileSource

FLOAT16_MAX = 65504.0
# Batches a GPU may lie behind the program: enough to keep it busy, few enough to bound its memory.
BATCHES_AHEAD = 2


@dataclass(frozen=True)
class _Batch:
    """Consecutive rows of one segment."""

    segment: int
    rows: range
    offset: int  # of the first row within the segment
    last: bool  # of its segment


@dataclass(eq=False)
class _Segment:
    """The arrays of one segment while it is filled."""

    index: int
    rows: range
    activations: dict[str, torch.Tensor]  # (m, *shape) float16; float32 for vectors
    images: np.ndarray  # (m, *image_shape) uint8
    outputs: torch.Tensor | None  # (m, n_classes) float32
    ranges: list[tuple[str, torch.Tensor, torch.Tensor]] = field(default_factory=list)
    ready: Any = None  # CUDA event: all copies into the arrays are done


class Loop:
    """Computes the missing segments of a store.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode, on ``device``.
    prepared : Prepared
    device : torch.device
    """

    def __init__(self, model: nn.Module, prepared: Prepared, device: torch.device) -> None:
        self._model = model
        self._prepared = prepared
        self._device = device
        self._cuda = device.type == "cuda"
        self._segment: _Segment | None = None
        self._at = slice(0, 0)  # where in the segment the running batch goes
        self._free: list[_Segment] = []  # written; their memory serves again
        self._input_memory: torch.Tensor | None = None
        self.halvings = 0
        if self._cuda:
            self._stream_in = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._stream_out = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def run(
        self,
        tiles: TileSource,
        writer: StoreWriter,
        segments: Sequence[int],
        *,
        progress: Progress,
        cancel: Event | None,
    ) -> None:
        """Compute and write ``segments``; those that are complete are on disk however this ends."""
        total = len(tiles)
        done = total - sum(len(self._prepared.plan.rows(index)) for index in segments)
        progress.update(done, total)
        lag: deque[Any] = deque()
        feed = self._feed(tiles, segments)
        try:
            names = list(self._prepared.arrangements)
            with (
                WriteBehind() as behind,
                torch.inference_mode(),
                hooked(self._model, names, self._keep),
            ):
                for batch, x, shown in feed:
                    if cancel is not None and cancel.is_set():
                        raise Cancelled(
                            f"Extraction was cancelled after {done:,} of {total:,} tiles. Run the "
                            "same call again: it goes on from there."
                        )
                    if self._segment is None:
                        self._segment = self._begin(batch.segment)
                    segment = self._segment
                    self._compute(x, batch.offset)
                    segment.images[batch.offset : batch.offset + len(batch.rows)] = shown
                    if self._cuda:
                        lag.append(torch.cuda.current_stream(self._device).record_event())
                        if len(lag) > BATCHES_AHEAD:
                            lag.popleft().synchronize()
                    if batch.last:
                        if self._cuda:
                            segment.ready = self._stream_out.record_event()
                        behind.put(partial(self._write, writer, segment))
                        self._segment = None
                    done += len(batch.rows)
                    progress.update(done, total)
        finally:
            self._segment = None
            feed.close()

    # -- in ------------------------------------------------------------------------------
    def _batches(self, segments: Sequence[int]) -> Iterator[_Batch]:
        """A pure function of the plan: a batch never holds rows of two segments."""
        size = self._prepared.batch_size
        for index in segments:
            rows = self._prepared.plan.rows(index)
            for start in range(rows.start, rows.stop, size):
                stop = min(start + size, rows.stop)
                yield _Batch(index, range(start, stop), start - rows.start, stop == rows.stop)

    def _feed(self, tiles: TileSource, segments: Sequence[int]) -> Any:
        """``(batch, x, pictures)``, with ``x`` on the device, preprocessed.

        On CUDA the copy of the next batch is under way on its own stream while this one computes.
        """
        preprocess = self._prepared.preprocess

        def load(batch: _Batch) -> tuple[torch.Tensor, np.ndarray]:
            images, shown = self._prepared.load(tiles, batch.rows)
            tensor = preprocess.load(images)
            return (tensor.pin_memory() if self._cuda else tensor), shown

        reading = read_ahead(self._batches(segments), load)
        try:
            if not self._cuda:
                for batch, (raw, shown) in reading:
                    yield batch, self._input(raw), shown
                return
            current = torch.cuda.current_stream(self._device)
            coming: tuple[_Batch, torch.Tensor, np.ndarray, Any] | None = None
            for batch, (raw, shown) in reading:
                with torch.cuda.stream(self._stream_in):
                    moved = raw.to(self._device, non_blocking=True)
                    arrived = self._stream_in.record_event()
                if coming is not None:
                    yield self._arrive(current, *coming)
                coming = (batch, moved, shown, arrived)
            if coming is not None:
                yield self._arrive(current, *coming)
        finally:
            reading.close()

    def _arrive(
        self, current: Any, batch: _Batch, moved: torch.Tensor, shown: np.ndarray, arrived: Any
    ) -> tuple[_Batch, torch.Tensor, np.ndarray]:
        current.wait_event(arrived)
        moved.record_stream(current)  # its memory belongs to the other stream's pool
        return batch, self._input(moved), shown

    def _input(self, raw: torch.Tensor) -> torch.Tensor:
        preprocess = self._prepared.preprocess
        if self._cuda:  # there the allocator keeps memory, and two batches are under way
            return preprocess.finish(raw).to(self._prepared.dtype)
        if self._input_memory is None:
            grey_to_colour = preprocess.channels == 3 and raw.shape[-1] != 3
            self._input_memory = torch.empty(raw.numel() * (3 if grey_to_colour else 1))
        return preprocess.finish(raw, into=self._input_memory).to(self._prepared.dtype)

    # -- through -------------------------------------------------------------------------
    def _begin(self, index: int) -> _Segment:
        plan = self._prepared.plan
        rows = plan.rows(index)
        if self._free and len(self._free[-1].rows) == len(rows):
            used = self._free.pop()
            return _Segment(index, rows, used.activations, used.images, used.outputs)

        def empty(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
            return torch.empty((len(rows), *shape), dtype=dtype, pin_memory=self._cuda)

        return _Segment(
            index,
            rows,
            {
                name: empty(a.shape, torch.float16 if a.spatial else torch.float32)
                for name, a in self._prepared.arrangements.items()
            },
            np.empty((len(rows), *(plan.image_shape or ())), np.uint8),
            empty((plan.outputs,), torch.float32) if plan.outputs is not None else None,
        )

    def _compute(self, x: torch.Tensor, offset: int) -> None:
        """One batch through the model; halves where the device's memory ends."""
        self._at = slice(offset, offset + len(x))
        try:
            output = self._model(x)
        except RuntimeError as error:
            if not (is_out_of_memory(error) and self._cuda and len(x) > 1):
                raise
        else:
            self._keep_output(output)
            return
        self.halvings += 1
        torch.cuda.empty_cache()
        half = len(x) // 2
        self._compute(x[:half], offset)
        self._compute(x[half:], offset + half)

    def _keep(self, name: str, output: Any) -> None:
        """Copy a layer's output out at once: what runs next may change it in place."""
        segment, at = self._segment, self._at
        assert segment is not None
        values = self._prepared.arrangements[name].apply(
            layer_tensor(name, output), at.stop - at.start, layer=name
        )
        low, high = torch.aminmax(values)
        target = segment.activations[name]
        if self._cuda:
            segment.ranges.append((name, low, high))
            # a copy even where dtype and order fit already: the original may be changed in place
            fresh = torch.empty(values.shape, dtype=target.dtype, device=values.device)
            self._copy_out(target[at], fresh.copy_(values))
        else:
            target[at].copy_(values)
            _check(segment, name, float(low), float(high))

    def _keep_output(self, output: Any) -> None:
        segment = self._segment
        if segment is None or segment.outputs is None:
            return
        values = tensor_of(output)
        target = segment.outputs[self._at]
        if values is None or values.numel() != target.numel():
            raise BadActivations(
                f"The model gave {segment.outputs.shape[1]} scores a tile for the first tiles and "
                f"{None if values is None else tuple(values.shape)} for {len(target)} later ones."
            )
        if self._cuda:
            self._copy_out(target, values.reshape(target.shape).to(torch.float32, copy=True))
        else:
            target.copy_(values.reshape(target.shape))

    def _copy_out(self, target: torch.Tensor, values: torch.Tensor) -> None:
        """Device to pinned memory, on a stream of its own, beside the computation."""
        self._stream_out.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream_out):
            target.copy_(values, non_blocking=True)
        values.record_stream(self._stream_out)

    # -- out -----------------------------------------------------------------------------
    def _write(self, writer: StoreWriter, segment: _Segment) -> None:
        if segment.ready is not None:
            segment.ready.synchronize()
            for name, low, high in segment.ranges:
                _check(segment, name, float(low), float(high))
        writer.write_segment(
            segment.index,
            {name: values.numpy() for name, values in segment.activations.items()},
            images=segment.images,
            outputs=None if segment.outputs is None else segment.outputs.numpy(),
        )
        self._free.append(segment)


def _check(segment: _Segment, layer: str, low: float, high: float) -> None:
    """Raise where a layer's values cannot be stored."""
    stored = segment.activations[layer]
    largest = FLOAT16_MAX if stored.dtype == torch.float16 else float(np.finfo(np.float32).max)
    if -largest <= low and high <= largest:
        return
    bad = ~torch.isfinite(stored.flatten(1)).all(1)
    first = segment.rows.start + int(bad.nonzero()[0, 0]) if bool(bad.any()) else segment.rows.start
    # beside rows not computed yet, whose memory holds anything: the first is still the first
    if np.isfinite(low) and np.isfinite(high):
        raise BadActivations(
            f"Layer {layer!r}, tile {first}: the value {max(low, high, key=abs):.6g} is beyond "
            f"float16, in which activations are stored ({FLOAT16_MAX:g}). Choose a layer after a "
            "normalisation, or scale the input down in the preprocess."
        )
    found = "NaN" if np.isnan(low) or np.isnan(high) else "infinity"
    raise BadActivations(
        f"Layer {layer!r}, tile {first}: the activations hold {found}. Check that the weights are "
        "loaded and finite, that the preprocess gives the range the model was trained on, and that "
        "a half-precision model does not overflow (model.float())."
    )
