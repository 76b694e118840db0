"""A reading of concepts: compared with the rest, warned about, one case of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.session.readings import NAMES, hand_made
from widgetkit.errors import ChannelMismatch, InvalidInput, UnknownName
from widgetkit.session.concept_reading import ConceptReading


def by_loop(reading: ConceptReading, mask: np.ndarray) -> pd.DataFrame:
    """The table, said slowly."""
    rows = []
    for f, name in enumerate(reading.names):
        line: dict[str, object] = {"concept": name}
        for side, tiles in (("in", np.flatnonzero(mask)), ("rest", np.flatnonzero(~mask))):
            seen = sum(bool(reading.identified.present[i, f]) for i in tiles)
            line[f"n_{side}"] = seen
            line[f"share_{side}"] = seen / len(tiles) if len(tiles) else np.nan
            total = 0.0
            if reading.relevance is not None:
                for i in tiles:
                    if reading.identified.present[i, f]:
                        total += reading.relevance.relevance[i, f]
            known = len(tiles) and reading.relevance is not None
            line[f"relevance_{side}"] = total / len(tiles) if known else np.nan
        of = "share" if reading.relevance is None else "relevance"
        line["difference"] = line[f"{of}_in"] - line[f"{of}_rest"]  # type: ignore[operator]
        against = 0
        for i in np.flatnonzero(mask):
            shown = set()
            for k, own in enumerate(reading.concepts.classes):
                if reading.concepts.class_concepts[k, f]:  # type: ignore[index]
                    shown.add(own)
            if reading.identified.present[i, f]:
                against += reading.classes[reading.predicted[i]] not in shown  # type: ignore[index]
        line["contradicts_in"] = against / mask.sum() if mask.any() else np.nan
        rows.append(line)
    return pd.DataFrame(rows).set_index("concept")


@given(st.integers(0, 2**31), st.floats(0, 1), st.booleans())
@settings(max_examples=30, deadline=None)
def test_compare_is_what_a_plain_loop_counts(seed: int, share: float, head: bool) -> None:
    reading = hand_made(36, seed=seed % 7)
    if not head:
        reading = replace(reading, relevance=None)
    mask = np.random.default_rng(seed).random(36) < share
    found = reading.compare(mask, intervals=False)
    wanted = by_loop(reading, mask)
    assert sorted(found["concept"]) == sorted(NAMES)
    assert found[["low", "high"]].isna().all(axis=None)
    key = found["relevance_in"] if head else found["share_in"]
    assert key.isna().all() or (np.diff(key) <= 0).all(), "the most relevant come first"
    again = found.set_index("concept").loc[wanted.index, wanted.columns]
    pd.testing.assert_frame_equal(again.astype(float), wanted.astype(float))
    assert found.attrs["difference"] == ("relevance" if head else "share")
    assert (found.attrs["tiles_in"], found.attrs["tiles_rest"]) == (mask.sum(), 36 - mask.sum())


def test_the_interval_draws_patients() -> None:
    reading = hand_made(240)
    mask = np.asarray(reading.predicted == 0)
    found = reading.compare(mask).set_index("concept")
    assert (found["low"] < found["difference"]).all() and (
        found["difference"] < found["high"]
    ).all()
    assert found.loc["rim", "low"] > 0 and found.loc["scar", "high"] < 0
    pd.testing.assert_frame_equal(reading.compare(mask).set_index("concept"), found)
    # tiles of one patient that are alike say no more than one of them
    same = replace(reading.concepts, patients=np.arange(240) // 24)
    wide = replace(reading, concepts=same).compare(mask, seed=1).set_index("concept")
    assert np.isfinite(wide["low"]).all()
    none = replace(reading.concepts, patients=None)
    nobody = replace(reading, concepts=none).compare(mask)
    assert nobody["low"].isna().all() and "patients are not known" in nobody.attrs["note"]


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    held = 0
    reading = hand_made(160)
    assert reading.relevance is not None
    patient = np.arange(160) // 8
    mask = patient % 2 == 0
    base = replace(reading, concepts=replace(reading.concepts, patients=patient))
    for _ in range(120):  # the mean of every patient differs, that of the two sides does not
        values = rng.normal(size=20)[patient][:, None] + rng.normal(0, 0.3, (160, 3))
        seen = np.ones((160, 3), bool)
        one = replace(
            base,
            identified=replace(base.identified, present=seen),
            relevance=replace(reading.relevance, relevance=values),
        )
        found = one.compare(mask, n_boot=200)
        held += int(((found["low"] < 0) & (found["high"] > 0)).iloc[0])
    assert held >= 104, f"{held} of 120 intervals of 95 %"


def test_a_shortcut_is_warned_about_with_numbers() -> None:
    reading = hand_made()
    (said,) = reading.warnings()
    assert "'line' counts towards 'HCC' though no class shows it" in said
    assert "in 15 of 30 tiles predicted 'HCC' (50%)" in said
    assert reading.warnings(np.asarray(reading.predicted == 1)) == []
    assert reading.concepts.class_concepts is not None
    shown = reading.concepts.class_concepts.copy()
    shown[1, 2] = True
    other = replace(reading, concepts=reading.concepts.with_class_concepts(shown))
    (said,) = other.warnings()
    assert "though 'HCC' does not show it" in said
    shown[0, 2] = True
    fine = replace(reading, concepts=reading.concepts.with_class_concepts(shown))
    assert fine.warnings() == []
    against = np.where(reading.identified.present, -1.0, 0.0)
    assert reading.relevance is not None
    counted = replace(reading.relevance, relevance=against)
    assert replace(reading, relevance=counted).warnings() == [], (
        "what speaks against is no shortcut"
    )
    (said,) = replace(reading, relevance=None).warnings()
    assert said.startswith("'line' is seen in 15 of 30")
    nobody = replace(reading, concepts=reading.concepts.with_class_concepts(None))
    assert nobody.warnings() == [] and not nobody.contradicts.any()


def test_a_case() -> None:
    reading = hand_made()
    case = reading.case(40)
    assert (case.predicted, case.row) == ("HCC", 40)
    assert case.probabilities == [("HCC", pytest.approx(0.8)), ("FNH", pytest.approx(0.2))]
    table = case.concepts.set_index("concept")
    assert set(table.index) == {"rim", "line"} and not table["excluded"].any()
    assert (np.diff(case.concepts["relevance"]) <= 0).all()
    assert table["share"].sum() == pytest.approx(1)
    assert table.loc["line", "contradicts"] and not table.loc["rim", "contradicts"]
    assert reading.relevance is not None
    total = table["relevance"].sum() + case.rest
    assert total == pytest.approx(reading.relevance.logit[40])
    (said,) = case.warnings
    assert "'line' is seen" in said and "no class shows it" in said
    assert reading.case(41).warnings == []
    for name, rows in case.nearest.items():
        assert rows and reading.learned[rows].all()
        assert set(rows) <= set(reading.concepts.examples(name))


def test_nearest_examples_are_of_other_patients_and_not_the_tile() -> None:
    reading = hand_made()
    assert reading.concepts.patients is not None
    for row in range(30):
        for rows in reading.case(row).nearest.values():
            assert row not in rows
            assert not (reading.concepts.patients[rows] == reading.concepts.patients[row]).any()
    assert replace(reading, activations=None).case(0).nearest == {}


def test_a_case_without_a_concept_or_a_head() -> None:
    reading = hand_made()
    none = replace(reading.identified, present=np.zeros((60, 3), bool))
    bare = replace(reading, identified=none, relevance=None, consistency=np.zeros(60))
    case = bare.case(3)
    assert case.concepts.empty and case.rest is None
    assert case.warnings == ["No concept is seen that would support 'FNH'."]
    unknown = replace(bare, predicted=None, probabilities=None, correct=None, truth=None)
    case = unknown.case(3)
    assert (case.predicted, case.truth, case.probabilities, case.warnings) == (None, None, [], [])


def test_distributions_of_units() -> None:
    reading = hand_made()
    assert reading.activations is not None
    found = reading.distribution("rim", 1, bins=8)
    shows = reading.concepts.labels[:, 0] == 1
    counted, _ = np.histogram(reading.activations[shows, 1], found.edges)
    np.testing.assert_allclose(found.inside, counted / shows.sum())
    with pytest.raises(UnknownName, match="'rim'"):
        reading.distribution("rmi", 1)
    with pytest.raises(UnknownName, match="units 0 to 4"):
        reading.distribution("rim", 5)
    with pytest.raises(InvalidInput, match="no activations"):
        replace(reading, activations=None).distribution("rim", 1)


def test_what_does_not_fit_is_refused() -> None:
    reading = hand_made()
    for mask in (np.ones(59, bool), np.ones(60), [0, 1]):
        with pytest.raises(InvalidInput, match="one bool each"):
            reading.compare(mask)
    for row in (60, -1, 1.5, True):
        with pytest.raises(InvalidInput, match="no tile"):
            reading.case(row)  # type: ignore[arg-type]
    with pytest.raises(ChannelMismatch, match="judged"):
        replace(reading, judged=np.ones(3, bool))
