"""Which maps are asked for, of what, and the layer that they are drawn on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from widgetkit import explain
from widgetkit.errors import InvalidInput

if TYPE_CHECKING:
    from widgetkit.concepts import ConceptSet
    from widgetkit.explain import MapMethod
    from widgetkit.session.clustering import Clustering
    from widgetkit.store import ActivationStore

Kind = Literal["cluster", "class", "selection", "channel", "concept"]

#: What a session calls the targets of map methods, in the order in which a method's first is taken.
KINDS: Mapping[type, Kind] = {
    explain.ClassTarget: "class",
    explain.ClusterTarget: "cluster",
    explain.LatentTarget: "cluster",
    explain.SelectionTarget: "selection",
    explain.ChannelTarget: "channel",
    explain.ConceptTarget: "concept",
}

_OWN: Mapping[Kind, str] = {
    "cluster": "each tile's own cluster",
    "class": "each tile's predicted class",
    "channel": "the most active channel",
    "selection": "the selection against the rest",
    "concept": "each tile's own concept",
}


@dataclass(frozen=True)
class MapSpec:
    """Which maps are asked for.

    Attributes
    ----------
    method : str
        Name of a map method, see ``widgetkit.explain.methods()``.
    target : int or None
        Cluster, class, channel or concept, from 0. None means what suits each tile: its own cluster,
        its predicted class, the strongest concept in it; the most active channel.
    layer : str or None
        None means what :func:`layer_of` says: as a rule the session's.
    of : "cluster", "class", "selection", "channel", "concept" or None
        What the target is, where the method takes several; None means its first in the
        order class, cluster, selection, channel, concept.
    against : int or None
        Another cluster: what speaks for the target rather than for this one. Only for methods
        that take it (CLAM).
    """

    method: str = "cluster"
    target: int | None = None
    layer: str | None = None
    of: Kind | None = None
    against: int | None = None

    def __post_init__(self) -> None:
        for name in ("target", "against"):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | np.integer):
                raise InvalidInput(f"A map's {name} is a number from 0, or None; got {value!r}.")
            if value < 0:
                raise InvalidInput(f"A map's {name} is a number from 0; got {value}.")
            object.__setattr__(self, name, int(value))
        if self.of is not None and self.of not in get_args(Kind):
            raise InvalidInput(f"of is one of {', '.join(get_args(Kind))}; got {self.of!r}.")
        if self.against is not None and self.against == self.target:
            raise InvalidInput(
                f"Cluster {self.target} against itself has no map: name another one, or none for all."
            )

    @property
    def live(self) -> bool:
        """Whether stored activations are enough, so that it can follow every gesture."""
        return explain.is_live(explain.get(self.method))


def kinds_of(method: MapMethod | type[MapMethod]) -> list[Kind]:
    """What the targets of a method are called in a session; empty where it knows none of them."""
    return list(dict.fromkeys(kind for cls, kind in KINDS.items() if cls in method.targets))


def takes_latents(method: MapMethod | type[MapMethod]) -> bool:
    """Whether its clusters are clusters of latent vectors, which may lie on another layer."""
    return explain.LatentTarget in method.targets and explain.ClusterTarget not in method.targets


def kind_of(spec: MapSpec, method: MapMethod | None = None) -> Kind:
    """What the target of a spec is.

    Raises
    ------
    UnknownName, InvalidInput
        No such method, or not a target that it takes.
    """
    method = method or explain.get(spec.method)
    able = kinds_of(method)
    if spec.of is not None and spec.of not in able:
        raise InvalidInput(f"{method.title} makes maps of {', '.join(able)}; not of {spec.of!r}.")
    if not able:
        raise InvalidInput(f"{method.title} takes none of the targets a session knows.")
    if spec.against is not None and not takes_latents(method):
        others = (m.title for m in explain.methods().values() if takes_latents(m))
        raise InvalidInput(
            f"{method.title} does not set one cluster against another, so it takes no against=. "
            f"Methods that do: {', '.join(others)}."
        )
    return spec.of or able[0]


def layer_of(
    store: ActivationStore, spec: MapSpec, layer: str, clustering: Clustering | None = None
) -> str:
    """The layer that maps of a spec are drawn on, in a session that looks at ``layer``.

    The spec's, else the session's where that has maps; else the last layer of the store with maps
    before it (maps of a cluster of latent vectors: before the layer that was clustered). Maps of a
    factor or a centre need the layer that was clustered, and stay on the session's.
    """
    if spec.layer is not None:
        return spec.layer
    latents = takes_latents(explain.get(spec.method))
    if kind_of(spec) == "cluster" and not latents:
        return layer
    return layer_with_maps(
        store, layer, before=clustering.layer if latents and clustering is not None else layer
    )


def layer_with_maps(store: ActivationStore, layer: str, *, before: str | None = None) -> str:
    """``layer`` where it has maps, else the store's last layer with maps that comes before it.

    The last of all where none comes before, and ``layer`` itself where no layer has maps.
    """
    if layer not in store.layers or store.layers[layer].has_maps:
        return layer
    names = list(store.layers)
    end = names.index(before if before in names else layer)
    mapped = [name for name in names if store.layers[name].has_maps]
    earlier = [name for name in mapped if names.index(name) < end]
    return (earlier or mapped or [layer])[-1]


def followed(spec: MapSpec, before: ConceptSet | None, after: ConceptSet | None) -> MapSpec:
    """``spec`` after concepts were changed: of the same concept, or, where it is gone, of none."""
    if before is after or spec.target is None or before is None or kind_of(spec) != "concept":
        return spec
    names = () if after is None else after.names
    if spec.target >= len(before.names):
        return spec
    name, now = before.names[spec.target], None
    if name in names:
        now = names.index(name)
    elif len(names) == len(before.names):
        now = spec.target  # it has another name
    return replace(spec, target=now)


def words_for(
    spec: MapSpec,
    clustering: Clustering | None,
    store: ActivationStore,
    concepts: ConceptSet | None = None,
) -> str:
    """What maps of a spec are of: ``"cluster 'ink' against 'stroma'"``. Names are free text."""
    kind = kind_of(spec)
    names = clustering.names if kind == "cluster" and clustering is not None else ()
    if kind == "class":
        names = tuple(store.class_names or ())
    if kind == "concept" and concepts is not None:
        names = concepts.names

    def called(i: int) -> str:
        return repr(names[i]) if i < len(names) else str(i)

    of = (
        _OWN[kind]
        if spec.target is None or kind == "selection"
        else f"{kind} {called(spec.target)}"
    )
    return of if spec.against is None else f"{of} against {called(spec.against)}"
