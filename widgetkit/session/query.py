"""A small language to pick tiles by their table: ``slide == "A" and (stain > 0.5 or not flag)``.

Own parser, comparisons only: column names and values come from files of strangers, so
nothing here is ever evaluated as code (``DataFrame.query`` and ``eval`` would).

Grammar::

    query   := term ("or" term)*
    term    := factor ("and" factor)*
    factor  := "not" factor | "(" query ")" | column test
    test    := ("==" | "=" | "!=" | "<" | "<=" | ">" | ">=") value
             | ["not"] "in" "[" value ("," value)* "]" | "contains" text | "is" ["not"] "missing"
    column  := word | "`any text`"
    value   := number | "text" | 'text' | true | false
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput, UnknownName, near

if TYPE_CHECKING:
    import pandas as pd

Mask = npt.NDArray[np.bool_]
Lookup = Callable[[str], "pd.Series[Any]"]

MAX_LENGTH = 10_000
_MAX_DEPTH = 50
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
    | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<column>`(?:[^`\\]|\\.)*`)
    | (?P<word>[^\W\d]\w*)
    | (?P<sign>==|!=|<=|>=|<|>|=|\(|\)|\[|\]|,)
    )""",
    re.VERBOSE | re.DOTALL,
)
_COMPARISONS = ("==", "=", "!=", "<", "<=", ">", ">=")
_RESERVED = ("and", "or", "not", "in", "contains", "is", "missing", "true", "false")


def quote_column(name: str) -> str:
    """How to write a column's name in a query, whatever characters it has."""
    if name.isidentifier() and name.lower() not in _RESERVED:
        return name
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def quote_text(text: str) -> str:
    """How to write a text value in a query."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def evaluate(
    query: str, table: pd.DataFrame, extra: dict[str, pd.Series[Any]] | None = None
) -> Mask:
    """Which rows of a table satisfy a query.

    Parameters
    ----------
    query : str
        In the grammar of this module.
    table : (n, ...) DataFrame
    extra : dict of name to (n,) Series, optional
        Further columns; those of the table go before them.

    Returns
    -------
    (n,) bool
        A missing value satisfies nothing but ``!=``, ``not in`` and ``is missing``.

    Raises
    ------
    InvalidInput
        The query is not of the grammar; the message says where it stops being so.
    UnknownName
        There is no such column; near ones are listed.
    """
    columns: dict[str, Any] = dict(extra or {})
    for position, name in enumerate(table.columns):
        columns[str(name)] = table.iloc[:, position]
    return _Parser(query, columns).parse()


def equal_to(column: pd.Series[Any], value: object) -> Mask:
    """(n,) bool: where a column has a value; None and NaN match what is missing."""
    return compare(column, "==", value)


def compare(column: pd.Series[Any], sign: str, value: object) -> Mask:
    """Compare a column with one value; numbers as numbers, anything else as text."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        missing = column.isna().to_numpy(dtype=bool)
        return missing if sign in ("==", "=") else ~missing
    missing = column.isna().to_numpy(dtype=bool)
    left: npt.NDArray[Any]
    right: Any
    if column.dtype.kind in "biuf" and isinstance(value, bool | int | float | np.number | np.bool_):
        left = column.to_numpy(dtype=np.float64, na_value=np.nan)
        right = float(value)
    elif column.dtype.kind in "biuf" and sign not in ("==", "=", "!="):
        raise InvalidInput(f"A column of numbers is compared with {value!r:.80}, which is text.")
    else:
        left = _texts(column)
        # An object, or numpy would cut it at trailing NULs.
        right = np.array([str(value)], dtype=object)
    found: Mask
    with np.errstate(invalid="ignore"):
        if sign in ("==", "="):
            found = left == right
        elif sign == "!=":
            found = left != right
        elif sign == "<":
            found = left < right
        elif sign == "<=":
            found = left <= right
        elif sign == ">":
            found = left > right
        else:
            found = left >= right
    found = np.asarray(found, dtype=bool)
    return found | missing if sign == "!=" else found & ~missing


def _texts(column: pd.Series[Any]) -> npt.NDArray[np.object_]:
    # Not astype(str): pandas cuts texts at a NUL there.
    values = column.to_numpy(dtype=object)
    return np.fromiter(map(str, values), dtype=object, count=len(values))


def _unquote(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1], flags=re.DOTALL)


