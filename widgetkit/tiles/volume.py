"""A volume in space: its voxels, and where they lie in the patient.

One convention whatever the file: values (D, H, W) with D along the normal of the slices, H down and
W to the right of each slice as a radiologist sees it; millimetres in the world of DICOM, LPS: x to
the patient's left, y to the back, z to the head.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from widgetkit.errors import BadImage, InvalidInput
from widgetkit.tiles.pixels import convert_dtype

#: Voxels of one volume, at most: a small file may claim any number. 1,900 slices of 512 x 512.
MOST_VOXELS = 500_000_000

#: Axes of an axial series: D to the head, H to the back, W to the patient's left.
AXIAL = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
#: How H and W run in the picture of a plane, as (world axis, sign).
_SHOWN = {0: ((2, -1), (1, 1)), 1: ((2, -1), (0, 1)), 2: ((1, 1), (0, 1))}
_PLANES: dict[int, Literal["axial", "coronal", "sagittal"]]
_PLANES = {0: "sagittal", 1: "coronal", 2: "axial"}
#: Two voxel grids are one if their corners lie within this share of a voxel.
_SAME = 0.25
#: Axes are taken to be square to each other when no cosine is above this (0.6 degrees).
_SQUARE = 0.01

Place: TypeAlias = str | os.PathLike[str]


@dataclass(frozen=True, eq=False, repr=False)
class Volume:
    """Voxels and their place in the patient; nothing else of the file is kept.

    Attributes
    ----------
    values : (D, H, W) int16 or float32
        HU where ``units`` says so. Not to be written to.
    spacing : (3,) float
        Millimetres from voxel to voxel along D, H, W.
    orientation : (3, 3) float
        Row i is the unit vector along which axis i runs, in LPS.
    origin : (3,) float
        Centre of voxel (0, 0, 0), mm, in LPS.
    units : "HU" or ""
    modality : str
        ``"CT"``, ``"MR"``, ...; empty if not known.
    name : str
        Yours, or ``"series 1"``. Never from the file.
    problems : tuple of str
        What is odd about it, though it could be read.
    """

    values: np.ndarray
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    orientation: np.ndarray | Sequence[Sequence[float]] = AXIAL
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    units: str = ""
    modality: str = ""
    name: str = "series 1"
    problems: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        values = np.asanyarray(self.values)
        if values.ndim != 3 or min(values.shape) < 1:
            raise BadImage(f"A volume of shape {values.shape}; it must be (D, H, W).")
        values = as_values(values, self.name).view()
        values.flags.writeable = False
        spacing = _three(self.spacing, "spacing")
        if min(spacing) <= 0:
            raise InvalidInput(f"spacing={spacing}; it must be above 0 mm along D, H and W.")
        axes = np.array(self.orientation, np.float64)
        if axes.shape != (3, 3) or not np.isfinite(axes).all():
            raise InvalidInput("orientation must be (3, 3): a unit vector for each of D, H, W.")
        if np.abs(np.linalg.norm(axes, axis=1) - 1).max() > 1e-3 or abs(np.linalg.det(axes)) < 0.1:
            raise InvalidInput("The rows of orientation must be unit vectors of three directions.")
        axes.flags.writeable = False
        for name, value in (
            ("values", values),
            ("spacing", spacing),
            ("orientation", axes),
            ("origin", _three(self.origin, "origin")),
            ("problems", tuple(self.problems)),
        ):
            object.__setattr__(self, name, value)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W)."""
        depth, height, width = self.values.shape
        return depth, height, width

    @property
    def affine(self) -> np.ndarray:
        """(4, 4): voxel (d, h, w, 1) -> mm in LPS."""
        out = np.eye(4)
        out[:3, :3] = (np.asarray(self.orientation) * np.asarray(self.spacing)[:, None]).T
        out[:3, 3] = self.origin
        return out

    @property
    def plane(self) -> Literal["axial", "coronal", "sagittal"]:
        """Of the slices: the one they are nearest to."""
        return _PLANES[_slice_axis(np.asarray(self.orientation))]

    @property
    def directions(self) -> tuple[str, str, str]:
        """Where D, H and W run to: L, R (left, right), P, A (back, front), S, I (head, feet)."""
        axes = np.asarray(self.orientation)
        names = [
            ("LPS" if axis[i] > 0 else "RAI")[i]
            for axis in axes
            for i in [int(np.argmax(np.abs(axis)))]
        ]
        return names[0], names[1], names[2]

    @property
    def z_mm(self) -> np.ndarray:
        """(D,) position of each slice along the normal of the slices, mm."""
        normal = np.asarray(self.orientation)[0]
        first = float(np.dot(self.origin, normal))
        return first + np.arange(self.shape[0]) * self.spacing[0]

    def __repr__(self) -> str:
        size = "x".join(map(str, self.shape))
        spacing = " x ".join(f"{step:.4g}" for step in self.spacing)
        what = " ".join(filter(None, (self.modality, self.units)))
        odd = f", {len(self.problems)} problems" if self.problems else ""
        return f"<Volume: {size} {self.values.dtype}{what and ', ' + what}, {spacing} mm, {self.plane}{odd}>"


