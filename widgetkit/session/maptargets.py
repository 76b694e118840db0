"""From a question to the targets of a map method, each with the tiles that it is for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from widgetkit import explain
from widgetkit.errors import InvalidInput, NeedsActivations, NeedsModel, UnknownLayer, near
from widgetkit.session import keptmaps
from widgetkit.session.clustering import CENTRED, Clustering
from widgetkit.session.mapspec import kind_of, takes_latents

if TYPE_CHECKING:
    from widgetkit.explain import MapMethod, Target
    from widgetkit.session.conceptmaps import ConceptsNow
    from widgetkit.session.maps import Question

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Part:
    """One of the targets whose maps are added; ``held (n,)`` says of which tiles it counts."""

    target: Target
    held: npt.NDArray[np.bool_] | None = None


Groups = list[tuple[list[Part], Positions]]


def groups_of(question: Question, method: MapMethod) -> tuple[Groups, str]:
    """Targets with the positions in ``rows`` they are for, and the title.

    Raises
    ------
    UnknownLayer, NeedsActivations, NeedsModel, InvalidInput
        What is asked cannot be drawn; the message says why and what to do.
    """
    store, spec = question.store, question.spec
    kind = kind_of(spec, method)
    if question.layer not in store.layers:
        raise UnknownLayer(
            f"The store has no layer {question.layer!r}. {near(question.layer, store.layers)}".rstrip()
        )
    info = store.layers[question.layer]
    if not info.has_maps:
        instead = ""
        if kind == "cluster" and question.clustering is not None:
            instead = _way_out(question, question.clustering)
        raise NeedsActivations(
            f"Layer {info.name!r} holds one vector a tile and no maps of activations (ready-made "
            "features), so nothing can be drawn on the tiles. Extract with the model: "
            f"wk.extract(...).{instead}"
        )
    every = np.arange(len(question.rows))
    latents = kind == "cluster" and takes_latents(method)
    if kind == "concept":
        need_concepts(question.concepts)  # the network does not mend that there are none
    if latents:
        centres_of(question.clustering, method.title)  # the reason that the network does not mend
    if (
        not explain.is_live(method)
        and question.model is None
        and not keptmaps.instead(
            store, None, method, question.layer, question.clustering, question.concepts
        )
    ):
        raise NeedsModel(
            f"{method.title} runs the network, and this session has none. "
            "Pass it: wk.explore(store, model=...)."
        )
    if latents:
        return _latent_groups(question, every, method)
    if kind == "cluster":
        return _cluster_groups(question, every, method)
    if kind == "class":
        return _class_groups(question, every, method)
    if kind == "concept":
        return _concept_groups(question, every, method)
    if kind == "selection":
        mean_in, mean_rest = question.stats[info.name].contrast(question.selection)
        target = explain.SelectionTarget(mean_in, mean_rest, question.stats[info.name].std)
        return [
            ([Part(target)], every)
        ], f"{method.title}: {question.selection.count} tiles against the rest"
    return _channel_groups(question, every, method)


# -- clusters ----------------------------------------------------------------------------
def _need(clustering: Clustering | None) -> Clustering:
    if clustering is None:
        raise InvalidInput(
            "There are no clusters to draw yet. Call session.wait() if they are being computed, "
            "or session.cluster()."
        )
    return clustering


def centres_of(clustering: Clustering | None, title: str) -> npt.NDArray[np.float32]:
    """Centres (k, d) of a clustering by its embeddings, or the error that says how to have some."""
    found = _need(clustering)
    if found.centres is None:
        raise InvalidInput(
            f"{title} needs clusters with centres, and these are by {found.method}. Cluster by "
            "session.cluster('kmeans'), or take a deep clustering (DeepClustering.to_store)."
        )
    return found.centres


def _latent_groups(question: Question, every: Positions, method: MapMethod) -> tuple[Groups, str]:
    clustering, spec = _need(question.clustering), question.spec
    centres = centres_of(clustering, method.title)
    against = None if spec.against is None else clustering.check(spec.against)
    rather = "" if against is None else f" against {clustering.names[against]}"

    def parts(i: int) -> list[Part]:
        return [Part(explain.LatentTarget(centres, i, against, latent=clustering.layer))]

    if spec.target is not None:
        i = clustering.check(spec.target)
        return [(parts(i), every)], f"{method.title}: {clustering.names[i]}{rather}"
    # nothing speaks for a cluster rather than for itself: its tiles have an empty map
    found = _own(clustering, question.rows, without=against)
    return [(parts(i), at) for i, at in found], f"{method.title}: each tile's own{rather}"


def _cluster_groups(question: Question, every: Positions, method: MapMethod) -> tuple[Groups, str]:
    clustering, spec = _need(question.clustering), question.spec
    if clustering.layer != question.layer:
        raise InvalidInput(
            f"The clusters are of layer {clustering.layer!r}, the map is asked of layer "
            f"{question.layer!r}. Use session.set_layer(...) and session.cluster()."
            f"{_way_out(question, clustering)}"
        )
    if clustering.prototypes is None and (
        clustering.base is None or clustering.method != "nmf" or method.name != "cluster"
    ):
        raise InvalidInput(
            f"The clustering {clustering.name!r} has no prototypes, so it cannot be drawn on tiles. "
            "Cluster with method='nmf' or 'kmeans'."
        )
    # Merged and split factors are sums over the fitted ones; maps of centres are not additive.
    folded = clustering.method == "nmf" and method.name == "cluster"
    prototypes = clustering.fitted if folded else clustering.prototypes
    assert prototypes is not None
    kind: Literal["nmf", "kmeans"] = "nmf" if clustering.method == "nmf" else "kmeans"
    background = clustering.params.get("background")

    def target(i: int) -> Target:
        return explain.ClusterTarget.of(
            prototypes,
            i,
            kind=kind,
            background=None if background is None else np.asarray(background, dtype=np.float32),
        )

    def parts(i: int) -> list[Part]:
        if not folded or clustering.owners is None:
            return [Part(target(i))]
        held = clustering.holds(i, np.arange(clustering.n))
        found = [
            Part(target(int(j)), None if held[j].all() else held[j])
            for j in np.flatnonzero(held.any(axis=1))
        ]
        return found or [Part(target(0), np.zeros(clustering.n, dtype=bool))]  # a map of zeros

    if spec.target is not None:
        i = clustering.check(spec.target)
        return [(parts(i), every)], f"{method.title}: {clustering.names[i]}"
    found = _own(clustering, question.rows)
    return [(parts(i), at) for i, at in found], f"{method.title}: each tile's own"


def _own(
    clustering: Clustering, rows: Positions, *, without: int | None = None
) -> list[tuple[int, Positions]]:
    """Clusters of some tiles, each with the positions in ``rows`` of its tiles."""
    labels = clustering.labels[rows]
    return [
        (int(i), np.flatnonzero(labels == i)) for i in np.unique(labels) if i >= 0 and i != without
    ]


def _way_out(question: Question, clustering: Clustering) -> str:
    """A sentence on the methods that draw maps of clusters of vectors, where these are such."""
    mapped = any(info.has_maps for info in question.store.layers.values())
    if clustering.method not in CENTRED or not mapped:
        return ""
    names = [name for name, method in explain.methods().items() if takes_latents(method)]
    asked = " or ".join(f"session.set_map({name!r})" for name in names)
    return f" What drives the assignment to clusters of vectors is another map: {asked}."


# -- concepts ----------------------------------------------------------------------------
def need_concepts(concepts: ConceptsNow | None) -> ConceptsNow:
    """The session's concepts, or the error that says how to have some."""
    if concepts is None:
        raise InvalidInput(
            "There are no concepts to draw. Select tiles that show one and "
            "session.save_as_concept(name), or session.set_concepts(...)."
        )
    return concepts


