"""What a concept set is given, checked once: labels, patients, pairs, regions, names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._columns import codes
from widgetkit.concepts._labels import ALL, NOT_ALL, concept_number, rows_of
from widgetkit.concepts.region import Region
from widgetkit.errors import ChannelMismatch, InvalidInput

#: Text a person may give a concept; longer names are refused.
MAX_NAME = 200
#: Tiles of one concept with a brushed region.
MAX_REGIONS = 10_000

Labels = npt.NDArray[np.int8]
Codes32 = npt.NDArray[np.int32]


def check_name(name: object, what: str = "concept") -> str:
    """1 to ``MAX_NAME`` printable characters."""
    if (
        not isinstance(name, str)
        or not name.strip()
        or len(name) > MAX_NAME
        or not name.isprintable()
    ):
        raise InvalidInput(
            f"The name of a {what} is a text of 1 to {MAX_NAME} printable characters; got {name!r:.60}."
        )
    if name == ALL and what == "concept":
        raise InvalidInput(NOT_ALL)
    return name


def patient_codes(patients: npt.ArrayLike) -> Codes32:
    """(n,) a number for each patient, by first appearance; all missing ones together are one."""
    _, which = codes(np.asarray(patients))
    _, first, inverse = np.unique(which, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    return rank[inverse]


def checked_labels(labels: npt.ArrayLike, names: tuple[str, ...]) -> Labels:
    """(n, F) int8, read-only: 1, 0 or -1."""
    given = np.asarray(labels)
    if given.ndim != 2 or given.shape[1] != len(names):
        raise ChannelMismatch(
            f"labels hold one row a tile and one column a concept, (n, {len(names)}); got shape "
            f"{given.shape}."
        )
    wrong = (
        ~np.isin(given, (1, 0, -1)) if given.dtype.kind in "iufb" else np.ones(given.shape, bool)
    )
    if wrong.any():
        row, f = (int(at) for at in np.argwhere(wrong)[0])
        raise InvalidInput(
            f"labels hold {given[row, f]!r:.40} for concept {names[f]!r} in tile {row}. Say 1 (shown), 0 (not "
            "shown) or -1 (nobody looked)."
        )
    return frozen(given, np.int8)


def checked_patients(patients: npt.ArrayLike | None, n: int) -> Codes32 | None:
    """(n,) numbers from 0, read-only, or None."""
    if patients is None:
        return None
    given = np.asarray(patients)
    if given.shape != (n,) or given.dtype.kind not in "iu":
        raise InvalidInput(
            f"patients hold one whole number a tile, ({n},); got {given.dtype} of shape {given.shape}. Names "
            "become numbers in ConceptSet.from_table."
        )
    if n and not (int(given.min()) >= 0 and int(given.max()) < 2**31):
        raise InvalidInput("Numbers of patients count from 0.")
    return frozen(given, np.int32)


def checked_pairs(pairs: Iterable[Any], names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Pairs of two different names, each once, in order."""
    found = set()
    for pair in pairs:
        if isinstance(pair, str) or len(pair) != 2 or pair[0] == pair[1]:
            raise InvalidInput(
                f"Concepts exclude one another in pairs of two names; got {pair!r:.80}."
            )
        for name in pair:
            concept_number(names, name)
        found.add(tuple(sorted(pair)))
    return tuple(sorted(found))


def checked_regions(
    regions: Mapping[str, Mapping[int, Region]], names: tuple[str, ...], n: int
) -> Mapping[str, Mapping[int, Region]]:
    """Regions by concept and row, in order, read-only; concepts without any left out."""
    found: dict[str, Mapping[int, Region]] = {}
    for name, own in regions.items():
        concept_number(names, name)
        if len(own) > MAX_REGIONS:
            raise InvalidInput(f"{name!r} has regions in {len(own)} tiles; {MAX_REGIONS} at most.")
        for row, region in own.items():
            if not isinstance(region, Region):
                raise InvalidInput(f"A place in a tile is a Region; got {type(region).__name__}.")
            rows_of([row], n, name)
        if own:
            found[name] = MappingProxyType({int(row): own[row] for row in sorted(own)})
    return MappingProxyType(dict(sorted(found.items())))


def frozen(array: npt.ArrayLike, dtype: Any) -> npt.NDArray[Any]:
    """Read-only; a copy where somebody could still write to the original."""
    given = np.asarray(array)
    if given.flags.writeable or given.dtype != dtype or not given.flags.c_contiguous:
        given = np.array(given, dtype=dtype, order="C")
        given.flags.writeable = False
    return given
