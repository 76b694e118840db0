"""What a selection is made of, beside the rest, and whether one source dominates it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import as_mask
from widgetkit.analysis._columns import codes

if TYPE_CHECKING:
    import pandas as pd

#: Standard normal quantile of a 95 % interval.
_Z95 = 1.959964

#: Share of a selection above which one source is said to dominate it.
DOMINANT = 0.8


def composition(labels: npt.ArrayLike, mask: npt.ArrayLike) -> pd.DataFrame:
    """Counts and shares of every cluster, or class, inside a selection and in the rest.

    ``enrichment`` is ``log2`` of the ratio of the two shares, with a half added to every count
    (so that empty cells have one): ``log2(((a + 1/2) / (n1 + 1)) / ((b + 1/2) / (n2 + 1)))``, with
    ``a`` of ``n1`` inside and ``b`` of ``n2`` outside. ``low`` and ``high`` are its 95 % interval by
    the log-normal approximation of a ratio of shares (Katz et al. 1978),
    ``var(ln) = 1/(a+1/2) - 1/(n1+1) + 1/(b+1/2) - 1/(n2+1)``. It treats tiles as independent,
    which neighbours on a slide are not: read it as a lower bound of the doubt.

    Parameters
    ----------
    labels : (n,) int, or (n,) values of a column
        Clusters (-1 = in none), or classes, slides, ... as text. Missing values are counted
        under ``"(missing)"``.
    mask : (n,) bool

    Returns
    -------
    DataFrame
        One row a label, ascending: ``cluster``, ``inside``, ``outside``, ``share_in``,
        ``share_out`` (NaN where that side is empty), ``enrichment``, ``low``, ``high`` (NaN where
        either side is empty).

    Raises
    ------
    InvalidInput
        The mask is no boolean array of the same length, or a label is a fraction.
    """
    import pandas as pd

    names, index = codes(labels)
    chosen = as_mask(mask, len(index))
    inside = np.bincount(index[chosen], minlength=len(names))
    outside = np.bincount(index[~chosen], minlength=len(names))
    n1, n2 = int(chosen.sum()), int((~chosen).sum())
    enrichment = reach = np.full(len(names), np.nan)
    if n1 and n2:
        a, b = inside + 0.5, outside + 0.5
        ratio = np.log((a / (n1 + 1)) / (b / (n2 + 1)))
        error = np.sqrt(np.maximum(1 / a - 1 / (n1 + 1) + 1 / b - 1 / (n2 + 1), 0))
        enrichment = ratio / np.log(2)
        reach = _Z95 * error / np.log(2)
    return pd.DataFrame(
        {
            "cluster": names,
            "inside": inside,
            "outside": outside,
            "share_in": inside / n1 if n1 else np.full(len(names), np.nan),
            "share_out": outside / n2 if n2 else np.full(len(names), np.nan),
            "enrichment": enrichment,
            "low": enrichment - reach,
            "high": enrichment + reach,
        }
    )


@dataclass(frozen=True)
class Dominance:
    """The most frequent value of a column in a selection.

    Attributes
    ----------
    value : the value; None when nothing is selected
    count, total : rows of the selection that have it, and all rows of the selection
    share, share_out : its share of the selection and of the rest, 0 to 1; NaN of nothing
    warning : what to tell the user; empty when no value dominates
    """

    value: Any
    count: int
    total: int
    share: float
    share_out: float
    warning: str


def dominance(
    values: npt.ArrayLike, mask: npt.ArrayLike, *, what: str = "slide", above: float = DOMINANT
) -> Dominance:
    """Whether a selection comes mostly from one source (slide, patient, scanner).

    Then what sets it apart may be that source and not the tissue. There is a warning when one value
    has more than ``above`` of at least two selected rows, although the rest has others: when there
    is only one source there is nothing to compare. The warning gives the share, never the value,
    which may identify a patient.

    Parameters
    ----------
    values : (n,) a column
        Missing values count as one value, ``"(missing)"``.
    mask : (n,) bool
    what : str
        The field's word for one value.
    above : float
        Share, 0 to 1.
    """
    names, index = codes(values)
    chosen = as_mask(mask, len(index))
    total, rest = int(chosen.sum()), int((~chosen).sum())
    if total == 0:
        return Dominance(None, 0, 0, float("nan"), float("nan"), "")
    counts = np.bincount(index[chosen], minlength=len(names))
    top = int(counts.argmax())
    count = int(counts[top])
    share = count / total
    outside = int((index[~chosen] == top).sum())
    share_out = outside / rest if rest else float("nan")
    warning = ""
    if total > 1 and share > above and len(names) > 1:
        compared = f", and {share_out:.0%} of the rest" if rest else ""
        warning = (
            f"One {what} makes up {share:.0%} of the selection ({count} of {total} tiles)"
            f"{compared}: what sets it apart may be that {what}."
        )
    value = names[top]
    return Dominance(
        value.item() if isinstance(value, np.generic) else value,
        count,
        total,
        share,
        share_out,
        warning,
    )