class _Parser:
    def __init__(self, query: str, columns: dict[str, Any]) -> None:
        if len(query) > MAX_LENGTH:
            raise InvalidInput(f"The query has {len(query)} characters, more than {MAX_LENGTH}.")
        self._query = query
        self._columns = columns
        self._tokens = self._split()
        self._at = 0
        self._depth = 0

    def _split(self) -> list[tuple[str, str, int]]:
        tokens, at = [], 0
        end = len(self._query.rstrip())
        while at < end:
            match = _TOKEN.match(self._query, at)
            if match is None:
                blank = len(self._query[at:]) - len(self._query[at:].lstrip())
                raise self._error(at + blank, "this is not understood")
            kind = match.lastgroup or ""
            tokens.append((kind, match.group(kind), match.start(kind)))
            at = match.end()
        return tokens

    def _error(self, at: int, why: str) -> InvalidInput:
        return InvalidInput(
            f"Query stops making sense at character {at + 1} ({self._query[at : at + 20]!r}): {why}. "
            'Write it as: slide == "A" and (score > 0.5 or not `odd name` in ["x", "y"]).'
        )

    def _fail(self, why: str) -> InvalidInput:
        at = self._tokens[self._at][2] if self._at < len(self._tokens) else len(self._query)
        return self._error(at, why)

    def _peek(self) -> str:
        """The next word in lower case, or sign; empty for values, columns and the end."""
        if self._at >= len(self._tokens):
            return ""
        kind, text, _ = self._tokens[self._at]
        return text.lower() if kind in ("word", "sign") else ""

    def _take(self, *wanted: str) -> str:
        found = self._peek()
        if found not in wanted or not found:
            raise self._fail("expected " + " or ".join(map(repr, wanted)))
        self._at += 1
        return found

    def parse(self) -> Mask:
        result = self._or()
        if self._at < len(self._tokens):
            raise self._fail("expected 'and', 'or', or the end")
        return result

    def _or(self) -> Mask:
        result = self._and()
        while self._peek() == "or":
            self._at += 1
            result = result | self._and()
        return result

    def _and(self) -> Mask:
        result = self._factor()
        while self._peek() == "and":
            self._at += 1
            result = result & self._factor()
        return result

    def _factor(self) -> Mask:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._fail(f"more than {_MAX_DEPTH} levels of brackets")
        try:
            if self._peek() == "not":
                self._at += 1
                return ~self._factor()
            if self._peek() == "(":
                self._at += 1
                result = self._or()
                self._take(")")
                return result
            return self._test(self._column())
        finally:
            self._depth -= 1

    def _column(self) -> pd.Series[Any]:
        if self._at >= len(self._tokens):
            raise self._fail("expected a column")
        kind, text, _ = self._tokens[self._at]
        if kind == "column":
            name = _unquote(text)
        elif kind == "word" and text.lower() not in _RESERVED:
            name = text
        else:
            raise self._fail("expected a column (names with spaces go between ` and `)")
        if name not in self._columns:
            raise UnknownName(f"There is no column {name!r}. {near(name, self._columns)}".rstrip())
        self._at += 1
        found: pd.Series[Any] = self._columns[name]
        return found

    def _test(self, column: pd.Series[Any]) -> Mask:
        sign = self._take(*_COMPARISONS, "in", "not", "contains", "is")
        if sign in _COMPARISONS:
            return compare(column, sign, self._value())
        if sign == "not":
            self._take("in")
            return ~self._in(column)
        if sign == "in":
            return self._in(column)
        if sign == "is":
            absent = self._peek() == "not"
            self._at += absent
            self._take("missing")
            missing = column.isna().to_numpy(dtype=bool)
            return ~missing if absent else missing
        part = str(self._value())
        found = np.fromiter(
            (part in text for text in _texts(column)), dtype=bool, count=len(column)
        )
        return found & ~column.isna().to_numpy(dtype=bool)

    def _in(self, column: pd.Series[Any]) -> Mask:
        self._take("[")
        result = compare(column, "==", self._value())
        while self._take(",", "]") == ",":
            result = result | compare(column, "==", self._value())
        return result

    def _value(self) -> bool | float | str:
        if self._at >= len(self._tokens):
            raise self._fail("expected a value")
        kind, text, _ = self._tokens[self._at]
        if kind == "number":
            value: bool | float | str = float(text)
        elif kind == "text":
            value = _unquote(text)
        elif kind == "word" and text.lower() in ("true", "false"):
            value = text.lower() == "true"
        else:
            raise self._fail("expected a number or a text in quotes")
        self._at += 1
        return value
