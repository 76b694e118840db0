"""NRRD: known values, every variant that is read, and headers that lie."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tiles import medical
from widgetkit.errors import BadImage
from widgetkit.tiles import Volume, read_volume
from widgetkit.tiles.nrrd import MOST_HEADER

SMALL = (
    b"NRRD0001\ntype: uchar\ndimension: 3\nsizes: 5 6 2\nencoding: raw\n"
    b"space: LPS\nspace directions: (0.5,0,0) (0,0.5,0) (0,0,3)\nspace origin: (1,2,3)\n\n"
)


def test_known_values_byte_by_byte(tmp_path) -> None:
    (tmp_path / "a.nrrd").write_bytes(SMALL + bytes(range(60)))
    read = read_volume(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(read.values, np.arange(60).reshape(2, 6, 5))
    assert read.spacing == (3.0, 0.5, 0.5) and read.origin == (1.0, 2.0, 3.0)
    assert read.values.dtype == np.int16 and read.modality == "" and read.units == ""


@pytest.mark.parametrize("encoding", ["raw", "gzip", "gz"])
@pytest.mark.parametrize("endian", ["little", "big"])
@pytest.mark.parametrize(
    "space", ["left-posterior-superior", "right-anterior-superior", "left-anterior-superior"]
)
def test_every_encoding_byte_order_and_space(tmp_path, encoding, endian, space) -> None:
    scan = medical.scan(medical.oblique(medical.SAGITTAL, 12))
    path = tmp_path / "a.nrrd"
    medical.write_nrrd(
        path, scan, encoding=encoding, endian=endian, space=space, flips=(True, False, True)
    )
    medical.assert_same(read_volume(path), scan)


@pytest.mark.parametrize("dtype", ["f4", "f8", "u2", "i4"])
def test_other_types(tmp_path, dtype) -> None:
    values = (np.arange(2 * 6 * 5).reshape(2, 6, 5) * 3).astype(dtype)
    values = values + values.dtype.type(0.5) if dtype[0] == "f" else values
    header = SMALL.replace(
        b"uchar", {"f4": b"float", "f8": b"double", "u2": b"uint16", "i4": b"int"}[dtype]
    )
    header = header.replace(b"encoding", b"endian: little\nencoding")
    (tmp_path / "a.nrrd").write_bytes(header + values.tobytes())
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nrrd").values, values)


def test_what_a_header_may_leave_out(tmp_path) -> None:
    path = tmp_path / "a.nrrd"
    without = SMALL.split(b"space:")[0]
    path.write_bytes(without + b"spacings: 0.5 nan 3\n\n" + bytes(range(60)))
    with pytest.warns(UserWarning, match="orientation"):
        read = read_volume(path)
    assert read.spacing == (3.0, 1.0, 0.5) and len(read.problems) == 2
    path.write_bytes(without + b"\n" + bytes(range(60)))
    with pytest.warns(UserWarning, match="spacing"):
        assert read_volume(path).spacing == (1.0, 1.0, 1.0)
    path.write_bytes(SMALL[:-1] + b'space units: "um" "um" "um"\n\n' + bytes(range(60)))
    np.testing.assert_allclose(read_volume(path).spacing, (0.003, 0.0005, 0.0005))


def test_axes_of_one_entry_and_windows_line_ends(tmp_path) -> None:
    header = SMALL.replace(b"dimension: 3", b"dimension: 4").replace(b"5 6 2", b"1 5 6 2")
    header = header.replace(b"directions: ", b"directions: none ")
    (tmp_path / "a.nrrd").write_bytes(header.replace(b"\n", b"\r\n") + bytes(range(60)))
    assert read_volume(tmp_path / "a.nrrd").shape == (2, 6, 5)
    flat = SMALL.replace(b"dimension: 3", b"dimension: 2").replace(b"5 6 2", b"5 12")
    flat = flat.replace(b" (0,0,3)", b"")
    (tmp_path / "b.nrrd").write_bytes(flat + bytes(range(60)))
    assert read_volume(tmp_path / "b.nrrd").shape == (1, 12, 5)


def test_bytes_to_skip(tmp_path) -> None:
    voxels = bytes(range(60))
    path = tmp_path / "a.nrrd"
    for field, body in ((b"7", b"1234567" + voxels), (b"-1", b"anything" + voxels)):
        path.write_bytes(SMALL[:-1] + b"byte skip: " + field + b"\n\n" + body)
        np.testing.assert_array_equal(read_volume(path).values.ravel(), np.arange(60))
    packed = SMALL[:-1].replace(b"raw", b"gzip")
    path.write_bytes(packed + b"byte skip: 7\n\n" + gzip.compress(b"1234567" + voxels))
    np.testing.assert_array_equal(read_volume(path).values.ravel(), np.arange(60))


def test_voxels_in_a_file_right_beside_the_header(tmp_path) -> None:
    medical.write_nrrd(tmp_path / "a.nhdr", medical.scan(), data_file="a.raw.gz")
    medical.assert_same(read_volume(tmp_path / "a.nhdr"), medical.scan())


@pytest.mark.parametrize(
    "named",
    [
        "../out.raw",
        "/etc/hostname",
        "sub/in.raw",
        "link.raw",
        "..",
        "LIST",
        "a%03d.raw 1 9 1",
        "gone.raw",
    ],
)
def test_voxels_anywhere_else_are_refused(tmp_path, named) -> None:
    folder = tmp_path / "Mustermann"
    (folder / "sub").mkdir(parents=True)
    for file in (tmp_path / "out.raw", folder / "sub" / "in.raw"):
        file.write_bytes(bytes(10_000))
    (folder / "link.raw").symlink_to(tmp_path / "out.raw")
    (folder / "a.nhdr").write_bytes(SMALL[:-1] + f"data file: {named}\n\n".encode())
    with pytest.raises(BadImage) as caught:
        read_volume(folder / "a.nhdr")
    assert "Mustermann" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"5 6 2", b"50000 60000 20000", "500,000,000"),
        (b"5 6 2", b"5 6 200", "fewer"),
        (b"5 6 2", b"5 6 0", "damaged"),
        (b"5 6 2", b"5 6 -2", "damaged"),
        (b"5 6 2", b"5 6", "disagree"),
        (b"5 6 2", b"5 6 two", "damaged"),
        (b"5 6 2", b"5 6 " + b"9" * 400, "damaged"),
        (b"dimension: 3", b"dimension: 3e9", "damaged"),
        (b"uchar", b"block", "block"),
        (b"uchar", b"Mustermann", "not known"),
        (b"uchar", b"short", "byte order"),
        (b"raw", b"bzip2", "bzip2"),
        (b"raw", b"ascii", "ascii"),
        (b"(0.5,0,0)", b"(0,0.5,0)", "same way"),
        (b"(0.5,0,0)", b"(nan,0,0)", "finite"),
        (b"(0.5,0,0)", b"none", "one number"),
        (b"(0.5,0,0)", b"(0.5,0)", "one vector"),
        (b"(0.5,0,0) ", b"", "one vector"),
        (b"encoding: raw\n", b"", "lacks"),
        (b"\n\n", b"\nline skip: 2\n\n", "lines"),
        (b"\n\n", b"\nbyte skip: -9\n\n", "skip"),
        (b"\n\n", b"\nbyte skip: 99999\n\n", "fewer"),
    ],
)
def test_headers_that_lie(tmp_path, old, new, message) -> None:
    (tmp_path / "a.nrrd").write_bytes(SMALL.replace(old, new, 1) + bytes(range(60)))
    with pytest.raises(BadImage, match=message) as caught:
        read_volume(tmp_path / "a.nrrd")
    assert "Mustermann" not in str(caught.value)


def test_a_header_without_end_and_a_gzip_bomb(tmp_path) -> None:
    path = tmp_path / "a.nrrd"
    path.write_bytes(b"NRRD0001\n" + b"# more\n" * (MOST_HEADER // 7 + 10))
    with pytest.raises(BadImage, match="does not end"):
        read_volume(path)
    head = SMALL.replace(b"raw", b"gzip").replace(b"5 6 2", b"1000 1000 200")
    path.write_bytes(head + gzip.compress(bytes(60)))
    with pytest.raises(BadImage, match="fewer"):
        read_volume(path)
    path.write_bytes(
        SMALL.replace(b"raw", b"gzip") + gzip.compress(bytes(range(60)) + bytes(64 << 20))
    )
    assert read_volume(path).shape == (2, 6, 5)


def test_real_slices_are_read_bit_by_bit(tmp_path, shared_data: Path) -> None:
    with zipfile.ZipFile(shared_data / "mednist-chestct.zip") as archive:
        names = sorted(
            n for n in archive.namelist() if n.lower().endswith((".jpeg", ".jpg", ".png"))
        )
        images = [Image.open(io.BytesIO(archive.read(name))).convert("L") for name in names[:8]]
    values = np.stack([np.asarray(image) for image in images]).astype(np.int16) * 16 - 1024
    medical.write_nrrd(tmp_path / "a.nrrd", Volume(values))
    medical.write_nifti(tmp_path / "a.nii.gz", Volume(values))
    for name in ("a.nrrd", "a.nii.gz"):
        np.testing.assert_array_equal(read_volume(tmp_path / name).values, values)
