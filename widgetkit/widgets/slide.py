"""SlideView: the slide itself, the map over it, and the selection on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import traitlets as t

from widgetkit.errors import InvalidInput, WidgetkitError, near
from widgetkit.session.jobs import Jobs
from widgetkit.widgets import map_menu, slide_pictures, slide_raster, wire
from widgetkit.widgets.base import STATIC, Handler, View, mode_of

if TYPE_CHECKING:
    from pathlib import Path

    from widgetkit.session import Job, Selection, SlideMap
    from widgetkit.slides import Picture, Placement
    from widgetkit.widgets.base import SessionLike

    Paths = str | Path | Mapping[str, str | Path]

#: Tiles of one slide that are outlined: 12 bytes each stay below :data:`wire.MESSAGE_MOST`.
TILES_MOST = 600_000
#: Tiles whose selection is told apart in a code of the strip.
_SHARES = 255
_number = count()


def _front(trait: Any) -> Any:
    """Written by the front-end: Python's own writes reach it, its own writes are not echoed."""
    return trait.tag(sync=True, echo_update=False)


class SlideView(View):
    """A whole slide, with a map stitched over it, to look at and to select from.

    The slide is read tile by tile as it is looked at. Drag moves it (``p``), selects in a rectangle
    (``r``) or freehand (``l``); Shift adds to the selection, Alt takes away, both keep what is in
    both. The wheel, ``+``, ``-`` and two fingers zoom, ``0`` shows the whole slide, ``z`` the
    selection, ``m`` switches the map off and on, page up and page down change the slide.

    The map is that of the session (:meth:`Session.set_map`): all clusters coloured by the one that
    wins each position, or one cluster, or another method's map.

    Parameters
    ----------
    session : Session, ActivationStore, str or path
        What to show.
    slides : path or mapping, optional
        Where the slides' files are, see :func:`widgetkit.slides.open_pictures`. Without them the
        slide is put together from the pictures of its tiles that the store holds.
    slide : str or int, optional
        The slide to begin with, by name or number.
    height : int
        Of the picture, CSS px.
    follow : bool
        Go to the slide that holds most of a selection made elsewhere.

    Attributes
    ----------
    opacity, threshold : float in [0, 1]
        The map is not drawn where it is below ``threshold`` of the scale (of its distance from
        zero, for signed maps).
    palette : "viridis", "magma" or "cividis"
    diverging : "RdBu_r" or "coolwarm"
        For signed maps.
    smooth, show_map : bool
    marking : "dim", "outline" or "off"
        How the selection is shown: everything else dimmed, an outline, or not.
    tool : "pan", "box" or "lasso"

    Examples
    --------
    >>> view = SlideView("demo.wk")                        # doctest: +SKIP
    >>> view.session.select_on_slide(0, [0, 0, 4000, 4000])   # doctest: +SKIP
    """

    _esm = STATIC / "slide.js"
    figure_kind = "slide"

    # -- what is shown; Python writes
    _picture: t.Dict[str, Any] = t.Dict().tag(sync=True)
    _slide_count = t.Int(0).tag(sync=True)
    _rows = t.Bytes().tag(sync=True)
    _boxes = t.Bytes().tag(sync=True)
    _tile_size: t.List[float] = t.List().tag(sync=True)
    _mask = t.Bytes().tag(sync=True)
    _shares = t.Bytes().tag(sync=True)
    _revision = t.Int(0).tag(sync=True)
    #: Selected on this slide, tiles on this slide, selected of all, all.
    _counts: t.List[int] = t.List(default_value=[0, 0, 0, 0]).tag(sync=True)
    _map = t.Bytes().tag(sync=True)
    _winner = t.Bytes().tag(sync=True)
    _map_info: t.Dict[str, Any] = t.Dict().tag(sync=True)
    _legend: t.List[Any] = t.List().tag(sync=True)
    _methods: t.List[Any] = t.List().tag(sync=True)
    _method = t.Unicode("").tag(sync=True)
    _targets: t.List[Any] = t.List().tag(sync=True)
    _target = t.Unicode("").tag(sync=True)
    _againsts: t.List[Any] = t.List().tag(sync=True)
    _against = t.Unicode("").tag(sync=True)
    _history: t.List[bool] = t.List(default_value=[False, False]).tag(sync=True)
    _focus = t.Int(-1).tag(sync=True)
    _empty = t.Unicode("").tag(sync=True)
    _note = t.Unicode("").tag(sync=True)
    #: Height of the picture, CSS px.
    height = t.Int(480, min=120, max=4000).tag(sync=True)
    # -- how it is shown; the front-end writes
    tool = _front(t.Enum(("pan", "box", "lasso"), "pan"))
    mode = _front(t.Enum(("replace", "add", "subtract"), "replace"))
    show_map = _front(t.Bool(True))
    opacity = _front(t.Float(0.6, min=0.0, max=1.0))
    threshold = _front(t.Float(0.0, min=0.0, max=1.0))
    palette = _front(t.Enum(("viridis", "magma", "cividis"), "viridis"))
    diverging = _front(t.Enum(("RdBu_r", "coolwarm"), "RdBu_r"))
    smooth = _front(t.Bool(True))
    marking = _front(t.Enum(("dim", "outline", "off"), "dim"))
    #: Go to the slide that holds most of a selection made elsewhere.
    follow = _front(t.Bool(True))
    #: Slide, x, y, CSS px per level-0 px, width and height in CSS px; empty = the whole slide.
    #: With 0 px per px: a box of that width and height in level-0 px, to be fitted.
    _camera: t.List[float] = _front(t.List())

    def __init__(
        self,
        session: SessionLike,
        slides: Paths | None = None,
        *,
        slide: str | int | None = None,
        height: int = 480,
        follow: bool = True,
    ) -> None:
        self._places: Placement | None = None
        self._at = -1
        self._shown: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._cells: slide_raster.Cells | None = None
        self._region: slide_raster.Region | None = None
        self._seen: tuple[slide_raster.Box, tuple[int, int]] | None = None
        self._wanted_slide = -1  # of which a map that runs the network was asked for
        self._asking = self._waiting = False
        self._own = False  # whether the selection is being made on the slide
        self._version = 0
        # Of its own: reading what is looked at is no job of the session's, and shows in no strip.
        self._reading = Jobs()
        self._given = (slides, slide)
        # A key of its own: two views of one session must not cancel each other.
        self._key = f"slide view {next(_number)}"
        super().__init__(session, height=height, follow=follow)
        self._on("selection", self._selection_changed)
        for event in ("clustering", "layer", "map"):
            self._on(event, lambda _: self._map_changed())
        self._on("concepts", lambda _: self._concepts_changed())
        self._on("concept reading", lambda _: self._concepts_changed())
        self._on("pictures", lambda _: self._pictures_changed())
        self._on("job", self._job_ended)
        self._on("focus", self._focus_changed)
        self._on("history", lambda _: self._show_history())
        if active := self.session.jobs.active:
            self._session_job(active[-1])  # the one that the first map needs began before

    def _begin(self, paths: Paths | None, slide: str | int | None) -> None:
        """Find the slides, and the one to begin with."""
        if paths is not None:
            self.session.open_slides(paths)
        try:
            self._places = places = self.session.placement
        except WidgetkitError as problem:  # volumes
            self._empty = str(problem)
        else:
            self._slide_count = len(places)
            if slide is not None:
                self._at = places.index(slide)
            elif len(places):
                fullest = self._fullest(self.session.selection)
                self._at = 0 if fullest is None else fullest
            else:
                self._empty = places.note or "The store has no tiles."
        if slide is not None and self._at < 0:
            raise InvalidInput(f"There is no slide {slide!r:.80} to begin with. {self._empty}")

    def _pictures_changed(self) -> None:
        self._version += 1
        if self._at >= 0:
            with self.hold_sync():
                self._picture = self._picture_state(self._at)
                self._ask_map()

    def _prepare(self) -> None:
        self._begin(*self._given)
        self._show_menus()
        self._show_history()
        if self._at >= 0:
            self._show_slide(self._at)
        self._show_shares()

    # -- the slide -----------------------------------------------------------------------
    @property
    def slides(self) -> tuple[str, ...]:
        """Names of all slides."""
        return () if self._places is None else self._places.names

    @property
    def slide(self) -> str | None:
        """Name of the slide that is shown; set it, by name or number, to show another."""
        return None if self._at < 0 else self.slides[self._at]

    @slide.setter
    def slide(self, slide: str | int) -> None:
        self.look_at(slide)

    def look_at(
        self, slide: str | int, box: tuple[float, float, float, float] | None = None
    ) -> None:
        """Show a slide, or a part of it.

        Parameters
        ----------
        slide : str or int
            By name or number.
        box : (x0, y0, x1, y1), optional
            Level-0 px; the whole slide by default.

        Raises
        ------
        UnknownName, InvalidInput
            There is no such slide; the box is not four numbers in order.
        """
        places = self._need_places()
        index = places.index(slide)
        camera: list[float] = []
        if box is not None:
            x0, y0, x1, y1 = wire.decode_box(box)
            if not (x1 > x0 and y1 > y0):
                raise InvalidInput(f"A part of a slide has a width and a height; got {box}.")
            camera = [float(index), (x0 + x1) / 2, (y0 + y1) / 2, 0.0, x1 - x0, y1 - y0]
            self._seen = ((x0, y0, x1, y1), (1024, 1024))
        with self.hold_sync():
            if index != self._at or box is None:
                self._show_slide(index, keep_view=box is not None)
            self._camera = camera
            self._ask_map()

    def _need_places(self) -> Placement:
        if self._places is None or not len(self._places):
            raise InvalidInput(self._empty or "The store has no slide to look at.")
        return self._places

    def _show_slide(self, index: int, *, keep_view: bool = False) -> None:
        places = self._need_places()
        self._at = index
        rows = np.asarray(places.rows(index), dtype=np.int64)
        boxes = np.asarray(places.boxes[rows], dtype=np.float64)
        self._shown = rows[:TILES_MOST]
        self._cells = self._cells_of(index)
        self._region = None
        if not keep_view:
            self._seen = None
        with self.hold_sync():
            self._picture = self._picture_state(index)
            self._rows = wire.encode_rows(self._shown)
            self._boxes, self._tile_size = encode_boxes(boxes[:TILES_MOST])
            few = (
                ""
                if len(rows) <= TILES_MOST
                else (f"Outlines of the first {TILES_MOST:,} of {len(rows):,} tiles.")
            )
            self._note = " ".join(filter(None, (places.note, few)))
            self._show_selection(self.session.selection)
            focus = self.session.focus
            self._focus = -1 if focus is None else int(focus)
            self._ask_map()

    def _picture_state(self, index: int) -> dict[str, Any]:
        places = self._need_places()
        width, height = places.extent(index)
        mpp = float(places.mpp[index][0])
        state: dict[str, Any] = {
            "index": index,
            "name": places.names[index],
            "width": width,
            "height": height,
            "mpp": mpp if np.isfinite(mpp) else None,
            "version": self._version,
            "levels": [],
            "note": "",
        }
        try:
            picture = self._of(index)
        except WidgetkitError as problem:  # the map is worth seeing without its ground
            return state | {"note": str(problem)}
        levels = [[lv.width, lv.height, lv.downsample] for lv in picture.levels]
        return state | {
            "width": picture.width,
            "height": picture.height,
            "tile": picture.tile,
            "levels": levels,
            "origin": picture.origin,
            "note": picture.note,
        }

    def _of(self, index: int) -> Picture:
        return self.session.pictures[self._need_places().names[index]]

    def _cells_of(self, index: int) -> slide_raster.Cells | None:
        """The finest that maps have on a slide; None where the layer has none that lie on slides."""
        session, places = self.session, self._need_places()
        grid = session.store.layers[session.map_layer()].grid
        if len(grid) not in (1, 2):  # (length,) is drawn as one line of cells
            return None
        return slide_raster.Cells.of(
            places.boxes[places.rows(index)], (int((1, *grid)[-2]), int(grid[-1]))
        )

    # -- the selection -------------------------------------------------------------------
    def _selection_changed(self, selection: Selection) -> None:
        if self._at < 0:
            self._revision = selection.revision
            return
        with self.hold_sync():
            fullest = self._fullest(selection)
            if self.follow and not self._own and fullest is not None and fullest != self._at:
                self._show_slide(fullest)
            else:
                self._show_selection(selection)
                if map_menu.value_of(self.session.map_spec).startswith("selection"):
                    self._region = None  # the map is of what is selected
                    self._ask_map()
            self._show_shares()

    def _fullest(self, selection: Selection) -> int | None:
        """The slide that holds most of a selection; the present one, of several that do."""
        counts = self._chosen(selection)
        if not counts.any():
            return None
        if self._at >= 0 and counts[self._at] == counts.max():
            return self._at
        return int(counts.argmax())

    def _chosen(self, selection: Selection) -> npt.NDArray[np.int64]:
        """(s,) selected tiles of each slide."""
        places = self._need_places()
        slide = places.slide[selection.rows]
        return np.bincount(slide[slide >= 0], minlength=len(places)).astype(np.int64)

    def _show_selection(self, selection: Selection) -> None:
        chosen = selection.mask[self._shown]
        with self.hold_sync():
            self._mask = wire.encode_mask(chosen)
            self._counts = [
                int(np.count_nonzero(chosen)), len(self._shown), selection.count, selection.n
            ]  # fmt: skip
            self._revision = selection.revision
            self._relabel()

    def _show_shares(self) -> None:
        if self._places is None or len(self._places) < 2:
            return
        counts = self._chosen(self.session.selection)
        # rounded up: one tile of a million is still some
        share = np.ceil(counts * _SHARES / np.maximum(self._places.counts, 1))
        self._shares = share.astype(np.uint8).tobytes()

    def _focus_changed(self, row: int | None) -> None:
        with self.hold_sync():
            if row is not None and self._places is not None and self.follow:
                slide = int(self._places.slide[row])
                if slide >= 0 and slide != self._at:
                    self._show_slide(slide)
            self._focus = -1 if row is None else int(row)

    def _show_history(self) -> None:
        history = self.session.history
        self._history = [history.can_undo, history.can_redo]

    # -- the map -------------------------------------------------------------------------
    def _map_changed(self) -> None:
        self._wanted_slide = -1
        with self.hold_sync():
            self._show_menus()
            if self._at >= 0:
                self._cells = self._cells_of(self._at)
                self._region = None
                self._ask_map()

    def _concepts_changed(self) -> None:
        if map_menu.of_concepts(self.session):
            self._map_changed()
        else:
            self._show_menus()

    def _show_menus(self) -> None:
        session, spec = self.session, self.session.map_spec
        clustering = session.clustering
        methods = map_menu.methods(session)
        if clustering is not None and session.store.layers[session.layer].has_maps:
            for entry in methods:
                if entry["name"] == "cluster":  # of vectors, too: each tile has one colour
                    entry.pop("reason", None)
        targets = map_menu.targets(session, spec)
        for entry in targets:
            if entry["value"] == "cluster:" and spec.method == "cluster":
                entry["label"] = "all, by the one that wins"
        with self.hold_sync():
            self._methods = methods
            self._method = spec.method
            self._targets = targets
            self._target = map_menu.value_of(spec)
            self._againsts = map_menu.against(session, spec)
            self._against = "" if spec.against is None else str(spec.against)
            self._legend = [] if clustering is None else [
                {"name": name, "colour": int(colour), "hidden": i in clustering.hidden}
                for i, (name, colour) in enumerate(
                    zip(clustering.names, clustering.colors, strict=True)
                )
            ]  # fmt: skip
            self._relabel()

    def _ask_map(self) -> None:
        """Ask for the map of what is seen, unless the browser has it."""
        session, spec = self.session, self.session.map_spec
        if self._at < 0:
            return
        if self._cells is None:
            layer = session.map_layer()
            self._no_map(
                f"The maps of layer {layer!r} are not flat, so they do not lie on a slide."
                if session.store.layers[layer].has_maps
                else f"Layer {layer!r} holds one vector a tile and no maps."
            )
            return
        wanted = slide_raster.plan(self._cells, *(self._seen or ()))
        if self._region is not None and self._region.serves(wanted):
            return
        if not session.maps_at_once(spec) and self._wanted_slide != self._at:
            # the network on thousands of tiles is not what a look at another slide should start
            why = map_menu.why_not(session, _method(spec.method))
            session.jobs.cancel(self._key)
            self._no_map(self._why_not_live(why), compute=not why)
            return
        if self._map_info.get("slide") != self._at:
            self._no_map("")  # nothing of another slide while it is made
        self._region = wanted
        self._asking = True
        try:
            session.request_slide_map(
                self._at,
                method=spec,
                view=wanted.view,
                shape=wanted.shape,
                on_result=self._taker(self._at, wanted),
                key=self._key,
            )
        except WidgetkitError as problem:
            # Not an error of the view: the slide is there, and the reason is what it shows.
            session.jobs.cancel(self._key)
            self._no_map(str(problem))
        finally:
            self._asking = False

    def _why_not_live(self, why: str) -> str:
        method = _method(self.session.map_spec.method)
        if why:
            return f"{method.title} {why}."
        tiles = len(self._need_places().rows(self._at))
        return f"{method.title} runs the network on the {tiles:,} tiles of this slide."

    def _taker(self, slide: int, region: slide_raster.Region) -> Callable[[SlideMap], None]:
        def take(result: SlideMap) -> None:
            if slide == self._at and region == self._region:  # else the view has moved on
                self._guard(self._show_map, result, region)

        return take

    def _show_map(self, result: SlideMap, region: slide_raster.Region) -> None:
        self._waiting = result.status == "waiting"
        if self._waiting:
            self._no_map(f"{result.title} ...", asked=True)
            return
        values, winner, info = slide_raster.encode(result)
        if result.spec is not None and len(self.slides) > 1:
            # clusters have one scale for all slides; a method's maps are known for this one only
            info["title"] += " (on the scale of this slide)"
        with self.hold_sync():
            self._map, self._winner = values, winner
            self._map_info = info | {"slide": self._at, "whole": region.whole, "reason": ""}
            self._relabel()

    def _job_ended(self, job: Job) -> None:
        if job.status not in ("cancelled", "failed") or self._asking or not self._waiting:
            return
        if job.key in ("factors", self._key):
            self._waiting = False
            self._no_map(f"{job.title}: {job.status}. The map needs it.", compute=True)

    def _no_map(self, reason: str, *, compute: bool = False, asked: bool = False) -> None:
        if not asked:
            self._region, self._waiting = None, False
        with self.hold_sync():
            self._map = self._winner = b""
            # without a map no view needs another one
            self._map_info = {
                "slide": self._at, "reason": reason, "compute": compute, "whole": bool(reason)
            }  # fmt: skip
            self._relabel()

    # -- messages from the browser -------------------------------------------------------
    def _handlers(self) -> dict[str, Handler]:
        return super()._handlers() | {
            "tiles": self._send_tiles,
            "strip": self._send_strip,
            "slide": self._choose_slide,
            "view": self._set_view,
            "lasso": self._lasso,
            "box": self._box,
            "pick": self._pick,
            "focus": self._set_focus,
            "map": self._set_map,
            "compute": self._compute_map,
            "hide": self._hide,
            "command": self._command,
        }

    def _send_tiles(self, content: Mapping[str, Any], _buffers: list[bytes]) -> None:
        request = slide_pictures.asked(content, len(self.slides))
        if request.version != self._version:
            return  # of pictures that are no longer shown
        picture = self._of(request.slide)

        def answer(found: Any) -> None:
            reply, buffers, problem = found
            self.send(reply, buffers)
            if problem is not None:
                self.error = str(problem)

        self._reading.submit(
            f"tiles {request.slide} {request.level} {request.at[0]}",
            lambda _job: slide_pictures.read_tiles(picture, request),
            answer,
        )

    def _send_strip(self, content: Mapping[str, Any], _buffers: list[bytes]) -> None:
        asked, version = content.get("slides"), content.get("version")
        if not isinstance(asked, list) or not 0 < len(asked) <= slide_pictures.THUMBS_MOST:
            raise InvalidInput(
                f"The strip asks for 1 to {slide_pictures.THUMBS_MOST} slides at a time."
            )
        places = self._need_places()
        numbers = [wire.decode_row(number, len(places)) for number in asked]

        def read(_job: Any) -> Any:
            return slide_pictures.strip_sheet([self._thumbnail(i) for i in numbers])

        def answer(sheet: Any) -> None:
            reply = {
                "kind": "strip",
                "version": version,
                "slides": numbers,
                "names": [places.names[i] for i in numbers],
                "tiles": [int(places.counts[i]) for i in numbers],
                **sheet.info,
            }
            self.send(reply, [sheet.data])

        self._reading.submit("strip", read, answer)

    def _thumbnail(self, index: int) -> npt.NDArray[np.uint8] | None:
        try:
            return self._of(index).thumbnail(slide_pictures.THUMB_PX)
        except WidgetkitError:
            return None  # the slide itself says why, once it is looked at

    def _choose_slide(self, content: Mapping[str, Any], _buffers: list[bytes]) -> None:
        self.look_at(wire.decode_row(content.get("slide"), len(self.slides)))

    def _set_view(self, content: Mapping[str, Any], _buffers: list[bytes]) -> None:
        if content.get("slide") != self._at:
            return  # it has been left
        size = content.get("size")
        if (
            not isinstance(size, list)
            or len(size) != 2
            or not all(isinstance(v, int) and 0 < v <= 32_768 for v in size)
        ):
            raise InvalidInput(f"A view is 1 to 32,768 px wide and high; got {size!r:.60}.")
        self._seen = (wire.decode_box(content.get("box")), (size[0], size[1]))
        self._ask_map()

    def _selecting(self, content: Mapping[str, Any]) -> str:
        return self.slides[wire.decode_row(content.get("slide"), len(self.slides))]

    def _lasso(self, content: Mapping[str, Any], buffers: list[bytes]) -> None:
        if len(buffers) != 1:
            raise InvalidInput(f"A lasso comes with one buffer of vertices, got {len(buffers)}.")
        polygon = wire.decode_polygon(content.get("box", ()), buffers[0])
        self._select_here(
            lambda: self.session.select_on_slide(
                self._selecting(content), polygon, mode=mode_of(content)
            )
        )

    def _box(self, content: Mapping[str, Any], _buffers: list[bytes]) -> None:
        box = wire.decode_box(content.get("box"))
        self._select_here(
            lambda: self.session.select_on_slide(
                self._selecting(content), box, mode=mode_of(content)
            )
        )

    def _pick(self, content: Mapping[str, Any], _buffers: list[bytes]) -> None:
        row = wire.decode_row(content.get("row"), len(self.session.store))
        how = {"kind": "click", "row": row}
        self._select_here(lambda: self.session.select([row], mode=mode_of(content), how=how))

    def _select_here(self, select: Callable[[], object]) -> None:
        """What was selected on the slide does not lead away from it."""
        self._own = True
        try:
            select()
        finally:
            self._own = False

    def _set_focus(self, content: Mapping[str, Any], _buffers: list[bytes]) -> None:
        self.session.set_focus(wire.decode_row(content.get("row"), len(self.session.store)))

    def _set_map(self, content: Mapping[str, Any], _buffers: list[bytes]) -> None:
        spec = map_menu.parse(
            str(content.get("method", "")), content.get("target"), content.get("against")
        )
        self.session.set_map(spec)

    def _compute_map(self, _content: Mapping[str, Any], _buffers: list[bytes]) -> None:
        self._wanted_slide = self._at
        self._region = None
        self._ask_map()

    def _hide(self, content: Mapping[str, Any], _buffers: list[bytes]) -> None:
        cluster = wire.decode_row(content.get("cluster"), len(self._legend))
        self.session.hide_cluster(cluster, bool(content.get("hidden")))

    def _command(self, content: Mapping[str, Any], _buffers: list[bytes]) -> None:
        session = self.session
        commands: dict[str, Callable[[], object]] = {
            "clear": session.clear,
            "all": session.select_all,
            "invert": session.invert,
            "undo": session.undo,
            "redo": session.redo,
            "concept": session.save_as_concept,
        }
        name = str(content.get("name"))
        if name not in commands:
            raise InvalidInput(f"Unknown command {name!r:.40}. {near(name, commands)}")
        if name in ("undo", "redo", "concept"):
            commands[name]()
        else:
            self._select_here(commands[name])

    def close(self) -> None:
        """Stop following the session and leave the page. The session lives on."""
        reading = getattr(self, "_reading", None)  # a constructor that raised closes, too
        if reading is not None:
            reading.close()
        super().close()

    # -- words and figure ----------------------------------------------------------------
    def describe(self) -> str:
        """Which slide, which map on which scale, how much is selected; then each cluster."""
        if self._at < 0:
            return f"Slide view: no slide. {self._empty}".rstrip()
        chosen, on, selected, _ = self._counts
        session, spec = self.session, self.session.map_spec
        shown = (
            "all clusters by the one that wins"
            if spec.method == "cluster" and spec.target is None
            else map_menu.title_of(session, spec)
        )
        head = (
            f"Slide view: slide {self._at + 1} of {len(self.slides)}, map of {shown}, "
            f"{chosen:,} of {on:,} tiles selected here"
        )
        head += f", {selected:,} in all" if selected > chosen else ""
        info = self._map_info
        lines = [head]
        if info.get("reason"):
            lines.append(str(info["reason"]))
        elif "low" in info:
            units = f" {info['units']}" if info.get("units") else ""
            lines.append(f"{info['title']}, scale {info['low']:.3g} to {info['high']:.3g}{units}")
        lines += [
            f"  {entry['name']}{' (hidden)' if entry['hidden'] else ''}" for entry in self._legend
        ]
        return "\n".join(lines)

    def _on_paper(self) -> dict[str, Any]:
        extent = self._need_places().extent(self._at)
        return {"slide": self._at, "view": _camera_box(self._camera, self._at, extent)}

    def _figure_options(self) -> dict[str, Any]:
        return self._on_paper() | {
            "opacity": self.opacity if self.show_map else 0.0,
            "threshold": self.threshold,
            "palette": self.palette,
            "diverging": self.diverging,
        }

    def _caption_options(self) -> dict[str, Any]:
        from widgetkit.figures import slide_sentence

        return {"extra": [slide_sentence(self.session, **self._on_paper())]}


