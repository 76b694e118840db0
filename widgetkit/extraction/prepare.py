"""Everything that is decided before the first tile is computed, ending in the store's plan."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from widgetkit.errors import BadMetadata, InvalidInput, StoreError, TooFew
from widgetkit.extraction._torch import nn, torch
from widgetkit.extraction.arrange import Arrangement, Layouts
from widgetkit.extraction.capture import Probe, probe
from widgetkit.extraction.device import batch_that_fits, is_out_of_memory
from widgetkit.extraction.identity import model_identity
from widgetkit.extraction.layer_choice import choose
from widgetkit.extraction.layer_table import arrangement_of, arrangements, resolve
from widgetkit.extraction.pictures import picture_window, pictures_of
from widgetkit.extraction.preprocess import Preprocess
from widgetkit.store import ActivationStore, LayerPlan, Plan
from widgetkit.store.sidecar import read_plan
from widgetkit.tiles.base import check_source
from widgetkit.tiles.metadata import join_metadata

if TYPE_CHECKING:
    from widgetkit.tiles.base import TileSource

# A segment is what a killed run loses: some seconds of work on a CPU, and a file of a size that
# disks and copies like.
SEGMENT_BYTES = 32 * 2**20
SEGMENT_ROWS = 4096


@dataclass(frozen=True, eq=False)
class Prepared:
    """What the loop needs to know."""

    plan: Plan
    arrangements: dict[str, Arrangement]
    reasons: dict[str, str]
    preprocess: Preprocess
    batch_size: int
    window: tuple[float, float]
    dtype: torch.dtype

    def load(self, tiles: TileSource, rows: range) -> tuple[np.ndarray, np.ndarray]:
        """Tiles as read, and the pictures of them that are stored."""
        images = tiles.read(rows)
        if images.shape != (len(rows), *tiles.shape):
            raise InvalidInput(
                f"The tile source gave {images.shape} for rows {rows.start} to {rows.stop - 1}; its "
                f"shape says {(len(rows), *tiles.shape)}."
            )
        return images, pictures_of(images, self.window)


def prepare(
    model: nn.Module,
    tiles: TileSource,
    layers: str | Sequence[str],
    *,
    out: Path,
    preprocess: Preprocess | Mapping[str, Any] | None,
    batch_size: int | Literal["auto"],
    device: torch.device,
    labels: Sequence[object] | None,
    class_names: Sequence[str] | None,
    overwrite: bool,
    layout: Layouts,
) -> Prepared:
    """Look at model and tiles, run two tiles, and write the plan. Raises what ``extract`` does."""
    if len(tiles) == 0:
        raise TooFew("There is no tile to extract from: the source has a length of 0.")
    check_source(tiles)
    chosen = _preprocess(preprocess, tiles, model)
    wanted = None if layers == "auto" else resolve(model, layers)
    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    dtype = parameter.dtype if parameter is not None else torch.float32
    example = tiles.read([0, min(1, len(tiles) - 1)])
    ran = _run(model, chosen, example, device, dtype)

    reasons: dict[str, str] = {}
    if wanted is None:
        found, _ = arrangements(model, ran, layout)
        choice = choose(ran, found)
        wanted = [choice.layer]
        reasons[choice.layer] = choice.reason
        arranged = {choice.layer: found[choice.layer]}
    else:
        arranged = {name: arrangement_of(model, name, ran, layout) for name in wanted}

    width = output_width(ran)
    shown = pictures_of(example, picture_window(tiles))
    if batch_size == "auto":
        recorded = None if overwrite else recorded_batch_size(out)
        size = recorded or _batch_size(model, chosen, example, ran, device, dtype)
    elif isinstance(batch_size, int) and not isinstance(batch_size, bool) and batch_size >= 1:
        size = batch_size
    else:
        raise InvalidInput(f"batch_size={batch_size!r}: 'auto' or a number from 1.")
    row_bytes = sum(2 * math.prod(a.shape) for a in arranged.values()) + math.prod(shown.shape[1:])
    return Prepared(
        plan=Plan(
            tiles=_table(tiles, labels),
            layers=[LayerPlan(name, a.channels, a.grid) for name, a in arranged.items()],
            model=model_identity(model),
            # The batch size is part of how the numbers came about: with another one the last bits
            # of a float may differ, and a resumed run must give the bytes of a whole one.
            preprocess={**chosen.to_dict(), "batch_size": size},
            source=dict(tiles.describe()),
            image_shape=tuple(int(side) for side in shown.shape[1:]),
            outputs=width,
            class_names=_class_names(class_names, width, model),
            segment_rows=segment_rows(size, row_bytes),
        ),
        arrangements=arranged,
        reasons=reasons,
        preprocess=chosen,
        batch_size=size,
        window=picture_window(tiles),
        dtype=dtype,
    )


def segment_rows(batch_size: int, row_bytes: int) -> int:
    """Tiles a segment: whole batches, at least one, of about :data:`SEGMENT_BYTES`."""
    rows = min(SEGMENT_ROWS, SEGMENT_BYTES // max(1, row_bytes))
    return batch_size * max(1, rows // batch_size)


def recorded_batch_size(out: Path) -> int | None:
    """The batch size of a store that is there, finished or not; None without one."""
    record: Mapping[str, Any] | None = None
    with suppress(StoreError):
        record = ActivationStore.open(out).manifest.preprocess
    if record is None:
        with suppress(StoreError, OSError):
            begun = read_plan(out)
            record = begun.get("preprocess") if begun else None
    size = record.get("batch_size") if isinstance(record, Mapping) else None
    return size if isinstance(size, int) and 1 <= size <= 2**16 else None


def _preprocess(
    preprocess: Preprocess | Mapping[str, Any] | None, tiles: TileSource, model: nn.Module
) -> Preprocess:
    chosen = (
        Preprocess.from_dict(preprocess)
        if isinstance(preprocess, Mapping)
        else preprocess or Preprocess.suggest(tuple(tiles.shape), tiles.dtype, model)
    )
    if not isinstance(chosen, Preprocess):
        raise InvalidInput(f"preprocess is a {type(chosen).__name__}; give a wk.Preprocess.")
    window = picture_window(tiles)
    as_read = np.dtype(tiles.dtype) == np.uint8 and window == (0.0, 255.0)
    return replace(chosen, window=None if as_read else window)


def _run(
    model: nn.Module,
    preprocess: Preprocess,
    example: np.ndarray,
    device: torch.device,
    dtype: torch.dtype,
) -> Probe:
    x = preprocess(example, device=device).to(dtype)
    try:
        return probe(model, x)
    except (RuntimeError, ValueError, TypeError, AssertionError, IndexError) as error:
        if is_out_of_memory(error):
            raise
        line = (str(error).splitlines() or [""])[0][:300]
        raise InvalidInput(
            f"The model ({type(model).__name__}) cannot take tiles of {tuple(example.shape[1:])}, "
            f"given to it as {tuple(x.shape)}: {line} Say what it needs with "
            "preprocess=wk.Preprocess(size=..., channels=...)."
        ) from error


def _batch_size(
    model: nn.Module,
    preprocess: Preprocess,
    example: np.ndarray,
    ran: Probe,
    device: torch.device,
    dtype: torch.dtype,
) -> int:
    """What fits, by the memory that one batch took."""
    pixels = math.prod(ran.input_shape[2:])
    if device.type != "cuda":
        return batch_that_fits(device, pixels, ran.peak_bytes)
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    probe(model, preprocess(example, device=device).to(dtype))
    peak = torch.cuda.max_memory_allocated(device) - before
    measured = peak // max(1, len(example))
    return batch_that_fits(device, pixels, max(ran.peak_bytes, measured) // 2)


def output_width(ran: Probe) -> int | None:
    """Number of class scores the model gives an image; None if it gives something else."""
    output = ran.output
    if output is None or not output.is_floating_point() or output.ndim < 2:
        return None
    if output.shape[0] != ran.input_shape[0] or output[0].numel() != output.shape[1]:
        return None
    return int(output.shape[1])


def _table(tiles: TileSource, labels: Sequence[object] | None) -> pd.DataFrame:
    if labels is None:
        return tiles.table
    values = list(labels)
    if len(values) != len(tiles):
        raise BadMetadata(f"{len(values)} labels for {len(tiles)} tiles; one each is needed.")
    return join_metadata(tiles.table.drop(columns="label", errors="ignore"), {"label": values})


def _class_names(
    given: Sequence[str] | None, width: int | None, model: nn.Module
) -> tuple[str, ...] | None:
    if given is not None:
        names = tuple(str(name) for name in given)
        if width is None or len(names) != width:
            what = "no class scores" if width is None else f"{width} scores a tile"
            raise InvalidInput(f"{len(names)} class names, but the model gives {what}.")
        return names
    known = getattr(getattr(model, "config", None), "id2label", None)  # Hugging Face
    if isinstance(known, Mapping) and width is not None and set(known) == set(range(width)):
        return tuple(str(known[index]) for index in range(width))
    return None
