"""Concepts of a session: set, saved from a selection, changed, undone, done again by their lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import widgetkit as wk
from widgetkit.concepts import ConceptSet
from widgetkit.errors import InvalidInput, TooFew, UnknownName
from widgetkit.store import ActivationStore

Make = Callable[..., ActivationStore]


@pytest.fixture
def session(make: Make) -> wk.Session:
    return wk.Session(make(60))


def replay(session: wk.Session) -> wk.Session:
    other = wk.Session(session.store)
    exec(session.history.script(), {"wk": wk, "session": other})
    return other


def test_a_selection_becomes_a_concept(session: wk.Session) -> None:
    told: list[Any] = []
    session.observe("concepts", told.append)
    assert session.concepts is None
    session.select([1, 4, 9])
    assert session.save_as_concept() == "concept 1"
    assert session.concepts is not None and session.concepts.names == ("concept 1",)
    assert session.concepts.examples("concept 1").tolist() == [1, 4, 9]
    assert (session.concepts.labels >= 0).sum() == 3, "nobody looked at the others"
    assert session.concepts.patients is not None
    assert session.concepts.patients.tolist() == [0] * 30 + [1] * 30
    assert session.save_as_concept(rows=np.arange(60) > 50) == "concept 2"
    assert session.save_as_concept("rim", wk.Selection.from_rows(60, [7])) == "rim"
    session.save_as_concept("rim", [8])
    assert session.concepts.examples("rim").tolist() == [7, 8]
    assert told[-1] == session.concepts and len(told) == 4


def test_steps_can_be_undone_and_done_again(session: wk.Session) -> None:
    session.select([1, 2])
    session.save_as_concept("rim")
    session.save_as_concept("scar", range(20, 50))
    session.rename_concept("scar", "central scar")
    session.keep_apart("rim", "central scar")
    session.mark_region("rim", 2, np.eye(4, dtype=bool))
    session.remove_concept("central scar")
    last = session.concepts
    assert last is not None and last.names == ("rim",)
    told: list[Any] = []
    session.observe("concepts", told.append)
    seen = [last]
    while session.concepts is not None:
        assert session.undo()
        seen.append(session.concepts)
    assert told == seen[1:] and session.selection.count == 2
    assert seen[1] is not None and seen[1].apart == (("central scar", "rim"),)
    while session.redo():
        pass
    assert session.concepts == last
    assert replay(session).concepts == last
    session.remove_concept("rim")
    assert session.concepts is None


def test_a_whole_set_is_taken_over(session: wk.Session) -> None:
    made = ConceptSet.from_examples(60, {"rim": [0, 1]}, without={"rim": [5]})
    session.set_concepts(made)
    assert session.concepts == made and replay(session).concepts == made
    steps = len(session.history)
    session.set_concepts(ConceptSet.decode(made.encode()))
    assert len(session.history) == steps, "an equal set is no step"
    session.set_concepts(None)
    assert session.concepts is None
    session.undo()
    assert session.concepts == made


def test_regions_by_mask_and_box(session: wk.Session) -> None:
    session.mark_region("rim", 3, (1, 0, 3, 2))
    assert session.concepts is not None
    wanted = np.zeros((4, 4), bool)
    wanted[0:2, 1:3] = True
    np.testing.assert_array_equal(session.concepts.regions["rim"][3].mask, wanted)
    session.mark_region("rim", 3, np.ones((16, 16), bool))  # over the image
    assert session.concepts.regions["rim"][3].shape == (16, 16)
    assert replay(session).concepts == session.concepts
    session.mark_region("rim", 3, None)
    assert not session.concepts.regions and session.concepts.examples("rim").tolist() == [3]
    with pytest.raises(InvalidInput, match=r"\(4, 4\).*\(16, 16\)"):
        session.mark_region("rim", 3, np.ones((5, 5), bool))
    for box in ((0, 0, 5, 2), (2, 0, 1, 3), (0, 0, 0, 0)):
        with pytest.raises(InvalidInput, match="box"):
            session.mark_region("rim", 3, box)
    with pytest.raises(InvalidInput, match="60 rows"):
        session.mark_region("rim", 60, np.eye(4, dtype=bool))


def test_what_cannot_be_is_refused_and_changes_nothing(session: wk.Session) -> None:
    with pytest.raises(TooFew, match="No tile is selected"):
        session.save_as_concept()
    for call in (
        lambda: session.rename_concept("a", "b"),
        lambda: session.remove_concept("a"),
        lambda: session.keep_apart("a", "b"),
    ):
        with pytest.raises(InvalidInput, match="no concepts yet"):
            call()
    with pytest.raises(InvalidInput, match="59 tiles; the store has 60"):
        session.set_concepts(ConceptSet.from_examples(59, {"rim": [0]}))
    with pytest.raises(InvalidInput, match="ConceptSet; got dict"):
        session.set_concepts({"rim": [0]})  # type: ignore[arg-type]
    session.save_as_concept("rim", [0])
    steps, before = len(session.history), session.concepts
    for call, error in (
        (lambda: session.save_as_concept("rim", [60]), InvalidInput),
        (lambda: session.save_as_concept("a\nb", [0]), InvalidInput),
        (lambda: session.save_as_concept("rim", np.ones(3, bool)), InvalidInput),
        (lambda: session.save_as_concept("rim", wk.Selection.none(3)), InvalidInput),
        (lambda: session.remove_concept("rimm"), UnknownName),
        (lambda: session.rename_concept("rimm", "x"), UnknownName),
        (lambda: session.keep_apart("rim", "scar"), UnknownName),
    ):
        with pytest.raises(error):
            call()
    assert session.concepts == before and len(session.history) == steps


def test_a_store_without_patients(make: Make) -> None:
    session = wk.Session(make(20, labels=False))
    session.save_as_concept("rim", [0])
    assert session.concepts is not None and session.concepts.patients is None


# -- states ------------------------------------------------------------------------------
def test_a_state_carries_the_concepts(session: wk.Session) -> None:
    session.save_as_concept("rim <b>", [1, 2])
    session.mark_region("rim <b>", 2, (0, 0, 2, 2))
    text = session.state()
    fresh = wk.Session(session.store)
    told: list[Any] = []
    fresh.observe("concepts", told.append)
    fresh.restore(text)
    assert fresh.concepts == session.concepts and told == [session.concepts]
    fresh.undo()
    assert fresh.concepts is None
    fresh.redo()
    session.set_concepts(None)
    fresh.restore(session.state())
    assert fresh.concepts is None


def test_states_of_before_are_read_and_damaged_ones_change_nothing(session: wk.Session) -> None:
    session.save_as_concept("rim", [1, 2])
    value = json.loads(session.state())
    assert value["version"] == 3
    old = {**{key: part for key, part in value.items() if key != "concepts"}, "version": 2}
    fresh = wk.Session(session.store)
    fresh.save_as_concept("scar", [3])
    before = fresh.concepts
    bad = [
        {**value, "concepts": {}},
        {**value, "concepts": "{}"},
        {**value, "concepts": ConceptSet.from_examples(59, {"rim": [0]}).encode()},
        {**value, "version": 2},
        {**old, "version": 3},
    ]
    for one in bad:
        with pytest.raises(InvalidInput):
            fresh.restore(json.dumps(one))
        assert fresh.concepts == before
    fresh.restore(json.dumps(old))
    assert fresh.concepts is None
