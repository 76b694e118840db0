from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from widgetkit.session import History

actions = st.lists(st.one_of(st.integers(0, 9), st.sampled_from(["undo", "redo"])), max_size=60)


@settings(deadline=None, max_examples=100)
@given(actions)
def test_history_is_a_tape_with_a_head(todo: list) -> None:
    """Against the obvious model: a list of states and a position in it."""
    history: History[int] = History()
    tape, head, now = [-1], 0, -1
    for action in todo:
        if action == "undo":
            found = history.undo()
            head = max(head - 1, 0)
            assert found == (tape[head] if found is not None else None)
            now = now if found is None else found
        elif action == "redo":
            found = history.redo()
            head = min(head + 1, len(tape) - 1)
            now = now if found is None else found
        else:
            history.record("step", f"do({action})", now, action)
            tape, head, now = [*tape[: head + 1], action], head + 1, action
        assert now == tape[head]
        assert len(history) == len(history.steps) == head
        assert [s.after for s in history.steps] == tape[1 : head + 1]
        assert [s.after for s in history.undone] == tape[head + 1 :]
        assert history.can_undo == (head > 0)
        assert history.can_redo == (head < len(tape) - 1)


def test_the_oldest_steps_are_forgotten_and_it_is_said() -> None:
    history: History[int] = History(limit=3)
    for i in range(5):
        history.record("step", f"do({i})", i, i + 1)
    assert history.forgotten == 2
    assert history.script().splitlines() == [
        "# 2 earlier steps are not kept",
        "do(2)",
        "do(3)",
        "do(4)",
    ]
    assert [history.undo() for _ in range(4)] == [4, 3, 2, None]
