"""What may differ between simulated images, in which levels, and which level each image has."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from widgetkit.errors import InvalidInput, TooFew, UnknownName, near
from widgetkit.simulate.bodies import SHAPES

Levels: TypeAlias = int | Mapping[str, int | Sequence[Any]]

#: Right and left first, so that two levels are the two lungs.
LOCATIONS = ("right-upper", "left-upper", "right-lower", "left-lower")
#: Units of the factors that are numbers: least and largest level, and what is allowed.
RANGES: dict[str, tuple[float, float, float, float]] = {
    "size": (24.0, 56.0, 2.0, 150.0),  # mm across
    "intensity": (-600.0, 40.0, -1000.0, 1000.0),  # HU: from ground glass to solid
    "noise": (20.0, 120.0, 0.0, 1000.0),  # HU
}
WORDS: dict[str, tuple[str, ...]] = {"location": LOCATIONS, "shape": SHAPES}
FACTORS = ("size", "location", "intensity", "shape", "noise")
#: Columns of the table, one a factor but for the location, which has two.
COLUMNS = {"size": "size_mm", "intensity": "intensity_hu", "shape": "shape", "noise": "noise_hu"}
UNITS = {"size": " mm", "intensity": " HU", "noise": " HU noise"}


def design(vary: Sequence[str] | str, levels: Levels, constant: Mapping[str, Any]) -> pd.DataFrame:
    """Every combination of levels of the varied factors, (k, 5): a column a factor.

    Raises
    ------
    UnknownName, InvalidInput
    """
    wanted = (vary,) if isinstance(vary, str) else tuple(vary)
    for name in (*wanted, *(levels if isinstance(levels, Mapping) else ()), *constant):
        if name not in FACTORS:
            raise UnknownName(
                f"There is no factor {name!r}. {near(str(name), FACTORS)} Known: {', '.join(FACTORS)}."
            )
    if not wanted or len(set(wanted)) < len(wanted):
        raise InvalidInput(f"vary={wanted}: one or more factors, each once.")
    if isinstance(levels, Mapping) and set(levels) - set(wanted):
        extra = ", ".join(sorted(set(levels) - set(wanted)))
        raise InvalidInput(f"levels are given for {extra}, which is not among vary={wanted}.")
    ordered = [name for name in FACTORS if name in wanted]
    choices = [
        _levels(name, levels.get(name, 2) if isinstance(levels, Mapping) else levels)
        for name in ordered
    ]
    rows = [
        dict(zip(ordered, combination, strict=True)) for combination in itertools.product(*choices)
    ]
    fixed = {name: _value(name, constant[name]) for name in FACTORS if name not in wanted}
    return pd.DataFrame([{name: {**fixed, **row}[name] for name in FACTORS} for row in rows])


def names(table: pd.DataFrame, vary: Sequence[str]) -> tuple[str, ...]:
    """What each group is called: its levels, in words."""
    ordered = [name for name in FACTORS if name in vary]
    return tuple(
        ", ".join(
            f"{row[name]:g}{UNITS[name]}" if name in UNITS else str(row[name]) for name in ordered
        )
        for row in table.to_dict("records")
    )


def assign(n: int, k: int, seed: int) -> npt.NDArray[np.int32]:
    """Groups of ``n`` images, of sizes that differ by at most one, in an order drawn from ``seed``.

    Raises
    ------
    TooFew
        Fewer than two images a group.
    """
    if n < 2 * k:
        raise TooFew(
            f"n={n} images for {k} groups (every combination of levels): at least {2 * k} are needed."
        )
    order = np.random.default_rng([seed, 2**31]).permutation(n)
    return (np.arange(n) % k)[order].astype(np.int32)


def _levels(name: str, asked: object) -> tuple[Any, ...]:
    if isinstance(asked, (int, np.integer)) and not isinstance(asked, bool):
        count = int(asked)
        if count < 2:
            raise InvalidInput(f"levels={count} of {name}: a factor that varies has at least 2.")
        if name in WORDS:
            if count > len(WORDS[name]):
                raise InvalidInput(
                    f"levels={count} of {name}: there are {len(WORDS[name])} ({', '.join(WORDS[name])})."
                )
            return WORDS[name][:count]
        low, high, _, _ = RANGES[name]
        return tuple(float(value) for value in np.linspace(low, high, count))
    if isinstance(asked, str) or not isinstance(asked, Sequence | np.ndarray):
        raise InvalidInput(f"levels of {name}: {asked!r}; a number from 2, or the values.")
    values = tuple(_value(name, value) for value in asked)
    if len(values) < 2 or len(set(values)) < len(values):
        raise InvalidInput(f"levels of {name}: {values}; at least 2 different ones.")
    return values


def _value(name: str, value: Any) -> Any:
    if name in WORDS:
        if value not in WORDS[name]:
            raise UnknownName(
                f"There is no {name} {value!r}. Known: {', '.join(map(repr, WORDS[name]))}."
            )
        return str(value)
    _, _, low, high = RANGES[name]
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        number = float(value)
        if low <= number <= high:
            return number
    unit = UNITS[name].split()[0]
    raise InvalidInput(f"{name}={value!r}: a number from {low:g} to {high:g} {unit}.")
