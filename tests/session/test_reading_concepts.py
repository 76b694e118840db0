"""Concepts read through the session: learned, held out by patient, judged, kept, found again, undone."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import widgetkit as wk
from tests.session.readings import NAMES, concept_store, concepts_of
from widgetkit import concepts as room
from widgetkit.concepts import ConceptSet
from widgetkit.errors import InvalidInput, TooFew, UnknownLayer, UnknownName
from widgetkit.session import concept_controls, concept_learning, concept_sides
from widgetkit.session.concept_kept import KIND
from widgetkit.session.concept_reading import ConceptReading
from widgetkit.session.concept_words import renamed
from widgetkit.store import ActivationStore

Make = Callable[..., ActivationStore]
TRAINING = "split == 'training'"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    return concept_store(tmp_path_factory.mktemp("concepts") / "s.wk")


@pytest.fixture
def fresh(tmp_path: Path) -> ActivationStore:
    return concept_store(tmp_path / "s.wk")


def session_of(store: ActivationStore, **options: Any) -> wk.Session:
    session = wk.Session(store)
    session.set_concepts(concepts_of(store, **options))
    return session


def reading_of(session: wk.Session, *given: Any, **options: Any) -> ConceptReading:
    job = session.read_concepts(*given, **{"n_boot": 50, **options})
    assert job.status == "done"
    found = session.concept_reading
    assert found is not None
    return found


# -- what it says ------------------------------------------------------------------------
@pytest.mark.parametrize("estimator", ["probe", "density", "cav"])
def test_planted_concepts_are_read_and_the_shortcut_is_named(
    kept: ActivationStore, estimator: str
) -> None:
    found = reading_of(session_of(kept), estimator, learn_from=TRAINING)
    assert (found.layer, found.estimator, found.how) == ("dense", estimator, "projection")
    split = kept.tiles["split"].to_numpy()
    np.testing.assert_array_equal(found.learned, split == "training")
    np.testing.assert_array_equal(found.judged, split == "test")
    auc = found.report[found.report["measure"] == "AUC"].set_index("concept")
    assert (auc["value"] > 0.95).all() and auc.loc["(all)", "permuted"] < 0.75
    assert (auc.loc[list(found.names), "n"] == found.judged.sum()).all()
    truth = kept.tiles[list(found.names)].to_numpy()
    # the least score among many examples is a low threshold: densities say too much, as published
    least = 0.65 if estimator == "density" else 0.9
    assert (found.identified.present == truth)[found.judged].mean() > least
    assert found.predicted is not None and found.correct is not None
    label = kept.tiles["label"].to_numpy()
    said = np.array(found.classes)[found.predicted]
    np.testing.assert_array_equal(found.correct, said == label)
    if estimator == "probe":
        assert any("'line' counts towards 'HCC' though no class" in w for w in found.warnings())
        mine = found.compare(said == "HCC", intervals=False).set_index("concept")
        assert mine.loc["line", "contradicts_in"] == pytest.approx(mine.loc["line", "share_in"])
        assert mine.loc["rim", "contradicts_in"] == 0


def test_relevance_is_exact_on_the_head(kept: ActivationStore) -> None:
    found = reading_of(session_of(kept), learn_from=TRAINING)
    assert found.relevance is not None and found.relevance.exact
    logits = kept.outputs
    assert logits is not None and found.predicted is not None
    total = found.relevance.relevance.sum(axis=1) + found.relevance.rest
    np.testing.assert_allclose(total, logits[np.arange(len(kept)), found.predicted], atol=1e-5)
    other = reading_of(session_of(kept), learn_from=TRAINING, how="removal")
    assert other.relevance is not None and not other.relevance.exact and other.how == "removal"


def test_scores_of_tiles_learned_from_are_held_out_by_patient(kept: ActivationStore) -> None:
    """Labels dealt out at random by patient are not read better than chance, also where learned from."""
    rng = np.random.default_rng(1)
    session = wk.Session(kept)
    shows = rng.random(60)[np.arange(180) // 3] < 0.5
    made = ConceptSet.from_examples(
        180, {"noise": shows}, without={"noise": ~shows}, patients=np.arange(180) // 3
    )
    session.set_concepts(made)
    found = reading_of(session)
    assert found.learned.all() and found.judged.all()
    value = found.report.set_index(["concept", "measure"])["value"]
    assert abs(value["noise", "AUC"] - 0.5) < 0.2
    assert "each by a model without its patient" in found.note
    # the scores are those of the folds of the concept report
    model = room.ProbeConcepts(0.1)
    X = kept.embeddings("dense")
    report = room.concept_report(
        model, X, made.Y, made.patients, names=made.names, controls=(), n_boot=0
    )
    np.testing.assert_allclose(found.identified.scores, report.scores["ProbeConcepts"], atol=1e-6)
    model.fit(X, made.Y, names=made.names)
    seen = model.score(X)
    assert np.abs(seen - found.identified.scores).max() > 0.1


def test_all_learned_from_are_judged_without_their_patient(kept: ActivationStore) -> None:
    found = reading_of(session_of(kept))
    assert found.learned.all() and found.judged.all()
    again = reading_of(session_of(kept), learn_from=np.arange(180))
    assert any("All labelled tiles are learned from" in said for said in again.notes)
    np.testing.assert_array_equal(again.identified.scores, found.identified.scores)


def test_a_set_that_does_not_say_whose_the_tiles_are_is_read_by_the_patients_of_the_store(
    kept: ActivationStore,
) -> None:
    session, other = session_of(kept), wk.Session(kept)
    labels = session.concepts.labels == 1
    other.set_concepts(
        ConceptSet.from_examples(
            len(kept),
            {name: labels[:, f] for f, name in enumerate(NAMES)},
            without={name: ~labels[:, f] for f, name in enumerate(NAMES)},
            class_concepts=session.concepts.class_concepts,
            classes=session.concepts.classes,
        )
    )
    assert other.concepts is not None and other.concepts.patients is None
    found, plain = reading_of(session), reading_of(other)
    np.testing.assert_array_equal(plain.identified.scores, found.identified.scores)
    pd.testing.assert_frame_equal(plain.report, found.report)
    assert any("patients are those of the store" in said for said in plain.notes)
    assert not any("patients are those of the store" in said for said in found.notes)
    again = wk.Session(kept)
    again.set_concepts(other.concepts)
    assert again.concept_reading is not None and again.concept_reading.notes == plain.notes


def test_where_nobody_knows_the_patients_the_reading_says_so(make: Make) -> None:
    session = wk.Session(make(labels=False))
    session.save_as_concept("rim", np.arange(0, 60, 2))
    for learn_from in (None, np.arange(60), np.arange(30)):
        found = reading_of(session, learn_from=learn_from)
        assert any("patients are not known" in said for said in found.notes)
        assert not any("without its patient" in said for said in found.notes)


def test_labels_dealt_out_anew_are_not_told_on_other_patients(kept: ActivationStore) -> None:
    rows = []
    for seed in range(8):
        found = reading_of(session_of(kept), learn_from=TRAINING, seed=seed, n_boot=0)
        auc = found.report[found.report["measure"] == "AUC"].set_index("concept")
        rows.append(auc.loc[list(NAMES), "permuted"])
    drawn = np.array(rows)
    # a vector learned from noise tells planted concepts, or their opposite, by luck: 0.02 and 0.98
    assert abs(drawn.mean() - 0.5) < 0.06 and drawn.std() < 0.12


def test_a_patient_learned_from_is_not_judged(kept: ActivationStore) -> None:
    rows = np.arange(0, 181)[
        :100
    ]  # the last patient has one tile on this side and two on the other
    found = reading_of(session_of(kept), learn_from=rows)
    patients = found.concepts.patients
    assert patients is not None and patients[99] == patients[100] == 33
    assert not np.isin(patients[found.judged], patients[found.learned]).any()
    assert any("2 labelled tiles are not judged: they are of patients" in n for n in found.notes)
    with pytest.raises(InvalidInput, match="Split by patient"):
        session_of(kept).read_concepts(learn_from=np.arange(180) % 3 > 0)


def test_classes_show_what_their_tiles_do_where_nobody_said(kept: ActivationStore) -> None:
    found = reading_of(session_of(kept, classes=False), learn_from=TRAINING)
    assert found.concepts.class_concepts is not None
    mine = found.learned
    label = kept.tiles["label"].to_numpy()
    for k, name in enumerate(found.concepts.classes):
        share = kept.tiles[list(found.names)].to_numpy()[mine & (label == name)].mean(axis=0)
        np.testing.assert_array_equal(found.concepts.class_concepts[k], share >= 0.1)
    assert any("Nobody said which class shows which concept" in said for said in found.notes)


def test_a_selection_saved_as_a_concept_can_be_read(kept: ActivationStore) -> None:
    session = wk.Session(kept)
    session.select("rim == True")
    session.save_as_concept("mine")
    found = reading_of(session)
    assert any("taken to lack" in said for said in found.notes)
    assert (found.concepts.labels == -1).any() and (found.labels >= 0).all()
    value = found.report.set_index(["concept", "measure"])["value"]
    assert value["mine", "AUC"] > 0.95
    found.distribution("mine", 0)


def test_pairs_that_are_apart_are_not_both_said(kept: ActivationStore) -> None:
    session = session_of(kept)
    before = reading_of(session).identified.present
    session.keep_apart("rim", "line")
    found = reading_of(session).identified
    both = before[:, 0] & before[:, 2]
    assert both.any() and not (found.present[:, 0] & found.present[:, 2]).any()
    weaker = np.where(found.strength[:, 0] < found.strength[:, 2], 0, 2)
    assert found.excluded[np.flatnonzero(both), weaker[both]].all()


def test_most_and_an_estimator_of_ones_own(kept: ActivationStore) -> None:
    found = reading_of(session_of(kept), room.ProbeConcepts(1.0, most=3), most=1)
    assert found.identified.present.sum(axis=1).max() == 1
    assert found.estimator == "ProbeConcepts(most=3)"
    every = reading_of(session_of(kept), room.ProbeConcepts(1.0, most=1), most=None)
    assert every.identified.present.sum(axis=1).max() > 1


class _Deeper(torch.nn.Module):
    """Images to 16 units, and two layers behind them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.dense = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 16), torch.nn.ReLU()
        )
        self.hidden = torch.nn.Sequential(torch.nn.Linear(16, 12), torch.nn.ReLU())
        self.classifier = torch.nn.Linear(12, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.hidden(self.dense(x)))


