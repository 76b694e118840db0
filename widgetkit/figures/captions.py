"""Captions: sentences that say what a figure shows, from the session's own state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from widgetkit._version import __version__

if TYPE_CHECKING:
    from widgetkit.session import Session

Kind = Literal[
    "scatter",
    "gallery",
    "maps",
    "clusters",
    "summary",
    "explorer",
    "slide",
    "reading",
    "volume",
    "clustermaps",
    "association",
    "concepts",
    "concept_card",
    "concept_trust",
]


def count(number: int, noun: str) -> str:
    """``1 tile``, ``2,000 tiles``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def data_sentence(session: Session) -> str:
    """How many tiles of how many sources, and the layer. Names no source and no patient."""
    store = session.store
    slides = store.tiles["slide" if "slide" in store.tiles else "source"].nunique()
    return f"{count(len(store), 'tile')} from {count(int(slides), 'source')}; activations of layer {session.layer}."


def selection_sentence(session: Session) -> str:
    """What is selected and how it was chosen."""
    chosen = session.selection.count
    if not chosen:
        return "Nothing is selected."
    share = 100 * chosen / max(1, len(session.store))
    kind = dict(session.selection.how).get("kind", "")
    made = f", chosen by {kind}" if kind else ""
    return f"Selected: {count(chosen, 'tile')} ({share:.1f} %{made})."


def projection_sentence(session: Session) -> str:
    projection = session.projection
    if projection is None:
        return "No projection has been computed."
    trust = np.asarray(projection.trust, dtype=float)
    kept = (
        f"; neighbours kept: median {np.nanmedian(trust):.2f}" if np.isfinite(trust).any() else ""
    )
    return f"Projection: {str(projection.method).upper()} of pooled activations, seed {projection.seed}{kept}."


def clustering_sentence(session: Session) -> str:
    clustering = session.clustering
    if clustering is None:
        return "No clustering has been computed."
    k = len(clustering.names)
    return f"Clusters: {clustering.method}, {count(k, 'cluster')}, seed {clustering.seed}."


def maps_sentence(session: Session) -> str:
    """By which method the maps were made, and of what."""
    from widgetkit import explain
    from widgetkit.session.mapspec import words_for

    spec = session.map_spec
    of = words_for(spec, session.clustering, session.store, session.concepts)
    layer = session.map_layer()
    where = "" if layer == session.layer else f", on layer {layer}"
    return f"Maps: {explain.get(spec.method).title} of {of}{where}."


def caption(
    session: Session,
    kind: Kind,
    *,
    rule: str = "",
    color_by: str = "cluster",
    extra: Sequence[str] = (),
) -> str:
    """The caption of one kind of figure, as plain sentences.

    ``rule`` is the sentence that says how the shown tiles were chosen (see ``session.ranked``).
    Patient identifiers and source names are never part of it.
    """
    opening = {
        "scatter": f"Map of tile embeddings, coloured by {color_by}.",
        "gallery": "Tiles of the selection."
        if session.selection.count
        else "Tiles of the whole set.",
        "maps": "Tiles, each beside its activation map over the tile in grey, on one shared colour scale.",
        "clusters": "Composition of the selection against the rest.",
        "summary": "Summary of the selection.",
        "explorer": "a, Map of tile embeddings; b, tiles, each beside its activation map, on one shared colour scale; "
        "c, composition of the selection against the rest.",
        "reading": "What was read of the factors of the clustering.",
        "clustermaps": "Mean, variance and members of the maps of each cluster.",
        "association": "a, Strength of the association of each variable with the clusters or the selection; "
        "b, one of them in each.",
        "concepts": "a, Mean relevance of each concept for the predicted class and b, share of tiles in which it is seen, "
        "in the selection and the rest; c, activations of the units that tell a concept best.",
        "concept_card": "One case: its phases, class probabilities, relevance of the concepts seen in it, a map of each and "
        "a saliency map beside them, each on its own scale.",
        "concept_trust": "a, Risk by coverage of scores that may find wrong predictions, with the area under each curve; "
        "b, quality of the explanations of correct and of misclassified tiles; c, how well each concept is read, "
        "those not read better than chance or a control first.",
        "slide": "A slide with the outline of the selection, and the map of its tiles over it in grey.",
        "volume": "Three planes through a volume, at one scale, with its map over them.",
    }[kind]
    sentences = [opening]
    if kind in ("scatter", "explorer"):
        sentences.append(projection_sentence(session))
    if kind not in ("gallery", "summary", "concepts", "concept_card", "concept_trust"):
        sentences.append(clustering_sentence(session))
    mapped = kind in ("maps", "explorer", "slide", "volume", "clustermaps")
    if mapped and session.store.layers[session.map_layer()].has_maps:
        sentences.append(maps_sentence(session))
    if kind in ("clusters", "explorer") and 0 < session.selection.count < len(session.store):
        sentences.append("Numbers at the bars: how many times the rest's share.")
    sentences += [
        selection_sentence(session),
        *([rule] if rule else []),
        *extra,
        data_sentence(session),
    ]
    sentences.append(f"Store {str(session.store.id)[:12]}; widgetkit {__version__}.")
    return " ".join(s if s.endswith(".") else f"{s}." for s in sentences)
