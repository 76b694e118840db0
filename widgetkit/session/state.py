"""A session as a text that another machine opens on the same store."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from widgetkit import explain
from widgetkit.concepts import ConceptSet
from widgetkit.errors import InvalidInput, StoreMismatch, WidgetkitError
from widgetkit.session.clustering import MAX_CLUSTERS, Clustering
from widgetkit.session.mapspec import MapSpec, kind_of
from widgetkit.session.selection import Selection

if TYPE_CHECKING:
    from widgetkit.store import ActivationStore

FORMAT = "widgetkit-session"
#: 1 had no "against" in its map, 2 no "concepts".
VERSION = 3
MAX_LENGTH = 64 * 2**20
MAX_NAMED = 1000
MAX_NAME = 200
MAX_HOW = 64 * 2**10
#: Weights (n, k) beyond so many numbers are left out of the text (a restored clustering then
#: ranks tiles by the distance to its prototypes).
MAX_WEIGHTS = 1_000_000

_KEYS = {"format", "version", "store", "layer", "selection", "named", "map", "focus", "clustering"}


@dataclass(frozen=True)
class State:
    """What a state text holds.

    Attributes
    ----------
    clustering : Clustering or None
        None means the default one of the layer.
    """

    layer: str
    selection: Selection
    map_spec: MapSpec
    named: Mapping[str, Selection] = field(default_factory=dict)
    focus: int | None = None
    clustering: Clustering | None = None
    concepts: ConceptSet | None = None


def dumps(state: State, store_id: str) -> str:
    """The state as JSON; selections and arrays compressed."""
    spec = state.map_spec
    value = {
        "format": FORMAT,
        "version": VERSION,
        "store": store_id,
        "layer": state.layer,
        "selection": _selection_out(state.selection),
        "named": {name: _selection_out(kept) for name, kept in state.named.items()},
        "map": {
            "method": spec.method,
            "target": spec.target,
            "layer": spec.layer,
            "of": spec.of,
            "against": spec.against,
        },
        "focus": state.focus,
        "clustering": None if state.clustering is None else _clustering_out(state.clustering),
        "concepts": None if state.concepts is None else state.concepts.encode(),
    }
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def loads(text: str, store: ActivationStore) -> State:
    """Read what :func:`dumps` wrote, on the same store. Nothing in the text is trusted.

    Raises
    ------
    StoreMismatch
        The text is of another store.
    InvalidInput
        The text is damaged, of a newer version, or does not fit the store.
    """
    value = _parse(text)
    if value.get("format") != FORMAT:
        _bad("it is not the state of a session")
    version = value.get("version")
    if type(version) is not int or version not in range(1, VERSION + 1):
        _bad(f"it is of version {version!r:.20}; this widgetkit reads 1 to {VERSION}")
    if set(value) != (_KEYS | {"concepts"} if version > 2 else _KEYS):
        _bad("parts are missing or unknown")
    if value["store"] != store.id:
        raise StoreMismatch(
            f"The state belongs to the store {value['store']!r:.40}; this one is {store.id!r}. "
            "Open the store it was saved on."
        )
    n = len(store)
    layer = value["layer"]
    if not isinstance(layer, str) or layer not in store.layers:
        _bad("it names a layer that the store does not have")
    named = _mapping(value["named"], "named selections")
    if len(named) > MAX_NAMED:
        _bad(f"it has more than {MAX_NAMED} named selections")
    try:
        return State(
            layer,
            _selection_in(value["selection"], n),
            _map_in(value["map"], store),
            {check_name(name): _selection_in(part, n) for name, part in named.items()},
            _focus_in(value["focus"], n),
            None if value["clustering"] is None else _clustering_in(value["clustering"], store),
            _concepts_in(value.get("concepts"), n),
        )
    except WidgetkitError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        _bad("a part has the wrong form", error)


def check_name(name: object) -> str:
    """A name for a kept selection: 1 to ``MAX_NAME`` printable characters."""
    if (
        not isinstance(name, str)
        or not name.strip()
        or len(name) > MAX_NAME
        or not name.isprintable()
    ):
        raise InvalidInput(f"A name is a text of 1 to {MAX_NAME} printable characters.")
    return name


def check_how(how: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """``how`` if it is JSON-able and not huge; otherwise only its kind."""
    if how is None:
        return None
    kind = str(how.get("kind", "unknown"))[:MAX_NAME]
    try:
        text = json.dumps(dict(how), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return {"kind": kind}
    if len(text) > MAX_HOW:
        return {"kind": kind}
    return {**json.loads(text), "kind": kind}


# -- parts -------------------------------------------------------------------------------
def _parse(text: str) -> dict[str, Any]:
    if not isinstance(text, str):
        raise InvalidInput(f"A state is the text of session.state(); got {type(text).__name__}.")
    if len(text) > MAX_LENGTH:
        _bad(f"it has more than {MAX_LENGTH} characters")

    def constant(name: str) -> NoReturn:
        raise ValueError(name)

    try:
        return _mapping(json.loads(text, parse_constant=constant), "the whole")
    except (ValueError, RecursionError) as error:
        _bad("it is not JSON", error)


def _bad(why: str, cause: BaseException | None = None) -> NoReturn:
    raise InvalidInput(f"The state cannot be restored: {why}. Nothing was changed.") from cause


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        _bad(f"{what} is not an object")
    return value


def _selection_out(selection: Selection) -> dict[str, Any]:
    return {"bits": selection.encode(), "how": check_how(selection.how)}


def _selection_in(value: Any, n: int) -> Selection:
    part = _mapping(value, "a selection")
    # The count is read before anything is unpacked: n decides how much may be.
    if not isinstance(part["bits"], str) or not part["bits"].startswith(f"{n}:"):
        _bad("a selection is of another number of tiles")
    return Selection.decode(part["bits"], how=check_how(_mapping(part["how"], "how")))


def _map_in(value: Any, store: ActivationStore) -> MapSpec:
    part = _mapping(value, "the map")
    for key in ("layer", "of"):
        if part[key] is not None and not isinstance(part[key], str):
            _bad(f"the map's {key} is not text")
    if part["layer"] is not None and part["layer"] not in store.layers:
        _bad("the map is of a layer that the store does not have")
    if not isinstance(part["method"], str):
        _bad("the map's method is not text")
    explain.get(part["method"])
    spec = MapSpec(part["method"], part["target"], part["layer"], part["of"], part.get("against"))
    kind_of(spec)
    return spec


def _focus_in(value: Any, n: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < n:
        _bad("the focused tile is not in the store")
    return value


def _concepts_in(value: Any, n: int) -> ConceptSet | None:
    if value is None:
        return None
    if not isinstance(value, str):
        _bad("its concepts are not text")
    return ConceptSet.decode(value, n)


def _clustering_out(clustering: Clustering) -> dict[str, Any]:
    weights = clustering.weights
    if weights is not None and weights.size > MAX_WEIGHTS:
        weights = None
    # One byte a tile: 255 stands for -1.
    labels = np.where(clustering.labels < 0, 255, clustering.labels).astype(np.uint8)
    return {
        "name": clustering.name,
        "method": clustering.method,
        "layer": clustering.layer,
        "names": list(clustering.names),
        "colors": [int(c) for c in clustering.colors],
        "labels": _array_out(labels),
        "prototypes": _array_out(clustering.prototypes),
        "weights": _array_out(weights),
        "params": dict(clustering.params),
        "seed": int(clustering.seed),
        "hidden": sorted(clustering.hidden),
        "base": _array_out(clustering.base),
        "owners": None if clustering.owners is None else _owners_out(clustering.owners),
    }


def _clustering_in(value: Any, store: ActivationStore) -> Clustering:
    part = _mapping(value, "the clustering")
    names, colors, layer = part["names"], part["colors"], part["layer"]
    for key in ("name", "method", "layer"):
        if not isinstance(part[key], str) or len(part[key]) > 1000:
            _bad(f"the clustering's {key} is not a short text")
    if layer not in store.layers:
        _bad("the clustering is of a layer that the store does not have")
    if not isinstance(names, list) or not isinstance(colors, list) or len(names) > MAX_CLUSTERS:
        _bad("the clusters have no list of names and colours")
    if not isinstance(part["seed"], int) or isinstance(part["seed"], bool):
        _bad("the clustering's seed is not a whole number")
    n, k, channels = len(store), len(names), store.layers[layer].channels
    labels = _array_in(part["labels"], (n,), np.uint8)
    if labels is None:
        _bad("the clustering has no labels")
    made = Clustering(
        part["name"],
        part["method"],
        layer,
        np.where(labels == 255, -1, labels.astype(np.int32)),
        ("",) * k,
        (0,) * k if len(colors) == k else (),
        _array_in(part["prototypes"], (k, channels), np.float32),
        _array_in(part["weights"], (n, k), np.float32),
        _mapping(part["params"], "the clustering's parameters"),
        part["seed"],
    )
    base, owners = _origin_in(part, n, channels)
    made = replace(made, hidden=_hidden_in(part), base=base, owners=owners)
    for i in range(k):
        made = made.rename(i, names[i]).recolour(i, colors[i])
    return made


def _owners_out(owners: npt.NDArray[np.uint8]) -> dict[str, Any]:
    return {"prototypes": len(owners), "each": owners.shape[1] > 1, "bytes": _array_out(owners)}


def _hidden_in(part: dict[str, Any]) -> frozenset[int]:
    hidden = part.get("hidden", [])  # texts of earlier versions have none
    if not isinstance(hidden, list) or len(hidden) > MAX_CLUSTERS:
        _bad("the hidden clusters are not a list")
    return frozenset(hidden)


def _origin_in(
    part: dict[str, Any], n: int, channels: int
) -> tuple[npt.NDArray[np.float32] | None, npt.NDArray[np.uint8] | None]:
    """What merged and split clusters were before; texts of earlier versions do not say."""
    if part.get("base") is None or part.get("owners") is None:
        return None, None
    owners = _mapping(part["owners"], "what the clusters were made of")
    k0 = owners["prototypes"]
    if not isinstance(k0, int) or isinstance(k0, bool) or not 1 <= k0 <= MAX_CLUSTERS:
        _bad("the clusters were made of an impossible number of prototypes")
    shape = (k0, n if owners["each"] is True else 1)
    return _array_in(part["base"], (k0, channels), np.float32), _array_in(
        owners["bytes"], shape, np.uint8
    )


def _array_out(array: npt.NDArray[Any] | None) -> str | None:
    if array is None:
        return None
    little = array.astype(array.dtype.newbyteorder("<"))
    return base64.b64encode(zlib.compress(little.tobytes(), 6)).decode("ascii")


def _array_in(value: Any, shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any] | None:
    if value is None:
        return None
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    try:
        unpack = zlib.decompressobj()
        data = unpack.decompress(base64.b64decode(value, validate=True), size + 1)
    except (TypeError, ValueError, binascii.Error, zlib.error) as error:
        _bad("an array is damaged", error)
    if len(data) != size or not unpack.eof:
        _bad("an array has another size than the store needs")
    array = (
        np.frombuffer(data, dtype=np.dtype(dtype).newbyteorder("<")).reshape(shape).astype(dtype)
    )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        _bad("an array holds NaN or infinity")
    return array
