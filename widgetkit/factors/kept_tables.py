"""Tables about factors that took long, or a network, to compute: kept in the store beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput, StoreError, UnknownName

if TYPE_CHECKING:
    import pandas as pd

    from widgetkit.factors.factors import Factors
    from widgetkit.store import ActivationStore

KIND = "factor tables"


def keep_table(
    store: ActivationStore,
    factors: Factors | str,
    what: str,
    table: pd.DataFrame,
    *,
    params: Mapping[str, Any],
    seed: int = 0,
) -> None:
    """Keep a table about factors; one of the same name is replaced.

    Parameters
    ----------
    store : ActivationStore
    factors : Factors or str
        What the table is about: factors, or a layer by its name.
    what : str
        For instance ``"importance"``.
    table : DataFrame
        Columns of numbers, truth values or text; ``attrs`` of plain values are kept with it.
    params : mapping
        Plain values that decide the table, compared by :func:`kept_table`.
    seed : int

    Raises
    ------
    InvalidInput
        A column or an attribute cannot be kept as it is.
    """
    names = [str(name) for name in table.columns]
    arrays = {f"column {i}": _plain(table[name]) for i, name in enumerate(table.columns)}
    try:
        attributes = json.loads(json.dumps(dict(table.attrs)))
        decided = json.loads(json.dumps(dict(params)))
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"The table's attributes are not plain values: {error}") from error
    store.derived.put(
        KIND,
        _name(factors, what),
        arrays,
        params={
            "factors": _about(factors),
            "decided by": decided,
            "columns": names,
            "rows": len(table),
            "attributes": attributes,
        },
        seed=seed,
        parent=None if isinstance(factors, str) else f"factors/{factors.name}",
    )


def kept_table(
    store: ActivationStore,
    factors: Factors | str,
    what: str,
    *,
    params: Mapping[str, Any] | None = None,
) -> pd.DataFrame | None:
    """The table kept under a name, or None.

    Parameters
    ----------
    params : mapping, optional
        None takes whatever was kept; otherwise only one decided by exactly these.
    """
    import pandas as pd

    try:
        entry = store.derived.get(KIND, _name(factors, what))
        if entry.params["factors"] != _about(factors):
            return None
        if params is not None and entry.params["decided by"] != json.loads(
            json.dumps(dict(params))
        ):
            return None
        names, rows = entry.params["columns"], entry.params["rows"]
        columns = {name: entry.arrays[f"column {i}"] for i, name in enumerate(names)}
        if any(column.shape != (rows,) for column in columns.values()):
            return None
        table = pd.DataFrame(
            {
                name: column.astype(object) if column.dtype.kind == "U" else np.array(column)
                for name, column in columns.items()
            }
        )
        table.attrs.update(entry.params["attributes"])
        return table
    except (KeyError, TypeError, UnknownName, StoreError):
        return None


def _plain(column: pd.Series[Any]) -> npt.NDArray[Any]:
    values = column.to_numpy()
    if values.dtype.kind in "fiub":
        return values
    text = np.array([str(value) for value in values], dtype=np.str_)
    if any(not isinstance(value, str) for value in values):
        raise InvalidInput(f"Column {column.name!r} holds neither numbers nor text only.")
    return text


def _name(factors: Factors | str, what: str) -> str:
    return f"{what} of {_about(factors)}"


def _about(factors: Factors | str) -> str:
    return f"layer {factors}" if isinstance(factors, str) else factors.name
