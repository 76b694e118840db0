"""Small images of three planted groups: a bright block here, there, or nowhere."""

from __future__ import annotations

import numpy as np

SIZES = (20, 16, 12)


def planted(shape: tuple[int, ...] = (16, 16), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(48, *shape) uint8 and the group of each, shuffled."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(3), SIZES)
    images = rng.integers(20, 60, (len(truth), *shape), dtype=np.uint8)
    near = tuple(slice(side // 8, side // 2) for side in shape)
    far = tuple(slice(side // 2, -side // 8) for side in shape)
    images[(truth == 0, *near)] += 150
    images[(truth == 1, *far)] += 150
    order = rng.permutation(len(truth))
    return images[order], truth[order]
