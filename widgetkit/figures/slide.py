"""A slide on paper: its picture, the map over it, a scale bar and what the colours mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from widgetkit.errors import InvalidInput
from widgetkit.figures.compose import BAR_GAP_MM, BAR_MM, PT_MM, _area, _bar_room, _page, _wrapped
from widgetkit.figures.spec import FigureSpec
from widgetkit.figures.tiles import EDGE_MM, GAP_MM, SIGNED, UNSIGNED, Area, frame, luminance
from widgetkit.figures.tiles import scale_bar as draw_scale_bar
from widgetkit.palette import colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from widgetkit.session import Session, SlideMap

Box = tuple[float, float, float, float]

#: Longer side of the slide's picture and of the map's raster on paper, px.
PICTURE_PX, RASTER_PX = 2048, 1024
#: Wider parts of a slide than this (width by height) lie above one another, others side by side.
WIDE = 1.9
#: Room for the names of clusters beside the map, millimetres, and how many are named.
LEGEND_MM, NAMED_MOST = 34.0, 24
#: A colour bar is not longer than this: it would say no more.
BAR_MOST_MM = 60.0
#: Height of a line of the legend, as a multiple of its type.
LINES = 1.55
#: Lines of its title, which says what the opacity means.
TITLE = 3
#: Letters of a cluster's name in the legend.
_NAME_MOST = 26
#: Tiles that are outlined; of more only the outer lines would be seen anyway.
_OUTLINED_MOST = 200_000
#: Places of a lattice up to which their outlines are joined.
_JOINED_MOST = 4_000_000


@dataclass(frozen=True)
class _Part:
    """What of a slide is drawn."""

    slide: int
    view: Box  # level-0 px
    mpp: float

    @property
    def ratio(self) -> float:
        x0, y0, x1, y1 = self.view
        return (x1 - x0) / (y1 - y0)


@dataclass(frozen=True)
class _Plan:
    """Where the panels lie: the page with its height, the size of a panel in millimetres."""

    spec: FigureSpec
    size: tuple[float, float]
    stacked: bool

    @classmethod
    def of(
        cls, spec: FigureSpec, ratio: float, panels: int, beside: float, least: float = 0.0
    ) -> _Plan:
        """For panels of ``ratio`` (width by height), with ``beside`` mm free on the right and a
        page at least as high as ``least`` mm."""
        stacked = ratio > WIDE and panels > 1
        across, down = (1, panels) if stacked else (panels, 1)
        room = spec.width_mm - 2 * EDGE_MM - beside
        wide = max(1.0, (room - (across - 1) * GAP_MM) / across)
        high = down * (wide / ratio) + (down - 1) * GAP_MM
        page = spec.with_height(max(high, least) + 2 * EDGE_MM)
        deep = ((page.height_mm or 0.0) - 2 * EDGE_MM - (down - 1) * GAP_MM) / down
        wide = min(wide, max(1.0, deep) * ratio)
        return cls(page, (wide, wide / ratio), stacked)


def slide(
    session: Session,
    spec: FigureSpec | None = None,
    *,
    slide: str | int = 0,
    view: Box | None = None,
    opacity: float = 0.6,
    threshold: float = 0.0,
    palette: str = UNSIGNED,
    diverging: str = SIGNED,
) -> Figure:
    """A slide with the outline of the selection, and the session's map over the slide in grey.

    Parameters
    ----------
    session : Session
    spec : FigureSpec, optional
    slide : str or int
        By name or number; the figure never shows the name.
    view : (x0, y0, x1, y1), optional
        Part of the slide in level-0 px; all of it by default.
    opacity : float in [0, 1]
        Of the map; 0 draws the slide alone.
    threshold : float in [0, 1]
        Share of the scale below which the map is not drawn.
    palette, diverging : str
        matplotlib's colour maps for maps from zero up and for signed ones.

    Raises
    ------
    UnknownName, InvalidInput
        There is no such slide, or nothing of it in the view.
    NeedsActivations, NeedsModel
        The store or the session lacks what the map needs.
    """
    spec = spec or FigureSpec()
    part = _part(session, slide, view)
    result = None if opacity <= 0 else _map(session, part)
    panels = 1 if result is None else 2
    line = spec.font_pt * PT_MM
    names: list[int] = []
    label = ""
    if result is None:
        plan = _Plan.of(spec, part.ratio, panels, 0.0)
    elif result.winner is None:
        plan = _Plan.of(spec, part.ratio, panels, _bar_room(spec))
        label = _label(result, min(plan.size[1], BAR_MOST_MM), line)
        # each further line of the title needs its room
        beside = _bar_room(spec) + 1.3 * label.count("\n") * line
        plan = _Plan.of(spec, part.ratio, panels, beside)
    else:
        names = _named(session)
        least = LINES * line * (len(names) + TITLE)
        plan = _Plan.of(spec, part.ratio, panels, BAR_GAP_MM + LEGEND_MM, least)
    spec, size, stacked = plan.spec, plan.size, plan.stacked

    def draw(page: Figure) -> None:
        area = _area(page, spec)
        pixels, down_by = _pixels(session, part)
        axes = area.axes(EDGE_MM, EDGE_MM, *size)
        _ground(axes, pixels)
        _outline(axes, session, part)
        draw_scale_bar(axes, pixels, part.mpp * down_by)
        if result is None:
            return
        left = EDGE_MM if stacked else EDGE_MM + size[0] + GAP_MM
        top = EDGE_MM + size[1] + GAP_MM if stacked else EDGE_MM
        axes = area.axes(left, top, *size)
        _ground(axes, luminance(pixels))
        _lay(axes, session, result, part, opacity, threshold, palette, diverging)
        left += size[0] + BAR_GAP_MM
        if result.winner is None:
            _bar(area, (left, top), size[1], result, diverging if result.signed else palette, label)
        else:
            fit = int((area.height_mm - 2 * EDGE_MM) / (LINES * line)) - TITLE
            _legend(area, spec, left, session, result, names[: max(1, fit)])

    return _page(spec, draw, placed=True)


def slide_sentence(session: Session, slide: str | int, view: Box | None = None) -> str:
    """Which slide of how many, which part of it and its pixel size, without a name."""
    part = _part(session, slide, view)
    x0, y0, x1, y1 = part.view
    size = f"{x1 - x0:,.0f} x {y1 - y0:,.0f} px"
    if np.isfinite(part.mpp):
        size += f" of {part.mpp:.3g} \N{MICRO SIGN}m"
    what = "all of it" if view is None else f"from x={x0:,.0f}, y={y0:,.0f}"
    return f"Slide {part.slide + 1} of {len(session.placement)}: {what}, {size}."


def _part(session: Session, slide: str | int, view: Box | None) -> _Part:
    places = session.placement
    index = places.index(slide)
    width, height = (float(v) for v in places.extent(index))
    if view is None and session.pictures[places.names[index]].origin == "tiles":
        boxes = places.boxes[places.rows(index)]  # nothing is beside the tiles
        view = (*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0))
    x0, y0, x1, y1 = (0.0, 0.0, width, height) if view is None else (float(v) for v in view)
    x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, width), min(y1, height)
    if not (x1 - x0 >= 1 and y1 - y0 >= 1):
        raise InvalidInput(
            f"The part of the slide to draw, {view}, holds none of its {width:.0f} x {height:.0f} px."
        )
    return _Part(index, (x0, y0, x1, y1), float(places.mpp[index][0]))


def _pixels(session: Session, part: _Part) -> tuple[np.ndarray, int]:
    """The slide's pixels in the view, ``(H, W, 3)``, and level-0 px for one of them."""
    picture = session.pictures[session.placement.names[part.slide]]
    x0, y0, x1, y1 = part.view
    down = 1
    while max(x1 - x0, y1 - y0) / down > PICTURE_PX:
        down *= 2
    left, top = int(x0) // down * down, int(y0) // down * down
    width, height = (max(1, round((b - a) / down)) for a, b in ((x0, x1), (y0, y1)))
    pixels: np.ndarray = picture.source.region(left, top, width, height, down)
    return pixels, down


