"""How much of a cluster or concept there is in images that a network encodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from widgetkit.errors import BadActivations, ChannelMismatch
from widgetkit.explain.base import Float, LatentTarget, Model
from widgetkit.explain.concept_target import ConceptTarget
from widgetkit.explain.masking import as_mask, spatial_shape, unit_range
from widgetkit.explain.resample import upsample
from widgetkit.explain.soft import soft_assign

Index = npt.NDArray[np.intp]

#: Bytes of changed images that are made at once, and how many at most: on a processor, passes of 64
#: small images took 1.3 times as long an image as passes of 32, whose maps stay in its cache.
_CHUNK = 16 * 2**20
_CHUNK_MOST = 32


def latents(model: Model, images: npt.NDArray[Any], target: LatentTarget) -> npt.NDArray[Any]:
    """Latent vectors ``(n, d)`` of ``images``, as the centres of ``target`` have them.

    Raises
    ------
    ChannelMismatch
        The layer gives vectors of another length.
    BadActivations
        A latent vector is not finite.
    """
    found = _vectors(model, images, target.latent, np.asarray(target.centres).shape[1])
    if isinstance(found, tuple):
        raise ChannelMismatch(
            f"Layer {target.latent!r} gives {found} an image, and the centres have "
            f"{np.asarray(target.centres).shape[1]} numbers each: the clustering was made on another "
            "layer. Name that one: LatentTarget(..., latent=...)."
        )
    return found


def along(
    model: Model, images: npt.NDArray[Any], target: ConceptTarget, method: str
) -> npt.NDArray[np.float64]:
    """``h . v`` of each image, (n,): its place along the concept's direction at the layer ``target.at``.

    Raises
    ------
    InvalidInput
        The target has no direction at a later layer.
    ChannelMismatch, BadActivations
        The layer gives vectors of another length, or values that are not finite.
    """
    direction = target.need("towards", method).astype(np.float64)
    found = _vectors(model, images, target.at, len(direction))
    if isinstance(found, tuple):
        raise ChannelMismatch(
            f"Layer {target.at!r} gives {found} an image, and the direction of concept {target.name!r} has "
            f"{len(direction)} numbers: it was made on another layer."
        )
    places: npt.NDArray[np.float64] = found.astype(np.float64) @ direction
    return places


def _vectors(
    model: Model, images: npt.NDArray[Any], layer: str, size: int
) -> npt.NDArray[Any] | tuple[int, ...]:
    """A layer's vectors ``(n, size)``, its flattened maps or their mean over the grid; its shape if neither."""
    given = np.asarray(model.forward_to_layer(images, layer))
    flat = given.reshape(len(given), -1) if len(given) else np.zeros((0, size), np.float32)
    if flat.shape[1] == size:
        vectors = flat
    elif given.ndim > 2 and given.shape[1] == size:
        vectors = given.mean(axis=tuple(range(2, given.ndim)), dtype=np.float64)
    else:
        return given.shape[1:]
    if not np.isfinite(vectors).all():
        raise BadActivations(f"Layer {layer!r} returned NaN or infinity for a changed image.")
    return vectors


def shares(model: Model, images: npt.NDArray[Any], target: LatentTarget) -> npt.NDArray[np.float64]:
    """``q`` of the target's cluster in each image, less ``q`` of the one it is set against, (n,)."""
    q = soft_assign(latents(model, images, target), target.centres)
    wanted = q[:, target.index]
    return wanted if target.against is None else wanted - q[:, target.against]


class MaskedShares:
    """:func:`shares` of images seen through channels of their own activations.

    Channel ``k`` of tile ``i``, upsampled to the image and scaled to [0, 1], is the mask ``m``; what
    is encoded is ``image_i m + fill_i (1 - m)``.

    Parameters
    ----------
    model : Model
    target : LatentTarget
    images : (m, *spatial[, colours])
    activations : (m, C, *grid) float32
    fill : broadcastable to ``images`` along all axes
        What stands where the mask is 0.
    chunk : int
        Images made at once.
    check, progress : callable
        As in a :class:`~widgetkit.explain.base.Batch`.
    planned : int
        How many there will be, for ``progress``; more are counted as they come.
    """

    def __init__(
        self,
        model: Model,
        target: LatentTarget,
        images: npt.NDArray[Any],
        activations: Float,
        fill: Float,
        *,
        chunk: int,
        check: Callable[[], None],
        progress: Callable[[int, int], None],
        planned: int,
    ) -> None:
        self._model, self._target = model, target
        self._images, self._activations, self._fill = images, activations, fill
        self._spatial = spatial_shape(images, activations.ndim - 2)
        self._chunk, self._check, self._progress = chunk, check, progress
        self._done, self._planned = 0, planned

    def __call__(self, tiles: Index, channels: Index) -> npt.NDArray[np.float64]:
        """Shares ``(p,)`` of the target in ``tiles`` through ``channels``, ``(p,)`` each."""
        found = np.zeros(len(tiles))
        self._planned = max(self._planned, self._done + len(tiles))
        for start in range(0, len(tiles), self._chunk):
            self._check()
            self._progress(self._done, self._planned)
            part = slice(start, start + self._chunk)
            images = self._masked(tiles[part], channels[part])
            found[part] = shares(self._model, images, self._target)
            self._done += len(images)
        return found

    def finished(self) -> None:
        """Report that no more will come."""
        self._progress(self._done, self._done)

    def of_fill(self) -> npt.NDArray[np.float64]:
        """Shares ``(m,)`` of the target where nothing is seen of the images."""
        blank = np.broadcast_to(self._fill, (len(self._fill), *self._images.shape[1:]))
        found = [
            shares(self._model, blank[start : start + self._chunk].astype(np.float32), self._target)
            for start in range(0, len(blank), self._chunk)
        ]
        return np.broadcast_to(np.concatenate(found), len(self._images))

    def _masked(self, tiles: Index, channels: Index) -> Float:
        masks = unit_range(self._activations[tiles, channels])
        seen = self._images[tiles]
        mask = as_mask(unit_range(upsample(masks, self._spatial)), seen)
        product: Float = (seen * mask).astype(np.float32, copy=False)
        if self._fill.any():
            product += (self._fill if len(self._fill) == 1 else self._fill[tiles]) * (1 - mask)
        return product


def chunk_for(images: npt.NDArray[Any]) -> int:
    """How many float32 images like these are made at once: memory is bounded by them."""
    pixels = int(np.prod(images.shape[1:]))
    return int(np.clip(_CHUNK // max(1, 4 * pixels), 1, _CHUNK_MOST))
