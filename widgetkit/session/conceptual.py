"""Concepts of the session: which tiles are examples of what, changed in steps that undo takes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from widgetkit.concepts import ConceptSet
from widgetkit.concepts._given import check_name, patient_codes
from widgetkit.concepts.concept_set import check_fits
from widgetkit.errors import InvalidInput, TooFew
from widgetkit.session import concept_places as places
from widgetkit.session.associating import Associating
from widgetkit.session.mapspec import layer_with_maps
from widgetkit.session.selection import Selection

if TYPE_CHECKING:
    from widgetkit.store import ActivationStore

#: Rows up to which a line of history lists them instead of holding packed bits.
_LISTED = 20


class Conceptual(Associating):
    """The part of :class:`Session` that holds concepts."""

    @property
    def concepts(self) -> ConceptSet | None:
        """Concepts and their examples, or None while there are none."""
        return self._now.concepts

    def set_concepts(self, concepts: ConceptSet | None) -> None:
        """Take over a set of concepts, or none.

        Raises
        ------
        InvalidInput
            It is of another number of tiles.
        """
        if concepts is None:
            self._set_concepts(None, "No concepts", "set_concepts(None)")
            return
        if not isinstance(concepts, ConceptSet):
            raise InvalidInput(
                f"Concepts are a ConceptSet; got {type(concepts).__name__}. Make one with "
                "wk.concepts.ConceptSet.from_table or from_examples."
            )
        check_fits(concepts, len(self.store))
        code = f"set_concepts(wk.concepts.ConceptSet.decode({concepts.encode()!r}))"
        self._set_concepts(concepts, f"Concepts: {_listed(concepts)}", code)

    def save_as_concept(
        self, name: str | None = None, rows: Selection | npt.ArrayLike | None = None
    ) -> str:
        """Make tiles examples of a concept.

        Nothing is said about the other tiles: nobody looked at them. A concept that is there already
        gets these examples beside its own.

        Parameters
        ----------
        name : str, optional
            By default "concept 1", "concept 2" and so on, the first that is free.
        rows : Selection, (m,) int or (n,) bool, optional
            By default the selection.

        Returns
        -------
        str
            The name.

        Raises
        ------
        TooFew
            No tile is given or selected.
        InvalidInput
            A row outside the store, or a name that is none.
        """
        n = len(self.store)
        chosen = self.selection if rows is None else selected(rows, n)
        if not chosen.count:
            raise TooFew("No tile is selected: select the tiles that show the concept first.")
        now = self.concepts
        found = _free(now) if name is None else check_name(name)
        if now is None:
            made = ConceptSet.from_examples(
                n, {found: chosen.rows}, patients=patients_of(self.store)
            )
        else:
            made = now.with_examples(found, chosen.rows)
        self._set_concepts(
            made,
            f"Concept {found}: {chosen.count} tile{'' if chosen.count == 1 else 's'}",
            f"save_as_concept({found!r}, {_code_of(chosen)})",
        )
        return found

    def rename_concept(self, name: str, to: str) -> None:
        """Give a concept another name; UnknownName when there is none of that name."""
        made = self._need_concepts().renamed(name, to)
        self._set_concepts(made, f"Concept {name} is {to}", f"rename_concept({name!r}, {to!r})")

    def remove_concept(self, name: str) -> None:
        """Remove a concept and all that was said about it."""
        now = self._need_concepts()
        now.number(name)
        made = now.without(name) if len(now) > 1 else None
        self._set_concepts(made, f"Without concept {name}", f"remove_concept({name!r})")

    def keep_apart(self, first: str, second: str, apart: bool = True) -> None:
        """Say that two concepts exclude one another, or no longer do.

        Of two such that are seen in a tile, the weaker is left out.
        """
        made = self._need_concepts().with_apart(first, second, apart)
        said = "exclude one another" if apart else "go together"
        code = f"keep_apart({first!r}, {second!r}{'' if apart else ', False'})"
        self._set_concepts(made, f"{first} and {second} {said}", code)

    def mark_region(
        self,
        concept: str | None,
        row: int,
        region: npt.ArrayLike | tuple[int, int, int, int] | None,
    ) -> str:
        """Say where in a tile a concept is; the tile becomes an example of it.

        Parameters
        ----------
        concept : str or None
            May be new; None is a new one, "concept 1" and so on, the first that is free.
        row : int
        region : bool array, (x0, y0, x1, y1), or None
            Cells of the layer's grid, (h, w) or (d, h, w), or pixels of the tile's image; or a box of cells
            of the grid, whose upper ends are not in it. None removes the region.

        Returns
        -------
        str
            The concept's name.

        Raises
        ------
        InvalidInput
            Another shape, an empty region, or no such row.
        """
        n = len(self.store)
        now = self.concepts
        concept = _free(now) if concept is None else concept
        if region is None:
            made, literal = self._need_concepts().with_region(concept, row, None), "None"
        else:
            mask = places.mask_of(self.store, layer_with_maps(self.store, self.layer), region)
            now = now or ConceptSet.from_examples(
                n, {check_name(concept): []}, patients=patients_of(self.store)
            )
            made = now.with_region(concept, row, mask)
            literal = (
                f"wk.concepts.Region({mask.shape!r}, {made.regions[concept][int(row)].bits!r}).mask"
            )
        self._set_concepts(
            made,
            f"{concept} in tile {row}"
            if region is not None
            else f"No place of {concept} in tile {row}",
            f"mark_region({concept!r}, {int(row)}, {literal})",
        )
        return concept

    # -- inside --------------------------------------------------------------------------
    def _need_concepts(self) -> ConceptSet:
        now = self.concepts
        if now is None:
            raise InvalidInput(
                "There are no concepts yet. Select tiles and session.save_as_concept(name), or "
                "session.set_concepts(...)."
            )
        return now

    def _set_concepts(self, concepts: ConceptSet | None, title: str, code: str) -> None:
        self._change(title, f"session.{code}", concepts=concepts)


def patients_of(store: ActivationStore) -> npt.NDArray[np.int32] | None:
    """(n,) numbers of the patients of a store's tiles, or None where nobody says."""
    tiles = store.tiles
    return patient_codes(tiles["patient"]) if "patient" in tiles.columns else None


def selected(rows: Selection | npt.ArrayLike, n: int) -> Selection:
    """A selection from one, from row numbers or from one bool a tile; InvalidInput where it does not fit."""
    if isinstance(rows, Selection):
        if rows.n != n:
            raise InvalidInput(f"The selection is of {rows.n} tiles; the store has {n}.")
        return rows
    array = np.asarray(rows)
    if array.dtype == np.bool_:
        if array.shape != (n,):
            raise InvalidInput(f"A mask is one bool a tile, ({n},); got shape {array.shape}.")
        return Selection.from_mask(array)
    return Selection.from_rows(n, array.reshape(-1))


def _free(now: ConceptSet | None) -> str:
    taken = () if now is None else now.names
    return next(name for i in range(1, len(taken) + 2) if (name := f"concept {i}") not in taken)


def _code_of(chosen: Selection) -> str:
    if chosen.count <= _LISTED:
        return repr(chosen.rows.tolist())
    return f"wk.Selection.decode({chosen.encode()!r})"


def _listed(concepts: ConceptSet) -> str:
    shown = ", ".join(concepts.names[:4])
    return shown if len(concepts) <= 4 else f"{shown} and {len(concepts) - 4} more"
