"""What a map method is, what it is given, and where methods are found.

A map says, for every position of a layer's grid, how much that position has to do with a
*target*: a cluster, a class, a selection of tiles, a channel. One method is one class in one
file, decorated with :func:`register`; nothing else has to be edited. See
``docs/map-methods.md``.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt

from widgetkit.errors import (
    BadActivations,
    ChannelMismatch,
    InvalidInput,
    NeedsActivations,
    NeedsModel,
    UnknownName,
    near,
)

if TYPE_CHECKING:
    from widgetkit.store import ActivationStore

Float: TypeAlias = npt.NDArray[np.float32]
Need: TypeAlias = Literal["activations", "gradients", "forward"]

_NEEDS = frozenset({"activations", "gradients", "forward"})


# -- what a method is given --------------------------------------------------------------
class Layer(Protocol):
    """What a method must know of a layer; ``widgetkit.store.LayerInfo`` is one."""

    @property
    def name(self) -> str:
        """Name of the module in the network, as in ``model.named_modules()``."""

    @property
    def channels(self) -> int:
        """C."""

    @property
    def grid(self) -> tuple[int, ...]:
        """Spatial shape, ``(h, w)`` or ``(d, h, w)``; ``()`` where there are no maps."""

    @property
    def has_maps(self) -> bool:
        """False for ready-made features: one vector a tile."""


class Model(Protocol):
    """What a method may ask of the network: arrays in, arrays out.

    ``images`` are as the store keeps them, ``(m, *spatial)`` or ``(m, *spatial, 3)``, uint8 or
    float32 in the same range (masked images are float32 between 0 and 255); preprocessing is
    the model's business. ``widgetkit.extraction.ModelContext`` is one.
    """

    def forward_to_layer(self, images: npt.NDArray[Any], layer: str) -> npt.NDArray[Any]:
        """Activations ``(m, C, *grid)`` of ``layer``."""

    def logits(self, images: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Output of the network before any softmax, ``(m, n_classes)``."""

    def activations_and_gradients(
        self, images: npt.NDArray[Any], layer: str, target_class: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """``A`` and the gradient of ``logits[:, target_class]`` by ``A``, both ``(m, C, *grid)``."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Some tiles, with all that a method may look at.

    Attributes
    ----------
    rows : (m,) int
        Tile numbers in the store.
    activations : (m, C, *grid) float32 (float16 is taken too), or None
        As stored. None when the method at hand does not need them.
    images : (m, H, W[, 3]) or (m, D, H, W[, 3]) uint8, or None
        As stored.
    layer : Layer
        Which layer ``activations`` came from.
    model : Model or None
        The network, when the session has one.
    head : (weight (n_classes, C), bias (n_classes,)) or None
        The linear head behind this layer: ``store.head(layer.name)``.
    check : callable
        Called between batches of forward passes; a job raises :class:`~widgetkit.errors.Cancelled`
        in it to stop.
    progress : callable
        ``progress(done, total)``, called beside ``check``.
    """

    rows: npt.NDArray[np.int64]
    activations: npt.NDArray[Any] | None = None
    images: npt.NDArray[Any] | None = None
    layer: Layer = field(kw_only=True)
    model: Model | None = None
    head: tuple[npt.NDArray[Any], npt.NDArray[Any]] | None = None
    check: Callable[[], None] = field(default=lambda: None, repr=False)
    progress: Callable[[int, int], None] = field(default=lambda done, total: None, repr=False)

    @classmethod
    def from_store(
        cls,
        store: ActivationStore,
        rows: Sequence[int] | npt.NDArray[Any],
        *,
        layer: str | None = None,
        model: Model | None = None,
        method: MapMethod | None = None,
    ) -> Batch:
        """Read ``rows`` of a store: activations, images where there are any, and the head.

        Parameters
        ----------
        store : ActivationStore
        rows : (m,) int
        layer : str, optional
            Default: ``store.default_layer``.
        model : Model, optional
        method : MapMethod, optional
            Reads only what this method needs. Default: everything there is.

        Raises
        ------
        UnknownLayer, InvalidInput
            No such layer or row in the store.
        """
        info = store.layer(store.default_layer if layer is None else layer)
        wanted = np.asarray(rows, dtype=np.int64).reshape(-1)
        needs = _NEEDS if method is None else method.requires
        return cls(
            wanted,
            activations=store.activations(info.name, wanted) if info.has_maps else None,
            images=store.images(wanted) if store.has_images and needs != {"activations"} else None,
            layer=info,
            model=model,
            head=store.head(info.name),
        )

    def __len__(self) -> int:
        return len(self.rows)

    def need_activations(self, method: str) -> Float:
        """Activations as finite float32 ``(m, C, *grid)``, or an error that says what to do."""
        values = np.asarray(self.need_maps(method), dtype=np.float32)
        expected = (len(self), self.layer.channels, *self.layer.grid)
        if values.shape != expected:
            raise InvalidInput(
                f"{method} was given activations of shape {values.shape} for {len(self)} tiles of layer "
                f"{self.layer.name!r}, which should be {expected}."
            )
        if not np.isfinite(values).all():
            bad = self.rows[~np.isfinite(values).reshape(len(self), -1).all(axis=1)]
            raise BadActivations(
                f"Activations of layer {self.layer.name!r} hold NaN or infinity in tiles "
                f"{_short(bad)}: {method} cannot be computed. Look for them with store.verify(), "
                "and extract these tiles again."
            )
        return values

    def need_maps(self, method: str) -> npt.NDArray[Any]:
        """Activations as they were given, or the error for a layer that has no maps."""
        if self.activations is None or self.activations.ndim < 3 or not self.layer.has_maps:
            raise NeedsActivations(
                f"{method} needs maps of activations, and layer {self.layer.name!r} has one vector "
                "a tile. Extract a layer with spatial output: wk.extract(model, tiles, layers=[...]); "
                "wk.layers(model) lists them."
            )
        return self.activations

    def need_model(self, method: str) -> Model:
        """The network, or an error that says how to pass it."""
        if self.model is None:
            raise NeedsModel(
                f"{method} runs the network, and this session has none. Pass it: wk.explore(store, model=...)."
            )
        return self.model

    def need_images(self, method: str) -> npt.NDArray[Any]:
        """Images ``(m, *spatial[, 3])``, or an error that says what to do."""
        if self.images is None:
            raise InvalidInput(
                f"{method} runs the network on the tiles' images, and the store has none. "
                "Extract again with wk.extract(...), which keeps them."
            )
        if len(self.images) != len(self):
            raise InvalidInput(
                f"{method} was given {len(self.images)} images for {len(self)} tiles."
            )
        return self.images


# -- what a map is of --------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class ClusterTarget:
    """One cluster or factor of a clustering.

    Attributes
    ----------
    prototype : (C,) float
        ``prototypes[index]``.
    prototypes : (k, C) float
        Factors ``H`` of an NMF, or centres of a k-means.
    index : int
        Which of the k, 0-based.
    kind : "nmf" or "kmeans"
    background : (C,) float, optional
        What an empty position looks like. NMF: subtracted before the weights are solved (the
        ``shift`` that made a signed layer non-negative). k-means: stands for "the others" when
        there is no other centre. Default: zero.
    """

    prototype: npt.NDArray[Any]
    prototypes: npt.NDArray[Any]
    index: int
    kind: Literal["nmf", "kmeans"] = "nmf"
    background: npt.NDArray[Any] | None = None

    @classmethod
    def of(
        cls,
        prototypes: npt.NDArray[Any],
        index: int,
        *,
        kind: Literal["nmf", "kmeans"] = "nmf",
        background: npt.NDArray[Any] | None = None,
    ) -> ClusterTarget:
        """Cluster ``index`` of ``prototypes`` (k, C)."""
        table = np.asarray(prototypes)
        if table.ndim != 2 or not 0 <= index < len(table):
            raise InvalidInput(
                f"Cluster {index} was asked of prototypes of shape {table.shape}: "
                "they must be (k, C), and the cluster between 0 and k - 1."
            )
        return cls(table[index], table, index, kind, background)


@dataclass(frozen=True)
class ClassTarget:
    """One output of the network, 0-based."""

    index: int


@dataclass(frozen=True, eq=False)
class SelectionTarget:
    """A selection of tiles against the rest: means ``(C,)`` of each, and the spread ``(C,)``."""

    mean_in: npt.NDArray[Any]
    mean_rest: npt.NDArray[Any]
    std: npt.NDArray[Any]


@dataclass(frozen=True)
class ChannelTarget:
    """One channel of the layer, 0-based."""

    index: int


Target: TypeAlias = ClusterTarget | ClassTarget | SelectionTarget | ChannelTarget
T = TypeVar("T")


def expect(target: object, kind: type[T], method: str) -> T:
    """``target`` if it is a ``kind``; otherwise an error that names both."""
    if not isinstance(target, kind):
        raise InvalidInput(
            f"{method} makes maps of a {kind.__name__}, and was given a {type(target).__name__}."
        )
    return target


def channel_vector(values: npt.ArrayLike, channels: int, what: str, layer: str) -> Float:
    """``values`` as a (C,) float32, or an error that says which of them does not fit."""
    vector = np.asarray(values, dtype=np.float32)
    if vector.shape != (channels,):
        raise ChannelMismatch(
            f"{what} has shape {vector.shape}, and layer {layer!r} has {channels} channels. "
            "It was probably computed on another layer."
        )
    return vector


def weighted_sum(activations: Float, weights: Float) -> Float:
    """``sum_c weights[c] * activations[:, c]``; ``weights`` is (C,), or (m, C) with one row a tile.

    One matrix product a tile over the flattened grid, so it reads 2-D and 3-D grids alike.
    """
    m, channels, *grid = activations.shape
    flat = activations.reshape(m, channels, int(np.prod(grid)))
    rows = weights.reshape(-1, 1, channels)
    return cast(Float, np.matmul(rows, flat)[:, 0].reshape(m, *grid).astype(np.float32, copy=False))


# -- what a method is --------------------------------------------------------------------
class MapMethod(Protocol):
    """A map method: parameters in the constructor, all of them with defaults; no state.

    Attributes
    ----------
    name : str
        Lower case, digits and dashes; what ``get``, the map menu and ``MapSpec`` call it.
    title : str
        What people read.
    reference : str
        The publication, or one sentence where there is none.
    requires : frozenset of "activations", "gradients", "forward"
        ``{"activations"}`` alone makes the method live; with anything else it runs as a job and
        needs the network.
    targets : frozenset of target classes
    signed : bool
        True when zero means "neither": the colour scale is then symmetric.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    reference: ClassVar[str]
    requires: ClassVar[frozenset[Need]]
    targets: ClassVar[frozenset[type]]
    signed: ClassVar[bool]

    def compute(self, batch: Batch, target: Any) -> Float:
        """Maps ``(m, *grid)`` float32 of ``target``, finite, one a tile of ``batch``."""


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
    unknown = set(cls.requires) - _NEEDS
    if unknown or not cls.requires:
        raise InvalidInput(
            f"{label}.requires is {sorted(cls.requires)}: use one or more of {', '.join(sorted(_NEEDS))}."
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
            f"{chosen.title} gave NaN or infinity for tiles {_short(bad)} in layer {batch.layer.name!r}: "
            "the network overflows there, or returns no number for these images."
        )
    return maps.astype(np.float32, copy=False)


def _short(rows: npt.NDArray[Any], most: int = 5) -> str:
    shown = ", ".join(str(int(r)) for r in rows[:most])
    return shown + (f" and {len(rows) - most} more" if len(rows) > most else "")
