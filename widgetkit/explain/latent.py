"""How much of a cluster there is in images that a network encodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from widgetkit.errors import BadActivations, ChannelMismatch
from widgetkit.explain.base import LatentTarget, Model
from widgetkit.explain.soft import soft_assign

#: Bytes of changed images that are made at once.
_CHUNK = 16 * 2**20
_CHUNK_MOST = 256


def latents(model: Model, images: npt.NDArray[Any], target: LatentTarget) -> npt.NDArray[Any]:
    """Latent vectors ``(n, d)`` of ``images``, as the centres of ``target`` have them.

    Raises
    ------
    ChannelMismatch
        The layer gives vectors of another length.
    BadActivations
        A latent vector is not finite.
    """
    size = np.asarray(target.centres).shape[1]
    given = np.asarray(model.forward_to_layer(images, target.latent))
    flat = given.reshape(len(given), -1) if len(given) else np.zeros((0, size), np.float32)
    if flat.shape[1] == size:
        vectors = flat
    elif given.ndim > 2 and given.shape[1] == size:
        vectors = given.mean(axis=tuple(range(2, given.ndim)), dtype=np.float64)
    else:
        raise ChannelMismatch(
            f"Layer {target.latent!r} gives {given.shape[1:]} an image, and the centres have {size} "
            "numbers each: the clustering was made on another layer. Name that one: "
            "LatentTarget(..., latent=...)."
        )
    if not np.isfinite(vectors).all():
        raise BadActivations(
            f"Layer {target.latent!r} returned NaN or infinity for a changed image."
        )
    return vectors


def shares(model: Model, images: npt.NDArray[Any], target: LatentTarget) -> npt.NDArray[np.float64]:
    """``q`` of the target's cluster in each image, less ``q`` of the one it is set against, (n,)."""
    q = soft_assign(latents(model, images, target), target.centres)
    wanted = q[:, target.index]
    return wanted if target.against is None else wanted - q[:, target.against]


def shares_of(
    model: Model,
    target: LatentTarget,
    count: int,
    make: Callable[[int, int], npt.NDArray[Any]],
    *,
    chunk: int,
    check: Callable[[], None],
    progress: Callable[[int, int], None],
) -> npt.NDArray[np.float64]:
    """:func:`shares` of ``count`` images that ``make(start, stop)`` builds a chunk at a time."""
    found = np.zeros(count)
    for start in range(0, count, chunk):
        check()
        progress(start, count)
        stop = min(start + chunk, count)
        found[start:stop] = shares(model, make(start, stop), target)
    progress(count, count)
    return found


def chunk_for(images: npt.NDArray[Any]) -> int:
    """How many float32 images like these are made at once: memory is bounded by them."""
    pixels = int(np.prod(images.shape[1:]))
    return int(np.clip(_CHUNK // max(1, 4 * pixels), 1, _CHUNK_MOST))
