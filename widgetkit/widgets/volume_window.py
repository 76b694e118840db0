"""Windows of a stored volume: presets, and what of them its 8 bits can show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from widgetkit.errors import InvalidInput, UnknownName, near

if TYPE_CHECKING:
    from widgetkit.session.scan import Scan

Window = tuple[float, float]

#: Level and width in HU. Those of ``widgetkit.tiles.WINDOWS``, which a view must not import; a test
#: compares the two.
PRESETS: Mapping[str, tuple[float, float]] = {
    "lung": (-600, 1500),
    "mediastinum": (50, 350),
    "bone": (400, 1800),
    "brain": (40, 80),
    "liver": (30, 150),
    "soft tissue": (50, 400),
}


def stored_window(scan: Scan) -> Window:
    """Values of grey 0 and 255: all that the store can show."""
    return scan.window or (0.0, 255.0)


def presets(scan: Scan) -> list[dict[str, Any]]:
    """``{"name", "low", "high"}`` of each preset; ``"note"``: where the store has less of it;
    ``"reason"``: where it has nothing of it. Empty unless the volume is in HU."""
    if scan.units != "HU":
        return []
    least, most = stored_window(scan)
    found = []
    for name, (level, width) in PRESETS.items():
        low, high = level - width / 2, level + width / 2
        entry: dict[str, Any] = {"name": name, "low": low, "high": high}
        if high <= least or low >= most:
            entry["reason"] = "outside of the stored window"
        elif low < least or high > most:
            entry["note"] = f"stored: {max(low, least):g} to {min(high, most):g}"
        found.append(entry)
    return found


def resolve(window: object, scan: Scan | None) -> Window:
    """(low, high) of a preset's name or of two numbers.

    Raises
    ------
    UnknownName
        No preset of this name.
    InvalidInput
        Not two finite numbers, the lower first; a preset for a volume that is not in HU, or of
        which the store holds nothing.
    """
    if isinstance(window, str):
        if window not in PRESETS:
            raise UnknownName(
                f"There is no window {window!r}. {near(window, PRESETS)} Or give (low, high)."
            )
        entries = {} if scan is None else {entry["name"]: entry for entry in presets(scan)}
        if window not in entries:
            raise InvalidInput(
                f"window={window!r} is in HU, and the volume is not. Give (low, high)."
            )
        entry = entries[window]
        if "reason" in entry:
            assert scan is not None
            low, high = stored_window(scan)
            raise InvalidInput(
                f"Nothing of window {window!r} is stored: the pictures hold {low:g} to {high:g} HU. "
                "Extract again with another window=."
            )
        return float(entry["low"]), float(entry["high"])
    pair = checked(window)
    if pair is None:
        raise InvalidInput(
            f"window={window!r}; it must be (low, high), both finite, low < high, or one of "
            f"{', '.join(map(repr, PRESETS))}."
        )
    return pair


def checked(window: object) -> Window | None:
    """Two finite numbers, the lower first; None for anything else."""
    if not isinstance(window, (list, tuple)) or len(window) != 2:
        return None
    if not all(
        isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in window
    ):
        return None
    low, high = float(window[0]), float(window[1])
    return (low, high) if low < high else None
