"""Semi-synthetic lesions as networks and pixels represent them, their labels, and concepts learned from these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from widgetkit import demos, simulate
from widgetkit.concepts import (
    ConceptActivationVectors,
    DensityRatioConcepts,
    Identified,
    LocalRodeo,
    ProbeConcepts,
    identify,
)
from widgetkit.concepts._base import ConceptEstimator
from widgetkit.concepts.directions import joint_effects
from widgetkit.demos.lesion_network import PREPROCESS, LesionNet, load_weights, save_weights
from widgetkit.demos.lesion_training import _varied
from widgetkit.simulate.liver_patterns import CLASSES, CONCEPTS, LABELLED_MOST

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


def head_of(net: LesionNet) -> tuple[np.ndarray, np.ndarray]:
    weight, bias = net.classifier.weight, net.classifier.bias
    return weight.detach().numpy().astype(float), bias.detach().numpy().astype(float)


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


def labels_of(training: simulate.LiverSimulation) -> dict[str, np.ndarray]:
    """(n, 14) labels by what concepts are learned from."""
    said = noted(training)
    return {
        "10 a concept, noted": few_of(said, training.patients, FEW, 0),
        "all, noted": said,
        "all, truth": training.concepts.astype(float),
    }


def joint(lesions: Lesions, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Joint directions of the concepts, and activations without any, from the labelled lesions."""
    X, images = lesions.rows()
    y = labels[images]
    use = (~np.isnan(y)).any(axis=1)
    return joint_effects(X[use], y[use] == 1, ~np.isnan(y[use]), images[use])


def learned(
    estimator: ConceptEstimator,
    lesions: Lesions,
    labels: np.ndarray,
    augmented: int,
    names: Any = CONCEPTS,
    use: np.ndarray | None = None,
) -> ConceptEstimator:
    """Fitted to the lesions (of them those of ``use``) and their augmentations."""
    X, images = lesions.rows(augmented)
    if use is not None:
        X, images = X[use[images]], images[use[images]]
    return estimator.fit(
        X, labels[images], groups=lesions.made.patients[images], images=images, names=names
    )


def read(model: ConceptEstimator, lesions: Lesions, augmented: int, **options: Any) -> Identified:
    X, images = lesions.rows(augmented)
    return identify(
        model.score(X, images=images), model.thresholds_, model.names_,
        scale=model.scale_, most=LABELLED_MOST, **options,
    )  # fmt: skip
