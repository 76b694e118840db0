"""The card of one case on paper: phases, probabilities, concepts with their relevance, where they are."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from widgetkit.errors import InvalidInput
from widgetkit.figures import tiles
from widgetkit.figures.compose import LETTER, PT_MM, _area, _page
from widgetkit.figures.concept_pictures import (
    Mapped,
    concept_map,
    identified,
    phases_of,
    remarks_of,
    saliency_map,
    verdict,
)
from widgetkit.figures.concepts import AGAINST, HATCH, OURS, REST, needed
from widgetkit.figures.reading import _short
from widgetkit.figures.spec import FigureSpec
from widgetkit.figures.tiles import EDGE_MM, GAP_MM, Area

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from widgetkit.session import Session
    from widgetkit.session.concept_reading import ConceptCase

#: Concepts whose maps are drawn.
CONCEPTS_MOST = 4
CELL_MOST_MM = 32.0
#: Lines of text above and below the bars: numbers and title of their axis.
BELOW = 4.6
#: Letters of names beside bars.
_NAMES = 30


def concept_card(
    session: Session,
    spec: FigureSpec | None = None,
    *,
    row: int | None = None,
    phases: Sequence[str] | None = None,
) -> Figure:
    """One case as a whole: its phases, probabilities, relevance of concepts, a map each, saliency beside.

    Parameters
    ----------
    session : Session
    spec : FigureSpec, optional
    row : int, optional
        The tile; by default the one in focus, else the first selected.
    phases : sequence of str, optional
        Names of the phases of images that hold several as colours.

    Raises
    ------
    InvalidInput
        The concepts were not read yet, or no tile is meant; the message says how.
    """
    reading = needed(session)
    if row is None:
        row = session.focus
    if row is None and session.selection.count:
        row = int(session.selection.rows[0])
    if row is None:
        raise InvalidInput("Of which tile? Give row=, or session.set_focus(row), or select some.")
    case = reading.case(row)
    spec = spec or FigureSpec(width_mm=150)
    line = 1.35 * spec.font_pt * PT_MM
    letters = int((spec.width_mm - 2 * EDGE_MM) / (LETTER * spec.font_pt * PT_MM))
    head = [
        part for text in [*verdict(case), *case.warnings] for part in textwrap.wrap(text, letters)
    ]
    foot = [part for text in remarks_of(session.store) for part in textwrap.wrap(text, letters)]
    pictures = phases_of(session.store, row, phases)
    names = identified(case)[:CONCEPTS_MOST]
    found = [concept_map(session, row, name) for name in names]
    number = None if reading.predicted is None else int(reading.predicted[row])
    found.append(saliency_map(session, row, number))
    drawn = [one for one in found if one.result is not None]
    cell = min(CELL_MOST_MM, (spec.width_mm - 2 * EDGE_MM - 4 * GAP_MM) / 5)
    bars = line * 1.4
    kept = int((~case.concepts["excluded"].to_numpy(bool)).sum())
    heights = {
        "head": line * (len(head) + 0.6),
        "phases": (cell + 2 * line) if pictures else 0.0,
        "maps": (cell + 3.4 * line) if drawn else 0.0,
        "bars": bars * max(len(case.probabilities), kept, 1) + BELOW * line,
        "foot": line * (len(foot) + 0.4) if foot else 0.0,
    }

    def fill(page: Figure) -> None:
        area = _area(page, whole)
        y = EDGE_MM
        _lines(area, head, y, line)
        y += heights["head"]
        _pictures(area, pictures, y + line, cell, line)
        y += heights["phases"]
        image = session.store.images([row])[0] if session.store.has_images else None
        _maps(area, drawn, image, y + 2.4 * line, cell, line)
        y += heights["maps"]
        _bars(area, case, y + line, heights["bars"] - BELOW * line, line)
        _lines(area, foot, (whole.height_mm or 0.0) - heights["foot"], line, shade="#505050")

    whole = spec.with_height(2 * EDGE_MM + sum(heights.values()))
    return _page(whole, fill, placed=True)


def _lines(area: Area, said: Sequence[str], y: float, line: float, *, shade: str = "black") -> None:
    for i, text in enumerate(said):
        _text(area, EDGE_MM, y + i * line, text, shade=shade)


def _text(area: Area, x: float, y: float, words: str, *, shade: str = "black") -> None:
    area.page.text(
        x / area.width_mm, 1 - y / area.height_mm, words, va="top", ha="left", color=shade
    )


def _pictures(
    area: Area, pictures: Sequence[tuple[str, np.ndarray]], y: float, cell: float, line: float
) -> None:
    for i, (name, image) in enumerate(pictures):
        x = EDGE_MM + i * (cell + GAP_MM)
        tiles.show_tile(area.axes(x, y, cell, cell), image)
        _text(area, x, y - line, _short(name, _fits(cell, line)))


def _maps(
    area: Area,
    found: Sequence[Mapped],
    image: np.ndarray | None,
    y: float,
    cell: float,
    line: float,
) -> None:
    for i, one in enumerate(found):
        assert one.result is not None
        x = EDGE_MM + i * (cell + GAP_MM)
        tiles.overlay(
            area.axes(x, y, cell, cell), image, one.result.values[0], tiles.map_norm(one.result),
            signed=one.result.signed, opacity=0.75,
        )  # fmt: skip
        lines = textwrap.wrap(one.of, _fits(cell, line))
        if len(lines) > 2:
            lines = [lines[0], f"{lines[1][:-1]}\N{HORIZONTAL ELLIPSIS}"]
        for j, words in enumerate(reversed(lines)):
            _text(area, x, y - (j + 1) * line, words)


def _fits(width_mm: float, line: float) -> int:
    return max(6, int(width_mm / (LETTER * line / 1.35)))


def _bars(area: Area, case: ConceptCase, y: float, high: float, line: float) -> None:
    """Probabilities on the left, relevance on the right."""
    room = (area.width_mm - 2 * EDGE_MM) / 2
    names = min(0.56 * room, _NAMES * LETTER * line / 1.35)
    most = _fits(names, line) - 2
    if case.probabilities:
        left = area.axes(EDGE_MM + names, y, room - names - 2.6 * line, high)
        words = [
            _short(name, most) + ("\n(true class)" if name == case.truth else "")
            for name, _ in case.probabilities
        ]
        values = [100 * p for _, p in case.probabilities]
        _bar(
            left,
            words,
            values,
            [OURS, *[REST] * (len(values) - 1)],
            [False] * len(values),
            "{:.0f} %",
        )
        left.set_xlim(0, 112)
        left.set_xticks([0, 50, 100])
        left.set_xlabel("probability (%)")
    kept = case.concepts[~case.concepts["excluded"].to_numpy(bool)]
    right = area.axes(EDGE_MM + room + names, y, room - names - 2.6 * line, high)
    if not len(kept):
        right.text(0.5, 0.5, "no concept is seen", ha="center", va="center", color="#505050")
        right.set_axis_off()
        return
    counted = bool(np.isfinite(kept["relevance"].to_numpy(float)).any())
    values = list(np.nan_to_num(kept["relevance" if counted else "strength"].to_numpy(float)))
    against = kept["contradicts"].to_numpy(bool)
    words = [
        _short(str(name), most) + ("\n(contradicts)" if bad else "")
        for name, bad in zip(kept["concept"], against, strict=True)
    ]
    _bar(
        right, words, values, [AGAINST if bad else OURS for bad in against], list(against), "{:.2f}"
    )
    right.axvline(0, color="black", lw=0.5)
    right.set_xlabel("relevance (logit)" if counted else "strength (above the threshold)")


def _bar(
    axes: Axes,
    words: list[str],
    values: list[float],
    hues: list[str],
    hatched: list[bool],
    form: str,
) -> None:
    at = np.arange(len(values))
    axes.barh(
        at, values, 0.62, color=hues, hatch=[HATCH if bad else "" for bad in hatched],
        edgecolor="white", linewidth=0,
    )  # fmt: skip
    reach = max(max(np.abs(values), default=0.0), 1e-9)
    for i, value in enumerate(values):
        axes.text(max(value, 0.0) + 0.02 * reach, i, form.format(value), va="center", ha="left")
    axes.set_yticks(at, words)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(values) - 0.5, -0.5)
