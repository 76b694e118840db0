"""What can be drawn now: the map viewer's lists of methods and of targets, with reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from widgetkit import explain
from widgetkit.errors import InvalidInput
from widgetkit.session.maps import MapSpec, kind_of

if TYPE_CHECKING:
    from widgetkit.explain import MapMethod
    from widgetkit.session import Session

#: Classes that are listed: the most often predicted. All 1000 of ImageNet are 30 kB of names.
CLASSES_MOST = 40
#: Selected tiles that are asked for their most frequent predictions.
_PREDICTIONS_MOST = 20_000

_KINDS: dict[str, type] = {
    "cluster": explain.ClusterTarget,
    "class": explain.ClassTarget,
    "selection": explain.SelectionTarget,
    "channel": explain.ChannelTarget,
}


def methods(session: Session) -> list[dict[str, str]]:
    """Every map method as ``{"name", "title"}``, with a ``reason`` where it cannot run now."""
    entries = []
    for name, method in explain.methods().items():
        entry = {"name": name, "title": method.title}
        reason = why_not(session, method)
        if reason:
            entry["reason"] = reason
        entries.append(entry)
    return entries


def why_not(session: Session, method: type[MapMethod]) -> str:
    """A few words, empty where the method can run."""
    if not method.targets & set(_KINDS.values()):
        return "is asked for in Python"  # a session holds no target of its kind
    info = session.store.layers[session.layer]
    if not info.has_maps:
        return "needs stored maps of activations"
    if not explain.is_live(method):
        if session.model is None:
            return "" if session.maps_at_once(MapSpec(method.name)) else "needs the model"
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
    method = explain.get(spec.method)
    able = [kind for kind, cls in _KINDS.items() if cls in method.targets]
    entries: list[dict[str, str]] = []
    for kind in able:
        entries += [
            {"value": f"{kind}:{value}", "label": label, "group": group}
            for value, label, group in _LISTS[kind](session, spec)
        ]
    return entries


def value_of(spec: MapSpec) -> str:
    """The entry of the list that a spec means."""
    return f"{kind_of(spec)}:{'' if spec.target is None else spec.target}"


def parse(method: str, value: object) -> MapSpec:
    """The spec that a choice in the two lists means.

    Raises
    ------
    UnknownName, InvalidInput
        The method or the target is not one of ours.
    """
    explain.get(method)
    if value is None or value == "":
        return MapSpec(method)
    kind, _, number = str(value).partition(":")
    if kind not in _KINDS or not (number == "" or (number.isascii() and number.isdecimal())):
        raise InvalidInput(f"A map's target is 'kind:number' or 'kind:'; got {str(value)!r:.60}.")
    spec = MapSpec(method, int(number) if number else None, of=kind)  # type: ignore[arg-type]
    kind_of(spec)
    return spec


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


_LISTS = {"cluster": _clusters, "class": _classes, "selection": _selection, "channel": _channels}


def channels(session: Session, spec: MapSpec) -> int:
    """Number of channels to choose from, 0 where the method takes none."""
    method = explain.get(spec.method)
    able = explain.ChannelTarget in method.targets
    return int(session.store.layers[session.layer].channels) if able else 0


def title_of(session: Session, spec: MapSpec) -> str:
    """``"cluster 'ink'"``: what the maps of a spec are of, for :meth:`MapViewer.describe`."""
    kind = kind_of(spec)
    if kind == "selection":
        return "the selection against the rest"
    if spec.target is None:
        return {
            "cluster": "each tile's own cluster",
            "class": "each tile's predicted class",
            "channel": "the most active channel",
        }[kind]
    names: tuple[str, ...] | list[str] | None = None
    if kind == "cluster" and session.clustering is not None:
        names = session.clustering.names
    elif kind == "class":
        names = session.store.class_names
    if names is not None and spec.target < len(names):
        return f"{kind} {names[spec.target]!r}"
    return f"{kind} {spec.target}"
