"""The questions of the ConceptPanel: each a column of charts and tables over one reading."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import numpy as np
import numpy.typing as npt

from widgetkit.figures.concept_pictures import verdict
from widgetkit.figures.concepts import contradicting, report_of, struggles_first
from widgetkit.widgets import (
    association_charts,
    charts,
    concept_card,
    concept_charts,
    concept_tables,
)
from widgetkit.widgets import concept_report_charts as report_charts
from widgetkit.widgets.controls import button, choice, escape, notices
from widgetkit.widgets.factor_tables import html, lines
from widgetkit.widgets.panel import close_whole

if TYPE_CHECKING:
    import pandas as pd

    from widgetkit.session import Session
    from widgetkit.session.concept_reading import ConceptCase, ConceptReading
    from widgetkit.widgets.association_charts import Chart
    from widgetkit.widgets.factor_tables import Cells

    Clicked = Callable[[int], None]

MEASURES = ("AUC", "average precision", "PPV", "sensitivity", "specificity")


class ChartBox(widgets.VBox):  # type: ignore[misc]
    """Room for one chart, which is changed in place where it keeps its traces."""

    _figure: Any = None

    def draw(self, chart: Chart | None, clicked: Clicked | None = None) -> None:
        """Show a chart, or none; ``clicked`` is told the ``customdata`` of what is hit."""
        before = self._figure
        if chart is not None and association_charts.refreshed(before, chart):
            return
        self._figure = made = None if chart is None else charts.figure_widget(*chart)
        if made is not None and clicked is not None:
            answer = _answer(clicked)
            for trace in made.data:
                if trace.customdata is not None:
                    trace.on_click(answer)
        self.children = () if made is None else (made,)
        if before is not None:  # off the page before it is closed: a closed chart cannot answer
            close_whole(before)


def _answer(clicked: Clicked) -> Callable[[Any, Any, Any], None]:
    def answer(trace: Any, points: Any, _state: Any) -> None:
        # plotly tells every trace of each click, those that were not hit as well
        if points.point_inds:
            clicked(int(np.asarray(trace.customdata)[points.point_inds[0]]))

    return answer


def _boxes(widget: Any) -> list[ChartBox]:
    if isinstance(widget, ChartBox):
        return [widget]
    return [box for child in getattr(widget, "children", ()) for box in _boxes(child)]


def table_box(height: str = "260px") -> widgets.HTML:
    return widgets.HTML(layout=widgets.Layout(max_height=height, overflow="auto"))


class Part(widgets.VBox):  # type: ignore[misc]
    """One question. ``frame`` is what "Save table" writes, ``cells`` the same as text."""

    frame: pd.DataFrame | None = None
    reason = ""

    def __init__(self, children: Sequence[Any]) -> None:
        super().__init__(list(children))

    def leave(self) -> None:
        """Give up the charts: one that was off the page no longer follows (see :mod:`.charts`)."""
        for box in _boxes(self):
            box.draw(None)

    def cells(self) -> tuple[Cells, ...]:
        return ()

    def said(self) -> list[str]:
        """Lines for :meth:`ConceptPanel.describe`."""
        return [line for cells in self.cells() for line in lines(cells)] or [self.reason]


class Compared(Part):
    """Relevance and share of each concept in the selection, beside the rest."""

    def __init__(self, clicked: Callable[[str], None]) -> None:
        self._clicked = clicked
        self._alerts, self._table = widgets.HTML(), table_box()
        self._chart = ChartBox()
        self.warnings: list[str] = []
        self._what = "all tiles"
        super().__init__([self._alerts, self._chart, self._table])

    def show(
        self, reading: ConceptReading, mask: npt.NDArray[np.bool_], chosen: str, *, intervals: bool
    ) -> None:
        """Compare the tiles of ``mask``, or describe all while none is."""
        some = bool(mask.any())
        self._what = "selection" if some else "all tiles"
        whole = mask if some else np.ones(len(mask), np.bool_)
        self.warnings = reading.warnings(whole)
        self.put(reading.compare(whole, intervals=intervals), chosen)

    def put(self, table: pd.DataFrame, chosen: str) -> None:
        """A comparison of the same tiles, with its intervals for example."""
        self.frame = table
        against = self.contradicting()
        note = str(table.attrs.get("note", ""))
        self._alerts.value = notices(self.warnings, [self.sentence(), *([note] if note else [])])
        self._chart.draw(concept_charts.concepts(table, against, chosen, self._what), self._hit)
        self._table.value = "".join(map(html, self.cells()))

    def contradicting(self) -> list[bool]:
        """(F,) concepts that mostly contradict the class where they are seen, in the order of the rows."""
        return [] if self.frame is None else contradicting(self.frame)

    def sentence(self) -> str:
        """Of how many tiles it is."""
        if self.frame is None:
            return ""
        inside, rest = (int(self.frame.attrs[f"tiles_{side}"]) for side in ("in", "rest"))
        if not rest:
            return f"All {inside:,} tiles; select some to compare them with the rest."
        return f"{inside:,} selected tiles against the other {rest:,}."

    def cells(self) -> tuple[Cells, ...]:
        if self.frame is None:
            return ()
        return (concept_tables.compared(self.frame, self.contradicting(), self._what),)

    def said(self) -> list[str]:
        return [self.sentence(), *(f"Note: {text}" for text in self.warnings), *super().said()]

    def _hit(self, place: int) -> None:
        if self.frame is not None and place < len(self.frame):
            self._clicked(str(self.frame["concept"].iloc[place]))


class Units(Part):
    """Activations of the units that separate tiles with the concept best from those without."""

    def __init__(self) -> None:
        self._chart, self._table = ChartBox(), table_box()
        super().__init__([self._chart, self._table])

    def show(self, reading: ConceptReading, chosen: str, case: int | None) -> None:
        self.frame = reading.units
        mine = reading.units[reading.units["concept"] == chosen]
        rows = mine.to_dict("records")
        self.reason = ""
        chart = None
        if not rows:
            self.reason = (
                f"No unit can be compared for {chosen!r}: it has no labelled tile on one side."
            )
        elif reading.activations is None:
            self.reason = "The activations that were read are not at hand."
        else:
            found = [reading.distribution(chosen, int(row["unit"])) for row in rows]
            own = None
            if case is not None:
                own = [float(reading.activations[case, int(row["unit"])]) for row in rows]
            chart = report_charts.units(rows, found, own)
        self._chart.draw(chart)
        why = f"<i>{escape(self.reason)}</i>" if self.reason else ""
        self._table.value = why + "".join(map(html, self.cells()))

    def cells(self) -> tuple[Cells, ...]:
        return () if self.frame is None else (concept_tables.units(self.frame),)


class Case(Part):
    """The card of one tile."""

    def __init__(
        self, session: Session, phases: Sequence[str] | None, remarks: Sequence[str],
        step: Callable[[int], None], wrap: Callable[[Callable[..., Any]], Callable[..., None]],
    ) -> None:  # fmt: skip
        self._session, self._phases, self._remarks = session, phases, list(remarks)
        self.case: ConceptCase | None = None
        self._upper, self._lower = widgets.HTML(), widgets.HTML()
        self._classes, self._concepts = ChartBox(), ChartBox()
        both = widgets.GridBox(
            [self._classes, self._concepts],
            layout=widgets.Layout(
                grid_template_columns="repeat(auto-fit, minmax(min(100%, 360px), 1fr))",
                grid_gap="8px",
            ),
        )
        walk = widgets.HBox(
            [
                button(
                    "Previous", "The tile before this one, of the selection", wrap(lambda: step(-1))
                ),
                button("Next", "The tile after this one, of the selection", wrap(lambda: step(1))),
            ]
        )
        self._table = table_box()
        super().__init__([walk, self._upper, both, self._lower, self._table])

    def show(self, reading: ConceptReading, row: int | None) -> None:
        """The card of a tile; of none, how to choose one."""
        if row is None:
            self.case, self.frame = None, None
            self.reason = "Select tiles, or click one in the gallery, to see its card."
            self._upper.value, self._lower.value = f"<i>{escape(self.reason)}</i>", ""
            self._classes.draw(None)
            self._concepts.draw(None)
            self._table.value = ""
            return
        case = reading.case(row)
        self.case, self.frame, self.reason = case, case.concepts, ""
        self._upper.value = concept_card.upper(self._session, case, self._phases, self._remarks)
        ranked = case.probabilities
        self._classes.draw(
            concept_charts.probabilities([n for n, _ in ranked], [p for _, p in ranked], case.truth)
            if ranked
            else None
        )
        kept = case.concepts[~case.concepts["excluded"].to_numpy(bool)]
        self._concepts.draw(concept_charts.case(kept) if len(kept) else None)
        self._lower.value = concept_card.lower(self._session, case)
        self._table.value = "".join(map(html, self.cells()))

    def cells(self) -> tuple[Cells, ...]:
        return () if self.frame is None else (concept_tables.case(self.frame),)

    def said(self) -> list[str]:
        if self.case is None:
            return [self.reason]
        return [
            *verdict(self.case),
            *(f"Note: {text}" for text in self.case.warnings),
            *super().said(),
        ]


class Trust(Part):
    """Whether explanations that do not fit the class find wrong predictions."""

    def __init__(self) -> None:
        self._risk, self._quality = ChartBox(), ChartBox()
        self._sentence, self._table = widgets.HTML(), table_box()
        self._cells: tuple[Cells, ...] = ()
        super().__init__([self._sentence, self._risk, self._quality, self._table])

    def show(self, reading: ConceptReading) -> None:
        self.frame = reading.quality
        found, table = reading.detection, reading.quality
        self.reason = ""
        if found is None and table is None:
            self.reason = (
                "Nothing to say about trust: it needs predictions, tiles whose class is known, concepts that "
                "are labelled, and which classes show which concepts."
            )
        self._sentence.value = escape(self.reason or self.sentence(reading))
        self._risk.draw(None if found is None else report_charts.risk(found))
        self._quality.draw(None if table is None else report_charts.quality(table))
        parts = []
        if table is not None:
            parts.append(concept_tables.quality(table))
        if found is not None:
            parts.append(concept_tables.detection(found.table))
        self._cells = tuple(parts)
        self._table.value = "".join(map(html, parts))

    @staticmethod
    def sentence(reading: ConceptReading) -> str:
        """Which tiles it is about."""
        judged = reading.judged
        wrong = 0 if reading.correct is None else int((judged & ~reading.correct).sum())
        learned = int((judged & reading.learned).sum())
        apart = "none of them learned from" if not learned else f"{learned:,} of them learned from"
        return f"Of {int(judged.sum()):,} labelled tiles, {wrong:,} misclassified, {apart}."

    def cells(self) -> tuple[Cells, ...]:
        return self._cells


class Report(Part):
    """How well each concept is read from the activations, the struggles first."""

    def __init__(self, wrap: Callable[[Callable[..., Any]], Callable[..., None]]) -> None:
        self._reading: ConceptReading | None = None
        self._measure = choice("Measure", MEASURES, "AUC", width="220px")
        self._chart, self._table = ChartBox(), table_box("320px")
        self._words = widgets.HTML()
        self._measure.observe(lambda _: wrap(self._redraw)(), "value")
        super().__init__([self._measure, self._words, self._chart, self._table])

    @property
    def measure(self) -> str:
        return str(self._measure.value)

    def show(self, reading: ConceptReading) -> None:
        self._reading, self.frame = reading, reading.report
        self._redraw()

    def _redraw(self) -> None:
        reading = self._reading
        if reading is None:
            return
        hard = report_of(reading.report).struggles()
        names = ", ".join(hard)
        self._words.value = escape(
            f"Not read better than chance or a control: {names}." if hard else ""
        )
        self._chart.draw(
            report_charts.report(
                struggles_first(reading.report, self.measure, hard), self.measure, hard
            )
        )
        self._table.value = "".join(map(html, self.cells()))

    def cells(self) -> tuple[Cells, ...]:
        if self.frame is None:
            return ()
        hard = report_of(self.frame).struggles()
        order = [str(name) for name in struggles_first(self.frame, "AUC", hard)["concept"]]
        return (concept_tables.report(self.frame, order, hard),)
