"""Gallery: thumbnails of the selected tiles, from which a selection can be made in turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import traitlets as t

from widgetkit.errors import InvalidInput
from widgetkit.widgets import sheets, wire
from widgetkit.widgets.base import STATIC, Handler, View, mode_of

if TYPE_CHECKING:
    from widgetkit.widgets.base import SessionLike

Rule = Literal["representative", "score", "random", "first"]

#: Sides of thumbnails that a browser may ask for, px (``LEVELS`` in ``thumbs.ts``).
LEVELS = (48, 96, 192)
#: Thumbnails in one page; at the largest level a raw page has 7 MB, below Jupyter's limit.
PAGE = 64


def _front(trait: Any) -> Any:
    """Written by the front-end: Python's own writes reach it, its own writes are not echoed."""
    return trait.tag(sync=True, echo_update=False)


class Gallery(View):
    """Thumbnails of the selected tiles, or of all while nothing is selected.

    Thumbnails come a page at a time, when they are scrolled to. Click, Ctrl-click and
    Shift-click pick tiles; "Select these in the scatter" (Enter) makes them the selection of
    the session.

    Parameters
    ----------
    session : Session, ActivationStore or path
    rule : "representative", "score", "random" or "first"
        How the tiles are ordered; the sentence that defines it is shown above them.
    limit : int
        Tiles that can be scrolled through; beyond that the view says "n of N".
    size : int, CSS px
        Side of a thumbnail.
    height : int, CSS px
        Of the scrolled part.
    seed : int, optional
        Of ``rule="random"``; the session's by default.

    Attributes
    ----------
    rule, seed, size, height
        As above; may be set at any time. ``rule="score"`` orders by the target of the maps:
        the weight of a cluster, the output for a class.
    """

    _esm = STATIC / "gallery.js"
    figure_kind = "gallery"

    _rows = t.Bytes().tag(sync=True)
    _labels = t.Bytes().tag(sync=True)
    _legend: t.List[Any] = t.List().tag(sync=True)
    _total = t.Int(0).tag(sync=True)
    _store_size = t.Int(0).tag(sync=True)
    _revision = t.Int(0).tag(sync=True)
    _focus = t.Int(-1).tag(sync=True)
    _rule_text = t.Unicode("").tag(sync=True)
    _count_text = t.Unicode("").tag(sync=True)
    _empty = t.Unicode("").tag(sync=True)
    rule = _front(t.Enum(("representative", "score", "random", "first"), "representative"))
    seed = _front(t.Int(0, min=0))
    size = _front(t.Int(80, min=32, max=192))
    height = t.Int(320, min=80).tag(sync=True)
    #: Tile numbers picked in the view, as uint32.
    _picked = t.Bytes().tag(
        sync=True, echo_update=False, from_json=lambda value, _widget: bytes(value or b"")
    )

    def __init__(
        self,
        session: SessionLike,
        *,
        rule: Rule = "representative",
        limit: int = 2000,
        size: int = 80,
        height: int = 320,
        seed: int | None = None,
    ) -> None:
        if limit < 1:
            raise InvalidInput(f"limit is {limit}: a gallery shows at least one tile.")
        self._limit = int(limit)
        self._shown: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._raw = False
        super().__init__(session, rule=rule, size=size, height=height)
        self._store_size = len(self.session.store)
        self.seed = self.session.seed if seed is None else seed
        for event in ("selection", "clustering", "layer"):
            self._on(event, lambda _event: self._refresh())
        self._on("map", lambda _event: self._target_changed())
        self._on("concepts", lambda _event: self._target_changed())
        self._on("focus", lambda _event: self._follow_focus())
        self.observe(lambda _change: self._guard(self._refresh), ["rule", "seed"])
        self._guard(self._refresh)

    # -- what is shown -----------------------------------------------------------------
    def _target_changed(self) -> None:
        if self.rule == "score":  # the target of the maps decides which tiles are first
            self._refresh()

    def _refresh(self) -> None:
        session = self.session
        clustering = session.clustering
        self._shown, sentence = session.ranked(self.rule, self._limit, self.seed)
        chosen = session.selection.count
        with self.hold_sync():
            self._rows = wire.encode_rows(self._shown)
            self._labels = sheets.encode_labels(clustering, self._shown)
            self._legend = sheets.legend(clustering)
            self._total = chosen or len(session.store)
            self._rule_text = sentence
            self._count_text = sheets.of_whole(len(self._shown), chosen, len(session.store))
            self._empty = self._why_empty()
            self._revision = session.selection.revision
            self._relabel()
        self._follow_focus()

    def _follow_focus(self) -> None:
        focus = self.session.focus
        self._focus = -1 if focus is None else int(focus)

    def _why_empty(self) -> str:
        if len(self.session.store) == 0:
            return "The store has no tiles."
        if not self.session.store.has_images:
            return "The store holds no images: tiles are shown as grey squares."
        return ""

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """Tile numbers in the order in which they are shown, ``(m,)``."""
        return self._shown.copy()

    @property
    def picked(self) -> npt.NDArray[np.int64]:
        """Tile numbers that are picked in the view, ``(p,)``."""
        return wire.decode_rows(self._picked, len(self.session.store))

    # -- messages from the browser -------------------------------------------------------
    def _handlers(self) -> dict[str, Handler]:
        return super()._handlers() | {
            "thumbs": self._send_thumbs,
            "select": self._select,
            "concept": self._save_as_concept,
            "focus": self._set_focus,
            "raw": self._send_raw,
        }

    def _send_thumbs(self, content: Mapping[str, Any], _buffers: list[bytes]) -> None:
        n = len(self.session.store)
        asked, level = content.get("rows"), content.get("level")
        if not isinstance(asked, list) or not 0 < len(asked) <= PAGE or level not in LEVELS:
            raise InvalidInput(
                f"A page of thumbnails has 1 to {PAGE} rows at one of the sides {LEVELS} px."
            )
        rows = np.array([wire.decode_row(row, n) for row in asked], dtype=np.int64)
        if not self.session.store.has_images:
            return  # the view says so; the squares stay grey
        thumbs = self.session.store.thumbnails(rows, int(level))
        sheet = sheets.encode_sheet(thumbs, most_bytes=1_000_000, raw=self._raw)
        reply = {"kind": "thumbs", "level": level, "rows": asked, **sheet.info}
        self.send(reply | {"captions": sheets.captions(self.session, rows)}, [sheet.data])

    def _send_raw(self, _content: Mapping[str, Any], _buffers: list[bytes]) -> None:
        self._raw = True
        self._revision += 1  # the view draws again, and asks for what it lacks

    def _select(self, content: Mapping[str, Any], buffers: list[bytes]) -> None:
        if len(buffers) != 1:
            raise InvalidInput("A selection from the gallery brings its rows as one buffer.")
        rows = np.unique(wire.decode_rows(buffers[0], len(self.session.store)))
        how = {"kind": "gallery", "tiles": len(rows)}
        self.session.select(rows, mode=mode_of(content), how=how)

    def _save_as_concept(self, _content: Mapping[str, Any], buffers: list[bytes]) -> None:
        """The picked tiles as a concept, or the selection while none is picked."""
        if len(buffers) > 1:
            raise InvalidInput("A concept from the gallery brings its rows as one buffer.")
        rows = np.unique(wire.decode_rows(buffers[0], len(self.session.store))) if buffers else None
        tiles = self.session.selection.count if rows is None else len(rows)
        name = self.session.save_as_concept(rows=rows)
        self.send({"kind": "concept", "name": name, "tiles": tiles})

    def _set_focus(self, content: Mapping[str, Any], _buffers: list[bytes]) -> None:
        self.session.set_focus(wire.decode_row(content.get("row"), len(self.session.store)))

    # -- words and figure ----------------------------------------------------------------
    def describe(self) -> str:
        """How many tiles of how many are shown, and by which rule."""
        shown = sheets.of_whole(
            len(self._shown), self.session.selection.count, len(self.session.store)
        )
        return f"Gallery: {shown}, {self.rule} first\n{self._rule_text}".rstrip()

    def _figure_options(self) -> dict[str, Any]:
        return {"rows": self._shown[:64]}

    def _caption_options(self) -> dict[str, Any]:
        return {"rule": self._rule_text}
