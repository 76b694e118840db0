"""DICOM series: order, HU, geometry, what is wrong with them, and that no patient gets through."""

from __future__ import annotations

import logging
import pickle
import re
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.tiles import medical
from widgetkit import tiles
from widgetkit.errors import BadImage, InvalidInput, MissingDependency, NoTissue, WidgetkitError
from widgetkit.tiles import dicom_files, from_dicom, list_series, read_volume

pydicom = pytest.importorskip("pydicom")


def real(name: str) -> Path:
    from pydicom.data import get_testdata_file

    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"pydicom was installed without {name}")
    return Path(path)


def clean(text: str) -> bool:
    return not any(secret.lower() in text.lower() for secret in medical.SECRETS)


@pytest.fixture
def scan() -> tiles.Volume:
    return medical.scan(medical.oblique(medical.AXIAL, 8))


# -- order, values, geometry --------------------------------------------------------------
def test_slices_are_sorted_by_position_not_by_number_or_name(tmp_path, scan) -> None:
    """Instance numbers run backwards and file names at random; slopes differ from slice to slice."""
    medical.write_dicom(tmp_path / "a", scan)
    read = read_volume(tmp_path / "a")
    medical.assert_same(read, scan)
    assert read.units == "HU" and read.modality == "CT" and read.name == "series 1"
    assert read.spacing[0] == pytest.approx(2.5)  # positions, not SliceThickness (9)


@pytest.mark.parametrize("frames", [None, [3, 0, 5, 1, 4, 2]])
def test_an_enhanced_file_is_the_same_volume(tmp_path, scan, frames) -> None:
    medical.write_enhanced(tmp_path / "a.dcm", scan, frames=frames)
    medical.assert_same(read_volume(tmp_path / "a.dcm"), scan)
    assert list_series(tmp_path)["slices"].tolist() == [6]


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small.dcm",
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "examples_overlay.dcm",
    ],
)
def test_real_slices_agree_with_pydicom(name) -> None:
    theirs = pydicom.dcmread(real(name))
    read = read_volume(real(name))
    slope, intercept = (
        float(theirs.get("RescaleSlope", 1)),
        float(theirs.get("RescaleIntercept", 0)),
    )
    np.testing.assert_allclose(read.values[0], theirs.pixel_array * slope + intercept)
    np.testing.assert_allclose(read.spacing[1:], [float(x) for x in theirs.PixelSpacing])
    np.testing.assert_allclose(read.origin, [float(x) for x in theirs.ImagePositionPatient])
    assert read.modality == theirs.Modality
    assert read.units == ("HU" if theirs.Modality == "CT" else "")
    known = {"CT_small.dcm": (-896, 1167), "MR_small.dcm": (127, 2145)}
    if name in known:
        assert (read.values.min(), read.values.max()) == known[name]


def test_fractions_give_float(tmp_path, scan) -> None:
    def half(one, slice_) -> None:
        one.RescaleSlope = "0.5"

    medical.write_dicom(tmp_path / "a", scan, half)
    stored = scan.values + 1024 + np.arange(6)[:, None, None] % 2
    expected = stored * 0.5 - 1024 - np.arange(6)[:, None, None] % 2
    read = read_volume(tmp_path / "a")
    assert read.values.dtype == np.float32
    np.testing.assert_array_equal(read.values, expected)


@pytest.mark.parametrize("modality", ["MR", "CT"])
def test_monochrome1_is_inverted_but_never_in_hu(tmp_path, modality) -> None:
    scan = medical.scan(modality=modality)

    def low_is_white(one, slice_) -> None:
        one.PhotometricInterpretation = "MONOCHROME1"
        one.RescaleIntercept = "0"
        one.BitsStored, one.HighBit = 12, 11

    medical.write_dicom(tmp_path / "a", scan, low_is_white)
    stored = scan.values.astype(int) + 1024 + np.arange(6)[:, None, None] % 2
    read = read_volume(tmp_path / "a")
    np.testing.assert_array_equal(read.values, stored if modality == "CT" else 4095 - stored)
    assert bool(read.problems) == (modality == "MR")


def test_padding_becomes_air(tmp_path) -> None:
    scan = medical.scan()

    def padded(one, slice_) -> None:
        one.PixelRepresentation = 1
        pixels = (scan.values[slice_].astype(np.int16) + 1024).copy()
        pixels[0, :3] = -2000
        one.RescaleIntercept = "-1024"
        one.PixelData = pixels.tobytes()
        one.add_new("PixelPaddingValue", "SS", -2000)

    medical.write_dicom(tmp_path / "a", scan, padded)
    read = read_volume(tmp_path / "a")
    assert read.values.min() == -1024 and (read.values == -1024).sum() == 18
    assert read.problems == ("18 voxels of padding were set to -1024 HU.",)
    np.testing.assert_array_equal(read.values[:, 1:], scan.values[:, 1:])


