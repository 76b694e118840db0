"""What the session is made of: one undoable value, and how it changes."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from widgetkit.errors import InvalidInput, StoreError, UnknownLayer, near
from widgetkit.session import grouping, maps, mapspec, projecting
from widgetkit.session.clustering import Clustering
from widgetkit.session.conceptmaps import ConceptsNow, ConceptTargets
from widgetkit.session.events import Callback, ErrorReport, EventName, Events, Unsubscribe
from widgetkit.session.history import History
from widgetkit.session.jobs import Job, Jobs, on_worker_thread
from widgetkit.session.layerstats import StatsOfLayers
from widgetkit.session.maps import Question
from widgetkit.session.mapspec import MapSpec
from widgetkit.session.selection import Selection

if TYPE_CHECKING:
    from widgetkit.analysis import Projection
    from widgetkit.concepts import ConceptSet
    from widgetkit.explain import Model
    from widgetkit.session.projecting import Projected
    from widgetkit.store import ActivationStore


@dataclass(frozen=True)
class Undoable:
    """The part of a session that undo brings back. ``clustering`` None: the layer's default."""

    selection: Selection
    clustering: Clustering | None
    layer: str
    map_spec: MapSpec
    concepts: ConceptSet | None = None


class Core:
    """State, history, events and jobs; the default projection and clustering of each layer."""

    def __init__(
        self,
        store: ActivationStore,
        model: Model | None = None,
        *,
        layer: str | None = None,
        seed: int = 0,
    ) -> None:
        if model is not None and not hasattr(model, "activations_and_gradients"):
            raise InvalidInput(
                f"A session needs the network as a ModelContext; got {type(model).__name__}. Use "
                "wk.explore(store, model), or wrap it: widgetkit.extraction.ModelContext(model)."
            )
        self.store = store
        self.model = model
        self.seed = int(seed)
        start = check_layer(store, store.default_layer if layer is None else layer)
        # clusters of vectors have no map of their own: what drives the assignment is shown
        first = MapSpec() if grouping.deep(store) is None else MapSpec("clam")
        self._now = Undoable(Selection.none(len(store)), None, start, first)
        self._named: dict[str, Selection] = {}
        self._focus: int | None = None
        self._revision = 0
        self.stats = StatsOfLayers(store)
        self._concept_targets = ConceptTargets(store, self.stats)
        self.history: History[Undoable] = History()
        self.events = Events(swallow=lambda: self.jobs.background, keep=self._keep_error)
        self.jobs = Jobs(on_error=self._job_failed, on_change=self._job_changed)
        self._projections: dict[str, Projection] = {}
        self._lasting: set[str] = set()  # layers that show what a new session would show
        self._defaults: dict[str, Clustering] = {}
        self._asked: set[tuple[str, str]] = set()
        self._failing: set[str] = set()
        self._clustering_selection = False  # whether the job "cluster" is of a selection
        if self.jobs.background:
            self._ensure()

    # -- what it holds -------------------------------------------------------------------
    @property
    def selection(self) -> Selection:
        return self._now.selection

    @property
    def layer(self) -> str:
        return self._now.layer

    @property
    def map_spec(self) -> MapSpec:
        return self._now.map_spec

    @property
    def focus(self) -> int | None:
        """The tile looked at, or None."""
        return self._focus

    @property
    def named(self) -> dict[str, Selection]:
        """Kept selections by name (a copy)."""
        return dict(self._named)

    @property
    def projection(self) -> Projection | None:
        """Of the layer. In a script it is computed when first asked for; in a notebook it is
        None until its job delivers, first the principal components, then the final one."""
        self._ensure_projection()
        return self._projections.get(self.layer)

    @property
    def clustering(self) -> Clustering | None:
        """The current one: as chosen or edited, else the layer's default (see ``projection``).

        The default is the deep clustering that the store keeps, on whichever layer; else it is made
        of the layer.
        """
        if self._now.clustering is None:
            self._ensure_clustering()
        return self._clustering()

    def map_layer(self, spec: MapSpec | None = None) -> str:
        """The layer that maps of a spec (the session's) are drawn on.

        The layer of the session where it has maps. Where it has one vector a tile: the last layer
        of the store with maps before it, for all methods but those that draw a factor or centre,
        which need the layer that was clustered.
        """
        wanted = self.map_spec if spec is None else spec
        return mapspec.layer_of(self.store, wanted, self.layer, self._clustering())

    # -- time ----------------------------------------------------------------------------
    def undo(self) -> bool:
        """Take the last step back; False when there is none."""
        return self._travel(self.history.undo)

    def redo(self) -> bool:
        """Do again the step undone last; False when there is none."""
        return self._travel(self.history.redo)

    def wait(self, timeout: float | None = None) -> bool:
        """Run until no job is left and deliver the results here; see :meth:`Jobs.wait`."""
        self._ensure()
        return self.jobs.wait(timeout)

    def observe(self, event: EventName, callback: Callback) -> Unsubscribe:
        """Call ``callback(new value)`` at each event; see :data:`events.PAYLOADS`."""
        return self.events.observe(event, callback)

    def close(self) -> None:
        """Cancel all jobs; the session starts no more."""
        self.jobs.close()

    # -- projection and layer ------------------------------------------------------------
    def project(
        self, method: projecting.Method = "auto", *, seed: int | None = None, **options: Any
    ) -> Job | None:
        """Show another projection of the layer: one that is kept, else computed as a job.

        Parameters
        ----------
        method : "auto", "umap" or "pca"
        seed : int, optional
            Default: the session's.
        **options
            To ``analysis.project``: ``n_neighbors``, ``min_dist``, ``n_epochs``, ``landmarks``.

        Returns
        -------
        Job or None
            None when the store had it.
        """
        layer, used = self.layer, self.seed if seed is None else int(seed)
        asked = projecting.asked_for(method, options)
        usual = asked == projecting.asked_for("auto", {}) and used == self.seed
        self._asked.add(("projection", layer))
        kept = projecting.stored(self.store, layer, asked=asked, seed=used)
        if kept is not None:
            self.jobs.cancel("project")
            self._set_projection(layer, kept, lasting=usual)
            return None

        def done(found: Projected) -> None:
            if found.final:
                self._keep(
                    lambda: projecting.keep(self.store, layer, found.projection, asked=asked)
                )
            self._set_projection(layer, found.projection, lasting=usual and found.final)

        preview = self.jobs.background
        return self.jobs.submit(
            "project",
            lambda job: projecting.compute(
                self.store,
                layer,
                method=method,
                seed=used,
                options=options,
                job=job,
                preview=preview,
            ),
            done,
            title="Projecting",
        )

    def set_layer(self, name: str) -> None:
        """Look at another layer: its projection, its default clustering, its maps.

        Deep clusters group the images and not a layer: they stay, as they were edited.
        """
        check_layer(self.store, name)
        if name == self.layer:
            return
        self.jobs.cancel("cluster")
        spec = replace(self.map_spec, layer=None, target=None, against=None)
        now = self._now.clustering
        self._change(
            f"Layer {name}",
            f"session.set_layer({name!r})",
            layer=name,
            clustering=now if now is not None and now.method == grouping.DEEP else None,
            map_spec=spec,
        )

    # -- changing ------------------------------------------------------------------------
    def _changing(self) -> threading.RLock:
        if on_worker_thread():
            raise InvalidInput(
                "A job must not change the session: it runs on another thread. Return the result and "
                "change the session in on_result."
            )
        return self.jobs.lock

    def _change(self, title: str, code: str, **changes: Any) -> None:
        """Make a step: record it, take it over, tell."""
        with self._changing():
            before = self._now
            selection = changes.get("selection")
            if selection is not None:
                self._revision += 1
                changes["selection"] = replace(selection, revision=self._revision)
            after = _consistent(before, replace(before, **changes))
            if after != before:
                self.history.record(title, code, before, after)
            self._take_over(before, after)
            self.events.emit("history", self.history)

    def _travel(self, step: Callable[[], Undoable | None]) -> bool:
        with self._changing():
            before, after = self._now, step()
            if after is None:
                return False
            if after.selection != before.selection:
                self._revision += 1
                after = replace(after, selection=replace(after.selection, revision=self._revision))
            self.jobs.cancel("cluster")
            self._take_over(before, after)
            self.events.emit("history", self.history)
            return True

    def _take_over(self, before: Undoable, after: Undoable) -> None:
        self._now = after
        if after.selection is not before.selection:  # work for the older selection is stale
            self.jobs.cancel("alike")
            if self._clustering_selection:
                self.jobs.cancel("cluster")
        if after.layer != before.layer:
            self._ensure()
            self.events.emit("layer", after.layer)
            self.events.emit("projection", self._projections.get(after.layer))
        if after.clustering is not before.clustering or after.layer != before.layer:
            self.events.emit("clustering", self._clustering())
        if after.map_spec != before.map_spec:
            self.events.emit("map", after.map_spec)
        if after.concepts != before.concepts:
            self.events.emit("concepts", after.concepts)
        if after.selection is not before.selection:
            self.events.emit("selection", after.selection)

    # -- projection and default clustering -----------------------------------------------
    def _ensure(self) -> None:
        self._ensure_projection()
        if self._now.clustering is None:
            self._ensure_clustering()

    def _ensure_projection(self) -> None:
        layer = self.layer
        if layer in self._projections or ("projection", layer) in self._asked:
            return
        self._asked.add(("projection", layer))
        kept = projecting.default(self.store, layer, seed=self.seed)
        if kept is not None:
            self._set_projection(layer, kept, lasting=True)
        else:
            self.project()

    def _set_projection(self, layer: str, found: Projection, *, lasting: bool) -> None:
        with self._changing():
            self._projections[layer] = found
            (self._lasting.add if lasting else self._lasting.discard)(layer)
            if layer == self.layer:
                self.events.emit("projection", found)

    def _clustering(self) -> Clustering | None:
        if self._now.clustering is not None:
            return self._now.clustering
        return self._defaults.get(self.layer)

    def _ensure_clustering(self) -> None:
        layer = self.layer
        if layer in self._defaults or ("clustering", layer) in self._asked:
            return
        self._asked.add(("clustering", layer))
        made = grouping.deep(self.store)
        if made is not None:
            self._set_default(layer, made)
            return
        method = grouping.resolve(self.store, layer, "auto")
        k = grouping.default_k(len(self.store))
        kept = grouping.stored(self.store, layer, method=method, k=k, seed=self.seed)
        if kept is not None:
            self._set_default(layer, kept)
            return

        def done(found: Clustering) -> None:
            self._keep(lambda: grouping.keep(self.store, found))
            self._set_default(layer, found)

        self.jobs.submit(
            f"default clusters of {layer}",
            lambda job: grouping.compute(
                self.store, layer, method=method, k=k, seed=self.seed, job=job
            ),
            done,
            title="Clustering",
        )

    def _set_default(self, layer: str, found: Clustering) -> None:
        with self._changing():
            self._defaults[layer] = found
            if self._now.clustering is None and layer == self.layer:
                self.events.emit("clustering", found)

    def _need_clustering(self) -> Clustering:
        found = self.clustering
        if found is None:
            raise InvalidInput(
                "The clusters are still being computed. Call session.wait() first, or observe "
                "'clustering'."
            )
        return found

    def _question(self, rows: npt.ArrayLike, spec: MapSpec | None) -> Question:
        wanted = self.map_spec if spec is None else spec
        clustering = self.clustering
        return Question(
            self.store,
            self.model,
            wanted,
            mapspec.layer_of(self.store, wanted, self.layer, clustering),
            clustering,
            self.selection,
            self.stats,
            maps.check_rows(rows, len(self.store)),
            self._concepts_now(),
        )

    def _concepts_now(self) -> ConceptsNow | None:
        """What maps of concepts are made of; None while there are no concepts."""
        concepts = self._now.concepts
        return None if concepts is None else ConceptsNow(concepts, None, self._concept_targets)

    def _keep(self, put: Callable[[], object]) -> None:
        """Put a result into the store; when that fails the session still has it."""
        try:
            put()
        except (StoreError, OSError) as error:
            warnings.warn(f"The result could not be kept in the store: {error}", stacklevel=3)

    # -- errors --------------------------------------------------------------------------
    def _keep_error(self, error: BaseException) -> None:
        self.jobs.keep_error(error)

    def _job_failed(self, error: BaseException, title: str) -> None:
        if self.jobs.background and not self.events.observed("error"):
            warnings.warn(f"{title}: {ErrorReport.of(error, title)}", RuntimeWarning, stacklevel=2)
        self.events.report(error, title)

    def _job_changed(self, job: Job) -> None:
        if job.status == "failed":
            self._failing.add(job.key)
        elif job.status == "done" and job.key in self._failing:
            self._failing.discard(job.key)
            if not self._failing:
                self.events.emit("error", None)
        self.events.emit("job", job)


def check_layer(store: ActivationStore, name: str) -> str:
    if name not in store.layers:
        raise UnknownLayer(
            f"The store has no layer {name!r}. {near(str(name), store.layers)}".rstrip()
        )
    return name


def _consistent(before: Undoable, after: Undoable) -> Undoable:
    """Without a map of, or against, a cluster or concept that no longer is there."""
    if after.map_spec == before.map_spec:
        spec = mapspec.followed(after.map_spec, before.concepts, after.concepts)
        after = after if spec == after.map_spec else replace(after, map_spec=spec)
    spec, clustering = after.map_spec, after.clustering
    if clustering is None or (spec.target is None and spec.against is None):
        return after
    if mapspec.kind_of(spec) != "cluster":
        return after

    def there(i: int | None) -> int | None:
        return i if i is not None and i < clustering.k else None

    found = replace(spec, target=there(spec.target), against=there(spec.against))
    return after if found == spec else replace(after, map_spec=found)
