"""Charts of what was read of the factors: one plotly figure a kind, complete from construction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from widgetkit.factors import ClassPrediction
from widgetkit.palette import colour
from widgetkit.session.reading import index_of
from widgetkit.widgets import charts
from widgetkit.widgets.factor_tables import fixed, measure_of

if TYPE_CHECKING:
    from widgetkit.session.reading import Read

#: Two series that are no factors, told apart by their shape as well.
OURS, OTHER = colour(0), colour(1)
SHAPES = ("circle", "diamond")
#: From this share on a factor is said to follow the slide.
HALF = 50
#: Letters of a name on an axis; the whole name shows under the pointer.
NAME_MOST = 26
#: Height of a row, of a row among more than ten, and of what is around the rows; px.
_ROW, _LOW_ROW, _AROUND = 28, 20, 84
#: Cells of a table of correlations that hold two lines of text, px.
_CELL = 42


@dataclass(frozen=True)
class Look:
    """Names and colours of the factors; ``names`` as they are, not escaped."""

    names: Sequence[str]
    colours: Sequence[str]

    def ticks(self, at: Sequence[int]) -> list[str]:
        """Names for an axis: escaped, the long ones cut."""
        return [charts.text(short(self.names[i])) for i in at]

    def whole(self, at: Sequence[int]) -> list[str]:
        return [charts.text(self.names[i]) for i in at]


def short(name: str, most: int = NAME_MOST) -> str:
    return name if len(name) <= most else f"{name[: most - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}"


def chart(found: Read, look: Look) -> Any:
    """A FigureWidget of a reading. ``customdata`` of bars of factors holds the factor's number."""
    return _CHARTS[found.kind](found, look)


# -- parts -------------------------------------------------------------------------------
def _row(rows: int) -> int:
    return _ROW if rows <= 10 else _LOW_ROW


def _error(value: Any, low: Any, high: Any, hue: str = charts.INK) -> dict[str, Any]:
    middle, least, most = (np.asarray(v, float) for v in (value, low, high))
    return {
        "type": "data", "symmetric": False, "thickness": 1.2, "width": 3, "color": hue,
        "array": charts.array(np.nan_to_num(most - middle)),
        "arrayminus": charts.array(np.nan_to_num(middle - least)),
    }  # fmt: skip


def _rows_axis(ticks: list[str], **more: Any) -> dict[str, Any]:
    """A vertical axis of named rows, the first on top."""
    return {
        "tickmode": "array",
        "tickvals": charts.array(np.arange(len(ticks))),
        "ticktext": ticks,
        "range": [len(ticks) - 0.5, -0.5],
        "automargin": True,
        "showgrid": False,
        "zeroline": False,
    } | more


def _bars(look: Look, factors: Any, value: Any, title: str, **more: Any) -> Any:
    """Bars of factors in their colours, from the first on top."""
    import plotly.graph_objects as go

    at = [index_of(f) for f in factors]
    return go.Bar(
        **{
            "x": charts.array(value),
            "y": charts.array(np.arange(len(at))),
            "orientation": "h",
            "marker": {"color": [look.colours[i] for i in at]},
            "customdata": charts.array(at),
            "text": look.whole(at),
            "textposition": "none",
            "hovertemplate": f"%{{text}}: %{{x:.3g}}<extra>{charts.text(title)}</extra>",
            "showlegend": False,
        }
        | more
    )


def _points(
    table: Any, column: str, name: str, at: Any, labels: list[str], number: int, **more: Any
) -> Any:
    """Values with their intervals, one a row."""
    import plotly.graph_objects as go

    hue = (OURS, OTHER)[number]
    value = table[column].to_numpy(float)
    return go.Scatter(
        x=charts.array(value), y=charts.array(at), mode="markers", name=name,
        marker={"color": hue, "size": 8, "symbol": SHAPES[number]}, text=labels,
        error_x=_error(value, table[f"{column}_low"], table[f"{column}_high"], hue),
        hovertemplate="%{text}: %{x:.3f}<extra>%{fullData.name}</extra>", **more,
    )  # fmt: skip