def test_behind_a_deeper_head_the_network_is_run_on(tmp_path: Path) -> None:
    """Relevance is the drop of the logit without the concept's term, as a loop says; kept for others."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    dark = np.arange(60) % 2 == 0
    images[dark] //= 3
    net = _Deeper().eval()
    store = wk.extract(
        net,
        wk.tiles.from_array(images),
        ["dense"],
        out=tmp_path / "d.wk",
        device="cpu",
        progress=False,
    )
    session = wk.Session(store, wk.ModelContext.for_store(net, store, device="cpu"), layer="dense")
    session.set_concepts(room.ConceptSet.from_examples(60, {"dark": dark}, without={"dark": ~dark}))
    found = reading_of(session, how="removal", directions="estimator")
    relevance = found.relevance
    assert relevance is not None and not relevance.exact
    assert any("does not add up exactly" in said for said in found.notes)
    H = np.array(store.embeddings("dense"))
    learned = room.ProbeConcepts(0.1).fit(H, found.concepts.Y, names=("dark",))
    u = learned.direction_[0]
    rest = torch.nn.Sequential(net.hidden, net.classifier)
    with torch.inference_mode():
        whole = rest(torch.from_numpy(H)).numpy()
        less = rest(torch.from_numpy((H - (H @ u)[:, None] * u).astype(np.float32))).numpy()
    seen = np.flatnonzero(found.identified.present[:, 0])
    k = found.predicted[seen]
    np.testing.assert_allclose(relevance.relevance[seen, 0], (whole - less)[seen, k], atol=1e-4)
    # what pixels give away is said beside it: dark pictures need no network
    (row,) = found.report.query("concept == 'dark' and measure == 'AUC'").to_dict("records")
    assert row["pixels"] == 1 and 0.2 < row["permuted"] < 0.8
    # a session without the network finds it
    alone = wk.Session(store, layer="dense")
    alone.set_concepts(session.concepts)
    again = reading_of(alone, how="removal", directions="estimator")
    np.testing.assert_allclose(again.relevance.relevance, relevance.relevance)


def test_pictures_that_are_too_many_are_no_control(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concept_controls, "PIXELS_MOST", 20)
    images = np.random.default_rng(0).integers(0, 256, (24, 9, 20), dtype=np.uint8)
    images[::2] //= 2
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(180, 6)).eval()
    store = wk.extract(
        net, wk.tiles.from_array(images), ["0"], out=tmp_path / "d.wk", device="cpu", progress=False
    )
    even = np.arange(24) % 2 == 0
    session = wk.Session(store)
    session.set_concepts(ConceptSet.from_examples(24, {"even": even}, without={"even": ~even}))
    found = reading_of(session)
    assert "pixels" not in found.report.columns
    assert any("24 pictures would have to be read" in said for said in found.notes)
    monkeypatch.setattr(concept_controls, "PIXELS_MOST", 5000)
    again = reading_of(session, seed=1)  # of 9 x 20 pixels: means of 1 x 2
    assert again.report.query("measure == 'AUC'")["pixels"].gt(0.9).all()


def test_a_tile_without_a_label_is_scored_without_its_patient(tmp_path: Path) -> None:
    """Activations that tell the patient and nothing else: nothing can be read of another patient."""
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(20), 6)
    shows = (rng.random(20) < 0.5)[patients]
    store = concept_store(tmp_path / "p.wk", n=120)
    codes = rng.normal(size=(20, 12))[patients].astype(np.float32)
    labels = np.where(np.arange(120) % 3 == 0, -1, shows)[:, None].astype(np.int8)
    session = wk.Session(store)
    monkey = pytest.MonkeyPatch()
    monkey.setattr(type(store), "embeddings", lambda self, layer: codes)
    try:
        session.set_concepts(ConceptSet(("by patient",), labels, patients))
        found = reading_of(session, layer="dense")
    finally:
        monkey.undo()
    unknown = labels[:, 0] < 0
    right = found.identified.present[unknown, 0] == shows[unknown]
    assert right.mean() < 0.8  # a model that has seen their patients says all of them right


def test_without_head_labels_or_predictions(tmp_path: Path) -> None:
    store = concept_store(tmp_path / "bare.wk", head=False, labels=False)
    found = reading_of(session_of(store, classes=False))
    assert found.relevance is None and found.correct is None and found.quality is None
    assert any("no linear classifier on layer 'dense'" in said for said in found.notes)
    assert any("Nobody said which class" in said for said in found.notes)
    assert found.compare(np.arange(180) < 50).attrs["difference"] == "share"
    assert found.case(3).rest is None
    maps = reading_of(session_of(store), layer="maps")
    assert maps.layer == "maps" and maps.activations is not None and maps.activations.ndim == 2


def test_the_session_s_layer_is_read_where_it_holds_vectors(kept: ActivationStore) -> None:
    session = session_of(kept)
    assert session.layer == "maps" and reading_of(session).layer == "dense"
    session.set_layer("dense")
    assert reading_of(session).layer == "dense"


def test_few_are_learned_from_when_there_are_many(
    kept: ActivationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concept_sides, "LEARN_MOST", 120)
    monkeypatch.setattr(concept_learning, "_CHUNK", 50)
    found = reading_of(session_of(kept), seed=4)
    assert found.learned.sum() == 120 and any("Learned from 120 of 180" in s for s in found.notes)
    whole = found.relevance
    assert whole is not None and whole.relevance.shape == (180, 3)


# -- kept --------------------------------------------------------------------------------
def same(a: ConceptReading, b: ConceptReading) -> None:
    """Two readings hold the same."""
    assert a.concepts == b.concepts
    for key in ("layer", "estimator", "how", "classes", "note", "notes"):
        assert getattr(a, key) == getattr(b, key), key
    for key in (
        "learned",
        "judged",
        "predicted",
        "probabilities",
        "truth",
        "correct",
        "consistency",
    ):
        x, y = getattr(a, key), getattr(b, key)
        assert (x is None) == (y is None), key
        if x is not None:
            np.testing.assert_array_equal(x, y)
            assert x.dtype == y.dtype, key
    for key in ("scores", "strength", "present", "excluded", "contradicts"):
        np.testing.assert_array_equal(getattr(a.identified, key), getattr(b.identified, key))
    for key in ("report", "quality", "units"):
        x, y = getattr(a, key), getattr(b, key)
        assert (x is None) == (y is None)
        if x is not None:
            pd.testing.assert_frame_equal(x, y, check_dtype=False)
    assert (a.detection is None) == (b.detection is None)
    if a.detection is not None and b.detection is not None:
        pd.testing.assert_frame_equal(a.detection.table, b.detection.table, check_dtype=False)
        for key, curve in a.detection.curves.items():
            np.testing.assert_array_equal(curve.risk, b.detection.curves[key].risk)
    if a.relevance is not None and b.relevance is not None:
        np.testing.assert_array_equal(a.relevance.rest, b.relevance.rest)
        np.testing.assert_array_equal(a.relevance.share, b.relevance.share)
    row = int(np.flatnonzero(a.judged)[0])
    pd.testing.assert_frame_equal(a.case(row).concepts, b.case(row).concepts)
    assert a.case(row).nearest == b.case(row).nearest and a.warnings() == b.warnings()


def test_it_is_kept_and_found_by_another_session(fresh: ActivationStore) -> None:
    session = session_of(fresh)
    told: list[Any] = []
    session.observe("concept reading", told.append)
    assert session.concept_reading is None
    found = reading_of(session, learn_from=TRAINING)
    assert told == [found]
    other = session_of(ActivationStore.open(fresh.path))
    again = other.concept_reading
    assert again is not None
    same(found, again)
    assert "Doe" not in str(dict(fresh.derived.get(KIND, fresh.derived.names(KIND)[0]).params))


def test_it_is_not_computed_twice(fresh: ActivationStore, monkeypatch: pytest.MonkeyPatch) -> None:
    found = reading_of(session_of(fresh))
    monkeypatch.setattr(concept_learning, "read", None)
    same(found, reading_of(session_of(fresh)))
    with pytest.raises(TypeError):
        session_of(fresh).read_concepts(seed=9)


def test_it_is_found_without_torch_or_sklearn(fresh: ActivationStore) -> None:
    session = session_of(fresh)
    reading_of(session)
    session.concepts.save(fresh, "mine")  # type: ignore[union-attr]
    script = f"""
