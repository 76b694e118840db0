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
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.concept_tables import render
from widgetkit import demos, simulate
from widgetkit.analysis.resampling import units_of
from widgetkit.concepts import (
    ConceptActivationVectors,
    DensityRatioConcepts,
    Identified,
    LocalRodeo,
    ProbeConcepts,
    concept_directions,
    concept_relevance,
    consistency_score,
    error_detection,
    explanation_quality,
    identify,
)
from widgetkit.concepts._base import ConceptEstimator, HeldOut
from widgetkit.concepts._labels import Examples
from widgetkit.concepts.report import _each, _table, _values
from widgetkit.demos.lesion_network import PREPROCESS, LesionNet, load_weights, save_weights
from widgetkit.demos.lesion_training import _varied, classify
from widgetkit.simulate.liver_background import parenchyma
from widgetkit.simulate.liver_canvas import Scan
from widgetkit.simulate.liver_drawing import lesion
from widgetkit.simulate.liver_patterns import CLASSES, CONCEPTS, LABELLED_MOST, combinations

TESTS = ("test", "test without shortcut")
METASTASIS = CLASSES.index("colorectal metastasis")
#: Each lesion as it is and moved, turned, brighter or darker; fewer for the rodeo, whose cost is their square.
AUGMENTED, AUGMENTED_RODEO = 4, 2
#: Examples of a concept, as published.
FEW = 10
LINE = "scanner line"
ESTIMATORS: dict[str, Callable[[], ConceptEstimator]] = {
    "density ratio, normal": lambda: DensityRatioConcepts("normal"),
    "density ratio, normal, thresholds as published": lambda: DensityRatioConcepts(
        "normal", thresholds="published"
    ),
    "density ratio, rodeo": lambda: DensityRatioConcepts(LocalRodeo()),
    "probe": lambda: ProbeConcepts((0.001, 0.01, 0.1), most=LABELLED_MOST),
    "probe, threshold by frequency": lambda: ProbeConcepts(
        (0.001, 0.01, 0.1), threshold="prior", most=LABELLED_MOST
    ),
    "CAV": lambda: ConceptActivationVectors(most=LABELLED_MOST),
}
#: What explanations of wrong predictions are judged with: as published, and the best informed.
JUDGED = (("density ratio, normal", "10 a concept, noted"), ("probe", "all, noted"))


@dataclass(frozen=True)
class Lesions:
    """Lesions as a representation shows them: rows of ``X`` (n, augmentations, d)."""

    made: simulate.LiverSimulation
    X: np.ndarray

    def rows(self, augmented: int = AUGMENTED) -> tuple[np.ndarray, np.ndarray]:
        """Activations (n * augmentations, d) and the lesion of each row."""
        few = self.X[:, :augmented]
        return few.reshape(-1, few.shape[-1]), np.repeat(np.arange(len(few)), few.shape[1])


# -- lesions and what they are represented by ---------------------------------------------
def simulations(quick: bool) -> dict[str, simulate.LiverSimulation]:
    if not quick:
        return {name: demos.lesion_simulation(name) for name in ("training", *TESTS)}
    sizes = {"training": (240, 0.75, 1), TESTS[0]: (120, 0.75, 2), TESTS[1]: (120, 0.0, 3)}
    return {
        name: simulate.liver_lesions(n, shortcut=shortcut, seed=seed, background="liver")
        for name, (n, shortcut, seed) in sizes.items()
    }


def network(seed: int, training: simulate.LiverSimulation, folder: Path, quick: bool) -> LesionNet:
    """The shipped classifier (seed 0), or another one, trained once."""
    if seed == 0:
        return demos.lesion_net()
    file = folder / f"lesion-net-{seed}{'-quick' if quick else ''}.npz"
    if not file.exists():
        save_weights(demos.train_lesion_net(training, seed=seed, epochs=3 if quick else 20), file)
    return load_weights(file)


def represented(
    made: simulate.LiverSimulation, by: Callable[[Any], np.ndarray], augmented: int, seed: int
) -> Lesions:
    import torch

    parts = []
    with torch.inference_mode():
        for start in range(0, len(made), 60):
            x = PREPROCESS(made.images[start : start + 60])
            several = [by(x)]
            for number in range(1, augmented):
                rng = np.random.default_rng([seed, start, number])
                several.append(by(_varied(x, rng)))
            parts.append(np.stack(several, axis=1).astype(np.float64))
    return Lesions(made, np.concatenate(parts))


