"""NIfTI: the header through nibabel, the voxels read within bounds."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from widgetkit.errors import BadImage, missing
from widgetkit.tiles.orient import build
from widgetkit.tiles.rawfile import read_raw
from widgetkit.tiles.volume import Place, Volume
from widgetkit.tiles.voxels import check_size, scaled, stack

#: RAS, the world of NIfTI, to LPS, that of DICOM.
_TO_LPS = np.array([-1.0, -1.0, 1.0])
_MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # by the code of spatial units; 0 = not said
#: Two transforms of one file are one if no voxel axis differs by more than this share.
_SAME = 0.01


def read_nifti(
    path: Place, *, name: str | None = None, modality: str | None = None, warn: bool = True
) -> Volume:
    """A ``.nii`` or ``.nii.gz`` of three axes; the third is that of the slices.

    The affine (sform, else qform; RAS) gives spacing and orientation in LPS. Description, file
    name, intent and extensions of the header, where names of patients are found, are not read.

    Raises
    ------
    BadImage
        Four axes or more, not numbers, truncated, damaged, not finite.
    MissingDependency
        nibabel is not installed.
    """
    where = Path(path)
    what = name or "the NIfTI"
    header, packed = _header(where, what)
    shape = tuple(int(side) for side in header.get_data_shape())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) > 3:
        raise BadImage(
            f"{what} has {len(shape)} axes ({' x '.join(map(str, shape))}): {shape[3]} volumes. Save the "
            "one you want, such as nibabel.save(nibabel.load(path).slicer[..., 0], 'one.nii.gz')."
        )
    if len(shape) < 2:
        raise BadImage(f"{what} has {len(shape)} axes; an image has two or three.")
    width, height, depth = (*shape, 1)[:3]
    check_size((depth, height, width), what)
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise BadImage(f"{what} holds {_kind(dtype)}; a volume holds one number a voxel.")
    offset = float(header["vox_offset"])
    if not 0 <= offset < 2**40:
        raise BadImage(f"{what} says its voxels begin at byte {offset:g}: its header is damaged.")
    stored = read_raw(
        where,
        0,
        dtype,
        depth * height * width,
        what,
        packed=packed,
        skip=max(int(offset), int(header["sizeof_hdr"])),
    ).reshape(depth, height, width)
    slope, intercept = _scaling(header, what)
    values = stack(
        (scaled(_native(image), slope, intercept) for image in stored), stored.shape, what
    )
    spacing, axes, origin, problems = _geometry(header, what)
    return build(
        values,
        spacing,
        axes,
        origin,
        units="HU" if modality == "CT" else "",
        modality=modality or "",
        name=name or "series 1",
        problems=problems,
        warn=warn,
    )


def _header(path: Path, what: str) -> tuple[Any, bool]:
    """The header as nibabel understands it, without extensions, and whether the file is gzip."""
    try:
        from nibabel.nifti1 import Nifti1Header
        from nibabel.nifti2 import Nifti2Header
    except ImportError:
        raise missing("nibabel", "medical", "Reading NIfTI") from None
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            head = gzip.GzipFile(fileobj=file).read(540) if packed else file.read(540)
    except (OSError, EOFError, zlib.error) as error:
        raise BadImage(f"{what} cannot be read ({type(error).__name__}).") from None
    kinds: tuple[tuple[int, Any], ...] = ((348, Nifti1Header), (540, Nifti2Header))
    for size, kind in kinds:
        for order, mark in (("little", "<"), ("big", ">")):
            if head[:4] == size.to_bytes(4, order) and len(head) >= size:  # type: ignore[arg-type]
                try:
                    with np.errstate(all="ignore"):
                        header = kind(head[:size], endianness=mark, check=False)
                        single = bytes(header["magic"].tobytes())[:2] == b"n+"
                        header.get_data_shape(), header.get_data_dtype()
                except Exception as error:  # whatever a hostile header provokes in nibabel
                    raise BadImage(
                        f"The header of {what} is damaged ({type(error).__name__})."
                    ) from None
                if not single:
                    raise BadImage(
                        f"{what} keeps its voxels in another file (.hdr and .img) or is an ANALYZE. "
                        "Save it as one .nii.gz."
                    )
                return header, packed
    raise BadImage(f"{what} is no NIfTI: its first bytes are those of something else.")


def _scaling(header: Any, what: str) -> tuple[float, float]:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not np.isfinite(slope):
        return 1.0, 0.0  # the standard: not to be scaled
    if not np.isfinite(intercept):
        raise BadImage(f"{what} has an intercept that is not finite: its header is damaged.")
    return slope, intercept


def _geometry(header: Any, what: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Spacing, axes (3, 3) and origin of (k, j, i), in LPS; and what is odd."""
    problems: list[str] = []
    try:
        with np.errstate(all="ignore"):
            coded = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
            affine = np.asarray(header.get_best_affine(), np.float64)
            both = header.get_qform() if all(coded) else None
    except Exception as error:
        raise BadImage(f"{what} has no usable affine ({type(error).__name__}).") from None
    if not np.isfinite(affine).all():
        raise BadImage(f"{what} has an affine that is not finite: its header is damaged.")
    affine = (
        affine * np.array([*[_MILLIMETRES.get(int(header["xyzt_units"]) & 7, 1.0)] * 3, 1])[:, None]
    )
    columns = affine[:3, :3].T[::-1]  # steps of k, j, i in RAS
    spacing = np.linalg.norm(columns, axis=1)
    if (
        spacing.min() <= 0
        or abs(np.linalg.det(columns / np.maximum(spacing, 1e-30)[:, None])) < 0.1
    ):
        raise BadImage(f"{what} has an affine that maps two axes onto one: its header is damaged.")
    if not any(coded):
        problems.append(
            "The NIfTI does not say its orientation (sform and qform are unset): left and right are "
            "a guess."
        )
    if both is not None:
        other = np.asarray(both, np.float64)[:3, :3].T[::-1]
        scale = np.linalg.norm(other, axis=1).max() * _MILLIMETRES.get(
            int(header["xyzt_units"]) & 7, 1.0
        )
        unit = scale / np.linalg.norm(other, axis=1).max()
        if (
            not np.isfinite(other).all()
            or np.abs(other * unit - columns).max() > _SAME * spacing.max()
        ):
            problems.append("Its sform and qform differ; the sform was taken.")
    axes = columns / spacing[:, None] * _TO_LPS
    return spacing, axes, affine[:3, 3] * _TO_LPS, problems


def _native(image: np.ndarray) -> np.ndarray:
    return image.astype(image.dtype.newbyteorder("="), copy=False)


def _kind(dtype: np.dtype[Any]) -> str:
    if dtype.names:
        return "colours"
    return "complex numbers" if dtype.kind == "c" else f"values of type {dtype}"