import sys
for name in ("torch", "sklearn", "umap"):
    sys.modules[name] = None
import numpy as np
import widgetkit as wk
store = wk.open({str(fresh.path)!r})
session = wk.Session(store)
session.set_concepts(wk.concepts.ConceptSet.load(store, "mine"))
found = session.concept_reading
print(found, len(found.compare(np.arange(180) < 90)), found.case(3).row, len(found.warnings()))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "<ConceptReading: 3 concepts in 180 tiles of dense" in done.stdout


def test_undo_brings_the_old_one_back(fresh: ActivationStore) -> None:
    session = session_of(fresh)
    first = reading_of(session)
    told: list[Any] = []
    session.observe("concept reading", told.append)
    session.remove_concept("line")
    assert session.concept_reading is None and told == [None]
    second = reading_of(session)
    assert second.names == ("rim", "scar") and told == [None, second]
    session.undo()
    assert session.concept_reading is first and told[-1] is first
    session.redo()
    assert session.concept_reading is second
    session.set_concepts(None)
    assert session.concept_reading is None


def test_concepts_called_otherwise_keep_their_reading(fresh: ActivationStore) -> None:
    session = session_of(fresh)
    session.save_as_concept("concept 1", np.arange(30))
    session.keep_apart("concept 1", "scar")
    first = reading_of(session)
    assert any("'concept 1'" in said for said in first.notes)
    told: list[Any] = []
    session.observe("concept reading", told.append)
    session.rename_concept("concept 1", "scar <b>")
    found = session.concept_reading
    assert found is not None and told == [found]
    assert found.names == ("rim", "scar", "line", "scar <b>") == found.identified.names
    assert "'concept 1'" not in " ".join(found.notes) and "'scar <b>'" in " ".join(found.notes)
    assert set(found.report["concept"]) == {*found.names, "(all)"}
    assert set(found.units["concept"]) == set(found.names)
    assert found.concepts.apart == session.concepts.apart == (("scar", "scar <b>"),)  # type: ignore[union-attr]
    pd.testing.assert_series_equal(found.report["value"], first.report["value"])
    assert found.case(3).concepts.equals(
        first.case(3).concepts.replace({"concept": {"concept 1": "scar <b>"}})
    )
    assert session.concept_reading is found, "made once"
    other = wk.Session(ActivationStore.open(fresh.path))
    other.set_concepts(session.concepts)
    assert other.concept_reading is not None
    same(found, other.concept_reading)
    session.undo()
    assert session.concept_reading is not None
    assert session.concept_reading.names == first.names
    session.save_as_concept("concept 1", [40])  # another example is another question
    assert session.concept_reading is None