def _map(session: Session, part: _Part) -> SlideMap:
    x0, y0, x1, y1 = part.view
    longer = max(x1 - x0, y1 - y0)
    shape = (
        max(1, round(RASTER_PX * (y1 - y0) / longer)),
        max(1, round(RASTER_PX * (x1 - x0) / longer)),
    )
    return session.slide_map(
        part.slide,
        method=session.map_spec,
        view=part.view,
        shape=shape,
    )


def _ground(axes: Axes, pixels: np.ndarray) -> None:
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="antialiased", aspect="auto")
    frame(axes)


def _outline(axes: Axes, session: Session, part: _Part) -> None:
    """Around the selected tiles, in two tones; nothing while none is selected."""
    from matplotlib.collections import LineCollection

    places = session.placement
    rows = np.asarray(places.rows(part.slide))
    rows = rows[session.selection.mask[rows]]
    if not len(rows) or len(rows) > _OUTLINED_MOST:
        return
    image = axes.get_images()[0]
    height, width = image.get_array().shape[:2]  # type: ignore[union-attr]
    x0, y0, x1, y1 = part.view
    scale = np.array([width / (x1 - x0), height / (y1 - y0)] * 2)
    boxes = (places.boxes[rows] - np.array([x0, y0, x0, y0])) * scale - 0.5
    segments = _edges(np.round(boxes, 3))
    for wide, tone in ((1.6, "white"), (0.7, "black")):
        lines = LineCollection(segments, colors=tone, linewidths=wide, gid="selection")
        lines.set_rasterized(len(segments) > 4000)
        axes.add_collection(lines)
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)


