"""What is in a selection, and whether it can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from widgetkit.session.selection import Selection

#: A selection with this share from one slide shows the slide as much as the tissue.
RED, YELLOW = 0.8, 0.5
#: Below it fewer than half of a tile's neighbours survive the projection.
LOW_TRUST = 0.5


@dataclass(frozen=True)
class Summary:
    """Numbers and sentences about a selection (about all tiles when none is selected).

    Attributes
    ----------
    n : int
        Selected tiles.
    total : int
        Tiles in the store.
    slides : int
        Slides the described tiles come from (column ``slide``, else ``source``; without
        either all count as one).
    patients : int or None
        Patients; None without a column ``patient``.
    classes : tuple of (str, int)
        Values of column ``label`` with their counts, most frequent first; missing ones as
        ``"(none)"``. Empty without the column. Texts are not escaped.
    top_source : (str, float) or None
        The slide with most of the described tiles and its share; None when there are none.
    warnings : tuple of str
        Whole sentences.
    severity : "none", "yellow" or "red"
        Red when one slide gives 80 % or more of the selection though the store has others.
    trust : float or None
        Mean share of neighbours that the projection keeps, under the described tiles.
    """

    n: int
    total: int
    slides: int
    patients: int | None
    classes: tuple[tuple[str, int], ...]
    top_source: tuple[str, float] | None
    warnings: tuple[str, ...]
    severity: Literal["none", "yellow", "red"]
    trust: float | None

    @property
    def sentences(self) -> tuple[str, ...]:
        """The summary in words, stable for tests; warnings last."""
        if not self.total:
            return ("The store has no tiles.",)
        if self.n:
            lines = [f"{self.n} of {self.total} tiles selected."]
        else:
            lines = [f"No tile is selected; {_count(self.total, 'tile')} in the store."]
        origin = f"From {_count(self.slides, 'slide')}"
        if self.patients is not None:
            origin += f" of {_count(self.patients, 'patient')}"
        lines.append(origin + ".")
        if self.classes:
            mix = ", ".join(f"{name} {count}" for name, count in self.classes[:6])
            more = len(self.classes) - 6
            lines.append(f"Classes: {mix}{f' and {more} more' if more > 0 else ''}.")
        if self.trust is not None:
            lines.append(f"The projection keeps {self.trust:.0%} of the nearest neighbours here.")
        return (*lines, *self.warnings)

    def __str__(self) -> str:
        return "\n".join(self.sentences)


def summarise(
    table: pd.DataFrame, selection: Selection, trust: npt.NDArray[np.float32] | None = None
) -> Summary:
    """Describe a selection of the tiles of a table.

    Parameters
    ----------
    table : (n, ...) DataFrame
        ``store.tiles``.
    selection : Selection
    trust : (n,) float, optional
        Of the projection.
    """
    n, total = selection.count, selection.n
    mask = selection.mask if n else np.ones(total, dtype=bool)
    slide = next((name for name in ("slide", "source") if name in table.columns), None)
    origin = pd.Series("", index=table.index, dtype=object) if slide is None else table[slide]
    names, counts = _values(origin, mask)
    top = (names[0], float(counts[0] / counts.sum())) if len(names) else None
    everywhere = int(origin.nunique(dropna=False))
    patients = int(table["patient"][mask].nunique()) if "patient" in table.columns else None
    classes: tuple[tuple[str, int], ...] = ()
    if "label" in table.columns and total:
        labels, sizes = _values(table["label"], mask)
        classes = tuple(zip(labels, map(int, sizes), strict=True))
    kept = None
    if trust is not None and mask.any():
        under = np.asarray(trust)[mask]
        kept = float(under[np.isfinite(under)].mean()) if np.isfinite(under).any() else None
    warnings, severity = _judge(n, top, everywhere, table, selection, patients, kept)
    return Summary(n, total, len(names), patients, classes, top, warnings, severity, kept)


def _judge(
    n: int,
    top: tuple[str, float] | None,
    everywhere: int,
    table: pd.DataFrame,
    selection: Selection,
    patients: int | None,
    trust: float | None,
) -> tuple[tuple[str, ...], Literal["none", "yellow", "red"]]:
    warnings: list[str] = []
    severity: Literal["none", "yellow", "red"] = "none"
    if n and top is not None and everywhere > 1 and top[1] >= YELLOW and n > 1:
        # Without its name, which may identify a patient: warnings are drawn into figures.
        severity = "red" if top[1] >= RED else "yellow"
        tail = (
            ": what they share may be the slide (stain, scanner), not the tissue."
            if severity == "red"
            else "."
        )
        warnings.append(f"{top[1]:.0%} of the selected tiles come from one slide{tail}")
    if n > 1 and patients == 1 and int(table["patient"].nunique()) > 1:
        severity = "red"
        warnings.append("All selected tiles come from one patient.")
    if trust is not None and trust < LOW_TRUST:
        severity = "yellow" if severity == "none" else severity
        where = "under the selection" if n else "overall"
        warnings.append(
            f"The projection keeps only {trust:.0%} of the nearest neighbours {where}: "
            "tiles that lie together need not be alike."
        )
    return tuple(warnings), severity


def _values(
    column: pd.Series[Any], mask: npt.NDArray[np.bool_]
) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Values as text with their counts, most frequent first, ties by name."""
    counts: dict[str, int] = {}
    found = column[mask].value_counts(dropna=False)
    for value, missing, count in zip(found.index, found.index.isna(), found, strict=True):
        text = "(none)" if missing else str(value)
        counts[text] = counts.get(text, 0) + int(count)
    names = sorted(counts, key=lambda name: (-counts[name], name))
    return names, np.array([counts[name] for name in names], dtype=np.int64)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