def test_notes_follow_names_that_hold_one_another() -> None:
    names = {"rim": "scar", "scar": "rim", "a rim": "a scar"}
    said = "Tiles are taken to lack 'rim', 'a rim' and 'scar', but not 'other'."
    assert (
        renamed(said, names)
        == "Tiles are taken to lack 'scar', 'a scar' and 'rim', but not 'other'."
    )
    assert renamed("rim: One example of 'x'.", names) == "scar: One example of 'x'."
    assert renamed("nothing", {}) == "nothing"


DAMAGES: list[Callable[[dict, dict], object]] = [
    lambda p, a: a.update(scores=a["scores"][:-1]),
    lambda p, a: a.update(scores=a["scores"].astype(np.float32)),
    lambda p, a: a.pop("judged"),
    lambda p, a: a.update(present=a["present"] + 1),
    lambda p, a: a.update(predicted=a["predicted"] + 2),
    lambda p, a: a.update(truth=a["truth"] - 5),
    lambda p, a: a.pop("predicted"),
    lambda p, a: a.pop("share"),
    lambda p, a: a.update({"set labels": a["set labels"][:, :2]}),
    lambda p, a: a.pop("set labels"),
    lambda p, a: a.pop("correct"),
    lambda p, a: a.update(probabilities=a["probabilities"][:, :2]),
    lambda p, a: p.update(version=1),
    lambda p, a: p.update(layer="nowhere"),
    lambda p, a: p.update(layer=3),
    lambda p, a: p.update(classes=[1, 2, 3]),
    lambda p, a: p.update(classes=["HCC"]),
    lambda p, a: p.update(notes=[1]),
    lambda p, a: p.update(tables={}),
    lambda p, a: p["tables"].update(report={"order": ["a"], "kinds": {}, "columns": {}}),
    lambda p, a: p["tables"]["report"]["columns"]["value"].append(1.0),
    lambda p, a: p["tables"]["report"]["columns"]["value"].__setitem__(0, "<b>"),
    lambda p, a: p["tables"]["detection"]["columns"]["detector"].__setitem__(0, "other"),
    lambda p, a: p.pop("set"),
]


