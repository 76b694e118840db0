"""Who wants to know what changed.

An observer that fails neither stops the others nor passes unseen: all are called, each
failure becomes an ``"error"`` event, and the first is raised again where somebody can
catch it (see :class:`Events`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from widgetkit.errors import UnknownName, WidgetkitError, near

EventName = Literal[
    "selection",
    "clustering",
    "projection",
    "layer",
    "map",
    "maps",
    "focus",
    "history",
    "job",
    "error",
    "named",
    "factors",
    "pictures",
    "reading",
    "association",
    "cluster choice",
    "concepts",
    "concept reading",
]
EVENTS: tuple[str, ...] = get_args(EventName)

#: What observers of each event are given: always the new value itself.
PAYLOADS: dict[str, str] = {
    "selection": "Selection",
    "clustering": "Clustering, or None",
    "projection": "Projection, or None",
    "layer": "str, the layer's name",
    "map": "MapSpec",
    "maps": "MapResult",
    "focus": "int row, or None",
    "history": "History",
    "job": "Job",
    "error": "ErrorReport, or None when what failed has since succeeded",
    "named": "dict of str to Selection",
    "factors": "Factors of the clustering, now kept",
    "pictures": "Pictures of the slides",
    "reading": "Read, an answer about the factors",
    "association": "Association, what the clusters or the selection go with",
    "cluster choice": "ClusterChoice of the layer",
    "concepts": "ConceptSet, or None",
    "concept reading": "ConceptReading of the present concepts, or None",
}


@dataclass(frozen=True)
class ErrorReport:
    """An exception on its way to the error strip of the views.

    Attributes
    ----------
    where : str
        The job or event in which it happened.
    error : Exception
    message : str
        One line, not escaped: the view escapes what it shows.
    """

    where: str
    error: BaseException
    message: str

    @classmethod
    def of(cls, error: BaseException, where: str) -> ErrorReport:
        text = " ".join(str(error).split())
        if not isinstance(error, WidgetkitError) or not text:
            text = f"{type(error).__name__}: {text}" if text else type(error).__name__
        return cls(where, error, text)

    def __str__(self) -> str:
        return self.message


_REPORTED = "_widgetkit_reported"

Callback = Callable[[Any], object] | Callable[[], object]
Unsubscribe = Callable[[], None]


class Events:
    """Observers by event name, called in the order in which they came.

    Parameters
    ----------
    swallow : callable returning bool
        Whether a failure of an observer may be kept from the caller of :meth:`emit` once
        it was reported as an ``"error"`` event. True while an event loop runs (a notebook:
        the user's cell is not to blame for a broken view); it is still raised when nobody
        observes ``"error"``. False in scripts and tests, where it is raised at once.
    keep : callable
        Given each swallowed exception, so that ``wait()`` can raise it.
    """

    def __init__(
        self,
        *,
        swallow: Callable[[], bool] = lambda: False,
        keep: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        self._observers: dict[str, dict[object, Callable[[Any], object]]] = {}
        self._swallow = swallow
        self._keep = keep

    def observe(self, name: EventName, callback: Callback) -> Unsubscribe:
        """Call ``callback(value)`` at each event of that name, until unsubscribed.

        A callback without parameters is called with none.

        Returns
        -------
        callable
            Ends the subscription; calling it twice does no harm.

        Raises
        ------
        UnknownName
            There is no such event.
        """
        if name not in EVENTS:
            raise UnknownName(f"There is no event {name!r}. {near(str(name), EVENTS, most=11)}")
        token = object()
        self._observers.setdefault(name, {})[token] = _one_argument(callback)

        def unsubscribe() -> None:
            self._observers.get(name, {}).pop(token, None)

        return unsubscribe

    def observed(self, name: EventName) -> bool:
        """Whether anybody observes the event."""
        return bool(self._observers.get(name))

    def emit(self, name: EventName, value: Any) -> None:
        """Tell all observers, then report and raise what failed, as the class says."""
        failures = self._call(name, value)
        if name != "error":  # an observer of "error" that fails is not told of itself
            for error in failures:
                self.report(error, f"an observer of {name!r}")
        self.settle(failures)

    def report(self, error: BaseException, where: str) -> None:
        """Send an exception to the observers of ``"error"``, once however far it travels."""
        if getattr(error, _REPORTED, False):
            return
        setattr(error, _REPORTED, True)
        self.emit("error", ErrorReport.of(error, where))

    def settle(self, failures: list[BaseException]) -> None:
        """Raise the first failure, or keep all of them where they may be swallowed."""
        if not failures:
            return
        if self._swallow() and self.observed("error"):
            for error in failures:
                self._keep(error)
            return
        raise failures[0]

    def _call(self, name: str, value: Any) -> list[BaseException]:
        failures: list[BaseException] = []
        # A copy: an observer may subscribe or unsubscribe while it is called.
        for token, callback in list(self._observers.get(name, {}).items()):
            if token not in self._observers.get(name, {}):
                continue
            try:
                callback(value)
            except Exception as error:
                failures.append(error)
        return failures


def _one_argument(callback: Callable[..., object]) -> Callable[[Any], object]:
    try:
        inspect.signature(callback).bind(None)
    except TypeError:
        try:
            inspect.signature(callback).bind()
        except TypeError:
            return callback
        return lambda value: callback()
    except ValueError:  # a builtin without a signature, such as list.append
        pass
    return callback
