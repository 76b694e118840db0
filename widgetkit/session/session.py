"""The session: the one thing that changes, asked by code and views alike."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from widgetkit import explain
from widgetkit.errors import InvalidInput, NeedsModel
from widgetkit.factors import kept_maps
from widgetkit.session import clusterchoice, clustermaps, exporting, keptmaps, maps, rank, state
from widgetkit.session.clusters import Clusters
from widgetkit.session.core import check_layer
from widgetkit.session.jobs import Job
from widgetkit.session.maps import MapResult
from widgetkit.session.mapspec import Kind, MapSpec, kind_of, layer_of
from widgetkit.session.maptargets import groups_of, need_concepts
from widgetkit.session.reading_concepts import ReadingConcepts
from widgetkit.session.summary import Summary, summarise


class Session(ReadingConcepts, Clusters):
    """Selection, history, clustering, maps and jobs over one store.

    Everything it holds is an immutable value; every change goes through a method, tells the
    observers and, where it can be undone, becomes a step of :attr:`history`. Jobs run beside
    the kernel when an event loop runs (a notebook) and inline when none does (a script), so
    that scripts are deterministic.

    Parameters
    ----------
    store : ActivationStore
    model : Model, optional
        What map methods that run the network need, such as
        ``widgetkit.extraction.ModelContext``.
    layer : str, optional
        Default: ``store.default_layer``.
    seed : int
        Of everything random that the session starts.
    """

    export_slide_png = exporting.export_slide_png
    export_slide_ome_tiff = exporting.export_slide_ome_tiff
    export_contours = exporting.export_contours
    export_selection = exporting.export_selection
    export_factor_table = exporting.export_factor_table
    choose_clusters = clusterchoice.choose_clusters
    cluster_choice = property(clusterchoice.cluster_choice)
    cluster_maps = clustermaps.cluster_maps
    request_cluster_maps = clustermaps.request_cluster_maps
    export_association = exporting.export_association

    def set_map(
        self,
        method: str | MapSpec = "cluster",
        target: int | None = None,
        *,
        against: int | None = None,
        layer: str | None = None,
        of: Kind | None = None,
    ) -> MapSpec:
        """Choose the map method and its target; see :class:`MapSpec`.

        Parameters
        ----------
        method : str or MapSpec
        target : int, optional
            Cluster, class, channel or concept; None: what suits each tile.
        against : int, optional
            Another cluster: what speaks for the target rather than for this one (CLAM).
        layer : str, optional
            To draw on; see :meth:`map_layer`.
        of : str, optional
            What the target is, where the method takes several kinds.

        Raises
        ------
        UnknownName, UnknownLayer, InvalidInput
            No such method, layer, target, cluster or concept; or the method does not take it.
        """
        spec = (
            method if isinstance(method, MapSpec) else MapSpec(method, target, layer, of, against)
        )
        kind = kind_of(spec)  # an unknown method, or a target it does not take
        if kind == "concept" and spec.target is not None:
            need_concepts(self._concepts_now()).check(spec.target)
        if spec.layer is not None:
            check_layer(self.store, spec.layer)
        if kind == "cluster":
            for cluster in (spec.target, spec.against):
                if cluster is not None:
                    self._need_clustering().check(cluster)
        given = {"against": spec.against, "layer": spec.layer, "of": spec.of}
        extra = "".join(f", {k}={v!r}" for k, v in given.items() if v is not None)
        of_what = "" if spec.target is None else f" {kind} {spec.target}"
        of_what += "" if spec.against is None else f" against {spec.against}"
        self._change(
            f"Map: {spec.method}{of_what}",
            f"session.set_map({spec.method!r}, {spec.target!r}{extra})",
            map_spec=spec,
        )
        return spec

    def set_focus(self, row: int | None) -> None:
        """The tile that views show large; not a step of history."""
        at = None if row is None else int(maps.check_rows([row], len(self.store))[0])
        with self._changing():
            self._focus = at
        self.events.emit("focus", at)

    def maps(self, rows: npt.ArrayLike, spec: MapSpec | None = None) -> MapResult:
        """Maps of some tiles, computed now; see :class:`MapResult`."""
        question = self._question(rows, spec)
        if kind_of(question.spec) == "cluster" and question.clustering is None:
            self._need_clustering()
            question = self._question(rows, spec)
        return maps.compute(question)

    def maps_at_once(self, spec: MapSpec | None = None) -> bool:
        """Whether maps of a spec can be had without running a network.

        From stored activations (``spec.live``), or, in a session without the network, from maps
        that the store keeps (:meth:`keep_maps`).
        """
        wanted = self.map_spec if spec is None else spec
        clustering = self.clustering
        layer = layer_of(self.store, wanted, self.layer, clustering)
        method = explain.get(wanted.method)
        return wanted.live or keptmaps.instead(
            self.store, self.model, method, layer, clustering, self._concepts_now()
        )

    def keep_maps(
        self,
        method: str | MapSpec | None = None,
        target: int | None = None,
        *,
        against: int | None = None,
        layer: str | None = None,
        rows: npt.ArrayLike | None = None,
        count: int | None = None,
    ) -> Job:
        """Compute maps that run the network and keep them in the store, as a job.

        Sessions without the network then show them. Maps that are kept already are not computed
        again, and those that were computed before the job was cancelled stay.

        Parameters
        ----------
        method : str or MapSpec, optional
            Default: the session's map. Of the method's default settings.
        target : int, optional
            None: for each tile that of its own cluster, of its predicted class, or of its own concept.
        against, layer
            As in :meth:`set_map`.
        rows : (m,) int, optional
            Default: the selected tiles, or all while nothing is selected.
        count : int, optional
            At most so many of those, nearest first to the mean of their cluster, as the map viewer
            shows them.

        Raises
        ------
        InvalidInput
            The method needs no network, and so nothing to be kept.
        NeedsModel
            This session has no network.
        UnknownName, NeedsActivations
            What is asked cannot be drawn.
        """
        if method is None:
            spec = self.map_spec
        elif isinstance(method, MapSpec):
            spec = method
        else:
            spec = MapSpec(method, target, layer, against=against)
        chosen = explain.get(spec.method)
        if spec.live:
            raise InvalidInput(
                f"{chosen.title} is drawn from the stored activations: there is nothing to keep."
            )
        if self.model is None:
            raise NeedsModel(
                f"{chosen.title} runs the network, and this session has none to make the maps with. "
                "Pass it: wk.Session(store, model), wk.explore(store, model=...)."
            )
        if kind_of(spec) == "cluster":
            self._need_clustering()
        wanted = self.ranked("representative", count)[0] if rows is None else rows
        question = self._question(wanted, spec)
        groups, of = groups_of(question, chosen)
        todo = sum(len(at) for _, at in groups)

        def work(job: Job) -> int:
            done = 0
            for (part,), at in groups:
                assert isinstance(part.target, kept_maps.Of)
                before = done
                kept_maps.maps_of(
                    question.store,
                    chosen.name,
                    part.target,
                    question.rows[at],
                    layer=question.layer,
                    model=question.model,
                    progress=lambda i, n: job.progress(before + i, todo),  # noqa: B023
                    cancel=lambda: job.cancelled,
                )
                done += len(at)
            job.progress(todo, todo)
            return todo

        return self.jobs.submit(
            "keep maps", work, title=f"Keeping {of} ({len(question.rows):,} tiles)"
        )

    def request_maps(
        self,
        rows: npt.ArrayLike,
        spec: MapSpec | None = None,
        on_result: Callable[[MapResult], object] | None = None,
        *,
        key: str = "maps",
    ) -> Job | None:
        """Ask for maps without waiting; a newer request of the same ``key`` replaces an older.

        ``on_result`` is called once for a live method, at once; for others several times, with
        ``status`` "coarse" and then "final". Without it, and beside it, event ``"maps"`` tells.

        Returns
        -------
        Job or None
            None when the answer was given at once.
        """
        question = self._question(rows, spec)

        def deliver(result: MapResult) -> None:
            if on_result is not None:
                on_result(result)
            self.events.emit("maps", result)

        method = explain.get(question.spec.method)
        if question.clustering is None and kind_of(question.spec) == "cluster":
            if self.jobs.active:
                deliver(maps.waiting(question))
                return None
            self._need_clustering()
        if maps.at_once(question):
            self.jobs.cancel(key)
            deliver(maps.compute(question))
            return None
        maps.check(question)
        return self.jobs.submit(
            key,
            lambda job: maps.compute(question, job=job, show=job.emit),
            deliver,
            title=method.title,
        )

    def ranked(
        self, rule: str = "representative", count: int | None = None, seed: int | None = None
    ) -> tuple[npt.NDArray[np.int64], str]:
        """Selected tiles (all when none is) in an order, and the sentence that states it."""
        return rank.ranked(
            self.store,
            self.selection,
            self.clustering,
            self.map_spec,
            self.layer,
            self.stats,
            rule=rule,
            count=count,
            seed=self.seed if seed is None else seed,
            concepts=self._concepts_now(),
        )

    def summary(self) -> Summary:
        """What is selected: numbers, classes, warnings, trust."""
        projection = self.projection
        return summarise(
            self.store.tiles, self.selection, None if projection is None else projection.trust
        )

    def state(self) -> str:
        """Selection, kept selections, clustering, layer, map, focus and concepts as JSON."""
        now = self._now
        return state.dumps(
            state.State(
                now.layer,
                now.selection,
                now.map_spec,
                self._named,
                self._focus,
                now.clustering,
                now.concepts,
            ),
            self.store.id,
        )

    def restore(self, text: str) -> None:
        """Take over a state that was saved on the same store; a step that can be undone.

        Raises
        ------
        StoreMismatch
            It was saved on another store.
        InvalidInput
            It is damaged. Nothing was changed.
        """
        found = state.loads(text, self.store)
        self.jobs.cancel("cluster")
        with self._changing():
            self._named = dict(found.named)
            self._focus = found.focus
        self._change(
            "Restored a saved state",
            f"session.restore({text!r})",
            selection=found.selection,
            clustering=found.clustering,
            layer=found.layer,
            map_spec=found.map_spec,
            concepts=found.concepts,
        )
        self.events.emit("named", self.named)
        self.events.emit("focus", self._focus)

    def __repr__(self) -> str:
        return f"<Session: {len(self.store)} tiles, layer {self.layer}, {self.selection.count} selected>"
