"""How a layer's raw output becomes ``(m, C, *grid)``, and back.

A convolutional network gives ``(m, C, h, w)``, a vision transformer ``(m, T, C)`` with class and
register tokens in front, Swin ``(m, h, w, C)``. :func:`infer` decides once, from the shapes of
one small batch; :class:`Arrangement` then does the same to every batch and refuses any other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from widgetkit.errors import BadActivations, InvalidInput, NoSpatialOutput

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["channels_first", "channels_last", "tokens", "vector"]

# Tokens in front of the patches. Where the grid is known from the patch embedding, up to 16. Where
# it is a guess, only what published models have: none, class, class and distillation, four
# registers, class and four registers; anything else that leaves a square is a coincidence.
MOST_PREFIX_TOKENS = 16
USUAL_PREFIXES = (0, 1, 2, 4, 5)


@dataclass(frozen=True)
class Layout:
    """What the user says about a layer's output where shapes alone do not tell.

    Parameters
    ----------
    kind : {"channels_first", "channels_last", "tokens", "vector"}
        ``(m, C, *grid)``, ``(m, *grid, C)``, ``(m, T, C)`` or ``(m, C)``.
    grid : tuple of int, optional
        Spatial shape of the map, for tokens that are no square.
    prefix : int, optional
        Tokens in front of the patches (class, registers) that are no place in the image.
    """

    kind: Kind
    grid: tuple[int, ...] | None = None
    prefix: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise InvalidInput(
                f"layout {self.kind!r} is not known. Known: {', '.join(map(repr, get_args(Kind)))}."
            )
        if self.grid is not None and (not self.grid or any(side < 1 for side in self.grid)):
            raise InvalidInput(f"layout grid {self.grid} must be positive sides such as (14, 14).")
        if self.prefix is not None and self.prefix < 0:
            raise InvalidInput(f"layout prefix {self.prefix} must be 0 or more tokens.")


LayoutLike = Layout | Kind
Layouts = LayoutLike | Mapping[str, LayoutLike] | None


def layout_for(name: str, layouts: Layouts) -> Layout | None:
    """The user's word about one layer, if any."""
    if isinstance(layouts, Mapping):
        found = layouts.get(name)
        return layout_for(name, found) if found is not None else None
    return Layout(layouts) if isinstance(layouts, str) else layouts


@dataclass(frozen=True)
class Arrangement:
    """How one layer's raw output maps to ``(m, C, *grid)``."""

    kind: Kind
    channels: int
    grid: tuple[int, ...]  # () for a vector layer
    raw: tuple[int, ...]  # shape of the raw output without its batch axis
    prefix: int = 0  # tokens in front that are no place in the image
    batch_axis: int = 0
    note: str = ""

    @property
    def spatial(self) -> bool:
        return self.grid != ()

    @property
    def shape(self) -> tuple[int, ...]:
        """``(C, *grid)``."""
        return (self.channels, *self.grid)

    def apply(self, output: Tensor, images: int, *, layer: str) -> Tensor:
        """The raw output as ``(images, C, *grid)``; a view where possible.

        Raises
        ------
        BadActivations
            The shape is not the one seen first, or not one row an image.
        """
        shape = list(output.shape)
        rows = shape.pop(self.batch_axis) if len(shape) > self.batch_axis else -1
        if tuple(shape) != self.raw or rows != images:
            raise BadActivations(
                f"Layer {layer!r} gave {tuple(output.shape)} for a batch of {images} images, but "
                f"{self.raw} an image before. All tiles must have one size and the layer one "
                "output an image; give the preprocess a fixed size=."
            )
        if self.batch_axis:
            output = output.movedim(self.batch_axis, 0)
        if self.kind == "tokens":
            output = output[:, self.prefix :].transpose(1, 2)
        elif self.kind == "channels_last":
            output = output.movedim(-1, 1)
        return output.reshape(images, *self.shape)

    def restore(self, activations: Tensor, like: Tensor) -> Tensor:
        """The inverse of :meth:`apply`; prefix tokens are taken from ``like``."""
        from widgetkit.extraction._torch import torch

        images = activations.shape[0]
        flat = activations.reshape(images, self.channels, -1)
        if self.kind == "tokens":
            raw = flat.transpose(1, 2)
            if self.prefix:
                whole = like.movedim(self.batch_axis, 0) if self.batch_axis else like
                front = whole[:, : self.prefix].expand(images, -1, -1)
                raw = torch.cat([front.to(raw.dtype), raw], dim=1)
        elif self.kind == "channels_last":
            raw = activations.movedim(1, -1).reshape(images, *self.raw)
        else:
            raw = activations.reshape(images, *self.raw)
        return raw.movedim(0, self.batch_axis) if self.batch_axis else raw


