"""MapViewer: many tiles and their maps at once, on one scale, with a brush that selects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import traitlets as t

from widgetkit.errors import InvalidInput, WidgetkitError
from widgetkit.session.mapspec import layer_with_maps
from widgetkit.widgets import map_menu, sheets, wire
from widgetkit.widgets.base import STATIC, Handler, View, mode_of

if TYPE_CHECKING:
    from widgetkit.session import MapResult
    from widgetkit.widgets.base import SessionLike
    from widgetkit.widgets.gallery import Rule

Mode = Literal["tile", "map", "overlay"]

TILES_MOST = 64
#: Grids up to this size cross as float16; larger ones as steps of the scale, 1 byte a cell, so that
#: a change of method or target stays below 10 kB for 64 maps of up to 12 x 12 cells.
EXACT_BYTES = 9_000
#: Side of a tile in the atlas by the number of tiles, px: all fit into 160 kB of JPEG.
_ATLAS_SIDES = ((36, 96), (16, 128), (4, 192), (0, 256))
ATLAS_BYTES = 160_000


def _front(trait: Any) -> Any:
    """Written by the front-end: Python's own writes reach it, its own writes are not echoed."""
    return trait.tag(sync=True, echo_update=False)


class MapViewer(View):
    """Up to 64 tiles with their maps: tile, map or both, on one shared colour scale.

    Drag over cells of a tile to select the tiles whose local activation is alike (Shift adds,
    Alt takes away); Escape clears the brush. Hover for the value under the pointer.

    Parameters
    ----------
    session : Session, ActivationStore or path
    count : int, 1 to 64
        Tiles that are shown.
    rule : "representative", "score", "random" or "first"
        Which tiles of the selection; the same rule and seed as the gallery's give the same tiles.
    mode : "tile", "map" or "overlay"
    size : int, CSS px
        Side of a tile; 0 shows all tiles at once, as large as fits.
    height : int, CSS px
        Of the scrolled part; 0 lets it grow.
    canvas_only : bool
        Draw without WebGL.
    seed : int, optional
        Of ``rule="random"``; the session's by default.

    Attributes
    ----------
    opacity, threshold : float in [0, 1]
        The map is not drawn where it is below ``threshold`` of the scale (of its distance from
        zero, for signed maps).
    palette : "viridis", "magma" or "cividis"
    diverging : "RdBu_r" or "coolwarm"
        For signed maps.
    smooth, own_scale : bool
        Interpolate between cells; colour each tile on a scale of its own.
    slice : int
        Of a 3-D grid; -1 is the middle one.
    """

    _esm = STATIC / "maps.js"
    figure_kind = "maps"

    # -- what is shown; Python writes
    _rows = t.Bytes().tag(sync=True)
    _labels = t.Bytes().tag(sync=True)
    _legend: t.List[Any] = t.List().tag(sync=True)
    _captions: t.List[Any] = t.List().tag(sync=True)
    _atlas = t.Bytes().tag(sync=True)
    _atlas_info: t.Dict[str, Any] = t.Dict().tag(sync=True)
    _maps = t.Bytes().tag(sync=True)
    _maps_info: t.Dict[str, Any] = t.Dict().tag(sync=True)
    _shown_slice = t.Int(0).tag(sync=True)
    _revision = t.Int(0).tag(sync=True)
    _note = t.Unicode("").tag(sync=True)
    _empty = t.Unicode("").tag(sync=True)
    _methods: t.List[Any] = t.List().tag(sync=True)
    _method = t.Unicode("").tag(sync=True)
    _targets: t.List[Any] = t.List().tag(sync=True)
    _target = t.Unicode("").tag(sync=True)
    _againsts: t.List[Any] = t.List().tag(sync=True)
    _against = t.Unicode("").tag(sync=True)
    _channels = t.Int(0).tag(sync=True)
    height = t.Int(0, min=0).tag(sync=True)
    canvas_only = t.Bool(False).tag(sync=True)
    #: Not on the wire: link them to a gallery's to have the same tiles in both.
    rule = t.Enum(("representative", "score", "random", "first"), "representative")
    seed = t.Int(0, min=0)
    # -- how it is shown; the front-end writes
    mode = _front(t.Enum(("tile", "map", "overlay"), "overlay"))
    opacity = _front(t.Float(0.6, min=0.0, max=1.0))
    threshold = _front(t.Float(0.0, min=0.0, max=1.0))
    palette = _front(t.Enum(("viridis", "magma", "cividis"), "viridis"))
    diverging = _front(t.Enum(("RdBu_r", "coolwarm"), "RdBu_r"))
    smooth = _front(t.Bool(True))
    own_scale = _front(t.Bool(False))
    size = _front(t.Int(0, min=0, max=256))
    count = _front(t.Int(TILES_MOST, min=1, max=TILES_MOST))
    slice = _front(t.Int(-1, min=-1))
    _focus = _front(t.Int(-1))
    #: ``{"row", "cells"}`` of the last brush, or ``{}``.
    brush: t.Dict[str, Any] = _front(t.Dict())

    def __init__(
        self,
        session: SessionLike,
        *,
        count: int = TILES_MOST,
        rule: Rule = "representative",
        mode: Mode = "overlay",
        size: int = 0,
        height: int = 560,
        canvas_only: bool = False,
        seed: int | None = None,
    ) -> None:
        if not 1 <= count <= TILES_MOST:
            raise InvalidInput(f"count is {count}: a map viewer shows 1 to {TILES_MOST} tiles.")
        self._shown: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._sentence = ""
        self._result: MapResult | None = None
        self._raw = False
        super().__init__(
            session,
            count=count,
            rule=rule,
            mode=mode,
            size=size,
            height=height,
            canvas_only=canvas_only,
        )
        self.seed = self.session.seed if seed is None else seed
        for event in ("selection", "clustering", "layer"):
            self._on(event, lambda _event: self._refresh())
        self._on("map", lambda _event: self._map_changed())
        self._on("concepts", lambda _event: self._concepts_changed())
        self._on("concept reading", lambda _event: self._concepts_changed())
        self._on("focus", lambda _event: self._follow_focus())
        self.observe(lambda _change: self._guard(self._refresh), ["count", "rule", "seed"])
        self.observe(lambda _change: self._guard(self._show_slice), "slice")
        self.observe(self._brush_set, "brush")
        self._guard(self._refresh)

    # -- tiles -------------------------------------------------------------------------
    def _refresh(self) -> None:
        with self.hold_sync():
            self._choose_rows()
            self._ask_maps()

    def _choose_rows(self) -> None:
        session = self.session
        rows, self._sentence = session.ranked(self.rule, self.count, self.seed)
        rows = np.asarray(rows, dtype=np.int64)
        brushed = self.brush.get("row")
        if isinstance(brushed, int) and 0 <= brushed < len(session.store):
            # The brushed tile stays, first, so that its outline can be compared with what it found.
            others = rows[rows != brushed]
            rows = np.concatenate([[brushed], others[: self.count - 1]]).astype(np.int64)
        if not np.array_equal(rows, self._shown):
            self._shown = rows
            self._result = None
            self._captions = sheets.captions(session, rows)
            self._send_atlas()
        self._rows = wire.encode_rows(rows)
        self._labels = sheets.encode_labels(session.clustering, rows)
        self._legend = sheets.legend(session.clustering)
        # The rule's sentence holds the numbers.
        nothing = "" if session.selection.count else "Nothing is selected: "
        self._note = f"{nothing}{self._sentence}"
        self._empty = "" if len(rows) else "The store has no tiles."
        self._revision = session.selection.revision
        self._follow_focus()

    def _send_atlas(self) -> None:
        store = self.session.store
        if store.image_shape is None or not len(self._shown):
            self._atlas, self._atlas_info = b"", {}
            return
        height, width = _plane(store.image_shape)
        side = next(px for least, px in _ATLAS_SIDES if len(self._shown) > least)
        # Enlarging adds bytes and no detail; whole blocks of JPEG keep neighbours apart.
        side = min(side, max(16, -(-max(height, width) // 8) * 8))
        thumbs = self._pictures(side)
        sheet = sheets.encode_sheet(thumbs, most_bytes=ATLAS_BYTES, raw=self._raw)
        self._atlas = sheet.data
        self._atlas_info = {**sheet.info, "box": sheets.box_of((height, width))}

    def _pictures(self, side: int) -> npt.NDArray[np.uint8]:
        store = self.session.store
        depth = self._depth()
        if depth is None:
            pictures: npt.NDArray[np.uint8] = store.thumbnails(self._shown, side)
            return pictures
        from widgetkit.store.images import thumbnails

        grid = self._grid()
        slices = grid[0] if len(grid) == 3 else 1
        # the picture slice at the middle of the map slice that is shown
        at = int((self._slice_of(slices) + 0.5) / slices * depth)
        return thumbnails(store.images(self._shown)[:, min(at, depth - 1)], side)

    def _depth(self) -> int | None:
        """Slices of the stored volumes ``(D, H, W[, 3])``; None for pictures, or without any."""
        from widgetkit.store.images import is_volume

        shape = self.session.store.image_shape
        return int(shape[0]) if shape is not None and is_volume(shape) else None

    def _slice_of(self, slices: int) -> int:
        return slices // 2 if self.slice < 0 else min(self.slice, slices - 1)

    def _grid(self) -> tuple[int, ...]:
        if self._result is not None:
            return tuple(self._result.values.shape[1:])
        return tuple(self.session.store.layers[self.session.map_layer()].grid)

    def _show_slice(self) -> None:
        grid = self._grid()
        if len(grid) != 3:
            return
        with self.hold_sync():
            self._shown_slice = self._slice_of(grid[0])
            if self._depth() is not None:
                self._send_atlas()

    def _follow_focus(self) -> None:
        focus = self.session.focus
        self._focus = -1 if focus is None else int(focus)

    # -- maps --------------------------------------------------------------------------
    def _map_changed(self) -> None:
        if self.rule == "score":  # the target of the maps decides which tiles are first
            self._refresh()
        else:
            self._ask_maps()

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
            self._channels = map_menu.channels(session, spec)

    def _ask_maps(self) -> None:
        session, spec = self.session, self.session.map_spec
        with self.hold_sync():
            self._show_menus()
            if not len(self._shown):
                self._no_maps("")
                return
            # Maps of other tiles must not stay; those of another method may, under their own title.
            if self._result is None:
                self._no_maps("")
            try:
                # A key of its own: two viewers of one session must not cancel each other.
                session.request_maps(self._shown, spec, self._take_maps, key=self._key)
            except WidgetkitError as problem:
                # Not an error of the view: the tiles are there, and the reason is what it shows.
                session.jobs.cancel(self._key)
                self._no_maps(str(problem))

    @property
    def _key(self) -> str:
        return f"maps {self.model_id}"

    def _take_maps(self, result: MapResult) -> None:
        """A result of a job; one for other tiles than are shown now is dropped."""
        if np.array_equal(result.rows, self._shown):
            self._guard(self._show_maps, result)

    def _show_maps(self, result: MapResult) -> None:
        if result.status == "waiting":
            self._no_maps(result.title)
            return
        values = np.array(result.values, dtype=np.float32)
        values[~result.ready] = np.nan  # drawn as the tile alone until its map is there
        if values.ndim == 2:  # a sequence is drawn as one line of cells
            values = values[:, None]
        low, high = float(result.vmin), float(result.vmax)
        data, encoding, factor = encode_maps(values, low, high)
        self._result = result
        with self.hold_sync():
            self._maps = data
            self._maps_info = {
                "encoding": encoding,
                "factor": factor,
                "shape": list(values.shape[1:]),
                "count": len(values),
                "low": low,
                "high": high,
                "signed": bool(result.signed),
                "title": result.title,
                "status": result.status,
                "unit": "",
                "reason": "",
            }
            self._shown_slice = self._slice_of(values.shape[1]) if values.ndim == 4 else 0
            self._relabel()

    def _no_maps(self, reason: str) -> None:
        self._result = None
        self._maps = b""
        self._maps_info = {"reason": reason} if reason else {}
        self._relabel()

    # -- messages from the browser -------------------------------------------------------
    def _handlers(self) -> dict[str, Handler]:
        return super()._handlers() | {
            "map": self._set_map,
            "alike": self._select_alike,
            "region": self._mark_region,
            "focus": self._set_focus,
            "raw": self._send_raw,
        }

    def _set_map(self, content: Mapping[str, Any], _buffers: list[bytes]) -> None:
        spec = map_menu.parse(
            str(content.get("method", "")), content.get("target"), content.get("against")
        )
        self.session.set_map(spec)

    def _select_alike(self, content: Mapping[str, Any], _buffers: list[bytes]) -> None:
        row, cells, _grid = self._brushed(content)
        self.session.select_alike(row, cells, mode=mode_of(content))

    def _mark_region(self, content: Mapping[str, Any], _buffers: list[bytes]) -> None:
        """What is brushed becomes a new concept's place, or with ``more`` the last one's."""
        row, cells, grid = self._brushed(content)
        mask = np.zeros(grid, np.bool_)
        mask.flat[cells] = True
        now = self.session.concepts
        last = None if now is None or not content.get("more") else now.names[-1]
        name = self.session.mark_region(last, row, mask)
        self.send({"kind": "region", "name": name, "cells": int(mask.sum())})

    def _brushed(
        self, content: Mapping[str, Any]
    ) -> tuple[int, npt.NDArray[np.int64], tuple[int, ...]]:
        """The brushed tile, and the brushed cells of the grid of the layer with maps."""
        row = wire.decode_row(content.get("row"), len(self.session.store))
        cells = content.get("cells")
        shown = self._grid()
        most = int(np.prod(shown))
        if (
            not isinstance(cells, list)
            or not 0 < len(cells) <= most
            or not all(isinstance(c, int) and 0 <= c < most for c in cells)
        ):
            raise InvalidInput(f"A brush has 1 to {most} cells of the grid {shown}, from 0.")
        store = self.session.store
        layer = store.layers[layer_with_maps(store, self.session.layer)]
        grid = tuple(layer.grid)
        return row, same_place(np.array(cells, dtype=np.int64), shown, grid), grid

    def _set_focus(self, content: Mapping[str, Any], _buffers: list[bytes]) -> None:
        self.session.set_focus(wire.decode_row(content.get("row"), len(self.session.store)))

    def _send_raw(self, _content: Mapping[str, Any], _buffers: list[bytes]) -> None:
        self._raw = True
        self._send_atlas()

    def _brush_set(self, change: Mapping[str, Any]) -> None:
        if not change["new"] and change["old"]:
            self._guard(self._refresh)  # the brushed tile is no longer kept first

    # -- words and figure ----------------------------------------------------------------
    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """Tile numbers in the order in which they are shown, ``(m,)``."""
        return self._shown.copy()

    def describe(self) -> str:
        """What the maps are of, on how many tiles, in which layer, on which scale."""
        session, spec = self.session, self.session.map_spec
        on = sheets.of_whole(len(self._shown), session.selection.count, len(session.store))
        head = (
            f"Map viewer: {map_menu.title_of(session, spec)} on {on}, layer {session.map_layer()}"
        )
        if self._result is None:
            reason = str(self._maps_info.get("reason", ""))
            return f"{head}, no maps" + (f"\n{reason}" if reason else "")
        low, high = (f"{v:.3g}" for v in (self._result.vmin, self._result.vmax))
        first = " (a first look)" if self._result.status == "coarse" else ""
        return (
            f"{head}, scale {low} to {high}{first}\n{self._result.title}. {self._sentence}".rstrip()
        )

    def _figure_options(self) -> dict[str, Any]:
        return {"rows": self._shown, "opacity": self.opacity}

    def _caption_options(self) -> dict[str, Any]:
        return {"rule": self._sentence}


def encode_maps(
    values: npt.NDArray[np.float32], low: float, high: float
) -> tuple[bytes, str, float]:
    """Grids for the wire: bytes, encoding and factor.

    Parameters
    ----------
    values : (m, *grid) float32
        NaN where there is no value.
    low, high : float
        Ends of the scale.

    Returns
    -------
    data : bytes
        ``"float16"``: ``value / factor`` as float16, so that neither huge nor tiny values are
        lost. ``"uint8"``, where that would be more than :data:`EXACT_BYTES`: see
        :func:`wire.encode_grid`.
    encoding : "float16" or "uint8"
    factor : float
    """
    if values.size * 2 > EXACT_BYTES:
        return wire.encode_grid(values, low, high), "uint8", 1.0
    finite = np.abs(values[np.isfinite(values)])
    factor = float(finite.max()) if finite.size and finite.max() > 0 else 1.0
    return (values / np.float32(factor)).astype("<f2").tobytes(), "float16", factor


def same_place(
    cells: npt.NDArray[np.int64], grid: tuple[int, ...], target: tuple[int, ...]
) -> npt.NDArray[np.int64]:
    """Flat cells of ``grid`` as flat cells of ``target``: those that hold their centres."""
    if grid == target or len(grid) != len(target):
        return cells
    at = np.unravel_index(cells, grid)
    moved = [((i + 0.5) / a * b).astype(np.int64) for i, a, b in zip(at, grid, target, strict=True)]
    return np.unique(np.ravel_multi_index(tuple(moved), target)).astype(np.int64)


def _plane(shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of an image or of a slice of a volume, px."""
    colour = len(shape) in (3, 4) and shape[-1] == 3
    height, width = shape[-3:-1] if colour else shape[-2:]
    return int(height), int(width)
