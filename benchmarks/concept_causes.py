"""Relevance of concepts beside what is known to cause a diagnosis: lesions drawn again without a concept, or without
the scanner's line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.concept_lesions import (
    AUGMENTED,
    ESTIMATORS,
    JUDGED,
    LINE,
    METASTASIS,
    TESTS,
    Lesions,
    dense_of,
    head_of,
    joint,
    labels_of,
    learned,
    noted,
    read,
    represented,
)
from widgetkit import simulate
from widgetkit.concepts import (
    ConceptActivationVectors,
    concept_directions,
    concept_relevance,
    identify,
)
from widgetkit.concepts._base import ConceptEstimator
from widgetkit.concepts.relevance import How
from widgetkit.demos.lesion_network import PREPROCESS, LesionNet
from widgetkit.demos.lesion_training import classify
from widgetkit.simulate.liver_background import parenchyma
from widgetkit.simulate.liver_canvas import Scan
from widgetkit.simulate.liver_drawing import lesion
from widgetkit.simulate.liver_patterns import CONCEPTS, LABELLED_MOST, combinations

#: Units with less than this share of the largest deviation hardly ever answer.
VARIES = 0.05
HOW: tuple[How, ...] = ("projection", "removal")


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
    labels = labels_of(lesions["training"].made)
    for key in JUDGED:
        model = models[key]
        along, without = joint(lesions["training"], labels[key[1]])
        ways = (
            ("its own", model.direction_, "0", None),
            ("its own", model.direction_, "mean of the training lesions", back),
            ("joint", along, "a lesion without concepts", without),
        )
        for (which, directions, against, reference), how in product(ways, HOW):
            options: dict[str, Any] = {"how": how, "reference": reference}
            row = {
                "estimator": key[0], "source": key[1], "directions": which, "how": how, "reference": against,
            }  # fmt: skip
            for test in TESTS:
                made, H = lesions[test].made, lesions[test].X[:, 0]
                logits = H @ head[0].T + head[1]
                predicted = logits.argmax(axis=1)
                found = read(model, lesions[test], AUGMENTED, exclude="none")
                one = concept_relevance(
                    H, directions, head, predicted, identified=found.present, **options
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
            row |= agreement(causes, directions, head, options)
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
    """Relevance of the concepts that are there beside the fall of the logit without each.

    "slope" is that of what is said by what is true, "said to true" the ratio of their sums.
    """
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
        "slope": float(np.polyfit(effect, said, 1)[0]),
        "said to true": float(said.sum() / effect.sum()),
    }


def shortcut(net: LesionNet, lesions: dict[str, Lesions], quick: bool) -> dict[str, Any]:
    """The scanner's line as a concept beside the 14: found, ranked, tested; and lesions taken for metastases by it."""
    head = head_of(net)
    own = lesions["training"]
    names = (*CONCEPTS, LINE)
    back = own.X[:, 0].mean(axis=0)
    ranking, contradictions, alike = [], [], []
    effect, moved = line_effect(net, lesions[TESTS[1]].made, 24 if quick else 180)
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
        if not use.all():  # of the line, among these lesions alone
            inside = use[images]
            means[-1] = concept_directions(
                X[inside], own.made.marked[images][inside], how="mean", images=images[inside]
            )[0]
        along, without_any = joint(own, labels)
        ways = {
            "probe's weights": (probe.direction_, back),
            "difference of means": (means, back),
            "joint": (along, without_any),
        }
        for which, (directions, _) in ways.items():
            vector = directions[-1]
            fall = float(vector @ head[0][METASTASIS])
            cosine = float(vector @ moved / np.linalg.norm(moved))
            alike.append(
                {"source": source, "directions": which, "cosine": cosine, "logit a unit": fall}
            )
        dependent += tcav(net, own.made, lesions[TESTS[0]].made, labels, names, source, use, quick)
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
            for (which, (directions, reference)), (who, part) in product(
                ways.items(), parts.items()
            ):
                mine = part & (predicted == METASTASIS)
                if not mine.any():
                    continue
                one = concept_relevance(
                    H, directions, head, predicted, identified=found.present, reference=reference
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
        "effect": effect, "directions": alike, "length": float(np.linalg.norm(moved)),
    }  # fmt: skip


def tcav(
    net: LesionNet, training: simulate.LiverSimulation, test: simulate.LiverSimulation,
    labels: np.ndarray, names: tuple[str, ...], source: str, use: np.ndarray, quick: bool,
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
        whole = represented(training, by, 1, 0)
        spread = whole.X[:, 0].std(axis=0)
        kept = {"all": spread >= 0, "those that vary": spread > VARIES * spread.max()}
        for (which, units), shrinkage in product(kept.items(), (None, 1.0)):
            X = replace(whole, X=whole.X[:, :, units])
            cav = ConceptActivationVectors(shrinkage, random=200 if quick else 1000)
            table = learned(cav, X, labels, 1, names, use).tcav(slopes[layer][:, units])
            said = "Ledoit & Wolf" if shrinkage is None else "variances alone"
            table = table.assign(source=source, layer=layer, covariance=said, units=which)
            rows += table.assign(kept=int(units.sum())).to_dict("records")
    return rows


def line_effect(
    net: LesionNet, made: simulate.LiverSimulation, count: int
) -> tuple[dict[str, float], np.ndarray]:
    """The same lesions drawn with and without the line, all else equal to the last voxel; and by how much it moves
    each unit."""
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
    moved = np.subtract(*np.split(H, 2)).mean(axis=0)
    labels = made.labels[: len(with_)]
    others = labels != METASTASIS
    more = (with_ - without)[:, METASTASIS]
    found = {
        "n": len(with_),
        "logit of metastasis": float(more.mean()),
        "logit of metastasis, in metastases": float(more[~others].mean()),
        "logit of metastasis, in others": float(more[others].mean()),
        "others called metastasis with it": float((with_.argmax(axis=1) == METASTASIS)[others].mean()),
        "others called metastasis without it": float(
            (without.argmax(axis=1) == METASTASIS)[others].mean()
        ),
        "metastases recognised with it": float((with_.argmax(axis=1) == METASTASIS)[~others].mean()),
        "metastases recognised without it": float(
            (without.argmax(axis=1) == METASTASIS)[~others].mean()
        ),
    }  # fmt: skip
    return found, moved
