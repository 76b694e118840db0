"""Readings of concepts made by hand, and a store to read them from; both with a shortcut planted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from widgetkit import concepts
from widgetkit.concepts import ConceptSet, Identified, Relevance
from widgetkit.session.concept_reading import ConceptReading
from widgetkit.store import ActivationStore, LayerPlan, Plan, StoreWriter

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
        "consistency": concepts.consistency_score(
            present, shown, predicted, names=NAMES, strangers="against"
        ),
        "report": concepts.concept_report(
            concepts.ProbeConcepts(), X, made.Y, made.patients, names=NAMES, n_boot=20
        ).table,
        "quality": None,
        "detection": None,
        "units": concepts.unit_distributions(X, made.Y, names=NAMES, patients=made.patients).table,
        "activations": X,
    }  # fmt: skip
    return ConceptReading(**{**values, **changes})


def concept_store(
    path: Path, n: int = 180, *, head: bool = True, labels: bool = True, d: int = 12
) -> ActivationStore:
    """Tiles of 60 patients with planted concepts behind a linear head; ``line`` is a planted shortcut.

    Class ``HCC`` goes with ``rim``, ``FNH`` with ``scar``, ``cyst`` with neither; ``line``, of no class, is on most
    HCC and the head counts it. Columns ``rim``, ``scar``, ``line``, ``label``, ``patient`` and ``split``.
    """
    rng = np.random.default_rng(3)
    truth = rng.integers(3, size=n)
    chance = np.array([[0.9, 0.05, 0.8], [0.05, 0.9, 0.1], [0.05, 0.05, 0.1]])
    present = rng.random((n, 3)) < chance[truth]
    ways = np.linalg.qr(rng.normal(size=(d, 3)))[0].T
    X = 3 * present @ ways + rng.normal(0, 0.5, (n, d))
    weight = np.stack([ways[0] + ways[2], 2 * ways[1] - ways[0], -ways[0] - ways[1] - ways[2]])
    weight, bias = weight.astype(np.float32), np.array([0.0, -2.0, 3.0], np.float32)
    patient = np.arange(n) * 60 // n
    table = pd.DataFrame(
        {
            "id": [f"{i:016x}" for i in range(n)], "source": "made", "x": 0.0, "y": 0.0, "z": 0.0,
            "level": 0, "size": 8, "mpp": 1.0, "patient": [f"Doe {p}" for p in patient],
            "split": np.where(patient < 40, "training", "test"),
        }
    )  # fmt: skip
    for f, name in enumerate(NAMES):
        table[name] = present[:, f]
    if labels:
        table["label"] = np.array(["HCC", "FNH", "cyst"])[truth]
    maps = X[:, :, None] + rng.normal(0, 0.1, (n, d, 4))
    plan = Plan(
        tiles=table,
        layers=[LayerPlan("maps", d, (2, 2)), LayerPlan("dense", d, ())],
        outputs=3,
        class_names=("HCC", "FNH", "cyst"),
        segment_rows=64,
        default_layer="maps",
    )
    X32 = X.astype(np.float32)
    with StoreWriter.open(path, plan=plan) as writer:
        for index in range(plan.segments):
            rows = np.asarray(plan.rows(index))
            writer.write_segment(
                index,
                activations={
                    "maps": maps[rows].reshape(len(rows), d, 2, 2).astype(np.float16),
                    "dense": X32[rows],
                },
                outputs=X32[rows] @ weight.T + bias,
            )
        return writer.commit(head={"dense": (weight, bias)} if head else None)


def concepts_of(store: ActivationStore, *, classes: bool = True) -> ConceptSet:
    """The planted concepts of :func:`concept_store`."""
    shown = pd.DataFrame([[1, 0, 0], [0, 1, 0], [0, 0, 0]], ["HCC", "FNH", "cyst"], NAMES)
    return ConceptSet.from_table(store.tiles, NAMES, class_concepts=shown if classes else None)
