"""Which slide, patient or other group a tile belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from widgetkit.errors import UnknownName, near

if TYPE_CHECKING:
    from widgetkit.store import ActivationStore


@dataclass(frozen=True, eq=False)
class Groups:
    """``codes`` (n,) int64 into ``names``, and the ``column`` of the table they came from.

    Names are sorted; tiles without a value make a group of their own, the last, named "".
    """

    column: str
    codes: npt.NDArray[np.int64]
    names: tuple[str, ...]


def column_of(store: ActivationStore, by: str | None) -> str:
    """The column of the table that tiles are grouped by.

    ``by`` itself; None means ``slide`` where every tile has one, else ``source``; ``slide`` falls back
    to ``source`` where there is none.

    Raises
    ------
    UnknownName
        No such column; near ones are listed.
    """
    table = store.tiles
    if by is None:
        whole = "slide" in table.columns and table["slide"].notna().all()
        by = "slide" if whole else "source"
    elif by == "slide" and by not in table.columns and "source" in table.columns:
        by = "source"
    if by not in table.columns:
        raise UnknownName(
            f"The tiles of {store.path.name} have no column {by!r} to group by. "
            f"{near(str(by), map(str, table.columns))}".rstrip()
        )
    return by


def values_of(
    store: ActivationStore, rows: npt.NDArray[Any], by: str | None
) -> tuple[npt.NDArray[Any], str]:
    """The group of each row as the table has it, and the column; see :func:`column_of`."""
    column = column_of(store, by)
    return store.tiles[column].to_numpy()[rows], column


def groups_of(store: ActivationStore, column: str) -> Groups:
    """The groups of a column, tiles without a value among them; see :func:`column_of`."""
    column = column_of(store, column)
    values = store.tiles[column]
    text = values.astype(str).to_numpy(dtype=object)
    missing = values.isna().to_numpy()
    names = sorted({name for name, out in zip(text, missing, strict=True) if not out})
    of = {name: i for i, name in enumerate(names)}
    codes = np.array(
        [len(names) if out else of[name] for name, out in zip(text, missing, strict=True)],
        dtype=np.int64,
    )
    return Groups(column, codes, (*names, "") if missing.any() else tuple(names))
