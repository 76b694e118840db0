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
from widgetkit.figures.cluster_choice import cluster_choice, cluster_choice_caption
from widgetkit.figures.cluster_maps import (
    cluster_maps,
    cluster_maps_caption,
    cluster_maps_methods,
    clustermaps,
)
from widgetkit.figures.compose import clusters, explorer, gallery, maps, scatter, summary
from widgetkit.figures.concept_card import concept_card
from widgetkit.figures.concepts import concept_sentences, concept_trust, concepts
from widgetkit.figures.output import save
from widgetkit.figures.reading import reading
from widgetkit.figures.slide import slide, slide_sentence
from widgetkit.figures.spec import PRESETS, FigureSpec
from widgetkit.figures.training import training, training_sentence
from widgetkit.figures.volume import volume, volume_sentence

__all__ = [
    "PRESETS",
    "FigureSpec",
    "association",
    "atlas",
    "atlas_sentence",
    "caption",
    "cluster_choice",
    "cluster_choice_caption",
    "cluster_maps",
    "cluster_maps_caption",
    "cluster_maps_methods",
    "clustermaps",
    "clusters",
    "concept_card",
    "concept_sentences",
    "concept_trust",
    "concepts",
    "explorer",
    "gallery",
    "maps",
    "reading",
    "save",
    "scatter",
    "slide",
    "slide_sentence",
    "summary",
    "training",
    "training_sentence",
    "volume",
    "volume_sentence",
]
