"""Whether TCAV finds the scanner's line in semi-synthetic lesions once the variances of units are shrunk.

    OMP_NUM_THREADS=1 python -m benchmarks.run_tcav

A concept activation vector weighs units by the inverse of their variance, so those that hardly ever answer rule it.
Prints a row a rule, layer and set of labels; docs/liver-lesions.md, "The shortcut", says what came of it. A minute of
one core, and another one to draw the lesions. Needs torch and pydicom.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.concept_lesions import (
    LINE,
    METASTASIS,
    TESTS,
    dense_of,
    head_of,
    noted,
    represented,
)
from widgetkit import demos, simulate
from widgetkit.concepts import ConceptActivationVectors
from widgetkit.demos.lesion_network import PREPROCESS, LesionNet
from widgetkit.demos.lesion_training import classify
from widgetkit.simulate.liver_patterns import CONCEPTS

Array = np.ndarray


def _correlations(Z: Array, *, alone: bool = False) -> Array:
    """Inverse of the correlations, shrunk as the estimator does; the identity where variances stand alone."""
    from sklearn.covariance import ledoit_wolf_shrinkage

    if alone:
        return np.eye(Z.shape[1])
    part = float(ledoit_wolf_shrinkage(Z, assume_centered=True))
    values, vectors = np.linalg.eigh(Z.T @ Z / len(Z))
    return (vectors / np.maximum((1 - part) * np.maximum(values, 0.0) + part, 1e-6)) @ vectors.T


def ledoit_wolf(C: Array) -> Array:
    """The covariance as it is towards one variance for all units."""
    from sklearn.covariance import ledoit_wolf

    return np.linalg.inv(ledoit_wolf(C, assume_centered=True)[0])


def half_way(C: Array) -> Array:
    """Variances half way to their mean."""
    v = C.var(axis=0)
    return _correlations(C / np.sqrt(v)) / np.sqrt(np.outer(v + v.mean(), v + v.mean()) / 4)


def to_median(C: Array) -> Array:
    """Variances towards their median by as much as they are uncertain (Opgen-Rhein & Strimmer 2007)."""
    v, middle = C.var(axis=0), np.median(C.var(axis=0))
    part = min(1.0, ((C**2).var(axis=0) / len(C)).sum() / ((v - middle) ** 2).sum())
    shrunk = part * middle + (1 - part) * v
    return _correlations(C / np.sqrt(v)) / np.sqrt(np.outer(shrunk, shrunk))


def plus_median(C: Array, *, alone: bool = False) -> Array:
    """Deviations and their median, as for shrunken centroids (Tibshirani et al. 2002)."""
    s = C.std(axis=0)
    wide = s + np.median(s)
    return _correlations(C / s, alone=alone) / np.outer(wide, wide)


RULES: dict[str, Callable[[Array], Array]] = {
    "Ledoit & Wolf of the covariance as it is": ledoit_wolf,
    "variances half way to their mean": half_way,
    "variances to their median": to_median,
    "deviations plus their median": plus_median,
    "the same without correlations": lambda C: plus_median(C, alone=True),
}


def layers(
    net: LesionNet, training: simulate.LiverSimulation, test: simulate.LiverSimulation
) -> Iterator[tuple[str, Array, Array]]:
    """Name, activations of the training lesions, gradients of metastasis in test lesions called so."""

    def mean_channels(x: torch.Tensor) -> Array:
        return net.features(x).mean(dim=(2, 3, 4)).numpy()

    called = np.flatnonzero(classify(net, test.images).argmax(axis=1) == METASTASIS)
    maps = torch.cat([
        net.features(PREPROCESS(test.images[i : i + 1])).detach() for i in called
    ]).requires_grad_()  # fmt: skip
    net.classes(maps)[:, METASTASIS].sum().backward()
    same = np.tile(head_of(net)[0][METASTASIS], (len(called), 1))
    yield "dense", represented(training, dense_of(net), 1, 0).X[:, 0], same
    assert maps.grad is not None
    slopes = maps.grad.sum(dim=(2, 3, 4)).numpy().astype(float)
    yield "features.last, means", represented(training, mean_channels, 1, 0).X[:, 0], slopes


def main() -> None:
    training, test = demos.lesion_simulation("training"), demos.lesion_simulation(TESTS[0])
    groups, names = np.unique(training.patients, return_inverse=True)[1], (*CONCEPTS, LINE)
    print("| rule | layer | line learned from | score | p | corrected |\n|--|--|--|--:|--:|--:|")
    for layer, X, slopes in layers(demos.lesion_net(), training, test):
        for source, use in (
            ("all", np.ones(len(X), bool)),
            ("other classes", training.labels != METASTASIS),
        ):
            labels = np.column_stack([noted(training), np.where(use, training.marked, np.nan)])
            for said, rule in RULES.items():

                def inverse(X: Array, _: object, rule: Callable[[Array], Array] = rule) -> Array:
                    varies = np.flatnonzero(X.min(axis=0) < X.max(axis=0))
                    found = np.zeros((X.shape[1], X.shape[1]))
                    found[np.ix_(varies, varies)] = rule((X - X.mean(axis=0))[:, varies])
                    return found

                with patch("widgetkit.concepts.cav._inverse_covariance", inverse):
                    cav = ConceptActivationVectors()
                    cav.fit(X[use], labels[use], groups=groups[use], names=names)
                one = cav.tcav(slopes).set_index("concept").loc[LINE]
                cells = f"{one['score']:.2f} | {one['p']:.4f} | {one['p_corrected']:.4f}"
                print(f"| {said} | {layer} | {source} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
