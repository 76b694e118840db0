"""What is handed to a writer, as it will be stored, or an error that names layer and tile."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from widgetkit.errors import BadActivations, BadImage, InvalidInput
from widgetkit.store import statistics
from widgetkit.store.images import Pixels
from widgetkit.store.plan import LayerPlan, Plan


def values(
    layer: LayerPlan, given: ArrayLike, rows: range
) -> tuple[NDArray[np.generic], statistics.SegmentStatistics]:
    """The values as they are stored, with their statistics; :class:`BadActivations` otherwise."""
    array = np.asarray(given)
    shape = (len(rows), layer.channels, *layer.grid)
    if array.shape != shape or array.dtype.kind != "f":
        raise BadActivations(
            f"Layer {layer.name!r}, rows {rows.start} to {rows.stop - 1}: {array.shape} of "
            f"{array.dtype} instead of {shape} floats. Every batch must have the shape of the plan."
        )
    summary: statistics.SegmentStatistics | None
    stored: NDArray[Any]
    with np.errstate(over="ignore"):  # an overflow becomes infinite and is found below
        if layer.has_maps:
            stored = np.ascontiguousarray(array, dtype="<f2")
            summary = statistics.of_maps(stored)
        else:
            stored = np.ascontiguousarray(array, dtype="<f4")
            summary = statistics.of_vectors(stored)
    if summary is not None:
        return stored, summary
    row, _ = statistics.first_not_finite(stored) or (0, 0.0)
    original = array[row][~np.isfinite(stored[row])].ravel()[0]
    reason = (
        f"the value {float(original):.6g}, beyond what {stored.dtype} holds "
        f"({np.finfo(stored.dtype).max:.6g})"
        if np.isfinite(original)
        else f"{float(original)}"
    )
    raise BadActivations(
        f"Layer {layer.name!r}, tile {rows.start + row}: the activations hold {reason}. "
        "Check the preprocessing and the weights, or store an earlier layer."
    )


def images(plan: Plan, given: ArrayLike | None, rows: range) -> Pixels | None:
    """``(m, *image_shape)`` uint8, or None when the plan has no pictures."""
    shape = plan.image_shape
    if shape is None:
        if given is not None:
            raise InvalidInput("Images were given, but the plan has no image_shape.")
        return None
    if given is None:
        raise InvalidInput(f"The plan stores images of shape {shape}; none were given.")
    array = np.asarray(given)
    if array.dtype != np.uint8 or array.shape != (len(rows), *shape):
        raise BadImage(
            f"Rows {rows.start} to {rows.stop - 1}: images are {array.shape} {array.dtype}; "
            f"the plan needs {(len(rows), *shape)} uint8."
        )
    return np.ascontiguousarray(array)


def outputs(plan: Plan, given: ArrayLike | None, rows: range) -> NDArray[np.float32] | None:
    """``(m, outputs)`` finite float32, or None when the plan has none."""
    width = plan.outputs
    if width is None:
        if given is not None:
            raise InvalidInput("Outputs were given, but the plan has none.")
        return None
    if given is None:
        raise InvalidInput(f"The plan stores {width} outputs a tile; none were given.")
    array = np.ascontiguousarray(given, dtype=np.float32)
    if array.shape != (len(rows), width):
        raise BadActivations(
            f"Outputs for rows {rows.start} to {rows.stop - 1} have shape {array.shape}; the "
            f"plan needs {(len(rows), width)}."
        )
    wrong = statistics.first_not_finite(array)
    if wrong is not None:
        raise BadActivations(
            f"The model's output for tile {rows.start + wrong[0]} holds {wrong[1]}. "
            "Check the preprocessing and the weights."
        )
    return array
