"""Where map methods are found, and the checked way to call one.

One method is one class in one file, decorated with :func:`register`; nothing else has to be
edited. See ``docs/map-methods.md``.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from typing import TypeVar

import numpy as np

from widgetkit.errors import BadActivations, InvalidInput, UnknownName, near
from widgetkit.explain.base import NEEDS, Batch, Float, MapMethod, Target, short_list

M = TypeVar("M", bound="type[MapMethod]")
_REGISTRY: dict[str, type[MapMethod]] = {}
_discovered = False


def register(cls: M) -> M:
    """Class decorator: make a map method known under its ``name``.

    Running the same definition again (a notebook cell, a reload) replaces it; another class
    under a taken name is an error.

    Raises
    ------
    InvalidInput
        The class is not a map method (what is missing is named), or its name is taken.
    """
    label = cls.__qualname__
    missing = [
        a
        for a in ("name", "title", "reference", "requires", "targets", "signed")
        if not hasattr(cls, a)
    ]
    if not callable(getattr(cls, "compute", None)):
        missing.append("compute")
    if missing:
        raise InvalidInput(
            f"{label} is no map method: it lacks {', '.join(missing)}. See MapMethod."
        )
    if not isinstance(cls.name, str) or not re.fullmatch(r"[a-z][a-z0-9-]*", cls.name):
        raise InvalidInput(
            f"{label}.name is {cls.name!r}: use lower-case letters, digits and dashes, a letter first."
        )
    unknown = set(cls.requires) - NEEDS
    if unknown or not cls.requires:
        raise InvalidInput(
            f"{label}.requires is {sorted(cls.requires)}: use one or more of {', '.join(sorted(NEEDS))}."
        )
    if not cls.targets or not all(isinstance(t, type) for t in cls.targets):
        raise InvalidInput(
            f"{label}.targets must name at least one target class, such as {{ClusterTarget}}."
        )
    known = _REGISTRY.get(cls.name)
    if known is not None and (known.__module__, known.__qualname__) != (
        cls.__module__,
        cls.__qualname__,
    ):
        raise InvalidInput(
            f"{label} is named {cls.name!r}, which is taken by {known.__module__}.{known.__qualname__}. "
            "Give it another name, or unregister that one first."
        )
    _REGISTRY[cls.name] = cls
    return cls


def unregister(name: str) -> None:
    """Forget a registered method. Unknown names raise :class:`~widgetkit.errors.UnknownName`."""
    if name not in methods():
        raise UnknownName(
            f"There is no map method {name!r} to unregister. {near(name, _REGISTRY)}".rstrip()
        )
    del _REGISTRY[name]


def methods() -> dict[str, type[MapMethod]]:
    """All map methods by name, sorted: those of this package and those registered by others."""
    global _discovered
    if not _discovered:
        # every module beside this one is loaded once, so a method needs no entry in any list
        package = sys.modules[__name__.rpartition(".")[0]]
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")
        _discovered = True
    return dict(sorted(_REGISTRY.items()))


def get(name: str) -> MapMethod:
    """The method ``name`` with its default parameters.

    Raises
    ------
    UnknownName
        Says which names are near.
    """
    known = methods()
    if name not in known:
        raise UnknownName(
            f"There is no map method {name!r}. {near(name, known)} "
            "List them with widgetkit.explain.methods()."
        )
    return known[name]()


def is_live(method: MapMethod | type[MapMethod]) -> bool:
    """Whether stored activations are all it needs, so that it can follow every gesture."""
    return method.requires == {"activations"}


def for_target(target: type) -> dict[str, type[MapMethod]]:
    """The methods that make maps of this class of target."""
    return {name: cls for name, cls in methods().items() if target in cls.targets}


def compute(method: MapMethod | str, batch: Batch, target: Target) -> Float:
    """Maps of ``target``, with every promise checked: what sessions and figures call.

    Parameters
    ----------
    method : MapMethod or str
        A name means the method with its default parameters.
    batch : Batch
    target : Target

    Returns
    -------
    (m, *grid) float32, finite

    Raises
    ------
    InvalidInput
        The method makes no maps of this target.
    NeedsModel, NeedsActivations
        The batch lacks what the method requires; the message says how to give it.
    BadActivations
        The result is not finite, or not one map a tile.
    """
    chosen = get(method) if isinstance(method, str) else method
    if type(target) not in chosen.targets:
        able = ", ".join(for_target(type(target))) or "none"
        accepted = ", ".join(sorted(t.__name__ for t in chosen.targets))
        raise InvalidInput(
            f"{chosen.title} makes maps of {accepted}, and was given a {type(target).__name__}. "
            f"Methods for that: {able}."
        )
    if chosen.requires & {"gradients", "forward"}:
        batch.need_model(chosen.title)
        batch.need_images(chosen.title)
    if "activations" in chosen.requires:
        batch.need_maps(chosen.title)
    maps = np.asarray(chosen.compute(batch, target))
    if maps.ndim < 2 or len(maps) != len(batch):
        raise BadActivations(
            f"{chosen.title} returned an array of shape {maps.shape} for {len(batch)} tiles; "
            "a map method returns (m, *grid)."
        )
    if not np.isfinite(maps).all():
        bad = batch.rows[~np.isfinite(maps).reshape(len(maps), -1).all(axis=1)]
        raise BadActivations(
            f"{chosen.title} gave NaN or infinity for tiles {short_list(bad)} in layer {batch.layer.name!r}: "
            "the network overflows there, or returns no number for these images."
        )
    return maps.astype(np.float32, copy=False)
