"""Reads concepts from the activations of a layer: learned from some tiles, judged on others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from widgetkit import concepts as room
from widgetkit.concepts import ConceptSet, Relevance
from widgetkit.concepts._base import ConceptEstimator, Training
from widgetkit.concepts._labels import Examples
from widgetkit.concepts.directions import joint_effects
from widgetkit.concepts.folds import divide
from widgetkit.concepts.identify import choose
from widgetkit.concepts.report import report_of
from widgetkit.errors import InvalidInput, TooFew, UnknownName, near
from widgetkit.session import concept_classes as of_class
from widgetkit.session import concept_controls as controls
from widgetkit.session import concept_heads as heads
from widgetkit.session.concept_reading import ConceptReading, labels_read
from widgetkit.session.concept_sides import sides, some, with_patients

if TYPE_CHECKING:
    from widgetkit.concepts.relevance import How
    from widgetkit.explain import Model
    from widgetkit.session.jobs import Job
    from widgetkit.store import ActivationStore

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]

#: Along which directions relevance is reckoned.
Directions = Literal["joint", "estimator"]
FOLDS = 5
#: Tiles scored at once.
_CHUNK = 16_384
_STEPS = 8


def estimator_of(what: str | ConceptEstimator) -> tuple[ConceptEstimator, str]:
    """An estimator that leaves nothing out itself, and what it is called.

    Raises
    ------
    UnknownName
        None of "probe", "density" and "cav".
    InvalidInput
        No estimator of concepts.
    """
    known: dict[str, Callable[[], ConceptEstimator]] = {
        "probe": lambda: room.ProbeConcepts(0.1),
        "density": lambda: room.DensityRatioConcepts("normal", most=None),
        "cav": lambda: room.ConceptActivationVectors(),
    }
    if isinstance(what, str):
        if what not in known:
            raise UnknownName(f"There is no estimator {what!r}. {near(what, known)}".rstrip())
        return known[what](), what
    if not isinstance(what, ConceptEstimator):
        raise InvalidInput(
            f"An estimator is {', '.join(map(repr, known))} or one of widgetkit.concepts, such as "
            f"ProbeConcepts(0.1); got {type(what).__name__}."
        )
    params = {**what.get_params(), "most": None}
    return type(what)(**params), repr(what)


@dataclass(frozen=True, eq=False)
class Asked:
    """What is asked: all that decides the answer, but the store.

    Attributes
    ----------
    learn : (n,) bool or None
        Tiles to learn from; None: all.
    head : str
        See :func:`widgetkit.session.concept_heads.head_kind`.
    """

    concepts: ConceptSet
    layer: str
    estimator: ConceptEstimator
    title: str
    how: How
    most: int | None
    learn: Mask | None = field(repr=False)
    n_boot: int
    seed: int
    directions: Directions = "joint"
    head: heads.HeadKind = "linear"

    @cached_property
    def params(self) -> dict[str, Any]:
        """JSON-able; equal for questions that have the same answer."""
        learn = "all"
        if self.learn is not None:
            learn = hashlib.blake2b(np.packbits(self.learn).tobytes(), digest_size=16).hexdigest()
        return {
            "concepts": self.concepts.key,
            "layer": self.layer,
            "estimator": self.title,
            "settings": repr(self.estimator),
            "how": self.how,
            "directions": self.directions,
            "head": self.head,
            "most": self.most,
            "learn_from": learn,
            "n_boot": self.n_boot,
            "seed": self.seed,
        }


@dataclass(frozen=True)
class _Learned:
    """Scores of all tiles, those of tiles learned from by models that have not seen their patient.

    ``held`` (n,) says of which tiles that holds; ``data`` is of ``rows``, and ``fold`` of its rows.
    """

    model: ConceptEstimator
    scores: Array
    above: Mask
    notes: tuple[str, ...]
    data: Training
    rows: Rows
    fold: npt.NDArray[np.intp]
    held: Mask


def read(
    store: ActivationStore, asked: Asked, job: Job, model: Model | None = None
) -> ConceptReading:
    """The answer; ``model`` is run on from the layer where ``asked.head`` says so.

    Raises
    ------
    TooFew
        Nothing to learn from, one patient, or no concept can be learned.
    InvalidInput
        All labelled tiles that are not learned from are of patients that are.
    """
    notes: list[str] = []
    concepts = with_patients(asked.concepts, store, notes)
    asked = replace(asked, concepts=concepts)
    labels, taken = labels_read(concepts)
    X = store.embeddings(asked.layer)
    rows, learned, judged = sides(concepts, labels, asked.learn, asked.seed, notes)
    if taken:
        notes.append(
            f"Nobody said which tiles lack {_listed(taken)}: tiles without a label are taken to lack "
            "what they may show."
        )
    job.progress(0, _STEPS)
    found = _learn(asked, X, labels, rows, learned, job)
    for name, said in zip(concepts.names, found.notes, strict=True):
        if said:
            notes.append(f"{name}: {said}")

    network = of_class.network_of(store)
    concepts, shown, about = of_class.with_classes(concepts, network, labels, learned)
    notes += about
    strength = found.scores - found.model.scale_
    identified = choose(
        found.scores,
        strength,
        found.above,
        concepts.names,
        most=asked.most,
        class_concepts=shown,
        predicted=network.predicted if shown is not None else None,
        classes=network.classes if shown is not None else None,
        exclude="none",
        apart=concepts.apart,
    )
    job.progress(4, _STEPS)
    relevance = _relevance(store, asked, X, found, identified.present, network, notes, job, model)
    job.progress(5, _STEPS)

    judged, correct = _judged(judged, network, notes)
    consistency = None
    if shown is not None and network.predicted is not None:
        consistency = room.consistency_score(
            identified, shown, network.predicted, classes=network.classes, strangers="against"
        )
    at = np.flatnonzero(judged)
    patients = None if concepts.patients is None else concepts.patients[at].astype(np.intp)
    own = Examples.of(_values(labels[at]), len(at), concepts.names)
    report, said_of = report_of(
        asked.title,
        found.scores[at],
        identified.present[at],
        own,
        patients,
        notes=found.notes,
        controls=_controls(store, asked, X, found, at, own, notes, job),
        n_boot=asked.n_boot,
        seed=asked.seed,
    )
    if said_of:
        notes.append(said_of)
    job.progress(6, _STEPS)
    quality = detection = None
    if correct is not None:
        quality, detection = of_class.about_errors(
            identified.present[at],
            _values(labels[at]),
            correct[at],
            patients,
            None if consistency is None else consistency[at],
            None if network.probabilities is None else network.probabilities[at],
            n_boot=asked.n_boot,
            seed=asked.seed,
        )
    job.progress(7, _STEPS)
    known = np.flatnonzero((labels >= 0).any(axis=1))
    known = some(known, concepts.labels, asked.seed)
    units = room.unit_distributions(
        X[known],
        _values(labels[known]),
        names=concepts.names,
        patients=None if concepts.patients is None else concepts.patients[known],
    ).table
    job.progress(_STEPS, _STEPS)
    notes.insert(0, _summary(asked, found, learned, judged))
    return ConceptReading(
        concepts,
        asked.layer,
        asked.title,
        asked.how,
        learned,
        identified,
        relevance,
        network.classes,
        network.predicted,
        network.probabilities,
        network.truth,
        correct,
        judged,
        consistency,
        report,
        quality,
        detection,
        units,
        note=notes[0],
        notes=tuple(notes),
        activations=X,
    )


# -- learning ----------------------------------------------------------------------------
def _learn(
    asked: Asked,
    X: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int8],
    rows: Rows,
    learned: Mask,
    job: Job,
) -> _Learned:
    concepts = asked.concepts
    patients = None if concepts.patients is None else concepts.patients[rows]
    data = Training.of(X[rows], _values(labels[rows]), patients, None, concepts.names)
    if len(np.unique(data.groups)) < 2:
        raise TooFew(
            "All tiles learned from are of one patient, so none can be scored by what was learned from "
            "others. Label tiles of a second patient."
        )
    model = asked.estimator

    def cancel() -> bool:
        return job.cancelled

    model.fit(data.X, data.labels.values(), groups=data.groups, names=concepts.names, cancel=cancel)
    job.progress(1, _STEPS)
    fold = divide(data.labels.present, data.labels.known, data.groups, FOLDS, asked.seed)
    held = model._held_out(data, fold, None, cancel)
    job.progress(2, _STEPS)
    scores = np.full(labels.shape, np.nan)
    for start in range(0, concepts.n, _CHUNK):
        job.check()
        scores[start : start + _CHUNK] = model.score(X[start : start + _CHUNK])
    with np.errstate(invalid="ignore"):
        above: Mask = scores > model.thresholds_
    scores[rows], above[rows] = held.scores, held.present  # tiles without a label, too
    job.progress(3, _STEPS)
    notes = tuple(
        " ".join(filter(None, (own, other)))
        for own, other in zip(model.notes_, held.notes, strict=True)
    )
    return _Learned(model, scores, above, notes, data, rows, fold, learned)


def _controls(
    store: ActivationStore,
    asked: Asked,
    X: npt.NDArray[np.float32],
    found: _Learned,
    at: Rows,
    own: Examples,
    notes: list[str],
    job: Job,
) -> dict[str, controls.Control]:
    """Of the judged tiles ``at``: labels dealt out anew, and the pixels."""
    fold = found.fold if found.held[at].all() else None

    def cancel() -> bool:
        return job.cancelled

    made = {
        "permuted": controls.permuted(
            asked.estimator, X, found.data, fold, at, own, asked.seed, cancel
        )
    }
    seen, why = controls.pixels(
        store, asked.estimator, found.rows, found.data, fold, at, own, asked.seed, cancel
    )
    if seen is not None:
        made["pixels"] = seen
    if why:
        notes.append(why)
    return made


# -- what it counts, and how well --------------------------------------------------------
def _relevance(
    store: ActivationStore,
    asked: Asked,
    X: npt.NDArray[np.float32],
    learned: _Learned,
    present: Mask,
    network: of_class.Network,
    notes: list[str],
    job: Job,
    model: Model | None,
) -> Relevance | None:
    """By the linear head of the layer, else by the network; None, and a note, where there is neither."""
    head = heads.head_of(
        store, asked.layer, asked.head, network, notes, model=model, check=job.check
    )
    if head is None or network.predicted is None:
        return None
    reference: Array | None = None
    if asked.directions == "joint":
        data = learned.data
        directions, reference = joint_effects(data.X, data.labels.present, data.labels.known)
    else:
        directions = learned.model.direction_
    directed = (directions != 0).any(axis=1)
    parts = []
    for start in range(0, max(len(X), 1), _CHUNK):
        job.check()
        part = slice(start, start + _CHUNK)
        parts.append(
            room.concept_relevance(
                X[part],
                directions,
                head,
                network.predicted[part],
                how=asked.how,
                reference=reference,
                identified=present[part] & directed,
                names=asked.concepts.names,
            )
        )
    if len(parts) == 1:
        return parts[0]
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("relevance", "share", "together", "logit", "predicted", "identified")
    }
    return replace(parts[0], **joined)


def _judged(judged: Mask, network: of_class.Network, notes: list[str]) -> tuple[Mask, Mask | None]:
    """Tiles that are judged, and whether each prediction is right (None where nobody knows)."""
    if network.truth is None or network.predicted is None:
        return judged, None
    named = judged & (network.truth >= 0)
    if not named.any():
        notes.append("No judged tile has a label that names a class of the network.")
        return judged, None
    if (judged & ~named).any():
        notes.append(
            f"{int((judged & ~named).sum())} tiles are not judged: their label names no class of the network."
        )
    return named, network.predicted == network.truth


def _summary(asked: Asked, found: _Learned, learned: Mask, judged: Mask) -> str:
    count, tiles = int(learned.sum()), int(judged.sum())
    patients = asked.concepts.patients
    by = "" if patients is None else f" of {len(np.unique(patients[learned]))} patients"
    how = f"{asked.title} on layer {asked.layer!r}, learned from {count:,} tiles{by}"
    if found.held[judged].all():
        whose = "patient" if patients is not None else "fold"
        return f"{how}; judged on {tiles:,} of them, each by a model without its {whose}."
    other = "" if patients is None else f" of {len(np.unique(patients[judged]))} other patients"
    return f"{how}; judged on {tiles:,} tiles{other}."


def _values(labels: npt.NDArray[np.int8]) -> Array:
    return np.where(labels < 0, np.nan, labels.astype(np.float64))


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(map(repr, names[:4]))
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
