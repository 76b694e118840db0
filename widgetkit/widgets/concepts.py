"""ConceptPanel: which concepts the network sees in the selection, and what they count."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import numpy as np

from widgetkit.errors import InvalidInput, near
from widgetkit.figures.concept_pictures import remarks_of, source_of
from widgetkit.widgets import charts, concept_tables
from widgetkit.widgets.concept_bar import NOTHING, SELECTED, ConceptBar, learnable
from widgetkit.widgets.concept_parts import Case, Compared, Part, Report, Trust, Units, table_box
from widgetkit.widgets.controls import button, choice, notices
from widgetkit.widgets.factor_tables import html, lines
from widgetkit.widgets.panel import Panel, close_whole

if TYPE_CHECKING:
    import pandas as pd

    from widgetkit.session.concept_reading import ConceptReading
    from widgetkit.widgets.base import SessionLike

QUESTIONS = {
    "concepts": "Concepts",
    "units": "Units",
    "case": "Case",
    "trust": "Trust",
    "report": "Report",
}
_TIPS = (
    "What each concept counts in the selection and the rest",
    "Units that separate tiles with the concept from those without",
    "One tile: phases, probabilities, concepts, where they are, cases like it",
    "Whether explanations that do not fit find wrong predictions",
    "How well each concept is read, the struggles first",
)
ESTIMATORS = (
    ("probe", "probe"),
    ("density ratio", "density"),
    ("concept activation vectors", "cav"),
)
#: Figures of the questions.
_FIGURES = {"case": "concept_card", "trust": "concept_trust", "report": "concept_trust"}
_numbers = count()


class ConceptPanel(Panel):
    """Radiological concepts, or any other, read from the network's activations: one question at a time.

    Concepts: what each counts towards the predicted class in the selection, beside the rest; those
    that contradict the class are hatched, and warnings say which count though no class shows them. Units: the
    activations that tell a concept. Case: the card of the tile in focus, or of the first one selected. Trust: whether
    explanations that do not fit find wrong predictions. Report: how well each concept is read.

    All follow the selection, the focus and the concepts of the session. A click on a bar selects the tiles
    in which the concept is seen.

    Parameters
    ----------
    source : Session, ActivationStore or path
        A store gets a session of its own.
    phases : sequence of str, optional
        Names of the phases of images that hold several as colours.
    """

    figure_kind = "concepts"

    def __init__(self, source: SessionLike, *, phases: Sequence[str] | None = None) -> None:
        super().__init__(source)
        act = self.guard
        self._key = f"concept intervals {next(_numbers)}"
        self._phases = None if phases is None else tuple(map(str, phases))
        self._remarks = remarks_of(self.session.store)
        self._live = True
        self._question = widgets.ToggleButtons(
            options=[(title, name) for name, title in QUESTIONS.items()],
            value="concepts", tooltips=_TIPS, tooltip="Question",
            style={"button_width": "auto"},
        )  # fmt: skip
        self._controls()
        self._said = widgets.HTML()
        self._examples = table_box()
        self.parts: dict[str, Part] = {
            "concepts": Compared(act(self._pick)),
            "units": Units(),
            "case": Case(self.session, self._phases, self._remarks, self._step, act),
            "trust": Trust(),
            "report": Report(act),
        }
        self._stage = widgets.VBox()
        self.children = [
            widgets.HBox([self._question], layout=_wrap()),
            widgets.HBox([self._estimator, self._learn, self._read_button], layout=_wrap()),
            self.bar,
            self._said,
            charts.Fit(),
            self._stage,
            self._examples,
            widgets.HBox([self._file, self._save, self._message], layout=_wrap()),
            self.jobs_strip,
            self.error_strip,
        ]
        self._question.observe(lambda _: act(self._show)(), "value")
        self.listen("concepts", self._show)
        self.listen("concept reading", self._read_anew)
        self.listen("selection", self._selected)
        self.listen("focus", self._focused)
        self.listen("map", self._mapped)
        self._read_anew()

    def _controls(self) -> None:
        act = self.guard
        self._estimator = choice("Estimator", ESTIMATORS, "probe", width="270px")
        self._learn = choice(
            "Learn from", learnable(self.session.store.tiles), "",
            tip="Tiles whose labels are learned from; the other labelled ones are judged", width="250px",
        )  # fmt: skip
        self._read_button = button(
            "Read", "Read the concepts from the activations, in the background", act(self.read), style="primary"
        )  # fmt: skip
        self.bar = ConceptBar(self.session, act, self._pick, self._chosen)
        self._file = widgets.Text(
            "concepts.csv",
            tooltip="File to write, .csv or .parquet",
            layout=widgets.Layout(width="150px"),
        )
        self._save = button("Save table", "Write the table beside the notebook", act(self._write))
        self._message = widgets.HTML()

    # -- what is asked ---------------------------------------------------------------------
    @property
    def question(self) -> str:
        """The question shown: one of "concepts", "units", "case", "trust", "report"."""
        return str(self._question.value)

    @question.setter
    def question(self, name: str) -> None:
        if name not in QUESTIONS:
            raise InvalidInput(f"There is no question {name!r}. {near(name, QUESTIONS)}".rstrip())
        self._question.value = name

    @property
    def concept(self) -> str:
        """The concept in the menu; "" while there is none."""
        return self.bar.concept

    @concept.setter
    def concept(self, name: str) -> None:
        self.bar.concept = name

    @property
    def reading(self) -> ConceptReading | None:
        """What is shown; None while the concepts were not read."""
        return self.session.concept_reading

    @property
    def live(self) -> bool:
        """Whether it follows the session; a host switches it off while nobody looks."""
        return self._live

    @live.setter
    def live(self, live: bool) -> None:
        self._live, before = bool(live), self._live
        if self._live and not before:
            self._show()

    @property
    def warnings(self) -> list[str]:
        """Concepts that count towards a class which does not show them, in the selection or all tiles."""
        reading = self.reading
        if reading is None:
            return []
        mask = self.session.selection.mask
        return reading.warnings(mask if mask.any() else None)

    def read(self) -> None:
        """Read the session's concepts with what the menus say, as a job."""
        session, learn = self.session, self._learn.value
        if session.concepts is None:
            raise InvalidInput(NOTHING)
        learn_from: Any = session.selection if learn == SELECTED else learn or None
        session.read_concepts(self._estimator.value, learn_from=learn_from)

    # -- what is done ----------------------------------------------------------------------
    def _pick(self, name: str) -> None:
        reading = self._needed()
        if name not in reading.concepts.names:
            raise InvalidInput(f"{name!r} was not read yet; press 'Read'.")
        if name in self.bar.names:
            self.concept = name
        seen = reading.identified.present[:, reading.concepts.names.index(name)]
        how = {
            "kind": "concept",
            "concept": name,
            "layer": reading.layer,
            "estimator": reading.estimator,
        }
        self.session.select(seen, mode=self.bar.mode, how=how)

    def _step(self, by: int) -> None:
        """The next tile of the selection, or of all while nothing is selected, from the one shown."""
        session = self.session
        rows = session.selection.rows if session.selection.count else np.arange(len(session.store))
        if not len(rows):
            return
        now = self._row()
        at = int(np.searchsorted(rows, -1 if now is None else now))
        there = now is not None and at < len(rows) and rows[at] == now
        place = at + by if there else (at if by > 0 else at - 1)
        session.set_focus(int(rows[place % len(rows)]))

    def _row(self) -> int | None:
        """The tile of the card: the one in focus, else the first selected."""
        focus = self.session.focus
        if focus is not None:
            return focus
        rows = self.session.selection.rows
        return int(rows[0]) if len(rows) else None

    def _write(self) -> None:
        from widgetkit.slides.export_tables import write_table

        frame = self._needed_frame()
        path = write_table(Path(self._file.value.strip()), frame)
        self._message.value = notices((), [f"Saved {path.name}."])

    def _needed(self) -> ConceptReading:
        reading = self.reading
        if reading is None:
            raise InvalidInput(
                "The concepts were not read yet; press 'Read', or session.read_concepts()."
                if self.session.concepts is not None
                else NOTHING
            )
        return reading

    def _needed_frame(self) -> pd.DataFrame:
        self._needed()
        part = self.parts[self.question]
        if part.frame is None:
            raise InvalidInput(f"There is no table to save. {part.reason}".rstrip())
        return part.frame

    # -- what is seen ----------------------------------------------------------------------
    def _read_anew(self) -> None:
        reading = self.reading
        if reading is not None and reading.estimator in dict(ESTIMATORS).values():
            self._estimator.value = reading.estimator
        self._show()

    def _show(self) -> None:
        if not self._live:
            return
        known, reading = self.session.concepts, self.reading
        self.bar.show(read=reading is not None)
        self._message.value = ""
        self._read_button.disabled = known is None
        self._examples.value = ""
        for part in (self._save, self._file):
            part.layout.display = "none" if reading is None else ""
        if reading is None:
            self._put(())
            self._said.value = notices((), [self._why_not(), *self._remarks])
            if known is not None:
                self._examples.value = html(concept_tables.examples(known))
            return
        part = self.parts[self.question]
        remarks = [] if self.question == "case" else self._remarks  # the card says it itself
        self._said.value = notices((), [*remarks, self._source(reading)])
        self._fill(self.question)
        self._put((part,))

    def _put(self, parts: tuple[Part, ...]) -> None:
        before = self._stage.children
        if before != parts:
            self._stage.children = parts
            for old in before:
                old.leave()

    def _source(self, reading: ConceptReading) -> str:
        return f"{len(reading.names)} concepts, relevance by {reading.how}: {source_of(reading)}"

    def _why_not(self) -> str:
        known = self.session.concepts
        if known is None:
            return NOTHING
        many = len(known) != 1
        has = "concepts have examples and were" if many else "concept has examples and was"
        return f"{len(known)} {has} not read yet. Press Read."

    def _fill(self, question: str) -> None:
        reading = self.reading
        assert reading is not None
        part = self.parts[question]
        if isinstance(part, Compared):
            self._compare(part, reading)
        elif isinstance(part, Units):
            part.show(reading, self._known(reading), self._row())
        elif isinstance(part, Case):
            part.show(reading, self._row())
        elif isinstance(part, Trust | Report):
            part.show(reading)

    def _known(self, reading: ConceptReading) -> str:
        """The concept in the menu where it was read, else the first that was."""
        names = reading.concepts.names
        return self.concept if self.concept in names else names[0]

    def _compare(self, part: Compared, reading: ConceptReading) -> None:
        """At once without intervals, then with them: drawing patients takes a moment."""
        mask = self.session.selection.mask
        beside = self.session.jobs.background and bool(mask.any())
        part.show(reading, mask, self.concept, intervals=not beside)
        if not beside:
            self.session.jobs.cancel(self._key)
            return

        def done(table: pd.DataFrame) -> None:
            if self.reading is reading and part.frame is not None:
                part.put(table, self.concept)

        self.session.jobs.submit(
            self._key, lambda job: reading.compare(mask), done, title="Intervals of concepts"
        )

    def _selected(self) -> None:
        if (
            self._live
            and self.reading is not None
            and self.question in ("concepts", "case", "units")
        ):
            self._fill(self.question)

    def _focused(self) -> None:
        if self._live and self.reading is not None and self.question in ("case", "units"):
            self._fill(self.question)

    def _mapped(self) -> None:
        """The card draws by the method of the session's map, where that is one of concepts."""
        if self._live and self.reading is not None and self.question == "case":
            self._fill(self.question)

    def _chosen(self) -> None:
        if not self._live or self.reading is None:
            return
        part = self.parts[self.question]
        if isinstance(part, Compared) and part.frame is not None:
            part.put(part.frame, self.concept)
        elif isinstance(part, Units):
            self._fill(self.question)

    def close(self) -> None:
        """Stop following, and drop the intervals under way. The session lives on."""
        key = getattr(self, "_key", None)
        if key is not None:
            self.session.jobs.cancel(key)
        for part in getattr(self, "parts", {}).values():
            close_whole(part)
        super().close()

    # -- what is said ----------------------------------------------------------------------
    def describe(self) -> str:
        """The question shown, in words: what was read, warnings, and the rows of its tables."""
        reading, known = self.reading, self.session.concepts
        if reading is None:
            said = [f"Concept panel: {self._why_not()}", *self._remarks]
            return "\n  ".join(
                said + ([] if known is None else lines(concept_tables.examples(known)))
            )
        if not self._live:
            return f"Concept panel: {self._source(reading)}"
        said = [
            f"Concept panel, {QUESTIONS[self.question].lower()}: {self._source(reading)}",
            *self._remarks,
            *self.parts[self.question].said(),
        ]
        if self.question in ("concepts", "units") and self.concept:
            said.append(f"Chosen: {self.concept}.")
        return "\n  ".join(said)

    def _draw(self, spec: Any) -> Any:
        from widgetkit import figures

        self._needed()
        kind = _FIGURES.get(self.question, "concepts")
        return getattr(figures, kind)(self.session, spec, **self._figure_options())

    def _figure_options(self) -> dict[str, Any]:
        if self.question == "case":
            return {"row": self._row(), "phases": self._phases}
        if self.question in ("concepts", "units"):
            return {"concept": self.concept or None}
        return {}

    def caption(self) -> str:
        """Plain sentences that say what the figure shows; nothing in it names a patient."""
        from widgetkit import figures

        kind: Any = _FIGURES.get(self.question, "concepts")
        return figures.caption(
            self.session, kind, extra=figures.concept_sentences(self.session, kind)
        )


def _wrap() -> widgets.Layout:
    return widgets.Layout(flex_flow="row wrap", align_items="center")
