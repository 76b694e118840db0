"""The card of one case as HTML: its phases, a map a concept, a saliency map, cases seen like it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from widgetkit import explain
from widgetkit.figures.concept_pictures import (
    Mapped,
    blend,
    concept_map,
    concept_method,
    identified,
    phases_of,
    saliency_map,
    verdict,
)
from widgetkit.widgets import sheets
from widgetkit.widgets.association_charts import short
from widgetkit.widgets.controls import escape, notices

if TYPE_CHECKING:
    from widgetkit.session import Session
    from widgetkit.session.concept_reading import ConceptCase

#: Side of a picture on the card, and of an example like it; CSS px.
SIDE, SMALL = 128, 56
#: Concepts whose maps and nearest examples are shown, and examples of each.
CONCEPTS_MOST, EXAMPLES_MOST = 4, 5
_ROW = 'style="display:flex;flex-wrap:wrap;gap:8px;margin:4px 0;align-items:flex-start"'


def upper(
    session: Session, case: ConceptCase, phases: Sequence[str] | None, remarks: Sequence[str]
) -> str:
    """Headline, warnings and the phases; ``remarks`` are what the store says about its data."""
    pictures = [
        _figure(sheets.data_url(image), name, f"{name} of tile {case.row}", SIDE)
        for name, image in phases_of(session.store, case.row, phases)
    ]
    shown = "".join(pictures) or "<i>The store holds no images.</i>"
    return notices(case.warnings, [*verdict(case), *remarks]) + f"<div {_ROW}>{shown}</div>"


def lower(session: Session, case: ConceptCase) -> str:
    """A map of each identified concept, a saliency map beside them, and the nearest examples."""
    store = session.store
    image = store.images([case.row])[0] if store.has_images else None
    names = identified(case)[:CONCEPTS_MOST]
    found = [concept_map(session, case.row, name) for name in names]
    number_of = None
    if case.predicted is not None and store.class_names and case.predicted in store.class_names:
        number_of = store.class_names.index(case.predicted)
    found.append(saliency_map(session, case.row, number_of))
    parts, reasons = [], []
    for one in found:
        if one.result is not None:
            said = one.of if one is found[-1] else f"map: {one.of}"
            picture = sheets.data_url(blend(image, one.result))
            parts.append(_figure(picture, said, f"{said}, tile {case.row}", SIDE))
        else:
            reasons.append(_reason(one))
    maps = f"<div {_ROW}>{''.join(parts)}</div>" if parts else ""
    why = "".join(f"<div><i>{escape(text)}</i></div>" for text in dict.fromkeys(reasons))
    near = _nearest(session, case, names)
    where = escape(f"Where ({explain.get(concept_method(session)).title})")
    return f'<div style="line-height:1.4;white-space:normal"><b>{where}</b>{maps}{why}{near}</div>'


def _reason(one: Mapped) -> str:
    return one.reason if one.of in ("saliency", "") else f"{one.of}: {one.reason}"


def _nearest(session: Session, case: ConceptCase, names: Sequence[str]) -> str:
    rows = {name: list(case.nearest.get(name, ()))[:EXAMPLES_MOST] for name in names}
    if not any(rows.values()):
        return ""
    lines = []
    for name, own in rows.items():
        if not own:
            lines.append(f"<div>{escape(short(name, 60))}: no example of another patient</div>")
            continue
        if session.store.has_images:
            thumbs = session.store.thumbnails(own, SMALL)
            words = sheets.captions(session, np.asarray(own))
            pictures = "".join(
                _figure(sheets.data_url(thumb), str(row), text, SMALL)
                for thumb, row, text in zip(thumbs, own, words, strict=True)
            )
        else:
            pictures = escape(", ".join(map(str, own)))
        lines.append(f"<div><div>{escape(short(name, 60))}</div><div {_ROW}>{pictures}</div></div>")
    grid = "display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr));gap:2px 12px"
    title = "Seen like these training examples of other patients"
    return f'<b>{title}</b><div style="{grid}">{"".join(lines)}</div>'


def _figure(url: str, caption: str, alternative: str, side: int) -> str:
    return (
        f'<figure style="margin:0;width:{side}px"><img src="{url}" alt="{escape(alternative)}" '
        f'title="{escape(alternative)}" style="width:{side}px;height:{side}px;object-fit:contain;'
        'display:block;background:rgba(128,128,128,0.15)">'
        '<figcaption style="font-size:11px;line-height:1.3;overflow-wrap:anywhere">'
        f"{escape(short(caption, 80))}</figcaption></figure>"
    )
