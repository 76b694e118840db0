"""Relevance propagation: which part of a logit each position of a layer, and each pixel, carries.

The network runs once under :class:`~widgetkit.extraction.relevance_mode.Propagation` and back once.
At the layer the graph is cut, so that what is absorbed above it and what goes round it are known
apart from what happens below.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from widgetkit.errors import BadActivations, InvalidInput
from widgetkit.extraction._torch import nn, torch
from widgetkit.extraction.arrange import Arrangement
from widgetkit.extraction.capture import hooked, layer_tensor, tensor_of, with_tensor
from widgetkit.extraction.passes import Objective, class_score, scores_of
from widgetkit.extraction.relevance_functions import RULES
from widgetkit.extraction.relevance_mode import Propagation
from widgetkit.extraction.relevance_rules import ImagesMixed, Rules

# Share of the relevance in play (sum of absolute values) that may be missing before a result is
# refused. Rounding leaves 1e-5 in float32 and 1e-13 in float64; a step without a right rule, percents.
LARGEST_GAP = {torch.float32: 1e-3, torch.float64: 1e-6}
NUMBERS = 4  # absorbed, output, beside, below: what each image has beside its two maps


@dataclass(frozen=True, eq=False)
class Relevance:
    """Where the output of ``m`` images comes from.

    ``layer.sum() + beside + absorbed == output`` for each image, and ``input.sum() + absorbed +
    below == output``: each number was measured on its own, and :attr:`gap` says how well they agree.

    Attributes
    ----------
    layer : (m, C, *grid)
        Relevance of each value of the layer, signed, in units of the logit.
    input : (m, channels, *spatial), or None
        Relevance of each value of the network's input (after preprocessing); None where it was not
        asked for.
    absorbed : (m,)
        What biases, constants and epsilon keep between the layer and the output; where the input
        was not asked for, also what comes by connections round the layer.
    output : (m,)
        The logit, or the difference of two, that was shared out.
    beside : (m,)
        What reaches the output without the layer's map: by connections round the layer, and through
        tokens that are no place in the image (the class token).
    below : (m,), or None
        What biases, constants and epsilon keep between the input and the layer.
    """

    layer: np.ndarray
    input: np.ndarray | None
    absorbed: np.ndarray
    output: np.ndarray
    beside: np.ndarray
    below: np.ndarray | None

    @property
    def gap(self) -> np.ndarray:
        """(m,) the part of the output that is unaccounted for, of the larger one at layer and input.

        In shares of the output (of 1, where the output is smaller than that of float32's rounding).
        """
        missing = np.abs(self.output - _total(self.layer) - self.absorbed - self.beside)
        if self.input is not None and self.below is not None:
            at_input = _total(self.input) + self.absorbed + self.below
            missing = np.maximum(missing, np.abs(self.output - at_input))
        found: np.ndarray = missing / np.maximum(np.abs(self.output), np.finfo(np.float32).tiny)
        return found

    @classmethod
    def unpacked(
        cls, rows: np.ndarray, layer: tuple[int, ...], pixels: tuple[int, ...] | None
    ) -> Relevance:
        """From one row an image, as :func:`relevance_rows` gives it; ``pixels`` None: no input."""
        at = NUMBERS + int(np.prod(layer))
        absorbed, output, beside, below = (np.ascontiguousarray(v) for v in rows[:, :NUMBERS].T)
        maps = rows[:, NUMBERS:at].reshape(len(rows), *layer)
        if pixels is None:
            return cls(maps, None, absorbed, output, beside, None)
        at_input = rows[:, at:].reshape(len(rows), *pixels)
        return cls(maps, at_input, absorbed, output, beside, below)


def _total(values: np.ndarray) -> np.ndarray:
    """Sum of each image."""
    total: np.ndarray = values.sum(tuple(range(1, values.ndim)), dtype=np.float64)
    return total


@dataclass(frozen=True)
class How:
    """How relevance is computed.

    Parameters
    ----------
    rules : Rules
    dtype : torch.float32 or torch.float64
        What is computed in; parameters are read in it, not changed.
    at_input : bool
        Whether to go on to the input. If not, what lies below the layer runs as it is, and may hold
        steps without a rule.
    """

    rules: Rules
    dtype: torch.dtype
    at_input: bool = True


def relevance_rows(
    model: nn.Module,
    layer: str,
    arrangement: Arrangement,
    x: torch.Tensor,
    target: Callable[[slice], Objective],
    how: How,
) -> np.ndarray:
    """One row an image: four numbers, the layer's relevance, the input's if it is asked for.

    Parameters
    ----------
    target : callable
        From a slice of the images to their :data:`Objective`.
    how : How

    Raises
    ------
    InvalidInput
        The network has a step without a rule, or relevance got lost.
    """
    if len(x) > 1:
        try:
            rows = _one_pass(model, layer, arrangement, x, target(slice(None)), how)
            if not _gaps(rows, arrangement, how).any():
                return rows
        except ImagesMixed:
            pass
    # Images that are not one after another on the first axis (sequences first, windows of a
    # transformer): what is absorbed can be told apart only where there is a single one.
    parts = []
    for i in range(len(x)):
        one = slice(i, i + 1)
        row = _one_pass(model, layer, arrangement, x[one], target(one), how)
        lost = _gaps(row, arrangement, how)
        if lost.any():
            raise InvalidInput(
                f"Relevance was not conserved in this network: {lost[0]:.2g} of it went missing "
                f"between the output and layer {layer!r} or the input. A step of the network does "
                "not do what its rule stands for (an operation in reduced precision, or one that "
                "changes values out of sight); use gradcam, occlusion or integrated_gradients."
            )
        parts.append(row)
    return np.concatenate(parts)


def class_target(
    target_class: int | Sequence[int] | np.ndarray | Objective,
    against: int | Sequence[int] | np.ndarray | None,
    images: int,
) -> Callable[[slice], Callable[[slice], Objective]]:
    """From the rows of a part, and the rows inside it, to the objective: a logit, or a difference."""
    if callable(target_class):
        if against is not None:
            raise InvalidInput("against= goes with a class, not with an objective of your own.")
        return lambda part: lambda rows: target_class
    chosen = np.broadcast_to(np.asarray(target_class, np.int64), (images,))
    if against is None:
        return lambda part: lambda rows: class_score(chosen[part][rows])
    other = np.broadcast_to(np.asarray(against, np.int64), (images,))

    def difference(part: slice, rows: slice) -> Objective:
        one, two = class_score(chosen[part][rows]), class_score(other[part][rows])
        return lambda scores: one(scores) - two(scores)

    return lambda part: lambda rows: difference(part, rows)


@dataclass
class _Cut:
    """One run of the layer: what it gave, and the leaf the network went on with."""

    given: torch.Tensor
    leaf: torch.Tensor
    c: torch.Tensor | None = None


def _one_pass(
    model: nn.Module,
    layer: str,
    arrangement: Arrangement,
    x: torch.Tensor,
    objective: Objective,
    how: How,
) -> np.ndarray:
    images, dtype = len(x), how.dtype
    reduced = torch.autocast(x.device.type, enabled=False)  # the caller's, if any
    with torch.inference_mode(False), torch.enable_grad(), reduced:
        # without the input, the network runs on plain numbers up to the layer
        pixels = x.detach().to(dtype).clone().requires_grad_(True) if how.at_input else None
        unit = torch.zeros(images, dtype=dtype, device=x.device, requires_grad=True)
        mode = Propagation(model, unit, how.rules, RULES, dtype)
        cuts: list[_Cut] = []

        def cut(_: str, output: Any) -> Any:
            with mode.paused():
                tensor = layer_tensor(layer, output)
                leaf = tensor.detach().to(dtype).clone().requires_grad_(True)
                # clones: the network may go on to change either in place
                cuts.append(_Cut(tensor.clone(), leaf))
                return with_tensor(output, tensor, mode.start(leaf, tensor))

        start = x.clone() if pixels is None else mode.start(pixels)
        with mode, hooked(model, [layer], cut):
            output = model(start)
        scores = scores_of(output, images)
        if not mode.is_signal(tensor_of(output)):
            raise InvalidInput(
                f"The network's scores do not depend on the image, or not on layer {layer!r}, by any "
                "way that relevance could follow: its forward pass detaches what it computes, or the "
                "layer serves another output."
            )
        c, chosen = _at_scores(scores, objective)
        back = _Back(cuts, pixels, unit, arrangement.batch_axis)
        absorbed, beside = back.from_output(scores, c), back.beside()
        below = torch.zeros_like(unit) if pixels is None else back.to_input()
        last = cuts[-1]
        relevance = torch.zeros_like(last.leaf) if last.c is None else last.leaf.detach() * last.c
        mapped = arrangement.apply(relevance, images, layer=layer).reshape(images, -1)
        whole = relevance.movedim(arrangement.batch_axis, 0).reshape(images, -1)
        beside = beside + whole.sum(1) - mapped.sum(1)
        packed = [torch.stack([absorbed, chosen, beside, below], 1), mapped]
        if pixels is not None:
            packed.append((pixels.detach() * back.at_pixels).reshape(images, -1))
    return np.asarray(torch.cat(packed, 1).cpu().numpy())


def _at_scores(scores: torch.Tensor, objective: Objective) -> tuple[torch.Tensor, torch.Tensor]:
    """Coefficients of the scores (m, n_classes), and the output that is shared out (m,)."""
    leaf = scores.detach().clone().requires_grad_(True)
    chosen = objective(leaf)
    if chosen.shape != (len(leaf),) or not chosen.requires_grad:
        raise InvalidInput(
            f"The objective gave {tuple(chosen.shape)} for {len(leaf)} images; one score each, "
            "computed from the logits, is needed."
        )
    (c,) = torch.autograd.grad(chosen.sum(), leaf)
    shares = leaf.detach() * c
    if ((shares.sum(1) - chosen).abs() > 1e-4 * (shares.abs().sum(1) + chosen.abs())).any():
        raise InvalidInput(
            "Relevance shares out a weighted sum of logits, and this objective is none. Give a "
            "class, or an objective such as lambda logits: logits[:, 1] - logits[:, 0]."
        )
    return c, chosen.detach()


def _gaps(rows: np.ndarray, arrangement: Arrangement, how: How) -> np.ndarray:
    """(m,) share of relevance that is missing where it is too much, else 0."""
    if not np.isfinite(rows).all():
        raise BadActivations(
            "Relevance is NaN or infinite: the network overflows for these images. Look at its "
            "activations with context.forward_to_layer(...), or raise epsilon=."
        )
    at = NUMBERS + int(np.prod(arrangement.shape))
    absorbed, output, beside, below = rows[:, :NUMBERS].T.astype(np.float64)
    scale = np.abs(rows[:, :NUMBERS]).max(1)
    missing = np.zeros(len(rows))
    parts = [(rows[:, NUMBERS:at], beside)] + ([(rows[:, at:], below)] if how.at_input else [])
    for values, rest in parts:
        gap = np.abs(output - values.sum(1, dtype=np.float64) - absorbed - rest)
        size = np.maximum(np.abs(values).sum(1, dtype=np.float64), scale)
        missing = np.maximum(missing, gap / np.maximum(size, np.finfo(np.float32).tiny))
    return np.where(missing > LARGEST_GAP[how.dtype], missing, 0)


class _Back:
    """The way back in parts: from the output to the layer's last run, and on from there."""

    def __init__(
        self, cuts: list[_Cut], pixels: torch.Tensor | None, unit: torch.Tensor, batch_axis: int
    ) -> None:
        self.cuts, self.unit = cuts, unit
        # without the input, a leaf that nothing comes from stands for it
        self.pixels = torch.zeros_like(unit, requires_grad=True) if pixels is None else pixels
        self.at_pixels = torch.zeros_like(self.pixels)
        self._axis = batch_axis

    def from_output(self, scores: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        """Coefficients at each cut and at the input by ways round it; gives what is absorbed."""
        return self._step(scores, c, self.cuts)

    def beside(self) -> torch.Tensor:
        """Relevance that reaches the output by other ways than the layer's last run."""
        total = (self.pixels.detach() * self.at_pixels).reshape(len(self.unit), -1).sum(1)
        for cut in self.cuts[:-1]:
            total = total + self._of(cut)
        return total

    def to_input(self) -> torch.Tensor:
        """On from the cuts, last run first; gives what is absorbed below the layer."""
        below = torch.zeros_like(self.unit)
        for i in range(len(self.cuts) - 1, -1, -1):
            cut = self.cuts[i]
            if cut.c is not None and cut.given.requires_grad:
                below = below + self._step(cut.given, cut.c, self.cuts[:i])
            else:  # what the layer gave does not depend on the images
                below = below + self._of(cut)
        return below

    def _of(self, cut: _Cut) -> torch.Tensor:
        """Relevance of each image in one run of the layer."""
        if cut.c is None:
            return torch.zeros_like(self.unit)
        values = (cut.leaf.detach() * cut.c).movedim(self._axis, 0)
        return values.reshape(len(self.unit), -1).sum(1)

    def _step(self, of: torch.Tensor, c: torch.Tensor, cuts: list[_Cut]) -> torch.Tensor:
        targets = [*(cut.leaf for cut in cuts), self.pixels, self.unit]
        try:
            found = torch.autograd.grad(
                of, targets, grad_outputs=c, retain_graph=True, allow_unused=True
            )
        except RuntimeError as error:
            if "inplace operation" not in str(error):
                raise
            raise InvalidInput(
                "The network changes in place values that relevance still needs on its way back. "
                "Build it with inplace=False where it has that option."
            ) from error
        for cut, gradient in zip(cuts, found, strict=False):
            if gradient is not None:
                cut.c = gradient if cut.c is None else cut.c + gradient
        if found[-2] is not None:
            self.at_pixels = self.at_pixels + found[-2]
        return torch.zeros_like(self.unit) if found[-1] is None else found[-1]
