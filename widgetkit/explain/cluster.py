"""How much of a cluster or factor there is at each position, from the store alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from widgetkit.errors import ChannelMismatch, InvalidInput
from widgetkit.explain.base import Batch, ClusterTarget, Float, Need, channel_vector, expect
from widgetkit.explain.registry import register


@register
@dataclass(frozen=True)
class ClusterMap:
    """Weight of one cluster at each position, given all clusters.

    NMF
        With ``H (k, C)`` all factors, each position ``a`` is solved for
        ``min_w ||a - background - w H||_2, w >= 0`` and the map is ``w[index]``: how much of this
        factor the position holds once the others have taken their part.
    k-means
        How far a position has come from the nearest competing centre ``c_j`` to this one ``c_i``,
        ``min_j (a - c_j).(c_i - c_j) / ||c_i - c_j||^2``, below zero set to zero: 0 at another
        centre, 1 at this one, more beyond it, and above 0.5 exactly where this centre is the
        nearest. Unlike a distance it is not drowned by the channels in which all centres agree.
        With no other centre the background (default: zero) competes.
    """

    name: ClassVar[str] = "cluster"
    title: ClassVar[str] = "Cluster"
    reference: ClassVar[str] = (
        "Bajger et al., Explaining Digital Pathology Models via Clustering Activations (2025), "
        "arXiv:2511.14558; Lee & Seung, Nature 401 (1999) 788."
    )
    requires: ClassVar[frozenset[Need]] = frozenset({"activations"})
    targets: ClassVar[frozenset[type]] = frozenset({ClusterTarget})
    signed: ClassVar[bool] = False

    def compute(self, batch: Batch, target: ClusterTarget) -> Float:
        """Non-negative maps ``(m, *grid)`` of cluster ``target.index``."""
        chosen = expect(target, ClusterTarget, self.title)
        activations = batch.need_activations(self.title)
        m, channels, *grid = activations.shape
        prototypes = np.asarray(chosen.prototypes, dtype=np.float32)
        if prototypes.ndim != 2 or prototypes.shape[1] != channels:
            raise ChannelMismatch(
                f"The clustering's prototypes have shape {prototypes.shape}, and layer "
                f"{batch.layer.name!r} has {channels} channels: it was made on another layer. "
                "Cluster again on this layer, or show the other one."
            )
        if not 0 <= chosen.index < len(prototypes):
            raise InvalidInput(
                f"Cluster {chosen.index} is not one of the {len(prototypes)} clusters."
            )
        if not np.isfinite(prototypes).all():
            raise InvalidInput("The clustering's prototypes hold NaN or infinity.")
        background = (
            np.zeros(channels, np.float32)
            if chosen.background is None
            else channel_vector(chosen.background, channels, "background", batch.layer.name)
        )
        if not np.isfinite(background).all():
            raise InvalidInput("The clustering's background holds NaN or infinity.")
        positions = np.moveaxis(activations, 1, -1).reshape(-1, channels)
        weights = _SOLVERS.get(chosen.kind)
        if weights is None:
            raise InvalidInput(
                f"A clustering of kind {chosen.kind!r} has no map: use {' or '.join(map(repr, _SOLVERS))}."
            )
        return weights(positions, prototypes, chosen.index, background).reshape(m, *grid)


def _factor_weight(positions: Float, prototypes: Float, index: int, background: Float) -> Float:
    """Column ``index`` of the non-negative weights of ``positions (p, C)`` in ``prototypes (k, C)``."""
    from widgetkit.analysis import nnls

    if len(positions) == 0:
        return np.zeros(0, np.float32)
    # a position below the background holds nothing of any factor in that channel
    raised = np.maximum(positions - background, 0) if background.any() else positions
    return np.ascontiguousarray(nnls(raised, prototypes)[:, index], dtype=np.float32)


def _centre_contrast(positions: Float, centres: Float, index: int, background: Float) -> Float:
    """Way come from the nearest competing centre (0) to centre ``index`` (1), not below 0."""
    own = centres[index].astype(np.float64)
    others = np.delete(centres, index, axis=0).astype(np.float64)
    others = others[(others != own).any(axis=1)]  # a copy of this centre competes for nothing
    if len(others) == 0:
        others = background[None].astype(np.float64)
    step = own - others
    squared = np.einsum("kc,kc->k", step, step)
    if not squared.all():  # the only centre is the background itself: nothing to show
        return np.zeros(len(positions), np.float32)
    direction = step / squared[:, None]
    # float64: between two close centres the direction is long, and the difference cancels
    way = positions.astype(np.float64) @ direction.T - np.einsum("kc,kc->k", others, direction)
    nearest: Float = np.maximum(way.min(axis=1), 0).astype(np.float32)
    return nearest


_SOLVERS = {"nmf": _factor_weight, "kmeans": _centre_contrast}