def test_a_tilted_gantry_is_told(tmp_path, scan) -> None:
    def lean(one, slice_) -> None:
        x, y, z = one.ImagePositionPatient
        one.ImagePositionPatient = [x, y + slice_ * 0.5, z]

    medical.write_dicom(tmp_path / "a", medical.scan(), lean)
    with pytest.warns(UserWarning, match="lean by 11"):
        read = read_volume(tmp_path / "a")
    assert read.spacing[0] == pytest.approx(2.5)


def test_a_ct_that_does_not_say_how_it_becomes_hu(tmp_path, scan) -> None:
    def without(one, slice_) -> None:
        del one.RescaleSlope, one.RescaleIntercept

    medical.write_dicom(tmp_path / "a", scan, without)
    with pytest.warns(UserWarning, match="HU"):
        assert read_volume(tmp_path / "a").units == ""


def test_spacing_that_is_not_said_can_be_given(tmp_path, scan) -> None:
    def without(one, slice_) -> None:
        del one.PixelSpacing

    medical.write_dicom(tmp_path / "a", medical.scan(), without)
    with pytest.raises(BadImage, match=r"spacing=\(z, y, x\)"):
        read_volume(tmp_path / "a")
    assert read_volume(tmp_path / "a", spacing=(2.5, 0.7, 0.8)).spacing == pytest.approx(
        (2.5, 0.7, 0.8)
    )


# -- several series ------------------------------------------------------------------------
def test_several_series_are_listed_and_chosen(tmp_path, scan) -> None:
    def other(one, slice_) -> None:
        one.SeriesInstanceUID = "1.2.3.5"

    medical.write_dicom(tmp_path / "f" / "a", scan)
    medical.write_dicom(tmp_path / "f" / "b", medical.scan(modality="MR", shape=(4, 8, 9)), other)
    (tmp_path / "f" / "b" / "notes.txt").write_text("not a DICOM")
    with pytest.raises(InvalidInput) as caught:
        read_volume(tmp_path / "f")
    message = str(caught.value)
    assert "series 1: 6 slices 10x12, CT; series 2: 4 slices 9x8, MR" in message
    assert "series=1" in message and clean(message)
    assert read_volume(tmp_path / "f", series=2).shape == (4, 8, 9)
    assert read_volume(tmp_path / "f", series=2).name == "series 2"
    with pytest.raises(InvalidInput, match="there are 2"):
        read_volume(tmp_path / "f", series=3)
    listed = list_series(tmp_path / "f")
    assert listed["modality"].tolist() == ["CT", "MR"] and listed["rows"].tolist() == [12, 8]
    both = from_dicom(tmp_path / "f", series="all", shape=16)
    assert both.table["series"].tolist() == ["series 1"] * 6 + ["series 2"] * 4
    second = from_dicom(tmp_path / "f", series=[2], shape=16)
    assert second.table["id"].tolist() == both.table["id"].tolist()[6:]
    with pytest.raises(InvalidInput, match="once"):
        from_dicom(tmp_path / "f", series=[2, 2])


def test_a_folder_of_many_real_series() -> None:
    root = real("CT_small.dcm").parent / "dicomdirtests"
    if not root.is_dir():
        pytest.skip("pydicom was installed without its test folder")
    listed = list_series(root)
    assert len(listed) > 5 and listed["slices"].sum() < len(dicom_files(root)) + 1
    five = listed.index[listed["slices"] == 5][0]
    assert read_volume(root, series=int(listed["series"][five])).shape == (5, 16, 16)


def test_reports_and_segmentations_are_passed_over(tmp_path, scan) -> None:
    def segmentation(one, slice_) -> None:
        one.SeriesInstanceUID, one.Modality = "1.2.9", "SEG"

    medical.write_dicom(tmp_path / "seg", scan, segmentation)
    with pytest.raises(NoTissue, match="None of the 6"):
        read_volume(tmp_path / "seg")
    medical.write_dicom(tmp_path / "ct", scan)
    assert read_volume(tmp_path).shape == scan.shape


