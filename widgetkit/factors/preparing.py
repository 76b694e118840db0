"""What is done with activations before factors are sought: scaled by slide, made non-negative.

Both are learned once, from the sample or the table of pooled vectors, kept with the result, and
done alike to every position afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput, UnknownName, near
from widgetkit.factors.groups import Groups
from widgetkit.factors.halves import to_float32
from widgetkit.factors.weighing import Array, Weigher

if TYPE_CHECKING:
    from widgetkit.store import ActivationStore

NonNegative = Literal["error", "shift", "clip", "split"]
NONNEGATIVE: tuple[str, ...] = get_args(NonNegative)

# Share of a channel's overall size that is added to both sides of the ratio between a slide and
# all: bounds it by 11, so that a channel that a slide hardly uses is not blown up to noise.
_FLOOR = 0.1


@dataclass(frozen=True, eq=False)
class Preparation:
    """Turns activations (m, C, cells) into what the prototypes were learned from.

    Attributes
    ----------
    rule : {"error", "shift", "clip", "split"}
    offset : (C,) float32 or None
        Subtracted by "shift" (and by ``assign(offset=...)``).
    scales : (groups, C) float32 or None
        A tile's channels are multiplied by those of its group, before ``rule``.
    codes : (n,) int64 or None
        Group of each tile.
    sentence : str
        What was done with negative values.
    """

    rule: str = "error"
    offset: Array | None = None
    scales: Array | None = None
    codes: npt.NDArray[np.int64] | None = None
    sentence: str = "No value was negative; nothing was changed."

    def rows(self, X: Array, tiles: npt.NDArray[np.int64]) -> Array:
        """Positions (p, C) of the given tiles (p,), prepared."""
        return self.maps(np.ascontiguousarray(X, np.float32)[:, :, None], tiles)[:, :, 0]

    def maps(self, A: npt.NDArray[Any], tiles: npt.NDArray[np.int64]) -> Array:
        """(m, C, cells) of tiles (m,), prepared, as a new float32 array (C doubles by "split")."""
        values = to_float32(A)
        if self.scales is not None and self.codes is not None:
            values *= self.scales[self.codes[tiles]][:, :, None]
        if self.offset is not None:
            values -= self.offset[:, None]
        if self.rule == "clip":
            np.maximum(values, 0, out=values)
        elif self.rule == "split":
            values = np.concatenate([np.maximum(values, 0), np.maximum(-values, 0)], axis=1)
        return values

    def join(self, weights: Array, weigher: Weigher) -> Array:
        """Positions (p, C) that weights (p, k) stand for; the rule undone, the scaling not."""
        made = weights @ self.prototypes(weigher.basis)
        for offset in (weigher.offset, self.offset):
            if offset is not None:
                made += offset
        return made

    def prototypes(self, basis: Array) -> Array:
        """(k, C) of a basis (k, C or 2 C): of split channels, positive minus negative part."""
        half = basis.shape[1] // 2
        return basis[:, :half] - basis[:, half:] if self.rule == "split" else basis

    def undo(self, A: Array, tiles: npt.NDArray[np.int64]) -> Array:
        """Reconstructed (m, C, cells) back in the units of the stored activations."""
        values = A if self.offset is None else A + self.offset[:, None]
        if self.scales is not None and self.codes is not None:
            values = values / self.scales[self.codes[tiles]][:, :, None]
        return values

    def unscale(self, A: Array, tiles: npt.NDArray[np.int64]) -> Array:
        """A part of a reconstruction, to which the offset does not belong."""
        if self.scales is None or self.codes is None:
            return A
        return A / self.scales[self.codes[tiles]][:, :, None]


def slide_scales(store: ActivationStore, layer: str, groups: Groups) -> Array:
    """(groups, C): factors that bring each channel of each slide to the size it has over all.

    Only multiplied, so nothing becomes negative and zero stays zero. The size is the mean of the
    activation (root mean square of the tile means where activations may be negative), taken over
    all tiles from the pooled vectors; over all slides it is the mean of the slides' sizes. A tenth of
    that is added to both, which bounds the factors by 11.
    """
    pooled = store.embeddings(layer)
    signed = store.layer(layer).signed
    sizes = np.zeros((len(groups.names), pooled.shape[1]))
    for g in range(len(groups.names)):
        mine = pooled[groups.codes == g].astype(np.float64)
        sizes[g] = np.sqrt(np.square(mine).mean(axis=0)) if signed else mine.mean(axis=0)
    overall = sizes.mean(axis=0)
    floor = _FLOOR * overall
    below = sizes + floor
    ratio = np.divide(overall + floor, below, out=np.ones_like(sizes), where=below > 0)
    scales: Array = ratio.astype(np.float32)
    return scales


def learn(
    X: Array,
    tiles: npt.NDArray[np.int64],
    *,
    rule: str,
    takes_negative: bool,
    layer: str,
    scales: Array | None,
    codes: npt.NDArray[np.int64] | None,
    signed: bool,
) -> tuple[Preparation, Array]:
    """The preparation as learned from sampled positions (p, C), and these prepared.

    Raises
    ------
    InvalidInput
        Negative activations, the rule is "error" and the method takes none.
    """
    scaled = Preparation(scales=scales, codes=codes)
    values = scaled.rows(X, tiles)
    share = float((values < 0).mean()) if values.size else 0.0
    said = f"{share:.3%} of the sampled values were negative"
    if takes_negative:
        sentence = f"{said}; the method takes them as they are." if signed else scaled.sentence
        return Preparation("error", None, scales, codes, sentence), values
    if not signed:
        return scaled, values
    if rule == "error":
        raise InvalidInput(
            f"Layer {layer!r} has negative activations ({share:.3%} of the sampled values, smallest "
            f"{float(values.min(initial=0.0)):.3g}), which non-negative factors cannot make. Take a "
            "layer after a ReLU, say what to do (nonnegative='shift' subtracts each channel's "
            "smallest value, 'clip' sets them to 0, 'split' makes two channels of each), or use "
            "method='convex_nmf', 'kmeans', 'spherical_kmeans' or 'pca'."
        )
    offset = None
    if rule == "shift":
        offset = np.minimum(values.min(axis=0), 0).astype(np.float32)
        sentence = (
            f"{said}; the smallest sampled value of each channel was subtracted (at most "
            f"{-float(offset.min()):.3g})."
        )
    elif rule == "clip":
        sentence = f"{said} and were set to 0."
    else:
        sentence = f"{said}; each channel was split into its positive and its negative part."
    found = Preparation(rule, offset, scales, codes, sentence)
    return found, found.rows(X, tiles)


def check_rule(rule: object) -> str:
    if isinstance(rule, str) and rule in NONNEGATIVE:
        return rule
    raise UnknownName(f"nonnegative={rule!r} is not known. {near(str(rule), NONNEGATIVE)}".rstrip())


def to_arrays(found: Preparation) -> dict[str, npt.ArrayLike]:
    """What is kept of it beside the rule; ``codes`` come from the table again."""
    arrays: dict[str, npt.ArrayLike] = {"negative": np.array(found.sentence)}
    if found.offset is not None:
        arrays["shift"] = found.offset
    if found.scales is not None:
        arrays["scales"] = found.scales
    return arrays


def from_arrays(
    arrays: Mapping[str, npt.NDArray[Any]], rule: str, codes: npt.NDArray[np.int64] | None
) -> Preparation:
    return Preparation(
        rule,
        np.asarray(arrays["shift"]) if "shift" in arrays else None,
        np.asarray(arrays["scales"]) if "scales" in arrays else None,
        codes,
        str(arrays["negative"]),
    )
