"""Activations with planted concepts: sums of directions, rectified, patients with several images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CLASSES = ("cyst", "haemangioma", "FNH", "HCC")
NAMES = ("thin wall", "filling", "scar", "washout", "rim")
CLASS_CONCEPTS = np.array(
    [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 1], [0, 0, 0, 1, 1]], dtype=bool
)


@dataclass(frozen=True)
class Planted:
    """``X`` (images * augmentations, d), and of each row: labels Y, image, patient, class."""

    X: np.ndarray
    Y: np.ndarray
    images: np.ndarray
    patients: np.ndarray
    classes: np.ndarray

    def rows(self, rows: np.ndarray) -> Planted:
        return Planted(
            self.X[rows], self.Y[rows], self.images[rows], self.patients[rows], self.classes[rows]
        )


def planted(
    seed: int = 0,
    images: int = 120,
    augmentations: int = 1,
    *,
    d: int = 20,
    noise: float = 0.5,
    strength: float = 1.5,
    per_patient: int = 2,
) -> Planted:
    """Images of four classes; a concept of the class is there in 85 of 100, another one in 5."""
    generator = np.random.default_rng(seed)
    directions = np.random.default_rng(5).normal(size=(len(NAMES), d))
    directions *= strength / np.linalg.norm(directions, axis=1, keepdims=True)
    classes = generator.integers(len(CLASSES), size=images)
    Y = generator.random((images, len(NAMES))) < np.where(CLASS_CONCEPTS[classes], 0.85, 0.05)
    H = Y @ directions + noise * generator.normal(size=(images, d)) / np.sqrt(d) * 3
    X = np.repeat(H, augmentations, axis=0)
    X = X + 0.1 * generator.normal(size=X.shape) if augmentations > 1 else X
    at = np.repeat(np.arange(images), augmentations)
    return Planted(np.maximum(X + 0.3, 0), Y[at].astype(float), at, at // per_patient, classes[at])
