"""Clustering the tiles, and editing the clusters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from widgetkit.errors import InvalidInput, TooFew
from widgetkit.session import grouping
from widgetkit.session.clustering import Clustering
from widgetkit.session.core import Core
from widgetkit.session.jobs import Job
from widgetkit.session.mapspec import kind_of

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
        method : "auto", "deep", "nmf", "kmeans" or "hdbscan"
            deep: the one that the store keeps, see ``DeepClustering.to_store``; it is never made
            here. auto: that one, where there is one with k clusters; else NMF where the layer has
            maps without negative values, else k-means.
        k : int, optional
            Default 8, fewer for few tiles; for deep that of the newest. HDBSCAN finds its own.
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
        if on == "all" and method in ("auto", grouping.DEEP):
            made = grouping.deep(self.store, k)
            if made is not None:
                self.jobs.cancel("cluster")
                self._change(
                    f"{made.k} deep clusters",
                    f"session.cluster({grouping.DEEP!r}, k={made.k})",
                    clustering=made,
                )
                return None
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
        return self._edit(
            lambda old: old.rename(i, name),
            f"rename_cluster({i!r}, {name!r})",
            f"Named cluster {i}",
        )

    def recolour_cluster(self, i: int, color: int) -> Clustering:
        """Give a cluster another palette index."""
        return self._edit(
            lambda old: old.recolour(i, color),
            f"recolour_cluster({i!r}, {color!r})",
            f"Coloured cluster {i}",
        )

    def hide_cluster(self, i: int, hidden: bool = True) -> Clustering:
        """Draw a cluster as background, or draw it again; no tile changes its cluster."""
        return self._edit(
            lambda old: old.hide(i, hidden),
            f"hide_cluster({i!r}, {bool(hidden)!r})",
            f"{'Hid' if hidden else 'Showed'} cluster {i}",
        )

    def merge_clusters(self, indices: Sequence[int]) -> Clustering:
        """Make several clusters one; it takes the lowest index, the others close ranks."""
        listed = sorted({int(i) for i in indices})
        return self._edit(
            lambda old: old.merge(listed),
            f"merge_clusters({listed!r})",
            f"Merged {len(listed)} clusters",
            stays=lambda i: i < listed[1],
        )

    def split_cluster(self, i: int, k: int = 2) -> Clustering:
        """Cut a cluster into ``k`` by k-means on the embeddings of its tiles.

        The largest-numbered parts come after all other clusters. Parts of an NMF factor are
        factors again: the mean activation of each part, at unit length.
        """
        return self._edit(
            lambda old: grouping.split(old, i, k, self.stats[old.layer].embeddings, seed=self.seed),
            f"split_cluster({i!r}, {k!r})",
            f"Split cluster {i}",
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

    def _edit(
        self,
        edit: Callable[[Clustering], Clustering],
        code: str,
        title: str,
        *,
        stays: Callable[[int], bool] = lambda i: True,
    ) -> Clustering:
        """``stays`` says whether a number means the same cluster afterwards: the map keeps no other."""
        with self._changing():
            edited = edit(self._need_clustering())
            spec = self.map_spec
            if kind_of(spec) == "cluster":
                target, against = (
                    i if i is not None and stays(i) else None for i in (spec.target, spec.against)
                )
                spec = replace(spec, target=target, against=against)
            self._change(title, f"session.{code}", clustering=edited, map_spec=spec)
        return edited
