"""extract: what is stored is what the network said; bad input loses nothing."""

from __future__ import annotations

import io
import threading
import time

import numpy as np
import pytest
import torch
from torch import nn

import widgetkit as wk
from tests.extraction import models
from tests.extraction.conftest import hooks_of, textures
from widgetkit.errors import (
    BadActivations,
    BadMetadata,
    Cancelled,
    InvalidInput,
    StoreExists,
    StoreMismatch,
    TooFew,
    UnknownLayer,
)
from widgetkit.extraction import ModelContext, Preprocess
from widgetkit.extraction.pipeline import WriteBehind, read_ahead
from widgetkit.extraction.prepare import segment_rows
from widgetkit.extraction.progress import TextLine


def extract(model, tiles, *args, **options):
    return wk.extract(model, tiles, *args, **{"progress": False, "device": "cpu", **options})


class Counting:
    """A source that counts what is read of it."""

    def __init__(self, source):
        self._source, self.reads = source, []

    def __getattr__(self, name):
        return getattr(self._source, name)

    def __len__(self):
        return len(self._source)

    def read(self, rows):
        self.reads.append(len(rows))
        return self._source.read(rows)


def test_what_is_stored_is_what_the_network_said(cnn, tiles, tmp_path):
    names = ("a", "b", "c", "d", "e")
    store = extract(
        cnn,
        tiles,
        ["layer1", "layer2", "pool"],
        out=tmp_path / "a.wk",
        batch_size=4,
        class_names=names,
    )
    context = ModelContext.for_store(cnn, store, device="cpu")
    pictures = store.images(range(23))
    assert np.array_equal(pictures, tiles.read(range(23)))
    for layer in ("layer1", "layer2"):
        expected = context.forward_to_layer(pictures, layer)
        np.testing.assert_allclose(store.activations(layer), expected, rtol=2e-3, atol=1e-5)
        np.testing.assert_allclose(
            store.embeddings(layer), expected.mean(axis=(2, 3)), rtol=2e-3, atol=1e-4
        )
    assert not store.layers["pool"].has_maps
    np.testing.assert_allclose(
        store.embeddings("pool"), context.forward_to_layer(pictures, "pool"), rtol=1e-4
    )
    np.testing.assert_allclose(store.outputs, context.logits(pictures), atol=1e-4)
    assert store.class_names == names
    weight, bias = store.head("layer2")
    np.testing.assert_allclose(
        store.embeddings("layer2") @ weight.T + bias, store.outputs, atol=2e-3
    )
    assert store.head("layer1") is None
    assert store.tiles["id"].tolist() == tiles.table["id"].tolist()
    assert store.verify().ok


def test_the_automatic_layer_and_its_reason_are_kept(cnn, tiles, tmp_path):
    store = extract(cnn, tiles, out=tmp_path / "a.wk")
    assert store.default_layer == "layer2"
    assert "before global pooling" in store.manifest.info["layer_reason"]["layer2"]
    recorded = Preprocess.from_dict(store.manifest.preprocess)
    assert recorded == Preprocess.suggest((32, 32, 3), np.uint8, cnn)
    assert store.manifest.model["parameters"] == sum(p.numel() for p in cnn.parameters())


@pytest.mark.parametrize(
    ("make", "shape", "layer", "grid"),
    [
        (models.SmallViT, (32, 32, 3), "blocks.1", (4, 4)),
        (models.ChannelsLast, (24, 40, 3), "blocks.1", (6, 10)),
        (models.UNet, (32, 32, 3), "bottleneck", (16, 16)),
        (models.DictOutput, (32, 32, 3), "layer2", (8, 8)),
    ],
)
def test_other_kinds_of_networks(make, shape, layer, grid, tmp_path):
    model = models.seeded(make((32, 32))) if make is models.SmallViT else models.seeded(make())
    source = wk.tiles.from_array(textures(5, shape))
    store = extract(model, source, layer, out=tmp_path / "a.wk", batch_size=2)
    assert store.layers[layer].grid == grid
    expected = ModelContext(model, device="cpu").forward_to_layer(source.read(range(5)), layer)
    np.testing.assert_allclose(store.activations(layer), expected, rtol=2e-3, atol=1e-4)
    assert (store.outputs is None) == (make is models.UNet)


def test_volumes_are_stored_whole(tmp_path):
    model = models.seeded(models.Volume())
    source = wk.tiles.from_array(textures(4, (8, 16, 16)), volume=True)
    store = extract(model, source, out=tmp_path / "a.wk", batch_size=2)
    assert store.layers["features"].grid == (4, 8, 8)
    assert store.images([0]).shape == (1, 8, 16, 16)
    context = ModelContext.for_store(model, store, device="cpu")
    np.testing.assert_allclose(
        context.forward_to_layer(store.images(range(4))),
        store.activations("features"),
        rtol=2e-3,
        atol=1e-6,
    )


