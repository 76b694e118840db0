"""What every view shares: its session, its error strip, its words and its figure."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import anywidget
import traitlets as t

from widgetkit.errors import InvalidInput, WidgetkitError, near
from widgetkit.widgets import wire
from widgetkit.widgets.drawn import Drawn

if TYPE_CHECKING:
    from widgetkit.session import ErrorReport, Job, Session
    from widgetkit.session.events import EventName
    from widgetkit.store import ActivationStore

    SessionLike = Session | ActivationStore | str | os.PathLike[str]

log = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"

#: A handler of one kind of message from the browser: its content and its buffers.
Handler = Callable[[Mapping[str, Any], list[bytes]], None]

_MODES = ("replace", "add", "subtract", "intersect")


def as_session(what: SessionLike) -> Session:
    """The session itself, or a new one over a store or over the store at a path.

    Raises
    ------
    InvalidInput
        It is none of the three.
    """
    from widgetkit.session import Session
    from widgetkit.store import ActivationStore

    if isinstance(what, Session):
        return what
    if isinstance(what, ActivationStore):
        return Session(what)
    if isinstance(what, (str, os.PathLike)):
        return Session(ActivationStore.open(what))
    raise InvalidInput(
        f"A view shows a Session, an ActivationStore or the path of one; got {type(what).__name__}."
    )


def mode_of(content: Mapping[str, Any]) -> Literal["replace", "add", "subtract", "intersect"]:
    """How a gesture joins the selection; ``InvalidInput`` for an unknown word."""
    mode = content.get("mode", "replace")
    if mode not in _MODES:
        raise InvalidInput(f"Unknown selection mode {mode!r:.40}. {near(str(mode), _MODES)}")
    return mode  # type: ignore[no-any-return]


def raises_under_test() -> bool:
    """Whether an error of a callback is raised again after it was shown.

    ipywidgets swallows exceptions of callbacks. A user sees ours in the error strip; a test has
    to fail, so they pass through under pytest and with ``WIDGETKIT_RAISE=1`` in the environment
    (``WIDGETKIT_RAISE=0`` keeps them in the strip under pytest, too).
    """
    wanted = os.environ.get("WIDGETKIT_RAISE")
    if wanted is not None:
        return wanted not in ("", "0")
    return "PYTEST_CURRENT_TEST" in os.environ


class View(Drawn, anywidget.AnyWidget):
    """Base of the views.

    A subclass sets ``_esm``, ``figure_kind`` and, where the browser talks to it, ``_handlers``;
    it subscribes to session events with :meth:`_on` and writes the words of :meth:`describe`.

    Parameters
    ----------
    session : Session, ActivationStore, str or path
        What to show. A store or a path gets a session of its own.
    """

    #: Shown in the strip above the view; empty = no strip. The browser clears it on dismissal.
    error = t.Unicode("").tag(sync=True)
    #: Accessible name of the view: the first line of :meth:`describe`.
    label = t.Unicode("").tag(sync=True)
    #: The running job as ``{"key", "title", "done", "total"}``, or ``{}``.
    job: t.Dict[str, Any] = t.Dict().tag(sync=True)

    def __init__(self, session: SessionLike, **traits: Any) -> None:
        self.session: Session = as_session(session)
        self._unsubscribe: list[Callable[[], None]] = []
        super().__init__(**traits)
        self._on("error", self._session_error)
        self._on("job", self._session_job)
        self._strips = self._unsubscribe[-2:]

    def leave_strips(self) -> None:
        """Let a host that shows the session's errors and jobs do so alone.

        Errors of the view's own callbacks stay in its own strip.
        """
        for unsubscribe in self._strips:
            unsubscribe()
        self.error, self.job = "", {}

    def _prepare(self) -> None:
        """Fill the traits before the view's first message, so that one message opens it whole."""

    def open(self) -> None:
        """Open the comm (ipywidgets calls it once)."""
        if self.comm is None:
            self._prepare()
        super().open()

    # -- session -----------------------------------------------------------------------
    def _on(self, event: EventName, callback: Callable[[Any], None]) -> None:
        """Call ``callback(new value)`` at each ``event`` of the session, until :meth:`close`."""

        def guarded(value: Any) -> None:
            self._guard(callback, value)

        self._unsubscribe.append(self.session.observe(event, guarded))

    def _session_error(self, report: ErrorReport | None) -> None:
        self.error = "" if report is None else report.message

    def _session_job(self, _job: Job) -> None:
        # Several may run: the strip shows the newest until it ends, then the next.
        active = self.session.jobs.active
        self.job = _job_state(active[-1]) if active else {}

    # -- errors ------------------------------------------------------------------------
    def _guard(self, work: Callable[..., None], *arguments: Any) -> None:
        """Run ``work``; an exception is shown in the error strip (and raised under test)."""
        try:
            work(*arguments)
        except Exception as problem:
            self.error = _words(problem)
            # Not exc_info for ours: the message is for the user and says it all.
            log.warning(
                "%s: %s",
                type(self).__name__,
                type(problem).__name__,
                exc_info=not isinstance(problem, WidgetkitError),
            )
            if raises_under_test():
                raise

    # -- messages from the browser -----------------------------------------------------
    def _handlers(self) -> dict[str, Handler]:
        """Handlers by the ``kind`` of the message; a subclass adds its own."""
        return {"cancel": self._cancel}

    def _handle_custom_msg(self, content: Any, buffers: Any) -> None:
        self._guard(self._dispatch, content, buffers)
        super()._handle_custom_msg(content, buffers)

    def _dispatch(self, content: Any, buffers: Any) -> None:
        kind = content.get("kind") if isinstance(content, dict) else None
        handlers = self._handlers()
        if not isinstance(kind, str) or kind not in handlers:
            raise InvalidInput(
                f"{type(self).__name__} knows no message {kind!r:.40}. {near(str(kind), handlers)}"
            )
        handlers[kind](content, wire.as_bytes(buffers or ()))

    def _cancel(self, content: Mapping[str, Any], _buffers: list[bytes]) -> None:
        self.session.jobs.cancel(str(content.get("key", "")))

    # -- words -------------------------------------------------------------------------
    def describe(self) -> str:
        """What the view shows, as stable text: for screen readers, tests and notebooks."""
        raise TypeError(f"{type(self).__name__} must say what it shows: define describe().")

    def _relabel(self) -> None:
        self.label = self.describe().partition("\n")[0]

    def __repr__(self) -> str:
        # Never the traits: ipywidgets would turn megabytes of bytes into text.
        return f"<{type(self).__name__}: {self.describe().partition(chr(10))[0]}>"

    # -- end ---------------------------------------------------------------------------
    def close(self) -> None:
        """Stop following the session and leave the page. The session lives on."""
        # ipywidgets closes a view whose constructor raised, too
        followed = getattr(self, "_unsubscribe", [])
        for unsubscribe in followed:
            unsubscribe()
        followed.clear()
        super().close()


def _words(problem: BaseException) -> str:
    """Message of an error for the strip: ours as they are, others with their class."""
    if isinstance(problem, WidgetkitError):
        return str(problem)
    return f"{type(problem).__name__}: {problem}"


def _job_state(job: Job) -> dict[str, Any]:
    """The ``job`` trait of a job that waits or runs."""
    return {"key": job.key, "title": job.title, "done": job.done, "total": job.total}
