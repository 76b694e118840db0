"""Reading ahead of the computation and writing behind it, in one thread each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

Task = TypeVar("Task")
Loaded = TypeVar("Loaded")


def read_ahead(
    tasks: Iterable[Task], load: Callable[[Task], Loaded], *, depth: int = 2
) -> Generator[tuple[Task, Loaded]]:
    """``(task, load(task))`` in order, ``depth`` of them loaded before they are asked for.

    An error of ``load`` is raised where its task's turn comes. Close the generator to stop early:
    what is being loaded is finished, the rest never begins.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="widgetkit-extract-read")
    waiting: deque[tuple[Task, Future[Loaded]]] = deque()
    try:
        for task in tasks:
            waiting.append((task, pool.submit(load, task)))
            if len(waiting) > depth:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class WriteBehind:
    """Calls functions one after the other in a thread; at most ``depth`` wait.

    Leaving the block waits for all of them. An error is raised at the next :meth:`put`, or on
    leaving, unless the block is left by another error already.
    """

    def __init__(self, *, depth: int = 2) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="widgetkit-extract-write")
        self._waiting: deque[Future[None]] = deque()
        self._depth = depth

    def put(self, function: Callable[[], None]) -> None:
        """Have ``function`` called; waits while too many others do."""
        while self._waiting and (len(self._waiting) >= self._depth or self._waiting[0].done()):
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(function))

    def __enter__(self) -> WriteBehind:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # What was computed is written even when something else failed: it need not be done again.
        self._pool.shutdown(wait=True)
        if error is None:
            for future in self._waiting:
                future.result()
