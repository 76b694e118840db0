"""Readings of concepts made by hand, with a shortcut planted."""

from __future__ import annotations

from typing import Any

import numpy as np

from widgetkit import concepts
from widgetkit.concepts import ConceptSet, Identified, Relevance
from widgetkit.session.concept_reading import ConceptReading

NAMES = ("rim", "scar", "line")
CLASSES = ("HCC", "FNH")


def hand_made(
    n: int = 60, *, seed: int = 0, patients: bool = True, **changes: Any
) -> ConceptReading:
    """``line`` is seen in every second HCC and counts towards it; no class shows it."""
    rng = np.random.default_rng(seed)
    predicted = np.arange(n) % 2
    present = np.stack(
        [predicted == 0, predicted == 1, (predicted == 0) & (np.arange(n) % 4 == 0)], axis=1
    )
    shown = np.array([[1, 0, 0], [0, 1, 0]], bool)
    labels = np.where(rng.random((n, 3)) < 0.9, present, ~present).astype(np.int8)
    made = ConceptSet(NAMES, labels, np.arange(n) // 3 if patients else None, CLASSES, shown)
    relevance = np.where(present, rng.uniform(0.5, 1.5, (n, 3)), 0.0)
    relevance[:, 2] *= 2
    total = np.abs(relevance).sum(axis=1, keepdims=True)
    together = relevance.sum(axis=1)
    scores = np.where(present, 1.0, -1.0) + rng.normal(0, 0.1, (n, 3))
    correct = rng.random(n) < 0.8
    judged = np.arange(n) >= n // 2
    probabilities = np.where(np.arange(2) == predicted[:, None], 0.8, 0.2).astype(np.float32)
    X = (present @ rng.normal(size=(3, 5)) + rng.normal(0, 0.1, (n, 5))).astype(np.float32)
    none = np.zeros(present.shape, bool)
    values: dict[str, Any] = {
        "concepts": made,
        "layer": "dense",
        "estimator": "probe",
        "how": "projection",
        "learned": ~judged,
        "identified": Identified(NAMES, scores, scores, present, none, none),
        "relevance": Relevance(
            relevance, relevance / np.where(total > 0, total, 1), together, together + 0.25,
            predicted, present, NAMES, "projection", True,
        ),
        "classes": CLASSES,
        "predicted": predicted,
        "probabilities": probabilities,
        "truth": np.where(correct, predicted, 1 - predicted),
        "correct": correct,
        "judged": judged,
        "consistency": concepts.consistency_score(present, shown, predicted, names=NAMES),
        "report": concepts.concept_report(
            concepts.ProbeConcepts(), X, made.Y, made.patients, names=NAMES, n_boot=20
        ).table,
        "quality": None,
        "detection": None,
        "units": concepts.unit_distributions(X, made.Y, names=NAMES, patients=made.patients).table,
        "activations": X,
    }  # fmt: skip
    return ConceptReading(**{**values, **changes})
