"""Which slide, patient or other group a tile belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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


def groups_of(store: ActivationStore, column: str) -> Groups:
    """The groups of a column of the store's table; ``slide`` falls back to ``source``.

    Raises
    ------
    UnknownName
        No such column; near ones are listed.
    """
    table = store.tiles
    if column not in table.columns and column == "slide" and "source" in table.columns:
        column = "source"
    if column not in table.columns:
        raise UnknownName(
            f"The tiles of {store.path.name} have no column {column!r}. "
            f"{near(str(column), map(str, table.columns))}".rstrip()
        )
    values = table[column]
    text = values.astype(str).to_numpy(dtype=object)
    missing = values.isna().to_numpy()
    names = sorted({name for name, out in zip(text, missing, strict=True) if not out})
    of = {name: i for i, name in enumerate(names)}
    codes = np.array(
        [len(names) if out else of[name] for name, out in zip(text, missing, strict=True)],
        dtype=np.int64,
    )
    return Groups(column, codes, (*names, "") if missing.any() else tuple(names))
