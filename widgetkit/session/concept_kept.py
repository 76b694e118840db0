"""Readings of concepts in the store: arrays and plain values, read back with every size checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from widgetkit.concepts import ConceptSet, ErrorDetection, Identified, Relevance, risk_coverage
from widgetkit.concepts._keeping import from_parts, parts_of
from widgetkit.errors import StoreError, UnknownName, WidgetkitError
from widgetkit.session.concept_reading import ConceptReading

if TYPE_CHECKING:
    import pandas as pd

    from widgetkit.store import ActivationStore
    from widgetkit.store.derived import Entry

#: Kind of derived result.
KIND = "concept reading"
VERSION = 3
#: Rows of one kept table.
_MOST_ROWS = 1_000_000
_TABLES = ("report", "quality", "units", "detection")
_SET = "set "


def name_of(params: Mapping[str, Any]) -> str:
    """What a reading is kept as: by its concepts first, so that those of a set are found by name."""
    text = json.dumps(dict(params), sort_keys=True).encode()
    return f"{params['concepts']}-{hashlib.blake2b(text, digest_size=8).hexdigest()}"


def keep(store: ActivationStore, params: Mapping[str, Any], reading: ConceptReading) -> None:
    """Put a reading into the store.

    Parameters
    ----------
    store
    params : mapping
        What was asked, ``Asked.params``.
    reading
    """
    r = reading
    arrays: dict[str, npt.ArrayLike] = {
        "learned": r.learned.astype(np.uint8),
        "judged": r.judged.astype(np.uint8),
        "scores": r.identified.scores,
        "strength": r.identified.strength,
        "present": r.identified.present.astype(np.uint8),
        "excluded": r.identified.excluded.astype(np.uint8),
        "contradicts": r.identified.contradicts.astype(np.uint8),
    }
    if r.relevance is not None:
        for key in ("relevance", "share", "together", "logit"):
            arrays[key] = getattr(r.relevance, key)
        arrays["counted"] = r.relevance.identified.astype(np.uint8)
    for key, dtype in _OPTIONAL.items():
        value = getattr(r, key)
        if value is not None:
            arrays[key] = value.astype(dtype)
    said, own = parts_of(r.concepts)
    arrays |= {f"{_SET}{key}": array for key, array in own.items()}
    tables = {"report": r.report, "units": r.units}
    if r.quality is not None:
        tables["quality"] = r.quality
    if r.detection is not None:
        tables["detection"] = r.detection.table
    value = {
        "version": VERSION,
        "asked": dict(params),
        "layer": r.layer,
        "estimator": r.estimator,
        "how": r.how,
        "exact": r.relevance is not None and r.relevance.exact,
        "against": None if r.detection is None else r.detection.against,
        "classes": list(r.classes),
        "note": r.note,
        "notes": list(r.notes),
        "set": said,
        "tables": {key: _table_out(table) for key, table in tables.items()},
    }
    store.derived.put(KIND, name_of(params), arrays, params=value)


def stored(store: ActivationStore, params: Mapping[str, Any]) -> ConceptReading | None:
    """The kept answer to what is asked, or None. A damaged one is as if not kept."""
    try:
        entry = store.derived.get(KIND, name_of(params))
    except (StoreError, UnknownName):
        return None
    return _read(store, entry) if entry.params.get("asked") == dict(params) else None


def newest(store: ActivationStore, concepts: ConceptSet) -> ConceptReading | None:
    """The kept reading of a set, the one made last of several; or None."""
    entries: list[Entry] = []
    for name in store.derived.names(KIND):
        if name.startswith(f"{concepts.key}-"):
            try:
                entries.append(store.derived.get(KIND, name))
            except (StoreError, UnknownName):  # damaged; deleted meanwhile
                continue
    for entry in sorted(entries, key=lambda one: (str(one.created), one.name), reverse=True):
        found = _read(store, entry)
        if found is not None:
            return found
    return None


# -- reading back ------------------------------------------------------------------------
_OPTIONAL: dict[str, type[np.generic]] = {
    "predicted": np.int32,
    "probabilities": np.float32,
    "truth": np.int32,
    "correct": np.uint8,
    "consistency": np.float64,
}


class _Unfit(Exception):
    """Something in a kept reading is not as it was written."""


def _read(store: ActivationStore, entry: Entry) -> ConceptReading | None:
    try:
        return _made(store, entry)
    except (
        _Unfit, WidgetkitError, KeyError, TypeError, ValueError, OverflowError, IndexError, AttributeError,
    ):  # fmt: skip
        return None


def _made(store: ActivationStore, entry: Entry) -> ConceptReading:
    params, n = entry.params, len(store)
    _must(params["version"] == VERSION)
    own = {
        key.removeprefix(_SET): entry.arrays[key] for key in entry.arrays if key.startswith(_SET)
    }
    concepts = from_parts(ConceptSet, params["set"], own, n, "The set of a reading")
    layer, classes = params["layer"], tuple(params["classes"])
    _must(isinstance(layer, str) and layer in store.layers)
    _must(all(isinstance(name, str) for name in classes))
    for key in ("estimator", "how", "note"):
        _must(isinstance(params[key], str))
    _must(all(isinstance(said, str) for said in params["notes"]))
    F, K = len(concepts), len(classes)

    def array(key: str, shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
        found = np.asarray(entry.arrays[key])
        _must(found.shape == shape and found.dtype == np.dtype(dtype))
        return found

    def mask(key: str, *shape: int) -> npt.NDArray[np.bool_]:
        found = array(key, shape, np.uint8)
        _must(int(found.max(initial=0)) <= 1)
        return found.astype(np.bool_)

    def maybe(key: str, *shape: int) -> npt.NDArray[Any] | None:
        return array(key, shape, _OPTIONAL[key]) if key in entry.arrays else None

    identified = Identified(
        concepts.names,
        array("scores", (n, F), np.float64),
        array("strength", (n, F), np.float64),
        mask("present", n, F),
        mask("excluded", n, F),
        mask("contradicts", n, F),
    )
    predicted = _numbers(maybe("predicted", n), 0, K)
    relevance = None
    if "relevance" in entry.arrays:
        _must(predicted is not None and isinstance(params["exact"], bool))
        assert predicted is not None
        relevance = Relevance(
            array("relevance", (n, F), np.float64),
            array("share", (n, F), np.float64),
            array("together", (n,), np.float64),
            array("logit", (n,), np.float64),
            predicted,
            mask("counted", n, F),
            concepts.names,
            params["how"],
            params["exact"],
        )
    correct = mask("correct", n) if "correct" in entry.arrays else None
    consistency, probabilities = maybe("consistency", n), maybe("probabilities", n, K)
    judged = mask("judged", n)
    tables = {key: _table_in(table) for key, table in params["tables"].items()}
    _must(set(tables) <= set(_TABLES))
    detection = None
    if "detection" in tables:
        _must(correct is not None and isinstance(params["against"], str))
        assert correct is not None
        scores = {}
        if consistency is not None:
            scores["consistency"] = consistency[judged]
        if probabilities is not None:
            scores["confidence"] = probabilities[judged].max(axis=1).astype(np.float64)
        _must(set(tables["detection"]["detector"]) == set(scores))
        curves = {key: risk_coverage(score, correct[judged]) for key, score in scores.items()}
        detection = ErrorDetection(tables["detection"], curves, params["against"])
    return ConceptReading(
        concepts,
        layer,
        params["estimator"],
        params["how"],
        mask("learned", n),
        identified,
        relevance,
        classes,
        predicted,
        probabilities,
        _numbers(maybe("truth", n), -1, K),
        correct,
        judged,
        consistency,
        tables["report"],
        tables.get("quality"),
        detection,
        tables["units"],
        note=params["note"],
        notes=tuple(params["notes"]),
        activations=store.embeddings(layer),
    )


def _numbers(values: npt.NDArray[Any] | None, low: int, high: int) -> npt.NDArray[np.intp] | None:
    if values is None:
        return None
    _must(not len(values) or (int(values.min()) >= low and int(values.max()) < high))
    return values.astype(np.intp)


def _must(fine: bool) -> None:
    if not fine:
        raise _Unfit


def _table_out(table: pd.DataFrame) -> dict[str, Any]:
    """Columns as lists; None for what is not a number."""
    columns: dict[str, list[Any]] = {}
    kinds: dict[str, str] = {}
    for name in table.columns:
        values = table[name].to_numpy()
        kind = values.dtype.kind
        kinds[str(name)] = kind if kind in "fib" else "O"
        columns[str(name)] = [
            None if kind == "f" and not np.isfinite(value) else value for value in values.tolist()
        ]
    order: Sequence[str] = list(columns)
    return {"order": order, "kinds": kinds, "columns": columns}


def _table_in(value: Any) -> pd.DataFrame:
    import pandas as pd

    order, kinds, columns = value["order"], value["kinds"], value["columns"]
    _must(isinstance(order, list) and set(order) == set(columns) == set(kinds))
    lengths = {len(columns[name]) for name in order}
    _must(len(lengths) <= 1 and max(lengths, default=0) <= _MOST_ROWS)
    found = {}
    for name in order:
        given, kind = columns[name], kinds[name]
        _must(isinstance(given, list))
        if kind == "f":
            _must(all(one is None or isinstance(one, int | float) for one in given))
            found[name] = np.array([np.nan if one is None else one for one in given], np.float64)
        elif kind in ("i", "b"):
            wanted = bool if kind == "b" else int
            _must(all(type(one) is wanted for one in given))
            found[name] = np.array(given, np.bool_ if kind == "b" else np.int64)
        else:
            _must(kind == "O" and all(isinstance(one, str) for one in given))
            found[name] = np.array(given, object)
    return pd.DataFrame(found, columns=order)
