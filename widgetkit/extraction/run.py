"""``extract``: from a model and tiles to an activation store."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from widgetkit.errors import InvalidInput
from widgetkit.extraction._torch import nn, torch
from widgetkit.extraction.arrange import Layouts
from widgetkit.extraction.capture import evaluation, unwrap
from widgetkit.extraction.device import choose_device, placed, reproducible
from widgetkit.extraction.heads import Head, head_behind
from widgetkit.extraction.loop import Loop
from widgetkit.extraction.prepare import Prepared, prepare
from widgetkit.extraction.preprocess import Preprocess
from widgetkit.extraction.progress import Progress, ProgressLike, progress_for
from widgetkit.store import ActivationStore, StoreWriter

if TYPE_CHECKING:
    from widgetkit.tiles.base import TileSource

# Tiles that the linear head is checked on, spread over the source.
HEAD_TILES = 8


def extract(
    model: nn.Module,
    tiles: TileSource,
    layers: str | Sequence[str] = "auto",
    *,
    out: str | os.PathLike[str],
    preprocess: Preprocess | Mapping[str, Any] | None = None,
    batch_size: int | Literal["auto"] = "auto",
    device: str | torch.device = "auto",
    labels: Sequence[object] | None = None,
    class_names: Sequence[str] | None = None,
    progress: ProgressLike = True,
    cancel: Event | None = None,
    overwrite: bool = False,
    layout: Layouts = None,
) -> ActivationStore:
    """Run every tile through the model once and store what its layers say.

    A run that was killed, cancelled or interrupted goes on when the same call is made again, and
    ends with the same bytes as one that never stopped. A store that is finished is returned
    without computing anything.

    Parameters
    ----------
    model : nn.Module
        Any. It is left as it was: training flags, device, memory format, gradients, no hook.
    tiles : TileSource
        From :mod:`widgetkit.tiles`.
    layers : "auto", str or sequence of str
        Names as in :func:`widgetkit.layers`. ``"auto"`` takes one by the rules of
        :func:`widgetkit.extraction.layer_choice.choose` and says why; the reason is kept in
        ``store.manifest.info["layer_reason"]``.
    out : path
        Folder of the store, by custom ``name.wk``.
    preprocess : Preprocess, optional
        Default: :meth:`Preprocess.suggest`. Recorded in the store.
    batch_size : int or "auto"
        ``"auto"``: what memory and speed allow, or what an interrupted run used.
    device : str
        ``"auto"``: CUDA where there is one, else the CPU. Values of the two agree to float32
        rounding (TF32 is switched off while this runs).
    labels : (n,) sequence, optional
        True classes; becomes the column ``label`` of the table.
    class_names : sequence of str, optional
        One name for each output of the model.
    progress : bool or callable
        A bar; or ``progress(done, total)``, called from the calling thread after every batch.
    cancel : threading.Event, optional
        Looked at before every batch.
    overwrite : bool
        Remove another store at ``out``.
    layout : optional
        How to read layers whose axes cannot be told from shapes; see
        :class:`~widgetkit.extraction.Layout`.

    Returns
    -------
    ActivationStore
        With the layers (float16), their means, pictures of the tiles, the model's outputs where it
        gives class scores, and the weights of its linear head where it has one.

    Raises
    ------
    UnknownLayer
        With near names.
    NoSpatialOutput
        No map can be read from the layer, or from any layer.
    BadActivations
        NaN, infinity, values beyond float16, or shapes that change. Names layer and tile; finished
        segments stay.
    TooFew
        No tile.
    StoreExists, StoreMismatch
        Something else is at ``out``; says what differs.
    StoreLocked
        Another process writes there.
    Cancelled
        ``cancel`` was set.
    KeyboardInterrupt
        As usual, with a word on how to go on.
    """
    module = unwrap(model)
    if not (hasattr(tiles, "read") and hasattr(tiles, "table") and hasattr(tiles, "describe")):
        raise InvalidInput(
            f"tiles is a {type(tiles).__name__}; make a tile source of it with wk.tiles.from_slide, "
            "from_folder, from_array or from_dataset."
        )
    path = Path(out)
    chosen = choose_device(device)
    with placed(module, chosen) as running, evaluation(module), reproducible():
        prepared = prepare(
            module,
            tiles,
            layers,
            out=path,
            preprocess=preprocess,
            batch_size=batch_size,
            device=running,
            labels=labels,
            class_names=class_names,
            overwrite=overwrite,
            layout=layout,
        )
        with StoreWriter.open(path, plan=prepared.plan, overwrite=overwrite) as writer:
            if writer.committed:
                return writer.commit()
            shown = progress_for(progress, "extract")
            try:
                store = _fill(module, tiles, prepared, running, writer, shown, cancel)
            finally:
                shown.close()
    _warn_constant(store)
    return store


def _fill(
    model: nn.Module,
    tiles: TileSource,
    prepared: Prepared,
    device: torch.device,
    writer: StoreWriter,
    progress: Progress,
    cancel: Event | None,
) -> ActivationStore:
    for layer, reason in prepared.reasons.items():
        progress.say(f"layer {layer!r}: {reason}")
    progress.say(f"preprocess: {prepared.preprocess.note or 'as given'}")
    missing = writer.missing_segments()
    resumed = prepared.plan.segments - len(missing)
    loop = Loop(model, prepared, device)
    start, start_cpu = time.monotonic(), time.process_time()
    with _interruptible(writer.path):
        loop.run(tiles, writer, missing, progress=progress, cancel=cancel)
        seconds, cpu = time.monotonic() - start, time.process_time() - start_cpu
        heads = _heads(model, tiles, prepared, device)
    return writer.commit(
        head=heads,
        info={
            "layer_reason": prepared.reasons,
            "device": str(device),
            "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "loop_seconds": round(seconds, 3),
            "loop_cpu_seconds": round(cpu, 3),
            "segments_resumed": resumed,
            "batches_halved": loop.halvings,
        },
    )


@contextmanager
def _interruptible(path: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"Extraction into {path} was interrupted. What is done is kept: run the same call again "
            "and it goes on from there."
        ) from None


def _heads(
    model: nn.Module, tiles: TileSource, prepared: Prepared, device: torch.device
) -> dict[str, Head]:
    """The linear heads behind the layers, checked on tiles from all over the source."""
    if prepared.plan.outputs is None:
        return {}
    count = min(HEAD_TILES, prepared.batch_size, len(tiles))
    rows = np.unique(np.linspace(0, len(tiles) - 1, count).round().astype(int)).tolist()
    x = prepared.preprocess(tiles.read(rows), device=device).to(prepared.dtype)
    found = {
        name: head_behind(model, name, arrangement, x)
        for name, arrangement in prepared.arrangements.items()
    }
    return {name: head for name, head in found.items() if head is not None}


def _warn_constant(store: ActivationStore) -> None:
    for layer in store.layers.values():
        if len(layer.constant_channels) == layer.channels:
            warnings.warn(
                f"Layer {layer.name!r} has the same activations for every tile: maps and clusters "
                "of it say nothing. Check that the weights are loaded and that the preprocess fits "
                "the model.",
                UserWarning,
                stacklevel=3,
            )
