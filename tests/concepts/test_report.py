"""The concept report: measures against scikit-learn, intervals, controls, refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import metrics

from tests.concepts.planted import NAMES, planted
from widgetkit.concepts import DensityRatioConcepts, ProbeConcepts, _measures, concept_report
from widgetkit.concepts._measures import MEASURES, Measures
from widgetkit.errors import Cancelled, ChannelMismatch, InvalidInput, TooFew, UnknownName


def by_scikit_learn(score: np.ndarray, decided: np.ndarray, truth: np.ndarray) -> list[float]:
    return [
        metrics.roc_auc_score(truth, score),
        metrics.average_precision_score(truth, score),
        metrics.precision_score(truth, decided),
        metrics.recall_score(truth, decided),
        metrics.recall_score(~truth, ~decided),
    ]


@settings(deadline=None, max_examples=60)
@given(st.integers(4, 200), st.booleans(), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_measures_are_scikit_learns(n: int, ties: bool, most: int, seed: int) -> None:
    """The estimates exactly; draws of units as putting their rows together, exactly while classes suffice."""
    generator = np.random.default_rng(seed)
    score = generator.normal(size=n)
    score = np.round(score) if ties else score
    truth, decided = generator.random(n) < 0.4, score > 0.2
    truth[:2], decided[:2] = [True, False], [True, False]
    known = np.ones(n, bool)
    known[2:] = generator.random(n - 2) < 0.8
    unit = generator.integers(6, size=n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_measures, "_CLASSES", most)
        found = Measures(score, decided, truth, known, unit, 6)
    assert_allclose(
        found.value, by_scikit_learn(score[known], decided[known], truth[known]), rtol=1e-9
    )
    counts = generator.integers(0, 3, (4, 6)).astype(float)
    for draw, values in zip(counts, found.drawn(counts), strict=True):
        rows = np.repeat(np.arange(n), draw[unit].astype(int) * known)
        if len(rows) and 0 < truth[rows].sum() < len(rows) and decided[rows].any():
            expected = by_scikit_learn(score[rows], decided[rows], truth[rows])
            exact = len(np.unique(score[known])) <= most
            assert_allclose(values[2:], expected[2:])
            assert_allclose(values[:2], expected[:2], atol=1e-9 if exact else 1.0)


def test_classes_cost_little() -> None:
    generator = np.random.default_rng(0)
    truth = generator.random(20_000) < 0.1
    score = generator.normal(size=20_000) + truth
    unit = np.arange(20_000) % 40
    found = Measures(score, score > 1, truth, np.ones(20_000, bool), unit, 40)
    counts = generator.multinomial(40, np.ones(40) / 40, 5).astype(float)
    for draw, values in zip(counts, found.drawn(counts), strict=True):
        rows = np.repeat(np.arange(20_000), draw[unit].astype(int))
        expected = by_scikit_learn(score[rows], score[rows] > 1, truth[rows])
        assert_allclose(values, expected, atol=2e-3)


def test_report_holds_scikit_learns_measures_of_held_out_scores() -> None:
    data = planted(0, 160)
    report = concept_report(ProbeConcepts(), data.X, data.Y, data.patients, names=NAMES, n_boot=200)
    assert report.names == NAMES and report.note == ""
    scores, present = report.scores["ProbeConcepts"], report.present["ProbeConcepts"]
    for patient in np.unique(data.patients):
        assert len(np.unique(report.folds[data.patients == patient])) == 1
    held_out = ProbeConcepts().held_out(data.X, data.Y, report.folds, groups=data.patients)
    assert_array_equal(held_out.scores, scores)
    for f, name in enumerate(NAMES):
        rows = report.concept(name)
        assert rows["measure"].tolist() == list(MEASURES)
        expected = by_scikit_learn(scores[:, f], present[:, f], data.Y[:, f] == 1)
        assert_allclose(rows["value"], expected)
        assert (rows["low"] <= rows["value"]).all() and (rows["value"] <= rows["high"]).all()
        assert (rows["n"] == 160).all() and (rows["positive"] == data.Y[:, f].sum()).all()
        assert (rows["patients"] == 80).all()
    every = report.concept("(all)") if "(all)" in report.names else report.table.tail(5)
    truth = data.Y == 1
    assert_allclose(every["value"].iloc[2], (present & truth).sum() / present.sum())
    assert_allclose(every["value"].iloc[3], (present & truth).sum() / truth.sum())
    assert_allclose(every["value"].iloc[0], report.of("AUC")["value"].mean())


def test_controls_are_at_chance_and_the_network_is_not() -> None:
    """Labels dealt out anew, random weights that hold nothing, pixels that hold one concept."""
    permuted, noise = [], []
    for seed in range(6):
        data = planted(seed, 160)
        generator = np.random.default_rng(seed)
        pixels = generator.normal(size=(160, 3, 4))
        pixels[:, 0, 0] += 4 * data.Y[:, 2]
        report = concept_report(
            ProbeConcepts(0.1),
            data.X,
            data.Y,
            data.patients,
            random_weights=generator.normal(size=(160, 20)),
            pixels=pixels,
            names=NAMES,
            n_boot=0,
        )
        rows = report.of("AUC")
        assert rows["value"].min() > 0.8
        permuted += rows["permuted"].tolist()
        noise += rows["random_weights"].tolist()
        by_name = rows.set_index("concept")
        assert by_name.loc["scar", "pixels"] > 0.95
        assert by_name["pixels"].drop("scar").mean() < 0.65
    for values in (permuted, noise):
        assert abs(np.mean(values) - 0.5) < 3.5 * np.std(values) / np.sqrt(len(values)) + 0.01


def test_a_concept_that_pixels_give_away_is_not_credited() -> None:
    data = planted(0, 160)
    generator = np.random.default_rng(0)
    pixels = np.where(data.Y[:, [2]] == 1, 1.0, 0.0) + 1e-3 * generator.normal(size=(160, 1))
    Y = np.concatenate([data.Y, generator.random((160, 1)) < 0.4], axis=1)
    report = concept_report(
        ProbeConcepts(0.1),
        data.X,
        Y,
        data.patients,
        pixels=pixels,
        names=[*NAMES, "nothing"],
        n_boot=300,
    )
    assert set(report.struggles()) == {"scar", "nothing"} and report.struggles()[0] == "nothing"
    text = " ".join(report.sentences())
    assert "Not above chance or a control: nothing, scar." in text


def test_estimators_beside_each_other() -> None:
    data = planted(0, 100, 2, d=8)
    report = concept_report(
        {"probe": ProbeConcepts(), "density": DensityRatioConcepts("normal")},
        data.X,
        data.Y,
        data.patients,
        images=data.images,
        controls=(),
        n_boot=100,
    )
    assert list(report.scores) == ["probe", "density"] and "permuted" not in report.table
    assert len(report.table) == 2 * 6 * 5
    assert report.of("AUC", "density")["value"].min() > 0.7
    found = DensityRatioConcepts("normal").held_out(
        data.X, data.Y, report.folds[data.images], groups=data.patients, images=data.images
    )
    assert_array_equal(found.scores, report.scores["density"])
    assert_array_equal(found.present, report.present["density"])


def test_unlabelled_images_are_not_measured() -> None:
    data = planted(0, 120)
    Y = data.Y.copy()
    Y[::3, 0] = np.nan
    report = concept_report(ProbeConcepts(), data.X, pd.DataFrame(Y, columns=NAMES), n_boot=0)
    rows = report.concept("thin wall")
    assert (rows["n"] == 80).all() and np.isfinite(report.scores["ProbeConcepts"][::3, 0]).all()
    known = ~np.isnan(Y[:, 0])
    score = report.scores["ProbeConcepts"][known, 0]
    assert_allclose(rows["value"].iloc[0], metrics.roc_auc_score(Y[known, 0], score))


def test_no_one_and_all_examples() -> None:
    data = planted(0, 60, d=6)
    Y = np.stack([np.zeros(60), np.ones(60), np.eye(60)[4], data.Y[:, 1]], axis=1)
    names = ["none", "all", "one", "some"]
    for estimator in (ProbeConcepts(), DensityRatioConcepts("normal")):
        report = concept_report(estimator, data.X, Y, data.patients, names=names, n_boot=50)
        for name in names[:3]:
            rows = report.concept(name)
            # of one example only what concerns the images without it can be said
            lost = rows["measure"].isin(["AUC", "average precision", "sensitivity"])
            assert rows["value"][lost].isna().all() and (rows["note"][lost] != "").all(), name
            assert rows["low"][lost].isna().all()
        assert report.concept("some")["value"].notna().all()
        assert report.struggles()[-3:] != [] and "Could not be measured" in " ".join(
            report.sentences()
        )
    assert "No example" in report.concept("none")["note"].iloc[0]


def test_same_patient_on_both_sides_is_refused() -> None:
    data = planted(0, 60)
    with pytest.raises(InvalidInput, match=r"30 patient\(s\) on both sides"):
        concept_report(ProbeConcepts(), data.X, data.Y, data.patients, folds=np.arange(60) % 2)
    report = concept_report(
        ProbeConcepts(), data.X, data.Y, data.patients, folds=data.patients % 3, n_boot=0
    )
    assert_array_equal(np.unique(report.folds), [0, 1, 2])


def test_few_patients_are_said() -> None:
    data = planted(0, 60)
    report = concept_report(ProbeConcepts(), data.X, data.Y, data.images % 4, n_boot=50)
    assert "4 folds instead of 5" in report.note and "Only 4 patients" in report.note
    with pytest.raises(TooFew, match="one patient"):
        concept_report(ProbeConcepts(), data.X, data.Y, np.zeros(60))


def test_same_seed_same_table() -> None:
    data = planted(0, 60)
    tables = [
        concept_report(ProbeConcepts(), data.X, data.Y, data.patients, n_boot=50, seed=s).table
        for s in (1, 1, 2)
    ]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert not tables[0]["low"].equals(tables[2]["low"])


def test_progress_cancel_and_bad_input() -> None:
    data = planted(0, 60)
    seen: list[tuple[int, int]] = []
    concept_report(ProbeConcepts(), data.X, data.Y, n_boot=0, progress=lambda *at: seen.append(at))
    assert seen == [(0, 2), (1, 2), (2, 2)]
    with pytest.raises(Cancelled):
        concept_report(ProbeConcepts(), data.X, data.Y, cancel=lambda: True)
    with pytest.raises(UnknownName, match=r"'pixel'.*'pixels'"):
        concept_report(ProbeConcepts(), data.X, data.Y, controls=["pixel"])
    with pytest.raises(ChannelMismatch, match="pixels has 3 rows"):
        concept_report(ProbeConcepts(), data.X, data.Y, pixels=np.ones((3, 2)))
    with pytest.raises(InvalidInput, match="no estimator"):
        concept_report({}, data.X, data.Y)
    report = concept_report(ProbeConcepts(), data.X, data.Y, n_boot=0, controls=())
    with pytest.raises(UnknownName, match="'concept 1'"):
        report.concept("concept")
    with pytest.raises(UnknownName, match="'AUC'"):
        report.of("auc")
    with pytest.raises(UnknownName, match="'ProbeConcepts'"):
        report.of("AUC", "Probe")


def test_intervals_hold_the_truth() -> None:
    """Of a fixed rule the 95 % interval by patient holds the AUC of the population about so often."""
    held = 0
    for seed in range(120):
        generator = np.random.default_rng(seed)
        patient = np.repeat(np.arange(30), 6)
        truth = generator.random(180) < 0.4
        score = truth + generator.normal(size=180) + generator.normal(size=30)[patient]
        one = Measures(score, score > 0, truth, np.ones(180, bool), patient, 30)
        from widgetkit.analysis.resampling import interval, resample

        low, high = interval(resample(one.drawn, 30, 300, seed), 30, 0.95)
        # difference of two normals of variance 1 + 1 each, means 1 apart
        held += low[0] <= 0.6914624612740131 <= high[0]
    assert held / 120 > 0.87
