"""Asking a session which concepts a network sees: as a job, kept in the store, brought back by undo."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import check_count, choice
from widgetkit.concepts._base import ConceptEstimator
from widgetkit.errors import TooFew
from widgetkit.session import concept_heads as heads
from widgetkit.session import concept_kept as kept
from widgetkit.session import concept_learning as learning
from widgetkit.session import query
from widgetkit.session.concept_reading import ConceptReading
from widgetkit.session.conceptmaps import ConceptsNow
from widgetkit.session.conceptual import Conceptual, selected
from widgetkit.session.core import Undoable, check_layer
from widgetkit.session.jobs import Job
from widgetkit.session.selection import Selection

if TYPE_CHECKING:
    from widgetkit.concepts import ConceptSet
    from widgetkit.concepts.relevance import How

#: Sets of concepts whose readings are remembered, so that undo brings them back at once.
REMEMBERED = 8


class ReadingConcepts(Conceptual):
    """The part of :class:`Session` that reads concepts."""

    # key of a set -> its reading; None where the store keeps none
    _concept_readings: dict[str, ConceptReading | None]
    # a reading, a set that is read alike, and the reading with its names
    _named_reading: tuple[ConceptReading, ConceptSet, ConceptReading] | None = None

    @property
    def concept_reading(self) -> ConceptReading | None:
        """The reading of the present concepts: what was asked last, else the newest that the store keeps.

        Concepts that are only called otherwise keep their reading, others have readings of their own; undo
        brings those of the old ones back. None while there is none.
        """
        now = self.concepts
        if now is None:
            return None
        known = self._known_readings()
        found = known[now.key] if now.key in known else kept.newest(self.store, now)
        self._remember_reading(now, found)
        return None if found is None else self._as_named_now(found, now)

    def read_concepts(
        self,
        estimator: str | ConceptEstimator = "probe",
        *,
        layer: str | None = None,
        learn_from: str | Selection | npt.ArrayLike | None = None,
        how: How = "projection",
        directions: learning.Directions = "joint",
        most: int | None = 4,
        n_boot: int = 1000,
        seed: int | None = None,
    ) -> Job:
        """Read the concepts in all tiles from the activations of a layer, as a job.

        Tiles whose labels are learned from are scored by models that have not seen their patient. The answer is
        :attr:`concept_reading` and event ``"concept reading"``; it is kept in the store, and the same question is
        answered from there.

        Parameters
        ----------
        estimator : "probe", "density", "cav", or an estimator of ``widgetkit.concepts``
            A logistic regression, a ratio of normal densities, or a concept activation vector. How many
            concepts it says of an image is ``most``, whatever its own.
        layer : str, optional
            By default the session's where it holds one vector a tile, else the last such layer of the
            store, else the means of the session's.
        learn_from : str, Selection, (m,) int or (n,) bool, optional
            Tiles to learn from, or a query of them such as ``"split == 'training'"``; all by default. Labelled
            tiles outside are judged, but those of patients that are learned from. Where there are none,
            those learned from are judged, each without its patient.
        how : "projection" or "removal"
            How relevance is reckoned; see :func:`widgetkit.concepts.concept_relevance`.
        directions : "joint" or "estimator"
            Along which directions: of what each concept adds to the activations, all allowed for at once, against
            a tile without any concept; or the estimator's own, against activations of 0. The first is in logits,
            see :func:`widgetkit.concepts.concept_directions`.
        most : int, optional
            Concepts said of a tile at the most; None for all.
        n_boot : int
            Draws of patients for intervals.
        seed : int, optional
            By default the session's.

        Raises
        ------
        InvalidInput
            There are no concepts; or all other labelled tiles are of patients that are learned from.
        UnknownName, UnknownLayer
            No such estimator, layer, or column.
        TooFew
            Nothing to learn from, one patient, or no concept that can be learned.
        """
        concepts = self._need_concepts()
        model, title = learning.estimator_of(estimator)
        rule: How = (
            "removal"
            if choice(how, ("projection", "removal"), "how") == "removal"
            else "projection"
        )
        where = self._vectors() if layer is None else check_layer(self.store, layer)
        asked = learning.Asked(
            concepts,
            where,
            model,
            title,
            rule,
            None if most is None else check_count(most, "most"),
            None if learn_from is None else self._learn_mask(learn_from),
            check_count(n_boot, "n_boot", least=0),
            self.seed if seed is None else int(seed),
            "estimator"
            if choice(directions, ("joint", "estimator"), "directions") == "estimator"
            else "joint",
            heads.head_kind(self.store, where, self.model),
        )
        store, network = self.store, self.model
        was_kept: list[ConceptReading] = []

        def work(job: Job) -> ConceptReading:
            found = kept.stored(store, asked.params)
            if found is None and asked.head == "none":  # somebody with the network asked before
                found = kept.stored(store, {**asked.params, "head": "network"})
            if found is None:
                return learning.read(store, asked, job, network)
            was_kept.append(found.named_as(concepts))
            return was_kept[0]

        def done(found: ConceptReading) -> None:
            if not was_kept:
                self._keep(lambda: kept.keep(store, asked.params, found))
            self._remember_reading(concepts, found)
            now = self.concepts
            if now is not None and now.key == concepts.key:  # not of concepts that are gone
                self.events.emit("concept reading", self.concept_reading)

        return self.jobs.submit("read concepts", work, done, title="Reading concepts")

    # -- inside --------------------------------------------------------------------------
    def _concepts_now(self) -> ConceptsNow | None:
        found = super()._concepts_now()
        return None if found is None else replace(found, reading=self.concept_reading)

    def _vectors(self) -> str:
        """The layer that concepts are read from by default."""
        layers = self.store.layers
        if not layers[self.layer].has_maps:
            return self.layer
        flat = [name for name, info in layers.items() if not info.has_maps]
        return flat[-1] if flat else self.layer

    def _learn_mask(self, learn_from: str | Selection | npt.ArrayLike) -> npt.NDArray[np.bool_]:
        if isinstance(learn_from, str):
            mask = query.evaluate(learn_from, self.store.tiles, self._columns(learn_from))
            if not mask.any():
                raise TooFew(f"No tile satisfies {learn_from!r}: there is nothing to learn from.")
            return mask
        chosen = selected(learn_from, len(self.store))
        if not chosen.count:
            raise TooFew("learn_from holds no tile: there is nothing to learn from.")
        return chosen.mask

    def _as_named_now(self, found: ConceptReading, now: ConceptSet) -> ConceptReading:
        """With the present names; the same object each time."""
        last = self._named_reading
        if last is None or last[0] is not found or last[1] != now:
            last = self._named_reading = found, now, found.named_as(now)
        return last[2]

    def _known_readings(self) -> dict[str, ConceptReading | None]:
        if "_concept_readings" not in self.__dict__:
            self._concept_readings = {}
        return self._concept_readings

    def _remember_reading(self, concepts: ConceptSet, found: ConceptReading | None) -> None:
        known = self._known_readings()
        known.pop(concepts.key, None)
        known[concepts.key] = found  # the last used comes last
        while len(known) > REMEMBERED:
            known.pop(next(iter(known)))

    def _take_over(self, before: Undoable, after: Undoable) -> None:
        if _key(after) != _key(before):
            self.jobs.cancel("read concepts")
        super()._take_over(before, after)
        if after.concepts != before.concepts:
            self.events.emit("concept reading", self.concept_reading)


def _key(state: Undoable) -> str | None:
    return None if state.concepts is None else state.concepts.key
