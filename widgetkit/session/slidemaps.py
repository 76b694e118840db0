"""Maps over a slide: from what is asked (a cluster or a method, a view) to one raster."""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from widgetkit import explain
from widgetkit.session import maps, weighing
from widgetkit.session.clustering import Clustering
from widgetkit.session.mapspec import kind_of, takes_latents
from widgetkit.session.recent import Recent
from widgetkit.slides.stitch import NONE, Stitcher, winner_of

if TYPE_CHECKING:
    from widgetkit.session.jobs import Job
    from widgetkit.session.maps import MapResult, Question
    from widgetkit.session.mapspec import MapSpec
    from widgetkit.session.weighing import PositionWeights
    from widgetkit.slides import Placement
    from widgetkit.store import ActivationStore

Float = npt.NDArray[np.float32]
View = tuple[float, float, float, float]
Status = Literal["final", "coarse", "waiting"]

#: Pixels of a map along its longer side, where none are asked for.
USUAL = 1024
#: Weights of whole slides kept in memory, float16: 100,000 tiles of 10 x 7 x 7 take 98 MB.
WEIGHTS_LIMIT = 512 * 2**20
#: Stitched maps of factors kept: a map of 1024 x 1024 takes 4 MB.
RASTERS_LIMIT = 192 * 2**20
#: Maps of a method kept for some slides.
MAPS_LIMIT = 128 * 2**20
#: Up to so many bytes of weights or activations are read while the caller waits (about 0.2 s).
AT_ONCE = 48 * 2**20
#: Views whose geometry is kept: some MB each where tiles stand in columns and rows, else up to 190.
_VIEWS = 4
#: Tiles whose weights are read at once.
_CHUNK = 4096
#: The scale ends where this share of the tiles has its largest weight: single hot positions would
#: darken everything else.
QUANTILE = 0.99
#: Seconds between coarse results of a method that runs the network.
_COARSE_S = 2.0


@dataclass(frozen=True, eq=False)
class SlideMap:
    """One raster over a part of a slide.

    Attributes
    ----------
    slide : str
        Name. Free text that may name a patient: views escape it.
    view : (x0, y0, x1, y1)
        Level-0 px that the raster covers.
    values : (H, W) float32
        The map, or the winner's weight; NaN where no tile lies (or none is computed yet).
    winner : (H, W) uint8, or None
        Where all clusters are shown: the one with the largest weight; 255 where there is none
        (no tile, total weight not above the background, or a hidden cluster).
    coverage : (H, W) float32
        Mean number of tiles over each pixel.
    vmin, vmax : float
        The scale; the same for all slides and views of a cluster.
    signed : bool
        Whether zero is the middle colour.
    title : str
        Holds names of clusters and classes as they are: views escape.
    units : str
    status : "final", "coarse" or "waiting"
        Coarse: some tiles are still being computed. Waiting: all are, and another map follows.
    cluster : int or None
    spec : MapSpec or None
        The method's; None for maps of clusters.
    """

    slide: str
    view: View
    values: Float = field(repr=False)
    winner: npt.NDArray[np.uint8] | None = field(repr=False)
    coverage: Float = field(repr=False)
    vmin: float
    vmax: float
    signed: bool
    title: str
    units: str
    status: Status
    cluster: int | None = None
    spec: MapSpec | None = None


@dataclass(frozen=True, eq=False)
class SlideQuestion:
    """All that decides a :class:`SlideMap`; values only, so that a job may hold it.

    ``about`` is the question of a method's maps of the slide's tiles; None asks for clusters.
    """

    slide: int
    view: View
    shape: tuple[int, int]
    clustering: Clustering | None
    cluster: int | None
    about: Question | None


