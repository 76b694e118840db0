"""PlotlyScatter: the scatter for small data and for front-ends without WebGL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import numpy as np

from widgetkit.errors import UnknownName, near
from widgetkit.palette import NONE_COLOUR, colour
from widgetkit.widgets import charts
from widgetkit.widgets.panel import Panel

if TYPE_CHECKING:
    from widgetkit.widgets.base import SessionLike

#: plotly draws SVG elements and sends JSON for each selected point: beyond this it is no longer live.
MOST_POINTS = 20_000


class PlotlyScatter(Panel):
    """The map of embeddings as a plotly FigureWidget; needs no WebGL.

    Lasso, box and click select (a double click clears), the legend hides and shows. Above 20,000
    tiles a seeded sample, in proportion to the clusters, is drawn and the title says so; a lasso
    still selects among all tiles, because only its outline is used.

    Parameters
    ----------
    source : Session, ActivationStore or path
    color_by : str
        "cluster" or a column of the tile table.
    most : int
        Points drawn at the most.
    """

    figure_kind = "scatter"

    def __init__(
        self, source: SessionLike, *, color_by: str = "cluster", most: int = MOST_POINTS
    ) -> None:
        self._box = widgets.VBox()
        self._most = most
        self._drawn = np.zeros(0, np.int64)
        self._groups: list[np.ndarray] = []
        super().__init__(source)
        columns = self.session.store.tiles.columns
        if color_by != "cluster" and color_by not in columns:
            raise UnknownName(
                f"No column {color_by!r} to colour by. {near(color_by, ['cluster', *map(str, columns)])}"
            )
        self._color_by = color_by
        self.children = [self._box, self.jobs_strip, self.error_strip]
        self.listen("projection", lambda *_: self._build())
        self.listen("clustering", lambda *_: self._build())
        self.listen("selection", lambda *_: self._show_selection())
        self._build()

    @property
    def figure_widget(self) -> Any:
        """The plotly FigureWidget, or None before there is a projection."""
        return self._box.children[0] if self._groups else None

    def _build(self) -> None:
        projection = self.session.projection
        if projection is None:
            self._groups = []
            self._box.children = [widgets.HTML("The projection is being computed.")]
            return
        codes, names, colours = self._colouring()
        self._drawn = sample(codes, self._most, seed=self.session.seed)
        xy = np.asarray(projection.xy, dtype=np.float32)
        import plotly.graph_objects as go

        traces, self._groups = [], []
        for code in [*range(len(names)), -1]:
            rows = self._drawn[codes[self._drawn] == code]
            if not len(rows):
                continue
            self._groups.append(rows)
            traces.append(
                go.Scatter(
                    x=xy[rows, 0], y=xy[rows, 1], mode="markers", uid=f"group{code}",
                    name=charts.text(names[code] if code >= 0 else "none"),
                    marker={"size": 5, "color": colours[code] if code >= 0 else NONE_COLOUR},
                    selected={"marker": {"opacity": 1.0}}, unselected={"marker": {"opacity": 0.12}},
                    selectedpoints=self._selected_points(rows),
                    hoverinfo="name",
                )
            )  # fmt: skip
        figure = charts.figure_widget(traces, self._layout())
        # plotly tells every trace of each gesture: one of them is enough to hear of it
        first = figure.data[0]
        first.on_selection(lambda _, __, selector: self.guard(self._lassoed)(selector))
        first.on_deselect(lambda *_: self.guard(self.session.clear)())
        for trace in figure.data:
            trace.on_click(lambda which, points, _: self.guard(self._clicked)(which, points))
        self._box.children = [figure]

    def _layout(self) -> dict[str, Any]:
        n, drawn = len(self.session.store), len(self._drawn)
        title = f"showing {drawn:,} of {n:,} tiles" if drawn < n else ""
        return charts.layout(
            dragmode="lasso",
            hovermode="closest",
            height=460,
            title={"text": title, "font": {"size": charts.FONT}},
            margin={"l": 8, "r": 8, "t": 26 if title else 8, "b": 8},
            xaxis={"visible": False},
            yaxis={"visible": False, "scaleanchor": "x"},
            legend={"itemsizing": "constant"},
        )

    def _colouring(self) -> tuple[np.ndarray, list[str], list[str]]:
        clustering = self.session.clustering
        if self._color_by == "cluster":
            if clustering is None:
                return np.zeros(len(self.session.store), int), ["all tiles"], [colour(0)]
            return (
                np.asarray(clustering.labels),
                [str(n) for n in clustering.names],
                [colour(c) for c in clustering.colors],
            )
        import pandas as pd

        codes, names = pd.factorize(self.session.store.tiles[self._color_by], sort=True)
        return np.asarray(codes), [str(n) for n in names], [colour(i) for i in range(len(names))]

    def _selected_points(self, rows: np.ndarray) -> np.ndarray | None:
        mask = self.session.selection.mask
        return charts.array(np.flatnonzero(mask[rows])) if mask.any() else None

    def _show_selection(self) -> None:
        figure = self.figure_widget
        if figure is None:
            return
        with figure.batch_update():
            for trace, rows in zip(figure.data, self._groups, strict=True):
                trace.selectedpoints = self._selected_points(rows)
        charts.settle(figure)

    def _lassoed(self, selector: Any) -> None:
        if selector is None:
            return
        if hasattr(selector, "xrange"):
            (x0, x1), (y0, y1) = selector.xrange, selector.yrange
            self.session.select_box((x0, y0, x1, y1))
        else:
            self.session.select_polygon(np.column_stack([selector.xs, selector.ys]))

    def _clicked(self, trace: Any, points: Any) -> None:
        if points.point_inds:
            rows = self._groups[[t.uid for t in self.figure_widget.data].index(trace.uid)]
            self.session.select([int(rows[points.point_inds[0]])], how={"kind": "click"})

    def _figure_options(self) -> dict[str, Any]:
        return {"color_by": self._color_by}

    _caption_options = _figure_options

    def describe(self) -> str:
        """What is drawn, by which method, and how much of it is selected."""
        projection = self.session.projection
        if projection is None:
            return "Scatter (plotly): no projection yet."
        n, drawn = len(self.session.store), len(self._drawn)
        shown = f"{drawn:,} of {n:,} tiles" if drawn < n else f"{n:,} tiles"
        return (
            f"Scatter (plotly): {shown} by {str(projection.method).upper()}, coloured by {self._color_by}; "
            f"{self.session.selection.count:,} selected."
        )


def sample(codes: np.ndarray, most: int, *, seed: int) -> np.ndarray:
    """At most ``most`` rows, sorted, in proportion to the codes, seeded; each code keeps at least one.

    >>> sample(np.array([0, 0, 0, 1]), 10, seed=0)
    array([0, 1, 2, 3])
    """
    n = len(codes)
    if n <= most:
        return np.arange(n)
    rng = np.random.default_rng(seed)
    chosen = []
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        share = max(1, int(most * len(rows) / n))
        chosen.append(rng.choice(rows, min(share, len(rows)), replace=False))
    return np.sort(np.concatenate(chosen))
