"""Charts of concepts: what they count in the selection and the rest, and in one case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from widgetkit.palette import colour
from widgetkit.widgets import charts
from widgetkit.widgets.association_charts import Chart, number, short

if TYPE_CHECKING:
    import pandas as pd

#: The selection, what speaks against it, and the rest that it is compared with.
OURS, AGAINST, REST = colour(0), colour(4), "#B8B8B8"
OTHER = colour(1)
#: Concepts that are drawn; all are in the table.
CONCEPTS_MOST = 40
#: Height of a concept's two bars, of one bar, and of what is around; px.
PAIR, BAR, AROUND = 34, 24, 78
#: Rows that a chart of a case has room for at least: most have as many, and are then changed in place.
CASE_LEAST = 4
#: Word beside the name of a concept that contradicts: the pattern of its bar alone may be missed.
CONTRADICTS = "contradicts"
LEGEND = {
    "orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom",
    "itemclick": False, "itemdoubleclick": False,
}  # fmt: skip


def axis_of(names: Sequence[str], *, marked: Sequence[bool] = (), most: int = 28) -> dict[str, Any]:
    """A vertical axis of named rows, the first on top; ``marked`` ones bear the word."""
    said = [
        f"{short(name, most)} ({CONTRADICTS})"
        if i < len(marked) and marked[i]
        else short(name, most)
        for i, name in enumerate(names)
    ]
    return charts.axis(
        tickmode="array", tickvals=charts.array(np.arange(len(said))),
        ticktext=[charts.text(text) for text in said], range=[len(said) - 0.5, -0.5],
        automargin=True, showgrid=False, zeroline=False,
    )  # fmt: skip


def interval(value: Any, low: Any, high: Any, hue: str = charts.INK) -> dict[str, Any]:
    """Error bars from ``low`` to ``high``; none where an end is unknown."""
    middle, least, most = (np.asarray(v, float) for v in (value, low, high))
    known = np.isfinite(middle) & np.isfinite(least) & np.isfinite(most)
    return {
        "visible": bool(known.any()),  # bars of no length would be drawn as ticks
        "type": "data", "symmetric": False, "thickness": 1.2, "width": 3, "color": hue,
        "array": charts.array(np.where(known, np.maximum(most - middle, 0), 0)),
        "arrayminus": charts.array(np.where(known, np.maximum(middle - least, 0), 0)),
    }  # fmt: skip


# -- concepts ----------------------------------------------------------------------------
def concepts(table: pd.DataFrame, contradicting: Sequence[bool], chosen: str, what: str) -> Chart:
    """Relevance (left) and share of tiles (right) of each concept, the selection over the rest.

    Parameters
    ----------
    table : DataFrame
        Of ``ConceptReading.compare``, in the order of the rows.
    contradicting : (F,) bool
        Rows whose bars are hatched and whose names bear the word.
    chosen : str
        The concept whose bars have a border.
    what : str
        Name of the first of each pair of bars: "selection" or "all tiles".
    """
    table, marked = table.head(CONCEPTS_MOST), list(contradicting)[:CONCEPTS_MOST]
    names = [str(name) for name in table["concept"]]
    counted = bool(np.isfinite(table["relevance_in"].to_numpy(float)).any())
    compared = bool(table["share_rest"].notna().any())
    at = np.arange(len(names), dtype=float)
    width = 0.38 if compared else 0.6
    shift = 0.2 if compared else 0.0
    words = [charts.text(concept_line(row)) for row in table.to_dict("records")]
    border = charts.array([2.0 if name == chosen else 0.0 for name in names])
    look = {
        "color": [AGAINST if bad else OURS for bad in marked],
        "pattern": {"shape": ["/" if bad else "" for bad in marked], "fgcolor": "white", "size": 6},
        "line": {"color": charts.INK, "width": border},
    }
    shared = {"orientation": "h", "width": width, "textposition": "none", "text": words,
              "hovertemplate": "%{text}<extra></extra>",
              "customdata": charts.array(np.arange(len(names)))}  # fmt: skip
    traces = []
    sides = (
        (("relevance", 1.0, "x"), ("share", 100.0, "x2")) if counted else (("share", 100.0, "x"),)
    )
    for column, scale, x in sides:
        inside, rest = (
            scale * np.nan_to_num(table[f"{column}_{side}"].to_numpy(float))
            for side in ("in", "rest")
        )
        error = {}
        if column == ("relevance" if counted else "share"):
            # the interval of the difference, from where the rest ends
            low, high = (rest + scale * table[end].to_numpy(float) for end in ("low", "high"))
            error = {"error_x": interval(inside, low, high)}
        traces.append(
            _bar(
                inside,
                at - shift,
                what,
                x,
                column,
                marker=look,
                showlegend=False,
                **error,
                **shared,
            )
        )
        # there while nothing is compared as well, so that the chart is changed in place
        others = np.where(compared, rest, np.nan)
        traces.append(
            _bar(others, at + shift, "rest", x, f"{column} rest", marker={"color": REST},
                 showlegend=False, **shared)
        )  # fmt: skip
    traces += _legend_of(what, compared, any(marked))
    layout = charts.layout(
        xaxis=charts.axis(
            title={"text": "mean relevance (logit)" if counted else "share of tiles (%)"},
            domain=[0, 0.6] if counted else [0, 1], zeroline=True,
        ),
        yaxis=axis_of(names, marked=marked),
        legend=LEGEND, barmode="overlay",
        height=AROUND + 22 + PAIR * max(1, len(names)),
    )  # fmt: skip
    if counted:
        layout["xaxis2"] = charts.axis(
            title={"text": "share of tiles (%)"}, domain=[0.66, 1], rangemode="tozero"
        )
    return traces, layout


def _bar(x: Any, y: Any, name: str, axis: str, meta: str, **more: Any) -> Any:
    import plotly.graph_objects as go

    more["marker"] = {"line": {"width": 0}} | more["marker"]  # plotly's own line is white
    return go.Bar(
        x=charts.array(x), y=charts.array(y), name=charts.text(name), xaxis=axis, meta=meta, **more
    )


def _legend_of(what: str, compared: bool, marked: bool) -> list[Any]:
    """Entries of the legend, always three traces so that a chart is refreshed in place."""
    import plotly.graph_objects as go

    entries = [
        (what, {"color": OURS}, True),
        (f"{what}, {CONTRADICTS} the class",
         {"color": AGAINST, "pattern": {"shape": "/", "fgcolor": "white", "size": 6}}, marked),
        ("rest", {"color": REST}, compared),
    ]  # fmt: skip
    return [
        go.Bar(
            x=[None], y=[None], name=charts.text(name), marker=marker, showlegend=shown,
            hoverinfo="skip", meta=f"legend {i}",
        )
        for i, (name, marker, shown) in enumerate(entries)
    ]  # fmt: skip


def concept_line(row: Mapping[Any, Any]) -> str:
    """``"rim: relevance 0.42 (rest 0.10; difference 0.32, 0.2 to 0.4), seen in 61 % of the tiles (rest 12 %)"``."""
    compared = np.isfinite(row["share_rest"])
    parts = []
    if np.isfinite(row["relevance_in"]):
        beside = f" (rest {number(row['relevance_rest'])}; {_difference(row)})" if compared else ""
        parts.append(f"relevance {number(row['relevance_in'])}{beside}")
        rest = f" (rest {percent(row['share_rest'])})" if compared else ""
    else:
        rest = f" (rest {percent(row['share_rest'])}; {_difference(row)})" if compared else ""
    parts.append(f"seen in {percent(row['share_in'])} of the tiles{rest}")
    return f"{short(row['concept'], 80)}: {', '.join(parts)}"


def _difference(row: Mapping[Any, Any]) -> str:
    ends = ""
    if np.isfinite(row["low"]) and np.isfinite(row["high"]):
        ends = f", {number(row['low'])} to {number(row['high'])}"
    return f"difference {number(row['difference'])}{ends}"


def percent(share: Any) -> str:
    value = float(share)
    return f"{100 * value:.0f} %" if np.isfinite(value) else "\N{EN DASH}"


# -- a case ------------------------------------------------------------------------------
def probabilities(names: Sequence[str], values: Sequence[float], true: str | None) -> Chart:
    """Bars of class probabilities, the most likely first; the true class says so."""
    rows = [f"{short(name)} (true class)" if name == true else short(name) for name in names]
    percents = 100 * np.asarray(values, float)
    bar = _bar(
        percents, np.arange(len(rows)), "probability", "x", "probabilities", orientation="h",
        marker={"color": [OURS if i == 0 else REST for i in range(len(rows))]},
        text=[f"{v:.1f} %" for v in percents], textposition="outside", cliponaxis=False,
        hovertemplate="%{text}<extra></extra>", showlegend=False,
    )  # fmt: skip
    return [bar], charts.layout(
        xaxis=charts.axis(title={"text": "probability (%)"}, range=[0, 116], tickvals=[0, 25, 50, 75, 100]),
        yaxis=axis_of(rows, most=44), height=AROUND + BAR * max(1, len(rows)),
    )  # fmt: skip


def case(table: pd.DataFrame) -> Chart:
    """Relevance of the concepts identified in one image; those that contradict are hatched.

    Without relevance (no head behind the layer), how far each exceeds its threshold.
    """
    counted = bool(np.isfinite(table["relevance"].to_numpy(float)).any())
    column = "relevance" if counted else "strength"
    against = table["contradicts"].to_numpy(bool)
    values = np.nan_to_num(table[column].to_numpy(float))
    share = table["share"].to_numpy(float)
    said = [
        f"{number(v)}" + (f" ({100 * s:.0f} %)" if counted and np.isfinite(s) else "")
        for v, s in zip(values, share, strict=True)
    ]
    bar = _bar(
        values, np.arange(len(values)), column, "x", "case", orientation="h",
        marker={
            "color": [AGAINST if bad else OURS for bad in against],
            "pattern": {"shape": ["/" if bad else "" for bad in against], "fgcolor": "white", "size": 6},
        },
        text=said, textposition="none", hovertemplate="%{text}<extra></extra>", showlegend=False,
        customdata=charts.array(np.arange(len(values))),
    )  # fmt: skip
    # plotly would write beside the end of a bar, for those below 0 over the names
    numbers = [
        {
            "x": float(max(value, 0.0)), "y": i, "text": text, "showarrow": False, "xanchor": "left",
            "xshift": 3, "font": {"size": charts.FONT, "color": charts.INK},
        }
        for i, (value, text) in enumerate(zip(values, said, strict=True))
    ]  # fmt: skip
    reach = max(float(np.abs(values).max(initial=0.0)), 1e-6)
    title = "relevance (logit; share of all)" if counted else "strength (above the threshold)"
    return [bar], charts.layout(
        xaxis=charts.axis(
            title={"text": title},
            range=[1.05 * min(0.0, float(values.min(initial=0.0))), 1.6 * reach],  # room for the numbers
        ),
        annotations=numbers,
        yaxis=axis_of([str(v) for v in table["concept"]], marked=list(against))
        | {"range": [max(CASE_LEAST, len(values)) - 0.5, -0.5]},
        height=AROUND + BAR * max(CASE_LEAST, len(values)),
    )  # fmt: skip
