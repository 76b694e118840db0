"""The same synthetic scan written as DICOM, NIfTI and NRRD, with a patient's name wherever it fits."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np

from widgetkit.tiles import Volume

#: None of these may come out of a reader, in whatever form.
SECRETS = ("Mustermann", "Erika", "19640812", "PID-4711-X", "Charlottenburg", "Dr_Quincke")

AXIAL = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], float)
CORONAL = np.array([[0, 1, 0], [0, 0, -1], [1, 0, 0]], float)
SAGITTAL = np.array([[-1, 0, 0], [0, 0, -1], [0, 1, 0]], float)


def oblique(axes: np.ndarray, degrees: float) -> np.ndarray:
    """Axes turned round the patient's x and then z."""
    a, b = np.radians([degrees, degrees / 2])
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    return axes @ x.T @ z.T


def scan(
    axes: np.ndarray = AXIAL, shape: tuple[int, int, int] = (6, 12, 10), **more: Any
) -> Volume:
    """A box brighter towards each axis' end, so that any flip or swap shows."""
    d, h, w = np.indices(shape)
    values = (-1000 + 100 * d + 10 * h + w).astype(np.int16)
    values[shape[0] // 2 :, 2:5, 3:6] = 60
    settings = {
        "spacing": (2.5, 0.7, 0.8),
        "origin": (-31.5, 12.25, 140.0),
        "units": "HU",
        "modality": "CT",
        **more,
    }
    return Volume(values, orientation=axes, **settings)


def dataset(volume: Volume, slice_: int, *, slope: float = 1.0, intercept: float = -1024.0) -> Any:
    """One slice as a pydicom dataset full of names."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    out = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    out.SOPClassUID, out.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    out.PatientName, out.PatientID = "Mustermann^Erika", "PID-4711-X"
    out.PatientBirthDate, out.PatientSex = "19640812", "F"
    out.PatientAddress = out.InstitutionName = "Charlottenburg"
    out.ReferringPhysicianName = "Dr_Quincke"
    out.StudyDescription = out.SeriesDescription = "Thorax Mustermann"
    out.ImageComments = out.ProtocolName = "Erika 19640812"
    out.StationName = "PID-4711-X"
    out.SeriesInstanceUID, out.StudyInstanceUID = "1.2.3.4", "1.2.3"
    out.Modality = volume.modality or "MR"
    out.InstanceNumber = 1000 - slice_
    axes = np.asarray(volume.orientation)
    place = np.asarray(volume.origin) + slice_ * volume.spacing[0] * axes[0]
    out.ImagePositionPatient = [f"{x:.6f}" for x in place]
    out.ImageOrientationPatient = [f"{x:.8f}" for x in (*axes[2], *axes[1])]
    out.PixelSpacing = [f"{step:g}" for step in volume.spacing[1:]]
    out.SliceThickness = "9"  # not the distance of slices
    out.RescaleSlope, out.RescaleIntercept = f"{slope:g}", f"{intercept:g}"
    stored = np.rint((volume.values[slice_].astype(float) - intercept) / slope).astype(np.uint16)
    out.Rows, out.Columns = stored.shape
    out.SamplesPerPixel, out.PhotometricInterpretation = 1, "MONOCHROME2"
    out.BitsAllocated, out.BitsStored, out.HighBit, out.PixelRepresentation = 16, 16, 15, 0
    out.PixelData = stored.tobytes()
    return out


def write_dicom(folder: Path, volume: Volume, change: Any = None) -> list[Path]:
    """A file a slice, in an order of names that is not that of the slices; the paths, slice by slice."""
    folder.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(1).permutation(volume.shape[0])
    paths = []
    for slice_ in range(volume.shape[0]):
        one = dataset(volume, slice_, intercept=-1024.0 - slice_ % 2)
        if change is not None:
            change(one, slice_)
        path = folder / f"Mustermann_Erika_{order[slice_]:03d}.dcm"
        one.save_as(path)
        paths.append(path)
    return paths


def write_enhanced(path: Path, volume: Volume, *, frames: list[int] | None = None) -> None:
    """One multi-frame file, its frames in the order given."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    def group(**values: Any) -> Any:
        inner = Dataset()
        for keyword, value in values.items():
            setattr(inner, keyword, value)
        return Sequence([inner])

    order = list(range(volume.shape[0])) if frames is None else frames
    out = dataset(volume, 0)
    singles = [dataset(volume, slice_) for slice_ in order]
    out.NumberOfFrames = len(order)
    out.PixelData = b"".join(one.PixelData for one in singles)
    shared, items = Dataset(), []
    shared.PixelMeasuresSequence = group(PixelSpacing=out.PixelSpacing, SliceThickness="9")
    shared.PlaneOrientationSequence = group(ImageOrientationPatient=out.ImageOrientationPatient)
    for one in singles:
        item = Dataset()
        item.PlanePositionSequence = group(ImagePositionPatient=one.ImagePositionPatient)
        item.PixelValueTransformationSequence = group(
            RescaleSlope="1", RescaleIntercept="-1024", RescaleType="HU"
        )
        items.append(item)
    out.SharedFunctionalGroupsSequence = Sequence([shared])
    out.PerFrameFunctionalGroupsSequence = Sequence(items)
    for keyword in (
        *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
        *("RescaleSlope", "RescaleIntercept"),
    ):
        delattr(out, keyword)
    out.save_as(path)


def grid(
    volume: Volume, flips: tuple[bool, bool, bool], swap: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The scan with axes flipped and H and W exchanged: values, and affine (voxel d, h, w -> LPS)."""
    values, affine = volume.values, volume.affine.copy()
    for axis, flip in enumerate(flips):
        if flip:
            affine[:3, 3] += affine[:3, axis] * (values.shape[axis] - 1)
            affine[:3, axis] *= -1
            values = np.flip(values, axis)
    if swap:
        values, affine = values.transpose(0, 2, 1), affine[:, [0, 2, 1, 3]]
    return values, affine


def write_nifti(
    path: Path,
    volume: Volume,
    *,
    flips: tuple[bool, bool, bool] = (False, True, True),
    swap: bool = False,
    kind: Any = None,
    big_endian: bool = False,
) -> None:
    """Through nibabel, in RAS, with names in every text of the header."""
    import nibabel

    values, affine = grid(volume, flips, swap)
    ras = np.diag([-1.0, -1, 1, 1]) @ affine[:, [2, 1, 0, 3]]
    kind = kind or nibabel.Nifti1Image
    header = kind.header_class(endianness=">" if big_endian else "<")
    header.set_data_dtype(values.dtype)
    image = kind(np.ascontiguousarray(values.transpose(2, 1, 0)), ras, header)
    image.header["descrip"] = b"Mustermann Erika 19640812"
    image.header["aux_file"] = b"PID-4711-X"
    image.header["intent_name"] = b"Charlottenburg"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"Dr_Quincke"))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def write_nrrd(
    path: Path,
    volume: Volume,
    *,
    flips: tuple[bool, bool, bool] = (False, False, False),
    swap: bool = False,
    space: str = "left-posterior-superior",
    encoding: str = "gzip",
    endian: str = "little",
    extra: str = "",
    data_file: str | None = None,
) -> None:
    """A header with a patient in ``content`` and in key/value pairs, then the voxels."""
    values, affine = grid(volume, flips, swap)
    signs = {"left": 1.0, "right": -1.0}[space.split("-")[0]]
    back = {"posterior": 1.0, "anterior": -1.0}[space.split("-")[1]]
    affine = np.diag([signs, back, 1.0, 1.0]) @ affine
    vectors = " ".join(
        "(" + ",".join(f"{x:.9g}" for x in affine[:3, axis]) + ")" for axis in (2, 1, 0)
    )
    names = {
        "i2": "short",
        "f4": "float",
        "u2": "ushort",
        "u1": "uchar",
        "f8": "double",
        "i4": "int",
    }
    order = "<" if endian == "little" else ">"
    raw = values.astype(values.dtype.newbyteorder(order)).tobytes()
    depth, height, width = values.shape
    lines = [
        "NRRD0004",
        "# Complete NRRD file of Mustermann, Erika",
        f"type: {names[values.dtype.str[1:]]}",
        "dimension: 3",
        f"space: {space}",
        f"sizes: {width} {height} {depth}",
        f"space directions: {vectors}",
        "kinds: domain domain domain",
        f"endian: {endian}",
        f"encoding: {encoding}",
        f"space origin: ({','.join(f'{x:.9g}' for x in affine[:3, 3])})",
        "content: Mustermann^Erika PID-4711-X",
        "DICOM_0010_0030:=19640812",
        *([f"data file: {data_file}"] if data_file else []),
    ]
    header = ("\n".join(lines) + "\n" + extra + "\n").encode()
    body = gzip.compress(raw) if encoding in ("gzip", "gz") else raw
    if data_file:
        path.write_bytes(header)
        (path.parent / data_file).write_bytes(body)
    else:
        path.write_bytes(header + body)


def assert_same(one: Volume, other: Volume) -> None:
    """Same voxels at the same places."""
    assert one.shape == other.shape
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_allclose(one.affine, other.affine, atol=1e-4)
