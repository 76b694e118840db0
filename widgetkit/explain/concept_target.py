"""A concept as map methods are given it: who shows it where, and which way it lies."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput


@dataclass(frozen=True, eq=False)
class ConceptTarget:
    """One concept among those that it is told apart from.

    Each method needs a part of it, and says so where that part is missing: ``concept`` the profiles,
    ``concept-plain`` the direction, ``concept-gradient`` what it goes towards.
    :func:`~widgetkit.explain.concept_profiles` makes targets of a store and labels.

    Attributes
    ----------
    index : int
        Which of the concepts, from 0.
    names : (F,) str
        Of the concepts, all of which have examples.
    profiles : (F, S, C) float, optional
        Mean activation of each channel in each shell over the examples of each concept, the innermost
        shell first.
    rest : (S, C) float, optional
        The same of tiles that do not show the concept; what a single concept is compared with.
    direction : (C,) float, optional
        Direction of the concept among the layer's activations, such as from the mean of all tiles to
        that of the examples.
    towards : (d,) float, optional
        Direction of the concept at the layer ``at``.
    at : str
        A layer at or after the one that maps are drawn on: ``(m, d)``, or maps ``(m, C, *grid)`` whose
        mean over the grid (``d = C``) or whose flattened values (``d = C * positions``) are meant.
    key : str
        What ``towards`` was made of, in a few characters: kept maps are found by it. Default:
        :attr:`digest` takes the numbers themselves.

    Raises
    ------
    InvalidInput
        No such concept, names or shapes that do not fit, NaN or infinity.
    """

    index: int
    names: tuple[str, ...]
    profiles: npt.NDArray[Any] | None = None
    rest: npt.NDArray[Any] | None = None
    direction: npt.NDArray[Any] | None = None
    towards: npt.NDArray[Any] | None = None
    at: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        count = len(self.names)
        if not 0 <= self.index < count:
            raise InvalidInput(
                f"Concept {self.index} is not one of the {count} concepts, which count from 0."
            )
        for what, dimensions in _DIMENSIONS.items():
            given = getattr(self, what)
            if given is None:
                continue
            values = np.asarray(given)
            if values.ndim != dimensions or not np.isfinite(values.astype(np.float64)).all():
                raise InvalidInput(
                    f"{what} of concept {self.name!r} has shape {values.shape}: it must have "
                    f"{dimensions} axes, and no NaN or infinity."
                )
        if self.profiles is not None and len(self.profiles) != count:
            raise InvalidInput(f"{len(self.profiles)} profiles for {count} concepts.")
        if (
            self.profiles is not None
            and self.rest is not None
            and np.shape(self.rest) != np.shape(self.profiles)[1:]
        ):
            raise InvalidInput(
                f"The profile of the rest is {np.shape(self.rest)}, those of the concepts "
                f"{np.shape(self.profiles)[1:]}: they must agree."
            )
        if (self.towards is None) != (not self.at):
            raise InvalidInput(
                f"Concept {self.name!r}: towards and at go together, a direction and its layer."
            )

    @property
    def name(self) -> str:
        """Of the concept."""
        return self.names[self.index]

    @property
    def digest(self) -> str:
        """Which concept it is to a method that goes towards it: the layer, and the key or direction."""
        start = f"{self.at}\n{self.key}\n".encode("utf-8", "surrogatepass")
        found = hashlib.sha256(start)
        if not self.key and self.towards is not None:
            found.update(np.ascontiguousarray(self.towards, "<f4").tobytes())
        return found.hexdigest()

    def need(self, what: str, method: str) -> npt.NDArray[Any]:
        """A part of the target, or an error that says how to have it."""
        found: npt.NDArray[Any] | None = getattr(self, what)
        if found is None:
            raise InvalidInput(
                f"{method} needs the {_WORDS[what]} of concept {self.name!r}, and this target has none. "
                "explain.concept_profiles(store, layer, labels).target(...) makes one."
            )
        return np.asarray(found)


_DIMENSIONS = {"profiles": 3, "rest": 2, "direction": 1, "towards": 1}
_WORDS = {
    "profiles": "profiles of the examples",
    "direction": "direction at this layer",
    "towards": "direction at a later layer (towards=, at=)",
}
