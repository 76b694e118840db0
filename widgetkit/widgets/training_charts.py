"""The live chart of a training: losses by epoch, and beside them what is a share of the images."""

from __future__ import annotations

from typing import Any

import numpy as np

from widgetkit.figures.training import POINTS_MOST, SHARES, Curve, Curves
from widgetkit.palette import colour
from widgetkit.widgets import charts
from widgetkit.widgets.panel import close_whole

#: Shapes of the points, so that the lines are told apart without colours.
SHAPES = ("circle", "diamond", "square", "triangle-up", "triangle-down")
BEST = "best"
#: Epochs up to which each has its tick.
TICKS_MOST = 12


def chart(found: Curves, *, log: bool) -> Any:
    """A FigureWidget of these curves; :func:`update` changes it when epochs come."""
    import plotly.graph_objects as go

    both = bool(found.losses and found.shares)
    traces = [go.Scatter(**_line(curve, both and curve.key in SHARES)) for curve in _every(found)]
    if found.losses:
        traces.append(go.Scatter(**_star(found)))
    return charts.figure_widget(traces, _layout(found, log, both))


def warm_up() -> None:
    """Load what plotly loads for its first chart: a second, and more beside a busy thread."""
    epochs = np.arange(1, 3)
    curve = Curve("loss", "", 0, epochs, epochs.astype(float))
    figure = chart(Curves((curve,), (), None, 0.0), log=False)
    update(figure, Curves((curve,), (), None, 0.0), log=True)
    close_whole(figure)


def update(figure: Any, found: Curves, *, log: bool) -> bool:
    """Show these curves in a figure that :func:`chart` made; False where it has other lines."""
    both = bool(found.losses and found.shares)
    each = {charts.text(c.key): _line(c, both and c.key in SHARES) for c in _every(found)}
    if found.losses:
        each[BEST] = _star(found)
    # by meta: plotly gives traces a uid of its own
    if [trace.meta for trace in figure.data] != list(each):
        return False
    with figure.batch_update():
        for trace, wanted in zip(figure.data, each.values(), strict=True):
            # All of it anew, not the values alone: when a page reports defaults of its own (a name
            # "trace 0"), FigureWidget forgets ours. What has not changed sends nothing.
            for name, value in wanted.items():
                trace[name] = value
        for axis in ("xaxis", "xaxis2")[: 1 + both]:
            figure.layout[axis].dtick = _ticks(found)
        if found.losses:
            figure.layout.yaxis.type = "log" if log else "linear"
    charts.settle(figure)
    return True


def _every(found: Curves) -> tuple[Curve, ...]:
    return (*found.losses, *found.shares)


def _line(curve: Curve, second: bool) -> dict[str, Any]:
    """A trace; ``second``: in the plot on the right."""
    n = "2" if second else ""
    return {
        "meta": charts.text(curve.key),
        "name": charts.text(curve.name),
        "x": charts.array(curve.epochs),
        "y": charts.array(curve.values),
        "mode": "lines+markers" if len(curve.epochs) <= POINTS_MOST else "lines",
        "xaxis": f"x{n}",
        "yaxis": f"y{n}",
        "legend": f"legend{n}",
        "showlegend": True,
        "line": {"color": colour(curve.number), "width": 1.5},
        "marker": {"size": 5, "symbol": SHAPES[curve.number % len(SHAPES)]},
        "hovertemplate": "epoch %{x}: %{y:.4g}<extra>%{fullData.name}</extra>",
    }


def _star(found: Curves) -> dict[str, Any]:
    there = found.best is not None
    return {
        "meta": BEST,
        "name": f"best: epoch {found.best}" if there else "best",
        "x": charts.array([found.best] if there else []),
        "y": charts.array([found.best_value] if there else []),
        "mode": "markers",
        "legend": "legend",
        "showlegend": True,
        "visible": there,
        "marker": {
            "symbol": "star",
            "size": 13,
            "color": charts.INK,
            "line": {"width": 1, "color": "white"},
        },
        "hovertemplate": "%{fullData.name}: %{y:.4g}<extra></extra>",
    }


def _ticks(found: Curves) -> int:
    """Distance of the ticks: 1, 2, 5, 10, ... epochs, never between two."""
    power = 1
    while True:
        for step in (1, 2, 5):
            if found.epochs <= TICKS_MOST * step * power:
                return step * power
        power *= 10


def _layout(found: Curves, log: bool, both: bool) -> dict[str, Any]:
    def epochs(**more: Any) -> dict[str, Any]:
        return charts.axis(title={"text": "epoch"}, dtick=_ticks(found), zeroline=False, **more)

    def legend(**more: Any) -> dict[str, Any]:
        # a click on it hides nothing: then the chart would say less
        return {
            "orientation": "h", "xanchor": "left", "y": 1.02, "yanchor": "bottom",
            "itemclick": False, "itemdoubleclick": False,
        } | more  # fmt: skip

    losses = charts.axis(
        title={"text": "loss" if found.losses else "share of the images"}, automargin=True,
        zeroline=False, type="log" if log and found.losses else "linear", anchor="x",
    )  # fmt: skip
    changes: dict[str, Any] = {
        "xaxis": epochs(domain=[0, 0.46] if both else [0, 1], anchor="y"),
        "yaxis": losses,
        "legend": legend(x=0),
    }
    if both:
        changes |= {
            "xaxis2": epochs(domain=[0.56, 1], anchor="y2"),
            "yaxis2": charts.axis(
                title={"text": "share of the images"}, automargin=True, zeroline=False,
                range=[-0.02, 1.02], anchor="x2",
            ),
            "legend2": legend(x=0.56),
        }  # fmt: skip
    return charts.layout(height=320, **changes)