@dataclass(frozen=True)
class Hints:
    """What is known around a layer when its output's axes are to be named."""

    batch: int  # images in the probe
    input_grid: tuple[int, ...] = ()  # spatial shape of the model's input
    first: frozenset[int] = frozenset()  # channel counts of convolutions and batch norms inside
    last: frozenset[int] = frozenset()  # feature counts of linear layers and layer norms inside
    like: Kind | None = None  # of the latest layer of the same shape that leaves no doubt
    grids: tuple[tuple[int, ...], ...] = ()  # grids of convolutions run before, newest first


def infer(
    layer: str, shape: Sequence[int], hints: Hints, layout: Layout | None = None
) -> Arrangement:
    """Name the axes of a layer's output.

    Parameters
    ----------
    layer : str
        For messages.
    shape : sequence of int
        Raw shape with the batch axis.
    hints : Hints
    layout : Layout, optional
        The user's word; wins over everything.

    Raises
    ------
    NoSpatialOutput
        The output has no batch axis, or its tokens fit no grid; says how to give ``layout=``.
    """
    batch_axis = _batch_axis(layer, shape, hints.batch)
    raw = tuple(side for axis, side in enumerate(shape) if axis != batch_axis)
    kind: Kind | None = layout.kind if layout else None
    if len(raw) == 1 or kind == "vector":
        return Arrangement("vector", math.prod(raw), (), raw, batch_axis=batch_axis)
    if kind == "tokens" or (kind is None and len(raw) == 2 and hints.like != "channels_first"):
        return _tokens(layer, raw, batch_axis, hints, layout)
    if layout and layout.grid and kind == "channels_first":
        return _given_grid(layer, raw, batch_axis, layout.grid)
    if kind is None:
        kind = "channels_last" if _looks_channels_last(raw, hints) else "channels_first"
    channels, grid = (raw[-1], raw[:-1]) if kind == "channels_last" else (raw[0], raw[1:])
    if layout and layout.grid and layout.grid != grid:
        raise InvalidInput(f"Layer {layer!r} has a grid of {grid}, layout= says {layout.grid}.")
    if math.prod(grid) == 1:
        return Arrangement("vector", channels, (), raw, batch_axis=batch_axis, note="pooled")
    if len(grid) not in (2, 3):
        raise NoSpatialOutput(
            f"Layer {layer!r} gives {tuple(shape)}: a grid of {len(grid)} axes is neither a plane "
            "nor a volume. Choose another layer, or say what the axes are with layout=."
        )
    note = "channels last" if kind == "channels_last" else ""
    return Arrangement(kind, channels, grid, raw, batch_axis=batch_axis, note=note)


def _batch_axis(layer: str, shape: Sequence[int], batch: int) -> int:
    if len(shape) >= 2 and shape[0] == batch:
        return 0
    if len(shape) == 3 and shape[1] == batch:  # (T, m, C), torch's own transformer layers
        return 1
    raise NoSpatialOutput(
        f"Layer {layer!r} gives {tuple(shape)} for {batch} images: no axis of it counts the "
        "images (windows or heads are folded into the batch). Choose the block around it."
    )


