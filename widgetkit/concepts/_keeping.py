"""A concept set as plain values and arrays, read back with suspicion."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from widgetkit.concepts.region import MAX_CELLS, Region
from widgetkit.errors import InvalidInput, StoreCorrupt, WidgetkitError

if TYPE_CHECKING:
    from widgetkit.concepts.concept_set import ConceptSet

VERSION = 1
MAX_LENGTH = 64 * 2**20
#: Numbers that the arrays of a text may hold.
MAX_NUMBERS = 256 * 2**20
#: Bytes that the regions of a text may hold.
MAX_REGION_BYTES = 64 * 2**20

_DTYPES = {"labels": np.int8, "patients": np.int32, "class_concepts": np.uint8, "regions": np.uint8}


def parts_of(concepts: ConceptSet) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Plain values, and arrays by name."""
    arrays: dict[str, npt.NDArray[Any]] = {"labels": concepts.labels}
    if concepts.patients is not None:
        arrays["patients"] = concepts.patients
    if concepts.class_concepts is not None:
        arrays["class_concepts"] = concepts.class_concepts.astype(np.uint8)
    places, bits = [], []
    for name, own in concepts.regions.items():
        for row, region in own.items():
            places.append([concepts.number(name), row, list(region.shape)])
            bits.append(np.frombuffer(region.bits, np.uint8))
    if places:
        arrays["regions"] = np.concatenate(bits)
    return {
        "version": VERSION,
        "n": concepts.n,
        "names": list(concepts.names),
        "classes": list(concepts.classes),
        "apart": [list(pair) for pair in concepts.apart],
        "regions": places,
    }, arrays


def from_parts(
    make: type[ConceptSet],
    params: Mapping[str, Any],
    arrays: Mapping[str, npt.NDArray[Any]],
    n: int,
    where: str,
) -> ConceptSet:
    """The set again.

    Raises
    ------
    StoreCorrupt
        Something in it does not fit; ``where`` names it.
    """
    try:
        return _made(make, params, arrays, n)
    except StoreCorrupt:
        raise
    except (WidgetkitError, KeyError, TypeError, ValueError, OverflowError, IndexError) as error:
        raise StoreCorrupt(f"{where} is damaged: {str(error)[:200]}") from error


