"""What concepts a network sees in the tiles of a store, and what they count: one answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from widgetkit import concepts as room
from widgetkit.concepts import ConceptSet, Identified, Relevance
from widgetkit.concepts._labels import Examples
from widgetkit.errors import ChannelMismatch, InvalidInput
from widgetkit.session import concept_words as words
from widgetkit.session.concept_contrast import contrast

if TYPE_CHECKING:
    import pandas as pd

    from widgetkit.concepts import Distribution, ErrorDetection

Mask = npt.NDArray[np.bool_]
Array = npt.NDArray[np.float64]

#: Nearest examples of a concept that a case lists.
NEAREST = 5


def labels_read(concepts: ConceptSet) -> tuple[npt.NDArray[np.int8], tuple[str, ...]]:
    """(n, F) labels that are learned from, and concepts whose unlabelled tiles are taken to lack them.

    Those are the concepts of which nobody said which tiles lack them, such as a selection saved as one: there
    would be nothing to tell their examples from.
    """
    bare = (concepts.counts[:, 0] > 0) & (concepts.counts[:, 1] == 0)
    labels = np.where(bare & (concepts.labels < 0), np.int8(0), concepts.labels)
    return labels, tuple(concepts.names[f] for f in np.flatnonzero(bare))


@dataclass(frozen=True, eq=False)
class ConceptCase:
    """One tile: what the network says, which concepts it sees there, and what they count.

    Attributes
    ----------
    row : int
    predicted : str or None
        Name of the class that the network says; None where the store has no predictions.
    probabilities : list of (str, float)
        Of all classes, the largest first.
    truth : str or None
        The class that the tile's label says, where it has one.
    concepts : DataFrame
        ``concept``, ``strength``, ``relevance`` (logit; NaN without a head), ``share`` (of the sizes of all
        identified concepts' relevance), ``contradicts``, ``excluded``, ``labelled`` (1, 0, or -1 where nobody
        looked): concepts seen, the most relevant first, then those left out.
    nearest : mapping of str to list of int
        Rows of the nearest tiles that the estimator learned each identified concept from, of other
        patients, nearest first.
    rest : float or None
        Part of the logit that no identified concept accounts for; None without a head.
    consistency : float or None
        Share of the identified concepts that fit the predicted class.
    warnings : list of str
        Not escaped.
    """

    row: int
    predicted: str | None
    probabilities: list[tuple[str, float]]
    truth: str | None
    concepts: pd.DataFrame = field(repr=False)
    nearest: Mapping[str, list[int]] = field(repr=False)
    rest: float | None
    consistency: float | None
    warnings: list[str]


@dataclass(frozen=True, eq=False)
class ConceptReading:
    """One answer about all n tiles of a store.

    Attributes
    ----------
    concepts : ConceptSet
        As they were when it was read; with ``class_concepts`` from the labels where it had none.
    layer, estimator, how : str
        Layer of the activations, what read them, and how relevance was reckoned.
    learned : (n,) bool
        Tiles whose labels the estimator learned from. Their scores are by models that have not seen
        their patient.
    identified : Identified
        (n, F) scores and what is said to be there. Nothing is left out for the class; what contradicts
        it is marked.
    relevance : Relevance or None
        (n, F) fall of the predicted class's logit; None where the layer has no linear head.
    classes : tuple of str
        Of the network.
    predicted : (n,) int or None
    probabilities : (n, K) float32 or None
    truth : (n,) int or None
        Class of the network that the label of each tile names; -1 where it names none.
    correct : (n,) bool or None
    judged : (n,) bool
        Tiles that :attr:`report`, :attr:`quality` and :attr:`detection` are about: labelled, their class
        known where there are predictions, and not learned from where there are such.
    consistency : (n,) float or None
    report : DataFrame
        As ``ConceptReport.table``.
    quality : DataFrame or None
        As ``explanation_quality``.
    detection : ErrorDetection or None
    units : DataFrame
        As ``unit_distributions(...).table``.
    note : str
        What has to be known of all of it, in one line.
    notes : tuple of str
        The same, sentence by sentence, and what is to be known of single concepts. Not escaped.
    activations : (n, d) float32 or None
        That were read; None leaves :meth:`case` without nearest examples.
    """

    concepts: ConceptSet
    layer: str
    estimator: str
    how: str
    learned: Mask = field(repr=False)
    identified: Identified = field(repr=False)
    relevance: Relevance | None = field(repr=False)
    classes: tuple[str, ...]
    predicted: npt.NDArray[np.intp] | None = field(repr=False)
    probabilities: npt.NDArray[np.float32] | None = field(repr=False)
    truth: npt.NDArray[np.intp] | None = field(repr=False)
    correct: Mask | None = field(repr=False)
    judged: Mask = field(repr=False)
    consistency: Array | None = field(repr=False)
    report: pd.DataFrame = field(repr=False)
    quality: pd.DataFrame | None = field(repr=False)
    detection: ErrorDetection | None = field(repr=False)
    units: pd.DataFrame = field(repr=False)
    note: str = ""
    notes: tuple[str, ...] = ()
    activations: npt.NDArray[np.float32] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        n, F = self.concepts.labels.shape
        shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
            "learned": (self.learned, (n,)),
            "judged": (self.judged, (n,)),
            "identified": (self.identified.present, (n, F)),
            "predicted": (self.predicted, (n,)),
            "probabilities": (self.probabilities, (n, len(self.classes))),
            "truth": (self.truth, (n,)),
            "correct": (self.correct, (n,)),
            "consistency": (self.consistency, (n,)),
            "relevance": (None if self.relevance is None else self.relevance.relevance, (n, F)),
        }
        for name, (array, shape) in shapes.items():
            if array is not None and array.shape != shape:
                raise ChannelMismatch(
                    f"{name} of a reading has shape {array.shape}; {shape} is meant."
                )
        if self.activations is not None and len(self.activations) != n:
            raise ChannelMismatch(f"activations have {len(self.activations)} rows for {n} tiles.")

    @property
    def n(self) -> int:
        """Tiles."""
        return self.concepts.n

    @property
    def names(self) -> tuple[str, ...]:
        """Of the concepts."""
        return self.concepts.names

    @cached_property
    def labels(self) -> npt.NDArray[np.int8]:
        """(n, F) what was learned and judged by; see :func:`labels_read`."""
        return labels_read(self.concepts)[0]

    def named_as(self, concepts: ConceptSet) -> ConceptReading:
        """The same with the names and places that concepts have now.

        Parameters
        ----------
        concepts : ConceptSet
            That is read alike: of the same ``key``.
        """
        if (concepts.names, concepts.regions) == (self.names, self.concepts.regions):
            return self
        names = concepts.names
        new = dict(zip(self.names, names, strict=True))
        own = replace(self.concepts, names=names, apart=concepts.apart, regions=concepts.regions)

        def table(of: pd.DataFrame) -> pd.DataFrame:
            return of.assign(concept=[new.get(name, name) for name in of["concept"]])

        relevance = self.relevance
        return replace(
            self,
            concepts=own,
            identified=replace(self.identified, names=names),
            relevance=None if relevance is None else replace(relevance, names=names),
            report=table(self.report),
            units=table(self.units),
            notes=tuple(words.renamed(note, new) for note in self.notes),
        )

    # -- contradictions ------------------------------------------------------------------
    @cached_property
    def shown(self) -> Mask | None:
        """(K, F) which classes of the network show which concepts; None where nobody said."""
        if self.concepts.class_concepts is None or not self.classes:
            return None
        places = {name: at for at, name in enumerate(self.concepts.classes)}
        if not set(self.classes) <= set(places):
            return None
        return self.concepts.class_concepts[[places[name] for name in self.classes]]

    @cached_property
    def contradicts(self) -> Mask:
        """(n, F) identified, and the predicted class, or every class, does not show it."""
        if self.shown is None or self.predicted is None:
            return np.zeros(self.identified.present.shape, np.bool_)
        found: Mask = self.identified.present & ~self.shown[self.predicted]
        return found

    # -- asking --------------------------------------------------------------------------
    def compare(
        self,
        mask: npt.ArrayLike,
        *,
        intervals: bool = True,
        n_boot: int = 1000,
        level: float = 0.95,
        seed: int = 0,
    ) -> pd.DataFrame:
        """Concepts in some tiles against the rest, the most relevant in them first.

        Parameters
        ----------
        mask : (n,) bool
            The tiles; all or none of them leave one side without numbers (NaN).
        intervals : bool
            Draw patients for the interval of the difference; without them ``low`` and ``high`` are NaN.
        n_boot, level, seed
            Of the interval.

        Returns
        -------
        DataFrame
            One row a concept: ``concept``, ``n_in``, ``n_rest`` (tiles in which it is identified),
            ``share_in``, ``share_rest`` (of all tiles of that side), ``relevance_in``, ``relevance_rest`` (mean
            over all tiles of that side, 0 where it is not identified; NaN without a head), ``difference``
            (of relevance; without a head of the shares), ``low``, ``high``, ``contradicts_in`` (share of the
            tiles in which it is identified and the predicted class, or every class, does not show it).
            ``table.attrs``: ``difference`` ("relevance" or "share"), ``tiles_in``, ``tiles_rest``, ``note`` about
            the interval.

        Raises
        ------
        InvalidInput
            Not one bool a tile.
        """
        return contrast(
            self.names,
            self._mask(mask),
            self.identified.present,
            None if self.relevance is None else self.relevance.relevance,
            self.contradicts,
            self.concepts.patients,
            n_boot=n_boot if intervals else 0,
            level=level,
            seed=seed,
        )

    def warnings(self, mask: npt.ArrayLike | None = None) -> list[str]:
        """Sentences about concepts that count towards a class which does not show them.

        Parameters
        ----------
        mask : (n,) bool, optional
            Tiles they are about; all by default.

        Returns
        -------
        list of str
            The weightiest first. Not escaped.
        """
        chosen = np.ones(self.n, np.bool_) if mask is None else self._mask(mask)
        if self.shown is None or self.predicted is None:
            return []
        return words.warnings_of(
            self.names,
            self.classes,
            self.shown,
            self.predicted,
            self.identified.present,
            None if self.relevance is None else self.relevance.relevance,
            None if self.relevance is None else self.relevance.logit,
            chosen,
        )

    def case(self, row: int) -> ConceptCase:
        """One tile; InvalidInput when there is no such row."""
        import pandas as pd

        at = self._row(row)
        seen, left = self.identified.present[at], self.identified.excluded[at]
        relevance = np.full(len(self.names), np.nan)
        share = np.full(len(self.names), np.nan)
        if self.relevance is not None:
            relevance = np.where(seen, self.relevance.relevance[at], np.nan)
            share = np.where(seen, self.relevance.share[at], np.nan)
        strength = self.identified.strength[at]
        key = np.where(np.isnan(relevance), -np.inf, relevance)
        order = [f for f in np.lexsort((-strength, -key, ~seen)) if seen[f] or left[f]]
        table = pd.DataFrame(
            {
                "concept": [self.names[f] for f in order],
                "strength": strength[order],
                "relevance": relevance[order],
                "share": share[order],
                "contradicts": self.contradicts[at][order],
                "excluded": left[order],
                "labelled": self.concepts.labels[at][order],
            }
        )
        ranked: list[tuple[str, float]] = []
        if self.probabilities is not None:
            mine = self.probabilities[at]
            ranked = [(self.classes[k], float(mine[k])) for k in np.argsort(-mine, kind="stable")]
        predicted = None if self.predicted is None else self.classes[self.predicted[at]]
        true = -1 if self.truth is None else int(self.truth[at])
        consistency = None if self.consistency is None else float(self.consistency[at])
        truth = self.classes[true] if true >= 0 else None
        return ConceptCase(
            at,
            predicted,
            ranked,
            truth,
            table,
            self._nearest(at),
            None if self.relevance is None else float(self.relevance.rest[at]),
            consistency,
            words.case_warnings(table, predicted, self._showing(), consistency),
        )

    def distribution(self, concept: str, unit: int, *, bins: int = 20) -> Distribution:
        """Activations of a unit in labelled tiles with and without a concept.

        Raises
        ------
        UnknownName
            No such concept or unit.
        InvalidInput
            The concept has no labelled tile on one side, or the reading has no activations.
        """
        if self.activations is None:
            raise InvalidInput("This reading holds no activations, so there is nothing to show.")
        self.concepts.number(concept)
        none = np.empty((len(self.names), 0))
        given = np.where(self.labels < 0, np.nan, self.labels.astype(np.float64))
        labels = Examples.of(given, self.n, self.names)
        values: Any = self.activations
        return room.UnitDistributions(self.units, none, none, none, self.names, values, labels).of(
            concept, unit, bins=bins
        )

    # -- inside --------------------------------------------------------------------------
    def _showing(self) -> dict[str, list[str]]:
        """Classes that show each concept."""
        if self.shown is None:
            return {}
        return {
            name: [self.classes[k] for k in np.flatnonzero(self.shown[:, f])]
            for f, name in enumerate(self.names)
        }

    def _nearest(self, row: int) -> dict[str, list[int]]:
        seen = list(map(int, np.flatnonzero(self.identified.present[row])))
        pool = np.flatnonzero(self.learned)
        if self.activations is None or not seen or not len(pool):
            return {}
        pool = pool[pool != row]
        patients = self.concepts.patients
        found = room.nearest_examples(
            self.activations[[row]],
            self.activations[pool],
            {self.names[f]: self.concepts.labels[pool, f] == 1 for f in seen},
            count=NEAREST,
            patients=None if patients is None else patients[pool],
            own=None if patients is None else patients[[row]],
        )
        return {self.names[f]: [int(pool[i]) for i in found.of(0, self.names[f])] for f in seen}

    def _mask(self, mask: npt.ArrayLike) -> Mask:
        given = np.asarray(mask)
        if given.shape != (self.n,) or given.dtype != np.bool_:
            raise InvalidInput(
                f"The tiles are one bool each, ({self.n},); got {given.dtype} of shape {given.shape}."
            )
        return given

    def _row(self, row: int) -> int:
        whole = isinstance(row, int | np.integer) and not isinstance(row, bool)
        if not whole or not 0 <= int(row) < self.n:
            raise InvalidInput(f"There is no tile {row!r}; they are numbered 0 to {self.n - 1}.")
        return int(row)

    def __repr__(self) -> str:
        return (
            f"<ConceptReading: {len(self.names)} concepts in {self.n} tiles of {self.layer}, by "
            f"{self.estimator}, {int(self.judged.sum())} judged>"
        )
