"""The second demo store: there without network and torch, and what it says it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from widgetkit.demos import activation_slides, activation_store
from widgetkit.demos.ship import ACTIVATION_ARCHIVE, SLIDES_ARCHIVE
from widgetkit.errors import FetchFailed

LAYER = "relu"
EPITHELIUM, STROMA = "epithelium (SHELL)", "stroma (SHELL)"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WIDGETKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_archives_are_small_enough_to_ship() -> None:
    assert ACTIVATION_ARCHIVE.stat().st_size + SLIDES_ARCHIVE.stat().st_size < 8 * 2**20


def test_the_store_is_whole_and_has_everything(cache) -> None:
    store = activation_store()
    assert store.verify(full=True).ok and store.path.parent == cache
    info = store.layer(LAYER)
    assert info.has_maps and info.channels == 64 and info.grid == (8, 8)
    assert store.has_images and store.sprites is not None and store.outputs is not None
    assert store.class_names == (EPITHELIUM, STROMA)
    assert set(store.derived.kinds()) >= {"projection", "clustering", "maps"}
    assert store.tiles["slide"].nunique() == 4


def test_activations_are_not_negative_and_no_channel_is_empty(cache) -> None:
    values = activation_store().activations(LAYER)
    assert values.min() == 0
    assert (values.max(axis=(0, 2, 3)) > 0).all()


def test_the_linear_head_is_exact(cache) -> None:
    """Mean over positions, times weight, plus bias: the logits that are stored."""
    store = activation_store()
    weight, bias = store.head(LAYER)
    pooled = store.activations(LAYER).astype(np.float64).mean(axis=(2, 3))
    np.testing.assert_allclose(pooled @ weight.T + bias, store.outputs, atol=5e-3)


def test_labels_are_said_to_be_a_model_s(cache) -> None:
    table = activation_store().tiles
    assert set(table["label"]) == {EPITHELIUM, STROMA}
    shares = table[["shell_epithelium", "shell_stroma", "shell_background"]].to_numpy()
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-3)
    larger = np.where(shares[:, 0] > shares[:, 1], EPITHELIUM, STROMA)
    assert (table["label"] == larger).all()
    np.testing.assert_array_equal(table["clear"], shares[:, :2].max(axis=1) >= 0.7)
    assert set(table["split"]) == {"training", "held out"}
    assert (table.groupby("slide")["split"].nunique() == 1).all()
    # both classes on every slide, or grouping by slide could not be tested
    assert (table.groupby(["slide", "label"]).size() >= 5).all()


def test_the_classifier_agrees_with_the_labels_on_slides_it_never_saw(cache) -> None:
    store = activation_store()
    table = store.tiles
    said = np.where(store.outputs[:, 0] > store.outputs[:, 1], EPITHELIUM, STROMA)
    right = said == table["label"].to_numpy()
    unseen = (table["split"] == "held out").to_numpy()
    assert right[unseen].mean() > 0.75
    assert right[unseen & table["clear"].to_numpy()].mean() > 0.8


def test_maps_of_the_class_are_kept(cache) -> None:
    from widgetkit.explain import Batch, ClassTarget, compute
    from widgetkit.factors.kept_maps import kept

    store = activation_store()
    slide = store.tiles["slide"]
    for method in ("gradcam", "relevance", "occlusion"):
        maps = kept(store, method, 0, layer=LAYER)
        assert maps is not None and maps.values.shape == (len(maps.rows), 8, 8)
        # occlusion takes 225 passes a tile: some tiles of every slide will do
        assert len(maps.rows) == len(store) or method == "occlusion"
        assert slide.iloc[maps.rows].value_counts().min() >= 8 and len(maps.rows) >= 64
    # with a linear head Grad-CAM is what of CAM is above zero, over the number of positions
    gradcam = kept(store, "gradcam", 0, layer=LAYER)
    rows = np.arange(0, len(store), 7)
    cam = compute("cam", Batch.from_store(store, rows, layer=LAYER), ClassTarget(0))
    # maps that run the network are of the stored pictures, which are JPEG; activations of the slide
    assert np.abs(gradcam.take(rows) - np.maximum(cam, 0) / 64).mean() < 0.1 * gradcam.values.mean()


def test_the_slides_lie_beneath_their_tiles(cache) -> None:
    """What a slide's file holds at a tile's place is the tile."""
    openslide = pytest.importorskip("openslide")
    store = activation_store()
    slides = activation_slides()
    table = store.tiles
    assert set(slides) == set(table["source"])
    for row in range(0, len(store), 31):
        place = table.loc[row]
        file = openslide.OpenSlide(slides[place["source"]])
        size = int(place["size"])
        region = file.read_region((int(place["x"]), int(place["y"])), 0, (size, size))
        difference = np.asarray(region.convert("RGB")).astype(int) - store.images([row])[0]
        assert np.abs(difference).mean() < 6  # the store's pictures are JPEG


def test_the_pyramid_view_takes_store_and_slides(cache) -> None:
    pytest.importorskip("openslide")
    from widgetkit.slides import open_pictures, placement

    store = activation_store()
    place = placement(store)
    assert place.names == tuple(activation_slides()) and place.missing == 0
    assert place.extents.tolist() == [[2220, 720]] * 3 + [[2220, 807]]
    pictures = open_pictures(store, activation_slides())
    assert {picture.origin for picture in pictures.values()} == {"file"}


def test_damaged_slides_are_unpacked_again(cache) -> None:
    first = activation_slides()["CMU-1 A"]
    good = first.read_bytes()
    first.write_bytes(good[:-1] + b"?")
    activation_slides()["CMU-1 B"].unlink()
    again = activation_slides()
    assert again["CMU-1 A"].read_bytes() == good and again["CMU-1 B"].is_file()


def test_it_opens_without_torch_umap_and_network(cache) -> None:
    """In a process where importing any of them fails: store, session, factors, maps."""
    code = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "umap", "numba", "openslide", "onnx", "h5py"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import socket
def refuse(*args, **kwargs): raise OSError("no network")
socket.create_connection = socket.socket.connect = refuse
from widgetkit.demos import activation_slides, activation_store
from widgetkit.session import Session
store = activation_store()
session = Session(store)
session.wait()
assert session.projection.method == "umap" and session.clustering.k > 1
assert session.maps([0, 5]).values.shape == (2, 8, 8)
assert all(path.is_file() for path in activation_slides().values())
print("fine")
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert out.stdout.strip() == "fine", out.stderr


def test_the_model_is_the_one_that_made_the_store(cache) -> None:
    pytest.importorskip("torch")
    from widgetkit.demos import activation_model
    from widgetkit.extraction import ModelContext

    store = activation_store()
    context = ModelContext.for_store(activation_model(), store, device="cpu")
    rows = np.arange(0, len(store), 40)
    logits = context.logits(store.images(rows))
    # from pictures that are JPEG, while the store's outputs are from the slide's pixels
    assert np.abs(logits - store.outputs[rows]).mean() < 0.3
    head = context.head_from_layer(store.activations(LAYER, rows).astype(np.float32), LAYER)
    np.testing.assert_allclose(head, store.outputs[rows], atol=1e-2)


def test_the_builder_and_the_shipped_store_agree(cache, tmp_path) -> None:
    for package in ("openslide", "onnx", "torch", "umap"):
        pytest.importorskip(package)
    from widgetkit import tiles
    from widgetkit.demos import activation_tiles, build_activation_store

    try:
        source = activation_tiles()
    except FetchFailed as error:
        pytest.skip(f"slide or SHELL are not there: {error}")
    shipped = activation_store()
    table = shipped.tiles
    assert source.table["id"].tolist() == table["id"].tolist()
    # SHELL's logits differ in the last digits between machines, a share by a pixel or two
    np.testing.assert_allclose(
        source.table["shell_epithelium"], table["shell_epithelium"], atol=0.02
    )
    rows = np.arange(0, len(source), 12)
    built = build_activation_store(
        tmp_path / "few.wk", tiles=tiles.subset(source, rows), readings=False, progress=False
    )
    assert built.verify(full=True).ok
    np.testing.assert_allclose(
        built.activations(LAYER), shipped.activations(LAYER, rows), rtol=2e-2, atol=5e-2
    )
    assert built.manifest.model == shipped.manifest.model
