"""Tables of what was read of the factors, as a person reads them: names, intervals in one cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from widgetkit.factors import ClassPrediction
from widgetkit.session.reading import index_of
from widgetkit.widgets.controls import escape

if TYPE_CHECKING:
    from widgetkit.session.reading import Read

#: Rows that are shown; all are in ``session.readings``.
ROWS_MOST = 200

Row = Mapping[Any, Any]


@dataclass(frozen=True)
class Cells:
    """Headers and rows of plain text; ``strong`` is the row to stand out, if any."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    strong: int | None = None


def tables(found: Read, names: Sequence[str]) -> tuple[Cells, ...]:
    """A reading as tables of text; ``names`` of the factors as they are called now."""
    first = _CELLS[found.kind](found, names)
    if isinstance(found.detail, ClassPrediction):
        return first, _order(found.detail, names)
    return (first,)


def html(table: Cells) -> str:
    """The table as HTML, everything escaped."""
    shown = table.rows[:ROWS_MOST]
    style = "padding:1px 12px 1px 0;text-align:right;white-space:nowrap"
    first = style.replace("right;", "left;")
    head = "".join(
        f'<th scope="col" style="{style if i else first};font-weight:600;vertical-align:bottom">'
        f"{escape(text)}</th>"
        for i, text in enumerate(table.headers)
    )
    body = []
    for number, row in enumerate(shown):
        weight = ";font-weight:600" if number == table.strong else ""
        body.append(
            "".join(
                f'<td style="{style if i else first}{weight}">{escape(text)}</td>'
                for i, text in enumerate(row)
            )
        )
    rows = "".join(f"<tr>{row}</tr>" for row in body)
    more = (
        f"<div>first {ROWS_MOST} of {len(table.rows):,} rows</div>"
        if len(table.rows) > ROWS_MOST
        else ""
    )
    return (
        '<table class="wk-table" style="border-collapse:collapse;font-size:12px;line-height:1.5;'
        'margin-bottom:8px">'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{more}"
    )


def lines(table: Cells, most: int = 24) -> list[str]:
    """The first rows as lines ``"header value, header value"``; empty cells are left out."""
    return [
        ", ".join(f"{h} {v}" for h, v in zip(table.headers, row, strict=True) if v)
        for row in table.rows[:most]
    ]


# -- each kind ---------------------------------------------------------------------------
def _slides(found: Read, names: Sequence[str]) -> Cells:
    by = found.table.attrs.get("by", "slide")
    return Cells(
        ("factor", f"explained by the {by}", "with what chance gives", f"{by}s"),
        tuple(
            (
                names[index_of(row["factor"])],
                _percent(row["adjusted"]),
                _percent(row["share"]),
                _plain(row["groups"]),
            )
            for row in _records(found)
        ),
    )


def _shares(found: Read, names: Sequence[str]) -> Cells:
    groups = list(dict.fromkeys(map(str, found.table["group"])))
    of = {(str(row["group"]), index_of(row["factor"])): row for row in _records(found)}
    factors = list(dict.fromkeys(index_of(f) for f in found.table["factor"]))
    return Cells(
        ("factor", *groups),
        tuple(
            (
                names[f],
                *(
                    _interval(of[g, f], "share", "low", "high", scale=100, digits=1, unit=" %")
                    if (g, f) in of
                    else ""
                    for g in groups
                ),
            )
            for f in factors
        ),
    )


def _prediction(found: Read, names: Sequence[str]) -> Cells:
    sides = [name for name in ("factors", "network") if name in found.table.columns]
    return Cells(
        ("measure", *sides),
        tuple(
            (
                measure_of(row),
                *(_interval(row, side, f"{side}_low", f"{side}_high") for side in sides),
            )
            for row in _records(found)
        ),
    )


def _order(detail: ClassPrediction, names: Sequence[str]) -> Cells:
    """Factors by what they say of the last class, most against it first."""
    return Cells(
        ("factor", f"speaks for {detail.factors.classes[-1]} (least to most of the folds)"),
        tuple(
            (names[index_of(row["factor"])], _interval(row, "coefficient", "least", "most"))
            for row in detail.order.to_dict("records")
        ),
    )


def _correlations(found: Read, names: Sequence[str]) -> Cells:
    methods = list(dict.fromkeys(found.table["method"]))
    maps = list(dict.fromkeys(found.table["map"]))
    of = {(row["factor"], row["map"], row["method"]): row for row in _records(found)}
    factors = list(dict.fromkeys(found.table["factor"]))
    within = "within" in found.table.columns
    headers = ["factor", "map", *(m.capitalize() for m in methods)]
    if within:
        headers += [f"{m.capitalize()} within slides" for m in methods]
    rows = []
    for f in factors:
        for m in maps:
            each = [of[f, m, method] for method in methods if (f, m, method) in of]
            row = [names[index_of(f)], m, *(_interval(cell, "r", "low", "high") for cell in each)]
            rows.append((*row, *(_plain(cell["within"]) for cell in each if within)))
    return Cells(tuple(headers), tuple(rows))


