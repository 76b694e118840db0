"""How long computations report progress and stop on request."""

from __future__ import annotations

from collections.abc import Callable

from widgetkit.errors import Cancelled

Progress = Callable[[int, int], object]
"""Called as ``progress(done, total)``."""

Cancel = Callable[[], object]
"""Called between batches. A true answer stops the computation; it may also raise by itself."""


def checkpoint(
    cancel: Cancel | None, progress: Progress | None = None, done: int = 0, total: int = 0
) -> None:
    """Report progress, then stop if asked to.

    Raises
    ------
    Cancelled
        ``cancel()`` was true.
    """
    if progress is not None:
        progress(done, total)
    if cancel is not None and cancel():
        raise Cancelled("The computation was cancelled; nothing was changed.")
