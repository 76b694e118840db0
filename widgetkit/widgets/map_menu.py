"""What can be drawn now: the map viewer's lists of methods and of targets, with reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from widgetkit import explain
from widgetkit.errors import InvalidInput
from widgetkit.session.mapspec import MapSpec, kind_of, kinds_of, takes_latents, words_for

if TYPE_CHECKING:
    from widgetkit.explain import MapMethod
    from widgetkit.session import Session

#: Classes that are listed: the most often predicted. All 1000 of ImageNet are 30 kB of names.
CLASSES_MOST = 40
#: Selected tiles that are asked for their most frequent predictions.
_PREDICTIONS_MOST = 20_000


def methods(session: Session) -> list[dict[str, str]]:
    """Every map method as ``{"name", "title"}``, with a ``reason`` where it cannot run now.

    The title says where maps that the store keeps stand in for the network.
    """
    entries = []
    for name, method in explain.methods().items():
        entry = {"name": name, "title": method.title}
        reason = why_not(session, method)
        if reason:
            entry["reason"] = reason
        elif not explain.is_live(method) and session.model is None:
            entry["title"] += " (kept in the store)"
        entries.append(entry)
    return entries


def why_not(session: Session, method: type[MapMethod]) -> str:
    """A few words, empty where the method can run."""
    if not kinds_of(method):
        return "is asked for in Python"  # a session holds no target of its kind
    spec = MapSpec(method.name)
    info = session.store.layers[session.map_layer(spec)]
    if not info.has_maps:
        return "needs stored maps of activations"
    if method.targets == {explain.ConceptTarget}:
        if session.concepts is None:
            return "needs concepts: save a selection as one"
        if not session.concepts.counts[:, 0].any():
            return "needs examples of a concept"
    if takes_latents(method):
        clustering = session.clustering
        if clustering is None:
            return "needs clusters"
        if clustering.centres is None:
            return "needs clusters with centres: k-means or deep clustering"
    if not explain.is_live(method):
        if session.model is None:
            return "" if session.maps_at_once(spec) else "needs the model"
        if not session.store.has_images:
            return "needs the images"
        return ""
    if method.targets == {explain.ClassTarget} and session.store.head(info.name) is None:
        return "needs a linear head behind this layer"
    if method.targets == {explain.ClusterTarget}:
        clustering = session.clustering
        if clustering is None:
            return "needs clusters"
        if clustering.layer != info.name:
            return f"the clusters are of layer {clustering.layer}"
    return ""


def targets(session: Session, spec: MapSpec) -> list[dict[str, str]]:
    """What the method of ``spec`` can be asked for: ``{"value", "label", "group"}``.

    A value is ``"kind:number"``, or ``"kind:"`` for what suits each tile; :func:`parse` reads it.
    """
    entries: list[dict[str, str]] = []
    for kind in sorted(kinds_of(explain.get(spec.method)), key=list(_LISTS).index):
        entries += [
            {"value": f"{kind}:{value}", "label": label, "group": group}
            for value, label, group in _LISTS[kind](session, spec)
        ]
    return entries


def against(session: Session, spec: MapSpec) -> list[dict[str, str]]:
    """Clusters that the target can be set against: ``{"value", "label"}``, "" for none.

    Empty where the method does not take one, and where there is no other cluster.
    """
    clustering = session.clustering
    if not takes_latents(explain.get(spec.method)) or clustering is None:
        return []
    others = [i for i in range(clustering.k) if i != spec.target]
    if not others or clustering.k < 2:
        return []
    named = [{"value": str(i), "label": clustering.names[i]} for i in others]
    return [{"value": "", "label": "none"}, *named]


def value_of(spec: MapSpec) -> str:
    """The entry of the list that a spec means."""
    return f"{kind_of(spec)}:{'' if spec.target is None else spec.target}"


def parse(method: str, value: object, rather: object = None) -> MapSpec:
    """The spec that a choice in the lists of methods, targets and other clusters means.

    A target that was set against itself (the list of targets moved to it) is set against none.

    Raises
    ------
    UnknownName, InvalidInput
        The method or the target is not one of ours.
    """
    explain.get(method)
    if value is None or value == "":
        value = ":"
    kind, _, number = str(value).partition(":")
    if (kind and kind not in _LISTS) or not _is_number(number):
        raise InvalidInput(f"A map's target is 'kind:number' or 'kind:'; got {str(value)!r:.60}.")
    if rather is not None and not (isinstance(rather, str) and _is_number(rather)):
        raise InvalidInput(f"A cluster to set against is a number or ''; got {str(rather)!r:.60}.")
    other = "" if rather is None or rather == number else rather
    spec = MapSpec(
        method,
        int(number) if number else None,
        of=kind or None,  # type: ignore[arg-type]
        against=int(other) if other else None,
    )
    kind_of(spec)
    return spec


def _is_number(text: str) -> bool:
    """Whether it is one, short enough to be meant, or nothing."""
    return text == "" or (text.isascii() and text.isdecimal() and len(text) < 10)


# -- one list a kind of target -------------------------------------------------------------
Entries = list[tuple[str, str, str]]  # value, label, group


def _clusters(session: Session, _spec: MapSpec) -> Entries:
    clustering = session.clustering
    names = () if clustering is None else clustering.names
    return [
        ("", "each tile's own", "cluster"),
        *((str(i), name, "cluster") for i, name in enumerate(names)),
    ]


def _classes(session: Session, spec: MapSpec) -> Entries:
    outputs, names = session.store.outputs, session.store.class_names
    count = len(names) if names else (0 if outputs is None else outputs.shape[1])
    listed = list(range(min(count, CLASSES_MOST)))
    entries: Entries = []
    if outputs is not None and len(outputs):
        entries.append(("", "each tile's predicted class", "class"))
        if count > CLASSES_MOST:
            # evenly spread rows, so that the list is the same each time
            step = max(1, len(outputs) // _PREDICTIONS_MOST)
            often = np.bincount(np.asarray(outputs[::step]).argmax(axis=1), minlength=count)
            listed = [int(i) for i in np.argsort(-often, kind="stable")[:CLASSES_MOST] if often[i]]
    if spec.of in (None, "class") and spec.target is not None and spec.target not in listed:
        listed.append(spec.target)
    known = [i for i in listed if i < count]
    entries += [(str(i), names[i] if names else f"class {i}", "class") for i in known]
    return entries


def _selection(_session: Session, _spec: MapSpec) -> Entries:
    return [("", "the selection against the rest", "selection")]


def _channels(session: Session, spec: MapSpec) -> Entries:
    entries: Entries = [("", "the most active channel", "channel")]
    if spec.of in (None, "channel") and spec.target is not None:
        entries.append((str(spec.target), f"channel {spec.target}", "channel"))
    return entries


def _concepts(session: Session, _spec: MapSpec) -> Entries:
    concepts = session.concepts
    if concepts is None:
        return []
    drawn = np.flatnonzero(concepts.counts[:, 0])  # without an example there is nothing to draw by
    return [
        ("", "each tile's own", "concept"),
        *((str(f), concepts.names[f], "concept") for f in drawn),
    ]


_LISTS = {
    "cluster": _clusters,
    "class": _classes,
    "selection": _selection,
    "channel": _channels,
    "concept": _concepts,
}


def channels(session: Session, spec: MapSpec) -> int:
    """Number of channels to choose from, 0 where the method takes none."""
    method = explain.get(spec.method)
    able = explain.ChannelTarget in method.targets
    return int(session.store.layers[session.map_layer(spec)].channels) if able else 0


def title_of(session: Session, spec: MapSpec) -> str:
    """``"cluster 'ink'"``: what the maps of a spec are of, for :meth:`MapViewer.describe`."""
    return words_for(spec, session.clustering, session.store, session.concepts)


def of_concepts(session: Session) -> bool:
    """Whether the session's map is of a concept, so that other examples make another map."""
    return kind_of(session.map_spec) == "concept"
