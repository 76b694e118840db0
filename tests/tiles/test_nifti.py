"""NIfTI against nibabel and known values."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from tests.tiles import medical
from widgetkit.errors import BadImage, MissingDependency
from widgetkit.tiles import read_volume
from widgetkit.tiles.voxels import MOST_VOXELS

nibabel = pytest.importorskip("nibabel")


@pytest.mark.parametrize("name", ["anatomical.nii", "standard.nii.gz", "reoriented_anat_moved.nii"])
def test_real_files_agree_with_nibabel(name) -> None:
    """Every voxel lies where nibabel's canonical (RAS) image has it."""
    path = Path(nibabel.__file__).parent / "tests" / "data" / name
    if not path.exists():
        pytest.skip("nibabel was installed without its test data")
    read = read_volume(path)
    image = nibabel.as_closest_canonical(nibabel.load(path))
    # RAS (x, y, z) -> S, P, L
    theirs = image.get_fdata().transpose(2, 1, 0)[:, ::-1, ::-1]
    assert read.directions == ("S", "P", "L")
    np.testing.assert_allclose(read.values, theirs, rtol=1e-6)
    np.testing.assert_allclose(read.spacing, image.header.get_zooms()[::-1], rtol=1e-5)
    first = image.affine @ [image.shape[0] - 1, image.shape[1] - 1, 0, 1]
    np.testing.assert_allclose(read.origin, first[:3] * [-1, -1, 1], atol=1e-3)


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("kind", ["Nifti1Image", "Nifti2Image"])
def test_both_versions_and_byte_orders(tmp_path, kind, big_endian) -> None:
    scan = medical.scan(medical.oblique(medical.CORONAL, 10))
    path = tmp_path / "a.nii.gz"
    medical.write_nifti(path, scan, kind=getattr(nibabel, kind), big_endian=big_endian)
    medical.assert_same(read_volume(path), scan)


def _changed(path: Path, **fields: object) -> Path:
    """The file with fields of its header replaced."""
    raw = bytearray(path.read_bytes())
    header = nibabel.Nifti1Header(bytes(raw[:348]))
    for name, value in fields.items():
        header[name] = value
    raw[:348] = header.binaryblock
    path.write_bytes(raw)
    return path


@pytest.fixture
def plain(tmp_path) -> Path:
    path = tmp_path / "a.nii"
    medical.write_nifti(path, medical.scan())
    return path


def test_slope_and_intercept_and_units(plain) -> None:
    read = read_volume(_changed(plain, scl_slope=0.5, scl_inter=3.0, xyzt_units=1))
    np.testing.assert_allclose(read.values, medical.scan().values * 0.5 + 3)
    np.testing.assert_allclose(read.spacing, np.array(medical.scan().spacing) * 1000, rtol=1e-6)
    assert read.values.dtype == np.float32 and read.units == "" and read.modality == ""
    for slope in (0.0, np.nan):  # the standard: not scaled
        assert read_volume(_changed(plain, scl_slope=slope)).values.dtype == np.int16


def test_an_unset_orientation_is_told(plain) -> None:
    with pytest.warns(UserWarning, match="orientation"):
        assert "guess" in read_volume(_changed(plain, sform_code=0, qform_code=0)).problems[0]


def test_two_transforms_that_differ_are_told(plain) -> None:
    with pytest.warns(UserWarning, match="sform and qform"):
        read = read_volume(_changed(plain, qform_code=1, quatern_b=1.0, quatern_c=0, quatern_d=0))
    medical.assert_same(read, medical.scan())


