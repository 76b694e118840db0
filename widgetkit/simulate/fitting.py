"""One repeat of an experiment: an autoencoder of simulated images, its clusters, and maps of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from widgetkit.deep_clustering import ConvAutoencoder, DeepClustering
from widgetkit.errors import Cancelled, InvalidInput
from widgetkit.explain import registry
from widgetkit.explain.base import Batch, ClassTarget, LatentTarget, MapMethod, SharedOut
from widgetkit.explain.resample import area_mean
from widgetkit.simulate.simulation import LungSimulation

if TYPE_CHECKING:
    from widgetkit.extraction import ModelContext

Floats: TypeAlias = npt.NDArray[np.float32]
Baseline: TypeAlias = Literal["black", "mean"]

#: Maps that no method makes: noise on the layer's grid, and the truth brought to that grid and back,
#: which is the best that any map of so few cells can do.
RANDOM, CEILING = "random", "ceiling"


@dataclass(frozen=True)
class Training:
    """The autoencoder of an experiment: CPU-sized, some three seconds of one core.

    Attributes
    ----------
    channels, latent, epochs, batch_size, lr
        As :class:`~widgetkit.deep_clustering.ConvAutoencoder` has them. Two convolutions leave a
        grid of a quarter of the image's sides: maps of one more have cells as large as the
        abnormalities.
    lung : float, optional
        Pixels that are lung in at least this share of the images are shown; all others have the
        mean grey of these, and do not count in the loss. None: whole images. The chest wall and the
        outline of the lungs are then most of what is learned: clusters are those of slices, and
        channels light up on ribs. The mean grey is 0 to the network, as its padding is; where black
        is round the lungs, the edge of the picture is an edge to it, and channels light up there.
    """

    channels: tuple[int, ...] = (16, 32)
    latent: int = 6
    epochs: int = 16
    batch_size: int = 16
    lr: float = 2e-3
    lung: float | None = 0.9


@dataclass(frozen=True, eq=False)
class Fitted:
    """One repeat: images, the autoencoder, latent vectors and activations, and the clusters."""

    simulation: LungSimulation
    images: npt.NDArray[np.uint8]  # as the autoencoder sees them
    autoencoder: ConvAutoencoder
    latents: Floats
    clusters: DeepClustering = field(repr=False)

    def at(self, k: int) -> Fitted:
        """The same autoencoder with ``k`` clusters."""
        seed = self.clusters.random_state
        clusters = DeepClustering(k, random_state=seed).fit(self.latents)
        return Fitted(self.simulation, self.images, self.autoencoder, self.latents, clusters)

    def context(self) -> ModelContext:
        """The encoder with the clusters as its classes, as map methods take it."""
        from widgetkit.extraction import ModelContext

        return ModelContext(
            self.clusters.network(self.autoencoder),
            preprocess=self.autoencoder.preprocess,
            layer="encoder.last",
            device=self.autoencoder.device,
        )

    @property
    def loss(self) -> float:
        """Of the epoch whose weights are kept; on the held-back images where there are some."""
        best = self.autoencoder.history_[self.autoencoder.best_epoch_ - 1]
        return float(best["loss"] if best["validation"] is None else best["validation"])


def fit(
    simulation: LungSimulation,
    *,
    k: int | None = None,
    training: Training | None = None,
    seed: int = 0,
    cancel: Event | Callable[[], object] | None = None,
) -> Fitted:
    """An autoencoder of the simulation's images in the lung window, and ``k`` clusters of its latents.

    Parameters
    ----------
    simulation : LungSimulation
    k : int, optional
        Default: the true number.
    """
    how = Training() if training is None else training
    images, inside = simulation.windowed(), None
    if how.lung is not None:
        inside = common_lung(simulation, how.lung)
        grey = np.uint8(round(float(images[:, inside].mean())))
        images = np.where(inside, images, grey)
    autoencoder = ConvAutoencoder(
        simulation.shape, channels=how.channels, latent=how.latent, seed=seed
    )
    autoencoder.fit(
        images,
        mask=inside,
        epochs=how.epochs,
        batch_size=how.batch_size,
        lr=how.lr,
        cancel=cancel,
    )
    latents = autoencoder.encode(images)
    clusters = DeepClustering(simulation.k if k is None else k, random_state=seed).fit(latents)
    return Fitted(simulation, images, autoencoder, latents, clusters)


def common_lung(simulation: LungSimulation, share: float) -> npt.NDArray[np.bool_]:
    """Pixels that are lung in at least ``share`` of the images, (*shape).

    Raises
    ------
    InvalidInput
        There is none, or no such share.
    """
    if not 0 < share <= 1:
        raise InvalidInput(f"lung={share}: a share above 0 and up to 1, or None.")
    inside: npt.NDArray[np.bool_] = simulation.lung.mean(axis=0) >= share
    if not inside.any():
        raise InvalidInput(
            f"No pixel is lung in {share:.0%} of the images: their backgrounds differ."
        )
    return inside


def explained_rows(groups: npt.NDArray[np.int32], count: int) -> npt.NDArray[np.intp]:
    """The first images of each group by turns, ``count`` in all, in order."""
    order = np.argsort(groups, kind="stable")
    counts = np.bincount(groups)
    turn = np.arange(len(groups)) - np.repeat(np.cumsum(counts) - counts, counts)
    rows: npt.NDArray[np.intp] = np.sort(order[np.argsort(turn, kind="stable")][:count])
    return rows


def maps_of(
    fitted: Fitted,
    rows: npt.NDArray[np.intp],
    method: str | MapMethod,
    *,
    baseline: Baseline = "mean",
    seed: int = 0,
    cancel: Event | Callable[[], object] | None = None,
) -> Floats:
    """Maps of each image's own cluster, on the grid of ``encoder.last``: (m, *grid)."""
    grid = fitted.autoencoder.grid
    if method == RANDOM:
        noise = np.random.default_rng([seed, 3]).random((len(rows), *grid), np.float32)
        return noise
    if method == CEILING:
        return area_mean(fitted.simulation.masks[rows].astype(np.float32), grid)
    chosen = registry.get(method) if isinstance(method, str) else method
    labels = fitted.clusters.labels_[rows]
    origin = fitted.images.mean(axis=0, dtype=np.float32) * (baseline == "mean")
    model = _Moved(fitted.context(), origin)
    layer = _Last("encoder.last", fitted.autoencoder.channels[-1], grid)
    maps = np.zeros((len(rows), *grid), np.float32)
    for cluster in np.unique(labels).tolist():
        own = np.flatnonzero(labels == cluster)
        images = fitted.images[rows[own]]
        batch = Batch(
            rows[own].astype(np.int64),
            activations=fitted.autoencoder.activations(images),
            images=images - origin,
            layer=layer,
            model=model,
            check=lambda: _stop(cancel),
        )
        target: LatentTarget | ClassTarget = ClassTarget(cluster)
        if LatentTarget in chosen.targets:
            target = LatentTarget(fitted.clusters.cluster_centers_, cluster, latent="latent")
        maps[own] = registry.compute(chosen, batch, target)
    return maps


