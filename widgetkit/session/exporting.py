"""A session's maps, areas and weights as files for other programs.

Every function writes whole files or none, and never over another unless told to. Where several slides
are written, ``path`` is a folder and the files are called ``slide-1``, ``slide-2``, ... in the order of
``session.placement``: names of slides may name patients. Tables number slides the same way.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput, NeedsActivations
from widgetkit.palette import colour
from widgetkit.session import pooling, weighing
from widgetkit.session.slidemaps import SlideMap
from widgetkit.slides.export_contours import Polygon, contours, outline
from widgetkit.slides.export_factors import slide_table, tile_table
from widgetkit.slides.export_geojson import ObjectType, Per, Region, contours_geojson, write_geojson
from widgetkit.slides.export_images import write_png
from widgetkit.slides.export_output import Cancel, Progress, check, checked_target
from widgetkit.slides.export_tables import Identifiers, numbering, write_table
from widgetkit.slides.export_tiff import SUFFIXES as TIFF
from widgetkit.slides.export_tiff import write_ome_tiff

if TYPE_CHECKING:
    from widgetkit.session.mapspec import MapSpec
    from widgetkit.session.session import Session

Float = npt.NDArray[np.float32]
PathLike = str | os.PathLike[str]
Content = Literal["weights", "winner"]
PerRow = Literal["tile", "slide"]
Answer = Literal["tests", "means", "pairs"]

#: Bytes of a strip of rows of all channels.
_STRIP = 32 * 2**20


def export_slide_png(
    session: Session,
    path: PathLike,
    slide: str | int | None = None,
    *,
    cluster: int | None = None,
    method: str | MapSpec | None = None,
    palette: str | None = None,
    enlarge: int = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> list[Path]:
    """Write the map over a slide as PNG, one pixel a position of the layer.

    Parameters
    ----------
    session : Session
    path : path
        A file for one slide; a folder for all.
    slide : str or int, optional
        Name or number. Default: every slide.
    cluster : int, optional
        Its weights. Default: all clusters, by the strongest at each place, opacity by weight.
    method : str or MapSpec, optional
        Instead of clusters a map method.
    palette : str, optional
        Name of a matplotlib colour map, for values.
    enlarge : int
        Pixels along each side of a position.
    overwrite : bool
    progress : callable (rows done, rows of all), optional
    cancel : callable, optional

    Returns
    -------
    list of Path
        One file a slide. Each says in its own text what its colours mean; see :func:`write_png`.
    """
    rasters = _rasters(session, slide)
    targets = _targets(path, rasters, (".png",), ".png", overwrite, alone=slide is not None)
    count = _Counter(sum(r.shape[0] for r in rasters), progress, cancel)
    for raster, target in zip(rasters, targets, strict=True):
        found = raster.whole(count, cluster, method)
        shared: dict[str, Any] = {
            "title": found.title, "unit": found.units, "mpp": raster.mpp,
            "downsample": raster.side, "origin": raster.origin, "enlarge": enlarge,
            "overwrite": overwrite,
        }  # fmt: skip
        if found.winner is not None:
            clustering = session.clustering
            assert clustering is not None
            write_png(
                target,
                found.winner,
                palette=[colour(c) for c in clustering.colors],
                names=clustering.names,
                weight=found.values / max(found.vmax, 1e-30),
                **shared,
            )
        else:
            usual = "RdBu_r" if found.signed else "viridis"
            ends = found.vmin, found.vmax if found.vmax > found.vmin else found.vmin + 1.0
            write_png(target, found.values, palette=palette or usual, scale=ends, **shared)
    return targets


def export_slide_ome_tiff(
    session: Session,
    path: PathLike,
    slide: str | int | None = None,
    *,
    content: Content = "weights",
    method: str | MapSpec | None = None,
    compression: str | None = "zlib",
    overwrite: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> list[Path]:
    """Write maps over a slide as an OME-TIFF pyramid, one pixel a position of the layer.

    Parameters
    ----------
    session, path, slide
        As for :func:`export_slide_png`; the file ends with ``.ome.tif`` or ``.ome.tiff``.
    content : "weights" or "winner"
        A float32 channel for each cluster that is not hidden, with its name and colour; or one
        uint8 channel with the number of the cluster that wins each position, 255 where none does.
    method : str or MapSpec, optional
        Instead of clusters one float32 channel of a map method.
    compression : "zlib" or None
    overwrite, progress, cancel

    Returns
    -------
    list of Path
        Written strip by strip, so that memory does not grow with the slide;
        see :func:`~widgetkit.slides.export_tiff.write_ome_tiff`.
    """
    if content not in ("weights", "winner") or (content == "winner" and method is not None):
        raise InvalidInput("content is 'weights' or 'winner'; the latter is of clusters only.")
    rasters = _rasters(session, slide)
    targets = _targets(path, rasters, TIFF, ".ome.tif", overwrite, alone=slide is not None)
    count = _Counter(sum(r.shape[0] for r in rasters), progress, cancel)
    names, colours, wanted = ["winner"], [colour(0)], []
    facts = {"unit": "number of the cluster, 255: none"}
    if content == "winner":
        facts |= {f"cluster {i}": name for i, name in enumerate(_clustering(session).names)}
    elif method is None:
        made = _clustering(session)
        wanted = [i for i in range(made.k) if i not in made.hidden]
        if not wanted:
            raise InvalidInput("All clusters are hidden: there is nothing to write.")
        names, colours = [made.names[i] for i in wanted], [colour(made.colors[i]) for i in wanted]
    for raster, target in zip(rasters, targets, strict=True):
        if content == "weights":
            # what it is called and measured in, before the first strip
            look = session.slide_map(
                raster.slide, cluster=wanted[0] if wanted else None, method=method, shape=(1, 1)
            )
            names = names if wanted else [look.title]
            facts = {"unit": look.units}
        channels = len(wanted) or 1

        def strips(raster: _Raster = raster, channels: int = channels) -> Iterator[Any]:
            for view, shape in raster.strips(channels * 4):
                count.add(0)
                if content == "winner":
                    found = session.slide_map(raster.slide, view=view, shape=shape)
                    assert found.winner is not None
                    yield found.winner[None]
                elif wanted:
                    yield np.stack(
                        [
                            session.slide_map(
                                raster.slide, cluster=i, view=view, shape=shape
                            ).values
                            for i in wanted
                        ]
                    )
                else:
                    yield session.slide_map(
                        raster.slide, method=method, view=view, shape=shape
                    ).values[None]
                count.add(shape[0])

        write_ome_tiff(
            target,
            strips(),
            shape=(channels, *raster.shape),
            dtype="uint8" if content == "winner" else "float32",
            channel_names=names,
            colours=colours,
            mpp=raster.mpp,
            downsample=raster.side,
            origin=raster.origin,
            name=raster.label,
            facts=facts,
            compression=compression,
            overwrite=overwrite,
            cancel=cancel,
        )
    return targets


def export_contours(
    session: Session,
    path: PathLike,
    slide: str | int | None = None,
    *,
    cluster: int | None = None,
    method: str | MapSpec | None = None,
    threshold: float | None = None,
    tolerance: float | None = None,
    least_area: float = 0.0,
    object_type: ObjectType = "annotation",
    per: Per = "region",
    locked: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> list[Path]:
    """Write areas on a slide as GeoJSON, which QuPath imports into that slide.

    Parameters
    ----------
    session, path, slide
        As for :func:`export_slide_png`; the file ends with ``.geojson`` or ``.json``.
    cluster : int, optional
        Where its weight exceeds the threshold, with smooth borders. Default: the positions that
        each cluster wins, along their edges; hidden clusters are left out.
    method : str or MapSpec, optional
        Where its map exceeds the threshold.
    threshold : float, optional
        Default: half of the upper end of the map's scale. Not for winners.
    tolerance : float, optional
        Level-0 px by which borders may be moved to leave corners out. Default: 0 for winners,
        a quarter of a position for smooth borders.
    least_area : float
        Level-0 px^2 below which islands are left out and holes filled.
    object_type, per, locked
        See :func:`~widgetkit.slides.export_geojson.contours_geojson`.
    overwrite, progress, cancel

    Returns
    -------
    list of Path
        One file a slide. Each object's metadata says how it was made.
    """
    winners = cluster is None and method is None
    if winners and threshold is not None:
        raise InvalidInput(
            "A threshold is for the map of one cluster or of a method: give cluster= or method=."
        )
    rasters = _rasters(session, slide)
    targets = _targets(
        path, rasters, (".geojson", ".json"), ".geojson", overwrite, alone=slide is not None
    )
    count = _Counter(sum(r.shape[0] for r in rasters), progress, cancel)
    for raster, target in zip(rasters, targets, strict=True):
        found = raster.whole(count, cluster, method)
        slack = tolerance if tolerance is not None else (0.0 if winners else raster.side / 4)
        place: dict[str, Any] = {
            "downsample": raster.side, "origin": raster.origin, "tolerance": slack,
            "least_area": least_area,
        }  # fmt: skip
        notes = {"layer": session.layer, "tolerance (px)": f"{slack:g}"}
        regions = []
        if found.winner is not None:
            made = _clustering(session)
            for i in sorted(set(np.unique(found.winner).tolist()) - {255}):
                count.add(0)
                areas = outline(found.winner, i, **place)
                share = float((found.winner == i).sum() / max((found.coverage > 0).sum(), 1))
                regions.append(
                    Region(
                        made.names[i], colour(made.colors[i]), areas, {"Share of tiled area": share}
                    )
                )
            notes["areas"] = "positions that the cluster wins"
        else:
            level = threshold if threshold is not None else found.vmax / 2
            shade = colour(0 if cluster is None else _clustering(session).colors[cluster])
            name = found.title if cluster is None else _clustering(session).names[cluster]
            areas = contours(found.values, level, **place)
            regions.append(Region(name, shade, areas, {"Threshold": level}))
            notes["areas"] = f"{found.title} above {level:g} ({found.units})"
        collection = contours_geojson(
            regions, object_type=object_type, per=per, locked=locked, notes=notes
        )
        write_geojson(target, collection, overwrite=overwrite)
    return targets


def export_selection(
    session: Session,
    path: PathLike,
    slide: str | int | None = None,
    *,
    name: str = "selection",
    object_type: ObjectType = "annotation",
    overwrite: bool = False,
) -> list[Path]:
    """Write the selected tiles of each slide as GeoJSON squares, which QuPath imports into that slide.

    Parameters
    ----------
    session, path, slide
        As for :func:`export_contours`. Without ``slide`` there is a file for every slide on which
        something is selected.
    name : str
        Class of the squares in QuPath.
    object_type : "annotation" or "detection"
    overwrite : bool
    """
    places = session.placement
    chosen = session.selection.mask
    rasters = [
        r
        for r in _rasters(session, slide)
        if slide is not None or chosen[places.rows(r.slide)].any()
    ]
    if not rasters:
        raise InvalidInput("Nothing that lies on a slide is selected.")
    targets = _targets(
        path, rasters, (".geojson", ".json"), ".geojson", overwrite, alone=slide is not None
    )
    for raster, target in zip(rasters, targets, strict=True):
        rows = places.rows(raster.slide)
        squares = [_square(places.boxes[row]) for row in rows[chosen[rows]]]
        region = Region(name, colour(0), squares)
        collection = contours_geojson([region], object_type=object_type, per="polygon")
        write_geojson(target, collection, overwrite=overwrite)
    return targets


def export_factor_table(
    session: Session,
    path: PathLike,
    *,
    per: PerRow = "tile",
    identifiers: Identifiers = "number",
    overwrite: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Path:
    """Write the clusters' weights as CSV or parquet, by tile or by slide.

    Of the clusters as edited, hidden ones included.

    Parameters
    ----------
    session : Session
    path : path
        Ends with ``.csv`` or ``.parquet``.
    per : "tile" or "slide"
        A row a tile, with the mean and the largest weight of each cluster and the share of the
        positions it wins; or a row for each slide and cluster.
    identifiers : "number", "drop" or "keep"
        What becomes of patients', slides' and files' names. Slides have the number that files of
        the other exports have.
    overwrite : bool
    progress : callable (tiles done, tiles), optional
    cancel : callable, optional
    """
    if per not in ("tile", "slide"):
        raise InvalidInput(f"per is 'tile' or 'slide'; got {per!r}.")
    checked_target(path, (".csv", ".parquet"), overwrite=overwrite)
    clustering = _clustering(session)
    found = weighing.find(session.store, clustering)
    if found is None:
        session.request_factors()
        session.wait()
        found = weighing.find(session.store, clustering)
    if found is None:
        raise NeedsActivations("The positions of the tiles could not be given weights.")
    pooled = pooling.pooled(clustering, found, progress=progress, cancel=cancel)
    places = session.placement
    tiles = session.store.tiles
    numbers = _slide_numbers(places.names) | {
        column: known
        for column, known in numbering(tiles).items()
        if column not in ("slide", "source")
    }
    if per == "tile":
        table, units = tile_table(tiles, pooled, clustering.names)
    else:
        cells = int(np.prod(found.grid))
        table, units = slide_table(
            places.slide, places.names, pooled, clustering.names, positions=cells
        )
    return write_table(
        path, table, units=units, identifiers=identifiers, numbers=numbers, overwrite=overwrite
    )


def export_association(
    session: Session,
    path: PathLike,
    *,
    of: Literal["clusters", "selection"] = "clusters",
    content: Answer = "tests",
    overwrite: bool = False,
) -> Path:
    """Write what the clusters, or the selection, go with, as CSV or parquet.

    Parameters
    ----------
    session : Session
    path : path
        Ends with ``.csv`` or ``.parquet``.
    of : "clusters" or "selection"
        Which of ``session.associations``.
    content : "tests", "means" or "pairs"
        One row a variable, smallest q first; a variable and cluster; a variable and pair of clusters.
    overwrite : bool

    Raises
    ------
    InvalidInput
        Nothing was asked about the clusters, or the selection, as they are now.
    """
    found = session.associations.get(of)
    if found is None:
        raise InvalidInput(
            f"There is no answer about the {of} as they are now: session.associate({of!r}), then "
            "session.wait()."
        )
    if content not in get_args(Answer):
        raise InvalidInput(f"content is one of {', '.join(get_args(Answer))}; got {content!r}.")
    frame = (
        found.ranked()
        if content == "tests"
        else (found.means if content == "means" else found.pairs)
    )
    return write_table(path, frame, overwrite=overwrite)


# -- rasters -----------------------------------------------------------------------------
@dataclass(frozen=True)
class _Raster:
    """The raster of a whole slide with one pixel a position, in line with its tiles."""

    session: Session
    slide: int
    shape: tuple[int, int]
    side: float  # level-0 px of one pixel
    origin: tuple[float, float]
    mpp: tuple[float, float]

    @property
    def label(self) -> str:
        return f"slide {self.slide + 1}"

    def strips(
        self, bytes_a_pixel: int
    ) -> Iterator[tuple[tuple[float, float, float, float], tuple[int, int]]]:
        """Views from top to bottom, and their shapes."""
        height, width = self.shape
        x, y = self.origin
        step = max(16, _STRIP // max(1, width * bytes_a_pixel))
        for start in range(0, height, step):
            stop = min(start + step, height)
            view = (x, y + start * self.side, x + width * self.side, y + stop * self.side)
            yield view, (stop - start, width)

    def whole(self, count: _Counter, cluster: int | None, method: str | MapSpec | None) -> SlideMap:
        """The map in one piece, put together from strips."""
        parts: list[SlideMap] = []
        for view, shape in self.strips(16):
            count.add(0)
            parts.append(
                self.session.slide_map(
                    self.slide, cluster=cluster, method=method, view=view, shape=shape
                )
            )
            count.add(shape[0])
        winners = [part.winner for part in parts if part.winner is not None]
        return replace(
            parts[0],
            values=np.concatenate([part.values for part in parts]),
            coverage=np.concatenate([part.coverage for part in parts]),
            winner=np.concatenate(winners) if winners else None,
        )


class _Counter:
    def __init__(self, total: int, progress: Progress | None, cancel: Cancel | None) -> None:
        self._total, self._progress, self._cancel = total, progress, cancel
        self._done = 0

    def add(self, rows: int) -> None:
        check(self._cancel, "The export")
        self._done += rows
        if rows and self._progress is not None:
            self._progress(self._done, self._total)


def _rasters(session: Session, slide: str | int | None) -> list[_Raster]:
    places = session.placement
    if not len(places):
        raise InvalidInput(f"The tiles of this store lie on no slide. {places.note}".rstrip())
    which = range(len(places)) if slide is None else [places.index(slide)]
    return [_raster(session, i) for i in which]


def _raster(session: Session, i: int) -> _Raster:
    places = session.placement
    grid = session.store.layers[session.layer].grid
    down, across = weighing.plane(grid) if grid else (1, 1)
    boxes = places.boxes[places.rows(i)]
    side = float((np.median(boxes[:, 2:] - boxes[:, :2], axis=0) / (across, down)).min())
    # Pixels begin where tiles begin, at most one pixel before the slide does.
    first = boxes[:, :2].min(axis=0) / side
    part = first - np.floor(first + 1e-9)
    origin = np.where(part > 1e-6, (part - 1) * side, 0.0)
    wide, high = np.ceil((np.array(places.extent(i)) - origin) / side - 1e-9).astype(int)
    x, y = places.mpp[i]
    return _Raster(
        session,
        i,
        (max(int(high), 1), max(int(wide), 1)),
        side,
        (float(origin[0]), float(origin[1])),
        (float(x), float(y)),
    )


def _targets(
    path: PathLike,
    rasters: list[_Raster],
    suffixes: tuple[str, ...],
    suffix: str,
    overwrite: bool,
    *,
    alone: bool,
) -> list[Path]:
    """A file a slide; none of them is in the way, or an error before anything is computed."""
    target = Path(path)
    if alone or (len(rasters) == 1 and target.name.lower().endswith(suffixes)):
        targets = [target]
    else:
        if target.name.lower().endswith(suffixes):
            raise InvalidInput(
                f"{len(rasters)} slides are {len(rasters)} files: give a folder, or one slide."
            )
        if not target.is_dir():
            raise InvalidInput(f"There is no folder {target.name!r}; make it first.")
        targets = [target / f"slide-{raster.slide + 1}{suffix}" for raster in rasters]
    for one in targets:
        checked_target(one, suffixes, overwrite=overwrite)
    return targets


def _square(box: npt.NDArray[np.float64]) -> Polygon:
    x0, y0, x1, y1 = box
    return Polygon(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]))


def _clustering(session: Session) -> Any:
    found = session.clustering
    if found is None:
        raise InvalidInput("There are no clusters yet. Call session.wait() or session.cluster().")
    return found


def _slide_numbers(names: tuple[str, ...]) -> dict[str, dict[str, str]]:
    return {
        column: {name: f"{column} {i + 1}" for i, name in enumerate(names)}
        for column in ("slide", "source")
    }
