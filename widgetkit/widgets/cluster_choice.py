"""ClusterChoiceView: how many clusters, by four measures, and a button that makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import numpy as np

from widgetkit.analysis import ClusterChoice
from widgetkit.errors import InvalidInput
from widgetkit.figures.cluster_choice import choice_of, cluster_choice_caption
from widgetkit.widgets import charts, cluster_choice_chart
from widgetkit.widgets.controls import button, choice, escape
from widgetkit.widgets.factor_tables import Cells, html, lines
from widgetkit.widgets.panel import Column, Panel, close_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from widgetkit.session import Session
    from widgetkit.widgets.base import SessionLike

#: Largest number of clusters that can be asked for here.
MOST = 30


class ClusterChoiceView(Panel):
    """Elbow, silhouette, gap statistic and stability for each number of clusters of the layer.

    **Compare** measures k-means on the layer's embeddings with each number in the background, with
    progress and Cancel, and keeps the answer in the store. **Use** clusters by the number in the menu,
    which is the recommended one until another is chosen. Follows the session's layer.

    Parameters
    ----------
    source : Session, ActivationStore, path, or ClusterChoice
        A store gets a session of its own. A choice, of :func:`widgetkit.analysis.choose_clusters`, is
        shown as it is, without buttons.
    """

    def __init__(self, source: SessionLike | ClusterChoice) -> None:
        self._given = source if isinstance(source, ClusterChoice) else None
        if isinstance(source, ClusterChoice):
            Column.__init__(self)
            self._unsubscribe = []
            self.session: Session = None  # type: ignore[assignment]
        else:
            super().__init__(source)
        self._shown: ClusterChoice | None = None
        self._up_to = widgets.BoundedIntText(
            8, min=2, max=MOST, description="Up to", tooltip="Largest number of clusters to compare",
            style={"description_width": "initial"}, layout=widgets.Layout(width="100px"),
        )  # fmt: skip
        self._compare = button(
            "Compare", "Measure each number of clusters in the background", self.guard(self.compare),
            style="primary",
        )  # fmt: skip
        self._k = choice("Clusters", [("", 0)], 0, tip="Number of clusters to make", width="220px")
        self._take = button(
            "Use", "Cluster all tiles by this number (k-means)", self.guard(self.use)
        )
        self._said = widgets.HTML()
        self._chart = widgets.VBox()
        self._table = widgets.HTML(layout=widgets.Layout(max_height="280px", overflow="auto"))
        controls = widgets.HBox(
            [self._up_to, self._compare, self._k, self._take],
            layout=widgets.Layout(flex_flow="row wrap"),
        )
        parts = [self._said, self._chart, charts.Fit(), self._table]
        if self._given is None:
            parts = [controls, *parts, self.jobs_strip]
            for event in ("cluster choice", "layer"):
                self.listen(event, self._show)
        else:
            close_whole(controls)
        self.children = [*parts, self.error_strip]
        self._show()

    @property
    def choice(self) -> ClusterChoice | None:
        """What is shown."""
        return self._given if self._given is not None else self.session.cluster_choice

    def compare(self) -> None:
        """Measure numbers of clusters, from 2 to what the field says."""
        if self._given is not None:
            raise InvalidInput(
                "This view shows a choice that was made; give it a session to compare."
            )
        self.session.choose_clusters(range(2, int(self._up_to.value) + 1))

    def use(self) -> None:
        """Cluster all tiles by k-means with the number in the menu."""
        if self.choice is None or self._given is not None:
            raise InvalidInput("Numbers of clusters were not compared yet; press 'Compare' first.")
        self.session.cluster("kmeans", int(self._k.value))

    # -- what is seen ----------------------------------------------------------------------
    def _show(self) -> None:
        found = self.choice
        if self._given is None:
            for part in (self._k, self._take):
                part.layout.display = "none" if found is None else ""
        if found is self._shown and found is not None:
            return  # a chart made anew would lose its zoom for nothing
        self._shown = found
        if found is None:
            self._put(())
            self._said.value = (
                "<i>How many clusters do the embeddings of this layer fall into? Press Compare.</i>"
            )
            self._table.value = ""
            return
        if self._given is None:
            options = [
                (f"{k}{' (recommended)' if k == found.recommended else ''}", k)
                for k in map(int, found.table["k"])
            ]
            self._k.options = options
            self._k.value = found.recommended
        first, *rest = found.explain().split("\n")
        self._said.value = (
            f'<div style="line-height:1.5;white-space:normal"><b>{escape(first)}</b>'
            + "".join(f"<div>{escape(said.removeprefix('- '))}</div>" for said in rest)
            + "</div>"
        )
        self._put((cluster_choice_chart.chart(found),))
        self._table.value = html(_cells(found))

    def _put(self, figures: tuple[Any, ...]) -> None:
        before, self._chart.children = self._chart.children, figures
        for old in before:  # off the page before it is closed: a closed chart cannot answer
            close_whole(old)

    # -- what is said ----------------------------------------------------------------------
    def describe(self) -> str:
        """The recommendation, its reasons, and the table."""
        found = self.choice
        if found is None:
            return f"Number of clusters of layer {self.session.layer}: not compared yet."
        said = found.explain().split("\n")
        return "\n  ".join([f"Number of clusters. {said[0]}", *said[1:], *lines(_cells(found))])

    def _draw(self, spec: Any) -> Figure:
        from widgetkit import figures

        return figures.cluster_choice(self._given or self.session, spec)

    def caption(self) -> str:
        """Plain sentences that say what the figure shows."""
        return cluster_choice_caption(choice_of(self._given or self.session))


def _cells(found: ClusterChoice) -> Cells:
    columns = [
        ("inertia", "inertia"), ("gain", "gain"), ("silhouette", "silhouette"), ("gap", "gap"),
        ("gap error", "gap_s"), ("stability", "stability"), ("lowest", "stability_least"),
    ]  # fmt: skip
    rows = found.table.to_dict("records")
    return Cells(
        ("clusters", *(name for name, _ in columns), "sizes"),
        tuple(
            (
                f"{row['k']}{' (recommended)' if row['k'] == found.recommended else ''}",
                *(_number(row[column]) for _, column in columns),
                str(row["sizes"]),
            )
            for row in rows
        ),
        next(i for i, row in enumerate(rows) if row["k"] == found.recommended),
    )


def _number(value: float) -> str:
    if not np.isfinite(value):
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if value else "0"
