"""CLAM, cluster activation mapping of a deep clustering.

Not the multiple-instance learning method of the same name (Lu et al. 2021), which gives attention
to the tiles of a slide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput
from widgetkit.explain.base import Batch, Float, LatentTarget, Need, expect, weighted_sum
from widgetkit.explain.fewer_masks import search
from widgetkit.explain.latent import MaskedShares, chunk_for
from widgetkit.explain.masking import baseline_images, positive, unit_range
from widgetkit.explain.registry import register
from widgetkit.explain.scorecam import softmax

Index = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]

# Up to so many different masks of a tile "auto" measures every one: there is little to save.
FEW = 150
# Beyond, what is kept of all pairs of masks would take a gigabyte.
MANY = 4096
# Masks of a tile for a first look.
COARSE = 24


@dataclass(frozen=True, eq=False)
class Confidence:
    """What one channel alone says for the cluster.

    Attributes
    ----------
    values : (m, C) float64
        ``s`` of every channel of every tile; 0 where none was tried. A channel that another one
        equals has that one's.
    measured : (m, C) bool
        Where the encoder saw the channel's mask; elsewhere ``values`` was predicted, or is 0.
    """

    values: Numbers
    measured: Bools


@register
@dataclass(frozen=True)
class Clam:
    """Channels weighted by how much of the cluster the encoder sees through each of them.

    Channel ``k``, upsampled to the image and scaled to [0, 1], is a mask ``m_k``. Its confidence is
    ``s_k = q_c(encode(x m_k + b (1 - m_k))) - q_c(encode(b))``, where ``b`` is the baseline image
    and ``q`` the soft assignment of :func:`~widgetkit.explain.soft.soft_assign`; of one cluster
    against another it is the difference of the two. The map is ``relu(sum_k alpha_k A_k)``.

    Channels that are equal over a tile count once, in the map too: writing a channel twice changes
    nothing. A constant channel makes no mask; its weight is 0.

    Attributes
    ----------
    weights : {"relu", "softmax", "signed"}
        ``alpha``: ``max(s, 0)``, ``softmax(s)``, or ``s`` itself. The default is ``"relu"``: ``s`` is
        a difference of shares, between -1 and 1, so a softmax can give no channel more than e^2
        times the weight of another, and the map is close to the plain mean of all channels. With
        ``"relu"`` a map is empty where no channel alone says more for the cluster than the baseline
        does, which happens in a cluster that the baseline image itself belongs to; ``"softmax"``,
        another baseline, or a contrast shows something there.
    baseline : "zero", "mean", float or array
        What stands where the mask is 0: black in the image's own range, the image's own mean
        colour, this value, or this image: ``(*spatial[, colours])`` as the tiles are, in their range, such
        as the mean of all tiles or an empty organ.
    prune : float in [0, 1)
        The weakest channels of a tile are not tried, as long as their spreads over the grid
        (standard deviations) add up to no more than this share of the sum over all channels. What is
        left out of the map then has a spread of at most ``max |s|`` times that part of the sum.
        0 tries every channel that is not constant.
    relu : bool
        False keeps the negative part of the map. With ``weights="signed"`` the contrast of two
        clusters then is minus the contrast of the same two the other way round.
    batch_size : int or "auto"
        Changed images made at once; ``"auto"`` bounds their memory.
    masks : "auto", "all" or int
        How many masks of a tile the encoder sees; the confidence of the others is predicted from
        theirs (:mod:`~widgetkit.explain.fewer_masks`). ``"all"``: every one. ``"auto"``: every one
        where a tile has at most 150, else as many as it takes until the map is known. A number: so
        many, or all where there are no more.
    """

    name: ClassVar[str] = "clam"
    title: ClassVar[str] = "CLAM"
    reference: ClassVar[str] = (
        "Ryan et al., Cluster activation mapping with application to computed tomography scans of the "
        "lung, J Med Imaging 9 (2022) 026001, arXiv:2010.04794."
    )
    requires: ClassVar[frozenset[Need]] = frozenset({"activations", "forward"})
    targets: ClassVar[frozenset[type]] = frozenset({LatentTarget})
    signed: ClassVar[bool] = False

    weights: Literal["relu", "softmax", "signed"] = "relu"
    baseline: Literal["zero", "mean"] | float | npt.NDArray[Any] = "zero"
    prune: float = 0.002
    relu: bool = True
    batch_size: int | Literal["auto"] = "auto"
    masks: int | Literal["auto", "all"] = "auto"

    def __post_init__(self) -> None:
        if self.weights not in ("relu", "softmax", "signed"):
            raise InvalidInput(f"weights is {self.weights!r}: use 'relu', 'softmax' or 'signed'.")
        if isinstance(self.baseline, str):
            if self.baseline not in ("zero", "mean"):
                raise InvalidInput(
                    f"baseline is {self.baseline!r}: use 'zero', 'mean' or a number."
                )
        elif not np.isfinite(np.asarray(self.baseline, np.float64)).all():
            said = self.baseline if np.ndim(self.baseline) == 0 else "an image with NaN or infinity"
            raise InvalidInput(f"baseline is {said}: use finite numbers.")
        if not 0 <= self.prune < 1:
            raise InvalidInput(f"prune is {self.prune}: use a share from 0 and below 1.")
        if self.batch_size != "auto":
            positive(self.batch_size, "batch_size")
        if isinstance(self.masks, str):
            if self.masks not in ("auto", "all"):
                raise InvalidInput(f"masks is {self.masks!r}: use 'auto', 'all' or a number.")
        else:
            positive(self.masks, "masks")

    def coarse(self) -> Clam | None:
        """The same with few masks a tile."""
        if isinstance(self.masks, int) and self.masks <= COARSE:
            return None
        return replace(self, masks=COARSE)

    def compute(self, batch: Batch, target: LatentTarget) -> Float:
        """Maps ``(m, *grid)``, non-negative unless ``relu`` is off."""
        activations, scores, counted, _ = self._scored(batch, target)
        alpha = self._weights(np.where(counted, scores, -np.inf)) * counted
        maps = weighted_sum(activations, alpha.astype(np.float32))
        if self.relu:
            np.maximum(maps, 0, out=maps)
        return maps

    def confidence(self, batch: Batch, target: LatentTarget) -> Confidence:
        """``s`` of every channel, and where it was measured."""
        _, scores, _, measured = self._scored(batch, target)
        return Confidence(scores, measured)

    def _weights(self, scores: Numbers) -> Numbers:
        """``alpha`` of each row of scores; a score of ``-inf`` takes no part."""
        if self.weights == "softmax":
            return softmax(scores).astype(np.float64)
        used = np.where(np.isfinite(scores), scores, 0)
        return np.maximum(used, 0) if self.weights == "relu" else used

    def _scored(self, batch: Batch, target: LatentTarget) -> tuple[Float, Numbers, Bools, Bools]:
        """Activations, and ``(m, C)`` each: confidence, what counts in the map, what was measured."""
        chosen = expect(target, LatentTarget, self.title)
        activations = batch.need_activations(self.title)
        model, images = batch.need_model(self.title), batch.need_images(self.title)
        m, channels, *grid = activations.shape
        scores = np.zeros((m, channels))
        counted, measured = np.zeros((m, channels), bool), np.zeros((m, channels), bool)
        plan = [plan_of(tile, self.prune) for tile in activations]
        some = [self._some(len(part.shown)) for part in plan]
        batch.check()
        if not any(len(part.shown) for part in plan):
            return activations, scores, counted, measured
        measure = MaskedShares(
            model,
            chosen,
            images,
            activations,
            self._fill(images, len(grid)),
            chunk=chunk_for(images) if self.batch_size == "auto" else self.batch_size,
            check=batch.check,
            progress=batch.progress,
            planned=sum(n or len(part.shown) for n, part in zip(some, plan, strict=True)),
        )
        nothing = measure.of_fill()
        # all tiles that are measured throughout together, so that few channels share a pass; where
        # masks are chosen one after the other each tile goes alone: what is chosen must not depend
        # on the rounding of a larger pass
        every = [tile for tile in range(m) if some[tile] is None]
        rows = np.repeat(np.array(every, np.intp), [len(plan[tile].shown) for tile in every])
        shown = [plan[tile].shown for tile in every]
        through = measure(rows, np.concatenate(shown)) if every else np.zeros(0)
        for tile, part in enumerate(plan):
            if some[tile] is None:
                found = through[rows == tile] - nothing[tile]
                seen = np.ones(len(found), bool)
            else:
                found, seen = self._searched(
                    part,
                    activations[tile],
                    lambda kept, tile=tile: (  # type: ignore[misc]
                        measure(np.full(len(kept), tile), kept) - nothing[tile]
                    ),
                )
            scores[tile, part.channels] = found[part.mask]
            measured[tile, part.channels] = seen[part.mask]
            counted[tile, part.counted] = True
        measure.finished()
        return activations, scores, counted, measured

    def _fill(self, images: npt.NDArray[Any], dimensions: int) -> Float:
        """What stands where the mask is 0, broadcastable to ``images``."""
        given = self.baseline
        if isinstance(given, str):
            return baseline_images(images, dimensions, 0.0 if given == "zero" else "mean")
        if np.ndim(given) and np.shape(given) != images.shape[1:]:
            raise InvalidInput(
                f"The baseline is an image of shape {np.shape(given)}, and the tiles' are "
                f"{images.shape[1:]}: they must be alike."
            )
        return baseline_images(images, dimensions, given)

    def _some(self, count: int) -> int | None:
        """About how many of ``count`` masks are to be measured; None for all."""
        if isinstance(self.masks, int):
            return self.masks if self.masks < count else None
        return None if self.masks == "all" or not FEW < count <= MANY else FEW

    def _searched(
        self, part: Plan, activations: Float, confidence: Callable[[Index], Numbers]
    ) -> tuple[Numbers, Bools]:
        """Confidence of the masks of one tile ``(p,)``, and which were measured."""
        masks = unit_range(activations[part.shown])
        # channels with the same mask have one weight in the map: they are one channel there
        together = activations[part.shown].astype(np.float64)
        first = np.unique(part.mask_of_counted, return_index=True)[1]
        for more in np.setdiff1d(np.arange(len(part.counted)), first):
            together[part.mask_of_counted[more]] += activations[part.counted[more]]
        # in an order that does not depend on that of the channels: neither does what is chosen then
        keys = [row.tobytes() for row in masks]
        order = np.array(sorted(range(len(keys)), key=keys.__getitem__), np.intp)
        found = search(
            masks[order],
            together[order],
            lambda asked: confidence(part.shown[order[asked]]),
            self._weights,
            positive=self.relu,
            most=self.masks if isinstance(self.masks, int) else None,
        )
        place = np.argsort(order)
        return found.scores[place], found.measured[place]


@dataclass(frozen=True)
class Plan:
    """Which channels of one tile are tried.

    ``shown`` (p,): channels whose masks the encoder sees. ``channels`` (c,): channels that get a
    confidence from them, and ``mask`` (c,): from which of the p. ``counted``: channels that count in
    the map, one of each set of equal ones, and ``mask_of_counted``: from which of the p.
    """

    shown: Index
    channels: Index
    mask: Index
    counted: Index
    mask_of_counted: Index


def plan_of(activations: Float, prune: float) -> Plan:
    """Channels of one tile ``(C, *grid)`` to try: distinct, not constant, the weakest left out.

    Does not depend on the order of the channels: where the cut falls among channels of the same
    spread, all of them are tried.
    """
    flat = activations.reshape(len(activations), -1).astype(np.float64) + 0.0  # no minus zero
    moving = np.flatnonzero(flat.max(axis=1) > flat.min(axis=1))
    first, same = _distinct(flat[moving])
    spread = flat[moving[first]].std(axis=1)
    strong = _strong(spread, prune)
    kept = moving[first[strong]]
    place = np.full(len(first), -1)
    masks, from_mask = _distinct(unit_range(activations[kept]).reshape(len(kept), flat.shape[1]))
    place[strong] = from_mask
    has = place[same] >= 0
    return Plan(kept[masks], moving[has], place[same][has], kept, from_mask)


def _distinct(rows: npt.NDArray[Any]) -> tuple[Index, Index]:
    """Places of the first of each set of equal rows, and which of them each row is."""
    seen: dict[bytes, int] = {}
    first: list[int] = []
    which = np.zeros(len(rows), np.intp)
    for place, row in enumerate(np.ascontiguousarray(rows)):
        key = row.tobytes()
        if key not in seen:
            seen[key] = len(first)
            first.append(place)
        which[place] = seen[key]
    return np.asarray(first, np.intp), which


def _strong(spread: npt.NDArray[np.float64], prune: float) -> npt.NDArray[np.intp]:
    """Places of all but the weakest, whose spreads add up to at most ``prune`` of the sum."""
    if len(spread) == 0 or prune == 0:
        return np.arange(len(spread))
    rising = np.sort(spread)
    cut = int(np.searchsorted(np.cumsum(rising), prune * rising.sum(), side="right"))
    return np.flatnonzero(spread >= rising[min(cut, len(rising) - 1)])
