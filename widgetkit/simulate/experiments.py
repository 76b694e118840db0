"""The paper's simulation from end to end: images, autoencoder, clusters, maps, and how right they are."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from threading import Event
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from widgetkit.analysis._arrays import check_count, check_seed
from widgetkit.analysis.resampling import check_level, interval, resample
from widgetkit.errors import InvalidInput, UnknownName, near
from widgetkit.explain import registry
from widgetkit.explain.base import ClassTarget, LatentTarget, MapMethod
from widgetkit.explain.localisation import Localisation, localise
from widgetkit.explain.resample import upsample
from widgetkit.extraction.progress import ProgressLike, progress_for
from widgetkit.simulate.agreement import agreement
from widgetkit.simulate.fitting import (
    CEILING,
    RANDOM,
    Baseline,
    Training,
    explained_rows,
    fit,
    maps_of,
)
from widgetkit.simulate.simulation import lung_abnormalities

Methods: TypeAlias = Sequence[str] | Mapping[str, str | MapMethod]

METHODS = ("clam", "scorecam", "gradcam", "occlusion", RANDOM)
#: Number of clusters asked for, beside the true one.
AROUND = {"below": -1, "at": 0, "above": 1}
DRAWS = 2000


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
                        "loss": fitted.loss,
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


def mean_and_interval(
    values: npt.ArrayLike, *, level: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """Mean over repeats and its interval by resampling them; NaN ends for fewer than three."""
    own = np.asarray(values, np.float64)
    samples = resample(lambda counts: counts @ own / len(own), len(own), DRAWS, seed)
    low, high = interval(samples, len(own), level)
    return float(own.mean()), float(low), float(high)


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
