"""How a selection differs from the rest, channel by channel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from widgetkit.errors import ChannelMismatch


def selection_contrast(
    mean_in: npt.ArrayLike, mean_rest: npt.ArrayLike, std: npt.ArrayLike
) -> npt.NDArray[np.float32]:
    """Standardised difference of means, one a channel (Cohen's d).

    Parameters
    ----------
    mean_in, mean_rest : (C,)
        Mean activation of the channels in the selection and in the rest.
    std : (C,)
        Standard deviation over all. Channels that do not vary (0, NaN) count nothing.

    Returns
    -------
    (C,) float32

    Raises
    ------
    ChannelMismatch
        The three differ in length.
    """
    inside, rest, spread = (np.asarray(a, dtype=np.float64) for a in (mean_in, mean_rest, std))
    if not (inside.shape == rest.shape == spread.shape and inside.ndim == 1):
        raise ChannelMismatch(
            f"The means and the deviation must be of the same channels; got {inside.shape}, {rest.shape}, {spread.shape}."
        )
    usable = np.isfinite(spread) & (spread > 0)
    # an empty side has no mean: then nothing differs
    usable &= np.isfinite(inside) & np.isfinite(rest)
    out = np.zeros(inside.shape, np.float32)
    out[usable] = (inside[usable] - rest[usable]) / spread[usable]
    return out