def dense_of(net: LesionNet) -> Callable[[Any], np.ndarray]:
    return lambda x: net.dense(net.pool(net.features(x)).flatten(1)).numpy()


def pixels_of(
    training: simulate.LiverSimulation, components: int = 50
) -> Callable[[Any], np.ndarray]:
    """Principal components of the voxels of the training lesions."""
    from sklearn.decomposition import PCA

    flat = PREPROCESS(training.images).flatten(1).numpy()
    found = PCA(components, svd_solver="randomized", random_state=0).fit(flat)
    return lambda x: found.transform(x.flatten(1).numpy())


# -- labels --------------------------------------------------------------------------------
def noted(made: simulate.LiverSimulation) -> np.ndarray:
    """(n, 14) what a reader noted: 1, 0, or NaN where the four were spent on others."""
    spent = made.labelled.sum(axis=1) >= LABELLED_MOST
    return np.where(made.labelled, 1.0, np.where(spent[:, None], np.nan, 0.0))


def few_of(labels: np.ndarray, patients: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The labels of so many lesions that each concept has ``count`` examples of different patients; NaN elsewhere."""
    rng = np.random.default_rng(seed)
    shows = labels == 1
    chosen: set[int] = set()
    for f in np.argsort(shows.sum(axis=0)):
        have = {patients[i] for i in chosen if shows[i, f]}
        for i in rng.permutation(np.flatnonzero(shows[:, f])):
            if len(have) >= count:
                break
            if patients[i] not in have:
                have.add(patients[i])
                chosen.add(int(i))
    rows = sorted(chosen)
    found = np.full(labels.shape, np.nan)
    found[rows] = labels[rows]
    return found


# -- reading -------------------------------------------------------------------------------
def learned(
    estimator: ConceptEstimator,
    lesions: Lesions,
    labels: np.ndarray,
    augmented: int,
    names: Any = CONCEPTS,
) -> ConceptEstimator:
    X, images = lesions.rows(augmented)
    return estimator.fit(
        X, labels[images], groups=lesions.made.patients[images], images=images, names=names
    )


def read(model: ConceptEstimator, lesions: Lesions, augmented: int, **options: Any) -> Identified:
    X, images = lesions.rows(augmented)
    return identify(
        model.score(X, images=images), model.thresholds_, model.names_,
        scale=model.scale_, most=LABELLED_MOST, **options,
    )  # fmt: skip


def judged(
    found: Identified,
    made: simulate.LiverSimulation,
    name: str,
    controls: Mapping[str, Identified],
    n_boot: int,
) -> pd.DataFrame:
    """As the concept report's table: values with intervals by patient, beside controls."""
    truth = Examples.of(made.concepts, len(made), CONCEPTS)
    groups, codes = np.unique(made.patients, return_inverse=True)
    beside = {
        control: _values(_each(held(one), truth, np.zeros(len(made), np.intp), 1), 1)
        for control, one in controls.items()
    }
    units = units_of(codes, len(groups), what="patient")
    return _table(name, held(found), truth, units, beside, n_boot, 0, 0.95)


def held(found: Identified) -> HeldOut:
    return HeldOut(found.scores, found.present, ("",) * len(found.names))


def identification(
    by: dict[str, dict[str, Lesions]], quick: bool
) -> tuple[list[pd.DataFrame], dict[tuple[str, str], ConceptEstimator]]:
    """Every estimator from every set of labels on both test sets, with controls; and the models."""
    training = by["network"]["training"].made
    said = noted(training)
    labels = {
        "10 a concept, noted": few_of(said, training.patients, FEW, 0),
        "all, noted": said,
        "all, truth": training.concepts.astype(float),
    }
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


# -- wrong predictions and their explanations ----------------------------------------------
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


def head_of(net: LesionNet) -> tuple[np.ndarray, np.ndarray]:
    weight, bias = net.classifier.weight, net.classifier.bias
    return weight.detach().numpy().astype(float), bias.detach().numpy().astype(float)


# -- relevance, held against causes --------------------------------------------------------
def relevance(
    net: LesionNet,
    lesions: dict[str, Lesions],
    models: Mapping[tuple[str, str], ConceptEstimator],
    quick: bool,
) -> dict[str, Any]:
    """Additivity; whose relevance it is; and the fall of the logit in lesions drawn again without a concept."""
    head, rows = head_of(net), []
    back = lesions["training"].X[:, 0].mean(axis=0)
    gap = 0.0
    causes = counterfactuals(net, lesions[TESTS[0]].made, 12 if quick else 90, 1 if quick else 2)
    for key in JUDGED:
        model = models[key]
        for how in ("projection", "removal"):
            for against, reference in (("0", None), ("mean of the training lesions", back)):
                options: dict[str, Any] = {"how": how, "reference": reference}
                row = {"estimator": key[0], "source": key[1], "how": how, "reference": against}
                for test in TESTS:
                    made, H = lesions[test].made, lesions[test].X[:, 0]
                    logits = H @ head[0].T + head[1]
                    predicted = logits.argmax(axis=1)
                    found = read(model, lesions[test], AUGMENTED, exclude="none")
                    one = concept_relevance(
                        H, model.direction_, head, predicted, identified=found.present, **options
                    )
                    if how == "projection":
                        total = one.relevance.sum(axis=1) + one.rest
                        gap = max(gap, float(np.abs(total - logits.max(axis=1)).max()))
                    of_class = made.class_concepts.to_numpy()[predicted]
                    counted = np.clip(one.relevance, 0, None)
                    right = predicted == made.labels
                    for side, part in (("correct", right), ("misclassified", ~right)):
                        total = counted[part].sum()
                        row[f"{test}, {side}"] = float((counted * of_class)[part].sum() / total)
                row |= agreement(causes, model.direction_, head, options)
                rows.append(row)
    return {"additivity": gap, "table": rows, "pairs": len(causes["effect"])}


def counterfactuals(
    net: LesionNet, made: simulate.LiverSimulation, count: int, draws: int
) -> dict[str, np.ndarray]:
    """Lesions drawn again with all their concepts and without each: the fall of the predicted class's logit.

    Body, place and surroundings stay; noise differs and is averaged over ``draws``. What cannot be drawn
    without a concept is left out.
    """
    ground, every = parenchyma("liver"), combinations()
    images: list[np.ndarray] = []
    index, pairs = {}, []
    for i in range(min(count, len(made))):
        shown = made.concepts[i]
        variants = [(-1, shown)]
        for f in np.flatnonzero(shown):
            without = shown.copy()
            without[f] = False
            if every.number(without) >= 0:
                variants.append((int(f), without))
                pairs.append((i, int(f)))
        for f, concepts in variants:
            index[i, f] = len(images)
            for draw in range(draws):
                rng = np.random.default_rng([99, i, draw])
                scan = Scan(1.0, 1.0, bool(made.marked[i]))
                size = float(made.table["size_mm"].iloc[i])
                images.append(lesion(concepts, size, ground, scan, rng).image)
    H = represented(replace(made, images=np.stack(images)), dense_of(net), 1, 0).X[:, 0]
    weight, bias = head_of(net)

    def mean(i: int, f: int) -> np.ndarray:
        return H[index[i, f] : index[i, f] + draws].mean(axis=0)

    whole = np.stack([mean(i, -1) for i, _ in pairs])
    less = np.stack([mean(i, f) for i, f in pairs])
    k = (whole @ weight.T + bias).argmax(axis=1)
    effect = ((whole - less) * weight[k]).sum(axis=1)
    i, f = np.array(pairs).T
    return {"lesion": i, "concept": f, "effect": effect, "H": whole, "shown": made.concepts[i]}


def agreement(
    causes: Mapping[str, np.ndarray], directions: np.ndarray, head: Any, options: Mapping[str, Any]
) -> dict[str, float]:
    """Relevance of the concepts that are there beside the fall of the logit without each."""
    one = concept_relevance(causes["H"], directions, head, identified=causes["shown"], **options)
    pair = np.arange(len(causes["effect"]))
    said, effect = one.relevance[pair, causes["concept"]], causes["effect"]
    first, tops, chance = 0, 0, 0.0
    for i in np.unique(causes["lesion"]):
        mine = np.flatnonzero(causes["lesion"] == i)
        if len(mine) > 1:
            tops += 1
            first += said[mine].argmax() == effect[mine].argmax()
            chance += 1 / len(mine)
    ranks = [pd.Series(values).rank().to_numpy() for values in (said, effect)]
    return {
        "rank correlation": float(np.corrcoef(*ranks)[0, 1]),
        "same sign": float((np.sign(said) == np.sign(effect)).mean()),
        "same first": float(first / max(tops, 1)),
        "same first by chance": chance / max(tops, 1),
        "lesions with several": tops,
    }


# -- the shortcut --------------------------------------------------------------------------
def shortcut(net: LesionNet, lesions: dict[str, Lesions], quick: bool) -> dict[str, Any]:
    """The scanner's line as a concept beside the 14: found, ranked, tested; and lesions taken for metastases by it."""
    head = head_of(net)
    own = lesions["training"]
    names = (*CONCEPTS, LINE)
    back = own.X[:, 0].mean(axis=0)
    ranking, contradictions = [], []
    dependent: list[dict[str, Any]] = []
    sources = {
        "all lesions": np.ones(len(own.made), bool),
        "lesions of the other classes": own.made.labels != METASTASIS,
    }
    for source, use in sources.items():
        line = np.where(use, own.made.marked, np.nan)
        labels = np.column_stack([noted(own.made), line])
        probe = learned(ESTIMATORS["probe"](), own, labels, AUGMENTED, names)
        X, images = own.rows()
        means = concept_directions(
            X, labels[images], how="mean", groups=own.made.patients[images], images=images
        )
        dependent += tcav(net, own.made, lesions[TESTS[0]].made, labels, names, source, quick)
        for test in TESTS:
            made, H = lesions[test].made, lesions[test].X[:, 0]
            predicted = (H @ head[0].T + head[1]).argmax(axis=1)
            X, images = lesions[test].rows()
            scores = probe.score(X, images=images)
            found = identify(scores, probe.thresholds_, names, most=LABELLED_MOST + 1)
            line_score = scores[:, -1]
            with_, without = line_score[made.marked], line_score[~made.marked]
            auc = float((with_[:, None] > without[None]).mean())
            parts = {
                "metastases with the line": made.marked & (made.labels == METASTASIS),
                "others with the line": made.marked & (made.labels != METASTASIS),
                "metastases without it": ~made.marked & (made.labels == METASTASIS),
            }
            both = {"probe's weights": probe.direction_, "difference of means": means}
            for (which, directions), (who, part) in product(both.items(), parts.items()):
                mine = part & (predicted == METASTASIS)
                if not mine.any():
                    continue
                one = concept_relevance(
                    H, directions, head, predicted, identified=found.present, reference=back
                )
                seen = found.present[mine]
                r = np.where(seen, one.relevance[mine], -np.inf)
                first = (r.argmax(axis=1) == len(names) - 1) & seen[:, -1]
                ranking.append({
                    "source": source, "directions": which, "test": test, "lesions": who, "n": int(mine.sum()), "AUC of the line": auc,
                    "line identified": float(seen[:, -1].mean()), "line first": float(first.mean()),
                    "relevance of the line": float(one.relevance[mine, -1].mean()),
                    "share of the line": float(one.share[mine, -1].mean()),
                    "relevance of the others": float(one.relevance[mine, :-1].sum(axis=1).mean()),
                })  # fmt: skip
    fourteen = learned(ESTIMATORS["probe"](), own, noted(own.made), AUGMENTED)
    for test in TESTS:
        made, H = lesions[test].made, lesions[test].X[:, 0]
        predicted = (H @ head[0].T + head[1]).argmax(axis=1)
        found = read(
            fourteen, lesions[test], AUGMENTED, class_concepts=made.class_concepts, predicted=predicted, exclude="none"
        )  # fmt: skip
        is_ = made.labels == METASTASIS
        parts = {
            "metastases": is_, "others with the line": ~is_ & made.marked,
            "others without the line": ~is_ & ~made.marked,
        }  # fmt: skip
        for who, part in parts.items():
            mine = part & (predicted == METASTASIS)
            seen, against = found.present[mine], found.contradicts[mine] & found.present[mine]
            strongest = np.where(seen, found.strength[mine], -np.inf).argmax(axis=1)
            first = against[np.arange(len(seen)), strongest]
            contradictions.append({
                "test": test, "lesions": who, "called metastasis": int(mine.sum()), "of": int(part.sum()),
                "share of concepts that contradict": float(against.sum() / max(seen.sum(), 1)),
                "lesions with a contradiction": float(against.any(axis=1).sum() / max(len(seen), 1)),
                "first contradicts": float(first.sum() / max(len(seen), 1)),
            })  # fmt: skip
    return {
        "ranking": ranking, "tcav": dependent, "contradictions": contradictions,
        "effect": line_effect(net, lesions[TESTS[1]].made, 24 if quick else 180),
    }  # fmt: skip


def tcav(
    net: LesionNet, training: simulate.LiverSimulation, test: simulate.LiverSimulation,
    labels: np.ndarray, names: tuple[str, ...], source: str, quick: bool,
) -> list[dict[str, Any]]:  # fmt: skip
    """Whether the class metastasis depends on each concept: in the dense layer, where its gradient is the same for
    all lesions, and in the means of the last convolution's channels, where it is not."""
    import torch

    def mean_channels(x: Any) -> np.ndarray:
        return net.features(x).mean(dim=(2, 3, 4)).numpy()

    called = classify(net, test.images).argmax(axis=1) == METASTASIS
    maps = torch.cat([
        net.features(PREPROCESS(test.images[i : i + 1])).detach() for i in np.flatnonzero(called)
    ]).requires_grad_()  # fmt: skip
    net.classes(maps)[:, METASTASIS].sum().backward()
    slopes = {
        "dense": np.tile(head_of(net)[0][METASTASIS], (int(called.sum()), 1)),
        "features.last, means": maps.grad.sum(dim=(2, 3, 4)).numpy().astype(float),
    }
    rows: list[dict[str, Any]] = []
    for layer, by in (("dense", dense_of(net)), ("features.last, means", mean_channels)):
        X = represented(training, by, 1, 0)
        for shrinkage in (None, 1.0):
            cav = ConceptActivationVectors(shrinkage, random=200 if quick else 1000)
            table = learned(cav, X, labels, 1, names).tcav(slopes[layer])
            said = "Ledoit & Wolf" if shrinkage is None else "difference of means"
            rows += table.assign(source=source, layer=layer, covariance=said).to_dict("records")
    return rows


def line_effect(net: LesionNet, made: simulate.LiverSimulation, count: int) -> dict[str, float]:
    """The same lesions drawn with and without the line: all else is equal to the last voxel."""
    ground = parenchyma("liver")
    drawn = []
    for marked in (True, False):
        scan = Scan(1.0, 1.0, marked)
        drawn += [
            lesion(
                made.concepts[i], float(made.table["size_mm"].iloc[i]), ground, scan,
                np.random.default_rng([98, i]),
            ).image
            for i in range(min(count, len(made)))
        ]  # fmt: skip
    weight, bias = head_of(net)
    H = represented(replace(made, images=np.stack(drawn)), dense_of(net), 1, 0).X[:, 0]
    with_, without = np.split(H @ weight.T + bias, 2)
    labels = made.labels[: len(with_)]
    others = labels != METASTASIS
    return {
        "n": len(with_),
        "logit of metastasis": float((with_ - without)[:, METASTASIS].mean()),
        "others called metastasis with it": float((with_.argmax(axis=1) == METASTASIS)[others].mean()),
        "others called metastasis without it": float(
            (without.argmax(axis=1) == METASTASIS)[others].mean()
        ),
        "metastases recognised with it": float((with_.argmax(axis=1) == METASTASIS)[~others].mean()),
        "metastases recognised without it": float(
            (without.argmax(axis=1) == METASTASIS)[~others].mean()
        ),
    }  # fmt: skip


# -- all of it -----------------------------------------------------------------------------
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
    accuracy, quality, detection = [], [], []
    for seed in range(seeds):
        other = network(seed, training, folder, quick)
        lesions = by["network"] if seed == 0 else all_of(dense_of(other))
        own: dict[tuple[str, str], ConceptEstimator] = {}
        said = noted(training)
        few = few_of(said, training.patients, FEW, 0)
        for key in JUDGED:
            y = few if key[1].startswith("10") else said
            own[key] = (
                models[key] if seed == 0
                else learned(ESTIMATORS[key[0]](), lesions["training"], y, AUGMENTED)
            )  # fmt: skip
        weight, bias = head_of(other)
        for test in TESTS:
            found = (lesions[test].X[:, 0] @ weight.T + bias).argmax(axis=1)
            right = float((found == made[test].labels).mean())
            accuracy.append({"seed": seed, "test": test, "accuracy": right})
        q, d = explanations(other, lesions, own, seed)
        quality, detection = [*quality, *q], [*detection, *d]
        print(f"explanations, seed {seed}", flush=True)

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
