"""Logistic regressions all at once, beside scikit-learn's one by one; folds; held-out patients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from tests.concepts.planted import NAMES, planted
from widgetkit.concepts import ProbeConcepts, _logistic
from widgetkit.concepts._logistic import Design, fit_logistic
from widgetkit.concepts.folds import divide
from widgetkit.errors import Cancelled, InvalidInput, TooFew


def reference(X: np.ndarray, y: np.ndarray, C: float) -> tuple[np.ndarray, float]:
    """scikit-learn's weights and intercept for rows as given, converged."""
    mean, spread = X.mean(axis=0), X.std(axis=0)
    spread = np.where(X.min(axis=0) == X.max(axis=0), np.inf, spread)
    model = LogisticRegression(C=C, class_weight="balanced", tol=1e-9, max_iter=20_000)
    model.fit((X - mean) / spread, y)
    coef = model.coef_[0] / spread
    return coef, float(model.intercept_[0] - mean @ coef)


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Rows, labels with gaps, training sets: rare concepts, separable ones, dependent and constant units."""
    n, d, F = draw(st.integers(20, 80)), draw(st.integers(1, 40)), draw(st.integers(1, 4))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    X = generator.normal(size=(n, d)) * 10.0 ** generator.integers(-2, 3, d)
    X += draw(st.sampled_from([0.0, 100.0]))
    kind = draw(st.sampled_from(["plain", "relu", "constant", "dependent"]))
    if kind == "relu":
        X = np.maximum(X, 0)
    elif kind == "constant":
        X[:, 0] = 3.0
    elif kind == "dependent" and d > 1:
        X[:, 1] = 2 * X[:, 0]
    Z = (X - X.mean(axis=0)) / np.where(X.std(axis=0) > 0, X.std(axis=0), 1)
    Z = Z @ generator.normal(size=(d, F)) * draw(st.sampled_from([0.0, 0.5, 5.0]))
    Y = (Z + generator.normal(size=(n, F)) > draw(st.sampled_from([0.0, 1.0]))).astype(float)
    Y[generator.random((n, F)) < draw(st.sampled_from([0.0, 0.2]))] = np.nan
    return X, Y, generator.integers(2, size=n), 10.0 ** draw(st.integers(-3, 2))


@settings(deadline=None, max_examples=60)
@given(problems())
def test_equals_scikit_learn(problem: tuple[np.ndarray, np.ndarray, np.ndarray, float]) -> None:
    """Weights of standardised rows agree to 1e-4, whatever the data; NaN where one class is missing."""
    X, Y, fold, C = problem
    train = np.stack([fold == 0, fold == 1, np.ones(len(X), bool)])
    known = ~np.isnan(Y)
    found = fit_logistic(Design(X, train), Y == 1, known, C)
    for k, rows in enumerate(train):
        spread = X[rows].std(axis=0)
        for f in range(Y.shape[1]):
            use = rows & known[:, f]
            if len(np.unique(Y[use, f])) < 2:
                assert np.isnan(found.coef[k, f]).all() and not found.converged[k, f]
                continue
            assert found.converged[k, f]
            if not known[rows, f].all():
                continue  # scaled by all training rows, which scikit-learn is not shown
            coef, intercept = reference(X[rows], Y[rows, f], C)
            scale = np.maximum(1.0, np.abs(coef * spread).max())
            assert_allclose(found.coef[k, f] * spread, coef * spread, atol=1e-4 * scale)
            assert_allclose(
                found.logits[k, f],
                X @ found.coef[k, f] + found.intercept[k, f],
                atol=1e-6,
                rtol=1e-6,
            )
            middle = X[rows].mean(axis=0)
            assert_allclose(
                middle @ found.coef[k, f] + found.intercept[k, f],
                middle @ coef + intercept,
                atol=2e-4 * scale,
            )


def test_rows_without_label_do_not_count() -> None:
    data = planted(0, 80, d=6)
    Y = data.Y.copy()
    Y[:30, 0] = np.nan
    train = np.ones((1, 80), bool)
    design = Design(data.X, train)
    found = fit_logistic(design, Y == 1, ~np.isnan(Y), 1.0)
    Z = (data.X - data.X.mean(axis=0)) / data.X.std(axis=0)
    model = LogisticRegression(class_weight="balanced", tol=1e-9, max_iter=5000)
    assert_allclose(found.scaled[0, 0], model.fit(Z[30:], Y[30:, 0]).coef_[0], atol=1e-4)
    assert_allclose(found.scaled[0, 1], model.fit(Z, Y[:, 1]).coef_[0], atol=1e-4)


def test_without_gram_matrix_and_from_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    data = planted(0, 60, d=10)
    train, known = np.ones((1, 60), bool), np.ones(data.Y.shape, bool)
    expected = fit_logistic(Design(data.X, train), data.Y == 1, known, 0.1)
    other = fit_logistic(Design(data.X, train), data.Y == 1, known, 10.0)
    warm = fit_logistic(Design(data.X, train), data.Y == 1, known, 0.1, start=other)
    monkeypatch.setattr(_logistic, "_MOST_GRAM", 2)
    plain = fit_logistic(Design(data.X, train), data.Y == 1, known, 0.1)
    for found in (warm, plain):
        assert_allclose(found.scaled, expected.scaled, atol=1e-4)
        assert_allclose(found.intercept, expected.intercept, atol=1e-4)


def test_many_more_units_than_images() -> None:
    """As pixels are."""
    generator = np.random.default_rng(0)
    X, y = generator.normal(size=(40, 3000)), generator.random((40, 2)) < 0.4
    found = fit_logistic(Design(X, np.ones((1, 40), bool)), y, np.ones_like(y), 1.0)
    for f in range(2):
        coef, _ = reference(X, y[:, f], 1.0)
        assert_allclose(found.coef[0, f], coef, atol=1e-4)


# -- folds -------------------------------------------------------------------------------
@settings(deadline=None, max_examples=60)
@given(st.integers(2, 30), st.integers(1, 6), st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_folds_keep_patients_whole(patients: int, F: int, count: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    groups = generator.integers(patients, size=4 * patients)
    if len(np.unique(groups)) < 2:
        return
    present = generator.random((len(groups), F)) < generator.random(F)
    fold = divide(present, np.ones_like(present), groups, count, 0)
    assert len(np.unique(fold)) == min(count, len(np.unique(groups))) == fold.max() + 1
    for patient in np.unique(groups):
        assert len(np.unique(fold[groups == patient])) == 1
    assert_array_equal(fold, divide(present, np.ones_like(present), groups, count, 0))


def test_a_concept_of_two_patients_is_in_two_folds() -> None:
    """Every concept that can be learned from others is, though a random division would lose many."""
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 3)
    present = np.zeros((120, 10), bool)
    for f in range(10):
        present[np.isin(groups, generator.choice(40, 2, replace=False)), f] = True
    fold = divide(present, np.ones_like(present), groups, 5, 0)
    assert all(len(np.unique(fold[present[:, f]])) == 2 for f in range(10))
    sizes = np.bincount(fold)
    assert sizes.max() - sizes.min() <= 6


def test_one_patient_cannot_be_divided() -> None:
    with pytest.raises(TooFew, match="one patient"):
        divide(np.ones((4, 1), bool), np.ones((4, 1), bool), np.zeros(4, int), 2, 0)


# -- the estimator -----------------------------------------------------------------------
def test_fit_is_scikit_learns_model_of_each_concept() -> None:
    data, new = planted(0, 120), planted(1, 40)
    model = ProbeConcepts(0.5).fit(data.X, data.Y, groups=data.patients, names=NAMES)
    for f in range(5):
        coef, intercept = reference(data.X, data.Y[:, f], 0.5)
        assert_allclose(model.coef_[f], coef, atol=1e-4)
        assert_allclose(model.score(new.X)[:, f], new.X @ coef + intercept, atol=1e-3)
        assert_allclose(model.direction_[f], coef / np.linalg.norm(coef), atol=1e-4)
    found = model.identify(new.X)
    assert_array_equal(found.present, model.score(new.X) > 0)
    assert model.notes_ == ("",) * 5


def test_augmentations_are_averaged() -> None:
    data = planted(0, 40, 3)
    model = ProbeConcepts().fit(data.X, data.Y, images=data.images)
    each = model.score(data.X)
    assert_allclose(model.score(data.X, images=data.images), each.reshape(40, 3, 5).mean(axis=1))


def test_held_out_scores_are_those_of_fits_to_the_other_folds() -> None:
    data = planted(0, 60, 2)
    fold = (data.patients * 7) % 4
    for model in (ProbeConcepts(), ProbeConcepts([0.01, 1.0], folds=3)):
        found = model.held_out(data.X, data.Y, fold, groups=data.patients, images=data.images)
        for at in range(4):
            test = fold == at
            alone = clone(model).fit(
                data.X[~test], data.Y[~test], groups=data.patients[~test], images=data.images[~test]
            )
            scores = alone.score(data.X[test], images=data.images[test])
            assert_allclose(found.scores[test[::2]], scores, atol=2e-3)
            assert_array_equal(found.present[test[::2]], found.scores[test[::2]] > 0)


def test_C_is_chosen_by_held_out_patients() -> None:
    """The choice of each concept is that of a plain loop."""
    data = planted(0, 120, d=60, strength=1.0)
    strengths = [1e-3, 1e-2, 1.0, 100.0]
    model = ProbeConcepts(strengths[::-1]).fit(data.X, data.Y, groups=data.patients)
    fold = divide(data.Y == 1, np.ones(data.Y.shape, bool), data.patients, 5, 0)
    for f in range(5):
        losses = []
        for C in strengths:
            each = np.empty(120)
            for at in range(5):
                coef, intercept = reference(data.X[fold != at], data.Y[fold != at, f], C)
                z = data.X[fold == at] @ coef + intercept
                each[fold == at] = np.logaddexp(0, -(2 * data.Y[fold == at, f] - 1) * z)
            losses.append(sum(each[data.Y[:, f] == side].mean() for side in (0, 1)))
        assert model.C_[f] == strengths[int(np.argmin(losses))]
    assert len(set(model.C_)) > 1


def test_threshold_by_prior_says_rare_concepts_more_rarely() -> None:
    data = planted(0, 300, d=8, noise=1.0)
    balanced = ProbeConcepts().fit(data.X, data.Y).identify(data.X)
    prior = ProbeConcepts(threshold="prior").fit(data.X, data.Y).identify(data.X)
    assert (prior.present <= balanced.present).all()
    right = [
        (found.present & (data.Y == 1)).sum() / found.present.sum() for found in (balanced, prior)
    ]
    assert right[1] > right[0]


def test_no_one_and_all_examples() -> None:
    data = planted(0, 40, d=5)
    Y = np.stack([np.zeros(40), np.ones(40), np.eye(40)[3], data.Y[:, 0]], axis=1)
    Y = np.concatenate([Y, np.where(data.Y[:, :1] == 1, 1.0, np.nan)], axis=1)
    model = ProbeConcepts().fit(data.X, Y)
    assert model.usable_.tolist() == [False, False, True, True, False]
    assert model.notes_[0] == "No example." and "nothing to compare" in model.notes_[1]
    assert model.notes_[2] == "One example." and "Label some with 0" in model.notes_[4]
    assert np.isnan(model.score(data.X)[:, [0, 1, 4]]).all()
    with pytest.raises(TooFew, match="probe needs both"):
        ProbeConcepts().fit(data.X, {"rim": [1, 2, 3]})
    found = model.held_out(data.X, Y, np.arange(40) % 4)
    assert found.notes[2] == "fold 4: No example." and found.notes[3] == ""


def test_bad_parameters_and_folds() -> None:
    data = planted(0, 40, d=5)
    for bad in (0.0, [], [1.0, -1.0], np.inf):
        with pytest.raises(InvalidInput, match="C must be"):
            ProbeConcepts(bad).fit(data.X, data.Y)
    with pytest.raises(InvalidInput, match=r"20 patient\(s\) on both sides"):
        ProbeConcepts().held_out(data.X, data.Y, np.arange(40) % 2, groups=data.patients)
    with pytest.raises(InvalidInput, match="one fold"):
        ProbeConcepts().held_out(data.X, data.Y, np.zeros(40))
    with pytest.raises(InvalidInput, match=r"image\(s\) on both sides"):
        ProbeConcepts().held_out(data.X, data.Y * 0 + 1, np.arange(40) % 2, images=data.patients)
    with pytest.raises(Cancelled):
        ProbeConcepts().fit(data.X, data.Y, cancel=lambda: True)


def test_planted_directions_are_found_in_new_patients() -> None:
    data, new = planted(0, 300), planted(1, 100)
    scores = ProbeConcepts(0.1).fit(data.X, data.Y, groups=data.patients).score(new.X)
    assert min(roc_auc_score(new.Y[:, f], scores[:, f]) for f in range(5)) > 0.93
