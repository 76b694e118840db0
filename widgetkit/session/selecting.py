"""All ways to select tiles."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput, UnknownName, near
from widgetkit.session import alike, bins, geometry, query
from widgetkit.session.core import Core
from widgetkit.session.maps import check_rows
from widgetkit.session.mapspec import layer_with_maps
from widgetkit.session.selection import How, Selection
from widgetkit.session.state import MAX_NAMED, check_how, check_name

if TYPE_CHECKING:
    import pandas as pd

Mode = Literal["replace", "add", "subtract", "intersect"]
MODES: tuple[str, ...] = ("replace", "add", "subtract", "intersect")

_WORDS = {"replace": "", "add": "Added: ", "subtract": "Removed: ", "intersect": "Within: "}

#: Rows up to which a line of history lists them instead of holding packed bits.
_LISTED = 20


class Selecting(Core):
    """The part of :class:`Session` that selects."""

    _bins: tuple[npt.NDArray[Any], bins.Bins] | None = None

    def select(
        self,
        what: Selection | npt.ArrayLike | str,
        *,
        mode: Mode = "replace",
        how: How | None = None,
    ) -> Selection:
        """Select tiles.

        Parameters
        ----------
        what : Selection, (n,) bool, row numbers, or str
            A text is a query of the tile table, such as ``'slide == "A" and score > 0.5'``;
            see ``docs/session.md``. ``cluster`` is a column of cluster names.
        mode : "replace", "add", "subtract" or "intersect"
            How it joins what is selected.
        how : dict, optional
            How it was made, JSON-able; views pass it.

        Returns
        -------
        Selection
            What is selected now.
        """
        n = len(self.store)
        if isinstance(what, str):
            mask = query.evaluate(what, self.store.tiles, self._columns(what))
            made = Selection.from_mask(mask, how=check_how(how) or {"kind": "query", "query": what})
            return self._select(made, mode, "Query", f"select({what!r}", lasting=True)
        if isinstance(what, Selection):
            made = replace(what, how=check_how(how) or what.how)
        else:
            array = np.asarray(what)
            if array.dtype == np.bool_:
                made = Selection.from_mask(array, how=check_how(how))
            else:
                made = Selection.from_rows(n, array.reshape(-1), how=check_how(how))
        if made.n != n:
            raise InvalidInput(f"The selection is of {made.n} tiles; the store has {n}.")
        return self._select(made, mode, _title_of(made))

    def select_polygon(
        self, polygon: npt.ArrayLike, *, mode: Mode = "replace", xy: npt.ArrayLike | None = None
    ) -> Selection:
        """Select the tiles inside a lasso (even-odd) on the projection, or on ``xy`` (n, 2)."""
        points, lasting = self._points(xy)
        vertices = np.asarray(polygon, dtype=np.float64)
        mask = self._inside(vertices, points)
        listed = vertices.reshape(-1, 2).tolist()
        made = Selection.from_mask(mask, how=check_how({"kind": "polygon", "polygon": listed}))
        return self._select(made, mode, "Lasso", f"select_polygon({listed!r}", lasting=lasting)

    def select_box(
        self, box: npt.ArrayLike, *, mode: Mode = "replace", xy: npt.ArrayLike | None = None
    ) -> Selection:
        """Select the tiles in a box ``x0, y0, x1, y1`` on the projection, or on ``xy`` (n, 2)."""
        points, lasting = self._points(xy)
        mask = geometry.in_box(box, points)
        listed = np.asarray(box, dtype=np.float64).tolist()
        made = Selection.from_mask(mask, how={"kind": "box", "box": listed})
        return self._select(made, mode, "Box", f"select_box({listed!r}", lasting=lasting)

    def select_cluster(self, i: int, *, mode: Mode = "replace") -> Selection:
        """Select the tiles of cluster ``i`` (-1: those in none)."""
        clustering = self._need_clustering()
        made = Selection.from_mask(clustering.mask(i), how={"kind": "cluster", "cluster": int(i)})
        name = "no cluster" if i == -1 else clustering.names[i]
        return self._select(made, mode, name, f"select_cluster({int(i)}", lasting=True)

    def select_where(self, column: str, value: object, *, mode: Mode = "replace") -> Selection:
        """Select the tiles with a value in a column of the table; None selects missing ones."""
        table = self.store.tiles
        if column not in table.columns:
            raise UnknownName(
                f"There is no column {column!r}. {near(str(column), map(str, table))}".rstrip()
            )
        plain = value.item() if isinstance(value, np.generic) else value
        made = Selection.from_mask(
            query.equal_to(table[column], plain),
            how=check_how(
                {
                    "kind": "where",
                    "column": column,
                    "value": plain if _is_plain(plain) else str(plain),
                }
            ),
        )
        # inf and nan have no literal
        lasting = math.isfinite(plain) if isinstance(plain, float) else _is_plain(plain)
        lasting = lasting or plain is None
        code = f"select_where({column!r}, {plain!r}"
        return self._select(made, mode, f"{column} = {plain}", code, lasting=lasting)

    def select_alike(
        self,
        row: int,
        cells: npt.ArrayLike,
        *,
        threshold: float | None = None,
        mode: Mode = "replace",
    ) -> Selection | None:
        """Select tiles that have, at some position, an activation like the brushed ones.

        Parameters
        ----------
        row : int
            The brushed tile.
        cells : (p, dims) int, (p,) int flat, or bool mask of the grid
            The brushed positions; their activation vectors are averaged.
        threshold : float in [-1, 1], optional
            Least cosine similarity of a tile's best position. Default: that of the best
            twentieth of the tiles.
        mode : as in :meth:`select`

        Returns
        -------
        Selection or None
            What is selected now; None when the store is large and a job was started, whose
            result the event ``"selection"`` tells.
        """
        at = int(check_rows([row], len(self.store))[0])
        layer = layer_with_maps(self.store, self.layer)
        info = self.store.layers[layer]
        flat = alike.cell_numbers(cells, info.grid) if info.has_maps else np.asarray(cells)
        _check_mode(mode)

        def done(similarity: npt.NDArray[np.float32]) -> Selection:
            mask, limit = alike.choose(similarity, threshold)
            how = {"kind": "alike", "row": at, "cells": flat.tolist(), "threshold": limit}
            given = "" if threshold is None else f", threshold={float(threshold)!r}"
            code = f"select_alike({at}, {flat.tolist()!r}{given}"
            made = Selection.from_mask(mask, how=how)
            return self._select(made, mode, f"Like a part of tile {at}", code, lasting=True)

        size = len(self.store) * info.channels * int(np.prod(info.grid)) * 2
        if size <= alike.AT_ONCE or not self.jobs.background:
            return done(alike.similarities(self.store, layer, at, flat))
        self.jobs.submit(
            "alike",
            lambda job: alike.similarities(self.store, layer, at, flat, job=job),
            done,
            title="Looking for alike positions",
        )
        return None

    def clear(self) -> Selection:
        """Select nothing."""
        return self._select(
            Selection.none(len(self.store)), "replace", "Nothing", "clear(", lasting=True
        )

    def select_all(self) -> Selection:
        """Select every tile."""
        return self._select(
            Selection.all(len(self.store)), "replace", "All", "select_all(", lasting=True
        )

    def invert(self) -> Selection:
        """Select what is not selected."""
        with self._changing():
            turned = ~self.selection
            return self._select(turned, "replace", "Inverted", "invert(", lasting=True)

    def save_selection(self, name: str) -> Selection:
        """Keep the selection under a name; an older one of that name is replaced."""
        check_name(name)
        if name not in self._named and len(self._named) >= MAX_NAMED:
            raise InvalidInput(f"{MAX_NAMED} selections are kept already. Forget one first.")
        with self._changing():
            self._named[name] = self.selection
        self.events.emit("named", self.named)
        return self.selection

    def restore_selection(self, name: str, *, mode: Mode = "replace") -> Selection:
        """Select what was kept under a name."""
        return self._select(self._kept(name), mode, f"Kept as {name}")

    def forget_selection(self, name: str) -> None:
        """Remove a kept selection."""
        self._kept(name)
        with self._changing():
            del self._named[name]
        self.events.emit("named", self.named)

    def _select(
        self, made: Selection, mode: str, what: str, code: str = "", *, lasting: bool = False
    ) -> Selection:
        """Join a selection to the present one; ``code`` is taken when it lasts, else the bits."""
        _check_mode(mode)
        if not lasting:
            code = _code_of(made)
        if mode != "replace":
            code += f", mode={mode!r}"
        with self._changing():  # what it joins must not change before it is joined
            now = self.selection
            joined = {
                "replace": lambda: made,
                "add": lambda: now | made,
                "subtract": lambda: now - made,
                "intersect": lambda: now & made,
            }[mode]()
            count = joined.count
            title = f"{_WORDS[mode]}{what}: {count} tile{'' if count == 1 else 's'}"
            self._change(title, f"session.{code})", selection=joined)
            return self.selection

    def _points(self, xy: npt.ArrayLike | None) -> tuple[npt.NDArray[Any], bool]:
        """Points (n, 2), and whether a geometric line of history finds the same ones again."""
        n = len(self.store)
        if xy is not None:
            points = np.asarray(xy)
            if points.shape != (n, 2):
                raise InvalidInput(f"xy is one point a tile, ({n}, 2); got {points.shape}.")
            return points, False
        projection = self.projection
        if projection is None:
            raise InvalidInput("The projection is still being computed. Call session.wait() first.")
        return projection.xy, self.layer in self._lasting

    def _inside(
        self, polygon: npt.NDArray[np.float64], points: npt.NDArray[Any]
    ) -> npt.NDArray[np.bool_]:
        """Points inside; those of the projection are sorted once for all later lassos."""
        projection = self.projection
        if projection is None or points is not projection.xy or len(points) < bins.WORTH:
            return geometry.inside(polygon, points)
        if self._bins is None or self._bins[0] is not points:
            self._bins = (points, bins.Bins(points))
        return self._bins[1].inside(polygon)

    def _columns(self, text: str) -> dict[str, pd.Series[Any]]:
        """Columns that queries know beside those of the table."""
        if "cluster" not in text:
            return {}
        import pandas as pd

        clustering = self._need_clustering()
        names = np.array([*clustering.names, None], dtype=object)
        return {"cluster": pd.Series(names[clustering.labels], dtype=object)}

    def _kept(self, name: str) -> Selection:
        if name not in self._named:
            raise UnknownName(
                f"No selection is kept as {name!r}. {near(str(name), self._named)}".rstrip()
            )
        return self._named[name]


def _check_mode(mode: str) -> None:
    if mode not in MODES:
        raise UnknownName(f"There is no mode {mode!r}. {near(str(mode), MODES)}".rstrip())


def _title_of(selection: Selection) -> str:
    kind = str(selection.how.get("kind", ""))
    return {"click": "Click", "rows": "Tiles", "mask": "Tiles", "gallery": "Gallery"}.get(
        kind, kind or "Tiles"
    )


def _code_of(selection: Selection) -> str:
    if selection.count <= _LISTED:
        return f"select({selection.rows.tolist()!r}"
    return f"select(wk.Selection.decode({selection.encode()!r})"


def _is_plain(value: object) -> TypeGuard[bool | int | float | str]:
    return isinstance(value, bool | int | float | str)
