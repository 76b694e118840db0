"""The session on slides: where tiles lie, maps over a whole slide, selecting there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from widgetkit import explain
from widgetkit.errors import InvalidInput, UnknownName, near
from widgetkit.session import geometry, maps, touching, weighing
from widgetkit.session.clustering import Clustering
from widgetkit.session.jobs import Job
from widgetkit.session.mapspec import MapSpec, kind_of
from widgetkit.session.selecting import Mode, Selecting
from widgetkit.session.selection import Selection
from widgetkit.session.slidemaps import SlideMap, SlideMaps, SlideQuestion, View
from widgetkit.session.state import check_how

if TYPE_CHECKING:
    from widgetkit.factors import Factors
    from widgetkit.slides import Pictures, Placement
    from widgetkit.slides.pictures import Paths

Rule = Literal["centre", "touch"]
RULES: tuple[str, ...] = ("centre", "touch")
OnMap = Callable[[SlideMap], object]


class OnSlide(Selecting):
    """The part of :class:`Session` that knows slides."""

    _placement: Placement | None = None
    _pictures: Pictures | None = None
    _slide_maps: SlideMaps | None = None
    _factors_job: tuple[str, Job] | None = None
    _awaited: dict[str, tuple[SlideQuestion, OnMap]]

    # -- what there is -------------------------------------------------------------------
    @property
    def placement(self) -> Placement:
        """Where the tiles lie; InvalidInput for volumes, which lie on no slide."""
        if self._placement is None:
            from widgetkit.slides import placement

            self._placement = placement(self.store)
        return self._placement

    @property
    def pictures(self) -> Pictures:
        """Pictures of the slides: of their files after :meth:`open_slides`, else of their tiles."""
        if self._pictures is None:
            from widgetkit.slides import open_pictures

            self._pictures = open_pictures(self.store, places=self.placement)
        return self._pictures

    def open_slides(self, paths: str | Path | Mapping[str, str | Path] | None) -> Pictures:
        """Look for the slides' files; see :func:`widgetkit.slides.open_pictures`.

        Parameters
        ----------
        paths : path, mapping of slide name to path, or None
            A folder, one file, a file for each name; None goes back to the tiles' pictures.

        Raises
        ------
        StoreMismatch
            A file is another slide or was changed since extraction. Nothing was changed.
        """
        from widgetkit.slides import open_pictures

        given: Paths | None = paths
        found = open_pictures(self.store, given, places=self.placement)
        with self._changing():
            self._pictures = found
        self.events.emit("pictures", found)
        return found

    # -- factors -------------------------------------------------------------------------
    @property
    def factors(self) -> Factors | None:
        """Kept weights of every position in the factors that the clusters were made of.

        None while there are no clusters, where nothing was assigned yet (see
        :meth:`request_factors`), and for clusterings that are no factorisation. Bound by store,
        layer and the fitted prototypes: edits of the clusters leave them as they are.
        """
        clustering = self.clustering
        if clustering is None or clustering.method != "nmf" or clustering.fitted is None:
            return None
        found = self._maps_of_slides().weights(clustering)
        return found.factors if isinstance(found, weighing.FactorWeights) else None

    def request_factors(self) -> Job | None:
        """Give every position of every tile its weights in the clusters, once, as a job.

        Kept in the store; a job that was cancelled goes on where it stopped. When it is done,
        event ``"factors"`` tells.

        Returns
        -------
        Job or None
            None when they are there already.
        """
        clustering = self._need_clustering()
        if self._maps_of_slides().weights(clustering) is not None:
            return None
        key = weighing.key_of(clustering, self.store)
        if self._factors_job is not None:
            of, running = self._factors_job
            if of == key and running.active:
                return running

        def done(found: weighing.PositionWeights) -> None:
            kept = found.factors if isinstance(found, weighing.FactorWeights) else None
            self.events.emit("factors", kept)
            self._answer_awaited()

        job = self.jobs.submit(
            "factors",
            lambda job: self._maps_of_slides().make_weights(clustering, job),
            done,
            title="Assigning every position",
        )
        self._factors_job = (key, job)
        return job

    def use_factors(self, factors: Factors | str) -> Clustering:
        """Take factors as the clustering: a tile belongs to the factor with its largest mean weight.

        Parameters
        ----------
        factors : Factors or str
            Of this store, by a non-negative factorisation (``widgetkit.factors.factorise``), or the
            name they are kept under.

        Raises
        ------
        StoreMismatch
            They are of another store.
        UnknownName
            None are kept under that name.
        InvalidInput
            Their weights may be negative (``pca``), or they are no factorisation (``kmeans``).
        """
        made = weighing.clustering_of(factors, self.store)
        self.jobs.cancel("cluster")
        self._change(
            f"{made.k} factors kept as {made.name}",
            f"session.use_factors({made.name!r})",
            layer=made.layer,
            clustering=made,
            map_spec=replace(self.map_spec, layer=None, target=None, against=None),
        )
        return made

    # -- maps ----------------------------------------------------------------------------
    def slide_map(
        self,
        slide: str | int,
        *,
        cluster: int | None = None,
        method: str | MapSpec | None = None,
        view: npt.ArrayLike | None = None,
        shape: tuple[int, int] | None = None,
    ) -> SlideMap:
        """A map over a slide, computed now.

        Parameters
        ----------
        slide : str or int
            Name or number, see ``placement``.
        cluster : int, optional
            The map of one cluster. None: all clusters, by the strongest at each place.
        method : str or MapSpec, optional
            Instead of clusters a map method; a name takes the session's target where it is the
            session's method.
        view : (4,) float, optional
            x0, y0, x1, y1 in level-0 px. Default: the whole slide.
        shape : (H, W), optional
            Default: about a pixel a cell, at most 1024.

        Raises
        ------
        UnknownName, InvalidInput, NeedsModel, NeedsActivations
            What is asked cannot be drawn; the message says why.
        """
        ask = self._ask_slide(slide, cluster, method, view, shape, need=True)
        if ask.about is None and ask.clustering is not None:
            self._maps_of_slides().make_weights(ask.clustering)
        return self._maps_of_slides().compute(ask)

    def request_slide_map(
        self,
        slide: str | int,
        *,
        cluster: int | None = None,
        method: str | MapSpec | None = None,
        view: npt.ArrayLike | None = None,
        shape: tuple[int, int] | None = None,
        on_result: OnMap,
        key: str = "slide map",
    ) -> Job | None:
        """Ask for a map over a slide without waiting; a newer request of a ``key`` replaces an older.

        ``on_result`` is called at once where everything is there. Where positions must be
        assigned first, or maps be computed, it is called with ``status`` "waiting" (and, for
        methods that run the network, "coarse" maps), and with the final one when the job is done.

        Returns
        -------
        Job or None
            None when the answer was given at once, or the clusters are not there yet (event
            ``"clustering"`` tells when they are: ask again).
        """
        ask = self._ask_slide(slide, cluster, method, view, shape, need=False)
        waiting = self._awaiting()
        waiting.pop(key, None)
        if ask.about is None and ask.clustering is None:
            self.jobs.cancel(key)
            on_result(self._maps_of_slides().waiting(ask, "Waiting for the clusters"))
            return None
        missing = (
            ask.clustering is not None
            and ask.about is None
            and self._maps_of_slides().weights(ask.clustering) is None
        )
        if not missing:
            return self._answer(ask, on_result, key)
        self.jobs.cancel(key)
        waiting[key] = (ask, on_result)
        if self.jobs.background:
            on_result(self._maps_of_slides().waiting(ask, "Assigning every position"))
        return self.request_factors()

    def select_on_slide(
        self,
        slide: str | int,
        where: npt.ArrayLike,
        *,
        mode: Mode = "replace",
        rule: Rule = "centre",
    ) -> Selection:
        """Select tiles of a slide inside a freehand outline or a box.

        Parameters
        ----------
        slide : str or int
        where : (v, 2) polygon, or (4,) box x0, y0, x1, y1
            Level-0 px. Polygons by the even-odd rule.
        mode : "replace", "add", "subtract" or "intersect"
        rule : "centre" or "touch"
            Tiles whose centre lies inside, or all that share some area with it.
        """
        if rule not in RULES:
            raise UnknownName(f"There is no rule {rule!r}. {near(str(rule), RULES)}".rstrip())
        places = self.placement
        i = places.index(slide)
        rows = places.rows(i)
        shape = np.asarray(where, dtype=np.float64)
        name = places.names[i]
        if shape.shape == (4,):
            listed, kind = shape.tolist(), "box"
            corners = touching.corners_of(shape)
        else:
            corners = geometry.polygon_of(shape)
            listed, kind = corners.tolist(), "polygon"
        if rule == "touch":
            found = touching.touching(corners, places.boxes[rows])
        elif kind == "box":
            found = geometry.in_box(shape, places.centres[rows])
        else:
            found = geometry.inside(corners, places.centres[rows])
        mask = np.zeros(len(self.store), dtype=bool)
        mask[rows[found]] = True
        how = {"kind": f"slide {kind}", "slide": name, kind: listed, "rule": rule}
        code = f"select_on_slide({name!r}, {listed!r}" + (
            "" if rule == "centre" else f", rule={rule!r}"
        )
        made = Selection.from_mask(mask, how=check_how(how))
        return self._select(made, mode, f"On slide {name}", code, lasting=True)

    # -- inside --------------------------------------------------------------------------
    def _maps_of_slides(self) -> SlideMaps:
        if self._slide_maps is None:
            self._slide_maps = SlideMaps(self.store, self.placement)
        return self._slide_maps

    def _awaiting(self) -> dict[str, tuple[SlideQuestion, OnMap]]:
        if "_awaited" not in self.__dict__:
            self._awaited = {}
        return self._awaited

    def _answer_awaited(self) -> None:
        waiting = self._awaiting()
        for key, (ask, on_result) in list(waiting.items()):
            if ask.clustering is None or self._maps_of_slides().weights(ask.clustering) is None:
                continue
            del waiting[key]
            self._answer(ask, on_result, key)

    def _answer(self, ask: SlideQuestion, on_result: OnMap, key: str) -> Job | None:
        made = self._maps_of_slides()
        if made.at_once(ask):
            self.jobs.cancel(key)
            on_result(made.compute(ask))
            return None
        if ask.about is not None:
            maps.check(ask.about)
        if self.jobs.background:
            on_result(made.waiting(ask, "Computing"))
        return self.jobs.submit(
            key, lambda job: made.compute(ask, job, job.emit), on_result, title="Map of the slide"
        )

    def _ask_slide(
        self,
        slide: str | int,
        cluster: int | None,
        method: str | MapSpec | None,
        view: npt.ArrayLike | None,
        shape: tuple[int, int] | None,
        *,
        need: bool,
    ) -> SlideQuestion:
        made, i = self._maps_of_slides(), self.placement.index(slide)
        spec = self._spec_of(method)
        if spec is not None and spec.method == "cluster" and spec.layer in (None, self.layer):
            cluster, spec = spec.target if cluster is None else cluster, None
        clustering, about = self.clustering, None
        if spec is not None:
            if cluster is not None:
                raise InvalidInput("Ask for a cluster or for a method's map, not for both.")
            if kind_of(spec) == "cluster" and clustering is None:
                self._need_clustering()
            about = self._question(self.placement.rows(i), spec)
            clustering = None
        elif need:
            clustering = self._need_clustering()
        if cluster is not None and clustering is not None:
            clustering.check(cluster)
        layer = about.layer if about is not None else self.layer
        seen = made.whole(i) if view is None else _view(view)
        size = made.shape(i, seen, self.store.layers[layer].grid) if shape is None else shape
        return SlideQuestion(i, seen, (int(size[0]), int(size[1])), clustering, cluster, about)

    def _spec_of(self, method: str | MapSpec | None) -> MapSpec | None:
        if method is None or isinstance(method, MapSpec):
            return method
        explain.get(method)
        if method == self.map_spec.method:
            return self.map_spec
        return MapSpec(method)


def _view(view: npt.ArrayLike) -> View:
    corners = np.asarray(view, dtype=np.float64)
    if corners.shape != (4,):
        raise InvalidInput(f"A view is x0, y0, x1, y1 in level-0 px; got shape {corners.shape}.")
    return float(corners[0]), float(corners[1]), float(corners[2]), float(corners[3])
