"""ClusterPanel: what the clusters are, what the selection is made of, and every edit of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import ipywidgets as widgets
import numpy as np

from widgetkit.errors import InvalidInput
from widgetkit.palette import colour
from widgetkit.session import grouping
from widgetkit.widgets import charts
from widgetkit.widgets.cluster_rows import ClusterRows
from widgetkit.widgets.controls import button, choice, escape, mode_menu
from widgetkit.widgets.panel import Panel

if TYPE_CHECKING:
    from widgetkit.widgets.base import SessionLike

METHODS = (
    ("automatic", "auto"),
    ("deep (in the store)", "deep"),
    ("NMF factors", "nmf"),
    ("k-means", "kmeans"),
    ("HDBSCAN", "hdbscan"),
)
REST = "#B8B8B8"


class ClusterPanel(Panel):
    """Clusters: composition of the selection against the rest, sizes, quality, and their edits.

    The chart shows the share of every cluster in the selection beside its share in the rest; a click
    on a bar selects the cluster (in the scatter and everywhere else), or adds it, as the menu
    "Click" says. Below it every cluster can be renamed, recoloured, selected, and ticked for merging
    or splitting; the selection alone, or all tiles, can be clustered again. Every edit can be undone.

    Parameters
    ----------
    source : Session, ActivationStore or path
        A store gets a session of its own.
    """

    figure_kind = "clusters"

    def __init__(self, source: SessionLike) -> None:
        super().__init__(source)
        act = self.guard
        self._method = choice("Method", METHODS, "auto", width="180px")
        self._k = widgets.BoundedIntText(
            8, min=1, max=64, description="k", style={"description_width": "initial"},
            layout=widgets.Layout(width="80px"), tooltip="Number of clusters",
        )  # fmt: skip
        self._mode = mode_menu()
        self._quality = widgets.HTML()
        self._rows = ClusterRows(
            rename=act(self.session.rename_cluster),
            recolour=act(self.session.recolour_cluster),
            select=act(self._select),
        )
        self._bars: list[int] = []
        self._figure = _composition_figure()
        self.children = [
            self._figure,
            charts.Fit(),
            widgets.HBox(
                [
                    self._method,
                    self._k,
                    button(
                        "Cluster all", "Cluster all tiles again", act(lambda: self._cluster("all"))
                    ),
                    button(
                        "Cluster selection",
                        "Cluster only the selected tiles; the others are in no cluster then",
                        act(lambda: self._cluster("selection")),
                    ),
                ],
                layout=widgets.Layout(flex_flow="row wrap"),
            ),
            self._rows,
            widgets.HBox(
                [
                    self._mode,
                    button("Merge", "Merge the ticked clusters into one", act(self._merge)),
                    button("Split", "Split each ticked cluster in two", act(self._split)),
                    button(
                        "Quality",
                        "Silhouette and other measures of these clusters",
                        act(self._measure),
                    ),
                ],
                layout=widgets.Layout(flex_flow="row wrap"),
            ),
            self._quality,
            self.jobs_strip,
            self.error_strip,
        ]
        for trace in self._figure.data:
            trace.on_click(lambda _, points, __: self._clicked(points))
        self._method.observe(lambda _: self._show_k(), "value")
        self.listen("clustering", self._show_clusters)
        self.listen("selection", self._show_composition)
        self.listen("layer", self._show_methods)
        self._show_methods()
        self._show_clusters()

    # -- what is seen ----------------------------------------------------------------------
    def _show_methods(self) -> None:
        info = self.session.store.layers[self.session.layer]
        there = {"nmf": info.has_maps, "deep": grouping.deep(self.session.store) is not None}
        fit = [(text, name) for text, name in METHODS if there.get(name, True)]
        if tuple(fit) != tuple(self._method.options):
            self._method.options = fit
        self._show_k()

    def _show_k(self) -> None:
        # HDBSCAN finds its own number, and deep clusters were made elsewhere
        self._k.disabled = self._method.value in ("hdbscan", "deep")

    def _show_clusters(self) -> None:
        clustering = self.session.clustering
        if self._rows.show(clustering):
            self._quality.value = ""
            if clustering is not None and clustering.k:
                self._k.value = int(np.clip(clustering.k, self._k.min, self._k.max))
        self._show_composition()

    def _show_composition(self) -> None:
        table = self.session.composition()
        chosen = self.session.selection.count
        self._bars = [int(c) for c in table["number"]]
        names = [charts.text(n) for n in table["cluster"]]
        at = charts.array(np.arange(len(names)))
        # Nothing selected: one bar a cluster, of all tiles.
        first = "share_in" if chosen else "share_out"
        selection, rest = self._figure.data
        with self._figure.batch_update():
            selection.x, selection.y = _percent(table[first]), at
            selection.marker.color = [colour(int(c)) for c in table["color"]]
            selection.name = "selection" if chosen else "all tiles"
            selection.text = names
            selection.customdata = [_enrichment(row) for row in table.to_dict("records")]
            rest.x, rest.y = _percent(table["share_out"]), at
            rest.text = names
            # Said anew each time: of a hidden trace plotly reports its own "trace 1", and
            # FigureWidget then forgets ours.
            rest.name = "rest"
            rest.visible = bool(0 < chosen < len(self.session.store))
            # Numbers on the axis: two clusters may have one name.
            self._figure.layout.yaxis.tickvals = at
            self._figure.layout.yaxis.ticktext = names
            self._figure.layout.height = 78 + 26 * max(1, len(names))
        charts.settle(self._figure)

    # -- what is done ----------------------------------------------------------------------
    def _cluster(self, on: Literal["all", "selection"]) -> None:
        k = None if self._k.disabled else self._k.value
        self.session.cluster(method=self._method.value, k=k, on=on)

    def _ticked(self, least: int) -> list[int]:
        found = self._rows.ticked
        if len(found) < least:
            raise InvalidInput(
                f"Tick at least {least} cluster{'s' if least > 1 else ''} first; {len(found)} ticked."
            )
        return found

    def _merge(self) -> None:
        self.session.merge_clusters(self._ticked(2))

    def _split(self) -> None:
        # from the last, so that the earlier numbers stay what they were
        for index in reversed(self._ticked(1)):
            self.session.split_cluster(index, 2)

    def _select(self, index: int) -> None:
        self.session.select_cluster(index, mode=self._mode.value)

    def _clicked(self, points: Any) -> None:
        # plotly tells every trace of each click, those that were not hit as well
        if points.point_inds:
            self.guard(self._select)(self._bars[points.point_inds[0]])

    def _measure(self) -> None:
        if self.session.clustering is None:
            raise InvalidInput("There are no clusters to measure; press 'Cluster all' first.")
        self._quality.value = quality_html(self.session.quality())

    # -- what is said ----------------------------------------------------------------------
    def describe(self) -> str:
        """Method, number and sizes of the clusters, and what the selection is made of."""
        clustering = self.session.clustering
        if clustering is None:
            return "Cluster panel: no clusters yet."
        table = self.session.composition()
        sizes = ", ".join(
            f"{row['cluster']} {row['inside'] + row['outside']:,}" for _, row in table.iterrows()
        )
        lines = [
            f"Cluster panel: {clustering.k} clusters by {clustering.method}, layer {clustering.layer}: {sizes}."
        ]
        chosen = self.session.selection.count
        if chosen:
            mix = ", ".join(
                f"{row['cluster']} {100 * row['share_in']:.0f} %"
                for _, row in table.sort_values("share_in", ascending=False, kind="stable")
                .head(4)
                .iterrows()
                if row["inside"]
            )
            lines.append(f"Selection of {chosen:,}: {mix}.")
        return "\n".join(lines)


def _percent(shares: Any) -> np.ndarray:
    return charts.array(np.nan_to_num(100 * np.asarray(shares, dtype=float)))


def _enrichment(row: Mapping[Any, Any]) -> str:
    value = float(row["enrichment"])
    if not np.isfinite(value):
        return ""
    return f"{2**value:.2f} times the rest ({2 ** float(row['low']):.2f} to {2 ** float(row['high']):.2f}, 95 %)"


def _composition_figure() -> Any:
    import plotly.graph_objects as go

    nothing = charts.array([])
    bars = [
        go.Bar(
            x=nothing, y=nothing, orientation="h", name="selection", uid="selection",
            textposition="none",
            hovertemplate="%{text}: %{x:.1f} % of %{fullData.name}<br>%{customdata}<extra></extra>",
        ),
        go.Bar(
            x=nothing, y=nothing, orientation="h", name="rest", uid="rest", marker={"color": REST},
            textposition="none",
            hovertemplate="%{text}: %{x:.1f} % of the rest<extra></extra>",
        ),
    ]  # fmt: skip
    return charts.figure_widget(
        bars,
        charts.layout(
            barmode="group",
            bargap=0.25,
            xaxis=charts.axis(
                title={"text": "share of tiles (%)"}, rangemode="tozero", automargin=True
            ),
            yaxis=charts.axis(
                autorange="reversed", automargin=True, tickmode="array", showgrid=False
            ),
            legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
            height=250,
        ),
    )


def quality_html(numbers: Mapping[str, Any]) -> str:
    """Quality numbers as one line of escaped HTML."""
    parts = [
        f"{escape(str(k).replace('_', ' '))} <b>{v:.3g}</b>"
        if isinstance(v, (int, float))
        else f"{escape(k)} {escape(v)}"
        for k, v in numbers.items()
    ]
    return " \N{MIDDLE DOT} ".join(parts)
