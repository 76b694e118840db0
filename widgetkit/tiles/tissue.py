"""Where the tissue is on a slide, from a small picture of it."""

from __future__ import annotations

import numpy as np

#: Otsu's threshold is kept between these: on a slide of nothing but glass it would cut the noise
#: in two, on one of nothing but tissue the tissue. Glass of the scanners we saw stays below 0.05,
#: eosin at its palest above 0.1.
LOWEST_SATURATION, HIGHEST_SATURATION = 0.05, 0.15
#: Darker than this is a border, a fold of the cover slip or missing data, not stained tissue.
DARKEST = 0.12


def otsu(values: np.ndarray, *, bins: int = 256) -> float:
    """Threshold in 0..1 that best separates ``values`` (0..1) into two classes.

    Returns the upper edge of the last bin of the lower class.

    References
    ----------
    Otsu (1979), A threshold selection method from gray-level histograms.
    """
    counts, edges = np.histogram(values, bins=bins, range=(0.0, 1.0))
    if not counts.any():
        return 0.0
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts).astype(np.float64)
    above = below[-1] - below
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = sums / below - (sums[-1] - sums) / above
    between = np.where((below > 0) & (above > 0), below * above * gap**2, 0.0)
    return float(edges[int(np.argmax(between)) + 1])


def saturation(rgb: np.ndarray) -> np.ndarray:
    """(..., 3) uint8 -> (...) float32 in 0..1: ``(max - min) / max``, 0 for black."""
    high = rgb.max(axis=-1).astype(np.float32)
    low = rgb.min(axis=-1).astype(np.float32)
    share: np.ndarray = np.divide(high - low, high, out=np.zeros_like(high), where=high > 0)
    return share


def tissue_mask(rgb: np.ndarray) -> np.ndarray:
    """Stained pixels of a picture of a slide.

    Parameters
    ----------
    rgb : (h, w, 3) uint8

    Returns
    -------
    (h, w) bool
        Saturation above Otsu's threshold (kept between 0.05 and 0.15) and not near black.
    """
    colour = saturation(rgb)
    bright = rgb.max(axis=-1) > DARKEST * 255
    threshold = otsu(colour[bright]) if bright.any() else HIGHEST_SATURATION
    stained: np.ndarray = colour > np.clip(threshold, LOWEST_SATURATION, HIGHEST_SATURATION)
    stained &= bright
    return stained


def covered(mask: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Share of each box that the mask covers.

    Parameters
    ----------
    mask : (h, w) bool
    boxes : (n, 4) float
        left, top, right, bottom in pixels of the mask, rounded outwards to whole ones.

    Returns
    -------
    (n,) float64 in 0..1
    """
    height, width = mask.shape
    total = np.zeros((height + 1, width + 1), np.int64)
    total[1:, 1:] = mask.cumsum(0).cumsum(1)
    left = np.clip(np.floor(boxes[:, 0]), 0, width - 1).astype(np.int64)
    top = np.clip(np.floor(boxes[:, 1]), 0, height - 1).astype(np.int64)
    right = np.clip(np.ceil(boxes[:, 2]), left + 1, width).astype(np.int64)
    bottom = np.clip(np.ceil(boxes[:, 3]), top + 1, height).astype(np.int64)
    inside = total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left]
    return np.asarray(inside / ((right - left) * (bottom - top)), np.float64)
