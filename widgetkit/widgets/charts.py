"""plotly charts that are private, small on the wire, and survive a page reload.

Four traps of ``FigureWidget`` are closed here, so that no view meets them: its "Share chart"
button uploads the data (switched off); the page reads its configuration once, when it draws, so what
is set after construction may come too late (ours is in its first message); int64 arrays and 2-D arrays
cross as JSON (32-bit only); and it keeps only the state it was constructed with when a page is reloaded
(:func:`settle` renews it).

A fifth is left to the views: a chart that was taken off the page and put back no longer follows, for the
listeners of its old place fail and keep the new ones from being called. Make such a chart anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from functools import cache
from typing import Any

import anywidget
import numpy as np

from widgetkit.widgets.base import STATIC

#: plotly's buttons that make no sense for us, and the one that sends data away.
CONFIG = {
    "showSendToCloud": False,
    "sendData": False,
    "displaylogo": False,
    "plotlyServerURL": "",
    "displayModeBar": "hover",
    "responsive": True,
}
FONT = 11
#: Contrast above 4 against white and against JupyterLab's dark page alike.
INK = "#787878"
LINES = "rgba(128,128,128,0.3)"


def text(value: object) -> str:
    """Text for plotly, which reads a subset of HTML: angle brackets and ampersands are escaped.

    A dollar sign, too: where a page has MathJax, plotly gives it what stands between two.
    """
    escaped = str(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped.replace("$", "&#36;")


def array(values: Any) -> np.ndarray:
    """An array that crosses in binary: 32-bit numbers."""
    found = np.asarray(values)
    if found.dtype.kind in "iub":
        return found.astype(np.int32)
    return found.astype(np.float32)


def layout(**changes: Any) -> dict[str, Any]:
    """The layout all charts share: small, quiet, transparent, so that it suits dark and light pages."""
    base: dict[str, Any] = {
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "font": {"size": FONT, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": INK, "activecolor": "#0072B2"},
        "hoverlabel": {"font": {"size": FONT}},
        "transition": {"duration": 0},
    }
    return base | changes


def axis(**changes: Any) -> dict[str, Any]:
    """An axis whose lines show on light and dark pages alike (plotly's own are white)."""
    return {"gridcolor": LINES, "zerolinecolor": LINES, "linecolor": LINES} | changes


def figure_widget(data: Iterable[Any], layout_: dict[str, Any]) -> Any:
    """A FigureWidget, complete from construction, that offers no upload."""
    return _figure_class()(data=list(data), layout=layout_)


@cache
def _figure_class() -> Any:
    """FigureWidget whose configuration is ours before anything of it is sent, whatever plotly sets."""
    import plotly.graph_objects as go
    import traitlets

    class PrivateFigure(go.FigureWidget):  # type: ignore[misc]
        _config = traitlets.Dict(CONFIG).tag(**go.FigureWidget._config.metadata)

        @traitlets.validate("_config")
        def _keep_ours(self, _proposal: Any) -> dict[str, Any]:
            return dict(CONFIG)

    return PrivateFigure


class Fit(anywidget.AnyWidget):
    """Put beside a chart in a panel, it keeps the chart as wide as the panel.

    plotly draws 700 px wide where its node is not in the page yet, and listens to the window only.
    """

    _esm = STATIC / "fit.js"


def settle(figure: Any) -> None:
    """Make what the figure shows now what a reloaded page will show.

    plotly copies data and layout into the widget's synced state once, at construction; later changes
    travel as messages that a page opened afterwards never sees.
    """
    with figure.hold_trait_notifications():
        figure._widget_data = deepcopy(figure._data)
        figure._widget_layout = deepcopy(figure._layout_obj._props)
