"""FactorPanel: what the factors mean for slides, classes and the network, and how many to take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import numpy as np

from widgetkit.errors import InvalidInput
from widgetkit.palette import colour
from widgetkit.session.reading import KINDS, TITLES
from widgetkit.widgets import charts, factor_charts
from widgetkit.widgets.controls import button, choice, escape, mode_menu
from widgetkit.widgets.panel import Panel, close_whole

if TYPE_CHECKING:
    from widgetkit.widgets.base import SessionLike

#: A column with more values than this is no class.
CLASSES_MOST = 30
#: Rows of the table that the panel shows; all are in ``session.readings``.
ROWS_MOST = 200


class FactorPanel(Panel):
    """The factors of the clustering, read: one question at a time, its chart, table and sentences.

    Slides: whether a factor follows the slide rather than the tissue. Shares: which factors fill
    which class. Prediction: the class told from factors alone, beside the network. Correlations: with
    Grad-CAM, occlusion and relevance maps. Importance and completeness: the network's answer without
    a factor, and with the factors alone. Number of factors: measures and a recommendation.

    Answers are computed in the background and kept in the store; a click on a bar selects the
    factor's cluster.

    Parameters
    ----------
    source : Session, ActivationStore or path
        A store gets a session of its own.
    """

    figure_kind = "reading"

    def __init__(self, source: SessionLike) -> None:
        super().__init__(source)
        act = self.guard
        self._kind = choice(
            "Question", [(TITLES[kind], kind) for kind in KINDS], "slides", width="330px"
        )
        columns = _class_columns(self.session.store.tiles)
        self._column = choice("Column", columns or [("none", "")], None, width="200px")
        self._column.value = "label" if "label" in dict.fromkeys(v for _, v in columns) else (
            columns[0][1] if columns else ""
        )  # fmt: skip
        names = self.session.store.class_names
        outputs = self.session.store.outputs
        count = len(names) if names else (0 if outputs is None else outputs.shape[1])
        self._target = choice(
            "Class",
            [("usual", -1), *((str(names[i] if names else f"class {i}"), i) for i in range(count))],
            -1,
            width="220px",
        )
        self._mode = mode_menu()
        self._ask = button("Read", "Answer the question in the background", act(self._read))
        self._take = button(
            "Use recommended", "Cluster by the recommended number of factors", act(self._use)
        )
        self._said = widgets.HTML()
        self._table = widgets.HTML(layout=widgets.Layout(max_height="260px", overflow="auto"))
        self._chart = widgets.VBox()
        self.children = [
            widgets.HBox(
                [self._kind, self._column, self._target, self._ask, self._take, self._mode],
                layout=widgets.Layout(flex_flow="row wrap"),
            ),
            self._chart,
            charts.Fit(),
            self._said,
            self._table,
            self.jobs_strip,
            self.error_strip,
        ]
        self._kind.observe(lambda _: self._show(), "value")
        self.listen("reading", self._arrived)
        self.listen("clustering", self._show)
        self.listen("layer", self._show)
        self._show()

    # -- what is asked ---------------------------------------------------------------------
    @property
    def kind(self) -> str:
        """The question shown, one of ``widgetkit.session.reading.KINDS``."""
        return str(self._kind.value)

    @kind.setter
    def kind(self, kind: str) -> None:
        if kind not in KINDS:
            raise InvalidInput(f"There is no question {kind!r}; there are {', '.join(KINDS)}.")
        self._kind.value = kind

    def read(self, kind: str | None = None) -> None:
        """Ask a question (by default the one shown) with what the menus say."""
        if kind is not None:
            self.kind = kind
        session, column = self.session, self._column.value or None
        target = None if self._target.value == -1 else int(self._target.value)
        {
            "slides": lambda: session.read_slides(),
            "shares": lambda: session.read_shares(column),
            "prediction": lambda: session.read_prediction(column),
            "correlations": lambda: session.read_correlations(target),
            "importance": lambda: session.read_importance(target),
            "completeness": lambda: session.read_completeness(),
            "choice": lambda: session.read_choice(),
        }[self.kind]()

    def _read(self) -> None:
        self.read()

    def _use(self) -> None:
        found = self.session.readings.get("choice")
        if found is None:
            raise InvalidInput("The number of factors was not read yet; press 'Read' first.")
        self.session.cluster("nmf", int(found.table.attrs["recommended"]))

    def _clicked(self, points: Any, trace: Any) -> None:
        # plotly tells every trace of each click, those that were not hit as well
        if points.point_inds and trace.customdata is not None:
            self.guard(self._select)(int(np.asarray(trace.customdata)[points.point_inds[0]]))

    def _select(self, factor: int) -> None:
        clustering = self.session.clustering
        if clustering is None or clustering.owners is not None:
            raise InvalidInput(
                "The clusters were merged or split since they were fitted, so a factor is not one "
                "cluster. Select clusters in the cluster panel, or undo the edit."
            )
        self.session.select_cluster(factor, mode=self._mode.value)

    # -- what is seen ----------------------------------------------------------------------
    def _arrived(self) -> None:
        found = self.session.readings
        if self.kind not in found and len(found):
            return
        self._show()

    def _show(self) -> None:
        kind = self.kind
        self._column.layout.display = "" if kind in ("shares", "prediction") else "none"
        self._target.layout.display = "" if kind in ("correlations", "importance") else "none"
        found = self.session.readings.get(kind)
        self._take.layout.display = "" if kind == "choice" and found is not None else "none"
        clicks = kind in ("slides", "shares", "prediction", "importance")
        self._mode.layout.display = "" if clicks and found is not None else "none"
        for old in self._chart.children:
            close_whole(old)
        if found is None:
            self._chart.children = ()
            self._said.value = f"<i>{escape(_EXPLAIN[kind])} Press Read.</i>"
            self._table.value = ""
            return
        figure = factor_charts.chart(found, self._look())
        for trace in figure.data:
            if clicks and trace.customdata is not None:
                trace.on_click(lambda trace, points, _: self._clicked(points, trace))
        self._chart.children = (figure,)
        self._said.value = "".join(f"<div>{escape(said)}</div>" for said in found.sentences[:12])
        self._table.value = _html(self._named())

    def _look(self) -> factor_charts.Look:
        names, clustering = self.session.factor_names(), self.session.clustering
        own = clustering is not None and clustering.owners is None
        hues = clustering.colors if clustering is not None and own else range(len(names))
        return factor_charts.Look(names, [colour(c) for c in hues])

    def _named(self) -> Any:
        """The table as it is shown: names for numbers of factors."""
        table = self.session.readings[self.kind].table
        names = self.session.factor_names()
        shown = table.drop(columns=[c for c in ("note", "warning") if c in table.columns])
        if "factor" in shown.columns:
            shown = shown.assign(
                factor=[names[factor_charts.index_of(value)] for value in shown["factor"]]
            )
        return shown

    # -- what is said ----------------------------------------------------------------------
    def describe(self) -> str:
        """The question, what was found in sentences, and the table with two decimals."""
        found = self.session.readings.get(self.kind)
        if found is None:
            return f"Factor panel: {TITLES[self.kind]}, not read yet."
        lines = [f"Factor panel: {found.title}.", *(f"  {said}" for said in found.sentences)]
        shown = self._named()
        for row in shown.head(24).to_dict("records"):
            lines.append("  " + ", ".join(f"{k} {_plain(v)}" for k, v in row.items() if _plain(v)))
        return "\n".join(lines)

    def _figure_options(self) -> dict[str, Any]:
        return {"kind": self.kind}

    def _caption_options(self) -> dict[str, Any]:
        found = self.session.readings.get(self.kind)
        return {"extra": () if found is None else (f"{found.title}.", *found.sentences[:4])}


_EXPLAIN = {
    "slides": "Does a factor follow the tissue, or the slide with its stain and scanner?",
    "shares": "Which factors fill which class?",
    "prediction": "Can the class be told from the factors alone, on slides never seen?",
    "correlations": "Which factors lie where the network looks for a class?",
    "importance": "How far does the network's score fall when a factor is taken away?",
    "completeness": "Does the network still answer the same from the factors alone?",
    "choice": "How many factors are enough, and come back from other starts and other slides?",
}


def _class_columns(table: Any) -> list[tuple[str, str]]:
    """Columns with a few values each, which may be classes."""
    return [
        (str(name), str(name))
        for name in table.columns
        if name not in ("id", "level", "size") and 2 <= table[name].nunique() <= CLASSES_MOST
    ]


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2f}" if np.isfinite(value) else ""
    return str(value)


def _html(table: Any) -> str:
    head = "".join(f"<th style='text-align:right'>{escape(c)}</th>" for c in table.columns)
    rows = []
    for record in table.head(ROWS_MOST).itertuples(index=False):
        cells = (
            f"{v:.3g}"
            if isinstance(v, float) and np.isfinite(v)
            else ("" if isinstance(v, float) else v)
            for v in record
        )
        rows.append("".join(f"<td style='text-align:right'>{escape(v)}</td>" for v in cells))
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    more = f"<div>first {ROWS_MOST} of {len(table):,} rows</div>" if len(table) > ROWS_MOST else ""
    return (
        "<table style='border-spacing:10px 1px;font-size:12px'>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"
    )
