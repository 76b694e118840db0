"""The rest of a network behind a layer, fed with changed activations of a store's tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from widgetkit.errors import (
    BadActivations,
    InvalidInput,
    NeedsModel,
    StoreMismatch,
    UnknownName,
    near,
)
from widgetkit.explain.base import short_list

if TYPE_CHECKING:
    from widgetkit.store import ActivationStore

Logits = npt.NDArray[np.float64]
_NAMES_MOST = 12


class Network(Protocol):
    """What is asked of a network here; ``widgetkit.extraction.ModelContext`` is one."""

    def logits(self, images: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Output before any softmax, ``(m, n_classes)``."""

    def head_from_layer(
        self,
        activations: npt.NDArray[Any],
        layer: str | None = None,
        *,
        images: npt.NDArray[Any] | None = None,
    ) -> npt.NDArray[Any]:
        """Logits from activations ``(m, C, *grid)`` of a layer; ``images`` where the rest reads them."""


class Head(Protocol):
    """Logits ``(b, n_classes)`` from activations ``(b, C, *grid)`` of the tiles ``rows`` (b,)."""

    def __call__(self, activations: npt.NDArray[Any], rows: npt.NDArray[Any], /) -> Logits: ...


class Rest:
    """:class:`Head` of a store's layer, with every answer checked.

    Where what follows the layer also reads something else (class tokens, a connection round the
    layer), the tiles' own images are run with the layer's output exchanged: the other ways through
    the network then keep their say, and ``note`` says so.

    Raises
    ------
    NeedsModel
        ``model`` cannot run on from a layer.
    StoreMismatch
        Its weights are not those the store was made with.
    InvalidInput
        The rest cannot be run alone and the store has no images.
    """

    def __init__(self, model: Network, store: ActivationStore, layer: str) -> None:
        if not callable(getattr(model, "head_from_layer", None)):
            raise NeedsModel(
                f"Running the network on from layer {layer!r} needs a ModelContext, and a "
                f"{type(model).__name__} was given: ModelContext.for_store(network, store)."
            )
        check_weights(model, store)
        self._model, self._store, self._layer = model, store, layer
        self._with_images: bool | None = None
        self.note = ""

    def __call__(self, activations: npt.NDArray[Any], rows: npt.NDArray[Any], /) -> Logits:
        if self._with_images is None and len(rows):
            self._with_images = self._find_out(activations[:1], rows[:1])
        images = self._images(rows) if self._with_images else None
        found = self._model.head_from_layer(activations, self._layer, images=images)
        return checked(found, rows, self._layer)

    def _find_out(self, activations: npt.NDArray[Any], rows: npt.NDArray[Any]) -> bool:
        """Whether images are needed; also lets the model see the size of this store's images."""
        if self._store.has_images:
            self._model.logits(self._images(rows))
        try:
            self._model.head_from_layer(activations, self._layer)
        except InvalidInput as error:
            if not self._store.has_images:
                raise InvalidInput(
                    f"What follows layer {self._layer!r} cannot be run from its activations alone, and "
                    f"store {self._store.path.name} has no images to run it with. {error} Choose a later "
                    "layer, or extract again with images."
                ) from error
            self._model.head_from_layer(activations, self._layer, images=self._images(rows))
            self.note = (
                f"The network also reads something that layer {self._layer!r} does not hold; those "
                "parts came from the tiles' own images and were not changed."
            )
            return True
        return False

    def _images(self, rows: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        different, back = np.unique(rows, return_inverse=True)
        return self._store.images(different)[back.reshape(-1)]


def check_weights(model: object, store: ActivationStore) -> None:
    """StoreMismatch unless the network's weights are those recorded in the store."""
    recorded = store.manifest.model.get("weights_hash")
    identity = getattr(model, "identity", None)
    if recorded is None or not callable(identity):
        return
    found = identity()
    if found["weights_hash"] != recorded:
        raise StoreMismatch(
            f"The store was made with {store.manifest.model.get('class')}, weights "
            f"{str(recorded)[:12]}; this is {found['class']}, weights {found['weights_hash'][:12]}. "
            "Load the weights of the extraction: ModelContext.for_store(network, store)."
        )


def checked(logits: npt.NDArray[Any], rows: npt.NDArray[Any], layer: str = "") -> Logits:
    """Logits as ``(b, n_classes)`` float64, finite."""
    values = np.asarray(logits, np.float64)
    if values.ndim != 2 or len(values) != len(rows) or values.shape[1] == 0:
        raise InvalidInput(
            f"The network gave an output of shape {values.shape} for {len(rows)} tiles; importance of "
            "factors needs (m, n_classes)."
        )
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        where = f" behind layer {layer!r}" if layer else ""
        raise BadActivations(
            f"The network{where} gave NaN or infinity as a logit for tiles "
            f"{short_list(np.unique(np.asarray(rows)[bad]))}: it overflows on these activations. Leave "
            "these tiles out with rows=, or use the network in float32."
        )
    return values


def class_index(target: int | str, classes: int, names: Sequence[str] | None = None) -> int:
    """The number of a class given by number or by name.

    Raises
    ------
    InvalidInput
        No such number; the classes are listed.
    UnknownName
        No such name; near ones are listed.
    """
    known = list(names or ())
    if isinstance(target, str):
        if target not in known:
            raise UnknownName(
                f"There is no class {target!r}. {near(target, known) or listed(known)}"
                if known
                else f"Class {target!r} was asked for by name, and the store has no class names. "
                f"Use a number below {classes}."
            )
        return known.index(target)
    if isinstance(target, bool) or not isinstance(target, int | np.integer):
        raise InvalidInput(f"target_class is {target!r}: a number from 0, or the name of a class.")
    if not 0 <= target < classes:
        raise InvalidInput(
            f"Class {target} is not one of the network's {classes} classes"
            + (f": {listed(known)}" if known else f" (0 to {classes - 1}).")
        )
    return int(target)


def listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"{i} {name!r}" for i, name in enumerate(names[:_NAMES_MOST]))
    return shown + (f", ... ({len(names)})." if len(names) > _NAMES_MOST else ".")


def class_scores(logits: Logits, index: int) -> Logits:
    """Logit and probability of one class, ``(b, 2)``: softmax, or the logistic function of a single
    output."""
    if logits.shape[1] == 1:
        other = np.zeros_like(logits[:, 0])
        probability = np.exp(logits[:, 0] - np.logaddexp(logits[:, 0], other))
    else:
        top = logits.max(axis=1, keepdims=True)
        raised = np.exp(logits - top)
        probability = raised[:, index] / raised.sum(axis=1)
    return np.stack([logits[:, index], probability], axis=1)
