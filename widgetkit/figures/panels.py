"""One panel each: a function that draws into given axes and knows nothing of the page."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from widgetkit.figures.tiles import UNSIGNED
from widgetkit.palette import NONE_COLOUR, colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from widgetkit.session import Session

#: Above this many points the scatter is rasterised: a vector file would not open.
RASTER_ABOVE = 2000
#: A numeric column with more values than this gets a colour bar, not a legend.
NUMBERS_ABOVE = 12
#: Columns whose values may be names of people or of their files: a figure numbers them.
IDENTIFYING = ("patient", "source", "slide", "id")


def categories(values: Any) -> tuple[np.ndarray, list[str]]:
    """Codes and sorted names of a column (Series, array or sequence); missing values have the code -1."""
    import pandas as pd

    codes, names = pd.factorize(pd.Series(values), sort=True)
    return np.asarray(codes), [str(n) for n in names]


def colouring(
    session: Session, color_by: str
) -> tuple[np.ndarray | None, list[str], list[str], np.ndarray | None]:
    """``(codes, names, colours, numbers)`` of the points: categories, or numbers for a colour bar."""
    from widgetkit.errors import UnknownName, near

    n = len(session.store)
    if color_by == "cluster":
        clustering = session.clustering
        if clustering is None:
            return np.zeros(n, int), ["all tiles"], [colour(0)], None
        return (
            np.asarray(clustering.labels),
            list(clustering.names),
            [colour(c) for c in clustering.colors],
            None,
        )
    table = session.store.tiles
    if color_by not in table:
        raise UnknownName(
            f"No column {color_by!r} to colour by. {near(color_by, ['cluster', *map(str, table)])}"
        )
    column = table[color_by]
    hidden = color_by in IDENTIFYING
    if column.dtype.kind in "fiu" and column.nunique() > NUMBERS_ABOVE and not hidden:
        return None, [], [], column.to_numpy(dtype=float)
    codes, names = categories(column)
    if hidden:
        names = [f"{color_by} {i + 1}" for i in range(len(names))]
    return codes, names, [colour(i) for i in range(len(names))], None


def draw_scatter(
    axes: Axes, session: Session, *, color_by: str = "cluster", legend: bool = True
) -> None:
    """The embedding; tiles outside a selection are pale. Axes have no units: distances are ranks at best."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel(f"{_method(session)} 1", loc="left")
    axes.set_ylabel(f"{_method(session)} 2", loc="bottom")
    projection = session.projection
    if projection is None or not len(projection.xy):
        axes.text(0.5, 0.5, "no projection", ha="center", va="center", transform=axes.transAxes)
        return
    xy = np.asarray(projection.xy)
    axes.set_aspect("equal", adjustable="datalim")
    mask = session.selection.mask
    chosen = mask if mask.any() else np.ones(len(xy), bool)
    size = float(np.clip(3000.0 / max(1, len(xy)), 0.3, 12.0))
    dense = len(xy) > RASTER_ABOVE

    def dots(where: np.ndarray, c: Any, layer: int, **scale: Any) -> Any:
        return axes.scatter(
            xy[where, 0],
            xy[where, 1],
            s=size,
            c=c,
            linewidths=0,
            rasterized=dense,
            zorder=layer,
            **scale,
        )

    codes, names, colours, numbers = colouring(session, color_by)
    if numbers is not None:
        known = np.isfinite(numbers)
        # one scale whatever is selected
        ends = {"vmin": numbers[known].min(), "vmax": numbers[known].max()}
        drawn = dots(chosen & known, numbers[chosen & known], 2, cmap=UNSIGNED, **ends)
        dots(chosen & ~known, NONE_COLOUR, 2)
        if legend:
            bar = axes.figure.colorbar(drawn, ax=axes, label=color_by, fraction=0.04, pad=0.02)
            bar.outline.set_visible(False)
    else:
        assert codes is not None
        table = np.array([*colours, NONE_COLOUR])
        dots(chosen, table[np.where(codes[chosen] < 0, len(colours), codes[chosen])], 2)
        if legend:
            _legend(axes, codes, names, colours)
    if not chosen.all():
        dots(~chosen, "#D0D0D0", 1)


def _method(session: Session) -> str:
    return str(session.projection.method).upper() if session.projection is not None else "axis"


