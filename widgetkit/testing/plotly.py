"""Gestures on a plotly ``FigureWidget``, as its front-end would send them.

Everything here stands on plotly's private message; a browser test is the check that the real
front-end sends this shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def lasso(figure: Any, xs: Sequence[float], ys: Sequence[float]) -> None:
    """Draw a lasso through these corners."""
    _send(figure, "plotly_selected", [], {"type": "lasso", "selector_state": _corners(xs, ys)})


def box(figure: Any, x0: float, y0: float, x1: float, y1: float) -> None:
    """Draw a box between two corners."""
    state = {"xrange": [x0, x1], "yrange": [y0, y1]}
    _send(figure, "plotly_selected", [], {"type": "box", "selector_state": state})


def click(figure: Any, trace: int, point: int) -> None:
    """Click on one point (or bar) of a trace."""
    _send(figure, "plotly_click", [(trace, point)], None)


def double_click(figure: Any) -> None:
    """Double click on the ground: plotly deselects."""
    _send(figure, "plotly_deselect", [], None)


def synced(figure: Any) -> dict[str, Any]:
    """What a page that opens now would be told: ``data``, ``layout`` and ``config``."""
    return {
        "data": figure._widget_data,
        "layout": figure._widget_layout,
        "config": figure._config,
    }


def arrays(state: Any) -> list[np.ndarray]:
    """All arrays anywhere in a synced state."""
    if isinstance(state, np.ndarray):
        return [state]
    if isinstance(state, dict):
        return [a for v in state.values() for a in arrays(v)]
    if isinstance(state, (list, tuple)):
        return [a for v in state for a in arrays(v)]
    return []


def _corners(xs: Sequence[float], ys: Sequence[float]) -> dict[str, list[float]]:
    return {"xs": [float(x) for x in xs], "ys": [float(y) for y in ys]}


def _send(
    figure: Any,
    kind: str,
    points: list[tuple[int, int]],
    selector: dict[str, Any] | None,
) -> None:
    data = figure._data
    figure._js2py_pointsCallback = {
        "event_type": kind,
        "points": {
            "trace_indexes": [t for t, _ in points],
            "point_indexes": [p for _, p in points],
            "xs": [float(data[t]["x"][p]) for t, p in points],
            "ys": [float(data[t]["y"][p]) for t, p in points],
        },
        "device_state": None,
        "selector": selector,
    }
