"""Consistency of explanations and predictions, their quality, and what they tell of errors."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import precision_score, recall_score, roc_auc_score

from tests.concepts.planted import CLASS_CONCEPTS, CLASSES, NAMES, planted
from widgetkit.concepts import (
    ProbeConcepts,
    consistency_score,
    error_detection,
    explanation_quality,
    risk_coverage,
)
from widgetkit.errors import ChannelMismatch, InvalidInput, TooFew, UnknownName


# -- the score ---------------------------------------------------------------------------
def test_share_of_the_concepts_that_the_class_shows() -> None:
    present = np.array([[1, 0, 0, 0, 0], [0, 0, 1, 1, 1], [0, 0, 0, 0, 0], [0, 1, 0, 0, 0]], bool)
    predicted = ["cyst", "HCC", "FNH", "cyst"]
    table = pd.DataFrame(CLASS_CONCEPTS, index=CLASSES, columns=NAMES)
    assert_allclose(consistency_score(present, table, predicted), [1, 2 / 3, 0, 0])
    assert_allclose(consistency_score(present, table, predicted, empty=0.5)[2], 0.5)
    weights = np.tile([1.0, 1.0, 8.0, 1.0, 1.0], (4, 1))
    assert_allclose(consistency_score(present, table, predicted, weights=weights)[1], 0.2)
    loose = table.copy()
    loose["rim"] = False  # shown by no class: it speaks neither for nor against
    assert_allclose(consistency_score(present, loose, predicted), [1, 1 / 2, 0, 0])
    # ... unless it is known to be none's
    against = consistency_score(present, loose, predicted, strangers="against")
    assert_allclose(against, [1, 1 / 3, 0, 0])


def test_from_what_an_estimator_identified() -> None:
    data = planted(0, 100)
    model = ProbeConcepts().fit(data.X, data.Y, names=NAMES)
    found = model.identify(
        data.X,
        class_concepts=CLASS_CONCEPTS,
        classes=CLASSES,
        predicted=data.classes,
        exclude="none",
    )
    score = consistency_score(found, CLASS_CONCEPTS, data.classes)
    wrong = consistency_score(found, CLASS_CONCEPTS, (data.classes + 1) % 4)
    assert score.mean() > 0.8 > 0.4 > wrong.mean()
    assert_array_equal(found.contradicts.any(axis=1), (score < 1) & found.present.any(axis=1))


def test_bad_scores() -> None:
    present = np.ones((2, 5), bool)
    with pytest.raises(UnknownName):
        consistency_score(present, CLASS_CONCEPTS, [0, 4])
    with pytest.raises(InvalidInput, match="boolean"):
        consistency_score(present * 1.0, CLASS_CONCEPTS, [0, 1])
    with pytest.raises(InvalidInput, match="weights"):
        consistency_score(present, CLASS_CONCEPTS, [0, 1], weights=-np.ones((2, 5)))
    with pytest.raises(InvalidInput, match="weights"):
        consistency_score(present, CLASS_CONCEPTS, [0, 1], weights=np.ones(5))
    with pytest.raises(ChannelMismatch):
        consistency_score(present[:, :3], CLASS_CONCEPTS, [0, 1])


# -- quality -----------------------------------------------------------------------------
def explained(
    seed: int, m: int = 120, *, right: float = 0.9, wrong: float = 0.6, per_patient: int = 1
) -> tuple[np.ndarray, ...]:
    """Concepts found with probability ``right`` or ``wrong``, by whether the prediction is right."""
    generator = np.random.default_rng(seed)
    truth = generator.random((m, 6)) < 0.4
    correct = generator.random(m) < 0.7
    sure = np.where(correct, right, wrong)[:, None]
    present = np.where(generator.random((m, 6)) < sure, truth, ~truth)
    return present, truth.astype(float), correct, np.arange(m) // per_patient


def test_values_are_scikit_learns() -> None:
    present, truth, correct, patients = explained(0, per_patient=2)
    truth[3:40, 2] = np.nan
    table = explanation_quality(present, truth, correct, patients, n_boot=200, n_permutations=199)
    assert table["images"].tolist() == ["correct", "misclassified", "difference"] * 2
    value = table.set_index(["measure", "images"])["value"]
    known = ~np.isnan(truth)
    for name, side in (("correct", correct), ("misclassified", ~correct)):
        use = known & side[:, None]
        assert_allclose(value["PPV", name], precision_score(truth[use], present[use]))
        assert_allclose(value["sensitivity", name], recall_score(truth[use], present[use]))
    for measure in ("PPV", "sensitivity"):
        assert_allclose(
            value[measure, "difference"],
            value[measure, "correct"] - value[measure, "misclassified"],
        )
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
    assert table["p"].notna().tolist() == [False, False, True] * 2
    assert (table["note"] == "").all() and table["n"].tolist()[:2] == [
        correct.sum(),
        (~correct).sum(),
    ]


def test_a_difference_is_found_and_none_is_not() -> None:
    """Where explanations are as good either way, p is below 5 % in about 5 % of cases, also by patient."""
    there = explanation_quality(*explained(0), n_boot=0)
    assert (there["p"].dropna() < 0.01).all()
    small = []
    for seed in range(150):
        none = explanation_quality(
            *explained(seed, 60, right=0.8, wrong=0.8, per_patient=2), n_boot=0, n_permutations=199
        )
        small += (none["p"].dropna() <= 0.05).tolist()
    assert 0.01 < np.mean(small) < 0.11


def test_p_is_that_of_all_permutations() -> None:
    """Six images of six patients: 720 ways to deal out what is right."""
    present, truth, correct, _ = explained(4, 6)
    correct = np.array([True, True, True, False, False, False])

    def difference(right: np.ndarray) -> float:
        ppv = [
            present[side][:, :][truth[side] == 1].sum() / present[side].sum()
            for side in (right, ~right)
        ]
        return float(ppv[0] - ppv[1])

    seen = abs(difference(correct)) - 1e-12
    exact = np.mean(
        [abs(difference(correct[list(order)])) >= seen for order in permutations(range(6))]
    )
    table = explanation_quality(present, truth, correct, n_boot=0, n_permutations=20_000)
    assert abs(table["p"].iloc[2] - exact) < 0.02


def test_few_patients_and_one_side_only() -> None:
    present, truth, correct, _ = explained(0, 12)
    blocks = np.repeat([0, 1, 2], 4)
    table = explanation_quality(present, truth, correct, blocks, n_boot=50)
    assert table["note"].str.contains("ways only").tolist() == [False, False, True] * 2
    assert table["note"].str.contains("Only 3 patients").all()
    alone = explanation_quality(present, truth, np.ones(12, bool), n_boot=20)
    assert alone["value"].isna().tolist() == [False, True, True] * 2
    assert "no such image" in alone["note"].iloc[1] and alone["p"].isna().all()
    nothing = explanation_quality(np.zeros((12, 6), bool), truth, correct, n_boot=20)
    assert "no concept was identified" in nothing["note"].iloc[0]


def test_bad_quality() -> None:
    present, truth, correct, patients = explained(0, 12)
    with pytest.raises(InvalidInput, match="correct must be boolean"):
        explanation_quality(present, truth, correct * 1, patients)
    with pytest.raises(ChannelMismatch):
        explanation_quality(present[:, :2], truth, correct)
    with pytest.raises(InvalidInput, match="present must be boolean"):
        explanation_quality(present * 1, truth, correct)
    with pytest.raises(InvalidInput, match="patients"):
        explanation_quality(present, truth, correct, patients[:3])


# -- detection ---------------------------------------------------------------------------
def slow_curve(score: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """Mean risk at each coverage over many random orders of equal scores."""
    generator, risks = np.random.default_rng(0), []
    for _ in range(4000):
        order = np.lexsort((generator.random(len(score)), -score))
        risks.append(np.cumsum(~correct[order]) / np.arange(1, len(score) + 1))
    return np.mean(risks, axis=0)


def test_risk_coverage_is_the_mean_over_orders_of_equal_scores() -> None:
    generator = np.random.default_rng(0)
    score, correct = generator.integers(0, 3, 12).astype(float), generator.random(12) < 0.6
    found = risk_coverage(score, correct)
    assert_allclose(found.risk, slow_curve(score, correct), atol=0.02)
    assert_allclose(found.coverage, np.arange(1, 13) / 12)
    assert found.area == pytest.approx(found.risk.mean())
    assert found.at(1.0) == pytest.approx(found.chance) == pytest.approx((~correct).mean())
    assert found.at(0.01) == found.risk[0] and found.at(0.5) == found.risk[5]
    constant = risk_coverage(np.zeros(12), correct)
    assert_allclose(constant.risk, constant.chance)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 30), st.integers(0, 2**32 - 1), st.booleans())
def test_areas_are_between_best_and_worst(m: int, seed: int, ties: bool) -> None:
    generator = np.random.default_rng(seed)
    score = generator.integers(0, 4, m).astype(float) if ties else generator.normal(size=m)
    correct = generator.random(m) < 0.7
    found = risk_coverage(score, correct)
    perfect, worst = risk_coverage(correct * 1.0, correct), risk_coverage(correct * -1.0, correct)
    assert found.best - 1e-12 <= found.area <= worst.area + 1e-12
    assert_allclose(perfect.area, found.best, atol=1e-12)
    # the closed form that draws use is the curve's own area
    table = error_detection({"a": score}, correct, n_boot=0).table
    assert_allclose(table["value"].iloc[1], found.area, atol=1e-9)


def test_detection_is_scikit_learns_auc_and_draws_put_patients_together() -> None:
    from widgetkit.analysis.resampling import interval, resample

    generator = np.random.default_rng(0)
    patients, correct = np.repeat(np.arange(20), 4), generator.random(80) < 0.75
    confidence = generator.normal(size=80) + correct
    consistency = np.round(generator.random(80) + 0.5 * correct, 1)
    found = error_detection(
        {"confidence": confidence, "consistency": consistency},
        correct,
        patients,
        n_boot=200,
        seed=3,
    )
    table = found.table.set_index(["detector", "measure"])
    assert found.against == "confidence" and (table["wrong"] == (~correct).sum()).all()
    assert table["difference"].isna().tolist() == [True, True, False, False]

    def by_rows(counts: np.ndarray) -> np.ndarray:
        draws = []
        for draw in counts:
            rows = np.repeat(np.arange(80), draw[patients].astype(int))
            one = [
                [roc_auc_score(correct[rows], s[rows]), risk_coverage(s[rows], correct[rows]).area]
                for s in (confidence, consistency)
            ]
            draws.append([*one[0], *one[1], *np.subtract(one[1], one[0])])
        return np.array(draws)

    value = by_rows(np.ones((1, 20)))[0]
    low, high = interval(resample(by_rows, 20, 200, 3), 20, 0.95)
    for d, name in enumerate(("confidence", "consistency")):
        for at, measure in enumerate(("AUC", "risk-coverage area")):
            row = table.loc[(name, measure)]
            assert_allclose(
                row[["value", "low", "high"]].astype(float),
                [v[2 * d + at] for v in (value, low, high)],
            )
    for at, measure in enumerate(("AUC", "risk-coverage area")):
        row = table.loc[("consistency", measure)]
        names = ["difference", "difference_low", "difference_high"]
        assert_allclose(
            row[names].astype(float), [v[4 + at] for v in (value, low, high)], atol=1e-9
        )


def test_all_right_and_bad_scores() -> None:
    table = error_detection({"a": [1.0, 2.0, 3.0]}, np.ones(3, bool), n_boot=20).table
    assert np.isnan(table["value"].iloc[0]) and table["value"].iloc[1] == 0
    assert table["note"].str.startswith("All predictions are right").all()
    with pytest.raises(UnknownName, match="'conf'"):
        error_detection({"a": [1.0]}, np.ones(1, bool), against="conf")
    with pytest.raises(InvalidInput, match="NaN"):
        error_detection({"a": [1.0, np.nan]}, np.ones(2, bool))
    with pytest.raises(ChannelMismatch):
        error_detection({"a": [1.0], "b": [1.0, 2.0]}, np.ones(1, bool))
    with pytest.raises(InvalidInput, match="no score"):
        error_detection({}, np.ones(1, bool))
    with pytest.raises(TooFew):
        risk_coverage([], np.ones(0, bool))
    with pytest.raises(InvalidInput, match="coverage"):
        risk_coverage([1.0], np.ones(1, bool)).at(0)
