"""Relevance of the planted shortcut against what the network loses when the same lesions are made without it."""

from __future__ import annotations

import numpy as np
import pytest

from widgetkit import demos
from widgetkit.concepts import concept_directions, concept_relevance
from widgetkit.demos.lesion_training import classify
from widgetkit.simulate import liver_lesions
from widgetkit.simulate.liver_patterns import CONCEPTS

METASTASIS = 5


@pytest.fixture(scope="module")
def fall() -> float:
    """By how much the logit of metastasis falls without the line, in the same lesions."""
    made = [
        liver_lesions(48, shortcut=share, seed=7, background="phantom") for share in (0.75, 0.0)
    ]
    other = made[0].marked != made[1].marked
    np.testing.assert_array_equal(made[0].images[~other], made[1].images[~other])
    logits = [classify(demos.lesion_net(), one.images)[other, METASTASIS] for one in made]
    return float(((logits[0] - logits[1]) * np.where(made[0].marked[other], 1, -1)).mean())


def relevance(how: str) -> tuple[float, np.ndarray]:
    """Of the line in marked lesions that are called metastases, mean logit, and those of all concepts."""
    store = demos.lesion_store()
    tiles = store.tiles
    learn = (tiles["split"] == "training").to_numpy()
    X = store.embeddings("dense")
    Y = np.column_stack([tiles[list(CONCEPTS)], tiles["marked"]]).astype(float)
    U = concept_directions(X[learn], Y[learn], how=how)
    called = np.asarray(store.outputs).argmax(axis=1)
    head = store.head("dense")
    assert head is not None
    found = concept_relevance(
        X, U, head, called, identified=Y == 1, reference=X[learn].mean(axis=0)
    )
    assert found.exact
    np.testing.assert_allclose(found.relevance.sum(axis=1) + found.rest, found.logit)
    rows = tiles["marked"].to_numpy() & (called == METASTASIS)
    return float(found.relevance[rows, -1].mean()), found.relevance[rows]


def test_joint_relevance_is_in_logits(fall: float) -> None:
    mean, every = relevance("joint")
    assert fall > 1
    assert 0.6 < mean / fall < 1.5
    # and it counts for more than any true concept of those lesions
    assert (every.argmax(axis=1) == every.shape[1] - 1).mean() > 0.8


def test_other_directions_are_not(fall: float) -> None:
    assert relevance("logistic")[0] / fall < 0.5
