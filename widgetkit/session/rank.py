"""Which tiles the gallery shows, in which order, and the sentence that says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput, UnknownName, near
from widgetkit.session.clustering import Clustering
from widgetkit.session.conceptmaps import ConceptsNow
from widgetkit.session.layerstats import StatsOfLayers
from widgetkit.session.mapspec import MapSpec, kind_of, layer_of
from widgetkit.session.selection import Selection

if TYPE_CHECKING:
    from widgetkit.store import ActivationStore

Rule = Literal["representative", "score", "quantile", "one_per_slide", "medoid", "random", "first"]
RULES: tuple[str, ...] = get_args(Rule)

_BLOCK = 4096

Rows = npt.NDArray[np.int64]


def ranked(
    store: ActivationStore,
    selection: Selection,
    clustering: Clustering | None,
    spec: MapSpec,
    layer: str,
    stats: StatsOfLayers,
    *,
    rule: str,
    count: int | None,
    seed: int,
    concepts: ConceptsNow | None = None,
) -> tuple[Rows, str]:
    """Order the selected tiles (all when none is selected) by a rule.

    Parameters
    ----------
    layer : str
        The session's. Scores are of the layer that the map is drawn on, or that was clustered.
    stats : StatsOfLayers
    rule : "representative", "score", "quantile", "one_per_slide", "medoid", "random" or "first"
        representative: nearest to the mean embedding of each cluster, one cluster after the
        other in turn. score: how much of the map's target a tile holds. quantile: evenly spread
        over the ranks of the score. one_per_slide: the best score of each slide. medoid: least
        mean distance to all others. random: seeded. first: store order.
    count : int, optional
        At most so many; None means all.

    Returns
    -------
    rows : (m,) int64
    sentence : str
        States the rule, the numbers and the seed; stable.
    """
    if rule not in RULES:
        raise UnknownName(f"There is no rule {rule!r}. {near(rule, RULES)}".rstrip())
    if count is not None and (isinstance(count, bool) or count < 0):
        raise InvalidInput(f"count is a number of tiles from 0, or None; got {count!r}.")
    rows = selection.rows if selection.count else np.arange(selection.n, dtype=np.int64)
    of = "selected tiles" if selection.count else "tiles"
    most = len(rows) if count is None else min(count, len(rows))
    if not len(rows):
        return rows.copy(), "There are no tiles."
    if rule == "first":
        return rows[:most].copy(), f"The first {most} of {len(rows)} {of}, in store order."
    if rule == "random":
        drawn = np.random.default_rng(seed).permutation(rows)[:most]
        return drawn, f"{most} of {len(rows)} {of}, drawn at random (seed {seed})."
    embeddings = stats[layer].embeddings
    if rule == "representative":
        return _representative(rows, of, most, clustering, embeddings)
    score, what = (
        (np.zeros(selection.n), "")
        if rule == "medoid"
        else _score(store, clustering, spec, layer, stats, concepts)
    )
    if rule == "score":
        order = np.lexsort((rows, -score[rows]))
        return rows[order][:most], f"{most} of {len(rows)} {of} with the highest {what}."
    if not most:
        return rows[:0].copy(), "There are no tiles."
    return _by_analysis(store, rows, score, what, embeddings, rule, most)


def _by_analysis(
    store: ActivationStore,
    rows: Rows,
    score: npt.NDArray[np.float64],
    what: str,
    embeddings: npt.NDArray[np.float32],
    rule: str,
    most: int,
) -> tuple[Rows, str]:
    """The rules of ``analysis.representatives``; its "weight" is the score, named in brackets."""
    from widgetkit import analysis

    table = store.tiles
    slide = next((name for name in ("slide", "source") if name in table.columns), None)
    if rule == "one_per_slide" and slide is None:
        raise InvalidInput("The table of tiles names no slide. Use another rule.")
    found = analysis.representatives(
        score,
        rule="one_per_source" if rule == "one_per_slide" else rule,  # type: ignore[arg-type]
        count=most,
        rows=rows,
        embeddings=embeddings if rule == "medoid" else None,
        sources=table[slide].astype(str).to_numpy(dtype=object)
        if rule == "one_per_slide"
        else None,
    )
    note = f" (Weight: {what}.)" if what else ""
    return np.asarray(found.rows, dtype=np.int64), found.sentence + note


def _representative(
    rows: Rows,
    of: str,
    most: int,
    clustering: Clustering | None,
    embeddings: npt.NDArray[np.float32],
) -> tuple[Rows, str]:
    """Nearest to the mean of their group, the groups in turn (largest first)."""
    labels = np.zeros(len(rows), dtype=np.int32) if clustering is None else clustering.labels[rows]
    _, group_of = np.unique(labels, return_inverse=True)
    distance = _from_mean(embeddings, rows, group_of)
    order = np.lexsort((rows, distance, group_of))
    groups = np.split(rows[order], np.cumsum(np.bincount(group_of))[:-1])
    groups.sort(key=lambda g: (-len(g), int(g[0])))
    turn = np.concatenate([np.arange(len(g)) for g in groups])
    group = np.concatenate([np.full(len(g), i) for i, g in enumerate(groups)])
    order = np.lexsort((group, turn))
    chosen = np.concatenate(groups)[order][:most]
    what = "their mean activation" if len(groups) == 1 else "the mean activation of their cluster"
    turns = "" if len(groups) == 1 else f", {len(groups)} clusters in turn"
    return chosen, f"{most} of {len(rows)} {of}, nearest first to {what}{turns}."


def _from_mean(
    embeddings: npt.NDArray[np.float32], rows: Rows, group: npt.NDArray[np.intp]
) -> npt.NDArray[np.float64]:
    """(m,) squared distance of each row's embedding from the mean of its group, block by block."""
    k, sums = int(group.max()) + 1, np.zeros((int(group.max()) + 1, embeddings.shape[1]))
    for at in range(0, len(rows), _BLOCK):
        member = (group[at : at + _BLOCK] == np.arange(k)[:, None]).astype(np.float32)
        sums += member @ embeddings[rows[at : at + _BLOCK]]
    means = (sums / np.bincount(group)[:, None]).astype(np.float32)
    distance = np.empty(len(rows))
    for at in range(0, len(rows), _BLOCK):
        off = embeddings[rows[at : at + _BLOCK]] - means[group[at : at + _BLOCK]]
        distance[at : at + _BLOCK] = np.einsum("mc,mc->m", off, off)
    return distance