def test_the_rest_of_the_network_runs_before_an_image_was_given(cnn, tiles, tmp_path):
    """Its size is known from the store's images; without a store the error says how to give one."""
    store = extract(cnn, tiles, "layer2", out=tmp_path / "a.wk")
    a = store.activations("layer2").astype(np.float32)
    whole = ModelContext.for_store(cnn, store, device="cpu").head_from_layer(a)
    np.testing.assert_allclose(whole, store.outputs, rtol=2e-3, atol=2e-3)
    with pytest.raises(InvalidInput, match=r"logits\(images\) once, or pass images=.*for_store"):
        ModelContext(cnn, device="cpu").head_from_layer(a, "layer2")


@pytest.mark.parametrize("kind", ["grey", "rgba", "uint16", "float"])
def test_tiles_of_every_kind(kind, cnn, tmp_path):
    grey = textures(5, (32, 32))
    array = {
        "grey": grey,
        "rgba": np.concatenate([textures(5), np.full((5, 32, 32, 1), 128, np.uint8)], axis=-1),
        "uint16": grey.astype(np.uint16) * 200,
        "float": grey.astype(np.float32) * 10 - 1000,
    }[kind]
    source = wk.tiles.from_array(array)
    p = Preprocess(mean=(-1000.0,), std=(1000.0,), scale=1, channels=3) if kind == "float" else None
    store = extract(cnn, source, "layer2", out=tmp_path / "a.wk", preprocess=p)
    assert store.images([0]).dtype == np.uint8
    # Asked again from the pictures, the network says nearly the same: the window is recorded.
    context = ModelContext.for_store(cnn, store, device="cpu")
    again = context.forward_to_layer(store.images(range(5)))
    stored = store.activations("layer2").astype(np.float32)
    assert np.abs(again - stored).max() < 0.1 * np.abs(stored).max()


@pytest.mark.parametrize("n", [1, 2])
def test_one_and_two_tiles_work(n, cnn, tmp_path):
    store = extract(cnn, wk.tiles.from_array(textures(n)), out=tmp_path / "a.wk")
    assert len(store) == n and store.verify().ok


def test_no_tiles_and_no_source_are_named(cnn, tmp_path, tiles):
    class Empty(Counting):
        def __len__(self):
            return 0

    with pytest.raises(TooFew, match="no tile"):
        extract(cnn, Empty(tiles), out=tmp_path / "a.wk")
    with pytest.raises(InvalidInput, match="from_array"):
        extract(cnn, textures(3), out=tmp_path / "a.wk")
    assert not (tmp_path / "a.wk").exists()


def test_a_finished_store_is_returned_without_computing(cnn, tiles, tmp_path):
    first = extract(cnn, tiles, out=tmp_path / "a.wk")
    source = Counting(tiles)
    again = extract(cnn, source, out=tmp_path / "a.wk")
    assert again.id == first.id
    assert sum(source.reads) <= 2  # the two that tell the shapes
    with pytest.raises(StoreExists, match="weights_hash"):
        extract(models.seeded(models.SmallCNN(), 1), tiles, out=tmp_path / "a.wk")
    with pytest.raises(StoreExists, match="layers"):
        extract(cnn, tiles, "layer1", out=tmp_path / "a.wk")
    replaced = extract(cnn, tiles, "layer1", out=tmp_path / "a.wk", overwrite=True)
    assert list(replaced.layers) == ["layer1"]


def test_batches_never_straddle_segments_and_batch_size_hardly_matters(cnn, tiles, tmp_path):
    small = extract(cnn, tiles, out=tmp_path / "a.wk", batch_size=2)
    large = extract(cnn, tiles, out=tmp_path / "b.wk", batch_size=64)
    np.testing.assert_allclose(
        small.activations("layer2").astype(np.float32),
        large.activations("layer2").astype(np.float32),
        rtol=1e-3,
        atol=1e-4,
    )
    for batch in (1, 2, 7, 64):
        for row_bytes in (1, 10**5, 10**9):
            rows = segment_rows(batch, row_bytes)
            assert rows % batch == 0 and rows >= batch


