"""SHELL: our network against onnxruntime on real tiles, its preparation against plain numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from widgetkit.demos import fetch  # noqa: E402
from widgetkit.demos.shell import CLASSES, Scale, Shell, load_shell, segment  # noqa: E402
from widgetkit.demos.stains import ruifrok  # noqa: E402
from widgetkit.errors import FetchFailed, InvalidInput, NoTissue  # noqa: E402


@pytest.fixture(scope="module")
def shell_path() -> Any:
    """The released network, or a skip where its package can be neither found nor fetched."""
    try:
        fetch("shell-weights")
        return fetch("shell")
    except FetchFailed as error:
        pytest.skip(f"SHELL is neither in the cache nor can it be fetched: {error}")


@pytest.fixture(scope="module")
def slide() -> np.ndarray:
    """The real slide at 4 um a pixel, (370, 277, 3)."""
    openslide = pytest.importorskip("openslide")
    try:
        file = openslide.OpenSlide(fetch("slide"))
    except FetchFailed as error:
        pytest.skip(f"the demo's slide is not there: {error}")
    whole = file.read_region((0, 0), 0, file.dimensions).convert("RGB")
    return np.asarray(whole.resize((277, 370)))


@pytest.fixture(scope="module")
def runtime(shell_path, tmp_path_factory) -> Any:
    onnxruntime = pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("shell")  # the name of its weights is written in the file
    (folder / "model_v1.onnx.data").write_bytes(fetch("shell-weights").read_bytes())
    (folder / "model.onnx").write_bytes(shell_path.read_bytes())
    return onnxruntime.InferenceSession(str(folder / "model.onnx"))


def test_logits_equal_onnxruntime_on_real_tiles(slide, runtime) -> None:
    """Tiles of glass, epidermis, dermis and ink, of two sizes."""
    shell = load_shell(slide)
    places = [(0, 0), (100, 100), (200, 120), (100, 180), (220, 60)]
    for side in (64, 128):
        tiles = np.stack([slide[y : y + side, x : x + side] for y, x in places if x + side <= 277])
        x = torch.from_numpy(shell.scale.apply(tiles))
        with torch.no_grad():
            ours = shell.network(x).numpy()
        (theirs,) = runtime.run(None, {"input": x.numpy()})
        np.testing.assert_allclose(ours, theirs, atol=1e-3)
        assert np.median(abs(ours - theirs)) < 2e-5
        assert (ours.argmax(1) == theirs.argmax(1)).mean() > 0.9999


def test_its_layers_are_those_of_the_architecture(shell_path) -> None:
    table = load_shell(Scale(ruifrok(), (0, 0, 0), (1, 1, 1))).network.table()
    assert table["operator"].value_counts().to_dict() == {
        "Conv": 32, "GroupNormalization": 25, "Mish": 25, "Add": 15, "Resize": 3,
    }  # fmt: skip
    assert table["name"].is_unique and table["name"].iloc[-1] == "logits"
    assert table["parameters"].sum() == 1_576_707


def test_preparation_in_torch_equals_numpy(slide, shell_path) -> None:
    shell = load_shell(slide)
    tiles = np.stack([slide[100:164, 60:150], slide[:64, :90]])
    expected = shell.scale.apply(tiles)
    found = shell.prepare(torch.from_numpy(tiles.astype(np.float32)).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert expected.min() == 0 and expected.max() == 1
    assert expected.shape == (2, 3, 64, 90)


def test_scale_cuts_at_the_percentiles(slide) -> None:
    values = Scale.of(slide).apply(slide).reshape(3, -1)
    for channel in values:
        assert (channel == 0).mean() == pytest.approx(0.01, abs=0.005) or channel.min() == 0
        assert (channel == 1).mean() == pytest.approx(0.01, abs=0.002)


@pytest.mark.parametrize("size", [(64, 64), (70, 100), (20, 30)])
def test_any_size_gives_maps_of_that_size(slide, shell_path, size: tuple[int, int]) -> None:
    shell = load_shell(slide)
    x = torch.from_numpy(slide[150 : 150 + size[0], 90 : 90 + size[1]].astype(np.float32))
    with torch.no_grad():
        maps = shell(x.permute(2, 0, 1)[None])
    assert maps.shape == (1, 3, *size)
    with pytest.raises(InvalidInput, match="red, green, blue"):
        shell(x)


def test_it_is_a_network_for_extraction_and_maps(slide, shell_path) -> None:
    import widgetkit as wk
    from widgetkit.extraction import ModelContext, Preprocess

    shell = load_shell(slide, pooled=True)
    tiles = np.stack([slide[150:214, 90:154], slide[20:84, 40:104]])
    preprocess = Preprocess(scale=1.0)
    table = wk.layers(shell, tiles, preprocess=preprocess).set_index("name")
    assert table.loc["network.mish_24", "shape"] == (16, 64, 64)
    context = ModelContext(
        shell, preprocess=preprocess, layer="network.mish_14", class_names=CLASSES, device="cpu"
    )
    scores = context.logits(tiles)
    assert scores.shape == (2, 3)
    activations, gradients = context.activations_and_gradients(tiles, target_class=1)
    assert activations.shape == gradients.shape and abs(gradients).max() > 0


def test_gradients_reach_the_pixels(slide, shell_path) -> None:
    shell = load_shell(slide)
    x = torch.from_numpy(slide[150:214, 90:154].astype(np.float32)).permute(2, 0, 1)[None]
    x.requires_grad_(True)
    shell(x)[:, 1].mean().backward()
    assert x.grad is not None and torch.isfinite(x.grad).all() and x.grad.abs().max() > 0


def test_epidermis_dermis_and_glass_are_told_apart(slide, shell_path) -> None:
    """Places that anyone would agree on, by eye, in pixels of 4 um."""
    found = segment(slide, mpp=4.0, at=4.0)
    assert found.classes.shape == slide.shape[:2]
    boxes = np.array([[137, 255, 155, 285], [100, 330, 130, 365], [5, 5, 60, 60]])
    shares = found.shares(boxes, 4.0)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-9)
    assert shares[0, 1] > 0.9 and shares[1, 2] > 0.9 and shares[2, 0] > 0.9
    # the same boxes in pixels of half the size
    np.testing.assert_allclose(found.shares(boxes * 2, 2.0), shares)


def test_bad_pictures_are_refused(shell_path) -> None:
    with pytest.raises(InvalidInput, match="uint8"):
        segment(np.zeros((10, 10, 3)), mpp=1)
    with pytest.raises(InvalidInput, match="positive"):
        segment(np.zeros((10, 10, 3), np.uint8), mpp=0)
    with pytest.raises(InvalidInput, match="too many"):
        segment(np.zeros((10, 10, 3), np.uint8), mpp=4000, at=0.1)
    with pytest.raises(NoTissue):
        Scale.of(np.full((64, 64, 3), 245, np.uint8))


def test_the_class_is_a_plain_module(slide, shell_path) -> None:
    shell = load_shell(Scale.of(slide))
    assert isinstance(shell, Shell) and not shell.training
    assert {"unmixing", "low", "high"} <= set(dict(shell.named_buffers()))
