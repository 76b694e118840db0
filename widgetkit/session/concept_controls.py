"""What a reading of concepts is held against: labels dealt out anew, and the pixels without the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._hooks import checkpoint
from widgetkit.concepts._base import ConceptEstimator, Training
from widgetkit.concepts._labels import Examples

if TYPE_CHECKING:
    from widgetkit.store import ActivationStore

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]
Control = tuple[Array, Mask, Examples]

#: Tiles up to which their pictures are read for the control; each is made smaller than this, per side.
PIXELS_MOST, SIDE_MOST = 5_000, 16
#: Principal components of the pixels, tiles for each of them (of nearly as many as tiles an estimator makes
#: nothing, and the control would be too easy to beat), and tiles that they are learned from at the most.
COMPONENTS, TILES_EACH, BASIS_MOST = 50, 5, 1_000
_CHUNK, _PICTURES = 16_384, 64


def permuted(
    estimator: ConceptEstimator,
    X: npt.NDArray[np.float32],
    data: Training,
    fold: npt.NDArray[np.intp] | None,
    at: Rows,
    own: Examples,
    seed: int,
    cancel: Callable[[], bool],
) -> Control:
    """The same estimator with labels dealt out anew: what is read where there is nothing.

    Of the tiles learned from where those are judged (with ``fold``), else of the judged ones ``at``.
    """
    order = np.random.default_rng([seed, 1]).permutation(len(data.X))
    dealt = replace(data, labels=data.labels.take(order))
    # against labels that are dealt out as well: vectors learned from noise tell true ones by luck
    theirs = own.take(np.random.default_rng([seed, 3]).permutation(len(at)))
    return _judged(estimator, X, dealt, fold, at, theirs, cancel)


def pixels(
    store: ActivationStore,
    estimator: ConceptEstimator,
    rows: Rows,
    data: Training,
    fold: npt.NDArray[np.intp] | None,
    at: Rows,
    own: Examples,
    seed: int,
    cancel: Callable[[], bool],
) -> tuple[Control | None, str]:
    """The same estimator on the tiles' pictures in place of activations: what needs no network.

    Pictures are made at most 16 pixels a side by means and brought to principal components of those learned
    from, one for each five of them and 50 at the most. None, and why, where the store keeps no pictures or they are too many.

    Parameters
    ----------
    rows : (m,) int
        Tiles of ``data``.
    """
    if not store.has_images:
        return None, ""
    wanted = np.union1d(rows, at)
    if len(wanted) > PIXELS_MOST:
        return None, (
            f"The pixels are no control here: {len(wanted):,} pictures would have to be read, more than "
            f"{PIXELS_MOST:,}. Ask of fewer: learn_from=..., or concepts.concept_report(pixels=...)."
        )
    parts = []
    for start in range(0, len(wanted), _PICTURES):
        checkpoint(cancel)
        parts.append(_small(store.images(wanted[start : start + _PICTURES]), store))
    flat = np.concatenate(parts)
    place = np.searchsorted(wanted, rows)
    values = _components(flat, place, seed)
    every = np.zeros((int(wanted.max()) + 1, values.shape[1]))
    every[wanted] = values
    seen = replace(data, X=values[place])
    return _judged(estimator, every, seen, fold, at, own, cancel), ""


def _judged(
    estimator: ConceptEstimator,
    X: npt.NDArray[np.float32] | Array,
    data: Training,
    fold: npt.NDArray[np.intp] | None,
    at: Rows,
    own: Examples,
    cancel: Callable[[], bool],
) -> Control:
    model = estimator._fresh()
    if fold is not None:
        held = model._held_out(data, fold, None, cancel)
        return held.scores, held.present, data.labels
    model.fit(data.X, data.labels.values(), groups=data.groups, names=own.names, cancel=cancel)
    scores = np.concatenate(
        [model.score(X[at[start : start + _CHUNK]]) for start in range(0, len(at), _CHUNK)]
    )
    with np.errstate(invalid="ignore"):
        return scores, scores > model.thresholds_, own


def _small(images: npt.NDArray[np.uint8], store: ActivationStore) -> npt.NDArray[np.float32]:
    """(m, d) means over blocks of pixels, at most ``SIDE_MOST`` a side."""
    shape = store.image_shape
    assert shape is not None
    colour = len(shape) in (3, 4) and shape[-1] == 3
    small = np.asarray(images, np.float32)
    for axis in range(1, 1 + len(shape) - colour):
        size = small.shape[axis]
        step = -(-size // SIDE_MOST)
        whole = size // step * step
        kept = np.take(small, np.arange(whole), axis=axis)
        split = (*kept.shape[:axis], whole // step, step, *kept.shape[axis + 1 :])
        small = kept.reshape(split).mean(axis=axis + 1)
    return small.reshape(len(small), -1)


def _components(flat: npt.NDArray[np.float32], learned: Rows, seed: int) -> Array:
    """(n, at most 50) principal components, of some rows learned from."""
    some = learned
    if len(some) > BASIS_MOST:
        some = np.random.default_rng([seed, 4]).choice(some, BASIS_MOST, replace=False)
    mean = flat[some].mean(axis=0)
    centred = (flat[some] - mean).astype(np.float64)
    size, vectors = np.linalg.eigh(centred @ centred.T)
    top = [i for i in range(len(size) - 1, -1, -1) if size[i] > 1e-9 * max(size[-1], 1e-300)]
    axes = centred.T @ vectors[:, top[: min(COMPONENTS, max(1, len(some) // TILES_EACH))]]
    axes /= np.maximum(np.linalg.norm(axes, axis=0), 1e-300)
    found: Array = (flat - mean).astype(np.float64) @ axes
    return found if found.shape[1] else np.zeros((len(flat), 1))
