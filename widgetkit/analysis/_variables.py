"""Columns of a table as variables: amounts, ordered categories, categories, and what is none of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from widgetkit.analysis._arrays import Floats, choice
from widgetkit.analysis.identifying import bare, is_identifying, numbered
from widgetkit.errors import InvalidInput, UnknownName, near

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["numeric", "ordinal", "nominal"]
KINDS: tuple[str, ...] = get_args(Kind)

#: What a person may say a column is: a kind, or its categories from the lowest to the highest.
KindLike = Kind | Sequence[Any]

#: Whole numbers with at most so many different values may be codes of categories.
CODES_MOST = 10
#: With more categories than this a column of text is names or remarks, and is not read.
CATEGORIES_MOST = 20
#: A whole number of at least so many digits, another for each row, is a number of a file or person.
IDENTIFIER_DIGITS = 5

#: Columns of a tile table that say where a tile lies; not variables.
PLACE = frozenset(("x", "y", "z", "level", "size", "mpp", "sliderecord"))
#: Ends the name of a column that holds a remark about another.
NOTE = "_note"

_LETTERS_MOST = 200


@dataclass(frozen=True, eq=False)
class Variable:
    """One column, read.

    Attributes
    ----------
    name : str
    kind : "numeric", "ordinal" or "nominal"
    values : (n,) float64
        Amounts, or the number of the category in ``levels``; NaN where it is missing.
    levels : tuple of str
        Categories in order; empty for amounts, and for ordered values that are too many to list.
    note : what was done with it, or ""
    warning : what the reader should check, or ""
    reason : why it cannot be tested, or ""
    """

    name: str
    kind: str
    values: Floats
    levels: tuple[str, ...] = ()
    note: str = ""
    warning: str = ""
    reason: str = ""


def chosen(
    table: pd.DataFrame, columns: Sequence[str] | None, reserved: frozenset[str] = frozenset()
) -> list[str]:
    """Names of the columns that are variables.

    By default all but those that may name a person or a file, ``reserved`` ones, remarks about other
    columns (``label_note``), and, in a table of tiles, those that say where a tile lies.

    Raises
    ------
    UnknownName
        A column that was named is not there.
    InvalidInput
        A name is there twice, or none is left.
    """
    names = [str(name) for name in table.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidInput(f"The table has several columns named {', '.join(map(repr, twice))}.")
    if columns is not None:
        wanted = [columns] if isinstance(columns, str) else [str(name) for name in columns]
        for name in wanted:
            if name not in names:
                raise UnknownName(f"The table has no column {name!r}. {near(name, names)}".rstrip())
        if not wanted:
            raise InvalidInput("columns is empty; name at least one.")
        return list(dict.fromkeys(wanted))
    of_tiles = {"id", "level", "mpp"} <= {bare(name) for name in names}
    found = [
        name
        for name in names
        if not is_identifying(name)
        and name not in reserved
        and not (of_tiles and bare(name) in PLACE)
        and not (name.endswith(NOTE) and name.removesuffix(NOTE) in names)
    ]
    if not found:
        raise InvalidInput(
            "The table has no variable: its columns say who or where a tile is. Join columns of "
            "your own, or name some: columns=[...]."
        )
    return found


def check_kinds(
    kinds: Mapping[str, KindLike] | None, columns: Sequence[str]
) -> dict[str, KindLike]:
    """``kinds``, once every column and every kind in it is known."""
    given = dict(kinds or {})
    for name, kind in given.items():
        if name not in columns:
            raise UnknownName(
                f"kinds names {name!r}, which is no variable. {near(str(name), columns)}".rstrip()
            )
        if isinstance(kind, str):
            choice(kind, KINDS, f"kinds[{name!r}]")
        elif len({_text(v) for v in kind}) < max(2, len(kind)):
            raise InvalidInput(
                f"kinds[{name!r}] must name a kind ({', '.join(KINDS)}) or list at least two different "
                "categories from the lowest to the highest."
            )
    return given


def read(column: pd.Series[Any], name: str, kind: KindLike | None, units: int) -> Variable:
    """A column as a variable.

    Parameters
    ----------
    column : (n,) Series
    name : str
    kind : optional
        What it is, where it was said.
    units : int
        Rows, or patients, that count for independent.
    """
    import pandas as pd

    if is_identifying(name):
        return _numbered_names(column, name)
    if isinstance(column.dtype, pd.CategoricalDtype):
        return _categories(column, name, kind)
    if kind is not None and not isinstance(kind, str):
        return _in_order(column, name, [_text(v) for v in kind])
    if column.dtype == object:
        column = _inferred(column)
    types = pd.api.types
    if types.is_bool_dtype(column):
        truth = column.astype(object).where(column.notna(), None)
        if kind == "numeric":
            return Variable(name, "numeric", truth.astype(float).to_numpy(np.float64))
        return _nominal(truth, name)
    if types.is_datetime64_any_dtype(column) or types.is_timedelta64_dtype(column):
        return _days(column, name, kind)
    if types.is_complex_dtype(column):
        return _unreadable(column, name, "It holds complex numbers.")
    if types.is_numeric_dtype(column):
        return _numbers(column, name, kind, units)
    if column.dtype == object:
        others = [v for v in column[column.notna()] if not isinstance(v, str)]
        if others:
            what = "values that are neither numbers nor text"
            if any(isinstance(v, int | float | np.number) for v in others):
                what = "numbers and text"
            return _unreadable(column, name, f"It mixes {what}.")
    return _words(column, name, kind)


# -- numbers -----------------------------------------------------------------------------
def _numbers(column: pd.Series[Any], name: str, kind: str | None, units: int) -> Variable:
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    endless = int(np.isinf(values).sum())
    note = f"{endless:,} infinite values count as missing." if endless else ""
    values = np.where(np.isinf(values), np.nan, values)
    known = values[~np.isnan(values)]
    different = np.unique(known)
    whole = bool((different == np.round(different)).all())
    if kind == "nominal":
        return replace(_coded(values, different, name, "nominal"), note=note)
    if kind == "ordinal":
        if len(different) > CATEGORIES_MOST:  # too many to list: ranked as they are
            return Variable(name, "ordinal", values, note=note)
        return replace(_coded(values, different, name, "ordinal"), note=note)
    if kind is None and whole and 2 <= len(different) <= min(CODES_MOST, units / 2):
        coded = _coded(values, different, name, "nominal")
        if len(different) == 2:  # 0 and 1: an order would change nothing
            return replace(coded, note=note)
        return replace(
            coded,
            note=note,
            warning=(
                f"{name!r} holds {len(different)} different whole numbers: taken for codes of categories "
                f"without an order. If they are ordered or amounts, say so: kinds={{{name!r}: 'ordinal'}} "
                "or 'numeric'."
            ),
        )
    least = float(np.abs(known).min(initial=np.inf))
    if kind is None and _names_rows(different, known, whole, least, units):
        return _unreadable(
            column,
            name,
            "It holds another long whole number for each row, as numbers of files or persons are. "
            f"If they are amounts, say so: kinds={{{name!r}: 'numeric'}}.",
        )
    return Variable(name, "numeric", values, note=note)


def _names_rows(different: Floats, known: Floats, whole: bool, least: float, units: int) -> bool:
    """Whether every row, or every patient, has a long whole number of its own."""
    each = len(different) == len(known) or len(different) == units
    return whole and each and len(different) > CODES_MOST and least >= 10 ** (IDENTIFIER_DIGITS - 1)


def _coded(values: Floats, different: Floats, name: str, kind: str) -> Variable:
    """Numbers as categories, in their order."""
    if len(different) > CATEGORIES_MOST:
        return _too_many(values, name, len(different))
    place = np.searchsorted(different, np.where(np.isnan(values), np.inf, values)).astype(float)
    place[np.isnan(values)] = np.nan
    return Variable(name, kind, place, tuple(f"{v:g}" for v in different))


def _days(column: pd.Series[Any], name: str, kind: str | None) -> Variable:
    if kind == "nominal":
        raise InvalidInput(f"{name!r} holds dates: they are amounts (days), not categories.")
    import pandas as pd

    dates = pd.api.types.is_datetime64_any_dtype(column)
    past: Any = column - column.min() if dates else column
    days = (past / pd.Timedelta(days=1)).to_numpy(dtype=np.float64, na_value=np.nan)
    note = "Dates as days after the first one." if dates else "Times as days."
    return Variable(name, kind or "numeric", days, note=note)


# -- categories --------------------------------------------------------------------------
def _words(column: pd.Series[Any], name: str, kind: str | None) -> Variable:
    import pandas as pd

    if kind == "numeric" or kind == "ordinal":
        numbers = pd.to_numeric(column, errors="coerce")
        odd = int((numbers.isna() & column.notna()).sum())
        if odd:
            cure = (
                f"Give its categories in order: kinds={{{name!r}: ['low', 'high']}}."
                if kind == "ordinal"
                else "Make it numbers first, e.g. with pandas.to_numeric."
            )
            raise InvalidInput(f"{name!r} holds text, {odd:,} values of it no numbers. {cure}")
        return _numbers(numbers, name, kind, len(column))
    return _nominal(column, name)


def _nominal(column: pd.Series[Any], name: str) -> Variable:
    import pandas as pd

    place, found = pd.factorize(column)
    texts = [_text(v) for v in found]
    order = sorted(dict.fromkeys(texts))
    if len(order) > CATEGORIES_MOST:
        return _too_many(place, name, len(order))
    to = np.array([order.index(text) for text in texts] + [np.nan])  # the last serves -1
    return Variable(name, "nominal", to[place], tuple(order))


def _categories(column: pd.Series[Any], name: str, kind: KindLike | None) -> Variable:
    """A column of pandas categories; ordered ones are ordinal. Those nothing has are left out."""
    values = column.cat.remove_unused_categories()
    if kind is not None and not isinstance(kind, str):
        return _in_order(column, name, [_text(v) for v in kind])
    if kind == "numeric":
        return _numbers_of(column, name)
    kinds: Any = kind or ("ordinal" if values.cat.ordered else "nominal")
    levels = [_text(v) for v in values.cat.categories]
    if kinds == "ordinal" and not values.cat.ordered:
        return _words(column.astype(object), name, "ordinal")
    place = values.cat.codes.to_numpy().astype(np.float64)
    place[place < 0] = np.nan
    if len(levels) > CATEGORIES_MOST:
        return (
            Variable(name, "ordinal", place)
            if kinds == "ordinal"
            else _too_many(place, name, len(levels))
        )
    return Variable(name, kinds, place, tuple(levels))


def _numbers_of(column: pd.Series[Any], name: str) -> Variable:
    import pandas as pd

    numbers = pd.to_numeric(column.astype(object), errors="coerce")
    if bool((numbers.isna() & column.notna()).any()):
        raise InvalidInput(f"The categories of {name!r} are no numbers, so it cannot be numeric.")
    return _numbers(numbers.astype(np.float64), name, "numeric", len(column))


def _in_order(column: pd.Series[Any], name: str, levels: list[str]) -> Variable:
    """Categories in the order that was given."""
    place = {level: float(i) for i, level in enumerate(levels)}
    missing = column.isna().to_numpy()
    texts = [None if out else _text(v) for v, out in zip(column, missing, strict=True)]
    others = {text for text in texts if text is not None and text not in place}
    if others:
        raise InvalidInput(
            f"kinds[{name!r}] lists {len(levels)} categories, and the column has {len(others)} others."
        )
    values = np.array([np.nan if text is None else place[text] for text in texts], np.float64)
    return Variable(name, "ordinal", values, tuple(levels))


def _numbered_names(column: pd.Series[Any], name: str) -> Variable:
    """A column that may name someone: its values by number, in order of appearance."""
    names = numbered(name, column, {})
    if len(names) > CATEGORIES_MOST:
        return _too_many(np.zeros(len(column)), name, len(names))
    levels = tuple(names.values())
    place = {text: float(i) for i, text in enumerate(names)}
    missing = column.isna().to_numpy()
    values = [np.nan if out else place[str(v)] for v, out in zip(column, missing, strict=True)]
    note = "Its values may name someone or a file; they are numbered."
    return Variable(name, "nominal", np.array(values, np.float64), levels, note=note)


# -- parts -------------------------------------------------------------------------------
def _inferred(column: pd.Series[Any]) -> pd.Series[Any]:
    """A column of objects as what they are, where they are all of one type."""
    import pandas as pd

    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind in ("integer", "floating", "mixed-integer-float", "decimal"):
        return pd.to_numeric(column).astype(np.float64)
    if kind in ("date", "datetime", "datetime64"):
        return pd.to_datetime(column)
    if kind == "boolean":
        return column.astype("boolean")
    if kind == "empty":
        return pd.Series(np.nan, index=column.index)
    return column


def _too_many(values: Any, name: str, count: int) -> Variable:
    """Without a value of it in the reason: they may name someone."""
    return Variable(
        name,
        "nominal",
        np.full(len(values), np.nan),
        reason=(
            f"It has {count:,} different values, more than the {CATEGORIES_MOST} that are taken for "
            "categories: names, remarks, or numbers as text."
        ),
    )


def _unreadable(column: pd.Series[Any], name: str, reason: str) -> Variable:
    return Variable(name, "nominal", np.full(len(column), np.nan), reason=reason)


def _text(value: Any) -> str:
    """What a category is called: whole numbers without ".0", control characters as spaces, cut."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    text = "".join(c if c.isprintable() else " " for c in str(value))
    return text[:_LETTERS_MOST]