@dataclass(frozen=True, eq=False)
class _Moved:
    """A network of images less ``origin``: what is 0 to a method is ``origin`` to the network."""

    model: ModelContext
    origin: Floats

    def forward_to_layer(self, images: npt.NDArray[Any], layer: str) -> npt.NDArray[Any]:
        return self.model.forward_to_layer(images + self.origin, layer)

    def logits(self, images: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return self.model.logits(images + self.origin)

    def activations_and_gradients(
        self, images: npt.NDArray[Any], layer: str, target_class: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        return self.model.activations_and_gradients(images + self.origin, layer, target_class)

    def gradients_towards(
        self, images: npt.NDArray[Any], layer: str, at: str, direction: npt.NDArray[Any]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        return self.model.gradients_towards(images + self.origin, layer, at, direction)

    def relevance(self, images: npt.NDArray[Any], *args: Any, **options: Any) -> SharedOut:
        return self.model.relevance(images + self.origin, *args, **options)


@dataclass(frozen=True)
class _Last:
    """The layer that maps are made of."""

    name: str
    channels: int
    grid: tuple[int, ...]
    has_maps: bool = True


def _stop(cancel: Event | Callable[[], object] | None) -> None:
    if cancel is not None and (cancel.is_set() if isinstance(cancel, Event) else cancel()):
        raise Cancelled("The experiment was cancelled.")