# -- what is wrong with a series -----------------------------------------------------------
def _changed(tmp_path: Path, change) -> str:
    medical.write_dicom(tmp_path / "a", medical.scan(), change)
    with pytest.raises(BadImage) as caught:
        read_volume(tmp_path / "a")
    said = "".join(traceback.format_exception(caught.value))
    assert clean(said.replace(str(tmp_path), "")), said
    return str(caught.value)


def test_a_missing_slice_is_named(tmp_path) -> None:
    paths = medical.write_dicom(tmp_path / "a", medical.scan(shape=(8, 12, 10)))
    paths[3].unlink()
    files = dicom_files(tmp_path / "a")
    before, after = files.index(paths[2]) + 1, files.index(paths[4]) + 1
    with pytest.raises(BadImage) as caught:
        read_volume(tmp_path / "a")
    assert (
        f"1 slice is missing between file {before} of 7 (145.00 mm) and file {after} of 7 (150.00 mm)"
        in str(caught.value)
    )
    upper = read_volume(paths[4:])  # the files on one side
    assert upper.shape[0] == 4 and upper.origin[2] == pytest.approx(150)
    paths[5].unlink()
    paths[6].unlink()
    with pytest.raises(BadImage, match="missing"):
        read_volume(tmp_path / "a")


def test_a_position_that_is_there_twice(tmp_path) -> None:
    def twice(one, slice_) -> None:
        if slice_ == 4:
            one.ImagePositionPatient = medical.dataset(medical.scan(), 3).ImagePositionPatient

    assert "same position (147.50 mm)" in _changed(tmp_path, twice)


def test_uneven_spacing(tmp_path) -> None:
    def farther(one, slice_) -> None:
        x, y, z = one.ImagePositionPatient
        one.ImagePositionPatient = [x, y, z + 0.6 * (slice_ > 3)]

    assert "2.5 mm apart, but" in _changed(tmp_path, farther)


def test_rounded_positions_are_even_enough(tmp_path) -> None:
    thin = medical.scan(spacing=(0.625, 0.7, 0.8), shape=(20, 12, 10))

    def rounded(one, slice_) -> None:
        one.ImagePositionPatient = [f"{float(x):.2f}" for x in one.ImagePositionPatient]

    medical.write_dicom(tmp_path / "a", thin, rounded)
    assert read_volume(tmp_path / "a").spacing[0] == pytest.approx(0.625, abs=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda one: one.__setattr__("PixelSpacing", [1, 1]), "0.7 x 0.8 mm"),
        (
            lambda one: one.__setattr__("ImageOrientationPatient", [1, 0, 0, 0, 0, -1]),
            "orientation",
        ),
        (lambda one: one.__setattr__("ImagePositionPatient", [9, 9, 145]), "beside"),
        (lambda one: one.__delattr__("ImagePositionPatient"), "do not say where"),
        (lambda one: one.__setattr__("PhotometricInterpretation", "RGB"), "colour"),
        (lambda one: one.__setattr__("PixelData", b"\0\0"), "pixels of file"),
        (lambda one: one.__setattr__("NumberOfFrames", 4), "frames"),
        (lambda one: (one.__setattr__("Rows", 24), one.__setattr__("Columns", 5)), "size"),
        (
            lambda one: (one.__setattr__("Rows", 60000), one.__setattr__("Columns", 60000)),
            "too many",
        ),
    ],
)
def test_one_odd_slice_is_named(tmp_path, change, message) -> None:
    said = _changed(tmp_path, lambda one, slice_: change(one) if slice_ == 2 else None)
    assert message in said
    files = dicom_files(tmp_path / "a")
    odd = next(
        i + 1
        for i, file in enumerate(files)
        if int(pydicom.dcmread(file).InstanceNumber) == 1000 - 2
    )
    assert f"ile {odd} of 6" in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda one: one.__setattr__("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]), "square"),
        (lambda one: one.__setattr__("ImageOrientationPatient", [3, 0, 0, 0, 1, 0]), "square"),
        (lambda one: one.__setattr__("PixelSpacing", [0, 1]), "0 mm"),
        (lambda one: one.add_new("RescaleSlope", "LO", "Mustermann"), "damaged"),
        (lambda one: one.add_new("ImagePositionPatient", "LO", "Erika"), "damaged"),
        (lambda one: one.__setattr__("RescaleSlope", "1e38"), "NaN|beyond|number"),
    ],
)
def test_a_series_with_nonsense_in_it(tmp_path, change, message) -> None:
    assert re.search(message, _changed(tmp_path, lambda one, slice_: change(one)))


