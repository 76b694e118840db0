"""Concept activation vectors: the closed form, and the test against random images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.base import clone
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from tests.concepts.planted import NAMES, planted
from widgetkit.concepts import ConceptActivationVectors, concept_report
from widgetkit.concepts._tests import corrected
from widgetkit.errors import ChannelMismatch, InvalidInput, TooFew, UnknownName


def test_direction_is_fishers_with_a_shrunk_covariance() -> None:
    data = planted(0, 80, d=12)
    model = ConceptActivationVectors().fit(data.X, data.Y, names=NAMES)
    spread = data.X.std(axis=0)
    S = LedoitWolf().fit(data.X / spread).covariance_
    for f in range(5):
        mine = data.Y[:, f] == 1
        gap = (data.X[mine].mean(axis=0) - data.X[~mine].mean(axis=0)) / spread
        w = np.linalg.solve(S, gap) / spread
        assert_allclose(model.direction_[f], w / np.linalg.norm(w), rtol=1e-8)
        scores = model.score(data.X)[:, f]
        assert_allclose([scores[mine].mean(), scores[~mine].mean()], [1, -1])
        assert_allclose(scores, data.X @ model.coef_[f] + model.intercept_[f])


def test_examples_alone_are_enough() -> None:
    data, new = planted(0, 200, 2), planted(1, 100)
    some = {name: np.flatnonzero(data.Y[:, f])[:80] for f, name in enumerate(NAMES)}
    model = ConceptActivationVectors().fit(data.X, some, groups=data.patients, images=data.images)
    scores = model.score(new.X)
    assert min(roc_auc_score(new.Y[:, f], scores[:, f]) for f in range(5)) > 0.85
    assert_array_equal(model.identify(new.X).present, scores > 0)
    whole = ConceptActivationVectors().fit(data.X, data.Y)
    assert (np.abs((model.direction_ * whole.direction_).sum(axis=1)) > 0.5).all()


def test_augmentations_count_as_their_images() -> None:
    """Each image given twice: the same vectors of random images, so the same p."""
    data = planted(0, 60, d=8)
    gradients = np.random.default_rng(0).normal(size=(20, 8))
    one = ConceptActivationVectors(0.1, random=100).fit(data.X, data.Y, groups=data.patients)
    twice = np.repeat(np.arange(60), 2)
    other = ConceptActivationVectors(0.1, random=100).fit(
        data.X[twice], data.Y[twice], groups=data.patients[twice], images=twice
    )
    assert_allclose(other.direction_, one.direction_, atol=1e-9)
    assert_allclose(other.tcav(gradients)["p"], one.tcav(gradients)["p"])


def test_a_class_is_found_to_depend_on_its_concepts_in_either_sense() -> None:
    """Gradients along one concept, against another, and in no relation to the others."""
    data = planted(0, 300, d=20)
    model = ConceptActivationVectors(random=500).fit(
        data.X, data.Y, groups=data.patients, names=NAMES
    )
    directions = np.random.default_rng(5).normal(size=(5, 20))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    gradients = directions[0] - directions[3] + 0.3 * np.random.default_rng(0).normal(size=(80, 20))
    table = model.tcav(gradients).set_index("concept")
    assert table.loc["thin wall", "score"] > 0.95 and table.loc["washout", "score"] < 0.05
    assert (table["p_corrected"] >= table["p"]).all() and (table["p"] >= 2 / 501).all()
    assert table.loc[["thin wall", "washout"], "p_corrected"].max() < 0.2
    assert table["p"].drop(["thin wall", "washout"]).min() > table.loc["thin wall", "p"]
    assert (table["low"] <= table["random"]).all() and (table["random"] <= table["high"]).all()


def test_random_images_are_significant_in_5_percent_of_cases_and_by_t_test_in_many_more() -> None:
    """Examples with nothing in common but their patients; the t-test is that of the original, on repeats."""
    ours, theirs = [], []
    for seed in range(60):
        generator = np.random.default_rng(seed)
        patients = np.repeat(np.arange(40), 4)
        X = generator.normal(size=(160, 8)) + generator.normal(size=(40, 8))[patients]
        gradients = generator.normal(size=8) + 0.5 * generator.normal(size=(40, 8))
        chosen = np.isin(patients, generator.choice(40, 5, replace=False))
        model = ConceptActivationVectors(random=99, random_state=seed)
        model.fit(X, {"any": np.flatnonzero(chosen)}, groups=patients)
        ours.append(model.tcav(gradients)["p"].iloc[0])
        if seed < 20:
            theirs.append(t_test(X, gradients, np.flatnonzero(chosen), generator))
    assert np.mean(np.array(ours) <= 0.05) <= 0.13
    assert np.mean(np.array(theirs) <= 0.05) > 0.2


def t_test(
    X: np.ndarray, gradients: np.ndarray, chosen: np.ndarray, generator: np.random.Generator
) -> float:
    """TCAV as published: 10 vectors of the concept and 10 of random images, each against other random ones."""
    scores: list[list[float]] = [[], []]
    for _ in range(10):
        for kind in range(2):
            inside = chosen if kind == 0 else generator.choice(len(X), len(chosen), replace=False)
            rest = np.setdiff1d(np.arange(len(X)), inside)
            rest = generator.choice(rest, len(inside), replace=False)
            y = np.repeat([1, 0], [len(inside), len(rest)])
            w = LogisticRegression().fit(X[np.concatenate([inside, rest])], y).coef_[0]
            scores[kind].append(float((gradients @ w > 0).mean()))
    return float(stats.ttest_ind(*scores).pvalue)


def test_draws_are_like_the_examples() -> None:
    from widgetkit.concepts._base import Training
    from widgetkit.concepts.cav import _Draw

    data = planted(0, 60, 2, per_patient=3)
    examples = np.flatnonzero(
        np.isin(data.images, [0, 1, 3, 6, 7, 8])
    )  # 2, 1 and 3 of three patients
    training = Training.of(data.X, data.Y, data.patients, data.images, None)
    generator = np.random.default_rng(0)
    for _ in range(20):
        images = np.flatnonzero(_Draw(training, examples).images(generator))
        assert len(images) == 6
        assert sorted(np.unique(images // 3, return_counts=True)[1]) == [1, 2, 3]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.one_of(st.floats(0, 1), st.just(float("nan"))), max_size=20))
def test_corrections(values: list[float]) -> None:
    p = np.array(values)
    known = ~np.isnan(p)
    found = {how: corrected(p, how) for how in ("bh", "holm", "bonferroni", "none")}  # type: ignore[arg-type]
    for result in found.values():
        assert_array_equal(np.isnan(result), ~known)
    if not known.any():
        return
    n = int(known.sum())
    assert_allclose(found["bh"][known], stats.false_discovery_control(p[known]))
    assert_allclose(found["bonferroni"][known], np.minimum(p[known] * n, 1))
    assert_allclose(found["none"][known], p[known])
    running = 0.0
    for rank, at in enumerate(np.argsort(p[known], kind="stable")):
        running = max(running, min(1.0, p[known][at] * (n - rank)))
        assert_allclose(found["holm"][known][at], running)
    with pytest.raises(UnknownName):
        corrected(p, "fdr")  # type: ignore[arg-type]


def test_no_one_and_all_examples_and_constant_units() -> None:
    data = planted(0, 40, d=5)
    X = np.insert(data.X, 2, 1.0, axis=1)
    Y = np.stack([np.zeros(40), np.ones(40), np.eye(40)[3], data.Y[:, 0]], axis=1)
    model = ConceptActivationVectors(random=50).fit(X, Y)
    assert model.usable_.tolist() == [False, False, True, True]
    assert model.notes_[:3] == (
        "No example.",
        "Every image is an example: there is nothing to compare with.",
        "One example.",
    )
    assert (model.direction_[:, 2] == 0).all()
    table = model.tcav(np.ones((5, 6)))
    assert table["score"].isna().tolist() == [True, True, False, False]
    assert table["p_corrected"].isna().tolist() == [True, True, False, False]
    same = ConceptActivationVectors().fit(
        np.tile([[1.0, 2.0], [3.0, 5.0]], (20, 1)), np.eye(40)[:, :2]
    )
    assert same.usable_.all()
    with pytest.raises(TooFew, match="same mean"):
        ConceptActivationVectors().fit(np.ones((40, 2)), data.Y[:, 0])


def test_bad_input() -> None:
    data = planted(0, 40, d=5)
    model = ConceptActivationVectors(random=20).fit(data.X, data.Y)
    with pytest.raises(ChannelMismatch, match="layer the concepts were learned on"):
        model.tcav(np.ones((3, 4)))
    with pytest.raises(TooFew, match="no gradients"):
        model.tcav(np.ones((0, 5)))
    for bad in ({"shrinkage": 2.0}, {"random": 0}, {"random_state": -1}):
        with pytest.raises(InvalidInput):
            ConceptActivationVectors(**bad).fit(data.X, data.Y)  # type: ignore[arg-type]
    assert clone(model).random == 20
    flat = model.tcav(np.zeros((3, 5)))
    assert (flat["score"] == 0.5).all() and (flat["p"] == 1).all()


def test_in_a_report() -> None:
    data = planted(0, 120)
    report = concept_report(
        ConceptActivationVectors(), data.X, data.Y, data.patients, names=NAMES, n_boot=0
    )
    assert report.of("AUC")["value"].min() > 0.85
    assert 0.3 < report.of("AUC")["permuted"].mean() < 0.7
