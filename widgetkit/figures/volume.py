"""Volumes of a store, and three planes through one of them on paper.

What is known of a volume (shape, millimetres, directions, stored window) is gathered here, because
both the figure and :class:`widgetkit.widgets.VolumeView` draw it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput
from widgetkit.figures.captions import count
from widgetkit.figures.compose import BAR_GAP_MM, BAR_MM, PT_MM, _area, _bar_room, _page, _wrapped
from widgetkit.figures.spec import FigureSpec
from widgetkit.figures.tiles import EDGE_MM, GAP_MM, SIGNED, UNSIGNED, frame, map_norm
from widgetkit.figures.tiles import scale_bar as draw_scale_bar

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from widgetkit.session import MapResult, Session
    from widgetkit.store import ActivationStore

Voxels = npt.NDArray[np.uint8]
Triple = tuple[float, float, float]
Directions = tuple[str, str, str]

#: Names of the axes of a volume, in order.
AXES = ("D", "H", "W")
#: Two ends of each axis of the patient, and the plane across it.
_PLANE_ACROSS = {"S": "axial", "I": "axial", "A": "coronal", "P": "coronal", "L": "sagittal", "R": "sagittal"}  # fmt: skip
_OPPOSITE = dict(zip("LRAPSI", "RLPAIS", strict=True))
#: Ends that lie below and to the right: the feet, the back; the patient's left, the back.
_DOWN, _RIGHT = "IP", "LP"
#: Columns that say which slices belong together, and how they follow each other: the first there is.
_GROUPS, _PLACES = ("series", "slide"), ("z_mm", "z", "position")
#: Slices are on a lattice when each is this near to it, in steps; and when it is not mostly holes.
_UNEVEN, _HOLES_MOST = 0.05, 4
#: Type beside the edges of a plane, lines of text.
_CORNER = 0.02
_BAR_MOST_MM = 60.0


# -- planes --------------------------------------------------------------------------------
@dataclass(frozen=True)
class Plane:
    """How a plane of a volume is drawn.

    Attributes
    ----------
    axis : int
        Of the volume (0 D, 1 H, 2 W), across the plane.
    name : str
        ``"axial"``, ``"coronal"``, ``"sagittal"``, or the axis where directions are not known.
    across, down : int
        Axes of the volume that run to the right and down (or, flipped, to the left and up).
    flip_across, flip_down : bool
    letters : (left, right, top, bottom)
        Ends of the patient; empty where directions are not known.
    """

    axis: int
    name: str
    across: int
    down: int
    flip_across: bool
    flip_down: bool
    letters: tuple[str, ...]


def planes_of(directions: Directions | None) -> tuple[Plane, Plane, Plane]:
    """The planes across D, H and W, turned as a radiologist sees them.

    Head or front up; the patient's left, in sagittal planes the back, to the right. Unknown
    directions are drawn as those of an axial series, without letters.
    """
    found = []
    ends = directions or ("S", "P", "L")
    for axis in range(3):
        one, other = (a for a in range(3) if a != axis)
        # upright is the patient's length, or in axial planes front to back
        upright = [a for a in (one, other) if ends[a] in "SI"] or [
            a for a in (one, other) if ends[a] in "AP"
        ]
        down = upright[0]
        across = other if down == one else one
        flip_across, flip_down = ends[across] not in _RIGHT, ends[down] not in _DOWN
        letters: tuple[str, ...] = ()
        if directions is not None:
            right, bottom = ends[across], ends[down]
            right = _OPPOSITE[right] if flip_across else right
            bottom = _OPPOSITE[bottom] if flip_down else bottom
            letters = (_OPPOSITE[right], right, _OPPOSITE[bottom], bottom)
        name = f"{AXES[axis]} plane" if directions is None else _PLANE_ACROSS[ends[axis]]
        found.append(Plane(axis, name, across, down, flip_across, flip_down, letters))
    return found[0], found[1], found[2]


def check_directions(directions: object) -> Directions | None:
    """Three letters, one of each of L/R, A/P and S/I; None for anything else."""
    if not isinstance(directions, (str, list, tuple)) or len(directions) != 3:
        return None
    one, two, three = (str(letter) for letter in directions)
    pairs = {_PLANE_ACROSS.get(letter) for letter in (one, two, three)}
    return (one, two, three) if len(pairs) == 3 and None not in pairs else None


# -- volumes -------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Scan:
    """One volume of a store: a tile that is one, or the slices of one series.

    Attributes
    ----------
    index : int
        Number of the volume among :class:`Volumes`.
    rows : (D,) int64 or (1,) int64
        Tile that holds each slice, -1 where the store lacks it; or the tile that holds all.
    shape : (int, int, int)
        D, H, W.
    colour : bool
        Voxels are RGB.
    stacked : bool
        Whether ``rows`` are slices.
    spacing : (z, y, x)
        From voxel to voxel: millimetres, or only their proportions.
    in_mm : bool
    directions : (str, str, str) or None
        Where D, H and W run to, as in :attr:`widgetkit.tiles.Volume.directions`.
    window : (low, high) or None
        Values that grey 0 and 255 stand for; None where the grey is the value.
    units : "HU" or ""
    notes : tuple of str
        What is assumed.
    """

    index: int
    rows: npt.NDArray[np.int64]
    shape: tuple[int, int, int]
    colour: bool
    stacked: bool
    spacing: Triple
    in_mm: bool
    directions: Directions | None
    window: tuple[float, float] | None
    units: str
    notes: tuple[str, ...]

    @property
    def tiles(self) -> npt.NDArray[np.int64]:
        """Rows without the missing ones."""
        return self.rows[self.rows >= 0]

    @property
    def missing(self) -> tuple[int, ...]:
        """Slices that the store lacks."""
        return tuple(int(i) for i in np.flatnonzero(self.rows < 0))

    @property
    def planes(self) -> tuple[Plane, Plane, Plane]:
        return planes_of(self.directions)

    @property
    def middle(self) -> tuple[int, int, int]:
        depth, height, width = self.shape
        return depth // 2, height // 2, width // 2

    def slice_of(self, row: int) -> int | None:
        """Which slice a tile is; None where tiles are volumes."""
        return int(np.flatnonzero(self.rows == row)[0]) if self.stacked else None

    def grey(self, value: float) -> float:
        """The grey, 0 to 255 within the stored window, that stands for a value."""
        low, high = self.window or (0.0, 255.0)
        return (value - low) / (high - low) * 255.0

    def in_words(self) -> str:
        """Its size."""
        size = " x ".join(map(str, self.shape))
        if not self.in_mm:
            return f"{size} voxels"
        return f"{size} voxels of {' x '.join(f'{step:.3g}' for step in self.spacing)} mm"


class Volumes:
    """The volumes of a store: its tiles, where they are volumes, else its stacks of slices.

    Parameters
    ----------
    store : ActivationStore
    spacing : (z, y, x) mm, optional
        Of all volumes, in place of what the store says.
    directions : three letters such as "SPL", optional
        Where D, H and W run to, in place of what the store says.

    Attributes
    ----------
    reason : str
        Why there is none; else empty.
    """

    def __init__(
        self,
        store: ActivationStore,
        *,
        spacing: Sequence[float] | None = None,
        directions: Sequence[str] | None = None,
    ) -> None:
        self._store = store
        self._spacing = None if spacing is None else _triple(spacing)
        if spacing is not None and self._spacing is None:
            raise InvalidInput(f"spacing={spacing!r}; it is three numbers (z, y, x) above 0 mm.")
        self._directions = check_directions(directions)
        if directions is not None and self._directions is None:
            raise InvalidInput(
                f"directions={directions!r}; it is three letters for D, H and W, one each of L/R, "
                "A/P and S/I, such as 'SPL' for an axial series."
            )
        self.reason = self._why_none()

    @property
    def stacked(self) -> bool:
        """Whether a volume is a stack of tiles."""
        from widgetkit.store.images import is_volume

        shape = self._store.image_shape
        return shape is not None and not is_volume(shape)

    def __len__(self) -> int:
        if self.reason:
            return 0
        return len(self._stacks[1]) - 1 if self.stacked else len(self._store)

    def of(self, row: int) -> int:
        """Number of the volume that a tile is, or is a slice of; -1 for none."""
        if self.reason:
            return -1
        return int(self._stack_of[row]) if self.stacked else row

    def among(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Volumes that hold some tiles, ascending, each once."""
        if self.reason:
            return np.zeros(0, np.int64)
        if not self.stacked:
            return np.asarray(rows, np.int64)
        found = np.unique(self._stack_of[rows])
        return np.asarray(found[found >= 0], np.int64)

    def __getitem__(self, index: int) -> Scan:
        """One volume.

        Raises
        ------
        InvalidInput
            There is none, or its slices make no stack. Says why, without a name.
        """
        if self.reason:
            raise InvalidInput(self.reason)
        if not 0 <= index < len(self):
            raise InvalidInput(f"There is no volume {index}; the store has {len(self):,}, from 0.")
        shape = self._store.image_shape
        assert shape is not None
        colour = len(shape) in (3, 4) and shape[-1] == 3
        sides = [int(side) for side in (shape[:-1] if colour else shape)]
        notes: list[str] = []
        if self.stacked:
            rows, between = self._stack(index, notes)
            first = int(rows[rows >= 0][0])
            sides = [len(rows), *sides]
        else:
            rows, between, first = np.array([index], np.int64), None, index
        record = self._record(first, notes)
        spacing, in_mm = self._spacing_of(first, record, between, notes)
        window = _pair(self._store.manifest.preprocess.get("window"))
        units = "HU" if window and record and record.get("units") == "HU" else ""
        directions = self._directions or check_directions((record or {}).get("directions"))
        if directions is None:
            notes.append(
                "Where the axes run to in the patient is not known: planes have no letters."
            )
        return Scan(
            index, rows, (sides[0], sides[1], sides[2]), colour, self.stacked, spacing, in_mm,
            directions, window, units, tuple(notes),
        )  # fmt: skip

    def named(self, scan: Scan) -> str:
        """What to call it: a number, never a name, which may be a patient's."""
        return f"series {scan.index + 1}" if scan.stacked else f"tile {scan.index}"

    # -- stacks --------------------------------------------------------------------------
    @cached_property
    def _table(self) -> pd.DataFrame:
        return self._store.tiles

    @property
    def _group(self) -> str | None:
        return next((name for name in _GROUPS if name in self._table), None)

    @cached_property
    def _stack_of(self) -> npt.NDArray[np.int64]:
        """(n,) number of each tile's series, by first appearance; -1 without one."""
        import pandas as pd

        codes, _ = pd.factorize(self._table[self._group])
        return np.asarray(codes, np.int64)

    @cached_property
    def _stacks(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Rows sorted by series, and where each series begins."""
        order = np.argsort(self._stack_of, kind="stable")
        stacks = int(self._stack_of.max(initial=-1)) + 1
        starts = np.searchsorted(self._stack_of[order], np.arange(stacks + 1))
        return order.astype(np.int64), starts.astype(np.int64)

    def _why_none(self) -> str:
        store = self._store
        if not len(store):
            return "The store has no tiles."
        if store.image_shape is None:
            return "The store keeps no pictures of its tiles, so there is no volume to look at."
        if not self.stacked:
            return ""
        places = [name for name in _PLACES if name in self._table]
        if self._group is None or not places:
            lacks = "'series' or 'slide'" if self._group is None else "'z_mm', 'z' or 'position'"
            return (
                "The tiles are pictures. To be shown as slices of volumes their table needs a column "
                f"{lacks}; see wk.tiles.from_volumes."
            )
        if self._group == "slide" and not self._any_stack(places):
            return (
                "The tiles are pictures: no two of one slide have different z, so they are not slices "
                "of volumes."
            )
        return ""

    def _any_stack(self, places: list[str]) -> bool:
        """Whether any two tiles of one slide differ in place."""
        known = self._table[self._stack_of >= 0]
        groups = known.groupby(self._stack_of[self._stack_of >= 0])
        return any(bool((groups[name].nunique() > 1).any()) for name in places)

    def _stack(self, index: int, notes: list[str]) -> tuple[npt.NDArray[np.int64], float | None]:
        """Row of each slice from the first to the last, -1 for holes; mm between slices."""
        order, starts = self._stacks
        rows = order[starts[index] : starts[index + 1]]
        what = f"The tiles of series {index + 1} of {len(self)}"
        for name in ("x", "y"):
            if name in self._table and self._table[name].iloc[rows].nunique(dropna=False) > 1:
                raise InvalidInput(
                    f"{what} lie beside each other (they differ in {name}), so they are no stack of "
                    "slices."
                )
        for name in (name for name in _PLACES if name in self._table):
            place = np.asarray(self._table[name].iloc[rows], np.float64)
            if np.isfinite(place).all() and len(np.unique(place)) == len(place):
                break
        else:
            raise InvalidInput(
                f"{what} are no stack of slices: two lie at one z, or a z is not known."
            )
        rows = rows[np.argsort(place)]
        if len(rows) == 1:
            return rows, None
        gaps = np.diff(np.sort(place))
        step = float(gaps.min())
        steps = np.rint(gaps / step).astype(np.int64)
        slots = np.concatenate([[0], np.cumsum(steps)])
        even = bool((np.abs(gaps / step - steps) <= _UNEVEN).all())
        if not even or slots[-1] + 1 > _HOLES_MOST * len(rows):
            unit = " mm" if name == "z_mm" else ""
            notes.append(
                f"The slices lie {gaps.min():.3g} to {gaps.max():.3g}{unit} apart and are drawn evenly."
            )
            return rows, float(np.median(gaps)) if name == "z_mm" else None
        if slots[-1] + 1 > len(rows):
            lacking = int(slots[-1]) + 1 - len(rows)
            notes.append(f"{count(lacking, 'slice')} between others: not in the store, left empty.")
        out = np.full(int(slots[-1]) + 1, -1, np.int64)
        out[slots] = rows
        if name == "z_mm":
            return out, float((place.max() - place.min()) / slots[-1])
        return out, -step if name == "z" else None  # in slices of the series, not in mm

    # -- millimetres ---------------------------------------------------------------------
    def _record(self, row: int, notes: list[str]) -> Mapping[str, Any] | None:
        """What the source said of a tile's series; None where it is not sure which it was."""
        source = self._store.manifest.source
        records = series_listed(source)
        if not records:
            return None
        if source.get("kind") == "volumes" and "series" in self._table:
            import pandas as pd

            codes, names = pd.factorize(self._table["series"])
            if len(names) == len(records) and codes[row] >= 0:
                return records[int(codes[row])]  # in the order in which the source lists them
        mpp = self._mpp(row)
        if mpp is not None:
            records = [
                record
                for record in records
                if (step := _triple(record.get("to_spacing"))) is not None
                and math.isclose(step[2] * 1000, mpp, rel_tol=1e-3)
            ]
        facts = {repr([r.get(k) for k in ("to_spacing", "units", "directions")]) for r in records}
        if len(facts) == 1:
            return records[0]
        notes.append("The series differ, and the store does not say which of them this is.")
        return None

    def _mpp(self, row: int) -> float | None:
        if "mpp" not in self._table:
            return None
        mpp = float(self._table["mpp"].iloc[row])
        return mpp if math.isfinite(mpp) and mpp > 0 else None

    def _spacing_of(
        self, row: int, record: Mapping[str, Any] | None, between: float | None, notes: list[str]
    ) -> tuple[Triple, bool]:
        """Spacing, and whether it is in millimetres; what is assumed is added to the notes."""
        if self._spacing is not None:
            return self._spacing, True
        said, mpp = _triple((record or {}).get("to_spacing")), self._mpp(row)
        if said is not None:
            across = said[0] if between is None else between if between > 0 else -between * said[0]
            return (across, said[1], said[2]), True
        if mpp is None:
            notes.append("The size of voxels is not known: they are drawn as cubes.")
            return (1.0, 1.0, 1.0), False
        side = mpp / 1000
        if between is not None and between > 0:
            return (between, side, side), True
        notes.append("The distance of slices is not known: it is taken as that of pixels.")
        return (side, side, side), True


def series_listed(described: object) -> list[Mapping[str, Any]]:
    """The series that a source's ``describe()`` lists, all parts counted through."""
    if not isinstance(described, Mapping):
        return []
    parts = described.get("parts")
    if isinstance(parts, list | tuple):
        return [series for part in parts for series in series_listed(part)]
    if "of" in described:
        return series_listed(described["of"])
    listed = described.get("series")
    if described.get("kind") != "volumes" or not isinstance(listed, list | tuple):
        return []
    return [series for series in listed if isinstance(series, Mapping)]


def _triple(values: object) -> Triple | None:
    if not isinstance(values, (list, tuple, np.ndarray)) or len(values) != 3:
        return None
    try:
        one, two, three = (float(value) for value in values)
    except (TypeError, ValueError):
        return None
    good = all(math.isfinite(value) and value > 0 for value in (one, two, three))
    return (one, two, three) if good else None


def _pair(values: object) -> tuple[float, float] | None:
    if not isinstance(values, (list, tuple)) or len(values) != 2:
        return None
    if not all(isinstance(v, int | float) and math.isfinite(v) for v in values):
        return None
    low, high = float(values[0]), float(values[1])
    return (low, high) if low < high else None


def voxels_of(store: ActivationStore, scan: Scan) -> Voxels:
    """``(D, H, W[, 3])`` uint8; missing slices are 0."""
    if not scan.stacked:
        whole: Voxels = store.images(scan.rows)[0]
        return whole
    out = np.zeros((*scan.shape, 3) if scan.colour else scan.shape, np.uint8)
    out[scan.rows >= 0] = store.images(scan.tiles)
    return out


def cut(values: np.ndarray, axis: int, at: int) -> np.ndarray:
    """The plane at index ``at`` of an axis; the other axes in their order."""
    plane: np.ndarray = values[(slice(None),) * axis + (at,)]
    return plane


# -- maps ----------------------------------------------------------------------------------
def map_of(result: MapResult, scan: Scan) -> npt.NDArray[np.float32]:
    """The map of a volume ``(d, h, w)``; NaN where it is not computed or the store lacks a slice.

    Of a stack, the maps of its slices: one cell a slice along D.

    Raises
    ------
    InvalidInput
        The grid has not as many axes as the tiles.
    """
    values = np.array(result.values, np.float32)
    axes = values.ndim - 1
    if axes != (2 if scan.stacked else 3):
        raise InvalidInput(
            f"Layer maps have {axes} axes and the tiles {2 if scan.stacked else 3}: they do not lie "
            "on each other."
        )
    values[~np.asarray(result.ready)] = np.nan
    if not scan.stacked:
        one: npt.NDArray[np.float32] = values[0]
        return one
    out = np.full((scan.shape[0], *values.shape[1:]), np.nan, np.float32)
    out[scan.rows >= 0] = values
    return out


def cell_of(voxel: npt.ArrayLike, side: int, cells: int) -> npt.NDArray[np.int64]:
    """Cell of the map in which the centre of a voxel lies, along one axis."""
    # in whole numbers: a centre on the border of two cells is always in the second
    found: npt.NDArray[np.int64] = (2 * np.asarray(voxel, np.int64) + 1) * cells // (2 * side)
    return found


def map_plane(
    grid: npt.NDArray[np.float32], shape: Sequence[int], axis: int, at: int, *, smooth: bool
) -> npt.NDArray[np.float32]:
    """One plane of a map brought to the voxels of its volume, by voxel centres.

    Parameters
    ----------
    grid : (d, h, w)
    shape : (D, H, W)
    axis, at : int
        The plane is at voxel ``at`` of this axis.
    smooth : bool
        Trilinear as :func:`widgetkit.explain.upsample`, else the cell that holds the centre.

    Returns
    -------
    float32, the two other axes in their order
    """
    from widgetkit.explain import upsample

    if not smooth:
        where = [
            cell_of(np.arange(n), n, cells) for n, cells in zip(shape, grid.shape, strict=True)
        ]
        where[axis] = where[axis][[at]]
        return cut(grid[np.ix_(*where)], axis, 0)
    # across the plane first: the whole map is never as large as the volume
    moved = np.moveaxis(grid, axis, -1)
    flat = upsample(moved, (shape[axis],))[..., at]
    return upsample(flat, [shape[a] for a in range(3) if a != axis])


# -- on paper ------------------------------------------------------------------------------
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
