"""Grouped cross-validation: what it finds, what it refuses, and that nothing leaks."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import metrics
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from widgetkit.analysis import grouped_prediction, prediction_report
from widgetkit.errors import BadActivations, Cancelled, ChannelMismatch, InvalidInput, TooFew


def data(
    groups: int = 12, each: int = 20, seed: int = 0, effect: float = 1.5
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Feature 0 speaks for the class, feature 1 against it, 2 and 3 are of the slide alone."""
    generator = np.random.default_rng(seed)
    own = np.repeat(np.arange(groups), each)
    y = generator.integers(0, 2, len(own))
    X = generator.normal(0, 1, (len(own), 4)) + generator.normal(0, 1, (groups, 4))[own]
    X[:, 0] += effect * y
    X[:, 1] -= effect * y
    return X, y, own


def test_finds_what_is_there() -> None:
    X, y, own = data()
    found = grouped_prediction(X, np.array(["benign", "tumour"])[y], own, names=list("abcd"))
    assert found.classes == ("benign", "tumour") and found.note == ""
    row = found.table.iloc[0]
    assert row["measure"] == "AUC" and row["of"] == "tumour" and row["value"] > 0.8
    assert_allclose(row["value"], metrics.roc_auc_score(y, found.probabilities[:, 1]))
    assert_allclose(found.probabilities.sum(axis=1), 1)
    ranking = found.ranking()
    assert ranking["feature"].iloc[0] == "b" and ranking["feature"].iloc[-1] == "a"
    assert ranking["steady"].iloc[[0, -1]].all()
    assert_allclose(found.coefficients[0], -found.coefficients[1])
    assert_array_equal(found.ranking("benign")["feature"], ranking["feature"][::-1])
    roc = found.roc["tumour"]
    assert_allclose(metrics.auc(roc.false_positive, roc.true_positive), row["value"])


def test_each_fold_is_scikit_learns_model_of_the_other_folds() -> None:
    X, y, own = data()
    found = grouped_prediction(X, y, own, C=0.5)
    for fold in range(5):
        test = found.folds == fold
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, class_weight="balanced"))
        model.fit(X[~test], y[~test])
        assert_allclose(found.probabilities[test], model.predict_proba(X[test]), atol=1e-3)
        assert_allclose(found.fold_coefficients[fold, 1], model[-1].coef_[0], atol=1e-2)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 2)), min_size=12, max_size=60),
    st.integers(2, 6),
    st.integers(0, 3),
)
def test_no_group_is_on_both_sides(rows: list[tuple[int, int]], folds: int, seed: int) -> None:
    """Whatever the groups and classes: refused, or every group in one fold and every class trained."""
    groups, y = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    X = np.random.default_rng(seed).normal(size=(len(y), 2))
    lonely = [c for c in np.unique(y) if len(np.unique(groups[y == c])) < 2]
    if lonely or len(np.unique(y)) < 2:
        with pytest.raises(TooFew):
            grouped_prediction(X, y, groups, folds=folds, seed=seed, n_boot=0)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = grouped_prediction(X, y, groups, folds=folds, seed=seed, n_boot=0)
    for group in np.unique(groups):
        assert len(np.unique(found.folds[groups == group])) == 1
    for fold in np.unique(found.folds):
        assert set(y[found.folds != fold]) == set(y)
    assert np.isfinite(found.probabilities).all()


def test_a_held_out_group_has_no_influence_on_its_own_probabilities() -> None:
    """Changing the labels and features of tested rows moves nothing that was learned for them."""
    X, y, own = data()
    found = grouped_prediction(X, y, own, folds=own, n_boot=0)
    other, labels = X.copy(), y.copy()
    other[own == 3, 2] += 100
    labels[own == 3] = 1 - labels[own == 3]
    again = grouped_prediction(other, labels, own, folds=own, n_boot=0)
    assert_allclose(again.fold_coefficients[3], found.fold_coefficients[3])
    assert not np.allclose(again.fold_coefficients[4], found.fold_coefficients[4])


def test_a_slides_own_signature_does_not_help() -> None:
    """A feature that is the slide's number in disguise predicts its tiles perfectly when tiles are
    divided at random, and nothing when slides are."""
    own, honest = np.repeat(np.arange(16), 20), []
    for seed in range(12):
        generator = np.random.default_rng(seed)
        y = (generator.permutation(16) % 2)[own]
        X = np.eye(16)[own] + generator.normal(0, 0.05, (320, 16))
        found = grouped_prediction(X, y, own, n_boot=0)
        honest.append(found.table["value"].iloc[0])
    leaky = grouped_prediction(X, y, np.arange(320), n_boot=0)
    assert leaky.table["value"].iloc[0] > 0.99
    assert 0.35 < np.mean(honest) < 0.65
    assert "Every group has one class: the sample is 16 groups" in found.note


@pytest.mark.parametrize("pure", [False, True])
def test_permuted_labels_are_at_chance(pure: bool) -> None:
    found = []
    for seed in range(30):
        X, y, own = data(seed=seed, groups=16, each=10)
        generator = np.random.default_rng(seed)
        y = generator.permutation(np.arange(16) % 2)[own] if pure else generator.permutation(y)
        found.append(grouped_prediction(X, y, own, n_boot=0, seed=seed).table["value"].iloc[0])
    assert abs(np.mean(found) - 0.5) < 0.06