def _edges(boxes: np.ndarray) -> list[list[tuple[float, float]]]:
    """Outline of the union of boxes ``(m, 4)``; of very scattered ones, each box's own."""
    xs, across = np.unique(boxes[:, [0, 2]], return_inverse=True)
    ys, down = np.unique(boxes[:, [1, 3]], return_inverse=True)
    if len(xs) * len(ys) > _JOINED_MOST:
        return [
            [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)] for x0, y0, x1, y1 in boxes.tolist()
        ]
    # counts go up where a box begins and down where it ends: sums along both axes cover it
    steps = np.zeros((len(ys) + 1, len(xs) + 1), np.int64)
    (u0, u1), (v0, v1) = across.reshape(-1, 2).T, down.reshape(-1, 2).T
    for v, u, step in ((v0, u0, 1), (v0, u1, -1), (v1, u0, -1), (v1, u1, 1)):
        np.add.at(steps, (v, u), step)
    covered = np.pad(steps.cumsum(0).cumsum(1)[: len(ys) - 1, : len(xs) - 1] > 0, 1)
    flat = np.argwhere(covered[1:, 1:-1] != covered[:-1, 1:-1]).tolist()
    upright = np.argwhere(covered[1:-1, 1:] != covered[1:-1, :-1]).tolist()
    return [[(xs[u], ys[v]), (xs[u + 1], ys[v])] for v, u in flat] + [
        [(xs[u], ys[v]), (xs[u], ys[v + 1])] for v, u in upright
    ]


def _place(result: SlideMap) -> np.ndarray:
    """(H, W) the map's values on its scale, 0 to 1; NaN where there is none."""
    low, high = float(result.vmin), float(result.vmax)
    span = (high - low) or 1.0
    placed: np.ndarray = np.clip((np.asarray(result.values, float) - low) / span, 0.0, 1.0)
    return placed


