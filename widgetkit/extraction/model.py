"""A network as map methods see it: arrays in, arrays out, and left as it was."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from widgetkit.errors import BadImage, ChannelMismatch, InvalidInput, StoreMismatch
from widgetkit.extraction._torch import nn, torch
from widgetkit.extraction.arrange import Arrangement, Layouts
from widgetkit.extraction.capture import (
    Probe,
    evaluation,
    probe,
    tensor_of,
    unwrap,
)
from widgetkit.extraction.device import (
    batch_that_fits,
    channels_last,
    choose_device,
    is_out_of_memory,
    reproducible,
)
from widgetkit.extraction.heads import Head, head_behind
from widgetkit.extraction.identity import model_identity
from widgetkit.extraction.layer_table import arrangement_of, resolve
from widgetkit.extraction.passes import (
    Objective,
    Route,
    activations_at,
    activations_until,
    class_score,
    find_route,
    gradient_at,
    gradient_towards,
    rest_from,
    scores_of,
)
from widgetkit.extraction.preprocess import Preprocess
from widgetkit.extraction.relevance import NUMBERS, How, Relevance, class_target, relevance_rows
from widgetkit.extraction.relevance_rules import RuleName, Rules

if TYPE_CHECKING:
    from widgetkit.store import ActivationStore

# The graph of a backward pass keeps about what each module took and gave.
GRADIENT_SHARE = 4
# Rules also compute each layer again, in parts, while the graph is held.
RELEVANCE_SHARE = 8


class ModelContext:
    """What map methods may ask of a network.

    Images come in as the store keeps them (uint8, or float between 0 and 255 after masking) and
    are preprocessed here. Every call runs the network in evaluation mode, a bounded batch at a
    time, and leaves hooks, training flags and gradients as they were. One call runs at a time;
    others wait.

    Parameters
    ----------
    model : nn.Module
    preprocess : Preprocess or mapping, optional
        Default: :meth:`Preprocess.suggest` for the first images seen.
    layer : str, optional
        Used where a call names none.
    class_names : sequence of str, optional
    device : str, default "auto"
        The network is moved there and stays, its convolution weights in channels-last order
        (the same values). ``"auto"``: CUDA where there is one.
    batch_size : int or "auto"
        Images at once. ``"auto"`` bounds the memory of a batch.
    layout : optional
        How to read layers whose axes cannot be told; see :class:`~widgetkit.extraction.Layout`.

    Raises
    ------
    InvalidInput
        Not a model, no such device, or a batch size below 1.
    UnknownLayer
        ``layer`` is not in the model.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        preprocess: Preprocess | Mapping[str, Any] | None = None,
        layer: str | None = None,
        class_names: Sequence[str] | None = None,
        device: str | torch.device = "auto",
        batch_size: int | Literal["auto"] = "auto",
        layout: Layouts = None,
    ) -> None:
        self._model = unwrap(model)
        self._device = choose_device(device)
        self._model.to(self._device)
        channels_last(self._model)
        self._preprocess = (
            Preprocess.from_dict(preprocess) if isinstance(preprocess, Mapping) else preprocess
        )
        self._layer = resolve(self._model, layer)[0] if layer is not None else None
        self.class_names = None if class_names is None else tuple(class_names)
        if batch_size != "auto" and (not isinstance(batch_size, int) or batch_size < 1):
            raise InvalidInput(f"batch_size={batch_size!r}: 'auto' or a number from 1.")
        self._batch_size = batch_size
        self._layout = layout
        self._lock = threading.RLock()
        self._inputs: dict[tuple[int, ...], tuple[int, ...]] = {}  # by the shape of an image
        self._probes: dict[tuple[int, ...], Probe] = {}
        self._examples: dict[tuple[int, ...], torch.Tensor] = {}
        self._arrangements: dict[tuple[str, tuple[int, ...]], Arrangement] = {}
        self._routes: dict[tuple[str, tuple[int, ...]], Route] = {}
        self._latest: tuple[int, ...] | None = None
        self._first: Callable[[], np.ndarray] | None = None  # two images of the store

    @classmethod
    def for_store(
        cls, model: nn.Module, store: ActivationStore, *, check: bool = True, **options: Any
    ) -> ModelContext:
        """The network a store was made with, with the store's preprocessing and class names.

        Parameters
        ----------
        model : nn.Module
        store : ActivationStore
        check : bool
            Compare the weights with those recorded.
        **options
            As for the class.

        Raises
        ------
        StoreMismatch
            The weights are not those the store was made with.
        """
        recorded = store.manifest.model.get("weights_hash")
        if check and recorded is not None:
            found = model_identity(model)
            if found["weights_hash"] != recorded:
                raise StoreMismatch(
                    f"The store was made with {store.manifest.model.get('class')}, weights "
                    f"{str(recorded)[:12]}; this is {found['class']}, weights "
                    f"{found['weights_hash'][:12]}. Load the weights of the extraction, or extract "
                    "again with this network."
                )
        options.setdefault("preprocess", store.manifest.preprocess or None)
        options.setdefault("class_names", store.class_names)
        options.setdefault("layer", store.default_layer)
        context = cls(model, **options)
        if store.image_shape is not None and len(store):
            context._first = lambda: store.images(range(min(2, len(store))))
        return context

    # -- what it is ----------------------------------------------------------------------
    @property
    def model(self) -> nn.Module:
        """The network itself."""
        return self._model

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def layer(self) -> str | None:
        """The layer of calls that name none."""
        return self._layer

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all layers."""
        return tuple(name for name, _ in self._model.named_modules() if name)

    @property
    def preprocess(self) -> Preprocess | None:
        """The preprocessing; None until images were seen, if none was given."""
        return self._preprocess

    def identity(self) -> dict[str, Any]:
        """Class, hash of the weights, number of parameters: :func:`model_identity`."""
        return model_identity(self._model)

    def __repr__(self) -> str:
        return f"<ModelContext: {type(self._model).__name__} on {self._device}>"

    # -- forward -------------------------------------------------------------------------
    def forward_to_layer(self, images: np.ndarray, layer: str | None = None) -> np.ndarray:
        """Activations of a layer.

        What comes after the layer is not run, unless the layer is called more than once: then the
        last call's are given.

        Parameters
        ----------
        images : (m, H, W[, 3]) or (m, D, H, W[, 3]) uint8 or float 0..255
        layer : str, optional
            Default: :attr:`layer`.

        Returns
        -------
        (m, C, *grid) float32
            ``(m, C)`` for a layer with one vector an image.

        Raises
        ------
        UnknownLayer, NoSpatialOutput, BadImage
        """
        name = self._named(layer)
        with self._running():
            arrangement = self._arrangement(name, images)
            once = self._probes[self._shape()].seen[name].calls == 1

            def run(x: torch.Tensor) -> np.ndarray:
                if once:
                    return _numpy(activations_until(self._model, name, arrangement, x))
                return _numpy(activations_at(self._model, name, arrangement, x)[0])

            return self._over_images(images, run, empty=arrangement.shape)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """The network's output for each image, before any softmax.

        Returns
        -------
        (m, n_classes) float32

        Raises
        ------
        InvalidInput
            The network gives no row of scores an image.
        """
        with self._running():

            def run(x: torch.Tensor) -> np.ndarray:
                with torch.inference_mode():
                    return _numpy(scores_of(self._model(x), len(x)))

            return self._over_images(images, run, empty=(0,))

    def logits_masked(
        self,
        images: np.ndarray,
        masks: np.ndarray,
        *,
        baseline: float | Literal["mean"] = "mean",
        check: Callable[[], None] | None = None,
    ) -> np.ndarray:
        """Logits of every image under every mask, without ever holding all masked images.

        Parameters
        ----------
        images : (m, *spatial[, 3])
        masks : (k, *spatial) or (m, k, *spatial) float in [0, 1]
            1 keeps a pixel, 0 puts the baseline there, between mixes the two.
        baseline : float or "mean"
            A value in the images' range, or each image's own mean colour.
        check : callable, optional
            Called before each batch; may raise to stop.

        Returns
        -------
        (m, k, n_classes) float32

        Raises
        ------
        InvalidInput
            Masks do not fit the images.
        """
        pictures = np.asarray(images)
        colour = pictures.ndim >= 4 and pictures.shape[-1] == 3
        spatial = pictures.shape[1:-1] if colour else pictures.shape[1:]
        per_image = masks.ndim == len(spatial) + 2
        if masks.shape[-len(spatial) :] != spatial or not (
            (per_image and masks.shape[0] == len(pictures)) or masks.ndim == len(spatial) + 1
        ):
            raise InvalidInput(
                f"Masks of shape {masks.shape} do not fit images of {pictures.shape}: (k, "
                f"{', '.join(map(str, spatial))}), or the same after the number of images."
            )
        count = masks.shape[1 if per_image else 0]
        axes = tuple(range(1, 1 + len(spatial)))
        if baseline == "mean":
            fill = pictures.mean(axis=axes, keepdims=True, dtype=np.float64).astype(np.float32)
        else:
            fill = np.full((len(pictures), *[1] * (pictures.ndim - 1)), baseline, np.float32)
        total = len(pictures) * count
        step = self.batch_for(pictures) if total else 1
        results = []
        for start in range(0, total, step):
            if check is not None:
                check()
            image, mask = np.divmod(np.arange(start, min(start + step, total)), count)
            kept = (masks[image, mask] if per_image else masks[mask]).astype(np.float32)
            kept = kept[..., None] if colour else kept
            results.append(
                self.logits(pictures[image].astype(np.float32) * kept + fill[image] * (1 - kept))
            )
        if not results:
            return np.zeros((len(pictures), count, 0), np.float32)
        return np.concatenate(results).reshape(len(pictures), count, -1)

    def head_from_layer(
        self,
        activations: np.ndarray,
        layer: str | None = None,
        *,
        images: np.ndarray | None = None,
    ) -> np.ndarray:
        """Run the rest of the network from activations of a layer.

        The layer's output is exchanged while the network runs on something else: on an empty image
        where everything after the layer depends on the layer alone (found out once, by trying),
        else on ``images``.

        Parameters
        ----------
        activations : (m, C, *grid)
        layer : str, optional
            Default: :attr:`layer`.
        images : (m, ...), optional
            The images the activations belong to. Needed where the rest also reads something else:
            a connection round the layer (U-Net), or class and register tokens, which activations
            do not hold.

        Returns
        -------
        (m, n_classes) float32

        Raises
        ------
        InvalidInput
            ``images`` are needed and were not given, or no image was ever seen and there is no store to
            look at one in (then the size of an empty one is not known either).
        ChannelMismatch
            The activations have another shape than the layer.
        """
        name = self._named(layer)
        with self._running():
            if images is None and self._latest is None:
                if self._first is None:
                    raise InvalidInput(
                        "head_from_layer needs the size of an image, and this context has seen none. Call "
                        "logits(images) once, or pass images=, those the activations belong to. A "
                        "context of ModelContext.for_store takes it from the store's images."
                    )
                self._see(self._first())
            arrangement = self._arrangement(name, images)
            values = np.asarray(activations)
            if values.shape[1:] != arrangement.shape:
                raise ChannelMismatch(
                    f"Activations {values.shape} for layer {name!r}, which gives (m, "
                    f"{', '.join(map(str, arrangement.shape))})."
                )
            if images is not None and len(images) != len(values):
                raise InvalidInput(f"{len(images)} images for {len(values)} activations.")
            route: Route = "images" if images is not None else self._route(name)
            if route == "images" and images is None:
                raise InvalidInput(
                    f"What comes after layer {name!r} also depends on other parts of the network "
                    "(tokens, or a connection round the layer). Pass images=, those the activations "
                    "belong to."
                )
            one = self._examples[self._shape()][:1]

            def run(rows: slice) -> np.ndarray:
                a = torch.from_numpy(np.ascontiguousarray(values[rows], dtype=np.float32))
                if images is not None:
                    x = self._input(images[rows])
                else:
                    x = torch.zeros_like(
                        one if route == "one" else one.expand(len(a), *one.shape[1:])
                    )
                return _numpy(rest_from(self._model, name, arrangement, a.to(self._device), x))

            width = tensor_of(self._probes[self._shape()].output)
            empty = (0 if width is None else int(width.shape[1]),)
            return self._batched(len(values), self._auto(), run, empty)

    # -- gradients -----------------------------------------------------------------------
    def activations_and_gradients(
        self,
        images: np.ndarray,
        layer: str | None = None,
        target_class: int | Sequence[int] | np.ndarray | Objective = 0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Activations of a layer and the gradient of a score by them.

        Parameters
        ----------
        images : (m, ...) uint8 or float 0..255
        layer : str, optional
            Default: :attr:`layer`.
        target_class : int, (m,) int, or callable
            Whose logit the gradient is of: one class, one for each image, or an objective that
            takes the logits ``(b, n_classes)`` (a tensor) and gives one score an image ``(b,)``.

        Returns
        -------
        A, dA : (m, C, *grid) float32
            The gradient is zero where the score does not depend on the layer.

        Raises
        ------
        InvalidInput
            No such class, or a network that switches gradients off.
        """
        name = self._named(layer)
        pictures = np.asarray(images)
        if not callable(target_class):
            target_class = np.broadcast_to(np.asarray(target_class, np.int64), len(pictures))
        with self._running():
            arrangement = self._arrangement(name, pictures)

            def run(rows: slice) -> np.ndarray:
                x = self._input(pictures[rows])
                objective = (
                    target_class if callable(target_class) else class_score(target_class[rows])
                )
                leaf, gradient = gradient_at(self._model, name, x, objective)
                pair = [arrangement.apply(t, len(x), layer=name).float() for t in (leaf, gradient)]
                return _numpy(torch.stack(pair, dim=1))

            size = max(1, self._auto() // GRADIENT_SHARE)
            both = self._batched(len(pictures), size, run, (2, *arrangement.shape))
        return np.ascontiguousarray(both[:, 0]), np.ascontiguousarray(both[:, 1])

    def gradients_towards(
        self, images: np.ndarray, layer: str | None, at: str, direction: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Activations of a layer and the gradient of ``h . direction`` by them.

        Parameters
        ----------
        images : (m, ...) uint8 or float 0..255
        layer : str or None
            None: :attr:`layer`.
        at : str
            The layer that gives ``h``: one that comes later, or the same.
        direction : (d,) float
            As long as ``h``: a vector an image; the mean over the grid of maps, where ``d`` is the number
            of channels; or flattened maps.

        Returns
        -------
        A, dA : (m, C, *grid) float32

        Raises
        ------
        UnknownLayer, ChannelMismatch
            No such layer, or a direction of another length.
        InvalidInput
            ``at`` does not depend on ``layer``, or the direction is no finite vector.
        """
        name, end = self._named(layer), self._named(at)
        pictures = np.asarray(images)
        vector = np.asarray(direction, np.float32)
        if vector.ndim != 1 or not np.isfinite(vector).all():
            raise InvalidInput(
                f"The direction must be one vector (d,) without NaN or infinity; got shape {vector.shape}."
            )
        with self._running():
            arrangement = self._arrangement(name, pictures)
            later = self._arrangement(end, None)

            def run(rows: slice) -> np.ndarray:
                x = self._input(pictures[rows])
                v = torch.from_numpy(vector).to(x.device)
                leaf, gradient = gradient_towards(self._model, name, end, later, x, v)
                pair = [arrangement.apply(t, len(x), layer=name).float() for t in (leaf, gradient)]
                return _numpy(torch.stack(pair, dim=1))

            size = max(1, self._auto() // GRADIENT_SHARE)
            both = self._batched(len(pictures), size, run, (2, *arrangement.shape))
        return np.ascontiguousarray(both[:, 0]), np.ascontiguousarray(both[:, 1])

    def relevance(
        self,
        images: np.ndarray,
        layer: str | None = None,
        target_class: int | Sequence[int] | np.ndarray | Objective = 0,
        *,
        against: int | Sequence[int] | np.ndarray | None = None,
        rule: RuleName = "composite",
        epsilon: float = 1e-6,
        gamma: float = 0.25,
        at_input: bool = True,
        double: bool = False,
    ) -> Relevance:
        """A logit shared out over a layer and over the input, by layer-wise relevance propagation.

        Parameters
        ----------
        images : (m, ...) uint8 or float 0..255
        layer : str, optional
            Default: :attr:`layer`.
        target_class : int, (m,) int, or callable
            As for :meth:`activations_and_gradients`; a callable must be a weighted sum of logits.
        against : int or (m,) int, optional
            Share out the logit less that of this class.
        rule : {"composite", "epsilon", "zplus", "gamma"}
            For all layers with weights, or z+ for convolutions and epsilon for dense layers
            (``"composite"``). ``docs/relevance.md`` has the formulas.
        epsilon : float
            Added to denominators, away from zero, in units of each layer's output.
        gamma : float
            Extra weight of positive contributions, for ``"gamma"``.
        at_input : bool
            Go on from the layer to the input. False spares that part, which then may hold steps that
            have no rule, and counts what comes round the layer as absorbed.
        double : bool
            Compute in float64; parameters stay as they are.

        Returns
        -------
        Relevance
            Float32, or float64 with ``double``.

        Raises
        ------
        InvalidInput
            No such class or rule, or a step of the network that has no rule (it is named).
        """
        name = self._named(layer)
        pictures = np.asarray(images)
        how = How(
            Rules.named(rule, epsilon=epsilon, gamma=gamma),
            torch.float64 if double else torch.float32,
            at_input,
        )
        target = class_target(target_class, against, len(pictures))
        with self._running():
            arrangement = self._arrangement(name, pictures)

            def run(rows: slice) -> np.ndarray:
                x = self._input(pictures[rows])
                return relevance_rows(self._model, name, arrangement, x, target(rows), how)

            pixels = self._shape() if at_input else None
            width = NUMBERS + int(np.prod(arrangement.shape)) + int(np.prod(pixels or 0))
            size = max(1, self._auto() // RELEVANCE_SHARE)
            packed = self._batched(len(pictures), size, run, (width,))
            return Relevance.unpacked(packed, arrangement.shape, pixels)

    # -- the linear head -----------------------------------------------------------------
    def linear_head(self, images: np.ndarray, layer: str | None = None) -> Head | None:
        """Weights ``(n_classes, C)`` and bias, if one linear layer follows the pooled layer.

        ``images`` are what that is checked on. See :func:`widgetkit.extraction.linear_head`.
        """
        name = self._named(layer)
        with self._running():
            arrangement = self._arrangement(name, images)
            return head_behind(self._model, name, arrangement, self._input(images))

    # -- inside --------------------------------------------------------------------------
    @contextmanager
    def _running(self) -> Iterator[None]:
        with self._lock, evaluation(self._model), reproducible():
            yield

    def _named(self, layer: str | None) -> str:
        name = layer if layer is not None else self._layer
        if name is None:
            raise InvalidInput("No layer: pass layer=, or give ModelContext one.")
        return resolve(self._model, name)[0]

    def _input(self, images: np.ndarray) -> torch.Tensor:
        """The network's input, on its device and in its dtype."""
        pictures = np.asarray(images)
        if self._preprocess is None:
            self._preprocess = Preprocess.suggest(pictures.shape[1:], np.uint8, self._model)
        tiles = self._preprocess.from_pictures(pictures)
        x = self._preprocess(tiles, device=self._device)
        parameter = next((p for p in self._model.parameters() if p.is_floating_point()), None)
        return x if parameter is None else x.to(parameter.dtype)

    def _see(self, images: np.ndarray) -> None:
        """Watch every layer once for images of this shape."""
        if len(images) == 0:
            raise BadImage("No image was given, and none was seen before: shapes are not known.")
        given = tuple(images.shape[1:])
        if given not in self._inputs:  # preprocessing makes the same shape of the same shape
            x = self._input(images[:2])
            shape = tuple(x.shape[1:])
            if shape not in self._probes:
                self._probes[shape] = probe(self._model, x)
                self._examples[shape] = x
            self._inputs[given] = shape
        self._latest = self._inputs[given]

    def _shape(self) -> tuple[int, ...]:
        assert self._latest is not None
        return self._latest

    def _arrangement(self, name: str, images: np.ndarray | None) -> Arrangement:
        if images is not None and (len(images) or self._latest is None):
            self._see(np.asarray(images))
        key = (name, self._shape())
        if key not in self._arrangements:
            ran = self._probes[self._shape()]
            self._arrangements[key] = arrangement_of(self._model, name, ran, self._layout)
        return self._arrangements[key]

    def _route(self, name: str) -> Route:
        """How the rest can be run: on one empty image, on as many as activations, or not at all.

        Found by comparing with the logits of two real images; "one" spares the first part of the
        network for all but one image.
        """
        key = (name, self._shape())
        if key not in self._routes:
            self._routes[key] = find_route(
                self._model, name, self._arrangements[key], self._examples[self._shape()]
            )
        return self._routes[key]

    def batch_for(self, images: np.ndarray) -> int:
        """Images that are run at once, for images of this shape."""
        with self._running():
            self._see(np.asarray(images))
            return self._auto()

    def _auto(self) -> int:
        if self._batch_size != "auto":
            return self._batch_size
        shape = self._shape()
        pixels = int(np.prod(shape[1:]))
        return batch_that_fits(self._device, pixels, self._probes[shape].peak_bytes)

    def _over_images(
        self, images: np.ndarray, run: Callable[[torch.Tensor], np.ndarray], empty: tuple[int, ...]
    ) -> np.ndarray:
        pictures = np.asarray(images)
        if len(pictures):
            self._see(pictures)
        size = self._auto() if self._latest is not None else 1
        return self._batched(
            len(pictures), size, lambda rows: run(self._input(pictures[rows])), empty
        )

    def _batched(
        self,
        count: int,
        size: int,
        run: Callable[[slice], np.ndarray],
        empty: tuple[int, ...],
    ) -> np.ndarray:
        """``run`` over all rows in parts; parts are halved where the device's memory ends."""
        results: list[np.ndarray] = []
        start = 0
        while start < count:
            try:
                results.append(run(slice(start, min(start + size, count))))
            except RuntimeError as error:
                if not is_out_of_memory(error) or size == 1:
                    raise
                size //= 2
                torch.cuda.empty_cache()
                continue
            start += size
        return np.concatenate(results) if results else np.zeros((0, *empty), np.float32)


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    values: np.ndarray = tensor.detach().float().cpu().numpy()
    return values