def test_useless_features_of_unequal_classes_are_not_below_chance() -> None:
    """Why classes count alike: a slide left out that is all tumour leaves fewer tumours to learn from."""
    values = []
    for seed in range(20):
        own = np.repeat(np.arange(10), 10)
        X = np.random.default_rng(seed).normal(0, 1, (100, 1)) * 1e-3
        values.append(
            grouped_prediction(X, (own % 2), own, folds=own, n_boot=0).table["value"].iloc[0]
        )
    assert np.mean(values) > 0.35


def test_several_classes() -> None:
    generator = np.random.default_rng(0)
    own = np.repeat(np.arange(12), 20)
    y = generator.integers(0, 3, 240)
    X = generator.normal(0, 1, (240, 3)) + 2 * np.eye(3)[y]
    found = grouped_prediction(X, np.array(["x", "y", "z"])[y], own, classes=["z", "x", "y"])
    assert found.classes == ("z", "x", "y") and found.coefficients.shape == (3, 3)
    assert_array_equal(found.coefficients.argmax(axis=1), [2, 0, 1])
    assert found.ranking("x")["feature"].iloc[-1] == 0
    order = np.array([1, 2, 0])[y]
    expected = metrics.roc_auc_score(order, found.probabilities, multi_class="ovr")
    assert_allclose(found.table["value"].iloc[0], expected)


def test_rows_without_a_label_are_left_out() -> None:
    X, y, own = data()
    labels = y.astype(object)
    labels[:30] = None
    found = grouped_prediction(X, labels, own)
    assert np.isnan(found.probabilities[:30]).all() and (found.folds[:30] == -1).all()
    assert "30 of 240 rows have no label" in found.note
    same = grouped_prediction(X[30:], y[30:], own[30:])
    assert_allclose(found.probabilities[30:], same.probabilities)


def test_constant_features_say_nothing() -> None:
    X, y, own = data()
    X[:, 3] = 0.1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = grouped_prediction(X, y, own)
        grouped_prediction(np.zeros((len(y), 1)), y, own)
    assert (found.coefficients[:, 3] == 0).all() and "1 of 4 features are constant" in found.note
    assert not found.ranking().set_index("feature").loc[3, "steady"]
    # constant where it was trained, far away where it is tested
    X[:, 3] = own == 5
    assert np.isfinite(grouped_prediction(X, y, own, folds=own).probabilities).all()


def test_fewer_folds_than_asked_for_are_said() -> None:
    X, y, own = data(groups=3)
    found = grouped_prediction(X, y, own, folds=10)
    assert set(found.folds) == {0, 1, 2} and "3 folds instead of 10" in found.note


def test_refusals() -> None:
    X, y, own = data()
    with pytest.raises(TooFew, match=r"1 class\(es\)"):
        grouped_prediction(X, np.zeros(240), own)
    with pytest.raises(TooFew, match=r"Class 1 lies in 1 group\(s\) only"):
        grouped_prediction(X, (own == 4).astype(int), own)
    with pytest.raises(TooFew, match=r"Class 0 lies in 1 group\(s\) only"):
        grouped_prediction(X, y, np.zeros(240))
    with pytest.raises(InvalidInput, match=r"12 group\(s\) on both sides"):
        grouped_prediction(X, y, own, folds=np.arange(240) % 2)
    with pytest.raises(InvalidInput, match="leave a class out"):
        grouped_prediction(X, own % 2, own, folds=own % 2)
    with pytest.raises(InvalidInput, match="folds must hold one value a row"):
        grouped_prediction(X, y, own, folds=[0, 1])
    with pytest.raises(InvalidInput, match="folds must be"):
        grouped_prediction(X, y, own, folds=1)
    with pytest.raises(InvalidInput, match="one label a row"):
        grouped_prediction(X, y[1:], own)
    with pytest.raises(InvalidInput, match="one value a row"):
        grouped_prediction(X, y, own[1:])
    with pytest.raises(BadActivations, match="row 7"):
        X[7, 1] = np.nan
        grouped_prediction(X, y, own)
    X[7, 1] = 0
    with pytest.raises(InvalidInput, match="C must be"):
        grouped_prediction(X, y, own, C=0)
    with pytest.raises(ChannelMismatch, match="1 names for 4"):
        grouped_prediction(X, y, own, names=["a"])
    with pytest.raises(InvalidInput, match="none of the classes"):
        grouped_prediction(X, y, own).ranking("tumour")


@pytest.mark.parametrize("kind", [str, object, "category", bool, "Int64"])
def test_labels_of_any_type(kind: Any) -> None:
    import pandas as pd

    X, y, own = data()
    labels = pd.Series(y).astype(kind) if isinstance(kind, str) else y.astype(kind)
    found = grouped_prediction(X, labels, pd.Series([f"s{g}" for g in own], dtype="category"))
    assert_allclose(found.probabilities, grouped_prediction(X, y, own).probabilities, atol=0.05)


def test_own_folds_and_the_networks_report_stand_side_by_side() -> None:
    X, y, own = data()
    folds = np.array(["one", "two", "three"])[own % 3]
    found = grouped_prediction(X, y, own, folds=folds)
    assert len(np.unique(found.folds)) == 3
    report = prediction_report(found.probabilities, y, own)
    assert_allclose(report["value"], found.table["value"])
    assert_allclose(report["low"], found.table["low"])


def test_progress_cancel_and_repeat() -> None:
    X, y, own = data()
    seen: list[tuple[int, int]] = []
    one = grouped_prediction(X, y, own, progress=lambda *a: seen.append(a))
    assert seen == [(i, 6) for i in range(7)]
    other = grouped_prediction(X, y, own)
    assert one.table.equals(other.table) and np.array_equal(one.probabilities, other.probabilities)
    with pytest.raises(Cancelled):
        grouped_prediction(X, y, own, cancel=lambda: True)
