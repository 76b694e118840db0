"""An atlas of the clusters: a row each, its representative tiles with its map over them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from widgetkit.errors import InvalidInput
from widgetkit.figures import tiles
from widgetkit.figures.compose import (
    BAR_GAP_MM,
    BAR_MM,
    PT_MM,
    _area,
    _bar_room,
    _mpp,
    _page,
    _wrapped,
)
from widgetkit.figures.spec import FigureSpec
from widgetkit.figures.tiles import EDGE_MM, GAP_MM, PAIR_MM, Area
from widgetkit.palette import colour

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from widgetkit.session import MapResult, Session
    from widgetkit.session.clustering import Clustering

Rule = Literal["highest", "one_per_source", "quantile", "medoid", "random"]
#: Room for the names of clusters, millimetres.
NAME_MM = 22.0
#: The scale ends where this share of all positions has its weight: single hot ones would darken
#: everything else.
QUANTILE = 0.99


def atlas(
    session: Session,
    spec: FigureSpec | None = None,
    *,
    per_cluster: int = 5,
    rule: Rule = "one_per_source",
    seed: int = 0,
    opacity: float = 0.65,
) -> Figure:
    """Every cluster that is not hidden: tiles that stand for it, each beside its map of the cluster.

    All maps share one scale. Tiles are chosen by weight (factors) or nearness to the centre
    (k-means).

    Parameters
    ----------
    session : Session
    spec : FigureSpec, optional
    per_cluster : int
        Tiles a row.
    rule : "highest", "one_per_source", "quantile", "medoid" or "random"
        See :func:`widgetkit.analysis.representatives`; :func:`atlas_sentence` puts it into words.
    seed : int
        Of "random".
    opacity : float
        Of the maps, 0..1.

    Raises
    ------
    InvalidInput
        There are no clusters, or the layer has no maps.
    """
    spec = spec or FigureSpec()
    if not 1 <= per_cluster <= 40:
        raise InvalidInput(f"per_cluster={per_cluster}; an atlas shows 1 to 40 tiles a cluster.")
    clustering = session.clustering
    if clustering is None or clustering.prototypes is None:
        raise InvalidInput(
            "An atlas shows clusters with prototypes. Cluster first: session.cluster('nmf')."
        )
    chosen = [
        (i, rows)
        for i, rows, _ in _chosen(session, clustering, per_cluster, rule, seed)
        if i not in clustering.hidden
    ]
    across = 2 if session.store.has_images else 1
    room = spec.width_mm - 2 * EDGE_MM - NAME_MM - _room(spec) - (per_cluster - 1) * GAP_MM
    cell = (room - per_cluster * (across - 1) * PAIR_MM) / (per_cluster * across)
    if cell < 2:
        raise InvalidInput(
            f"{per_cluster} tiles a cluster leave {max(cell, 0):.1f} mm for each on a page of "
            f"{spec.width_mm:g} mm. Use fewer, or a wider page."
        )
    needed = max(1, len(chosen)) * (cell + GAP_MM) - GAP_MM + 2 * EDGE_MM
    spec = spec.with_height(needed)
    if spec.height_mm is not None and spec.height_mm < needed:
        cell *= (spec.height_mm - 2 * EDGE_MM) / (needed - 2 * EDGE_MM)
    return _page(
        spec,
        lambda page: _draw(_area(page, spec), session, chosen, cell, across, opacity, spec),
        placed=True,
    )


def _room(spec: FigureSpec) -> float:
    """Millimetres for the colour bar: its numbers have two decimals here."""
    return _bar_room(spec) + spec.font_pt * PT_MM


def atlas_sentence(
    session: Session, *, per_cluster: int = 5, rule: Rule = "one_per_source", seed: int = 0
) -> str:
    """How the tiles of :func:`atlas` were chosen."""
    clustering = session.clustering
    if clustering is None:
        return "There are no clusters."
    said = {s for _, _, s in _chosen(session, clustering, per_cluster, rule, seed)}
    return " ".join(sorted(said)[:1])


def _chosen(
    session: Session, clustering: Clustering, count: int, rule: Rule, seed: int
) -> list[tuple[int, np.ndarray, str]]:
    from widgetkit import analysis

    table = session.store.tiles
    source = table["slide" if "slide" in table else "source"].to_numpy()
    embeddings = session.stats[clustering.layer].embeddings
    found = []
    for i in range(clustering.k):
        members = clustering.mask(i)
        if clustering.weights is not None:
            scores = clustering.weights[:, i]
        else:
            assert clustering.prototypes is not None
            scores = -np.linalg.norm(embeddings - clustering.prototypes[i], axis=1)
        if not members.any():
            found.append((i, np.empty(0, np.int64), ""))
            continue
        picked = analysis.representatives(
            scores,
            rule=rule,
            count=count,
            rows=members,
            embeddings=embeddings,
            sources=source,
            seed=seed,
        )
        rows = np.asarray(picked.rows, np.int64)
        if rule == "one_per_source" and len(rows) < count:  # few slides: the next best fill up
            rest = members.copy()
            rest[rows] = False
            more = analysis.representatives(
                scores, rule="highest", count=count - len(rows), rows=rest
            )
            rows = np.concatenate([rows, np.asarray(more.rows, np.int64)])
            said = "Tiles of each cluster: the highest weight of each slide, then the next highest."
        else:
            said = f"Tiles of each cluster: {_RULES[rule]}"
        found.append((i, rows, said))
    return found


_RULES = {
    "highest": "those with the highest weight.",
    "one_per_source": "the highest weight of each slide.",
    "quantile": "evenly spread over the ranks of the weight.",
    "medoid": "those with the least mean distance to the others.",
    "random": "drawn at random.",
}


def _draw(
    area: Area,
    session: Session,
    chosen: list[tuple[int, np.ndarray]],
    cell: float,
    across: int,
    opacity: float,
    spec: FigureSpec,
) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    from widgetkit.session import MapSpec

    clustering = session.clustering
    assert clustering is not None
    if not chosen:
        area.say("all clusters are hidden")
        return
    results: dict[int, MapResult] = {
        i: session.maps(rows, MapSpec("cluster", i, layer=clustering.layer))
        for i, rows in chosen
        if len(rows)
    }
    values = [np.abs(r.values).ravel() for r in results.values()]
    top = float(np.quantile(np.concatenate(values), QUANTILE)) if values else 1.0
    signed = any(r.signed for r in results.values())
    norm = Normalize(-top if signed else 0.0, top or 1.0, clip=True)
    line_mm = spec.font_pt * PT_MM
    for row, (i, rows) in enumerate(chosen):
        y = EDGE_MM + row * (cell + GAP_MM)
        swatch = area.axes(EDGE_MM, y, 1.6, cell)
        swatch.set_facecolor(colour(clustering.colors[i]))
        tiles.frame(swatch)
        words = f"{clustering.names[i]}\n{int(clustering.sizes[i]):,} tiles"
        area.page.text(
            (EDGE_MM + 2.8) / area.width_mm,
            1 - (y + cell / 2) / area.height_mm,
            "\n".join(_wrapped(part, NAME_MM, line_mm) for part in words.split("\n")),
            va="center",
            ha="left",
        )
        images = session.store.images(rows) if across == 2 and len(rows) else None
        for at in range(len(rows)):
            left = EDGE_MM + NAME_MM + at * (across * cell + (across - 1) * PAIR_MM + GAP_MM)
            image: Any = None
            if images is not None:
                image = images[at]
                axes = area.axes(left, y, cell, cell)
                tiles.show_tile(axes, image)
                if row == at == 0:
                    tiles.scale_bar(axes, image, _mpp(session, int(rows[0])))
                left += cell + PAIR_MM
            axes = area.axes(left, y, cell, cell)
            tiles.overlay(axes, image, results[i].values[at], norm, signed=signed, opacity=opacity)
    height = min(len(chosen) * (cell + GAP_MM) - GAP_MM, 60.0)
    bar = area.axes(area.width_mm - EDGE_MM - _room(spec) + BAR_GAP_MM, EDGE_MM, BAR_MM, height)
    name = tiles.SIGNED if signed else tiles.UNSIGNED
    drawn = area.page.colorbar(
        ScalarMappable(norm, name), cax=bar, label="weight of the cluster", extend="max"
    )
    drawn.outline.set_visible(False)