def test_what_cannot_be_decoded_says_how_to() -> None:
    with pytest.raises(BadImage, match=r"JPEG-LS Lossless.*(pip install|cannot be decoded)"):
        read_volume(_without_decoders(real("MR_small_jpeg_ls_lossless.dcm")))


def _without_decoders(path: Path) -> Path:
    for package in ("jpeg_ls", "gdcm", "pylibjpeg"):
        try:
            __import__(package)
        except ImportError:
            continue
        pytest.skip(f"{package} is installed and decodes it")
    return path


def test_truncated_deflated_and_colour_files() -> None:
    for name, message in (
        ("MR_truncated.dcm", "pixels of the DICOM file"),
        ("image_dfl.dcm", "deflated"),
        ("examples_rgb_color.dcm", "colour"),
    ):
        with pytest.raises(BadImage, match=message):
            read_volume(real(name))


def test_any_truncation_is_an_error_of_ours_or_a_whole_slice(tmp_path, scan) -> None:
    (path,) = medical.write_dicom(tmp_path, medical.scan(shape=(1, 12, 10)))
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(WidgetkitError) as caught:
                read_volume(path)
        assert clean("".join(traceback.format_exception(caught.value)).replace(str(tmp_path), ""))


def test_files_that_are_not_there_or_no_dicom(tmp_path) -> None:
    with pytest.raises(InvalidInput, match="File 1 of the 1"):
        read_volume([tmp_path / "Mustermann.dcm"])
    with pytest.raises(NoTissue):
        from_dicom(tmp_path, series="all")
    with pytest.raises(InvalidInput):
        dicom_files(tmp_path / "no")


def test_without_pydicom_the_command_is_named(tmp_path, scan, monkeypatch) -> None:
    medical.write_dicom(tmp_path, scan)
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(MissingDependency, match="medical"):
        read_volume(tmp_path)


# -- patients --------------------------------------------------------------------------------
def test_nothing_of_the_patient_gets_through(tmp_path, scan, caplog, capfd) -> None:
    """Names in fields, private fields, file and folder names: not in the volume, tables, or logs."""
    folder = tmp_path / "Mustermann_Erika_19640812"

    def more(one, slice_) -> None:
        block = one.private_block(0x0009, "Dr_Quincke", create=True)
        block.add_new(0x01, "LO", "Mustermann")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one.add_new("SoftwareVersions", "UI", "Erika 1.2 not a UID")
            one.add_new("AcquisitionDate", "DA", "PID-4711-X")
            one.SeriesInstanceUID = "Mustermann.1964"  # read, and pydicom warns of its value

    medical.write_dicom(folder, scan, more)
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    capfd.readouterr()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        volume = read_volume(folder)
        source = from_dicom(folder, window="lung")
        listed = list_series(folder)
    text = [
        repr(volume),
        volume.name,
        str(volume.problems),
        repr(source),
        source.table.to_csv(),
        str(source.describe()),
        str(source.problems),
        listed.to_csv(),
        caplog.text,
        *capfd.readouterr(),
        *(str(one.message) for one in caught),
    ]
    assert clean("\n".join(text))
    assert clean(pickle.dumps(volume).decode("latin-1"))
    named = from_dicom(folder, names=["case 7"])
    assert set(named.table["source"]) == {"case 7"} and clean(named.table.to_csv())


def test_threads_that_read_leave_warnings_and_logs_as_they_were(tmp_path, scan) -> None:
    def bad_uid(one, slice_) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one.SeriesInstanceUID = "Mustermann"

    medical.write_dicom(tmp_path, scan, bad_uid)
    before = list(warnings.filters), list(logging.getLogger("pydicom").filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with ThreadPoolExecutor(8) as pool:
            read = list(pool.map(lambda _: read_volume(tmp_path).shape, range(24)))
    assert set(read) == {scan.shape} and not caught
    assert (list(warnings.filters), list(logging.getLogger("pydicom").filters)) == before


def test_only_listed_attributes_are_parsed() -> None:
    """The list itself holds no field of a patient, a person, a place or a date."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    from widgetkit.tiles.dicom_header import PIXEL_TAGS

    for keyword in PIXEL_TAGS:
        tag = tag_for_keyword(keyword)
        assert tag is not None, keyword
        assert tag >> 16 != 0x0010, keyword
        assert (
            dictionary_VR(tag) not in ("PN", "DA", "DT", "TM", "LO", "LT", "ST", "UT")
            or keyword == "RescaleType"
        )
