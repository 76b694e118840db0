"""Panel: base of the views that are made of ipywidgets and plotly charts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from widgetkit.widgets.base import as_session, raises_under_test
from widgetkit.widgets.controls import ErrorStrip, JobStrip, guarded
from widgetkit.widgets.drawn import Drawn

if TYPE_CHECKING:
    from widgetkit.session import ErrorReport
    from widgetkit.session.events import EventName
    from widgetkit.widgets.base import SessionLike


class Column(Drawn, widgets.VBox):  # type: ignore[misc]
    """A column of controls and charts with an error strip, over whatever a subclass shows."""

    def __init__(self) -> None:
        self.error_strip = ErrorStrip()
        super().__init__()
        self.add_class("wk-panel")

    def guard(self, action: Callable[..., Any]) -> Callable[..., None]:
        """``action`` of the user, with its errors shown in the strip and raised again under test.

        An action that works clears the strip.
        """
        return guarded(self.error_strip, action, raises_under_test)

    def describe(self) -> str:
        """What the panel shows, as stable text: for screen readers, tests and notebooks."""
        raise TypeError(f"{type(self).__name__} must say what it shows: define describe().")

    def __repr__(self) -> str:
        # never the traits: ipywidgets would print the whole tree of children
        return f"<{type(self).__name__}: {self.describe().partition(chr(10))[0]}>"

    def close(self) -> None:
        """Leave the page, with all parts."""
        for child in self.children:
            close_whole(child)
        super().close()
        close_models(self)


class Panel(Column):
    """A column of controls over a session.

    A subclass fills ``children``, subscribes with :meth:`listen`, wraps what buttons do in
    :meth:`guard`, and writes the words of :meth:`describe`.

    Parameters
    ----------
    source : Session, ActivationStore, str or path
        What to show. A store or a path gets a session of its own.
    """

    def __init__(self, source: SessionLike) -> None:
        self.session = as_session(source)
        self.jobs_strip = JobStrip(self.session)
        self._unsubscribe: list[Callable[[], None]] = []
        super().__init__()
        self._follows_errors = self.session.observe("error", self._session_error)
        self._unsubscribe.append(self._follows_errors)

    def listen(self, event: EventName, callback: Callable[[], Any]) -> None:
        """Call back at each ``event`` of the session, until :meth:`close`."""
        # What follows an action must not clear what the action had to say.
        quiet = guarded(self.error_strip, callback, raises_under_test, clears=False)
        self._unsubscribe.append(self.session.observe(event, lambda _: quiet()))

    def leave_strips(self) -> None:
        """Let a host that shows the session's errors and jobs do so alone.

        Errors of the panel's own callbacks stay in its own strip.
        """
        self._follows_errors()
        self.error_strip.clear()
        self.jobs_strip.stop()

    def _session_error(self, report: ErrorReport | None) -> None:
        if report is None:
            self.error_strip.clear()
        else:
            self.error_strip.show(report.error, report.message)

    def close(self) -> None:
        """Stop following the session and leave the page, with all parts. The session lives on."""
        # ipywidgets closes a view whose constructor raised, too
        followed = getattr(self, "_unsubscribe", [])
        for unsubscribe in followed:
            unsubscribe()
        followed.clear()
        super().close()


def close_whole(widget: widgets.Widget) -> None:
    """Close a widget and all in it: ipywidgets keeps whatever is not closed alive for ever."""
    if isinstance(widget, widgets.Box) and not isinstance(widget, Column):
        for child in widget.children:
            close_whole(child)
    widget.close()
    close_models(widget)


def close_models(widget: widgets.Widget) -> None:
    """Close the layout and the style, which are widgets of their own."""
    for part in (getattr(widget, "layout", None), getattr(widget, "style", None)):
        if isinstance(part, widgets.Widget):
            part.close()