def _importance(found: Read, names: Sequence[str]) -> Cells:
    parts = [
        ("fall of the logit", "drop", "low", "high"),
        (
            "fall of the probability",
            "drop_probability",
            "probability_low",
            "probability_high",
        ),
        ("total Sobol index", "sobol", "sobol_low", "sobol_high"),
    ]
    there = [part for part in parts if _measured(found, part[1])]
    digits = {part[1]: _digits(found.table[part[1]].to_numpy(float)) for part in there}
    return Cells(
        ("factor", *(part[0] for part in there)),
        tuple(
            (
                names[index_of(row["factor"])],
                *(_interval(row, *part[1:], digits=digits[part[1]]) for part in there),
            )
            for row in _records(found)
        ),
    )


def _completeness(found: Read, names: Sequence[str]) -> Cells:
    parts = [
        ("keeps its class", "agreement", "agreement_low", "agreement_high"),
        ("is right", "accuracy", "accuracy_low", "accuracy_high"),
    ]
    there = [part for part in parts if _measured(found, part[1])]
    return Cells(
        ("the network sees", *(part[0] for part in there), "R\N{SUPERSCRIPT TWO} of the logits"),
        tuple(
            (
                str(row["variant"]),
                *(_interval(row, *part[1:]) for part in there),
                _plain(row.get("logit_r2")),
            )
            for row in _records(found)
        ),
    )


def _choice(found: Read, names: Sequence[str]) -> Cells:
    parts = [
        ("error", "error"),
        ("held out", "held_out"),
        ("other starts", "seeds"),
        ("other slides", "slides"),
        ("Rand index", "agreement"),
        ("cophenetic", "cophenetic"),
    ]
    there = [part for part in parts if _measured(found, part[1])]
    auc = _measured(found, "auc")
    rows = _records(found)
    best = found.table.attrs.get("recommended")
    return Cells(
        ("factors", *(part[0] for part in there), *(["AUC"] if auc else [])),
        tuple(
            (
                f"{row['k']}{' (recommended)' if row['k'] == best else ''}",
                *(_plain(row[column]) for _, column in there),
                *([_interval(row, "auc", "auc_low", "auc_high")] if auc else []),
            )
            for row in rows
        ),
        next((i for i, row in enumerate(rows) if row["k"] == best), None),
    )


def _layers(found: Read, names: Sequence[str]) -> Cells:
    return Cells(
        ("factor", str(found.table.attrs["named"]), "correlation", "next best"),
        tuple(
            (
                names[index_of(row["factor"])],
                f"factor {int(row['other']) + 1}",
                _plain(row["correlation"]),
                _plain(row["second"]),
            )
            for row in _records(found)
        ),
    )


_CELLS: dict[str, Callable[[Any, Sequence[str]], Cells]] = {
    "slides": _slides,
    "shares": _shares,
    "prediction": _prediction,
    "correlations": _correlations,
    "importance": _importance,
    "completeness": _completeness,
    "choice": _choice,
    "layers": _layers,
}


# -- parts -------------------------------------------------------------------------------
def measure_of(row: Row) -> str:
    """``"AUC of tumour"``, ``"accuracy"``."""
    return f"{row['measure']} of {row['of']}" if row["of"] else str(row["measure"])


def _records(found: Read) -> list[dict[Any, Any]]:
    return list(found.table.to_dict("records"))


def _measured(found: Read, column: str) -> bool:
    table = found.table
    return column in table.columns and bool(np.isfinite(table[column].to_numpy(float)).any())


def _plain(value: Any) -> str:
    if value is None or not np.isfinite(float(value)):
        return ""
    return f"{value:d}" if isinstance(value, int | np.integer) else fixed(float(value), 2)


def fixed(value: float, digits: int = 2) -> str:
    """A number with this many decimals, without the sign of a zero."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _digits(values: npt.NDArray[np.float64]) -> int:
    """Decimals that show three digits of the largest value, at least two."""
    largest = float(np.nanmax(np.abs(values), initial=0.0))
    return 2 if largest >= 1 or largest == 0 else min(8, 2 - int(np.floor(np.log10(largest))))


def _percent(value: Any) -> str:
    # what chance gives may be more than there is
    return f"{max(0.0, 100 * float(value)):.0f} %" if np.isfinite(float(value)) else ""


def _interval(
    row: Row, value: str, low: str, high: str, *, scale: float = 1, digits: int = 2, unit: str = ""
) -> str:
    middle, least, most = (scale * float(row[c]) for c in (value, low, high))
    if not np.isfinite(middle):
        return ""
    ends = (
        f" ({fixed(least, digits)} to {fixed(most, digits)})"
        if np.isfinite(least) and np.isfinite(most)
        else ""
    )
    return f"{fixed(middle, digits)}{unit}{ends}"
