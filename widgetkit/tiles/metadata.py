"""Joining a user's own table to the tiles.

Text is kept as text: whoever shows it escapes it. Values of patients are never put into messages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import pandas as pd

from widgetkit.errors import BadMetadata, near
from widgetkit.tiles.base import RECORD, RESERVED

Metadata: TypeAlias = "pd.DataFrame | Mapping[str, object]"


def join_metadata(
    table: pd.DataFrame, metadata: Metadata, *, on: str | None = None
) -> pd.DataFrame:
    """The tile table with the user's columns added; neither input is changed.

    Parameters
    ----------
    table : DataFrame
        Of a tile source.
    metadata : DataFrame or mapping of columns
        By position: one row a tile, in order; in a mapping a single value stands for all tiles.
        By key: one row a key.
    on : str, optional
        Column of both tables to join by, for example ``"slide"``: each of the tiles' values must
        be in ``metadata`` once. More keys than the tiles have are fine. Without it: by position.

    Returns
    -------
    DataFrame
        Same rows in the same order. Columns ``slide``, ``patient`` and ``label`` have a meaning for
        the kit; all others are kept for colouring and queries.

    Raises
    ------
    BadMetadata
        Wrong length, keys missing or twice, a reserved name (``id``, ``source``, ``x``, ``y``,
        ``z``, ``level``, ``size``, ``mpp``, ``slide_record``), or a column that is neither numbers, text, truth values
        nor dates.
    """
    frame = _as_frame(metadata, len(table))
    frame.columns = pd.Index([_column_name(name) for name in frame.columns])
    if not frame.columns.is_unique:
        twice = sorted({str(name) for name in frame.columns[frame.columns.duplicated()]})
        raise BadMetadata(f"The metadata has columns of the same name: {', '.join(twice)}.")
    picked = _by_position(table, frame) if on is None else _by_key(table, frame, on)
    taken = (*RESERVED, RECORD)
    clashes = [name for name in picked.columns if name in taken]
    if clashes:
        raise BadMetadata(
            f"The metadata has {', '.join(map(repr, clashes))}, which the kit uses itself "
            f"({', '.join(taken)}). Rename or drop the column."
        )
    out = table.copy()
    for name in picked.columns:
        out[name] = _plain(picked[name], name)
    return out


def anonymise(table: pd.DataFrame, *, salt: str | None = None) -> pd.DataFrame:
    """The table with its ``patient`` column replaced by pseudonyms.

    Parameters
    ----------
    table : DataFrame
        With a column ``patient``; empty values stay empty.
    salt : str, optional
        A secret. With it a patient becomes ``p-`` and 12 hexadecimal digits of BLAKE2b keyed by the
        salt: the same in every table made with it, and not to be guessed without it. Without it
        patients are numbered in order of appearance: the same for the same table only.

    Notes
    -----
    Names of slides and files may hold a patient's name too; see ``names=`` of the sources.
    """
    if "patient" not in table.columns:
        raise BadMetadata(
            "anonymise_patients was asked for, but the tiles have no column 'patient'. "
            "Join it with metadata=."
        )
    if salt is not None and not salt:
        raise BadMetadata("The salt is empty; give a secret of some length, or True.")
    values = table["patient"]
    known = [str(value) for value in values.dropna().unique()]
    if salt is None:
        width = max(3, len(str(len(known))))
        names = {value: f"patient-{i + 1:0{width}d}" for i, value in enumerate(known)}
    else:
        key = hashlib.blake2b(salt.encode(), digest_size=64).digest()
        names = {
            value: "p-" + hashlib.blake2b(value.encode(), key=key, digest_size=6).hexdigest()
            for value in known
        }
    out = table.copy()
    out["patient"] = pd.Series(
        [None if pd.isna(value) else names[str(value)] for value in values], dtype="str"
    )
    return out


def finish(
    table: pd.DataFrame,
    metadata: Metadata | None,
    on: str | None,
    anonymise_patients: bool | str,
) -> pd.DataFrame:
    """What every source does with the user's table: join, then hide the patients if asked."""
    if metadata is not None:
        table = join_metadata(table, metadata, on=on)
    if anonymise_patients:
        salt = anonymise_patients if isinstance(anonymise_patients, str) else None
        table = anonymise(table, salt=salt)
    return table


