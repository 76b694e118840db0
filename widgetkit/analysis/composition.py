"""What a selection is made of, beside the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from widgetkit.analysis._arrays import as_mask
from widgetkit.errors import InvalidInput

if TYPE_CHECKING:
    import pandas as pd

#: Standard normal quantile of a 95 % interval.
_Z95 = 1.959964


def composition(labels: npt.ArrayLike, mask: npt.ArrayLike) -> pd.DataFrame:
    """Counts and shares of every cluster inside a selection and in the rest.

    ``enrichment`` is ``log2`` of the ratio of the two shares, with a half added to every count
    (so that empty cells have one): ``log2(((a + 1/2) / (n1 + 1)) / ((b + 1/2) / (n2 + 1)))``, with
    ``a`` of ``n1`` inside and ``b`` of ``n2`` outside. ``low`` and ``high`` are its 95 % interval by
    the log-normal approximation of a ratio of shares (Katz et al. 1978),
    ``var(ln) = 1/(a+1/2) - 1/(n1+1) + 1/(b+1/2) - 1/(n2+1)``. It treats tiles as independent,
    which neighbours on a slide are not: read it as a lower bound of the doubt.

    Parameters
    ----------
    labels : (n,) int
        -1 = in no cluster.
    mask : (n,) bool

    Returns
    -------
    DataFrame
        One row a label, ascending: ``cluster``, ``inside``, ``outside``, ``share_in``,
        ``share_out`` (NaN where that side is empty), ``enrichment``, ``low``, ``high`` (NaN where
        either side is empty).
    """
    import pandas as pd

    codes = np.asarray(labels)
    if codes.ndim != 1 or (codes.size and codes.dtype.kind not in "iu"):
        raise InvalidInput(
            f"labels must be one whole number a tile; got {codes.dtype} of shape {codes.shape}."
        )
    chosen = as_mask(mask, len(codes))
    names, index = np.unique(codes, return_inverse=True)
    inside = np.bincount(index[chosen], minlength=len(names))
    outside = np.bincount(index[~chosen], minlength=len(names))
    n1, n2 = int(chosen.sum()), int((~chosen).sum())
    if n1 and n2:
        a, b = inside + 0.5, outside + 0.5
        ratio = np.log((a / (n1 + 1)) / (b / (n2 + 1)))
        error = np.sqrt(np.maximum(1 / a - 1 / (n1 + 1) + 1 / b - 1 / (n2 + 1), 0))
        enrichment = ratio / np.log(2)
        reach = _Z95 * error / np.log(2)
    else:
        enrichment = reach = np.full(len(names), np.nan)
    return pd.DataFrame(
        {
            "cluster": names.astype(np.int64),
            "inside": inside,
            "outside": outside,
            "share_in": inside / n1 if n1 else np.full(len(names), np.nan),
            "share_out": outside / n2 if n2 else np.full(len(names), np.nan),
            "enrichment": enrichment,
            "low": enrichment - reach,
            "high": enrichment + reach,
        }
    )
