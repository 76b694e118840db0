"""Clustering the tiles, and editing the clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from widgetkit.errors import InvalidInput, TooFew
from widgetkit.session import grouping
from widgetkit.session.clustering import Clustering
from widgetkit.session.core import Core
from widgetkit.session.jobs import Job

if TYPE_CHECKING:
    import pandas as pd


class Clusters(Core):
    """The part of :class:`Session` that clusters."""

    def cluster(
        self,
        method: str = "auto",
        k: int | None = None,
        *,
        on: Literal["all", "selection"] = "all",
        seed: int | None = None,
    ) -> Job | None:
        """Cluster the tiles, or only the selected ones, as a job.

        Parameters
        ----------
        method : "auto", "nmf", "kmeans" or "hdbscan"
            auto: NMF where the layer has maps without negative values, else k-means.
        k : int, optional
            Default 8, fewer for few tiles. HDBSCAN finds its own.
        on : "all" or "selection"
            Tiles outside a clustered selection get label -1. Starts from the present
            prototypes when method and k agree. A clustering of all tiles is kept in the
            store and found there again.
        seed : int, optional
            Default: the session's.

        Returns
        -------
        Job or None
            None when the store had it.
        """
        if on not in ("all", "selection"):
            raise InvalidInput(f"on is 'all' or 'selection'; got {on!r}.")
        used = self.seed if seed is None else int(seed)
        layer, selection = self.layer, self.selection
        rows = selection.rows if on == "selection" else None
        n = len(self.store) if rows is None else len(rows)
        if rows is not None and not n:
            raise TooFew("Nothing is selected, so there is nothing to cluster. Select tiles first.")
        chosen = grouping.resolve(self.store, layer, method)
        count = grouping.check_k(k, n)
        arguments = f"{chosen!r}, k={count}, on={on!r}, seed={used}"
        title = f"{count} clusters by {chosen}" + (
            f" of {n} selected tiles" if rows is not None else ""
        )
        code = f"session.cluster({arguments}); session.wait()"

        def done(found: Clustering) -> None:
            if on == "all":
                self._keep(lambda: grouping.keep(self.store, found))
            self._change(title, code, clustering=found)

        if on == "all" and chosen != "hdbscan":
            kept = grouping.stored(self.store, layer, method=chosen, k=count, seed=used)
            if kept is not None:
                self.jobs.cancel("cluster")
                self._change(title, code, clustering=kept)
                return None
        warm = self._need_clustering() if on == "selection" else None
        projection = self.projection if chosen == "hdbscan" else None
        xy = None if projection is None else projection.xy
        self._clustering_selection = rows is not None
        return self.jobs.submit(
            "cluster",
            lambda job: grouping.compute(
                self.store,
                layer,
                method=chosen,
                k=count,
                seed=used,
                job=job,
                rows=rows,
                warm=warm,
                xy=xy,
            ),
            done,
            title=title,
        )

    def rename_cluster(self, i: int, name: str) -> Clustering:
        """Give a cluster another name."""
        edited = self._need_clustering().rename(i, name)
        return self._edit(
            f"Cluster {i}: {edited.names[i]}", f"rename_cluster({int(i)}, {name!r})", edited
        )

    def recolour_cluster(self, i: int, color: int) -> Clustering:
        """Give a cluster another palette index."""
        edited = self._need_clustering().recolour(i, color)
        return self._edit(
            f"Colour of cluster {i}", f"recolour_cluster({int(i)}, {int(color)})", edited
        )

    def merge_clusters(self, indices: Sequence[int]) -> Clustering:
        """Make several clusters one; it takes the lowest index."""
        listed = [int(i) for i in indices]
        edited = self._need_clustering().merge(listed)
        return self._edit(
            f"Merged {len(set(listed))} clusters", f"merge_clusters({listed!r})", edited
        )

    def split_cluster(self, i: int, k: int = 2) -> Clustering:
        """Cut a cluster into ``k`` by k-means on the embeddings of its tiles."""
        from widgetkit import analysis

        clustering = self._need_clustering()
        rows = np.flatnonzero(clustering.mask(clustering.check(i)))
        if isinstance(k, bool) or not 2 <= k <= len(rows):
            raise TooFew(
                f"Cluster {i} has {len(rows)} tiles: it splits into 2 to {len(rows)} parts, not {k!r}."
            )
        embeddings = self.stats[clustering.layer].embeddings[rows]
        model = analysis.KMeans(int(k), random_state=self.seed).fit(embeddings)
        labels, parts = np.unique(np.asarray(model.labels_), return_inverse=True)
        if len(labels) < 2:
            raise TooFew(
                f"The tiles of cluster {i} all have the same activation: it cannot be split."
            )
        centres = np.asarray(model.cluster_centers_, dtype=np.float32)[labels]
        if clustering.method == "nmf":  # factors have unit length and no negative part
            background = clustering.params.get("background")
            centres = np.maximum(centres - (0 if background is None else np.asarray(background)), 0)
            length = np.linalg.norm(centres, axis=1, keepdims=True)
            centres = np.divide(centres, length, out=np.zeros_like(centres), where=length > 0)
        edited = clustering.split(i, parts, centres.astype(np.float32))
        return self._edit(
            f"Split {clustering.names[i]}", f"split_cluster({int(i)}, {int(k)})", edited
        )

    def composition(self) -> pd.DataFrame:
        """Share of each cluster in the selection and in the rest, see ``analysis.composition``.

        Returns
        -------
        DataFrame
            One row a cluster that has tiles: ``cluster`` (its name; ``"none"`` for tiles in
            none), ``number`` (-1 for none), ``color`` (palette index; -1 for none), and what
            ``analysis.composition`` says. No rows while there are no clusters.
        """
        from widgetkit import analysis

        clustering = self.clustering
        if clustering is None:
            clustering = Clustering.make([], 0, method="none", layer=self.layer)
            table = analysis.composition(clustering.labels, [])
        else:
            table = analysis.composition(clustering.labels, self.selection.mask)
        numbers = [int(i) for i in table["cluster"]]
        names = [clustering.names[i] if i >= 0 else "none" for i in numbers]
        table["cluster"] = np.array(names, dtype=object)
        table.insert(1, "number", numbers)
        table.insert(2, "color", [clustering.colors[i] if i >= 0 else -1 for i in numbers])
        return table

    def quality(self) -> dict[str, float]:
        """Figures of how well the clusters are separated, see ``analysis.quality``.

        Empty while there are no clusters.
        """
        from widgetkit import analysis

        clustering = self.clustering
        if clustering is None:
            return {}
        embeddings = self.stats[clustering.layer].embeddings
        return analysis.quality(embeddings, clustering.labels, seed=self.seed)

    def _edit(self, title: str, code: str, edited: Clustering) -> Clustering:
        self._change(title, f"session.{code}", clustering=edited)
        return edited
