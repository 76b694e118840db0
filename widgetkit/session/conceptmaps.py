"""Concepts of a session as map methods take them: targets, and which concept each tile's map is of."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from widgetkit import explain
from widgetkit.errors import InvalidInput, TooFew

if TYPE_CHECKING:
    from widgetkit.concepts import ConceptSet
    from widgetkit.explain import ConceptProfiles, ConceptTarget
    from widgetkit.session.concept_reading import ConceptReading
    from widgetkit.session.layerstats import StatsOfLayers
    from widgetkit.store import ActivationStore

#: Examples of a concept whose activations are averaged: 200 of 512 x 7 x 7 are 10 MB.
EXAMPLES_MOST = 200
#: Sets of concepts whose targets are kept: undo and redo between two edits reads nothing again.
_SETS_MOST = 4
#: How directions are found: part of what kept maps are known by.
_HOW = "shrunk discriminant 0.5"


@dataclass(frozen=True, eq=False)
class ConceptsNow:
    """Concepts that maps can be asked of; values only, so that a job may hold it."""

    concepts: ConceptSet
    reading: ConceptReading | None
    targets: ConceptTargets

    @property
    def drawable(self) -> npt.NDArray[np.intp]:
        """Concepts that have examples, from 0."""
        return np.flatnonzero(self.concepts.counts[:, 0])

    def check(self, number: int) -> int:
        """``number`` if it is a concept that can be drawn.

        Raises
        ------
        InvalidInput
            There is no such concept.
        TooFew
            It has no example.
        """
        names = self.concepts.names
        if not 0 <= number < len(names):
            raise InvalidInput(f"There is no concept {number}; there are {len(names)}, from 0.")
        if not self.concepts.counts[number, 0]:
            raise TooFew(
                f"Concept {names[number]!r} has no example, so there is nothing to draw it by. Select tiles "
                f"that show it, and session.save_as_concept({names[number]!r})."
            )
        return number

    def own(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """(m,) the concept that each tile's map is of where none is asked for; -1 for none.

        The strongest that the reading identified in the tile; without a reading the first that the
        tile is an example of.
        """
        if self.reading is None:
            shown = self.concepts.labels[rows] == 1
            return np.where(shown.any(axis=1), shown.argmax(axis=1), -1).astype(np.int64)
        seen = self.reading.identified
        present = seen.present[rows] & (self.concepts.counts[:, 0] > 0)
        strength = np.where(present, seen.strength[rows], -np.inf)
        return np.where(present.any(axis=1), strength.argmax(axis=1), -1).astype(np.int64)

    @property
    def own_words(self) -> str:
        """What :meth:`own` gives, in words."""
        return (
            "the first concept that each tile is an example of"
            if self.reading is None
            else "each tile's strongest concept"
        )

    def target(self, number: int, layer: str) -> ConceptTarget:
        """Concept ``number`` on a layer."""
        return self.targets.target(self.concepts, self.check(number), layer)

    def digests(self, layer: str) -> dict[int, str]:
        """What kept maps of each drawable concept are known by; reads no activations."""
        at = towards_layer(self.targets.store, layer)
        return {int(f): _bare(self.concepts, int(f), at).digest for f in self.drawable}


class ConceptTargets:
    """Targets of concepts, made when first asked for and kept for the last few sets."""

    def __init__(self, store: ActivationStore, stats: StatsOfLayers) -> None:
        self.store = store
        self._stats = stats
        self._lock = threading.Lock()  # a job of maps asks from its own thread
        self._known: dict[tuple[str, str], dict[int, ConceptTarget]] = {}
        self._profiles: dict[tuple[str, str], ConceptProfiles] = {}

    def target(self, concepts: ConceptSet, number: int, layer: str) -> ConceptTarget:
        """With everything that any method needs: profiles, the direction there, and a later one."""
        with self._lock:
            return self._target(concepts, number, layer)

    def _target(self, concepts: ConceptSet, number: int, layer: str) -> ConceptTarget:
        key = (concepts.digest, layer)
        if key not in self._profiles:
            self._profiles[key] = explain.concept_profiles(
                self.store, layer, concepts.labels, concepts.names, most=EXAMPLES_MOST
            )
            self._known[key] = {}
            while len(self._profiles) > _SETS_MOST:
                oldest = next(iter(self._profiles))
                del self._profiles[oldest], self._known[oldest]
        known = self._known[key]
        if number not in known:
            at = towards_layer(self.store, layer)
            towards = self._direction(concepts, number, at)
            known[number] = self._profiles[key].target(
                number,
                direction=self._direction(concepts, number, layer),
                towards=towards,
                at="" if towards is None else at,
                key=_key(concepts, number),
            )
        return known[number]

    def _direction(
        self, concepts: ConceptSet, number: int, layer: str
    ) -> npt.NDArray[np.float64] | None:
        """None where every tile shows it: nothing tells where it would be missing."""
        labels = concepts.labels[:, number]
        if (labels == 1).all():
            return None
        return explain.concept_direction(self._stats[layer].embeddings, labels == 1, labels == 0)


def towards_layer(store: ActivationStore, layer: str) -> str:
    """The layer towards whose direction gradients go: the store's last of vectors, else ``layer`` itself."""
    return ([name for name, info in store.layers.items() if not info.has_maps] or [layer])[-1]


def _key(concepts: ConceptSet, number: int) -> str:
    """What the direction of a concept is made of, whatever the concept's name and the other concepts."""
    labels = np.ascontiguousarray(concepts.labels[:, number])
    return hashlib.sha256(f"{_HOW}\n".encode() + labels.tobytes()).hexdigest()


def _bare(concepts: ConceptSet, number: int, at: str) -> ConceptTarget:
    """As much of a target as its digest is made of."""
    return explain.ConceptTarget(
        0, (concepts.names[number],), towards=np.zeros(1), at=at, key=_key(concepts, number)
    )
