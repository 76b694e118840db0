"""Small ipywidgets parts that several panels share."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from widgetkit.errors import WidgetkitError
from widgetkit.palette import CATEGORICAL

if TYPE_CHECKING:
    from widgetkit.session import Session

#: Names of the palette's colours, for menus and screen readers, in the palette's order.
COLOUR_NAMES = (
    "blue", "orange", "green", "pink", "vermilion", "sky", "yellow", "indigo",
    "cyan", "teal", "forest", "olive", "sand", "rose", "wine", "purple",
)  # fmt: skip
assert len(COLOUR_NAMES) == len(CATEGORICAL)


def escape(value: object) -> str:
    """Text from data, safe inside HTML."""
    return html.escape(str(value), quote=True)


class ErrorStrip(widgets.HTML):  # type: ignore[misc]
    """One line, hidden while all is well; what went wrong otherwise."""

    def __init__(self) -> None:
        super().__init__("", layout=widgets.Layout(display="none"))
        self.add_class("wk-error")
        self.message = ""

    def show(self, error: BaseException | str) -> None:
        self.message = str(error)
        kind = type(error).__name__ if isinstance(error, BaseException) else "Error"
        self.value = (
            '<div role="alert" style="border-left:4px solid #D55E00;padding:2px 8px;'
            f'line-height:1.4;white-space:normal"><b>{escape(kind)}</b> {escape(self.message)}</div>'
        )
        self.layout.display = ""

    def clear(self) -> None:
        self.message = ""
        self.value = ""
        self.layout.display = "none"


class JobStrip(widgets.HBox):  # type: ignore[misc]
    """Progress of the running job and a button that cancels it; hidden when none runs."""

    def __init__(self, session: Session) -> None:
        self._bar = widgets.FloatProgress(
            0.0, min=0.0, max=1.0, layout=widgets.Layout(width="120px")
        )
        self._label = widgets.HTML()
        self._cancel = widgets.Button(description="Cancel", layout=widgets.Layout(width="70px"))
        super().__init__(
            [self._bar, self._cancel, self._label],
            layout=widgets.Layout(visibility="hidden", height="28px"),
        )
        self._cancel.on_click(lambda _: session.jobs.cancel())
        self._stop = session.observe("job", self._show)

    def _show(self, job: Any) -> None:
        running = job is not None and job.status == "running"
        self.layout.visibility = "visible" if running else "hidden"
        if running:
            total = job.total or 0
            self._bar.bar_style = "" if total else "info"
            self._bar.value = min(1.0, job.done / total) if total else 1.0
            self._label.value = escape(
                f"{job.title} {job.done:,}/{total:,}" if total else job.title
            )

    def close(self) -> None:
        self._stop()
        super().close()


def guarded(
    strip: ErrorStrip, action: Callable[..., Any], raises: Callable[[], bool]
) -> Callable[..., None]:
    """A callback whose errors are seen: ipywidgets would swallow them.

    The strip shows the error, and the next action that works clears it. Errors of ours end there,
    unless ``raises()`` says that a test is running; anything else is raised again as well.
    """

    def run(*arguments: Any) -> None:
        try:
            action(*arguments)
        except Exception as error:
            strip.show(error)
            if raises() or not isinstance(error, WidgetkitError):
                raise
        else:
            strip.clear()

    return run


def button(
    text: str, tip: str, action: Callable[..., None], *, icon: str = "", style: str = ""
) -> Any:
    """A button with a tooltip that screen readers get as well."""
    made = widgets.Button(
        description=text,
        tooltip=tip,
        icon=icon,
        button_style=style,
        layout=widgets.Layout(width="auto"),
    )
    made.on_click(lambda _: action())
    return made


def choice(label: str, options: Sequence[Any], value: Any, *, width: str = "150px") -> Any:
    """A labelled menu."""
    return widgets.Dropdown(
        options=options, value=value, description=label,
        style={"description_width": "initial"}, layout=widgets.Layout(width=width),
    )  # fmt: skip
