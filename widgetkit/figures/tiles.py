"""Tiles and maps on paper: grids of exact millimetres, overlays, scale bars."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure, SubFigure

    from widgetkit.session import MapResult

#: Colour maps safe for the colour-blind: one for unsigned maps, one centred on zero.
UNSIGNED, SIGNED = "viridis", "RdBu_r"
#: Between tiles, and between a tile and its map.
GAP_MM, PAIR_MM = 1.5, 0.4
#: Free edge around a grid: half a border line and the panel's letter need it.
EDGE_MM = 1.0


@dataclass(frozen=True)
class Grid:
    """Where the cells of a grid of tiles lie, in millimetres from the top left of its area.

    Attributes
    ----------
    cell_mm : float
        Side of a square cell.
    spots : tuple of (x, y)
        Top left corners.
    width_mm, height_mm : float
        Of all cells together.
    """

    cell_mm: float
    spots: tuple[tuple[float, float], ...]
    width_mm: float
    height_mm: float


def grid(count: int, width_mm: float, height_mm: float | None, *, across: int = 1) -> Grid:
    """The grid of ``count`` units that makes square cells largest in an area.

    A unit is ``across`` cells side by side (a tile and its map). Without ``height_mm`` the columns
    are chosen for a page about 1.6 times as wide as high, and the height is what comes out.
    """
    count = max(1, count)
    best: tuple[float, int] = (0.0, 1)
    if height_mm is None:
        columns = max(1, min(count, math.ceil(math.sqrt(count * 1.6 / across))))
        best = (_cell(columns, width_mm, across), columns)
    else:
        for columns in range(1, count + 1):
            rows = math.ceil(count / columns)
            high = (height_mm - (rows - 1) * GAP_MM) / rows
            best = max(best, (min(_cell(columns, width_mm, across), high), columns))
    cell, columns = max(0.1, best[0]), best[1]
    unit = across * cell + (across - 1) * PAIR_MM
    spots = tuple(
        ((i % columns) * (unit + GAP_MM), (i // columns) * (cell + GAP_MM)) for i in range(count)
    )
    rows = math.ceil(count / columns)
    return Grid(cell, spots, columns * (unit + GAP_MM) - GAP_MM, rows * (cell + GAP_MM) - GAP_MM)


def _cell(columns: int, width_mm: float, across: int) -> float:
    room = width_mm - (columns - 1) * GAP_MM - columns * (across - 1) * PAIR_MM
    return room / (columns * across)


@dataclass(frozen=True)
class Area:
    """A figure or a part of one, with its size on paper."""

    page: Figure | SubFigure
    width_mm: float
    height_mm: float

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Axes at millimetres from the top left corner."""
        bottom = self.height_mm - y - height
        box = (
            x / self.width_mm,
            bottom / self.height_mm,
            width / self.width_mm,
            height / self.height_mm,
        )
        made: Axes = self.page.add_axes(box)
        return made

    def say(self, words: str) -> None:
        """Words in the middle, in place of what cannot be drawn."""
        self.page.text(0.5, 0.5, words, ha="center", va="center", wrap=True, color="#505050")


def is_volume(image: np.ndarray) -> bool:
    """Whether one stored picture is ``(D, H, W)`` or ``(D, H, W, 3)``."""
    from widgetkit.store.images import is_volume as stored

    return bool(stored(image.shape))


