"""How many clusters the embeddings of a layer have: methods of the session, kept in the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from widgetkit import analysis
from widgetkit.analysis.choice_of_clusters import USUAL
from widgetkit.factors.kept_tables import keep_table, kept_table

if TYPE_CHECKING:
    from widgetkit.analysis import ClusterChoice
    from widgetkit.session.jobs import Job
    from widgetkit.session.session import Session
    from widgetkit.store import ActivationStore

_WHAT = "number of clusters"
#: Attributes of a choice beside its table, all plain.
_PLAIN = ("recommended", "elbow", "silhouette", "gap", "rows", "seed")


def choose_clusters(
    self: Session,
    ks: Sequence[int] | None = None,
    *,
    gap_references: int = 10,
    boots: int = 10,
) -> Job:
    """Compare numbers of clusters for k-means on the layer's embeddings, as a job.

    The answer is ``cluster_choice`` and event ``"cluster choice"``; it is kept in the store.

    Parameters
    ----------
    ks : sequence of int, optional
        Default: 2 to 8.
    gap_references, boots : int
        As in :func:`widgetkit.analysis.choose_clusters`.
    """
    store, layer, seed = self.store, self.layer, self.seed
    numbers = [int(k) for k in (USUAL if ks is None else ks)]
    params = {"ks": numbers, "gap_references": int(gap_references), "boots": int(boots)}
    params["seed"] = seed
    embeddings = self.stats[layer].embeddings

    def work(job: Job) -> ClusterChoice:
        found = _kept(store, layer, params)
        if found is not None:
            return found
        return analysis.choose_clusters(
            embeddings,
            numbers,
            seed=seed,
            gap_references=gap_references,
            boots=boots,
            progress=job.progress,
            cancel=lambda: job.cancelled,
        )

    def done(found: ClusterChoice) -> None:
        self._keep(lambda: _keep(store, layer, params, found))
        _choices(self)[layer] = found
        if self.layer == layer:
            self.events.emit("cluster choice", found)

    return self.jobs.submit("cluster choice", work, done, title="Number of clusters")


def cluster_choice(self: Session) -> ClusterChoice | None:
    """What :meth:`choose_clusters` found for the layer, in this session or one before; else None."""
    choices, layer = _choices(self), self.layer
    if layer not in choices:
        choices[layer] = _kept(self.store, layer, None)
    return choices[layer]


def _choices(session: Session) -> dict[str, ClusterChoice | None]:
    found: dict[str, ClusterChoice | None] = session.__dict__.setdefault("_cluster_choices", {})
    return found


def _keep(store: ActivationStore, layer: str, params: dict[str, Any], found: ClusterChoice) -> None:
    table = found.table.copy()
    table.attrs.update({name: getattr(found, name) for name in _PLAIN})
    table.attrs["reasons"] = list(found.reasons)
    keep_table(store, layer, _WHAT, table, params=params, seed=found.seed)


def _kept(
    store: ActivationStore, layer: str, params: dict[str, Any] | None
) -> ClusterChoice | None:
    table = kept_table(store, layer, _WHAT, params=params)
    if table is None or not {*_PLAIN, "reasons"} <= set(table.attrs):
        return None
    plain = {name: table.attrs.pop(name) for name in _PLAIN}
    reasons = tuple(map(str, table.attrs.pop("reasons")))
    return analysis.ClusterChoice(table=table, reasons=reasons, **plain)
