"""Charts of associations: variables by strength, and one variable in each cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from widgetkit.palette import colour
from widgetkit.widgets import charts

if TYPE_CHECKING:
    from widgetkit.analysis import Association, Distribution
    from widgetkit.session import Clustering

#: Variables and clusters that are drawn; all are in the tables.
VARIABLES_MOST, CLUSTERS_MOST = 40, 30
#: Points of a cluster that are drawn beside its box, drawn at random.
POINTS_MOST = 120
#: q below which a bar has the full colour.
CALLED = 0.05
CALLED_COLOUR, QUIET = colour(0), "rgba(154,154,154,0.45)"  # pale: the interval lies over it
#: The rest that a selection is compared with, as in the cluster panel.
REST = "#B8B8B8"
#: Height of a row of variables, of a cluster, and of what is around them; px.
_ROW, _CLUSTER, _AROUND = 24, 40, 84
_NAME_MOST = 28

Chart = tuple[list[Any], dict[str, Any]]


@dataclass(frozen=True)
class Look:
    """Names and colours of what is compared, by place in ``Association.names``; names not escaped."""

    names: Sequence[str]
    colours: Sequence[str]

    @classmethod
    def of(cls, found: Association, clustering: Clustering | None) -> Look:
        if found.selection:
            return cls(found.names, (CALLED_COLOUR, REST))
        hues = [
            colour(clustering.colors[i])
            if clustering is not None and isinstance(i, int) and i < clustering.k
            else colour(place)
            for place, i in enumerate(found.numbers)
        ]
        return cls(found.names, hues)


def short(name: object, most: int = _NAME_MOST) -> str:
    text = str(name)
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}"


def number(value: float) -> str:
    """Three digits, without the noise of more."""
    if not np.isfinite(value):
        return "\N{EN DASH}"
    return f"{value:.3g}" if abs(value) < 1e5 else f"{value:.3e}"


def probability(value: float) -> str:
    if not np.isfinite(value):
        return "\N{EN DASH}"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def effect(row: Mapping[Any, Any]) -> str:
    """``"omega² 0.12 (0.03 to 0.21)"``, or ""."""
    if not np.isfinite(row["effect"]):
        return ""
    ends = ""
    if np.isfinite(row["low"]) and np.isfinite(row["high"]):
        ends = f" ({number(row['low'])} to {number(row['high'])})"
    return f"{row['effect_name']} {number(row['effect'])}{ends}"


# -- all variables -----------------------------------------------------------------------
def ranking(found: Association, variable: str) -> Chart:
    """Bars of strength, smallest q first; ``customdata`` is the place in ``found.ranked()``."""
    import plotly.graph_objects as go

    table = found.ranked().head(VARIABLES_MOST)
    rows = table.to_dict("records")
    strength, low, high = (
        np.nan_to_num(table[c].to_numpy(float))
        for c in ("strength", "strength_low", "strength_high")
    )
    there = np.isfinite(table["strength_low"].to_numpy(float))
    bar = go.Bar(
        x=charts.array(strength), y=charts.array(np.arange(len(rows))), orientation="h",
        marker={
            "color": [CALLED_COLOUR if row["q"] < CALLED else QUIET for row in rows],
            "line": {
                "color": charts.INK,
                "width": charts.array([2.0 if row["variable"] == variable else 0.0 for row in rows]),
            },
        },
        error_x={
            "type": "data", "symmetric": False, "thickness": 1.2, "width": 3, "color": charts.INK,
            "array": charts.array(np.where(there, np.maximum(high - strength, 0), 0)),
            "arrayminus": charts.array(np.where(there, np.maximum(strength - low, 0), 0)),
        },
        customdata=charts.array(np.arange(len(rows))),
        text=[charts.text(_said(row)) for row in rows],
        textposition="none", hovertemplate="%{text}<extra></extra>", showlegend=False,
        meta="ranking", name="strength",
    )  # fmt: skip
    # without a bar to hit, a name says why there is none
    ticks = [charts.text(short(row["variable"])) for row in rows]
    notes = [
        {
            "x": 0.005, "xref": "paper", "y": i, "yref": "y", "xanchor": "left", "showarrow": False,
            "text": "not tested", "font": {"size": charts.FONT, "color": charts.INK},
        }
        for i, row in enumerate(rows)
        if not np.isfinite(row["p"])
    ]  # fmt: skip
    return [bar], charts.layout(
        xaxis=charts.axis(
            title={"text": "strength of association (0 to 1)"}, range=[0, max(1.0, _top(high))],
        ),
        yaxis=charts.axis(
            tickmode="array", tickvals=charts.array(np.arange(len(rows))), ticktext=ticks,
            range=[len(rows) - 0.5, -0.5], automargin=True, showgrid=False, zeroline=False,
        ),
        annotations=notes,
        bargap=0.3,
        height=_AROUND + _ROW * max(1, len(rows)),
    )  # fmt: skip


def _said(row: Mapping[Any, Any]) -> str:
    name = short(row["variable"], 80)
    if not np.isfinite(row["p"]):
        return f"{name}: not tested"
    return f"{name}: {row['test']}, p {probability(row['p'])}, q {probability(row['q'])}, {effect(row)}"


def _top(values: npt.NDArray[np.float64]) -> float:
    return float(values.max(initial=0.0))


# -- one variable ------------------------------------------------------------------------
def variable(found: Association, name: str, look: Look) -> Chart | None:
    """A variable in each cluster, in the clusters' colours; None where it has no values."""
    held = found.distribution(name)
    if not len(held.values) or not len(means := found.means[found.means["variable"] == name]):
        return None
    return (_shares if held.levels else _boxes)(found, name, held, means, look)


