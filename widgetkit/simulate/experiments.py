"""The paper's simulation from end to end: images, autoencoder, clusters, maps, and how right they are."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from widgetkit.analysis._arrays import check_count, check_seed
from widgetkit.analysis.resampling import check_level, interval, resample
from widgetkit.deep_clustering import ConvAutoencoder, DeepClustering
from widgetkit.errors import Cancelled, InvalidInput, UnknownName, near
from widgetkit.explain import registry
from widgetkit.explain.base import Batch, ClassTarget, LatentTarget, MapMethod, SharedOut
from widgetkit.explain.localisation import Localisation, localise
from widgetkit.explain.resample import area_mean, upsample
from widgetkit.extraction.progress import ProgressLike, progress_for
from widgetkit.simulate.agreement import agreement
from widgetkit.simulate.simulation import LungSimulation, lung_abnormalities

if TYPE_CHECKING:
    from widgetkit.extraction import ModelContext

Floats: TypeAlias = npt.NDArray[np.float32]
Baseline: TypeAlias = Literal["black", "mean"]
Methods: TypeAlias = Sequence[str] | Mapping[str, str | MapMethod]

#: Maps that no method makes: noise on the layer's grid, and the truth brought to that grid and back,
#: which is the best that any map of so few cells can do.
RANDOM, CEILING = "random", "ceiling"
METHODS = ("clam", "scorecam", "gradcam", "occlusion", RANDOM)
#: Number of clusters asked for, beside the true one.
AROUND = {"below": -1, "at": 0, "above": 1}
DRAWS = 2000


@dataclass(frozen=True)
class Training:
    """The autoencoder of an experiment: CPU-sized, some eight seconds of one core.

    Attributes
    ----------
    channels, latent, epochs, batch_size, lr
        As :class:`~widgetkit.deep_clustering.ConvAutoencoder` has them. Two convolutions leave a
        grid of a quarter of the image's sides: maps of one more have cells as large as the
        abnormalities.
    lung : float, optional
        Pixels that are lung in at least this share of the images are shown; all others are black,
        and do not count in the loss. None: whole images. The chest wall and the outline of the lungs
        are then most of what is learned: clusters are those of slices, and channels light up on
        ribs.
    """

    channels: tuple[int, ...] = (16, 32)
    latent: int = 8
    epochs: int = 40
    batch_size: int = 16
    lr: float = 2e-3
    lung: float | None = 0.9


@dataclass(frozen=True, eq=False)
class ClamExperiment:
    """What came out of some repeats of one experiment.

    Attributes
    ----------
    clustering : DataFrame
        A row for each repeat and number of clusters: ``repeat``, ``seed``, ``asked`` ("below",
        "at", "above", or the number), ``k``, ``true_k``, ``accuracy``, ``ari``, ``nmi``, ``loss``.
    localisation : DataFrame
        A row for each repeat, number of clusters, ``baseline``, ``method`` and true ``group``:
        means over the ``images`` explained of ``iou``, ``energy`` and ``pointing`` (see
        :mod:`widgetkit.explain.localisation`), and the share of maps that are ``empty``.
    vary : tuple of str
    source : str
        What is real in the images.
    """

    clustering: pd.DataFrame
    localisation: pd.DataFrame
    vary: tuple[str, ...]
    source: str

    def summary(self, *, level: float = 0.95, seed: int = 0) -> pd.DataFrame:
        """Mean and interval over repeats, in long form.

        Returns
        -------
        DataFrame
            ``asked``, ``k``, ``baseline`` and ``method`` (empty for measures of the clusters),
            ``measure``, ``mean``, ``low``, ``high``. Groups count alike. Intervals are expanded percentile intervals over repeats; NaN for
            fewer than three.
        """
        level = check_level(level)
        parts = []
        for table, measures in (
            (self.clustering.assign(baseline="", method=""), ("accuracy", "ari", "nmi")),
            (self.localisation, ("iou", "energy", "pointing", "empty")),
        ):
            if not len(table):
                continue
            keys = ["asked", "k", "baseline", "method"]
            repeats = table.groupby([*keys, "repeat"], sort=False)[list(measures)].mean()
            for key, rows in repeats.groupby(level=keys, sort=False):
                for measure in measures:
                    found = mean_and_interval(rows[measure], level=level, seed=seed)
                    parts.append((*key, measure, *found))
        columns = ["asked", "k", "baseline", "method", "measure", "mean", "low", "high"]
        return pd.DataFrame(parts, columns=columns)


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


def clam_experiment(
    vary: Sequence[str] | str,
    *,
    k: int | str | Sequence[int | str] = "at",
    repeats: int = 5,
    methods: Methods = METHODS,
    baselines: Sequence[Baseline] = ("mean",),
    n: int = 240,
    explained: int = 32,
    training: Training | None = None,
    seed: int = 0,
    progress: ProgressLike = False,
    cancel: Event | Callable[[], object] | None = None,
    **simulation: Any,
) -> ClamExperiment:
    """Simulate, train, cluster, draw maps, and compare all of it with the truth.

    Parameters
    ----------
    vary : sequence of str
        Factors, as in :func:`lung_abnormalities`.
    k : "below", "at", "above", a number, or several
        Clusters asked for: one less than there are groups, as many, one more. "below" is left out
        where it would be a single cluster.
    repeats : int
        Each with its own images, weights and starts, from ``seed + repeat``.
    methods : sequence of str, or mapping from a name of yours to a name or a MapMethod
        Map methods that explain the assignment of an image to its cluster: of a
        :class:`~widgetkit.explain.LatentTarget` where they take one, else of the cluster's logit
        (its softmax is the soft assignment). ``"random"``: noise on the layer's grid;
        ``"ceiling"``: the truth itself at that grid. None of them: no maps.
    baselines : sequence of "black" and "mean"
        What all methods put where they hide something: black, as they are published, or the mean of
        all images, pixel by pixel. An image of half a chest is like none the encoder has seen, so
        what it says of it is arbitrary; half of the mean image is an ordinary lung.
    n : int
        Images a repeat.
    explained : int
        Images with maps, from all groups alike; at most ``n``.
    training : Training, optional
    seed : int
    progress : bool or callable
        ``progress(done, total)`` in steps of a training or a method.
    cancel : Event or callable, optional
        Looked at between batches.
    **simulation
        For :func:`lung_abnormalities`: ``levels``, ``background``, ``nuisance``, ...

    Raises
    ------
    UnknownName, InvalidInput
        And what simulating and training raise.
    Cancelled
    """
    repeats = check_count(repeats, "repeats")
    explained = check_count(explained, "explained")
    seed = check_seed(seed)
    called = _methods(methods)
    asked = _asked(k)
    stands = _baselines(baselines)
    how = Training() if training is None else training
    varied = (vary,) if isinstance(vary, str) else tuple(vary)
    shown = progress_for(progress, "experiment")
    maps_a_k = len(called) * len(stands)
    total = repeats * (1 + len(asked) * maps_a_k)
    done = 0
    clustering: list[dict[str, Any]] = []
    localisation: list[dict[str, Any]] = []
    source = ""
    try:
        for repeat in range(repeats):
            shown.update(done, total)
            own = seed + repeat
            made = lung_abnormalities(n, vary=varied, seed=own, **simulation)
            source = made.source
            base = fit(made, training=how, seed=own, cancel=cancel)
            done += 1
            for word in asked:
                wanted = made.k + AROUND[word] if isinstance(word, str) else word
                if wanted < 2:
                    done += maps_a_k
                    continue
                fitted = base if wanted == made.k else base.at(wanted)
                keys = {"repeat": repeat, "seed": own, "asked": str(word), "k": wanted}
                clustering.append(
                    {
                        **keys,
                        "true_k": made.k,
                        **asdict(agreement(made.groups, fitted.clusters.labels_)),
                        "loss": _loss(fitted.autoencoder),
                    }
                )
                rows = explained_rows(made.groups, explained)
                for stand, (name, method) in itertools.product(stands, called.items()):
                    shown.update(done, total)
                    maps = maps_of(fitted, rows, method, baseline=stand, seed=own, cancel=cancel)
                    found = localise(upsample(maps, made.shape), made.masks[rows])
                    localisation += [
                        {**keys, "baseline": stand, "method": name, **record}
                        for record in _by_group(found, made.groups[rows], made.group_names)
                    ]
                    done += 1
        shown.update(total, total)
    finally:
        shown.close()
    return ClamExperiment(pd.DataFrame(clustering), pd.DataFrame(localisation), varied, source)


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
        images = np.where(inside, images, np.uint8(0))
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


def mean_and_interval(
    values: npt.ArrayLike, *, level: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """Mean over repeats and its interval by resampling them; NaN ends for fewer than three."""
    own = np.asarray(values, np.float64)
    samples = resample(lambda counts: counts @ own / len(own), len(own), DRAWS, seed)
    low, high = interval(samples, len(own), level)
    return float(own.mean()), float(low), float(high)


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

    def relevance(self, images: npt.NDArray[Any], *args: Any, **options: Any) -> SharedOut:
        return self.model.relevance(images + self.origin, *args, **options)


@dataclass(frozen=True)
class _Last:
    """The layer that maps are made of."""

    name: str
    channels: int
    grid: tuple[int, ...]
    has_maps: bool = True


def _methods(methods: Methods) -> dict[str, str | MapMethod]:
    given = methods if isinstance(methods, Mapping) else {name: name for name in methods}
    if isinstance(methods, str):
        raise InvalidInput(f"methods={methods!r}: a sequence of names, such as ({methods!r},).")
    known = registry.methods()
    for method in given.values():
        if isinstance(method, str) and method not in (RANDOM, CEILING):
            if method not in known:
                raise UnknownName(
                    f"There is no map method {method!r}. {near(method, (*known, RANDOM, CEILING))}"
                )
            method = known[method]()
        if not isinstance(method, str) and not {LatentTarget, ClassTarget} & method.targets:
            raise InvalidInput(f"{method.title} makes no maps of a class or a latent cluster.")
    return dict(given)


def _by_group(
    found: Localisation, groups: npt.NDArray[np.int32], names: Sequence[str]
) -> list[dict[str, Any]]:
    """Means of the measures over the images of each group."""
    table = pd.DataFrame(
        {part: getattr(found, part) for part in ("iou", "energy", "pointing", "empty", "area")}
    ).astype(np.float64)
    means = table.groupby(groups).mean().assign(images=np.bincount(groups)[np.unique(groups)])
    return [
        {"group": names[group], **{str(part): value for part, value in row.items()}}
        for group, row in zip(means.index, means.to_dict("records"), strict=True)
    ]


def _baselines(given: Sequence[Baseline]) -> tuple[Baseline, ...]:
    if isinstance(given, str) or not given or set(given) - {"black", "mean"}:
        raise InvalidInput(
            f"baselines={given!r}: one or both of 'black' and 'mean', in a sequence."
        )
    return tuple(dict.fromkeys(given))


def _asked(k: int | str | Sequence[int | str]) -> tuple[int | str, ...]:
    given: Iterable[int | str] = (k,) if isinstance(k, (int, str, np.integer)) else k
    found: list[int | str] = []
    for word in given:
        if isinstance(word, str):
            if word not in AROUND:
                raise UnknownName(f"k={word!r}: 'below', 'at', 'above' or a number from 2.")
            found.append(word)
        else:
            found.append(check_count(word, "k", least=2))
    if not found:
        raise InvalidInput("k is empty: 'below', 'at', 'above' or numbers from 2.")
    return tuple(found)


def _loss(autoencoder: ConvAutoencoder) -> float:
    best = autoencoder.history_[autoencoder.best_epoch_ - 1]
    return float(best["loss"] if best["validation"] is None else best["validation"])


def _stop(cancel: Event | Callable[[], object] | None) -> None:
    if cancel is not None and (cancel.is_set() if isinstance(cancel, Event) else cancel()):
        raise Cancelled("The experiment was cancelled.")
