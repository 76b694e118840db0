"""Whole figures: pages of a stated size, with panels on them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from widgetkit.errors import InvalidInput
from widgetkit.figures import panels, tiles
from widgetkit.figures.spec import MM_PER_INCH, FigureSpec
from widgetkit.figures.tiles import EDGE_MM, Area
from widgetkit.palette import colour

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

    from widgetkit.session import MapSpec, Session

#: Tiles of a figure when the caller names none.
DEFAULT_TILES = 12
#: Right of a grid of maps: gap, bar; its numbers and its title in lines of text.
BAR_GAP_MM, BAR_MM, BAR_LINES = 1.5, 2.5, 3.8
PT_MM = MM_PER_INCH / 72
#: Mean width of a letter, as a share of its size.
LETTER = 0.56
#: Lines of text around the bars of a composition: axis, its title, the legend.
AROUND = 4.5


def _page(spec: FigureSpec, draw: Callable[[Figure], None], *, placed: bool = False) -> Figure:
    """A page of exactly the stated size; ``draw(figure)`` fills it under the stated type.

    ``placed``: every axes has its millimetres already; else they are laid out around their text.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    settings: Any = spec.rc()
    with mpl.rc_context(settings):
        figure = Figure(figsize=spec.inches, layout=None if placed else "constrained")
        draw(figure)
        if not placed:
            figure.draw_without_rendering()
            # laid out now, under our settings: a later savefig elsewhere moves nothing
            figure.set_layout_engine("none")
    return figure


def _area(page: Figure | SubFigure, spec: FigureSpec) -> Area:
    return Area(page, spec.width_mm, spec.height_mm or 0.0)


def _rows(
    session: Session, rows: Sequence[int] | np.ndarray | None, rule: str, most: int, seed: int
) -> np.ndarray:
    if rows is None:
        rows, _ = session.ranked(rule, most, seed)
    chosen = np.asarray(rows, dtype=np.int64)
    if chosen.ndim != 1 or (
        len(chosen) and (chosen.min() < 0 or chosen.max() >= len(session.store))
    ):
        raise InvalidInput(
            f"Rows of a figure must be tile numbers from 0 to {len(session.store) - 1}."
        )
    return chosen[:most]


def scatter(
    session: Session, spec: FigureSpec | None = None, *, color_by: str = "cluster"
) -> Figure:
    """The map of embeddings, coloured by cluster or by a column of the tile table."""
    spec = spec or FigureSpec()
    return _page(
        spec.with_height(0.62 * spec.width_mm),
        lambda page: panels.draw_scatter(page.subplots(), session, color_by=color_by),
    )


def gallery(
    session: Session,
    spec: FigureSpec | None = None,
    *,
    rows: Sequence[int] | np.ndarray | None = None,
    rule: str = "representative",
    most: int = DEFAULT_TILES,
    seed: int = 0,
) -> Figure:
    """Tiles in a grid, bordered by the colour of their cluster, one scale bar on the first."""
    spec = spec or FigureSpec()
    chosen = _rows(session, rows, rule, most, seed)
    grid = tiles.grid(len(chosen), spec.width_mm - 2 * EDGE_MM, None)
    spec = spec.with_height(grid.height_mm + 2 * EDGE_MM)
    return _page(
        spec,
        lambda page: _draw_gallery(_area(page, spec), session, chosen, EDGE_MM),
        placed=True,
    )


def _draw_gallery(area: Area, session: Session, rows: np.ndarray, top: float) -> None:
    if not len(rows) or not session.store.has_images:
        area.say("the store holds no images" if len(rows) else "no tiles")
        return
    grid = tiles.grid(len(rows), area.width_mm - 2 * EDGE_MM, area.height_mm - top - EDGE_MM)
    images = session.store.images(rows)
    for i, (x, y) in enumerate(grid.spots):
        axes = area.axes(EDGE_MM + x, top + y, grid.cell_mm, grid.cell_mm)
        tiles.show_tile(axes, images[i])
        tiles.frame(axes, _edge(session, int(rows[i])))
        if i == 0:
            tiles.scale_bar(axes, images[i], _mpp(session, int(rows[0])))


def _edge(session: Session, row: int) -> str | None:
    clustering = session.clustering
    if clustering is None:
        return None
    label = int(clustering.labels[row])
    return colour(clustering.colors[label] if label >= 0 else -1)


def _mpp(session: Session, row: int) -> float:
    table = session.store.tiles
    return float(table["mpp"].iloc[row]) if "mpp" in table else float("nan")


def maps(
    session: Session,
    spec: FigureSpec | None = None,
    *,
    rows: Sequence[int] | np.ndarray | None = None,
    map_spec: MapSpec | None = None,
    rule: str = "representative",
    most: int = DEFAULT_TILES,
    seed: int = 0,
    opacity: float = 0.75,
) -> Figure:
    """Each tile beside its map over the tile in grey, all on one scale with its colour bar.

    Raises
    ------
    NeedsActivations, NeedsModel
        The store or the session lacks what the method needs.
    """
    spec = spec or FigureSpec()
    chosen = _rows(session, rows, rule, most, seed)
    across = 2 if session.store.has_images else 1
    room = spec.width_mm - 2 * EDGE_MM - _bar_room(spec)
    grid = tiles.grid(len(chosen), room, None, across=across)
    spec = spec.with_height(grid.height_mm + 2 * EDGE_MM)
    return _page(
        spec,
        lambda page: _draw_maps(
            _area(page, spec), session, chosen, map_spec, opacity, EDGE_MM, _bar_room(spec)
        ),
        placed=True,
    )


def _bar_room(spec: FigureSpec) -> float:
    """Millimetres right of a grid of maps for the colour bar, its numbers and its title."""
    return BAR_GAP_MM + BAR_MM + BAR_LINES * spec.font_pt * PT_MM


