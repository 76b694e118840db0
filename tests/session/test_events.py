from __future__ import annotations

from typing import Any

import pytest

from widgetkit.errors import InvalidInput, UnknownName
from widgetkit.session.events import EVENTS, PAYLOADS, ErrorReport, Events


def test_observers_are_given_the_value_in_the_order_in_which_they_came() -> None:
    events, seen = Events(), []
    events.observe("focus", lambda value: seen.append(("one", value)))
    events.observe("focus", lambda: seen.append("none wanted"))
    stop = events.observe("focus", seen.append)
    events.emit("focus", 3)
    stop()
    stop()
    events.emit("focus", 4)
    assert seen == [("one", 3), "none wanted", 3, ("one", 4), "none wanted"]


def test_an_unknown_event_lists_the_known() -> None:
    with pytest.raises(UnknownName, match="'selection'"):
        Events().observe("selektion", print)  # type: ignore[arg-type]
    assert set(PAYLOADS) == set(EVENTS)


def test_one_that_fails_does_not_starve_the_others_and_is_raised() -> None:
    events, seen, errors = Events(), [], []

    def broken(value: Any) -> None:
        raise ValueError("broken view")

    events.observe("focus", broken)
    events.observe("focus", seen.append)
    events.observe("error", errors.append)
    with pytest.raises(ValueError, match="broken view"):
        events.emit("focus", 1)
    assert seen == [1]
    assert [e.message for e in errors] == ["ValueError: broken view"]
    assert errors[0].where == "an observer of 'focus'"


def test_in_a_notebook_it_is_kept_for_wait_when_somebody_shows_it() -> None:
    kept: list[BaseException] = []
    events = Events(swallow=lambda: True, keep=kept.append)

    def broken(value: Any) -> None:
        raise ValueError("broken view")

    events.observe("focus", broken)
    with pytest.raises(ValueError, match="broken view"):
        events.emit("focus", 1)
    errors: list[ErrorReport] = []
    events.observe("error", errors.append)
    events.emit("focus", 1)
    assert [str(e) for e in errors] == ["ValueError: broken view"]
    assert [str(e) for e in kept] == ["broken view"]


def test_a_broken_error_strip_does_not_go_round_in_circles() -> None:
    events = Events()

    def broken(value: Any) -> None:
        raise ValueError("strip")

    events.observe("error", broken)
    with pytest.raises(ValueError, match="strip"):
        events.report(InvalidInput("first"), "a job")


def test_one_error_is_told_once_however_far_it_travels() -> None:
    events, errors = Events(), []
    events.observe("error", errors.append)
    problem = InvalidInput("wrong")
    events.report(problem, "here")
    events.report(problem, "further up")
    assert [(e.where, e.message) for e in errors] == [("here", "wrong")]


def test_observers_may_come_and_go_while_they_are_told() -> None:
    events, seen = Events(), []

    def first(value: Any) -> None:
        stop()
        events.observe("focus", lambda v: seen.append("late"))

    events.observe("focus", first)
    stop = events.observe("focus", lambda v: seen.append("stopped"))
    events.emit("focus", 1)
    assert seen == []