def _legend(**more: Any) -> dict[str, Any]:
    """A line above the plot; a click on it hides nothing, for then the chart would say less."""
    return {
        "orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom",
        "itemclick": False, "itemdoubleclick": False,
    } | more  # fmt: skip


def _line(at: float, axis: str = "", dash: str = "dash") -> dict[str, Any]:
    """A vertical line over the whole height of a plot."""
    return {
        "type": "line", "xref": f"x{axis}", "yref": f"y{axis} domain", "x0": at, "x1": at,
        "y0": 0, "y1": 1, "line": {"dash": dash, "width": 1, "color": charts.INK},
    }  # fmt: skip


def _measured(table: Any, column: str) -> bool:
    return column in table.columns and bool(np.isfinite(table[column].to_numpy(float)).any())


# -- each kind ---------------------------------------------------------------------------
def _slides(found: Read, look: Look) -> Any:
    table = found.table
    bars = _bars(look, table["factor"], 100 * table["adjusted"].clip(lower=0), "of the variance")
    at = [index_of(f) for f in table["factor"]]
    by = charts.text(table.attrs.get("by", "slide"))
    return charts.figure_widget(
        [bars],
        charts.layout(
            xaxis=charts.axis(
                title={"text": f"variance explained by the {by} (%)"}, range=[0, 100]
            ),
            yaxis=charts.axis(**_rows_axis(look.ticks(at))),
            shapes=[_line(HALF)],
            height=_AROUND + _row(len(at)) * len(at),
        ),
    )


