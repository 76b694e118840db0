"""PlotlyScatter: the scatter for small data and for front-ends without WebGL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput, UnknownName, near
from widgetkit.palette import colour
from widgetkit.widgets import charts
from widgetkit.widgets.colours import NONE, Colouring, choices, colouring
from widgetkit.widgets.controls import choice, mode_menu
from widgetkit.widgets.panel import Panel, close_whole

if TYPE_CHECKING:
    from widgetkit.analysis import Projection
    from widgetkit.widgets.base import SessionLike

#: plotly draws SVG elements and sends JSON for each selected point: beyond this it is no longer live.
MOST_POINTS = 20_000
#: Colour bar of numeric columns, as in the figures.
SCALE = "Viridis"


class PlotlyScatter(Panel):
    """The map of embeddings as a plotly FigureWidget; needs no WebGL.

    Lasso, box and click select, as the menu "Click" says (a double click clears); the legend hides
    and shows. Above 20,000 tiles a seeded sample, in proportion to the groups, is drawn and the
    title says so; a lasso still selects among all tiles, because only its outline is used.

    Parameters
    ----------
    source : Session, ActivationStore or path
    color_by : str
        "cluster" or a column of the tile table. Numbers get a colour bar.
    most : int
        Points drawn at the most.

    Raises
    ------
    UnknownName
        ``color_by`` is no column.
    InvalidInput
        ``most`` is below 1.
    """

    figure_kind = "scatter"

    def __init__(
        self, source: SessionLike, *, color_by: str = "cluster", most: int = MOST_POINTS
    ) -> None:
        if most < 1:
            raise InvalidInput(f"most is {most}: a scatter draws at least one point.")
        super().__init__(source)
        self._most = int(most)
        self._drawn: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._groups: list[npt.NDArray[np.int64]] = []
        self._projection: Projection | None = None
        self._box = widgets.VBox()
        listed = choices(self.session)
        self._color_by = self._known(color_by)
        if color_by not in listed:
            listed.append(color_by)
        self._column = choice("Colour by", listed, color_by, width="190px")
        self._mode = mode_menu()
        self.children = [
            widgets.HBox([self._column, self._mode], layout=widgets.Layout(flex_flow="row wrap")),
            self._box,
            charts.Fit(),
            self.jobs_strip,
            self.error_strip,
        ]
        self._column.observe(lambda change: self.guard(self._recolour)(change["new"]), "value")
        self.listen("projection", self._build)
        self.listen("clustering", self._show_clusters)
        self.listen("selection", self._show_selection)
        self._build()

    @property
    def figure_widget(self) -> Any:
        """The plotly FigureWidget, or None before there is a projection."""
        return self._box.children[0] if self._groups else None

    @property
    def color_by(self) -> str:
        """``"cluster"`` or a column of the tile table; may be set."""
        return self._color_by

    @color_by.setter
    def color_by(self, name: str) -> None:
        name = self._known(name)
        if name not in self._column.options:
            self._column.options = [*self._column.options, name]
        self._column.value = name

    def _known(self, name: str) -> str:
        columns = list(map(str, self.session.store.tiles.columns))
        if name != "cluster" and name not in columns:
            raise UnknownName(
                f"No column {name!r} to colour by. {near(name, ['cluster', *columns])}"
            )
        return name

    def _recolour(self, name: str) -> None:
        self._color_by = name
        self._build()

    # -- what is seen ----------------------------------------------------------------------
    def _show_clusters(self) -> None:
        if self._color_by == "cluster":
            self._build()

    def _build(self) -> None:
        projection = self.session.projection
        found = colouring(self.session, self._color_by)
        if projection is None or not len(projection.xy):
            words = "The projection is being computed." if projection is None else "No tiles."
            self._groups = []
            self._replace(widgets.HTML(words))
            return
        view = self._view() if self._projection is projection else {}
        self._projection = projection
        self._drawn = sample(found.codes, self._most, seed=self.session.seed)
        traces = self._traces(np.asarray(projection.xy, dtype=np.float32), found)
        figure = charts.figure_widget(traces, self._layout(found, view))
        # plotly tells every trace of each gesture, after marking its own points: the last one hears
        # of it when nothing is left that would overwrite what is shown then.
        last = figure.data[-1]
        last.on_selection(lambda _, __, selector: self._lassoed(selector))
        last.on_deselect(lambda *_: self.guard(self.session.clear)())
        for trace, rows in zip(figure.data, self._groups, strict=True):
            trace.on_click(lambda _, points, __, rows=rows: self._clicked(rows, points))
        self._replace(figure)

    def _replace(self, shown: Any) -> None:
        old, self._box.children = self._box.children, [shown]
        for widget in old:
            close_whole(widget)

    def _view(self) -> dict[str, Any]:
        """Tool and zoom of the figure that is replaced, so that new colours do not lose them."""
        figure = self.figure_widget
        if figure is None:
            return {}
        layout = figure.layout
        kept: dict[str, Any] = {"dragmode": layout.dragmode}
        for name in ("xaxis", "yaxis"):
            if layout[name].range is not None and layout[name].autorange is not True:
                kept[name] = {"range": list(layout[name].range)}
        return kept

    def _traces(self, xy: npt.NDArray[np.float32], found: Colouring) -> list[Any]:
        import plotly.graph_objects as go

        codes = found.codes[self._drawn]
        traces: list[Any] = []
        self._groups = []

        def add(rows: npt.NDArray[np.int64], name: str, marker: dict[str, Any]) -> None:
            self._groups.append(rows)
            traces.append(
                go.Scatter(
                    x=charts.array(xy[rows, 0]), y=charts.array(xy[rows, 1]), mode="markers",
                    uid=f"group{len(traces)}", name=charts.text(name), marker={"size": 5, **marker},
                    selected={"marker": {"opacity": 1.0}},
                    unselected={"marker": {"opacity": 0.12}},
                    selectedpoints=self._selected_points(rows),
                    hoverinfo="name",
                )
            )  # fmt: skip

        if found.numeric:
            rows = self._drawn[codes != NONE]
            step = (found.high - found.low) / (NONE - 1)
            bar = {
                "color": charts.array(found.low + found.codes[rows] * step),
                "colorscale": SCALE,
                "cmin": found.low,
                "cmax": found.high,
                "showscale": True,
                "colorbar": {"title": {"text": charts.text(found.by)}, "thickness": 12},
            }
            add(rows, found.by, bar)
            traces[-1].showlegend = False
            traces[-1].hovertemplate = "%{marker.color:.4g}<extra></extra>"
        for code, item in enumerate(found.items):
            rows = self._drawn[codes == code]
            if len(rows):
                add(rows, item.name, {"color": colour(item.colour)})
        rows = self._drawn[codes == NONE]
        if len(rows):
            waiting = self._color_by == "cluster" and self.session.clustering is None
            add(rows, "all tiles" if waiting else "none", {"color": colour(-1)})
        return traces

    def _layout(self, found: Colouring, view: dict[str, Any]) -> dict[str, Any]:
        n, drawn = len(self.session.store), len(self._drawn)
        title = f"showing {drawn:,} of {n:,} tiles" if drawn < n else ""
        return charts.layout(
            dragmode=view.get("dragmode") or "lasso",
            hovermode="closest",
            height=460,
            title={"text": title, "font": {"size": charts.FONT}},
            margin={"l": 8, "r": 8, "t": 30, "b": 8},  # the buttons lie above the legend
            xaxis={"visible": False} | view.get("xaxis", {}),
            yaxis={"visible": False, "scaleanchor": "x"} | view.get("yaxis", {}),
            legend={"itemsizing": "constant"},
            showlegend=not found.numeric,
        )

    def _selected_points(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any] | None:
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

    # -- what is done ----------------------------------------------------------------------
    def _lassoed(self, selector: Any) -> None:
        if selector is not None:  # none: a click without a drag
            self.guard(self._select_inside)(selector)

    def _select_inside(self, selector: Any) -> None:
        if hasattr(selector, "xrange"):
            (x0, x1), (y0, y1) = selector.xrange, selector.yrange
            self.session.select_box((x0, y0, x1, y1), mode=self._mode.value)
        else:
            outline = np.column_stack([selector.xs, selector.ys])
            self.session.select_polygon(outline, mode=self._mode.value)

    def _clicked(self, rows: npt.NDArray[np.int64], points: Any) -> None:
        if points.point_inds:
            row = int(rows[points.point_inds[0]])
            self.guard(self.session.select)([row], mode=self._mode.value, how={"kind": "click"})

    # -- what is said ----------------------------------------------------------------------
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


def sample(codes: npt.ArrayLike, most: int, *, seed: int) -> npt.NDArray[np.int64]:
    """About ``most`` rows, sorted, in proportion to the codes, seeded; each code keeps at least one.

    >>> sample(np.array([0, 0, 0, 1]), 10, seed=0)
    array([0, 1, 2, 3])
    """
    groups = np.asarray(codes)
    n = len(groups)
    if n <= most:
        return np.arange(n)
    rng = np.random.default_rng(seed)
    chosen = []
    for code in np.unique(groups):
        rows = np.flatnonzero(groups == code)
        share = max(1, int(most * len(rows) / n))
        chosen.append(rng.choice(rows, min(share, len(rows)), replace=False))
    return np.sort(np.concatenate(chosen))
