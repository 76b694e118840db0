"""Associations on paper: the strength of each variable, and one of them in each cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from widgetkit.errors import InvalidInput, UnknownName, near
from widgetkit.figures.compose import LETTER, PT_MM, _page
from widgetkit.figures.reading import NAMES, _legend, _short
from widgetkit.figures.spec import FigureSpec
from widgetkit.palette import NONE_COLOUR, colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from widgetkit.analysis import Association
    from widgetkit.session import Session

#: Variables and clusters that are drawn.
VARIABLES_MOST, CLUSTERS_MOST = 25, 20
#: q below which a variable is drawn in full colour.
CALLED = 0.05
REST = "#B8B8B8"
#: Letters of "median of ..., 95% interval" beside the variable's name, and of a margin.
AROUND = 28


def association(
    session: Session,
    spec: FigureSpec | None = None,
    *,
    of: str = "clusters",
    variable: str | None = None,
    found: Association | None = None,
) -> Figure:
    """Panels a (strength of every variable with its interval and q) and b (one in each cluster).

    Parameters
    ----------
    session : Session
    spec : FigureSpec, optional
    of : "clusters" or "selection"
        Which of ``session.associations``.
    variable : str, optional
        Of panel b; by default the one with the smallest q.
    found : Association, optional
        Instead of the session's answer.

    Raises
    ------
    InvalidInput
        Nothing was asked yet; the message says how.
    UnknownName
        There is no such variable.
    """
    if found is None:
        if of not in ("clusters", "selection"):
            raise InvalidInput(f"of={of!r}: choose 'clusters' or 'selection'.")
        found = session.associations.get(of)
    if found is None:
        raise InvalidInput(
            f"There is no answer about the {of} as they are now: session.associate({of!r}), then "
            "session.wait()."
        )
    names = [str(name) for name in found.ranked()["variable"]]
    wanted = names[0] if variable is None else variable
    if wanted not in names:
        raise UnknownName(f"There is no variable {wanted!r}. {near(wanted, names)}".rstrip())
    spec = spec or FigureSpec(width_mm=120)
    line = 1.9 * spec.font_pt * PT_MM
    upper = line * (min(len(names), VARIABLES_MOST) + 3)
    lower = line * (_rows(found, wanted) + 4)
    letters = spec.width_mm / (LETTER * spec.font_pt * PT_MM)
    most = max(6, int(NAMES * letters))
    told, label = found, _short(wanted, max(6, int((1 - NAMES) * letters) - AROUND))

    def fill(page: Figure) -> None:
        engine: Any = page.get_layout_engine()
        engine.set(w_pad=0.07)
        first, second = page.subplots(2, 1, height_ratios=(upper, lower))
        _strengths(first, told, most)
        _groups(page, second, told, wanted, label, _hues(session, told), most)
        for letter, axes in (("a", first), ("b", second)):
            axes.set_title(letter, loc="left", fontweight="bold")

    return _page(spec.with_height(upper + lower), fill)


def _rows(found: Association, variable: str) -> float:
    """Lines of text that panel b needs."""
    held = found.distribution(variable)
    clusters = min(max(1, len(np.unique(held.cluster))), CLUSTERS_MOST)
    return len(held.levels) * max(1.0, 0.35 * clusters) if held.levels else clusters


def _hues(session: Session, found: Association) -> list[str]:
    if found.selection:
        return [colour(0), REST]
    clustering = session.clustering
    return [
        colour(clustering.colors[i])
        if clustering is not None and isinstance(i, int) and i < clustering.k
        else colour(place)
        for place, i in enumerate(found.numbers)
    ]


def _strengths(axes: Axes, found: Association, most: int) -> None:
    rows = found.ranked().head(VARIABLES_MOST).to_dict("records")
    for i, row in enumerate(rows):
        if not np.isfinite(row["p"]):
            axes.text(0.01, i, "not tested", va="center", ha="left", color=NONE_COLOUR)
            continue
        hue = colour(0) if row["q"] < CALLED else NONE_COLOUR
        axes.barh(i, row["strength"], color=hue)
        axes.hlines(i, row["strength_low"], row["strength_high"], color="black", lw=0.6)
        q = "q < 0.001" if row["q"] < 0.001 else f"q = {row['q']:.3f}"
        axes.text(1.03, i, q, va="center", ha="left")
    axes.set_yticks(range(len(rows)), [_short(str(row["variable"]), most) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1.32)  # a column of q beside the bars
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    axes.set_xlabel(f"strength of association, {found.level:.0%} interval")


def _groups(
    page: Figure,
    axes: Axes,
    found: Association,
    variable: str,
    label: str,
    hues: list[str],
    most: int,
) -> None:
    means = found.means[found.means["variable"] == variable]
    held = found.distribution(variable)
    if means.empty or not len(held.values):
        axes.text(0.5, 0.5, "no values", ha="center", transform=axes.transAxes, color=NONE_COLOUR)
        axes.set_yticks([])
        axes.set_xlabel(label)
        return
    shown = [int(c) for c in np.unique(held.cluster)][:CLUSTERS_MOST]
    if not held.levels:
        statistic = "mean" if held.kind == "numeric" else "median"
        of = means[means["statistic"] == statistic].set_index("number")
        for i, c in enumerate(shown):
            one = of.loc[found.numbers[c]]
            _point(axes, one, i, hues[c])
        axes.set_yticks(range(len(shown)), [_short(found.names[c], most) for c in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xlabel(f"{statistic} of {label}, {found.level:.0%} interval")
        return
    of = means[means["statistic"] == "share"].set_index(["number", "level"])
    step = 0.8 / len(shown)
    for place, c in enumerate(shown):
        shift = (place - (len(shown) - 1) / 2) * step
        for i, level in enumerate(held.levels):
            one = 100 * of.loc[(found.numbers[c], level)][["value", "low", "high"]].astype(float)
            _point(axes, one, i + shift, hues[c])
    axes.set_yticks(range(len(held.levels)), [_short(level, most) for level in held.levels])
    axes.set_ylim(len(held.levels) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"share of {label} (%), {found.level:.0%} interval")
    _legend(page, axes, [(_short(found.names[c], most), hues[c], "o") for c in shown])


def _point(axes: Axes, one: Any, at: float, hue: str) -> None:
    value, low, high = (float(one[c]) for c in ("value", "low", "high"))
    if np.isfinite(low) and np.isfinite(high):
        axes.hlines(at, low, high, color=hue, lw=1.2)
    axes.plot([value], [at], color=hue, marker="o", ls="", ms=3.5)
