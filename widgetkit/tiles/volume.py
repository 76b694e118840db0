"""A volume in space: its voxels, and where they lie in the patient.

One convention whatever the file: values (D, H, W) with D along the normal of the slices, H down and
W to the right of each slice as a radiologist sees it; millimetres in the world of DICOM, LPS: x to
the patient's left, y to the back, z to the head.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from widgetkit.errors import BadImage, InvalidInput
from widgetkit.tiles.voxels import as_values

#: Axes of an axial series: D to the head, H to the back, W to the patient's left.
AXIAL = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
_PLANES: dict[int, Literal["axial", "coronal", "sagittal"]]
_PLANES = {0: "sagittal", 1: "coronal", 2: "axial"}
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
        spacing = three(self.spacing, "spacing")
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
            ("origin", three(self.origin, "origin")),
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
        return _PLANES[slice_axis(np.asarray(self.orientation))]

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


def slice_axis(axes: np.ndarray) -> int:
    """World axis that the normal is nearest to; of two as near, the one towards the head, then the back."""
    nearness = np.abs(axes[0]) + np.array([0.0, 1e-6, 2e-6])
    return int(np.argmax(nearness))


def three(values: Sequence[float] | np.ndarray, what: str) -> tuple[float, float, float]:
    """Three finite numbers, or :class:`InvalidInput` that names ``what``."""
    array = np.asarray(values, np.float64)
    if array.shape != (3,) or not np.isfinite(array).all():
        raise InvalidInput(f"{what}={values!r}; it must be three finite numbers.")
    return float(array[0]), float(array[1]), float(array[2])