def _as_frame(metadata: Metadata, n: int) -> pd.DataFrame:
    if isinstance(metadata, pd.DataFrame):
        return metadata.copy()
    if not isinstance(metadata, Mapping):
        raise BadMetadata(
            f"metadata is a {type(metadata).__name__}; give a DataFrame or a dict of columns."
        )
    columns: dict[str, object] = {}
    for name, values in metadata.items():
        scalar = isinstance(values, str) or not isinstance(
            values, (Sequence, np.ndarray, pd.Series)
        )
        columns[name] = [values] * n if scalar else list(values)  # type: ignore[call-overload]
    lengths = {name: len(values) for name, values in columns.items()}  # type: ignore[arg-type]
    if len(set(lengths.values())) > 1:
        raise BadMetadata(
            "The columns of the metadata differ in length: "
            + ", ".join(f"{name!r} {length:,}" for name, length in lengths.items())
            + "."
        )
    return pd.DataFrame(columns)


def _column_name(name: object) -> str:
    if not isinstance(name, str) or not name.strip():
        raise BadMetadata(f"A metadata column is named {name!r}; names must be text, not empty.")
    return name


def _by_position(table: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    if len(frame) != len(table):
        raise BadMetadata(
            f"The metadata has {len(frame):,} rows and there are {len(table):,} tiles. Give one row "
            "a tile, or say by which column to join, such as on='slide'."
        )
    return frame.reset_index(drop=True)


def _by_key(table: pd.DataFrame, frame: pd.DataFrame, on: str) -> pd.DataFrame:
    if on not in frame.columns and frame.index.name == on:
        frame = frame.reset_index()
    for where, columns in (("tiles", table.columns), ("metadata", frame.columns)):
        if on not in columns:
            raise BadMetadata(f"The {where} have no column {on!r}. {near(on, map(str, columns))}")
    keys = frame[on].astype("str")
    if frame[on].isna().any():
        raise BadMetadata(f"{int(frame[on].isna().sum()):,} rows of the metadata have no {on!r}.")
    if keys.duplicated().any():
        rows = np.flatnonzero(keys.duplicated(keep=False))[:2].tolist()
        raise BadMetadata(
            f"Two rows of the metadata have the same {on!r} (rows {rows[0]} and {rows[1]}). "
            "Keep one row a key."
        )
    place = pd.Index(keys).get_indexer(pd.Index(table[on].astype("str")))
    lacking = table[on].astype("str")[place < 0].unique()
    if len(lacking):
        example = f", for example {lacking[0]!r}" if on != "patient" else ""
        raise BadMetadata(
            f"The metadata lacks {len(lacking):,} of the tiles' values of {on!r}{example} "
            f"({int((place < 0).sum()):,} of {len(table):,} tiles). Add them, or check their spelling."
        )
    return frame.drop(columns=on).iloc[place].reset_index(drop=True)


def _plain(values: pd.Series, name: str) -> pd.Series:
    """A column that Parquet and JSON can hold: numbers, truth values, dates or text."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    kinds = pd.api.types
    if (
        kinds.is_bool_dtype(values)
        or kinds.is_datetime64_any_dtype(values)
        or (kinds.is_numeric_dtype(values) and not kinds.is_complex_dtype(values))
    ):
        return values
    odd = next((v for v in values if not isinstance(v, str) and not _missing(v)), None)
    if odd is not None:
        raise BadMetadata(
            f"Column {name!r} mixes text with {type(odd).__name__}; make it all text, all numbers, "
            "or split it."
        )
    return pd.Series([None if _missing(v) else str(v) for v in values], dtype="str")


def _missing(value: object) -> bool:
    return (
        value is None
        or value is pd.NA
        or value is pd.NaT
        or (isinstance(value, float) and np.isnan(value))
    )
