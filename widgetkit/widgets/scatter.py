"""Scatter: the map of all tiles, and the lasso that selects among them."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import traitlets as t

from widgetkit.errors import InvalidInput, UnknownName, near
from widgetkit.widgets import wire
from widgetkit.widgets.base import STATIC, Handler, View, mode_of
from widgetkit.widgets.colours import NONE, Colouring, choices, colouring

if TYPE_CHECKING:
    from widgetkit.session import Clustering, History, Selection
    from widgetkit.widgets.base import SessionLike

#: Points drawn at most. Opening the view then sends 5.1 bytes a point and the bundle in one
#: message, which has to stay below :data:`wire.MESSAGE_MOST`; more points than pixels help nobody.
DRAWN_MOST = 1_400_000
#: Side of the picture beside the cursor, pixels.
THUMBNAIL_PX = 96


def _local(trait: t.TraitType[Any, Any]) -> t.TraitType[Any, Any]:
    """A trait that the browser writes (and a reload finds again): the kernel never echoes it."""
    return trait.tag(sync=True, echo_update=False)


class Scatter(View):
    """All tiles on their two-dimensional map, to look at and to select from.

    Drag to lasso (``l``), to draw a rectangle (``r``) or to move the map (``p``, or hold the
    space bar or the middle button); the wheel zooms around the cursor. Shift adds to the
    selection, Alt takes away. A click on a legend entry selects its tiles.

    Parameters
    ----------
    session : Session, ActivationStore, str or path
        What to show.
    color_by : str
        ``"cluster"`` or a column of the tile table.
    height : int
        Of the map, CSS pixels.

    Examples
    --------
    >>> scatter = Scatter("demo.wk", color_by="slide")      # doctest: +SKIP
    >>> scatter.session.selection.count                     # doctest: +SKIP
    """

    _esm = STATIC / "scatter.js"
    figure_kind = "scatter"

    # what is drawn; binary, sent once
    _positions = t.Bytes(b"").tag(sync=True)
    _bounds: t.List[float] = t.List(default_value=[0.0, 0.0, 1.0, 1.0]).tag(sync=True)
    _codes = t.Bytes(b"").tag(sync=True)
    _colouring: t.Dict[str, Any] = t.Dict().tag(sync=True)
    _mask = t.Bytes(b"").tag(sync=True)
    _revision = t.Int(0).tag(sync=True)
    #: Tiles drawn, tiles there are, tiles selected (of all).
    _counts: t.List[int] = t.List(default_value=[0, 0, 0]).tag(sync=True)
    _columns: t.List[str] = t.List(default_value=["cluster"]).tag(sync=True)
    _history: t.List[bool] = t.List(default_value=[False, False]).tag(sync=True)
    _focus = t.Int(-1).tag(sync=True)
    _title = t.Unicode("").tag(sync=True)

    #: ``"cluster"`` or a column of the tile table.
    color_by = t.Unicode("cluster").tag(sync=True)
    #: Height of the map, CSS pixels.
    height = t.Int(420, min=120, max=4000).tag(sync=True)
    #: Points as density: ``"auto"`` does so where they overlap much.
    density = _local(t.Enum(["auto", "on", "off"], default_value="auto"))
    #: What a drag does: ``"lasso"``, ``"box"`` or ``"pan"``.
    tool = _local(t.Enum(["lasso", "box", "pan"], default_value="lasso"))
    #: What a gesture without a key held does.
    mode = _local(t.Enum(["replace", "add", "subtract"], default_value="replace"))
    #: Factor on the automatic size of points.
    point_size = _local(t.Float(1.0, min=0.25, max=8.0))
    _camera: t.List[float] = t.List(default_value=[]).tag(sync=True, echo_update=False)

    def __init__(
        self, session: SessionLike, *, color_by: str = "cluster", height: int = 420
    ) -> None:
        self._rows: npt.NDArray[np.int64] | None = None
        self._how: Colouring | None = None
        super().__init__(session, color_by=color_by, height=height)
        self.observe(lambda _: self._guard(self._show_colours), names="color_by")
        self._on("projection", lambda _: self._show_positions())
        self._on("clustering", self._clustering_changed)
        self._on("selection", self._show_selection)
        self._on("history", self._show_history)
        self._on("focus", self._show_focus)

    def _prepare(self) -> None:
        self._columns = choices(self.session)
        self._show_positions()
        self._show_colours()
        self._show_selection(self.session.selection)
        self._show_history(self.session.history)
        self._show_focus(self.session.focus)

    @t.validate("color_by")
    def _known_column(self, proposal: Any) -> str:
        known = ["cluster", *map(str, self.session.store.tiles)]
        name = str(proposal["value"])
        if name not in known:
            raise UnknownName(f"No column {name!r:.80} to colour by. {near(name, known)}")
        return name

    # -- what is drawn -------------------------------------------------------------------
    def _show_positions(self) -> None:
        projection = self.session.projection
        n = len(self.session.store)
        xy = np.empty((0, 2), np.float32) if projection is None else np.asarray(projection.xy)
        box = wire.bounds(xy)
        rows = _sample(len(xy), self.session.seed)
        changed = (rows is None) != (self._rows is None)
        self._rows = rows
        drawn = xy if rows is None else xy[rows]
        with self.hold_sync():
            self._positions, _ = wire.encode_positions(drawn, box)
            self._bounds = list(box)
            self._counts = [len(drawn), n, self.session.selection.count]
            self._title = _title(projection)
            self._camera = []
            if changed:
                self._show_colours()
                self._show_selection(self.session.selection)
            self._relabel()

    def _show_colours(self) -> None:
        self._how = colouring(self.session, self.color_by)
        with self.hold_sync():
            self._codes = self._shown(self._how.codes).tobytes()
            self._colouring = self._how.state()
            self._relabel()

    def _show_selection(self, selection: Selection) -> None:
        with self.hold_sync():
            self._mask = (
                selection.bits
                if self._rows is None
                else wire.encode_mask(selection.mask[self._rows])
            )
            self._revision = selection.revision
            self._counts = [*self._counts[:2], selection.count]
            self._relabel()

    def _show_history(self, history: History[Any]) -> None:
        self._history = [history.can_undo, history.can_redo]

    def _show_focus(self, row: int | None) -> None:
        index = -1
        if row is not None:
            index = int(row) if self._rows is None else int(np.searchsorted(self._rows, row))
            if self._rows is not None and self._rows[index % len(self._rows)] != row:
                index = -1  # not among the drawn ones
        self._focus = index

    def _clustering_changed(self, _clustering: Clustering | None) -> None:
        if self.color_by == "cluster":
            self._show_colours()
        else:
            self._relabel()

    def _shown(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return values if self._rows is None else values[self._rows]

    def _row(self, index: object) -> int:
        """Tile number of a drawn point."""
        drawn = wire.decode_row(index, self._counts[0])
        return drawn if self._rows is None else int(self._rows[drawn])

    # -- what the browser asks -----------------------------------------------------------
    def _handlers(self) -> dict[str, Handler]:
        return super()._handlers() | {
            "lasso": self._lasso,
            "box": self._box,
            "pick": self._pick,
            "legend": self._legend,
            "command": self._command,
            "hover": self._hover,
        }

    def _lasso(self, content: Mapping[str, Any], buffers: list[bytes]) -> None:
        if len(buffers) != 1:
            raise InvalidInput(f"A lasso comes with one buffer of vertices, got {len(buffers)}.")
        polygon = wire.decode_polygon(content.get("box", ()), buffers[0])
        self.session.select_polygon(polygon, mode=mode_of(content))

    def _box(self, content: Mapping[str, Any], _buffers: list[bytes]) -> None:
        self.session.select_box(wire.decode_box(content.get("box")), mode=mode_of(content))

    def _pick(self, content: Mapping[str, Any], _buffers: list[bytes]) -> None:
        row = self._row(content.get("index"))
        self.session.select([row], mode=mode_of(content), how={"kind": "click", "row": row})

    def _legend(self, content: Mapping[str, Any], _buffers: list[bytes]) -> None:
        shown = self._how
        assert shown is not None
        mode = mode_of(content)
        item = content.get("item")
        if item == "missing":
            mask = shown.codes == NONE
            how = {"kind": "where", "column": shown.by, "value": None}
            self.session.select(mask, mode=mode, how=how)
            return
        index = wire.decode_row(item, len(shown.items))
        value = shown.values[index]
        if shown.by == "cluster":
            self.session.select_cluster(int(value), mode=mode)
        elif value is None or shown.by == "patient":
            # By rows: "others" is no value, and a patient's name must not enter the history.
            how = {"kind": "where", "column": shown.by, "value": shown.items[index].name}
            self.session.select(shown.codes == index, mode=mode, how=how)
        else:
            self.session.select_where(shown.by, value, mode=mode)

    def _command(self, content: Mapping[str, Any], _buffers: list[bytes]) -> None:
        commands: dict[str, Callable[[], object]] = {
            "clear": self.session.clear,
            "all": self.session.select_all,
            "invert": self.session.invert,
            "undo": self.session.undo,
            "redo": self.session.redo,
            "concept": self._save_as_concept,
        }
        name = str(content.get("name"))
        if name not in commands:
            raise InvalidInput(f"Unknown command {name!r:.40}. {near(name, commands)}")
        commands[name]()

    def _save_as_concept(self) -> None:
        self.send({"kind": "concept", "name": self.session.save_as_concept()})

    def _hover(self, content: Mapping[str, Any], _buffers: list[bytes]) -> None:
        row = self._row(content.get("index"))
        reply = {"kind": "hover", "index": content["index"], "lines": self._lines(row)}
        picture = self._thumbnail(row)
        self.send(reply, buffers=[picture] if picture else [])

    def _lines(self, row: int) -> list[list[str]]:
        """What is said of a tile beside the cursor: never a patient, never an id."""
        tile = self.session.store.tiles.iloc[row]
        clustering = self.session.clustering
        lines: dict[str, str] = {}
        if clustering is not None and clustering.labels[row] >= 0:
            lines["cluster"] = clustering.names[int(clustering.labels[row])]
        for column in ("slide", "label", self.color_by):
            if column in tile.index and column not in ("patient", "id"):
                lines[column] = _short(tile[column])
        return [[name, value] for name, value in lines.items()]

    def _thumbnail(self, row: int) -> bytes | None:
        if not self.session.store.has_images:
            return None
        from PIL import Image

        pixels = self.session.store.thumbnails([row], THUMBNAIL_PX)[0]
        out = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels)).save(out, "JPEG", quality=88)
        return out.getvalue()

    # -- words and figure ----------------------------------------------------------------
    def describe(self) -> str:
        """One sentence on the map and the selection, then a line for each legend entry."""
        drawn, n, selected = self._counts
        parts = [f"Scatter of {n:,} tiles"]
        if self._title:
            parts.append(self._title)
        parts.append(f"coloured by {self.color_by}")
        kind = str(self.session.selection.how.get("kind", "")) if selected else ""
        parts.append(f"{selected:,} selected" + (f" ({kind})" if kind else ""))
        if drawn < n and drawn:
            parts.append(f"showing {drawn:,} of {n:,}")
        lines = [", ".join(parts) + "."]
        shown = self._how
        if shown is not None and shown.numeric:
            lines.append(f"  {shown.by}: {shown.low:.6g} to {shown.high:.6g}")
        elif shown is not None:
            inside = np.bincount(shown.codes[self.session.selection.rows], minlength=256)
            lines += [
                f"  {item.name}: {item.count:,} tiles, {int(inside[i]):,} selected"
                for i, item in enumerate(shown.items)
            ]
        return "\n".join(lines)

    def _figure_options(self) -> dict[str, Any]:
        return {"color_by": self.color_by}

    def _caption_options(self) -> dict[str, Any]:
        return {"color_by": self.color_by}


def _sample(n: int, seed: int) -> npt.NDArray[np.int64] | None:
    """Rows to draw, ascending; None for all."""
    if n <= DRAWN_MOST:
        return None
    chosen = np.random.default_rng(seed).choice(n, DRAWN_MOST, replace=False, shuffle=False)
    return np.sort(chosen).astype(np.int64)


def _title(projection: Any) -> str:
    if projection is None:
        return ""
    return f"{str(projection.method).upper()} (seed {projection.seed})"


def _short(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
