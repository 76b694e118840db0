"""The chart of a choice of clusters: four measures by number of clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from widgetkit.figures.cluster_choice import OTHER, OURS, PANELS, values_of
from widgetkit.widgets import charts

if TYPE_CHECKING:
    from widgetkit.analysis import ClusterChoice


def chart(found: ClusterChoice) -> Any:
    """A FigureWidget, complete from construction."""
    import plotly.graph_objects as go

    table = found.table
    ks = table["k"].to_numpy()
    traces: list[Any] = []
    changes: dict[str, Any] = {"shapes": []}
    for i, (column, label, names) in enumerate(PANELS):
        n = "" if i == 0 else str(i + 1)
        left, low = (0.0, 0.56)[i % 2], 0.58 if i < 2 else 0.0
        values = values_of(found, column)
        at = None if names is None else getattr(found, names)
        named = [int(k) == at for k in ks]
        error = None
        if column == "gap":
            error = {
                "type": "data", "array": charts.array(table["gap_s"]), "thickness": 1.2, "width": 3,
            }  # fmt: skip
        if column == "inertia":
            traces.append(
                go.Scatter(
                    x=charts.array(ks[[0, -1]]), y=charts.array(values[[0, -1]]), mode="lines",
                    line={"color": charts.INK, "width": 1, "dash": "dot"}, hoverinfo="skip",
                    xaxis="x", yaxis="y", showlegend=False, name="chord",
                )
            )  # fmt: skip
        traces.append(
            go.Scatter(
                x=charts.array(ks), y=charts.array(values), mode="lines+markers", name=column,
                line={"color": OURS, "width": 1.5}, error_y=error, showlegend=False,
                marker={
                    "size": [11 if hit else 6 for hit in named],
                    "symbol": ["circle" if hit else "circle-open" for hit in named],
                },
                text=[f"{column} names {at}" if hit else "" for hit in named],
                xaxis=f"x{n}", yaxis=f"y{n}",
                hovertemplate="k = %{x}: %{y:.3f}<br>%{text}<extra></extra>",
            )
        )  # fmt: skip
        if column == "stability":
            traces.append(
                go.Scatter(
                    x=charts.array(ks), y=charts.array(table["stability_least"]), mode="markers",
                    marker={"symbol": "line-ew-open", "size": 10, "color": OTHER,
                            "line": {"width": 2}},
                    name="lowest", showlegend=False, xaxis=f"x{n}", yaxis=f"y{n}",
                    hovertemplate="k = %{x}: lowest %{y:.3f}<extra></extra>",
                )
            )  # fmt: skip
        changes[f"xaxis{n}"] = charts.axis(
            domain=[left, left + 0.44], anchor=f"y{n}", tickvals=charts.array(ks), zeroline=False,
            title={"text": "clusters"} if i >= 2 else None,
        )  # fmt: skip
        changes[f"yaxis{n}"] = charts.axis(
            domain=[low, low + 0.42], anchor=f"x{n}", automargin=True, zeroline=False,
            title={"text": label},
        )  # fmt: skip
        if column == "stability":
            least = table["stability_least"].to_numpy(float)
            lowest = float(np.nanmin(least)) if np.isfinite(least).any() else 0.0
            changes[f"yaxis{n}"]["range"] = [min(0.0, lowest) - 0.03, 1.05]
        changes["shapes"].append(
            {
                "type": "line", "xref": f"x{n}", "yref": f"y{n} domain", "x0": found.recommended,
                "x1": found.recommended, "y0": 0, "y1": 1,
                "line": {"dash": "dash", "width": 1, "color": charts.INK},
            }
        )  # fmt: skip
    return charts.figure_widget(traces, charts.layout(height=420, **changes))