def _score(
    store: ActivationStore,
    clustering: Clustering | None,
    spec: MapSpec,
    layer: str,
    stats: StatsOfLayers,
    concepts: ConceptsNow | None,
) -> tuple[npt.NDArray[np.float64], str]:
    """(n,) how much of the target of the map each tile holds, and what that is called."""
    kind = kind_of(spec)
    if kind == "class" and store.outputs is not None:
        outputs = np.asarray(store.outputs, dtype=np.float64)
        names = store.class_names
        if spec.target is None:
            return outputs.max(axis=1), "output for their predicted class"
        if spec.target < outputs.shape[1]:
            label = names[spec.target] if names else f"class {spec.target}"
            return outputs[:, spec.target], f"output for {label}"
        raise InvalidInput(f"There is no class {spec.target}; the model has {outputs.shape[1]}.")
    if kind == "channel" and spec.target is not None:
        means = stats[layer_of(store, spec, layer, clustering)].embeddings
        if spec.target < means.shape[1]:
            channel = means[:, spec.target].astype(np.float64)
            return channel, f"mean activation of channel {spec.target}"
    if kind == "concept" and spec.target is not None and concepts is not None:
        on = layer_of(store, spec, layer, clustering)
        target = concepts.target(spec.target, on)
        if target.direction is not None:
            along = stats[on].embeddings.astype(np.float64) @ target.direction
            return along, f"place along the direction of {target.name}"
    if clustering is None:
        raise InvalidInput(
            "There is no clustering yet to score tiles by. Call session.wait() first."
        )
    own = spec.target if kind == "cluster" else None
    if own is not None:
        clustering.check(own)
    if clustering.weights is not None:
        weights = clustering.weights.astype(np.float64)
        if own is None:
            return weights.max(axis=1, initial=0.0), "weight in their own cluster"
        return weights[:, own], f"weight in {clustering.names[own]}"
    if clustering.prototypes is None:
        raise InvalidInput(
            f"The clustering {clustering.name!r} has neither weights nor prototypes to score tiles by. "
            "Use another rule."
        )
    return _closeness(clustering, stats[clustering.layer].embeddings, own)


def _closeness(
    clustering: Clustering, embeddings: npt.NDArray[np.float32], target: int | None
) -> tuple[npt.NDArray[np.float64], str]:
    prototypes = clustering.prototypes
    assert prototypes is not None
    score = np.full(clustering.n, -np.inf)
    wanted = range(clustering.k) if target is None else (target,)
    for i in wanted:
        at = np.flatnonzero(clustering.labels == i) if target is None else np.arange(clustering.n)
        score[at] = -np.linalg.norm(embeddings[at].astype(np.float64) - prototypes[i], axis=1)
    name = "their own cluster" if target is None else clustering.names[target]
    return score, f"closeness to the centre of {name}"
