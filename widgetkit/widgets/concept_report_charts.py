"""Charts of how well concepts are read: units, errors found by consistency, quality, the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from widgetkit.figures.concepts import best_curve
from widgetkit.palette import colour
from widgetkit.widgets import charts
from widgetkit.widgets.association_charts import Chart, number, probability, short
from widgetkit.widgets.concept_charts import (
    AGAINST,
    AROUND,
    BAR,
    LEGEND,
    OTHER,
    OURS,
    axis_of,
    interval,
)

if TYPE_CHECKING:
    import pandas as pd

    from widgetkit.concepts import Distribution, ErrorDetection

#: Points of a risk-coverage curve that cross to the browser.
CURVE_MOST = 300
#: Height of a unit's distributions, px.
_UNIT = 96
#: Controls of the report: column, name, and the shape that tells them apart without colour.
CONTROLS = (
    ("permuted", "permuted labels", "x-thin-open"),
    ("random_weights", "random weights", "diamond-open"),
    ("pixels", "pixels", "square-open"),
)


# -- units -------------------------------------------------------------------------------
def units(
    rows: Sequence[Mapping[Any, Any]], found: Sequence[Distribution], mine: Sequence[float] | None
) -> Chart:
    """How the most separating units are distributed with and without a concept, one below another.

    Parameters
    ----------
    rows : sequence of dict
        Of ``unit_distributions``' table: ``unit``, ``r``, ``p_corrected``, ``n_with``, ``n_without``.
    found : sequence of Distribution
        Of the same units.
    mine : sequence of float, optional
        Activation of the case in each unit: a vertical line.
    """
    import plotly.graph_objects as go

    count = len(rows)
    traces: list[Any] = []
    layout: dict[str, Any] = charts.layout(
        legend=LEGEND,
        height=AROUND + 22 + _UNIT * max(1, count),
        bargap=0,
        shapes=[],
        annotations=[],
    )
    gap = 0.34 / max(count, 1)
    high = (1 - gap * (count - 1)) / max(count, 1)
    for i, (row, one) in enumerate(zip(rows, found, strict=True)):
        tail = "" if i == 0 else str(i + 1)
        top = 1 - i * (high + gap)
        for side, values, n, hue, dash, fill in (
            ("with", one.inside, row["n_with"], OURS, "solid", "rgba(0,114,178,0.25)"),
            ("without", one.outside, row["n_without"], OTHER, "dash", "rgba(230,159,0,0.15)"),
        ):
            # a staircase through the edges, from 0 to 0
            steps = np.concatenate([[0.0], 100 * np.asarray(values, float), [0.0]])
            edges = np.concatenate([one.edges[:1], one.edges])
            traces.append(
                go.Scatter(
                    x=charts.array(edges), y=charts.array(steps),
                    mode="lines", line={"color": hue, "width": 1.6, "shape": "hv", "dash": dash},
                    fill="tozeroy", fillcolor=fill, xaxis=f"x{tail}", yaxis=f"y{tail}",
                    name=f"{side} ({int(n):,})", showlegend=i == 0, meta=f"{side} {i}",
                    hovertemplate=f"{side}: %{{y:.1f}} % at %{{x:.3g}}<extra></extra>",
                )
            )  # fmt: skip
        layout[f"xaxis{tail}"] = charts.axis(
            anchor=f"y{tail}", zeroline=False,
            title={"text": "activation"} if i == count - 1 else {"text": ""},
        )  # fmt: skip
        layout[f"yaxis{tail}"] = charts.axis(
            anchor=f"x{tail}", domain=[top - high, top], rangemode="tozero", automargin=True,
            title={"text": "images (%)"}, nticks=4,
        )  # fmt: skip
        layout["annotations"].append({
            "xref": f"x{tail} domain", "yref": f"y{tail} domain", "x": 1, "y": 1, "xanchor": "right",
            "yanchor": "top", "showarrow": False, "align": "right",
            "text": charts.text(unit_line(row)), "font": {"size": charts.FONT, "color": charts.INK},
        })  # fmt: skip
        if mine is not None:
            layout["shapes"].append({
                "type": "line", "xref": f"x{tail}", "yref": f"y{tail} domain", "x0": float(mine[i]),
                "x1": float(mine[i]), "y0": 0, "y1": 1,
                "line": {"dash": "dot", "width": 2, "color": charts.INK},
            })  # fmt: skip
    if mine is not None:
        traces.append(
            go.Scatter(
                x=[None], y=[None], mode="lines", name="the case", meta="case", hoverinfo="skip",
                line={"dash": "dot", "width": 2, "color": charts.INK}, showlegend=True,
            )
        )  # fmt: skip
    return traces, layout


def unit_line(row: Mapping[Any, Any]) -> str:
    """``"unit 12: r 0.61, corrected p < 0.001"``."""
    p = float(row["p_corrected"])
    sign = "" if p < 0.001 else " = "
    said = f"corrected p{sign or ' '}{probability(p)}"
    return f"unit {int(row['unit'])}: r = {number(row['r'])}, {said}"


# -- trust -------------------------------------------------------------------------------
_LINES = ((OURS, "solid", "circle"), (OTHER, "dash", "diamond"), (colour(2), "longdash", "square"))


def risk(found: ErrorDetection) -> Chart:
    """Risk by coverage for each detector, beside what is best and what chance gives."""
    import plotly.graph_objects as go

    traces = []
    for (name, curve), (hue, dash, _) in zip(
        found.curves.items(), _LINES * len(found.curves), strict=False
    ):
        at = few(len(curve.coverage))
        traces.append(
            go.Scatter(
                x=charts.array(100 * curve.coverage[at]), y=charts.array(100 * curve.risk[at]),
                mode="lines", line={"color": hue, "width": 2, "dash": dash},
                name=charts.text(f"{name} (area {number(curve.area)})"), meta=f"risk {name}",
                hovertemplate="%{x:.0f} % kept: %{y:.1f} % wrong<extra></extra>",
            )
        )  # fmt: skip
    one = next(iter(found.curves.values()))
    coverage, best = best_curve(one.coverage, one.chance)
    at = few(len(coverage))
    for name, x, y, dash in (
        (f"best (area {number(one.best)})", 100 * coverage[at], 100 * best[at], "dot"),
        (f"chance (area {number(one.chance)})", np.array([0.0, 100.0]),
         np.full(2, 100 * one.chance), "dashdot"),
    ):  # fmt: skip
        traces.append(
            go.Scatter(
                x=charts.array(x), y=charts.array(y), mode="lines", name=name, meta=name.split()[0],
                line={"color": charts.INK, "width": 1.2, "dash": dash}, hoverinfo="skip",
            )
        )  # fmt: skip
    return traces, charts.layout(
        xaxis=charts.axis(title={"text": "coverage: images kept, the most trusted first (%)"}, range=[0, 101]),
        yaxis=charts.axis(title={"text": "risk: wrong among them (%)"}, rangemode="tozero", automargin=True),
        legend=LEGEND, height=320,
    )  # fmt: skip


def few(count: int) -> np.ndarray:
    """At most :data:`CURVE_MOST` places from the first to the last."""
    if count <= CURVE_MOST:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, CURVE_MOST).round().astype(int))


def quality(table: pd.DataFrame) -> Chart:
    """PPV and sensitivity of concepts in correct and in misclassified images, and the difference."""
    import plotly.graph_objects as go

    measures = list(dict.fromkeys(map(str, table["measure"])))
    traces = []
    for place, (side, hue, symbol) in enumerate(
        (
            ("correct", OURS, "circle"),
            ("misclassified", OTHER, "diamond"),
            ("difference", charts.INK, "square-open"),
        )
    ):
        part = table[table["images"] == side].set_index("measure").reindex(measures)
        value = part["value"].to_numpy(float)
        traces.append(
            go.Scatter(
                x=charts.array(value), y=charts.array(np.arange(len(measures)) + 0.25 * (place - 1)),
                mode="markers", marker={"color": hue, "size": 9, "symbol": symbol, "line": {"width": 1.5, "color": hue}},
                error_x=interval(value, part["low"], part["high"], hue), name=side,
                text=[charts.text(quality_line(side, m, r)) for m, r in part.iterrows()],
                hovertemplate="%{text}<extra></extra>", meta=f"quality {side}",
            )
        )  # fmt: skip
    return traces, charts.layout(
        xaxis=charts.axis(title={"text": "value, 95 % interval"}, zeroline=True),
        yaxis=axis_of(measures), legend=LEGEND, height=AROUND + 22 + 64 * len(measures),
    )  # fmt: skip


def quality_line(side: str, measure: Any, row: Mapping[Any, Any] | Any) -> str:
    """``"PPV, correct: 0.81 (0.75 to 0.86), n 120"``."""
    ends = (
        f" ({number(row['low'])} to {number(row['high'])})"
        if np.isfinite(row["low"]) and np.isfinite(row["high"])
        else ""
    )
    p = f", p {probability(row['p'])}" if np.isfinite(row["p"]) else ""
    return f"{measure}, {side}: {number(row['value'])}{ends}{p}, n {int(np.nan_to_num(row['n'])):,}"


# -- report ------------------------------------------------------------------------------
def report(rows: pd.DataFrame, measure: str, struggles: Sequence[str]) -> Chart:
    """One measure of every concept with its interval, beside its controls; struggles come first.

    Parameters
    ----------
    rows : DataFrame
        Of one measure of ``ConceptReport.table``, in the order drawn.
    measure : str
    struggles : sequence of str
        Concepts that are not read better than chance or a control: hatched is no shape of a point,
        so theirs is open, and their names say it.
    """
    import plotly.graph_objects as go

    names = [str(name) for name in rows["concept"]]
    hard = [name in struggles for name in names]
    at = charts.array(np.arange(len(names)))
    value = rows["value"].to_numpy(float)
    marks = go.Scatter(
        x=charts.array(value), y=at, mode="markers", name=charts.text(measure), meta="report",
        marker={
            "color": [AGAINST if bad else OURS for bad in hard], "size": 10,
            "symbol": ["circle-open" if bad else "circle" for bad in hard],
            "line": {"width": 2, "color": [AGAINST if bad else OURS for bad in hard]},
        },
        error_x=interval(value, rows["low"], rows["high"]),
        text=[charts.text(report_line(row)) for row in rows.to_dict("records")],
        customdata=at, hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip
    traces = [marks]
    for column, name, symbol in CONTROLS:
        there = column in rows and bool(np.isfinite(rows[column].to_numpy(float)).any())
        if there:
            traces.append(
                go.Scatter(
                    x=charts.array(rows[column].to_numpy(float)), y=at, mode="markers", name=name,
                    marker={"color": charts.INK, "size": 8, "symbol": symbol, "line": {"width": 1.5}},
                    hovertemplate=f"{name}: %{{x:.2f}}<extra></extra>", meta=f"control {column}",
                )
            )  # fmt: skip
    shapes = []
    if measure == "AUC":
        shapes.append({
            "type": "line", "xref": "x", "yref": "y domain", "x0": 0.5, "x1": 0.5, "y0": 0, "y1": 1,
            "line": {"dash": "dash", "width": 1, "color": charts.INK},
        })  # fmt: skip
    said = [
        f"{short(name)} (struggles)" if bad else short(name)
        for name, bad in zip(names, hard, strict=True)
    ]
    return traces, charts.layout(
        xaxis=charts.axis(title={"text": charts.text(f"{measure}, 95 % interval")}, range=[-0.02, 1.03]),
        yaxis=axis_of(said, most=44), legend=LEGEND, shapes=shapes,
        height=AROUND + 22 + BAR * max(1, len(names)),
    )  # fmt: skip


def report_line(row: Mapping[Any, Any]) -> str:
    """``"rim: AUC 0.81 (0.74 to 0.88), n 270 of 200 patients, 40 with it"``."""
    ends = (
        f" ({number(row['low'])} to {number(row['high'])})"
        if np.isfinite(row["low"]) and np.isfinite(row["high"])
        else ""
    )
    note = f". {row['note']}" if row.get("note") else ""
    return (
        f"{short(row['concept'], 80)}: {row['measure']} {number(row['value'])}{ends}, n {int(row['n']):,}, "
        f"{int(row['positive']):,} with it{note}"
    )