def read_volume(
    path: Place | Sequence[Place],
    *,
    series: int | None = None,
    name: str | None = None,
    modality: str | None = None,
    spacing: tuple[float, float, float] | None = None,
    warn: bool = True,
) -> Volume:
    """A CT or MRI from a folder or files of DICOM, a NIfTI or an NRRD; told apart by content.

    Parameters
    ----------
    path : path or sequence of paths
        A folder with DICOM files (searched with its sub-folders), such files, or one NIfTI
        (``.nii``, ``.nii.gz``) or NRRD (``.nrrd``, ``.nhdr``).
    series : int, optional
        Which one, from 1, of a folder with several DICOM series; see :func:`list_series`.
    name : str, optional
        What to call it; default ``"series 1"`` (its number in the folder). Names in files, of
        files and of folders are not kept.
    modality : str, optional
        ``"CT"`` says that a NIfTI or NRRD is in HU; these formats do not say.
    spacing : (z, y, x), optional
        In mm, for a DICOM that does not say it.
    warn : bool
        Whether to warn of what is in ``problems`` and may mislead.

    Returns
    -------
    Volume
        Turned (whole axes, no voxel is changed) so that slices are seen as usual: axial with the
        back below, coronal and sagittal with the feet below, the patient's left (in sagittal
        planes: the back) to the right.

    Raises
    ------
    BadImage
        Damaged, of several sizes, with a slice missing or twice, not finite, of a kind that cannot
        be decoded. Says which file by its number in order of path (names may be a patient's).
    InvalidInput
        Nothing there, or several series and none chosen.
    MissingDependency
        pydicom or nibabel is not installed.
    """
    from widgetkit.tiles.dicom import read_dicom
    from widgetkit.tiles.nifti import read_nifti
    from widgetkit.tiles.nrrd import read_nrrd

    if not isinstance(path, str | os.PathLike):
        return read_dicom(path, series=series, name=name, spacing=spacing, warn=warn)
    where = Path(path)
    kind = file_kind(where)
    if kind == "folder":
        inside = medical_files(where)
        if len(inside) != 1:
            return read_dicom(where, series=series, name=name, spacing=spacing, warn=warn)
        where, kind = inside[0], file_kind(inside[0])
    if kind == "dicom":
        return read_dicom([where], series=series, name=name, spacing=spacing, warn=warn)
    if series not in (None, 1):
        raise InvalidInput(f"series={series}: a NIfTI or NRRD file holds one volume.")
    read = read_nifti if kind == "nifti" else read_nrrd
    return read(where, name=name, modality=modality, warn=warn)


def file_kind(path: Path) -> Literal["folder", "dicom", "nifti", "nrrd"]:
    """What lies at a path, by its first bytes.

    Raises
    ------
    InvalidInput
        Nothing, or none of these. Does not repeat the path, which may hold a patient's name.
    """
    if path.is_dir():
        return "folder"
    if not path.is_file():
        raise InvalidInput("There is no file or folder at the path given.")
    with path.open("rb") as file:
        head = file.read(132)
    if head[:4] == b"NRRD":
        return "nrrd"
    if head[:2] == b"\x1f\x8b" or head[:4] in _NIFTI_SIZES:
        return "nifti"
    if head[128:132] == b"DICM" or path.suffix.lower() in (".dcm", ".ima"):
        return "dicom"
    raise InvalidInput(
        "The file is neither DICOM, NIfTI (.nii, .nii.gz) nor NRRD (.nrrd, .nhdr), by its first bytes."
    )


