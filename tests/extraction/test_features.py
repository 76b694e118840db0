"""Ready-made features, also from files that lie."""

from __future__ import annotations

import h5py
import numpy as np
import pandas as pd
import pytest

import widgetkit as wk
from tests.extraction.conftest import textures
from widgetkit.errors import (
    BadActivations,
    BadMetadata,
    InvalidInput,
    StoreExists,
    StoreMismatch,
    TooFew,
)


@pytest.fixture
def features() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(30, 7)).astype(np.float32)


def places(n: int) -> np.ndarray:
    return np.stack([np.arange(n) % 6 * 256, np.arange(n) // 6 * 256], axis=1)


def write(path, features, coords=None, key="features", **attributes):
    with h5py.File(path, "w") as file:
        file[key] = features
        if coords is not None:
            file["coords"] = coords
            file["coords"].attrs.update(attributes)
    return path


def test_an_array_becomes_a_store_without_maps(features, tmp_path):
    store = wk.import_features(features, out=tmp_path / "f.wk")
    assert np.array_equal(store.embeddings("features"), features)
    assert not store.layers["features"].has_maps and not store.has_images
    assert store.tiles["id"].is_unique
    assert store.verify().ok


def test_more_rows_than_a_segment_holds(tmp_path):
    many = np.random.default_rng(0).normal(size=(9_000, 3)).astype(np.float32)
    wk.import_features(many, out=tmp_path / "many.wk")
    store = wk.open(tmp_path / "many.wk")
    assert store.manifest.segments > len(store.manifest.files)  # no file a segment is needed
    np.testing.assert_allclose(store.embeddings("features"), many, atol=1e-2)


def test_tiles_bring_table_and_pictures(features, tmp_path):
    tiles = wk.tiles.from_array(textures(30))
    store = wk.import_features(
        features, out=tmp_path / "f.wk", tiles=tiles, metadata={"grade": list(range(30))}
    )
    assert np.array_equal(store.images([3, 4]), tiles.read([3, 4]))
    assert store.tiles["grade"].tolist() == list(range(30))
    assert store.tiles["id"].tolist() == tiles.table["id"].tolist()


@pytest.mark.parametrize("key", ["features", "feats", "embeddings"])
@pytest.mark.parametrize("lead", [False, True])
def test_h5_files_as_others_write_them(features, tmp_path, key, lead):
    values = features[None] if lead else features
    path = write(tmp_path / "slide.h5", values, places(30), key, patch_size=256, patch_level=1)
    store = wk.import_features(path, out=tmp_path / "f.wk", layer="uni")
    assert np.array_equal(store.embeddings("uni"), features)
    table = store.tiles
    assert table[["x", "y"]].to_numpy().tolist() == places(30).tolist()
    assert (table["size"] == 256).all() and (table["level"] == 1).all()
    assert (table["source"] == "slide").all()


def test_many_slides_and_metadata_by_slide(features, tmp_path):
    paths = [
        write(tmp_path / f"s{i}.h5", features[i * 10 : i * 10 + 10], places(10)) for i in range(3)
    ]
    store = wk.import_features(
        paths,
        out=tmp_path / "f.wk",
        metadata=pd.DataFrame({"slide": ["s2", "s1", "s0"], "stage": [3, 2, 1]}),
        on="slide",
    )
    assert np.array_equal(store.embeddings("features"), features)
    assert store.tiles["stage"].tolist() == [1] * 10 + [2] * 10 + [3] * 10


def test_ids_come_from_source_and_place_not_from_order(features, tmp_path):
    turned = write(tmp_path / "s.h5", features[::-1], places(30)[::-1])
    backwards = wk.import_features(turned, out=tmp_path / "b.wk").tiles["id"].tolist()
    write(tmp_path / "s.h5", features, places(30))
    forwards = wk.import_features(tmp_path / "s.h5", out=tmp_path / "a.wk").tiles["id"].tolist()
    assert forwards == backwards[::-1]


def test_the_same_again_is_the_store_and_another_is_refused(features, tmp_path):
    first = wk.import_features(features, out=tmp_path / "f.wk")
    assert wk.import_features(features, out=tmp_path / "f.wk").id == first.id
    with pytest.raises((StoreExists, StoreMismatch), match="features_hash"):
        wk.import_features(features + 1, out=tmp_path / "f.wk")
    wk.import_features(features + 1, out=tmp_path / "f.wk", overwrite=True)


def test_npy_files(features, tmp_path):
    np.save(tmp_path / "a.npy", features)
    store = wk.import_features(tmp_path / "a.npy", out=tmp_path / "f.wk", coords=places(30))
    assert store.tiles["x"].tolist() == places(30)[:, 0].tolist()
    np.save(tmp_path / "o.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    with pytest.raises(InvalidInput, match=r"o\.npy"):
        wk.import_features(tmp_path / "o.npy", out=tmp_path / "g.wk")


def test_bad_values_and_lengths_are_named(features, tmp_path):
    out = tmp_path / "f.wk"
    spoilt = features.copy()
    spoilt[12, 3] = np.nan
    with pytest.raises(BadActivations, match="Row 12"):
        wk.import_features(spoilt, out=out)
    with pytest.raises(TooFew):
        wk.import_features(features[:0], out=out)
    with pytest.raises(BadMetadata, match="23 tiles for 30"):
        wk.import_features(features, out=out, tiles=wk.tiles.from_array(textures(23)))
    with pytest.raises(BadMetadata, match="coordinates"):
        wk.import_features(features, out=out, coords=places(29))
    with pytest.raises(BadMetadata, match="Row 1 "):
        wk.import_features(features, out=out, coords=places(30) * [0, 1])
    with pytest.raises(InvalidInput, match=r"\(n, C\)"):
        wk.import_features(features[0], out=out)
    with pytest.raises(InvalidInput, match="numbers"):
        wk.import_features(np.array([["a"]]), out=out)
    with pytest.raises(InvalidInput, match="dict"):
        wk.import_features({}, out=out)  # type: ignore[arg-type]


def test_hostile_h5_files_are_refused(features, tmp_path):
    out = tmp_path / "f.wk"
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("features", shape=(10**10, 1024), dtype="f4", chunks=(1024, 1024))
    with pytest.raises(InvalidInput, match="claims"):
        wk.import_features(path, out=out)
    with h5py.File(path, "w") as file:
        file.create_dataset("features", data=["a", "b"], dtype=h5py.string_dtype())
    with pytest.raises(InvalidInput, match="not numbers"):
        wk.import_features(path, out=out)
    write(tmp_path / "secret.h5", features)
    with h5py.File(path, "w") as file:
        file["features"] = h5py.ExternalLink("secret.h5", "/features")
    with pytest.raises(InvalidInput, match="another file"):
        wk.import_features(path, out=out)
    with h5py.File(path, "w") as file:
        layout = h5py.VirtualLayout((30, 7), "f4")
        layout[:] = h5py.VirtualSource(tmp_path / "secret.h5", "features", (30, 7))
        file.create_virtual_dataset("features", layout)
    with pytest.raises(InvalidInput, match="another file"):
        wk.import_features(path, out=out)
    write(path, features, key="fetures")
    with pytest.raises(InvalidInput, match="fetures"):
        wk.import_features(path, out=out)
    path.write_bytes(b"not h5 at all")
    with pytest.raises(InvalidInput, match="opened"):
        wk.import_features(path, out=out)
    path.write_bytes((tmp_path / "secret.h5").read_bytes()[:1500])
    with pytest.raises(InvalidInput):
        wk.import_features(path, out=out)
    assert not out.exists()
