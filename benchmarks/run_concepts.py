"""What the published method on concepts finds in semi-synthetic liver lesions, held against the known truth.

    OMP_NUM_THREADS=1 python -m benchmarks.run_concepts --out benchmarks/results/concepts-liver.json [--quick]
    python -m benchmarks.run_concepts --out FILE --render

Concepts are learned from the training lesions of ``demos.lesion_simulation`` and read in its two test sets,
in the dense layer of ``demos.lesion_net`` and of two classifiers trained from other seeds. Prints the tables of
docs/liver-lesions.md. Needs torch and pydicom.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.concept_causes import relevance, shortcut
from benchmarks.concept_lesions import (
    AUGMENTED,
    AUGMENTED_RODEO,
    ESTIMATORS,
    JUDGED,
    TESTS,
    Lesions,
    dense_of,
    head_of,
    labels_of,
    learned,
    network,
    noted,
    pixels_of,
    read,
    represented,
    simulations,
)
from benchmarks.concept_tables import render
from widgetkit import demos, simulate
from widgetkit.concepts import (
    Identified,
    concept_relevance,
    consistency_score,
    error_detection,
    explanation_quality,
)
from widgetkit.concepts._base import ConceptEstimator
from widgetkit.concepts._labels import Examples
from widgetkit.concepts.report import report_of
from widgetkit.demos.lesion_network import LesionNet
from widgetkit.demos.lesion_training import classify
from widgetkit.simulate.liver_patterns import CONCEPTS


def judged(
    found: Identified,
    made: simulate.LiverSimulation,
    name: str,
    controls: Mapping[str, Identified],
    n_boot: int,
) -> pd.DataFrame:
    """As the concept report's table: values with intervals by patient, beside controls."""
    truth = Examples.of(made.concepts, len(made), CONCEPTS)
    owners = np.unique(made.patients, return_inverse=True)[1]
    beside = {control: (one.scores, one.present, truth) for control, one in controls.items()}
    return report_of(
        name, found.scores, found.present, truth, owners,
        notes=[""] * len(found.names), controls=beside, n_boot=n_boot,
    )[0]  # fmt: skip


def identification(
    by: dict[str, dict[str, Lesions]], quick: bool
) -> tuple[list[pd.DataFrame], dict[tuple[str, str], ConceptEstimator]]:
    """Every estimator from every set of labels on both test sets, with controls; and the models."""
    training = by["network"]["training"].made
    labels = labels_of(training)
    allowed = {"class_concepts": training.class_concepts}
    tables, models = [], {}
    for source, y in labels.items():
        for name, make in ESTIMATORS.items():
            rodeo = name.endswith("rodeo")
            if (rodeo and source != "10 a concept, noted") or (
                source == "all, truth" and name not in dict(JUDGED)
            ):
                continue
            start = time.perf_counter()
            augmented = AUGMENTED_RODEO if rodeo else AUGMENTED
            model = models[name, source] = learned(make(), by["network"]["training"], y, augmented)
            beside: dict[str, tuple[ConceptEstimator, str]] = {}
            if source != "all, truth":
                rows = np.flatnonzero((~np.isnan(y)).any(axis=1))
                dealt = y.copy()
                dealt[rows] = y[np.random.default_rng(1).permutation(rows)]
                own = by["network"]["training"]
                beside["permuted"] = learned(make(), own, dealt, augmented), "network"
                for control in () if rodeo else ("random_weights", "pixels"):
                    beside[control] = (
                        learned(make(), by[control]["training"], y, augmented), control,
                    )  # fmt: skip
            for test in TESTS:
                found = read(model, by["network"][test], augmented, **allowed)
                controls = {
                    control: read(other, by[kind][test], augmented, **allowed)
                    for control, (other, kind) in beside.items()
                }
                made = by["network"][test].made
                table = judged(found, made, name, controls, 100 if quick else 1000)
                table.insert(0, "learned from", source)
                table.insert(0, "test", test)
                table["examples"] = int(np.median((y == 1).sum(axis=0)))
                table["labelled"] = int((~np.isnan(y)).any(axis=1).sum())
                tables.append(table)
            print(f"{name}, {source}: {time.perf_counter() - start:.0f} s", flush=True)
    return tables, models


