"""The Explorer: every view over one session, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import ipywidgets as widgets
import traitlets

from widgetkit.errors import InvalidInput
from widgetkit.widgets.association import AssociationPanel
from widgetkit.widgets.clusters import ClusterPanel
from widgetkit.widgets.concepts import ConceptPanel
from widgetkit.widgets.controls import button, choice, escape
from widgetkit.widgets.gallery import Gallery
from widgetkit.widgets.maps import MapViewer
from widgetkit.widgets.panel import Panel
from widgetkit.widgets.plotly_scatter import PlotlyScatter
from widgetkit.widgets.scatter import Scatter
from widgetkit.widgets.summary import SelectionSummary

if TYPE_CHECKING:
    from widgetkit.widgets.base import SessionLike

FORMATS = ("pdf", "svg", "png")
NONE_SAVED = "saved selections"
#: Titles of the folds that hold a panel.
COLUMNS, CONCEPTS = "Columns beside the clusters", "Concepts the network sees"
#: A state that is longer (many thousand tiles with factors) is nothing for a text field.
STATE_MOST = 2_000_000


class Explorer(Panel):
    """Scatter, maps, gallery, clusters and summary of one session, linked.

    Selecting in any view updates all others. The bar on top chooses the layer, undoes and redoes,
    saves and restores named selections, and saves any view as a figure.

    Parameters
    ----------
    source : Session, ActivationStore or path
        A store gets a session of its own.
    model : torch.nn.Module, optional
        The network that made the store; maps that need gradients or forward passes use it.
    scatter : "webgl" or "plotly"
        "plotly" for front-ends without WebGL and canvas.

    Attributes
    ----------
    session, scatter, maps, gallery, clusters, summary
        The parts; each works alone as well.
    concepts : ConceptPanel or None
        Made when its fold below the views is first opened.
    association : AssociationPanel or None
        The same; there where tiles have columns of the user's.
    """

    figure_kind = "explorer"

    def __init__(
        self,
        source: SessionLike,
        model: Any = None,
        *,
        scatter: Literal["webgl", "plotly"] = "webgl",
    ) -> None:
        if scatter not in ("webgl", "plotly"):
            raise InvalidInput(f"scatter={scatter!r}: choose 'webgl' or 'plotly'.")
        super().__init__(_with_model(source, model))
        session = self.session
        self.scatter: Scatter | PlotlyScatter = (
            Scatter(session, height=540) if scatter == "webgl" else PlotlyScatter(session)
        )
        self.maps = MapViewer(session)
        self.gallery = Gallery(session)
        self.clusters = ClusterPanel(session)
        self.summary = SelectionSummary(session)
        self.parts: dict[str, Any] = {
            "explorer": self,
            "scatter": self.scatter,
            "maps": self.maps,
            "gallery": self.gallery,
            "clusters": self.clusters,
            "summary": self.summary,
        }
        # One order in both: what is sorted in the gallery is what the maps are shown of.
        for trait in ("rule", "seed"):
            traitlets.link((self.gallery, trait), (self.maps, trait))
        # The session's errors and jobs are shown once, on top.
        for name, part in self.parts.items():
            if name != "explorer":
                part.leave_strips()
        self._message = widgets.HTML()
        self._history = widgets.HTML()
        self.association: AssociationPanel | None = None
        self.concepts: ConceptPanel | None = None
        self._beside, self._seen = widgets.VBox(), widgets.VBox()
        folds = [("History, as Python", self._history), ("State, to take along", self._state_box())]
        if session.variables():
            folds.append((COLUMNS, self._beside))
        folds.append((CONCEPTS, self._seen))
        self._folds = widgets.Accordion(
            [fold for _, fold in folds],
            titles=tuple(title for title, _ in folds),
            selected_index=None,
        )
        self._folds.observe(lambda _: self._folded(), "selected_index")
        column = widgets.Layout(display="flex", flex_flow="column", min_width="0")
        self.children = [
            self._bar(),
            self.jobs_strip,
            self._message,
            self.error_strip,
            self.summary,
            widgets.GridBox(
                [
                    widgets.Box([self.scatter], layout=column),
                    widgets.Box([self.maps], layout=column),
                    widgets.Box([self.gallery], layout=column),
                    widgets.Box([self.clusters], layout=column),
                ],
                layout=widgets.Layout(
                    # two columns where the page has room for them, one elsewhere
                    grid_template_columns="repeat(auto-fit, minmax(min(100%, 460px), 1fr))",
                    grid_gap="12px",
                ),
            ),
            self._folds,
        ]
        self.listen("layer", self._show_layer)
        # what failed to be mapped is of the past; if the new map fails at once, the viewer says why
        self.listen("map", self.error_strip.clear)
        self.listen("history", self._show_history)
        self.listen("named", self._show_named)
        self._show_layer()
        self._show_named()
        self._show_history()

    # -- the bar ---------------------------------------------------------------------------
    def _bar(self) -> Any:
        act, session = self.guard, self.session
        names = list(session.store.layers)
        self._layer = choice("Layer", names, session.layer, width="220px")
        self._layer.observe(lambda change: act(self._choose_layer)(change["new"]), "value")
        self._undo = button("Undo", "Undo the last step", act(session.undo))
        self._redo = button("Redo", "Do again what was undone", act(session.redo))
        self._named = choice("", [(NONE_SAVED, "")], "", tip="Restore a selection", width="170px")
        self._named.observe(lambda change: act(self._restore)(change["new"]), "value")
        self._name = widgets.Text(
            placeholder="name",
            layout=widgets.Layout(width="110px"),
            tooltip="Name of the selection",
        )
        self._kind = choice("Figure", list(self.parts), "explorer", width="150px")
        self._format = choice("", FORMATS, "pdf", tip="Format of the figure", width="64px")
        self._width = widgets.BoundedFloatText(
            180.0, min=10.0, max=2000.0, step=1.0, description="mm",
            style={"description_width": "initial"}, layout=widgets.Layout(width="96px"),
            tooltip="Width of the figure in millimetres",
        )  # fmt: skip
        return widgets.HBox(
            [
                self._layer,
                self._undo,
                self._redo,
                button("Clear", "Select nothing (Escape)", act(session.clear)),
                button("Invert", "Select what is not selected", act(session.invert)),
                self._named,
                self._name,
                button("Keep", "Save the selection under this name", act(self._keep)),
                self._kind,
                self._format,
                self._width,
                button("Save", "Write the figure beside the notebook", act(self._save_figure)),
            ],
            layout=widgets.Layout(flex_flow="row wrap", align_items="center"),
        )

    def _choose_layer(self, name: str) -> None:
        if name != self.session.layer:
            self.session.set_layer(name)

    def _show_layer(self) -> None:
        self._layer.value = self.session.layer

    def _keep(self) -> None:
        name = self._name.value.strip()
        if not name:
            raise InvalidInput("Give the selection a name first.")
        self.session.save_selection(name)
        self._name.value = ""

    def _restore(self, name: str) -> None:
        if name:
            self.session.restore_selection(name)
            self._named.value = ""

    def _show_named(self) -> None:
        found = [(f"{name} ({s.count:,})", name) for name, s in self.session.named.items()]
        self._named.options = [(NONE_SAVED, ""), *found]
        self._named.value = ""

    def _show_history(self) -> None:
        history = self.session.history
        self._undo.disabled = not history.can_undo
        self._redo.disabled = not history.can_redo
        self._write_history()

    def _folded(self) -> None:
        self._write_history()
        index = self._folds.selected_index
        opened = "" if index is None else self._folds.titles[index]
        # not before: they would ask at every selection, and nobody would see it
        if opened == COLUMNS and self.association is None:
            self.association = AssociationPanel(self.session)
            self._add("association", self.association, self._beside)
        if opened == CONCEPTS and self.concepts is None:
            self.concepts = ConceptPanel(self.session)
            self._add("concepts", self.concepts, self._seen)
        if self.association is not None:
            self.association.live = opened == COLUMNS
        if self.concepts is not None:
            self.concepts.live = opened == CONCEPTS

    def _add(self, name: str, part: Panel, box: widgets.VBox) -> None:
        part.leave_strips()
        box.children = (part,)
        self.parts[name] = part
        self._kind.options = list(self.parts)

    def _write_history(self) -> None:
        if self._folds.selected_index != 0:
            return  # folded: the whole text would cross at every step, and nobody would see it
        steps = self.session.history.steps
        lines = "\n".join(step.code for step in steps) or "# nothing has been done yet"
        self._history.value = (
            f'<pre style="line-height:1.4;white-space:pre-wrap">{escape(lines)}</pre>'
        )

    def _save_figure(self) -> None:
        kind = self._kind.value
        path = self.parts[kind].save(
            f"widgetkit-{kind}.{self._format.value}", width_mm=self._width.value
        )
        self._message.value = f"Saved {escape(path)}, {self._width.value:g} mm wide."

    # -- state -----------------------------------------------------------------------------
    def _state_box(self) -> Any:
        act = self.guard
        self._state = widgets.Textarea(
            placeholder="Press 'Show state' and copy, or paste a state and press 'Restore state'.",
            tooltip="State of the session as JSON",
            layout=widgets.Layout(width="100%", height="90px"),
        )
        return widgets.VBox(
            [
                self._state,
                widgets.HBox(
                    [
                        button(
                            "Show state",
                            "Selections, clusters, layer and map as text to copy",
                            act(self._show_state),
                        ),
                        button(
                            "Restore state",
                            "Take over the state in the text field; can be undone",
                            act(self._restore_state),
                        ),
                    ]
                ),
            ]
        )

    def _show_state(self) -> None:
        text = self.session.state()
        if len(text) > STATE_MOST:
            raise InvalidInput(
                f"The state has {len(text) / 1e6:.1f} million characters, too many for a text field. "
                "Use session.state() and write it to a file."
            )
        self._state.value = text

    def _restore_state(self) -> None:
        text = self._state.value.strip()
        if not text:
            raise InvalidInput("Paste a state into the text field first.")
        self.session.restore(text)

    # -- what is said ----------------------------------------------------------------------
    def describe(self) -> str:
        """What every part shows."""
        parts = [self.summary, self.scatter, self.gallery, self.maps, self.clusters]
        if self.association is not None and self.association.live:
            parts.append(self.association)
        if self.concepts is not None and self.concepts.live:
            parts.append(self.concepts)
        return "\n".join(part.describe() for part in parts)


def _with_model(source: SessionLike, model: Any) -> SessionLike:
    if model is None:
        return source
    from widgetkit.session import Session
    from widgetkit.store import ActivationStore

    if isinstance(source, Session):
        raise InvalidInput("Give the model to the Session: Session(store, model=...).")
    store = source if isinstance(source, ActivationStore) else ActivationStore.open(source)
    if not hasattr(model, "activations_and_gradients"):
        from widgetkit.extraction import ModelContext

        model = ModelContext.for_store(model, store)
    return Session(store, model=model)


def explore(source: SessionLike, model: Any = None, **options: Any) -> Explorer:
    """Open the linked Explorer over a store: ``wk.explore(store)``.

    Parameters
    ----------
    source : Session, ActivationStore or path
    model : torch.nn.Module, optional
        The network that made the store, for maps that need it (Grad-CAM, occlusion, ...).
    **options
        Of :class:`Explorer`.
    """
    return Explorer(source, model, **options)
