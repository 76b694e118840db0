"""What a caller says about images and concepts, checked once: examples, images, classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Number
from typing import Any

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._columns import Codes, group_codes
from widgetkit.analysis.resampling import Units, units_of
from widgetkit.errors import ChannelMismatch, InvalidInput, TooFew, UnknownName, near

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]

#: What stands for all concepts together in the table of a report, and so is no name of one.
ALL = "(all)"
NOT_ALL = f"{ALL!r} stands for all concepts together in a report: give the concept another name."


@dataclass(frozen=True)
class Examples:
    """Which rows show which concepts.

    Attributes
    ----------
    names : (F,)
    present : (n, F) the row is an example
    known : (n, F) something was said about the row; False where it is not labelled
    """

    names: tuple[str, ...]
    present: Mask
    known: Mask

    @classmethod
    def of(cls, Y: object, n: int, names: Sequence[str] | None = None) -> Examples:
        """Labels of ``n`` rows.

        Parameters
        ----------
        Y : (n, F) array or table, (n,) for one concept, or a mapping of names to examples
            1 or True: there; 0 or False: not there; NaN or None: not labelled. Examples in a mapping are
            row numbers, or a boolean (n,); other rows are then not labelled.
        names : sequence, optional
            Of the concepts. Those of the table or the mapping, or "concept 0" and so on, by default;
            of a mapping those named are taken, in this order.

        Raises
        ------
        InvalidInput
            Another length, a value that is none of these, a name twice.
        UnknownName
            A name that the mapping has not.
        """
        if isinstance(Y, Mapping):
            return cls._of_mapping(Y, n, names)
        columns = getattr(Y, "columns", None)
        values = np.asarray(Y)
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim != 2 or len(values) != n or values.shape[1] == 0:
            raise InvalidInput(
                f"Y must hold one row an image and one column a concept, ({n}, F); got shape "
                f"{np.asarray(Y).shape}."
            )
        found = names_of(
            names if names is not None else None if columns is None else list(columns),
            values.shape[1],
        )
        present, known = _zero_or_one(values, found)
        return cls(found, present, known)

    @classmethod
    def _of_mapping(cls, Y: Mapping[Any, Any], n: int, names: Sequence[str] | None) -> Examples:
        given = {str(name): rows for name, rows in Y.items()}
        found = names_of(
            list(given) if names is None else names, len(given if names is None else names)
        )
        present = np.zeros((n, len(found)), np.bool_)
        for f, name in enumerate(found):
            if name not in given:
                raise UnknownName(f"There are no examples of concept {name!r}. {near(name, given)}")
            present[rows_of(given[name], n, name), f] = True
        return cls(found, present, present.copy())

    def examples(self, f: int) -> Rows:
        """Rows that show concept ``f``."""
        return np.flatnonzero(self.present[:, f])

    def take(self, rows: Rows | Mask) -> Examples:
        """The same of some rows."""
        return Examples(self.names, self.present[rows], self.known[rows])

    def values(self) -> Array:
        """(n, F) 1, 0 or NaN."""
        return np.where(self.known, self.present.astype(np.float64), np.nan)


def concept_number(names: Sequence[str], name: str) -> int:
    """Where ``name`` stands, or the error that lists the near ones."""
    if name in names:
        return list(names).index(name)
    raise UnknownName(f"There is no concept {name!r}. {near(str(name), names)}")


def names_of(names: Sequence[Any] | None, count: int) -> tuple[str, ...]:
    """Names of ``count`` concepts; "concept 0" and so on where none are given."""
    if names is None:
        return tuple(f"concept {f}" for f in range(count))
    found = tuple(str(name) for name in names)
    if len(found) != count:
        raise ChannelMismatch(f"{len(found)} names for {count} concepts.")
    if len(set(found)) < len(found):
        twice = next(name for name in found if found.count(name) > 1)
        raise InvalidInput(f"The concept {twice!r} is named twice.")
    if ALL in found:
        raise InvalidInput(NOT_ALL)
    return found


def _zero_or_one(values: npt.NDArray[Any], names: tuple[str, ...]) -> tuple[Mask, Mask]:
    if values.dtype == np.bool_:
        return values.copy(), np.ones(values.shape, np.bool_)
    if values.dtype.kind in "iuf":
        known = ~np.isnan(values)
        present = known & (values == 1)
        wrong = known & ~present & (values != 0)
    else:  # values of any kinds, which cannot be sorted or compared as a whole
        import pandas as pd

        known = ~pd.isna(values)
        kinds = np.array([_kind(one) for one in values[known].tolist()], np.int8)
        present, wrong = np.zeros(values.shape, np.bool_), np.zeros(values.shape, np.bool_)
        present[known], wrong[known] = kinds == 1, kinds < 0
    if wrong.any():
        row, f = (int(at) for at in np.argwhere(wrong)[0])
        raise InvalidInput(
            f"Y holds {_shown(values[row, f])} for concept {names[f]!r} in row {row}. A concept is there "
            "(1), not there (0) or not labelled (NaN)."
        )
    return present, known


def _kind(value: Any) -> int:
    """1 or 0 where the value is that number or says the same, else -1."""
    if not isinstance(value, (Number, np.bool_)) or value not in (0, 1):
        return -1
    return int(value == 1)


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (float, np.floating)) else repr(value)


def rows_of(rows: Any, n: int, name: str) -> Rows:
    """Row numbers of examples of concept ``name``, given as such or as (n,) bool; InvalidInput outside ``n``."""
    found = np.asarray(rows)
    if found.dtype == np.bool_ and found.shape == (n,):
        return np.flatnonzero(found)
    if found.ndim == 1 and (found.dtype.kind in "iu" or found.size == 0):
        if found.size and (found.min() < 0 or found.max() >= n):
            raise InvalidInput(
                f"Examples of {name!r} go from row {found.min()} to {found.max()}; there are {n} rows."
            )
        return found.astype(np.intp)
    raise InvalidInput(
        f"Examples of {name!r} must be row numbers, or a boolean array of shape ({n},); got "
        f"{found.dtype} of shape {found.shape}."
    )


@dataclass(frozen=True)
class Images:
    """Rows that are augmentations of one image, by image in the order they come first.

    Attributes
    ----------
    codes : (n,) image of each row
    first : (images,) first row of each
    """

    codes: Codes
    first: Rows

    @classmethod
    def of(cls, images: npt.ArrayLike | None, n: int) -> Images:
        """One image a row where ``images`` is None.

        Raises
        ------
        InvalidInput
            Another length, or missing values.
        """
        if images is None:
            return cls(np.arange(n), np.arange(n))
        names, codes = group_codes(images, n, "images")
        first = np.full(len(names), n, np.intp)
        np.minimum.at(first, codes, np.arange(n))
        return cls(codes, first)

    def __len__(self) -> int:
        return len(self.first)

    @property
    def single(self) -> bool:
        """Every row is an image of its own."""
        return len(self.first) == len(self.codes)

    @property
    def counts(self) -> Codes:
        return np.bincount(self.codes, minlength=len(self))

    def mean(self, values: Array) -> Array:
        """(images, F) means of ``values`` (n, F)."""
        if self.single:
            return values
        total = np.zeros((len(self), *values.shape[1:]))
        np.add.at(total, self.codes, values)
        found: Array = total / self.counts.reshape(-1, *[1] * (values.ndim - 1))
        return found

    def log_mean_exp(self, values: Array) -> Array:
        """(images, F) logarithm of the mean of ``exp(values)``, of values that may overflow."""
        if self.single:
            return values
        top = np.full((len(self), values.shape[1]), -np.inf)
        np.maximum.at(top, self.codes, values)
        top = np.where(np.isfinite(top), top, 0.0)
        with np.errstate(divide="ignore"):
            found: Array = np.log(self.mean(np.exp(values - top[self.codes]))) + top
        return found

    def same(self, values: npt.NDArray[Any], what: str) -> npt.NDArray[Any]:
        """``values`` (n, ...) of each image, refused where augmentations of one image differ."""
        own: npt.NDArray[Any] = values[self.first]
        if not self.single:
            equal = np.asarray(values == own[self.codes])
            alike = equal.reshape(len(values), -1).all(axis=1)
            if not alike.all():
                row = int(np.flatnonzero(~alike)[0])
                raise InvalidInput(
                    f"Rows {self.first[self.codes[row]]} and {row} are of one image and differ in "
                    f"their {what}."
                )
        return own


@dataclass(frozen=True)
class ClassConcepts:
    """Which classes show which concepts.

    Attributes
    ----------
    classes : (K,)
    shown : (K, F)
    """

    classes: tuple[Any, ...]
    shown: Mask

    @classmethod
    def of(
        cls, class_concepts: object, names: Sequence[str], classes: Sequence[Any] | None = None
    ) -> ClassConcepts:
        """From an array (K, F), or a table with classes as rows and concepts as columns.

        Raises
        ------
        UnknownName
            A column that is none of the concepts.
        InvalidInput, ChannelMismatch
            Shapes that do not fit, values that are not 0 or 1, a concept without column.
        """
        columns = getattr(class_concepts, "columns", None)
        values = np.asarray(class_concepts)
        if values.ndim != 2 or 0 in values.shape:
            raise InvalidInput(
                f"class_concepts must be (classes, concepts), got shape {values.shape}."
            )
        if columns is not None:
            given = [str(name) for name in columns]
            for name in given:
                concept_number(names, name)
            lacking = [name for name in names if name not in given]
            if lacking:
                raise InvalidInput(f"class_concepts has no column for concept {lacking[0]!r}.")
            values = values[:, [given.index(name) for name in names]]
            if classes is None:
                classes = list(class_concepts.index)  # type: ignore[attr-defined]
        if values.shape[1] != len(names):
            raise ChannelMismatch(
                f"class_concepts has {values.shape[1]} columns for {len(names)} concepts."
            )
        present, known = _zero_or_one(values, tuple(names))
        if not known.all():
            raise InvalidInput("class_concepts has gaps: say 0 or 1 for every class and concept.")
        found = tuple(range(len(values))) if classes is None else tuple(classes)
        if len(found) != len(values) or len(set(map(str, found))) < len(found):
            raise InvalidInput(f"class_concepts has {len(values)} rows; the classes are {found!r}.")
        return cls(found, present)

    def numbers(self, predicted: npt.ArrayLike, m: int) -> Codes:
        """Row in ``shown`` of each predicted class; as :func:`class_numbers`."""
        return class_numbers(predicted, self.classes, m)

    @property
    def compatible(self) -> Mask:
        """(F, F) some class shows both; concepts of no class go with everything."""
        counted = self.shown.astype(np.intp)
        free = ~self.shown.any(axis=0)
        found = np.asarray(counted.T @ counted > 0)
        found[free] = True
        found[:, free] = True
        return found

    def of_class(self, numbers: Codes) -> Mask:
        """(m, F) the predicted class shows the concept, or no class does."""
        found: Mask = self.shown[numbers] | ~self.shown.any(axis=0)
        return found


def class_numbers(predicted: npt.ArrayLike, classes: Sequence[Any], m: int) -> Codes:
    """Place in ``classes`` of each of ``m`` classes: by name, or by number where names are text.

    Raises
    ------
    InvalidInput
        Another length.
    UnknownName
        A class that is none of these.
    """
    given = np.asarray(predicted)
    if given.shape != (m,):
        raise InvalidInput(
            f"predicted must hold one class an image, shape ({m},); got shape {given.shape}."
        )
    places = {str(name): at for at, name in enumerate(classes)}
    if given.dtype.kind in "iu" and all(isinstance(name, str) for name in classes):
        places = {str(at): at for at in range(len(classes))}
    texts = given.astype(str)
    found = np.empty(m, np.intp)
    for value in np.unique(texts) if m else []:
        if value not in places:
            raise UnknownName(
                f"{str(value)!r} is none of the classes. {near(str(value), map(str, classes))}"
            )
        found[texts == value] = places[value]
    return found


def checked_correct(
    correct: npt.ArrayLike, patients: npt.ArrayLike | None, m: int
) -> tuple[Mask, Codes, Units]:
    """Whether each of ``m`` predictions is right, its patient, and what is drawn for intervals.

    Raises
    ------
    InvalidInput
        Not boolean, or another length.
    TooFew
        No image.
    """
    right = np.asarray(correct)
    if right.shape != (m,) or right.dtype != np.bool_:
        raise InvalidInput(
            f"correct must be boolean, one an image, shape ({m},); got {right.dtype} of shape "
            f"{right.shape}."
        )
    if not m:
        raise TooFew("There is no image.")
    owner = np.arange(m) if patients is None else group_codes(patients, m, "patients")[1]
    what = "image" if patients is None else "patient"
    return right, owner, units_of(owner, int(owner.max()) + 1, what=what)
