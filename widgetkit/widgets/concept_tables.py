"""Tables and lines of concepts, as a person reads them: intervals in one cell, struggles first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from widgetkit.figures.concepts import ALL
from widgetkit.widgets.association_charts import number, probability
from widgetkit.widgets.concept_charts import CONTRADICTS, percent
from widgetkit.widgets.factor_tables import Cells

if TYPE_CHECKING:
    import pandas as pd

    from widgetkit.concepts import ConceptSet

_CONTROLS = (("permuted", "permuted"), ("random_weights", "random weights"), ("pixels", "pixels"))


def compared(table: pd.DataFrame, contradicting: Sequence[bool], what: str) -> Cells:
    """What each concept counts in the selection and the rest."""
    rows = table.to_dict("records")
    beside = bool(table["share_rest"].notna().any())
    headers = ["concept", f"relevance, {what}", f"tiles, {what}"]
    if beside:
        headers += ["relevance, rest", "difference", "tiles, rest"]
    return Cells(
        (*headers, ""),
        tuple(
            (
                str(row["concept"]),
                number(row["relevance_in"]),
                percent(row["share_in"]),
                *(
                    (
                        number(row["relevance_rest"]),
                        between(row["difference"], row["low"], row["high"]),
                        percent(row["share_rest"]),
                    )
                    if beside
                    else ()
                ),
                CONTRADICTS if bad else "",
            )
            for row, bad in zip(rows, contradicting, strict=True)
        ),
    )


def examples(known: ConceptSet) -> Cells:
    """How many examples each concept has, while nothing was read yet."""
    return Cells(
        ("concept", "examples", "without it", "nobody looked"),
        tuple(
            (name, f"{shows:,}", f"{lacks:,}", f"{known.n - shows - lacks:,}")
            for name, (shows, lacks) in zip(known.names, known.counts.tolist(), strict=True)
        ),
    )


def units(table: pd.DataFrame) -> Cells:
    """Units that separate images with a concept from those without."""
    return Cells(
        ("concept", "unit", "r", "p", "corrected p", "mean with", "mean without", "with", "without", "note"),
        tuple(
            (
                str(row["concept"]),
                f"{int(row['unit'])}",
                number(row["r"]),
                probability(row["p"]),
                probability(row["p_corrected"]),
                number(row["mean_with"]),
                number(row["mean_without"]),
                f"{int(row['n_with']):,}",
                f"{int(row['n_without']):,}",
                str(row["note"]),
            )
            for row in table.to_dict("records")
        ),
    )  # fmt: skip


def quality(table: pd.DataFrame) -> Cells:
    """PPV and sensitivity where the class is right, and where it is wrong."""
    return Cells(
        ("measure", "images", "value", "p", "n", "note"),
        tuple(
            (
                str(row["measure"]),
                str(row["images"]),
                between(row["value"], row["low"], row["high"]),
                probability(row["p"]) if np.isfinite(row["p"]) else "",
                f"{int(row['n']):,}",
                str(row["note"]),
            )
            for row in table.to_dict("records")
        ),
    )


def detection(table: pd.DataFrame) -> Cells:
    """Scores as detectors of wrong predictions."""
    return Cells(
        ("detector", "measure", "value", "difference to the other", "n", "wrong", "note"),
        tuple(
            (
                str(row["detector"]),
                str(row["measure"]),
                between(row["value"], row["low"], row["high"]),
                between(row["difference"], row["difference_low"], row["difference_high"])
                if np.isfinite(row["difference"])
                else "",
                f"{int(row['n']):,}",
                f"{int(row['wrong']):,}",
                str(row["note"]),
            )
            for row in table.to_dict("records")
        ),
    )


def report(table: pd.DataFrame, order: Sequence[str], struggles: Sequence[str]) -> Cells:
    """All measures of each concept beside the controls of the AUC, in this order, all of them last."""
    measures = list(dict.fromkeys(map(str, table["measure"])))
    controls = [
        (column, name)
        for column, name in _CONTROLS
        if column in table and table[column].notna().any()
    ]
    at: dict[tuple[str, str], Mapping[Any, Any]] = {
        (str(row["concept"]), str(row["measure"])): row for row in table.to_dict("records")
    }
    shown = [*order, *([ALL] if (ALL, measures[0]) in at else [])]
    return Cells(
        ("concept", *measures, *(f"AUC, {name}" for _, name in controls), "with it", "of", ""),
        tuple(
            (
                name,
                *(
                    between(*(at[name, m][c] for c in ("value", "low", "high")))
                    if (name, m) in at
                    else ""
                    for m in measures
                ),
                *(number(at[name, measures[0]][column]) for column, _ in controls),
                f"{int(at[name, measures[0]]['positive']):,}",
                f"{int(at[name, measures[0]]['n']):,}",
                "struggles" if name in struggles else "",
            )
            for name in shown
        ),
    )


def case(table: pd.DataFrame) -> Cells:
    """The concepts of one image."""
    return Cells(
        ("concept", "relevance", "share", "strength", "labelled", ""),
        tuple(
            (
                str(row["concept"]),
                number(row["relevance"]),
                percent(row["share"]),
                number(row["strength"]),
                _labelled(row["labelled"]),
                ", ".join(
                    word
                    for word, there in (
                        (CONTRADICTS, bool(row["contradicts"])),
                        ("left out", bool(row["excluded"])),
                    )
                    if there
                ),
            )
            for row in table.to_dict("records")
        ),
    )


def _labelled(value: Any) -> str:
    # 1 shown, 0 not, -1 or NaN: nobody looked
    known = float(value)
    return {1.0: "yes", 0.0: "no"}.get(known, "")


def between(value: Any, low: Any, high: Any) -> str:
    """``"0.81 (0.74 to 0.88)"``; without what is unknown."""
    if not np.isfinite(float(value)):
        return "\N{EN DASH}"
    if not (np.isfinite(float(low)) and np.isfinite(float(high))):
        return number(float(value))
    return f"{number(float(value))} ({number(float(low))} to {number(float(high))})"
