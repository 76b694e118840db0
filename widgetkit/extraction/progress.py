"""How far it is: a line in a terminal, a bar in a notebook, or a function of yours."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, Protocol, TextIO

ProgressLike = bool | Callable[[int, int], object]
# A person sees no more than this, and a notebook's socket has better things to carry.
SECONDS_BETWEEN = 0.2


class Progress(Protocol):
    """Told what is going on; never asked anything."""

    def say(self, text: str) -> None: ...
    def update(self, done: int, total: int) -> None: ...
    def close(self) -> None: ...


def progress_for(progress: ProgressLike, title: str) -> Progress:
    """The kind that suits where the code runs.

    Parameters
    ----------
    progress : bool or callable
        False: silent. A callable gets ``(done, total)``. True: a bar in a notebook, a line that
        is rewritten in a terminal, first and last line in a log file.
    title : str
    """
    if callable(progress):
        return Callback(progress)
    if not progress:
        return Silent()
    return NotebookBar(title) if in_notebook() else TextLine(title)


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and getattr(shell, "kernel", None) is not None


class Silent:
    def say(self, text: str) -> None:
        pass

    def update(self, done: int, total: int) -> None:
        pass

    def close(self) -> None:
        pass


class Callback(Silent):
    """Passes ``(done, total)`` on."""

    def __init__(self, function: Callable[[int, int], object]) -> None:
        self._function = function

    def update(self, done: int, total: int) -> None:
        self._function(done, total)


class _Timed:
    """Rate and time left, and when the next message is due."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._start = time.monotonic()
        self._first: int | None = None
        self._shown = -SECONDS_BETWEEN

    def is_due(self, done: int, total: int) -> bool:
        now = time.monotonic()
        if self._first is None:  # what an earlier run did does not count for the rate
            self._first, self._start = done, now
        if done < total and now - self._shown < SECONDS_BETWEEN:
            return False
        self._shown = now
        return True

    def line(self, done: int, total: int) -> str:
        seconds = time.monotonic() - self._start
        fresh = done - (self._first or 0)
        rate = fresh / seconds if seconds > 0 else 0.0
        text = f"{self.title}: {done:,} of {total:,} tiles"
        if rate > 0 and done < total:
            text += f", {rate:.1f} a second, {_duration((total - done) / rate)} left"
        elif done >= total and fresh:
            text += f" in {_duration(seconds)}"
        return text


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return (
        f"{minutes} min {rest:02d} s"
        if minutes < 60
        else f"{minutes // 60} h {minutes % 60:02d} min"
    )


class TextLine(_Timed):
    """One line on stderr, rewritten where that is a terminal."""

    def __init__(self, title: str, stream: TextIO | None = None) -> None:
        super().__init__(title)
        self._stream = stream if stream is not None else sys.stderr
        self._rewrites = bool(getattr(self._stream, "isatty", lambda: False)())
        self._width = 0

    def say(self, text: str) -> None:
        self._write("\r" + " " * self._width + "\r" if self._width else "")
        self._write(text + "\n")
        self._width = 0

    def update(self, done: int, total: int) -> None:
        starts = self._first is None
        if not self.is_due(done, total) or not (self._rewrites or starts or done >= total):
            return
        line = self.line(done, total)
        self._write("\r" + line.ljust(self._width) if self._rewrites else line + "\n")
        self._width = len(line) if self._rewrites else 0

    def close(self) -> None:
        if self._width:
            self._write("\n")
            self._width = 0

    def _write(self, text: str) -> None:
        if text:
            self._stream.write(text)
            self._stream.flush()


class NotebookBar(_Timed):
    """An ipywidgets bar with the same line beneath."""

    def __init__(self, title: str) -> None:
        super().__init__(title)
        import ipywidgets
        from IPython.display import display

        self._bar = ipywidgets.IntProgress(layout=ipywidgets.Layout(width="24em"))
        self._text = ipywidgets.Label(value=title)
        display(ipywidgets.HBox([self._bar, self._text]))  # type: ignore[no-untyped-call]

    def say(self, text: str) -> None:
        print(text)

    def update(self, done: int, total: int) -> None:
        if self.is_due(done, total):
            self._bar.max, self._bar.value = max(1, total), done
            self._text.value = self.line(done, total)

    def close(self) -> None:
        self._bar.bar_style = "success" if self._bar.value >= self._bar.max else "warning"
