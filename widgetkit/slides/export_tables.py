"""Tables for other programs: without names of people, safe in a spreadsheet, with their units."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from widgetkit._version import __version__
from widgetkit.analysis.identifying import IDENTIFYING, bare, is_identifying, numbered
from widgetkit.errors import InvalidInput
from widgetkit.slides.export_output import new_file, plain

if TYPE_CHECKING:
    import pandas as pd

#: What becomes of columns that may name a person or their file.
Identifiers = Literal["number", "drop", "keep"]
#: Old value -> what stands for it, by column.
Numbering = Mapping[str, Mapping[str, str]]

# what is re-exported: the list is the analysis', which may name nobody either
__all__ = [
    "IDENTIFYING", "Identifiers", "Numbering", "is_identifying", "numbering", "pseudonymised",
    "safe_text", "write_table",
]  # fmt: skip

_DROPPED = frozenset({"id"})  # one value a tile: a number for each says nothing
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # the wide ones are read as the narrow ones by some


def write_table(
    path: str | os.PathLike[str],
    frame: pd.DataFrame,
    *,
    units: Mapping[str, str] | None = None,
    identifiers: Identifiers = "number",
    numbers: Numbering | None = None,
    index: bool | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a table as CSV or parquet, whole or not at all.

    Unless asked otherwise, values of columns that may name a person or a file (``IDENTIFYING``) are
    numbered, see :func:`pseudonymised`. In CSV, text that a spreadsheet would run as a formula gets
    a leading apostrophe; parquet keeps text as it is.

    Parameters
    ----------
    path : path
        Ends with ``.csv`` or ``.parquet``.
    frame : DataFrame
    units : mapping of str, optional
        Unit by column. Parquet keeps it in each field's metadata (``unit``) and in the file's, under
        ``widgetkit``; in CSV it stands behind the column's name, in brackets.
    identifiers : "number", "drop" or "keep"
    numbers : mapping, optional
        Which number stands for which value, from :func:`numbering`: several tables then agree.
    index : bool, optional
        Whether the index is written. Default: where it has a name.
    overwrite : bool

    Returns
    -------
    Path

    Raises
    ------
    InvalidInput
        The path's ending is another, a column's values are of mixed types, or units name a column
        that is not there.
    OutputExists, OutputFailed
        See :func:`~widgetkit.slides.export_output.new_file`.
    """
    units = {str(k): plain(v) for k, v in (units or {}).items()}
    unknown = [name for name in units if name not in map(str, frame.columns)]
    if unknown:
        raise InvalidInput(f"units names {unknown[0]!r}, which is no column of the table.")
    named = any(name is not None for name in frame.index.names)
    written = frame.reset_index() if (named if index is None else index) else frame
    written = pseudonymised(written, identifiers=identifiers, numbers=numbers)
    units = {k: v for k, v in units.items() if k in map(str, written.columns)}
    if Path(path).suffix.lower() == ".parquet":
        data = _parquet(written, units)
    else:
        data = _csv(written, units)
    with new_file(path, (".csv", ".parquet"), overwrite=overwrite) as file:
        file.write(data)
    return Path(path)


def pseudonymised(
    frame: pd.DataFrame,
    *,
    identifiers: Identifiers = "number",
    numbers: Numbering | None = None,
) -> pd.DataFrame:
    """The table with ``patient 1`` for a patient's name, ``slide 1`` for a slide's, and so on.

    Column ``id`` is left out: it can be checked against a guessed file name.

    Parameters
    ----------
    frame : DataFrame
    identifiers : "number", "drop" or "keep"
        Numbered in the order of first appearance; left out; or as they are.
    numbers : mapping, optional
        From :func:`numbering` of a larger table; values that are not in it are numbered after it.
    """
    if identifiers not in get_args(Identifiers):
        raise InvalidInput(
            f"identifiers is one of {', '.join(get_args(Identifiers))}; got {identifiers!r}."
        )
    if identifiers == "keep":
        return frame
    found = [name for name in frame.columns if is_identifying(name)]
    gone = found if identifiers == "drop" else [c for c in found if bare(c) in _DROPPED]
    out = frame.drop(columns=gone)
    for name in (c for c in found if c not in gone):
        given = dict((numbers or {}).get(str(name), {}))
        known = numbered(str(name), out[name], given)
        out[name] = [None if _missing(v) else known[str(v)] for v in out[name]]
    return out


def numbering(table: pd.DataFrame) -> dict[str, dict[str, str]]:
    """What stands for each value of each identifying column, in order of first appearance."""
    return {
        str(name): numbered(str(name), table[name], {})
        for name in table.columns
        if is_identifying(name) and bare(name) not in _DROPPED
    }


def safe_text(value: Any) -> Any:
    """Text with a leading apostrophe where a spreadsheet would run it; anything else as it is."""
    if isinstance(value, str) and value.lstrip(" ").startswith(_FORMULA):
        return "'" + value
    return value


def _missing(value: Any) -> bool:
    import pandas as pd

    return bool(pd.isna(value))


# -- files -------------------------------------------------------------------------------
def _csv(frame: pd.DataFrame, units: Mapping[str, str]) -> bytes:
    out = frame.copy()
    for position, dtype in enumerate(out.dtypes):
        if dtype.kind not in "biufcmM":
            texts = out.iloc[:, position].astype(object).map(safe_text)
            out.isetitem(position, texts.to_numpy(dtype=object))
    out.columns = [
        safe_text(f"{name} [{units[str(name)]}]" if units.get(str(name)) else str(name))
        for name in out.columns
    ]
    text = io.StringIO()
    out.to_csv(text, index=False, lineterminator="\n")
    return text.getvalue().encode("utf-8")


def _parquet(frame: pd.DataFrame, units: Mapping[str, str]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns, fields = [], []
    for position, name in enumerate(frame.columns):
        values = frame.iloc[:, position]
        try:
            array = pa.Array.from_pandas(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise InvalidInput(
                f"Column {str(name)!r} holds values of several types, which parquet cannot keep. "
                "Make them all text or all numbers."
            ) from error
        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks()
        unit = units.get(str(name))
        columns.append(array)
        fields.append(pa.field(str(name), array.type, metadata={"unit": unit} if unit else None))
    facts = {"made with": f"widgetkit {__version__}", "units": dict(units)}
    schema = pa.schema(fields, metadata={"widgetkit": json.dumps(facts, sort_keys=True)})
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), buffer, compression="zstd")
    return buffer.getvalue()
