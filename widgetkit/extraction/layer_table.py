"""The layers of a model: a table to choose from, and names made sure of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from widgetkit.errors import InvalidInput, NoSpatialOutput, UnknownLayer, near
from widgetkit.extraction._torch import nn, torch
from widgetkit.extraction.arrange import Arrangement, Hints, Kind, Layouts, infer, layout_for
from widgetkit.extraction.capture import Probe, Seen, probe, unwrap
from widgetkit.extraction.layer_choice import choose
from widgetkit.extraction.preprocess import Preprocess

if TYPE_CHECKING:
    from widgetkit.tiles.base import TileSource


def layers(
    model: nn.Module,
    example: torch.Tensor | np.ndarray | TileSource | Sequence[int] | None = None,
    *,
    preprocess: Preprocess | None = None,
    layout: Layouts = None,
) -> pd.DataFrame:
    """The layers of ``model`` that activations can be taken from.

    Parameters
    ----------
    model : nn.Module
    example : tensor, array, tile source or shape, optional
        What to run once, so that shapes are known: a batch ``(m, channels, *grid)`` as the model
        takes it, images ``(m, H, W[, 3])`` or tiles (preprocessed first), or the shape of one
        input without its batch, such as ``(3, 224, 224)``. Without it the table has names and
        types only.
    preprocess : Preprocess, optional
        For images and tiles. Default: :meth:`Preprocess.suggest`.
    layout : optional
        How to read layers whose axes cannot be told; see :class:`Layout`.

    Returns
    -------
    DataFrame
        ``name``; ``type`` of the module; ``shape`` ``(C, *grid)`` of one image, None if unknown;
        ``spatial``, whether maps can be drawn (None if unknown); ``note``, for instance why there
        is no map, or that ``"auto"`` takes this one. In running order with an example, else in
        the order of definition.

    Raises
    ------
    InvalidInput
        Not a model, or an example of no use.
    """
    model = unwrap(model)
    if example is None:
        rows: list[tuple[str, str, Any, Any, str]] = [
            (name, type(module).__name__, None, None, "")
            for name, module in model.named_modules()
            if name
        ]
        return _table(rows)
    ran = probe(model, _example(model, example, preprocess))
    found, problems = arrangements(model, ran, layout)
    try:
        choice = choose(ran, found)
        auto, reason = choice.layer, choice.reason
    except NoSpatialOutput:
        auto, reason = "", ""
    rows = []
    for name, seen in ran.seen.items():
        arrangement = found.get(name)
        notes = [f"'auto' takes this: {reason}"] if name == auto else []
        notes += _notes(seen, arrangement, problems.get(name, ""))
        shape = arrangement.shape if arrangement else None
        spatial = arrangement.spatial if arrangement else False
        rows.append((name, seen.type, shape, spatial, "; ".join(notes)))
    return _table(rows)


def _table(rows: list[tuple[str, str, Any, Any, str]]) -> pd.DataFrame:
    columns = list(zip(*rows, strict=True)) if rows else [()] * 5
    kinds = ("str", "str", "object", "object", "str")
    names = ("name", "type", "shape", "spatial", "note")
    return pd.DataFrame(
        {
            name: pd.Series(list(values), dtype=kind)
            for name, values, kind in zip(names, columns, kinds, strict=True)
        }
    )


def _notes(seen: Seen, arrangement: Arrangement | None, problem: str) -> list[str]:
    if seen.shape is None:
        return ["no tensor of activations"]
    if arrangement is None:
        return [problem]
    notes = [arrangement.note] if arrangement.note else []
    if seen.calls > 1:
        notes.append(f"called {seen.calls} times; the last call counts")
    if arrangement.spatial and seen.minimum < 0:
        notes.append("signed")
    return notes


def _example(
    model: nn.Module,
    example: torch.Tensor | np.ndarray | TileSource | Sequence[int],
    preprocess: Preprocess | None,
) -> torch.Tensor:
    parameter = next(model.parameters(), None)
    device = parameter.device if parameter is not None else torch.device("cpu")
    dtype = parameter.dtype if parameter is not None else torch.float32
    if isinstance(example, torch.Tensor):
        batch = example
    elif isinstance(example, np.ndarray) or hasattr(example, "read"):
        images = example if isinstance(example, np.ndarray) else example.read([0])
        chosen = preprocess or Preprocess.suggest(images.shape[1:], images.dtype, model)
        batch = chosen(images[:2])
    elif isinstance(example, Sequence) and all(isinstance(side, int) for side in example):
        batch = torch.rand(1, *example, generator=torch.Generator().manual_seed(0))
    else:
        raise InvalidInput(
            f"example is a {type(example).__name__}; give a batch tensor, images, tiles, or a shape "
            "such as (3, 224, 224)."
        )
    return batch.to(device=device, dtype=dtype)


def arrangements(
    model: nn.Module, ran: Probe, layouts: Layouts = None
) -> tuple[dict[str, Arrangement], dict[str, str]]:
    """How to read each layer that ran, and why the others cannot be read."""
    found: dict[str, Arrangement] = {}
    problems: dict[str, str] = {}
    for name in ran.seen:
        try:
            found[name] = arrangement_of(model, name, ran, layouts)
        except (NoSpatialOutput, InvalidInput) as error:
            problems[name] = str(error)
    return found, problems


def arrangement_of(model: nn.Module, name: str, ran: Probe, layouts: Layouts = None) -> Arrangement:
    """How to read one layer.

    Raises
    ------
    NoSpatialOutput
        It did not run, gives no tensor, or its axes cannot be told.
    """
    seen = ran.seen.get(name)
    if seen is None:
        raise NoSpatialOutput(
            f"Layer {name!r} did not run: the model's forward does not call it (it is unused, or "
            "its weights are used directly). Choose one from wk.layers(model, example)."
        )
    if seen.shape is None:
        raise NoSpatialOutput(
            f"Layer {name!r} ({seen.type}) gives no tensor of activations. Choose one whose shape "
            "wk.layers(model, example) shows."
        )
    first: set[int] = set()
    last: set[int] = set()
    for module in model.get_submodule(name).modules():
        if isinstance(module, nn.modules.conv._ConvNd):
            first.add(module.out_channels)
        elif isinstance(module, nn.modules.batchnorm._NormBase):
            first.add(module.num_features)
        elif isinstance(module, nn.GroupNorm):
            first.add(module.num_channels)
        elif isinstance(module, nn.LayerNorm):
            last.add(module.normalized_shape[-1])
        elif isinstance(module, nn.Linear):
            last.add(module.out_features)
    hints = Hints(
        batch=ran.input_shape[0],
        input_grid=ran.input_shape[2:],
        first=frozenset(first),
        last=frozenset(last),
        like=_latest_certain(model, ran, seen),
        grids=ran.grids_before(seen.order),
    )
    return infer(name, seen.shape, hints, layout_for(name, layouts))


_FIRST = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)
_LAST = (nn.Linear, nn.LayerNorm)


def _latest_certain(model: nn.Module, ran: Probe, seen: Seen) -> Kind | None:
    """Where the channels are in the latest output of ``seen``'s shape that has one right answer.

    A convolution gives channels first; ``Linear`` and ``LayerNorm`` themselves (not a subclass,
    which may turn the axes first) work on the last axis.
    """
    for other in reversed(ran.seen.values()):
        if other.order > seen.order or other.shape != seen.shape:
            continue
        module = model.get_submodule(other.name)
        if isinstance(module, _FIRST):
            return "channels_first"
        if type(module) in _LAST:
            return "channels_last"
    return None


def resolve(model: nn.Module, names: str | Sequence[str]) -> list[str]:
    """The names, each made sure to be a layer of ``model``, in the order given.

    Raises
    ------
    UnknownLayer
        Not in the model; near names are listed.
    InvalidInput
        None given, or one twice.
    """
    wanted = [names] if isinstance(names, str) else list(names)
    known = [name for name, _ in model.named_modules() if name]
    for name in wanted:
        if name not in known:
            raise UnknownLayer(
                f"Layer {name!r} is not in the model ({type(model).__name__}, {len(known)} layers). "
                f"{near(str(name), known)} List them with wk.layers(model)."
            )
    if not wanted or len(set(wanted)) != len(wanted):
        raise InvalidInput(f"layers={wanted!r}: name at least one layer, each once.")
    return wanted
