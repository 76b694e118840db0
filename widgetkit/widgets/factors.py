"""FactorPanel: what the factors mean for slides, classes and the network, and how many to take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import numpy as np

from widgetkit.errors import InvalidInput
from widgetkit.palette import colour
from widgetkit.session.reading import KINDS, TITLES
from widgetkit.widgets import charts, factor_charts, factor_tables
from widgetkit.widgets.controls import button, choice, escape, mode_menu, notices
from widgetkit.widgets.panel import Panel, close_whole

if TYPE_CHECKING:
    from widgetkit.widgets.base import SessionLike

#: A column with more values than this is no class.
CLASSES_MOST = 30
#: Classes that are listed, as in the map viewer: ImageNet's 1000 names are 30 kB.
TARGETS_MOST = 40
#: Columns that say where a tile is from, in the order they are offered.
ORIGINS = ("slide", "source", "patient")
#: Questions that are asked of a column, of a class, of groups, of another layer; bars to click.
_OF_COLUMN = ("shares", "prediction")
_OF_CLASS = ("correlations", "importance")
_BY_GROUP = ("slides", "prediction", "correlations", "importance", "completeness")
_CLICKS = ("slides", "shares", "prediction", "importance", "layers")


class FactorPanel(Panel):
    """The factors of the clustering, read: one question at a time, its chart, table and sentences.

    Slides: whether a factor follows the slide rather than the tissue. Shares: which factors fill
    which class. Prediction: the class told from factors alone, beside the network. Correlations: with
    Grad-CAM, occlusion and relevance maps. Importance and completeness: the network's answer without
    a factor, and with the factors alone. Number of factors: measures and a recommendation. Layers:
    which factor of another layer is which of these.

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
        act, store = self.guard, self.session.store
        self._shown: tuple[Any, ...] | None = None
        layers = [name for name, info in store.layers.items() if info.has_maps]
        self._kind = choice(
            "Question",
            [(TITLES[kind], kind) for kind in KINDS if kind != "layers" or len(layers) > 1],
            "slides",
            width="380px",
        )
        columns = _columns(store.tiles)
        labels = [name for name in columns if name not in ORIGINS] or columns
        self._column = choice(
            "Class in",
            [(name, name) for name in labels] or [("no column", "")],
            "label" if "label" in labels else (labels[0] if labels else ""),
            tip="Column of the tiles that holds their class",
            width="190px",
        )
        origins = [name for name in ORIGINS if name in store.tiles.columns]
        if "slide" in origins:
            origins.remove("source")
        others = [name for name in columns if name not in (*ORIGINS, "label")]
        self._by = choice(
            "By",
            [("usual", ""), *((name, name) for name in (*origins, *others))],
            "",
            tip="Column whose groups (slides, patients) are compared, held apart or drawn whole",
            width="150px",
        )
        self._target = choice("Class", _targets(store), -1, width="220px")
        self._other = choice("With", [("", "")], "", tip="The other layer", width="220px")
        self._mode = mode_menu()
        self._ask = button(
            "Read", "Answer the question in the background", act(self._read), style="primary"
        )
        self._take = button(
            "Use recommended", "Cluster by the recommended number of factors", act(self._use)
        )
        self._said = widgets.HTML()
        self._table = widgets.HTML(layout=widgets.Layout(max_height="280px", overflow="auto"))
        self._chart = widgets.VBox()
        self.children = [
            widgets.HBox(
                [self._kind, self._column, self._target, self._other, self._by, self._ask,
                 self._take, self._mode],
                layout=widgets.Layout(flex_flow="row wrap"),
            ),
            self._said,
            self._chart,
            charts.Fit(),
            self._table,
            self.jobs_strip,
            self.error_strip,
        ]  # fmt: skip
        self._kind.observe(lambda _: self._show(), "value")
        for event in ("reading", "clustering"):
            self.listen(event, self._show)
        self.listen("layer", self._layer_changed)
        self._layer_changed()

    # -- what is asked ---------------------------------------------------------------------
    @property
    def kind(self) -> str:
        """The question shown, one of ``widgetkit.session.reading.KINDS``."""
        return str(self._kind.value)

    @kind.setter
    def kind(self, kind: str) -> None:
        known = [value for _, value in self._kind.options]
        if kind not in known:
            raise InvalidInput(f"There is no question {kind!r}; there are {', '.join(known)}.")
        self._kind.value = kind

    def read(self, kind: str | None = None) -> None:
        """Ask a question (by default the one shown) with what the menus say."""
        if kind is not None:
            self.kind = kind
        session, column, by = self.session, self._column.value or None, self._by.value or None
        target = None if self._target.value == -1 else int(self._target.value)
        {
            "slides": lambda: session.read_slides(by or "slide"),
            "shares": lambda: session.read_shares(column),
            "prediction": lambda: session.read_prediction(column, by=by),
            "correlations": lambda: session.read_correlations(target, by=by),
            "importance": lambda: session.read_importance(target, by=by),
            "completeness": lambda: session.read_completeness(by=by),
            "choice": lambda: session.read_choice(),
            "layers": lambda: session.read_layers(self._other.value or None),
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
    def _layer_changed(self) -> None:
        store, layer = self.session.store, self.session.layer
        others = [name for name, info in store.layers.items() if info.has_maps and name != layer]
        self._other.options = [(name, name) for name in others] or [("no other layer", "")]
        self._show()

    def _show(self) -> None:
        kind = self.kind
        found = self.session.readings.get(kind)
        for menu, shown in (
            (self._column, kind in _OF_COLUMN),
            (self._target, kind in _OF_CLASS),
            (self._other, kind == "layers"),
            (self._by, kind in _BY_GROUP),
            (self._take, kind == "choice" and found is not None),
            (self._mode, kind in _CLICKS and found is not None),
        ):
            menu.layout.display = "" if shown else "none"
        look = self._look()
        now = (kind, found, tuple(look.names), tuple(look.colours))
        if now == self._shown:
            return  # a chart made anew would lose its zoom for nothing
        self._shown = now
        if found is None:
            self._put(())
            self._said.value = f"<i>{escape(_EXPLAIN[kind])} Press Read.</i>"
            self._table.value = ""
            return
        figure = factor_charts.chart(found, look)
        for trace in figure.data:
            if kind in _CLICKS and trace.type == "bar":
                trace.on_click(lambda trace, points, _: self._clicked(points, trace))
        self._said.value = notices(found.warned(look.names), found.sentences)
        self._put((figure,))
        self._table.value = "".join(
            map(factor_tables.html, factor_tables.tables(found, look.names))
        )

    def _put(self, charts: tuple[Any, ...]) -> None:
        before, self._chart.children = self._chart.children, charts
        for old in before:  # off the page before it is closed: a closed chart cannot answer
            close_whole(old)

    def _look(self) -> factor_charts.Look:
        names, clustering = self.session.factor_names(), self.session.clustering
        own = clustering is not None and clustering.owners is None
        hues = clustering.colors if clustering is not None and own else range(len(names))
        return factor_charts.Look(names, [colour(c) for c in hues])

    # -- what is said ----------------------------------------------------------------------
    def describe(self) -> str:
        """The question, what was found in sentences, and the first rows of the table."""
        found = self.session.readings.get(self.kind)
        if found is None:
            return f"Factor panel: {TITLES[self.kind]}, not read yet."
        names = self.session.factor_names()
        said = [
            f"Factor panel: {found.title}.",
            *(f"Note: {text}" for text in found.warned(names)),
            *found.sentences,
            *(
                line
                for table in factor_tables.tables(found, names)
                for line in factor_tables.lines(table)
            ),
        ]
        return "\n  ".join(said)

    def _figure_options(self) -> dict[str, Any]:
        return {"kind": self.kind}

    def _caption_options(self) -> dict[str, Any]:
        found = self.session.readings.get(self.kind)
        if found is None:
            return {}
        return {"extra": (f"{found.title}.", *found.warnings, *found.sentences[:4])}


_EXPLAIN = {
    "slides": "Does a factor follow the tissue, or the slide with its stain and scanner?",
    "shares": "Which factors fill which class?",
    "prediction": "Can the class be told from the factors alone, on slides never seen?",
    "correlations": "Which factors lie where the network looks for a class?",
    "importance": "How far does the network's score fall when a factor is taken away?",
    "completeness": "Does the network still answer the same from the factors alone?",
    "choice": "How many factors are enough, and come back from other starts and other slides?",
    "layers": "Which factor of another layer is which of these?",
}


def _columns(table: Any) -> list[str]:
    """Columns with a few values each, which may be classes or groups."""
    return [
        str(name)
        for name in table.columns
        if name not in ("id", "level", "size") and 2 <= table[name].nunique() <= CLASSES_MOST
    ]


def _targets(store: Any) -> list[tuple[str, int]]:
    """Classes of the network; of very many, those it says most often."""
    names, outputs = store.class_names, store.outputs
    count = len(names) if names else (0 if outputs is None else outputs.shape[1])
    listed = list(range(min(count, TARGETS_MOST)))
    if count > TARGETS_MOST and outputs is not None:
        often = np.bincount(np.asarray(outputs).argmax(axis=1), minlength=count)
        listed = [int(i) for i in np.argsort(-often, kind="stable")[:TARGETS_MOST] if often[i]]
    return [("usual", -1), *((str(names[i]) if names else f"class {i}", i) for i in listed)]
