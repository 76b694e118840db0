"""SelectionSummary: what is this selection? In one look, with warnings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as widgets
import numpy as np

from widgetkit.widgets.controls import escape
from widgetkit.widgets.panel import Panel

if TYPE_CHECKING:
    from widgetkit.session import Summary
    from widgetkit.widgets.base import SessionLike


class SelectionSummary(Panel):
    """How many tiles, slides and patients are selected, their classes, and what to be wary of.

    Warns when one source dominates, when the selection is tiny, and when the map of embeddings keeps
    few of the neighbours that the selected tiles have in the activations.

    Parameters
    ----------
    source : Session, ActivationStore or path
    """

    figure_kind = "summary"

    def __init__(self, source: SessionLike) -> None:
        self._html = widgets.HTML()
        super().__init__(source)
        self.children = [self._html, self.error_strip]
        for event in ("selection", "projection", "layer"):
            self.listen(event, lambda *_: self._show())
        self._show()

    def _show(self) -> None:
        self._html.value = summary_html(self.session.summary())

    def describe(self) -> str:
        """The numbers and the warnings as text."""
        found = self.session.summary()
        parts = [f"Selection: {found.n:,} of {found.total:,} tiles", f"{found.slides:,} slides"]
        if found.patients is not None:
            parts.append(f"{found.patients:,} patients")
        text = ", ".join(parts) + "."
        if found.classes:
            text += (
                " Classes: "
                + ", ".join(f"{name} {number:,}" for name, number in found.classes)
                + "."
            )
        return "\n".join([text, *(f"Warning: {w}" for w in found.warnings)])


def summary_html(found: Summary) -> str:
    """The summary as HTML; everything that comes from data is escaped."""
    big = "font-size:1.25em;font-weight:600"
    cells = [
        f'<span style="{big}">{found.n:,}</span> of {found.total:,} tiles',
        f'<span style="{big}">{found.slides:,}</span> slides',
    ]
    if found.patients is not None:
        cells.append(f'<span style="{big}">{found.patients:,}</span> patients')
    if found.trust is not None and np.isfinite(found.trust):
        cells.append(
            f'<span style="{big}" title="Share of the 15 nearest neighbours in the activations that are '
            f'neighbours on the map as well, mean over these tiles">{found.trust:.2f}</span> trust of the map'
        )
    body = " \N{MIDDLE DOT} ".join(cells)
    if found.classes:
        total = max(1, sum(number for _, number in found.classes))
        most = found.classes
        shown = ", ".join(
            f"{escape(name)} {number:,} ({100 * number / total:.0f} %)" for name, number in most[:6]
        )
        body += f"<br>{shown}{f' and {len(most) - 6} more' if len(most) > 6 else ''}"
    for warning in found.warnings:
        body += f'<div role="alert" style="border-left:4px solid #D55E00;padding-left:8px"><b>{escape(warning)}</b></div>'
    return f'<div style="line-height:1.5">{body}</div>'