def _given_grid(
    layer: str, raw: tuple[int, ...], batch_axis: int, grid: tuple[int, ...]
) -> Arrangement:
    if math.prod(raw[1:]) != math.prod(grid):
        raise InvalidInput(
            f"Layer {layer!r} has {math.prod(raw[1:])} positions, layout= says {grid}."
        )
    return Arrangement("channels_first", raw[0], grid, raw, batch_axis=batch_axis)


def _tokens(
    layer: str, raw: tuple[int, ...], batch_axis: int, hints: Hints, layout: Layout | None
) -> Arrangement:
    if len(raw) != 2:
        raise InvalidInput(f"Layer {layer!r} gives {raw} an image, which are no tokens (T, C).")
    tokens, channels = raw
    if layout and layout.grid:
        prefix = tokens - math.prod(layout.grid)
        if prefix < 0 or (layout.prefix is not None and prefix != layout.prefix):
            raise InvalidInput(
                f"Layer {layer!r} has {tokens} tokens; layout= says a grid of {layout.grid} after "
                f"{layout.prefix or 0} tokens."
            )
        grid = layout.grid
    else:
        found = _token_grid(tokens, hints, layout.prefix if layout else None)
        if found is None:
            raise NoSpatialOutput(
                f"Layer {layer!r} has {tokens} tokens, which fit no grid for an input of "
                f"{hints.input_grid}. Say which with layout=Layout('tokens', grid=(h, w), "
                "prefix=number of class and register tokens)."
            )
        grid, prefix = found
    note = f"tokens, {prefix} in front dropped" if prefix else "tokens"
    return Arrangement("tokens", channels, grid, raw, prefix, batch_axis, note)


def _token_grid(
    tokens: int, hints: Hints, prefix: int | None
) -> tuple[tuple[int, ...], int] | None:
    """The grid of ``tokens``, from the patch embedding, the input's sides, or as a square."""
    allowed = range(MOST_PREFIX_TOKENS + 1) if prefix is None else (prefix,)
    guessed = USUAL_PREFIXES if prefix is None else (prefix,)
    for grids, fronts in ((_embedded(hints), allowed), (_guesses(tokens, hints), guessed)):
        for grid in grids:
            front = tokens - math.prod(grid)
            if math.prod(grid) > 1 and front in fronts:
                return grid, front
    return None


def _embedded(hints: Hints) -> Iterator[tuple[int, ...]]:
    """Grids of the convolutions before, as they are and after merging patches between stages."""
    for grid in hints.grids:
        for halvings in range(6):
            yield tuple(math.ceil(side / 2**halvings) for side in grid)


def _guesses(tokens: int, hints: Hints) -> Iterator[tuple[int, ...]]:
    """Squares, for square inputs; else the input cut into patches of one size."""
    if len(hints.input_grid) != 3 and len(set(hints.input_grid)) <= 1:
        for prefix in USUAL_PREFIXES:
            side = math.isqrt(max(0, tokens - prefix))
            yield (side, side)
    if hints.input_grid:
        for patch in range(2, min(hints.input_grid) + 1):
            if all(length % patch == 0 for length in hints.input_grid):
                yield tuple(length // patch for length in hints.input_grid)


def _looks_channels_last(raw: tuple[int, ...], hints: Hints) -> bool:
    """From a layer that leaves no doubt, those inside the module, the input's proportions."""
    if hints.like is not None:
        return hints.like == "channels_last"
    first = raw[0] in hints.first or raw[0] in hints.last
    last = raw[-1] in hints.last
    if first != last:
        return last
    return _fits(raw[:-1], hints.input_grid) and not _fits(raw[1:], hints.input_grid)


def _fits(grid: tuple[int, ...], input_grid: tuple[int, ...]) -> bool:
    """Whether ``grid`` has the proportions of the input."""
    if len(grid) != len(input_grid):
        return False
    strides = [whole / part for whole, part in zip(input_grid, grid, strict=True)]
    return max(strides) <= 1.3 * min(strides)
