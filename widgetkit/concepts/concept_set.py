"""Concepts and their examples among the tiles of a store: one value, and how it is changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from widgetkit.concepts import _keeping
from widgetkit.concepts._given import (
    Codes32,
    Labels,
    check_name,
    checked_labels,
    checked_pairs,
    checked_patients,
    checked_regions,
    frozen,
    patient_codes,
)
from widgetkit.concepts._labels import ClassConcepts, Examples, Rows, concept_number, rows_of
from widgetkit.concepts.region import Region
from widgetkit.errors import InvalidInput, UnknownName, near

if TYPE_CHECKING:
    import pandas as pd

    from widgetkit.store import ActivationStore

#: Kind of derived result.
KIND = "concept set"
MAX_CONCEPTS = 200
MAX_CLASSES = 1000

Shown = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ConceptSet:
    """Which tiles are examples of which concepts. Edits return new sets; equal ones compare equal.

    Attributes
    ----------
    names : (F,) tuple of str
        Free text: the views escape it.
    labels : (n, F) int8, read-only
        1 the tile shows the concept, 0 it does not, -1 nobody looked.
    patients : (n,) int32, read-only, or None
        A number for each tile's patient, and never who it is. None: each tile its own; a session reads the
        concepts with the patients of its store, where that has a column ``patient``.
    classes : (K,) tuple of str
    class_concepts : (K, F) bool, read-only, or None
        Which classes show which concept. What no class shows, such as a scanner's line, is a column of
        False. None: nobody said.
    apart : tuple of (str, str)
        Pairs that exclude one another: of two that are seen in a tile, the weaker is left out.
    regions : mapping of concept to mapping of row to Region
        Places brushed in tiles.

    Raises
    ------
    InvalidInput
        Labels that are not 1, 0 or -1, names that are no names or come twice, lengths that differ.
    UnknownName
        A pair or a region of a concept that is none of these.
    """

    names: tuple[str, ...]
    labels: Labels = field(repr=False)
    patients: Codes32 | None = field(default=None, repr=False)
    classes: tuple[str, ...] = ()
    class_concepts: Shown | None = field(default=None, repr=False)
    apart: tuple[tuple[str, str], ...] = ()
    regions: Mapping[str, Mapping[int, Region]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        names = tuple(check_name(name) for name in self.names)
        if not 1 <= len(names) <= MAX_CONCEPTS or len(set(names)) < len(names):
            raise InvalidInput(
                f"A set holds 1 to {MAX_CONCEPTS} concepts, each named once; got {len(names)}, "
                f"{len(set(names))} different."
            )
        labels = checked_labels(self.labels, names)
        put = object.__setattr__
        put(self, "names", names)
        put(self, "labels", labels)
        put(self, "patients", checked_patients(self.patients, len(labels)))
        self._check_classes()
        put(self, "apart", checked_pairs(self.apart, names))
        put(self, "regions", checked_regions(self.regions, names, len(labels)))

    def _check_classes(self) -> None:
        classes = tuple(check_name(name, "class") for name in self.classes)
        if len(set(classes)) < len(classes) or len(classes) > MAX_CLASSES:
            raise InvalidInput(
                f"At most {MAX_CLASSES} classes, each named once; got {classes!r:.200}."
            )
        object.__setattr__(self, "classes", classes)
        if self.class_concepts is None:
            return
        shown = ClassConcepts.of(self.class_concepts, self.names, classes or None)
        if not classes:
            named = tuple(check_name(str(name), "class") for name in shown.classes)
            object.__setattr__(self, "classes", named)
        object.__setattr__(self, "class_concepts", frozen(shown.shown, np.bool_))

    # -- making one ----------------------------------------------------------------------
    @classmethod
    def from_table(
        cls,
        table: pd.DataFrame,
        names: Sequence[str],
        *,
        labelled: str | npt.ArrayLike | None = None,
        patient: str | None = "patient",
        class_concepts: object = None,
        classes: Sequence[str] | None = None,
        apart: Iterable[tuple[str, str]] = (),
    ) -> ConceptSet:
        """From columns of a table, one row a tile, such as ``store.tiles``.

        Parameters
        ----------
        table : (n, ...) DataFrame
        names : sequence of str
            Columns of 1 or True, 0 or False, and missing values where nobody looked.
        labelled : str or (n,) bool, optional
            Tiles that somebody looked at, or the column that says so; the others have no label.
        patient : str or None
            Column of the patients; passed over where there is none. Tiles without a patient are
            taken for tiles of one and the same.
        class_concepts : (K, F), or table with classes as rows and concepts as columns, optional
        classes : sequence of str, optional
            Names of its rows, where it is no table.
        apart : pairs of str
        """
        columns = list(map(str, table.columns))
        for name in [*names, *([labelled] if isinstance(labelled, str) else [])]:
            if name not in columns:
                raise UnknownName(f"The table has no column {name!r}. {near(str(name), columns)}")
        found = Examples.of(table[list(names)], len(table), list(names))
        known = found.known
        if labelled is not None:
            looked = np.asarray(table[labelled] if isinstance(labelled, str) else labelled)
            if looked.shape != (len(table),) or looked.dtype != np.bool_:
                raise InvalidInput(
                    f"labelled must be one bool a tile, ({len(table)},); got {looked.dtype} of shape "
                    f"{looked.shape}."
                )
            known = known & looked[:, None]
        labels = np.where(known, found.present.astype(np.int8), np.int8(-1))
        owners = table[patient] if patient is not None and patient in columns else None
        return cls(found.names, labels, None if owners is None else patient_codes(owners))._with(
            class_concepts, classes, apart
        )

    @classmethod
    def from_examples(
        cls,
        n: int,
        examples: Mapping[str, npt.ArrayLike],
        *,
        without: Mapping[str, npt.ArrayLike] | None = None,
        patients: npt.ArrayLike | None = None,
        class_concepts: object = None,
        classes: Sequence[str] | None = None,
        apart: Iterable[tuple[str, str]] = (),
    ) -> ConceptSet:
        """From row numbers, or (n,) bool, of the tiles that show each concept.

        Parameters
        ----------
        n : int
            Tiles of the store.
        examples : mapping of str to (m,) int or (n,) bool
        without : the same, optional
            Tiles that somebody looked at and that do not show the concept.
        patients : (n,), optional
            Patient of each tile: any values, of which only numbers are kept.
        class_concepts, classes, apart
            As of :meth:`from_table`.
        """
        found = Examples.of(dict(examples), n)
        labels = np.where(found.present, np.int8(1), np.int8(-1))
        made = cls(found.names, labels, None if patients is None else patient_codes(patients))
        for name, rows in (without or {}).items():
            made = made.with_examples(name, [], without=rows)
        return made._with(class_concepts, classes, apart)

    def _with(
        self,
        class_concepts: object,
        classes: Sequence[str] | None,
        apart: Iterable[tuple[str, str]],
    ) -> ConceptSet:
        made = self
        if class_concepts is not None:
            made = made.with_class_concepts(class_concepts, classes)
        for first, second in apart:
            made = made.with_apart(first, second)
        return made

    # -- reading it ----------------------------------------------------------------------
    def __len__(self) -> int:
        """Number of concepts."""
        return len(self.names)

    @property
    def n(self) -> int:
        """Tiles of the store."""
        return len(self.labels)

    @property
    def Y(self) -> npt.NDArray[np.float64]:
        """(n, F) 1, 0, or NaN where nobody looked: what the estimators of the room learn from."""
        return np.where(self.labels < 0, np.nan, self.labels.astype(np.float64))

    @cached_property
    def counts(self) -> npt.NDArray[np.int64]:
        """(F, 2) tiles that show each concept, and that do not."""
        return np.stack([(self.labels == value).sum(axis=0) for value in (1, 0)], axis=1)

    def number(self, name: str) -> int:
        """Place of a concept; UnknownName with the near ones when there is none."""
        return concept_number(self.names, name)

    def examples(self, name: str) -> Rows:
        """Rows that show a concept."""
        return np.flatnonzero(self.labels[:, self.number(name)] == 1)

    @cached_property
    def digest(self) -> str:
        """32 hex digits: the same for sets that compare equal."""
        return _keeping.digest_of(self)

    @cached_property
    def key(self) -> str:
        """32 hex digits: the same for sets that are read alike, whatever concepts are called and where they are."""
        plain = {name: f"concept {f}" for f, name in enumerate(self.names)}
        apart = tuple((plain[a], plain[b]) for a, b in self.apart)
        return replace(self, names=tuple(plain.values()), apart=apart, regions={}).digest

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, ConceptSet) and self.digest == other.digest)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{name} ({count})"
            for name, count in zip(self.names[:6], self.counts[:, 0], strict=False)
        )
        more = ", ..." if len(self) > 6 else ""
        return f"<ConceptSet: {self.n} tiles, {shown}{more}>"

    # -- edits ---------------------------------------------------------------------------
    def with_examples(
        self, name: str, rows: npt.ArrayLike, *, without: npt.ArrayLike | None = None
    ) -> ConceptSet:
        """With more examples of a concept, which may be a new one; other labels stay as they are.

        Parameters
        ----------
        name : str
        rows : (m,) int or (n,) bool
            Tiles that show it.
        without : the same, optional
            Tiles that do not.

        Raises
        ------
        InvalidInput
            A row outside the store, or a tile said to show it and not to.
        """
        check_name(name)
        shows = rows_of(rows, self.n, name)
        lacks = rows_of([] if without is None else without, self.n, name)
        both = np.intersect1d(shows, lacks)
        if len(both):
            raise InvalidInput(f"Tile {both[0]} is said to show {name!r} and not to show it.")
        made = self if name in self.names else self._with_new(name)
        labels = made.labels.copy()
        f = made.number(name)
        labels[shows, f], labels[lacks, f] = 1, 0
        return replace(made, labels=labels)

    def _with_new(self, name: str) -> ConceptSet:
        shown = self.class_concepts
        if shown is not None:
            shown = np.column_stack([shown, np.zeros(len(shown), np.bool_)])
        nobody = np.full((self.n, 1), -1, np.int8)
        return replace(
            self,
            names=(*self.names, name),
            labels=np.hstack([self.labels, nobody]),
            class_concepts=shown,
        )

    def without(self, name: str) -> ConceptSet:
        """Without one concept; InvalidInput when it is the only one."""
        f = self.number(name)
        if len(self) == 1:
            raise InvalidInput(
                f"{name!r} is the only concept of the set; a set holds at least one."
            )
        keep = [i for i in range(len(self)) if i != f]
        return replace(
            self,
            names=tuple(self.names[i] for i in keep),
            labels=self.labels[:, keep],
            class_concepts=None if self.class_concepts is None else self.class_concepts[:, keep],
            apart=tuple(pair for pair in self.apart if name not in pair),
            regions={key: value for key, value in self.regions.items() if key != name},
        )

    def renamed(self, name: str, to: str) -> ConceptSet:
        """With another name for a concept."""
        self.number(name)
        check_name(to)
        new = {name: to}
        return replace(
            self,
            names=tuple(new.get(key, key) for key in self.names),
            apart=tuple((new.get(a, a), new.get(b, b)) for a, b in self.apart),
            regions={new.get(key, key): value for key, value in self.regions.items()},
        )

    def with_apart(self, first: str, second: str, apart: bool = True) -> ConceptSet:
        """With two concepts that exclude one another, or no longer do."""
        self.number(first), self.number(second)
        if first == second:
            raise InvalidInput(f"A concept does not exclude itself: {first!r} was given twice.")
        pair = tuple(sorted((first, second)))
        left = tuple(other for other in self.apart if other != pair)
        return replace(self, apart=(*left, (pair[0], pair[1])) if apart else left)

    def with_class_concepts(
        self, class_concepts: object, classes: Sequence[str] | None = None
    ) -> ConceptSet:
        """With classes, and which concepts each shows.

        Parameters
        ----------
        class_concepts : (K, F) of 0 and 1, or table with classes as rows and concepts as columns
            None takes it away.
        classes : sequence of str, optional
            Names of the rows; those of the table, else of the set, by default.
        """
        if class_concepts is None:
            return replace(self, classes=(), class_concepts=None)
        if classes is None and not hasattr(class_concepts, "columns"):
            classes = self.classes or None
        found = ClassConcepts.of(class_concepts, self.names, classes)
        return replace(
            self,
            classes=tuple(map(str, found.classes)),
            class_concepts=frozen(found.shown, np.bool_),
        )

    def with_region(self, name: str, row: int, mask: npt.ArrayLike | None) -> ConceptSet:
        """With the place of a concept in a tile, which becomes an example of it.

        Parameters
        ----------
        name : str
            May be new.
        row : int
        mask : bool array, or None
            Over the tile's grid of activations or its image, (h, w) or (d, h, w). None removes the
            region; the tile stays an example.
        """
        made = self if mask is None else self.with_examples(name, [row])
        made.number(name)
        at = int(rows_of([row], self.n, name)[0])
        own = {key: value for key, value in made.regions.get(name, {}).items() if key != at}
        if mask is not None:
            own[at] = Region.of(mask)
        return replace(made, regions={**made.regions, name: own})

    # -- the store -----------------------------------------------------------------------
    def save(self, store: ActivationStore, name: str = "concepts") -> None:
        """Keep the set in a store under a name; an older one of that name is replaced.

        Raises
        ------
        InvalidInput
            It is of another number of tiles.
        """
        check_fits(self, len(store))
        params, arrays = _keeping.parts_of(self)
        store.derived.put(KIND, name, arrays, params=params)

    @staticmethod
    def load(store: ActivationStore, name: str = "concepts") -> ConceptSet:
        """A set that was kept in a store.

        Raises
        ------
        UnknownName
            There is none of that name; near ones are listed.
        StoreCorrupt
            It is damaged.
        """
        entry = store.derived.get(KIND, name)
        where = f"Concept set {name!r} of {store.path}"
        return _keeping.from_parts(ConceptSet, entry.params, entry.arrays, len(store), where)

    @staticmethod
    def names_kept(store: ActivationStore) -> list[str]:
        """Names of the sets that a store keeps, sorted."""
        return store.derived.names(KIND)

    def encode(self) -> str:
        """The set as text."""
        return _keeping.encode(self)

    @staticmethod
    def decode(text: str, n: int | None = None) -> ConceptSet:
        """What :meth:`encode` gave. Nothing in the text is trusted.

        Parameters
        ----------
        text : str
        n : int, optional
            Tiles it must be of.

        Raises
        ------
        InvalidInput
            It is damaged, or of another number of tiles.
        """
        return _keeping.decode(ConceptSet, text, n)


def check_fits(concepts: ConceptSet, n: int) -> None:
    """InvalidInput where a set is of another number of tiles than a store's ``n``."""
    if concepts.n != n:
        raise InvalidInput(
            f"The concepts are of {concepts.n} tiles; the store has {n}. Make the set from this store's "
            "tiles."
        )
