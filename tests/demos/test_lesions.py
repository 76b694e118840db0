"""The demo of concepts: its network, its training, and the store that shows all without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from widgetkit import tiles
from widgetkit.demos import (
    lesion_concepts,
    lesion_model,
    lesion_net,
    lesion_simulation,
    lesion_store,
    lesion_tiles,
    lesion_truth,
    train_lesion_net,
)
from widgetkit.demos.lesions import ARCHIVE, FIGURES, SHIPPED, SPLITS, WEIGHTS
from widgetkit.errors import Cancelled, InvalidInput, UnknownName
from widgetkit.simulate import LiverSimulation, liver_lesions
from widgetkit.simulate.liver_patterns import CLASSES, CONCEPTS


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WIDGETKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def few() -> LiverSimulation:
    return liver_lesions(24, background="phantom", seed=11)


# -- the store ------------------------------------------------------------------------------


def test_what_ships_is_small() -> None:
    assert WEIGHTS.stat().st_size < 1.5e6
    assert WEIGHTS.stat().st_size + ARCHIVE.stat().st_size + FIGURES.stat().st_size < 4 * 2**20


def test_the_store_is_whole_and_has_everything(cache) -> None:
    store = lesion_store()
    assert store.verify(full=True).ok and store.path.parent == cache
    assert list(store.layers) == ["features.last", "dense"]
    maps, dense = store.layer("features.last"), store.layer("dense")
    assert maps.channels == 128 and maps.grid == (6, 8, 8)
    assert dense.channels == 100 and not dense.has_maps
    assert store.image_shape == (12, 32, 32, 3) and store.sprites is not None
    assert tuple(store.class_names or ()) == CLASSES
    assert set(store.derived.kinds()) >= {"truth", "projection", "clustering", "notes"}
    assert set(store.derived.names("truth")) == {*CONCEPTS, "lesion", "line"}


def test_everything_says_that_it_is_semi_synthetic(cache) -> None:
    from widgetkit.session.notes import note_of

    store = lesion_store()
    table = store.tiles
    assert set(table["data"]) == {"semi-synthetic"}
    assert table["source"].str.contains("semi-synthetic").all()
    for column in ("label", "concepts", "labelled"):
        assert "emi-synthetic" in note_of(store, column)
    for name in store.derived.names("truth"):
        assert "semi-synthetic" in store.derived.get("truth", name).params["source"]
    assert "semi-synthetic" in json.loads(FIGURES.read_text())["data"]


def test_splits_share_no_patient(cache) -> None:
    table = lesion_store().tiles
    assert table["split"].value_counts().to_dict() == dict(SHIPPED)
    assert (table.groupby("patient")["split"].nunique() == 1).all()
    # every concept has the ten examples that the method needs, in the part that was learned from
    training = table[table["split"] == "training"]
    assert (training[list(CONCEPTS)].sum() >= 10).all()
    assert (training.groupby("label").size() >= 15).all()


def test_the_head_of_the_dense_layer_is_exact(cache) -> None:
    store = lesion_store()
    weight, bias = store.head("dense")
    logits = store.embeddings("dense").astype(np.float64) @ weight.T + bias
    np.testing.assert_allclose(logits, store.outputs, atol=1e-2)
    assert store.activations("features.last").min() == 0


def test_places_of_concepts_are_those_of_the_table(cache) -> None:
    store = lesion_store()
    table = store.tiles
    for name in CONCEPTS:
        there = lesion_truth(store, name).reshape(len(store), -1).any(axis=1)
        np.testing.assert_array_equal(there, table[name].to_numpy(bool))
    line = lesion_truth(store, "line")
    np.testing.assert_array_equal(line.any(axis=(1, 2, 3)), table["marked"].to_numpy(bool))
    whole = lesion_truth(store, "lesion", [4, 2])
    assert whole.shape == (2, 12, 32, 32) and whole.dtype == bool
    np.testing.assert_array_equal(whole, lesion_truth(store, "lesion")[[4, 2]])
    with pytest.raises(UnknownName, match="washout"):
        lesion_truth(store, "wash out")


def test_the_classifier_errs_as_often_as_is_said(cache) -> None:
    """About as often as the published one, and because of the line where it says nothing."""
    store = lesion_store()
    table = store.tiles
    right = np.array(CLASSES)[np.asarray(store.outputs).argmax(axis=1)] == table["label"]
    split = table["split"].to_numpy()
    assert 0.8 < right[split == "test"].mean() < 0.97
    assert right[split == "test without shortcut"].mean() < right[split == "test"].mean()


def test_the_figures_that_are_told_are_those_that_were_measured() -> None:
    """``lesion-net.json`` was written by the run that wrote the weights; docs quote it."""
    said = json.loads(FIGURES.read_text())
    assert said["settings"]["simulations"] == {k: dict(v) for k, v in SPLITS.items()}
    for name, part in said["splits"].items():
        counts = np.array(part["confusion"])
        assert counts.shape == (6, 6) and counts.sum() == part["lesions"] == SPLITS[name]["n"]
        assert np.trace(counts) / counts.sum() == pytest.approx(part["accuracy"]["all"], abs=1e-3)
    test, free = (said["splits"][name] for name in ("test", "test without shortcut"))
    assert 0.85 <= test["accuracy"]["all"] <= 0.92
    wrong = free["other classes called metastasis"]
    assert wrong["with line"] > 5 * wrong["without line"]
    page = (Path(__file__).parents[2] / "docs" / "liver-lesions.md").read_text()
    for part in (test, free):
        assert f"{100 * part['accuracy']['all']:.1f} %" in page


def test_it_opens_without_torch_umap_pydicom_and_network(cache) -> None:
    code = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "umap", "numba", "openslide", "onnx", "h5py", "pydicom"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import socket
def refuse(*args, **kwargs): raise OSError("no network")
socket.create_connection = socket.socket.connect = refuse
from widgetkit.demos import lesion_store, lesion_truth
from widgetkit.session import Session
store = lesion_store()
session = Session(store, layer="dense")
session.wait()
assert session.clustering.k > 1
assert lesion_truth(store, "central scar").any()
print("fine")
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert out.stdout.strip() == "fine", out.stderr


def test_the_shipped_weights_give_the_stored_outputs(cache) -> None:
    pytest.importorskip("torch")
    store = lesion_store()
    rows = np.arange(0, len(store), 18)
    context = lesion_model(store)
    maps = store.activations("features.last", rows).astype(np.float32)
    outputs = np.asarray(store.outputs)[rows]
    # from the stored pictures, which are WebP; the store's outputs are of the voxels themselves
    assert np.abs(context.logits(store.images(rows)) - outputs).mean() < 0.3
    np.testing.assert_allclose(context.head_from_layer(maps, "features.last"), outputs, atol=2e-2)


def test_the_simulation_is_the_one_that_is_in_the_store(cache, monkeypatch) -> None:
    """A few lesions made anew: pictures, truth and what the network says of them."""
    pytest.importorskip("torch")
    pytest.importorskip("pydicom")
    from widgetkit.demos import lesions
    from widgetkit.demos.lesion_training import classify

    store = lesion_store()
    made = lesion_simulation("test without shortcut")
    here = np.flatnonzero(store.tiles["split"] == "test without shortcut")[:12]
    assert store.tiles["patient"].iloc[here].tolist() == made.patients[:12].tolist()
    difference = store.images(here).astype(float) - made.images[:12]
    assert np.abs(difference).mean() < 6  # the store's pictures are WebP
    np.testing.assert_array_equal(lesion_truth(store, "washout", here), made.masks["washout"][:12])
    np.testing.assert_allclose(
        classify(lesion_net(), made.images[:12]), np.asarray(store.outputs)[here], atol=2e-2
    )
    monkeypatch.setattr(lesions, "SHIPPED", dict.fromkeys(SPLITS, 3))
    source = lesion_tiles(dict.fromkeys(SPLITS, liver_lesions(4, background="phantom")) | {
        "test": liver_lesions(4, background="phantom", seed=8),
        "training": liver_lesions(4, background="phantom", seed=9),
    })  # fmt: skip
    tiles.check_source(source)
    assert source.table["split"].tolist() == [name for name in SPLITS for _ in range(3)]


def test_unknown_splits() -> None:
    with pytest.raises(UnknownName, match="training"):
        lesion_simulation("validation")
    with pytest.raises(InvalidInput, match="training"):
        lesion_tiles({})


# -- the network ----------------------------------------------------------------------------


def test_shapes_and_size() -> None:
    torch = pytest.importorskip("torch")
    net = lesion_net()
    seen = {}
    for name in ("features.last", "dense"):
        net.get_submodule(name).register_forward_hook(
            lambda module, given, out, name=name: seen.update({name: out})
        )
    with torch.no_grad():
        assert net(torch.randn(2, 3, 12, 32, 32)).shape == (2, 6)
    assert seen["features.last"].shape == (2, 128, 6, 8, 8) and seen["features.last"].min() >= 0
    assert seen["dense"].shape == (2, 100) and seen["dense"].min() >= 0
    assert not net.training and sum(p.numel() for p in net.parameters()) == 248_450


def test_weights_come_back_as_float16(tmp_path) -> None:
    torch = pytest.importorskip("torch")
    from widgetkit.demos.lesion_network import LesionNet, load_weights, save_weights

    net = LesionNet()
    net.initialise(3)
    save_weights(net, tmp_path / "net.npz")
    again = load_weights(tmp_path / "net.npz")
    for name, value in net.state_dict().items():
        assert torch.equal(value.half().float(), again.state_dict()[name]), name
    save_weights(again, tmp_path / "again.npz")
    assert (tmp_path / "net.npz").read_bytes() == (tmp_path / "again.npz").read_bytes()


def test_files_of_other_things_are_refused(tmp_path) -> None:
    pytest.importorskip("torch")
    from widgetkit.demos.lesion_network import load_weights

    (tmp_path / "text.npz").write_bytes(b"text")
    (tmp_path / "cut.npz").write_bytes(WEIGHTS.read_bytes()[:900])
    with np.load(WEIGHTS) as file:
        values = dict(file)
    bias = "classifier.bias"
    np.savez(tmp_path / "short.npz", **{**values, bias: values[bias][:2]})
    np.savez(tmp_path / "nan.npz", **{**values, bias: values[bias] * np.float16(np.nan)})
    np.savez(tmp_path / "double.npz", **{**values, bias: values[bias].astype(float)})
    np.savez(tmp_path / "objects.npz", **{**values, bias: np.empty(6, object)})
    for name in ("absent", "text", "cut", "short", "nan", "double", "objects"):
        with pytest.raises(InvalidInput, match=rf"{name}\.npz"):
            load_weights(tmp_path / f"{name}.npz")


# -- training -------------------------------------------------------------------------------


def test_training_is_reproducible_and_says_how_far_it_is(few) -> None:
    torch = pytest.importorskip("torch")
    said: list[tuple[int, int]] = []
    one = train_lesion_net(
        few,
        epochs=2,
        batch_size=10,
        seed=1,
        progress=lambda done, total: said.append((done, total)),
    )
    before = torch.random.get_rng_state()
    two = train_lesion_net(few, epochs=2, batch_size=10, seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    other = train_lesion_net(few, epochs=2, batch_size=10, seed=2)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.classifier.weight, other.classifier.weight)
    assert not one.training and said[-1] == (48, 48) and len(said) == 6


def test_training_can_be_cancelled(few) -> None:
    pytest.importorskip("torch")
    asked = []
    with pytest.raises(Cancelled):
        train_lesion_net(few, epochs=2, cancel=lambda: asked.append(1) or len(asked) > 1)
    assert len(asked) == 2


def test_a_short_training_is_well_above_chance() -> None:
    """180 lesions of a phantom, six epochs; chance is a sixth."""
    pytest.importorskip("torch")
    from widgetkit.demos.lesion_training import confusion, figures

    learned, unseen = (liver_lesions(n, background="phantom", seed=n) for n in (180, 60))
    net = train_lesion_net(learned, epochs=8, batch_size=15, lr=2e-3)
    counts = confusion(net, unseen)
    assert list(counts.index) == list(counts.columns) == list(CLASSES)
    assert (counts.sum(axis=1) == 10).all()
    share = np.trace(counts.to_numpy()) / 60
    assert share > 0.4
    assert figures(net, unseen)["accuracy"]["all"] == pytest.approx(share, abs=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 1.5}, "batch_size"),
        ({"lr": 0}, "lr"),
        ({"lr": float("nan")}, "lr"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_settings(few, change, message) -> None:
    pytest.importorskip("torch")
    with pytest.raises(InvalidInput, match=message):
        train_lesion_net(few, **change)


def test_what_holds_no_lesions_is_refused() -> None:
    pytest.importorskip("torch")
    with pytest.raises(InvalidInput, match="liver_lesions"):
        train_lesion_net(np.zeros(3))


# -- the concepts, as sessions take them ----------------------------------------------------
def test_the_concepts_and_their_classes() -> None:
    store = lesion_store()
    whole = lesion_concepts(store)
    assert whole.names == CONCEPTS and whole.classes == CLASSES
    truth = store.tiles[list(CONCEPTS)].to_numpy()
    np.testing.assert_array_equal(whole.labels, truth.astype(np.int8))
    assert whole.patients is not None
    assert len(np.unique(whole.patients)) == store.tiles["patient"].nunique()
    assert whole.class_concepts is not None
    seen = dict(zip(CLASSES, whole.class_concepts, strict=True))
    assert seen["cyst"][CONCEPTS.index("thin-walled mass")]
    assert not seen["cyst"][CONCEPTS.index("central scar")]

    noted = lesion_concepts(store, noted=True, line=True)
    assert noted.names == (*CONCEPTS, "scanner line")
    assert not noted.class_concepts[:, -1].any()  # no class shows a scanner's line
    np.testing.assert_array_equal(noted.labels[:, -1], store.tiles["marked"].to_numpy())
    said = noted.labels[:, :-1] == 1
    assert said.sum(axis=1).max() <= 4 and not (said & ~truth).any()
    assert said.sum() < truth.sum()
