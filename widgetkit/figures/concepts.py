"""Concepts on paper: what they count in the selection and the rest, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from widgetkit import explain
from widgetkit.errors import InvalidInput, UnknownName, near
from widgetkit.figures.compose import LETTER, PT_MM, _page
from widgetkit.figures.concept_pictures import concept_method, remarks_of, source_of
from widgetkit.figures.reading import NAMES, _short
from widgetkit.figures.spec import FigureSpec
from widgetkit.palette import colour

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from widgetkit.concepts import ConceptReport
    from widgetkit.session import Session
    from widgetkit.session.concept_reading import ConceptReading

#: The selection, what contradicts the class, the rest, a second series.
OURS, AGAINST, REST, OTHER = colour(0), colour(4), "#B8B8B8", colour(1)
#: Hatching of bars of concepts that contradict the class.
HATCH = "////"
#: Concepts that are drawn.
CONCEPTS_MOST = 25
#: A concept is marked where it contradicts the class in more than this share of the tiles it is seen in.
MOSTLY = 0.5
_CONTROLS = (
    ("permuted", "permuted labels", "x"),
    ("random_weights", "random weights", "D"),
    ("pixels", "pixels", "s"),
)
#: Row of a report that stands for all concepts together.
ALL = "(all)"
_DASHES = ("-", "--", "-.")


def needed(session: Session) -> ConceptReading:
    """The session's reading of its concepts, or the error that says how to get it."""
    found = session.concept_reading
    if found is None:
        raise InvalidInput(
            "The concepts were not read yet: session.read_concepts(), then session.wait()."
            if session.concepts is not None
            else "There are no concepts yet: session.save_as_concept(name) or session.set_concepts(...), "
            "then session.read_concepts() and session.wait()."
        )
    return found


def contradicting(table: pd.DataFrame) -> list[bool]:
    """Rows of ``ConceptReading.compare`` that mostly contradict the predicted class where they are seen."""
    seen, against = (
        np.nan_to_num(table[c].to_numpy(float)) for c in ("share_in", "contradicts_in")
    )
    return [bool(a > MOSTLY * s) for a, s in zip(against, seen, strict=True)]


def concepts(
    session: Session, spec: FigureSpec | None = None, *, concept: str | None = None
) -> Figure:
    """Panels a (relevance), b (share of tiles), selection and rest, and c (units of one concept).

    Parameters
    ----------
    session : Session
    spec : FigureSpec, optional
    concept : str, optional
        Of panel c; by default the most relevant that has units to show.

    Raises
    ------
    InvalidInput
        The concepts were not read yet; the message says how.
    UnknownName
        There is no such concept.
    """
    reading = needed(session)
    if concept is not None and concept not in reading.names:
        raise UnknownName(
            f"There is no concept {concept!r}. {near(concept, reading.names)}".rstrip()
        )
    spec = spec or FigureSpec(width_mm=150)
    mask = session.selection.mask
    some = bool(mask.any())
    table = reading.compare(mask if some else np.ones(len(mask), bool)).head(CONCEPTS_MOST)
    shown = _with_units(reading, table) if concept is None else concept
    rows = reading.units[reading.units["concept"] == shown].head(3).to_dict("records")
    if reading.activations is None:
        rows = []
    line = 1.9 * spec.font_pt * PT_MM
    upper = line * (1.25 * len(table) + 5)
    lower = line * 10 if rows else 0.0
    most = max(8, int(NAMES * spec.width_mm / (LETTER * spec.font_pt * PT_MM)))

    def fill(page: Figure) -> None:
        engine: Any = page.get_layout_engine()
        engine.set(w_pad=0.07)
        heights = (upper, lower) if rows else (upper,)
        parts = page.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        first, second = parts[0].subplots(1, 2, sharey=True, width_ratios=(2, 1))
        _compared(parts[0], first, second, table, some, most)
        letters = [("a", first), ("b", second)]
        if rows:
            each = parts[1].subplots(1, len(rows), squeeze=False)[0]
            for axes, row in zip(each, rows, strict=True):
                _unit(axes, reading, shown, row)
            each[0].set_ylabel("images (%)")
            handles, words = each[0].get_legend_handles_labels()
            parts[1].legend(
                handles,
                [f"{shown}: {words[0]}", words[1]],
                loc="outside upper left",
                frameon=False,
                ncols=2,
            )
            letters.append(("c", each[0]))
        for letter, axes in letters:
            axes.set_title(letter, loc="left", fontweight="bold")

    return _page(spec.with_height(upper + lower), fill)


def _with_units(reading: ConceptReading, table: pd.DataFrame) -> str:
    there = set(reading.units["concept"])
    names = [str(name) for name in table["concept"]]
    return next((name for name in names if name in there), names[0])


