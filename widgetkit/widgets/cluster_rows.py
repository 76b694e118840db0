"""The rows of the cluster panel: one cluster each, changed in place so that typing goes on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import ipywidgets as widgets
import numpy as np

from widgetkit.palette import CATEGORICAL, colour
from widgetkit.widgets.controls import COLOUR_NAMES, button
from widgetkit.widgets.panel import close_whole

if TYPE_CHECKING:
    from widgetkit.session import Clustering


class ClusterRow(widgets.HBox):  # type: ignore[misc]
    """Tick, colour, name, size and buttons of one cluster.

    Parameters
    ----------
    index : int
        Of the cluster; stays.
    rename, recolour : callable (index, value)
        Called when the user changed them, not when :meth:`show` did.
    select : callable (index)
    """

    def __init__(
        self,
        index: int,
        *,
        rename: Callable[[int, str], None],
        recolour: Callable[[int, int], None],
        select: Callable[[int], None],
    ) -> None:
        self.index = index
        self._quiet = False
        self.tick = widgets.Checkbox(
            value=False, indent=False, layout=widgets.Layout(width="22px", min_width="22px")
        )
        self._swatch = widgets.HTML()
        self.name = widgets.Text(
            continuous_update=False, layout=widgets.Layout(width="150px", min_width="60px")
        )
        self.size = widgets.HTML(layout=widgets.Layout(width="60px", min_width="60px"))
        self.shade = widgets.Dropdown(
            options=[(text, i) for i, text in enumerate(COLOUR_NAMES)],
            layout=widgets.Layout(width="96px"),
        )
        self.select = button("Select", "", lambda: select(index))
        super().__init__(
            [self.tick, self._swatch, self.name, self.size, self.shade, self.select],
            layout=widgets.Layout(align_items="center"),
        )
        self.name.observe(lambda change: self._user(rename, change["new"]), "value")
        self.shade.observe(lambda change: self._user(recolour, change["new"]), "value")

    def _user(self, action: Callable[..., None], value: object) -> None:
        if not self._quiet:
            action(self.index, value)

    def show(self, name: str, shade: int, size: int) -> None:
        """Say what the cluster is now; a trait that is the same sends nothing."""
        self._quiet = True
        try:
            self.name.value = name
            self.shade.value = shade % len(CATEGORICAL)
        finally:
            self._quiet = False
        self.size.value = f"{size:,}"
        self._swatch.value = (
            '<span aria-hidden="true" style="display:inline-block;width:14px;height:14px;'
            f'border-radius:3px;background:{colour(shade)}"></span>'
        )
        # titles are the accessible names of controls without a label
        self.tick.tooltip = f"Tick {name}"
        self.name.tooltip = f"Name of {name}; Enter renames"
        self.size.tooltip = f"Tiles in {name}"
        self.shade.tooltip = f"Colour of {name}"
        self.select.tooltip = f"Select the tiles of {name}"


class ClusterRows(widgets.VBox):  # type: ignore[misc]
    """All rows; those of clusters without tiles are folded away behind a button."""

    def __init__(
        self,
        *,
        rename: Callable[[int, str], None],
        recolour: Callable[[int, int], None],
        select: Callable[[int], None],
    ) -> None:
        self._make = partial(ClusterRow, rename=rename, recolour=recolour, select=select)
        self.rows: list[ClusterRow] = []
        self._sizes: list[int] = []
        self._labels: np.ndarray | None = None
        self._list = widgets.VBox(layout=widgets.Layout(max_height="320px", overflow="auto"))
        self._fold = widgets.ToggleButton(layout=widgets.Layout(width="auto", display="none"))
        self._fold.observe(lambda _: self._show_empty(), "value")
        self._none = widgets.HTML("The clusters are being computed.")
        super().__init__([self._none, self._list, self._fold])

    @property
    def ticked(self) -> list[int]:
        """Numbers of the ticked clusters, ascending; folded ones count as not ticked."""
        return [row.index for row in self.rows if row.tick.value and row.layout.display != "none"]

    def show(self, clustering: Clustering | None) -> bool:
        """Show these clusters; True when they are others than before, not only renamed ones."""
        k = 0 if clustering is None else clustering.k
        labels = None if clustering is None else np.asarray(clustering.labels)
        before, self._labels = self._labels, labels
        same = before is not None and labels is not None and np.array_equal(before, labels)
        same = same and len(self.rows) == k
        # Rows are kept: their order is that of the numbers, and only the tail comes and goes.
        gone, self.rows = self.rows[k:], self.rows[:k]
        self.rows += [self._make(i) for i in range(len(self.rows), k)]
        if clustering is not None and labels is not None:
            sizes = np.bincount(labels[labels >= 0], minlength=k)
            self._sizes = [int(s) for s in sizes]
            for row in self.rows:
                i = row.index
                row.show(clustering.names[i], clustering.colors[i], self._sizes[i])
                if not same:
                    row.tick.value = False
        self._list.children = self.rows
        self._none.layout.display = "none" if k else ""
        if clustering is not None and not k:
            self._none.value = "There are no clusters."
        for row in gone:
            close_whole(row)
        self._show_empty()
        return not same

    def _show_empty(self) -> None:
        empty = sum(size == 0 for size in self._sizes[: len(self.rows)])
        self._fold.layout.display = "" if empty else "none"
        what = f"{empty} cluster{'' if empty == 1 else 's'} without tiles"
        self._fold.description = f"{'Hide' if self._fold.value else 'Show'} {what}"
        for row in self.rows:
            hidden = not self._sizes[row.index] and not self._fold.value
            row.layout.display = "none" if hidden else ""