def _lay(
    axes: Axes,
    session: Session,
    result: SlideMap,
    part: _Part,
    opacity: float,
    threshold: float,
    palette: str,
    diverging: str,
) -> None:
    import matplotlib as mpl
    from matplotlib.colors import to_rgb

    place = _place(result)
    signed = result.signed
    known = np.isfinite(place)
    place = np.where(known, place, 0.0)
    if result.winner is not None:
        clustering = session.clustering
        table = np.zeros((256, 4))
        if clustering is not None:
            for i, index in enumerate(clustering.colors[:255]):
                table[i] = (*to_rgb(colour(index)), 0.0 if i in clustering.hidden else 1.0)
        rgba: Any = table[np.asarray(result.winner)]
        rgba[..., 3] *= opacity * np.sqrt(place)
        strength = place
    else:
        rgba = mpl.colormaps[diverging if signed else palette](place)
        strength = np.abs(2 * place - 1) if signed else place
        rgba[..., 3] = opacity
    rgba[..., 3] = np.where(known & (strength >= threshold), rgba[..., 3], 0.0)
    image = axes.get_images()[0]
    height, width = image.get_array().shape[:2]  # type: ignore[union-attr]
    axes.imshow(
        rgba, interpolation="nearest", extent=(-0.5, width - 0.5, height - 0.5, -0.5), aspect="auto"
    )
    frame(axes)


def _label(result: SlideMap, length_mm: float, line_mm: float) -> str:
    """What the colour bar is of: title and units, each on lines of its own."""
    # a little shorter than the bar, which more lines make shorter
    lines = [_wrapped(words, 0.9 * length_mm, line_mm) for words in (result.title, result.units)]
    return "\n".join(filter(None, lines))


def _bar(
    area: Area, at: tuple[float, float], high: float, result: SlideMap, palette: str, label: str
) -> None:
    """The colour bar of one map."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    low, up = float(result.vmin), float(result.vmax)
    norm = Normalize(low, up if up > low else low + 1.0, clip=True)
    axes = area.axes(*at, BAR_MM, min(high, BAR_MOST_MM))
    bar = area.page.colorbar(ScalarMappable(norm, palette), cax=axes, label=label)
    bar.outline.set_visible(False)


def _named(session: Session) -> list[int]:
    """Clusters that the legend names: those that are not drawn as background."""
    clustering = session.clustering
    shown = [] if clustering is None else sorted(set(range(clustering.k)) - clustering.hidden)
    return shown[:NAMED_MOST]


def _legend(
    area: Area, spec: FigureSpec, left: float, session: Session, result: SlideMap, names: list[int]
) -> None:
    """Colour and name of each cluster, and what the opacity means."""
    from matplotlib.patches import Patch

    clustering = session.clustering
    if clustering is None:
        return
    high = area.height_mm - 2 * EDGE_MM
    axes = area.axes(left, EDGE_MM, LEGEND_MM, high)
    axes.set_axis_off()
    handles = [
        Patch(color=colour(clustering.colors[i]), label=_short(clustering.names[i])) for i in names
    ]
    more = clustering.k - len(clustering.hidden) - len(names)
    if more > 0:
        handles.append(Patch(color="none", label=f"and {more} more"))
    scale = f"opacity: {result.units or 'weight'}, 0 to {result.vmax:.3g}"
    legend = axes.legend(
        handles=handles, loc="upper left", frameon=False, borderaxespad=0.0, borderpad=0.0,
        handlelength=1.0, title=_wrapped(scale, LEGEND_MM, spec.font_pt * PT_MM), alignment="left",
    )  # fmt: skip
    legend.get_title().set_fontsize(spec.font_pt)


def _short(name: str) -> str:
    return name if len(name) <= _NAME_MOST else f"{name[: _NAME_MOST - 1]}\N{HORIZONTAL ELLIPSIS}"