def _compared(
    page: Figure | SubFigure, first: Axes, second: Axes, table: pd.DataFrame, some: bool, most: int
) -> None:
    from matplotlib.patches import Patch

    marked = contradicting(table)
    at = np.arange(len(table))
    shift, height = (0.2, 0.36) if some else (0.0, 0.6)
    counted = bool(np.isfinite(table["relevance_in"].to_numpy(float)).any())
    for axes, column, scale in ((first, "relevance", 1.0), (second, "share", 100.0)):
        inside, rest = (
            scale * np.nan_to_num(table[f"{column}_{side}"].to_numpy(float))
            for side in ("in", "rest")
        )
        axes.barh(
            at - shift, inside, height, color=[AGAINST if bad else OURS for bad in marked],
            hatch=[HATCH if bad else "" for bad in marked], edgecolor="white", linewidth=0,
        )  # fmt: skip
        if some:
            axes.barh(at + shift, rest, height, color=REST)
        drawn = "relevance" if counted else "share"
        if column == drawn and some:
            low, high = (rest + scale * table[end].to_numpy(float) for end in ("low", "high"))
            axes.hlines(at - shift, low, high, color="black", lw=0.6)
        axes.axvline(0, color="black", lw=0.5)
    first.set_yticks(
        at,
        [
            _short(str(name), most) + ("\n(contradicts)" if bad else "")
            for name, bad in zip(table["concept"], marked, strict=True)
        ],
    )
    first.set_ylim(len(table) - 0.5, -0.5)
    second.tick_params(labelleft=False)
    first.set_xlabel("mean relevance (logit)" if counted else "no relevance without a head")
    second.set_xlabel("share of tiles (%)")
    what = "selection" if some else "all tiles"
    handles = [Patch(color=OURS)]
    words = [what]
    if any(marked):
        handles.append(Patch(facecolor=AGAINST, hatch=HATCH, edgecolor="white", linewidth=0))
        words.append("contradicts the class")
    if some:
        handles.append(Patch(color=REST))
        words.append("rest")
    page.legend(handles, words, loc="outside upper right", frameon=False, ncols=3, handlelength=1.2)


def _unit(axes: Axes, reading: ConceptReading, concept: str, row: Any) -> None:
    found = reading.distribution(concept, int(row["unit"]))
    for values, n, side, hue, dash in (
        (found.inside, row["n_with"], "with", OURS, "-"),
        (found.outside, row["n_without"], "without", OTHER, "--"),
    ):
        axes.stairs(
            100 * np.asarray(values), found.edges, color=hue, ls=dash, label=f"{side} ({int(n):,})"
        )
    p = float(row["p_corrected"])
    told = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    axes.set_title(f"unit {int(row['unit'])}: r {row['r']:.2f}, {told}", loc="right")
    axes.set_xlabel("activation")


# -- trust -------------------------------------------------------------------------------
def concept_trust(session: Session, spec: FigureSpec | None = None) -> Figure:
    """Panels a (risk by coverage), b (quality of explanations), c (AUC of each concept, its controls).

    Raises
    ------
    InvalidInput
        The concepts were not read yet; the message says how.
    """
    reading = needed(session)
    spec = spec or FigureSpec(width_mm=150)
    line = 1.9 * spec.font_pt * PT_MM
    hard = report_of(reading.report).struggles()
    rows = struggles_first(reading.report, "AUC", hard).head(CONCEPTS_MOST)
    upper, lower = max(45.0, 12 * line), line * (len(rows) + 5)
    most = max(8, int(NAMES * spec.width_mm / (LETTER * spec.font_pt * PT_MM)))

    def fill(page: Figure) -> None:
        engine: Any = page.get_layout_engine()
        engine.set(w_pad=0.07)
        above, below = page.subfigures(2, 1, squeeze=False, height_ratios=(upper, lower))[:, 0]
        parts = [*above.subplots(1, 2, width_ratios=(1, 0.8)), below.subplots()]
        _risk(parts[0], reading)
        _quality(parts[1], reading)
        _report(parts[2], rows, hard, most)
        for letter, axes in zip("abc", parts, strict=True):
            axes.set_title(letter, loc="left", fontweight="bold")

    return _page(spec.with_height(upper + lower), fill)


def report_of(table: pd.DataFrame) -> ConceptReport:
    """A report that knows nothing but its table, which is what a reading keeps."""
    from widgetkit.concepts import ConceptReport

    estimator = str(table["estimator"].iloc[0]) if len(table) else ""
    names = tuple(dict.fromkeys(str(name) for name in table["concept"] if name != ALL))
    return ConceptReport(table, {estimator: np.empty(0)}, {}, np.empty(0, np.intp), names, "")


def struggles_first(table: pd.DataFrame, measure: str, hard: Sequence[str]) -> pd.DataFrame:
    """Rows of one measure: concepts among ``hard`` first, then the worst first."""
    rows = report_of(table).of(measure)
    late = ~rows["concept"].isin(hard)
    ordered = rows.assign(late=late).sort_values("late", kind="stable").drop(columns="late")
    return ordered.reset_index(drop=True)


