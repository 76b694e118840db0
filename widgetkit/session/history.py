"""Undo and redo, each step with the Python line that does it again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Step(Generic[T]):
    """One change of the session.

    Attributes
    ----------
    title : str
        What it did, for people: ``"Lasso: 120 tiles"``. Not escaped.
    code : str
        A line of Python that does it again on a variable ``session`` (with ``widgetkit``
        imported as ``wk``). It holds literals only, so it never depends on other lines.
    before, after : T
        The undoable part of the session around the step.
    """

    title: str
    code: str
    before: T = field(repr=False)
    after: T = field(repr=False)


class History(Generic[T]):
    """What was done, and what was undone and can be redone.

    Values are immutable, so a step holds two references and copies nothing.

    Parameters
    ----------
    limit : int
        Steps kept; the oldest are forgotten beyond it. 200 steps of a selection of a
        million tiles are 25 MB.
    """

    def __init__(self, limit: int = 200) -> None:
        self._limit = limit
        self._done: list[Step[T]] = []
        self._undone: list[Step[T]] = []
        self.forgotten = 0

    @property
    def steps(self) -> tuple[Step[T], ...]:
        """What was done, oldest first, without what was undone."""
        return tuple(self._done)

    @property
    def undone(self) -> tuple[Step[T], ...]:
        """What ``redo`` would do, next first."""
        return tuple(reversed(self._undone))

    @property
    def can_undo(self) -> bool:
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        return bool(self._undone)

    def __len__(self) -> int:
        return len(self._done)

    def record(self, title: str, code: str, before: T, after: T) -> Step[T]:
        """Add a step; what was undone before it can no longer be redone."""
        step = Step(title, code, before, after)
        self._undone.clear()
        self._done.append(step)
        if len(self._done) > self._limit:
            del self._done[0]
            self.forgotten += 1
        return step

    def undo(self) -> T | None:
        """The state before the last step, or None when there is none."""
        if not self._done:
            return None
        step = self._done.pop()
        self._undone.append(step)
        return step.before

    def redo(self) -> T | None:
        """The state after the step undone last, or None when there is none."""
        if not self._undone:
            return None
        step = self._undone.pop()
        self._done.append(step)
        return step.after

    def clear(self) -> None:
        self._done.clear()
        self._undone.clear()
        self.forgotten = 0

    def script(self) -> str:
        """All lines, in order: run them on a fresh session of the same store."""
        head = [f"# {self.forgotten} earlier steps are not kept"] if self.forgotten else []
        return "\n".join(head + [step.code for step in self._done])

    def __repr__(self) -> str:
        return f"<History: {len(self._done)} steps, {len(self._undone)} undone>"
