"""SelectionSummary: what is this selection? In one look, with warnings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as widgets

from widgetkit.widgets.controls import alert_style, escape
from widgetkit.widgets.panel import Panel

if TYPE_CHECKING:
    from widgetkit.session import Summary
    from widgetkit.widgets.base import SessionLike

#: Classes that are named; the rest is counted.
CLASSES_SHOWN = 6


class SelectionSummary(Panel):
    """How many tiles, slides and patients are selected, their classes, and what to be wary of.

    While nothing is selected it describes all tiles. Warns when one source dominates, when the
    selection is of one patient, and when the map of embeddings keeps few of the neighbours that the
    selected tiles have in the activations.

    Parameters
    ----------
    source : Session, ActivationStore or path
    """

    figure_kind = "summary"

    def __init__(self, source: SessionLike) -> None:
        super().__init__(source)
        self._html = widgets.HTML()
        self.children = [self._html, self.jobs_strip, self.error_strip]
        for event in ("selection", "projection", "layer"):
            self.listen(event, self._show)
        self._show()

    def _show(self) -> None:
        self._html.value = summary_html(self.session.summary())

    def describe(self) -> str:
        """The numbers and the warnings as text: the sentences of ``session.summary()``."""
        return str(self.session.summary())


def summary_html(found: Summary) -> str:
    """The summary as HTML; everything that comes from data is escaped."""
    if not found.total:
        return "<div>The store has no tiles.</div>"
    slides = _cell(f"{found.slides:,}", "slide" if found.slides == 1 else "slides")
    if found.n:
        cells = [_cell(f"{found.n:,}", f"of {found.total:,} tiles selected"), slides]
    else:
        cells = [_cell(f"{found.total:,}", "tiles, none selected: all are described"), slides]
    if found.patients is not None:
        cells.append(_cell(f"{found.patients:,}", "patient" if found.patients == 1 else "patients"))
    if found.trust is not None:
        tip = (
            "Share of the 15 nearest neighbours in the activations that are neighbours on the map "
            "as well, mean over these tiles"
        )
        cells.append(_cell(f"{found.trust:.0%}", "of neighbours kept by the map", tip))
    body = " \N{MIDDLE DOT} ".join(cells)
    if found.classes:
        total = max(1, sum(number for _, number in found.classes))
        shown = ", ".join(
            f"{escape(name)} {number:,} ({100 * number / total:.0f} %)"
            for name, number in found.classes[:CLASSES_SHOWN]
        )
        more = len(found.classes) - CLASSES_SHOWN
        body += f"<div>{shown}{f' and {more} more' if more > 0 else ''}</div>"
    for warning in found.warnings:
        body += (
            f'<div role="alert" class="wk-warning wk-{escape(found.severity)}" '
            f'style="{alert_style(found.severity)};font-weight:600;margin-top:2px">'
            f"{'Warning' if found.severity == 'red' else 'Note'}: {escape(warning)}</div>"
        )
    return f'<div style="line-height:1.5;white-space:normal">{body}</div>'


def _cell(number: str, text: str, tip: str = "") -> str:
    title = f' title="{escape(tip)}"' if tip else ""
    return f'<span{title}><b style="font-size:1.25em">{number}</b> {text}</span>'