def _method(name: str) -> Any:
    from widgetkit import explain

    return explain.methods()[name]


def encode_boxes(boxes: npt.NDArray[np.float64]) -> tuple[bytes, list[float]]:
    """Boxes ``(m, 4)`` as float32, and the one size of all, or ``[]``.

    With one size, x0 and y0 of each are sent (8 bytes a tile), else all four numbers.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    if len(boxes) and (np.ptp(sides, axis=0) < 0.01).all():
        return boxes[:, :2].astype("<f4").tobytes(), [float(v) for v in np.median(sides, axis=0)]
    return boxes.astype("<f4").tobytes(), []


def _camera_box(
    camera: list[float], slide: int, extent: tuple[int, int]
) -> tuple[float, float, float, float] | None:
    """What the browser shows, level-0 px, within the slide; None for all of it."""
    # the browser wrote it
    if len(camera) != 6 or not all(isinstance(v, int | float) and math.isfinite(v) for v in camera):
        return None
    if camera[0] != slide:
        return None
    x, y, scale, width, height = camera[1:]
    wide, high = (width / scale / 2, height / scale / 2) if scale > 0 else (width / 2, height / 2)
    x0, y0 = max(0.0, x - wide), max(0.0, y - high)
    x1, y1 = min(float(extent[0]), x + wide), min(float(extent[1]), y + high)
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None
