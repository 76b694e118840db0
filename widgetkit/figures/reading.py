"""What was read of the factors, on paper: correlations, predictions, importance, the choice of k."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from widgetkit.errors import InvalidInput, near
from widgetkit.figures.compose import PT_MM, _page
from widgetkit.figures.spec import FigureSpec
from widgetkit.figures.tiles import SIGNED
from widgetkit.palette import colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from widgetkit.session import Session
    from widgetkit.session.reading import Read

#: Columns that may name people or their files: their values are numbered on paper.
IDENTIFYING = ("patient", "source", "slide", "id")
#: From here on a factor is said to follow the slide.
WARN_FROM = 0.5
OURS, OTHER, QUIET = colour(0), colour(1), "#8A8A8A"


def reading(
    session: Session, spec: FigureSpec | None = None, *, kind: str = "correlations"
) -> Figure:
    """One of the session's readings as a figure.

    Parameters
    ----------
    session : Session
    spec : FigureSpec, optional
    kind : str
        One of ``session.readings``: "slides", "shares", "prediction", "correlations",
        "importance", "completeness" or "choice".

    Raises
    ------
    InvalidInput
        It was not read yet; the message says how.
    """
    found = read(session, kind)
    spec = spec or FigureSpec(width_mm=120)
    rows = max(1, len(session.factor_names()))
    line = 1.9 * spec.font_pt * PT_MM
    heights = {
        "correlations": line * (rows * 1.3 + 5),
        "prediction": line * (max(rows, len(found.table)) + 5),
        "importance": line * (rows + 5),
        "completeness": line * 9,
        "shares": line * (rows + 6),
        "slides": line * (rows + 4),
        "choice": 0.72 * spec.width_mm,
    }
    return _page(spec.with_height(heights[kind]), lambda page: _DRAW[kind](page, session, found))


def read(session: Session, kind: str) -> Read:
    """A reading that there is, or the error that says how to get it."""
    if kind not in _DRAW:
        raise InvalidInput(f"There is no reading {kind!r}. {near(kind, _DRAW)}".rstrip())
    found = session.readings.get(kind)
    if found is None:
        raise InvalidInput(
            f"{kind!r} was not read yet: session.read_{kind}(), then session.wait()."
        )
    return found


# -- each kind ---------------------------------------------------------------------------
def _correlations(page: Figure, session: Session, found: Read) -> None:
    table = found.table
    methods = [m for m in ("pearson", "spearman") if (table["method"] == m).any()]
    maps = list(dict.fromkeys(table["map"]))
    factors = list(dict.fromkeys(table["factor"]))
    names = _names(session, len(factors))
    drawn: Any = None
    each = page.subplots(1, len(methods), sharey=True, squeeze=False)[0]
    for axes, method in zip(each, methods, strict=True):
        part = table[table["method"] == method].set_index(["factor", "map"])
        grid = np.array([[float(part.loc[(f, m), "r"]) for m in maps] for f in factors])
        drawn = axes.imshow(grid, cmap=SIGNED, vmin=-1, vmax=1, aspect="auto")
        for i, f in enumerate(factors):
            for j, m in enumerate(maps):
                row = part.loc[(f, m)]
                axes.text(
                    j, i, _interval(row["r"], row["low"], row["high"]), ha="center", va="center",
                    color="white" if abs(float(row["r"])) > 0.65 else "black",
                    fontsize="small",
                )  # fmt: skip
        axes.set_xticks(range(len(maps)), maps, rotation=20, ha="right")
        axes.set_title(method.capitalize())
        axes.tick_params(length=0)
        for side in axes.spines.values():
            side.set_visible(False)
    each[0].set_yticks(range(len(factors)), names)
    bar = page.colorbar(drawn, ax=list(each), label="correlation", fraction=0.04, pad=0.02)
    bar.outline.set_visible(False)


def _prediction(page: Figure, session: Session, found: Read) -> None:
    from widgetkit.factors import ClassPrediction

    table = found.table
    left, right = page.subplots(1, 2, width_ratios=(1.3, 1))
    at = np.arange(len(table))
    labels = [
        f"{m} of {o}" if o else str(m) for m, o in zip(table["measure"], table["of"], strict=True)
    ]
    for name, shift, hue in (("factors", -0.16, OURS), ("network", 0.16, OTHER)):
        if name in table.columns:
            _points(
                left,
                table[name],
                table[f"{name}_low"],
                table[f"{name}_high"],
                at + shift,
                hue,
                name,
            )
    left.set_yticks(at, labels)
    left.invert_yaxis()
    left.set_xlim(0, 1.02)
    left.axvline(0.5, color=QUIET, lw=0.5, ls=":")
    left.set_xlabel("value (95 % interval)")
    left.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.1)
    detail = found.detail
    if isinstance(detail, ClassPrediction):
        order = detail.order
        rows = np.arange(len(order))
        names = _names(session, len(order))
        hues = [colour(c) for c in _colours(session, len(order))]
        right.barh(rows, order["coefficient"], color=[hues[int(i)] for i in order["factor"]])
        right.hlines(rows, order["least"], order["most"], color="black", lw=0.6)
        right.set_yticks(rows, [names[int(i)] for i in order["factor"]])
        right.axvline(0, color="black", lw=0.5)
        right.set_xlabel(f"speaks for {detail.factors.classes[-1]} \N{RIGHTWARDS ARROW}")


def _importance(page: Figure, session: Session, found: Read) -> None:
    table = found.table
    names, hues = _names(session, len(table)), [colour(c) for c in _colours(session, len(table))]
    at = np.arange(len(table))
    sobol = np.isfinite(table["sobol"].to_numpy(float)).any()
    each = page.subplots(1, 2 if sobol else 1, sharey=True, squeeze=False)[0]
    each[0].barh(at, table["drop"], color=hues)
    each[0].hlines(at, table["low"], table["high"], color="black", lw=0.6)
    each[0].axvline(0, color="black", lw=0.5)
    each[0].set_xlabel(f"fall of the logit of {table.attrs.get('class_name', 'the class')}")
    if sobol:
        each[1].barh(at, table["sobol"], color=hues)
        each[1].hlines(at, table["sobol_low"], table["sobol_high"], color="black", lw=0.6)
        each[1].set_xlabel("total Sobol index")
        each[1].set_xlim(left=0)
    each[0].set_yticks(at, names)
    each[0].invert_yaxis()


def _completeness(page: Figure, session: Session, found: Read) -> None:
    table = found.table
    axes = page.subplots()
    at = np.arange(len(table))
    _points(
        axes, table["agreement"], table["agreement_low"], table["agreement_high"], at, OURS,
        "keeps its class",
    )  # fmt: skip
    if "accuracy" in table.columns:
        _points(
            axes, table["accuracy"], table["accuracy_low"], table["accuracy_high"], at + 0.22, OTHER,
            "is right",
        )  # fmt: skip
    axes.set_yticks(at, [str(v) for v in table["variant"]])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.02)
    axes.set_xlabel(
        "share of tiles whose prediction " + ("..." if "accuracy" in table else "keeps its class")
    )
    if "accuracy" in table:
        axes.legend(frameon=False)


def _shares(page: Figure, session: Session, found: Read) -> None:
    table = found.table
    axes = page.subplots()
    groups = list(dict.fromkeys(map(str, table["group"])))
    factors = list(dict.fromkeys(table["factor"]))
    names = _names(session, len(factors))
    at = np.arange(len(factors), dtype=float)
    height = 0.8 / max(1, len(groups))
    shown = _numbered(found, groups)
    for i, group in enumerate(groups):
        part = table[table["group"].astype(str) == group].set_index("factor").loc[factors]
        where = at + (i - (len(groups) - 1) / 2) * height
        axes.barh(where, 100 * part["share"], height=0.92 * height, color=colour(i), label=shown[i])
        axes.hlines(where, 100 * part["low"], 100 * part["high"], color="black", lw=0.5)
    axes.set_yticks(at, names)
    axes.invert_yaxis()
    axes.set_xlabel("share of positions won (%)")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


def _slides(page: Figure, session: Session, found: Read) -> None:
    table = found.table
    axes = page.subplots()
    at = np.arange(len(table))
    hues = [colour(c) for c in _colours(session, len(table))]
    axes.barh(at, 100 * table["adjusted"].clip(lower=0), color=hues)
    axes.axvline(100 * WARN_FROM, color=QUIET, lw=0.6, ls="--")
    axes.set_xlim(0, 100)
    axes.set_yticks(at, _names(session, len(table)))
    axes.invert_yaxis()
    axes.set_xlabel("variance explained by the slide (%)")


def _choice(page: Figure, session: Session, found: Read) -> None:
    table = found.table
    kinds = [
        ("relative error", [("error", "fitted", OURS), ("held_out", "held out", OTHER)]),
        ("matched cosine", [("seeds", "other starts", OURS), ("slides", "other slides", OTHER)]),
        ("agreement", [("agreement", "Rand index", OURS), ("cophenetic", "cophenetic", OTHER)]),
        ("AUC", [("auc", "from factors", OURS)]),
    ]
    best = table.attrs.get("recommended")
    for axes, (label, lines) in zip(page.subplots(2, 2, sharex=True).flat, kinds, strict=True):
        for column, name, hue in lines:
            values = table[column].to_numpy(float)
            if not np.isfinite(values).any():
                continue
            axes.plot(table["k"], values, "o-", color=hue, ms=2.5, lw=1, label=name)
            if f"{column}_low" in table.columns:
                axes.fill_between(
                    table["k"],
                    table[f"{column}_low"],
                    table[f"{column}_high"],
                    color=hue,
                    alpha=0.2,
                    lw=0,
                )
        if not axes.lines:
            axes.text(0.5, 0.5, "not measured", ha="center", transform=axes.transAxes, color=QUIET)
        elif len(lines) > 1:
            axes.legend(frameon=False)
        if best is not None:
            axes.axvline(best, color=QUIET, lw=0.8, ls="--")
        axes.set_ylabel(label)
        axes.set_xticks(table["k"])
    for axes in page.axes[2:]:
        axes.set_xlabel("factors")


_DRAW: dict[str, Callable[[Any, Any, Any], None]] = {
    "slides": _slides,
    "shares": _shares,
    "prediction": _prediction,
    "correlations": _correlations,
    "importance": _importance,
    "completeness": _completeness,
    "choice": _choice,
}


# -- parts -------------------------------------------------------------------------------
def _points(
    axes: Axes, value: Any, low: Any, high: Any, at: np.ndarray, hue: str, label: str
) -> None:
    axes.hlines(at, low, high, color=hue, lw=1)
    axes.plot(value, at, "o", color=hue, ms=3, label=label)


def _names(session: Session, k: int) -> list[str]:
    names = session.factor_names()
    return list(names) if len(names) == k else [f"factor {i + 1}" for i in range(k)]


def _colours(session: Session, k: int) -> Sequence[int]:
    clustering = session.clustering
    if clustering is not None and clustering.owners is None and len(clustering.colors) == k:
        return clustering.colors
    return range(k)


def _numbered(found: Read, groups: list[str]) -> list[str]:
    column = str(found.table.attrs.get("by", ""))
    if column in IDENTIFYING:
        return [f"{column} {i + 1}" for i in range(len(groups))]
    return groups


def _interval(value: float, low: float, high: float) -> str:
    if not np.isfinite(value):
        return "\N{EN DASH}"
    if not (np.isfinite(low) and np.isfinite(high)):
        return f"{value:.2f}"
    return f"{value:.2f}\n({low:.2f} to {high:.2f})"