def _clusters(found: Association, held: Distribution) -> list[int]:
    """Those with values, the largest where they are too many."""
    there = np.unique(held.cluster)
    if len(there) > CLUSTERS_MOST:
        there = np.sort(there[np.argsort(-found.sizes[there], kind="stable")[:CLUSTERS_MOST]])
    return [int(c) for c in there]


def _boxes(found: Association, name: str, held: Distribution, means: Any, look: Look) -> Chart:
    import plotly.graph_objects as go

    shown = _clusters(found, held)
    generator = np.random.default_rng(found.seed)
    boxes, points = [], []
    for row, c in enumerate(shown):
        mine = held.cluster == c
        values, weights = held.values[mine], held.weight[mine]
        least, q1, middle, q3, most = _five(values, weights)
        boxes.append(
            go.Box(
                q1=[q1], median=[middle], q3=[q3], lowerfence=[least], upperfence=[most],
                y=charts.array([row]), orientation="h", width=0.5, name=charts.text(look.names[c]),
                line={"color": look.colours[c], "width": 1.5}, fillcolor="rgba(0,0,0,0)",
                hoverinfo="x", showlegend=False, meta=f"box {row}",
            )
        )  # fmt: skip
        few = generator.permutation(len(values))[:POINTS_MOST]
        points.append(
            go.Scatter(
                x=charts.array(values[few]),
                y=charts.array(row + generator.uniform(-0.2, 0.2, len(few))),
                mode="markers", marker={"color": look.colours[c], "size": 4, "opacity": 0.45},
                hoverinfo="skip", showlegend=False, meta=f"points {row}",
            )
        )  # fmt: skip
    statistic = "mean" if held.kind == "numeric" else "median"
    at = means[means["statistic"] == statistic].set_index("number")
    chosen = [at.loc[found.numbers[c]] for c in shown]
    value, low, high = (
        np.array([float(one[c]) for one in chosen]) for c in ("value", "low", "high")
    )
    marks = go.Scatter(
        x=charts.array(value), y=charts.array(np.arange(len(shown)) + 0.33), mode="markers",
        marker={
            "symbol": "diamond", "size": 9, "color": [look.colours[c] for c in shown],
            "line": {"color": charts.INK, "width": 1},
        },
        error_x={
            "type": "data", "symmetric": False, "thickness": 1.5, "width": 4, "color": charts.INK,
            "array": charts.array(np.nan_to_num(high - value)),
            "arrayminus": charts.array(np.nan_to_num(value - low)),
        },
        text=[charts.text(_line(look.names[c], one)) for c, one in zip(shown, chosen, strict=True)],
        hovertemplate="%{text}<extra></extra>", name=f"{statistic}, {found.level:.0%} interval",
        showlegend=True, meta="means",
    )  # fmt: skip
    return [*boxes, *points, marks], charts.layout(
        xaxis=charts.axis(title={"text": charts.text(short(name, 60))}, zeroline=False),
        yaxis=_rows_axis([charts.text(short(look.names[c])) for c in shown]),
        legend=_LEGEND, boxmode="overlay", height=_AROUND + 22 + _CLUSTER * len(shown),
    )  # fmt: skip


