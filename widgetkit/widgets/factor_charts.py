"""Charts of what was read of the factors: one plotly figure a kind, complete from construction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from widgetkit.palette import colour
from widgetkit.widgets import charts

if TYPE_CHECKING:
    from widgetkit.session.reading import Read

OURS, OTHER = colour(0), colour(1)
_ROW_PX, _AROUND_PX = 30, 90


@dataclass(frozen=True)
class Look:
    """Names and colours of the factors; ``names`` as they are, not escaped."""

    names: Sequence[str]
    colours: Sequence[str]

    def of(self, values: Any) -> list[str]:
        """Plain names of factors given by number or as ``"factor 1"``."""
        return [self.names[index_of(value)] for value in values]


def index_of(factor: object) -> int:
    """Number of a factor, from 0, given as the tables have it."""
    if isinstance(factor, str):
        return int(factor.rpartition(" ")[2]) - 1
    return int(factor)  # type: ignore[call-overload, no-any-return]


def chart(found: Read, look: Look) -> Any:
    """A FigureWidget of a reading. ``customdata`` of bars of factors holds the factor's number."""
    return _CHARTS[found.kind](found, look)


def _bars(
    look: Look, factors: Any, value: Any, low: Any, high: Any, title: str, **more: Any
) -> tuple[Any, dict[str, Any]]:
    import plotly.graph_objects as go

    at = [index_of(f) for f in factors]
    numbers = np.asarray(value, float)
    error = None
    if low is not None:
        error = {
            "type": "data",
            "symmetric": False,
            "array": charts.array(np.nan_to_num(np.asarray(high, float) - numbers)),
            "arrayminus": charts.array(np.nan_to_num(numbers - np.asarray(low, float))),
            "thickness": 1,
            "width": 2,
            "color": charts.INK,
        }
    trace = go.Bar(
        x=charts.array(numbers),
        y=charts.array(np.arange(len(at))),
        orientation="h",
        error_x=error,
        marker={"color": [look.colours[i] for i in at]},
        customdata=charts.array(at),
        text=[charts.text(look.names[i]) for i in at],
        textposition="none",
        hovertemplate=f"%{{text}}: %{{x:.3g}}<extra>{charts.text(title)}</extra>",
        uid=str(more.pop("uid", "bars")),
        showlegend=False,
        **more,
    )
    axis = {
        "tickmode": "array",
        "tickvals": charts.array(np.arange(len(at))),
        "ticktext": [charts.text(look.names[i]) for i in at],
        "autorange": "reversed",
        "automargin": True,
        "showgrid": False,
    }
    return trace, axis


def _slides(found: Read, look: Look) -> Any:
    table = found.table
    bars, axis = _bars(
        look, table["factor"], 100 * table["adjusted"].clip(lower=0), None, None, "of the variance"
    )
    return charts.figure_widget(
        [bars],
        charts.layout(
            xaxis=charts.axis(title={"text": "variance explained by the slide (%)"}, range=[0, 100]),
            yaxis=charts.axis(**axis),
            shapes=[
                {"type": "line", "x0": 50, "x1": 50, "yref": "paper", "y0": 0, "y1": 1,
                 "line": {"dash": "dash", "width": 1, "color": charts.INK}}
            ],
            height=_AROUND_PX + _ROW_PX * len(table),
        ),
    )  # fmt: skip


def _shares(found: Read, look: Look) -> Any:
    import plotly.graph_objects as go

    table = found.table
    factors = list(dict.fromkeys(table["factor"]))
    groups = list(dict.fromkeys(map(str, table["group"])))
    at = np.arange(len(factors))
    names = [charts.text(n) for n in look.of(factors)]
    traces = []
    for i, group in enumerate(groups):
        part = table[table["group"].astype(str) == group].set_index("factor").loc[factors]
        share = 100 * part["share"].to_numpy(float)
        traces.append(
            go.Bar(
                x=charts.array(share), y=charts.array(at), orientation="h", uid=f"group {i}",
                name=charts.text(group), marker={"color": colour(i)}, text=names,
                textposition="none", customdata=charts.array([index_of(f) for f in factors]),
                error_x={
                    "type": "data", "symmetric": False, "thickness": 1, "width": 2,
                    "color": charts.INK,
                    "array": charts.array(np.nan_to_num(100 * part["high"].to_numpy(float) - share)),
                    "arrayminus": charts.array(
                        np.nan_to_num(share - 100 * part["low"].to_numpy(float))
                    ),
                },
                hovertemplate="%{text}: %{x:.1f} % of positions<extra>%{fullData.name}</extra>",
            )
        )  # fmt: skip
    return charts.figure_widget(
        traces,
        charts.layout(
            barmode="group",
            xaxis=charts.axis(title={"text": "share of positions won (%)"}, rangemode="tozero"),
            yaxis=charts.axis(
                tickmode="array", tickvals=charts.array(at), ticktext=names, autorange="reversed",
                automargin=True, showgrid=False,
            ),
            legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
            height=_AROUND_PX + max(_ROW_PX, 14 * len(groups)) * len(factors),
        ),
    )  # fmt: skip


