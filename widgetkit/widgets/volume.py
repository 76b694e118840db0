"""VolumeView: three planes through a volume, the map over them, linked by a crosshair."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import traitlets as t

from widgetkit.errors import InvalidInput, WidgetkitError, near
from widgetkit.figures.volume import volume_row
from widgetkit.session.jobs import Jobs
from widgetkit.session.mapspec import layer_with_maps
from widgetkit.session.scan import AXES, Scan, map_of
from widgetkit.session.volumes import Volumes
from widgetkit.widgets import map_menu, volume_voxels, volume_window, wire
from widgetkit.widgets.base import STATIC, Handler, View, mode_of
from widgetkit.widgets.maps import TILES_MOST, encode_maps

if TYPE_CHECKING:
    from widgetkit.session import Job, MapResult, Selection
    from widgetkit.widgets.base import SessionLike

#: Cells of a map that are sent: 2 MB. Finer ones (of methods that draw at the size of the image)
#: are averaged.
CELLS_MOST = 2**21
_number = count()


def _front(trait: Any) -> Any:
    """Written by the front-end: Python's own writes reach it, its own writes are not echoed."""
    return trait.tag(sync=True, echo_update=False)


class VolumeView(View):
    """Slices of a volume in three planes, with a map over them.

    A volume is a tile, where the tiles are volumes, or the slices of one series. A click or a drag
    moves the crosshair, through which all planes go; the wheel, the arrows, page keys, Home and End
    move through the slices. With the right button, or ``w`` held, a drag changes level (up and down)
    and width (across) of the window. ``1``, ``2``, ``3`` make a plane the large one, ``n`` and ``b``
    show the next volume of the selection and the one before, ``m`` switches the map off and on.

    The map is that of the session (:meth:`Session.set_map`).

    Parameters
    ----------
    session : Session, ActivationStore, str or path
        What to show.
    row : int, optional
        Tile to begin with. Default: the focus, else the first representative of the selection.
    spacing : (z, y, x), optional
        Millimetres from voxel to voxel, where the store does not say them.
    directions : three letters such as "SPL", optional
        Where D, H and W run to, where the store does not say it.
    height : int
        Of the planes, CSS px.
    follow : bool
        Show the tile that is in focus, or the first of a selection made elsewhere.

    Attributes
    ----------
    large : "D", "H" or "W"
        The axis across the large plane.
    opacity, threshold : float in [0, 1]
        The map is not drawn where it is below ``threshold`` of the scale (of its distance from
        zero, for signed maps).
    palette : "viridis", "magma" or "cividis"
    diverging : "RdBu_r" or "coolwarm"
        For signed maps.
    smooth, show_map, show_cross : bool
    tool : "cross", "window", "pan" or "brush"
        What a drag does.

    Examples
    --------
    >>> view = VolumeView("ct.wk", row=3)                  # doctest: +SKIP
    >>> view.at, view.window = (30, 64, 64), "lung"        # doctest: +SKIP
    """

    _esm = STATIC / "volume.js"
    figure_kind = "volume"

    # -- what is shown; Python writes
    _volume: t.Dict[str, Any] = t.Dict().tag(sync=True)
    _map = t.Bytes().tag(sync=True)
    _map_info: t.Dict[str, Any] = t.Dict().tag(sync=True)
    _methods: t.List[Any] = t.List().tag(sync=True)
    _method = t.Unicode("").tag(sync=True)
    _targets: t.List[Any] = t.List().tag(sync=True)
    _target = t.Unicode("").tag(sync=True)
    _againsts: t.List[Any] = t.List().tag(sync=True)
    _against = t.Unicode("").tag(sync=True)
    #: Place of the volume among those of the selection (0: not one of them), how many these are.
    _counts: t.List[int] = t.List(default_value=[0, 0]).tag(sync=True)
    _revision = t.Int(0).tag(sync=True)
    _empty = t.Unicode("").tag(sync=True)
    #: Height of the planes, CSS px.
    height = t.Int(480, min=160, max=4000).tag(sync=True)
    # -- how it is shown; the front-end writes
    large = _front(t.Enum(AXES, "D"))
    tool = _front(t.Enum(("cross", "window", "pan", "brush"), "cross"))
    show_map = _front(t.Bool(True))
    show_cross = _front(t.Bool(True))
    opacity = _front(t.Float(0.5, min=0.0, max=1.0))
    threshold = _front(t.Float(0.0, min=0.0, max=1.0))
    palette = _front(t.Enum(("viridis", "magma", "cividis"), "viridis"))
    diverging = _front(t.Enum(("RdBu_r", "coolwarm"), "RdBu_r"))
    smooth = _front(t.Bool(True))
    #: Show what is in focus or selected elsewhere.
    follow = _front(t.Bool(True))
    #: Voxel of the crosshair (d, h, w); empty = the middle.
    _at: t.List[int] = _front(t.List())
    #: Values drawn black and white, in the volume's units; empty = the stored window.
    _window: t.List[float] = _front(t.List())
    #: Zoom from 1 (all of it) and the voxel (d, h, w) in the middle; empty = all of it.
    _camera: t.List[float] = _front(t.List())

    def __init__(
        self,
        session: SessionLike,
        *,
        row: int | None = None,
        spacing: Sequence[float] | None = None,
        directions: Sequence[str] | None = None,
        height: int = 480,
        follow: bool = True,
    ) -> None:
        self._given = (row, spacing, directions)
        self._volumes: Volumes | None = None
        self._scan: Scan | None = None
        self._sent: volume_voxels.Sent | None = None
        self._version = 0
        self._waiting = False  # for a map that a job makes
        self._asking = False
        self._wanted = -1  # volume of which a long map was asked for
        self._own = False  # whether the selection is being made by a brush here
        #: Row, cells and grid of what was brushed last.
        self._brushed: tuple[int, npt.NDArray[np.int64], tuple[int, ...]] | None = None
        # Of its own: reading what is looked at is no job of the session's, and shows in no strip.
        self._reading = Jobs()
        # A key of its own: two views of one session must not cancel each other.
        self._key = f"volume maps {next(_number)}"
        super().__init__(session, height=height, follow=follow)
        self._on("focus", self._focus_changed)
        self._on("selection", self._selection_changed)
        for event in ("clustering", "layer", "map"):
            self._on(event, lambda _: self._map_changed())
        self._on("concepts", lambda _: self._concepts_changed())
        self._on("concept reading", lambda _: self._concepts_changed())
        self._on("job", self._job_ended)
        if active := self.session.jobs.active:
            self._session_job(active[-1])  # the one that the first map needs began before

    def _prepare(self) -> None:
        row, spacing, directions = self._given
        self._volumes = Volumes(self.session.store, spacing=spacing, directions=directions)
        self._revision = self.session.selection.revision
        self._show_menus()
        if row is not None:
            self.row = row
        elif self._volumes.reason:
            self._show_none(self._volumes.reason)
        else:
            found = volume_row(self.session)
            assert found is not None  # a store without tiles has a reason
            self._follow_to(found)

    # -- the volume ----------------------------------------------------------------------
    @property
    def row(self) -> int | None:
        """Tile that is shown: the volume, or the slice at the crosshair; set it to show another.

        Raises
        ------
        InvalidInput
            It is no tile of the store, or no volume or slice of one; says why.
        """
        scan = self._scan
        if scan is None:
            return None
        if not scan.stacked:
            return int(scan.rows[0])
        found = int(scan.rows[self.at[0]])
        return found if found >= 0 else None

    @row.setter
    def row(self, row: int) -> None:
        if isinstance(row, bool) or not isinstance(row, int | np.integer):
            raise InvalidInput(f"A row is a whole number; got {row!r:.40}.")
        self._show(wire.decode_row(int(row), len(self.session.store)))

    @property
    def at(self) -> tuple[int, int, int]:
        """Voxel (d, h, w) of the crosshair; set it to move there."""
        if self._scan is None:
            return 0, 0, 0
        try:
            return volume_voxels.decode_voxel(self._at, self._scan.shape)
        except InvalidInput:  # none yet, or of a volume of another shape
            return self._nearest(self._at)

    @at.setter
    def at(self, at: Sequence[int]) -> None:
        place = [int(i) if isinstance(i, np.integer) else i for i in at]
        self._at = list(volume_voxels.decode_voxel(place, self._need_scan().shape))

    def _nearest(self, at: Sequence[Any]) -> tuple[int, int, int]:
        scan = self._need_scan()
        # the browser wrote it
        if len(at) != 3 or not all(isinstance(i, int) for i in at):
            return scan.middle
        d, h, w = (min(max(i, 0), n - 1) for i, n in zip(at, scan.shape, strict=True))
        return d, h, w

    @property
    def window(self) -> tuple[float, float]:
        """Values drawn black and white, in the units of the volume (HU of a CT).

        Set it to ``(low, high)``, a preset's name such as ``"lung"`` (CT in HU), or None: all that
        the store holds.
        """
        found = volume_window.checked(self._window)
        return found or ((0.0, 255.0) if self._scan is None else volume_window.stored_window(self._scan))  # fmt: skip

    @window.setter
    def window(self, window: str | tuple[float, float] | None) -> None:
        self._window = [] if window is None else list(volume_window.resolve(window, self._scan))

    def _need_scan(self) -> Scan:
        if self._scan is None:
            raise InvalidInput(self._empty or "No volume is shown.")
        return self._scan

    def _need_volumes(self) -> Volumes:
        assert self._volumes is not None
        return self._volumes

    def _show(self, row: int) -> None:
        """Show the volume that a tile is, or belongs to."""
        volumes = self._need_volumes()
        index = volumes.of(row)
        if index < 0:
            raise InvalidInput(
                volumes.reason or f"Tile {row} belongs to no series, so it is no slice of a volume."
            )
        scan = self._scan
        with self.hold_sync():
            if scan is None or scan.index != index:
                scan = volumes[index]
                self._take(scan)
            if scan.stacked:
                _, h, w = self.at
                self._at = [scan.slice_of(row) or 0, h, w]

    def _take(self, scan: Scan) -> None:
        volumes = self._need_volumes()
        self._reading.cancel()
        self._scan, self._empty = scan, ""
        self._sent = sent = volume_voxels.Sent(self.session.store, scan)
        self._version += 1
        notes = list(scan.notes)
        if sent.step != (1, 1, 1):
            each = " x ".join(map(str, sent.step))
            notes.insert(0, f"Shown at 1/{max(sent.step)}: a voxel here is the mean of {each}.")
        self._volume = {
            "version": self._version,
            "index": scan.index,
            "name": volumes.named(scan),
            "rows": [int(row) for row in scan.rows],
            "stacked": scan.stacked,
            "shape": list(scan.shape),
            "step": list(sent.step),
            "colour": scan.colour,
            "chunks": sent.chunks,
            "chunk": volume_voxels.CHUNK,
            "spacing": list(scan.spacing),
            "mm": scan.in_mm,
            "window": list(scan.window or ()),
            "units": scan.units,
            "presets": volume_window.presets(scan),
            "planes": [
                {
                    "name": plane.name,
                    "across": plane.across,
                    "down": plane.down,
                    "flip": [plane.flip_across, plane.flip_down],
                    "letters": list(plane.letters),
                }
                for plane in scan.planes
            ],
            "note": " ".join(notes),
        }
        self._count()
        self._no_map("")  # nothing of another volume while its own is made
        self._ask_map()

    def _show_none(self, reason: str) -> None:
        self._reading.cancel()
        self.session.jobs.cancel(self._key)
        self._version += 1
        self._scan = self._sent = None
        with self.hold_sync():
            self._volume, self._empty = {}, reason
            self._count()
            self._no_map("")

    def _follow_to(self, row: int) -> None:
        """Show a tile that was chosen elsewhere; one that is no volume says so in its place."""
        try:
            self._show(row)
        except InvalidInput as problem:
            self._show_none(str(problem))

    def _among(self) -> npt.NDArray[np.int64]:
        """Volumes of the selection, of all tiles where none is selected."""
        selection = self.session.selection
        rows = selection.rows if selection.count else np.arange(selection.n, dtype=np.int64)
        return self._need_volumes().among(rows)

    def _count(self) -> None:
        among = self._among()
        index = -1 if self._scan is None else self._scan.index
        at = int(np.searchsorted(among, index))
        here = at < len(among) and int(among[at]) == index
        self._counts = [at + 1 if here else 0, len(among)]
        self._relabel()

    # -- the session ---------------------------------------------------------------------
    def _focus_changed(self, row: int | None) -> None:
        if row is not None and self.follow:
            self._follow_to(int(row))

    def _selection_changed(self, selection: Selection) -> None:
        with self.hold_sync():
            self._revision = selection.revision
            self._count()
            away = selection.count and not self._counts[0] and len(self._among())
            if self.follow and away and not self._own:
                focus = self.session.focus
                chosen = focus is not None and bool(selection.mask[focus])
                found = focus if chosen else int(self.session.ranked("representative", 1)[0][0])
                assert found is not None
                self._follow_to(found)
            elif map_menu.value_of(self.session.map_spec).startswith("selection"):
                self._ask_map()  # the map is of what is selected

    def _map_changed(self) -> None:
        with self.hold_sync():
            self._show_menus()
            self._ask_map()

    def _concepts_changed(self) -> None:
        if map_menu.of_concepts(self.session):
            self._map_changed()
        else:
            self._show_menus()

    def _show_menus(self) -> None:
        session, spec = self.session, self.session.map_spec
        with self.hold_sync():
            self._methods = map_menu.methods(session)
            self._method = spec.method
            self._targets = map_menu.targets(session, spec)
            self._target = map_menu.value_of(spec)
            self._againsts = map_menu.against(session, spec)
            self._against = "" if spec.against is None else str(spec.against)
            self._relabel()

    # -- maps ----------------------------------------------------------------------------
    def _ask_map(self) -> None:
        session, spec, scan = self.session, self.session.map_spec, self._scan
        if scan is None:
            return
        rows = scan.tiles
        # the network on hundreds of slices is not what a look at a series should start
        long = len(rows) > TILES_MOST and not session.maps_at_once(spec)
        if long and self._wanted != scan.index:
            why, title = map_menu.why_not(session, _method(spec.method)), self._title()
            session.jobs.cancel(self._key)
            asked = f"runs the network on the {len(rows):,} slices of this series"
            self._no_map(f"{title} {why or asked}.", compute=not why)
            return
        self._asking = True
        try:
            job = session.request_maps(rows, spec, self._taker(scan), key=self._key)
            if job is not None and job.active:
                self._waiting = True
                if "shape" not in self._map_info:
                    self._no_map(f"{self._title()} is being computed ...", waiting=True)
        except WidgetkitError as problem:
            # Not an error of the view: the volume is there, and the reason is what it shows.
            session.jobs.cancel(self._key)
            self._no_map(str(problem))
        finally:
            self._asking = False

    def _title(self) -> str:
        return str(_method(self.session.map_spec.method).title)

    def _taker(self, scan: Scan) -> Any:
        def take(result: MapResult) -> None:
            if scan is self._scan:  # else the view has moved on
                self._guard(self._show_map, result, scan)

        return take

    def _show_map(self, result: MapResult, scan: Scan) -> None:
        self._waiting = result.status != "final"
        if result.status == "waiting":
            self._no_map(f"{result.title} ...", waiting=True)
            return
        if not np.asarray(result.ready).any():
            self._no_map(f"{result.title}. There is none of this volume.")
            return
        try:
            grid = _fewer(map_of(result, scan))
        except InvalidInput as problem:  # a layer of other axes than the tiles
            self._no_map(str(problem))
            return
        low, high = float(result.vmin), float(result.vmax)
        data, encoding, factor = encode_maps(grid[None], low, high)
        first = ", a first look" if result.status == "coarse" else ""
        with self.hold_sync():
            self._map = data
            self._map_info = {
                "version": self._version,
                "encoding": encoding,
                "factor": factor,
                "shape": list(grid.shape),
                "low": low,
                "high": high,
                "signed": bool(result.signed),
                "title": f"{result.title} (scale of this volume{first})",
                "status": result.status,
                "reason": "",
            }
            self._relabel()

    def _job_ended(self, job: Job) -> None:
        if job.status not in ("cancelled", "failed") or self._asking or not self._waiting:
            return
        if job.key == self._key:
            self._wanted = -1
            self._no_map(f"{job.title}: {job.status}.", compute=True)

    def _no_map(self, reason: str, *, compute: bool = False, waiting: bool = False) -> None:
        self._waiting = waiting
        with self.hold_sync():
            self._map = b""
            self._map_info = {"reason": reason, "compute": compute} if reason else {}
            self._relabel()

    # -- messages from the browser -------------------------------------------------------
    def _handlers(self) -> dict[str, Handler]:
        return super()._handlers() | {
            "chunk": self._send_chunk,
            "step": self._step,
            "map": self._set_map,
            "compute": self._compute_map,
            "alike": self._select_alike,
            "command": self._command,
        }

    def _send_chunk(self, content: Mapping[str, Any], _buffers: list[bytes]) -> None:
        version, sent = content.get("version"), self._sent
        if version != self._version or sent is None:
            return  # of a volume that is no longer shown
        index = content.get("index")
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < sent.chunks:
            raise InvalidInput(f"Part {index!r:.40} is not one of the {sent.chunks} of the volume.")

        def read(_job: Any) -> bytes | WidgetkitError:
            try:
                return sent.chunk(index)
            except WidgetkitError as problem:
                return problem

        def answer(found: bytes | WidgetkitError) -> None:
            reply = {"kind": "chunk", "version": version, "index": index}
            if isinstance(found, bytes):
                self.send(reply, [found])
                return
            self.send(reply | {"failed": True})
            self.error = f"{self._need_volumes().named(self._need_scan())}: {found}"

        self._reading.submit(f"chunk {index}", read, answer)

    def _step(self, content: Mapping[str, Any], _buffers: list[bytes]) -> None:
        by = content.get("by")
        if isinstance(by, bool) or by not in (-1, 1):
            raise InvalidInput(f"A step is to the next volume, 1, or to the one before, -1: {by!r:.40}.")  # fmt: skip
        self.step(int(by))

    def step(self, by: int) -> None:
        """Show another volume of the selection (of all, where none is selected).

        Parameters
        ----------
        by : int
            1 for the next, -1 for the one before; stays at the ends.
        """
        among, volumes = self._among(), self._need_volumes()
        if not len(among):
            raise InvalidInput(volumes.reason or "Nothing of what is selected is a volume.")
        index = -1 if self._scan is None else self._scan.index
        at = int(np.searchsorted(among, index))
        inside = at < len(among) and int(among[at]) == index
        # from a volume that is not among them, the next one is the first after it
        wanted = at + by if inside or by < 0 else at + by - 1
        wanted = min(max(wanted, 0), len(among) - 1)
        if int(among[wanted]) == index:
            return
        scan = volumes[int(among[wanted])]
        row = int(scan.tiles[len(scan.tiles) // 2])
        if self.follow:
            self.session.set_focus(row)  # other views show it, too; it comes back as an event
        else:
            self._show(row)

    def _set_map(self, content: Mapping[str, Any], _buffers: list[bytes]) -> None:
        spec = map_menu.parse(
            str(content.get("method", "")), content.get("target"), content.get("against")
        )
        self.session.set_map(spec)

    def _compute_map(self, _content: Mapping[str, Any], _buffers: list[bytes]) -> None:
        self._wanted = self._need_scan().index
        self._ask_map()

    def _select_alike(self, content: Mapping[str, Any], _buffers: list[bytes]) -> None:
        scan = self._need_scan()
        low = volume_voxels.decode_voxel(content.get("low"), scan.shape)
        high = volume_voxels.decode_voxel(content.get("high"), scan.shape)
        if any(a > b for a, b in zip(low, high, strict=True)):
            raise InvalidInput(f"A brush goes from low to high voxels; got {low} to {high}.")
        store = self.session.store
        layer = layer_with_maps(store, self.session.layer)
        grid = store.layers[layer].grid
        if len(grid) != (2 if scan.stacked else 3):
            raise InvalidInput(
                f"Layer {layer!r} has no map of the volume's axes, so there are no cells "
                "to brush. Choose one with session.set_layer(...)."
            )
        row = int(scan.rows[0])
        if not scan.stacked:
            cells = volume_voxels.cells_in(low, high, scan.shape, grid)
        else:
            row = int(scan.rows[low[0]])
            if low[0] != high[0] or row < 0:
                raise InvalidInput(
                    "Each slice is a tile of its own: brush in the plane of the slices, on one that "
                    "the store holds."
                )
            cells = volume_voxels.cells_in(low[1:], high[1:], scan.shape[1:], grid)
        mode = mode_of(content)
        self._brushed = row, np.asarray(cells, np.int64), tuple(grid)
        self._own = True  # what is brushed here does not lead away from it
        try:
            self.session.select_alike(row, cells, mode=mode)
        finally:
            self._own = False

    def _mark_region(self, *, more: bool) -> None:
        """What was brushed last is the place of a new concept, or of the one made last."""
        if self._brushed is None:
            raise InvalidInput(
                "Nothing is brushed: hold Alt and drag a box around the place first."
            )
        row, cells, grid = self._brushed
        mask = np.zeros(grid, np.bool_)
        mask.flat[cells] = True
        now = self.session.concepts
        name = self.session.mark_region(now.names[-1] if more and now else None, row, mask)
        self.send({"kind": "region", "name": name, "cells": int(mask.sum())})

    def _command(self, content: Mapping[str, Any], _buffers: list[bytes]) -> None:
        commands: dict[str, Callable[[], object]] = {
            "undo": self.session.undo,
            "redo": self.session.redo,
            "concept": lambda: self._mark_region(more=False),
            "more": lambda: self._mark_region(more=True),
        }
        name = str(content.get("name"))
        if name not in commands:
            raise InvalidInput(f"Unknown command {name!r:.40}. {near(name, commands)}")
        commands[name]()

    def close(self) -> None:
        """Stop following the session and leave the page. The session lives on."""
        reading = getattr(self, "_reading", None)  # a constructor that raised closes, too
        if reading is not None:
            reading.close()
        super().close()

    # -- words and figure ----------------------------------------------------------------
    def describe(self) -> str:
        """Which volume of which size, which map; then planes, scale, window and what is assumed."""
        scan = self._scan
        if scan is None:
            return f"Volume view: no volume. {self._empty}".rstrip()
        session, (at, among) = self.session, self._counts
        of = f"{at:,} of {among:,}" if at else f"not one of the {among:,}"
        of += " selected" if session.selection.count else ""
        head = (
            f"Volume view: {self._need_volumes().named(scan)}, {of}, {scan.in_words()}, "
            f"map of {map_menu.title_of(session, session.map_spec)}"
        )
        planes = ", ".join(
            f"{plane.name} {i + 1} of {n}"
            for plane, i, n in zip(scan.planes, self.at, scan.shape, strict=True)
        )
        lines = [head, f"Planes: {planes}"]
        info = self._map_info
        if info.get("reason"):
            lines.append(str(info["reason"]))
        elif "low" in info:
            lines.append(f"{info['title']}, scale {info['low']:.3g} to {info['high']:.3g}")
        if not scan.colour:
            (low, high), unit = self.window, f" {scan.units}" if scan.units else ""
            lines.append(f"Window {low:.4g} to {high:.4g}{unit}")
        if note := self._volume.get("note"):
            lines.append(str(note))
        return "\n".join(lines)

    def _on_paper(self) -> dict[str, Any]:
        _, spacing, directions = self._given
        scan = self._need_scan()
        return {
            "row": int(scan.tiles[0]),
            "at": self.at,
            "window": self.window,
            "spacing": spacing,
            "directions": directions,
        }

    def _figure_options(self) -> dict[str, Any]:
        return self._on_paper() | {
            # no map here is none on paper
            "opacity": self.opacity if self.show_map and self._map else 0.0,
            "threshold": self.threshold,
            "palette": self.palette,
            "diverging": self.diverging,
            "smooth": self.smooth,
            "cross": self.show_cross,
        }

    def _caption_options(self) -> dict[str, Any]:
        from widgetkit.figures import volume_sentence

        return {"extra": [volume_sentence(self.session, **self._on_paper())]}


def _method(name: str) -> Any:
    from widgetkit import explain

    return explain.methods()[name]


def _fewer(grid: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A map of at most :data:`CELLS_MOST` cells: means over the finest axes where it has more."""
    if grid.size <= CELLS_MOST:
        return grid
    from widgetkit.explain.resample import area_mean

    shape = volume_voxels.reduced_shape(
        grid.shape, volume_voxels.step_of(grid.shape, most=CELLS_MOST)
    )
    return area_mean(grid, shape)
