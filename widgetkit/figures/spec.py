"""What a figure is asked to be: its size on paper and its type."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from widgetkit.errors import InvalidInput, UnknownName, near

MM_PER_INCH = 25.4

#: Width of one column and of the page in millimetres, and the smallest type the journal prints.
PRESETS: dict[str, dict[str, float]] = {
    "nature-column": {"width_mm": 89, "font_pt": 7},
    "nature-page": {"width_mm": 183, "font_pt": 7},
    "elsevier-column": {"width_mm": 90, "font_pt": 8},
    "elsevier-page": {"width_mm": 190, "font_pt": 8},
    "ieee-column": {"width_mm": 88.9, "font_pt": 8},
    "ieee-page": {"width_mm": 182, "font_pt": 8},
    "slide": {"width_mm": 254, "font_pt": 14},
}


@dataclass(frozen=True)
class FigureSpec:
    """Size and type of a figure.

    Parameters
    ----------
    width_mm, height_mm : float
        Size on paper. A height of None takes what the content needs.
    dpi : float
        Of PNG, and of the rasterised points inside SVG and PDF.
    font_pt : float
        Size of the text in points.
    """

    width_mm: float = 180.0
    height_mm: float | None = None
    dpi: float = 300.0
    font_pt: float = 7.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("width_mm", 10, 2000),
            ("height_mm", 10, 2000),
            ("dpi", 20, 2400),
            ("font_pt", 2, 72),
        ):
            value = getattr(self, name)
            if value is None and name == "height_mm":
                continue
            if not (
                isinstance(value, (int, float)) and math.isfinite(value) and low <= value <= high
            ):
                raise InvalidInput(
                    f"{name}={value!r} of a figure must be a number from {low} to {high}."
                )

    @classmethod
    def preset(cls, name: str, **changes: Any) -> FigureSpec:
        """A journal's sizes by name; see :data:`PRESETS`."""
        if name not in PRESETS:
            raise UnknownName(f"No figure preset {name!r}. {near(name, PRESETS)}")
        return cls(**(PRESETS[name] | changes))

    def with_height(self, height_mm: float) -> FigureSpec:
        """The same with this height where none was asked for."""
        return (
            self
            if self.height_mm is not None
            else replace(self, height_mm=min(2000.0, max(10.0, height_mm)))
        )

    @property
    def inches(self) -> tuple[float, float]:
        if self.height_mm is None:
            raise InvalidInput("The figure's height is not known yet; give height_mm.")
        return self.width_mm / MM_PER_INCH, self.height_mm / MM_PER_INCH

    def rc(self) -> dict[str, Any]:
        """matplotlib settings: live text in SVG and PDF, thin lines, one size of type."""
        return {
            "font.size": self.font_pt,
            "axes.titlesize": self.font_pt,
            "axes.labelsize": self.font_pt,
            "xtick.labelsize": self.font_pt,
            "ytick.labelsize": self.font_pt,
            "legend.fontsize": self.font_pt,
            "figure.titlesize": self.font_pt,
            "axes.linewidth": 0.5,
            "xtick.major.width": 0.5,
            "ytick.major.width": 0.5,
            "xtick.major.size": 2,
            "ytick.major.size": 2,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "figure.dpi": 100,
            "savefig.dpi": self.dpi,
            "svg.fonttype": "none",
            "pdf.fonttype": 42,
            "text.parse_math": False,  # labels are data: a dollar sign is a dollar sign
        }