def _prediction(found: Read, look: Look) -> Any:
    import plotly.graph_objects as go

    from widgetkit.factors import ClassPrediction

    table, detail = found.table, found.detail
    labels = [
        charts.text(f"{m} of {o}" if o else m)
        for m, o in zip(table["measure"], table["of"], strict=True)
    ]
    at = np.arange(len(table))
    traces: list[Any] = []
    for name, shift, hue in (("factors", -0.14, OURS), ("network", 0.14, OTHER)):
        if name not in table.columns:
            continue
        value = table[name].to_numpy(float)
        traces.append(
            go.Scatter(
                x=charts.array(value), y=charts.array(at + shift), mode="markers", name=name,
                uid=name, marker={"color": hue, "size": 7}, text=labels,
                error_x={
                    "type": "data", "symmetric": False, "thickness": 1.2, "width": 3, "color": hue,
                    "array": charts.array(
                        np.nan_to_num(table[f"{name}_high"].to_numpy(float) - value)
                    ),
                    "arrayminus": charts.array(
                        np.nan_to_num(value - table[f"{name}_low"].to_numpy(float))
                    ),
                },
                hovertemplate="%{text}: %{x:.3f}<extra>%{fullData.name}</extra>",
            )
        )  # fmt: skip
    changes: dict[str, Any] = {}
    rows = len(table)
    if isinstance(detail, ClassPrediction):
        order = detail.order
        bars, axis = _bars(
            look, order["factor"], order["coefficient"], order["least"], order["most"],
            "change of the log odds", uid="order", xaxis="x2", yaxis="y2",
        )  # fmt: skip
        traces.append(bars)
        rows = max(rows, len(order))
        last = charts.text(detail.factors.classes[-1])
        changes = {
            "xaxis2": charts.axis(
                title={"text": f"speaks for {last} \N{RIGHTWARDS ARROW}"}, domain=[0.66, 1],
                anchor="y2", zeroline=True,
            ),
            "yaxis2": charts.axis(anchor="x2", **axis),
        }  # fmt: skip
    return charts.figure_widget(
        traces,
        charts.layout(
            xaxis=charts.axis(
                title={"text": "value, 95 % interval"}, range=[0, 1.03],
                domain=[0, 0.46] if changes else [0, 1],
            ),
            yaxis=charts.axis(
                tickmode="array", tickvals=charts.array(at), ticktext=labels, autorange="reversed",
                automargin=True, showgrid=False,
            ),
            legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
            height=_AROUND_PX + _ROW_PX * rows,
            **changes,
        ),
    )  # fmt: skip


def _correlations(found: Read, look: Look) -> Any:
    import plotly.graph_objects as go

    table = found.table
    methods = [m for m in ("pearson", "spearman") if (table["method"] == m).any()]
    factors, maps = (list(dict.fromkeys(table[c])) for c in ("factor", "map"))
    columns = [(m, name) for m in methods for name in maps]
    part = {(row["method"], row["map"], row["factor"]): row for row in table.to_dict("records")}
    cells = [[part[m, name, f] for m, name in columns] for f in factors]
    names = [charts.text(n) for n in look.of(factors)]
    # lists, not a 2-D array: those cross as JSON either way, and a table has some dozen cells
    heat = go.Heatmap(
        z=[[_number(c["r"]) for c in row] for row in cells],
        x=[charts.text(f"{name}, {m.capitalize()}") for m, name in columns],
        y=list(range(len(factors))),
        text=[[_interval(c) for c in row] for row in cells],
        texttemplate="%{text}",
        zmin=-1, zmax=1, colorscale="RdBu", reversescale=True, uid="heat",
        colorbar={"title": {"text": "r"}, "thickness": 10, "outlinewidth": 0},
        hovertemplate="%{x}<br>%{text}<extra></extra>",
    )  # fmt: skip
    return charts.figure_widget(
        [heat],
        charts.layout(
            xaxis=charts.axis(automargin=True, showgrid=False),
            yaxis=charts.axis(
                tickmode="array", tickvals=list(range(len(factors))), ticktext=names,
                autorange="reversed", automargin=True, showgrid=False,
            ),
            height=_AROUND_PX + 40 + 44 * len(factors),
        ),
    )  # fmt: skip


def _importance(found: Read, look: Look) -> Any:
    table = found.table
    name = charts.text(table.attrs.get("class_name", "the class"))
    bars, axis = _bars(
        look, table["factor"], table["drop"], table["low"], table["high"], "fall of the logit"
    )
    traces, changes = [bars], {}
    if np.isfinite(table["sobol"].to_numpy(float)).any():
        other, second = _bars(
            look, table["factor"], table["sobol"], table["sobol_low"], table["sobol_high"],
            "total Sobol index", uid="sobol", xaxis="x2", yaxis="y2",
        )  # fmt: skip
        traces.append(other)
        changes = {
            "xaxis2": charts.axis(
                title={"text": "total Sobol index"},
                domain=[0.6, 1],
                anchor="y2",
                rangemode="tozero",
            ),
            "yaxis2": charts.axis(anchor="x2", **(second | {"showticklabels": False})),
        }
    return charts.figure_widget(
        traces,
        charts.layout(
            xaxis=charts.axis(
                title={"text": f"fall of the logit of {name}"}, zeroline=True,
                domain=[0, 0.54] if changes else [0, 1],
            ),
            yaxis=charts.axis(**axis),
            height=_AROUND_PX + _ROW_PX * len(table),
            **changes,
        ),
    )  # fmt: skip