def _legend(
    axes: Axes, codes: np.ndarray, names: list[str], colours: list[str], most: int = 16
) -> None:
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    order = [i for i in np.argsort(-counts, kind="stable") if counts[i]]
    for i in sorted(order[:most]):
        # matplotlib leaves out labels that begin with an underscore
        name = f"\u200b{names[i]}" if names[i].startswith("_") else names[i]
        axes.scatter([], [], s=12, color=colours[i], label=f"{name} ({counts[i]:,})")
    if (codes < 0).any():
        axes.scatter([], [], s=12, color=NONE_COLOUR, label=f"none ({int((codes < 0).sum()):,})")
    if len(order) > most:
        axes.scatter([], [], s=0, label=f"and {len(order) - most} more")
    axes.legend(
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        frameon=False,
        handletextpad=0.2,
        borderaxespad=0.2,
    )


def pale(shade: str, keep: float = 0.35) -> str:
    """A colour mixed with white: ``keep`` of it stays."""
    from matplotlib.colors import to_hex, to_rgb

    red, green, blue = (1 - keep * (1 - c) for c in to_rgb(shade))
    return str(to_hex((red, green, blue)))


Notes = Literal["interval", "ratio", "none"]


def draw_composition(axes: Axes, session: Session, *, notes: Notes = "interval") -> None:
    """Share of every cluster in the selection, beside its share in the rest, in percent.

    Of a selection, the enrichment stands at the bars: how many times the rest's share ("ratio"),
    and its 95 % interval. While nothing is selected there is one bar a cluster, of all tiles.
    """
    from matplotlib.patches import Patch

    table = session.composition()
    if not len(table):
        axes.text(0.5, 0.5, "no clusters", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    chosen = session.selection.count
    shades = [colour(int(c)) for c in table["color"]]
    where = np.arange(len(table))
    inside, outside = _percent(table["share_in"]), _percent(table["share_out"])
    compared = 0 < chosen < len(session.store)
    if compared:
        axes.barh(where - 0.2, inside, 0.38, color=shades)
        axes.barh(where + 0.2, outside, 0.38, color=[pale(s) for s in shades])
        longest = float(max(inside.max(), outside.max()))
        for y, row in zip(where, table.to_dict("records"), strict=True):
            ratio, low, high = (times(float(row[c])) for c in ("enrichment", "low", "high"))
            words = f"{ratio}\N{MULTIPLICATION SIGN}"
            words += f" ({low} to {high})" if notes == "interval" else ""
            end = max(inside[y], outside[y]) + 0.02 * longest
            if notes != "none":
                axes.text(end, float(y), words, va="center", color="#505050")
        axes.set_xlim(0, 1.02 * longest)
        handles = [Patch(color="#505050"), Patch(color=pale("#505050"))]
        axes.legend(
            handles, ["selection", "rest"], frameon=False, ncols=2, loc="lower right",
            bbox_to_anchor=(1.0, 1.0), borderaxespad=0.1, handlelength=1.0, columnspacing=1.0,
        )  # fmt: skip
    else:
        axes.barh(where, inside if chosen else outside, 0.7, color=shades)
    axes.set_yticks(where, list(map(str, table["cluster"])))
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set_xlabel("share of tiles (%)")


def times(enrichment: float) -> str:
    """``log2`` of a ratio as the ratio, with no more digits than it deserves.

    >>> [times(x) for x in (0.0, 2.5, -3.0, 9.0, -9.0)]
    ['1.0', '5.7', '0.12', '>100', '<0.01']
    """
    ratio = 2.0**enrichment
    if ratio > 100:
        return ">100"
    if ratio < 0.01:
        return "<0.01"
    return f"{ratio:.2f}" if ratio < 1 else f"{ratio:.1f}" if ratio < 10 else f"{ratio:.0f}"


def _percent(shares: Any) -> np.ndarray:
    percent: np.ndarray = np.nan_to_num(100 * np.asarray(shares, dtype=float))
    return percent


def summary_lines(session: Session, columns: int) -> list[tuple[str, str]]:
    """Lines of text of at most ``columns`` characters, and their colours; no source is named."""
    found = session.summary()
    lines: list[tuple[str, str]] = []
    alert = "#8B0000" if found.severity == "red" else "#7A5200"
    for sentence in found.sentences:
        shade = alert if sentence in found.warnings else "black"
        if found.top_source is not None:  # it may be a file name that names a patient
            sentence = sentence.replace(f" ({found.top_source[0]})", "")
        lines += [(part, shade) for part in textwrap.wrap(sentence, max(10, columns))]
    return lines


def draw_summary(axes: Axes, lines: list[tuple[str, str]]) -> None:
    """Lines of :func:`summary_lines`; warnings in dark red."""
    axes.set_axis_off()
    for i, (text, shade) in enumerate(lines):
        at = 1.0 - i / max(1, len(lines))
        axes.text(0.0, at, text, va="top", color=shade, transform=axes.transAxes)
