"""Small ipywidgets parts that several panels share."""

from __future__ import annotations

import html
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from widgetkit.errors import WidgetkitError
from widgetkit.palette import CATEGORICAL

if TYPE_CHECKING:
    from widgetkit.session import Session

log = logging.getLogger(__name__)

#: Ways to join a selection, for menus.
MODES = (
    ("selects", "replace"),
    ("adds", "add"),
    ("takes away", "subtract"),
    ("keeps only", "intersect"),
)

#: Names of the palette's colours, for menus and screen readers, in the palette's order.
COLOUR_NAMES = (
    "blue", "orange", "green", "pink", "vermilion", "sky", "yellow", "indigo",
    "cyan", "teal", "forest", "olive", "sand", "rose", "wine", "purple",
)  # fmt: skip
assert len(COLOUR_NAMES) == len(CATEGORICAL)


def escape(value: object) -> str:
    """Text from data, safe inside HTML."""
    return html.escape(str(value), quote=True)


class ErrorStrip(widgets.HBox):  # type: ignore[misc]
    """One line, hidden while all is well; what went wrong otherwise, until it is dismissed."""

    def __init__(self) -> None:
        self._text = widgets.HTML(layout=widgets.Layout(flex="1 1 auto", min_width="0"))
        self._dismiss = widgets.Button(
            description="×", tooltip="Dismiss the error", layout=widgets.Layout(width="28px")
        )
        super().__init__([self._text, self._dismiss], layout=widgets.Layout(display="none"))
        self._dismiss.on_click(lambda _: self.clear())
        self.add_class("wk-error")
        self.message = ""

    @property
    def value(self) -> str:
        """What is shown, as HTML."""
        return str(self._text.value)

    def show(self, error: BaseException | str, message: str = "") -> None:
        """Show an error, in its own words or in those of ``message``."""
        self.message = message or " ".join(str(error).split())
        named = isinstance(error, BaseException) and not isinstance(error, WidgetkitError)
        if named and not message:
            self.message = f"{type(error).__name__}: {self.message}"
        self._text.value = (
            f'<div role="alert" style="{alert_style("red")};white-space:normal">'
            f"{escape(self.message)}</div>"
        )
        self.layout.display = ""

    def clear(self) -> None:
        self.message = ""
        self._text.value = ""
        self.layout.display = "none"


class JobStrip(widgets.HBox):  # type: ignore[misc]
    """Progress of the newest running job and a button that cancels it; hidden when none runs."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._bar = widgets.FloatProgress(
            0.0, min=0.0, max=1.0, layout=widgets.Layout(width="120px"), tooltip="Progress"
        )
        self._label = widgets.HTML()
        self._cancel = widgets.Button(
            description="Cancel", tooltip="Stop this job", layout=widgets.Layout(width="70px")
        )
        super().__init__(
            [self._bar, self._cancel, self._label], layout=widgets.Layout(display="none")
        )
        self._key = ""
        self._cancel.on_click(lambda _: session.jobs.cancel(self._key))
        self._stop = session.observe("job", lambda _: self._show())
        self._show()

    def _show(self) -> None:
        # Several may run: the newest is shown until it ends, then the next.
        active = self._session.jobs.active
        self.layout.display = "" if active else "none"
        if active:
            job = active[-1]
            self._key = job.key
            self._bar.bar_style = "" if job.total else "info"
            self._bar.value = 1.0 if job.fraction is None else job.fraction
            numbers = f" {job.done:,}/{job.total:,}" if job.total else ""
            self._label.value = escape(job.title + numbers)

    def stop(self) -> None:
        """Follow the session no more, and show nothing."""
        self._stop()
        self.layout.display = "none"

    def close(self) -> None:
        self._stop()
        super().close()


def alert_style(severity: str) -> str:
    """Style of a notice, readable on light and on dark pages: the page's ink on a pale wash."""
    edge, wash = ("#D32F2F", "211,47,47") if severity == "red" else ("#E69F00", "230,159,0")
    return (
        f"border-left:4px solid {edge};background:rgba({wash},0.14);padding:2px 8px;line-height:1.4"
    )


def notices(warnings: Iterable[str], sentences: Iterable[str] = ()) -> str:
    """Warnings as notices and sentences as lines, as HTML; everything is escaped."""
    strips = "".join(
        f'<div role="alert" class="wk-warning wk-yellow" style="{alert_style("yellow")};'
        f'font-weight:600;margin-bottom:2px">Note: {escape(text)}</div>'
        for text in warnings
    )
    said = "".join(f"<div>{escape(text)}</div>" for text in sentences)
    return f'<div style="line-height:1.5;white-space:normal">{strips}{said}</div>'


def guarded(
    strip: ErrorStrip,
    action: Callable[..., Any],
    raises: Callable[[], bool],
    *,
    clears: bool = True,
) -> Callable[..., None]:
    """A callback whose errors are seen: ipywidgets would swallow them.

    The strip shows the error, and the next action that works clears it (unless ``clears`` is
    False). Errors of ours end there, unless ``raises()`` says that a test is running; anything
    else is logged with its traceback as well.
    """

    def run(*arguments: Any, **options: Any) -> None:
        try:
            action(*arguments, **options)
        except Exception as error:
            strip.show(error)
            if not isinstance(error, WidgetkitError):
                log.warning("%s in a callback", type(error).__name__, exc_info=True)
            if raises():
                raise
        else:
            if clears:
                strip.clear()

    return run


class ActionButton(widgets.Button):  # type: ignore[misc]
    """A button with one action, whose errors are not swallowed: see :func:`guarded`."""

    def __init__(self, action: Callable[[], object], **traits: Any) -> None:
        super().__init__(**traits)
        self._action = action

    def click(self) -> None:
        """Do what a click does (ipywidgets calls this at a real one)."""
        self._action()


def button(
    text: str, tip: str, action: Callable[..., None], *, icon: str = "", style: str = ""
) -> ActionButton:
    """A button with a tooltip that screen readers get as well."""
    return ActionButton(
        action,
        description=text,
        tooltip=tip,
        icon=icon,
        button_style=style,
        layout=widgets.Layout(width="auto"),
    )


def choice(
    label: str, options: Sequence[Any], value: Any, *, tip: str = "", width: str = "150px"
) -> Any:
    """A menu, named by its label or, without one, by ``tip``."""
    return widgets.Dropdown(
        options=options, value=value, description=label, tooltip=tip or label,
        style={"description_width": "initial"}, layout=widgets.Layout(width=width),
    )  # fmt: skip


def mode_menu() -> Any:
    """How a gesture joins the selection: what Shift and Alt do elsewhere, for parts without keys."""
    return choice("Click", MODES, "replace", tip="What a click or a lasso does", width="150px")