def explanations(
    net: LesionNet,
    lesions: dict[str, Lesions],
    models: Mapping[tuple[str, str], ConceptEstimator],
    seed: int,
) -> tuple[list[pd.DataFrame], list[pd.DataFrame]]:
    """Quality of correct and misclassified lesions' concepts; what tells errors."""
    quality, detection = [], []
    head = head_of(net)
    for test in TESTS:
        own = lesions[test]
        made, H = own.made, own.X[:, 0]
        logits = H @ head[0].T + head[1]
        predicted, correct = logits.argmax(axis=1), logits.argmax(axis=1) == made.labels
        exact = np.exp(logits - logits.max(axis=1, keepdims=True))
        trust = {"confidence": (exact / exact.sum(axis=1, keepdims=True)).max(axis=1)}
        for key in JUDGED:
            model = models[key]
            found = read(
                model, own, AUGMENTED, class_concepts=made.class_concepts, predicted=predicted, exclude="none"
            )  # fmt: skip
            table = explanation_quality(found, made.concepts, correct, made.patients)
            quality.append(table.assign(test=test, seed=seed, estimator=key[0], source=key[1]))
            shares = concept_relevance(
                H, model.direction_, head, predicted, identified=found.present,
                reference=lesions["training"].X[:, 0].mean(axis=0),
            ).share  # fmt: skip
            plain = consistency_score(found, made.class_concepts, predicted)
            weighted = consistency_score(
                found, made.class_concepts, predicted, weights=np.abs(shares)
            )
            trust[f"consistency, {key[0]}"] = plain
            trust[f"consistency by relevance, {key[0]}"] = weighted
            trust[f"confidence and consistency, {key[0]}"] = (
                trust["confidence"].argsort().argsort() + plain.argsort().argsort()
            ) / (2 * len(plain))
        found_errors = error_detection(trust, correct, made.patients)
        best, chance = (
            getattr(found_errors.curves["confidence"], key) for key in ("best", "chance")
        )
        detection.append(found_errors.table.assign(test=test, seed=seed, best=best, chance=chance))
    return quality, detection


def hardness(net: LesionNet, by: Mapping[str, dict[str, Lesions]]) -> list[pd.DataFrame]:
    """The same question to what knows nothing of the network: are the lesions it gets wrong hard to read anyway?"""
    tables = []
    for kind in ("random_weights", "pixels"):
        own = by[kind]
        model = learned(
            ESTIMATORS["probe"](), own["training"], noted(own["training"].made), AUGMENTED
        )
        for test in TESTS:
            made = own[test].made
            correct = classify(net, made.images).argmax(axis=1) == made.labels
            found = read(model, own[test], AUGMENTED, exclude="none")
            table = explanation_quality(found, made.concepts, correct, made.patients)
            said = f"probe on {kind.replace('_', ' ')}"
            tables.append(table.assign(test=test, seed=0, estimator=said, source="all, noted"))
    return tables


def run(folder: Path, quick: bool, seeds: int) -> dict[str, Any]:
    made = simulations(quick)
    training = made["training"]
    print("lesions are made", flush=True)

    def all_of(by: Callable[[Any], np.ndarray]) -> dict[str, Lesions]:
        return {
            name: represented(one, by, AUGMENTED, number)
            for number, (name, one) in enumerate(made.items())
        }

    net = demos.lesion_net()
    blank = LesionNet().eval()
    blank.initialise(7)
    by = {
        "network": all_of(dense_of(net)),
        "random_weights": all_of(dense_of(blank)),
        "pixels": all_of(pixels_of(training)),
    }
    print("activations are there", flush=True)
    tables, models = identification(by, quick)
    accuracy: list[dict[str, Any]] = []
    quality: list[pd.DataFrame] = []
    detection: list[pd.DataFrame] = []
    for seed in range(seeds):
        other = network(seed, training, folder, quick)
        lesions = by["network"] if seed == 0 else all_of(dense_of(other))
        own: dict[tuple[str, str], ConceptEstimator] = {}
        labels = labels_of(training)
        for key in JUDGED:
            own[key] = (
                models[key] if seed == 0
                else learned(ESTIMATORS[key[0]](), lesions["training"], labels[key[1]], AUGMENTED)
            )  # fmt: skip
        weight, bias = head_of(other)
        for test in TESTS:
            found = (lesions[test].X[:, 0] @ weight.T + bias).argmax(axis=1)
            right = float((found == made[test].labels).mean())
            accuracy.append({"seed": seed, "test": test, "accuracy": right})
        q, d = explanations(other, lesions, own, seed)
        quality, detection = [*quality, *q], [*detection, *d]
        print(f"explanations, seed {seed}", flush=True)
    quality += hardness(net, by)

    def records(parts: list[pd.DataFrame]) -> list[dict[str, Any]]:
        return pd.concat(parts, ignore_index=True).to_dict("records")

    return {
        "data": training.source,
        "lesions": {name: len(one) for name, one in made.items()},
        "left out by the reader": int((training.concepts & ~training.labelled).any(axis=1).sum()),
        "prevalence": float(made[TESTS[0]].concepts.mean()),
        "identification": records(tables),
        "accuracy": accuracy,
        "quality": records(quality),
        "detection": records(detection),
        "relevance": relevance(net, by["network"], models, quick),
        "shortcut": shortcut(net, by["network"], quick),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--quick", action="store_true", help="few lesions, short trainings")
    arguments.add_argument("--seeds", type=int, default=3, help="classifiers; the first one ships")
    arguments.add_argument(
        "--out", type=Path, default=Path("benchmarks/results/concepts-liver.json")
    )
    arguments.add_argument("--render", action="store_true", help="tables of an earlier run's --out")
    options = arguments.parse_args()
    if not options.render:
        start, work = time.perf_counter(), time.process_time()
        options.out.parent.mkdir(parents=True, exist_ok=True)
        found = run(options.out.parent, options.quick, options.seeds)
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(
            f"{time.perf_counter() - start:.0f} s, {time.process_time() - work:.0f} s of processor\n"
        )
    print(render(json.loads(options.out.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
