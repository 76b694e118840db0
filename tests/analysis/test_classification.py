"""AUC and its company, beside scikit-learn and a loop over draws."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn import metrics

from widgetkit.analysis import prediction_report
from widgetkit.errors import BadActivations, ChannelMismatch, InvalidInput, TooFew

MEASURES = ["AUC", "accuracy", "balanced accuracy", "sensitivity", "specificity"]


def binary(n: int = 300, groups: int = 12, seed: int = 0) -> tuple[np.ndarray, ...]:
    generator = np.random.default_rng(seed)
    y = generator.integers(0, 2, n)
    scores = np.clip(0.3 * y + generator.random(n) * 0.8, 0, 1).round(2)  # with ties
    return scores, y, np.arange(n) % groups


def value(table: pd.DataFrame, measure: str, of: Any = None) -> float:
    rows = table[table["measure"] == measure]
    if of is not None:
        rows = rows[rows["of"] == of]
    return float(rows["value"].iloc[0])


def test_agrees_with_scikit_learn() -> None:
    scores, y, groups = binary()
    table = prediction_report(scores, y, groups, threshold=0.6)
    assert list(table["measure"]) == MEASURES
    said = scores >= 0.6
    expected = [
        metrics.roc_auc_score(y, scores),
        metrics.accuracy_score(y, said),
        metrics.balanced_accuracy_score(y, said),
        metrics.recall_score(y, said),
        metrics.recall_score(1 - y, ~said),
    ]
    assert_allclose(table["value"], expected, atol=1e-12)
    assert (table["low"] < table["value"]).all() and (table["value"] < table["high"]).all()
    assert (table["n"] == 300).all() and (table["groups"] == 12).all()


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=4, max_size=40))
def test_auc_is_the_share_of_pairs_in_the_right_order(pairs: list[tuple[int, bool]]) -> None:
    scores, y = np.array([p[0] for p in pairs], float), np.array([p[1] for p in pairs])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = prediction_report(scores, y, np.arange(len(y)), classes=[False, True], n_boot=20)
    if not 0 < y.sum() < len(y):
        assert np.isnan(value(table, "AUC")) and "a class has no row" in table["note"].iloc[0]
        return
    gap = scores[y][:, None] - scores[~y][None]
    assert_allclose(value(table, "AUC"), ((gap > 0) + 0.5 * (gap == 0)).mean(), atol=1e-12)


def test_several_classes() -> None:
    generator = np.random.default_rng(0)
    y = generator.integers(0, 3, 400)
    scores = generator.random((400, 3)) + 0.4 * np.eye(3)[y]
    table = prediction_report(scores, y, np.arange(400) % 10, classes=["a", "b", "c"])
    each = [metrics.roc_auc_score(y == c, scores[:, c]) for c in range(3)]
    said = scores.argmax(axis=1)
    assert_allclose(value(table, "AUC", ""), np.mean(each))
    assert_allclose(value(table, "accuracy"), metrics.accuracy_score(y, said))
    assert_allclose(value(table, "balanced accuracy"), metrics.balanced_accuracy_score(y, said))
    for c, name in enumerate("abc"):
        assert_allclose(value(table, "AUC", name), each[c])
        assert_allclose(value(table, "sensitivity", name), metrics.recall_score(y == c, said == c))
        assert_allclose(value(table, "specificity", name), metrics.recall_score(y != c, said != c))


def test_draws_are_those_of_a_loop() -> None:
    scores, y, groups = binary(240, 8)
    generator = np.random.default_rng(1)
    drawn = []
    for _ in range(800):
        rows = np.concatenate([np.flatnonzero(groups == g) for g in generator.integers(8, size=8)])
        said = scores[rows] >= 0.5
        drawn.append([metrics.roc_auc_score(y[rows], scores[rows]), np.mean(said == y[rows])])
    from scipy import stats

    level = 2 * stats.t.cdf(stats.norm.ppf(0.9) / np.sqrt(8 / 7), 7) - 1
    table = prediction_report(scores, y, groups, level=level, n_boot=3000)
    plain = np.quantile(drawn, [0.1, 0.9], axis=0).T
    assert_allclose(table[["low", "high"]].to_numpy()[:2], plain, atol=0.006)


def test_one_column_two_columns_and_names_say_the_same() -> None:
    scores, y, groups = binary()
    names = np.array(["benign", "tumour"])
    tables = [
        prediction_report(scores, names[y], groups),
        prediction_report(np.stack([1 - scores, scores], axis=1), names[y], groups),
        prediction_report(scores, y, groups, classes=list(names)),
        prediction_report(scores, pd.Series(names[y], dtype="category"), groups),
        prediction_report(scores, names[y].astype(object), [f"p{g}" for g in groups]),
    ]
    for table in tables:
        pd.testing.assert_frame_equal(table, tables[0])
    assert table["of"].iloc[0] == "tumour"
    swapped = prediction_report(1 - scores, names[y], groups, classes=["tumour", "benign"])
    assert_allclose(value(swapped, "AUC"), value(table, "AUC"))


def test_rows_without_a_label_are_left_out_and_counted() -> None:
    scores, y, groups = binary()
    some = y.astype(object)
    some[:50] = None
    table = prediction_report(scores, some, groups)
    assert_allclose(value(table, "AUC"), metrics.roc_auc_score(y[50:], scores[50:]))
    assert (table["n"] == 250).all() and "50 of 300 rows have no label" in table["note"].iloc[0]
    numbers = np.where(np.arange(300) < 50, np.nan, y)
    assert_allclose(value(prediction_report(scores, numbers, groups), "AUC"), value(table, "AUC"))


def test_few_groups_and_classes_that_are_seldom_drawn_are_said() -> None:
    scores, y, groups = binary()
    note = prediction_report(scores, y, groups % 2)["note"].iloc[0]
    assert "no interval by group" in note and "blocks" in note
    rare = (groups == 3).astype(int)  # one group of twelve holds the class
    table = prediction_report(scores, rare, groups)
    assert "draws held no row of a class" in table["note"].iloc[0]
    assert np.isfinite(table["value"]).all()


def test_bad_input_is_named() -> None:
    scores, y, groups = binary()
    with pytest.raises(TooFew, match="There is 1 class"):
        prediction_report(scores, np.zeros(300, int), groups)
    with pytest.raises(TooFew, match="No row has a label"):
        prediction_report(scores, [None] * 300, groups, classes=["a", "b"])
    with pytest.raises(ChannelMismatch, match="3 column"):
        prediction_report(np.ones((300, 3)), y, groups)
    with pytest.raises(InvalidInput, match="none of the classes"):
        prediction_report(scores, y, groups, classes=[0, 2])
    with pytest.raises(InvalidInput, match="twice"):
        prediction_report(scores, y, groups, classes=["a", "a"])
    with pytest.raises(InvalidInput, match="one label a row"):
        prediction_report(scores, y[:5], groups)
    with pytest.raises(BadActivations, match="NaN"):
        prediction_report(np.where(y, np.nan, scores), y, groups)
