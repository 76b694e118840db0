"""Does the network's answer really hang on what the map marks? Deletion and insertion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from widgetkit.errors import BadActivations, InvalidInput
from widgetkit.explain.base import ClassTarget, Model
from widgetkit.explain.masking import Baseline, as_mask, baseline_images, positive, spatial_shape
from widgetkit.explain.resample import upsample

Score = Literal["probability", "logit"]


@dataclass(frozen=True, eq=False)
class Curve:
    """The class's score while pixels are taken away, or put in, in the order of a map.

    Attributes
    ----------
    fractions : (steps + 1,) float
        Share of pixels changed, from 0 to 1.
    scores : (m, steps + 1) float
        One curve a tile.
    auc : (m,) float
        Area under each curve by trapezoids. Deletion: low is faithful. Insertion: high is.
    """

    fractions: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]

    @property
    def auc(self) -> npt.NDArray[np.float64]:
        heights = (self.scores[:, 1:] + self.scores[:, :-1]) / 2
        return heights @ np.diff(self.fractions)


def deletion(
    model: Model,
    images: npt.NDArray[Any],
    maps: npt.ArrayLike,
    target: ClassTarget,
    *,
    steps: int = 20,
    baseline: Baseline = "mean",
    score: Score = "probability",
    seed: int = 0,
    batch_size: int = 32,
    check: Callable[[], None] = lambda: None,
) -> Curve:
    """Replace pixels by the baseline, the map's strongest first, and watch the class's score.

    Parameters
    ----------
    model : Model
    images : (m, H, W[, 3]) or (m, D, H, W[, 3])
    maps : (m, *grid) float
        Upsampled linearly to the images.
    target : ClassTarget
    steps : int
        Forward passes a tile, less one.
    baseline : "mean", float or array
        Each image's mean colour, a value in the images' range, or an array that broadcasts to the
        images (blurred images, for instance, which bring no sharp edges of their own).
    score : "probability" or "logit"
        Softmax over the classes, as published, or the logit itself.
    seed : int
        Orders pixels of equal value, which would otherwise go from the top left.
    batch_size : int
        Images passed through the network at once.
    check : callable
        Called between batches; may raise to stop.

    Returns
    -------
    Curve

    Raises
    ------
    InvalidInput
        Images and maps are not of the same tiles, or a parameter is out of range.
    BadActivations
        The maps or the network's answers are not finite.

    References
    ----------
    Petsiuk et al., RISE: Randomized Input Sampling for Explanation of Black-box Models, BMVC 2018,
    arXiv:1806.07421.
    """
    return _curve(
        model, images, maps, target, steps, baseline, score, seed, batch_size, check, insert=False
    )


def insertion(
    model: Model,
    images: npt.NDArray[Any],
    maps: npt.ArrayLike,
    target: ClassTarget,
    *,
    steps: int = 20,
    baseline: Baseline = "mean",
    score: Score = "probability",
    seed: int = 0,
    batch_size: int = 32,
    check: Callable[[], None] = lambda: None,
) -> Curve:
    """Put pixels into the baseline, the map's strongest first. Parameters as :func:`deletion`."""
    return _curve(
        model, images, maps, target, steps, baseline, score, seed, batch_size, check, insert=True
    )


def _curve(
    model: Model,
    images: npt.NDArray[Any],
    maps: npt.ArrayLike,
    target: ClassTarget,
    steps: int,
    baseline: Baseline,
    score: Score,
    seed: int,
    batch_size: int,
    check: Callable[[], None],
    *,
    insert: bool,
) -> Curve:
    positive(steps, "steps")
    positive(batch_size, "batch_size")
    if score not in ("probability", "logit"):
        raise InvalidInput(f"score is {score!r}: use 'probability' or 'logit'.")
    values = np.asarray(maps, dtype=np.float32)
    if values.ndim < 3 or len(values) != len(images):
        raise InvalidInput(
            f"Maps of shape {values.shape} and images of shape {images.shape}: one map (m, *grid) an image."
        )
    if not np.isfinite(values).all():
        raise BadActivations("The maps hold NaN or infinity, so their pixels have no order.")
    spatial = spatial_shape(images, values.ndim - 1)
    fractions = np.linspace(0, 1, steps + 1)
    if len(images) == 0:
        return Curve(fractions, np.zeros((0, steps + 1)))
    place = pixel_order(upsample(values, spatial), seed)
    fill = np.broadcast_to(baseline_images(images, len(spatial), baseline), images.shape)
    counts = np.round(fractions * place[0].size).astype(np.int64)

    def changed(start: int, stop: int) -> npt.NDArray[np.float32]:
        tiles, step = np.divmod(np.arange(start, stop), steps + 1)
        first = place[tiles] < counts[step].reshape(-1, *(1,) * len(spatial))
        shown = as_mask(first if insert else ~first, images)
        return np.where(shown, images[tiles], fill[tiles]).astype(np.float32, copy=False)

    total = len(images) * (steps + 1)
    scores = np.zeros(total)
    for start in range(0, total, batch_size):
        check()
        stop = min(start + batch_size, total)
        scores[start:stop] = _score(model, changed(start, stop), target.index, score)
    return Curve(fractions, scores.reshape(len(images), steps + 1))


def pixel_order(maps: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.int64]:
    """Place of every pixel when its map ``(m, *spatial)`` is sorted, 0 for the strongest.

    Equal values come in an order that ``seed`` draws once for all maps.
    """
    m, *spatial = maps.shape
    size = int(np.prod(spatial))
    shuffled = np.random.default_rng(seed).permutation(size)
    order = shuffled[np.argsort(-maps.reshape(m, size)[:, shuffled], axis=1, kind="stable")]
    place = np.empty((m, size), np.int64)
    np.put_along_axis(place, order, np.broadcast_to(np.arange(size), (m, size)), axis=1)
    return place.reshape(m, *spatial)


def _score(
    model: Model, images: npt.NDArray[Any], index: int, score: Score
) -> npt.NDArray[np.float64]:
    logits = np.asarray(model.logits(images), dtype=np.float64)
    if logits.ndim != 2 or not 0 <= index < logits.shape[1]:
        raise InvalidInput(f"Class {index} is not in the network's output of shape {logits.shape}.")
    if not np.isfinite(logits).all():
        raise BadActivations("The network returned NaN or infinity as a logit for a changed image.")
    if score == "logit":
        return logits[:, index]
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    share: npt.NDArray[np.float64] = raised[:, index] / raised.sum(axis=1)
    return share
