"""One answer about factors: a table, what has to be known to read it, what to be wary of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal[
    "slides",
    "shares",
    "prediction",
    "correlations",
    "importance",
    "completeness",
    "choice",
    "layers",
]
KINDS: tuple[str, ...] = get_args(Kind)

TITLES: Mapping[str, str] = MappingProxyType(
    {
        "slides": "Share of each factor that the slide explains",
        "shares": "Factors in each class",
        "prediction": "Classes predicted from factors",
        "correlations": "Factors beside class maps",
        "importance": "Importance of factors",
        "completeness": "Completeness of factors",
        "choice": "Number of factors",
        "layers": "Factors of two layers",
    }
)


@dataclass(frozen=True, eq=False)
class Read:
    """One answer.

    Attributes
    ----------
    kind : str
        One of :data:`KINDS`.
    table : DataFrame
        Rows name factors by number (``factor``, from 0) or as ``"factor 1"``: names that a person
        gave to clusters are the views' to show.
    sentences : tuple of str
        What has to be known to read the table. Not escaped.
    detail : object
        What was computed, where it is more than the table: ``ClassPrediction`` or ``KChoice``.
    warnings : tuple of str
        What to be wary of: factors that follow the slide, labels that are a model's. Not escaped.
    """

    kind: str
    table: pd.DataFrame = field(repr=False)
    sentences: tuple[str, ...]
    detail: object = field(default=None, repr=False)
    warnings: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return TITLES[self.kind]

    def warned(self, names: Sequence[str]) -> tuple[str, ...]:
        """The warnings, and which factors they are about, by their present names.

        Parameters
        ----------
        names : sequence of str
            Of all factors, in order.
        """
        if self.kind != "slides":
            return self.warnings
        about = self.table[self.table["warning"] != ""]
        if about.empty:
            return self.warnings
        said = ", ".join(
            f"{names[index_of(row['factor'])]} {row['adjusted']:.0%}"
            for row in about.sort_values("adjusted", ascending=False).to_dict("records")
        )
        return (*self.warnings, f"Share of the {self.table.attrs.get('by', 'slide')}: {said}.")


def index_of(factor: object) -> int:
    """Number of a factor, from 0, given as the tables have it: a number or ``"factor 1"``."""
    if isinstance(factor, str):
        return int(factor.rpartition(" ")[2]) - 1
    return int(factor)  # type: ignore[call-overload, no-any-return]