_NIFTI_SIZES = tuple(size.to_bytes(4, order) for size in (348, 540) for order in ("little", "big"))


def medical_files(
    folder: Path, suffixes: tuple[str, ...] = (".nii", ".nii.gz", ".nrrd", ".nhdr")
) -> list[Path]:
    """NIfTI and NRRD files right in a folder, in order of name."""
    return sorted(
        file
        for file in folder.iterdir()
        if file.is_file() and not file.name.startswith(".") and file.name.lower().endswith(suffixes)
    )


def build(
    values: np.ndarray,
    spacing: Sequence[float] | np.ndarray,
    axes: np.ndarray,
    origin: Sequence[float] | np.ndarray,
    *,
    units: str = "",
    modality: str = "",
    name: str = "series 1",
    problems: Iterable[str] = (),
    facts: Iterable[str] = (),
    warn: bool = True,
) -> Volume:
    """What every reader ends with: a volume turned as the convention wants it, its oddities told.

    Parameters
    ----------
    values : (D, H, W)
        As in the file, slices first.
    spacing : (3,), axes : (3, 3), origin : (3,)
        Of the file's axes, in LPS; see :class:`Volume`.
    problems, facts : iterable of str
        Both are kept in ``problems``; the first are warned of too.
    """
    found = list(problems)
    cosines = np.abs(axes @ axes.T - np.eye(3)).max()
    if cosines > _SQUARE:
        angle = np.degrees(np.arcsin(min(1.0, float(cosines))))
        found.append(
            f"The axes are up to {angle:.1f} degrees from square (a tilted gantry or a sheared "
            "transform): slices are right, sections across them are not. Resample it to a square grid."
        )
    low, high = values.min(), values.max()
    if low == high:
        found.append(f"Every voxel is {low:g}: the image is constant.")
    volume = anatomical(
        Volume(
            values,
            _three(spacing, "spacing"),
            axes,
            _three(origin, "origin"),
            units,
            modality,
            name,
            (*found, *facts),
        )
    )
    if warn:
        for problem in found:
            warnings.warn(f"{volume.name}: {problem}", stacklevel=4)
    return volume


def anatomical(volume: Volume) -> Volume:
    """The same voxels at the same places, axes turned as the convention of this module wants them.

    Slices stay slices. H and W change places or direction so that the slice is seen as usual; D is
    turned so that W x H points along it, as in DICOM.
    """
    values = volume.values
    axes = np.array(volume.orientation)
    spacing = list(volume.spacing)
    origin = np.array(volume.origin)
    (down, _), (right, _) = shown = _SHOWN[_slice_axis(axes)]
    as_is = abs(axes[1, down]) + abs(axes[2, right])
    swapped = abs(axes[2, down]) + abs(axes[1, right])
    if swapped > as_is + 1e-6:
        values = values.transpose(0, 2, 1)
        axes = axes[[0, 2, 1]]
        spacing = [spacing[0], spacing[2], spacing[1]]
    turned = [axes[i + 1, world] * sign < 0 for i, (world, sign) in enumerate(shown)]
    flips = [False, *turned]
    after = axes * np.where(flips, -1.0, 1.0)[:, None]
    flips[0] = float(np.dot(np.cross(after[2], after[1]), after[0])) < 0
    for i, flip in enumerate(flips):
        if flip:
            origin = origin + (values.shape[i] - 1) * spacing[i] * axes[i]
            axes[i] = -axes[i]
            values = np.flip(values, i)
    return replace(
        volume,
        values=np.ascontiguousarray(values),
        spacing=_three(spacing, "spacing"),
        orientation=axes + 0.0,  # no -0.0
        origin=_three(origin + 0.0, "origin"),
    )