def _completeness(found: Read, look: Look) -> Any:
    import plotly.graph_objects as go

    table = found.table
    at = np.arange(len(table))
    traces = []
    for column, name, hue in (
        ("agreement", "keeps its class", OURS),
        ("accuracy", "is right", OTHER),
    ):
        if column not in table.columns:
            continue
        value = table[column].to_numpy(float)
        traces.append(
            go.Bar(
                x=charts.array(100 * value), y=charts.array(at), orientation="h", name=name,
                uid=column, marker={"color": hue},
                error_x={
                    "type": "data", "symmetric": False, "thickness": 1, "width": 2,
                    "color": charts.INK,
                    "array": charts.array(
                        np.nan_to_num(100 * (table[f"{column}_high"].to_numpy(float) - value))
                    ),
                    "arrayminus": charts.array(
                        np.nan_to_num(100 * (value - table[f"{column}_low"].to_numpy(float)))
                    ),
                },
                hovertemplate="%{x:.1f} %<extra>%{fullData.name}</extra>",
            )
        )  # fmt: skip
    return charts.figure_widget(
        traces,
        charts.layout(
            barmode="group",
            xaxis=charts.axis(title={"text": "tiles whose prediction keeps its class (%)"}, range=[0, 102]),
            yaxis=charts.axis(
                tickmode="array", tickvals=charts.array(at), autorange="reversed", automargin=True,
                ticktext=[charts.text(v) for v in table["variant"]], showgrid=False,
            ),
            showlegend=len(traces) > 1,
            legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
            height=_AROUND_PX + 34 * len(table),
        ),
    )  # fmt: skip


def _choice(found: Read, look: Look) -> Any:
    import plotly.graph_objects as go

    table = found.table
    ks = table["k"].to_numpy()
    kinds = (
        ("relative error", (("error", "fitted", OURS), ("held_out", "held out", OTHER))),
        ("matched cosine", (("seeds", "other starts", OURS), ("slides", "other slides", OTHER))),
        ("agreement", (("agreement", "Rand index", OURS), ("cophenetic", "cophenetic", OTHER))),
        ("AUC", (("auc", "AUC", OURS),)),
    )
    traces: list[Any] = []
    changes: dict[str, Any] = {}
    for i, (label, lines) in enumerate(kinds):
        x = "" if i == 0 else str(i + 1)
        left = 0.0 if i % 2 == 0 else 0.56
        low = 0.57 if i < 2 else 0.0
        for column, name, hue in lines:
            traces.append(
                go.Scatter(
                    x=charts.array(ks), y=charts.array(table[column].to_numpy(float)), name=name,
                    uid=column, mode="lines+markers", line={"color": hue, "width": 1.5},
                    marker={"size": 5}, xaxis=f"x{x}", yaxis=f"y{x}", showlegend=False,
                    hovertemplate=f"k = %{{x}}: %{{y:.3f}}<extra>{name}</extra>",
                )
            )  # fmt: skip
        changes[f"xaxis{x}"] = charts.axis(
            domain=[left, left + 0.44], anchor=f"y{x}", tickvals=charts.array(ks),
            title={"text": "factors"} if i >= 2 else None,
        )  # fmt: skip
        said = " / ".join(name for _, name, _ in lines) if len(lines) > 1 else ""
        changes[f"yaxis{x}"] = charts.axis(
            domain=[low, low + 0.43], anchor=f"x{x}", automargin=True,
            title={"text": f"{label}<br><sup>{said}</sup>" if said else label},
        )  # fmt: skip
    best = table.attrs.get("recommended")
    if best is not None:
        changes["shapes"] = [
            {"type": "line", "xref": f"x{x}", "yref": f"y{x} domain", "x0": best, "x1": best,
             "y0": 0, "y1": 1, "line": {"dash": "dash", "width": 1, "color": charts.INK}}
            for x in ("", "2", "3", "4")
        ]  # fmt: skip
    return charts.figure_widget(traces, charts.layout(height=440, **changes))


_CHARTS: dict[str, Callable[[Any, Look], Any]] = {
    "slides": _slides,
    "shares": _shares,
    "prediction": _prediction,
    "correlations": _correlations,
    "importance": _importance,
    "completeness": _completeness,
    "choice": _choice,
}


def _number(value: object) -> float | None:
    number = float(value)  # type: ignore[arg-type]
    return number if np.isfinite(number) else None


def _interval(cell: Any) -> str:
    r, low, high = (float(cell[c]) for c in ("r", "low", "high"))
    if not np.isfinite(r):
        return "\N{EN DASH}"
    if not (np.isfinite(low) and np.isfinite(high)):
        return f"{r:.2f}"
    return f"{r:.2f} ({low:.2f} to {high:.2f})"
