"""Sentences about concepts that contradict what the network says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

Mask = npt.NDArray[np.bool_]

#: Concepts seen against the class in fewer tiles of it than this share are no warning.
LEAST_SHARE = 0.1
#: ... nor in fewer tiles than this, where there are more of the class.
LEAST_TILES = 3
#: What counts less than this share of the logit, where it is seen, is no warning.
LEAST_PART = 0.05


def renamed(note: str, names: Mapping[str, str]) -> str:
    """A note about a concept, ``"name: ..."``, or one that quotes concepts, with other names."""
    start, mark, rest = note.partition(": ")
    if mark and start in names:
        return f"{names[start]}: {rest}"
    if all(old == new for old, new in names.items()):
        return note
    quoted = re.compile(
        "|".join(re.escape(repr(name)) for name in sorted(names, key=len, reverse=True))
    )
    by_quote = {repr(old): repr(new) for old, new in names.items()}
    return quoted.sub(lambda found: by_quote[found.group()], note)


def warnings_of(
    names: Sequence[str],
    classes: Sequence[str],
    shown: Mask,
    predicted: npt.NDArray[np.intp],
    present: Mask,
    relevance: npt.NDArray[np.float64] | None,
    logit: npt.NDArray[np.float64] | None,
    chosen: Mask,
) -> list[str]:
    """Concepts that count towards a class which does not show them, the weightiest first.

    Parameters
    ----------
    names : (F,)
    classes : (K,)
    shown : (K, F) bool
    predicted : (n,) int
    present : (n, F) bool
    relevance : (n, F), or None
        Without it concepts that are seen often are named, whatever they count.
    logit : (n,) float, or None
        Of the predicted class.
    chosen : (n,) bool
        Tiles the sentences are about.
    """
    found: list[tuple[float, str]] = []
    somewhere = np.asarray(shown.any(axis=0))
    for k, of in enumerate(classes):
        mine = chosen & (predicted == k)
        tiles = int(mine.sum())
        if not tiles:
            continue
        seen = present[mine]
        counts = seen.sum(axis=0)
        means = least = None
        if relevance is not None and logit is not None:
            means = relevance[mine].sum(axis=0) / np.maximum(counts, 1)
            least = LEAST_PART * (np.abs(logit[mine]) @ seen) / np.maximum(counts, 1)
        for f in map(int, np.flatnonzero(~shown[k] & (counts >= _least(tiles)))):
            counted = 0.0 if means is None else float(means[f])
            if least is not None and counted <= least[f]:
                continue
            why = (
                "though no class shows it"
                if not somewhere[f]
                else f"though {of!r} does not show it"
            )
            where = f"in {counts[f]} of {tiles} tiles predicted {of!r} ({counts[f] / tiles:.0%})"
            said = (
                f"{names[f]!r} is seen {where}, {why}."
                if means is None
                else f"{names[f]!r} counts towards {of!r} {why}: it is seen {where} and adds "
                f"{counted:.2g} to the logit there."
            )
            found.append((float(counts[f]) * (counted if means is not None else 1.0), said))
    return [said for _, said in sorted(found, key=lambda one: -one[0])]


def _least(tiles: int) -> int:
    return max(min(LEAST_TILES, tiles), int(np.ceil(LEAST_SHARE * tiles)))


def case_warnings(
    table: pd.DataFrame,
    predicted: str | None,
    showing: Mapping[str, list[str]],
    consistency: float | None,
) -> list[str]:
    """What of one case contradicts the predicted class.

    Parameters
    ----------
    table : DataFrame
        Of a :class:`ConceptCase`.
    predicted : str or None
    showing : mapping of concept to the classes that show it
    consistency : float or None
    """
    if predicted is None or not showing:
        return []
    said = []
    for row in table[table["contradicts"] & ~table["excluded"]].to_dict("records"):
        others = showing[row["concept"]]
        why = "no class shows it" if not others else f"it goes with {', '.join(map(repr, others))}"
        counted = row["relevance"]
        adds = "" if np.isnan(counted) else f" and adds {counted:+.2g} to its logit"
        said.append(f"{row['concept']!r} is seen{adds}, but {predicted!r} does not show it: {why}.")
    seen = int((~table["excluded"]).sum())
    if not seen:
        said.append(f"No concept is seen that would support {predicted!r}.")
    elif consistency is not None and consistency == 0:
        said.append(f"None of the concepts seen supports {predicted!r}.")
    return said