def flat(image: np.ndarray) -> np.ndarray:
    """A picture as it is, of a volume the middle slice."""
    return image[len(image) // 2] if is_volume(image) else image


def width_px(image: np.ndarray) -> int:
    """Width of a picture or of the slices of a volume, px."""
    return int(flat(image).shape[1])


def show_tile(axes: Axes, image: np.ndarray, *, grey: bool = False) -> None:
    """One tile without ticks; ``grey``: paler and without colour, as the ground of a map."""
    shown = flat(image)
    if grey:
        shown = luminance(shown)
    axes.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
    frame(axes)


def luminance(image: np.ndarray) -> np.ndarray:
    """``(H, W[, 3])`` uint8 -> ``(H, W)`` uint8, lifted a quarter of the way to white.

    Colours over it keep their hue, so that they can be read on the colour bar.
    """
    values = image.astype(np.float32)
    if values.ndim == 3:
        values = values @ np.array([0.299, 0.587, 0.114], np.float32)
    lifted: np.ndarray = np.rint(255 - 0.75 * (255 - values)).astype(np.uint8)
    return lifted


def frame(axes: Axes, edge: str | None = None) -> None:
    """No ticks; a border coloured by cluster, or none."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(edge is not None)
        if edge is not None:
            spine.set_color(edge)
            spine.set_linewidth(1.2)


def scale_bar(axes: Axes, image: np.ndarray, mpp: float) -> None:
    """A bar of a round number of micrometres, at most 40 % of the tile; nothing where mpp is unknown."""
    if not (np.isfinite(mpp) and mpp > 0):
        return
    from matplotlib.patheffects import Stroke

    height, width = flat(image).shape[:2]
    length = round_length(0.4 * width * mpp)
    pixels = length / mpp
    right, bottom = 0.95 * width, 0.92 * height
    label = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} \N{MICRO SIGN}m"
    ends = [right - pixels, right]
    axes.plot(ends, [bottom, bottom], color="white", lw=2.8, solid_capstyle="projecting")
    axes.plot(ends, [bottom, bottom], color="black", lw=1.4, solid_capstyle="butt", gid="scale-bar")
    # From the right end: on a small tile the words are longer than the bar. The halo is a text of
    # its own, because a text with an effect is written as outlines.
    for effects in ([Stroke(linewidth=1.5, foreground="white")], None):
        axes.text(
            right, bottom - 0.03 * height, label, ha="right", va="bottom", path_effects=effects
        )
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)


def round_length(most: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is at most ``most``.

    >>> [round_length(x) for x in (0.9, 7.0, 51.2, 200.0)]
    [0.5, 5.0, 50.0, 200.0]
    """
    power = 10.0 ** np.floor(np.log10(most))
    # a tenth below as well: log10 of 9.999999 rounds up
    steps = [step * power * tenth for tenth in (0.1, 1.0) for step in (1, 2, 5)]
    return float(max(step for step in steps if step <= most * (1 + 1e-9)))


def map_norm(result: MapResult) -> Normalize:
    """One scale for all maps of a result; centred on zero where they are signed."""
    from matplotlib.colors import Normalize

    low, high = float(result.vmin), float(result.vmax)
    if result.signed:
        high = max(abs(low), abs(high))
        low = -high
    if not high > low:
        low, high = (-1.0, 1.0) if result.signed else (low, low + 1.0)
    return Normalize(low, high, clip=True)


def color_map(result: MapResult) -> str:
    """Name of the matplotlib colour map of a result."""
    return SIGNED if result.signed else UNSIGNED


def without_map(axes: Axes, image: np.ndarray | None) -> None:
    """A tile that has no map: itself in grey, or an empty frame, and the words."""
    if image is not None:
        show_tile(axes, image, grey=True)
    axes.text(
        0.5, 0.5, "no map", ha="center", va="center", transform=axes.transAxes,
        bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 1},
    )  # fmt: skip
    frame(axes)


def overlay(
    axes: Axes,
    image: np.ndarray | None,
    values: np.ndarray,
    norm: Normalize,
    *,
    signed: bool,
    opacity: float,
) -> None:
    """A map over its tile in grey; opacity grows with the value, what is not marked stays visible.

    Of a volume, the slice of the picture that lies at the middle of the map's middle slice.
    """
    if image is None:
        if values.ndim == 3:
            values = values[len(values) // 2]
        shape = tuple(8 * s for s in (values.shape if values.ndim > 1 else (1, *values.shape)))
    else:
        show_tile(axes, image, grey=True)
        shape = flat(image).shape[:2]
    rgba = tint(values, shape, norm, signed=signed, opacity=opacity)
    if image is None:
        rgba[..., 3] = 1.0
    axes.imshow(rgba, interpolation="antialiased")
    frame(axes)


def tint(
    values: np.ndarray, shape: tuple[int, ...], norm: Normalize, *, signed: bool, opacity: float
) -> np.ndarray:
    """Colours of a map, ``(H, W, 4)`` from 0 to 1, to lie over a picture of that shape.

    Opacity grows with the value; of a volume the middle slice is taken.
    """
    import matplotlib as mpl

    from widgetkit.explain import upsample

    if values.ndim == 3:
        values = values[len(values) // 2]
    if values.ndim == 1:  # a sequence is one line of cells
        values = values[None]
    fine = upsample(values[None].astype(np.float32), shape)[0]
    unit = np.asarray(norm(fine), dtype=float)
    rgba: Any = mpl.colormaps[SIGNED if signed else UNSIGNED](unit)
    strength = np.abs(2 * unit - 1) if signed else unit
    rgba[..., 3] = opacity * np.sqrt(strength)
    return np.asarray(rgba, dtype=float)
