"""CLAM, cluster activation mapping of a deep clustering.

Not the multiple-instance learning method of the same name (Lu et al. 2021), which gives attention
to the tiles of a slide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput
from widgetkit.explain.base import Batch, Float, LatentTarget, Need, expect, weighted_sum
from widgetkit.explain.latent import chunk_for, shares, shares_of
from widgetkit.explain.masking import as_mask, baseline_images, positive, spatial_shape
from widgetkit.explain.registry import register
from widgetkit.explain.resample import upsample
from widgetkit.explain.scorecam import softmax, unit_range

Index = npt.NDArray[np.intp]


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
    baseline : "zero", "mean" or float
        What stands where the mask is 0: black in the image's own range, the image's own mean
        colour, or this value.
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
    baseline: Literal["zero", "mean"] | float = "zero"
    prune: float = 0.02
    relu: bool = True
    batch_size: int | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        if self.weights not in ("relu", "softmax", "signed"):
            raise InvalidInput(f"weights is {self.weights!r}: use 'relu', 'softmax' or 'signed'.")
        if isinstance(self.baseline, str):
            if self.baseline not in ("zero", "mean"):
                raise InvalidInput(
                    f"baseline is {self.baseline!r}: use 'zero', 'mean' or a number."
                )
        elif not np.isfinite(self.baseline):
            raise InvalidInput(f"baseline is {self.baseline}: use a finite number.")
        if not 0 <= self.prune < 1:
            raise InvalidInput(f"prune is {self.prune}: use a share from 0 and below 1.")
        if self.batch_size != "auto":
            positive(self.batch_size, "batch_size")

    def compute(self, batch: Batch, target: LatentTarget) -> Float:
        """Maps ``(m, *grid)``, non-negative unless ``relu`` is off."""
        activations, scores, tried = self._scored(batch, target)
        if self.weights == "softmax":
            alpha = softmax(np.where(tried, scores, -np.inf))
        else:
            used = np.maximum(scores, 0) if self.weights == "relu" else scores
            alpha = (used * tried).astype(np.float32)
        maps = weighted_sum(activations, alpha)
        if self.relu:
            np.maximum(maps, 0, out=maps)
        return maps

    def confidence(self, batch: Batch, target: LatentTarget) -> npt.NDArray[np.float64]:
        """``s`` of every channel, ``(m, C)``; 0 where none was tried.

        A channel that another one equals has that one's confidence, and counts once in the map.
        """
        return self._scored(batch, target)[1]

    def _scored(
        self, batch: Batch, target: LatentTarget
    ) -> tuple[Float, npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Activations, confidence ``(m, C)``, and which channels count in the map."""
        chosen = expect(target, LatentTarget, self.title)
        activations = batch.need_activations(self.title)
        model, images = batch.need_model(self.title), batch.need_images(self.title)
        m, channels, *grid = activations.shape
        scores, tried = np.zeros((m, channels)), np.zeros((m, channels), bool)
        if m == 0:
            return activations, scores, tried
        spatial = spatial_shape(images, len(grid))
        level = 0.0 if self.baseline == "zero" else self.baseline
        fill = baseline_images(images, len(grid), level)
        plan = [plan_of(tile, self.prune) for tile in activations]
        tiles = np.repeat(np.arange(m), [len(p.shown) for p in plan])
        shown = np.concatenate([p.shown for p in plan])

        def masked(start: int, stop: int) -> Float:
            rows, kept = tiles[start:stop], shown[start:stop]
            masks = unit_range(upsample(unit_range(activations[rows, kept]), spatial))
            seen = images[rows]
            mask = as_mask(masks, seen)
            product: Float = (seen * mask).astype(np.float32, copy=False)
            if fill.any():
                product += (fill if len(fill) == 1 else fill[rows]) * (1 - mask)
            return product

        chunk = chunk_for(images) if self.batch_size == "auto" else self.batch_size
        batch.check()
        if len(tiles):
            found = shares_of(
                model,
                chosen,
                len(tiles),
                masked,
                chunk=chunk,
                check=batch.check,
                progress=batch.progress,
            )
            blank = np.broadcast_to(fill, (len(fill), *images.shape[1:])).astype(np.float32)
            none = np.concatenate(
                [
                    shares(model, blank[start : start + chunk], chosen)
                    for start in range(0, len(blank), chunk)
                ]
            )
            found -= none[0] if len(fill) == 1 else none[tiles]
            start = 0
            for tile, part in enumerate(plan):
                own = found[start : start + len(part.shown)]
                start += len(part.shown)
                scores[tile, part.channels] = own[part.mask]
                tried[tile, part.counted] = True
        return activations, scores, tried


@dataclass(frozen=True)
class Plan:
    """Which channels of one tile are tried.

    ``shown`` (p,): channels whose masks the encoder sees. ``channels`` (c,): channels that get a
    confidence from them, and ``mask`` (c,): from which of the p. ``counted``: channels that count in
    the map, one of each set of equal ones.
    """

    shown: Index
    channels: Index
    mask: Index
    counted: Index


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
    return Plan(kept[masks], moving[has], place[same][has], kept)


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