def geometry_difference(one: Volume, other: Volume) -> str:
    """In words how the voxels of two volumes lie differently; empty if they are the same places."""
    if one.shape != other.shape:
        return f"shape {_times(one.shape)} and {_times(other.shape)}"
    if not np.allclose(one.spacing, other.spacing, rtol=1e-2):
        return f"spacing {_times(one.spacing)} mm and {_times(other.spacing)} mm"
    apart = np.abs(_corners(one) - _corners(other)).max()
    if apart > _SAME * min(one.spacing):
        return f"places up to {apart:.3g} mm apart (orientation or origin differ)"
    return ""


def as_values(array: np.ndarray, what: str) -> np.ndarray:
    """``array`` as int16 where its dtype and values allow, else as float32; checked to be finite."""
    if array.dtype == np.int16:
        return array
    if array.dtype.kind == "b":
        return array.astype(np.int16)
    if array.dtype.kind in "iu" and array.min() >= -32768 and array.max() <= 32767:
        return array.astype(np.int16)
    if array.dtype.kind == "f":
        bad = ~np.isfinite(array)
        if bad.any():
            place = tuple(int(i) for i in np.argwhere(bad)[0])
            raise BadImage(
                f"{what} holds {int(bad.sum()):,} voxels that are NaN or infinite, the first at "
                f"{place}. Replace them (np.nan_to_num) or mask them out first."
            )
    return convert_dtype(array, what).astype(np.float32, copy=False)


def scaled(array: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """``array * slope + intercept``; whole numbers stay whole where they can."""
    if slope == 1.0 and intercept == 0.0:
        return array
    if array.dtype.kind in "iu" and float(slope).is_integer() and float(intercept).is_integer():
        most = max(abs(int(array.min())), abs(int(array.max()))) if array.size else 0
        if most * abs(slope) + abs(intercept) < 2**31:
            whole: np.ndarray = array.astype(np.int32) * np.int32(slope) + np.int32(intercept)
            return whole
    with np.errstate(over="ignore"):
        out: np.ndarray = (array.astype(np.float64) * slope + intercept).astype(np.float32)
    return out


def stack(slices: Iterable[np.ndarray], shape: tuple[int, int, int], what: str) -> np.ndarray:
    """Slices as one array: int16 while all fit, float32 from the first that does not."""
    out = np.empty(shape, np.int16)
    for i, image in enumerate(slices):
        plane = as_values(image, f"Slice {i + 1} of {what}")
        if plane.dtype == np.float32 and out.dtype == np.int16:
            out = out.astype(np.float32)
        out[i] = plane
    return out


def check_size(sides: Sequence[int], what: str) -> None:
    """Raise :class:`BadImage` unless a volume may have these sides; before anything is allocated."""
    voxels = 1
    for side in sides:
        voxels *= int(side)
    if min(sides) < 1 or voxels > MOST_VOXELS:
        raise BadImage(
            f"{what} says it holds {_times(sides)} voxels; a volume has 1 to {MOST_VOXELS:,}. "
            "It is damaged, or too large to be read at once: cut or resample it first."
        )


def _slice_axis(axes: np.ndarray) -> int:
    """World axis that the normal is nearest to; of two as near, the one towards the head, then the back."""
    nearness = np.abs(axes[0]) + np.array([0.0, 1e-6, 2e-6])
    return int(np.argmax(nearness))


def _corners(volume: Volume) -> np.ndarray:
    far = np.array(volume.shape) - 1
    corners = np.array([(a, b, c, 1) for a in (0, 1) for b in (0, 1) for c in (0, 1)], np.float64)
    corners[:, :3] *= far
    placed: np.ndarray = corners @ volume.affine.T
    return placed[:, :3]


def _three(values: Sequence[float] | np.ndarray, what: str) -> tuple[float, float, float]:
    array = np.asarray(values, np.float64)
    if array.shape != (3,) or not np.isfinite(array).all():
        raise InvalidInput(f"{what}={values!r}; it must be three finite numbers.")
    return float(array[0]), float(array[1]), float(array[2])


def _times(sides: Sequence[float]) -> str:
    return " x ".join(f"{side:,}" if isinstance(side, int) else f"{side:.4g}" for side in sides)
