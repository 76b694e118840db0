"""Single passes of a batch through a network: to a layer, on from a layer, and back to it.

The callers hold the network in evaluation mode; nothing here outlives its call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from widgetkit.errors import ChannelMismatch, InvalidInput
from widgetkit.extraction._torch import nn, torch
from widgetkit.extraction.arrange import Arrangement
from widgetkit.extraction.capture import hooked, layer_tensor, tensor_of, with_tensor
from widgetkit.extraction.device import is_out_of_memory

#: Logits (b, n_classes) to one score an image (b,).
Objective = Callable[[torch.Tensor], torch.Tensor]
#: What the network is run on while a layer's output is exchanged: one empty image, one an
#: activation, or the images themselves.
Route = Literal["one", "same", "images"]
# Share of the largest logit by which two ways to the same logits may differ.
AGREEMENT = 1e-4


class _Reached(BaseException):
    """Ends a forward pass from within a hook; not an Exception, which a network may catch."""


def activations_until(
    model: nn.Module, layer: str, arrangement: Arrangement, x: torch.Tensor
) -> torch.Tensor:
    """Activations ``(m, C, *grid)`` float32 of a layer; what comes after it is not run.

    For a layer that is called once: of one that is called again, :func:`activations_at` has the
    last call's. The values are the layer's own memory, which nothing has changed since.
    """
    reached = _Reached()
    kept: list[torch.Tensor] = []

    def watch(_: str, output: Any) -> None:
        kept[:] = [arrangement.apply(layer_tensor(layer, output), len(x), layer=layer).float()]
        raise reached

    with torch.inference_mode(), hooked(model, [layer], watch):
        try:
            model(x)
        except _Reached as caught:
            # its traceback would keep every tensor of the pass until the garbage is collected
            caught.__traceback__ = None
            if caught is not reached:  # of another pass, which the network makes itself
                raise
            return kept[0]
    # The network caught it and ran on, maybe in place on what was kept.
    return activations_at(model, layer, arrangement, x)[0]


def activations_at(
    model: nn.Module, layer: str, arrangement: Arrangement, x: torch.Tensor
) -> tuple[torch.Tensor, Any]:
    """Activations ``(m, C, *grid)`` float32 of a layer, and what the model gave in the end.

    Of a layer that is called several times, those of the last call.
    """
    kept: list[torch.Tensor] = []

    def watch(_: str, output: Any) -> None:
        values = arrangement.apply(layer_tensor(layer, output), len(x), layer=layer)
        kept[:] = [values.float().clone()]

    with torch.inference_mode(), hooked(model, [layer], watch):
        output = model(x)
    return kept[0], output


def gradient_at(
    model: nn.Module, layer: str, x: torch.Tensor, objective: Objective
) -> tuple[torch.Tensor, torch.Tensor]:
    """A layer's raw output and the gradient of a score by it; no graph is built before the layer.

    Raises
    ------
    InvalidInput
        No gradient arrives, or the objective gives no score an image.
    """
    kept: list[torch.Tensor] = []

    def cut(_: str, output: Any) -> Any:
        tensor = layer_tensor(layer, output)
        torch.set_grad_enabled(True)  # from here on; no_grad below restores what was before
        leaf = tensor.detach().requires_grad_(True)
        kept[:] = [leaf]
        # what runs next may work in place, which a leaf does not allow
        return with_tensor(output, tensor, leaf.clone())

    with torch.inference_mode(False), torch.no_grad(), hooked(model, [layer], cut):
        chosen = objective(scores_of(model(x), len(x)))
        if not chosen.requires_grad:
            raise InvalidInput(
                f"No gradient reaches layer {layer!r}: the model switches gradients off in its "
                "forward, or the score does not depend on its output."
            )
        if chosen.shape != (len(x),):
            raise InvalidInput(
                f"The objective gave {tuple(chosen.shape)} for {len(x)} images; one score each."
            )
        (gradient,) = torch.autograd.grad(chosen.sum(), kept[0], allow_unused=True)
    leaf = kept[0].detach()
    return leaf, torch.zeros_like(leaf) if gradient is None else gradient


def gradient_towards(
    model: nn.Module,
    layer: str,
    at: str,
    arrangement: Arrangement,
    x: torch.Tensor,
    direction: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A layer's raw output and the gradient of ``h . direction (d,)`` by it, ``h`` the layer ``at``.

    ``h`` is one vector an image, the mean over the grid where ``d`` is the number of channels, or the
    flattened maps. ``arrangement`` is that of ``at``. Of layers called several times it is the last call.

    Raises
    ------
    ChannelMismatch
        The direction has another length.
    InvalidInput
        ``at`` does not depend on ``layer``.
    """
    kept: list[torch.Tensor] = []
    reached: list[torch.Tensor] = []

    def cut(_: str, output: Any) -> Any:
        tensor = layer_tensor(layer, output)
        torch.set_grad_enabled(True)  # from here on; no_grad below restores what was before
        leaf = tensor.detach().requires_grad_(True)
        kept[:] = [leaf]
        return with_tensor(output, tensor, leaf.clone())

    def watch(_: str, output: Any) -> Any:
        tensor = layer_tensor(at, output)
        h = arrangement.apply(tensor, len(x), layer=at)
        if h.ndim > 2 and h.shape[1] == len(direction):
            h = h.mean(dim=tuple(range(2, h.ndim)))
        h = h.flatten(1)
        if h.shape[1] != len(direction):
            raise ChannelMismatch(
                f"Layer {at!r} gives {', '.join(map(str, arrangement.shape))} an image, and the direction "
                f"has {len(direction)} numbers: it was made on another layer."
            )
        reached[:] = [h.float() @ direction]
        # what runs next may work in place, also on what the gradient is made of
        return with_tensor(output, tensor, tensor.clone())

    # on one module, the layer is cut before it is watched
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        hooked(model, [layer], cut),
        hooked(model, [at], watch),
    ):
        model(x)
        if not reached[0].requires_grad:
            raise InvalidInput(
                f"Layer {at!r} does not depend on layer {layer!r}, so there is no gradient towards a "
                "direction in it: name a layer that comes later, or the layer itself."
            )
        (gradient,) = torch.autograd.grad(reached[0].sum(), kept[0], allow_unused=True)
    leaf = kept[0].detach()
    return leaf, torch.zeros_like(leaf) if gradient is None else gradient


