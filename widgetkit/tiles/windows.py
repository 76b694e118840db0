"""What CT shows as black and white: the usual presets, in Hounsfield units."""

from __future__ import annotations

from dataclasses import dataclass

from widgetkit.errors import InvalidInput, UnknownName, near
from widgetkit.tiles.pixels import check_window


@dataclass(frozen=True)
class Window:
    """Level (middle) and width of what is shown, in HU."""

    level: float
    width: float

    @property
    def range(self) -> tuple[float, float]:
        """(low, high): the values shown as black and as white."""
        return self.level - self.width / 2, self.level + self.width / 2


#: Level and width by organ, as listed by Radiopaedia's article "Windowing (CT)"; institutions differ.
WINDOWS: dict[str, Window] = {
    "lung": Window(-600, 1500),
    "mediastinum": Window(50, 350),
    "bone": Window(400, 1800),
    "brain": Window(40, 80),
    "liver": Window(30, 150),
    "soft tissue": Window(50, 400),
}


def resolve_window(window: str | Window | tuple[float, float]) -> tuple[float, float]:
    """(low, high) of a preset's name, a :class:`Window` or two numbers.

    Raises
    ------
    UnknownName
        No preset of this name; lists those there are.
    InvalidInput
        Not two finite numbers, the lower first.
    """
    if isinstance(window, str):
        found = WINDOWS.get(window.strip().lower().replace("_", " "))
        if found is None:
            raise UnknownName(
                f"There is no window {window!r}. {near(window, WINDOWS)} Or give (low, high)."
            )
        return found.range
    if isinstance(window, Window):
        return check_window(window.range)
    try:
        low, high = window
    except (TypeError, ValueError):
        raise InvalidInput(
            f"window={window!r}; it must be (low, high) or one of {', '.join(map(repr, WINDOWS))}."
        ) from None
    return check_window((low, high))
