"""Below which total weight a position belongs to no factor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput

#: The default: a position with less than a tenth of what a strong position holds is empty.
SHARE, STRONG = 0.1, 0.95

Background = float | str | None


@dataclass(frozen=True)
class Level:
    """``value``: positions with a total weight of at most this have no winner; ``rule`` says why."""

    value: float
    rule: str


def check(background: Background) -> Background:
    """``background`` if it is one of the rules.

    Raises
    ------
    InvalidInput
    """
    if background is None or background == "otsu":
        return background
    if isinstance(background, str) and background.startswith("quantile:"):
        try:
            if 0 <= float(background.removeprefix("quantile:")) < 1:
                return background
        except ValueError:
            pass
    elif (
        isinstance(background, int | float | np.number)
        and not isinstance(background, bool)
        and math.isfinite(background)
        and background >= 0
    ):
        return float(background)
    raise InvalidInput(
        f"background={background!r} is no rule: use None (a tenth of a strong position), 'otsu', "
        "'quantile:0.05', or a total weight of at least 0."
    )


def level(background: Background, totals: npt.NDArray[Any]) -> Level:
    """The threshold from the total weights (p,) of the sampled positions.

    None
        A tenth of the 95th percentile.
    "otsu"
        Otsu's threshold (1979) of a histogram with 256 bins: always cuts, also where there is
        no background.
    "quantile:q"
        That quantile: always calls a share q empty.
    number
        Itself.
    """
    values = np.asarray(totals, np.float64)
    if isinstance(background, float):
        return Level(background, f"total weight of at most {background:.4g}, as given")
    if not len(values) or values.max() <= 0:
        return Level(0.0, "total weight of 0")
    if background is None:
        value = SHARE * float(np.quantile(values, STRONG))
        rule = f"{SHARE:g} of the {STRONG:.0%} quantile of the total weight in the sample"
    elif background == "otsu":
        value, rule = _otsu(values), "Otsu's threshold of the total weight in the sample"
    else:
        share = float(str(background).removeprefix("quantile:"))
        value = float(np.quantile(values, share))
        rule = f"the {share:.3g} quantile of the total weight in the sample"
    return Level(value, f"total weight of at most {value:.4g}: {rule}")


def _otsu(values: npt.NDArray[np.float64]) -> float:
    counts, edges = np.histogram(values, bins=256)
    middles = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)[:-1].astype(float)
    above = counts.sum() - below
    sums = np.cumsum(counts * middles)
    with np.errstate(invalid="ignore", divide="ignore"):
        gap = sums[:-1] / below - (sums[-1] - sums[:-1]) / above
        between = np.nan_to_num(below * above * gap**2)
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12))
    return float(edges[1:-1][best].mean())  # an empty valley is cut in its middle
