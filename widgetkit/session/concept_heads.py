"""What comes after a layer, for the relevance of concepts: a linear classifier, or the rest of the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from widgetkit.errors import ChannelMismatch, InvalidInput

if TYPE_CHECKING:
    from widgetkit.concepts.relevance import Head
    from widgetkit.explain import Model
    from widgetkit.session.concept_classes import Network
    from widgetkit.store import ActivationStore

Array = npt.NDArray[np.float64]
#: What follows the layer: a linear classifier that the store holds; more, which the session's network can be run
#: on from; or nobody knows.
HeadKind = Literal["linear", "network", "none"]


def head_kind(store: ActivationStore, layer: str, model: Model | None) -> HeadKind:
    """How what follows a layer can be asked what it makes of the activations."""
    if store.head(layer) is not None:
        return "linear"
    able = model is not None and hasattr(model, "head_from_layer") and store.has_images
    return "network" if able and not store.layers[layer].has_maps else "none"


def head_of(
    store: ActivationStore,
    layer: str,
    kind: HeadKind,
    network: Network,
    notes: list[str],
    *,
    model: Model | None,
    check: Callable[[], None],
) -> Head | None:
    """The linear head that the store holds, else the rest of the network; None where there is neither.

    What is to be known of it is added to ``notes``. ``check`` is called before each run of the network.
    """
    linear = store.head(layer)
    fits = network.predicted is not None and linear is not None
    if fits and linear is not None and len(linear[1]) == len(network.classes):
        return linear
    if kind == "network" and model is not None and network.predicted is not None:
        context: Any = model

        def rest(activations: Array) -> npt.NDArray[Any]:
            check()
            found: npt.NDArray[Any] = context.head_from_layer(activations.astype(np.float32), layer)
            return found

        try:
            context.logits(store.images([0]))  # it has to know the size of an image
            rest(store.embeddings(layer)[:1].astype(np.float64))
        except (InvalidInput, ChannelMismatch) as problem:
            notes.append(f"What a concept counts for the class is not known. {problem}")
            return None
        notes.append(
            f"More than a linear classifier follows layer {layer!r}: relevance is the drop of the logit "
            "when the network is run on without the concept, and does not add up exactly."
        )
        return rest
    notes.append(
        f"The store holds no linear classifier on layer {layer!r}, so what a concept counts for "
        "the class is not known. Read a layer that the classifier sits on, or pass the network: "
        "wk.Session(store, model)."
    )
    return None
