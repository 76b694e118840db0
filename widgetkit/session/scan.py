"""One volume of a store: its shape, millimetres and directions, its planes, its voxels, and maps on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from widgetkit.errors import InvalidInput

if TYPE_CHECKING:
    from widgetkit.session.maps import MapResult
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