def rest_from(
    model: nn.Module,
    layer: str,
    arrangement: Arrangement,
    activations: torch.Tensor,
    x: torch.Tensor,
) -> torch.Tensor:
    """Logits of a run on ``x`` in which the layer gives ``activations`` instead of its own."""

    def exchange(_: str, output: Any) -> Any:
        tensor = layer_tensor(layer, output)
        raw = arrangement.restore(activations.to(tensor.dtype), tensor)
        return with_tensor(output, tensor, raw.clone())

    with torch.inference_mode(), hooked(model, [layer], exchange):
        return scores_of(model(x), len(activations))


def find_route(model: nn.Module, layer: str, arrangement: Arrangement, x: torch.Tensor) -> Route:
    """The cheapest input on which :func:`rest_from` gives the logits of real images.

    Found by trying: ``"one"`` spares the first part of the network for all but one image, and
    ``"images"`` is what is left where the rest reads something that the layer does not hold.
    """
    # Two alike would not show that the rest reads the images: changed ones beside them.
    x = torch.cat([x, x.flip(-1) * 0.5])
    activations, output = activations_at(model, layer, arrangement, x)
    expected = scores_of(output, len(x)).float()
    limit = AGREEMENT * max(1e-3, float(expected.abs().max()))
    tries: tuple[tuple[Route, torch.Tensor], ...] = (
        ("one", torch.zeros_like(x[:1])),
        ("same", torch.zeros_like(x)),
    )
    for route, empty in tries:
        try:
            found = rest_from(model, layer, arrangement, activations, empty).float()
        except (RuntimeError, ValueError) as error:
            if is_out_of_memory(error):
                raise
            continue
        if found.shape == expected.shape and bool(((found - expected).abs() <= limit).all()):
            return route
    return "images"


def scores_of(output: Any, images: int) -> torch.Tensor:
    """One row of scores an image, from a model's output.

    Raises
    ------
    InvalidInput
        There is none.
    """
    tensor = tensor_of(output)
    if tensor is not None and tensor.ndim >= 2 and tensor.shape[0] == images:
        flat = tensor.flatten(1)
        if flat.shape[1] == tensor.shape[1]:
            return flat
    given = type(output).__name__ if tensor is None else str(tuple(tensor.shape))
    raise InvalidInput(
        f"The model gives {given} for {images} images, not one row of class scores each. Methods "
        "that explain a class cannot be used with it; cluster and selection maps can."
    )


def class_score(classes: np.ndarray) -> Objective:
    """The objective that picks one class for each image, ``classes (b,)``."""

    def objective(scores: torch.Tensor) -> torch.Tensor:
        low, high = int(classes.min()), int(classes.max())
        if low < 0 or high >= scores.shape[1]:
            wrong = low if low < 0 else high
            raise InvalidInput(
                f"Class {wrong} is not one of the model's {scores.shape[1]} classes."
            )
        index = torch.from_numpy(np.array(classes)).to(scores.device)
        return scores.gather(1, index[:, None])[:, 0]

    return objective