@pytest.mark.parametrize("damage", range(len(DAMAGES)))
def test_a_damaged_one_is_as_if_not_kept(kept: ActivationStore, damage: int) -> None:
    session = session_of(kept)
    reading_of(session, seed=11)
    names = [n for n in kept.derived.names(KIND) if n.startswith(session.concepts.key)]  # type: ignore[union-attr]
    entries = [kept.derived.get(KIND, name) for name in names]
    (entry,) = [one for one in entries if one.params["asked"]["seed"] == 11]
    params, arrays = _copied(entry.params), dict(entry.arrays)
    for other in entries:  # only this one is there
        kept.derived.delete(KIND, other.name)
    DAMAGES[damage](params, arrays)
    kept.derived.put(KIND, entry.name, arrays, params=params)
    assert session_of(kept).concept_reading is None
    again = reading_of(session_of(kept), seed=11)  # and is made again
    assert session_of(kept).concept_reading is not None and again.judged.any()


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


# -- the job -----------------------------------------------------------------------------
def test_a_newer_question_replaces_an_older_one_and_progress_is_told(kept: ActivationStore) -> None:
    async def notebook() -> None:
        session = wk.Session(kept)
        session.set_concepts(concepts_of(kept))
        seen: list[Any] = []
        session.observe("job", lambda job: seen.append((job.key, job.status)))
        first = session.read_concepts("density", seed=21)
        second = session.read_concepts("cav", seed=21, n_boot=20)
        session.wait()
        assert first.status == "cancelled" and second.status == "done"
        assert session.concept_reading is not None
        assert session.concept_reading.estimator == "cav"
        third = session.read_concepts("density", seed=22)
        session.remove_concept("line")  # what it is about is gone
        session.wait()
        assert third.status == "cancelled" and session.concept_reading is None
        fourth = session.read_concepts(seed=23)
        fourth.cancel()
        session.wait()
        assert fourth.status == "cancelled" and session.concept_reading is None
        session.close()

    asyncio.run(notebook())


