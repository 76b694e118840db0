"""Slices and volumes as tiles: table, masks, cuts, resampling, and through extraction into a store."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiles import medical
from widgetkit import tiles
from widgetkit.errors import BadImage, BadMetadata, InvalidInput, NoTissue
from widgetkit.tiles import Volume, from_volumes
from widgetkit.tiles.resample import axis_weights, resample


@pytest.fixture
def organ() -> np.ndarray:
    mask = np.zeros((6, 12, 10), bool)
    mask[2:5, 3:9, 2:6] = True
    return mask


# -- the table ---------------------------------------------------------------------------------
def test_a_tile_a_slice() -> None:
    scan = medical.scan()
    source = from_volumes(scan, window="lung")
    table = source.table
    assert len(source) == 6 and source.shape == (12, 10) and source.dtype == np.float32
    assert source.window == (-1350, 150) and source.names == ("series 1",)
    np.testing.assert_array_equal(source.read([4, 0]), scan.values[[4, 0]])
    assert table["z"].tolist() == [0, 1, 2, 3, 4, 5] and table["size"].unique() == [12]
    np.testing.assert_allclose(table["z_mm"], 140 + 2.5 * np.arange(6))
    np.testing.assert_allclose(table["position"], np.arange(6) / 5)
    np.testing.assert_allclose(table["mpp"], 800)
    assert set(table["series"]) == set(table["source"]) == {"series 1"}
    assert "mask_share" not in table.columns
    tiles.check_source(source)
    assert source.masks().all()


def test_a_tile_a_volume(organ) -> None:
    scans = [medical.scan(), medical.scan(origin=(0, 0, 0))]
    source = from_volumes(scans, as_="volumes", mask=[organ, None], names=["a", "b"])
    assert source.shape == (6, 12, 10) and source.table["series"].tolist() == ["a", "b"]
    np.testing.assert_array_equal(source.read([1])[0], scans[1].values)
    np.testing.assert_allclose(source.table["mask_share"], [organ.mean(), 1.0])
    np.testing.assert_array_equal(source.masks([0])[0], organ)
    assert source.volume("b") is scans[1] and source.volume(0) is scans[0]
    for series in ("c", 2, -1):
        with pytest.raises(InvalidInput):
            source.volume(series)


def test_ids_come_from_series_and_index(tmp_path, organ) -> None:
    """Not from files, folders or what else is in the source."""
    medical.write_dicom(tmp_path / "Mustermann", medical.scan())
    medical.write_nifti(tmp_path / "Erika.nii.gz", medical.scan())
    one = from_volumes(tmp_path / "Mustermann").table
    other = from_volumes([tmp_path / "Erika.nii.gz", medical.scan()]).table
    part = from_volumes(medical.scan(), mask=organ, least_mask=0.01).table
    assert one["id"].tolist() == other["id"].tolist()[:6]
    assert part["id"].tolist() == one["id"].tolist()[2:5]
    assert other["series"].tolist() == ["series 1"] * 6 + ["series 2"] * 6
    renamed = from_volumes(medical.scan(), names=["case"]).table
    assert not set(renamed["id"]) & set(one["id"])


def test_own_names_of_volumes_are_kept_where_they_differ() -> None:
    named = [medical.scan(name="p1"), medical.scan(name="p2")]
    assert from_volumes(named).names == ("p1", "p2")
    assert from_volumes([named[0], named[0]]).names == ("series 1", "series 2")
    for names in (["a"], ["a", "a"], ["a", ""]):
        with pytest.raises(InvalidInput):
            from_volumes(named, names=names)


def test_metadata_joins_by_series(organ) -> None:
    source = from_volumes(
        [medical.scan(), medical.scan()],
        names=["a", "b"],
        metadata={"series": ["b", "a"], "patient": ["P2", "P1"], "fvc": [2.0, 3.0]},
        on="series",
        anonymise_patients=True,
    )
    assert source.table.groupby("series")["fvc"].first().to_dict() == {"a": 3.0, "b": 2.0}
    assert set(source.table["patient"]) == {"patient-001", "patient-002"}
    with pytest.raises(BadMetadata):
        from_volumes(medical.scan(), metadata={"age": [1, 2]})


# -- masks and cuts ----------------------------------------------------------------------------
@pytest.mark.parametrize("form", ["array", "volume", "nifti", "nrrd"])
def test_a_mask_in_any_form(tmp_path, organ, form) -> None:
    scan = medical.scan(medical.oblique(medical.AXIAL, 10))
    drawn = Volume(organ, scan.spacing, scan.orientation, scan.origin)
    medical.write_nifti(tmp_path / "m.nii.gz", drawn, flips=(True, False, True))
    medical.write_nrrd(tmp_path / "m.nrrd", drawn)
    mask = {
        "array": organ.astype(np.float32) * 3,
        "volume": drawn,
        "nifti": tmp_path / "m.nii.gz",
        "nrrd": tmp_path / "m.nrrd",
    }[form]
    source = from_volumes(scan, mask=mask, least_mask=0.05)
    assert source.table["z"].tolist() == [2, 3, 4]
    np.testing.assert_allclose(source.table["mask_share"], 24 / 120)
    np.testing.assert_array_equal(source.masks(), organ[2:5])
    np.testing.assert_array_equal(source.read([0, 1, 2]), scan.values[2:5])
    np.testing.assert_allclose(source.table["position"], [0.4, 0.6, 0.8])


def test_a_mask_of_another_grid_is_refused(tmp_path, organ) -> None:
    scan = medical.scan()
    for other, message in (
        (organ[:5], "shape"),
        (Volume(organ, (2.5, 0.7, 0.9), origin=scan.origin), "spacing"),
        (Volume(organ, scan.spacing), "apart"),
        (np.where(organ, np.nan, 1.0), "NaN"),
    ):
        with pytest.raises(InvalidInput, match=message):
            from_volumes(scan, mask=other)
    with pytest.raises(InvalidInput, match="2 masks for 1"):
        from_volumes(scan, mask=[organ, organ])
    with pytest.raises(InvalidInput, match="need a mask"):
        from_volumes(scan, crop=True)
    with pytest.raises(InvalidInput, match="need a mask"):
        from_volumes(scan, least_mask=0.5)
    with pytest.raises(BadImage, match="b: The mask is empty"):
        from_volumes([scan, scan], names=["a", "b"], mask=[organ, organ * False], crop=True)
    with pytest.raises(NoTissue):
        from_volumes(scan, mask=organ, least_mask=0.9)


def test_a_cut_to_the_box_and_its_margin(organ) -> None:
    scan = medical.scan()  # 2.5 x 0.7 x 0.8 mm
    organ[2, 3:9, 2:7] = True
    tight = from_volumes(scan, mask=organ, crop=True, margin=0, least_mask=0.01)
    assert tight.shape == (6, 5) and tight.masks()[0].all()
    np.testing.assert_array_equal(tight.read([0])[0], scan.values[2, 3:9, 2:7])
    assert tight.table["y"].unique() == [3] and tight.table["x"].unique() == [2]
    wide = from_volumes(scan, mask=organ, crop=True, margin=1.0)  # 2 voxels each way
    np.testing.assert_array_equal(wide.read([5])[0], scan.values[5, 1:11, 0:9])
    whole = from_volumes(scan, mask=organ, crop=True, margin=100)
    assert whole.shape == (12, 10)
    box = from_volumes(scan, as_="volumes", mask=organ, crop=True, margin=1.0)
    np.testing.assert_array_equal(box.read([0])[0], scan.values[1:6, 1:11, 0:9])


def test_volumes_of_different_shapes_need_a_shape() -> None:
    scans = [medical.scan(), medical.scan(shape=(7, 12, 10)), medical.scan(shape=(6, 14, 10))]
    assert len(from_volumes(scans[:2])) == 13  # slices of one shape
    with pytest.raises(
        BadImage, match=r"series 2 has volumes of 7 x 12 x 10.*shape=\(64, 64, 64\)"
    ):
        from_volumes(scans[:2], as_="volumes")
    with pytest.raises(BadImage, match=r"series 3 has slices of 14 x 10.*shape="):
        from_volumes(scans)
    assert from_volumes(scans, shape=8).shape == (8, 8)
    assert from_volumes(scans, as_="volumes", shape=(5, 8, 9)).shape == (5, 8, 9)
    assert from_volumes(scans, as_="volumes", shape=8).shape == (8, 8, 8)


# -- resampling --------------------------------------------------------------------------------
def test_spacing_in_plane_and_across() -> None:
    scan = medical.scan()
    plane = from_volumes(scan, spacing=0.4)
    assert plane.shape == (21, 20) and len(plane) == 6
    np.testing.assert_allclose(plane.table["mpp"], 400)
    through = from_volumes(scan, spacing=(1.25, 0.7, 0.8))
    assert through.shape == (12, 10) and len(through) == 12
    np.testing.assert_allclose(np.diff(through.table["z_mm"]), 1.25)
    assert through.table["z_mm"].mean() == pytest.approx(scan.z_mm.mean())
    cube = from_volumes(scan, as_="volumes", spacing=1.0)
    assert cube.shape == (15, 8, 8)
    fixed = from_volumes(scan, as_="volumes", spacing=1.0, shape=(19, 10, 6))
    tile = fixed.read([0])[0]
    assert tile.shape == (19, 10, 6)
    assert (tile[:2] == -1000).all() and (tile[:, 0] == -1000).all()  # filled with the lowest
    np.testing.assert_allclose(tile[2:17, 1:9], cube.read([0])[0][:, :, 1:7], atol=1e-3)


def test_a_ramp_stays_a_ramp() -> None:
    """A linear function of place is resampled exactly, away from the rim."""
    d, h, w = np.indices((8, 16, 16)).astype(np.float32)
    ramp = Volume(3 * d + 2 * h - w, spacing=(2, 1, 1))
    tile = from_volumes(ramp, as_="volumes", spacing=0.5).read([0])[0]
    inner = tile[4:-4, 2:-2, 2:-2]
    np.testing.assert_allclose(np.diff(inner, axis=0), 0.75, atol=1e-4)
    np.testing.assert_allclose(np.diff(inner, axis=1), 1.0, atol=1e-4)
    np.testing.assert_allclose(np.diff(inner, axis=2), -0.5, atol=1e-4)
    assert tile.mean() == pytest.approx(ramp.values.mean(), abs=0.05)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 30),
    st.integers(1, 30),
    st.one_of(st.none(), st.floats(0.05, 20)),
    st.integers(0, 2**32 - 1),
)
def test_weights_are_those_of_the_slow_reference(n_in, n_out, step, seed) -> None:
    """Each voxel out: the mean of voxels in under a triangle round its centre, one by one."""
    weights = axis_weights(n_in, n_out, step)
    values = np.random.default_rng(seed).normal(size=n_in)
    size = n_in / n_out if step is None else step
    for i in range(n_out):
        centre = (n_in - 1) / 2 + (i - (n_out - 1) / 2) * size
        if not -0.5 - 1e-6 <= centre <= n_in - 0.5 + 1e-6:
            assert not weights[i].any()
            continue
        centre = min(max(centre, 0), n_in - 1)
        total = share = 0.0
        for j in range(n_in):
            part = max(0.0, 1 - abs(j - centre) / max(1.0, size))
            total, share = total + part * values[j], share + part
        assert weights[i] @ values == pytest.approx(total / share, abs=1e-5)


def test_linear_interpolation_is_scipys() -> None:
    from scipy import ndimage

    values = np.random.default_rng(0).normal(size=(5, 9, 8)).astype(np.float32)
    out = resample(values, (9, 17, 15), (0.5, 0.5, 0.5))
    places = np.meshgrid(*(np.arange(n) / 2 for n in (9, 17, 15)), indexing="ij")
    np.testing.assert_allclose(out, ndimage.map_coordinates(values, places, order=1), atol=1e-5)


def test_a_constant_stays_constant_and_fine_noise_does_not_alias() -> None:
    flat = resample(np.full((4, 9, 9), -700.0), (3, 20, 4))
    np.testing.assert_allclose(flat, -700.0, rtol=1e-5)
    stripes = np.tile(np.array([0.0, 100.0], np.float32), 32)[None, None].repeat(8, 1)
    small = resample(stripes, (1, 8, 16))
    np.testing.assert_allclose(small, 50.0, atol=15)


def test_a_mask_goes_with_its_image(organ) -> None:
    source = from_volumes(
        medical.scan(), as_="volumes", mask=organ, spacing=0.5, crop=True, margin=2
    )
    box = medical.scan().values[1:6, 0:12, 0:9]
    share = organ[1:6, 0:12, 0:9].mean()
    assert source.shape[1:] == (round(12 * 0.7 / 0.5), round(9 * 0.8 / 0.5))
    assert source.masks()[0].mean() == pytest.approx(share, rel=0.15)
    assert source.table["mask_share"][0] == pytest.approx(share, rel=0.02)
    assert source.read([0])[0].mean() == pytest.approx(box.mean(), rel=0.05)


# -- arguments that cannot be ------------------------------------------------------------------
@pytest.mark.parametrize(
    "more",
    [
        {"as_": "tiles"},
        {"shape": 4},
        {"shape": (8, 8, 8)},
        {"shape": (8.5, 8)},
        {"shape": "big"},
        {"as_": "volumes", "shape": (8, 8)},
        {"as_": "volumes", "spacing": (1, 1)},
        {"spacing": 0},
        {"spacing": np.nan},
        {"spacing": (1, 1, 1, 1)},
        {"window": (2, 1)},
        {"window": 5},
        {"least_mask": 2},
        {"margin": -1},
    ],
)
def test_arguments_are_checked(more) -> None:
    with pytest.raises(InvalidInput):
        from_volumes(medical.scan(), **more)


def test_a_grid_beyond_memory_or_sight_is_refused() -> None:
    with pytest.raises(BadImage, match="500,000,000"):
        from_volumes(medical.scan(), spacing=1e-4)
    with pytest.raises(BadImage, match="finer spacing"):
        from_volumes(medical.scan(), spacing=5.0)


def test_what_is_no_volume() -> None:
    with pytest.raises(InvalidInput, match="Volume"):
        from_volumes(np.zeros((6, 12, 10)))
    with pytest.raises(InvalidInput, match="wrap"):
        from_volumes([np.zeros((6, 12, 10))])
    with pytest.raises(NoTissue):
        from_volumes([])
    with pytest.raises(InvalidInput, match="series 1: There is no file"):
        from_volumes(["no", "neither"])


def test_a_window_of_ct_is_not_for_mri() -> None:
    with pytest.raises(InvalidInput, match="is MR"):
        from_volumes(medical.scan(modality="MR", units=""), window="lung")
    low, high = from_volumes(medical.scan()).window
    assert low < -900 and high >= 0


# -- files, threads, stores --------------------------------------------------------------------
def test_files_are_read_again_when_no_longer_kept_and_must_be_the_same(
    tmp_path, monkeypatch
) -> None:
    for name in ("a", "b", "c"):
        medical.write_nrrd(tmp_path / f"{name}.nrrd", medical.scan(origin=(0, 0, ord(name))))
    monkeypatch.setattr("widgetkit.tiles.prepared.KEPT_BYTES", 1)
    source = tiles.from_nrrd(tmp_path, modality="CT", window="lung")
    assert len(source) == 18
    wanted = np.tile(medical.scan().values, (3, 1, 1))
    np.testing.assert_array_equal(source.read(np.arange(18)), wanted)
    other = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(other.read([17, 0]), wanted[[17, 0]])
    medical.write_nrrd(
        tmp_path / "b.nrrd", Volume(medical.scan().values + np.int16(1), (2.5, 0.7, 0.8))
    )
    fresh = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(fresh.read([0]), wanted[:1])
    with pytest.raises(BadImage, match="series 2 are no longer"):
        fresh.read([6])


def test_many_threads_read_the_same() -> None:
    scans = [medical.scan(origin=(0, 0, i)) for i in range(4)]
    source = from_volumes(scans, shape=9, names=list("abcd"))
    expected = source.read(np.arange(len(source)))
    cold = pickle.loads(pickle.dumps(source))
    wrong: list[int] = []

    def reader(seed: int) -> None:
        rows = np.random.default_rng(seed).permutation(len(source))
        if not np.array_equal(cold.read(rows), expected[rows]):
            wrong.append(seed)

    threads = [threading.Thread(target=reader, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_parts_and_sums_keep_the_window(organ) -> None:
    lung = from_volumes(medical.scan(), names=["a"], window="lung")
    liver = from_volumes(medical.scan(), names=["b"], window="liver")
    assert tiles.subset(lung, [3, 1]).window == (-1350, 150)
    both = tiles.concat([lung, liver])
    assert both.window == (-1350, 150) and len(both) == 12
    shown = lung.display(lung.read([0]))
    expected = np.clip((medical.scan().values[0] + 1350) / 1500 * 255, 0, 255)
    np.testing.assert_allclose(shown[0], expected, atol=0.51)


@pytest.mark.parametrize("as_", ["slices", "volumes"])
def test_through_extraction_into_a_store(tmp_path, as_) -> None:
    """2-D and 3-D; and no file of the store holds anything of the patient."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("pydicom")
    import widgetkit as wk

    medical.write_dicom(tmp_path / "Mustermann" / "a", medical.scan(shape=(6, 16, 16)))
    medical.write_nifti(tmp_path / "Erika.nii.gz", medical.scan(shape=(6, 16, 16)))
    source = from_volumes(
        [tmp_path / "Mustermann", tmp_path / "Erika.nii.gz"], as_=as_, window="lung", modality="CT"
    )
    torch.manual_seed(0)
    conv = torch.nn.Conv2d if as_ == "slices" else torch.nn.Conv3d
    model = torch.nn.Sequential(
        conv(1, 4, 3, padding=1), torch.nn.ReLU(), conv(4, 5, 3, 2, 1), torch.nn.ReLU()
    )
    store = wk.extract(model, source, "3", out=tmp_path / "out.wk")
    assert len(store) == len(source) == (12 if as_ == "slices" else 2)
    assert store.layers["3"].grid == ((8, 8) if as_ == "slices" else (3, 8, 8))
    for file in (tmp_path / "out.wk").rglob("*"):
        text = file.read_bytes().decode("latin-1") if file.is_file() else ""
        assert not any(secret in text for secret in medical.SECRETS), file.name


def test_another_scan_is_never_taken_for_this_one(tmp_path) -> None:
    """Ids are alike ("series 1", slice 0), so the source's description tells the voxels apart."""
    one, other = medical.scan(), medical.scan()
    changed = np.array(other.values)
    changed[0, 0, 0] += 1
    described = from_volumes(one).describe()
    assert described == from_volumes(medical.scan()).describe()
    assert described != from_volumes(Volume(changed, one.spacing, origin=one.origin)).describe()


def test_problems_of_all_series_are_told_once() -> None:
    flat = Volume(np.full((3, 8, 8), 5, np.int16), problems=("It is odd.",))
    with pytest.warns(UserWarning, match=r"series 1: It is odd. and 1 more"):
        source = from_volumes([flat, flat])
    assert source.problems["series"].tolist() == ["series 1", "series 2"]