def best_curve(coverage: np.ndarray, chance: float) -> tuple[np.ndarray, np.ndarray]:
    """Coverage and risk of a score that puts all wrong ones last."""
    n = len(coverage)
    right = n - round(chance * n)
    kept = np.arange(1, n + 1)
    return kept / n, np.maximum(kept - right, 0) / kept


def _risk(axes: Axes, reading: ConceptReading) -> None:
    found = reading.detection
    if found is None:
        _without(axes, "no predictions whose class is known")
        return
    for i, (name, curve) in enumerate(found.curves.items()):
        axes.plot(
            100 * curve.coverage, 100 * curve.risk, color=(OURS, OTHER, colour(2))[i % 3],
            ls=_DASHES[i % 3], lw=1.2, label=f"{_short(name, 18)} ({curve.area:.2f})",
        )  # fmt: skip
    one = next(iter(found.curves.values()))
    coverage, best = best_curve(one.coverage, one.chance)
    axes.plot(
        100 * coverage, 100 * best, color="black", ls=":", lw=0.8, label=f"best ({one.best:.2f})"
    )
    axes.axhline(
        100 * one.chance, color="#8A8A8A", ls="-.", lw=0.8, label=f"chance ({one.chance:.2f})"
    )
    axes.set_xlim(0, 101)
    axes.set_ylim(0, 2.0 * max(axes.get_ylim()[1], 1.0))  # room for the legend
    axes.set_xlabel("coverage (%)")
    axes.set_ylabel("risk (% wrong)")
    axes.legend(
        frameon=False, title="score (area)", handlelength=1.8, loc="upper left", alignment="left"
    )


def _quality(axes: Axes, reading: ConceptReading) -> None:
    table = reading.quality
    if table is None:
        _without(axes, "no predictions whose class is known")
        return
    words = []
    for at, row in enumerate(table.to_dict("records")):
        side = str(row["images"])
        hue, mark = {"correct": (OURS, "o"), "misclassified": (OTHER, "D")}.get(
            side, ("black", "s")
        )
        axes.hlines(at, row["low"], row["high"], color=hue, lw=1)
        face = "none" if side == "difference" else hue
        axes.plot(row["value"], at, color=hue, marker=mark, ls="", ms=3.5, mfc=face)
        words.append(f"{row['measure']}, {side}" if side != "difference" else "difference")
    axes.axvline(0, color="black", lw=0.5)
    axes.set_yticks(range(len(words)), words)
    axes.set_ylim(len(words) - 0.5, -0.5)
    axes.set_xlabel("value (95 %)")


def _report(axes: Axes, rows: pd.DataFrame, hard: Sequence[str], most: int) -> None:
    at = np.arange(len(rows))
    bad = rows["concept"].isin(hard).to_numpy(bool)
    for mine, hue, face in ((~bad, OURS, OURS), (bad, AGAINST, "none")):
        axes.hlines(at[mine], rows["low"][mine], rows["high"][mine], color=hue, lw=1)
        axes.plot(rows["value"][mine], at[mine], color=hue, mfc=face, marker="o", ls="", ms=3.5)
    for column, name, mark in _CONTROLS:
        if column in rows and rows[column].notna().any():
            axes.plot(
                rows[column], at, color="black", mfc="none", marker=mark, ls="", ms=3, label=name
            )
    axes.axvline(0.5, color="#8A8A8A", lw=0.6, ls="--")
    axes.set_yticks(
        at,
        [
            _short(str(name), most) + (" (struggles)" if poor else "")
            for name, poor in zip(rows["concept"], bad, strict=True)
        ],
    )
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("AUC of reading the concept, 95 % interval")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1
        )


def _without(axes: Axes, words: str) -> None:
    axes.text(
        0.5,
        0.5,
        words,
        ha="center",
        va="center",
        wrap=True,
        transform=axes.transAxes,
        color="#505050",
    )
    axes.set_axis_off()


# -- words -------------------------------------------------------------------------------
def concept_sentences(session: Session, kind: str = "concepts") -> list[str]:
    """What a figure of concepts is of, for its caption: counts, estimator, how, remarks; nobody is named."""
    reading = needed(session)
    said = [f"{len(reading.names)} concepts, relevance by {reading.how}: {source_of(reading)}"]
    if kind == "concepts":
        said.append(
            "Lines: 95 % interval of the difference to the rest, by patients, from where the rest ends"
        )
        said.append(
            "Hatched: concepts that mostly contradict the predicted class where they are seen"
        )
        mask = session.selection.mask
        said += reading.warnings(mask if mask.any() else None)[:3]
    if kind == "concept_card":
        said.append(f"Maps of concepts: {explain.get(concept_method(session)).title}")
    if kind == "concept_trust":
        judged = reading.judged
        wrong = 0 if reading.correct is None else int((judged & ~reading.correct).sum())
        said.append(f"Of {int(judged.sum()):,} labelled tiles, {wrong:,} misclassified")
    return [*said, f"Seed {session.seed}", *remarks_of(session.store)]
