"""What was read of the factors, on paper: correlations, predictions, importance, the choice of k."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from widgetkit.errors import InvalidInput, near
from widgetkit.factors import ClassPrediction
from widgetkit.figures.compose import LETTER, PT_MM, _page
from widgetkit.figures.spec import MM_PER_INCH, FigureSpec
from widgetkit.figures.tiles import SIGNED
from widgetkit.palette import colour
from widgetkit.session.read import index_of
from widgetkit.slides.export_tables import is_identifying

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from widgetkit.session import Session
    from widgetkit.session.reading import Read

#: From here on a factor is said to follow the slide.
WARN_FROM = 0.5
OURS, OTHER, QUIET = colour(0), colour(1), "#8A8A8A"
#: Markers of the two, so that grey paper tells them apart.
MARKS = {OURS: "o", OTHER: "D"}
#: Room for names beside bars, as a share of the width; what is longer is cut.
NAMES = 0.26


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
        "importance", "completeness", "choice" or "layers".

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
        "prediction": line * (rows + len(found.table) + 9),
        "importance": line * (rows + 4),
        "completeness": line * 9,
        "shares": line * (rows * max(1.0, 0.32 * _groups(found)) + 5),
        "slides": line * (rows + 4),
        "choice": 0.72 * spec.width_mm,
        "layers": line * (rows + 5),
    }
    draw = _DRAW[kind]
    most = max(6, int(NAMES * spec.width_mm / (LETTER * spec.font_pt * PT_MM)))

    def fill(page: Figure) -> None:
        # text is a little wider at some resolutions than the layout takes it to be
        engine: Any = page.get_layout_engine()
        engine.set(w_pad=0.07)
        draw(page, _Look.of(session, most), found)

    return _page(spec.with_height(heights[kind]), fill)


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


@dataclass(frozen=True)
class _Look:
    """Names, cut to their room, and colours of the factors; ``most`` letters fit."""

    names: Sequence[str]
    hues: Sequence[str]
    most: int

    @classmethod
    def of(cls, session: Session, most: int) -> _Look:
        names, clustering = session.factor_names(), session.clustering
        own = clustering is not None and clustering.owners is None
        colours = clustering.colors if clustering is not None and own else range(len(names))
        return cls([_short(name, most) for name in names], [colour(c) for c in colours], most)

    def short(self, text: object) -> str:
        return _short(str(text), self.most)


# -- each kind ---------------------------------------------------------------------------
def _slides(page: Figure, look: _Look, found: Read) -> None:
    table = found.table
    axes = page.subplots()
    _bars(axes, look, table["factor"], 100 * table["adjusted"].clip(lower=0))
    axes.axvline(100 * WARN_FROM, color=QUIET, lw=0.6, ls="--")
    axes.set_xlim(0, 100)
    axes.set_xlabel(f"variance explained by the {table.attrs.get('by', 'slide')} (%)")


def _shares(page: Figure, look: _Look, found: Read) -> None:
    table = found.table
    axes = page.subplots()
    groups = list(dict.fromkeys(map(str, table["group"])))
    factors = list(dict.fromkeys(table["factor"]))
    at = np.arange(len(factors), dtype=float)
    height = 0.84 / max(1, len(groups))
    shown = _numbered(str(table.attrs.get("by", "")), groups)
    for i, group in enumerate(groups):
        part = table[table["group"].astype(str) == group].set_index("factor").loc[factors]
        where = at + (i - (len(groups) - 1) / 2) * height
        # bars first: a label that begins with an underscore is no legend entry of theirs
        axes.barh(where, 100 * part["share"], height=0.92 * height, color=colour(i))
        axes.hlines(where, 100 * part["low"], 100 * part["high"], color="black", lw=0.5)
    axes.set_yticks(at, [look.names[index_of(f)] for f in factors])
    axes.set_ylim(len(factors) - 0.5, -0.5)
    axes.set_xlabel("share of positions won (%)")
    _legend(page, axes, [(look.short(name), colour(i), None) for i, name in enumerate(shown)])


def _prediction(page: Figure, look: _Look, found: Read) -> None:
    table, detail = found.table, found.detail
    assert isinstance(detail, ClassPrediction)
    classes = [str(c) for c in detail.factors.classes]
    called = dict(zip(classes, _numbered(detail.label, classes), strict=True))
    order = detail.order
    # below one another: names of measures and of factors share one margin
    upper, lower = page.subplots(2, 1, height_ratios=(len(table) + 2, len(order)))
    at = np.arange(len(table))
    both = "network" in table.columns
    for name, shift, hue in (("factors", -0.16, OURS), ("network", 0.16, OTHER)):
        if name in table.columns:
            where = at + (shift if both else 0)
            _points(upper, table[name], table[f"{name}_low"], table[f"{name}_high"], where, hue)
    upper.set_yticks(
        at,
        [
            look.short(f"{m} of {called.get(str(o), str(o))}" if o else m)
            for m, o in zip(table["measure"], table["of"], strict=True)
        ],
    )
    upper.set_ylim(len(table) - 0.5, -0.5)
    upper.set_xlim(-0.02, 1.02)
    upper.axvline(0.5, color=QUIET, lw=0.5, ls=":")
    upper.set_xlabel("value, 95 % interval")
    entries = [("factors", OURS, "o"), ("network", OTHER, "D")][: 2 if both else 1]
    _legend(page, upper, entries)
    _bars(lower, look, order["factor"], order["coefficient"], order["least"], order["most"])
    lower.set_xlabel(
        f"speaks for {look.short(called[classes[-1]])} \N{RIGHTWARDS ARROW} "
        "(log odds a standard deviation)"
    )


def _correlations(page: Figure, look: _Look, found: Read) -> None:
    table = found.table
    methods = [m for m in ("pearson", "spearman") if (table["method"] == m).any()]
    maps = list(dict.fromkeys(table["map"]))
    factors = list(dict.fromkeys(table["factor"]))
    drawn: Any = None
    each = page.subplots(1, len(methods), sharey=True, squeeze=False)[0]
    # the numbers in the cells are as large as the cells allow
    cell_mm = (0.93 - NAMES) * page.get_size_inches()[0] * MM_PER_INCH / (len(methods) * len(maps))
    size = min(0.85 * _points_of_text(), cell_mm / (15 * LETTER * PT_MM))
    for axes, method in zip(each, methods, strict=True):
        part = table[table["method"] == method].set_index(["factor", "map"])
        grid = np.array([[float(part.loc[(f, m), "r"]) for m in maps] for f in factors])
        drawn = axes.imshow(grid, cmap=SIGNED, vmin=-1, vmax=1, aspect="auto")
        for i, f in enumerate(factors):
            for j, m in enumerate(maps):
                row = part.loc[(f, m)]
                axes.text(
                    j, i, _interval(row["r"], row["low"], row["high"]), ha="center", va="center",
                    color="white" if abs(float(row["r"])) > 0.65 else "black", fontsize=size,
                    linespacing=1.0,
                )  # fmt: skip
        axes.set_xticks(range(len(maps)), maps, rotation=25, ha="right", rotation_mode="anchor")
        axes.set_title(method.capitalize())
        axes.tick_params(length=0)
        for side in axes.spines.values():
            side.set_visible(False)
    each[0].set_yticks(range(len(factors)), [look.names[index_of(f)] for f in factors])
    bar = page.colorbar(drawn, ax=list(each), label="correlation", fraction=0.04, pad=0.02)
    bar.outline.set_visible(False)


def _importance(page: Figure, look: _Look, found: Read) -> None:
    table = found.table
    sobol = np.isfinite(table["sobol"].to_numpy(float)).any()
    each = page.subplots(1, 2 if sobol else 1, sharey=True, squeeze=False)[0]
    if sobol:
        _bars(
            each[1], look, table["factor"], table["sobol"], table["sobol_low"], table["sobol_high"]
        )
        each[1].set_xlabel("total Sobol index")
        each[1].set_xlim(left=0)
        each[1].tick_params(labelleft=False)
    _bars(each[0], look, table["factor"], table["drop"], table["low"], table["high"])
    each[0].set_xlabel(
        f"fall of the logit of {look.short(table.attrs.get('class_name', 'the class'))}"
    )


def _completeness(page: Figure, look: _Look, found: Read) -> None:
    table = found.table
    axes = page.subplots()
    at = np.arange(len(table))
    series = [
        (column, name, hue)
        for column, name, hue in (
            ("agreement", "keeps its class", OURS),
            ("accuracy", "is right", OTHER),
        )
        if column in table.columns and np.isfinite(table[column].to_numpy(float)).any()
    ]
    for i, (column, _, hue) in enumerate(series):
        where = at + ((0.16 if i else -0.16) if len(series) > 1 else 0)
        _points(axes, table[column], table[f"{column}_low"], table[f"{column}_high"], where, hue)
    axes.set_yticks(at, [str(v) for v in table["variant"]])
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    what = "..." if len(series) > 1 else "keeps its class"
    axes.set_xlabel(f"share of tiles whose prediction {what}")
    if len(series) > 1:
        _legend(page, axes, [(name, hue, MARKS[hue]) for _, name, hue in series])


_MEASURES = (
    ("relative error", (("error", "fitted", OURS), ("held_out", "held out", OTHER))),
    ("matched cosine", (("seeds", "other starts", OURS), ("slides", "other slides", OTHER))),
    ("agreement", (("agreement", "Rand index", OURS), ("cophenetic", "cophenetic", OTHER))),
    ("AUC of the class", (("auc", "from factors", OURS),)),
)


def _choice(page: Figure, look: _Look, found: Read) -> None:
    table = found.table
    best = table.attrs.get("recommended")
    each = page.subplots(2, 2, sharex=True)
    for axes, (label, lines) in zip(each.flat, _MEASURES, strict=True):
        shown = []
        for column, name, hue in lines:
            values = table[column].to_numpy(float)
            if not np.isfinite(values).any():
                continue
            axes.plot(table["k"], values, color=hue, marker=MARKS[hue], ms=2.5, lw=1)
            shown.append((name, hue, MARKS[hue]))
            if f"{column}_low" in table.columns:
                low, high = (table[f"{column}_{end}"].to_numpy(float) for end in ("low", "high"))
                axes.fill_between(table["k"], low, high, color=hue, alpha=0.2, lw=0)
        if not shown:
            axes.text(0.5, 0.5, "not measured", ha="center", transform=axes.transAxes, color=QUIET)
            axes.set_yticks([])
        elif len(shown) > 1:
            _legend(page, axes, shown)
        if label.startswith("AUC") and shown:  # constant ones would be drawn around 1
            axes.set_ylim(min(0.45, axes.get_ylim()[0]), 1.04)
        if best is not None:
            axes.axvline(best, color=QUIET, lw=0.8, ls="--")
        axes.set_ylabel(label)
        axes.set_xticks(table["k"])
    for axes in each[1]:
        axes.set_xlabel("factors")


def _layers(page: Figure, look: _Look, found: Read) -> None:
    table = found.table
    at = [index_of(f) for f in table["factor"]]
    partners = [int(b) for b in table["other"]]
    k = int(table.attrs.get("k_other", len(partners)))
    order = [*partners, *(b for b in range(k) if b not in partners)]
    grid = np.array(table.attrs["table"], float)[np.ix_(at, order)]
    left, right = page.subplots(1, 2, sharey=True, width_ratios=(1, 1.3))
    drawn = right.imshow(grid, cmap=SIGNED, vmin=-1, vmax=1, aspect="auto")
    right.set_xticks(range(len(order)), [str(b + 1) for b in order])
    right.set_xlabel(f"factors of {look.short(table.attrs['named'])}")
    right.tick_params(length=0, labelleft=False)
    for side in right.spines.values():
        side.set_visible(False)
    _bars(left, look, table["factor"], table["correlation"])
    left.plot(table["second"], np.arange(len(at)), "|", color="black", ms=5, mew=0.8)
    left.set_xlabel("correlation (| next best)")
    bar = page.colorbar(drawn, ax=right, label="correlation", fraction=0.06, pad=0.02)
    bar.outline.set_visible(False)


_DRAW: dict[str, Callable[[Any, _Look, Any], None]] = {
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
def _bars(
    axes: Axes, look: _Look, factors: Any, value: Any, low: Any = None, high: Any = None
) -> None:
    """Bars of factors in their colours with their names, the first on top."""
    at = [index_of(f) for f in factors]
    rows = np.arange(len(at))
    axes.barh(rows, value, color=[look.hues[i] for i in at])
    if low is not None:
        axes.hlines(rows, low, high, color="black", lw=0.6)
    axes.axvline(0, color="black", lw=0.5)
    axes.set_yticks(rows, [look.names[i] for i in at])
    axes.set_ylim(len(at) - 0.5, -0.5)


def _points(axes: Axes, value: Any, low: Any, high: Any, at: np.ndarray, hue: str) -> None:
    axes.hlines(at, low, high, color=hue, lw=1)
    axes.plot(value, at, color=hue, marker=MARKS[hue], ls="", ms=3)


def _legend(page: Figure, axes: Axes, entries: Sequence[tuple[str, str, str | None]]) -> None:
    """Names with their colours (and markers) in lines above the axes, as many as fit a line."""
    from matplotlib.lines import Line2D

    marks: list[Any] = [
        Line2D([], [], color=hue, marker=mark or "s", ls="", ms=3 if mark else 5)
        for _, hue, mark in entries
    ]
    width_mm = page.get_size_inches()[0] * MM_PER_INCH * (1 - NAMES)
    if len(page.axes) > 2:
        width_mm /= 2
    each = (max(len(name) for name, _, _ in entries) + 5) * LETTER * _points_of_text() * PT_MM
    axes.legend(
        marks,
        [name for name, _, _ in entries],
        frameon=False,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=max(1, min(len(entries), int(width_mm / each))),
        borderaxespad=0.1,
        handletextpad=0.2,
        columnspacing=1.0,
    )


def _points_of_text() -> float:
    from matplotlib import rcParams

    return float(rcParams["font.size"])


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}"


def _groups(found: Read) -> int:
    return int(found.table["group"].nunique()) if "group" in found.table.columns else 1


def _numbered(column: str, values: list[str]) -> list[str]:
    """Values of a column that may name a person or a file, by number."""
    if is_identifying(column):
        return [f"{column} {i + 1}" for i in range(len(values))]
    return values


def _interval(value: float, low: float, high: float) -> str:
    if not np.isfinite(value):
        return "\N{EN DASH}"
    if not (np.isfinite(low) and np.isfinite(high)):
        return _fixed(value)
    return f"{_fixed(value)}\n{_fixed(low)} to {_fixed(high)}"


def _fixed(value: float) -> str:
    text = f"{value:.2f}"
    return text.removeprefix("-") if float(text) == 0 else text
