"""What the factors of the clustering mean: their slides, their part in predictions, how many there are.

Each reading is a job over the kept weights of every position. What took long, or a network, is
kept in the store and found there again, also where there is no network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from widgetkit.errors import InvalidInput, NeedsActivations
from widgetkit.factors.linking import target_index
from widgetkit.session import keptmaps, readers, weighing
from widgetkit.session.clustering import Clustering
from widgetkit.session.jobs import Job
from widgetkit.session.onslide import OnSlide
from widgetkit.session.read import KINDS, TITLES, Kind, Read, index_of
from widgetkit.session.readers import USUAL_KS, Asked

if TYPE_CHECKING:
    from widgetkit.factors import Factors

__all__ = ["KINDS", "TITLES", "USUAL_KS", "Kind", "Read", "Reading", "index_of"]

#: Factors whose answers are remembered, so that undo brings them back.
REMEMBERED = 8
#: With more classes than this the one asked about is that which the network says most often.
FEW_CLASSES = 20


class Reading(OnSlide):
    """The part of :class:`Session` that reads factors."""

    _read: dict[str, dict[str, Read]]

    # -- what there is -------------------------------------------------------------------
    @property
    def readings(self) -> Mapping[str, Read]:
        """Answers about the factors of the present clustering, by kind.

        Renaming, recolouring, merging and splitting keep them: they are about the factors as
        fitted. Other factors have answers of their own; undo brings those of the old ones back.
        The choice of k is the layer's.
        """
        clustering = self.clustering
        found = {} if clustering is None else dict(self._answers(self._key(clustering)))
        return MappingProxyType(found | self._answers(self._layer_key(self.layer)))

    def factor_names(self) -> tuple[str, ...]:
        """Names of the fitted factors: of their clusters, where each is still one cluster."""
        clustering = self.clustering
        if clustering is None or clustering.fitted is None:
            return ()
        if clustering.owners is None:
            return clustering.names
        return tuple(f"factor {i + 1}" for i in range(len(clustering.fitted)))

    def class_label(self, label: str | None = None) -> str:
        """Column of the tiles that holds their class: ``label`` if there is one.

        Raises
        ------
        InvalidInput
            No such column, and none was named.
        """
        if label is not None:
            return label
        if "label" in self.store.tiles.columns:
            return "label"
        raise InvalidInput(
            "The tiles have no column 'label'. Name the column that holds their class: label=..."
        )

    # -- asking --------------------------------------------------------------------------
    def read_slides(self, by: str = "slide") -> Job:
        """Share of each factor's variance that slides (or patients, or another column) explain."""
        return self._ask("slides", lambda asked, factors: readers.slides(asked, factors, by))

    def read_shares(self, by: str | None = None) -> Job:
        """Share of positions each factor wins, by class or any other column."""
        column = self.class_label(by)
        return self._ask("shares", lambda asked, factors: readers.shares(asked, factors, column))

    def read_prediction(self, label: str | None = None, *, by: str | None = None) -> Job:
        """Classes told from factor weights on unseen patients, beside the network's own answer.

        Parameters
        ----------
        label : str, optional
            Column of the tiles that holds their class.
        by : str, optional
            Column whose groups are never split; by default patient, else slide, else source.
        """
        column = self.class_label(label)
        return self._ask(
            "prediction", lambda asked, factors: readers.prediction(asked, factors, column, by)
        )

    def read_correlations(
        self,
        target_class: int | str | None = None,
        *,
        methods: Sequence[str] | None = None,
        n: int | None = 256,
        by: str | None = None,
    ) -> Job:
        """Correlation of factor maps with class maps (Grad-CAM, occlusion, relevance).

        Maps that the store keeps are read, others computed where the session has the model.
        """
        target = self._target(target_class)
        return self._ask(
            "correlations",
            lambda asked, factors: readers.correlations(asked, factors, target, methods, n, by),
        )

    def read_importance(
        self,
        target_class: int | str | None = None,
        *,
        n: int | None = 128,
        sobol: bool = True,
        by: str | None = None,
    ) -> Job:
        """Fall of a class's logit when a factor is taken out of the activations."""
        target = self._target(target_class)
        return self._ask(
            "importance",
            lambda asked, factors: readers.importance(asked, factors, target, n, sobol, by),
        )

    def read_completeness(self, *, n: int | None = 256, by: str | None = None) -> Job:
        """How much of the network's answer survives when it sees the factors alone.

        Beside agreement with itself, accuracy where column ``label`` holds the network's classes.
        """
        label = self._label_of_network()
        return self._ask(
            "completeness",
            lambda asked, factors: readers.completeness(asked, factors, label, n, by),
        )

    def read_choice(self, ks: Sequence[int] | None = None, *, seeds: int = 5) -> Job:
        """Measures of numbers of factors of the layer, and a recommendation with its reasons.

        Parameters
        ----------
        ks : sequence of int, optional
            Default: :data:`USUAL_KS` up to the rank of the layer's activations.
        seeds : int
            Random starts of each.
        """
        layer = self.layer
        if not self.store.layers[layer].has_maps:
            raise NeedsActivations(
                f"Layer {layer!r} holds one vector a tile and no maps of activations, which factors "
                "are learned from. Extract with the model: wk.extract(...)."
            )
        return self._submit(
            "choice", self._layer_key(layer), lambda asked: readers.choice(asked, layer, ks, seeds)
        )

    def read_layers(self, other: Factors | str | None = None) -> Job:
        """Which factor of another layer is which of this one, by correlation over the tiles.

        Parameters
        ----------
        other : str or Factors, optional
            Another layer of the store, factorised alike; by default the first other one with maps.
            Or factors of any store that holds the same tiles: of another model.
        """
        wanted = other
        if other is None or isinstance(other, str):
            wanted = readers.other_layer(self.store, self.layer, other)
        assert wanted is not None
        return self._ask("layers", lambda asked, factors: readers.layers(asked, factors, wanted))

    # -- inside --------------------------------------------------------------------------
    def _ask(self, kind: Kind, read: Callable[[Asked, Factors], Read]) -> Job:
        clustering = self._need_clustering()
        if clustering.method != "nmf" or clustering.fitted is None:  # before a job is started
            weighing.make_factors(self.store, clustering)
        store = self.store

        def work(asked: Asked) -> Read:
            return read(asked, weighing.make_factors(store, clustering, asked.job))

        return self._submit(kind, self._key(clustering), work)

    def _submit(self, kind: Kind, key: str, work: Callable[[Asked], Read]) -> Job:
        store, model, seed = self.store, self.model, self.seed

        def done(found: Read) -> None:
            self._answers(key)[kind] = found
            if self.readings.get(kind) is found:  # not of factors that are gone
                self.events.emit("reading", found)

        return self.jobs.submit(
            f"read {kind}",
            lambda job: work(Asked(store, model, seed, job)),
            done,
            title=TITLES[kind],
        )

    def _answers(self, key: str) -> dict[str, Read]:
        if "_read" not in self.__dict__:
            self._read = {}
        found = self._read.pop(key, {})
        self._read[key] = found  # the last used comes last
        while len(self._read) > REMEMBERED:
            self._read.pop(next(iter(self._read)))
        return found

    def _key(self, clustering: Clustering) -> str:
        if clustering.fitted is None and self.store.layers[clustering.layer].has_maps:
            return "clusters without prototypes"  # of which nothing can be read
        return weighing.key_of(clustering, self.store)

    @staticmethod
    def _layer_key(layer: str) -> str:
        return f"layer {layer}"

    def _target(self, target: int | str | None) -> int:
        """The class asked for; by default the last one, with two classes the positive one.

        Without the network one that the store keeps maps of.
        """
        if target is not None:
            return target_index(self.store, target)
        names, outputs = self.store.class_names, self.store.outputs
        count = len(names) if names else (outputs.shape[1] if outputs is not None else 0)
        if not count:
            raise InvalidInput(
                "The store holds no predictions, so there is no class to ask about. Extract with a "
                "network that has a class output."
            )
        if self.model is None:  # a class that can be answered about without the network
            kept = keptmaps.all_classes(self.store, self.layer)
            if kept and count - 1 not in kept:
                return kept[0]
        if count > FEW_CLASSES and outputs is not None:  # e.g. ImageNet: what it says most often
            return int(np.bincount(np.asarray(outputs).argmax(axis=1), minlength=count).argmax())
        return count - 1

    def _label_of_network(self) -> str | None:
        """Column ``label`` where its values are the network's classes."""
        names, tiles = self.store.class_names, self.store.tiles
        if not names or "label" not in tiles.columns:
            return None
        found = {str(value) for value in tiles["label"].dropna().unique()}
        return "label" if found and found <= set(names) else None
