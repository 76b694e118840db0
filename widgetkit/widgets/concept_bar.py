"""The bar of the ConceptPanel that names, keeps, renames, removes and chooses concepts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from widgetkit.concepts import ConceptSet
from widgetkit.errors import InvalidInput, near
from widgetkit.session.conceptual import patients_of
from widgetkit.widgets.association_charts import short
from widgetkit.widgets.controls import button, choice, mode_menu

if TYPE_CHECKING:
    import pandas as pd

    from widgetkit.session import Session

NOTHING = (
    "There are no concepts yet. Select tiles that show one, give it a name and press 'Save selection as "
    "concept', or session.set_concepts(wk.concepts.ConceptSet.from_table(...))."
)
_NONE = ("no concept yet", "")
#: In the menu of what is learned from: the selection; a column whose values are offered, if so few.
SELECTED, SPLIT, SPLITS_MOST = "selection", "split", 12


class ConceptBar(widgets.VBox):  # type: ignore[misc]
    """What is done to the session's concepts, and the one that is chosen.

    Parameters
    ----------
    session : Session
    guard : callable
        Wraps what buttons do, see ``Panel.guard``.
    pick : callable
        Selects the tiles in which a concept is seen.
    chosen : callable
        Told when another concept is chosen.
    """

    def __init__(
        self,
        session: Session,
        guard: Callable[[Callable[..., Any]], Callable[..., None]],
        pick: Callable[[str], None],
        chosen: Callable[[], None],
    ) -> None:
        self._session = session
        self._quiet = False
        self.name = widgets.Text(
            placeholder="name of a concept", tooltip="Name for a new concept, or a new name",
            layout=widgets.Layout(width="190px"),
        )  # fmt: skip
        self.others = widgets.Checkbox(
            value=False, description="all others lack it", indent=False,
            tooltip="Label the tiles that are not selected as tiles without the concept",
            layout=widgets.Layout(width="auto"),
        )  # fmt: skip
        keep = button(
            "Save selection as concept",
            "The selected tiles become examples of it",
            guard(self._save),
        )
        self._menu = choice("Concept", [_NONE], "", width="270px")
        self._mode = mode_menu()
        self._seen = button(
            "Select its tiles",
            "Select the tiles in which the concept is seen",
            guard(lambda: pick(self.concept)),
        )
        show = button(
            "Show its map", "Draw the maps of all views towards this concept", guard(self._map)
        )
        rename = button(
            "Rename", "Give the chosen concept the name in the field", guard(self._rename)
        )
        remove = button("Remove", "Remove the chosen concept", guard(self._remove))
        self._of_one = (self._menu, show, rename, remove)
        wrap = widgets.Layout(flex_flow="row wrap", align_items="center")
        super().__init__(
            [
                widgets.HBox([self.name, keep, self.others], layout=wrap),
                widgets.HBox(
                    [self._menu, self._seen, self._mode, show, rename, remove],
                    layout=widgets.Layout(flex_flow="row wrap", align_items="center"),
                ),
            ]
        )
        self._menu.observe(lambda _: None if self._quiet else chosen(), "value")

    @property
    def concept(self) -> str:
        """The concept in the menu; "" while there is none."""
        return str(self._menu.value)

    @concept.setter
    def concept(self, name: str) -> None:
        known = self.names
        if name not in known:
            raise InvalidInput(
                f"There is no concept {name!r}. {near(name, known) if known else NOTHING}".rstrip()
            )
        self._menu.value = name

    @property
    def names(self) -> list[str]:
        """In the menu."""
        return [value for _, value in self._menu.options if value]

    @property
    def mode(self) -> Any:
        """How tiles of a concept join the selection."""
        return self._mode.value

    def show(self, *, read: bool) -> None:
        """The concepts that there are now; ``read``: some of them were read."""
        known = self._session.concepts
        names = [] if known is None else list(known.names)
        before = self.concept
        self._quiet = True  # new options choose one of themselves first
        try:
            self._menu.options = [(short(name, 60), name) for name in names] or [_NONE]
            self._menu.value = before if before in names else (names[0] if names else "")
        finally:
            self._quiet = False
        for part in self._of_one:
            part.layout.display = "" if names else "none"
        for part in (self._seen, self._mode):
            part.layout.display = "" if read else "none"

    # -- what is done ----------------------------------------------------------------------
    def _save(self) -> None:
        session, name = self._session, self.name.value.strip()
        if not name:
            raise InvalidInput("Give the concept a name first.")
        selected = session.selection.mask
        if self.others.value and selected.any() and not selected.all():
            session.set_concepts(_with_both(session, name, selected))
        else:
            session.save_as_concept(name)
        self.name.value = ""
        self.concept = name

    def _rename(self) -> None:
        new = self.name.value.strip()
        if not new:
            raise InvalidInput("Write the new name into the field first.")
        self._session.rename_concept(self._needed(), new)
        self.name.value = ""
        self.concept = new

    def _remove(self) -> None:
        self._session.remove_concept(self._needed())

    def _map(self) -> None:
        known, name = self._session.concepts, self._needed()
        assert known is not None
        self._session.set_map("concept", known.number(name))

    def _needed(self) -> str:
        if not self.concept:
            raise InvalidInput(NOTHING)
        return self.concept


def _with_both(session: Session, name: str, shows: Any) -> ConceptSet:
    """The session's concepts with tiles that show one, all others said to lack it: one step of history."""
    known = session.concepts
    if known is not None:
        return known.with_examples(name, shows, without=~shows)
    patients = patients_of(session.store)
    return ConceptSet.from_examples(
        len(shows), {name: shows}, without={name: ~shows}, patients=patients
    )


def learnable(tiles: pd.DataFrame) -> list[tuple[str, str]]:
    """What can be learned from: all tiles, the selection, or one value of the column ``split``."""
    found = [("all labelled tiles", ""), ("the selected tiles", SELECTED)]
    if SPLIT in tiles.columns:
        values = [v for v in tiles[SPLIT].dropna().unique() if isinstance(v, str)]
        found += [(f"{SPLIT}: {short(v)}", f"{SPLIT} == {v!r}") for v in values[:SPLITS_MOST]]
    return found
