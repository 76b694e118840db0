"""Three planes through a volume on paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from widgetkit.errors import InvalidInput
from widgetkit.figures.compose import BAR_GAP_MM, BAR_MM, PT_MM, _area, _bar_room, _page, _wrapped
from widgetkit.figures.spec import FigureSpec
from widgetkit.figures.tiles import EDGE_MM, GAP_MM, SIGNED, UNSIGNED, frame, map_norm
from widgetkit.figures.tiles import scale_bar as draw_scale_bar
from widgetkit.session.scan import Plane, Scan, cut, map_of, map_plane, voxels_of
from widgetkit.session.volumes import Volumes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from widgetkit.session import MapResult, Session

#: Type beside the edges of a plane, lines of text.
_CORNER = 0.02
_BAR_MOST_MM = 60.0


def volume(
    session: Session,
    spec: FigureSpec | None = None,
    *,
    row: int | None = None,
    at: Sequence[int] | None = None,
    window: tuple[float, float] | None = None,
    opacity: float = 0.6,
    threshold: float = 0.0,
    palette: str = UNSIGNED,
    diverging: str = SIGNED,
    smooth: bool = True,
    cross: bool = True,
    spacing: Sequence[float] | None = None,
    directions: Sequence[str] | None = None,
) -> Figure:
    """Three planes through a volume with the session's map over them, all at one scale.

    Parameters
    ----------
    session : Session
    spec : FigureSpec, optional
    row : int, optional
        Tile that is the volume, or one of its slices. Default: the focus, else the first
        representative of the selection.
    at : (d, h, w), optional
        Voxel through which the planes go; the middle by default.
    window : (low, high), optional
        Values drawn black and white; the stored window by default.
    opacity : float in [0, 1]
        Of the map; 0 draws the volume alone.
    threshold : float in [0, 1]
        Share of the scale below which the map is not drawn.
    palette, diverging : str
        matplotlib's colour maps for maps from zero up and for signed ones.
    smooth : bool
        Trilinear, else every voxel in the colour of its cell.
    cross : bool
        Draw where the planes cut each other.
    spacing, directions : optional
        As in :class:`Volumes`.

    Raises
    ------
    InvalidInput
        There is no such volume, or the store holds none.
    NeedsActivations, NeedsModel
        The store or the session lacks what the map needs.
    """
    spec = spec or FigureSpec()
    scan = _chosen(session, row, spacing, directions)
    place = _place(scan, at)
    pixels = voxels_of(session.store, scan)
    result = None if opacity <= 0 else session.maps(scan.tiles)
    grid = None if result is None else map_of(result, scan)
    beside = 0.0 if result is None else _bar_room(spec)
    line = spec.font_pt * PT_MM
    title = "" if result is None else _wrapped(_titled(result), _BAR_MOST_MM, line)
    beside += 1.3 * title.count("\n") * line
    sizes = [_size(scan, plane) for plane in scan.planes]
    # one number of millimetres on paper for a millimetre (or voxel) of the volume
    room = spec.width_mm - 2 * EDGE_MM - 2 * GAP_MM - beside
    scale = max(0.1, room) / sum(wide for wide, _ in sizes)
    head = 1.5 * line
    spec = spec.with_height(max(high for _, high in sizes) * scale + 2 * EDGE_MM + head)
    deep = (spec.height_mm or 0.0) - 2 * EDGE_MM - head
    scale = min(scale, max(1.0, deep) / max(high for _, high in sizes))
    ends = [scan.grey(value) for value in (window or scan.window or (0.0, 255.0))]

    def draw(page: Figure) -> None:
        area = _area(page, spec)
        left = EDGE_MM
        for plane, (wide, high) in zip(scan.planes, sizes, strict=True):
            axes = area.axes(left, EDGE_MM + head, wide * scale, high * scale)
            image = _turned(cut(pixels, plane.axis, place[plane.axis]), plane)
            # colours are drawn as they are
            axes.imshow(
                image, cmap="gray", vmin=ends[0], vmax=ends[1], interpolation="antialiased",
                aspect="auto",
            )  # fmt: skip
            if grid is not None and result is not None:
                values = map_plane(grid, scan.shape, plane.axis, place[plane.axis], smooth=smooth)
                name = diverging if result.signed else palette
                _lay(axes, _turned(values, plane), result, name, opacity, threshold)
            _mark(axes, scan, plane, place, cross=cross)
            if plane.axis == 0 and scan.in_mm:
                draw_scale_bar(axes, image, scan.spacing[plane.across] * 1000)
            frame(axes)
            left += wide * scale + GAP_MM
        if result is not None:
            from matplotlib.cm import ScalarMappable

            high = min(_BAR_MOST_MM, max(h for _, h in sizes) * scale)
            at_bar = (left - GAP_MM + BAR_GAP_MM, EDGE_MM + head)
            name = diverging if result.signed else palette
            mappable = ScalarMappable(map_norm(result), name)
            bar = page.colorbar(mappable, cax=area.axes(*at_bar, BAR_MM, high), label=title)
            bar.outline.set_visible(False)

    return _page(spec, draw, placed=True)


def volume_sentence(
    session: Session,
    *,
    row: int | None = None,
    at: Sequence[int] | None = None,
    window: tuple[float, float] | None = None,
    spacing: Sequence[float] | None = None,
    directions: Sequence[str] | None = None,
) -> str:
    """Which volume, its voxels, the planes, and the window, without a name."""
    scan = _chosen(session, row, spacing, directions)
    place = _place(scan, at)
    what = f"Series {scan.index + 1}" if scan.stacked else f"Volume {scan.index + 1}"
    cuts = ", ".join(
        f"{plane.name} {place[plane.axis] + 1} of {scan.shape[plane.axis]}" for plane in scan.planes
    )
    parts = [f"{what}: {scan.in_words()}; {cuts}."]
    shown = window or scan.window
    if shown is not None and not scan.colour:
        unit = f" {scan.units}" if scan.units else ""
        parts.append(f"Window {shown[0]:.4g} to {shown[1]:.4g}{unit}.")
    return " ".join([*parts, *scan.notes])


def volume_row(session: Session) -> int | None:
    """The tile in focus, else the first representative of the selection; None without tiles."""
    if session.focus is not None:
        return int(session.focus)
    rows, _ = session.ranked("representative", 1)
    return int(rows[0]) if len(rows) else None


def _chosen(
    session: Session,
    row: int | None,
    spacing: Sequence[float] | None,
    directions: Sequence[str] | None,
) -> Scan:
    volumes = Volumes(session.store, spacing=spacing, directions=directions)
    found = volume_row(session) if row is None else row
    if found is None or volumes.reason:
        raise InvalidInput(volumes.reason or "The store has no tiles.")
    if isinstance(found, bool) or not 0 <= found < len(session.store):
        raise InvalidInput(f"Row {found!r} is not in a store of {len(session.store):,} tiles.")
    index = volumes.of(int(found))
    if index < 0:
        raise InvalidInput(f"Tile {found} belongs to no series, so it is a slice of no volume.")
    return volumes[index]


def _place(scan: Scan, at: Sequence[int] | None) -> tuple[int, int, int]:
    if at is None:
        return scan.middle
    inside = len(at) == 3 and all(0 <= i < n for i, n in zip(at, scan.shape, strict=False))
    if not inside:
        raise InvalidInput(f"at={tuple(at)} is no voxel (d, h, w) of a volume of {scan.shape}.")
    return int(at[0]), int(at[1]), int(at[2])


def _size(scan: Scan, plane: Plane) -> tuple[float, float]:
    """Width and height of a plane, millimetres (or the proportions)."""
    return tuple(scan.shape[a] * scan.spacing[a] for a in (plane.across, plane.down))  # type: ignore[return-value]


def _turned(image: np.ndarray, plane: Plane) -> np.ndarray:
    """A plane with its two axes in order, as it is drawn: rows down, columns to the right."""
    if plane.down > plane.across:
        image = image.swapaxes(0, 1)
    if plane.flip_down:
        image = image[::-1]
    return image[:, ::-1] if plane.flip_across else image


def _titled(result: MapResult) -> str:
    return f"{result.title} (scale of this volume)"


def _lay(
    axes: Axes,
    values: np.ndarray,
    result: MapResult,
    palette: str,
    opacity: float,
    threshold: float,
) -> None:
    import matplotlib as mpl

    known = np.isfinite(values)
    place = np.asarray(map_norm(result)(np.where(known, values, 0.0)), dtype=float)
    strength = np.abs(2 * place - 1) if result.signed else place
    rgba: Any = mpl.colormaps[palette](place)
    rgba[..., 3] = np.where(known & (strength >= threshold), opacity, 0.0)
    axes.imshow(rgba, interpolation="nearest", aspect="auto", gid="map")


def _mark(
    axes: Axes, scan: Scan, plane: Plane, place: tuple[int, int, int], *, cross: bool
) -> None:
    """Name and number of the plane, letters at its edges, and where the others cut it."""
    from matplotlib.patheffects import Stroke

    axes.set_title(
        f"{plane.name} {place[plane.axis] + 1}/{scan.shape[plane.axis]}", pad=2, loc="left"
    )
    spots = ((_CORNER, 0.5), (1 - _CORNER, 0.5), (0.5, 1 - _CORNER), (0.5, _CORNER))
    sides = (("left", "center"), ("right", "center"), ("center", "top"), ("center", "bottom"))
    for letter, (x, y), (ha, va) in zip(plane.letters, spots, sides, strict=False):
        # the halo is a text of its own, because a text with an effect is written as outlines
        for effects in ([Stroke(linewidth=1.5, foreground="black")], None):
            axes.text(
                x, y, letter, color="white", ha=ha, va=va, transform=axes.transAxes,
                path_effects=effects,
            )  # fmt: skip
    if not cross:
        return
    for axis, flip, line in (
        (plane.across, plane.flip_across, axes.axvline),
        (plane.down, plane.flip_down, axes.axhline),
    ):
        at = scan.shape[axis] - 1 - place[axis] if flip else place[axis]
        line(at, color="white", lw=0.4, alpha=0.7, gid="cross")