class SlideMaps:
    """Computes maps of slides and keeps what the next one may need. Safe for threads."""

    def __init__(self, store: ActivationStore, places: Placement) -> None:
        self._store = store
        self._places = places
        self._lock = threading.Lock()
        self._found: dict[str, PositionWeights] = {}
        self._views: dict[Hashable, Stitcher] = {}
        self._columns = Recent(WEIGHTS_LIMIT)
        self._rasters = Recent(RASTERS_LIMIT)
        self._maps = Recent(MAPS_LIMIT)
        self._scales: dict[Hashable, tuple[float, float, bool, str, bool]] = {}

    # -- what is asked -------------------------------------------------------------------
    def whole(self, slide: int) -> View:
        """The view of a whole slide."""
        width, height = self._places.extent(slide)
        return 0.0, 0.0, float(max(width, 1)), float(max(height, 1))

    def shape(self, slide: int, view: View, grid: tuple[int, ...]) -> tuple[int, int]:
        """About a pixel a cell, at most ``USUAL`` along the longer side."""
        boxes = self._places.boxes[self._places.rows(slide)]
        wide, high = view[2] - view[0], view[3] - view[1]
        high_cells, wide_cells = weighing.plane(grid) if grid else (1, 1)
        sides = np.median(boxes[:, 2:] - boxes[:, :2], axis=0) / (wide_cells, high_cells)
        scale = min(1 / float(sides.min()), USUAL / max(wide, high))
        return max(1, math.ceil(high * scale)), max(1, math.ceil(wide * scale))

    # -- weights -------------------------------------------------------------------------
    def weights(self, clustering: Clustering) -> PositionWeights | None:
        """Weights of the clustering that are there already, or None."""
        key = weighing.key_of(clustering, self._store)
        with self._lock:
            found = self._found.get(key)
        if found is None:
            found = weighing.find(self._store, clustering)
            if found is not None:
                self._remember(key, found)
        return found

    def make_weights(self, clustering: Clustering, job: Job | None = None) -> PositionWeights:
        found = self.weights(clustering)
        if found is None:
            found = weighing.make(self._store, clustering, job)
            self._remember(weighing.key_of(clustering, self._store), found)
        return found

    def _remember(self, key: str, found: PositionWeights) -> None:
        with self._lock:
            while len(self._found) >= _VIEWS:
                self._found.pop(next(iter(self._found)))
            self._found[key] = found

    # -- answering -----------------------------------------------------------------------
    def at_once(self, ask: SlideQuestion) -> bool:
        """Whether :meth:`compute` takes a fraction of a second: nothing large is to be read."""
        rows = len(self._places.rows(ask.slide))
        if ask.about is not None:
            if self._maps_key(ask) in self._maps:
                return True
            if ask.about.model is None and not ask.about.spec.live:
                return True  # kept maps, or the error that says there are none
            live = ask.about.spec.live
            info = self._store.layers[ask.about.layer]
            return live and rows * info.channels * int(np.prod(info.grid)) * 2 <= AT_ONCE
        if ask.clustering is None:
            return False
        found = self.weights(ask.clustering)
        if found is None:
            return False
        key = weighing.key_of(ask.clustering, self._store)
        if (key, ask.slide) in self._columns:
            return True
        return rows * found.k * int(np.prod(found.grid)) * 2 <= AT_ONCE

    def compute(
        self,
        ask: SlideQuestion,
        job: Job | None = None,
        show: Callable[[SlideMap], object] | None = None,
    ) -> SlideMap:
        """The map; assigns positions first where that was not done.

        Parameters
        ----------
        ask : SlideQuestion
        job : Job, optional
            Asked between batches whether to go on.
        show : callable, optional
            Given coarse maps of a method that runs the network.
        """
        if ask.about is not None:
            return self._of_method(ask, ask.about, job, show)
        assert ask.clustering is not None
        found = self.weights(ask.clustering)
        assert found is not None
        return self._of_clusters(ask, ask.clustering, found, job)

    def waiting(self, ask: SlideQuestion, why: str) -> SlideMap:
        """What is shown while something is still being computed."""
        empty = np.full(ask.shape, np.nan, dtype=np.float32)
        all_of_them = ask.about is None and ask.cluster is None
        return SlideMap(
            self._places.names[ask.slide],
            ask.view,
            empty,
            np.full(ask.shape, NONE, dtype=np.uint8) if all_of_them else None,
            np.zeros(ask.shape, dtype=np.float32),
            0.0,
            1.0,
            False,
            why,
            "",
            "waiting",
            ask.cluster,
            None if ask.about is None else ask.about.spec,
        )

    # -- clusters ------------------------------------------------------------------------
    def _of_clusters(
        self, ask: SlideQuestion, clustering: Clustering, found: PositionWeights, job: Job | None
    ) -> SlideMap:
        key = weighing.key_of(clustering, self._store)
        stitcher, view_key = self._stitcher(ask, found.grid)
        if isinstance(found, weighing.TileWeights):  # made for the clusters as they are
            clustering = replace(clustering, base=None, owners=None)
        tiles = self._places.rows(ask.slide)[stitcher.rows]
        wanted = range(clustering.k) if ask.cluster is None else [clustering.check(ask.cluster)]
        holds = {i: clustering.holds(i, tiles) for i in wanted}
        columns = sorted(
            {int(j) for held in holds.values() for j in np.flatnonzero(held.any(axis=1))}
        )
        source = _Columns(self, ask.slide, found, key, stitcher, view_key, columns, job)

        def raster(i: int) -> Float:
            total = np.zeros(ask.shape, dtype=np.float32)
            for j in np.flatnonzero(holds[i].any(axis=1)):
                held = holds[i][j]
                total += source.raster(int(j)) if held.all() else source.part(int(j), held)
            return total

        empty = stitcher.coverage == 0
        winner = None
        if ask.cluster is not None:
            values = raster(ask.cluster)
            title = f"Cluster: {clustering.names[ask.cluster]}"
        else:
            winner, values = winner_of((raster(i) for i in wanted), ask.shape, found.background)
            hidden = np.isin(winner, sorted(clustering.hidden))
            winner[hidden] = NONE
            values[hidden] = 0.0
            title = "Clusters: the strongest at each place"
        values[empty] = np.nan
        return SlideMap(
            self._places.names[ask.slide],
            ask.view,
            values,
            winner,
            stitcher.coverage,
            0.0,
            self._highest(clustering, found, ask.cluster),
            False,
            title,
            found.units,
            "final",
            ask.cluster,
        )

    def _highest(
        self, clustering: Clustering, found: PositionWeights, cluster: int | None
    ) -> float:
        """End of the scale: of the tiles' largest weights, the same for all slides."""
        rows = np.arange(clustering.n)
        if cluster is not None:
            best = clustering.fold_one(found.highest, rows, cluster)
        else:
            shown = [i for i in range(clustering.k) if i not in clustering.hidden]
            best = clustering.fold(found.highest, rows)[:, shown].max(axis=1, initial=0.0)
        return explain.shared_scale(best, quantile=QUANTILE).vmax

    def _stitcher(self, ask: SlideQuestion, grid: tuple[int, int]) -> tuple[Stitcher, Hashable]:
        key = (ask.slide, grid, ask.view, ask.shape)
        with self._lock:
            found = self._views.pop(key, None)
            if found is not None:
                self._views[key] = found
        if found is None:
            boxes = self._places.boxes[self._places.rows(ask.slide)]
            found = Stitcher(boxes, grid, ask.view, ask.shape)
            with self._lock:
                while len(self._views) >= _VIEWS:
                    self._views.pop(next(iter(self._views)))
                self._views[key] = found
        return found, key

    # -- methods -------------------------------------------------------------------------
    def _of_method(
        self,
        ask: SlideQuestion,
        about: Question,
        job: Job | None,
        show: Callable[[SlideMap], object] | None,
    ) -> SlideMap:
        key = self._maps_key(ask)
        values = self._maps.get(key)
        if values is None or key not in self._scales:
            said = time.monotonic()

            def coarse(result: MapResult) -> None:
                nonlocal said
                assert show is not None
                if time.monotonic() - said < _COARSE_S:
                    return
                said = time.monotonic()
                part = result.values.copy()
                part[~result.ready] = np.nan
                show(self._stitched(ask, about, part, _scale_of(result), "coarse"))

            result = maps.compute(about, job=job, show=None if show is None else coarse)
            found = result.values
            if not result.ready.all():  # the store keeps no map of some tiles
                found = found.copy()
                found[~result.ready] = np.nan
            values = self._maps.put(key, found)
            with self._lock:
                while len(self._scales) > 64:
                    self._scales.pop(next(iter(self._scales)))
                self._scales[key] = _scale_of(result)
            scale = _scale_of(result)
        else:
            scale = self._scales[key]
        return self._stitched(ask, about, values, scale, "final")

    def _stitched(
        self,
        ask: SlideQuestion,
        about: Question,
        values: npt.NDArray[Any],
        scale: tuple[float, float, bool, str, bool],
        status: Status,
    ) -> SlideMap:
        grid = weighing.plane(values.shape[1:])
        stitcher, _ = self._stitcher(ask, grid)
        values = values.reshape(len(values), *grid)
        vmin, vmax, signed, title, _ = scale
        return SlideMap(
            self._places.names[ask.slide],
            ask.view,
            stitcher(values[stitcher.rows]),
            None,
            stitcher.coverage,
            vmin,
            vmax,
            signed,
            title,
            explain.get(about.spec.method).title,
            status,
            None,
            about.spec,
        )

    def _maps_key(self, ask: SlideQuestion) -> Hashable:
        about = ask.about
        assert about is not None
        spec = about.spec
        kind = kind_of(spec)
        of: Hashable = None
        if kind == "cluster" and about.clustering is not None:
            labels = about.clustering.labels.tobytes() if spec.target is None else b""
            of = (self._clusters_key(about), hash(labels), about.clustering.names)
        elif kind == "selection":
            of = about.selection.encode()
        elif kind == "concept" and about.concepts is not None:
            own = about.concepts.own(about.rows).tobytes() if spec.target is None else b""
            of = (about.concepts.concepts.digest, hash(own))
        return ask.slide, spec, about.layer, of

    def _clusters_key(self, about: Question) -> str:
        clustering = about.clustering
        assert clustering is not None
        if not takes_latents(explain.get(about.spec.method)):
            return weighing.key_of(clustering, self._store)
        centres = clustering.centres  # as they are now: merging moves them
        digest = hashlib.sha256(clustering.layer.encode("utf-8", "surrogatepass"))
        digest.update(b"" if centres is None else centres.tobytes())
        return digest.hexdigest()