def test_labels_become_a_column(cnn, tiles, tmp_path):
    labels = [f"class {i % 3}" for i in range(23)]
    store = extract(cnn, tiles, out=tmp_path / "a.wk", labels=labels)
    assert store.tiles["label"].tolist() == labels
    with pytest.raises(BadMetadata, match="22 labels for 23"):
        extract(cnn, tiles, out=tmp_path / "b.wk", labels=labels[:-1])
    with pytest.raises(InvalidInput, match="5 scores"):
        extract(cnn, tiles, out=tmp_path / "b.wk", class_names=["one"])


def test_the_model_is_left_as_it_was(cnn, tiles, tmp_path):
    cnn.train()
    flags = [m.training for m in cnn.modules()]
    before = {name: (value.clone(), value.stride()) for name, value in cnn.state_dict().items()}
    backends = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic
    extract(cnn, tiles, out=tmp_path / "a.wk")
    with pytest.raises(UnknownLayer):
        extract(cnn, tiles, "layerX", out=tmp_path / "b.wk")
    assert [m.training for m in cnn.modules()] == flags
    assert hooks_of(cnn) == 0
    for name, value in cnn.state_dict().items():
        assert torch.equal(value, before[name][0]) and value.stride() == before[name][1]
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic) == backends


class Spoilt(nn.Module):
    """A network that does something odd when it meets a bright tile."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.spoil = what
        self.relu, self.last = nn.ReLU(), nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.conv(x))
        bright = x.mean((1, 2, 3), keepdim=True) > 0.99
        if self.spoil == "nan":
            y = torch.where(bright, torch.nan, y)
        elif self.spoil == "inf":
            y = torch.where(bright, torch.inf, y)
        elif self.spoil == "large":
            y = torch.where(bright, 1e6, y)
        elif self.spoil == "constant":
            y = torch.zeros_like(y)
        elif self.spoil == "shape" and bool(bright.any()):
            y = y[..., :-1]
        return self.last(y).mean((2, 3))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nan", r"'last', tile 17.*NaN.*weights"),
        ("inf", r"'last', tile 17.*infinity"),
        ("large", r"'last', tile 17.*1e\+06.*float16"),
        ("shape", r"'last' gave"),
    ],
)
def test_bad_activations_name_layer_and_tile_and_keep_the_rest(
    what, message, tmp_path, monkeypatch
):
    monkeypatch.setattr("widgetkit.extraction.prepare.SEGMENT_ROWS", 4)
    model = models.seeded(Spoilt(what))
    array = textures(23)
    array[17] = 255
    source = wk.tiles.from_array(array)
    p = Preprocess(channels=3)
    with pytest.raises(BadActivations, match=message):
        extract(model, source, "last", out=tmp_path / "a.wk", batch_size=4, preprocess=p)
    assert hooks_of(model) == 0
    model.spoil = ""  # mended: the first four segments are not computed again
    counting = Counting(source)
    extract(model, counting, "last", out=tmp_path / "a.wk", batch_size=4, preprocess=p)
    assert sum(counting.reads) <= 2 + 7 + 8


def test_a_constant_layer_is_warned_of(tmp_path):
    model = models.seeded(Spoilt("constant"))
    with pytest.warns(UserWarning, match="'last' has the same activations"):
        extract(model, wk.tiles.from_array(textures(3)), "last", out=tmp_path / "a.wk")


def test_tiles_that_the_model_cannot_take(cnn, tiles, tmp_path):
    vit = models.seeded(models.SmallViT((64, 64)))
    with pytest.raises(InvalidInput, match=r"cannot take tiles of \(32, 32, 3\).*size="):
        extract(vit, tiles, out=tmp_path / "a.wk")
    store = extract(vit, tiles, out=tmp_path / "a.wk", preprocess=Preprocess(size=64, channels=3))
    assert store.layers[store.default_layer].grid == (8, 8)


def test_progress_is_told_and_an_error_in_it_stops_the_run(cnn, tiles, tmp_path):
    told: list[tuple[int, int]] = []
    extract(
        cnn, tiles, out=tmp_path / "a.wk", batch_size=5, progress=lambda *given: told.append(given)
    )
    assert told == [(0, 23), (5, 23), (10, 23), (15, 23), (20, 23), (23, 23)]


def test_text_progress_in_a_log_is_two_lines():
    out = io.StringIO()
    line = TextLine("extract", out)
    for done in range(0, 101, 10):
        line.update(done, 100)
    line.close()
    lines = out.getvalue().splitlines()
    assert len(lines) == 2 and "0 of 100" in lines[0] and "100 of 100" in lines[1]


def test_cancelling_keeps_what_is_done(cnn, tiles, tmp_path, monkeypatch):
    monkeypatch.setattr("widgetkit.extraction.prepare.SEGMENT_ROWS", 4)
    cancel = threading.Event()

    def stop(done: int, total: int) -> None:
        if done >= 12:
            cancel.set()

    with pytest.raises(Cancelled, match=r"after 12 of 23 tiles.*same call"):
        extract(cnn, tiles, out=tmp_path / "a.wk", batch_size=4, progress=stop, cancel=cancel)
    assert hooks_of(cnn) == 0
    source = Counting(tiles)
    store = extract(cnn, source, out=tmp_path / "a.wk", batch_size=4)
    assert store.verify().ok
    assert sum(source.reads) == 2 + 11 + 4  # shapes, the rest, the head's check
    assert store.manifest.info["segments_resumed"] == 3


def test_an_interrupt_keeps_what_is_done_and_says_how_to_go_on(cnn, tiles, tmp_path, monkeypatch):
    monkeypatch.setattr("widgetkit.extraction.prepare.SEGMENT_ROWS", 4)

    def interrupt(done: int, total: int) -> None:
        if done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="same call again"):
        extract(cnn, tiles, out=tmp_path / "a.wk", batch_size=4, progress=interrupt)
    assert hooks_of(cnn) == 0
    with pytest.raises(StoreMismatch, match="batch_size"):
        extract(cnn, tiles, out=tmp_path / "a.wk", batch_size=2)
    store = extract(cnn, tiles, out=tmp_path / "a.wk")  # "auto" takes the recorded 4
    assert store.manifest.preprocess["batch_size"] == 4
    assert store.verify().ok


def test_an_error_of_the_source_stops_and_leaves_no_thread(cnn, tiles, tmp_path):
    class Failing(Counting):
        def read(self, rows):
            if 12 in rows:
                raise OSError("disk gone")
            return self._source.read(rows)

    with pytest.raises(OSError, match="disk gone"):
        extract(cnn, Failing(tiles), out=tmp_path / "a.wk", batch_size=4)
    assert not [t for t in threading.enumerate() if t.name.startswith("widgetkit-extract")]


def test_reading_ahead_keeps_order_and_overlaps():
    loaded: list[int] = []

    def load(task: int) -> int:
        loaded.append(task)
        return task * task

    reading = read_ahead(range(10), load, depth=2)
    assert next(reading) == (0, 0)
    deadline = time.monotonic() + 30
    while len(loaded) < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert loaded == [0, 1, 2]
    assert [value for _, value in reading] == [i * i for i in range(1, 10)]


def test_writing_behind_raises_what_went_wrong_and_writes_the_rest():
    written: list[int] = []

    def fail() -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), WriteBehind() as behind:
        behind.put(lambda: written.append(1))
        behind.put(fail)
        behind.put(lambda: written.append(2))
    with pytest.raises(ValueError, match="first"), WriteBehind() as behind:
        behind.put(lambda: written.append(3))
        raise ValueError("first")
    assert 1 in written and 3 in written


def test_real_ct_slices(shared_data, cnn, tmp_path):
    import zipfile

    from PIL import Image

    with zipfile.ZipFile(shared_data / "mednist-chestct.zip") as archive:
        names = sorted(n for n in archive.namelist() if n.lower().endswith((".jpg", ".jpeg")))[:40]
        slices = np.stack([np.asarray(Image.open(archive.open(n)).convert("L")) for n in names])
    store = extract(cnn, wk.tiles.from_array(slices), out=tmp_path / "ct.wk", batch_size=16)
    assert store.images([0]).shape == (1, 64, 64)
    assert store.layers["layer2"].grid == (16, 16)
    assert store.embeddings("layer2").std(axis=0).max() > 0.01


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("make", [models.SmallCNN, models.SmallViT, models.ChannelsLast])
def test_cuda_and_cpu_agree_and_cuda_repeats_itself(make, tiles, tmp_path):
    model = models.seeded(make())
    cpu = extract(model, tiles, out=tmp_path / "cpu.wk", batch_size=4)
    gpu = extract(model, tiles, out=tmp_path / "gpu.wk", batch_size=4, device="cuda")
    again = extract(model, tiles, out=tmp_path / "again.wk", batch_size=4, device="cuda")
    layer = cpu.default_layer
    assert np.array_equal(gpu.activations(layer), again.activations(layer))
    np.testing.assert_allclose(
        gpu.activations(layer).astype(np.float32),
        cpu.activations(layer).astype(np.float32),
        rtol=2e-3,
        atol=1e-3,
    )
    np.testing.assert_allclose(gpu.outputs, cpu.outputs, rtol=1e-3, atol=1e-4)
    assert next(model.parameters()).device.type == "cpu"
