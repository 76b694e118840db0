"""What a store says about a column of its tiles, such as that its labels are a model's."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from widgetkit.errors import InvalidInput, StoreError, UnknownName

if TYPE_CHECKING:
    from widgetkit.store import ActivationStore

#: Ends the name of the column that holds the remark about another one.
SUFFIX = "_note"
#: A remark is a sentence or two; what is longer is cut.
LETTERS_MOST = 300


KIND = "notes"


def note_of(store: ActivationStore, column: str) -> str:
    """The remark about a column, or "".

    The one kept by :func:`keep_note`, else the first text in column ``"<column>_note"`` of the
    tiles, else ``"<column>"`` in the mapping ``"notes"`` of ``store.manifest.info``. Free text of
    the data: views escape it.

    Parameters
    ----------
    store : ActivationStore
    column : str
    """
    try:
        kept = store.derived.get(KIND, column).params.get("text")
    except (UnknownName, StoreError, InvalidInput):  # none, damaged, or no name for a file
        kept = None
    if isinstance(kept, str) and (said := _line(kept)):
        return said
    beside = f"{column}{SUFFIX}"
    if beside in store.tiles.columns:
        for value in store.tiles[beside].dropna().unique():
            if isinstance(value, str) and (said := _line(value)):
                return said
    notes = store.manifest.info.get("notes")
    value = notes.get(column) if isinstance(notes, Mapping) else None
    return _line(value) if isinstance(value, str) else ""


def keep_note(store: ActivationStore, column: str, text: str) -> None:
    """Keep a remark about a column in a store that is there already; "" removes it.

    Raises
    ------
    UnknownName
        The tiles have no such column.
    """
    if column not in store.tiles.columns:
        raise UnknownName(f"The tiles have no column {column!r} to say something about.")
    if _line(text):
        store.derived.put(KIND, column, {}, params={"text": _line(text)})
        return
    with suppress(UnknownName):
        store.derived.delete(KIND, column)


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LETTERS_MOST else f"{line[: LETTERS_MOST - 3].rstrip()}..."
