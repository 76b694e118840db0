"""One panel each: a function that draws into given axes and knows nothing of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from widgetkit.palette import NONE_COLOUR, colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize

    from widgetkit.session import MapResult, Session

#: Above this many points the scatter is rasterised: a vector file would not open.
RASTER_ABOVE = 2000
#: Colour maps safe for the colour-blind: one for unsigned maps, one centred on zero.
UNSIGNED, SIGNED = "viridis", "RdBu_r"


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
    if column.dtype.kind in "fiu" and column.nunique() > 12:
        return None, [], [], column.to_numpy(dtype=float)
    codes, names = categories(column)
    return codes, names, [colour(i) for i in range(len(names))], None


def draw_scatter(
    axes: Axes, session: Session, *, color_by: str = "cluster", legend: bool = True
) -> None:
    """The embedding; tiles outside a selection are pale. Axes have no units: distances are ranks at best."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel(f"{_method(session)} 1")
    axes.set_ylabel(f"{_method(session)} 2")
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
        drawn = dots(chosen, numbers[chosen], 2, cmap=UNSIGNED)
        if legend:
            axes.figure.colorbar(drawn, ax=axes, label=color_by, fraction=0.04, pad=0.02)
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
        axes.scatter([], [], s=12, color=colours[i], label=f"{names[i]} ({counts[i]:,})")
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


def show_tile(axes: Axes, image: np.ndarray) -> None:
    """One tile, grey or RGB, without ticks; of a volume the middle slice."""
    if image.ndim == 4 or (image.ndim == 3 and image.shape[-1] not in (3, 4)):
        image = image[len(image) // 2]
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    frame(axes)


def frame(axes: Axes, edge: str | None = None) -> None:
    """No ticks; a thin border, coloured by cluster where one is given."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(edge is not None)
        spine.set_color(edge or "none")
        spine.set_linewidth(1.2)


def scale_bar(axes: Axes, width_px: int, mpp: float) -> None:
    """A bar of a round number of micrometres, at most 40 % of the tile; nothing where mpp is unknown."""
    if not (np.isfinite(mpp) and mpp > 0):
        return
    length = round_length(0.4 * width_px * mpp)
    pixels = length / mpp
    right, bottom = 0.95 * width_px, 0.93 * width_px
    label = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} \N{MICRO SIGN}m"
    axes.plot(
        [right - pixels, right], [bottom, bottom], color="white", lw=2.4, solid_capstyle="butt"
    )
    axes.plot(
        [right - pixels, right], [bottom, bottom], color="black", lw=1.2, solid_capstyle="butt"
    )
    text = axes.text(
        right - pixels / 2, bottom - 0.03 * width_px, label, ha="center", va="bottom", color="black"
    )
    from matplotlib.patheffects import withStroke

    text.set_path_effects([withStroke(linewidth=1.5, foreground="white")])


def round_length(most: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is at most ``most``.

    >>> [round_length(x) for x in (0.9, 7.0, 51.2, 200.0)]
    [0.5, 5.0, 50.0, 200.0]
    """
    power = 10.0 ** np.floor(np.log10(most))
    return float(max(step * power for step in (1, 2, 5) if step * power <= most * (1 + 1e-9)))


def map_norm(result: MapResult) -> Normalize:
    """One scale for all maps of a result; centred on zero where they are signed."""
    from matplotlib.colors import Normalize

    low, high = float(result.vmin), float(result.vmax)
    if result.signed:
        high = max(abs(low), abs(high))
        low = -high
    if not high > low:
        high = low + 1.0
    return Normalize(low, high, clip=True)


def overlay(
    axes: Axes,
    image: np.ndarray | None,
    values: np.ndarray,
    norm: Normalize,
    *,
    signed: bool,
    opacity: float,
) -> None:
    """A map over its tile. Opacity grows with the value, so that what is not marked stays visible."""
    import matplotlib as mpl

    from widgetkit.explain import upsample

    if values.ndim == 3:
        values = values[len(values) // 2]
    if image is None:
        shape = tuple(8 * s for s in values.shape)
    else:
        flat = image.ndim == 2 or (image.shape[-1] in (3, 4) and image.ndim == 3)
        show_tile(axes, image)
        shape = image.shape[:2] if flat else image.shape[1:3]
    fine = upsample(values[None].astype(np.float32), shape)[0]
    unit = np.asarray(norm(fine), dtype=float)
    rgba = mpl.colormaps[SIGNED if signed else UNSIGNED](unit)
    strength = np.abs(2 * unit - 1) if signed else unit
    rgba[..., 3] = 1.0 if image is None else opacity * np.sqrt(strength)
    axes.imshow(rgba, interpolation="nearest")
    frame(axes)


def draw_composition(axes: Axes, session: Session) -> None:
    """Share of every cluster in the selection, beside its share in the rest, in percent."""
    table = session.composition()
    if not len(table):
        axes.text(0.5, 0.5, "no clusters", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    names = [str(n) for n in table["cluster"]]
    colours = [colour(int(c)) for c in table["color"]]
    where = np.arange(len(names))
    inside, outside = (
        100 * table["share_in"].to_numpy(float),
        100 * table["share_out"].to_numpy(float),
    )
    axes.barh(where - 0.2, np.nan_to_num(inside), 0.38, color=colours, label="selection")
    axes.barh(where + 0.2, np.nan_to_num(outside), 0.38, color="#C8C8C8", label="rest")
    axes.set_yticks(where, names)
    axes.invert_yaxis()
    axes.set_xlabel("share of tiles (%)")
    axes.legend(frameon=False, loc="lower right")


def draw_summary(axes: Axes, session: Session) -> None:
    """The summary as lines of text; warnings in dark red."""
    axes.set_axis_off()
    summary = session.summary()
    lines = [
        (f"{summary.n:,} of {summary.total:,} tiles", "black"),
        (f"{summary.slides:,} slides", "black"),
    ]
    if summary.patients is not None:
        lines.append((f"{summary.patients:,} patients", "black"))
    if summary.trust is not None and np.isfinite(summary.trust):
        lines.append((f"neighbours kept by the map: {summary.trust:.2f}", "black"))
    lines += [(text, "#8B0000") for text in summary.warnings]
    for i, (text, shade) in enumerate(lines):
        axes.text(
            0.0, 1.0 - i * 0.14, text, va="top", color=shade, transform=axes.transAxes, wrap=True
        )
