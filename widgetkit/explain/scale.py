"""One colour scale for many maps, so that the same colour means the same value everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput


@dataclass(frozen=True)
class Scale:
    """Values between ``vmin`` and ``vmax`` share the colours; what is beyond takes the end colour.

    ``signed`` scales have ``vmin == -vmax``: zero is the middle colour.
    """

    vmin: float
    vmax: float
    signed: bool = False

    def apply(self, maps: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Maps on [0, 1], clipped. A flat scale gives 0 (0.5 when signed); NaN becomes that too."""
        flat = 0.5 if self.signed else 0.0
        values = np.asarray(maps, dtype=np.float64)
        width = self.vmax - self.vmin
        if width <= 0:
            return np.full(values.shape, flat, dtype=np.float32)
        unit = np.clip((values - self.vmin) / width, 0.0, 1.0)
        return np.where(np.isnan(unit), flat, unit).astype(np.float32)


def shared_scale(
    maps: npt.ArrayLike, *, signed: bool = False, quantile: float | None = None
) -> Scale:
    """The scale that all of ``maps`` share.

    Unsigned maps start at zero (no weight is the lowest colour), or below it where there are
    negative values; signed maps get a symmetric scale.

    Parameters
    ----------
    maps : array of any shape
        NaN and infinity are left out. An empty array gives 0..1 (-1..1 when signed).
    signed : bool
        Whether zero is the middle colour: ``method.signed``.
    quantile : float in (0.5, 1], optional
        Ends the scale at this quantile of the values (and 1 - quantile below zero), so that
        single hot positions do not darken everything else. Default: the extremes. Where the
        quantile is zero although some values are not (sparse maps), the extreme is used.

    Raises
    ------
    InvalidInput
        ``quantile`` is not in (0.5, 1].
    """
    if quantile is not None and not 0.5 < quantile <= 1.0:
        raise InvalidInput(
            f"quantile is {quantile}: use a number above 0.5 and at most 1, such as 0.99."
        )
    values = np.asarray(maps, dtype=np.float64).reshape(-1)
    values = values[np.isfinite(values)]
    if values.size == 0:
        return Scale(-1.0 if signed else 0.0, 1.0, signed)
    share = 1.0 if quantile is None else quantile
    if signed:
        size = np.abs(values)
        end = float(np.quantile(size, share)) or float(size.max())
        return Scale(-end, end, True)
    high = max(float(np.quantile(values, share)), 0.0) or max(float(values.max()), 0.0)
    low = min(float(np.quantile(values, 1.0 - share)), 0.0)
    return Scale(low, high, False)
