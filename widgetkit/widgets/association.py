"""AssociationPanel: which columns go with the clusters, or with what is selected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import numpy as np

from widgetkit.errors import InvalidInput
from widgetkit.session.joined import KEYS
from widgetkit.widgets import association_charts as drawn
from widgetkit.widgets import charts
from widgetkit.widgets.controls import button, choice, escape, notices
from widgetkit.widgets.factor_tables import Cells, html
from widgetkit.widgets.panel import Panel, close_whole

if TYPE_CHECKING:
    import pandas as pd

    from widgetkit.analysis import Association
    from widgetkit.widgets.base import SessionLike

OFS = (("clusters", "clusters"), ("selection against the rest", "selection"))
TABLES = (("tests", "tests"), ("means and shares", "means"), ("pairs of clusters", "pairs"))
#: Letters of a variable's name in the table.
_NAME_MOST = 60
_numbers = count()


class AssociationPanel(Panel):
    """Columns of the tiles, or of your own table, tested against the clusters or the selection.

    Bars are variables, smallest q first, with intervals; a click on one, or the menu, shows it in each
    cluster: boxes and points, or shares, with means and their intervals, in the clusters' colours. All
    follows the clustering and the selection. Patients, where they are known, count once.

    Parameters
    ----------
    source : Session, ActivationStore or path
        A store gets a session of its own.
    table : DataFrame or mapping of columns, optional
        Instead of the tiles' own columns: one row a tile id, patient or slide.
    on : str, optional
        What the table is joined by.
    columns : sequence of str, optional
        By default every column that does not say who or where a tile is.
    kinds, tests : mapping, optional
        What a column is, and its test; see :func:`widgetkit.analysis.associate`.
    """

    figure_kind = "association"

    def __init__(
        self,
        source: SessionLike,
        *,
        table: pd.DataFrame | Mapping[str, Any] | None = None,
        on: str | None = None,
        columns: Sequence[str] | None = None,
        kinds: Mapping[str, Any] | None = None,
        tests: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(source)
        session = self.session
        self._key = (
            f"associate {next(_numbers)}"  # two panels must not cancel each other's questions
        )
        self._joined = None if table is None else session.join(table, on)
        self._columns = None if columns is None else tuple(columns)
        self._kinds, self._tests = dict(kinds or {}), dict(tests or {})
        self._found: Association | None = None
        self._reason = self._wanted = ""
        self._live = True
        self._quiet = False
        self._of = choice("Compare", OFS, "clusters", width="230px")
        frame = session.store.tiles if self._joined is None else self._joined.frame
        origins = [name for name in KEYS[1:] if name in frame.columns and frame[name].nunique() > 1]
        self._by = choice(
            "Count",
            [("usual", ""), *((f"each {name} once", name) for name in origins), ("each tile", "tile")],
            "",
            tip="What counts as independent: tiles of one patient or slide are alike",
            width="190px",
        )  # fmt: skip
        self._variable = choice(
            "Variable", [("none", "")], "", tip="The variable shown", width="260px"
        )
        self._pairs_button = button(
            "Pairs", "Compare each pair of clusters in this variable", self.guard(self._show_pairs)
        )
        self._content = choice("Save", TABLES, "tests", tip="Table to save", width="190px")
        self._file = widgets.Text(
            "association.csv",
            tooltip="File to write, .csv or .parquet",
            layout=widgets.Layout(width="150px"),
        )
        self._save = button(
            "Save table", "Write the table beside the notebook", self.guard(self._write)
        )
        self._said = widgets.HTML()
        self._ranking, self._one = widgets.VBox(), widgets.VBox()
        self._table = widgets.HTML(layout=widgets.Layout(max_height="260px", overflow="auto"))
        self._pairs = widgets.HTML(layout=widgets.Layout(max_height="200px", overflow="auto"))
        self._message = widgets.HTML()
        wrap = widgets.Layout(flex_flow="row wrap")
        self._shown = [
            self._ranking,
            widgets.HBox([self._variable, self._pairs_button], layout=wrap),
            self._one,
            self._pairs,
            self._table,
            widgets.HBox([self._content, self._file, self._save, self._message], layout=wrap),
        ]
        self.children = [
            widgets.HBox([self._of, self._by], layout=wrap),
            self._said,
            charts.Fit(),
            *self._shown,
            self.jobs_strip,
            self.error_strip,
        ]
        self._of.observe(lambda _: self._ask(), "value")
        self._by.observe(lambda _: self._ask(), "value")
        self._variable.observe(lambda _: self._chosen(), "value")
        self.listen("clustering", lambda: self._changed("clusters"))
        self.listen("selection", lambda: self._changed("selection"))
        self._ask()

    # -- what is asked ---------------------------------------------------------------------
    @property
    def of(self) -> str:
        """What is compared: "clusters", or "selection" against the rest."""
        return str(self._of.value)

    @of.setter
    def of(self, of: str) -> None:
        known = [value for _, value in OFS]
        if of not in known:
            raise InvalidInput(f"of={of!r}: choose one of {', '.join(known)}.")
        self._of.value = of

    @property
    def variable(self) -> str:
        """The variable shown; "" while there is none. Set before there is an answer, it is shown then."""
        return str(self._variable.value)

    @variable.setter
    def variable(self, name: str) -> None:
        known = [value for _, value in self._variable.options if value]
        if self._found is None:
            known = list(self._columns or self.session.variables(self._joined))
        if name not in known:
            raise InvalidInput(
                f"There is no variable {name!r}; there are {', '.join(known) or 'none'}."
            )
        if self._found is None:
            self._wanted = name
        else:
            self._variable.value = name

    @property
    def live(self) -> bool:
        """Whether it follows clusters and selection; a host switches it off while nobody looks."""
        return self._live

    @live.setter
    def live(self, live: bool) -> None:
        self._live, before = bool(live), self._live
        if self._live and not before:
            self._ask()

    @property
    def association(self) -> Association | None:
        """What is shown; None while there is nothing to show."""
        return self._found

    def _changed(self, of: str) -> None:
        if self._live and of == self.of:
            self._ask()

    def _ask(self) -> None:
        if not self._live:
            return
        session = self.session
        try:
            job = session.associate(
                self.of,  # type: ignore[arg-type]
                self._columns,
                table=self._joined,
                kinds=self._kinds,
                tests=self._tests,
                by=self._by.value or None,
                on_result=self._show,
                key=self._key,
            )
        except InvalidInput as problem:  # nothing to compare, or no column: said in its place
            session.jobs.cancel(self._key)
            self._clear(str(problem))
        else:
            if self._found is None and job is not None and job.active:
                self._clear("Being computed.")

    # -- what is seen ----------------------------------------------------------------------
    def _clear(self, reason: str) -> None:
        if self._found is not None:
            self._wanted = self.variable  # comes back with the next answer
        self._found, self._reason = None, reason
        for box in (self._ranking, self._one):
            _put(box, None)
        for part in (self._table, self._pairs):
            part.value = ""
        self._said.value = f"<i>{escape(reason)}</i>"
        for part in self._shown:
            part.layout.display = "none"

    def _show(self, found: Association) -> None:
        self._found, self._reason = found, ""
        for part in self._shown:
            part.layout.display = ""
        ranked = [str(name) for name in found.ranked()["variable"]]
        before, self._wanted = self._wanted or self.variable, ""
        self._quiet = True  # new options choose one of themselves first
        try:
            self._variable.options = [(drawn.short(name, _NAME_MOST), name) for name in ranked]
            self._variable.value = before if before in ranked else ranked[0]
        finally:
            self._quiet = False
        self._said.value = notices(found.warnings, found.sentences)
        self._table.value = html(tests_table(found))
        self._redraw()

    def _chosen(self) -> None:
        if not self._quiet and self._found is not None:
            self._redraw()

    def _redraw(self) -> None:
        found = self._found
        assert found is not None
        self._pairs.value = self._message.value = ""
        self._pairs_button.disabled = len(found.names) < 3
        chart = drawn.ranking(found, self.variable)
        if not (self._ranking.children and drawn.refreshed(self._ranking.children[0], chart)):
            figure = charts.figure_widget(*chart)
            figure.data[0].on_click(lambda _, points, __: self._clicked(points))
            _put(self._ranking, figure)
        one = drawn.variable(found, self.variable, self._look(found))
        if one is None:
            _put(self._one, None)
        elif not (self._one.children and drawn.refreshed(self._one.children[0], one)):
            _put(self._one, charts.figure_widget(*one))

    def _look(self, found: Association) -> drawn.Look:
        return drawn.Look.of(found, self.session.clustering)

    def _clicked(self, points: Any) -> None:
        if points.point_inds and self._found is not None:
            self.guard(self._choose)(int(points.point_inds[0]))

    def _choose(self, place: int) -> None:
        assert self._found is not None
        self.variable = str(self._found.ranked()["variable"].iloc[place])

    # -- what is done ----------------------------------------------------------------------
    def _show_pairs(self) -> None:
        found = self._needed()
        self._pairs.value = html(pairs_table(found, self.variable)) if self.variable else ""

    def _write(self) -> None:
        from widgetkit.slides.export_tables import write_table

        found = self._needed()
        frame = {
            "tests": lambda: found.ranked(),
            "means": lambda: found.means,
            "pairs": lambda: found.pairs,
        }[self._content.value]()
        path = write_table(Path(self._file.value.strip()), frame)
        self._message.value = f"Saved {escape(path.name)}."

    def _needed(self) -> Association:
        if self._found is None:
            raise InvalidInput(f"There is nothing to save or compare. {self._reason}".rstrip())
        return self._found

    def close(self) -> None:
        """Stop following, and drop the question under way. The session lives on."""
        key = getattr(self, "_key", None)
        if key is not None:
            self.session.jobs.cancel(key)
        super().close()

    # -- what is said ----------------------------------------------------------------------
    def describe(self) -> str:
        """What is compared, what was found in sentences, and the tests, smallest q first."""
        found = self._found
        if found is None:
            return f"Association panel: {self._reason or 'not computed yet.'}"
        said = [
            f"Association panel: {found.sentences[0]}",
            *(f"Note: {text}" for text in found.warnings),
            *found.sentences[1:],
            *(_row_line(row) for row in found.ranked().head(24).to_dict("records")),
        ]
        if self.variable:
            said.append(f"Shown: {self.variable}.")
        return "\n  ".join(said)

    def _figure_options(self) -> dict[str, Any]:
        return {"of": self.of, "variable": self.variable or None, "found": self._needed()}

    def _caption_options(self) -> dict[str, Any]:
        return {} if self._found is None else {"extra": self._found.sentences[:4]}


def _put(box: widgets.VBox, figure: Any) -> None:
    before, box.children = box.children, (() if figure is None else (figure,))
    for old in before:  # off the page before it is closed: a closed chart cannot answer
        close_whole(old)


# -- words -------------------------------------------------------------------------------
def tests_table(found: Association) -> Cells:
    """The tests as a person reads them, smallest q first; the strong row is none."""
    rows = found.ranked().to_dict("records")
    return Cells(
        ("variable", "kind", "test", f"{found.unit}s", "missing", "p", "q", "effect", "note"),
        tuple(
            (
                drawn.short(row["variable"], _NAME_MOST),
                str(row["kind"]),
                str(row["test"]),
                f"{row['n']:,}",
                f"{row['missing']:,}" if row["missing"] else "",
                drawn.probability(row["p"]),
                drawn.probability(row["q"]),
                drawn.effect(row),
                str(row["note"]),
            )
            for row in rows
        ),
    )


def pairs_table(found: Association, variable: str) -> Cells:
    """Pairs of clusters in one variable."""
    rows = found.pairs_of(variable).to_dict("records")
    return Cells(
        ("clusters", "test", "p", "corrected", "effect"),
        tuple(
            (
                f"{row['a']} \N{EN DASH} {row['b']}",
                str(row["test"]),
                drawn.probability(row["p"]),
                drawn.probability(row["p_adjusted"]),
                f"{row['effect_name']} {drawn.number(row['effect'])}" if np.isfinite(row["effect"]) else "",
            )
            for row in rows
        ),
    )  # fmt: skip


def _row_line(row: Mapping[Any, Any]) -> str:
    if not np.isfinite(row["p"]):
        return f"{row['variable']}: {row['note']}"
    said = (
        f"{row['variable']}: {row['test']}, n {row['n']:,}, p {drawn.probability(row['p'])}, "
        f"q {drawn.probability(row['q'])}, {drawn.effect(row)}"
    )
    return f"{said}. {row['note']}".rstrip()
