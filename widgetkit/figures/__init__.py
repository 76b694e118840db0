"""Figures for papers, drawn from a Session with matplotlib alone.

>>> fig = figures.explorer(session, FigureSpec(width_mm=183))      # doctest: +SKIP
>>> figures.save(fig, "figure-1.pdf", caption=figures.caption(session, "explorer"))  # doctest: +SKIP

Every function returns a :class:`matplotlib.figure.Figure` of exactly the stated millimetres, with
live text, one shared colour bar for all maps, and a scale bar in micrometres where the pixel size
is known. :func:`save` writes PNG, SVG or PDF, whole or not at all.
"""

from __future__ import annotations

from widgetkit.figures.association import association
from widgetkit.figures.atlas import atlas, atlas_sentence
from widgetkit.figures.captions import caption
from widgetkit.figures.compose import clusters, explorer, gallery, maps, scatter, summary
from widgetkit.figures.output import save
from widgetkit.figures.reading import reading
from widgetkit.figures.slide import slide, slide_sentence
from widgetkit.figures.spec import PRESETS, FigureSpec

__all__ = [
    "PRESETS",
    "FigureSpec",
    "association",
    "atlas",
    "atlas_sentence",
    "caption",
    "clusters",
    "explorer",
    "gallery",
    "maps",
    "reading",
    "save",
    "scatter",
    "slide",
    "slide_sentence",
    "summary",
]
