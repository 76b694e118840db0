"""Whole figures: pages of a stated size, with panels on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from widgetkit.errors import InvalidInput
from widgetkit.figures import panels
from widgetkit.figures.spec import FigureSpec
from widgetkit.palette import colour

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

    from widgetkit.session import MapSpec, Session

#: Tiles of a figure when the caller names none.
DEFAULT_TILES = 16


def _page(spec: FigureSpec, draw: Any) -> Figure:
    """A page of exactly the stated size; ``draw(figure)`` fills it under the stated type."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    settings: Any = spec.rc()
    with mpl.rc_context(settings):
        figure = Figure(figsize=spec.inches, layout="constrained")
        draw(figure)
        # lay out now, under our settings: a later savefig elsewhere must not move anything
        figure.draw_without_rendering()
    return figure


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
    columns = _columns(len(chosen))
    deep = max(1, math.ceil(len(chosen) / columns))
    return _page(
        spec.with_height(spec.width_mm * deep / columns),
        lambda page: _draw_gallery(page, session, chosen, columns),
    )


def _columns(count: int) -> int:
    return max(1, math.ceil(math.sqrt(count * 1.6)))


def _fill(count: int, width: float, height: float) -> int:
    """Columns that make ``count`` square tiles largest in a panel."""
    return max(
        range(1, max(1, count) + 1),
        key=lambda c: min(width / c, height / math.ceil(max(1, count) / c)),
    )


def _draw_gallery(
    page: Figure | SubFigure, session: Session, rows: np.ndarray, columns: int
) -> None:
    if not len(rows):
        page.text(0.5, 0.5, "no tiles", ha="center", va="center")
        return
    if not session.store.has_images:
        page.text(0.5, 0.5, "the store holds no images", ha="center", va="center")
        return
    grid = page.subplots(math.ceil(len(rows) / columns), columns, squeeze=False).ravel()
    images = session.store.images(rows)
    for i, axes in enumerate(grid):
        if i >= len(rows):
            axes.set_axis_off()
            continue
        panels.show_tile(axes, images[i])
        panels.frame(axes, _edge(session, int(rows[i])))
        if i == 0:
            panels.scale_bar(
                axes,
                images.shape[-2] if images.shape[-1] == 3 else images.shape[-1],
                _mpp(session, rows[0]),
            )


def _edge(session: Session, row: int) -> str | None:
    clustering = session.clustering
    if clustering is None:
        return None
    label = int(clustering.labels[row])
    return colour(clustering.colors[label] if label >= 0 else -1)


def _mpp(session: Session, row: int) -> float:
    table = session.store.tiles
    return float(table["mpp"].iloc[int(row)]) if "mpp" in table else math.nan


def maps(
    session: Session,
    spec: FigureSpec | None = None,
    *,
    rows: Sequence[int] | np.ndarray | None = None,
    map_spec: MapSpec | None = None,
    rule: str = "representative",
    most: int = DEFAULT_TILES,
    seed: int = 0,
    opacity: float = 0.6,
) -> Figure:
    """Activation maps over their tiles on one shared scale, with its colour bar."""
    spec = spec or FigureSpec()
    chosen = _rows(session, rows, rule, most, seed)
    columns = _columns(len(chosen))
    deep = max(1, math.ceil(len(chosen) / columns))
    return _page(
        spec.with_height(0.9 * spec.width_mm * deep / columns),
        lambda page: _draw_maps(page, session, chosen, columns, map_spec, opacity),
    )


def _draw_maps(
    page: Figure | SubFigure,
    session: Session,
    rows: np.ndarray,
    columns: int,
    map_spec: MapSpec | None,
    opacity: float,
) -> None:
    from matplotlib.cm import ScalarMappable

    if not len(rows):
        page.text(0.5, 0.5, "no tiles", ha="center", va="center")
        return
    result = session.maps(rows, map_spec)
    norm = panels.map_norm(result)
    grid = page.subplots(math.ceil(len(rows) / columns), columns, squeeze=False)
    images = session.store.images(rows) if session.store.has_images else None
    for i, axes in enumerate(grid.ravel()):
        if i >= len(rows):
            axes.set_axis_off()
            continue
        image = None if images is None else images[i]
        panels.overlay(axes, image, result.values[i], norm, signed=result.signed, opacity=opacity)
        if i == 0 and image is not None:
            panels.scale_bar(
                axes,
                image.shape[-2] if image.shape[-1] == 3 else image.shape[-1],
                _mpp(session, rows[0]),
            )
    name = panels.SIGNED if result.signed else panels.UNSIGNED
    page.colorbar(
        ScalarMappable(norm, name),
        ax=list(grid.ravel()),
        label=result.title,
        fraction=0.03,
        pad=0.01,
    )


def clusters(session: Session, spec: FigureSpec | None = None) -> Figure:
    """Composition of the selection against the rest."""
    spec = spec or FigureSpec(width_mm=89)
    k = len(session.clustering.names) if session.clustering is not None else 1
    return _page(
        spec.with_height(20 + 6.5 * k),
        lambda page: panels.draw_composition(page.subplots(), session),
    )


def summary(session: Session, spec: FigureSpec | None = None) -> Figure:
    """The summary of the selection as text."""
    spec = spec or FigureSpec(width_mm=89)
    return _page(spec.with_height(35), lambda page: panels.draw_summary(page.subplots(), session))


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
    opacity: float = 0.6,
) -> Figure:
    """Panels a (scatter), b (maps over tiles) and c (composition) on one page."""
    spec = spec or FigureSpec()
    chosen = _rows(session, rows, rule, most, seed)

    page_spec = spec.with_height(0.62 * spec.width_mm)
    # the right panel is 46 % of the page, less the colour bar
    columns = _fill(len(chosen), 0.38 * page_spec.width_mm, page_spec.height_mm or 1.0)

    def draw(page: Figure) -> None:
        left, right = page.subfigures(1, 2, squeeze=False, width_ratios=(1.15, 1.0))[0]
        top, bottom = left.subfigures(2, 1, squeeze=False, height_ratios=(1.5, 1.0))[:, 0]
        panels.draw_scatter(top.subplots(), session, color_by=color_by)
        panels.draw_composition(bottom.subplots(), session)
        if session.store.layers[session.layer].has_maps:
            _draw_maps(right, session, chosen, columns, map_spec, opacity)
        else:
            _draw_gallery(right, session, chosen, columns)
        for letter, part in (("a", top), ("b", right), ("c", bottom)):
            part.text(
                0.005,
                0.995,
                letter,
                fontweight="bold",
                fontsize=spec.font_pt + 2,
                va="top",
                ha="left",
            )

    return _page(page_spec, draw)
