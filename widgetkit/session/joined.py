"""A table from elsewhere beside the tiles, by tile, patient or slide. Nothing in a message is a value of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from widgetkit.analysis.identifying import is_identifying
from widgetkit.errors import InvalidInput, UnknownName, near

if TYPE_CHECKING:
    import pandas as pd

    from widgetkit.store import ActivationStore

#: Columns that a table may be joined by, the first that both have.
KEYS = ("id", "patient", "slide", "source")


@dataclass(frozen=True, eq=False)
class Joined:
    """Columns for the tiles of a store.

    Attributes
    ----------
    frame : (n, ...) DataFrame
        One row a tile, in order: the columns of the table, missing where it has no row for the tile, and
        the tiles' own ``patient``, ``slide`` and ``source``.
    key : str
        Column that it was joined by; ``""`` by position.
    columns : tuple of str
        Those that came from the table.
    note : str
        How many tiles have no row, or "".
    """

    frame: pd.DataFrame = field(repr=False)
    key: str
    columns: tuple[str, ...]
    note: str


def join(
    store: ActivationStore, table: pd.DataFrame | Mapping[str, Any], on: str | None = None
) -> Joined:
    """Bring a table to the tiles of a store.

    Parameters
    ----------
    store : ActivationStore
    table : DataFrame or mapping of columns
        One row a tile id, patient, slide or source; more of them than the store has are fine, and tiles
        without a row have missing values.
    on : str, optional
        Column of both, or the name of the table's index. By default the first of :data:`KEYS` that both
        have; without one a table of as many rows as there are tiles is taken in their order.

    Raises
    ------
    InvalidInput
        No such table, a key twice, or no key that both know.
    UnknownName
        ``on`` is no column of one of the two.
    """
    import pandas as pd

    if not isinstance(table, pd.DataFrame):
        if not isinstance(table, Mapping):
            raise InvalidInput(
                f"table is a {type(table).__name__}; give a DataFrame or a mapping of columns."
            )
        try:
            table = pd.DataFrame(dict(table))
        except ValueError as error:
            raise InvalidInput(f"The columns do not make a table: {error}.") from error
    frame = table.copy(deep=False)
    if frame.index.name is not None and frame.index.name not in frame.columns:
        frame = frame.reset_index()
    frame.columns = pd.Index([str(name) for name in frame.columns])
    if not frame.columns.is_unique:
        raise InvalidInput("The table has several columns of one name.")
    tiles = store.tiles
    key = _key(frame, tiles, on)
    note = ""
    if key:
        place = _place(frame[key], tiles[key], key)
        lacking = int((place < 0).sum())
        if lacking:
            note = f"{lacking:,} of {len(tiles):,} tiles have no row in the table: their values are missing."
        found = frame.drop(columns=key).iloc[np.maximum(place, 0)].reset_index(drop=True)
        if lacking:
            found = found.astype(object).where(pd.Series(place >= 0), np.nan)
            found = found.infer_objects()
            for name in found.columns:
                if isinstance(frame[name].dtype, pd.CategoricalDtype):
                    found[name] = found[name].astype(frame[name].dtype)
    else:
        found = frame.reset_index(drop=True)
    columns = tuple(found.columns)
    for name in KEYS[1:]:
        if name in tiles.columns and name not in found.columns:
            found[name] = tiles[name].to_numpy()
    return Joined(found, key, columns, note)


def _key(frame: pd.DataFrame, tiles: pd.DataFrame, on: str | None) -> str:
    if on is not None:
        for where, columns in (("table", frame.columns), ("tiles", tiles.columns)):
            if on not in columns:
                raise UnknownName(
                    f"The {where} have no column {on!r} to join by. {near(on, map(str, columns))}".rstrip()
                )
        return on
    key = next((name for name in KEYS if name in frame.columns and name in tiles.columns), None)
    if key is not None:
        return key
    if len(frame) == len(tiles):
        return ""
    raise InvalidInput(
        f"The table has {len(frame):,} rows for {len(tiles):,} tiles and none of the columns "
        f"{', '.join(KEYS)} that the tiles have. Say what it is joined by: on='patient'."
    )


def _place(keys: pd.Series[Any], wanted: pd.Series[Any], key: str) -> np.ndarray:
    """(n,) row of the table for each tile, -1 for none."""
    import pandas as pd

    rows = np.flatnonzero(keys.notna().to_numpy())
    texts = pd.Index([_text(v) for v in keys.iloc[rows]])
    if texts.has_duplicates:
        raise InvalidInput(
            f"{int(texts.duplicated().sum()):,} rows of the table have a value of {key!r} that another "
            "row has as well. Keep one row each."
        )
    missing = wanted.isna().to_numpy()
    known = ["" if out else _text(v) for v, out in zip(wanted, missing, strict=True)]
    found = np.asarray(texts.get_indexer(pd.Index(known)))
    place = np.where(found >= 0, rows[np.maximum(found, 0)] if len(rows) else -1, -1)
    place[missing] = -1
    if len(wanted) and not (place >= 0).any():
        hashed = (
            " Were they hashed or numbered (anonymise_patients)?" if is_identifying(key) else ""
        )
        raise InvalidInput(f"The table has no row for any value of {key!r} of the tiles.{hashed}")
    return place


def _text(value: Any) -> str:
    """A key as text: 7, 7.0 and "7" are one patient."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    return str(value).strip()