def test_four_axes_are_refused_with_advice(tmp_path) -> None:
    image = nibabel.Nifti1Image(np.zeros((6, 6, 6, 3), np.int16), np.eye(4))
    nibabel.save(image, tmp_path / "a.nii.gz")
    with pytest.raises(BadImage, match=r"3 volumes.*slicer"):
        read_volume(tmp_path / "a.nii.gz")
    nibabel.save(
        nibabel.Nifti1Image(np.ones((6, 6, 6, 1), np.int16), np.eye(4)), tmp_path / "b.nii.gz"
    )
    with pytest.warns(UserWarning, match="constant"):
        assert read_volume(tmp_path / "b.nii.gz").shape == (6, 6, 6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dim": [3, 30000, 30000, 30000, 1, 1, 1, 1]}, f"{MOST_VOXELS:,}"),
        ({"dim": [3, 100, 100, 100, 1, 1, 1, 1]}, "fewer"),
        ({"dim": [3, -5, 10, 6, 1, 1, 1, 1]}, "voxels"),
        ({"vox_offset": 1e9}, "fewer"),
        ({"vox_offset": np.nan}, "damaged"),
        ({"srow_x": [np.nan, 0, 0, 0]}, "affine"),
        ({"srow_x": [0, 0, 0, 0], "srow_y": [0, 0, 0, 0]}, "affine"),
        ({"magic": b"ni1"}, "another file"),
        ({"datatype": 128, "bitpix": 24}, "colours"),
        ({"datatype": 32, "bitpix": 64}, "complex"),
        ({"datatype": 9999}, "header"),
        ({"scl_slope": 1.0, "scl_inter": np.inf}, "intercept"),
    ],
)
def test_headers_that_lie(plain, fields, message) -> None:
    with pytest.raises(BadImage, match=message) as caught:
        read_volume(_changed(plain, **fields))
    assert not any(secret in str(caught.value) for secret in medical.SECRETS)


def test_a_gzip_bomb_is_refused_before_it_is_unpacked(tmp_path, plain) -> None:
    """400 bytes cannot hold 200 million voxels; and of a large gzip no more than asked is unpacked."""
    head = bytearray(plain.read_bytes()[:352])
    header = nibabel.Nifti1Header(bytes(head[:348]))
    header["dim"] = [3, 1000, 1000, 200, 1, 1, 1, 1]
    header["vox_offset"] = 352
    (tmp_path / "small.nii.gz").write_bytes(gzip.compress(header.binaryblock + b"\0" * 4))
    with pytest.raises(BadImage, match="fewer"):
        read_volume(tmp_path / "small.nii.gz")
    # nothing after the voxels is looked at, whatever it would unpack to
    body = gzip.compress(plain.read_bytes() + b"\0" * (64 << 20))
    (tmp_path / "long.nii.gz").write_bytes(body)
    medical.assert_same(read_volume(tmp_path / "long.nii.gz"), medical.scan())


def test_extensions_of_any_length_are_not_read(plain) -> None:
    raw = bytearray(plain.read_bytes())
    raw[352:360] = struct.pack("<ii", 2**31 - 16, 2)  # an extension of 2 GB, it says
    plain.write_bytes(raw)
    medical.assert_same(read_volume(plain), medical.scan())


def test_truncated_at_any_place(tmp_path) -> None:
    medical.write_nifti(tmp_path / "a.nii.gz", medical.scan())
    whole = (tmp_path / "a.nii.gz").read_bytes()
    for length in (3, 20, 100, len(whole) // 2, len(whole) - 12):
        (tmp_path / "b.nii.gz").write_bytes(whole[:length])
        with pytest.raises(BadImage):
            read_volume(tmp_path / "b.nii.gz")
    (tmp_path / "b.nii.gz").write_bytes(whole[:60] + b"\xff" * 40 + whole[100:])
    with pytest.raises(BadImage):
        read_volume(tmp_path / "b.nii.gz")


def test_not_finite_voxels_name_the_slice(tmp_path) -> None:
    values = np.ones((6, 6, 4), np.float32)
    values[2, 3, 1] = np.inf
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(BadImage, match="Slice 2"):
        read_volume(tmp_path / "a.nii.gz")


def test_without_nibabel_the_command_is_named(plain, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "nibabel.nifti1", None)
    with pytest.raises(MissingDependency, match="medical"):
        read_volume(plain)
