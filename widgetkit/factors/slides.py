"""Whether a factor is a tissue or a slide: how much of it is explained by where a tile is from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from widgetkit.factors.groups import groups_of

if TYPE_CHECKING:
    from widgetkit.factors.factors import Factors

#: From here on a factor is called a matter of the slide: more of its variance lies between slides
#: than within them.
WARN_FROM = 0.5


def slide_share(factors: Factors, by: str = "slide") -> pd.DataFrame:
    """Share of each factor's variance that the slide (patient, scanner, ...) explains.

    Of the mean weight of every tile. The warning does not say that the factor is an artefact: one
    slide may hold a tissue that others lack. It says that the data cannot tell.

    Parameters
    ----------
    factors : Factors
    by : str
        Column of the store's table; ``slide`` falls back to ``source``.

    Returns
    -------
    DataFrame
        ``factor`` (0-based), ``share`` (eta squared), ``adjusted`` (what chance would give taken
        off), what else :func:`widgetkit.analysis.group_share` tells, and ``warning``: text (in words the
        first factor is "factor 1", as everywhere), empty
        where less than half is explained. ``attrs["warning"]`` is one sentence about all.

    Raises
    ------
    UnknownName
        No such column.
    """
    from widgetkit import analysis

    groups = groups_of(factors.store, by)
    found = analysis.group_share(factors.pooled.mean, groups.codes)
    table = pd.DataFrame(found).reset_index(drop=True)
    if "factor" not in table.columns:
        table.insert(0, "factor", range(factors.k))
    remedy = "" if factors.scales is not None else "; try normalise='slide'"
    table["warning"] = [
        f"{share:.0%} of the variance of factor {int(i) + 1} lies between {groups.column}s: it may be "
        f"the stain or the scanner, not the tissue{remedy}."
        if share >= WARN_FROM
        else ""
        for i, share in zip(table["factor"], table["adjusted"], strict=True)
    ]
    if len(set(groups.codes.tolist())) < 2:
        table.attrs["warning"] = (
            f"All tiles are of one {groups.column}: whether factors follow it cannot be told."
        )
        return table
    count = int((table["warning"] != "").sum())
    table.attrs["warning"] = (
        f"{count} of {factors.k} factors follow the {groups.column} more than what is within it"
        f"{remedy}."
        if count
        else ""
    )
    return table