def _shares(found: Association, name: str, held: Distribution, means: Any, look: Look) -> Chart:
    """Side by side and not stacked: a stack has no room for the interval of each share."""
    import plotly.graph_objects as go

    shown = _clusters(found, held)
    rows = means[means["statistic"] == "share"].set_index(["number", "level"])
    height = 0.84 / len(shown)
    traces = []
    for place, c in enumerate(shown):
        part = [rows.loc[(found.numbers[c], level)] for level in held.levels]
        value, low, high = (
            100 * np.array([float(one[column]) for one in part])
            for column in ("value", "low", "high")
        )
        shift = (place - (len(shown) - 1) / 2) * height
        traces.append(
            go.Bar(
                x=charts.array(value), y=charts.array(np.arange(len(part)) + shift), orientation="h",
                width=0.92 * height, marker={"color": look.colours[c]},
                name=charts.text(short(look.names[c])),
                error_x={
                    "type": "data", "symmetric": False, "thickness": 1, "width": 2, "color": charts.INK,
                    "array": charts.array(np.nan_to_num(high - value)),
                    "arrayminus": charts.array(np.nan_to_num(value - low)),
                },
                text=[
                    charts.text(f"{short(level, 60)}: {_line(look.names[c], one, 100, ' %')}")
                    for level, one in zip(held.levels, part, strict=True)
                ],
                textposition="none", hovertemplate="%{text}<extra></extra>", showlegend=True,
                meta=f"share {place}",
            )
        )  # fmt: skip
    each = max(24, 7 * len(shown) + 8)
    return traces, charts.layout(
        barmode="overlay",  # they stand where their y says
        xaxis=charts.axis(
            title={"text": f"share of {charts.text(short(name, 50))} (%)"}, rangemode="tozero"
        ),
        yaxis=_rows_axis([charts.text(short(level)) for level in held.levels]),
        legend=_LEGEND,
        height=_AROUND + 22 + each * len(held.levels),
    )


_LEGEND = {
    "orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom",
    "itemclick": False, "itemdoubleclick": False,
}  # fmt: skip


def _rows_axis(ticks: list[str]) -> dict[str, Any]:
    return charts.axis(
        tickmode="array", tickvals=charts.array(np.arange(len(ticks))), ticktext=ticks,
        range=[len(ticks) - 0.5, -0.5], automargin=True, showgrid=False, zeroline=False,
    )  # fmt: skip


def _line(cluster: str, one: Any, scale: float = 1, unit: str = "") -> str:
    value, low, high = (scale * float(one[c]) for c in ("value", "low", "high"))
    ends = f" ({number(low)} to {number(high)})" if np.isfinite(low) and np.isfinite(high) else ""
    return f"{short(cluster, 60)}: {number(value)}{unit}{ends}, n {int(one['n']):,}"


def _five(values: Any, weights: Any) -> tuple[float, ...]:
    """Whiskers at the furthest values within 1.5 quartile distances (Tukey), and the quartiles."""
    order = np.argsort(values, kind="stable")
    x, w = values[order], weights[order]
    place = (np.cumsum(w) - w / 2) / w.sum()
    if w.min() == w.max():
        q1, middle, q3 = np.quantile(x, (0.25, 0.5, 0.75))
    else:
        q1, middle, q3 = np.interp((0.25, 0.5, 0.75), place, x)
    reach = 1.5 * (q3 - q1)
    inside = x[(x >= q1 - reach) & (x <= q3 + reach)]
    return float(min(inside.min(), q1)), float(q1), float(middle), float(q3), float(max(inside.max(), q3))  # fmt: skip


# -- on the page -------------------------------------------------------------------------
def refreshed(figure: Any, chart: Chart) -> bool:
    """Draw another chart in a figure on the page, where it has the same traces and height; whether that was done.

    A figure made anew loses its zoom, and leaves the page for a moment. Another height has to be one of a new
    figure: plotly fixes the width it has just then with it, 700 px while it is not in the page yet.
    """
    data, layout = chart
    if figure is None or [(t.type, t.meta) for t in figure.data] != [
        (t.type, t.meta) for t in data
    ]:
        return False
    if figure.layout.height != layout.get("height"):
        return False
    with figure.batch_update():
        for old, new in zip(figure.data, data, strict=True):
            for key, value in new.to_plotly_json().items():
                if key not in ("type", "meta"):
                    old[key] = value
        for key, value in layout.items():
            figure.layout[key] = value
    charts.settle(figure)
    return True
