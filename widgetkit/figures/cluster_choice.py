"""The number of clusters on paper: inertia, silhouette, gap and stability side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from widgetkit._version import __version__
from widgetkit.errors import InvalidInput
from widgetkit.figures.compose import _page
from widgetkit.figures.spec import FigureSpec
from widgetkit.palette import colour

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from widgetkit.analysis import ClusterChoice
    from widgetkit.session import Session

OURS, OTHER, QUIET = colour(0), colour(1), "#8A8A8A"
#: Measure, what its axis is called, and the number that it names.
PANELS = (
    ("inertia", "inertia (1 = one cluster)", "elbow"),
    ("silhouette", "silhouette", "silhouette"),
    ("gap", "gap", "gap"),
    ("stability", "stability (Rand index)", None),
)


def cluster_choice(what: ClusterChoice | Session, spec: FigureSpec | None = None) -> Figure:
    """Four measures by number of clusters; filled: what a measure names, line: the recommendation.

    Parameters
    ----------
    what : ClusterChoice or Session
        Of a session the choice of its layer.
    spec : FigureSpec, optional

    Raises
    ------
    InvalidInput
        The session has none yet; says how.
    """
    found = choice_of(what)
    spec = spec or FigureSpec(width_mm=120)

    def draw(page: Figure) -> None:
        each = page.subplots(2, 2, sharex=True)
        table = found.table
        ks = table["k"].to_numpy()
        for axes, (column, label, names) in zip(each.flat, PANELS, strict=True):
            values = values_of(found, column)
            axes.plot(ks, values, color=OURS, lw=1, marker="o", ms=3, mfc="white")
            if column == "inertia":
                axes.plot(ks[[0, -1]], values[[0, -1]], color=QUIET, lw=0.6, ls=":")
            if column == "gap":
                axes.errorbar(ks, values, table["gap_s"], color=OURS, lw=0, elinewidth=0.8)
            if column == "stability":
                axes.plot(
                    ks,
                    table["stability_least"],
                    color=OTHER,
                    marker="_",
                    ls="",
                    ms=5,
                    label="lowest",
                )
                axes.legend(frameon=False, handletextpad=0.1)
                axes.set_ylim(min(-0.02, float(np.nanmin(table["stability_least"]))), 1.04)
            at = None if names is None else getattr(found, names)
            if at is not None:
                axes.plot(at, values[ks == at], "o", color=OURS, ms=5)
            axes.axvline(found.recommended, color=QUIET, lw=0.8, ls="--")
            axes.set_ylabel(label)
            axes.set_xticks(ks)
        for axes in each[1]:
            axes.set_xlabel("clusters")

    return _page(spec.with_height(0.72 * spec.width_mm), draw)


def cluster_choice_caption(what: ClusterChoice | Session) -> str:
    """What :func:`cluster_choice` shows and says, as plain sentences."""
    found = choice_of(what)
    return " ".join(
        [
            "Measures of k-means by number of clusters: inertia with its chord (dotted), mean "
            "silhouette, gap statistic with its error, adjusted Rand index under the bootstrap (mean, "
            "lowest). Filled: the number that a measure names; dashed: the recommendation.",
            found.explain().replace("\n- ", " "),
            f"{found.rows:,} rows, seed {found.seed}; widgetkit {__version__}.",
        ]
    )


def choice_of(what: ClusterChoice | Session) -> ClusterChoice:
    """A choice, or that of a session's layer."""
    from widgetkit.analysis import ClusterChoice

    if isinstance(what, ClusterChoice):
        return what
    found: Any = what.cluster_choice
    if found is None:
        raise InvalidInput(
            "Numbers of clusters were not compared yet: session.choose_clusters(), then session.wait()."
        )
    assert isinstance(found, ClusterChoice)
    return found


def values_of(found: ClusterChoice, column: str) -> np.ndarray:
    """A measure by number of clusters; inertia as a share of that of the first number."""
    values: np.ndarray = found.table[column].to_numpy(float)
    return values / values[0] if column == "inertia" and values[0] > 0 else values
