"""What a map method is, and what it is given.

A map says, for every position of a layer's grid, how much that position has to do with a
*target*: a cluster, a class, a selection of tiles, a channel.
"""

from __future__ import annotations

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
)
from widgetkit.explain.concept_target import ConceptTarget

if TYPE_CHECKING:
    from widgetkit.store import ActivationStore

Float: TypeAlias = npt.NDArray[np.float32]
Need: TypeAlias = Literal["activations", "gradients", "forward"]

NEEDS = frozenset({"activations", "gradients", "forward"})


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


class SharedOut(Protocol):
    """Relevance of a layer; ``widgetkit.extraction.relevance.Relevance`` is one."""

    @property
    def layer(self) -> npt.NDArray[Any]:
        """``(m, C, *grid)``; with ``absorbed`` it adds up to ``output``, where nothing goes round."""

    @property
    def absorbed(self) -> npt.NDArray[Any]:
        """``(m,)`` what biases keep."""

    @property
    def output(self) -> npt.NDArray[Any]:
        """``(m,)`` what was shared out."""


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

    def gradients_towards(
        self, images: npt.NDArray[Any], layer: str, at: str, direction: npt.NDArray[Any]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """``A`` of ``layer`` and the gradient of ``h . direction`` by it; ``h`` is the layer ``at``."""

    def relevance(
        self,
        images: npt.NDArray[Any],
        layer: str,
        target_class: int,
        *,
        rule: Literal["composite", "epsilon", "zplus", "gamma"] = "composite",
        epsilon: float = 1e-6,
        gamma: float = 0.25,
        at_input: bool = True,
    ) -> SharedOut:
        """``logits[:, target_class]`` shared out over ``layer``, and the input, by relevance propagation."""


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
        needs = NEEDS if method is None else method.requires
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
                f"{short_list(bad)}: {method} cannot be computed. Look for them with store.verify(), "
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


@dataclass(frozen=True, eq=False)
class LatentTarget:
    """One cluster of latent vectors, or one cluster against another.

    Attributes
    ----------
    centres : (k, d) float
        Centres in the units of the latent layer.
    index : int
        Which of the k, 0-based.
    against : int, optional
        Another of the k: what speaks for ``index`` rather than for this one.
    latent : str
        The network's layer that gives the latent vectors: ``(m, d)``, or maps ``(m, C, *grid)``
        whose mean over the grid (``d = C``) or whose flattened values (``d = C * positions``) they are.

    Raises
    ------
    InvalidInput
        No table of finite centres, no such cluster, or a cluster against itself.
    """

    centres: npt.NDArray[Any]
    index: int
    against: int | None = None
    latent: str = "latent"

    def __post_init__(self) -> None:
        table = np.asarray(self.centres)
        if table.ndim != 2 or not np.isfinite(table.astype(np.float64)).all():
            raise InvalidInput(
                f"Centres of shape {table.shape}: they must be (k, d), without NaN or infinity."
            )
        for asked in (self.index, *(() if self.against is None else (self.against,))):
            if not 0 <= asked < len(table):
                raise InvalidInput(
                    f"Cluster {asked} is not one of the {len(table)} clusters, which count from 0."
                )
        if self.index == self.against:
            raise InvalidInput(
                f"Cluster {self.index} against itself has no map: name another one, or none for all."
            )


Target: TypeAlias = (
    ClusterTarget | ClassTarget | SelectionTarget | ChannelTarget | LatentTarget | ConceptTarget
)
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


def short_list(rows: npt.NDArray[Any], most: int = 5) -> str:
    """``"3, 7 and 4 more"``."""
    shown = ", ".join(str(int(r)) for r in rows[:most])
    return shown + (f" and {len(rows) - most} more" if len(rows) > most else "")


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


class Coarsened(MapMethod, Protocol):
    """A map method that has a cheaper version of itself, for a first look while it is computed.

    Optional: whoever wants a coarse map asks :func:`coarse_of`, which takes any method.
    """

    def coarse(self) -> MapMethod | None:
        """A cheaper method of the same name and targets, its maps on the same grid; or None."""


def coarse_of(method: MapMethod) -> MapMethod | None:
    """The cheaper version of ``method`` to show first; None where it has none.

    It is called like any other method and makes maps of the same targets, on the same grid and in
    the same units, so that the finer map can take its place as it is.
    """
    make: Callable[[], MapMethod | None] | None = getattr(method, "coarse", None)
    return None if make is None else make()
