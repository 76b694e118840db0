"""p-values of many questions."""

from __future__ import annotations

from typing import Literal

import numpy as np

from widgetkit.analysis._arrays import choice
from widgetkit.concepts._labels import Array

Correction = Literal["bh", "holm", "bonferroni", "none"]
CORRECTIONS = ("bh", "holm", "bonferroni", "none")


def corrected(p: Array, how: Correction = "bh") -> Array:
    """p-values corrected for their number; NaN stay NaN and do not count.

    Parameters
    ----------
    p : any shape
    how : "bh", "holm", "bonferroni" or "none"
        Share of false discoveries (Benjamini & Hochberg 1995), or chance of any (Holm 1979; Bonferroni).
    """
    rule = choice(how, CORRECTIONS, "correction")
    found = np.full(p.shape, np.nan)
    known = np.isfinite(p)
    values = p[known]
    n = len(values)
    if not n:
        return found
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    if rule == "bh":
        steps = np.minimum.accumulate((ranked * n / np.arange(1, n + 1))[::-1])[::-1]
    elif rule == "holm":
        steps = np.maximum.accumulate(ranked * np.arange(n, 0, -1))
    else:
        steps = ranked * (n if rule == "bonferroni" else 1)
    back = np.empty(n)
    back[order] = np.minimum(steps, 1.0)
    found[known] = back
    return found
