"""Panel: base of the views that are made of ipywidgets and plotly charts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from widgetkit.widgets.base import as_session, raises_under_test
from widgetkit.widgets.controls import ErrorStrip, JobStrip, guarded
from widgetkit.widgets.drawn import Drawn

if TYPE_CHECKING:
    from widgetkit.session.events import EventName
    from widgetkit.widgets.base import SessionLike


class Panel(Drawn, widgets.VBox):  # type: ignore[misc]
    """A column of controls over a session.

    A subclass fills ``children``, subscribes with :meth:`listen`, wraps what buttons do in
    :meth:`guard`, and writes the words of :meth:`describe`.
    """

    def __init__(self, source: SessionLike) -> None:
        self.session = as_session(source)
        self.error_strip = ErrorStrip()
        self.jobs_strip = JobStrip(self.session)
        self._unsubscribe: list[Callable[[], None]] = []
        super().__init__()
        self.add_class("wk-panel")
        self._unsubscribe.append(self.session.observe("error", self._session_error))

    def guard(self, action: Callable[..., Any]) -> Callable[..., None]:
        """``action`` with its errors shown in the strip, and raised again under test."""
        return guarded(self.error_strip, action, raises_under_test)

    def listen(self, event: EventName, callback: Callable[..., Any]) -> None:
        """Call back at each ``event`` of the session, until :meth:`close`."""
        self._unsubscribe.append(self.session.observe(event, self.guard(callback)))

    def _session_error(self, problem: Any) -> None:
        if problem is not None:
            self.error_strip.show(problem)

    def describe(self) -> str:
        """What the panel shows, as stable text: for screen readers, tests and notebooks."""
        raise TypeError(f"{type(self).__name__} must say what it shows: define describe().")

    def __repr__(self) -> str:
        # never the traits: ipywidgets would print the whole tree of children
        return f"<{type(self).__name__}: {self.describe().partition(chr(10))[0]}>"

    def close(self) -> None:
        """Stop following the session and leave the page. The session lives on."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe.clear()
        self.jobs_strip.close()
        super().close()
