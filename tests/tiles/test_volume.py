"""One convention for all formats."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiles import medical
from widgetkit import tiles
from widgetkit.errors import BadImage, InvalidInput, NoTissue, WidgetkitError
from widgetkit.tiles import Volume, read_volume
from widgetkit.tiles.orient import anatomical, geometry_difference
from widgetkit.tiles.voxels import as_values, scaled

ORIENTATIONS = {
    "axial": medical.AXIAL,
    "coronal": medical.CORONAL,
    "sagittal": medical.SAGITTAL,
    "oblique": medical.oblique(medical.AXIAL, 20),
    "oblique coronal": medical.oblique(medical.CORONAL, -15),
}


@pytest.mark.parametrize("axes", ORIENTATIONS.values(), ids=ORIENTATIONS)
def test_every_format_gives_the_same_volume(tmp_path, axes) -> None:
    scan = medical.scan(axes)
    medical.write_dicom(tmp_path / "series", scan)
    medical.write_nifti(tmp_path / "a.nii.gz", scan)
    medical.write_nrrd(tmp_path / "a.nrrd", scan)
    for path in ("series", "a.nii.gz", "a.nrrd"):
        read = read_volume(tmp_path / path, modality="CT")
        medical.assert_same(read, scan)
        assert read.plane == scan.plane and read.units == "HU" and read.problems == ()
        assert read.values.dtype == np.int16


@pytest.mark.parametrize("axes", ORIENTATIONS.values(), ids=ORIENTATIONS)
def test_any_order_and_direction_of_axes_is_turned_back(tmp_path, axes) -> None:
    scan = medical.scan(axes)
    for flips in itertools.product((False, True), repeat=3):
        for swap in (False, True):
            values, affine = medical.grid(scan, flips, swap)
            spacing = np.linalg.norm(affine[:3, :3], axis=0)
            turned = Volume(values, spacing, (affine[:3, :3] / spacing).T, affine[:3, 3])
            medical.assert_same(anatomical(turned), scan)


def test_a_known_voxel_is_where_it_was_put() -> None:
    """By hand: axial, 2.5 mm slices; voxel (2, 3, 4) lies 4 columns to the left, 3 rows to the back."""
    scan = medical.scan()
    np.testing.assert_allclose(scan.affine @ [2, 3, 4, 1], [-31.5 + 3.2, 12.25 + 2.1, 145.0, 1])
    assert scan.directions == ("S", "P", "L") and scan.plane == "axial"
    np.testing.assert_allclose(scan.z_mm, 140 + 2.5 * np.arange(6))
    coronal, sagittal = medical.scan(medical.CORONAL), medical.scan(medical.SAGITTAL)
    assert (coronal.directions, coronal.plane) == (("P", "I", "L"), "coronal")
    assert (sagittal.directions, sagittal.plane) == (("R", "I", "P"), "sagittal")


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.floats(-180, 180), min_size=3, max_size=3),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
    st.booleans(),
)
def test_turning_moves_no_voxel_in_space(angles, flips, swap) -> None:
    """Whatever the orientation: the same set of (place, value), slices still slices, right-handed."""
    axes = medical.oblique(medical.oblique(medical.AXIAL, angles[0]), angles[1])
    values, affine = medical.grid(medical.scan(axes, (2, 3, 4)), flips, swap)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    before = Volume(values, spacing, (affine[:3, :3] / spacing).T, affine[:3, 3])
    after = anatomical(before)

    def placed(volume: Volume) -> np.ndarray:
        where = np.indices(volume.shape).reshape(3, -1)
        points = (volume.affine @ np.vstack([where, np.ones(where.shape[1])]))[:3].T
        rows = np.column_stack([np.round(points, 6), volume.values.ravel()])
        return rows[np.lexsort(rows.T)]

    np.testing.assert_allclose(placed(after), placed(before), atol=1e-5)
    assert after.shape[0] == before.shape[0]
    axes = np.asarray(after.orientation)
    assert np.dot(np.cross(axes[2], axes[1]), axes[0]) > 0.9
    medical.assert_same(anatomical(after), after)


def test_a_volume_is_checked() -> None:
    good = np.zeros((2, 5, 5), np.float32)
    for values, error in ((np.zeros((5, 5)), BadImage), (np.zeros((0, 5, 5)), BadImage)):
        with pytest.raises(error):
            Volume(values)
    bad = good.copy()
    bad[1, 2, 3] = np.nan
    with pytest.raises(BadImage, match=r"1 voxels .* \(1, 2, 3\)"):
        Volume(bad)
    for more in (
        {"spacing": (0, 1, 1)},
        {"spacing": (np.nan, 1, 1)},
        {"spacing": (1, 1)},
        {"orientation": np.eye(3) * 2},
        {"orientation": [[1, 0, 0]] * 3},
        {"origin": (np.inf, 0, 0)},
    ):
        with pytest.raises(InvalidInput):
            Volume(good, **more)
    with pytest.raises(ValueError, match="read-only"):
        Volume(good).values[0] = 1


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([True, False]), np.int16),
        (np.array([0, 200], np.uint8), np.int16),
        (np.array([0, 32767], np.uint16), np.int16),
        (np.array([0, 40000], np.uint16), np.float32),
        (np.array([-5, 5], np.int64), np.int16),
        (np.array([0.5]), np.float32),
    ],
)
def test_values_keep_what_they_are(values, dtype) -> None:
    out = as_values(values, "it")
    assert out.dtype == dtype
    np.testing.assert_array_equal(out, values)


def test_numbers_that_float32_cannot_hold_are_refused() -> None:
    for values in (np.array([1 << 25]), np.array([1e300]), np.array([np.inf]), np.array(["a"])):
        with pytest.raises(BadImage):
            as_values(values, "it")


@given(
    st.lists(st.integers(-32768, 32767), min_size=1, max_size=5),
    st.sampled_from([1.0, 2.0, -1.0, 0.5, 1e-3, 70000.0]),
    st.sampled_from([0.0, -1024.0, 0.25]),
)
def test_scaling_is_that_of_float64(values, slope, intercept) -> None:
    array = np.array(values, np.int16)
    np.testing.assert_allclose(
        scaled(array, slope, intercept), array.astype(np.float64) * slope + intercept, rtol=1e-6
    )


def test_differences_of_geometry_are_named() -> None:
    scan = medical.scan()
    assert geometry_difference(scan, medical.scan()) == ""
    assert "shape" in geometry_difference(scan, medical.scan(shape=(6, 12, 11)))
    assert "spacing" in geometry_difference(scan, medical.scan(spacing=(2.5, 0.7, 0.9)))
    assert "apart" in geometry_difference(scan, medical.scan(origin=(-31.5, 12.25, 142.5)))
    assert "apart" in geometry_difference(scan, medical.scan(medical.CORONAL))


def test_what_is_no_scan(tmp_path) -> None:
    (tmp_path / "Mustermann.txt").write_text("Erika")
    for path, error in (
        (tmp_path / "Mustermann.txt", InvalidInput),
        (tmp_path / "no", InvalidInput),
    ):
        with pytest.raises(error) as caught:
            read_volume(path)
        assert "Mustermann" not in str(caught.value)
    with pytest.raises(NoTissue):
        read_volume(tmp_path)
    medical.write_nrrd(tmp_path / "one.nrrd", medical.scan())
    medical.assert_same(read_volume(tmp_path), medical.scan())
    with pytest.raises(InvalidInput, match="one volume"):
        read_volume(tmp_path / "one.nrrd", series=2)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    scan = medical.scan(shape=(3, 6, 5))
    medical.write_nifti(folder / "a.nii", scan)
    medical.write_nrrd(folder / "a.nrrd", scan)
    medical.write_enhanced(folder / "a.dcm", scan)
    return folder


@settings(deadline=None, max_examples=120)
@given(
    st.sampled_from(["a.nii", "a.nrrd", "a.dcm"]),
    st.lists(
        st.tuples(
            st.integers(0, 2500),
            st.sampled_from([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f", b"nan ", b"9999", b"("]),
        ),
        min_size=1,
        max_size=5,
    ),
)
@pytest.mark.filterwarnings("ignore")
def test_any_damage_is_an_error_of_ours_or_none(written, name, damage) -> None:
    raw = bytearray((written / name).read_bytes())
    for at, junk in damage:
        at %= len(raw)
        raw[at : at + len(junk)] = junk
    path = written / f"damaged{Path(name).suffix}"
    path.write_bytes(raw)
    try:
        read_volume(path)
    except WidgetkitError as error:
        assert not any(secret in str(error) for secret in medical.SECRETS)


def test_a_constant_image_and_sheared_axes_are_told(tmp_path) -> None:
    flat = Volume(np.full((3, 6, 6), 7, np.int16))
    medical.write_nrrd(tmp_path / "flat.nrrd", flat)
    with pytest.warns(UserWarning, match="constant"):
        assert any(
            "constant" in problem for problem in read_volume(tmp_path / "flat.nrrd").problems
        )
    sheared = np.array(medical.AXIAL)
    sheared[0] = [0, np.sin(0.3), np.cos(0.3)]
    medical.write_nrrd(tmp_path / "lean.nrrd", medical.scan(sheared))
    with pytest.warns(UserWarning, match="square"):
        read = read_volume(tmp_path / "lean.nrrd")
    assert "17.2 degrees" in read.problems[0]
    assert repr(read).endswith("axial, 1 problems>")


def test_the_names_are_those_of_the_kit() -> None:
    for name in ("Volume", "read_volume", "from_volumes", "from_dicom", "from_nifti", "from_nrrd"):
        assert name in tiles.__all__ and getattr(tiles, name).__doc__