# -- what is wrong -----------------------------------------------------------------------
def test_what_cannot_be_asked(kept: ActivationStore) -> None:
    session = wk.Session(kept)
    with pytest.raises(InvalidInput, match="no concepts yet"):
        session.read_concepts()
    session.set_concepts(concepts_of(kept))
    for wrong, error, said in (
        ({"estimator": "prob"}, UnknownName, "'probe'"),
        ({"estimator": object()}, InvalidInput, "got object"),
        ({"layer": "dens"}, UnknownLayer, "'dense'"),
        ({"learn_from": "spilt == 'training'"}, UnknownName, "'split'"),
        ({"learn_from": "split == 'none'"}, TooFew, "No tile satisfies"),
        ({"learn_from": [180]}, InvalidInput, "180"),
        ({"learn_from": []}, TooFew, "holds no tile"),
        ({"learn_from": [0, 1]}, TooFew, "one patient"),
        ({"how": "other"}, UnknownName, "'projection'"),
        ({"most": 0}, InvalidInput, "most"),
        ({"n_boot": -1}, InvalidInput, "n_boot"),
    ):
        with pytest.raises(error, match=said):
            session.read_concepts(**wrong)  # type: ignore[arg-type]
    assert session.concept_reading is None or session.concept_reading.judged.any()