def digest_of(concepts: ConceptSet) -> str:
    params, arrays = parts_of(concepts)
    found = hashlib.blake2b(json.dumps(params, sort_keys=True).encode(), digest_size=16)
    for name, array in sorted(arrays.items()):
        found.update(f"{name}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def encode(concepts: ConceptSet) -> str:
    params, arrays = parts_of(concepts)
    packed = {name: _packed(array) for name, array in arrays.items()}
    return json.dumps({**params, "arrays": packed}, sort_keys=True, separators=(",", ":"))


def decode(make: type[ConceptSet], text: str, n: int | None) -> ConceptSet:
    if not isinstance(text, str) or len(text) > MAX_LENGTH:
        _bad("it is not the text of a set")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        _bad("it is not JSON", error)
    try:
        if not isinstance(value, dict):
            _bad("it is not an object")
        own = value["n"]
        if isinstance(own, bool) or not isinstance(own, int) or own < 0:
            _bad("it does not say of how many tiles it is")
        if n is not None and own != n:
            _bad(f"it is of {own} tiles, and {n} are meant")
        sizes = _sizes(value, own)
        packed = value["arrays"]
        if not isinstance(packed, dict) or not set(packed) <= set(sizes):
            _bad("its arrays are not the ones of a set")
        arrays = {name: _unpacked(packed[name], sizes[name], _DTYPES[name]) for name in packed}
        return _made(make, value, arrays, own)
    except (WidgetkitError, KeyError, TypeError, ValueError, OverflowError, IndexError) as error:
        if isinstance(error, InvalidInput) and str(error).startswith(_START):
            raise
        _bad(str(error)[:200], error)


def _made(
    make: type[ConceptSet], params: Mapping[str, Any], arrays: Mapping[str, Any], n: int
) -> ConceptSet:
    if params["version"] != VERSION:
        raise InvalidInput(f"it is of version {params['version']!r:.20}; {VERSION} is read")
    if params["n"] != n:
        raise InvalidInput(f"it is of {params['n']!r:.20} tiles, and {n} are meant")
    sizes = _sizes(params, n)
    found = {}
    for name, dtype in _DTYPES.items():
        if name not in arrays:
            continue
        array = np.asarray(arrays[name])
        if array.dtype != dtype or array.shape != sizes[name]:
            raise InvalidInput(f"its {name} are {array.dtype} of shape {array.shape}")
        found[name] = array
    shown = found.get("class_concepts")
    if shown is not None and int(shown.max(initial=0)) > 1:
        raise InvalidInput("its class_concepts are not 0 and 1")
    names = tuple(params["names"])
    return make(
        names,
        found["labels"],
        found.get("patients"),
        tuple(params["classes"]),
        None if shown is None else shown.astype(np.bool_),
        tuple((first, second) for first, second in params["apart"]),
        _regions_in(params["regions"], found.get("regions"), names),
    )


def _sizes(params: Mapping[str, Any], n: int) -> dict[str, tuple[int, ...]]:
    """Shape of each array; only these many numbers are unpacked."""
    names, classes, places = params["names"], params["classes"], params["regions"]
    if not all(isinstance(part, list) for part in (names, classes, places, params["apart"])):
        raise InvalidInput("its names, classes, pairs and regions are not lists")
    total = 0
    for _, _, shape in places:
        total += _bytes_of(shape)
        if total > MAX_REGION_BYTES:
            raise InvalidInput("its regions are too large")
    if n * max(len(names), 1) > MAX_NUMBERS or len(classes) * max(len(names), 1) > MAX_NUMBERS:
        raise InvalidInput("it is too large")
    return {
        "labels": (n, len(names)),
        "patients": (n,),
        "class_concepts": (len(classes), len(names)),
        "regions": (total,),
    }


def _bytes_of(shape: Any) -> int:
    if not isinstance(shape, list) or not 1 <= len(shape) <= 3:
        raise InvalidInput("a region has no shape")
    cells = 1
    for size in shape:
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= MAX_CELLS:
            raise InvalidInput("a region has an impossible shape")
        cells *= size
    if cells > MAX_CELLS:
        raise InvalidInput("a region is too large")
    return (cells + 7) // 8


def _regions_in(
    places: list[Any], bits: npt.NDArray[np.uint8] | None, names: tuple[str, ...]
) -> dict[str, dict[int, Region]]:
    found: dict[str, dict[int, Region]] = {}
    at = 0
    for f, row, shape in places:
        for number in (f, row):
            if isinstance(number, bool) or not isinstance(number, int) or number < 0:
                raise InvalidInput("a region is of no concept or tile")
        size = _bytes_of(shape)
        if bits is None:
            raise InvalidInput("its regions are missing")
        found.setdefault(names[f], {})[row] = Region(tuple(shape), bits[at : at + size].tobytes())
        at += size
    return found


def _packed(array: npt.NDArray[Any]) -> str:
    little = array.astype(array.dtype.newbyteorder("<"))
    return base64.b64encode(zlib.compress(little.tobytes(), 6)).decode("ascii")


def _unpacked(text: Any, shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    try:
        unpack = zlib.decompressobj()
        data = unpack.decompress(base64.b64decode(text, validate=True), size + 1)
    except (TypeError, ValueError, binascii.Error, zlib.error) as error:
        _bad("an array is damaged", error)
    if len(data) != size or not unpack.eof:
        _bad("an array has another size than it must have")
    return np.frombuffer(data, np.dtype(dtype).newbyteorder("<")).reshape(shape).astype(dtype)


_START = "The concepts cannot be read: "


def _bad(why: str, cause: BaseException | None = None) -> NoReturn:
    raise InvalidInput(f"{_START}{why}.") from cause
