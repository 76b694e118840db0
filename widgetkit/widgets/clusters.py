"""ClusterPanel: what the clusters are, what the selection is made of, and every edit of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import ipywidgets as widgets
import numpy as np

from widgetkit.errors import InvalidInput
from widgetkit.palette import CATEGORICAL, colour
from widgetkit.widgets import charts
from widgetkit.widgets.controls import COLOUR_NAMES, button, choice, escape
from widgetkit.widgets.panel import Panel

if TYPE_CHECKING:
    from widgetkit.widgets.base import SessionLike

METHODS = (
    ("automatic", "auto"),
    ("NMF factors", "nmf"),
    ("k-means", "kmeans"),
    ("HDBSCAN", "hdbscan"),
)


class ClusterPanel(Panel):
    """Clusters: composition of the selection against the rest, sizes, quality, and their edits.

    The chart shows the share of every cluster in the selection beside its share in the rest; a click
    on a bar selects the cluster (in the scatter and everywhere else). Below it every cluster can be
    renamed, recoloured, selected, and ticked for merging or splitting; the selection alone, or all
    tiles, can be clustered again. Every edit can be undone.

    Parameters
    ----------
    source : Session, ActivationStore or path
        A store gets a session of its own.
    """

    figure_kind = "clusters"

    def __init__(self, source: SessionLike) -> None:
        self._method = choice("Method", METHODS, "auto", width="180px")
        self._k = widgets.BoundedIntText(
            8, min=2, max=64, description="k", style={"description_width": "initial"},
            layout=widgets.Layout(width="80px"), tooltip="Number of clusters",
        )  # fmt: skip
        self._quality = widgets.HTML()
        self._rows = widgets.VBox(layout=widgets.Layout(overflow="auto", max_height="320px"))
        self._ticks: list[Any] = []
        self._quality_of: object = None
        self._bars: list[int] = []
        self._figure = _composition_figure()
        super().__init__(source)
        act = self.guard
        self.children = [
            self._figure,
            widgets.HBox(
                [
                    self._method,
                    self._k,
                    button(
                        "Cluster all", "Cluster all tiles again", act(lambda: self._cluster("all"))
                    ),
                    button(
                        "Selection",
                        "Cluster only the selected tiles",
                        act(lambda: self._cluster("selection")),
                    ),
                ],
                layout=widgets.Layout(flex_flow="row wrap"),
            ),
            self._rows,
            widgets.HBox(
                [
                    button("Merge", "Merge the ticked clusters into one", act(self._merge)),
                    button("Split", "Split each ticked cluster in two", act(self._split)),
                    button(
                        "Quality",
                        "Silhouette and other measures of these clusters",
                        act(self._measure),
                    ),
                ]
            ),
            self._quality,
            self.jobs_strip,
            self.error_strip,
        ]
        for trace in self._figure.data:
            trace.on_click(lambda _, points, __: act(self._clicked)(points))
        self.listen("clustering", lambda *_: self._show_clusters())
        self.listen("selection", lambda *_: self._show_composition())
        self._show_clusters()

    # -- what is seen ----------------------------------------------------------------------
    def _show_clusters(self) -> None:
        clustering = self.session.clustering
        self._ticks = []
        if clustering is None:
            self._rows.children = [widgets.HTML("No clusters yet.")]
        else:
            self._k.value = int(np.clip(len(clustering.names), self._k.min, self._k.max))
            labels = np.asarray(clustering.labels)
            sizes = np.bincount(labels[labels >= 0], minlength=len(clustering.names))
            self._rows.children = [
                self._row(i, int(sizes[i])) for i in range(len(clustering.names))
            ]
        if self._quality_of is not clustering:
            self._quality.value = ""
        self._show_composition()

    def _row(self, index: int, size: int) -> Any:
        clustering = self.session.clustering
        assert clustering is not None
        act, number = self.guard, clustering.colors[index] % len(CATEGORICAL)
        tick = widgets.Checkbox(
            value=False,
            indent=False,
            layout=widgets.Layout(width="22px"),
            tooltip=f"Tick {clustering.names[index]}",
        )
        self._ticks.append(tick)
        name = widgets.Text(
            str(clustering.names[index]),
            continuous_update=False,
            layout=widgets.Layout(width="150px"),
            tooltip="Name; Enter renames",
        )
        name.observe(lambda change: act(self._rename)(index, change["new"]), "value")
        shade = widgets.Dropdown(
            options=[(text, i) for i, text in enumerate(COLOUR_NAMES)],
            value=number,
            layout=widgets.Layout(width="90px"),
            tooltip="Colour",
        )
        shade.observe(lambda change: act(self._recolour)(index, change["new"]), "value")
        swatch = widgets.HTML(
            f'<span style="display:inline-block;width:14px;height:14px;border-radius:3px;background:{colour(number)}" aria-hidden="true"></span>'
        )
        select = button(
            "Select",
            f"Select the tiles of {clustering.names[index]}",
            act(lambda: self.session.select_cluster(index)),
        )
        return widgets.HBox(
            [
                tick,
                swatch,
                name,
                widgets.HTML(f"{size:,}", layout=widgets.Layout(width="56px")),
                shade,
                select,
            ]
        )

    def _show_composition(self) -> None:
        table = self.session.composition()
        names = [charts.text(n) for n in table["cluster"]]
        shades = [colour(int(c)) for c in table["color"]]
        self._bars = [int(c) for c in table["number"]]
        with self._figure.batch_update():
            for trace, part in zip(self._figure.data, ("share_in", "share_out"), strict=True):
                share = np.nan_to_num(100 * np.asarray(table[part], dtype=float))
                trace.x = charts.array(share)
                trace.y = names
            self._figure.data[0].marker.color = shades
            self._figure.data[0].customdata = [_enrichment(row) for row in table.to_dict("records")]
            self._figure.layout.height = 70 + 26 * max(1, len(names))
        charts.settle(self._figure)

    # -- what is done ----------------------------------------------------------------------
    def _cluster(self, on: Literal["all", "selection"]) -> None:
        self.session.cluster(method=self._method.value, k=self._k.value, on=on)

    def _ticked(self, least: int) -> list[int]:
        found = [i for i, tick in enumerate(self._ticks) if tick.value]
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

    def _rename(self, index: int, name: str) -> None:
        self.session.rename_cluster(index, name)

    def _recolour(self, index: int, number: int) -> None:
        self.session.recolour_cluster(index, number)

    def _clicked(self, points: Any) -> None:
        if points.point_inds and (index := self._bars[points.point_inds[0]]) >= 0:
            self.session.select_cluster(index)

    def _measure(self) -> None:
        clustering = self.session.clustering
        if clustering is None:
            raise InvalidInput("There are no clusters to measure; press 'Cluster all' first.")
        self._quality.value = quality_html(self.session.quality())
        self._quality_of = clustering

    # -- what is said ----------------------------------------------------------------------
    def describe(self) -> str:
        """Sizes of the clusters, and the three most enriched in the selection."""
        clustering = self.session.clustering
        if clustering is None:
            return "Cluster panel: no clusters."
        table = self.session.composition()
        lines = [
            f"Cluster panel: {len(clustering.names)} clusters by {clustering.method}, layer {clustering.layer}."
        ]
        chosen = self.session.selection.count
        if 0 < chosen < len(self.session.store):
            top = table.sort_values("share_in", ascending=False, kind="stable").head(3)
            mix = ", ".join(
                f"{r['cluster']} {100 * r['share_in']:.0f} % (rest {100 * r['share_out']:.0f} %)"
                for r in top.to_dict("records")
            )
            lines.append(f"Selection of {chosen:,}: {mix}.")
        return "\n".join(lines)


def _enrichment(row: dict[Any, Any]) -> str:
    value = float(row["enrichment"])
    if not np.isfinite(value):
        return ""
    return f"{2**value:.2f} times the rest ({2 ** float(row['low']):.2f} to {2 ** float(row['high']):.2f}, 95 %)"


def _composition_figure() -> Any:
    import plotly.graph_objects as go

    bars = [
        go.Bar(
            x=charts.array([]), y=[], orientation="h", name="selection", uid="selection",
            hovertemplate="%{y}: %{x:.1f} % of the selection<br>%{customdata}<extra></extra>",
        ),
        go.Bar(
            x=charts.array([]), y=[], orientation="h", name="rest", uid="rest", marker={"color": "#B8B8B8"},
            hovertemplate="%{y}: %{x:.1f} % of the rest<extra></extra>",
        ),
    ]  # fmt: skip
    return charts.figure_widget(
        bars,
        charts.layout(
            barmode="group",
            bargap=0.25,
            xaxis={
                "title": {"text": "share of tiles (%)"},
                "rangemode": "tozero",
                "automargin": True,
            },
            yaxis={"autorange": "reversed", "automargin": True, "type": "category"},
            legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
            height=250,
        ),
    )


def quality_html(numbers: dict[str, Any]) -> str:
    """Quality numbers as one line of escaped HTML."""
    parts = [
        f"{escape(str(k).replace('_', ' '))} <b>{v:.3g}</b>"
        if isinstance(v, (int, float))
        else f"{escape(k)} {escape(v)}"
        for k, v in numbers.items()
    ]
    return " \N{MIDDLE DOT} ".join(parts)