def test_concepts_with_no_one_or_all_examples(kept: ActivationStore) -> None:
    session = wk.Session(kept)
    shows = kept.tiles["rim"].to_numpy()
    made = ConceptSet.from_examples(
        180,
        {"fine": shows, "none": [], "one": [5], "all": np.arange(180)},
        without={"fine": ~shows, "none": np.arange(180), "one": np.arange(6, 180)},
        patients=np.arange(180) // 3,
    )
    session.set_concepts(made)
    found = reading_of(session)
    notes = {name: [s for s in found.notes if s.startswith(f"{name}:")] for name in made.names}
    assert (
        not notes["fine"] and "No example" in notes["none"][0] and "One example" in notes["one"][0]
    )
    assert "nothing to compare with" in notes["all"][0]
    assert not found.identified.present[:, [1, 3]].any()
    assert np.isnan(found.identified.scores[:, [1, 3]]).all()
    session.set_concepts(ConceptSet.from_examples(180, {"all": np.arange(180)}))
    with pytest.raises(TooFew, match="nothing to compare with"):
        session.read_concepts()
    session.set_concepts(ConceptSet(("none",), np.full((180, 1), -1, np.int8), np.arange(180) // 3))
    with pytest.raises(TooFew, match="None of the tiles"):
        session.read_concepts()


def test_constant_units_and_a_lone_patient(kept: ActivationStore, tmp_path: Path) -> None:
    from widgetkit.store import LayerPlan, Plan, StoreWriter

    table = kept.tiles[["id", "source", "x", "y", "z", "level", "size", "mpp", "patient"]]
    X = kept.embeddings("dense").copy()
    X[:, 4:] = 1.5
    plan = Plan(tiles=table, layers=[LayerPlan("dense", X.shape[1], ())], segment_rows=180)
    with StoreWriter.open(tmp_path / "constant.wk", plan=plan) as writer:
        writer.write_segment(0, activations={"dense": X})
        store = writer.commit()
    made = concepts_of(kept, classes=False)
    for estimator in ("probe", "density", "cav"):
        session = wk.Session(store)
        session.set_concepts(made)
        found = reading_of(session, estimator)
        assert found.predicted is None and np.isfinite(found.identified.scores).all()
        assert any("no predictions" in said for said in found.notes)
    session = wk.Session(store)
    alone = ConceptSet(made.names, made.labels, np.zeros(180, np.int32))
    session.set_concepts(alone)
    with pytest.raises(TooFew, match="one patient"):
        session.read_concepts()