def _shares(found: Read, look: Look) -> Any:
    table = found.table
    factors = list(dict.fromkeys(table["factor"]))
    groups = list(dict.fromkeys(map(str, table["group"])))
    at = [index_of(f) for f in factors]
    height = 0.84 / len(groups)
    traces = []
    for i, group in enumerate(groups):
        part = table[table["group"].astype(str) == group].set_index("factor").loc[factors]
        share, low, high = (100 * part[c].to_numpy(float) for c in ("share", "low", "high"))
        name = charts.text(short(group))
        traces.append(
            _bars(
                look, factors, share, group, name=name, showlegend=True,
                marker={"color": colour(i)}, error_x=_error(share, low, high),
                y=charts.array(np.arange(len(at)) + (i - (len(groups) - 1) / 2) * height),
                width=0.92 * height,
                hovertemplate="%{text}: %{x:.1f} % of positions"
                f"<extra>{charts.text(group)}</extra>",
            )
        )  # fmt: skip
    row = max(_row(len(at)), min(13, 8 + 40 // len(groups)) * len(groups) + 6)
    return charts.figure_widget(
        traces,
        charts.layout(
            barmode="overlay",  # they stand where their y says
            xaxis=charts.axis(title={"text": "share of positions won (%)"}, rangemode="tozero"),
            yaxis=charts.axis(**_rows_axis(look.ticks(at))),
            legend=_legend(),
            height=_AROUND + 22 + row * len(at),
        ),
    )


def _prediction(found: Read, look: Look) -> Any:
    table, detail = found.table, found.detail
    labels = [charts.text(short(measure_of(row), 40)) for row in table.to_dict("records")]
    at, rows = np.arange(len(table)), len(table)
    both = "network" in table.columns
    traces: list[Any] = []
    for i, name in enumerate(("factors", "network") if both else ("factors",)):
        shift = (0.15 if i else -0.15) if both else 0.0
        traces.append(_points(table, name, name, at + shift, labels, i, showlegend=True))
    upper = _ROW * rows
    height, changes = _AROUND + 20 + upper, {}
    bottom = 0.0
    if isinstance(detail, ClassPrediction):
        order = detail.order
        lower = _row(len(order)) * len(order)
        # below one another, not side by side: names of factors need the room of a margin
        space = 66
        inner = upper + space + lower
        bottom, height = (space + lower) / inner, height + space + lower
        factors = [index_of(f) for f in order["factor"]]
        last = charts.text(short(str(detail.factors.classes[-1])))
        traces.append(
            _bars(
                look, order["factor"], order["coefficient"], "change of the log odds", xaxis="x2", yaxis="y2",
                error_x=_error(order["coefficient"], order["least"], order["most"]),
            )
        )  # fmt: skip
        changes = {
            "xaxis2": charts.axis(
                anchor="y2", zeroline=True, zerolinecolor=charts.INK,
                title={
                    "text": f"speaks for {last} \N{RIGHTWARDS ARROW}"
                    " (change of the log odds a standard deviation)"
                },
            ),
            "yaxis2": charts.axis(
                **_rows_axis(look.ticks(factors), anchor="x2", domain=[0, lower / inner])
            ),
        }  # fmt: skip
    return charts.figure_widget(
        traces,
        charts.layout(
            xaxis=charts.axis(
                title={"text": "value, 95 % interval"}, range=[-0.02, 1.02], anchor="y",
            ),
            yaxis=charts.axis(**_rows_axis(labels, domain=[bottom, 1])),
            legend=_legend(),
            height=height,
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
    at = [index_of(f) for f in factors]
    # lists, not a 2-D array: those cross as JSON either way, and a table has some dozen cells
    heat = go.Heatmap(
        z=[[_number(c["r"]) for c in row] for row in cells],
        x=list(range(len(columns))),
        y=list(range(len(factors))),
        text=[[_interval(c) for c in row] for row in cells],
        customdata=[[look.whole([i])[0]] * len(columns) for i in at],
        texttemplate="%{text}", xgap=2, ygap=2,
        zmin=-1, zmax=1, colorscale="RdBu", reversescale=True,
        colorbar={"title": {"text": "r"}, "thickness": 10, "outlinewidth": 0},
        hovertemplate="%{customdata}<br>%{text}<extra></extra>",
    )  # fmt: skip
    return charts.figure_widget(
        [heat],
        charts.layout(
            xaxis=charts.axis(
                automargin=True, showgrid=False, zeroline=False, side="top", tickmode="array",
                tickvals=list(range(len(columns))),
                ticktext=[
                    f"{charts.text(name)}<br>{m.capitalize()}" for m, name in columns
                ],
            ),
            yaxis=charts.axis(**_rows_axis(look.ticks(at))),
            height=60 + _CELL * len(factors),
        ),
    )  # fmt: skip


def _importance(found: Read, look: Look) -> Any:
    table = found.table
    name = charts.text(short(str(table.attrs.get("class_name", "the class"))))
    at = [index_of(f) for f in table["factor"]]
    traces = [
        _bars(
            look, table["factor"], table["drop"], "fall of the logit",
            error_x=_error(table["drop"], table["low"], table["high"]),
        )
    ]  # fmt: skip
    changes: dict[str, Any] = {}
    if _measured(table, "sobol"):
        traces.append(
            _bars(
                look, table["factor"], table["sobol"], "total Sobol index",
                xaxis="x2", yaxis="y2",
                error_x=_error(table["sobol"], table["sobol_low"], table["sobol_high"]),
            )
        )  # fmt: skip
        changes = {
            "xaxis2": charts.axis(
                title={"text": "total Sobol index"}, domain=[0.6, 1], anchor="y2",
                rangemode="tozero",
            ),
            "yaxis2": charts.axis(
                **_rows_axis(look.ticks(at), anchor="x2", showticklabels=False, automargin=False)
            ),
        }  # fmt: skip
    return charts.figure_widget(
        traces,
        charts.layout(
            xaxis=charts.axis(
                title={"text": f"fall of the logit of {name}"}, zeroline=True,
                zerolinecolor=charts.INK, domain=[0, 0.54] if changes else [0, 1],
            ),
            yaxis=charts.axis(**_rows_axis(look.ticks(at))),
            height=_AROUND + _row(len(at)) * len(at),
            **changes,
        ),
    )  # fmt: skip


def _completeness(found: Read, look: Look) -> Any:
    table = found.table
    labels = [charts.text(v) for v in table["variant"]]
    at = np.arange(len(table))
    series = [
        (column, name)
        for column, name in (("agreement", "keeps its class"), ("accuracy", "is right"))
        if _measured(table, column)
    ]
    traces = [
        _points(
            table, column, name,
            at + ((0.15 if i else -0.15) if len(series) > 1 else 0), labels, i,
            showlegend=len(series) > 1,
        )
        for i, (column, name) in enumerate(series)
    ]  # fmt: skip
    what = "..." if len(series) > 1 else "keeps its class"
    return charts.figure_widget(
        traces,
        charts.layout(
            xaxis=charts.axis(
                title={"text": f"share of tiles whose prediction {what}"}, range=[-0.02, 1.02]
            ),
            yaxis=charts.axis(**_rows_axis(labels)),
            legend=_legend(),
            height=_AROUND + 20 + 34 * len(table),
        ),
    )


_MEASURES = (
    ("relative error", (("error", "fitted"), ("held_out", "held out"))),
    ("matched cosine", (("seeds", "other starts"), ("slides", "other slides"))),
    ("agreement", (("agreement", "Rand index"), ("cophenetic", "cophenetic"))),
    ("AUC of the class", (("auc", "from the factors"),)),
)


def _choice(found: Read, look: Look) -> Any:
    import plotly.graph_objects as go

    table = found.table
    ks = table["k"].to_numpy()
    traces: list[Any] = []
    changes: dict[str, Any] = {}
    notes: list[dict[str, Any]] = []
    for i, (label, lines) in enumerate(_MEASURES):
        n = "" if i == 0 else str(i + 1)
        left, low = (0.0, 0.55)[i % 2], 0.6 if i < 2 else 0.0
        there = [line for line in lines if _measured(table, line[0])]
        for j, (column, name) in enumerate(there):
            hue, value = (OURS, OTHER)[j], table[column].to_numpy(float)
            interval = None
            if f"{column}_low" in table.columns:
                interval = _error(value, table[f"{column}_low"], table[f"{column}_high"], hue)
            traces.append(
                go.Scatter(
                    x=charts.array(ks), y=charts.array(value), name=name,
                    mode="lines+markers", line={"color": hue, "width": 1.5}, error_y=interval,
                    marker={"size": 6, "symbol": SHAPES[j]}, xaxis=f"x{n}", yaxis=f"y{n}",
                    legend=f"legend{n}", showlegend=len(there) > 1,
                    hovertemplate=f"k = %{{x}}: %{{y:.3f}}<extra>{name}</extra>",
                )
            )  # fmt: skip
        if not there:
            notes.append(
                {"text": "not measured", "showarrow": False, "xref": f"x{n} domain",
                 "yref": f"y{n} domain", "x": 0.5, "y": 0.5}
            )  # fmt: skip
            traces.append(
                go.Scatter(
                    x=charts.array(ks),
                    y=[None] * len(ks),
                    xaxis=f"x{n}",
                    yaxis=f"y{n}",
                    showlegend=False,
                )
            )
        changes[f"xaxis{n}"] = charts.axis(
            domain=[left, left + 0.45], anchor=f"y{n}", tickvals=charts.array(ks),
            title={"text": "factors"} if i >= 2 else None,
        )  # fmt: skip
        changes[f"yaxis{n}"] = charts.axis(
            domain=[low, low + 0.4], anchor=f"x{n}", automargin=True, zeroline=False,
            title={"text": label}, showticklabels=bool(there),
        )  # fmt: skip
        if label.startswith("AUC") and there:  # constant ones would be shown from 0 to 2
            least = float(np.nanmin(table.get("auc_low", table["auc"]).to_numpy(float)))
            changes[f"yaxis{n}"]["range"] = [min(0.45, least - 0.05), 1.04]
        changes[f"legend{n}"] = _legend(x=left, y=low + 0.4)
    best = table.attrs.get("recommended")
    if best is not None:
        changes["shapes"] = [_line(best, n) for n in ("", "2", "3", "4")]
    return charts.figure_widget(traces, charts.layout(height=470, annotations=notes, **changes))


def _layers(found: Read, look: Look) -> Any:
    import plotly.graph_objects as go

    table = found.table
    at = [index_of(f) for f in table["factor"]]
    partners = [int(b) for b in table["other"]]
    k = int(table.attrs.get("k_other", len(partners)))
    rest = [b for b in range(k) if b not in partners]
    order = [*partners, *rest]  # partners on the diagonal
    every = table.attrs["table"]
    other = charts.text(short(str(table.attrs["named"]), 40))
    bars = _bars(look, table["factor"], table["correlation"], f"with its partner in {other}")
    second = go.Scatter(
        x=charts.array(table["second"]), y=charts.array(np.arange(len(at))), mode="markers",
        name="next best", showlegend=False, text=look.whole(at),
        marker={"symbol": "line-ns-open", "size": 12, "color": charts.INK, "line": {"width": 2}},
        hovertemplate="%{text}: %{x:.2f}<extra>next best</extra>",
    )  # fmt: skip
    heat = go.Heatmap(
        z=[[_number(every[a][b]) for b in order] for a in at],
        x=list(range(len(order))), y=list(range(len(at))),
        text=[[fixed(every[a][b]) for b in order] for a in at],
        texttemplate="%{text}" if len(order) <= 8 else None,
        customdata=[[f"{name} with factor {b + 1}" for b in order] for name in look.whole(at)],
        zmin=-1, zmax=1, colorscale="RdBu", reversescale=True, xgap=1, ygap=1,
        xaxis="x2", yaxis="y2", colorbar={"thickness": 10, "outlinewidth": 0},
        hovertemplate="%{customdata}: %{z:.2f}<extra></extra>",
    )  # fmt: skip
    low = min(0.0, float(np.nanmin([*table["correlation"], *table["second"].fillna(0)])))
    return charts.figure_widget(
        [bars, second, heat],
        charts.layout(
            xaxis=charts.axis(
                title={"text": "correlation with its partner | next best"}, domain=[0, 0.42],
                range=[low - 0.02, 1.02], zeroline=True, zerolinecolor=charts.INK,
            ),
            yaxis=charts.axis(**_rows_axis(look.ticks(at))),
            xaxis2=charts.axis(
                title={"text": f"factors of {other}"}, domain=[0.48, 1], anchor="y2",
                tickmode="array", tickvals=list(range(len(order))),
                ticktext=[str(b + 1) for b in order], showgrid=False, zeroline=False,
            ),
            yaxis2=charts.axis(
                **_rows_axis(look.ticks(at), anchor="x2", showticklabels=False, automargin=False)
            ),
            height=_AROUND + _row(len(at)) * len(at),
        ),
    )  # fmt: skip


_CHARTS: dict[str, Callable[[Any, Look], Any]] = {
    "slides": _slides,
    "shares": _shares,
    "prediction": _prediction,
    "correlations": _correlations,
    "importance": _importance,
    "completeness": _completeness,
    "choice": _choice,
    "layers": _layers,
}


def _number(value: object) -> float | None:
    number = float(value)  # type: ignore[arg-type]
    return number if np.isfinite(number) else None


def _interval(cell: Any) -> str:
    r, low, high = (float(cell[c]) for c in ("r", "low", "high"))
    if not np.isfinite(r):
        return "\N{EN DASH}"
    if not (np.isfinite(low) and np.isfinite(high)):
        return fixed(r)
    return f"{fixed(r)}<br>{fixed(low)} to {fixed(high)}"
