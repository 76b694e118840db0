"""JSON that is the same bytes for the same content, and is read with suspicion."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from widgetkit.errors import InvalidInput, StoreCorrupt, StoreNotFound

# A million tiles in segments of 512 list ~6000 files, 1 MB. 256 MB is never a manifest.
LARGEST_JSON = 256 * 2**20
_DEEPEST = 32


def canonical(value: object) -> bytes:
    """UTF-8 JSON with sorted keys, one fixed layout, no NaN, a newline at the end."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=1)
    return (text + "\n").encode("utf-8")


def signed(value: Mapping[str, Any]) -> dict[str, Any]:
    """``value`` with the SHA-256 of its canonical form as field ``checksum``."""
    return {**value, "checksum": hashlib.sha256(canonical(value)).hexdigest()}


def plain(value: object, what: str, _depth: int = 0) -> Any:
    """``value`` as what JSON can hold; numpy scalars and arrays, tuples, sets and paths converted.

    Raises
    ------
    InvalidInput
        Something in it has no JSON form (NaN, an object, a lone surrogate). ``what`` names it.
    """
    if _depth > _DEEPEST:
        raise InvalidInput(f"{what} is nested more than {_DEEPEST} levels deep.")
    if value is None or isinstance(value, bool | np.bool_):
        return None if value is None else bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        number = float(value)
        if not math.isfinite(number):
            raise InvalidInput(f"{what} holds {number}, which JSON cannot keep. Use None.")
        return number
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise InvalidInput(f"{what} holds text that is not valid Unicode.") from None
        return str(value)
    if isinstance(value, Path | np.dtype):
        return str(value)
    if isinstance(value, np.ndarray):
        return plain(value.tolist(), what, _depth + 1)
    if isinstance(value, Mapping):
        return {
            str(plain(str(key), what)): plain(item, f"{what}[{key!r}]", _depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, set | frozenset):
        return sorted((plain(item, what, _depth + 1) for item in value), key=repr)
    if isinstance(value, list | tuple):
        return [plain(item, f"{what}[{i}]", _depth + 1) for i, item in enumerate(value)]
    raise InvalidInput(
        f"{what} is a {type(value).__name__}, which cannot be kept as JSON. "
        "Use numbers, text, lists and dictionaries."
    )


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice")
    return result


def parse(data: bytes, where: str) -> Any:
    """Strict JSON.

    Raises
    ------
    StoreCorrupt
        Not UTF-8, not JSON, a key twice, NaN, or nested absurdly deep. ``where`` names the file.
    """
    try:
        return json.loads(
            data.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_no_duplicates
        )
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)[:200]
        raise StoreCorrupt(f"{where} is not readable as JSON: {reason}.") from None


def read(path: Path) -> tuple[Any, bytes]:
    """The parsed content of a JSON file, and its bytes."""
    try:
        if not path.is_file():
            raise StoreNotFound(f"There is no file {path}.")
        size = path.stat().st_size
        if size > LARGEST_JSON:
            raise StoreCorrupt(f"{path} has {size} bytes; nothing here is written that long.")
        data = path.read_bytes()
    except OSError as error:
        if isinstance(error, StoreNotFound):
            raise
        raise StoreCorrupt(f"{path} cannot be read: {error.strerror}.") from error
    return parse(data, str(path)), data


class Fields:
    """One JSON object, taken apart field by field; anything unexpected is :class:`StoreCorrupt`."""

    def __init__(self, value: Any, where: str) -> None:
        self._where = where
        if not isinstance(value, dict):
            raise StoreCorrupt(f"{where} is not an object with fields.")
        self._rest: dict[str, Any] = dict(value)

    def _bad(self, key: str, wanted: str) -> StoreCorrupt:
        return StoreCorrupt(f"{self._where}: {key!r} is not {wanted}.")

    def take(self, key: str) -> Any:
        if key not in self._rest:
            raise StoreCorrupt(f"{self._where} has no field {key!r}.")
        return self._rest.pop(key)

    def text(self, key: str, *, longest: int = 4096) -> str:
        value = self.take(key)
        if not isinstance(value, str) or len(value) > longest:
            raise self._bad(key, f"text of at most {longest} characters")
        return value

    def choice(self, key: str, known: tuple[str, ...]) -> str:
        value = self.text(key)
        if value not in known:
            raise self._bad(key, f"one of {', '.join(known)}")
        return value

    def integer(self, key: str, low: int, high: int) -> int:
        value = self.take(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._bad(key, f"a whole number from {low} to {high}")
        return value

    def number(self, key: str) -> float:
        value = self.take(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._bad(key, "a number")
        try:
            return float(value)
        except OverflowError:
            raise self._bad(key, "a number that fits") from None

    def boolean(self, key: str) -> bool:
        value = self.take(key)
        if not isinstance(value, bool):
            raise self._bad(key, "true or false")
        return value

    def shape(self, key: str, *, dims: tuple[int, ...], largest: int = 2**20) -> tuple[int, ...]:
        value = self.items(key, longest=max(dims))
        if len(value) not in dims or not all(
            isinstance(d, int) and not isinstance(d, bool) and 0 < d <= largest for d in value
        ):
            raise self._bad(key, f"a shape of {' or '.join(map(str, dims))} sizes up to {largest}")
        return tuple(value)

    def items(self, key: str, *, longest: int) -> list[Any]:
        value = self.take(key)
        if not isinstance(value, list) or len(value) > longest:
            raise self._bad(key, f"a list of at most {longest} entries")
        return value

    def mapping(self, key: str) -> dict[str, Any]:
        value = self.take(key)
        if not isinstance(value, dict):
            raise self._bad(key, "an object with fields")
        return value

    def done(self) -> None:
        if self._rest:
            names = ", ".join(repr(name[:40]) for name in list(self._rest)[:5])
            raise StoreCorrupt(f"{self._where} has fields nobody writes: {names}.")


def check_signed(value: dict[str, Any], fields: Fields, where: str) -> None:
    """Raise :class:`StoreCorrupt` unless the ``checksum`` is that of the other fields."""
    checksum = fields.text("checksum")
    try:
        actual = signed({key: item for key, item in value.items() if key != "checksum"})
    except (ValueError, RecursionError):
        actual = {"checksum": None}
    if checksum != actual["checksum"]:
        raise StoreCorrupt(f"{where} was altered: its checksum is not the one recorded.")
