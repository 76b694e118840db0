"""What a network says of the tiles, which concepts its classes show, and where it errs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from widgetkit import concepts as room
from widgetkit.concepts import ConceptSet
from widgetkit.errors import InvalidInput

if TYPE_CHECKING:
    import pandas as pd

    from widgetkit.concepts import ErrorDetection
    from widgetkit.store import ActivationStore

Mask = npt.NDArray[np.bool_]

#: Share of a class's labelled tiles that must show a concept for the class to be said to show it.
SHARE = 0.1
#: Column of the tiles that says their class.
LABEL = "label"


@dataclass(frozen=True)
class Network:
    """What a store holds of the network's answers.

    Attributes
    ----------
    classes : (K,)
    predicted : (n,) int, or None without outputs of at least two classes
    probabilities : (n, K) float32, or None
    truth : (n,) int or None
        Class that each tile's label names, -1 where it names none; None where none does.
    """

    classes: tuple[str, ...]
    predicted: npt.NDArray[np.intp] | None = field(repr=False)
    probabilities: npt.NDArray[np.float32] | None = field(repr=False)
    truth: npt.NDArray[np.intp] | None = field(repr=False)


def network_of(store: ActivationStore) -> Network:
    """Of a store's outputs, class names and column ``label``."""
    logits = store.outputs
    if logits is None or logits.shape[1] < 2:
        return Network((), None, None, None)
    classes = store.class_names or tuple(f"class {k}" for k in range(logits.shape[1]))
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = (shifted / shifted.sum(axis=1, keepdims=True)).astype(np.float32)
    truth = None
    if LABEL in store.tiles.columns:
        places = {name: k for k, name in enumerate(classes)}
        named = [places.get(str(value), -1) for value in store.tiles[LABEL]]
        found = np.array(named, np.intp)
        truth = found if (found >= 0).any() else None
    return Network(tuple(classes), logits.argmax(axis=1), probabilities, truth)


def with_classes(
    concepts: ConceptSet, network: Network, labels: npt.NDArray[np.int8], learned: Mask
) -> tuple[ConceptSet, Mask | None, list[str]]:
    """The set with classes, which concepts the network's classes show, and what has to be known of it.

    Where nobody said, a class shows what at least ``SHARE`` of its labelled tiles do, of those that are
    learned from.

    Returns
    -------
    concepts : ConceptSet
    shown : (K, F) bool, or None
    notes : list of str
    """
    if network.predicted is None:
        return concepts, None, ["The store holds no predictions: nothing can contradict a class."]
    if concepts.class_concepts is not None:
        places = {name: at for at, name in enumerate(concepts.classes)}
        lacking = [name for name in network.classes if name not in places]
        if lacking:
            return (
                concepts,
                None,
                [
                    f"The concepts say nothing of class {lacking[0]!r}: what contradicts a class is not known. Say "
                    "it of every class: concepts.with_class_concepts(...)."
                ],
            )
        return concepts, concepts.class_concepts[[places[name] for name in network.classes]], []
    if network.truth is None:
        return (
            concepts,
            None,
            [
                "Nobody said which class shows which concept: what contradicts a class is not known. Say it: "
                "concepts.with_class_concepts(...)."
            ],
        )
    shown = np.zeros((len(network.classes), len(concepts)), np.bool_)
    for k in range(len(network.classes)):
        own = labels[learned & (network.truth == k)]
        count = (own >= 0).sum(axis=0)
        shown[k] = (count > 0) & ((own == 1).sum(axis=0) >= SHARE * np.maximum(count, 1))
    note = (
        f"Nobody said which class shows which concept: taken to be so where at least {SHARE:.0%} of a class's "
        "labelled tiles that are learned from show it. Where these are judged as well, consistency and "
        "contradictions look better than they are."
    )
    try:
        return concepts.with_class_concepts(shown, network.classes), shown, [note]
    except InvalidInput as problem:  # the store's class names are not ours to mend
        unknown = "What contradicts a class is not known: the names of the network's classes cannot be used."
        return concepts, None, [f"{unknown} {problem}"]


def about_errors(
    present: Mask,
    labels: npt.NDArray[np.float64],
    correct: Mask,
    patients: npt.NDArray[np.intp] | None,
    consistency: npt.NDArray[np.float64] | None,
    probabilities: npt.NDArray[np.float32] | None,
    *,
    n_boot: int,
    seed: int,
) -> tuple[pd.DataFrame, ErrorDetection | None]:
    """Concepts in rightly and in wrongly classified tiles, and what tells the two apart.

    Parameters
    ----------
    present, labels : (m, F)
    correct : (m,) bool
    patients, consistency : (m,) or None
    probabilities : (m, K) or None
    """
    quality = room.explanation_quality(present, labels, correct, patients, n_boot=n_boot, seed=seed)
    scores = {} if consistency is None else {"consistency": consistency}
    if probabilities is not None:
        scores["confidence"] = probabilities.max(axis=1).astype(np.float64)
    if not scores:
        return quality, None
    return quality, room.error_detection(scores, correct, patients, n_boot=n_boot, seed=seed)