def _concept_groups(question: Question, every: Positions, method: MapMethod) -> tuple[Groups, str]:
    concepts, wanted = need_concepts(question.concepts), question.spec.target
    if wanted is not None:
        target = concepts.target(wanted, question.layer)
        return [([Part(target)], every)], f"{method.title}: {target.name}"
    own = concepts.own(question.rows)
    groups: Groups = [
        ([Part(concepts.target(int(f), question.layer))], np.flatnonzero(own == f))
        for f in np.unique(own)
        if f >= 0
    ]
    return groups, f"{method.title}: {concepts.own_words}"


# -- classes and channels ----------------------------------------------------------------
def _class_groups(question: Question, every: Positions, method: MapMethod) -> tuple[Groups, str]:
    outputs, names, spec = question.store.outputs, question.store.class_names, question.spec
    count = len(names) if names else (outputs.shape[1] if outputs is not None else None)
    if spec.target is not None:
        if count is not None and spec.target >= count:
            raise InvalidInput(f"There is no class {spec.target}; the model has {count}, from 0.")
        label = names[spec.target] if names else f"class {spec.target}"
        return [([Part(explain.ClassTarget(spec.target))], every)], f"{method.title}: {label}"
    if outputs is None:
        raise InvalidInput(
            f"{method.title} needs a class: the store holds no predictions to choose it by. "
            f"Use session.set_map({spec.method!r}, 0)."
        )
    predicted = np.asarray(outputs)[question.rows].argmax(axis=1)
    groups: Groups = [
        ([Part(explain.ClassTarget(int(c)))], np.flatnonzero(predicted == c))
        for c in np.unique(predicted)
    ]
    return groups, f"{method.title}: each tile's predicted class"


def _channel_groups(question: Question, every: Positions, method: MapMethod) -> tuple[Groups, str]:
    info, target = question.store.layers[question.layer], question.spec.target
    note = ""
    if target is None:
        target = int(np.argmax(question.stats[info.name].total))
        note = " (the most active)"
    if target >= info.channels:
        raise InvalidInput(
            f"There is no channel {target}; layer {info.name!r} has {info.channels}."
        )
    return [
        ([Part(explain.ChannelTarget(target))], every)
    ], f"{method.title}: channel {target}{note}"