def _scale_of(result: MapResult) -> tuple[float, float, bool, str, bool]:
    return result.vmin, result.vmax, result.signed, result.title, True


class _Columns:
    """Stitched maps of single factors over one view; read together where they are not kept."""

    def __init__(
        self,
        owner: SlideMaps,
        slide: int,
        found: PositionWeights,
        key: str,
        stitcher: Stitcher,
        view_key: Hashable,
        columns: list[int],
        job: Job | None,
    ) -> None:
        self._owner, self._found, self._job = owner, found, job
        self._rows = owner._places.rows(slide)
        self._stitcher, self._view = stitcher, view_key
        self._key = (key, slide)
        self._wanted = columns

    def raster(self, j: int) -> Float:
        """(H, W) map of factor ``j``, 0 where no tile lies."""
        key = (self._key, self._view, j)
        found = self._owner._rasters.get(key)
        if found is None:
            kept = self._slide()
            if kept is None:
                return self._streamed(j)
            maps_of_j = kept[j] if self._everything() else kept[j][self._stitcher.rows]
            found = self._owner._rasters.put(key, self._stitched(maps_of_j))
        return found

    def part(self, j: int, held: npt.NDArray[np.bool_]) -> Float:
        """The same of some of the view's tiles ``held (r,)`` only; the others count as 0."""
        digest = hashlib.sha256(np.packbits(held).tobytes()).hexdigest()
        key = (self._key, self._view, j, digest)
        found = self._owner._rasters.get(key)
        if found is not None:
            return found
        kept = self._slide()
        if kept is None:
            total = np.zeros(self._stitcher.shape, dtype=np.float32)
            for part, sub in self._chunks():
                values = self._found.read(self._rows[self._stitcher.rows[part]])[:, j]
                total += sub.total(values * held[part][:, None, None])
            return self._owner._rasters.put(key, self._stitcher.mean(total, fill=0.0))
        values = np.zeros((len(held), *self._found.grid), dtype=np.float32)
        at = np.flatnonzero(held)
        values[at] = kept[j][at if self._everything() else self._stitcher.rows[at]]
        return self._owner._rasters.put(key, self._stitched(values))

    def _stitched(self, values: npt.NDArray[Any]) -> Float:
        """Weights are finite: no cell has to be looked at for a gap."""
        return self._stitcher.mean(self._stitcher.total(values), fill=0.0)

    def _everything(self) -> bool:
        return len(self._stitcher.rows) == len(self._rows)

    def _slide(self) -> npt.NDArray[np.float16] | None:
        """(k0, m, h, w) weights of the whole slide; None where they are too many to keep."""
        found = self._owner._columns.get(self._key)
        if found is not None:
            return found
        m, (h, w), k = len(self._rows), self._found.grid, self._found.k
        if m * h * w * k * 2 > WEIGHTS_LIMIT:
            return None
        kept = np.empty((k, m, h, w), dtype=np.float16)
        for start in range(0, m, _CHUNK):
            if self._job is not None:
                self._job.progress(start, m)
            rows = self._rows[start : start + _CHUNK]
            kept[:, start : start + len(rows)] = self._found.read(rows).swapaxes(0, 1)
        return self._owner._columns.put(self._key, kept)

    def _streamed(self, j: int) -> Float:
        """All wanted factors in one pass over the view's tiles."""
        totals = {i: np.zeros(self._stitcher.shape, dtype=np.float32) for i in self._wanted}
        for part, sub in self._chunks():
            values = self._found.read(self._rows[self._stitcher.rows[part]])
            for i, total in totals.items():
                total += sub.total(values[:, i])
        for i, total in totals.items():
            mean = self._stitcher.mean(total, fill=0.0)
            self._owner._rasters.put((self._key, self._view, i), mean)
        return self._stitcher.mean(totals[j], fill=0.0)

    def _chunks(self) -> list[tuple[slice, Stitcher]]:
        found = []
        rows = self._stitcher.rows
        boxes = self._owner._places.boxes
        for start in range(0, len(rows), _CHUNK):
            if self._job is not None:
                self._job.progress(start, len(rows))
            part = slice(start, start + _CHUNK)
            sub = Stitcher(
                boxes[self._rows[rows[part]]],
                self._found.grid,
                self._stitcher.view,
                self._stitcher.shape,
            )
            found.append((part, sub))
        return found
