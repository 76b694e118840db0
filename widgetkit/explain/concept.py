"""Concept maps as published: channels weighted shell by shell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from widgetkit.errors import ChannelMismatch, TooFew
from widgetkit.explain.base import Batch, Float, Need, expect
from widgetkit.explain.concept_profiles import SHELLS, shells
from widgetkit.explain.concept_target import ConceptTarget
from widgetkit.explain.registry import register

Floats = npt.NDArray[np.float64]


@register
@dataclass(frozen=True)
class ConceptMap:
    """Channels weighted, in each of four shells around the centre, by how much of the concept's they are.

    With ``a_f`` the mean activation of a channel in a shell over the examples of concept ``f``, the
    separation from the strongest concept, relative to the mean over the concepts, is
    ``d_f = (max_g a_g - a_f) / mean_g a_g``, and the weight is ``w_f = median_g d_g - d_f``, above 0
    where the channel is active for ``f`` and for less than half of the others. The mean of ``w_f`` over
    the channels of the shell is added (``lift``), and what is negative then is set to 0. The map at a
    position is the sum of its channels with the weights of its shell, divided by the sum of the weights
    of all shells.

    Channels that are 0 for all concepts have no say, in the mean neither. A concept alone is compared
    with the tiles that do not show it. In layers with negative values the mean is that of the sizes, and
    negative sums are drawn as 0.

    Attributes
    ----------
    lift : bool
        Add the mean weight of each shell. The authors' code does; their text does not say so.

    Notes
    -----
    Of step 5 of the method, as it is known from the authors' code: the shells, their median, the lift,
    the order of both cuts, and one divisor for all shells. Theirs compares the concepts identified in the
    lesion at hand, at most four; here it is all that have examples. That a single concept is compared with the rest,
    and what is done with channels that are 0 or negative, is ours: the formula has no answer there.
    """

    name: ClassVar[str] = "concept"
    title: ClassVar[str] = "Concept, by shells"
    reference: ClassVar[str] = (
        "Wang et al., Deep learning for liver tumor diagnosis part II: convolutional neural network "
        "interpretation using radiologic imaging features, Eur Radiol 29 (2019) 3348-3357."
    )
    requires: ClassVar[frozenset[Need]] = frozenset({"activations"})
    targets: ClassVar[frozenset[type]] = frozenset({ConceptTarget})
    signed: ClassVar[bool] = False

    lift: bool = True

    def compute(self, batch: Batch, target: ConceptTarget) -> Float:
        """Maps ``(m, *grid)`` in units of the activations, not below 0."""
        chosen = expect(target, ConceptTarget, self.title)
        activations = batch.need_activations(self.title)
        m, channels, *grid = activations.shape
        weights = shell_weights(chosen, self.title, lift=self.lift)
        if weights.shape != (SHELLS, channels):
            raise ChannelMismatch(
                f"The profiles of concept {chosen.name!r} have {weights.shape[0]} shells and "
                f"{weights.shape[1]} channels; {self.title} takes {SHELLS} shells, and layer "
                f"{batch.layer.name!r} has {channels} channels. They were probably made on another layer."
            )
        total = weights.sum()
        share = (weights / (total if total > 0 else 1)).astype(np.float32)
        place = shells(grid).ravel()
        flat = activations.reshape(m, channels, len(place))
        maps = np.zeros((m, len(place)), np.float32)
        for shell in range(SHELLS):
            here = np.flatnonzero(place == shell)
            maps[:, here] = np.matmul(share[shell], flat[:, :, here])
        return np.maximum(maps, 0).reshape(m, *grid)


def shell_weights(target: ConceptTarget, method: str, *, lift: bool = True) -> Floats:
    """Weight of every channel in every shell for the concept of ``target``, (S, C), none below 0.

    Raises
    ------
    TooFew
        One concept alone, and nothing to compare it with.
    """
    profiles = target.need("profiles", method).astype(np.float64)
    if len(profiles) == 1:
        if target.rest is None:
            raise TooFew(
                f"{method} weights channels by how concepts differ, and {target.name!r} is the only one, "
                "with no tile that does not show it. Label another concept, or tiles without this one."
            )
        profiles = np.concatenate([profiles, np.asarray(target.rest, np.float64)[None]])
    size = np.abs(profiles).mean(axis=0)
    live = size > 0
    apart = (profiles.max(axis=0) - profiles) / np.where(live, size, 1)
    weights: Floats = np.median(apart, axis=0) - apart[target.index]
    if lift:
        alive = live.sum(axis=1, keepdims=True)
        weights = weights + weights.sum(axis=1, keepdims=True) / np.maximum(alive, 1)
    return np.where(live, np.maximum(weights, 0), 0.0)
