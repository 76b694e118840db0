"""From a store to factors: prototypes from a sample, then one pass that weighs every position."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from widgetkit.errors import (
    Cancelled,
    ChannelMismatch,
    InvalidInput,
    NeedsActivations,
    StoreCorrupt,
    UnknownName,
)
from widgetkit.factors import background as backgrounds
from widgetkit.factors import preparing
from widgetkit.factors.factors import KIND, RULES, Factors
from widgetkit.factors.groups import groups_of
from widgetkit.factors.methods import MOST_FACTORS, check_rows, method_named
from widgetkit.factors.preparing import Preparation
from widgetkit.factors.sampling import draw
from widgetkit.factors.streaming import assign_all, columns, half
from widgetkit.factors.warn import warn_of_dead_channels
from widgetkit.factors.weighing import Array, Weigher

if TYPE_CHECKING:
    from widgetkit.factors.background import Background
    from widgetkit.factors.preparing import NonNegative
    from widgetkit.store import ActivationStore, Entry, LayerInfo

Progress = Callable[[int, int], object]
Cancel = Callable[[], object]

SAMPLE = 30_000

# Changes when the same parameters give other numbers, so that what was kept is not taken for it.
_ALGORITHM = 1


def factorise(
    store: ActivationStore,
    layer: str | None = None,
    k: int = 10,
    *,
    method: str = "nmf",
    normalise: str | None = None,
    group: str | None = "slide",
    sample: int = SAMPLE,
    seed: int = 0,
    nonnegative: NonNegative = "error",
    background: Background = None,
    name: str | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Factors:
    """Factors of a layer, and the weights of every position of every tile in them.

    Prototypes are learned from a seeded sample of positions and then held fixed; one pass over
    the store gives every position its weights. Both are kept in the store: the same call again
    returns what is there, and one that was interrupted goes on where it stopped. Memory does not
    grow with the number of tiles.

    Parameters
    ----------
    store : ActivationStore
    layer : str, optional
        Default: the store's.
    k : int
        Number of factors, at most 254.
    method : str
        "nmf", "sparse_nmf", "convex_nmf", "kmeans", "spherical_kmeans" or "pca"; what a weight means
        with each is in :mod:`widgetkit.factors.methods`.
    normalise : "slide" or None
        Scale every channel of every slide (``group``) to its size over all slides first, so that
        factors follow the tissue rather than the stain; see :func:`.preparing.slide_scales`.
    group : str or None
        Column of the table. The sample takes the same number of positions of each group. None:
        every tile counts alike.
    sample : int
        Positions the prototypes are learned from.
    seed : int
        Of the sample and the start of the method. Same seed, same bytes.
    nonnegative : {"error", "shift", "clip", "split"}
        What to do with negative activations where the method takes none: refuse them, subtract the
        smallest value of each channel, set them to 0, or make two channels of each.
        ``Factors.negative`` says what was done.
    background : None, "otsu", "quantile:q" or float
        Which positions belong to no factor: None, those whose total weight is at most a tenth of
        the 95 % quantile in the sample.
    name : str, optional
        What it is called in the store. Default: made of the parameters.
    progress, cancel : callable, optional
        ``progress(tiles done, tiles)`` and ``cancel() -> bool``, between blocks of tiles.

    Returns
    -------
    Factors

    Raises
    ------
    NeedsActivations
        The layer has one vector a tile and no maps.
    TooFew
        Fewer positions, or different positions, than factors.
    InvalidInput
        More factors than the rank of the data, which is named; negative activations.
    UnknownLayer, UnknownName
    Cancelled
        Finished segments are kept.

    References
    ----------
    Bajger et al. (2025), Explaining Digital Pathology Models via Clustering Activations.
    arXiv:2511.14558.
    """
    info = _layer(store, layer)
    chosen = method_named(method)
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= MOST_FACTORS:
        raise InvalidInput(f"k is a whole number from 1 to {MOST_FACTORS}; got {k!r}.")
    if isinstance(sample, bool) or not isinstance(sample, int | np.integer) or sample < 1:
        raise InvalidInput(f"sample is a number of positions, at least 1; got {sample!r}.")
    preparing.check_rule(nonnegative)
    background = backgrounds.check(background)
    _check_normalise(normalise, group)
    params = {
        "algorithm": _ALGORITHM,
        "layer": info.name,
        "method": chosen.name,
        "k": int(k),
        "normalise": normalise,
        "group": group,
        "sample": int(sample),
        "nonnegative": nonnegative if info.signed and not chosen.takes_negative else "error",
        "background": background,
    }
    seed = _seed(seed)

    def make() -> dict[str, npt.ArrayLike]:
        check = _checker(cancel)
        groups = None if group is None else groups_of(store, group)
        drawn = draw(store, info.name, int(sample), seed, groups, check)
        scales = codes = None
        if normalise is not None and groups is not None:
            scales, codes = preparing.slide_scales(store, info.name, groups), groups.codes
        prepared, X = preparing.learn(
            drawn.values,
            drawn.rows,
            rule=nonnegative,
            takes_negative=chosen.takes_negative,
            layer=info.name,
            scales=scales,
            codes=codes,
            signed=info.signed,
        )
        what = f"layer {info.name!r}"
        check_rows(X, int(k), chosen, what)
        warn_of_dead_channels(info)
        fit = chosen.fit(X, int(k), seed, cancel)
        weigher = fit.weigher
        weights = weigher(X)[0]
        weigher, weights = _fitting_half(weigher, weights)
        return _learned(weigher, prepared, background, weights) | {
            "fit_errors": np.asarray(fit.errors, np.float64)
        }

    return _kept_or_run(
        store, info, params, seed, int(k), name, make, progress=progress, cancel=cancel
    )


def assign(
    store: ActivationStore,
    prototypes: npt.ArrayLike,
    *,
    layer: str | None = None,
    name: str | None = None,
    normalisation: str | None = None,
    group: str | None = "slide",
    offset: npt.ArrayLike | None = None,
    background: Background = None,
    seed: int = 0,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Factors:
    """Weights of every position in given prototypes: edited ones, or those of another store.

    By exact non-negative least squares in one pass; kept and resumed as by :func:`factorise`.

    Parameters
    ----------
    store : ActivationStore
    prototypes : (k, C) float
        Any length and sign; one that is zero everywhere gets no weight.
    layer, name, background, progress, cancel
        As :func:`factorise`.
    normalisation : "slide" or None
        ``normalise`` of :func:`factorise`, if the prototypes were learned with it.
    offset : (C,) float, optional
        Subtracted from every position first, e.g. ``Factors.offset``.
    seed : int
        Of the sample that the background is measured on.

    Raises
    ------
    ChannelMismatch
        Prototypes or offset do not have the channels of the layer.
    InvalidInput
        NaN, infinity, or a weight beyond float16.
    NeedsActivations, UnknownLayer, Cancelled
    """
    info = _layer(store, layer)
    basis = _matrix(prototypes, info)
    moved = None if offset is None else _vector(offset, info)
    background = backgrounds.check(background)
    _check_normalise(normalisation, group)
    given = hashlib.sha256(np.array(basis.shape).tobytes() + basis.tobytes())
    given.update(b"" if moved is None else moved.tobytes())
    params = {
        "algorithm": _ALGORITHM,
        "layer": info.name,
        "method": "assigned",
        "k": len(basis),
        "normalise": normalisation,
        "group": group,
        "background": background,
        "prototypes": given.hexdigest()[:32],
    }
    seed = _seed(seed)

    def make() -> dict[str, npt.ArrayLike]:
        check = _checker(cancel)
        groups = None if group is None else groups_of(store, group)
        scales = codes = None
        if normalisation is not None and groups is not None:
            scales, codes = preparing.slide_scales(store, info.name, groups), groups.codes
        prepared = Preparation("error", moved, scales, codes, _taken(info, moved))
        drawn = draw(store, info.name, SAMPLE, seed, groups, check)
        weigher = Weigher(basis)
        weights = weigher(prepared.rows(drawn.values, drawn.rows))[0]
        return _learned(weigher, prepared, background, weights) | {"fit_errors": np.empty(0)}

    return _kept_or_run(
        store, info, params, seed, len(basis), name, make, progress=progress, cancel=cancel
    )


def _taken(info: LayerInfo, moved: npt.NDArray[np.float32] | None) -> str:
    """What :func:`assign` does with negative values; it is given prototypes and learns nothing."""
    if moved is not None:
        said = "The offset given with the prototypes was subtracted from every channel"
        return f"{said}; what is negative after it was taken as it is."
    return "Negative values were taken as they are." if info.signed else Preparation.sentence


def load(store: ActivationStore, name: str) -> Factors:
    """The factors kept under a name.

    Raises
    ------
    UnknownName
        There are none; near names are listed.
    StoreCorrupt
    """
    return Factors(store, store.derived.get(KIND, name))


def names(store: ActivationStore) -> list[str]:
    """Names of the factors kept in a store, sorted."""
    return store.derived.names(KIND)


# -- shared ------------------------------------------------------------------------------
def _kept_or_run(
    store: ActivationStore,
    info: LayerInfo,
    params: Mapping[str, Any],
    seed: int,
    k: int,
    name: str | None,
    make: Callable[[], Mapping[str, npt.ArrayLike]],
    *,
    progress: Progress | None,
    cancel: Cancel | None,
) -> Factors:
    kept = _kept(store, params, seed, name)
    if kept is not None:
        return kept
    writer = store.derived.begin(
        KIND,
        name or _default_name(info, params, seed),
        columns(k, info.grid),
        rows=len(store),
        segment_rows=store.manifest.segment_rows,
        params=params,
        seed=seed,
        make=make,
    )
    arrays = writer.arrays
    codes = groups_of(store, str(params["group"])).codes if "scales" in arrays else None
    rule = str(params.get("nonnegative", "error"))
    weigher = Weigher(
        np.asarray(arrays["basis"]),
        RULES.get(str(params["method"]), "nnls"),  # type: ignore[arg-type]
        np.asarray(arrays["mean"]) if "mean" in arrays else None,
        float(arrays["penalty"]),
    )
    error = assign_all(
        store,
        info.name,
        writer,
        weigher,
        preparing.from_arrays(arrays, rule, codes),
        float(arrays["level"]),
        progress=progress,
        check=_checker(cancel),
    )
    entry: Entry = writer.commit({"relative_error": np.float64(error)})
    return Factors(store, entry)


def _kept(
    store: ActivationStore, params: Mapping[str, Any], seed: int, name: str | None
) -> Factors | None:
    try:
        if name is None:
            entry = store.derived.find(KIND, params, seed)
        else:
            entry = store.derived.get(KIND, name)
            if dict(entry.params) != dict(params) or entry.seed != seed:
                return None
        return None if entry is None else Factors(store, entry)
    except (UnknownName, StoreCorrupt):  # none, or damaged: computed again
        return None


def _default_name(info: LayerInfo, params: Mapping[str, Any], seed: int) -> str:
    text = repr(sorted(params.items())).encode()
    return f"{info.slug}-{params['method']}-{params['k']}-{seed}-{hashlib.sha256(text).hexdigest()[:6]}"


def _learned(
    weigher: Weigher, prepared: Preparation, background: Background, weights: Array
) -> dict[str, npt.ArrayLike]:
    # the threshold is compared with weights as they are kept
    kept = np.abs(half(weights).astype(np.float32))
    found = backgrounds.level(background, kept.sum(axis=1))
    arrays: dict[str, npt.ArrayLike] = {
        "basis": weigher.basis,
        "penalty": np.float64(weigher.penalty),
        "level": np.float64(found.value),
        "background": np.array(found.rule),
    }
    if weigher.offset is not None:
        arrays["mean"] = weigher.offset
    return arrays | preparing.to_arrays(prepared)


def _fitting_half(weigher: Weigher, weights: Array) -> tuple[Weigher, Array]:
    """Longer prototypes where weights of unit ones would come near the end of float16."""
    high = float(np.abs(weights).max(initial=0.0)) * 16
    if high <= 65504 or weigher.rule not in ("nnls", "direction"):
        return weigher, weights
    length = np.float32(2.0 ** np.ceil(np.log2(high / 65504)))
    longer = Weigher(
        weigher.basis * length, weigher.rule, weigher.offset, weigher.penalty * float(length)
    )
    return longer, weights / length


def _layer(store: ActivationStore, layer: str | None) -> LayerInfo:
    info = store.layer(store.default_layer if layer is None else layer)
    if not info.has_maps:
        raise NeedsActivations(
            f"Layer {info.name!r} of {store.path.name} has one vector a tile and no maps, so there "
            "are no positions to factorise. Extract a layer with spatial output (wk.layers(model) "
            "lists them), or cluster the tiles with session.cluster('kmeans')."
        )
    return info


def _matrix(prototypes: npt.ArrayLike, info: LayerInfo) -> Array:
    table = np.array(prototypes, dtype=np.float32, order="C")
    if table.ndim != 2 or not 1 <= len(table) <= MOST_FACTORS or table.shape[1] != info.channels:
        raise ChannelMismatch(
            f"Prototypes of shape {table.shape} for layer {info.name!r} with {info.channels} "
            f"channels: give (k, {info.channels}) with k from 1 to {MOST_FACTORS}."
        )
    if not np.isfinite(table).all():
        raise InvalidInput("The prototypes hold NaN or infinity.")
    return table


def _vector(values: npt.ArrayLike, info: LayerInfo) -> Array:
    vector = np.array(values, dtype=np.float32)
    if vector.shape != (info.channels,):
        raise ChannelMismatch(
            f"offset has shape {vector.shape}; layer {info.name!r} has {info.channels} channels."
        )
    if not np.isfinite(vector).all():
        raise InvalidInput("The offset holds NaN or infinity.")
    return vector


def _check_normalise(normalise: object, group: str | None) -> None:
    if normalise not in (None, "slide"):
        raise UnknownName(f"normalise={normalise!r} is not known. Known: None, 'slide'.")
    if normalise is not None and group is None:
        raise InvalidInput("normalise='slide' needs group=, the column that names the slides.")


def _seed(seed: object) -> int:
    if isinstance(seed, int | np.integer) and not isinstance(seed, bool) and 0 <= seed < 2**32:
        return int(seed)
    raise InvalidInput(f"The seed is a whole number from 0 to 2**32 - 1; got {seed!r}.")


def _checker(cancel: Cancel | None) -> Callable[[], None]:
    def check() -> None:
        if cancel is not None and cancel():
            raise Cancelled("The factorisation was cancelled; finished segments are kept.")

    return check