def _draw_maps(
    area: Area,
    session: Session,
    rows: np.ndarray,
    map_spec: MapSpec | None,
    opacity: float,
    top: float,
    bar_room: float,
) -> None:
    from matplotlib import rcParams
    from matplotlib.cm import ScalarMappable

    line_mm = float(rcParams["font.size"]) * PT_MM
    if not len(rows):
        area.say("no tiles")
        return
    result = session.maps(rows, map_spec)
    norm = tiles.map_norm(result)
    images = session.store.images(rows) if session.store.has_images else None
    room = area.width_mm - 2 * EDGE_MM - bar_room
    across = 1 if images is None else 2
    deep = area.height_mm - top - EDGE_MM
    grid = tiles.grid(len(rows), room, deep, across=across)
    # at most 60 mm: a longer bar says no more
    title = _wrapped(result.title, min(grid.height_mm, 60.0), line_mm)
    if more := title.count("\n"):
        grid = tiles.grid(len(rows), room - 1.3 * more * line_mm, deep, across=across)
    cell = grid.cell_mm
    for i, (x, y) in enumerate(grid.spots):
        left = EDGE_MM + x
        image = None if images is None else images[i]
        if image is not None:
            axes = area.axes(left, top + y, cell, cell)
            tiles.show_tile(axes, image)
            if i == 0:
                tiles.scale_bar(axes, image, _mpp(session, int(rows[0])))
            left += cell + tiles.PAIR_MM
        axes = area.axes(left, top + y, cell, cell)
        if not result.ready[i]:  # the store keeps no map of this tile
            tiles.without_map(axes, image)
            continue
        tiles.overlay(axes, image, result.values[i], norm, signed=result.signed, opacity=opacity)
    high = min(grid.height_mm, 60.0)
    axes = area.axes(EDGE_MM + grid.width_mm + BAR_GAP_MM, top, BAR_MM, high)
    mappable = ScalarMappable(norm, tiles.color_map(result))
    bar = area.page.colorbar(mappable, cax=axes, label=title)
    bar.outline.set_visible(False)


def _wrapped(title: str, length_mm: float, line_mm: float) -> str:
    """A title along a bar: at most three lines; letters are about half as wide as high."""
    lines = textwrap.wrap(title, max(10, int(length_mm / (LETTER * line_mm))))
    if len(lines) > 3:
        lines = [*lines[:2], f"{lines[2]} \N{HORIZONTAL ELLIPSIS}"]
    return "\n".join(lines)


def clusters(session: Session, spec: FigureSpec | None = None) -> Figure:
    """Composition of the selection against the rest."""
    spec = spec or FigureSpec(width_mm=89)
    # two lines of text a cluster
    line = 1.3 * spec.font_pt * PT_MM
    return _page(
        spec.with_height(line * (AROUND + 2 * max(1, len(session.composition())))),
        lambda page: panels.draw_composition(page.subplots(), session),
    )


def summary(session: Session, spec: FigureSpec | None = None) -> Figure:
    """The summary of the selection as text."""
    spec = spec or FigureSpec(width_mm=89)
    lines = panels.summary_lines(session, int(spec.width_mm / (LETTER * spec.font_pt * PT_MM)))
    spec = spec.with_height(1.4 * spec.font_pt * PT_MM * (len(lines) + 1))
    return _page(spec, lambda page: panels.draw_summary(page.subplots(), lines))


def explorer(
    session: Session,
    spec: FigureSpec | None = None,
    *,
    rows: Sequence[int] | np.ndarray | None = None,
    map_spec: MapSpec | None = None,
    color_by: str = "cluster",
    rule: str = "representative",
    most: int = DEFAULT_TILES,
    seed: int = 0,
    opacity: float = 0.75,
) -> Figure:
    """Panels a (scatter), b (maps over tiles) and c (composition) on one page.

    Panel b holds the tiles alone where the layer has no maps.
    """
    spec = spec or FigureSpec()
    chosen = _rows(session, rows, rule, most, seed)
    # panel c needs a line a cluster; panel a most of the rest
    line = 1.3 * spec.font_pt * PT_MM
    bars = max(1, len(session.composition()))
    needed = line * (AROUND + 1.2 * bars)
    whole = spec.with_height(max(0.62 * spec.width_mm, 0.36 * spec.width_mm + needed))
    height = whole.height_mm or needed
    below = min(max(needed, 0.35 * height), 0.6 * height)
    notes: panels.Notes = "ratio" if below >= line * (AROUND + 0.8 * bars) else "none"
    share = (1.0, 1.05)
    right_mm = whole.width_mm * share[1] / sum(share)
    top = 1.4 * spec.font_pt * PT_MM

    def draw(page: Figure) -> None:
        left, right = page.subfigures(1, 2, squeeze=False, width_ratios=share, wspace=0)[0]
        upper, lower = left.subfigures(2, 1, squeeze=False, height_ratios=(height - below, below))[
            :, 0
        ]
        # panel c names the colours of the clusters
        panels.draw_scatter(
            upper.subplots(), session, color_by=color_by, legend=color_by != "cluster"
        )
        panels.draw_composition(lower.subplots(), session, notes=notes)
        area = _area(right, replace(whole, width_mm=right_mm))
        if session.store.layers[session.map_layer()].has_maps:
            _draw_maps(area, session, chosen, map_spec, opacity, top, _bar_room(spec))
        else:
            _draw_gallery(area, session, chosen, top)
        for letter, part in (("a", upper), ("b", right), ("c", lower)):
            part.text(
                0.005, 0.995, letter, fontweight="bold", fontsize=spec.font_pt + 1, va="top", ha="left"
            )  # fmt: skip

    return _page(whole, draw)
